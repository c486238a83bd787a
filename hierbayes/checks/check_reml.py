"""What stands between a REML or ML fit and its conclusions, question by question."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.checks.check import NOTE, OK, PROBLEM, WARNING, Check, Verdict
from hierbayes.checks.collinearity import condition_number, inflation
from hierbayes.checks.identification import indistinct
from hierbayes.checks.influence import influence
from hierbayes.checks.residuals import (
    SHAPIRO_WILK,
    quantiles,
    residuals_table,
    scale_location,
    shape,
    standardised_effects,
)
from hierbayes.design import Factor
from hierbayes.errors import DataError
from hierbayes.estimates import Estimate
from hierbayes.reml import SINGULAR

FEW_LEVELS = 5
"""Of fewer levels a variance is hardly known at all."""
ODDS = 0.01
"""A residual is an outlier where the largest of so many normal ones would be that large with this probability."""
SPREAD = (1.25, 1.5)
"""Ratio of residual standard deviations, at large over small fitted values, for a note and for a warning."""
WIDENING = (np.sqrt(5.0), np.sqrt(10.0))
"""Standard error over what it were without collinearity, for a note and for a warning."""
CONDITION = 30.0
"""Condition number of X that is worth a note (Belsley, Kuh & Welsch 1980)."""
COOK, WARN = 0.5, 1.0
"""Cook's distance of a level for a note, of few levels see `cook_limit`, and for a warning (Cook & Weisberg 1982)."""
DFBETAS = 1.0
"""Of many levels, a coefficient that moves by so many standard errors without one is worth a note too."""
CHANCE = 0.05
"""Probability that among few levels one is noted although none is different."""
TAKEN_OUT = 5_000_000
"""Rows times levels up to which levels are left out one by one where there is no closed form."""


def check_estimate(estimate: Estimate) -> Check:
    """Answer every question about a REML or ML fit.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    Check
        With tables residuals, qq, scale_location, collinearity, and by grouping factor influence, effects and
        their qq.

    Examples
    --------
    >>> import hierbayes as hb
    >>> check = check_estimate(hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml())
    >>> check.worst, sorted(check.tables)[:3]
    ('ok', ['collinearity', 'effects of Batch', 'influence of Batch'])
    """
    table = residuals_table(estimate)
    tables = {
        "residuals": table,
        "qq": quantiles(table["standardised"].to_numpy()),
        "scale_location": scale_location(table),
        "collinearity": inflation(estimate),
    }
    found = [
        *_rows(estimate),
        _convergence(estimate),
        *_boundary(estimate),
        *_identification(estimate),
        *_normality(table),
        _outliers(table),
        *_spread(tables["scale_location"]),
        *_collinearity(estimate, tables["collinearity"]),
    ]
    for factor in estimate.design.factors:
        tables[f"effects of {factor.name}"] = effects = standardised_effects(estimate, factor)
        tables[f"qq of {factor.name}"] = pd.concat(
            [quantiles(values.to_numpy()).assign(term=term) for term, values in effects.items()], ignore_index=True
        )
        found += _effects(factor, effects)
    for name, levels in [(factor.name, len(factor.levels)) for factor in estimate.design.groupings]:
        if estimate.moments.forest is not None and levels * estimate.nobs > TAKEN_OUT:
            text = f"Leaving out each of {levels} levels of {name} would take long, so that was not done."
            found.append(Verdict("influence", NOTE, text, next=f"Ask for it: influence({name!r})."))
            continue
        try:
            tables[f"influence of {name}"] = one = influence(estimate, name)
        except DataError as refused:
            found.append(Verdict("influence", NOTE, str(refused), next="Nothing can be said about influence here."))
            continue
        found += _influence(estimate, name, one)
    return Check(f"the {estimate.method} fit of {estimate.design.formula}", found, tables)


