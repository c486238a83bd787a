"""The rows to predict: those fitted, or others in the coding of the fit."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, MissingPrediction
from hierbayes.from_bambi.new_rows import NewRows
from hierbayes.predictions.groups import KNOWN, MIXED, NEW, RESPONSE
from hierbayes.specification import Specification, required


def rows_of(
    design: Design,
    specification: Specification | None,
    newdata: pd.DataFrame | None,
    groups: dict[str, str],
    kind: str,
) -> NewRows:
    """Read the rows to predict.

    Parameters
    ----------
    design : Design
    specification : Specification or None
        Needed for other rows than those fitted.
    newdata : pandas.DataFrame or None
        None for the rows fitted.
    groups : dict of str to str
        From `read_groups`.
    kind : {"linear", "mean", "response"}

    Returns
    -------
    NewRows

    Raises
    ------
    DataError
        If the rows cannot be evaluated, or have a level that was not fitted where it must be known.
    HierbayesError
        For other rows than those fitted without a specification.

    Warns
    -----
    MissingPrediction
        For rows with missing values.
    """
    factors = [name for name, wanted in groups.items() if wanted in {KNOWN, NEW, MIXED}]
    if newdata is None:
        return _fitted(design, factors)
    rows = required(specification).new_rows(newdata, factors, kind == RESPONSE)
    lost = int((~rows.complete).sum())
    if lost:
        warnings.warn(
            f"{lost} of {len(rows.complete)} rows of newdata have missing values in "
            f"{', '.join(map(repr, rows.incomplete))}, so their predictions are missing; fill them.",
            MissingPrediction,
            stacklevel=5,
        )
    for name, wanted in groups.items():
        unseen = rows.codes[name] < 0 if wanted == KNOWN else np.zeros(0, dtype=bool)
        if unseen.any():
            raise DataError(
                f"{name!r} has the level {rows.labels[name][unseen][0]!r} in newdata, which was not fitted; with "
                "groups='mixed' its effects are drawn from the distribution of groups; groups='average' and "
                "'population' do not need them."
            )
    return rows


def _fitted(design: Design, factors: list[str]) -> NewRows:
    """The rows of the design."""
    by_name = {factor.name: factor for factor in design.factors}
    trials = design.y.sum(axis=1) if design.y.ndim == 2 else design.trials
    return NewRows(
        index=pd.RangeIndex(design.n) if design.row_labels is None else pd.Index(design.row_labels),
        complete=np.ones(design.n, dtype=bool),
        incomplete=(),
        X=design.X,
        offset=design.offset,
        Z=tuple(block.Z for block in design.blocks),
        labels={name: by_name[name].levels[by_name[name].codes] for name in factors},
        codes={name: by_name[name].codes for name in factors},
        weights=design.weights,
        trials=trials,
    )
