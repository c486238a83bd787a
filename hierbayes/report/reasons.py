"""Why maximum likelihood and the posterior of a response that is not Gaussian disagree, as far as that can be told.

The maximum of likelihood times priors is not searched for here, as `hierbayes.Fit.disagreements` does it: a prior is
named as the cause where it is narrow beside the posterior, the boundary where the block of an effect is singular.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hierbayes import names
from hierbayes.estimates import FIXED
from hierbayes.laws import proper, quantile
from hierbayes.reml import SINGULAR

from .estimates import CORR, SD, Estimate

if TYPE_CHECKING:
    from hierbayes.priors import Prior, Priors
    from hierbayes.results import LaplaceFit, RemlFit

APART = 0.5
"""The two inferences are said to differ where they are this many posterior standard deviations apart."""
NARROW = 4.0
"""A prior moves what is estimated noticeably where its standard deviation is less than this many of the posterior."""
UNKNOWN = "cause not known"


def reasons_of(maximum: RemlFit | LaplaceFit, rows: Sequence[Estimate], priors: Priors) -> list[str]:
    """One text a row, empty where the two agree.

    Parameters
    ----------
    maximum : RemlFit or LaplaceFit
    rows : sequence of Estimate
    priors : Priors

    Returns
    -------
    list of str
    """
    edge, prior_of = singular_effects(maximum), _priors(rows, priors)
    made = []
    for row in rows:
        if abs(row.gap) <= APART:
            made.append("")
        elif on_edge(row, edge):
            made.append(f"boundary: by {row.method} some combination of the effects of {row.group!r} has no variance")
        elif (spread := _spread(prior_of.get(id(row)))) < NARROW * row.posterior.error:
            ratio = spread / row.posterior.error
            made.append(f"prior: its standard deviation is {ratio:.1f} times that of the posterior")
        else:
            made.append(UNKNOWN)
    return made


def singular_effects(maximum: RemlFit | LaplaceFit) -> set[tuple[str, str]]:
    """Grouping factor and label of every effect of a block of which some combination has no variance."""
    relative = maximum.optimum.relative
    return {
        (part.factor.name, label)
        for part in maximum.design.parts
        if np.linalg.svd(relative[part.where, part.where], compute_uv=False)[-1] < SINGULAR
        for label in part.block.labels
    }


def on_edge(row: Estimate, edge: set[tuple[str, str]]) -> bool:
    """Whether a standard deviation or correlation belongs to a singular block."""
    if row.kind == CORR:
        return any(group == row.group and label in row.effect for group, label in edge)
    return row.kind == SD and (row.group, row.effect) in edge


def _priors(rows: Sequence[Estimate], priors: Priors) -> dict[int, Prior]:
    """The prior of a row by its identity; a centred intercept is another one than that of the table."""
    fixed = [row for row in rows if row.kind == FIXED]
    sds = [row for row in rows if row.kind == SD]
    pairs = [*zip(fixed, priors.coefficients, strict=False), *zip(sds, priors.sds, strict=False)]
    centred = priors.centered and len(fixed) > 1
    return {
        id(row): prior
        for row, prior in pairs
        if not (centred and row.kind == FIXED and row.effect == names.INTERCEPT)
    }


def _spread(prior: Prior | None) -> float:
    """Half the width of the central 68%; infinite for a prior that is not proper or not known."""
    if prior is None or not proper(prior):
        return np.inf
    low, high = quantile(prior, np.array([0.16, 0.84]))
    return float(0.5 * (high - low))
