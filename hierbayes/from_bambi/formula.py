"""The formula: read by formulae, with lme4's random effects, and the rows of the data that it uses."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from formulae.model_description import model_description
from formulae.parser import Parser
from formulae.scanner import Scanner
from formulae.terms.variable import Variable

from hierbayes.bars import find_bars, plain_bar
from hierbayes.errors import DataError, FormulaError, suggest
from hierbayes.from_bambi.centring import Between, Within

WRAPPERS = ("censored", "truncated", "constrained", "weighted")
"""Functions of Bambi around a response that say how it was observed."""
FUNCTIONS = {
    "np": np,
    "pd": pd,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "exp": np.exp,
    "abs": np.abs,
    "within": Within,
    "between": Between,
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

    @property
    def left(self) -> str:
        """The response as written."""
        return self.bambi.split("~", 1)[0].strip()

    @property
    def right_names(self) -> set[str]:
        """Columns, and values of the caller's, that the right side mentions."""
        terms = [*self.description.common_terms, *self.description.group_terms]
        return {str(name).strip("`") for term in terms for name in term.var_names}

    @property
    def wrapper(self) -> str:
        """The function of Bambi around the response that says how it was observed, or ``"plain"``."""
        found = re.match(r"(\w+)\(", self.left)
        return found[1] if found and found[1] in WRAPPERS else "plain"


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
    description = describe(plain, text)
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
        for term in describe(plain_bar(text[start:end]), text).group_terms:
            by_factor.setdefault(term.factor.name, []).append(term)
        if not by_factor:
            raise FormulaError(f"The random effect {text[start:end]} of the formula {text!r} is empty.")
        blocks += [(not double, terms) for terms in by_factor.values()]
    if {term.name for _, terms in blocks for term in terms} != {term.name for term in description.group_terms}:
        raise FormulaError(
            f"The formula {text!r} does not parse: random effects can only be added, with a plus sign."
        )
    return Formula(text, plain, description, blocks)


def describe(text: str, shown: str) -> Any:
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


def names_used(formula: Formula, namespace: Mapping[str, Any], columns: Collection[Any] = ()) -> dict[str, Any]:
    """The functions and values of the caller that a formula mentions; a column of the data goes before a value."""
    words = set(re.findall(r"[^\W\d]\w*", formula.text))
    called = set(re.findall(r"([^\W\d]\w*)\s*[(.]", formula.text))
    own = {word: namespace[word] for word in words - (set(columns) - called) if word in namespace}
    # a variable of the caller's that happens to be called as a function is called cannot be meant
    return {**FUNCTIONS, **{w: v for w, v in own.items() if callable(v) or w not in {*FUNCTIONS} & called}}


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
