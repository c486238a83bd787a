r"""Variance of a response around its expectation, on its own scale and on that of the linear predictor.

On its own scale the variance follows from the family, its mean μ and its further parameters. Of a binomial response
it is that of a single trial, so that it does not depend on how many there were.

On the scale of the linear predictor ("latent") a response that is a category of an unobserved continuous one has the
variance of that one's error: π²/3 for the logit link, 1 for probit, π²/6 for cloglog. For counts and positive
responses with log link it is the variance of the logarithm of the response, by one of three approximations, λ being
the mean response and s² the squared coefficient of variation (1/λ for Poisson, 1/λ + 1/α for the negative binomial,
1/α for gamma):

    trigamma    ψ'(1/s²)            lognormal   log(1 + s²)            delta   s²

(Nakagawa, Johnson & Schielzeth 2017, Journal of the Royal Society Interface 14, 20170213, tables 1 and 2, who prefer
the trigamma function). With identity link the two scales are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import polygamma

from hierbayes.family import Family

APPROXIMATIONS = ("trigamma", "lognormal", "delta")
LATENT = {"logit": (math.pi**2 / 3.0, "π²/3"), "probit": (1.0, "1"), "cloglog": (math.pi**2 / 6.0, "π²/6")}
"""Variance of the error of an unobserved continuous response, by link, and its name."""
THRESHOLDED = {"bernoulli", "binomial", "cumulative"}
"""Families whose response tells where an unobserved continuous one lies."""
LOCATED = {"gaussian", "t", "laplace"}
"""Families with an error around their location whose variance does not depend on it."""
ROOM = 2.0
"""A t distribution needs more degrees of freedom to have a variance."""


def response_variance(family: Family, mean: np.ndarray, auxiliary: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Variance of the response given its expectation.

    Parameters
    ----------
    family : Family
    mean : (draws, n) array
        Expected response; of a binomial one its probability.
    auxiliary : mapping of str to (draws,) array

    Returns
    -------
    (draws, n) array or None
        None for a family that is not in the table; infinite where there is no variance.

    Examples
    --------
    >>> response_variance(Family("negativebinomial", "mu", "log", ("alpha",)), np.array([[2.0]]), {"alpha": [4.0]})
    array([[3.]])
    """
    more = {name: np.asarray(values, dtype=float) for name, values in auxiliary.items()}
    other = {name: values[:, None] for name, values in more.items() if values.ndim == 1}
    if family.name in {"bernoulli", "binomial", "beta_binomial"}:
        return mean * (1.0 - mean)
    if family.name == "poisson":
        return mean
    if family.name == "negativebinomial":
        return mean + mean**2 / other["alpha"]
    if family.name == "gamma":
        return mean**2 / other["alpha"]
    if family.name == "exponential":
        return mean**2
    if family.name == "beta":
        return mean * (1.0 - mean) / (1.0 + other["kappa"])
    if family.name == "wald":
        return mean**3 / other["lam"]
    if family.name == "gaussian":
        return other["sigma"] ** 2 + 0.0 * mean
    if family.name == "laplace":
        return 2.0 * other["b"] ** 2 + 0.0 * mean
    if family.name == "t":
        nu = other["nu"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(nu > ROOM, other["sigma"] ** 2 * nu / (nu - ROOM), np.inf) + 0.0 * mean
    return None


def latent_variance(
    family: Family, mean: np.ndarray, auxiliary: Mapping[str, np.ndarray], approximation: str = "trigamma"
) -> tuple[np.ndarray, str]:
    """Variance of the response on the scale of the linear predictor, and which one it is.

    Parameters
    ----------
    family : Family
    mean : (draws,) array
        Mean response over rows and random effects.
    auxiliary : mapping of str to (draws,) array
    approximation : {"trigamma", "lognormal", "delta"}
        For log links.

    Returns
    -------
    variance : (draws,) array
        NaN where there is none.
    which : str
        Its name, or the reason why there is none.

    Raises
    ------
    ValueError
        For another approximation.

    Examples
    --------
    >>> latent_variance(Family("poisson", "mu", "log"), np.array([2.0]), {}, "lognormal")
    (array([0.40546511]), 'lognormal')
    """
    if approximation not in APPROXIMATIONS:
        raise ValueError(
            f"approximation must be one of {', '.join(map(repr, APPROXIMATIONS))}, not {approximation!r}"
        )
    if family.name in THRESHOLDED and family.link in LATENT:
        value, which = LATENT[family.link]
        return np.full(len(mean), value), which
    if family.link == "identity" and family.name in LOCATED:
        variance = response_variance(family, mean[:, None], auxiliary)
        assert variance is not None
        return variance[:, 0], "that of the response"
    square = _relative(family, mean, auxiliary) if family.link == "log" else None
    if square is None:
        reason = f"not known: family {family.name!r} with link {family.link!r} has no latent residual variance"
        return np.full(len(mean), np.nan), reason
    if approximation == "trigamma":
        return polygamma(1, 1.0 / square), approximation
    return (np.log1p(square) if approximation == "lognormal" else square), approximation


def _relative(family: Family, mean: np.ndarray, auxiliary: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Squared coefficient of variation of the response."""
    if family.name == "poisson":
        return 1.0 / mean
    if family.name == "negativebinomial":
        return 1.0 / mean + 1.0 / auxiliary["alpha"]
    if family.name == "gamma":
        return 1.0 / auxiliary["alpha"]
    return np.ones(len(mean)) if family.name == "exponential" else None
