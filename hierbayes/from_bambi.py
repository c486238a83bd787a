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
import copy
import inspect
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
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

from hierbayes import names, series
from hierbayes.bars import find_bars, plain_bar
from hierbayes.design import Block, Component, Design, Factor, Term
from hierbayes.errors import DataError, FormulaError, PriorError, suggest
from hierbayes.forest import nested
from hierbayes.groups import group_codes
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


def parse(text: str, random: bool = True) -> Formula:
    """Read a formula with lme4's random-effect syntax.

    Parameters
    ----------
    text : str
    random : bool, default True
        Whether there must be a random effect.

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
    bars = find_bars(text)
    plain = text
    for start, end, _ in reversed(bars):
        plain = plain[:start] + plain_bar(plain[start:end]) + plain[end:]
    description = _describe(plain, text)
    if description.response is None:
        raise FormulaError(
            f'The formula {text!r} has no response; write it as "response ~ predictors + (1 | group)".'
        )
    if not bars and random:
        raise FormulaError(
            f"The formula {text!r} has no random effect; add one, such as (1 | group), or use ordinary regression."
        )
    blocks: list[tuple[bool, list[Any]]] = []
    for start, end, double in bars:
        by_factor: dict[str, list[Any]] = {}
        for term in _describe(plain_bar(text[start:end]), text).group_terms:
            by_factor.setdefault(term.factor.name, []).append(term)
        if not by_factor:
            raise FormulaError(f"The random effect {text[start:end]} of the formula {text!r} is empty.")
        blocks += [(not double, terms) for terms in by_factor.values()]
    if {term.name for _, terms in blocks for term in terms} != {term.name for term in description.group_terms}:
        raise FormulaError(
            f"The formula {text!r} does not parse: random effects can only be added, with a plus sign."
        )
    return Formula(text, plain, description, blocks)


def _describe(text: str, shown: str) -> Any:
    """What formulae makes of a text."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            rest = _unread(text)
            if rest is not None:
                raise FormulaError(f"The formula {shown!r} does not parse: it cannot be read from {rest!r} on.")
            return model_description(text)
    except FormulaError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise FormulaError(
            f"The formula {shown!r} does not parse" + (f": {reason[0].rstrip('.')}." if reason else ".")
        ) from error


@lru_cache(maxsize=256)
def _unread(text: str) -> str | None:
    """Where formulae stops reading, because it cannot place what follows; it would forget the rest of the text."""
    parser = Parser(Scanner(text).scan())
    parser.parse()
    return None if parser.at_end() else str(parser.peek().lexeme)


