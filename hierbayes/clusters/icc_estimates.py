r"""Estimators of the intraclass correlation side by side, and what the popular wrong one estimates.

ρ = τ²/(τ² + σ²) with variance τ² between and σ² within J groups of n_j rows, N in all, given predictors or not. With
M the residual maker of the predictors (the intercept among them), Z the dummies of the groups and P Λ Pᵀ = ZᵀMZ (r
eigenvalues that are not zero), the sum of squares of the groups splits into r independent parts,

    s = Pᵀ Zᵀ M y,    Var s_k = λ_k (σ² + λ_k τ²),

and MSE = σ̂² is what predictors and groups together leave, with N - rank(X, Z) degrees of freedom.

- ANOVA: with MSB = Σ s_k²/λ_k / r and n₀ = Σ λ_k / r, τ̂² = (MSB - MSE)/n₀. Balanced and without predictors it is
  ICC(1) of Shrout & Fleiss (1979, Psychological Bulletin 86, 420), and n₀ is (N - Σ n_j²/N)/(J - 1) if groups differ
  in size.
- Interval: for every ratio θ = τ²/σ², Σ s_k²/(λ_k (1 + λ_k θ)) / (r MSE) has an F distribution with (r, df) degrees
  of freedom exactly, and falls with θ (Wald 1940, Annals of Mathematical Statistics 11, 96; Harville & Fenech 1985,
  Biometrics 41, 137). The θ at which it is an upper or a lower quantile are the ends; balanced they are Shrout &
  Fleiss's.
- REML: of `hierbayes.Model`.
- Naive: variance of the group means over itself plus the mean of the variances within groups, which divide by n_j.
  A mean of n rows has variance τ² + σ²/n, and dividing by n makes the variance within (1 - 1/n) σ²; so the ratio
  estimates

      (τ² + σ²/n) / (τ² + σ²) = ρ + (1 - ρ)/n

  instead of ρ (ratio of expectations; with groups of different sizes the expectations of both parts are computed
  exactly). It says 1/n where there is no correlation at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from hierbayes.clusters.columns import complete_rows
from hierbayes.errors import DataError, SingularFit
from hierbayes.estimates import checked
from hierbayes.model import Model

NAIVE, ANOVA, REML = "naive", "ANOVA", "REML"
COLUMNS = ["estimator", "given", "icc", "conf_low", "conf_high", "between", "within", "expects", "note"]
TINY = 1e-9
"""Eigenvalues below this fraction of the largest are zero."""


def icc_estimates(
    data: pd.DataFrame, value: str, group: str, given: str | Sequence[str] = (), conf_level: float = 0.95
) -> pd.DataFrame:
    """Estimate an intraclass correlation in the ways that are in use, right and wrong.

    Parameters
    ----------
    data : pandas.DataFrame
    value : str
        Numeric column.
    group : str
        Column of the clusters.
    given : str or sequence of str, optional
        Numeric predictors; rows with the correlation of what they leave are added.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Rows naive, ANOVA and REML, the last two again given the predictors. Columns estimator, given, icc, conf_low
        and conf_high (exact, of the ANOVA row), between and within (variances), expects (what the formula would give
        on average, about, if the REML estimate were the truth), note. An ANOVA estimate below zero is shown as it is.

    Raises
    ------
    DataError
        For unknown columns, text where numbers are needed, fewer than two groups or one row a group.
    ValueError
        If `conf_level` is not between 0 and 1.

    Warns
    -----
    RowsDropped
        If rows have missing values.

    Examples
    --------
    >>> import hierbayes as hb
    >>> table = hb.icc_estimates(hb.load_data("five_groups"), "y", "group", given="X")
    >>> table[["estimator", "given", "icc", "conf_low", "conf_high", "expects"]].round(3)
      estimator given    icc  conf_low  conf_high  expects
    0     naive        0.799       NaN        NaN    0.799
    1     ANOVA        0.789     0.554      0.969    0.789
    2      REML        0.789       NaN        NaN    0.789
    3     ANOVA     X  0.659     0.488      0.962    0.745
    4      REML     X  0.745       NaN        NaN    0.745
    """
    checked(conf_level)
    predictors = [given] if isinstance(given, str) else list(given)
    rows = complete_rows(data, [value, *predictors], [group])
    codes, levels = pd.factorize(rows[group])
    sizes = np.bincount(codes)
    if len(levels) < 2 or len(rows) == len(levels):
        raise DataError(f"Column {group!r} needs at least two groups, and at least one of them several rows.")
    y = rows[value].to_numpy()
    table = []
    for names in [[], predictors] if predictors else [[]]:
        X = np.column_stack([np.ones(len(rows)), rows[names].to_numpy()])
        between, within, note = _reml(rows, value, group, names)
        icc = between / (between + within)
        label = " + ".join(names)
        if not names:
            b, w = _naive(y, codes, sizes)
            table.append(
                (NAIVE, label, b / (b + w), np.nan, np.nan, b, w, expected_naive(between, within, sizes), "")
            )
        b, w, low, high = _anova(y, X, codes, conf_level)
        negative = "below zero: groups differ less than chance would make them" if b < 0.0 else ""
        table.append((ANOVA, label, b / (b + w), low, high, b, w, icc, negative))
        table.append((REML, label, icc, np.nan, np.nan, between, within, icc, note))
    return pd.DataFrame(table, columns=COLUMNS)


def expected_naive(between: float, within: float, sizes: Sequence[int] | np.ndarray) -> float:
    """What the naive ratio estimates, as a ratio of expectations.

    Parameters
    ----------
    between, within : float
        True variances.
    sizes : (J,) array
        Rows of each group.

    Returns
    -------
    float

    Examples
    --------
    >>> round(expected_naive(0.0, 1.0, [5, 5, 5, 5]), 12)
    0.2
    """
    n = np.asarray(sizes, dtype=float)
    share, of_mean = n / n.sum(), between + within / n
    of_means = float((of_mean * (1.0 - 2.0 * share)).sum() + len(n) * (share**2 * of_mean).sum()) / (len(n) - 1)
    inside = within * float((1.0 - 1.0 / n).mean())
    return of_means / (of_means + inside)


def _naive(y: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Variance of the group means around the grand mean, and mean variance within groups, which divide by n."""
    means = np.bincount(codes, y) / sizes
    inside = np.bincount(codes, (y - means[codes]) ** 2) / sizes
    return float(((means - y.mean()) ** 2).sum() / (len(means) - 1)), float(inside.mean())


