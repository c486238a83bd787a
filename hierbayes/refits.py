"""REML or ML fits of one design to one response after another, prepared once.

Whatever does not depend on the response is prepared once. With independent residuals many responses are fitted
in compiled code, and only the few whose answer lies on the boundary, or is not clearly a minimum, are fitted
again with all the care of `hierbayes.reml.maximise`. With correlated residuals all of them are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.design import Design
from hierbayes.errors import DataError
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Estimate, variance_rows
from hierbayes.marginal import Marginal
from hierbayes.moments import Moments, Rows, take_moments
from hierbayes.reml import Minima, maximise, maximise_all
from hierbayes.threads import one_thread, parts, share

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TOGETHER = 25
"""Responses that a thread fits before it says so."""


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
    fixef : (k, p) array
    covariance : (k, q, q) array
        Of the random effects of a level.
    sigma : (k,) array
    rho : (k,) array
        Residual correlation, 0 for independent residuals.
    """

    method: str
    estimates: pd.DataFrame
    std_errors: pd.DataFrame
    criterion: pd.Series
    singular: pd.Series
    converged: pd.Series
    fixef: np.ndarray
    covariance: np.ndarray
    sigma: np.ndarray
    rho: np.ndarray


class Refitter:
    """A design that is fitted to one response after another.

    Parameters
    ----------
    design : Design
    moments : Moments
        Of the same design.
    """

    def __init__(self, design: Design, moments: Moments) -> None:
        self.design, self.moments = design, moments

    @property
    def _quick(self) -> bool:
        """Whether moments can be prepared: residuals are independent, and there are random effects."""
        return self.design.residual is None and bool(self.design.factors)

    @cached_property
    def _prepared(self) -> tuple[Rows, Marginal]:
        rows = Rows(self.design, self.moments)
        return rows, Marginal(self.design, None, rows.moments)

    def likelihood(self, y: ArrayLike) -> Marginal:
        """The likelihood of another response, (n,).

        Raises
        ------
        DataError
            If the response has another length or is not finite.
        """
        y = np.asarray(y, dtype=float)
        if y.shape != (self.design.n,) or not np.isfinite(y).all():
            raise DataError(
                f"A new response needs {self.design.n} finite numbers, one for each row used, not an array of shape "
                f"{y.shape}" + ("." if y.shape != (self.design.n,) else " with missing or infinite values.")
            )
        if not self._quick:
            design = replace(self.design, y=y)
            return Marginal(design, None, take_moments(design))
        rows, base = self._prepared
        return base.with_response(y, rows.of(y))

    def one(self, y: ArrayLike, method: str) -> Estimate:
        """Fit one response; parameters and errors as of `likelihood`."""
        likelihood = self.likelihood(y)
        return Estimate(likelihood, maximise(likelihood, method == "REML"), method)

    def all(
        self, responses: ArrayLike, method: str, threads: int = 1, advance: Callable[[int], None] | None = None
    ) -> Refits:
        """Fit many responses.

        Parameters
        ----------
        responses : (k, n) array
        method : {"REML", "ML"}
        threads : int
        advance : callable, optional
            Called with the number of responses that have just been fitted.

        Returns
        -------
        Refits
            The same whatever the number of threads.

        Raises
        ------
        DataError
            If the responses have another length or are not finite.
        """
        Y = np.asarray(responses, dtype=float)
        if Y.ndim != 2 or Y.shape[1] != self.design.n or not np.isfinite(Y).all():
            raise DataError(
                f"Responses are an array (responses, {self.design.n}) of finite numbers, not one of shape {Y.shape}"
                + ("." if Y.ndim != 2 or Y.shape[1] != self.design.n else " with missing or infinite values.")
            )
        pieces = parts(len(Y), TOGETHER)
        found: dict[int, Minima] = {}
        again: dict[int, Estimate] = {}
        prepared = self._prepared if self._quick else None

        def work(number: int, part: slice) -> None:
            unclear = np.ones(part.stop - part.start, dtype=bool)
            if prepared is not None:
                rows, base = prepared
                found[number] = maximise_all(base, rows, Y[part], method == "REML")
                unclear = ~found[number].clear
            for k in part.start + np.flatnonzero(unclear):
                again[int(k)] = self.one(Y[k], method)
            if advance is not None:
                advance(part.stop - part.start)

        with one_thread():
            share(work, pieces, threads)
        minima = _joined([found[i] for i in sorted(found)]) if found else _empty(self.moments, len(Y))
        return collect_refits(self.design, method, minima, again)


def _joined(found: list[Minima]) -> Minima:
    return Minima(*(np.concatenate([getattr(each, name) for each in found]) for name in Minima.__dataclass_fields__))


def _empty(m: Moments, k: int) -> Minima:
    nothing = np.full(k, np.nan)
    return Minima(
        nothing,
        np.full((k, m.p), np.nan),
        np.full((k, m.p, m.p), np.nan),
        np.full((k, m.q, m.q), np.nan),
        nothing,
        np.zeros(k, dtype=bool),
    )


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
    sigma, criterion, rho = found.sigma.copy(), found.deviance.copy(), np.zeros(len(found.sigma))
    singular, converged = np.zeros(len(sigma), dtype=bool), found.clear.copy()
    for k, fit in again.items():
        fixef[k], vcov[k], covariance[k], rho[k] = fit.fixef, fit.vcov, fit.covariance, fit.optimum.rho
        sigma[k], criterion[k], singular[k], converged[k] = fit.sigma, fit.criterion, fit.singular, fit.converged
    sd, corr = correlation(covariance)
    columns = {(FIXED, "", label): fixef[:, i] for i, label in enumerate(design.labels)}
    errors = {label: np.sqrt(vcov[:, i, i]) for i, label in enumerate(columns)}
    for group, term, i, j in variance_rows(design):
        columns[VARIANCE, group, term] = sd[:, i] if i == j else corr[:, i, j]
    if design.sigma is None:
        columns[VARIANCE, RESIDUAL, names.SIGMA] = sigma
    if design.residual is not None:
        columns[VARIANCE, RESIDUAL, names.RHO] = rho
    return Refits(
        method,
        pd.DataFrame(columns),
        pd.DataFrame(errors),
        pd.Series(criterion),
        pd.Series(singular),
        pd.Series(converged),
        fixef,
        covariance,
        sigma,
        rho,
    )
