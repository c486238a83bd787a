"""What maximum likelihood says of a model whose response is not Gaussian: fixed effects, variances, modes.

Standard errors are those of the inverse Hessian of the log likelihood in all its parameters (lme4's default), so
those of the fixed effects account for the estimation of the variances. Intervals of variance parameters are symmetric
on the scales of `hierbayes.wald`: logarithms, and Fisher's z of correlations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from hierbayes.covariance import correlation
from hierbayes.design import Design
from hierbayes.estimates import Maximum
from hierbayes.kernel_family import inverse_link
from hierbayes.laplace import Laplace, Modes
from hierbayes.laplace_maximum import LaplaceOptimum
from hierbayes.reml import SINGULAR
from hierbayes.specification import Specification
from hierbayes.wald import Function, Wald, differences


@dataclass(frozen=True, eq=False, repr=False)
class LaplaceEstimate(Maximum):
    """A maximum of the likelihood by Laplace or adaptive Gauss-Hermite quadrature.

    `hierbayes.LaplaceFit` is this with its tests and tables; the attributes are described there.

    Parameters
    ----------
    likelihood : Laplace
    optimum : LaplaceOptimum
    specification : Specification or None
        Of the model; None for a fit to other responses or rows than the model's.
    """

    likelihood: Laplace
    optimum: LaplaceOptimum
    specification: Specification | None = None

    @property
    def design(self) -> Design:
        """The design that was fitted."""
        return self.likelihood.design

    @property
    def nagq(self) -> int:
        """Nodes of the quadrature; 1 is the Laplace approximation."""
        return self.likelihood.nagq

    @property
    def method(self) -> str:
        """How the random effects were integrated out, in words."""
        if self.nagq == 1:
            return "Laplace approximation"
        return f"adaptive Gauss-Hermite quadrature with {self.nagq} nodes"

    @cached_property
    def fixef(self) -> pd.Series:
        """Fixed effects."""
        likelihood = self.likelihood
        return pd.Series(likelihood.beta_of_gamma @ self.optimum.x[: likelihood.p], index=self.design.labels)

    @cached_property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects."""
        p, change = self.likelihood.p, self.likelihood.beta_of_gamma
        values = change @ self.optimum.covariance[:p, :p] @ change.T
        return pd.DataFrame(values, index=self.design.labels, columns=self.design.labels)

    @cached_property
    def covariance(self) -> np.ndarray:
        """(q, q) covariance matrix of the random effects of a level, block diagonal over the factors."""
        return self._covariance(self.optimum.x)

    def _covariance(self, x: np.ndarray) -> np.ndarray:
        factor = self.likelihood.units @ self.likelihood.split(x)[1]
        return factor @ factor.T

    @property
    def residual_values(self) -> dict[str, float]:
        """Auxiliary parameters of the family that are estimated."""
        values = self.likelihood.auxiliary(self.optimum.x).tolist()
        return dict(zip(self.likelihood.auxiliary_names, values, strict=False))

    @property
    def n_par(self) -> int:
        """Number of estimated parameters: fixed effects, variances and covariances, auxiliary parameters."""
        return self.likelihood.dim

    @cached_property
    def wald(self) -> Wald:
        """Standard errors of the variances and of the auxiliary parameters.

        On the boundary a standard deviation of zero, and the correlations of a singular block, have none; those of
        the others are what they are if the parameters on the boundary stay there.
        """
        likelihood = self.likelihood
        q, pairs = self.design.layout.q, self.design.layout.pairs
        positive: Function = np.positive if likelihood.thresholds else np.exp
        backs: list[Function] = [*[np.exp] * q, *[np.tanh] * len(pairs), *[positive] * likelihood.k]

        def symmetric(x: np.ndarray) -> np.ndarray:
            """Logarithms and Fisher's z of what the table shows."""
            sd, corr = correlation(self._covariance(x))
            auxiliary = likelihood.auxiliary(x)[: likelihood.k]
            auxiliary = auxiliary if likelihood.thresholds else np.log(auxiliary)
            return np.concatenate([np.log(sd), np.arctanh([corr[i, j] for i, j in pairs]), auxiliary])

        known = np.append(self._inside, np.full(likelihood.k, True))
        values, errors = np.full((2, len(backs)), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):  # of what is on the boundary
            values[known] = symmetric(self.optimum.x)[known]
            slopes = differences(symmetric, self.optimum.x)[known]
        errors[known] = np.sqrt(np.diag(slopes @ self.optimum.covariance @ slopes.T))
        return Wald(values, errors, tuple(backs))

    @property
    def _inside(self) -> np.ndarray:
        """Which standard deviations and correlations are not on the boundary."""
        relative, units = self.optimum.relative, self.likelihood.units
        spread = np.linalg.norm(units @ relative, axis=1) / np.linalg.norm(units, axis=1)
        proper = np.zeros(len(units), dtype=bool)
        for part in self.design.parts:
            proper[part.where] = np.linalg.svd(relative[part.where, part.where], compute_uv=False)[-1] >= SINGULAR
        return np.concatenate([spread >= SINGULAR, [proper[i] for i, _ in self.design.layout.pairs]]).astype(bool)

    @cached_property
    def modes(self) -> Modes:
        """The random effects given the data and all parameters."""
        with self.likelihood.effects.one_thread():
            return self.likelihood.modes(self.optimum.x)

    @cached_property
    def ranef(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects."""
        means = zip(self.design.factors, self.modes.means, strict=True)
        return {factor.name: self._by_level(factor, values) for factor, values in means}

    @cached_property
    def ranef_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations of the random effects, given all parameters."""
        found = zip(self.design.factors, self.modes.covariances, strict=True)
        return {
            factor.name: self._by_level(factor, np.sqrt(np.diagonal(values, axis1=1, axis2=2)))
            for factor, values in found
        }

    @property
    def linear_predictor(self) -> np.ndarray:
        """(n,) linear predictor of every row: offset, fixed effects and conditional modes."""
        return self.modes.eta

    @cached_property
    def fitted(self) -> np.ndarray:
        """(n,) mean of the response of every row; (n, categories) probabilities of an ordinal response."""
        likelihood, eta = self.likelihood, self.linear_predictor
        if not likelihood.thresholds:
            return inverse_link(likelihood.link, eta)
        below = inverse_link(likelihood.link, likelihood.auxiliary(self.optimum.x) - eta[:, None])
        return np.diff(below, axis=1, prepend=0.0, append=1.0)
