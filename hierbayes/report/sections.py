"""Fits become plain values: one function a section, each returns what its template prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.diagnostics import ESS_PER_CHAIN, RHAT
from hierbayes.results import FIXED

from . import provenance
from .estimates import CORR, SD, SIGMA, Estimate
from .numbers import count, places, plain, show, split
from .symbols import equations, numbering

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.model import Model
    from hierbayes.results import Fit, RemlFit

ALL_LEVELS = 50
"""Up to this many levels the table of group effects is complete."""
ENDS = 25
"""Beyond that it has so many from either end."""
LONG = 20
"""A table with more rows than this is folded."""
KINDS = {FIXED: "Fixed effects", SD: "Standard deviations", CORR: "Correlations", SIGMA: "Residual"}


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


def overview(model: Model, run: provenance.Run) -> list[tuple[str, str]]:
    """The few figures under the title."""
    design = model.design
    return [
        ("rows", count(design.n)),
        (f"levels of {design.factor.name}", count(len(design.factor.levels))),
        ("fixed effects", count(design.X.shape[1])),
        ("random effects per level", count(design.layout.q)),
        ("posterior draws", f"{run.chains} × {count(run.draws)}"),
    ]


def data_section(model: Model) -> dict[str, Any]:
    """Rows, groups and variables."""
    design, data = model.design, model.data
    sizes = np.bincount(design.factor.codes, minlength=len(design.factor.levels))
    factors = design.factor.name.split(":")
    texts = categorical(data)
    variables = []
    for name in map(str, data.columns):
        values = data[name]
        role = "grouping factor" if name in factors else "predictor"
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", design.response):
            role = "response"
        if name in factors and any(name in term.name.split(":") for term in design.terms):
            role = "predictor, grouping factor"
        if name in texts or name in factors:
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
        variables.append({"name": name, "role": role, "summary": summary})
    variables.sort(key=lambda variable: variable["role"] != "response")
    return {
        "rows": count(design.n),
        "response": design.response,
        "factor": design.factor.name,
        "levels": count(len(sizes)),
        "smallest": count(int(sizes.min())),
        "median": f"{np.median(sizes):,g}",
        "largest": count(int(sizes.max())),
        "balanced": bool(sizes.min() == sizes.max()),
        "dropped": count(design.n_dropped) if design.n_dropped else "",
        "total": count(design.n + design.n_dropped),
        "dropped_columns": ", ".join(design.dropped_columns),
        "variables": variables,
    }


def model_section(model: Model) -> dict[str, Any]:
    """The model in words and in symbols."""
    design = model.design
    texts = categorical(model.data)
    number = numbering(design)
    blocks = []
    for block, free in zip(design.blocks, design.layout.correlated, strict=True):
        labels = [
            "in the intercept" if label == "Intercept" else f"in the coefficient of {label}" for label in block.labels
        ]
        blocks.append({"labels": labels, "correlated": free})
    return {
        "formula": design.formula,
        "response": design.response,
        "factor": design.factor.name,
        "fixed": [term.name for term in design.terms if term.name != names.INTERCEPT],
        "intercept": design.intercept is not None,
        "blocks": blocks,
        "equations": equations(design, texts),
        "symbols": [
            (k, label) for label, k in sorted(number.items(), key=lambda item: item[1]) if label in design.labels
        ],
        "indicators": any("[" in label and label.split("[")[0] in texts for label in number),
    }


def priors_section(model: Model) -> dict[str, Any]:
    """The priors, where they come from, and what is done with them."""
    design, priors, given = model.design, model.priors, model.given_priors
    factor = design.factor.name
    rows = []

    def add(label: str, prior: str, *keys: str) -> None:
        rows.append({"label": label, "prior": prior, "origin": "given" if set(keys) & set(given) else "automatic"})

    at = 0
    for term in design.terms:
        common = () if term.name == names.INTERCEPT else ("common",)
        for label in term.labels:
            add(label, repr(priors.coefficients[at]), term.name, *common)
            at += 1
    at = 0
    for block in design.blocks:
        for term in block.terms:
            for label in term.labels:
                add(f"sd({label})", repr(priors.sds[at]), names.effect(term.name, factor), "group_specific")
                at += 1
    for k, (block, free) in enumerate(zip(design.blocks, design.layout.correlated, strict=True)):
        if free:
            many = "correlations of" if len(block.labels) > 2 else "correlation of"
            add(f"{many} {', '.join(block.labels)}", f"LKJ(eta={priors.eta[k]:g})", names.corr(factor, k))
    add("sigma", repr(priors.sigma), names.SIGMA)
    kept = [label for label, keep in zip(design.labels, priors.kept, strict=True) if keep]
    return {
        "rows": rows,
        "factor": factor,
        "kept": kept,
        "all_kept": bool(kept) and len(kept) == len(design.labels),
        "centered": priors.centered and len(design.labels) > 1,
        "lkj": any(design.layout.correlated),
        "uniform": any(free and eta == 1 for free, eta in zip(design.layout.correlated, priors.eta, strict=True)),
    }


def estimates_section(rows: list[Estimate], reml: RemlFit) -> dict[str, Any]:
    """The table of both inferences, grouped by kind of parameter."""
    groups: list[dict[str, Any]] = []
    for kind, title in KINDS.items():
        members = [row for row in rows if row.kind == kind]
        if members:
            body = [{"label": row.label, "cells": row.cells()} for row in members]
            groups.append({"title": title, "rows": body})
    columns = zip(*(row["cells"] for group in groups for row in group["rows"]), strict=True)
    return {
        "groups": groups,
        "fractions": [max(len(split(cell)[1]) for cell in column) for column in columns],
        "singular": reml.singular,
        "undefined": not reml.singular and any(np.isnan(row.reml.error) for row in rows),
        "criterion": show(reml.criterion, 4),
        "loglik": show(reml.loglik, 4),
    }


def effects_section(table: pd.DataFrame, factor: str) -> dict[str, Any]:
    """One table per effect: every level, or those at both ends of the first effect."""
    effects = list(dict.fromkeys(table["effect"]))
    first = table[table["effect"] == effects[0]]
    order = np.arange(len(first))
    if len(first) > ALL_LEVELS:
        ranked = np.argsort(first["mean"].to_numpy(), kind="stable")
        order = np.concatenate([ranked[:ENDS], ranked[-ENDS:]])
    tables = []
    for effect in effects:
        part = table[table["effect"] == effect].iloc[order]
        columns = part[["no_pooling", "blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"]].to_numpy(dtype=float)
        pooled = columns[:, [1, 3, 5, 6]]
        digits = places([float(np.nanmax(np.abs(pooled)))], [float(np.nanmedian(columns[:, 4]))])
        body = [
            {"level": str(level), "rows": count(int(size)), "cells": [show(value, digits) for value in values]}
            for level, size, values in zip(part["level"], part["rows"], columns, strict=True)
        ]
        fractions = [max(len(split(row["cells"][k])[1]) for row in body) for k in range(columns.shape[1])]
        tables.append({"effect": effect, "rows": body, "fractions": fractions})
    return {
        "factor": factor,
        "first": effects[0],
        "tables": tables,
        "levels": count(len(first)),
        "complete": len(first) <= ALL_LEVELS,
        "ends": ENDS,
        "long": len(order) > LONG,
        "missing": int(first["no_pooling"].isna().sum()),
    }


def convergence_section(fit: Fit, run: provenance.Run) -> dict[str, Any]:
    """R-hat, effective sample sizes, divergences, with a verdict."""
    table = fit.convergence.table
    stats = fit.idata["sample_stats"].to_dataset()
    deepest = int(stats["maxdepth_reached"].sum()) if "maxdepth_reached" in stats else 0
    total = run.chains * run.draws
    rows = [
        {
            "name": str(name),
            "r_hat": show(row["r_hat"], 4),
            "bulk": show(row["ess_bulk"], 0),
            "tail": show(row["ess_tail"], 0),
            "bad": bool(row["r_hat"] > RHAT or min(row["ess_bulk"], row["ess_tail"]) < ESS_PER_CHAIN * run.chains),
        }
        for name, row in table.iterrows()
    ]
    return {
        "rows": rows,
        "ok": fit.convergence.ok,
        "problems": list(fit.convergence.problems),
        "divergences": fit.convergence.divergences,
        "deepest": deepest,
        "max_depth": run.max_depth,
        "total": count(total),
        "r_hat_limit": RHAT,
        "ess_limit": ESS_PER_CHAIN * run.chains,
        "worst_r_hat": show(float(table["r_hat"].max()), 4),
        "smallest_ess": show(float(table[["ess_bulk", "ess_tail"]].min().min()), 0),
    }


def reproduce_section(
    model: Model, run: provenance.Run, path: Path, source: str | None, conf_level: float
) -> dict[str, Any]:
    """Formula, code, command, seed and versions."""
    source = provenance.known_data(model) if source is None else source
    formula = model.design.formula
    simple = not model.given_priors and model.center_predictors and run.usual
    return {
        "formula": formula,
        "code": provenance.python_code(
            formula, source, run, path, model.given_priors, model.center_predictors, conf_level
        ),
        "command": provenance.command_line(formula, source, run, path) if simple and conf_level == 0.95 else "",
        "source": source,
        "seed": run.seed,
        "chains": run.chains,
        "draws": count(run.draws),
        "tune": count(run.tune) if run.tune is not None else "unknown",
        "versions": provenance.versions(),
    }
