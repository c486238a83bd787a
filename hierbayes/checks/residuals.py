r"""Residuals of a fit, standardised by what their own variance is, and what their shape says.

With V the covariance of the response at the estimated variances and ``P = V⁻¹ - V⁻¹X (XᵀV⁻¹X)⁻¹ XᵀV⁻¹``:

    conditional     y - Xβ̂ - Zb̂, what fixed effects and BLUPs leave
    marginal        y - Xβ̂, what the fixed effects leave; variance ``V_ii - x_iᵀ Cov(β̂) x_i``
    standardised    (Py)_i / √P_ii = (y_i - E[y_i | y_-i]) / sd(y_i | y_-i)

the row's distance from what all other rows predict for it, in standard deviations of that prediction. For independent
residuals this is also the conditional residual over its own standard deviation, leverage taken into account (Haslett
& Hayes 1998, Journal of the Royal Statistical Society B 60, 201); it has variance 1 whatever the weights and the
correlation of the residuals. It comes in closed form from `hierbayes.cross_validation.left_out`: O(rows), no matrix
of rows x rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.covariance import cholesky, partials
from hierbayes.cross_validation.left_out import Predictive
from hierbayes.design import Factor
from hierbayes.estimates import Estimate

SHAPIRO_WILK = 5000
"""Of more values the test rejects whatever the data: no real residual is exactly normal."""
DETERMINED = 1e-8
"""A row of which the residual keeps less than this share of its variance is reproduced exactly by the model."""


def theta_of(estimate: Estimate) -> np.ndarray:
    """θ of `hierbayes.marginal` at an estimate."""
    sd, partial = partials(cholesky(estimate.covariance), estimate.moments.layout)
    theta = [sd, partial]
    if estimate.design.sigma is None:
        theta.append(np.array([estimate.sigma]))
    if estimate.design.residual is not None:
        theta.append(np.array([estimate.marginal.place(estimate.optimum.rho)]))
    return np.concatenate(theta)


def residuals_table(estimate: Estimate) -> pd.DataFrame:
    """Residuals of every row.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    pandas.DataFrame
        Columns row (its label in the index of the data), observed, fitted (with the BLUPs), conditional, marginal,
        standardised, marginal_standardised; the first five in units of the response. A row that the model
        reproduces exactly, being the only one to determine some coefficient, has no standardised residual: NaN.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> table = residuals_table(reml)
    >>> table.loc[table["standardised"].abs().idxmax()].round(2)[["row", "observed", "fitted", "standardised"]]
    row              56.00
    observed        454.16
    fitted          321.62
    standardised      5.53
    Name: 56, dtype: float64
    """
    design = estimate.design
    noise = np.full(design.n, estimate.sigma) if design.weights is None else estimate.sigma / np.sqrt(design.weights)
    fixed = design.X @ estimate.fixef.to_numpy() + (0.0 if design.offset is None else design.offset)
    variance = noise**2 - np.einsum("np,pq,nq->n", design.X, estimate.vcov.to_numpy(), design.X)
    for factor in design.factors:
        Z, where = design.effect_columns(factor), design.effects_of(factor)
        variance += np.einsum("nq,qr,nr->n", Z, estimate.covariance[where, where], Z)
    predictive = Predictive(estimate.marginal, theta_of(estimate)[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, sd = (column[:, 0] for column in predictive.predict(strict=False))
        standardised = (design.y - mean) / sd
        marginal = (design.y - fixed) / np.sqrt(variance)
    standardised[~(sd**2 * DETERMINED < noise**2)] = np.nan
    marginal[~(variance > DETERMINED * noise**2)] = np.nan
    return pd.DataFrame(
        {
            "row": np.arange(design.n) if design.row_labels is None else design.row_labels,
            "observed": design.y,
            "fitted": estimate.fitted,
            "conditional": estimate.residuals,
            "marginal": design.y - fixed,
            "standardised": standardised,
            "marginal_standardised": marginal,
        }
    )


def quantiles(values: np.ndarray) -> pd.DataFrame:
    """Points of a normal Q-Q plot: each value and the normal quantile of its rank.

    Parameters
    ----------
    values : (n,) array
        Standardised; NaN are left out.

    Returns
    -------
    pandas.DataFrame
        Columns theoretical, ``Φ⁻¹((rank - ½)/n)``, and sample, in increasing order.

    Examples
    --------
    >>> quantiles(np.array([0.3, -1.2, 0.8]))["sample"].tolist()
    [-1.2, 0.3, 0.8]
    """
    sample = np.sort(values[np.isfinite(values)])
    return pd.DataFrame(
        {"theoretical": stats.norm.ppf((np.arange(len(sample)) + 0.5) / max(len(sample), 1)), "sample": sample}
    )


def scale_location(table: pd.DataFrame) -> pd.DataFrame:
    """Points of a scale-location plot: root of the absolute standardised residual against the fitted value.

    Parameters
    ----------
    table : pandas.DataFrame
        From `residuals_table`.

    Returns
    -------
    pandas.DataFrame
        Columns fitted, root.
    """
    made = pd.DataFrame({"fitted": table["fitted"], "root": np.sqrt(table["standardised"].abs())})
    return made.dropna().reset_index(drop=True)


def shape(values: np.ndarray) -> dict[str, float]:
    """Shape of standardised values, compared with a normal distribution.

    Parameters
    ----------
    values : (n,) array
        NaN are left out.

    Returns
    -------
    dict of str to float
        n, skewness, kurtosis (0 for a normal distribution), largest (the absolute value furthest from 0), W and
        p_value of the Shapiro-Wilk test: NaN for fewer than 3 or more than 5000 values, as the p-value
        is no longer to be trusted and every departure, however small, is significant.

    Examples
    --------
    >>> shape(np.array([-1.0, -0.4, 0.0, 0.4, 1.0]))["skewness"]
    0.0
    """
    values = values[np.isfinite(values)]
    W = p_value = np.nan
    if 3 <= len(values) <= SHAPIRO_WILK and np.ptp(values) > 0:
        W, p_value = stats.shapiro(values)
    many = len(values) > 2 and np.ptp(values) > 0
    return {
        "n": float(len(values)),
        "skewness": float(stats.skew(values)) if many else np.nan,
        "kurtosis": float(stats.kurtosis(values)) if many else np.nan,
        "largest": float(np.abs(values).max()) if len(values) else np.nan,
        "W": float(W),
        "p_value": float(p_value),
    }


def standardised_effects(estimate: Estimate, factor: Factor) -> pd.DataFrame:
    """BLUPs over their standard deviations, levels x terms.

    The variance of a BLUP is the variance of the effect less its conditional variance given the data, the fixed
    effects taken as known. NaN where the effect has no variance.
    """
    name, where = factor.name, estimate.design.effects_of(factor)
    total = np.diag(estimate.covariance)[where]
    explained = total - estimate.ranef_sd[name] ** 2
    return estimate.ranef[name] / np.sqrt(explained.where(explained > DETERMINED * total))
