r"""Least squares where some columns have a coefficient of their own in every level, without a column for each.

The rows are those of y = Σ_k own_k s_k[level] + C γ + ε. Within every level the own columns are made orthogonal one
after the other and subtracted from all that follow (Gram-Schmidt; a level in which nothing new is left of a column
has no coefficient for it). What remains of y and C is orthogonal to the own columns, so that by the theorem of
Frisch, Waugh and Lovell (Lovell 1963, Journal of the American Statistical Association 58, 993)

    γ̂ = C̃⁺ ỹ,    Var γ̂ = σ² (C̃ᵀC̃)⁺,    s_j = h_j (y - C γ̂),    h_j = õ_jᵀ / õ_jᵀõ_j,

with õ_j what is left of the last own column in level j. h_j y and γ̂ are uncorrelated, hence

    θ = Σ_j a_j s_j + cᵀγ = Σ_j a_j h_j y + dᵀγ̂,    d = c - Σ_j a_j (h_j C)ᵀ,
    Var θ̂ = σ² [ Σ_j a_j² / õ_jᵀõ_j + dᵀ(C̃ᵀC̃)⁺d ],    σ̂² = SSE / (n - rank).

One pass over the rows a column, and no matrix of rows x levels. Precision weights multiply all rows by √w beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hierbayes.groups import level_sums
from hierbayes.moments import DEPENDENT

ESTIMABLE = 1e-7
"""A combination of coefficients is estimable if less than this fraction of it lies where the columns say nothing."""


@dataclass(frozen=True)
class Combination:
    """A linear combination of coefficients.

    Parameters
    ----------
    estimate : float
        NaN if the columns do not determine it.
    std_error : float
        NaN without residual degrees of freedom.
    """

    estimate: float
    std_error: float


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """A regression; made by `least_squares`.

    Parameters
    ----------
    slopes : (J,) array
        h_j y: what each level says of the coefficient of the last own column before C γ̂ is taken off; 0 where it
        says nothing.
    by_common : (J, m) array
        h_j C.
    information : (J,) array
        õ_jᵀõ_j, 0 where a level says nothing.
    gamma : (m,) array
        In units of `scale`: the coefficients are ``gamma / scale``.
    scale : (m,) array
        Lengths of the columns of C̃, 1 for those of which nothing is left.
    directions : (m, r) array
        The combinations of ``gamma`` that the rows determine, one a column.
    variances : (r,) array
        Their variances over σ².
    sse : float
        Sum of squares that is left.
    df : int
        Residual degrees of freedom.
    """

    slopes: np.ndarray
    by_common: np.ndarray
    information: np.ndarray
    gamma: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    sse: float
    df: int

    @property
    def exists(self) -> np.ndarray:
        """(J,) whether a level has a coefficient of its own for the last own column."""
        return self.information > 0.0

    @cached_property
    def rmse(self) -> float:
        """Residual standard deviation, NaN without residual degrees of freedom."""
        return float(np.sqrt(self.sse / self.df)) if self.df > 0 else np.nan

    def combination(self, common: np.ndarray | None = None, own: np.ndarray | None = None) -> Combination:
        """Estimate cᵀγ + Σ_j a_j s_j.

        Parameters
        ----------
        common : (m,) array, optional
            c, by default 0.
        own : (J,) array, optional
            a, by default 0.

        Returns
        -------
        Combination
        """
        c = np.zeros(len(self.scale)) if common is None else np.asarray(common, dtype=float)
        a = np.zeros(len(self.slopes)) if own is None else np.asarray(own, dtype=float)
        used = a != 0.0
        d = (c - a @ self.by_common) / self.scale
        known = self.directions.T @ d
        lost = d - self.directions @ known
        if not self.exists[used].all() or np.linalg.norm(lost) > ESTIMABLE * np.linalg.norm(d):
            return Combination(np.nan, np.nan)
        variance = (a[used] ** 2 / self.information[used]).sum() + known**2 @ self.variances
        return Combination(float(a @ self.slopes + d @ self.gamma), float(self.rmse * np.sqrt(variance)))


def least_squares(y: np.ndarray, common: np.ndarray, own: np.ndarray, codes: np.ndarray, levels: int) -> LeastSquares:
    """Regress y on common columns and on columns whose coefficient differs between levels.

    Parameters
    ----------
    y : (n,) array
    common : (n, m) array
        C; columns that are combinations of others are allowed.
    own : (n, k) array
        Columns with a coefficient in every level, the one of interest last.
    codes : (n,) int array
        Level of each row.
    levels : int
        J.

    Returns
    -------
    LeastSquares

    Examples
    --------
    >>> x, y = np.array([0.0, 1, 2, 0, 1, 2]), np.array([1.0, 2, 3, 5, 7, 9])
    >>> found = least_squares(y, np.empty((6, 0)), np.column_stack([np.ones(6), x]), np.repeat([0, 1], 3), 2)
    >>> found.slopes, found.df
    (array([1., 2.]), 2)
    """
    k, m = own.shape[1], common.shape[1]
    rest = np.column_stack([own, common, y])
    length = level_sums(rest**2, codes, levels)  # of the columns as they came, level by level
    slopes, by_common, information = np.zeros(levels), np.zeros((levels, m)), np.zeros(levels)
    rank = 0
    for a in range(k):
        information = _left(rest[:, a], length[:, a], codes)
        found = information > 0.0
        rank += int(found.sum())
        after = slice(a + 1, None)
        by = rest[:, a, None]
        products = level_sums(by * rest[:, after], codes, levels)
        coefficients = np.divide(products, information[:, None], out=np.zeros_like(products), where=found[:, None])
        rest[:, after] -= by * coefficients[codes]
        _clear(rest[:, after], length[:, after], codes)
        slopes, by_common = coefficients[:, -1], coefficients[:, k - a - 1 : -1]
    left, y_left = rest[:, k:-1], rest[:, -1]
    whole, size = np.sqrt(length[:, k:-1].sum(axis=0)), np.sqrt((left**2).sum(axis=0))
    left[:, size <= DEPENDENT * whole] = 0.0
    scale = np.where(size <= DEPENDENT * whole, 1.0, size)
    U, s, V = np.linalg.svd(left / scale, full_matrices=False)
    kept = s > DEPENDENT * max(1.0, np.sqrt(m))
    U, s, V = U[:, kept], s[kept], V[kept].T
    gamma = V @ (U.T @ y_left / s)
    residual = y_left - left @ (gamma / scale)
    rank += len(s)
    if k == 0:
        slopes, by_common, information = np.zeros(levels), np.zeros((levels, m)), np.zeros(levels)
    return LeastSquares(
        slopes, by_common, information, gamma, scale, V, s**-2.0, float(residual @ residual), len(y) - rank
    )


def _left(column: np.ndarray, length: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(J,) squared length of what is left of a column in every level, 0 where that is rounding."""
    left = np.bincount(codes, column**2, minlength=len(length))
    return np.where(left > DEPENDENT**2 * length, left, 0.0)


def _clear(columns: np.ndarray, length: np.ndarray, codes: np.ndarray) -> None:
    """Set to zero, in place, what is rounding of every column but the last (the response)."""
    for column, before in zip(columns.T[:-1], length.T[:-1], strict=True):
        column[(_left(column, before, codes) == 0.0)[codes]] = 0.0
