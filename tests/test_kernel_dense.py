"""Dense linear algebra of the compiled loops against LAPACK."""

from __future__ import annotations

import numpy as np
import pytest

from hierbayes import kernel_dense
from hierbayes.kernel_dense import BLOCK, cholesky, lower_inverse, solve

EXACT = 1e-12
"""Relative to the largest entry, for matrices with a condition number of about ten."""
DIGITS = 2e-15
"""Relative to the largest entry, per unit of the condition number."""

SIZES = pytest.mark.parametrize("n", [1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7])


def positive(n, condition=10.0):
    """A random symmetric matrix with eigenvalues from 1 to `condition`."""
    rotation = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0]
    return (rotation * np.geomspace(1.0, condition, n)) @ rotation.T


def inverse(factor):
    """The leading corner of a larger array is written to, the rest is left alone."""
    n = len(factor)
    P = np.full((n + 2, n + 2), 7.0)
    kernel_dense.inverse(factor, P)
    assert (P[n:] == 7.0).all()
    assert (P[:, n:] == 7.0).all()
    return P[:n, :n]


def close(found, expected, tolerance=EXACT):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@SIZES
def test_the_factor_is_that_of_lapack(n):
    close(cholesky(positive(n)), np.linalg.cholesky(positive(n)))


@SIZES
def test_solving_with_a_factor(n):
    b = np.linspace(-1.0, 2.0, n)
    close(solve(np.linalg.cholesky(positive(n)), b), np.linalg.solve(positive(n), b))


@SIZES
def test_the_inverse_of_a_triangle(n):
    found = lower_inverse(np.linalg.cholesky(positive(n)))
    close(found, np.linalg.inv(np.linalg.cholesky(positive(n))))
    np.testing.assert_array_equal(np.triu(found, 1), 0.0)


@SIZES
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_inverse_from_a_factor(n, order):
    """The core of crossed factors is stored by columns, other factors by rows."""
    found = inverse(np.asarray(np.linalg.cholesky(positive(n)), order=order))
    close(found, np.linalg.inv(positive(n)))
    close(found, found.T)


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e9])
def test_the_inverse_of_an_ill_conditioned_matrix(condition):
    matrix = positive(2 * BLOCK + 3, condition)
    close(inverse(np.linalg.cholesky(matrix)), np.linalg.inv(matrix), DIGITS * condition)


def test_what_is_not_positive_definite_reads_nan():
    assert np.isnan(cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))[-1, -1])
    assert np.isnan(cholesky(np.array([[1.0, np.nan], [np.nan, 1.0]]))[-1, -1])
    assert np.isnan(cholesky(np.zeros((3, 3)))[-1, -1])


def test_no_columns_at_all():
    empty = np.zeros((0, 0))
    assert cholesky(empty).shape == lower_inverse(empty).shape == inverse(empty).shape == (0, 0)
    assert solve(empty, np.zeros(0)).shape == (0,)
