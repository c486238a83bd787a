"""What a prior says in numbers: quantiles, probabilities, draws, log densities.

Families of `hierbayes.densities` have them in closed form; draws are quantiles of uniform numbers. Of any other
distribution of PyMC the log density is PyMC's, and quantiles and probabilities are those of a fixed large sample.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import PriorError
from hierbayes.priors import Prior, Priors

SAMPLE = 20_000
"""Draws that stand for a distribution without a closed form."""


def proper(prior: Prior) -> bool:
    """Whether the prior is a probability distribution: flat ones are not."""
    return prior.name not in {"Flat", "HalfFlat"}


def quantile(prior: Prior, p: np.ndarray | float) -> np.ndarray:
    """Quantiles of a prior; infinite for a flat one.

    Parameters
    ----------
    prior : Prior
    p : array
        Between 0 and 1.

    Examples
    --------
    >>> quantile(Prior("HalfNormal", {"sigma": 2.0}), [0.5, 0.95]).round(3)
    array([1.349, 3.92 ])
    """
    p = np.asarray(p, dtype=float)
    if prior.name == "HalfFlat":
        return np.where(p > 0, np.inf, 0.0)
    if prior.name == "Flat":
        return np.where(p == 0.5, 0.0, np.where(p < 0.5, -np.inf, np.inf))
    law = _law(prior)
    if law is None:
        return np.quantile(_sample(prior.name, tuple(prior.args.items())), p)
    law, folded = law
    return np.asarray(law.ppf(0.5 + 0.5 * p if folded else p))


def probability(prior: Prior, x: np.ndarray) -> np.ndarray:
    """Prior probability of values up to x; of a proper prior.

    Examples
    --------
    >>> probability(Prior("Normal", {"mu": 1.0, "sigma": 2.0}), np.array([1.0])).item()
    0.5
    """
    law = _law(prior)
    if law is None:
        return np.searchsorted(_sample(prior.name, tuple(prior.args.items())), x, side="right") / SAMPLE
    law, folded = law
    return np.asarray(2.0 * law.cdf(x) - 1.0 if folded else law.cdf(x))


def log_density(prior: Prior, x: np.ndarray) -> np.ndarray:
    """Log density at values inside the support; 0 for a flat prior.

    Examples
    --------
    >>> log_density(Prior("Exponential", {"lam": 2.0}), np.array([1.0])).round(3).item()
    -1.307
    """
    x = np.asarray(x, dtype=float)
    if not proper(prior):
        return np.zeros(x.shape)
    law = _law(prior)
    if law is None:
        import pymc as pm

        exact = {
            key: np.asarray(value) for key, value in prior.args.items()
        }  # bare numbers would be single precision
        return np.asarray(pm.logp(getattr(pm, prior.name).dist(**exact), x).eval(), dtype=float)
    law, folded = law
    return np.asarray(law.logpdf(x) + (np.log(2.0) if folded else 0.0))


def draw(prior: Prior, size: int, rng: np.random.Generator, name: str = "") -> np.ndarray:
    """Independent draws.

    Parameters
    ----------
    prior : Prior
    size : int
    rng : numpy.random.Generator
    name : str
        What has this prior, for the message.

    Raises
    ------
    PriorError
        If the prior is flat.

    Examples
    --------
    >>> draw(Prior("Uniform", {"lower": 0.0, "upper": 1.0}), 3, np.random.default_rng(0)).shape
    (3,)
    """
    if not proper(prior):
        raise PriorError(f"Nothing can be drawn from {prior}, the prior of {name!r}; give it a proper one.")
    if _law(prior) is None:
        import pymc as pm

        distribution = getattr(pm, prior.name).dist(**prior.args)
        return np.asarray(pm.draw(distribution, size, random_seed=int(rng.integers(2**31))), dtype=float)
    return quantile(prior, rng.uniform(size=size))


def correlations(design: Design, priors: Priors) -> dict[tuple[int, int], tuple[str, str, Any]]:
    """Name, text and law of the prior of every free correlation, by its pair of effects.

    Under LKJ(η) of q effects a correlation r has ``(r + 1)/2 ~ Beta(a, a)``, a = η + q/2 - 1 (Lewandowski, Kurowicka
    & Joe 2009).
    """
    found = {}
    for part, eta in zip(design.parts, priors.eta, strict=True):
        shape = eta + 0.5 * (part.where.stop - part.where.start) - 1.0
        for j in range(part.where.start, part.where.stop if part.free else part.where.start):
            for i in range(j + 1, part.where.stop):
                law = stats.beta(shape, shape, loc=-1.0, scale=2.0)
                found[i, j] = names.corr(part.factor.name, part.number), f"LKJ(eta={eta:g})", law
    return found


def _law(prior: Prior) -> tuple[Any, bool] | None:
    """A frozen distribution, and whether the prior is its absolute value; None if there is no closed form."""
    if prior.row is None:
        return None
    a = prior.args
    if prior.name in ("Normal", "HalfNormal"):
        return stats.norm(a.get("mu", 0.0), a["sigma"]), prior.name == "HalfNormal"
    if prior.name in ("StudentT", "HalfStudentT"):
        return stats.t(a["nu"], a.get("mu", 0.0), a["sigma"]), prior.name == "HalfStudentT"
    if prior.name in ("Cauchy", "HalfCauchy"):
        return stats.cauchy(a.get("alpha", 0.0), a["beta"]), prior.name == "HalfCauchy"
    if prior.name == "Laplace":
        return stats.laplace(a["mu"], a["b"]), False
    if prior.name == "Exponential":
        return stats.expon(scale=1.0 / a["lam"]), False
    if prior.name == "Gamma":
        return stats.gamma(a["alpha"], scale=1.0 / a["beta"]), False
    if prior.name == "InverseGamma":
        return stats.invgamma(a["alpha"], scale=a["beta"]), False
    if prior.name == "LogNormal":
        return stats.lognorm(a["sigma"], scale=np.exp(a["mu"])), False
    return None


@cache
def _sample(name: str, args: tuple[tuple[str, float], ...]) -> np.ndarray:
    """A fixed large sample, sorted."""
    import pymc as pm

    return np.sort(pm.draw(getattr(pm, name).dist(**dict(args)), SAMPLE, random_seed=1))
