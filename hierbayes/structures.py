r"""Covariance structures by name: diagonal, compound symmetry, AR(1).

For n variables with standard deviations s_i (one variance v for all: s_i² = v)

    diagonal             s_i²  on the diagonal, 0 elsewhere
    compound symmetry    ρ s_i s_j              for i ≠ j,   -1/(n-1) < ρ < 1
    AR(1)                ρ^|i-j| s_i s_j,                    -1 < ρ < 1

The limits are those between which the matrix is positive definite: compound symmetry has the eigenvalues 1 - ρ and
1 + (n-1)ρ (Pinheiro & Bates 2000, section 5.3.1). They are known to `hierbayes.residual.Residual`, which has the same
structures for residuals, series by series; `residual_correlation` writes those out as a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError
from hierbayes.residual import Residual

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_PAIRS = 20_000_000
"""Most pairs of rows of the same series that are written out: the sparse matrix then takes 0.3 GB."""


def diagonal(n: int | Sequence[str], variance: ArrayLike | Mapping[str, float] = 1.0) -> pd.DataFrame:
    """Variances without correlations.

    Parameters
    ----------
    n : int or sequence of str
        How many variables, or their labels.
    variance : float, (n,) array, or Series or mapping by label, default 1
        Squared units of the variables.

    Returns
    -------
    pandas.DataFrame
        (n, n), with the labels on both sides.

    Raises
    ------
    ValueError
        For a negative variance, or another number of them than n.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.diagonal(["Intercept", "Days"], [600, 35])
               Intercept  Days
    Intercept      600.0   0.0
    Days             0.0  35.0
    """
    return _structure(n, variance, np.eye(len(_labels(n))))


def compound_symmetry(
    n: int | Sequence[str], variance: ArrayLike | Mapping[str, float] = 1.0, correlation: float = 0.0
) -> pd.DataFrame:
    """The same correlation between any two of n variables.

    Parameters
    ----------
    n : int or sequence of str
        How many variables, or their labels.
    variance : float, (n,) array, or Series or mapping by label, default 1
        Squared units of the variables.
    correlation : float, default 0
        Between -1/(n - 1) and 1.

    Returns
    -------
    pandas.DataFrame
        (n, n), with the labels on both sides.

    Raises
    ------
    ValueError
        For a correlation that no n variables can have, a negative variance, or another number of them than n.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.compound_symmetry(3, variance=4, correlation=-0.25).to_numpy().tolist()
    [[4.0, -1.0, -1.0], [-1.0, 4.0, -1.0], [-1.0, -1.0, 4.0]]
    """
    return _structure(n, variance, _one_series("cs", n, correlation))


def ar1(
    n: int | Sequence[str], variance: ArrayLike | Mapping[str, float] = 1.0, correlation: float = 0.0
) -> pd.DataFrame:
    """Correlations that fall off by powers along a sequence of n variables.

    Parameters
    ----------
    n : int or sequence of str
        How many variables, one step apart, or their labels in order.
    variance : float, (n,) array, or Series or mapping by label, default 1
        Squared units of the variables.
    correlation : float, default 0
        Of neighbours, between -1 and 1.

    Returns
    -------
    pandas.DataFrame
        (n, n), with the labels on both sides.

    Raises
    ------
    ValueError
        For a correlation outside (-1, 1), a negative variance, or another number of them than n.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.ar1(3, variance=4, correlation=0.5).to_numpy().tolist()
    [[4.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 4.0]]
    """
    return _structure(n, variance, _one_series("ar1", n, correlation))


def residual_correlation(residual: Residual, rho: float) -> Any:
    """R(ρ) of all rows, written out.

    Parameters
    ----------
    residual : Residual
    rho : float

    Returns
    -------
    scipy.sparse.csr_array
        (n, n), with entries between rows of the same series only.

    Raises
    ------
    ValueError
        If ρ is outside the range in which R is positive definite.
    DataError
        If series are so long that R has more than `MOST_PAIRS` entries.

    Examples
    --------
    >>> whole = Residual("cs", "cs(g)", "g", np.array([0, 0, 1]), np.zeros(3, dtype=int))
    >>> residual_correlation(whole, 0.5).toarray().tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    from scipy.sparse import csr_array

    checked_correlation(residual, rho)
    n, sizes = len(residual.codes), np.bincount(residual.codes)
    if (entries := int((sizes.astype(float) ** 2).sum())) > MOST_PAIRS:
        raise DataError(
            f"R has {entries:,} entries, as the longest series has {sizes.max():,} rows; ask for a part of the rows."
        )
    # rows sorted by series: each stands beside every row of its own series
    order = residual.order
    beside = sizes[residual.codes[order]]
    first = np.repeat(np.r_[0, np.cumsum(sizes)[:-1]], sizes)
    i = np.repeat(np.arange(n), beside)
    j = np.arange(len(i)) - np.repeat(np.cumsum(beside) - beside, beside) + np.repeat(first, beside)
    one, other = order[i], order[j]
    steps = np.abs(residual.time[one] - residual.time[other]) if residual.kind == "ar1" else one != other
    return csr_array((float(rho) ** steps, (one, other)), shape=(n, n))