def _anova(y: np.ndarray, X: np.ndarray, codes: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Variances between and within, and the interval of ρ."""
    basis = np.linalg.svd(X, full_matrices=False)
    Q = basis[0][:, basis[1] > TINY * basis[1][0]]
    My = y - Q @ (Q.T @ y)
    lam, counts, squares = _of_groups(My, Q, codes)
    r = int(counts.sum())
    df = len(y) - Q.shape[1] - r
    if df < 1 or not r:
        raise DataError("Predictors and groups leave no degrees of freedom; take a predictor out.")
    parts = squares / lam
    within = (float(My @ My) - parts.sum()) / df
    between = (parts.sum() / r - within) / (float(counts @ lam) / r)

    def ratio_at(theta: float) -> float:
        return float((parts / (1.0 + lam * theta)).sum() / r / within)

    tail = 0.5 * (1.0 - level)
    low, high = (_ratio(ratio_at, stats.f.isf(t, r, df), 1.0 / lam.max()) for t in (tail, 1.0 - tail))
    return float(between), float(within), low / (1.0 + low), high / (1.0 + high)


def _of_groups(My: np.ndarray, Q: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues λ > 0 of ZᵀMZ, of how many each is, and the sum of their s_k².

    With B = ZᵀQ the matrix is diag(n_j) - BBᵀ. Among the groups of one size n every direction that is orthogonal to
    their rows of B is an eigenvector of n; of each size only the other directions, at most as many as Q has columns,
    make up the matrix that is decomposed.
    """
    sizes, sums = np.bincount(codes), np.bincount(codes, My)
    B = np.column_stack([np.bincount(codes, q) for q in Q.T])
    alike, rest, left, right, diagonal = [], [], [], [], []
    for n in np.unique(sizes):
        here = sizes == n
        U = np.linalg.qr(B[here])[0]
        along = U.T @ sums[here]
        alike.append((float(n), len(U) - U.shape[1]))
        rest.append(float(((sums[here] - U @ along) ** 2).sum()))
        diagonal.append(np.full(U.shape[1], float(n)))
        left.append(U.T @ B[here])
        right.append(along)
    C = np.concatenate(left)
    eigenvalues, P = np.linalg.eigh(np.diag(np.concatenate(diagonal)) - C @ C.T)
    lam = np.r_[[n for n, _ in alike], eigenvalues]
    counts = np.r_[[count for _, count in alike], np.ones(len(eigenvalues), dtype=int)]
    squares = np.r_[rest, (P.T @ np.concatenate(right)) ** 2]
    kept = (counts > 0) & (lam > TINY * lam[counts > 0].max())
    return lam[kept], counts[kept], squares[kept]


def _ratio(F: Callable[[float], float], wanted: float, smallest: float) -> float:
    """The variance ratio at which a falling function has a value; may be negative, down to -`smallest`."""
    low, high = -smallest * (1.0 - 1e-12), 1.0
    if F(low) < wanted:
        return low
    while F(high) > wanted:
        high *= 4.0
    return float(optimize.brentq(lambda theta: F(theta) - wanted, low, high, xtol=1e-14, rtol=1e-13))


def _reml(rows: pd.DataFrame, value: str, group: str, names: Sequence[str]) -> tuple[float, float, str]:
    """Variances between and within by REML."""
    formula = " + ".join([f"`{value}` ~ 1", *[f"`{name}`" for name in names], f"(1 | `{group}`)"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFit)  # said in the note
        fit = Model(formula, rows).reml()
    note = "on the boundary: no variance between groups" if fit.singular else ""
    return float(fit.covariance[0, 0]), fit.sigma**2, note
