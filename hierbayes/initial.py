r"""Where chains start if a link allows only some linear predictors.

With the inverse link of a gamma response, ``μ = 1/η``, only η > 0 gives a distribution; with the identity link of a
probability only 0 < η < 1. A chain that starts at the means of the priors, η = 0, has no density there. So it starts
with random effects of zero and the coefficients that make every η, as nearly as may be, the link of the mean
response: ``min ‖X β + offset - g(ȳ)‖``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.family import Family

REAL = {"gaussian", "t", "laplace", "asymmetriclaplace", "exgaussian", "lognormal", "hurdle_lognormal", "vonmises"}
"""Families whose parent parameter may be any number."""
LINKS = {"identity": lambda m: m, "inverse": lambda m: 1.0 / m, "inverse_squared": lambda m: m**-2.0}
"""Those that give the parent parameter a sign, or a pole."""


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


def scattered(family: Family, graph: Any) -> set[Any] | None:
    """Variables in which chains may start apart from each other: those that do not move the linear predictor.

    Parameters
    ----------
    family : Family
    graph : pymc.Model

    Returns
    -------
    set or None
        None if chains may start anywhere.
    """
    if not restricted(family):
        return None
    return {variable for variable in graph.free_RVs if graph.rvs_to_transforms[variable] is not None}


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
