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
from hierbayes.design import Design, Factor
from hierbayes.errors import HierbayesError
from hierbayes.estimates import VARIANCE, Sampled, variance_rows


@dataclass(frozen=True, eq=False)
class LinearPredictor:
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

    fit: Sampled

    def __post_init__(self) -> None:
        if self.fit.design.factors and not self.fit.ranef_kept:
            raise HierbayesError(
                "Only summaries of the random effects were kept, and this needs their draws; fit with ranef='draws'."
            )

    @property
    def design(self) -> Design:
        """Of the fit."""
        return self.fit.design

    @property
    def draws(self) -> int:
        """Number of draws, all chains together."""
        return self.fit.n_draws

    def _flat(self, name: str) -> np.ndarray:
        """Draws of a variable, with the outcomes, if there are any, in the last axis."""
        variable = self.fit.posterior[name]
        if self.design.outcomes is not None and self.design.outcomes[0] in variable.dims:
            variable = variable.transpose(..., self.design.outcomes[0])
        values = variable.to_numpy()
        return values.reshape(self.draws, *values.shape[2:])

    @property
    def _outcomes(self) -> tuple[int, ...]:
        return () if self.design.outcomes is None else (len(self.design.outcomes[1]),)

    @cached_property
    def fixef(self) -> np.ndarray:
        """(draws, p) or (draws, p, outcomes) array of the fixed effects."""
        shape = (self.draws, -1, *self._outcomes)
        made = [self._flat(term.name).reshape(shape) for term in self.design.terms]
        return np.concatenate([np.empty((self.draws, 0, *self._outcomes)), *made], axis=1)

    def effects(self, factor: Factor) -> np.ndarray:
        """(draws, q, levels) or (draws, q, levels, outcomes) array of the effects of a factor."""
        shape = (self.draws, -1, len(factor.levels), *self._outcomes)
        parts = self.design.parts_of(factor)
        made = [self._flat(names.effect(t.name, factor.name)) for part in parts for t in part.block.terms]
        return np.concatenate([values.reshape(shape) for values in made], axis=1)

    @cached_property
    def _effects(self) -> dict[str, np.ndarray]:
        return {factor.name: self.effects(factor) for factor in self.design.factors}

    @cached_property
    def roots(self) -> np.ndarray:
        """(draws, q, q) array: lower factors L of the covariance Σ = L Lᵀ of the random effects of a level."""
        sd, corr = spread(self.fit)
        return sd[:, :, None] * np.stack([cholesky(each) for each in corr])

    @cached_property
    def _auxiliary(self) -> dict[str, np.ndarray]:
        return {name: self._flat(name) for name in self.design.family.auxiliary if name in self.fit.posterior}

    def auxiliary(self, draws: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Draws of the further parameters of the family, without those that are held at a number."""
        return {name: values[draws] for name, values in self._auxiliary.items()}

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
        effects = self._effects[factor.name][draws]
        if self._outcomes:
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
