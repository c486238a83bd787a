"""Variances of families on two scales: closed forms, published formulas at lme4's estimates, simulation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import polygamma

import hierbayes as hb
from hierbayes.errors import DataError
from hierbayes.family import Family
from hierbayes.linear_predictor import LinearPredictor
from hierbayes.variance import family_components as components
from hierbayes.variance.distribution_variance import latent_variance, response_variance
from hierbayes.variance.family_components import on_both_scales
from hierbayes.variance.family_tables import icc, r2, variance_partition

EXACT = 1e-6
"""Relative, of quadrature against closed forms."""
LME4 = 1e-3
"""Relative, of shares at our estimates against the formula at lme4's."""
SIMULATED = 0.15
"""Relative, of a mean variance from 1500 simulated responses: three standard errors."""


def rows(groups=12, size=8, seed=1):
    rng = np.random.default_rng(seed)
    g, h = np.repeat(np.arange(groups), size), np.tile(np.arange(size), groups)
    x = rng.integers(0, 3, groups * size) / 2.0
    eta = 0.5 + 0.4 * x + 0.6 * rng.standard_normal(groups)[g] + 0.4 * rng.standard_normal(size)[h]
    data = {"x": x, "g": g.astype(str), "h": h.astype(str)}
    data["count"] = rng.poisson(np.exp(eta))
    data["hit"] = (rng.random(len(g)) < stats.norm.cdf(eta - 0.5)).astype(int)
    data["size"] = rng.gamma(3.0, np.exp(eta) / 3.0)
    return pd.DataFrame(data)


def fixed(ml):
    return ml.design.X @ ml.fixef.to_numpy()


@pytest.fixture(scope="module")
def crossed():
    return hb.Model("count ~ x + (1 | g) + (1 | h)", rows(), family="poisson").ml()


# --- response scale ---------------------------------------------------------------------------------------


def test_poisson_with_two_factors_has_the_moments_of_a_lognormal_mixture(crossed):
    eta = fixed(crossed)
    v_g, v_h = np.diag(crossed.covariance)
    mean = np.exp(eta + 0.5 * (v_g + v_h))
    found = on_both_scales(crossed)["response"]
    v = found.variances
    assert v.factors == ("g", "h", "jointly")
    assert v.fixed[0] == pytest.approx(mean.var(ddof=1), rel=EXACT)
    together = (mean**2).mean() * np.expm1(v_g + v_h)
    alone = [(mean**2).mean() * np.expm1(each) for each in (v_g, v_h)]
    np.testing.assert_allclose(v.random[0], [*alone, together - sum(alone)], rtol=1e-4)
    assert v.residual[0] == pytest.approx(mean.mean(), rel=EXACT)
    assert found.residual == "that of the family"


def test_icc_on_the_response_scale_is_the_correlation_of_two_rows(crossed):
    table = icc(crossed).set_index(["scale", "icc", "group"])["estimate"]
    eta = fixed(crossed)
    v_g, v_h = np.diag(crossed.covariance)
    mean = np.exp(eta + 0.5 * (v_g + v_h))
    whole = (mean**2).mean() * np.expm1(v_g + v_h) + mean.mean()
    assert table["response", "adjusted", "g"] == pytest.approx((mean**2).mean() * np.expm1(v_g) / whole, rel=1e-4)
    assert "jointly" not in icc(crossed)["group"].tolist()


@pytest.mark.filterwarnings("ignore::hierbayes.SingularFit")
def test_random_slopes_count_row_by_row():
    ml = hb.Model("count ~ x + (x | g)", rows(), family="poisson").ml()
    Z, eta = ml.design.blocks[0].Z, fixed(ml)
    v = np.einsum("nq,qr,nr->n", Z, ml.covariance, Z)
    mean = np.exp(eta + 0.5 * v)
    found = on_both_scales(ml)["response"].variances
    assert found.random[0, 0] == pytest.approx((mean**2 * np.expm1(v)).mean(), rel=EXACT)
    assert found.fixed[0] == pytest.approx(mean.var(ddof=1), rel=EXACT)


