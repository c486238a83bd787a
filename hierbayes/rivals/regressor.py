"""A mixed model as a regressor of scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.errors import FormulaError, HierbayesError
from hierbayes.from_bambi.families import read_family
from hierbayes.from_bambi.formula import parse
from hierbayes.model import Model
from hierbayes.predictions.groups import KNOWN, MEAN, MIXED, NEW, POPULATION, RESPONSE, Groups, read_groups
from hierbayes.rivals.features import columns_seen

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise ImportError("MixedRegressor needs scikit-learn 1.6 or newer: pip install 'hierbayes[sklearn]'.") from error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

METHODS = ("reml", "ml", "bayes")
BERNOULLI = "bernoulli"
RESPONSE_NAME = re.compile(r"`([^`]+)`|([^\W\d]\w*)")
"""A plain name on the left side of a formula."""


class MixedRegressor(RegressorMixin, BaseEstimator):
    """A mixed model that scikit-learn's cross-validation, pipelines and searches can use.

    Parameters
    ----------
    formula : str
        As of `hierbayes.Model`. The response is what `fit` is given as y and a plain name here; a column of X with
        that name is ignored. The right side alone will do: ``"x + (x | g)"``; the response then has the name of y, or
        one like it that the formula does not use.
    method : {"reml", "ml", "bayes"}, default "reml"
        By what the model is fitted: `Model.reml`, `Model.ml` or `Model.fit`.
    groups : str or mapping, default "mixed"
        For which groups predictions are meant, as of `RemlFit.predict`; see Notes.
    family, link, priors, weights, se, residual
        As of `hierbayes.Model`; `weights` and `se` are columns of X. With `residual`, predictions take no account of
        the correlation of new rows with the residuals of those fitted; for how well later rows of known series are
        predicted with it, see `Fit.lfo`.
    draws, tune, chains : int
        As of `Model.fit`, for ``method="bayes"``.
    seed : int, default 0
        Of the draws, and of the simulated standard deviations; see Notes.

    Attributes
    ----------
    model_ : Model
    fit_ : RemlFit, LaplaceFit, Fit or FamilyFit
    feature_names_in_ : array of str
    n_features_in_ : int

    Notes
    -----
    With ``groups="mixed"`` a row of a level that was fitted is predicted with the effects of that level (the BLUP, or
    the posterior mean), and a row of a new level with the mean over the effects that a new level may have, which for
    a Gaussian response is the prediction of the average level; factor by factor, if there are several. ``"new"``
    takes all levels for new ones, as ``"population"`` does. No prediction depends on draws of new effects. Standard
    deviations account for what is not known of either; they are closed forms for a Gaussian response fitted by
    maximum likelihood, and for a response of 0 and 1, and else found by simulation, so that they depend on `seed`.

    Everything that is a property of the rows fitted, such as ``scale(x)``, is learned anew in each fold. Functions of
    your own cannot be part of the formula; make them steps of a pipeline, whose ``set_output(transform="pandas")``
    keeps the names of the columns. An array without names has the columns x0, x1 and so on.

    Warnings of fits (`SingularFit`, `ConvergenceWarning`, `RowsDropped`) are passed on: one for each fold.

    Examples
    --------
    >>> import hierbayes as hb
    >>> from sklearn.model_selection import GroupKFold, KFold, cross_val_score
    >>> data = hb.load_data("sleepstudy")
    >>> X, y = data[["Days", "Subject"]], data["Reaction"]
    >>> regressor = hb.MixedRegressor("Days + (Days | Subject)")
    >>> known = cross_val_score(regressor, X, y, cv=KFold(5, shuffle=True, random_state=1))
    >>> new = cross_val_score(regressor, X, y, groups=X["Subject"], cv=GroupKFold(5))
    >>> known.mean().round(2), new.mean().round(2)
    (np.float64(0.68), np.float64(0.09))
    """

    def __init__(
        self,
        formula: str,
        method: str = "reml",
        groups: Groups = MIXED,
        family: str = "gaussian",
        link: str | None = None,
        priors: Mapping[str, Any] | None = None,
        weights: str | None = None,
        se: str | None = None,
        residual: str | None = None,
        draws: int = 1000,
        tune: int = 1000,
        chains: int = 4,
        seed: int = 0,
    ) -> None:
        self.formula = formula
        self.method = method
        self.groups = groups
        self.family = family
        self.link = link
        self.priors = priors
        self.weights = weights
        self.se = se
        self.residual = residual
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.seed = seed

    def fit(self, X: pd.DataFrame | ArrayLike, y: ArrayLike) -> MixedRegressor:
        """Fit the model.

        Parameters
        ----------
        X : (n, columns) pandas.DataFrame or array
            The predictors and grouping factors of the formula, and what else there may be.
        y : (n,) array
            The response.

        Returns
        -------
        MixedRegressor
            Itself.

        Raises
        ------
        ValueError
            For another `method` or `groups`, or data that scikit-learn refuses.
        HierbayesError
            For a family whose response is not one number.
        FormulaError, DataError, PriorError
            As of `hierbayes.Model`.

        Warns
        -----
        SingularFit, ConvergenceWarning, RowsDropped
            As of `hierbayes.Model` and its fits.
        """
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        family = read_family(self.family, self.link)
        if family.categorical or family.multinomial or family.with_trials:
            raise HierbayesError(
                f"MixedRegressor predicts one number, and a response of family {self.family!r} is a category or "
                "several numbers; fit a hierbayes.Model, whose predict() is for all families."
            )
        right, response = self._sides(y)
        frame, values = self._frame_and_response(X, y)
        model = _model(
            f"{response if response.isidentifier() else f'`{response}`'} ~ {right}",
            frame.assign(**{response: values}),
            {
                name: getattr(self, name)
                for name in ("family", "link", "priors", "weights", "se", "residual")
                if getattr(self, name) is not None
            },
        )
        read_groups(self.groups, model.design)
        self.model_ = model
        self.fit_ = self._fitted(model)
        return self

    def _fitted(self, model: Model) -> RemlFit | LaplaceFit | Fit | FamilyFit:
        if self.method == "bayes":
            return model.fit(self.draws, self.tune, self.chains, seed=self.seed, progress=False)
        return model.reml() if self.method == "reml" else model.ml()

    def predict(self, X: pd.DataFrame | ArrayLike, return_std: bool = False) -> Any:
        """Predict the expected response.

        Parameters
        ----------
        X : (n, columns) pandas.DataFrame or array
            With the columns of the fit.
        return_std : bool, default False
            Whether to give the standard deviation of a new response as well, as scikit-learn's `BayesianRidge` does.

        Returns
        -------
        (n,) array, or two of them
            NaN for rows with missing values.

        Raises
        ------
        DataError
            For a level that was not fitted with ``groups="known"``, or rows that cannot be evaluated.

        Warns
        -----
        MissingPrediction
            If rows have missing values.
        """
        check_is_fitted(self, "fit_")
        frame = self._frame(X)
        mean = self._predicted(frame, MEAN, "estimate")
        if not return_std:
            return mean
        if self.model_.family.name == BERNOULLI:
            return mean, np.sqrt(mean * (1.0 - mean))
        return mean, self._predicted(frame, RESPONSE, "std_error")

    def _predicted(self, frame: pd.DataFrame, kind: str, column: str) -> np.ndarray:
        """A column of predictions, of rows with the same known factors at a time."""
        wanted = read_groups(self.groups, self.model_.design)
        wanted = {name: POPULATION if how == NEW else how for name, how in wanted.items()}
        mixed = [name for name, how in wanted.items() if how == MIXED]
        rows = self.model_.specification.new_rows(frame, mixed)
        seen = np.ones((len(frame), len(mixed)), dtype=bool)
        seen[rows.complete] = np.column_stack([rows.codes[name] >= 0 for name in mixed]) if mixed else True
        patterns, of_row = np.unique(seen, axis=0, return_inverse=True)
        found = np.empty(len(frame))
        for number, pattern in enumerate(patterns):
            here = np.flatnonzero(of_row.ravel() == number)
            how = {name: KNOWN if known else POPULATION for name, known in zip(mixed, pattern, strict=True)}
            table = self.fit_.predict(frame.iloc[here], wanted | how, kind, seed=self.seed)
            found[here] = table[column].to_numpy()
        return found

    def _sides(self, y: ArrayLike) -> tuple[str, str]:
        """Right side of the formula, and name of the response."""
        if not isinstance(self.formula, str):
            raise FormulaError('The formula must be a text such as "y ~ x + (x | group)" or "x + (x | group)".')
        left, _, right = self.formula.rpartition("~")
        if not left.strip():
            given = getattr(y, "name", None)
            name = given if isinstance(given, str) and "`" not in given else "y"
            used = columns_seen(parse(f"y ~ {right}", random=False), self.weights, self.se, self.residual)
            while name in used:
                name += "_"
            return right, name
        found = RESPONSE_NAME.fullmatch(left.strip())
        if found is None:
            raise FormulaError(
                f"The response of a MixedRegressor is y as it is given to fit(), and {left.strip()!r} is more than a "
                "name; transform y by scikit-learn's TransformedTargetRegressor."
            )
        return right, found[1] or found[2]

    def _frame(self, X: Any) -> pd.DataFrame:
        """Rows to predict, with names, checked as scikit-learn does."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True, reset=False)
            return _named(X)
        return _named(pd.DataFrame(validate_data(self, X, reset=False)))

    def _frame_and_response(self, X: Any, y: Any) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows to fit, with names, and the response as numbers."""
        if not isinstance(X, pd.DataFrame):
            checked, y = validate_data(self, X, y, y_numeric=True, ensure_min_samples=2)
            return _named(pd.DataFrame(checked)), y
        validate_data(self, X, y, skip_check_array=True)
        y = column_or_1d(check_array(y, ensure_2d=False, input_name="y"), warn=True).astype(float)
        check_consistent_length(X, y)
        return _named(X), y


def _named(X: pd.DataFrame) -> pd.DataFrame:
    """The same with columns x0, x1 and so on, unless they have names."""
    return X if all(isinstance(name, str) for name in X) else X.set_axis([f"x{i}" for i in range(X.shape[1])], axis=1)


def _model(formula: str, data: pd.DataFrame, options: dict[str, Any]) -> Model:
    """The model, away from the names of the regressor's own methods, which a formula could mean."""
    return Model(formula, data, **options)
