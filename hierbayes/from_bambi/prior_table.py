"""Priors: the user's in Bambi's form where given, Bambi's automatic ones elsewhere."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import PriorError, suggest
from hierbayes.from_bambi.bambi_model import is_prior
from hierbayes.from_bambi.families import skeleton
from hierbayes.priors import Prior, Priors


def prior_names(design: Design) -> list[str]:
    """Every name that `priors=` may use for a design."""
    effects = [names.effect(term.name, block.factor.name) for block in design.blocks for term in block.terms]
    corrs = [names.corr(part.factor.name, part.number) for part in design.parts if part.free]
    residual = list(design.family.auxiliary) if design.sigma is None else []
    if design.residual is not None:
        residual.append(names.RHO)
    return [*(term.name for term in design.terms), "common", *effects, "group_specific", *residual, *corrs]


def check_prior_names(design: Design, priors: Mapping[str, Any]) -> None:
    """Refuse a prior for something that the model does not have.

    Raises
    ------
    PriorError
    """
    known = prior_names(design)
    for name in priors:
        if name not in known:
            raise PriorError(f"There is a prior for {name!r}, but the model has no such term. {suggest(name, known)}")


def read_priors(design: Design, fixed: Any, priors: Mapping[str, Any], centered: bool) -> Priors:
    """Resolve the priors of a model: the user's where given, Bambi's automatic ones elsewhere.

    Parameters
    ----------
    design : Design
    fixed : bambi.Model
        From `skeleton_of`, with the same priors.
    priors : mapping
        In Bambi's form; correlations as ``{"Subject_corr": bambi.Prior("LKJ", eta=2)}``.
    centered : bool
        Bambi's `center_predictors`.

    Returns
    -------
    Priors

    Raises
    ------
    PriorError
        For a prior that names no term, or that this model cannot honour.
    """
    from bambi.model_components import prepare_prior

    component = fixed.parameters[design.family.parent]
    coefficients: list[Prior] = []
    for term in design.terms:
        coefficients += _spread(term.name, component.terms[term.name].prior, len(term.labels))
    sigma = None
    if design.family.exact and design.sigma is None:
        sigma = _spread(names.SIGMA, fixed.parameters[names.SIGMA].prior, 1, positive=True)[0]
    auxiliary: dict[str, tuple[Prior, ...] | float] = {}
    for name in () if design.family.exact else design.family.auxiliary:
        auxiliary[name] = _auxiliary(name, fixed.parameters[name].prior, design)

    sds: list[Prior] = []
    etas: list[float] = []
    scaler = copy.copy(fixed.scaler)
    for part in design.parts:
        block, factor = part.block, part.factor.name
        slopes = {term.name for other in design.parts_of(part.factor) for term in other.block.terms}
        scaler.priors = {name: value for name, value in fixed.scaler.priors.items() if name in slopes}
        column = 0
        for term in block.terms:
            name = names.effect(term.name, factor)
            width = len(term.labels)
            given = priors.get(name, priors.get("group_specific"))
            kind = "intercept" if term.name == "1" else "slope"
            shim = SimpleNamespace(
                prior=prepare_prior(given, "group_specific", True),
                kind=kind,
                predictor=block.Z[:, column : column + width],
            )
            if given is None:
                scaler.scale_group_specific(shim)
            sds += _hyperprior(name, shim.prior, width)
            column += width
        etas.append(_lkj(priors, names.corr(factor, part.number)))
    rho = None if design.residual is None else _lkj(priors, names.RHO)
    with_center = centered and design.intercept is not None
    return Priors(tuple(coefficients), with_center, tuple(sds), sigma, tuple(etas), rho, auxiliary)


def skeleton_of(
    design: Design, left: str, rows: pd.DataFrame, namespace: Mapping[str, Any], priors: Mapping[str, Any]
) -> Any:
    """The `bambi.Model` of a design without its random effects, with automatic priors where none are given.

    Parameters
    ----------
    design : Design
    left : str
        The response as the formula spells it.
    rows : pandas.DataFrame
        The rows used.
    namespace : mapping
    priors : mapping

    Returns
    -------
    bambi.Model

    Raises
    ------
    PriorError
        For a prior that names no term, or is none.
    """
    check_prior_names(design, priors)
    own = {term.name for term in design.terms} | {"common", *design.family.auxiliary}
    fixed = {key: value for key, value in priors.items() if key in own}
    for key, value in priors.items():
        if key in design.family.auxiliary and not design.family.exact and isinstance(value, (int, float)):
            continue
        if not is_prior(value):
            raise PriorError(f"The prior of {key!r} must be a bambi.Prior, not {type(value).__name__}.")
        if value.dist is not None:
            raise PriorError(f"The prior of {key!r} is a custom function; name a PyMC distribution instead.")
        if key in fixed and any(is_prior(argument) for argument in value.args.values()):
            raise PriorError(f"The prior of {key!r} has a prior inside; a fixed effect needs numbers as parameters.")
    if design.family.exact:
        left = _quoted(design.response)
        if design.offset is not None:  # automatic priors are for what the offset leaves
            left = "less_offset"
            rows = rows.assign(**{left: design.y - design.offset})
    terms = [_quoted(term.name) for term in design.terms if term.name != names.INTERCEPT]
    right = " + ".join(["1" if design.intercept is not None else "0", *terms])
    return skeleton(left, right, rows, design.family, fixed, namespace)


def _auxiliary(name: str, prior: Any, design: Design) -> tuple[Prior, ...] | float:
    """Priors of the entries of one further parameter of a family, or the number it is held at."""
    if isinstance(prior, (int, float)):
        if name not in {"threshold", "psi"} and not prior > 0:
            raise PriorError(f"{name!r} is fixed to {prior}; it must be positive.")
        return float(prior)
    width = len(design.categories) - 1 if design.family.ordinal and design.categories is not None else 1
    args = {key: value for key, value in prior.args.items() if key != "transform"}  # of ordered thresholds
    shown = SimpleNamespace(name=prior.name, args=args)
    return tuple(_spread(name, shown, width, positive=name not in {"threshold", "psi"}))


def _lkj(priors: Mapping[str, Any], name: str) -> float:
    """The eta of the prior of a correlation; 1 if there is none."""
    lkj = priors.get(name)
    if lkj is None:
        return 1.0
    if lkj.name not in {"LKJ", "LKJCorr"} or set(lkj.args) != {"eta"}:
        raise PriorError(f'The prior of {name!r} must be bambi.Prior("LKJ", eta=…), not {lkj}.')
    try:
        eta = float(lkj.args["eta"])
    except (TypeError, ValueError):
        eta = np.nan
    if not 0.0 < eta < np.inf:
        raise PriorError(f"The eta of {name!r} must be a positive number, as in LKJ(eta=2).")
    return eta


def _quoted(term: str) -> str:
    """A term as a formula spells it: names of columns that are not identifiers stand in backticks."""
    parts = term.split(":")
    return ":".join(part if part.isidentifier() or "(" in part else f"`{part}`" for part in parts)


def _spread(name: str, prior: Any, width: int, positive: bool = False) -> list[Prior]:
    """One `Prior` a column from a Bambi prior with scalar or vector parameters."""
    if isinstance(prior, (int, float)):
        raise PriorError(f"{name!r} is fixed to {prior}; give it a distribution instead.")
    args: dict[str, np.ndarray] = {}
    for key, value in prior.args.items():
        try:
            args[key] = np.broadcast_to(np.asarray(value, dtype=float), (width,))
        except (TypeError, ValueError):
            raise PriorError(
                f"The parameter {key!r} of the prior of {name!r} must be a number or one number for each of its "
                f"{width} columns, not {value!r}."
            ) from None
    made = [Prior(prior.name, {key: float(value[i]) for key, value in args.items()}) for i in range(width)]
    for one in made:
        _check_distribution(name, one, positive)
    return made


SCALES = {"sigma", "tau", "lam", "nu", "b", "beta"}
"""Parameters that are positive in every distribution of PyMC that has them."""


def _check_distribution(name: str, prior: Prior, positive: bool) -> None:
    """Refuse what PyMC cannot make, and a standard deviation that could be negative."""
    import pymc as pm
    from pymc.distributions.continuous import PositiveContinuous, UnitContinuous

    known: Any = getattr(pm, prior.name, None)
    continuous = inspect.isclass(known) and issubclass(known, pm.Continuous)
    if not continuous:
        raise PriorError(f"The prior of {name!r} is {prior.name!r}, which is not a continuous distribution of PyMC.")
    takes = [key for key in inspect.signature(known.dist).parameters if key not in {"args", "kwargs"}]
    for key in prior.args:
        if key not in takes:  # PyMC would ignore it
            raise PriorError(
                f"The prior of {name!r}, {prior}, has a parameter {key!r} that PyMC's {prior.name} does not take. "
                + suggest(key, takes)
            )
    try:
        scalar = known.dist(**prior.args).ndim == 0
    except (TypeError, ValueError) as error:
        raise PriorError(f"PyMC cannot make {prior}, the prior of {name!r}; complete its parameters.") from error
    if not scalar:
        raise PriorError(f"The prior of {name!r}, {prior}, is a distribution of vectors; each column needs a number.")
    for key, value in prior.args.items():
        if np.isnan(value) or (key in SCALES and not value > 0):
            raise PriorError(f"The prior of {name!r}, {prior}, has an impossible {key}.")
    if positive and not (
        issubclass(known, (PositiveContinuous, UnitContinuous, pm.Pareto)) or prior.args.get("lower", -1.0) >= 0
    ):
        raise PriorError(
            f"The prior of {name!r}, {prior}, allows negative numbers; {name!r} is positive, so give one such as "
            "HalfNormal."
        )


def _hyperprior(name: str, prior: Any, width: int) -> list[Prior]:
    """Prior of the standard deviation out of a Bambi group-specific prior."""
    sigma = prior.args.get("sigma")
    mu = prior.args.get("mu", 0.0)
    if prior.name != "Normal" or not is_prior(sigma):
        raise PriorError(
            f"The prior of {name!r} must be Normal with a prior for its sigma, such as "
            f'bambi.Prior("Normal", mu=0, sigma=bambi.Prior("HalfNormal", sigma=1)), not {prior}.'
        )
    if is_prior(mu) or np.any(np.asarray(mu) != 0):
        raise PriorError(
            f"The prior of {name!r} has a mean other than 0; random effects are deviations from the fixed effects, "
            "so put the mean into the prior of the fixed effect."
        )
    return _spread(f"{name}_sigma", sigma, width, positive=True)
