"""From a response to posterior draws, by the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import xarray as xr

import hierbayes as hb
from benchmarks.calibration.studies import STUDIES, Study, Values
from hierbayes.sampling import Run

CHAINS, TUNE = 2, 500

Posterior = Callable[[np.ndarray, int, int], Values]
"""Response, seed and draws a chain to draws of everything, chains one after the other."""


def model_of(study: Study, y: np.ndarray, own_priors: bool) -> hb.Model:
    """The model of a response, with the priors of the study or the automatic ones."""
    data = study.frame.assign(y=y)
    family = "binomial" if study.binomial else "gaussian"
    if not own_priors:
        return hb.Model(study.formula, data, family=family)
    return hb.Model(study.formula, data, family=family, priors=study.priors, center_predictors=False)


@cache
def posterior_of(key: str, own_priors: bool) -> Posterior:
    """What makes the posteriors of a study; a graph that has to be compiled is compiled here, once.

    Parameters
    ----------
    key : str
    own_priors : bool
        The priors of the study, or the automatic ones.
    """
    study = STUDIES[key]
    if study.binomial:
        return _compiled(study, own_priors)

    def posterior(y: np.ndarray, seed: int, draws: int) -> Values:
        model = model_of(study, y, own_priors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hb.ConvergenceWarning)  # calibration judges all runs alike
            fit = model.fit(draws=draws, tune=TUNE, chains=CHAINS, seed=seed, cores=1, progress=False)
        return _values(study, fit.posterior)

    return posterior


def _compiled(study: Study, own_priors: bool) -> Posterior:
    """One graph for all responses: the one that it observes is exchanged, and nothing compiled again.

    The graph is that of the package, but for its constant response, for which a shared variable is put.
    """
    import nutpie
    import pytensor

    some = np.arange(len(study.frame)) % 3
    graph = model_of(study, some, own_priors).graph("noncentered")
    response = graph.observed_RVs[0]
    exchangeable = pytensor.shared(graph.rvs_to_values[response].eval(), name="response")
    del graph.values_to_rvs[graph.rvs_to_values[response]]
    graph.rvs_to_values[response], graph.values_to_rvs[exchangeable] = exchangeable, response
    compiled = nutpie.compile_pymc_model(graph, backend="numba")

    def posterior(y: np.ndarray, seed: int, draws: int) -> Values:
        run = Run(draws, TUNE, CHAINS, 1, seed, target_accept=0.95, progress=False)
        found, _ = run(compiled.with_data(response=y), 1)
        return _values(study, found)

    return posterior


def _values(study: Study, posterior: xr.Dataset) -> Values:
    found = {}
    for name in study.laws:
        draws = posterior[name].to_numpy()
        found[name] = (draws[..., 0, 1] if name.endswith("_corr") else draws).ravel()
    for effect in study.effects:
        factor = effect.split("|")[1]
        levels = [str(level) for level in range(study.levels(factor))]
        draws = posterior[effect].sel({f"{factor}__factor_dim": levels}).to_numpy()
        found[effect] = draws.reshape(-1, len(levels))
    return found
