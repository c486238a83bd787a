r"""Bridge sampling: the integral of a density from draws of it.

The density p, known up to its integral, is bridged to a Normal density g by draws of both (Meng & Wong 1996,
Statistica Sinica 6, 831-860; the estimator and its error are those of `hierbayes.evidence.bennett`, with ``ℓ =
p/g``). The first half of each chain gives the mean and the covariance in which p is brought to the shape of g, with
its mirror image so that skewness cancels (Meng & Schilling 2002, Journal of Computational and Graphical Statistics
11, 552-586); the second half enters the estimate (Gronau et al. 2017, Journal of Mathematical Psychology 81, 80-97).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hierbayes.evidence.bennett import log_ratio


def bridge(
    density: Callable[[np.ndarray], np.ndarray], draws: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Logarithm of the integral of a density over unbounded parameters, and its standard error.

    Parameters
    ----------
    density : callable
        (n, d) points to the logarithms of the density.
    draws : (chains, n, d) array
        Of the density, by whatever sampler.
    rng : numpy.random.Generator

    Returns
    -------
    log_integral, standard_error : float

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> value, error = bridge(lambda x: -0.5 * (x**2).sum(axis=1), rng.standard_normal((4, 500, 2)), rng)
    >>> abs(value - np.log(2 * np.pi)) < 3 * error < 0.1
    True
    """
    chains, n, d = draws.shape
    fitted, used = draws[:, : n // 2].reshape(-1, d), draws[:, n // 2 :]
    mean = fitted.mean(axis=0)
    scale = np.linalg.cholesky(np.atleast_2d(np.cov(fitted.T)))
    log_volume = float(np.log(np.diag(scale)).sum())

    def ratio(z: np.ndarray) -> np.ndarray:
        """Logarithm of p/g, p made symmetric about its mean."""
        step = z @ scale.T
        p = np.logaddexp(density(mean + step), density(mean - step)) - np.log(2.0) + log_volume
        return p + 0.5 * (z**2).sum(axis=1) + 0.5 * d * np.log(2.0 * np.pi)

    own = ratio(np.linalg.solve(scale, (used.reshape(-1, d) - mean).T).T)
    other = ratio(rng.standard_normal((len(own), d)))
    return log_ratio(other.reshape(chains, -1), own.reshape(chains, -1))
