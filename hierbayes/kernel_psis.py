r"""Pareto-smoothed importance sampling, one row after another, in compiled loops.

The importance ratios of a row that is left out are ``1/p(yᵢ | θ)``. The largest of them are replaced by the expected
order statistics of a generalised Pareto distribution that is fitted to what exceeds the others (Vehtari, Simpson,
Gelman, Yao & Gabry 2024, Journal of Machine Learning Research 25 (72)); its shape k says how far to trust them. The
fit is the empirical-Bayes one of Zhang & Stephens (2009, Technometrics 51, 316), with k drawn towards 1/2 as by ten
more observations. Choices and constants are those of ArviZ, so that answers are its answers.

Functions take arrays and write arrays; they check nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

PRIOR_B, PRIOR_K = 3.0, 10.0
"""Constants of the fit: how far its grid reaches, and how many observations the prior of k is worth."""
RANGE = 600.0
"""Differences of logarithms up to which reciprocals of exponentials are safe."""


@njit(cache=True, nogil=True, error_model="numpy")
def _log_products(x: np.ndarray, b: float) -> float:
    """Mean of log(1 - b x); logarithms of products, because logarithms cost."""
    total = 0.0
    product = 1.0
    for i in range(x.size):
        product *= 1.0 - b * x[i]
        if not 1e-150 < product < 1e150:
            total += math.log(product)
            product = 1.0
    return (total + math.log(product)) / x.size


@njit(cache=True, nogil=True, error_model="numpy")
def fit(x: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution.

    Parameters
    ----------
    x : (n,) array
        Exceedances, sorted.

    Returns
    -------
    k, sigma : float
        NaN where the first quartile is the minimum, which no such distribution looks like; an infinite k where the
        fit has no finite answer.
    """
    n = x.size
    quartile = x[int(n / 4.0 + 0.5) - 1]
    if quartile <= x[0]:
        return math.nan, math.nan
    m = 30 + int(math.sqrt(n))
    b = np.empty(m)
    score = np.empty(m)
    best = -math.inf
    for j in range(m):
        b[j] = (1.0 - math.sqrt(m / (j + 0.5))) / (PRIOR_B * quartile) + 1.0 / x[n - 1]
        k = _log_products(x, b[j])
        score[j] = n * (math.log(-b[j] / k) - k - 1.0)
        best = max(best, score[j])
    total = 0.0
    for j in range(m):
        score[j] = math.exp(score[j] - best)
        total += score[j]
    mean = 0.0
    kept = 0.0
    for j in range(m):
        if score[j] >= 10.0 * 2.220446049250313e-16 * total:
            mean += b[j] * score[j]
            kept += score[j]
    mean /= kept
    k = _log_products(x, mean)
    sigma = -k / mean
    k = (n * k + PRIOR_K * 0.5) / (n + PRIOR_K)
    if math.isnan(k):
        return math.inf, math.nan
    return k, sigma


@njit(cache=True, nogil=True, error_model="numpy")
def smooth(
    log_p: np.ndarray, tail: int, elpd: np.ndarray, lpd: np.ndarray, shape: np.ndarray, log_weights: np.ndarray
) -> None:
    """Smooth the weights of every row, and sum with them.

    Parameters
    ----------
    log_p : (rows, draws) array
        Log densities under the posterior of all rows. Everything that is written of a row with one that is not
        finite is NaN.
    tail : int
        How many of the largest ratios are smoothed.
    elpd : (rows,) array
        Written: log Σ w p, weights that sum to 1.
    lpd : (rows,) array
        Written: log mean p.
    shape : (rows,) array
        Written: k; NaN where the tail is constant.
    log_weights : (rows, draws) array
        Written, unless it is empty: log w.
    """
    n = log_p.shape[1]
    keep = log_weights.size > 0
    x = np.empty(n)
    which = np.empty(tail, dtype=np.int64)
    values = np.empty(tail)
    exceed = np.empty(tail)
    for row in range(len(log_p)):
        low, high, total = math.inf, -math.inf, 0.0
        for s in range(n):
            low = min(low, log_p[row, s])
            high = max(high, log_p[row, s])
            total += log_p[row, s]
        if not math.isfinite(total):
            elpd[row] = lpd[row] = shape[row] = math.nan
            if keep:
                log_weights[row, :] = math.nan
            continue
        for s in range(n):
            x[s] = low - log_p[row, s]
        cutoff = np.partition(x, n - tail - 1)[n - tail - 1]
        found = 0
        for s in range(n):
            if x[s] > cutoff:
                which[found] = s
                found += 1
        ties = tail - found
        s = 0
        while found < tail:
            if x[s] == cutoff:
                which[found] = s
                found += 1
            s += 1
        for i in range(tail):
            values[i] = x[which[i]]
        order = np.argsort(values)
        base = math.exp(cutoff)
        for i in range(tail):
            exceed[i] = math.exp(values[order[i]]) - base
        k, sigma = math.nan, math.nan
        if values[order[tail - 1]] > values[order[0]]:
            k, sigma = fit(exceed)
        # ratios below the tail, and p, relative to the smallest p
        weights = -ties * base
        p = 0.0
        safe = high - low < RANGE
        for s in range(n):
            e = math.exp(x[s])
            p += 1.0 / e if safe else math.exp(log_p[row, s] - high)
            if x[s] <= cutoff:
                weights += e
            if keep:
                log_weights[row, s] = x[s]
        p = math.log(p) + (low if safe else high)
        smoothed = math.isfinite(k) and sigma > 0.0
        # log of w p where w is smoothed; it is 0 everywhere else
        most = 0.0
        for i in range(tail):
            old = values[order[i]]
            exceed[i] = 0.0
            if not smoothed:
                weights += math.exp(old)
                continue
            step = math.log1p(-(i + 0.5) / tail)
            q = base - sigma * step if k == 0.0 else base + sigma * math.expm1(-k * step) / k
            q = min(q, 1.0)
            weights += q
            exceed[i] = math.log(q) - old
            most = max(most, exceed[i])
            if keep:
                log_weights[row, which[order[i]]] = math.log(q)
        score = (n - tail) * math.exp(-most)
        for i in range(tail):
            score += math.exp(exceed[i] - most)
        shape[row] = k
        lpd[row] = p - math.log(n)
        elpd[row] = math.log(score) + most + low - math.log(weights)
        if keep:
            weights = math.log(weights)
            for s in range(n):
                log_weights[row, s] -= weights
