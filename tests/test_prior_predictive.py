"""What priors assume: their laws against PyMC, draws against moments on paper, and the warning about absurd ones."""

from __future__ import annotations

import warnings
from itertools import pairwise

import bambi as bmb
import numpy as np
import oracle
import pandas as pd
import pymc as pm
import pytest
from fixtures_report import OPTIONS, STUDIES
from numpy.testing import assert_allclose
from scipy import integrate, stats
from test_influence import model_of

import hierbayes as hb
from hierbayes import laws
from hierbayes.checks.prior_predictive import draw_prior, prior_predictive
from hierbayes.checks.prior_summary import prior_table
from hierbayes.errors import PriorError, PriorWarning
from hierbayes.inference.simulation import assemble, new_effects, residuals
from hierbayes.priors import Prior
from hierbayes.recover import thetas

PRIORS = [
    Prior("Normal", {"mu": 1.0, "sigma": 2.0}),
    Prior("HalfNormal", {"sigma": 2.0}),
    Prior("StudentT", {"nu": 4.0, "mu": -1.0, "sigma": 2.0}),
    Prior("HalfStudentT", {"nu": 4.0, "sigma": 2.0}),
    Prior("Cauchy", {"alpha": 1.0, "beta": 2.0}),
    Prior("HalfCauchy", {"beta": 2.0}),
    Prior("Laplace", {"mu": 1.0, "b": 2.0}),
    Prior("Exponential", {"lam": 2.0}),
    Prior("Gamma", {"alpha": 2.0, "beta": 3.0}),
    Prior("InverseGamma", {"alpha": 3.0, "beta": 2.0}),
    Prior("LogNormal", {"mu": 0.5, "sigma": 0.7}),
]
FOREIGN = Prior("Weibull", {"alpha": 2.0, "beta": 3.0})
"""A family that has no closed form here."""
PYMC = 1e-8
"""PyMC's own logarithm of 2 is in single precision."""
ERRORS = 5.0
"""Standard errors of a simulation that an estimate may be off, with fixed seeds."""


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.name)
def test_laws_are_those_of_pymc(prior):
    p = np.array([0.01, 0.2, 0.5, 0.9])
    x = laws.quantile(prior, p)
    law = getattr(pm, prior.name).dist(**{key: np.asarray(value) for key, value in prior.args.items()})
    assert_allclose(laws.log_density(prior, x), pm.logp(law, x).eval(), rtol=PYMC, atol=PYMC)
    assert_allclose(laws.probability(prior, x), p, rtol=1e-9)
    between = [integrate.quad(lambda t: np.exp(laws.log_density(prior, t)), *pair)[0] for pair in pairwise(x)]
    assert_allclose(between, np.diff(p), rtol=1e-7)


def test_laws_of_other_distributions_are_a_sample_of_pymc():
    p = np.array([0.1, 0.5, 0.9])
    x = laws.quantile(FOREIGN, p)
    assert_allclose(laws.probability(FOREIGN, x), p, atol=1e-3)
    wanted = 3.0 * (-np.log1p(-p)) ** 0.5
    assert_allclose(x, wanted, rtol=0.02)
    assert_allclose(laws.log_density(FOREIGN, x), stats.weibull_min(2.0, scale=3.0).logpdf(x))
    drawn = laws.draw(FOREIGN, 4000, np.random.default_rng(1))
    assert stats.kstest(drawn, stats.weibull_min(2.0, scale=3.0).cdf).pvalue > 1e-3


def test_nothing_is_drawn_from_a_flat_prior():
    with pytest.raises(PriorError, match="the prior of 'Days'; give it a proper one"):
        laws.draw(Prior("Flat", {}), 3, np.random.default_rng(0), "Days")
    assert laws.quantile(Prior("Flat", {}), [0.1, 0.5, 0.9]).tolist() == [-np.inf, 0.0, np.inf]
    assert laws.quantile(Prior("HalfFlat", {}), [0.0, 0.5]).tolist() == [0.0, np.inf]


def test_correlations_have_the_marginal_law_of_lkj(sleepstudy):
    data = sleepstudy.assign(square=(sleepstudy["Days"] - 4.5) ** 2)
    model = hb.Model(
        "Reaction ~ Days + (Days + square | Subject)", data, priors={"Subject_corr": bmb.Prior("LKJ", eta=2)}
    )
    given = draw_prior(model.marginal, model.priors, 3000, np.random.default_rng(2))[1]
    covariance = given.L @ given.L.transpose(0, 2, 1)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    found = laws.correlations(model.design, model.priors)
    assert sorted(found) == [(1, 0), (2, 0), (2, 1)]
    for (i, j), (name, text, law) in found.items():
        assert (name, text) == ("Subject_corr", "LKJ(eta=2)")
        assert stats.kstest(covariance[:, i, j] / sd[:, i] / sd[:, j], law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["series", "symmetry", "weights", "meta", "nested"])
