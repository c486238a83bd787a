"""REML or ML fits of one design to many responses, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.design import Design
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Estimate, variance_rows
from hierbayes.reml import Minima


@dataclass(frozen=True, eq=False)
class Refits:
    """REML or ML fits of one design to many responses.

    Made by `hierbayes.Model.refits`.

    Attributes
    ----------
    method : {"REML", "ML"}
    estimates : pandas.DataFrame
        One row a response, one column for each row of `RemlFit.tidy`, labelled (effect, group, term).
    std_errors : pandas.DataFrame
        Of the fixed effects; same labels.
    criterion : pandas.Series
        -2 log (restricted) likelihood.
    singular, converged : pandas.Series
        As of `RemlFit`.
    """

    method: str
    estimates: pd.DataFrame
    std_errors: pd.DataFrame
    criterion: pd.Series
    singular: pd.Series
    converged: pd.Series


def collect_refits(design: Design, method: str, found: Minima, again: Mapping[int, Estimate]) -> Refits:
    """Put answers for many responses into tables, those fitted again in place of their first ones.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML"}
    found : Minima
    again : mapping of int to Estimate

    Returns
    -------
    Refits
    """
    fixef, vcov, covariance = found.fixef.copy(), found.vcov.copy(), found.covariance.copy()
    sigma, criterion = found.sigma.copy(), found.deviance.copy()
    singular, converged = np.zeros(len(sigma), dtype=bool), found.clear.copy()
    for k, fit in again.items():
        fixef[k], vcov[k], covariance[k] = fit.fixef, fit.vcov, fit.covariance
        sigma[k], criterion[k], singular[k], converged[k] = fit.sigma, fit.criterion, fit.singular, fit.converged
    sd, corr = correlation(covariance)
    columns = {(FIXED, "", label): fixef[:, i] for i, label in enumerate(design.labels)}
    errors = {label: np.sqrt(vcov[:, i, i]) for i, label in enumerate(columns)}
    for group, term, i, j in variance_rows(design):
        columns[VARIANCE, group, term] = sd[:, i] if i == j else corr[:, i, j]
    if design.sigma is None:
        columns[VARIANCE, RESIDUAL, names.SIGMA] = sigma
    return Refits(
        method,
        pd.DataFrame(columns),
        pd.DataFrame(errors),
        pd.Series(criterion),
        pd.Series(singular),
        pd.Series(converged),
    )
