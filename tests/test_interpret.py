"""Bambi's own predictions and its `interpret` on posteriors of hierbayes, draw by draw against ours."""

from __future__ import annotations

import bambi as bmb
import numpy as np
import pandas as pd
import pytest

import hierbayes as hb
from hierbayes.predictions.posterior import predict_draws
from hierbayes.predictions.prior import prior_draws

SAME = 1e-9
"""Relative and absolute: the same sums of products in another order."""
SLOPE = 1e-4
"""Of the step of bambi.interpret's finite difference, which is one-sided: its error is of the order of the step."""


@pytest.fixture(scope="module")
def visits():
    rng = np.random.default_rng(6)
    n = 60
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "g": [f"g{k}" for k in rng.integers(0, 6, n)],
            "count": rng.poisson(2.0, n),
            "hits": rng.binomial(10, 0.4, n),
            "trials": 10,
            "grade": pd.Categorical(rng.choice(list("abc"), n), ordered=True),
        }
    )


@pytest.fixture(scope="module")
def fits(visits, sleepstudy, fit_sleepstudy):
    """Model, posterior and rows of four families; a sampled one of each of two engines, and two draws from priors."""
    gaussian = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    binomial = hb.Model("p(hits, trials) ~ x + (x | g)", visits, family="binomial")
    sampled = binomial.fit(draws=100, tune=300, chains=2, seed=1, progress=False)
    poisson = hb.Model("count ~ x + (x | g)", visits, family="poisson")
    ordinal = hb.Model("grade ~ x + (x | g)", visits, family="cumulative")
    return {
        "gaussian": (gaussian, fit_sleepstudy, sleepstudy, "Days"),
        "binomial": (binomial, sampled, visits, "x"),
        "poisson": (poisson, prior_draws(poisson.specification, 100, 1), visits, "x"),
        "ordinal": (ordinal, prior_draws(ordinal.specification, 100, 1), visits, "x"),
    }


NAMES = ["gaussian", "binomial", "poisson", "ordinal"]
pytestmark = [
    pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning"),  # few draws
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning"),  # of the functions that Bambi draws with
    pytest.mark.filterwarnings("ignore:'sample_new_groups':FutureWarning"),  # Bambi's next version needs no argument
]


@pytest.mark.parametrize("name", NAMES)
def test_bambi_predicts_what_we_predict(fits, name):
    model, fit, data, _ = fits[name]
    for rows in (None, data.iloc[[7, 1, 30]]):
        theirs = model.bambi.predict(fit.idata, data=rows, kind="response_params", inplace=False)
        values = theirs["posterior"][model.family.parent].transpose("chain", "draw", "__obs__", ...)
        np.testing.assert_allclose(values, predict_draws(fit, rows), rtol=SAME, atol=SAME)


@pytest.mark.parametrize("name", NAMES)
def test_bambi_draws_new_responses(fits, name):
    model, fit, data, _ = fits[name]
    for rows in (None, data.iloc[[7, 1, 30]]):
        theirs = model.bambi.predict(fit.idata, data=rows, kind="response", inplace=False, random_seed=1)
        drawn = theirs["posterior_predictive"][model.design.response].transpose("chain", "draw", "__obs__")
        ours = predict_draws(fit, rows, kind="response", seed=1)
        assert drawn.shape == ours.shape
        if name != "poisson":  # draws of a prior have no means that could be compared
            spread = np.hypot(drawn.std(["chain", "draw"]), ours.std(["chain", "draw"])).to_numpy()
            away = np.abs(drawn.mean(["chain", "draw"]).to_numpy() - ours.mean(["chain", "draw"]).to_numpy())
            assert (away < 5.0 * spread / np.sqrt(fit.n_draws)).all()


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # formulae's, on levels that it does not know
def test_bambi_samples_new_groups(fits):
    model, fit, data, _ = fits["gaussian"]
    rows = data.head(2).assign(Subject="nobody")
    theirs = model.bambi.predict(fit.idata, data=rows, inplace=False, sample_new_groups=True)
    assert np.isfinite(theirs["posterior"]["mu"]).all()


def rows_of(name, variable, values, groups):
    """The rows that bambi.interpret makes of a contrast."""
    factor = "Subject" if name == "gaussian" else "g"
    rows = pd.DataFrame([{factor: group, variable: value} for group in groups for value in values])
    return rows.assign(trials=10)


@pytest.mark.parametrize("name", NAMES)
def test_interpret_averages_what_we_predict(fits, name):
    """Predictions, comparisons and slopes for two known groups."""
    model, fit, data, variable = fits[name]
    factor = "Subject" if name == "gaussian" else "g"
    groups = sorted(data[factor].unique())[:2]
    draws = predict_draws(fit, rows_of(name, variable, [0.0, 1.0], groups))
    mean = draws.mean(["chain", "draw"]).to_numpy()
    pairs = mean.reshape(2, 2, -1)  # group, value, category

    asked = {factor: groups, variable: [0.0, 1.0]}
    found = bmb.interpret.predictions(model.bambi, fit.idata, conditional=asked)
    np.testing.assert_allclose(found.summary["estimate"], pairs.ravel(), rtol=SAME)

    found = bmb.interpret.comparisons(
        model.bambi, fit.idata, contrast={variable: [0.0, 1.0]}, conditional={factor: groups}
    )
    np.testing.assert_allclose(found.summary["estimate"], (pairs[:, 1] - pairs[:, 0]).ravel(), rtol=1e-6, atol=SAME)

    found = bmb.interpret.slopes(model.bambi, fit.idata, wrt={variable: 0.5}, conditional={factor: groups})
    step = 1e-4
    near = predict_draws(fit, rows_of(name, variable, [0.5, 0.5 + step], groups)).mean(["chain", "draw"]).to_numpy()
    near = near.reshape(2, 2, -1)
    slope = ((near[:, 1] - near[:, 0]) / step).ravel()
    np.testing.assert_allclose(found.summary["estimate"], slope, rtol=1e-2, atol=SLOPE)
