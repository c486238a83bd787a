"""Levels left out: against least squares on the smaller data, and against a model of the smaller data."""

from __future__ import annotations

import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
from fixtures_report import OPTIONS, STUDIES
from numpy.testing import assert_allclose

import hierbayes as hb
from hierbayes.errors import DataError, HierbayesWarning

GLS = 1e-9
"""Relative agreement with dense generalised least squares."""
REFIT = 1e-6
"""Agreement of two optimisations, relative to the standard errors."""
MOST = 6
"""Levels of each factor that are compared."""
ONE_PASS = ["slopes", "uncorrelated", "intercepts", "singular", "categories", "gaps", "weights", "meta", "series"]
SEVERAL = [("crossed", "plate"), ("crossed", "sample"), ("nested", "batch"), ("answers", "person")]
GROUPS = [(name, None) for name in ONE_PASS] + SEVERAL


def quiet(make):
    """The result of a call, without warnings about singular fits or rows with missing values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return make()


def model_of(name, data=None):
    formula, make = STUDIES[name]
    return quiet(lambda: hb.Model(formula, make() if data is None else data, **OPTIONS.get(name, {})))


def codes_of(design, group):
    if not design.factors:
        return design.residual.codes
    return next(factor.codes for factor in design.factors if group in (None, factor.name))


CASES = [(*case, "reml") for case in GROUPS] + [("slopes", None, "ml"), ("answers", "person", "ml")]


@pytest.mark.parametrize(("name", "group", "method"), CASES)
def test_without_a_level_is_least_squares_at_the_estimated_variances(name, group, method):
    model = model_of(name)
    fit = quiet(getattr(model, method))
    data = oracle.dense(model.design)
    V = oracle.response_covariance(data, fit.covariance, fit.sigma, fit.rho or 0.0)
    codes, p = codes_of(model.design, group), model.design.X.shape[1]
    table = fit.influence(group)
    assert len(table) == codes.max() + 1
    for j in np.unique(np.linspace(0, len(table) - 1, MOST).round().astype(int)):
        row, rest = table.loc[j], codes != j
        X, y, V_rest = data.X[rest], data.y[rest], V[np.ix_(rest, rest)]
        beta, _ = oracle.gls(y, X, V_rest)
        change = fit.fixef.to_numpy() - beta
        assert row["rows"] == (~rest).sum()
        shown = row[[f"dfbeta[{label}]" for label in model.design.labels]].to_numpy(dtype=float)
        errors = np.sqrt(np.diag(fit.vcov))
        assert_allclose(shown / errors, change / errors, atol=GLS)
        assert_allclose(row["cook"], change @ np.linalg.solve(fit.vcov, change) / p, rtol=1e-6, atol=GLS)
        assert_allclose(row[f"dfbetas[{model.design.labels[0]}]"], change[0] / errors[0], atol=GLS)
        if model.design.sigma is None:
            r = y - X @ beta
            dof = rest.sum() - (p if method == "reml" else 0)
            sigma = fit.sigma * np.sqrt(r @ np.linalg.solve(V_rest, r) / dof)
            assert_allclose(row["sigma"], sigma, rtol=1e-8)
        else:
            assert np.isnan(row["sigma"])


@pytest.mark.parametrize(("name", "group"), [("slopes", None), ("meta", None), ("series", None), *SEVERAL])
def test_refitted_without_a_level_is_the_model_of_the_smaller_data(name, group):
    model = model_of(name)
    fit = quiet(model.reml)
    codes = codes_of(model.design, group)
    levels = fit.influence(group)["level"].astype(str).tolist()
    chosen = [0, len(levels) // 2]
    table = fit.influence(group, refit=[levels[j] for j in chosen])
    errors = np.sqrt(np.diag(fit.vcov))
    for j, (_, row) in zip(chosen, table.iterrows(), strict=True):
        smaller = quiet(model_of(name, model.data[codes != j].reset_index(drop=True)).reml)
        shown = row[[f"dfbeta[{label}]" for label in fit.fixef.index]].to_numpy(dtype=float)
        assert row["converged"]
        assert_allclose(shown / errors, (fit.fixef - smaller.fixef) / errors, atol=REFIT)
        sds = [column for column in table if column.startswith("sd[")]
        expected = smaller.varcorr[smaller.varcorr["term2"].isna() & (smaller.varcorr["group"] != "Residual")]
        assert_allclose(row[sds].to_numpy(dtype=float), expected["sdcor"], rtol=1e-5, atol=1e-6)
        if model.design.sigma is None:
            assert_allclose(row["sigma"], smaller.sigma, rtol=REFIT)


def test_refitting_all_levels_gives_the_same_as_one():
    fit = model_of("intercepts").reml()
    whole = fit.influence(refit=True)
    assert whole["level"].tolist() == list("ABCDEF")
    pd.testing.assert_frame_equal(whole.iloc[[2]].reset_index(drop=True), fit.influence(refit=["C"]))


@pytest.mark.parametrize("refit", [False, True])
def test_a_level_that_carries_a_coefficient_alone_has_no_answer(refit):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 6), "y": rng.normal(size=36)})
    data["x"] = np.where(data["g"] == "c", rng.normal(size=36), 0.0)
    data["y"] += rng.normal(size=6).repeat(6)
    table = quiet(hb.Model("y ~ x + (1 | g)", data).reml).influence(refit=refit).set_index("level")
    assert np.isnan(table.loc["c", "cook"])
    assert np.isnan(table.loc["c", "dfbeta[x]"])
    assert table.drop(index="c")["cook"].notna().all()


def test_what_cannot_be_left_out_is_refused():
    crossed = quiet(model_of("crossed").reml)
    with pytest.raises(DataError, match="group='plate' or group='sample'"):
        crossed.influence()
    with pytest.raises(DataError, match="'plat' is not a grouping factor of the model"):
        crossed.influence("plat")
    with pytest.raises(DataError, match="'plate' has no level 'zz'"):
        crossed.influence("plate", refit=["zz"])


def test_one_level_is_a_list_of_one():
    fit = model_of("slopes").reml()
    listed = fit.influence(refit=["308"])
    for one in ("308", 308, np.array(["308"]), np.int64(308)):
        pd.testing.assert_frame_equal(fit.influence(refit=one), listed)
    pd.testing.assert_frame_equal(fit.influence(refit=np.bool_(False)), fit.influence())
    for wrong in (None, {"308": 1}):
        with pytest.raises(ValueError, match="refit must be True, False, a level or a list of levels"):
            fit.influence(refit=wrong)
    with pytest.raises(ValueError, match="group must be the name of one grouping factor"):
        fit.influence(["Subject"])


def test_ten_thousand_levels_of_a_hundred_thousand_rows_take_one_pass():
    rng = np.random.default_rng(1)
    g, x = rng.integers(0, 10_000, 100_000), rng.normal(size=100_000)
    b = rng.normal(size=(10_000, 2))
    data = pd.DataFrame({"y": b[g, 0] + b[g, 1] * x + rng.normal(size=100_000), "x": x, "g": g})
    fit = hb.Model("y ~ x + (x | g)", data).reml()
    table = fit.influence()
    j = int(table["cook"].idxmax())
    smaller = fit.influence(refit=[str(table["level"][j])]).iloc[0]
    # with so many levels the variances hardly change
    assert_allclose(table.loc[j, "dfbetas[x]"], smaller["dfbetas[x]"], rtol=0.01)
