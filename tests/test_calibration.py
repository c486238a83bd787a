"""Simulation-based calibration: ranks of prior draws in their posteriors are uniform.

Talts et al. 2018, arXiv 1804.06788. Random intercept and slope with correlation; every parameter, and
one random effect that is only recovered, not sampled.
"""

from __future__ import annotations

import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hierbayes as hb

GROUPS, ROWS = 12, 6
RANKS = 100
"""Thinned draws per posterior, so that ranks run from 0 to 100."""
BINS = 10
P_VALUE = 1e-3
"""Smallest p-value of the uniformity tests, over all quantities (Bonferroni); the seeds are fixed."""

PRIORS = {
    "Intercept": bmb.Prior("Normal", mu=1.0, sigma=2.0),
    "x": bmb.Prior("Normal", mu=0.0, sigma=1.0),
    "1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=1.0)),
    "x|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=0.7)),
    "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=1.0),
    "g_corr": bmb.Prior("LKJ", eta=2.0),
}


def simulate(rng):
    """One draw from the prior and a data set from it."""
    truth = {
        "Intercept": rng.normal(1.0, 2.0),
        "x": rng.normal(0.0, 1.0),
        "1|g_sigma": abs(rng.normal(0.0, 1.0)),
        "x|g_sigma": abs(rng.normal(0.0, 0.7)),
        "g_corr": 2.0 * rng.beta(2.0, 2.0) - 1.0,
        "sigma": abs(rng.standard_t(4)),
    }
    s1, s2, r = truth["1|g_sigma"], truth["x|g_sigma"], truth["g_corr"]
    b = rng.multivariate_normal([0, 0], [[s1**2, r * s1 * s2], [r * s1 * s2, s2**2]], GROUPS)
    truth["1|g"], truth["x|g"] = b[0]
    g = np.repeat(np.arange(GROUPS), ROWS)
    x = np.tile(np.linspace(-1.0, 2.0, ROWS), GROUPS)
    y = truth["Intercept"] + b[g, 0] + (truth["x"] + b[g, 1]) * x + rng.normal(0.0, truth["sigma"], len(g))
    return truth, pd.DataFrame({"y": y, "x": x, "g": g})


def ranks(replicates, seed):
    """Rank of the truth among thinned posterior draws, per quantity."""
    found = {}
    for replicate in range(replicates):
        rng = np.random.default_rng([seed, replicate])
        truth, data = simulate(rng)
        model = hb.Model("y ~ x + (x | g)", data, priors=PRIORS, center_predictors=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hb.ConvergenceWarning)  # calibration judges all runs alike
            fit = model.fit(draws=500, tune=500, chains=2, seed=replicate)
        posterior = fit.posterior.isel(g__factor_dim=0)
        for name, value in truth.items():
            draws = posterior[name][..., 0, 1] if name == "g_corr" else posterior[name]
            thinned = draws.to_numpy().ravel()[:: 1000 // RANKS]
            found.setdefault(name, []).append(int((thinned < value).sum()))
    return {name: np.array(values) for name, values in found.items()}


def assert_uniform(found):
    p_values = {}
    for name, values in found.items():
        counts = np.histogram(values, bins=BINS, range=(0, RANKS + 1))[0]
        edges = np.linspace(0, RANKS + 1, BINS + 1)
        expected = np.histogram(np.arange(RANKS + 1), bins=edges)[0] / (RANKS + 1) * len(values)
        p_values[name, "chi2"] = stats.chisquare(counts, expected).pvalue
        p_values[name, "ks"] = stats.kstest((values + 0.5) / (RANKS + 1), "uniform").pvalue
    bad = {key: p for key, p in p_values.items() if p < P_VALUE / len(p_values)}
    assert bad == {}


def test_ranks_are_uniform_in_a_short_run():
    assert_uniform(ranks(40, seed=1))


@pytest.mark.slow
def test_ranks_are_uniform():
    assert_uniform(ranks(400, seed=2))


def test_the_check_can_fail():
    """Ranks of posteriors that are too narrow pile up at both ends."""
    rng = np.random.default_rng(0)
    narrow = stats.binom.rvs(RANKS, stats.beta.rvs(0.6, 0.6, size=400, random_state=rng), random_state=rng)
    with pytest.raises(AssertionError):
        assert_uniform({"narrow": narrow})
