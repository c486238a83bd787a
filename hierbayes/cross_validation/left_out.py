r"""Log densities of rows and of groups that are left out, given all the others, for every draw of θ.

The fixed effects (those with Normal or flat priors) and the random effects are integrated out, so that these are
``log p(yᵢ | y₋ᵢ, θ)`` and ``log p(y_j | y₋ⱼ, θ)``, in closed form (Bürkner, Gabry & Vehtari 2021). `log_rows`
costs a sweep over the levels and a few operations a row for each draw; `hierbayes.kernel_left_out` says how. Where
rounding leaves nothing of that closed form (a row that is almost alone in saying something of a coefficient), the row
is taken out of the data, for an evaluation of the density a draw.

A *set* of rows has the joint density ``p(y_S | y₋S, θ) = p(y | θ) / p(y₋S | θ)``, and its rows one by one
``p(yᵢ | y₋S, θ)``. For the levels of a single grouping factor both are closed forms in the level's own
cross-products (`log_groups`); any other set costs an evaluation of the density a draw (`log_sets`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from hierbayes import kernel_left_out
from hierbayes.design import Design, Factor
from hierbayes.errors import DataError
from hierbayes.marginal import Marginal
from hierbayes.moments import rows_of
from hierbayes.threads import parts, share

EMPTY = np.empty((0, 0))
LEFT = 1e-3
"""Rows that leave less than this of the determinant of XᵀX are looked at."""


@dataclass(frozen=True)
class Scores:
    """Log densities of sets of rows that are left out.

    Parameters
    ----------
    joint : (draws, sets) array
        ``log p(y_S | y₋S, θ)``.
    pointwise : (draws, rows) array
        ``log p(yᵢ | y₋S, θ)``, the rows of one set after those of another; empty if it was not asked for.
    rows : (rows,) int array
        Which rows of the design these are.
    """

    joint: np.ndarray
    pointwise: np.ndarray
    rows: np.ndarray


class Predictive:
    """Predictive densities of rows at draws of θ.

    Parameters
    ----------
    marginal : Marginal
        The rows that are known.
    thetas : (draws, dim) array
    threads : int, default 1

    Attributes
    ----------
    log_density : (draws,) array
        Of all known rows together.
    """

    def __init__(self, marginal: Marginal, thetas: np.ndarray, threads: int = 1) -> None:
        self.marginal = marginal
        self.threads = threads
        self.thetas = np.ascontiguousarray(thetas, dtype=float)
        draws, m = len(self.thetas), marginal.moments
        self.log_density = np.empty(draws)
        self._K_bars = np.empty((draws, m.p + 1, m.p + 1))
        self._relatives = np.empty((draws, m.q, m.q))
        self._sigmas = np.empty(draws)
        self._weights = np.empty((draws, len(m.data)))
        written = (self.log_density, self._K_bars, self._relatives, self._sigmas, self._weights)

        def run(_: int, part: slice) -> None:
            some = [array[part] for array in written]
            kernel_left_out.prepare(self.thetas[part], marginal.packed, *marginal.plan, *some)

        self._share(run)

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.thetas)

    def _share(self, run: Callable[[int, slice], None]) -> None:
        with self.marginal.one_thread():
            share(run, parts(self.draws, max(1, -(-self.draws // (4 * self.threads)))), self.threads)

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of T_k [Z̃ X y], diagonals of the T_k, and the rows without which flat priors leave a coefficient."""
        design, moments = self.marginal.design, self.marginal.moments
        rows = np.concatenate(rows_of(design, moments), axis=1)
        alone = _alone(self.marginal, rows[:, moments.q : -1])
        if design.residual is None:
            return rows[None], np.ones((1, design.n)), alone
        return np.array(list(design.residual.gram(rows))), design.residual.diagonals(), alone

    def log_rows(self, rows: np.ndarray | slice = slice(None), strict: bool = True) -> np.ndarray:
        """Log density of each of some known rows given all other known rows, (rows, draws).

        Parameters
        ----------
        rows : int array, bool array or slice, default all
        strict : bool, default True
            Whether to refuse rows of which the others say nothing, or hardly anything; otherwise these are NaN.

        Raises
        ------
        DataError
            If the others do not determine the coefficients with flat priors.
        """
        rows, design = self._indices(rows), self.marginal.design
        log_p = np.empty((len(rows), self.draws))
        self._known_rows(rows, strict, log_p, EMPTY, EMPTY)
        for at, lost, others in self._again(rows, log_p):
            if design.residual is None:
                log_p[at, lost] = others.log_new(design.only(rows[[at]]))
            else:
                log_p[at, lost] = self.log_density[lost] - others.log_density
        self._check_rounding(rows, strict, log_p)
        return log_p

    def predict(self, rows: np.ndarray | slice = slice(None), strict: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each of some known rows given all others, (rows, draws) each.

        Arguments and errors are those of `log_rows`.
        """
        rows, design = self._indices(rows), self.marginal.design
        error = np.empty((len(rows), self.draws))
        sd = np.empty_like(error)
        self._known_rows(rows, strict, EMPTY, error, sd)
        for at, lost, others in self._again(rows, sd) if design.residual is None else ():
            error[at, lost], sd[at, lost] = others.predict_new(design.only(rows[[at]]))
        self._check_rounding(rows, strict, sd)
        return design.y[rows][:, None] - error, sd

    def log_new(self, new: Design) -> np.ndarray:
        """Log density of each of some rows that are not known, given those that are, (rows, draws).

        Parameters
        ----------
        new : Design
            `Design.only` of rows of the design that the known ones were taken from. Their residuals must be
            independent of those of the known rows.
        """
        log_p = np.empty((new.n, self.draws))
        self._new_rows(new, log_p, EMPTY, EMPTY)
        return log_p

    def predict_new(self, new: Design) -> tuple[np.ndarray, np.ndarray]:
        """Response less mean, and standard deviation, of each of some rows as of `log_new`, (rows, draws) each."""
        error = np.empty((new.n, self.draws))
        sd = np.empty_like(error)
        self._new_rows(new, EMPTY, error, sd)
        return error, sd

    def _new_rows(self, new: Design, *written: np.ndarray) -> None:
        W = np.concatenate(rows_of(new, self.marginal.moments), axis=1)
        self._rows(new, W[None], np.ones((1, new.n)), False, *written)

    def _again(self, rows: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray, Predictive]]:
        """Where numbers of a row were lost in rounding: its position, the draws, and at these all rows but it."""
        for at in np.flatnonzero(np.isnan(values).any(axis=1) & ~np.isin(rows, self._known[2])):
            lost = np.flatnonzero(np.isnan(values[at]))
            yield int(at), lost, Predictive(self.marginal.without(rows[[at]]), self.thetas[lost], self.threads)

    def _check_rounding(self, rows: np.ndarray, strict: bool, values: np.ndarray) -> None:
        if strict and len(lost := rows[np.isnan(values).any(axis=1)]):
            raise DataError(
                f"Row {_label(self.marginal.design, lost[0])} is almost the only one to say something of a "
                "coefficient or a level, and its distribution given the others is lost in rounding; give narrower "
                "priors."
            )

    def _indices(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.arange(self.marginal.design.n)[rows]

    def _known_rows(self, rows: np.ndarray, strict: bool, *written: np.ndarray) -> None:
        *known, alone = self._known
        if strict and (refused := np.intersect1d(rows, alone)).size:
            raise DataError(
                f"Without row {_label(self.marginal.design, refused[0])} the remaining rows do not determine the "
                "coefficients with flat or almost flat priors; give these narrower Normal priors."
            )
        W, diagonal = (np.ascontiguousarray(each[:, rows]) for each in known)
        self._rows(self.marginal.design.only(rows), W, diagonal, True, *written)

    def _rows(self, design: Design, W: np.ndarray, diagonal: np.ndarray, among: bool, *written: np.ndarray) -> None:
        m = self.marginal.moments
        data, lanes, pairs, times, xy, stride = _places(self.marginal, design)
        root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)

        def run(_: int, part: slice) -> None:
            kernel_left_out.rows(
                self._K_bars, self._relatives, self._sigmas, self._weights, part.start, part.stop,
                data, lanes, self.marginal.plan[0], W, diagonal, pairs, times, xy, stride, among, m.scale / root,
                *written,
            )  # fmt: skip

        self._share(run)


def _alone(marginal: Marginal, X: np.ndarray) -> np.ndarray:
    """Rows without which the others do not determine the coefficients with flat priors, from all rows of X."""
    gram = X.T @ X
    if not X.shape[1]:
        return np.empty(0, dtype=np.int64)
    # 1 - leverage is what leaving a row out leaves of the determinant: only where that is little can it be too little
    leverage = np.einsum("ij,ij->i", X @ np.linalg.pinv(gram), X)
    few = np.flatnonzero(leverage > 1.0 - LEFT)
    return few[~marginal.determined(gram - X[few, :, None] * X[few, None, :])]


def _label(design: Design, row: int) -> object:
    """The user's name for a row."""
    return row if design.row_labels is None else design.row_labels[row]


def _places(marginal: Marginal, design: Design) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray, int]:
    """What rows need of the data, and where in it their products stand; see `hierbayes.kernel_left_out.rows`."""
    moments, n = marginal.moments, design.n
    q, m = moments.q, moments.p + 1
    i, j = np.triu_indices(q)
    if moments.levels is not None:
        codes = design.factors[0].codes if design.factors else np.zeros(n, dtype=np.int64)
        seen, lane = np.unique(codes, return_inverse=True) if design.factors else (codes[:0], codes)
        lane, L = lane.ravel()[:, None], len(seen)
        A, M = moments.levels.A_levels[..., seen], moments.levels.M_levels[..., seen]
        sets = len(A)
        data = np.concatenate([A.reshape(sets, -1), M.reshape(sets, -1), np.zeros((sets, m * m))], axis=1)
        xy = q * q * L + np.arange(q) * m * L + lane
        return data, L, (i * q + j) * L + lane, np.where(i == j, 1.0, 2.0), xy, L
    forest = moments.forest
    assert forest is not None
    rank = [forest.order.index(f) for f in range(len(design.factors))]
    where = [design.effects_of(factor) for factor in design.factors]
    factor_of = np.concatenate([np.full(w.stop - w.start, f) for f, w in enumerate(where)])
    codes_of = [factor.codes for factor in design.factors]
    pairs = np.empty((n, len(i)), dtype=np.int64)
    times = np.empty(len(i))
    for k, (a, b) in enumerate(zip(i, j, strict=True)):
        if rank[factor_of[a]] > rank[factor_of[b]]:
            a, b = b, a
        f, g = factor_of[a], factor_of[b]
        cell = codes_of[f] if f == g else forest.cells[rank[f], rank[g]].find(codes_of[f], codes_of[g])
        pairs[:, k] = forest.blocks[rank[f], rank[g]][cell, a - where[f].start, b - where[g].start]
        times[k] = 2.0 if f == g and a != b else 1.0
    xy = np.column_stack([forest.xy[rank[f]][codes_of[f], a - where[f].start, 0] for a, f in enumerate(factor_of)])
    return moments.data, 0, pairs, times, np.ascontiguousarray(xy), 1


