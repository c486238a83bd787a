"""One likelihood, one face: density, gradient and conditional draws against the dense oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import (
    CASES,
    assert_gradient,
    centred,
    correlation_from_partials,
    covariance_of,
    dense,
    differences,
    joint_conditional,
    log_density,
    make_design,
)

from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments
from hierbayes.priors import Prior, Priors

VALUE = 1e-9
"""Relative, against the dense oracle."""
VALUE_AT_RATIO = 1e-7
"""Relative, for sd/σ up to 1e4: of the sixteen digits of K, twice the digits of the ratio cancel."""
REPARAMETRISED = 1e-8
"""Relative, where one side carries predictors around 2000 through a change of coordinates."""
CONDITIONAL = 1e-8
"""Relative to the largest entry: a factor of the conditional covariance, multiplied out."""
MONTE_CARLO = 5.0
"""Standard errors; about 150 comparisons at a fixed seed stay inside unless something is wrong."""

SEVERAL = pytest.mark.parametrize("name", CASES)
WITH_PREDICTORS = pytest.mark.parametrize("name", [name for name, d in CASES.items() if d.X.shape[1] > 1])


def some_theta(design, seed=0, kept=()):
    rng = np.random.default_rng(seed)
    layout = design.layout
    sd, partial = rng.uniform(0.3, 2.0, layout.q), rng.uniform(-0.8, 0.8, layout.n_partial)
    return np.concatenate([sd, partial, rng.uniform(0.5, 1.5, 1), kept])


def covariance_at(design, theta):
    """Σ of the definition, block by block."""
    layout = design.layout
    Sigma = np.zeros((layout.q, layout.q))
    at = layout.q
    for where, free in zip(layout.slices, layout.correlated, strict=True):
        size = where.stop - where.start
        corr = np.eye(size)
        if free:
            corr = correlation_from_partials(theta[at : at + size * (size - 1) // 2], size)
            at += size * (size - 1) // 2
        Sigma[where, where] = covariance_of(theta[where], corr)
    return Sigma


def sigma_at(design, theta):
    return theta[design.layout.q + design.layout.n_partial]


def normal(mu, sigma):
    return Prior("Normal", {"mu": mu, "sigma": sigma})


FLAT = Prior("Flat", {})
STUDENT = Prior("StudentT", {"nu": 4.0, "mu": 0.0, "sigma": 2.0})


def priors_of(design, coefficients, centered):
    half = Prior("HalfNormal", {"sigma": 1.0})
    layout = design.layout
    return Priors(tuple(coefficients), centered, (half,) * layout.q, half, (1.0,) * len(layout.sizes))


def prior_arrays(coefficients):
    mean = np.array([prior.args.get("mu", 0.0) for prior in coefficients])
    sd = np.array([prior.args["sigma"] if prior.name == "Normal" else np.inf for prior in coefficients])
    return mean, sd


def expected_density(design, theta, priors, X=None):
    data = dense(design)
    kept = np.zeros(data.X.shape[1], dtype=bool)
    mean, sd = np.zeros(len(kept)), np.full(len(kept), np.inf)
    if priors is not None:
        kept = np.array([prior.name not in ("Normal", "Flat") for prior in priors.coefficients])
        mean, sd = prior_arrays(priors.coefficients)
        X = centred(data.X) if priors.centered else None
    values = theta[len(theta) - kept.sum() :]
    return log_density(data, covariance_at(design, theta), sigma_at(design, theta), kept, values, mean, sd, X)


def check(design, priors, theta, rtol=VALUE):
    marginal = Marginal(design, priors)
    assert marginal.dim == len(theta)
    value, gradient = marginal.log_density(theta)
    np.testing.assert_allclose(value, expected_density(design, theta, priors), rtol=rtol)
    assert_gradient(gradient, differences(lambda x: marginal.log_density(x)[0], theta))


# --- value and gradient ---------------------------------------------------------------------------


@SEVERAL
def test_restricted_likelihood(name):
    check(CASES[name], None, some_theta(CASES[name]))


@SEVERAL
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_normal_priors_are_integrated(name, centered):
    design = CASES[name]
    coefficients = [normal(0.5 * k - 0.3, 0.7 + k) for k in range(design.X.shape[1])]
    check(design, priors_of(design, coefficients, centered), some_theta(design))


@SEVERAL
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_other_priors_are_kept(name, centered):
    design = CASES[name]
    p = design.X.shape[1]
    check(design, priors_of(design, [STUDENT] * p, centered), some_theta(design, kept=np.linspace(-1.0, 1.0, p)))


@WITH_PREDICTORS
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
@pytest.mark.parametrize(
    "pattern",
    [(FLAT, normal(0.4, 2.0)), (normal(0.4, 2.0), STUDENT), (STUDENT, FLAT), (FLAT, STUDENT, normal(-1.0, 0.1))],
    ids=["flat and normal", "normal and kept", "kept and flat", "all three"],
)
def test_mixed_priors(name, centered, pattern):
    design = CASES[name]
    p = design.X.shape[1]
    coefficients = [pattern[k % len(pattern)] for k in range(p)]
    kept = sum(prior is STUDENT for prior in coefficients)
    check(design, priors_of(design, coefficients, centered), some_theta(design, kept=np.linspace(0.2, 1.0, kept)))


@SEVERAL
def test_keeping_every_coefficient_gives_the_likelihood(name):
    """`kept` overrules the priors: that is the likelihood that ML maximises."""
    design = CASES[name]
    p = design.X.shape[1]
    beta = np.linspace(-0.5, 0.5, p)
    theta = some_theta(design, kept=beta)
    marginal = Marginal(design, None, kept=np.ones(p, dtype=bool))
    assert marginal.dim == len(theta)
    value = marginal.log_density(theta)[0]
    expected = expected_density(design, theta, priors_of(design, [STUDENT] * p, centered=False))
    np.testing.assert_allclose(value, expected, rtol=VALUE)


def test_no_intercept():
    design = CASES["slope, unbalanced"]
    design = replace(design, X=design.X[:, 1:], terms=design.terms[1:])
    assert design.intercept is None
    check(design, None, some_theta(design))
    priors = priors_of(design, [normal(1.0, 2.0)], centered=False)
    check(design, priors, some_theta(design))
    # without an intercept there is nothing to centre
    same = Marginal(design, replace(priors, centered=True)).log_density(some_theta(design))[0]
    assert same == Marginal(design, priors).log_density(some_theta(design))[0]


# --- at and near the boundary -----------------------------------------------------------------------


@pytest.mark.parametrize("zero", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
@pytest.mark.parametrize(
    "name", ["three effects", "three effects, uncorrelated", "two blocks", "one effect and a pair"]
)
def test_standard_deviations_of_zero(name, zero):
    theta = some_theta(CASES[name])
    theta[list(zero)] = 0.0
    check(CASES[name], None, theta)


@pytest.mark.parametrize("r", [1.0 - 1e-5, -1.0 + 1e-5, 1.0 - 1e-12, -1.0 + 1e-12])
@pytest.mark.parametrize("name", ["slope, unbalanced", "three effects", "balanced slope"])
def test_partial_correlations_near_one(name, r):
    design = CASES[name]
    theta = some_theta(design)
    theta[design.layout.q] = r
    marginal = Marginal(design)
    value, gradient = marginal.log_density(theta)
    np.testing.assert_allclose(value, expected_density(design, theta, None), rtol=VALUE)
    # on the scale of the sampler, r = tanh(x/2), the density is smooth up to the boundary
    i = design.layout.q

    def along(x):
        moved = theta.copy()
        moved[i] = np.tanh(0.5 * x[0])
        return marginal.log_density(moved)[0]

    assert_gradient(
        np.array([gradient[i] * 0.5 * (1.0 - r * r)]), differences(along, np.array([2.0 * np.arctanh(r)]), h=1e-2)
    )


@pytest.mark.parametrize("name", ["slope, unbalanced", "three effects"])
def test_partial_correlations_of_exactly_one(name):
    design = CASES[name]
    theta = some_theta(design)
    theta[design.layout.q] = -1.0
    np.testing.assert_allclose(
        Marginal(design).log_density(theta)[0], expected_density(design, theta, None), rtol=VALUE
    )


@SEVERAL
@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 1e2, 1e4])
def test_variance_ratios_far_from_one(name, ratio):
    design = CASES[name]
    theta = some_theta(design)
    theta[: design.layout.q] *= ratio
    np.testing.assert_allclose(
        Marginal(design).log_density(theta)[0], expected_density(design, theta, None), rtol=VALUE_AT_RATIO
    )


@SEVERAL
@pytest.mark.parametrize("setting", ["flat", "normal", "mixed", "mixed, centred"])
def test_what_double_precision_cannot_tell_is_not_probable(name, setting):
    """Sums of squares that are nothing but rounding could turn negative, and an impossible θ into the best of all."""
    design = CASES[name]
    marginal = Marginal(design, settings(design)[setting])
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    here = marginal.log_density(theta)[0]
    q, at_sigma = design.layout.q, design.layout.q + design.layout.n_partial
    for factor in 10.0 ** np.arange(5, 22):
        for where, by in ((slice(at_sigma, at_sigma + 1), 1.0 / factor), (slice(0, q), factor)):
            moved = theta.copy()
            moved[where] *= by
            assert marginal.log_density(moved)[0] < here


# --- units ----------------------------------------------------------------------------------------


@SEVERAL
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_response(name, scale):
    """With y → c y and θ → c θ the density changes by c⁻ⁿ, and what is integrated by cᵖ."""
    design = CASES[name]
    p = design.X.shape[1]
    scaled = replace(design, y=scale * design.y)
    theta = some_theta(design)
    other = theta.copy()
    variable = np.r_[np.arange(design.layout.q), len(theta) - 1]
    other[variable] *= scale
    value, gradient = Marginal(design).log_density(theta)
    found, found_gradient = Marginal(scaled).log_density(other)
    np.testing.assert_allclose(found, value - (design.n - p) * np.log(scale), rtol=VALUE)
    found_gradient[variable] *= scale
    np.testing.assert_allclose(found_gradient, gradient, rtol=VALUE, atol=VALUE * np.abs(gradient).max())
    np.testing.assert_allclose(found, expected_density(scaled, other, None), rtol=VALUE)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_response_with_priors(scale):
    design = CASES["slope, one huge level"]
    scaled = replace(design, y=scale * design.y)
    for centered in (False, True):
        one = priors_of(design, [normal(0.3, 2.0), STUDENT, normal(-1.0, 0.5)], centered)
        other = priors_of(design, [normal(0.3 * scale, 2.0 * scale), STUDENT, normal(-scale, 0.5 * scale)], centered)
        theta = some_theta(design, kept=[0.4])
        theta_scaled = np.concatenate([theta[:2] * scale, theta[2:3], theta[3:] * scale])
        value = Marginal(design, one).log_density(theta)[0]
        found = Marginal(scaled, other).log_density(theta_scaled)[0]
        np.testing.assert_allclose(found, value - design.n * np.log(scale), rtol=VALUE)


def years(shift, seed=0):
    """Twelve groups over eleven years: intercept and slope on the year, fixed and random."""
    rng = np.random.default_rng(seed)
    year = 2000.0 + np.tile(np.arange(11.0), 12)
    codes = np.repeat(np.arange(12), 11)
    y = 3.0 + 0.25 * (year - 2005.0) + rng.standard_normal(12)[codes] + rng.standard_normal(len(year))
    columns = np.column_stack([np.ones(len(year)), year - shift])
    return make_design(y, columns, codes, [columns], [True])


SHIFT = 2005.0


def moved_theta(theta, kept=()):
    """θ for years as they are, from θ for centred years: b₀ + b₁(t - 2005) = (b₀ - 2005 b₁) + b₁ t."""
    sd, r, sigma = theta[:2], theta[2], theta[3]
    T = np.array([[1.0, -SHIFT], [0.0, 1.0]])
    Sigma = T @ covariance_of(sd, np.array([[1.0, r], [r, 1.0]])) @ T.T
    new = np.sqrt(np.diag(Sigma))
    return np.array([*new, Sigma[0, 1] / new[0] / new[1], sigma, *kept]), Sigma


THETA = np.array([0.9, 0.3, -0.4, 1.1])


def test_far_predictors_flat():
    """The raw year's θ has a correlation of about -1 + 1e-6, and still gives the centred year's density."""
    centred_value = Marginal(years(SHIFT)).log_density(THETA)[0]
    raw_theta, _ = moved_theta(THETA)
    np.testing.assert_allclose(Marginal(years(0.0)).log_density(raw_theta)[0], centred_value, rtol=REPARAMETRISED)
    np.testing.assert_allclose(expected_density(years(SHIFT), THETA, None), centred_value, rtol=VALUE)


def test_far_predictors_kept():
    beta = np.array([3.1, 0.2])
    kept = np.ones(2, dtype=bool)
    centred_value = Marginal(years(SHIFT), None, kept=kept).log_density(np.r_[THETA, beta])[0]
    raw_theta, _ = moved_theta(THETA, [beta[0] - SHIFT * beta[1], beta[1]])
    found = Marginal(years(0.0), None, kept=kept).log_density(raw_theta)[0]
    np.testing.assert_allclose(found, centred_value, rtol=REPARAMETRISED)


def test_far_predictors_normal():
    """With centred predictors the priors of both parametrisations say the same thing."""
    coefficients = [normal(2.0, 5.0), normal(0.0, 0.7)]
    raw, moved = years(0.0), years(SHIFT)
    raw_theta, _ = moved_theta(THETA)
    found = Marginal(raw, priors_of(raw, coefficients, True)).log_density(raw_theta)[0]
    expected = Marginal(moved, priors_of(moved, coefficients, True)).log_density(THETA)[0]
    np.testing.assert_allclose(found, expected, rtol=REPARAMETRISED)
    np.testing.assert_allclose(
        expected, expected_density(moved, THETA, priors_of(moved, coefficients, False)), rtol=VALUE
    )


def test_far_predictors_normal_uncentred():
    """A prior on the intercept at year 0, through the exact change of variables."""
    raw, moved = years(0.0), years(SHIFT)
    mean, S = np.array([-495.0, 0.2]), np.diag([30.0, 0.5]) ** 2
    found = Marginal(raw, priors_of(raw, [normal(-495.0, 30.0), normal(0.2, 0.5)], False)).log_density(
        moved_theta(THETA)[0]
    )[0]
    data = dense(moved)
    T = np.array([[1.0, SHIFT], [0.0, 1.0]])  # (β₀, β₁) at year 0 → at 2005
    X = data.X @ T @ np.sqrt(S)
    none = np.zeros(2, dtype=bool)
    y = data.y - data.X @ T @ mean
    expected = log_density(
        replace(data, y=y), covariance_at(moved, THETA), THETA[3], none, np.zeros(0), np.zeros(2), np.ones(2), X
    )
    np.testing.assert_allclose(found, expected, rtol=REPARAMETRISED)


# --- the conditional of everything that was integrated out ------------------------------------------


class Prescribed(np.random.Generator):
    """A generator whose standard normal numbers are given, so that a draw shows its mean or its factor."""

    def __init__(self, values):
        super().__init__(np.random.PCG64(0))
        self.values = values

    def standard_normal(self, size):
        """Return the given numbers."""
        return self.values.reshape(size).copy()


def draw(marginal, theta, noise):
    """Draws (β, b), effects level by level, from rows of noise for the coefficients and the effects."""
    m = marginal.moments
    free = int((~marginal.kept).sum())
    given = marginal.condition(np.tile(theta, (len(noise), 1)), Prescribed(noise[:, :free]))
    z = np.ascontiguousarray(noise[:, free:].reshape(len(noise), m.J, m.q).transpose(0, 2, 1))
    marginal.draw_effects(given, z, slice(0, m.J), slice(0, len(noise)))
    return np.concatenate([given.fixef, z.transpose(0, 2, 1).reshape(len(noise), -1)], axis=1)


def expected_conditional(design, theta, priors):
    """Mean and covariance of (β, b) with priors on η = C β, kept coefficients fixed."""
    data = dense(design)
    p = data.X.shape[1]
    C = np.eye(p)
    mean, precision = np.zeros(p), np.zeros(p)
    kept = np.zeros(p, dtype=bool)
    if priors is not None:
        if priors.centered:
            C[0] = data.X.mean(axis=0)
        mean, sd = prior_arrays(priors.coefficients)
        precision = sd**-2.0
        kept = np.array([prior is STUDENT for prior in priors.coefficients])
    X = data.X @ np.linalg.inv(C)
    values = theta[len(theta) - kept.sum() :]
    part = replace(data, X=X[:, ~kept], y=data.y - X[:, kept] @ values)
    m, V = joint_conditional(
        part, covariance_at(design, theta), sigma_at(design, theta), mean[~kept], np.diag(precision[~kept])
    )
    # back to all coefficients, uncentred
    free = int((~kept).sum())
    lift = np.zeros((p + len(m) - free, len(m)))
    lift[:p][~kept, :free] = np.eye(free)
    lift[p:, free:] = np.eye(len(m) - free)
    offset = np.zeros(len(lift))
    offset[:p][kept] = values
    back = np.eye(len(lift))
    back[:p, :p] = np.linalg.inv(C)
    return back @ (offset + lift @ m), back @ lift @ V @ lift.T @ back.T


def settings(design):
    p = design.X.shape[1]
    mixed = [(normal(0.3, 0.8), STUDENT, FLAT)[k % 3] for k in range(p)]
    return {
        "flat": None,
        "normal": priors_of(design, [normal(0.2 * k, 1.0 + k) for k in range(p)], False),
        "centred": priors_of(design, [normal(0.2 * k, 1.0 + k) for k in range(p)], True),
        "mixed": priors_of(design, mixed, False),
        "mixed, centred": priors_of(design, mixed, True),
    }


@SEVERAL
@pytest.mark.parametrize("setting", ["flat", "normal", "centred", "mixed", "mixed, centred"])
def test_the_conditional_of_coefficients_and_effects_is_exact(name, setting):
    """No noise gives the mean; one unit of noise at a time gives a factor of the covariance."""
    design = CASES[name]
    priors = settings(design)[setting]
    marginal = Marginal(design, priors)
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    free = int((~marginal.kept).sum())
    size = free + marginal.moments.q * marginal.moments.J
    draws = draw(marginal, theta, np.vstack([np.zeros(size), np.eye(size)]))
    mean, covariance = expected_conditional(design, theta, priors)
    np.testing.assert_allclose(draws[0], mean, rtol=0, atol=CONDITIONAL * np.abs(mean).max())
    columns = (draws[1:] - draws[0]).T
    np.testing.assert_allclose(columns @ columns.T, covariance, rtol=0, atol=CONDITIONAL * np.abs(covariance).max())


@pytest.mark.parametrize("zero", [0, 1])
def test_an_effect_without_variance_is_zero_in_every_draw(zero):
    design = CASES["slope, unbalanced"]
    theta = some_theta(design)
    theta[zero] = 0.0
    marginal = Marginal(design)
    rng = np.random.default_rng(0)
    draws = draw(marginal, theta, rng.standard_normal((50, 2 + 2 * marginal.moments.J)))
    effects = draws[:, 2:].reshape(50, -1, 2)
    np.testing.assert_allclose(effects[:, :, zero], 0.0, atol=1e-12)
    assert effects[:, :, 1 - zero].std() > 0.1
    mean, _ = expected_conditional(design, theta, None)
    np.testing.assert_allclose(draw(marginal, theta, np.zeros((1, draws.shape[1])))[0], mean, atol=CONDITIONAL)


@pytest.mark.parametrize("setting", ["flat", "mixed, centred"])
def test_random_draws_have_the_exact_moments(setting):
    design = CASES["slope, one huge level"]
    priors = settings(design)[setting]
    marginal = Marginal(design, priors)
    m = marginal.moments
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    draws = 40_000
    rng = np.random.default_rng(1)
    given = marginal.condition(np.tile(theta, (draws, 1)), rng)
    z = rng.standard_normal((draws, m.q, m.J))
    marginal.draw_effects(given, z, slice(0, m.J), slice(0, draws))
    found = np.concatenate([given.fixef, z.transpose(0, 2, 1).reshape(draws, -1)], axis=1)
    mean, covariance = expected_conditional(design, theta, priors)
    sd = np.sqrt(np.diag(covariance))
    random = sd > 0  # a kept coefficient without centring does not vary
    assert random.sum() >= len(sd) - marginal.kept.sum()
    z_mean = (found.mean(axis=0) - mean)[random] / sd[random] * np.sqrt(draws)
    assert np.abs(z_mean).max() < MONTE_CARLO
    scatter = np.cov(found.T)
    error = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / draws)[np.ix_(random, random)]
    z_cov = (scatter - covariance)[np.ix_(random, random)] / error
    assert np.abs(z_cov).max() < MONTE_CARLO


def test_every_draw_uses_its_own_theta():
    """Many θ at once give what each gives alone, for any slice of draws and levels."""
    design = CASES["more levels than a chunk"]
    marginal = Marginal(design)
    m = marginal.moments
    thetas = np.array([some_theta(design, seed) for seed in range(5)])
    noise = np.random.default_rng(2).standard_normal((5, m.p + m.q * m.J))
    alone = np.array([draw(marginal, theta, row[None])[0] for theta, row in zip(thetas, noise, strict=True)])
    given = marginal.condition(thetas, Prescribed(noise[:, : m.p]))
    np.testing.assert_array_equal(given.fixef, alone[:, : m.p])
    z = np.ascontiguousarray(noise[:, m.p :].reshape(5, m.J, m.q).transpose(0, 2, 1))
    for draws in (slice(0, 2), slice(2, 5)):
        for levels in (slice(0, 70), slice(70, m.J)):
            part = np.ascontiguousarray(z[draws, :, levels])
            marginal.draw_effects(given, part, levels, draws)
            np.testing.assert_allclose(
                part.transpose(0, 2, 1).reshape(len(part), -1),
                alone[draws, m.p + levels.start * m.q : m.p + levels.stop * m.q],
                rtol=1e-12,
                atol=1e-12,
            )


def test_conditionals_carry_what_the_effects_need():
    design = CASES["slope, unbalanced"]
    marginal = Marginal(design)
    theta = some_theta(design)
    given = marginal.condition(theta[None], np.random.default_rng(0))
    np.testing.assert_allclose(given.L[0] @ given.L[0].T, covariance_at(design, theta), rtol=1e-12)
    assert given.sigma[0] == sigma_at(design, theta)
    np.testing.assert_allclose(given.relative[0], marginal.moments.E @ given.L[0] / given.sigma[0], rtol=1e-12)


def test_moments_are_taken_once():
    design = CASES["slope, unbalanced"]
    moments = take_moments(design)
    assert Marginal(design, None, moments).moments is moments
