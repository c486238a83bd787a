"""A posterior, with everything that may be asked of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from hierbayes.checks.check import Check
from hierbayes.checks.check_posterior import check_posterior
from hierbayes.checks.predictive_check import predictive_check
from hierbayes.checks.sensitivity import prior_sensitivity
from hierbayes.cross_validation.kfold import kfold
from hierbayes.cross_validation.leave_future_out import lfo
from hierbayes.cross_validation.loo import Target, log_likelihood, logo, loo, loo_pit
from hierbayes.cross_validation.posterior_refits import Cost
from hierbayes.cross_validation.reloo import moment_match, refit_cost, reloo
from hierbayes.errors import ParetoWarning
from hierbayes.estimates import (
    Posterior,
)
from hierbayes.evidence.marginal_likelihood import Evidence, evidence
from hierbayes.evidence.quadrature import Quadrature, quadrature
from hierbayes.partial_pooling.disagreement import disagreements
from hierbayes.partial_pooling.shrinkage import shrinkage
from hierbayes.variance.tables import design_effect, icc, r2, variance_partition

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD
    from hierbayes.cross_validation.elpd_future import FutureELPD
    from hierbayes.cross_validation.elpd_kfold import KFoldELPD
    from hierbayes.cross_validation.wrapper import GaussianWrapper
from hierbayes.results.elsewhere import REML, refuse
from hierbayes.results.posterior_predictions import PosteriorPredictions
from hierbayes.results.reml_fit import RemlFit
from hierbayes.results.saving import Saving


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Saving, PosteriorPredictions, Posterior):
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

    if not TYPE_CHECKING:  # a type checker goes by the names that exist

        def __getattr__(self, name: str) -> object:
            return refuse(self, name, {RemlFit: REML})

    def loo(self, conditional: bool = False, refine: bool = True) -> ELPD:
        """Leave-one-out cross-validation of rows, with the random and the fixed effects integrated out.

        Parameters
        ----------
        conditional : bool, default False
            True gives the usual scores, conditional on draws of the random effects; their importance weights are
            often unusable where levels have few rows.
        refine : bool, default True
            Estimate rows with uncertain weights (Pareto k above 0.3; of small data all rows) a second time, with
            draws that reach further than the posterior, and keep the better estimate; ``log_weights``, which belong
            to the draws of the fit, are NaN for these rows. False is plain importance sampling with the draws of
            the fit, and keeps the weights.

        Returns
        -------
        ELPD
            ArviZ's ``ELPDDataLOO`` (``elpd``, ``se``, ``p``, pointwise ``elpd_i`` and ``pareto_k``) for
            ``arviz.compare``, ``arviz.plot_khat`` and so on; what was integrated is in its ``note``. ``p`` counts
            what is not integrated.

        Raises
        ------
        HierbayesError
            With ``conditional=True``, if draws of the random effects were not kept or residuals are correlated.
        DataError
            If the rows without some row do not determine a coefficient with a flat prior.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some rows.

        Notes
        -----
        See `hierbayes.cross_validation.loo`. Memory does not grow with the rows: 100,000 rows times 4,000 draws need
        less than 2 GB.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
        >>> elpd = model.fit(draws=500, seed=1, progress=False).loo()
        >>> round(elpd.elpd), elpd.target, bool((elpd.pareto_k < 0.7).all())
        (-862, 'row', True)
        """
        return loo(self, conditional, refine)

    def logo(self, group: str | None = None, joint: bool = False, refine: bool = True) -> ELPD:
        """Leave-one-group-out cross-validation: how well is a new group predicted.

        Parameters
        ----------
        group : str, optional
            The grouping factor whose levels are left out, with all their rows; needed if there are several. The
            effects of the others are integrated over what the remaining rows say of them.
        joint : bool, default False
            Score all rows of a group together, one number a group, instead of each row.
        refine : bool, default True
            As in `loo`, of groups.

        Returns
        -------
        ELPD
            As of `loo`; pointwise over rows, or over levels if joint. Each row carries the Pareto k of its group,
            and ``se`` is that of the sums of the groups: rows that are left out together err together.

        Raises
        ------
        HierbayesError
            If there is no grouping factor, or several and none is named.
        ValueError
            If the factor is unknown.
        DataError
            If the rows without some group do not determine a coefficient with a flat prior.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some groups.

        Notes
        -----
        A closed form in the group's own moments for a single factor; with several, every level costs an evaluation
        of the likelihood for each draw.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
        >>> fit = model.fit(draws=500, seed=1, progress=False)
        >>> elpd = fit.logo(joint=True)
        >>> elpd.n_data_points, elpd.elpd_i.dims
        (18, ('Subject__factor_dim',))
        """
        return logo(self, group, joint, refine)

    def lfo(
        self,
        time: str | ArrayLike | None = None,
        start: Any = None,
        horizon: int = 1,
        joint: bool = False,
        refit: bool = True,
        k_threshold: float | None = None,
        progress: bool | None = None,
    ) -> FutureELPD:
        """Leave-future-out cross-validation: how well are later rows predicted from earlier ones.

        At every cut in time all rows up to it are known, those of all groups, and the rows of the next time are
        predicted, random and fixed effects integrated. `loo` predicts a row from those before and after it: it
        interpolates, where a forecast extrapolates.

        Parameters
        ----------
        time : str or (n,) array, optional
            A column that the model uses, or one time a row (a column of the data frame will do, in any order: a
            Series with the index of the data goes by it): numbers, dates or ordered categories. By default that of
            ``residual="ar1(time | g)"``.
        start : time, optional
            The first cut is the first time that is not before it; by default the middle one of the distinct times.
        horizon : int, default 1
            How many distinct times to predict at each cut. Cuts without so many times after them are left out.
        joint : bool, default False
            Score all rows predicted at a cut together, one number a cut, instead of each row.
        refit : bool, default True
            Sample the posterior anew at cuts where importance sampling fails. False warns of them.
        k_threshold : float, optional
            Pareto k above which it fails; by default that of `loo`. -1 refits at every cut.
        progress : bool, optional
            Show a progress bar of the refits, and of the rows that correlated residuals make slow to score one by
            one; by default if somebody is watching.

        Returns
        -------
        FutureELPD
            ArviZ's ``ELPDDataLFO``, pointwise over future rows (with their ``cut`` and ``time``), or over cuts if
            joint; with a longer horizon a row is scored at several cuts. ``refits`` are the cuts that were sampled
            anew, ``se`` is that of sums over groups or over cuts, whichever are more, and ``p`` counts how much the
            later rows told about θ.

        Raises
        ------
        HierbayesError
            If no time is given and the model has none.
        DataError
            If the times are unknown, missing or text, if their index has only some of the rows, or if the rows up
            to some cut do not determine a coefficient with a flat prior.
        ValueError
            If there is not one time a row, if `start` is no time like them, or if too few times come after it.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some cuts: with ``refit=False``, where a higher `k_threshold` lets them pass,
            or where densities are not finite even after a refit.
        ConvergenceWarning
            If a refit is not to be trusted.

        Notes
        -----
        Bürkner, Gabry & Vehtari (2020), Approximate leave-future-out cross-validation for Bayesian time series
        models, Journal of Statistical Computation and Simulation 90, 2499; backwards from the fit, over θ alone.
        With correlated residuals every future row costs an evaluation of the likelihood for each draw, unless joint.
        See `hierbayes.cross_validation.leave_future_out`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
        >>> elpd = model.fit(draws=500, seed=1, progress=False).lfo("Days", start=6)
        >>> elpd.cuts, elpd.n_data_points, elpd.refits
        (array([6, 7, 8]), 54, array([6]))
        """
        return lfo(self, time, start, horizon, joint, refit, k_threshold, progress)

    def loo_pit(self, refine: bool = True) -> xr.DataArray:
        """Probability integral transform of every row under its leave-one-out predictive distribution.

        Parameters
        ----------
        refine : bool, default True
            As in `loo`.

        Returns
        -------
        xarray.DataArray
            (n,) between 0 and 1, uniform if the model is right: ``Σ w Φ((yᵢ - mean)/sd)`` with the Gaussian
            predictive distributions of `loo`, not with simulated responses.

        Raises
        ------
        DataError
            As `loo`.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some rows.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> pit = model.fit(draws=500, seed=1, progress=False).loo_pit()
        >>> pit.sizes["row"], bool(((pit > 0) & (pit < 1)).all())
        (30, True)
        """
        return loo_pit(self, refine)

    def log_likelihood(self, target: Target = "row", group: str | None = None, seed: int = 0) -> xr.DataTree:
        """Draws of log predictive densities in the groups that ArviZ's own functions read.

        Parameters
        ----------
        target : {"row", "group", "conditional"}
            ``p(yᵢ | y₋ᵢ, θ)`` with everything but θ integrated; ``p(y_j | y₋ⱼ, θ)`` of whole groups; or the usual
            ``p(yᵢ | b, β, σ)`` given draws of the random effects.
        group : str, optional
            Of ``target="group"``, as in `logo`.
        seed : int, default 0
            Of the simulated responses.

        Returns
        -------
        xarray.DataTree
            Groups posterior (without single levels), sample_stats, observed_data, log_likelihood and, for rows,
            posterior_predictive: responses simulated from the same densities. Rows x draws numbers each.

        Raises
        ------
        HierbayesError, ValueError
            As `loo` and `logo`; if target is unknown.

        Examples
        --------
        >>> import arviz as az
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> fit = model.fit(draws=500, seed=1, progress=False)
        >>> bool(abs(az.loo(fit.log_likelihood()).elpd - fit.loo(refine=False).elpd) < 1e-8)
        True
        """
        return log_likelihood(self, target, group, seed)

    def refit_cost(self, elpd: ELPD | None = None, k_threshold: float | None = None) -> Cost:
        """How long `reloo` would take.

        Parameters
        ----------
        elpd : ELPD, optional
            From `loo` or `logo`; by default that of `loo`.
        k_threshold : float, optional
            As in `reloo`.

        Returns
        -------
        Cost
            ``refits`` and ``seconds``, each refit taking about as long as the fit took to sample.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.refit_cost(fit.logo(joint=True), k_threshold=-1).refits
        6
        """
        return refit_cost(self, self._quiet_loo() if elpd is None else elpd, k_threshold)

    def reloo(self, elpd: ELPD | None = None, k_threshold: float | None = None, progress: bool | None = None) -> ELPD:
        """Cross-validate exactly, by refits, the rows or groups for which importance sampling fails.

        Parameters
        ----------
        elpd : ELPD, optional
            From `loo` or `logo` of this fit; by default that of `loo`.
        k_threshold : float, optional
            Rows or groups with a higher Pareto k are refitted; by default ``elpd.good_k``.
        progress : bool, optional
            Show a progress bar that says beforehand how many refits there are and about how long they take; by
            default if somebody is watching. The same goes to the log, and `refit_cost` tells it without refitting.

        Returns
        -------
        ELPD
            Pareto k is 0 where the score is exact, to a Monte Carlo error of 0.1; the rest is as it was.

        Raises
        ------
        HierbayesError
            If the elpd is not one of this fit, or is conditional on the random effects.
        DataError
            If the rows that remain do not determine a coefficient with a flat prior.

        Warns
        -----
        ConvergenceWarning
            If a refit is not to be trusted.
        ParetoWarning
            If the Monte Carlo error of some score is larger; its Pareto k stays as it was.

        Notes
        -----
        Refits have the priors, draws and chains of the fit, and seeds of their own that derive from its seed. See
        `hierbayes.cross_validation.reloo`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> exact = fit.reloo(fit.logo(joint=True), k_threshold=-1, progress=False)
        >>> exact.pareto_k.to_numpy()
        array([0., 0., 0., 0., 0., 0.])
        """
        return reloo(self, self._quiet_loo() if elpd is None else elpd, k_threshold, progress)

    def moment_match(self, elpd: ELPD | None = None, k_threshold: float | None = None) -> ELPD:
        """Mend the rows or groups for which importance sampling fails by moment matching, without refits.

        Parameters
        ----------
        elpd : ELPD, optional
            From `loo`, or `logo` with ``joint=True``, of this fit; by default that of `loo`.
        k_threshold : float, optional
            Above which to mend; by default ``elpd.good_k``.

        Returns
        -------
        ELPD
            With the Pareto k after the matching.

        Raises
        ------
        HierbayesError
            If the elpd is not one of this fit, is conditional on the random effects or scores rows of left-out groups
            one by one, or if a prior is one that only the PyMC graph knows.

        Warns
        -----
        ParetoWarning
            If some k are still too high.

        Notes
        -----
        Paananen, Piironen, Bürkner & Vehtari (2021), Implicitly adaptive importance sampling, Statistics and
        Computing 31, 16; by ``arviz.loo_moment_match`` on the draws of θ.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> before = fit.logo(joint=True)
        >>> after = fit.moment_match(before, k_threshold=0.5)
        >>> bool((after.pareto_k <= before.pareto_k).all())
        True
        """
        return moment_match(self, self._quiet_loo() if elpd is None else elpd, k_threshold)

    def _quiet_loo(self) -> ELPD:
        """Leave-one-out without the warning of what is going to be mended."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParetoWarning)
            return self.loo()

    def kfold(
        self,
        k: int = 10,
        group: str | None = None,
        stratify: str | None = None,
        folds: ArrayLike | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> KFoldELPD:
        """K-fold cross-validation: k refits, each without a part of the rows or of the groups.

        Parameters
        ----------
        k : int, default 10
            Number of parts.
        group : str, optional
            Leave out whole levels of this grouping factor, dealt into k parts at random.
        stratify : str, optional
            Deal the rows so that every part has its share of every level of this grouping factor.
        folds : (n,) array, optional
            Parts of your own, one label a row used, instead of the first three and `seed`.
        seed : int, default 0
            Of the dealing.
        progress : bool, optional
            As in `reloo`.

        Returns
        -------
        KFoldELPD
            ArviZ's ``ELPDDataLOOKFold``, pointwise over the rows, with the part of each row in ``fold``. ``p`` is how
            much better a row is predicted, from the same other parts, by the θ that all rows were fitted to than by
            those of the refit: it counts what is not integrated, as that of `loo` does. That of ``arviz.loo_kfold``
            has another first term, whatever its wrapper gave as log likelihood.

        Raises
        ------
        ValueError
            If k, a factor or the parts are impossible, or `folds` comes with `group` or `stratify`.
        DataError
            If correlated residuals of one series would be parted, or the rows that remain do not determine a
            coefficient with a flat prior.

        Warns
        -----
        ConvergenceWarning
            If a refit is not to be trusted.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> elpd = fit.kfold(3, group="Batch", progress=False)
        >>> elpd.n_folds, elpd.n_data_points
        (3, 30)
        """
        return kfold(self, k, group, stratify, folds, seed, progress)

    def wrapper(
        self, group: str | None = None, joint: bool = False, items: ArrayLike | None = None
    ) -> GaussianWrapper:
        """ArviZ's sampling wrapper of this fit, for ``arviz.reloo``, ``loo_kfold`` and ``loo_moment_match``.

        Parameters
        ----------
        group, joint, items
            As of `hierbayes.GaussianWrapper`.

        Returns
        -------
        GaussianWrapper

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.wrapper("Batch", joint=True).idata_orig["log_likelihood"].sizes["Batch__factor_dim"]
        6
        """
        from hierbayes.cross_validation.wrapper import GaussianWrapper

        return GaussianWrapper(self, group, joint, items)

    def predictive_check(self, draws: int | None = None, seed: int = 0) -> pd.DataFrame:
        """Compare every level with replicates of it from the posterior: mean, sd, smallest and largest value.

        Parameters
        ----------
        draws : int, optional
            Draws to simulate from; by default 1000, fewer of more than 25,000 rows.
        seed : int, default 0

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.checks.predictive_check.predictive_check`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.predictive_check()["pit"].between(0.025, 0.975).all()
        np.True_
        """
        return predictive_check(self, draws, seed)

    def prior_sensitivity(self) -> pd.DataFrame:
        """How far the posterior moves when prior or likelihood are power-scaled.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.checks.sensitivity.prior_sensitivity`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.prior_sensitivity()["finding"].tolist()
        ['ok', 'ok', 'ok']
        """
        return prior_sensitivity(self)

    def check(self, seed: int = 0) -> Check:
        """Ask everything that stands between the posterior and its conclusions, and answer in words and numbers.

        Convergence, energy, sensitivity to the prior, priors that overrule the data, are hugged or far too wide,
        replicates of every level; and, of the REML fit, residuals, random effects, boundary, collinearity and
        influence; each with a severity, the figure and what to do next.

        Parameters
        ----------
        seed : int, default 0
            For the replicates.

        Returns
        -------
        Check

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.check().worst
        'ok'
        """
        return check_posterior(self, seed)

    def quadrature(self, tolerance: float = 1e-6) -> Quadrature:
        """Integrate the same posterior deterministically: a check of the draws that uses none of them.

        Parameters
        ----------
        tolerance : float, default 1e-6
            Wanted relative error of the integral.

        Returns
        -------
        Quadrature

        Raises
        ------
        HierbayesError
            If there are more than six variance parameters, or the posterior does not fall off.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> exact = fit.quadrature().tidy()
        >>> bool(((exact["estimate"] - fit.tidy()["estimate"]).abs() < 0.2 * exact["std_error"]).all())
        True
        """
        return quadrature(self.marginal, self.priors, tolerance)

    def evidence(self, method: str = "auto") -> Evidence:
        """Log marginal likelihood of the model under its priors, with an error.

        Parameters
        ----------
        method : {"auto", "quadrature", "bridge"}
            Quadrature over the variance parameters, fixed and random effects being integrated in closed form, or
            bridge sampling from the draws. ``"auto"``: bridge sampling where there are more than six variance
            parameters.

        Returns
        -------
        Evidence

        Raises
        ------
        PriorError
            If a prior is flat: there is no marginal likelihood then.
        HierbayesError
            If quadrature was asked for and cannot do it.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> exact, bridged = fit.evidence(), fit.evidence("bridge")
        >>> exact.method, abs(exact.log_marginal_likelihood - bridged.log_marginal_likelihood) < bridged.error
        ('quadrature', True)
        """
        return evidence(self, method)

    def icc(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Intraclass correlations, adjusted and conditional, of every grouping factor and of all together.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the equal-tailed intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.icc`.

        Raises
        ------
        DataError
            If the model has no random effects.
        ValueError
            If `conf_level` is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.icc().query("group == 'Batch'")["icc"].tolist()
        ['adjusted', 'conditional']
        """
        return icc(self, conf_level=conf_level)

    def r2(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Share of the variance that the model explains: marginal and conditional R², and the Bayesian R².

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the equal-tailed intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.r2`.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.r2()["r2"].tolist()
        ['marginal', 'conditional', 'bayesian']
        """
        return r2(self, conf_level=conf_level)

    def design_effect(self, conf_level: float = 0.95) -> pd.DataFrame:
        """By how much the groups inflate the variance of a mean over the rows.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the equal-tailed intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.design_effect`.

        Raises
        ------
        DataError
            If the model has no random effects, or if its residuals are correlated.
        ValueError
            If `conf_level` is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.design_effect()["group"].tolist()
        ['Batch', 'all']
        """
        return design_effect(self, conf_level=conf_level)

    def variance_partition(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Variance of the response by where it comes from: fixed effects, grouping factors, residuals.

        Parameters
        ----------
        conf_level : float, default 0.95
            Level of the equal-tailed intervals.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.variance.tables.variance_partition`.

        Raises
        ------
        ValueError
            If `conf_level` is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.variance_partition()["component"].tolist()
        ['fixed', 'random', 'residual']
        """
        return variance_partition(self, conf_level=conf_level)

    def shrinkage(self) -> pd.DataFrame:
        """Every level without pooling, by REML and in the posterior, and why the two disagree where they do.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.partial_pooling.shrinkage.shrinkage`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.shrinkage()[["level", "rows", "no_pooling", "blup", "pooling"]].round(2).head(2)
          level  rows  no_pooling   blup  pooling
        0     A     5       -22.5 -17.61     0.22
        1     B     5         0.5   0.39     0.22
        """
        return shrinkage(self.reml, self)

    def disagreements(self) -> pd.DataFrame:
        """Every parameter by REML and in the posterior, and why the two disagree where they do.

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.partial_pooling.disagreement.disagreements`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> fit.disagreements()["term"].tolist()
        ['Intercept', 'sd(Intercept)', 'sigma']
        """
        return disagreements(self.reml, self)
