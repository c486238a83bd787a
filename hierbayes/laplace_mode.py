r"""The random effects of a model of any family, given its parameters: their joint mode, and the curvature there.

The linear predictor is ``η = o + Xβ + Z Λ u`` with u ~ N(0, I), Λ block diagonal with the factor L of the covariance
of the effects of a level in every block. With ℓ_i the log density of row i (`hierbayes.kernel_family`),

    h(u) = Σ ℓ_i(η_i) - ½ uᵀu,      W = -h'' = I + Λᵀ Zᵀ D Z Λ,      D = diag(-ℓ''_i)

The maximum û of h is found by Newton steps, halved until h grows: penalised iteratively reweighted least squares
(Bates et al. 2015, Journal of Statistical Software 67). W is that of a Gaussian mixed model with weights D, so
`hierbayes.kernel_tree` factorises it, level by level for one factor and for nested ones, and gives the derivatives of
log|W| by its cross-products; those by the D_i are sums over one row each: s_i, the variance of η_i given y.

Cost of a step: one pass over the rows and one elimination.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from hierbayes import kernel_laplace
from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.forest import plan
from hierbayes.kernel_tree import adjoint, factorise
from hierbayes.moments import MANY_ROWS
from hierbayes.threads import one_thread

LARGEST_CORE = 4000
"""Effects of crossed factors that may be left for one dense matrix."""
SMALL_CORE = 100
STEPS = 200
"""Newton steps before the search for û is given up."""
HALVINGS = 40
DECREMENT = 1e-13
"""Newton's decrement, twice the expected gain of h, below which a step is the last: the next would be its square."""
ROUNDING = 1e-9
"""A decrement below this that no longer shrinks consists of rounding errors."""


@dataclass(frozen=True)
class Response:
    """The responses as `hierbayes.kernel_family.derivatives` takes them.

    Parameters
    ----------
    kind, link : int
    y, size : (n,) arrays
    """

    kind: int
    link: int
    y: np.ndarray
    size: np.ndarray

    def log_densities(self, eta: np.ndarray, auxiliary: np.ndarray, estimated: int = 0) -> tuple[float, np.ndarray]:
        """Sum of the log densities, and the derivatives of every row, (n, 4 + 3 estimated)."""
        rows = np.empty((len(eta), 4 + 3 * estimated))
        total = kernel_laplace.log_densities(self.kind, self.link, self.y, self.size, eta, auxiliary, rows)
        return float(total), rows


@dataclass(frozen=True)
class Curvature:
    """log|W| at û and its derivatives.

    Parameters
    ----------
    logdet : float
        NaN where û is no maximum.
    L_bar : (q, q) array
        By L, at fixed D.
    bar : array
        By the cross-products: for the effects of one level their covariance given y.
    spread : (n,) array
        s_i, by D_i.
    """

    logdet: float
    L_bar: np.ndarray
    bar: np.ndarray
    spread: np.ndarray


