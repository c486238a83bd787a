r"""Draws of all that predictions are made of, also where draws of the random effects were not kept.

Where only summaries of the random effects were kept, fixed effects and effects of known levels are drawn once more,
together, from their Gaussian distribution given each draw of θ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hierbayes.design import Factor
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Posterior
from hierbayes.linear_predictor import EffectDraws
from hierbayes.marginal import Conditionals


@dataclass(frozen=True, eq=False)
class Effects(EffectDraws):
    """The effects of a posterior, draws of all chains one after the other.

    Parameters
    ----------
    fit : Sampled
    rng : numpy.random.Generator
    known : bool
        Whether effects of levels that were fitted will be asked for.
    """

    rng: np.random.Generator
    known: bool

    @cached_property
    def _again(self) -> Conditionals | None:
        """A new draw of what was integrated out, where the draws were not kept."""
        if not self.known or self.fit.ranef_kept or not self.design.factors:
            return None
        if not isinstance(self.fit, Posterior):
            raise HierbayesError("Only summaries of the random effects were kept; fit with ranef='draws'.")
        return self.fit.marginal.condition(self.fit.thetas, self.rng)

    @cached_property
    def fixef(self) -> np.ndarray:
        """(draws, p) or (draws, p, outcomes) array of the fixed effects."""
        return super().fixef if self._again is None else self._again.fixef

    def of_levels(self, factor: Factor, levels: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Effects of some levels of a factor; as of `hierbayes.linear_predictor.EffectDraws`."""
        if self._again is None:
            return super().of_levels(factor, levels)
        return self._drawn_again(factor, np.arange(len(factor.levels))[levels])

    def _drawn_again(self, factor: Factor, levels: np.ndarray) -> np.ndarray:
        assert isinstance(self.fit, Posterior)
        assert self._again is not None
        marginal, given = self.fit.marginal, self._again
        position = [other.name for other in self.design.factors].index(factor.name)
        if position != marginal.leaf:
            return marginal.rest_effects(given, position)[:, :, levels]
        where, total = self.design.effects_of(factor), len(given.sigma)
        found = np.empty((total, where.stop - where.start, len(levels)))
        breaks = np.flatnonzero(np.diff(levels) != 1) + 1
        for run in np.split(np.arange(len(levels)), breaks):  # levels that stand side by side
            if len(run):
                z = self.rng.standard_normal((total, where.stop - where.start, len(run)))
                marginal.draw_effects(given, z, slice(levels[run[0]], levels[run[-1]] + 1), slice(0, total))
                found[:, :, run] = z
        return found
