"""Every family of Bambi: its graph against Bambi's own, its responses, and posteriors against known answers."""

from __future__ import annotations

import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bambi.defaults.families import BUILTIN_FAMILIES
from fixtures_families import DENSITY, INTERPRETED, LEFT, LINKS, bambi_model, compared, half_normal, responses
from scipy import stats

import hierbayes as hb
from hierbayes.conditional import INTERCEPT_CENTERED
from hierbayes.diagnostics import check_convergence
from hierbayes.family import Family
from hierbayes.initial import other_link, scattered

SEVERAL_COLUMNS = {"categorical", "multinomial", "dirichlet_multinomial"}
"""Families with a linear predictor for each outcome; Bambi's graph cannot have an offset then."""


# --- the log density is Bambi's -----------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(BUILTIN_FAMILIES))
def test_density_is_that_of_bambi(family):
    offset = "" if family in SEVERAL_COLUMNS else " + offset(log(exposure))"
    common = f"{LEFT[family]} ~ x + c{offset} + (1 | h)"
    given = {"1|g": half_normal(0.7), "x|g": half_normal(0.4), "1|h": half_normal(1.3)}
    arguments = {"family": family, "link": LINKS.get(family), "priors": given}
    their = bambi_model(f"{common} + (x | g)", responses(), **arguments)
    values, expected = compared(hb.Model(f"{common} + (x || g)", responses(), **arguments), their)
    np.testing.assert_allclose(values, expected, rtol=DENSITY)


def test_every_family_is_tested():
    assert set(LEFT) == set(BUILTIN_FAMILIES)


def test_density_with_an_inverse_link_is_that_of_bambi():
    """Where only positive linear predictors have a density, the graph starts at the inverse of the mean response."""
    formula, given = "positive ~ x + (1 | g)", {"1|g": half_normal(0.1)}
    their = bambi_model(formula, responses(), family="gamma", priors=given)
    model = hb.Model(formula, responses(), family="gamma", priors=given)
    values, expected = compared(model, their, scale=0.02)
    np.testing.assert_allclose(values, expected, rtol=DENSITY)
    start = model.graph("centered").initial_point()
    assert np.isclose(start["Intercept_centered"], 1.0 / responses()["positive"].mean())


def test_chains_start_apart_only_where_that_does_not_move_the_linear_predictor_far():
    """A step of 1 in the coefficient of metres above sea level is one of a hundred in the log of the mean."""
    formula = "TICKS ~ YEAR + cHEIGHT + (cHEIGHT | BROOD) + (1 | LOCATION)"
    model = hb.Model(formula, hb.load_data("grouseticks"), family="poisson")
    effects = {"BROOD_corr_effects"}
    for choice, far in (("centered", {"cHEIGHT"} | effects), ("noncentered", {"cHEIGHT"})):
        graph = model.graph(choice)
        apart = scattered(model.design, graph, centered=True)
        assert {variable.name for variable in graph.free_RVs} - {variable.name for variable in apart} == far
    near = hb.Model("TICKS ~ YEAR + (1 | BROOD)", hb.load_data("grouseticks"), family="poisson")
    assert scattered(near.design, near.graph(), centered=True) is None


# --- responses that are observed in another way -------------------------------------------------


def observed(left, family, priors=None, link=None):
    """Sum of the log densities of the responses at a linear predictor of 0.4 in all rows."""
    model = hb.Model(f"{left} ~ 1 + (1 | g)", responses(), family=family, priors=priors, link=link)
    graph = model.graph("noncentered")
    point = graph.initial_point() | {INTERCEPT_CENTERED: np.array(0.4), "1|g_offset": np.zeros(5)}
    return float(graph.compile_logp(vars=graph.observed_RVs, mode=INTERPRETED)(point))


def test_weights_multiply_the_log_density():
    """Bambi's own weighted() gives the parameters of these distributions to PyMC in the wrong places."""
    d, eta = responses(), 0.4
    w, mu = d["weight"], np.exp(eta)
    gamma = stats.gamma.logpdf(d["positive"], 2.5, scale=mu / 2.5)
    assert np.isclose(observed("weighted(positive, weight)", "gamma", {"alpha": 2.5}, "log"), (w * gamma).sum())
    negative = stats.nbinom.logpmf(d["count"], 2.5, 2.5 / (2.5 + mu))
    assert np.isclose(observed("weighted(count, weight)", "negativebinomial", {"alpha": 2.5}), (w * negative).sum())
    student = stats.t.logpdf(d["real"], 4, eta, 0.8)
    found = observed("weighted(real, weight)", "t", {"sigma": 0.8, "nu": 4})
    assert np.isclose(found, (w * student).sum())
    gaussian = stats.norm.logpdf(d["real"], eta, 0.8)
    assert np.isclose(observed("weighted(real, weight)", "gaussian", {"sigma": 0.8}), (w * gaussian).sum())


