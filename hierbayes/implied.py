r"""What given variances imply for all rows together: the matrices of the theory, written out.

    y = Xβ + Zu + ε,    u ~ N(0, D),    ε ~ N(0, R),    so that    y ~ N(Xβ, V),    V = Z D Zᵀ + R

The rows of X and Z are the n rows of the data. Z has a column for every effect of every level of every grouping
factor, D a block for every level (the covariance matrix of its effects), and R = σ² W^{-1/2} C(ρ) W^{-1/2} with
precision weights W and the correlation C of the residuals: the identity, compound symmetry or AR(1). For known D
and R everything else follows (Henderson 1975, Biometrics 31, 423; Harville 1977, JASA 72, 320):

    β̂  = (Xᵀ V⁻¹ X)⁻¹ Xᵀ V⁻¹ y,    Cov β̂ = (Xᵀ V⁻¹ X)⁻¹          generalised least squares
    û  = D Zᵀ V⁻¹ (y - Xβ̂)                                       best linear unbiased prediction
    ℓ  = -½ [ n log 2π + log|V| + (y - Xβ)ᵀ V⁻¹ (y - Xβ) ]       log likelihood
    ℓ_R = -½ [ (n - p) log 2π + log|V| + log|Xᵀ V⁻¹ X| + (y - Xβ̂)ᵀ V⁻¹ (y - Xβ̂) ]       restricted

ℓ_R is ∫ exp ℓ dβ (Harville 1974, Biometrika 61, 383). None of this is how the package fits: that never sees V. Here
the formulas are taken at their word, as a reference and for teaching, but for one thing: rows that share no level,
directly or through others, have no covariance, so V is block diagonal and is factored block by block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes import display
from hierbayes.errors import DataError, HierbayesError, suggest
from hierbayes.structures import checked_correlation, in_order, residual_correlation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hierbayes.design import Design, Factor

    type OfFactor = ArrayLike | pd.Series | pd.DataFrame | Mapping[str, float]
    type Covariance = Mapping[str, OfFactor] | pd.DataFrame | ArrayLike

MOST_ROWS = 3_000
"""Most rows that are written out densely: V then takes 72 MB."""
NEGATIVE = 1e-10
"""An eigenvalue of a covariance matrix below minus this fraction of the largest one is negative."""


def fixed(design: Design) -> pd.DataFrame:
    """X with its labels, (n, p)."""
    return pd.DataFrame(design.X, index=row_index(design), columns=pd.Index(design.labels))


def row_index(design: Design) -> pd.Index:
    """Labels of the rows: those of the user's data frame, or their places."""
    return pd.RangeIndex(design.n) if design.row_labels is None else pd.Index(design.row_labels)


def random_columns(design: Design) -> pd.MultiIndex:
    """Group, level and term of every column of Z: factor by factor, level by level, effect by effect."""
    columns = [
        (factor.name, level, label)
        for factor in design.factors
        for level in factor.levels
        for label in effects_of(design, factor)
    ]
    return pd.MultiIndex.from_frame(pd.DataFrame(columns, columns=["group", "level", "term"]))


def effects_of(design: Design, factor: Factor) -> list[str]:
    """Names of the effects of every level of a factor, all its blocks together."""
    return [label for part in design.parts_of(factor) for label in part.block.labels]


def random_design(design: Design) -> Any:
    """Z as a sparse matrix: effect i of level j of a factor is column ``j q + i`` of its columns.

    Returns
    -------
    scipy.sparse.csr_array
        (n, effects of all levels).
    """
    from scipy.sparse import csr_array

    values, columns, at = [np.zeros((design.n, 0))], [np.zeros((design.n, 0), dtype=np.int64)], 0
    for factor in design.factors:
        effects = design.effect_columns(factor)
        q = effects.shape[1]
        values.append(effects)
        columns.append(at + q * factor.codes[:, None].astype(np.int64) + np.arange(q))
        at += q * len(factor.levels)
    data, where = np.concatenate(values, axis=1), np.concatenate(columns, axis=1)
    begins = np.arange(design.n + 1) * data.shape[1]
    return csr_array((data.ravel(), where.ravel(), begins), shape=(design.n, at))


@dataclass(frozen=True, eq=False)
class GLS:
    """Generalised least squares.

    Attributes
    ----------
    fixef : pandas.Series
        β̂ = (Xᵀ V⁻¹ X)⁻¹ Xᵀ V⁻¹ y.
    vcov : pandas.DataFrame
        (Xᵀ V⁻¹ X)⁻¹.
    """

    fixef: pd.Series
    vcov: pd.DataFrame

    @property
    def std_error(self) -> pd.Series:
        """Standard errors, V being known."""
        return pd.Series(np.sqrt(np.diag(self.vcov)), index=self.fixef.index)


