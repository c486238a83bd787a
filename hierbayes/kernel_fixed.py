r"""From K to a density: what is left of the model once the random effects are gone.

For any kernel that eliminates the random effects, the response depends on its parameters through

    K = [X y]ᵀ V₀⁻¹ [X y]    and    log|V₀|

where σ² V₀ is the covariance of the response (Woodbury; Bates et al. 2015, Journal of Statistical
Software 67, section 3). ML, REML and the posterior with Normal priors on the fixed effects are
closed forms in the (p+1)² entries of K. Each function here returns a value and ``K̄ = ∂value/∂K``,
from which the kernel sweeps back to its own parameters.

Functions take arrays and return arrays and floats; they check nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hierbayes.kernel_dense import cholesky, lower_inverse, solve


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
    chol = cholesky(Q)
    u = solve(chol, lin)
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
    K: np.ndarray,
    logdet: float,
    n: float,
    sigma: float,
    Di: np.ndarray,
    precision: np.ndarray,
    mean: np.ndarray,
    Dk: np.ndarray,
    kept: np.ndarray,
) -> tuple[float, np.ndarray, float, np.ndarray]:
    """Log marginal density of the response and its derivatives.

    Parameters
    ----------
    K : (p + 1, p + 1) array
    logdet : float
        log|V₀|; the derivative with respect to it is -1/2.
    n : float
        Number of rows.
    sigma, Di, precision, mean, Dk, kept
        As in `integrate`.

    Returns
    -------
    value : float
        log p(y | V₀, σ, kept), the coefficients u integrated out under their priors (a flat prior
        contributes density 1: the restricted likelihood). -inf where it is not defined.
    K_bar : (p + 1, p + 1) array
        Derivative with respect to K.
    sigma_bar : float
        Derivative with respect to σ at fixed V₀.
    kept_bar : (pk,) array
        Derivative with respect to the kept coefficients.
    """
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
        Va = solve(chol, Di[a, :])
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
    # a sum of squares that is not positive has lost all its digits to cancellation
    if not (math.isfinite(value) and quadratic > 0.0):
        value = -math.inf
    return value, K_bar, sigma_bar, kept_bar


@njit(cache=True, nogil=True, error_model="numpy")
def profile(
    K: np.ndarray, logdet: float, n: float, known: float, restricted: bool
) -> tuple[float, np.ndarray, float, np.ndarray, np.ndarray]:
    """-2 log likelihood as a function of V₀ alone, σ profiled and γ profiled (ML) or integrated (REML).

    Parameters
    ----------
    K : (p + 1, p + 1) array
    logdet : float
        log|V₀|; the derivative with respect to it is 1.
    n : float
        Number of rows.
    known : float
        The residual standard deviation if it is known; 0 profiles it.
    restricted : bool
        True for REML.

    Returns
    -------
    value : float
        -2 log likelihood, or -2 log restricted likelihood.
    K_bar : (p + 1, p + 1) array
        Its derivative with respect to K.
    sigma : float
        The maximising σ.
    t : (p + 1,) array
        (-γ̂, 1).
    chol : (p, p) array
        Cholesky factor of Xᵀ V₀⁻¹ X, the precision of γ̂ times σ².
    """
    m = K.shape[0]
    p = m - 1
    chol = cholesky(K[:p, :p])
    t = np.empty(m)
    gamma = solve(chol, K[:p, p])
    for i in range(p):
        t[i] = -gamma[i]
    t[p] = 1.0
    quadratic = 0.0
    for i in range(m):
        for j in range(m):
            quadratic += t[i] * K[i, j] * t[j]
    dof = n - p if restricted else n
    variance = known * known if known > 0.0 else quadratic / dof
    value = logdet + dof * math.log(2.0 * math.pi * variance) + quadratic / variance
    K_bar = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            K_bar[i, j] = t[i] * t[j] / variance
    if restricted:
        inverse = lower_inverse(chol)
        for i in range(p):
            value += 2.0 * math.log(chol[i, i])
            for j in range(p):
                for k in range(max(i, j), p):
                    K_bar[i, j] += inverse[k, i] * inverse[k, j]
    if not quadratic > 0.0:
        value = math.nan
    return value, K_bar, math.sqrt(variance), t, chol
