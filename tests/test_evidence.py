"""Evidence by bridge sampling against quadrature, and Bayes factors against closed forms."""

from __future__ import annotations

import json

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import stats
from test_posterior import CASES

import hierbayes as hb
from hierbayes.evidence.bayes_factors import COEFFICIENTS, SDS, rescaled, scaled
from hierbayes.evidence.marginal_likelihood import Evidence, evidence
from hierbayes.priors import Prior

REFERENCE = 1e-4
"""Of the log marginal likelihood of the reference: its boxes leave out up to 6e-5 of the mass."""


def half(name, **args):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior(name, **args))


@pytest.fixture(scope="module")
def penicillin():
    case = CASES["penicillin"]
    return hb.Model(case.formula, hb.load_data(case.data), priors=case.priors, center_predictors=False)


@pytest.fixture(scope="module")
def fit(penicillin):
    return penicillin.fit(draws=1000, tune=500, chains=2, seed=3, progress=False)


def test_bridge_sampling_agrees_with_the_reference_and_with_quadrature(penicillin, fit, shared):
    reference = json.loads(shared("reference/posterior.json").read_text())["models"]["penicillin"]
    bridged, exact = fit.evidence("bridge"), fit.evidence()
    assert (bridged.method, exact.method) == ("bridge", "quadrature")
    truth = reference["exact_quadrature"]["log_marginal_likelihood"]
    assert abs(bridged.log_marginal_likelihood - truth) < bridged.error < 0.05
    assert abs(exact.log_marginal_likelihood - truth) < exact.error + REFERENCE
    assert exact.log_marginal_likelihood == penicillin.evidence().log_marginal_likelihood
    assert bridged == fit.evidence("bridge")


def test_bridge_sampling_of_a_correlation(fit_sleepstudy):
    bridged, exact = fit_sleepstudy.evidence("bridge"), evidence(fit_sleepstudy, "quadrature")
    assert abs(bridged.log_marginal_likelihood - exact.log_marginal_likelihood) < bridged.error < 0.05


def test_many_variance_parameters_are_bridged():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(15), 8)
    x, z = rng.standard_normal((2, 120))
    y = 1.0 + x + rng.standard_normal(15)[g] + 0.5 * rng.standard_normal(15)[g] * x + rng.standard_normal(120)
    data = pd.DataFrame({"y": y, "x": x, "z": z, "g": g})
    priors = {"g_corr": bmb.Prior("LKJ", eta=1e8)}  # no correlation at all: the model of `||`
    model = hb.Model("y ~ x + (x + z | g)", data, priors=priors)
    with pytest.raises(hb.HierbayesError, match="has 7; sample it"):
        model.evidence()
    bridged = model.fit(draws=1000, tune=500, chains=2, seed=1, progress=False).evidence()
    exact = hb.Model("y ~ x + (x + z || g)", data).evidence()
    assert (bridged.method, exact.method) == ("bridge", "quadrature")
    assert abs(bridged.log_marginal_likelihood - exact.log_marginal_likelihood) < bridged.error < 0.1


def test_a_prior_that_only_the_graph_knows():
    data = hb.load_data("Dyestuff")
    priors = {
        "Intercept": bmb.Prior("Normal", mu=1500, sigma=100),
        "1|Batch": half("Uniform", lower=0, upper=300),
        "sigma": bmb.Prior("HalfNormal", sigma=100),
    }
    found = hb.Model("Yield ~ 1 + (1 | Batch)", data, priors=priors).evidence()
    # the balanced one-way layout on paper: six means of five, with variance v each and the intercept's in common
    y = data["Yield"].to_numpy().reshape(6, 5) - 1500.0
    means = y.mean(axis=1)
    node, weight = leggauss(200)
    sd, sigma = 150.0 * (1.0 + node)[:, None], 85.0 + 65.0 * node
    v = sd**2 + sigma**2 / 5.0
    common = v + 6.0 * 100.0**2
    log_means = -0.5 * (
        6 * np.log(2 * np.pi) + 5 * np.log(v) + np.log(common) + (means - means.mean()).dot(means) / v
    )
    log_means -= 3.0 * means.mean() ** 2 / common
    within = ((y - means[:, None]) ** 2).sum()
    log_within = -12.0 * np.log(2 * np.pi * sigma**2) - 3.0 * np.log(5.0) - within / (2.0 * sigma**2)
    log = log_means + log_within + stats.halfnorm.logpdf(sigma, scale=100.0) - np.log(300.0)
    value = log.max() + np.log(np.exp(log - log.max()).dot(65.0 * weight).dot(150.0 * weight))
    assert found.log_marginal_likelihood == pytest.approx(value, abs=1e-5)
    assert found.error < 1e-5


