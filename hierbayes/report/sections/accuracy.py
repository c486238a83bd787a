"""How well rows and groups that were left out are predicted, and whether the scores can be trusted."""

from __future__ import annotations

from typing import Any

from ..candidates import Candidate
from ..numbers import count, places, sentence, show
from ..scores import Scores, remedy, to_predict, too_many
from .grid import grid


def accuracy_section(candidate: Candidate, scores: Scores) -> dict[str, Any] | None:
    """Table of scores and of Pareto k; None if there is neither a score nor a reason."""
    if not scores.elpds and not scores.skipped:
        return None
    rows, notes = [], []
    for (key, elpd), row in zip(scores.elpds.items(), scores.table.itertuples(), strict=True):
        digits = places([elpd.elpd], [elpd.se])
        numbers = [show(elpd.elpd, digits), show(elpd.se, digits), show(elpd.p, 1)]
        many = f"{count(row.high_k)} of {count(row.items)}"
        what = sentence(to_predict(key)) if candidate.design.factors else "New rows"
        rows.append((what, *numbers, show(row.worst_k, 2), show(row.good_k, 2), many))
        notes.append(str(elpd.note))
    columns = ["To predict", "elpd", "Standard error", "p", "Worst Pareto k", "Limit", "Above the limit"]
    return {
        "table": grid(columns, rows, numeric=(1, 2, 3, 4, 5)) if rows else None,
        "notes": notes,
        "skipped": list(scores.skipped.values()),
        "high": [f"{too_many(key, scores)} {remedy(key, scores)}" for key in scores.high],
        "key": candidate.key,
    }
