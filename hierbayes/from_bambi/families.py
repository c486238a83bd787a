"""Bambi's families: read by name, their responses checked, their response distributions built by its own code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError, FormulaError, suggest
from hierbayes.family import GAUSSIAN, Family
from hierbayes.from_bambi.bambi_model import make_bambi

COUNT, POSITIVE, NONNEGATIVE, UNIT, ANGLE = "count", "positive", "nonnegative", "unit", "angle"
RANGES = {
    COUNT: (lambda y: (y >= 0) & (y == np.floor(y)), "a whole number, 0 or more"),
    POSITIVE: (lambda y: y > 0, "a positive number"),
    NONNEGATIVE: (lambda y: y >= 0, "a number of 0 or more"),
    UNIT: (lambda y: (y > 0) & (y < 1), "a number between 0 and 1, both excluded"),
    ANGLE: (lambda y: np.abs(y) <= np.pi, "an angle between -π and π"),
}
"""What a response may be: a test, and the words for it."""
SUPPORTS = {
    "poisson": COUNT,
    "negativebinomial": COUNT,
    "hurdle_poisson": COUNT,
    "hurdle_negativebinomial": COUNT,
    "zero_inflated_poisson": COUNT,
    "zero_inflated_negativebinomial": COUNT,
    "multinomial": COUNT,
    "dirichlet_multinomial": COUNT,
    "gamma": POSITIVE,
    "exponential": POSITIVE,
    "weibull": POSITIVE,
    "wald": POSITIVE,
    "lognormal": POSITIVE,
    "hurdle_gamma": NONNEGATIVE,
    "hurdle_lognormal": NONNEGATIVE,
    "beta": UNIT,
    "vonmises": ANGLE,
}
"""The range of the response of each family that has one."""


def read_family(name: str, link: str | None = None, wrapper: str = "plain") -> Family:
    """A family of Bambi by its name.

    Parameters
    ----------
    name : str
    link : str, optional
        Of the parent parameter; Bambi's default if it is not given.
    wrapper : str, default "plain"
        How the response is observed.

    Returns
    -------
    Family

    Raises
    ------
    FormulaError
        If Bambi has no such family, or the family no such link.
    """
    if name == GAUSSIAN.name and link in {None, GAUSSIAN.link}:  # without the seconds of importing Bambi
        return Family(GAUSSIAN.name, GAUSSIAN.parent, GAUSSIAN.link, GAUSSIAN.auxiliary, wrapper)
    from bambi.defaults.families import BUILTIN_FAMILIES, get_builtin_family

    if not isinstance(name, str) or name not in BUILTIN_FAMILIES:
        known = list(BUILTIN_FAMILIES)
        raise FormulaError(f"There is no family {name!r}. {suggest(str(name), known)}")
    family = get_builtin_family(name)
    parent = family.likelihood.parent
    links = family.SUPPORTED_LINKS[parent]
    if link is not None and link not in links:
        raise FormulaError(f"The family {name!r} has no link {link!r} for {parent}; it has {', '.join(links)}.")
    others = tuple(parameter for parameter in family.likelihood.params if parameter != parent)
    return Family(name, parent, link or family.link[parent].name, others, wrapper)


def transformations(family: Family) -> dict[str, Any]:
    """Functions of Bambi that a formula may use around its response."""
    if family.exact:
        return {}
    from bambi.transformations import transformations_namespace

    return dict(transformations_namespace)


@dataclass(frozen=True)
class Response:
    """A response as its family takes it; the fields are those of `hierbayes.design.Design`.

    Parameters
    ----------
    y : array
    trials : (n,) array or None
    categories : tuple of str or None
    outcomes : (str, tuple of str) or None
    """

    y: np.ndarray
    trials: np.ndarray | None
    categories: tuple[str, ...] | None
    outcomes: tuple[str, tuple[str, ...]] | None


def skeleton(
    left: str,
    right: str,
    rows: pd.DataFrame,
    family: Family,
    priors: Mapping[str, Any],
    namespace: Mapping[str, Any],
) -> Any:
    """The `bambi.Model` without random effects: response, family, automatic priors.

    Parameters
    ----------
    left, right : str
        The two sides of the formula.
    rows : pandas.DataFrame
    family : Family
    priors : mapping
        Of fixed effects and of parameters of the family.
    namespace : mapping

    Returns
    -------
    bambi.Model
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Bambi's, on other spellings of the response
        return make_bambi(f"{left} ~ {right}", rows, dict(priors), namespace, True, family)


