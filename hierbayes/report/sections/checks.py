"""What was asked of the fits, and what came out: of the posterior, and of the maximum behind it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hierbayes.checks.check import OK, PROBLEM, SEVERITIES, WARNING

from ..answers import answers
from ..candidates import Candidate
from .grid import grid


def checks_section(candidate: Candidate) -> dict[str, Any]:
    """The table of all answers, those with nothing to say folded away."""
    every = answers(candidate)
    found = [answer for answer in every if answer.severity != OK]
    quiet = [answer for answer in every if answer.severity == OK]
    counts = [(sum(answer.severity == s for answer in every), s) for s in reversed(SEVERITIES)]
    words = [f"{n} {s}{'s' if n > 1 and s != OK else ''}" for n, s in counts if n]
    return {
        "headline": ", ".join(words),
        "found": grid(
            ["Topic", "Severity", "Fit", "Finding", "What to do"],
            [(a.topic, a.severity, a.of, a.finding, a.next) for a in found],
            severity=1,
        )
        if found
        else None,
        "quiet": grid(["Topic", "Fit", "Finding"], [(a.topic, a.of, a.finding) for a in quiet]) if quiet else None,
        "grave": sum(answer.severity in (WARNING, PROBLEM) for answer in every),
        "key": candidate.key,
        "levels": list(SEVERITIES),
    }


def checks_table(candidate: Candidate) -> pd.DataFrame:
    """All answers with their figures, for other forms than the page."""
    tables = [candidate.check.findings.assign(fit="posterior")]
    if candidate.maximum_check is not None:
        tables.append(candidate.maximum_check.findings.assign(fit=candidate.short))
    return pd.concat(tables, ignore_index=True)
