"""A posterior as weighted points of θ, and what each of them implies for all parameters.

Given θ the fixed effects are Gaussian, so that over the nodes their posterior is a mixture of Normal laws.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, variance_rows
from hierbayes.kernel_nodes import covariances, fixed_effects
from hierbayes.marginal import Marginal
from hierbayes.threads import parts, share

CHUNK = 1000
"""Nodes that a thread works on at a time."""


class Nodes:
    """Weighted points of θ.

    Parameters
    ----------
    marginal : Marginal
    thetas : (nodes, dim) array
        In the order of `Marginal.places`.
    weights : (nodes,) array
        Their posterior probabilities, in sum 1.
    """

    marginal: Marginal
    thetas: Any
    weights: Any

    def __init__(self, marginal: Marginal, thetas: np.ndarray, weights: np.ndarray) -> None:
        self.marginal, self.thetas, self.weights = marginal, thetas, weights

    @cached_property
    def fixef_given(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations (nodes, p) of the fixed effects given θ; 0 for what θ determines."""
        marginal = self.marginal
        n, p, kept = len(self.thetas), marginal.moments.p, marginal.kept
        to_beta = np.linalg.inv(marginal.centering)
        u, variance = np.empty((n, int((~kept).sum()))), np.empty((n, p))
        back = np.ascontiguousarray(to_beta[:, ~kept])
        thetas = np.ascontiguousarray(self.thetas)

        def run(_: int, part: slice) -> None:
            fixed_effects(thetas[part], marginal.packed, *marginal.plan, back, u[part], variance[part])

        with marginal.one_thread():
            share(run, parts(n, CHUNK), os.cpu_count() or 1)
        eta = np.empty((n, p))
        eta[:, ~kept] = u + marginal.origin[~kept]
        eta[:, kept] = thetas[:, marginal.places.kept :]
        return eta @ to_beta.T, np.sqrt(variance)

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """Every row of `tidy` as a function of θ: one column each, one row a node; of fixed effects, their means."""
        design, places, layout = self.marginal.design, self.marginal.places, self.marginal.moments.layout
        sds = self.thetas[:, places.sds]
        S = np.empty((len(sds), layout.q, layout.q))
        covariances(sds, np.ascontiguousarray(self.thetas[:, places.partials]), *layout.arrays, S)
        corr = correlation(S)[1]
        columns = {(FIXED, "", label): self.fixef_given[0][:, j] for j, label in enumerate(design.labels)}
        for group, term, i, j in variance_rows(design):
            columns[VARIANCE, group, term] = sds[:, i] if i == j else corr[:, i, j]
        if places.sigma is not None:
            columns[VARIANCE, RESIDUAL, names.SIGMA] = self.thetas[:, places.sigma]
        if places.rho is not None:
            columns[VARIANCE, RESIDUAL, names.RHO] = self.marginal.rho(self.thetas[:, places.rho])
        return pd.DataFrame(columns)

    @cached_property
    def mean(self) -> pd.Series:
        """Posterior means."""
        values = self.parameters
        return pd.Series(self.weights @ values.to_numpy(), index=values.columns)

    @cached_property
    def sd(self) -> pd.Series:
        """Posterior standard deviations."""
        variance = self.weights @ (self.parameters - self.mean).to_numpy() ** 2
        variance[: self.marginal.moments.p] += self.weights @ self.fixef_given[1] ** 2
        return pd.Series(np.sqrt(variance), index=self.mean.index)
