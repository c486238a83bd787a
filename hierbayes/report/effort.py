"""What a report may cost: parts that would take long are left out, and the page says which call gives them.

Estimated from sizes alone, never by the clock, so that the same report is the same page on every machine. A unit is
an elementary step of a compiled loop; some hundred million of them take a second. With q effects of a level, p fixed
effects and a core of c columns (`hierbayes.forest`), an evaluation of the likelihood takes about
J (q + c + p)² + (c + p)³/3 of them with J levels eliminated one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hierbayes.design import Design
from hierbayes.estimates import Posterior, Sampled
from hierbayes.marginal import Marginal

if TYPE_CHECKING:
    from hierbayes.design import Factor

SCORING = 1e9
"""Steps that leaving out rows, or the levels of one factor, may take."""
SCATTERED = 4
"""Steps of crossed factors are that much slower: their numbers do not lie side by side, and scores are refined."""
DENSITIES = 4e7
"""Densities, draws x rows x nodes, that the same may take where the response is not Gaussian."""
NODES = 25
"""Nodes of the integral over the effects of a level."""
REFITS = 3e9
"""Steps that refits without a random effect, or a profile, may take."""
EVALUATIONS = 100
"""Evaluations of the likelihood of one refit; a profile takes ten times as many a parameter."""
LEVELS = 10_000
"""Effects of so many levels are among the tables that go with a report."""
DRAWN = 50_000
"""Residuals that are drawn, one point each."""
REPLICATED = 100_000_000
"""Draws x rows that are simulated for a figure."""


def evaluation(marginal: Marginal) -> float:
    """Steps of one evaluation of the likelihood."""
    design, forest = marginal.design, marginal.moments.forest
    p, core = design.X.shape[1], 0 if forest is None else forest.core
    width = max((len(part.block.labels) for part in design.parts), default=1)
    levels = max((len(factor.levels) for factor in design.factors), default=1)
    series = 0 if design.residual is None else int(design.residual.codes.max()) + 1
    return (levels + series) * (width + core + p) ** 2 + (core + p) ** 3 / 3


def rows_cost(fit: Sampled) -> float:
    """What leaving out every row costs, as a share of what it may."""
    design, draws = fit.design, fit.n_draws
    if not isinstance(fit, Posterior):
        return design.n * draws * max(1.0, NODES * (design.n * draws * NODES <= DENSITIES)) / (0.25 * DENSITIES)
    forest = fit.marginal.moments.forest
    p, core = design.X.shape[1], 0 if forest is None else forest.core
    width = max((len(part.block.labels) for part in design.parts), default=1)
    levels = max((len(factor.levels) for factor in design.factors), default=1)
    of_rows = (SCATTERED if core else 1) * design.n * (1 + core + p) ** 2
    return draws * (of_rows + SCATTERED * levels * (1 + width + p) ** 3) / SCORING


def groups_cost(fit: Sampled, factor: Factor) -> float:
    """What leaving out every level of a factor costs, as a share of what it may."""
    design, draws = fit.design, fit.n_draws
    if not isinstance(fit, Posterior):
        return design.n * draws * NODES / DENSITIES
    if fit.marginal.moments.forest is None and design.residual is None:
        return rows_cost(fit)
    return SCATTERED * len(factor.levels) * draws * (evaluation(fit.marginal) + design.n) / SCORING


def refits_cost(marginal: Marginal) -> float:
    """What refits without each random effect cost, as a share of what they may."""
    return len(marginal.design.effect_labels) * EVALUATIONS * evaluation(marginal) / REFITS


def profile_cost(marginal: Marginal) -> float:
    """What the profile of every variance parameter costs, as a share of what it may."""
    parameters = len(marginal.design.effect_labels) + 2
    return 10 * parameters * EVALUATIONS * evaluation(marginal) / REFITS


def design_is_small(design: Design, draws: int) -> bool:
    """Whether responses may be simulated for a figure."""
    return design.n * draws <= REPLICATED
