r"""Predictions from a maximum of the likelihood: estimates, BLUPs or modes, and the variance of their errors.

A row's linear predictor is estimated by ``η̂ = x'β̂ + offset + z'b̂``, with an error of variance s²
(`hierbayes.predictions.prediction_error`) and, for a new level, one of variance ``v = z'Σ̂z`` beside it. The variances
are taken as known, the errors as Normal. With another response than a Gaussian one of identity link,

- of a known or the average group the expected response is μ(η̂), with standard error |μ'(η̂)| s, and the limits of η
  go through μ;
- of a new group it is random: its mean is ∫ μ(η̂ + √v t) φ(t) dt, its standard error and limits are those of
  ``μ(η̂ + √(s² + v) t)``;
- over the population it is ``M(η̂) = ∫ μ(η̂ + √v t) φ(t) dt``, with standard error |M'(η̂)| s and the limits of η
  through M;
- a new response is simulated, from linear predictors with all these errors.

The information that the rows have about the random effects of such a response is that of a Gaussian one with weights
-ℓ''(η̂), so that the variance of the error is computed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.design import Factor
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate, checked
from hierbayes.family import GAUSSIAN
from hierbayes.kernel_family import inverse_link
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.marginal import Marginal
from hierbayes.predictions.groups import (
    AVERAGE,
    KNOWN,
    LINEAR,
    MEAN,
    NEW,
    POPULATION,
    RESPONSE,
    Groups,
    check_kind,
    read_groups,
)
from hierbayes.predictions.linear import columns_of
from hierbayes.predictions.population import population_mean
from hierbayes.predictions.posterior import bambi_response, some_rows, table
from hierbayes.predictions.prediction_error import Errors
from hierbayes.predictions.rows import rows_of
from hierbayes.response_law import ResponseLaw
from hierbayes.specification import required

SIMULATED = 4000
"""New responses behind the interval of each row."""
CHUNK = 8_000_000
"""New responses simulated at a time, of as many rows."""
STEP = 1e-5
"""Of central differences of a mean."""
LEAST = 1e-12
"""Information about a linear predictor, at least."""

Mean = Callable[[np.ndarray], np.ndarray]


def predict_gaussian(
    fit: Estimate,
    newdata: pd.DataFrame | None = None,
    groups: Groups = KNOWN,
    kind: str = MEAN,
    interval: float = 0.95,
) -> pd.DataFrame:
    """Table of predictions; see `hierbayes.RemlFit.predict`.

    Parameters
    ----------
    fit : Estimate
    newdata : pandas.DataFrame, optional
    groups : str or mapping of str to str
    kind : {"linear", "mean", "response"}
    interval : float

    Returns
    -------
    pandas.DataFrame
    """
    z = _quantile(interval)
    errors = Errors(fit.marginal, fit.covariance, fit.sigma, fit.optimum.rho, fit.vcov.to_numpy())
    found = _Linear(fit, errors, newdata, groups, kind)
    variance = found.variance + found.new
    if kind == RESPONSE:
        weights = 1.0 if found.rows.weights is None else found.rows.weights
        variance = variance + found.population + fit.sigma**2 / weights
    sd = np.sqrt(variance)
    return table(found.rows, [found.eta, sd, found.eta - z * sd, found.eta + z * sd], None)


def predict_laplace(
    fit: LaplaceEstimate,
    newdata: pd.DataFrame | None = None,
    groups: Groups = KNOWN,
    kind: str = MEAN,
    interval: float = 0.95,
    seed: int | None = None,
) -> pd.DataFrame:
    """Table of predictions; see `hierbayes.LaplaceFit.predict`.

    Parameters
    ----------
    fit : LaplaceEstimate
    newdata : pandas.DataFrame, optional
    groups : str or mapping of str to str
    kind : {"linear", "mean", "response"}
    interval : float
    seed : int, optional

    Returns
    -------
    pandas.DataFrame
    """
    z = _quantile(interval)
    if fit.likelihood.thresholds and kind != LINEAR:
        raise HierbayesError(
            "Probabilities of ordered categories depend on the errors of the thresholds too; maximum likelihood "
            "predicts kind='linear' only; ml.fitted has the probabilities of the rows fitted, and "
            "model.fit().predict() those of any rows, with intervals."
        )
    working = _working(fit)
    found = _Linear(fit, Errors(working, fit.covariance, 1.0, 0.0, fit.vcov.to_numpy()), newdata, groups, kind)
    if kind == RESPONSE:
        return _responses(fit, found, interval, seed)
    eta, s = found.eta, np.sqrt(found.variance)
    all_of_it = np.sqrt(found.variance + found.new)
    low, high = eta - z * all_of_it, eta + z * all_of_it
    if kind == LINEAR:
        return table(found.rows, [eta, all_of_it, low, high], None)
    mean: Mean = partial(inverse_link, fit.likelihood.link)

    def over(v: np.ndarray, function: Mean, at: np.ndarray) -> np.ndarray:
        return population_mean(function, np.atleast_2d(at), v[None]).reshape(at.shape)

    if found.population.any():
        mean = partial(over, found.population, mean)
    slope = (mean(eta + STEP) - mean(eta - STEP)) / (2.0 * STEP)
    estimate, error = mean(eta), np.abs(slope) * s
    if found.new.any():
        estimate = over(found.new, mean, eta)
        first = over(all_of_it**2, mean, eta)
        second = over(all_of_it**2, lambda at: mean(at) ** 2, eta)
        error = np.where(found.new > 0.0, np.sqrt(np.maximum(second - first**2, 0.0)), error)
    ends = np.sort([mean(low), mean(high)], axis=0)
    return table(found.rows, [estimate, error, *ends], None)


def _quantile(interval: float) -> float:
    return float(stats.norm.ppf(0.5 + 0.5 * checked(interval)))


class _Linear:
    """Linear predictors of rows, and the variances of all that may be wrong with them, each (rows,).

    Attributes
    ----------
    rows : NewRows
    eta : array
    variance : array
        Of the errors of fixed effects and of effects of known levels.
    new, population : arrays
        Of effects of new levels, and of those that are averaged over.
    """

    def __init__(
        self, fit: Estimate | LaplaceEstimate, errors: Errors, newdata: pd.DataFrame | None, groups: Groups, kind: str
    ) -> None:
        check_kind(kind)
        design = fit.design
        wanted = read_groups(groups, design)
        self.rows = rows = rows_of(design, fit.specification, newdata, wanted, kind)
        self.eta = rows.X @ fit.fixef.to_numpy()
        if rows.offset is not None:
            self.eta = self.eta + rows.offset
        self.new, self.population = np.zeros(len(self.eta)), np.zeros(len(self.eta))
        known = {}
        for position, factor in enumerate(design.factors):
            how = wanted[factor.name]
            if how == AVERAGE:
                continue
            Z = columns_of(design, rows, factor)
            spread = _spread(fit, factor, Z)
            if how == POPULATION:
                self.population += spread
                continue
            codes = rows.codes[factor.name] if how != NEW else np.full(len(Z), -1)
            self.new += np.where(codes < 0, spread, 0.0)
            if (codes >= 0).any():
                b = fit.ranef[factor.name].to_numpy()[codes]
                self.eta = self.eta + np.where(codes >= 0, (Z * b).sum(axis=1), 0.0)
                known[position] = Z, codes
        self.variance = errors.variance(rows.X, known)


def _spread(fit: Estimate | LaplaceEstimate, factor: Factor, Z: np.ndarray) -> np.ndarray:
    """z'Σz of each row."""
    where = fit.design.effects_of(factor)
    spread: np.ndarray = np.einsum("ni,ij,nj->n", Z, fit.covariance[where, where], Z)
    return spread


