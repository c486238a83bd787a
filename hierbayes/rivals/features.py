"""What an estimator of scikit-learn sees of a model's rows, with or without their cluster.

============  ==============================================================================================
features      columns
============  ==============================================================================================
"fixed"       those of the fixed effects; the intercept only if there is nothing else
"one-hot"     these, and an indicator of each cluster among the rows that are fitted: a row of another cluster
              has zeros in all of them (``OneHotEncoder(handle_unknown="ignore")``)
"number"      those of the fixed effects, and the cluster as a number: its label if that is one, else its place
              among the sorted labels. The order and the distances of such numbers mean nothing; a forest takes a
              new cluster for one with a number nearby
"data"        the data frame's own columns that the right side of the formula, weights, standard errors and the
              residual structure use; of an offset as well, which is not subtracted from the response then
============  ==============================================================================================
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hierbayes import names, series
from hierbayes.design import Design, Factor
from hierbayes.from_bambi.formula import Formula
from hierbayes.specification import Specification

FIXED, ONE_HOT, NUMBER, DATA = "fixed", "one-hot", "number", "data"
FEATURES = (FIXED, ONE_HOT, NUMBER, DATA)


def columns_seen(formula: Formula, weights: str | None, se: str | None, residual: str | None) -> set[str]:
    """What a model uses of its rows besides the response: columns, and values of the caller's."""
    correlated = () if residual is None else series.parse(residual).columns
    return formula.right_names | {name for name in (weights, se) if name is not None} | set(correlated)


class Features:
    """Features of the rows of a design, for rows to fit and rows to predict.

    Parameters
    ----------
    specification : Specification
    factor : Factor
        The clusters.
    """

    def __init__(self, specification: Specification, factor: Factor) -> None:
        self.design: Design = specification.design
        self.factor = factor
        given = (specification.weights, specification.se, specification.residual)
        seen = columns_seen(specification.parsed, *given) - set(names.ARRAYS)
        self.data = specification.data[[name for name in specification.data.columns if name in seen]]

    def split(self, kind: str, known: np.ndarray, new: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Features of the rows to fit and of those to predict.

        Parameters
        ----------
        kind : {"fixed", "one-hot", "number", "data"}
        known, new : int array
            Rows to fit, rows to predict.

        Returns
        -------
        pandas.DataFrame, pandas.DataFrame
        """
        if kind == DATA:
            return self.data.iloc[known], self.data.iloc[new]
        found = self.fixed
        if kind == NUMBER:
            found = found.assign(**{self.factor.name: self.numbers[self.factor.codes]})
        if kind == ONE_HOT:
            levels = np.unique(self.factor.codes[known])
            hot = self.factor.codes[:, None] == levels
            columns = [f"{self.factor.name}[{self.factor.levels[level]}]" for level in levels]
            found = pd.concat([found, pd.DataFrame(hot.astype(float), columns=columns)], axis=1)
        return found.iloc[known], found.iloc[new]

    @property
    def fixed(self) -> pd.DataFrame:
        """The columns of the fixed effects."""
        whole = pd.DataFrame(self.design.X, columns=self.design.labels)
        return whole if list(whole) == ["Intercept"] else whole.drop(columns="Intercept", errors="ignore")

    @property
    def numbers(self) -> np.ndarray:
        """A number for each cluster."""
        found = pd.to_numeric(pd.Series(self.factor.levels.astype(str)), errors="coerce").to_numpy(dtype=float)
        return found if np.isfinite(found).all() else np.arange(len(found), dtype=float)
