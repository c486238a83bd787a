"""The one pass over the rows: coordinates, sufficient statistics, exact compression, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import (
    ALL,
    BALANCED,
    CASES,
    ar1,
    dense,
    design_of,
    make_design,
    random_design,
    random_model,
    residual_correlation,
    some_theta,
    standardised,
)

from hierbayes.errors import DataError
from hierbayes.kernel_levels import absorb
from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments
from hierbayes.residual import coefficients

EXACT = 1e-12
"""Relative: one algebraic identity in double precision on well-conditioned data."""
SUMS = 1e-10
"""Relative: the same density from sums in another order."""
YEARS = 1e-9
"""Relative: a predictor around 2000 with a spread of 3 leaves 16 - 2 log10(2000/3) digits to its slope."""

SEVERAL = pytest.mark.parametrize("name", ALL)
ONE_FACTOR = pytest.mark.parametrize("name", [name for name, design in ALL.items() if len(design.factors) == 1])
FOREST = pytest.mark.parametrize("name", [name for name, design in ALL.items() if len(design.factors) > 1])


def corner(moments):
    """[X y]ᵀ[X y] of the first set."""
    m = moments.p + 1
    if moments.forest is None:
        return moments.data[0, -m * m :].reshape(m, m)
    return moments.data[0, moments.forest.corner : moments.forest.corner + m * m].reshape(m, m)


def uncompressed(moments):
    """The same moments with one lane for every level."""
    own = moments.levels
    K, J = own.A_levels.shape[0], own.A_levels.shape[-1]
    lanes = replace(own, A=own.A_levels, M=own.M_levels, count=np.ones(J))
    tail = moments.data[:, -((moments.p + 1) ** 2) :]
    data = np.concatenate([own.A_levels.reshape(K, -1), own.M_levels.reshape(K, -1), tail], axis=1)
    return replace(moments, data=data, count=np.ones(J), levels=lanes)


@SEVERAL
def test_fixed_effects_are_orthonormal_least_squares(name):
    """Of the rows over their own standard deviations, less the offset."""
    design = ALL[name]
    m = take_moments(design)
    n, p = design.X.shape
    data = dense(design)
    X, y = data.X / data.deviation[:, None], data.y / data.deviation
    ols, rss = np.linalg.lstsq(X, y, rcond=None)[:2]
    np.testing.assert_allclose(m.R.T @ m.R, X.T @ X, rtol=EXACT, atol=EXACT * np.abs(X.T @ X).max())
    np.testing.assert_array_equal(np.tril(m.R, -1), 0.0)
    assert (np.diag(m.R) > 0).all()
    np.testing.assert_allclose(m.ols, ols, rtol=SUMS)
    np.testing.assert_allclose(m.scale, np.sqrt(rss[0] / (n - p)), rtol=EXACT)
    expected = np.eye(p + 1)
    expected[p, p] = n - p
    np.testing.assert_allclose(corner(m), expected, rtol=0, atol=EXACT * n)
    assert m.constant == pytest.approx(-np.log(data.deviation).sum(), rel=EXACT)


@SEVERAL
def test_random_effects_are_standardised_block_by_block(name):
    design = ALL[name]
    m = take_moments(design)
    assert (m.n, m.p, m.q) == (*design.X.shape, design.layout.q)
    np.testing.assert_array_equal(np.tril(m.E, -1), 0.0)
    root = 1.0 / dense(design).deviation[:, None]
    for block, where in zip(design.blocks, design.layout.slices, strict=True):
        inside = m.E[where, where]
        standard = root * block.Z @ np.linalg.inv(inside)
        cross = standard.T @ standard
        wanted = (
            design.n * np.eye(len(inside))
            if block.correlated
            else cross * (1 - np.eye(len(inside))) + np.diag(np.full(len(inside), design.n))
        )
        np.testing.assert_allclose(cross, wanted, rtol=EXACT, atol=EXACT * design.n)
        if not block.correlated:
            np.testing.assert_array_equal(inside, np.diag(np.diag(inside)))
    outside = m.E.copy()
    for where in design.layout.slices:
        outside[where, where] = 0.0
    np.testing.assert_array_equal(outside, 0.0)


@ONE_FACTOR
def test_every_level_keeps_its_cross_products(name):
    design = ALL[name]
    if design.residual is not None:
        design = replace(design, residual=None)
    m = take_moments(design)
    data, Z, XY = standardised(design, m)
    A, M = m.levels.A_levels[0], m.levels.M_levels[0]
    assert A.shape[-1] == M.shape[-1] == data.J[0]
    for j, columns in enumerate(data.slots(0)):
        np.testing.assert_allclose(A[:, :, j], Z[:, columns].T @ Z[:, columns], rtol=EXACT, atol=EXACT * m.n)
        np.testing.assert_allclose(M[:, :, j], Z[:, columns].T @ XY, rtol=EXACT, atol=EXACT * m.n)


@FOREST
def test_every_cell_keeps_its_cross_products(name):
    """Of every pair of levels that meet, and of every level with [X y]."""
    design = ALL[name]
    if design.residual is not None:
        design = replace(design, residual=None)
    m = take_moments(design)
    data, Z, XY = standardised(design, m)
    forest, numbers = m.forest, m.data[0]
    for (f, g), cells in forest.cells.items():
        rows, columns = data.slots(forest.order[f]), data.slots(forest.order[g])
        for place, a, b in zip(forest.blocks[f, g], cells.row, cells.column, strict=True):
            np.testing.assert_allclose(
                numbers[place], Z[:, rows[a]].T @ Z[:, columns[b]], rtol=EXACT, atol=EXACT * m.n
            )
    for f, places in enumerate(forest.xy):
        for place, columns in zip(places, data.slots(forest.order[f]), strict=True):
            np.testing.assert_allclose(numbers[place], Z[:, columns].T @ XY, rtol=EXACT, atol=EXACT * m.n)


@pytest.mark.parametrize("name", [name for name, design in ALL.items() if design.residual is not None])
@pytest.mark.parametrize("u", [0.1, 0.5, 0.8])
def test_the_sets_combine_to_cross_products_in_the_metric_of_the_residuals(name, u):
    """Σ_k c_k(ρ) data_k is what rows multiplied by R^{-1/2} would give."""
    design = ALL[name]
    m = take_moments(design)
    low, high = design.residual.bounds
    rho = low + u * (high - low)
    weights = coefficients(rho, design.residual.table)[0]
    found = replace(m, data=(weights @ m.data)[None])
    data, Z, XY = standardised(design, m)
    inverse = np.linalg.inv(residual_correlation(design.residual, design.n, rho))
    size = EXACT * np.abs(inverse).max() * m.n
    np.testing.assert_allclose(corner(found), XY.T @ inverse @ XY, rtol=0, atol=size)
    if m.forest is None:
        for j, columns in enumerate(data.slots(0) if design.factors else ()):
            Zj = Z[:, columns]
            A, M = (np.tensordot(weights, part[..., j], 1) for part in (m.levels.A_levels, m.levels.M_levels))
            np.testing.assert_allclose(A, Zj.T @ inverse @ Zj, rtol=0, atol=size)
            np.testing.assert_allclose(M, Zj.T @ inverse @ XY, rtol=0, atol=size)
        return
    for (f, g), cells in m.forest.cells.items():
        rows, columns = data.slots(m.forest.order[f]), data.slots(m.forest.order[g])
        for place, a, b in zip(m.forest.blocks[f, g], cells.row, cells.column, strict=True):
            expected = Z[:, rows[a]].T @ inverse @ Z[:, columns[b]]
            np.testing.assert_allclose(found.data[0][place], expected, rtol=0, atol=size)
    for f, places in enumerate(m.forest.xy):
        for place, columns in zip(places, data.slots(m.forest.order[f]), strict=True):
            np.testing.assert_allclose(found.data[0][place], Z[:, columns].T @ inverse @ XY, rtol=0, atol=size)


@SEVERAL
def test_the_spread_of_every_effect_is_at_hand(name):
    """What the optimiser starts from: each effect's own sums of squares, whatever the kernel."""
    design = ALL[name]
    m = take_moments(design)
    data, Z, XY = standardised(design, m)
    found = list(m.diagonals())
    assert len(found) == m.q
    at = 0
    for f, where in enumerate(data.effects):
        for i in range(where.stop - where.start):
            columns = data.slots(f)[:, i]
            square, cross = found[at]
            np.testing.assert_allclose(square, (Z[:, columns] ** 2).sum(axis=0), rtol=SUMS)
            np.testing.assert_allclose(cross, Z[:, columns].T @ XY[:, -1], rtol=0, atol=EXACT * m.n)
            at += 1


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        ("balanced intercept", 1 * 3),
        ("balanced slope", 2 * 3),
        ("balanced three effects", 3 * 2),
        ("intercepts of two sizes", 1 * 3 + 1 * 3 + 2),
        ("slope, unbalanced", 7),
    ],
)
def test_equal_levels_share_lanes(name, lanes):
    """As many as q (p + 1) lanes stand for all levels with the same A; levels of their own keep theirs."""
    m = take_moments(CASES[name])
    assert m.levels.A.shape[-1] == m.levels.M.shape[-1] == len(m.count) == lanes
    assert m.count.sum() == m.levels.A_levels.shape[-1]


