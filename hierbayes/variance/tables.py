r"""Where the variance of the response comes from: intraclass correlation, R², design effect, partition.

The mean variance of a row is v_fixed + Σ_f v_f + v_residual (`hierbayes.variance.components`), v_f being the mean
over the rows of what the effects of factor f add, slopes included, so that no origin of a predictor matters. So

    ICC of f, adjusted       v_f / (Σ v_f + v_residual)
    ICC of f, conditional    v_f / (v_fixed + Σ v_f + v_residual)
    R² marginal              v_fixed / (v_fixed + Σ v_f + v_residual)
    R² conditional           (v_fixed + Σ v_f) / (v_fixed + Σ v_f + v_residual)

(Nakagawa & Schielzeth 2013, Methods in Ecology and Evolution 4, 133; Nakagawa, Johnson & Schielzeth 2017, Journal of
the Royal Society Interface 14, 20170213). The parts are taken to be uncorrelated, as there: a covariance between
predictors and random effects is not in the model. v_fixed is that of the estimated coefficients, as published; their
sampling error makes it a little too large.

The mean of the response has n times its variance over that of a row, the design effect, of

    1 + Σ_f (u_f - v_f)/(Σ v_f + v_residual),

where u_f is n times what factor f adds to the variance of the mean, exactly; for a random intercept u_f = m̃ v_f with
``m̃ = Σ_j n_j² / n``, which is Kish's ``1 + (m̃ - 1) ICC`` for levels of unequal size (Kish 1965, Survey Sampling,
section 5.4), and with n_j = m rows in every level ``1 + (m - 1) ICC``.

The Bayesian R² of a draw compares fitted values and residuals of the very levels in the data,

    var_i(x_iᵀβ + z_iᵀb) / (var_i(x_iᵀβ + z_iᵀb) + v_residual),

b being the draw of the random effects (Gelman, Goodrich, Gabry & Vehtari 2019, The American Statistician 73, 307,
with the variance of the residuals from the model). Their R² for new levels is the marginal R² of the draw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError
from hierbayes.estimates import Estimate, Posterior, checked
from hierbayes.inference.bootstrap import Bootstrap, replicates_of
from hierbayes.variance.components import Variances, fitted_variances, replicated, variances_of

ALL = "all"
"""Group of a row that is about all grouping factors together."""
SUMMARY = ["estimate", "std_error", "conf_low", "conf_high"]
"""Columns of every number in these tables."""
MEANING = {
    "marginal": "fixed effects, of all variance",
    "conditional": "fixed and random effects, of all variance",
    "bayesian": "fitted values of the levels in the data, of these and the residuals",
}
"""What each R² counts."""
NOT_KEPT = "not known: the draws of the random effects were summarised; fit with ranef='draws'"


def icc(
    result: Estimate | Posterior, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95
) -> pd.DataFrame:
    """Intraclass correlations, adjusted and conditional, of every grouping factor and of all together.

    Parameters
    ----------
    result : Estimate or Posterior
    bootstrap : Bootstrap or int, optional
        Of an estimate: a parametric bootstrap of it (or how many replicates to make) for the intervals. Without
        one they are NaN.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Columns ``icc`` ("adjusted": of the variance that the fixed effects leave; "conditional": of all),
        ``group`` (a factor, or "all"), ``estimate``, ``std_error``, ``conf_low``, ``conf_high``: of a posterior its
        mean, standard deviation and equal-tailed interval; of an estimate its value and the bootstrap's
        standard error and percentiles. Rows that share the level of several factors correlate by the sum of
        their ICCs. With random slopes an ICC is the mean over the rows, see the module.

    Raises
    ------
    DataError
        If the model has no random effects.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> icc(reml)[["icc", "group", "estimate"]].round(4)
               icc    group  estimate
    0     adjusted      all    0.7217
    1     adjusted  Subject    0.7217
    2  conditional      all    0.5206
    3  conditional  Subject    0.5206
    """
    check_factors(result.design, "ICC")
    return _table(icc_of, ["icc", "group"], result, bootstrap, conf_level)


def r2(
    result: Estimate | Posterior, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95
) -> pd.DataFrame:
    """Share of the variance that the model explains: Nakagawa's marginal and conditional R², and the Bayesian R².

    Parameters
    ----------
    result : Estimate or Posterior
    bootstrap : Bootstrap or int, optional
        As for `icc`.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        Columns ``r2`` ("marginal", "conditional", and of a posterior "bayesian"), ``estimate``, ``std_error``,
        ``conf_low``, ``conf_high`` as in `icc`, and ``meaning``, what is counted, in words. The Bayesian R² needs
        draws of the random effects; where these were summarised it is NaN and ``meaning`` says so.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> r2(reml)[["r2", "estimate", "meaning"]].round(4)
                r2  estimate                                    meaning
    0     marginal    0.2787             fixed effects, of all variance
    1  conditional    0.7992  fixed and random effects, of all variance
    """
    table = _table(r2_of, ["r2"], result, bootstrap, conf_level)
    table["meaning"] = [MEANING[kind] for kind in table["r2"]]
    if not isinstance(result, Posterior):
        return table
    kept = result.ranef_kept
    values = bayesian_r2(result) if kept else np.full(1, np.nan)
    row = summarised(values, float(values.mean()), conf_level)
    table.loc[len(table)] = ["bayesian", *row, MEANING["bayesian"] if kept else NOT_KEPT]
    return table


def design_effect(
    result: Estimate | Posterior, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95
) -> pd.DataFrame:
    """By how much the groups inflate the variance of a mean over the rows.

    Parameters
    ----------
    result : Estimate or Posterior
    bootstrap : Bootstrap or int, optional
        As for `icc`.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        One row a grouping factor and, last, one for all together. Columns ``group``, ``levels``, ``rows`` (mean per
        level), ``rows_kish`` (Σ n_j²/n, the mean size of the level of a row), ``estimate``, ``std_error``,
        ``conf_low``, ``conf_high`` (of the design effect, as in `icc`), and ``effective_rows``: the independent
        rows that would give as precise a mean, n over the design effect.

    Raises
    ------
    DataError
        If the model has no random effects, or if its residuals are correlated, which changes the variance of
        a mean as well.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    >>> design_effect(reml)[["group", "levels", "rows", "rows_kish", "estimate", "effective_rows"]].round(3)
       group  levels  rows  rows_kish  estimate  effective_rows
    0  Batch     6.0   5.0        5.0     2.674          11.219
    1    all     NaN   NaN        NaN     2.674          11.219
    """
    design = result.design
    check_factors(design, "design effect")
    if design.residual is not None:
        raise DataError(
            f"The design effect counts random effects, but residual={design.residual.text!r} correlates the rows as "
            "well; take the variance of the mean from a model without it."
        )
    table = _table(_design_effect, ["group"], result, bootstrap, conf_level)
    sizes = [np.bincount(factor.codes, minlength=len(factor.levels)).astype(float) for factor in design.factors]
    table.insert(1, "levels", [*(float(len(size)) for size in sizes), np.nan])
    table.insert(2, "rows", [*(size.mean() for size in sizes), np.nan])
    table.insert(3, "rows_kish", [*(size @ size / design.n for size in sizes), np.nan])
    table["effective_rows"] = design.n / table["estimate"]
    return table


def variance_partition(
    result: Estimate | Posterior, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95
) -> pd.DataFrame:
    """Variance of the response by where it comes from, in its units squared and as shares.

    Parameters
    ----------
    result : Estimate or Posterior
    bootstrap : Bootstrap or int, optional
        As for `icc`.
    conf_level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        One row for the fixed effects, one a grouping factor, one for the residuals. Columns ``component``
        ("fixed", "random", "residual"), ``group`` (NaN but for a factor), ``variance``, ``variance_std_error``,
        ``variance_low``, ``variance_high``, ``share``, ``share_std_error``, ``share_low``, ``share_high``, with
        estimates and intervals as in `icc`. Shares of one draw add up to 1. Of an estimate ``attrs["method"]`` says
        whether it is REML or ML.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin")).reml()
    >>> variance_partition(reml)[["component", "group", "variance", "share"]].round(4)
      component   group  variance   share
    0     fixed     NaN    0.0000  0.0000
    1    random   plate    0.7169  0.1509
    2    random  sample    3.7309  0.7854
    3  residual     NaN    0.3024  0.0637
    """
    columns = ["component", "group"]
    if isinstance(result, Estimate) and bootstrap is not None:
        bootstrap = replicates_of(result, bootstrap)  # one for variances and shares
    made = _table(partition_of, columns, result, bootstrap, conf_level)
    made = made.set_axis([*columns, "variance", "variance_std_error", "variance_low", "variance_high"], axis=1)
    shares = _table(shares_of, columns, result, bootstrap, conf_level)[SUMMARY]
    found = made.join(shares.set_axis(["share", "share_std_error", "share_low", "share_high"], axis=1))
    if isinstance(result, Estimate):
        found.attrs["method"] = result.method
    return found


def bayesian_r2(fit: Posterior) -> np.ndarray:
    """Bayesian R² of every draw, conditional on the levels in the data.

    Parameters
    ----------
    fit : Posterior
        With draws of its random effects.

    Returns
    -------
    (draws,) array
        Chains one after the other.

    Raises
    ------
    DataError
        If only summaries of the random effects were kept.
    """
    if not fit.ranef_kept:
        raise DataError(f"The Bayesian R² is {NOT_KEPT}.")
    explained = np.concatenate(list(fitted_variances(fit)))
    return explained / (explained + variances_of(fit).residual)


def icc_of(v: Variances) -> dict[tuple, np.ndarray]:
    """Intraclass correlations of every draw, by (kind, group)."""
    made: dict[tuple, np.ndarray] = {}
    for kind, whole in (("adjusted", v.unexplained), ("conditional", v.total)):
        made[kind, ALL] = v.random.sum(axis=1) / whole
        made |= {(kind, factor): part / whole for factor, part in zip(v.factors, v.random.T, strict=True)}
    return made


def r2_of(v: Variances) -> dict[tuple, np.ndarray]:
    """R² of every draw, by (kind,)."""
    return {("marginal",): v.fixed / v.total, ("conditional",): 1.0 - v.residual / v.total}


def _design_effect(v: Variances) -> dict[tuple, np.ndarray]:
    added = (v.summed - v.random).T / v.unexplained
    made = {(factor,): 1.0 + part for factor, part in zip(v.factors, added, strict=True)}
    return made | {(ALL,): 1.0 + added.sum(axis=0)}


def partition_of(v: Variances) -> dict[tuple, np.ndarray]:
    """Variances of every draw, by (component, group)."""
    groups = {("random", factor): part for factor, part in zip(v.factors, v.random.T, strict=True)}
    return {("fixed", np.nan): v.fixed, **groups, ("residual", np.nan): v.residual}


def shares_of(v: Variances) -> dict[tuple, np.ndarray]:
    """The same as shares of the total."""
    return {key: part / v.total for key, part in partition_of(v).items()}


def _table(
    statistic: Callable[[Variances], dict[tuple, np.ndarray]],
    columns: list[str],
    result: Estimate | Posterior,
    bootstrap: Bootstrap | int | None,
    conf_level: float,
) -> pd.DataFrame:
    """One row for each key of a statistic: its estimate and what its draws or replicates say of it."""
    values = statistic(variances_of(result))
    draws = values
    if isinstance(result, Estimate) and bootstrap is not None:
        draws = statistic(replicated(result, bootstrap))
    rows = [(*key, *summarised(draws[key], float(values[key].mean()), conf_level)) for key in values]
    return pd.DataFrame(rows, columns=[*columns, *SUMMARY])


def summarised(draws: np.ndarray, estimate: float, conf_level: float) -> tuple[float, float, float, float]:
    """Estimate, standard deviation of the draws, and their equal-tailed interval; NaN of a single draw."""
    tail = 0.5 - 0.5 * checked(conf_level)
    if len(draws) == 1:
        return estimate, np.nan, np.nan, np.nan
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return estimate, float(draws.std(ddof=1)), float(low), float(high)


def check_factors(design: Design, what: str) -> None:
    """Refuse a design without random effects."""
    if not design.factors:
        raise DataError(
            f"{design.formula!r} has no random effects and so no {what}; add a grouping factor, as in '(1 | g)'"
            + (
                ", or see the correlation of the residuals in tidy()."
                if design.residual is not None and design.residual.kind == "cs"
                else "."
            )
        )
