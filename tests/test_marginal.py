"""One likelihood, one face: density, gradient and conditional draws against the dense oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import (
    ALL,
    CASES,
    FLAT,
    MANY,
    STUDENT,
    assert_gradient,
    conditional_effects,
    covariance_at,
    covariance_of,
    dense,
    differences,
    expected_density,
    gls,
    joint_conditional,
    log_density,
    make_design,
    normal,
    oracle_loglik,
    prior_arrays,
    priors_of,
    response_covariance,
    rho_at,
    sigma_at,
    some_theta,
)

from hierbayes.kernel_marginal import deviance
from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments

VALUE = 1e-9
"""Relative, against the dense oracle."""
VALUE_AT_RATIO = 1e-14
"""Relative, times (sd/σ)²: of the sixteen digits of K, twice the digits of the ratio are lost by cancellation, and
which roundings add up differs from one processor to another."""
NEAR_ONE = 1e-8
"""Relative, where R has a condition number of 1e4 or more."""
REPARAMETRISED = 1e-8
"""Relative, where one side carries predictors around 2000 through a change of coordinates."""
CONDITIONAL = 1e-8
"""Relative to the largest entry: a factor of the conditional covariance, multiplied out."""
MONTE_CARLO = 5.0
"""Standard errors; about 150 comparisons at a fixed seed stay inside unless something is wrong."""

SEVERAL = pytest.mark.parametrize("name", ALL)
WITH_PREDICTORS = pytest.mark.parametrize("name", [name for name, d in ALL.items() if d.X.shape[1] > 1])
WITH_EFFECTS = pytest.mark.parametrize("name", [name for name, d in ALL.items() if d.factors])


def check(design, priors, theta, rtol=VALUE):
    marginal = Marginal(design, priors)
    assert marginal.dim == len(theta)
    value, gradient = marginal.log_density(theta)
    np.testing.assert_allclose(value, expected_density(design, theta, priors), rtol=rtol)
    assert_gradient(gradient, differences(lambda x: marginal.log_density(x)[0], theta))


# --- value and gradient ---------------------------------------------------------------------------


@SEVERAL
def test_restricted_likelihood(name):
    check(ALL[name], None, some_theta(ALL[name]))


@SEVERAL
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_normal_priors_are_integrated(name, centered):
    design = ALL[name]
    coefficients = [normal(0.5 * k - 0.3, 0.7 + k) for k in range(design.X.shape[1])]
    check(design, priors_of(design, coefficients, centered), some_theta(design))


@SEVERAL
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_other_priors_are_kept(name, centered):
    design = ALL[name]
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
    design = ALL[name]
    p = design.X.shape[1]
    coefficients = [pattern[k % len(pattern)] for k in range(p)]
    kept = sum(prior is STUDENT for prior in coefficients)
    check(design, priors_of(design, coefficients, centered), some_theta(design, kept=np.linspace(0.2, 1.0, kept)))


@SEVERAL
def test_keeping_every_coefficient_gives_the_likelihood(name):
    """`kept` overrules the priors: that is the likelihood that ML maximises."""
    design = ALL[name]
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
    "name",
    [
        "three effects", "three effects, uncorrelated", "two blocks", "one effect and a pair", "two crossed, slopes",
        "chain of three", "nested within crossed", "crossed, known σ", "AR(1) and a nested pair",
        "compound symmetry in two crossed",
    ],
)  # fmt: skip
def test_standard_deviations_of_zero(name, zero):
    theta = some_theta(ALL[name])
    theta[list(zero)] = 0.0
    check(ALL[name], None, theta)


@pytest.mark.parametrize("r", [1.0 - 1e-5, -1.0 + 1e-5, 1.0 - 1e-12, -1.0 + 1e-12])
@pytest.mark.parametrize(
    "name", ["slope, unbalanced", "three effects", "balanced slope", "two crossed, slopes", "chain of three, slopes"]
)
def test_partial_correlations_near_one(name, r):
    design = ALL[name]
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


@pytest.mark.parametrize(
    "name", ["slope, unbalanced", "three effects", "two crossed, slopes", "chain of three, slopes"]
)
def test_partial_correlations_of_exactly_one(name):
    design = ALL[name]
    theta = some_theta(design)
    theta[design.layout.q] = -1.0
    np.testing.assert_allclose(
        Marginal(design).log_density(theta)[0], expected_density(design, theta, None), rtol=VALUE
    )


WITH_RESIDUAL = pytest.mark.parametrize("name", [name for name, d in MANY.items() if d.residual is not None])


@WITH_RESIDUAL
@pytest.mark.parametrize("r", [-0.999, -0.5, 0.0, 0.5, 0.999])
def test_residual_correlations_over_their_range(name, r):
    """At the middle of the range AR(1) is independence; near its ends R is nearly singular."""
    design = ALL[name]
    marginal = Marginal(design)
    theta = some_theta(design)
    at = marginal.places.rho
    theta[at] = r
    value, gradient = marginal.log_density(theta)
    np.testing.assert_allclose(value, expected_density(design, theta, None), rtol=VALUE if abs(r) < 0.9 else NEAR_ONE)

    def along(x):  # on the scale of the sampler, where the density is smooth up to the ends
        moved = theta.copy()
        moved[at] = np.tanh(x[0])
        return marginal.log_density(moved)[0]

    assert_gradient(np.array([gradient[at] * (1.0 - r * r)]), differences(along, np.array([np.arctanh(r)])))


@WITH_RESIDUAL
def test_no_residual_correlation_is_the_model_without(name):
    design = ALL[name]
    theta = some_theta(design)
    at = Marginal(design).places.rho
    low, high = design.residual.bounds
    theta[at] = -2.0 * low / (high - low) - 1.0
    assert Marginal(design).rho(theta[at]) == pytest.approx(0.0, abs=1e-15)
    if design.factors:
        plain = replace(design, residual=None)
        value, gradient = Marginal(plain).log_density(np.delete(theta, at))
        found, found_gradient = Marginal(design).log_density(theta)
        np.testing.assert_allclose(found, value, rtol=VALUE)
        np.testing.assert_allclose(
            np.delete(found_gradient, at), gradient, rtol=VALUE, atol=VALUE * np.abs(gradient).max()
        )


@WITH_RESIDUAL
@pytest.mark.parametrize("r", [-1.0, 1.0, 1.5, np.nan])
def test_residual_correlations_out_of_range_are_impossible(name, r):
    theta = some_theta(ALL[name])
    theta[Marginal(ALL[name]).places.rho] = r
    assert Marginal(ALL[name]).log_density(theta)[0] == -np.inf


@SEVERAL
@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 1e2, 1e4])
def test_variance_ratios_far_from_one(name, ratio):
    design = ALL[name]
    theta = some_theta(design)
    theta[: design.layout.q] *= ratio
    np.testing.assert_allclose(
        Marginal(design).log_density(theta)[0],
        expected_density(design, theta, None),
        rtol=max(VALUE, VALUE_AT_RATIO * ratio**2),
    )


@SEVERAL
@pytest.mark.parametrize("setting", ["flat", "normal", "mixed", "mixed, centred"])
def test_what_double_precision_cannot_tell_is_not_probable(name, setting):
    """Sums of squares that are nothing but rounding could turn negative, and an impossible θ into the best of all."""
    design = ALL[name]
    marginal = Marginal(design, settings(design)[setting])
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    here = marginal.log_density(theta)[0]
    places = marginal.places
    moves = [] if places.sigma is None else [(slice(places.sigma, places.sigma + 1), -1)]
    moves += [(places.sds, 1)] if design.factors else []
    for power in range(5, 22):
        for where, sign in moves:
            moved = theta.copy()
            moved[where] *= 10.0 ** (sign * power)
            assert marginal.log_density(moved)[0] < here


# --- units ----------------------------------------------------------------------------------------


@SEVERAL
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_response(name, scale):
    """With y → c y and θ → c θ the density changes by c⁻ⁿ, and what is integrated by cᵖ."""
    design = ALL[name]
    p = design.X.shape[1]
    scaled = replace(design, y=scale * design.y, offset=None if design.offset is None else scale * design.offset)
    if design.sigma is not None:  # standard errors of the rows have the unit of the response too
        scaled = replace(scaled, weights=design.weights / scale**2)
    theta = some_theta(design)
    other = theta.copy()
    places = Marginal(design).places
    variable = [*range(design.layout.q), *([] if places.sigma is None else [places.sigma])]
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

    def __init__(self, *values):
        super().__init__(np.random.PCG64(0))
        self.values = list(values)

    def standard_normal(self, size):
        """Return the given numbers, part by part."""
        return self.values.pop(0).reshape(size).copy()


def noise_sizes(marginal):
    """How much noise the coefficients, the effects of all factors but the leaves, and the leaves take."""
    m, design = marginal.moments, marginal.design
    leaves = 0
    if design.factors:
        where = design.effects_of(design.factors[marginal.leaf])
        leaves = (where.stop - where.start) * len(design.factors[marginal.leaf].levels)
    return int((~marginal.kept).sum()), 0 if m.forest is None else m.forest.rest_size, leaves


def draw(marginal, thetas, noise):
    """Draws (β, b), effects factor by factor and level by level, from rows of noise."""
    free, rest, leaves = noise_sizes(marginal)
    given = marginal.condition(thetas, Prescribed(noise[:, :free], noise[:, free : free + rest]))
    found = [given.fixef]
    for position, factor in enumerate(marginal.design.factors):
        if position == marginal.leaf:
            J = len(factor.levels)
            b = np.ascontiguousarray(noise[:, free + rest :].reshape(len(noise), J, leaves // J).transpose(0, 2, 1))
            marginal.draw_effects(given, b, slice(0, J), slice(0, len(noise)))
        else:
            b = marginal.rest_effects(given, position)
        found.append(b.transpose(0, 2, 1).reshape(len(noise), -1))
    return np.concatenate(found, axis=1)


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
        part,
        covariance_at(design, theta),
        sigma_at(design, theta),
        mean[~kept],
        np.diag(precision[~kept]),
        rho_at(design, theta),
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
    design = ALL[name]
    priors = settings(design)[setting]
    marginal = Marginal(design, priors)
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    size = sum(noise_sizes(marginal))
    draws = draw(marginal, np.tile(theta, (size + 1, 1)), np.vstack([np.zeros(size), np.eye(size)]))
    mean, covariance = expected_conditional(design, theta, priors)
    np.testing.assert_allclose(draws[0], mean, rtol=0, atol=CONDITIONAL * np.abs(mean).max())
    columns = (draws[1:] - draws[0]).T
    np.testing.assert_allclose(columns @ columns.T, covariance, rtol=0, atol=CONDITIONAL * np.abs(covariance).max())


@pytest.mark.parametrize("name", ["slope, unbalanced", "nested pair, inner first", "two crossed, slopes"])
@pytest.mark.parametrize("zero", [0, 1])
def test_an_effect_without_variance_is_zero_in_every_draw(name, zero):
    design = ALL[name]
    theta = some_theta(design)
    theta[zero] = 0.0
    marginal = Marginal(design)
    size = sum(noise_sizes(marginal))
    draws = draw(marginal, np.tile(theta, (50, 1)), np.random.default_rng(0).standard_normal((50, size)))
    slots = design.X.shape[1] + dense(design).slots(0)
    np.testing.assert_allclose(draws[:, slots[:, zero]], 0.0, atol=1e-12)
    assert draws[:, slots[:, 1 - zero]].std() > 0.1
    mean, _ = expected_conditional(design, theta, None)
    np.testing.assert_allclose(draw(marginal, theta[None], np.zeros((1, size)))[0], mean, atol=CONDITIONAL)


@pytest.mark.parametrize(
    "name", ["slope, one huge level", "nested within crossed, slopes", "AR(1) and a nested pair", "crossed, known σ"]
)
@pytest.mark.parametrize("setting", ["flat", "mixed, centred"])
def test_random_draws_have_the_exact_moments(name, setting):
    design = ALL[name]
    priors = settings(design)[setting]
    marginal = Marginal(design, priors)
    theta = some_theta(design, kept=np.full(int(marginal.kept.sum()), 0.6))
    draws = 40_000
    noise = np.random.default_rng(1).standard_normal((draws, sum(noise_sizes(marginal))))
    found = draw(marginal, np.tile(theta, (draws, 1)), noise)
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


@pytest.mark.parametrize(
    "name",
    ["more levels than a chunk", "many levels", "chain and two crossed, slopes", "AR(1) and a nested pair",
     "AR(1) within the levels"],
)  # fmt: skip
def test_every_draw_uses_its_own_theta(name):
    """Many θ at once give what each gives alone, for any slice of draws and levels."""
    design = ALL[name]
    marginal = Marginal(design)
    thetas = np.array([some_theta(design, seed) for seed in range(5)])
    free, rest, leaves = noise_sizes(marginal)
    noise = np.random.default_rng(2).standard_normal((5, free + rest + leaves))
    alone = np.array([draw(marginal, theta[None], row[None])[0] for theta, row in zip(thetas, noise, strict=True)])
    np.testing.assert_allclose(draw(marginal, thetas, noise), alone, rtol=1e-12, atol=1e-12)
    given = marginal.condition(thetas, Prescribed(noise[:, :free], noise[:, free : free + rest]))
    slots = design.X.shape[1] + dense(design).slots(marginal.leaf)
    J, q = slots.shape
    z = np.ascontiguousarray(noise[:, free + rest :].reshape(5, J, q).transpose(0, 2, 1))
    for draws in (slice(0, 2), slice(2, 5)):
        for levels in (slice(0, J // 2), slice(J // 2, J)):
            part = np.ascontiguousarray(z[draws, :, levels])
            marginal.draw_effects(given.only(slice(None)), part, levels, draws)
            np.testing.assert_allclose(
                part.transpose(0, 2, 1), alone[draws][:, slots[levels]], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize(
    "name", ["slope, one huge level", "chain and two crossed, slopes", "AR(1) and a nested pair"]
)
def test_threads_share_the_work_and_change_nothing(name):
    marginal = Marginal(ALL[name])
    thetas = np.array([some_theta(ALL[name], seed) for seed in range(23)])
    one, three = (marginal.condition(thetas, np.random.default_rng(0), threads) for threads in (1, 3))
    for part in ("fixef", "t", "relative", "sigma", "rho", "L", "rest"):
        np.testing.assert_array_equal(getattr(one, part), getattr(three, part))


@SEVERAL
def test_conditionals_carry_what_the_effects_need(name):
    design = ALL[name]
    marginal = Marginal(design)
    theta = some_theta(design)
    given = marginal.condition(theta[None], np.random.default_rng(0))
    np.testing.assert_allclose(given.L[0] @ given.L[0].T, covariance_at(design, theta), rtol=1e-12, atol=1e-12)
    assert given.sigma[0] == sigma_at(design, theta)
    assert given.rho[0] == pytest.approx(rho_at(design, theta), rel=1e-12)
    expected = marginal.moments.E @ given.L[0] / given.sigma[0]
    np.testing.assert_allclose(given.relative[0], expected, rtol=1e-12, atol=1e-12)


def t_of(marginal, beta):
    """(-γ, 1) of some coefficients."""
    m = marginal.moments
    return np.array([*-(m.R @ (beta - m.ols) / m.scale), 1.0])


@WITH_EFFECTS
def test_blups_and_their_covariances(name):
    """Conditional mean and covariance of the effects of every level, given data, coefficients and variances."""
    design = ALL[name]
    marginal = Marginal(design)
    theta = some_theta(design, 1)
    sigma, rho, Sigma = sigma_at(design, theta), rho_at(design, theta), covariance_at(design, theta)
    relative = marginal.moments.E @ np.linalg.cholesky(Sigma) / sigma
    beta = np.linspace(0.5, 1.5, design.X.shape[1])
    mean, covariance = conditional_effects(dense(design), Sigma, sigma, beta, rho)
    blups = marginal.blups(relative, t_of(marginal, beta), rho)
    covariances = marginal.conditional_covariance(relative, sigma, rho)
    assert len(blups) == len(covariances) == len(design.factors)
    for f, (values, matrices) in enumerate(zip(blups, covariances, strict=True)):
        slots = dense(design).slots(f)
        assert values.shape == slots.T.shape
        np.testing.assert_allclose(values.T, mean[slots], rtol=0, atol=CONDITIONAL * np.abs(mean).max())
        for columns, matrix in zip(slots, matrices, strict=True):
            expected = covariance[np.ix_(columns, columns)]
            np.testing.assert_allclose(matrix, expected, rtol=0, atol=CONDITIONAL * np.abs(covariance).max())


# --- what REML and ML maximise ----------------------------------------------------------------------


def some_x(design, seed=0):
    """Free entries of Λ, and last artanh r."""
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(design.layout.mask)
    return (
        np.append(rng.standard_normal(len(rows)), rng.uniform(-1.0, 1.0, int(design.residual is not None))),
        rows,
        columns,
    )


@SEVERAL
@pytest.mark.parametrize("restricted", [True, False], ids=["REML", "ML"])
def test_the_profiled_likelihood(name, restricted):
    """Its value is the dense oracle's at the σ and β that it reports, no other σ is better; its gradient is exact."""
    design = ALL[name]
    marginal = Marginal(design)
    m = marginal.moments
    x, rows, columns = some_x(design)
    value, gradient, sigma, t, chol = deviance(x, rows, columns, restricted, marginal.packed, *marginal.plan)
    relative = np.zeros((m.q, m.q))
    relative[rows, columns] = x[: len(rows)]
    sigma *= m.scale
    factor = np.linalg.solve(m.E, relative) * sigma if m.q else relative
    rho = marginal.rho(np.tanh(x[-1])) if design.residual is not None else 0.0
    dof = m.n - m.p if restricted else m.n
    constant = 2.0 * dof * np.log(m.scale) - 2.0 * m.constant
    if restricted:
        constant += 2.0 * np.log(np.diag(m.R)).sum()
    method = "REML" if restricted else "ML"
    best = oracle_loglik(design, factor @ factor.T, sigma, method, rho)
    np.testing.assert_allclose(value + constant, -2.0 * best, rtol=VALUE)
    if design.sigma is None:
        for other in (0.999 * sigma, 1.001 * sigma):
            assert oracle_loglik(design, factor @ factor.T * (other / sigma) ** 2, other, method, rho) < best
    else:
        assert sigma == pytest.approx(design.sigma, rel=1e-12)
    data = dense(design)
    V = response_covariance(data, factor @ factor.T, sigma, rho)
    beta, covariance = gls(data.y, data.X, V)
    np.testing.assert_allclose(m.ols - m.scale * np.linalg.solve(m.R, t[:-1]), beta, rtol=CONDITIONAL)
    half = np.linalg.inv(chol.T @ m.R) * sigma
    np.testing.assert_allclose(half @ half.T, covariance, rtol=0, atol=CONDITIONAL * np.abs(covariance).max())

    def along(x):
        return deviance(x, rows, columns, restricted, marginal.packed, *marginal.plan)[0]

    assert_gradient(gradient, differences(along, x))


def test_moments_are_taken_once():
    design = CASES["slope, unbalanced"]
    moments = take_moments(design)
    assert Marginal(design, None, moments).moments is moments
