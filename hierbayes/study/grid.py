"""The rows of a planned study: who is measured how often, and with which values of the predictors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError, suggest

Source = Any
"""Where the values of a predictor come from: a frozen distribution of scipy.stats, ``f(rng, n)``, or values."""


def drawn(source: Source) -> bool:
    """Whether a predictor (or a parameter) is drawn anew in every study."""
    return hasattr(source, "rvs") or hasattr(source, "sample") or callable(source)


def draw(source: Source, rng: np.random.Generator, n: int, name: str) -> np.ndarray:
    """Draw n values.

    Raises
    ------
    DataError
        If a function gives another number of values.
    """
    if hasattr(source, "rvs"):
        return np.asarray(source.rvs(size=n, random_state=rng))
    if hasattr(source, "sample"):
        return np.asarray(source.sample(n, rng=rng))
    values = np.asarray(source(rng, n))
    if values.shape != (n,):
        raise DataError(f"The function for {name!r} was asked for {n} values and gave an array of {values.shape}.")
    return values


@dataclass(frozen=True)
class Grid:
    """Every combination of the levels of the grouping columns, each measured some times.

    Parameters
    ----------
    groups : mapping of str to int
        Levels of every grouping column; of b in ``(1 | a/b)``, within each a.
    rows : int or tuple of int
        Rows of every combination; several numbers are recycled over the combinations.
    within : mapping of str to Source
        Predictors that vary between rows; values are recycled over the rows of a combination.
    between : mapping of (tuple of str) to mapping of str to Source
        Predictors that are constant within the levels of the grouping columns named; values are recycled over levels.
    """

    groups: Mapping[str, int]
    rows: int | tuple[int, ...]
    within: Mapping[str, Source] = field(default_factory=dict)
    between: Mapping[tuple[str, ...], Mapping[str, Source]] = field(default_factory=dict)

    @cached_property
    def _cells(self) -> np.ndarray:
        """(cells,) rows of every combination."""
        count = int(np.prod(list(self.groups.values())))
        return np.resize(np.array(self.rows), count)

    @cached_property
    def _codes(self) -> dict[str, np.ndarray]:
        """Level of every row, counted from 0, by grouping column."""
        levels = np.indices(tuple(self.groups.values())).reshape(len(self.groups), -1)
        return {name: np.repeat(codes, self._cells) for name, codes in zip(self.groups, levels, strict=True)}

    @cached_property
    def _between(self) -> dict[str, tuple[np.ndarray, Source]]:
        """Source of every predictor between groups, with the group of every row, counted from 0."""
        found: dict[str, tuple[np.ndarray, Source]] = {}
        for columns, sources in self.between.items():
            sizes = tuple(self.groups[name] for name in columns)
            codes = np.ravel_multi_index(tuple(self._codes[name] for name in columns), sizes)
            found |= {name: (codes, source) for name, source in sources.items()}
        return found

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self._cells.sum())

    @cached_property
    def fixed(self) -> dict[str, np.ndarray]:
        """Columns that are the same in every study."""
        columns: dict[str, np.ndarray] = {name: codes + 1 for name, codes in self._codes.items()}
        for name, source in self.within.items():
            if not drawn(source):
                place = np.concatenate([np.arange(size) for size in self._cells])
                values = np.asarray(source)
                columns[name] = values[place % len(values)]
        for name, (codes, source) in self._between.items():
            if not drawn(source):
                values = np.asarray(source)
                columns[name] = values[codes % len(values)]
        return columns

    @property
    def random(self) -> bool:
        """Whether predictors are drawn anew in every study."""
        return any(map(drawn, [*self.within.values(), *(source for _, source in self._between.values())]))

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Columns that are drawn anew in every study."""
        columns = {}
        for name, source in self.within.items():
            if drawn(source):
                columns[name] = draw(source, rng, self.n, name)
        for name, (codes, source) in self._between.items():
            if drawn(source):
                columns[name] = draw(source, rng, int(codes.max()) + 1, name)[codes]
        return columns