def test_what_has_no_evidence(penicillin, fit, sleepstudy):
    flat = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors={"Days": bmb.Prior("Flat")})
    with pytest.raises(hb.PriorError, match="not defined: the prior of 'Days' is flat"):
        flat.evidence()
    assert flat.quadrature(1e-3).mean["fixed", "", "Days"] == pytest.approx(10.47, abs=0.01)
    half_flat = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, priors={"1|Subject": half("HalfFlat")})
    with pytest.raises(hb.PriorError, match=r"'sd\(Intercept\)\|Subject' is flat"):
        half_flat.evidence()
    with pytest.raises(ValueError, match="'auto', 'quadrature' or 'bridge'"):
        fit.evidence("laplace")
    with pytest.raises(ValueError, match="needs draws"):
        evidence(penicillin, "bridge")


# --- Bayes factors --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(sleepstudy):
    return [hb.Model(f"Reaction ~ {fixed} + (1 | Subject)", sleepstudy) for fixed in ("Days", "1")]


def test_a_normal_coefficient_by_savage_and_dickey(sleepstudy):
    """p(y | β = 0) / p(y) is the posterior over the prior density at 0 (Dickey 1971), all else sharing its priors."""
    shared = {
        "Intercept": bmb.Prior("Normal", mu=298, sigma=50),
        "1|Subject": half("HalfNormal", sigma=50),
        "sigma": bmb.Prior("HalfNormal", sigma=50),
    }
    data = sleepstudy.assign(noise=np.random.default_rng(1).standard_normal(180))

    def with_noise(sigma):
        priors = shared | {"noise": bmb.Prior("Normal", mu=0, sigma=sigma)}
        return hb.Model("Reaction ~ noise + (1 | Subject)", data, priors=priors)

    with_ = with_noise(20)
    without = hb.Model("Reaction ~ 1 + (1 | Subject)", data, priors=shared)
    found = hb.bayes_factor(with_, without)
    posterior = with_.quadrature()
    mean, sd = (part[:, 1] for part in posterior.fixef_given)
    density = posterior.weights @ stats.norm.pdf(0.0, mean, sd)
    assert found.log_bf == pytest.approx(np.log(stats.norm.pdf(0.0, 0.0, 20.0) / density), abs=1e-5)
    assert found.error < 1e-5
    # a prior twice as wide, where the data say much more than it, costs a factor of nearly two
    table = found.sensitivity.set_index(["prior", "factor"])["log_bf"]
    assert table[COEFFICIENTS, 2.0] - table[COEFFICIENTS, 1.0] == pytest.approx(-np.log(2.0), abs=0.05)
    assert table[SDS, 1.0] == found.log_bf
    assert set(table.index) == {(what, factor) for what in (SDS, COEFFICIENTS) for factor in (0.5, 1.0, 2.0)}
    # ... which is what a model with that prior says
    wide = hb.bayes_factor(with_noise(40), without, sensitivity=())
    assert wide.log_bf == pytest.approx(table[COEFFICIENTS, 2.0], abs=1e-6)


def test_no_variance_between_groups_is_the_limit_of_a_narrow_prior():
    data = hb.load_data("Dyestuff2")
    y = data["Yield"].to_numpy()

    def model(scale):
        priors = {
            "Intercept": bmb.Prior("Normal", mu=5, sigma=10),
            "1|Batch": half("HalfNormal", sigma=scale),
            "sigma": bmb.Prior("HalfNormal", sigma=5),
        }
        return hb.Model("Yield ~ 1 + (1 | Batch)", data, priors=priors)

    null = model(1e-4)
    # independent rows with a Normal mean: a sum of squares and a mean, and one integral over σ
    node, weight = leggauss(200)
    sigma = 6.0 + 5.0 * node
    mean_variance = sigma**2 / 30 + 10.0**2
    log = stats.norm.logpdf(y.mean(), 5.0, np.sqrt(mean_variance)) + stats.halfnorm.logpdf(sigma, scale=5.0)
    log += -14.5 * np.log(2 * np.pi * sigma**2) - 0.5 * np.log(30) - 0.5 * ((y - y.mean()) ** 2).sum() / sigma**2
    assert null.evidence().log_marginal_likelihood == pytest.approx(np.log(np.exp(log) @ weight * 5.0), abs=1e-5)
    found = hb.bayes_factor(model(4.0), null, sensitivity=())
    assert found.log_bf < -1.0  # batches do not differ in these data
    assert found.words == "positive evidence for the second model"


