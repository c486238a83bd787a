"""Bambi's families: read by name, their responses checked, their response distributions built by its own code."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError, FormulaError, HierbayesWarning, suggest
from hierbayes.family import GAUSSIAN, Family
from hierbayes.from_bambi.bambi_model import make_bambi
from hierbayes.from_bambi.formula import WRAPPERS

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
OBSERVED = tuple(f"is_{wrapper}" for wrapper in WRAPPERS)
"""What Bambi asks of a response term that is not plain."""


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
        raise FormulaError(f"There is no family {name!r}. {_suggest_family(str(name), list(BUILTIN_FAMILIES))}")
    family = get_builtin_family(name)
    parent = family.likelihood.parent
    links = family.SUPPORTED_LINKS[parent]
    if link is not None and link not in links:
        raise FormulaError(f"The family {name!r} has no link {link!r} for {parent}; it has {', '.join(links)}.")
    others = tuple(parameter for parameter in family.likelihood.params if parameter != parent)
    return Family(name, parent, link or family.link[parent].name, others, wrapper)


def _suggest_family(name: str, known: list[str]) -> str:
    """The family whose name has the words of another in order, as negativebinomial has those of neg_binomial."""
    words = re.split(r"[\W_]+", name.casefold())
    close = [each for each in known if any(words) and re.match(".*".join(words), each.replace("_", ""))]
    return suggest(min(close, key=len), known) if close else suggest(name, known)


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
    event : str or None
    """

    y: np.ndarray
    trials: np.ndarray | None = None
    categories: tuple[str, ...] | None = None
    outcomes: tuple[str, tuple[str, ...]] | None = None
    event: str | None = None


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
        model = make_bambi(f"{left} ~ {right}", rows, with_order(priors, family), namespace, True, family)
    if family.response != "plain" and model.scaler.response_std != 1.0:
        # Bambi takes bounds, statuses and weights into the mean and the spread of the response
        y = model.response_term.data[:, 0]
        model.scaler.response_mean, model.scaler.response_std = y.mean(), y.std()
        model.scaler.scale()
    return model


def without_order(priors: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The priors; that the thresholds of a cumulative family increase goes without saying."""
    found = dict(priors)
    given = found.get("threshold")
    if family.name == "cumulative" and "transform" in getattr(given, "args", {}):
        found["threshold"] = copy.deepcopy(given)
        del found["threshold"].args["transform"]
    return found


def with_order(priors: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The priors, those of thresholds on cumulative probabilities restricted to increasing ones."""
    found = dict(priors)
    given: Any = found.get("threshold")
    if family.name == "cumulative" and hasattr(given, "args") and "transform" not in given.args:
        import pymc as pm

        found["threshold"] = copy.deepcopy(given)
        found["threshold"].args["transform"] = pm.distributions.transforms.ordered
    return found


def order_categories(rows: pd.DataFrame, description: Any) -> pd.DataFrame:
    """The rows, those columns of the response that are unordered categoricals in the order of their own categories.

    formulae would sort the categories of an unordered one.

    Parameters
    ----------
    rows : pandas.DataFrame
    description : formulae ModelDescription
        Of the formula.

    Returns
    -------
    pandas.DataFrame
    """
    columns = [str(name).strip("`") for name in description.response.term.var_names]
    ordered = {
        name: rows[name].cat.as_ordered()
        for name in columns
        if name in rows and isinstance(rows[name].dtype, pd.CategoricalDtype)
    }
    return rows.assign(**ordered)


def read_response(
    left: str, matrix: Any, rows: pd.DataFrame, family: Family, namespace: Mapping[str, Any]
) -> Response:
    """Evaluate the left side of a formula for its family.

    Parameters
    ----------
    left : str
        As the formula spells it.
    matrix : formulae ResponseMatrix
        What formulae makes of it.
    rows : pandas.DataFrame
    family : Family
    namespace : mapping

    Returns
    -------
    Response

    Raises
    ------
    DataError
        If the family cannot have such a response.
    """
    _check_kind(left, matrix, family)
    try:
        term = skeleton(left, "0" if family.ordinal else "1", rows, family, {}, namespace).response_term
        data = np.asarray(term.data, dtype=float)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or ["it has another form"])[0].rstrip(".")
        raise DataError(f"The response {left} does not suit the family {family.name!r}: {reason}.") from error
    trials = None
    y = data[:, 0] if family.response != "plain" else data
    if family.with_trials:
        y, trials = data.T
    outcomes = next(((str(dim), tuple(map(str, labels))) for dim, labels in term.coords.items()), None)
    if y.ndim > 1 and outcomes is None:
        raise DataError(f"The response {left} does not suit the family {family.name!r}: it has several columns.")
    _check_range(left, y, trials, family)
    if family.response != "plain":
        _check_observed(left, data, family)
    categories = tuple(map(str, term.levels)) if family.categorical else None
    return Response(y, trials, categories, outcomes, _event(term, rows) if family.name == "bernoulli" else None)


