"""Tables behind the figures that show both inferences: against closed forms, lme4, SciPy and brute force."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fixtures_figures import GRADES, family_study
from fixtures_report import study
from numpy.testing import assert_allclose
from scipy import integrate, stats

import hierbayes as hb
from hierbayes.errors import DataError, HierbayesError, HierbayesWarning
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE
from hierbayes.partial_pooling.shrinkage import group_lines
from hierbayes.priors import Prior
from hierbayes.side_by_side.density import bandwidth, density
from hierbayes.side_by_side.plane import outline
from hierbayes.side_by_side.prior_posterior import _increasing, _priors
from hierbayes.side_by_side.residuals import EXPECTED_ROOT

EXACT = 1e-10
"""Relative, of the same formula evaluated another way."""
LME4 = 2e-3
"""Relative, of lme4's profile intervals, which it interpolates (see test_profile)."""
SIMULATED = 4.0
"""Standard errors by which a simulation may miss."""
CURVE = 5e-3
"""Of areas under curves that are known at 201 points."""


LME4_NAMES = {
    "sd_(Intercept)|Subject": "sd(Intercept)",
    "sd_Days|Subject": "sd(Days)",
    "cor_Days.(Intercept)|Subject": "corr(Intercept, Days)",
    "sigma": "sigma",
}


# --- densities --------------------------------------------------------------------------------------


def test_density_is_scipys_with_the_same_bandwidth():
    draws = np.random.default_rng(1).normal(3.0, 2.0, 700)
    at = np.linspace(-5.0, 12.0, 60)
    theirs = stats.gaussian_kde(draws, bw_method=bandwidth(draws) / draws.std(ddof=1))(at)
    assert_allclose(density(draws, at), theirs, rtol=1e-9)


@pytest.mark.parametrize(("low", "high", "law"), [
    (0.0, np.inf, stats.halfnorm()), (-1.0, 1.0, stats.uniform(-1.0, 2.0)), (0.0, np.inf, stats.expon()),
])  # fmt: skip
def test_density_keeps_its_mass_and_its_height_at_a_boundary(low, high, law):
    draws = law.rvs(6000, random_state=3)
    at = np.linspace(low, min(high, draws.max() + 1.0), 801)
    found = density(draws, at, low, high)
    assert_allclose(np.trapezoid(found, at), 1.0, atol=1e-3)
    assert_allclose(found[0], law.pdf(low), rtol=0.12)  # half of it without reflection


def test_draws_that_are_all_the_same_have_no_density():
    assert np.isnan(density(np.ones(50), np.linspace(0.0, 2.0, 5))).all()


# --- level effects ----------------------------------------------------------------------------------


def test_level_effects_are_those_of_both_fits():
    made = study("answers")
    table = hb.level_effects(made.fit)
    assert_allclose(table[["blup", "blup_sd", "mean", "q97.5"]], made.table[["blup", "blup_sd", "mean", "q97.5"]])
    assert list(table["rows"]) == list(made.table["rows"])
    other = family_study("counts")
    table = hb.level_effects(other.fit, other.ml)
    slopes = table[table["effect"] == "x"].set_index("level")
    assert_allclose(slopes["blup"], other.ml.ranef["site"]["x"])
    assert_allclose(slopes["mean"], other.fit.posterior["x|site"].mean(["chain", "draw"]))
    assert "blup" not in hb.level_effects(other.fit)


def test_a_maximum_of_another_model_is_refused():
    with pytest.raises(DataError, match="two fits of one model"):
        hb.level_effects(study("slopes").fit, study("uncorrelated").reml)
    with pytest.raises(DataError, match="no random effects"):
        hb.level_effects(study("series").fit)
    made = study("slopes")
    same = hb.Model("Reaction~Days+(Days|Subject)", made.model.data).reml()
    assert_allclose(hb.level_effects(made.fit, same)["blup"], hb.level_effects(made.fit)["blup"])
    later = made.model.data.assign(Days=lambda data: data["Days"] + 1)
    with pytest.raises(DataError, match="other predictors"):
        hb.level_effects(made.fit, hb.Model(made.model.formula, later).reml())


