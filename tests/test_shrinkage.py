"""Shrinkage against least squares by hand and against the closed form of a balanced design."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from fixtures_report import LEVELS, study
from numpy.testing import assert_allclose
from oracle import conditional_effects, dense

import hierbayes as hb
from hierbayes.errors import ConvergenceWarning, HierbayesWarning
from hierbayes.partial_pooling.disagreement import APART
from hierbayes.partial_pooling.shrinkage import (
    COMPLETE,
    NONE,
    POSTERIOR,
    REML,
    ROWS_SHOWN,
    group_lines,
    no_pooling,
    shrinkage,
    slope_predictor,
)

DENSE = 1e-8
"""Relative, against dense matrices."""


def test_no_pooling_is_least_squares_within_each_level():
    made = study("slopes")
    data = made.model.data
    own = [np.polyfit(part["Days"], part["Reaction"], 1)[::-1] for _, part in data.groupby("Subject")]
    assert_allclose(no_pooling(made.reml)["Subject"], np.array(own) - made.reml.fixef.to_numpy(), atol=1e-8)


def test_table_holds_what_the_fits_say():
    made = study("slopes")
    table, levels = made.table, made.model.design.factors[0].levels
    assert list(table.columns) == [
        "group", "effect", "level", "rows", "no_pooling", "no_pooling_sd", "blup", "blup_sd", "mean", "sd", "q2.5",
        "q97.5", "pooling", "effective_rows", "differs", "why", "note",
    ]  # fmt: skip
    assert len(table) == 36
    assert set(table["group"]) == {"Subject"}
    for effect in ("Intercept", "Days"):
        part = table[table["effect"] == effect].set_index("level")
        assert list(part.index) == list(levels)
        assert_allclose(part["blup"], made.reml.ranef["Subject"][effect])
        assert_allclose(part["blup_sd"], made.reml.ranef_sd["Subject"][effect])
        posterior = made.fit.ranef()["Subject"].xs(effect, level="term")
        for column in ("mean", "sd", "q2.5", "q97.5"):
            assert_allclose(part[column], posterior[column])
    assert (table["rows"] == 10).all()


def test_balanced_intercepts_shrink_by_the_textbook_factor():
    made = study("intercepts")
    tau, sigma = made.reml.varcorr["sdcor"]
    factor = tau**2 / (tau**2 + sigma**2 / 5)
    assert 0.5 < factor < 0.9
    assert_allclose(made.table["blup"], factor * made.table["no_pooling"])
    assert_allclose(made.table["pooling"], 1.0 - factor)
    assert_allclose(made.table["no_pooling_sd"], sigma / np.sqrt(5))
    assert_allclose(made.table["effective_rows"], 5 + sigma**2 / tau**2)


def test_levels_with_more_rows_are_pooled_less():
    data = hb.load_data("sleepstudy").drop(index=range(3, 20)).drop(index=range(25, 30))
    fit = hb.Model("Reaction ~ Days + (1 | Subject)", data).fit(draws=500, tune=500, seed=1, progress=False)
    tau, sigma = fit.reml.varcorr["sdcor"]
    table = fit.shrinkage()
    assert sorted(set(table["rows"])) == [3, 5, 10]
    assert_allclose(table["pooling"], (sigma**2 / table["rows"]) / (sigma**2 / table["rows"] + tau**2))
    assert_allclose(table["blup"], (1.0 - table["pooling"]) * table["no_pooling"])
    assert_allclose(table["effective_rows"], table["rows"] + sigma**2 / tau**2)


def test_correlated_effects_are_pooled_together():
    made = study("slopes")
    sigma, Sigma = made.reml.sigma, made.reml.covariance
    Z = np.column_stack([np.ones(10), np.arange(10)])
    C = np.linalg.inv(np.linalg.inv(Sigma) + Z.T @ Z / sigma**2)
    own, blup, pooling, rows = (
        made.table[column].to_numpy().reshape(2, 18) for column in ("no_pooling", "blup", "pooling", "effective_rows")
    )
    assert_allclose(blup, (np.eye(2) - C @ np.linalg.inv(Sigma)) @ own, rtol=DENSE)
    assert_allclose(pooling, np.repeat(np.diag(C) / np.diag(Sigma), 18).reshape(2, 18), rtol=DENSE)
    wanted = 10 * sigma**2 * np.diag(np.linalg.inv(Z.T @ Z)) / np.diag(C)
    assert_allclose(rows, np.repeat(wanted, 18).reshape(2, 18), rtol=DENSE)


@pytest.mark.parametrize("name", ["slopes", "crossed", "nested", "answers", "weights", "symmetry"])
def test_pooling_of_every_factor_is_what_the_data_leave_of_the_variance(name):
    made = study(name)
    design, reml = made.model.design, made.reml
    data = dense(design)
    _, left = conditional_effects(data, reml.covariance, reml.sigma, reml.fixef.to_numpy(), reml.optimum.rho)
    for k, factor in enumerate(design.factors):
        table = made.table[made.table["group"] == factor.name]
        q = np.diag(reml.covariance)[design.effects_of(factor)]
        wanted = np.diag(left)[data.slots(k)] / q
        assert_allclose(table["pooling"], wanted.T.ravel(), rtol=DENSE)
        assert table["pooling"].between(0.0, 1.0).all()
        known = table["no_pooling"].notna()
        assert_allclose(
            table["effective_rows"][known],
            (table["rows"] * table["no_pooling_sd"] ** 2)[known] / np.diag(left)[data.slots(k)].T.ravel()[known],
            rtol=DENSE,
        )
        assert table.loc[~known, ["no_pooling_sd", "effective_rows"]].isna().all(axis=None)


def test_standard_error_without_pooling_is_that_of_weighted_least_squares():
    made = study("weights")
    design, table = made.model.design, made.table.set_index(["level", "effect"])
    here = design.factors[0].codes == 4
    Z = np.column_stack([np.ones(here.sum()), made.model.data["Days"][here]])
    error = made.reml.sigma * np.sqrt(np.diag(np.linalg.inv((Z * design.weights[here, None]).T @ Z)))
    assert_allclose(table.loc[design.factors[0].levels[4], "no_pooling_sd"], error)


def test_levels_that_reml_and_posterior_see_differently_have_a_reason():
    made = study("singular")
    far = made.table["differs"].abs() > APART
    assert_allclose(made.table["differs"], (made.table["mean"] - made.table["blup"]) / made.table["sd"])
    assert ((made.table["why"] != "") == far).all()
    assert made.table.loc[far, "why"].str.startswith("boundary: ").all()


def test_the_module_and_the_fit_give_the_same_table():
    made = study("crossed")
    pd.testing.assert_frame_equal(hb.shrinkage(made.reml, made.fit), made.table)
    pd.testing.assert_frame_equal(made.fit.shrinkage(), made.table)


def test_a_singular_fit_pools_completely_but_the_levels_keep_their_own_estimates():
    made = study("singular")
    means = made.model.data.groupby("Batch")["Yield"].mean()
    assert_allclose(made.table["blup"], 0.0, atol=1e-12)
    assert (made.table["pooling"] == 1.0).all()
    assert np.isposinf(made.table["effective_rows"]).all()
    assert_allclose(made.table["no_pooling"], means - made.model.data["Yield"].mean())


@pytest.fixture(scope="module")
def correlated():
    """Slopes that follow the intercepts exactly, so that REML finds a correlation of one; both fits."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(8), 6), np.tile(np.arange(6.0), 8)
    b = 2.0 * rng.normal(size=8)
    data = pd.DataFrame({"g": g, "x": x, "y": b[g] * (1.0 + 0.2 * x) + rng.normal(size=48)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        model = hb.Model("y ~ x + (x | g)", data)
        return model.reml(), model.fit(draws=200, tune=300, seed=1, progress=False)


def test_where_reml_takes_a_combination_as_known_pooling_has_no_figure(correlated):
    reml, fit = correlated
    assert reml.singular
    assert (np.diag(reml.covariance) > 0).all()
    table = shrinkage(reml, fit)
    assert table[["pooling", "effective_rows"]].isna().all(axis=None)
    assert table["note"].str.contains("one combination of the correlated effects as known").all()
    assert table[["no_pooling", "blup", "differs"]].notna().all(axis=None)
    assert (study("slopes").table["note"] == "").all()
    assert study("slopes").table[["pooling", "effective_rows"]].notna().all(axis=None)


def test_the_boundary_is_said_to_be_of_a_combination(correlated):
    """No standard deviation is zero, so nothing says so."""
    reasons = correlated[1].disagreements()["why"]
    found = reasons[reasons.str.startswith("boundary: ")]
    assert len(found)
    assert found.str.contains("for REML some combination of the effects of 'g' has no variance").all()


def test_levels_without_an_estimate_of_their_own_are_missing():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), 4)
    x = rng.normal(size=120)
    x[g == 5] = 1.25  # no variation within the level
    b = rng.normal(size=(30, 2))
    data = pd.DataFrame({"g": g, "x": x, "y": b[g, 0] + (1 + b[g, 1]) * x + rng.normal(size=120)})
    data = data.drop(index=data.index[g == 9][1:])  # one row
    data = data.drop(index=data.index[data["g"] == 12][2:])  # two rows: a line through both
    reml = hb.Model("y ~ x + (x | g)", data).reml()
    own = no_pooling(reml)["g"]
    assert sorted(set(np.flatnonzero(np.isnan(own).any(axis=1)))) == [5, 9]
    assert np.isnan(own[[5, 9]]).all()
    here = data[data["g"] == 12]
    assert_allclose(own[12] + reml.fixef.to_numpy(), np.polyfit(here["x"], here["y"], 1)[::-1])


