"""What a check finds: one row a question, with the figure, a sentence and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hierbayes import display

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
SEVERITIES = (OK, NOTE, WARNING, PROBLEM)
"""From nothing found to numbers that must not be used."""
WIDTH, INDENT = 112, " " * 31


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    Parameters
    ----------
    topic : str
        Such as ``"residuals"``.
    severity : {"ok", "note", "warning", "problem"}
    finding : str
        A sentence.
    figure : float
        The number that decided it, NaN if it was not a number.
    next : str
        What to do, empty if there is nothing to do.
    """

    topic: str
    severity: str
    finding: str
    figure: float = np.nan
    next: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """Everything that was asked of a fit, and what came out.

    Made by `hierbayes.RemlFit.check` and `hierbayes.Fit.check`.

    Attributes
    ----------
    subject : str
        What was checked.
    findings : pandas.DataFrame
        One row a question: topic, severity ("ok", "note", "warning" or "problem"), figure, finding, next; in the
        order in which they were asked.
    tables : dict of str to pandas.DataFrame
        The numbers behind them, by topic, ready to plot.

    Examples
    --------
    >>> check = Check("a fit", [Verdict("boundary", NOTE, "The variance is small.", 0.01, "Look at the posterior.")])
    >>> check
    Check of a fit: 1 note
      note      boundary             The variance is small.
                                     -> Look at the posterior.
    >>> check.worst, len(check.of("ok"))
    ('note', 0)
    """

    subject: str
    verdicts: list[Verdict]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def findings(self) -> pd.DataFrame:
        """All verdicts as a table."""
        rows = [(v.topic, v.severity, v.figure, v.finding, v.next) for v in self.verdicts]
        return pd.DataFrame(rows, columns=["topic", "severity", "figure", "finding", "next"])

    @property
    def worst(self) -> str:
        """The gravest severity found."""
        return max((v.severity for v in self.verdicts), key=SEVERITIES.index, default=OK)

    def of(self, severity: str) -> pd.DataFrame:
        """Findings of one severity.

        Parameters
        ----------
        severity : {"ok", "note", "warning", "problem"}

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ValueError
            If there is no such severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {', '.join(map(repr, SEVERITIES))}, not {severity!r}")
        return self.findings[self.findings["severity"] == severity]

    def _sorted(self) -> Iterator[Verdict]:
        """The gravest first."""
        yield from sorted(self.verdicts, key=lambda v: -SEVERITIES.index(v.severity))

    @property
    def headline(self) -> str:
        """How many of each severity."""
        counts = [(sum(v.severity == s for v in self.verdicts), s) for s in reversed(SEVERITIES)]
        words = [f"{n} {s if n == 1 or s == OK else s + 's'}" for n, s in counts if n]
        return f"Check of {self.subject}: {', '.join(words) or 'nothing was asked'}"

    def __repr__(self) -> str:
        lines = [self.headline]
        for v in self._sorted():
            for k, text in enumerate([v.finding, *([f"-> {v.next}"] if v.next else [])]):
                start = f"  {v.severity:<9} {v.topic:<18} " if k == 0 else INDENT
                lines += textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=INDENT)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(display.word(v.severity), v.topic, v.finding, v.next) for v in self._sorted()]
        found = pd.DataFrame(rows, columns=["severity", "topic", "finding", "what to do"], dtype=object)
        return display.document(self.headline, display.table(found, longest=len(found)))
