r"""Leave-future-out: how well the rows of later times are predicted from those of earlier ones.

At a cut t the rows ``y≤t`` of all groups are known, and the rows F of the next M distinct times are predicted,

    p(y_F | y≤t) = ∫ p(y_F | y≤t, θ) p(θ | y≤t) dθ,      p(y_F | y≤t, θ) = p(y≤t, y_F | θ) / p(y≤t | θ),

random and fixed effects integrated, so that a group whose early rows are known is predicted from them and a group
that begins later is a new one. The integrand is a ratio of densities of fewer and fewer rows at the same θ
(`hierbayes.marginal.Marginal.without`); with correlated residuals the last known rows of a series tell of the next.
Rows are scored one by one, ``p(yᵢ | y≤t)``, or all rows of a cut together; with M = 1 the latter add up to the log
marginal likelihood of all rows less that of the rows known at the first cut.

The posterior at a cut is had without sampling it from draws θ_s of the posterior of other rows, by the weights
``p(y≤t | θ_s)/p(y_known | θ_s)``, Pareto-smoothed (Bürkner, Gabry & Vehtari 2020, Journal of Statistical Computation
and Simulation 90, 2499). θ has few entries, everything else being integrated, so that they reach far:

1. backwards from the fit, which knows all rows; as in `hierbayes.cross_validation.loo`, where Pareto k is above 0.3,
   and everywhere as long as that is cheap, with draws that reach further (`hierbayes.cross_validation.proposal`);
2. where k is too high, the posterior is sampled anew at the earliest such cut, and serves the later cuts as well:
   weights that narrow a posterior behave better than those that widen it. And so on until all k are low.

Known and future rows are told apart by their times alone: priors stay those of the fit, automatic ones included,
whose scales were taken from all rows.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hierbayes import names
from hierbayes.cross_validation.future import Future, cut, times
from hierbayes.cross_validation.left_out import Predictive
from hierbayes.cross_validation.loo import AGAIN, CHEAP, log_sum, relative_efficiency
from hierbayes.cross_validation.posterior_refits import cost, log_mean, refit_without
from hierbayes.cross_validation.proposal import POINTS, propose
from hierbayes.cross_validation.psis import good_k, smooth
from hierbayes.cross_validation.source import source
from hierbayes.design import Design
from hierbayes.errors import ParetoWarning
from hierbayes.estimates import Posterior
from hierbayes.progress import Advance, bar

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd_future import FutureELPD

logger = logging.getLogger("hierbayes")
FEW = 300_000
"""Up to this many evaluations of the likelihood, rows with correlated residuals are scored again."""


@dataclass(frozen=True)
class Known:
    """Draws of θ, and what they know.

    Parameters
    ----------
    thetas : (draws, dim) array
    log_weights : (draws,) array
        Log density of the posterior that they stand for over that which they were drawn from, up to a constant.
    seen : int
        Position of the last time whose rows that posterior has seen.
    r_eff : float
        Effective over actual number of draws.
    """

    thetas: np.ndarray
    log_weights: np.ndarray
    seen: int
    r_eff: float


@dataclass(frozen=True)
class Forecast:
    """What one cut scores.

    Parameters
    ----------
    elpd : (items,) array
        Log predictive density of each future row, or of all together.
    lpd : (items,) array
        The same with equal weights of the draws of the posterior.
    k : float
        Pareto shape of the weights; 0 where all are the same, infinite where some are not finite.
    """

    elpd: np.ndarray
    lpd: np.ndarray
    k: float


def lfo(
    fit: Posterior,
    time: str | ArrayLike | None = None,
    start: Any = None,
    horizon: int = 1,
    joint: bool = False,
    refit: bool = True,
    k_threshold: float | None = None,
    progress: bool | None = None,
) -> FutureELPD:
    """Leave out the future at every cut; arguments as of `hierbayes.Fit.lfo`."""
    limit = good_k(fit.n_draws) if k_threshold is None else k_threshold
    if not isinstance(limit, Real) or np.isnan(limit):
        raise ValueError(
            f"k_threshold must be a number such as 0.7, or -1 to refit at every cut, not {k_threshold!r}"
        )
    future = cut(times(fit, time), start, horizon)
    found = _forecasts(fit, future, fit, len(future.labels) - 1, future.cuts, joint, progress)
    lpd = np.concatenate([each.lpd for each in found.values()])
    refits = _refit(fit, future, found, float(limit), joint, progress) if refit else []
    _warn(found, good_k(fit.n_draws), refits if refit else None, k_threshold)
    return _result(fit, future, found, lpd, refits, joint)


def _forecasts(
    fit: Posterior,
    future: Future,
    posterior: Posterior,
    seen: int,
    cuts: np.ndarray,
    joint: bool,
    progress: bool | None = False,
) -> dict[int, Forecast]:
    """Score some cuts from the posterior of all rows up to a time."""
    draws = Known(posterior.thetas, np.zeros(len(posterior.thetas)), seen, relative_efficiency(posterior))
    found = _weighted(fit, future, draws, cuts, joint, progress)
    scores = sum(len(each.elpd) for each in found.values()) * 2**POINTS
    cheap = scores <= (CHEAP if joint or fit.design.residual is None else FEW)
    again = cuts if cheap else np.array([at for at in cuts if found[at].k > AGAIN], dtype=int)
    if len(again) and (more := propose(posterior, os.cpu_count() or 1)) is not None:
        wider = replace(draws, thetas=more.thetas, log_weights=more.log_ratio)
        for at, new in _weighted(fit, future, wider, again, joint, progress).items():
            if new.k < max(found[at].k, AGAIN):
                found[at] = replace(new, lpd=found[at].lpd)
    return found


def _weighted(
    fit: Posterior, future: Future, known: Known, cuts: np.ndarray, joint: bool, progress: bool | None = False
) -> dict[int, Forecast]:
    """Score some cuts with the same draws."""
    densities: dict[int, np.ndarray] = {}

    def density(position: int) -> np.ndarray:
        """Log density of all rows up to a time, at every draw."""
        if position not in densities:
            densities[position] = _predictive(fit, known.thetas, future.after(position)).log_density
        return densities[position]

    found = {}
    one_by_one = not joint and fit.design.residual is not None
    rows = sum(len(future.rows(at)) for at in cuts) if one_by_one else 0
    with bar(f"leave-future-out, {rows} future rows", rows, progress if one_by_one else False) as advance:
        for at in cuts:
            log_weights = known.log_weights + density(at) - density(known.seen)
            if joint:
                log_p = (density(at + future.horizon) - density(at))[None]
            else:
                log_p = _rows(fit, future, known.thetas, at, density(at), advance)
            found[int(at)] = _averaged(log_p, log_weights, known.r_eff)
    return found


def _predictive(fit: Posterior, thetas: np.ndarray, out: np.ndarray) -> Predictive:
    """What all rows but some say."""
    return Predictive(fit.marginal.without(out) if len(out) else fit.marginal, thetas, os.cpu_count() or 1)


def _rows(
    fit: Posterior, future: Future, thetas: np.ndarray, at: int, known: np.ndarray, advance: Advance
) -> np.ndarray:
    """Log density of each future row of a cut given all known ones, (rows, draws)."""
    rows, out = future.rows(at), future.after(at)
    if fit.design.residual is None:
        return _predictive(fit, thetas, out).log_new(fit.design.only(rows))
    log_p = np.empty((len(rows), len(thetas)))
    for to, row in zip(log_p, rows, strict=True):
        to[:] = _predictive(fit, thetas, np.setdiff1d(out, row)).log_density - known
        advance(1)
    return log_p


def _averaged(log_p: np.ndarray, log_weights: np.ndarray, r_eff: float) -> Forecast:
    """Averages of densities (items, draws) under smoothed weights."""
    lpd = log_mean(log_p.T)
    if not np.isfinite(log_weights).all() or not np.isfinite(log_p).all():
        return Forecast(lpd, lpd, np.inf)
    if np.ptp(log_weights) == 0.0:
        return Forecast(lpd, lpd, 0.0)
    smoothed = smooth(-log_weights[None], r_eff, weights=True)
    assert smoothed.log_weights is not None
    return Forecast(log_sum(log_p + smoothed.log_weights), lpd, float(smoothed.k[0]))


def _refit(
    fit: Posterior, future: Future, found: dict[int, Forecast], limit: float, joint: bool, progress: bool | None
) -> list[int]:
    """Sample the posterior anew at cuts, the earliest first, until no k is too high; the cuts."""

    def high() -> list[int]:
        return [at for at in found if at not in refits and not found[at].k <= limit]

    refits: list[int] = []
    left = high()
    expected = f"leave-future-out, at most {cost(fit, len(left))}"
    if left:
        logger.info(expected)
    with bar(expected, len(left), False if not left else progress) as advance:
        while left:
            at = left[0]
            again = refit_without(fit, future.after(at))
            scored = _forecasts(fit, future, again, at, np.array(left), joint)
            found |= {other: new for other, new in scored.items() if other == at or new.k < found[other].k}
            refits.append(at)
            before, left = len(left), high()
            advance(before - len(left))
    return refits


def _warn(found: dict[int, Forecast], limit: float, refits: list[int] | None, k_threshold: float | None) -> None:
    """Say where importance sampling is not to be trusted, and why it was left so; no list of refits without any."""
    high = [at for at, each in found.items() if not each.k <= limit]
    if not high:
        return
    if refits is None:
        why = "fit.lfo() with refit=True refits there"
    elif set(high) - set(refits):
        why = f"k_threshold={k_threshold:g} lets them pass; fit.lfo() without it refits there"
    else:
        why = "their densities are not finite, even after a refit there"
    warnings.warn(
        f"{len(high)} of {len(found)} cuts in time have a Pareto k above {limit:.2f} (the largest is "
        f"{np.nanmax([each.k for each in found.values()]):.2f}), so their scores may be off; {why}.",
        ParetoWarning,
        stacklevel=4,
    )


def _result(
    fit: Posterior,
    future: Future,
    found: dict[int, Forecast],
    lpd: np.ndarray,
    refits: list[int],
    joint: bool,
) -> FutureELPD:
    """Put together what ArviZ wants to see."""
    from hierbayes.cross_validation.elpd import standard_error
    from hierbayes.cross_validation.elpd_future import FutureELPD

    elpd = np.concatenate([each.elpd for each in found.values()])
    k = np.concatenate([np.full(len(each.elpd), each.k) for each in found.values()])
    limit = good_k(fit.n_draws)
    rows = np.concatenate([future.rows(at) for at in future.cuts])
    cuts = np.repeat(future.cuts, [1 if joint else len(future.rows(at)) for at in future.cuts])
    coords = {"cut": future.labels[future.cuts]}
    if not joint:
        of_row = {"cut": future.labels[cuts], "time": future.labels[future.codes[rows]]}
        coords = {names.ROW: rows} | {name: (names.ROW, values) for name, values in of_row.items()}
    dims = ["cut"] if joint else [names.ROW]
    part = None if joint else _parts(fit.design, rows, cuts)
    limits = f"from {future.labels[future.cuts[0]]} to {future.labels[future.cuts[-1]]}"
    ahead = "next time" if future.horizon == 1 else f"next {future.horizon} times"
    return FutureELPD(
        elpd=float(elpd.sum()),
        se=standard_error(elpd, part),
        p=float((lpd - elpd).sum()),
        n_samples=fit.n_draws,
        n_data_points=len(elpd),
        scale="log",
        warning=bool((~(k <= limit)).any()),
        good_k=limit,
        elpd_i=xr.DataArray(elpd, coords, dims, name=fit.design.response),
        pareto_k=xr.DataArray(k, coords, dims, name="pareto_k"),
        p_lfo_i=xr.DataArray(lpd - elpd, coords, dims, name="p_lfo_i"),
        forecast_horizon=future.horizon,
        min_observations=int((future.codes <= future.cuts[0]).sum()),
        refits=future.labels[refits],
        n_refits=len(refits),
        cuts=future.labels[future.cuts],
        joint=joint,
        times=np.maximum(future.codes - future.cuts[0], 0),
        part=part,
        source=source(fit),
        note=(
            f"At each cut {limits} the rows of the {ahead} are predicted from all rows up to the cut, "
            + ("all together" if joint else "one by one")
            + ", random and fixed effects integrated: future rows."
        ),
    )


def _parts(design: Design, rows: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Which scores go up and down together: those of a group or those of a cut, whichever are more."""
    ways = [cuts, *(factor.codes[rows] for factor in design.groupings if len(factor.levels) < design.n)]
    coded = [np.unique(way, return_inverse=True)[1].ravel() for way in ways]
    fewest = min(coded[1:], key=np.max, default=coded[0])
    return max(coded[0], fewest, key=np.max)