def whole(value: Any, what: str, least: int = 1) -> int:
    """A positive whole number, or one from another least one on.

    Raises
    ------
    ValueError
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        kind = "a positive whole number" if least else "a whole number, 0 or more"
        raise ValueError(f"{what} must be {kind}, not {value!r}.")
    return int(value)


def named(given: Mapping[str, Any] | None, argument: str, example: str) -> dict[str, Any]:
    """What is given by name; nothing for None.

    Raises
    ------
    ValueError
    """
    if not isinstance(given, Mapping | None):
        raise ValueError(f"{argument}= says by name what is meant, as in {argument}={example}, not {given!r}.")
    return dict(given or {})


def check_names(*taken: Iterable[str]) -> None:
    """Refuse columns of which two have one name: response, groups, and predictors.

    Raises
    ------
    ValueError
    """
    found: set[str] = set()
    for names in taken:
        for name in names:
            if name in found:
                raise ValueError(
                    f"{name!r} is the name of two columns of the study: the response, the grouping columns and the "
                    "predictors of within= and between= need names of their own."
                )
            found.add(name)


def sources(given: Mapping[str, Source] | None, argument: str) -> dict[str, Source]:
    """Predictors by name, refused if values are none.

    Raises
    ------
    ValueError
    """
    found = named(given, argument, '{"X": scipy.stats.norm()}')
    for name, source in found.items():
        if not drawn(source) and (np.ndim(source) != 1 or not len(source)):
            raise ValueError(
                f"{argument}[{name!r}] is a frozen distribution of scipy.stats, a function f(rng, n), or a list of "
                f"values to be recycled, not {source!r}."
            )
    return found


def between_groups(
    given: Mapping[str, Any] | None, factors: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], dict[str, Source]]:
    """Read ``between=``: predictors, or predictors by grouping factor.

    The last column of a nested factor stands for the factor, as in ``(1 | school/class)``: predictors of ``"class"``
    differ between all classes of all schools.

    Raises
    ------
    ValueError
        If the grouping factor is not said where there are several, or not known.

    Examples
    --------
    >>> between_groups({"class": {"size": [20, 30]}}, [("school",), ("school", "class")])
    {('school', 'class'): {'size': [20, 30]}}
    """
    given = named(given, "between", '{"treated": [0, 1]}')
    if not given:
        return {}
    groups = list(dict.fromkeys(column for factor in factors for column in factor))
    inner = {factor[-1]: factor for factor in factors if factor[:-1] in factors and factor[-1:] not in factors}
    nested = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    if nested and len(nested) < len(given):
        raise ValueError("between= has predictors, or predictors by grouping factor, not both.")
    if not nested:
        if len(groups) > 1:
            raise ValueError(
                f"between= must say between which groups: between={{{groups[0]!r}: {{{next(iter(given))!r}: …}}}}."
            )
        nested = {groups[0]: dict(given)}
    found: dict[tuple[str, ...], dict[str, Source]] = {}
    for name, predictors in nested.items():
        columns = tuple(name.split(":"))
        for column in columns:
            if column not in groups:
                raise ValueError(f"between= names the grouping factor {column!r}. {suggest(column, groups)}")
        columns = inner.get(name, columns)
        found[columns] = found.get(columns, {}) | sources(predictors, "between")
    return found


def designs(groups: Any, rows: Any, factors: Sequence[str]) -> list[tuple[dict[str, int], int | tuple[int, ...]]]:
    """Every combination of the numbers of groups and rows that are to be compared.

    Parameters
    ----------
    groups : int, list of int, or mapping of str to these
        Lists and ranges are alternatives.
    rows : int, tuple of int, or list of these
        A tuple has the sizes of the groups of one design.
    factors : sequence of str
        Grouping columns of the formula.

    Returns
    -------
    list of (dict of str to int, int or tuple of int)

    Raises
    ------
    ValueError
    """
    if not isinstance(groups, Mapping):
        if len(factors) > 1:
            example = ", ".join(f"{name!r}: 20" for name in factors)
            raise ValueError(f"groups= needs the number of levels of every grouping column: groups={{{example}}}.")
        groups = {factors[0]: groups}
    if set(groups) != set(factors):
        raise ValueError(
            f"groups= has {', '.join(map(repr, groups))}, but the grouping columns of the formula are "
            f"{', '.join(map(repr, factors))}."
        )
    made: list[dict[str, int]] = [{}]
    for name in factors:
        numbers = _alternatives(groups[name])
        made = [
            {**each, name: whole(number, f"The number of levels of {name!r}")} for each in made for number in numbers
        ]
    return [(each, _sizes(size, math.prod(each.values()))) for each in made for size in _alternatives(rows)]


def _sizes(rows: Any, cells: int) -> int | tuple[int, ...]:
    if isinstance(rows, tuple):
        if len(rows) > cells:
            raise ValueError(f"rows={rows} has the sizes of {len(rows)} groups, but there are {cells} in a design.")
        return tuple(whole(size, "Every size in rows=") for size in rows)
    return whole(rows, "rows=")


def _alternatives(value: Any) -> list[Any]:
    """Several values, or one."""
    if isinstance(value, list | range | np.ndarray | pd.Index | pd.Series):
        values = list(value)
        if not values:
            raise ValueError("There is no design to simulate: groups= or rows= is an empty list.")
        return values
    return [value]