@pytest.mark.parametrize("function", [hb.level_effects, hb.plane, hb.profiles, hb.prior_posterior, hb.pooling_lines])
def test_what_needs_a_posterior_says_so(function):
    with pytest.raises(HierbayesError, match=f"{function.__name__} needs a posterior, .* not a RemlFit"):
        function(study("slopes").reml)


# --- the plane --------------------------------------------------------------------------------------


def test_ellipses_hold_their_share_of_levels():
    covariance = np.array([[4.0, -1.2], [-1.2, 1.0]])
    drawn = np.random.default_rng(5).multivariate_normal(np.zeros(2), covariance, 40_000)
    distance = np.einsum("ni,ij,nj->n", drawn, np.linalg.inv(covariance), drawn)
    for p in (0.5, 0.95):
        points = outline(covariance, p)
        radii = np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points)
        assert_allclose(radii, radii[0], rtol=EXACT)
        error = np.sqrt(p * (1 - p) / len(drawn))
        assert abs((distance < radii[0]).mean() - p) < SIMULATED * error


def test_plane_has_lme4s_covariance_and_the_mean_of_the_draws(shared):
    reference = json.loads(shared("reference/lme4.json").read_text())["lmm"]["sleepstudy_slope"]["REML"]
    made = study("slopes")
    found = hb.plane(made.fit)
    theirs = {(row["var1"], row["var2"] if isinstance(row["var2"], str) else None): row["vcov"]
              for row in _rows(reference["varcorr"]) if row["grp"] == "Subject"}  # fmt: skip
    expected = [
        [theirs["(Intercept)", None], theirs["(Intercept)", "Days"]],
        [theirs["(Intercept)", "Days"], theirs["Days", None]],
    ]
    assert_allclose(found.covariances["REML"], expected, rtol=1e-4)
    posterior = made.fit.posterior
    sds = np.stack([posterior[f"{term}|Subject_sigma"].to_numpy().ravel() for term in ("1", "Days")], axis=1)
    corr = posterior["Subject_corr"].to_numpy().reshape(-1, 2, 2)
    assert_allclose(found.covariances["posterior"], (sds[:, :, None] * corr * sds[:, None]).mean(axis=0), rtol=EXACT)
    assert found.singular == ()
    assert found.note == ""


def _rows(table):
    """Rows of a table, whether it was written by rows or by columns."""
    return table if isinstance(table, list) else pd.DataFrame(table).to_dict("records")


def test_plane_has_the_effects_of_the_shrinkage_table():
    made = study("answers")
    found = hb.plane(made.fit, "x", "Intercept")
    assert (found.group, found.x, found.y, found.total) == ("person", "x", "Intercept", 20)
    part = made.table[(made.table["group"] == "person") & (made.table["effect"] == "x")].set_index("level")
    for name, column in {"no pooling": "no_pooling", "REML": "blup", "posterior": "mean"}.items():
        own = found.table[found.table["inference"] == name].set_index("level")["x"]
        assert_allclose(own, part.loc[own.index, column])
    assert np.isclose(found.correlations["REML"], made.reml.varcorr.query("group == 'person'")["sdcor"].iloc[-1])


def test_plane_of_many_levels_keeps_some():
    found = hb.plane(study("crowd").fit, most=50)
    assert (found.shown, found.total) == (50, 10_000)
    x = found.table.query("inference == 'posterior'")["x"]
    every = study("crowd").table.query("effect == 'Intercept'")["mean"]
    assert {x.min(), x.max()} == {every.min(), every.max()}


@pytest.fixture(scope="module")
def singular():
    """A fit by REML with a correlation of one."""
    rng = np.random.default_rng(4)
    g, x, b = np.repeat(np.arange(10), 6), np.tile(np.arange(6), 10), rng.normal(size=10)
    data = pd.DataFrame({"g": g, "x": x, "y": 1 + x + b[g] * (1 + 0.3 * x) + rng.normal(size=60) * 0.6})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return hb.Model("y ~ x + (x | g)", data).fit(draws=100, tune=200, seed=1, progress=False)


