"""One row of the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

COLUMNS = [
    "model", "formula", "rmse", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high",
    "statistic_z", "p_value_z", "p_direction", "note",
]  # fmt: skip
"""Columns of the table of `hierbayes.pooling_ladder.ladder.pooling`."""
COMPLETE, INTERCEPTS, AGGREGATION, TWO_STAGE, FULL, MEAN_SLOPE = (
    "complete pooling", "no pooling, intercepts", "aggregation", "two-stage", "no pooling, full",
    "no pooling, full: mean slope",
)  # fmt: skip
REML_INTERCEPT, REML_SLOPE = "REML, random intercept", "REML, random intercept + slope"
BAYES_INTERCEPT, BAYES_SLOPE = "Bayes, random intercept", "Bayes, random intercept + slope"
"""Names of the rows."""
NAMED = 5
"""So many groups are named in a note; of more, the first ones."""


@dataclass(frozen=True)
class Rung:
    """What one estimator says of the slope; NaN where it says nothing.

    Parameters
    ----------
    model, formula : str
        Name of the row, and what was fitted.
    rmse, estimate, std_error, df : float
    interval : (float, float), optional
        Of a posterior; others are tested by t.
    statistic_z, p_value_z, p_direction : float
    notes : tuple of str
    """

    model: str
    formula: str
    rmse: float = np.nan
    estimate: float = np.nan
    std_error: float = np.nan
    df: float = np.nan
    interval: tuple[float, float] | None = None
    statistic_z: float = np.nan
    p_value_z: float = np.nan
    p_direction: float = np.nan
    notes: tuple[str, ...] = ()

    def row(self, conf_level: float) -> tuple:
        """Values of `COLUMNS`, with the t test and the interval of that level."""
        statistic = p_value = low = high = np.nan
        if self.interval is not None:
            low, high = self.interval
        elif self.std_error > 0.0 and self.df > 0.0:
            statistic = self.estimate / self.std_error
            p_value = 2.0 * stats.t.sf(abs(statistic), self.df)
            reach = stats.t.ppf(0.5 + 0.5 * conf_level, self.df) * self.std_error
            low, high = self.estimate - reach, self.estimate + reach
        return (
            self.model, self.formula, self.rmse, self.estimate, self.std_error, statistic, self.df, p_value, low,
            high, self.statistic_z, self.p_value_z, self.p_direction, "; ".join(self.notes),
        )  # fmt: skip


def listed(levels: Sequence[str]) -> str:
    """Some groups by name.

    Examples
    --------
    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    shown = ", ".join(levels[:NAMED])
    return shown if len(levels) <= NAMED else f"{shown} and {len(levels) - NAMED} more"
