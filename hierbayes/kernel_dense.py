"""Small and blocked dense linear algebra for compiled loops.

numba's own bindings have a Cholesky factor and a matrix product but no triangular inverse; the
inverse of a factored matrix is put together here from products, from the last block of columns to
the first (Takahashi, Fagan & Chin 1973; Erisman & Tinney 1975, Communications of the ACM 18, 177).

Functions take arrays and return arrays; they check nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BLOCK = 96
"""Columns worked on together in `inverse`: products of this width run at the speed of the machine."""


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky(a: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor; the last diagonal reads NaN where `a` is not positive definite."""
    n = a.shape[0]
    c = np.zeros((n, n))
    for j in range(n):
        for i in range(j, n):
            total = a[i, j]
            for k in range(j):
                total -= c[i, k] * c[j, k]
            if i == j:
                c[j, j] = math.sqrt(total) if total > 0.0 else math.nan
            else:
                c[i, j] = total / c[j, j]
    return c


@njit(cache=True, nogil=True, error_model="numpy")
def solve(c: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve c cᵀ x = b for a lower triangular c."""
    n = c.shape[0]
    x = np.empty(n)
    for i in range(n):
        x[i] = b[i]
        for k in range(i):
            x[i] -= c[i, k] * x[k]
        x[i] /= c[i, i]
    for back in range(n):
        i = n - 1 - back
        for k in range(i + 1, n):
            x[i] -= c[k, i] * x[k]
        x[i] /= c[i, i]
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def lower_inverse(c: np.ndarray) -> np.ndarray:
    """Inverse of a lower triangular matrix, row by row."""
    n = c.shape[0]
    x = np.zeros((n, n))
    for i in range(n):
        for k in range(i):
            factor = c[i, k]
            for j in range(k + 1):
                x[i, j] -= factor * x[k, j]
        for j in range(i):
            x[i, j] /= c[i, i]
        x[i, i] = 1.0 / c[i, i]
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def inverse(c: np.ndarray, P: np.ndarray) -> None:
    """Write the inverse of ``c cᵀ``, c lower triangular, to the leading n rows and columns of P; 2n³/3 operations.

    With the columns split into a block k and the rest r after it, ``G = c_rk c_kk⁻¹`` gives
    ``P_rk = -P_rr G`` and ``P_kk = c_kk⁻ᵀ c_kk⁻¹ + Gᵀ P_rr G``.
    """
    n = c.shape[0]
    end = n
    while end > 0:
        start = max(0, end - BLOCK)
        size = end - start
        own = lower_inverse(c[start:end, start:end])
        corner = np.dot(own.T, own)
        if end < n:
            rest = np.empty((n - end, n - end))
            below = np.empty((n - end, size))
            for j in range(size):
                for i in range(end, n):
                    below[i - end, j] = c[i, start + j]
            for i in range(end, n):
                for j in range(end, n):
                    rest[i - end, j - end] = P[i, j]
            G = np.dot(below, own)
            PG = np.dot(rest, G)
            corner += np.dot(G.T, PG)
            for i in range(end, n):
                for j in range(size):
                    P[i, start + j] = -PG[i - end, j]
                    P[start + j, i] = -PG[i - end, j]
        for i in range(size):
            for j in range(size):
                P[start + i, start + j] = corner[i, j]
        end = start
