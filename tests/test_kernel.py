"""The compiled loops against the dense oracle: values, gradients, effects, degenerate levels."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    CASES,
    assert_gradient,
    conditional_effects,
    dense,
    differences,
    gls,
    log_density,
    log_integrated,
    log_normal,
    response_covariance,
)

from hierbayes.kernel import LANES, absorb, absorb_adjoint, density, effects, integrate, profile
from hierbayes.moments import take_moments

VALUE = 1e-9
"""Relative, against the dense oracle: sixteen digits less what solving with V costs."""
EXACT = 1e-12
"""Relative, between two orders of the same sums."""

SEVERAL = pytest.mark.parametrize("name", CASES)


def raw_moments(design, L):
    """Moments in the user's units, without any change of coordinates: A, M, G of the definition."""
    data = dense(design)
    q = len(L)
    XY = np.column_stack([data.X, data.y])
    blocks = [data.Z[:, j * q : (j + 1) * q] for j in range(data.J)]
    A = np.stack([Z.T @ Z for Z in blocks], axis=-1)
    M = np.stack([Z.T @ XY for Z in blocks], axis=-1)
    return A, np.ones(data.J), M, XY.T @ XY


def random_factor(seed, q):
    rng = np.random.default_rng(seed)
    return np.tril(rng.standard_normal((q, q)))


@SEVERAL
def test_absorb_is_the_weighted_cross_product(name):
    design = CASES[name]
    data = dense(design)
    L = random_factor(0, design.layout.q)
    K, logdet = absorb(*raw_moments(design, L), L)
    V = response_covariance(data, L @ L.T, 1.0)
    XY = np.column_stack([data.X, data.y])
    np.testing.assert_allclose(K, XY.T @ np.linalg.solve(V, XY), rtol=VALUE)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(V)[1], rtol=VALUE)


@SEVERAL
def test_absorb_takes_any_square_factor(name):
    design = CASES[name]
    L = random_factor(1, design.layout.q)
    rotation = np.linalg.qr(random_factor(2, design.layout.q))[0]
    moments = raw_moments(design, L)
    expected, found = absorb(*moments, L), absorb(*moments, np.ascontiguousarray(L @ rotation))
    np.testing.assert_allclose(found[0], expected[0], rtol=VALUE)
    np.testing.assert_allclose(found[1], expected[1], rtol=VALUE)


def test_no_variance_leaves_least_squares():
    A, count, M, G = raw_moments(CASES["three effects"], np.zeros((3, 3)))
    K, logdet = absorb(A, count, M, G, np.zeros((3, 3)))
    np.testing.assert_array_equal(K, G)
    assert logdet == 0.0


@pytest.mark.parametrize("dead", [0, 1], ids=["first effect without variance", "last effect without variance"])
def test_one_effect_without_variance_is_the_smaller_model(dead):
    design = CASES["slope, unbalanced"]
    alive = 1 - dead
    L = np.zeros((2, 2))
    L[alive, alive] = 1.7
    A, count, M, G = raw_moments(design, L)
    K, logdet = absorb(A, count, M, G, L)
    keep = slice(alive, alive + 1)
    smaller = absorb(A[keep, keep].copy(), count, M[keep].copy(), G, L[keep, keep].copy())
    np.testing.assert_allclose(K, smaller[0], rtol=EXACT)
    np.testing.assert_allclose(logdet, smaller[1], rtol=EXACT)


def test_a_level_without_rows_adds_nothing():
    """Model never makes an empty level, but the kernel must not divide by its A = 0."""
    L = random_factor(3, 2)
    A, count, M, G = raw_moments(CASES["slope, unbalanced"], L)
    padded = np.zeros((2, 2, A.shape[2] + 2))
    padded[:, :, 1:-1] = A
    M_padded = np.zeros((*M.shape[:2], M.shape[2] + 2))
    M_padded[:, :, 1:-1] = M
    counts = np.ones(A.shape[2] + 2)
    expected = absorb(A, count, M, G, L)
    found = absorb(padded, counts, M_padded, G, L)
    np.testing.assert_allclose(found[0], expected[0], rtol=EXACT)
    np.testing.assert_allclose(found[1], expected[1], rtol=EXACT)
    K_bar = np.eye(len(G))
    np.testing.assert_allclose(
        absorb_adjoint(padded, counts, M_padded, L, K_bar, 1.0),
        absorb_adjoint(A, count, M, L, K_bar, 1.0),
        rtol=EXACT,
    )


def test_only_empty_levels_change_nothing():
    G = np.diag([1.0, 2.0])
    K, logdet = absorb(np.zeros((2, 2, 3)), np.ones(3), np.zeros((2, 2, 3)), G, random_factor(4, 2))
    np.testing.assert_array_equal(K, G)
    assert logdet == 0.0


def test_the_effects_of_a_level_without_rows_follow_their_prior():
    L = random_factor(5, 2)
    z = np.array([[0.3], [-1.2]])
    expected = 2.0 * L @ z[:, 0]
    effects(np.zeros((2, 2, 1)), np.zeros((2, 3, 1)), L, L, np.array([0.5, -1.0, 1.0]), 2.0, z)
    np.testing.assert_allclose(z[:, 0], expected, rtol=EXACT)


def test_counts_multiply_the_determinant_only():
    L = random_factor(6, 2)
    A, count, M, G = raw_moments(CASES["slope, unbalanced"], L)
    K, logdet = absorb(A, count, M, G, L)
    K_weighted, logdet_weighted = absorb(A, 3.0 * count, M, G, L)
    np.testing.assert_array_equal(K_weighted, K)
    np.testing.assert_allclose(logdet_weighted, 3.0 * logdet, rtol=EXACT)
    K_none, logdet_none = absorb(A, 0.0 * count, M, G, L)
    np.testing.assert_array_equal(K_none, K)
    assert logdet_none == 0.0


