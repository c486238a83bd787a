"""Shrinkage against least squares by hand and against the closed form of a balanced design."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from fixtures_report import LEVELS, study
from numpy.testing import assert_allclose

import hierbayes as hb
from hierbayes.errors import ConvergenceWarning
from hierbayes.shrinkage import (
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


def test_no_pooling_is_least_squares_within_each_level():
    made = study("slopes")
    data = made.model.data
    own = [np.polyfit(part["Days"], part["Reaction"], 1)[::-1] for _, part in data.groupby("Subject")]
    assert_allclose(no_pooling(made.reml), np.array(own) - made.reml.fixef.to_numpy(), atol=1e-8)


def test_table_holds_what_the_fits_say():
    made = study("slopes")
    table, levels = made.table, made.model.design.factor.levels
    assert list(table.columns) == [
        "effect", "level", "rows", "no_pooling", "blup", "blup_sd", "mean", "sd", "q2.5", "q97.5",
    ]  # fmt: skip
    assert len(table) == 36
    for effect in ("Intercept", "Days"):
        part = table[table["effect"] == effect].set_index("level")
        assert list(part.index) == list(levels)
        assert_allclose(part["blup"], made.reml.ranef["Subject"][effect])
        assert_allclose(part["blup_sd"], made.reml.ranef_sd["Subject"][effect])
        posterior = made.fit.ranef().xs(effect, level="term")
        for column in ("mean", "sd", "q2.5", "q97.5"):
            assert_allclose(part[column], posterior[column])
    assert (table["rows"] == 10).all()


def test_balanced_intercepts_shrink_by_the_textbook_factor():
    made = study("intercepts")
    tau, sigma = made.reml.varcorr["sdcor"]
    factor = tau**2 / (tau**2 + sigma**2 / 5)
    assert 0.5 < factor < 0.9
    assert_allclose(made.table["blup"], factor * made.table["no_pooling"])


def test_a_singular_fit_pools_completely_but_the_levels_keep_their_own_estimates():
    made = study("singular")
    means = made.model.data.groupby("Batch")["Yield"].mean()
    assert_allclose(made.table["blup"], 0.0, atol=1e-12)
    assert_allclose(made.table["no_pooling"], means - made.model.data["Yield"].mean())


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
    own = no_pooling(reml)
    assert sorted(set(np.flatnonzero(np.isnan(own).any(axis=1)))) == [5, 9]
    assert np.isnan(own[[5, 9]]).all()
    here = data[data["g"] == 12]
    assert_allclose(own[12] + reml.fixef.to_numpy(), np.polyfit(here["x"], here["y"], 1)[::-1])


def test_a_predictor_far_from_zero_costs_no_digits():
    data = hb.load_data("sleepstudy")
    near = no_pooling(hb.Model("Reaction ~ Days + (Days | Subject)", data).reml())
    far = no_pooling(hb.Model("Reaction ~ Days + (Days | Subject)", data.assign(Days=data["Days"] + 2000)).reml())
    assert_allclose(far[:, 1], near[:, 1], atol=1e-6)


def test_ten_thousand_levels():
    made = study("crowd")
    assert len(made.table) == 2 * LEVELS
    alone = made.table["rows"] == 1
    assert made.table.loc[alone, "no_pooling"].isna().all()
    assert made.table.loc[made.table["rows"] > 1, "no_pooling"].notna().all()
    assert np.isfinite(made.table[["blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"]].to_numpy()).all()


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
            made.fit.tidy().set_index("term")["estimate"][["Intercept", "Days"]] + made.fit.ranef().loc["335", "mean"]
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


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ x + (x | g)", "x"),
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
    data = data.assign(a=rng.choice(["p", "q"], 60), g=np.tile(list("ABCDEF"), 10))
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