def _working(fit: LaplaceEstimate) -> Marginal:
    """A Gaussian model in which the rows say as much of their linear predictors as they do at the modes."""
    likelihood, design = fit.likelihood, fit.design
    rows = likelihood.response.log_densities(fit.linear_predictor, likelihood.auxiliary(fit.optimum.x))[1]
    weights = np.maximum(-rows[:, 2], LEAST)
    any_response = np.random.default_rng(0).standard_normal(design.n) / np.sqrt(weights)  # errors do not depend on it
    working = replace(
        design, y=any_response, family=GAUSSIAN, trials=None, categories=None, offset=None, weights=weights, sigma=1.0
    )
    return Marginal(working)


def _responses(fit: LaplaceEstimate, found: _Linear, interval: float, seed: int | None) -> pd.DataFrame:
    """New responses, simulated."""
    specification, rng = required(fit.specification), np.random.default_rng(seed)
    sd = np.sqrt(found.variance + found.new + found.population)
    values = fit.likelihood.auxiliary(fit.optimum.x)
    tail, step = 0.5 - 0.5 * interval, max(1, CHUNK // SIMULATED)
    made = np.empty((4, len(sd)))
    for start in range(0, len(sd), step):
        where = slice(start, start + step)
        data = bambi_response(specification, some_rows(found.rows, where))
        law = ResponseLaw(specification, data, free=True)
        auxiliary = {name: np.full(SIMULATED, value) for name, value in zip(law.auxiliary, values, strict=False)}
        eta = found.eta[where] + sd[where] * rng.standard_normal((SIMULATED, len(data)))
        y = law.draw(eta, auxiliary, int(rng.integers(2**31)))
        made[:, where] = y.mean(axis=0), y.std(axis=0, ddof=1), *np.quantile(y, [tail, 1.0 - tail], axis=0)
    return table(found.rows, list(made), None)
