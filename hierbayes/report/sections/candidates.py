"""Several models side by side: formulas, scores, criteria, tests, estimates; and what there is to say of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from hierbayes.plots.elpd import CLEAR, SMALL, verdict

from ..candidates import Candidate
from ..coefficients import Finding
from ..comparison import Comparison
from ..estimates import FIXED, SD, SIGMA, Estimate
from ..numbers import DASH, count, joined, p_text, places, show, typeset
from ..scores import Scores, to_predict
from .checks import checks_section
from .convergence import convergence_section
from .estimates import estimates_section
from .grid import grid
from .predictors import references
from .priors import priors_section


def candidates_section(
    candidates: Sequence[Candidate],
    comparison: Comparison,
    scores: dict[str, Scores],
    problems: dict[str, list[Finding]],
) -> dict[str, Any]:
    """Everything that stands in the section of the candidates."""
    return {
        "formulas": _formulas(candidates),
        "scores": [_scored(key, table, comparison.remarks[key]) for key, table in comparison.scores.items()],
        "absent": list(comparison.absent.values()),
        "criteria": _criteria(comparison.criteria),
        "tests": _tests(comparison.tests),
        "not_nested": [f"{a} and {b}" for a, b in comparison.not_nested],
        "estimates": _estimates(candidates),
        "others": [_other(candidate, problems[candidate.label]) for candidate in candidates[1:]],
        "small_below": f"{SMALL:g}",
        "clear_from": f"{CLEAR:g}",
        "main": candidates[0].label,
    }


def _formulas(candidates: Sequence[Candidate]) -> dict[str, Any]:
    rows = []
    for candidate in candidates:
        design = candidate.design
        more = [] if design.residual is None else [f"residual {design.residual.text}"]
        more += [] if design.family.exact else [str(design.family)]
        trouble = "yes" if candidate.maximum is not None and candidate.maximum.singular else "no"
        converged = "yes" if candidate.fit.convergence.ok else "no"
        rows.append(
            (
                candidate.label,
                ", ".join([candidate.described, *more]),
                count(design.X.shape[1]),
                trouble if candidate.maximum is not None else DASH,
                converged,
            )
        )
    columns = ["Model", "Formula", "Fixed effects", "Singular", "Draws converged"]
    return grid(columns, rows, numeric=(2,))


def _scored(key: str, table: pd.DataFrame, remarks: list[str]) -> dict[str, Any]:
    errors = table["dse"].iloc[1:]
    digits = places(
        [float(table["elpd"].abs().max())], [float(errors[errors > 0].min())] if (errors > 0).any() else []
    )
    rows = []
    for k, (name, row) in enumerate(table.iterrows()):
        difference = float(row["elpd_diff"])
        said = "best" if k == 0 else verdict(difference, float(row["dse"]), table.attrs.get("items"))
        away = [DASH, DASH] if k == 0 else [show(difference, digits), show(float(row["dse"]), digits)]
        numbers = [show(float(row["elpd"]), digits), show(float(row["se"]), digits), show(float(row["weight"]), 2)]
        rows.append((str(name), said, *away, *numbers))
    columns = ["Model", "Verdict", "Difference", "Its standard error", "elpd", "Standard error", "Weight"]
    return {
        "title": to_predict(key),
        "table": grid(columns, rows, numeric=(2, 3, 4, 5, 6)),
        "remarks": [typeset(remark) for remark in remarks],
    }


def _criteria(table: pd.DataFrame) -> dict[str, Any]:
    rows = [
        (
            row.model,
            row.method or DASH,
            show(row.n_par, 0),
            *(show(value, 2) for value in (row.loglik, row.AIC, row.BIC)),
        )
        for row in table.astype(dict.fromkeys(("n_par", "loglik", "AIC", "BIC"), float)).itertuples()
    ]
    return grid(["Model", "Method", "Parameters", "Log likelihood", "AIC", "BIC"], rows, numeric=(2, 3, 4, 5))


def _tests(table: pd.DataFrame) -> dict[str, Any] | None:
    if table.empty:
        return None
    rows = [
        (
            f"{row.smaller} in {row.larger}",
            row.method,
            show(row.chisq, 3),
            show(row.df, 0),
            p_text(row.p_value).removeprefix("p ").removeprefix("= "),
            row.note,
        )
        for row in table.itertuples()
    ]
    return grid(["Model", "Method", "χ²", "df", "p", "How p was computed"], rows, numeric=(2, 3))


def _estimates(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Posterior means with standard deviations, and the maxima, of all parameters of all candidates."""
    known = [_by_meaning(candidate) for candidate in candidates]
    keys = dict.fromkeys(key for found in known for key in found)
    order = sorted(keys, key=lambda key: (key[0] != FIXED, key[0] == SIGMA))
    several = len({group for _, group, _, _ in order if group}) > 1
    columns, rows = ["Parameter"], []
    for candidate in candidates:
        columns += [f"{candidate.label}: {candidate.short}"] if candidate.maximum is not None else []
        columns.append(f"{candidate.label}: posterior")
    for key in order:
        cells = [_name(key, several, order)]
        for candidate, found in zip(candidates, known, strict=True):
            row = found.get(key)
            sides = ([] if candidate.maximum is None else ["maximum"]) + ["posterior"]
            for side in sides:
                value = None if row is None else getattr(row, side)
                cells.append(DASH if row is None or value is None else _with_error(row, value))
        rows.append(cells)
    return grid(columns, rows)


def _by_meaning(candidate: Candidate) -> dict[tuple[str, str, str, str], Estimate]:
    """Rows by kind, grouping factor, effect, and the reference levels that a coefficient is a difference to."""
    known = references(candidate.design, candidate.model.data)
    made = {}
    for row in candidate.rows:
        against = ""
        if row.kind == FIXED and "[" in row.effect:
            parts = {name: level for name, level in known.items() if f"{name}[" in row.effect}
            against = joined([f"{name} {level}" for name, level in parts.items()]) or "itself"
        made[row.kind, row.group, row.effect, against] = row
    return made


def _name(key: tuple[str, str, str, str], several: bool, order: Sequence[tuple[str, str, str, str]]) -> str:
    """A parameter in the table of all candidates; what it is a difference to where candidates do not agree on it."""
    kind, group, effect, against = key
    text = f"sd({effect})" if kind == SD else effect
    text += f" of {group}" if group and several else ""
    if sum(other[:3] == key[:3] for other in order) > 1:
        text += " (by itself)" if against == "itself" else f" (against {against})"
    return text


def _with_error(row: Any, side: Any) -> str:
    text: str = row.show(side.estimate)
    error = row.show(side.error)
    return text if error == DASH else f"{text} ({error})"


def _other(candidate: Candidate, problems: list[Finding]) -> dict[str, Any]:
    """A further candidate: what is wrong with it, estimates, priors, convergence and checks."""
    return {
        "label": candidate.label,
        "formula": candidate.design.formula,
        "name": candidate.name,
        "key": candidate.key,
        "method": candidate.method,
        "level": candidate.level,
        "problems": problems,
        "estimates": estimates_section(candidate.rows, candidate.maximum, candidate.design, candidate.method),
        "priors": priors_section(candidate.model, candidate.run),
        "convergence": convergence_section(candidate.fit, candidate.run),
        "checks": checks_section(candidate),
    }
