"""From draws of θ to the whole posterior: fixed and random effects, exactly, from their conditionals.

Everything that was integrated out is Gaussian given θ, so one exact draw of it goes with each draw
of θ; nothing is approximated. Threads share the draws; the noise of each part has its own seed, so
that the answer does not depend on the number of threads.

With several grouping factors the effects of all levels but the leaves (the factor that is eliminated
first, with most levels) are drawn together with the fixed effects; given these, leaves are
independent and can be drawn a few at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.covariance import correlation, partials
from hierbayes.design import Design, Factor
from hierbayes.marginal import Conditionals, Marginal
from hierbayes.threads import parts, share

KEEP = 20_000_000
"""Up to this many numbers, draws of the random effects are kept in memory; beyond it, summaries."""
CHUNK = 4_000_000
"""Numbers that one thread works on at a time."""
QUANTILES = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
STATISTICS = ("mean", "sd", *(f"q{100 * q:g}" for q in QUANTILES))

Keep = Literal["auto", "draws", "summary"]


def parameters(marginal: Marginal, theta: np.ndarray, given: Conditionals) -> xr.Dataset:
    """Fixed effects, standard deviations, correlations, σ and ρ under Bambi's names.

    Parameters
    ----------
    marginal : Marginal
    theta : (chains, draws, d) array
    given : Conditionals
        Of the same draws, flattened.

    Returns
    -------
    xarray.Dataset
    """
    design = marginal.design
    chains, draws = theta.shape[:2]
    variables: dict[str, tuple] = {}
    coords: dict[str, object] = {names.CHAIN: np.arange(chains), names.DRAW: np.arange(draws)}

    def add(name: str, values: np.ndarray, dim: str | None = None, levels: tuple[str, ...] | None = None) -> None:
        dims: tuple[str, ...] = (names.CHAIN, names.DRAW)
        if dim is None or levels is None:
            values = values.reshape(chains, draws)
        else:
            values = values.reshape(chains, draws, -1)
            dims = (*dims, dim)
            coords[dim] = list(levels)
        variables[name] = (dims, values)

    at = 0
    for term in design.terms:
        width = len(term.labels)
        add(term.name, given.fixef[:, at : at + width], names.term_dim(term.name), term.levels)
        at += width
    covariance = given.L @ given.L.transpose(0, 2, 1)
    for part in design.parts:
        factor = part.factor.name
        at = part.where.start
        for term in part.block.terms:
            width = len(term.labels)
            add(names.sd(term.name, factor), theta[..., at : at + width], names.expr_dim(term.name), term.levels)
            at += width
        if part.free:
            row, column = names.corr_dims(factor, part.number)
            coords[row] = coords[column] = part.block.labels
            corr = correlation(covariance[:, part.where, part.where])[1]
            size = corr.shape[-1]
            corr[:, np.arange(size), np.arange(size)] = 1.0
            variables[names.corr(factor, part.number)] = (
                (names.CHAIN, names.DRAW, row, column),
                corr.reshape(chains, draws, size, size),
            )
    if design.sigma is None:
        add(names.SIGMA, given.sigma)
    if design.residual is not None:
        add(names.RHO, given.rho)
    return xr.Dataset(variables, coords)


def thetas(marginal: Marginal, posterior: xr.Dataset) -> np.ndarray:
    """θ of every draw, from the parameters under Bambi's names: the inverse of `parameters`.

    Parameters
    ----------
    marginal : Marginal
    posterior : xarray.Dataset
        With dims chain and draw; from any parametrisation.

    Returns
    -------
    (draws, dim) array
        Chains one after the other.
    """
    design, layout, places = marginal.design, marginal.moments.layout, marginal.places

    def flat(name: str) -> np.ndarray:
        values = posterior[name].to_numpy()
        return values.reshape(values.shape[0] * values.shape[1], -1)

    sds, corrs = [], []
    for part in design.parts:
        factor = part.factor.name
        sds += [flat(names.sd(term.name, factor)) for term in part.block.terms]
        if part.free:
            corrs.append((part.where, flat(names.corr(factor, part.number))))
    total = posterior.sizes[names.CHAIN] * posterior.sizes[names.DRAW]
    theta = np.empty((total, marginal.dim))
    theta[:, places.sds] = np.concatenate([np.empty((total, 0)), *sds], axis=1)
    full = np.tile(np.eye(layout.q), (total, 1, 1))
    for where, values in corrs:
        width = where.stop - where.start
        full[:, where, where] = values.reshape(total, width, width)
    if corrs:
        factors = np.linalg.cholesky(full)
        theta[:, places.partials] = [partials(factor, layout)[1] for factor in factors]
    if places.sigma is not None:
        theta[:, places.sigma] = flat(names.SIGMA)[:, 0]
    if places.rho is not None:
        theta[:, places.rho] = marginal.place(flat(names.RHO)[:, 0])
    if marginal.kept.any():
        fixef = np.concatenate([flat(term.name) for term in design.terms], axis=1)
        theta[:, places.kept :] = (fixef @ marginal.centering.T)[:, marginal.kept]
    return theta


def random_effects(
    marginal: Marginal, given: Conditionals, chains: int, seed: int, threads: int, keep: Keep | Path
) -> tuple[xr.Dataset, str]:
    """Draw every random effect of every level.

    Parameters
    ----------
    marginal : Marginal
    given : Conditionals
    chains : int
    seed : int
    threads : int
    keep : {"auto", "draws", "summary"} or Path
        Draws in memory, summaries over draws, or draws streamed to a zarr folder. ``"auto"`` keeps
        draws up to `KEEP` numbers.

    Returns
    -------
    dataset : xarray.Dataset
        Draws (dims chain, draw, levels) or summaries (dims statistic, levels).
    kind : {"draws", "summary"}
    """
    design = marginal.design
    total = len(given.sigma)
    if not design.factors:
        return xr.Dataset(), "draws"
    if keep == "auto":
        keep = "draws" if total * sum(_size(design, factor) for factor in design.factors) <= KEEP else "summary"
    if isinstance(keep, Path):
        return _stream(marginal, given, chains, seed, keep), "draws"
    if keep == "draws":
        made = [
            _dataset(design, factor, values.reshape(chains, -1, *values.shape[1:]), (names.CHAIN, names.DRAW))
            for factor, values in zip(design.factors, _draws(marginal, given, seed, threads), strict=True)
        ]
        return xr.merge(made), "draws"
    made = []
    for position, factor in enumerate(design.factors):
        if position == marginal.leaf:
            summary = _summarise_leaves(marginal, given, seed, threads)
        else:
            summary = _summary(marginal.rest_effects(given, position))
        made.append(_dataset(design, factor, summary, (names.STATISTIC,)))
    return xr.merge(made), "summary"


def _size(design: Design, factor: Factor) -> int:
    """Number of effects of a factor, all levels together."""
    where = design.effects_of(factor)
    return (where.stop - where.start) * len(factor.levels)


def _draws(marginal: Marginal, given: Conditionals, seed: int, threads: int) -> list[np.ndarray]:
    """Draws (draws, effects, levels) of the effects of each factor."""
    design, total = marginal.design, len(given.sigma)
    found = []
    for position, factor in enumerate(design.factors):
        if position != marginal.leaf:
            found.append(marginal.rest_effects(given, position))
            continue
        J = len(factor.levels)
        size = _size(design, factor)
        z = np.empty((total, size // J, J))

        def run(number: int, draws: slice, z: np.ndarray = z, J: int = J) -> None:
            np.random.default_rng([seed, number]).standard_normal(out=z[draws])
            marginal.draw_effects(given, z[draws], slice(0, J), draws)

        share(run, parts(total, max(1, CHUNK // size)), threads)
        found.append(z)
    return found


def _summarise_leaves(marginal: Marginal, given: Conditionals, seed: int, threads: int) -> np.ndarray:
    """Summaries (statistics, effects, levels) of the leaf factor, a few levels at a time."""
    factor, total = marginal.design.factors[marginal.leaf], len(given.sigma)
    J = len(factor.levels)
    q = _size(marginal.design, factor) // J
    summary = np.empty((len(STATISTICS), q, J))

    def run(number: int, levels: slice) -> None:
        z = np.random.default_rng([seed, number]).standard_normal((total, q, levels.stop - levels.start))
        marginal.draw_effects(given, z, levels, slice(0, total))
        summary[:, :, levels] = _summary(z)

    share(run, parts(J, max(1, CHUNK // (q * total))), threads)
    return summary


def _summary(z: np.ndarray) -> np.ndarray:
    """Statistics over the first axis, which is sorted in place."""
    total = len(z)
    summary = np.empty((len(STATISTICS), *z.shape[1:]))
    summary[0] = z.mean(axis=0)
    summary[1] = z.std(axis=0, ddof=1)
    z.sort(axis=0)
    for i, probability in enumerate(QUANTILES):
        position = probability * (total - 1)
        below = int(position)
        above = min(below + 1, total - 1)
        summary[2 + i] = z[below] + (position - below) * (z[above] - z[below])
    return summary


def _dataset(design: Design, factor: Factor, values: np.ndarray, leading: tuple[str, ...]) -> xr.Dataset:
    """Arrays (..., effects, levels) as one variable a term, with Bambi's names and dimensions."""
    coords: dict[str, object] = {names.levels_dim(factor.name): factor.levels.astype(str)}
    if leading == (names.STATISTIC,):
        coords[names.STATISTIC] = list(STATISTICS)
    else:
        coords |= {name: np.arange(size) for name, size in zip(leading, values.shape, strict=False)}
    variables = {}
    at = 0
    for part in design.parts_of(factor):
        for term in part.block.terms:
            width = len(term.labels)
            these = values[..., at : at + width, :]
            at += width
            dims: tuple[str, ...] = (*leading, names.levels_dim(factor.name))
            if term.levels is None:
                these = these[..., 0, :]
            else:
                dims = (*leading, names.expr_dim(term.name), names.levels_dim(factor.name))
                coords[names.expr_dim(term.name)] = list(term.levels)
            variables[names.effect(term.name, factor.name)] = (dims, these)
    return xr.Dataset(variables, coords)


