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

from hierbayes.design import Design
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
    where = [d.effects_of(factor) for factor in d.factors]
    sizes = [len(factor.levels) * (w.stop - w.start) for factor, w in zip(d.factors, where, strict=True)]
    streams = (np.random.default_rng([seed, first + k]) for k in range(n))
    noise = np.stack([stream.standard_normal(d.n + sum(sizes)) for stream in streams])
    e, *effects = np.split(noise, np.cumsum([d.n, *sizes])[:-1], axis=1)
    made = []
    for w, z in zip(where, effects, strict=True):
        root = estimate.marginal.units(w) @ estimate.optimum.relative[w, w] * estimate.optimum.sigma
        made.append(root @ z.reshape(n, w.stop - w.start, -1))
    same = np.ones(n)
    return assemble(
        d, estimate.fixef.to_numpy()[None], made, residuals(d, e, estimate.sigma * same, estimate.optimum.rho * same)
    )


def new_effects(design: Design, L: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw random effects of new levels, as many as the design has.

    Parameters
    ----------
    design : Design
    L : (draws, q, q) array
        Factors of the covariance matrix.
    rng : numpy.random.Generator

    Returns
    -------
    list of (draws, effects, levels) array
        One a grouping factor.
    """
    made = []
    for factor in design.factors:
        where = design.effects_of(factor)
        z = rng.standard_normal((len(L), where.stop - where.start, len(factor.levels)))
        made.append(L[:, where, where] @ z)
    return made


def residuals(design: Design, z: np.ndarray, sigma: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Turn standard normal noise into residuals with the weights and the correlation of the design.

    Parameters
    ----------
    design : Design
    z : (draws, n) array
    sigma, rho : (draws,) arrays
        ρ plays no part where residuals are independent.

    Returns
    -------
    (draws, n) array
    """
    e = z if design.residual is None else correlate(z, design.residual, rho)
    return e * sigma[:, None] / (1.0 if design.weights is None else np.sqrt(design.weights))


def assemble(design: Design, fixef: np.ndarray, effects: list[np.ndarray], e: np.ndarray) -> np.ndarray:
    """Responses from all that they are the sum of.

    Parameters
    ----------
    design : Design
    fixef : (draws, p) array
        Or one row for all draws.
    effects : list of (draws, effects, levels) array
        One a grouping factor.
    e : (draws, n) array
        Residuals.

    Returns
    -------
    (draws, n) array
        Work with a few draws at a time.
    """
    y = e + fixef @ design.X.T
    if design.offset is not None:
        y += design.offset
    for factor, b in zip(design.factors, effects, strict=True):
        for k, column in enumerate(design.effect_columns(factor).T):
            y += b[:, k, factor.codes] * column
    return y


def correlate(z: np.ndarray, residual: Residual, rho: np.ndarray) -> np.ndarray:
    """Turn independent standard normal numbers, (k, n), into draws of N(0, R(ρ)), one ρ a draw.

    Examples
    --------
    >>> pair = Residual("cs", "cs(g)", "g", np.array([0, 0]), np.array([0, 0]))
    >>> correlate(np.array([[1.0, 1.0], [1.0, -1.0]]), pair, np.array([0.5, 0.5])).round(3)
    array([[ 1.225,  1.225],
           [ 0.707, -0.707]])
    """
    rho = rho[:, None]
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
        carry = rho ** (time[at] - time[at - 1])
        e[:, order[at]] = carry * e[:, order[at - 1]] + np.sqrt(1.0 - carry**2) * z[:, order[at]]
    return e
