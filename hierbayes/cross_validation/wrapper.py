"""ArviZ's sampling wrapper for a fit: exact refits and moment matching as ArviZ means them.

``az.reloo``, ``az.loo_kfold`` and ``az.loo_moment_match`` ask a wrapper to take observations out, to sample again and
to score what was taken out. Here the posterior of θ is sampled again and everything else stays integrated
(`hierbayes.cross_validation.posterior_refits`), so that what was left out is scored in closed form.

``az.reloo`` takes the plain average of that score over the draws of the refit. Where an item is so surprising that
the posterior with it is far from that without, the average hangs on a few draws and can be off by many units; that of
`Fit.reloo` does not (`hierbayes.cross_validation.reloo`).

Moment matching (Paananen, Piironen, Bürkner & Vehtari 2021) moves the draws by affine maps of the unconstrained
parameters; it needs their log posterior density and the log likelihood of one item at any of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from arviz_stats import SamplingWrapper
from numpy.typing import ArrayLike

from hierbayes import names
from hierbayes.cross_validation.posterior_refits import Target, refit_without
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Posterior
from hierbayes.evidence.surface import compiled
from hierbayes.recover import thetas
from hierbayes.sampling import make_target

SAMPLE = (names.CHAIN, names.DRAW)
PARAMETER = "unconstrained_parameter"


class GaussianWrapper(SamplingWrapper):
    """Refits of a fit without some of its rows or groups, for ArviZ.

    ``az.reloo`` scores an item by the plain average over the draws of the refit, which is inaccurate where the item
    is very surprising; `Fit.reloo` is not.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        Leave out whole levels of this grouping factor; by default rows.
    joint : bool, default False
        Score a level as a whole; otherwise its rows one by one, all of them left out.
    items : int array, optional
        Positions of the rows (of the levels, if they are scored as a whole) that ArviZ shall see; all by
        default. The log likelihood that ArviZ wants beforehand has draws x items numbers.
    advance : callable, optional
        Called with 1 after every refit.

    Attributes
    ----------
    idata_orig : xarray.DataTree
        Groups posterior and log_likelihood, of the fit.
    log_likelihood : (chains, draws, items) xarray.DataArray
        Of every item given all that is not left out with it.

    Raises
    ------
    ValueError
        If there is no such grouping factor.

    Examples
    --------
    >>> import hierbayes as hb, arviz as az
    >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    >>> wrapper = hb.GaussianWrapper(model.fit(draws=500, seed=1, progress=False), items=[0, 7])
    >>> az.reloo(wrapper, k_threshold=-1).pareto_k.to_numpy()
    array([0., 0.])
    """

    def __init__(
        self,
        fit: Posterior,
        group: str | None = None,
        joint: bool = False,
        items: ArrayLike | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        self.fit = fit
        self.target = Target(fit.design, group, joint)
        self.items = np.arange(self.target.size) if items is None else np.asarray(items)
        self.advance = advance
        self._last: tuple[bytes, Posterior] | None = None
        self.log_likelihood = self._array(
            self.target.at(fit.marginal, fit.thetas, self.items), self.items, fit.posterior
        )
        groups = {
            "posterior": fit.parameters,
            "log_likelihood": self.log_likelihood.to_dataset(name=fit.design.response),
        }
        super().__init__(fit.marginal, xr.DataTree.from_dict(groups))

    def _array(self, values: np.ndarray, items: np.ndarray, like: xr.Dataset) -> xr.DataArray:
        """Numbers (draws, items) with chains, draws and items named."""
        sample = {name: like[name] for name in SAMPLE}
        shape = [len(axis) for axis in sample.values()]
        return xr.DataArray(
            values.reshape(*shape, -1),
            coords=sample | {self.target.dim: self.target.labels[items]},
            dims=(*SAMPLE, self.target.dim),
        )

    def sel_observations(self, idx: int | np.ndarray) -> tuple[xr.DataArray, np.ndarray]:
        """The response of the rows that remain, and the positions of the items that are left out."""
        items = self.items[np.atleast_1d(idx)]
        kept = np.delete(np.arange(self.fit.design.n), self.target.rows(items))
        return xr.DataArray(
            self.fit.design.y[kept], coords={names.OBSERVATIONS: kept}, dims=names.OBSERVATIONS
        ), items

    def sample(self, modified_observed_data: xr.DataArray) -> Posterior:
        """Sample the posterior of the rows that remain.

        The last refit is remembered: ArviZ asks for each row of a group that is left out in turn.
        """
        out = self._left_out(modified_observed_data)
        if self._last is None or self._last[0] != out.tobytes():
            self._last = (out.tobytes(), refit_without(self.fit, out))
            if self.advance is not None:
                self.advance(1)
        return self._last[1]

    def get_inference_data(self, fitted_model: Posterior) -> xr.DataTree:
        """The parameters' posterior of a refit, and the rows it was made of."""
        return fitted_model.idata

    def log_likelihood__i(self, excluded_obs: np.ndarray, idata__i: xr.DataTree) -> xr.DataArray:
        """Log predictive density of items that were left out, for every draw of the refit without them."""
        posterior = idata__i["posterior"].to_dataset()
        out = self._left_out(idata__i["observed_data"])
        values = self.target.without(self.fit.marginal, thetas(self.fit.marginal, posterior), excluded_obs, out)
        return self._array(values, excluded_obs, posterior)

    def _left_out(self, kept: xr.DataArray | xr.DataTree) -> np.ndarray:
        return np.delete(np.arange(self.fit.design.n), kept[names.OBSERVATIONS].to_numpy())

    @property
    def upars(self) -> xr.DataArray:
        """Draws of the unconstrained parameters."""
        target, fit = make_target(self.fit.marginal, self.fit.priors), self.fit
        x = target.unconstrain(fit.thetas)
        sizes = [fit.posterior.sizes[name] for name in SAMPLE]
        return xr.DataArray(
            x.reshape(*sizes, -1), coords={name: fit.posterior[name] for name in SAMPLE}, dims=(*SAMPLE, PARAMETER)
        )

    def log_prob_upars(self, upars: xr.DataArray) -> xr.DataArray:
        """Log posterior density at unconstrained parameters, all constants included.

        Raises
        ------
        HierbayesError
            If a prior is one that only the PyMC graph knows.
        """
        target = make_target(self.fit.marginal, self.fit.priors)
        if target.table is None:
            raise HierbayesError(
                "Moment matching evaluates the posterior in compiled code, which does not know one of these priors; "
                "refit exactly with fit.reloo()."
            )
        x, points = self._points(upars)
        return x + compiled(target)(points).reshape(x.shape)

    def log_lik_i_upars(self, upars: xr.DataArray, i: int) -> xr.DataArray:
        """Log predictive density of one item given all others, at unconstrained parameters."""
        x, points = self._points(upars)
        theta = make_target(self.fit.marginal, self.fit.priors).constrain(points)
        return x + self.target.at(self.fit.marginal, theta, self.items[[i]]).reshape(x.shape)

    @staticmethod
    def _points(upars: xr.DataArray) -> tuple[xr.DataArray, np.ndarray]:
        """Zeros (chain, draw), and the parameters as one point a row."""
        x = upars.transpose(*SAMPLE, ...)
        zeros = xr.zeros_like(x.isel({x.dims[-1]: 0}, drop=True))
        return zeros, x.to_numpy().reshape(-1, x.shape[-1])
