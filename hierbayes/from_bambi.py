"""The only file that knows Bambi and formulae: formula and priors in, design and prior table out.

formulae parses the formula and evaluates the fixed effects and the columns of the random effects;
the group codes are taken here, so that no matrix of rows x groups is ever made. Bambi supplies
the family and the automatic priors of the fixed effects and of σ, and its rule for the standard
deviations of random effects, with one change: the scale for an intercept grows only with those
predictors that have a random slope on the same factor. (Bambi lets it grow with the mean of every
predictor, which for a `year` column is absurd.)

Where the syntax differs from Bambi's it is lme4's: ``(x | g)`` has a full covariance matrix and
``(x || g)`` none. Under ``||`` every column is on its own, those of a categorical predictor too
(as in brms; lme4 keeps those correlated).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.matrices import DesignMatrices
from formulae.model_description import model_description
from formulae.parser import Parser
from formulae.scanner import Scanner
from formulae.terms.terms import Intercept
from formulae.terms.variable import Variable

from hierbayes import names
from hierbayes.design import Block, Design, Factor, Term
from hierbayes.errors import DataError, FormulaError, PriorError, suggest
from hierbayes.priors import Prior, Priors

FUNCTIONS = {
    "np": np,
    "pd": pd,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "exp": np.exp,
    "abs": np.abs,
}
"""Names that a formula may use without the caller having imported them."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula.

    Parameters
    ----------
    text : str
        As written.
    bambi : str
        The same with ``||`` written as ``|``, which is how Bambi reads it.
    description : formulae Model
        Everything formulae knows of `bambi`.
    blocks : list of (bool, list of formulae GroupSpecificTerm)
        One entry per pair of parentheses and grouping factor; True if correlated.
    """

    text: str
    bambi: str
    description: Any
    blocks: list[tuple[bool, list[Any]]]


def parse(text: str) -> Formula:
    """Read a formula with lme4's random-effect syntax.

    Parameters
    ----------
    text : str

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        If the text does not parse, has no response or has no random effect.
    """
    if not isinstance(text, str) or not text.strip():
        raise FormulaError('The formula must be a text such as "y ~ x + (x | group)".')
    bars = _find_bars(text)
    plain = text
    for start, end, _ in reversed(bars):
        plain = plain[:start] + _plain_bar(plain[start:end]) + plain[end:]
    description = _describe(plain, text)
    if description.response is None:
        raise FormulaError(
            f'The formula {text!r} has no response; write it as "response ~ predictors + (1 | group)".'
        )
    if not bars:
        raise FormulaError(
            f"The formula {text!r} has no random effect; add one, such as (1 | group), or use ordinary regression."
        )
    blocks: list[tuple[bool, list[Any]]] = []
    for start, end, double in bars:
        by_factor: dict[str, list[Any]] = {}
        for term in _describe(_plain_bar(text[start:end]), text).group_terms:
            by_factor.setdefault(term.factor.name, []).append(term)
        if not by_factor:
            raise FormulaError(f"The random effect {text[start:end]} of the formula {text!r} is empty.")
        blocks += [(not double, terms) for terms in by_factor.values()]
    if {term.name for _, terms in blocks for term in terms} != {term.name for term in description.group_terms}:
        raise FormulaError(
            f"The formula {text!r} does not parse: random effects can only be added, with a plus sign."
        )
    return Formula(text, plain, description, blocks)


def _find_bars(text: str) -> list[tuple[int, int, bool]]:
    """Start, end and ``||`` of every parenthesis that holds a random effect."""
    found: list[tuple[int, int, bool]] = []
    stack: list[dict[str, Any]] = []
    quote = ""
    skip = False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char == "(":
            before = text[:at].rstrip()
            call = bool(before) and (before[-1].isalnum() or before[-1] in "_)]`")
            stack.append({"start": at, "call": call, "bar": False, "double": False})
        elif char == "|":
            if not stack:
                raise FormulaError(f"Put the random effects of the formula {text!r} in parentheses: (x | group).")
            if stack[-1]["call"]:
                continue
            if stack[-1]["bar"]:
                raise FormulaError(f"The formula {text!r} does not parse: one random effect has two bars.")
            stack[-1]["bar"] = True
            if text[at + 1 : at + 2] == "|":
                stack[-1]["double"] = skip = True
        elif char == ")":
            if not stack:
                raise FormulaError(f"The formula {text!r} does not parse: a parenthesis is closed but never opened.")
            top = stack.pop()
            if top["bar"]:
                found.append((top["start"], at + 1, top["double"]))
    if stack:
        raise FormulaError(f"The formula {text!r} does not parse: a parenthesis is not closed.")
    return found


def _plain_bar(text: str) -> str:
    """A random effect as formulae reads it: one bar, and the intercept first, so (x - 1 || g) is (0 + x | g)."""
    text = text.replace("||", "|", 1)
    effects, _, factor = text[1:-1].partition("|")
    last = re.fullmatch(r"(.*\S)\s*([+-])\s*([01])\s*", effects, re.DOTALL)
    if last is None or last[1].strip() in {"0", "1"}:
        return text
    intercept = int((last[2] == "+") == (last[3] == "1"))
    return f"({intercept} + {last[1].strip()} |{factor})"


def _describe(text: str, shown: str) -> Any:
    """What formulae makes of a text."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            # formulae stops at what it cannot place and forgets the rest of the text
            parser = Parser(Scanner(text).scan())
            parser.parse()
            if not parser.at_end():
                raise FormulaError(
                    f"The formula {shown!r} does not parse: it cannot be read from {parser.peek().lexeme!r} on."
                )
            return model_description(text)
    except FormulaError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise FormulaError(
            f"The formula {shown!r} does not parse" + (f": {reason[0].rstrip('.')}." if reason else ".")
        ) from error


