r"""Leave-one-out of rows and of groups, by importance sampling over θ alone.

The usual scores of a row are conditional on draws of the random effects, each of which depends on a few rows, so that
the posterior without a row is far from that with it and importance sampling breaks down. Here the random and the
fixed effects are integrated (`hierbayes.cross_validation.left_out`); θ, which is all that is left to weigh, depends
on every row a little:

    p(yᵢ | y₋ᵢ) = 1 / E[1 / p(yᵢ | y₋ᵢ, θ)],      p(y_j | y₋ⱼ) = 1 / E[1 / p(y_j | y₋ⱼ, θ)]

over the posterior of θ, smoothed (`hierbayes.cross_validation.psis`). What has weights with a Pareto k above 0.3, and
everything as long as that is cheap, is estimated again with draws that reach further
(`hierbayes.cross_validation.proposal`). The rows of a group that is left out are scored one by one with the weights
of the whole group: ``p(yᵢ | y₋ⱼ) = Σ w p(yᵢ | y₋ⱼ, θ)``, ``w ∝ 1/p(y_j | y₋ⱼ, θ)``.
(Bürkner, Gabry & Vehtari 2021, Computational Statistics 36, 1243; Merkle, Furr & Rabe-Hesketh 2019, Psychometrika
84, 802.)

Rows are worked on a chunk at a time, all draws together, so that memory does not grow with them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from scipy.special import ndtr

from hierbayes import names
from hierbayes.cross_validation.left_out import Predictive, Scores, log_groups, seconds_of_sets
from hierbayes.cross_validation.proposal import POINTS, Proposal, propose
from hierbayes.cross_validation.psis import Smoothed, good_k, smooth
from hierbayes.cross_validation.source import source
from hierbayes.design import Factor
from hierbayes.errors import HierbayesError, ParetoWarning
from hierbayes.estimates import Posterior, Sampled
from hierbayes.progress import bar
from hierbayes.threads import parts

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD

CHUNK, LARGE = 8_000_000, 24_000_000
"""Numbers worked on at a time; more with several grouping factors, where a chunk costs every draw an evaluation."""
KEEP = 20_000_000
"""Up to this many, importance weights stay with the result."""
STEPS = 20
"""Parts of what takes long, after each of which progress is shown."""
LOG_2PI = math.log(2.0 * math.pi)

AGAIN = 0.3
"""Pareto k above which the error of an estimate would be seen in the sum of all, and below which it would not."""
CHEAP = 40_000_000
"""Up to this many numbers, everything is estimated again."""

Target = Literal["row", "group", "conditional"]


def loo(fit: Posterior, conditional: bool = False, refine: bool = True) -> ELPD:
    """Leave out each row; arguments as of `hierbayes.Fit.loo`."""
    from hierbayes.cross_validation.elpd import ROW

    found = _gather(fit, _conditional_rows(fit) if conditional else _integrated_rows(fit), fit.design.n)
    if refine and not conditional and (more := _propose(fit, found.k)) is not None:
        predictive = Predictive(fit.marginal, more.thetas, _threads())
        for rows in _row_chunks(fit, len(more.thetas), _uncertain(found.k, fit.design.n)):
            _again(fit, found, rows, predictive.log_rows(rows, strict=False), more)
    if conditional:
        note = (
            "Each row is left out and predicted given draws of its random effects, which have seen it: importance "
            "sampling has to undo that. fit.loo() integrates them."
        )
    else:
        note = (
            "Each row is left out and predicted from all others, random and fixed effects integrated: a new row of a "
            "known group."
            if fit.design.factors
            else "Each row is left out and predicted from all others, fixed effects integrated."
        )
    coords = {names.ROW: np.arange(fit.design.n)}
    return result(fit, found, found.k, coords, "rows", target=ROW, conditional=conditional, note=note)


def logo(fit: Posterior, group: str | None = None, joint: bool = False, refine: bool = True) -> ELPD:
    """Leave out each level of a grouping factor; arguments as of `hierbayes.Fit.logo`."""
    factor = grouping_factor(fit, group)
    found, of_rows = _leave_groups(fit, factor, joint, refine)
    others = [other.name for other in fit.design.factors if other.name != factor.name]
    alone = f" The effects of {' and '.join(others)} are integrated over what the other rows say of them."
    how = "one score for its rows together" if joint else "a score for each of its rows"
    note = (
        f"Each level of {factor.name!r} is left out with all its rows and predicted from the others, random and "
        f"fixed effects integrated: a new group, {how}.{alone if others else ''}"
    )
    if not joint:
        note += " The standard error is that of the sums of its groups."
    return of_groups(fit, factor, found, None if joint else of_rows, note)


def of_groups(
    fit: Sampled, factor: Factor, found: Smoothed, of_rows: Smoothed | None, note: str, advice: str | None = None
) -> ELPD:
    """Scores of left-out levels, of each as a whole or, if they are there, of their rows one by one."""
    from hierbayes.cross_validation.elpd import GROUP

    coords = level_coords(factor) if of_rows is None else {names.ROW: np.arange(fit.design.n)}
    scored = result(
        fit,
        found if of_rows is None else of_rows,
        found.k,
        coords,
        f"levels of {factor.name!r}",
        stacklevel=6,
        target=GROUP,
        group=factor.name,
        joint=of_rows is None,
        part=None if of_rows is None else factor.codes,
        advice=advice,
        note=note,
    )
    if of_rows is not None:  # whose Pareto k it is
        (dim, levels), *_ = level_coords(factor).items()
        scored.pareto_k = scored.pareto_k.assign_coords({dim: (names.ROW, levels[factor.codes])})
    return scored


def level_coords(factor: Factor) -> dict[str, np.ndarray]:
    """Coordinates of the levels of a grouping factor."""
    return {names.levels_dim(factor.name): factor.levels.astype(str)}


def _leave_groups(fit: Posterior, factor: Factor, joint: bool, refine: bool) -> tuple[Smoothed, Smoothed]:
    """Importance sampling of groups: of their rows together and, unless these are all that is wanted, of each."""
    n, J, draws = fit.design.n, len(factor.levels), len(fit.thetas)
    sizes = np.bincount(factor.codes, minlength=J)
    weights = np.empty((J if J * draws <= KEEP else 0, draws))
    found = Smoothed(np.empty(J), np.empty(J), np.empty(J), weights if len(weights) else None)
    of_rows = Smoothed(np.empty(n), np.empty(n), np.empty(n), None)
    r_eff = relative_efficiency(fit)
    for levels, scores in _group_scores(fit, factor, fit.thetas, joint):
        some = smooth(scores.joint.T, r_eff, _threads(), weights=True)
        found.elpd[levels], found.lpd[levels], found.k[levels] = some.elpd, some.lpd, some.k
        assert some.log_weights is not None
        if len(weights):
            weights[levels] = some.log_weights
        if joint:
            continue
        log_p, own = scores.pointwise.T, np.repeat(np.arange(len(levels)), sizes[levels])
        of_rows.elpd[scores.rows] = log_sum(log_p + some.log_weights[own])
        of_rows.lpd[scores.rows] = log_sum(log_p) - math.log(draws)
    if refine and (more := _propose(fit, found.k)) is not None:
        for levels, scores in _group_scores(fit, factor, more.thetas, joint, _uncertain(found.k, n)):
            better, log_weights = _again(fit, found, levels, scores.joint.T, more)
            if joint:
                continue
            own = np.repeat(np.arange(len(levels)), sizes[levels])
            elpd = log_sum(scores.pointwise.T + log_weights[own])
            of_rows.elpd[scores.rows[better[own]]] = elpd[better[own]]
    of_rows.k[:] = found.k[factor.codes]
    return found, of_rows


def loo_pit(fit: Posterior, refine: bool = True) -> xr.DataArray:
    """Probability integral transforms of left-out rows; arguments as of `hierbayes.Fit.loo_pit`."""
    n = fit.design.n
    pit = np.empty(n)
    found = Smoothed(np.empty(n), np.empty(n), np.empty(n), None)
    r_eff, threads = relative_efficiency(fit), _threads()
    for rows, mean, sd in _integrated_means(fit):
        z, log_p = _standardised(fit, rows, mean, sd)
        some = smooth(log_p, r_eff, threads, weights=True)
        found.elpd[rows], found.k[rows] = some.elpd, some.k
        assert some.log_weights is not None
        pit[rows] = (np.exp(some.log_weights) * ndtr(z)).sum(axis=1)
    if refine and (more := _propose(fit, found.k)) is not None:
        predictive = Predictive(fit.marginal, more.thetas, threads)
        for rows in _row_chunks(fit, len(more.thetas), _uncertain(found.k, n)):
            z, log_p = _standardised(fit, rows, *predictive.predict(rows, strict=False))
            better, log_weights = _again(fit, found, rows, log_p, more)
            pit[rows[better]] = (np.exp(log_weights[better]) * ndtr(z[better])).sum(axis=1)
    warn_of_high_k(fit, found.k, "rows", "transforms", "fit.loo().pareto_k tells which", stacklevel=4)
    return xr.DataArray(pit, {names.ROW: np.arange(n)}, name=fit.design.response)


def _standardised(
    fit: Posterior, rows: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised responses and log densities, (rows, draws) each, of Normal distributions."""
    z = (fit.design.y[rows][:, None] - mean) / sd
    return z, -0.5 * (z * z + LOG_2PI) - np.log(sd)


