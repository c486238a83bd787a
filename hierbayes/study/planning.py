"""Plans of studies: from a formula and what is said of it, or from a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, FormulaError, HierbayesError
from hierbayes.estimates import Estimate, Posterior, Sampled
from hierbayes.from_bambi.columns import blocks_of
from hierbayes.from_bambi.formula import parse
from hierbayes.specification import Specification, required, specify
from hierbayes.study.extension import extended, grouping_columns
from hierbayes.study.grid import Grid, between_groups, check_names, designs, sources
from hierbayes.study.plan import Plan
from hierbayes.study.truth import (
    Key,
    Truth,
    check_complete,
    check_constants,
    defaults,
    given_correlations,
    given_effects,
    given_residual,
    given_sds,
)

Sizes = list[dict[str, Any]]
Given = dict[str, Any]


def from_formula(
    formula: str,
    given: Given,
    groups: Any,
    rows: Any,
    within: Any,
    between: Any,
    data: Any,
    arguments: Given,
    seed: int,
) -> tuple[Sizes, tuple[Plan, ...]]:
    """Plans of studies that only a formula describes."""
    response = formula.split("~", 1)[0].strip()
    if not response.isidentifier():
        raise FormulaError(
            f'The formula {formula!r} must begin with the name of the response that is simulated, as in "y ~ …".'
        )
    if data is not None:
        planned = {"groups": groups, "rows": rows, "within": within, "between": between}
        for name, value in planned.items():
            if value is not None:
                raise ValueError(f"data= has the groups, rows and predictors already; leave {name}= out.")
        template = _template(formula, data.assign(**{response: _noise(seed, 0, len(data))}), arguments)
        plan = Plan(0, template, _truth(given, template.design), seed)
        return [_counted(template.design)], (plan,)
    if groups is None or rows is None:
        raise ValueError("groups= and rows= say how large the study is; or give data= with the predictors planned.")
    factors = _grouping(formula, arguments["residual"])
    columns = list(dict.fromkeys(column for factor in factors for column in factor))
    inside, across = sources(within, "within"), between_groups(between, factors)
    check_names([response], columns, inside, *across.values())
    sizes, plans = [], []
    for point, (levels, size) in enumerate(designs(groups, rows, columns)):
        grid = Grid(levels, size, inside, across)
        drawn = grid.draw(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(point,))))
        noise = _noise(seed, point, grid.n)
        template = _template(formula, pd.DataFrame({response: noise, **grid.fixed, **drawn}), arguments)
        plans.append(Plan(point, template, _truth(given, template.design), seed, grid if grid.random else None))
        sizes.append({**_named(levels), "rows": size if isinstance(size, int) else ", ".join(map(str, size))})
    return sizes, tuple(plans)


def _named(levels: Mapping[str, int]) -> dict[str, int]:
    """Numbers of levels under the names of their columns in the table."""
    return {"groups" if len(levels) == 1 else f"groups[{name}]": count for name, count in levels.items()}


def _counted(design: Design) -> dict[str, Any]:
    """Levels of every grouping factor, and mean rows of a level of the first, as sizes."""
    counts = {factor.name: len(factor.levels) for factor in design.groupings}
    (size, *others) = counts.values()
    return _named(counts) | ({} if others else {"rows": design.n / size})


def _noise(seed: int, point: int, n: int) -> np.ndarray:
    """A response for a template: it means nothing."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(point, 0, 2))).standard_normal(n)


def _template(formula: str, frame: pd.DataFrame, arguments: Given) -> Specification:
    template = specify(formula, frame, **arguments)
    if template.design.n_dropped:
        raise DataError(
            f"The predictors planned have missing values in {', '.join(template.design.dropped_columns)}."
        )
    return template


def _grouping(formula: str, residual: str | None) -> list[tuple[str, ...]]:
    """Columns of the grouping factors of a formula, in its order."""
    parsed = parse(formula, random=residual is None)
    found = [tuple(part.name for part in term.factor.components) for _, terms in blocks_of(parsed) for term in terms]
    if not found and residual is not None:
        found = [tuple(residual.rstrip(") ").split("|" if "|" in residual else "(")[-1].strip().split(":"))]
    return list(dict.fromkeys(found))


def _truth(given: Given, design: Design) -> Truth:
    """Parameters as given, complete."""
    values = defaults(design) | _overriding(given, design)
    check_complete(values, design)
    truth = Truth(values)
    check_constants(truth, design)
    return truth


