"""The conditional graphs against the marginal likelihood, the dense definition and the marginal posterior."""

from __future__ import annotations

from dataclasses import replace

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytest
from oracle import (
    CASES,
    centred,
    correlation_from_partials,
    covariance_of,
    log_normal,
    make_design,
)
from scipy.linalg import block_diag

import hierbayes as hb
from hierbayes import names
from hierbayes.conditional import INTERCEPT_CENTERED, build_conditional, posterior_of
from hierbayes.design import Block, Design, Factor, Term
from hierbayes.marginal import Marginal
from hierbayes.parameterization import choose, information
from hierbayes.priors import Prior, Priors
from hierbayes.residual import Residual
from hierbayes.sampling import make_target

DENSITY = 1e-9
"""Relative, of log densities: both sides are sums of a few hundred terms in double precision."""
RATIO = 1e-12
"""Relative, of the information ratio: a sum over rows against the same sum by levels."""
STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between two posteriors, at most."""

INTERPRETED = "FAST_COMPILE"
"""PyTensor's mode for a few evaluations, which are not worth compiling."""
CHOICES = ["centered", "noncentered"]
FLAT, HALF = Prior("Flat", {}), Prior("HalfNormal", {"sigma": 1.5})
NORMAL = Prior("Normal", {"mu": 0.5, "sigma": 0.7})
STUDENT = Prior("StudentT", {"nu": 4.0, "mu": 0.5, "sigma": 2.0})


# --- the log density, exactly ---------------------------------------------------------------------


def categorical(design):
    """The same design with its first block as one categorical term, and the columns of X after the first as one."""
    columns = tuple(f"c[{k}]" for k in range(design.blocks[0].Z.shape[1]))
    fixed = tuple(f"f[{k}]" for k in range(1, design.X.shape[1]))
    block = replace(design.blocks[0], terms=(Term("c", columns, columns),))
    return replace(design, terms=(design.terms[0], Term("f", fixed, fixed)), blocks=(block, *design.blocks[1:]))


def mixed(design):
    """The columns of its first block as a scalar term and a categorical one."""
    block = design.blocks[0]
    columns = tuple(f"c[{k}]" for k in range(1, block.Z.shape[1]))
    return replace(design, blocks=(replace(block, terms=(block.terms[0], Term("c", columns, columns))),))


def crossed(p, **more):
    """Two factors: two correlated blocks in the first, one effect in the second. No intercept."""
    rng = np.random.default_rng(5)
    n = 40
    g = Factor("g", rng.permutation(np.arange(n) % 6), np.array(list("abcdef")))
    h = Factor("h", rng.permutation(np.arange(n) % 4), np.array(list("wxyz")))

    def block(factor, labels):
        terms = tuple(Term(label, (label,)) for label in labels)
        return Block(factor, terms, rng.normal(size=(n, len(labels))), True)

    blocks = (block(g, ("1", "u")), block(g, ("v", "w")), block(h, ("1",)))
    terms = tuple(Term(f"x{k}", (f"x{k}",)) for k in range(p))
    return Design("y ~ ...", "y", rng.normal(size=n), rng.normal(size=(n, p)), terms, blocks, **more)


WEIGHTS, OFFSET = np.random.default_rng(9).uniform(0.2, 3.0, (2, 40))
DESIGNS = {
    "intercept": CASES["intercept, unbalanced"],
    "slope": CASES["slope, unbalanced"],
    "slope, uncorrelated": CASES["slope, uncorrelated"],
    "three effects": CASES["three effects"],
    "two blocks": CASES["two blocks"],
    "an uncorrelated block first": CASES["one effect and a pair"],
    "categorical": categorical(CASES["three effects"]),
    "categorical, uncorrelated": mixed(CASES["three effects, uncorrelated"]),
    "number and category": mixed(CASES["three effects"]),
    "crossed": crossed(2),
    "no fixed effects": crossed(0),
    "weights": crossed(2, weights=WEIGHTS),
    "offset": crossed(2, offset=OFFSET),
    "known sigma": crossed(2, sigma=0.8, weights=WEIGHTS),
}