def test_a_singular_covariance_is_a_line_and_is_said(singular):
    found = hb.plane(singular)
    assert found.singular == ("REML",)
    assert found.note == "By REML the correlation is 1, so the ellipse is a line."
    line = found.ellipses.query("inference == 'REML'")[["x", "y"]].to_numpy()
    sd = np.sqrt(np.diag(found.covariances["REML"]))
    assert_allclose(line[:, 1], line[:, 0] * sd[1] / sd[0], atol=1e-6)
    wide = found.ellipses.query("inference == 'posterior'")[["x", "y"]].to_numpy()
    assert np.abs(wide[:, 1] - wide[:, 0] * sd[1] / sd[0]).max() > 0.1


def test_a_plane_needs_two_effects():
    with pytest.raises(DataError, match="one effect a level"):
        hb.plane(study("intercepts").fit)
    with pytest.raises(DataError, match="no effect 'days'"):
        hb.plane(study("slopes").fit, "days")
    with pytest.raises(DataError, match="'item' have one effect"):
        hb.plane(study("answers").fit, group="item")
    with pytest.raises(DataError, match="no grouping factor 'Subjects'"):
        hb.plane(study("slopes").fit, group="Subjects")
    with pytest.raises(DataError, match="two different effects"):
        hb.plane(study("slopes").fit, "Days", "Days")
    for function in (hb.plane, hb.pooling_lines):
        with pytest.raises(ValueError, match="most must be at least 1, not 0"):
            function(study("slopes").fit, most=0)


# --- prior and posterior ----------------------------------------------------------------------------


def _law(fit, effect, group, term):
    return next(law for key, _, law, *_ in _priors(fit) if key == (effect, group, term))


def _below(law, value, low):
    return integrate.quad(lambda v: float(law(np.array([v]))[0]), low, value, limit=400)[0]


def test_prior_densities_are_those_that_the_prior_draws_follow():
    made = study("slopes")
    prior = made.model.prior_predictive(draws=4000, seed=2)["prior"].to_dataset()
    drawn = {
        (FIXED, "", "Intercept"): prior["Intercept"],
        (FIXED, "", "Days"): prior["Days"],
        (VARIANCE, "Subject", "sd(Days)"): prior["Days|Subject_sigma"],
        (VARIANCE, "Subject", "corr(Intercept, Days)"): prior["Subject_corr"][..., 0, 1],
        (VARIANCE, RESIDUAL, "sigma"): prior["sigma"],
    }
    for key, draws in drawn.items():
        draws = draws.to_numpy().ravel()
        law = _law(made.fit, *key)
        low = {FIXED: -np.inf, VARIANCE: -1.0 if "corr" in key[2] else 0.0}[key[0]]
        centre = np.quantile(draws, [0.25, 0.5, 0.75])
        for value in centre:
            below = _below(law, value, max(low, centre[1] - 60 * (centre[2] - centre[0])))
            share = (draws < value).mean()
            assert abs(below - share) < SIMULATED * np.sqrt(0.25 / len(draws)), (key, value)


def test_the_intercept_of_centred_predictors_is_a_mixture_where_priors_are_not_normal():
    import bambi as bmb

    data = hb.load_data("sleepstudy")
    priors = {"Days": bmb.Prior("StudentT", nu=4, mu=2.0, sigma=5.0)}
    model = hb.Model("Reaction ~ Days + (1 | Subject)", data, priors=priors)
    law = _law(SimpleNamespace(design=model.design, priors=model.priors), FIXED, "", "Intercept")
    drawn = model.prior_predictive(draws=4000, seed=3)["prior"]["Intercept"].to_numpy().ravel()
    for value in np.quantile(drawn, [0.2, 0.5, 0.8]):
        below = _below(law, value, np.median(drawn) - 30 * drawn.std())
        # both the density and the share are simulated
        assert abs(below - (drawn < value).mean()) < SIMULATED * np.sqrt(0.5 / len(drawn))


