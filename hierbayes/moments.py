r"""The one pass over the rows: everything the likelihood needs of the data.

For numerical safety the moments are taken in coordinates in which nothing is large, small or
nearly collinear, whatever the units of the data:

- fixed effects: ``X = Q R`` (Householder QR), so that ``γ = R (β - β̂)/s`` has an orthonormal design;
- response: the least-squares residual ``e = y - X β̂``, over its standard deviation s;
- random effects: block by block ``Z = Z̃ E`` with ``Z̃ᵀ Z̃ = n I`` for a correlated block (only rescaled
  for an uncorrelated one), so that ``b̃ = E b / s`` and the relative factor is ``Λ = E L / σ``.

A predictor far from zero (a `year`) or a response in units of 1e-8 then costs no digits.

Levels that have the same ``A_j`` (a balanced design; any design if there are only intercepts) are
interchangeable to the likelihood: their ``M_j`` enter through ``Σ_j vec(M_j) vec(M_j)ᵀ`` alone, whose
rank is at most q(p+1). So that many pseudo-levels stand for all of them, exactly, and the cost of
an evaluation does not grow with the number of groups either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.linalg import solve_triangular

from hierbayes.covariance import Layout
from hierbayes.design import Design
from hierbayes.errors import DataError

DEPENDENT = 1e-9
"""A column is linearly dependent if less than this fraction of its length is new."""


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a design with one grouping factor, in safe coordinates.

    Parameters
    ----------
    n, p, q, J : int
        Rows, fixed effects, random effects per level, levels.
    layout : Layout
    A : (q, q, lanes) array
    count : (lanes,) array
    M : (q, p + 1, lanes) array
        Compressed cross-products, see `hierbayes.kernel.absorb`.
    G : (p + 1, p + 1) array
    A_levels : (q, q, J) array
    M_levels : (q, p + 1, J) array
        The same for every level, for the recovery of the random effects.
    R : (p, p) array
        Upper triangular: γ = R (β - ols) / scale.
    ols : (p,) array
        Least-squares coefficients.
    scale : float
        Residual standard deviation of the least-squares fit, in units of the response.
    E : (q, q) array
        b̃ = E b / scale, block diagonal and upper triangular.
    """

    n: int
    p: int
    q: int
    J: int
    layout: Layout
    A: np.ndarray
    count: np.ndarray
    M: np.ndarray
    G: np.ndarray
    A_levels: np.ndarray
    M_levels: np.ndarray
    R: np.ndarray
    ols: np.ndarray
    scale: float
    E: np.ndarray


def take_moments(design: Design) -> Moments:
    """Reduce a design to its moments, in one pass over the rows.

    Parameters
    ----------
    design : Design
        All blocks on one grouping factor.

    Returns
    -------
    Moments

    Raises
    ------
    DataError
        If columns of the fixed or of the random effects are linearly dependent, if there are no
        more rows than coefficients, or if the fixed effects reproduce the response exactly.
    """
    y, X = design.y, design.X
    n, p = X.shape
    if n <= p:
        raise DataError(
            f"The formula has {p} fixed-effect coefficients but only {n} rows are left; use fewer terms or more data."
        )
    Q, R = orthonormal(X, design.labels, "fixed effects")
    Qy = Q.T @ y
    ols = solve_triangular(R, Qy)
    e = y - X @ ols
    e -= Q @ (Q.T @ e)
    scale = float(np.sqrt(e @ e / (n - p)))
    if scale <= 1e-12 * np.abs(y).max():
        raise DataError(
            f"The fixed effects reproduce the response {design.response!r} exactly, so there is nothing "
            "left to model; take out the term that is computed from the response."
        )
    e /= scale

    layout = design.layout
    Z = np.ascontiguousarray(np.concatenate([block.Z for block in design.blocks], axis=1))
    E = np.zeros((layout.q, layout.q))
    for block, where in zip(design.blocks, layout.slices, strict=True):
        R_block = orthonormal(block.Z, block.labels, f"random effects of {block.factor.name!r}")[1]
        R_block /= np.sqrt(n)
        if not block.correlated:
            R_block = np.diag(np.sqrt((R_block**2).sum(axis=0)))
        E[where, where] = R_block
    T = solve_triangular(E, np.eye(layout.q))

    J = len(design.factor.levels)
    by_level = _accumulate(design.factor.codes, Z, T, np.column_stack([Q, e]), J)
    A_levels, M_levels = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in by_level)
    G = np.eye(p + 1)
    G[p, p] = e @ e
    A, count, M = _compress(A_levels, M_levels)
    return Moments(n, p, layout.q, J, layout, A, count, M, G, A_levels, M_levels, R, ols, scale, E)


def orthonormal(X: np.ndarray, labels: list[str], what: str) -> tuple[np.ndarray, np.ndarray]:
    """QR decomposition with a positive diagonal; dependent columns are refused by name.

    Parameters
    ----------
    X : (n, p) array
    labels : list of str
    what : str
        What the columns are, for the message.

    Returns
    -------
    Q : (n, p) array
    R : (p, p) array

    Raises
    ------
    DataError
        If a column is zero or a linear combination of those before it.
    """
    norm = np.sqrt((X**2).sum(axis=0))
    Q, R = np.linalg.qr(X / np.where(norm > 0, norm, 1.0))
    diagonal = np.abs(np.diag(R))
    bad = np.flatnonzero((diagonal < DEPENDENT) | (norm == 0))
    if bad.size:
        k = int(bad[0])
        if norm[k] == 0:
            raise DataError(f"Column {labels[k]!r} of the {what} is zero in every row; take it out.")
        weights = np.linalg.lstsq(R[:k, :k], R[:k, k], rcond=None)[0]
        others = [repr(labels[i]) for i in range(k) if abs(weights[i]) > 1e-6]
        raise DataError(
            f"Column {labels[k]!r} of the {what} is a linear combination of {', '.join(others)}; "
            "take one of them out of the formula."
        )
    sign = np.where(np.diag(R) < 0, -1.0, 1.0)
    return Q * sign, sign[:, None] * R * norm


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(
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


def _compress(A: np.ndarray, M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace levels with equal A by at most q(p + 1) pseudo-levels with the same likelihood."""
    q, m, J = M.shape
    flat = np.ascontiguousarray(A.reshape(q * q, J).T)
    _, first, inverse, size = np.unique(flat, axis=0, return_index=True, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    crowded = size > q * m
    if not crowded.any():
        return A, np.ones(J), M
    alone = ~crowded[inverse]
    A_parts, count_parts, M_parts = [A[:, :, alone]], [np.ones(int(alone.sum()))], [M[:, :, alone]]
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(size)
    for k in np.flatnonzero(crowded):
        members = order[ends[k] - size[k] : ends[k]]
        pseudo = np.linalg.qr(M[:, :, members].reshape(q * m, -1).T, mode="r")
        lanes = len(pseudo)
        A_parts.append(np.repeat(A[:, :, first[k], None], lanes, axis=2))
        count_parts.append(np.r_[float(size[k]), np.zeros(lanes - 1)])
        M_parts.append(pseudo.T.reshape(q, m, lanes))
    return (
        np.ascontiguousarray(np.concatenate(A_parts, axis=2)),
        np.concatenate(count_parts),
        np.ascontiguousarray(np.concatenate(M_parts, axis=2)),
    )
