"""`report`: fit, describe, compare, draw, write."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hierbayes.citations import Citations, cite
from hierbayes.errors import HierbayesWarning
from hierbayes.estimates import Estimate, Posterior
from hierbayes.model import Model, check_names
from hierbayes.partial_pooling.shrinkage import group_lines, shrinkage
from hierbayes.progress import bar
from hierbayes.side_by_side.effects import level_effects

from . import figures, forms, sections
from .answers import answers
from .candidates import Candidate, check_comparable, read_fits, read_models
from .coefficients import Finding
from .comparison import Comparison, comparison_of
from .findings import findings
from .method import maximum
from .numbers import joined
from .preferences import preferences
from .problems import doubts, gravest_first, problems
from .random_effects import p_values_of
from .scale import response_of
from .scores import Scores, scores_of
from .tables import tables_of, tables_of_all

if TYPE_CHECKING:
    from hierbayes.datasets.sources import File
    from hierbayes.partial_pooling.shrinkage import GroupLines
    from hierbayes.results import FamilyFit, Fit

TITLES = {
    "findings": "Findings",
    "candidates": "The candidates",
    "data": "Data",
    "model": "Model",
    "priors": "Priors",
    "estimates": "Estimates",
    "effects": "Group effects",
    "variance": "Variance",
    "accuracy": "Predictive accuracy",
    "checks": "Checks",
    "convergence": "Convergence",
    "methods": "Methods",
    "reproduce": "Reproduce",
}
"""Sections in the order of the page, by their ids."""
STEPS = 3
"""Pieces of work for each candidate: checks, scores, tables."""


def report(
    models: Model | Mapping[str, Model] | Sequence[Model],
    path: str | Path = "report.html",
    *,
    fit: Fit | FamilyFit | Mapping[str, Fit | FamilyFit] | Sequence[Fit | FamilyFit] | None = None,
    also: str | Iterable[str] = (),
    seed: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    conf_level: float = 0.95,
    title: str | None = None,
    progress: bool | None = None,
    source: str | File | None = None,
    nagq: int = 1,
) -> Path:
    """Write one self-contained file with both inferences side by side, of one model or of several candidates.

    Beside the posterior stands the REML fit or, for a response that is not Gaussian with identity link, the ML fit by
    `Model.ml`. A family that has none is reported by its posterior alone, and the report says why. Of several models
    the first is shown in full; the others are compared with it by their predictions, criteria and estimates, and
    each has its own checks.

    Parameters
    ----------
    models : Model, mapping of str to Model, or sequence of Model
        The first one is the main model. Those of a sequence are named by their formulas. All have the same response
        in the same rows.
    path : str or pathlib.Path, default "report.html"
        The file; what was there before is replaced once the new report is complete. Its ending chooses the form:
        ``.html``, ``.md`` or ``.json``.
    fit : Fit or FamilyFit, or a mapping or sequence of them, optional
        Posteriors of the models; one is that of the main model. Those that are not given are sampled with the
        arguments from `seed` to `chains`.
    also : str or iterable of str
        Further forms beside the file, under its name: ``"html"``, ``"md"``, ``"json"``, ``"nc"`` (the draws, for
        ArviZ), ``"bib"``.
    seed, draws, tune, chains
        As in `Model.fit`.
    conf_level : float, default 0.95
        Level of all intervals but those of single levels, which are 95%.
    title : str, optional
    progress : bool, optional
        As in `Model.fit`.
    source : str or File, optional
        Name of the data set or path of the file that the data came from, for the code that reproduces
        the report. Data sets that come with hierbayes are recognised without it.
    nagq : int, default 1
        Of `Model.ml`: 1 is the Laplace approximation, more are nodes of adaptive Gauss-Hermite quadrature.

    Returns
    -------
    pathlib.Path
        The path as given.

    Raises
    ------
    OutputError
        If a file cannot be written; this is found out before anything is sampled.
    ValueError
        If something is no model, if a fit belongs to another model, if two models have the same name, or an argument
        of the sampler, `conf_level`, `also` or `nagq` is out of range.
    DataError
        If the models do not have the same response in the same rows; this too before anything is sampled.
    HierbayesError
        If quadrature is asked for by `nagq` and cannot be had.

    Warns
    -----
    SingularFit, ConvergenceWarning
        What the fits warn about, once; the report says it first too.

    Notes
    -----
    Parts that would take long for large data (leaving out every level of crossed factors, profiles) are left out, and
    the page names the calls that give them. The limits are those of `hierbayes.report.effort`.

    Examples
    --------
    >>> import tempfile
    >>> import hierbayes as hb
    >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hb.report(model, f"{folder}/dyes.html", seed=1, progress=False).name
    'dyes.html'
    """
    if not 0.0 < conf_level < 1.0:
        raise ValueError(f"conf_level is between 0 and 1, not {conf_level}")
    if isinstance(models, Model):
        read_fits(fit, {models.formula: models})
    also = (also,) if isinstance(also, str) else tuple(also)
    forms.prepare(path, also, len(models) if isinstance(models, (Mapping, Sequence)) else 1)
    named = read_models(models)
    given = read_fits(fit, named)
    check_comparable(named)
    for model in named.values():
        check_names(model.design)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HierbayesWarning)
        candidates = []
        for place, (name, model) in enumerate(named.items()):
            found = maximum(model, nagq)
            own = given.get(name)
            if own is None:
                own = model.fit(draws=draws, tune=tune, chains=chains, seed=seed, progress=progress)
            candidates.append(Candidate(name, place, model, *found, own, conf_level))
    context = _context(candidates, Path(path), title, source, nagq, also, progress)
    written = forms.write(context, path, also, [candidate.fit for candidate in candidates])
    for text, category in dict.fromkeys((str(warning.message), warning.category) for warning in caught):
        warnings.warn(text, category, stacklevel=2)
    return written


def _context(
    candidates: list[Candidate],
    path: Path,
    title: str | None,
    source: str | File | None,
    nagq: int,
    also: Sequence[str],
    progress: bool | None,
) -> dict[str, Any]:
    """Everything that the templates name."""
    main, several = candidates[0], len(candidates) > 1
    scores: dict[str, Scores] = {}
    trouble: dict[str, list[Finding]] = {}
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    effects: dict[str, pd.DataFrame] = {}
    variance: dict[str, dict[str, Any]] = {}
    with bar("checks, scores and figures", STEPS * len(candidates) + 2, progress) as advance:
        for candidate in candidates:
            label = candidate.label
            scores[label] = scores_of(candidate)
            advance(1)
            found = [
                *problems(candidate.maximum, candidate.fit, candidate.rows, candidate.method, candidate.key),
                *doubts(answers(candidate), scores[label], candidate.key),
            ]
            trouble[label] = gravest_first(found)
            advance(1)
            effects[label] = _effects(candidate)
            variance[label] = sections.variance_tables(candidate)
            tables[label] = tables_of(candidate, scores[label], effects[label], variance[label])
            advance(1)
        comparison = comparison_of(candidates, scores) if several else None
        drawings = figures.main_figures(main, scores[main.label], variance[main.label], effects[main.label])
        if comparison is not None:
            figures.comparison_figures(comparison, drawings)
        advance(1)
        context = _main(main, effects[main.label])
        advance(1)
    citations = _citations(candidates, scores, comparison, variance)
    preferred = []
    if comparison is not None:
        preferred = preferences(comparison, {each.label: each.described for each in candidates}, scores)
    elsewhere = (_elsewhere(trouble[each.label], each) for each in candidates[1:] if trouble[each.label])
    first = gravest_first([*trouble[main.label], *elsewhere])
    made = context | {
        "title": title or _title(candidates),
        "problems": first,
        "findings": [*context["findings"], *preferred],
        "checks": sections.checks_section(main),
        "accuracy": sections.accuracy_section(main, scores[main.label]),
        "variance": sections.variance_section(main, variance[main.label]),
        "candidates": None
        if comparison is None
        else sections.candidates_section(candidates, comparison, scores, trouble),
        "methods": sections.methods_section(candidates, comparison, scores, citations, context["priors"]),
        "reproduce": sections.reproduce_section(
            main.model, main.run, path, source, main.conf_level, nagq, candidates[1:], main.name, also
        ),
        "figures": drawings.made,
        "absent_figures": drawings.absent,
        "tables": tables_of_all(tables, comparison),
        "fits": {candidate.name: candidate.fit for candidate in candidates},
        "formulas": {candidate.label: candidate.design.formula for candidate in candidates},
        "citations": citations,
    }
    made["sections"] = [(key, name) for key, name in TITLES.items() if key == "findings" or made.get(key)]
    return made


def _main(main: Candidate, table: pd.DataFrame) -> dict[str, Any]:
    """What is shown of the main model alone."""
    design, model = main.design, main.model
    lines = _lines(main, table)
    references = sections.references(design, model.data)
    effects = sections.effects_section(table, design)
    return {
        "method": main.method,
        "level": main.level,
        "overview": sections.overview(model, main.run),
        "findings": findings(
            main.maximum, main.fit, main.rows, model.data, main.level, references, main.absence, main.reasons,
            p_values_of(main),
        ),
        "data": sections.data_section(model),
        "model": sections.model_section(model),
        "priors": sections.priors_section(model, main.run),
        "estimates": sections.estimates_section(main.rows, main.maximum, design, main.method),
        "effects": effects,
        "convergence": sections.convergence_section(main.fit, main.run),
        "estimates_figure": figures.estimates_drawing(main),
        "shrinkage_figures": figures.shrinkage_drawings(main, effects, table),
        "lines": lines,
        "groups_figure": figures.lines_drawing(main, lines),
    }  # fmt: skip


def _effects(candidate: Candidate) -> pd.DataFrame:
    """Effects of every level."""
    if not candidate.design.factors:
        return pd.DataFrame()
    if isinstance(candidate.fit, Posterior) and isinstance(candidate.maximum, Estimate):
        return shrinkage(candidate.maximum, candidate.fit)
    return level_effects(candidate.fit, candidate.maximum)


def _lines(candidate: Candidate, table: pd.DataFrame) -> GroupLines | None:
    """Lines through the data of some levels of a Gaussian response."""
    if not (isinstance(candidate.fit, Posterior) and isinstance(candidate.maximum, Estimate)) or table.empty:
        return None
    return group_lines(candidate.maximum, candidate.fit, table, candidate.model.data)


def _elsewhere(found: list[Finding], candidate: Candidate) -> Finding:
    """What is wrong with a further candidate, in one sentence."""
    claims = [finding.claim for finding in found]
    worst = gravest_first(found)[0].severity
    return Finding(
        f"{candidate.label}: {len(claims)} {'thing' if len(claims) == 1 else 'things'} to know about this candidate.",
        " ".join(claims[:3]) + (f" And {len(claims) - 3} more." if len(claims) > 3 else ""),
        worst,
        f"candidate{candidate.key}",
        "Its checks",
    )


def _citations(
    candidates: list[Candidate], scores: Mapping[str, Scores], comparison: Comparison | None, variance: dict[str, Any]
) -> Citations:
    """Everything that the report rests on."""
    tests = candidates[0].random_effect_tests
    used: list[Any] = [] if tests is None else [tests]
    for candidate in candidates:
        own = scores[candidate.label]
        used += [candidate.model, candidate.maximum, candidate.fit, candidate.check, *own.elpds.values()]
        used += [table for by in variance[candidate.label].values() for table in by.values()]
    if comparison is not None:
        used += [*comparison.scores.values(), *([] if comparison.tests.empty else [comparison.tests])]
    return cite(*(result for result in used if result is not None))


def _title(candidates: list[Candidate]) -> str:
    main = candidates[0]
    groups = [factor.name for factor in main.design.factors]
    if not groups and main.design.residual is not None:
        groups = [main.design.residual.name]
    both = joined([*([main.short] if main.short else []), "posterior"])
    more = f", {len(candidates)} candidates" if len(candidates) > 1 else ""
    return f"{response_of(main.design)} by {joined(groups)}: {both}{more}"
