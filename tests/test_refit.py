"""Refits: a prepared design and a new response give what a model of that response gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hierbayes as hb
from hierbayes.errors import DataError

SAME = 1e-8
"""Relative: two optimisations of one likelihood, from moments that differ by rounding."""


def frame(seed):
    rng = np.random.default_rng(seed)
    n = 120
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "g": np.repeat(np.arange(24), 5),
            "school": np.repeat(np.arange(8), 15),
            "item": rng.integers(0, 7, n),
            "w": rng.uniform(0.5, 2.0, n),
            "time": np.tile(np.arange(5), 24),
        }
    )


CASES = {
    "one factor": ("y ~ x + (x | g)", {}),
    "weights and offset": ("y ~ x + offset(0.5 * time) + (1 | g)", {"weights": "w"}),
    "crossed": ("y ~ x + (1 | g) + (x | item)", {"weights": "w"}),
    "nested": ("y ~ x + (1 | school/g)", {}),
    "known errors": ("y ~ x + (1 | g)", {"se": "w"}),
    "AR(1)": ("y ~ x + (1 | school)", {"residual": "ar1(time | g)"}),
}


def response(data):
    rng = np.random.default_rng(5)
    intercepts, schools, items = rng.normal(size=24), 2.0 * rng.normal(size=8), rng.normal(size=(7, 2))
    noise = 0.5 * rng.normal(size=len(data))
    effects = intercepts[data["g"]] * (1.0 + 0.5 * data["x"]) + schools[data["school"]]
    return 3.0 + 2.0 * data["x"] + effects + items[data["item"], 0] + items[data["item"], 1] * data["x"] + noise


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_refit_is_the_fit_of_that_response(name, method):
    formula, options = CASES[name]
    data = frame(1)
    y = response(data).to_numpy()
    again = hb.Model(formula, data, **options).refit(y, method)
    model = hb.Model(formula, data.assign(y=y), **options)
    fresh = model.reml() if method == "REML" else model.ml()
    assert again.converged
    assert again.method == method
    np.testing.assert_allclose(again.criterion, fresh.criterion, rtol=SAME)
    np.testing.assert_allclose(again.fixef, fresh.fixef, rtol=1e3 * SAME)
    np.testing.assert_allclose(again.vcov, fresh.vcov, rtol=1e3 * SAME, atol=SAME)
    np.testing.assert_allclose(again.fitted, fresh.fitted, rtol=1e3 * SAME)
    pd.testing.assert_frame_equal(again.tidy(), fresh.tidy(), rtol=1e4 * SAME)
    for factor, effects in fresh.ranef.items():
        pd.testing.assert_frame_equal(again.ranef[factor], effects, rtol=1e3 * SAME, atol=1e-6)


def test_refits_leave_the_model_and_each_other_alone():
    data = frame(2)
    model = hb.Model("y ~ x + (1 | g)", data.assign(y=response(data)))
    before = model.reml()
    y = np.random.default_rng(3).normal(size=120) + np.repeat(np.random.default_rng(4).normal(size=24), 5)
    first = model.refit(y)
    criterion, sigma = first.criterion, first.sigma
    second = model.refit(2.0 * y)
    assert (first.criterion, first.sigma) == (criterion, sigma)
    np.testing.assert_allclose(second.sigma, 2.0 * sigma, rtol=SAME)
    assert model.reml().criterion == before.criterion
    np.testing.assert_array_equal(model.design.y, response(data))


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(3), "needs 120 finite numbers"),
        (np.full(120, np.nan), "missing or infinite"),
        (np.ones(120), "exactly"),
    ],
)
def test_a_response_that_cannot_be_fitted_is_refused(y, said):
    with pytest.raises(DataError, match=said):
        hb.Model("y ~ x + (1 | g)", frame(2)).refit(y)


def test_another_method_is_refused():
    with pytest.raises(ValueError, match="'REML' or 'ML'"):
        hb.Model("y ~ x + (1 | g)", frame(2)).refit(np.arange(120.0), "MAP")
