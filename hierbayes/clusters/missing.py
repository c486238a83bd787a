"""Missing values: which rows a model uses, which it drops and why, and what its answers owe to that.

A likelihood needs no imputation of missing responses: maximised over the rows that have one, it is right if they are
missing at random (MAR), that is, if whether a response is missing depends on it only through the other columns of the
model (Rubin 1976, Biometrika 63, 581). Random effects help: the observed responses of a group count among what is
known. The data cannot show that responses are MAR; they can show that missingness depends on predictors (then a
method that ignores these is biased), and a sensitivity analysis shows how far from MAR the missing ones must be to
change a conclusion. A row that lacks a predictor is dropped with its response, which is right if missingness of
predictors does not depend on the response given the predictors.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hierbayes import display, names, series
from hierbayes.clusters.delta_adjustment import Sensitivity, delta_adjustment
from hierbayes.clusters.imputation import impute, with_rows
from hierbayes.errors import ConvergenceWarning, DataError, HierbayesError, SingularFit
from hierbayes.model import Model
from hierbayes.specification import Specification, specify
from hierbayes.spelling import spelled

INDICATOR = "response_is_missing"
"""Column that says so; with underscores if the data have one of that name."""
DELTAS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Missing:
    """What is missing, and what that does.

    Made by `missing`.

    Attributes
    ----------
    specification : Specification
        Of the model of the complete rows.
    data : pandas.DataFrame
        The columns that the model uses, all rows.
    columns : pandas.DataFrame
        One row a column: column, role ("response", "predictor", "group", "series" and "time" of correlated residuals,
        …), missing (rows), alone (rows that are
        dropped for this column and no other).
    groups : pandas.DataFrame
        One row a level of every grouping factor: group, level, rows, used, dropped. Levels without any row used are
        in it.
    related : pandas.DataFrame
        Is missingness of the response related to the predictors? Logistic regression of the indicator on the fixed
        effects of the formula, without offset, with a random intercept for every factor and every series of
        correlated residuals: term, log_odds, std_error, statistic, p_value, conf_low, conf_high; no rows if no
        response is missing or the regression cannot be fitted.
    note : str
        Why `related` is empty, or what is doubtful about it.
    """

    specification: Specification
    data: pd.DataFrame
    columns: pd.DataFrame
    groups: pd.DataFrame
    related: pd.DataFrame
    note: str

    @property
    def used(self) -> int:
        """Rows that the model uses."""
        return self.specification.design.n

    @property
    def dropped(self) -> int:
        """Rows that it does not use."""
        return len(self.data) - self.used

    def sensitivity(
        self,
        deltas: Sequence[float] = DELTAS,
        where: str | None = None,
        imputations: int = 100,
        method: str = "REML",
        seed: int = 0,
        conf_level: float = 0.95,
    ) -> Sensitivity:
        """Shift the missing responses by multiples of the residual sd, and see what becomes of the estimates.

        Parameters
        ----------
        deltas : sequence of float
            In residual standard deviations of the row: σ/√w with weights, its standard error with ``se=``. Zero,
            which is MAR, is always there.
        where : str, optional
            Rows that are shifted, as `pandas.DataFrame.query` reads it: ``"treatment == 'Low'"``. By default all. A
            shift of all rows moves mostly the intercept; to ask what overturns a difference, shift one side.
        imputations : int, default 100
            At least 2.
        method : {"REML", "ML"}, default "REML"
        seed : int, default 0
        conf_level : float, default 0.95

        Returns
        -------
        Sensitivity

        Raises
        ------
        DataError
            If no row lacks its response only, or one that does is of a category that no observed row has.
        HierbayesError
            For other families than the Gaussian, correlated residuals, or if hardly any refit converges.
        ValueError
            For an argument out of range.

        Examples
        --------
        >>> import hierbayes as hb, numpy as np
        >>> data = hb.load_data("sleepstudy")
        >>> data.loc[(data["Days"] > 6) & (data["Reaction"] > 380), "Reaction"] = np.nan
        >>> found = hb.missing("Reaction ~ Days + (1 | Subject)", data).sensitivity(deltas=[0, 1, 2], imputations=50)
        >>> found.table.query("term == 'Days'")["estimate"].round(1).tolist()
        [9.2, 9.9, 10.5]
        """
        design = self.specification.design
        if not design.family.exact or design.residual is not None:
            raise HierbayesError(
                "A sensitivity analysis imputes from a Gaussian model with independent residuals; "
                f"{self.specification.formula!r} is another."
            )
        if not (isinstance(imputations, (int, np.integer)) and imputations >= 2):
            raise ValueError(f"imputations must be a whole number of 2 or more, not {imputations!r}")
        if method not in {"REML", "ML"}:
            raise ValueError(f"method must be 'REML' or 'ML', not {method!r}")
        if not len(deltas) or not np.isfinite(np.asarray(deltas, dtype=float)).all():
            raise ValueError("deltas are finite numbers, in residual standard deviations")
        response = _response_columns(self.specification)
        rows = self.data[self.data.drop(columns=response).notna().all(axis=1)]
        absent = rows[response].isna().any(axis=1).to_numpy()
        if not absent.any():
            raise DataError("No row lacks its response only, so there is nothing to impute.")
        shifted = np.ones(int(absent.sum()), dtype=bool)
        if where is not None:
            shifted = _chosen(rows[absent], where)
        factors = [factor.name for factor in design.factors]
        full = with_rows(design, self.specification.new_rows(rows[absent], factors, response=True))
        imputed = impute(full, np.arange(full.n) >= design.n, int(imputations), int(seed))
        return delta_adjustment(imputed, deltas, shifted, method, conf_level)

    @property
    def _lost(self) -> pd.DataFrame:
        """Levels that lose all their rows."""
        return self.groups[(self.groups["used"] == 0) & (self.groups["rows"] > 0)]

    def _repr_html_(self) -> str:
        known = {"rows": len(self.data), "used": self.used, "dropped": self.dropped}
        lost = [f"{row.group} {row.level}" for row in self._lost.itertuples()]
        odds = "Is missingness of the response related to the predictors?"
        return display.document(
            "Missing values",
            display.said([("note", f"Without any row: {', '.join(lost)}" if lost else None), ("note", self.note)]),
            display.facts(known),
            display.table(self.columns, "Columns"),
            display.table(self.related, odds) if len(self.related) else None,
            _MAR,
            formula=self.specification.formula,
        )

    def __repr__(self) -> str:
        lost = self._lost
        lines = [
            f"{self.used} of {len(self.data)} rows used, {self.dropped} dropped",
            self.columns.to_string(index=False),
        ]
        if len(lost):
            lines.append(f"Without any row: {', '.join(f'{row.group} {row.level}' for row in lost.itertuples())}")
        if len(self.related):
            shown = self.related.to_string(index=False, float_format=lambda v: f"{v:.3g}")
            lines += ["Is missingness of the response related to the predictors? (log odds)", shown]
        lines += [*filter(None, [self.note]), _MAR]
        return "\n".join(lines)


_MAR = (
    "The likelihood is right if responses are missing at random: given what was observed, predictors and other "
    "responses, whether one is missing does not depend on its value. The data cannot show that; sensitivity() shows "
    "what depends on it."
)


def missing(model: str | Model, data: pd.DataFrame) -> Missing:
    """Say which rows a model uses and which it drops, and whether missingness is related to predictors.

    Parameters
    ----------
    model : str or Model
        A formula, or a model with its weights, family and so on. Weights that were given as an array must be a column
        here.
    data : pandas.DataFrame
        With its missing values.

    Returns
    -------
    Missing
        Its `sensitivity` asks what the answers owe to responses being missing at random.

    Raises
    ------
    FormulaError, DataError
        As of `hierbayes.Model`.

    Examples
    --------
    >>> import hierbayes as hb, numpy as np
    >>> data = hb.load_data("sleepstudy")
    >>> data.loc[(data["Days"] > 6) & (data["Reaction"] > 380), "Reaction"] = np.nan
    >>> found = hb.missing("Reaction ~ Days + (1 | Subject)", data)
    >>> found.used, found.dropped
    (172, 8)
    >>> found.columns
         column       role  missing  alone
    0  Reaction   response        8      8
    1      Days  predictor        0      0
    2   Subject      group        0      0
    """
    if isinstance(model, Model):
        given = model.specification
        columns = [name for name in given.data.columns if name not in data.columns]
        if columns:
            argument = names.ARRAYS.get(columns[0])
            what = f"{argument}= was given as an array; add it as a column" if argument else "the model uses a column"
            raise DataError(f"{what} named {columns[0]!r}, which the data lack.")
        s = _made(given, data).specification
    else:
        caller = sys._getframe(1)
        s = specify(model, data, namespace={**caller.f_globals, **caller.f_locals})
    used = data[list(s.data.columns)]
    gone = used.isna()
    response = _response_columns(s)
    grouping = [name for factor in s.design.factors for name in _grouping_columns(s, factor.name)]
    structure = None if s.residual is None else series.parse(s.residual)
    correlated = (
        {} if structure is None else {str(structure.time): "time", **dict.fromkeys(structure.groups, "series")}
    )
    roles = {**correlated, **dict.fromkeys(grouping, "group"), **dict.fromkeys(response, "response")}
    roles |= {column: name for column, name in ((s.weights, "weights"), (s.se, "standard error")) if column}
    table = pd.DataFrame(
        {
            "column": list(used.columns),
            "role": [roles.get(name, "predictor") for name in used.columns],
            "missing": gone.sum().to_numpy(),
            "alone": (gone & (gone.sum(axis=1) == 1).to_numpy()[:, None]).sum().to_numpy(),
        }
    )
    complete = ~gone.any(axis=1)
    groups = [
        _by_level(used, complete, factor.name, _grouping_columns(s, factor.name)) for factor in s.design.factors
    ]
    related, note = _related(s, used, response)
    by_level = pd.concat(groups, ignore_index=True) if groups else _by_level(used, complete, "", [])
    return Missing(s, used, table, by_level, related, note)


def _made(s: Specification, data: pd.DataFrame, formula: str | None = None, family: str | None = None) -> Model:
    """The model of a specification on other rows; random effects, response and family may change."""
    return Model._specified(
        specify(
            formula or s.formula,
            data,
            family or s.family.name,
            s.family.link if family is None else None,
            s.priors_given if formula is None else None,
            s.center_predictors,
            True,
            s.weights if family is None else None,
            s.se if family is None else None,
            s.residual if family is None else None,
            s.namespace,
        )
    )


def _response_columns(s: Specification) -> list[str]:
    """Columns on the left side of the formula."""
    used = {str(name).strip("`") for name in s.parsed.description.response.term.components[0].var_names}
    return [name for name in s.data.columns if name in used]


def _grouping_columns(s: Specification, factor: str) -> list[str]:
    """The columns of a grouping factor."""
    for _, terms in s.parsed.blocks:
        if terms[0].factor.name == factor:
            return [str(component.name).strip("`") for component in terms[0].factor.components]
    return []


def _by_level(data: pd.DataFrame, complete: pd.Series, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Rows, used and dropped, of every level; rows whose level is missing are a level of their own."""
    header = ["group", "level", "rows", "used", "dropped"]
    if not columns:
        return pd.DataFrame(columns=header)
    labels = data[list(columns)].astype(object)
    label = labels.map(str).agg(":".join, axis=1).where(labels.notna().all(axis=1), "(missing)")
    counts = complete.groupby(label, sort=False).agg(["size", "sum"]).reset_index()
    counts.columns = pd.Index(["level", "rows", "used"])
    return counts.assign(group=name, dropped=counts["rows"] - counts["used"])[header]