def test_equal_levels_share_lanes_for_every_sum_of_squares_of_the_residuals():
    """With correlated residuals levels are equal if all K sets are; K q (p + 1) lanes stand for them."""
    rng = np.random.default_rng(0)
    codes = np.tile(np.arange(60), 5)
    residual = ar1(codes)
    design = random_model(1, {"g": codes}, [("g", 1, True)], residual=residual)
    m = take_moments(design)
    assert (m.levels.A.shape[0], m.levels.A.shape[-1]) == (3, 3 * 1 * 3)
    assert m.count.sum() == 60
    for _ in range(3):
        theta = some_theta(design, rng.integers(100))
        value, gradient = Marginal(design, None, m).log_density(theta)
        plain, plain_gradient = Marginal(design, None, uncompressed(m)).log_density(theta)
        np.testing.assert_allclose(value, plain, rtol=SUMS)
        np.testing.assert_allclose(gradient, plain_gradient, rtol=SUMS, atol=SUMS * np.abs(gradient).max())


@ONE_FACTOR
def test_compression_is_exact(name):
    design = ALL[name]
    m = take_moments(design)
    for seed in range(3):
        theta = some_theta(design, seed)
        value, gradient = Marginal(design, None, m).log_density(theta)
        plain, plain_gradient = Marginal(design, None, uncompressed(m)).log_density(theta)
        np.testing.assert_allclose(value, plain, rtol=SUMS)
        np.testing.assert_allclose(gradient, plain_gradient, rtol=SUMS, atol=SUMS * np.abs(gradient).max())


