"""Both inferences side by side: one row per parameter, numbers and their writing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from hierbayes.results import FIXED

from .numbers import places, show

SD, CORR, SIGMA = "sd", "corr", "sigma"


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
    kind : {"fixed", "sd", "corr", "sigma"}
    label : str
        As in the tidy tables.
    effect : str
        The effect that a standard deviation belongs to; otherwise the label.
    reml, posterior : Side
    """

    kind: str
    label: str
    effect: str
    reml: Side
    posterior: Side

    @property
    def gap(self) -> float:
        """REML estimate less posterior mean, in posterior standard deviations."""
        return (self.reml.estimate - self.posterior.estimate) / self.posterior.error

    @property
    def places(self) -> int | None:
        """Decimals for all numbers of the row."""
        if self.kind == CORR:
            return 3
        sides = (self.reml, self.posterior)
        values = [value for side in sides for value in (side.estimate, side.low, side.high)]
        return places(values, [side.error for side in sides])

    def show(self, value: float) -> str:
        """Write a number of this row."""
        return show(value, self.places)

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
    made = []
    for a, b in zip(reml.itertuples(), posterior.itertuples(), strict=True):
        label = str(a.term)
        kind, effect = SIGMA, label
        if a.effect == FIXED:
            kind = FIXED
        elif label.startswith("sd("):
            kind, effect = SD, label[3:-1]
        elif label.startswith("corr("):
            kind = CORR
        made.append(Estimate(kind, label, effect, _side(a), _side(b)))
    return made


def _side(row) -> Side:  # type: ignore[no-untyped-def]
    values = (row.estimate, row.std_error, row.conf_low, row.conf_high)
    return Side(*(math.nan if pd.isna(value) else float(value) for value in values))