def read_response(left: str, rows: pd.DataFrame, family: Family, namespace: Mapping[str, Any]) -> Response:
    """Evaluate the left side of a formula for its family.

    Raises
    ------
    DataError
        If the family cannot have such a response.
    """
    try:
        term = skeleton(left, "0" if family.ordinal else "1", rows, family, {}, namespace).response_term
        data = np.asarray(term.data, dtype=float)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or ["it has another form"])[0].rstrip(".")
        raise DataError(f"The response {left} does not suit the family {family.name!r}: {reason}.") from error
    trials = None
    y = data[:, 0] if family.response != "plain" else data
    if family.with_trials:
        if data.ndim != 2 or data.shape[1] != 2:
            raise DataError(
                f"The family {family.name!r} needs successes and trials on the left of the formula: "
                "p(successes, trials) ~ …; for single trials use family='bernoulli'."
            )
        y, trials = data.T
    coords = dict(term.coords)
    categorical = family.ordinal or family.name == "categorical"
    outcomes = next(((str(dim), tuple(map(str, labels))) for dim, labels in coords.items()), None)
    if categorical and term.levels is None:
        raise DataError(
            f"The response {left} has numbers, and the family {family.name!r} needs categories; convert the column "
            "to a pandas categorical, with its categories in order."
        )
    if not categorical and y.ndim != (2 if outcomes else 1):
        raise DataError(
            f"The response {left} does not suit the family {family.name!r}: it has "
            + ("one column; write the counts as counts(a, b, …)." if outcomes else "several columns.")
        )
    _check_range(left, y, trials, family)
    return Response(y, trials, tuple(map(str, term.levels)) if categorical else None, outcomes)


def _check_range(left: str, y: np.ndarray, trials: np.ndarray | None, family: Family) -> None:
    """Refuse responses that the family gives no density, and such as say nothing."""
    if family.name in SUPPORTS:
        test, words = RANGES[SUPPORTS[family.name]]
        wrong = ~test(y)
    elif trials is not None:
        wrong, words = (
            ~((y >= 0) & (y <= trials) & (y == np.floor(y)) & (trials == np.floor(trials))),
            ("a whole number between 0 and the number of trials"),
        )
    else:
        wrong, words = ~np.isfinite(y), "a finite number"
    if wrong.any():
        row = np.flatnonzero(wrong.reshape(len(y), -1).any(axis=1))[0]
        raise DataError(
            f"The response {left} is {y[row]} in row {row} (counting from 0) of the rows used; with family "
            f"{family.name!r} it must be {words}."
        )
    share = y if trials is None else y / np.maximum(trials, 1.0)
    if np.ptp(share, axis=0).max() == 0:
        raise DataError(f"The response {left} has the same value in every row, so there is nothing to explain.")


def observed(term: Any, rows: pd.DataFrame) -> np.ndarray:
    """The response of other rows, as the response term of a `skeleton` takes it."""
    return np.asarray(term.evaluate_new_data(rows))


def respond(model: Any, eta: Any, auxiliary: Mapping[str, Any] | None = None, data: np.ndarray | None = None) -> Any:
    """Add the response to the PyMC model on the stack, by Bambi's own code.

    Parameters
    ----------
    model : bambi.Model
        From `skeleton`, built.
    eta : (n,) or (n, K) variable
        Linear predictor.
    auxiliary : mapping, optional
        Values of the other parameters; by default they become variables with their priors.
    data : array, optional
        The response in Bambi's form, instead of that of the model.

    Returns
    -------
    variable
        The observed response.
    """
    import pymc as pm
    from bambi.backend.model_components import ConstantComponent, DistributionalComponent, ResponseComponent
    from bambi.backend.pymc import PyMCModel

    backend = PyMCModel()
    backend.model = pm.modelcontext(None)
    term = model.response_term
    for name, component in model.marginal_parameters.items():
        made = ConstantComponent(component)
        if auxiliary is None:
            made.build(backend, model)
        else:
            made.output = auxiliary.get(name, component.prior)
        backend.components[name] = made
    parent = DistributionalComponent(model.parameters[model.family.likelihood.parent])
    parent.output = eta
    backend.components[parent.component.name] = parent
    ResponseComponent(term if data is None else _Instead(term, data)).build(backend, model)
    return backend.model[term.name]


class _Instead:
    """A response term with other data."""

    def __init__(self, term: Any, data: np.ndarray) -> None:
        self._term = term
        self.data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._term, name)
