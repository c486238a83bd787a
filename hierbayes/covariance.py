r"""Covariance of the random effects: standard deviations and correlations ↔ a factor L, Σ = L Lᵀ.

A block of q effects that share one set of parentheses in the formula has standard deviations
``s_1..s_q`` and, if correlated, a correlation matrix with Cholesky factor C, so that
``L = diag(s) C``. The rows of C are built from partial correlations ``r_ij ∈ (-1, 1)``, j < i::

    C_ij = r_ij Π_{k<j} √(1 - r_ik²),      C_ii = Π_{k<i} √(1 - r_ik²)

(the vine construction of Lewandowski, Kurowicka & Joe 2009, Journal of Multivariate Analysis
100, 1989-2001). Under it the LKJ(η) distribution of the correlation matrix is a product of
independent Beta laws: ``(r_ij + 1)/2 ~ Beta(a_j, a_j)`` with ``a_j = η + (q - 2 - j)/2`` for the
columns j = 0, 1, … of the block. That is how LKJ is sampled here: no Jacobian, no constraint
beyond the interval, and nothing to compile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

INSIDE = 1.0 - 1e-15
"""The largest correlation that has an artanh worth computing with."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the blocks of Σ, in the order of the formula, and which of them are correlated.

    Parameters
    ----------
    sizes : tuple of int
        Number of effects in each block.
    correlated : tuple of bool
        Whether the effects of the block have free correlations.

    Examples
    --------
    >>> layout = Layout((2, 1), (True, False))
    >>> layout.q, layout.n_partial
    (3, 1)
    >>> layout.mask.astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 0, 1]])
    """

    sizes: tuple[int, ...]
    correlated: tuple[bool, ...]

    @property
    def q(self) -> int:
        """Number of random effects per level."""
        return sum(self.sizes)

    @property
    def slices(self) -> list[slice]:
        """Position of each block among the q effects."""
        ends = np.cumsum(self.sizes).tolist()
        return [slice(end - size, end) for size, end in zip(self.sizes, ends, strict=True)]

    @property
    def n_partial(self) -> int:
        """Number of free partial correlations."""
        return sum(k * (k - 1) // 2 for k, free in zip(self.sizes, self.correlated, strict=True) if free)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """`sizes` and `correlated` as integer arrays, for the compiled functions."""
        return np.array(self.sizes, dtype=np.int64), np.array(self.correlated, dtype=np.int64)

    @cached_property
    def mask(self) -> np.ndarray:
        """(q, q) bool: the entries of L that are free."""
        mask = np.zeros((self.q, self.q), dtype=bool)
        for block, free in zip(self.slices, self.correlated, strict=True):
            size = block.stop - block.start
            mask[block, block] = np.tri(size, dtype=bool) if free else np.eye(size, dtype=bool)
        return mask

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Row and column of every free correlation, column by column."""
        mask = self.mask
        return [(i, j) for j in range(self.q) for i in range(j + 1, self.q) if mask[i, j]]

    def lkj_shapes(self, eta: tuple[float, ...]) -> np.ndarray:
        """Shape a of the Beta(a, a) law of each ``(r + 1)/2`` under LKJ(η), one η a block.

        Examples
        --------
        >>> Layout((3,), (True,)).lkj_shapes((1.0,))
        array([1.5, 1.5, 1. ])
        """
        shapes = [
            e + (size - 2 - j) / 2
            for size, free, e in zip(self.sizes, self.correlated, eta, strict=True)
            if free
            for i in range(1, size)
            for j in range(i)
        ]
        return np.array(shapes, dtype=float)


