"""Variance shares against lme4's components, dense matrices, and draws looked at one by one."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fixtures_report import study
from numpy.testing import assert_allclose
from oracle import dense, response_covariance
from test_reml import our_group, our_name

import hierbayes as hb
from hierbayes.estimates import FIXED
from hierbayes.variance.components import variances, variances_of
from hierbayes.variance.tables import (
    bayesian_r2,
    design_effect,
    icc,
    r2,
    variance_partition,
)

FORMULA = 1e-8
"""Relative, at lme4's own estimates: only the formula can differ."""
FITTED = 1e-5
"""Relative (and of the total variance where zero), of our fits: a variance is as good as the optimiser's Λ."""
DENSE = 1e-9
"""Relative, against sums over dense matrices."""
MOVED = 1e-7
"""Relative, when a predictor is moved by many times its spread, between two runs of the optimiser."""

LME4 = [
    "sleepstudy_int", "sleepstudy_slope", "sleepstudy_uncorr", "penicillin", "pastes", "dyestuff", "dyestuff2",
    "cake_numeric", "score_int", "score_slope", "rat_pup", "rat_pup_x",
]  # fmt: skip
BOTH = pytest.mark.parametrize("method", ["REML", "ML"])
KINDS = ["slopes", "uncorrelated", "crossed", "nested", "answers", "meta", "weights", "symmetry", "singular"]


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads(shared("reference/lme4.json").read_text())["lmm"]


@pytest.fixture(scope="module")
def models(golden, shared):
    made = {}

    def get(name):
        if name not in made:
            entry = golden[name]
            data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=dict.fromkeys(entry["categoricals"], str))
            made[name] = hb.Model(entry["formula"], data)
        return made[name]

    return get


def quiet(model, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        return model.reml() if method == "REML" else model.ml()


def hand(v):
    """The names that the reference file has for them, of one entry."""
    fixed, random, residual = (float(part) for part in (v.fixed[0], v.random[0].sum(), v.residual[0]))
    return {"var_fixed": fixed, "var_random": random, "var_residual": residual}


def lme4_covariance(design, expected):
    """Covariance of the random effects in our order, from lme4's rows of variances and covariances."""
    q = design.layout.q
    covariance = np.zeros((q, q))
    labels = [(block.factor.name, label) for block in design.blocks for label in block.labels]
    for row in expected:
        if row["grp"] != "Residual":
            pair = row["var1"], row["var2"] or row["var1"]
            i, j = (labels.index((our_group(row["grp"]), our_name(name))) for name in pair)
            covariance[i, j] = covariance[j, i] = row["vcov"]
    return covariance


@BOTH
@pytest.mark.parametrize("name", LME4)
def test_formulas_at_the_estimates_of_lme4(golden, models, name, method):
    design, expected = models(name).design, golden[name][method]
    fixef = pd.Series({our_name(name): value for name, value in expected["fixef"].items()})[design.labels].to_numpy()
    own = variances(
        design, fixef[None], lme4_covariance(design, expected["varcorr"])[None], np.array([expected["sigma"]])
    )
    total = float(own.total[0])
    for key, value in hand(own).items():
        assert_allclose(value, expected["r2_icc_hand"][key], rtol=FORMULA, atol=FORMULA * total, err_msg=key)


@BOTH
@pytest.mark.parametrize("name", LME4)
def test_published_icc_and_r2(golden, models, name, method):
    fit, expected = quiet(models(name), method), golden[name][method]["r2_icc_hand"]
    shares = icc(fit).set_index(["icc", "group"])["estimate"]
    explained = r2(fit).set_index("r2")["estimate"]
    assert_allclose(shares["adjusted", "all"], expected["icc_adjusted"], rtol=FITTED, atol=FITTED)
    assert_allclose(shares["conditional", "all"], expected["icc_unadjusted"], rtol=FITTED, atol=FITTED)
    assert_allclose(explained["marginal"], expected["r2_marginal"], rtol=FITTED, atol=FITTED)
    assert_allclose(explained["conditional"], expected["r2_conditional"], rtol=FITTED, atol=FITTED)
    table = variance_partition(fit).set_index("component")
    assert_allclose(table.loc[["fixed"], "variance"], expected["var_fixed"], rtol=FITTED, atol=1e-12)
    assert_allclose(table.loc[["random"], "variance"].sum(), expected["var_random"], rtol=FITTED, atol=1e-12)
    assert_allclose(table.loc[["residual"], "variance"], expected["var_residual"], rtol=FITTED)
    assert_allclose(table["share"].sum(), 1.0)


@pytest.mark.parametrize("name", KINDS)
def test_variances_are_those_of_the_dense_covariance(name):
    reml = study(name).reml
    data = dense(reml.design)
    V = response_covariance(data, reml.covariance, reml.sigma, reml.optimum.rho)
    own = variances_of(reml)
    assert_allclose(own.unexplained[0], np.diag(V).mean(), rtol=DENSE)
    assert_allclose(own.fixed[0], np.var(data.X @ reml.fixef.to_numpy(), ddof=1), rtol=DENSE, atol=1e-12)
    for k, factor in enumerate(reml.design.factors):
        only = np.zeros_like(reml.covariance)
        where = reml.design.effects_of(factor)
        only[where, where] = reml.covariance[where, where]
        part = response_covariance(data, only, 0.0, 0.0)
        assert_allclose(own.random[0, k], np.diag(part).mean(), rtol=DENSE, atol=1e-12)
        assert_allclose(own.summed[0, k], part.sum() / data.y.size, rtol=DENSE, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "symmetry"])
