"""t and F tests of fixed effects, with Satterthwaite's or Kenward and Roger's degrees of freedom, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from hierbayes.estimates import FIXED, TIDY, Estimate, Maximum, checked
from hierbayes.inference.hypotheses import Contrasts, contrast_matrix, term_hypotheses
from hierbayes.inference.kenward_roger import kenward_roger
from hierbayes.inference.satterthwaite import satterthwaite, z_test

Df = Literal["satterthwaite", "kenward-roger", "z"]
T_TESTS = ["contrast", "rhs", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]
"""Columns of a table of t tests."""
F_TESTS = ["num_df", "den_df", "F", "p_value"]
"""Columns of a table of F tests."""
DEPENDENT = 1e-7
"""A contrast of which less than this is new, in standard errors, is a combination of others."""


class Inference(Protocol):
    """What is known of the variances of contrasts."""

    def variance(self, c: np.ndarray) -> float:
        """Variance of one contrast (p,)."""

    def df(self, c: np.ndarray) -> float:
        """Degrees of freedom of its t test."""

    def f_test(self, L: np.ndarray, difference: np.ndarray) -> tuple[float, float]:
        """F and denominator degrees of freedom of independent contrasts (q, p) that are `difference` (q,)."""


METHODS: dict[str, Callable[[Estimate], Inference]] = {
    "satterthwaite": satterthwaite,
    "kenward-roger": kenward_roger,
    "z": z_test,
}


def inference(fit: Estimate, df: Df = "satterthwaite") -> Inference:
    """Prepare the tests of a fit.

    Parameters
    ----------
    fit : Estimate
    df : {"satterthwaite", "kenward-roger", "z"}

    Returns
    -------
    Inference

    Raises
    ------
    ValueError
        For another `df`.
    HierbayesError
        Where Kenward and Roger's tests do not exist; see `hierbayes.inference.kenward_roger.kenward_roger`.
    """
    if df not in METHODS:
        raise ValueError(f"df is 'satterthwaite', 'kenward-roger' or 'z', not {df!r}.")
    return METHODS[df](fit)


def t_tests(
    fit: Maximum, by: Inference, weights: Contrasts, rhs: float | ArrayLike = 0.0, conf_level: float = 0.95
) -> pd.DataFrame:
    """Test contrasts one by one.

    Parameters
    ----------
    fit : Maximum
    by : Inference
    weights : Contrasts
    rhs : float or (contrasts,) array
        What the contrasts are under the hypothesis.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Columns `T_TESTS`.
    """
    names, L = contrast_matrix(weights, fit.design.labels)
    return _t_table(fit, by, names, L, _sides(rhs, names), conf_level)


def coefficient_tests(fit: Maximum, by: Inference, conf_level: float = 0.95) -> pd.DataFrame:
    """Test every fixed effect; columns as of `t_tests`."""
    p = len(fit.design.labels)
    return _t_table(fit, by, fit.design.labels, np.eye(p), np.zeros(p), conf_level)


def tidy_table(fit: Maximum, by: Inference, conf_level: float = 0.95) -> pd.DataFrame:
    """Tests of the fixed effects and Wald intervals of all other parameters.

    Parameters
    ----------
    fit : Maximum
    by : Inference
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Columns `hierbayes.estimates.TIDY`.
    """
    z = stats.norm.ppf(0.5 + 0.5 * checked(conf_level))
    tested = coefficient_tests(fit, by, conf_level).drop(columns="rhs")
    rows: list[tuple] = [(FIXED, np.nan, *row) for row in tested.itertuples(index=False, name=None)]
    variances = list(fit.parameter_values.items())[len(fit.fixef) :]
    for (key, value), (se, low, high) in zip(variances, fit.wald.intervals(z), strict=True):
        rows.append((*key, value, se, *[np.nan] * 3, low, high))
    return pd.DataFrame(rows, columns=TIDY)


def _t_table(
    fit: Maximum, by: Inference, names: list[str], L: np.ndarray, rhs: np.ndarray, conf_level: float
) -> pd.DataFrame:
    upper = 0.5 + 0.5 * checked(conf_level)
    rows = []
    for name, c, value in zip(names, L, rhs, strict=True):
        estimate, se, df = float(c @ fit.fixef), np.sqrt(by.variance(c)), by.df(c)
        statistic = (estimate - value) / se
        reach = stats.t.ppf(upper, df) * se
        p_value = 2.0 * stats.t.sf(abs(statistic), df)
        rows.append((name, value, estimate, se, statistic, df, p_value, estimate - reach, estimate + reach))
    return pd.DataFrame(rows, columns=T_TESTS)


def _sides(rhs: float | ArrayLike, names: list[str]) -> np.ndarray:
    try:
        sides = np.broadcast_to(np.asarray(rhs, dtype=float), len(names))
    except (TypeError, ValueError):
        raise ValueError(f"rhs is one number, or one for each of the {len(names)} contrasts, not {rhs!r}.") from None
    if not np.isfinite(sides).all():
        raise ValueError(f"rhs is finite, not {rhs!r}.")
    return sides


def joint_test(fit: Maximum, by: Inference, weights: Contrasts, rhs: float | ArrayLike = 0.0) -> pd.DataFrame:
    """Test contrasts together.

    Parameters
    ----------
    fit : Maximum
    by : Inference
    weights : Contrasts
        Combinations of others are left out.
    rhs : float or (contrasts,) array

    Returns
    -------
    pandas.DataFrame
        One row, columns `F_TESTS`.

    Raises
    ------
    ValueError
        If the hypothesis contradicts itself.
    """
    names, L = contrast_matrix(weights, fit.design.labels)
    return pd.DataFrame([_f_test(fit, by, names, L, _sides(rhs, names))], columns=F_TESTS)


def anova(fit: Maximum, by: Inference) -> pd.DataFrame:
    """Test every term of the formula; see `hierbayes.inference.hypotheses` for what is tested.

    Parameters
    ----------
    fit : Maximum
    by : Inference

    Returns
    -------
    pandas.DataFrame
        Columns term and `F_TESTS`.
    """
    rows = [
        (name, *_f_test(fit, by, [name] * len(L), L, np.zeros(len(L))))
        for name, L in term_hypotheses(fit.design).items()
    ]
    return pd.DataFrame(rows, columns=["term", *F_TESTS])


def _f_test(
    fit: Maximum, by: Inference, names: list[str], L: np.ndarray, rhs: np.ndarray
) -> tuple[int, float, float, float]:
    """Numerator and denominator degrees of freedom, F, p."""
    kept = _independent(fit, names, L, rhs)
    difference = L[kept] @ fit.fixef.to_numpy() - rhs[kept]
    F, df = by.f_test(L[kept], difference)
    q = len(kept)
    p_value = stats.chi2.sf(q * F, q) if np.isinf(df) else stats.f.sf(F, q, df)
    return q, df, F, float(p_value)


def _independent(fit: Maximum, names: list[str], L: np.ndarray, rhs: np.ndarray) -> list[int]:
    """Contrasts that are no combinations of those before them."""
    half = L @ np.linalg.cholesky(fit.vcov)
    half /= np.sqrt((half**2).sum(axis=1))[:, None]
    kept: list[int] = []
    for k, row in enumerate(half):
        weights = np.linalg.lstsq(half[kept].T, row, rcond=None)[0]
        if np.linalg.norm(row - weights @ half[kept]) > DEPENDENT:
            kept.append(k)
            continue
        combination = np.linalg.lstsq(L[kept].T, L[k], rcond=None)[0]
        if abs(combination @ rhs[kept] - rhs[k]) > DEPENDENT * max(1.0, np.abs(rhs).max()):
            raise ValueError(
                f"The hypothesis contradicts itself: {names[k]!r} is a combination of other contrasts, and cannot be "
                f"{rhs[k]:g} when they are as given."
            )
    return kept
