"""The design: what the likelihood needs of formula and data, and nothing else.

The random-effects design is kept as effect columns and integer group codes, never as a matrix of
rows x groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hierbayes.covariance import Layout


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
    """

    name: str
    labels: tuple[str, ...]
    levels: tuple[str, ...] | None = None


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
class Design:
    """Response, fixed effects and random-effect blocks of one model on one data set.

    Parameters
    ----------
    formula : str
        As the user wrote it.
    response : str
    y : (n,) array
    X : (n, p) array
    terms : tuple of Term
        Fixed effects, in the order of the columns of X.
    blocks : tuple of Block
    n_dropped : int
        Rows of the data frame left out for missing values.
    dropped_columns : tuple of str
        The columns with missing values.
    """

    formula: str
    response: str
    y: np.ndarray
    X: np.ndarray
    terms: tuple[Term, ...]
    blocks: tuple[Block, ...]
    n_dropped: int = 0
    dropped_columns: tuple[str, ...] = field(default=())

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

    @property
    def factor(self) -> Factor:
        """The grouping factor that all blocks share."""
        return self.blocks[0].factor

    @property
    def effect_labels(self) -> list[str]:
        """Name of each of the q effects of a level."""
        return [label for block in self.blocks for label in block.labels]

    @property
    def layout(self) -> Layout:
        """Sizes of the blocks and which of them are correlated."""
        return Layout(
            tuple(block.Z.shape[1] for block in self.blocks),
            tuple(block.correlated and block.Z.shape[1] > 1 for block in self.blocks),
        )

    def __repr__(self) -> str:
        factor = self.factor
        return (
            f"Design({self.formula!r}: {self.n} rows, {self.X.shape[1]} fixed effects, "
            f"{self.layout.q} random effects for each of {len(factor.levels)} levels of {factor.name})"
        )
