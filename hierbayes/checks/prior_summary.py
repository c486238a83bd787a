r"""What every prior implies for the response at the rows of the data, in its units.

    coefficient of x     β s_x: the change over one standard deviation of x (between its values if it has two)
    sd of an effect z    τ √(mean z²): the standard deviation that the effect adds to a typical row
    σ                    itself

`ratio` is the half width of the central 95% of that (for a standard deviation its upper end), over 1.96 standard
deviations of the response: a Normal(0, k sd(y)) prior of a mean has ratio k. Sane automatic priors have 2 to 5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import laws, names
from hierbayes.checks.prior_predictive import draw_prior, prior_responses
from hierbayes.design import Design
from hierbayes.errors import PriorWarning
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, variance_rows
from hierbayes.marginal import Marginal
from hierbayes.priors import Prior, Priors

WIDE = 20.0
"""A prior this many times as wide as the response says next to nothing, or something absurd."""
DRAWS, ROWS = 400, 1000
"""Simulated responses behind the last row of the summary, and how many rows of each are looked at."""
RESPONSE = "response"
COLUMNS = [
    "effect", "group", "term", "prior", "automatic", "low", "high", "meaning", "implied_low", "implied_high", "ratio",
]  # fmt: skip


def prior_table(marginal: Marginal, priors: Priors, given: Collection[str] = ()) -> pd.DataFrame:
    """Every prior with its 95% interval, and what it implies in the units of the response.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    given : collection of str
        Names of the priors that the user gave; the others are automatic.

    Returns
    -------
    pandas.DataFrame
        One row a parameter: `COLUMNS`.
    """
    return _table(marginal.design, priors, given, marginal.rho)


def family_prior_table(design: Design, priors: Priors, given: Collection[str] = ()) -> pd.DataFrame:
    """Every prior of a response that is not Gaussian, and what it implies for the linear predictor.

    Parameters
    ----------
    design : Design
    priors : Priors
    given : collection of str
        Names of the priors that the user gave; the others are automatic.

    Returns
    -------
    pandas.DataFrame
        One row a parameter: `COLUMNS`; implied_low and implied_high are on the scale of the link, the ratio, which
        would be to the spread of the response, is NaN.
    """
    return _table(design, priors, given, None)


def _table(
    design: Design, priors: Priors, given: Collection[str], rho: Callable[[np.ndarray], np.ndarray] | None
) -> pd.DataFrame:
    spread = _spread(design) if design.family.exact else np.nan
    rows: list[tuple] = []

    def add(effect: str, group: Any, term: str, owners: set[str], prior: Prior, scale: float, meaning: str) -> None:
        low, high = laws.quantile(prior, np.array([0.025, 0.975])).tolist()
        positive = effect == VARIANCE
        half = high if positive else 0.5 * (high - low)
        ratio = half * scale / (1.96 * spread)
        implied = (0.0 if positive and low == 0 else low * scale, high * scale)
        rows.append((effect, group, term, repr(prior), not owners & set(given), low, high, meaning, *implied, ratio))

    at = 0
    for fixed in design.terms:
        for label in fixed.labels:
            scale, meaning = _effect(design, at, priors.centered)
            add(FIXED, np.nan, label, {fixed.name, "common"}, priors.coefficients[at], scale, meaning)
            at += 1
    correlated = laws.correlations(design, priors)
    for group, term, i, j in variance_rows(design):
        if i == j:
            part = next(part for part in design.parts if part.where.start <= i < part.where.stop)
            column = part.block.Z[:, i - part.where.start]
            name = _term_of(part.block.terms, i - part.where.start)
            owners = {names.effect(name, group), "group_specific"}
            scale = float(np.sqrt(np.mean(column**2)))
            add(
                VARIANCE, group, term, owners, priors.sds[i], scale, f"sd between levels of {group}, in a typical row"
            )
        else:
            name, text, law = correlated[i, j]
            low, high = law.ppf([0.025, 0.975])
            rows.append((VARIANCE, group, term, text, name not in given, low, high, "", *[np.nan] * 3))
    if priors.sigma is not None:
        add(VARIANCE, RESIDUAL, names.SIGMA, {names.SIGMA}, priors.sigma, 1.0, "sd of a residual")
    for name, entries in priors.auxiliary.items():
        if isinstance(entries, float):
            rows.append((VARIANCE, RESIDUAL, name, f"{entries:g}", False, entries, entries, "held", *[np.nan] * 3))
            continue
        for k, prior in enumerate(entries):
            low, high = laws.quantile(prior, np.array([0.025, 0.975])).tolist()
            label = name if len(entries) == 1 else f"{name}[{k}]"
            what = f"of {design.family.name}"
            rows.append((VARIANCE, RESIDUAL, label, repr(prior), name not in given, low, high, what, *[np.nan] * 3))
    if priors.rho is not None and rho is not None:
        low, high = rho(stats.beta(priors.rho, priors.rho).ppf([0.025, 0.975]) * 2.0 - 1.0)
        text = f"LKJ(eta={priors.rho:g})"
        rows.append((VARIANCE, RESIDUAL, names.RHO, text, names.RHO not in given, low, high, "", *[np.nan] * 3))
    return pd.DataFrame(rows, columns=COLUMNS)


def prior_summary(marginal: Marginal, priors: Priors, given: Collection[str] = (), seed: int = 0) -> pd.DataFrame:
    """`prior_table` and, if all priors are proper, a last row for the response that they predict together.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    given : collection of str
    seed : int
        For the simulation of the response.

    Returns
    -------
    pandas.DataFrame
    """
    table, design = prior_table(marginal, priors, given), marginal.design
    if not np.isfinite(table[["low", "high"]].to_numpy(dtype=float)).all():
        return table
    rng = np.random.default_rng(seed)
    some = np.linspace(0, design.n - 1, min(design.n, ROWS)).round().astype(int)
    drawn = draw_prior(marginal, priors, DRAWS, rng)[1]
    y = np.concatenate(list(prior_responses(design.only(some), drawn, rng)))
    low, high = np.quantile(y, [0.025, 0.975]).tolist()
    meaning = f"{design.response} of a row; observed {design.y.min():.4g} to {design.y.max():.4g}"
    ratio = 0.5 * (high - low) / (1.96 * _spread(design))
    last = (RESPONSE, np.nan, design.response, "all together", False, low, high, meaning, low, high, ratio)
    return pd.concat([table, pd.DataFrame([last], columns=COLUMNS)], ignore_index=True)


def _spread(design: Design) -> float:
    """Standard deviation of the response less its offset."""
    return float((design.y if design.offset is None else design.y - design.offset).std(ddof=1))


def _effect(design: Design, k: int, centered: bool) -> tuple[float, str]:
    """By what a coefficient is multiplied to be a change of the response, and of what."""
    if k == design.intercept:
        return 1.0, f"{_described(design)} {'at the mean of' if centered else 'where 0 are'} the predictors"
    x = design.X[:, k]
    if len(np.unique(x[: min(len(x), 1000)])) <= 2 and len(np.unique(x)) == 2:
        return float(np.ptp(x)), f"change of {_described(design)} from the lower to the higher value"
    spread = float(x.std())
    return spread, f"change of {_described(design)} over one sd, {spread:.4g}"


def _described(design: Design) -> str:
    """What the linear predictor is, in words."""
    family = design.family
    return design.response if family.link == "identity" else f"{family.link}({family.parent})"


def _term_of(terms: tuple, column: int) -> str:
    labels = [term.name for term in terms for _ in term.labels]
    return labels[column]


def too_wide(table: pd.DataFrame, response: str) -> str:
    """What is wrong with automatic priors that are much wider than the data, in one sentence, empty if nothing is."""
    wide = table[table["automatic"] & (table["ratio"] > WIDE) & np.isfinite(table["ratio"])]
    if wide.empty:
        return ""
    listed = ", ".join(
        f"{row['term'] if row['effect'] == FIXED else row['term'] + ' of ' + row['group']} ({row['ratio']:.0f} times)"
        for _, row in wide.iterrows()
    )
    what = "prior is" if len(wide) == 1 else "priors are"
    return (
        f"The automatic {what} many times wider than {response!r}: {listed}; contributions to a row of up to "
        f"{wide['implied_high'].max():.3g} are allowed. Centre the predictor, or give narrower ones with priors=."
    )


def warn_of_wide(table: pd.DataFrame, response: str) -> None:
    """Warn of automatic priors that are much wider than the data; on behalf of the caller's caller."""
    sentence = too_wide(table, response)
    if sentence:
        warnings.warn(sentence, PriorWarning, stacklevel=3)
