"""Whether one model is a special case of another, and in how many variances they differ.

Fixed effects: the columns of the smaller X lie in the column space of the larger. Random effects: for each block of
the smaller model the larger one has a block of the same groups whose covariance can become that of the block:

- a correlated block: its columns lie in the column space of one correlated block;
- a column of an uncorrelated block, or a block of one column: the same, or it is proportional to a column of an
  uncorrelated block.

Residuals: the same correlation, or one more in the larger model. Rows, response, weights, offset and known
standard errors must be the same (`hierbayes.design.check_same_data`).
"""

from __future__ import annotations

import numpy as np

from hierbayes.design import Block, Design, Factor
from hierbayes.errors import FormulaError
from hierbayes.residual import Residual

WITHIN = 1e-7
"""A column lies in a space if less than this fraction of its length does not."""

REMEDY = "A likelihood-ratio test needs nested models; give the smaller model first."


def check_nested(smaller: Design, larger: Design) -> None:
    """Refuse models of which the first is not a special case of the second.

    Raises
    ------
    FormulaError
        Names what the larger model does not have.
    """
    says = f"{named(smaller)!r} is not a special case of {named(larger)!r}: the larger model has no"
    root = np.sqrt(np.ones(smaller.n) if smaller.weights is None else smaller.weights)[:, None]
    beyond = [
        label for k, label in enumerate(smaller.labels) if not within(smaller.X[:, [k]] * root, larger.X * root)
    ]
    if beyond:
        raise FormulaError(f"{says} fixed effect {beyond[0]!r}. {REMEDY}")
    for block in smaller.blocks:
        whole = block.correlated or block.Z.shape[1] == 1
        for columns in [block.Z] if whole else list(block.Z.T[:, :, None]):
            if not any(_contains(other, block.factor, columns) for other in larger.blocks):
                labels = ", ".join(block.labels)
                raise FormulaError(
                    f"{says} random effects of {block.factor.name!r} that can become ({labels}). {REMEDY}"
                )
    one, other = smaller.residual, larger.residual
    if one is not None and (other is None or not _same_residual(one, other)):
        raise FormulaError(f"{says} residual correlation {one.text!r}. {REMEDY}")


def named(design: Design) -> str:
    """The formula, and the residual correlation if there is one."""
    return design.formula + ("" if design.residual is None else f", residual {design.residual.text}")


def _same_residual(one: Residual, other: Residual) -> bool:
    """Whether two structures are the same: steps between the rows of the same series."""
    if one.kind != other.kind or not same_groups(one.codes, other.codes):
        return False
    steps = [each.time - _first(each)[each.codes] for each in (one, other)]
    return np.array_equal(*steps)


def _first(residual: Residual) -> np.ndarray:
    """First time of every series."""
    first = np.full(residual.codes.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, residual.codes, residual.time)
    return first


def _contains(block: Block, factor: Factor, columns: np.ndarray) -> bool:
    """Whether a block of the larger model can become one with these columns."""
    if not same_groups(block.factor.codes, factor.codes):
        return False
    if block.correlated:
        return within(columns, block.Z)
    return columns.shape[1] == 1 and any(within(columns, own[:, None]) for own in block.Z.T)


def same_groups(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two codings sort the rows into the same groups.

    Examples
    --------
    >>> same_groups(np.array([0, 0, 1]), np.array([1, 1, 0])), same_groups(np.array([0, 0, 1]), np.array([0, 1, 1]))
    (True, False)
    """
    pairs = np.unique(one.astype(np.int64) * (int(other.max()) + 1) + other)
    return len(pairs) == len(np.unique(one)) == len(np.unique(other))


def same_space(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two sets of columns span the same space."""
    return within(one, other) and within(other, one)


def within(columns: np.ndarray, space: np.ndarray) -> bool:
    """Whether columns lie in the space that others span.

    Examples
    --------
    >>> space = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> within(np.array([[3.0], [2.0], [1.0]]), space), within(np.array([[0.0], [1.0], [4.0]]), space)
    (True, False)
    """
    if columns.shape[1] > space.shape[1]:
        return False
    Q = np.linalg.qr(space / np.linalg.norm(space, axis=0))[0]
    rest = columns - Q @ (Q.T @ columns)
    return bool((np.linalg.norm(rest, axis=0) <= WITHIN * np.linalg.norm(columns, axis=0)).all())