def check_target(target: Target, group: str | None) -> None:
    """Refuse what `log_likelihood` does not know."""
    if target not in {"row", "group", "conditional"}:
        raise ValueError(f"target must be 'row', 'group' or 'conditional', not {target!r}")
    if group is not None and target != "group":
        raise ValueError("group= names the factor whose levels are left out; it goes with target='group'")


def group_densities(fit: Sampled, factor: Factor, values: np.ndarray) -> dict[str, xr.Dataset]:
    """Groups for ArviZ of (levels, draws) log densities of left-out levels, and how many rows they have."""
    coords = level_coords(factor)
    sizes = np.bincount(factor.codes, minlength=len(factor.levels))
    return {
        "observed_data": xr.Dataset({"rows": (list(coords), sizes)}, coords),
        "log_likelihood": xr.Dataset({fit.design.response: of_draws(fit, values, coords)}),
    }


def log_likelihood(fit: Posterior, target: Target = "row", group: str | None = None, seed: int = 0) -> xr.DataTree:
    """Draws of log densities for ArviZ; arguments as of `hierbayes.Fit.log_likelihood`."""
    check_target(target, group)
    response, n = fit.design.response, fit.design.n
    groups = {"posterior": fit.parameters, "sample_stats": fit.idata["sample_stats"].to_dataset()}
    if target == "group":
        factor = grouping_factor(fit, group)
        values = np.empty((len(factor.levels), len(fit.thetas)))
        for levels, scores in _group_scores(fit, factor, fit.thetas, joint=True):
            values[levels] = scores.joint.T
        return xr.DataTree.from_dict(groups | group_densities(fit, factor, values))
    coords = {names.ROW: np.arange(n)}
    values, replicated = np.empty((n, len(fit.thetas))), np.empty((n, len(fit.thetas)))
    rng = np.random.default_rng(seed)
    means = _conditional_means(fit) if target == "conditional" else _integrated_means(fit)
    for rows, mean, sd in means:
        values[rows] = _standardised(fit, rows, mean, sd)[1]
        replicated[rows] = mean + sd * rng.standard_normal(mean.shape)
    groups["observed_data"] = xr.Dataset({response: (list(coords), fit.design.y)}, coords)
    groups["log_likelihood"] = xr.Dataset({response: of_draws(fit, values, coords)})
    groups["posterior_predictive"] = xr.Dataset({response: of_draws(fit, replicated, coords)})
    return xr.DataTree.from_dict(groups)


