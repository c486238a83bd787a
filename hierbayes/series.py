"""Residual correlation as users write it: ``ar1(time | g)``, ``ar1(1 | g)``, ``cs(g)``.

``time`` is a column of equally spaced times, gaps allowed; ``1`` takes the order of the rows. ``g`` is a
column, or an interaction ``a:b``. nlme writes ``corAR1(form = ~ time | g)`` and ``corCompSymm(form = ~ 1 | g)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, FormulaError
from hierbayes.forest import nested
from hierbayes.groups import group_codes
from hierbayes.residual import Residual

SPELLING = re.compile(r"\s*(ar1|cs)\s*\(\s*(?:([^|]+?)\s*\|)?\s*([^|()\s][^|()]*?)\s*\)\s*")
UNEVEN = 1e-6
"""Largest deviation of a time from the grid, in steps."""


@dataclass(frozen=True)
class Structure:
    """A residual structure, read but not yet applied to data.

    Parameters
    ----------
    text : str
        As written.
    kind : {"ar1", "cs"}
    time : str or None
        Column of times; None for the order of the rows.
    groups : tuple of str
        Columns whose combinations are the series.
    """

    text: str
    kind: str
    time: str | None
    groups: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """All columns that are needed."""
        return [*([self.time] if self.time is not None else []), *self.groups]

    def read(self, rows: pd.DataFrame) -> Residual:
        """Apply to complete rows.

        Raises
        ------
        DataError
            If times repeat within a series or are not on one grid, or if no series has two rows.
        """
        codes, levels = group_codes(rows, self.groups)
        if len(levels) == len(rows):
            raise DataError(
                f"In residual={self.text!r} every series has one row, so there is no correlation to estimate; "
                "name a coarser grouping factor."
            )
        if self.kind == "cs":
            time = np.zeros(len(rows), dtype=np.int64)
        elif self.time is None:
            time = pd.Series(codes).groupby(codes).cumcount().to_numpy(dtype=np.int64)
        else:
            time = self._steps(rows[self.time], codes, levels)
        return Residual(self.kind, self.text, ":".join(self.groups), codes, time, levels=levels)

    def _steps(self, column: pd.Series, codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Times in steps of their common spacing."""
        if pd.api.types.is_datetime64_any_dtype(column):
            column = (column - column.min()) / pd.Timedelta(1, "s")
        elif not pd.api.types.is_numeric_dtype(column):
            raise DataError(f"The time {self.time!r} of residual={self.text!r} must be numbers or dates.")
        time = column.to_numpy(dtype=float)
        order = np.lexsort((time, codes))
        gaps = np.diff(time[order])[np.diff(codes[order]) == 0]
        if (gaps <= 0).any():
            row = np.flatnonzero((np.diff(codes[order]) == 0) & (np.diff(time[order]) <= 0))[0]
            raise DataError(
                f"In residual={self.text!r} the series {levels[codes[order][row]]!r} has two rows at "
                f"{self.time} = {time[order][row]:g}; keep one row for each time."
            )
        # series need not begin on one grid: only times within a series are compared
        steps = (time - pd.Series(time).groupby(codes).transform("min").to_numpy()) / gaps.min()
        # the shortest gap need not be the step: times 0, 2, 5 are on a grid of 1
        for parts in range(1, 13):
            if np.abs(steps * parts - np.round(steps * parts)).max() <= UNEVEN * parts:
                return np.round(steps * parts).astype(np.int64)
        raise DataError(
            f"The times {self.time!r} of residual={self.text!r} are not equally spaced; round them to a grid, "
            f"or write ar1(1 | {':'.join(self.groups)}) for the order of the rows."
        )


def parse(text: str) -> Structure:
    """Read a residual structure.

    Parameters
    ----------
    text : str

    Returns
    -------
    Structure

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> parse("ar1(age | Subject)")
    Structure(text='ar1(age | Subject)', kind='ar1', time='age', groups=('Subject',))
    """
    found = SPELLING.fullmatch(text) if isinstance(text, str) else None
    kind, before, groups = (None, None, "") if found is None else found.groups()
    if kind is None or (kind == "cs" and before not in {None, "1"}) or (kind == "ar1" and before is None):
        raise FormulaError(f"residual={text!r} is not a structure; write 'ar1(time | group)' or 'cs(group)'.")
    time = None if before in {None, "1"} else before.strip("`")
    return Structure(text, kind, time, tuple(part.strip().strip("`") for part in groups.split(":")))


def check(design: Design) -> None:
    """Refuse a structure that the random effects of a design do not go with.

    Raises
    ------
    DataError
        If a series is spread over several levels of a grouping factor, or if compound symmetry repeats a
        random intercept.
    """
    residual = design.residual
    assert residual is not None
    for factor in design.factors:
        if not nested(residual.codes, factor.codes):
            raise DataError(
                f"In residual={residual.text!r} a series has rows in several levels of the grouping factor "
                f"{factor.name!r}; the series must lie within the levels, so name a finer one."
            )
        intercept = any(term.name == "1" for part in design.parts_of(factor) for term in part.block.terms)
        if residual.kind == "cs" and intercept and nested(factor.codes, residual.codes):
            raise DataError(
                f"Compound symmetry within {residual.name!r} and the random intercept of {factor.name!r} say the "
                "same; take one of them out."
            )
