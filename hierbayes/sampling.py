r"""NUTS on the marginal posterior of θ, by nutpie.

Whenever the priors belong to the families of `hierbayes.densities`, the log posterior and its
gradient are one call of compiled code that is cached on disk: no model is ever compiled. Other PyMC
priors are sampled through the PyMC graph, which nutpie compiles.

θ is sampled on an unconstrained scale: logarithms of what is positive, and for a partial correlation
``x`` with ``(r + 1)/2 = 1/(1 + e⁻ˣ)``. Chains start around the REML estimate, spread by a few times the
curvature there, so that a posterior that is narrow (a million rows) does not cost a long search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numba import njit

from hierbayes import names
from hierbayes.covariance import cholesky, partials
from hierbayes.densities import log_prior
from hierbayes.marginal import Marginal, log_density
from hierbayes.priors import Priors
from hierbayes.reml import Optimum

REAL, LOG, PARTIAL = 0, 1, 2
"""How an entry of θ is made unconstrained."""


@njit(cache=True, nogil=True, error_model="numpy")
def log_posterior(x: np.ndarray, packed: np.ndarray, table: np.ndarray) -> tuple[float, np.ndarray]:
    """Log posterior density of the unconstrained parameters, and its gradient.

    Parameters
    ----------
    x : (d,) array
    packed : array
        `Marginal.packed`.
    table : (d, 5) array
        For each entry of θ: transformation, prior family and its three parameters (for a partial
        correlation the shape of its Beta law stands first).

    Returns
    -------
    value : float
        Includes all constants and the log Jacobian; -inf where value or gradient is not finite.
    gradient : (d,) array
    """
    d = x.size
    theta = np.empty(d)
    slope = np.empty(d)
    prior_slope = np.zeros(d)
    value = 0.0
    for i in range(d):
        kind = int(table[i, 0])
        if kind == PARTIAL:
            shape = table[i, 2]
            theta[i] = math.tanh(0.5 * x[i])
            slope[i] = 0.5 * (1.0 - theta[i] * theta[i])
            # log u + log(1 - u), u = 1/(1 + e⁻ˣ)
            away = abs(x[i])
            log_u = -away - 2.0 * math.log1p(math.exp(-away))
            value += shape * log_u - 2.0 * math.lgamma(shape) + math.lgamma(2.0 * shape)
            prior_slope[i] = -shape * theta[i]
        else:
            theta[i] = math.exp(x[i]) if kind == LOG else x[i]
            slope[i] = theta[i] if kind == LOG else 1.0
            prior, derivative = log_prior(int(table[i, 1]), theta[i], table[i, 2], table[i, 3], table[i, 4])
            value += prior
            prior_slope[i] = derivative * slope[i]
            if kind == LOG:
                value += x[i]
                prior_slope[i] += 1.0
    likelihood, gradient = log_density(theta, packed)
    value += likelihood
    total = value
    for i in range(d):
        gradient[i] = gradient[i] * slope[i] + prior_slope[i]
        total += gradient[i]
    if not math.isfinite(total):
        value = -math.inf
    return value, gradient


@dataclass(frozen=True)
class Target:
    """What NUTS explores: θ, how each entry is transformed, and its priors.

    Parameters
    ----------
    marginal : Marginal
    kinds : (d,) int array
    table : (d, 5) array or None
        For `log_posterior`; None if a prior is outside the compiled families.
    """

    marginal: Marginal
    kinds: np.ndarray
    table: np.ndarray | None

    def constrain(self, x: np.ndarray) -> np.ndarray:
        """θ from unconstrained parameters, over the last axis."""
        theta = np.array(x, dtype=float)
        theta[..., self.kinds == LOG] = np.exp(theta[..., self.kinds == LOG])
        theta[..., self.kinds == PARTIAL] = np.tanh(0.5 * theta[..., self.kinds == PARTIAL])
        return theta

    def unconstrain(self, theta: np.ndarray) -> np.ndarray:
        """Inverse of `constrain`, for one θ inside its support."""
        x = np.array(theta, dtype=float)
        x[self.kinds == LOG] = np.log(x[self.kinds == LOG])
        x[self.kinds == PARTIAL] = 2.0 * np.arctanh(x[self.kinds == PARTIAL])
        return x

    def log_posterior(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at unconstrained parameters."""
        if self.table is None:
            raise TypeError("this target has a prior that only the PyMC graph knows")
        return log_posterior(x, self.marginal.packed, self.table)


def make_target(marginal: Marginal, priors: Priors) -> Target:
    """Lay out θ and its priors.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors

    Returns
    -------
    Target
    """
    shapes = marginal.moments.layout.lkj_shapes(priors.eta)
    kept = [prior for prior, keep in zip(priors.coefficients, marginal.kept, strict=True) if keep]
    rows: list[list[float] | None] = [_row(LOG, prior.row) if prior.positive else None for prior in priors.sds]
    kinds = [LOG] * len(priors.sds) + [PARTIAL] * len(shapes) + [LOG]
    rows += [[float(PARTIAL), 0.0, float(shape), 0.0, 0.0] for shape in shapes]
    rows.append(_row(LOG, priors.sigma.row) if priors.sigma.positive else None)
    for prior in kept:
        kind = LOG if prior.positive else REAL
        kinds.append(kind)
        rows.append(_row(kind, prior.row))
    known = [row for row in rows if row is not None]
    return Target(marginal, np.array(kinds), np.array(known) if len(known) == len(rows) else None)


def _row(kind: int, row: list[float] | None) -> list[float] | None:
    return None if row is None else [float(kind), *row]


