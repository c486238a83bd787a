"""Sensitivity to the prior: exact densities, the prior as its own posterior, priors that hold the answer back."""

from __future__ import annotations

import warnings

import bambi as bmb
import numpy as np
import oracle
import pytest
import xarray as xr
from fixtures_report import study
from numpy.testing import assert_allclose
from scipy import stats
from test_influence import model_of

import hierbayes as hb
from hierbayes.checks.overruled import _allowed, overruled
from hierbayes.checks.prior_predictive import prior_predictive
from hierbayes.checks.sensitivity import (
    CONFLICT,
    FINE,
    fixed_effects,
    log_likelihood,
    log_prior,
    prior_overlap,
    prior_sensitivity,
)
from hierbayes.densities import log_prior as log_prior_of
from hierbayes.errors import ConvergenceWarning
from hierbayes.estimates import Posterior
from hierbayes.priors import Prior

NAMES = ["slopes", "crossed", "answers", "series", "symmetry", "weights", "meta", "categories"]


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood_is_that_of_the_dense_model(name):
    fit = study(name).fit
    thetas, fixef = fit.thetas[:3], fixed_effects(fit)[:3]
    data = oracle.dense(fit.design)
    found = log_likelihood(fit.marginal, thetas, fixef)
    for theta, beta, value in zip(thetas, fixef, found, strict=True):
        Sigma, sigma = oracle.covariance_at(fit.design, theta), oracle.sigma_at(fit.design, theta)
        V = oracle.response_covariance(data, Sigma, sigma, oracle.rho_at(fit.design, theta))
        assert_allclose(value, oracle.log_normal(data.y, data.X @ beta, V), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_log_prior_is_the_sum_of_the_priors(name):
    fit = study(name).fit
    thetas, fixef = fit.thetas[:3], fixed_effects(fit)[:3]
    design, priors = fit.design, fit.priors
    X = oracle.centred(design.X) if priors.centered else design.X
    for theta, beta, value in zip(thetas, fixef, log_prior(fit.marginal, priors, thetas, fixef), strict=True):
        eta = np.linalg.lstsq(X, design.X @ beta)[0]  # the same mean in the columns that the priors refer to
        pairs = [*zip(priors.coefficients, eta, strict=True), *zip(priors.sds, theta[: design.layout.q], strict=True)]
        if priors.sigma is not None:
            pairs.append((priors.sigma, oracle.sigma_at(design, theta)))
        expected = 0.0
        for prior, x in pairs:
            family, *arguments = prior.row
            expected += log_prior_of(int(family), x, *arguments)[0]
        assert_allclose(value, expected, rtol=1e-9)


def test_lkj_counts_the_determinant_of_the_correlation_matrix(sleepstudy):
    data = sleepstudy.assign(square=(sleepstudy["Days"] - 4.5) ** 2)
    values = []
    for eta in (1.0, 3.0):
        prior = {"Subject_corr": bmb.Prior("LKJ", eta=eta)}
        model = hb.Model("Reaction ~ Days + (Days + square | Subject)", data, priors=prior)
        theta = np.stack([oracle.some_theta(model.design, seed) for seed in range(3)])
        values.append(log_prior(model.marginal, model.priors, theta, np.ones((3, 2))))
    Sigma = np.stack([oracle.covariance_at(model.design, row) for row in theta])
    sd = np.sqrt(np.diagonal(Sigma, axis1=1, axis2=2))
    logdet = np.linalg.slogdet(Sigma / (sd[:, :, None] * sd[:, None, :]))[1]
    assert_allclose(values[1] - values[0], 2.0 * logdet)


@pytest.mark.parametrize("name", ["slopes", "series", "answers", "meta"])
def test_draws_from_the_prior_overlap_with_it(name):
    model = model_of(name)
    drawn = prior_predictive(model.marginal, model.priors, 4000, 1)
    tree = xr.DataTree.from_dict({"posterior": drawn["prior"].to_dataset()})
    table = prior_overlap(Posterior(model.design, model.priors, tree, model.marginal, None))
    assert len(table) == len(model.priors.coefficients) + model.marginal.dim
    assert (table["overlap"] > 0.95).all()
    assert (table["position"] - 0.5).abs().max() < 5.0 * np.sqrt(0.25 / 4000)
    assert_allclose(table["posterior_sd"], table["prior_sd"], rtol=0.1)


def test_automatic_priors_do_not_matter_to_sleepstudy(fit_sleepstudy):
    table = prior_sensitivity(fit_sleepstudy)
    assert (table["finding"] == FINE).all()
    assert (table["likelihood"] > table["prior"]).all()
    assert list(table.index) == [
        "Intercept", "Days", "1|Subject_sigma", "Days|Subject_sigma", "sigma", "Subject_corr[Intercept, Days]",
    ]  # fmt: skip
    assert (prior_overlap(fit_sleepstudy)["overlap"] < 0.7).all()


@pytest.fixture(scope="module")
def held_back(sleepstudy):
    """A posterior under priors that the data contradict."""
    priors = {"Days": bmb.Prior("Normal", mu=0, sigma=1.0), "sigma": bmb.Prior("HalfNormal", sigma=3)}
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, priors=priors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(draws=500, seed=1, progress=False)


def test_a_prior_against_the_data_is_found(held_back):
    table = prior_sensitivity(held_back)
    assert table.loc["Days", "finding"] == CONFLICT
    overlap = prior_overlap(held_back).set_index("term")
    assert overlap.loc["sigma", "position"] > 0.999
    findings = held_back.check().findings
    said = findings[findings["topic"] == "prior"]["finding"]
    assert said.str.contains("The prior of sigma of Residual overrules the data: REML says 25.6").any()
    assert said.str.contains(r"The prior of Days overrules the data: .* the prior allows -1.96 to 1.96").any()
    assert findings[findings["topic"] == "prior sensitivity"]["finding"].str.contains("Days").any()


NORMAL = {"sd": (100.0, 0.5), "none": (0.0, 0.1), "outweighed": (100.0, 20.0), "right": (10.0, 0.5)}


@pytest.mark.parametrize(
    ("name", "overrules"), [("sd", True), ("none", True), ("outweighed", False), ("right", False)]
)
def test_a_prior_overrules_where_it_excludes_the_estimate_and_moves_the_posterior(sleepstudy, name, overrules):
    mu, sigma = NORMAL[name]
    priors = {"Days": bmb.Prior("Normal", mu=mu, sigma=sigma)}
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, priors=priors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = model.fit(draws=200, tune=300, chains=2, seed=1, progress=False)
    table = overruled(fit)
    assert len(table) == len(prior_overlap(fit))
    assert table.loc[table["overrules"], "term"].tolist() == (["Days"] if overrules else [])
    tidy = fit.reml.tidy(conf_level=1.0 - 2.0 * stats.norm.sf(2.0), df="z")
    # the intercept has its prior at the mean of the predictors
    assert_allclose(table["estimate"][0], fit.reml.fixef["Intercept"] + 4.5 * fit.reml.fixef["Days"])
    for shown, ours in (
        ("estimate", "estimate"),
        ("std_error", "std_error"),
        ("conf_low", "low"),
        ("conf_high", "high"),
    ):
        assert_allclose(table[ours][1:], tidy[shown][1:], rtol=1e-8)
    assert_allclose(
        table.loc[1, ["prior_low", "prior_high"]].astype(float), mu + 1.959964 * sigma * np.array([-1, 1])
    )
    said = fit.check().findings.query("topic == 'prior'")
    assert said["finding"].str.contains("The prior of Days overrules the data: REML says 10.5").any() == overrules
    assert said["next"].str.contains("data do not tell").any() == (name == "right")


def test_a_prior_of_a_standard_deviation_allows_zero_unless_it_falls_towards_it():
    assert _allowed(Prior("HalfNormal", {"sigma": 1.0}))[0] == 0.0
    assert _allowed(Prior("Exponential", {"lam": 1.0}))[0] == 0.0
    assert_allclose(_allowed(Prior("LogNormal", {"mu": 0.0, "sigma": 1.0})), np.exp([-1.959964, 1.959964]), rtol=1e-6)


def test_flat_priors_cannot_be_scaled(sleepstudy):
    flat = bmb.Prior("Flat")
    half = bmb.Prior("HalfFlat")
    priors = {"Intercept": flat, "Days": flat, "sigma": half, "1|Subject": bmb.Prior("Normal", mu=0, sigma=half)}
    fit = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors=priors).fit(
        draws=300, seed=1, progress=False
    )
    table = prior_sensitivity(fit)
    assert (table["prior"] == 0.0).all()
    assert (table["likelihood"] > 0.05).all()
    assert prior_overlap(fit).empty
    assert "prior" not in set(fit.check().findings["topic"])