def test_a_predictor_far_from_zero_costs_no_digits():
    data = hb.load_data("sleepstudy")
    near = no_pooling(hb.Model("Reaction ~ Days + (Days | Subject)", data).reml())["Subject"]
    moved = data.assign(Days=data["Days"] + 2000)
    far = no_pooling(hb.Model("Reaction ~ Days + (Days | Subject)", moved).reml())["Subject"]
    assert_allclose(far[:, 1], near[:, 1], atol=1e-6)


def test_ten_thousand_levels():
    made = study("crowd")
    assert len(made.table) == 2 * LEVELS
    alone = made.table["rows"] == 1
    assert made.table.loc[alone, "no_pooling"].isna().all()
    assert made.table.loc[made.table["rows"] > 1, "no_pooling"].notna().all()
    assert np.isfinite(made.table[["blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"]].to_numpy()).all()


NESTED = {"nested": {"batch": ["batch:cask"]}}
"""Factors that are part of the levels of another."""


@pytest.mark.parametrize("name", ["crossed", "nested", "answers", "meta", "weights", "symmetry"])
def test_no_pooling_of_every_factor_is_weighted_least_squares_on_what_the_others_leave(name):
    made = study(name)
    design, reml = made.model.design, made.reml
    w = np.ones(design.n) if design.weights is None else design.weights
    offset = 0.0 if design.offset is None else design.offset
    columns = {
        factor.name: np.concatenate([block.Z for block in design.blocks if block.factor is factor], axis=1)
        for factor in design.factors
    }
    for factor in design.factors:
        left = design.y - offset - design.X @ reml.fixef.to_numpy()
        for other in design.factors:
            if other is not factor and other.name not in NESTED.get(name, {}).get(factor.name, []):
                effects = reml.ranef[other.name].loc[other.levels[other.codes]].to_numpy()
                left = left - (columns[other.name] * effects).sum(axis=1)
        table = made.table[made.table["group"] == factor.name]
        own = table.set_index(["level", "effect"])["no_pooling"]
        for j, level in enumerate(factor.levels):
            here = factor.codes == j
            Z = columns[factor.name][here] * np.sqrt(w[here])[:, None]
            if np.linalg.matrix_rank(Z) < Z.shape[1]:
                assert own[level].isna().all()
                continue
            wanted = np.linalg.lstsq(Z, left[here] * np.sqrt(w[here]))[0]
            assert_allclose(own[level], wanted, rtol=1e-6, atol=1e-8)
            assert (table.loc[table["level"] == level, "rows"] == here.sum()).all()


