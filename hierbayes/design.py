"""The design: what the likelihood needs of formula and data, and nothing else.

The random-effects design is kept as effect columns and integer group codes, never as a matrix of
rows x groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes import display
from hierbayes.covariance import Layout
from hierbayes.errors import DataError, suggest
from hierbayes.family import GAUSSIAN, Family
from hierbayes.residual import Residual

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.implied import Covariance, Implied


@dataclass(frozen=True, eq=False)
class Component:
    """One variable of a term.

    Parameters
    ----------
    name : str
    labels : tuple of str
        One per column.
    coding : (levels, columns) array or None
        What a categorical variable puts into its columns, None for a numeric one.
    """

    name: str
    labels: tuple[str, ...]
    coding: np.ndarray | None = None


@dataclass(frozen=True)
class Term:
    """One term of the formula and the columns that it makes.

    Parameters
    ----------
    name : str
        As Bambi prints it: ``"Intercept"``, ``"Days"``, ``"sex"``.
    labels : tuple of str
        One per column: ``("sex[Male]",)``.
    levels : tuple of str or None
        Coordinates of the columns for a term that is a vector in the posterior, None for a scalar.
    components : tuple of Component
        The variables whose products the columns are, those of the last one changing fastest; none for an
        intercept.
    """

    name: str
    labels: tuple[str, ...]
    levels: tuple[str, ...] | None = None
    components: tuple[Component, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Factor:
    """A grouping factor.

    Parameters
    ----------
    name : str
    codes : (n,) int array
        Position of each row's level in `levels`.
    levels : (J,) array of str
        Only the levels that occur.
    """

    name: str
    codes: np.ndarray
    levels: np.ndarray


@dataclass(frozen=True)
class Block:
    """Random effects that vary together: one pair of parentheses of the formula.

    Parameters
    ----------
    factor : Factor
    terms : tuple of Term
        The effects, named without the factor: ``Term("1", …)``, ``Term("Days", …)``.
    Z : (n, q) array
        One column per effect.
    correlated : bool
        True for ``(x | g)``, False for ``(x || g)``.
    """

    factor: Factor
    terms: tuple[Term, ...]
    Z: np.ndarray
    correlated: bool

    @property
    def labels(self) -> list[str]:
        """Name of each effect column, the intercept as ``"Intercept"``."""
        return [label for term in self.terms for label in term.labels]


@dataclass(frozen=True)
class Part:
    """A block and its place among all random effects of the design.

    Parameters
    ----------
    block : Block
    number : int
        Counts the blocks of the same factor, from 0.
    where : slice
        Its effects among the q effects of the design.
    free : bool
        Whether it has correlations.
    """

    block: Block
    number: int
    where: slice
    free: bool

    @property
    def factor(self) -> Factor:
        """Grouping factor of the block."""
        return self.block.factor


@dataclass(frozen=True)
class Design:
    """Response, fixed effects and random-effect blocks of one model on one data set.

    Parameters
    ----------
    formula : str
        As the user wrote it.
    response : str
    y : (n,) array
        Numbers; 0 and 1, or successes; positions in `categories`; (n, K) counts of a multinomial response.
    X : (n, p) array
    terms : tuple of Term
        Fixed effects, in the order of the columns of X.
    blocks : tuple of Block
        Blocks of one grouping factor stand together; none at all if only the residuals are correlated.
    n_dropped : int
        Rows of the data frame left out for missing values.
    dropped_columns : tuple of str
        The columns with missing values.
    offset : (n,) array or None
        Known part of the expected response.
    weights : (n,) array or None
        The residual variance of row i is σ²/weights[i] (lme4's meaning).
    sigma : float or None
        σ where it is known: 1 if the standard error of every row is given (weights are then its
        inverse square).
    residual : Residual or None
        Correlation of the residuals.
    row_labels : (n,) array or None
        Labels of the rows in the index of the user's data frame; None for their places.
    family : Family
    trials : (n,) array or None
        Number of trials of each row of a binomial response.
    categories : tuple of str or None
        Levels of a categorical or ordinal response.
    outcomes : (str, tuple of str) or None
        Dimension and labels of the columns of the linear predictor, where it has several (categorical and
        multinomial responses).
    event : str or None
        What is 1 of a binary response of text, categories or booleans: ``"answer = no"``.
    """

    formula: str
    response: str
    y: np.ndarray
    X: np.ndarray
    terms: tuple[Term, ...]
    blocks: tuple[Block, ...]
    n_dropped: int = 0
    dropped_columns: tuple[str, ...] = ()
    offset: np.ndarray | None = None
    weights: np.ndarray | None = None
    sigma: float | None = None
    residual: Residual | None = None
    row_labels: np.ndarray | None = field(default=None, compare=False, repr=False)
    family: Family = GAUSSIAN
    trials: np.ndarray | None = None
    categories: tuple[str, ...] | None = None
    outcomes: tuple[str, tuple[str, ...]] | None = None
    event: str | None = None

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y)

    @property
    def labels(self) -> list[str]:
        """Name of each column of X."""
        return [label for term in self.terms for label in term.labels]

    @property
    def intercept(self) -> int | None:
        """Column of the intercept in X, None if there is none."""
        return self.labels.index("Intercept") if "Intercept" in self.labels else None

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The grouping factors, in the order of the blocks."""
        return tuple({block.factor.name: block.factor for block in self.blocks}.values())

    @cached_property
    def groupings(self) -> tuple[Factor, ...]:
        """The grouping factors or, without random effects, the series of the residuals as one."""
        residual = self.residual
        if self.factors or residual is None:
            return self.factors
        kept, codes = np.unique(residual.codes, return_inverse=True)
        levels = kept.astype(str) if residual.levels is None else residual.levels[kept]
        return (Factor(residual.name, codes.ravel(), levels),)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The blocks with their places."""
        layout = self.layout
        seen: dict[str, int] = {}
        parts = []
        for block, where, free in zip(self.blocks, layout.slices, layout.correlated, strict=True):
            number = seen.get(block.factor.name, 0)
            seen[block.factor.name] = number + 1
            parts.append(Part(block, number, where, free))
        return tuple(parts)

    def parts_of(self, factor: Factor) -> list[Part]:
        """The blocks of one grouping factor."""
        return [part for part in self.parts if part.factor.name == factor.name]

    def grouping_factor(self, name: str) -> Factor:
        """The grouping factor of that name.

        Raises
        ------
        ValueError
            If there is none.
        """
        factors = {factor.name: factor for factor in self.factors}
        if name not in factors:
            raise ValueError(f"the model has no grouping factor {name!r}. {suggest(name, factors)}")
        return factors[name]

    def effect_columns(self, factor: Factor, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Columns (rows, q) of the random effects of a grouping factor, all its blocks together."""
        return np.concatenate([part.block.Z[rows] for part in self.parts_of(factor)], axis=1)

    def effects_of(self, factor: Factor) -> slice:
        """Effects of one grouping factor among the q effects."""
        parts = self.parts_of(factor)
        return slice(parts[0].where.start, parts[-1].where.stop)

    def only(self, rows: np.ndarray) -> Design:
        """The same model on some of the rows; levels that lose all their rows stay.

        Parameters
        ----------
        rows : int or bool array

        Returns
        -------
        Design
        """
        factors = {f.name: replace(f, codes=f.codes[rows]) for f in self.factors}
        return replace(
            self,
            y=self.y[rows],
            X=self.X[rows],
            blocks=tuple(replace(b, factor=factors[b.factor.name], Z=b.Z[rows]) for b in self.blocks),
            offset=None if self.offset is None else self.offset[rows],
            weights=None if self.weights is None else self.weights[rows],
            residual=None if self.residual is None else self.residual.only(rows),
            row_labels=None if self.row_labels is None else self.row_labels[rows],
            trials=None if self.trials is None else self.trials[rows],
        )

    @property
    def fixed(self) -> pd.DataFrame:
        """X with the names of its columns and the labels of its rows, (n, p)."""
        from hierbayes.implied import fixed

        return fixed(self)

    @property
    def Z(self) -> Any:  # noqa: N802
        """Design of all random effects, a `scipy.sparse.csr_array` (n, effects of all levels), see `Z_labels`."""
        from hierbayes.implied import random_design

        return random_design(self)

    @property
    def Z_labels(self) -> pd.MultiIndex:  # noqa: N802
        """Group, level and term of each column of Z: factor by factor, level by level, effect by effect."""
        from hierbayes.implied import random_columns

        return random_columns(self)

    def implied(self, covariance: Covariance, sigma: float | None = None, rho: float | None = None) -> Implied:
        """The matrices D, R and V = Z D Zᵀ + R at given variances, and what follows from them.

        Parameters
        ----------
        covariance : mapping or (q, q) array
            By grouping factor: the variance of its only effect, ``{"classroom": 9.4}``, variances, or the covariance
            matrix of its effects (``hb.diagonal``, ``hb.compound_symmetry`` and ``hb.ar1`` make some; the labels of a
            data frame are followed). Or that of all effects, as ``reml.covariance`` is; ``{}`` if there are none.
        sigma : float, optional
            Residual standard deviation; none if the standard errors are known.
        rho : float, optional
            Residual correlation, where the model has one.

        Returns
        -------
        hierbayes.implied.Implied
            ``D``, ``R``, ``V()``, ``gls()``, ``blup()``, ``loglik()``.

        Raises
        ------
        ValueError
            For a group that the model does not have, a matrix that is no covariance matrix of its effects, or a σ or
            ρ that is missing, not needed or out of range.
        HierbayesError
            For families other than the Gaussian with identity link.

        Examples
        --------
        >>> import hierbayes as hb
        >>> design = hb.Model("Reaction ~ Days + (Days || Subject)", hb.load_data("sleepstudy")).design
        >>> design.Z.shape, design.Z_labels[1]
        ((180, 36), ('Subject', '308', 'Days'))
        >>> implied = design.implied({"Subject": [600, 36]}, sigma=25)
        >>> implied.V(rows=range(3))
                0       1       2
        0  1225.0   600.0   600.0
        1   600.0  1261.0   672.0
        2   600.0   672.0  1369.0
        """
        from hierbayes.implied import imply

        return imply(self, covariance, sigma, rho)

    @property
    def effect_labels(self) -> list[str]:
        """Name of each of the q effects, without its factor."""
        return [label for block in self.blocks for label in block.labels]

    @cached_property
    def layout(self) -> Layout:
        """Sizes of the blocks and which of them are correlated."""
        return Layout(
            tuple(block.Z.shape[1] for block in self.blocks),
            tuple(block.correlated and block.Z.shape[1] > 1 for block in self.blocks),
        )

    @property
    def levels(self) -> str:
        """Number of levels of each factor, in words: ``"18 levels of Subject"``."""
        return ", ".join(f"{len(factor.levels)} levels of {factor.name}" for factor in self.factors)

    @property
    def size(self) -> str:
        """Rows, levels, and of which category the probability is modelled, in words."""
        event = [] if self.event is None else [f"probability of {self.event}"]
        return ", ".join([f"{self.n} rows", *([self.levels] if self.factors else []), *event])

    @property
    def facts(self) -> dict[str, object]:
        """What is known of the rows, by name; None and empty text for what the model does not have."""
        family = self.family
        return {
            "response": self.response,
            "family": None if family.exact else family,
            "rows": f"{self.n} ({self.n_dropped} incomplete rows left out)" if self.n_dropped else self.n,
            "groups": self.levels,
            "probability of": self.event,
            "residuals": None if self.residual is None else self.residual.text,
            "standard errors": None if self.sigma is None else "known",
            "weights": None if self.weights is None or self.sigma is not None else "given",
            "offset": None if self.offset is None else "given",
        }

    @property
    def structure(self) -> pd.DataFrame:
        """Which effects there are.

        Returns
        -------
        pandas.DataFrame
            One row for the fixed effects and one for every block of random effects: effects ("fixed" or the grouping
            factor), levels (NA for fixed effects), terms, covariance ("free", "none" between them, or empty).
        """
        import pandas as pd

        rows: list[tuple] = [("fixed", pd.NA, ", ".join(self.labels), "")]
        for part in self.parts:
            labels = part.block.labels
            covariance = "" if len(labels) == 1 else "free" if part.free else "none"
            rows.append((f"random, {part.factor.name}", len(part.factor.levels), ", ".join(labels), covariance))
        return pd.DataFrame(rows, columns=["effects", "levels", "terms", "covariance"]).astype({"levels": "Int64"})

    def _repr_html_(self) -> str:
        effects = sum(len(part.factor.levels) * len(part.block.labels) for part in self.parts)
        sizes = {"X": f"{self.n} x {self.X.shape[1]}", "Z": f"{self.n} x {effects}" if effects else None}
        return display.document(
            "Design", display.facts(self.facts | sizes), display.table(self.structure), formula=self.formula
        )

    def __repr__(self) -> str:
        effects = [
            f"{width} random effect{'s' * (width > 1)} for each of {len(factor.levels)} levels of {factor.name}"
            for factor in self.factors
            for width in [len(range(self.layout.q)[self.effects_of(factor)])]
        ]
        if self.residual is not None:
            effects.append(f"residuals {self.residual.text}")
        if not self.family.exact:
            effects.append(f"family {self.family}")
        p = self.X.shape[1]
        fixed = f"{p} fixed effect{'s' * (p != 1)}"
        return f"Design({', '.join([f'{self.formula!r}: {self.n} rows', fixed, *effects])})"


def check_same_response(one: Design, other: Design, called: tuple[str, str]) -> None:
    """Refuse designs of different rows or responses.

    Parameters
    ----------
    one, other : Design
    called : (str, str)
        What to call them.

    Raises
    ------
    DataError
    """
    first, second = called
    if one.n != other.n:
        raise DataError(
            f"{first!r} uses {one.n} rows and {second!r} {other.n}; leave the rows that are incomplete for either "
            "out of both."
        )
    if not np.array_equal(one.y, other.y):
        of = "" if one.response == other.response else f" ({one.response!r}, {other.response!r})"
        raise DataError(
            f"{first!r} and {second!r} do not have the same response row by row{of}; fit both to the same data frame."
        )


def check_same_data(one: Design, other: Design, called: tuple[str, str]) -> None:
    """Refuse designs of different rows, responses, weights, offsets or known standard errors.

    Parameters
    ----------
    one, other : Design
    called : (str, str)
        What to call them.

    Raises
    ------
    DataError
    """
    check_same_response(one, other, called)
    pairs = {
        "weights": (one.weights, other.weights),
        "offset": (one.offset, other.offset),
        "known standard errors": (one.sigma, other.sigma),
        "trials": (one.trials, other.trials),
    }
    for what, (a, b) in pairs.items():
        if (a is None) != (b is None) or not np.array_equal(np.array(a), np.array(b)):
            raise DataError(
                f"{called[0]!r} and {called[1]!r} do not have the same {what}; fit both to the same data, in the "
                "same way."
            )
