"""From K to a density: fixed effects integrated, kept or profiled, against the dense oracle."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    CASES,
    assert_gradient,
    dense,
    differences,
    gls,
    log_density,
    log_integrated,
    log_normal,
    random_factor,
    raw_moments,
    response_covariance,
)

from hierbayes.kernel_fixed import density, integrate, profile
from hierbayes.kernel_levels import absorb, absorb_adjoint

VALUE = 1e-9
"""Relative, against the dense oracle: sixteen digits less what solving with V costs."""

SEVERAL = pytest.mark.parametrize("name", CASES)
NONE = np.empty((0, 0, 0))


@SEVERAL
@pytest.mark.parametrize("prior", ["flat", "normal", "kept", "mixed"])
def test_density_and_its_gradient(name, prior):
    design = CASES[name]
    data = dense(design)
    p, q = data.X.shape[1], design.layout.q
    rng = np.random.default_rng(10)
    kept = np.zeros(p, dtype=bool) if prior in ("flat", "normal") else np.ones(p, dtype=bool)
    sd = np.full(p, np.inf if prior in ("flat", "kept") else 1.5)
    if prior == "mixed":
        kept[::2] = False
        sd[::4] = np.inf
    mean = rng.standard_normal(p)
    values = rng.standard_normal(int(kept.sum()))
    L, sigma = random_factor(11, q), 0.8
    A, count, M, G = raw_moments(design)
    eye = np.eye(p)
    integrated = ~kept

    def call(L, sigma, values):
        return density(
            *absorb(A, count, M, G, L), float(design.n), sigma, eye[:, integrated].copy(), sd[integrated] ** -2.0,
            mean[integrated], eye[:, kept].copy(), values,
        )  # fmt: skip

    value, K_bar, sigma_bar, kept_bar = call(L, sigma, values)
    L_bar = absorb_adjoint(A, count, M, L, K_bar, -0.5, NONE, NONE)
    expected = log_density(data, sigma**2 * L @ L.T, sigma, kept, values, mean, sd)
    np.testing.assert_allclose(value, expected, rtol=VALUE)

    x = np.concatenate([L.ravel(), [sigma], values])

    def scalar(x):
        return call(x[: q * q].reshape(q, q), x[q * q], x[q * q + 1 :])[0]

    assert_gradient(np.concatenate([L_bar.ravel(), [sigma_bar], kept_bar]), differences(scalar, x))


@SEVERAL
def test_integrate_gives_the_conditional_of_the_coefficients(name):
    """Given Σ and σ, a coefficient with a Normal prior is Gaussian: ridge regression in the metric V⁻¹."""
    design = CASES[name]
    data = dense(design)
    p = data.X.shape[1]
    L, sigma = random_factor(12, design.layout.q), 1.3
    A, count, M, G = raw_moments(design)
    K, _ = absorb(A, count, M, G, L)
    mean, precision = np.arange(p) - 0.5, np.linspace(0.0, 2.0, p)
    quadratic, t, u, chol = integrate(K, sigma, np.eye(p), precision, mean, np.zeros((p, 0)), np.zeros(0))
    V = response_covariance(data, sigma**2 * L @ L.T, sigma)
    information = data.X.T @ np.linalg.solve(V, data.X) + np.diag(precision)
    best = np.linalg.solve(information, data.X.T @ np.linalg.solve(V, data.y) + precision * mean)
    np.testing.assert_allclose(u, best, rtol=VALUE, atol=VALUE)
    np.testing.assert_allclose(t, [*-best, 1.0], rtol=VALUE, atol=VALUE)
    np.testing.assert_allclose(chol @ chol.T, information, rtol=VALUE, atol=VALUE)
    r = data.y - data.X @ best
    np.testing.assert_allclose(quadratic, sigma**2 * r @ np.linalg.solve(V, r), rtol=VALUE)


@SEVERAL
@pytest.mark.parametrize("restricted", [True, False], ids=["REML", "ML"])
def test_profile_is_the_maximum_over_everything_else(name, restricted):
    design = CASES[name]
    data = dense(design)
    q = design.layout.q
    L = random_factor(13, q)
    A, count, M, G = raw_moments(design)
    K, logdet = absorb(A, count, M, G, L)
    value, K_bar, sigma, t, chol = profile(K, logdet, float(design.n), 0.0, restricted)
    V = response_covariance(data, sigma**2 * L @ L.T, sigma)
    beta, cov = gls(data.y, data.X, V)
    expected = log_integrated(data.y, data.X, V) if restricted else log_normal(data.y, data.X @ beta, V)
    np.testing.assert_allclose(value, -2.0 * expected, rtol=VALUE)
    np.testing.assert_allclose(-t[:-1], beta, rtol=VALUE)
    np.testing.assert_allclose(
        sigma**2 * np.linalg.inv(chol @ chol.T), cov, rtol=VALUE, atol=VALUE * np.abs(cov).max()
    )
    for nearby in (0.99 * sigma, 1.01 * sigma):
        V = response_covariance(data, nearby**2 * L @ L.T, nearby)
        other = log_integrated(data.y, data.X, V) if restricted else log_normal(data.y, data.X @ beta, V)
        assert other < expected

    def scalar(flat):
        return profile(*absorb(A, count, M, G, flat.reshape(q, q)), float(design.n), 0.0, restricted)[0]

    L_bar = absorb_adjoint(A, count, M, L, K_bar, 1.0, NONE, NONE)
    assert_gradient(L_bar.ravel(), differences(scalar, L.ravel()))


@SEVERAL
@pytest.mark.parametrize("restricted", [True, False], ids=["REML", "ML"])
def test_profile_with_a_known_sigma(name, restricted):
    design = CASES[name]
    data = dense(design)
    q, known = design.layout.q, 0.7
    L = random_factor(16, q)
    A, count, M, G = raw_moments(design)
    K, logdet = absorb(A, count, M, G, L)
    value, K_bar, sigma, t, _ = profile(K, logdet, float(design.n), known, restricted)
    assert sigma == known
    V = response_covariance(data, known**2 * L @ L.T, known)
    beta, _ = gls(data.y, data.X, V)
    expected = log_integrated(data.y, data.X, V) if restricted else log_normal(data.y, data.X @ beta, V)
    np.testing.assert_allclose(value, -2.0 * expected, rtol=VALUE)
    np.testing.assert_allclose(-t[:-1], beta, rtol=VALUE)

    def scalar(flat):
        return profile(*absorb(A, count, M, G, flat.reshape(q, q)), float(design.n), known, restricted)[0]

    L_bar = absorb_adjoint(A, count, M, L, K_bar, 1.0, NONE, NONE)
    assert_gradient(L_bar.ravel(), differences(scalar, L.ravel()))


def test_density_is_minus_infinity_where_it_is_not_defined():
    A, count, M, G = raw_moments(CASES["intercept, unbalanced"])
    none = np.zeros(0)
    for L, sigma in ((np.array([[np.nan]]), 1.0), (np.array([[1.0]]), np.nan), (np.array([[1.0]]), 0.0)):
        K, logdet = absorb(A, count, M, G, L)
        value = density(K, logdet, 27.0, sigma, np.eye(1), np.zeros(1), np.zeros(1), np.zeros((1, 0)), none)[0]
        assert value == -np.inf


@pytest.mark.parametrize("quadratic", [0.0, -1e-9])
def test_a_sum_of_squares_lost_to_cancellation_is_no_fit(quadratic):
    """Rounding may leave nothing, or less, of the residual sum of squares: density and profile do not believe it."""
    K = np.diag([1.0, quadratic])
    none = np.zeros(0)
    value = density(K, 0.0, 5.0, 1.0, np.eye(1), np.zeros(1), np.zeros(1), np.zeros((1, 0)), none)[0]
    assert value == -np.inf
    assert np.isnan(profile(K, 0.0, 5.0, 0.0, True)[0])
