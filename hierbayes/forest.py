"""The order in which several grouping factors are eliminated, and the plan of the elimination.

Factors nested in one another form a chain, eliminated level by level; all others form the core, a
dense matrix. Of all chains the one that leaves the smallest core is taken. `hierbayes.kernel_tree`
says what the plan means and runs it; here it is laid out, once per design, in integer arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from hierbayes.design import Factor


@dataclass(frozen=True)
class Cells:
    """Pairs of levels of two factors that occur together, sorted by row level, then by column level.

    Parameters
    ----------
    row, column : (cells,) int arrays
        Levels of the two factors.
    keys : (cells,) int array
        ``row * columns + column``.
    columns : int
        Levels of the second factor.
    """

    row: np.ndarray
    column: np.ndarray
    keys: np.ndarray
    columns: int

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray, columns: int) -> Cells:
        """Cells of the rows with codes a and b."""
        keys = np.unique(a * columns + b)
        return cls(keys // columns, keys % columns, keys, columns)

    @classmethod
    def diagonal(cls, levels: int) -> Cells:
        """Cells of a factor with itself."""
        own = np.arange(levels)
        return cls(own, own, own * (levels + 1), levels)

    def find(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cell of each pair of codes."""
        return np.searchsorted(self.keys, a * self.columns + b)


