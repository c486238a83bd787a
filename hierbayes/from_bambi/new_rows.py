"""Rows that were not fitted: the columns that a formula makes of them, coded as in the fit.

Transformations keep what they learned from the rows fitted (the mean of ``scale(x)``, the knots of ``bs(x)``), and
categories their coding. formulae's matrices of the fit are not kept, which would double the memory of a model: the
formula is evaluated on the rows fitted once more when new rows are first asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.terms.terms import Intercept
from formulae.terms.variable import Variable

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import DataError, suggest
from hierbayes.from_bambi.centring import Between, Within
from hierbayes.from_bambi.columns import blocks_of, evaluate_fixed, evaluate_slope, fixed_terms, precision
from hierbayes.from_bambi.families import transformations
from hierbayes.from_bambi.formula import Formula
from hierbayes.from_bambi.labels import WHOLE, kind_of, labels_as_fitted

CENTRED = (Within.name, Between.name)
"""Functions of which only the first argument is a number; the others are labels of groups."""


@dataclass(frozen=True, eq=False)
class NewRows:
    """What a design has of its rows, for others. Arrays have the k complete rows only.

    Parameters
    ----------
    index : pandas.Index
        Of all n rows.
    complete : (n,) bool array
        Rows without missing values in any column that is needed.
    incomplete : tuple of str
        Columns with missing values.
    X : (k, p) array
    offset : (k,) array or None
    Z : tuple of (k, q) array
        One a block of the design.
    labels : dict of str to (k,) array
        Level of each row, one entry a grouping factor that was asked for.
    codes : dict of str to (k,) int array
        Its place among the levels fitted, -1 for another one.
    weights : (k,) array or None
        Precision weights, where the model has them and they were asked for.
    trials : (k,) array or None
        Trials of a binomial response or total of a multinomial one, if they were asked for.
    """

    index: pd.Index
    complete: np.ndarray
    incomplete: tuple[str, ...]
    X: np.ndarray
    offset: np.ndarray | None
    Z: tuple[np.ndarray, ...]
    labels: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    weights: np.ndarray | None
    trials: np.ndarray | None


class NewRowsReader:
    """Evaluates the formula of a model on other rows.

    Parameters
    ----------
    formula : Formula
    design : Design
    data : pandas.DataFrame
        The rows fitted.
    namespace : mapping
    weights, se : str or None
        Columns of the data.
    """

    def __init__(
        self,
        formula: Formula,
        design: Design,
        data: pd.DataFrame,
        namespace: Mapping[str, Any],
        weights: str | None,
        se: str | None,
    ) -> None:
        self._design = design
        self._weights, self._se = weights, se
        self._dtypes = data.dtypes
        self._environment = Environment([{**transformations(design.family), **namespace}])
        matrices = evaluate_fixed(formula, data, self._environment, design.family)
        self._fixed = fixed_terms(matrices, design.family)
        self._random = []
        for _, terms in blocks_of(formula):
            own = any(isinstance(term.expr, Intercept) for term in terms)
            self._random.append([evaluate_slope(term, own, data, self._environment, formula) for term in terms])
        factors = [term.factor for _, terms in blocks_of(formula) for term in terms]
        self._grouping = {factor.name: [component.name for component in factor.components] for factor in factors}
        self._text = {
            name: set(data[name].astype(object).map(str))
            for of_factor in self._grouping.values()
            for name in of_factor
            if pd.api.types.is_string_dtype(kind_of(data[name].dtype))
        }
        self._response = formula.description.response.term.components[0]
        self.labels_only = self._columns((), True).keys() - self._values()
        for term in [*self._fixed, *(e for of_block in self._random for e in of_block)]:
            _forget(term)

    def read(self, newdata: pd.DataFrame, factors: Collection[str], response: bool) -> NewRows:
        """Evaluate new rows.

        Parameters
        ----------
        newdata : pandas.DataFrame
        factors : collection of str
            Grouping factors whose levels are wanted.
        response : bool
            Whether what goes with a new response is wanted: weights, standard errors, trials.

        Returns
        -------
        NewRows

        Raises
        ------
        DataError
            For a missing column, a category of a fixed effect that was not fitted, or a value that is not finite.
        """
        if not isinstance(newdata, pd.DataFrame):
            raise DataError(f"newdata must be a pandas DataFrame, not {type(newdata).__name__}.")
        if not len(newdata):
            raise DataError("newdata has no rows; pass a data frame with the rows to predict.")
        wanted = self._columns(factors, response)
        arrays = [name for name in wanted if name in names.ARRAYS and name not in newdata.columns]
        if arrays:
            raise DataError(
                f"{names.ARRAYS[arrays[0]]}= was given as an array; add it to newdata as a column named "
                f"{arrays[0]!r}."
            )
        for column, purpose in wanted.items():
            count = list(newdata.columns).count(column)
            if count != 1:
                remedy = suggest(column, map(str, newdata.columns)) if count == 0 else "Keep one of them."
                raise DataError(
                    f"newdata has {'no' if count == 0 else count} column{'s' * (count > 1)} {column!r}, which "
                    f"{purpose} needs. {remedy}"
                )
        rows = newdata[list(wanted)]
        missing = rows.isna()
        complete = ~missing.any(axis=1).to_numpy()
        incomplete = tuple(column for column in wanted if missing[column].any())
        rows = rows[complete]
        labels = rows.index
        rows = rows.reset_index(drop=True)
        groups = {name: self._joined(rows, self._grouping[name]) for name in factors}
        for column in self._columns((), response):
            if column not in self.labels_only:
                rows[column] = self._as_fitted(rows[column], labels)
        columns: list[np.ndarray] = [np.zeros((len(rows), 0))]
        offsets: list[np.ndarray] = []
        for term in self._fixed:
            values = self._evaluate(term, rows, labels)
            (offsets if term.kind == "offset" else columns).append(values)
        Z = tuple(
            np.concatenate([self._evaluate(e, rows, labels) for e in of_block], axis=1) for of_block in self._random
        )
        fitted = {f.name: pd.Index(f.levels.astype(str).astype(object)) for f in self._design.factors}
        weighted = response and (self._weights or self._se)
        return NewRows(
            index=newdata.index,
            complete=complete,
            incomplete=incomplete,
            X=np.concatenate(columns, axis=1),
            offset=np.sum(offsets, axis=0)[:, 0] if offsets else None,
            Z=Z,
            labels=groups,
            codes={name: fitted[name].get_indexer(values) for name, values in groups.items()},
            weights=precision(rows, self._weights, self._se) if weighted else None,
            trials=self._trials(rows) if response else None,
        )

    def _columns(self, factors: Collection[str], response: bool) -> dict[str, str]:
        """Columns that are needed, with what needs them."""
        needed = {}
        expressions = [*self._fixed, *(e for of_block in self._random for e in of_block)]
        for term in expressions:
            for name in () if isinstance(term, Intercept) else term.var_names:
                needed[str(name).strip("`")] = f"the term {term.name!r}"
        for factor in factors:
            needed |= dict.fromkeys(self._grouping[factor], f"the grouping factor {factor!r}")
        if response:
            needed |= {name: f"{kind}=" for kind, name in (("weights", self._weights), ("se", self._se)) if name}
            needed |= dict.fromkeys(self._response_columns, "a new response")
        return {name: purpose for name, purpose in needed.items() if name in self._dtypes.index}

    def _values(self) -> set[str]:
        """Columns that are more than the groups of ``within(x, g)`` and ``between(x, g)``."""
        terms = [*self._fixed, *(e for of_block in self._random for e in of_block)]
        parts = [part for term in terms if not isinstance(term, Intercept) for part in term.components]
        used = {
            name for part in parts for name in (_names(part.call, True) if hasattr(part, "call") else [part.name])
        }
        return {name.strip("`") for name in used} | {*self._response_columns, self._weights or "", self._se or ""}

    @property
    def _response_columns(self) -> list[str]:
        """Columns of the left side that say what a new response is a number of."""
        family = self._design.family
        if family.with_trials:
            return sorted(_names(self._response.call.args[1]))
        return sorted(self._response.var_names) if family.multinomial else []

    def _trials(self, rows: pd.DataFrame) -> np.ndarray | None:
        family = self._design.family
        if family.with_trials:
            found = self._response.call.args[1].eval(rows, self._environment)
        elif family.multinomial:
            found = np.sum([np.asarray(rows[name], dtype=float) for name in self._response_columns], axis=0)
        else:
            return None
        trials = np.broadcast_to(np.asarray(found, dtype=float), (len(rows),))
        if not (np.isfinite(trials) & (trials >= 0) & (trials == np.floor(trials))).all():
            raise DataError(
                f"The number of trials of {self._response.name} in newdata must be a whole number of 0 or more."
            )
        return trials

    def _as_fitted(self, column: pd.Series, labels: pd.Index) -> pd.Series:
        """A column with the kind of values that it had in the fit."""
        dtype = self._dtypes[column.name]
        numeric = pd.api.types.is_numeric_dtype
        if isinstance(column.dtype, pd.CategoricalDtype) and not isinstance(dtype, pd.CategoricalDtype):
            column = column.astype(column.dtype.categories.dtype)
        if numeric(dtype):
            column = column.infer_objects()
            if not numeric(column.dtype):
                raise DataError(f"Column {column.name!r} of newdata has values that are not numbers, as in the fit.")
            values = column.to_numpy(dtype=float)
            if not np.isfinite(values).all():
                at = labels[np.flatnonzero(~np.isfinite(values))[0]]
                raise DataError(f"Column {column.name!r} of newdata has an infinite value in row {at!r}.")
            whole = (values == np.floor(values)).all() and (np.abs(values) < WHOLE).all()
            if pd.api.types.is_integer_dtype(dtype) and whole:
                return column.astype(np.int64)  # never as narrow as the fit may have been
        return column

    def _joined(self, rows: pd.DataFrame, columns: list[str]) -> np.ndarray:
        """Labels of the levels of a grouping factor, as `hierbayes.groups.group_codes` makes them."""
        parts = [labels_as_fitted(rows[name], self._dtypes[name], self._text.get(name, set())) for name in columns]
        return np.array([":".join(each) for each in zip(*parts, strict=True)], dtype=object)

    def _evaluate(self, term: Any, rows: pd.DataFrame, labels: pd.Index) -> np.ndarray:
        """Columns (k, width) of a term."""
        if isinstance(term, Intercept):
            return np.ones((len(rows), 1))
        for component in term.components:
            if isinstance(component, Variable) and component.kind == "categoric":
                unseen = sorted(set(rows[component.name]) - set(component.levels), key=str)
                if unseen:
                    raise DataError(
                        f"Column {component.name!r} of newdata has {unseen[0]!r}, which is none of the categories "
                        f"fitted: {', '.join(map(str, component.levels))}."
                    )
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.asarray(term.eval_new_data(rows), dtype=float)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise DataError(f"The term {term.name!r} cannot be evaluated on newdata: {reason}.") from error
        values = np.broadcast_to(values, (len(rows),)) if values.ndim == 0 else values
        values = values.reshape(len(rows), -1) if len(rows) else np.zeros((0, len(term.labels)))
        if not np.isfinite(values).all():
            at = labels[np.argwhere(~np.isfinite(values))[0, 0]]
            raise DataError(
                f"The term {term.name!r} is not finite in row {at!r} of newdata; check its columns there."
            )
        return values


def _names(expression: Any, values: bool = False) -> set[str]:
    """Columns and values that an argument of a function of a formula uses; if `values`, no groups to centre by."""
    if hasattr(expression, "name"):
        return {str(expression.name)}
    parts = [*getattr(expression, "args", ()), *getattr(expression, "kwargs", {}).values()]
    if values and getattr(expression, "callee", None) in CENTRED:
        parts = parts[:1]
    return {name for part in parts for name in _names(part, values)}


def _forget(term: Any) -> None:
    """Let go of the values of the rows fitted; what transformations learned from them stays."""
    if isinstance(term, Intercept):
        return
    width = term.labels  # asked for while there are values
    for component in term.components:
        if component.kind != "offset" and component.value is not None:
            component.value = component.value[:0]
            component._intermediate_data = None
    if term.kind != "offset":
        term.data = None
    assert term.labels == width
