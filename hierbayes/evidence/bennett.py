r"""The ratio of two normalising constants, from draws of both distributions.

Without the rows F the posterior is ``q₀(θ)/Z₀``, with them ``q₁(θ)/Z₁``, and ``q₁/q₀ = ℓ = p(y_F | y_-F, θ)``, so
that ``Z₁/Z₀ = p(y_F | y_-F)``, the predictive density. The average of ℓ over draws from q₀ is unbiased, but hangs on
the few draws that q₁ prefers; that of 1/ℓ over draws from q₁ hangs on those that q₀ prefers. With draws of both, in
proportions s₀ and s₁, the least asymptotic error has the r that solves (Bennett 1976; Meng & Wong 1996)

    r = mean₀[ℓ / (s₁ ℓ + s₀ r)] / mean₁[1 / (s₁ ℓ + s₀ r)]

and the relative variance of r is the sum of those of the two means (Frühwirth-Schnatter 2004).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp

SETTLED = 1e-10
"""Change of log r at which the iteration ends."""
ITERATIONS = 1000


def log_ratio(below: np.ndarray, above: np.ndarray) -> tuple[float, float]:
    """Estimate ``log(Z₁/Z₀)``.

    Parameters
    ----------
    below : (chains, draws) array
        log ℓ at draws from q₀.
    above : (chains, draws) array
        log ℓ at draws from q₁.

    Returns
    -------
    value : float
    error : float
        Monte Carlo standard error, autocorrelation accounted for.

    Examples
    --------
    q₀ and q₁ are exponential densities of means 1 and 1/2, each unnormalised with the value 1 at 0:

    >>> rng = np.random.default_rng(1)
    >>> value, error = log_ratio(-rng.exponential(1.0, (4, 1000)), -rng.exponential(0.5, (4, 1000)))
    >>> abs(value - math.log(0.5)) < 3 * error, error < 0.02
    (True, True)
    """
    s0, s1 = (math.log(part.size / (below.size + above.size)) for part in (below, above))
    r = float(logsumexp(below)) - math.log(below.size)
    for _ in range(ITERATIONS):
        f0 = below - np.logaddexp(s1 + below, s0 + r)
        f1 = -np.logaddexp(s1 + above, s0 + r)
        last, r = r, float(logsumexp(f0) - logsumexp(f1)) + math.log(above.size / below.size)
        if abs(r - last) < SETTLED:
            break
    return r, math.hypot(relative_error(f0), relative_error(f1))


def relative_error(log_values: np.ndarray) -> float:
    """Monte Carlo standard error of a mean, relative to it: the error of its logarithm.

    Parameters
    ----------
    log_values : (chains, draws) array
        Logarithms of what the mean is taken of.

    Returns
    -------
    float
    """
    import arviz as az

    values = np.exp(log_values - log_values.max())
    return float(az.mcse(values, method="mean")) / float(values.mean())
