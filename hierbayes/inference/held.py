r"""The likelihood with one parameter held at a value and all others where it is largest.

Held may be a fixed effect, the standard deviation of an effect, the correlation of two, σ or the residual
correlation ρ. The others are found by BFGS with analytic gradients (`hierbayes.kernel_profile`) in the free
entries of a factor F of Σ. F is lower triangular in an order of the effects that makes the held one simple:

- the held effect comes first in its block, where its row of F is its standard deviation alone;
- the two effects of a held correlation r come first, with rows ``(u, 0)`` and ``(± r w, √(1 - r²) w)``, the sign
  being that of u w.

So nothing is singular at the boundary, neither at a standard deviation of 0 nor at a correlation of ±1. Where one of
two effects has no variance any correlation is as good as any other: that is a floor of the profile of a correlation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from hierbayes import names
from hierbayes.covariance import INSIDE, cholesky, correlation
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Estimate, variance_rows
from hierbayes.kernel_profile import held_deviance

GRADIENT = 1e-4
"""Of -2 log likelihood per standard deviation of the free parameters: its square is what the value may be off by."""
TOLERATED = 1e-2
"""The same where rounding ends the search."""
STEP = 1e-5
"""Of the differences that make the first Hessian."""
LOWER = 1e-6
"""By less than this another minimum is the same one."""
SMALL = 1e-3
"""A pivot of F below this, relative to σ, may be a saddle: other starts are tried."""


@dataclass(frozen=True)
class Held:
    """A parameter, on the scale on which it is moved.

    Parameters
    ----------
    effect, group, term : str
        As in `RemlFit.tidy`; group is empty for a fixed effect.
    at : tuple of int
        A column of X; an effect; a pair (i, j) of effects; empty for σ and ρ.
    estimate : float
        Where the likelihood is largest: log σ for σ, artanh r for ρ, else the parameter itself.
    step : float
        About one standard error.
    low, high : float
        Boundary that the parameter can be on.
    shown : callable
        From that scale to the parameter itself.
    """

    effect: str
    group: str
    term: str
    at: tuple[int, ...]
    estimate: float
    step: float
    low: float = -math.inf
    high: float = math.inf
    shown: Callable[[float], float] = float


def held_parameters(ml: Estimate) -> Iterator[Held]:
    """Every parameter of a model, in the order of `RemlFit.tidy`.

    Parameters
    ----------
    ml : Estimate
        By maximum likelihood.

    Yields
    ------
    Held
    """
    design = ml.design
    for k, label in enumerate(design.labels):
        yield Held(FIXED, "", label, (k,), float(ml.fixef.iloc[k]), float(np.sqrt(ml.vcov.iloc[k, k])))
    sd, corr = correlation(ml.covariance)
    levels = [len(part.factor.levels) for part in design.parts for _ in part.block.labels]
    units = _units(ml)
    for group, term, i, j in variance_rows(design):
        if i == j:
            step = max(sd[i], 0.3 * units[i]) / math.sqrt(2 * levels[i])
            yield Held(VARIANCE, group, term, (i,), float(sd[i]), step, low=0.0)
        else:
            step = max(1.0 - corr[i, j] ** 2, 0.1) / math.sqrt(levels[i])
            yield Held(VARIANCE, group, term, (i, j), float(corr[i, j]), step, -1.0, 1.0)
    if design.sigma is None:
        yield Held(
            VARIANCE, RESIDUAL, names.SIGMA, (), math.log(ml.sigma), 1.0 / math.sqrt(2 * ml.nobs), shown=math.exp
        )
    if design.residual is not None:
        step = 1.0 / math.sqrt(ml.nobs)
        yield Held(
            VARIANCE, RESIDUAL, names.RHO, (), _z(ml), step, shown=lambda z: float(ml.marginal.rho(np.tanh(z)))
        )


def _z(ml: Estimate) -> float:
    """Artanh r of the residual correlation."""
    return float(np.arctanh(np.clip(ml.marginal.place(ml.optimum.rho), -INSIDE, INSIDE)))


def _units(ml: Estimate) -> np.ndarray:
    """Standard deviations of the effects that would be worth as much as σ in an average row."""
    return ml.sigma / np.sqrt((ml.moments.E**2).sum(axis=0))


class Search:
    """The likelihood of one model as a function of one held parameter.

    All parameters but the fixed effects are coordinates: the free entries of F over the units of the effects, log σ
    and artanh r of a residual correlation. One of them is held, or a constraint holds a fixed effect.

    Parameters
    ----------
    ml : Estimate
        By maximum likelihood.
    held : Held
    """

    def __init__(self, ml: Estimate, held: Held) -> None:
        self.ml, self.held = ml, held
        self._constraint, self._origin = np.zeros(0), 0.0
        if held.effect == FIXED:
            m, k = ml.moments, held.at[0]
            self._constraint, self._origin = m.scale * np.linalg.solve(m.R.T, np.eye(m.p)[k]), float(m.ols[k])
        best = self._place()
        self._known = {held.estimate: best}
        self._values = {held.estimate: self._free(best, held.estimate)[0]}
        self._root = self._whitening(best)

    def _place(self) -> np.ndarray:
        """Decide where the coordinates stand in F and which of them is held; return the free ones at the maximum."""
        ml, held, layout = self.ml, self.held, self.ml.moments.layout
        effects = held.at if held.effect == VARIANCE else ()
        units = _units(ml)
        places, best, pivots = [], [], []
        for block, free in zip(layout.slices, layout.correlated, strict=True):
            order = list(range(block.start, block.stop))
            if free:
                order.sort(key=lambda i: -effects.index(i) - 1 if i in effects else i)
            L = cholesky(ml.covariance[np.ix_(order, order)])
            for k, row in enumerate(order):
                for j in range(k + 1) if free else [k]:
                    places.append((row, block.start + j))
                    best.append(L[k, j] / units[row])
                    pivots.append(j == k)
        self._rows, self._columns = np.array(places, dtype=int).reshape(-1, 2).T
        self._scale = units[self._rows]
        entry = int(np.flatnonzero(self._rows == effects[0])[0]) if effects else 0
        self._polar = len(effects) == 2
        if self._polar:
            best[entry], best[entry + 1] = held.estimate, math.hypot(*best[entry : entry + 2])
            self._scale[entry] = 1.0
        if ml.design.sigma is None:
            best.append(math.log(ml.sigma))
        if ml.design.residual is not None:
            best.append(_z(ml))
        self._index = [entry] if effects else []
        if held.effect == VARIANCE and not effects:
            self._index = [len(places) if held.term == names.SIGMA else len(best) - 1]
        self._entries = len(places) - bool(effects)
        self._pivots = np.flatnonzero(np.delete(pivots, self._index if effects else []))
        return np.delete(best, self._index)

    def _free(self, x: np.ndarray, at: float) -> tuple[float, np.ndarray]:
        """-2 log likelihood and its gradient by the free coordinates, the held parameter being at `at`."""
        design, k, target = self.ml.design, len(self._rows), 0.0
        if not self._index:
            target = at - self._origin
        else:
            entry = self._index[0]
            x = np.insert(x, entry, at / self._scale[entry] if entry < k else at)
        F = np.zeros((self.ml.moments.q,) * 2)
        F[self._rows, self._columns] = self._scale * x[:k]
        if self._polar:
            pair = self._rows[entry], slice(self._columns[entry], self._columns[entry] + 2)
            u, w = F[self._rows[entry - 1], pair[1].start], F[pair][1]
            turn = np.array([math.copysign(at, at * u * w), math.sqrt(max(0.0, 1.0 - at * at))])
            F[pair] = w * turn
        sigma = math.exp(min(x[k], 300.0)) if design.sigma is None else design.sigma
        z = float(x[-1]) if design.residual is not None else 0.0
        with np.errstate(all="ignore"):
            value, F_bar, sigma_bar, z_bar = held_deviance(
                F, sigma, z, self._constraint, target, self.ml.marginal.packed, *self.ml.marginal.plan
            )
        if self._polar:
            F_bar[pair] = 0.0, F_bar[pair] @ turn
        rest = [sigma * sigma_bar] * (design.sigma is None) + [z_bar] * (design.residual is not None)
        gradient = np.concatenate([self._scale * F_bar[self._rows, self._columns], rest])
        return value, np.delete(gradient, self._index)

    def _whitening(self, x: np.ndarray) -> np.ndarray:
        """A root of the inverse Hessian of the free coordinates at the maximum."""
        if not len(x):
            return np.zeros((0, 0))
        at = self.held.estimate
        steps = np.diag(STEP * np.maximum(1.0, np.abs(x)))
        rows = [(self._free(x + h, at)[1] - self._free(x - h, at)[1]) / (2.0 * h.sum()) for h in steps]
        hessian = np.array(rows)
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        return vectors / np.sqrt(np.maximum(np.abs(values), 1e-6 * np.abs(values).max()))

    def deviance(self, at: float) -> float:
        """-2 log likelihood with the parameter held at a value, NaN where the search fails.

        Parameters
        ----------
        at : float
            On the scale of `Held`.
        """
        if at in self._values:
            return self._values[at]
        near = min(self._known, key=lambda known: abs(known - at))
        found = self._descend(self._known[near], at)
        if not found[2] or (np.abs(found[0][self._pivots]) < SMALL).any():
            for sign in (1.0, -1.0):
                start = found[0].copy()
                start[: self._entries] *= sign
                start[self._pivots] = np.maximum(np.abs(found[0][self._pivots]), 0.3)
                other = self._descend(start, at)
                if other[2] and (not found[2] or other[1] < found[1] - LOWER):
                    found = other
        if self._polar and not (found[2] and found[1] < self._floor - LOWER):
            for start in self._below_floor(at):
                other = self._descend(start, at)
                if other[2] and (not found[2] or other[1] < found[1] - LOWER):
                    found = other
        x, value, good = found
        value = min(value if good else math.inf, self._floor)
        if math.isinf(value):
            return math.nan
        self._known[at], self._values[at] = x, value
        return value

    def _below_floor(self, at: float) -> list[np.ndarray]:
        """Where both effects of a held correlation have variance: a search that has reached the floor stays there."""
        best = self._known[self.held.estimate]
        below = [known for known in self._known if self._values[known] < self._floor - LOWER]
        nearest = self._known[min(below, key=lambda known: abs(known - at))] if below else best
        return [best] if nearest is best else [nearest, best]

    @cached_property
    def _floor(self) -> float:
        """-2 log likelihood without the variance of one of the effects of a held correlation, whatever its value."""
        if not self._polar:
            return math.inf
        sds = [each for each in held_parameters(self.ml) if each.effect == VARIANCE and len(each.at) == 1]
        floors = [Search(self.ml, each).deviance(0.0) for each in sds if each.at[0] in self.held.at]
        return min(floor for floor in [*floors, math.inf] if not math.isnan(floor))

    def improve(self, at: float) -> bool:
        """Look from further starts for a lower minimum at a value, and take it.

        Correlations can have several: those of a block with each other, and ρ with the variances.

        Parameters
        ----------
        at : float

        Returns
        -------
        bool
            Whether there was one. What was known further out, where it may be missing too, is then forgotten.
        """
        base = self._known[self.held.estimate]
        if self._entries == len(self._pivots) and not self._polar and self.ml.design.residual is None:
            return False
        scattered = base + np.random.default_rng(0).normal(scale=0.7, size=len(base))
        flipped = base.copy()
        flipped[: self._entries] *= -1.0
        value = self._values[at]
        for start in (base, flipped, scattered):
            x, other, good = self._descend(start, at)
            if good and other < self._values[at] - LOWER:
                self._known[at], self._values[at] = x, other
        if self._values[at] == value:
            return False
        side = math.copysign(1.0, at - self.held.estimate)
        for known in [v for v in self._known if side * v > side * at]:
            del self._known[known], self._values[known]
        return True

    def _descend(self, x: np.ndarray, at: float) -> tuple[np.ndarray, float, bool]:
        """The nearest minimum, its value, and whether it is one."""
        if not len(x):
            value = self._free(x, at)[0]
            return x, value, math.isfinite(value)

        def function(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self._free(x + self._root @ u, at)
            return value, self._root.T @ gradient

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            found = minimize(function, np.zeros(len(x)), jac=True, method="BFGS", options={"gtol": GRADIENT})
        good = math.isfinite(found.fun) and float(np.abs(found.jac).max()) < TOLERATED
        return x + self._root @ found.x, float(found.fun), good