def test_compression_counts_levels_of_two_kinds():
    """Two groups of equal levels and some odd ones: every level is counted once in the determinant."""
    rng = np.random.default_rng(0)
    sizes = [2] * 20 + [6] * 15 + [3, 9]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    codes = rng.permutation(len(sizes))[codes]
    n = len(codes)
    design = make_design(rng.standard_normal(n), np.ones((n, 1)), codes, [np.ones((n, 1))], [True])
    m = take_moments(design)
    assert sorted(m.count[m.count > 0]) == [1, 1, 15, 20]
    plain = uncompressed(m)
    L = np.array([[1.3]])
    one, other = (
        absorb(
            np.ascontiguousarray(part.levels.A[0]), part.count, np.ascontiguousarray(part.levels.M[0]), corner(m), L
        )
        for part in (m, plain)
    )
    for found, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(found, expected, rtol=SUMS, atol=EXACT)


def rearranged(design, order=None, relabel=None):
    """The same design with rows in another order, or with other numbers for the levels."""
    order = np.arange(design.n) if order is None else order
    blocks = []
    for block in design.blocks:
        new = np.arange(len(block.factor.levels)) if relabel is None else relabel[block.factor.name]
        blocks.append((block.factor.name, new[block.factor.codes][order], block.Z[order], block.correlated))
    residual = design.residual
    if residual is not None:
        residual = replace(residual, codes=residual.codes[order], time=residual.time[order])
    return design_of(
        design.y[order],
        design.X[order],
        blocks,
        offset=None if design.offset is None else design.offset[order],
        weights=None if design.weights is None else design.weights[order],
        sigma=design.sigma,
        residual=residual,
    )


