r"""Kenward and Roger's tests of fixed effects: adjusted covariance matrix and degrees of freedom.

The covariance matrix of the response is linear in the variance parameters, V = Σ_r s_r G_r: one parameter for every
variance and free covariance of the random effects, and σ². With Φ = (XᵀV⁻¹X)⁻¹,

    P_r = -XᵀV⁻¹G_rV⁻¹X,    Q_rs = XᵀV⁻¹G_rV⁻¹G_sV⁻¹X,
    2 I_rs = tr V⁻¹G_rV⁻¹G_s - 2 tr ΦQ_rs + tr ΦP_rΦP_s,    W = I⁻¹,
    Φ_A = Φ + 2 Φ [Σ_rs W_rs (Q_rs - P_rΦP_s)] Φ

Φ_A accounts for the variance of the estimates that comes from not knowing V, and for the bias of Φ; the scaled F
test of q contrasts and its degrees of freedom match two moments (Kenward & Roger 1997, Biometrics 53, 983; as in
pbkrtest, Halekoh & Højsgaard 2014, Journal of Statistical Software 59, 9).

None of it needs the rows again. With G_r = Z S_r Zᵀ all of the above follows from T = ZᵀV⁻¹Z and U = ZᵀV⁻¹X, which
the cross-products of the effects give by Woodbury's identity. The results do not depend on the basis of the linear
space of covariance matrices, so V itself takes the place of the matrix of σ², and V⁻¹VV⁻¹ = V⁻¹ needs nothing new.

T is block diagonal: levels that share no row, directly or through others, do not meet. One factor has one small
block a level; crossed factors have one dense block, whose size is bounded by `MOST`. Blocks of one shape are worked
on together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate
from hierbayes.moments import Moments

MOST = 6_000
"""Most random effects that may hang together: T then takes 300 MB, and a minute."""
TOGETHER = 4_000_000
"""Entries of T worked on at a time."""
SAME = 1e-10
"""Variance parameters with less than this fraction of their information to themselves are one parameter."""


@dataclass(frozen=True, eq=False)
class KenwardRoger:
    """Covariance matrices of the fixed effects, plain and adjusted, and what their uncertainty needs.

    Everything is for γ, in units of V over σ².

    Parameters
    ----------
    basis : (p, p) array
        From γ to the fixed effects, times σ.
    plain, adjusted : (p, p) array
        Φ and Φ_A.
    P : (k, p, p) array
    W : (k, k) array
    """

    basis: np.ndarray
    plain: np.ndarray
    adjusted: np.ndarray
    P: np.ndarray
    W: np.ndarray

    @property
    def vcov(self) -> np.ndarray:
        """(p, p) adjusted covariance matrix of the fixed effects."""
        return self.basis @ self.adjusted @ self.basis.T

    def variance(self, c: np.ndarray) -> float:
        """Adjusted variance of one contrast (p,)."""
        c = self.basis.T @ c
        return float(c @ self.adjusted @ c)

    def df(self, c: np.ndarray) -> float:
        """Degrees of freedom of a t test of one contrast."""
        return self._moments(c[None])[1]

    def f_test(self, L: np.ndarray, difference: np.ndarray) -> tuple[float, float]:
        """F, scaled, and its denominator degrees of freedom, as `Satterthwaite.f_test`."""
        half = L @ self.basis
        scaling, df = self._moments(L)
        F = float(difference @ np.linalg.solve(half @ self.adjusted @ half.T, difference)) / len(L)
        return scaling * F, df

    def _moments(self, L: np.ndarray) -> tuple[float, float]:
        """Scale and denominator degrees of freedom of the F test of q contrasts."""
        q = len(L)
        half = L @ self.basis @ self.plain
        chol = np.linalg.cholesky(L @ self.basis @ half.T)
        half = np.linalg.solve(chol, half)
        N = half @ self.P @ half.T
        traces = np.trace(N, axis1=1, axis2=2)
        A1 = float(traces @ self.W @ traces)
        A2 = float(np.einsum("rs,rij,sji->", self.W, N, N))
        if A2 <= 0.0:
            return 1.0, np.inf
        if q == 1:
            return 1.0, 2.0 / A2
        B = (A1 + 6.0 * A2) / (2.0 * q)
        g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
        c1, c2, c3 = np.array([g, q - g, q + 2.0 - g]) / (3.0 * q + 2.0 * (1.0 - g))
        mean = 1.0 - A2 / q
        ratio = 1.0 if abs(mean) < SAME and abs(1.0 - c2 * B) < SAME else mean / (1.0 - c2 * B)
        rho = ratio**2 * (1.0 + c1 * B) / (1.0 - c3 * B) / q
        df = 4.0 + (q + 2.0) / (q * rho - 1.0)
        return (1.0 if abs(df - 2.0) < 1e-2 else df * mean / (df - 2.0)), df


def kenward_roger(fit: Estimate) -> KenwardRoger:
    """Adjust the covariance matrix of the fixed effects.

    Parameters
    ----------
    fit : Estimate
        By REML, with independent residuals.

    Returns
    -------
    KenwardRoger

    Raises
    ------
    HierbayesError
        For an ML fit, for correlated residuals, and where more than `MOST` random effects hang together.

    Examples
    --------
    >>> import hierbayes as hb, numpy as np
    >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    >>> round(kenward_roger(reml).df(np.ones(1)), 6)
    5.0
    """
    if fit.method != "REML":
        raise HierbayesError(
            "Kenward and Roger's adjustment is that of the REML estimate: call model.reml(), "
            "or use df='satterthwaite' for this ML fit."
        )
    residual = fit.design.residual
    if residual is not None and residual.kind == "cs":
        raise HierbayesError(
            f"Kenward and Roger's adjustment is not there for residual={residual.text!r}; where ρ is not negative "
            f"write it as (1 | {residual.name}), or use df='satterthwaite'."
        )
    if residual is not None:
        raise HierbayesError(
            f"Kenward and Roger's adjustment needs a covariance that is linear in its parameters, and residual="
            f"{residual.text!r} is not; use df='satterthwaite'."
        )
    m = fit.moments
    if m.p == 0:
        none = np.zeros((0, 0))
        return KenwardRoger(none, none, none, np.zeros((0, 0, 0)), none)
    sums = _sums(fit)
    chol = fit.optimum.chol
    information = chol @ chol.T
    plain = np.linalg.inv(information)
    P, Q, trace = sums.P, sums.Q, sums.trace
    if fit.design.sigma is None:
        # V itself as a further parameter
        k, p = len(P), m.p
        P = np.concatenate([P, -information[None]])
        Q = np.zeros((k + 1, k + 1, p, p))
        Q[:k, :k], Q[:k, k], Q[k, :k], Q[k, k] = sums.Q, -sums.P, -sums.P, information
        trace = np.block([[trace, sums.alone[:, None]], [sums.alone[None], np.array([[float(m.n)]])]])
    PP = P @ plain
    expected = trace - 2.0 * np.einsum("rsij,ji->rs", Q, plain) + np.einsum("rij,sji->rs", PP, PP)
    size = np.sqrt(np.maximum(np.diag(expected), np.finfo(float).tiny))
    W = 2.0 * np.linalg.pinv(expected / np.outer(size, size), rcond=SAME, hermitian=True) / np.outer(size, size)
    inner = np.einsum("rs,rsij->ij", W, Q) - np.einsum("rs,rij,sjk->ik", W, PP, P)
    adjusted = plain + 2.0 * plain @ (0.5 * (inner + inner.T)) @ plain
    return KenwardRoger(m.scale * fit.optimum.sigma * np.linalg.inv(m.R), plain, adjusted, P, W)


@dataclass(frozen=True)
class _Sums:
    """What the random effects contribute, one row a variance parameter.

    Parameters
    ----------
    P : (k, p, p) array
    Q : (k, k, p, p) array
    trace : (k, k) array
        tr V⁻¹G_rV⁻¹G_s.
    alone : (k,) array
        tr V⁻¹G_r.
    """

    P: np.ndarray
    Q: np.ndarray
    trace: np.ndarray
    alone: np.ndarray


def _sums(fit: Estimate) -> _Sums:
    """Go through the blocks of T."""
    m, system = fit.moments, _System(fit)
    parameters = system.parameters
    k, p = len(parameters), m.p
    sums = _Sums(np.zeros((k, p, p)), np.zeros((k, k, p, p)), np.zeros((k, k)), np.zeros(k))
    for counts, C, M in system.blocks():
        T, U, places = _whitened(counts, C, M, system.widths, system.factors)
        for r, (f, of_r) in enumerate(parameters):
            U_f = [U[:, at] for at in places[f]]
            for a, b in of_r:
                sums.P[r] -= np.tensordot(U_f[a], U_f[b], ([0, 1], [0, 1]))
                sums.alone[r] += np.einsum("nll->", T[:, places[f][a], places[f][b]])
            for s, (g, of_s) in enumerate(parameters[: r + 1]):
                for a, b in of_r:
                    for c, d in of_s:
                        middle = T[:, places[f][b], places[g][c]]
                        sums.trace[r, s] += np.vdot(middle, T[:, places[f][a], places[g][d]])
                        sums.Q[r, s] += np.tensordot(U_f[a], middle @ U[:, places[g][d]], ([0, 1], [0, 1]))
    for r in range(k):
        for s in range(r):
            sums.trace[s, r], sums.Q[s, r] = sums.trace[r, s], sums.Q[r, s].T
    return sums


def _whitened(
    counts: np.ndarray, C: np.ndarray, M: np.ndarray, widths: list[int], factors: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[list[slice]]]:
    """T and U of some blocks of one shape, and where each effect of each factor stands in them.

    Parameters
    ----------
    counts : (factors,) int array
        Levels of each factor in a block.
    C : (blocks, N, N) array
        ZᵀZ.
    M : (blocks, N, p) array
        ZᵀX.
    widths : list of int
        Effects per level of each factor.
    factors : list of (width, width) array
        Λ of each factor.
    """
    ends = np.cumsum(counts * widths)
    begins = ends - counts * widths

    def scaled(B: np.ndarray) -> np.ndarray:
        """Compute ΛᵀB for the Λ of all levels of a block."""
        parts = []
        for begin, end, width, factor in zip(begins, ends, widths, factors, strict=True):
            rows = B[:, begin:end].reshape(len(B), -1, width, B.shape[-1])
            parts.append((factor.T @ rows).reshape(len(B), end - begin, B.shape[-1]))
        return np.concatenate(parts, axis=1)

    left = scaled(C)
    W = scaled(left.transpose(0, 2, 1))
    W[:, np.arange(W.shape[1]), np.arange(W.shape[1])] += 1.0
    solved = np.linalg.solve(W, np.concatenate([left, scaled(M)], axis=2))
    del W
    back = left.transpose(0, 2, 1)
    N = C.shape[1]
    T = C - back @ solved[:, :, :N]
    U = M - back @ solved[:, :, N:]
    places = [
        [slice(int(begin) + i, int(end), width) for i in range(width)]
        for begin, end, width in zip(begins, ends, widths, strict=True)
    ]
    return T, U, places


class _System:
    """Cross-products of all random effects, in blocks that do not meet.

    Attributes
    ----------
    widths : list of int
        Effects per level of each factor.
    factors : list of (width, width) array
        Λ of each factor.
    parameters : list of (int, list of (int, int))
        Factor of each variance or covariance, and the entries of its matrix S_r that are one.
    """

    def __init__(self, fit: Estimate) -> None:
        design, m = fit.design, fit.moments
        order = range(len(design.factors)) if m.forest is None else m.forest.order
        effects = [design.effects_of(design.factors[f]) for f in order]
        self._levels = np.array([len(design.factors[f].levels) for f in order])
        self.widths = [where.stop - where.start for where in effects]
        self.factors = [fit.optimum.relative[where, where] for where in effects]
        self.parameters: list[tuple[int, list[tuple[int, int]]]] = []
        for f, where in enumerate(effects):
            own = m.layout.mask[where, where]
            for a, b in zip(*np.nonzero(own), strict=True):
                self.parameters.append((f, [(a, b)] if a == b else [(a, b), (b, a)]))
        self._C, self._M, met = _cross_products(m, self._levels, self.widths)
        self._place(connected_components(met, directed=False)[1])

    def _place(self, block: np.ndarray) -> None:
        """Block of every level, and place of every effect within its block."""
        factor = np.repeat(np.arange(len(self._levels)), self._levels)
        self._counts = np.zeros((block.max(initial=-1) + 1, len(self._levels)), dtype=np.int64)
        np.add.at(self._counts, (block, factor), 1)
        widths = np.array(self.widths, dtype=np.int64)
        largest = int((self._counts @ widths).max(initial=0))
        if largest > MOST:
            raise HierbayesError(
                f"Kenward and Roger's adjustment needs a dense matrix of the {largest} random effects that hang "
                f"together here, more than {MOST}; use df='satterthwaite', which needs none."
            )
        # levels are numbered factor by factor, so a stable sort by block keeps the factors together
        ordered = np.argsort(block, kind="stable")
        width = widths[factor[ordered]]
        ends = np.cumsum(width)
        total = np.concatenate([[0], np.cumsum(self._counts @ widths)])
        within = np.empty(len(block), dtype=np.int64)
        within[ordered] = ends - width - total[block[ordered]]
        each = widths[factor]
        self._block = np.repeat(block, each)
        self._within = np.repeat(within - (np.cumsum(each) - each), each) + np.arange(int(each.sum()))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Levels of each factor, ZᵀZ and ZᵀX of blocks of one shape, some at a time."""
        entry = self._block[self._C.row]
        shapes, shape_of = np.unique(self._counts, axis=0, return_inverse=True)
        shape_of = shape_of.ravel()
        for number, counts in enumerate(shapes):
            size = int(counts @ self.widths)
            mine = np.flatnonzero(shape_of == number)
            for some in np.array_split(mine, min(len(mine), -(-len(mine) * size**2 // TOGETHER))):
                position = np.full(len(shape_of), -1)
                position[some] = np.arange(len(some))
                C = np.zeros((len(some), size, size))
                kept = position[entry] >= 0
                row, column = self._C.row[kept], self._C.col[kept]
                C[position[self._block[row]], self._within[row], self._within[column]] = self._C.data[kept]
                M = np.zeros((len(some), size, self._M.shape[1]))
                rows = np.flatnonzero(position[self._block] >= 0)
                M[position[self._block[rows]], self._within[rows]] = self._M[rows]
                yield counts, C, M


def _cross_products(m: Moments, levels: np.ndarray, widths: list[int]) -> tuple[coo_array, np.ndarray, csr_array]:
    """ZᵀZ and ZᵀX of all effects, factor by factor and level by level, and which levels share a row."""
    begins = np.concatenate([[0], np.cumsum(levels * widths)])
    firsts = np.concatenate([[0], np.cumsum(levels)])
    if m.levels is not None:
        q, J = m.q, int(levels[0])
        at = np.arange(q * J).reshape(J, q)
        row, column = np.broadcast_arrays(at[:, :, None], at[:, None, :])
        A = m.levels.A_levels[0].transpose(2, 0, 1)
        M = m.levels.M_levels[0, :, :-1].transpose(2, 0, 1).reshape(q * J, m.p)
        return coo_array((A.ravel(), (row.ravel(), column.ravel()))), M, csr_array((J, J))
    assert m.forest is not None
    data = m.data[0]
    rows, columns, values, first, second = [], [], [], [], []
    for (f, g), cells in m.forest.cells.items():
        row = begins[f] + cells.row[:, None, None] * widths[f] + np.arange(widths[f])[:, None]
        column = begins[g] + cells.column[:, None, None] * widths[g] + np.arange(widths[g])[None]
        row, column = (array.ravel() for array in np.broadcast_arrays(row, column))
        value = data[m.forest.blocks[f, g]].ravel()
        for a, b in ((row, column),) if f == g else ((row, column), (column, row)):
            rows.append(a)
            columns.append(b)
            values.append(value)
        first.append(firsts[f] + cells.row)
        second.append(firsts[g] + cells.column)
    M = np.concatenate([data[at][:, :, :-1].reshape(-1, m.p) for at in m.forest.xy])
    total = int(firsts[-1])
    met = coo_array(
        (np.ones(sum(map(len, first))), (np.concatenate(first), np.concatenate(second))), shape=(total, total)
    )
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_array(entries), M, met.tocsr()
