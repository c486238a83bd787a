"""One function a contender: a data frame in, figures out. Each runs in a process of its own.

Imports happen before the clock starts. ``seconds`` is everything from formula and data frame to the
estimates (for a posterior: to the draws, group effects included), compilation included; ``again``
is the same once more in the same process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

DRAWS = {"draws": 1000, "tune": 1000, "chains": 4}


def twice(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Time a first and a second call."""
    figures: dict[str, Any] = {}
    for key in ("seconds", "again"):
        start = time.perf_counter()
        found = run()
        figures[key] = time.perf_counter() - start
        figures |= found
    return figures


def hierbayes_reml(formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """REML by hierbayes."""
    import hierbayes as hb
    from hierbayes import model  # noqa: F401

    def run() -> dict[str, Any]:
        fit = hb.Model(formula, data).reml()
        return {"criterion": fit.criterion, "slope": float(fit.fixef.iloc[1])}

    return twice(run)


def statsmodels_reml(formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """REML by statsmodels."""
    import statsmodels.formula.api as smf

    fixed, random = formula.split(" + (")
    slope, group = random.rstrip(")").split(" | ")

    def run() -> dict[str, Any]:
        fit = smf.mixedlm(fixed, data, groups=data[group], re_formula=f"~{slope}").fit()
        return {"criterion": -2.0 * float(fit.llf), "slope": float(fit.fe_params.iloc[1])}

    return twice(run)


def hierbayes_posterior(formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """Posterior by hierbayes, group effects recovered."""
    import bambi  # noqa: F401
    import nutpie  # noqa: F401

    import hierbayes as hb
    from hierbayes import sampling  # noqa: F401

    def run() -> dict[str, Any]:
        fit = hb.Model(formula, data).fit(seed=1, progress=False, **DRAWS)
        table = fit.convergence.table
        return {
            "ess": float(table["ess_bulk"].min()),
            "rhat": float(table["r_hat"].max()),
            "divergences": fit.convergence.divergences,
            "sampling": fit.idata.attrs["seconds_sampling"],
            "slope": float(fit.tidy()["estimate"].iloc[1]),
        }

    return twice(run)


def _bambi(formula: str, data: pd.DataFrame, **options: Any) -> dict[str, Any]:
    import arviz as az
    import bambi as bmb
    import pymc  # noqa: F401

    def run() -> dict[str, Any]:
        idata = bmb.Model(formula, data).fit(random_seed=1, progressbar=False, **DRAWS, **options)
        posterior = idata["posterior"].to_dataset()
        effects = [name for name in posterior if "|" in str(name) and not str(name).endswith("_sigma")]
        table = az.summary(posterior.drop_vars(effects), kind="diagnostics", round_to="none").astype(float)
        return {
            "ess": float(table["ess_bulk"].min()),
            "rhat": float(table["r_hat"].max()),
            "divergences": int(idata["sample_stats"]["diverging"].sum()),
            "slope": float(np.mean(posterior[formula.split("~")[1].split("+")[0].strip()])),
        }

    return twice(run)


def bambi_default(formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """Posterior by Bambi with its default sampler (without the correlation)."""
    return _bambi(formula, data, cores=2)


def bambi_nutpie(formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """Posterior by Bambi with nutpie (without the correlation)."""
    return _bambi(formula, data, inference_method="nutpie")


CONTENDERS: dict[str, tuple[str, Callable[[str, pd.DataFrame], dict[str, Any]]]] = {
    "hierbayes REML": ("reml", hierbayes_reml),
    "statsmodels REML": ("reml", statsmodels_reml),
    "hierbayes posterior": ("posterior", hierbayes_posterior),
    "Bambi, default sampler": ("posterior", bambi_default),
    "Bambi, nutpie": ("posterior", bambi_nutpie),
}
"""What each contender computes, and how."""


def run(contender: str, formula: str, data: pd.DataFrame) -> dict[str, Any]:
    """Run one contender, with its warnings kept off the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CONTENDERS[contender][1](formula, data)
