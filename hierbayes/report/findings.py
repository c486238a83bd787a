"""What the two fits say, in sentences: average effects, differences between groups, residuals, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes.estimates import FIXED

from .agreement import agreement
from .coefficients import Finding, about_zero, estimates_of, in_words
from .differences import differences
from .estimates import RHO, Estimate
from .rows import row_facts
from .scale import outcome_of

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit


MOST = 12
"""Coefficients that get a sentence of their own."""


def findings(
    maximum: RemlFit | LaplaceFit | None,
    fit: Fit | FamilyFit,
    rows: list[Estimate],
    data: pd.DataFrame,
    level: str,
    references: dict[str, str],
    absence: str = "",
    reasons: Sequence[str] | None = None,
    tests: Mapping[tuple[str, str], float] | None = None,
) -> list[Finding]:
    """Say what the fits say: average effects, differences between groups, agreement.

    Parameters
    ----------
    maximum : RemlFit or LaplaceFit, if there is one
    fit : Fit or FamilyFit
    rows : list of Estimate
    data : pandas.DataFrame
        The rows used.
    level : str
        Of the intervals, such as ``"95%"``.
    references : dict of str to str
        Reference level of every categorical predictor that has one.
    absence : str
        Why there is no maximum of the likelihood.
    reasons : sequence of str, optional
        Why REML and posterior disagree, one text a row, as `hierbayes.Fit.disagreements` has them.
    tests : mapping of (group, effect) to float, optional
        p-values of the random effects.

    Returns
    -------
    list of Finding
    """
    design = fit.design
    fixed = [row for row in rows if row.kind == FIXED]
    predictors = [row for row in fixed if outcome_of(row.label, design)[0] != "Intercept"]
    shown = predictors[:MOST] if predictors else fixed
    made = [in_words(row, design, data, level, references) for row in shown]
    if len(predictors) > MOST:
        left = len(predictors) - MOST
        which = f"The other {left} coefficients are" if left > 1 else "One more coefficient is"
        made.append(Finding(f"{which} in the table of estimates."))
    made += differences(maximum, fit, rows, level, references, tests)
    made += _series(design, rows, data, level)
    made = [replace(finding, anchor="estimates", link="Estimates") for finding in made]
    if maximum is None:
        return [*made, Finding("There is no maximum-likelihood fit beside the posterior.", absence)]
    return [*made, agreement(rows, reasons)]


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
    both, neither = about_zero(row)
    judges = "Both intervals exclude" if both else "Both intervals include"
    if not np.isfinite(row.first.low):  # a singular fit: only the posterior can tell
        both, neither = row.posterior.excludes_zero, not row.posterior.excludes_zero
        judges = "The posterior interval excludes" if both else "The posterior interval includes"
    if both:
        claim = f"{subject[0].upper()}{subject[1:]}{apart} have a correlation of {row.show(row.first.estimate)}."
        closing = f" {judges} zero.{closing}"
    elif neither:
        claim = f"The data do not settle whether {subject} are correlated."
        closing = f" {judges} zero."
    else:
        claim = f"The two inferences differ on whether {subject} are correlated."
    return [Finding(claim, estimates_of(row, level) + closing)]