def test_increasing_thresholds_follow_their_closed_form():
    """Of two, the lower has density φ(t) (1 - Φ(t - 1)) over the probability that they increase."""
    pair = (Prior("Normal", {"mu": 0.0, "sigma": 1.0}), Prior("Normal", {"mu": 1.0, "sigma": 1.0}))
    drawn = _increasing(pair)
    whole = stats.norm.cdf(1.0 / np.sqrt(2.0))
    mean = integrate.quad(lambda t: t * stats.norm.pdf(t) * stats.norm.sf(t - 1.0), -9, 9)[0] / whole
    assert (np.diff(drawn, axis=1) > 0).all()
    assert abs(drawn[:, 0].mean() - mean) < SIMULATED * drawn[:, 0].std() / np.sqrt(len(drawn))


def test_every_parameter_has_its_row_its_curves_and_its_maximum():
    made = study("answers")
    found = hb.prior_posterior(made.fit)
    assert list(found.table["term"]) == list(made.fit.tidy()["term"])
    assert_allclose(found.table["maximum"], made.reml.tidy()["estimate"])
    assert_allclose(found.table["mean"], made.fit.tidy()["estimate"])
    for _, curve in found.densities.query("which == 'posterior'").groupby(["effect", "term", "group"], dropna=False):
        assert_allclose(np.trapezoid(curve["density"], curve["value"]), 1.0, atol=CURVE)
    assert found.method == "REML"
    assert "sd(x)" in repr(found)


def test_families_have_priors_of_their_own_parameters():
    made = family_study("grades")
    found = hb.prior_posterior(made.fit, made.ml)
    assert list(found.table["term"][-3:]) == ["threshold[0]", "threshold[1]", "threshold[2]"]
    assert found.table["maximum"].notna().all()
    assert set(found.table["note"][-3:]) == {"restricted to increasing thresholds"}
    assert hb.prior_posterior(made.fit).table["maximum"].isna().all()


def test_a_flat_prior_has_no_curve_and_says_so():
    import bambi as bmb

    model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"), priors={"Intercept": bmb.Prior("Flat")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        found = hb.prior_posterior(model.fit(draws=100, tune=200, seed=1, progress=False))
    assert found.table["note"][0] == "the prior is flat"
    assert set(found.densities.query("term == 'Intercept'")["which"]) == {"posterior"}


# --- profiles ---------------------------------------------------------------------------------------


def test_profiles_fall_to_their_limit_at_lme4s_ends(shared):
    ends = json.loads(shared("reference/lme4.json").read_text())["lmm"]["sleepstudy_slope"]["profile95"]
    found = hb.profiles(study("slopes").fit)
    limit = np.exp(-0.5 * stats.norm.ppf(0.975) ** 2)
    for theirs, term in LME4_NAMES.items():
        curve = found.table[(found.table["which"] == "profile") & (found.table["term"] == term)]
        assert_allclose(np.interp(ends[theirs], curve["value"], curve["relative"]), limit, rtol=0.02)
        row = found.intervals[found.intervals["term"] == term].iloc[0]
        assert row["which"] == "profile"
        assert_allclose(row[["conf_low", "conf_high"]].astype(float), ends[theirs], rtol=LME4)
        assert_allclose(np.trapezoid(curve["density"], curve["value"]), 1.0, rtol=EXACT)
        assert curve["relative"].max() == 1.0


def test_estimates_and_intervals_are_those_of_both_fits():
    made = study("slopes")
    found = hb.profiles(made.fit, ["sigma", "Days"], 0.9)
    assert set(found.table["term"]) == {"sigma", "Days"}
    for which, tidy in {"profile": made.reml.tidy(), "posterior": made.fit.tidy(0.9)}.items():
        rows = found.intervals[found.intervals["which"] == which].set_index("term")
        expected = tidy.set_index("term").loc[rows.index]
        assert_allclose(rows["estimate"], expected["estimate"])
        if which == "posterior":
            assert_allclose(rows[["conf_low", "conf_high"]], expected[["conf_low", "conf_high"]])


