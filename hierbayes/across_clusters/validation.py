"""The result of a cross-validation of several predictors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

RANDOM, GROUPED = "random K-fold", "grouped K-fold"


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """How well several predictors predict rows of known and of new clusters.

    Made by `hierbayes.cross_validate`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a predictor and scheme:

        predictor
            Its name.
        scheme
            "random K-fold", rows dealt at random, or "grouped K-fold", whole clusters dealt at random.
        known
            Share of the rows that were predicted from other rows of their own cluster: 0 for grouped folds.
        rmse, rmse_se
            Root mean squared error over all rows, in units of the response, and its standard error over folds.
        elpd, elpd_se
            Sum over the rows of the log predictive density, and its standard error; NaN for predictors without
            density.
        n
            Rows that were predicted; RMSEs over different numbers of rows are not comparable.
        folds
            Fits.
        failures
            Fits that failed; their rows have no prediction.
        note
            Why something is missing, and what is to be known of the fits.
    predictions : pandas.DataFrame
        One row a predictor, scheme, repeat and row: columns predictor, scheme, repeat, fold, row (its label in the
        index of the data), cluster, observed, predicted, log_density.
    formula, response, group : str
        Of the model; the clusters.
    n_dropped : int
        Incomplete rows of the data that were left out before everything else.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    formula: str
    response: str
    group: str
    n_dropped: int

    @property
    def optimism(self) -> pd.DataFrame:
        """How much better random folds look than new clusters turn out, for each predictor.

        Returns
        -------
        pandas.DataFrame
            Index predictor; columns random and grouped (RMSEs), optimism (grouped less random, in units of the
            response) and percent (of the random one).
        """
        of = self.table.set_index(["scheme", "predictor"])["rmse"]
        random, grouped = of[RANDOM], of[GROUPED]
        return pd.DataFrame(
            {
                "random": random,
                "grouped": grouped,
                "optimism": grouped - random,
                "percent": 100.0 * (grouped / random - 1.0),
            }
        )

    def differences(self, reference: str, scheme: str = GROUPED) -> pd.DataFrame:
        """Compare all predictors with one of them, row by row on the same folds.

        The standard errors of two RMSEs say little about their difference, as both predictors have the same
        difficult rows.

        Parameters
        ----------
        reference : str
            A predictor.
        scheme : {"grouped K-fold", "random K-fold"}

        Returns
        -------
        pandas.DataFrame
            Index predictor; columns mse_difference (mean squared error less that of the reference, over rows that
            both predict; negative is better), mse_se (over folds), elpd_difference, elpd_se, n.

        Raises
        ------
        ValueError
            If there is no such predictor or scheme.
        """
        from hierbayes.across_clusters.scores import log_score, mean_over_folds

        made = self.predictions[self.predictions["scheme"] == scheme]
        for what, wanted, have in (
            ("scheme", scheme, self.table["scheme"]),
            ("predictor", reference, made["predictor"]),
        ):
            if wanted not in set(have):
                raise ValueError(f"there is no {what} {wanted!r}; there are {', '.join(map(repr, have.unique()))}")
        repeats = made["repeat"].nunique()
        columns = {}
        for name, of_one in made.groupby("predictor", sort=False):
            error = (of_one["observed"] - of_one["predicted"]).to_numpy()
            columns[name] = error**2, of_one["log_density"].to_numpy(), of_one["fold"].to_numpy()
            clusters = of_one["cluster"].to_numpy()
        part = clusters.reshape(repeats, -1)[0] if scheme == GROUPED else None
        squares, densities, _ = columns[reference]
        rows = []
        for name, (square, density, fold) in columns.items():
            more = (square - squares).reshape(repeats, -1)
            mean, error = mean_over_folds(more, fold.reshape(repeats, -1))
            elpd, elpd_error = log_score((density - densities).reshape(repeats, -1), part)
            rows.append((name, mean, error, elpd, elpd_error, int(np.isfinite(more[0]).sum())))
        names = ["predictor", "mse_difference", "mse_se", "elpd_difference", "elpd_se", "n"]
        return pd.DataFrame(rows, columns=names).set_index("predictor")

    def __repr__(self) -> str:
        shown = self.table.drop(columns="note").to_string(
            index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"
        )
        notes = self.table[self.table["note"] != ""].groupby("note", sort=False)["predictor"]
        lines = [
            f"Cross-validation of {self.formula}, RMSE in units of {self.response}",
            *([f"{self.n_dropped} incomplete rows left out"] if self.n_dropped else []),
            shown,
            *(f"{' | '.join(predictors.unique())}: {note}" for note, predictors in notes),
        ]
        return "\n".join(lines)
