r"""The marginal likelihood of one grouping factor, in compiled loops.

Model, for the rows of level ``j`` of the factor (everything here is in the coordinates that
`hierbayes.moments` chooses: orthonormal fixed effects, a standardised response)::

    y_j = X_j γ + Z_j b_j + ε,     b_j ~ N(0, σ² Λ Λᵀ),     ε ~ N(0, σ² I)

The data enter through ``A_j = Z_jᵀ Z_j`` and ``M_j = Z_jᵀ [X_j y_j]`` alone, and through the
total cross-product ``G = [X y]ᵀ [X y]``. With ``W_j = I + Λᵀ A_j Λ``,

    K = [X y]ᵀ V₀⁻¹ [X y] = G - Σ_j M_jᵀ Λ W_j⁻¹ Λᵀ M_j,      log|V₀| = Σ_j log|W_j|

where ``V₀ = I + Z Λ Λᵀ Zᵀ`` is the covariance of the response over σ² (Woodbury and the matrix
determinant lemma; Bates et al. 2015, Journal of Statistical Software 67, section 3; DESIGN
notes of Lindstrom & Bates 1988, JASA 83). ``K`` is all that any density of the model needs: ML,
REML and the posterior with Normal priors on γ are closed forms in its (p+1)² entries.

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
    A: np.ndarray, count: np.ndarray, M: np.ndarray, L: np.ndarray, K_bar: np.ndarray, logdet_bar: float
) -> np.ndarray:
    """Gradient with respect to Λ of f(K, log|V₀|), given ∂f/∂K (symmetric) and ∂f/∂log|V₀|."""
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
    return L_bar


@njit(cache=True, nogil=True, error_model="numpy")
def _cholesky(a: np.ndarray) -> np.ndarray:
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
def _solve(c: np.ndarray, b: np.ndarray) -> np.ndarray:
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
def integrate(
    K: np.ndarray,
    sigma: float,
    Di: np.ndarray,
    precision: np.ndarray,
    mean: np.ndarray,
    Dk: np.ndarray,
    kept: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Integrate fixed effects out of N(y; Xγ, σ²V₀), given K.

    γ = Di u + Dk v: the coefficients ``u`` have independent Normal priors (a precision of zero is
    a flat prior) and are integrated, the coefficients ``v`` are given.

    Parameters
    ----------
    K : (p + 1, p + 1) array
        From `absorb`.
    sigma : float
        Residual standard deviation.
    Di : (p, pi) array
    precision, mean : (pi,) arrays
        Prior of u.
    Dk : (p, pk) array
    kept : (pk,) array
        v.

    Returns
    -------
    quadratic : float
        ‖y - Xγ̂‖² in the metric V₀⁻¹, at the conditional mean of u.
    t : (p + 1,) array
        (-γ̂, 1).
    u : (pi,) array
        Conditional mean of the integrated coefficients.
    chol : (pi, pi) array
        Cholesky factor of their conditional precision.
    """
    p = K.shape[0] - 1
    pi = Di.shape[1]
    pk = Dk.shape[1]
    psi = 1.0 / (sigma * sigma)
    t = np.zeros(p + 1)
    t[p] = 1.0
    for i in range(p):
        for j in range(pk):
            t[i] -= Dk[i, j] * kept[j]
    # K t restricted to the first p rows: cross-product of X with what is left of y
    Kt = np.zeros(p)
    for i in range(p):
        for j in range(p + 1):
            Kt[i] += K[i, j] * t[j]
    Q = np.zeros((pi, pi))
    lin = np.zeros(pi)
    for i in range(pi):
        for a in range(p):
            lin[i] += psi * Di[a, i] * Kt[a]
            half = 0.0
            for b in range(p):
                half += K[a, b] * Di[b, i]
            for j in range(pi):
                Q[j, i] += psi * Di[a, j] * half
        Q[i, i] += precision[i]
        lin[i] += precision[i] * mean[i]
    chol = _cholesky(Q)
    u = _solve(chol, lin)
    for i in range(p):
        for j in range(pi):
            t[i] -= Di[i, j] * u[j]
    quadratic = 0.0
    for i in range(p + 1):
        for j in range(p + 1):
            quadratic += t[i] * K[i, j] * t[j]
    return quadratic, t, u, chol