class Effects:
    """The random effects of a design.

    Parameters
    ----------
    design : Design
    Z : (n, q) array
        Effect columns of all blocks, in the coordinates of L.

    Raises
    ------
    HierbayesError
        If crossed factors leave too many effects for a dense matrix.

    Attributes
    ----------
    size : int
        Length of u.
    core : int
        Columns of the dense matrix.
    """

    def __init__(self, design: Design, Z: np.ndarray) -> None:
        where = [design.effects_of(factor) for factor in design.factors]
        widths = [w.stop - w.start for w in where]
        forest = plan(design.factors, widths, [w.start for w in where], 1)
        if forest.core > LARGEST_CORE:
            raise HierbayesError(
                f"The crossed factors leave {forest.core} random effects that have to be eliminated together, more "
                f"than {LARGEST_CORE}; take a random effect out, or fit the posterior."
            )
        self.Z = np.ascontiguousarray(Z)
        self._forest = forest
        self.core = forest.core
        factors = [design.factors[f] for f in forest.order]
        counts = [len(factor.levels) for factor in factors]
        begins = [0, *(counts[0] * widths[forest.order[0]] + rest[0, 0] for rest in forest.rest)]
        blocks = [
            [where[f].start, widths[f], count, begin]
            for f, count, begin in zip(forest.order, counts, begins, strict=True)
        ]
        pairs = sorted(forest.cells)
        base: list[np.ndarray] = []
        stride: list[np.ndarray] = []
        for f, g in pairs:
            cells = forest.cells[f, g]
            cell = factors[f].codes if f == g else cells.find(factors[f].codes, factors[g].codes)
            _append(base, stride, forest.blocks[f, g], cell)
        base_y: list[np.ndarray] = []
        stride_y: list[np.ndarray] = []
        for factor, at in zip(factors, forest.xy, strict=True):
            _append(base_y, stride_y, at, factor.codes)
        positions = [block[3] + factor.codes * block[1] for factor, block in zip(factors, blocks, strict=True)]
        self.blocks, self.where, self._pairs, self._base, self._stride, self._base_y, self._stride_y = (
            np.ascontiguousarray(each, dtype=np.int64)
            for each in (blocks, positions, pairs, base, stride, base_y, stride_y)
        )
        self.size = sum(count * block[1] for count, block in zip(counts, blocks, strict=True))

    def one_thread(self) -> AbstractContextManager[Any]:
        """Keep the matrix products of a large core or of many rows on one thread."""
        return one_thread() if self.core >= SMALL_CORE or len(self.Z) >= MANY_ROWS else nullcontext()

    def predict(self, L: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Z Λ u, (n,)."""
        eta = np.empty(len(self.Z))
        kernel_laplace.predict(self.Z, self.blocks, self.where, L, u, eta)
        return eta

    def _factorise(self, L: np.ndarray, weight: np.ndarray, column: np.ndarray) -> tuple:
        products = np.empty(self._forest.size)
        kernel_laplace.assemble(
            self.Z, self.blocks, self._pairs, self._base, self._stride, self._base_y, self._stride_y, weight, column,
            products,
        )  # fmt: skip
        return products, *factorise(products, self._forest.tree, L)

    def solve(self, L: np.ndarray, weight: np.ndarray, column: np.ndarray) -> np.ndarray | None:
        """W⁻¹ Λᵀ Zᵀ column, for ``D = diag(weight)``; None if W is not positive definite."""
        _, panels, core, white, _, logdet = self._factorise(L, weight, column)
        if not np.isfinite(logdet):
            return None
        u = np.empty(self.size)
        kernel_laplace.solve(self._forest.tree, panels, core, white, u)
        return u

    def mode(
        self, response: Response, fixed: np.ndarray, L: np.ndarray, auxiliary: np.ndarray, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Maximise h by Newton steps.

        Parameters
        ----------
        response : Response
        fixed : (n,) array
            o + Xβ.
        L : (q, q) array
        auxiliary : array
        start : (size,) array

        Returns
        -------
        u : (size,) array
            û; None if it was not found.
        eta : (n,) array
            Linear predictor there.
        """
        u, random = start, self.predict(L, start)
        value, rows = response.log_densities(fixed + random, auxiliary)
        h = value - 0.5 * float(u @ u)
        if not np.isfinite(h):
            return None
        before = np.inf
        for _ in range(STEPS):
            weight = -rows[:, 2]
            target = self.solve(L, weight, rows[:, 1] + weight * random)
            if target is None:  # not concave here: rows that bend upwards count as straight
                weight = np.maximum(weight, 0.0)
                target = self.solve(L, weight, rows[:, 1] + weight * random)
            if target is None:
                return None
            step, turn = target - u, self.predict(L, target) - random
            decrement = float(rows[:, 1] @ turn - u @ step)
            length = 1.0
            for _ in range(HALVINGS):
                new_u, new_random = u + length * step, random + length * turn
                value, new_rows = response.log_densities(fixed + new_random, auxiliary)
                new_h = value - 0.5 * float(new_u @ new_u)
                if new_h >= h + 1e-4 * length * decrement - 1e-13 * (1.0 + abs(h)):
                    break
                length *= 0.5
            else:
                return None
            u, random, rows, h = new_u, new_random, new_rows, new_h
            small = decrement / (1.0 + abs(h))
            if length == 1.0 and (small <= DECREMENT or (before < ROUNDING and small > 0.1 * before)):
                return u, fixed + random
            before = small
        return None

    def curvature(self, L: np.ndarray, rows: np.ndarray) -> Curvature:
        """log|W| and its derivatives, given those of the log densities at û."""
        nothing = np.zeros(len(rows))
        products, panels, core, white, _, logdet = self._factorise(L, -rows[:, 2], nothing)
        bar = np.zeros(len(products))
        if not np.isfinite(logdet):
            return Curvature(np.nan, np.zeros_like(L), bar, nothing)
        L_bar = adjoint(products, self._forest.tree, L, panels, core, white, np.zeros((1, 1)), 1.0, bar)
        spread = kernel_laplace.spreads(self.Z, self.blocks, self._pairs, self._base, self._stride, bar)
        return Curvature(float(logdet), L_bar, bar, spread)

    def of_factor(self, number: int, u: np.ndarray, bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Effects u of a factor of the design, (levels, effects), and their covariances, from `Curvature.bar`."""
        at = self._forest.order.index(number)
        _, q, levels, begin = self.blocks[at]
        return u[begin : begin + levels * q].reshape(levels, q), bar[self._forest.blocks[at, at]]


def _append(base: list[np.ndarray], stride: list[np.ndarray], positions: np.ndarray, cell: np.ndarray) -> None:
    """Add where the block (cells, rows, columns) of each row's cell begins, and how far its rows are apart."""
    base.append(positions[:, 0, 0][cell])
    apart = positions[:, 1, 0] - positions[:, 0, 0] if positions.shape[1] > 1 else np.zeros(len(positions))
    stride.append(apart[cell])
