r"""Residuals of counts, binary and other responses: where an observation lies among responses of the model.

With new responses y* of a row, weights w and U uniform on (0, 1),

    PIT = P(y* < y) + U P(y* = y),      quantile residual Φ⁻¹(PIT),

uniform and standard normal if the model is right, also where the response has few values (Dunn & Smyth 1996, Journal
of Computational and Graphical Statistics 5, 236; by simulation as in DHARMa, Hartig). What y* is given differs:

- of a posterior, all other rows: the leave-one-out predictive distribution of the row
  (`hierbayes.cross_validation.family_loo`), with the random effects of its level as the other rows know them. Given
  draws that have seen the row itself residuals would be too small, and overdispersion would hide in the random
  effects. The transforms of different rows are independent but for what rows have in common in θ;
- of a maximum likelihood fit, the estimates, with new random effects for all levels at once: conditional modes have
  been fitted to the rows. Rows of a level then go up and down together, and so do those of the simulated data sets to
  which they are compared: every figure is compared with the same figure of whole simulated data sets.

Figures, each with its two-sided p-value:

    uniformity    largest distance between the distribution of the PITs and a uniform one (Kolmogorov-Smirnov)
    dispersion    Σ (y - E y*)²/Var y*, relative to its expectation: above 1 if the data spread more than the model
    zeros         number of zeros, relative to its expectation (responses that are whole numbers)
    outliers      rows with a quantile residual beyond 3, of which there should be 0.27%

A single 0 or 1 has no dispersion, and its PIT is uniform whatever its probability: of binary responses these figures
say nothing, and sums over levels have to be looked at (`hierbayes.checks.predictive_check`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import names
from hierbayes.cross_validation.family_loo import check_ordered, score_rows, transforms
from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FamilyPosterior
from hierbayes.inference.simulation import new_effects
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.response_law import law_of

SIMULATIONS = 1000
"""Data sets simulated from a maximum likelihood fit."""
MOST = 40_000_000
"""Draws times rows that are held; of more some draws are looked at."""
OUTLYING = 3.0
"""Quantile residual beyond which a row is an outlier."""
BEYOND = 2.0 * stats.norm.sf(OUTLYING)
"""Share of the rows that are."""
DISTANCE = math.sqrt(0.5 * math.pi) * math.log(2.0)
"""Expected distance of the distribution of n uniform numbers from a uniform one, times √n."""
TESTS = ("uniformity", "dispersion", "zeros", "outliers")


@dataclass(frozen=True, eq=False)
class Replicates:
    """New responses of every row.

    Parameters
    ----------
    design : Design
    drawn : (n, draws) array
    weights : (n, draws) array or None
        Of the draws of each row, summing to 1; None if all are worth the same and a draw is a whole data set, rows of
        one level together.
    pit : (n,) array
        Randomised.
    seed : int
    pareto_k : (n,) array or None
        Of the weights.
    """

    design: Design
    drawn: np.ndarray
    weights: np.ndarray | None
    pit: np.ndarray
    seed: int
    pareto_k: np.ndarray | None = None

    @property
    def residuals(self) -> np.ndarray:
        """(n,) quantile residuals, as far out as so many draws can tell."""
        edge = 0.5 / self.drawn.shape[1]
        made: np.ndarray = stats.norm.ppf(np.clip(self.pit, edge, 1.0 - edge))
        return made

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Expectation and variance of the response of each row."""
        if self.weights is None:
            return self.drawn.mean(axis=1), self.drawn.var(axis=1)
        mean = (self.weights * self.drawn).sum(axis=1)
        return mean, (self.weights * (self.drawn - mean[:, None]) ** 2).sum(axis=1)

    def data_sets(self) -> np.ndarray:
        """(simulations, n) whole data sets; of independent rows each from its own draws."""
        if self.weights is None:
            return self.drawn.T
        rng = np.random.default_rng([self.seed, 3])
        below = np.cumsum(self.weights, axis=1)
        at = [np.searchsorted(row, rng.random(SIMULATIONS) * row[-1], side="right") for row in below]
        last = self.drawn.shape[1] - 1
        return np.stack([y[np.minimum(k, last)] for y, k in zip(self.drawn, at, strict=True)], axis=1)


