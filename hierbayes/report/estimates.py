"""Both inferences side by side: one row per parameter, numbers and their writing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from hierbayes import names
from hierbayes.estimates import FIXED, RESIDUAL

from .numbers import places, show

SD, CORR, SIGMA, RHO = "sd", "corr", "sigma", "rho"
FAR = 1e4
"""Numbers that many times the posterior are written as powers of ten."""


@dataclass(frozen=True)
class Side:
    """One inference on one parameter.

    Parameters
    ----------
    estimate, error, low, high : float
        REML estimate and standard error, or posterior mean and standard deviation; ends of the interval.
    """

    estimate: float
    error: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval exists and lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate:
    """One parameter.

    Parameters
    ----------
    kind : {"fixed", "sd", "corr", "sigma", "rho"}
    label : str
        As in the tidy tables; where there are several grouping factors, with the name of the factor.
    effect : str
        The effect that a standard deviation belongs to; otherwise the term of the tidy tables.
    reml, posterior : Side
    group : str
        Grouping factor of a standard deviation or correlation of random effects; otherwise empty.
    """

    kind: str
    label: str
    effect: str
    reml: Side
    posterior: Side
    group: str = ""

    @property
    def gap(self) -> float:
        """REML estimate less posterior mean, in posterior standard deviations."""
        return (self.reml.estimate - self.posterior.estimate) / self.posterior.error

    @property
    def places(self) -> int | None:
        """Decimals for all numbers of the row."""
        if self.kind in (CORR, RHO):
            return 3
        sides = (self.reml, self.posterior)
        values = [value for side in sides for value in (side.estimate, side.low, side.high)]
        return places([value for value in values if not self._beyond(value)], [side.error for side in sides])

    def _beyond(self, value: float) -> bool:
        """Whether a number is far out, such as the end of an interval where the likelihood is nearly flat."""
        return abs(value) > FAR * max(abs(self.posterior.estimate), abs(self.posterior.low), abs(self.posterior.high))

    def show(self, value: float) -> str:
        """Write a number of this row."""
        return show(value, None if self._beyond(value) else self.places)

    def cells(self) -> list[str]:
        """Estimate, error and interval of both inferences, and the gap, as text."""
        sides = [v for side in (self.reml, self.posterior) for v in (side.estimate, side.error, side.low, side.high)]
        return [*map(self.show, sides), show(self.gap, 2)]


def side_by_side(reml: pd.DataFrame, posterior: pd.DataFrame) -> list[Estimate]:
    """Pair the rows of two tidy tables.

    Parameters
    ----------
    reml, posterior : pandas.DataFrame
        `RemlFit.tidy` and `Fit.tidy` of the same model.

    Returns
    -------
    list of Estimate
    """
    groups = set(reml.loc[~reml["term"].isin([names.SIGMA, names.RHO]), "group"].dropna())
    made = []
    for a, b in zip(reml.itertuples(), posterior.itertuples(), strict=True):
        term = str(a.term)
        kind, effect, group = FIXED, term, ""
        if a.effect != FIXED and a.group == RESIDUAL and term in (names.SIGMA, names.RHO):
            kind = SIGMA if term == names.SIGMA else RHO
        elif a.effect != FIXED:
            kind, group = (SD if term.startswith("sd(") else CORR), str(a.group)
            effect = term[3:-1] if kind == SD else term
        label = f"{term} of {group}" if group and len(groups) > 1 else term
        made.append(Estimate(kind, label, effect, _side(a), _side(b), group))
    return made


def _side(row) -> Side:  # type: ignore[no-untyped-def]
    values = (row.estimate, row.std_error, row.conf_low, row.conf_high)
    return Side(*(math.nan if pd.isna(value) else float(value) for value in values))
