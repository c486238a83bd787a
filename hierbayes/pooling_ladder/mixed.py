"""The rows by partial pooling: REML and the posterior of the same models."""

from __future__ import annotations

import numpy as np
from scipy import stats

from hierbayes.errors import DataError, FormulaError
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Estimate
from hierbayes.inference.contrasts import Df, inference
from hierbayes.model import Model
from hierbayes.pooling_ladder.observed_information import observed_std_errors
from hierbayes.pooling_ladder.rung import Rung
from hierbayes.pooling_ladder.slope import INTERCEPT, Slope, varies
from hierbayes.pooling_ladder.smaller_models import with_effects
from hierbayes.spelling import spelled


def random_intercept(model: Model) -> Model:
    """The model with a random intercept alone."""
    (factor,) = model.design.factors
    if model.design.effect_labels == [INTERCEPT]:
        return model
    return with_effects(model, f"(1 | {spelled(factor.name, model.data)})")


def random_slope(model: Model, slope: Slope) -> Model | str:
    """The model with random intercepts and slopes, or why there is none.

    It is the model as written if that has both, correlated or not.
    """
    design = model.design
    (factor,) = design.factors
    if {INTERCEPT, slope.label} <= set(design.effect_labels):
        return model
    if not varies(design, slope.column):
        return f"{slope.label} does not vary within any group of {factor.name}, so a group has no slope of its own"
    effects = f"({spelled(slope.term.name, model.data)} | {spelled(factor.name, model.data)})"
    try:
        made = with_effects(model, effects)
    except (DataError, FormulaError) as error:
        return f"not fitted: {error}"
    (block,) = made.design.blocks
    own, x = dict(zip(block.labels, block.Z.T, strict=True)), design.X[:, slope.column]
    if not np.array_equal(own.get(slope.label, []), x):
        return f"{effects} has other columns than the fixed effect {slope.label}"
    return made


def reml_rung(name: str, made: Model | str, slope: Slope, df: Df) -> Rung:
    """A row by REML.

    Parameters
    ----------
    name : str
    made : Model or str
        Or why there is none.
    slope : Slope
    df : {"satterthwaite", "kenward-roger", "z"}

    Returns
    -------
    Rung
    """
    if isinstance(made, str):
        return Rung(name, "", notes=(made,))
    reml = made._maximise("REML", quiet=True)
    by, c = inference(reml, df), np.eye(len(reml.fixef))[slope.column]
    estimate = float(reml.fixef.iloc[slope.column])
    z = estimate / float(observed_std_errors(reml)[slope.column])
    return Rung(
        name, made.formula, _rmse(made, reml.residuals), estimate, float(np.sqrt(by.variance(c))), float(by.df(c)),
        statistic_z=z, p_value_z=float(2.0 * stats.norm.sf(abs(z))), notes=_state(reml),
    )  # fmt: skip


def bayes_rung(
    name: str,
    made: Model | str,
    slope: Slope,
    conf_level: float,
    draws: int,
    chains: int,
    seed: int | None,
    progress: bool | None,
) -> Rung:
    """A row by sampling the posterior.

    Parameters
    ----------
    name, made, slope
        As of `reml_rung`.
    conf_level : float
        Probability of the interval, between its quantiles.
    draws, chains, seed, progress
        As of `hierbayes.Model.fit`.

    Returns
    -------
    Rung
    """
    if isinstance(made, str):
        return Rung(name, "", notes=(made,))
    fit = made.fit(draws=draws, chains=chains, seed=seed, progress=progress)
    values = fit.parameter_draws()[FIXED, "", slope.label].to_numpy()
    tail = 0.5 - 0.5 * conf_level
    low, high = np.quantile(values, [tail, 1.0 - tail])
    residuals = made.design.y - fit.predict(groups="known", kind="linear")["estimate"].to_numpy()
    positive = float((values > 0.0).mean())
    return Rung(
        name, made.formula, _rmse(made, residuals), float(values.mean()), float(values.std(ddof=1)),
        interval=(float(low), float(high)), p_direction=max(positive, 1.0 - positive),
        notes=fit.convergence.problems,
    )  # fmt: skip


def _rmse(made: Model, residuals: np.ndarray) -> float:
    """Of conditional residuals, over n - rank(X)."""
    design = made.design
    weights = 1.0 if design.weights is None else design.weights
    df = design.n - design.X.shape[1]
    return float(np.sqrt((weights * residuals**2).sum() / df)) if df > 0 else np.nan


def _state(reml: Estimate) -> tuple[str, ...]:
    """What must be known of a fit: that it is singular, and where, or that it did not converge."""
    notes = []
    if reml.singular:
        values = reml.parameter_values[VARIANCE]
        figures = [f"{term} {value:.3g}" for (group, term), value in values.items() if group != RESIDUAL]
        notes.append(f"singular: {', '.join(figures)}")
    if not reml.converged:
        notes.append(f"not converged: {reml.message}")
    return tuple(notes)
