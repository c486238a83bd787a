r"""Scores of predictions that were made fold by fold.

Over n rows, of which fold f has n_f with squared errors that sum to S_f,

    MSE = Σ S_f / n,    se(MSE) = √( K/(K - 1) Σ (S_f - n_f MSE)² ) / n,    RMSE = √MSE,   se(RMSE) = se(MSE)/(2 RMSE)

the standard error of a ratio of sums over K folds, and the delta method. For folds of one size se(MSE) is the
standard deviation of the K fold-wise MSEs over √K. Folds share most of the rows that predictors are fitted to, so
that this is somewhat too small, and no unbiased estimator exists (Bengio & Grandvalet 2004, Journal of Machine
Learning Research 5, 1089). Repeats deal the same rows anew: mean squares and elpds are averaged over them, and
standard errors are those of one.

The elpd is the sum of log densities over the rows; its standard error is that of `hierbayes.cross_validation.elpd`,
whose parts are whole clusters where clusters are left out.
"""

from __future__ import annotations

import numpy as np

from hierbayes.cross_validation.elpd import standard_error


def root_mean_square(errors: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    """RMSE over all rows, and its standard error over folds.

    Parameters
    ----------
    errors : (repeats, rows) array
        NaN for rows without prediction, which are left out.
    fold : (repeats, rows) int array

    Returns
    -------
    float, float
        NaN where there is no row; no standard error of but one fold.

    Examples
    --------
    >>> rmse, error = root_mean_square(np.array([[1.0, 1.0, 3.0, 3.0]]), np.array([[0, 0, 1, 1]]))
    >>> round(rmse, 4), round(error, 4)
    (2.2361, 0.8944)
    """
    mean, error = mean_over_folds(errors**2, fold)
    rmse = float(np.sqrt(mean))
    return rmse, error / (2.0 * rmse) if rmse > 0.0 else error


def mean_over_folds(values: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    """Mean of the values of rows, and its standard error over folds; as of `root_mean_square`."""
    found = np.array([_mean(*each) for each in zip(values, fold, strict=True)])
    found = found[~np.isnan(found[:, 0])]
    if not len(found):
        return np.nan, np.nan
    return float(found[:, 0].mean()), float(np.sqrt(np.mean(found[:, 1] ** 2)))


def _mean(values: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    here = ~np.isnan(values)
    n = int(here.sum())
    if n == 0:
        return np.nan, np.nan
    sizes = np.bincount(fold[here])
    mean = float(values[here].mean())
    sums = np.bincount(fold[here], values[here]) - sizes * mean
    K = int((sizes > 0).sum())
    return mean, float(np.sqrt(K / (K - 1) * (sums**2).sum()) / n) if K > 1 else np.nan


def log_score(log_density: np.ndarray, part: np.ndarray | None) -> tuple[float, float]:
    """Elpd and its standard error.

    Parameters
    ----------
    log_density : (repeats, rows) array
    part : (rows,) int array or None
        Cluster of each row, where clusters are left out.

    Returns
    -------
    float, float
        NaN unless every row has a density.
    """
    if np.isnan(log_density).any():
        return np.nan, np.nan
    errors = [standard_error(each, part, ddof=0) for each in log_density]
    return float(log_density.sum(axis=1).mean()), float(np.sqrt(np.mean(np.square(errors))))