def names_used(formula: Formula, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The functions and values of the caller that a formula mentions."""
    words = set(re.findall(r"[^\W\d]\w*", formula.text))
    return {**FUNCTIONS, **{word: namespace[word] for word in words if word in namespace}}


def select_rows(
    formula: Formula, data: pd.DataFrame, namespace: Mapping[str, Any], dropna: bool
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Keep the columns that the formula uses and the rows that are complete.

    Parameters
    ----------
    formula : Formula
    data : pandas.DataFrame
    namespace : mapping
        Values of the caller.
    dropna : bool
        Whether incomplete rows may be left out.

    Returns
    -------
    rows : pandas.DataFrame
    incomplete : tuple of str
        Columns with missing values.

    Raises
    ------
    DataError
        For unknown columns, columns without any value, infinite values, no rows, or incomplete rows
        if `dropna` is False.
    """
    if not isinstance(data, pd.DataFrame):
        raise DataError(f"data must be a pandas DataFrame, not {type(data).__name__}.")
    used = [str(name).strip("`") for name in formula.description.var_names if name]
    columns = [column for column in data.columns if column in used]
    for column in columns:
        if columns.count(column) > 1:
            raise DataError(f"The data have {columns.count(column)} columns named {column!r}; keep one of them.")
    plain = _plain_variables(formula)
    for name in used:
        known = name in data.columns or (name in namespace and name not in plain)
        if not known and (name in plain or name.isidentifier()):
            raise DataError(
                f"The formula uses {name!r}, which is not a column of the data. {suggest(name, data.columns)}"
            )
    rows = data[columns]
    if not len(rows):
        raise DataError("The data have no rows; pass a data frame with observations.")
    for column in columns:
        values = rows[column]
        if values.isna().all():
            raise DataError(f"Column {column!r} has no value at all; fill it or take it out of the formula.")
        if pd.api.types.is_float_dtype(values) and np.isinf(values.to_numpy(dtype=float, na_value=np.nan)).any():
            where = np.flatnonzero(np.isinf(values.to_numpy(dtype=float, na_value=np.nan)))[0]
            raise DataError(
                f"Column {column!r} has an infinite value in row {where} (counting from 0); "
                "replace it or mark it as missing."
            )
    missing = rows.isna()
    incomplete = tuple(column for column in columns if missing[column].any())
    if incomplete:
        keep = ~missing.any(axis=1)
        if not dropna:
            raise DataError(
                f"{int((~keep).sum())} of {len(rows)} rows have missing values in "
                f"{', '.join(map(repr, incomplete))}; "
                "fill them or pass dropna=True to leave these rows out."
            )
        rows = rows[keep]
        if not len(rows):
            raise DataError(
                f"No row is complete: every one has a missing value in {', '.join(map(repr, incomplete))}; "
                "fill them or take a column out of the formula."
            )
    # categories without rows would become columns of zeros
    used_only = {
        column: rows[column].cat.remove_unused_categories()
        for column in columns
        if isinstance(rows[column].dtype, pd.CategoricalDtype)
    }
    return rows.assign(**used_only).reset_index(drop=True), incomplete


def _plain_variables(formula: Formula) -> set[str]:
    """Names that stand for themselves, not as the argument of a function."""
    description = formula.description
    terms = [description.response.term, *description.common_terms]
    for term in description.group_terms:
        terms += [term.expr, term.factor]
    components = [component for term in terms for component in getattr(term, "components", ())]
    return {str(component.name).strip("`") for component in components if isinstance(component, Variable)}


def read_design(
    formula: Formula, data: pd.DataFrame, namespace: Mapping[str, Any], dropna: bool = True
) -> tuple[pd.DataFrame, Design]:
    """Evaluate a formula on a data frame.

    Parameters
    ----------
    formula : Formula
    data : pandas.DataFrame
    namespace : mapping
        Values of the caller that the formula may use.
    dropna : bool, default True

    Returns
    -------
    rows : pandas.DataFrame
        The columns and rows used.
    design : Design

    Raises
    ------
    FormulaError
        For terms that a Gaussian mixed model of hierbayes does not have.
    DataError
        For data that cannot be used; the message names the column.
    """
    rows, incomplete = select_rows(formula, data, namespace, dropna)
    environment = Environment([dict(namespace)])
    fixed = _describe(formula.bambi, formula.text)
    fixed.group_terms = []
    blocks = _blocks(formula)
    with _speaking_of(formula):
        matrices = DesignMatrices(fixed, rows, environment)
    y = _response(matrices.response)
    terms, columns = [], []
    for term in matrices.common.terms.values() if matrices.common is not None else []:
        term_, X_ = _columns(term)
        terms.append(term_)
        columns.append(X_)
    X = np.concatenate(columns, axis=1) if columns else np.zeros((len(y), 0))
    _check_finite(X, [label for term in terms for label in term.labels])
    design = Design(
        formula=formula.text,
        response=matrices.response.name,
        y=y,
        X=X,
        terms=tuple(terms),
        blocks=_random_effects(blocks, rows, environment, formula),
        n_dropped=len(data) - len(rows),
        dropped_columns=incomplete,
    )
    return rows, design


@contextlib.contextmanager
def _speaking_of(formula: Formula) -> Iterator[None]:
    """Turn whatever evaluating a formula raises into one sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(divide="ignore", invalid="ignore"):
            yield
    except (DataError, FormulaError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise FormulaError(f"The formula {formula.text!r} cannot be evaluated on these data: {reason}.") from error


def _response(response: Any) -> np.ndarray:
    if response.kind != "numeric":
        raise DataError(
            f"The response {response.name!r} is text, and a Gaussian model needs numbers; "
            "convert the column to numbers."
        )
    y = np.asarray(response.design_matrix, dtype=float)
    if y.ndim != 1:
        raise DataError(f"The response {response.name!r} has several columns; a Gaussian model needs one.")
    _check_finite(y[:, None], [response.name])
    if np.ptp(y) == 0:
        raise DataError(
            f"The response {response.name!r} has the same value in every row, so there is nothing to explain."
        )
    return y


def _columns(term: Any) -> tuple[Term, np.ndarray]:
    """Name, coordinates and columns of an evaluated term, as Bambi would name them."""
    if term.kind == "offset":
        raise FormulaError(f"Offsets such as {term.name} are not available yet; subtract it from the response.")
    if term.name.startswith("hsgp("):
        raise FormulaError(f"Gaussian-process terms such as {term.name} are not part of a mixed model; take it out.")
    values = np.asarray(term.data, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    categorical = term.kind == "categoric" or (
        term.kind == "interaction" and any(component.kind == "categoric" for component in term.components)
    )
    if values.shape[1] == 0 or (categorical and values.shape[1] == 1 and np.ptp(values) == 0):
        raise DataError(f"The predictor {term.name!r} has only one category; take it out of the formula.")
    levels: tuple[str, ...] | None = None
    if categorical:
        levels = tuple(str(level) for level in term.levels)
    elif values.shape[1] > 1:
        levels = tuple(str(i) for i in range(values.shape[1]))
    return Term(term.name, tuple(term.labels), levels), values


def _check_finite(columns: np.ndarray, labels: list[str]) -> None:
    bad = ~np.isfinite(columns)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{labels[column]!r} is not finite in row {row} (counting from 0) of the rows used; "
            "check the transformation or the data."
        )


def _blocks(formula: Formula) -> list[tuple[bool, list[Any]]]:
    """Blocks of the formula, after checking that one likelihood can hold them together."""
    factors = list(dict.fromkeys(terms[0].factor.name for _, terms in formula.blocks))
    if len(factors) > 1:
        raise FormulaError(
            f"The formula {formula.text!r} has several grouping factors ({', '.join(factors)}); "
            "this version fits one, so keep one of them."
        )
    seen: list[str] = []
    for _, terms in formula.blocks:
        for term in terms:
            if term.name in seen:
                raise FormulaError(
                    f"The random effect {term.name} appears twice in the formula {formula.text!r}; write it once."
                )
            seen.append(term.name)
    return formula.blocks


def _random_effects(
    blocks: list[tuple[bool, list[Any]]], rows: pd.DataFrame, environment: Environment, formula: Formula
) -> tuple[Block, ...]:
    factor = _factor(blocks[0][1][0].factor, rows, formula)
    with_intercept = [any(isinstance(term.expr, Intercept) for term in terms) for _, terms in blocks]
    made = []
    for (correlated, terms), own_intercept in zip(blocks, with_intercept, strict=True):
        block_terms, columns = [], []
        for term in terms:
            if isinstance(term.expr, Intercept):
                block_terms.append(Term("1", (names.INTERCEPT,)))
                columns.append(np.ones((len(rows), 1)))
                continue
            with _speaking_of(formula):
                term.expr.set_type(rows, environment)
                term.expr.set_data(not own_intercept)
            made_term, values = _columns(term.expr)
            if made_term.levels is not None and not own_intercept and any(with_intercept):
                raise FormulaError(
                    f"The categorical slope {term.name} stands apart from the intercept of {factor.name!r}; "
                    f"write them in one pair of parentheses: ({made_term.name} | {factor.name})."
                )
            block_terms.append(made_term)
            columns.append(values)
        Z = np.concatenate(columns, axis=1)
        labels = [label for term in block_terms for label in term.labels]
        _check_finite(Z, labels)
        made.append(Block(factor, tuple(block_terms), Z, correlated))
    return tuple(made)


def _factor(term: Any, rows: pd.DataFrame, formula: Formula) -> Factor:
    """Integer codes of a grouping factor; levels in the order and with the names that Bambi gives them."""
    codes = np.zeros(len(rows), dtype=np.int64)
    labels = np.array([""], dtype=object)
    for component in term.components:
        if not isinstance(component, Variable):
            raise FormulaError(
                f"The grouping factor {term.name!r} of the formula {formula.text!r} is computed in the formula; "
                "make it a column of the data first."
            )
        column = rows[component.name]
        if isinstance(column.dtype, pd.CategoricalDtype) and not column.dtype.ordered:
            column = column.astype(column.dtype.categories.dtype)
        part, values = pd.factorize(column, sort=True)
        if isinstance(values, pd.CategoricalIndex):
            values = values.astype(values.categories.dtype)
        labels = np.array([f"{a}:{b}" if a else str(b) for a in labels for b in values], dtype=object)
        codes, present = pd.factorize(codes * len(values) + part, sort=True)
        labels = labels[present]
    if len(labels) == 1:
        raise DataError(
            f"The grouping factor {term.name!r} has one level, {labels[0]!r}; "
            "its effect cannot be told from the intercept."
        )
    if len(labels) >= len(rows):
        raise DataError(
            f"The grouping factor {term.name!r} has as many levels as there are rows ({len(rows)}), "
            "so its effects cannot be told from the residuals; group the rows more coarsely."
        )
    return Factor(term.name, codes.astype(np.int64), labels)


# --- priors -----------------------------------------------------------------------------------


def prior_names(design: Design) -> list[str]:
    """Every name that `priors=` may use for a design."""
    factor = design.factor.name
    effects = [names.effect(term.name, factor) for block in design.blocks for term in block.terms]
    corrs = [names.corr(factor, i) for i, free in enumerate(design.layout.correlated) if free]
    return [*(term.name for term in design.terms), "common", *effects, "group_specific", names.SIGMA, *corrs]


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


def read_priors(
    design: Design,
    rows: pd.DataFrame,
    namespace: Mapping[str, Any],
    priors: Mapping[str, Any],
    centered: bool,
) -> Priors:
    """Resolve the priors of a model: the user's where given, Bambi's automatic ones elsewhere.

    Parameters
    ----------
    design : Design
    rows : pandas.DataFrame
        The rows used.
    namespace : mapping
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
    from bambi.priors.scaler import PriorScaler

    check_prior_names(design, priors)
    common = {
        key: value for key, value in priors.items() if key in {t.name for t in design.terms} | {"common", "sigma"}
    }
    for key, value in priors.items():
        if not _is_prior(value):
            raise PriorError(f"The prior of {key!r} must be a bambi.Prior, not {type(value).__name__}.")
        if value.dist is not None:
            raise PriorError(f"The prior of {key!r} is a custom function; name a PyMC distribution instead.")
        if key in common and any(_is_prior(argument) for argument in value.args.values()):
            raise PriorError(f"The prior of {key!r} has a prior inside; a fixed effect needs numbers as parameters.")
    fixed = _make_bambi(_fixed_formula(design), rows, common, namespace, True)
    component = fixed.parameters["mu"]
    coefficients: list[Prior] = []
    for term in design.terms:
        coefficients += _spread(term.name, component.terms[term.name].prior, len(term.labels))
    sigma = _spread(names.SIGMA, fixed.parameters["sigma"].prior, 1, positive=True)[0]

    factor = design.factor.name
    sds: list[Prior] = []
    etas: list[float] = []
    slopes = {term.name for block in design.blocks for term in block.terms}
    scaler = PriorScaler(fixed)
    scaler.priors = {name: value for name, value in fixed.scaler.priors.items() if name in slopes}
    for number, block in enumerate(design.blocks):
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
        lkj = priors.get(names.corr(factor, number))
        if lkj is not None and (lkj.name not in {"LKJ", "LKJCorr"} or set(lkj.args) != {"eta"}):
            raise PriorError(
                f'The prior of {names.corr(factor, number)!r} must be bambi.Prior("LKJ", eta=…), not {lkj}.'
            )
        try:
            eta = 1.0 if lkj is None else float(lkj.args["eta"])
        except (TypeError, ValueError):
            eta = np.nan
        if not 0.0 < eta < np.inf:
            raise PriorError(
                f"The eta of {names.corr(factor, number)!r} must be a positive number, as in LKJ(eta=2)."
            )
        etas.append(eta)
    return Priors(tuple(coefficients), centered and design.intercept is not None, tuple(sds), sigma, tuple(etas))


def _fixed_formula(design: Design) -> str:
    """The formula without random effects."""
    terms = [_quoted(term.name) for term in design.terms if term.name != names.INTERCEPT]
    start = "1" if design.intercept is not None else "0"
    return f"{_quoted(design.response)} ~ {' + '.join([start, *terms])}"


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
            f"The prior of {name!r}, {prior}, allows negative numbers; a standard deviation needs one such as "
            "HalfNormal."
        )


