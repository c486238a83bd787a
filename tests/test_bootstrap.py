"""Simulated responses have the moments of the model; the bootstrap counts, keeps and tabulates its refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from oracle import ALL, dense, response_covariance
from scipy.stats import norm

import hierbayes as hb
from hierbayes.estimates import Estimate
from hierbayes.inference import bootstrap as module
from hierbayes.inference.bootstrap import intervals
from hierbayes.inference.simulation import correlate, simulate
from hierbayes.marginal import Marginal
from hierbayes.refits import Refitter
from hierbayes.reml import maximise

DRAWS = 4000
STANDARD_ERRORS = 5.5
"""Of the largest of some thousand moments of `DRAWS` responses, in Monte Carlo standard errors."""
SAME = 1e-6
"""Relative: two optimisations of one likelihood."""
NEAR_FIXED = 0.05
"""Of the length of the profile interval: percentiles of 2000 refits have a standard error of 0.02 of it."""
NEAR = 0.1
"""The same for standard deviations, whose estimates are skewed and biased: the two kinds of interval agree to first
order only."""

CASES = [
    "weights", "offset", "known σ", "two crossed, several blocks", "chain of three, slopes",
    "crossed, weights and offset", "AR(1) alone, gaps, weights", "AR(1) and a nested pair",
    "compound symmetry, unequal series", "compound symmetry and slopes",
]  # fmt: skip


def estimate_of(design):
    marginal = Marginal(design, None)
    return Estimate(marginal, maximise(marginal), "REML")


@pytest.mark.parametrize("name", CASES)
def test_simulated_responses_have_the_mean_and_covariance_of_the_model(name):
    design = ALL[name]
    fit = estimate_of(design)
    y = simulate(fit, DRAWS, seed=1)
    offset = 0.0 if design.offset is None else design.offset
    V = response_covariance(dense(design), fit.covariance, fit.sigma, fit.rho or 0.0)
    mean = design.X @ fit.fixef.to_numpy() + offset
    error = np.sqrt(np.diag(V) / DRAWS)
    assert np.abs((y.mean(axis=0) - mean) / error).max() < STANDARD_ERRORS
    d = y - mean
    error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / DRAWS)
    assert np.abs((d.T @ d / DRAWS - V) / error).max() < STANDARD_ERRORS


@pytest.mark.parametrize("rho", [-0.12, 0.0, 0.6])
@pytest.mark.parametrize("name", ["AR(1) alone, gaps, weights", "compound symmetry, unequal series"])
def test_a_linear_map_makes_correlated_residuals_of_independent_ones(name, rho):
    residual = ALL[name].residual
    n = len(residual.codes)
    A = correlate(np.eye(n), residual, np.full(n, rho)).T
    np.testing.assert_allclose(A @ A.T, residual.matrix(rho), atol=1e-12)


def test_a_response_depends_on_the_seed_and_its_number_alone():
    fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    y = fit.simulate(5, seed=7)
    np.testing.assert_array_equal(y[:2], fit.simulate(2, seed=7))
    np.testing.assert_array_equal(y[3:], simulate(fit, 2, seed=7, first=3))
    assert not np.allclose(y, fit.simulate(5, seed=8))
    with pytest.raises(ValueError, match="positive whole number"):
        fit.simulate(0, seed=1)


@pytest.fixture(scope="module")
def slopes(sleepstudy):
    return hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)


def test_the_bootstrap_is_a_refit_of_every_simulated_response(slopes):
    reml = slopes.reml()
    boot = reml.bootstrap(6, seed=3, progress=False)
    for k, y in enumerate(reml.simulate(6, seed=3)):
        again = slopes.refit(y)
        np.testing.assert_allclose(boot.fixef[k], again.fixef, rtol=SAME)
        np.testing.assert_allclose(boot.covariance[k], again.covariance, rtol=1e2 * SAME)
        np.testing.assert_allclose(boot.sigma[k], again.sigma, rtol=SAME)
        np.testing.assert_allclose(boot.estimates.iloc[k], again.tidy()["estimate"], rtol=1e2 * SAME)
    labels = [(e, "" if pd.isna(g) else g, t) for e, g, t in reml.tidy()[["effect", "group", "term"]].to_numpy()]
    assert list(boot.estimates.columns) == labels
    np.testing.assert_allclose(boot.observed, reml.tidy()["estimate"], rtol=1e-12)


def test_an_ml_fit_is_refitted_by_ml(slopes):
    ml = slopes.ml()
    boot = ml.bootstrap(1, seed=3, progress=False)
    np.testing.assert_allclose(
        boot.refits.criterion[0], slopes.refit(ml.simulate(1, 3)[0], "ML").criterion, rtol=SAME
    )


def test_neither_memory_nor_threads_change_the_answer(slopes, monkeypatch):
    reml = slopes.reml()
    whole = reml.bootstrap(120, seed=5, progress=False, cores=2).estimates
    monkeypatch.setattr(module, "AT_A_TIME", 180 * 7)
    pd.testing.assert_frame_equal(whole, reml.bootstrap(120, seed=5, progress=False, cores=1).estimates, rtol=SAME)


def test_a_bootstrap_of_another_fit_is_not_tabulated(slopes, sleepstudy):
    reml = slopes.reml()
    own = reml.bootstrap(20, seed=1, progress=False)
    pd.testing.assert_frame_equal(reml.confint("bootstrap", bootstrap=own), own.confint())
    others = [
        hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).reml(),
        slopes.ml(),
        slopes.refit(sleepstudy["Reaction"][::-1]),
    ]
    for other in others:
        with pytest.raises(ValueError, match="one of this fit"):
            reml.confint("bootstrap", bootstrap=other.bootstrap(2, seed=1, progress=False))


def test_intervals_are_near_those_of_the_profile(slopes):
    reml = slopes.reml()
    boot = reml.bootstrap(2000, seed=1, progress=False)
    profile = reml.confint("profile").set_index("term")
    length = profile["conf_high"] - profile["conf_low"]
    percentile = reml.confint("bootstrap", bootstrap=boot).set_index("term")
    corrected = boot.confint(kind="normal").set_index("term")
    fixed, regular = ["Intercept", "Days"], ["Intercept", "Days", "sd(Intercept)", "sd(Days)", "sigma"]
    for end in ("conf_low", "conf_high"):
        assert (np.abs(percentile[end] - profile[end]) / length)[fixed].max() < NEAR_FIXED
        assert (np.abs(corrected[end] - profile[end]) / length)[regular].max() < NEAR
    assert list(percentile["method"].unique()) == ["bootstrap, percentile"]


def test_residual_correlation_is_bootstrapped_too():
    rng = np.random.default_rng(2)
    n, J = 200, 20
    e = np.zeros((J, n // J))
    for t in range(n // J):
        e[:, t] = (0.6 * e[:, t - 1] if t else 0.0) + rng.normal(size=J)
    data = pd.DataFrame({"y": e.ravel(), "g": np.repeat(np.arange(J), n // J)})
    model = hb.Model("y ~ 1", data, residual="ar1(1 | g)")
    reml = model.reml()
    boot = reml.bootstrap(40, seed=1, progress=False)
    assert len(boot.failed) == 0
    np.testing.assert_allclose(boot.rho.mean(), reml.rho, atol=4 * boot.rho.std() / np.sqrt(40) + 0.03)
    assert boot.summary()["term"].tolist() == reml.tidy()["term"].tolist()
    y = reml.simulate(2, seed=1)
    np.testing.assert_allclose(model.refits(y).criterion, [model.refit(each).criterion for each in y], rtol=1e-12)


def test_refits_that_fail_are_counted_and_kept_out(slopes, monkeypatch):
    reml = slopes.reml()
    whole = reml.bootstrap(40, seed=1, progress=False)
    all_of = Refitter.all

    def some_fail(self, *args):
        refits = all_of(self, *args)
        converged = refits.converged.copy()
        converged[[3, 8]] = False
        return replace(refits, converged=converged)

    monkeypatch.setattr(Refitter, "all", some_fail)
    with pytest.warns(hb.ConvergenceWarning, match="2 of 40 refits did not converge"):
        boot = reml.bootstrap(40, seed=1, progress=False, statistic=lambda fit: fit.sigma**2)
    assert boot.failed.tolist() == [3, 8]
    assert boot.n == 40
    for values in (boot.estimates, boot.fixef, boot.covariance, boot.sigma):
        assert np.isnan(np.asarray(values)[[3, 8]]).all()
    kept = np.delete(np.arange(40), [3, 8])
    np.testing.assert_array_equal(boot.sigma[kept], whole.sigma[kept])
    summary = boot.summary().set_index("term")
    assert summary.loc["sigma", "n"] == 38
    assert summary.loc["statistic", "n"] == 38
    assert summary.loc["statistic", "estimate"] == reml.sigma**2
    assert "2 failed" in repr(boot)
    assert boot.confint()["note"].str.contains("2 of 40").all()


def test_a_correlation_that_does_not_exist_is_left_out():
    batch = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    boot = batch.reml().bootstrap(200, seed=2, progress=False)
    zero = boot.covariance[:, 0, 0] == 0.0
    assert boot.singular == zero.sum() > 0
    assert (boot.estimates["ran_pars", "Batch", "sd(Intercept)"][zero] == 0.0).all()


def test_kinds_of_interval_are_their_definitions():
    draws = np.random.default_rng(3).normal(2.0, 1.5, 999)
    label = pd.MultiIndex.from_tuples([("fixed", "", "x")])
    observed, table = pd.Series([1.7], index=label), pd.DataFrame(draws[:, None], columns=label)
    low, high = np.quantile(draws, [0.05, 0.95])
    z, bias = norm.isf(0.05), draws.mean() - 1.7
    expected = {
        "percentile": (low, high),
        "basic": (3.4 - high, 3.4 - low),
        "normal": (1.7 - bias - z * draws.std(ddof=1), 1.7 - bias + z * draws.std(ddof=1)),
    }
    for kind, ends in expected.items():
        row = intervals(observed, table, 0.9, kind).iloc[0]
        np.testing.assert_allclose([row["conf_low"], row["conf_high"]], ends, rtol=1e-12)
        np.testing.assert_allclose([row["bias"], row["std_error"]], [bias, draws.std(ddof=1)], rtol=1e-12)
    with pytest.raises(ValueError, match="'percentile', 'basic' or 'normal'"):
        intervals(observed, table, 0.9, "BCa")


def test_any_statistic_of_a_refit(slopes):
    reml = slopes.reml()
    boot = reml.bootstrap(20, seed=1, progress=False)
    found = boot.apply(lambda fit: {"slope": fit.fixef["Days"], "icc": fit.covariance[0, 0] / fit.sigma**2})
    np.testing.assert_array_equal(found["slope"], boot.estimates["fixed", "", "Days"])
    np.testing.assert_allclose(found["icc"], boot.covariance[:, 0, 0] / boot.sigma**2, rtol=1e-12)


def test_a_number_of_refits_is_asked_for(slopes):
    with pytest.raises(ValueError, match="positive whole number"):
        slopes.reml().bootstrap(0)
