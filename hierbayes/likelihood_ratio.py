r"""Likelihood-ratio tests of nested models, with the null distribution that a variance of zero has.

The statistic is ``X² = 2 (log L_larger - log L_smaller)``, with `d` more parameters in the larger model. With all
parameters of the smaller model inside their space, X² is about χ²_d. A variance that the larger model adds is zero in
the smaller one, on the boundary, and X² is then smaller (Self & Liang 1987, Journal of the American Statistical
Association 82, 605; Stram & Lee 1994, Biometrics 50, 1171):

- one variance, with its covariances with the effects that were there before: ``½ χ²_{d-1} + ½ χ²_d``;
- several variances: a mixture whose weights depend on the data. χ²_d bounds it from above, so its p-value is too
  large; ``simulate=`` draws the distribution instead, by fitting both models to responses drawn from the smaller.

Restricted likelihoods can be compared only if the fixed effects are the same; otherwise both models are fitted by
maximum likelihood.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.errors import ConvergenceWarning, HierbayesError
from hierbayes.estimates import Estimate
from hierbayes.inference.nesting import check_nested, check_same_data, named, same_space
from hierbayes.inference.simulation import simulate as draw
from hierbayes.model import Model
from hierbayes.progress import bar
from hierbayes.refits import Refitter
from hierbayes.reml import maximise

COLUMNS = ["model", "method", "n_par", "loglik", "AIC", "BIC", "chisq", "df", "p_value", "p_naive", "note"]
WORSE = 1e-5
"""A larger model whose -2 log likelihood is higher by more than this has not found its maximum."""
AT_A_TIME = 5_000_000
"""Numbers that the simulated responses held at a time may have."""


def lrt(
    *models: Estimate | Model,
    refit: bool = True,
    simulate: int = 0,
    seed: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Compare nested models by likelihood-ratio tests, each with the one before.

    Parameters
    ----------
    *models : RemlFit or Model
        Two or more of the same rows, from the smallest to the largest; a `Model` stands for its REML fit. REML fits
        are compared as they are if their fixed effects are the same; else, or if one was fitted by ML, all are
        refitted by ML, and the column ``method`` and the note say so.
    refit : bool, default True
        False refuses models that would have to be refitted.
    simulate : int, default 0
        Draw so many responses from the smaller model, fit both models to each, and take the p-value from that:
        (1 + how many statistics are as large)/(1 + refits). For several variances at once, or few groups.
    seed : int, optional
        For `simulate`.
    progress : bool, optional
        Show a progress bar for `simulate`; by default if somebody is watching.

    Returns
    -------
    pandas.DataFrame
        One row a model: model (formula and residual correlation), method, n_par, loglik, AIC, BIC, and, compared with
        the row before, chisq, df, p_value (with the boundary taken into account, or simulated), p_naive (χ² with df
        degrees of freedom, as lme4's ``anova``) and a note that says how p_value was computed.

    Raises
    ------
    FormulaError
        If a model is not a special case of the next; the sentence names what is missing.
    DataError
        If rows, response, weights or offset differ.
    HierbayesError
        With ``refit=False``, if the fits cannot be compared as they are.
    ValueError
        If there are fewer than two models.
    TypeError
        For anything else than fits and models, such as a posterior.

    Warns
    -----
    ConvergenceWarning
        If a larger model fits worse than the smaller one, or if refits failed.

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("sleepstudy")
    >>> one = hb.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    >>> two = hb.Model("Reaction ~ Days + (Days | Subject)", data).reml()
    >>> table = hb.lrt(one, two)
    >>> table[["chisq", "df"]].round(3).iloc[1].tolist(), table["note"].iloc[1]
    ([42.837, 2.0], 'one variance on the boundary: ½ χ²(1) + ½ χ²(2)')
    """
    if len(models) < 2:
        raise ValueError("lrt compares two or more models: lrt(smaller, larger).")
    if not (isinstance(simulate, (int, np.integer)) and simulate >= 0):
        raise ValueError(f"simulate must be a whole number of responses, not {simulate!r}")
    fits = [_fit(model) for model in models]
    for smaller, larger in pairwise(fits):
        check_same_data(smaller.design, larger.design)
        check_nested(smaller.design, larger.design)
    reason = _why_ml(fits)
    if reason and not refit and any(fit.method != "ML" for fit in fits):
        raise HierbayesError(
            f"The fits cannot be compared as they are, because {reason}; refit them by ML, or let lrt do so with "
            "refit=True."
        )
    if reason:
        fits = [fit if fit.method == "ML" else _fit(fit, "ML") for fit in fits]
    rows = [_row(fits[0], [f"by ML, because {reason}"] if reason else [])]
    for smaller, larger in pairwise(fits):
        chisq, df = _statistic(smaller, larger)
        variances = larger.moments.q - smaller.moments.q
        p_value, note = boundary_p_value(chisq, df, variances)
        notes = [note]
        if simulate:
            p_value, note = _simulated(smaller, larger, chisq, simulate, seed, progress)
            notes = [note]
        elif smaller.singular:
            notes.append("the smaller fit is singular, so the distribution is not known; use simulate=")
        rows.append(_row(larger, notes, chisq, df, p_value, float(stats.chi2.sf(chisq, df))))
    return pd.DataFrame(rows, columns=COLUMNS)


