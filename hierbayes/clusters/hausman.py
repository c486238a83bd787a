r"""Fixed against random effects: whether slopes within groups agree with those of the random-intercept model.

The fixed-effects (within) estimator is least squares with a dummy for every group; it needs nothing of the groups.
The random-effects estimator, generalised least squares at the REML variances, also uses differences between groups,
and is more precise if the effects of the groups are uncorrelated with the predictors, and inconsistent if they are
not. Over the k coefficients that both estimate,

    H = (b_F - b_R)ᵀ (V_F - V_R)⁻¹ (b_F - b_R)  ~  χ²_k

(Hausman 1978, Econometrica 46, 1251). Three ways of it:

- "Hausman": V_F with the residual variance of the regression with dummies, V_R of REML, as published and as most
  programs print it. The difference of two estimates need not be positive definite, and then there is no test.
- "Hausman, one sigma": both with the residual variance of REML, which makes the difference positive semi-definite.
- "Mundlak": are the coefficients of the group means zero beside the predictors themselves, i.e. between minus within?
  It is fitted as a model of its own and needs no difference of matrices (Mundlak 1978; Wooldridge 2010, Econometric
  Analysis of Cross Section and Panel Data, section 10.7.3). An F test, with Satterthwaite's degrees of freedom: with
  few groups the one to believe, as the χ² of the others takes their variance as known. At equal variances its q F is
  the second H exactly, for balanced and unbalanced data (Arellano 1993, Journal of Econometrics 59, 87).

A test that does not reject is no proof that the random-effects slope is unbiased: look at the difference and its
standard error. Whichever way it goes, the between-within model gives the within slope and keeps the random effects.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display
from hierbayes.clusters.between_within import factor_of
from hierbayes.design import Design, Factor, Term
from hierbayes.errors import DataError, HierbayesError, SingularFit
from hierbayes.estimates import Estimate
from hierbayes.groups import level_means
from hierbayes.inference.contrasts import Df, inference, joint_test
from hierbayes.marginal import Marginal
from hierbayes.model import Model
from hierbayes.reml import maximise
from hierbayes.variation import varies

COEFFICIENTS = ["term", "fixed", "fixed_se", "random", "random_se", "difference", "std_error", "statistic", "p_value"]
TESTS = ["test", "statistic", "df", "den_df", "p_value", "note"]
DEFINITE = 1e-10
"""Smallest eigenvalue, relative to the largest, of a difference of covariance matrices that can be inverted."""


@dataclass(frozen=True, eq=False, repr=False)
class Hausman:
    """Fixed against random effects.

    Made by `hausman`.

    Attributes
    ----------
    coefficients : pandas.DataFrame
        One row a coefficient that varies within groups: term, fixed and random (estimates) with fixed_se and
        random_se, difference, its std_error by one residual variance, statistic (z) and p_value.
    tests : pandas.DataFrame
        Rows "Hausman", "Hausman, one sigma" (statistic is χ²) and "Mundlak" (F); columns test, statistic, df, den_df,
        p_value, note.
    group : str
        The grouping factor.
    """

    coefficients: pd.DataFrame
    tests: pd.DataFrame
    group: str

    def _repr_html_(self) -> str:
        coefficients = display.table(self.coefficients, "Coefficients by fixed and by random effects")
        tests = display.table(self.tests, "Tests that they are the same")
        return display.document(f"Fixed against random effects of {self.group}", coefficients, tests)

    def __repr__(self) -> str:
        def text(table: pd.DataFrame) -> str:
            return table.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}")

        return f"{text(self.coefficients)}\n\n{text(self.tests)}"


def hausman(model: Model, df: Df = "satterthwaite") -> Hausman:
    """Compare fixed effects (least squares with group dummies) with random effects (REML).

    Parameters
    ----------
    model : Model
        With one random intercept, ``(1 | g)``. Weights and offset are taken along.
    df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"
        Of the Mundlak test; ``"z"`` is the asymptotic Wald test.

    Returns
    -------
    Hausman

    Raises
    ------
    DataError
        If no predictor varies within groups.
    HierbayesError
        For random slopes, several factors, other families, correlated residuals, known standard errors.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.hausman(hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups")))
    >>> found.coefficients[["term", "fixed", "random", "difference", "std_error"]].round(4)
      term   fixed  random  difference  std_error
    0    X  0.4268  0.4388      -0.012      0.006
    >>> found.tests[["test", "statistic", "df", "den_df", "p_value"]].round(3)
                     test  statistic  df  den_df  p_value
    0             Hausman      4.066   1     NaN    0.044
    1  Hausman, one sigma      3.939   1     NaN    0.047
    2             Mundlak     89.278   1   5.707    0.000
    """
    design = _random_intercept(model)
    factor = factor_of(design, None)
    within, between = varies(design.X, factor)
    if not within.any():
        raise DataError(
            f"No predictor varies within the levels of {factor.name!r}, so there is no fixed-effects estimate."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFit)  # said in the notes
        random = model.reml()
    b_f, bread, sigma = least_squares_with_dummies(design, factor, within)
    b_r, V_r = random.fixef.to_numpy()[within], random.vcov.to_numpy()[np.ix_(within, within)]
    d = b_f - b_r
    one = bread * random.sigma**2 - V_r
    se = np.sqrt(np.maximum(np.diag(one), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > DEFINITE * np.sqrt(np.diag(V_r)), d / se, np.nan)
    labels = [label for label, keep in zip(design.labels, within, strict=True) if keep]
    columns = (
        labels, b_f, sigma * np.sqrt(np.diag(bread)), b_r, np.sqrt(np.diag(V_r)),
        d, se, z, 2.0 * stats.norm.sf(np.abs(z)),
    )  # fmt: skip
    coefficients = pd.DataFrame(dict(zip(COEFFICIENTS, columns, strict=True)))
    indefinite = "the difference of the covariance matrices is not positive definite"
    tests = [
        (
            "Hausman",
            *_chi_square(d, bread * sigma**2 - V_r, indefinite),
        ),
        ("Hausman, one sigma", *_chi_square(d, one, "the two estimates are the same")),
        ("Mundlak", *_mundlak(design, factor, within & between, df)),
    ]
    if random.singular:
        note = "the group variance is estimated as zero: random effects are complete pooling"
        tests = [(*row[:-1], "; ".join(filter(None, [row[-1], note]))) for row in tests]
    return Hausman(coefficients, pd.DataFrame(tests, columns=TESTS), factor.name)


def least_squares_with_dummies(
    design: Design, factor: Factor, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weighted least squares of some columns beside a dummy for every group.

    Parameters
    ----------
    design : Design
    factor : Factor
    columns : (p,) bool array
        Those that vary within groups.

    Returns
    -------
    b : (k,) array
    bread : (k, k) array
        Its covariance matrix over σ².
    sigma : float
        Residual standard deviation, of a row of weight 1.

    Raises
    ------
    DataError
        If the columns are collinear within groups, or leave no degrees of freedom.
    """
    w = np.ones(design.n) if design.weights is None else design.weights
    y = design.y - (0.0 if design.offset is None else design.offset)
    Xy, J = np.column_stack([design.X[:, columns], y]), len(factor.levels)
    centred = (Xy - level_means(Xy, factor.codes, J, w)[factor.codes]) * np.sqrt(w)[:, None]
    X, y = centred[:, :-1], centred[:, -1]
    df = design.n - len(np.unique(factor.codes)) - X.shape[1]
    scale = np.sqrt((X**2).sum(axis=0))
    if df < 1 or np.linalg.svd(X / scale, compute_uv=False)[-1] < 1e-8:
        raise DataError(
            f"The predictors are collinear within the levels of {factor.name!r}, or there are too few rows for group "
            "dummies; take a predictor out."
        )
    Q, R = np.linalg.qr(X)
    half = np.linalg.inv(R)
    b = half @ (Q.T @ y)
    return b, half @ half.T, float(np.sqrt(((y - X @ b) ** 2).sum() / df))


def _random_intercept(model: Model) -> Design:
    """The design, refused if it is more than a random intercept."""
    d = model.design
    plain = model.family.exact and d.residual is None and d.sigma is None
    if not plain or len(d.blocks) != 1 or d.blocks[0].labels != ["Intercept"]:
        raise HierbayesError(
            "hausman() compares a Gaussian model with one random intercept, (1 | g), with group dummies; "
            f"{model.formula!r} is another model. For slopes and several factors test the contextual effects of "
            "hb.between_within(model)."
        )
    return d


def _chi_square(d: np.ndarray, V: np.ndarray, fault: str) -> tuple[float, int, float, float, str]:
    """Statistic, df, nothing, p and note of dᵀ V⁻¹ d."""
    scale = np.sqrt(np.abs(np.diag(V)))
    if not (scale > 0).all():
        return np.nan, len(d), np.nan, np.nan, fault
    eigenvalues = np.linalg.eigvalsh(V / np.outer(scale, scale))
    if eigenvalues[0] <= DEFINITE * max(1.0, eigenvalues[-1]):
        return np.nan, len(d), np.nan, np.nan, fault
    H = float(d @ np.linalg.solve(V, d))
    return H, len(d), np.nan, float(stats.chi2.sf(H, len(d))), ""


def with_means(design: Design, factor: Factor, columns: np.ndarray) -> Design:
    """The design with the group means (over rows) of some columns added to its fixed effects.

    Parameters
    ----------
    design : Design
    factor : Factor
    columns : (p,) bool array

    Returns
    -------
    Design
    """
    means = level_means(design.X[:, columns], factor.codes, len(factor.levels), design.weights)[factor.codes]
    labels = [f"mean of {label}" for label, keep in zip(design.labels, columns, strict=True) if keep]
    terms = tuple(Term(label, (label,)) for label in labels)
    return replace(design, X=np.column_stack([design.X, means]), terms=(*design.terms, *terms))


def _mundlak(design: Design, factor: Factor, columns: np.ndarray, df: Df) -> tuple[float, int, float, float, str]:
    """F, its degrees of freedom, p and note of the contextual effects."""
    if not columns.any():
        return np.nan, 0, np.nan, np.nan, "every predictor has the same mean in all groups"
    larger = with_means(design, factor, columns)
    if np.linalg.matrix_rank(larger.X / np.linalg.norm(larger.X, axis=0)) < larger.X.shape[1]:
        return np.nan, int(columns.sum()), np.nan, np.nan, "more group means than the groups can tell apart"
    marginal = Marginal(larger)
    fit = Estimate(marginal, maximise(marginal), "REML")
    test = joint_test(fit, inference(fit, df), list(larger.labels[len(design.labels) :])).iloc[0]
    note = "the group variance is zero beside the group means" if fit.singular else ""
    return float(test["F"]), int(test["num_df"]), float(test["den_df"]), float(test["p_value"]), note
