"""What stands beside the posterior: the maximum of the restricted or of an approximate likelihood, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hierbayes.errors import HierbayesError

if TYPE_CHECKING:
    from hierbayes.model import Model
    from hierbayes.results import LaplaceFit, RemlFit


@dataclass(frozen=True)
class Method:
    """Names of a maximum and of what it gives.

    Parameters
    ----------
    short, name : str
        In sentences and in headings.
    intervals, wald : str
        How the Wald intervals are made, in short and in a sentence.
    criterion : str
    effect : str
        What it says of a level.
    """

    short: str
    name: str
    intervals: str
    wald: str
    criterion: str
    effect: str


REML = Method(
    "REML",
    "REML",
    "Satterthwaite’s degrees of freedom for fixed effects, log scale for standard deviations, Fisher’s z for "
    "correlations",
    "with Satterthwaite’s degrees of freedom for fixed effects, on the log scale for standard deviations, on "
    "Fisher’s z for correlations",
    "REML criterion (−2 log restricted likelihood)",
    "BLUP",
)


def laplace(nodes: int = 1) -> Method:
    """Maximum likelihood of a response that is not Gaussian, with so many nodes of quadrature.

    Examples
    --------
    >>> laplace().name, laplace(25).name
    ('ML (Laplace)', 'ML (adaptive Gauss–Hermite, 25 nodes)')
    """
    how = "Laplace" if nodes == 1 else f"adaptive Gauss–Hermite, {nodes} nodes"
    return Method(
        "ML",
        f"ML ({how})",
        "normal quantiles, log scale for standard deviations and positive parameters, Fisher’s z for correlations",
        "with normal quantiles, on the log scale for standard deviations and positive parameters, on Fisher’s z for "
        "correlations",
        "−2 log likelihood",
        "mode",
    )


def maximum(model: Model, nagq: int = 1) -> tuple[RemlFit | LaplaceFit | None, Method | None, str]:
    """Fit a model by REML or, if its response is not Gaussian with identity link, by approximate maximum likelihood.

    Parameters
    ----------
    model : Model
    nagq : int, default 1
        Nodes of the quadrature of `Model.ml`; 1 is the Laplace approximation.

    Returns
    -------
    fit : RemlFit or LaplaceFit or None
    method : Method or None
    reason : str
        Why there is no such fit of this model; empty if there is one.

    Raises
    ------
    ValueError, HierbayesError
        If quadrature was asked for and cannot be had.
    """
    if model.family.exact:
        if nagq != 1:
            raise ValueError("nagq is for responses that are not Gaussian; the likelihood of this model is exact")
        return model.reml(), REML, ""
    try:
        return model.ml(nagq=nagq), laplace(nagq), ""
    except HierbayesError as error:
        if nagq != 1:
            raise
        return None, None, str(error)
