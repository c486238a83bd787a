r"""Information criteria, each with the number of parameters that it counts.

AIC, AICc and BIC are those of the marginal likelihood: they are about new rows of new groups. The conditional AIC
is about new rows of these very groups,

    cAIC = -2 log p(y | β̂, b̂, σ̂) + 2 (ρ + 1)

where ρ = Σ_i ∂ŷ_i/∂y_i are the effective degrees of freedom of the fitted values (Vaida & Blanchard 2005,
Biometrika 92, 351), and 1 is for σ where that is estimated. With the variance parameters given ŷ = Hy, and with
e = y - ŷ

    tr H = n - ‖e‖²/σ² + σ ∂ℓ/∂σ

for the restricted log likelihood ℓ, whose derivative by σ² is (‖e‖²/σ² - tr(I - H))/2σ². The estimates x̂ of the
variance parameters follow the response too; to leave that out makes the criterion prefer random effects that are not
there (Greven & Kneib 2010, Biometrika 97, 773). With -2 log likelihood D(x) as in `hierbayes.inference.curvature`, σ
profiled out, and a_k = ∂ŷ/∂x_k,

    ρ = tr H + Σ_kl (D''⁻¹)_kl a_kᵀ(-∂²D/∂x_l∂y),      -∂²D/∂x_l∂y = (2/σ̂²) [a_l - e (yᵀa_l)/(yᵀe)]

(without the fraction where σ is known). Rows are scaled by the roots of their weights. A standard deviation on the
boundary has a_k = 0 and adds nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from hierbayes.covariance import cholesky, partials
from hierbayes.estimates import Estimate
from hierbayes.inference.curvature import Curvature
from hierbayes.marginal import Marginal

CRITERIA = ["criterion", "value", "n_par", "counts"]
"""Columns of the table."""


def criteria(fit: Estimate) -> pd.DataFrame:
    """Compute AIC, AICc, BIC and the conditional AIC.

    Parameters
    ----------
    fit : Estimate

    Returns
    -------
    pandas.DataFrame
        Columns `CRITERIA`: the value, the parameters it counts, and in words what they are.
    """
    k, n = fit.n_par, fit.nobs
    design = fit.design
    variances = int(fit.moments.layout.mask.sum())
    parts = [f"{fit.moments.p} of fixed effects", f"{variances} of variances and covariances of random effects"]
    parts += ["sigma"] if design.sigma is None else []
    parts += ["rho"] if design.residual is not None else []
    counted = f"{', '.join(parts)}; marginal likelihood, new rows of new groups"
    if fit.method == "REML":
        counted += "; by REML: compare models with the same fixed effects only"
    small = f"as AIC, with the correction for {n} rows" if n > k + 1 else f"{n} rows are too few for {k} parameters"
    aicc = fit.aic + 2.0 * k * (k + 1.0) / (n - k - 1.0) if n > k + 1 else np.nan
    rows = [
        ("AIC", fit.aic, float(k), counted),
        ("AICc", aicc, float(k), f"{counted}; {small}"),
        ("BIC", fit.bic, float(k), f"{counted}; penalty log({n}) for each, {n} being the rows"),
        ("cAIC", *_conditional(fit)),
    ]
    return pd.DataFrame(rows, columns=CRITERIA)


def _conditional(fit: Estimate) -> tuple[float, float, str]:
    """Value, parameters and words of the conditional AIC."""
    if fit.design.residual is not None:
        return np.nan, np.nan, "not defined here for correlated residuals"
    given, following = effective_df(fit)
    free = fit.design.sigma is None
    weights = np.ones(fit.nobs) if fit.design.weights is None else fit.design.weights
    variance = fit.sigma**2 / weights
    deviance = float((np.log(2.0 * np.pi * variance) + fit.residuals**2 / variance).sum())
    counted = given + following + free
    words = (
        f"{given:.2f} effective degrees of freedom of the fitted values (trace of the hat matrix), {following:.2f} "
        f"for estimating the variances of the random effects{', 1 for sigma' if free else ''}; conditional "
        "likelihood, new rows of these groups"
    )
    return deviance + 2.0 * counted, counted, words


def effective_df(fit: Estimate) -> tuple[float, float]:
    """Effective degrees of freedom of the fitted values of a model with independent residuals.

    Parameters
    ----------
    fit : Estimate

    Returns
    -------
    given : float
        With the variance parameters as they are: the trace of the hat matrix.
    following : float
        What the estimates of the variance parameters add, because they follow the response.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    >>> [round(df, 3) for df in effective_df(reml)]
    [4.913, 0.435]
    """
    design = fit.design
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    e = fit.residuals * root
    ratio = float(e @ e) / fit.sigma**2
    given = design.n - ratio + _slope(fit)
    curvature = Curvature(fit)
    if not len(curvature.x):
        return given, 0.0
    a = np.array([-root * slope for slope in _residual_slopes(fit, curvature)])
    y = root * (design.y - (0.0 if design.offset is None else design.offset))
    across = a @ a.T
    if design.sigma is None:
        across -= np.outer(a @ e, a @ y) / float(y @ e)
    inverse = 0.5 * curvature.directions @ curvature.directions.T
    return given, float((inverse * across).sum()) * 2.0 / fit.sigma**2


def _slope(fit: Estimate) -> float:
    """σ ∂ℓ/∂σ of the restricted log likelihood at given covariances of the random effects."""
    free = Marginal(replace(fit.design, sigma=None), None, fit.moments)
    theta = np.concatenate([*partials(cholesky(fit.covariance), fit.moments.layout), [fit.sigma]])
    return fit.sigma * float(free.log_density(theta)[1][-1])


def _residual_slopes(fit: Estimate, curvature: Curvature) -> list[np.ndarray]:
    """Derivative of the residuals by every variance parameter, σ aside."""

    def residuals(x: np.ndarray) -> np.ndarray:
        optimum = replace(fit.optimum, relative=curvature.relative(x), t=curvature.at(x)[2])
        return Estimate(fit.marginal, optimum, fit.method).residuals

    steps = np.diag(curvature.steps)
    with fit.marginal.one_thread():
        return [(residuals(curvature.x + h) - residuals(curvature.x - h)) / (2.0 * h.sum()) for h in steps]
