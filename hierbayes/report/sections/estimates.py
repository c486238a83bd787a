"""The table of both inferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes.estimates import FIXED

from ..estimates import AUXILIARY, CORR, RHO, SD, SIGMA, Estimate
from ..method import REML, Method
from ..numbers import show, split

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import LaplaceFit, RemlFit

KINDS = {
    "Fixed effects": (FIXED,), "Standard deviations": (SD,), "Correlations": (CORR,), "Residual": (SIGMA, RHO),
}  # fmt: skip


def estimates_section(
    rows: list[Estimate], maximum: RemlFit | LaplaceFit | None, design: Design, method: Method | None = REML
) -> dict[str, Any]:
    """The table of both inferences, grouped by kind of parameter."""
    kinds = dict(KINDS)
    if not design.family.exact:
        kinds["Thresholds" if design.family.ordinal else "Distribution of the response"] = (SIGMA, AUXILIARY)
        del kinds["Residual"]
    groups: list[dict[str, Any]] = []
    for title, members_ in kinds.items():
        members = [row for row in rows if row.kind in members_]
        if members:
            body = [{"label": row.label, "cells": row.cells()} for row in members]
            groups.append({"title": title, "rows": body})
    columns = zip(*(row["cells"] for group in groups for row in group["rows"]), strict=True)
    singular = maximum is not None and maximum.singular
    undefined = maximum is not None and any(np.isnan(row.first.error) for row in rows)
    return {
        "groups": groups,
        "fractions": [max(len(split(cell)[1]) for cell in column) for column in columns],
        "singular": singular,
        "known_errors": design.sigma is not None,
        "undefined": undefined and not singular,
        "criterion": "" if method is None or maximum is None else f"{method.criterion} {show(maximum.criterion, 4)}",
    }
