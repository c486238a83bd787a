r"""Simulation-based calibration: the rank of a prior draw among draws of its posterior is uniform.

Parameters from the prior, data from the parameters, posterior from the data; over many repetitions the number of
posterior draws below the truth is uniform on 0, ..., R (Talts et al. 2018, arXiv 1804.06788). The log likelihood is
one more quantity: it notices a posterior that does not use all of the data (Modrák et al. 2023, Bayesian Analysis,
doi 10.1214/23-BA1404).

Two tests of uniformity. A χ² test of ten bins; and the empirical distribution function in a simultaneous band: with
C_k of N ranks below k, C_k ~ Binomial(N, k/(R+1)), and the smallest two-sided tail probability over k is compared
with what uniform ranks give (Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32, 32), by simulation.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.calibration.posteriors import CHAINS, posterior_of
from benchmarks.calibration.studies import STUDIES, Study, Values

RANKS = 100
"""Thinned draws of a posterior, so that ranks run from 0 to 100."""
DRAWS = 500
"""Draws a chain before thinning."""
BINS = 10
SIMULATIONS = 10_000
"""Of uniform ranks."""
FALSE_ALARM = 0.01
"""Probability that any test of a study rejects uniform ranks (Bonferroni)."""
BAND = 0.95
"""Probability that a curve of uniform ranks stays within its band."""


def rank(key: str, seed: int, number: int) -> dict[str, int]:
    """Simulate once: for each quantity the number of thinned posterior draws below the truth.

    Parameters
    ----------
    key : str
        Of the study.
    seed, number : int
        Seed of the study and number of the repetition.
    """
    study = STUDIES[key]
    rng = np.random.default_rng([seed, number])
    values, y = study.simulate(study.parameters(rng), rng)
    truth = quantities(study, values, y)
    drawn = quantities(study, posterior_of(key, True)(y, number, DRAWS), y)
    thin = CHAINS * DRAWS // RANKS
    return {name: int((drawn[name][::thin] < value).sum()) for name, value in truth.items()}


def quantities(study: Study, values: Values, y: np.ndarray) -> dict[str, np.ndarray]:
    """What is ranked: the parameters, the effects of one level of each factor, and the log likelihood."""
    found = {name: values[name] for name in study.laws}
    found |= {f"{effect}[0]": values[effect][..., 0] for effect in study.effects}
    return found | {"log likelihood": study.log_likelihood(values, y)}


def uniformity(ranks: pd.DataFrame) -> pd.DataFrame:
    """P-values of the two tests of uniformity.

    Parameters
    ----------
    ranks : pandas.DataFrame
        One row a repetition, one column a quantity.

    Returns
    -------
    pandas.DataFrame
        Index: quantity; columns: chi2, ecdf.
    """
    edges = np.linspace(0, RANKS + 1, BINS + 1)
    expected = np.histogram(np.arange(RANKS + 1), edges)[0] / (RANKS + 1) * len(ranks)
    null = _null(len(ranks))
    found = {}
    for name in ranks.columns:
        values = ranks[name].to_numpy()
        smallest = _smallest_tail(below(values), len(values))
        found[name] = {
            "chi2": float(stats.chisquare(np.histogram(values, edges)[0], expected).pvalue),
            "ecdf": float((1 + (null <= smallest).sum()) / (1 + len(null))),
        }
    return pd.DataFrame.from_dict(found, orient="index")


def alarms(p_values: pd.DataFrame) -> list[str]:
    """The tests of all quantities together that reject uniform ranks, in words."""
    limit = FALSE_ALARM / p_values.size
    return [f"{name}, {test}: p = {p:.2g}" for test in p_values for name, p in p_values[test].items() if p < limit]


def thresholds() -> np.ndarray:
    """(R,) distribution function of a uniform rank: the probability to be below 1, ..., R."""
    return np.arange(1, RANKS + 1) / (RANKS + 1)


def below(ranks: np.ndarray) -> np.ndarray:
    """(..., R) counts of ranks below 1, ..., R, over the last axis."""
    rows = np.atleast_2d(ranks)
    each = np.arange(len(rows))[:, None] * (RANKS + 1)
    counts = np.bincount((rows + each).ravel(), minlength=len(rows) * (RANKS + 1)).reshape(len(rows), -1)
    return counts.cumsum(axis=1)[:, :-1].reshape(*ranks.shape[:-1], RANKS)


def band(repetitions: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, (R,), between which the whole curve of uniform ranks stays with probability `BAND`."""
    tail = np.quantile(_null(repetitions), 1.0 - BAND) / 2.0
    law = stats.binom(repetitions, thresholds())
    return law.ppf(tail) / repetitions, law.isf(tail) / repetitions


def _smallest_tail(counts: np.ndarray, repetitions: int) -> np.ndarray:
    """Smallest two-sided tail probability over the thresholds, (...), of (..., R) counts."""
    return _tails(repetitions)[np.arange(RANKS), counts].min(axis=-1)


@cache
def _tails(repetitions: int) -> np.ndarray:
    """(R, N + 1) two-sided tail probability of every count at every threshold."""
    law = stats.binom(repetitions, thresholds()[:, None])
    every = np.arange(repetitions + 1)
    return 2.0 * np.minimum(law.cdf(every), law.sf(every - 1))


@cache
def _null(repetitions: int) -> np.ndarray:
    """Smallest tail probabilities of simulated uniform ranks."""
    rng = np.random.default_rng(0)
    return _smallest_tail(below(rng.integers(0, RANKS + 1, (SIMULATIONS, repetitions))), repetitions)
