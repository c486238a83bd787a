"""The keys of a TOML file, taken one by one, with errors that name file and key."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from hierbayes.errors import DataError, suggest

KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    int | float: "a number",
    int | float | None: "a number or null",
    str | None: "a text or null",
    list: "a list",
    Mapping: "a table",
}
"""Kinds of values in words."""


class Keys:
    """The keys of one table.

    Parameters
    ----------
    where : str
        The file, and the table.
    values : mapping
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where, self.given = where, values
        self.taken: set[str] = set()

    def get(self, key: str, kind: Any, *usual: Any) -> Any:
        """A value of a kind, or the usual one if there is one and the key is absent."""
        self.taken.add(key)
        if key not in self.given:
            if usual:
                return usual[0]
            raise DataError(f"{self.where} has no {key!r}; add it.")
        value = self.given[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DataError(f"{self.where}: {key!r} is {value!r}; it should be {KINDS[kind]}.")
        return value

    def text(self, key: str, *usual: Any) -> Any:
        """A text that is not empty, on one line."""
        value = self.get(key, str, *usual)
        if key in self.given and not value.strip():
            raise DataError(f"{self.where}: {key!r} is empty; write it.")
        return value if value is None else " ".join(value.split())

    def texts(self, key: str, usual: tuple[str, ...] | None = None, known: Collection[str] = ()) -> tuple[str, ...]:
        """A list of texts, at least one if there is no usual one."""
        values = self.get(key, list, *(() if usual is None else (list(usual),)))
        for value in values:
            if not isinstance(value, str) or not value.strip() or (known and value not in known):
                among = f" among {', '.join(known)}" if known else ""
                raise DataError(f"{self.where}: {key!r} has {value!r}; it should be a list of texts{among}.")
        if not values and usual is None:
            raise DataError(f"{self.where}: {key!r} is empty; write at least one.")
        return tuple(" ".join(value.split()) for value in values)

    def number(self, key: str, *usual: int) -> int:
        """A positive whole number."""
        value = self.get(key, int, *usual)
        if value < 1:
            raise DataError(f"{self.where}: {key!r} is {value!r}; it should be a positive whole number.")
        return int(value)

    def real(self, key: str, *usual: float) -> float:
        """A number that is finite."""
        value = self.get(key, int | float, *usual)
        if not math.isfinite(value):
            raise DataError(f"{self.where}: {key!r} is {value!r}; it should be finite.")
        return float(value)

    def table(self, key: str, *usual: Mapping[str, Any]) -> Keys:
        """A table."""
        return Keys(f"{self.where} [{key}]", self.get(key, Mapping, *usual))

    def tables(self, key: str) -> list[Keys]:
        """An array of tables, at least one."""
        values = self.get(key, list)
        if not values or not all(isinstance(value, Mapping) for value in values):
            raise DataError(f"{self.where}: {key!r} should be one or more tables [[{key}]].")
        return [Keys(f"{self.where} [[{key}]] number {i}", value) for i, value in enumerate(values, 1)]

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.given:
            if key not in self.taken:
                raise DataError(f"{self.where} has a key {key!r} that is not known. {suggest(key, self.taken)}")