def checked_correlation(residual: Residual, rho: float) -> float:
    """ρ, refused where R is not positive definite."""
    low, high = residual.bounds
    if not low < rho < high:
        longest = "" if residual.kind == "ar1" else f" of {np.bincount(residual.codes).max()}"
        raise ValueError(
            f"the correlation of {residual.text}{longest} is between {low:.6g} and {high:.6g}, not {rho!r}: "
            "elsewhere the matrix is not positive definite."
        )
    return float(rho)


def in_order(given: Any, labels: Sequence, what: str) -> np.ndarray:
    """Numbers in the order of labels, which decide where the numbers have labels of their own; 0, 1, … are none.

    Parameters
    ----------
    given : array-like, pandas.Series, pandas.DataFrame or mapping
    labels : sequence
    what : str
        They are, for the message.

    Raises
    ------
    ValueError
        If there are other labels, or no numbers.

    Examples
    --------
    >>> in_order({"Days": 35, "Intercept": 600}, ["Intercept", "Days"], "the variance").tolist()
    [600.0, 35.0]
    """
    labels = list(labels)
    try:
        named = pd.Series(dict(given), dtype=float) if isinstance(given, Mapping) else given
        if isinstance(named, (pd.Series, pd.DataFrame)) and any(_names(axis) for axis in named.axes):
            for axis in named.axes:
                if len(axis) != len(labels) or set(axis) != set(labels):
                    raise ValueError(f"{what} is labelled {_shown(axis)}, where {_shown(labels)} belong.")
            if any(list(axis) != labels for axis in named.axes):
                named = named.loc[labels, labels] if isinstance(named, pd.DataFrame) else named.loc[labels]
        return np.asarray(named, dtype=float)
    except TypeError:
        raise ValueError(f"{what} is made of numbers, not {given!r}.") from None


def _names(axis: pd.Index) -> bool:
    return list(axis) != list(range(len(axis)))


def _shown(labels: Any) -> str:
    return ", ".join(map(repr, labels))


def _one_series(kind: str, n: int | Sequence[str], correlation: float) -> np.ndarray:
    """The correlation matrix of one series at consecutive times."""
    size = len(_labels(n))
    text = {"ar1": "neighbours under AR(1)", "cs": "a group under compound symmetry"}[kind]
    series = Residual(kind, text, "", np.zeros(size, dtype=int), np.arange(size))
    return series.matrix(checked_correlation(series, correlation))


def _structure(
    n: int | Sequence[str], variance: ArrayLike | Mapping[str, float], correlation: np.ndarray
) -> pd.DataFrame:
    labels = _labels(n)
    variances = in_order(variance, labels, "the variance")
    if variances.shape not in ((), (len(labels),)) or not (np.isfinite(variances) & (variances >= 0.0)).all():
        raise ValueError(f"variance is one number or {len(labels)}, none negative, not {variance!r}")
    sd = np.broadcast_to(np.sqrt(variances), len(labels))
    covariance = correlation * np.outer(sd, sd)
    np.fill_diagonal(covariance, variances)
    return pd.DataFrame(covariance, index=labels, columns=labels)


def _labels(n: int | Sequence[str]) -> list:
    if isinstance(n, (int, np.integer)):
        if n < 1:
            raise ValueError(f"n is a positive whole number or a list of labels, not {n!r}")
        return list(range(n))
    return list(n)
