"""Likelihoods of several models of the same rows: information criteria, and tests of those that are nested.

Criteria are by maximum likelihood, so that they can be compared whatever the fixed effects are. Tests are those of
`hierbayes.lrt`: by restricted likelihoods where the fixed effects are the same, else by maximum likelihood. A model
is tested against the next larger ones of which it is a special case, and not again against those beyond them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import pandas as pd

from hierbayes.design import check_same_data
from hierbayes.errors import FormulaError, HierbayesWarning
from hierbayes.estimates import Estimate
from hierbayes.likelihood_ratio import lrt
from hierbayes.model import Model

MODELS = ["model", "n_par", "loglik", "aic", "bic", "singular"]
TESTS = ["smaller", "larger", "method", "chisq", "df", "p_value", "p_naive", "note"]


@dataclass(frozen=True)
class Likelihoods:
    """Maximised likelihoods of several models.

    Parameters
    ----------
    models : pandas.DataFrame
        One row a model, by maximum likelihood: model, n_par, loglik, aic, bic, singular.
    tests : pandas.DataFrame
        One row a pair of nested models: smaller, larger, method, chisq, df, p_value, p_naive, note, as of
        `hierbayes.lrt`. Empty for responses that are not Gaussian, for which there is no such test.
    """

    models: pd.DataFrame
    tests: pd.DataFrame


def likelihoods(models: Mapping[str, Model], nagq: int = 1) -> Likelihoods:
    """Maximise and test.

    Parameters
    ----------
    models : mapping of str to Model
    nagq : int, default 1
        Of `Model.ml`, for responses that are not Gaussian.

    Returns
    -------
    Likelihoods

    Raises
    ------
    DataError
        If models are of other rows or responses.
    HierbayesError
        If the likelihood of one is not known.

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("Pastes")
    >>> formulas = ["strength ~ 1 + (1 | batch)", "strength ~ 1 + (1 | batch/cask)"]
    >>> found = likelihoods({formula: hb.Model(formula, data) for formula in formulas})
    >>> found.models["aic"].round(2).tolist(), found.tests[["chisq", "df"]].round(2).values.tolist()
    ([308.6, 255.99], [[54.6, 1.0]])
    """
    for (one, first), (other, second) in pairwise(models.items()):
        check_same_data(first.design, second.design, (one, other))
    gaussian = all(model.family.exact for model in models.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # the column says which are singular
        found = {name: model.ml() if model.family.exact else model.ml(nagq=nagq) for name, model in models.items()}
        rows = [(name, fit.n_par, fit.loglik, fit.aic, fit.bic, fit.singular) for name, fit in found.items()]
        tests = _tests({name: model.reml() for name, model in models.items()}) if gaussian else []
    return Likelihoods(pd.DataFrame(rows, columns=MODELS), pd.DataFrame(tests, columns=TESTS))


def _tests(found: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    ordered = sorted(found, key=lambda name: found[name].n_par)
    tested: dict[tuple[str, str], pd.Series] = {}
    for smaller, larger in combinations(ordered, 2):
        if found[smaller].n_par < found[larger].n_par:
            try:
                tested[smaller, larger] = lrt(found[smaller], found[larger]).iloc[1]
            except FormulaError:  # not nested
                continue
    return [
        {"smaller": low, "larger": high, **{name: row[name] for name in TESTS[2:]}}
        for (low, high), row in tested.items()
        if not any((low, middle) in tested and (middle, high) in tested for middle in ordered)
    ]
