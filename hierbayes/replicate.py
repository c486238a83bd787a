"""Responses that a model would give: fixed effects, random effects and residuals put together, by simulation."""

from __future__ import annotations

import numpy as np

from hierbayes.design import Design
from hierbayes.shrinkage import effect_columns
from hierbayes.simulation import correlate


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


def residuals(design: Design, sigma: np.ndarray, rho: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw residuals with the weights and the correlation of the design.

    Parameters
    ----------
    design : Design
    sigma, rho : (draws,) arrays
        ρ plays no part where residuals are independent.
    rng : numpy.random.Generator

    Returns
    -------
    (draws, n) array
    """
    e = rng.standard_normal((len(sigma), design.n))
    if design.residual is not None:
        e = np.concatenate([correlate(z[None], design.residual, r) for z, r in zip(e, rho, strict=True)])
    return e * sigma[:, None] / (1.0 if design.weights is None else np.sqrt(design.weights))


def responses(
    design: Design,
    fixef: np.ndarray,
    effects: list[np.ndarray],
    sigma: np.ndarray,
    rho: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw responses.

    Parameters
    ----------
    design : Design
    fixef : (draws, p) array
    effects : list of (draws, effects, levels) array
        One a grouping factor.
    sigma, rho : (draws,) arrays
    rng : numpy.random.Generator

    Returns
    -------
    (draws, n) array
        Work with a few draws at a time.
    """
    y = residuals(design, sigma, rho, rng)
    y += fixef @ design.X.T
    if design.offset is not None:
        y += design.offset
    for factor, b in zip(design.factors, effects, strict=True):
        for k, column in enumerate(effect_columns(design, factor).T):
            y += b[:, k, factor.codes] * column
    return y