def test_probit_against_normal_probabilities():
    ml = hb.Model("hit ~ x + (1 | g)", rows(), family="bernoulli", link="probit").ml()
    eta, v = fixed(ml), ml.covariance[0, 0]
    p = stats.norm.cdf(eta / np.sqrt(1.0 + v))
    rho = v / (1.0 + v)
    both = [stats.multivariate_normal.cdf([a, a], cov=[[1, rho], [rho, 1]]) for a in eta / np.sqrt(1.0 + v)]
    found = on_both_scales(ml)
    response, latent = found["response"].variances, found["latent"].variances
    assert response.random[0, 0] == pytest.approx(np.mean(both - p**2), rel=1e-4)
    assert response.total[0] == pytest.approx((p * (1 - p)).mean() + p.var(ddof=1), rel=1e-5)
    assert latent.residual[0] == 1.0


def test_by_simulation_where_there_is_no_formula(crossed, monkeypatch):
    exact = on_both_scales(crossed)["response"].variances.residual[0]
    monkeypatch.setattr(components, "response_variance", lambda *_: None)
    monkeypatch.setattr(components, "REPLICATES", 500)
    found = on_both_scales(crossed)["response"]
    assert found.residual == "simulated"
    assert found.variances.residual[0] == pytest.approx(exact, rel=SIMULATED)


def test_many_rows_are_represented_by_some(crossed, monkeypatch):
    exact = on_both_scales(crossed)["response"].variances
    rng = np.random.default_rng(2)
    data = rows().assign(x=lambda d: d["x"] + 1e-6 * rng.standard_normal(len(d)))
    ml = hb.Model("count ~ x + (1 | g) + (1 | h)", data, family="poisson").ml()
    monkeypatch.setattr(components, "ROWS", 60)
    some = on_both_scales(ml)["response"].variances
    assert some.residual[0] == pytest.approx(exact.residual[0], rel=0.1)
    assert some.residual[0] != pytest.approx(exact.residual[0], rel=1e-4)


VARIANCES = [
    ("negativebinomial", {"alpha": 2.5}, lambda m: stats.nbinom.var(2.5, 2.5 / (2.5 + m))),
    ("gamma", {"alpha": 3.0}, lambda m: stats.gamma.var(3.0, scale=m / 3.0)),
    ("exponential", {}, lambda m: stats.expon.var(scale=m)),
    ("poisson", {}, stats.poisson.var),
    ("wald", {"lam": 2.0}, lambda m: stats.invgauss.var(m / 2.0, scale=2.0)),
    ("t", {"sigma": 1.5, "nu": 5.0}, lambda m: stats.t.var(5.0, m, 1.5)),
    ("laplace", {"b": 0.7}, lambda m: stats.laplace.var(m, 0.7)),
    ("gaussian", {"sigma": 1.2}, lambda m: stats.norm.var(m, 1.2)),
]


@pytest.mark.parametrize(("name", "auxiliary", "variance"), VARIANCES, ids=[case[0] for case in VARIANCES])
def test_variances_of_families_are_scipys(name, auxiliary, variance):
    found = response_variance(Family(name, "mu", ""), np.array([[0.4, 2.0]]), {k: [v] for k, v in auxiliary.items()})
    np.testing.assert_allclose(found[0], [variance(0.4), variance(2.0)], rtol=1e-10)


def test_variances_of_proportions_are_scipys():
    mean = np.array([[0.2, 0.7]])
    beta = response_variance(Family("beta", "mu", "logit"), mean, {"kappa": [4.0]})
    np.testing.assert_allclose(beta[0], stats.beta.var(4.0 * mean[0], 4.0 * (1 - mean[0])))
    np.testing.assert_allclose(response_variance(Family("binomial", "p", "logit"), mean, {}), [[0.16, 0.21]])


