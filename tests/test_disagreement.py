"""REML with priors against a dense maximum, and the reasons that follow from it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from fixtures_report import OPTIONS, STUDIES, study
from numpy.testing import assert_allclose
from oracle import covariance_at, dense, expected_density, joint_conditional, sigma_at
from scipy import stats
from scipy.optimize import minimize

import hierbayes as hb
from hierbayes.partial_pooling.disagreement import APART, NO_CORRELATION, Reasons, disagreements, maximum_with_priors
from hierbayes.partial_pooling.shrinkage import shrinkage
from hierbayes.priors import Prior

MAXIMUM = 1e-4
"""Relative, between two searches for one flat maximum."""


def half(scale):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=scale))


FLAT = {
    "common": bmb.Prior("Flat"),
    "group_specific": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfFlat")),
    "sigma": bmb.Prior("HalfFlat"),
}


def unsampled(model):
    """As much of a posterior as the maximum needs."""
    return SimpleNamespace(marginal=model.marginal, priors=model.priors, reml=model.reml())


@pytest.mark.parametrize("name", ["slopes", "uncorrelated", "intercepts", "answers", "nested", "weights"])
def test_with_flat_priors_it_is_reml(name):
    formula, make = STUDIES[name]
    fit = unsampled(hb.Model(formula, make(), priors=FLAT, **OPTIONS.get(name, {})))
    found, reml = maximum_with_priors(fit), fit.reml
    assert found.converged
    spread = np.sqrt(np.diag(reml.vcov)).max()
    assert_allclose(found.parameter_values, reml.parameter_values, rtol=MAXIMUM, atol=MAXIMUM * spread)
    for group, effects in reml.ranef.items():
        assert_allclose(found.ranef[group], effects, atol=MAXIMUM * effects.to_numpy().std())


def test_with_priors_it_is_the_maximum_of_the_dense_density():
    """Normal, kept Student-t, half-normal and half-t priors; fixed and random effects at their conditional means."""
    data = hb.load_data("sleepstudy").iloc[:80]
    priors = {
        "Days": bmb.Prior("Normal", mu=0, sigma=4.0),
        "Days|Subject": half(3.0),
        "1|Subject": half(10.0),
        "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=8.0),
    }
    model = hb.Model("Reaction ~ Days + (Days | Subject)", data, priors=priors)
    fit = unsampled(model)
    found = maximum_with_priors(fit)
    scales = [prior.args["sigma"] for prior in model.priors.sds]

    def uphill(x):
        theta = np.r_[np.exp(x[:2]), np.tanh(x[2]), np.exp(x[3])]
        value = expected_density(model.design, theta, model.priors)
        value += stats.halfnorm.logpdf(theta[:2], scale=scales).sum()
        return -value - stats.t.logpdf(theta[3], df=4, scale=8.0)

    sd = np.sqrt(np.diag(found.covariance))
    theta = np.r_[sd, found.covariance[1, 0] / sd.prod(), found.sigma]
    x = np.r_[np.log(sd), np.arctanh(theta[2]), np.log(theta[3])]
    own = minimize(uphill, x + 0.1, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxfev": 2000})
    assert_allclose(x, own.x, atol=1e-3)
    assert uphill(x) <= own.fun + 1e-7
    assert np.abs(sd / np.sqrt(np.diag(fit.reml.covariance)) - 1.0).max() > 0.1  # these priors do something

    design = model.design
    data = dense(design)
    C = np.linalg.inv(model.marginal.centering)
    centred = replace(data, X=data.X @ C)
    mean = np.array([prior.args["mu"] for prior in model.priors.coefficients])
    precision = np.diag([prior.args["sigma"] ** -2.0 for prior in model.priors.coefficients])
    both, _ = joint_conditional(centred, covariance_at(design, theta), sigma_at(design, theta), mean, precision)
    assert_allclose(found.fixef, C @ both[:2], rtol=1e-6)
    assert_allclose(found.ranef["Subject"].to_numpy().ravel(), both[2:], rtol=1e-5, atol=1e-5)


def test_a_prior_that_keeps_its_coefficient_counts():
    data = hb.load_data("sleepstudy")
    strong = {"Days": bmb.Prior("StudentT", nu=30, mu=0.0, sigma=0.5)}
    found = maximum_with_priors(unsampled(hb.Model("Reaction ~ Days + (1 | Subject)", data, priors=strong)))
    near = {"Days": bmb.Prior("Normal", mu=0.0, sigma=0.5)}
    other = maximum_with_priors(unsampled(hb.Model("Reaction ~ Days + (1 | Subject)", data, priors=near)))
    free = hb.Model("Reaction ~ Days + (1 | Subject)", data).reml().fixef["Days"]
    assert other.fixef["Days"] < free - 2.0
    assert other.fixef["Days"] < found.fixef["Days"] < free  # the heavier tail lets it go further


@pytest.fixture(scope="module")
def tight():
    """Sleepstudy under priors that the data contradict: small slopes, alike."""
    priors = {"Days": bmb.Prior("Normal", mu=0, sigma=1.0), "Days|Subject": half(1.0)}
    model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"), priors=priors)
    return model.fit(draws=500, tune=500, seed=1, progress=False)


def test_a_strong_prior_is_named(tight):
    table = tight.disagreements().set_index("term")
    for term in ("Days", "sd(Days)"):
        assert table.loc[term, "why"].startswith("prior: ")
        assert table.loc[term, "differs"] < -1.0
    moved = (table["with_priors"] - table["reml"]) / table["sd"]
    assert f"{moved['sd(Days)']:+.2f} sd" in table.loc["sd(Days)", "why"]
    levels = tight.shrinkage()
    far = levels[(levels["effect"] == "Days") & (levels["differs"].abs() > APART)]
    assert len(far) > 5
    assert far["why"].str.startswith("prior: ").all()


def test_the_boundary_is_named():
    table = disagreements(study("singular").reml, study("singular").fit).set_index("term")
    assert table.loc["sd(Intercept)", "why"].startswith("boundary: ")
    assert table.loc["sd(Intercept)", "reml"] == 0.0
    assert table.loc["Intercept", "why"] == ""


def test_skewness_is_named():
    """Six samples of penicillin: a likelihood with a long tail to the right."""
    table = disagreements(study("crossed").reml, study("crossed").fit).set_index(["group", "term"])
    row = table.loc[("sample", "sd(Intercept)")]
    assert row["why"].startswith("skewness: ")
    assert row["mean"] > row["with_priors"]
    assert row["mean"] - row["reml"] == pytest.approx(row["differs"] * row["sd"])
    assert table.loc[("plate", "sd(Intercept)"), "why"] == ""


@pytest.mark.parametrize("name", ["slopes", "crossed", "answers", "series", "symmetry", "meta", "weights", "nested"])
def test_every_parameter_has_a_row_and_every_disagreement_a_reason(name):
    made = study(name)
    table, tidy = disagreements(made.reml, made.fit), made.fit.tidy()
    pd.testing.assert_frame_equal(table[["effect", "group", "term"]], tidy[["effect", "group", "term"]])
    assert_allclose(table["mean"], tidy["estimate"])
    assert_allclose(table["q97.5"], tidy["conf_high"])
    assert_allclose(table["reml"], made.reml.tidy()["estimate"])
    assert ((table["why"] != "") == (table["differs"].abs() > APART)).all()


def test_where_reml_and_posterior_agree_nothing_is_searched():
    reasons = Reasons(study("slopes").reml, study("slopes").fit)
    values = np.array([1.0, 2.0])
    differs, why = reasons.explain(values, values + 0.1, np.ones(2), ["", ""], lambda _: 1 / 0)
    assert_allclose(differs, 0.1)
    assert why == ["", ""]


def test_a_correlation_that_reml_does_not_have():
    reasons = Reasons(study("slopes").reml, study("slopes").fit)
    one = np.ones(1)
    _, why = reasons.explain(np.array([np.nan]), one, one, ["at zero"], lambda _: one)
    assert why == [NO_CORRELATION]


def test_a_prior_without_a_compiled_density_is_not_blamed():
    made = study("crossed")
    sds = (made.fit.priors.sds[0], Prior("Uniform", {"lower": 0.0, "upper": 9.0}))
    fit = replace(made.fit, priors=replace(made.fit.priors, sds=sds))
    table = disagreements(made.reml, fit).set_index(["group", "term"])
    assert table["with_priors"].isna().all()
    assert "not told apart" in table.loc[("sample", "sd(Intercept)"), "why"]


def test_a_search_that_failed_is_not_believed(monkeypatch):
    made = study("crossed")
    stalled = SimpleNamespace(x=np.zeros(3), jac=np.array([0.0, 3.0, 0.0]), nfev=1, message="stalled")
    monkeypatch.setattr("hierbayes.partial_pooling.disagreement.minimize", lambda *_, **__: stalled)
    assert not maximum_with_priors(made.fit).converged
    assert disagreements(made.reml, made.fit)["with_priors"].isna().all()


def other_fits():
    """REML fits that have the formula of the study "weights", but not its data, and what they lack."""
    made = study("weights")
    data, formula = made.model.data, made.model.formula
    renamed = data["Subject"].astype(str) + "x"
    yield hb.Model(formula, data.assign(Reaction=data["Reaction"] * 2), weights="n").reml(), "the same response"
    yield hb.Model(formula, data.iloc[10:], weights="n").reml(), "uses 170 rows"
    yield hb.Model(formula, data).reml(), "the same weights"
    yield hb.Model(formula, data.assign(base=0.0), weights="n").reml(), "the same offset"
    yield hb.Model(formula, data.assign(Subject=renamed), weights="n").reml(), "the same levels of 'Subject'"
    yield hb.Model(formula, data.assign(Days=data["Days"] + 1), weights="n").reml(), "the same predictors"
    yield hb.Model(formula, data, weights="n", residual="ar1(Days | Subject)").reml(), "must be of one model"


def test_fits_of_other_data_are_refused():
    made = study("weights")
    for reml, lacks in other_fits():
        for table in (disagreements, shrinkage):
            with pytest.raises(hb.DataError, match=lacks):
                table(reml, made.fit)
    again = hb.Model(made.model.formula, made.model.data, weights="n")
    pd.testing.assert_frame_equal(disagreements(again.reml(), made.fit), disagreements(made.reml, made.fit))
    with pytest.raises(hb.HierbayesError, match=r"not by ML: model\.reml\(\)"):
        shrinkage(again.ml(), made.fit)


def test_fits_of_different_models_are_refused():
    with pytest.raises(ValueError, match="must be of one model, not of 'Reaction"):
        disagreements(study("slopes").reml, study("intercepts").fit)
