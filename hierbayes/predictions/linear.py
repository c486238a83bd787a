r"""Draws of linear predictors.

    η = x'β + offset + Σ_f z_f'b_f,      v = Σ_f z_f'Σ_f z_f,

the first sum over the grouping factors whose levels are known or new, the second over those that are averaged over
the population: given everything else their part of η is N(0, v).
"""

from __future__ import annotations

import numpy as np

from hierbayes.design import Design, Factor
from hierbayes.from_bambi.new_rows import NewRows
from hierbayes.predictions.effects import Effects
from hierbayes.predictions.groups import AVERAGE, NEW, POPULATION


def linear_draws(
    effects: Effects, rows: NewRows, groups: dict[str, str], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Linear predictors, and the variance of what is averaged over.

    Parameters
    ----------
    effects : Effects
    rows : NewRows
    groups : dict of str to str
    rng : numpy.random.Generator
        For effects of new levels.

    Returns
    -------
    eta : (draws, rows) or (draws, rows, outcomes) array
    v : array of the same shape, or None
        None if nothing is averaged over.
    """
    design, several = effects.fit.design, bool(effects.outcomes)
    eta = np.einsum("np,dp...->dn...", rows.X, effects.fixef, optimize=True)
    if rows.offset is not None:
        eta += rows.offset[:, None] if several else rows.offset
    v: np.ndarray | None = None
    for factor in design.factors:
        wanted = groups[factor.name]
        if wanted == AVERAGE:
            continue
        Z = columns_of(design, rows, factor)
        if wanted == POPULATION:
            more = _variance(effects, factor, Z)
            v = more if v is None else v + more
            continue
        codes, b = _levels(effects, factor, rows, wanted, rng)
        for k in range(Z.shape[1]):
            eta += (Z[:, k, None] if several else Z[:, k]) * b[:, k, codes]
    return eta, v


def columns_of(design: Design, rows: NewRows, factor: Factor) -> np.ndarray:
    """(rows, q) columns of the random effects of a factor."""
    here = [Z for block, Z in zip(design.blocks, rows.Z, strict=True) if block.factor.name == factor.name]
    return np.concatenate(here, axis=1)


def split_levels(rows: NewRows, factor: str, wanted: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Which levels the rows have.

    Parameters
    ----------
    rows : NewRows
    factor : str
    wanted : {"known", "mixed", "new"}

    Returns
    -------
    codes : (rows,) int array
        Places in the known levels, followed by the new ones.
    known : int array
        The known levels that occur, increasing.
    new : int
        Number of new levels.
    """
    old = rows.codes[factor] if wanted != NEW else np.full(len(rows.codes[factor]), -1)
    known, of_known = np.unique(old[old >= 0], return_inverse=True)
    labels, of_new = np.unique(rows.labels[factor][old < 0].astype(str), return_inverse=True)
    codes = np.empty(len(old), dtype=np.int64)
    codes[old >= 0] = of_known
    codes[old < 0] = len(known) + of_new
    return codes, known, len(labels)


def _levels(
    effects: Effects, factor: Factor, rows: NewRows, wanted: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Level of each row, and effects (draws, q, levels[, outcomes]) of these levels."""
    codes, known, new = split_levels(rows, factor.name, wanted)
    b = [effects.of_levels(factor, known)] if len(known) else []
    if new:
        drawn = []
        for part in effects.fit.design.parts_of(factor):
            L = effects.root(part)
            z = rng.standard_normal((len(L), L.shape[1], new, *effects.outcomes))
            drawn.append(np.einsum("dij...,djl...->dil...", L, z))
        b.append(np.concatenate(drawn, axis=1))
    return codes, np.concatenate(b, axis=2)


def _variance(effects: Effects, factor: Factor, Z: np.ndarray) -> np.ndarray:
    """z'Σz of each draw and row."""
    total, at = 0.0, 0
    for part in effects.fit.design.parts_of(factor):
        L = effects.root(part)
        width = L.shape[1]
        half = np.einsum("ni,dij...->djn...", Z[:, at : at + width], L)
        total = total + (half**2).sum(axis=1)
        at += width
    return np.asarray(total)
