"""Correlated residuals against nlme: AR(1) and compound symmetry, with random effects and without."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import hierbayes as hb

CRITERION = 1e-9
"""Absolute, of -2 log likelihood: a maximum is flat, so an answer good to 1e-6 in ρ gives 1e-10 here."""
FIXEF = 1e-6
"""Relative to the standard error (of standard errors: relative)."""
CORRELATION = 2e-6
"""Absolute: nlme stops when its optimum is good to about 1e-6 in ρ."""
VARIANCE = 2e-6
"""Relative, of standard deviations."""
BLUP = 1e-6
"""In units of the standard deviation of the random effect."""
INTERVAL = 5e-4
"""Relative, of the ends of Wald intervals: both sides take second derivatives by differences."""
SAME = 1e-8
"""Relative, between two ways of writing one model."""

sin, cos, pi = np.sin, np.cos, np.pi  # R has them at hand; a formula finds them here
OVARY = "follicles ~ sin(2 * pi * Time) + cos(2 * pi * Time) + (1 | Mare)"
ORTHODONT = "distance ~ age * Sex"
MODELS = {
    "ovary_ar1_REML": (OVARY, "ar1(1 | Mare)"),
    "ovary_ar1_ML": (OVARY, "ar1(1 | Mare)"),
    "ovary_noar_REML": (OVARY, None),
    "orthodont_gls_ar1_REML": (ORTHODONT, "ar1(age | Subject)"),
    "orthodont_gls_compsymm_REML": (ORTHODONT, "cs(Subject)"),
    "orthodont_lme_int_REML": (f"{ORTHODONT} + (1 | Subject)", None),
}
EVERY = pytest.mark.parametrize("name", MODELS)


def our_name(name):
    """R's coefficient name as Bambi prints it."""
    return name.replace("(Intercept)", "Intercept").replace("SexMale", "Sex[Male]")


@pytest.fixture(scope="module")
def nlme(shared):
    return json.loads(shared("reference/lme4.json").read_text())["nlme"]


@pytest.fixture(scope="module")
def fits(nlme, shared):
    """Fits by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            formula, residual = MODELS[name]
            data = pd.read_csv(shared(f"datasets/{nlme[name]['data']}"), dtype={"Mare": str, "Subject": str})
            model = hb.Model(formula, data, residual=residual)
            made[name] = (model.ml() if nlme[name]["method"] == "ML" else model.reml()), nlme[name]
        return made[name]

    return get


@EVERY
def test_the_criterion_is_that_of_nlme(fits, name):
    found, expected = fits(name)
    assert found.converged
    assert not found.singular
    assert found.n_par == expected["n_par"]
    for ours, theirs in ((found.criterion, "criterion"), (found.loglik, "logLik"), (found.aic, "AIC")):
        assert ours == pytest.approx(expected[theirs], rel=0, abs=CRITERION)


@EVERY
def test_fixed_effects_are_those_of_nlme(fits, name):
    found, expected = fits(name)
    names = list(expected["fixef"])
    ours = [our_name(name) for name in names]
    assert found.fixef.index.tolist() == ours
    se = np.array([expected["se"][name] for name in names])
    difference = found.fixef.to_numpy() - [expected["fixef"][name] for name in names]
    assert np.abs(difference / se).max() < FIXEF
    if found.method == "ML":  # nlme's summary then takes σ² with n - p degrees of freedom; its vcov does not
        se = se * np.sqrt(1.0 - len(names) / found.nobs)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), se, rtol=FIXEF)
    vcov = np.array(expected["vcov"]["values"])
    np.testing.assert_allclose(found.vcov / np.outer(se, se), vcov / np.outer(se, se), rtol=0, atol=FIXEF)


@EVERY
def test_variances_and_the_correlation_are_those_of_nlme(fits, name):
    found, expected = fits(name)
    assert found.sigma == pytest.approx(expected["sigma"], rel=VARIANCE)
    if expected["corStruct"] is None:
        assert found.rho is None
    else:
        (rho,) = expected["corStruct"]["coef"].values()
        assert found.rho == pytest.approx(rho, abs=CORRELATION)
    if expected["varcorr"] is not None:
        sd = float(expected["varcorr"]["(Intercept)"]["StdDev"])
        assert np.sqrt(found.covariance[0, 0]) == pytest.approx(sd, rel=VARIANCE)
    else:
        assert found.covariance.shape == (0, 0)
        assert found.ranef == {}


@EVERY
def test_random_effects_are_those_of_nlme(fits, name):
    found, expected = fits(name)
    if expected["ranef_first10"] is None:
        assert found.ngroups == {}
        return
    ((group, ranef),) = found.ranef.items()
    sd = float(expected["varcorr"]["(Intercept)"]["StdDev"])
    theirs = [row["(Intercept)"] for row in expected["ranef_first10"]]
    ours = ranef.loc[expected["ranef_levels_first10"], "Intercept"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BLUP * sd)
    assert found.ngroups[group] == len(ranef)


@EVERY
def test_wald_intervals_are_those_of_nlme(fits, name):
    """On the logarithm of σ and on Fisher's z of the place of ρ in its range."""
    found, expected = fits(name)
    table = found.tidy().set_index("term")
    intervals = {"sigma": expected["intervals"]["sigma"]}
    if expected["corStruct"] is not None:
        (intervals["rho"],) = expected["intervals"]["corStruct"].values()
    for term, (low, estimate, high) in intervals.items():
        row = table.loc[term]
        assert row["group"] == "Residual"
        np.testing.assert_allclose(row["estimate"], estimate, rtol=CORRELATION)
        np.testing.assert_allclose([row["conf_low"], row["conf_high"]], [low, high], rtol=INTERVAL)