def log_rows(
    marginal: Marginal, thetas: np.ndarray, rows: np.ndarray | slice = slice(None), threads: int = 1
) -> np.ndarray:
    """Log density of each row given all others, the random and fixed effects integrated out.

    Parameters
    ----------
    marginal : Marginal
    thetas : (draws, dim) array
    rows : int array, bool array or slice, default all
    threads : int, default 1

    Returns
    -------
    (draws, rows) array
        ``log p(yᵢ | y₋ᵢ, θ)``, on the scale of the response.

    Raises
    ------
    DataError
        If the others do not determine the coefficients with flat priors.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> theta = np.array([[24.7, 5.9, 0.07, 25.6]])
    >>> log_rows(reml.marginal, theta, slice(3)).round(2)
    array([[-4.31, -4.45, -5.79]])
    """
    return Predictive(marginal, thetas, threads).log_rows(rows).T


def log_groups(
    marginal: Marginal,
    thetas: np.ndarray,
    factor: Factor,
    levels: Sequence[int] | np.ndarray | None = None,
    threads: int = 1,
    pointwise: bool = True,
) -> Scores:
    """Log densities of whole levels of a grouping factor, given all others; everything else is integrated out.

    Parameters
    ----------
    marginal : Marginal
    thetas : (draws, dim) array
    factor : Factor
        Of the design.
    levels : sequence of int, optional
        Positions of the levels; by default all.
    threads : int, default 1
    pointwise : bool, default True
        Whether to score each row as well.

    Returns
    -------
    Scores
        One set a level.

    Raises
    ------
    DataError
        If what remains without a level does not determine the coefficients with flat priors.
    """
    chosen = np.arange(len(factor.levels)) if levels is None else np.asarray(levels)
    order = np.argsort(factor.codes, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(factor.codes, minlength=len(factor.levels)))])
    sets = [order[ends[level] : ends[level + 1]] for level in chosen]
    if len(marginal.design.factors) != 1 or marginal.design.residual is not None:
        return log_sets(marginal, thetas, sets, threads, pointwise)
    return _log_levels(marginal, np.ascontiguousarray(thetas, dtype=float), factor, chosen, sets, threads, pointwise)


