"""Pareto smoothing against ArviZ's own, on tails from light to hopeless."""

from __future__ import annotations

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from hierbayes.cross_validation.psis import good_k, smooth, tail_length

SAME = 1e-9
"""Absolute, of logarithms and of k."""

DRAWS = {"few": 120, "some": 1000, "many": 4000}
TAILS = {
    "light": lambda rng, size: -np.abs(rng.standard_normal(size)),
    "normal": lambda rng, size: rng.standard_normal(size),
    "Cauchy": lambda rng, size: -np.log(np.abs(rng.standard_cauchy(size))),
    "hopeless": lambda rng, size: -(rng.standard_cauchy(size) ** 2),
    "wide": lambda rng, size: -900.0 * rng.uniform(size=size),
    "with ties": lambda rng, size: np.round(rng.standard_normal(size), 2),
    "tiny": lambda rng, size: 1e-5 * rng.standard_normal(size) - 3.0,
}


@pytest.mark.parametrize("r_eff", [1.0, 0.4, 1.7])
@pytest.mark.parametrize("draws", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("name", TAILS)
def test_weights_are_those_of_arviz(name, draws, r_eff):
    log_p = TAILS[name](np.random.default_rng(3), (20, draws))
    expected, k = array_stats.psislw(log_p, r_eff=r_eff)
    found = smooth(log_p, r_eff, threads=2, weights=True)
    np.testing.assert_allclose(found.k, k, rtol=SAME, atol=SAME)
    # which of two equal ratios is the larger is for each sort to decide
    np.testing.assert_allclose(np.sort(found.log_weights), np.sort(expected), rtol=SAME, atol=SAME)
    np.testing.assert_allclose(found.elpd, logsumexp(log_p + expected, axis=1), rtol=SAME, atol=SAME)
    np.testing.assert_allclose(found.lpd, logsumexp(log_p, axis=1) - np.log(draws), rtol=SAME, atol=SAME)
    np.testing.assert_array_equal(smooth(log_p, r_eff).elpd, found.elpd)
    assert array_stats._get_ps_tails(draws, r_eff, "right") == tail_length(draws, r_eff)


def test_equal_densities_need_no_smoothing():
    found = smooth(np.full((2, 100), -1.5), weights=True)
    np.testing.assert_allclose(found.elpd, -1.5, rtol=SAME)
    np.testing.assert_allclose(found.log_weights, -np.log(100.0), rtol=SAME)
    assert np.isnan(found.k).all()


def test_too_few_draws():
    with pytest.raises(ValueError, match="at least 25 draws, not 10"):
        smooth(np.zeros((1, 10)))
    assert good_k(100) == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_densities_that_are_not_finite_are_refused(bad):
    """One, several, or all of a row: none may lead the loops out of their arrays."""
    for draws in ([7], np.arange(0, 200, 3), slice(None)):
        log_p = np.random.default_rng(0).standard_normal((4, 200))
        log_p[2, draws] = bad
        with pytest.raises(ValueError, match=r"finite log densities, but 1 of 4 items .* position 2\)"):
            smooth(log_p, weights=True)