def _event(term: Any, rows: pd.DataFrame) -> str | None:
    """What is 1 of a binary response of text, a category or a boolean: Bambi models the first category."""
    if term.categorical:
        return f"{term.name} = {term.success}"
    column = str(term.name).strip("`")
    return f"{column} = True" if column in rows and pd.api.types.is_bool_dtype(rows[column]) else None


def _check_kind(left: str, matrix: Any, family: Family) -> None:
    """Refuse text where the family needs numbers, numbers where it needs categories, and so on."""
    columns = np.asarray(matrix.design_matrix)
    if family.with_trials:
        if matrix.kind != "proportion":
            raise DataError(
                f"The family {family.name!r} needs successes and trials on the left of the formula: "
                "p(successes, trials) ~ …; for single trials use family='bernoulli'."
            )
    elif family.categorical:
        if matrix.kind != "categoric":
            raise DataError(
                f"The response {left} has numbers, and the family {family.name!r} needs categories; convert the "
                "column to a pandas categorical, with its categories in order."
            )
        words = matrix.levels if family.ordinal and not _has_order(matrix) else ()
        if len(words) > 1:
            warnings.warn(
                f"The categories of {left} are taken in alphabetical order, {' < '.join(map(str, words))}; make the "
                "column a pandas categorical to choose another.",
                HierbayesWarning,
                stacklevel=6,
            )
    elif family.name == "bernoulli":
        if matrix.kind == "categoric" and matrix.levels is not None and len(matrix.levels) > 2:
            raise DataError(
                f"The response {left} has {len(matrix.levels)} categories, and the family 'bernoulli' needs two; "
                f"name the one whose probability is wanted, as in {left}[{str(matrix.levels[0])!r}] ~ …, or use "
                "family='categorical'."
            )
        if matrix.kind != "categoric" and not np.isin(columns, (0, 1)).all():
            raise DataError(f"The response {left} has numbers other than 0 and 1; family 'bernoulli' has none.")
    elif matrix.kind == "categoric":
        raise DataError(
            f"The response {left} is text or categorical, and the family {family.name!r} needs numbers; convert the "
            "column to numbers."
        )
    elif family.multinomial and (columns.ndim != 2 or columns.shape[1] < 2):
        raise DataError(
            f"The family {family.name!r} needs the counts of three or more categories on the left of the formula: "
            "counts(a, b, …) ~ …"
        )
    elif family.multinomial and columns.shape[1] == 2:
        other = "binomial" if family.name == "multinomial" else "beta_binomial"
        raise DataError(
            f"The response {left} has two counts, and the family {family.name!r} needs three or more; two are "
            f"successes and trials: use family={other!r} with p(k1, k1 + k2) ~ …, where k1 and k2 are the counts."
        )


