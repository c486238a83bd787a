"""The log posterior of the few parameters that are not integrated out, as a surface to sum or to sample.

It is the density that NUTS explores, on the same unconstrained scale, callable for many points at once:
compiled if all priors belong to the families of `hierbayes.densities`, else through the PyMC graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from hierbayes.kernel_nodes import log_posteriors
from hierbayes.marginal import Marginal
from hierbayes.priors import Priors
from hierbayes.reml import maximise
from hierbayes.sampling import Target, make_target, start
from hierbayes.threads import parts, share

CHUNK = 250
"""Points that a thread evaluates at a time."""
STEP = 1e-3
"""Step of the differences of the gradient, in standard deviations."""
ELSEWHERE = (-0.6, 0.6)
"""Places of a residual correlation in its range from which modes are looked for, beside the REML estimate."""
FARTHER = 1e-3
"""A log density that is higher by more than this is worth a second search."""
FLAT = 0.04
"""Smallest curvature, in units of that along the axes: the scale is five times too wide at most."""


@dataclass(frozen=True)
class Surface:
    """A log posterior density.

    Parameters
    ----------
    values : callable
        (n, d) points to (n,) log densities, all constants and the Jacobian included.
    slope : callable
        One point to its log density and gradient.
    constrain : callable
        (n, d) points to (n, d) θ: entry by entry and increasing, though perhaps in another order.
    starts : (m, d) array
        Where to look for modes.
    """

    values: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], tuple[float, np.ndarray]]
    constrain: Callable[[np.ndarray], np.ndarray]
    starts: np.ndarray

    def modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Modes, the highest first, and the scale there.

        Returns
        -------
        modes : (m, d) array
        scale : (d, d) array
            Square root of the inverse curvature at the highest mode.
        """
        found = [self._mode(x) for x in self.starts]
        best = min(found, key=lambda each: each.fun)
        steps = STEP * np.sqrt(np.diag(best.hess_inv))
        rises = [(self.slope(best.x - e)[1] - self.slope(best.x + e)[1]) for e in np.diag(steps)]
        curvature = np.array(rises) / (2.0 * steps[:, None])
        along = np.sqrt(np.maximum(np.diag(curvature), (1e-4 * STEP / steps) ** 2))
        values, axes = np.linalg.eigh(0.5 * (curvature + curvature.T) / np.outer(along, along))
        scale = axes / np.sqrt(np.maximum(values, FLAT)) / along[:, None]
        return np.array([best.x, *(each.x for each in found if each is not best)]), scale

    def _mode(self, x: np.ndarray) -> optimize.OptimizeResult:
        """The mode that is reached from x."""
        found = optimize.minimize(self._downhill, x, jac=True, method="BFGS")
        if not found.success:  # perhaps stopped on the way to a narrow mode, which a fresh start reaches
            again = optimize.minimize(self._downhill, found.x, jac=True, method="BFGS")
            found = again if again.fun < found.fun - FARTHER else found
        return found

    def _downhill(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.slope(x)
        return (-value, -gradient) if np.isfinite(value) else (1e100, np.zeros(len(x)))


def surface(marginal: Marginal, priors: Priors) -> Surface:
    """Make the log posterior of a model callable for many points.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors

    Returns
    -------
    Surface
    """
    target = make_target(marginal, priors)
    if target.table is None:
        return _graph_surface(target, priors)
    optimum = maximise(Marginal(marginal.design, None, marginal.moments))
    starts = [start(target, optimum)]
    if marginal.places.rho is not None:  # its likelihood can have several maxima
        for r in ELSEWHERE:
            starts.append(starts[0].copy())
            starts[-1][marginal.places.rho] = 2.0 * np.arctanh(r)
    return Surface(compiled(target), target.log_posterior, target.constrain, np.array(starts))


def compiled(target: Target) -> Callable[[np.ndarray], np.ndarray]:
    """The log posterior at many unconstrained points, by all processors."""
    assert target.table is not None
    arguments = target.table, target.marginal.packed, *target.marginal.plan

    def values(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, dtype=float)
        found = np.empty(len(x))

        def run(_: int, part: slice) -> None:
            log_posteriors(x[part], *arguments, found[part])

        with target.marginal.one_thread():
            share(run, parts(len(x), CHUNK), os.cpu_count() or 1)
        return found

    return values


def _graph_surface(target: Target, priors: Priors) -> Surface:
    """The same from the PyMC graph, point by point."""
    from pymc.blocking import DictToArrayBijection, RaveledVars

    from hierbayes.graph import build_graph

    graph = build_graph(target.marginal, priors)
    density = graph.logp_dlogp_function(ravel_inputs=True)
    density.set_extra_values({})
    raveled = DictToArrayBijection.map(graph.initial_point())
    theta = graph.replace_rvs_by_values([graph.potentials[0].owner.inputs[0]])[0]
    evaluate = graph.compile_fn(theta, inputs=graph.value_vars, point_fn=False)
    ordered = [variable.name for variable in graph.value_vars]

    def values(x: np.ndarray) -> np.ndarray:
        return np.array([density(row)[0] for row in x])

    def constrain(x: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(x)
        points = [DictToArrayBijection.rmap(RaveledVars(row, raveled.point_map_info)) for row in rows]
        return np.array([evaluate(*(point[name] for name in ordered)) for point in points])

    def slope(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = density(x)
        return float(value), gradient

    return Surface(values, slope, constrain, raveled.data[None])
