"""Standard deviations and partial correlations ↔ factor ↔ covariance, and the law of the correlations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracle import assert_gradient, correlation_from_partials, covariance_of, differences
from scipy import stats
from scipy.special import betaln

from hierbayes.covariance import Layout, cholesky, correlation, factor, factor_adjoint, partials

EXACT = 1e-12
"""Relative, for algebra on a handful of numbers."""
ROUND_TRIP = 1e-9
"""Absolute, for a partial correlation recovered from a factor: √(1 - r²) loses half the digits near 1."""
DENSITY = 1e-7
"""Absolute, for a log density through a numerical Jacobian."""

LAYOUTS = {
    "one": Layout((1,), (False,)),
    "pair": Layout((2,), (True,)),
    "pair, uncorrelated": Layout((2,), (False,)),
    "three": Layout((3,), (True,)),
    "four": Layout((4,), (True,)),
    "three blocks": Layout((2, 1, 3), (True, False, True)),
    "uncorrelated first": Layout((2, 2), (False, True)),
}
SEVERAL = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def draw(layout, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 3.0, layout.q), rng.uniform(-0.95, 0.95, layout.n_partial)


def definition(layout, sd, partial):
    """Σ block by block, correlations from their partial correlations by recursion."""
    Sigma = np.zeros((layout.q, layout.q))
    at = 0
    for where, free in zip(layout.slices, layout.correlated, strict=True):
        size = where.stop - where.start
        corr = np.eye(size)
        if free:
            count = size * (size - 1) // 2
            corr = correlation_from_partials(partial[at : at + count], size)
            at += count
        Sigma[where, where] = covariance_of(sd[where], corr)
    return Sigma


@SEVERAL
def test_factor_is_the_definition(layout):
    for seed in range(5):
        sd, partial = draw(layout, seed)
        L = factor(sd, partial, *layout.arrays)
        np.testing.assert_array_equal(L[~layout.mask], 0.0)
        np.testing.assert_allclose(L @ L.T, definition(layout, sd, partial), rtol=EXACT, atol=EXACT)


@SEVERAL
def test_partials_undo_factor(layout):
    sd, partial = draw(layout, 1)
    found_sd, found = partials(factor(sd, partial, *layout.arrays), layout)
    np.testing.assert_allclose(found_sd, sd, rtol=EXACT)
    np.testing.assert_allclose(found, partial, atol=EXACT)


@SEVERAL
def test_cholesky_undoes_the_product(layout):
    sd, partial = draw(layout, 2)
    L = factor(sd, partial, *layout.arrays)
    np.testing.assert_allclose(cholesky(L @ L.T), L, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e3, 1e8])
def test_effects_in_very_different_units(scale):
    layout = LAYOUTS["three"]
    sd, partial = np.array([1.0, scale, 1.0 / scale]), np.array([0.5, -0.7, 0.3])
    L = factor(sd, partial, *layout.arrays)
    found_sd, found = partials(cholesky(L @ L.T), layout)
    np.testing.assert_allclose(found_sd, sd, rtol=EXACT)
    np.testing.assert_allclose(found, partial, atol=EXACT)


@pytest.mark.parametrize("r", [1.0 - 1e-6, -1.0 + 1e-6])
@pytest.mark.parametrize("at", range(3))
def test_near_perfect_correlations_survive_the_round_trip(r, at):
    layout = LAYOUTS["three"]
    partial = np.array([0.2, -0.4, 0.6])
    partial[at] = r
    sd = np.array([1.0, 2.0, 0.5])
    found_sd, found = partials(cholesky(definition(layout, sd, partial)), layout)
    np.testing.assert_allclose(found_sd, sd, rtol=EXACT)
    np.testing.assert_allclose(found, partial, atol=ROUND_TRIP)


SINGULAR = {
    "first effect gone": [[0.0, 0.0], [0.0, 2.0]],
    "second effect gone": [[3.0, 0.0], [0.0, 0.0]],
    "nothing": [[0.0, 0.0], [0.0, 0.0]],
    "correlation 1": [[4.0, 2.0], [2.0, 1.0]],
    "correlation -1": [[4.0, -2.0], [-2.0, 1.0]],
    "rank one of three": np.outer([1.0, -2.0, 0.5], [1.0, -2.0, 0.5]),
    "rank two of three": np.outer([1.0, -2.0, 0.5], [1.0, -2.0, 0.5]) + np.outer([1.0, 1.0, 0.0], [1.0, 1.0, 0.0]),
    "middle effect gone": [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]],
}


@pytest.mark.parametrize("covariance", SINGULAR.values(), ids=SINGULAR)
def test_singular_matrices_have_factors_and_partials(covariance):
    Sigma = np.array(covariance)
    layout = Layout((len(Sigma),), (True,))
    L = cholesky(Sigma)
    np.testing.assert_allclose(L @ L.T, Sigma, atol=EXACT)
    sd, partial = partials(L, layout)
    assert (np.abs(partial) <= 1.0).all()
    np.testing.assert_allclose(factor(sd, partial, *layout.arrays), L, atol=1e-7)  # √ of rounding at r = ±1


@SEVERAL
def test_the_adjoint_of_factor(layout):
    rng = np.random.default_rng(3)
    for seed in range(3):
        sd, partial = draw(layout, seed)
        L_bar = rng.standard_normal((layout.q, layout.q))
        sd_bar, partial_bar = factor_adjoint(sd, partial, *layout.arrays, L_bar)

        def scalar(x, layout=layout, L_bar=L_bar):
            return (L_bar * factor(x[: layout.q], x[layout.q :], *layout.arrays)).sum()

        assert_gradient(
            np.concatenate([sd_bar, partial_bar]), differences(scalar, np.concatenate([sd, partial]), h=1e-3)
        )


def test_the_adjoint_at_an_effect_without_variance():
    layout = LAYOUTS["three"]
    L_bar = np.random.default_rng(4).standard_normal((3, 3))
    sd, partial = np.array([1.0, 0.0, 2.0]), np.array([0.3, -0.5, 0.9])
    sd_bar, partial_bar = factor_adjoint(sd, partial, *layout.arrays, L_bar)
    C = np.linalg.cholesky(correlation_from_partials(partial, 3))
    np.testing.assert_allclose(sd_bar, (L_bar * C).sum(axis=1), rtol=EXACT)
    assert partial_bar[0] == 0.0  # a correlation of an effect that does not vary has no influence


def test_correlation_splits_a_covariance():
    sd, corr = np.array([2.0, 0.5, 3.0]), correlation_from_partials(np.array([0.5, 0.2, -0.9]), 3)
    found_sd, found = correlation(covariance_of(sd, corr))
    np.testing.assert_allclose(found_sd, sd, rtol=EXACT)
    np.testing.assert_allclose(found, corr, rtol=EXACT)


def test_an_effect_without_variance_has_no_correlation():
    sd, corr = correlation(np.array([[4.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(sd, [2.0, 0.0])
    assert corr[0, 0] == 1.0
    assert np.isnan([corr[0, 1], corr[1, 0], corr[1, 1]]).all()


def test_rounding_does_not_push_a_correlation_beyond_one():
    v = np.array([1.0, 3.0 - 1e-16])
    corr = correlation(np.outer(v, v) * np.array([[1.0, 1.0 + 3e-16], [1.0 + 3e-16, 1.0]]))[1]
    assert np.abs(corr).max() == 1.0


# --- LKJ ----------------------------------------------------------------------------------------


def log_density_of_matrix(partial, q, eta):
    """Log density of the correlation matrix when (r + 1)/2 are independent Betas, by change of variables."""
    shapes = Layout((q,), (True,)).lkj_shapes((eta,))
    value = (stats.beta.logpdf((partial + 1.0) / 2.0, shapes, shapes) - np.log(2.0)).sum()
    below = np.tril_indices(q, -1)
    jacobian = np.array(
        [
            differences(lambda r, i=i, j=j: correlation_from_partials(r, q)[i, j], partial)
            for i, j in zip(*below, strict=True)
        ]
    )
    return value - np.linalg.slogdet(jacobian)[1]


def log_normaliser(q, eta):
    """Log of ∫ det(R)^(η-1) dR over correlation matrices (Lewandowski, Kurowicka & Joe 2009, section 3)."""
    total = 0.0
    for k in range(1, q):
        b = eta + (q - k - 1) / 2.0
        total += (q - k) * ((2.0 * eta - 2.0 + q - k) * np.log(2.0) + betaln(b, b))
    return total


@pytest.mark.parametrize("q", [2, 3, 4])
@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0, 5.0])
def test_independent_betas_are_lkj(q, eta):
    """The density of R is det(R)^(η-1) over its normaliser: constants included."""
    rng = np.random.default_rng(q)
    for _ in range(4):
        partial = rng.uniform(-0.8, 0.8, q * (q - 1) // 2)
        R = correlation_from_partials(partial, q)
        expected = (eta - 1.0) * np.linalg.slogdet(R)[1] - log_normaliser(q, eta)
        np.testing.assert_allclose(log_density_of_matrix(partial, q, eta), expected, atol=DENSITY)


def test_under_lkj_every_correlation_has_the_same_marginal():
    """(ρ + 1)/2 ~ Beta(η - 1 + q/2, η - 1 + q/2), whatever the pair: here by simulation."""
    q, eta, draws = 4, 1.5, 4_000
    shapes = Layout((q,), (True,)).lkj_shapes((eta,))
    r = 2.0 * np.random.default_rng(5).beta(shapes, shapes, (draws, len(shapes))) - 1.0
    R = np.array([correlation_from_partials(row, q) for row in r])
    b = eta - 1.0 + q / 2.0
    for i, j in itertools.combinations(range(q), 2):
        distance = stats.kstest((R[:, i, j] + 1.0) / 2.0, stats.beta(b, b).cdf).statistic
        assert distance < 2.3 / np.sqrt(draws)  # Kolmogorov: exceeded with probability 5e-5


def test_each_block_has_its_own_shape():
    shapes = Layout((2, 2, 3), (True, False, True)).lkj_shapes((2.0, 9.0, 4.0))
    np.testing.assert_array_equal(shapes, [2.0, 4.5, 4.5, 4.0])


def test_no_correlation_no_shape():
    assert Layout((1, 3), (False, False)).lkj_shapes((1.0, 1.0)).shape == (0,)