def start(target: Target, optimum: Optimum) -> np.ndarray:
    """Unconstrained parameters at the REML estimate, a little inside the boundary.

    Parameters
    ----------
    target : Target
    optimum : Optimum

    Returns
    -------
    (d,) array
    """
    m = target.marginal.moments
    L = cholesky(covariance_of(optimum, target.marginal))
    sd, partial = partials(L, m.layout)
    sigma = optimum.sigma * m.scale
    floor = 0.05 * sigma / np.sqrt((m.E**2).sum(axis=0))
    kept = target.marginal.origin[target.marginal.kept]
    theta = np.concatenate([np.maximum(sd, floor), np.clip(partial, -0.9, 0.9), [sigma], kept])
    positive = target.kinds == LOG
    theta[positive] = np.maximum(theta[positive], 1e-3 * np.abs(theta[positive]).max())
    return target.unconstrain(theta)


def covariance_of(optimum: Optimum, marginal: Marginal) -> np.ndarray:
    """(q, q) covariance matrix of the random effects at an optimum, in the user's units."""
    m = marginal.moments
    factor = np.linalg.solve(m.E, optimum.relative) * optimum.sigma * m.scale
    return factor @ factor.T


def spread(target: Target, x: np.ndarray) -> np.ndarray:
    """How far to scatter the starts: three times the local posterior scale, at most 1.

    Parameters
    ----------
    target : Target
    x : (d,) array

    Returns
    -------
    (d,) array
    """
    if target.table is None:
        return np.ones(len(x))
    h = 1e-4
    curvature = np.array(
        [
            (target.log_posterior(x - step)[1][i] - target.log_posterior(x + step)[1][i]) / (2.0 * h)
            for i, step in enumerate(h * np.eye(len(x)))
        ]
    )
    return np.minimum(1.0, 3.0 / np.sqrt(np.maximum(curvature, 9.0)))


class _OutOfRangeError(ArithmeticError):
    """The density is not finite at a proposal: nutpie rejects it as a divergence and goes on."""

    is_recoverable = True


@dataclass(frozen=True)
class Draws:
    """What the sampler returns.

    Parameters
    ----------
    theta : (chains, draws, d) array
    stats : xarray.Dataset
        Sampler statistics, ArviZ names.
    engine : str
        ``"compiled"`` or ``"graph"``.
    """

    theta: np.ndarray
    stats: xr.Dataset
    engine: str


def sample(
    target: Target,
    graph: Callable[[], Any],
    x: np.ndarray,
    *,
    draws: int,
    tune: int,
    chains: int,
    cores: int,
    seed: int,
    target_accept: float,
    progress: bool,
    callback: Callable[[Any], None] | None = None,
) -> Draws:
    """Run NUTS.

    Parameters
    ----------
    target : Target
    graph : callable
        Makes the PyMC model, for priors outside the compiled families.
    x : (d,) array
        Where to start, unconstrained.
    draws, tune, chains, cores, seed, target_accept
        As in `hierbayes.Model.fit`.
    progress : bool
        Show nutpie's progress bar.
    callback : callable, optional
        Called with nutpie's list of chain states as sampling goes on.

    Returns
    -------
    Draws
    """
    import nutpie

    width = spread(target, x)

    def initial(chain_seed: int) -> np.ndarray:
        return x + width * np.random.default_rng([seed, chain_seed]).uniform(-1.0, 1.0, len(x))

    engine = "graph" if target.table is None else "compiled"
    if target.table is None:
        model = graph()
        free = [variable.name for variable in model.free_RVs]
        compiled = nutpie.compile_pymc_model(model, backend="numba", var_names=free)
    else:
        packed, table = target.marginal.packed, target.table

        def value_and_gradient(position: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = log_posterior(position, packed, table)
            if value == -math.inf:
                raise _OutOfRangeError
            return value, gradient

        compiled = nutpie.compiled_pyfunc.from_pyfunc(
            ndim=len(x),
            make_logp_fn=lambda: value_and_gradient,
            make_expand_fn=lambda *_: lambda position: {"x": position},
            expanded_dtypes=[np.dtype("float64")],
            expanded_shapes=[(len(x),)],
            expanded_names=["x"],
            make_initial_point_fn=initial,
        )
    tree = nutpie.sample(
        compiled,
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores if engine == "graph" or _heavy(target.marginal) else 1,
        seed=seed,
        target_accept=target_accept,
        save_warmup=False,
        progress_bar=progress,
        progress_callback=callback,
    )
    posterior = tree["posterior"].to_dataset()
    if engine == "compiled":
        theta = target.constrain(posterior["x"].to_numpy())
    else:
        parts = [posterior[name].to_numpy() for name in _order(target, free)]
        theta = np.concatenate([part.reshape(chains, draws, -1) for part in parts], axis=-1)
        theta[..., target.kinds == PARTIAL] = 2.0 * theta[..., target.kinds == PARTIAL] - 1.0
    return Draws(theta, tree["sample_stats"].to_dataset(), engine)


def _heavy(marginal: Marginal) -> bool:
    """Whether an evaluation is long enough to be worth a thread; short ones only fight for the interpreter."""
    q, m, lanes = marginal.moments.M.shape
    return q * (q + m) * lanes > 5000


def _order(target: Target, free: list[str]) -> list[str]:
    """Free variables of the graph in the order of θ."""
    is_partial = [name.endswith("_partial") for name in free]
    design = target.marginal.design
    sds = [names.sd(term.name, design.factor.name) for block in design.blocks for term in block.terms]
    part = [name for name, yes in zip(free, is_partial, strict=True) if yes]
    rest = [name for name in free if name not in sds and name not in part and name != names.SIGMA]
    return [*sds, *part, names.SIGMA, *rest]
