"""Draw the figures of the documentation again: `python docs/figures.py`."""

from pathlib import Path

import hierbayes as hb

FOLDER = Path(__file__).parent / "figures"


def main():
    """Write the figures as SVG on a white ground, so that they can be read on any page."""
    fit = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).fit(seed=1)
    drawn = {
        "shrinkage": hb.plots.shrinkage_figure(fit.shrinkage(), "Subject"),
        "profile": hb.plots.profile_figure(hb.profiles(fit)),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(FOLDER / f"{name}.svg", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
