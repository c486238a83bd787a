"""What posteriors and maximum likelihood fits of responses that are not Gaussian are asked alike."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hierbayes.checks.quantile_residuals import replicates_of, residual_tests, residuals_table
from hierbayes.variance.family_tables import icc, r2, variance_partition


class FamilyCriticism:
    """Variances on two scales, and residuals."""

    def icc(self: Any, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
        """Intraclass correlations on the latent and on the response scale.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the equal-tailed intervals of a posterior.
        approximation : {"trigamma", "lognormal", "delta"}
            Of the latent residual variance with log link.

        Returns
        -------
        pandas.DataFrame
            Columns ``scale`` ("latent": of the linear predictor; "response": of the response, of a single trial if it
            is binomial), ``icc`` ("adjusted": of the variance that the fixed effects leave; "conditional": of all),
            ``group`` (a factor, or "all"), ``estimate``, ``std_error``, ``conf_low``, ``conf_high`` (the last three
            NaN for a maximum likelihood fit), and ``residual``: which residual variance it is, or why there is none.

        Raises
        ------
        DataError
            If the model has no random effects.
        ValueError
            For another level or approximation.

        Notes
        -----
        See `hierbayes.variance.family_components`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.icc().query("group == 'herd'")[["scale", "icc", "estimate", "residual"]].round(4)
              scale          icc  estimate            residual
        1    latent     adjusted    0.1114                π²/3
        3    latent  conditional    0.1019                π²/3
        5  response     adjusted    0.0475  that of the family
        7  response  conditional    0.0457  that of the family
        """
        return icc(self, conf_level, approximation)

    def r2(self: Any, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
        """Share of the variance that the model explains, on the latent and on the response scale.

        Parameters
        ----------
        conf_level, approximation
            As of `icc`.

        Returns
        -------
        pandas.DataFrame
            Columns ``scale``, ``r2`` ("marginal": fixed effects; "conditional": fixed and random effects; of a
            posterior "bayesian", too: fitted values of the levels in the data), then as of `icc`, and ``meaning``.

        Raises
        ------
        ValueError
            For another level or approximation.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.r2()[["scale", "r2", "estimate"]].round(3)
              scale           r2  estimate
        0    latent     marginal     0.085
        1    latent  conditional     0.187
        2  response     marginal     0.037
        3  response  conditional     0.083
        """
        return r2(self, conf_level, approximation)

    def variance_partition(self: Any, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
        """Variance by where it comes from, on the latent and on the response scale.

        Parameters
        ----------
        conf_level, approximation
            As of `icc`.

        Returns
        -------
        pandas.DataFrame
            Columns ``scale``, ``component`` ("fixed", "random", "residual"), ``group`` (a factor; "jointly" for what
            several do together on the response scale and none alone), ``variance`` and ``share`` with standard errors
            and intervals, ``residual``.

        Raises
        ------
        ValueError
            For another level or approximation.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.variance_partition()[["scale", "component", "share"]].round(3).head(3)
            scale component  share
        0  latent     fixed  0.085
        1  latent    random  0.102
        2  latent  residual  0.813
        """
        return variance_partition(self, conf_level, approximation)

    def residuals_table(self: Any, seed: int = 0) -> pd.DataFrame:
        """Quantile residuals of every row.

        Parameters
        ----------
        seed : int, default 0
            Of new responses, and of the place of an observation among responses of the same value.

        Returns
        -------
        pandas.DataFrame
            Columns row, observed, fitted and predictive_sd (expectation and standard deviation of a new response:
            given all other rows for a posterior, with new random effects for a maximum likelihood fit), pearson, pit
            (randomised), quantile (Φ⁻¹(pit), standard normal if the model is right).

        Raises
        ------
        HierbayesError
            If the response has no order, or was not observed as it is drawn (censored, truncated).

        Notes
        -----
        See `hierbayes.checks.quantile_residuals`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> table = ml.residuals_table()
        >>> len(table), bool(table["pit"].between(0, 1).all())
        (56, True)
        """
        return residuals_table(replicates_of(self, seed))

    def residual_tests(self: Any, seed: int = 0) -> pd.DataFrame:
        """Uniformity, dispersion, zeros and outliers of the quantile residuals.

        Parameters
        ----------
        seed : int, default 0
            As of `residuals_table`.

        Returns
        -------
        pandas.DataFrame
            Index test; columns observed, expected, ratio, p_value (two-sided of dispersion and zeros, for more than
            expected of uniformity and outliers). NaN where a figure says nothing: all of single 0/1 responses,
            dispersion and zeros of ordinal ones, outliers with fewer than 371 draws.

        Raises
        ------
        HierbayesError
            As `residuals_table`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.residual_tests().index.tolist()
        ['uniformity', 'dispersion', 'zeros', 'outliers']
        """
        return residual_tests(replicates_of(self, seed))
