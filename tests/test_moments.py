"""The one pass over the rows: coordinates, sufficient statistics, exact compression, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import BALANCED, CASES, dense, make_design, random_design

from hierbayes.errors import DataError
from hierbayes.kernel import absorb
from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments

EXACT = 1e-12
"""Relative: one algebraic identity in double precision on well-conditioned data."""
SUMS = 1e-10
"""Relative: the same density from sums in another order."""
YEARS = 1e-9
"""Relative: a predictor around 2000 with a spread of 3 leaves 16 - 2 log10(2000/3) digits to its slope."""

SEVERAL = pytest.mark.parametrize("name", CASES)


def some_theta(design, seed=0):
    rng = np.random.default_rng(seed)
    layout = design.layout
    return np.concatenate(
        [rng.uniform(0.3, 2.0, layout.q), rng.uniform(-0.8, 0.8, layout.n_partial), rng.uniform(0.5, 1.5, 1)]
    )


def uncompressed(moments):
    return replace(moments, A=moments.A_levels, count=np.ones(moments.J), M=moments.M_levels)


@SEVERAL
def test_fixed_effects_are_orthonormal_least_squares(name):
    design = CASES[name]
    m = take_moments(design)
    n, p = design.X.shape
    ols, rss = np.linalg.lstsq(design.X, design.y, rcond=None)[:2]
    np.testing.assert_allclose(m.R.T @ m.R, design.X.T @ design.X, rtol=EXACT, atol=EXACT * n)
    np.testing.assert_array_equal(np.tril(m.R, -1), 0.0)
    assert (np.diag(m.R) > 0).all()
    np.testing.assert_allclose(m.ols, ols, rtol=SUMS)
    np.testing.assert_allclose(m.scale, np.sqrt(rss[0] / (n - p)), rtol=EXACT)
    expected = np.eye(p + 1)
    expected[p, p] = n - p
    np.testing.assert_allclose(m.G, expected, rtol=EXACT)


@SEVERAL
def test_random_effects_are_standardised_block_by_block(name):
    design = CASES[name]
    m = take_moments(design)
    assert (m.n, m.p, m.q, m.J) == (*design.X.shape, design.layout.q, len(design.factor.levels))
    np.testing.assert_array_equal(np.tril(m.E, -1), 0.0)
    for block, where in zip(design.blocks, design.layout.slices, strict=True):
        inside = m.E[where, where]
        standard = block.Z @ np.linalg.inv(inside)
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


@SEVERAL
def test_every_level_keeps_its_cross_products(name):
    design = CASES[name]
    m = take_moments(design)
    data = dense(design)
    Q = design.X @ np.linalg.inv(m.R)
    e = (design.y - design.X @ m.ols) / m.scale
    for j in range(data.J):
        Z = data.Z[:, j * m.q : (j + 1) * m.q] @ np.linalg.inv(m.E)
        np.testing.assert_allclose(m.A_levels[:, :, j], Z.T @ Z, rtol=EXACT, atol=EXACT * m.n)
        np.testing.assert_allclose(m.M_levels[:, :, j], Z.T @ np.column_stack([Q, e]), rtol=EXACT, atol=EXACT * m.n)


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
    assert m.A.shape[2] == m.M.shape[2] == len(m.count) == lanes
    assert m.count.sum() == m.J


@SEVERAL
def test_compression_is_exact(name):
    design = CASES[name]
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
    for found, expected in zip(
        absorb(m.A, m.count, m.M, m.G, L), absorb(plain.A, plain.count, plain.M, plain.G, L), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=SUMS, atol=EXACT)


@SEVERAL
def test_the_order_of_the_rows_does_not_matter(name):
    design = CASES[name]
    order = np.random.default_rng(3).permutation(design.n)
    shuffled = make_design(
        design.y[order],
        design.X[order],
        design.factor.codes[order],
        [block.Z[order] for block in design.blocks],
        [block.correlated for block in design.blocks],
    )
    theta = some_theta(design)
    value, gradient = Marginal(design).log_density(theta)
    other, other_gradient = Marginal(shuffled).log_density(theta)
    np.testing.assert_allclose(other, value, rtol=SUMS)
    np.testing.assert_allclose(other_gradient, gradient, rtol=SUMS, atol=SUMS * np.abs(gradient).max())


@SEVERAL
def test_the_numbers_of_the_levels_do_not_matter(name):
    design = CASES[name]
    J = len(design.factor.levels)
    new = np.random.default_rng(4).permutation(J)
    renamed = make_design(
        design.y,
        design.X,
        new[design.factor.codes],
        [block.Z for block in design.blocks],
        [block.correlated for block in design.blocks],
    )
    m, other = take_moments(design), take_moments(renamed)
    np.testing.assert_array_equal(other.A_levels[:, :, new], m.A_levels)
    np.testing.assert_array_equal(other.M_levels[:, :, new], m.M_levels)
    theta = some_theta(design)
    np.testing.assert_allclose(
        Marginal(renamed, None, other).log_density(theta)[0],
        Marginal(design, None, m).log_density(theta)[0],
        rtol=SUMS,
    )


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
    np.testing.assert_allclose(raw.A_levels, moved.A_levels, rtol=YEARS, atol=YEARS)
    np.testing.assert_allclose(raw.M_levels, moved.M_levels, rtol=YEARS, atol=YEARS * n)


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
    assert np.ptp(np.bincount(design.factor.codes)) == 0