def _rows(estimate: Estimate) -> list[Verdict]:
    design = estimate.design
    if not design.n_dropped:
        return []
    text = (
        f"{design.n_dropped} of {design.n + design.n_dropped} rows were left out for missing values in "
        f"{', '.join(design.dropped_columns)}."
    )
    remedy = "Ask why they are missing: if that depends on the response itself, the estimates are biased."
    return [Verdict("rows", NOTE, text, float(design.n_dropped), remedy)]


def _convergence(estimate: Estimate) -> Verdict:
    gradient = estimate.optimum.gradient
    if estimate.converged:
        return Verdict(
            "convergence", OK, f"The optimiser is at a maximum: largest gradient {gradient:.1e}.", gradient
        )
    text = f"The numbers are not estimates: {estimate.message}."
    return Verdict("convergence", PROBLEM, text, gradient, "Rescale or centre predictors, or simplify the model.")


def _boundary(estimate: Estimate) -> list[Verdict]:
    found = []
    for factor in estimate.design.factors:
        where = estimate.design.effects_of(factor)
        smallest = float(np.linalg.svd(estimate.optimum.relative[where, where], compute_uv=False)[-1])
        if smallest < SINGULAR:
            text = (
                f"Some combination of the random effects of {factor.name} has no variance: the estimate is on the "
                "boundary, and standard errors of variances do not exist there."
            )
            remedy = "Look at the posterior for what the data leave open, or take a random effect out."
            found.append(Verdict("boundary", WARNING, text, smallest, remedy))
        else:
            found.append(_inside(estimate, factor))
        if len(factor.levels) < FEW_LEVELS:
            text = f"{factor.name} has {len(factor.levels)} levels, too few to know a variance from."
            remedy = f"Make {factor.name} a fixed effect, or use an informative prior and the posterior."
            found.append(Verdict("levels", NOTE, text, float(len(factor.levels)), remedy))
    return found


def _inside(estimate: Estimate, factor: Factor) -> Verdict:
    """How far from the boundary, in the units of the table of variances."""
    where = estimate.design.effects_of(factor)
    ratio = float(np.sqrt(max(np.linalg.eigvalsh(estimate.covariance[where, where])[0], 0.0)) / estimate.sigma)
    combined = any(part.free for part in estimate.design.parts_of(factor))
    what = "combination of effects" if combined else "effect"
    text = (
        f"No variance is zero: the smallest standard deviation of {'any' if combined else 'an'} {what} of "
        f"{factor.name} is {ratio:.2g} times the residual one."
    )
    return Verdict("boundary", OK, text, ratio)


def _identification(estimate: Estimate) -> list[Verdict]:
    finding, remedy = indistinct(estimate)
    return [Verdict("identification", WARNING, finding, next=remedy)] if finding else []


def _normality(table: pd.DataFrame) -> list[Verdict]:
    """Shapiro-Wilk where it means something; skewness and kurtosis in any case."""
    found = shape(table["standardised"].to_numpy())
    remedy = "Look at the Q-Q plot; transform the response, or show the fit without the extreme rows."
    return [_shaped("residuals", "The standardised residuals", found, remedy)]


def _shaped(topic: str, subject: str, found: dict[str, float], remedy: str) -> Verdict:
    n = int(found["n"])
    numbers = f"skewness {found['skewness']:.2f}, excess kurtosis {found['kurtosis']:.2f}"
    far = abs(found["skewness"]) > 1.0 or abs(found["kurtosis"]) > 2.0
    if n > SHAPIRO_WILK:
        somewhat = abs(found["skewness"]) > 0.5 or abs(found["kurtosis"]) > 1.0
        severity, figure = WARNING if far else NOTE if somewhat else OK, found["kurtosis"]
        numbers += f"; with {n} of them a test of normality would reject any data"
    elif not np.isfinite(found["p_value"]):
        return Verdict(topic, OK, f"{subject} are too few ({n}) to judge their shape.", float(n))
    else:
        p = found["p_value"]
        severity, figure = WARNING if p < 0.001 and far else NOTE if p < 0.01 else OK, p
        numbers += f", Shapiro-Wilk W = {found['W']:.3f}, p = {p:.2g}"
    how = "look normal" if severity == OK else "have a shape other than normal"
    return Verdict(topic, severity, f"{subject} {how}: {numbers}.", figure, "" if severity == OK else remedy)


