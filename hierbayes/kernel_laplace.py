r"""Loops of the Laplace approximation: sums over the rows, and the solution of the penalised least squares problem.

`hierbayes.laplace` has the formulas. Cross-products of the rows are laid out as `hierbayes.forest` plans, and
`hierbayes.kernel_tree` factorises them. Arguments that several functions share:

Z : (n, q) array
    Effect columns of all factors.
blocks : (F, 4) int array
    Of every factor in the order of elimination: first row in Λ, effects, levels, position in u.
where : (F, n) int array
    Position in u of the effects of each row's level.
pairs : (pairs, 2) int array
    Pairs of factors with cross-products.
base, stride : (pairs, n) int arrays
    Where the cross-product of each row's cell begins in the vector of cross-products, and how far its rows are apart.
base_y, stride_y : (F, n) int arrays
    The same for products with one column in the place of [X y].
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hierbayes.kernel_family import derivatives
from hierbayes.kernel_tree import unpack


@njit(cache=True, nogil=True, error_model="numpy")
def assemble(
    Z: np.ndarray, blocks: np.ndarray, pairs: np.ndarray, base: np.ndarray, stride: np.ndarray, base_y: np.ndarray,
    stride_y: np.ndarray, weight: np.ndarray, column: np.ndarray, products: np.ndarray,
) -> None:  # fmt: skip
    """Write the cross-products Zᵀ diag(weight) Z and Zᵀ column."""
    for at in range(products.size):
        products[at] = 0.0
    for pair in range(len(pairs)):
        f, g = pairs[pair, 0], pairs[pair, 1]
        first_f, q_f = blocks[f, 0], blocks[f, 1]
        first_g, q_g = blocks[g, 0], blocks[g, 1]
        for i in range(len(Z)):
            for a in range(q_f):
                at = base[pair, i] + a * stride[pair, i]
                scaled = weight[i] * Z[i, first_f + a]
                for b in range(q_g):
                    products[at + b] += scaled * Z[i, first_g + b]
    for f in range(len(blocks)):
        first, q = blocks[f, 0], blocks[f, 1]
        for i in range(len(Z)):
            for a in range(q):
                products[base_y[f, i] + a * stride_y[f, i]] += column[i] * Z[i, first + a]


@njit(cache=True, nogil=True, error_model="numpy")
def solve(tree: np.ndarray, panels: np.ndarray, core: np.ndarray, white: np.ndarray, u: np.ndarray) -> None:
    """Overwrite u with W⁻¹ Λᵀ times the column that was eliminated along, leaves first."""
    _, _, width, nodes, ends, groups, _, _, _, _ = unpack(tree)
    D = len(core)
    leaves = 0
    for node in range(len(nodes)):
        if nodes[node, 0] == 0:
            leaves += width[0]
    for back in range(D):
        k = D - 1 - back
        total = white[k, 0]
        for i in range(k + 1, D):
            total -= core[i, k] * u[leaves + i]
        u[leaves + k] = total / core[k, k]
    for back in range(len(nodes)):
        node = len(nodes) - 1 - back
        depth, size, at = nodes[node, 0], nodes[node, 1], nodes[node, 2]
        q = width[depth]
        own = leaves + nodes[node, 3] if depth > 0 else q * nodes[node, 3]
        P = panels[at : at + q * size].reshape((q, size))
        for i in range(q):
            total = P[i, size - 1]
            column = q
            for k in range(ends[node], ends[node + 1]):
                for j in range(width[groups[k, 0]]):
                    total -= P[i, column] * u[leaves + groups[k, 1] + j]
                    column += 1
            u[own + i] = total
        for back_i in range(q):
            i = q - 1 - back_i
            for k in range(i + 1, q):
                u[own + i] -= P[i, k] * u[own + k]
            u[own + i] /= P[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def predict(
    Z: np.ndarray, blocks: np.ndarray, where: np.ndarray, L: np.ndarray, u: np.ndarray, eta: np.ndarray
) -> None:
    """Write Z Λ u of every row."""
    b = np.empty(u.size)
    for f in range(len(blocks)):
        first, q, levels, begin = blocks[f, 0], blocks[f, 1], blocks[f, 2], blocks[f, 3]
        for level in range(levels):
            at = begin + level * q
            for i in range(q):
                b[at + i] = 0.0
                for k in range(i + 1):
                    b[at + i] += L[first + i, first + k] * u[at + k]
    for i in range(len(Z)):
        total = 0.0
        for f in range(len(blocks)):
            first, q = blocks[f, 0], blocks[f, 1]
            for a in range(q):
                total += Z[i, first + a] * b[where[f, i] + a]
        eta[i] = total


@njit(cache=True, nogil=True, error_model="numpy")
def log_densities(
    kind: int, link: int, y: np.ndarray, size: np.ndarray, eta: np.ndarray, auxiliary: np.ndarray, out: np.ndarray
) -> float:
    """Write the derivatives of every row (`hierbayes.kernel_family`) to `out`; return the total log density."""
    total = 0.0
    for i in range(y.size):
        derivatives(kind, link, y[i], size[i], eta[i], auxiliary, out[i])
        total += out[i, 0]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def spreads(
    Z: np.ndarray, blocks: np.ndarray, pairs: np.ndarray, base: np.ndarray, stride: np.ndarray, bar: np.ndarray
) -> np.ndarray:
    """Derivative of a function of the cross-products by the weight of every row, given that by the cross-products."""
    n = len(Z)
    found = np.zeros(n)
    for pair in range(len(pairs)):
        f, g = pairs[pair, 0], pairs[pair, 1]
        first_f, q_f = blocks[f, 0], blocks[f, 1]
        first_g, q_g = blocks[g, 0], blocks[g, 1]
        for i in range(n):
            for a in range(q_f):
                at = base[pair, i] + a * stride[pair, i]
                for b in range(q_g):
                    found[i] += Z[i, first_f + a] * bar[at + b] * Z[i, first_g + b]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def pull_factor(
    Z: np.ndarray, blocks: np.ndarray, where: np.ndarray, e: np.ndarray, u: np.ndarray, slope: np.ndarray,
    w: np.ndarray, L_bar: np.ndarray,
) -> None:  # fmt: skip
    """Add Σ_i z_i (e_i u_jᵀ + slope_i w_jᵀ), j the level of row i, to the lower triangle of L_bar."""
    for f in range(len(blocks)):
        first, q = blocks[f, 0], blocks[f, 1]
        for i in range(len(Z)):
            level = where[f, i]
            for a in range(q):
                z = Z[i, first + a]
                for b in range(a + 1):
                    L_bar[first + a, first + b] += z * (e[i] * u[level + b] + slope[i] * w[level + b])