def correlation(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a covariance matrix into standard deviations and correlations.

    Parameters
    ----------
    covariance : (..., q, q) array

    Returns
    -------
    sd : (..., q) array
    corr : (..., q, q) array
        NaN in the rows and columns of an effect without variance.

    Examples
    --------
    >>> sd, corr = correlation(np.array([[4.0, 1.0], [1.0, 1.0]]))
    >>> sd, corr[0, 1]
    (array([2., 1.]), np.float64(0.5))
    """
    sd = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        corr = covariance / (sd[..., :, None] * sd[..., None, :])
    return sd, np.clip(corr, -1.0, 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def factor(sd: np.ndarray, partial: np.ndarray, sizes: np.ndarray, correlated: np.ndarray) -> np.ndarray:
    """L = diag(sd) C, (q, q) lower triangular within the blocks."""
    q = sd.size
    L = np.zeros((q, q))
    first = 0
    at = 0
    for block in range(sizes.size):
        size = sizes[block]
        for i in range(size):
            rest = 1.0
            if correlated[block]:
                for j in range(i):
                    r = partial[at]
                    at += 1
                    L[first + i, first + j] = sd[first + i] * r * rest
                    rest *= math.sqrt(1.0 - r * r)
            L[first + i, first + i] = sd[first + i] * rest
        first += size
    return L


@njit(cache=True, nogil=True, error_model="numpy")
def factor_adjoint(
    sd: np.ndarray, partial: np.ndarray, sizes: np.ndarray, correlated: np.ndarray, L_bar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of f(L) with respect to the standard deviations and partial correlations."""
    q = sd.size
    sd_bar = np.zeros(q)
    partial_bar = np.zeros(partial.size)
    rest = np.empty(q + 1)
    first = 0
    at = 0
    for block in range(sizes.size):
        size = sizes[block]
        for i in range(size):
            row = first + i
            n = i if correlated[block] else 0
            rest[0] = 1.0
            for j in range(n):
                r = partial[at + j]
                sd_bar[row] += L_bar[row, first + j] * r * rest[j]
                rest[j + 1] = rest[j] * math.sqrt(1.0 - r * r)
            sd_bar[row] += L_bar[row, row] * rest[n]
            rest_bar = L_bar[row, row] * sd[row]
            for back in range(n):
                j = n - 1 - back
                r = partial[at + j]
                root = math.sqrt(1.0 - r * r)
                c_bar = L_bar[row, first + j] * sd[row]
                partial_bar[at + j] = c_bar * rest[j] - rest_bar * rest[j] * r / root
                rest_bar = c_bar * r + rest_bar * root
            at += n
        first += size
    return sd_bar, partial_bar


def partials(L: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations and partial correlations of a factor: the inverse of `factor`.

    Parameters
    ----------
    L : (q, q) array
        Lower triangular within the blocks.
    layout : Layout

    Returns
    -------
    sd : (q,) array
    partial : (n_partial,) array
        Zero where an effect has no variance.

    Examples
    --------
    >>> layout = Layout((3,), (True,))
    >>> L = factor(np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.3, 0.2]), *layout.arrays)
    >>> sd, partial = partials(L, layout)
    >>> sd.round(12), partial.round(12)
    (array([1., 2., 3.]), array([ 0.5, -0.3,  0.2]))
    """
    sd = np.sqrt((L**2).sum(axis=1))
    found = []
    for block, free in zip(layout.slices, layout.correlated, strict=True):
        if not free:
            continue
        C = L[block, block] / np.where(sd[block] > 0, sd[block], 1.0)[:, None]
        for i in range(1, len(C)):
            rest = 1.0
            for j in range(i):
                r = float(np.clip(C[i, j] / rest, -1.0, 1.0)) if rest > 0 else 0.0
                found.append(r)
                rest *= math.sqrt(1.0 - r * r)
    return sd, np.array(found)


def cholesky(covariance: np.ndarray) -> np.ndarray:
    """Lower factor of a positive semi-definite matrix; exact zeros where a pivot vanishes.

    Examples
    --------
    >>> cholesky(np.array([[4.0, -2.0], [-2.0, 1.0]]))
    array([[ 2.,  0.],
           [-1.,  0.]])
    """
    q = len(covariance)
    L = np.zeros((q, q))
    for j in range(q):
        pivot = covariance[j, j] - L[j, :j] @ L[j, :j]
        if pivot <= 1e-14 * covariance[j, j]:
            continue
        L[j, j] = math.sqrt(pivot)
        L[j + 1 :, j] = (covariance[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
    return L