def replicates_of(result: FamilyPosterior | LaplaceEstimate, seed: int = 0) -> Replicates:
    """New responses of a fit.

    Parameters
    ----------
    result : FamilyPosterior or LaplaceEstimate
    seed : int

    Returns
    -------
    Replicates

    Raises
    ------
    HierbayesError
        If the response has no order.
    """
    design = result.design
    check_ordered(design)
    if isinstance(result, LaplaceEstimate):
        drawn = simulated(result, SIMULATIONS, seed).T
        return Replicates(design, drawn, None, _ranks(design.y[:, None], drawn, seed)[:, 0], seed)
    scored = score_rows(_thinned(result), seed=seed)
    assert scored.drawn is not None
    assert scored.smoothed.log_weights is not None
    weights = np.exp(scored.smoothed.log_weights)
    return Replicates(design, scored.drawn, weights, transforms(design.y, scored, seed), seed, scored.smoothed.k)


def _thinned(fit: FamilyPosterior) -> FamilyPosterior:
    """The same posterior with as many draws as can be held."""
    step = -(-fit.design.n * fit.n_draws // MOST)
    if step <= 1:
        return fit
    return replace(fit, idata=fit.idata.isel({names.DRAW: slice(None, None, step)}))


def simulated(estimate: LaplaceEstimate, simulations: int, seed: int) -> np.ndarray:
    """(simulations, n) responses of a fit with new random effects.

    Parameters
    ----------
    estimate : LaplaceEstimate
    simulations : int
    seed : int

    Returns
    -------
    array

    Raises
    ------
    HierbayesError
        If the fit is to other data than the model's.
    """
    if estimate.specification is None:
        raise HierbayesError("This is a fit to other data than the model's; use what model.ml gave.")
    design, law = estimate.design, law_of(estimate.specification)
    values, vectors = np.linalg.eigh(estimate.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    eta = np.tile(design.X @ estimate.fixef.to_numpy(), (simulations, 1))
    eta += 0.0 if design.offset is None else design.offset
    rng = np.random.default_rng([seed, 4])
    effects = new_effects(design, np.broadcast_to(root, (simulations, *root.shape)), rng)
    for factor, b in zip(design.factors, effects, strict=True):
        Z = design.effect_columns(factor)
        eta += sum(Z[:, k] * b[:, k, factor.codes] for k in range(Z.shape[1]))
    return np.asarray(law.draw(eta, _repeated(estimate, simulations), int(rng.integers(2**31))), dtype=float)


def _repeated(estimate: LaplaceEstimate, simulations: int) -> Mapping[str, np.ndarray]:
    """Further parameters of the family, the same for all simulations."""
    if estimate.likelihood.thresholds:
        return {"threshold": np.tile(estimate.likelihood.auxiliary(estimate.optimum.x), (simulations, 1))}
    return {name: np.full(simulations, value) for name, value in estimate.residual_values.items()}


def _ranks(y: np.ndarray, drawn: np.ndarray, seed: int) -> np.ndarray:
    """Randomised PIT of each of several responses (n, k) among the draws of each row."""
    uniform = np.random.default_rng([seed, 5]).random(y.shape)
    made = np.empty(y.shape)
    for row in range(len(y)):
        ordered = np.sort(drawn[row])
        below, upto = np.searchsorted(ordered, y[row], "left"), np.searchsorted(ordered, y[row], "right")
        made[row] = (below + uniform[row] * (upto - below)) / len(ordered)
    return made


def residuals_table(made: Replicates) -> pd.DataFrame:
    """Residuals of every row.

    Parameters
    ----------
    made : Replicates

    Returns
    -------
    pandas.DataFrame
        Columns row (its label in the index of the data), observed, fitted and predictive_sd (expectation and standard
        deviation of new responses), pearson (their standardised distance), pit (randomised), quantile (Φ⁻¹ of it).
    """
    design = made.design
    mean, variance = made.moments()
    with np.errstate(divide="ignore", invalid="ignore"):
        pearson = (design.y - mean) / np.sqrt(variance)
    return pd.DataFrame(
        {
            "row": np.arange(design.n) if design.row_labels is None else design.row_labels,
            "observed": design.y,
            "fitted": mean,
            "predictive_sd": np.sqrt(variance),
            "pearson": pearson,
            "pit": made.pit,
            "quantile": made.residuals,
        }
    )


def binary(design: Design) -> bool:
    """Whether every response is a single 0 or 1."""
    if design.trials is not None:
        return bool((design.trials == 1).all())
    return bool(np.isin(design.y, (0.0, 1.0)).all())


def residual_tests(made: Replicates) -> pd.DataFrame:
    """Uniformity, dispersion, zeros and outliers, each with its figure and what is expected.

    Parameters
    ----------
    made : Replicates

    Returns
    -------
    pandas.DataFrame
        Index test; columns observed, expected, ratio, p_value (two-sided). NaN where a figure says nothing: of binary
        responses all, zeros of responses that are not whole numbers or are never 0.
    """
    y, data_sets = made.design.y, made.data_sets()
    found = {
        "uniformity": _uniformity(made),
        "dispersion": _dispersion(made, data_sets),
        "zeros": _zeros(y, data_sets),
        "outliers": _outliers(made),
    }
    if binary(made.design):
        found = dict.fromkeys(TESTS, (np.nan, np.nan, np.nan))
    table = pd.DataFrame(found, index=["observed", "expected", "p_value"]).T
    table.index.name = "test"
    with np.errstate(divide="ignore", invalid="ignore"):
        table.insert(2, "ratio", table["observed"] / table["expected"])
    return table


def _uniformity(made: Replicates) -> tuple[float, float, float]:
    if made.weights is not None:
        found = stats.kstest(made.pit, "uniform")
        return float(found.statistic), DISTANCE / math.sqrt(len(made.pit)), float(found.pvalue)
    others = _distance(_ranks(made.drawn, made.drawn, made.seed + 1))
    own = float(_distance(made.pit[:, None])[0])
    return own, float(others.mean()), float(((others >= own).sum() + 1.0) / (len(others) + 1.0))


def _distance(pits: np.ndarray) -> np.ndarray:
    """Kolmogorov's distance from uniformity of each column."""
    ordered, n = np.sort(pits, axis=0), len(pits)
    steps = np.arange(n + 1)[:, None] / n
    distance: np.ndarray = np.maximum(steps[1:] - ordered, ordered - steps[:-1]).max(axis=0)
    return distance


def _dispersion(made: Replicates, data_sets: np.ndarray) -> tuple[float, float, float]:
    mean, variance = made.moments()
    varies = variance > 0
    squares = ((data_sets[:, varies] - mean[varies]) ** 2 / variance[varies]).sum(axis=1)
    own = float(((made.design.y - mean)[varies] ** 2 / variance[varies]).sum())
    return own, float(squares.mean()), _two_sided(own, squares)


def _zeros(y: np.ndarray, data_sets: np.ndarray) -> tuple[float, float, float]:
    zeros = (data_sets == 0).sum(axis=1)
    own = float((y == 0).sum())
    if not (y == np.floor(y)).all() or (own == 0 and not zeros.any()):
        return np.nan, np.nan, np.nan
    return own, float(zeros.mean()), _two_sided(own, zeros)


def _outliers(made: Replicates) -> tuple[float, float, float]:
    n, own = len(made.pit), float((np.abs(made.residuals) > OUTLYING).sum())
    if made.weights is None:
        others = stats.norm.ppf(np.clip(_ranks(made.drawn, made.drawn, made.seed + 1), 1e-12, 1.0 - 1e-12))
        counts = (np.abs(others) > OUTLYING).sum(axis=0)
        return own, float(counts.mean()), float(((counts >= own).sum() + 1.0) / (len(counts) + 1.0))
    return own, n * BEYOND, float(stats.binom.sf(own - 1, n, BEYOND))


def _two_sided(own: float, others: np.ndarray) -> float:
    """Twice the smaller tail."""
    tails = ((others >= own).sum() + 1.0, (others <= own).sum() + 1.0)
    return float(min(1.0, 2.0 * min(tails) / (len(others) + 1.0)))
