"""Residuals against dense matrices, and what is said of their shape."""

from __future__ import annotations

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from test_influence import model_of, quiet

import hierbayes as hb
from hierbayes.checks.collinearity import condition_number, inflation
from hierbayes.checks.residuals import (
    SHAPIRO_WILK,
    quantiles,
    residuals_table,
    scale_location,
    shape,
    standardised_effects,
)

DENSE = 1e-8
"""Agreement with the dense precision matrix; residuals are of order 1."""
NAMES = ["slopes", "singular", "categories", "crossed", "nested", "answers", "weights", "meta", "series", "symmetry"]


@pytest.mark.parametrize(
    ("name", "method"), [(name, "reml") for name in NAMES] + [("slopes", "ml"), ("nested", "ml")]
)
def test_standardised_residuals_are_those_of_the_dense_model(name, method):
    model = model_of(name)
    fit = quiet(getattr(model, method))
    data = oracle.dense(model.design)
    V = oracle.response_covariance(data, fit.covariance, fit.sigma, fit.rho or 0.0)
    W = np.linalg.inv(V)
    cov = np.linalg.inv(data.X.T @ W @ data.X)
    P = W - W @ data.X @ cov @ data.X.T @ W
    table = residuals_table(fit)
    assert_allclose(table["standardised"], (P @ data.y) / np.sqrt(np.diag(P)), atol=DENSE)
    marginal = data.y - data.X @ fit.fixef.to_numpy()
    variance = np.diag(V - data.X @ cov @ data.X.T)
    assert_allclose(table["marginal"], marginal, atol=DENSE * fit.sigma)
    assert_allclose(table["marginal_standardised"], marginal / np.sqrt(variance), atol=DENSE)
    assert_allclose(table["conditional"], model.design.y - table["fitted"])
    assert_allclose(table["fitted"], fit.fitted)


def test_with_independent_residuals_it_is_the_conditional_residual_over_its_own_deviation():
    model = model_of("weights")
    fit = model.reml()
    data = oracle.dense(model.design)
    V = oracle.response_covariance(data, fit.covariance, fit.sigma)
    W = np.linalg.inv(V)
    P = W - W @ data.X @ np.linalg.solve(data.X.T @ W @ data.X, data.X.T @ W)
    noise = fit.sigma**2 / model.design.weights
    deviation = np.sqrt(np.diag(noise[:, None] * P * noise))
    table = residuals_table(fit)
    assert_allclose(table["standardised"], table["conditional"] / deviation, atol=DENSE)


def test_a_row_that_the_model_reproduces_has_no_standardised_residual(sleepstudy):
    data = sleepstudy.assign(only=(np.arange(180) == 17).astype(float))
    table = hb.Model("Reaction ~ Days + only + (Days | Subject)", data).reml().residuals_table()
    assert np.flatnonzero(table["standardised"].isna()).tolist() == [17]


def test_quantiles_and_scale_location_are_points_to_plot():
    values = np.random.default_rng(0).normal(size=99)
    points = quantiles(np.append(values, np.nan))
    assert_allclose(points["sample"], np.sort(values))
    assert points["theoretical"][49] == pytest.approx(0.0, abs=1e-12)
    assert_allclose(points["theoretical"], -points["theoretical"][::-1])
    table = model_of("slopes").reml().residuals_table()
    spread = scale_location(table)
    assert_allclose(spread["root"] ** 4, table["standardised"] ** 2)


def test_shapiro_wilk_is_given_only_where_it_means_something():
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=200), rng.normal(size=SHAPIRO_WILK + 1)
    found = shape(few)
    W, p = stats.shapiro(few)
    assert (found["W"], found["p_value"]) == (W, p)
    assert_allclose(found["kurtosis"], np.mean((few - few.mean()) ** 4) / few.var() ** 2 - 3.0)
    assert np.isnan(shape(many)["p_value"])
    assert np.isfinite(shape(many)["skewness"])
    assert np.isnan(shape(np.zeros(1))["W"])


def test_blups_of_a_balanced_design_over_their_own_deviation():
    fit = model_of("intercepts").reml()
    tau, sigma = fit.varcorr["sdcor"]
    deviation = tau * np.sqrt(tau**2 / (tau**2 + sigma**2 / 5))
    effects = standardised_effects(fit, fit.design.factors[0])
    assert_allclose(effects["Intercept"], fit.ranef["Batch"]["Intercept"] / deviation)
    nothing = standardised_effects(quiet(model_of("singular").reml), fit.design.factors[0])
    assert nothing["Intercept"].isna().all()


def test_inflation_is_one_over_what_other_predictors_leave():
    rng = np.random.default_rng(3)
    n = 200
    data = pd.DataFrame({"a": rng.normal(size=n), "g": rng.integers(0, 10, n), "k": rng.choice(list("uvw"), n)})
    data["b"] = data["a"] + 0.3 * rng.normal(size=n) + (data["k"] == "u")
    data["w"] = rng.uniform(0.5, 2.0, n)
    data["y"] = data["a"] + rng.normal(size=n) + rng.normal(size=10)[data["g"]]
    model = hb.Model("y ~ a + b + k + (1 | g)", data, weights="w")
    fit = quiet(model.reml)
    table = inflation(fit).set_index("term")
    root = np.sqrt(model.design.weights)
    X = model.design.X * root[:, None]
    for name in ("a", "b"):
        k = model.design.labels.index(name)
        others = np.delete(X, k, axis=1)
        left = X[:, k] - others @ np.linalg.lstsq(others, X[:, k])[0]
        total = X[:, k] - root * (root @ X[:, k]) / (root @ root)
        assert_allclose(table.loc[name, "gvif"], (total @ total) / (left @ left), rtol=1e-9)
        assert_allclose(table.loc[name, "widening"] ** 2, table.loc[name, "gvif"])
    assert table.loc["k", "df"] == 2
    covariance = np.cov(model.design.X[:, 1:].T, aweights=model.design.weights)
    C = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    at = [model.design.labels.index(label) - 1 for label in model.design.labels if label.startswith("k[")]
    rest = [i for i in range(len(C)) if i not in at]
    expected = np.linalg.det(C[np.ix_(at, at)]) * np.linalg.det(C[np.ix_(rest, rest)]) / np.linalg.det(C)
    assert_allclose(table.loc["k", "gvif"], expected, rtol=1e-9)
    assert_allclose(condition_number(fit), np.linalg.cond(X / np.linalg.norm(X, axis=0)), rtol=1e-9)