def test_a_batch_without_pooling_is_its_mean_although_its_casks_are_in_the_model():
    made = study("nested")
    table = made.table.set_index(["group", "level"])
    data = made.model.data
    mean = made.reml.fixef["Intercept"]
    batches = data.groupby("batch")["strength"].mean()
    assert_allclose(table.loc["batch", "no_pooling"], batches - mean)
    casks = data.groupby(data["batch"] + ":" + data["cask"])["strength"].mean()
    around = table.loc["batch", "blup"].loc[[name.split(":")[0] for name in casks.index]].to_numpy()
    assert_allclose(table.loc["batch:cask", "no_pooling"], casks - mean - around)


def test_table_of_several_factors_goes_factor_by_factor():
    made = study("answers")
    assert list(dict.fromkeys(zip(made.table["group"], made.table["effect"], strict=True))) == [
        ("item", "Intercept"), ("person", "Intercept"), ("person", "x"),
    ]  # fmt: skip
    for name, table in made.table.groupby("group"):
        for effect, part in table.groupby("effect"):
            part = part.set_index("level")
            posterior = made.fit.ranef()[name].xs(effect, level="term")
            assert list(part.index) == list(posterior.index)
            assert_allclose(part["mean"], posterior["mean"])
            assert_allclose(part["q97.5"], posterior["q97.5"])
            assert_allclose(part["blup"], made.reml.ranef[name][effect])
            assert_allclose(part["blup_sd"], made.reml.ranef_sd[name][effect])