def test_replicates_have_the_covariance_of_the_model(name):
    design = model_of(name).design
    theta = oracle.some_theta(design, seed=3)
    Sigma, sigma, rho = (
        oracle.covariance_at(design, theta),
        oracle.sigma_at(design, theta),
        oracle.rho_at(design, theta),
    )
    V = oracle.response_covariance(oracle.dense(design), Sigma, sigma, rho)
    draws, rng = 6000, np.random.default_rng(4)
    some = slice(0, min(12, design.n))
    L = np.broadcast_to(np.linalg.cholesky(Sigma), (draws, *Sigma.shape))
    beta = np.arange(1.0, design.X.shape[1] + 1.0)
    fixef, same = np.broadcast_to(beta, (draws, len(beta))), np.ones(draws)
    e = residuals(design, rng.standard_normal((draws, design.n)), sigma * same, rho * same)
    y = assemble(design, fixef, new_effects(design, L, rng), e)[:, some]
    mean = design.X @ beta + (0.0 if design.offset is None else design.offset)
    sd = np.sqrt(np.diag(V))[some]
    assert_allclose((y.mean(axis=0) - mean[some]) / sd, 0.0, atol=ERRORS / np.sqrt(draws))
    correlation = np.cov(y.T) / np.outer(sd, sd)
    assert_allclose(correlation, V[some, some] / np.outer(sd, sd), atol=ERRORS * np.sqrt(2.0 / draws))


def test_every_draw_has_its_own_sigma_and_rho():
    design = model_of("series").design
    rng = np.random.default_rng(5)
    sigma, rho = np.repeat([1.0, 10.0], 3000), np.repeat([-0.5, 0.9], 3000)
    e = residuals(design, rng.standard_normal((6000, design.n)), sigma, rho)[:, :2]
    for k, (s, r) in enumerate([(1.0, -0.5), (10.0, 0.9)]):
        own = e[3000 * k : 3000 * (k + 1)]
        steps = np.diff(design.residual.time[:2]).item()
        assert_allclose(own.std(axis=0), s, rtol=ERRORS / np.sqrt(6000))
        assert_allclose(np.corrcoef(own.T)[0, 1], r**steps, atol=ERRORS / np.sqrt(3000))


def test_prior_predictive_has_the_moments_of_the_priors(sleepstudy):
    normal = lambda mu, sigma: bmb.Prior("Normal", mu=mu, sigma=sigma)  # noqa: E731
    half = bmb.Prior("HalfNormal", sigma=3.0)
    priors = {
        "Intercept": normal(250.0, 20.0),
        "Days": bmb.Prior("StudentT", nu=8, mu=10.0, sigma=2.0),
        "1|Subject": bmb.Prior("Normal", mu=0, sigma=half),
        "sigma": bmb.Prior("Exponential", lam=0.1),
    }
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors=priors)
    tree = model.prior_predictive(draws=4000, seed=6)
    y = tree["prior_predictive"]["Reaction"].to_numpy()[0]
    x = model.design.X[:, 1] - model.design.X[:, 1].mean()
    variance = 20.0**2 + x**2 * 4.0 * 8 / 6 + 3.0**2 + 2.0 * 10.0**2
    assert_allclose(y.mean(axis=0), 250.0 + 10.0 * x, atol=ERRORS * np.sqrt(variance.max() / 4000))
    # the tails of an exponential σ make this variance itself variable: kurtosis about 6
    assert_allclose(y.var(axis=0), variance, rtol=ERRORS * np.sqrt(6.0 / 4000))
    assert dict(tree["prior"].sizes) == {"chain": 1, "draw": 4000}
    assert_allclose(tree["observed_data"]["Reaction"], model.design.y)
    slope = tree["prior"]["Days"].to_numpy()[0]
    assert stats.kstest((slope - 10.0) / 2.0, stats.t(8).cdf).pvalue > 1e-3
    again = model.prior_predictive(draws=4000, seed=6)["prior_predictive"]["Reaction"].to_numpy()[0]
    assert np.array_equal(y, again)


