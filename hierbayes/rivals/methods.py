"""Methods: each is fitted to some rows of a model and says what it expects of others.

=================================  ==========================================================================
method                             what it says of a row, from the rows fitted
=================================  ==========================================================================
ordinary regression                least squares on the fixed effects; groups ignored (complete pooling)
…, group dummies                   an intercept for each group besides (no pooling); nothing of a new group
an estimator of scikit-learn       what its ``predict`` gives, and no density
REML                               fixed effects and BLUPs at the variances estimated from the rows fitted; for a
                                   new group the mean over groups. Density: Normal, with the errors of fixed
                                   effects and BLUPs (and the variance between groups, for a new one) and the
                                   residual variance; the variances are taken as known
Bayes                              the posterior mean given the rows fitted, and the average over the draws of θ of
                                   the density of the row, everything but θ integrated out, as in `Fit.kfold`
=================================  ==========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from hierbayes.checks.residuals import theta_of
from hierbayes.cross_validation.kfold import CHUNK
from hierbayes.cross_validation.left_out import Predictive, check_series
from hierbayes.cross_validation.posterior_refits import log_mean, refit_without
from hierbayes.design import Design, Factor
from hierbayes.errors import DataError
from hierbayes.estimates import Estimate
from hierbayes.marginal import Marginal
from hierbayes.reml import maximise
from hierbayes.rivals.features import DATA, Features
from hierbayes.rivals.ordinary import ordinary
from hierbayes.threads import parts

if TYPE_CHECKING:
    from hierbayes.model import Model
    from hierbayes.results import Fit


@dataclass(frozen=True)
class Prediction:
    """What a method says of rows that it has not seen.

    Parameters
    ----------
    mean : (rows,) array
        NaN where it says nothing.
    log_density : (rows,) array or None
        Log predictive density of the responses; None if there is none.
    remarks : tuple of str
        What is to be known of the fit.
    """

    mean: np.ndarray
    log_density: np.ndarray | None = None
    remarks: tuple[str, ...] = ()


Method = Callable[[np.ndarray, np.ndarray], Prediction]
"""From the rows to fit and the rows to predict, int arrays, to predictions of the latter."""


def ordinary_regression(model: Model, factor: Factor | None = None) -> Method:
    """Least squares on the fixed effects, with dummies of a factor if one is given."""

    def predict(known: np.ndarray, new: np.ndarray) -> Prediction:
        mean, log_density = ordinary(model.design, known, new, factor)
        if not np.isnan(mean).any():
            return Prediction(mean, log_density)
        unseen = factor is not None and not np.isin(factor.codes[new], factor.codes[known]).all()
        return Prediction(
            mean,
            log_density,
            ("no dummy for a new group" if unseen else "rows that the rows fitted do not determine",),
        )

    return predict


def estimator(features: Features, kind: str, unfitted: Any) -> Method:
    """An estimator of scikit-learn.

    Precision weights, if there are any, are its sample weights, or those of the last step of a pipeline. An offset is
    subtracted from the response and added to the predictions, unless the estimator sees the data, and with it the
    columns of the offset.
    """
    from sklearn.base import clone

    design = features.design
    offset = np.zeros(design.n) if design.offset is None or kind == DATA else design.offset
    argument = None if design.weights is None else _weight_argument(unfitted)
    remarks = ["no predictive density"]
    if design.weights is not None and argument is None and not any(m.weights or m.se for m in mixed_inside(unfitted)):
        remarks.append("precision weights not used")

    def predict(known: np.ndarray, new: np.ndarray) -> Prediction:
        X, X_new = features.split(kind, known, new)
        more = {} if argument is None or design.weights is None else {argument: design.weights[known]}
        fitted = clone(unfitted).fit(X, design.y[known] - offset[known], **more)
        mean = np.asarray(fitted.predict(X_new), dtype=float)
        if mean.shape != new.shape:
            raise ValueError(f"it predicts an array of shape {mean.shape} for {len(new)} rows")
        return Prediction(mean + offset[new], None, tuple(remarks))

    return predict


def _weight_argument(unfitted: Any) -> str | None:
    """The argument of ``fit`` that takes sample weights, None if there is none."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(unfitted, Pipeline):
        name, last = unfitted.steps[-1]
        return f"{name}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(unfitted, "sample_weight") else None


def mixed_inside(unfitted: Any) -> list[Any]:
    """The `MixedRegressor` that an estimator is, or searches over, or ends with; usually none."""
    from hierbayes.rivals.regressor import MixedRegressor

    inside = unfitted.get_params().values() if hasattr(unfitted, "get_params") else ()
    return [each for each in (unfitted, *inside) if isinstance(each, MixedRegressor)]


def restricted_maximum(model: Model) -> Method:
    """REML, anew for each set of rows."""

    def predict(known: np.ndarray, new: np.ndarray) -> Prediction:
        marginal = _without(model.likelihood, new)
        estimate = Estimate(marginal, maximise(marginal, restricted=True), "REML")
        error, sd = Predictive(marginal, theta_of(estimate)[None]).predict_new(model.design.only(new))
        remarks = ("singular",) * estimate.singular + ("not converged",) * (not estimate.converged)
        return Prediction(model.design.y[new] - error[:, 0], stats.norm.logpdf(error[:, 0], scale=sd[:, 0]), remarks)

    return predict


def posterior(fit: Fit) -> Method:
    """Bayes: the posterior without the rows to predict, sampled as the fit was."""

    def predict(known: np.ndarray, new: np.ndarray) -> Prediction:
        _check_series(fit.design, new)
        refit = refit_without(fit, new)
        predictive = Predictive(refit.marginal, refit.thetas, os.cpu_count() or 1)
        mean, log_density = np.empty(len(new)), np.empty(len(new))
        for part in parts(len(new), max(1, CHUNK // predictive.draws)):
            error, sd = predictive.predict_new(fit.design.only(new[part]))
            mean[part] = fit.design.y[new[part]] - error.mean(axis=1)
            log_density[part] = log_mean(stats.norm.logpdf(error, scale=sd).T)
        return Prediction(mean, log_density, ("not converged",) * bool(refit.convergence.problems))

    return predict


def _without(marginal: Marginal, rows: np.ndarray) -> Marginal:
    """The likelihood without some rows; correlated residuals can be left out by whole series only."""
    _check_series(marginal.design, rows)
    return marginal.without(rows)


def _check_series(design: Design, rows: np.ndarray) -> None:
    """Refuse to part series, in words for somebody who has not chosen the folds."""
    try:
        check_series(design, rows)
    except DataError as error:
        name = design.residual.name if design.residual else ""
        raise DataError(
            f"the folds part series of {name!r}, whose residuals are correlated; fit.lfo() of the "
            "posterior asks how well later rows of known series are predicted"
        ) from error