def test_design_effect_is_that_of_the_mean_of_the_response(name):
    reml = study(name).reml
    V = response_covariance(dense(reml.design), reml.covariance, reml.sigma)
    table = design_effect(reml).set_index("group")
    wanted = V.sum() / np.trace(V)
    assert_allclose(table.loc["all", "estimate"], wanted, rtol=DENSE)
    assert_allclose(table.loc["all", "effective_rows"], len(V) / wanted, rtol=DENSE)
    assert_allclose((table["estimate"] - 1.0).iloc[:-1].sum(), wanted - 1.0, rtol=DENSE, atol=1e-12)


def test_design_effect_of_unequal_levels_is_that_of_kish():
    data = hb.load_data("sleepstudy").iloc[:-30].drop(index=range(3, 20))
    reml = hb.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    sizes = data["Subject"].value_counts()
    share = reml.covariance[0, 0] / (reml.covariance[0, 0] + reml.sigma**2)
    row = design_effect(reml).iloc[0]
    assert sizes.min() < sizes.max()
    assert_allclose(row["rows_kish"], (sizes**2).sum() / sizes.sum())
    assert_allclose(row["estimate"], 1.0 + (row["rows_kish"] - 1.0) * share)
    assert (row["levels"], row["rows"]) == (len(sizes), sizes.mean())


@pytest.mark.parametrize("slopes", ["Days", "Days | Subject) + (1 | wave"])
def test_where_zero_is_does_not_matter(slopes):
    data = hb.load_data("sleepstudy").assign(wave=lambda d: d["Days"].astype(int).astype(str))
    slopes = slopes if "|" in slopes else f"{slopes} | Subject"
    near = quiet(hb.Model(f"Reaction ~ Days + ({slopes})", data), "REML")
    far = quiet(hb.Model(f"Reaction ~ Days + ({slopes})", data.assign(Days=data["Days"] + 2000.0)), "REML")
    assert abs(far.covariance[0, 0] / near.covariance[0, 0]) > 100  # the variance of the intercept itself does move
    for table in (icc, r2, design_effect, variance_partition):
        one, other = table(near), table(far)
        for column in set(one.columns) & {"estimate", "variance", "share"}:
            assert_allclose(other[column], one[column], rtol=MOVED, atol=MOVED * one[column].max())


