r"""Priors that overrule the data: what REML says, against what the prior allows and where the posterior went.

A prior overrules the data if

- the REML estimate ± 2 standard errors lies outside the central 95% of the prior, and
- the posterior median is more than one standard error away from the estimate.

Without the second a vague prior in the wrong place would count, which a few rows outweigh. Fixed effects are taken in
the coordinates in which they have priors: the intercept at the mean of the predictors. Standard deviations and
correlations have the intervals of `hierbayes.wald`, hence none where the estimate is on the boundary. A prior of
a standard deviation whose density does not fall towards zero, such as a half-normal one, allows everything down to
zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import laws, names
from hierbayes.checks.sensitivity import fixed_effects
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Posterior, variance_rows
from hierbayes.priors import Prior

ERRORS = 2.0
"""Half width of the interval of an estimate, in standard errors."""
TAILS = np.array([0.025, 0.975])
"""Ends of what a prior allows."""
MOVED = 1.0
"""Distance of the posterior from the estimate, in standard errors, from which on the prior has had its way."""


def overruled(posterior: Posterior) -> pd.DataFrame:
    """Compare what REML says of every parameter with what its prior allows.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    pandas.DataFrame
        One row a parameter with a proper prior: effect, group, term, estimate (REML), std_error, low and high (ends
        of its interval), prior_low and prior_high (central 95%), median (of the posterior), overrules. NaN where the
        estimate has no standard error; the prior does not overrule the data there.

    Examples
    --------
    >>> import bambi
    >>> import hierbayes as hb
    >>> priors = {"Days": bambi.Prior("Normal", mu=100, sigma=0.5)}
    >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"), priors=priors)
    >>> table = overruled(model.fit(seed=1, progress=False)).set_index("term")
    >>> table.loc["Days", ["estimate", "std_error", "prior_low", "prior_high"]].astype(float).round(1).tolist()
    [10.5, 1.5, 99.0, 101.0]
    >>> table.index[table["overrules"]].tolist()
    ['Days']
    """
    columns = ["effect", "group", "term", "estimate", "std_error", "low", "high", "prior_low", "prior_high", "median"]
    table = pd.DataFrame([*_fixed(posterior), *_variances(posterior)], columns=columns)
    apart = (table["low"] > table["prior_high"]) | (table["high"] < table["prior_low"])
    moved = (table["median"] - table["estimate"]).abs() > MOVED * table["std_error"]
    return table.assign(overrules=apart & moved)


def _fixed(posterior: Posterior) -> Iterator[tuple]:
    reml, centering = posterior.reml, posterior.marginal.centering
    estimates = centering @ reml.fixef.to_numpy()
    errors = np.sqrt(np.diag(centering @ reml.vcov.to_numpy() @ centering.T))
    medians = np.median(fixed_effects(posterior) @ centering.T, axis=0)
    rows = zip(posterior.design.labels, posterior.priors.coefficients, estimates, errors, medians, strict=True)
    for label, prior, value, error, median in rows:
        if laws.proper(prior):
            ends = value - ERRORS * error, value + ERRORS * error
            yield (FIXED, np.nan, label, value, error, *ends, *laws.quantile(prior, TAILS), median)


def _variances(posterior: Posterior) -> Iterator[tuple]:
    reml, design, priors = posterior.reml, posterior.design, posterior.priors
    draws, values = posterior.parameter_draws(), reml.parameter_values
    wald = iter(reml.wald.intervals(ERRORS))

    def row(group: str, term: str, allowed: np.ndarray, interval: tuple[float, float, float]) -> tuple:
        key = (VARIANCE, group, term)
        return (VARIANCE, group, term, values[key], *interval, *allowed, float(draws[key].median()))

    correlated = laws.correlations(design, priors)
    for group, term, i, j in variance_rows(design):
        interval = next(wald)
        if i != j:
            yield row(group, term, correlated[i, j][2].ppf(TAILS), interval)
        elif laws.proper(priors.sds[i]):
            yield row(group, term, _allowed(priors.sds[i]), interval)
    if design.sigma is None:
        interval = next(wald)
        if priors.sigma is not None and laws.proper(priors.sigma):
            yield row(RESIDUAL, names.SIGMA, _allowed(priors.sigma), interval)
    if design.residual is not None and priors.rho is not None:
        law = stats.beta(priors.rho, priors.rho, loc=-1.0, scale=2.0)
        yield row(RESIDUAL, names.RHO, posterior.marginal.rho(law.ppf(TAILS)), next(wald))


def _allowed(prior: Prior) -> np.ndarray:
    """Central 95% of a prior of a standard deviation, from zero where the density does not fall towards it."""
    low, high = laws.quantile(prior, TAILS)
    near, at = laws.log_density(prior, np.array([0.1 * low, low]))
    return np.array([0.0 if near >= at else low, high])