def factors_at(design, theta):
    """Cholesky factor of Σ of each block, from the definition of the partial correlations."""
    found, at = [], design.layout.q
    for part in design.parts:
        size = part.block.Z.shape[1]
        corr = np.eye(size)
        if part.free:
            corr = correlation_from_partials(theta[at : at + size * (size - 1) // 2], size)
            at += size * (size - 1) // 2
        found.append(np.linalg.cholesky(covariance_of(theta[part.where], corr)))
    return found


def dense(design, factors):
    """Z of rows x effects, block by block and level by level, and the covariance of the effects."""
    Z = [
        (np.eye(len(part.factor.levels))[part.factor.codes][:, :, None] * part.block.Z[:, None, :]).reshape(
            design.n, -1
        )
        for part in design.parts
    ]
    G = [np.kron(np.eye(len(part.factor.levels)), L @ L.T) for part, L in zip(design.parts, factors, strict=True)]
    return np.concatenate(Z, axis=1), block_diag(*G)


def conditional(design, sigma, W, mean, covariance):
    """Mean and covariance of u ~ N(mean, covariance) given y = offset + W u + ε, from the joint Gaussian."""
    noise = np.full(design.n, sigma**2) / (1.0 if design.weights is None else design.weights)
    gain = np.linalg.solve(W @ covariance @ W.T + np.diag(noise), W @ covariance).T
    rest = design.y - (0.0 if design.offset is None else design.offset) - W @ mean
    return mean + gain @ rest, covariance - gain @ W @ covariance


def standardised(design, factors, b, choices):
    """Effects as the graph has them, (q, J) for each block, and the log Jacobian of going from b to them."""
    parts, jacobian, at = [], 0.0, 0
    for part, L, choice in zip(design.parts, factors, choices, strict=True):
        J = len(part.factor.levels)
        values = b[at : at + J * len(L)].reshape(J, -1).T
        at += values.size
        if choice == "noncentered":
            jacobian += J * np.log(np.diag(L)).sum()
            values = np.linalg.solve(L, values)
        parts.append(values)
    return parts, jacobian


def shaped(term, rows):
    """The rows of a term, as its variable has them."""
    return rows[0] if term.levels is None else rows


def log_density(design, priors, choices, x, effects):
    """Log density of the graph at a point of its unconstrained parameters.

    `x` holds the sds, the partial correlations, σ if it is unknown, and the fixed effects in the
    coordinates of their priors.
    """
    graph = build_conditional(design, priors, choices)
    rest = iter(x)
    values = {}

    def take(size):
        return np.array([next(rest) for _ in range(size)])

    for part in design.parts:
        for term in part.block.terms:
            values[names.sd(term.name, part.factor.name)] = shaped(term, take(len(term.labels)))
    for part, rows in zip(design.parts, effects, strict=True):
        if part.free:
            values[names.partial(part.factor.name, part.number)] = take(len(rows) * (len(rows) - 1) // 2)
            values[f"{names.corr(part.factor.name, part.number)}_effects"] = rows.T
        ends = np.cumsum([len(term.labels) for term in part.block.terms])
        for term, of_term in zip(part.block.terms, np.split(rows, ends[:-1]), strict=True):
            name = names.effect(term.name, part.factor.name)
            values[name] = values[f"{name}_offset"] = shaped(term, of_term)
    if priors.sigma is not None:
        values[names.SIGMA] = take(1)[0]
    for term in design.terms:
        values[term.name] = shaped(term, take(len(term.labels)))
    values[INTERCEPT_CENTERED] = values.get(names.INTERCEPT)
    point = {graph.rvs_to_values[variable].name: values[variable.name] for variable in graph.free_RVs}
    return float(graph.compile_logp(mode=INTERPRETED)(point))


def priors_of(design, coefficients, centered):
    layout = design.layout
    sigma = HALF if design.sigma is None else None
    centered = centered and design.intercept is not None
    return Priors(tuple(coefficients), centered, (HALF,) * layout.q, sigma, (2.0,) * len(layout.sizes))


def some_theta(design, p):
    """θ of the marginal likelihood with p fixed effects, and σ."""
    rng = np.random.default_rng(0)
    layout = design.layout
    sd, partial = rng.uniform(0.3, 2.0, layout.q), rng.uniform(-0.8, 0.8, layout.n_partial)
    sigma = rng.uniform(0.5, 1.5, 1) if design.sigma is None else np.array([])
    return np.concatenate([sd, partial, sigma, rng.uniform(-2.0, 2.0, p)]), float([*sigma, design.sigma][0])


def alternating(design, first):
    """Choices that change from block to block."""
    second = CHOICES[1 - CHOICES.index(first)]
    return [(first, second)[k % 2] for k in range(len(design.blocks))]


@pytest.mark.parametrize(("first", "centered"), [("centered", False), ("noncentered", True)])
@pytest.mark.parametrize("name", DESIGNS)
def test_density_is_the_marginal_one_times_that_of_the_effects(name, first, centered):
    """p(y, b | θ) = p(y | θ) p(b | y, θ) with the fixed effects in θ, for one b far from its mean."""
    design = DESIGNS[name]
    p = design.X.shape[1]
    priors = priors_of(design, [NORMAL, *[STUDENT] * (p - 1)][:p], centered)
    choices = alternating(design, first)
    theta, sigma = some_theta(design, p)
    factors = factors_at(design, theta)

    X = centred(design.X) if priors.centered else design.X
    given_beta = replace(design, y=design.y - X @ theta[len(theta) - p :])
    Z, G = dense(design, factors)
    b = np.random.default_rng(1).normal(size=len(G))
    effects, change = standardised(design, factors, b, choices)

    target = make_target(Marginal(design, priors, kept=np.ones(p, dtype=bool)), priors)
    x = target.unconstrain(theta)
    expected = (
        target.log_posterior(x)[0] + log_normal(b, *conditional(given_beta, sigma, Z, np.zeros(len(G)), G)) + change
    )
    np.testing.assert_allclose(log_density(design, priors, choices, x, effects), expected, rtol=DENSITY)


@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred predictors"])
@pytest.mark.parametrize("name", ["two blocks", "categorical", "weights"])
def test_density_is_that_with_integrated_fixed_effects(name, centered):
    """p(y, b, β | θ) = p(y | θ) p(b, β | y, θ) with Normal priors, as the marginal fit integrates them."""
    design = DESIGNS[name]
    p = design.X.shape[1]
    prior_mean, prior_sd = 0.5 * np.arange(p) - 0.3, 0.7 + np.arange(p)
    coefficients = [Prior("Normal", {"mu": m, "sigma": s}) for m, s in zip(prior_mean, prior_sd, strict=True)]
    priors = priors_of(design, coefficients, centered)
    choices = alternating(design, "noncentered")
    theta, sigma = some_theta(design, 0)
    factors = factors_at(design, theta)

    X = centred(design.X) if priors.centered else design.X
    Z, G = dense(design, factors)
    W, mean, covariance = np.c_[X, Z], np.r_[prior_mean, np.zeros(len(G))], block_diag(np.diag(prior_sd**2), G)
    u = np.random.default_rng(2).normal(size=len(mean))
    effects, change = standardised(design, factors, u[p:], choices)

    target = make_target(Marginal(design, priors), priors)
    x = target.unconstrain(theta)
    expected = target.log_posterior(x)[0] + log_normal(u, *conditional(design, sigma, W, mean, covariance)) + change
    found = log_density(design, priors, choices, np.r_[x, u[:p]], effects)
    np.testing.assert_allclose(found, expected, rtol=DENSITY)


def test_names_count_blocks_within_their_factor():
    design = DESIGNS["known sigma"]
    graph = build_conditional(design, priors_of(design, [FLAT, FLAT], False), ["centered", "noncentered", "centered"])
    assert [variable.name for variable in graph.free_RVs] == [
        "x0",
        "x1",
        "1|g_sigma",
        "u|g_sigma",
        "g_corr_partial",
        "g_corr_effects",
        "v|g_sigma",
        "w|g_sigma",
        "g_corr2_partial",
        "v|g_offset",
        "w|g_offset",
        "1|h_sigma",
        "1|h",
    ]
    assert [variable.name for variable in graph.deterministics] == ["g_corr", "1|g", "u|g", "g_corr2", "v|g", "w|g"]


def test_a_flat_prior_adds_nothing():
    design = DESIGNS["crossed"]
    effects = [np.zeros((part.block.Z.shape[1], len(part.factor.levels))) for part in design.parts]
    x = np.linspace(-1.0, 1.0, 10)
    flat, proper = (
        log_density(design, priors_of(design, [prior] * 2, False), ["centered"] * 3, x, effects)
        for prior in (FLAT, NORMAL)
    )
    constants = np.log(NORMAL.args["sigma"] * np.sqrt(2.0 * np.pi))
    quadratic = 0.5 * (((x[-2:] - NORMAL.args["mu"]) / NORMAL.args["sigma"]) ** 2)
    assert flat - proper == pytest.approx((quadratic + constants).sum(), rel=DENSITY)


def test_choices_must_fit_the_design():
    design = DESIGNS["two blocks"]
    priors = priors_of(design, [FLAT, FLAT], False)
    with pytest.raises(ValueError, match="each of the 2 blocks"):
        build_conditional(design, priors, ["centered"])
    with pytest.raises(ValueError, match="not \\['centered', 'auto'\\]"):
        build_conditional(design, priors, ["centered", "auto"])


def test_correlated_residuals_are_refused():
    n = 40
    design = crossed(2, residual=Residual("ar1", "ar1(1 | g)", "g", np.zeros(n, dtype=int), np.arange(n)))
    with pytest.raises(ValueError, match="independent residuals"):
        build_conditional(design, priors_of(design, [FLAT, FLAT], False), ["centered"] * 3)


# --- the rule -------------------------------------------------------------------------------------


def grouped(rows, Z, correlated):
    """Levels with `rows` rows each; responses do not matter to the rule."""
    codes = np.repeat(np.arange(20), rows)
    n = len(codes)
    return make_design(np.zeros(n), np.ones((n, 1)), codes, Z(n), correlated)


def ones(n):
    return [np.ones((n, 1))]


def test_many_rows_a_level_are_centred():
    found = information(grouped(50, ones, [True]), np.array([[1.0]]), 1.0)
    assert found.loc[0, ["group", "terms", "levels", "choice"]].tolist() == ["g", "z0", 20, "centered"]
    assert found.loc[0, "ratio"] == pytest.approx(50.0, rel=RATIO)
    assert "50 to 1" in found.loc[0, "reason"]


def test_few_noisy_rows_a_level_are_not():
    found = information(grouped(2, ones, [True]), np.array([[1.0]]), 4.0)
    assert found.loc[0, "choice"] == "noncentered"
    assert found.loc[0, "ratio"] == pytest.approx(2.0 / 16.0, rel=RATIO)


def test_no_variance_is_not_centred():
    nothing = information(grouped(50, ones, [True]), np.array([[0.0]]), 1.0)
    assert nothing["choice"].tolist() == ["noncentered"]
    assert nothing["reason"].tolist() == ["the quick fit finds no variance in these effects"]


def test_blocks_are_judged_one_by_one():
    design = crossed(1)
    Sigma = np.diag([25.0, 25.0, 1e-4, 4e-4, 81.0])
    found = information(design, Sigma, 1.0)
    assert found["choice"].tolist() == ["centered", "noncentered", "centered"]
    assert found["group"].tolist() == ["g", "g", "h"]
    assert found["terms"].tolist() == ["1 + u", "v + w", "1"]
    assert found["levels"].tolist() == [6, 6, 4]


def test_ratio_is_the_median_of_the_smallest_eigenvalues():
    weights = np.random.default_rng(4).uniform(0.2, 3.0, 40)
    design = crossed(1, weights=weights)
    Sigma = block_diag([[1.0, -0.7], [-0.7, 0.74]], np.eye(3))
    Z, codes = design.blocks[0].Z, design.blocks[0].factor.codes
    smallest = []
    for level in range(6):
        rows = codes == level
        A = (Z[rows] * weights[rows, None]).T @ Z[rows] / 1.3**2
        smallest.append(np.linalg.eigvals(Sigma[:2, :2] @ A).real.min())
    assert information(design, Sigma, 1.3).loc[0, "ratio"] == pytest.approx(np.median(smallest), rel=1e3 * RATIO)


# --- draws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=CHOICES)
def sampled(request, sleepstudy):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    return model.fit(seed=7, target_accept=0.98, progress=False, parameterization=request.param)


def quantities(posterior):
    """Every parameter and the effects of three subjects, as chains x draws."""
    found = {
        name: posterior[name] for name in ["Intercept", "Days", "1|Subject_sigma", "Days|Subject_sigma", "sigma"]
    }
    found["correlation"] = posterior["Subject_corr"][..., 0, 1]
    for term in ["1|Subject", "Days|Subject"]:
        for level in ["308", "335", "372"]:
            found[f"{term}[{level}]"] = posterior[term].sel(Subject__factor_dim=level)
    return {name: draws.to_numpy() for name, draws in found.items()}


def test_posterior_is_the_marginal_one(sampled, fit_sleepstudy):
    ours, theirs = quantities(sampled.posterior), quantities(fit_sleepstudy.posterior)
    far = {}
    for name in ours:
        for statistic, method in ((np.mean, "mean"), (np.std, "sd")):
            error = np.hypot(*(float(az.mcse(draws[name], method=method)) for draws in (ours, theirs)))
            z = (statistic(ours[name]) - statistic(theirs[name])) / error
            if abs(z) > STANDARD_ERRORS:
                far[name, method] = round(z, 2)
    assert far == {}


def skeleton(dataset):
    """Everything about a data set but its numbers and the number of draws."""
    variables = [(name, variable.dims, variable.dtype) for name, variable in dataset.data_vars.items()]
    coords = {
        name: (coord.dims, coord.dtype, coord.to_numpy().tolist())
        for name, coord in dataset.coords.items()
        if name not in (names.CHAIN, names.DRAW)
    }
    numbered = {name: dataset[name].dtype for name in (names.CHAIN, names.DRAW)}
    return variables, list(dataset.coords), coords, numbered


def test_draws_have_the_form_of_the_marginal_fit(sampled, fit_sleepstudy):
    assert skeleton(sampled.posterior) == skeleton(fit_sleepstudy.posterior)
    diagonal = sampled.posterior["Subject_corr"].to_numpy()[..., [0, 1], [0, 1]]
    assert (diagonal == 1.0).all()


def test_fit_works_on_the_draws(sampled, fit_sleepstudy):
    assert sampled.convergence.ok
    assert sampled.parameterization in {f"{choice}: asked for" for choice in CHOICES}
    pd.testing.assert_index_equal(sampled.summary().index, fit_sleepstudy.summary().index)
    pd.testing.assert_index_equal(sampled.ranef()["Subject"].index, fit_sleepstudy.ranef()["Subject"].index)


# --- what is chosen -------------------------------------------------------------------------------


def test_a_gaussian_response_is_marginal(fit_sleepstudy):
    assert fit_sleepstudy.parameterization.startswith("marginal: the response is Gaussian")


def test_a_large_core_is_decided_block_by_block(monkeypatch, sleepstudy):
    monkeypatch.setattr("hierbayes.parameterization.LARGE_CORE", 3)
    data = sleepstudy.assign(item=np.tile(np.arange(5), 36))
    model = hb.Model("Reaction ~ Days + (1 | Subject) + (1 | item)", data)
    reml = model._maximise("REML", quiet=True)
    chosen = choose("auto", model.marginal, reml.covariance, reml.sigma)
    assert chosen.blocks == ("centered", "noncentered")
    assert "core of 5 columns" in chosen.reason
    assert "1|Subject centered: the data of a typical level outweigh" in chosen.reason
    assert {"1|Subject_level", "1|item_offset"} < {variable.name for variable in model.graph("auto").free_RVs}


@pytest.mark.parametrize("wanted", CHOICES)
def test_correlated_residuals_are_marginal(wanted, sleepstudy):
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, residual="ar1(Days | Subject)")
    assert model._choose("auto").marginal
    with pytest.raises(ValueError, match="needs independent residuals"):
        model.graph(wanted)
    with pytest.raises(ValueError, match="marginal, noncentered, centered, auto"):
        model.fit(parameterization="uncentred")


@pytest.mark.parametrize("choice", CHOICES)
def test_categorical_terms_have_the_form_of_the_marginal_fit(categories, choice):
    model, posterior = categories
    with build_conditional(model.design, model.priors, [choice] * len(model.design.blocks)):
        draws = pm.sample_prior_predictive(3, random_seed=1, compile_kwargs={"mode": INTERPRETED})[
            "prior"
        ].to_dataset()
    assert skeleton(posterior_of(draws, model.design)) == skeleton(posterior)


@pytest.fixture(scope="module")
def categories():
    """Categorical fixed and random slopes, in a correlated and an uncorrelated block, and their marginal fit."""
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"g": np.repeat(list("abcdefgh"), 12), "dose": np.tile(["high", "low", "none"], 32)})
    data["x"] = rng.normal(size=96)
    data["y"] = rng.normal(size=8).repeat(12) + rng.normal(size=96)
    model = hb.Model("y ~ dose + x + (dose | g) + (0 + x | g)", data)
    return model, model.fit(seed=1, progress=False).posterior
