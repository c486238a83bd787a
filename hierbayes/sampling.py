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
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numba import njit

from hierbayes import names
from hierbayes.covariance import INSIDE, cholesky, partials
from hierbayes.densities import log_prior
from hierbayes.interruption import cut
from hierbayes.kernel_marginal import log_density
from hierbayes.marginal import Marginal
from hierbayes.priors import Priors
from hierbayes.progress import drawing
from hierbayes.reml import Optimum

REAL, LOG, PARTIAL = 0, 1, 2
"""How an entry of θ is made unconstrained."""


@njit(cache=True, nogil=True, error_model="numpy")
def log_posterior(
    x: np.ndarray, table: np.ndarray, packed: np.ndarray, tree: Any, residual: Any
) -> tuple[float, np.ndarray]:
    """Log posterior density of the unconstrained parameters, and its gradient.

    Parameters
    ----------
    x : (d,) array
    table : (d, 5) array
        For each entry of θ: transformation, prior family and its three parameters (for a partial
        correlation the shape of its Beta law stands first).
    packed, tree, residual
        As in `hierbayes.kernel_marginal.log_density`.

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
    likelihood, gradient = log_density(theta, packed, tree, residual)
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
        """Inverse of `constrain`; a correlation of one becomes that of the nearest number below it."""
        x = np.array(theta, dtype=float)
        partial = self.kinds == PARTIAL
        x[..., self.kinds == LOG] = np.log(x[..., self.kinds == LOG])
        x[..., partial] = 2.0 * np.arctanh(x[..., partial].clip(-INSIDE, INSIDE))
        return x

    def log_posterior(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at unconstrained parameters."""
        if self.table is None:
            raise TypeError("this target has a prior that only the PyMC graph knows")
        return log_posterior(x, self.table, self.marginal.packed, *self.marginal.plan)


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
    kinds = [LOG] * len(priors.sds) + [PARTIAL] * len(shapes) + [LOG] * (priors.sigma is not None)
    rows += [[float(PARTIAL), 0.0, float(shape), 0.0, 0.0] for shape in shapes]
    if priors.sigma is not None:
        rows.append(_row(LOG, priors.sigma.row) if priors.sigma.positive else None)
    if priors.rho is not None:
        kinds.append(PARTIAL)
        rows.append([float(PARTIAL), 0.0, priors.rho, 0.0, 0.0])
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
    marginal = target.marginal
    m, design = marginal.moments, marginal.design
    L = cholesky(covariance_of(optimum, marginal))
    sd, partial = partials(L, m.layout)
    sigma = optimum.sigma * m.scale
    floor = 0.05 * sigma / np.sqrt((m.E**2).sum(axis=0))
    theta = np.concatenate(
        [
            np.maximum(sd, floor),
            np.clip(partial, -0.9, 0.9),
            [sigma] if design.sigma is None else [],
            [np.clip(marginal.place(optimum.rho), -0.95, 0.95)] if design.residual is not None else [],
            marginal.origin[marginal.kept],
        ]
    )
    positive = target.kinds == LOG
    theta[positive] = np.maximum(theta[positive], 1e-3 * np.abs(theta[positive]).max(initial=0.0))
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


@dataclass(frozen=True)
class Run:
    """How to run the sampler; the fields are those of `hierbayes.Model.fit`.

    Parameters
    ----------
    draws, tune, chains, cores, seed : int
    target_accept : float
    progress : bool
        Show a progress bar: nutpie's in a terminal, one line that goes away in a notebook.
    callback : callable or None
        Called with nutpie's list of chain states as sampling goes on.
    partial : bool
        Whether Ctrl-C ends the run with the draws made so far; a second one, or too few draws, raise in any case.
    """

    draws: int
    tune: int
    chains: int
    cores: int
    seed: int
    target_accept: float
    progress: bool
    callback: Callable[[Any], None] | None = None
    partial: bool = False

    def __call__(self, compiled: Any, cores: int) -> tuple[xr.Dataset, xr.Dataset]:
        """Sample a model that nutpie has compiled: its posterior and sample_stats."""
        import nutpie

        with drawing(self.progress, self.callback) as shown:
            running = nutpie.sample(
                compiled,
                draws=self.draws,
                tune=self.tune,
                chains=self.chains,
                cores=cores,
                seed=self.seed,
                target_accept=self.target_accept,
                save_warmup=False,
                blocking=False,
                **shown,
            )
            try:
                tree = running.wait()
            except KeyboardInterrupt:
                made = _stopped(running) if self.partial else running.cancel()
                if made is None:
                    raise
                return made
            except BaseException:
                running.cancel()
                raise
        return tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()