def test_a_profile_that_ends_on_the_boundary_says_so():
    found = hb.profiles(study("singular").fit)
    row = found.intervals.iloc[0]
    assert (row["estimate"], row["conf_low"]) == (0.0, 0.0)
    assert "lower end on the boundary" in row["note"]
    curve = found.table.query("which == 'profile' and term == 'sd(Intercept)'")
    assert curve["value"].min() == 0.0
    assert curve["relative"].iloc[0] == 1.0


def test_profiles_refuse_what_they_cannot_do():
    with pytest.raises(DataError, match="Gaussian"):
        hb.profiles(family_study("herds").fit)
    with pytest.raises(ValueError, match=r"no parameter 'sd\(days\)'"):
        hb.profiles(study("slopes").fit, ["sd(days)"])
    with pytest.raises(ValueError, match="between 0 and 1"):
        hb.profiles(study("slopes").fit, conf_level=95)
    assert set(hb.profiles(study("slopes").fit, "sigma").table["term"]) == {"sigma"}


# --- posterior predictive ---------------------------------------------------------------------------


def test_predictive_intervals_of_rows_are_those_of_replicates_from_elsewhere():
    made = study("intercepts")
    found = hb.predictive(made.fit, draws=800)
    data = made.model.data
    replicates = made.fit.posterior_predictive(seed=5)["posterior_predictive"]["Yield"].to_numpy().reshape(-1, 30)
    for row in found.levels.itertuples():
        here = (data["Batch"] == row.level).to_numpy()
        assert_allclose(row.observed, data.loc[here, "Yield"].mean())
        drawn = replicates[:, here]
        expected = np.quantile(drawn, [0.025, 0.5, 0.975])
        # standard error of a quantile of 800 draws, those of one draw being about as many as one
        tail = 2.0 * drawn.std() * np.sqrt(0.025 * 0.975 / 800) / stats.norm.pdf(stats.norm.ppf(0.025))
        own = found.levels.loc[row.Index, ["q2.5", "q50", "q97.5"]].astype(float)
        assert (np.abs(own - expected) < SIMULATED * tail).all()
        seen = data.loc[here, "Yield"]
        assert row.inside == seen.between(own["q2.5"], own["q97.5"]).sum()
    assert list(found.levels["observed"]) == sorted(found.levels["observed"])


def test_proportions_are_successes_over_trials():
    made = family_study("herds")
    found = hb.predictive(made.fit)
    data = hb.load_data("cbpp").groupby("herd")[["incidence", "size"]].sum()
    shares = (data["incidence"] / data["size"]).rename(str)
    assert found.kind == "proportions"
    assert_allclose(found.levels["observed"], shares[found.levels["level"]])
    assert found.levels["q2.5"].min() >= 0
    assert found.levels["q97.5"].max() <= 1
    assert found.inside > 0.8


def test_shares_of_categories_add_up():
    made = family_study("grades")
    found = hb.predictive(made.fit)
    data = made.model.data
    expected = pd.crosstab(data["g"].astype(str), data["y"], normalize="index")
    own = found.levels.pivot_table(index="level", columns="category", values="observed", observed=True)
    assert_allclose(own[GRADES], expected.loc[own.index, GRADES])


def test_many_levels_are_thinned_and_counted():
    found = hb.predictive(study("crowd").fit, most=10, draws=20)
    assert (found.shown, found.total) == (10, 10_000)
    assert "10 of 10,000 levels" in repr(found)
    assert found.replicates["observed_data"]["y"].size <= 2000


def test_predictive_refuses_what_is_not_there():
    with pytest.raises(DataError, match="no grouping factor 'batch'"):
        hb.predictive(study("intercepts").fit, "batch")
    with pytest.raises(ValueError, match="most must be"):
        hb.predictive(study("intercepts").fit, most=0)