def _overriding(given: Given, design: Design) -> dict[Key, Any]:
    return (
        given_effects(given["effects"], design)
        | given_sds(given["sds"], design)
        | given_correlations(given["correlations"], design)
        | given_residual(given["sigma"], given["rho"], design)
    )


def from_fit(
    fit: Any, given: Given, groups: Any, rows: Any, draws: bool, seed: int
) -> tuple[Sizes, tuple[Plan, ...]]:
    """Plans of studies like the one that was fitted."""
    if not isinstance(fit, Estimate | Posterior):
        if isinstance(fit, Sampled) or hasattr(fit, "fixef"):
            raise HierbayesError(f"power() simulates Gaussian responses with identity link, not {fit.design.family}.")
        raise TypeError(f"power() takes a formula, a REML or ML fit, or a posterior, not a {type(fit).__name__}.")
    specification = required(fit.specification)
    values = _overriding(given, fit.design)
    if isinstance(fit, Posterior) and draws:
        truth = Truth(values, fit.parameter_draws())
    else:
        known = fit.parameter_draws().mean() if isinstance(fit, Posterior) else fit.parameter_values
        truth = Truth({key: 0.0 if np.isnan(value) else float(value) for key, value in known.items()} | values)
    check_constants(truth, fit.design)
    if groups is None and rows is None:
        return [_counted(fit.design)], (Plan(0, specification, truth, seed),)
    columns = grouping_columns(fit.design)
    known = list(dict.fromkeys(column for factor in columns for column in factor))
    chosen = _chosen(groups, list(dict.fromkeys(":".join(each.name for each in fit.design.groupings).split(":"))))
    levels = {name: specification.data[name].nunique() for name in known} | chosen
    sizes, plans = [], []
    for point, (counts, size) in enumerate(designs(levels, 1 if rows is None else rows, known)):
        if isinstance(size, tuple):
            raise ValueError("rows= of a fit is a number, or a list of alternatives.")
        wanted = {name: counts[name] for name in chosen}
        data = extended(specification.data, columns, wanted, None if rows is None else size)
        if rows is not None and fit.design.residual is not None and fit.design.residual.kind == "ar1":
            _check_series(specification.data, known, size)
        plan = Plan(point, _like(specification, data), truth, seed)
        plans.append(plan)
        sizes.append(_counted(plan.template.design) | ({} if rows is None else {"rows": size}))
    return sizes, tuple(plans)


def _chosen(groups: Any, known: Sequence[str]) -> dict[str, Any]:
    """Numbers of levels wanted, by grouping column of a fit."""
    if groups is None or isinstance(groups, Mapping):
        return dict(groups or {})
    if len(known) > 1:
        raise ValueError(f"groups= must say of what: groups={{{known[0]!r}: 40}}.")
    return {known[0]: groups}


def _check_series(data: pd.DataFrame, columns: list[str], rows: int) -> None:
    """Refuse more rows than a time series has: a time cannot be used again."""
    shortest = int(data.groupby(columns, observed=True).size().min())
    if rows > shortest:
        raise ValueError(
            f"rows={rows} is more than the {shortest} rows of the shortest time series, whose times cannot be used "
            "again; plan longer series with a formula."
        )


def _like(s: Specification, data: pd.DataFrame) -> Specification:
    """The specification of a fit with other rows.

    A formula whose columns depend on all rows, as ``scale(x)``, keeps what it learned from the rows fitted, so that
    its coefficients mean the same; ``within(x, g)`` and ``between(x, g)`` take the means of the groups planned.
    """
    made = specify(
        s.formula, data, weights=s.weights, se=s.se, residual=s.residual, namespace=s.namespace,
        center_predictors=s.center_predictors, priors=s.priors_given,
    )  # fmt: skip
    there, here = ({*each.design.labels, *each.design.effect_labels} for each in (s, made))
    other = there ^ here
    if other:
        lost = ", ".join(sorted(other))
        raise DataError(f"With so few groups or rows the formula has other coefficients, in {lost}; take more.")
    planned = data.assign(**{name: "planned " + data[name].astype(str) for name in s.groups_of_means})
    rows = s.new_rows(planned, response=True)
    blocks = tuple(replace(block, Z=Z) for block, Z in zip(made.design.blocks, rows.Z, strict=True))
    return replace(made, design=replace(made.design, X=rows.X, blocks=blocks, offset=rows.offset))