def _stopped(running: Any) -> tuple[xr.Dataset, xr.Dataset] | None:
    """What a run has drawn when it is stopped, if that is worth keeping.

    Stopping takes as long as the draws that are being made. A thread waits for them, so that a second Ctrl-C does
    not have to.
    """
    found = []
    stopping = threading.Thread(target=lambda: found.append(running.abort()), daemon=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found chain dimension to be longer", UserWarning)  # ArviZ's, of few draws
        stopping.start()
        while stopping.is_alive():
            stopping.join(0.1)
    return cut(found[0]["posterior"].to_dataset(), found[0]["sample_stats"].to_dataset()) if found else None


def sample(target: Target, graph: Callable[[], Any], x: np.ndarray, run: Run) -> Draws:
    """Run NUTS on the marginal posterior.

    Parameters
    ----------
    target : Target
    graph : callable
        Makes the PyMC model, for priors outside the compiled families.
    x : (d,) array
        Where to start, unconstrained.
    run : Run

    Returns
    -------
    Draws
    """
    if target.table is None:
        return _sample_graph(target, graph(), run)
    from nutpie.compiled_pyfunc import from_pyfunc

    width = spread(target, x)

    def initial(chain_seed: int) -> np.ndarray:
        return x + width * np.random.default_rng([run.seed, chain_seed]).uniform(-1.0, 1.0, len(x))

    packed, plan, table = target.marginal.packed, target.marginal.plan, target.table

    def value_and_gradient(position: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_posterior(position, table, packed, *plan)
        if value == -math.inf:
            raise _OutOfRangeError
        return value, gradient

    compiled = from_pyfunc(
        ndim=len(x),
        make_logp_fn=lambda: value_and_gradient,
        make_expand_fn=lambda *_: lambda position: {"x": position},
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(len(x),)],
        expanded_names=["x"],
        make_initial_point_fn=initial,
    )
    with target.marginal.one_thread():
        posterior, stats = run(compiled, run.cores if _heavy(target.marginal) else 1)
    return Draws(target.constrain(posterior["x"].to_numpy()), stats, "compiled")


def _sample_graph(target: Target, model: Any, run: Run) -> Draws:
    """The same through the PyMC graph, which nutpie compiles."""
    posterior, stats = sample_graph(model, run, [variable.name for variable in model.free_RVs])
    parts = [posterior[name].to_numpy() for name in _order(target, [str(name) for name in posterior])]
    theta = np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1)
    theta[..., target.kinds == PARTIAL] = 2.0 * theta[..., target.kinds == PARTIAL] - 1.0
    return Draws(theta, stats, "graph")


def sample_graph(
    model: Any, run: Run, variables: list[str] | None = None, scattered: set[Any] | None = None
) -> tuple[xr.Dataset, xr.Dataset]:
    """Run NUTS on a PyMC model.

    Parameters
    ----------
    model : pymc.Model
    run : Run
    variables : list of str, optional
        What to keep; everything by default.
    scattered : set of variables, optional
        Those in which chains start apart from each other; all by default.

    Returns
    -------
    posterior, sample_stats : xarray.Dataset
    """
    import nutpie

    compiled = nutpie.compile_pymc_model(model, backend="numba", var_names=variables, jitter_rvs=scattered)
    return run(compiled, run.cores)


def _heavy(marginal: Marginal) -> bool:
    """Whether an evaluation is long enough to be worth a thread; short ones only fight for the interpreter."""
    m = marginal.moments
    return m.data.size * max(1, m.q) > 5000


def _order(target: Target, free: list[str]) -> list[str]:
    """Free variables of the graph in the order of θ."""
    is_partial = [name.endswith("_partial") for name in free]
    design = target.marginal.design
    sds = [names.sd(term.name, block.factor.name) for block in design.blocks for term in block.terms]
    sigma = [names.SIGMA] if design.sigma is None else []
    rho = [f"{names.RHO}_partial"] if design.residual is not None else []
    part = [name for name, yes in zip(free, is_partial, strict=True) if yes and name not in rho]
    rest = [name for name in free if name not in {*sds, *part, *sigma, *rho}]
    return [*sds, *part, *sigma, *rho, *rest]