@pytest.mark.parametrize("name", ["slopes", "answers", "series", "symmetry", "meta", "categories"])
def test_prior_group_holds_the_drawn_parameters(name):
    model = model_of(name)
    rng = np.random.default_rng(7)
    theta = draw_prior(model.marginal, model.priors, 5, rng)[0]
    tree = prior_predictive(model.marginal, model.priors, 5, 7)
    found = thetas(model.marginal, tree["prior"].to_dataset())
    assert_allclose(found, theta, atol=1e-10)
    assert {str(v) for v in tree["prior"].data_vars} >= {term.name for term in model.design.terms}


def test_summary_says_what_a_prior_means_for_the_response(sleepstudy):
    priors = {"Days": bmb.Prior("Normal", mu=0, sigma=5.0)}
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, priors=priors)
    table = model.prior_summary()
    assert table["effect"].tolist() == ["fixed"] * 2 + ["ran_pars"] * 4 + ["response"]
    row = table.set_index("term").loc["Days"]
    spread = sleepstudy["Days"].std(ddof=0)
    assert_allclose([row["low"], row["high"]], [-1.96 * 5, 1.96 * 5], rtol=1e-4)
    assert_allclose(row["implied_high"], 1.96 * 5 * spread, rtol=1e-4)
    assert_allclose(row["ratio"], 5 * spread / sleepstudy["Reaction"].std(), rtol=1e-4)
    assert not row["automatic"]
    assert table["automatic"].tolist() == [True, False, True, True, True, True, False]
    slope = table.set_index("term").loc["sd(Days)"]
    scale = model.priors.sds[1].args["sigma"]
    assert_allclose(
        slope["implied_high"], stats.halfnorm.ppf(0.975) * scale * np.sqrt((sleepstudy["Days"] ** 2).mean())
    )
    corr = table.set_index("term").loc["corr(Intercept, Days)"]
    assert_allclose([corr["low"], corr["high"]], [-0.95, 0.95])
    last = table.iloc[-1]
    assert last["low"] < sleepstudy["Reaction"].min()
    assert last["high"] > sleepstudy["Reaction"].max()


def test_an_indicator_is_summed_up_from_one_value_to_the_other():
    table = prior_table(*(getattr(model_of("series"), part) for part in ("marginal", "priors"))).set_index("term")
    assert_allclose(table.loc["sex[m]", "implied_high"], table.loc["sex[m]", "high"])
    assert "from the lower to the higher" in table.loc["sex[m]", "meaning"]


def test_a_flat_prior_has_no_interval_and_no_predictive(sleepstudy):
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors={"Days": bmb.Prior("Flat")})
    table = model.prior_summary()
    assert table.set_index("term").loc["Days", "ratio"] == np.inf
    assert "response" not in set(table["effect"])
    with pytest.raises(PriorError, match="the prior of 'Days'"):
        model.prior_predictive(seed=1)


def test_an_automatic_prior_far_wider_than_the_data_is_warned_of(sleepstudy):
    data = sleepstudy.assign(year=sleepstudy["Days"] + 2000)
    model = hb.Model("Reaction ~ year + (year | Subject)", data)
    with pytest.warns(PriorWarning, match="many times wider than 'Reaction'") as caught:
        model.prior_summary()
    assert len(caught) == 1
    for name in ("Intercept", "sd(Intercept) of Subject", "sd(year) of Subject"):
        assert f"{name} (" in str(caught[0].message)
    assert caught[0].filename == __file__
    with pytest.warns(PriorWarning):
        model.prior_predictive(draws=2, seed=1)
    with warnings.catch_warnings(record=True) as while_fitting:
        warnings.simplefilter("always")
        model.fit(draws=10, tune=10, chains=1, seed=1, progress=False)
    told = [w for w in while_fitting if w.category is PriorWarning]
    assert len(told) == 1
    assert told[0].filename == __file__
    wide = {"Intercept": bmb.Prior("Normal", mu=300, sigma=1e5)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what the user asks for is not warned of
        hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors=wide).prior_summary()


def test_draws_are_counted(sleepstudy):
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy)
    with pytest.raises(ValueError, match="draws must be a positive whole number, not 0"):
        model.prior_predictive(draws=0)


def test_every_kind_of_model_has_a_summary():
    for name in STUDIES:
        if name != "crowd":
            model = model_of(name)
            table = prior_table(model.marginal, model.priors)
            known = "se" in OPTIONS.get(name, {})
            sigma = (table["term"] == "sigma").sum()
            assert sigma == (0 if known else 1), name
            assert isinstance(table, pd.DataFrame)
