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
    conditional_effects,
    correlation_from_partials,
    covariance_of,
    dense,
    joint_conditional,
    log_normal,
    make_design,
)

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
HALF = Prior("HalfNormal", {"sigma": 1.5})
FLAT, HALF_FLAT = Prior("Flat", {}), Prior("HalfFlat", {})
STUDENT = Prior("StudentT", {"nu": 4.0, "mu": 0.5, "sigma": 2.0})


def normal(mu, sigma):
    return Prior("Normal", {"mu": mu, "sigma": sigma})


def priors_of(design, coefficients, centered):
    layout = design.layout
    return Priors(tuple(coefficients), centered, (HALF,) * layout.q, HALF, (2.0,) * len(layout.sizes))


# --- the log density, exactly ---------------------------------------------------------------------


def categorical(design):
    """The same design with the columns of its first block as one categorical term, and those of X after the first."""
    block = design.blocks[0]
    columns = tuple(f"c[{k}]" for k in range(block.Z.shape[1]))
    term = Term("c", columns, tuple(str(k) for k in range(len(columns))))
    fixed = tuple(f"f[{k}]" for k in range(1, design.X.shape[1]))
    terms = (design.terms[0], Term("f", fixed, tuple(fixed)))
    return replace(design, terms=terms, blocks=(replace(block, terms=(term,)), *design.blocks[1:]))


def mixed(design):
    """The columns of the first block as a scalar term and a categorical one."""
    block = design.blocks[0]
    columns = tuple(f"c[{k}]" for k in range(1, block.Z.shape[1]))
    return replace(design, blocks=(replace(block, terms=(block.terms[0], Term("c", columns, columns))),))


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
}


