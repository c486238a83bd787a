"""What the two inferences return: `RemlFit` and `Fit`, with everything that may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.estimates import FIXED, RESIDUAL, TIDY, VARIANCE, Estimate, Posterior, checked, variance_rows
from hierbayes.wald import variance_intervals


@dataclass(frozen=True, eq=False, repr=False)
class RemlFit(Estimate):
    """A REML or ML fit.

    Made by `hierbayes.Model.reml` and `hierbayes.Model.ml`.

    Attributes
    ----------
    method : {"REML", "ML"}
    fixef : pandas.Series
        Fixed effects, in units of the response per unit of the predictor.
    vcov : pandas.DataFrame
        Their covariance matrix at the estimated variances.
    varcorr : pandas.DataFrame
        Columns group, term, term2 (NaN for a variance), vcov (variance or covariance), sdcor
        (standard deviation or correlation); the residual is the last row.
    sigma : float
        Residual standard deviation.
    ranef, ranef_sd : dict of str to pandas.DataFrame
        Best linear unbiased predictors and their conditional standard deviations (given the variances
        and the fixed effects, as lme4's ``condVar``): levels x terms.
    criterion : float
        -2 log restricted likelihood (REML) or -2 log likelihood (ML).
    loglik, aic, bic : float
        From the criterion, counting fixed effects, variances, covariances and σ, as lme4 does.
    nobs : int
    ngroups : dict of str to int
    singular : bool
        The estimate is on the boundary: some combination of random effects has no variance.
    converged : bool
    message : str
        How the optimisation ended.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> reml.fixef.round(3)
    Intercept    251.405
    Days          10.467
    dtype: float64
    >>> round(reml.criterion, 4), reml.singular
    (1743.6283, False)
    """

    def tidy(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Estimates as one table.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the Wald intervals: on the scale of the coefficient for fixed effects, of the
            logarithm for standard deviations, of Fisher's z for correlations.

        Returns
        -------
        pandas.DataFrame
            Columns effect ("fixed" or "ran_pars"), group, term, estimate, std_error, statistic, df,
            p_value, conf_low, conf_high. Tests are z tests (df infinite). Where the fit is singular the
            variance parameters have no standard errors: the likelihood has no curvature there.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1.
        """
        z = stats.norm.ppf(0.5 + 0.5 * checked(conf_level))
        rows: list[tuple] = []
        errors = np.sqrt(np.diag(self.vcov))
        for label, estimate, se in zip(self.design.labels, self.fixef, errors, strict=True):
            statistic = estimate / se
            p_value = 2.0 * stats.norm.sf(abs(statistic))
            rows.append(
                (
                    FIXED,
                    np.nan,
                    label,
                    estimate,
                    se,
                    statistic,
                    np.inf,
                    p_value,
                    estimate - z * se,
                    estimate + z * se,
                )
            )
        wald = variance_intervals(
            self.marginal, self.covariance, self.sigma, self.optimum.rho, self.singular, self.method, z
        )
        sd, corr = correlation(self.covariance)
        shown = [(group, term, sd[i] if i == j else corr[i, j]) for group, term, i, j in variance_rows(self.design)]
        if self.design.sigma is None:
            shown.append((RESIDUAL, names.SIGMA, self.sigma))
        if self.rho is not None:
            shown.append((RESIDUAL, names.RHO, self.rho))
        for (group, term, value), (se, low, high) in zip(shown, wald, strict=True):
            rows.append((VARIANCE, group, term, value, se, *[np.nan] * 3, low, high))
        return pd.DataFrame(rows, columns=TIDY)

    def __repr__(self) -> str:
        lines = [
            f"{self.method} fit of {self.design.formula}",
            f"criterion {self.criterion:.4f}, {self.design.size}"
            + (f" ({self.design.n_dropped} incomplete rows left out)" if self.design.n_dropped else ""),
            self.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]].to_string(
                index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
            ),
            self.message,
        ]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Posterior):
    """A posterior.

    Made by `hierbayes.Model.fit`.

    Attributes
    ----------
    idata : xarray.DataTree
        Groups posterior, sample_stats, observed_data, and ranef_summary where the draws of the random
        effects were too many to keep. Variable names and dimensions are Bambi's.
    design : Design
    priors : Priors
    convergence : Convergence
    reml : RemlFit
        The REML fit that sampling started from.
    """

    reml: RemlFit