def _related(s: Specification, data: pd.DataFrame, response: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Logistic regression of missingness on the predictors, and a note."""
    header = ["term", "log_odds", "std_error", "statistic", "p_value", "conf_low", "conf_high"]
    nothing = pd.DataFrame(columns=header)
    others = data.drop(columns=list(response))
    rows = others[others.notna().all(axis=1)]
    absent = data.loc[rows.index, list(response)].isna().any(axis=1)
    if not absent.any():
        return nothing, "No response is missing where the predictors are known."
    indicator = INDICATOR
    while indicator in rows.columns:
        indicator += "_"
    terms = [spelled(term.name, data) for term in s.design.terms if term.name != names.INTERCEPT]
    clusters = [factor.name for factor in s.design.factors]
    if s.design.residual is not None and s.design.residual.name not in clusters:
        clusters.append(s.design.residual.name)
    effects = [f"(1 | {spelled(name, data)})" for name in clusters]
    intercept = "1" if s.design.intercept is not None or s.family.ordinal else "0"
    text = f"{indicator} ~ {' + '.join([intercept, *terms, *effects])}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFit)  # groups may well not differ
            warnings.simplefilter("ignore", ConvergenceWarning)  # said in the note
            fit = _made(s, rows.assign(**{indicator: absent.astype(int)}), text, "bernoulli").ml()
    except HierbayesError as error:
        return nothing, f"Whether missingness is related to the predictors could not be estimated: {error}"
    if not fit.converged:  # after dropout, where all later rows of a group are missing, there is no maximum
        return nothing, f"Whether missingness is related to the predictors could not be estimated: {fit.message}."
    tidy: Any = fit.tidy()
    fixed = tidy[(tidy["effect"] == "fixed") & (tidy["term"] != names.INTERCEPT)]
    return fixed.rename(columns={"estimate": "log_odds"})[header].reset_index(drop=True), ""


def _chosen(rows: pd.DataFrame, where: str) -> np.ndarray:
    """Which rows a query takes."""
    try:
        found = rows.reset_index(drop=True).query(where).index
    except Exception as error:
        raise ValueError(f"where={where!r} cannot be evaluated on the columns of the model: {error}") from error
    if not len(found):
        raise DataError(f"where={where!r} takes none of the {len(rows)} rows without a response.")
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[found] = True
    return chosen
