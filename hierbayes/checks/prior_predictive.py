"""What the priors assume before they see the response: draws of the parameters, and of responses that follow.

Random effects are drawn anew with every draw of the parameters, residuals with the weights and the correlation of
the design. A look at such responses is the quickest check of a prior (Gabry, Simpson, Vehtari, Betancourt & Gelman
2019, Journal of the Royal Statistical Society A 182, 389).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from hierbayes import laws, names
from hierbayes.covariance import factor
from hierbayes.design import Design
from hierbayes.estimates import observed_data
from hierbayes.inference.simulation import assemble, new_effects, residuals
from hierbayes.marginal import Conditionals, Marginal
from hierbayes.priors import Prior, Priors
from hierbayes.recover import parameters

CHUNK = 2_000_000
"""Numbers simulated at a time."""


def draw_prior(
    marginal: Marginal, priors: Priors, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, Conditionals]:
    """Draw every parameter from its prior.

    Parameters
    ----------
    marginal : Marginal
        With the same priors.
    priors : Priors
    draws : int
    rng : numpy.random.Generator

    Returns
    -------
    theta : (draws, dim) array
    given : Conditionals
        Fixed effects, factors of the covariance, σ and ρ that go with it.

    Raises
    ------
    PriorError
        If a prior is flat: nothing can be drawn from it.
    """
    design, layout, places = marginal.design, marginal.moments.layout, marginal.places
    eta = _columns(priors.coefficients, design.labels, draws, rng)
    theta = np.empty((draws, marginal.dim))
    theta[:, places.sds] = _columns(priors.sds, design.effect_labels, draws, rng)
    shapes = layout.lkj_shapes(priors.eta)
    theta[:, places.partials] = 2.0 * rng.beta(shapes, shapes, size=(draws, len(shapes))) - 1.0
    if priors.sigma is not None and places.sigma is not None:
        theta[:, places.sigma] = laws.draw(priors.sigma, draws, rng, names.SIGMA)
    rho = np.zeros(draws)
    if priors.rho is not None and places.rho is not None:
        theta[:, places.rho] = 2.0 * rng.beta(priors.rho, priors.rho, size=draws) - 1.0
        rho = marginal.rho(theta[:, places.rho])
    theta[:, places.kept :] = eta[:, marginal.kept]
    L = np.array([factor(row[places.sds], row[places.partials], *layout.arrays) for row in theta])
    sigma = np.full(draws, design.sigma) if places.sigma is None else theta[:, places.sigma]
    fixef = eta @ np.linalg.inv(marginal.centering).T
    nothing = np.zeros((draws, 0))
    return theta, Conditionals(fixef, nothing, L, sigma, rho, L, nothing)


def _columns(priors: tuple[Prior, ...], labels: list[str], draws: int, rng: np.random.Generator) -> np.ndarray:
    columns = [laws.draw(prior, draws, rng, label) for prior, label in zip(priors, labels, strict=True)]
    return np.stack(columns, axis=1) if columns else np.zeros((draws, 0))


def prior_predictive(marginal: Marginal, priors: Priors, draws: int, seed: int | None) -> xr.DataTree:
    """Draw parameters from the priors, and with each draw new random effects and a new response.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    draws : int
    seed : int or None

    Returns
    -------
    xarray.DataTree
        Groups prior, prior_predictive and observed_data, one chain.
    """
    design, rng = marginal.design, np.random.default_rng(seed)
    theta, given = draw_prior(marginal, priors, draws, rng)
    y = np.concatenate(list(prior_responses(design, given, rng)))
    coords = {names.OBSERVATIONS: np.arange(design.n), names.CHAIN: [0], names.DRAW: np.arange(draws)}
    dims = (names.CHAIN, names.DRAW, names.OBSERVATIONS)
    groups = {
        "prior": parameters(marginal, theta[None], given),
        "prior_predictive": xr.Dataset({design.response: (dims, y[None])}, coords),
        "observed_data": observed_data(design),
    }
    return xr.DataTree.from_dict(groups)


def prior_responses(design: Design, given: Conditionals, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Responses (draws, n), a few draws at a time."""
    step = max(1, CHUNK // design.n)
    for start in range(0, len(given.sigma), step):
        some = given.only(slice(start, start + step))
        e = residuals(design, rng.standard_normal((len(some.sigma), design.n)), some.sigma, some.rho)
        yield assemble(design, some.fixef, new_effects(design, some.L, rng), e)
