r"""Exact refits without some rows, and what they predict of these rows.

Without the rows F the posterior of θ is sampled anew, under the priors of the fit (automatic ones are not made
again). Everything else stays integrated: ``p(y_S | y_-F, θ)``, for a row or a whole group S of F, is a closed form
(`hierbayes.cross_validation.left_out`), and its average over the draws is the exact predictive density of S.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from hierbayes import names
from hierbayes.cross_validation.left_out import Predictive, log_groups, log_rows, log_sets
from hierbayes.design import Design, Factor
from hierbayes.errors import ConvergenceWarning
from hierbayes.estimates import Posterior
from hierbayes.marginal import Marginal
from hierbayes.nuts import draw
from hierbayes.sampling import Run


@dataclass(frozen=True)
class Cost:
    """What a number of refits will take.

    Parameters
    ----------
    refits : int
    seconds : float
        About as long as sampling the fit took, times the number of refits.
    """

    refits: int
    seconds: float

    def __str__(self) -> str:
        unit, size = ("min", 60.0) if self.seconds > 90.0 else ("s", 1.0)
        return f"{self.refits} refit{'s' * (self.refits != 1)}, about {max(1.0, self.seconds / size):.0f} {unit}"


def cost(fit: Posterior, refits: int) -> Cost:
    """Estimate what refits will take, from what the fit took."""
    return Cost(refits, refits * float(fit.idata.attrs["seconds_sampling"]))


def refit_without(fit: Posterior, rows: np.ndarray) -> Posterior:
    """Sample the posterior without some rows, as the fit was sampled.

    Parameters
    ----------
    fit : Posterior
    rows : int array
        Rows of the design to leave out.

    Returns
    -------
    Posterior
        Of the parameters; random effects are not drawn.

    Warns
    -----
    ConvergenceWarning
        If the draws cannot be trusted.
    """
    marginal = fit.marginal.without(rows)
    attrs, sizes = fit.idata.attrs, fit.posterior.sizes
    chains = sizes[names.CHAIN]
    run = Run(
        draws=sizes[names.DRAW],
        tune=int(attrs.get("tuning_steps", 1000)),
        chains=chains,
        cores=min(chains, os.cpu_count() or 1),
        seed=int(np.random.SeedSequence([int(attrs["seed"]), *rows]).generate_state(1)[0]),
        target_accept=float(attrs.get("target_accept", 0.95)),
        progress=False,
    )
    drawn, _, posterior = draw(marginal, fit.priors, fit.reml.optimum, run)
    y = marginal.design.y
    kept = np.delete(np.arange(fit.design.n), rows)
    idata = xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "sample_stats": drawn.stats,
            "observed_data": xr.Dataset({fit.design.response: (names.OBSERVATIONS, y)}, {names.OBSERVATIONS: kept}),
        }
    )
    refit = Posterior(marginal.design, fit.priors, idata, marginal, fit.reml)
    for problem in refit.convergence.problems:
        shown = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows"
        warnings.warn(f"The refit without {shown} is not to be trusted. {problem}", ConvergenceWarning, stacklevel=2)
    return refit


@dataclass(frozen=True)
class Target:
    """What is left out, and what of it is scored.

    Parameters
    ----------
    design : Design
    group : str, optional
        Grouping factor whose levels are left out; by default rows are.
    joint : bool, default False
        Whether a level is one item, scored as a whole; otherwise every row is one, without all rows of its level.

    Raises
    ------
    ValueError
        If the design has no such grouping factor.
    """

    design: Design
    group: str | None = None
    joint: bool = False

    def __post_init__(self) -> None:
        _ = self.factor
        if self.joint and self.group is None:
            raise ValueError("joint=True scores whole groups; name the grouping factor in group=")

    @property
    def factor(self) -> Factor | None:
        """The grouping factor, None for rows."""
        return None if self.group is None else self.design.grouping_factor(self.group)

    @property
    def labels(self) -> np.ndarray:
        """Coordinate of every item: the level, or the position of the row."""
        return self.factor.levels.astype(str) if self.joint and self.factor else np.arange(self.design.n)

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.labels)

    @property
    def dim(self) -> str:
        """Name of the dimension of the items."""
        return names.levels_dim(str(self.group)) if self.joint else names.ROW

    @property
    def alone(self) -> bool:
        """Whether an item is all that is left out with it."""
        return self.joint or self.group is None

    def sets(self, items: np.ndarray) -> np.ndarray:
        """What each item is left out with: the row itself, or a level."""
        return self.factor.codes[items] if self.factor and not self.joint else items

    def rows(self, items: np.ndarray) -> np.ndarray:
        """Rows that are left out with some items."""
        if self.factor is None:
            return np.unique(items)
        return np.flatnonzero(np.isin(self.factor.codes, self.sets(items)))

    def at(self, marginal: Marginal, thetas: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Log density of every item given all rows but those left out with it alone, (draws, items)."""
        if self.factor is None:
            return log_rows(marginal, thetas, items)
        if self.joint:
            return log_groups(marginal, thetas, self.factor, items).joint
        found = log_groups(marginal, thetas, self.factor, np.unique(self.sets(items)))
        return _columns(found.pointwise, found.rows, items)

    def without(self, marginal: Marginal, thetas: np.ndarray, items: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Log density of items that are left out together, given all other rows.

        Parameters
        ----------
        marginal : Marginal
            Of all rows.
        thetas : (draws, dim) array
        items : int array
        out : int array
            Rows left out, those of the items among them.

        Returns
        -------
        (draws, items) array
        """
        if self.joint:
            without = Predictive(marginal.without(out), thetas).log_density
            kept = [np.setdiff1d(out, self.rows(items[[k]])) for k in range(len(items))]
            return np.stack(
                [Predictive(marginal.without(rows), thetas).log_density - without for rows in kept], axis=1
            )
        if len(out) == 1:
            return log_rows(marginal, thetas, out)
        found = log_sets(marginal, thetas, [out])
        return _columns(found.pointwise, found.rows, items)


def _columns(values: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Columns of some rows, out of values whose columns belong to other rows in another order."""
    order = np.argsort(rows)
    return values[:, order[np.searchsorted(rows[order], wanted)]]


def log_mean(values: np.ndarray) -> np.ndarray:
    """Logarithm of the average over the draws (the first axis) of densities given by their logarithms."""
    return np.asarray(logsumexp(values, axis=0) - np.log(len(values)))
