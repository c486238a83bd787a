"""Which columns are categories, and which category is the reference."""

from __future__ import annotations

import pandas as pd

from hierbayes.design import Design


def references(design: Design, data: pd.DataFrame) -> dict[str, str]:
    """Reference level of every categorical predictor that has one.

    Parameters
    ----------
    design : Design
    data : pandas.DataFrame
        The rows used.

    Returns
    -------
    dict of str to str
    """
    found = {}
    for name in categorical(data):
        present = [str(level) for level in pd.unique(data[name])]
        for term in design.terms:
            if term.name == name and term.levels is not None:
                left = [level for level in present if level not in term.levels]
                if len(left) == 1:
                    found[name] = left[0]
    return found


def categorical(data: pd.DataFrame) -> set[str]:
    """Columns that are not numbers."""
    return {
        str(name)
        for name in data.columns
        if not pd.api.types.is_numeric_dtype(data[name]) or pd.api.types.is_bool_dtype(data[name])
    }
