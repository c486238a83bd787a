r"""Ordinary regression of a design's fixed effects, with or without a dummy for each cluster.

With weights w (the variance of row i is σ²/wᵢ) and a design matrix X of rank r the least-squares prediction of a new
row is ``x'β̂``, and its predictive distribution under a flat prior for β and log σ is Student's t,

    y ~ t_{n - r}( x'β̂,  s² (1/w + x' (X'WX)⁻ x) ),    s² = Σ w (y - x'β̂)² / (n - r)

(Gelman et al., Bayesian Data Analysis, 3rd edition, section 14.2); Normal where σ is known. Dummies for the J
clusters are swept out: X and y are replaced by their deviations from weighted cluster means (the within
transformation), r becomes J + rank of these deviations, and the prediction ``ȳ_j + (x - x̄_j)'β̂`` has 1/Σ_j w more in
its variance.

A row is predicted only if the rows fitted determine its mean: if x lies in the row space of X. With dummies a
cluster that is new has no mean, so that its rows have no prediction.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from hierbayes.design import Design, Factor
from hierbayes.groups import level_means

COLLINEAR = 1e-9
"""Singular values below this, relative to columns of mean square 1, are zero, and so are deviations from a space."""


def ordinary(
    design: Design, known: np.ndarray, new: np.ndarray, factor: Factor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predict rows by least squares on other rows.

    Parameters
    ----------
    design : Design
    known, new : int array
        Rows to fit, rows to predict.
    factor : Factor, optional
        Clusters that have an intercept each.

    Returns
    -------
    mean, log_density : (rows,) arrays
        Of the rows to predict; NaN where the rows fitted do not determine the mean. Densities are NaN where they
        leave no degree of freedom.

    Examples
    --------
    >>> import hierbayes as hb
    >>> design = hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups")).design
    >>> known, new = np.arange(80), np.array([80, 99])
    >>> ordinary(design, known, new)[0].round(3)
    array([-0.038,  0.231])
    >>> ordinary(design, known, new, design.factors[0])[0]
    array([nan, nan])
    """
    weights = np.ones(design.n) if design.weights is None else design.weights
    y = design.y - (0.0 if design.offset is None else design.offset)
    units = np.sqrt((design.X**2).mean(axis=0))
    X = design.X / np.where(units > 0.0, units, 1.0)
    variance, clusters = 1.0 / weights[new], 0
    if factor is not None:
        codes = factor.codes
        J, Xy = len(factor.levels), np.column_stack([X, y])
        centred = Xy - level_means(Xy[known], codes[known], J, weights[known])[codes]
        X, y = centred[:, :-1], centred[:, -1]
        mass = np.bincount(codes[known], weights[known], minlength=J)
        variance = variance + 1.0 / np.where(mass > 0.0, mass, np.nan)[codes[new]]
        clusters = int((mass > 0.0).sum())
    root = np.sqrt(weights[known])
    U, s, Vt = np.linalg.svd(X[known] * root[:, None], full_matrices=False)
    kept = s > COLLINEAR * np.sqrt(weights[known].sum())
    s, Vt = s[kept], Vt[kept]
    beta = Vt.T @ (U[:, kept].T @ (y[known] * root) / s)
    error = y[new] - X[new] @ beta
    outside = np.abs(X[new] - X[new] @ Vt.T @ Vt).max(axis=1, initial=0.0)
    error[~(outside <= COLLINEAR * (1.0 + np.abs(X[new]).max(axis=1, initial=0.0)))] = np.nan
    variance = variance + ((X[new] @ Vt.T / s) ** 2).sum(axis=1)
    left = len(known) - clusters - len(s)
    if design.sigma is not None:
        log_density = stats.norm.logpdf(error, scale=design.sigma * np.sqrt(variance))
    elif left > 0:
        squares = (weights[known] * (y[known] - X[known] @ beta) ** 2).sum()
        log_density = stats.t.logpdf(error, left, scale=np.sqrt(squares / left * variance))
    else:
        log_density = np.full(len(new), np.nan)
    return design.y[new] - error, log_density