@njit(cache=True, nogil=True, error_model="numpy")
def density(
    A: np.ndarray,
    count: np.ndarray,
    M: np.ndarray,
    G: np.ndarray,
    n: float,
    L: np.ndarray,
    sigma: float,
    Di: np.ndarray,
    precision: np.ndarray,
    mean: np.ndarray,
    Dk: np.ndarray,
    kept: np.ndarray,
) -> tuple[float, np.ndarray, float, np.ndarray]:
    """Log marginal density of the response and its gradient.

    Parameters
    ----------
    A, count, M, G, L
        As in `absorb`.
    n : float
        Number of rows.
    sigma, Di, precision, mean, Dk, kept
        As in `integrate`.

    Returns
    -------
    value : float
        log p(y | Λ, σ, kept), the coefficients u integrated out under their priors (a flat prior
        contributes density 1: the restricted likelihood). -inf where it is not defined.
    L_bar : (q, q) array
        Derivative with respect to Λ, all entries.
    sigma_bar : float
        Derivative with respect to σ at fixed Λ.
    kept_bar : (pk,) array
        Derivative with respect to the kept coefficients.
    """
    K, logdet = absorb(A, count, M, G, L)
    quadratic, t, u, chol = integrate(K, sigma, Di, precision, mean, Dk, kept)
    p, pi = Di.shape
    pk = Dk.shape[1]
    psi = 1.0 / (sigma * sigma)
    log_2pi = math.log(2.0 * math.pi)

    value = -0.5 * n * (log_2pi + 2.0 * math.log(sigma)) - 0.5 * logdet - 0.5 * psi * quadratic
    for i in range(pi):
        value -= math.log(chol[i, i])
        if precision[i] > 0.0:
            value += 0.5 * math.log(precision[i]) - 0.5 * precision[i] * (u[i] - mean[i]) ** 2
        else:
            value += 0.5 * log_2pi

    # K̄ = -ψ/2 (t tᵀ + Di V Diᵀ), V the conditional covariance of u
    K_bar = np.empty((p + 1, p + 1))
    for i in range(p + 1):
        for j in range(p + 1):
            K_bar[i, j] = -0.5 * psi * t[i] * t[j]
    spread = 0.0
    for a in range(p):
        Va = _solve(chol, Di[a, :])
        for b in range(p):
            vab = 0.0
            for i in range(pi):
                vab += Va[i] * Di[b, i]
            K_bar[a, b] -= 0.5 * psi * vab
            spread += vab * K[a, b]
    sigma_bar = -n / sigma + (quadratic + spread) / sigma**3
    kept_bar = np.zeros(pk)
    for j in range(pk):
        for a in range(p):
            Kta = 0.0
            for b in range(p + 1):
                Kta += K[a, b] * t[b]
            kept_bar[j] += psi * Dk[a, j] * Kta
    L_bar = absorb_adjoint(A, count, M, L, K_bar, -0.5)
    # a sum of squares that is not positive has lost all its digits to cancellation
    if not (math.isfinite(value) and quadratic > 0.0):
        value = -math.inf
    return value, L_bar, sigma_bar, kept_bar


@njit(cache=True, nogil=True, error_model="numpy")
def profile(
    A: np.ndarray, count: np.ndarray, M: np.ndarray, G: np.ndarray, n: float, restricted: bool, L: np.ndarray
) -> tuple[float, np.ndarray, float, np.ndarray, np.ndarray]:
    """Deviance as a function of Λ alone, σ profiled and γ profiled (ML) or integrated (REML).

    Parameters
    ----------
    A, count, M, G, L
        As in `absorb`.
    n : float
        Number of rows.
    restricted : bool
        True for REML.

    Returns
    -------
    value : float
        -2 log likelihood, or -2 log restricted likelihood.
    L_bar : (q, q) array
        Its derivative with respect to Λ.
    sigma : float
        The maximising σ.
    t : (p + 1,) array
        (-γ̂, 1).
    chol : (p, p) array
        Cholesky factor of Xᵀ V₀⁻¹ X, the precision of γ̂ times σ².
    """
    K, logdet = absorb(A, count, M, G, L)
    m = K.shape[0]
    p = m - 1
    none = np.zeros(0)
    quadratic, t, _, chol = integrate(K, 1.0, np.eye(p), np.zeros(p), np.zeros(p), np.zeros((p, 0)), none)
    dof = n - p if restricted else n
    value = logdet + dof * (1.0 + math.log(2.0 * math.pi * quadratic / dof))
    K_bar = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            K_bar[i, j] = dof / quadratic * t[i] * t[j]
    if restricted:
        unit = np.zeros(p)
        for i in range(p):
            value += 2.0 * math.log(chol[i, i])
            unit[i] = 1.0
            row = _solve(chol, unit)
            unit[i] = 0.0
            for j in range(p):
                K_bar[i, j] += row[j]
    return value, absorb_adjoint(A, count, M, L, K_bar, 1.0), math.sqrt(quadratic / dof), t, chol


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def effects(
    A: np.ndarray, M: np.ndarray, L: np.ndarray, B: np.ndarray, t: np.ndarray, sigma: float, z: np.ndarray
) -> None:
    """Random effects of every level, given everything else: b_j | y, γ, Λ, σ is Gaussian.

    Its mean is the BLUP ``Λ W_j⁻¹ Λᵀ M_j t`` and its covariance ``σ² Λ W_j⁻¹ Λᵀ``.

    Parameters
    ----------
    A : (q, q, J) array
    M : (q, p + 1, J) array
    L : (q, q) array
        Λ.
    B : (q, q) array
        Λ followed by the change to the units in which the effects are wanted.
    t : (p + 1,) array
        (-γ, 1); zero for a mean of zero.
    sigma : float
    z : (q, J) array
        Standard normal noise; overwritten with ``B C⁻ᵀ (C⁻¹ Λᵀ M t + σ z)``, CCᵀ = W.
    """
    q, m, J = M.shape
    AL = np.empty((q, q, LANES))
    C = np.empty((q, q, LANES))
    v = np.empty((q, 1, LANES))
    S = np.empty((q, 1, LANES))
    for first in range(0, J, LANES):
        size = min(LANES, J - first)
        Mc = M[:, :, first : first + size]
        zc = z[:, first : first + size]
        _factorise(A[:, :, first : first + size], L, size, AL, C)
        for i in range(q):
            for k in range(size):
                v[i, 0, k] = 0.0
            for a in range(m):
                for k in range(size):
                    v[i, 0, k] += Mc[i, a, k] * t[a]
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
