"""What was found, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.cases import Case
from benchmarks.process import Figures
from benchmarks.sections import OURS, SECTIONS, Section, short

NEAR = 0.01
"""A REML criterion farther from the best one is not the maximum."""

NOTES = """\
- Every row is a process of its own. One that exceeds the limit, runs out of memory or raises keeps its row and
  says so.
- **× best peer** is speed divided by that of the fastest other package that has an answer: 2 is twice as fast.
  REML fits that end more than 0.01 above the best criterion (or below it, by another criterion) are marked and
  are nobody's best peer. The best criterion is lme4's, polished, where it is known, otherwise the least of the table.
- **REML** is timed from formula and data frame to estimates, imports done: the first call, and the median and the
  fastest of further ones. `built model` is `model.reml()` alone. A median far from the fastest means that the
  machine was busy, which slows threaded linear algebra most.
- **Posterior** is timed from formula and data frame to draws of all group effects, imports done and compiled code
  in the disk cache: each process runs twice and the second counts. ESS is the smallest bulk effective sample size,
  by ArviZ for everybody, among fixed effects, standard deviations, correlations and sigma.
- Everybody has their own default priors and sampler settings (hierbayes and rstanarm aim at an acceptance of 0.95,
  the others at 0.8). Bambi's `(x | g)` has no correlation: one parameter fewer. brms reuses, for the data it is
  given, the program that its first process compiled; rstanarm's programs come compiled.
- **statsmodels** has no crossed factors: there they are variance components of one group of all rows, with matrices
  of rows x rows; nested ones are variance components within the outer factor. It has no refit: the model is made
  anew from the matrices.
- **Repeated fits** of REML: 500 new responses of one prepared design; the criterion is the sum of theirs. lme4's
  `refit` (1.1-31) takes the number of fixed effects as one, hence its other optimum.
- **Power**: every study draws predictors and responses, is fitted and tested; hierbayes by t tests with
  Satterthwaite's degrees of freedom, statsmodels in a loop by z tests.
- **Peak MB** is the resident memory of the process, Python or R and the data included; where chains are processes,
  of the largest one. A process may have as much address space as the machine has memory.
"""


def markdown(found: Mapping[str, Any]) -> str:
    """Lay the figures out.

    Parameters
    ----------
    found : mapping
        Keys runs (time of a run → machine and versions) and sections (section → case → run, rows).

    Returns
    -------
    str
    """
    lines = ["# Benchmarks", "", "## Machine and versions", ""]
    for run, machine in found["runs"].items():
        lines += [f"{run}: " + ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    for key, section in SECTIONS.items():
        cases = found["sections"].get(key, {})
        if cases:
            lines += [f"## {section.title}", ""]
        for name, case in section.cases.items():
            if name in cases:
                lines += [*_case(section, case, cases[name], len(found["runs"]) > 1), ""]
    return "\n".join([*lines, "## Notes", "", NOTES])


def _case(section: Section, case: Case, found: Mapping[str, Any], several_runs: bool) -> list[str]:
    formula = f": `{case.formula}`, " if case.formula else ": "
    lines = [f"### {case.name}{formula}{case.size}" + (f" ({found['run']})" if several_runs else ""), ""]
    if "skipped" in found:
        return [*lines, found["skipped"]]
    rows = judged(found["rows"], case.criterion)
    peers = {
        name: section.speed(figures)
        for name, figures in rows.items()
        if section.speed and not (name.startswith(OURS) or "failed" in figures or figures["mark"])
    }
    best = max(peers, key=lambda name: peers[name], default=None)
    header = ["", *section.columns, *(["× best peer"] if section.speed else []), "peak MB"]
    lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, figures in rows.items():
        peak = f"{figures['peak_mb']:,.0f}" if figures["peak_mb"] else ""
        if "failed" in figures:
            cells = [figures["failed"].replace("|", "\\|"), *[""] * (len(header) - 3)]
        else:
            cells = [_cell(show, figures) for show in section.columns.values()]
            if section.speed:
                cells += [short(section.speed(figures) / peers[best]) if best else ""]
        mark = f" ({figures['mark']})" if figures.get("mark") else ""
        lines.append("| " + " | ".join([name + mark, *cells, peak]) + " |")
    ours = rows.get(OURS, {"failed": ""})
    if section.speed and best and "failed" not in ours:
        ratio = short(section.speed(ours) / peers[best])
        lines += ["", f"{OURS} is {ratio} times as fast as the best peer, {best}."]
    return lines


def _cell(show: Callable[[Figures], str], figures: Figures) -> str:
    try:
        return show(figures)
    except KeyError:  # a row of an earlier version, without this figure
        return ""


def judged(rows: Mapping[str, Figures], criterion: float | None) -> dict[str, Figures]:
    """Mark fits that miss the best criterion, or have another one.

    Parameters
    ----------
    rows : mapping of str to dict
        Figures of the contenders.
    criterion : float, optional
        The best one, if it is known.

    Returns
    -------
    dict
        The figures with mark ("" for none) and excess, the distance from the best.
    """
    reached = [f["criterion"] for f in rows.values() if "criterion" in f]
    best = min(reached, default=0.0) if criterion is None else criterion
    marked = {}
    for name, figures in rows.items():
        excess = figures.get("criterion", best) - best
        mark = "**misses the optimum**" if excess > NEAR else "**another criterion**" if excess < -NEAR else ""
        marked[name] = figures | {"excess": excess, "mark": mark}
    return marked
