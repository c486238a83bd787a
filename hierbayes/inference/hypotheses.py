"""Hypotheses on the fixed effects: weights of the user, and those of the terms of the formula.

The hypothesis of a term (type III of SAS, as lmerTest and pbkrtest test it) does not depend on how categories are
coded, nor on how many rows each has: the term's own variables are compared between their levels, all other
categorical variables are averaged over their levels with equal weights, and all other numeric variables are zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.design import Component, Design, Term
from hierbayes.errors import suggest

Contrasts = Any
"""A coefficient or a list of them; weights by coefficient (mapping, pandas.Series); several of those by name
(mapping, pandas.DataFrame); an array (p,) or (contrasts, p) in the order of the coefficients."""


def contrast_matrix(weights: Contrasts, labels: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Names and weights of contrasts.

    Parameters
    ----------
    weights : str, sequence, mapping, pandas.Series, pandas.DataFrame or array
        See `Contrasts`.
    labels : sequence of str
        The p coefficients.

    Returns
    -------
    names : list of str
    L : (contrasts, p) array

    Raises
    ------
    ValueError
        For an unknown coefficient, for an array of another width, for weights that are not finite or all zero.

    Examples
    --------
    >>> contrast_matrix({"b": 1, "c": -1}, ["a", "b", "c"])
    (['b - c'], array([[ 0.,  1., -1.]]))
    """
    rows = list(_rows(weights, list(labels)))
    if not rows:
        raise ValueError("There is no contrast to test: give weights of coefficients.")
    L = np.array([row for _, row in rows])
    names = [_text(row, labels) if name is None else name for name, row in rows]
    for name, row in zip(names, L, strict=True):
        if not np.isfinite(row).all() or not row.any():
            fault = "all zero" if np.isfinite(row).all() else "missing or infinite"
            raise ValueError(f"The weights of the contrast {name!r} are {fault}; give finite ones, not all zero.")
    return names, L


def _rows(weights: Contrasts, labels: list[str]) -> list[tuple[str | None, np.ndarray]]:
    """Name (None for the one that the weights suggest) and weights of every contrast."""
    if isinstance(weights, str):
        return [(None, _row({weights: 1.0}, labels))]
    if isinstance(weights, pd.DataFrame):
        return [(str(name), _row(row, labels)) for name, row in weights.iterrows()]
    if isinstance(weights, pd.Series):
        return [(None if weights.name is None else str(weights.name), _row(weights, labels))]
    if isinstance(weights, Mapping):
        if all(isinstance(value, Real) for value in weights.values()):
            return [(None, _row(weights, labels))] if weights else []
        return [(str(name), row) for name, value in weights.items() for _, row in _rows(value, labels)]
    if isinstance(weights, Sequence) and all(isinstance(value, str | Mapping | pd.Series) for value in weights):
        return [row for value in weights for row in _rows(value, labels)]
    try:
        array = np.atleast_2d(np.asarray(weights, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(
            "Contrasts are names of coefficients, weights by coefficient, or an array (contrasts, coefficients)."
        ) from None
    if array.ndim != 2 or array.shape[1] != len(labels):
        raise ValueError(
            f"Contrasts of shape {np.shape(weights)} do not fit the {len(labels)} fixed effects "
            f"{', '.join(map(repr, labels))}; give one weight for each, or name those you mean."
        )
    return [(None, row) for row in array]


def _row(weights: Mapping[str, float] | pd.Series, labels: list[str]) -> np.ndarray:
    row = np.zeros(len(labels))
    for label, weight in weights.items():
        if label not in labels:
            raise ValueError(f"There is no fixed effect {label!r}. {suggest(str(label), labels)}")
        row[labels.index(str(label))] = weight
    return row


def _text(row: np.ndarray, labels: Sequence[str]) -> str:
    """A contrast as a sum: ``"a - 0.5 b"``."""
    text = ""
    for label, weight in zip(labels, row, strict=True):
        if weight != 0.0:
            size = "" if abs(weight) == 1.0 else f"{abs(weight):.4g} "
            sign = "-" if weight < 0.0 else "+"
            text += f" {sign} {size}{label}" if text else f"{'-' if weight < 0.0 else ''}{size}{label}"
    return text


def term_hypotheses(design: Design) -> dict[str, np.ndarray]:
    """Contrasts of every term but the intercept; see the head of this file.

    Parameters
    ----------
    design : Design

    Returns
    -------
    dict of str to (contrasts, p) array
    """
    columns = [column for term in design.terms for column in _columns(term)]
    found = {}
    for term in design.terms:
        if term.components:
            rows = [
                [_weight(column, numeric, own) for column in columns]
                for own in _cells(term)
                for numeric in dict.fromkeys(numeric for numeric, _ in _columns(term))
            ]
            found[term.name] = np.array(rows)
    return found


Column = tuple[frozenset[str], dict[str, np.ndarray]]
"""The numeric variables whose product a column is, and for each categorical one what it puts at every level."""


def _columns(term: Term) -> list[Column]:
    made: list[Column] = []
    for places in product(*(range(len(component.labels)) for component in term.components)):
        chosen = list(zip(term.components, places, strict=True))
        numeric = frozenset(component.labels[k] for component, k in chosen if component.coding is None)
        made.append((numeric, {c.name: c.coding[:, k] for c, k in chosen if c.coding is not None}))
    return made


def _cells(term: Term) -> list[dict[str, np.ndarray]]:
    """What is compared between levels: for each variable of the term, weights of its levels."""
    names = [component.name for component in term.components if component.coding is not None]
    weights = [_comparisons(component) for component in term.components if component.coding is not None]
    return [dict(zip(names, rows, strict=True)) for rows in product(*weights)]


def _comparisons(component: Component) -> np.ndarray:
    """(comparisons, levels): each level with the first one, or on its own if the columns can tell it."""
    assert component.coding is not None
    levels, width = component.coding.shape
    return np.eye(levels) if width == levels else np.eye(levels)[1:] - np.eye(levels)[0]


def _weight(column: Column, numeric: frozenset[str], own: dict[str, np.ndarray]) -> float:
    """Weight of a column in one comparison of a term."""
    parts, coding = column
    if parts != numeric:
        return 0.0
    weight = 1.0
    for name, comparison in own.items():
        weight *= float(comparison @ coding[name] if name in coding else comparison.sum())
    for name, values in coding.items():
        if name not in own:
            weight *= float(values.mean())
    return weight
