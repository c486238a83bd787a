"""A REML or ML fit, with everything that may be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hierbayes.checks.check import Check
from hierbayes.checks.check_reml import check_estimate
from hierbayes.checks.identification import indistinct
from hierbayes.checks.influence import influence
from hierbayes.checks.residuals import residuals_table
from hierbayes.estimates import INTERVALS, Estimate
from hierbayes.implied import Implied
from hierbayes.inference.bootstrap import Bootstrap, Statistic, bootstrap, replicates_of
from hierbayes.inference.contrasts import Df, Inference, anova, inference, joint_test, t_tests, tidy_table
from hierbayes.inference.criteria import criteria
from hierbayes.inference.hypotheses import Contrasts
from hierbayes.inference.profile import Profile
from hierbayes.inference.random_effects import ranova
from hierbayes.inference.simulation import simulate
from hierbayes.predictions.groups import Groups
from hierbayes.predictions.maximum import predict_gaussian
from hierbayes.results.elsewhere import POSTERIOR, refuse
from hierbayes.results.saving import Saving
from hierbayes.variance.tables import design_effect, icc, r2, variance_partition


@dataclass(frozen=True, eq=False, repr=False)
class RemlFit(Saving, Estimate):
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

    if not TYPE_CHECKING:  # a type checker goes by the names that exist

        def __getattr__(self, name: str) -> object:
            from hierbayes.results.fit import Fit

            return refuse(self, name, {Fit: POSTERIOR})

    def tidy(self, conf_level: float = 0.95, df: Df = "satterthwaite") -> pd.DataFrame:
        """Estimates as one table.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the Wald intervals: on the scale of the coefficient for fixed effects, of the
            logarithm for standard deviations, of Fisher's z for correlations.
        df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"
            Degrees of freedom of the t tests and intervals of the fixed effects; Kenward and Roger's come with
            adjusted standard errors, and ``"z"`` takes the variances as known.

        Returns
        -------
        pandas.DataFrame
            Columns effect ("fixed" or "ran_pars"), group, term, estimate, std_error, statistic, df,
            p_value, conf_low, conf_high. Where the fit is singular the variance parameters have no standard errors:
            the likelihood has no curvature there.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1, or for another `df`.
        HierbayesError
            Where Kenward and Roger's tests do not exist: by ML, with correlated residuals, with more than 6,000
            random effects that hang together.
        """
        return tidy_table(self, self._inference(df), conf_level)

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
            What the random effects of a row are, for all grouping factors or for each: the BLUP of its level
            (lme4's ``re.form=NULL``); those of a new level; the first if the level was fitted and else the second
            (lme4's ``allow.new.levels``, with their variance); zero (``re.form=NA``); averaged over.
        kind : {"linear", "mean", "response"}, default "mean"
            The linear predictor, the expected response, or a new response.
        interval : float, default 0.95
            Probability of the interval.
        seed : int, optional
            Not used, as nothing is simulated; other fits have it.

        Returns
        -------
        pandas.DataFrame
            Columns estimate, std_error, conf_low, conf_high; the index of newdata. Standard errors account for the
            errors of the fixed effects and of the BLUPs together, and for groups and responses that are new, at
            the estimated variances; intervals are Normal. The correlation of residuals
            is no part of a prediction. Rows with missing values have NaN.

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
        >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
        >>> rows = pd.DataFrame({"Days": [9, 9], "Subject": ["308", "new"]}, index=["308", "new"])
        >>> reml.predict(rows, groups="mixed").round(1)
             estimate  std_error  conf_low  conf_high
        308     430.7       13.9     403.5      457.8
        new     345.6       62.0     224.2      467.1
        """
        return predict_gaussian(self, newdata, groups, kind, interval)

    def contrast(
        self, weights: Contrasts, rhs: float | ArrayLike = 0.0, df: Df = "satterthwaite", conf_level: float = 0.95
    ) -> pd.DataFrame:
        """Test linear combinations of the fixed effects, one by one.

        Parameters
        ----------
        weights : str, list, mapping, pandas.Series, pandas.DataFrame or array
            A coefficient or a list of them; weights by coefficient, ``{"recipe[B]": 1, "recipe[C]": -1}``; several of
            those by name, ``{"B - C": {...}, ...}`` or a data frame with coefficients as columns; or an array
            (contrasts, coefficients).
        rhs : float or (contrasts,) array, default 0
            What the combinations are under the hypothesis.
        df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"
        conf_level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            One row a contrast, columns contrast, rhs, estimate, std_error, statistic, df, p_value, conf_low,
            conf_high.

        Raises
        ------
        ValueError
            For an unknown coefficient, weights that do not fit, another `df`, or a `conf_level` not between 0 and 1.
        HierbayesError
            As of `tidy`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
        >>> row = reml.contrast({"after a week": {"Intercept": 1, "Days": 7}}, rhs=300).iloc[0]
        >>> [float(round(row[column], 3)) for column in ("estimate", "std_error", "df", "p_value")]
        [324.676, 11.973, 17.0, 0.055]
        """
        return t_tests(self, self._inference(df), weights, rhs, conf_level)

    def joint_test(self, weights: Contrasts, rhs: float | ArrayLike = 0.0, df: Df = "satterthwaite") -> pd.DataFrame:
        """Test several linear combinations of the fixed effects at once, by an F test.

        Parameters
        ----------
        weights : str, list, mapping, pandas.Series, pandas.DataFrame or array
            As of `contrast`. Combinations of others say nothing new and are not counted.
        rhs : float or (contrasts,) array, default 0
        df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"
            ``"z"`` is the Wald test, with infinite denominator degrees of freedom.

        Returns
        -------
        pandas.DataFrame
            One row, columns num_df, den_df, F, p_value.

        Raises
        ------
        ValueError
            As of `contrast`, and for a hypothesis that contradicts itself.
        HierbayesError
            As of `tidy`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
        >>> reml.joint_test(["Intercept", "Days"], rhs=[250, 10]).round(3)
           num_df  den_df      F  p_value
        0       2    17.0  0.077    0.926
        """
        return joint_test(self, self._inference(df), weights, rhs)

    def anova(self, df: Df = "satterthwaite") -> pd.DataFrame:
        """Test every term of the formula by an F test of type III, as lmerTest's ``anova`` does.

        The hypothesis of a term does not depend on how categories are coded: the levels of its own variables are
        compared, with equal weights for the levels of other categorical variables and with other numeric variables at
        zero. Centre a numeric variable if zero is not where its interactions should be judged. A column of true and
        false counts as numeric.

        Parameters
        ----------
        df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"

        Returns
        -------
        pandas.DataFrame
            One row a term, columns term, num_df, den_df, F, p_value.

        Raises
        ------
        ValueError
            For another `df`.
        HierbayesError
            As of `tidy`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("angle ~ recipe * temp + (1 | recipe:replicate)", hb.load_data("cake")).reml()
        >>> reml.anova(df="kenward-roger").round(3)
                  term  num_df   den_df       F  p_value
        0       recipe       2  254.016   0.096    0.909
        1         temp       1  222.000  94.163    0.000
        2  recipe:temp       2  222.000   0.042    0.959
        """
        return anova(self, self._inference(df))

    def ranova(self, simulate: int = 0, seed: int | None = None, progress: bool | None = None) -> pd.DataFrame:
        """Test every random effect by a likelihood ratio against the model without it, the only one too.

        Parameters
        ----------
        simulate : int, default 0
            Draw so many responses from each smaller model for its p-value, as `hierbayes.lrt` does.
        seed : int, optional
            For `simulate`.
        progress : bool, optional
            Show a progress bar for `simulate`; by default if somebody is watching.

        Returns
        -------
        pandas.DataFrame
            One row for the model and for each model without an effect; see
            `hierbayes.inference.random_effects.ranova`.

        Raises
        ------
        DataError
            If the model has no random effects.
        ValueError
            If `simulate` is not a whole number.

        Warns
        -----
        ConvergenceWarning
            If a comparison is not to be trusted.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.ranova()[["term", "n_par", "loglik", "chisq", "df", "p_value"]].round(4)
                  term  n_par    loglik  chisq   df  p_value
        0       <none>      3 -159.8271    NaN  NaN      NaN
        1  (1 | Batch)      2 -163.0116  6.369  1.0   0.0058
        """
        return ranova(self, simulate, seed, progress)

    def criteria(self) -> pd.DataFrame:
        """Information criteria, and what each counts: AIC, AICc, BIC and the conditional AIC.

        Returns
        -------
        pandas.DataFrame
            Columns criterion, value, n_par (parameters counted) and counts (in words). The conditional AIC counts
            the effective degrees of freedom of the fitted values, the estimation of the variances included
            (Greven & Kneib 2010); it is NaN for correlated residuals.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.criteria()[["criterion", "value", "n_par"]].round(2)
          criterion   value  n_par
        0       AIC  325.65   3.00
        1      AICc  326.58   3.00
        2       BIC  329.86   3.00
        3      cAIC  327.05   6.35
        """
        return criteria(self)

    @cached_property
    def _inferences(self) -> dict[str, Inference]:
        return {}

    def _inference(self, df: Df) -> Inference:
        """Tests with one kind of degrees of freedom, prepared once."""
        if df not in self._inferences:
            self._inferences[df] = inference(self, df)
        return self._inferences[df]

    def profile(self, terms: Sequence[str] | None = None) -> Profile:
        """Profile likelihood of the parameters, by maximum likelihood whatever the fit.

        Parameters
        ----------
        terms : sequence of str, optional
            Some of the terms of `tidy`, ``["Days", "sd(Days)"]``; by default all.

        Returns
        -------
        Profile
            Its ``confint()`` gives intervals, its ``table`` the signed root ζ across them, for plots.

        Raises
        ------
        ValueError
            For a term that the model does not have.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.profile().confint()[["term", "estimate", "conf_low", "conf_high"]].round(1)
                    term  estimate  conf_low  conf_high
        0      Intercept    1527.5    1486.5     1568.5
        1  sd(Intercept)      42.0      12.2       84.1
        2          sigma      49.5      38.2       67.7
        """
        return Profile(self, terms)

    def confint(
        self, method: str = "profile", conf_level: float = 0.95, bootstrap: Bootstrap | int = 1000
    ) -> pd.DataFrame:
        """Confidence intervals of every parameter.

        Parameters
        ----------
        method : {"profile", "wald", "bootstrap"}, default "profile"
            Profile likelihood (by ML, as lme4's ``confint``), the intervals of `tidy`, or percentiles of a parametric
            bootstrap.
        conf_level : float, default 0.95
        bootstrap : Bootstrap or int, default 1000
            For ``"bootstrap"``: one of this fit, or how many refits to make.

        Returns
        -------
        pandas.DataFrame
            Columns effect, group, term, estimate (of this fit), conf_low, conf_high, method, and ``note``, which
            says where an end is on the boundary of the parameter space.

        Raises
        ------
        ValueError
            For another method, a bootstrap of another fit, or a level that is not between 0 and 1.

        Warns
        -----
        ConvergenceWarning
            If an end of a profile could not be found, or if refits failed.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("strength ~ 1 + (1 | batch/cask)", hb.load_data("Pastes")).reml()
        >>> reml.confint()[["group", "term", "conf_low", "conf_high", "note"]].round(2)
                group           term  conf_low  conf_high                       note
        0         NaN      Intercept     58.66      61.44
        1       batch  sd(Intercept)      0.00       2.95  lower end on the boundary
        2  batch:cask  sd(Intercept)      2.16       4.05
        3    Residual          sigma      0.65       1.09
        """
        if method == "profile":
            return self.profile().confint(conf_level)
        if method == "bootstrap":
            return replicates_of(self, bootstrap).confint(conf_level)
        if method != "wald":
            raise ValueError(f"method must be 'profile', 'wald' or 'bootstrap', not {method!r}")
        return self.tidy(conf_level).assign(method="wald", note="")[INTERVALS]

    def simulate(self, n: int, seed: int) -> np.ndarray:
        """Draw new responses from the fit, with new random effects and new residuals.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Response k depends on the seed and on k alone.

        Returns
        -------
        (n, rows) array
            In units of the response; weights, offset, known standard errors and residual correlation are those of
            the model.

        Raises
        ------
        ValueError
            If n is not a positive whole number.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.simulate(2, seed=1).shape
        (2, 30)
        """
        return simulate(self, n, seed)

    def bootstrap(
        self,
        n: int = 1000,
        seed: int | None = None,
        statistic: Statistic | None = None,
        progress: bool | None = None,
        cores: int | None = None,
    ) -> Bootstrap:
        """Refit responses that are drawn from the fit: a parametric bootstrap.

        Parameters
        ----------
        n : int, default 1000
            Number of refits.
        seed : int, optional
            Same seed, same responses, whatever the number of cores; without one a seed is drawn and kept in the
            result.
        statistic : callable, optional
            A number, or a mapping of names to numbers, computed from ``fixef``, ``covariance``, ``sigma`` and ``rho``
            of a fit, to be tabulated along. `Bootstrap.apply` computes further ones afterwards.
        progress : bool, optional
            Show a progress bar; by default if somebody is watching.
        cores : int, optional
            Threads; by default all processors.

        Returns
        -------
        Bootstrap

        Raises
        ------
        ValueError
            If n is not a positive whole number.

        Warns
        -----
        ConvergenceWarning
            If refits failed; how many, and which, is in the result.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> boot = reml.bootstrap(500, seed=1, progress=False)
        >>> len(boot.failed), boot.estimates.shape
        (0, (500, 3))
        """
        return bootstrap(self, n, seed, statistic, progress, cores)

    def icc(self, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95) -> pd.DataFrame:
        """Intraclass correlations, adjusted and conditional, of every grouping factor and of all together.

        Parameters
        ----------
        bootstrap : Bootstrap or int, optional
            A parametric bootstrap of this fit, or how many replicates to make, for standard errors and intervals;
            without one they are NaN.
        conf_level : float, default 0.95
            Level of the bootstrap's percentile intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.icc`.

        Raises
        ------
        DataError
            If the model has no random effects.
        ValueError
            If `conf_level` is not between 0 and 1, or if the bootstrap is of another fit.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.icc()[["icc", "group", "estimate"]].round(3)
                   icc  group  estimate
        0     adjusted    all     0.418
        1     adjusted  Batch     0.418
        2  conditional    all     0.418
        3  conditional  Batch     0.418
        """
        return icc(self, bootstrap, conf_level)

    def r2(self, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95) -> pd.DataFrame:
        """Share of the variance that the model explains: marginal and conditional R².

        Parameters
        ----------
        bootstrap : Bootstrap or int, optional
            A parametric bootstrap of this fit, or how many replicates to make, for standard errors and intervals;
            without one they are NaN.
        conf_level : float, default 0.95
            Level of the bootstrap's percentile intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.r2`.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1, or if the bootstrap is of another fit.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.r2()["estimate"].round(3).tolist()
        [0.0, 0.418]
        """
        return r2(self, bootstrap, conf_level)

    def design_effect(self, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95) -> pd.DataFrame:
        """By how much the groups inflate the variance of a mean over the rows.

        Parameters
        ----------
        bootstrap : Bootstrap or int, optional
            A parametric bootstrap of this fit, or how many replicates to make, for standard errors and intervals;
            without one they are NaN.
        conf_level : float, default 0.95
            Level of the bootstrap's percentile intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.design_effect`.

        Raises
        ------
        DataError
            If the model has no random effects, or if its residuals are correlated.
        ValueError
            If `conf_level` is not between 0 and 1, or if the bootstrap is of another fit.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.design_effect()["estimate"].round(3).tolist()
        [2.674, 2.674]
        """
        return design_effect(self, bootstrap, conf_level)

    def variance_partition(self, bootstrap: Bootstrap | int | None = None, conf_level: float = 0.95) -> pd.DataFrame:
        """Variance of the response by where it comes from: fixed effects, grouping factors, residuals.

        Parameters
        ----------
        bootstrap : Bootstrap or int, optional
            A parametric bootstrap of this fit, or how many replicates to make, for standard errors and intervals;
            without one they are NaN.
        conf_level : float, default 0.95
            Level of the bootstrap's percentile intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.variance_partition`.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1, or if the bootstrap is of another fit.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> reml.variance_partition()["share"].round(3).tolist()
        [0.0, 0.418, 0.582]
        """
        return variance_partition(self, bootstrap, conf_level)

    def residuals_table(self) -> pd.DataFrame:
        """Residuals of every row: conditional, marginal, and standardised by their own variance.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.checks.residuals.residuals_table`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> table = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml().residuals_table()
        >>> table[["observed", "fitted", "standardised"]].round(2).head(1)
           observed   fitted  standardised
        0    1545.0  1509.89          0.78
        """
        return residuals_table(self)

    def influence(self, group: str | None = None, refit: bool | str | Sequence[str] = False) -> pd.DataFrame:
        """Change of the fixed effects when one level after another is left out, exactly.

        Parameters
        ----------
        group : str, optional
            Grouping factor; needed where there are several.
        refit : bool, str or sequence of str, default False
            False holds the variances at their estimates (one pass for a single grouping factor); True estimates
            them again without each level; a level or a list of them does so for these alone.

        Returns
        -------
        pandas.DataFrame
            Cook's distance, σ, DFBETA and DFBETAS of every level; see `hierbayes.checks.influence.influence`.

        Raises
        ------
        DataError
            If `group` or a level does not exist, or if there are several factors and none is named.
        ValueError
            If `group` is not a name, or `refit` neither True, False nor levels.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
        >>> reml.influence(refit=["309"])[["level", "cook", "sigma", "dfbeta[Days]"]].round(3)
          level   cook   sigma  dfbeta[Days]
        0   309  0.149  26.246        -0.483
        """
        return influence(self, group, refit)

    def implied(self) -> Implied:
        """The matrices of the theory at the estimates: D, R, V = Z D Zᵀ + R, and what follows from them.

        Returns
        -------
        hierbayes.implied.Implied
            Its ``gls()``, ``blup()`` and ``loglik()`` are `fixef`, `ranef` and `loglik`, found without the shortcuts.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy")).reml()
        >>> reml.implied().V(rows=[0, 1, 10]).round(1)
                0       1       10
        0   2338.6  1378.2     0.0
        1   1378.2  2338.6     0.0
        10     0.0     0.0  2338.6
        """
        sigma = self.sigma if self.design.sigma is None else None
        return self.design.implied(self.covariance, sigma, self.rho)

    def check(self) -> Check:
        """Ask everything that stands between the fit and its conclusions, and answer in words and numbers.

        Convergence, boundary, variances that cannot be told apart, residuals (shape, outliers, spread), normality of
        random effects, collinearity, influence of single levels; each with a severity, the figure and what to do
        next.

        Returns
        -------
        Check

        Examples
        --------
        >>> import hierbayes as hb
        >>> check = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml().check()
        >>> check.of("warning")["topic"].tolist()
        ['residuals', 'outliers']
        """
        return check_estimate(self)

    def _repr_html_(self) -> str:
        return self._panel(f"{self.method} fit", self.tidy(), ("warning", " ".join(indistinct(self)).strip()))

    def __repr__(self) -> str:
        lines = [
            f"{self.method} fit of {self.design.formula}",
            f"criterion {self.criterion:.4f}, {self.design.size}"
            + (f" ({self.design.n_dropped} incomplete rows left out)" if self.design.n_dropped else ""),
            self.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]].to_string(
                index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
            ),
            self.message,
            *filter(None, [indistinct(self)[0]]),
        ]
        return "\n".join(lines)
