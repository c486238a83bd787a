"""A quick maximum likelihood fit, to judge how much the data say about each random effect before NUTS moves in them.

It need not be of the family itself, only of one that says about as much about the linear predictor: a zero-inflated
Poisson model is judged by a Poisson one, Student's t by a Gaussian. What is sampled does not depend on it, only how
well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate
from hierbayes.family import GAUSSIAN, Family
from hierbayes.laplace import Laplace
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.laplace_maximum import maximise_laplace
from hierbayes.marginal import Marginal
from hierbayes.parameterization import Pilot
from hierbayes.reml import maximise

RELATIVES = {
    "beta_binomial": "binomial",
    "zero_inflated_binomial": "binomial",
    "zero_inflated_poisson": "poisson",
    "hurdle_poisson": "poisson",
    "zero_inflated_negativebinomial": "negativebinomial",
    "hurdle_negativebinomial": "negativebinomial",
    "hurdle_gamma": "gamma",
    "weibull": "gamma",
    "wald": "gamma",
    "sratio": "cumulative",
}
"""The nearest family whose likelihood is known."""
AUXILIARY = {"negativebinomial": ("alpha",), "gamma": ("alpha",), "cumulative": ("threshold",)}
GAUSSIANS = {"t", "laplace", "asymmetriclaplace", "exgaussian", "vonmises", "gaussian"}
"""Families that with the identity link are judged by a Gaussian response."""
LOG_GAUSSIANS = {"lognormal", "hurdle_lognormal"}
"""The same, of the logarithm of the response."""


def pilot(design: Design) -> Pilot | None:
    """Fit the family of a design, or its nearest relative, by maximum likelihood.

    Parameters
    ----------
    design : Design
        Of any family but the Gaussian with identity link.

    Returns
    -------
    Pilot or None
        None where there is no such fit.

    Examples
    --------
    >>> import hierbayes as hb
    >>> cbpp = hb.load_data("cbpp").astype({"period": str})
    >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    >>> found = pilot(model.design)
    >>> found.source, found.covariance.round(2).tolist(), found.information.shape
    ('ML fit of binomial(logit)', [[0.41]], (56,))
    """
    told = design.y > 0 if design.family.name.startswith("hurdle") else np.ones(design.n, dtype=bool)
    try:
        with np.errstate(all="ignore"):
            found = _fit(design.only(told))
    except (HierbayesError, np.linalg.LinAlgError):
        return None
    if found is None:
        return None
    information = np.zeros(len(told))
    information[told] = found.information
    return replace(found, information=information)


def _fit(design: Design) -> Pilot | None:
    family = design.family
    if family.link == GAUSSIAN.link and family.name in GAUSSIANS | LOG_GAUSSIANS:
        return _gaussian(replace(design, y=np.log(design.y) if family.name in LOG_GAUSSIANS else design.y))
    return _approximate(design)


def _gaussian(design: Design) -> Pilot:
    marginal = Marginal(replace(design, family=GAUSSIAN))
    estimate = Estimate(marginal, maximise(marginal, True), "REML")
    return Pilot(estimate.covariance, np.full(design.n, estimate.sigma**-2.0), f"REML fit of {GAUSSIAN}")


def _approximate(design: Design) -> Pilot | None:
    name = RELATIVES.get(design.family.name, design.family.name)
    auxiliary = AUXILIARY.get(name, design.family.auxiliary)
    family = Family(name, design.family.parent, design.family.link, auxiliary)
    likelihood = Laplace(replace(design, family=family))
    optimum = maximise_laplace(likelihood)
    if not np.isfinite(optimum.x).all():
        return None
    estimate = LaplaceEstimate(likelihood, optimum, None)
    _, derivatives = likelihood.response.log_densities(estimate.linear_predictor, likelihood.auxiliary(optimum.x))
    return Pilot(estimate.covariance, np.maximum(-derivatives[:, 2], 0.0), f"ML fit of {family}")