def _outliers(table: pd.DataFrame) -> Verdict:
    values = table.dropna(subset="standardised").set_index("row")["standardised"]
    limit = float(stats.norm.isf(0.5 * ODDS / max(len(values), 1)))
    out = values[values.abs() > limit].sort_values(key=np.abs, ascending=False, kind="stable")
    largest = float(values.abs().max()) if len(values) else np.nan
    if out.empty:
        return Verdict("outliers", OK, f"The largest of {len(values)} residuals is {largest:.1f} sd.", largest)
    listed = ", ".join(f"row label {row} ({value:+.1f} sd)" for row, value in out.head(3).items())
    more = f" and {len(out) - 3} more" if len(out) > 3 else ""
    are = "is" if len(out) == 1 else "are"
    text = f"{len(out)} of {len(values)} residuals {are} too large for a normal distribution: {listed}{more}."
    return Verdict("outliers", WARNING, text, largest, "Check these rows; see whether conclusions hold without them.")


def _spread(points: pd.DataFrame) -> list[Verdict]:
    """Whether residuals are wider where the fitted value is larger."""
    if len(points) < 10 or np.ptp(points["fitted"]) == 0:
        return []
    line = stats.linregress(points["fitted"], points["root"])
    low, high = line.intercept + line.slope * points["fitted"].quantile([0.1, 0.9]).to_numpy()
    ratio = (max(high, 0.1 * points["root"].mean()) / max(low, 0.1 * points["root"].mean())) ** 2
    size = max(ratio, 1.0 / ratio)
    p = float(line.pvalue)
    severity = WARNING if p < 0.001 and size > SPREAD[1] else NOTE if p < 0.01 and size > SPREAD[0] else OK
    text = (
        f"Residuals at large fitted values (90th percentile) are {ratio:.2f} times as wide as at small ones (10th); "
        f"slope of the scale-location plot: p = {p:.2g}."
    )
    remedy = "Transform the response (a logarithm), or give weights." if severity != OK else ""
    return [Verdict("spread", severity, text, ratio, remedy)]


def _effects(factor: Factor, effects: pd.DataFrame) -> list[Verdict]:
    """Whether random effects look normal, and whether a level stands out."""
    found = []
    for term, values in effects.items():
        z = values.dropna()
        if z.empty:
            continue
        remedy = (
            f"Look at the Q-Q points in tables['qq of {factor.name}']; a predictor of the levels may be missing, or "
            "some levels are of another kind."
        )
        found.append(_shaped("random effects", f"The {term} effects of {factor.name}", shape(z.to_numpy()), remedy))
        limit, largest = float(stats.norm.isf(0.5 * ODDS / len(z))), float(z.abs().max())
        if largest > limit:
            text = (
                f"Level {z.abs().idxmax()!s} of {factor.name} stands out: its {term} effect is {largest:.1f} "
                "standard deviations from the mean, more than the law of the others allows."
            )
            found.append(
                Verdict("random effects", WARNING, text, largest, "Look at its rows; try the fit without it.")
            )
    return found


def _variables(term: str) -> set[str]:
    """Names in a term that are not those of functions or modules: ``{"x"}`` of ``I(x ** 2)``."""
    return set(re.findall(r"\b[^\W\d]\w*\b(?!\s*[(.])", term))