def test_censored_responses_have_the_density_of_their_tail():
    d = responses()
    free = stats.norm.logpdf(d["capped"], 0.4, 0.8)
    expected = np.where(d["status"] == "right", stats.norm.logsf(d["capped"], 0.4, 0.8), free).sum()
    assert np.isclose(observed("censored(capped, status)", "gaussian", {"sigma": 0.8}), expected)
    counts = np.minimum(d["count"], 2)
    known = stats.poisson.logpmf(counts, np.exp(0.4))
    expected = np.where(d["count"] > 1, stats.poisson.logsf(1, np.exp(0.4)), known).sum()
    frame_status = "np.where(count > 1, 'right', 'none')"
    assert np.isclose(observed(f"censored(np.minimum(count, 2), {frame_status})", "poisson"), expected)


def test_truncated_responses_have_the_density_of_what_is_left():
    d = responses()
    low = np.floor(d["real"].min()) - 0.5
    whole = stats.norm.sf(low, 0.4, 0.8)
    expected = (stats.norm.logpdf(d["real"], 0.4, 0.8) - np.log(whole)).sum()
    assert np.isclose(observed(f"truncated(real, {low})", "gaussian", {"sigma": 0.8}), expected)
    inside = stats.norm.cdf(1.0, 0.4, 0.8) - stats.norm.cdf(0.0, 0.4, 0.8)
    expected = (stats.norm.logpdf(d["unit"], 0.4, 0.8) - np.log(inside)).sum()
    assert np.isclose(observed("constrained(unit, 0, 1)", "gaussian", {"sigma": 0.8}), expected)


@pytest.mark.parametrize("left", ["truncated(real, -9)", "weighted(real, weight)", "censored(real, status)"])
def test_automatic_priors_are_for_the_response_not_for_its_bounds(left):
    """Bambi takes bounds, statuses and weights into the mean and the spread of the response."""
    plain = hb.Model("real ~ x + (1 | g)", responses()).priors
    found = hb.Model(f"{left} ~ x + (1 | g)", responses()).priors
    assert found.coefficients == plain.coefficients
    assert found.sds == plain.sds
    assert found.auxiliary["sigma"] == (plain.sigma,)


# --- responses of every kind --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "event"),
    [("word", "no"), ("word['yes']", "yes"), ("word['no']", "no"), ("truth", "yes"), ("binary", "yes")],
)
def test_binary_responses_count_the_event(left, event):
    """Of a text Bambi models the first category, if none is named."""
    data = responses().assign(truth=lambda d: d["binary"] == 1)
    design = hb.Model(f"{left} ~ x + (1 | g)", data, family="bernoulli").design
    np.testing.assert_array_equal(design.y, (data["word"] == event).astype(float))
    known = {"truth": "truth = True", "binary": None}.get(left, f"word = {event}")
    assert design.event == known
    assert known is None or design.size.endswith(f"probability of {known}")


def test_successes_and_trials_need_a_family():
    data = responses().assign(s=1, n=2)
    data.loc[:3, "s"] = 0
    with pytest.raises(hb.errors.DataError, match=r"successes and trials need family='binomial'"):
        hb.Model("p(s, n) ~ x + (1 | g)", data)


