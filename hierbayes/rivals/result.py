"""The result of a cross-validation of several methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import display

RANDOM, GROUPED = "random K-fold", "grouped K-fold"


@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """How well several methods predict rows of known and of new clusters.

    Made by `hierbayes.cross_validate`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a method and scheme:

        method
            Its name.
        scheme
            "random K-fold", rows dealt at random, or "grouped K-fold", whole clusters dealt at random.
        known
            Share of the rows that were predicted from other rows of their own cluster: 0 for grouped folds.
        rmse, rmse_se
            Root mean squared error over all rows, in units of the response, and its standard error over folds.
        elpd, elpd_se
            Sum over the rows of the log predictive density, and its standard error; NaN for methods without
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
        One row a method, scheme, repeat and row: columns method, scheme, repeat, fold, row (its label in the
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
        """How much better random folds look than new clusters turn out, for each method.

        Returns
        -------
        pandas.DataFrame
            Index method; columns random and grouped (RMSEs), optimism (grouped less random, in units of the
            response), percent (of the random one), and n_random and n_grouped, the rows that were predicted: where
            they differ, so do the questions.
        """
        of = self.table.set_index(["scheme", "method"])[["rmse", "n"]]
        (random, n_random), (grouped, n_grouped) = ((of.loc[at, "rmse"], of.loc[at, "n"]) for at in (RANDOM, GROUPED))
        return pd.DataFrame(
            {
                "random": random,
                "grouped": grouped,
                "optimism": grouped - random,
                "percent": 100.0 * (grouped / random - 1.0),
                "n_random": n_random,
                "n_grouped": n_grouped,
            }
        )

    @property
    def n_rows(self) -> int:
        """Rows that there were to predict."""
        one = self.predictions.groupby(["method", "scheme", "repeat"], sort=False).size()
        return int(one.iloc[0])

    def differences(self, reference: str, scheme: str = GROUPED) -> pd.DataFrame:
        """Compare all methods with one of them, row by row on the same folds.

        The standard errors of two RMSEs say little about their difference, as both methods have the same
        difficult rows.

        Parameters
        ----------
        reference : str
            A method.
        scheme : {"grouped K-fold", "random K-fold"}

        Returns
        -------
        pandas.DataFrame
            Index method; columns mse_difference (mean squared error less that of the reference, over rows that
            both predict; negative is better), mse_se (over folds), elpd_difference, elpd_se, n.

        Raises
        ------
        ValueError
            If there is no such method or scheme.
        """
        from hierbayes.rivals.scores import log_score, mean_over_folds

        made = self.predictions[self.predictions["scheme"] == scheme]
        for what, wanted, have in (
            ("scheme", scheme, self.table["scheme"]),
            ("method", reference, made["method"]),
        ):
            if wanted not in set(have):
                raise ValueError(f"there is no {what} {wanted!r}; there are {', '.join(map(repr, have.unique()))}")
        repeats = made["repeat"].nunique()
        columns = {}
        for name, of_one in made.groupby("method", sort=False):
            error = (of_one["observed"] - of_one["predicted"]).to_numpy()
            columns[name] = error**2, of_one["log_density"].to_numpy(), of_one["fold"].to_numpy()
            clusters = of_one["group"].to_numpy()
        part = clusters.reshape(repeats, -1)[0] if scheme == GROUPED else None
        squares, densities, _ = columns[reference]
        rows = []
        for name, (square, density, fold) in columns.items():
            more = (square - squares).reshape(repeats, -1)
            mean, error = mean_over_folds(more, fold.reshape(repeats, -1))
            elpd, elpd_error = log_score((density - densities).reshape(repeats, -1), part)
            rows.append((name, mean, error, elpd, elpd_error, int(np.isfinite(more[0]).sum())))
        names = ["method", "mse_difference", "mse_se", "elpd_difference", "elpd_se", "n"]
        return pd.DataFrame(rows, columns=names).set_index("method")

    def _repr_html_(self) -> str:
        notes = self._notes()
        left_out = f"{self.n_dropped} incomplete rows left out" if self.n_dropped else None
        table = display.table(self.table.drop(columns="note"), f"RMSE in units of {self.response}", longest=100)
        remarks = [("warning", text) for text in self._partial()] + [("note", text) for text in [left_out, *notes]]
        return display.document("Cross-validation", display.said(remarks), table, formula=self.formula)

    def _notes(self) -> list[str]:
        """What is to be known of the methods."""
        notes = self.table[self.table["note"] != ""].groupby("note", sort=False)["method"]
        return [f"{' | '.join(methods.unique())}: {note}" for note, methods in notes]

    def __repr__(self) -> str:
        shown = self.table.drop(columns="note").to_string(
            index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"
        )
        lines = [
            f"Cross-validation of {self.formula}, RMSE in units of {self.response}",
            *([f"{self.n_dropped} incomplete rows left out"] if self.n_dropped else []),
            shown,
            *self._partial(),
            *self._notes(),
        ]
        return "\n".join(lines)

    def _partial(self) -> list[str]:
        """A sentence on RMSEs over fewer rows, which may be the easier ones."""
        some = self.table[self.table["n"].between(1, self.n_rows - 1)]
        which = [f"{row.method}, {row.scheme} ({row.n})" for row in some.itertuples()]
        if not which:
            return []
        return [f"RMSE over fewer than the {self.n_rows} rows, not comparable with the others: {' | '.join(which)}"]
