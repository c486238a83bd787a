"""Crossed or nested: how the levels of two grouping columns occur together, and which formula says so.

b is nested in a if every level of b occurs with one level of a only; crossed if every level of b occurs with every
level of a; partially crossed in between. The data know labels alone: where the classes of every school are called 1,
2, 3, they look crossed, and a model that believes the labels gives class 1 of all schools one effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import display
from hierbayes.clusters.columns import complete_rows
from hierbayes.errors import DataError
from hierbayes.groups import group_codes
from hierbayes.spelling import spelled

NESTED, CROSSED, PARTIAL, SAME = "nested", "crossed", "partially crossed", "same"


@dataclass(frozen=True, eq=False, repr=False)
class Grouping:
    """How two grouping columns relate.

    Made by `grouping`.

    Attributes
    ----------
    relation : {"nested", "crossed", "partially crossed", "same"}
    inner, outer : str
        Of nested columns the one with more levels and the one that contains it; otherwise b and a.
    counts : pandas.DataFrame
        Rows of data in every cell: levels of `outer` x levels of `inner`.
    cells : int
        Combinations that occur.
    replicated : bool
        Whether some combination has several rows: only then can the interaction of crossed columns be told from
        residuals.
    reused : bool
        Whether the labels look like running numbers that start anew in every level of `outer`: probably nested, and
        labelled as if crossed.
    formula : str
        Random effects that fit the relation.
    verdict : str
        In words.
    """

    relation: str
    inner: str
    outer: str
    counts: pd.DataFrame
    cells: int
    replicated: bool
    reused: bool
    formula: str
    verdict: str

    def _repr_html_(self) -> str:
        known = {"cells": self.cells, "replicated": "yes" if self.replicated else "no", "formula": self.formula}
        title = f"{self.inner} and {self.outer}: {self.relation}"
        return display.document(title, self.verdict, display.facts(known))

    def __repr__(self) -> str:
        return self.verdict


def grouping(data: pd.DataFrame, a: str, b: str) -> Grouping:
    """Tell whether two grouping columns are nested or crossed, and what to write.

    Parameters
    ----------
    data : pandas.DataFrame
    a, b : str
        Columns of labels.

    Returns
    -------
    Grouping

    Raises
    ------
    DataError
        For unknown columns, or twice the same.

    Warns
    -----
    RowsDropped
        If rows have missing labels.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.grouping(hb.load_data("Penicillin"), "plate", "sample").relation
    'crossed'
    >>> hb.grouping(hb.load_data("Pastes"), "batch", "sample").formula
    '(1 | batch) + (1 | sample)'
    """
    if a == b:
        raise DataError("Name two different columns.")
    rows = complete_rows(data, [], [a, b])
    (code_a, levels_a), (code_b, levels_b) = group_codes(rows, [a]), group_codes(rows, [b])
    counts = np.zeros((len(levels_a), len(levels_b)), dtype=int)
    np.add.at(counts, (code_a, code_b), 1)
    present = counts > 0
    b_in_a, a_in_b = bool((present.sum(axis=0) == 1).all()), bool((present.sum(axis=1) == 1).all())
    inner, outer = b, a
    if a_in_b and not b_in_a:
        inner, outer, counts, present = a, b, counts.T, present.T
        levels_a, levels_b = levels_b, levels_a
    table = pd.DataFrame(counts, pd.Index(levels_a, name=outer), pd.Index(levels_b, name=inner))
    relation = SAME if a_in_b and b_in_a else NESTED if a_in_b or b_in_a else CROSSED if present.all() else PARTIAL
    reused = relation == PARTIAL and _running(present)
    sizes = f"{len(levels_b)} levels of {inner}, {len(levels_a)} of {outer}, {int(present.sum())} combinations"
    coarse, fine = spelled(outer, data), spelled(inner, data)
    crossed, within = f"(1 | {coarse}) + (1 | {fine})", f"(1 | {coarse}/{fine})"
    if relation == SAME:
        formula = f"(1 | {coarse})"
        text = f"{a} and {b} make the same groups ({sizes}): one of them is enough, {formula}."
    elif relation == NESTED:
        formula = crossed
        text = f"{inner} is nested in {outer} ({sizes}): {formula}, which is the same as {within}."
    elif reused:
        formula = within
        text = (
            f"{inner} looks nested in {outer} with labels used again ({sizes}: they run from the first in every "
            f"{outer}): {within}, unless a label is the same thing everywhere; then {crossed}."
        )
    else:
        formula = crossed
        text = (
            f"{inner} and {outer} are {relation} by their labels ({sizes}): {crossed}. If a label of {inner} is "
            f"another thing in every {outer}, like class 1 of every school, it is nested: {within}."
        )
    return Grouping(relation, inner, outer, table, int(present.sum()), bool(counts.max() > 1), reused, formula, text)


def _running(present: np.ndarray) -> bool:
    """Whether every row of a table starts at the first column and has no gaps, and rows differ in length."""
    lengths = present.sum(axis=1)
    return bool(all(row[:length].all() for row, length in zip(present, lengths, strict=True)))