def grouping_factor(fit: Sampled, group: str | None) -> Factor:
    """The factor of that name, or the only one.

    Raises
    ------
    HierbayesError
        If there is none, or several and no name.
    ValueError
        If there is none of that name.
    """
    factors = {factor.name: factor for factor in fit.design.factors}
    if not factors:
        raise HierbayesError("The model has no grouping factor whose levels could be left out; use fit.loo().")
    if group is None:
        if len(factors) > 1:
            raise HierbayesError(
                f"The model has several grouping factors; say whose levels to leave out, for instance "
                f"group={next(iter(factors))!r} (there are {', '.join(factors)})."
            )
        return next(iter(factors.values()))
    return fit.design.grouping_factor(group)


def relative_efficiency(fit: Sampled) -> float:
    """Effective over actual number of draws, on average over the parameters, as ArviZ takes it."""
    import arviz_stats  # noqa: F401  registers the accessor

    sizes = fit.posterior.sizes
    if sizes[names.CHAIN] == 1:
        return 1.0
    ess = fit.parameters.azstats.ess(method="mean")
    values = np.concatenate([ess[name].to_numpy().ravel() for name in ess.data_vars])
    return float(np.nanmean(values)) / (sizes[names.CHAIN] * sizes[names.DRAW])


def _threads() -> int:
    return os.cpu_count() or 1


def _predictive(fit: Posterior) -> Predictive:
    return Predictive(fit.marginal, fit.thetas, _threads())


