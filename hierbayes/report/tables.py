"""The tables behind a report at full precision, for other forms than the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hierbayes.estimates import Estimate
from hierbayes.inference.criteria import criteria

from . import effort
from .candidates import Candidate
from .comparison import Comparison
from .scores import ROW, Scores
from .sections import checks_table


def tables_of(
    candidate: Candidate, scores: Scores, effects: pd.DataFrame, variance: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Tables of one candidate by name.

    Parameters
    ----------
    candidate : Candidate
    scores : Scores
    effects : pandas.DataFrame
        Of every level; left out if there are more than `effort.LEVELS`.
    variance : dict
        Tables of `sections.variance_tables`.

    Returns
    -------
    dict of str to DataFrame
    """
    fit, found = candidate.fit, {}
    if candidate.maximum_tidy is not None:
        found[f"{candidate.short.lower()}_tidy"] = candidate.maximum_tidy
        found[f"varcorr_{candidate.short.lower()}"] = candidate.maximum.varcorr  # type: ignore[union-attr]
    found["posterior_tidy"] = candidate.tidy
    found["posterior_summary"] = fit.summary().rename_axis("parameter").reset_index()
    found["convergence"] = fit.convergence.table.rename_axis("parameter").reset_index()
    if candidate.reasons is not None and candidate.design.family.exact:
        found["disagreements"] = candidate.disagreements
    found["checks"] = checks_table(candidate)
    found["scores"] = scores.table
    for name, by in variance.items():
        for of, table in by.items():
            if table is not None:
                found[name if of == "posterior" else f"{name}_{candidate.short.lower()}"] = table
    if len(effects) <= effort.LEVELS and not effects.empty:
        found["group_effects"] = effects
    if (
        isinstance(candidate.maximum, Estimate)
        and candidate.place == 0
        and effort.refits_cost(candidate.maximum.marginal) <= 1
    ):
        found["criteria_reml"] = criteria(candidate.maximum)
    return found


def tables_of_all(
    own: Mapping[str, dict[str, pd.DataFrame]], comparison: Comparison | None
) -> dict[str, pd.DataFrame]:
    """Tables of all candidates: those of the first by their names, the others after the label of the candidate."""
    found: dict[str, pd.DataFrame] = {}
    for k, (label, tables) in enumerate(own.items()):
        found |= {name if k == 0 else f"{label}/{name}": table for name, table in tables.items()}
    if comparison is None:
        return found
    for key, table in comparison.scores.items():
        named = table.rename_axis("model").reset_index()
        found["comparison_rows" if key == ROW else f"comparison_groups/{key.partition(':')[2]}"] = named
    return found | {"likelihood_ratio": comparison.tests, "criteria": comparison.criteria}
