r"""The one pass over the rows: everything the likelihood needs of the data.

For numerical safety the moments are taken in coordinates in which nothing is large, small or
nearly collinear, whatever the units of the data:

- fixed effects: ``X = Q R`` (Householder QR), so that ``γ = R (β - β̂)/s`` has an orthonormal design;
- response: the least-squares residual ``e = y - X β̂``, over its standard deviation s;
- random effects: block by block ``Z = Z̃ E`` with ``Z̃ᵀ Z̃ = n I`` for a correlated block (only rescaled
  for an uncorrelated one), so that ``b̃ = E b / s`` and the relative factor is ``Λ = E L / σ``.

A predictor far from zero (a `year`) or a response in units of 1e-8 then costs no digits.

Precision weights scale the rows first. With correlated residuals (`hierbayes.residual`) there are several
sets of moments, one for each sum of squares that R⁻¹ is made of, and an evaluation combines them.

One grouping factor: levels that have the same ``A_j`` (a balanced design; levels of one size, if there are only
intercepts) are interchangeable to the likelihood: their ``M_j`` enter through ``Σ_j vec(M_j) vec(M_j)ᵀ``
alone, whose rank is at most q(p+1). So that many pseudo-levels stand for all of them, exactly, and the
cost of an evaluation does not grow with the number of groups either. Several grouping factors are laid out
as `hierbayes.forest` plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from hierbayes.covariance import Layout
from hierbayes.design import Design
from hierbayes.errors import DataError
from hierbayes.forest import Forest, plan
from hierbayes.kernel_rows import accumulate, respond
from hierbayes.threads import one_thread

DEPENDENT = 1e-9
"""A column is linearly dependent if less than this fraction of its length is new."""
MANY_ROWS = 10_000
"""So many rows make linear algebra take threads, which is slower than none for tall matrices."""
INDEPENDENT = 1e-4
"""Columns of which more than this is new are so far from dependent that cross-products decompose them safely."""


@dataclass(frozen=True)
class Levels:
    """Cross-products of one grouping factor (or none), K sets of them.

    Parameters
    ----------
    A : (K, q, q, lanes) array
    M : (K, q, m, lanes) array
        Of each level, or of what stands for several equal ones; see `hierbayes.kernel_levels`.
    count : (lanes,) array
        How many levels a lane stands for in log|V₀|.
    A_levels : (K, q, q, J) array
    M_levels : (K, q, m, J) array
        The same for every level, for the recovery of the random effects.
    """

    A: np.ndarray
    M: np.ndarray
    count: np.ndarray
    A_levels: np.ndarray
    M_levels: np.ndarray


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a design, in safe coordinates.

    Parameters
    ----------
    n, p, q : int
        Rows, fixed effects, random effects per level of all factors together.
    layout : Layout
    data : (K, size) array
        K sets of cross-products, each as one vector: ``A, M, G`` of `levels`, or as `forest` says.
    count : (lanes,) array
        As in `Levels`; empty for several factors.
    levels : Levels or None
        For at most one grouping factor.
    forest : Forest or None
        For several.
    R : (p, p) array
        Upper triangular: γ = R (β - ols) / scale.
    ols : (p,) array
        (Weighted) least-squares coefficients.
    scale : float
        Residual standard deviation of the least-squares fit, in units of the response.
    E : (q, q) array
        b̃ = E b / scale, block diagonal and upper triangular.
    constant : float
        ½ Σ log weights, to add to a log likelihood.
    """

    n: int
    p: int
    q: int
    layout: Layout
    data: np.ndarray
    count: np.ndarray
    levels: Levels | None
    forest: Forest | None
    R: np.ndarray
    ols: np.ndarray
    scale: float
    E: np.ndarray
    constant: float

    def diagonals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each effect, its sum of squares and its cross-product with the residual response in every level."""
        if self.levels is not None:
            for k in range(self.q):
                yield self.levels.A_levels[0, k, k], self.levels.M_levels[0, k, -1]
            return
        assert self.forest is not None
        for k in map(self.forest.order.index, range(len(self.forest.order))):
            own, xy = self.forest.blocks[k, k], self.forest.xy[k]
            for i in range(xy.shape[1]):
                yield self.data[0][own[:, i, i]], self.data[0][xy[:, i, -1]]


def take_moments(design: Design) -> Moments:
    """Reduce a design to its moments, in one pass over the rows.

    Parameters
    ----------
    design : Design

    Returns
    -------
    Moments

    Raises
    ------
    DataError
        If columns of the fixed or of the random effects are linearly dependent, if there are no
        more rows than coefficients, or if the fixed effects reproduce the response exactly.
    """
    with one_thread() if design.n >= MANY_ROWS else nullcontext():
        return _take(design)


def _take(design: Design) -> Moments:
    y = design.y if design.offset is None else design.y - design.offset
    X, root = design.X, None
    constant = 0.0
    if design.weights is not None:
        root = np.sqrt(design.weights)
        y, X = y * root, X * root[:, None]
        constant = float(np.log(root).sum())
    n, p = X.shape
    if n <= p:
        raise DataError(
            f"The formula has {p} fixed-effect coefficients but only {n} rows are left; use fewer terms or more data."
        )
    Q, R = orthonormal(X, design.labels, "fixed effects")
    ols, e, scale = least_squares(Q, R, X, y)
    _check_scale(scale, y, design)
    layout = design.layout
    Z = np.concatenate([np.zeros((n, 0)), *(block.Z for block in design.blocks)], axis=1)
    if root is not None:
        Z = Z * root[:, None]
    E = np.zeros((layout.q, layout.q))
    for part in design.parts:
        R_block = triangle(Z[:, part.where], part.block.labels, f"random effects of {part.factor.name!r}")
        R_block /= np.sqrt(n)
        if not part.block.correlated:
            R_block = np.diag(np.sqrt((R_block**2).sum(axis=0)))
        E[part.where, part.where] = R_block
    XY = np.column_stack([Q, e / scale])
    data, count, levels, forest = _accumulate(design, Z, np.linalg.inv(E), XY, None)
    return Moments(n, p, layout.q, layout, data, count, levels, forest, R, ols, scale, E, constant)


def rows_of(design: Design, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Effect columns Z̃ and [X y] of every row, times the root of its weight, in the coordinates of the moments.

    Parameters
    ----------
    design : Design
    moments : Moments
        Of this design, or of one with more rows or with fewer.

    Returns
    -------
    Z : (n, q) array
    XY : (n, p + 1) array
    """
    y = design.y if design.offset is None else design.y - design.offset
    Z = np.concatenate([np.zeros((design.n, 0)), *(block.Z for block in design.blocks)], axis=1)
    XY = np.column_stack([design.X @ np.linalg.inv(moments.R), (y - design.X @ moments.ols) / moments.scale])
    root = np.ones(1) if design.weights is None else np.sqrt(design.weights)
    return Z @ np.linalg.inv(moments.E) * root[:, None], XY * root[:, None]