def _statistic(smaller: Estimate, larger: Estimate) -> tuple[float, int]:
    """X² and the number of parameters that it tests."""
    chisq, df = smaller.criterion - larger.criterion, larger.n_par - smaller.n_par
    pair = f"{named(smaller.design)!r} with {named(larger.design)!r}"
    if df <= 0:
        raise HierbayesError(f"There is nothing to test in comparing {pair}: the second has no further parameter.")
    problem = ""
    if chisq < -WORSE:
        problem = f"the larger model fits worse, by {-chisq:.2g} in -2 log likelihood"
    elif not (smaller.converged and larger.converged):
        problem = "a fit has not converged"
    if problem:
        warnings.warn(f"The comparison of {pair} is not to be trusted: {problem}.", ConvergenceWarning, stacklevel=3)
    return max(chisq, 0.0), df


def _fit(model: Estimate | Model, method: str = "REML") -> Estimate:
    if not isinstance(model, (Estimate, Model)):
        raise TypeError(f"lrt compares REML or ML fits, or models, not a {type(model).__name__}.")
    if isinstance(model, Estimate) and method == "REML":
        return model
    marginal = model.marginal if isinstance(model, Estimate) else model.likelihood
    return Estimate(marginal, maximise(marginal, method == "REML"), method)


def _why_ml(fits: Sequence[Estimate]) -> str:
    """Why the fits have to be compared by ML, or nothing."""
    if all(fit.method == "ML" for fit in fits):
        return ""
    if any(fit.method == "ML" for fit in fits):
        return "some are by REML and some by ML"
    first = fits[0].design.X
    if all(fit.design.X.shape == first.shape and np.array_equal(fit.design.X, first) for fit in fits[1:]):
        return ""
    if all(same_space(fit.design.X, first) for fit in fits[1:]):
        return "restricted likelihoods depend on how the fixed effects are coded"
    return "restricted likelihoods with different fixed effects cannot be compared"


def _row(
    fit: Estimate,
    notes: list[str],
    chisq: float = np.nan,
    df: float = np.nan,
    p_value: float = np.nan,
    p_naive: float = np.nan,
) -> tuple:
    compared = (chisq, df, p_value, p_naive, "; ".join(notes))
    return named(fit.design), fit.method, fit.n_par, fit.loglik, fit.aic, fit.bic, *compared


def boundary_p_value(chisq: float, df: int, variances: int) -> tuple[float, str]:
    """p-value of a likelihood-ratio statistic where variances are on the boundary, and how it was computed.

    Parameters
    ----------
    chisq : float
    df : int
        Parameters that the larger model adds.
    variances : int
        How many of them are variances.

    Examples
    --------
    >>> p_value, note = boundary_p_value(2.705543, 1, 1)
    >>> round(p_value, 6), note
    (0.05, 'one variance on the boundary: ½ χ²(0) + ½ χ²(1)')
    """
    upper = float(stats.chi2.sf(chisq, df))
    if variances <= 0:
        return upper, f"χ²({df})"
    if variances == 1:
        lower = float(chisq <= 0.0) if df == 1 else float(stats.chi2.sf(chisq, df - 1))
        return 0.5 * lower + 0.5 * upper, f"one variance on the boundary: ½ χ²({df - 1}) + ½ χ²({df})"
    return upper, f"{variances} variances on the boundary: p_value is an upper bound from χ²({df}); use simulate="


def _simulated(
    smaller: Estimate, larger: Estimate, chisq: float, n: int, seed: int | None, progress: bool | None
) -> tuple[float, str]:
    """p-value from the statistic of responses that were drawn from the smaller model."""
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    refitters = [Refitter(fit.design, fit.moments) for fit in (smaller, larger)]
    size = max(1, AT_A_TIME // smaller.nobs)
    statistics: list[np.ndarray] = []
    with bar("refits", 2 * n, progress) as advance:
        for first in range(0, n, size):
            responses = draw(smaller, min(size, n - first), seed, first)
            one, two = (each.all(responses, smaller.method, os.cpu_count() or 1, advance) for each in refitters)
            good = (one.converged & two.converged).to_numpy()
            statistics.append(np.where(good, (one.criterion - two.criterion).to_numpy(), np.nan))
    found = np.concatenate(statistics)
    failed = int(np.isnan(found).sum())
    if failed:
        warnings.warn(
            f"{failed} of {n} simulated comparisons did not converge and were left out.",
            ConvergenceWarning,
            stacklevel=3,
        )
    found = found[~np.isnan(found)]
    p_value = (1.0 + np.sum(found >= chisq - WORSE)) / (1.0 + len(found))
    note = f"simulated from the smaller model, {len(found)} responses, seed {seed}"
    return float(p_value), note + (f", {failed} failed" if failed else "")
