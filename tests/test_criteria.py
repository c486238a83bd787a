"""Information criteria against lme4, dense hat matrices and refits of perturbed responses."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from oracle import dense, response_covariance
from scipy.stats import norm

import hierbayes as hb
from hierbayes.inference.criteria import effective_df

TRACE = 1e-9
"""Relative, of the trace of a hat matrix, from moments and from n x n matrices."""
FOLLOW = 1e-5
"""Absolute, of effective degrees of freedom against differences of refits: both take derivatives by differences."""


def sleepstudy_with_extras():
    rng = np.random.default_rng(1)
    data = hb.load_data("sleepstudy")
    n = len(data)
    return data.assign(w=rng.uniform(0.5, 2.0, n), o=10 * rng.normal(size=n), se=rng.uniform(10, 40, n))


def penicillin():
    return hb.load_data("Penicillin").iloc[:72]


def one_line():
    """Slopes that follow the intercepts exactly: the estimated correlation is 1."""
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(8), 6), np.tile(np.arange(6.0), 8)
    y = x + rng.normal(size=8)[g] * (1 + x) + 0.5 * rng.normal(size=48)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})


CASES = {
    "one factor": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff"), {}),
    "boundary": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff2"), {}),
    "correlation of one": ("y ~ x + (x | g)", one_line, {}),
    "slopes": ("Reaction ~ Days + (Days | Subject)", sleepstudy_with_extras, {}),
    "weights, offset": ("Reaction ~ Days + offset(o) + (Days || Subject)", sleepstudy_with_extras, {"weights": "w"}),
    "known errors": ("Reaction ~ Days + (Days | Subject)", sleepstudy_with_extras, {"se": "se"}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin, {}),
}
EVERY = pytest.mark.parametrize("case", CASES)
BOTH = pytest.mark.parametrize("method", ["REML", "ML"])


def model_and_fit(case, method):
    formula, data, options = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data(), **options)
        return model, (model.reml() if method == "REML" else model.ml())


@EVERY
@BOTH
def test_given_the_variances_it_is_the_trace_of_the_hat_matrix(case, method):
    _, found = model_and_fit(case, method)
    data = dense(found.design)
    Vi = np.linalg.inv(response_covariance(data, found.covariance, found.sigma))
    X = data.X
    P = Vi - Vi @ X @ np.linalg.inv(X.T @ Vi @ X) @ X.T @ Vi
    hat = np.eye(found.nobs) - found.sigma**2 * np.diag(data.deviation**2) @ P
    np.testing.assert_allclose(
        hat @ data.y, found.fitted - (data.y * 0 if found.design.offset is None else found.design.offset), rtol=1e-6
    )
    assert effective_df(found)[0] == pytest.approx(np.trace(hat), rel=TRACE)


@EVERY
@BOTH
def test_effective_df_are_the_derivative_of_the_fitted_values(case, method):
    """Σ ∂ŷ_i/∂y_i with everything fitted again, by central differences of a sample of the rows' refits."""
    model, found = model_and_fit(case, method)
    y = found.design.y
    h = 1e-3 * y.std()
    total = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        for i in range(len(y)):
            step = h * (np.arange(len(y)) == i)
            total += (model.refit(y + step, method).fitted[i] - model.refit(y - step, method).fitted[i]) / (2 * h)
    given, following = effective_df(found)
    assert given + following == pytest.approx(total, abs=FOLLOW)
    assert following == 0.0 if case == "boundary" else following > 0.01
    assert found.singular == (case in {"boundary", "correlation of one"})


@EVERY
def test_the_conditional_criterion_is_of_the_conditional_density(case):
    _, found = model_and_fit(case, "REML")
    row = found.criteria().set_index("criterion").loc["cAIC"]
    weights = 1.0 if found.design.weights is None else found.design.weights
    density = norm.logpdf(found.design.y, found.fitted, found.sigma / np.sqrt(weights)).sum()
    assert row["n_par"] == pytest.approx(sum(effective_df(found)) + (found.design.sigma is None), rel=1e-12)
    assert row["value"] == pytest.approx(-2 * density + 2 * row["n_par"], rel=1e-12)


@BOTH
def test_marginal_criteria_are_those_of_lme4(shared, method):
    golden = json.loads(shared("reference/lme4.json").read_text())["lmm"]["sleepstudy_slope"][method]
    found = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    found = found.reml() if method == "REML" else found.ml()
    table = found.criteria().set_index("criterion")
    assert table.loc["AIC", "value"] == pytest.approx(golden["AIC"], abs=1e-6)
    assert table.loc["BIC", "value"] == pytest.approx(golden["BIC"], abs=1e-6)
    assert table.loc["AICc", "value"] == pytest.approx(golden["AIC"] + 2 * 6 * 7 / (180 - 7), abs=1e-6)
    assert (table.loc[["AIC", "AICc", "BIC"], "n_par"] == golden["n_par"]).all()
    says = table["counts"].str.contains("same fixed effects").tolist()
    assert says == [method == "REML"] * 3 + [False]


def test_correlated_residuals_have_no_conditional_criterion():
    data = pd.DataFrame({"y": np.random.default_rng(0).normal(size=30), "g": np.repeat(list("abc"), 10)})
    row = hb.Model("y ~ 1", data, residual="ar1(1 | g)").reml().criteria().set_index("criterion").loc["cAIC"]
    assert np.isnan(row["value"])
    assert "correlated residuals" in row["counts"]


def test_too_few_rows_have_no_small_sample_correction():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "g": list("aabb")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        row = hb.Model("y ~ 1 + (1 | g)", data).reml().criteria().set_index("criterion").loc["AICc"]
    assert np.isnan(row["value"])
    assert "4 rows are too few for 3 parameters" in row["counts"]