def _row_chunks(fit: Posterior, draws: int, chosen: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Rows a chunk at a time, those of one level together."""
    design = fit.design
    order = np.argsort(design.factors[0].codes, kind="stable") if design.factors else np.arange(design.n)
    if chosen is not None:
        order = order[chosen[order]]
    size = (LARGE if len(design.factors) > 1 else CHUNK) // draws
    for part in parts(len(order), max(1, size)):
        yield order[part]


def _integrated_rows(fit: Posterior) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    predictive = _predictive(fit)
    for rows in _row_chunks(fit, len(fit.thetas)):
        yield rows, predictive.log_rows(rows)


def _integrated_means(fit: Posterior) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    predictive = _predictive(fit)
    for rows in _row_chunks(fit, len(fit.thetas)):
        yield rows, *predictive.predict(rows)


def _conditional_rows(fit: Posterior) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for rows, mean, sd in _conditional_means(fit):
        yield rows, _standardised(fit, rows, mean, sd)[1]


def _conditional_means(fit: Posterior) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mean and standard deviation of rows given draws of the fixed and the random effects."""
    design, posterior = fit.design, fit.posterior
    if design.residual is not None:
        raise HierbayesError(
            f"With residual={design.residual.text!r} rows are not independent given the random effects, so there is "
            "no conditional score of a single row; use fit.loo(), which takes the correlation into account."
        )
    if not fit.ranef_kept:
        raise HierbayesError(
            "Only summaries of the random effects were kept, and a conditional score needs their draws; fit with "
            "ranef='draws', or use fit.loo(), which needs none."
        )
    draws = len(fit.thetas)

    def flat(name: str) -> np.ndarray:
        values = posterior[name].to_numpy()
        return values.reshape(draws, -1)

    fixef = np.concatenate([np.empty((draws, 0)), *(flat(term.name) for term in design.terms)], axis=1)
    sigma = np.full(draws, design.sigma) if design.sigma is not None else flat(names.SIGMA)[:, 0]
    effects = []
    for block in design.blocks:
        J = len(block.factor.levels)
        each = [flat(names.effect(t.name, block.factor.name)).reshape(draws, -1, J) for t in block.terms]
        effects.append(np.concatenate(each, axis=1))
    for rows in _row_chunks(fit, len(fit.thetas)):
        mean = design.X[rows] @ fixef.T
        if design.offset is not None:
            mean += design.offset[rows, None]
        for block, values in zip(design.blocks, effects, strict=True):
            for k in range(block.Z.shape[1]):
                mean += block.Z[rows, k, None] * values[:, k, block.factor.codes[rows]].T
        root = np.ones(len(rows)) if design.weights is None else np.sqrt(design.weights[rows])
        yield rows, mean, sigma / root[:, None]


def _group_scores(
    fit: Posterior, factor: Factor, thetas: np.ndarray, joint: bool, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Scores]]:
    """Scores of levels, a chunk of levels at a time."""
    J = len(factor.levels)
    some = np.arange(J) if chosen is None else np.flatnonzero(chosen)
    if not len(some):
        return
    ends = np.cumsum(np.bincount(factor.codes, minlength=J)[some])
    chunk = (ends - 1) // max(1, CHUNK // len(thetas))
    title, threads = "", _threads()
    if len(fit.design.factors) > 1 or fit.design.residual is not None:
        seconds = seconds_of_sets(fit.marginal, thetas, len(some), threads)
        title = f"leaving out {len(some)} levels of {factor.name}, about {max(1.0, seconds):.0f} s"
        # so that progress can be seen
        chunk = STEPS * chunk + np.arange(len(some)) * STEPS // len(some)
    with bar(title, len(some), show=None if title else False) as advance:
        for which in np.unique(chunk):
            levels = some[chunk == which]
            yield levels, log_groups(fit.marginal, thetas, factor, levels, threads, pointwise=not joint)
            advance(len(levels))


def _propose(fit: Posterior, k: np.ndarray) -> Proposal | None:
    """Draws for a second look, if there is something to look at."""
    again = _uncertain(k, fit.design.n)
    return propose(fit, _threads()) if again.any() else None


def _uncertain(k: np.ndarray, rows: int) -> np.ndarray:
    """What is to be estimated again."""
    again: np.ndarray = (k > AGAIN) | (rows * 2**POINTS <= CHEAP)
    return again


