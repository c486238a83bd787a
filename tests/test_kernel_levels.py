"""Elimination of one grouping factor, level by level, against the dense oracle; degenerate levels."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    CASES,
    assert_gradient,
    conditional_effects,
    dense,
    differences,
    random_factor,
    raw_moments,
    response_covariance,
)

from hierbayes.kernel_levels import LANES, absorb, absorb_adjoint, effects
from hierbayes.moments import take_moments

VALUE = 1e-9
"""Relative, against the dense oracle: sixteen digits less what solving with V costs."""
EXACT = 1e-12
"""Relative, between two orders of the same sums."""

SEVERAL = pytest.mark.parametrize("name", CASES)
NONE = np.empty((0, 0, 0))
"""No derivatives with respect to the data, please."""


@SEVERAL
def test_absorb_is_the_weighted_cross_product(name):
    design = CASES[name]
    data = dense(design)
    L = random_factor(0, design.layout.q)
    K, logdet = absorb(*raw_moments(design), L)
    V = response_covariance(data, L @ L.T, 1.0)
    XY = np.column_stack([data.X, data.y])
    np.testing.assert_allclose(K, XY.T @ np.linalg.solve(V, XY), rtol=VALUE)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(V)[1], rtol=VALUE)


@SEVERAL
def test_absorb_takes_any_square_factor(name):
    design = CASES[name]
    L = random_factor(1, design.layout.q)
    rotation = np.linalg.qr(random_factor(2, design.layout.q))[0]
    moments = raw_moments(design)
    expected, found = absorb(*moments, L), absorb(*moments, np.ascontiguousarray(L @ rotation))
    np.testing.assert_allclose(found[0], expected[0], rtol=VALUE)
    np.testing.assert_allclose(found[1], expected[1], rtol=VALUE)


def test_no_variance_leaves_least_squares():
    A, count, M, G = raw_moments(CASES["three effects"])
    K, logdet = absorb(A, count, M, G, np.zeros((3, 3)))
    np.testing.assert_array_equal(K, G)
    assert logdet == 0.0


@pytest.mark.parametrize("dead", [0, 1], ids=["first effect without variance", "last effect without variance"])
def test_one_effect_without_variance_is_the_smaller_model(dead):
    design = CASES["slope, unbalanced"]
    alive = 1 - dead
    L = np.zeros((2, 2))
    L[alive, alive] = 1.7
    A, count, M, G = raw_moments(design)
    K, logdet = absorb(A, count, M, G, L)
    keep = slice(alive, alive + 1)
    smaller = absorb(A[keep, keep].copy(), count, M[keep].copy(), G, L[keep, keep].copy())
    np.testing.assert_allclose(K, smaller[0], rtol=EXACT)
    np.testing.assert_allclose(logdet, smaller[1], rtol=EXACT)


def test_a_level_without_rows_adds_nothing():
    """Model never makes an empty level, but the kernel must not divide by its A = 0."""
    L = random_factor(3, 2)
    A, count, M, G = raw_moments(CASES["slope, unbalanced"])
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
        absorb_adjoint(padded, counts, M_padded, L, K_bar, 1.0, NONE, NONE),
        absorb_adjoint(A, count, M, L, K_bar, 1.0, NONE, NONE),
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
    effects(np.zeros((2, 2, 1)), np.zeros((2, 1)), L, L, 2.0, z)
    np.testing.assert_allclose(z[:, 0], expected, rtol=EXACT)


def test_counts_multiply_the_determinant_only():
    L = random_factor(6, 2)
    A, count, M, G = raw_moments(CASES["slope, unbalanced"])
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
    A, count, M, G = raw_moments(design)
    rng = np.random.default_rng(9)
    K_bar = rng.standard_normal(G.shape)
    K_bar = K_bar + K_bar.T

    def scalar(flat):
        K, logdet = absorb(A, count, M, G, flat.reshape(q, q))
        return (K_bar * K).sum() + 0.7 * logdet

    assert_gradient(absorb_adjoint(A, count, M, L, K_bar, 0.7, NONE, NONE).ravel(), differences(scalar, L.ravel()))


@SEVERAL
def test_the_adjoint_of_the_data(name):
    """∂f/∂A and ∂f/∂M of every level, which carry the derivative with respect to a residual correlation."""
    design = CASES[name]
    q = design.layout.q
    L = random_factor(8, q)
    A, count, M, G = raw_moments(design)
    rng = np.random.default_rng(9)
    K_bar = rng.standard_normal(G.shape)
    K_bar = K_bar + K_bar.T
    A_step, M_step = rng.standard_normal(A.shape), rng.standard_normal(M.shape)
    A_step = A_step + A_step.swapaxes(0, 1)

    def along(x):
        K, logdet = absorb(A + x[0] * A_step, count, M + x[1] * M_step, G, L)
        return (K_bar * K).sum() + 0.7 * logdet

    A_bar, M_bar = np.empty_like(A), np.empty_like(M)
    with_data = absorb_adjoint(A, count, M, L, K_bar, 0.7, A_bar, M_bar)
    np.testing.assert_array_equal(with_data, absorb_adjoint(A, count, M, L, K_bar, 0.7, NONE, NONE))
    found = np.array([(A_bar * A_step).sum(), (M_bar * M_step).sum()])
    assert_gradient(found, differences(along, np.zeros(2), h=1e-4))


@SEVERAL
def test_effects_are_conditional_means_and_a_factor_of_the_conditional_covariance(name):
    design = CASES[name]
    data = dense(design)
    q, J = design.layout.q, data.J[0]
    L, sigma = random_factor(14, q), 0.6
    A, _, M, _ = raw_moments(design)
    beta = np.linspace(-1.0, 1.0, data.X.shape[1])
    units = np.diag(np.arange(1.0, q + 1))
    mean, covariance = conditional_effects(data, sigma**2 * L @ L.T, sigma, beta)

    def run(V, noise):
        z = noise.copy()
        effects(A, V, L, units @ L, sigma, z)
        return z

    V = np.einsum("iaj,a->ij", M, [*-beta, 1.0])
    expected = units @ mean.reshape(J, q).T
    np.testing.assert_allclose(run(V, np.zeros((q, J))), expected, rtol=VALUE, atol=VALUE)
    columns = np.stack([run(0.0 * V, np.tile(unit[:, None], J)) for unit in np.eye(q)], axis=1)
    for j in range(J):
        at = slice(j * q, (j + 1) * q)
        factor = columns[:, :, j]
        np.testing.assert_allclose(factor @ factor.T, units @ covariance[at, at] @ units, rtol=VALUE, atol=VALUE)


def test_package_coordinates_are_only_coordinates():
    """The moments of the package give the determinant that raw ones give, Λ transformed."""
    design = CASES["three effects"]
    m = take_moments(design)
    L = random_factor(15, 3)
    raw = absorb(*raw_moments(design), L)[1]
    A, M = m.levels.A[0], m.levels.M[0]
    np.testing.assert_allclose(absorb(A, m.count, M, np.zeros((M.shape[1],) * 2), m.E @ L)[1], raw, rtol=VALUE)