def _collinearity(estimate: Estimate, table: pd.DataFrame) -> list[Verdict]:
    if table.empty:
        return []
    worst = table.loc[table["widening"].idxmax()]
    high = table[table["widening"] > WIDENING[0]]
    kappa = condition_number(estimate)
    if high.empty:
        text = f"Standard errors are at most {worst['widening']:.1f} times as wide as without collinearity."
        found = [Verdict("collinearity", OK, text, float(worst["widening"]))]
        if kappa > CONDITION:
            text = f"A predictor is far from zero for its spread (condition number {kappa:.0f})."
            remedy = "Centre it, so that the intercept means something; the fit itself is not affected."
            found.append(Verdict("collinearity", NOTE, text, kappa, remedy))
        return found
    used = {term.name: _variables(term.name) for term in estimate.design.terms}
    shared = [any(used[name] & used[other] for other in used if other != name) for name in high["term"]]
    listed = ", ".join(f"{row['term']} {row['widening']:.1f}" for _, row in high.iterrows())
    text = f"Collinearity widens standard errors by these factors: {listed}."
    if all(shared):
        remedy = (
            "These terms are built on the same variables (interactions, powers): centre the numeric predictors "
            "before reading one of them alone."
        )
        return [Verdict("collinearity", NOTE, text, float(worst["widening"]), remedy)]
    severity = WARNING if worst["widening"] > WIDENING[1] else NOTE
    remedy = "Their separate effects are hardly identified: take one out, or combine them."
    return [Verdict("collinearity", severity, text, float(worst["widening"]), remedy)]


def cook_limit(levels: int) -> float:
    """Cook's distance of a level that is worth a note.

    Of the mean of J levels, all of one normal distribution, a level has a distance distributed as Beta(1/2,
    (J - 2)/2): of few levels one is always far from the others.

    Examples
    --------
    >>> [round(cook_limit(levels), 2) for levels in (4, 6, 18)]
    [0.98, 0.85, 0.5]
    """
    return max(COOK, float(stats.beta.isf(CHANCE / levels, 0.5, 0.5 * (levels - 2))))


def _influence(estimate: Estimate, name: str, table: pd.DataFrame) -> list[Verdict]:
    """The most influential level, with an exact refit without it."""
    found = []
    lost = table[table["cook"].isna()]
    if len(lost):
        text = (
            f"Without level {lost['level'].iloc[0]!s} of {name} some fixed effect cannot be estimated"
            + (f" (the same holds for {len(lost) - 1} more)" if len(lost) > 1 else "")
            + ": the effect rests on that level alone."
        )
        found.append(
            Verdict("influence", NOTE, text, float(len(lost)), "Do not generalise that effect to other levels.")
        )
    known = table.dropna(subset="cook")
    if known.empty:
        return found
    top = known.loc[known["cook"].idxmax()]
    cook, level = float(top["cook"]), str(top["level"])
    if len(table) == 2:
        text = (
            f"{name} has two levels: without one of them the other is the answer, so neither is called influential."
        )
        return [*found, Verdict("influence", OK, text, cook)]
    limit = cook_limit(len(table))
    others = int((known["cook"] > limit).sum()) - 1
    far = limit == COOK and (np.abs(known.filter(like="dfbetas[")) > DFBETAS).any(axis=None)
    if others < 0 and not far:
        text = (
            f"No level of {name} moves the fixed effects much: the largest Cook's distance is {cook:.2f} ({level})."
        )
        return [*found, Verdict("influence", OK, text, cook)]
    exact = influence(estimate, name, refit=[level]).iloc[0]
    labels = estimate.design.labels
    moved = max(labels, key=lambda label: abs(exact[f"dfbetas[{label}]"]))
    text = (
        f"Level {level} of {name} moves the fixed effects most: Cook's distance {cook:.2f} ({exact['cook']:.2f} with "
        f"variances estimated again). Without it {moved} is {estimate.fixef[moved] - exact[f'dfbeta[{moved}]']:.4g} "
        f"instead of {estimate.fixef[moved]:.4g}, {abs(exact[f'dfbetas[{moved}]']):.1f} standard errors away."
    )
    if others > 0:
        text += f" {others} more exceed {limit:.2g}."
    remedy = f"Look at the rows of {level}, and say whether conclusions hold without it."
    return [*found, Verdict("influence", WARNING if cook > WARN else NOTE, text, cook, remedy)]
