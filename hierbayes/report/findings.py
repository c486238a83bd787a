"""What the two fits say, in sentences, and first of all what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.checks.check import NOTE, PROBLEM, WARNING
from hierbayes.checks.check_posterior import convergence
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, FamilyPosterior
from hierbayes.interruption import INCOMPLETE
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.partial_pooling.shrinkage import finer
from hierbayes.plots.elpd import verdict
from hierbayes.reml import SINGULAR
from hierbayes.variance.distribution_variance import APPROXIMATIONS
from hierbayes.variance.family_tables import icc

from .coefficients import (
    Finding,
    about_zero,
    category_of,
    ends_of,
    estimates_of,
    in_words,
    range_of,
    subject_of,
    where_of,
)
from .estimates import CORR, RHO, SD, SIGMA, Estimate
from .method import REML
from .numbers import brief, count, joined, p_text, sentence, show, typeset
from .reasons import APART, UNKNOWN, on_edge, singular_effects
from .rows import row_facts
from .scale import outcome_of, scale_of
from .scores import ROW, Scores, remedy, to_predict, too_many

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

    from .answers import Answer
    from .comparison import Comparison
    from .method import Method

SAID = {"convergence", "boundary", "rows"}
"""Topics of checks that have sentences of their own."""
SCORED = ("influence", "posterior")
"""The check that says of rows what Pareto k of the scores says: its topic, and the fit that it is about."""
EDGE = 1e-6
"""A correlation that is this close to -1 or 1 counts as on the boundary."""
MOST = 12
"""Coefficients that get a sentence of their own."""
FEW = 4
"""Disagreements that are spelled out."""
CAUSES = {
    "prior": "Prior: it moves the maximum of the likelihood itself, so look at whether it says what you know.",
    "boundary": (
        "Boundary: the likelihood peaks where a variance is zero, and the posterior averages over positive ones."
    ),
    "skewness": "Skewness: the mean of a skewed posterior is not where it peaks, the more so the fewer the levels.",
    "prior or skewness": "Prior or skewness could not be told apart here.",
    UNKNOWN: "Where the cause is not known, it may be skewness, or that the maximum is of an approximate likelihood.",
}
"""What is behind a disagreement, by the first word of its reason."""
UNSETTLED = 0.05
"""p-value from which on the likelihood-ratio test does not show that a standard deviation is above zero."""
SCALES = {"logit": "log-odds", "softmax": "log-odds", "inverse_squared": "inverse-square"}
"""Adjectives for links that do not have their own name for one."""


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
    at_edge = _vanishing(maximum, rows)
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


def _vanishing(maximum: RemlFit | LaplaceFit | None, rows: list[Estimate]) -> list[Estimate]:
    """Standard deviations that the maximum puts at zero, judged by what they add to the response."""
    if maximum is None:
        return []
    design = maximum.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    sizes = [size for block in design.blocks for size in np.sqrt((weights[:, None] * block.Z**2).mean(axis=0))]
    sds = [row for row in rows if row.kind == SD]
    noise = next((row.first.estimate for row in rows if row.kind == SIGMA), 1.0)
    return [row for row, size in zip(sds, sizes, strict=True) if row.first.estimate * size <= SINGULAR * noise]


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
    made += _groups(maximum, fit, rows, data, level, references, tests)
    made += _series(design, rows, data, level)
    made = [replace(finding, anchor="estimates", link="Estimates") for finding in made]
    if maximum is None:
        return [*made, Finding("There is no maximum-likelihood fit beside the posterior.", absence)]
    return [*made, _agreement(rows, reasons)]


def _groups(
    maximum: RemlFit | LaplaceFit | None,
    fit: Fit | FamilyFit,
    rows: list[Estimate],
    data: pd.DataFrame,
    level: str,
    references: dict[str, str],
    tests: Mapping[tuple[str, str], float] | None = None,
) -> list[Finding]:
    design, tests = fit.design, tests or {}
    vanishing = _vanishing(maximum, rows)
    edge = set() if maximum is None or not maximum.singular else singular_effects(maximum)
    sds = [row for row in rows if row.kind == SD]
    means = {row.label: row for row in rows if row.kind == FIXED}
    shares: dict[str, str] = {}
    if isinstance(fit, FamilyPosterior):
        shares = _latent_shares(maximum if isinstance(maximum, LaplaceEstimate) else None, fit, rows, level)
    elif design.family.exact:
        shares = _shares(fit, rows, level)
    made = []
    for row in sds:
        effect, outcome = outcome_of(row.effect, design)
        scale = scale_of(design, outcome)
        subject = f"effects of {row.effect}"
        single = sum(outcome_of(other.effect, design)[1] == outcome for other in sds if other.group == row.group) == 1
        if effect == "Intercept":
            subject = "intercepts" + (f" of {scale.quantity}" if outcome else "")
        between = f"between the levels of {row.group}{_within(design, row.group)}"
        posterior = f"in the posterior {row.show(row.posterior.estimate)}, {range_of(row, level)}"
        if row in vanishing:
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
        if effect == "Intercept" and row.group in shares:
            evidence += f" {shares[row.group]}"
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


def _within(design: Design, group: str) -> str:
    """In which other grouping factors a factor is nested, in words."""
    own = next(factor for factor in design.factors if factor.name == group)
    around = [factor.name for factor in design.factors if factor is not own and finer(own, factor)]
    return f" within {joined(around)}" if around else ""


def _shares(fit: Fit | FamilyFit, rows: list[Estimate], level: str) -> dict[str, str]:
    """Share of each grouping factor in the variance, the intraclass correlation of a single one.

    Only for a model whose random effects are intercepts, and whose rows all have the same unknown residual
    variance: otherwise the share is not one number.
    """
    design = fit.design
    sds = [row for row in rows if row.kind == SD]
    if design.sigma is not None or design.weights is not None or any(row.effect != "Intercept" for row in sds):
        return {}
    draws = fit.parameter_draws()
    residual = draws[VARIANCE, RESIDUAL, names.SIGMA].to_numpy() ** 2
    between = {row.group: draws[VARIANCE, row.group, "sd(Intercept)"].to_numpy() ** 2 for row in sds}
    total = sum(between.values(), residual)
    whole = sum(row.first.estimate**2 for row in rows if row.kind in (SD, SIGMA))
    tail = 0.5 - 0.5 * float(level.rstrip("%")) / 100.0
    said = {}
    for row in sds:
        share = between[row.group] / total
        low, high = np.quantile(share, [tail, 1.0 - tail])
        of = f" of {row.group}{_within(design, row.group)}" if len(sds) > 1 else ""
        said[row.group] = (
            f"Differences between levels{of} make up {row.first.estimate**2 / whole:.0%} of the variance that the "
            f"predictors leave (REML; posterior mean {share.mean():.0%}, {level} interval {low:.0%} to {high:.0%})."
        )
    return said


def _latent_shares(
    maximum: LaplaceEstimate | None, fit: FamilyPosterior, rows: list[Estimate], level: str
) -> dict[str, str]:
    """The same shares of a response that is not Gaussian: of the variance on the latent scale, if it is known."""
    sds = [row for row in rows if row.kind == SD]
    if fit.design.outcomes is not None or any(row.effect != "Intercept" for row in sds):
        return {}
    probability = 0.01 * float(level.rstrip("%"))
    tables = [
        found[(found["scale"] == "latent") & (found["icc"] == "adjusted")].set_index("group")
        for found in (icc(result, probability) for result in (fit, maximum) if result is not None)
    ]
    said = {}
    for row in sds:
        here = tables[0].loc[row.group]
        of = f" of {row.group}{_within(fit.design, row.group)}" if len(sds) > 1 else ""
        by = "" if maximum is None else f"{tables[1].loc[row.group, 'estimate']:.0%} by {row.method}, "
        if np.isfinite(here["estimate"]):
            said[row.group] = (
                f"On the latent scale (residual variance{_residual(here['residual'])}) differences between "
                f"levels{of} make up {by}{here['estimate']:.0%} in the posterior, {level} interval "
                f"{here['conf_low']:.0%} to {here['conf_high']:.0%}, of the variance that the predictors leave."
            )
    return said


def _residual(how: str) -> str:
    """Which residual variance it is; an approximation by name is said to be one."""
    return f" by the {how} approximation" if how in APPROXIMATIONS else f": {how}"


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


def _agreement(rows: list[Estimate], reasons: Sequence[str] | None = None) -> Finding:
    """Whether the two inferences agree and, if not, why: prior, boundary or skewness, as far as that is known."""
    by, where = rows[0].method, {"anchor": "estimates", "link": "Estimates"}
    apart = sorted((row for row in rows if not abs(row.gap) <= APART), key=_width)
    if not apart:
        widest = max(rows, key=lambda row: abs(row.gap))
        return Finding(
            f"{by} and the posterior agree.",
            f"Every {by} estimate is within {abs(widest.gap):.2f} posterior standard deviations of the posterior "
            f"mean; the largest gap is that of {widest.label}.",
            **where,
        )
    known = dict(zip((id(row) for row in rows), reasons or [], strict=False))
    told = all(known.get(id(row)) for row in apart)
    listed = joined([_gap(row, known.get(id(row), "")) for row in apart[:FEW]])
    if len(apart) > FEW:
        claim = f"{by} and the posterior differ on {len(apart)} of {len(rows)} parameters."
        listed = f"The widest gaps: {listed}."
    else:
        claim = f"{by} and the posterior differ on {joined([row.label for row in apart])}."
        listed = f"{listed}." + (" Everything else agrees." if len(apart) < len(rows) else "")
    if told:
        causes = dict.fromkeys(known[id(row)].partition(":")[0] for row in apart)
        why = " ".join(CAUSES[cause] for cause in CAUSES if cause in causes)
    elif all(row.kind in (SD, SIGMA) and row.gap < 0 for row in apart):
        few = "levels" if any(row.kind == SD for row in rows) else "rows"
        why = (
            "A standard deviation has a skewed posterior: its mean lies above its most likely value, the more so "
            f"the fewer the {few}."
        )
        if by == "ML":
            why += " Maximum likelihood also underestimates standard deviations where there are few levels."
    else:
        why = f"{by} takes one value of the variances and no priors; see which priors the posterior has."
    return Finding(claim, f"{listed} {why}".strip(), **where)


def _width(row: Estimate) -> float:
    """Widest gaps first, those that are not numbers last."""
    return -abs(row.gap) if np.isfinite(row.gap) else 0.0


def _gap(row: Estimate, reason: str) -> str:
    """How far the two inferences on a parameter are apart, and the reason."""
    mean = f"posterior mean {row.show(row.posterior.estimate)}"
    if not np.isfinite(row.gap):
        return f"{row.label} (no estimate by {row.method}, {mean}" + (f"; {reason}" if reason else "") + ")"
    why = f"; {typeset(reason)}" if reason else ""
    return (
        f"{row.label} ({row.method} {row.show(row.first.estimate)}, {mean}, "
        f"{abs(row.gap):.1f} posterior standard deviations apart{why})"
    )


def preferences(
    comparison: Comparison, formulas: Mapping[str, str], scores: Mapping[str, Scores] | None = None
) -> list[Finding]:
    """Which candidate predicts new rows and new groups better, or that the data do not tell.

    Parameters
    ----------
    comparison : Comparison
    formulas : mapping of str to str
        By label of the candidate.
    scores : mapping of str to Scores, optional
        By label of the candidate, to say where Pareto k is too high.

    Returns
    -------
    list of Finding
        One for each thing to predict.
    """
    made: list[Finding] = []
    for key, table in comparison.scores.items():
        best, rival = str(table.index[0]), table.iloc[1]
        said = verdict(float(rival["elpd_diff"]), float(rival["dse"]), table.attrs.get("items"))
        what, other = to_predict(key), str(table.index[1])
        if said in ("worse", "probably worse"):
            probably = "probably " if said == "probably worse" else ""
            claim = f"{best} {probably}predicts {what} better than {other}."
            if len(table) > 2:
                claim = f"{best} {probably}predicts {what} best."
        elif len(table) == 2:
            claim = f"The data do not tell whether {best} or {other} predicts {what} better."
        else:
            claim = f"The data do not tell which candidate predicts {what} best."
        away = [
            f"{name} is {show(abs(row['elpd_diff']), 1)} behind {best}, standard error {show(row['dse'], 1)}"
            for name, row in table.iloc[1:].iterrows()
        ]
        evidence = f"By expected log predictive density {joined(away)}."
        high = [label for label, each in (scores or {}).items() if key in each.high]
        if high:
            evidence += f" Some Pareto k of {joined(high)} are too high, so this is not to be trusted yet."
        evidence += "".join(f" {sentence(remark)}" for remark in comparison.remarks[key])
        if len(made) == 0:
            named = [f"{label} is {formula}" for label, formula in formulas.items() if label != formula]
            evidence += f" {'; '.join(named)}." if named else ""
        made.append(Finding(claim, evidence, anchor="candidates", link="The candidates"))
    if not made:
        reason = " ".join(comparison.absent.values())
        made.append(Finding("The candidates were not compared by their predictions.", reason, anchor="candidates"))
    return made
