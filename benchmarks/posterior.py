"""Posteriors from a formula and a data frame, group effects included.

A sampler is made by a function that imports what it needs, so that the clock measures no import.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import Case, load
from benchmarks.process import CACHE, Figures, in_r

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Sampler = Callable[[str, "pd.DataFrame", Mapping[str, Any]], tuple["xr.Dataset", int]]
"""Formula, data, numbers of draws → parameters (no group effects) and the number of divergences."""


def hierbayes() -> Sampler:
    """Sample with hierbayes."""
    import bambi  # noqa: F401
    import nutpie  # noqa: F401

    import hierbayes as hb
    from hierbayes import model, sampling  # noqa: F401

    def sample(formula: str, data: pd.DataFrame, options: Mapping[str, Any]) -> tuple[xr.Dataset, int]:
        fit = hb.Model(formula, data).fit(seed=1, progress=False, **options)
        return fit.parameters, fit.convergence.divergences

    return sample


def bambi(**how: Any) -> Sampler:
    """Sample with Bambi; `how` goes to its ``fit``."""
    import bambi as bmb
    import nutpie  # noqa: F401
    import pymc  # noqa: F401

    def sample(formula: str, data: pd.DataFrame, options: Mapping[str, Any]) -> tuple[xr.Dataset, int]:
        idata = bmb.Model(formula, data).fit(random_seed=1, progressbar=False, **options, **how)
        posterior = idata["posterior"].to_dataset()
        effects = [name for name in posterior if "|" in str(name) and not str(name).endswith("_sigma")]
        return posterior.drop_vars(effects), int(idata["sample_stats"]["diverging"].sum())

    return sample


def bambi_nutpie() -> Sampler:
    """Sample with Bambi and nutpie."""
    return bambi(inference_method="nutpie")


def one(make: Callable[[], Sampler], case: Case) -> Figures:
    """Time one posterior and take its convergence."""
    sample, data = make(), load(case.name)
    start = time.perf_counter()
    parameters, divergences = sample(case.formula, data, case.options)
    return {"seconds": time.perf_counter() - start} | diagnose(parameters) | {"divergences": divergences}


def second(make: Callable[[], Sampler], case: Case) -> Figures:
    """Time one posterior and then that of another model of the same shape, all names changed."""
    sample, data = make(), load(case.name)
    other = data[["new0", "x", "g"]].set_axis(["outcome", "dose", "clinic"], axis="columns")
    seconds = []
    for formula, frame in ((case.formula, data), ("outcome ~ dose + (1 | clinic)", other)):
        start = time.perf_counter()
        parameters, divergences = sample(formula, frame, case.options)
        seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "seconds": seconds[1]} | diagnose(parameters) | {"divergences": divergences}


def stan(package: str, case: Case) -> Figures:
    """Sample with rstanarm or brms; ArviZ reads the draws, as it does for the others."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "draws.csv")
        options = dict(case.options) | {"cores": min(case.options["chains"], os.cpu_count() or 1)}
        figures = in_r(package, case, output=path, cache=os.environ.get(CACHE, folder), **options)
        if "failed" in figures:
            return figures
        import pandas as pd
        import xarray as xr

        draws = pd.read_csv(path)
        shape = (case.options["chains"], case.options["draws"])
        columns = {name: (("chain", "draw"), np.reshape(draws[name].to_numpy(), shape)) for name in draws}
        return figures | diagnose(xr.Dataset(columns))


def diagnose(parameters: xr.Dataset) -> Figures:
    """Return the smallest bulk effective sample size and the largest R-hat, by ArviZ."""
    import arviz as az

    ess, rhat = az.ess(parameters, method="bulk"), az.rhat(parameters)
    return {
        "ess": min(float(ess[name].min()) for name in parameters),
        "slowest": str(min(parameters, key=lambda name: float(ess[name].min()))),
        "rhat": max(float(rhat[name].max()) for name in parameters),
    }
