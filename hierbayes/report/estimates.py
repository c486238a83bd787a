"""Both inferences side by side: one row per parameter, numbers and their writing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pandas as pd

from hierbayes import names
from hierbayes.estimates import FIXED, RESIDUAL

from .method import REML
from .numbers import places, show

SD, CORR, SIGMA, RHO, AUXILIARY = "sd", "corr", "sigma", "rho", "auxiliary"
FAR = 1e4
"""Numbers that many times the posterior are written as powers of ten."""


@dataclass(frozen=True)
class Side:
    """One inference on one parameter.

    Parameters
    ----------
    estimate, error, low, high : float
        Maximum of the likelihood and standard error, or posterior mean and standard deviation; ends of the interval.
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
    kind : {"fixed", "sd", "corr", "sigma", "rho", "auxiliary"}
    label : str
        As in the tidy tables; where there are several grouping factors, with the name of the factor.
    effect : str
        The effect that a standard deviation belongs to; otherwise the term of the tidy tables.
    maximum : Side or None
        By REML or ML, if there is such a fit.
    posterior : Side
    group : str
        Grouping factor of a standard deviation or correlation of random effects; otherwise empty.
    method : str
        Short name of what the maximum is by.
    """

    kind: str
    label: str
    effect: str
    maximum: Side | None
    posterior: Side
    group: str = ""
    method: str = REML.short

    @property
    def sides(self) -> dict[str, Side]:
        """The inferences that there are, by what a sentence calls their estimates."""
        by = {} if self.maximum is None else {self.method: self.maximum}
        return by | {"posterior mean": self.posterior}

    @property
    def first(self) -> Side:
        """The maximum of the likelihood or, without one, the posterior."""
        return self.posterior if self.maximum is None else self.maximum

    @property
    def gap(self) -> float:
        """Maximum of the likelihood less posterior mean, in posterior standard deviations."""
        return (self.first.estimate - self.posterior.estimate) / self.posterior.error

    @property
    def places(self) -> int | None:
        """Decimals for all numbers of the row."""
        if self.kind in (CORR, RHO):
            return 3
        sides = self.sides.values()
        values = [value for side in sides for value in (side.estimate, side.low, side.high)]
        return places([value for value in values if not self._beyond(value)], [side.error for side in sides])

    def _beyond(self, value: float) -> bool:
        """Whether a number is far out, such as the end of an interval where the likelihood is nearly flat."""
        return abs(value) > FAR * max(abs(self.posterior.estimate), abs(self.posterior.low), abs(self.posterior.high))

    def show(self, value: float) -> str:
        """Write a number of this row."""
        return show(value, None if self._beyond(value) else self.places)

    def cells(self) -> list[str]:
        """Estimate, error and interval of the inferences and, of two, the gap, as text."""
        sides = [v for side in self.sides.values() for v in (side.estimate, side.error, side.low, side.high)]
        return [*map(self.show, sides), *([] if self.maximum is None else [show(self.gap, 2)])]


def side_by_side(maximum: pd.DataFrame | None, posterior: pd.DataFrame, method: str = REML.short) -> list[Estimate]:
    """Pair the rows of two tidy tables.

    Parameters
    ----------
    maximum : pandas.DataFrame or None
        `RemlFit.tidy` or `LaplaceFit.tidy`, if there is such a fit.
    posterior : pandas.DataFrame
        `Fit.tidy` or `FamilyFit.tidy` of the same model.
    method : str
        Short name of what the maximum is by.

    Returns
    -------
    list of Estimate
    """
    groups = set(posterior.loc[posterior["group"] != RESIDUAL, "group"].dropna())
    sides = [None] * len(posterior) if maximum is None else [_side(row) for row in maximum.itertuples()]
    made = []
    for a, b in zip(sides, posterior.itertuples(), strict=True):
        term = str(b.term)
        kind, effect, group = FIXED, term, ""
        if b.effect != FIXED and b.group == RESIDUAL:
            kind = {names.SIGMA: SIGMA, names.RHO: RHO}.get(term, AUXILIARY)
        elif b.effect != FIXED:
            kind, group = (SD if term.startswith("sd(") else CORR), str(b.group)
            effect = re.sub(r"^sd\((.*)\)", r"\1", term)
        label = f"{term} of {group}" if group and len(groups) > 1 else term
        made.append(Estimate(kind, label, effect, a, _side(b), group, method))
    return made


def _side(row) -> Side:  # type: ignore[no-untyped-def]
    values = (row.estimate, row.std_error, row.conf_low, row.conf_high)
    return Side(*(math.nan if pd.isna(value) else float(value) for value in values))