def test_a_series_of_correlated_residuals_is_a_group():
    found = hb.predictive(study("series").fit, most=5)
    assert (found.group, found.shown, found.total) == ("child", 5, 30)


# --- residuals --------------------------------------------------------------------------------------


def test_the_envelope_holds_95_percent_of_normal_values_at_every_rank():
    n = 30
    made = hb.residual_panel(study("intercepts").reml)
    assert len(made.qq) == n
    drawn = np.sort(np.random.default_rng(6).normal(size=(8000, n)), axis=1)
    inside = ((drawn >= made.qq["low"].to_numpy()) & (drawn <= made.qq["high"].to_numpy())).mean(axis=0)
    assert (np.abs(inside - 0.95) < SIMULATED * np.sqrt(0.95 * 0.05 / 8000)).all()


def test_the_expected_root_is_the_integral():
    found = integrate.quad(lambda z: np.sqrt(abs(z)) * stats.norm.pdf(z), -12, 12, points=[0])[0]
    assert_allclose(EXPECTED_ROOT, found, rtol=1e-7)


def test_residuals_are_those_of_the_fit():
    made = study("slopes")
    panel = hb.residual_panel(made.reml)
    table = made.reml.residuals_table()
    assert_allclose(panel.table["residual"], table["standardised"])
    assert_allclose(panel.table["fitted"], table["fitted"])
    by = panel.table.groupby("level")["residual"].median()
    assert_allclose(panel.levels.set_index("level")["q50"], by[panel.levels["level"]])
    assert panel.levels["q50"].is_monotonic_increasing
    pit = made.fit.loo_pit().to_numpy()
    assert_allclose(hb.residual_panel(made.fit).table["residual"], stats.norm.ppf(pit), rtol=1e-6)


def test_the_trend_is_a_mean_of_neighbours():
    panel = hb.residual_panel(study("slopes").reml)
    known = panel.table.sort_values("fitted")
    assert_allclose(panel.trend.iloc[0], known.iloc[:60][["fitted", "residual", "root"]].mean())
    assert_allclose(panel.trend.iloc[-1], known.iloc[-60:][["fitted", "residual", "root"]].mean())


def test_quantile_residuals_of_families():
    made = family_study("herds")
    panel = hb.residual_panel(made.ml, seed=3)
    assert panel.kind == "quantile residual"
    assert_allclose(panel.table["residual"], made.ml.residuals_table(3)["quantile"])
    assert hb.residual_panel(family_study("grades").ml).trend.empty


# --- lines and notebooks ----------------------------------------------------------------------------


def test_without_a_maximum_there_is_no_column_of_it():
    found = hb.prior_posterior(family_study("herds").fit)
    assert "maximum" in found.table
    assert "maximum" not in repr(found) + found._repr_html_()


def test_a_mean_of_nearly_nothing_has_no_sign():
    panel = hb.residual_panel(study("slopes").reml)
    panel.table["residual"] -= panel.table["residual"].mean() + 1e-4
    assert "mean 0.00" in repr(panel)


def test_lines_are_those_of_the_report():
    made = study("slopes")
    found = hb.pooling_lines(made.fit)
    expected = group_lines(made.reml, made.fit, made.table, made.model.data)
    pd.testing.assert_frame_equal(found.lines, expected.lines)
    with pytest.raises(DataError, match="no one numeric predictor"):
        hb.pooling_lines(study("intercepts").fit)
    with pytest.raises(DataError, match="Gaussian"):
        hb.pooling_lines(family_study("herds").fit)


def test_notebooks_show_tables():
    fit = study("slopes").fit
    for found, word in {
        hb.plane(fit): "Correlation of the effects",
        hb.prior_posterior(fit): "HalfNormal",
        hb.profiles(fit, ["sigma"]): "profile likelihood",
        hb.predictive(fit): "308",
        hb.residual_panel(fit.reml): "standardised residuals",
    }.items():
        text = found._repr_html_()
        assert text.startswith('<div class="hb-panel">')
        assert "<table" in text
        assert word in text
