r"""Elimination of the random effects of one grouping factor, level by level.

Model, for the rows of level ``j`` of the factor (everything here is in the coordinates that
`hierbayes.moments` chooses: orthonormal fixed effects, a standardised response)::

    y_j = X_j γ + Z_j b_j + ε,     b_j ~ N(0, σ² Λ Λᵀ),     ε ~ N(0, σ² I)

The data enter through ``A_j = Z_jᵀ Z_j`` and ``M_j = Z_jᵀ [X_j y_j]`` alone, and through the
total cross-product ``G = [X y]ᵀ [X y]``. With ``W_j = I + Λᵀ A_j Λ``,

    K = [X y]ᵀ V₀⁻¹ [X y] = G - Σ_j M_jᵀ Λ W_j⁻¹ Λᵀ M_j,      log|V₀| = Σ_j log|W_j|

where ``V₀ = I + Z Λ Λᵀ Zᵀ`` is the covariance of the response over σ² (Woodbury and the matrix
determinant lemma; Lindstrom & Bates 1988, JASA 83, 1014). What follows from K is in
`hierbayes.kernel_fixed`.

The gradient is the reverse sweep of the same loop. For a scalar f with ``∂f/∂K = K̄`` and
``∂f/∂log|V₀| = l̄``, writing ``P_j = W_j⁻¹ Λᵀ M_j``,

    ∂f/∂Λ = 2 Σ_j [ l̄ A_j Λ W_j⁻¹ - (M_j - A_j Λ P_j) K̄ P_jᵀ ]

Levels are stored last ("lanes"), so that the inner loops run over levels with unit stride and
compile to SIMD code. Cost: O(J q² (q + p)) per evaluation, whatever the number of rows.

Functions take arrays and return arrays and floats; they check nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LANES = 64
"""How many levels are worked on together; the scratch arrays of a chunk stay in the first cache."""

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _factorise(A: np.ndarray, L: np.ndarray, size: int, AL: np.ndarray, C: np.ndarray) -> None:
    """Write AΛ and the Cholesky factor of W = I + ΛᵀAΛ for `size` lanes.

    The diagonal of C holds the reciprocals of the factor's diagonal: division is what costs.
    """
    q = L.shape[0]
    for i in range(q):
        for j in range(q):
            for t in range(size):
                AL[i, j, t] = 0.0
            for k in range(q):
                factor = L[k, j]
                if factor != 0.0:
                    for t in range(size):
                        AL[i, j, t] += A[i, k, t] * factor
    for j in range(q):
        for i in range(j, q):
            start = 1.0 if i == j else 0.0
            for t in range(size):
                C[i, j, t] = start
            for k in range(q):
                factor = L[k, i]
                if factor != 0.0:
                    for t in range(size):
                        C[i, j, t] += factor * AL[k, j, t]
            for k in range(j):
                for t in range(size):
                    C[i, j, t] -= C[i, k, t] * C[j, k, t]
            if i == j:
                for t in range(size):
                    C[j, j, t] = 1.0 / math.sqrt(C[j, j, t])
            else:
                for t in range(size):
                    C[i, j, t] *= C[j, j, t]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _whiten(L: np.ndarray, C: np.ndarray, M: np.ndarray, size: int, S: np.ndarray) -> None:
    """Write S = C⁻¹ΛᵀM for `size` lanes."""
    q, m = M.shape[0], M.shape[1]
    for i in range(q):
        for a in range(m):
            for t in range(size):
                S[i, a, t] = 0.0
            for k in range(q):
                factor = L[k, i]
                if factor != 0.0:
                    for t in range(size):
                        S[i, a, t] += factor * M[k, a, t]
            for k in range(i):
                for t in range(size):
                    S[i, a, t] -= C[i, k, t] * S[k, a, t]
            for t in range(size):
                S[i, a, t] *= C[i, i, t]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _solve_transposed(C: np.ndarray, S: np.ndarray, size: int) -> None:
    """Overwrite S with C⁻ᵀS, lane by lane."""
    q, m = S.shape[0], S.shape[1]
    for back in range(q):
        i = q - 1 - back
        for a in range(m):
            for k in range(i + 1, q):
                for t in range(size):
                    S[i, a, t] -= C[k, i, t] * S[k, a, t]
            for t in range(size):
                S[i, a, t] *= C[i, i, t]


@njit(cache=True, nogil=True, error_model="numpy")
def _log_diagonal(C: np.ndarray, count: np.ndarray, size: int) -> float:
    """Σ count log ΠᵢC_ii over the lanes; logarithms of products, because logarithms cost."""
    total = 0.0
    product = 1.0
    for t in range(size):
        diagonal = 1.0
        for i in range(C.shape[0]):
            diagonal *= C[i, i, t]
        if count[t] == 1.0:
            product *= diagonal
            if product < 1e-150:
                total += math.log(product)
                product = 1.0
        elif count[t] > 0.0:
            total += count[t] * math.log(diagonal)
    return total + math.log(product)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def absorb(A: np.ndarray, count: np.ndarray, M: np.ndarray, G: np.ndarray, L: np.ndarray) -> tuple[np.ndarray, float]:
    """Eliminate the random effects: K and log|V₀| for one value of Λ.

    Parameters
    ----------
    A : (q, q, lanes) array
        Cross-products of the effect columns of each lane.
    count : (lanes,) array
        How many levels a lane stands for in log|V₀| (0 for further lanes of the same levels).
    M : (q, m, lanes) array
        Cross-products of the effect columns with [X y]; m = p + 1.
    G : (m, m) array
        Cross-products of [X y].
    L : (q, q) array
        Λ, any square factor of the relative covariance.

    Returns
    -------
    K : (m, m) array
        [X y]ᵀ V₀⁻¹ [X y].
    logdet : float
        log|V₀|.
    """
    q, m, lanes = M.shape
    AL = np.empty((q, q, LANES))
    C = np.empty((q, q, LANES))
    S = np.empty((q, m, LANES))
    K = np.empty((m, m))
    for a in range(m):
        for b in range(m):
            K[a, b] = G[a, b]
    logdet = 0.0
    for first in range(0, lanes, LANES):
        size = min(LANES, lanes - first)
        _factorise(A[:, :, first : first + size], L, size, AL, C)
        _whiten(L, C, M[:, :, first : first + size], size, S)
        logdet -= 2.0 * _log_diagonal(C, count[first : first + size], size)
        for a in range(m):
            for b in range(a + 1):
                total = 0.0
                for i in range(q):
                    for t in range(size):
                        total += S[i, a, t] * S[i, b, t]
                K[a, b] -= total
    for a in range(m):
        for b in range(a):
            K[b, a] = K[a, b]
    return K, logdet


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def absorb_adjoint(
    A: np.ndarray,
    count: np.ndarray,
    M: np.ndarray,
    L: np.ndarray,
    K_bar: np.ndarray,
    logdet_bar: float,
    A_bar: np.ndarray,
    M_bar: np.ndarray,
) -> np.ndarray:
    """Gradient with respect to Λ of f(K, log|V₀|), given ∂f/∂K (symmetric) and ∂f/∂log|V₀|.

    The derivatives with respect to the data are written to `A_bar` and `M_bar`, unless these are
    empty: ``U K̄ Uᵀ + l̄ ΛW⁻¹Λᵀ`` and ``-2 U K̄`` with ``U = ΛW⁻¹ΛᵀM``. (That of K̄ to G is K̄ itself.)
    """
    q, m, lanes = M.shape
    AL = np.empty((q, q, LANES))
    C = np.empty((q, q, LANES))
    P = np.empty((q, m, LANES))
    R = np.empty((m, LANES))
    left = np.empty(LANES)
    inverse = np.empty((q, q, LANES))
    L_bar = np.zeros((q, q))
    for first in range(0, lanes, LANES):
        size = min(LANES, lanes - first)
        Mc = M[:, :, first : first + size]
        weight = count[first : first + size]
        _factorise(A[:, :, first : first + size], L, size, AL, C)
        _whiten(L, C, Mc, size, P)
        _solve_transposed(C, P, size)
        # W⁻¹, by solving for the identity
        for i in range(q):
            for j in range(q):
                start = 1.0 if i == j else 0.0
                for t in range(size):
                    inverse[i, j, t] = start
                for k in range(i):
                    for t in range(size):
                        inverse[i, j, t] -= C[i, k, t] * inverse[k, j, t]
                for t in range(size):
                    inverse[i, j, t] *= C[i, i, t]
        _solve_transposed(C, inverse, size)
        for i in range(q):
            # R = row i of (M - AΛP) K̄
            for b in range(m):
                for t in range(size):
                    R[b, t] = 0.0
            for a in range(m):
                for t in range(size):
                    left[t] = Mc[i, a, t]
                for k in range(q):
                    for t in range(size):
                        left[t] -= AL[i, k, t] * P[k, a, t]
                for b in range(m):
                    factor = K_bar[a, b]
                    for t in range(size):
                        R[b, t] += factor * left[t]
            for j in range(q):
                total = 0.0
                for k in range(q):
                    for t in range(size):
                        total += logdet_bar * weight[t] * AL[i, k, t] * inverse[k, j, t]
                for b in range(m):
                    for t in range(size):
                        total -= R[b, t] * P[j, b, t]
                L_bar[i, j] += 2.0 * total
        if A_bar.size:
            _data_adjoint(L, P, inverse, weight, K_bar, logdet_bar, first, size, A_bar, M_bar)
    return L_bar


@njit(cache=True, nogil=True, error_model="numpy")
def _data_adjoint(
    L: np.ndarray,
    P: np.ndarray,
    inverse: np.ndarray,
    weight: np.ndarray,
    K_bar: np.ndarray,
    logdet_bar: float,
    first: int,
    size: int,
    A_bar: np.ndarray,
    M_bar: np.ndarray,
) -> None:
    """Derivatives with respect to A and M of one chunk of lanes."""
    q, m = P.shape[0], P.shape[1]
    U = np.empty((q, m))
    UK = np.empty((q, m))
    for t in range(size):
        for i in range(q):
            for a in range(m):
                U[i, a] = 0.0
                for k in range(q):
                    U[i, a] += L[i, k] * P[k, a, t]
        for i in range(q):
            for a in range(m):
                UK[i, a] = 0.0
                for b in range(m):
                    UK[i, a] += U[i, b] * K_bar[b, a]
                M_bar[i, a, first + t] = -2.0 * UK[i, a]
        for i in range(q):
            for j in range(q):
                total = 0.0
                for a in range(m):
                    total += UK[i, a] * U[j, a]
                for k in range(q):
                    for h in range(q):
                        total += logdet_bar * weight[t] * L[i, k] * inverse[k, h, t] * L[j, h]
                A_bar[i, j, first + t] = total


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def effects(A: np.ndarray, V: np.ndarray, L: np.ndarray, B: np.ndarray, sigma: float, z: np.ndarray) -> None:
    """Random effects of every level, given everything else: b_j | y, γ, Λ, σ is Gaussian.

    Its mean is the BLUP ``Λ W_j⁻¹ Λᵀ v_j``, where v_j is the cross-product of the effect columns with
    what everything else leaves of the response, and its covariance is ``σ² Λ W_j⁻¹ Λᵀ``.

    Parameters
    ----------
    A : (q, q, J) array
    V : (q, J) array
    L : (q, q) array
        Λ.
    B : (q, q) array
        Λ followed by the change to the units in which the effects are wanted.
    sigma : float
    z : (q, J) array
        Standard normal noise; overwritten with ``B C⁻ᵀ (C⁻¹ Λᵀ V + σ z)``, CCᵀ = W.
    """
    q, J = V.shape
    AL = np.empty((q, q, LANES))
    C = np.empty((q, q, LANES))
    v = np.empty((q, 1, LANES))
    S = np.empty((q, 1, LANES))
    for first in range(0, J, LANES):
        size = min(LANES, J - first)
        zc = z[:, first : first + size]
        _factorise(A[:, :, first : first + size], L, size, AL, C)
        for i in range(q):
            for k in range(size):
                v[i, 0, k] = V[i, first + k]
        _whiten(L, C, v, size, S)
        for i in range(q):
            for k in range(size):
                S[i, 0, k] += sigma * zc[i, k]
        _solve_transposed(C, S, size)
        for i in range(q):
            for k in range(size):
                zc[i, k] = 0.0
            for j in range(q):
                for k in range(size):
                    zc[i, k] += B[i, j] * S[j, 0, k]
