"""`report`: fit, describe, draw, write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes.errors import HierbayesWarning
from hierbayes.estimates import Estimate, Posterior
from hierbayes.model import Model
from hierbayes.output import check_writable, write_whole
from hierbayes.partial_pooling.shrinkage import group_lines, shrinkage
from hierbayes.plots import estimates_figure, groups_figure, shrinkage_figure

from . import sections
from .effects import group_effects
from .estimates import side_by_side
from .findings import findings, problems
from .html import drawing, render
from .method import Method, maximum
from .numbers import joined
from .provenance import run_of
from .scale import response_of

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.design import Design
    from hierbayes.partial_pooling.shrinkage import GroupLines
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit


def report(
    model: Model,
    path: str | Path = "report.html",
    *,
    fit: Fit | FamilyFit | None = None,
    seed: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    conf_level: float = 0.95,
    title: str | None = None,
    progress: bool | None = None,
    source: str | None = None,
    nagq: int = 1,
) -> Path:
    """Write one self-contained HTML file with both inferences side by side.

    Beside the posterior stands the REML fit or, for a response that is not Gaussian with identity link, the ML fit by
    `Model.ml`. A family that has none is reported by its posterior alone, and the report says why.

    Parameters
    ----------
    model : Model
    path : str or pathlib.Path, default "report.html"
        The file; what was there before is replaced once the new report is complete.
    fit : Fit or FamilyFit, optional
        A posterior of this model. Without one it is sampled with the next four arguments.
    seed, draws, tune, chains
        As in `Model.fit`.
    conf_level : float, default 0.95
        Level of all intervals but those of single levels, which are 95%.
    title : str, optional
    progress : bool, optional
        As in `Model.fit`.
    source : str, optional
        Name of the data set or path of the CSV file that the data came from, for the code that reproduces
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
        If the file cannot be written; this is found out before anything is sampled.
    ValueError
        If `model` is none, if `fit` belongs to another model, or an argument of the sampler, `conf_level` or `nagq`
        is out of range.
    HierbayesError
        If quadrature is asked for by `nagq` and cannot be had.

    Warns
    -----
    SingularFit, ConvergenceWarning
        What the fits warn about, once; the report says it first too.
    """
    if not 0.0 < conf_level < 1.0:
        raise ValueError(f"conf_level is between 0 and 1, not {conf_level}")
    if fit is not None and not _same(model, fit):
        raise ValueError("fit belongs to another model; make it with model.fit()")
    check_writable(path)
    if not isinstance(model, Model):
        raise ValueError(f"this is a {type(model).__name__}; give the model: hb.report(model, fit=fit)")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HierbayesWarning)
        found = maximum(model, nagq)
        if fit is None:
            fit = model.fit(draws=draws, tune=tune, chains=chains, seed=seed, progress=progress)
    context = _context(model, found, fit, Path(path), conf_level, title, source, nagq)
    written = write_whole(path, render(context))
    for text, category in dict.fromkeys((str(warning.message), warning.category) for warning in caught):
        warnings.warn(text, category, stacklevel=2)
    return written


def _same(model: Model, fit: Fit | FamilyFit) -> bool:
    """Whether a posterior belongs to a model."""
    a, b = model.design, fit.design
    if a is b:
        return True
    texts = [(d.formula, d.family, d.sigma, None if d.residual is None else d.residual.text) for d in (a, b)]
    arrays = zip(_arrays(a), _arrays(b), strict=False)
    return texts[0] == texts[1] and all(np.array_equal(one, other) for one, other in arrays)


def _arrays(design: Design) -> list[np.ndarray]:
    """All numbers of a design, those of the same formula in the same order."""
    nothing = np.zeros(0)
    known = [nothing if values is None else values for values in (design.weights, design.offset, design.trials)]
    series = [] if design.residual is None else [design.residual.codes, design.residual.time]
    random = [array for block in design.blocks for array in (block.Z, block.factor.codes)]
    return [design.y, design.X, *known, *series, *random]


def _context(
    model: Model,
    found: tuple[RemlFit | LaplaceFit | None, Method | None, str],
    fit: Fit | FamilyFit,
    path: Path,
    conf_level: float,
    title: str | None,
    source: str | None,
    nagq: int,
) -> dict[str, Any]:
    """Everything that the templates name."""
    design = model.design
    estimate, method, absence = found
    short = "" if method is None else method.short
    level = f"{100 * conf_level:g}%"
    maximum_tidy, tidy = None if estimate is None else estimate.tidy(conf_level), fit.tidy(conf_level)
    rows = side_by_side(maximum_tidy, tidy, short)
    run = run_of(fit)
    table, lines = _pooling(model, estimate, fit)
    by_group = groups_figure(lines)
    references = sections.references(design, model.data)
    effects = sections.effects_section(table, design)
    groups = [factor.name for factor in design.factors]
    if not groups and design.residual is not None:
        groups = [design.residual.name]
    above = f", {short} above the posterior" if short else ""
    both = joined([*([short] if short else []), "posterior"])
    return {
        "title": title or f"{response_of(design)} by {joined(groups)}: {both}",
        "method": method,
        "level": level,
        "overview": sections.overview(model, run),
        "problems": problems(estimate, fit, rows, method),
        "findings": findings(estimate, fit, rows, model.data, level, references, absence),
        "data": sections.data_section(model),
        "model": sections.model_section(model),
        "priors": sections.priors_section(model, run),
        "estimates": sections.estimates_section(rows, estimate, design, method),
        "effects": effects,
        "convergence": sections.convergence_section(fit, run),
        "reproduce": sections.reproduce_section(model, run, path, source, conf_level, nagq),
        "estimates_figure": drawing(
            estimates_figure(maximum_tidy, tidy, short),
            "estimates",
            f"Estimates and {level} intervals of {len(rows)} parameters{above}. "
            "The table before the figure has the same numbers.",
        ),
        "shrinkage_figures": {
            shown["name"]: drawing(
                shrinkage_figure(table, shown["name"], *(() if method is None else (short, method.effect))),
                shown["key"],
                f"Effects of {shown['levels']} levels of {shown['name']} "
                f"{'without pooling, ' if 'no_pooling' in table else ''}{f'by {short} and ' if short else ''}in the "
                "posterior.",
            )
            for shown in ([] if effects is None else effects["factors"])
        },
        "lines": lines,
        "groups_figure": None
        if by_group is None or lines is None
        else drawing(
            by_group,
            "groups",
            f"{design.response} against {lines.predictor} in {len(lines.levels)} of {lines.total} levels of "
            f"{lines.factor}, with the lines of complete pooling, no pooling, REML and the posterior.",
        ),
    }


def _pooling(
    model: Model, estimate: RemlFit | LaplaceFit | None, fit: Fit | FamilyFit
) -> tuple[pd.DataFrame, GroupLines | None]:
    """Effects of every level and, of a Gaussian response, lines through the data of some."""
    if isinstance(fit, Posterior) and isinstance(estimate, Estimate):
        table = shrinkage(estimate, fit)
        return table, group_lines(estimate, fit, table, model.data)
    return group_effects(estimate, fit), None