def nested(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether every level of a lies within one level of b.

    Examples
    --------
    >>> nested(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]))
    True
    >>> nested(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]))
    False
    """
    above = np.zeros(int(a.max()) + 1, dtype=np.int64)
    above[a] = b
    return bool(np.array_equal(above[a], b))


def longest_chain(factors: Sequence[Factor], widths: Sequence[int]) -> list[int]:
    """Positions of the factors of the best chain, leaves first.

    Parameters
    ----------
    factors : sequence of Factor
    widths : sequence of int
        Random effects per level of each factor.

    Returns
    -------
    list of int
    """
    sizes = [len(factor.levels) * width for factor, width in zip(factors, widths, strict=True)]
    order = sorted(range(len(factors)), key=lambda f: -len(factors[f].levels))
    best: dict[int, list[int]] = {}

    def total(chain: list[int]) -> int:
        return sum(sizes[f] for f in chain)

    # longest path: a chain that ends in f extends the best one that ends in a factor nested in f
    for place, f in enumerate(order):
        below = [g for g in order[:place] if nested(factors[g].codes, factors[f].codes)]
        chains = [best[g] for g in below] or [[]]
        best[f] = [*max(chains, key=total), f]
    return max(best.values(), key=total)


@dataclass(frozen=True)
class Forest:
    """Plan of the elimination of several grouping factors.

    Parameters
    ----------
    order : tuple of int
        Positions of the design's factors, chain first.
    tree : int array
        For `hierbayes.kernel_tree`.
    cells : dict of (int, int) to Cells
        For every pair of factors (in elimination order) whose cross-product is needed.
    blocks : dict of (int, int) to array
        Position in the data of the cross-product of each cell, (cells, rows, columns).
    xy : list of array
        Position in the data of the cross-product of each level with [X y], (levels, rows, m).
    corner : int
        Position of the cross-product of [X y] with itself.
    size : int
        Length of the data.
    core : int
        Columns of the dense core.
    rest : list of array
        For each factor but the leaves, in elimination order, the positions of its effects in the
        vector of all effects that are not leaves, (levels, effects).
    """

    order: tuple[int, ...]
    tree: np.ndarray
    cells: dict[tuple[int, int], Cells]
    blocks: dict[tuple[int, int], np.ndarray]
    xy: list[np.ndarray]
    corner: int
    size: int
    core: int
    rest: list[np.ndarray]

    @property
    def rest_size(self) -> int:
        """Number of effects that are not leaves."""
        return int(sum(part.size for part in self.rest))


def plan(factors: Sequence[Factor], widths: Sequence[int], offsets: Sequence[int], m: int) -> Forest:
    """Lay out the elimination.

    Parameters
    ----------
    factors : sequence of Factor
    widths, offsets : sequences of int
        Random effects per level of each factor, and its first row in Λ.
    m : int
        Columns of [X y].

    Returns
    -------
    Forest
    """
    chain = longest_chain(factors, widths)
    core = [f for f in range(len(factors)) if f not in chain]
    order = [*chain, *core]
    codes = [factors[f].codes for f in order]
    counts = [len(factors[f].levels) for f in order]
    width = np.array([widths[f] for f in order], dtype=np.int64)
    c, F = len(chain), len(order)

    cells = {
        (f, g): Cells.diagonal(counts[f]) if f == g else Cells.of(codes[f], codes[g], counts[g]) for f, g in _pairs(F)
    }
    # columns of the core, and behind them the levels of the chain above the leaves
    begins: dict[int, int] = {}
    at = 0
    for f in [*range(c, F), *range(1, c)]:
        begins[f] = at
        at += counts[f] * int(width[f])
    D = sum(counts[f] * int(width[f]) for f in range(c, F))

    fronts = [_Front(f, c, F, cells, counts, width, begins, m) for f in range(c)]
    position = 0
    for front in fronts:
        front.offset = position + np.concatenate([[0], np.cumsum(front.q * front.size)])[:-1]
        position += int((front.q * front.size).sum())
    blocks: dict[tuple[int, int], np.ndarray] = {}
    xy: list[np.ndarray] = []
    for front in fronts:
        own = np.arange(counts[front.f])
        blocks[front.f, front.f] = front.entries(own, np.zeros(len(own), dtype=np.int64), front.q)
        for g in range(front.f + 1, F):
            pairs = cells[front.f, g]
            blocks[front.f, g] = front.entries(pairs.row, front.column[g], int(width[g]))
        xy.append(front.entries(own, front.size - m, m))
    pair_rows = []
    for f, g in _pairs(F):
        if f < c:
            continue
        pairs = cells[f, g]
        each = int(width[f] * width[g])
        where = position + each * np.arange(len(pairs.keys))
        blocks[f, g] = where[:, None, None] + np.arange(each).reshape(1, width[f], width[g])
        position += each * len(pairs.keys)
        row, column = begins[f] + pairs.row * width[f], begins[g] + pairs.column * width[g]
        pair_rows.append(np.column_stack([row, column, np.full_like(row, f), np.full_like(row, g), where]))
    level_rows = []
    for f in range(c, F):
        each = int(width[f]) * m
        where = position + each * np.arange(counts[f])
        xy.append(where[:, None, None] + np.arange(each).reshape(1, width[f], m))
        position += each * counts[f]
        level_rows.append(
            np.column_stack([begins[f] + np.arange(counts[f]) * width[f], np.full(counts[f], f), where])
        )
    corner = position
    position += m * m

    above = [_above(codes[f], codes[f + 1], counts[f]) for f in range(c - 1)]
    nodes, ends, groups, starts, to = _nodes(fronts, above, counts, begins, width, D, m)
    rest_size = at
    shape = [c, D, m, corner, position, rest_size]
    first = [offsets[f] for f in order]
    parts = [
        shape, first, width, nodes.ravel(), ends, groups.ravel(), starts, to,
        *(np.concatenate(rows).ravel() if rows else [] for rows in (pair_rows, level_rows)),
    ]  # fmt: skip
    arrays = [np.asarray(part, dtype=np.int64) for part in parts]
    tree = np.concatenate([np.array([len(array) for array in arrays], dtype=np.int64), *arrays])
    rest = [begins[f] + np.arange(counts[f] * int(width[f])).reshape(counts[f], int(width[f])) for f in range(1, F)]
    return Forest(tuple(order), tree, cells, blocks, xy, corner, position, D, rest)


def _pairs(F: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(F), 2))


def _above(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Level of b in which each level of a lies."""
    found = np.zeros(count, dtype=np.int64)
    found[a] = b
    return found


