"""Sums over a lattice against integrals known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hierbayes.evidence.bridge import bridge
from hierbayes.evidence.lattice import NotIntegrableError, fourier_quantiles, integrate

PROBABILITIES = np.array([0.01, 0.025, 0.5, 0.975, 0.99])
RUNS = 30
"""Repetitions from which the error of bridge sampling is judged."""
QUANTILES = 1e-4
"""Of a quantile, in standard deviations, at the default tolerance."""


def normal(d):
    factor = np.random.default_rng(d).standard_normal((d, d)) + np.eye(d)
    precision = factor @ factor.T

    def density(x):
        return -0.5 * np.einsum("ni,ij,nj->n", x, precision, x)

    return density, 0.5 * d * np.log(2.0 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1], np.linalg.inv(precision)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_normal_densities(d):
    density, exact, covariance = normal(d)
    # a scale that is far too wide, far too narrow, and not along the axes
    scale = np.diag(np.geomspace(0.1, 10.0, d))
    found = integrate(density, np.full((1, d), 0.2), scale)
    assert abs(found.log_integral - exact) < found.error < 1e-6
    assert found.weights.sum() == pytest.approx(1.0, rel=1e-12)
    sd = np.sqrt(covariance[-1, -1])
    expected = stats.norm(0.0, sd).ppf(PROBABILITIES)
    np.testing.assert_allclose(found.quantiles(found.nodes[:, -1], PROBABILITIES), expected, atol=QUANTILES * sd)


def test_logarithms_of_gamma_variables_have_long_left_tails():
    shapes = np.array([0.5, 1.0, 6.0])
    found = integrate(lambda x: (shapes * x - np.exp(x)).sum(axis=1), np.log(shapes)[None], np.eye(3))
    assert abs(found.log_integral - sum(map(math.lgamma, shapes))) < found.error < 1e-6
    for i, shape in enumerate(shapes):
        law = stats.loggamma(shape)
        quantiles = found.quantiles(found.nodes[:, i], PROBABILITIES)
        np.testing.assert_allclose(quantiles, law.ppf(PROBABILITIES), atol=QUANTILES * law.std())
        assert found.weights @ np.exp(found.nodes[:, i]) == pytest.approx(shape, rel=1e-5)


def test_tails_of_a_half_cauchy_and_of_a_flat_correlation():
    # log of |t₁|, and 2 artanh of a uniform correlation
    def density(x):
        return x[:, 0] - np.log1p(np.exp(2.0 * x[:, 0])) + x[:, 1] - 2.0 * np.logaddexp(0.0, x[:, 1])

    found = integrate(density, np.zeros((1, 2)), np.eye(2))
    assert abs(found.log_integral - np.log(0.5 * np.pi)) < found.error < 1e-6
    np.testing.assert_allclose(
        np.exp(found.quantiles(found.nodes[:, 0], PROBABILITIES)), stats.halfcauchy().ppf(PROBABILITIES), rtol=1e-3
    )


def test_modes_with_nothing_in_between_are_all_summed():
    centre = np.array([20.0, 0.0])

    def density(x):
        ones = [-0.5 * ((x - at) ** 2).sum(axis=1) for at in (centre, -centre)]
        return np.logaddexp(*ones)

    found = integrate(density, np.array([centre, -centre]), np.eye(2))
    assert abs(found.log_integral - np.log(4.0 * np.pi)) < found.error < 1e-6


def test_a_kink_is_owned_up_to():
    found = integrate(lambda x: -np.abs(x - 0.3).sum(axis=1), np.full((1, 3), 0.3), np.eye(3), budget=100_000)
    assert found.error > 1e-6
    assert abs(found.log_integral - 3.0 * np.log(2.0)) < found.error


def test_a_density_that_does_not_fall_off_is_refused():
    with pytest.raises(NotIntegrableError):
        integrate(lambda x: -np.log1p(np.abs(x[:, 0])), np.zeros((1, 1)), np.eye(1), budget=10_000)


def test_quantiles_of_a_discrete_grid_are_smooth():
    z = np.linspace(-9.0, 9.0, 37)
    weights = np.exp(-0.5 * z**2)
    found = fourier_quantiles(z, weights / weights.sum(), 2.0 * np.pi, PROBABILITIES)
    np.testing.assert_allclose(found, stats.norm.ppf(PROBABILITIES), atol=1e-5)


# --- bridge sampling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dependence", [0.0, 0.95])
def test_bridge_sampling_errs_as_much_as_it_says(dependence):
    shapes = np.array([1.0, 3.0])
    exact = sum(map(math.lgamma, shapes))
    z = []
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        # chains with a stationary Normal law, then with the law of log-gamma variables
        noise = rng.standard_normal((2, 600, 2))
        noise[:, 1:] *= np.sqrt(1.0 - dependence**2)
        for k in range(1, 600):
            noise[:, k] += dependence * noise[:, k - 1]
        draws = np.log(stats.gamma.ppf(stats.norm.cdf(noise), shapes))
        value, error = bridge(lambda x: (shapes * x - np.exp(x)).sum(axis=1), draws, rng)
        z.append((value - exact) / error)
    # standard Normal numbers have such means and standard deviations in 99.9 of 100 cases; too careful is allowed
    assert abs(np.mean(z)) < 3.3 / np.sqrt(RUNS)
    assert 0.4 < np.std(z) < 1.0 + 3.3 / np.sqrt(2.0 * RUNS)


def test_bridge_sampling_in_many_dimensions():
    density, exact, covariance = normal(9)
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal(np.zeros(9), covariance, size=(4, 1000))
    value, error = bridge(density, draws, rng)
    assert abs(value - exact) < 3.0 * error < 0.05