def test_several_linear_predictors_have_no_variances():
    """Refused before anything is asked of the draws."""
    design = type("Design", (), {"outcomes": ("dim", ("b", "c")), "factors": ()})()
    found = on_both_scales(type("Result", (), {"design": design})())
    assert found["latent"].residual == "not known: the response has several linear predictors"
    assert np.isnan(found["response"].variances.residual).all()


def test_an_offset_explains_nothing():
    data = rows().assign(exposure=lambda d: 1.0 + np.arange(len(d)) % 4)
    ml = hb.Model("count ~ 1 + offset(np.log(exposure)) + (1 | g)", data, family="poisson").ml()
    found, v = on_both_scales(ml), ml.covariance[0, 0]
    mean = np.exp(ml.fixef.iloc[0] + ml.design.offset.mean() + 0.5 * v)
    assert found["latent"].variances.fixed[0] == pytest.approx(0.0, abs=1e-12)
    assert found["response"].variances.fixed[0] == pytest.approx(0.0, abs=1e-12)
    assert found["response"].variances.residual[0] == pytest.approx(mean, rel=EXACT)


# --- latent scale -----------------------------------------------------------------------------------------


def test_binomial_shares_are_nakagawas_at_lme4s_estimates(shared):
    entry = json.loads(shared("reference/lme4.json").read_text())["glmm"]["cbpp_laplace"]
    cbpp = pd.read_csv(shared("datasets/cbpp.csv"), dtype={"herd": str, "period": str})
    ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
    beta = np.array(
        list(entry["fixef"].values()) if isinstance(entry["fixef"], dict) else entry["fixef"], dtype=float
    )
    v_fixed = (ml.design.X @ beta).var(ddof=1)
    v_herd = float(next(row["vcov"] for row in entry["varcorr"] if row.get("vcov") is not None))
    whole = v_fixed + v_herd + np.pi**2 / 3.0
    shares = r2(ml).query("scale == 'latent'").set_index("r2")["estimate"]
    assert shares["marginal"] == pytest.approx(v_fixed / whole, rel=LME4)
    assert shares["conditional"] == pytest.approx((v_fixed + v_herd) / whole, rel=LME4)
    table = icc(ml).query("scale == 'latent' and group == 'herd'").set_index("icc")
    assert table.loc["adjusted", "estimate"] == pytest.approx(v_herd / (v_herd + np.pi**2 / 3.0), rel=LME4)
    assert table.loc["adjusted", "residual"] == "π²/3"


def test_counts_have_three_approximations(crossed):
    v_g, v_h = np.diag(crossed.covariance)
    rate = np.exp(fixed(crossed) + 0.5 * (v_g + v_h)).mean()
    wanted = {"lognormal": np.log1p(1.0 / rate), "delta": 1.0 / rate, "trigamma": polygamma(1, rate)}
    for name, value in wanted.items():
        table = variance_partition(crossed, approximation=name).query("scale == 'latent'")
        residual = table[table["component"] == "residual"].iloc[0]
        assert residual["variance"] == pytest.approx(value, rel=EXACT)
        assert residual["residual"] == name
        assert table["share"].sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="approximation must be one of 'trigamma'"):
        crossed.icc(approximation="exact")


def test_published_formulas_of_other_families():
    mean, alpha = np.array([2.0]), np.array([3.0])
    square = 1 / 2.0 + 1 / 3.0
    for name, auxiliary, s in [("negativebinomial", {"alpha": alpha}, square), ("gamma", {"alpha": alpha}, 1 / 3.0)]:
        family = Family(name, "mu", "log")
        assert latent_variance(family, mean, auxiliary, "trigamma")[0][0] == pytest.approx(polygamma(1, 1 / s))
        assert latent_variance(family, mean, auxiliary, "lognormal")[0][0] == pytest.approx(np.log1p(s))
    value, which = latent_variance(Family("t", "mu", "identity"), mean, {"sigma": [2.0], "nu": [6.0]})
    assert (value[0], which) == (pytest.approx(6.0), "that of the response")
    assert latent_variance(Family("bernoulli", "p", "cloglog"), mean, {})[0][0] == pytest.approx(np.pi**2 / 6)


