"""What the priors of a model with any family predict: a posterior that has seen nothing.

Parameters and random effects are drawn from the conditional graph (`hierbayes.conditional`), and responses follow
from them as from draws of a posterior. Thresholds of an ordinal model are ordered: draws of their priors that are not
are drawn again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.conditional import build_conditional, kept_variables, posterior_of
from hierbayes.errors import HierbayesError, PriorError
from hierbayes.estimates import FamilyPosterior, observed_data
from hierbayes.laws import proper
from hierbayes.parameterization import NONCENTERED
from hierbayes.predictions.groups import RESPONSE
from hierbayes.predictions.posterior import observed_like, predict_draws
from hierbayes.specification import Specification

THRESHOLD = "threshold"
ROUNDS = 50
"""Of drawing again what was out of order."""


def prior_draws(specification: Specification, draws: int, seed: int | None) -> FamilyPosterior:
    """Draw all parameters and random effects from their priors.

    Parameters
    ----------
    specification : Specification
    draws : int
    seed : int or None

    Returns
    -------
    FamilyPosterior
        One chain.

    Raises
    ------
    PriorError
        If a prior is flat: nothing can be drawn from it.
    """
    import pymc as pm
    from pytensor.compile.mode import Mode

    design, priors = specification.design, specification.priors
    auxiliary = {k: prior for k, prior in priors.auxiliary.items() if isinstance(prior, tuple)}
    labelled = [
        *zip(design.labels, priors.coefficients, strict=True),
        *((name, prior) for name, of_name in auxiliary.items() for prior in of_name),
    ]
    for label, prior in labelled:
        if not proper(prior):
            raise PriorError(
                f"The prior of {label!r} is flat, so nothing can be drawn from it; give it a distribution."
            )
    graph = build_conditional(design, priors, [NONCENTERED] * len(design.blocks), specification.respond)
    known = {variable.name for variable in graph.unobserved_RVs}
    wanted = [name for name in kept_variables(design) if name in known]
    rng = np.random.default_rng(seed)
    kept: list[xr.Dataset] = []
    missing = draws
    with graph, quiet():
        for _ in range(ROUNDS):
            made = pm.sample_prior_predictive(
                max(missing, 10),
                var_names=wanted,
                random_seed=int(rng.integers(2**31)),
                compile_kwargs={"mode": Mode(linker="py", optimizer="fast_compile")},
            )
            found = made["prior"].to_dataset()
            if THRESHOLD in found:
                found = found.isel({names.DRAW: np.all(np.diff(found[THRESHOLD][0], axis=-1) > 0, axis=-1)})
            kept.append(found)
            missing -= found.sizes[names.DRAW]
            if missing <= 0:
                break
        else:
            raise HierbayesError(
                "The priors of the thresholds hardly ever put them in order; give them means that increase."
            )
    joined = xr.concat(kept, names.DRAW).isel({names.DRAW: slice(0, draws)})
    posterior = posterior_of(joined.assign_coords({names.DRAW: np.arange(draws)}), design)
    tree = xr.DataTree.from_dict({"posterior": posterior, "observed_data": observed_data(design)})
    return FamilyPosterior(design, priors, tree, specification=specification)


def prior_predictive(specification: Specification, draws: int, seed: int | None) -> xr.DataTree:
    """Draw parameters from the priors, and with each draw new random effects and a new response.

    Parameters
    ----------
    specification : Specification
    draws : int
    seed : int or None

    Returns
    -------
    xarray.DataTree
        Groups prior, prior_predictive and observed_data, one chain.
    """
    prior = prior_draws(specification, draws, seed)
    replicates = predict_draws(prior, kind=RESPONSE, seed=seed)
    return xr.DataTree.from_dict(
        {
            "prior": prior.posterior,
            "prior_predictive": replicates.to_dataset(),
            "observed_data": observed_like(replicates, specification.design),
        }
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyMC from logging the names of what it draws."""
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
