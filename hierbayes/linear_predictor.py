r"""Draws of the linear predictor of every row, taken apart into what makes it.

    η_i = x_iᵀβ + offset_i + Σ_f z_ifᵀ b_f(i)

with the fixed effects and, for each grouping factor f, the effects of the level of row i. For a response with several
linear predictors (categorical, multinomial) there is one for each outcome, in a last axis. Draws of all chains stand
one after the other; arrays of draws x rows are made for some draws at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hierbayes import names
from hierbayes.covariance import cholesky
from hierbayes.design import Design, Factor, Part
from hierbayes.errors import HierbayesError
from hierbayes.estimates import VARIANCE, Sampled, variance_rows


@dataclass(frozen=True, eq=False)
class EffectDraws:
    """Draws of fixed effects, effects of levels, their covariances and the parameters of the family.

    Parameters
    ----------
    fit : Sampled
    """

    fit: Sampled

    @property
    def design(self) -> Design:
        """Of the fit."""
        return self.fit.design

    @property
    def draws(self) -> int:
        """Number of draws, all chains together."""
        return self.fit.n_draws

    @property
    def outcomes(self) -> tuple[int, ...]:
        """Number of linear predictors as the last axis of everything, or no such axis."""
        return () if self.design.outcomes is None else (len(self.design.outcomes[1]),)

    def of(self, name: str, **some: np.ndarray | slice) -> np.ndarray:
        """Draws of a variable, the outcomes last; of some levels only, by dimension."""
        variable = self.fit.posterior[name].isel(some)
        if self.design.outcomes is not None and self.design.outcomes[0] in variable.dims:
            variable = variable.transpose(..., self.design.outcomes[0])
        values = variable.to_numpy()
        return values.reshape(self.draws, *values.shape[2:])

    @cached_property
    def fixef(self) -> np.ndarray:
        """(draws, p) or (draws, p, outcomes) array of the fixed effects."""
        made = [self.of(term.name).reshape(self.draws, -1, *self.outcomes) for term in self.design.terms]
        return np.concatenate([np.empty((self.draws, 0, *self.outcomes)), *made], axis=1)

    def of_levels(self, factor: Factor, levels: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Effects of some levels of a factor.

        Parameters
        ----------
        factor : Factor
        levels : int array, optional
            Increasing places among the levels of the factor; by default all.

        Returns
        -------
        (draws, q, levels) or (draws, q, levels, outcomes) array
        """
        dim = names.levels_dim(factor.name)
        shape = (self.draws, -1, len(factor.levels[levels]), *self.outcomes)
        terms = [term for part in self.design.parts_of(factor) for term in part.block.terms]
        made = [self.of(names.effect(term.name, factor.name), **{dim: levels}) for term in terms]
        return np.concatenate([values.reshape(shape) for values in made], axis=1)

    def root(self, part: Part) -> np.ndarray:
        """(draws, q, q) or (draws, q, q, outcomes) array: factor L of the covariance Σ = L Lᵀ of a block."""
        total, size, factor = self.draws, part.block.Z.shape[1], part.factor.name
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

    @cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """Draws of the further parameters of the family, without those that are held at a number."""
        return {name: self.of(name) for name in self.design.family.auxiliary if name in self.fit.posterior}


@dataclass(frozen=True, eq=False)
class LinearPredictor(EffectDraws):
    """The linear predictor of a posterior.

    Parameters
    ----------
    fit : Sampled
        With draws of its random effects.

    Raises
    ------
    HierbayesError
        If only summaries of the random effects were kept.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
    >>> eta = LinearPredictor(fit).eta(slice(0, 10))
    >>> eta.shape
    (10, 30)
    """

    def __post_init__(self) -> None:
        if self.fit.design.factors and not self.fit.ranef_kept:
            raise HierbayesError(
                "Only summaries of the random effects were kept, and this needs their draws; fit with ranef='draws'."
            )

    @cached_property
    def effects(self) -> dict[str, np.ndarray]:
        """(draws, q, levels) or (draws, q, levels, outcomes) array of the effects of each factor, by its name."""
        return {factor.name: self.of_levels(factor) for factor in self.design.factors}

    @cached_property
    def roots(self) -> np.ndarray:
        """(draws, q, q) array: lower factors L of the covariance Σ = L Lᵀ of the random effects of a level."""
        q = self.design.layout.q
        made = np.zeros((self.draws, q, q))
        for part in self.design.parts:
            made[:, part.where, part.where] = self.root(part)
        return made

    def auxiliary(self, draws: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Draws of the further parameters of the family, without those that are held at a number."""
        return {name: values[draws] for name, values in self.parameters.items()}

    def fixed(self, draws: slice | np.ndarray, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Fixed effects and offset, (draws, rows) or (draws, rows, outcomes)."""
        d = self.design
        eta = np.einsum("np,dp...->dn...", d.X[rows], self.fixef[draws], optimize=True)
        if d.offset is not None:
            eta += d.offset[rows] if d.outcomes is None else d.offset[rows, None]
        return eta

    def random(self, factor: Factor, draws: slice | np.ndarray, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """What the effects of a factor add, (draws, rows) or (draws, rows, outcomes)."""
        Z, codes = self.design.effect_columns(factor, rows), factor.codes[rows]
        effects = self.effects[factor.name][draws]
        if self.outcomes:
            Z = Z[:, :, None]
        return sum(Z[:, k] * effects[:, k, codes] for k in range(Z.shape[1]))

    def eta(
        self,
        draws: slice | np.ndarray,
        rows: slice | np.ndarray = slice(None),
        without: tuple[str, ...] = (),
    ) -> np.ndarray:
        """The linear predictor, (draws, rows) or (draws, rows, outcomes), some factors left out if wanted."""
        eta = self.fixed(draws, rows)
        for factor in self.design.factors:
            if factor.name not in without:
                eta += self.random(factor, draws, rows)
        return eta


def spread(fit: Sampled) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the standard deviations (draws, q) and correlations (draws, q, q) of the effects of a level."""
    draws, q = fit.parameter_draws(), fit.design.layout.q
    sd, corr = np.empty((len(draws), q)), np.tile(np.eye(q), (len(draws), 1, 1))
    for group, term, i, j in variance_rows(fit.design):
        values = draws[VARIANCE, group, term].to_numpy()
        if i == j:
            sd[:, i] = values
        else:
            corr[:, i, j] = corr[:, j, i] = values
    return sd, corr


def covariance_draws(fit: Sampled) -> np.ndarray:
    """(draws, q, q) draws of the covariance of the random effects of a level, block diagonal over the factors."""
    sd, corr = spread(fit)
    return corr * sd[:, :, None] * sd[:, None, :]
