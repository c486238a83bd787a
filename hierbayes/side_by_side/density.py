r"""Density of draws by Gaussian kernels, right up to a boundary.

With bandwidth h the estimate at v is ``Σ φ((v - x_s)/h) / (S h)``. Where the parameter has a boundary b, mass that
kernels put beyond it is reflected back, ``φ((v - x_s)/h) + φ((v - 2b + x_s)/h)``, so that the density of a standard
deviation does not fall to half its value at 0. h is Silverman's, ``0.9 min(sd, IQR/1.349) S^(-1/5)`` (Silverman 1986,
Density Estimation for Statistics and Data Analysis, sections 2.10 and 3.4.2).
"""

from __future__ import annotations

import math

import numpy as np

POINTS = 201
"""Values at which a curve is known."""
CHUNK = 4_000
"""Draws worked on at a time."""


def bandwidth(draws: np.ndarray) -> float:
    """Silverman's bandwidth; 0 if all draws are the same.

    Examples
    --------
    >>> round(bandwidth(np.arange(100.0)), 2)
    10.39
    """
    first, third = np.quantile(draws, [0.25, 0.75])
    spread = float(draws.std(ddof=1)) if len(draws) > 1 else 0.0
    return 0.9 * min(spread, (third - first) / 1.349 or spread) * len(draws) ** -0.2


def density(draws: np.ndarray, at: np.ndarray, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """Density of draws at some values.

    Parameters
    ----------
    draws : (S,) array
    at : (k,) array
    low, high : float
        Boundary of the parameter.

    Returns
    -------
    (k,) array
        NaN if all draws are the same: there is no density.

    Examples
    --------
    >>> at = np.linspace(0.0, 5.0, 501)
    >>> found = density(np.abs(np.random.default_rng(1).normal(size=4000)), at, low=0.0)
    >>> bool(abs(found.sum() * 0.01 - 1.0) < 0.02), found[0].round(1).item()
    (True, 0.8)
    """
    h = bandwidth(draws)
    if not h > 0.0:
        return np.full(len(at), np.nan)
    mirrored = [draws, *(2.0 * bound - draws for bound in (low, high) if math.isfinite(bound))]
    total = np.zeros(len(at))
    for centres in mirrored:
        for start in range(0, len(centres), CHUNK):
            total += np.exp(-0.5 * ((at[:, None] - centres[start : start + CHUNK]) / h) ** 2).sum(axis=1)
    total[(at < low) | (at > high)] = 0.0
    return total / (len(draws) * h * math.sqrt(2.0 * math.pi))


def window(draws: np.ndarray, room: float, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Range of a curve: all but a thousandth of the draws, and `room` 95% intervals to each side.

    Examples
    --------
    >>> window(np.linspace(0.0, 1.0, 1001), 0.0, low=0.0)
    (0.001, 0.999)
    """
    first, inner, outer, last = np.quantile(draws, [0.001, 0.025, 0.975, 0.999])
    reach = room * (outer - inner)
    return float(max(low, first - reach)), float(min(high, last + reach))