def _hyperprior(name: str, prior: Any, width: int) -> list[Prior]:
    """Prior of the standard deviation out of a Bambi group-specific prior."""
    sigma = prior.args.get("sigma")
    mu = prior.args.get("mu", 0.0)
    if prior.name != "Normal" or not _is_prior(sigma):
        raise PriorError(
            f"The prior of {name!r} must be Normal with a prior for its sigma, such as "
            f'bambi.Prior("Normal", mu=0, sigma=bambi.Prior("HalfNormal", sigma=1)), not {prior}.'
        )
    if _is_prior(mu) or np.any(np.asarray(mu) != 0):
        raise PriorError(
            f"The prior of {name!r} has a mean other than 0; random effects are deviations from the fixed effects, "
            "so put the mean into the prior of the fixed effect."
        )
    return _spread(f"{name}_sigma", sigma, width, positive=True)


def bambi_model(
    design: Design, formula: Formula, rows: pd.DataFrame, namespace: Mapping[str, Any], priors: Priors
) -> Any:
    """The `bambi.Model` of a design, with the resolved priors.

    Bambi itself has no correlated random effects: its own graph treats ``(x | g)`` as uncorrelated.
    It is here for prediction and interpretation from a posterior that hierbayes has sampled.
    """
    import bambi as bmb

    def joined(parts: list[Prior]) -> Any:
        keys = parts[0].args
        same = all(part.name == parts[0].name for part in parts)
        if not same:
            raise PriorError("Bambi needs one family of priors for all columns of a term.")
        return bmb.Prior(parts[0].name, **{key: np.squeeze([part.args[key] for part in parts]) for key in keys})

    resolved: dict[str, Any] = {names.SIGMA: joined([priors.sigma])}
    at = 0
    for term in design.terms:
        resolved[term.name] = joined(list(priors.coefficients[at : at + len(term.labels)]))
        at += len(term.labels)
    at = 0
    for block in design.blocks:
        for term in block.terms:
            sd = joined(list(priors.sds[at : at + len(term.labels)]))
            resolved[names.effect(term.name, block.factor.name)] = bmb.Prior("Normal", mu=0, sigma=sd)
            at += len(term.labels)
    return _make_bambi(formula.bambi, rows, resolved, namespace, priors.centered)


def _make_bambi(text: str, rows: pd.DataFrame, priors: dict, namespace: Mapping[str, Any], centered: bool) -> Any:
    import bambi as bmb

    with warnings.catch_warnings():
        # Bambi 0.21 selects text columns in a way that pandas 3 announces to change; the answer is the same.
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        return bmb.Model(
            text,
            rows,
            priors=priors,
            center_predictors=centered,
            extra_namespace=dict(namespace),
            dropna=False,
        )


def _is_prior(value: Any) -> bool:
    import bambi as bmb

    return isinstance(value, bmb.Prior)