def _again(
    fit: Posterior, found: Smoothed, items: np.ndarray, log_p: np.ndarray, more: Proposal
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate some items with other draws, and keep what is better.

    Parameters
    ----------
    fit : Posterior
    found : Smoothed
        Of all items; where an estimate is better its elpd and k are replaced, and its weights, which belong to the
        draws of the fit, become NaN.
    items : (items,) int array
    log_p : (items, points) array
        Log densities. An item with some that are not finite keeps its estimate, and zeros are written over them.
    more : Proposal

    Returns
    -------
    better : (items,) bool array
        Where k has become smaller, or is small.
    log_weights : (items, points) array
    """
    possible = np.isfinite(log_p).all(axis=1)
    log_p[~possible] = 0.0
    some = smooth(log_p - more.log_ratio, relative_efficiency(fit), _threads(), weights=True)
    assert some.log_weights is not None
    better = possible & (some.k < np.maximum(found.k[items], AGAIN))
    found.k[items[better]] = some.k[better]
    found.elpd[items[better]] = log_sum(log_p + some.log_weights)[better]
    if found.log_weights is not None:
        found.log_weights[items[better]] = np.nan  # they belong to the draws of the fit
    return better, some.log_weights


def _gather(fit: Posterior, chunks: Iterator[tuple[np.ndarray, np.ndarray]], n: int) -> Smoothed:
    """Importance sampling of all rows, a chunk at a time."""
    draws = len(fit.thetas)
    keep = n * draws <= KEEP
    elpd, lpd, k = np.empty(n), np.empty(n), np.empty(n)
    weights = np.empty((n if keep else 0, draws))
    r_eff = relative_efficiency(fit)
    for rows, log_p in chunks:
        found = smooth(log_p, r_eff, _threads(), weights=keep)
        elpd[rows], lpd[rows], k[rows] = found.elpd, found.lpd, found.k
        if keep:
            weights[rows] = found.log_weights
    return Smoothed(elpd, lpd, k, weights if keep else None)


def of_draws(fit: Sampled, values: np.ndarray, coords: dict[str, np.ndarray]) -> xr.DataArray:
    """(items, draws) as an array of chains, draws and items."""
    posterior = fit.posterior
    sample = {name: posterior[name].to_numpy() for name in (names.CHAIN, names.DRAW)}
    shape = [len(each) for each in sample.values()]
    return xr.DataArray(values.T.reshape(*shape, -1), sample | coords, [*sample, *coords])


def result(
    fit: Sampled,
    found: Smoothed,
    k: np.ndarray,
    coords: dict[str, np.ndarray],
    what: str,
    stacklevel: int = 5,
    **more: Any,
) -> ELPD:
    """Put together what ArviZ wants to see, and warn where it is not to be trusted."""
    from hierbayes.cross_validation.elpd import ELPD, standard_error

    draws, n = fit.n_draws, len(found.elpd)
    advice = more.pop("advice", None) or (
        "fit.loo() without conditional=True integrates the random effects"
        if more.get("conditional")
        else "fit.reloo() refits without exactly these"
    )
    high = warn_of_high_k(fit, k, what, "scores", advice, stacklevel=stacklevel)
    return ELPD(
        elpd=float(found.elpd.sum()),
        se=standard_error(found.elpd, more.get("part")),
        p=float((found.lpd - found.elpd).sum()),
        n_samples=draws,
        n_data_points=n,
        scale="log",
        warning=high,
        good_k=good_k(draws),
        elpd_i=xr.DataArray(found.elpd, coords, list(coords), name=fit.design.response),
        pareto_k=xr.DataArray(found.k, coords, list(coords), name="pareto_k"),
        log_weights=None if found.log_weights is None else of_draws(fit, found.log_weights, coords),  # type: ignore[arg-type]
        source=source(fit),
        **more,
    )


def warn_of_high_k(fit: Sampled, k: np.ndarray, what: str, made: str, advice: str, stacklevel: int) -> bool:
    """Warn where importance sampling is not to be trusted; whether it is not."""
    limit = good_k(fit.n_draws)
    high = k > limit
    if high.any():
        warnings.warn(
            f"{high.sum()} of {len(k)} {what} have a Pareto k above {limit:.2f} (the largest is {np.nanmax(k):.2f}), "
            f"so their {made} may be off; {advice}.",
            ParetoWarning,
            stacklevel=stacklevel,
        )
    return bool(high.any())


def log_sum(values: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials of each row."""
    most = values.max(axis=1, keepdims=True)
    summed: np.ndarray = np.log(np.exp(values - most).sum(axis=1)) + most[:, 0]
    return summed
