"""What the two fits say, in sentences, and first of all what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes.reml import SINGULAR
from hierbayes.results import FIXED, RESIDUAL, VARIANCE

from .estimates import CORR, SD, SIGMA, Estimate
from .numbers import count, show

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
        found.append(_singular(reml.design, rows))
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


def _singular(design: Design, rows: list[Estimate]) -> Finding:
    factor = design.factor.name
    at_edge = _vanishing(design, rows)
    at_edge += [row for row in rows if row.kind == CORR and abs(row.reml.estimate) >= 1 - EDGE]
    if at_edge:
        what = _joined([f"{row.label} is {show(row.reml.estimate, 0)}" for row in at_edge])
        where = f"By REML, {what}, the end of its range"
    else:
        where = "By REML, some combination of the random effects has no variance"
    text = (
        f"{where}: that is where the likelihood peaks, not proof that the levels of {factor} are alike. "
        "Standard errors and Wald intervals of the variance parameters do not exist there, and the BLUPs take the "
        "boundary as known."
    )
    if at_edge:
        left = [
            f"{row.label} has mean {row.show(row.posterior.estimate)} and {_range(row, level='')}" for row in at_edge
        ]
        text += f" The posterior shows what the data leave open: {_joined(left)}."
    return Finding("The REML fit is singular.", text)


def _vanishing(design: Design, rows: list[Estimate]) -> list[Estimate]:
    """Standard deviations that REML puts at zero, judged by what they add to the response."""
    sigma = next(row for row in rows if row.kind == SIGMA).reml.estimate
    Z = np.concatenate([block.Z for block in design.blocks], axis=1)
    sizes = np.sqrt((Z**2).mean(axis=0))
    sds = [row for row in rows if row.kind == SD]
    return [row for row, size in zip(sds, sizes, strict=True) if row.reml.estimate * size <= SINGULAR * sigma]


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
    return [*made, *_groups(reml, fit, rows, level), _agreement(rows)]


def _average(row: Estimate, design: Design, data: pd.DataFrame, level: str, references: dict[str, str]) -> Finding:
    if row.label == "Intercept":
        return Finding(f"The average {design.response} is {row.show(row.reml.estimate)}.", _numbers(row, level))
    cell = _cell(row.label, data, references)
    if cell and len(_parts(row.label)) == 1:
        mean = row.show(row.reml.estimate)
        return Finding(f"The average {design.response} for {cell[0]} {cell[1]} is {mean}.", _numbers(row, level))
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
    return " where " + _joined([f"{other} is {references.get(other, '0')}" for other in others])


def _groups(reml: RemlFit, fit: Fit, rows: list[Estimate], level: str) -> list[Finding]:
    factor = reml.design.factor.name
    residual = next(row for row in rows if row.kind == SIGMA)
    sds = [row for row in rows if row.kind == SD]
    vanishing = _vanishing(reml.design, rows)
    means = {row.label: row for row in rows if row.kind == FIXED}
    made = []
    for row in sds:
        a = row.reml.estimate
        subject = f"effects of {row.effect}"
        if row.effect == "Intercept":
            subject = "averages" if len(sds) == 1 else "intercepts"
        posterior = f"in the posterior {row.show(row.posterior.estimate)}, {_range(row, level)}"
        if row in vanishing:
            made.append(
                Finding(
                    f"By REML {subject} do not differ between the levels of {factor}; "
                    "the posterior leaves room for it.",
                    f"Standard deviation by REML {row.show(a)}; {posterior}.",
                )
            )
            continue
        start = f"{subject[0].upper()}{subject[1:]} differ between the levels of {factor}"
        claim = f"{start}, with a standard deviation of {row.show(a)}."
        evidence = f"By REML {row.show(a)}, {level} interval {_ends(row, row.reml.low, row.reml.high)}; {posterior}."
        if row.effect in means and row.effect != "Intercept":
            centre = means[row.effect].reml.estimate
            between = f"{row.show(centre - 1.96 * a)} and {row.show(centre + 1.96 * a)}"
            evidence += f" About 95% of the levels then have an effect of {row.effect} between {between}."
        elif row.effect == "Intercept" and len(sds) == 1:
            evidence += f" {_share(fit, factor, a, residual.reml.estimate, level)}"
        made.append(Finding(claim, evidence))
    return made


def _share(fit: Fit, factor: str, sd: float, sigma: float, level: str) -> str:
    """The intraclass correlation, for a model whose only random effects are intercepts."""
    draws = fit.parameter_draws()
    between = draws[VARIANCE, factor, "sd(Intercept)"].to_numpy() ** 2
    share = between / (between + draws[VARIANCE, RESIDUAL, "sigma"].to_numpy() ** 2)
    tail = 0.5 - 0.5 * float(level.rstrip("%")) / 100.0
    low, high = np.quantile(share, [tail, 1.0 - tail])
    return (
        f"Differences between levels make up {sd**2 / (sd**2 + sigma**2):.0%} of the variance that the predictors "
        f"leave (REML; posterior mean {share.mean():.0%}, {level} interval {low:.0%} to {high:.0%})."
    )


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
    listed = _joined(
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
        claim = f"REML and the posterior differ on {_joined([row.label for row in apart])}."
        listed = f"{listed}." + (" Everything else agrees." if len(apart) < len(rows) else "")
    if all(row.kind in (SD, SIGMA) and row.gap < 0 for row in apart):
        why = (
            "A standard deviation has a skewed posterior: its mean lies above its most likely value, the more so "
            "the fewer the levels."
        )
    else:
        why = "REML takes one value of the variances and no priors; see which priors the posterior has."
    return Finding(claim, f"{listed} {why}")


def _joined(parts: list[str]) -> str:
    """An enumeration.

    Examples
    --------
    >>> _joined(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
