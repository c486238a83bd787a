r"""Predictions from a posterior: every draw of all parameters gives a prediction of every row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Posterior, Sampled, checked
from hierbayes.from_bambi.new_rows import NewRows
from hierbayes.inference.simulation import residuals
from hierbayes.predictions.effects import Effects
from hierbayes.predictions.groups import KNOWN, LINEAR, MEAN, MIXED, RESPONSE, Groups, check_kind, read_groups
from hierbayes.predictions.linear import linear_draws
from hierbayes.predictions.population import population_mean
from hierbayes.predictions.rows import rows_of
from hierbayes.response_law import ResponseLaw, law_of
from hierbayes.specification import Specification, required

CHUNK = 40_000_000
"""Draws times rows that a table of predictions is made from at a time."""
COLUMNS = ["estimate", "std_error", "conf_low", "conf_high"]
"""Columns of a table of predictions."""


def predict_draws(
    fit: Sampled,
    newdata: pd.DataFrame | None = None,
    groups: Groups = KNOWN,
    kind: str = MEAN,
    seed: int | None = None,
) -> xr.DataArray:
    """Draws of predictions; see `hierbayes.Fit.predict_draws`.

    Parameters
    ----------
    fit : Sampled
    newdata : pandas.DataFrame, optional
    groups : str or mapping of str to str
    kind : {"linear", "mean", "response"}
    seed : int, optional

    Returns
    -------
    xarray.DataArray
    """
    draws = _Draws(fit, newdata, groups, kind, seed)
    found = draws.of(slice(None))
    sizes = fit.posterior.sizes
    k, chains, per_chain = len(draws.rows.complete), sizes[names.CHAIN], sizes[names.DRAW]
    values = np.full((fit.n_draws, k, *found.shape[2:]), np.nan)
    values[:, draws.rows.complete] = found
    dims = [names.CHAIN, names.DRAW, names.OBSERVATIONS]
    coords: dict[str, Any] = {name: fit.posterior[name].to_numpy() for name in dims[:2]}
    coords[names.OBSERVATIONS] = np.arange(k)
    if draws.outcomes is not None:
        dims.append(draws.outcomes[0])
        coords[draws.outcomes[0]] = list(draws.outcomes[1])
    shaped = values.reshape(chains, per_chain, *values.shape[1:])
    return xr.DataArray(shaped, coords, dims, name=fit.design.response, attrs={"kind": kind, "groups": str(groups)})


def predict(
    fit: Sampled,
    newdata: pd.DataFrame | None = None,
    groups: Groups = KNOWN,
    kind: str = MEAN,
    interval: float = 0.95,
    seed: int | None = None,
) -> pd.DataFrame:
    """Table of predictions; see `hierbayes.Fit.predict`.

    Parameters
    ----------
    fit : Sampled
    newdata : pandas.DataFrame, optional
    groups : str or mapping of str to str
    kind : {"linear", "mean", "response"}
    interval : float
    seed : int, optional

    Returns
    -------
    pandas.DataFrame
    """
    tail = 0.5 - 0.5 * checked(interval)
    draws = _Draws(fit, newdata, groups, kind, seed)
    if kind == RESPONSE and fit.design.categories is not None:
        raise HierbayesError(
            "A new response is a category, which has no mean and no interval; ask for kind='mean', the "
            "probabilities, or for predict_draws(kind='response')."
        )
    rows = draws.rows
    step = max(1, CHUNK // fit.n_draws)
    found = []
    for start in range(0, max(1, len(rows.X)), step):
        values = draws.of(slice(start, start + step))
        found.append(
            [values.mean(axis=0), values.std(axis=0, ddof=1), *np.quantile(values, [tail, 1.0 - tail], axis=0)]
        )
    return table(rows, [np.concatenate(each) for each in zip(*found, strict=True)], draws.outcomes)


def posterior_predictive(fit: Sampled, draws: int | None = None, seed: int | None = None) -> xr.DataTree:
    """Replicates of the response; see `hierbayes.Fit.posterior_predictive`.

    Parameters
    ----------
    fit : Sampled
    draws : int, optional
        Of each chain.
    seed : int, optional

    Returns
    -------
    xarray.DataTree
    """
    per_chain = fit.posterior.sizes[names.DRAW]
    if draws is not None and not (isinstance(draws, (int, np.integer)) and 0 < draws <= per_chain):
        raise ValueError(f"draws must be a whole number from 1 to {per_chain}, the draws of a chain, not {draws!r}")
    some = fit if draws is None else thinned(fit, int(draws))
    replicates = predict_draws(some, kind=RESPONSE, seed=seed)
    return xr.DataTree.from_dict(
        {"posterior_predictive": replicates.to_dataset(), "observed_data": observed_like(replicates, fit.design)}
    )


def observed_like(replicates: xr.DataArray, design: Design) -> xr.Dataset:
    """The response, with the dimensions of replicates of it."""
    dims = replicates.dims[2:]
    return xr.Dataset({design.response: (dims, design.y)}, {dim: replicates[dim].to_numpy() for dim in dims})


def thinned(fit: Sampled, draws: int) -> Sampled:
    """A posterior with some of its draws of every chain, evenly spread."""
    places = np.linspace(0, fit.posterior.sizes[names.DRAW] - 1, draws).round().astype(int)
    kept = fit.posterior.isel({names.DRAW: places})
    groups = {"/posterior": kept}
    if not fit.ranef_kept:
        groups[f"/{names.RANEF_SUMMARY}"] = fit.idata[names.RANEF_SUMMARY].to_dataset()
    return dataclasses.replace(fit, idata=xr.DataTree.from_dict(groups))


def table(rows: NewRows, values: list[np.ndarray], outcomes: tuple[str, tuple[str, ...]] | None) -> pd.DataFrame:
    """Estimates, standard errors and limits, (k,) or (k, outcomes), as a table with the index of the rows."""
    made = [np.full((len(rows.complete), *each.shape[1:]), np.nan) for each in values]
    for whole, each in zip(made, values, strict=True):
        whole[rows.complete] = each
    index = rows.index
    if outcomes is not None:
        labels = [(*(key if isinstance(key, tuple) else (key,)), label) for key in index for label in outcomes[1]]
        index = pd.MultiIndex.from_tuples(labels, names=[*index.names, "category"])
    return pd.DataFrame({name: each.ravel() for name, each in zip(COLUMNS, made, strict=True)}, index=index)


class _Draws:
    """Draws of predictions of some rows at a time."""

    def __init__(
        self, fit: Sampled, newdata: pd.DataFrame | None, groups: Groups, kind: str, seed: int | None
    ) -> None:
        check_kind(kind)
        self.fit, self.kind = fit, kind
        self.groups = read_groups(groups, fit.design)
        self.fitted = newdata is None
        self.rows = rows_of(fit.design, fit.specification, newdata, self.groups, kind)
        self.rng = np.random.default_rng(seed)
        known = any(wanted in {KNOWN, MIXED} for wanted in self.groups.values())
        # effects of which summaries were kept are redrawn by the seed of the fit, so that calls agree
        again = np.random.default_rng(int(fit.idata.attrs.get("seed") or 0)) if seed is None else self.rng
        self.effects = Effects(fit, again, known)

    @property
    def outcomes(self) -> tuple[str, tuple[str, ...]] | None:
        """Dimension and labels of the last axis of the draws, where there is one."""
        design = self.fit.design
        if self.kind == LINEAR:
            return design.outcomes
        labels = design.categories if self.kind == MEAN else None
        if design.y.ndim == 2:
            labels = required(self.fit.specification).skeleton.response_term.levels
        return None if labels is None else (f"{design.response}_dim", tuple(map(str, labels)))

    def of(self, where: slice) -> np.ndarray:
        """(draws, rows) or (draws, rows, outcomes) array."""
        rows = some_rows(self.rows, where)
        if not len(rows.X):
            return np.empty((self.fit.n_draws, 0, *(() if self.outcomes is None else (len(self.outcomes[1]),))))
        eta, v = linear_draws(self.effects, rows, self.groups, self.rng)
        if self.kind == LINEAR:
            return eta
        if self.kind == RESPONSE and v is not None:
            eta = eta + np.sqrt(v) * self.rng.standard_normal(eta.shape)
        if self.fit.design.family.exact:
            return eta if self.kind == MEAN else eta + self._residuals(rows)
        whole = self.fitted and len(rows.X) == self.fit.design.n
        specification = required(self.fit.specification)
        law = law_of(specification) if whole else ResponseLaw(specification, bambi_response(specification, rows))
        auxiliary = self.effects.parameters
        if self.kind == RESPONSE:
            return law.draw(eta, auxiliary, int(self.rng.integers(2**31)))
        if v is None:
            return law.mean(eta, auxiliary)
        return population_mean(lambda at: law.mean(at, auxiliary), eta, v)

    def _residuals(self, rows: NewRows) -> np.ndarray:
        """New residuals; correlated if the rows are those fitted, else each on its own."""
        assert isinstance(self.fit, Posterior)
        design, total = self.fit.design, self.fit.n_draws
        sigma = np.full(total, design.sigma, dtype=float)
        if design.sigma is None:
            sigma = self.fit.posterior[names.SIGMA].to_numpy().ravel()
        z = self.rng.standard_normal((total, len(rows.X)))
        if self.fitted and len(rows.X) == design.n:
            rho = self.fit.posterior[names.RHO].to_numpy().ravel() if design.residual is not None else 0.0 * sigma
            return residuals(design, z, sigma, rho)
        return z * sigma[:, None] / (1.0 if rows.weights is None else np.sqrt(rows.weights))


def some_rows(rows: NewRows, where: slice) -> NewRows:
    """Some of the complete rows."""
    if where == slice(None):
        return rows

    def cut(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[where]

    return dataclasses.replace(
        rows,
        X=rows.X[where],
        offset=cut(rows.offset),
        Z=tuple(Z[where] for Z in rows.Z),
        labels={name: values[where] for name, values in rows.labels.items()},
        codes={name: values[where] for name, values in rows.codes.items()},
        weights=cut(rows.weights),
        trials=cut(rows.trials),
    )


def bambi_response(specification: Specification, rows: NewRows) -> np.ndarray:
    """A response of new rows in Bambi's form; only its trials, totals or bounds mean anything."""
    own = np.asarray(specification.skeleton.response_term.data)
    made = np.repeat(own[:1], len(rows.X), axis=0)
    trials = np.ones(len(rows.X)) if rows.trials is None else rows.trials
    if specification.family.with_trials:
        return np.column_stack([np.zeros(len(rows.X)), trials])
    if specification.design.y.ndim == 2:
        made = np.zeros_like(made)
        made[:, 0] = trials
    return made
