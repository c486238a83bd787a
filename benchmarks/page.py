"""The page of the documentation: two tables to see at a glance, then everything that was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.process import Figures
from benchmarks.sections import SECTIONS, short
from benchmarks.tables import judged, markdown

INTRODUCTION = """\
# Benchmarks

`python -m benchmarks` makes this page and the tables that README.md shows; `make bench` installs the peers before.
Every package ran with its own defaults on a small shared machine; the [notes](#notes) say what is timed. Below each
table stands how much faster or slower hierbayes is than the best of the others. Run it to see what your machine says.

## At a glance

{reml}

{posterior}

"""


def page(found: Mapping[str, Any]) -> str:
    """Lay out the page docs/benchmarks.md.

    Parameters
    ----------
    found : mapping
        As for `benchmarks.tables.markdown`.

    Returns
    -------
    str
    """
    glance = {section: overview(found, section) for section in GLANCE}
    return INTRODUCTION.format(**glance) + markdown(found).partition("\n\n")[2]


def overview(found: Mapping[str, Any], section: str) -> str:
    """Lay out one figure a contender of every case of a section.

    Parameters
    ----------
    found : mapping
        As for `benchmarks.tables.markdown`.
    section : {"reml", "posterior"}

    Returns
    -------
    str
        A Markdown table, cases by contenders.
    """
    header, show = GLANCE[section]
    contenders = list(SECTIONS[section].contenders)
    lines = [f"| {header} | " + " | ".join(contenders) + " |", "|---" * (1 + len(contenders)) + "|"]
    for name, case in SECTIONS[section].cases.items():
        rows = found["sections"].get(section, {}).get(name, {}).get("rows", {})
        if rows:
            figures = judged(rows, case.criterion)
            cells = [_cell(figures[each], show) if each in figures else "–" for each in contenders]
            lines.append(f"| {name}: {case.size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figures: Figures, show: Callable[[Figures], str]) -> str:
    if "failed" in figures:
        return figures["failed"].replace("stopped after", ">").replace("|", "\\|")
    return show(figures) + (f" ({figures['mark']})" if figures["mark"] else "")


def _draws(figures: Figures) -> str:
    doubts = f", {figures['divergences']} divergences" if figures["divergences"] else ""
    return f"{short(figures['seconds'])} s, ESS {figures['ess']:,.0f}{doubts}"


GLANCE: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "reml": ("REML, from formula and data frame to estimates, median ms", lambda f: short(1e3 * f["median"])),
    "posterior": ("Posterior, to 4 x 1000 draws with all group effects; smallest bulk ESS of a parameter", _draws),
}
"""What is shown of a section: what it says, and how."""
