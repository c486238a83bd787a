"""Fits become plain values: one function a section, each returns what its template prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.diagnostics import ESS_PER_CHAIN, RHAT
from hierbayes.estimates import FIXED
from hierbayes.forest import Cells
from hierbayes.partial_pooling.shrinkage import finer
from hierbayes.plots.shrinkage import MANY

from . import provenance
from .estimates import AUXILIARY, CORR, RHO, SD, SIGMA, Estimate
from .method import REML
from .numbers import count, joined, places, plain, show, split
from .rows import mentions, row_facts
from .scale import arguments, described, event_of, family_of, parameter_words, response_of
from .symbols import auxiliary_symbols, equations, letters, numbering, parent_symbol, row_index

if TYPE_CHECKING:
    from hierbayes.design import Design, Factor
    from hierbayes.model import Model
    from hierbayes.residual import Residual
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

    from .method import Method

ALL_LEVELS = 50
"""Up to this many levels the table of group effects is complete."""
ENDS = 25
"""Beyond that it has so many from either end."""
LONG = 20
"""A table with more rows than this is folded."""
KINDS = {
    "Fixed effects": (FIXED,), "Standard deviations": (SD,), "Correlations": (CORR,), "Residual": (SIGMA, RHO),
}  # fmt: skip
OWN, PARTIAL, SPREADS = ["no_pooling"], ["blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"], ["blup_sd", "sd"]
"""Columns of the table of group effects, as far as there are such."""
WRAPPED = {
    "censored": "Some responses are censored: known only to lie beyond, or between, the values given.",
    "truncated": "The response is truncated: rows beyond its bounds cannot have been observed.",
    "constrained": "The response is constrained: its distribution is cut off at bounds.",
    "weighted": "Every row has a weight, by which its log likelihood is multiplied.",
}
"""Responses that are not observed as they are, in words."""


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
    widths = [design.effects_of(factor).stop - design.effects_of(factor).start for factor in design.factors]
    effects = [("random effects per level", count(widths[0]))] if len(set(widths)) == 1 else []
    if len(set(widths)) > 1:
        effects = [
            (f"effects per level of {factor.name}", count(width))
            for factor, width in zip(design.factors, widths, strict=True)
        ]
    levels = [(f"levels of {factor.name}", count(len(factor.levels))) for factor in design.factors]
    if design.residual is not None and design.residual.name not in {factor.name for factor in design.factors}:
        levels.append((f"series ({design.residual.name})", count(int(design.residual.codes.max()) + 1)))
    return [
        ("rows", count(design.n)),
        *levels,
        ("fixed effects", count(design.X.shape[1])),
        *effects,
        ("posterior draws", f"{run.chains} × {count(run.draws)}"),
    ]


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


def model_section(model: Model) -> dict[str, Any]:
    """The model in words and in symbols."""
    design = model.design
    texts = categorical(model.data)
    number = numbering(design)
    factors = []
    for factor in design.factors:
        blocks = []
        for part in design.parts_of(factor):
            labels = [
                "in the intercept" if label == "Intercept" else f"in the coefficient of {label}"
                for label in part.block.labels
            ]
            blocks.append({"labels": labels, "correlated": part.free})
        factors.append({"name": factor.name, "blocks": blocks})
    facts = row_facts(design, model.data)
    signs = letters(design)
    numbers = [f"{signs[factor.name][1]} the levels of {factor.name}" for factor in design.factors]
    return {
        "formula": design.formula,
        "response": design.response,
        "family": None if design.family.exact else _family(model),
        "factors": factors,
        "fixed": [term.name for term in design.terms if term.name != names.INTERCEPT],
        "intercept": design.intercept is not None,
        "weights": facts.weights if design.sigma is None else None,
        "se": facts.se,
        "offsets": list(facts.offsets),
        "residual": design.residual,
        "time": facts.time,
        "step": facts.step,
        "equations": equations(design, texts),
        "indices": joined(["i numbers the rows", *numbers]),
        "letters": [(letter, name) for name, (letter, _) in signs.items()] if len(signs) > 1 else [],
        "row": row_index(design),
        "symbols": [
            (k, label) for label, k in sorted(number.items(), key=lambda item: item[1]) if label in design.labels
        ],
        "indicators": any("[" in label and label.split("[")[0] in texts for label in number),
    }


def _family(model: Model) -> dict[str, Any]:
    """Distribution and link of a response that is not Gaussian, in words."""
    design, family = model.design, model.design.family
    return {
        "name": family_of(design),
        "response": response_of(design),
        "described": described(design),
        "parameter": parameter_words(design),
        "link": family.link,
        "ordinal": family.ordinal,
        "sequential": family.name == "sratio",
        "trials": design.trials is not None,
        "several": "" if design.outcomes is None else "other outcome" if family.link == "softmax" else "outcome",
        "observed": WRAPPED.get(family.response, ""),
        "symbol": parent_symbol(design),
        "auxiliary": [(symbol, name) for name, symbol in auxiliary_symbols(design).items()],
    }


def priors_section(model: Model, run: provenance.Run) -> dict[str, Any]:
    """The priors, where they come from, and what is done with them."""
    design, priors, given = model.design, model.priors, model.given_priors
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
        of = f" of {block.factor.name}" if len(design.factors) > 1 else ""
        for term in block.terms:
            for label in term.labels:
                keys = names.effect(term.name, block.factor.name), "group_specific"
                add(f"sd({label}){of}", repr(priors.sds[at]), *keys)
                at += 1
    for part, eta in zip(design.parts, priors.eta, strict=True):
        if part.free:
            of = f" of {part.factor.name}" if len(design.factors) > 1 else ""
            many = "correlations of" if len(part.block.labels) > 2 else "correlation of"
            label = f"{many} {', '.join(part.block.labels)}{of}"
            add(label, f"LKJ(eta={eta:g})", names.corr(part.factor.name, part.number))
    if priors.sigma is not None:
        add("sigma", repr(priors.sigma), names.SIGMA)
    for name, law in priors.auxiliary.items():
        if isinstance(law, tuple):
            for k, prior in enumerate(law):
                add(f"{name}[{k}]" if design.family.ordinal else name, repr(prior), name)
        else:
            add(name, f"held at {law:g}", name)
    if design.residual is not None and priors.rho is not None:
        low, high = design.residual.bounds
        flat = f"Uniform(lower={low:.4g}, upper={high:.4g})"
        add("rho", flat if priors.rho == 1 else f"LKJ(eta={priors.rho:g})", names.RHO)
    return {
        "rows": rows,
        "kept": _kept(model),
        "centered": priors.centered and len(design.labels) > 1,
        "offset": design.offset is not None and design.family.exact,
        "exact": design.family.exact,
        "uniform": any(part.free and eta == 1 for part, eta in zip(design.parts, priors.eta, strict=True)),
        "rho": _density_of_rho(model),
        "sampling": _sampling(model) if run.marginal else _conditional_sampling(model, run),
    }


def _density_of_rho(model: Model) -> str:
    """Prior density of the residual correlation where it is not uniform, in words."""
    residual, eta = model.design.residual, model.priors.rho
    if residual is None or eta is None or eta == 1:
        return ""
    low, high = residual.bounds
    if low == -1.0:
        return f"LKJ with eta {eta:g} gives rho a density proportional to (1 − rho²) to the power of {eta - 1:g}."
    return (
        f"LKJ with eta {eta:g} gives the place of rho in its range, {show(low, 3)} to {high:g}, scaled to 0 to 1, "
        f"the density Beta({eta:g}, {eta:g})."
    )


def _sampling(model: Model) -> str:
    """What was integrated out of the likelihood and what NUTS sampled, in a sentence."""
    design, kept = model.design, _kept(model)
    every = bool(kept) and len(kept) == len(design.labels)
    parameters = [f"sd({label})" for label in design.effect_labels]
    parameters += [names.SIGMA] if design.sigma is None else []
    sampled = parameters[0] if len(parameters) == 1 else "the variance parameters"
    if design.residual is not None:
        sampled = joined([*([sampled] if parameters else []), names.RHO])
    integrated = ["the random effects"] if design.factors else []
    if not kept:
        sampled += " only"
        integrated += ["the fixed effects"] if design.labels else []
    elif every:
        sampled = f"the fixed effects and {sampled}"
    else:
        sampled += f" and the coefficients of {joined(kept)}"
        integrated.append("the fixed effects with Normal priors")
    if not integrated:
        return f"NUTS sampled {sampled}."
    words = joined(integrated)
    if len(integrated) > 1 and kept:
        words = f"{integrated[0]}, and {integrated[1]},"
    return (
        f"{words[0].upper()}{words[1:]} were integrated out of the likelihood and recovered afterwards, exactly; "
        f"NUTS sampled {sampled}."
    )


def _conditional_sampling(model: Model, run: provenance.Run) -> str:
    """What NUTS sampled where random effects were not integrated out."""
    design = model.design
    blocks = zip(design.blocks, run.parameterization.split(", "), strict=True)
    words = {"centered": "centred", "noncentered": "non-centred"}
    forms = [f"({', '.join(block.labels)} | {block.factor.name}) {words.get(form, form)}" for block, form in blocks]
    reason = re.sub(r"(^|; )[^;:]*\|[^;:]* (?:non)?centered: ", r"\1", run.reason)  # the blocks are named already
    why = "as asked for" if run.reason == provenance.ASKED else f"because {reason}"
    return f"NUTS sampled all random effects along with everything else, {joined(forms)}, {why}."


def _kept(model: Model) -> list[str]:
    """Fixed effects that could not be integrated out."""
    return [label for label, keep in zip(model.design.labels, model.priors.kept, strict=True) if keep]


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


def convergence_section(fit: Fit | FamilyFit, run: provenance.Run) -> dict[str, Any]:
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
    model: Model, run: provenance.Run, path: Path, source: str | None, conf_level: float, nagq: int = 1
) -> dict[str, Any]:
    """Formula, code, command, seed and versions."""
    source = provenance.known_data(model) if source is None else source
    design = model.design
    options = provenance.model_arguments(model)
    simple = not model.given_priors and model.center_predictors and not run.unusual and conf_level == 0.95
    told = all(column not in names.ARRAYS for column in options.values())
    command = provenance.command_line(design.formula, source, run, path, options, nagq)
    return {
        "formula": design.formula,
        "code": provenance.python_code(
            design.formula, source, run, path, model.given_priors, model.center_predictors, conf_level, options, nagq
        ),
        "command": command if simple and told else "",
        "source": source,
        "seed": run.seed,
        "chains": run.chains,
        "draws": count(run.draws),
        "tune": count(run.tune) if run.tune is not None else "unknown",
        "versions": provenance.versions(),
    }
