"""Residuals of counts: exact distributions, false alarms and true ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hierbayes as hb
from hierbayes.checks import quantile_residuals as module
from hierbayes.checks.check_family import ALARM
from hierbayes.checks.quantile_residuals import (
    Replicates,
    replicates_of,
    residual_tests,
    residuals_table,
    simulated,
)
from hierbayes.errors import HierbayesError

FALSE = 0.035
"""Share of data sets with an alarm by one figure, at p < 0.01: three of 100 (more have probability 2%)."""
SHARE = 0.02
"""Of a probability from 4000 draws: two and a half standard errors."""
TESTS = ["uniformity", "dispersion", "zeros", "outliers"]


def study(kind="poisson", seed=3, groups=20, size=10):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=groups * size)
    rate = np.exp(0.7 + 0.3 * x + 0.5 * rng.normal(size=groups)[g])
    if kind == "overdispersed":
        y = rng.negative_binomial(1.5, 1.5 / (1.5 + rate))
    elif kind == "inflated":
        y = rng.poisson(1.6 * rate) * (rng.random(len(g)) > 0.25)
    else:
        y = rng.poisson(rate)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})


def model(kind="poisson", **more):
    return hb.Model("y ~ x + (1 | g)", study(kind, **more), family="poisson")


@pytest.fixture(scope="module")
def ml():
    return model().ml()


@pytest.fixture(scope="module")
def fits():
    return {kind: model(kind).fit(seed=1, progress=False) for kind in ("poisson", "overdispersed")}


# --- definitions -------------------------------------------------------------------------------------------


def made_of(rate, y, draws=4000, weights=None):
    rng = np.random.default_rng(1)
    design = replace(hb.Model("y ~ x + (1 | g)", study(), family="poisson").design, y=y)
    drawn = rng.poisson(rate, (draws, len(y))).T.astype(float)
    below, same = (drawn < y[:, None]).mean(axis=1), (drawn == y[:, None]).mean(axis=1)
    return Replicates(design, drawn, weights, below + rng.random(len(y)) * same, 1)


def test_moments_and_ranks_are_those_of_the_distribution():
    rng = np.random.default_rng(2)
    rate = rng.uniform(0.5, 6.0, 200)
    y = rng.poisson(rate).astype(float)
    table = residuals_table(made_of(rate, y))
    np.testing.assert_allclose(table["fitted"], rate, rtol=0.15)
    np.testing.assert_allclose(table["predictive_sd"], np.sqrt(rate), rtol=0.15)
    assert (table["pit"] > stats.poisson.cdf(y - 1, rate) - SHARE).all()
    assert (table["pit"] < stats.poisson.cdf(y, rate) + SHARE).all()
    np.testing.assert_allclose(stats.norm.cdf(table["quantile"]), table["pit"], atol=1e-3)
    np.testing.assert_allclose(table["pearson"], (y - table["fitted"]) / table["predictive_sd"])


def test_weights_move_the_replicates():
    rate = np.full(200, 3.0)
    y = np.random.default_rng(4).poisson(rate).astype(float)
    plain = made_of(rate, y)
    tilted = np.exp(0.3 * plain.drawn)  # an exponentially tilted Poisson distribution is one of rate 3 exp(0.3)
    weighed = replace(plain, weights=tilted / tilted.sum(axis=1, keepdims=True))
    mean, variance = weighed.moments()
    assert mean.mean() == pytest.approx(3.0 * np.exp(0.3), rel=0.02)
    assert variance.mean() == pytest.approx(3.0 * np.exp(0.3), rel=0.05)
    assert weighed.data_sets().mean() == pytest.approx(3.0 * np.exp(0.3), rel=0.02)


def test_new_random_effects_of_a_maximum_likelihood_fit(ml):
    drawn = simulated(ml, 4000, seed=1)
    v = ml.covariance[0, 0]
    mean = np.exp(ml.design.X @ ml.fixef.to_numpy() + 0.5 * v)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, rtol=0.15)
    np.testing.assert_allclose((drawn.var(axis=0) / (mean + mean**2 * np.expm1(v))).mean(), 1.0, rtol=0.05)
    same = ml.design.factors[0].codes == ml.design.factors[0].codes[0]
    together = np.corrcoef(drawn[:, same].T)[np.triu_indices(same.sum(), 1)].mean()
    apart = np.corrcoef(drawn[:, ~same][:, ::10].T)[np.triu_indices(19, 1)].mean()
    assert together > 0.2
    assert abs(apart) < 0.05


# --- false alarms and true ones ------------------------------------------------------------------------------


def test_quiet_on_data_of_the_model():
    """100 data sets of the fit itself, looked at as if they were observed."""
    ml = model(groups=10, size=5).ml()
    made = replicates_of(ml, seed=1)
    others = simulated(ml, 100, seed=99)
    found = []
    for k, y in enumerate(others):
        own = replace(made, design=replace(made.design, y=y), pit=_transforms(y, made.drawn, k))
        found.append(residual_tests(own)["p_value"])
    alarms = (pd.DataFrame(found) < ALARM).mean()
    assert (alarms < FALSE).all()
    assert (pd.DataFrame(found)["dispersion"] < 0.2).mean() == pytest.approx(0.2, abs=0.1)
    assert (pd.DataFrame(found)["uniformity"] < 0.2).mean() == pytest.approx(0.2, abs=0.1)


def _transforms(y, drawn, seed):
    below, same = (drawn < y[:, None]).mean(axis=1), (drawn == y[:, None]).mean(axis=1)
    return below + np.random.default_rng(seed).random(len(y)) * same


def test_quiet_on_independent_rows_of_the_model():
    """Leave-one-out draws of 100 data sets whose distributions are known."""
    rng = np.random.default_rng(7)
    rate = rng.uniform(0.5, 5.0, 60)
    plain = made_of(rate, rng.poisson(rate).astype(float), draws=1000)
    weighed = replace(plain, weights=np.full(plain.drawn.shape, 1e-3))
    found = []
    for k in range(100):
        y = rng.poisson(rate).astype(float)
        own = replace(weighed, design=replace(plain.design, y=y), pit=_transforms(y, plain.drawn, k))
        found.append(residual_tests(own)["p_value"])
    assert ((pd.DataFrame(found) < ALARM).mean() < FALSE).all()


def test_overdispersion_is_heard(fits):
    quiet, loud = fits["poisson"].residual_tests(), fits["overdispersed"].residual_tests()
    assert list(quiet.index) == TESTS
    assert (quiet["p_value"] > ALARM).all()
    assert loud.loc["dispersion", "p_value"] < ALARM
    assert loud.loc["dispersion", "ratio"] > 1.5
    check = fits["overdispersed"].check()
    row = check.findings.query("topic == 'dispersion'").iloc[0]
    assert row["severity"] == "warning"
    assert row["finding"].startswith("Overdispersed: the spread of the responses is")
    assert row["next"].startswith("Try family='negativebinomial', a random effect for each row")
    assert {"convergence", "residuals", "residual_tests", "predictive"} == set(check.tables)


def test_a_right_model_is_passed(fits):
    assert fits["poisson"].check().worst == "ok"


def test_excess_zeros_are_heard():
    check = model("inflated").ml().check()
    row = check.findings.query("topic == 'zeros'").iloc[0]
    assert row["severity"] == "warning"
    assert row["finding"].startswith("Too many zeros: ")
    assert "zero_inflated_poisson" in row["next"]
    assert model().ml().check().worst == "ok"


def test_outliers_are_counted(ml):
    made = replicates_of(ml)
    y = made.design.y.copy()
    y[:6] = 80.0
    pit = made.pit.copy()
    pit[:6] = 1.0
    row = residual_tests(replace(made, design=replace(made.design, y=y), pit=pit)).loc["outliers"]
    assert row["observed"] >= 6
    assert row["p_value"] < ALARM


def test_leave_one_out_residuals_are_wider_than_those_of_rows_that_were_seen(fits):
    table = fits["poisson"].residuals_table()
    assert table["quantile"].std() == pytest.approx(1.0, abs=0.15)
    assert len(table) == 200
    pit = fits["poisson"].loo_pit(seed=0)
    np.testing.assert_allclose(pit, table["pit"], atol=1e-12)


def test_single_zeros_and_ones_say_nothing():
    data = study().assign(hit=lambda d: (d["y"] > 1).astype(int))
    ml = hb.Model("hit ~ x + (1 | g)", data, family="bernoulli").ml()
    assert ml.residual_tests()["p_value"].isna().all()
    row = ml.check().findings.query("topic == 'residuals'").iloc[0]
    assert row["severity"] == "note"
    assert "p(successes, trials)" in row["next"]


def test_categories_have_neither_zeros_nor_dispersion():
    grade = pd.cut(study()["y"], [-1, 1, 3, np.inf], labels=["low", "mid", "high"])
    ml = hb.Model("grade ~ x + (1 | g)", study().assign(grade=grade), family="cumulative").ml()
    tests = ml.residual_tests()
    assert tests.loc[["dispersion", "zeros"]].isna().all(axis=None)
    assert tests.loc[["uniformity", "outliers"]].notna().all(axis=None)
    assert ml.residuals_table()["observed"].tolist() == grade.tolist()
    assert not {"dispersion", "zeros"} & set(ml.check().findings["topic"])


def test_few_draws_reach_no_outlier():
    y = np.r_[np.full(199, 3.0), 1000.0]
    few, enough = (residual_tests(made_of(np.full(200, 3.0), y, draws)).loc["outliers"] for draws in (370, 371))
    assert few.isna().all()
    assert enough["observed"] >= 1


def test_simulated_responses_do_not_fill_the_memory(ml, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1000)
    monkeypatch.setattr(module, "CHUNK", 5000)
    made = replicates_of(ml)
    assert made.drawn.shape == (200, module.FEWEST)
    np.testing.assert_allclose(made.moments()[1], made.drawn.var(axis=1))
    assert (residual_tests(made)["p_value"] > ALARM).all()


def test_responses_without_order_are_refused(ml):
    other = replace(ml.design, family=replace(ml.design.family, name="categorical"))
    with pytest.raises(HierbayesError, match="has no order"):
        replicates_of(type("Result", (), {"design": other})())
    censored = replace(ml.design, family=replace(ml.design.family, response="censored"))
    with pytest.raises(HierbayesError, match="was not observed as it is drawn"):
        replicates_of(type("Result", (), {"design": censored})())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hierbayes.HierbayesWarning")
def test_quiet_on_refits():
    """Each data set with its own posterior: 40 Poisson and 40 binomial ones."""
    rng, found = np.random.default_rng(11), []
    for k in range(80):
        g = np.repeat(np.arange(15), 6)
        eta = 0.7 + 0.3 * (x := rng.normal(size=90)) + 0.6 * rng.standard_normal(15)[g]
        N = rng.integers(5, 20, 90)
        data = pd.DataFrame({"x": x, "g": g.astype(str), "N": N, "y": rng.poisson(np.exp(eta))})
        if k % 2:
            data["y"] = rng.binomial(N, 1 / (1 + np.exp(-eta)))
        formula, family = ("p(y, N) ~ x + (1 | g)", "binomial") if k % 2 else ("y ~ x + (1 | g)", "poisson")
        fit = hb.Model(formula, data, family=family).fit(draws=500, tune=500, chains=2, seed=1, progress=False)
        found.append(fit.residual_tests(seed=k)["p_value"])
    assert ((pd.DataFrame(found) < ALARM).mean() < 2 * FALSE).all()
