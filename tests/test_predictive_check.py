"""Replicates of the posterior: against a slow comparison, and for data that fit and data that do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fixtures_report import study
from numpy.testing import assert_allclose
from test_influence import quiet

import hierbayes as hb
from hierbayes.checks.check_posterior import _remedy
from hierbayes.checks.predictive_check import ALL, STATISTICS, _replicates, predictive_check

NAMES = ["slopes", "crossed", "answers", "series", "symmetry", "weights", "meta", "categories"]


def topic(check, name):
    return check.findings[check.findings["topic"] == name]


def slow(fit, draws, seed):
    """The same table by pandas, with all replicates in memory."""
    y = np.concatenate(list(_replicates(fit, draws, np.random.default_rng(seed))))
    design = fit.design
    groups = {factor.name: factor.levels[factor.codes] for factor in design.factors}
    if not groups and design.residual is not None:
        groups = {design.residual.name: design.residual.levels[design.residual.codes]}
    groups[ALL] = np.full(design.n, ALL)
    rows = []
    for name, levels in groups.items():
        for level in dict.fromkeys(sorted(levels.tolist())):
            here = levels == level
            own, made = design.y[here], y[:, here]
            kinds = {
                "mean": np.mean,
                "sd": lambda v, axis=-1: np.std(v, axis=axis, ddof=1),
                "min": np.min,
                "max": np.max,
            }
            for kind, function in kinds.items():
                if here.sum() > 1 or kind == "mean":
                    observed, found = function(own, axis=-1), function(made, axis=-1)
                    pit = (found < observed).mean() + 0.5 * (found == observed).mean()
                    rows.append((name, level, here.sum(), kind, observed, found.mean(), found.std(), pit))
    columns = ["group", "level", "rows", "statistic", "observed", "replicated", "replicated_sd", "pit"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("name", NAMES)
def test_running_comparison_is_the_comparison_of_all_replicates(name):
    fit = study(name).fit
    table, expected = predictive_check(fit, 60, seed=5), slow(fit, 60, 5)
    keys = ["group", "level", "statistic"]
    table, expected = (t.assign(level=t["level"].astype(str)).set_index(keys).sort_index() for t in (table, expected))
    assert table.index.equals(expected.index)
    assert (table["rows"] == expected["rows"]).all()
    for column in ("observed", "replicated", "replicated_sd"):
        assert_allclose(table[column].astype(float), expected[column].astype(float), rtol=1e-8, atol=1e-8)
    assert_allclose(table["pit"], expected["pit"], atol=1e-12)


def test_replicates_have_the_mean_and_the_spread_of_the_posterior(fit_sleepstudy):
    fit = fit_sleepstudy
    y = np.concatenate(list(_replicates(fit, 4000, np.random.default_rng(1))))
    assert y.shape == (4000, 180)
    posterior, factor = fit.posterior, fit.design.factors[0]
    mean = 0.0
    for k, name in enumerate(["Intercept", "Days"]):
        effect = posterior[f"{'1' if k == 0 else name}|Subject"].to_numpy().reshape(4000, -1)[:, factor.codes]
        mean = mean + fit.design.X[:, k] * (posterior[name].to_numpy().reshape(-1, 1) + effect)
    sigma = posterior["sigma"].to_numpy().ravel()
    sd = np.sqrt(mean.var(axis=0) + (sigma**2).mean())
    assert_allclose((y.mean(axis=0) - mean.mean(axis=0)) / sd, 0.0, atol=5.0 / np.sqrt(4000))
    assert_allclose(y.std(axis=0), sd, rtol=5.0 / np.sqrt(8000))


def test_without_draws_of_the_effects_they_are_drawn_again(sleepstudy, fit_sleepstudy):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    summary = model.fit(draws=1000, seed=1, ranef="summary", progress=False)
    assert "1|Subject" not in summary.posterior
    one, other = (predictive_check(fit, 2000, seed=2)["pit"] for fit in (summary, fit_sleepstudy))
    assert np.abs(one - other).max() < 5.0 * np.sqrt(2 * 0.25 / 2000)


def test_data_from_the_model_have_few_extreme_levels_and_a_wild_level_is_found():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(30), 12)
    y = rng.normal(size=30)[g] + rng.normal(size=360)
    fit = hb.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})).fit(draws=500, seed=1, progress=False)
    table = predictive_check(fit, seed=3)
    extreme = (table["pit"] < 0.025) | (table["pit"] > 0.975)
    assert extreme[table["statistic"].isin(["mean", "sd"])].sum() <= 4
    assert fit.check().worst == "ok"
    wild = np.where(g < 6, 6.0, 1.0) * rng.normal(size=360) + rng.normal(size=30)[g]
    fit = hb.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": wild, "g": g})).fit(draws=500, seed=1, progress=False)
    found = fit.check().of("warning")
    assert set(found["topic"]) == {"predictive", "residuals", "outliers"}
    assert found["finding"].str.contains("of 30 levels of g have a sd").any()


def test_series_have_their_names():
    data = study("series").model.data
    data = data.assign(child=data["child"].map("child {:02d}".format))
    model = hb.Model("size ~ age + sex", data, residual="ar1(age | child)")
    fit = quiet(lambda: model.fit(draws=100, tune=200, chains=2, seed=1, progress=False))
    series = predictive_check(fit, 20).query("group == 'child'")
    expected = sorted(set(data["child"]))
    assert list(dict.fromkeys(series["level"])) == expected
    table = fit.reml.influence()
    assert table["level"].tolist() == expected
    assert fit.reml.influence(refit="child 05")["level"].tolist() == ["child 05"]
    assert "(child " in topic(fit.reml.check(), "influence")["finding"].iloc[0]
    some = model.design.only(data["child"].isin(expected[3:5]).to_numpy())
    assert some.groupings[0].levels.tolist() == expected[3:5]


def remedies(y, g, formula="y ~ 1 + (1 | g)", **columns):
    fit = hb.Model(formula, pd.DataFrame({"y": y, "g": g, **columns})).fit(
        draws=300, tune=300, chains=2, seed=1, progress=False
    )
    found = topic(fit.check(), "predictive")
    return {kind: found[found["finding"].str.contains(rf"a {kind} that|The {kind} of all")] for kind in STATISTICS}


def test_the_remedy_follows_from_what_is_extreme():
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(24), 15)
    x = rng.normal(size=360)
    level = rng.normal(size=24)[g]
    slopes = remedies(level + 2.0 * rng.normal(size=24)[g] * x + rng.normal(size=360), g, "y ~ x + (1 | g)", x=x)
    assert slopes["sd"]["next"].str.contains("random slope may be missing").all()
    assert len(slopes["sd"])
    skewed = remedies(level + rng.exponential(2.0, size=360), g)
    assert skewed["min"]["next"].str.contains("lower tail is shorter than a normal one").any()
    assert not pd.concat(list(skewed.values()))["next"].str.contains("these rows").any()


def test_longer_and_shorter_tails_are_told_apart():
    assert "upper tail is longer" in _remedy("max", 0, 3)
    assert "upper tail is shorter" in _remedy("max", 3, 3)
    assert "lower tail is longer" in _remedy("min", 3, 3)
    assert "lower tail is shorter" in _remedy("min", 0, 3)
    assert "differ between levels" in _remedy("min", 2, 3)


def test_draws_are_counted():
    with pytest.raises(ValueError, match="draws must be a positive whole number"):
        predictive_check(study("slopes").fit, 1.5)
