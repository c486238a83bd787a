r"""One likelihood, one face: what REML, NUTS and the recovery of the effects all share.

`Marginal` bundles the moments of a design with the priors of its fixed effects. Its density is
that of the response given the covariance parameters

    θ = (standard deviations of the effects, partial correlations, σ, r, kept fixed effects)

with the random effects, and every fixed effect whose prior is Normal or flat, integrated out.
Maximised with flat priors it is REML; sampled it is the posterior. σ is absent where it is known,
r ∈ (-1, 1) places the residual correlation ρ in its range and is absent for independent residuals.

The fixed effects are handled in the coordinates η of their priors: η = β, except that with centred
predictors the intercept is the expected response at the mean of the predictors,
``η₀ = β₀ + x̄ᵀ β``.

Behind the face stands `hierbayes.kernel_marginal`, and behind that two kernels: `hierbayes.kernel_levels` for
one grouping factor and `hierbayes.kernel_tree` for several.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hierbayes import kernel_levels, kernel_tree
from hierbayes.design import Design
from hierbayes.errors import DataError
from hierbayes.kernel_marginal import condition, leaf_effects, level_effects, log_density
from hierbayes.moments import Moments, retake, rows_of, take_moments
from hierbayes.priors import Priors
from hierbayes.residual import coefficients
from hierbayes.threads import one_thread, parts, share

SMALL_CORE = 100
"""Matrix products of this size are not worth a thread."""
UNDETERMINED = 1e-10
"""Rows that hold less than this of what all rows say of some combination of coefficients do not determine it."""
VAGUE = 1e-13
"""A Normal prior that says less than this of what all rows say of a coefficient is lost in their rounding."""


@dataclass(frozen=True)
class Conditionals:
    """What a set of draws of θ implies for everything that was integrated out.

    Parameters
    ----------
    fixef : (draws, p) array
        Draws of all fixed effects, uncentred.
    t : (draws, p + 1) array
    relative : (draws, q, q) array
        Λ, in the coordinates of the moments.
    sigma : (draws,) array
    rho : (draws,) array
        Residual correlation, 0 if there is none.
    L : (draws, q, q) array
        Factor of the covariance of the random effects.
    rest : (draws, rest) array
        Of several grouping factors, draws of all effects but those of the leaves, in the coordinates of
        the moments.
    """

    fixef: np.ndarray
    t: np.ndarray
    relative: np.ndarray
    sigma: np.ndarray
    rho: np.ndarray
    L: np.ndarray
    rest: np.ndarray

    def only(self, draws: np.ndarray | slice) -> Conditionals:
        """Some of the draws."""
        return Conditionals(*(getattr(self, name)[draws] for name in self.__dataclass_fields__))


class Marginal:
    """Marginal likelihood of a design, with the priors of its fixed effects.

    Parameters
    ----------
    design : Design
    priors : Priors or None
        None takes a flat prior on every fixed effect: the restricted likelihood.
    moments : Moments, optional
        Of the same design, if they have been taken already.
    kept : (p,) bool array, optional
        Fixed effects to keep in θ; by default those that the priors do not let us integrate out.

    Attributes
    ----------
    moments : Moments
    kept : (p,) bool array
        Fixed effects that θ contains.
    centering : (p, p) array
        From fixed effects to the coordinates of their priors.
    dim : int
        Length of θ.
    """

    def __init__(
        self,
        design: Design,
        priors: Priors | None = None,
        moments: Moments | None = None,
        kept: np.ndarray | None = None,
    ) -> None:
        self.design = design
        self.moments = take_moments(design) if moments is None else moments
        p = self.moments.p
        if kept is None:
            kept = np.zeros(p, dtype=bool) if priors is None else priors.kept
        self.kept = kept
        self._mean = np.zeros(p)
        self._precision = np.zeros(p)
        self.centering = np.eye(p)
        if priors is None:
            return
        for i, prior in enumerate(priors.coefficients):
            if prior.name == "Normal" and prior.integrable:
                self._mean[i] = prior.args["mu"]
                self._precision[i] = prior.args["sigma"] ** -2.0
        if priors.centered and design.intercept is not None:
            self.centering[design.intercept] = design.X.mean(axis=0)

    def with_response(self, y: np.ndarray, moments: Moments) -> Marginal:
        """The same likelihood for another response, without priors.

        Parameters
        ----------
        y : (n,) array
        moments : Moments
            Of that response, the shape of the data being that of the own moments.

        Returns
        -------
        Marginal
        """
        other = copy.copy(self)
        other.design = copy.copy(self.design)
        object.__setattr__(other.design, "y", y)
        other.moments = moments
        packed = self.packed.copy()
        packed[10] = moments.scale
        p, size = moments.p, moments.data.size
        at = len(packed) - size - p * (p + 2)
        packed[at : at + p * p] *= self.moments.scale / moments.scale
        packed[at + p * (p + 1) : at + p * (p + 2)] = -moments.ols
        packed[at + p * (p + 2) :] = moments.data[0]
        other.__dict__["packed"] = packed
        return other

    def without(self, rows: np.ndarray | slice) -> Marginal:
        """The same likelihood without some of its rows.

        θ, the priors (and with them the mean of the predictors that centres the intercept), the coordinates and the
        plan of elimination stay what they are, and so do levels that lose all their rows: `log_density` at a θ is
        the log density of the remaining rows at that same θ.

        Parameters
        ----------
        rows : int array, bool array or slice
            The rows of the design to leave out.

        Returns
        -------
        Marginal

        Raises
        ------
        DataError
            If no row remains, or if those that remain do not determine the coefficients with flat priors.
        """
        keep = np.ones(self.design.n, dtype=bool)
        keep[rows] = False
        if not keep.any():
            raise DataError("All rows are left out; leave some to predict the others from.")
        other = copy.copy(self)
        other.design = self.design.only(keep)
        other.moments = retake(other.design, self.moments)
        for name in ("packed", "plan"):
            other.__dict__.pop(name, None)
        X = rows_of(other.design, other.moments)[1][:, :-1]
        if not other.determined(X.T @ X):
            flat = zip(self.design.labels, self._flat[0], strict=True)
            labels = ", ".join(repr(label) for label, each in flat if each)
            raise DataError(
                f"The {other.design.n} rows that remain do not determine the coefficients with flat or almost flat "
                f"priors ({labels}); leave fewer rows out, or give these coefficients narrower Normal priors."
            )
        return other

    def determined(self, gram: np.ndarray) -> np.ndarray:
        """Whether rows with these cross-products determine the coefficients with flat priors.

        Parameters
        ----------
        gram : (..., p, p) array
            XᵀX of the rows, in the coordinates of the moments.

        Returns
        -------
        (...) bool array
        """
        flat, change, norms = self._flat
        change = (change / norms)[:, flat]
        found: np.ndarray = np.linalg.eigvalsh(change.T @ gram @ change).min(axis=-1, initial=1.0) > UNDETERMINED
        return found

    @property
    def _flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which priors are flat, exactly or to rounding; change of coordinates to all, and norms of its columns."""
        change = self.moments.R @ np.linalg.inv(self.centering)
        norms = np.linalg.norm(change, axis=0)
        return ~self.kept & (self._precision * self.moments.scale**2 <= VAGUE * norms**2), change, norms

    @property
    def origin(self) -> np.ndarray:
        """(p,) least-squares coefficients in the coordinates of the priors."""
        return self.centering @ self.moments.ols

    @property
    def places(self) -> Places:
        """Where the parts of θ stand."""
        d, layout = self.design, self.moments.layout
        at = layout.q + layout.n_partial
        sigma = at if d.sigma is None else None
        at += d.sigma is None
        rho = at if d.residual is not None else None
        return Places(
            slice(layout.q), slice(layout.q, layout.q + layout.n_partial), sigma, rho, at + (rho is not None)
        )

    @property
    def dim(self) -> int:
        """Length of θ."""
        return self.places.kept + int(self.kept.sum())

    @cached_property
    def packed(self) -> np.ndarray:
        """Everything the compiled functions need, as one flat vector."""
        m = self.moments
        D = m.R @ np.linalg.inv(self.centering) / m.scale
        ols = self.origin
        kept, integrated = self.kept, ~self.kept
        sizes, correlated = m.layout.arrays
        header = [
            m.q, len(m.count), m.p, integrated.sum(), kept.sum(), len(sizes), *m.data.shape, m.layout.n_partial,
            m.n, m.scale, self.design.sigma or 0.0, m.constant,
        ]  # fmt: skip
        parts = [
            header, sizes, correlated, m.count, m.E, D[:, integrated], self._precision[integrated],
            (self._mean - ols)[integrated], D[:, kept], ols[kept], m.data,
        ]  # fmt: skip
        return np.concatenate([np.ravel(part).astype(float) for part in parts])

    @cached_property
    def plan(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """How several factors are eliminated and how the residuals are correlated, for the compiled functions."""
        forest, residual = self.moments.forest, self.design.residual
        return (
            None if forest is None else forest.tree,
            None if residual is None else np.concatenate([residual.bounds, residual.table]),
        )

    def log_density(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Log marginal density at θ and its gradient; see `log_density`."""
        return log_density(np.asarray(theta, dtype=float), self.packed, *self.plan)

    def rho(self, r: np.ndarray) -> np.ndarray:
        """Residual correlation from its place r in its range."""
        assert self.design.residual is not None
        low, high = self.design.residual.bounds
        return low + 0.5 * (high - low) * (r + 1.0)

    def place(self, rho: Any) -> Any:
        """Place r of a residual correlation in its range, -1 to 1: the inverse of `rho`."""
        assert self.design.residual is not None
        low, high = self.design.residual.bounds
        return 2.0 * (rho - low) / (high - low) - 1.0

    def condition(self, thetas: np.ndarray, rng: np.random.Generator | None, threads: int = 1) -> Conditionals:
        """Draw the fixed effects that were integrated out, one draw for each θ.

        With several grouping factors, all random effects but those of the leaves are drawn along.

        Parameters
        ----------
        thetas : (draws, dim) array
        rng : numpy.random.Generator or None
            None takes the conditional means instead of draws.
        threads : int

        Returns
        -------
        Conditionals
        """
        m, places = self.moments, self.places
        draws = len(thetas)
        integrated = ~self.kept
        thetas = np.ascontiguousarray(thetas, dtype=float)
        gaussian = np.zeros if rng is None else rng.standard_normal
        noise = gaussian((draws, int(integrated.sum())))
        rest = gaussian((draws, 0 if m.forest is None else m.forest.rest_size))
        t = np.empty((draws, m.p + 1))
        u = np.empty_like(noise)
        relative = np.empty((draws, m.q, m.q))
        L = np.empty_like(relative)

        def run(_: int, part: slice) -> None:
            condition(
                thetas[part],
                self.packed,
                *self.plan,
                noise[part],
                t[part],
                u[part],
                relative[part],
                L[part],
                rest[part],
            )

        with self.one_thread():
            share(run, parts(draws, max(1, -(-draws // (4 * threads)))), threads)
        eta = np.empty((draws, m.p))
        eta[:, integrated] = u + self.origin[integrated]
        eta[:, self.kept] = thetas[:, places.kept :]
        fixef = eta @ np.linalg.inv(self.centering).T
        sigma = np.full(draws, self.design.sigma) if places.sigma is None else thetas[:, places.sigma]
        rho = np.zeros(draws) if places.rho is None else self.rho(thetas[:, places.rho])
        return Conditionals(fixef, t, relative, sigma, rho, L, rest)

    def one_thread(self) -> AbstractContextManager[Any]:
        """Keep the matrix products of a large core on one thread."""
        forest = self.moments.forest
        return nullcontext() if forest is None or forest.core < SMALL_CORE else one_thread()

    @property
    def leaf(self) -> int:
        """Position of the factor whose effects are drawn last, level by level."""
        return 0 if self.moments.forest is None else self.moments.forest.order[0]

    def draw_effects(self, given: Conditionals, z: np.ndarray, levels: slice, draws: slice) -> None:
        """Overwrite standard normal noise with exact draws of the random effects of the leaf factor.

        Parameters
        ----------
        given : Conditionals
        z : (draws, q, levels) array
            Noise in, effects out, in the user's units; for the given slices of draws and levels.
        levels, draws : slice
        """
        m = self.moments
        where = self.design.effects_of(self.design.factors[self.leaf])
        relative = np.ascontiguousarray(given.relative[draws, where, where])
        units = np.ascontiguousarray(self.units(where) @ relative)
        sigma = given.sigma[draws] / m.scale
        tree, residual = self.plan
        rho, t = given.rho[draws], given.t[draws]
        if tree is not None:
            begin = levels.start or 0
            leaf_effects(m.data, tree, residual, rho, t, given.rest[draws], relative, units, sigma, begin, z)
            return
        assert m.levels is not None
        A = np.ascontiguousarray(m.levels.A_levels[..., levels])
        M = np.ascontiguousarray(m.levels.M_levels[..., levels])
        level_effects(A, M, residual, rho, t, relative, units, sigma, z)

    def rest_effects(self, given: Conditionals, position: int) -> np.ndarray:
        """Draws (draws, effects, levels) of the effects of a factor that is not the leaf one, in the user's units."""
        forest = self.moments.forest
        assert forest is not None
        where = self.design.effects_of(self.design.factors[position])
        values = given.rest[:, forest.rest[forest.order.index(position) - 1]]
        return np.einsum("ij,slj->sil", self.units(where), values)

    def blups(self, relative: np.ndarray, t: np.ndarray, rho: float) -> list[np.ndarray]:
        """Conditional means of all random effects given the data and all parameters.

        Parameters
        ----------
        relative : (q, q) array
            Λ, in the coordinates of the moments.
        t : (p + 1,) array
            (-γ, 1).
        rho : float

        Returns
        -------
        list of (effects, levels) array
            One a grouping factor, in the user's units.
        """
        m, design = self.moments, self.design
        tree, _ = self.plan
        rest = np.zeros(0 if m.forest is None else m.forest.rest_size)
        if tree is not None:
            panels, core, white, _, _ = kernel_tree.factorise(self.cross_products(rho), tree, relative)
            kernel_tree.rest_effects(tree, relative, panels, core, white, t, 0.0, rest)
        one = np.zeros(1)
        given = Conditionals(one[:, None], t[None], relative[None], one, np.array([rho]), relative[None], rest[None])
        found = []
        for position, factor_ in enumerate(design.factors):
            if position != self.leaf:
                found.append(self.rest_effects(given, position)[0])
                continue
            where, J = design.effects_of(factor_), len(factor_.levels)
            z = np.zeros((1, where.stop - where.start, J))
            self.draw_effects(given, z, slice(0, J), slice(0, 1))
            found.append(z[0])
        return found

    def cross_products(self, rho: float) -> np.ndarray:
        """The cross-products at ρ, as one vector."""
        return np.tensordot(self._weights(rho), self.moments.data, 1)

    def _weights(self, rho: float) -> np.ndarray:
        residual = self.plan[1]
        return np.ones(1) if residual is None else coefficients(rho, residual[2:])[0]

    def units(self, where: slice) -> np.ndarray:
        """Change from the coordinates of the moments to the user's units, for some effects."""
        return self.moments.scale * np.linalg.inv(self.moments.E[where, where])

    def conditional_covariance(self, relative: np.ndarray, sigma: float, rho: float) -> list[np.ndarray]:
        """Covariance of the random effects of every level given the data and all parameters.

        Parameters
        ----------
        relative : (q, q) array
            Λ, in the coordinates of the moments.
        sigma, rho : float

        Returns
        -------
        list of (levels, effects, effects) array
            One a grouping factor, in the user's units.
        """
        m = self.moments
        tree, _ = self.plan
        weights = self._weights(rho)
        nothing = np.zeros((m.p + 1, m.p + 1))
        found = []
        if m.levels is not None:
            A = np.tensordot(weights, m.levels.A_levels, 1)
            M = np.tensordot(weights, m.levels.M_levels, 1)
            A_bar, M_bar = np.zeros_like(A), np.zeros_like(M)
            kernel_levels.absorb_adjoint(A, np.ones(A.shape[-1]), M, relative, nothing, 1.0, A_bar, M_bar)
            bars = [np.moveaxis(A_bar, -1, 0)] if self.design.factors else []
        else:
            assert m.forest is not None
            now = self.cross_products(rho)
            bar = np.zeros_like(now)
            assert tree is not None
            panels, core, white, _, _ = kernel_tree.factorise(now, tree, relative)
            kernel_tree.adjoint(now, tree, relative, panels, core, white, nothing, 1.0, bar)
            bars = [bar[m.forest.blocks[k, k]] for k in map(m.forest.order.index, range(len(self.design.factors)))]
        for factor_, value in zip(self.design.factors, bars, strict=True):
            B = self.units(self.design.effects_of(factor_)) * (sigma / m.scale)
            found.append(B @ value @ B.T)
        return found


@dataclass(frozen=True)
class Places:
    """Where the parts of θ stand.

    Parameters
    ----------
    sds, partials : slice
    sigma, rho : int or None
    kept : int
        Where the kept fixed effects begin.
    """

    sds: slice
    partials: slice
    sigma: int | None
    rho: int | None
    kept: int
