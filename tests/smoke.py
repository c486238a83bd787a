"""What an installed hierbayes must do in an environment that has nothing else: run by `make smoke`, not by pytest.

It runs in an empty folder with the command `hierbayes` on the path, and needs no test library.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np

import hierbayes as hb

CRITERION = 1743.6282719
"""REML criterion of sleepstudy with correlated slopes, from lme4 1.1-31."""


def run(*words: str) -> str:
    """Output of a command that must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Use the package from data to report, in Python and on the command line."""
    home = Path(hb.__file__).parent
    assert sys.prefix in str(home), f"{home} is not what has just been installed"
    assert hb.__version__ == version("hierbayes")
    assert run("hierbayes", "--version").split()[-1] == hb.__version__

    data = hb.load_data("sleepstudy")
    model = hb.Model("Reaction ~ Days + (Days | Subject)", data)
    reml = model.reml()
    assert abs(reml.criterion - CRITERION) < 1e-5, reml.criterion
    fit = model.fit(seed=1, progress=False)
    gap = fit.tidy()["estimate"][1] - reml.fixef["Days"]
    assert abs(gap) < 0.2, gap
    assert np.isfinite(fit.loo().elpd)
    assert np.isfinite(fit.logo().elpd)
    fit.save("sleep.hb")
    assert hb.load("sleep.hb").tidy().equals(fit.tidy())
    assert hb.plots.shrinkage_figure(fit.shrinkage(), "Subject").axes

    page = hb.report(model, "sleep.html", fit=fit, also=("md", "json", "nc", "bib"))
    assert "<svg" in page.read_text(encoding="utf-8")
    assert json.loads(Path("sleep.json").read_text(encoding="utf-8"))
    assert all(Path(f"sleep.{ending}").stat().st_size for ending in ("md", "nc", "bib"))

    names = list(hb.zoo.list()["name"])
    assert len(names) >= 20, names
    cards = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (home / "model_zoo").glob("*/card.toml")]
    assert len(cards) == len(names)
    assert hb.zoo.verify(["dyestuff"], progress=False).ok

    found = json.loads(run("hierbayes", "fit", "Dyestuff", "--method", "reml", "--json"))
    assert found["rows"] == 30
    assert "Penicillin" in run("hierbayes", "data")
    assert "@" in run("hierbayes", "cite", "--bibtex")
    print(f"hierbayes {hb.__version__} works on Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
