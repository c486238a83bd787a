"""Elimination of several grouping factors by the sparse factor, against dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import MANY, assert_gradient, differences, prior_covariance, random_factor, standardised

from hierbayes.kernel_tree import adjoint, factorise, leaves, rest_effects
from hierbayes.moments import take_moments

VALUE = 1e-10
"""Relative (of K: to its largest entry), against dense matrices."""
EXACT = 1e-12

WITH_FOREST = [name for name, design in MANY.items() if len(design.factors) > 1 and design.residual is None]
SEVERAL = pytest.mark.parametrize("name", WITH_FOREST)
NONE = np.empty(0)


def random_relative(design, seed=0):
    """Λ: lower triangular within the blocks, zero between them."""
    return random_factor(seed, design.layout.q) * design.layout.mask


def close(found, expected, tolerance=VALUE):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@SEVERAL
def test_the_sparse_factor_gives_the_weighted_cross_product(name):
    design = MANY[name]
    m = take_moments(design)
    relative = random_relative(design)
    _, _, _, K, logdet = factorise(m.data[0], m.forest.tree, relative)
    data, Z, XY = standardised(design, m)
    V = np.eye(design.n) + Z @ prior_covariance(data, relative @ relative.T) @ Z.T
    close(K, XY.T @ np.linalg.solve(V, XY))
    np.testing.assert_allclose(logdet, np.linalg.slogdet(V)[1], rtol=VALUE)


@SEVERAL
def test_no_variance_leaves_least_squares(name):
    m = take_moments(MANY[name])
    _, _, _, K, logdet = factorise(m.data[0], m.forest.tree, np.zeros((m.q, m.q)))
    close(K, np.diag([*np.ones(m.p), m.n - m.p]), EXACT)
    assert logdet == 0.0


@SEVERAL
def test_the_adjoint_of_the_factor(name):
    """Any function of K and log|V₀|, by the entries of Λ within the blocks."""
    design = MANY[name]
    m = take_moments(design)
    relative = random_relative(design, 1)
    rng = np.random.default_rng(2)
    K_bar = rng.standard_normal((m.p + 1, m.p + 1))
    K_bar = K_bar + K_bar.T
    rows, columns = np.nonzero(design.layout.mask)

    def scalar(x):
        moved = relative.copy()
        moved[rows, columns] = x
        _, _, _, K, logdet = factorise(m.data[0], m.forest.tree, moved)
        return (K_bar * K).sum() + 0.7 * logdet

    panels, core, white, _, _ = factorise(m.data[0], m.forest.tree, relative)
    found = adjoint(m.data[0], m.forest.tree, relative, panels, core, white, K_bar, 0.7, NONE)
    assert_gradient(found[rows, columns], differences(scalar, relative[rows, columns]))


@SEVERAL
def test_the_adjoint_of_the_data(name):
    """Along the cross-products of other numbers in the same groups; a residual correlation needs it."""
    design = MANY[name]
    m = take_moments(design)
    rng = np.random.default_rng(3)
    blocks = tuple(replace(block, Z=rng.standard_normal(block.Z.shape)) for block in design.blocks)
    step = take_moments(replace(design, y=rng.standard_normal(design.n), blocks=blocks)).data[0]
    relative = random_relative(design, 4)
    K_bar = rng.standard_normal((m.p + 1, m.p + 1))
    K_bar = K_bar + K_bar.T

    def along(x):
        _, _, _, K, logdet = factorise(m.data[0] + x[0] * step, m.forest.tree, relative)
        return (K_bar * K).sum() + 0.7 * logdet

    panels, core, white, _, _ = factorise(m.data[0], m.forest.tree, relative)
    bar = np.zeros_like(step)
    with_data = adjoint(m.data[0], m.forest.tree, relative, panels, core, white, K_bar, 0.7, bar)
    without = adjoint(m.data[0], m.forest.tree, relative, panels, core, white, K_bar, 0.7, NONE)
    close(with_data, without, EXACT)
    assert_gradient(np.array([bar @ step]), differences(along, np.zeros(1)))


@SEVERAL
def test_effects_from_the_core_down_are_the_conditional_mean(name):
    """Of all factors but the leaves, and then of the leaves given the others."""
    design = MANY[name]
    m = take_moments(design)
    relative = random_relative(design, 5)
    panels, core, white, _, _ = factorise(m.data[0], m.forest.tree, relative)
    t = np.array([*np.linspace(-1.0, 1.0, m.p), 1.0])
    data, Z, XY = standardised(design, m)
    prior = prior_covariance(data, relative @ relative.T)
    V = np.eye(design.n) + Z @ prior @ Z.T
    expected = prior @ Z.T @ np.linalg.solve(V, XY @ t)
    rest = np.zeros(m.forest.rest_size)
    rest_effects(m.forest.tree, relative, panels, core, white, t, 0.0, rest)
    for position, where in zip(m.forest.order[1:], m.forest.rest, strict=True):
        close(rest[where], expected[data.slots(position)])
    leaf = m.forest.order[0]
    slots = data.slots(leaf)
    q, J = slots.shape[1], len(slots)
    for begin, end in ((0, J), (1, J - 1)):
        A, V_leaf = np.zeros((q, q, end - begin)), np.zeros((q, end - begin))
        leaves(m.data[0], m.forest.tree, t, rest, begin, A, V_leaf)
        own = relative[data.effects[leaf], data.effects[leaf]]
        others = np.delete(np.arange(Z.shape[1]), slots.ravel())
        left = XY @ t - Z[:, others] @ expected[others]
        for j in range(begin, end):
            Zj = Z[:, slots[j]]
            np.testing.assert_allclose(A[..., j - begin], Zj.T @ Zj, rtol=VALUE, atol=VALUE)
            np.testing.assert_allclose(V_leaf[:, j - begin], Zj.T @ left, rtol=VALUE, atol=VALUE * design.n)
            W = np.eye(q) + own.T @ A[..., j - begin] @ own
            found = own @ np.linalg.solve(W, own.T @ V_leaf[:, j - begin])
            np.testing.assert_allclose(found, expected[slots[j]], rtol=0, atol=VALUE * np.abs(expected).max())


@SEVERAL
def test_what_is_not_finite_is_reported_as_nan(name):
    """The optimiser and the sampler must hear of it; an exception would end them."""
    m = take_moments(MANY[name])
    for value in (np.nan, np.inf, 1e200):
        relative = np.zeros((m.q, m.q))
        relative[0, 0] = value
        _, _, _, K, logdet = factorise(m.data[0], m.forest.tree, relative)
        assert not (np.isfinite(logdet) and np.isfinite(K).all())
