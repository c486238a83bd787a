r"""Draws of all that linear predictors are made of: fixed effects, effects of some levels, covariances, parameters.

Where only summaries of the random effects were kept, fixed effects and effects of known levels are drawn once more,
together, from their Gaussian distribution given each draw of θ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hierbayes import names
from hierbayes.covariance import cholesky
from hierbayes.design import Factor, Part
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Posterior, Sampled
from hierbayes.marginal import Conditionals


@dataclass(frozen=True, eq=False)
class Effects:
    """The effects of a posterior, draws of all chains one after the other.

    Parameters
    ----------
    fit : Sampled
    rng : numpy.random.Generator
    known : bool
        Whether effects of levels that were fitted will be asked for.
    """

    fit: Sampled
    rng: np.random.Generator
    known: bool

    @property
    def outcomes(self) -> tuple[int, ...]:
        """Number of linear predictors as the last axis of everything, or no such axis."""
        return () if self.fit.design.outcomes is None else (len(self.fit.design.outcomes[1]),)

    def of(self, name: str, **some: np.ndarray) -> np.ndarray:
        """Draws of a variable, the outcomes last; of some levels only, by dimension."""
        variable = self.fit.posterior[name].isel(some)
        outcomes = self.fit.design.outcomes
        if outcomes is not None and outcomes[0] in variable.dims:
            variable = variable.transpose(..., outcomes[0])
        values = variable.to_numpy()
        return values.reshape(-1, *values.shape[2:])

    @cached_property
    def _again(self) -> Conditionals | None:
        """A new draw of what was integrated out, where the draws were not kept."""
        if not self.known or self.fit.ranef_kept or not self.fit.design.factors:
            return None
        if not isinstance(self.fit, Posterior):
            raise HierbayesError("Only summaries of the random effects were kept; fit with ranef='draws'.")
        return self.fit.marginal.condition(self.fit.thetas, self.rng)

    @cached_property
    def fixef(self) -> np.ndarray:
        """(draws, p) or (draws, p, outcomes) array."""
        if self._again is not None:
            return self._again.fixef
        total = self.fit.n_draws
        made = [self.of(term.name).reshape(total, -1, *self.outcomes) for term in self.fit.design.terms]
        return np.concatenate([np.empty((total, 0, *self.outcomes)), *made], axis=1)

    def of_levels(self, factor: Factor, levels: np.ndarray) -> np.ndarray:
        """(draws, q, levels) or (draws, q, levels, outcomes) array: effects of some levels of a factor.

        Parameters
        ----------
        factor : Factor
        levels : int array
            Increasing places among the levels of the factor.
        """
        if self._again is not None:
            return self._drawn_again(factor, levels)
        total, dim = self.fit.n_draws, names.levels_dim(factor.name)
        made = [
            self.of(names.effect(term.name, factor.name), **{dim: levels}).reshape(
                total, -1, len(levels), *self.outcomes
            )
            for part in self.fit.design.parts_of(factor)
            for term in part.block.terms
        ]
        return np.concatenate(made, axis=1)

    def _drawn_again(self, factor: Factor, levels: np.ndarray) -> np.ndarray:
        assert isinstance(self.fit, Posterior)
        assert self._again is not None
        marginal, given = self.fit.marginal, self._again
        position = [other.name for other in self.fit.design.factors].index(factor.name)
        if position != marginal.leaf:
            return marginal.rest_effects(given, position)[:, :, levels]
        where, total = self.fit.design.effects_of(factor), len(given.sigma)
        found = np.empty((total, where.stop - where.start, len(levels)))
        breaks = np.flatnonzero(np.diff(levels) != 1) + 1
        for run in np.split(np.arange(len(levels)), breaks):  # levels that stand side by side
            if len(run):
                z = self.rng.standard_normal((total, where.stop - where.start, len(run)))
                marginal.draw_effects(given, z, slice(levels[run[0]], levels[run[-1]] + 1), slice(0, total))
                found[:, :, run] = z
        return found

    def root(self, part: Part) -> np.ndarray:
        """(draws, q, q) or (draws, q, q, outcomes) array: factor L of the covariance Σ = L Lᵀ of a block."""
        total, size, factor = self.fit.n_draws, part.block.Z.shape[1], part.factor.name
        sds = [self.of(names.sd(term.name, factor)).reshape(total, -1, *self.outcomes) for term in part.block.terms]
        sd = np.concatenate(sds, axis=1)
        C = np.broadcast_to(
            np.eye(size).reshape(size, size, *(1 for _ in self.outcomes)), (total, size, size, *self.outcomes)
        )
        if part.free:
            corr = np.moveaxis(self.of(names.corr(factor, part.number)).reshape(total, size, size, -1), -1, 1)
            flat = np.stack([cholesky(each) for each in corr.reshape(-1, size, size)])
            C = np.moveaxis(flat.reshape(corr.shape), 1, -1).reshape(total, size, size, *self.outcomes)
        found: np.ndarray = sd[:, :, None] * C
        return found

    @property
    def auxiliary(self) -> dict[str, np.ndarray]:
        """Further parameters of the family that are not held at a number."""
        design = self.fit.design
        return {name: self.of(name) for name in design.family.auxiliary if name in self.fit.posterior}
