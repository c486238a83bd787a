"""The rows by ordinary (or weighted) least squares: complete pooling, no pooling, aggregation, two stages."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from hierbayes.design import Design
from hierbayes.groups import level_means
from hierbayes.moments import DEPENDENT
from hierbayes.pooling_ladder.least_squares import Combination, LeastSquares, least_squares
from hierbayes.pooling_ladder.rung import AGGREGATION, COMPLETE, FULL, INTERCEPTS, MEAN_SLOPE, TWO_STAGE, Rung, listed
from hierbayes.pooling_ladder.slope import Slope, varies
from hierbayes.spelling import spelled


class Regressions:
    """The rows by least squares, one method a row; they share rows and columns.

    Parameters
    ----------
    design : Design
        With one grouping factor.
    formula : str
        Of its fixed part.
    slope : Slope
    columns : collection of str
        Names of the columns of the data.
    """

    def __init__(self, design: Design, formula: str, slope: Slope, columns: Collection[str]) -> None:
        (self._factor,) = design.factors
        self._group, self._term = spelled(self._factor.name, columns), spelled(slope.term.name, columns)
        self._formula, self._slope, self._design = formula, slope, design
        self._root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
        self._y = self._root * (design.y - (0.0 if design.offset is None else design.offset))
        self._X = self._root[:, None] * design.X
        self._unit = np.eye(design.X.shape[1])[slope.column]

    @property
    def _levels(self) -> int:
        return len(self._factor.levels)

    def complete(self) -> Rung:
        """Groups ignored."""
        found = self._ungrouped(self._y, self._X, self._root)
        return self._rung(COMPLETE, self._formula, found, found.combination(self._unit))

    def intercepts(self) -> Rung:
        """An intercept for every group."""
        found = least_squares(self._y, self._X, self._root[:, None], self._factor.codes, self._levels)
        answer = found.combination(self._unit)
        return self._rung(INTERCEPTS, f"{self._formula} + {self._group}", found, answer, self._absorbed())

    def aggregation(self) -> Rung:
        """The means of the groups, each counting once."""
        codes, J, root = self._factor.codes, self._levels, self._root
        means = level_means(np.column_stack([self._X, self._y]) / root[:, None], codes, J, root**2)
        X, y = means[:, :-1], means[:, -1]
        # of a predictor centred within groups the means are rounding, and so are their differences
        middle, rounding = X.mean(axis=0), DEPENDENT * np.sqrt((self._design.X**2).mean(axis=0))
        same = np.abs(X - middle).max(axis=0) <= rounding
        X[:, same] = np.where(np.abs(middle) <= rounding, 0.0, middle)[same]
        found = self._ungrouped(y, X, np.ones(J))
        answer = found.combination(self._unit)
        why = (
            f"the mean of {self._slope.label} is the same in every group of {self._factor.name}"
            if same[self._slope.column]
            else f"{J} means do not tell {self._slope.label} from the other predictors"
        )
        return self._rung(AGGREGATION, f"{self._formula}, means of {self._group}", found, answer, why)

    def two_stage(self) -> Rung:
        """A regression in every group, then a t test of their slopes."""
        k = self._slope.column
        own = self._X[:, [*(j for j in range(self._X.shape[1]) if j != k), k]]
        found = self._grouped(np.empty((len(own), 0)), own)
        slopes = found.slopes[found.exists]
        formula = f"{self._formula} in each {self._group}, then slope ~ 1"
        if not len(slopes):
            return Rung(TWO_STAGE, formula, notes=(self._absorbed(),))
        notes = self._without(found)
        if len(slopes) == 1:
            notes = (*notes, "one slope has no standard deviation, so there is no test")
        spread = float(slopes.std(ddof=1)) if len(slopes) > 1 else np.nan
        error = spread / np.sqrt(len(slopes))
        return Rung(TWO_STAGE, formula, spread, float(slopes.mean()), error, len(slopes) - 1, notes=notes)

    def full(self) -> Rung:
        """An intercept and a slope for every group; the coefficient that treatment coding shows."""
        found = self._interaction()
        first = str(self._factor.levels[0])
        answer = found.combination(own=np.eye(self._levels)[0])
        why = f"{first}, the first group, has no slope of its own" if found.exists.any() else self._absorbed()
        note = (
            f"slope of {first} only: with treatment coding the interaction makes the coefficient that of the first "
            "group"
        )
        return self._rung(FULL, self._full_formula, found, answer, why, note)

    def mean_slope(self) -> Rung:
        """The same, and the mean of the slopes of all groups."""
        found = self._interaction()
        count = int(found.exists.sum())
        answer = found.combination(own=found.exists / max(count, 1)) if count else Combination(np.nan, np.nan)
        notes = (f"mean of the slopes of {count} groups", *self._without(found))
        return self._rung(MEAN_SLOPE, self._full_formula, found, answer, self._absorbed(), *notes)

    @property
    def _full_formula(self) -> str:
        return f"{self._formula} + {self._group} + {self._term}:{self._group}"

    def _ungrouped(self, y: np.ndarray, X: np.ndarray, ones: np.ndarray) -> LeastSquares:
        own = ones[:, None][:, : 1 if self._design.intercept is not None else 0]
        return least_squares(y, X, own, np.zeros(len(y), dtype=int), 1)

    def _grouped(self, common: np.ndarray, own: np.ndarray) -> LeastSquares:
        return least_squares(self._y, common, own, self._factor.codes, self._levels)

    def _interaction(self) -> LeastSquares:
        together = list(self._slope.together)
        own = np.column_stack([self._root, self._X[:, together]])
        return self._grouped(np.delete(self._X, together, axis=1), own)

    def _rung(
        self, name: str, formula: str, found: LeastSquares, answer: Combination, why: str = "", *notes: str
    ) -> Rung:
        if np.isnan(answer.estimate):
            return Rung(name, formula, notes=(why,))
        if found.df == 0:
            notes = (*notes, "no residual degrees of freedom")
        return Rung(name, formula, found.rmse, answer.estimate, answer.std_error, found.df, notes=notes)

    def _absorbed(self) -> str:
        """Why groups that have their own intercepts leave nothing of the slope."""
        label, name = self._slope.label, self._factor.name
        if not varies(self._design, self._slope.column):
            return f"{label} does not vary within any group of {name}, so it cannot be told from their intercepts"
        return f"within the groups of {name} {label} cannot be told from the other predictors"

    def _without(self, found: LeastSquares) -> tuple[str, ...]:
        """The groups that have no slope of their own, counted and named."""
        missing = [str(level) for level in self._factor.levels[~found.exists]]
        if not missing:
            return ()
        of = f"{len(missing)} of {self._levels} groups"
        return (f"without {of}, which have no slope of their own: {listed(missing)}",)
