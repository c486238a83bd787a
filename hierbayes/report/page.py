"""`report`: fit, describe, draw, write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes.errors import HierbayesWarning
from hierbayes.output import check_writable, write_whole
from hierbayes.partial_pooling.shrinkage import group_lines, shrinkage
from hierbayes.plots import estimates_figure, groups_figure, shrinkage_figure

from . import sections
from .estimates import side_by_side
from .findings import findings, problems
from .html import drawing, render
from .numbers import joined
from .provenance import run_of

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.model import Model
    from hierbayes.results import Fit, RemlFit


def report(
    model: Model,
    path: str | Path = "report.html",
    *,
    fit: Fit | None = None,
    seed: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    conf_level: float = 0.95,
    title: str | None = None,
    progress: bool | None = None,
    source: str | None = None,
) -> Path:
    """Write one self-contained HTML file with both inferences side by side.

    Parameters
    ----------
    model : Model
    path : str or pathlib.Path, default "report.html"
        The file; what was there before is replaced once the new report is complete.
    fit : Fit, optional
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

    Returns
    -------
    pathlib.Path
        The path as given.

    Raises
    ------
    OutputError
        If the file cannot be written; this is found out before anything is sampled.
    ValueError
        If `fit` belongs to another model, or an argument of the sampler or `conf_level` is out of range.

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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HierbayesWarning)
        reml = model.reml()
        if fit is None:
            fit = model.fit(draws=draws, tune=tune, chains=chains, seed=seed, progress=progress)
    written = write_whole(path, render(_context(model, reml, fit, Path(path), conf_level, title, source)))
    for text, category in dict.fromkeys((str(warning.message), warning.category) for warning in caught):
        warnings.warn(text, category, stacklevel=2)
    return written


def _same(model: Model, fit: Fit) -> bool:
    """Whether a posterior belongs to a model."""
    a, b = model.design, fit.design
    if a is b:
        return True
    texts = [(d.formula, d.sigma, None if d.residual is None else d.residual.text) for d in (a, b)]
    arrays = zip(_arrays(a), _arrays(b), strict=False)
    return texts[0] == texts[1] and all(np.array_equal(one, other) for one, other in arrays)


def _arrays(design: Design) -> list[np.ndarray]:
    """All numbers of a design, those of the same formula in the same order."""
    nothing = np.zeros(0)
    known = [nothing if values is None else values for values in (design.weights, design.offset)]
    series = [] if design.residual is None else [design.residual.codes, design.residual.time]
    random = [array for block in design.blocks for array in (block.Z, block.factor.codes)]
    return [design.y, design.X, *known, *series, *random]


def _context(
    model: Model, reml: RemlFit, fit: Fit, path: Path, conf_level: float, title: str | None, source: str | None
) -> dict[str, Any]:
    """Everything that the templates name."""
    design = model.design
    level = f"{100 * conf_level:g}%"
    reml_tidy, tidy = reml.tidy(conf_level), fit.tidy(conf_level)
    rows = side_by_side(reml_tidy, tidy)
    run = run_of(fit)
    table = shrinkage(reml, fit)
    lines = group_lines(reml, fit, table, model.data)
    by_group = groups_figure(lines)
    references = sections.references(design, model.data)
    effects = sections.effects_section(table, design)
    groups = [factor.name for factor in design.factors]
    if not groups and design.residual is not None:
        groups = [design.residual.name]
    return {
        "title": title or f"{design.response} by {joined(groups)}: REML and posterior",
        "level": level,
        "overview": sections.overview(model, run),
        "problems": problems(reml, fit, rows),
        "findings": findings(reml, fit, rows, model.data, level, references),
        "data": sections.data_section(model),
        "model": sections.model_section(model),
        "priors": sections.priors_section(model, run),
        "estimates": sections.estimates_section(rows, reml),
        "effects": effects,
        "convergence": sections.convergence_section(fit, run),
        "reproduce": sections.reproduce_section(model, run, path, source, conf_level),
        "estimates_figure": drawing(
            estimates_figure(reml_tidy, tidy),
            "estimates",
            f"Estimates and {level} intervals of {len(rows)} parameters, REML above the posterior. "
            "The table before the figure has the same numbers.",
        ),
        "shrinkage_figures": {
            shown["name"]: drawing(
                shrinkage_figure(table, shown["name"]),
                shown["key"],
                f"Effects of {shown['levels']} levels of {shown['name']} without pooling, by REML and in the "
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