def test_known_standard_errors_leave_each_study_its_own_result():
    made = study("meta")
    assert_allclose(made.table["no_pooling"], made.model.data["y"] - made.reml.fixef["Intercept"])
    assert (made.table["rows"] == 1).all()


def test_without_random_effects_there_is_nothing_to_shrink():
    made = study("series")
    assert list(made.table.columns) == list(study("slopes").table.columns)
    assert len(made.table) == 0
    assert no_pooling(made.reml) == {}
    assert slope_predictor(made.model.design, made.model.data) is None
    assert lines_of("series")[1] is None


def lines_of(name, **arguments):
    made = study(name)
    return made, group_lines(made.reml, made.fit, made.table, made.model.data, **arguments)


def ends(lines, level, pooling):
    row = lines.lines[(lines.lines["level"] == level) & (lines.lines["pooling"] == pooling)]
    return row[["x0", "y0", "x1", "y1"]].to_numpy()[0]


def test_lines_of_every_kind_of_pooling():
    made, lines = lines_of("slopes", most=18)
    data = made.model.data
    here = data[data["Subject"] == "335"]
    for pooling, (slope, intercept) in {
        COMPLETE: np.polyfit(data["Days"], data["Reaction"], 1),
        NONE: np.polyfit(here["Days"], here["Reaction"], 1),
        REML: (made.reml.fixef + made.reml.ranef["Subject"].loc["335"])[["Days", "Intercept"]],
        POSTERIOR: (
            made.fit.tidy().set_index("term")["estimate"][["Intercept", "Days"]]
            + made.fit.ranef()["Subject"].loc["335", "mean"]
        )[["Days", "Intercept"]],
    }.items():
        assert_allclose(ends(lines, "335", pooling), [0, intercept, 9, intercept + 9 * slope], rtol=1e-6)
    assert (lines.predictor, lines.response, lines.factor, lines.total) == ("Days", "Reaction", "Subject", 18)


def test_levels_are_chosen_from_the_smallest_effect_to_the_largest():
    made, lines = lines_of("slopes", most=5)
    slopes = made.table[made.table["effect"] == "Days"].set_index("level")["mean"]
    assert len(lines.levels) == 5
    assert lines.levels[0] == slopes.idxmin()
    assert lines.levels[-1] == slopes.idxmax()
    assert slopes[list(lines.levels)].is_monotonic_increasing
    assert set(lines.points["level"]) == set(lines.levels)


def test_of_many_rows_some_are_points_and_all_make_the_lines():
    rng = np.random.default_rng(5)
    g = np.repeat(["a", "b", "c"], [30, 2000, 1000])
    x = rng.normal(size=len(g))
    data = pd.DataFrame({"g": g, "x": x, "y": x + (g == "b") + rng.normal(size=len(g))})
    model = hb.Model("y ~ x + (1 | g)", data)
    reml, fit = model.reml(), model.fit(draws=500, tune=500, seed=1, progress=False)
    lines = group_lines(reml, fit, shrinkage(reml, fit), data)
    assert lines.thinned
    assert lines.points["level"].value_counts().to_dict() == {"a": 30, "b": ROWS_SHOWN, "c": ROWS_SHOWN}
    slope, intercept = np.polyfit(x[g == "b"], data["y"][g == "b"], 1)
    x0, y0, x1, y1 = ends(lines, "b", NONE)
    assert_allclose([y0, y1], [intercept + slope * x0, intercept + slope * x1])
    assert not lines_of("slopes")[1].thinned