def test_categories_are_codes_in_their_order():
    data = responses().assign(text=lambda d: d["grade"].astype(str))
    design = hb.Model("grade ~ x + (1 | g)", data, family="cumulative").design
    assert design.categories == ("a", "b", "c", "d")
    np.testing.assert_array_equal(design.y, data["grade"].cat.codes)
    backwards = data.assign(grade=data["grade"].cat.reorder_categories(list("dcba"), ordered=True))
    design = hb.Model("grade ~ x + (1 | g)", backwards, family="sratio").design
    np.testing.assert_array_equal(design.y, 3 - data["grade"].cat.codes)
    with pytest.warns(hb.errors.HierbayesWarning, match=r"alphabetical order, a < b < c < d; make"):
        hb.Model("text ~ x + (1 | g)", data, family="cumulative")


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("left", ["rating", "C(rating)"])
def test_categories_have_their_own_order_whether_ordered_or_not(left, ordered):
    """Those of an unordered one formulae would sort."""
    labels = ["low", "medium", "high", "never"]
    codes = responses()["grade"].cat.codes.clip(upper=2)
    data = responses().assign(rating=pd.Categorical.from_codes(codes, labels, ordered=ordered))
    for family in ("cumulative", "sratio", *(["categorical"] if left == "rating" else [])):
        design = hb.Model(f"{left} ~ x + (1 | g)", data, family=family).design
        assert design.categories == ("low", "medium", "high")
        np.testing.assert_array_equal(design.y, codes)
    assert design.outcomes is None or design.outcomes[1] == ("medium", "high")


@pytest.mark.parametrize("ordered", [False, True])
def test_the_first_of_two_categories_is_modelled(ordered):
    data = responses().assign(answer=lambda d: pd.Categorical(d["word"], ["yes", "no"], ordered=ordered))
    for left, event in (("answer", "yes"), ("answer['no']", "no")):
        design = hb.Model(f"{left} ~ x + (1 | g)", data, family="bernoulli").design
        np.testing.assert_array_equal(design.y, data["word"] == event)


def test_columns_of_counts_are_outcomes():
    design = hb.Model("counts(low, mid, high) ~ x + (1 | g)", responses(), family="multinomial").design
    np.testing.assert_array_equal(design.y, responses()[["low", "mid", "high"]])
    assert design.outcomes[1] == ("mid", "high")


@pytest.mark.parametrize(
    ("left", "family", "sentence"),
    [
        ("count - 1", "poisson", r"is -1.* in row \d+ .*'poisson' it must be a whole number, 0 or more"),
        ("count * 1.5", "negativebinomial", r"must be a whole number"),
        ("word", "poisson", r"word is text or categorical, and the family 'poisson' needs numbers"),
        ("count", "beta", r"must be a number between 0 and 1, both excluded"),
        ("real", "gamma", r"must be a positive number"),
        ("9 * unit", "vonmises", r"must be an angle between -π and π"),
        ("count", "bernoulli", r"has numbers other than 0 and 1"),
        ("grade", "bernoulli", r"has 4 categories.* as in grade\['a'\] ~ …, or use family='categorical'"),
        ("hits", "binomial", r"needs successes and trials .* p\(successes, trials\)"),
        ("p(hits + 9, trials)", "binomial", r"'successes' cannot be greater than 'trials'"),
        ("count", "cumulative", r"has numbers, and the family 'cumulative' needs categories"),
        ("count", "categorical", r"has numbers, and the family 'categorical' needs categories"),
        ("low", "multinomial", r"counts of three or more categories .* counts\(a, b, …\)"),
        ("counts(low, high)", "poisson", r"several columns"),
        ("counts(low, high)", "multinomial", r"two counts, .* use family=.binomial. with p\(k1, k1 \+ k2\)"),
        ("counts(low, high)", "dirichlet_multinomial", r"two counts, .* use family=.beta_binomial."),
        ("0 * count", "poisson", r"same value in every row"),
        ("truncated(count, 1)", "poisson", r"is 0 in row \d+ .*, outside of its bounds 1 and inf"),
    ],
)
def test_responses_that_a_family_cannot_have_are_refused(left, family, sentence):
    left = left if left.isidentifier() or "(" in left else f"I({left})"
    with pytest.raises(hb.errors.HierbayesError, match=sentence):
        hb.Model(f"{left} ~ x + (1 | g)", responses(), family=family)


def test_unknown_families_and_links_are_refused():
    with pytest.raises(hb.errors.FormulaError, match=r"There is no family 'posson'\. Did you mean 'poisson'"):
        hb.Model("count ~ x + (1 | g)", responses(), family="posson")
    for name in ("neg_binomial", "negative_binomial", "Negative Binomial"):
        with pytest.raises(hb.errors.FormulaError, match="Did you mean 'negativebinomial'"):
            hb.Model("count ~ x + (1 | g)", responses(), family=name)
    with pytest.raises(hb.errors.FormulaError, match="'poisson' has no link 'logit' for mu; it has identity, log"):
        hb.Model("count ~ x + (1 | g)", responses(), family="poisson", link="logit")


