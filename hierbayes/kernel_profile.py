r"""-2 log likelihood with everything explicit but the fixed effects, for profiles.

`hierbayes.kernel_marginal.deviance` profiles σ out and knows the random effects relative to it, so a standard
deviation cannot be held. Here the factor F of Σ = F Fᵀ is in the user's units and σ is a parameter of its own. Given
K and log|V₀| (`hierbayes.kernel_fixed`), with H = Xᵀ V₀⁻¹ X, γ̂ = H⁻¹ Xᵀ V₀⁻¹ y and the sum of squares
S = ‖y - Xγ̂‖² in the metric V₀⁻¹,

    -2 log p = log|V₀| + n log(2πσ²) + S/σ²

A fixed effect is held by one linear constraint aᵀγ = c, which moves the others along H⁻¹a:

    γ_c = γ̂ + H⁻¹a (c - aᵀγ̂)/(aᵀH⁻¹a),      S_c = S + (c - aᵀγ̂)²/(aᵀH⁻¹a).

In either case γ is where S is smallest, so that ∂S/∂K = t tᵀ with t = (-γ, 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hierbayes.kernel_dense import cholesky, solve
from hierbayes.kernel_marginal import along, at_rho, eliminate, sweep, unpack


@njit(cache=True, nogil=True, error_model="numpy")
def held_deviance(
    F: np.ndarray,
    sigma: float,
    z: float,
    a: np.ndarray,
    c: float,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
) -> tuple[float, np.ndarray, float, float]:
    """-2 log likelihood at given Σ, σ and ρ, the fixed effects where it is smallest.

    Parameters
    ----------
    F : (q, q) array
        Any square factor of Σ within the blocks of the factors, in the user's units.
    sigma : float
        Residual standard deviation, in the user's units.
    z : float
        artanh r of the residual correlation; without one it plays no part.
    a : (p,) array, or empty
        The constraint aᵀγ = c on the fixed effects in the coordinates of the moments.
    c : float
    packed, tree, residual
        As in `hierbayes.kernel_marginal.log_density`, without kept fixed effects.

    Returns
    -------
    value : float
        In the user's units; inf where it is not defined.
    F_bar : (q, q) array
    sigma_bar, z_bar : float
        Derivatives.
    """
    _, _, count, E, Di, _, _, _, _, data = unpack(packed)
    n, scale = packed[9], packed[10]
    q = E.shape[0]
    p = Di.shape[0]
    s = sigma / scale
    rho, span = 0.0, 0.0
    if residual is not None:
        span = 0.5 * (residual[1] - residual[0])
        r = math.tanh(z)
        rho = residual[0] + span * (r + 1.0)
        span *= 1.0 - r * r
    now, slope, residual_logdet, residual_slope = at_rho(data, rho, None if residual is None else residual[2:])
    relative = np.zeros((q, q))
    for i in range(q):
        for j in range(q):
            for k in range(i, q):
                relative[i, j] += E[i, k] * F[k, j] / sigma
    K, logdet, store = eliminate(now, count, p + 1, relative, tree)
    chol = cholesky(K[:p, :p])
    gamma = solve(chol, K[:p, p])
    if a.size > 0:
        w = solve(chol, a)
        short, spread = c, 0.0
        for i in range(p):
            short -= a[i] * gamma[i]
            spread += a[i] * w[i]
        for i in range(p):
            gamma[i] += w[i] * short / spread
    t = np.empty(p + 1)
    for i in range(p):
        t[i] = -gamma[i]
    t[p] = 1.0
    squares = 0.0
    for i in range(p + 1):
        for j in range(p + 1):
            squares += t[i] * K[i, j] * t[j]
    value = (
        logdet
        + residual_logdet
        + n * math.log(2.0 * math.pi * s * s)
        + squares / (s * s)
        + 2.0 * n * math.log(scale)
        - 2.0 * packed[12]
    )
    F_bar = np.zeros((q, q))
    if not (math.isfinite(value) and squares > 0.0):
        return math.inf, F_bar, 0.0, 0.0
    K_bar = np.empty((p + 1, p + 1))
    for i in range(p + 1):
        for j in range(p + 1):
            K_bar[i, j] = t[i] * t[j] / (s * s)
    data_bar = np.empty(0)
    if residual is not None:
        data_bar = np.zeros(now.size)
    relative_bar = sweep(now, count, relative, tree, store, K_bar, 1.0, data_bar)
    shift = 0.0
    for i in range(q):
        for j in range(q):
            shift += relative_bar[i, j] * relative[i, j]
            for k in range(i + 1):
                F_bar[i, j] += E[k, i] * relative_bar[k, j] / sigma
    sigma_bar = 2.0 * (n - squares / (s * s)) / sigma - shift / sigma
    z_bar = 0.0
    if residual is not None:
        z_bar = span * (along(data_bar, slope) + residual_slope)
    return value, F_bar, sigma_bar, z_bar
