r"""Leave-one-out of rows and of groups for responses that are not Gaussian.

Draws of the random effects are there, so the usual scores come first: p(y_i | θ, b) of every draw, smoothed
(`hierbayes.cross_validation.psis`). Where Pareto k says that they are not to be trusted, and everywhere as long as
that is cheap, the effects of the level of the row are integrated (`hierbayes.cross_validation.group_integral`),

    p(y_i | y₋ᵢ) = 1 / E[1 / p(y_i | the others of its level, θ, b of the other factors)],

so that only θ and the other effects, which depend on the row much less, are weighed. Of several grouping factors the
one with the fewest rows a level is integrated, given the draws of the others; rows for which that is not enough are
tried with the next. Both estimate the same quantity, a new row of a known group; the smaller Pareto k is kept.

A group that is left out has the density p(y_j | θ, b of the other factors), by the same integral; its rows are scored
one by one with the weights of the whole group, as in `hierbayes.cross_validation.loo`. Effects of factors nested in
the one that is left out are new as well, and integrated within the integral, with nodes that are further apart
(`COARSE`): log densities of single draws are then right to about 1e-2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.cross_validation.group_integral import (
    Centre,
    Effects,
    Integrals,
    LogDensity,
    centre_at,
    integrate,
)
from hierbayes.cross_validation.loo import (
    KEEP,
    Target,
    check_target,
    group_densities,
    grouping_factor,
    log_sum,
    of_draws,
    of_groups,
    relative_efficiency,
    result,
    warn_of_high_k,
)
from hierbayes.cross_validation.psis import Smoothed, good_k, smooth
from hierbayes.design import Design, Factor
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FamilyPosterior
from hierbayes.linear_predictor import LinearPredictor
from hierbayes.progress import bar
from hierbayes.response_law import ResponseLaw, law_of
from hierbayes.specification import required
from hierbayes.threads import parts

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD

CHUNK = 200_000
"""Draws times rows that are worked on at a time."""
ROWS = 24_000_000
"""Draws times rows of which scores are held at a time."""
CHEAP = 6_000_000
"""Up to so many draws times rows times nodes, all rows are integrated."""
NODES = {1: 25, 2: 300}
"""About how many nodes so many effects take, more ten times as many."""
COARSE = 0.5
"""Distance of the nodes where effects are integrated within one another."""
FAR = 8.0
"""Standardised effects beyond are not worth starting from."""
ADVICE = "take more draws, or leave out whole groups with fit.logo()"


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a fit, and what their densities need.

    Parameters
    ----------
    fit : FamilyPosterior
    places : (n,) int array
        Which rows.
    """

    predictor: LinearPredictor
    places: np.ndarray

    @cached_property
    def law(self) -> ResponseLaw:
        """The distribution of their responses."""
        specification = required(self.predictor.fit.specification)
        if len(self.places) == self.predictor.design.n and (np.diff(self.places) == 1).all():
            return law_of(specification)
        return ResponseLaw(specification, np.asarray(specification.skeleton.response_term.data)[self.places])

    def chunks(self, factor: Factor | None = None) -> Iterator[slice]:
        """Some draws at a time, fewer if a factor has many effects."""
        width = 1 if factor is None else len(self.predictor.design.parts_of(factor)[0].block.labels)
        yield from parts(self.predictor.draws, max(1, CHUNK // (width * len(self.places))))

    def conditional(self, seed: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Log densities given all effects, (draws, rows), and responses drawn from them if there is a seed."""
        log_p = np.empty((self.predictor.draws, len(self.places)))
        drawn = None if seed is None else np.empty_like(log_p)
        for draws in self.chunks():
            eta, auxiliary = self.predictor.eta(draws, self.places), self.predictor.auxiliary(draws)
            log_p[draws] = self.law.log_density(eta, auxiliary)
            if drawn is not None:
                drawn[draws] = self.law.draw(eta, auxiliary, _own(seed, draws))
        return log_p, drawn

    def integrated(
        self, factor: Factor, rows: bool = True, seed: int | None = None
    ) -> tuple[Integrals, np.ndarray | None]:
        """Integrals over the effects of a factor, of whose levels all rows are here.

        With ``rows=True`` each row is left out of its level, given the effects of all other factors, and with a seed
        responses are drawn from that. With ``rows=False`` levels are left out as a whole, and the effects of factors
        nested in this one are integrated too.
        """
        below = () if rows else nested_in(self.predictor.design, factor)
        found, drawn = [], []
        for draws in self.chunks(factor):
            base = self.predictor.eta(draws, self.places, without=(factor.name, *(f.name for f in below)))
            rng = None if seed is None else np.random.default_rng([_own(seed, draws), 1])
            centre = self._centre(factor, draws) if below else None
            some = integrate(
                self._density(draws, below),
                base,
                self._effects(factor, draws),
                rows,
                rng,
                step=COARSE if below else None,
                centre=centre,
            )
            found.append(some)
            if some.sampled is not None:
                drawn.append(self.law.draw(base + some.sampled, self.predictor.auxiliary(draws), _own(seed, draws)))
        whole = Integrals(
            np.concatenate([some.level for some in found]),
            np.concatenate([some.row for some in found]) if rows else None,
            None,
        )
        return whole, np.concatenate(drawn) if drawn else None

    def alone(self, factor: Factor) -> np.ndarray:
        """Log densities (draws, rows) of each row as the only one of a new level of a factor."""
        new = (factor, *nested_in(self.predictor.design, factor))
        log_p = np.empty((self.predictor.draws, len(self.places)))
        for draws in self.chunks():
            effects = [self._effects(each, draws) for each in new]
            sd = np.sqrt(sum((each.columns**2).sum(axis=-1) for each in effects))
            seen = sum(self.predictor.random(each, draws, self.places) for each in new)
            start = np.divide(seen, sd, out=np.zeros_like(sd), where=sd > 0)
            base = self.predictor.eta(draws, self.places, without=tuple(each.name for each in new))
            one = Effects(sd[..., None], np.arange(len(self.places)), np.clip(start, -FAR, FAR)[..., None])
            log_p[draws] = integrate(self._density(draws), base, one, rows=False).level
        return log_p

    def _density(self, draws: slice, new: tuple[Factor, ...] = ()) -> LogDensity:
        """Log density of each row or, with new factors, of each level of the first, written to its first row."""
        auxiliary = self.predictor.auxiliary(draws)
        if not new:
            return lambda eta: self.law.log_density(eta, auxiliary)
        factor, *rest = new
        below, effects = self._density(draws, tuple(rest)), self._effects(factor, draws)
        centre = self._centre(factor, draws) if rest else None
        first = np.unique(effects.codes, return_index=True)[1]

        def density(eta: np.ndarray) -> np.ndarray:
            made = np.zeros_like(eta)
            made[:, first] = integrate(below, eta, effects, rows=False, step=COARSE, centre=centre).level
            return made

        return density

    def _effects(self, factor: Factor, draws: slice) -> Effects:
        """Standardised effects of a factor."""
        predictor, (own, codes) = self.predictor, np.unique(factor.codes[self.places], return_inverse=True)
        where = predictor.design.effects_of(factor)
        L = predictor.roots[draws][:, where, where]
        start = np.clip(_solved(L, predictor.effects[factor.name][draws][:, :, own]), -FAR, FAR)
        columns = np.einsum("nq,dqr->dnr", predictor.design.effect_columns(factor, self.places), L)
        return Effects(columns, codes, start.swapaxes(1, 2))

    def _centre(self, factor: Factor, draws: slice) -> Centre:
        """Where the effects of the levels are, without derivatives: by all their draws, and the Σ of each draw."""
        predictor, own = self.predictor, np.unique(factor.codes[self.places])
        where = predictor.design.effects_of(factor)
        effects, L = predictor.effects[factor.name][:, :, own], predictor.roots[draws][:, None, where, where]
        mean, away = effects.mean(axis=0), effects - effects.mean(axis=0)
        precision = np.linalg.inv(np.einsum("dqj,drj->jqr", away, away) / len(away))
        pulled = L.swapaxes(-1, -2) @ precision
        H = np.eye(L.shape[-1]) + pulled @ L
        return centre_at(np.linalg.solve(H, pulled @ mean.T[..., None])[..., 0], H)


@dataclass(frozen=True, eq=False)
class Scored:
    """Leave-one-out of every row.

    Parameters
    ----------
    smoothed : Smoothed
    integrated : (n,) array of str
        The factor whose effects were integrated, empty where none were.
    log_p, drawn : (n, draws) arrays or None
        Log predictive density of each draw, and a response drawn from it, where they were asked for.
    """

    smoothed: Smoothed
    integrated: np.ndarray
    log_p: np.ndarray | None = None
    drawn: np.ndarray | None = None


def nested_in(design: Design, factor: Factor) -> tuple[Factor, ...]:
    """Factors nested in one another and in a factor, the largest levels first."""
    chain = [factor]
    for other in sorted(design.factors, key=lambda f: len(f.levels)):
        pairs = len(np.unique([chain[-1].codes, other.codes], axis=1).T)
        if other.name != factor.name and pairs == len(other.levels) >= len(chain[-1].levels):
            chain.append(other)
    return tuple(chain[1:])


def _own(seed: int | None, draws: slice) -> int:
    """A seed for some draws."""
    return int(np.random.SeedSequence([seed or 0, draws.start]).generate_state(1)[0])


def _solved(L: np.ndarray, values: np.ndarray) -> np.ndarray:
    """L⁻¹ of values (draws, q, levels), L of each draw lower triangular; 0 where a diagonal element is."""
    v = np.zeros(values.shape)
    for k in range(values.shape[1]):
        rest = values[:, k] - np.einsum("dr,drj->dj", L[:, k, :k], v[:, :k])
        pivot = np.broadcast_to(L[:, k, k, None], rest.shape)
        np.divide(rest, pivot, out=v[:, k], where=pivot > 0)
    return v


def _whole_levels(factor: Factor, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """All rows of the levels of some rows, about `size` of them at a time and no level cut."""
    levels = np.unique(factor.codes[rows])
    members = np.flatnonzero(np.isin(factor.codes, levels))
    members = members[np.argsort(factor.codes[members], kind="stable")]
    ends = np.cumsum(np.bincount(factor.codes[members])[levels])
    cuts = ends[np.flatnonzero(np.diff((ends - 1) // max(1, size)))]
    yield from (np.sort(part) for part in np.split(members, cuts))


def _by_size(fit: FamilyPosterior) -> list[Factor]:
    """Grouping factors, the one with the fewest rows a level first."""
    return sorted(fit.design.factors, key=lambda factor: -len(factor.levels))


def score_rows(
    fit: FamilyPosterior, conditional: bool = False, seed: int | None = None, keep_draws: bool = False
) -> Scored:
    """Leave out every row.

    Parameters
    ----------
    fit : FamilyPosterior
    conditional : bool, default False
        Integrate nothing.
    seed : int, optional
        Draw responses from the predictive densities of each draw, too, and keep them.
    keep_draws : bool, default False
        Keep the log densities of all draws.

    Returns
    -------
    Scored
    """
    predictor, n = LinearPredictor(fit), fit.design.n
    D, r_eff = predictor.draws, relative_efficiency(fit)
    held = seed is not None or keep_draws
    weights = np.empty((n, D)) if held or n * D <= KEEP else None
    log_p, drawn = (np.empty((n, D)) if asked else None for asked in (keep_draws, seed is not None))
    found = Smoothed(np.empty(n), np.empty(n), np.empty(n), weights)
    integrated = np.zeros(n, dtype=object)
    integrated[:] = ""

    def put(rows: np.ndarray, which: np.ndarray, some: Smoothed, log: np.ndarray, new: np.ndarray | None) -> None:
        found.elpd[rows], found.k[rows] = some.elpd[which], some.k[which]
        for kept, values in ((found.log_weights, some.log_weights), (log_p, log), (drawn, new)):
            if kept is not None and values is not None:
                kept[rows] = values[which]

    for chunk in parts(n, max(1, ROWS // D)):
        rows = np.arange(n)[chunk]
        log, new = Rows(predictor, rows).conditional(seed)
        some = _smooth(log, r_eff)
        put(rows, np.arange(len(rows)), some, log.T, None if new is None else new.T)
        found.lpd[rows] = some.lpd
    if conditional or fit.design.outcomes is not None:
        return Scored(found, integrated.astype(str), log_p, drawn)
    limit = good_k(D)
    for number, factor in enumerate(_by_size(fit)):
        again = ~(found.k <= limit)
        where = fit.design.effects_of(factor)
        if number == 0 and n * D * NODES.get(where.stop - where.start, 3000) <= CHEAP:
            again[:] = True
        if not again.any():
            break
        subsets = list(_whole_levels(factor, np.flatnonzero(again), ROWS // D))
        with bar(f"integrating {factor.name}", len(subsets), None if len(subsets) > 1 else False) as advance:
            for rows in subsets:
                integrals, new = Rows(predictor, rows).integrated(factor, seed=seed)
                assert integrals.row is not None
                some = _smooth(integrals.row, r_eff)
                better = again[rows] & ((some.k < found.k[rows]) | ~(some.k > limit) | np.isnan(found.k[rows]))
                put(rows[better], better, some, integrals.row.T, None if new is None else new.T)
                integrated[rows[better]] = factor.name
                advance(1)
    return Scored(found, integrated.astype(str), log_p, drawn)


def _smooth(log_p: np.ndarray, r_eff: float) -> Smoothed:
    """Importance sampling of (draws, rows) log densities."""
    return smooth(log_p.T, r_eff, weights=True)


def loo(fit: FamilyPosterior, conditional: bool = False) -> ELPD:
    """Leave out each row; arguments as of `hierbayes.FamilyFit.loo`."""
    from hierbayes.cross_validation.elpd import ROW

    scored = score_rows(fit, conditional)
    coords = {names.ROW: np.arange(fit.design.n)}
    plain = conditional or not fit.design.factors or fit.design.outcomes is not None
    seen = "Each row is left out and predicted from all others, given draws of its random effects, which have seen it"
    note = seen
    if not plain:
        counts = [
            (name, int((scored.integrated == name).sum()))
            for name in dict.fromkeys(scored.integrated.tolist())
            if name
        ]
        others = " (given draws of the other factors' effects)" if len(fit.design.factors) > 1 else ""
        if [count for _, count in counts] == [fit.design.n]:
            level = f"its level of {counts[0][0]!r}"
            note = f"Each row is left out and predicted from all others, the effects of {level} integrated{others}"
        elif counts:
            how = [f"for {count} of {fit.design.n} rows those of {name!r} are integrated" for name, count in counts]
            note = f"{seen}, except that {' and '.join(how)}{others}"
        else:
            note = f"{seen}; for no row did they have to be integrated"
    elif fit.design.outcomes is not None:
        note += " (with several linear predictors they are not integrated)"
    return result(
        fit,
        scored.smoothed,
        scored.smoothed.k,
        coords,
        "rows",
        target=ROW,
        conditional=conditional,
        advice=None if conditional else ADVICE,
        integrated=None if plain else xr.DataArray(scored.integrated, coords, [names.ROW]),
        note=f"{note}.",
    )


def logo(fit: FamilyPosterior, group: str | None = None, joint: bool = False) -> ELPD:
    """Leave out each level of a grouping factor; arguments as of `hierbayes.FamilyFit.logo`."""
    if fit.design.outcomes is not None:
        raise HierbayesError(
            f"A model of family {fit.design.family.name!r} has several linear predictors, over which the effects of "
            "a group are not integrated; use fit.loo()."
        )
    factor = grouping_factor(fit, group)
    predictor, n, J = LinearPredictor(fit), fit.design.n, len(factor.levels)
    D, r_eff = predictor.draws, relative_efficiency(fit)
    weights = np.empty((J, D)) if J * D <= KEEP else None
    found = Smoothed(np.empty(J), np.empty(J), np.empty(J), weights)
    of_rows = Smoothed(np.empty(n), np.empty(n), np.empty(n), None)
    for rows in _whole_levels(factor, np.arange(n), ROWS // D):
        these = Rows(predictor, rows)
        levels, own = np.unique(factor.codes[rows], return_inverse=True)
        some = _smooth(these.integrated(factor, rows=False)[0].level, r_eff)
        found.elpd[levels], found.lpd[levels], found.k[levels] = some.elpd, some.lpd, some.k
        assert some.log_weights is not None
        if weights is not None:
            weights[levels] = some.log_weights
        if not joint:
            log_p = these.alone(factor).T
            of_rows.elpd[rows] = log_sum(log_p + some.log_weights[own])
            of_rows.lpd[rows] = log_sum(log_p) - math.log(D)
            of_rows.k[rows] = some.k[own]
    inner = [other.name for other in nested_in(fit.design, factor)]
    others = [other.name for other in fit.design.factors if other.name not in {factor.name, *inner}]
    new = f"random effects, and those of {' and '.join(inner)} in it," if inner else "random effects"
    how = "one score for its rows together" if joint else "a score for each of its rows"
    note = (
        f"Each level of {factor.name!r} is left out with all its rows and predicted from the others, its {new} "
        f"integrated: a new group, {how}."
        + (
            f" The effects of {' and '.join(others)} are draws that have seen the rows of the group."
            if others
            else ""
        )
        + ("" if joint else " The standard error is that of the sums of its groups.")
    )
    advice = "their rows also inform other effects" if others else "take more draws, or fit without exactly these"
    return of_groups(fit, factor, found, None if joint else of_rows, note, advice)


def loo_pit(fit: FamilyPosterior, seed: int = 0) -> xr.DataArray:
    """Probability integral transforms of left-out rows; arguments as of `hierbayes.FamilyFit.loo_pit`."""
    check_ordered(fit.design)
    scored = score_rows(fit, seed=seed)
    warn_of_high_k(fit, scored.smoothed.k, "rows", "transforms", "fit.loo().pareto_k tells which", stacklevel=4)
    return xr.DataArray(
        transforms(fit.design.y, scored, seed), {names.ROW: np.arange(fit.design.n)}, name=fit.design.response
    )


def transforms(y: np.ndarray, scored: Scored, seed: int) -> np.ndarray:
    """P(new < y) + U P(new = y) of every row, U uniform, new responses being weighed draws."""
    assert scored.drawn is not None
    assert scored.smoothed.log_weights is not None
    weights = np.exp(scored.smoothed.log_weights)
    below, same = (
        (weights * (scored.drawn < y[:, None])).sum(axis=1),
        (weights * (scored.drawn == y[:, None])).sum(axis=1),
    )
    made: np.ndarray = np.clip(below + np.random.default_rng([seed, 2]).random(len(y)) * same, 0.0, 1.0)
    return made


def check_ordered(design: Design) -> None:
    """Refuse responses that are not numbers in an order, observed as they are.

    Raises
    ------
    HierbayesError
    """
    family = design.family
    if family.name == "categorical" or design.y.ndim > 1:
        raise HierbayesError(
            f"A response of family {family.name!r} has no order, so there is no share of the draws below it; compare "
            "models with fit.loo()."
        )
    if family.response in {"censored", "truncated"}:
        raise HierbayesError(
            f"A {family.response} response was not observed as it is drawn, so that the two cannot be compared."
        )


def log_likelihood(
    fit: FamilyPosterior, target: Target = "conditional", group: str | None = None, seed: int = 0
) -> xr.DataTree:
    """Draws of log densities for ArviZ; arguments as of `hierbayes.FamilyFit.log_likelihood`."""
    check_target(target, group)
    response, n = fit.design.response, fit.design.n
    groups = {"posterior": fit.parameters, "sample_stats": fit.idata["sample_stats"].to_dataset()}
    if target == "group":
        factor = grouping_factor(fit, group)
        values = Rows(LinearPredictor(fit), np.arange(n)).integrated(factor, rows=False)[0].level.T
        return xr.DataTree.from_dict(groups | group_densities(fit, factor, values))
    coords = {names.ROW: np.arange(n)}
    ordered = fit.design.y.ndim == 1
    scored = score_rows(fit, target == "conditional", seed if ordered else None, keep_draws=True)
    assert scored.log_p is not None
    groups["log_likelihood"] = xr.Dataset({response: of_draws(fit, scored.log_p, coords)})
    if ordered and scored.drawn is not None:
        groups["observed_data"] = xr.Dataset({response: (list(coords), fit.design.y)}, coords)
        groups["posterior_predictive"] = xr.Dataset({response: of_draws(fit, scored.drawn, coords)})
    return xr.DataTree.from_dict(groups)
