"""Coverage: how often intervals of 50% and 90% hold the true value, over many data sets of one truth.

The truth is fixed, as frequentist coverage means it, and the priors are the automatic ones: what a user gets who says
nothing. Under a fixed truth nobody promises posterior intervals their nominal coverage; averaged over the prior they
have it exactly, which is what `benchmarks.calibration.ranks` tests.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

import hierbayes as hb
from benchmarks.calibration.posteriors import model_of, posterior_of
from benchmarks.calibration.studies import STUDIES, Study, Values

LEVELS = (0.5, 0.9)
DRAWS = 1000
"""Draws a chain."""
Table = Callable[[float], pd.DataFrame]
"""Level to intervals: rows are terms, columns conf_low and conf_high among others."""
WALD, PROFILE, POSTERIOR = "Wald", "profile", "posterior"


def intervals(key: str, seed: int, number: int) -> pd.DataFrame:
    """Simulate once: intervals of all parameters, methods and levels.

    Parameters
    ----------
    key : str
        Of the study.
    seed, number : int
        Seed of the study and number of the repetition.

    Returns
    -------
    pandas.DataFrame
        Columns number, term, method, level, low, high, truth.
    """
    study = STUDIES[key]
    rng = np.random.default_rng([seed, number])
    _, y = study.simulate(study.truth, rng)
    methods = _frequentist(study, y) | {POSTERIOR: _equal_tailed(study, posterior_of(key, False)(y, number, DRAWS))}
    found = []
    for level in LEVELS:
        for method, at in methods.items():
            table = at(level)
            for name, value in study.truth.items():
                low, high = table.loc[term(name), ["conf_low", "conf_high"]]
                found.append((number, term(name), method, level, low, high, value))
    return pd.DataFrame(found, columns=["number", "term", "method", "level", "low", "high", "truth"])


def _frequentist(study: Study, y: np.ndarray) -> dict[str, Table]:
    """Fit once; warnings are not shown, because what is missing is counted."""
    model = model_of(study, y, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        fit = model.ml() if study.binomial else model.reml()
        methods: dict[str, Table] = {WALD: lambda level: fit.tidy(level).set_index("term")}
        if not study.binomial:
            profile = fit.profile()
            methods[PROFILE] = lambda level: _quiet(profile.confint, level).set_index("term")
    return methods


def _quiet(call: Callable[[float], pd.DataFrame], level: float) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # an end that was not found
        return call(level)


def _equal_tailed(study: Study, drawn: Values) -> Table:
    def at(level: float) -> pd.DataFrame:
        tail = 0.5 - 0.5 * level
        ends = {term(name): np.quantile(drawn[name], [tail, 1.0 - tail]) for name in study.truth}
        return pd.DataFrame.from_dict(ends, orient="index", columns=["conf_low", "conf_high"])

    return at


def term(name: str) -> str:
    """What tables call a parameter of a study with one factor.

    Examples
    --------
    >>> [term(name) for name in ("x", "1|g_sigma", "x|g_sigma", "g_corr", "sigma")]
    ['x', 'sd(Intercept)', 'sd(x)', 'corr(Intercept, x)', 'sigma']
    """
    if name.endswith("_corr"):
        return "corr(Intercept, x)"
    if "|" in name:
        effect = name.split("|")[0]
        return f"sd({'Intercept' if effect == '1' else effect})"
    return name


def coverage(found: pd.DataFrame) -> pd.DataFrame:
    """Share of intervals that hold the truth.

    Parameters
    ----------
    found : pandas.DataFrame
        Rows of `intervals`.

    Returns
    -------
    pandas.DataFrame
        Index (term, level, method), in the order of `found`; columns share (of the intervals there are), std_error
        (binomial, at the nominal level), count and missing (data sets with and without an interval), width (median).
    """
    kept = found.dropna(subset=["low", "high"])
    held = (kept["low"] <= kept["truth"]) & (kept["truth"] <= kept["high"])
    keys = ["term", "level", "method"]
    parts = kept.assign(held=held, width=kept["high"] - kept["low"]).groupby(keys, sort=False)
    table = parts.agg(share=("held", "mean"), count=("held", "size"), width=("width", "median"))
    level = table.index.get_level_values("level").to_numpy(float)
    table["std_error"] = np.sqrt(level * (1.0 - level) / table["count"])
    table["missing"] = found["number"].nunique() - table["count"]
    return table