def names_used(formula: Formula, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The functions and values of the caller that a formula mentions."""
    words = set(re.findall(r"[^\W\d]\w*", formula.text))
    return {**FUNCTIONS, **{word: namespace[word] for word in words if word in namespace}}


def select_rows(
    formula: Formula,
    data: pd.DataFrame,
    namespace: Mapping[str, Any],
    dropna: bool,
    others: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Keep the columns that the model uses and the rows that are complete.

    Parameters
    ----------
    formula : Formula
    data : pandas.DataFrame
    namespace : mapping
        Values of the caller.
    dropna : bool
        Whether incomplete rows may be left out.
    others : mapping of str to str, optional
        Columns that other arguments use, with the name of the argument.

    Returns
    -------
    rows : pandas.DataFrame
        With the index of the data.
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
    for name, argument in (others or {}).items():
        if name not in data.columns:
            raise DataError(
                f"{argument} uses {name!r}, which is not a column of the data. {suggest(name, data.columns)}"
            )
        used.append(name)
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
    return rows.assign(**used_only), incomplete


def _plain_variables(formula: Formula) -> set[str]:
    """Names that stand for themselves, not as the argument of a function."""
    description = formula.description
    terms = [description.response.term, *description.common_terms]
    for term in description.group_terms:
        terms += [term.expr, term.factor]
    components = [component for term in terms for component in getattr(term, "components", ())]
    return {str(component.name).strip("`") for component in components if isinstance(component, Variable)}


def read_design(
    formula: Formula,
    data: pd.DataFrame,
    namespace: Mapping[str, Any],
    dropna: bool = True,
    weights: str | None = None,
    se: str | None = None,
    residual: str | None = None,
) -> tuple[pd.DataFrame, Design]:
    """Evaluate a formula on a data frame.

    Parameters
    ----------
    formula : Formula
    data : pandas.DataFrame
    namespace : mapping
        Values of the caller that the formula may use.
    dropna : bool, default True
    weights, se : str, optional
        Columns of precision weights, or of standard errors of the rows.
    residual : str, optional
        Residual correlation, such as ``"ar1(time | g)"``.

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
    others = {column: name for name, column in (("weights=", weights), ("se=", se)) if column is not None}
    structure = None if residual is None else series.parse(residual)
    if structure is not None:
        others |= dict.fromkeys(structure.columns, f"residual={residual!r}")
    rows, incomplete = select_rows(formula, data, namespace, dropna, others)
    labels = rows.index.to_numpy()
    rows = rows.reset_index(drop=True)
    environment = Environment([dict(namespace)])
    fixed = _describe(formula.bambi, formula.text)
    fixed.group_terms = []
    # a of a/x is one object in both of its terms, and would take its coding, and its labels, from the second
    fixed.common_terms = [copy.deepcopy(term) for term in fixed.common_terms]
    blocks = _blocks(formula)
    with _speaking_of(formula):
        matrices = DesignMatrices(fixed, rows, environment)
    y = _response(matrices.response)
    terms, columns, offsets = [], [], []
    for term in matrices.common.terms.values() if matrices.common is not None else []:
        if term.kind == "offset":
            offsets.append(np.broadcast_to(np.asarray(term.data, dtype=float).reshape(-1), (len(y),)))
            _check_finite(offsets[-1][:, None], [term.name])
            continue
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
        blocks=_random_effects(blocks, rows, environment, formula, se is not None),
        n_dropped=len(data) - len(rows),
        dropped_columns=incomplete,
        offset=np.sum(offsets, axis=0) if offsets else None,
        weights=_precision(rows, weights, se),
        sigma=None if se is None else 1.0,
        residual=None if structure is None else structure.read(rows),
        row_labels=labels,
    )
    if design.residual is not None:
        series.check(design)
    return rows, design


def _precision(rows: pd.DataFrame, weights: str | None, se: str | None) -> np.ndarray | None:
    """Precision weights of the rows, from weights or from standard errors."""
    for column, what in ((weights, "weight"), (se, "standard error")):
        if column is not None:
            values = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float)
            bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if bad.size:
                raise DataError(
                    f"Column {column!r} is {rows[column].iloc[bad[0]]} in row {bad[0]} (counting from 0) of the rows "
                    f"used; a {what} must be a positive number."
                )
            return values if what == "weight" else values**-2.0
    return None


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
    components = () if isinstance(term, Intercept) else tuple(map(_component, term.components))
    return Term(term.name, tuple(term.labels), levels, components), values


def _component(component: Any) -> Component:
    """A variable of a term, with the coding of its categories."""
    coding = np.array(component.contrast_matrix.matrix, dtype=float) if component.kind == "categoric" else None
    return Component(component.name, tuple(component.labels), coding)


def _check_finite(columns: np.ndarray, labels: list[str]) -> None:
    bad = ~np.isfinite(columns)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{labels[column]!r} is not finite in row {row} (counting from 0) of the rows used; "
            "check the transformation or the data."
        )


def _blocks(formula: Formula) -> list[tuple[bool, list[Any]]]:
    """Blocks of the formula, those of one grouping factor together."""
    seen: list[str] = []
    for _, terms in formula.blocks:
        for term in terms:
            if term.name in seen:
                raise FormulaError(
                    f"The random effect {term.name} appears twice in the formula {formula.text!r}; write it once."
                )
            seen.append(term.name)
    factors = list(dict.fromkeys(terms[0].factor.name for _, terms in formula.blocks))
    return sorted(formula.blocks, key=lambda block: factors.index(block[1][0].factor.name))


