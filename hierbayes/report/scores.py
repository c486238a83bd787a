"""How well a candidate predicts a new row and a new group, as far as that is affordable."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes.citations.cite import CLOSED_FORM
from hierbayes.errors import HierbayesError, ParetoWarning

from . import effort
from .candidates import Candidate
from .numbers import count, show

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD

ROW = "row"
"""Key of the scores of rows; those of groups have the name of their grouping factor, after `GROUP`."""
GROUP = "group:"


@dataclass(frozen=True, eq=False)
class Scores:
    """Expected log predictive densities of one candidate.

    Parameters
    ----------
    elpds : dict of str to ELPD
        By what is left out: ``"row"``, or ``"group:"`` and the name of a grouping factor.
    skipped : dict of str to str
        Why there is none, and the call that gives it.
    """

    elpds: dict[str, ELPD]
    skipped: dict[str, str]

    @property
    def high(self) -> dict[str, int]:
        """How many Pareto k are too high, where some are."""
        counts = {key: too_high(elpd) for key, elpd in self.elpds.items()}
        return {key: number for key, number in counts.items() if number}

    @property
    def table(self) -> pd.DataFrame:
        """One row a target: target, group, elpd, se, p, items, good_k, worst_k, high_k."""
        rows = []
        for key, elpd in self.elpds.items():
            k = unique_k(elpd)
            group = None if key == ROW else key.removeprefix(GROUP)
            target = "row" if key == ROW else "group"
            rows.append(
                (target, group, elpd.elpd, elpd.se, elpd.p, len(k), elpd.good_k, float(k.max()), too_high(elpd))
            )
        return pd.DataFrame(
            rows, columns=["target", "group", "elpd", "se", "p", "items", "good_k", "worst_k", "high_k"]
        )


def unique_k(elpd: ELPD) -> np.ndarray:
    """Pareto k of what was left out: rows of one group have one."""
    k = np.ravel(elpd.pareto_k.to_numpy())
    if elpd.part is None:
        return k
    return k[np.unique(elpd.part, return_index=True)[1]]


def too_high(elpd: ELPD) -> int:
    """How many Pareto k are too high."""
    return int((unique_k(elpd) > elpd.good_k).sum())


def scores_of(candidate: Candidate) -> Scores:
    """Leave out rows, and the levels of every grouping factor.

    Parameters
    ----------
    candidate : Candidate

    Returns
    -------
    Scores
        High Pareto k are for the page to say, so nothing is warned about here.
    """
    fit, design = candidate.fit, candidate.design
    elpds: dict[str, ELPD] = {}
    skipped: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        if effort.rows_cost(fit) > 1:
            skipped[ROW] = (
                f"Leaving out each of {design.n:,} rows would take long, so that was not done; fit.loo() does it."
            )
        else:
            try:
                elpds[ROW] = fit.loo()
            except HierbayesError as error:
                skipped[ROW] = f"Rows could not be left out: {error}"
        for factor in design.factors:
            call = f"fit.logo({factor.name!r})"
            if effort.groups_cost(fit, factor) > 1:
                skipped[GROUP + factor.name] = (
                    f"Leaving out each of {len(factor.levels):,} levels of {factor.name} would take long, so that "
                    f"was not done; {call} does it."
                )
                continue
            try:
                elpds[GROUP + factor.name] = fit.logo(factor.name)
            except HierbayesError as error:
                skipped[GROUP + factor.name] = f"Levels of {factor.name} could not be left out: {error}"
    return Scores(elpds, skipped)


def to_predict(key: str) -> str:
    """What has to be predicted.

    Examples
    --------
    >>> to_predict(ROW), to_predict(GROUP + "Subject")
    ('new rows of known groups', 'new levels of Subject')
    """
    return "new rows of known groups" if key == ROW else f"new levels of {key.removeprefix(GROUP)}"


def too_many(key: str, scores: Scores) -> str:
    """Where Pareto k is too high, in a sentence."""
    row = scores.table.iloc[list(scores.elpds).index(key)]
    what = "rows" if key == ROW else f"levels of {key.removeprefix(GROUP)}"
    are = "is" if row["high_k"] == 1 else "are"
    return (
        f"Pareto k of {count(int(row['high_k']))} of {count(int(row['items']))} {what} {are} above "
        f"{show(row['good_k'], 2)}, the largest {show(row['worst_k'], 2)}: "
        f"{'its score is' if row['high_k'] == 1 else 'their scores are'} not to be trusted."
    )


def remedy(key: str, scores: Scores) -> str:
    """What to do about Pareto k that are too high of what was left out."""
    one = scores.high[key] == 1
    if CLOSED_FORM in scores.elpds[key].note:
        left_out = "" if key == ROW else f"fit.logo({key.removeprefix(GROUP)!r})"
        return f"fit.reloo({left_out}) refits without {'it' if one else 'them'}."
    what = "this row" if key == ROW else f"this level of {key.removeprefix(GROUP)}"
    if not one:
        what = "these rows" if key == ROW else f"these levels of {key.removeprefix(GROUP)}"
    return f"Take more draws; if that does not help, fit the model without {what} and compare."