@pytest.mark.parametrize("levels", [1, LANES - 1, LANES, LANES + 1, 3 * LANES])
def test_the_chunks_meet_without_a_gap(levels):
    rng = np.random.default_rng(levels)
    rows = rng.standard_normal((levels, 3, 2))
    other = rng.standard_normal((levels, 3, 2))
    A = np.einsum("jri,jrk->ikj", rows, rows).copy()
    M = np.einsum("jri,jra->iaj", rows, other).copy()
    G = np.einsum("jra,jrb->ab", other, other)
    L = random_factor(7, 2)
    K, logdet = absorb(A, np.ones(levels), M, G, L)
    W = np.eye(2) + np.einsum("ki,klj,lm->jim", L, A, L)
    half = np.einsum("ki,kaj->jia", L, M)
    np.testing.assert_allclose(
        K, G - np.einsum("jia,jib->ab", half, np.linalg.solve(W, half)), rtol=VALUE, atol=VALUE
    )
    np.testing.assert_allclose(logdet, np.linalg.slogdet(W)[1].sum(), rtol=VALUE)


def test_many_large_determinants_do_not_underflow():
    """The product of the pivots passes through 1e-150 several times; its logarithm must not notice."""
    levels = 200
    A = np.full((1, 1, levels), 1e12)
    _, logdet = absorb(A, np.ones(levels), np.zeros((1, 1, levels)), np.eye(1), np.array([[1e3]]))
    np.testing.assert_allclose(logdet, levels * np.log1p(1e18), rtol=EXACT)


@SEVERAL
def test_the_adjoint_of_absorb(name):
    design = CASES[name]
    q = design.layout.q
    L = random_factor(8, q)
    A, count, M, G = raw_moments(design, L)
    rng = np.random.default_rng(9)
    K_bar = rng.standard_normal(G.shape)
    K_bar = K_bar + K_bar.T

    def scalar(flat):
        K, logdet = absorb(A, count, M, G, flat.reshape(q, q))
        return (K_bar * K).sum() + 0.7 * logdet

    assert_gradient(absorb_adjoint(A, count, M, L, K_bar, 0.7).ravel(), differences(scalar, L.ravel()))


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
    A, count, M, G = raw_moments(design, L)
    eye = np.eye(p)
    integrated = ~kept

    def call(L, sigma, values):
        return density(
            A, count, M, G, float(design.n), L, sigma, eye[:, integrated].copy(), sd[integrated] ** -2.0,
            mean[integrated], eye[:, kept].copy(), values,
        )  # fmt: skip

    value, L_bar, sigma_bar, kept_bar = call(L, sigma, values)
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
    A, count, M, G = raw_moments(design, L)
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
    A, count, M, G = raw_moments(design, L)
    value, L_bar, sigma, t, chol = profile(A, count, M, G, float(design.n), restricted, L)
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
        return profile(A, count, M, G, float(design.n), restricted, flat.reshape(q, q))[0]

    assert_gradient(L_bar.ravel(), differences(scalar, L.ravel()))


@SEVERAL
def test_effects_are_conditional_means_and_a_factor_of_the_conditional_covariance(name):
    design = CASES[name]
    data = dense(design)
    q = design.layout.q
    L, sigma = random_factor(14, q), 0.6
    A, _, M, _ = raw_moments(design, L)
    beta = np.linspace(-1.0, 1.0, data.X.shape[1])
    units = np.diag(np.arange(1.0, q + 1))
    mean, covariance = conditional_effects(data, sigma**2 * L @ L.T, sigma, beta)

    def run(t, noise):
        z = noise.copy()
        effects(A, M, L, units @ L, t, sigma, z)
        return z

    t = np.array([*-beta, 1.0])
    expected = units @ mean.reshape(data.J, q).T
    np.testing.assert_allclose(run(t, np.zeros((q, data.J))), expected, rtol=VALUE, atol=VALUE)
    columns = np.stack([run(0.0 * t, np.tile(unit[:, None], data.J)) for unit in np.eye(q)], axis=1)
    for j in range(data.J):
        at = slice(j * q, (j + 1) * q)
        factor = columns[:, :, j]
        np.testing.assert_allclose(factor @ factor.T, units @ covariance[at, at] @ units, rtol=VALUE, atol=VALUE)


def test_density_is_minus_infinity_where_it_is_not_defined():
    A, count, M, G = raw_moments(CASES["intercept, unbalanced"], np.eye(1))
    none = np.zeros(0)
    for L, sigma in ((np.array([[np.nan]]), 1.0), (np.array([[1.0]]), np.nan), (np.array([[1.0]]), 0.0)):
        value = density(A, count, M, G, 27.0, L, sigma, np.eye(1), np.zeros(1), np.zeros(1), np.zeros((1, 0)), none)[
            0
        ]
        assert value == -np.inf


def test_package_coordinates_are_only_coordinates():
    """The moments of the package give the determinant that raw ones give, Λ transformed."""
    design = CASES["three effects"]
    m = take_moments(design)
    L = random_factor(15, 3)
    raw = absorb(*raw_moments(design, L), L)[1]
    np.testing.assert_allclose(absorb(m.A, m.count, m.M, m.G, m.E @ L)[1], raw, rtol=VALUE)