def test_compound_symmetry_is_a_random_intercept(fits):
    """With ρ > 0 the two are one model: σ² = σ_b² + σ_e², ρ = σ_b²/σ²."""
    cs, _ = fits("orthodont_gls_compsymm_REML")
    intercept, _ = fits("orthodont_lme_int_REML")
    between, within = intercept.covariance[0, 0], intercept.sigma**2
    assert cs.criterion == pytest.approx(intercept.criterion, rel=0, abs=CRITERION)
    np.testing.assert_allclose(cs.fixef, intercept.fixef, rtol=SAME)
    np.testing.assert_allclose(cs.vcov, intercept.vcov, rtol=1e-6)
    assert cs.sigma**2 == pytest.approx(between + within, rel=1e-6)
    assert cs.rho == pytest.approx(between / (between + within), rel=1e-6)


def test_times_and_the_order_of_the_rows_are_the_same_series(fits, shared, nlme):
    """Orthodont's ages are 8, 10, 12, 14, in order: steps of two years are steps of one row."""
    found, _ = fits("orthodont_gls_ar1_REML")
    data = pd.read_csv(shared("datasets/Orthodont.csv"), dtype={"Subject": str})
    other = hb.Model(ORTHODONT, data, residual="ar1(1 | Subject)").reml()
    assert other.criterion == pytest.approx(found.criterion, rel=1e-12)
    assert other.rho == pytest.approx(found.rho, abs=1e-8)
    # with times the order of the rows plays no part
    shuffled = hb.Model(ORTHODONT, data.sample(frac=1.0, random_state=0), residual="ar1(age | Subject)").reml()
    assert shuffled.criterion == pytest.approx(found.criterion, rel=1e-12)


def test_varcorr_has_a_row_for_the_correlation(fits):
    found, _ = fits("ovary_ar1_REML")
    rows = found.varcorr.set_index(["group", "term"])
    assert rows.loc[("Residual", "rho"), "sdcor"] == found.rho
    assert rows.loc[("Residual", "rho"), "vcov"] == pytest.approx(found.rho * found.sigma**2, rel=1e-12)
    assert found.tidy()["term"].tolist()[3:] == ["sd(Intercept)", "sigma", "rho"]