def _random_effects(
    blocks: list[tuple[bool, list[Any]]],
    rows: pd.DataFrame,
    environment: Environment,
    formula: Formula,
    known_errors: bool,
) -> tuple[Block, ...]:
    factors: dict[str, Factor] = {}
    for _, terms in blocks:
        if terms[0].factor.name not in factors:
            factors[terms[0].factor.name] = _factor(terms[0].factor, rows, formula, known_errors)
    with_intercept = [any(isinstance(term.expr, Intercept) for term in terms) for _, terms in blocks]
    _check_distinct(
        [factors[terms[0].factor.name] for (_, terms), yes in zip(blocks, with_intercept, strict=True) if yes]
    )
    shapes: dict[str, tuple[str, ...] | None] = {}
    made = []
    for (correlated, terms), own_intercept in zip(blocks, with_intercept, strict=True):
        factor = factors[terms[0].factor.name]
        elsewhere = any(
            yes
            for (_, others), yes in zip(blocks, with_intercept, strict=True)
            if others[0].factor.name == factor.name
        )
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
            if made_term.levels is not None and not own_intercept and elsewhere:
                raise FormulaError(
                    f"The categorical slope {term.name} stands apart from the intercept of {factor.name!r}; "
                    f"write them in one pair of parentheses: ({made_term.name} | {factor.name})."
                )
            if shapes.setdefault(made_term.name, made_term.levels) != made_term.levels:
                raise FormulaError(
                    f"The categorical slope {made_term.name} has other columns for {factor.name!r} than for another "
                    f"factor; give both an intercept, as in ({made_term.name} | {factor.name})."
                )
            block_terms.append(made_term)
            columns.append(values)
        Z = np.concatenate(columns, axis=1)
        labels = [label for term in block_terms for label in term.labels]
        _check_finite(Z, labels)
        made.append(Block(factor, tuple(block_terms), Z, correlated))
    return tuple(made)


def _check_distinct(factors: list[Factor]) -> None:
    """Refuse two random intercepts for the same groups."""
    for k, b in enumerate(factors):
        for a in factors[:k]:
            if len(a.levels) == len(b.levels) and nested(a.codes, b.codes):
                raise DataError(
                    f"The grouping factors {a.name!r} and {b.name!r} make the same groups, so their intercepts "
                    "cannot be told apart; take one of them out."
                )


def _factor(term: Any, rows: pd.DataFrame, formula: Formula, known_errors: bool = False) -> Factor:
    """Integer codes of a grouping factor; levels in the order and with the names that Bambi gives them."""
    for component in term.components:
        if not isinstance(component, Variable):
            raise FormulaError(
                f"The grouping factor {term.name!r} of the formula {formula.text!r} is computed in the formula; "
                "make it a column of the data first."
            )
    codes, labels = group_codes(rows, [component.name for component in term.components])
    if len(labels) == 1:
        raise DataError(
            f"The grouping factor {term.name!r} has one level, {labels[0]!r}; "
            "its effect cannot be told from the intercept."
        )
    if len(labels) >= len(rows) and not known_errors:
        raise DataError(
            f"The grouping factor {term.name!r} has as many levels as there are rows ({len(rows)}), "
            "so its effects cannot be told from the residuals; group the rows more coarsely."
        )
    return Factor(term.name, codes, labels)


# --- priors -----------------------------------------------------------------------------------


def prior_names(design: Design) -> list[str]:
    """Every name that `priors=` may use for a design."""
    effects = [names.effect(term.name, block.factor.name) for block in design.blocks for term in block.terms]
    corrs = [names.corr(part.factor.name, part.number) for part in design.parts if part.free]
    residual = [names.SIGMA] if design.sigma is None else []
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
    response = _quoted(design.response)
    if design.offset is not None:  # automatic priors are for what the offset leaves
        response = "less_offset"
        rows = rows.assign(**{response: design.y - design.offset})
    fixed = _make_bambi(_fixed_formula(design, response), rows, common, namespace, True)
    component = fixed.parameters["mu"]
    coefficients: list[Prior] = []
    for term in design.terms:
        coefficients += _spread(term.name, component.terms[term.name].prior, len(term.labels))
    sigma = None
    if design.sigma is None:
        sigma = _spread(names.SIGMA, fixed.parameters["sigma"].prior, 1, positive=True)[0]

    sds: list[Prior] = []
    etas: list[float] = []
    scaler = PriorScaler(fixed)
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
    return Priors(tuple(coefficients), centered and design.intercept is not None, tuple(sds), sigma, tuple(etas), rho)


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


def _fixed_formula(design: Design, response: str) -> str:
    """The formula without random effects and offset."""
    terms = [_quoted(term.name) for term in design.terms if term.name != names.INTERCEPT]
    start = "1" if design.intercept is not None else "0"
    return f"{response} ~ {' + '.join([start, *terms])}"


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

    resolved: dict[str, Any] = {} if priors.sigma is None else {names.SIGMA: joined([priors.sigma])}
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
