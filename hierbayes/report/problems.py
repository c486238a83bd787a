"""What stands between the reader and trusting the numbers: fits that failed, what checks and scores found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hierbayes.checks.check import NOTE, PROBLEM, WARNING
from hierbayes.checks.check_posterior import convergence
from hierbayes.interruption import INCOMPLETE
from hierbayes.reml import SINGULAR

from .coefficients import Finding, range_of
from .estimates import CORR, SD, SIGMA, Estimate
from .method import REML
from .numbers import count, joined, sentence, show
from .scores import ROW, Scores, remedy, too_many

if TYPE_CHECKING:
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

    from .answers import Answer
    from .method import Method


SAID = {"convergence", "boundary", "rows"}
"""Topics of checks that have sentences of their own."""
SCORED = ("influence", "posterior")
"""The check that says of rows what Pareto k of the scores says: its topic, and the fit that it is about."""
EDGE = 1e-6
"""A correlation that is this close to -1 or 1 counts as on the boundary."""


def problems(
    maximum: RemlFit | LaplaceFit | None,
    fit: Fit | FamilyFit,
    rows: list[Estimate],
    method: Method | None = REML,
    key: str = "",
) -> list[Finding]:
    """Everything that stands between the reader and trusting the numbers, the gravest first.

    Parameters
    ----------
    maximum : RemlFit or LaplaceFit, if there is one
    fit : Fit or FamilyFit
    rows : list of Estimate
    method : Method
        What the maximum is by.
    key : str
        What the ids of the sections end with.

    Returns
    -------
    list of Finding
        Empty if all is well.
    """
    found, by = [], "" if method is None else method.short
    if maximum is not None and not maximum.converged:
        claim = f"The {by} fit did not converge."
        evidence = f"Its numbers are not estimates: {maximum.message}."
        found.append(Finding(claim, evidence, PROBLEM, f"estimates{key}", "Estimates"))
    incomplete = getattr(fit, "idata", None) is not None and fit.idata.attrs.get(INCOMPLETE)
    if incomplete:
        found.append(
            Finding("Sampling was interrupted.", str(incomplete), PROBLEM, f"convergence{key}", "Convergence")
        )
    if fit.convergence.problems:
        claim, evidence = "The sampler gives reason for doubt.", " ".join(fit.convergence.problems)
        severity = PROBLEM if grave(fit) else WARNING
        found.append(Finding(claim, evidence, severity, f"convergence{key}", "Convergence"))
    if maximum is not None and maximum.singular:
        found.append(_singular(maximum, rows, by, key))
    design = fit.design
    if design.n_dropped:
        columns = ", ".join(design.dropped_columns)
        use = "the posterior uses" if maximum is None else "both inferences use"
        found.append(
            Finding(
                f"{count(design.n_dropped)} of {count(design.n + design.n_dropped)} rows "
                f"{'was' if design.n_dropped == 1 else 'were'} left out.",
                f"{'It has' if design.n_dropped == 1 else 'They have'} missing values in {columns}; {use} "
                f"the other {count(design.n)} rows.",
                NOTE,
                "data",
                "Data",
            )
        )
    return found


def _singular(maximum: RemlFit | LaplaceFit, rows: list[Estimate], by: str, key: str = "") -> Finding:
    at_edge = vanishing(maximum, rows)
    at_edge += [row for row in rows if row.kind == CORR and abs(row.first.estimate) >= 1 - EDGE]
    if at_edge:
        what = joined([f"{row.label} is {show(row.first.estimate, 0)}" for row in at_edge])
        where = f"By {by}, {what}, the end of its range"
    else:
        where = f"By {by}, some combination of the random effects has no variance"
    concerned = list(dict.fromkeys(row.group for row in at_edge if row.group))
    of = joined(concerned or [factor.name for factor in maximum.design.factors])
    modes = "BLUPs" if maximum.design.family.exact else "conditional modes"
    kinds = {row.kind for row in at_edge}
    proof = f"the levels of {of} are alike" if SD in kinds else f"effects of the levels of {of} go together exactly"
    if not at_edge:
        proof = f"the levels of {of} differ in fewer ways than the formula lets them"
    text = f"{where}: that is where the likelihood peaks, not proof that {proof}."
    lacking = [not np.isfinite(row.first.low) for row in rows if row.kind in (SD, CORR)]
    if any(lacking):
        some = "the variance parameters" if all(lacking) else "some variance parameters"
        text += f" Standard errors and Wald intervals of {some} do not exist there."
    text += f" And the {modes} take the boundary as known."
    if at_edge:
        left = [
            f"{row.label} has mean {row.show(row.posterior.estimate)} and {range_of(row, level='')}"
            for row in at_edge
        ]
        text += f" The posterior shows what the data leave open: {joined(left)}."
    return Finding(f"The {by} fit is singular.", text, WARNING, f"estimates{key}", "Estimates")


def vanishing(maximum: RemlFit | LaplaceFit | None, rows: list[Estimate]) -> list[Estimate]:
    """Standard deviations that the maximum puts at zero, judged by what they add to the response."""
    if maximum is None:
        return []
    design = maximum.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    sizes = [size for block in design.blocks for size in np.sqrt((weights[:, None] * block.Z**2).mean(axis=0))]
    sds = [row for row in rows if row.kind == SD]
    noise = next((row.first.estimate for row in rows if row.kind == SIGMA), 1.0)
    return [row for row, size in zip(sds, sizes, strict=True) if row.first.estimate * size <= SINGULAR * noise]


def gravest_first(found: Sequence[Finding]) -> list[Finding]:
    """Problems, warnings, notes; what is equally grave stays in order."""
    return sorted(found, key=lambda finding: [PROBLEM, WARNING, NOTE, ""].index(finding.severity))


def grave(fit: Fit | FamilyFit) -> bool:
    """Whether the draws must not be used at all, by the limits of `hierbayes.Fit.check`."""
    return any(verdict.severity == PROBLEM for verdict in convergence(fit))


def doubts(checks: Sequence[Answer], scores: Scores, key: str = "") -> list[Finding]:
    """What checks and scores have against the fits, beyond what `problems` says.

    Parameters
    ----------
    checks : sequence of Answer
    scores : Scores
    key : str
        What the ids of the sections end with.

    Returns
    -------
    list of Finding
        One for each check with a warning or a problem, and one for each Pareto k that is too high.
    """
    scored = ROW in scores.elpds
    found = []
    for answer in checks:
        if (
            answer.severity not in (PROBLEM, WARNING)
            or answer.topic in SAID
            or (scored and (answer.topic, answer.of) == SCORED)
        ):
            continue
        claim, evidence = _parted(answer.finding)
        found.append(Finding(claim, f"{evidence} {answer.next}".strip(), answer.severity, f"checks{key}", "Checks"))
    anchor, link = (f"checks{key}", "Checks") if key else ("accuracy", "Predictive accuracy")
    for name in scores.high:
        claim, evidence = _parted(too_many(name, scores))
        found.append(Finding(claim, f"{evidence} {remedy(name, scores)}", WARNING, anchor, link))
    return gravest_first(found)


def _parted(text: str) -> tuple[str, str]:
    """A finding before and after its first colon; a colon inside a name does not part it.

    Examples
    --------
    >>> _parted("The residuals are skewed: skewness 2.0.")
    ('The residuals are skewed.', 'Skewness 2.0.')
    """
    claim, colon, rest = text.partition(": ")
    return (f"{claim}.", sentence(rest)) if colon else (text, "")
