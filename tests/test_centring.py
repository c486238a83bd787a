"""within() and between() in formulas: what they make of the rows fitted and of others, wherever a formula goes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import hierbayes as hb

EXACT = {"rtol": 1e-9, "atol": 1e-9}
"""Two ways to the same least-squares answer."""
FORMULA = "y ~ within(X, group) + between(X, group) + (1 | group)"


@pytest.fixture(scope="module")
def groups():
    return hb.load_data("five_groups")


@pytest.fixture(scope="module")
def model(groups):
    return hb.Model(FORMULA, groups)


def test_columns_are_deviations_and_means(model, groups):
    means = groups.groupby("group")["X"].transform("mean")
    assert_allclose(model.design.X, np.column_stack([np.ones(100), groups["X"] - means, means]), **EXACT)
    assert model.design.labels == ["Intercept", "within(X, group)", "between(X, group)"]


def test_balanced_slopes_are_those_of_dummies_and_of_group_means(model, groups):
    dummies = np.column_stack([groups["X"], pd.get_dummies(groups["group"]).to_numpy(float)])
    within = np.linalg.lstsq(dummies, groups["y"], rcond=None)[0][0]
    means = groups.groupby("group")[["X", "y"]].mean()
    between = np.polyfit(means["X"], means["y"], 1)
    fixef = model.reml().fixef
    assert_allclose(fixef["within(X, group)"], within, **EXACT)
    assert_allclose(fixef[["between(X, group)", "Intercept"]], between, **EXACT)


def test_center_is_grand_mean_centring_and_moves_only_the_intercept(groups):
    raw, centred = (hb.Model(f"y ~ {x} + (1 | group)", groups) for x in ("X", "center(X)"))
    assert_allclose(centred.design.X[:, 1], groups["X"] - groups["X"].mean(), **EXACT)
    a, b = raw.reml(), centred.reml()
    assert_allclose(a.fixef["X"], b.fixef["center(X)"], rtol=1e-7)
    assert_allclose(b.fixef["Intercept"], a.fixef["Intercept"] + a.fixef["X"] * groups["X"].mean(), rtol=1e-6)
    assert_allclose(a.criterion, b.criterion, rtol=1e-9)
    assert_allclose(centred.specification.new_rows(pd.DataFrame({"X": [0.0]})).X, [[1.0, -groups["X"].mean()]])


def test_new_rows_know_the_means_that_were_fitted(model, groups):
    means = groups.groupby("group")["X"].mean()
    rows = pd.DataFrame({"X": [0.0, 9.0, 2.0, 4.0], "group": [0, 3, "new", "new"]})
    X = model.specification.new_rows(rows).X
    assert_allclose(X[:, 2], [means[0], means[3], 3.0, 3.0], **EXACT)
    assert_allclose(X[:, 1], [-means[0], 9.0 - means[3], -1.0, 1.0], **EXACT)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (str, [0, 3]),
        (str, ["0", "3"]),
        ("category", [0.0, 3.0]),
        (float, [0, 3]),
        (np.int8, ["0", 3]),
    ],
)
def test_labels_are_those_of_the_fit_however_they_are_written(groups, kind, asked):
    means = groups.groupby("group")["X"].mean()
    model = hb.Model(FORMULA, groups.astype({"group": kind}))
    rows = model.specification.new_rows(pd.DataFrame({"X": [0.0, 0.0], "group": asked}), ["group"])
    assert_allclose(rows.X[:, 2], means[[0, 3]], **EXACT)
    assert (rows.codes["group"] == [0, 3]).all()


def test_several_columns_are_one_factor():
    data = hb.load_data("Pastes").assign(x=np.arange(60.0) ** 2)
    model = hb.Model("strength ~ within(x, batch, cask) + (1 | batch:cask)", data)
    expected = data["x"] - data.groupby(["batch", "cask"])["x"].transform("mean")
    assert_allclose(model.design.X[:, 1], expected, **EXACT)


def test_missing_values_leave_their_row_out_of_the_mean(groups):
    data = groups.copy()
    data.loc[[0, 1], "X"], data.loc[2, "y"] = np.nan, np.nan
    with pytest.warns(hb.RowsDropped, match="3 of 100"):
        model = hb.Model(FORMULA, data)
    used = data.dropna()
    assert_allclose(model.design.X[:, 2], used.groupby("group")["X"].transform("mean"), **EXACT)
    rows = pd.DataFrame({"X": [np.nan, 4.0, 6.0], "group": ["new"] * 3})
    assert_allclose(model.specification.new_rows(rows).X[:, 1], [-1.0, 1.0], **EXACT)


def test_random_slopes_predictions_and_files(groups, tmp_path):
    data = groups.assign(group=groups["group"].astype(str), z=np.sin(np.arange(100)))
    data["y"] += 3.0 * data["z"] * data["group"].map({"0": 1.0, "1": -1.0, "2": 0.5, "3": -0.7, "4": 0.2})
    model = hb.Model("y ~ within(X, group) + (within(z, group) | group)", data)
    column = data["z"] - data.groupby("group")["z"].transform("mean")
    assert_allclose(model.design.blocks[0].Z[:, 1], column, **EXACT)
    fit = model.reml()
    rows = pd.DataFrame({"X": [1.0, 2.0], "z": [1.0, -1.0], "group": ["4", "new"]})
    read = model.specification.new_rows(rows)
    assert_allclose(read.Z[0][:, 1], [1.0 - data[data["group"] == "4"]["z"].mean(), 0.0], **EXACT)
    fit.save(tmp_path / "fit.hb")
    back = hb.load(tmp_path / "fit.hb")
    pd.testing.assert_frame_equal(back.predict(rows, groups="mixed"), fit.predict(rows, groups="mixed"))


def test_other_families_and_the_model_of_bambi(groups):
    data = groups.assign(high=(groups["y"] > groups["y"].median()).astype(int), group=groups["group"].astype(str))
    text = "high ~ within(X, group) + between(X, group) + (1 | group)"
    model = hb.Model(text, data, family="bernoulli")
    assert_allclose(model.design.X, hb.Model(FORMULA, groups).design.X, **EXACT)
    term = model.bambi.parameters["p"].common_terms["within(X, group)"]
    assert_allclose(np.ravel(term.data), model.design.X[:, 1], **EXACT)
    assert model.priors.coefficients[1].args["sigma"] > 0


def test_names_of_the_user_go_first(groups):
    def within(x, group):
        return x * 2.0

    between = 5  # a value that cannot be called does not hide the function
    model = hb.Model(FORMULA, groups)
    assert_allclose(model.design.X[:, 1], 2.0 * groups["X"], **EXACT)
    assert_allclose(model.design.X[:, 2], groups.groupby("group")["X"].transform("mean"), **EXACT)
    assert_allclose(
        hb.Model("y ~ I(X - between) + (1 | group)", groups).design.X[:, 1], groups["X"] - between, **EXACT
    )
    columns = groups.assign(within=groups["X"] ** 2)
    assert_allclose(hb.Model("y ~ within + (1 | group)", columns).design.X[:, 1], groups["X"] ** 2, **EXACT)


def test_what_cannot_be_centred_is_refused(groups):
    data = groups.assign(text="a")
    with pytest.raises(hb.DataError, match=r"needs numbers; of a category write its indicator"):
        hb.Model("y ~ within(text, group) + (1 | group)", data)
    with pytest.raises(hb.DataError, match=r"needs a variable and a grouping column"):
        hb.Model("y ~ between(X) + (1 | group)", data)
    with pytest.raises(hb.DataError, match="needs one number a row"):
        hb.Model("y ~ within(poly(X, 2), group) + (1 | group)", data)
    with pytest.raises(hb.DataError, match="needs a group for every row"):
        hb.Model("y ~ within(X, 1) + (1 | group)", data)
