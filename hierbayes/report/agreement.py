"""Whether the two inferences agree and, if not, why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .coefficients import Finding
from .estimates import SD, SIGMA, Estimate
from .numbers import joined, typeset
from .reasons import APART, UNKNOWN

FEW = 4
"""Disagreements that are spelled out."""
CAUSES = {
    "prior": "Prior: it moves the maximum of the likelihood itself, so look at whether it says what you know.",
    "boundary": (
        "Boundary: the likelihood peaks where a variance is zero, and the posterior averages over positive ones."
    ),
    "skewness": "Skewness: the mean of a skewed posterior is not where it peaks, the more so the fewer the levels.",
    "prior or skewness": "Prior or skewness could not be told apart here.",
    UNKNOWN: "Where the cause is not known, it may be skewness, or that the maximum is of an approximate likelihood.",
}
"""What is behind a disagreement, by the first word of its reason."""


def agreement(rows: list[Estimate], reasons: Sequence[str] | None = None) -> Finding:
    """Whether the two inferences agree and, if not, why: prior, boundary or skewness, as far as that is known."""
    by, where = rows[0].method, {"anchor": "estimates", "link": "Estimates"}
    apart = sorted((row for row in rows if not abs(row.gap) <= APART), key=_width)
    if not apart:
        widest = max(rows, key=lambda row: abs(row.gap))
        return Finding(
            f"{by} and the posterior agree.",
            f"Every {by} estimate is within {abs(widest.gap):.2f} posterior standard deviations of the posterior "
            f"mean; the largest gap is that of {widest.label}.",
            **where,
        )
    known = dict(zip((id(row) for row in rows), reasons or [], strict=False))
    told = all(known.get(id(row)) for row in apart)
    listed = joined([_gap(row, known.get(id(row), "")) for row in apart[:FEW]])
    if len(apart) > FEW:
        claim = f"{by} and the posterior differ on {len(apart)} of {len(rows)} parameters."
        listed = f"The widest gaps: {listed}."
    else:
        claim = f"{by} and the posterior differ on {joined([row.label for row in apart])}."
        listed = f"{listed}." + (" Everything else agrees." if len(apart) < len(rows) else "")
    if told:
        causes = dict.fromkeys(known[id(row)].partition(":")[0] for row in apart)
        why = " ".join(CAUSES[cause] for cause in CAUSES if cause in causes)
    elif all(row.kind in (SD, SIGMA) and row.gap < 0 for row in apart):
        few = "levels" if any(row.kind == SD for row in rows) else "rows"
        why = (
            "A standard deviation has a skewed posterior: its mean lies above its most likely value, the more so "
            f"the fewer the {few}."
        )
        if by == "ML":
            why += " Maximum likelihood also underestimates standard deviations where there are few levels."
    else:
        why = f"{by} takes one value of the variances and no priors; see which priors the posterior has."
    return Finding(claim, f"{listed} {why}".strip(), **where)


def _width(row: Estimate) -> float:
    """Widest gaps first, those that are not numbers last."""
    return -abs(row.gap) if np.isfinite(row.gap) else 0.0


def _gap(row: Estimate, reason: str) -> str:
    """How far the two inferences on a parameter are apart, and the reason."""
    mean = f"posterior mean {row.show(row.posterior.estimate)}"
    if not np.isfinite(row.gap):
        return f"{row.label} (no estimate by {row.method}, {mean}" + (f"; {reason}" if reason else "") + ")"
    why = f"; {typeset(reason)}" if reason else ""
    return (
        f"{row.label} ({row.method} {row.show(row.first.estimate)}, {mean}, "
        f"{abs(row.gap):.1f} posterior standard deviations apart{why})"
    )