def retake(design: Design, moments: Moments) -> Moments:
    """Moments of some of the rows, in the coordinates and by the plan of the moments of all.

    Parameters
    ----------
    design : Design
        `Design.only` of some rows.
    moments : Moments
        Of all rows.

    Returns
    -------
    Moments
    """
    with one_thread() if design.n >= MANY_ROWS else nullcontext():
        Z, XY = rows_of(design, moments)
        data, count, levels, _ = _accumulate(design, Z, np.eye(moments.q), XY, moments.forest)
    constant = 0.0 if design.weights is None else 0.5 * float(np.log(design.weights).sum())
    return replace(moments, n=design.n, data=data, count=count, levels=levels, constant=constant)


def _accumulate(
    design: Design, Z: np.ndarray, T: np.ndarray, XY: np.ndarray, forest: Forest | None
) -> tuple[np.ndarray, np.ndarray, Levels | None, Forest | None]:
    """Moments of rows, for one grouping factor or, by a plan that is made if it is not given, for several."""
    if len(design.factors) <= 1:
        return _of_levels(design, Z, T, XY)
    if forest is None:
        where = [design.effects_of(factor) for factor in design.factors]
        forest = plan(design.factors, [w.stop - w.start for w in where], [w.start for w in where], XY.shape[1])
    return _of_forest(design, Z, T, XY, forest), np.zeros(0), None, forest