def test_a_categorical_predictor_keeps_its_place_along_the_line():
    made, lines = lines_of("categories")
    fitted = made.reml.fitted[(made.model.data["recipe"] + ":" + made.model.data["replicate"]) == lines.levels[3]]
    x0, y0, x1, y1 = ends(lines, lines.levels[3], REML)
    assert (x0, x1) == (175, 225)
    assert_allclose([y0, y1], [fitted[0], fitted[-1]])


def test_lines_with_weights_and_offset():
    made, lines = lines_of("weights", most=18)
    data = made.model.data
    here = data[data["Subject"] == "310"]
    root = np.sqrt(here["n"])
    beta, b = made.reml.fixef, made.reml.ranef["Subject"].loc["310"]
    fitted = beta["Intercept"] + b["Intercept"] + (beta["Days"] + b["Days"]) * here["Days"] + here["base"]
    for pooling, values in {NONE: here["Reaction"], REML: fitted}.items():
        slope, intercept = np.polyfit(here["Days"], values, 1, w=root)
        assert_allclose(ends(lines, "310", pooling), [0, intercept, 9, intercept + 9 * slope], rtol=1e-6)


def test_of_several_factors_the_one_with_slopes_is_drawn():
    made, lines = lines_of("answers")
    assert (lines.factor, lines.predictor, lines.total) == ("person", "x", 20)
    slopes = made.table[(made.table["group"] == "person") & (made.table["effect"] == "x")].set_index("level")["mean"]
    assert slopes[list(lines.levels)].is_monotonic_increasing
    here = made.model.data["person"].astype(str) == lines.levels[0]
    x, summary = made.model.data["x"][here], made.fit.ranef()
    item = made.model.data["item"][here].astype(str)
    posterior = made.model.design.X[here] @ made.fit.tidy()["estimate"].to_numpy()[:4]
    own = summary["person"]["mean"].loc[lines.levels[0]]
    posterior = posterior + own["Intercept"] + own["x"] * x
    posterior = posterior + summary["item"]["mean"].xs("Intercept", level="term")[item].to_numpy()
    for pooling, values in {
        REML: made.reml.fitted[here],
        POSTERIOR: posterior,
        NONE: made.model.design.y[here],
    }.items():
        slope, intercept = np.polyfit(x, values, 1)
        wanted = [x.min(), intercept + slope * x.min(), x.max(), intercept + slope * x.max()]
        assert_allclose(ends(lines, lines.levels[0], pooling), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ x + (x | g)", "x"),
        ("y ~ x + (x | g) + (1 | h)", "x"),
        ("y ~ x + (x | g) + (x | h)", "x"),
        ("y ~ x + z + (x | g) + (0 + z | h)", None),
        ("y ~ x + (1 | g)", "x"),
        ("y ~ a * x + (1 | g)", "x"),
        ("y ~ x + z + (x | g)", "x"),
        ("y ~ x + z + (1 | g)", None),
        ("y ~ x * z + (x | g)", None),
        ("y ~ x + np.power(x, 2) + (1 | g)", None),
        ("y ~ np.power(x, 2) + (1 | g)", None),
        ("y ~ x + a + (a | g)", None),
        ("y ~ a + (1 | g)", None),
        ("y ~ 1 + (1 | g)", None),
    ],
)
def test_predictor_to_draw_along(formula, expected):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(60, 3)), columns=["y", "x", "z"])
    data = data.assign(a=rng.choice(["p", "q"], 60), g=np.tile(list("ABCDEF"), 10), h=np.repeat(list("abcde"), 12))
    assert slope_predictor(hb.Model(formula, data).design, data) == expected


def test_no_lines_where_the_predictor_is_constant_in_every_level():
    made = study("intercepts")
    data = made.model.data.assign(size=made.model.data["Batch"].map(dict(zip("ABCDEF", range(6), strict=True))))
    model = hb.Model("Yield ~ size + (1 | Batch)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a short run on purpose
        reml, fit = model.reml(), model.fit(draws=50, tune=100, seed=1)
    assert slope_predictor(model.design, model.data) == "size"
    assert group_lines(reml, fit, shrinkage(reml, fit), model.data) is None
