"""Minimisers of `hierbayes.kernel_marginal.deviance`, compiled from start to answer.

BFGS to the neighbourhood of a minimum, Newton steps to its bottom (Nocedal & Wright 2006, Numerical
Optimization, chapters 3 and 6).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hierbayes.kernel_marginal import deviance
from hierbayes.kernel_rows import respond

ROUNDING = 1e-8
"""Relative rise of the value that is rounding: sums of squares cancel when variance ratios are large, and the
gradient is then the better guide."""


@njit(cache=True, nogil=True, error_model="numpy")
def descend(
    x: np.ndarray,
    stiffness: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    restricted: bool,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray, float, np.ndarray, np.ndarray, int]:
    """Find a minimum of `deviance`: BFGS to its neighbourhood, Newton steps to its bottom.

    Nocedal & Wright 2006, Numerical Optimization, chapter 6; the line search bisects until the weak Wolfe
    conditions hold.

    Parameters
    ----------
    x : (d,) array
        Where to start.
    stiffness : (d,) array
        A guess of the diagonal of the Hessian.
    rows, columns, restricted, packed, tree, residual
        As in `deviance`.

    Returns
    -------
    x : (d,) array
    value : float
    gradient : (d,) array
    hessian : (d, d) array
        Taken a step or two before the answer.
    sigma, t, chol
        As of `deviance`.
    evaluations : int
    """
    d = x.size
    x = x.copy()
    value, g, sigma, t, chol = deviance(x, rows, columns, restricted, packed, tree, residual)
    evaluations = 1
    H = np.zeros((d, d))
    fresh = True
    step = np.empty(d)
    trial = np.empty(d)
    for _ in range(200):
        slope = 0.0
        if not fresh:
            for i in range(d):
                step[i] = 0.0
                for j in range(d):
                    step[i] -= H[i, j] * g[j]
                slope += step[i] * g[i]
        if fresh or not slope < 0.0:
            fresh = True
            slope = 0.0
            shorten = 1.0
            for i in range(d):
                step[i] = -g[i] / stiffness[i]
                shorten = min(shorten, max(0.3, 0.5 * abs(x[i])) / max(abs(step[i]), 1e-300))
            for i in range(d):
                step[i] *= shorten
                slope += step[i] * g[i]
        if not slope < -1e-7:
            break
        low, high, a = 0.0, math.inf, 1.0
        found = False
        trial_value, trial_g, trial_sigma, trial_t, trial_chol = value, g, sigma, t, chol
        for _ in range(40):
            for i in range(d):
                trial[i] = x[i] + a * step[i]
            trial_value, trial_g, trial_sigma, trial_t, trial_chol = deviance(
                trial, rows, columns, restricted, packed, tree, residual
            )
            evaluations += 1
            along = 0.0
            for i in range(d):
                along += trial_g[i] * step[i]
            if not trial_value <= value + 1e-4 * a * slope:
                high = a
            elif along < 0.9 * slope:
                low = a
            else:
                found = True
                break
            a = 0.5 * (low + high) if high < math.inf else 2.0 * low
        if not found and low == 0.0:
            break
        sy = 0.0
        s = np.empty(d)
        y = np.empty(d)
        for i in range(d):
            s[i] = trial[i] - x[i]
            y[i] = trial_g[i] - g[i]
            sy += s[i] * y[i]
        gain = value - trial_value
        for i in range(d):
            x[i] = trial[i]
        value, g, sigma, t, chol = trial_value, trial_g, trial_sigma, trial_t, trial_chol
        if sy > 0.0 and found:
            if fresh:
                for i in range(d):
                    for j in range(d):
                        H[i, j] = 1.0 / stiffness[i] if i == j else 0.0
                fresh = False
            Hy = np.zeros(d)
            yHy = 0.0
            for i in range(d):
                for j in range(d):
                    Hy[i] += H[i, j] * y[j]
                yHy += y[i] * Hy[i]
            for i in range(d):
                for j in range(d):
                    H[i, j] += ((1.0 + yHy / sy) * s[i] * s[j] - Hy[i] * s[j] - s[i] * Hy[j]) / sy
        elif not fresh:
            fresh = True
        if gain < 1e-13 * max(1.0, abs(value)):
            break
    # Newton steps with one Hessian, a new one only when they stop helping
    hessian = np.zeros((d, d))
    for _ in range(4):
        h = np.empty(d)
        for i in range(d):
            h[i] = 1e-6 * max(1.0, abs(x[i]))
            for j in range(d):
                trial[j] = x[j]
            trial[i] = x[i] + h[i]
            _, up, _, _, _ = deviance(trial, rows, columns, restricted, packed, tree, residual)
            evaluations += 1
            for j in range(d):
                hessian[i, j] = (up[j] - g[j]) / h[i]
        finite = 0.0
        for i in range(d):
            for j in range(i):
                hessian[i, j] = 0.5 * (hessian[i, j] + hessian[j, i])
                hessian[j, i] = hessian[i, j]
            for j in range(d):
                finite += hessian[i, j]
        size = 0.0
        for i in range(d):
            size = max(size, abs(g[i]))
        if not math.isfinite(finite) or size < 1e-9:
            break
        helped = False
        for _ in range(3):
            move = _newton(hessian, g)
            for i in range(d):
                trial[i] = x[i] + move[i]
            trial_value, trial_g, trial_sigma, trial_t, trial_chol = deviance(
                trial, rows, columns, restricted, packed, tree, residual
            )
            evaluations += 1
            trial_size = 0.0
            for i in range(d):
                trial_size = max(trial_size, abs(trial_g[i]))
            if not (trial_value <= value + ROUNDING * max(1.0, abs(value)) and trial_size < size):
                break
            helped = helped or trial_size < 0.1 * size
            for i in range(d):
                x[i] = trial[i]
            value, g, size = min(value, trial_value), trial_g, trial_size
            sigma, t, chol = trial_sigma, trial_t, trial_chol
            if size < 1e-9:
                break
        if size < 1e-9 or not helped:
            break
    return x, value, g, hessian, sigma, t, chol, evaluations


@njit(cache=True, nogil=True, error_model="numpy")
def descend_all(
    Y: np.ndarray,
    arrays: tuple,
    corner: int,
    x: np.ndarray,
    stiffness: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    restricted: bool,
    packed: np.ndarray,
    tree: Any,
    xs: np.ndarray,
    values: np.ndarray,
    chols: np.ndarray,
    betas: np.ndarray,
) -> None:
    """Find the minimum for one response after another, all from the same start.

    Parameters
    ----------
    Y : (k, n) array
        Of `hierbayes.moments.Rows.scaled`.
    arrays, corner
        Of `hierbayes.moments.Rows`.
    x, stiffness, rows, columns, restricted, packed, tree
        As in `descend`.
    xs : (k, d) array
        The minima.
    values : (k, 5) array
        -2 log likelihood in the coordinates of the moments, σ, scale of the response, largest gradient and
        smallest diagonal of the Hessian, relative to its largest (both as `_judge` has them).
    chols : (k, p, p) array
        Cholesky factors of Xᵀ V₀⁻¹ X.
    betas : (k, p) array
        Fixed effects.
    """
    Q, R, Z, factor_of, codes, where = arrays
    p = R.shape[0]
    work = packed.copy()
    size = int(packed[7])
    data = work[work.size - size :]
    ols = np.empty(p)
    for s in range(len(Y)):
        scale = respond(Y[s], Q, R, Z, factor_of, codes, where, corner, data, ols)
        work[10] = scale
        best, value, g, hessian, sigma, t, chol, _ = descend(
            x, stiffness, rows, columns, restricted, work, tree, None
        )
        largest, steep, flat = 1.0, 0.0, math.inf
        for i in range(x.size):
            stretch = max(1.0, abs(best[i]))
            xs[s, i] = best[i]
            steep = max(steep, stretch * abs(g[i]))
            largest = max(largest, stretch * stretch * abs(hessian[i, i]))
            flat = min(flat, stretch * stretch * hessian[i, i])
        values[s, 0], values[s, 1], values[s, 2] = value, sigma, scale
        values[s, 3], values[s, 4] = steep / largest, flat / largest
        for back in range(p):
            k = p - 1 - back
            shift = -t[k] * scale
            for j in range(k + 1, p):
                shift -= R[k, j] * (betas[s, j] - ols[j])
            betas[s, k] = ols[k] + shift / R[k, k]
            for j in range(p):
                chols[s, k, j] = chol[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _newton(hessian: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Newton step with the eigenvalues of the Hessian made positive."""
    d = g.size
    step = np.zeros(d)
    if d == 1:
        step[0] = -g[0] / max(abs(hessian[0, 0]), 1e-10)
        return step
    values, vectors = np.linalg.eigh(hessian)
    largest = 1.0
    for k in range(d):
        largest = max(largest, abs(values[k]))
    for k in range(d):
        along = 0.0
        for i in range(d):
            along += vectors[i, k] * g[i]
        along /= max(abs(values[k]), 1e-10 * largest)
        for i in range(d):
            step[i] -= vectors[i, k] * along
    return step
