"""Tables of the effects of every grouping factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.partial_pooling.shrinkage import finer
from hierbayes.plots.shrinkage import MANY

from ..numbers import count, places, show, split

if TYPE_CHECKING:
    from hierbayes.design import Design

ALL_LEVELS = 50
"""Up to this many levels the table of group effects is complete."""
ENDS = 25
"""Beyond that it has so many from either end."""
LONG = 20
"""A table with more rows than this is folded."""
OWN, PARTIAL, SPREADS = ["no_pooling"], ["blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"], ["blup_sd", "sd"]
"""Columns of the table of group effects, as far as there are such."""


def effects_section(table: pd.DataFrame, design: Design) -> dict[str, Any] | None:
    """Tables of the effects of every grouping factor; None if there is none."""
    if not design.factors:
        return None
    return {
        "factors": [
            _effects(table[table["group"] == factor.name], factor.name, f"-{k}" if k else "")
            for k, factor in enumerate(design.factors)
        ],
        "own": "no_pooling" in table,
        "exact": design.family.exact,
        "link": design.family.link,
        "nested": any(finer(a, b) for a in design.factors for b in design.factors),
        "weighted": design.weights is not None,
        "correlated": design.residual is not None,
        "ends": ENDS,
    }


def _effects(table: pd.DataFrame, factor: str, suffix: str) -> dict[str, Any]:
    """One table per effect of a factor: every level, or those at both ends of the first effect."""
    effects = list(dict.fromkeys(table["effect"]))
    first = table[table["effect"] == effects[0]]
    order = np.arange(len(first))
    if len(first) > ALL_LEVELS:
        ranked = np.argsort(first["mean"].to_numpy(), kind="stable")
        order = np.concatenate([ranked[:ENDS], ranked[-ENDS:]])
    tables = []
    shown = [name for name in (*OWN, *PARTIAL) if name in table]
    for effect in effects:
        part = table[table["effect"] == effect].iloc[order]
        columns = part[shown].to_numpy(dtype=float)
        pooled = part[[name for name in PARTIAL if name in table and name not in SPREADS]].to_numpy(dtype=float)
        digits = places([float(np.nanmax(np.abs(pooled)))], [float(np.nanmedian(part["sd"]))])
        body = [
            {"level": str(level), "rows": count(int(size)), "cells": [show(value, digits) for value in values]}
            for level, size, values in zip(part["level"], part["rows"], columns, strict=True)
        ]
        fractions = [max(len(split(row["cells"][k])[1]) for row in body) for k in range(columns.shape[1])]
        tables.append({"effect": effect, "rows": body, "fractions": fractions})
    return {
        "name": factor,
        "key": f"shrinkage{suffix}",
        "first": effects[0],
        "tables": tables,
        "levels": count(len(first)),
        "many": len(first) > MANY,
        "complete": len(first) <= ALL_LEVELS,
        "long": len(order) > LONG,
        "missing": int(first["no_pooling"].isna().sum()) if "no_pooling" in first else 0,
    }
