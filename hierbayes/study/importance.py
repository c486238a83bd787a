"""Weighted points of a posterior of a few parameters, by adaptive importance sampling.

Quasi-random points (Halton) of a multivariate t law around the mode get weights posterior over proposal. The weights
are judged and smoothed by Pareto's law (Vehtari, Simpson, Gelman, Yao & Gabry 2024, Journal of Machine Learning
Research 25 (72), 1-58); if they are uneven, the proposal takes their mean and covariance, and all is done again.
"""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from hierbayes.cross_validation import psis
from hierbayes.evidence.surface import Surface
from hierbayes.threads import parts

POINTS = 2000
EFFECTIVE = 600
"""Smallest effective number of them that passes: more than the 400 that are asked of the draws of four chains."""
ROUNDS = 5
"""How many proposals are tried, at most."""
FREEDOM = 5.0
"""Degrees of freedom of the proposal: heavier tails than those of a posterior on the unconstrained scale."""
FLATTEST = 1e-4
"""Smallest variance of the proposal in any direction, relative to the largest."""
UNDERFLOW = 700.0
"""Logarithms of weights that are farther below the largest are as good as this."""
AT_A_TIME = 250
"""Points that are evaluated together, few enough for one thread."""


def weighted(shape: Surface, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray] | None:
    """Weighted points of a posterior, by importance sampling.

    Parameters
    ----------
    shape : Surface
    seed : numpy.random.SeedSequence

    Returns
    -------
    thetas : (n, d) array
    weights : (n,) array
        In sum 1.
    None
        Instead of both, if the weights are too uneven to be trusted.
    """
    modes, scale = shape.modes()
    centre, d = modes[0], modes.shape[1]
    rng = np.random.default_rng(seed.generate_state(4))  # of its own: Halton would leave its mark on the seed
    uniform = stats.qmc.Halton(d + 1, rng=rng).random(POINTS)
    z = special.ndtri(uniform[:, :d]) / np.sqrt(stats.chi2.ppf(uniform[:, d:], FREEDOM) / FREEDOM)
    proposed = -0.5 * (FREEDOM + d) * np.log1p((z**2).sum(axis=1) / FREEDOM)
    for _ in range(ROUNDS):
        x = centre + z @ scale.T
        values = np.concatenate([shape.values(x[part]) for part in parts(POINTS, AT_A_TIME)])
        ratios = values - proposed
        smoothed = psis.smooth(-np.maximum(ratios, ratios.max() - UNDERFLOW)[None], weights=True)
        assert smoothed.log_weights is not None
        weights = np.exp(smoothed.log_weights[0])
        weights /= weights.sum()
        if not smoothed.k[0] >= psis.good_k(POINTS) and 1.0 / (weights @ weights) > EFFECTIVE:
            return shape.constrain(x), weights
        centre = weights @ x
        variances, axes = np.linalg.eigh(((x - centre).T * weights) @ (x - centre))
        scale = axes * np.sqrt(np.maximum(variances, FLATTEST * variances[-1]))
    return None
