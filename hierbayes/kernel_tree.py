r"""Elimination of the random effects of several grouping factors, by a blocked sparse Cholesky factor.

All effects and the columns [X y] make one symmetric system, in the coordinates of
`hierbayes.moments`, with Λ the block-diagonal relative factor::

    Ŵ = | I + ΛᵀZᵀZΛ   ΛᵀZᵀ[X y] |        log|V₀| = log|I + ΛᵀZᵀZΛ|
        | [X y]ᵀZΛ     [X y]ᵀ[X y] |       K = its Schur complement on [X y]

`hierbayes.forest` orders the factors: a *chain*, each factor nested in the next, whose levels
are the nodes of a forest and are eliminated one by one from the leaves up; and the *core*, all
other factors, whose levels are the columns of one dense matrix. A node couples with itself, its
ancestors, the core columns that occur in its rows, and [X y]: that is its *front*. Eliminating it
updates the front of its parent, and a root updates the core (the multifrontal method: Duff & Reid
1983, ACM Transactions on Mathematical Software 9, 302; for mixed models Bates et al. 2015, Journal
of Statistical Software 67, section 5). Crossed factors leave a core of the smaller factors, nested
ones none at all.

The gradient needs the adjoint of Ŵ on the pattern of Ŵ only, and that follows from the core down to
the leaves. If a front is split into its own columns a and the rest b, with ``H = Ŵ_aa⁻¹ Ŵ_ab``, and
the adjoint of the rest is ``T``,

    Ŵ̄_ab = -H T,      Ŵ̄_aa = l̄ Ŵ_aa⁻¹ + H T Hᵀ

starting from ``K̄`` on [X y] (with K̄ = 0, l̄ = 1 this is the selected inverse of Takahashi et al.).
Then ``Λ̄ = 2 Σ A Λ Ŵ̄`` block by block.

Cost of an evaluation: the cells of the data once, and D³ for a core of D columns.

`tree` is one vector of integers, see `unpack`; `data` is one vector of cross-products: the panel
(own columns x front) of every node, the blocks of the core, [X y]ᵀ[X y].
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hierbayes.kernel_dense import inverse

PARTS = 10
"""Arrays in the vector `tree`; it begins with their lengths."""


@njit(cache=True, nogil=True, error_model="numpy")
def unpack(tree: np.ndarray) -> tuple:
    """Views of the arrays in `tree`.

    Returns
    -------
    shape : (6,) int array
        Length of the chain, columns D of the core, columns m of [X y], position of [X y]ᵀ[X y] in the
        data, length of the data, effects outside the leaves.
    first, width : (factors,) int arrays
        Rows of Λ that belong to a factor, chain first.
    nodes : (N, 5) int array
        In the order of elimination: depth in the chain, size of the front, position of the panel in
        the data, position of the own effects (among the leaves for depth 0, among `rest` otherwise),
        unused.
    ends : (N + 1,) int array
        Where the groups of each node begin.
    groups : (groups, 2) int array
        Columns of the front after the node's own, before [X y]: their factor, their position in `rest`.
    starts : (N + 1,) int array
        Where the map of each node begins.
    to : int array
        Column of the parent's front for every column after the node's own.
    pairs : (pairs, 5) int array
        Blocks of the core, upper triangle: row, column, their factors, position in the data.
    levels : (core levels, 3) int array
        Column, factor, position of the cross-product with [X y] in the data.
    """
    lengths = tree[:PARTS]
    at = PARTS
    shape = tree[at : at + lengths[0]]
    at += lengths[0]
    first = tree[at : at + lengths[1]]
    at += lengths[1]
    width = tree[at : at + lengths[2]]
    at += lengths[2]
    nodes = tree[at : at + lengths[3]].reshape((lengths[3] // 5, 5))
    at += lengths[3]
    ends = tree[at : at + lengths[4]]
    at += lengths[4]
    groups = tree[at : at + lengths[5]].reshape((lengths[5] // 2, 2))
    at += lengths[5]
    starts = tree[at : at + lengths[6]]
    at += lengths[6]
    to = tree[at : at + lengths[7]]
    at += lengths[7]
    pairs = tree[at : at + lengths[8]].reshape((lengths[8] // 5, 5))
    at += lengths[8]
    levels = tree[at : at + lengths[9]].reshape((lengths[9] // 3, 3))
    return shape, first, width, nodes, ends, groups, starts, to, pairs, levels


@njit(cache=True, nogil=True, error_model="numpy")
def _transform(
    raw: np.ndarray, L: np.ndarray, row: int, rows: int, column: int, columns: int, out: np.ndarray
) -> None:
    """Write Λ_rowᵀ raw Λ_column to `out`, for the diagonal blocks of Λ that begin at `row` and `column`."""
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for a in range(rows):
                half = 0.0
                for b in range(columns):
                    half += raw[a, b] * L[column + b, column + j]
                total += L[row + a, row + i] * half
            out[i, j] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _widest(nodes: np.ndarray) -> int:
    """Largest front of a node that has children."""
    widest = 0
    for i in range(len(nodes)):
        if nodes[i, 0] > 0:
            widest = max(widest, nodes[i, 1])
    return widest


@njit(cache=True, nogil=True, error_model="numpy")
def _core(data: np.ndarray, tree: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Front of the core before anything is eliminated, upper triangle."""
    shape, first, width, _, _, _, _, _, pairs, levels = unpack(tree)
    D, m, last = shape[1], shape[2], shape[3]
    front = np.zeros((D + m, D + m))
    for i in range(D):
        front[i, i] = 1.0
    block = np.empty((width.max(), max(width.max(), m)))
    for k in range(len(pairs)):
        row, column, f, g, at = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 3], pairs[k, 4]
        wf, wg = width[f], width[g]
        raw = data[at : at + wf * wg].reshape((wf, wg))
        _transform(raw, L, first[f], wf, first[g], wg, block)
        for i in range(wf):
            for j in range(wg):
                if column + j >= row + i:
                    front[row + i, column + j] += block[i, j]
    for k in range(len(levels)):
        column, f, at = levels[k, 0], levels[k, 1], levels[k, 2]
        wf = width[f]
        for i in range(wf):
            for a in range(m):
                for h in range(wf):
                    front[column + i, D + a] += L[first[f] + h, first[f] + i] * data[at + h * m + a]
    for a in range(m):
        for b in range(a, m):
            front[D + a, D + b] = data[last + a * m + b]
    return front


