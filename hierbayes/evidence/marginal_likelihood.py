r"""The evidence: the logarithm of the marginal likelihood of a model, with an error.

    log p(y) = log ∫ p(y | θ) p(θ) dθ

with fixed and random effects integrated in closed form inside ``p(y | θ)``. With few variance parameters the
integral is a quadrature (`hierbayes.evidence.quadrature`), otherwise bridge sampling from the draws of a fit
(`hierbayes.evidence.bridge`). It is defined for proper priors only, and depends on how wide they are however many the
data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hierbayes import display, names
from hierbayes.design import Design
from hierbayes.errors import HierbayesError, PriorError
from hierbayes.estimates import Posterior
from hierbayes.evidence.bridge import bridge
from hierbayes.evidence.quadrature import DIMENSIONS, quadrature
from hierbayes.evidence.surface import compiled
from hierbayes.laws import proper
from hierbayes.marginal import Marginal
from hierbayes.priors import Prior, Priors
from hierbayes.sampling import make_target

TOLERANCE = 1e-6
"""Wanted error of a quadrature."""
ACCEPTED = 1e-2
"""Error of a quadrature above which draws, if there are any, are asked instead."""
SEED = 20
"""Of the draws of the proposal in bridge sampling: the same fit has the same evidence."""
QUADRATURE, BRIDGE, AUTO = "quadrature", "bridge", "auto"


class Described(Protocol):
    """What has an evidence: a `hierbayes.Model`, or a `hierbayes.Fit`, which has draws as well."""

    @property
    def design(self) -> Design:
        """The design."""

    @property
    def priors(self) -> Priors:
        """The priors."""

    @property
    def marginal(self) -> Marginal:
        """The marginal likelihood with the priors of the fixed effects."""


@dataclass(frozen=True)
class Evidence:
    """A log marginal likelihood.

    Attributes
    ----------
    log_marginal_likelihood : float
        log p(y), all constants included, y in the units of the data.
    error : float
        What `log_marginal_likelihood` may be off: for a quadrature the estimated numerical error, for bridge
        sampling two Monte Carlo standard errors.
    method : {"quadrature", "bridge"}
    formula : str
    """

    log_marginal_likelihood: float
    error: float
    method: str
    formula: str

    def _repr_html_(self) -> str:
        value = f"{self.log_marginal_likelihood:.{_digits(self.error)}f} ± {self.error:.1g}"
        return display.document(
            "Evidence", display.facts({"log p(y)": value, "by": self.method}), formula=self.formula
        )

    def __repr__(self) -> str:
        return (
            f"Evidence of {self.formula!r}: log p(y) = {self.log_marginal_likelihood:.{_digits(self.error)}f} "
            f"± {self.error:.1g} ({self.method})"
        )


def evidence(source: Described, method: str = AUTO) -> Evidence:
    """Log marginal likelihood of a model.

    Parameters
    ----------
    source : Model or Fit
    method : {"auto", "quadrature", "bridge"}
        ``"auto"``: quadrature with up to `DIMENSIONS` variance parameters, if it reaches `ACCEPTED`; else bridge
        sampling, which needs the draws of a fit.

    Returns
    -------
    Evidence

    Raises
    ------
    PriorError
        If a prior is flat, or if bridge sampling meets one outside the compiled families.
    HierbayesError
        If quadrature cannot do it and there are no draws.
    ValueError
        For another method.
    """
    if method not in {AUTO, QUADRATURE, BRIDGE}:
        raise ValueError(f"method must be 'auto', 'quadrature' or 'bridge', not {method!r}")
    check_proper(source)
    design = source.design
    draws = isinstance(source, Posterior)
    if method == BRIDGE and not draws:
        raise ValueError("bridge sampling needs draws: ask the fit, model.fit(...).evidence(method='bridge')")
    if method == BRIDGE or (method == AUTO and draws and source.marginal.dim > DIMENSIONS):
        assert isinstance(source, Posterior)
        return _bridged(source)
    try:
        found = quadrature(source.marginal, source.priors, TOLERANCE)
    except HierbayesError:
        if method == AUTO and isinstance(source, Posterior):
            return _bridged(source)
        raise
    if found.error > ACCEPTED and method == AUTO and isinstance(source, Posterior):
        return _bridged(source)
    return Evidence(found.log_integral, found.error, QUADRATURE, design.formula)


def check_proper(source: Described) -> None:
    """Refuse a model that has a flat prior somewhere: its marginal likelihood is not defined."""
    flat = [name for name, prior in named_priors(source) if not proper(prior)]
    if flat:
        raise PriorError(
            f"The evidence of {source.design.formula!r} is not defined: the prior of {', '.join(map(repr, flat))} is "
            "flat, with an arbitrary constant; give it a proper one."
        )


def named_priors(source: Described) -> list[tuple[str, Prior]]:
    """Every prior with a family, and what it is the prior of."""
    design, priors = source.design, source.priors
    groups = [part.factor.name for part in design.parts for _ in part.block.labels]
    sds = [f"sd({label})|{group}" for label, group in zip(design.effect_labels, groups, strict=True)]
    found = [*zip(design.labels, priors.coefficients, strict=True), *zip(sds, priors.sds, strict=True)]
    return found if priors.sigma is None else [*found, (names.SIGMA, priors.sigma)]


def unconstrained(fit: Posterior) -> np.ndarray:
    """(chains, draws, dim) array: the draws of θ on the scale of NUTS.

    Raises
    ------
    PriorError
        If a prior is outside the compiled families.
    """
    target = make_target(fit.marginal, fit.priors)
    if target.table is None:
        unknown = [f"{prior} of {name!r}" for name, prior in named_priors(fit) if prior.row is None]
        raise PriorError(
            f"Bridge sampling does not know the prior {', '.join(unknown)}; take one of the families of "
            f"hierbayes.densities, or method='quadrature' (at most {DIMENSIONS} variance parameters)."
        )
    return target.unconstrain(fit.thetas).reshape(
        fit.posterior.sizes[names.CHAIN], fit.posterior.sizes[names.DRAW], -1
    )


def bridged(fit: Posterior) -> tuple[float, float]:
    """Log of the integral of likelihood times prior by bridge sampling; with flat priors, up to their constants.

    Parameters
    ----------
    fit : Posterior

    Returns
    -------
    log_integral, standard_error : float

    Raises
    ------
    PriorError
        If a prior is outside the compiled families.
    """
    draws = unconstrained(fit)
    return bridge(compiled(make_target(fit.marginal, fit.priors)), draws, np.random.default_rng(SEED))


def _bridged(fit: Posterior) -> Evidence:
    value, error = bridged(fit)
    return Evidence(value, 2.0 * error, BRIDGE, fit.design.formula)


def _digits(error: float) -> int:
    """Digits after the point that an error leaves."""
    return int(np.clip(-np.floor(np.log10(error)), 0, 6)) if 0.0 < error < np.inf else 2