@SEVERAL
def test_the_order_of_the_rows_does_not_matter(name):
    design = ALL[name]
    shuffled = rearranged(design, order=np.random.default_rng(3).permutation(design.n))
    theta = some_theta(design)
    value, gradient = Marginal(design).log_density(theta)
    other, other_gradient = Marginal(shuffled).log_density(theta)
    np.testing.assert_allclose(other, value, rtol=SUMS)
    np.testing.assert_allclose(other_gradient, gradient, rtol=SUMS, atol=SUMS * np.abs(gradient).max())


@SEVERAL
def test_the_numbers_of_the_levels_do_not_matter(name):
    design = ALL[name]
    rng = np.random.default_rng(4)
    new = {factor.name: rng.permutation(len(factor.levels)) for factor in design.factors}
    renamed = rearranged(design, relabel=new)
    m, other = take_moments(design), take_moments(renamed)
    if len(new) == 1:
        (order,) = new.values()
        np.testing.assert_array_equal(other.levels.A_levels[..., order], m.levels.A_levels)
        np.testing.assert_array_equal(other.levels.M_levels[..., order], m.levels.M_levels)
    theta = some_theta(design)
    value, gradient = Marginal(design, None, m).log_density(theta)
    found, found_gradient = Marginal(renamed, None, other).log_density(theta)
    np.testing.assert_allclose(found, value, rtol=SUMS)
    np.testing.assert_allclose(found_gradient, gradient, rtol=SUMS, atol=SUMS * np.abs(gradient).max())


@FOREST
def test_the_order_of_the_factors_does_not_matter(name):
    """Neither in θ, where it moves with them, nor for the chain, which is chosen by size."""
    design = ALL[name]
    names = [factor.name for factor in design.factors][::-1]
    moved = [part for name in names for part in design.parts if part.factor.name == name]
    other = design_of(
        design.y,
        design.X,
        [(part.factor.name, part.factor.codes, part.block.Z, part.block.correlated) for part in moved],
        offset=design.offset,
        weights=design.weights,
        sigma=design.sigma,
        residual=design.residual,
    )
    q = design.layout.q
    partials = {}
    at = q
    for part in design.parts:
        size = part.where.stop - part.where.start
        count = size * (size - 1) // 2 if part.free else 0
        partials[part.where.start] = np.arange(at, at + count)
        at += count
    order = np.concatenate(
        [
            *(np.arange(part.where.start, part.where.stop) for part in moved),
            *(partials[part.where.start] for part in moved),
            np.arange(at, len(some_theta(design))),
        ]
    ).astype(int)
    theta = some_theta(design)
    value, gradient = Marginal(design).log_density(theta)
    found, found_gradient = Marginal(other).log_density(theta[order])
    np.testing.assert_allclose(found, value, rtol=SUMS)
    np.testing.assert_allclose(found_gradient, gradient[order], rtol=SUMS, atol=SUMS * np.abs(gradient).max())