@pytest.mark.parametrize(
    ("name", "remedy"), [("weights", r"weighted\(y, w\)"), ("se", "leave"), ("residual", "add a")]
)
def test_arguments_of_gaussian_responses_are_refused(name, remedy):
    value = "ar1(1 | g)" if name == "residual" else "weight"
    with pytest.raises(
        hb.errors.DataError, match=rf"{name}= is for a plain Gaussian .* not poisson\(log\): .*{remedy}"
    ):
        hb.Model("count ~ x + (1 | g)", responses(), family="poisson", **{name: value})


@pytest.mark.parametrize(
    ("priors", "sentence"),
    [
        ({"sigma": bmb.Prior("HalfNormal", sigma=1)}, "prior for 'sigma', but the model has no such term"),
        ({"alpha": bmb.Prior("Normal", mu=0, sigma=1)}, "allows negative numbers; 'alpha' is positive"),
        ({"alpha": -2.0}, "'alpha' is fixed to -2.0; it must be positive"),
        ({"alpha": "HalfNormal"}, "must be a bambi.Prior, not str"),
    ],
)
def test_priors_that_the_family_cannot_have_are_refused(priors, sentence):
    with pytest.raises(hb.errors.PriorError, match=sentence):
        hb.Model("count ~ x + (1 | g)", responses(), family="negativebinomial", priors=priors)


@pytest.mark.parametrize(
    ("call", "what", "remedy"),
    [
        (lambda m: m.reml(), "A REML fit in closed form", r"use ml\(\) for maximum likelihood"),
        (lambda m: m.refit(m.design.y), r"refit\(\)", "make a Model of data with the other response"),
        (lambda m: m.refits([m.design.y]), r"refits\(\)", "make a Model of data with each response"),
        (lambda m: m.quadrature(), r"quadrature\(\)", r"sample the posterior by fit\(\)"),
        (lambda m: m.evidence(), r"evidence\(\)", r"compare models by compare\(\) of their fits"),
    ],
    ids=["reml", "refit", "refits", "quadrature", "evidence"],
)
def test_what_only_gaussian_models_have_is_refused_in_a_sentence(call, what, remedy):
    model = hb.Model("count ~ x + (1 | g)", responses(), family="poisson")
    sentence = rf"^{what} needs a Gaussian response with identity link, not poisson\(log\); {remedy}"
    with pytest.raises(hb.errors.HierbayesError, match=sentence):
        call(model)


def test_divergences_of_a_restricted_link_recommend_another():
    posterior = xr.Dataset({"x": (("chain", "draw"), np.random.default_rng(1).normal(size=(4, 500)))})
    stats_ = xr.Dataset({"diverging": (("chain", "draw"), np.arange(2000).reshape(4, 500) == 7)})
    for family, end in (
        (Family("poisson", "mu", "identity"), "tighter priors, or another link, such as 'log'."),
        (Family("bernoulli", "p", "identity"), "tighter priors, or another link, such as 'logit'."),
        (Family("poisson", "mu", "log"), "tighter priors."),
    ):
        assert check_convergence(posterior, stats_, other_link(family)).problems[0].endswith(end)


def test_the_marginal_parametrisation_is_refused():
    model = hb.Model("count ~ x + (1 | g)", responses(), family="poisson")
    with pytest.raises(ValueError, match="'marginal' needs a Gaussian response with identity link, not poisson"):
        model.graph("marginal")


# --- graphs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "right"),
    [
        ("poisson", "x + (x | g)"),
        ("poisson", "1 + (x * c || g) + (1 | h)"),
        ("cumulative", "0 + x + (1 | g/h)"),
        ("categorical", "c + (c | g)"),
        ("categorical", "x + (x || g)"),
    ],
)
def test_graphs_have_a_finite_density_and_gradient(family, right):
    model = hb.Model(f"{LEFT[family]} ~ {right}", responses(), family=family)
    several = model.design.outcomes is not None and any(part.free for part in model.design.parts)
    for choice in ["noncentered"] if several else ["noncentered", "centered"]:
        graph = model.graph(choice)
        start = graph.initial_point()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            gradient = graph.compile_dlogp(mode=INTERPRETED)(start)
        assert np.isfinite(gradient).all()
        assert len(gradient) == sum(np.size(value) for value in start.values())
        assert np.isfinite(graph.compile_logp(mode=INTERPRETED)(start))
    if several:
        with pytest.raises(ValueError, match="correlated effects of the family 'categorical' are non-centred"):
            model.graph("centered")


