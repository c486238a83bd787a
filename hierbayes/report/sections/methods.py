"""The paragraph on methods, ready for a paper: what was done, with which settings, and whether it worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hierbayes.citations import Citations
from hierbayes.diagnostics import ESS_PER_CHAIN, RHAT
from hierbayes.plots.elpd import CLEAR, SMALL

from ..candidates import Candidate
from ..comparison import Comparison
from ..numbers import count, joined, show
from ..provenance import versions
from ..scale import family_of, response_of
from ..scores import ROW, Scores


def methods_section(
    candidates: Sequence[Candidate],
    comparison: Comparison | None,
    scores: Mapping[str, Scores],
    citations: Citations,
    priors: dict[str, Any],
) -> dict[str, Any]:
    """Paragraphs and references."""
    main = candidates[0]
    paragraphs = [
        " ".join([_model(main, citations), *_further(candidates)]),
        " ".join([*_maximum(main, citations), _posterior(main, citations), _priors(main, priors, citations)]),
        " ".join([_diagnostics(main, citations), *_accuracy(main, scores, comparison, citations), _software()]),
    ]
    return {
        "paragraphs": [paragraph for paragraph in paragraphs if paragraph],
        "references": [{"text": entry.text, "cited_for": entry.cited_for} for entry in citations.alphabetical],
        "bibtex": citations.bibtex,
    }


def _model(candidate: Candidate, citations: Citations) -> str:
    design = candidate.design
    groups = [
        f"{_effects([label for part in design.parts_of(factor) for label in part.block.labels])} for the "
        f"{count(len(factor.levels))} levels of {factor.name}"
        for factor in design.factors
    ]
    fixed = [term.name for term in design.terms if term.name != "Intercept"]
    what = f"fixed effects of {joined(fixed)}" if fixed else "an intercept" if design.intercept is not None else ""
    parts = [part for part in (what, joined(groups) if groups else "") if part]
    kind = "linear mixed model" if design.family.exact else f"mixed model with {family_of(design)} response"
    if not groups:
        kind = kind.replace("mixed ", "")
    link = "" if design.family.exact else f" and {design.family.link} link"
    text = (
        f"{count(design.n)} observations of {response_of(design)} were analysed by a {kind}{link} "
        f"({citations.short('lme4') if 'lme4' in _keys(citations) else citations.short('hierbayes')})"
    )
    text += f", with {joined(parts)}." if parts else "."
    if any(part.free and len(part.block.labels) > 1 for part in design.parts):
        text += " The random effects of a level were allowed to be correlated."
    if design.residual is not None:
        kinds = {"ar1": "a first-order autoregressive structure", "cs": "compound symmetry"}
        text += (
            f" Residuals of the same {design.residual.name} had {kinds.get(design.residual.kind, 'a correlation')}."
        )
    if design.sigma is not None:
        text += " The residual standard deviation of every row was its known standard error."
    elif design.weights is not None:
        text += " Rows had precision weights."
    if design.n_dropped:
        text += (
            f" {count(design.n_dropped)} further row{'s' if design.n_dropped > 1 else ''} with missing values in "
            f"{joined(list(design.dropped_columns))} {'were' if design.n_dropped > 1 else 'was'} left out."
        )
    return text


def _keys(citations: Citations) -> set[str]:
    return {entry.key for entry in citations}


def _effects(labels: Sequence[str]) -> str:
    slopes = [label for label in labels if label != "Intercept"]
    named = f"random slopes of {joined(slopes)}" if slopes else ""
    if "Intercept" not in labels:
        return named
    return f"random intercepts and {named}" if slopes else "random intercepts"


def _further(candidates: Sequence[Candidate]) -> list[str]:
    if len(candidates) == 1:
        return []
    listed = joined([f"{candidate.described} ({candidate.label})" for candidate in candidates[1:]])
    return [
        f"This model ({candidates[0].described}, {candidates[0].label}) was compared with {listed}, fitted to "
        "the same rows in the same way."
    ]


def _maximum(candidate: Candidate, citations: Citations) -> list[str]:
    method = candidate.method
    if method is None:
        return []
    if candidate.design.family.exact:
        return [
            f"Parameters were estimated by restricted maximum likelihood (REML; {citations.short('reml')}), with "
            f"tests and intervals of the fixed effects by Satterthwaite’s degrees of freedom "
            f"({citations.short('satterthwaite')}).",
            *_tests(candidate, citations),
        ]
    key = "laplace" if "laplace" in _keys(citations) else "quadrature"
    how = method.name.removeprefix("ML (").removesuffix(")")
    return [f"Parameters were estimated by maximum likelihood ({how} approximation; {citations.short(key)})."]


def _tests(candidate: Candidate, citations: Citations) -> list[str]:
    if candidate.random_effect_tests is None:
        return []
    return [
        "Random effects were tested by restricted likelihood ratios against the model without them, with a variance "
        f"of zero on the boundary ({citations.short('boundary', 'variance_test')})."
    ]


def _posterior(candidate: Candidate, citations: Citations) -> str:
    run = candidate.run
    tune = "" if run.tune is None else f" after {count(run.tune)} warm-up draws each"
    target = "" if run.target_accept is None else f" with target acceptance {run.target_accept:g}"
    seed = "" if run.seed is None else f", seed {run.seed}"
    lead = "The same model was also fitted" if candidate.method is not None else "The model was fitted"
    text = (
        f"{lead} by Bayesian inference: {run.chains} chains of {count(run.draws)} draws{tune} by the No-U-Turn "
        f"sampler ({citations.short('nuts')}) of nutpie ({citations.short('nutpie')}) for PyMC "
        f"({citations.short('pymc')}){target}{seed}"
    )
    if run.marginal and candidate.design.family.exact:
        what = "random effects" if candidate.design.factors else "fixed effects"
        text += f", with the {what} integrated out of the likelihood ({citations.short('marginalized')})"
    return f"{text}."


def _priors(candidate: Candidate, priors: dict[str, Any], citations: Citations) -> str:
    listed = joined([f"{row['label']} ~ {row['prior']}" for row in priors["rows"]])
    automatic = f"the automatic ones of Bambi ({citations.short('bambi')})"
    given = [row["origin"] == "given" for row in priors["rows"]]
    origin = "given by us" if all(given) else automatic
    if any(given) and not all(given):
        origin = f"partly given by us, otherwise {automatic}"
    text = f"Priors were {origin}: {listed}."
    if "lkj" in _keys(citations):
        text += f" LKJ is the distribution of correlation matrices of {citations.short('lkj')}."
    return text


def _diagnostics(candidate: Candidate, citations: Citations) -> str:
    table, convergence = candidate.fit.convergence.table, candidate.fit.convergence
    divergent = convergence.divergences
    text = (
        f"Convergence was judged by R-hat and effective sample sizes ({citations.short('rhat')}; "
        f"{citations.short('arviz')}): the largest R-hat was {show(float(table['r_hat'].max()), 4)}, the smallest "
        f"effective sample size {show(float(table[['ess_bulk', 'ess_tail']].min().min()), 0)}, and "
        f"{count(divergent) if divergent else 'no'} draw{'s were' if divergent > 1 else ' was'} divergent"
    )
    limits = (
        f"R-hat at most {RHAT:g}, effective sample sizes of at least {count(ESS_PER_CHAIN * candidate.run.chains)}"
    )
    text += "." if convergence.ok else f"; this does not meet the criteria ({limits})."
    if candidate.maximum is not None and candidate.maximum.singular:
        text += f" The {candidate.short} fit was singular."
    return text


def _software() -> str:
    return f"Software: {', '.join(f'{name} {version}' for name, version in versions())}."


def _accuracy(
    candidate: Candidate, scores: Mapping[str, Scores], comparison: Comparison | None, citations: Citations
) -> list[str]:
    own, known = scores[candidate.label], _keys(citations)
    if not own.elpds or "loo" not in known:
        return []
    what = ["new rows"] if ROW in own.elpds else []
    if len(own.elpds) > len(what):
        what.append("new groups")
    also = [key for key in ("integrated_loo", "marginal_loo") if key in known]
    text = (
        f"Predictive accuracy for {joined(what)} was estimated by leave-one-out cross-validation with "
        f"Pareto-smoothed importance sampling ({citations.short('loo', 'psis', *also)})"
    )
    made = [text + ("; some Pareto k were above their limit." if own.high else ".")]
    if comparison is not None and comparison.scores:
        made.append(
            f"A difference of expected log predictive densities was taken as clear where it was at least {SMALL:g} "
            f"and more than {CLEAR:g} times its standard error ({citations.short('elpd_difference')})."
        )
    if comparison is not None and not comparison.tests.empty:
        made.append(
            "Nested models were compared by likelihood-ratio tests that take the boundary into account "
            f"({citations.short('boundary', 'variance_test')})."
        )
    return made
