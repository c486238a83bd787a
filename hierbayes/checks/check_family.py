"""What stands between a fit of a response that is not Gaussian and its conclusions, question by question.

A figure of the residuals counts as a warning from a p-value of 0.01 on, so that of a model that is right four
questions together raise a false alarm in at most 4 of 100 data sets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hierbayes.checks.check import NOTE, OK, PROBLEM, WARNING, Check, Verdict
from hierbayes.checks.check_posterior import convergence, energy, predictive
from hierbayes.checks.predictive_check import predictive_check
from hierbayes.checks.quantile_residuals import Replicates, binary, replicates_of, residual_tests, residuals_table
from hierbayes.cross_validation.family_loo import score_rows
from hierbayes.cross_validation.psis import good_k
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FamilyPosterior
from hierbayes.family import Family
from hierbayes.laplace_estimate import LaplaceEstimate

ALARM = 0.01
"""p-value below which a figure of the residuals is a warning."""
PLAIN = 0.05
"""p-value from which on it speaks for the model in plain words."""
WIDER = {
    "poisson": "negativebinomial",
    "binomial": "beta_binomial",
    "exponential": "gamma",
    "zero_inflated_poisson": "zero_inflated_negativebinomial",
    "hurdle_poisson": "hurdle_negativebinomial",
    "gaussian": "t",
}
"""Families with one more parameter for the spread."""
INFLATED = {
    "poisson": "zero_inflated_poisson",
    "negativebinomial": "zero_inflated_negativebinomial",
    "binomial": "zero_inflated_binomial",
}
"""Families with zeros of their own."""


def check_family_posterior(posterior: FamilyPosterior, seed: int = 0) -> Check:
    """Answer every question about a posterior of a response that is not Gaussian.

    Parameters
    ----------
    posterior : FamilyPosterior
    seed : int
        Of replicates.

    Returns
    -------
    Check
        With tables convergence, residuals, residual_tests and predictive.
    """
    tables = {"convergence": posterior.convergence.table}
    found = [*convergence(posterior), *energy(posterior)]
    try:
        made = replicates_of(posterior, seed)
    except HierbayesError as error:
        found += [*_influence(posterior, score_rows(posterior).smoothed.k), Verdict("residuals", NOTE, str(error))]
        return Check(f"the posterior of {posterior.design.formula}", found, tables)
    more, verdicts = _residuals(made)
    tables |= more
    assert made.pareto_k is not None
    found += [*_influence(posterior, made.pareto_k), *verdicts]
    if not binary(posterior.design):
        tables["predictive"] = predictive_check(posterior, seed=seed)
        found += predictive(tables["predictive"], _level_remedy)
    return Check(f"the posterior of {posterior.design.formula}", found, tables)


def check_laplace(estimate: LaplaceEstimate, seed: int = 0) -> Check:
    """Answer every question about a maximum likelihood fit of a response that is not Gaussian.

    Parameters
    ----------
    estimate : LaplaceEstimate
    seed : int
        Of simulated responses.

    Returns
    -------
    Check
        With tables residuals and residual_tests.
    """
    found = list(_of_optimum(estimate))
    tables: dict[str, pd.DataFrame] = {}
    try:
        tables, verdicts = _residuals(replicates_of(estimate, seed))
        found += verdicts
    except HierbayesError as error:
        found.append(Verdict("residuals", NOTE, str(error)))
    return Check(f"the ML fit of {estimate.design.formula}", found, tables)


def _of_optimum(estimate: LaplaceEstimate) -> Iterator[Verdict]:
    if not estimate.converged:
        text = f"The optimisation did not find a maximum: {estimate.message}."
        yield Verdict("convergence", PROBLEM, text, next="Rescale predictors, or sample the posterior.")
    else:
        yield Verdict("convergence", OK, "Gradient and curvature are those of a maximum.")
    if estimate.singular:
        text = "Some combination of the random effects has no variance: the estimate is on the boundary."
        yield Verdict("boundary", WARNING, text, next="Look at the posterior, or take a random effect out.")
    else:
        yield Verdict("boundary", OK, "No variance is zero.")


def _influence(posterior: FamilyPosterior, k: np.ndarray) -> Iterator[Verdict]:
    """Rows without which the posterior would be another."""
    limit, high = good_k(posterior.n_draws), int((k > good_k(posterior.n_draws)).sum())
    if high:
        text = (
            f"{high} of {len(k)} rows have a Pareto k above {limit:.2f} (the largest is {np.nanmax(k):.2f}), random "
            "effects integrated: single rows move the posterior."
        )
        remedy = "Look at these rows (fit.loo().pareto_k), and at the fit without them."
        yield Verdict("influence", WARNING, text, float(np.nanmax(k)), remedy)
    else:
        text = f"No row moves the posterior much: the largest Pareto k is {np.nanmax(k):.2f}."
        yield Verdict("influence", OK, text, float(np.nanmax(k)))


def _residuals(made: Replicates) -> tuple[dict[str, pd.DataFrame], list[Verdict]]:
    """Verdicts on quantile residuals, dispersion, zeros and outliers, and their tables."""
    tests, table, family = residual_tests(made), residuals_table(made), made.design.family
    tables = {"residuals": table, "residual_tests": tests}
    if binary(made.design):
        text = "Single 0/1 responses have residuals of which neither the shape nor the spread says anything."
        remedy = (
            "Compare models with fit.loo() and hb.compare, or sum responses over like rows: p(successes, trials)."
        )
        return tables, [Verdict("residuals", NOTE, text, next=remedy)]
    return tables, [*_shape(tests), *_spread(tests, family), *_zeros(tests, family), *_far(tests, table)]


def _shape(tests: pd.DataFrame) -> Iterator[Verdict]:
    row = tests.loc["uniformity"]
    figure = f"Kolmogorov's distance {row['observed']:.3f}, p = {row['p_value']:.2g}"
    if row["p_value"] >= ALARM:
        clear = "look normal" if row["p_value"] >= PLAIN else "are not clearly other than normal"
        yield Verdict("residuals", OK, f"The quantile residuals {clear} ({figure}).", float(row["p_value"]))
    else:
        text = f"The distribution of the response is not that of the model ({figure})."
        remedy = "Look at dispersion and zeros below; try another family or link, or a predictor that is missing."
        yield Verdict("residuals", WARNING, text, float(row["p_value"]), remedy)


def _spread(tests: pd.DataFrame, family: Family) -> Iterator[Verdict]:
    row = tests.loc["dispersion"]
    if np.isnan(row["observed"]):
        return
    figure = f"{row['ratio']:.2f} times that of the model, p = {row['p_value']:.2g}"
    if row["p_value"] >= ALARM:
        clear = "as the model says" if row["p_value"] >= PLAIN else "not clearly other than the model says"
        text = f"The responses spread {clear} ({figure})."
        yield Verdict("dispersion", OK, text, float(row["ratio"]))
    elif row["ratio"] > 1.0:
        wider = WIDER.get(family.name)
        remedy = f"try family={wider!r}" if wider else "try a family with more spread"
        text = f"Overdispersed: the spread of the responses is {figure}; intervals are too narrow."
        remedy = f"{remedy[0].upper()}{remedy[1:]}, a random effect for each row, (1 | row), or a missing predictor."
        yield Verdict("dispersion", WARNING, text, float(row["ratio"]), remedy)
    else:
        text = f"Underdispersed: the spread of the responses is {figure}; intervals are too wide."
        remedy = "See whether rows depend on each other, or whether fewer random effects do."
        yield Verdict("dispersion", WARNING, text, float(row["ratio"]), remedy)


def _zeros(tests: pd.DataFrame, family: Family) -> Iterator[Verdict]:
    row = tests.loc["zeros"]
    if np.isnan(row["observed"]):
        return
    figure = f"{row['observed']:.0f}, the model expects {row['expected']:.1f}, p = {row['p_value']:.2g}"
    if row["p_value"] >= ALARM:
        text = (
            "There are as many zeros as expected"
            if row["p_value"] >= PLAIN
            else "Zeros are not clearly too few or many"
        )
        yield Verdict("zeros", OK, f"{text} ({figure}).", float(row["ratio"]))
    elif row["ratio"] > 1.0:
        other = INFLATED.get(family.name)
        remedy = (
            f"If dispersion is right otherwise, try family={other!r}."
            if other
            else "Try a family with zeros of its own."
        )
        yield Verdict("zeros", WARNING, f"Too many zeros: {figure}.", float(row["ratio"]), remedy)
    else:
        remedy = "Zeros may not have been recorded; a hurdle family models them apart."
        yield Verdict("zeros", WARNING, f"Too few zeros: {figure}.", float(row["ratio"]), remedy)


def _far(tests: pd.DataFrame, table: pd.DataFrame) -> Iterator[Verdict]:
    row, at = tests.loc["outliers"], table["quantile"].abs().to_numpy().argmax()
    if np.isnan(row["observed"]):
        return
    label, seen, expected = (table[column].iloc[at] for column in ("row", "observed", "fitted"))
    what = str(seen) if isinstance(seen, str) else f"{seen:.4g} where {expected:.4g} was expected"
    text = (
        f"Beyond 3 standard deviations lie {row['observed']:.0f} rows ({row['expected']:.1f} expected); the furthest "
        f"is row {label}, {what}."
    )
    if row["p_value"] >= ALARM:
        yield Verdict("outliers", OK, text, float(row["observed"]))
    else:
        remedy = "Look at these rows; see check().tables['residuals']."
        yield Verdict("outliers", WARNING, text, float(row["observed"]), remedy)


def _level_remedy(statistic: str, low: int, count: int) -> str:
    """What may be behind extreme levels, `low` of `count` of them below their replicates."""
    if statistic == "mean":
        return "Something that differs between levels is missing: look for a predictor or a random effect."
    if statistic == "sd":
        return "Rows of a level differ more, or less, than the model says: see dispersion; a slope may be missing."
    return "The responses reach further, or less far, than the model says: see dispersion, zeros and outliers."
