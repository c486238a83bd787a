"""Rows and groups that are left out: against dense Gaussian conditionals, and against smaller designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import (
    ALL,
    FLAT,
    STUDENT,
    centred,
    covariance_at,
    dense,
    expected_density,
    log_normal,
    normal,
    prior_arrays,
    priors_of,
    response_covariance,
    rho_at,
    sigma_at,
    some_theta,
)

from hierbayes.cross_validation.left_out import Predictive, log_groups, log_rows, log_sets, seconds_of_sets
from hierbayes.errors import DataError
from hierbayes.marginal import Marginal

VALUE = 1e-8
"""Relative, against the dense oracle."""
ROUNDED = 1e-4
"""The same where a prior a million times as wide as the residuals is all that is known without a row."""
EVERY = pytest.mark.parametrize("name", ALL)


def some_rows(design, seed=0):
    """A few rows, and with correlated residuals whole series."""
    rng = np.random.default_rng(seed)
    if design.residual is None:
        return rng.choice(design.n, max(1, design.n // 6), replace=False)
    return np.flatnonzero(design.residual.codes == 1)


def priors_for(design, centered):
    """A Normal prior for every coefficient, the last with one that keeps it in θ."""
    p = design.X.shape[1]
    return priors_of(design, [normal(0.3 * k, 1.0 + k) for k in range(p - 1)] + [STUDENT], centered)


# --- Marginal.without -------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_density_without_rows(name, centered):
    design = ALL[name]
    priors, rows = priors_for(design, centered), some_rows(design)
    theta = some_theta(design, kept=[0.4])
    less = Marginal(design, priors).without(rows)
    rest = design.only(np.delete(np.arange(design.n), rows))
    X = centred(design.X) if centered else design.X
    plain = replace(priors, centered=False)
    # centring by the mean of all rows, not of those that remain
    expected = expected_density(replace(rest, X=np.delete(X, rows, axis=0)), theta, plain)
    np.testing.assert_allclose(less.log_density(theta)[0], expected, rtol=VALUE)
    assert less.design.n == less.moments.n == design.n - len(rows)


@EVERY
def test_restricted_density_without_rows_equals_that_of_the_smaller_design(name):
    design = ALL[name]
    rows, theta = some_rows(design, 1), some_theta(design)
    less = Marginal(design).without(rows)
    rest = design.only(np.delete(np.arange(design.n), rows))
    np.testing.assert_allclose(less.log_density(theta)[0], Marginal(rest).log_density(theta)[0], rtol=VALUE)


@pytest.mark.parametrize("name", ["AR(1) with gaps and slopes", "compound symmetry in two crossed"])
def test_single_rows_of_a_series(name):
    design, rows = ALL[name], np.array([3, 10, 11, 40])
    theta = some_theta(design)
    rest = design.only(np.delete(np.arange(design.n), rows))
    # the oracle takes the range of ρ from the series it sees
    assert rest.residual.bounds == design.residual.bounds
    expected = expected_density(replace(rest, residual=replace(rest.residual, limits=None)), theta, None)
    np.testing.assert_allclose(Marginal(design).without(rows).log_density(theta)[0], expected, rtol=VALUE)


def test_without_refuses():
    design = ALL["slope, unbalanced"]
    with pytest.raises(DataError, match="All rows are left out"):
        Marginal(design).without(slice(None))
    with pytest.raises(DataError, match=r"The 1 rows that remain do not determine .* 'x1'"):
        Marginal(design).without(np.arange(1, design.n))
    # a Normal prior determines what the rows do not
    Marginal(design, priors_of(design, [FLAT, normal(0.0, 1.0)], False)).without(np.arange(1, design.n))


# --- predictive densities -----------------------------------------------------------------------------


def gaussian(design, priors, theta):
    """Mean and covariance of the response given θ: Normal priors in the mean, kept coefficients known."""
    data = dense(design)
    X = centred(data.X) if priors.centered else data.X
    kept = np.array([prior is STUDENT for prior in priors.coefficients])
    mean, sd = prior_arrays(priors.coefficients)
    beta = np.where(kept, 0.0, mean)
    beta[kept] = theta[len(theta) - kept.sum() :]
    V = response_covariance(data, covariance_at(design, theta), sigma_at(design, theta), rho_at(design, theta))
    spread = np.where(kept, 0.0, sd) ** 2
    return X @ beta, V + (X * spread) @ X.T


def conditional(y, mean, V, rows, given):
    """Mean and covariance of some rows given others."""
    gain = np.linalg.solve(V[np.ix_(given, given)], V[np.ix_(given, rows)]).T
    return mean[rows] + gain @ (y[given] - mean[given]), V[np.ix_(rows, rows)] - gain @ V[np.ix_(given, rows)]


def offset_of(design):
    return 0.0 if design.offset is None else design.offset


@EVERY
@pytest.mark.parametrize("centered", [False, True], ids=["as it is", "centred"])
def test_each_row_given_all_others(name, centered):
    design = ALL[name]
    priors = priors_for(design, centered)
    marginal = Marginal(design, priors)
    thetas = np.array([some_theta(design, seed, kept=[0.4 - seed]) for seed in range(3)])
    found = Predictive(marginal, thetas, threads=2)
    log_p, (mean, sd) = found.log_rows(), found.predict()
    y, everyone = dense(design).y, np.arange(design.n)
    for s, theta in enumerate(thetas):
        mu, V = gaussian(design, priors, theta)
        for row in everyone[:: max(1, design.n // 20)]:
            m, v = (np.squeeze(each) for each in conditional(y, mu, V, [row], np.delete(everyone, row)))
            expected = -0.5 * (np.log(2.0 * np.pi * v) + (y[row] - m) ** 2 / v)
            np.testing.assert_allclose(log_p[row, s], expected, rtol=VALUE, atol=VALUE)
            at = m + (offset_of(design)[row] if design.offset is not None else 0.0)
            np.testing.assert_allclose([mean[row, s], sd[row, s]], [at, np.sqrt(v)], rtol=VALUE, atol=VALUE)


@EVERY
def test_some_rows_are_those_of_all(name):
    marginal, rows = Marginal(ALL[name]), some_rows(ALL[name], 2)
    thetas = np.array([some_theta(ALL[name], seed) for seed in range(2)])
    np.testing.assert_allclose(log_rows(marginal, thetas, rows), log_rows(marginal, thetas)[:, rows], rtol=1e-12)


@EVERY
def test_restricted_rows_are_ratios_of_densities(name):
    """With flat priors: p(yᵢ | y₋ᵢ, θ) is a density over a density."""
    marginal = Marginal(ALL[name])
    theta = some_theta(ALL[name])
    for row in (0, ALL[name].n - 1):
        ratio = marginal.log_density(theta)[0] - marginal.without(np.array([row])).log_density(theta)[0]
        np.testing.assert_allclose(log_rows(marginal, theta[None])[0, row], ratio, rtol=1e-7, atol=1e-7)


def check_sets(design, priors, thetas, scores, sets):
    y, everyone = dense(design).y, np.arange(design.n)
    np.testing.assert_array_equal(scores.rows, np.concatenate(sets))
    for s, theta in enumerate(thetas):
        mu, V = gaussian(design, priors, theta)
        at = 0
        for k, own in enumerate(sets):
            m, v = conditional(y, mu, V, own, np.delete(everyone, own))
            np.testing.assert_allclose(scores.joint[s, k], log_normal(y[own], m, v), rtol=VALUE, atol=VALUE)
            spread = np.diag(v)
            each = -0.5 * (np.log(2.0 * np.pi * spread) + (y[own] - m) ** 2 / spread)
            np.testing.assert_allclose(scores.pointwise[s, at : at + len(own)], each, rtol=VALUE, atol=VALUE)
            at += len(own)


@pytest.mark.parametrize("name", [name for name, d in ALL.items() if d.factors])
def test_levels(name):
    design = ALL[name]
    priors = priors_for(design, True)
    thetas = np.array([some_theta(design, seed, kept=[0.4]) for seed in range(2)])
    for factor in design.factors:
        levels = np.arange(len(factor.levels))[:: max(1, len(factor.levels) // 4)]
        scores = log_groups(Marginal(design, priors), thetas, factor, levels, threads=2)
        sets = [np.flatnonzero(factor.codes == level) for level in levels]
        check_sets(design, priors, thetas, scores, sets)
        alone = log_groups(Marginal(design, priors), thetas, factor, levels, pointwise=False)
        np.testing.assert_array_equal(alone.joint, scores.joint)
        assert alone.pointwise.size == 0


@EVERY
def test_sets(name):
    design = ALL[name]
    priors = priors_for(design, False)
    thetas = np.array([some_theta(design, seed, kept=[0.4]) for seed in range(2)])
    if design.residual is None:
        sets = np.array_split(np.random.default_rng(3).permutation(design.n)[: design.n // 2], 3)
    else:
        sets = [np.flatnonzero(design.residual.codes == series) for series in (0, 2)]
    check_sets(design, priors, thetas, log_sets(Marginal(design, priors), thetas, sets), sets)


def test_part_of_a_series_is_refused():
    design = ALL["AR(1) and intercepts"]
    with pytest.raises(DataError, match=r"residual='ar1\(t \| s\)' rows are left out by whole series of 's'"):
        log_sets(Marginal(design), some_theta(design)[None], [np.array([0, 1])])


def test_seconds_of_sets_grow_with_their_number():
    """A time, of which only this can be said."""
    design = ALL["many levels"]
    thetas = np.tile(some_theta(design), (40, 1))
    assert 0.0 < seconds_of_sets(Marginal(design), thetas, 2) < seconds_of_sets(Marginal(design), thetas, 2_000)


def test_flat_coefficients_of_one_level():
    """A predictor that varies in one level alone: nothing is known of it without that level."""
    design = ALL["slope, unbalanced"]
    X = np.column_stack([np.ones(design.n), (design.factors[0].codes == 2) * 1.0])
    with pytest.raises(DataError, match="Without level 'level 2' of 'g' the remaining rows do not determine"):
        log_groups(Marginal(replace(design, X=X)), some_theta(design)[None], design.factors[0])


# --- rows that are alone in something -------------------------------------------------------------------

ALONE = pytest.mark.parametrize("name", ["slope, unbalanced", "AR(1) and intercepts", "two crossed"])


def with_batch(name, row=5):
    """A design with an indicator of one of its rows."""
    design = ALL[name]
    return replace(design, X=np.column_stack([np.ones(design.n), np.arange(design.n) == row]))


@ALONE
def test_rows_that_flat_coefficients_rest_on_are_refused(name):
    design = with_batch(name)
    found = Predictive(Marginal(design), some_theta(design)[None])
    for ask in (found.log_rows, found.predict):
        with pytest.raises(DataError, match="Without row 5 the remaining rows do not determine the coefficients"):
            ask()
        with pytest.raises(DataError, match="Without row 5 "):
            ask(np.array([5]))
        assert np.isnan(np.array(ask(strict=False))[..., 5, :]).all()
    others = np.delete(np.arange(design.n), 5)
    assert np.isfinite(found.log_rows(others)).all()
    labelled = replace(design, row_labels=np.array([f"patient {i}" for i in range(design.n)]))
    with pytest.raises(DataError, match="Without row patient 5 "):
        Predictive(Marginal(labelled), some_theta(design)[None]).log_rows()


@ALONE
@pytest.mark.parametrize("sd", [1e2, 1e4, 1e6])
def test_rows_of_which_only_a_vague_prior_is_known(name, sd):
    """1 - leverage is 1e-12 here, of which rounding leaves nothing."""
    design = with_batch(name)
    priors = priors_of(design, [normal(0.0, 10.0), normal(0.0, sd)], False)
    theta = some_theta(design)
    found = Predictive(Marginal(design, priors), np.array([theta, theta]))
    y, rows = dense(design).y, np.array([2, 5])
    mu, V = gaussian(design, priors, theta)
    expected = [conditional(y, mu, V, [row], np.delete(np.arange(design.n), row)) for row in rows]
    m, v = (np.array([np.squeeze(each[k]) for each in expected]) for k in (0, 1))
    wanted = -0.5 * (np.log(2.0 * np.pi * v) + (y[rows] - m) ** 2 / v)
    np.testing.assert_allclose(found.log_rows(rows)[:, 1], wanted, rtol=ROUNDED)
    if design.residual is None:
        np.testing.assert_allclose(found.predict(rows)[1][:, 1], np.sqrt(v), rtol=ROUNDED)
    elif sd == 1e6:
        with pytest.raises(DataError, match="Row 5 is almost the only one to say something of a coefficient"):
            found.predict(rows)
        assert np.isnan(found.predict(rows, strict=False)[1][1]).all()


def test_priors_that_are_lost_in_rounding_are_flat():
    design = with_batch("slope, unbalanced")
    priors = priors_of(design, [normal(0.0, 10.0), normal(0.0, 1e12)], False)
    with pytest.raises(DataError, match=r"Without row 5 .* flat or almost flat priors"):
        log_rows(Marginal(design, priors), some_theta(design)[None])
