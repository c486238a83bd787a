r"""How far predictions by estimates and BLUPs are from the truth, the variances being given.

The errors of fixed effects and random effects have the joint covariance of Henderson's mixed model equations,

    Var(x'(β̂ - β) + z'(b̂ - b)) = σ² [x' z'] C⁻¹ [x; z],        C = [XᵀR⁻¹X  XᵀR⁻¹Z; ZᵀR⁻¹X  ZᵀR⁻¹Z + σ² G⁻¹]

(Henderson 1975, Biometrics 31, 423). C is never made. Given the data the errors have the distribution of (β, b) under
a flat prior for β, and a draw from that is a linear map of independent standard normal numbers: p for β, then those
of the levels that are eliminated last, then q for each level of the factor that is eliminated first. The variance of
a row is the sum of its squared responses to one of these numbers at a time; to those of the levels of the first
factor all rows respond at once, each to its own level.
"""

from __future__ import annotations

import numpy as np

from hierbayes import kernel_tree
from hierbayes.covariance import cholesky
from hierbayes.errors import HierbayesError
from hierbayes.marginal import Conditionals, Marginal

MOST = 20_000
"""Effects outside the factor that is eliminated first."""


class Errors:
    """Errors of predictions from one estimate.

    Parameters
    ----------
    marginal : Marginal
    covariance : (q, q) array
        Of the random effects.
    sigma, rho : float
    vcov : (p, p) array
        Of the fixed effects.
    """

    def __init__(
        self, marginal: Marginal, covariance: np.ndarray, sigma: float, rho: float, vcov: np.ndarray
    ) -> None:
        self.marginal, self.sigma, self.rho = marginal, sigma, rho
        self.half = cholesky(vcov)
        self.relative = marginal.moments.E @ cholesky(covariance) / sigma
        forest = marginal.moments.forest
        self.rest = 0 if forest is None else forest.rest_size
        self._store: tuple = ()

    def variance(self, X: np.ndarray, known: dict[int, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Variance of the error of each row, (rows,).

        Parameters
        ----------
        X : (rows, p) array
        known : dict of int to ((rows, q) array, (rows,) int array)
            For each grouping factor by its position whose effects are part of the prediction: columns of the
            effects, and level of each row (-1 for none).

        Raises
        ------
        HierbayesError
            If too many effects hang together.
        """
        if not known:
            return ((X @ self.half) ** 2).sum(axis=1)
        if self.rest > MOST:
            raise HierbayesError(
                f"The errors of {self.rest} effects hang together, too many for a standard error; ask for "
                "groups='average', or take the posterior: model.fit().predict()."
            )
        m, leaf = self.marginal.moments, self.marginal.leaf
        p, q = len(self.half), self._size(leaf)
        total = np.zeros(len(X))
        for k in range(p):
            t = np.append(-m.R @ self.half[:, k] / m.scale, 0.0)
            b = self._respond(t, np.zeros(self.rest), np.zeros(q))
            total += (X @ self.half[:, k] + self._of_rows(b, known)) ** 2
        nothing = np.zeros(p + 1)
        for k in range(self.rest):
            total += self._of_rows(self._respond(nothing, np.eye(1, self.rest, k)[0], np.zeros(q)), known) ** 2
        for k in range(q):
            b = self._respond(nothing, None, np.eye(q)[k])
            total += self._of_rows({leaf: b[leaf]}, known) ** 2
        return total

    def _size(self, position: int) -> int:
        where = self.marginal.design.effects_of(self.marginal.design.factors[position])
        return where.stop - where.start

    @staticmethod
    def _of_rows(b: dict[int, np.ndarray], known: dict[int, tuple[np.ndarray, np.ndarray]]) -> np.ndarray | float:
        total: np.ndarray | float = 0.0
        for position, (Z, codes) in known.items():
            if position in b:
                total = total + np.where(codes >= 0, np.einsum("nq,qn->n", Z, b[position][:, codes]), 0.0)
        return total

    def _respond(self, t: np.ndarray, rest: np.ndarray | None, leaf: np.ndarray) -> dict[int, np.ndarray]:
        """Effects (q, levels) of each factor for numbers behind the rest, and the same ones behind every leaf."""
        marginal = self.marginal
        m, design, tree = marginal.moments, marginal.design, marginal.plan[0]
        z = np.zeros(self.rest) if rest is None else rest
        if tree is not None and rest is not None:
            if not self._store:
                self._store = kernel_tree.factorise(marginal.cross_products(self.rho), tree, self.relative)[:3]
            panels, core, white = self._store
            kernel_tree.rest_effects(tree, self.relative, panels, core, white, t, self.sigma / m.scale, z)
        one = np.ones(1)
        given = Conditionals(
            one[:, None], t[None], self.relative[None], self.sigma * one, self.rho * one, self.relative[None], z[None]
        )
        found = {}
        for position, factor in enumerate(design.factors):
            if position != marginal.leaf:
                found[position] = marginal.rest_effects(given, position)[0]
                continue
            J = len(factor.levels)
            noise = np.repeat(leaf[:, None], J, axis=1)[None].copy()
            marginal.draw_effects(given, noise, slice(0, J), slice(0, 1))
            found[position] = noise[0]
        return found