def factors_at(design, sd, partial):
    """Cholesky factor of Σ of each block, from the definition of the partial correlations."""
    found, at = [], 0
    for where, free in zip(design.layout.slices, design.layout.correlated, strict=True):
        size = where.stop - where.start
        corr = np.eye(size)
        if free:
            corr = correlation_from_partials(partial[at : at + size * (size - 1) // 2], size)
            at += size * (size - 1) // 2
        found.append(np.linalg.cholesky(covariance_of(sd[where], corr)))
    return found


def shaped(term, values):
    """Rows of a term, as its variable has them."""
    return values[0] if term.levels is None else values


def position(graph, design, unconstrained, effects, choices):
    """Point of the graph, by names of its value variables.

    `unconstrained` holds the sds, the partial correlations, σ and the coefficients, each as NUTS sees it;
    `effects` one (q, J) array a block, standardised where the block is non-centred.
    """
    values, at = {}, 0
    for block in design.blocks:
        for term in block.terms:
            values[names.sd(term.name, block.factor.name)] = shaped(term, unconstrained[at : at + len(term.labels)])
            at += len(term.labels)
    for k, (block, free) in enumerate(zip(design.blocks, design.layout.correlated, strict=True)):
        if free:
            size, number = block.Z.shape[1], [b.factor.name for b in design.blocks[:k]].count(block.factor.name)
            values[names.partial(block.factor.name, number)] = unconstrained[at : at + size * (size - 1) // 2]
            at += size * (size - 1) // 2
            values[f"{names.corr(block.factor.name, number)}_effects"] = effects[k].T
        start = 0
        for term in block.terms:
            name, rows = names.effect(term.name, block.factor.name), effects[k][start : start + len(term.labels)]
            values[name] = values[f"{name}_offset"] = shaped(term, rows)
            start += len(term.labels)
    if names.SIGMA in graph.named_vars:
        values[names.SIGMA] = unconstrained[at]
        at += 1
    for term in design.terms:
        values[term.name] = shaped(term, unconstrained[at : at + len(term.labels)])
        at += len(term.labels)
    values[INTERCEPT_CENTERED] = values.get(names.INTERCEPT)
    return {graph.rvs_to_values[variable].name: values[variable.name] for variable in graph.free_RVs}


def log_density(graph, point, jacobian):
    """Log density of the graph."""
    return float(graph.compile_logp(jacobian=jacobian, mode=INTERPRETED)(point))


def standardised(design, factors, b, choices):
    """(q, J) of each block as the graph has it, and the log Jacobian of going from b to that."""
    parts, jacobian = [], 0.0
    for where, L, choice in zip(design.layout.slices, factors, choices, strict=True):
        part = b[where]
        if choice == "noncentered":
            jacobian += part.shape[1] * np.log(np.diag(L)).sum()
            part = np.linalg.solve(L, part)
        parts.append(part)
    return parts, jacobian


def block_diagonal(factors):
    q = sum(len(L) for L in factors)
    Sigma, at = np.zeros((q, q)), 0
    for L in factors:
        Sigma[at : at + len(L), at : at + len(L)] = L @ L.T
        at += len(L)
    return Sigma


def some_position(design, n_coefficients, seed=0):
    """θ of the marginal likelihood: sds, partial correlations, σ, coefficients."""
    rng = np.random.default_rng(seed)
    layout = design.layout
    sd, partial = rng.uniform(0.3, 2.0, layout.q), rng.uniform(-0.8, 0.8, layout.n_partial)
    return np.concatenate([sd, partial, rng.uniform(0.5, 1.5, 1), rng.uniform(-2.0, 2.0, n_coefficients)])


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred predictors"])
@pytest.mark.parametrize("name", DESIGNS)
def test_density_is_the_marginal_one_times_that_of_the_effects(name, centered, choice):
    """p(y, b | θ) = p(y | θ) p(b | y, θ) with the fixed effects in θ, for one b far from its mean."""
    design = DESIGNS[name]
    p, q = design.X.shape[1], design.layout.q
    coefficients = [normal(0.5, 0.7), *[STUDENT] * (p - 1)]
    priors = priors_of(design, coefficients, centered)
    choices = [choice] * len(design.blocks)
    theta = some_position(design, p)
    sd, partial = theta[:q], theta[q : q + design.layout.n_partial]
    sigma, eta = theta[len(theta) - p - 1], theta[len(theta) - p :]
    factors = factors_at(design, sd, partial)

    beta = eta.copy()
    if centered:
        beta[0] -= design.X[:, 1:].mean(axis=0) @ eta[1:]
    data = dense(design)
    mean, covariance = conditional_effects(data, block_diagonal(factors), sigma, beta)
    b = np.random.default_rng(1).normal(size=(data.J[0], q))
    effects, change = standardised(design, factors, b.T, choices)

    target = make_target(Marginal(design, priors, kept=np.ones(p, dtype=bool)), priors)
    x = target.unconstrain(theta)
    expected = target.log_posterior(x)[0] + log_normal(b.ravel(), mean, covariance) + change
    graph = build_conditional(design, priors, choices)
    found = log_density(graph, position(graph, design, x, effects, choices), jacobian=True)
    np.testing.assert_allclose(found, expected, rtol=DENSITY)


@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred predictors"])
def test_density_is_that_with_integrated_fixed_effects(centered):
    """p(y, b, β | θ) = p(y | θ) p(b, β | y, θ) with Normal priors, as the marginal fit integrates them."""
    design = CASES["two blocks"]
    p, q = design.X.shape[1], design.layout.q
    prior_mean, prior_sd = 0.5 * np.arange(p) - 0.3, 0.7 + np.arange(p)
    priors = priors_of(design, [normal(*pair) for pair in zip(prior_mean, prior_sd, strict=True)], centered)
    choices = ["noncentered", "centered"]
    theta = some_position(design, 0)
    factors = factors_at(design, theta[:q], theta[q:-1])

    data = dense(design)
    if centered:
        data = replace(data, X=centred(data.X))
    mean, covariance = joint_conditional(
        data, block_diagonal(factors), theta[-1], prior_mean, np.diag(prior_sd**-2.0)
    )
    u = np.random.default_rng(2).normal(size=len(mean))
    effects, change = standardised(design, factors, u[p:].reshape(data.J[0], q).T, choices)

    target = make_target(Marginal(design, priors), priors)
    x = target.unconstrain(theta)
    expected = target.log_posterior(x)[0] + log_normal(u, mean, covariance) + change
    graph = build_conditional(design, priors, choices)
    point = position(graph, design, np.concatenate([x, u[:p]]), effects, choices)
    np.testing.assert_allclose(log_density(graph, point, jacobian=True), expected, rtol=DENSITY)


def crossed(p, **more):
    """Two factors with different numbers of levels; two correlated blocks in the first, one effect in the second."""
    rng = np.random.default_rng(5)
    n = 40
    g = Factor("g", rng.permutation(np.arange(n) % 6), np.array(list("abcdef")))
    h = Factor("h", rng.permutation(np.arange(n) % 4), np.array(list("wxyz")))

    def block(factor, labels, correlated):
        terms = tuple(Term(label, (label,)) for label in labels)
        return Block(factor, terms, rng.normal(size=(n, len(labels))), correlated)

    blocks = (block(g, ("1", "u"), True), block(g, ("v", "w"), True), block(h, ("1",), True))
    terms = tuple(Term(f"x{k}", (f"x{k}",)) for k in range(p))
    return Design("y ~ ...", "y", rng.normal(size=n), rng.normal(size=(n, p)), terms, blocks, **more)


RNG = np.random.default_rng(9)
EXTENSIONS = {
    "crossed": crossed(2),
    "no fixed effects": crossed(0),
    "weights": crossed(2, weights=RNG.uniform(0.2, 3.0, 40)),
    "offset": crossed(2, offset=RNG.normal(size=40)),
    "known sigma": crossed(2, sigma=0.8, weights=RNG.uniform(0.2, 3.0, 40)),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_density_is_that_of_the_definition(name):
    """Against log N(y; offset + Xβ + Zb, σ²/w) + log N(b; 0, Σ), dense; flat priors add nothing."""
    design = EXTENSIONS[name]
    p, layout = design.X.shape[1], design.layout
    known = design.sigma
    priors = Priors((FLAT,) * p, False, (HALF_FLAT,) * 5, HALF_FLAT if known is None else None, (1.0, 1.0, 1.0))
    choices = ["centered", "noncentered", "centered"]
    theta = some_position(design, p)
    sd, partial, beta = theta[:5], theta[5:7], theta[8:]
    sigma = theta[7] if known is None else known
    factors = factors_at(design, sd, partial)

    rng = np.random.default_rng(3)
    mean = design.X @ beta + (0.0 if design.offset is None else design.offset)
    expected, effects = 0.0, []
    for block, L, choice in zip(design.blocks, factors, choices, strict=True):
        J = len(block.factor.levels)
        b = rng.normal(size=(J, len(L)))
        dummies = np.eye(J)[block.factor.codes]
        mean = mean + sum(block.Z[:, k] * (dummies @ b[:, k]) for k in range(len(L)))
        expected += sum(log_normal(row, np.zeros(len(L)), L @ L.T) for row in b)
        if choice == "noncentered":
            expected += J * np.log(np.diag(L)).sum()
            b = np.linalg.solve(L, b.T).T
        effects.append(b.T)
    weights = np.ones(design.n) if design.weights is None else design.weights
    expected += log_normal(design.y, mean, np.diag(sigma**2 / weights))

    graph = build_conditional(design, priors, choices)
    unconstrained = [np.log(sd), 2.0 * np.arctanh(partial), *([np.log(theta[7:8])] if known is None else []), beta]
    point = position(graph, design, np.concatenate(unconstrained), effects, choices)
    assert layout.sizes == (2, 2, 1)
    assert {"g_corr", "g_corr2", "1|g", "w|g", "1|h"} < set(graph.named_vars)
    assert ("sigma" in graph.named_vars) is (known is None)
    np.testing.assert_allclose(log_density(graph, point, jacobian=False), expected, rtol=DENSITY)


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
        build_conditional(design, Priors((FLAT,) * 2, False, (HALF,) * 5, HALF, (1.0,) * 3), ["centered"] * 3)


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
    assert information(grouped(50, ones, [True]), np.array([[0.0]]), 1.0)["choice"].tolist() == ["noncentered"]


def test_blocks_are_judged_one_by_one():
    design = crossed(1)
    Sigma = block_diagonal([np.diag([5.0, 5.0]), np.diag([0.01, 0.02]), np.array([[9.0]])])
    found = information(design, Sigma, 1.0)
    assert found["choice"].tolist() == ["centered", "noncentered", "centered"]
    assert found["group"].tolist() == ["g", "g", "h"]
    assert found["terms"].tolist() == ["1 + u", "v + w", "1"]
    assert found["levels"].tolist() == [6, 6, 4]


def test_ratio_is_the_median_of_the_mean_eigenvalues():
    weights = np.random.default_rng(4).uniform(0.2, 3.0, 40)
    design = crossed(1, weights=weights)
    Sigma = block_diagonal([np.array([[1.0, 0.0], [-0.7, 0.5]]), np.eye(2), np.eye(1)])
    Z, codes = design.blocks[0].Z, design.blocks[0].factor.codes
    means = []
    for level in range(6):
        rows = codes == level
        A = (Z[rows] * weights[rows, None]).T @ Z[rows] / 1.3**2
        means.append(np.linalg.eigvals(Sigma[:2, :2] @ A).real.mean())
    assert information(design, Sigma, 1.3).loc[0, "ratio"] == pytest.approx(np.median(means), rel=1e3 * RATIO)


# --- draws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=CHOICES)
def sampled(request, sleepstudy):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    return model.fit(seed=7, progress=False, parameterization=request.param)


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
    assert {"1|Subject", "1|item_offset"} < {variable.name for variable in model.graph("auto").free_RVs}


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
