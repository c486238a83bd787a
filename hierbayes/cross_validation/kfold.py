"""K-fold cross-validation: the rows, or whole groups, in k parts, and the posterior sampled anew without each part.

A row is scored by ``p(y_i | y_-F, θ)``, averaged over the draws of the refit without the rows F of its part;
everything but θ is integrated out. No importance sampling is needed.

``p`` is the sum of ``log E[p(y_i | y_-F, θ)]`` over the draws of the fit, less that over those of the refit: how much
the rows of F told about θ. ``arviz.loo_kfold`` instead takes the log likelihood of its wrapper under the fit as the
first term, where a row is given all others rather than the other parts, so that its p is usually larger.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from hierbayes import names
from hierbayes.cross_validation.left_out import Predictive, log_sets
from hierbayes.cross_validation.posterior_refits import cost, log_mean, refit_without
from hierbayes.cross_validation.source import source
from hierbayes.design import Design, Factor
from hierbayes.estimates import Posterior
from hierbayes.progress import bar
from hierbayes.threads import parts

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd_kfold import KFoldELPD

logger = logging.getLogger("hierbayes")
CHUNK = 8_000_000
"""Numbers worked on at a time."""


def fold_of_rows(n: int, k: int, rng: np.random.Generator, codes: np.ndarray | None = None) -> np.ndarray:
    """Deal rows into parts of equal size.

    Parameters
    ----------
    n : int
        Number of rows.
    k : int
        Number of parts.
    rng : numpy.random.Generator
    codes : (n,) int array, optional
        Group of each row; every part then gets its share of every group.

    Returns
    -------
    (n,) int array
        Part of each row, from 0.

    Examples
    --------
    >>> fold_of_rows(6, 3, np.random.default_rng(1), np.array([0, 0, 0, 1, 1, 1]))
    array([0, 2, 1, 2, 0, 1])
    """
    dealt = rng.permutation(n)
    if codes is not None:
        dealt = dealt[np.argsort(codes[dealt], kind="stable")]
    fold = np.empty(n, dtype=np.int64)
    fold[dealt] = np.arange(n) % k
    return fold


def fold_of_levels(factor: Factor, k: int, rng: np.random.Generator) -> np.ndarray:
    """Deal whole levels of a grouping factor into parts of about equal numbers of levels."""
    return fold_of_rows(len(factor.levels), k, rng)[factor.codes]


def kfold(
    fit: Posterior,
    k: int = 10,
    group: str | None = None,
    stratify: str | None = None,
    folds: ArrayLike | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> KFoldELPD:
    """Cross-validate in k parts; arguments as of `hierbayes.Fit.kfold`."""
    from hierbayes.cross_validation.elpd import standard_error
    from hierbayes.cross_validation.elpd_kfold import KFoldELPD

    if folds is None:
        fold = _dealt(fit.design, k, group, stratify, np.random.default_rng(seed))
    elif group is not None or stratify is not None:
        raise ValueError("folds= are parts of your own; give them without group= and stratify=, which deal parts")
    else:
        fold = _given(fit.design, folds)
        k = int(fold.max()) + 1
    sets = [np.flatnonzero(fold == part) for part in range(k)]
    log_sets(fit.marginal, fit.thetas[:1], sets)  # refuses what cannot be left out before the first refit
    elpd, lpd = np.empty(fit.design.n), np.empty(fit.design.n)
    expected = cost(fit, k)
    logger.info("%d-fold cross-validation: %s", k, expected)
    with bar(f"{k}-fold: {expected}", k, progress) as advance:
        for rows in sets:
            refit = refit_without(fit, rows)
            elpd[rows] = _score(fit, refit, refit.thetas, rows)
            lpd[rows] = _score(fit, refit, fit.thetas, rows)
            advance(1)
    part, sizes = _whole_levels(fit.design, fold), fit.posterior.sizes
    coords = {names.ROW: np.arange(fit.design.n)}
    return KFoldELPD(
        elpd=float(elpd.sum()),
        se=standard_error(elpd, part, ddof=0),
        p=float((lpd - elpd).sum()),
        n_samples=sizes[names.CHAIN] * sizes[names.DRAW],
        n_data_points=len(elpd),
        scale="log",
        warning=False,
        good_k=None,  # type: ignore[arg-type]
        elpd_i=xr.DataArray(elpd, coords, name="elpd_i"),
        n_folds=k,
        p_kfold_i=xr.DataArray(lpd - elpd, coords, name="p_kfold_i"),
        fold=fold,
        group=group,
        part=part,
        source=source(fit),
    )


def _score(fit: Posterior, refit: Posterior, thetas: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Log predictive density of rows that a refit has not seen, a chunk at a time."""
    known = Predictive(refit.marginal, thetas, os.cpu_count() or 1)
    chunks = parts(len(rows), max(1, CHUNK // len(thetas)))
    return np.concatenate([log_mean(known.log_new(fit.design.only(rows[chunk])).T) for chunk in chunks])


def _whole_levels(design: Design, fold: np.ndarray) -> np.ndarray | None:
    """Level of each row, of the factor with the fewest levels that are all left out as a whole."""
    whole = [
        factor
        for factor in design.factors
        if len(factor.levels) < design.n and len(np.unique([factor.codes, fold], axis=1).T) == len(factor.levels)
    ]
    return min(whole, key=lambda factor: len(factor.levels)).codes if whole else None


def _given(design: Design, folds: ArrayLike) -> np.ndarray:
    """Parts that the user made, numbered from 0."""
    labels = np.asarray(folds)
    if labels.shape != (design.n,):
        raise ValueError(f"folds= needs one label for each of the {design.n} rows used, not shape {labels.shape}")
    if missing := int(pd.isna(labels).sum()):
        raise ValueError(f"folds= has no label for {missing} of the {design.n} rows; give each row a part")
    known, fold = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        raise ValueError("folds= needs at least two parts")
    return fold


def _dealt(design: Design, k: int, group: str | None, stratify: str | None, rng: np.random.Generator) -> np.ndarray:
    """Part of each row, dealt at random."""
    left_out, dealt = (None if name is None else design.grouping_factor(name) for name in (group, stratify))
    if left_out is not None and dealt is not None:
        raise ValueError(
            "give group= to leave out whole groups or stratify= to leave out part of every group, not both"
        )
    size = design.n if left_out is None else len(left_out.levels)
    if not (isinstance(k, (int, np.integer)) and 2 <= k <= size):
        what = "rows" if left_out is None else f"levels of {group!r}"
        raise ValueError(f"k must be a whole number between 2 and the {size} {what}, not {k!r}")
    if left_out is not None:
        return fold_of_levels(left_out, k, rng)
    return fold_of_rows(design.n, k, rng, None if dealt is None else dealt.codes)