@dataclass(frozen=True, eq=False, repr=False)
class Implied:
    """The matrices of a mixed model at given variances, and what follows from them.

    Made by `hierbayes.design.Design.implied`, and by `hierbayes.RemlFit.implied` at the estimates.

    Parameters
    ----------
    design : Design
    covariance : (q, q) array
        Of the random effects of a level, block diagonal over the factors.
    sigma : float
        Residual standard deviation of a row of weight 1.
    rho : float or None
        Residual correlation.

    Examples
    --------
    Two classrooms of two pupils, a variance of 4 between classrooms and of 1 within:

    >>> import hierbayes as hb, pandas as pd
    >>> data = pd.DataFrame({"score": [7.0, 8.0, 11.0, 13.0], "classroom": ["a", "a", "b", "b"]})
    >>> implied = hb.Model("score ~ 1 + (1 | classroom)", data).design.implied({"classroom": 4.0}, sigma=1.0)
    >>> implied.V()
         0    1    2    3
    0  5.0  4.0  0.0  0.0
    1  4.0  5.0  0.0  0.0
    2  0.0  0.0  5.0  4.0
    3  0.0  0.0  4.0  5.0
    >>> implied.gls().fixef.to_dict()
    {'Intercept': 9.75}
    >>> implied.blup()["classroom"]["Intercept"].round(9).to_dict()
    {'a': -2.0, 'b': 2.0}
    """

    design: Design
    covariance: np.ndarray
    sigma: float
    rho: float | None

    @property
    def Z(self) -> Any:  # noqa: N802
        """Sparse (n, effects of all levels); columns as in `hierbayes.design.Design.Z_labels`."""
        return self.design.Z

    @cached_property
    def D(self) -> Any:  # noqa: N802
        """Covariance of all random effects, a sparse matrix with one block a level."""
        from scipy.sparse import block_diag, csr_array, eye_array, kron

        design = self.design
        blocks = [
            kron(eye_array(len(factor.levels)), self.covariance[where, where])
            for factor in design.factors
            for where in [design.effects_of(factor)]
        ]
        return block_diag(blocks, format="csr") if blocks else csr_array((0, 0))

    @cached_property
    def R(self) -> Any:  # noqa: N802
        """Covariance of the residuals, sparse (n, n).

        Raises
        ------
        DataError
            If series of correlated residuals are too long to be written out.
        """
        return self._residual(self.design)

    def _residual(self, design: Design) -> Any:
        from scipy.sparse import diags_array

        deviation = np.full(design.n, self.sigma) if design.weights is None else self.sigma / np.sqrt(design.weights)
        if design.residual is None or self.rho is None:
            return diags_array(deviation**2, format="csr")
        D = diags_array(deviation)
        return (D @ residual_correlation(design.residual, self.rho) @ D).tocsr()

    def V(self, rows: ArrayLike | slice | None = None) -> pd.DataFrame:  # noqa: N802
        """Covariance of the responses, V = Z D Zᵀ + R, of some rows.

        Parameters
        ----------
        rows : int array, bool array or slice, optional
            Places of the rows, counted from 0; by default all of them.

        Returns
        -------
        pandas.DataFrame
            Dense, labelled by the index of the data frame.

        Raises
        ------
        DataError
            For more than 3,000 rows; ``implied.Z @ implied.D @ implied.Z.T + implied.R`` is sparse.
        ValueError
            If a row is named twice, or if there is no such row.
        """
        where = self._places(rows)
        if len(np.unique(where)) < len(where):
            raise ValueError("A row is named twice; name each row of V once.")
        if len(where) > MOST_ROWS:
            raise DataError(
                f"V of {len(where):,} rows has {len(where) ** 2:,} entries; name at most {MOST_ROWS:,} rows, as in "
                "V(rows=range(20)), or take the sparse matrices Z, D and R."
            )
        design = self.design.only(where)
        Z = design.Z
        labels = row_index(self.design)[where]
        V = (Z @ self.D @ Z.T).toarray() + self._residual(design).toarray()
        return pd.DataFrame(V, index=labels, columns=labels)

    def _places(self, rows: ArrayLike | slice | None) -> np.ndarray:
        places, n = np.arange(self.design.n), self.design.n
        if rows is None or isinstance(rows, slice):
            return places if rows is None else places[rows]
        named = np.atleast_1d(np.asarray(rows))
        if named.dtype == bool and named.shape == (n,):
            return places[named]
        if named.ndim > 1 or (named.size and not np.issubdtype(named.dtype, np.integer)):
            raise ValueError(
                f"rows= is a list of whole numbers, a slice, or {n:,} times true or false, not {rows!r}."
            )
        beyond = named[(named < -n) | (named >= n)]
        if beyond.size:
            raise ValueError(f"There is no row {beyond[0]}: the rows are 0 to {n - 1:,}.")
        return places[named.astype(int)]

    @cached_property
    def _unconnected(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows sorted by block of V, and where the blocks begin and end among them."""
        from scipy.sparse import csr_array, hstack
        from scipy.sparse.csgraph import connected_components

        design = self.design
        n = design.n
        groupings = [f.codes for f in design.factors] + ([] if design.residual is None else [design.residual.codes])
        if not groupings:
            return np.arange(n), np.arange(n + 1)
        members = hstack([csr_array((np.ones(n), (np.arange(n), codes))) for codes in groupings], format="csr")
        levels = members.shape[1]
        graph = csr_array((members.data, members.indices + n, np.r_[members.indptr, np.full(levels, members.nnz)]))
        graph.resize(n + levels, n + levels)
        block = connected_components(graph, directed=False)[1][:n]
        sizes = np.unique(block, return_counts=True)[1]
        if sizes.max() > MOST_ROWS:
            raise DataError(
                f"{sizes.max():,} rows hang together, and V of that many is not written out (at most {MOST_ROWS:,}); "
                "model.reml() and model.ml() do without V."
            )
        return np.argsort(block, kind="stable"), np.r_[0, np.cumsum(sizes)]

    @cached_property
    def _solved(self) -> tuple[np.ndarray, float]:
        """V⁻¹ [X y] and log|V|, block by block."""
        from scipy.linalg import cho_factor, cho_solve

        design = self.design
        y = design.y - (0.0 if design.offset is None else design.offset)
        XY = np.column_stack([design.X, y])
        order, ends = self._unconnected
        Z, R, D = self.Z[order], self.R[order][:, order], self.D
        solved, logdet = np.empty_like(XY), 0.0
        for begin, end in pairwise(ends.tolist()):
            Zb = Z[begin:end]
            V = (Zb @ D @ Zb.T).toarray() + R[begin:end, begin:end].toarray()
            factor = cho_factor(V, lower=True)
            rows = order[begin:end]
            solved[rows] = cho_solve(factor, XY[rows])
            logdet += 2.0 * float(np.log(np.diag(factor[0])).sum())
        return solved, logdet

    def gls(self) -> GLS:
        """Fixed effects by generalised least squares.

        Returns
        -------
        GLS

        Raises
        ------
        DataError
            If more than 3,000 rows hang together through their levels.
        """
        X, solved = self.design.X, self._solved[0]
        vcov = np.linalg.inv(X.T @ solved[:, :-1])
        labels = self.design.labels
        return GLS(
            pd.Series(vcov @ (X.T @ solved[:, -1]), index=labels), pd.DataFrame(vcov, index=labels, columns=labels)
        )

    def blup(self) -> dict[str, pd.DataFrame]:
        """Random effects by best linear unbiased prediction.

        Returns
        -------
        dict of str to pandas.DataFrame
            For each grouping factor, levels x terms, as `RemlFit.ranef`.

        Raises
        ------
        DataError
            As of `gls`.
        """
        solved = self._solved[0]
        u = self.D @ (self.Z.T @ (solved[:, -1] - solved[:, :-1] @ self.gls().fixef.to_numpy()))
        found, at = {}, 0
        for factor in self.design.factors:
            labels = effects_of(self.design, factor)
            size = len(labels) * len(factor.levels)
            index = pd.Index(factor.levels, name=factor.name)
            found[factor.name] = pd.DataFrame(u[at : at + size].reshape(-1, len(labels)), index=index, columns=labels)
            at += size
        return found

    def loglik(self, method: str = "REML") -> float:
        """Log likelihood of the variances.

        Parameters
        ----------
        method : {"REML", "ML"}, default "REML"
            The restricted likelihood, or the likelihood at β̂ of `gls`.

        Returns
        -------
        float
            With all constants: minus half of `RemlFit.criterion` at its estimates.

        Raises
        ------
        ValueError
            For another method.
        DataError
            As of `gls`.
        """
        if method not in ("REML", "ML"):
            raise ValueError(f"method must be 'REML' or 'ML', not {method!r}")
        design = self.design
        n, p = design.X.shape
        solved, logdet = self._solved
        beta = self.gls().fixef.to_numpy()
        y = design.y - (0.0 if design.offset is None else design.offset)
        quadratic = (y - design.X @ beta) @ (solved[:, -1] - solved[:, :-1] @ beta)
        if method == "REML":
            logdet += float(np.linalg.slogdet(design.X.T @ solved[:, :-1])[1])
            n -= p
        return -0.5 * float(n * np.log(2.0 * np.pi) + logdet + quadratic)

    def _repr_html_(self) -> str:
        n, effects, labels = self.design.n, self.D.shape[0], self.design.effect_labels
        known = {"V": f"{n} x {n}", "D": f"{effects} x {effects}", "sigma": self.sigma, "rho": self.rho}
        of_a_level = pd.DataFrame(self.covariance, labels, labels)
        covariance = display.table(of_a_level, "Covariance of the random effects of a level") if labels else None
        return display.document("Implied matrices", display.facts(known), covariance, formula=self.design.formula)

    def __repr__(self) -> str:
        d = self.design
        of = [f"D {self.D.shape[0]} x {self.D.shape[0]}"] if d.factors else []
        given = [f"sigma={self.sigma:.6g}", *([] if self.rho is None else [f"rho={self.rho:.6g}"])]
        return f"Implied({', '.join([f'{d.formula!r}', *of, f'V {d.n} x {d.n}', *given])})"


def imply(design: Design, covariance: Covariance, sigma: float | None, rho: float | None) -> Implied:
    """Check variances and bring them into the order of the design; see `hierbayes.design.Design.implied`."""
    if not design.family.exact:
        raise HierbayesError(
            f"V = Z D Zᵀ + R is the covariance of a Gaussian response with identity link, not {design.family}."
        )
    if (sigma is None) == (design.sigma is None):
        raise ValueError(
            "sigma= is the residual standard deviation, and is needed."
            if sigma is None
            else "The standard errors of the rows are known (se=); leave sigma= out."
        )
    known = design.sigma if sigma is None else float(sigma)
    if known is None or not (np.isfinite(known) and known > 0.0):
        raise ValueError(f"sigma= is a positive residual standard deviation, not {sigma!r}")
    if (rho is None) != (design.residual is None):
        raise ValueError(
            f"rho=, the correlation of the residuals, is needed for {design.residual.text}."
            if design.residual is not None
            else "The residuals of this model are independent; leave rho= out, or give the model residual=."
        )
    if design.residual is not None and rho is not None:
        rho = checked_correlation(design.residual, rho)
    return Implied(design, _covariance(design, covariance), known, rho)


def _covariance(design: Design, given: Covariance) -> np.ndarray:
    """(q, q) covariance matrix of the random effects of a level."""
    q = design.layout.q
    if not isinstance(given, Mapping):
        whole = in_order(given, design.effect_labels, "covariance= of all effects")
        if whole.shape != (q, q):
            raise ValueError(f"covariance= is a mapping by grouping factor, or a ({q}, {q}) matrix of all effects.")
        given = {f.name: whole[design.effects_of(f), design.effects_of(f)] for f in design.factors}
    names = [factor.name for factor in design.factors]
    for name in given:
        if name not in names:
            raise ValueError(f"the model has no grouping factor {name!r}. {suggest(name, names)}")
    covariance = np.zeros((q, q))
    for factor in design.factors:
        if factor.name not in given:
            raise ValueError(f"covariance= lacks the random effects of {factor.name!r}.")
        where = design.effects_of(factor)
        covariance[where, where] = _of_factor(design, factor, given[factor.name])
    return covariance


def _of_factor(design: Design, factor: Factor, given: OfFactor) -> np.ndarray:
    """Covariance matrix of the effects of one factor, from a variance, variances or a matrix."""
    labels = effects_of(design, factor)
    q = len(labels)
    values = in_order(given, labels, f"the covariance of {factor.name!r}")
    if values.shape == () and q == 1:
        values = values.reshape(1, 1)
    if values.shape == (q,):
        values = np.diag(values)
    called = ", ".join(map(repr, labels))
    if values.shape != (q, q):
        raise ValueError(
            f"the covariance of {factor.name!r} is a ({q}, {q}) matrix, or {q} variance{'s' * (q > 1)}, of {called}, "
            f"not an array of shape {values.shape}."
        )
    if not np.isfinite(values).all() or not np.allclose(values, values.T, rtol=1e-10, atol=0.0):
        raise ValueError(f"the covariance of {factor.name!r} ({called}) is not a symmetric matrix of finite numbers.")
    eigenvalues = np.linalg.eigvalsh(values)
    if eigenvalues[0] < -NEGATIVE * max(eigenvalues[-1], 0.0) or eigenvalues[-1] < 0.0:
        raise ValueError(
            f"the covariance of {factor.name!r} ({called}) has the negative eigenvalue {eigenvalues[0]:.3g}: no "
            "random effects have it."
        )
    return values
