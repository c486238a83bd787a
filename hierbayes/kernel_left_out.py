r"""Predictive densities of rows and of levels that are left out, in compiled loops.

Given θ the response is one Gaussian, and so is everything that is integrated out: u = (random effects, fixed
effects). In the coordinates of the moments, with ``ψ = 1/σ²``, ``wᵢ`` the row of u's design matrix W (for correlated
residuals the row of R⁻¹W, and ``yᵢ`` that of R⁻¹y), û and C the conditional mean and covariance of u, and
``dᵢ = (R⁻¹)ᵢᵢ``,

    rᵢ = yᵢ - wᵢᵀû,    λᵢ = ψ wᵢᵀC wᵢ,    p(yᵢ | y₋ᵢ, θ) = N(yᵢ; yᵢ - rᵢ/(dᵢ - λᵢ), σ²/(dᵢ - λᵢ))

for ``ψ(dᵢ - λᵢ)`` is the diagonal of the precision of y and ``ψ rᵢ`` that precision times the centred response
(Bürkner, Gabry & Vehtari 2021, Computational Statistics 36, 1243, equations 12 to 15). A row that is not among the
data has ``N(wᵀû, σ²(1 + λ))``.

C is never formed. The derivatives D̄ of the log density with respect to the cross-products of the data, which the
gradient sweeps give, are C and û on just the pattern that rows need: to add to the data the cross-product of a
row, times a small number, changes the log density by that number times

    dᵢ = D̄[wᵢ, wᵢ] + … = -½ λᵢ - ½ ψ rᵢ²,     and    ∂dᵢ/∂yᵢ = -ψ rᵢ .

A level of a single grouping factor contributes ``K_j = [X y]_jᵀ V₀_j⁻¹ [X y]_j`` and ``log|V₀_j|`` to the sums that
the density is made of; without it these are the sums of the others.

Functions take arrays and write arrays; they check nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hierbayes import kernel_fixed, kernel_levels, kernel_tree
from hierbayes.kernel_dense import cholesky
from hierbayes.kernel_marginal import at_rho, combine, eliminate, relative_factor, split, unpack
from hierbayes.residual import coefficients

LOG_2PI = math.log(2.0 * math.pi)
ROUNDED = 1e-8
"""What is left of a difference relative to what was subtracted, below which rounding is seen in the result: the
products carry errors of about 300 times 2e-16, so that dᵢ - λᵢ has at least five digits."""
WIDEST = 1e14
"""Variance over σ² above which that of a row that is not among the data is lost in rounding."""


@njit(cache=True, nogil=True, error_model="numpy")
def prepare(
    thetas: np.ndarray,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
    values: np.ndarray,
    K_bars: np.ndarray,
    relatives: np.ndarray,
    sigmas: np.ndarray,
    weights: np.ndarray,
) -> None:
    """For every draw of θ: the log density, and what the densities of rows are made of.

    Parameters
    ----------
    thetas : (draws, dim) array
    packed, tree, residual
        As in `hierbayes.kernel_marginal.log_density`.
    values : (draws,) array
        Written: log density.
    K_bars : (draws, m, m) array
        Written: its derivative with respect to K.
    relatives : (draws, q, q) array
        Written: Λ.
    sigmas : (draws,) array
        Written: σ in the coordinates of the moments.
    weights : (draws, K) array
        Written: the combination of the matrices that is R⁻¹.
    """
    sizes, correlated, count, E, Di, precision, mean, Dk, origin, data = unpack(packed)
    partials, n, scale, known = int(packed[8]), packed[9], packed[10], packed[11]
    q = E.shape[0]
    at = q + partials
    for s in range(len(thetas)):
        theta = thetas[s]
        sigma = theta[at] if known == 0.0 else known
        own = at if known > 0.0 else at + 1
        rho = 0.0
        if residual is not None:
            rho = residual[0] + 0.5 * (residual[1] - residual[0]) * (theta[own] + 1.0)
            own += 1
            weights[s, :] = coefficients(rho, residual[2:])[0]
        else:
            weights[s, 0] = 1.0
        now, _, residual_logdet, _ = at_rho(data, rho, None if residual is None else residual[2:])
        relative, _ = relative_factor(theta, q, partials, sigma, sizes, correlated, E)
        K, logdet, _ = eliminate(now, count, Di.shape[0] + 1, relative, tree)
        value, K_bar, _, _ = kernel_fixed.density(
            K, logdet + residual_logdet, n, sigma / scale, Di, precision, mean, Dk, theta[own:] - origin
        )
        values[s] = value - n * math.log(scale) + packed[12]
        K_bars[s] = K_bar
        relatives[s] = relative
        sigmas[s] = sigma / scale


@njit(cache=True, nogil=True, error_model="numpy")
def rows(
    K_bars: np.ndarray,
    relatives: np.ndarray,
    sigmas: np.ndarray,
    weights: np.ndarray,
    begin: int,
    end: int,
    data: np.ndarray,
    lanes: int,
    tree: Any,
    W: np.ndarray,
    diagonal: np.ndarray,
    pairs: np.ndarray,
    times: np.ndarray,
    xy: np.ndarray,
    stride: int,
    among: bool,
    units: np.ndarray,
    log_p: np.ndarray,
    error: np.ndarray,
    sd: np.ndarray,
) -> None:
    """Predictive density of every row, given all other rows of the data, for every draw.

    Parameters
    ----------
    K_bars, relatives, sigmas, weights
        Of `prepare`.
    begin, end : int
        The draws to take.
    data : (K, size) array
        Cross-products: A, M and G of some levels of one factor (G is not read), or of several factors.
    lanes : int
        Levels in `data`, for one factor.
    tree : int array or None
    W : (K or 1, rows, q + p + 1) array
        Rows of T_k [Z̃ X y], times the roots of their weights; just one where the residual of a row depends on no
        other among the data.
    diagonal : (K or 1, rows) array
        Diagonals of the T_k.
    pairs : (rows, q (q + 1)/2) int array
        Where in the data the products of two effects of a row stand, by the upper triangle.
    times : (q (q + 1)/2,) array
        How often they stand there.
    xy : (rows, q) int array
        Where the product of each effect with the first of [X y] stands.
    stride : int
        From one column of [X y] to the next.
    among : bool
        Whether the rows are among the data.
    units : (rows,) array
        Scale of the response over the root of the weight.
    log_p : (rows, draws) array
        Written, unless it is empty: log density.
    error, sd : (rows, draws) arrays
        Written, unless empty: response less predictive mean, and predictive standard deviation. All three are NaN
        where a row is so much alone with what it determines that dᵢ - λᵢ, or λ, is lost in rounding.
    """
    q = relatives.shape[1]
    m = K_bars.shape[1]
    p = m - 1
    w = np.empty(q + m)
    bar = np.zeros(data.shape[1])
    log_units = np.log(units)
    now = data[0]
    for s in range(begin, end):
        K_bar = K_bars[s]
        variance = sigmas[s] * sigmas[s]
        psi = 1.0 / variance
        constant = -0.5 * (LOG_2PI + math.log(variance))
        if data.shape[0] > 1:
            now = combine(data, weights[s])
        if tree is None:
            A, M, _ = split(now, q, m, lanes)
            A_bar, M_bar, _ = split(bar, q, m, lanes)
            kernel_levels.absorb_adjoint(A, np.ones(lanes), M, relatives[s], K_bar, -0.5, A_bar, M_bar)
        else:
            bar[:] = 0.0
            panels, core, white, _, _ = kernel_tree.factorise(now, tree, relatives[s])
            kernel_tree.adjoint(now, tree, relatives[s], panels, core, white, K_bar, -0.5, bar)
        for row in range(W.shape[1]):
            own = 1.0
            for i in range(q + m):
                w[i] = W[0, row, i]
            if len(W) > 1:
                own = 0.0
                for k in range(len(W)):
                    own += weights[s, k] * diagonal[k, row]
                for i in range(q + m):
                    w[i] *= weights[s, 0]
                    for k in range(1, len(W)):
                        w[i] += weights[s, k] * W[k, row, i]
            change = 0.0
            slope = 0.0
            k = 0
            for i in range(q):
                total = 0.0
                for j in range(i, q):
                    total += times[k] * bar[pairs[row, k]] * w[j]
                    k += 1
                at = xy[row, i]
                for a in range(m):
                    total += bar[at + a * stride] * w[q + a]
                change += total * w[i]
                slope += bar[at + p * stride] * w[i]
            for a in range(m):
                total = 0.5 * K_bar[a, a] * w[q + a]
                for b in range(a):
                    total += K_bar[a, b] * w[q + b]
                change += 2.0 * total * w[q + a]
                slope += 2.0 * K_bar[a, p] * w[q + a]
            r = -slope * variance
            leverage = -2.0 * change - psi * r * r
            # the variance over σ², and the error
            wide = 1.0 + leverage if -1.0 < leverage < WIDEST else math.nan
            if among:
                left = own - leverage
                size = own + psi * (r * r + w[q + p] * w[q + p])
                wide = 1.0 / left if left > ROUNDED * size else math.nan
                r *= wide
            if log_p.size:
                log_p[row, s] = constant - log_units[row] - 0.5 * (math.log(wide) + psi * r * r / wide)
            if sd.size:
                error[row, s] = r * units[row]
                sd[row, s] = math.sqrt(variance * wide) * units[row]


@njit(cache=True, nogil=True, error_model="numpy")
def levels(
    thetas: np.ndarray,
    begin: int,
    end: int,
    packed: np.ndarray,
    A: np.ndarray,
    M: np.ndarray,
    G: np.ndarray,
    ns: np.ndarray,
    constants: np.ndarray,
    starts: np.ndarray,
    ZXY: np.ndarray,
    units: np.ndarray,
    joint: np.ndarray,
    pointwise: np.ndarray,
) -> None:
    """Predictive density of whole levels of the one factor, given all others, for every draw.

    Parameters
    ----------
    thetas, packed
        As in `prepare`; independent residuals.
    begin, end : int
        The draws to take.
    A : (L, q, q) array
    M : (L, q, m) array
    G : (L, m, m) array
        Cross-products of the effects and of [X y] within each level.
    ns : (L,) array
        Rows of each.
    constants : (L,) array
        ½ Σ log weights of its rows.
    starts : (L + 1,) int array
        Where the rows of each begin.
    ZXY : (rows, q + m) array
        Rows of [Z̃ X y] by level, times the roots of their weights.
    units : (rows,) array
        As in `rows`.
    joint : (L, draws) array
        Written: log density of all rows of the level.
    pointwise : (rows, draws) array
        Written, unless it is empty: log density of each.
    """
    sizes, correlated, count, E, Di, precision, mean, Dk, origin, data = unpack(packed)
    partials, n, scale, known = int(packed[8]), packed[9], packed[10], packed[11]
    q, m = E.shape[0], Di.shape[0] + 1
    p = m - 1
    at = q + partials
    S = np.empty((q, m))
    C = np.empty((p, p))
    for s in range(begin, end):
        theta = thetas[s]
        sigma = theta[at] if known == 0.0 else known
        kept = theta[at if known > 0.0 else at + 1 :] - origin
        relative, _ = relative_factor(theta, q, partials, sigma, sizes, correlated, E)
        K, logdet, _ = eliminate(data[0], count, m, relative, None)
        sigma /= scale
        variance = sigma * sigma
        whole = kernel_fixed.density(K, logdet, n, sigma, Di, precision, mean, Dk, kept)[0]
        for j in range(len(A)):
            others = K - G[j]
            logdet_others = logdet
            if ns[j] > 0.0:
                half = np.dot(np.ascontiguousarray(A[j]), relative)
                chol = cholesky(np.eye(q) + np.dot(np.ascontiguousarray(relative.T), half))
                for i in range(q):
                    logdet_others -= 2.0 * math.log(chol[i, i])
                    for a in range(m):
                        S[i, a] = 0.0
                        for k in range(q):
                            S[i, a] += relative[k, i] * M[j, k, a]
                        for k in range(i):
                            S[i, a] -= chol[i, k] * S[k, a]
                        S[i, a] /= chol[i, i]
                for a in range(m):
                    for b in range(m):
                        for i in range(q):
                            others[a, b] += S[i, a] * S[i, b]
            value, K_bar, _, _ = kernel_fixed.density(
                others, logdet_others, n - ns[j], sigma, Di, precision, mean, Dk, kept
            )
            joint[j, s] = whole - value - ns[j] * math.log(scale) + constants[j]
            if pointwise.size == 0:
                continue
            # K̄ = -ψ/2 (t tᵀ + C), and t ends with 1
            for a in range(p):
                for b in range(p):
                    C[a, b] = -2.0 * variance * (K_bar[a, b] + 2.0 * variance * K_bar[a, p] * K_bar[b, p])
            for row in range(starts[j], starts[j + 1]):
                w = ZXY[row]
                r = w[q + p]
                spread = 0.0
                for a in range(p):
                    r -= 2.0 * variance * K_bar[a, p] * w[q + a]
                    for b in range(p):
                        spread += C[a, b] * w[q + a] * w[q + b]
                spread += variance
                for i in range(q):
                    along = 0.0
                    for k in range(q):
                        along += relative[k, i] * w[k]
                    spread += variance * along * along
                unit = units[row]
                pointwise[row, s] = -0.5 * (LOG_2PI + math.log(spread * unit * unit) + r * r / spread)
