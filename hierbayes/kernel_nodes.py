"""At many points of θ: the log posterior, and the Gaussians of what was integrated out of it.

The compiled loops of `hierbayes.evidence.quadrature` and `hierbayes.evidence.marginal_likelihood`; they check nothing
and write into their last arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hierbayes import kernel_fixed
from hierbayes.covariance import factor
from hierbayes.kernel_dense import lower_inverse
from hierbayes.kernel_marginal import at_rho, eliminate, relative_factor, unpack
from hierbayes.sampling import log_posterior


@njit(cache=True, nogil=True, error_model="numpy")
def log_posteriors(
    x: np.ndarray, table: np.ndarray, packed: np.ndarray, tree: Any, residual: Any, values: np.ndarray
) -> None:
    """`hierbayes.sampling.log_posterior` at every row of x."""
    for s in range(len(x)):
        values[s] = log_posterior(x[s], table, packed, tree, residual)[0]


@njit(cache=True, nogil=True, error_model="numpy")
def fixed_effects(
    thetas: np.ndarray,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
    back: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Given every θ: what is Gaussian of the fixed effects.

    Parameters
    ----------
    thetas : (n, dim) array
    packed, tree, residual
        As in `hierbayes.kernel_marginal.log_density`.
    back : (p, pi) array
        From the integrated coefficients to the fixed effects.
    mean : (n, pi) array
        Overwritten by the means of the integrated coefficients, as deviations from `Marginal.origin`.
    variance : (n, p) array
        Overwritten by the variances of the fixed effects.
    """
    sizes, correlated, count, E, Di, precision, prior_mean, Dk, origin, data = unpack(packed)
    partials, scale, known = int(packed[8]), packed[10], packed[11]
    q = E.shape[0]
    p, pi = Di.shape
    at = q + partials
    for s in range(len(thetas)):
        theta = thetas[s]
        sigma = theta[at] if known == 0.0 else known
        own = at if known > 0.0 else at + 1
        rho = 0.0
        if residual is not None:
            rho = residual[0] + 0.5 * (residual[1] - residual[0]) * (theta[own] + 1.0)
            own += 1
        now, _, _, _ = at_rho(data, rho, None if residual is None else residual[2:])
        relative, _ = relative_factor(theta, q, partials, sigma, sizes, correlated, E)
        K, _, _ = eliminate(now, count, p + 1, relative, tree)
        _, _, u, chol = kernel_fixed.integrate(K, sigma / scale, Di, precision, prior_mean, Dk, theta[own:] - origin)
        half = lower_inverse(chol)
        for i in range(pi):
            mean[s, i] = u[i]
        for a in range(p):
            variance[s, a] = 0.0
            for i in range(pi):
                white = 0.0
                for k in range(i + 1):
                    white += half[i, k] * back[a, k]
                variance[s, a] += white * white


@njit(cache=True, nogil=True, error_model="numpy")
def covariances(
    sds: np.ndarray, partials: np.ndarray, sizes: np.ndarray, correlated: np.ndarray, found: np.ndarray
) -> None:
    """Covariance matrix of the random effects, (n, q, q), of every row of standard deviations and correlations."""
    for s in range(len(sds)):
        L = factor(sds[s], partials[s], sizes, correlated)
        found[s] = L @ L.T
