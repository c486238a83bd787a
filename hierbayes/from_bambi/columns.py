"""The design of a formula on a data frame: response, columns of fixed and random effects, codes of groups."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.matrices import DesignMatrices
from formulae.terms.terms import Intercept
from formulae.terms.variable import Variable

from hierbayes import names, series
from hierbayes.design import Block, Component, Design, Factor, Term
from hierbayes.errors import DataError, FormulaError
from hierbayes.family import GAUSSIAN, Family
from hierbayes.forest import nested
from hierbayes.from_bambi.families import Response, order_categories, read_response, transformations
from hierbayes.from_bambi.formula import Formula, describe, select_rows
from hierbayes.groups import group_codes


def read_design(
    formula: Formula,
    data: pd.DataFrame,
    namespace: Mapping[str, Any],
    dropna: bool = True,
    weights: str | None = None,
    se: str | None = None,
    residual: str | None = None,
    family: Family = GAUSSIAN,
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
    family : Family, default GAUSSIAN

    Returns
    -------
    rows : pandas.DataFrame
        The columns and rows used.
    design : Design

    Raises
    ------
    FormulaError
        For terms that a mixed model of hierbayes does not have.
    DataError
        For data that cannot be used; the message names the column.
    """
    others = {column: name for name, column in (("weights=", weights), ("se=", se)) if column is not None}
    structure = None if residual is None else series.parse(residual)
    if structure is not None:
        others |= dict.fromkeys(structure.columns, f"residual={residual!r}")
    rows, incomplete = select_rows(formula, data, namespace, dropna, others)
    labels = rows.index.to_numpy()
    rows = order_categories(rows.reset_index(drop=True), formula.description)
    environment = Environment([{**transformations(family), **namespace}])
    blocks = blocks_of(formula)
    matrices = evaluate_fixed(formula, rows, environment, family)
    if family.exact:
        response = Response(_response(matrices.response))
    else:
        response = read_response(formula.left, matrices.response, rows, family, namespace)
    terms, columns, offsets = [], [], []
    for term in fixed_terms(matrices, family):
        if term.kind == "offset":
            offsets.append(np.broadcast_to(np.asarray(term.data, dtype=float).reshape(-1), (len(rows),)))
            _check_finite(offsets[-1][:, None], [term.name])
            continue
        term_, X_ = _columns(term)
        terms.append(term_)
        columns.append(X_)
    X = np.concatenate(columns, axis=1) if columns else np.zeros((len(rows), 0))
    _check_finite(X, [label for term in terms for label in term.labels])
    with_sd = se is None and family.name in {"gaussian", "t"}
    design = Design(
        formula=formula.text,
        response=matrices.response.name,
        y=response.y,
        X=X,
        terms=tuple(terms),
        blocks=_random_effects(blocks, rows, environment, formula, with_sd),
        n_dropped=len(data) - len(rows),
        dropped_columns=incomplete,
        offset=np.sum(offsets, axis=0) if offsets else None,
        weights=precision(rows, weights, se),
        sigma=None if se is None else 1.0,
        residual=None if structure is None else structure.read(rows),
        row_labels=labels,
        family=family,
        trials=response.trials,
        categories=response.categories,
        outcomes=response.outcomes,
        event=response.event,
    )
    if design.residual is not None:
        series.check(design)
    return rows, design


def evaluate_fixed(formula: Formula, rows: pd.DataFrame, environment: Environment, family: Family) -> DesignMatrices:
    """What formulae makes of the response and the fixed effects."""
    fixed = describe(f"{formula.bambi} + 1" if family.ordinal else formula.bambi, formula.text)
    fixed.group_terms = []
    # a of a/x is one object in both of its terms, and would take its coding, and its labels, from the second
    fixed.common_terms = [copy.deepcopy(term) for term in fixed.common_terms]
    with _speaking_of(formula):
        return DesignMatrices(fixed, rows, environment)


def fixed_terms(matrices: DesignMatrices, family: Family) -> list[Any]:
    """The terms of the fixed effects, offsets among them, in order."""
    terms = [] if matrices.common is None else list(matrices.common.terms.values())
    # the intercept of an ordinal model was there for the coding of categories; thresholds take its place
    return [term for term in terms if not (family.ordinal and isinstance(term, Intercept))]


def precision(rows: pd.DataFrame, weights: str | None, se: str | None) -> np.ndarray | None:
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
    if response.kind == "proportion":
        raise DataError(f"The response {response.name}: successes and trials need family='binomial'.")
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


def blocks_of(formula: Formula) -> list[tuple[bool, list[Any]]]:
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
    with_sd: bool,
) -> tuple[Block, ...]:
    factors: dict[str, Factor] = {}
    for _, terms in blocks:
        if terms[0].factor.name not in factors:
            factors[terms[0].factor.name] = _factor(terms[0].factor, rows, formula, with_sd)
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
            made_term, values = _columns(evaluate_slope(term, own_intercept, rows, environment, formula))
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


def evaluate_slope(
    term: Any, own_intercept: bool, rows: pd.DataFrame, environment: Environment, formula: Formula
) -> Any:
    """What formulae makes of an effect; a copy, so that the formula itself keeps no rows and no functions."""
    expression = copy.deepcopy(term.expr)
    if not isinstance(expression, Intercept):
        with _speaking_of(formula):
            expression.set_type(rows, environment)
            expression.set_data(not own_intercept)
    return expression


def _check_distinct(factors: list[Factor]) -> None:
    """Refuse two random intercepts for the same groups."""
    for k, b in enumerate(factors):
        for a in factors[:k]:
            if len(a.levels) == len(b.levels) and nested(a.codes, b.codes):
                raise DataError(
                    f"The grouping factors {a.name!r} and {b.name!r} make the same groups, so their intercepts "
                    "cannot be told apart; take one of them out."
                )


def _factor(term: Any, rows: pd.DataFrame, formula: Formula, with_sd: bool = True) -> Factor:
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
    if len(labels) >= len(rows) and with_sd:
        raise DataError(
            f"The grouping factor {term.name!r} has as many levels as there are rows ({len(rows)}), "
            "so its effects cannot be told from the residuals; group the rows more coarsely."
        )
    return Factor(term.name, codes, labels)
