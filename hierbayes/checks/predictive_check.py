r"""Whether responses that the posterior would give look like the response, group by group.

For some draws of the posterior a new response is simulated for every row, in the same levels (Gelman, Meng & Stern
1996, Statistica Sinica 6, 733), and for every level its mean, standard deviation, smallest and largest value are
compared with those observed. The figure is the share of the replicates below the observed value,

    PIT = P(T(y_rep) < T(y)) + ½ P(T(y_rep) = T(y)),

near 0 or 1 where the model cannot produce what was seen. The data were used for the fit too, so the shares lie
closer to ½ than uniform ones would: more than a few levels beyond 0.025 and 0.975 is evidence, none at all is not.

Rows x draws are never held: a few replicates at a time are made, compared and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import names
from hierbayes.cross_validation.family_loo import check_ordered
from hierbayes.design import Factor
from hierbayes.estimates import FamilyPosterior, Posterior
from hierbayes.inference.simulation import assemble, residuals
from hierbayes.linear_predictor import LinearPredictor
from hierbayes.recover import random_effects
from hierbayes.response_law import law_of
from hierbayes.specification import required

SIMULATED = 25_000_000
"""About as many numbers are simulated."""
CHUNK = 1_000_000
"""Numbers simulated at a time."""
FEWEST, MOST = 100, 1000
"""Draws that are used, however many rows there are."""
STATISTICS = ("mean", "sd", "min", "max")
ALL = "all rows"


def predictive_check(posterior: Posterior | FamilyPosterior, draws: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Compare each level with replicates of it.

    Parameters
    ----------
    posterior : Posterior or FamilyPosterior
    draws : int, optional
        Draws to simulate from; by default 1000, fewer of more than 25,000 rows.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row for each level of each grouping factor (or each series of correlated residuals, without random
        effects), and for all rows together, and each statistic: group, level, rows, statistic ("mean", "sd",
        "min", "max"), observed, replicated (mean over the replicates), replicated_sd, pit. A level of one row has
        a mean only.

    Raises
    ------
    ValueError
        If `draws` is not a positive whole number.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1)
    >>> table = predictive_check(fit)
    >>> table[table["level"] == "A"][["statistic", "rows", "observed"]]
      statistic  rows     observed
    0      mean     5  1505.000000
    1        sd     5    63.047601
    2       min     5  1440.000000
    3       max     5  1580.000000
    """
    if draws is not None and not (isinstance(draws, (int, np.integer)) and draws > 0):
        raise ValueError(f"draws must be a positive whole number, not {draws!r}")
    design = posterior.design
    wanted = int(np.clip(SIMULATED // design.n, FEWEST, MOST)) if draws is None else int(draws)
    everything = Factor(ALL, np.zeros(design.n, dtype=np.int64), np.array([ALL]))
    groups = [_Group(factor, design.y) for factor in (*design.groupings, everything)]
    for y in replicates(posterior, wanted, np.random.default_rng(seed)):
        for group in groups:
            group.compare(y)
    return pd.concat([group.table() for group in groups], ignore_index=True)


def replicates(posterior: Posterior | FamilyPosterior, wanted: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """New responses in the same levels, a few draws at a time.

    Parameters
    ----------
    posterior : Posterior or FamilyPosterior
    wanted : int
        About how many draws to use, evenly spread.
    rng : numpy.random.Generator

    Yields
    ------
    (draws, n) array

    Raises
    ------
    HierbayesError
        If the response has no order, or was not observed as it is drawn.
    """
    of_kind = _of_family if isinstance(posterior, FamilyPosterior) else _replicates
    return of_kind(posterior, wanted, rng)  # type: ignore[arg-type]


def _replicates(posterior: Posterior, wanted: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Responses (draws, n), a few draws at a time."""
    design, marginal = posterior.design, posterior.marginal
    sizes = posterior.posterior.sizes
    chains, total = sizes[names.CHAIN], sizes[names.DRAW]
    kept = posterior.ranef_kept
    places = np.linspace(0, total - 1, min(total, -(-wanted // chains))).round().astype(int)
    step = max(1, CHUNK // (chains * design.n))
    for start in range(0, len(places), step):
        here = places[start : start + step]
        flat = (np.arange(chains)[:, None] * total + here).ravel()
        thetas = posterior.thetas[flat]
        some = posterior.posterior.isel({names.DRAW: here})
        if kept:
            fixef = _stack([some[term.name] for term in design.terms], len(flat))
        else:  # given θ the effects have a known law, from which they are drawn again
            given = marginal.condition(thetas, rng)
            some = random_effects(marginal, given, chains, int(rng.integers(2**31)), 1, "draws")[0]
            fixef = given.fixef
        effects = [
            _stack([some[names.effect(t.name, f.name)] for p in design.parts_of(f) for t in p.block.terms], len(flat))
            .reshape(len(flat), -1, len(f.levels))
            for f in design.factors
        ]  # fmt: skip
        sigma, at = np.full(len(flat), design.sigma or 1.0), marginal.places
        if at.sigma is not None:
            sigma = thetas[:, at.sigma]
        rho = np.zeros(len(flat)) if at.rho is None else marginal.rho(thetas[:, at.rho])
        noise = rng.standard_normal((len(flat), design.n))
        yield assemble(design, fixef, effects, residuals(design, noise, sigma, rho))


def _of_family(posterior: FamilyPosterior, wanted: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Responses (draws, n) of a response that is not Gaussian, a few draws at a time."""
    check_ordered(posterior.design)
    predictor, law = LinearPredictor(posterior), law_of(required(posterior.specification))
    places = np.linspace(0, predictor.draws - 1, min(predictor.draws, wanted)).round().astype(int)
    step = max(1, CHUNK // posterior.design.n)
    for start in range(0, len(places), step):
        draws = places[start : start + step]
        seed = int(rng.integers(2**31))
        yield np.asarray(law.draw(predictor.eta(draws), predictor.auxiliary(draws), seed), dtype=float)


def _stack(variables: list[xr.DataArray], draws: int) -> np.ndarray:
    """(draws, …) array of several variables side by side."""
    return np.concatenate([np.zeros((draws, 0)), *(v.to_numpy().reshape(draws, -1) for v in variables)], axis=1)


class _Group:
    """Statistics of the levels of one factor: observed, and a running comparison with replicates."""

    def __init__(self, factor: Factor, y: np.ndarray) -> None:
        self.factor = factor
        self.order = np.argsort(factor.codes, kind="stable")
        self.rows = np.bincount(factor.codes, minlength=len(factor.levels))
        self.begins = np.r_[0, np.cumsum(self.rows)[:-1]]
        self.observed = self.of(y[None])[0]
        self.below, self.sum, self.squares = (np.zeros_like(self.observed) for _ in range(3))
        self.draws = 0

    def of(self, y: np.ndarray) -> np.ndarray:
        """(draws, statistics, levels)."""
        y = y[:, self.order]
        mean = np.add.reduceat(y, self.begins, axis=1) / self.rows
        squares = np.add.reduceat((y - np.repeat(mean, self.rows, axis=1)) ** 2, self.begins, axis=1)
        sd = np.sqrt(squares / np.maximum(self.rows - 1, 1))
        ends = np.minimum.reduceat(y, self.begins, axis=1), np.maximum.reduceat(y, self.begins, axis=1)
        return np.stack([mean, sd, *ends], axis=1)

    def compare(self, y: np.ndarray) -> None:
        found = self.of(y)
        away = found - self.observed
        self.below += (away < 0).sum(axis=0) + 0.5 * (away == 0).sum(axis=0)
        self.sum += away.sum(axis=0)
        self.squares += (away**2).sum(axis=0)
        self.draws += len(y)

    def table(self) -> pd.DataFrame:
        away = self.sum / self.draws
        spread = np.sqrt(np.maximum(self.squares / self.draws - away**2, 0.0))
        J, kinds = len(self.rows), len(STATISTICS)
        made = pd.DataFrame(
            {
                "group": self.factor.name,
                "level": np.repeat(self.factor.levels, kinds),
                "rows": np.repeat(self.rows, kinds),
                "statistic": np.tile(np.array(STATISTICS, dtype=object), J),
                "observed": self.observed.T.ravel(),
                "replicated": (self.observed + away).T.ravel(),
                "replicated_sd": spread.T.ravel(),
                "pit": (self.below / self.draws).T.ravel(),
            }
        )
        return made[(made["rows"] > 1) | (made["statistic"] == "mean")]
