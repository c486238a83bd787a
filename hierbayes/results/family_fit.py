"""A posterior of a model whose response is not Gaussian, with everything that may be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from hierbayes.checks.check import Check
from hierbayes.checks.check_family import check_family_posterior
from hierbayes.checks.predictive_check import predictive_check
from hierbayes.cross_validation.family_loo import log_likelihood, logo, loo, loo_pit
from hierbayes.cross_validation.loo import Target
from hierbayes.estimates import FamilyPosterior
from hierbayes.results.elsewhere import GAUSSIAN, ML, refuse
from hierbayes.results.family_criticism import FamilyCriticism
from hierbayes.results.posterior_predictions import PosteriorPredictions
from hierbayes.results.saving import Saving

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD


@dataclass(frozen=True, eq=False, repr=False)
class FamilyFit(Saving, PosteriorPredictions, FamilyCriticism, FamilyPosterior):
    """A posterior of a model of any family but the Gaussian with identity link.

    Made by `hierbayes.Model.fit`.

    Attributes
    ----------
    idata : xarray.DataTree
        Groups posterior, sample_stats and observed_data. Variable names and dimensions are Bambi's.
    design : Design
    priors : Priors
    convergence : Convergence
    """

    if not TYPE_CHECKING:  # a type checker goes by the names that exist

        def __getattr__(self, name: str) -> object:
            from hierbayes.results.fit import Fit
            from hierbayes.results.laplace_fit import LaplaceFit
            from hierbayes.results.reml_fit import RemlFit

            return refuse(self, name, {LaplaceFit: ML, Fit: GAUSSIAN, RemlFit: GAUSSIAN})

    def loo(self, conditional: bool = False) -> ELPD:
        """Leave-one-out cross-validation of rows: how well is a new row of a known group predicted.

        Parameters
        ----------
        conditional : bool, default False
            True gives the usual scores for all rows, conditional on draws of the random effects. Otherwise the
            effects of the level of a row are integrated where Pareto k says that these are not to be trusted, and
            everywhere for small data.

        Returns
        -------
        ELPD
            ArviZ's ``ELPDDataLOO`` for ``arviz.compare``, ``arviz.plot_khat`` and so on. ``note`` says what was
            integrated, ``integrated`` for which rows.

        Raises
        ------
        HierbayesError
            If draws of the random effects were not kept.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some rows.

        Notes
        -----
        See `hierbayes.cross_validation.family_loo`. There are no refits for families; where Pareto k stays high, fit
        without these rows, or leave out whole groups (`logo`).

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> elpd = fit.loo()
        >>> round(elpd.elpd, -1), set(elpd.integrated.to_numpy().tolist()), bool((elpd.pareto_k < 0.7).all())
        (-100.0, {'herd'}, True)
        """
        return loo(self, conditional)

    def logo(self, group: str | None = None, joint: bool = False) -> ELPD:
        """Leave-one-group-out cross-validation: how well is a new group predicted.

        Parameters
        ----------
        group : str, optional
            The grouping factor whose levels are left out, with all their rows; needed if there are several. Their
            effects, and those of factors nested in it, are integrated; those of other factors are draws.
        joint : bool, default False
            Score all rows of a group together, one number a group, instead of each row.

        Returns
        -------
        ELPD
            As of `loo`; pointwise over rows, or over levels if joint. Each row carries the Pareto k of its group, and
            ``se`` is that of the sums of the groups.

        Raises
        ------
        HierbayesError
            If there is no grouping factor, or several and none is named; if the family has several linear predictors.
        ValueError
            If the factor is unknown.

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some groups.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> elpd = fit.logo(joint=True)
        >>> elpd.n_data_points, round(elpd.elpd, -1)
        (15, -100.0)
        """
        return logo(self, group, joint)

    def loo_pit(self, seed: int = 0) -> xr.DataArray:
        """Probability integral transform of every row under its leave-one-out predictive distribution.

        Parameters
        ----------
        seed : int, default 0
            Of new responses, and of the place of an observation among responses of the same value.

        Returns
        -------
        xarray.DataArray
            (n,) between 0 and 1, uniform if the model is right: P(new < y) + U P(new = y), randomised by the
            uniform number U where responses are whole numbers.

        Raises
        ------
        HierbayesError
            If the response has no order, or was not observed as it is drawn (censored, truncated).

        Warns
        -----
        ParetoWarning
            If Pareto k is too high for some rows.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> pit = fit.loo_pit(seed=1)
        >>> pit.sizes["row"], bool(((pit >= 0) & (pit <= 1)).all())
        (56, True)
        """
        return loo_pit(self, seed)

    def log_likelihood(self, target: Target = "conditional", group: str | None = None, seed: int = 0) -> xr.DataTree:
        """Draws of log predictive densities in the groups that ArviZ's own functions read.

        Parameters
        ----------
        target : {"conditional", "row", "group"}
            ``p(yᵢ | θ, b)``, what ArviZ expects; the same with the effects of the level of a row integrated where
            `loo` does so; or ``p(y_j | θ)`` of whole groups, their effects integrated.
        group : str, optional
            Of ``target="group"``, as in `logo`.
        seed : int, default 0
            Of simulated responses.

        Returns
        -------
        xarray.DataTree
            Groups posterior (without single levels), sample_stats, observed_data, log_likelihood and, for rows of a
            response with an order, posterior_predictive.

        Raises
        ------
        HierbayesError, ValueError
            As `loo` and `logo`; if target is unknown.

        Examples
        --------
        >>> import arviz as az
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> tree = fit.log_likelihood(target="row")
        >>> bool(abs(az.loo(tree).elpd - fit.loo().elpd) < 1e-8)
        True
        """
        return log_likelihood(self, target, group, seed)

    def predictive_check(self, draws: int | None = None, seed: int = 0) -> pd.DataFrame:
        """Compare each level with responses that the posterior gives for the same levels.

        Parameters
        ----------
        draws : int, optional
            Draws to simulate from; by default 1000, fewer of more than 25,000 rows.
        seed : int, default 0

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.checks.predictive_check.predictive_check`.

        Raises
        ------
        HierbayesError
            If the response has no order, or was not observed as it is drawn.
        ValueError
            If `draws` is not a positive whole number.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> fit.predictive_check().query("level == '1'")["statistic"].tolist()
        ['mean', 'sd', 'min', 'max']
        """
        return predictive_check(self, draws, seed)

    def check(self, seed: int = 0) -> Check:
        """Ask every question about the posterior: sampler, single rows, residuals, dispersion, zeros, outliers.

        Parameters
        ----------
        seed : int, default 0
            Of replicates.

        Returns
        -------
        Check
            With tables convergence, residuals, residual_tests and predictive.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> fit = model.fit(seed=1, progress=False)
        >>> fit.check().of("problem").empty
        True
        """
        return check_family_posterior(self, seed)