def _has_order(matrix: Any) -> bool:
    """Whether the categories of a response have an order of their own, of `order_categories` or C(y, levels=)."""
    found = matrix.term.term.components[0]._intermediate_data
    return getattr(found, "levels", None) is not None or getattr(getattr(found, "dtype", None), "ordered", False)


def _check_range(left: str, y: np.ndarray, trials: np.ndarray | None, family: Family) -> None:
    """Refuse responses that the family gives no density, and such as say nothing."""
    if family.name in SUPPORTS:
        test, words = RANGES[SUPPORTS[family.name]]
        wrong = ~test(y)
    elif trials is not None:
        whole = (y == np.floor(y)) & (trials == np.floor(trials))
        wrong, words = ~(whole & (y >= 0) & (y <= trials)), "a whole number between 0 and the number of trials"
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


def _check_observed(left: str, data: np.ndarray, family: Family) -> None:
    """Refuse responses outside their bounds, and censoring that PyMC does not know."""
    if family.response == "censored" and data.shape[1] > 2:
        raise DataError(f"The response {left} is interval-censored; PyMC knows left and right censoring only.")
    if family.response in {"truncated", "constrained"}:
        y, lower, upper = data.T
        outside = np.flatnonzero((y < lower) | (y > upper))
        if outside.size:
            row = outside[0]
            raise DataError(
                f"The response {left} is {y[row]:g} in row {row} (counting from 0) of the rows used, outside of its "
                f"bounds {lower[row]:g} and {upper[row]:g}."
            )


def observed(term: Any, rows: pd.DataFrame) -> np.ndarray:
    """The response of other rows, as the response term of a `skeleton` takes it."""
    return np.asarray(term.evaluate_new_data(rows))


def respond(
    model: Any,
    eta: Any,
    auxiliary: Mapping[str, Any] | None = None,
    data: np.ndarray | None = None,
    plain: bool = False,
) -> Any:
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
    plain : bool, default False
        Whether the data are plain responses, however those of the model are observed.

    Returns
    -------
    variable
        The observed response.
    """
    import pymc as pm
    from bambi.backend.model_components import ConstantComponent, DistributionalComponent
    from bambi.backend.pymc import PyMCModel
    from bambi.backend.terms import ResponseTerm

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
    observed = term if data is None else _Instead(term, data, plain)
    response = ResponseTerm(observed, model.family)
    if observed.is_weighted:
        response.build_distribution = partial(_weighted, response)
    response.build(backend, model)
    return backend.model[term.name]


def _weighted(response: Any, kwargs: dict[str, Any], backend: Any) -> Any:
    """The response with its log density multiplied by the weights.

    Bambi hands the parameters of the distribution over by position, where those of the gamma, the negative binomial
    or Student's t are others than it means.
    """
    import pymc as pm
    from bambi.backend.utils import get_distribution_from_likelihood

    family = response.family
    distribution = get_distribution_from_likelihood(family.likelihood)
    if hasattr(family, "transform_backend_kwargs"):
        kwargs = family.transform_backend_kwargs(kwargs)
    y, weights = np.asarray(kwargs.pop("observed"), dtype=float).T
    dims = kwargs.pop("dims")
    names = list(kwargs)

    def made(*parameters: Any, size: Any = None) -> Any:
        return distribution.dist(**dict(zip(names, parameters, strict=True)), size=size)

    def log_density(value: Any, *parameters: Any) -> Any:
        return weights * pm.logp(made(*parameters), value)

    def random(*parameters: Any) -> Any:
        return made(*parameters[:-1], size=parameters[-1])

    return pm.CustomDist(
        response.name,
        *kwargs.values(),
        logp=log_density,
        dist=random,
        observed=y,
        dims=dims,
        class_name=f"Weighted{distribution.__name__}",
    )


class _Instead:
    """A response term with other data, which may be plain although those of the term are not."""

    def __init__(self, term: Any, data: np.ndarray, plain: bool) -> None:
        self._term = term
        self.data = data
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return False if self._plain and name in OBSERVED else getattr(self._term, name)