def test_a_predictor_far_from_zero_costs_no_digits():
    """Least squares on years equals least squares on years since 2005, to what the data themselves hold."""
    rng = np.random.default_rng(5)
    years = 2000.0 + np.tile(np.arange(11.0), 12)
    n = len(years)
    codes = np.repeat(np.arange(12), 11)
    y = 3.0 + 0.25 * (years - 2005.0) + rng.standard_normal(n)
    one = np.ones(n)

    def moments(shift):
        columns = np.column_stack([one, years - shift])
        return take_moments(make_design(y, columns, codes, [columns], [True]))

    raw, moved = moments(0.0), moments(2005.0)
    np.testing.assert_allclose(raw.ols[1], moved.ols[1], rtol=YEARS)
    np.testing.assert_allclose(raw.ols[0] + 2005.0 * raw.ols[1], moved.ols[0], rtol=YEARS)
    np.testing.assert_allclose(raw.scale, moved.scale, rtol=EXACT)
    np.testing.assert_allclose(raw.levels.A_levels, moved.levels.A_levels, rtol=YEARS, atol=YEARS)
    np.testing.assert_allclose(raw.levels.M_levels, moved.levels.M_levels, rtol=YEARS, atol=YEARS * n)


# --- refusals -----------------------------------------------------------------------------------


def refused(y, X, Z, match):
    codes = np.arange(len(y)) % 3
    with pytest.raises(DataError, match=match):
        take_moments(make_design(y, X, codes, [Z], [True]))


NOISE = np.random.default_rng(6).standard_normal((30, 4))
ONE = np.ones((30, 1))


def test_a_dependent_fixed_effect_is_named_with_its_partners():
    X = np.column_stack([ONE, NOISE[:, 0], NOISE[:, 1], 2.0 * NOISE[:, 0] - 3.0])
    refused(NOISE[:, 3], X, ONE, r"^Column 'x3' of the fixed effects is a linear combination of 'Intercept', 'x1';")


def test_a_dependent_random_effect_is_named_with_its_partners():
    Z = np.column_stack([NOISE[:, 0], NOISE[:, 1], NOISE[:, 0] + NOISE[:, 1]])
    refused(NOISE[:, 3], ONE, Z, r"^Column 'z2' of the random effects of 'g' is a linear combination of 'z0', 'z1';")


def test_a_column_of_zeros_is_named():
    refused(NOISE[:, 3], np.column_stack([ONE, 0.0 * ONE]), ONE, r"^Column 'x1' of the fixed effects is zero")


def test_a_predictor_in_tiny_units_is_not_dependent():
    X = np.column_stack([ONE, 1e-12 * NOISE[:, 0], 1e12 * NOISE[:, 1]])
    m = take_moments(make_design(NOISE[:, 3], X, np.arange(30) % 3, [ONE], [True]))
    plain = take_moments(
        make_design(NOISE[:, 3], np.column_stack([ONE, NOISE[:, :2]]), np.arange(30) % 3, [ONE], [True])
    )
    np.testing.assert_allclose(m.ols * [1.0, 1e-12, 1e12], plain.ols, rtol=EXACT)


def test_more_coefficients_than_rows_are_refused():
    refused(NOISE[:4, 3], NOISE[:4, :4], ONE[:4], r"^The formula has 4 fixed-effect coefficients but only 4 rows")


def test_a_response_without_residual_is_refused():
    X = np.column_stack([ONE, NOISE[:, 0]])
    refused(X @ [1.0, 2.0], X, ONE, r"^The fixed effects reproduce the response 'y' exactly")


def test_a_balanced_design_is_what_this_file_takes_it_for():
    design = random_design(10, BALANCED, 2, (1,), (True,), equal=True)
    (factor,) = design.factors
    assert np.ptp(np.bincount(factor.codes)) == 0
