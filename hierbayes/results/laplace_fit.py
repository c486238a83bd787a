"""A maximum likelihood fit of a model whose response is not Gaussian, with everything that may be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from numpy.typing import ArrayLike

from hierbayes.checks.check import Check
from hierbayes.checks.check_family import check_laplace
from hierbayes.inference.contrasts import anova, joint_test, t_tests, tidy_table
from hierbayes.inference.hypotheses import Contrasts
from hierbayes.inference.satterthwaite import normal_tests
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.predictions.groups import Groups
from hierbayes.predictions.maximum import predict_laplace
from hierbayes.results.elsewhere import GAUSSIAN, POSTERIOR, refuse
from hierbayes.results.family_criticism import FamilyCriticism
from hierbayes.results.saving import Saving


@dataclass(frozen=True, eq=False, repr=False)
class LaplaceFit(Saving, FamilyCriticism, LaplaceEstimate):
    """A maximum likelihood fit of a generalised linear mixed model.

    Made by `hierbayes.Model.ml` for every family but the Gaussian with identity link. The random effects are
    integrated out by the Laplace approximation, or by adaptive Gauss-Hermite quadrature (``ml(nagq=25)``) where there
    is one effect for each level of one grouping factor.

    Attributes
    ----------
    nagq : int
        Nodes of the quadrature; 1 is the Laplace approximation.
    fixef : pandas.Series
        Fixed effects, on the scale of the link.
    vcov : pandas.DataFrame
        Their covariance matrix, from the Hessian of the log likelihood in all parameters (as lme4's default).
    varcorr : pandas.DataFrame
        Columns group, term, term2 (NaN for a variance), vcov (variance or covariance), sdcor (standard deviation or
        correlation), on the scale of the link.
    ranef, ranef_sd : dict of str to pandas.DataFrame
        Conditional modes of the random effects and their conditional standard deviations (given all parameters, as
        lme4's ``condVar``): levels x terms.
    criterion : float
        -2 log likelihood, with all constants.
    loglik, aic, bic : float
        From the criterion, counting fixed effects, variances, covariances and auxiliary parameters.
    linear_predictor, fitted : (n,) array
        At the conditional modes; `fitted` is the mean of the response (a probability for binomial responses,
        probabilities of all categories, (n, categories), for ordinal ones).
    n_par, nobs : int
    ngroups : dict of str to int
    singular : bool
        The estimate is on the boundary: some combination of random effects has no variance.
    converged : bool
    message : str
        How the optimisation ended.

    Examples
    --------
    >>> import hierbayes as hb
    >>> cbpp = hb.load_data("cbpp").astype({"period": str})
    >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
    >>> ml.fixef.round(4).tolist()
    [-1.3985, -0.9923, -1.1287, -1.5803]
    >>> round(ml.loglik, 4), ml.singular
    (-92.0263, False)
    """

    if not TYPE_CHECKING:  # a type checker goes by the names that exist

        def __getattr__(self, name: str) -> object:
            from hierbayes.results.family_fit import FamilyFit
            from hierbayes.results.fit import Fit
            from hierbayes.results.reml_fit import RemlFit

            return refuse(self, name, {FamilyFit: POSTERIOR, Fit: GAUSSIAN, RemlFit: GAUSSIAN})

    def tidy(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Estimates as one table.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the Wald intervals: on the scale of the coefficient for fixed effects, of the logarithm for
            standard deviations and positive parameters, of Fisher's z for correlations.

        Returns
        -------
        pandas.DataFrame
            The columns of `hierbayes.RemlFit.tidy`; tests are z tests, with infinite degrees of freedom. Parameters
            of the family have the group "Residual". Where the fit is singular, standard deviations of zero and the
            correlations of a singular block have no standard errors; those of the others take them as known.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.tidy()[["group", "term", "estimate", "std_error"]].round(3).tail(2)
          group           term  estimate  std_error
        3   NaN      period[4]    -1.580      0.427
        4  herd  sd(Intercept)     0.642      0.179
        """
        return tidy_table(self, normal_tests(self.vcov), conf_level)

    def contrast(self, weights: Contrasts, rhs: float | ArrayLike = 0.0, conf_level: float = 0.95) -> pd.DataFrame:
        """Test linear combinations of the fixed effects, one by one, by z tests.

        Parameters
        ----------
        weights : str, list, mapping, pandas.Series, pandas.DataFrame or array
            As of `hierbayes.RemlFit.contrast`.
        rhs : float or (contrasts,) array, default 0
            What the combinations are under the hypothesis.
        conf_level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            One row a contrast, on the scale of the link.

        Raises
        ------
        ValueError
            For an unknown coefficient, weights that do not fit, or a `conf_level` not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.contrast({"period[4]": 1, "period[2]": -1})[["estimate", "std_error", "p_value"]].round(3)
           estimate  std_error  p_value
        0    -0.588       0.47    0.211
        """
        return t_tests(self, normal_tests(self.vcov), weights, rhs, conf_level)

    def joint_test(self, weights: Contrasts, rhs: float | ArrayLike = 0.0) -> pd.DataFrame:
        """Test several linear combinations of the fixed effects at once, by a Wald test.

        Parameters
        ----------
        weights : str, list, mapping, pandas.Series, pandas.DataFrame or array
            As of `hierbayes.RemlFit.contrast`.
        rhs : float or (contrasts,) array, default 0

        Returns
        -------
        pandas.DataFrame
            One row, columns num_df, den_df (infinite), F (χ² over num_df), p_value.

        Raises
        ------
        ValueError
            As of `contrast`, and for a hypothesis that contradicts itself.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.joint_test(["period[2]", "period[3]"]).round(3)["F"].tolist()
        [8.773]
        """
        return joint_test(self, normal_tests(self.vcov), weights, rhs)

    def anova(self) -> pd.DataFrame:
        """Test every term of the formula by a Wald test of type III; see `hierbayes.RemlFit.anova`.

        Returns
        -------
        pandas.DataFrame
            One row a term, columns term, num_df, den_df (infinite), F (χ² over num_df), p_value.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> ml.anova()[["term", "num_df", "F"]].round(2)
             term  num_df     F
        0  period       3  8.32
        """
        return anova(self, normal_tests(self.vcov))

    def check(self, seed: int = 0) -> Check:
        """Ask whether the fit can be trusted: the optimum, quantile residuals, dispersion, zeros, outliers.

        Parameters
        ----------
        seed : int, default 0
            Of simulated responses.

        Returns
        -------
        Check
            With tables residuals and residual_tests.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml().check().worst
        'ok'
        """
        return check_laplace(self, seed)

    def _repr_html_(self) -> str:
        return self._panel(f"ML fit by {self.method}", self.tidy())

    def __repr__(self) -> str:
        dropped = f" ({self.design.n_dropped} incomplete rows left out)" if self.design.n_dropped else ""
        lines = [
            f"ML fit of {self.design.formula}, {self.design.family}, by {self.method}",
            f"criterion {self.criterion:.4f}, {self.design.size}{dropped}",
            self.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]].to_string(
                index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
            ),
            self.message,
        ]
        return "\n".join(lines)

    def predict(
        self,
        newdata: pd.DataFrame | None = None,
        groups: Groups = "known",
        kind: str = "mean",
        interval: float = 0.95,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Predict rows: estimate, standard error and interval of each.

        Parameters
        ----------
        newdata : pandas.DataFrame, optional
            Rows to predict, with the columns that the right side of the formula uses; by default the rows fitted.
            ``scale(x)``, ``bs(x)`` and such remember what they learned from the rows fitted; functions of your own
            see the new rows only.
        groups : {"known", "new", "mixed", "average", "population"} or mapping, default "known"
            What the random effects of a row are, for all grouping factors or for each: the conditional modes of its
            level (lme4's ``re.form=NULL``); those of a new level; the first if the level was fitted and else the
            second (lme4's ``allow.new.levels``, with their variance); zero (``re.form=NA``); averaged over.
        kind : {"linear", "mean", "response"}, default "mean"
            The linear predictor, the expected response, or a new response.
        interval : float, default 0.95
            Probability of the interval.
        seed : int, optional
            For new responses, which are simulated.

        Returns
        -------
        pandas.DataFrame
            Columns estimate, std_error, conf_low, conf_high; the index of newdata. Standard errors account for the
            errors of the fixed effects and of the modes together, and for groups and responses that are new, at
            the estimated variances; intervals are Normal on the scale of the link. Rows with missing values have NaN.

        Raises
        ------
        DataError
            If a column is missing, a category of a fixed effect was not fitted, or a level is not known.
        ValueError
            For another `groups`, `kind` or `interval`.

        Warns
        -----
        MissingPrediction
            If rows have missing values.

        Examples
        --------
        >>> import hierbayes as hb, pandas as pd
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> ml = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
        >>> rows = pd.DataFrame({"period": ["1", "4"]})
        >>> ml.predict(rows, groups="average")["estimate"].round(3).tolist()
        [0.198, 0.048]
        >>> ml.predict(rows, groups="population")["estimate"].round(3).tolist()
        [0.216, 0.057]
        """
        return predict_laplace(self, newdata, groups, kind, interval, seed)
