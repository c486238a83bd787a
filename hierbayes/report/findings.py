"""What the two fits say, in sentences, and first of all what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE
from hierbayes.partial_pooling.shrinkage import finer
from hierbayes.reml import SINGULAR

from .estimates import CORR, RHO, SD, SIGMA, Estimate
from .numbers import count, joined, show
from .rows import row_facts

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import Fit, RemlFit

APART = 0.5
"""REML and the posterior are said to differ where they are this many posterior standard deviations apart."""
EDGE = 1e-6
"""A correlation that is this close to -1 or 1 counts as on the boundary."""
MOST = 12
"""Coefficients that get a sentence of their own."""
FEW = 4
"""Disagreements that are spelled out."""


@dataclass(frozen=True)
class Finding:
    """A claim and what it rests on.

    Parameters
    ----------
    claim, evidence : str
    """

    claim: str
    evidence: str = ""


def problems(reml: RemlFit, fit: Fit, rows: list[Estimate]) -> list[Finding]:
    """Everything that stands between the reader and trusting the numbers, the gravest first.

    Parameters
    ----------
    reml : RemlFit
    fit : Fit
    rows : list of Estimate

    Returns
    -------
    list of Finding
        Empty if all is well.
    """
    found = []
    if not reml.converged:
        found.append(Finding("The REML fit did not converge.", f"Its numbers are not estimates: {reml.message}."))
    if fit.convergence.problems:
        found.append(Finding("The sampler gives reason for doubt.", " ".join(fit.convergence.problems)))
    if reml.singular:
        found.append(_singular(reml, rows))
    design = reml.design
    if design.n_dropped:
        columns = ", ".join(design.dropped_columns)
        found.append(
            Finding(
                f"{count(design.n_dropped)} of {count(design.n + design.n_dropped)} rows were left out.",
                f"They have missing values in {columns}; both inferences use the other {count(design.n)} rows.",
            )
        )
    return found


def _singular(reml: RemlFit, rows: list[Estimate]) -> Finding:
    at_edge = _vanishing(reml, rows)
    at_edge += [row for row in rows if row.kind == CORR and abs(row.reml.estimate) >= 1 - EDGE]
    if at_edge:
        what = joined([f"{row.label} is {show(row.reml.estimate, 0)}" for row in at_edge])
        where = f"By REML, {what}, the end of its range"
    else:
        where = "By REML, some combination of the random effects has no variance"
    concerned = list(dict.fromkeys(row.group for row in at_edge if row.group))
    of = joined(concerned or [factor.name for factor in reml.design.factors])
    text = (
        f"{where}: that is where the likelihood peaks, not proof that the levels of {of} are alike. "
        "Standard errors and Wald intervals of the variance parameters do not exist there, and the BLUPs take the "
        "boundary as known."
    )
    if at_edge:
        left = [
            f"{row.label} has mean {row.show(row.posterior.estimate)} and {_range(row, level='')}" for row in at_edge
        ]
        text += f" The posterior shows what the data leave open: {joined(left)}."
    return Finding("The REML fit is singular.", text)


def _vanishing(reml: RemlFit, rows: list[Estimate]) -> list[Estimate]:
    """Standard deviations that REML puts at zero, judged by what they add to the response."""
    design = reml.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    sizes = [size for block in design.blocks for size in np.sqrt((weights[:, None] * block.Z**2).mean(axis=0))]
    sds = [row for row in rows if row.kind == SD]
    return [row for row, size in zip(sds, sizes, strict=True) if row.reml.estimate * size <= SINGULAR * reml.sigma]


def findings(
    reml: RemlFit, fit: Fit, rows: list[Estimate], data: pd.DataFrame, level: str, references: dict[str, str]
) -> list[Finding]:
    """Say what the fits say: average effects, differences between groups, agreement.

    Parameters
    ----------
    reml : RemlFit
    fit : Fit
    rows : list of Estimate
    data : pandas.DataFrame
        The rows used.
    level : str
        Of the intervals, such as ``"95%"``.
    references : dict of str to str
        Reference level of every categorical predictor that has one.

    Returns
    -------
    list of Finding
    """
    fixed = [row for row in rows if row.kind == FIXED]
    predictors = [row for row in fixed if row.label != "Intercept"]
    shown = predictors[:MOST] if predictors else fixed
    made = [_average(row, reml.design, data, level, references) for row in shown]
    if len(predictors) > MOST:
        made.append(Finding(f"The other {len(predictors) - MOST} coefficients are in the table of estimates."))
    return [*made, *_groups(reml, fit, rows, level), *_series(reml.design, rows, data, level), _agreement(rows)]


def _average(row: Estimate, design: Design, data: pd.DataFrame, level: str, references: dict[str, str]) -> Finding:
    average = f"The average {design.response}" + ("" if design.offset is None else " less its offset")
    if row.label == "Intercept":
        return Finding(f"{average} is {row.show(row.reml.estimate)}.", _numbers(row, level))
    cell = _cell(row.label, data, references)
    if cell and len(_parts(row.label)) == 1:
        mean = row.show(row.reml.estimate)
        return Finding(f"{average} for {cell[0]} {cell[1]} is {mean}.", _numbers(row, level))
    both, neither = _zero(row)
    if both:
        claim = _comparison(row, design, data, references)
    elif neither:
        claim = f"The data do not settle the direction of {_subject(row.label, design, references)}."
    else:
        claim = (
            f"The two inferences differ on whether {_subject(row.label, design, references)} is distinct from zero."
        )
    closing = "The REML interval takes the estimated variances as known; the posterior does not."
    if both or neither:
        closing = f"Both intervals {'exclude' if both else 'include'} zero."
    return Finding(claim, f"{_numbers(row, level)} {closing}")


def _zero(row: Estimate) -> tuple[bool, bool]:
    """Whether both intervals exclude zero, on the same side, and whether both include it."""
    a, b = row.reml, row.posterior
    same = np.sign(a.estimate) == np.sign(b.estimate)
    return a.excludes_zero and b.excludes_zero and bool(same), not a.excludes_zero and not b.excludes_zero


def _numbers(row: Estimate, level: str) -> str:
    a, b = row.reml, row.posterior
    return (
        f"REML {row.show(a.estimate)}, {level} interval {_ends(row, a.low, a.high)}; "
        f"posterior mean {row.show(b.estimate)}, {level} interval {_ends(row, b.low, b.high)}."
    )


def _range(row: Estimate, level: str) -> str:
    words = f"{level} interval".strip()
    return f"{words} {_ends(row, row.posterior.low, row.posterior.high)}"


def _ends(row: Estimate, low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "not defined"
    return f"{row.show(low)} to {row.show(high)}"


def _parts(label: str) -> list[str]:
    """Factors of an interaction; a colon inside brackets does not part anything."""
    return re.split(r":(?![^\[(]*[\])])", label)


def _category(part: str, references: dict[str, str]) -> tuple[str, str] | None:
    """Predictor and level of ``recipe[B]``, if that predictor has a reference level."""
    match = re.fullmatch(r"(.+)\[(.+)\]", part)
    return (match[1], match[2]) if match and match[1] in references else None


def _subject(label: str, design: Design, references: dict[str, str]) -> str:
    """What a coefficient is about, as the object of a sentence."""
    parts = _parts(label)
    if len(parts) > 1:
        return f"the interaction {label}"
    category = _category(label, references)
    if category:
        return f"the difference between {category[0]} {category[1]} and {references[category[0]]}" + _where(
            label, design, references
        )
    what = "coefficient" if "[" in label or "(" in label else "effect"
    return f"the {what} of {label}" + _where(label, design, references)


def _comparison(row: Estimate, design: Design, data: pd.DataFrame, references: dict[str, str]) -> str:
    """What a coefficient says about the response."""
    parts = _parts(row.label)
    categories = [_category(part, references) for part in parts]
    amount = f"{row.show(abs(row.reml.estimate))} {'higher' if row.reml.estimate >= 0 else 'lower'}"
    if len(parts) == 1:
        where = _where(row.label, design, references)
        if categories[0]:
            name, level = categories[0]
            return f"{design.response} is {amount} for {name} {level} than for {references[name]}{where}."
        if row.label in data.columns:
            return f"{design.response} is {amount} for each unit of {row.label}{where}."
        return f"The coefficient of {row.label} is {row.show(row.reml.estimate)}{where}."
    known = [category for category in categories if category]
    if len(parts) == 2 and len(known) == 1:
        name, level = known[0]
        slope = parts[1] if categories[0] else parts[0]
        return (
            f"The change of {design.response} for each unit of {slope} is {amount} for {name} {level} "
            f"than for {references[name]}."
        )
    cell = _cell(row.label, data, references)
    if len(parts) == 2 and cell:
        slope = parts[1] if parts[0] == f"{cell[0]}[{cell[1]}]" else parts[0]
        return f"{design.response} is {amount} for each unit of {slope} for {cell[0]} {cell[1]}."
    return f"The interaction {row.label} is {row.show(row.reml.estimate)}."


def _cell(label: str, data: pd.DataFrame, references: dict[str, str]) -> tuple[str, str] | None:
    """Predictor and level of the first part that stands for one category by itself, without a reference level."""
    for part in _parts(label):
        match = re.fullmatch(r"(.+)\[(.+)\]", part)
        if match and match[1] in data.columns and match[1] not in references:
            return match[1], match[2]
    return None


def _where(label: str, design: Design, references: dict[str, str]) -> str:
    """For a main effect that is part of an interaction: at which value of the others it holds."""
    own = _category(label, references)
    name = own[0] if own else label
    others: list[str] = []
    for term in design.terms:
        factors = term.name.split(":")
        if len(factors) > 1 and name in factors:
            others += [factor for factor in factors if factor != name and factor not in others]
    if not others:
        return ""
    return " where " + joined([f"{other} is {references.get(other, '0')}" for other in others])


def _groups(reml: RemlFit, fit: Fit, rows: list[Estimate], level: str) -> list[Finding]:
    vanishing = _vanishing(reml, rows)
    sds = [row for row in rows if row.kind == SD]
    means = {row.label: row for row in rows if row.kind == FIXED}
    shares = _shares(reml, fit, rows, level)
    made = []
    for row in sds:
        a = row.reml.estimate
        subject = f"effects of {row.effect}"
        if row.effect == "Intercept":
            subject = "averages" if sum(other.group == row.group for other in sds) == 1 else "intercepts"
        between = f"between the levels of {row.group}{_within(reml.design, row.group)}"
        posterior = f"in the posterior {row.show(row.posterior.estimate)}, {_range(row, level)}"
        if row in vanishing:
            made.append(
                Finding(
                    f"By REML {subject} do not differ {between}; the posterior leaves room for it.",
                    f"Standard deviation by REML {row.show(a)}; {posterior}.",
                )
            )
            continue
        claim = f"{subject[0].upper()}{subject[1:]} differ {between}, with a standard deviation of {row.show(a)}."
        evidence = f"By REML {row.show(a)}, {level} interval {_ends(row, row.reml.low, row.reml.high)}; {posterior}."
        alone = sum(other.effect == row.effect for other in sds) == 1
        if row.effect in means and row.effect != "Intercept" and alone:
            centre = means[row.effect].reml.estimate
            ends = f"{row.show(centre - 1.96 * a)} and {row.show(centre + 1.96 * a)}"
            evidence += f" About 95% of the levels then have an effect of {row.effect} between {ends}."
        elif row.group in shares:
            evidence += f" {shares[row.group]}"
        made.append(Finding(claim, evidence))
    return made


def _within(design: Design, group: str) -> str:
    """In which other grouping factors a factor is nested, in words."""
    own = next(factor for factor in design.factors if factor.name == group)
    around = [factor.name for factor in design.factors if factor is not own and finer(own, factor)]
    return f" within {joined(around)}" if around else ""


def _shares(reml: RemlFit, fit: Fit, rows: list[Estimate], level: str) -> dict[str, str]:
    """Share of each grouping factor in the variance, the intraclass correlation of a single one.

    Only for a model whose random effects are intercepts, and whose rows all have the same unknown residual
    variance: otherwise the share is not one number.
    """
    design = reml.design
    sds = [row for row in rows if row.kind == SD]
    if design.sigma is not None or design.weights is not None or any(row.effect != "Intercept" for row in sds):
        return {}
    draws = fit.parameter_draws()
    residual = draws[VARIANCE, RESIDUAL, names.SIGMA].to_numpy() ** 2
    between = {row.group: draws[VARIANCE, row.group, "sd(Intercept)"].to_numpy() ** 2 for row in sds}
    total = sum(between.values(), residual)
    whole = sum((row.reml.estimate**2 for row in sds), reml.sigma**2)
    tail = 0.5 - 0.5 * float(level.rstrip("%")) / 100.0
    said = {}
    for row in sds:
        share = between[row.group] / total
        low, high = np.quantile(share, [tail, 1.0 - tail])
        of = f" of {row.group}{_within(design, row.group)}" if len(sds) > 1 else ""
        said[row.group] = (
            f"Differences between levels{of} make up {row.reml.estimate**2 / whole:.0%} of the variance that the "
            f"predictors leave (REML; posterior mean {share.mean():.0%}, {level} interval {low:.0%} to {high:.0%})."
        )
    return said


def _series(design: Design, rows: list[Estimate], data: pd.DataFrame, level: str) -> list[Finding]:
    """What the residual correlation says."""
    residual = design.residual
    if residual is None:
        return []
    row = next(row for row in rows if row.kind == RHO)
    subject, closing = f"residuals of the same {residual.name}", ""
    if residual.kind == "ar1":
        known = row_facts(design, data)
        apart = f" where {known.time} differs by {known.step}" if known.time is not None else " one row apart"
        closing = " At k times that distance the correlation is rho to the power of k."
    else:
        apart = ""
    both, neither = _zero(row)
    judges = "Both intervals exclude" if both else "Both intervals include"
    if not np.isfinite(row.reml.low):  # a singular fit: only the posterior can tell
        both, neither = row.posterior.excludes_zero, not row.posterior.excludes_zero
        judges = "The posterior interval excludes" if both else "The posterior interval includes"
    if both:
        claim = f"{subject[0].upper()}{subject[1:]}{apart} have a correlation of {row.show(row.reml.estimate)}."
        closing = f" {judges} zero.{closing}"
    elif neither:
        claim = f"The data do not settle whether {subject} are correlated."
        closing = f" {judges} zero."
    else:
        claim = f"The two inferences differ on whether {subject} are correlated."
    return [Finding(claim, _numbers(row, level) + closing)]


def _agreement(rows: list[Estimate]) -> Finding:
    apart = sorted((row for row in rows if not abs(row.gap) <= APART), key=lambda row: -abs(row.gap))
    if not apart:
        widest = max(rows, key=lambda row: abs(row.gap))
        return Finding(
            "REML and the posterior agree.",
            f"Every REML estimate is within {abs(widest.gap):.2f} posterior standard deviations of the posterior "
            f"mean; the largest gap is that of {widest.label}.",
        )
    first = apart[:FEW]
    listed = joined(
        [
            f"{row.label} (REML {row.show(row.reml.estimate)}, posterior mean {row.show(row.posterior.estimate)}, "
            f"{abs(row.gap):.1f} posterior standard deviations apart)"
            for row in first
        ]
    )
    if len(apart) > FEW:
        claim = f"REML and the posterior differ on {len(apart)} of {len(rows)} parameters."
        listed = f"The widest gaps: {listed}."
    else:
        claim = f"REML and the posterior differ on {joined([row.label for row in apart])}."
        listed = f"{listed}." + (" Everything else agrees." if len(apart) < len(rows) else "")
    if all(row.kind in (SD, SIGMA) and row.gap < 0 for row in apart):
        few = "levels" if any(row.kind == SD for row in rows) else "rows"
        why = (
            "A standard deviation has a skewed posterior: its mean lies above its most likely value, the more so "
            f"the fewer the {few}."
        )
    else:
        why = "REML takes one value of the variances and no priors; see which priors the posterior has."
    return Finding(claim, f"{listed} {why}")
