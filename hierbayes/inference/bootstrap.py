r"""Parametric bootstrap: the fit's own model draws new responses, and each is fitted as the first one was.

Intervals from the draws θ*_1..θ*_B of an estimate θ̂ (Davison & Hinkley 1997, Bootstrap Methods and their
Application, chapter 5), with quantiles q of the draws, their mean m and standard deviation s::

    percentile    (q_α/2, q_1-α/2)
    basic         (2θ̂ - q_1-α/2, 2θ̂ - q_α/2)
    normal        θ̂ - (m - θ̂) ± z_1-α/2 s

A refit that does not converge is NaN in the tables, is counted, and is left out of the intervals.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display
from hierbayes.errors import ConvergenceWarning
from hierbayes.estimates import INTERVALS, Estimate, checked
from hierbayes.inference.simulation import simulate
from hierbayes.progress import bar
from hierbayes.refits import Refits, Refitter

AT_A_TIME = 5_000_000
"""Numbers that the responses held at a time may have."""
STATISTIC = "statistic"
"""Effect of the rows of a statistic of the user's."""
KINDS = ("percentile", "basic", "normal")

Statistic = Callable[[Any], float | Mapping[str, float]]
"""From an `Estimate` or a `Replicate` to a number, or to several with their names."""


@dataclass(frozen=True, eq=False)
class Replicate:
    """What one refit found, under the names that a fit has for it.

    Attributes
    ----------
    fixef : pandas.Series
    covariance : (q, q) array
        Of the random effects of a level.
    sigma : float
    rho : float or None
        Residual correlation.
    """

    fixef: pd.Series
    covariance: np.ndarray
    sigma: float
    rho: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap:
    """Refits of responses that were drawn from a fit.

    Made by `hierbayes.RemlFit.bootstrap`.

    Attributes
    ----------
    estimate : Estimate
        The fit.
    refits : Refits
        As they came, failed ones included.
    seed : int
        Of the responses: replicate k is the same whatever their number.
    estimates : pandas.DataFrame
        One row a replicate, one column for each row of `RemlFit.tidy` and for each statistic, labelled (effect,
        group, term); NaN where the refit failed, or where a correlation does not exist because a standard
        deviation is zero.
    failed : numpy.ndarray
        Numbers of the replicates whose refit did not converge.
    singular : int
        How many of the others are on the boundary.
    fixef, covariance, sigma, rho : arrays (n, p), (n, q, q), (n,), (n,)
        The same estimates as arrays, NaN where the refit failed.
    """

    estimate: Estimate
    refits: Refits
    seed: int
    statistic: Statistic | None = field(default=None)

    @property
    def n(self) -> int:
        """Number of replicates, failed ones included."""
        return len(self.refits.sigma)

    @cached_property
    def failed(self) -> np.ndarray:
        """Numbers of the replicates whose refit did not converge."""
        return np.flatnonzero(~self.refits.converged.to_numpy())

    @property
    def singular(self) -> int:
        """Number of refits that converged to the boundary."""
        return int((self.refits.singular & self.refits.converged).sum())

    def _kept(self, values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[self.failed] = np.nan
        return values

    @cached_property
    def fixef(self) -> np.ndarray:
        """(n, p) fixed effects."""
        return self._kept(self.refits.fixef)

    @cached_property
    def covariance(self) -> np.ndarray:
        """(n, q, q) covariance matrices of the random effects of a level."""
        return self._kept(self.refits.covariance)

    @cached_property
    def sigma(self) -> np.ndarray:
        """(n,) residual standard deviations."""
        return self._kept(self.refits.sigma)

    @cached_property
    def rho(self) -> np.ndarray:
        """(n,) residual correlations, 0 for independent residuals."""
        return self._kept(self.refits.rho)

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Estimates of every replicate; see the class."""
        table = self.refits.estimates.copy()
        table.iloc[self.failed] = np.nan
        if self.statistic is None:
            return table
        own = self.apply(self.statistic)
        return table.join(_labelled(own))

    @cached_property
    def observed(self) -> pd.Series:
        """Estimates of the fit itself, with the labels of `estimates`."""
        values = self.estimate.parameter_values
        if self.statistic is None:
            return values
        return pd.concat([values, _labelled(pd.DataFrame([_named(self.statistic(self.estimate))])).iloc[0]])

    def __iter__(self) -> Iterator[Replicate | None]:
        """Replicates one after the other, None where the refit failed."""
        labels = self.estimate.design.labels
        correlated = self.estimate.design.residual is not None
        lost = set(self.failed.tolist())
        for k in range(self.n):
            yield (
                None
                if k in lost
                else Replicate(
                    pd.Series(self.fixef[k], index=labels),
                    self.covariance[k],
                    float(self.sigma[k]),
                    float(self.rho[k]) if correlated else None,
                )
            )

    def apply(self, function: Statistic) -> pd.DataFrame:
        """Compute a statistic of every replicate.

        Parameters
        ----------
        function : callable
            Of a fit, of which it may use ``fixef``, ``covariance``, ``sigma`` and ``rho``; returns a number or a
            mapping of names to numbers.

        Returns
        -------
        pandas.DataFrame
            One row a replicate, NaN where the refit failed.

        Examples
        --------
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> ratio = lambda fit: fit.covariance[0, 0] / (fit.covariance[0, 0] + fit.sigma**2)
        >>> reml.bootstrap(200, seed=1, progress=False).apply(ratio).shape
        (200, 1)
        """
        rows = [{} if each is None else _named(function(each)) for each in self]
        return pd.DataFrame(rows, index=self.refits.estimates.index, columns=list(_named(function(self.estimate))))

    def summary(self, conf_level: float = 0.95, kind: str = "percentile") -> pd.DataFrame:
        """Estimates with bias, standard error and interval from the replicates.

        Parameters
        ----------
        conf_level : float, default 0.95
        kind : {"percentile", "basic", "normal"}, default "percentile"
            See the module; the ends of the last two are not cut at the boundary of the parameter space.

        Returns
        -------
        pandas.DataFrame
            Columns effect, group, term, estimate, bias (mean of the replicates less the estimate), std_error,
            conf_low, conf_high, and ``n``, the replicates that are not NaN.

        Raises
        ------
        ValueError
            For another kind, or a level that is not between 0 and 1.
        """
        return intervals(self.observed, self.estimates, conf_level, kind)

    def confint(self, conf_level: float = 0.95, kind: str = "percentile") -> pd.DataFrame:
        """Bootstrap intervals with the columns of `RemlFit.confint`; parameters and errors as of `summary`."""
        table = self.summary(conf_level, kind)
        lost = self.n - table["n"]
        note = np.where(lost == 0, "", lost.astype(str) + f" of {self.n} replicates have no value")
        return table.assign(method=f"bootstrap, {kind}", note=note)[INTERVALS]

    def _repr_html_(self) -> str:
        known = {"refits": self.n, "failed": len(self.failed), "singular": self.singular, "seed": self.seed}
        of = self.estimate
        columns = ["term", "group", "estimate", "bias", "std_error", "conf_low", "conf_high", "n"]
        table = display.table(self.summary()[columns], "Bias, standard errors and 95% percentile intervals")
        return display.document(
            f"Bootstrap of a {of.method} fit", display.facts(known), table, formula=of.design.formula
        )

    def __repr__(self) -> str:
        text = f"{self.n} refits of responses drawn from the {self.estimate.method} fit of"
        return (
            f"{text} {self.estimate.design.formula}: {len(self.failed)} failed, {self.singular} singular\n"
            + self.summary().to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}")
        )


def bootstrap(
    estimate: Estimate,
    n: int,
    seed: int | None = None,
    statistic: Statistic | None = None,
    progress: bool | None = None,
    cores: int | None = None,
) -> Bootstrap:
    """Draw responses from a fit and fit each of them; see `hierbayes.RemlFit.bootstrap`."""
    if not (isinstance(n, (int, np.integer)) and n > 0):
        raise ValueError(f"n must be a positive whole number, not {n!r}")
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    threads = (os.cpu_count() or 1) if cores is None else cores
    refitter = Refitter(estimate.design, estimate.moments)
    size = max(threads, AT_A_TIME // estimate.design.n)
    made = []
    with bar("refits", n, progress) as advance:
        for first in range(0, n, size):
            responses = simulate(estimate, min(size, n - first), seed, first)
            made.append(refitter.all(responses, estimate.method, threads, advance))
    found = Bootstrap(estimate, joined(made), seed, statistic)
    if len(found.failed):
        warnings.warn(
            f"{len(found.failed)} of {n} refits did not converge; they are NaN in the tables and left out of the "
            "intervals.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return found


def replicates_of(estimate: Estimate, given: Bootstrap | int) -> Bootstrap:
    """A bootstrap of a fit, made now unless it is given.

    Parameters
    ----------
    estimate : Estimate
    given : Bootstrap or int
        Of the estimate, or how many replicates to make.

    Returns
    -------
    Bootstrap

    Raises
    ------
    ValueError
        If the bootstrap is of another fit.
    """
    if not isinstance(given, Bootstrap):
        return bootstrap(estimate, given)
    if given.estimate.design is not estimate.design or given.estimate.method != estimate.method:
        raise ValueError("bootstrap must be one of this fit, made by its own bootstrap()")
    return given


def joined(made: list[Refits]) -> Refits:
    """Refits of several sets of responses as one."""
    if len(made) == 1:
        return made[0]
    columns: dict[str, Any] = {}
    for name in Refits.__dataclass_fields__:
        values = [getattr(each, name) for each in made]
        if name == "method":
            columns[name] = values[0]
        elif isinstance(values[0], np.ndarray):
            columns[name] = np.concatenate(values)
        else:
            columns[name] = pd.concat(values, ignore_index=True)
    return Refits(**columns)


def intervals(observed: pd.Series, draws: pd.DataFrame, conf_level: float, kind: str) -> pd.DataFrame:
    """Bias, standard error and interval of every column of draws, NaN left out.

    Parameters
    ----------
    observed : pandas.Series
        Estimates, labelled (effect, group, term).
    draws : pandas.DataFrame
        Their bootstrap distribution, columns with the same labels.
    conf_level : float
    kind : {"percentile", "basic", "normal"}

    Returns
    -------
    pandas.DataFrame
        As of `Bootstrap.summary`.

    Examples
    --------
    >>> label = [("statistic", "", "x")]
    >>> draws = pd.DataFrame([[1.0], [2.0], [3.0]], columns=pd.MultiIndex.from_tuples(label))
    >>> intervals(pd.Series([1.5], index=pd.MultiIndex.from_tuples(label)), draws, 0.5, "basic").round(2)
          effect group term  estimate  bias  std_error  conf_low  conf_high  n
    0  statistic   NaN    x       1.5   0.5        1.0       0.5        1.5  3
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be 'percentile', 'basic' or 'normal', not {kind!r}")
    tail = 0.5 - 0.5 * checked(conf_level)
    z = stats.norm.isf(tail)
    rows = []
    for effect, group, term in draws.columns:
        values = draws[effect, group, term].dropna().to_numpy()
        estimate = float(observed[effect, group, term])
        mean, error, low, high = [np.nan] * 4
        if len(values) > 1:
            mean, error = values.mean(), values.std(ddof=1)
            low, high = np.quantile(values, [tail, 1.0 - tail])
        if kind == "basic":
            low, high = 2.0 * estimate - high, 2.0 * estimate - low
        elif kind == "normal":
            low, high = 2.0 * estimate - mean - z * error, 2.0 * estimate - mean + z * error
        rows.append((effect, group or np.nan, term, estimate, mean - estimate, error, low, high, len(values)))
    columns = ["effect", "group", "term", "estimate", "bias", "std_error", "conf_low", "conf_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _named(value: float | Mapping[str, float]) -> dict[str, float]:
    return {str(k): float(v) for k, v in value.items()} if hasattr(value, "items") else {STATISTIC: float(value)}


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_axis(pd.MultiIndex.from_tuples([(STATISTIC, "", name) for name in table.columns]), axis=1)
