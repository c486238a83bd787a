"""Derivatives of the logarithm of the gamma function, for compiled loops.

The argument is raised to 10 or more by the recurrence ψ(x) = ψ(x + 1) - 1/x, and the asymptotic series in Bernoulli
numbers does the rest (Abramowitz & Stegun 1964, 6.3.5, 6.3.18, 6.4.6, 6.4.11); relative errors are of the order of
rounding. Differences over a rise of the argument are taken of the series term by term, so that they keep their digits
however large the argument is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LARGE = 1e4
"""Arguments from which differences are taken of the series."""


@njit(cache=True, nogil=True, error_model="numpy")
def polygamma(x: float, out: np.ndarray) -> None:
    """Write ψ(x), ψ'(x), ψ''(x) to `out`, x > 0."""
    first = second = third = 0.0
    while x < 10.0:
        r = 1.0 / x
        first -= r
        second += r * r
        third -= 2.0 * r * r * r
        x += 1.0
    r = 1.0 / x
    s = r * r
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (5 / 660 - s * (691 / 32760 - s / 12))))))
    out[0] = first + math.log(x) - 0.5 * r - series
    series = 1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66 - s * (691 / 2730 - s * (7 / 6))))))
    out[1] = second + r + 0.5 * s + r * s * series
    series = 0.5 - s * (1 / 6 - s * (1 / 6 - s * (0.3 - s * (5 / 6 - s * (691 / 210 - s * 17.5)))))
    out[2] = third - s - s * r - s * s * series


@njit(cache=True, nogil=True, error_model="numpy")
def digamma(x: float) -> float:
    """ψ(x), x > 0."""
    total = 0.0
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    s = 1.0 / (x * x)
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (5 / 660 - s * (691 / 32760 - s / 12))))))
    return total + math.log(x) - 0.5 / x - series


@njit(cache=True, nogil=True, error_model="numpy")
def rise_of_lgamma(x: float, by: float) -> float:
    """Log Γ(x + by) - log Γ(x), x > 0, by >= 0."""
    if x < LARGE:
        return math.lgamma(x + by) - math.lgamma(x)
    end = x + by
    ratio = math.log1p(by / x)
    ends = (1.0 / end - 1.0 / x) / 12.0 - (end**-3.0 - x**-3.0) / 360.0
    return (end - 0.5) * ratio + by * math.log(x) - by + ends


@njit(cache=True, nogil=True, error_model="numpy")
def rise_of_digamma(x: float, by: float) -> float:
    """ψ(x + by) - ψ(x), x > 0, by >= 0."""
    if x < LARGE:
        return digamma(x + by) - digamma(x)
    end = x + by
    ends = 0.5 * (1.0 / end - 1.0 / x) + (end**-2.0 - x**-2.0) / 12.0
    return math.log1p(by / x) - ends