def least_squares(Q: np.ndarray, R: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Least-squares coefficients, residuals and residual standard deviation of y on X = QR."""
    ols = np.linalg.solve(R, Q.T @ y)
    e = y - X @ ols
    e -= Q @ (Q.T @ e)
    return ols, e, float(np.sqrt(e @ e / (len(y) - len(R))))


def _of_levels(
    design: Design, Z: np.ndarray, T: np.ndarray, XY: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Levels, None]:
    """Moments of a design with one grouping factor, or with correlated residuals only."""
    n, q = Z.shape
    codes = design.factors[0].codes if design.factors else np.zeros(n, dtype=np.int64)
    J = len(design.factors[0].levels) if design.factors else 0
    Z = np.ascontiguousarray(Z)
    sets = []
    if design.residual is None:
        sets.append((*accumulate(codes, Z, T, XY, J), XY.T @ XY))
    else:
        for rows, of in design.residual.transformed(np.concatenate([Z, XY], axis=1)):
            ZXY = np.ascontiguousarray(rows[:, :q]), np.ascontiguousarray(rows[:, q:])
            sets.append((*accumulate(codes[of], ZXY[0], T, ZXY[1], J), ZXY[1].T @ ZXY[1]))
    A_levels, M_levels = (np.stack([np.moveaxis(each[i], 0, -1) for each in sets]) for i in range(2))
    A, count, M = _compress(A_levels, M_levels)
    flat = [np.concatenate([a.ravel(), b.ravel(), each[2].ravel()]) for a, b, each in zip(A, M, sets, strict=True)]
    return np.array(flat), count, Levels(A, M, count, A_levels, M_levels), None


def _of_forest(design: Design, Z: np.ndarray, T: np.ndarray, XY: np.ndarray, forest: Forest) -> np.ndarray:
    """Moments of a design with several grouping factors."""
    where = [design.effects_of(factor) for factor in design.factors]
    m = XY.shape[1]
    codes = [design.factors[f].codes for f in forest.order]
    columns = [range(where[f].start, where[f].stop) for f in forest.order]
    rows = np.concatenate([Z @ T, XY], axis=1)
    q = Z.shape[1]
    sets = design.residual.transformed(rows) if design.residual is not None else [(rows, np.arange(len(rows)))]
    data = []
    for part, of in sets:
        flat = np.zeros(forest.size)
        xy = part[:, q:]
        for (f, g), cells in forest.cells.items():
            cell = codes[f][of] if f == g else cells.find(codes[f][of], codes[g][of])
            for i, a in enumerate(columns[f]):
                for j, b in enumerate(columns[g]):
                    flat[forest.blocks[f, g][:, i, j]] = np.bincount(
                        cell, part[:, a] * part[:, b], minlength=len(cells.keys)
                    )
        for f, at in enumerate(forest.xy):
            for i, a in enumerate(columns[f]):
                for k in range(m):
                    flat[at[:, i, k]] = np.bincount(codes[f][of], part[:, a] * xy[:, k], minlength=len(at))
        flat[forest.corner : forest.corner + m * m] = (xy.T @ xy).ravel()
        data.append(flat)
    return np.array(data)


class Rows:
    """Rows of a design, ready to take the moments of one new response after another.

    Parameters
    ----------
    design : Design
        With independent residuals.
    moments : Moments
        Of the same design.

    Attributes
    ----------
    moments : Moments
        The same, with every level on its own, so that a new response needs its own cross-products only.
    arrays : tuple of array
        For `respond`.
    """

    def __init__(self, design: Design, moments: Moments) -> None:
        self._design = design
        root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
        X = design.X * root[:, None]
        Z = np.concatenate([np.zeros((design.n, 0)), *(block.Z for block in design.blocks)], axis=1) * root[:, None]
        if moments.levels is not None:
            A, M = moments.levels.A_levels, moments.levels.M_levels
            count = np.ones(A.shape[-1])
            G = moments.data[0][-((moments.p + 1) ** 2) :]
            data = np.concatenate([A.ravel(), M.ravel(), G])[None]
            moments = replace(moments, data=data, count=count, levels=Levels(A, M, count, A, M))
        self.moments = moments
        self._root = root
        factor_of, where = self._places()
        codes = np.array([factor.codes for factor in design.factors])
        Q = np.ascontiguousarray(orthonormal(X, design.labels, "fixed effects")[0])
        self.arrays = (Q, moments.R, np.ascontiguousarray(Z @ np.linalg.inv(moments.E)), factor_of, codes, where)

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Factor of every effect, and where in the data its cross-product with the response stands, by level."""
        m, design = self.moments, self._design
        factor_of = np.empty(m.q, dtype=np.int64)
        where = np.zeros((m.q, max(len(factor.levels) for factor in design.factors)), dtype=np.int64)
        for f, factor in enumerate(design.factors):
            effects = design.effects_of(factor)
            factor_of[effects] = f
            J = len(factor.levels)
            if m.forest is not None:
                where[effects, :J] = m.forest.xy[m.forest.order.index(f)][:, :, -1].T
            else:
                column = m.q * m.q * J + (np.arange(m.q) * (m.p + 1) + m.p) * J
                where[:, :J] = column[:, None] + np.arange(J)
        return factor_of, where

    @property
    def corner(self) -> int:
        """Where in the data the sum of squares of the response stands."""
        m = self.moments
        return (m.data.shape[1] if m.forest is None else m.forest.corner + (m.p + 1) ** 2) - 1

    def scaled(self, y: np.ndarray) -> np.ndarray:
        """Responses (..., n) without the offset, times the roots of the weights."""
        return (y if self._design.offset is None else y - self._design.offset) * self._root

    def of(self, y: np.ndarray) -> Moments:
        """Moments with another response.

        Parameters
        ----------
        y : (n,) array

        Returns
        -------
        Moments

        Raises
        ------
        DataError
            If the fixed effects reproduce the response exactly.
        """
        m = self.moments
        data = m.data.copy()
        ols = np.empty(m.p)
        y = self.scaled(y)
        scale = respond(y, *self.arrays, self.corner, data[0], ols)
        _check_scale(scale, y, self._design)
        levels = m.levels
        if levels is not None:
            shape = levels.M_levels.shape
            M = data[0, levels.A_levels.size : levels.A_levels.size + levels.M_levels.size].reshape(shape)
            levels = Levels(levels.A, M, levels.count, levels.A, M)
        return replace(m, data=data, levels=levels, ols=ols, scale=scale)


def _check_scale(scale: float, y: np.ndarray, design: Design) -> None:
    if scale <= 1e-12 * np.abs(y).max():
        raise DataError(
            f"The fixed effects reproduce the response {design.response!r} exactly, so there is nothing "
            "left to model; take out the term that is computed from the response."
        )


def orthonormal(X: np.ndarray, labels: list[str], what: str) -> tuple[np.ndarray, np.ndarray]:
    """QR decomposition with a positive diagonal; dependent columns are refused by name.

    Parameters
    ----------
    X : (n, p) array
    labels : list of str
    what : str
        What the columns are, for the message.

    Returns
    -------
    Q : (n, p) array
    R : (p, p) array

    Raises
    ------
    DataError
        If a column is zero or a linear combination of those before it.
    """
    A, norm = _normalised(X)
    R = _gram_factor(A)
    if R is None:
        Q, R = np.linalg.qr(A)
        return Q * _signs(R), _checked(R, norm, labels, what)
    Q = A @ np.linalg.inv(R)
    again = np.linalg.cholesky(Q.T @ Q).T
    return Q @ np.linalg.inv(again), again @ R * norm


def triangle(X: np.ndarray, labels: list[str], what: str) -> np.ndarray:
    """Compute R of `orthonormal` alone, to the accuracy that a change of coordinates needs."""
    A, norm = _normalised(X)
    R = _gram_factor(A)
    return _checked(np.linalg.qr(A, mode="r"), norm, labels, what) if R is None else R * norm


def _normalised(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of length 1 (or 0), and their lengths."""
    norm = np.sqrt(np.einsum("ij,ij->j", X, X))
    return X / np.where(norm > 0, norm, 1.0), norm


def _gram_factor(A: np.ndarray) -> np.ndarray | None:
    """Triangle of the QR decomposition from the cross-products, if the columns are far from dependent.

    With one repetition on Q this is as accurate as Householder's method and many times as fast for tall
    matrices (Yamamoto et al. 2015, Electronic Transactions on Numerical Analysis 44, 306).
    """
    try:
        R = np.linalg.cholesky(A.T @ A).T
    except np.linalg.LinAlgError:
        return None
    return R if len(R) and np.diag(R).min() > INDEPENDENT else None


def _signs(R: np.ndarray) -> np.ndarray:
    return np.where(np.diag(R) < 0, -1.0, 1.0)


def _checked(R: np.ndarray, norm: np.ndarray, labels: list[str], what: str) -> np.ndarray:
    """R of the unscaled columns, with a positive diagonal, if they are independent."""
    bad = np.flatnonzero((np.abs(np.diag(R)) < DEPENDENT) | (norm == 0))
    if bad.size:
        k = int(bad[0])
        if norm[k] == 0:
            raise DataError(f"Column {labels[k]!r} of the {what} is zero in every row; take it out.")
        weights = np.linalg.lstsq(R[:k, :k], R[:k, k], rcond=None)[0]
        others = [repr(labels[i]) for i in range(k) if abs(weights[i]) > 1e-6]
        raise DataError(
            f"Column {labels[k]!r} of the {what} is a linear combination of {', '.join(others)}; "
            "take one of them out of the formula."
        )
    return _signs(R)[:, None] * R * norm


def _compress(A: np.ndarray, M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace levels with equal A by at most K q(p + 1) pseudo-levels with the same likelihood."""
    K, q, m, J = M.shape
    if q == 0:
        return A, np.ones(J), M
    flat = np.ascontiguousarray(A.reshape(K * q * q, J).T)
    _, first, inverse, size = np.unique(flat, axis=0, return_index=True, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    crowded = size > K * q * m
    if not crowded.any():
        return A, np.ones(J), M
    alone = ~crowded[inverse]
    A_parts, count_parts, M_parts = [A[..., alone]], [np.ones(int(alone.sum()))], [M[..., alone]]
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(size)
    for k in np.flatnonzero(crowded):
        members = order[ends[k] - size[k] : ends[k]]
        pseudo = np.linalg.qr(M[..., members].reshape(K * q * m, -1).T, mode="r")
        lanes = len(pseudo)
        A_parts.append(np.repeat(A[..., first[k], None], lanes, axis=-1))
        count_parts.append(np.r_[float(size[k]), np.zeros(lanes - 1)])
        M_parts.append(pseudo.T.reshape(K, q, m, lanes))
    return np.concatenate(A_parts, axis=-1), np.concatenate(count_parts), np.concatenate(M_parts, axis=-1)
