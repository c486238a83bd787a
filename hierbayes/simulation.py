r"""New responses from a fitted model.

    y* = Xβ̂ + offset + Zb* + ε*,      b*_j ~ N(0, Σ̂),      ε* ~ N(0, σ̂² W^{-½} R̂ W^{-½})

Random effects and residuals are both new, so that a response is what other levels of the same sizes would
have given. W are the precision weights (1/se² for known standard errors), R the residual correlation:

- AR(1): in the order of time, ``ε_t = ρ^d ε_{t-1} + √(1 - ρ^{2d}) z_t`` with d the steps since the row before;
- compound symmetry: ``ε = √(1 - ρ) (z - z̄) + √(1 + (s - 1)ρ) z̄`` in a series of s rows, for negative ρ too.

Response k depends on the seed and on k alone, however many are drawn at a time.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from hierbayes.estimates import Estimate
from hierbayes.residual import Residual


def simulate(estimate: Estimate, n: int, seed: int, first: int = 0) -> np.ndarray:
    """Draw responses from a fit.

    Parameters
    ----------
    estimate : Estimate
    n : int
        How many.
    seed : int
    first : int, default 0
        Number of the first one.

    Returns
    -------
    (n, rows) array
        In units of the response, the offset included.

    Raises
    ------
    ValueError
        If n is not a positive whole number.
    """
    if not (isinstance(n, (int, np.integer)) and n > 0):
        raise ValueError(f"n must be a positive whole number, not {n!r}")
    d = estimate.design
    mean = d.X @ estimate.fixef.to_numpy() + (0.0 if d.offset is None else d.offset)
    where = [d.effects_of(factor) for factor in d.factors]
    sizes = [len(factor.levels) * (w.stop - w.start) for factor, w in zip(d.factors, where, strict=True)]
    streams = (np.random.default_rng([seed, first + k]) for k in range(n))
    noise = np.stack([stream.standard_normal(d.n + sum(sizes)) for stream in streams])
    e, *effects = np.split(noise, np.cumsum([d.n, *sizes])[:-1], axis=1)
    if d.residual is not None:
        e = correlate(e, d.residual, estimate.optimum.rho)
    y = mean + e * (estimate.sigma if d.weights is None else estimate.sigma / np.sqrt(d.weights))
    for factor, w, z in zip(d.factors, where, effects, strict=True):
        root = estimate.marginal.units(w) @ estimate.optimum.relative[w, w] * estimate.optimum.sigma
        b = z.reshape(n, len(factor.levels), -1) @ root.T
        Z = np.concatenate([part.block.Z for part in d.parts_of(factor)], axis=1)
        for i in range(Z.shape[1]):
            y += Z[:, i] * b[:, factor.codes, i]
    return y


def correlate(z: np.ndarray, residual: Residual, rho: float) -> np.ndarray:
    """Turn independent standard normal numbers, (k, n), into draws of N(0, R(ρ)).

    Examples
    --------
    >>> pair = Residual("cs", "cs(g)", "g", np.array([0, 0]), np.array([0, 0]))
    >>> correlate(np.array([[1.0, 1.0], [1.0, -1.0]]), pair, 0.5).round(3)
    array([[ 1.225,  1.225],
           [ 0.707, -0.707]])
    """
    if residual.kind == "cs":
        size = np.bincount(residual.codes)
        mean = np.stack([np.bincount(residual.codes, row) for row in z]) / np.maximum(size, 1)
        stretch = np.sqrt(1.0 + (size - 1) * rho)
        return np.sqrt(1.0 - rho) * (z - mean[:, residual.codes]) + (stretch * mean)[:, residual.codes]
    e = z.copy()
    order = residual.order
    codes, time = residual.codes[order], residual.time[order]
    begins = np.r_[True, codes[1:] != codes[:-1]]
    place = np.arange(len(codes)) - np.maximum.accumulate(np.where(begins, np.arange(len(codes)), 0))
    by_place = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))
    for first, last in pairwise(ends):
        at = by_place[first:last]
        carry = float(rho) ** (time[at] - time[at - 1])
        e[:, order[at]] = carry * e[:, order[at - 1]] + np.sqrt(1.0 - carry**2) * z[:, order[at]]
    return e
