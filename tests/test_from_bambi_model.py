"""An existing bambi.Model handed over: the same density, the same posterior, and what is refused."""

from __future__ import annotations

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from fixtures_families import DENSITY, bambi_model, compared, half_normal, responses

import hierbayes as hb

LAPLACE = bmb.Prior("Laplace", mu=0, b=bmb.Prior("HalfNormal", sigma=1))


@pytest.mark.parametrize(
    ("formula", "family", "more"),
    [
        ("real ~ x + c + (x | g) + (1 | h)", "gaussian", {}),
        ("real ~ 0 + x + (c | g)", "t", {"center_predictors": False, "noncentered": True}),
        ("p(hits, trials) ~ x:c + scale(x) + (1 | g/h)", "binomial", {"link": "probit"}),
        ("count ~ offset(log(exposure)) + x + (0 + x | g)", "negativebinomial", {"priors": {"alpha": 2.5}}),
        ("grade ~ x + (1 | g)", "cumulative", {}),
        ("colour ~ x + c + (x | g)", "categorical", {"priors": {"1|g": half_normal(0.3)}}),
        ("word['yes'] ~ double(x) + (1 | number)", "bernoulli", {"categorical": "number"}),
        ("positive ~ x + (x | g)", "gamma", {"link": {"mu": "log", "alpha": "log"}, "auto_scale": False}),
    ],
)
def test_density_is_that_of_the_model_handed_over(formula, family, more):
    double = {"double": lambda x: 2.0 * x}
    frame = responses().assign(number=np.arange(len(responses())) % 4)
    if family == "gamma":
        more = {**more, "priors": {"Intercept": bmb.Prior("Normal", mu=0, sigma=1), "group_specific": half_normal(1)}}
    model = bambi_model(formula, frame, family=family, extra_namespace=double, **more)
    for _ in range(2):  # before Bambi has built its graph, and after
        ours = hb.Model.from_bambi(model)
        values, expected = compared(ours, model)
        np.testing.assert_allclose(values, expected, rtol=DENSITY)


def test_formula_data_and_priors_are_those_of_the_model_handed_over():
    model = bambi_model("count ~ x + (x | g) + (1 | h)", responses(), family="poisson", center_predictors=False)
    ours = hb.Model.from_bambi(model)
    assert ours.formula == "count ~ x + (x || g) + (1 | h)"
    assert (ours.family.name, ours.family.link, ours.center_predictors) == ("poisson", "log", False)
    their = model.parameters["mu"].terms
    assert ours.priors.sds[0].args["sigma"] == float(their["1|g"].prior.args["sigma"].args["sigma"])
    assert ours.priors.coefficients[1].args["sigma"] == float(their["x"].prior.args["sigma"])
    full = hb.Model.from_bambi(model, correlated=True)
    assert full.formula == "count ~ x + (x | g) + (1 | h)"
    assert full.design.parts[0].free


@pytest.mark.parametrize("family", ["bernoulli", "cumulative"])
def test_unordered_categories_stay_in_the_order_that_bambi_has_taken(family):
    """Bambi sorts them; of a Model made here they keep their own."""
    data = responses().assign(answer=lambda d: pd.Categorical(d["word"], ["yes", "no"]))
    right = "0 + x + (1 | g)" if family == "cumulative" else "x + (1 | g)"
    their = bambi_model(f"answer ~ {right}", data, family=family)
    design = hb.Model.from_bambi(their).design
    np.testing.assert_array_equal(design.y, data["word"] == ("yes" if family == "cumulative" else "no"))


def test_rows_that_bambi_drops_are_left_out_aloud():
    data = responses().assign(x=lambda d: d["x"].where(d.index != 3))
    model = bambi_model("count ~ x + (1 | g)", data, family="poisson", dropna=True)
    with pytest.warns(hb.errors.RowsDropped, match="1 of 36 rows have missing values in 'x'"):
        assert hb.Model.from_bambi(model).design.n == 35


def aliased(which):
    model = bambi_model("count ~ x + (1 | g)", responses(), family="poisson")
    model.set_alias(which)
    return model


def custom_family():
    likelihood = bmb.Likelihood("Poisson", params=["mu"], parent="mu")
    return bambi_model("count ~ x + (1 | g)", responses(), family=bmb.Family("mine", likelihood, "log"))


def custom_prior():
    prior = bmb.Prior("mine", dist=lambda name, **_: None)
    return bambi_model("count ~ x + (1 | g)", responses(), family="poisson", priors={"x": prior})


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: aliased({"x": "slope"}), "aliases, for 'x' .'slope'.,"),
        (lambda: aliased({"count": "response"}), "aliases, for 'count' .'response'.,"),
        (lambda: aliased({"sigma": "spread"}), "aliases, for 'sigma' .'spread'.,"),
        (custom_family, "The family 'mine' is not one of Bambi's own"),
        (custom_prior, "The prior of 'x' is a custom function"),
        (
            lambda: bambi_model(bmb.Formula("real ~ x + (1 | g)", "sigma ~ x"), responses()),
            "The model has a formula for 'sigma' too",
        ),
        (
            lambda: bambi_model("real ~ x + (1 | g)", responses(), potentials=[("x", lambda x: -(x**2))]),
            "The model has potentials",
        ),
        (
            lambda: bambi_model("real ~ hsgp(x, m=5, c=2) + (1 | g)", responses()),
            "The model has Gaussian-process terms, hsgp",
        ),
        (
            lambda: bambi_model("real ~ x + (1 | g)", responses(), priors={"1|g": LAPLACE}),
            "The prior of '1|g' must be Normal",
        ),
        (lambda: bambi_model("real ~ x", responses()), "has no random effect"),
    ],
)
def test_what_hierbayes_does_not_have_is_refused_in_a_sentence(made, sentence):
    with pytest.raises(hb.errors.HierbayesError, match=sentence.replace("|", r"\|")):
        hb.Model.from_bambi(made())


def test_something_else_is_refused():
    with pytest.raises(TypeError, match=r"takes a bambi\.Model, not str"):
        hb.Model.from_bambi("y ~ x + (1 | g)")


@pytest.mark.slow
def test_posterior_is_that_of_the_model_handed_over():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(12), 8)
    x = rng.normal(size=len(g))
    y = rng.poisson(np.exp(0.5 + 0.4 * x + 0.6 * rng.normal(size=12)[g]))
    data = pd.DataFrame({"g": [f"g{k}" for k in g], "x": x, "y": y})
    model = bambi_model("y ~ x + (1 | g)", data, family="poisson")
    fit = hb.Model.from_bambi(model).fit(seed=1, progress=False)
    their = model.fit(inference_method="nutpie", random_seed=1, target_accept=0.95, progressbar=False)["posterior"]
    for name in ["Intercept", "x", "1|g_sigma", "1|g"]:
        ours, theirs = fit.posterior[name], their[name]
        error = np.hypot(az.mcse(ours), az.mcse(theirs))
        assert (abs(ours.mean(("chain", "draw")) - theirs.mean(("chain", "draw"))) < 4.0 * error).all(), name
