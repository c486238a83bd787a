"""How much groups differ, in sentences; that they do is said only where a test says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hierbayes.estimates import FIXED, FamilyPosterior
from hierbayes.laplace_estimate import LaplaceEstimate

from .coefficients import Finding, category_of, ends_of, range_of, subject_of, where_of
from .estimates import SD, Estimate
from .numbers import brief, p_text
from .problems import vanishing
from .reasons import on_edge, singular_effects
from .scale import outcome_of, scale_of
from .shares import latent_shares, shares, within

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit


UNSETTLED = 0.05
"""p-value from which on the likelihood-ratio test does not show that a standard deviation is above zero."""
SCALES = {"logit": "log-odds", "softmax": "log-odds", "inverse_squared": "inverse-square"}
"""Adjectives for links that do not have their own name for one."""


def differences(
    maximum: RemlFit | LaplaceFit | None,
    fit: Fit | FamilyFit,
    rows: list[Estimate],
    level: str,
    references: dict[str, str],
    tests: Mapping[tuple[str, str], float] | None = None,
) -> list[Finding]:
    """Say of every standard deviation whether, and how much, levels differ; the arguments are those of `findings`."""
    design, tests = fit.design, tests or {}
    zero = vanishing(maximum, rows)
    edge = set() if maximum is None or not maximum.singular else singular_effects(maximum)
    sds = [row for row in rows if row.kind == SD]
    means = {row.label: row for row in rows if row.kind == FIXED}
    parts: dict[str, str] = {}
    if isinstance(fit, FamilyPosterior):
        parts = latent_shares(maximum if isinstance(maximum, LaplaceEstimate) else None, fit, rows, level)
    elif design.family.exact:
        parts = shares(fit, rows, level)
    made = []
    for row in sds:
        effect, outcome = outcome_of(row.effect, design)
        scale = scale_of(design, outcome)
        subject = f"effects of {row.effect}"
        single = sum(outcome_of(other.effect, design)[1] == outcome for other in sds if other.group == row.group) == 1
        if effect == "Intercept":
            subject = "intercepts" + (f" of {scale.quantity}" if outcome else "")
        between = f"between the levels of {row.group}{within(design, row.group)}"
        posterior = f"in the posterior {row.show(row.posterior.estimate)}, {range_of(row, level)}"
        if row in zero:
            made.append(
                Finding(
                    f"The data do not settle whether {subject} differ {between}.",
                    f"Standard deviation by {row.method} {row.show(row.first.estimate)}; {posterior}.",
                )
            )
            continue
        a = row.first.estimate
        p = tests.get((row.group, row.effect))
        on_scale = "" if scale.link == "identity" else f" on the {SCALES.get(scale.link, scale.link)} scale"
        if (p is not None and p >= UNSETTLED) or (p is None and on_edge(row, edge)):
            claim = f"The data do not settle whether {subject} differ {between}."
        elif p is not None:
            claim = f"{subject[0].upper()}{subject[1:]} differ {between}, with a standard deviation of {row.show(a)}"
            claim += f"{on_scale}."
        else:
            claim = f"The standard deviation of {subject} {between} is estimated at {row.show(a)}{on_scale}."
        if row.maximum is None:
            evidence = f"{posterior[0].upper()}{posterior[1:]}."
        else:
            interval = ends_of(row, row.first.low, row.first.high)
            evidence = f"By {row.method} {row.show(a)}, {level} interval {interval}; {posterior}."
        if p is not None:
            evidence += f" Likelihood-ratio test of {_tested(design, row)}, on the boundary: {p_text(p)}."
        alone = sum(other.effect == row.effect for other in sds) == 1
        own = {other.effect for other in sds if other.group == row.group}
        if row.effect in means and effect != "Intercept" and alone and _alike(effect, own, set(means), references):
            centre = means[row.effect].first.estimate
            low, high = centre - 1.96 * a, centre + 1.96 * a
            what, ends = subject_of(effect, design, references), f"{row.show(low)} and {row.show(high)}"
            what = re.sub("^the ", "an " if what[4] in "aei" else "a ", what) + (
                f" on {scale.quantity}" if outcome else ""
            )
            if scale.ratio:
                article = "an" if scale.ratio == "odds ratio" else "a"
                category = category_of(effect, references)
                per = f"for each unit of {effect}"
                if category:
                    per = f"of {category[0]} {category[1]} to {references[category[0]]}"
                what = f"{article} {scale.ratio} {per}{where_of(effect, design, references)}"
                ends = f"{brief(scale.times(low))} and {brief(scale.times(high))}"
            evidence += f" About 95% of the levels then have {what} between {ends}."
        elif effect == "Intercept" and single and scale.ratio:
            ends = f"{brief(scale.times(-1.96 * a))} and {brief(scale.times(1.96 * a))}"
            that = "those" if scale.plural else "that"
            evidence += (
                f" For about 95% of the levels {scale.quantity} then lie{'' if scale.plural else 's'} between {ends} "
                f"times {that} of an average level."
            )
        if effect == "Intercept" and row.group in parts:
            evidence += f" {parts[row.group]}"
        made.append(Finding(claim, evidence))
    return made


def _tested(design: Design, row: Estimate) -> str:
    """What goes when the term of a standard deviation is left out."""
    block = next(b for b in design.blocks if b.factor.name == row.group and row.effect in b.labels)
    term = next(term for term in block.terms if row.effect in term.labels)
    many = len(term.labels) > 1
    what = f"all standard deviations of {term.name}" if many else "this standard deviation"
    if block.correlated and len(block.labels) > 1:
        what += f" and {'their' if many else 'its'} correlation{'s' if len(block.labels) > 2 else ''}"
    return what


def _alike(effect: str, own: set[str], means: set[str], references: Mapping[str, str]) -> bool:
    """Whether a category stands for the same among random and fixed effects: a difference, or a level by itself."""
    if "[" not in effect:
        return True
    name = effect.split("[")[0]
    category = category_of(effect, dict(references))
    if category:
        return f"{name}[{references[name]}]" not in own
    return {label for label in means if label.startswith(f"{name}[")} <= own