class _Front:
    """Columns of the fronts of all levels of one factor f of the chain.

    A front has the level's own effects, those of its ancestors, those of the core levels in its rows
    in the order of the core, and [X y].
    """

    def __init__(
        self,
        f: int,
        c: int,
        F: int,
        cells: dict[tuple[int, int], Cells],
        counts: list[int],
        width: np.ndarray,
        begins: dict[int, int],
        m: int,
    ) -> None:
        self.f = f
        self.q = int(width[f])
        J = counts[f]
        self.ancestors = list(range(f + 1, c))
        ahead = self.q + int(sum(width[g] for g in self.ancestors))
        # core cells of all factors together, by level and then by column of the core
        parts = [cells[f, g] for g in range(c, F)]
        none = np.zeros(0, dtype=np.int64)
        level = np.concatenate([part.row for part in parts]) if parts else none
        start = (
            np.concatenate([begins[g] + part.column * width[g] for g, part in zip(range(c, F), parts, strict=True)])
            if parts
            else none
        )
        factor = (
            np.concatenate([np.full(len(part.row), g) for g, part in zip(range(c, F), parts, strict=True)])
            if parts
            else none
        )
        self.sort = np.lexsort((start, level))
        self.level, self.start, self.factor = level[self.sort], start[self.sort], factor[self.sort]
        wide = width[self.factor]
        total = np.bincount(self.level, wide, minlength=J).astype(np.int64)
        before = np.concatenate([[0], np.cumsum(wide)[:-1]]) if len(wide) else none
        opening = np.concatenate([[0], np.cumsum(total)[:-1]])
        self.place = ahead + before - opening[self.level]
        self.size = ahead + total + m
        self.cells = np.bincount(self.level, minlength=J)
        # where the cells of each pair of factors stand in their fronts
        unsorted = np.empty(len(level), dtype=np.int64)
        unsorted[self.sort] = self.place
        self.column: dict[int, np.ndarray] = {}
        at = self.q
        for g in self.ancestors:
            self.column[g] = np.full(len(cells[f, g].row), at, dtype=np.int64)
            at += int(width[g])
        at = 0
        for g, part in zip(range(c, F), parts, strict=True):
            self.column[g] = unsorted[at : at + len(part.row)]
            at += len(part.row)
        self.offset = none

    def entries(self, level: np.ndarray, column: np.ndarray, columns: int) -> np.ndarray:
        """Positions in the data of q x columns entries of the panels of some levels."""
        corner = self.offset[level] + column
        row = np.arange(self.q)[None, :, None] * self.size[level][:, None, None]
        return corner[:, None, None] + row + np.arange(columns)[None, None, :]


def _nodes(
    fronts: list[_Front],
    above: list[np.ndarray],
    counts: list[int],
    begins: dict[int, int],
    width: np.ndarray,
    D: int,
    m: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in the order of elimination, children before their parent, with their groups and maps."""
    c = len(fronts)
    # ancestors[f][d]: level of factor d above each level of factor f
    ancestors: list[dict[int, np.ndarray]] = []
    for f in range(c):
        levels = {f: np.arange(counts[f])}
        for d in range(f, c - 1):
            levels[d + 1] = above[d][levels[d]]
        ancestors.append(levels)
    last = max(counts) if counts else 0
    keys = [np.concatenate([ancestors[f].get(d, np.full(counts[f], last + f)) for f in range(c)]) for d in range(c)]
    depth = np.concatenate([np.full(counts[f], f) for f in range(c)])
    level = np.concatenate([np.arange(counts[f]) for f in range(c)])
    order = np.lexsort(keys)
    depth, level = depth[order], level[order]

    size, offset, position, n_groups = (np.empty(len(order), dtype=np.int64) for _ in range(4))
    for f, front in enumerate(fronts):
        mine = depth == f
        which = level[mine]
        size[mine], offset[mine] = front.size[which], front.offset[which]
        position[mine] = which if f == 0 else begins[f] + which * width[f]
        n_groups[mine] = len(front.ancestors) + front.cells[which]
    nodes = np.column_stack([depth, size, offset, position, np.zeros_like(size)])
    ends = np.concatenate([[0], np.cumsum(n_groups)])
    rest = size - width[depth]
    starts = np.concatenate([[0], np.cumsum(rest)])
    groups = np.empty((int(ends[-1]), 2), dtype=np.int64)
    to = np.empty(int(starts[-1]), dtype=np.int64)
    for f, front in enumerate(fronts):
        node = np.empty(counts[f], dtype=np.int64)
        node[level[depth == f]] = np.flatnonzero(depth == f)
        q = front.q
        at = starts[node]
        for k, g in enumerate(front.ancestors):
            groups[ends[node] + k] = np.column_stack([np.full(counts[f], g), begins[g] + ancestors[f][g] * width[g]])
        ahead = int(sum(width[g] for g in front.ancestors))
        for k in range(ahead):
            to[at + k] = k
        within = np.arange(len(front.level)) - np.concatenate([[0], np.cumsum(front.cells)[:-1]])[front.level]
        groups[ends[node[front.level]] + len(front.ancestors) + within] = np.column_stack([front.factor, front.start])
        if f + 1 < c:
            parent = fronts[f + 1]
            up = above[f]
            keys_up = parent.level * (D + 1) + parent.start
            found = np.searchsorted(keys_up, up[front.level] * (D + 1) + front.start)
            target = parent.place[found]
            xy = parent.size[up] - m
        else:
            target = front.start
            xy = np.full(counts[f], D)
        for k in range(int(width[front.factor].max()) if len(front.factor) else 0):
            has = width[front.factor] > k
            to[at[front.level[has]] + front.place[has] - q + k] = target[has] + k
        for a in range(m):
            to[at + rest[node] - m + a] = xy + a
    return nodes, ends, groups, starts, to
