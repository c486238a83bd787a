"""The page that shows what was found; its words are in page.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.calibration.coverage import LEVELS, POSTERIOR, PROFILE, WALD, coverage
from benchmarks.calibration.ranks import FALSE_ALARM, RANKS, alarms, uniformity
from benchmarks.calibration.studies import STUDIES

WORDS = Path(__file__).with_name("page.md")
FAR = 3.0
"""Standard errors from the nominal level beyond which a share is set in bold."""


def page(
    ranks: Mapping[str, pd.DataFrame],
    intervals: Mapping[str, pd.DataFrame],
    versions: str,
    minutes: float,
    processes: int,
    load: float,
) -> str:
    """Lay the page out.

    Parameters
    ----------
    ranks, intervals : mapping of str to pandas.DataFrame
        By study: rows of `benchmarks.calibration.ranks.rank` and `benchmarks.calibration.coverage.intervals`.
    versions : str
    minutes : float
        That it took.
    processes : int
    load : float
        Load average of the machine.

    Returns
    -------
    str
        Markdown.
    """
    return WORDS.read_text(encoding="utf-8").format(
        minutes=minutes,
        processes=processes,
        load=load,
        versions=versions,
        ranks=RANKS,
        alarm=FALSE_ALARM,
        far=FAR,
        repetitions=max((found["number"].nunique() for found in intervals.values()), default=0),
        rank_sections="\n\n".join(ranks_section(key, found) for key, found in ranks.items()),
        coverage_sections="\n\n".join(coverage_section(key, found) for key, found in intervals.items()),
    )


def ranks_section(key: str, ranks: pd.DataFrame) -> str:
    """Figure and verdict of a study."""
    study = STUDIES[key]
    p_values = uniformity(ranks)
    raised = alarms(p_values)
    verdict = f"**alarm: {'; '.join(raised)}**" if raised else "no alarm"
    tests = f"{len(ranks)} repetitions, {p_values.size} tests, smallest p-value {p_values.min(axis=None):.2g}"
    return (
        f"### {study.title}: `{study.formula}`, {study.size}\n\n"
        f"{tests}: {verdict}.\n\n"
        f"![Ranks of {study.title}](ranks_{key}.svg)"
    )


def coverage_section(key: str, intervals: pd.DataFrame) -> str:
    """Table of a study."""
    study = STUDIES[key]
    table = coverage(intervals)
    methods = [method for method in (WALD, PROFILE, POSTERIOR) if method in intervals["method"].unique()]
    columns = [(level, method) for level in LEVELS for method in methods]
    header = ["", "truth", *(f"{method} {level:.0%}" for level, method in columns), f"width {' / '.join(methods)}"]
    lines = [f"### {study.title}: `{study.formula}`, {study.size}", "", _row(header), "|---" * len(header) + "|"]
    truth = intervals.drop_duplicates("term").set_index("term")["truth"]
    for term, value in truth.items():
        of_term = table.loc[term]
        widths = [of_term.loc[(LEVELS[-1], method), "width"] for method in methods]
        ratios = " / ".join(f"{width / widths[0]:.2f}" for width in widths)
        lines.append(_row([str(term), f"{value:g}", *(_cell(of_term.loc[at], at[0]) for at in columns), ratios]))
    return "\n".join(lines)


def _cell(row: pd.Series, level: float) -> str:
    mark = "**" if abs(row["share"] - level) > FAR * row["std_error"] else ""
    of = f" ({row['count']:.0f})" if row["missing"] else ""
    return f"{mark}{100 * row['share']:.1f}{mark} ± {100 * row['std_error']:.1f}{of}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