def test_where_there_is_none_the_reason_is_said():
    value, reason = latent_variance(Family("beta", "mu", "logit"), np.array([0.5]), {"kappa": [2.0]})
    assert np.isnan(value[0])
    assert "family 'beta' with link 'logit' has no latent" in reason


def test_a_t_distribution_without_a_variance(crossed):
    values = response_variance(Family("t", "mu", "identity"), np.array([[0.0]]), {"sigma": [1.0], "nu": [1.5]})
    assert np.isinf(values).all()


def test_ordinal_responses_have_a_latent_scale_only(shared):
    data = rows().assign(grade=lambda d: pd.Categorical(np.minimum(d["count"], 3).astype(str), ordered=True))
    table = hb.Model("grade ~ x + (1 | g)", data, family="cumulative").ml().icc().set_index(["scale", "icc", "group"])
    assert np.isfinite(table.loc[("latent", "adjusted", "g"), "estimate"])
    assert np.isnan(table.loc[("response", "adjusted", "g"), "estimate"])
    assert table.loc[("response", "adjusted", "g"), "residual"] == "not known: categories are no numbers"


# --- posteriors -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit():
    model = hb.Model("count ~ x + (1 | g)", rows(), family="poisson")
    return model.fit(seed=3, progress=False)


def test_every_draw_counts(fit):
    ml = hb.Model("count ~ x + (1 | g)", rows(), family="poisson").ml()
    table = fit.variance_partition()
    assert table.groupby("scale")["share"].sum().to_numpy() == pytest.approx([1.0, 1.0])
    mine, theirs = (t.icc().set_index(["scale", "icc", "group"]) for t in (fit, ml))
    assert (theirs["std_error"].isna()).all()
    assert ((mine["estimate"] - theirs["estimate"]).abs() < 2 * mine["std_error"]).all()
    assert (mine["conf_low"] < mine["estimate"]).all()
    predictor = LinearPredictor(fit)
    sd = fit.posterior["1|g_sigma"].to_numpy().ravel()
    mean = np.exp(predictor.fixed(slice(None)) + 0.5 * sd[:, None] ** 2)
    random = (mean**2).mean(axis=1) * np.expm1(sd**2)
    expected = (random / (random + mean.mean(axis=1))).mean()
    assert mine.loc[("response", "adjusted", "g"), "estimate"] == pytest.approx(expected, rel=EXACT)


def test_bayesian_r2_is_gelmans(fit):
    mean = np.exp(LinearPredictor(fit).eta(slice(None)))
    explained = mean.var(axis=1, ddof=1)
    expected = explained / (explained + mean.mean(axis=1))
    row = fit.r2().query("r2 == 'bayesian'").iloc[0]
    assert row["scale"] == "response"
    assert row["estimate"] == pytest.approx(expected.mean())
    np.testing.assert_allclose(row[["conf_low", "conf_high"]].astype(float), np.quantile(expected, [0.025, 0.975]))


def test_few_draws_stand_for_many_where_rows_are_many(fit, monkeypatch):
    whole = fit.icc()
    monkeypatch.setattr(components, "WORK", 1)
    some = fit.icc()
    np.testing.assert_allclose(some["estimate"], whole["estimate"], rtol=0.1)
    assert not np.array_equal(some["estimate"], whole["estimate"])


def test_a_model_without_random_effects_is_refused(crossed):
    bare = replace(crossed.design, blocks=())
    with pytest.raises(DataError, match="no random effects and so no ICC"):
        icc(type("Bare", (), {"design": bare})())
