"""From a marginal likelihood and its priors to a posterior: what a fit and every refit of it share."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierbayes.marginal import Conditionals, Marginal
from hierbayes.priors import Priors
from hierbayes.recover import parameters
from hierbayes.reml import Optimum
from hierbayes.sampling import Draws, Run, make_target, sample, start


def draw(marginal: Marginal, priors: Priors, optimum: Optimum, run: Run) -> tuple[Draws, Conditionals, xr.Dataset]:
    """Draw θ by NUTS and the fixed effects that were integrated out exactly.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    optimum : Optimum
        Where to start: the REML estimate of this likelihood, or of one close to it in the same coordinates.
    run : Run

    Returns
    -------
    drawn : Draws
    given : Conditionals
        What the draws imply for everything that was integrated out.
    posterior : xarray.Dataset
        All parameters but the random effects of single levels, under Bambi's names.
    """
    target = make_target(marginal, priors)

    def graph() -> object:
        from hierbayes.graph import build_graph

        return build_graph(marginal, priors)

    drawn = sample(target, graph, start(target, optimum), run)
    thetas = drawn.theta.reshape(-1, drawn.theta.shape[-1])
    given = marginal.condition(thetas, np.random.default_rng([run.seed, 1]), run.cores)
    return drawn, given, parameters(marginal, drawn.theta, given)
