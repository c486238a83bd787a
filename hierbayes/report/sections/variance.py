"""Where the variance is: partition, intraclass correlation and R², by both inferences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import HierbayesError

from ..candidates import Candidate
from .grid import grid

EFFECTS = {"fixed": "fixed effects", "random": "levels of {}", "residual": "residuals", "trials": "trials"}


def variance_tables(candidate: Candidate) -> dict[str, dict[str, pd.DataFrame | None]]:
    """Tables of both inferences by what they are of; what does not exist for a model is left out."""
    found: dict[str, dict[str, pd.DataFrame | None]] = {}
    for name in ("variance_partition", "icc", "r2"):
        try:
            posterior = getattr(candidate.fit, name)(conf_level=candidate.conf_level)
            maximum = getattr(candidate.maximum, name)(conf_level=candidate.conf_level) if candidate.maximum else None
        except HierbayesError:
            continue
        found[name] = {"posterior": posterior, "maximum": maximum}
    return found


def variance_section(
    candidate: Candidate, tables: dict[str, dict[str, pd.DataFrame | None]]
) -> dict[str, Any] | None:
    """The three tables as text; None if there is none."""
    if not tables:
        return None
    made: dict[str, Any] = dict.fromkeys(("variance_partition", "icc", "r2"))
    for name, by in tables.items():
        made[name] = _side_by_side(name, by["posterior"], by["maximum"], candidate)
    if not any(made[name] for name in tables):
        return None
    made["meanings"] = _meanings(tables)
    made["residual"] = _residual(tables)
    return made


def _side_by_side(
    name: str, posterior: pd.DataFrame | None, maximum: pd.DataFrame | None, candidate: Candidate
) -> dict[str, Any] | None:
    if posterior is None or posterior.empty:
        return None
    ends = (
        ["share", "share_low", "share_high"]
        if name == "variance_partition"
        else ["estimate", "conf_low", "conf_high"]
    )
    keys = [column for column in ("scale", "component", "group", "icc", "r2") if column in posterior]
    if name == "icc" and len(candidate.design.factors) == 1:  # then all groups are those of the one factor
        posterior = posterior[posterior["group"] != "all"]
    others = {} if maximum is None else {_key(row, keys): row[ends[0]] for _, row in maximum.iterrows()}
    if not np.isfinite(posterior[ends[0]].to_numpy(dtype=float)).any():
        return None
    posterior = posterior[np.isfinite(posterior[ends[0]].to_numpy(dtype=float))]
    scales = "scale" in posterior and len(set(posterior["scale"])) > 1
    rows = []
    for _, row in posterior.iterrows():
        first = [_percent(others.get(_key(row, keys), np.nan))] if maximum is not None else []
        numbers = [*first, _percent(row[ends[0]]), _percent(row[ends[1]]), _percent(row[ends[2]])]
        rows.append((_label(row), *([row["scale"]] if scales else []), *numbers))
    method = [candidate.short] if maximum is not None else []
    lead = ["Part" if name == "variance_partition" else "Coefficient", *(["Scale"] if scales else [])]
    columns = [*lead, *method, "Posterior mean", f"{candidate.level} from", "to"]
    return grid(columns, rows, numeric=range(len(lead), len(columns)))


def _key(row: pd.Series, keys: list[str]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in keys)


def _label(row: pd.Series) -> str:
    if "component" in row:
        return EFFECTS.get(str(row["component"]), str(row["component"])).format(row["group"])
    if "icc" in row:
        of = "all groups" if row["group"] == "all" else row["group"]
        return f"ICC of {of}, {row['icc']}"
    return f"R², {'Bayesian' if row['r2'] == 'bayesian' else row['r2']}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if np.isfinite(value) else "—"


def _meanings(tables: dict[str, dict[str, pd.DataFrame | None]]) -> list[str]:
    """What each R² is of."""
    table = tables.get("r2", {}).get("posterior")
    if table is None or "meaning" not in table:
        return []
    names = {"bayesian": "Bayesian"}
    return list(
        dict.fromkeys(
            f"{names.get(str(r2), r2)}: {text}" for r2, text in zip(table["r2"], table["meaning"], strict=True)
        )
    )


def _residual(tables: dict[str, dict[str, pd.DataFrame | None]]) -> str:
    """Which residual variance was taken for a response that is not Gaussian."""
    table = tables.get("icc", {}).get("posterior")
    if table is None or "residual" not in table:
        return ""
    pairs = dict(zip(table["scale"], table["residual"], strict=True))
    return "; ".join(f"{scale} scale: {residual}" for scale, residual in pairs.items())