def test_turned_round(pair):
    one, other = hb.bayes_factor(*pair), hb.bayes_factor(*pair[::-1])
    assert one.log_bf == -other.log_bf
    assert one.words == other.words
    assert one.words.startswith("very strong evidence for 'Reaction ~ Days + (1 | Subject)'; the scales")
    assert one.log10_bf == pytest.approx(one.log_bf / 2.302585)
    np.testing.assert_array_equal(one.sensitivity["log_bf"], -other.sensitivity["log_bf"])
    assert "log10 BF" in repr(one)


def test_a_factor_that_hangs_on_its_priors_says_so():
    table = pd.DataFrame({"prior": SDS, "factor": [0.5, 2.0], "log10_bf": [1.09, -0.87]})
    a, b = (Evidence(value, 1e-6, "quadrature", name) for value, name in ((1.5, "a"), (0.0, "b")))
    found = hb.BayesFactor(1.5, 1e-6, a, b, table)
    assert found.words == (
        "positive evidence for 'a'; other scales of the priors give log10 BF from -0.87 to 1.09 and would be called "
        "otherwise"
    )
    close = hb.BayesFactor(0.01, 0.1, a, b, table[:0])
    assert close.words == "the difference is within its numerical error: neither model is favoured"


def test_draws_are_weighted_for_other_priors(penicillin, fit):
    every = np.ones(2, dtype=bool)
    for factor in (0.5, 2.0):
        exact, _ = rescaled(penicillin, penicillin.evidence(), SDS, every, factor)
        weighted, error = rescaled(fit, fit.evidence("bridge"), SDS, every, factor)
        assert abs(weighted - exact) < error < 0.1
    value, error = rescaled(fit, fit.evidence("bridge"), SDS, every, 0.01)
    assert np.isnan(value)
    assert np.isnan(error)


@pytest.mark.parametrize(
    ("prior", "law"),
    [
        (Prior("HalfNormal", {"sigma": 2.0}), lambda k: stats.halfnorm(0, 2 * k)),
        (Prior("HalfCauchy", {"beta": 2.0}), lambda k: stats.halfcauchy(0, 2 * k)),
        (Prior("Exponential", {"lam": 0.5}), lambda k: stats.expon(0, 2 * k)),
        (Prior("Gamma", {"alpha": 2.0, "beta": 0.5}), lambda k: stats.gamma(2.0, 0, 2 * k)),
        (Prior("InverseGamma", {"alpha": 2.0, "beta": 3.0}), lambda k: stats.invgamma(2.0, 0, 3 * k)),
        (Prior("LogNormal", {"mu": 0.5, "sigma": 0.7}), lambda k: stats.lognorm(0.7, 0, np.exp(0.5) * k)),
        (Prior("Normal", {"mu": 0.0, "sigma": 2.0}), lambda k: stats.norm(0, 2 * k)),
        (Prior("StudentT", {"nu": 3.0, "mu": 0.0, "sigma": 2.0}), lambda k: stats.t(3, 0, 2 * k)),
        (Prior("Laplace", {"mu": 0.0, "b": 2.0}), lambda k: stats.laplace(0, 2 * k)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_scaled_prior_is_the_law_of_a_multiple(prior, law):
    from hierbayes.laws import log_density

    x = np.array([0.3, 1.0, 5.0])
    np.testing.assert_allclose(log_density(scaled(prior, 3.0), x), law(3.0).logpdf(x), rtol=1e-10)


def test_what_cannot_be_compared(pair, sleepstudy):
    days = pair[0]
    with pytest.raises(hb.DataError, match=r"uses 180 rows and .* 170"):
        hb.bayes_factor(days, hb.Model("Reaction ~ 1 + (1 | Subject)", sleepstudy[:170]))
    with pytest.raises(hb.DataError, match="same response row by row"):
        hb.bayes_factor(days, hb.Model("Reaction ~ 1 + (1 | Subject)", sleepstudy[::-1]))
    with pytest.raises(hb.DataError, match="same response row by row"):
        hb.bayes_factor(days, hb.Model("np.log(Reaction) ~ 1 + (1 | Subject)", sleepstudy))
    with pytest.raises(ValueError, match="positive numbers, not 0"):
        hb.bayes_factor(*pair, sensitivity=(0,))
    with pytest.raises(TypeError, match="not RemlFit"):
        hb.bayes_factor(days, days.reml())
    with pytest.raises(hb.PriorError, match=r"scale of Uniform.* sensitivity=\(\)"):
        scaled(Prior("Uniform", {"lower": 0.0, "upper": 1.0}), 2.0)