def _log_levels(
    marginal: Marginal,
    thetas: np.ndarray,
    factor: Factor,
    chosen: np.ndarray,
    sets: list[np.ndarray],
    threads: int,
    pointwise: bool,
) -> Scores:
    """The same for the one factor of a design with independent residuals, from moments."""
    m = marginal.moments
    assert m.levels is not None
    rows = np.concatenate(sets)
    design = marginal.design.only(rows)
    ns = np.array([len(own) for own in sets], dtype=float)
    starts = np.concatenate([[0], np.cumsum(ns)]).astype(np.int64)
    ZXY = np.concatenate(rows_of(design, m), axis=1)
    XY = ZXY[:, m.q :]
    G = np.array([XY[a:b].T @ XY[a:b] for a, b in pairwise(starts)])
    whole = m.data[0, -((m.p + 1) ** 2) :].reshape(m.p + 1, m.p + 1)
    alone = ~marginal.determined((whole - G)[:, :-1, :-1])
    if alone.any():
        level = factor.levels[chosen[np.flatnonzero(alone)[0]]]
        raise DataError(
            f"Without level {level!r} of {factor.name!r} the remaining rows do not determine the coefficients with "
            "flat or almost flat priors; give these narrower Normal priors."
        )
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    constants = np.array([np.log(root[a:b]).sum() for a, b in pairwise(starts)])
    A = np.ascontiguousarray(np.moveaxis(m.levels.A_levels[0][..., chosen], -1, 0))
    M = np.ascontiguousarray(np.moveaxis(m.levels.M_levels[0][..., chosen], -1, 0))
    draws = len(thetas)
    joint = np.empty((len(chosen), draws))
    each = np.empty((design.n, draws)) if pointwise else EMPTY

    def run(_: int, part: slice) -> None:
        kernel_left_out.levels(
            thetas, part.start, part.stop, marginal.packed, A, M, G, ns, constants, starts, ZXY, m.scale / root,
            joint, each,
        )  # fmt: skip

    share(run, parts(draws, max(1, -(-draws // (4 * threads)))), threads)
    return Scores(joint.T, each.T, rows)


def log_sets(
    marginal: Marginal, thetas: np.ndarray, sets: Sequence[np.ndarray], threads: int = 1, pointwise: bool = True
) -> Scores:
    """Log densities of sets of rows, each set given all other rows.

    Costs ``len(sets)`` evaluations of the density for each draw; `seconds_of_sets` estimates how long that takes.

    Parameters
    ----------
    marginal : Marginal
    thetas : (draws, dim) array
    sets : sequence of int array
        Rows of the design.
    threads : int, default 1
    pointwise : bool, default True
        Whether to score each row as well.

    Returns
    -------
    Scores

    Raises
    ------
    DataError
        If part of a series of correlated residuals is left out, or if what remains does not determine the
        coefficients with flat priors.
    """
    whole = Predictive(marginal, thetas, threads).log_density
    joint, each = [], []
    for own in sets:
        check_series(marginal.design, own)
        known = Predictive(marginal.without(own), thetas, threads)
        joint.append(whole - known.log_density)
        if pointwise:
            each.append(known.log_new(marginal.design.only(own)))
    scores = np.concatenate(each) if pointwise else EMPTY
    return Scores(np.array(joint).T, scores.T, np.concatenate(sets))


def seconds_of_sets(marginal: Marginal, thetas: np.ndarray, sets: int, threads: int = 1) -> float:
    """About how long `log_sets` will take, from a few evaluations.

    Parameters
    ----------
    marginal : Marginal
    thetas : (draws, dim) array
    sets : int
        How many.
    threads : int, default 1

    Returns
    -------
    float
    """
    few = thetas[:8]
    took = np.inf
    for _ in range(2):  # the first time the compiled code is read from the disk
        started = time.perf_counter()
        Predictive(marginal, few).log_new(marginal.design.only(np.arange(1)))
        took = min(took, time.perf_counter() - started)
    return took / len(few) * len(thetas) * sets / threads


def check_series(design: Design, rows: np.ndarray) -> None:
    """Refuse to part rows whose residuals are correlated.

    Parameters
    ----------
    design : Design
    rows : int array
        Rows to leave out.

    Raises
    ------
    DataError
        If residuals of theirs are correlated with those of other rows.
    """
    if design.residual is None:
        return
    codes = design.residual.codes
    left = np.isin(codes, codes[rows])
    if left.sum() > len(rows):
        raise DataError(
            f"With residual={design.residual.text!r} rows are left out by whole series of {design.residual.name!r}; "
            "take groups that hold whole series."
        )