def middle_intercept(design, part, known):
    """The intercept at the mean of the predictors that have no effect in a block."""
    own = {term.name for term in part.block.terms} | {"Intercept"}
    value, at = known.get("Intercept", 0.0), 0
    for term in design.terms:
        columns = design.X[:, at : at + len(term.labels)]
        at += len(term.labels)
        if term.name not in own:
            value = value + (columns.mean(axis=0) * np.atleast_1d(known[term.name])).sum()
    return value


@pytest.mark.parametrize(
    ("right", "scaled"),
    [("x + (1 | g) + (1 | h)", 1), ("x + c + (c || g)", 3), ("1 + (x | g)", 2), ("0 + x + (x || g)", 2)],
)
def test_centred_effects_have_the_density_of_noncentred_ones(right, scaled):
    """Around the fixed effects of the same terms: level = β + b, b = L z; log p(level) = log p(z) - J log|L|."""
    model = hb.Model(f"count ~ {right}", responses(), family="poisson")
    z_graph, b_graph = model.graph("noncentered"), model.graph("centered")
    rng = np.random.default_rng(3)
    start = z_graph.initial_point()
    z = {name: value + rng.normal(0.0, 0.3, np.shape(value)) for name, value in start.items()}
    wanted = [variable for variable in z_graph.deterministics if "|" in variable.name or variable.name == "Intercept"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        values = z_graph.compile_fn(
            z_graph.replace_rvs_by_values(wanted),
            inputs=z_graph.value_vars,
            mode=INTERPRETED,
            on_unused_input="ignore",
        )(z)
        known = {variable.name: value for variable, value in zip(wanted, values, strict=True)} | {"x": z.get("x")}
        known |= {"c": z.get("c")}
        point = {}
        middle = {part.factor.name: middle_intercept(model.design, part, known) for part in model.design.parts}
        for name, shape in b_graph.initial_point().items():
            if name in z:
                point[name] = z[name]
            elif name == "g_corr_effects":
                point[name] = np.column_stack([known["1|g"] + middle["g"], known["x|g"]])
            else:
                effect = name.removesuffix("_level")
                term, factor = effect.split("|")
                location = (middle[factor] if term == "1" else known[term]) if name.endswith("_level") else 0.0
                point[name] = known[effect] + (location[:, None] if np.ndim(location) else location)
            assert np.shape(point[name]) == np.shape(shape)
        found = float(b_graph.compile_logp(mode=INTERPRETED)(point))
        expected = float(z_graph.compile_logp(mode=INTERPRETED)(z))
    jacobian, seen = 0.0, 0
    for part in model.design.parts:
        levels = len(part.factor.levels)
        for term in part.block.terms:
            log_sd = np.atleast_1d(z[f"{term.name}|{part.factor.name}_sigma_log__"])
            jacobian += levels * log_sd.sum()
            seen += len(log_sd)
        if part.free:
            r = 2.0 / (1.0 + np.exp(-z["g_corr_partial_logodds__"])) - 1.0
            jacobian += levels * 0.5 * np.log(1.0 - r**2).sum()
    assert seen >= scaled
    assert any(name.endswith(("_level", "_effects")) for name in point)
    np.testing.assert_allclose(found, expected - jacobian, rtol=DENSITY)


def test_priors_are_summarised_on_the_scale_of_the_link():
    given = {"x": bmb.Prior("Normal", mu=0, sigma=2), "alpha": 2.5}
    table = hb.Model("count ~ x + (x | g)", responses(), family="negativebinomial", priors=given).prior_summary()
    assert table["term"].tolist() == [
        "Intercept", "x", "sd(Intercept)", "sd(x)", "corr(Intercept, x)", "alpha",
    ]  # fmt: skip
    rows = table.set_index("term")
    assert rows["automatic"].tolist() == [True, False, True, True, True, False]
    change = 1.96 * 2.0 * responses()["x"].std(ddof=0)
    assert np.isclose(rows.loc["x", "implied_high"], change, rtol=1e-3)
    assert rows.loc["x", "meaning"].startswith("change of log(mu) over one sd")
    assert (rows.loc["alpha", "low"], rows.loc["alpha", "high"]) == (2.5, 2.5)
    ordinal = hb.Model("grade ~ x + (1 | g)", responses(), family="cumulative").prior_summary()
    assert ordinal["term"].tolist()[-3:] == ["threshold[0]", "threshold[1]", "threshold[2]"]