def _stream(marginal: Marginal, given: Conditionals, chains: int, seed: int, folder: Path) -> xr.Dataset:
    """Append draws to a zarr folder a few at a time and open it lazily."""
    design = marginal.design
    leaf = design.factors[marginal.leaf]
    J = len(leaf.levels)
    q = _size(design, leaf) // J
    per_chain = len(given.sigma) // chains
    step = max(1, CHUNK // (chains * sum(_size(design, factor) for factor in design.factors)))
    for number, part in enumerate(parts(per_chain, step)):
        z = np.random.default_rng([seed, number]).standard_normal((chains, part.stop - part.start, q, J))
        for chain in range(chains):
            draws = slice(chain * per_chain + part.start, chain * per_chain + part.stop)
            marginal.draw_effects(given, z[chain], slice(0, J), draws)
        here = np.concatenate([np.arange(part.start, part.stop) + chain * per_chain for chain in range(chains)])
        some = given.only(here)
        pieces = []
        for position, factor in enumerate(design.factors):
            values = z
            if position != marginal.leaf:
                rest = marginal.rest_effects(some, position)
                values = rest.reshape(chains, -1, *rest.shape[1:])
            pieces.append(_dataset(design, factor, values, (names.CHAIN, names.DRAW)))
        piece = xr.merge(pieces).assign_coords({names.DRAW: np.arange(part.start, part.stop)})
        if number == 0:
            piece.to_zarr(folder, mode="w-", consolidated=False)
        else:
            piece.to_zarr(folder, append_dim=names.DRAW, consolidated=False)
    return xr.open_zarr(folder, chunks=None, consolidated=False)
