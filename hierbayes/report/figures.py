"""The figures of a report: each with its caption, and a reason in words where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate, Posterior
from hierbayes.plots import (
    caterpillar_figure,
    elpd_figure,
    estimates_figure,
    groups_figure,
    pareto_k_figure,
    plane_figure,
    predictive_figure,
    prior_posterior_figure,
    profile_figure,
    residuals_figure,
    shrinkage_figure,
    variance_figure,
)
from hierbayes.side_by_side.plane import plane
from hierbayes.side_by_side.predictive import predictive
from hierbayes.side_by_side.prior_posterior import prior_posterior
from hierbayes.side_by_side.profiles import profiles
from hierbayes.side_by_side.residuals import residual_panel

from . import effort
from .candidates import Candidate
from .html import drawing
from .numbers import joined
from .scores import GROUP, ROW, Scores

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hierbayes.partial_pooling.shrinkage import GroupLines

    from .comparison import Comparison

LEAST = 2
"""Levels that a caterpillar needs."""


@dataclass
class Drawings:
    """Figures made so far.

    Attributes
    ----------
    made : dict of str to dict
        By key: ``svg`` and ``caption``.
    absent : dict of str to str
        Why there is no figure, and the call that gives it.
    """

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, make: Callable[[], Figure], label: str, caption: str) -> None:
        """Draw a figure; what the package refuses for this model is said in its place."""
        try:
            figure = make()
        except HierbayesError as error:
            self.absent[key] = str(error)
            return
        self.made[key] = {"svg": drawing(figure, key, label), "caption": caption}


def main_figures(candidate: Candidate, scores: Scores, variance: dict[str, Any], effects: pd.DataFrame) -> Drawings:
    """Figures of the main model beside those of estimates, levels and lines.

    Parameters
    ----------
    candidate : Candidate
    scores : Scores
    variance : dict
        Tables of `sections.variance_tables`.
    effects : pandas.DataFrame
        Of every level.

    Returns
    -------
    Drawings
    """
    drawings, fit, design = Drawings(), candidate.fit, candidate.design
    maximum, short, level = candidate.maximum, candidate.short, candidate.level
    beside = f"{short} and " if short else ""
    drawings.add(
        "prior_posterior",
        lambda: prior_posterior_figure(prior_posterior(fit, maximum)),
        f"Prior and posterior density of {len(candidate.rows)} parameters"
        + (f", with the {short} estimates." if short else "."),
        "Prior (dashed) and posterior (filled) density of every parameter"
        + (f", with the {short} estimate above the axis" if short else "")
        + ". Where the two curves are alike, the data say little.",
    )
    for k, factor in enumerate(design.factors):
        if len(factor.levels) < LEAST:
            continue
        drawings.add(
            f"caterpillar{f'-{k}' if k else ''}",
            lambda name=factor.name: caterpillar_figure(  # type: ignore[misc]
                effects, name, *(() if candidate.method is None else (short, candidate.method.effect))
            ),
            f"Effects of the levels of {factor.name} in order, with 95% intervals by {beside}in the posterior.",
            f"Effects of the levels of {factor.name}, each effect in its own order, with 95% intervals"
            + (f" by {short} and in the posterior." if short else "."),
        )
    if any(len(part.block.labels) > 1 for part in design.parts):
        drawings.add(
            "plane",
            lambda: plane_figure(plane(fit, maximum=maximum)),
            "Two effects of every level: without pooling, by the maximum and in the posterior, with ellipses.",
            "Two effects of every level, pulled from no pooling towards the average; ellipses hold half and 95% of "
            f"levels by {beside}in the posterior.",
        )
    if isinstance(fit, Posterior) and isinstance(maximum, Estimate):
        if effort.profile_cost(maximum.marginal) > 1:
            drawings.absent["profile"] = (
                "The profile likelihood of the variance parameters would take long, so it was not drawn; "
                "hb.plots.profile_figure(hb.profiles(fit)) draws it."
            )
        else:
            drawings.add(
                "profile",
                lambda: profile_figure(profiles(fit, conf_level=candidate.conf_level)),
                "Profile likelihood over the posterior density of every variance parameter.",
                "Where the two inferences meet and where they part: profile likelihood (scaled to area one) over the "
                f"posterior density of every variance parameter, with {level} intervals of both below.",
            )
    if not effort.design_is_small(design, fit.n_draws):
        drawings.absent["predictive"] = (
            "Simulating all rows from all draws would take long, so they were not drawn over their predictions; "
            "hb.plots.predictive_figure(hb.predictive(fit)) does it."
        )
    elif design.factors:
        drawings.add(
            "predictive",
            lambda: predictive_figure(predictive(fit)),
            "Observations by group over the intervals of their posterior predictive distribution.",
            "Observations of every level (dots) over the 50% and 95% intervals of what the posterior predicts for a "
            "new row of that level.",
        )
    if design.n > effort.DRAWN:
        drawings.absent["residuals"] = (
            f"Residuals of {design.n:,} rows were not drawn; hb.plots.residuals_figure(hb.residual_panel(reml)) "
            "does it."
        )
    else:
        drawings.add(
            "residuals",
            lambda: residuals_figure(residual_panel(fit if maximum is None else maximum)),
            "Residuals against fitted values, normal quantiles with their envelope, spread and groups.",
            f"Residuals of the {short or 'posterior'} fit: against fitted values, against normal quantiles, their "
            "spread, and by group.",
        )
    if scores.elpds:
        titles = {
            ("rows" if key == ROW else f"levels of {key.removeprefix(GROUP)}"): elpd
            for key, elpd in scores.elpds.items()
        }
        drawings.add(
            "pareto_k",
            lambda: pareto_k_figure(titles),
            f"Pareto k of {joined(list(titles))} that were left out, with the limit.",
            "Pareto k of what was left out: above the line the score is not to be trusted.",
        )
    if (tables := variance.get("variance_partition")) is not None:
        drawings.add(
            "variance",
            lambda: variance_figure(tables["posterior"], tables["maximum"], short or "REML"),
            f"Shares of the variance by {beside}in the posterior with intervals.",
            f"Share of the variance of fixed effects, groups and residuals by {beside}in the posterior, with {level} "
            "intervals.".replace("by in", "in"),
        )
    return drawings


def comparison_figures(comparison: Comparison, drawings: Drawings) -> None:
    """The figure of the candidates, added to the others."""
    if not comparison.scores:
        return
    titles = {
        "row" if key == ROW else f"New levels of {key.removeprefix(GROUP)} (LOGO)": table
        for key, table in comparison.scores.items()
    }
    drawings.add(
        "elpd",
        lambda: elpd_figure(titles),
        "Differences of expected log predictive density to the best candidate, with standard errors.",
        "How far every candidate is behind the best one, for each thing to predict, with 1 and 2 standard errors.",
    )


def estimates_drawing(candidate: Candidate) -> Markup:
    """Forest of both inferences."""
    above = f", {candidate.short} above the posterior" if candidate.short else ""
    return drawing(
        estimates_figure(candidate.maximum_tidy, candidate.tidy, candidate.short),
        "estimates",
        f"Estimates and {candidate.level} intervals of {len(candidate.rows)} parameters{above}. "
        "The table before the figure has the same numbers.",
    )


def shrinkage_drawings(
    candidate: Candidate, effects: dict[str, Any] | None, table: pd.DataFrame
) -> dict[str, Markup]:
    """One figure a grouping factor."""
    short, method = candidate.short, candidate.method
    return {
        shown["name"]: drawing(
            shrinkage_figure(table, shown["name"], *(() if method is None else (short, method.effect))),
            shown["key"],
            f"Effects of {shown['levels']} levels of {shown['name']} "
            f"{'without pooling, ' if 'no_pooling' in table else ''}{f'by {short} and ' if short else ''}in the "
            "posterior.",
        )
        for shown in ([] if effects is None else effects["factors"])
    }


def lines_drawing(candidate: Candidate, lines: GroupLines | None) -> Markup | None:
    """Data by group, with the lines of every way of pooling."""
    figure = groups_figure(lines)
    if figure is None or lines is None:
        return None
    return drawing(
        figure,
        "groups",
        f"{candidate.design.response} against {lines.predictor} in {len(lines.levels)} of {lines.total} levels of "
        f"{lines.factor}, with the lines of complete pooling, no pooling, REML and the posterior.",
    )