def by_hand(made, take):
    """Variances of some draws from the posterior's own variables, and fitted values over the rows."""
    design, posterior = made.fit.design, made.fit.posterior
    tidy = made.fit.parameter_draws().to_numpy()[take]
    p, n = design.X.shape[1], design.n
    labels = list(made.fit.parameter_draws().columns)
    w = np.ones(n) if design.weights is None else design.weights
    for row, number in zip(tidy, take, strict=True):
        chain, draw = divmod(number, posterior.sizes["draw"])
        at = {label: value for label, value in zip(labels, row, strict=True) if label[0] != FIXED}
        fitted = design.X @ row[:p]
        fixed, random = np.var(fitted, ddof=1), {}
        for part in design.parts:
            name, block, of = part.factor.name, part.block, part.block.labels
            sd = np.array([at["ran_pars", name, f"sd({label})"] for label in of])
            Sigma = np.diag(sd**2)
            for i in range(len(of)):
                for j in range(i):
                    corr = at.get(("ran_pars", name, f"corr({of[j]}, {of[i]})"), 0.0)
                    Sigma[i, j] = Sigma[j, i] = corr * sd[i] * sd[j]
            random[name] = random.get(name, 0.0) + np.mean([z @ Sigma @ z for z in block.Z])
            effects = [posterior[f"{term.name}|{name}"].to_numpy()[chain, draw] for term in block.terms]
            fitted = fitted + sum(Z * b[part.factor.codes] for Z, b in zip(block.Z.T, effects, strict=True))
        sigma = design.sigma if design.sigma is not None else at["ran_pars", "Residual", "sigma"]
        yield fixed, random, (sigma**2 / w).mean(), np.var(fitted, ddof=1)


@pytest.mark.parametrize("name", ["slopes", "uncorrelated", "answers", "meta", "weights"])
def test_every_draw_is_split_as_by_hand(name):
    made = study(name)
    take = np.arange(0, 800, 97)
    own, bayesian = variances_of(made.fit), bayesian_r2(made.fit)
    for k, (fixed, random, residual, fitted) in zip(take, by_hand(made, take), strict=True):
        assert_allclose(own.fixed[k], fixed, rtol=DENSE, atol=1e-12)
        assert_allclose(own.random[k], list(random.values()), rtol=DENSE)
        assert_allclose(own.residual[k], residual, rtol=DENSE)
        assert_allclose(bayesian[k], fitted / (fitted + residual), rtol=DENSE)


def test_tables_of_a_posterior_are_summaries_of_its_draws():
    made = study("answers")
    v, table = variances_of(made.fit), icc(made.fit, conf_level=0.8)
    draws = v.random[:, 1] / (v.random.sum(axis=1) + v.residual)
    row = table[(table["icc"] == "adjusted") & (table["group"] == "person")].iloc[0]
    assert_allclose(row["estimate"], draws.mean())
    assert_allclose(row["std_error"], draws.std(ddof=1))
    assert_allclose([row["conf_low"], row["conf_high"]], np.quantile(draws, [0.1, 0.9]))
    explained = r2(made.fit).set_index("r2")
    assert_allclose(explained.loc["bayesian", "estimate"], bayesian_r2(made.fit).mean())
    assert explained.loc["marginal", "estimate"] < explained.loc["bayesian", "estimate"]
    assert list(table[["icc", "group"]].itertuples(index=False)) == list(
        icc(made.reml)[["icc", "group"]].itertuples(index=False)
    )


def test_posterior_agrees_with_reml_where_the_data_are_many(fit_sleepstudy):
    """The posterior of an ICC covers REML's, and is as wide as the bootstrap says within a factor."""
    reml = fit_sleepstudy.reml
    ours, theirs = icc(fit_sleepstudy), icc(reml, bootstrap=reml.bootstrap(200, seed=1, progress=False))
    assert (ours["conf_low"] < theirs["estimate"]).all()
    assert (ours["conf_high"] > theirs["estimate"]).all()
    assert ((ours["std_error"] / theirs["std_error"]).between(0.5, 2.0)).all()


