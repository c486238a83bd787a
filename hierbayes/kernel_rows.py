"""The passes over the rows of a design, in compiled loops."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def accumulate(
    codes: np.ndarray, Z: np.ndarray, T: np.ndarray, XY: np.ndarray, J: int
) -> tuple[np.ndarray, np.ndarray]:
    """A_j = TᵀZ_jᵀZ_jT, (J, q, q), and M_j = TᵀZ_jᵀ[X y]_j, (J, q, p + 1)."""
    n, q = Z.shape
    m = XY.shape[1]
    A = np.zeros((J, q, q))
    M = np.zeros((J, q, m))
    z = np.empty(q)
    for row in range(n):
        j = codes[row]
        for i in range(q):
            z[i] = 0.0
            for k in range(i + 1):
                z[i] += Z[row, k] * T[k, i]
        for i in range(q):
            for k in range(i + 1):
                A[j, i, k] += z[i] * z[k]
            for a in range(m):
                M[j, i, a] += z[i] * XY[row, a]
    for j in range(J):
        for i in range(q):
            for k in range(i):
                A[j, k, i] = A[j, i, k]
    return A, M


@njit(cache=True, nogil=True, error_model="numpy")
def respond(
    y: np.ndarray,
    Q: np.ndarray,
    R: np.ndarray,
    Z: np.ndarray,
    factor_of: np.ndarray,
    codes: np.ndarray,
    where: np.ndarray,
    corner: int,
    data: np.ndarray,
    ols: np.ndarray,
) -> float:
    """Write the cross-products of one response over those in `data`, and its least-squares coefficients to `ols`.

    Parameters
    ----------
    y : (n,) array
        As of `Rows.scaled`.
    Q, R, Z, factor_of, codes, where, corner
        Of `Rows`.
    data : (size,) array
    ols : (p,) array

    Returns
    -------
    scale : float
        Residual standard deviation.
    """
    n, p = Q.shape
    q = Z.shape[1]
    e = y.copy()
    total = np.zeros(p)
    for _ in range(2):
        along = np.zeros(p)
        for row in range(n):
            for k in range(p):
                along[k] += Q[row, k] * e[row]
        for row in range(n):
            for k in range(p):
                e[row] -= Q[row, k] * along[k]
        for k in range(p):
            total[k] += along[k]
    for back in range(p):
        k = p - 1 - back
        ols[k] = total[k]
        for j in range(k + 1, p):
            ols[k] -= R[k, j] * ols[j]
        ols[k] /= R[k, k]
    squares = 0.0
    for row in range(n):
        squares += e[row] * e[row]
    scale = math.sqrt(squares / (n - p))
    for i in range(q):
        for j in range(where.shape[1]):
            if where[i, j] > 0:
                data[where[i, j]] = 0.0
    for row in range(n):
        for i in range(q):
            data[where[i, codes[factor_of[i], row]]] += Z[row, i] * e[row] / scale
    data[corner] = squares / (scale * scale)
    return scale
