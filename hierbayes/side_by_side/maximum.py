"""Which maximum of the likelihood stands beside a posterior, and what it is called."""

from __future__ import annotations

import numpy as np

from hierbayes.design import Design, Part, check_same_data
from hierbayes.errors import DataError, HierbayesError
from hierbayes.estimates import Estimate, FamilyPosterior, Posterior, Sampled
from hierbayes.laplace_estimate import LaplaceEstimate


def beside(fit: Sampled, maximum: Estimate | LaplaceEstimate | None) -> Estimate | LaplaceEstimate | None:
    """The maximum that stands beside a posterior: the one given, or the REML fit that a Gaussian one started from.

    Parameters
    ----------
    fit : Sampled
    maximum : Estimate, LaplaceEstimate or None

    Returns
    -------
    Estimate, LaplaceEstimate or None
        None of a family for which none is given.

    Raises
    ------
    DataError
        If it is of another model or other data; how the formula is spelt does not matter.
    """
    if maximum is None:
        return fit.reml if isinstance(fit, Posterior) else None
    one, other = maximum.design, fit.design
    try:
        check_same_data(one, other, ("the maximum", "the posterior"))
    except DataError as error:
        raise DataError(f"{error} Both have to be fits of one model.") from None
    if not _same_model(one, other):
        raise DataError(
            f"The maximum is of {one.formula!r} and the posterior of {other.formula!r}, or of other predictors or "
            "groups; give two fits of one model."
        )
    return maximum


def _same_model(one: Design, other: Design) -> bool:
    """Whether two designs have the same predictors, groups and effects of them, family and residuals."""
    return (
        one.labels == other.labels
        and np.array_equal(one.X, other.X)
        and len(one.parts) == len(other.parts)
        and all(_same_part(a, b) for a, b in zip(one.parts, other.parts, strict=True))
        and str(one.family) == str(other.family)
        and getattr(one.residual, "text", None) == getattr(other.residual, "text", None)
    )


def _same_part(one: Part, other: Part) -> bool:
    return (
        (one.factor.name, one.block.labels, one.free) == (other.factor.name, other.block.labels, other.free)
        and np.array_equal(one.factor.levels, other.factor.levels)
        and np.array_equal(one.factor.codes, other.factor.codes)
        and np.array_equal(one.block.Z, other.block.Z)
    )


def sampled(fit: object, function: str) -> None:
    """Refuse what has no posterior.

    Parameters
    ----------
    fit : object
    function : str
        Name of the function that it was given to.

    Raises
    ------
    HierbayesError
    """
    if not isinstance(fit, (Posterior, FamilyPosterior)):
        raise HierbayesError(
            f"hb.{function} needs a posterior, what model.fit() returns, and not a {type(fit).__name__}."
        )


def called(maximum: Estimate | LaplaceEstimate | None) -> str:
    """Name of the method by which a maximum was found, empty if there is none."""
    return "" if maximum is None else "ML" if isinstance(maximum, LaplaceEstimate) else maximum.method
