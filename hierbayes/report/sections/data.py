"""Rows, groups and variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.forest import Cells
from hierbayes.partial_pooling.shrinkage import finer

from ..numbers import count, joined, places, plain, show
from ..rows import mentions, row_facts
from ..scale import arguments, event_of, response_of
from .predictors import categorical

if TYPE_CHECKING:
    from hierbayes.design import Design, Factor
    from hierbayes.model import Model
    from hierbayes.residual import Residual


def data_section(model: Model) -> dict[str, Any]:
    """Rows, groups and variables."""
    design, data = model.design, model.data
    roles = _roles(model)
    groups = {name for factor in design.factors for name in factor.name.split(":")}
    groups |= set(design.residual.name.split(":")) if design.residual is not None else set()
    texts = categorical(data)
    variables = []
    for name in map(str, data.columns):
        values = data[name]
        if design.categories is not None and name == design.response:
            summary = f"{len(design.categories)} categories: {', '.join(design.categories)}"
        elif pd.api.types.is_datetime64_any_dtype(values):
            summary = f"from {values.min()} to {values.max()}"
        elif name in texts or name in groups:
            levels = pd.unique(values)
            listed = ", ".join(str(level) for level in sorted(levels, key=str)[:6])
            summary = f"{count(len(levels))} levels: {listed}{', …' if len(levels) > 6 else ''}"
        else:
            numbers = values.to_numpy(dtype=float)
            sd = float(numbers.std(ddof=1))
            digits = places([], [0.1 * sd])
            whole = pd.api.types.is_integer_dtype(values)
            ends = [plain(end) if whole else show(end, digits) for end in (numbers.min(), numbers.max())]
            summary = f"mean {show(numbers.mean(), digits)}, sd {show(sd, digits)}, from {ends[0]} to {ends[1]}"
        variables.append({"name": name, "role": ", ".join(roles[name]), "summary": summary})
    variables.sort(key=lambda variable: not variable["role"].startswith("response"))
    return {
        "rows": count(design.n),
        "response": design.response,
        "outcome": _outcome(design, data),
        "factors": [{"name": factor.name, **_sizes(factor.codes)} for factor in design.factors],
        "relations": relations(design.factors),
        "series": None if design.residual is None else _series(design.residual),
        "dropped": count(design.n_dropped) if design.n_dropped else "",
        "total": count(design.n + design.n_dropped),
        "dropped_columns": ", ".join(design.dropped_columns),
        "variables": variables,
        "more": design.weights is not None or design.residual is not None,
    }


def _outcome(design: Design, data: pd.DataFrame) -> str:
    """What the values of a response that is not Gaussian are, in a sentence."""
    y, name = design.y, response_of(design)
    if design.family.exact:
        return ""
    if design.trials is not None:
        share = y.sum() / design.trials.sum()
        return f"{plain(y.sum())} successes in {plain(design.trials.sum())} trials, {100 * share:.1f}%."
    if design.categories is not None:
        sizes = np.bincount(y.astype(int), minlength=len(design.categories))
        sign = " < " if design.family.ordinal else ", "
        listed = sign.join(f"{level} ({size:,})" for level, size in zip(design.categories, sizes, strict=True))
        order = " ordered" if design.family.ordinal else ""
        return f"{name} has {len(design.categories)}{order} categories; rows of each: {listed}."
    if y.ndim > 1:
        return f"Counts of {name}: {joined([plain(total) for total in y.sum(axis=0)])}."
    if design.family.name == "bernoulli":
        return f"{event_of(design)} in {count(int(y.sum()))} rows, {100 * y.mean():.1f}%."
    zeros = int((y == 0).sum())
    return f"{name} is 0 in {count(zeros)} rows, {zeros / len(y):.1%}." if zeros else ""


def _roles(model: Model) -> dict[str, list[str]]:
    """What every column of the data is used for."""
    design, facts = model.design, row_facts(model.design, model.data)
    terms = [*design.terms, *(term for block in design.blocks for term in block.terms)]
    made = {}
    for name in map(str, model.data.columns):
        found = {
            "predictor": any(mentions(term.name, name) for term in terms),
            "grouping factor": any(name in factor.name.split(":") for factor in design.factors),
            "precision weight": name == facts.weights,
            "standard error of the row": name == facts.se,
            "offset": any(mentions(text, name) for text in facts.offsets),
            "time of the residuals": name == facts.time,
            "series of the residuals": design.residual is not None and name in design.residual.name.split(":"),
        }
        roles = [role for role, has in found.items() if has]
        made[name] = [_part_of_response(design, name)] if mentions(design.response, name) else roles or ["predictor"]
    return made


def _part_of_response(design: Design, name: str) -> str:
    """What a column of the response is in it."""
    if design.family.with_trials:
        return "response: trials" if mentions(arguments(design.response)[-1], name) else "response: successes"
    if design.family.response != "plain" and not mentions(response_of(design), name):
        return f"response: {design.family.response}"
    return "response"


def _sizes(codes: np.ndarray) -> dict[str, Any]:
    """How many rows the levels of a factor have."""
    sizes = np.bincount(codes)
    return {
        "levels": count(len(sizes)),
        "smallest": count(int(sizes.min())),
        "median": f"{np.median(sizes):,g}",
        "largest": count(int(sizes.max())),
        "balanced": bool(sizes.min() == sizes.max()),
        "one": bool(sizes.max() == 1),
    }


def relations(factors: Sequence[Factor]) -> list[dict[str, Any]]:
    """How the levels of every two grouping factors meet.

    Parameters
    ----------
    factors : sequence of Factor

    Returns
    -------
    list of dict
        Names ``a`` and ``b``; ``nested`` (every level of a lies within one of b); how many combinations of their
        levels ``occur``, of ``all``.

    Examples
    --------
    >>> from hierbayes.design import Factor
    >>> a = Factor("a", np.array([0, 0, 1, 1]), np.array(["u", "v"]))
    >>> b = Factor("b", np.array([0, 1, 0, 1]), np.array(["p", "q"]))
    >>> relations([a, b])
    [{'a': 'a', 'b': 'b', 'nested': False, 'occur': '4', 'all': '4'}]
    """
    made = []
    for k, second in enumerate(factors):
        for first in factors[:k]:
            a, b = (second, first) if finer(second, first) else (first, second)
            made.append(
                {
                    "a": a.name,
                    "b": b.name,
                    "nested": finer(a, b),
                    "occur": count(len(Cells.of(a.codes, b.codes, len(b.levels)).keys)),
                    "all": count(len(a.levels) * len(b.levels)),
                }
            )
    return made


def _series(residual: Residual) -> dict[str, Any]:
    """Sizes of the series within which residuals are correlated, and the gaps in them."""
    steps = residual.table[1::2] if residual.kind == "ar1" else np.zeros(0)
    return {"name": residual.name, **_sizes(residual.codes), "gaps": len(steps) > 1}
