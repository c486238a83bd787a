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

Figures, each with its p-value (two-sided of dispersion and zeros, for more than expected of the others):

    uniformity    largest distance between the distribution of the PITs and a uniform one (Kolmogorov-Smirnov)
    dispersion    Σ (y - E y*)²/Var y*, relative to its expectation: above 1 if the data spread more than the model
    zeros         number of zeros, relative to its expectation (responses that are whole numbers)
    outliers      rows with a quantile residual beyond 3, of which there should be 0.27%; fewer than 371 draws do not
                  reach so far

Categories of an ordinal response have an order and are no numbers: they have neither dispersion nor zeros.

A single 0 or 1 has no dispersion, and its PIT is uniform whatever its probability: of binary responses these figures
say nothing, and sums over levels have to be looked at (`hierbayes.checks.predictive_check`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import names
from hierbayes.cross_validation.family_loo import check_ordered, score_rows, transforms
from hierbayes.design import Design
from hierbayes.estimates import FamilyPosterior
from hierbayes.inference.simulation import new_effects
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.response_law import law_of
from hierbayes.specification import required

SIMULATIONS, FEWEST = 1000, 400
"""Data sets simulated from a maximum likelihood fit; so many of many rows, for a two-sided p-value below 1%."""
MOST = 40_000_000
"""Draws times rows that are held; of more some draws are looked at."""
CHUNK = 2_000_000
"""Draws times rows that are worked on at a time."""
OUTLYING = 3.0
"""Quantile residual beyond which a row is an outlier."""
BEYOND = 2.0 * stats.norm.sf(OUTLYING)
"""Share of the rows that are."""
DISTANCE = math.sqrt(0.5 * math.pi) * math.log(2.0)
"""Expected distance of the distribution of n uniform numbers from a uniform one, times √n."""
TESTS = ("uniformity", "dispersion", "zeros", "outliers")
NOTHING = (np.nan, np.nan, np.nan)
"""Figure, expectation and p-value of a test that says nothing."""


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
            mean, variance = np.empty(self.design.n), np.empty(self.design.n)
            for rows in _chunks(*self.drawn.shape):
                mean[rows], variance[rows] = self.drawn[rows].mean(axis=1), self.drawn[rows].var(axis=1)
            return mean, variance
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
        drawn = simulated(result, int(np.clip(MOST // design.n, FEWEST, SIMULATIONS)), seed).T
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
    design, law = estimate.design, law_of(required(estimate.specification))
    values, vectors = np.linalg.eigh(estimate.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    fixed = design.X @ estimate.fixef.to_numpy() + (0.0 if design.offset is None else design.offset)
    rng, made = np.random.default_rng([seed, 4]), np.empty((simulations, design.n))
    for some in _chunks(simulations, design.n):
        size = len(made[some])
        eta = np.tile(fixed, (size, 1))
        effects = new_effects(design, np.broadcast_to(root, (size, *root.shape)), rng)
        for factor, b in zip(design.factors, effects, strict=True):
            Z = design.effect_columns(factor)
            for k in range(Z.shape[1]):
                eta += Z[:, k] * b[:, k, factor.codes]
        made[some] = law.draw(eta, _repeated(estimate, size), int(rng.integers(2**31)))
    return made


def _chunks(items: int, each: int) -> Iterator[slice]:
    """Items a few at a time, so that each work on them stays small."""
    step = max(1, CHUNK // max(1, each))
    return (slice(begin, begin + step) for begin in range(0, items, step))


def _repeated(estimate: LaplaceEstimate, simulations: int) -> Mapping[str, np.ndarray]:
    """Further parameters of the family, the same for all simulations."""
    if estimate.likelihood.thresholds:
        return {"threshold": np.tile(estimate.likelihood.auxiliary(estimate.optimum.x), (simulations, 1))}
    return {name: np.full(simulations, value) for name, value in estimate.residual_values.items()}


def _ranks(y: np.ndarray, drawn: np.ndarray, seed: int) -> np.ndarray:
    """Randomised PIT of each of several responses (n, k) among the draws of each row."""
    rng, made = np.random.default_rng([seed, 5]), np.empty(y.shape)
    for row in range(len(y)):
        ordered = np.sort(drawn[row])
        below, upto = np.searchsorted(ordered, y[row], "left"), np.searchsorted(ordered, y[row], "right")
        made[row] = (below + rng.random(y.shape[1]) * (upto - below)) / len(ordered)
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
        Of an ordinal response observed is a category, and has no expectation: NaN.
    """
    design = made.design
    observed, (mean, variance) = design.y, made.moments()
    if design.family.ordinal:
        observed = np.array(design.categories)[design.y.astype(int)]
        mean, variance = np.full((2, design.n), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        pearson = (design.y - mean) / np.sqrt(variance)
    return pd.DataFrame(
        {
            "row": np.arange(design.n) if design.row_labels is None else design.row_labels,
            "observed": observed,
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
        Index test; columns observed, expected, ratio, p_value (two-sided of dispersion and zeros, for more than
        expected of uniformity and outliers). NaN where a figure says nothing: of binary responses all, dispersion
        and zeros of ordinal ones, zeros of responses that are not whole numbers or are never 0, outliers with fewer
        than 371 draws.
    """
    found = dict.fromkeys(TESTS, NOTHING)
    if not binary(made.design):
        others = None if made.weights is not None else _ranks(made.drawn, made.drawn, made.seed + 1)
        found |= {"uniformity": _uniformity(made, others), "outliers": _outliers(made, others)}
        if not made.design.family.ordinal:
            data_sets = made.data_sets()
            found |= {"dispersion": _dispersion(made, data_sets), "zeros": _zeros(made.design.y, data_sets)}
    table = pd.DataFrame(found, index=["observed", "expected", "p_value"]).T
    table.index.name = "test"
    with np.errstate(divide="ignore", invalid="ignore"):
        table.insert(2, "ratio", table["observed"] / table["expected"])
    return table


def _uniformity(made: Replicates, others: np.ndarray | None) -> tuple[float, float, float]:
    """Against the distribution in general or, where rows of a level go together, `others`: the PITs of data sets."""
    if others is None:
        found = stats.kstest(made.pit, "uniform")
        return float(found.statistic), DISTANCE / math.sqrt(len(made.pit)), float(found.pvalue)
    distances = np.concatenate([_distance(others[:, some]) for some in _chunks(*others.T.shape)])
    own = float(_distance(made.pit[:, None])[0])
    return own, float(distances.mean()), float(((distances >= own).sum() + 1.0) / (len(distances) + 1.0))


def _distance(pits: np.ndarray) -> np.ndarray:
    """Kolmogorov's distance from uniformity of each column."""
    ordered, n = np.sort(pits, axis=0), len(pits)
    steps = np.arange(n + 1)[:, None] / n
    distance: np.ndarray = np.maximum(steps[1:] - ordered, ordered - steps[:-1]).max(axis=0)
    return distance


def _dispersion(made: Replicates, data_sets: np.ndarray) -> tuple[float, float, float]:
    mean, variance = made.moments()
    varies = variance > 0
    squares = np.concatenate(
        [
            ((data_sets[s][:, varies] - mean[varies]) ** 2 / variance[varies]).sum(axis=1)
            for s in _chunks(*data_sets.shape)
        ]
    )
    own = float(((made.design.y - mean)[varies] ** 2 / variance[varies]).sum())
    return own, float(squares.mean()), _two_sided(own, squares)


def _zeros(y: np.ndarray, data_sets: np.ndarray) -> tuple[float, float, float]:
    zeros = (data_sets == 0).sum(axis=1)
    own = float((y == 0).sum())
    if not (y == np.floor(y)).all() or (own == 0 and not zeros.any()):
        return NOTHING
    return own, float(zeros.mean()), _two_sided(own, zeros)


def _outliers(made: Replicates, others: np.ndarray | None) -> tuple[float, float, float]:
    if 0.5 / made.drawn.shape[1] > 0.5 * BEYOND:  # no draw lies so far out
        return NOTHING
    n, own = len(made.pit), float((np.abs(made.residuals) > OUTLYING).sum())
    if others is not None:
        counts = (others < 0.5 * BEYOND).sum(axis=0) + (others > 1.0 - 0.5 * BEYOND).sum(axis=0)
        return own, float(counts.mean()), float(((counts >= own).sum() + 1.0) / (len(counts) + 1.0))
    return own, n * BEYOND, float(stats.binom.sf(own - 1, n, BEYOND))


def _two_sided(own: float, others: np.ndarray) -> float:
    """Twice the smaller tail."""
    tails = ((others >= own).sum() + 1.0, (others <= own).sum() + 1.0)
    return float(min(1.0, 2.0 * min(tails) / (len(others) + 1.0)))
