"""What every posterior predicts."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from hierbayes.estimates import Sampled
from hierbayes.predictions.groups import Groups
from hierbayes.predictions.posterior import posterior_predictive, predict, predict_draws


class PosteriorPredictions(Sampled):
    """Predictions of a posterior, the same for all families."""

    def predict(
        self,
        newdata: pd.DataFrame | None = None,
        groups: Groups = "known",
        kind: str = "mean",
        interval: float = 0.95,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Predict rows: estimate, uncertainty and interval of each.

        Parameters
        ----------
        newdata : pandas.DataFrame, optional
            Rows to predict, with the columns that the right side of the formula uses; by default the rows fitted.
            ``scale(x)``, ``bs(x)`` and such remember what they learned from the rows fitted; functions of your own
            see the new rows only.
        groups : str, or mapping of grouping factors to str, default "known"
            What the random effects of a row are. A factor that a mapping leaves out is "known".

            ============== ================================================ ================ =========================
            groups         random effects of a row                          lme4             brms
            ============== ================================================ ================ =========================
            "known"        those of its level; another one is refused       re.form=NULL     re_formula=NULL
            "new"          those of a new level, drawn from the fitted                       allow_new_levels=TRUE,
                           distribution of groups; rows with one label                       sample_new_levels=
                           share them                                                        "gaussian"
            "mixed"        those of its level, or of a new one if its       allow.new.levels the same
                           level was not fitted                             (takes 0)
            "average"      zero: the average group                          re.form=NA       re_formula=NA
            "population"   integrated out: the average over all groups
            ============== ================================================ ================ =========================

            "average" and "population" differ where the link is not the identity: the average of probabilities is not
            the probability of the average group.
        kind : {"linear", "mean", "response"}, default "mean"
            The linear predictor; the expected response (probabilities of a binomial, ordinal or categorical
            response); or a new response, whose interval is one for observations. Of a ``truncated`` or ``censored``
            response both are those of the latent quantity, before truncation or censoring; of a ``constrained`` one
            those within its bounds.
        interval : float, default 0.95
            Probability of the equal-tailed interval.
        seed : int, optional
            For new levels and new responses. With ``ranef="summary"`` the effects of known levels are drawn again
            too, by the seed of the fit if none is given.

        Returns
        -------
        pandas.DataFrame
            Columns estimate and std_error (mean and standard deviation over the draws), conf_low, conf_high; the
            index of newdata, and the category below it where a row has several numbers. Rows with missing values
            have NaN.

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
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> batches = pd.DataFrame({"Batch": ["A", "Z"]})
        >>> spread = fit.predict(batches, groups="mixed", seed=1)["std_error"]
        >>> float(spread[0].round(-1)), bool(spread[1] > 50)
        (20.0, True)
        """
        return predict(self, newdata, groups, kind, interval, seed)

    def predict_draws(
        self,
        newdata: pd.DataFrame | None = None,
        groups: Groups = "known",
        kind: str = "mean",
        seed: int | None = None,
    ) -> xr.DataArray:
        """Predict rows, one prediction for each draw of the posterior.

        Parameters
        ----------
        newdata, groups, kind, seed
            As of `predict`.

        Returns
        -------
        xarray.DataArray
            Dimensions chain, draw, __obs__ (the rows in their order) and, where a row has several numbers, their
            labels. New responses of an ordinal or categorical model are positions among its categories.

        Raises
        ------
        DataError, ValueError
            As of `predict`.

        Warns
        -----
        MissingPrediction
            As of `predict`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> dict(fit.predict_draws(kind="response", seed=1).sizes)
        {'chain': 4, 'draw': 1000, '__obs__': 30}
        """
        return predict_draws(self, newdata, groups, kind, seed)

    def posterior_predictive(self, draws: int | None = None, seed: int | None = None) -> xr.DataTree:
        """Replicates of the response, in the same groups, for ArviZ's posterior predictive checks.

        Parameters
        ----------
        draws : int, optional
            Draws of each chain to use, evenly spread; by default all.
        seed : int, optional

        Returns
        -------
        xarray.DataTree
            Groups posterior_predictive and observed_data, as ``arviz.plot_ppc_dist`` takes them.

        Raises
        ------
        ValueError
            If there are not so many draws.

        Examples
        --------
        >>> import hierbayes as hb
        >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
        >>> tree = fit.posterior_predictive(draws=50, seed=1)
        >>> dict(tree["posterior_predictive"]["Yield"].sizes)
        {'chain': 4, 'draw': 50, '__obs__': 30}
        """
        return posterior_predictive(self, draws, seed)