@njit(cache=True, nogil=True, error_model="numpy")
def factorise(
    data: np.ndarray, tree: np.ndarray, L: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Eliminate all random effects.

    Parameters
    ----------
    data : array
    tree : int array
    L : (q, q) array
        Λ, block diagonal.

    Returns
    -------
    panels : array
        Rows of the Cholesky factor that belong to the nodes, laid out as the panels of `data`.
    core : (D, D) array
        Lower Cholesky factor of the core, stored by columns.
    white : (D, m) array
        core⁻¹ times the [X y] columns of the core.
    K : (m, m) array
    logdet : float
        log|V₀|; NaN where the factorisation broke down.
    """
    shape, first, width, nodes, ends, groups, starts, to, _, _ = unpack(tree)
    chain, D, m = shape[0], shape[1], shape[2]
    front = _core(data, tree, L)
    widest = _widest(nodes)
    waiting = np.zeros((chain, widest, widest))
    panels = np.empty(shape[4])
    block = np.empty((width.max(), max(width.max(), m)))
    logdet = 0.0
    for node in range(len(nodes)):
        depth, size, at = nodes[node, 0], nodes[node, 1], nodes[node, 2]
        q, own = width[depth], first[depth]
        rest = size - q
        raw = data[at : at + q * size].reshape((q, size))
        P = panels[at : at + q * size].reshape((q, size))
        _transform(raw[:, :q], L, own, q, own, q, block)
        for i in range(q):
            for j in range(q):
                P[i, j] = block[i, j]
            P[i, i] += 1.0
        column = q
        for k in range(ends[node], ends[node + 1]):
            g = groups[k, 0]
            w = width[g]
            if q == 1 and w == 1:
                P[0, column] = L[own, own] * raw[0, column] * L[first[g], first[g]]
            else:
                _transform(raw[:, column : column + w], L, own, q, first[g], w, block)
                for i in range(q):
                    for j in range(w):
                        P[i, column + j] = block[i, j]
            column += w
        for i in range(q):
            for a in range(column, size):
                P[i, a] = 0.0
                for h in range(q):
                    P[i, a] += L[own + h, own + i] * raw[h, a]
        if depth > 0:
            for i in range(q):
                for b in range(i, size):
                    P[i, b] += waiting[depth, i, b]
        for i in range(q):
            for k in range(i):
                factor = P[k, i]
                for b in range(i, size):
                    P[i, b] -= factor * P[k, b]
            pivot = P[i, i]
            logdet += math.log(pivot)
            scale = 1.0 / math.sqrt(pivot)
            for b in range(i, size):
                P[i, b] *= scale
        target = waiting[depth + 1] if depth + 1 < chain else front
        for a in range(rest):
            row = to[starts[node] + a]
            for i in range(q):
                factor = P[i, q + a]
                for b in range(a, rest):
                    target[row, to[starts[node] + b]] -= factor * P[i, q + b]
        if depth > 0:
            for a in range(rest):
                row = to[starts[node] + a]
                for b in range(a, rest):
                    target[row, to[starts[node] + b]] += waiting[depth, q + a, q + b]
            for a in range(size):
                for b in range(size):
                    waiting[depth, a, b] = 0.0
    core = np.zeros((0, 0)).T
    white = np.empty((D, m))
    if D > 0:
        total = logdet
        for i in range(D):
            total += front[i, i]
        if not math.isfinite(total):
            return panels, np.zeros((D, D)).T, white, np.zeros((m, m)), math.nan
        # upper triangle by rows is lower triangle by columns
        try:
            core = np.linalg.cholesky(front[:D, :D].T)
        except Exception:  # rounding has left it indefinite
            return panels, np.zeros((D, D)).T, white, np.zeros((m, m)), math.nan
        for i in range(D):
            for a in range(m):
                white[i, a] = front[i, D + a]
        for k in range(D):
            logdet += 2.0 * math.log(core[k, k])
            for a in range(m):
                white[k, a] /= core[k, k]
            for i in range(k + 1, D):
                factor = core[i, k]
                for a in range(m):
                    white[i, a] -= factor * white[k, a]
    K = np.empty((m, m))
    for a in range(m):
        for b in range(a, m):
            K[a, b] = front[D + a, D + b]
            for i in range(D):
                K[a, b] -= white[i, a] * white[i, b]
            K[b, a] = K[a, b]
    return panels, core, white, K, logdet


@njit(cache=True, nogil=True, error_model="numpy")
def _core_adjoint(core: np.ndarray, white: np.ndarray, K_bar: np.ndarray, logdet_bar: float) -> np.ndarray:
    """Adjoint of the front of the core, symmetric."""
    D, m = white.shape
    bar = np.empty((D + m, D + m))
    for a in range(m):
        for b in range(m):
            bar[D + a, D + b] = K_bar[a, b]
    if D == 0:
        return bar
    inverse(core, bar)
    H = np.empty((D, m))
    for i in range(D):
        for a in range(m):
            H[i, a] = white[i, a]
    for back in range(D):
        k = D - 1 - back
        for i in range(k + 1, D):
            factor = core[i, k]
            for a in range(m):
                H[k, a] -= factor * H[i, a]
        for a in range(m):
            H[k, a] /= core[k, k]
    HK = np.dot(H, K_bar)
    for i in range(D):
        for a in range(m):
            bar[i, D + a] = -HK[i, a]
            bar[D + a, i] = -HK[i, a]
        for j in range(D):
            bar[i, j] *= logdet_bar
        for a in range(m):
            factor = HK[i, a]
            for j in range(D):
                bar[i, j] += factor * H[j, a]
    return bar


@njit(cache=True, nogil=True, error_model="numpy")
def _pull(
    raw: np.ndarray,
    bar: np.ndarray,
    L: np.ndarray,
    row: int,
    rows: int,
    column: int,
    columns: int,
    times: float,
    L_bar: np.ndarray,
    raw_bar: np.ndarray,
) -> None:
    """Adjoints of Λ_row, Λ_column and of the data from that of one block ``Λ_rowᵀ raw Λ_column``.

    `times` is 2 for a block that stands for itself and its transpose, 1 for a diagonal one. Nothing is
    written to an empty `raw_bar`.
    """
    for i in range(rows):
        for j in range(columns):
            value = times * bar[i, j]
            for a in range(rows):
                for b in range(columns):
                    L_bar[row + a, row + i] += raw[a, b] * L[column + b, column + j] * value
                    L_bar[column + b, column + j] += raw[a, b] * L[row + a, row + i] * value
                    if raw_bar.size:
                        raw_bar[a, b] += L[row + a, row + i] * value * L[column + b, column + j]


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_xy(
    raw: np.ndarray,
    bar: np.ndarray,
    L: np.ndarray,
    row: int,
    L_bar: np.ndarray,
    raw_bar: np.ndarray,
) -> None:
    """Adjoints of Λ_row and of the data from that of ``Λ_rowᵀ raw``, a block of [X y] columns."""
    rows, m = raw.shape
    for i in range(rows):
        for c in range(m):
            value = 2.0 * bar[i, c]
            for a in range(rows):
                L_bar[row + a, row + i] += raw[a, c] * value
                if raw_bar.size:
                    raw_bar[a, c] += L[row + a, row + i] * value


@njit(cache=True, nogil=True, error_model="numpy")
def adjoint(
    data: np.ndarray,
    tree: np.ndarray,
    L: np.ndarray,
    panels: np.ndarray,
    core: np.ndarray,
    white: np.ndarray,
    K_bar: np.ndarray,
    logdet_bar: float,
    data_bar: np.ndarray,
) -> np.ndarray:
    """Gradient with respect to Λ of f(K, log|V₀|), given ∂f/∂K (symmetric) and ∂f/∂log|V₀|.

    Parameters
    ----------
    data, tree, L
        As in `factorise`.
    panels, core, white
        From `factorise`.
    K_bar : (m, m) array
    logdet_bar : float
    data_bar : array
        Empty, or of the length of the data: the derivatives with respect to the data are added to it.

    Returns
    -------
    (q, q) array
    """
    shape, first, width, nodes, ends, groups, starts, to, pairs, levels = unpack(tree)
    chain, D, m, last = shape[0], shape[1], shape[2], shape[3]
    L_bar = np.zeros(L.shape)
    with_data = data_bar.size > 0
    nothing = np.empty((0, 0))
    front_bar = _core_adjoint(core, white, K_bar, logdet_bar)
    widest = _widest(nodes)
    largest = 0
    for node in range(len(nodes)):
        largest = max(largest, nodes[node, 1])
    fronts = np.empty((chain, widest, widest))
    q_max = width.max()
    T = np.empty((largest, largest))
    H = np.empty((q_max, largest))
    own_inverse = np.empty((q_max, q_max))
    own_bar = np.empty((q_max, largest))
    for back in range(len(nodes)):
        node = len(nodes) - 1 - back
        depth, size, at = nodes[node, 0], nodes[node, 1], nodes[node, 2]
        q, own = width[depth], first[depth]
        rest = size - q
        P = panels[at : at + q * size].reshape((q, size))
        source = fronts[depth + 1] if depth + 1 < chain else front_bar
        for a in range(rest):
            row = to[starts[node] + a]
            for b in range(a + 1):
                value = source[row, to[starts[node] + b]]
                T[a, b] = value
                T[b, a] = value
        for back_i in range(q):
            i = q - 1 - back_i
            for a in range(rest):
                H[i, a] = P[i, q + a]
            for j in range(q):
                own_inverse[i, j] = 0.0
            own_inverse[i, i] = 1.0
            for k in range(i + 1, q):
                factor = P[i, k]
                for a in range(rest):
                    H[i, a] -= factor * H[k, a]
                for j in range(q):
                    own_inverse[i, j] -= factor * own_inverse[k, j]
            scale = 1.0 / P[i, i]
            for a in range(rest):
                H[i, a] *= scale
            for j in range(q):
                own_inverse[i, j] *= scale
        for i in range(q):
            for a in range(rest):
                own_bar[i, q + a] = 0.0
            for b in range(rest):
                factor = H[i, b]
                for a in range(rest):
                    own_bar[i, q + a] -= factor * T[b, a]
        for i in range(q):
            for j in range(q):
                total = 0.0
                for k in range(q):
                    total += logdet_bar * own_inverse[i, k] * own_inverse[j, k]
                for a in range(rest):
                    total -= own_bar[i, q + a] * H[j, a]
                own_bar[i, j] = total
        if depth > 0:
            for i in range(q):
                for b in range(size):
                    fronts[depth, i, b] = own_bar[i, b]
                    fronts[depth, b, i] = own_bar[i, b]
            for a in range(rest):
                for b in range(rest):
                    fronts[depth, q + a, q + b] = T[a, b]
        raw = data[at : at + q * size].reshape((q, size))
        raw_bar = data_bar[at : at + q * size].reshape((q, size)) if with_data else nothing
        _pull(raw[:, :q], own_bar[:, :q], L, own, q, own, q, 1.0, L_bar, raw_bar[:, :q])
        column = q
        for k in range(ends[node], ends[node + 1]):
            g = groups[k, 0]
            w = width[g]
            if q == 1 and w == 1 and not with_data:
                at_g = first[g]
                both = 2.0 * raw[0, column] * own_bar[0, column]
                L_bar[own, own] += both * L[at_g, at_g]
                L_bar[at_g, at_g] += both * L[own, own]
            else:
                _pull(
                    raw[:, column : column + w], own_bar[:, column : column + w], L, own, q, first[g], w, 2.0, L_bar,
                    raw_bar[:, column : column + w],
                )  # fmt: skip
            column += w
        _pull_xy(raw[:, column:], own_bar[:, column:size], L, own, L_bar, raw_bar[:, column:])
    for k in range(len(pairs)):
        row, column, f, g, at = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 3], pairs[k, 4]
        wf, wg = width[f], width[g]
        raw = data[at : at + wf * wg].reshape((wf, wg))
        raw_bar = data_bar[at : at + wf * wg].reshape((wf, wg)) if with_data else nothing
        bar = front_bar[row : row + wf, column : column + wg]
        _pull(raw, bar, L, first[f], wf, first[g], wg, 1.0 if row == column else 2.0, L_bar, raw_bar)
    for k in range(len(levels)):
        column, f, at = levels[k, 0], levels[k, 1], levels[k, 2]
        wf = width[f]
        raw = data[at : at + wf * m].reshape((wf, m))
        raw_bar = data_bar[at : at + wf * m].reshape((wf, m)) if with_data else nothing
        _pull_xy(raw, front_bar[column : column + wf, D:], L, first[f], L_bar, raw_bar)
    if with_data:
        for a in range(m):
            for b in range(m):
                data_bar[last + a * m + b] += K_bar[a, b]
    return L_bar


@njit(cache=True, nogil=True, error_model="numpy")
def rest_effects(
    tree: np.ndarray,
    L: np.ndarray,
    panels: np.ndarray,
    core: np.ndarray,
    white: np.ndarray,
    t: np.ndarray,
    sigma: float,
    z: np.ndarray,
) -> None:
    """Effects of all levels but the leaves, given the fixed effects, from the core down.

    Parameters
    ----------
    tree, L, panels, core, white
        As in `adjoint`.
    t : (m,) array
        (-γ, 1).
    sigma : float
    z : (rest,) array
        Standard normal noise, or zero; overwritten with a draw, or with the mean, of the effects.
    """
    shape, first, width, nodes, ends, groups, _, _, _, levels = unpack(tree)
    D, m = shape[1], shape[2]
    for i in range(D):
        z[i] *= sigma
        for a in range(m):
            z[i] += white[i, a] * t[a]
    for back in range(D):
        k = D - 1 - back
        for i in range(k + 1, D):
            z[k] -= core[i, k] * z[i]
        z[k] /= core[k, k]
    for back in range(len(nodes)):
        node = len(nodes) - 1 - back
        depth, size, at, position = nodes[node, 0], nodes[node, 1], nodes[node, 2], nodes[node, 3]
        if depth == 0:
            continue
        q = width[depth]
        P = panels[at : at + q * size].reshape((q, size))
        for i in range(q):
            value = sigma * z[position + i]
            column = q
            for k in range(ends[node], ends[node + 1]):
                for j in range(width[groups[k, 0]]):
                    value -= P[i, column] * z[groups[k, 1] + j]
                    column += 1
            for a in range(m):
                value += P[i, column + a] * t[a]
            z[position + i] = value
        for back_i in range(q):
            i = q - 1 - back_i
            for k in range(i + 1, q):
                z[position + i] -= P[i, k] * z[position + k]
            z[position + i] /= P[i, i]
    # from the coordinates of the factor to Λu
    u = np.empty(width.max())
    for k in range(len(levels)):
        _times(L, first[levels[k, 1]], width[levels[k, 1]], z, levels[k, 0], u)
    for node in range(len(nodes)):
        if nodes[node, 0] > 0:
            _times(L, first[nodes[node, 0]], width[nodes[node, 0]], z, nodes[node, 3], u)


@njit(cache=True, nogil=True, error_model="numpy")
def _times(L: np.ndarray, row: int, rows: int, z: np.ndarray, at: int, u: np.ndarray) -> None:
    """Overwrite one level's part of z with Λ times it."""
    for i in range(rows):
        u[i] = 0.0
        for k in range(rows):
            u[i] += L[row + i, row + k] * z[at + k]
    for i in range(rows):
        z[at + i] = u[i]


@njit(cache=True, nogil=True, error_model="numpy")
def leaves(
    data: np.ndarray, tree: np.ndarray, t: np.ndarray, b: np.ndarray, begin: int, A: np.ndarray, V: np.ndarray
) -> None:
    """Write what `hierbayes.kernel_levels.effects` needs of some leaves, given everything else.

    Parameters
    ----------
    data, tree
    t : (m,) array
        (-γ, 1).
    b : (rest,) array
        Effects of all other levels.
    begin : int
        The first leaf.
    A : (q, q, leaves) array
    V : (q, leaves) array
    """
    shape, _, width, nodes, ends, groups, _, _, _, _ = unpack(tree)
    m = shape[2]
    q = width[0]
    for node in range(len(nodes)):
        depth, size, at = nodes[node, 0], nodes[node, 1], nodes[node, 2]
        leaf = nodes[node, 3] - begin
        if depth > 0 or leaf < 0 or leaf >= V.shape[1]:
            continue
        raw = data[at : at + q * size].reshape((q, size))
        for i in range(q):
            for j in range(q):
                A[i, j, leaf] = raw[i, j]
            value = 0.0
            column = q
            for k in range(ends[node], ends[node + 1]):
                for j in range(width[groups[k, 0]]):
                    value -= raw[i, column] * b[groups[k, 1] + j]
                    column += 1
            for a in range(m):
                value += raw[i, column + a] * t[a]
            V[i, leaf] = value
