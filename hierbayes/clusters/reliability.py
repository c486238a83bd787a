r"""How far the mean of a cluster can be trusted: the reliability of every random effect.

    reliability = 1 - C_jkk / Σ_kk

with C_j the conditional covariance of the effects of level j given the data and Σ their covariance, at the estimated
variances. Of one random intercept it is the share of the variance of a cluster's mean that is between clusters,

    n_j / (n_j + σ²/τ²) = τ² / (τ² + σ²/n_j),

the weight of the cluster's own mean in its BLUP (Raudenbush & Bryk 2002, Hierarchical Linear Models, equation 3.42).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hierbayes.errors import DataError, HierbayesError
from hierbayes.estimates import Estimate


def reliability(fit: Estimate) -> pd.DataFrame:
    """Reliability of the random effects of every level.

    Parameters
    ----------
    fit : RemlFit

    Returns
    -------
    pandas.DataFrame
        One row per grouping factor, level and effect: group, level, term, rows, reliability (0 to 1; NaN where the
        variance is zero, as a cluster then says nothing of its own).

    Raises
    ------
    DataError
        If the model has no random effects.
    HierbayesError
        For a fit of another kind.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups")).reml()
    >>> hb.reliability(reml)[["level", "rows", "reliability"]].round(3).head(2)
      level  rows  reliability
    0     0    20        0.983
    1     1    20        0.983
    """
    if not isinstance(fit, Estimate):
        raise HierbayesError("Reliabilities are those of a REML or ML fit of a Gaussian model: model.reml().")
    design = fit.design
    if not design.factors:
        raise DataError("The model has no random effects, so no cluster has an effect to rely on.")
    tables = []
    for factor in design.factors:
        variance = np.diag(fit.covariance)[design.effects_of(factor)]
        sd = fit.ranef_sd[factor.name]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(variance > 0.0, 1.0 - sd.to_numpy() ** 2 / variance, np.nan)
        rows = np.bincount(factor.codes, minlength=len(factor.levels))
        for k, term in enumerate(sd.columns):
            columns = {"level": factor.levels.astype(str), "term": term, "rows": rows, "reliability": values[:, k]}
            tables.append(pd.DataFrame({"group": factor.name, **columns}))
    return pd.concat(tables, ignore_index=True)
