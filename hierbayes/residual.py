r"""Residuals that are correlated within series: AR(1) in time, compound symmetry.

The residuals of a series have covariance σ² R(ρ). What makes both structures cheap is that R⁻¹ is a
combination, with coefficients that depend on ρ alone, of a few fixed matrices, each a sum of squares
of linear forms in the rows::

    [X y]ᵀ R⁻¹ [X y] = Σ_k c_k(ρ) (F_k [X y])ᵀ (F_k [X y])

so that the moments of the transformed rows ``F_k [X y]`` are taken once, and an evaluation never sees
the rows again.

AR(1): neighbours in time d steps apart have correlation ρ^d, and given the one before a residual has
variance ``1 - ρ^{2d}``. With ``a = ρ^{2d}/(1 - ρ^{2d})`` and ``b = -ρ^d/(1 - ρ^{2d})``

    R⁻¹ = I + Σ_d [ (a_d - b_d) P_d + b_d S_d ],    log|R| = Σ_d n_d log(1 - ρ^{2d})

where P_d sums the squares of both members of every pair of neighbours d steps apart, S_d the
squares of their sums, and n_d counts the pairs (Pinheiro & Bates 2000, section 5.3.1, for d = 1).

Compound symmetry: all pairs in a series have correlation ρ, and for a series of s rows

    R⁻¹ = [ I - ρ/(1 + (s-1)ρ) 11ᵀ ]/(1 - ρ),    log|R| = (s-1) log(1 - ρ) + log(1 + (s-1)ρ)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numba import njit

AR1, CS = 0, 1
"""Structures, as the compiled functions know them."""
KINDS = {"ar1": AR1, "cs": CS}


@dataclass(frozen=True)
class Residual:
    """A residual correlation structure on the rows of one design.

    Parameters
    ----------
    kind : {"ar1", "cs"}
    text : str
        As written: ``"ar1(time | Subject)"``.
    name : str
        Name of the series: ``"Subject"``.
    codes : (n,) int array
        Series of each row.
    time : (n,) int array
        Time of each row in steps of the common spacing; for compound symmetry all zero.
    limits : (float, float) or None
        Range of ρ where it is not the widest one: that of the series of which these are a part.
    levels : (series,) array of str or None
        Names of the series; None for their codes.
    """

    kind: str
    text: str
    name: str
    codes: np.ndarray
    time: np.ndarray
    limits: tuple[float, float] | None = None
    levels: np.ndarray | None = field(default=None, compare=False, repr=False)

    def only(self, rows: np.ndarray) -> Residual:
        """The same structure, with the same range of ρ, on some of the rows."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        levels = None if self.levels is None else self.levels[kept]
        return replace(self, codes=codes.ravel(), time=self.time[rows], limits=self.bounds, levels=levels)

    @cached_property
    def order(self) -> np.ndarray:
        """Rows sorted by series and time."""
        return np.lexsort((self.time, self.codes))

    @cached_property
    def _gaps(self) -> np.ndarray:
        """(n - 1,) steps from each sorted row to the next, 0 between series."""
        codes, time = self.codes[self.order], self.time[self.order]
        return np.where(codes[1:] == codes[:-1], time[1:] - time[:-1], 0)

    @cached_property
    def _sizes(self) -> np.ndarray:
        """Rows in each series."""
        return np.bincount(self.codes)

    @cached_property
    def table(self) -> np.ndarray:
        """Kind, then each gap (or size of a series) with the number of its pairs (or series)."""
        if self.kind == "ar1":
            gaps = self._gaps
            values, counts = np.unique(gaps[gaps > 0], return_counts=True)
        else:
            values, counts = np.unique(self._sizes[self._sizes > 0], return_counts=True)
        return np.concatenate([[float(KINDS[self.kind])], np.column_stack([values, counts]).ravel().astype(float)])

    @property
    def statistics(self) -> int:
        """Number of matrices whose combination is R⁻¹."""
        return 1 + (len(self.table) - 1) // (1 if self.kind == "ar1" else 2)

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of ρ in which R is positive definite."""
        if self.limits is not None:
            return self.limits
        if self.kind == "ar1":
            return -1.0, 1.0
        return -1.0 / (max(2.0, float(self._sizes.max())) - 1.0), 1.0

    def transformed(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows after each F_k, and an original row that each belongs to.

        Parameters
        ----------
        rows : (n, columns) array

        Yields
        ------
        rows : (n_k, columns) array
        representative : (n_k,) int array
            A row of the same series.
        """
        yield rows, np.arange(len(rows))
        order = self.order
        if self.kind == "ar1":
            for gap in self.table[1::2]:
                here = np.flatnonzero(self._gaps == gap)
                before, after = order[here], order[here + 1]
                yield np.concatenate([rows[before], rows[after]]), np.concatenate([before, after])
                yield rows[before] + rows[after], after
            return
        begins = np.r_[0, np.cumsum(self._sizes)[:-1]]
        sums = np.add.reduceat(rows[order], begins, axis=0)
        for size in self.table[1::2]:
            which = self._sizes == size
            yield sums[which], order[begins[which]]

    def gram(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Rows after each T_k = F_kᵀ F_k, so that R⁻¹ rows = Σ_k c_k(ρ) T_k rows.

        Parameters
        ----------
        rows : (n, columns) array

        Yields
        ------
        (n, columns) array
        """
        yield rows
        order = self.order
        if self.kind == "ar1":
            for gap in self.table[1::2]:
                here = np.flatnonzero(self._gaps == gap)
                before, after = order[here], order[here + 1]
                squares, sums = np.zeros_like(rows), np.zeros_like(rows)
                for one in (before, after):
                    # a row is the first of one pair at most, and the second of one at most
                    squares[one] += rows[one]
                    sums[one] += rows[before] + rows[after]
                yield squares
                yield sums
            return
        totals = np.zeros((len(self._sizes), rows.shape[1]))
        np.add.at(totals, self.codes, rows)
        for size in self.table[1::2]:
            yield np.where((self._sizes == size)[self.codes, None], totals[self.codes], 0.0)

    def diagonals(self) -> np.ndarray:
        """(K, n) diagonals of the T_k."""
        n = len(self.codes)
        found = [np.ones(n)]
        if self.kind == "ar1":
            for gap in self.table[1::2]:
                here = np.flatnonzero(self._gaps == gap)
                pairs = np.bincount(self.order[here], minlength=n) + np.bincount(self.order[here + 1], minlength=n)
                found += [pairs.astype(float)] * 2
        else:
            found += [(self._sizes == size)[self.codes].astype(float) for size in self.table[1::2]]
        return np.array(found)

    def matrix(self, rho: float) -> np.ndarray:
        """R itself, (n, n): for tests and small data.

        Examples
        --------
        >>> codes = np.array([0, 0, 1])
        >>> Residual("ar1", "ar1(t | g)", "g", codes, np.array([0, 2, 0])).matrix(0.5)
        array([[1.  , 0.25, 0.  ],
               [0.25, 1.  , 0.  ],
               [0.  , 0.  , 1.  ]])
        """
        same = self.codes[:, None] == self.codes[None, :]
        if self.kind == "ar1":
            apart = np.abs(self.time[:, None] - self.time[None, :])
        else:
            apart = 1 - np.eye(len(self.codes), dtype=int)
        return np.where(same, float(rho) ** apart, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def coefficients(rho: float, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """c_k(ρ) and log|R|, with their derivatives.

    Parameters
    ----------
    rho : float
    table : array
        `Residual.table`.

    Returns
    -------
    c, c_slope : (K,) arrays
    logdet, logdet_slope : float
    """
    kind = int(table[0])
    parts = (table.size - 1) // 2
    K = 1 + 2 * parts if kind == AR1 else 1 + parts
    c = np.empty(K)
    slope = np.empty(K)
    logdet = 0.0
    logdet_slope = 0.0
    if kind == AR1:
        c[0] = 1.0
        slope[0] = 0.0
        for k in range(parts):
            gap, count = table[1 + 2 * k], table[2 + 2 * k]
            power = rho**gap
            power_slope = gap * rho ** (gap - 1.0)
            left = 1.0 - power * power
            # a = power²/left, b = -power/left
            a = power * power / left
            b = -power / left
            a_slope = 2.0 * power / (left * left) * power_slope
            b_slope = -(1.0 + power * power) / (left * left) * power_slope
            c[1 + 2 * k] = a - b
            c[2 + 2 * k] = b
            slope[1 + 2 * k] = a_slope - b_slope
            slope[2 + 2 * k] = b_slope
            logdet += count * math.log(left)
            logdet_slope -= count * 2.0 * power * power_slope / left
    else:
        rest = 1.0 - rho
        c[0] = 1.0 / rest
        slope[0] = 1.0 / (rest * rest)
        for k in range(parts):
            size, count = table[1 + 2 * k], table[2 + 2 * k]
            whole = 1.0 + (size - 1.0) * rho
            c[1 + k] = -rho / (rest * whole)
            slope[1 + k] = (
                -1.0 / (rest * whole) - rho / (rest * rest * whole) + rho * (size - 1.0) / (rest * whole**2)
            )
            logdet += count * ((size - 1.0) * math.log(rest) + math.log(whole))
            logdet_slope += count * (-(size - 1.0) / rest + (size - 1.0) / whole)
    return c, slope, logdet, logdet_slope
