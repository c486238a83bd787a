r"""Where chains start.

NUTS begins at the means of the priors, each unconstrained variable moved by up to 1 either way. That moves the
linear predictor by up to the size of the coefficient's column: metres above sea level by hundreds, and exp(100) is a
mean from which no chain comes back. So coefficients of large columns start at the mean of their prior in every chain.

Some links allow only some linear predictors. With the inverse link of a gamma response, ``μ = 1/η``, only η > 0
gives a distribution; with the identity link of a probability only 0 < η < 1. A chain that starts at the means of the
priors, η = 0, has no density there. So it starts with random effects of zero and the coefficients that make every η,
as nearly as may be, the link of the mean response: ``min ‖X β + offset - g(ȳ)‖``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from hierbayes import names
from hierbayes.design import Design, Term
from hierbayes.errors import HierbayesError
from hierbayes.family import Family

REAL = {"gaussian", "t", "laplace", "asymmetriclaplace", "exgaussian", "lognormal", "hurdle_lognormal", "vonmises"}
"""Families whose parent parameter may be any number."""
LINKS = {"identity": lambda m: m, "inverse": lambda m: 1.0 / m, "inverse_squared": lambda m: m**-2.0}
"""Those that give the parent parameter a sign, or a pole."""
FAR = 5.0
"""A step of the linear predictor that chains do not begin with."""


def restricted(family: Family) -> bool:
    """Whether the link allows only some linear predictors.

    Examples
    --------
    >>> restricted(Family("gamma", "mu", "inverse")), restricted(Family("gamma", "mu", "log"))
    (True, False)
    """
    return family.link in LINKS and not (family.link == "identity" and family.name in REAL)


def other_link(family: Family) -> str:
    """A link of a `restricted` family that allows any linear predictor, with a comma before it; else nothing."""
    if not restricted(family):
        return ""
    return f", or another link, such as {'logit' if family.parent == 'p' else 'log'!r}"


def initial_coefficients(design: Design, X: np.ndarray) -> np.ndarray:
    """Coefficients whose linear predictor is the link of the mean response, as nearly as may be.

    Parameters
    ----------
    design : Design
        Of a family that is `restricted`.
    X : (n, p) array
        Columns of the fixed effects, centred if their coefficients are.

    Returns
    -------
    (p,) array

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("sleepstudy")
    >>> design = hb.Model("Reaction ~ Days + (1 | Subject)", data, family="gamma").design
    >>> (1 / initial_coefficients(design, design.X)[0]).round(2), data["Reaction"].mean().round(2)
    (np.float64(298.51), np.float64(298.51))
    """
    y = design.y
    if design.trials is not None:
        mean = (y.sum() + 0.5) / (design.trials.sum() + 1.0)
    elif design.family.name.startswith(("hurdle", "zero_inflated")):
        mean = y[y > 0].mean()
    else:
        mean = np.log(y).mean() if design.family.name == "lognormal" else y.mean()
    wanted = np.full(design.n, float(LINKS[design.family.link](mean)))
    if design.offset is not None:
        wanted -= design.offset
    return np.linalg.lstsq(X, wanted, rcond=None)[0]


def scattered(design: Design, graph: Any, centered: bool) -> set[Any] | None:
    """Variables in which chains may start apart from each other: those that do not move the linear predictor far.

    Parameters
    ----------
    design : Design
    graph : pymc.Model
    centered : bool
        Whether the columns of the fixed effects are.

    Returns
    -------
    set or None
        None if chains may start anywhere.
    """
    if restricted(design.family):
        return {variable for variable in graph.free_RVs if graph.rvs_to_transforms[variable] is not None}
    large = set() if design.family.exact else _large(design, centered)
    return {variable for variable in graph.free_RVs if variable.name not in large} if large else None


def _large(design: Design, centered: bool) -> set[str]:
    """Names of the coefficients, fixed and random, of which a step of 1 is one of more than `FAR` for some row."""
    X = design.X - design.X.mean(axis=0) if centered else design.X
    found = _of_large_columns(design.terms, X)
    for part in design.parts:
        own = [names.effect(term, part.factor.name) for term in _of_large_columns(part.block.terms, part.block.Z)]
        found |= {*own, *(f"{name}_level" for name in own)}
        found |= {f"{names.corr(part.factor.name, part.number)}_effects"} if own else set()
    return found


def _of_large_columns(terms: tuple[Term, ...], columns: np.ndarray) -> set[str]:
    """Names of the terms of a matrix that have a large column."""
    size = iter(np.abs(columns).max(axis=0))
    return {term.name for term in terms if max([next(size) for _ in term.labels]) > FAR}


@contextlib.contextmanager
def startable(family: Family) -> Iterator[None]:
    """Say in one sentence what is wrong if no chain can start."""
    try:
        yield
    except RuntimeError as error:
        if "init" not in str(error).lower():
            raise
        remedy = "use another link, such as 'log' or 'logit'" if restricted(family) else "look at the priors"
        raise HierbayesError(
            f"No chain finds a point to start from where the density of {family} responses is finite; {remedy}."
        ) from error
