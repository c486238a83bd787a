"""From draws of θ to the whole posterior: fixed and random effects, exactly, from their conditionals.

Everything that was integrated out is Gaussian given θ, so one exact draw of it goes with each draw
of θ; nothing is approximated. Threads share the draws; the noise of each part has its own seed, so
that the answer does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.design import Design
from hierbayes.marginal import Conditionals, Marginal

KEEP = 20_000_000
"""Up to this many numbers, draws of the random effects are kept in memory; beyond it, summaries."""
CHUNK = 4_000_000
"""Numbers that one thread works on at a time."""
QUANTILES = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
STATISTICS = ("mean", "sd", *(f"q{100 * q:g}" for q in QUANTILES))

Keep = Literal["auto", "draws", "summary"]


def parameters(design: Design, theta: np.ndarray, given: Conditionals, kept: np.ndarray) -> xr.Dataset:
    """Fixed effects, standard deviations, correlations and σ under Bambi's names.

    Parameters
    ----------
    design : Design
    theta : (chains, draws, d) array
    given : Conditionals
        Of the same draws, flattened.
    kept : (p,) bool array
        Fixed effects that θ contains.

    Returns
    -------
    xarray.Dataset
    """
    chains, draws = theta.shape[:2]
    factor = design.factor.name
    variables: dict[str, tuple] = {}
    coords: dict[str, object] = {names.CHAIN: np.arange(chains), names.DRAW: np.arange(draws)}

    def add(name: str, values: np.ndarray, dim: str | None, levels: tuple[str, ...] | None) -> None:
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
    at = 0
    covariance = given.L @ given.L.transpose(0, 2, 1)
    for number, (block, where, free) in enumerate(
        zip(design.blocks, design.layout.slices, design.layout.correlated, strict=True)
    ):
        for term in block.terms:
            width = len(term.labels)
            add(
                names.sd(term.name, factor),
                theta[..., at : at + width],
                names.expr_dim(term.name),
                term.levels,
            )
            at += width
        if free:
            row, column = names.corr_dims(factor, number)
            coords[row] = coords[column] = block.labels
            corr = correlation(covariance[:, where, where])[1]
            size = corr.shape[-1]
            corr[:, np.arange(size), np.arange(size)] = 1.0
            variables[names.corr(factor, number)] = (
                (names.CHAIN, names.DRAW, row, column),
                corr.reshape(chains, draws, size, size),
            )
    variables[names.SIGMA] = ((names.CHAIN, names.DRAW), given.sigma.reshape(chains, draws))
    return xr.Dataset(variables, coords)


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
    m = marginal.moments
    total = len(given.sigma)
    if keep == "auto":
        keep = "draws" if total * m.q * m.J <= KEEP else "summary"
    if isinstance(keep, Path):
        return _stream(marginal, given, chains, seed, keep), "draws"
    if keep == "draws":
        z = np.empty((total, m.q, m.J))
        parts = _parts(total, max(1, CHUNK // (m.q * m.J)))

        def run(number: int, draws: slice) -> None:
            np.random.default_rng([seed, number]).standard_normal(out=z[draws])
            marginal.draw_effects(given, z[draws], slice(0, m.J), draws)

        _share(run, parts, threads)
        return _dataset(marginal.design, z.reshape(chains, -1, m.q, m.J), (names.CHAIN, names.DRAW)), "draws"

    summary = np.empty((len(STATISTICS), m.q, m.J))
    parts = _parts(m.J, max(1, CHUNK // (m.q * total)))

    def summarise(number: int, levels: slice) -> None:
        z = np.random.default_rng([seed, number]).standard_normal((total, m.q, levels.stop - levels.start))
        marginal.draw_effects(given, z, levels, slice(0, total))
        summary[0, :, levels] = z.mean(axis=0)
        summary[1, :, levels] = z.std(axis=0, ddof=1)
        z.sort(axis=0)
        for i, probability in enumerate(QUANTILES):
            position = probability * (total - 1)
            below = int(position)
            above = min(below + 1, total - 1)
            summary[2 + i, :, levels] = z[below] + (position - below) * (z[above] - z[below])

    _share(summarise, parts, threads)
    return _dataset(marginal.design, summary, (names.STATISTIC,)), "summary"


def _parts(total: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _share(work: Callable[[int, slice], None], parts: list[slice], threads: int) -> None:
    """Run ``work(number, part)`` for all parts on some threads; the first error is raised."""
    if len(parts) == 1 or threads == 1:
        for number, part in enumerate(parts):
            work(number, part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, number, part) for number, part in enumerate(parts)]:
            done.result()


def _dataset(design: Design, values: np.ndarray, leading: tuple[str, ...]) -> xr.Dataset:
    """Arrays (..., q, J) as one variable a term, with Bambi's names and dimensions."""
    factor = design.factor.name
    coords: dict[str, object] = {names.levels_dim(factor): design.factor.levels.astype(str)}
    if leading == (names.STATISTIC,):
        coords[names.STATISTIC] = list(STATISTICS)
    else:
        coords |= {name: np.arange(size) for name, size in zip(leading, values.shape, strict=False)}
    variables = {}
    at = 0
    for block in design.blocks:
        for term in block.terms:
            width = len(term.labels)
            part = values[..., at : at + width, :]
            at += width
            dims: tuple[str, ...] = (*leading, names.levels_dim(factor))
            if term.levels is None:
                part = part[..., 0, :]
            else:
                dims = (*leading, names.expr_dim(term.name), names.levels_dim(factor))
                coords[names.expr_dim(term.name)] = list(term.levels)
            variables[names.effect(term.name, factor)] = (dims, part)
    return xr.Dataset(variables, coords)


def _stream(marginal: Marginal, given: Conditionals, chains: int, seed: int, folder: Path) -> xr.Dataset:
    """Append draws to a zarr folder a few at a time and open it lazily."""
    m = marginal.moments
    per_chain = len(given.sigma) // chains
    step = max(1, CHUNK // (chains * m.q * m.J))
    for number, part in enumerate(_parts(per_chain, step)):
        z = np.random.default_rng([seed, number]).standard_normal((chains, part.stop - part.start, m.q, m.J))
        for chain in range(chains):
            draws = slice(chain * per_chain + part.start, chain * per_chain + part.stop)
            marginal.draw_effects(given, z[chain], slice(0, m.J), draws)
        piece = _dataset(marginal.design, z, (names.CHAIN, names.DRAW))
        piece = piece.assign_coords({names.DRAW: np.arange(part.start, part.stop)})
        if number == 0:
            piece.to_zarr(folder, mode="w-", consolidated=False)
        else:
            piece.to_zarr(folder, append_dim=names.DRAW, consolidated=False)
    return xr.open_zarr(folder, chunks=None, consolidated=False)