def test_intervals_of_an_estimate_are_the_bootstraps():
    reml = study("answers").reml
    boot = reml.bootstrap(50, seed=2, progress=False)
    ratio = boot.apply(
        lambda fit: {"item": fit.covariance[0, 0], "rest": fit.sigma**2}  # item has intercepts only
    )
    table = variance_partition(reml, boot).set_index(["component", "group"])
    row = table.loc[("random", "item")]
    assert_allclose([row["variance_low"], row["variance_high"]], np.quantile(ratio["item"], [0.025, 0.975]))
    assert_allclose(row["variance_std_error"], ratio["item"].std(ddof=1))
    assert_allclose(row["variance"], reml.covariance[0, 0])
    assert np.isnan(variance_partition(reml)[["variance_low", "share_high"]].to_numpy()).all()


def test_replicates_that_failed_are_left_out():
    reml = study("intercepts").reml
    boot = reml.bootstrap(30, seed=3, progress=False)
    some = replace(boot, refits=replace(boot.refits, converged=boot.refits.converged & (np.arange(30) > 4)))
    kept = boot.refits.covariance[5:, 0, 0] / (boot.refits.covariance[5:, 0, 0] + boot.refits.sigma[5:] ** 2)
    assert_allclose(icc(reml, some)["std_error"].iloc[0], kept.std(ddof=1))


def test_a_number_of_replicates_makes_a_bootstrap():
    reml = study("intercepts").reml
    row = icc(reml, bootstrap=20).iloc[0]
    assert row["conf_low"] < row["estimate"] < row["conf_high"]
    with pytest.raises(ValueError, match="one of this fit"):
        icc(reml, study("slopes").reml.bootstrap(2, seed=1, progress=False))


def test_summaries_of_the_effects_leave_all_but_the_bayesian_r2():
    fit = study("crowd").fit
    table = r2(fit).set_index("r2")
    assert "summarised" in table.loc["bayesian", "meaning"]
    assert np.isnan(table.loc["bayesian", "estimate"])
    assert np.isfinite(table.loc[["marginal", "conditional"], "estimate"]).all()
    with pytest.raises(hb.DataError, match="ranef='draws'"):
        bayesian_r2(fit)


def test_without_random_effects():
    made = study("series")
    for ask in (icc, design_effect):
        with pytest.raises(hb.DataError, match="no random effects"):
            ask(made.reml)
    table = r2(made.fit).set_index("r2")["estimate"]
    assert_allclose(table["marginal"], table["conditional"])
    assert_allclose(table["bayesian"], table["marginal"])
    assert list(variance_partition(made.reml)["component"]) == ["fixed", "residual"]


def test_correlated_residuals_have_no_design_effect_here():
    with pytest.raises(hb.DataError, match=r"residual='cs\(child\)'"):
        design_effect(study("symmetry").reml)


def test_level_of_the_intervals_is_checked():
    with pytest.raises(ValueError, match="between 0 and 1"):
        icc(study("slopes").fit, conf_level=95)


@pytest.mark.parametrize("ask", ["icc", "r2", "design_effect", "variance_partition"])
def test_fits_offer_the_tables(ask):
    made = study("slopes")
    function = {"icc": icc, "r2": r2, "design_effect": design_effect, "variance_partition": variance_partition}[ask]
    pd.testing.assert_frame_equal(getattr(made.fit, ask)(), function(made.fit))
    pd.testing.assert_frame_equal(getattr(made.reml, ask)(), function(made.reml))


def test_variances_and_shares_are_of_one_bootstrap(monkeypatch):
    from hierbayes.inference import bootstrap as module

    made, whole = [], module.bootstrap
    monkeypatch.setattr(module, "bootstrap", lambda *given: made.append(whole(*given)) or made[-1])
    reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    assert reml.variance_partition(20)["share_low"].notna().all()
    assert len(made) == 1
