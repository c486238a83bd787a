r"""Likelihood-ratio tests of nested models, with the null distribution that a variance of zero has.

The statistic and its distribution are those of `hierbayes.inference.boundary`. Restricted likelihoods
can be compared only if the fixed effects are the same; otherwise both models are fitted by maximum likelihood. The
model without its only random effect is no mixed model any more: `hierbayes.RemlFit.ranova` compares with that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from hierbayes.design import check_same_data
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate, Maximum, Posterior
from hierbayes.family import Family
from hierbayes.inference.boundary import LikelihoodRatio, likelihood_ratio
from hierbayes.inference.nesting import check_nested, named, same_space
from hierbayes.model import Model
from hierbayes.reml import maximise

COLUMNS = ["model", "method", "n_par", "loglik", "AIC", "BIC", "chisq", "df", "p_value", "p_naive", "note"]


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
        With ``refit=False``, if the fits cannot be compared as they are; for responses that are not Gaussian with
        identity link.
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
    fits = [_fit(model) for model in models]
    for smaller, larger in pairwise(fits):
        check_same_data(smaller.design, larger.design, (named(smaller.design), named(larger.design)))
        check_nested(smaller.design, larger.design)
    reason = _why_ml(fits)
    if reason and not refit and any(fit.method != "ML" for fit in fits):
        raise HierbayesError(
            f"The fits cannot be compared as they are, because {reason}; refit them by ML, or let lrt do so with "
            "refit=True."
        )
    if reason:
        fits = [fit if fit.method == "ML" else _fit(fit, "ML") for fit in fits]
    rows = [_row(fits[0], note=f"by ML, because {reason}" if reason else "")]
    for smaller, larger in pairwise(fits):
        rows.append(_row(larger, likelihood_ratio(smaller, larger, simulate, seed, progress)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _fit(model: Estimate | Model, method: str = "REML") -> Estimate:
    if isinstance(model, Maximum) and not isinstance(model, Estimate):
        raise _not_gaussian(model.design.family)
    if isinstance(model, Model) and not model.family.exact:
        raise _not_gaussian(model.family)
    if not isinstance(model, (Estimate, Model)):
        remedy = "; use fit.reml." if isinstance(model, Posterior) else "."
        raise TypeError(f"lrt compares REML or ML fits, or models, not a {type(model).__name__}{remedy}")
    if isinstance(model, Estimate) and method == "REML":
        return model
    marginal = model.marginal if isinstance(model, Estimate) else model.likelihood
    return Estimate(marginal, maximise(marginal, method == "REML"), method)


def _not_gaussian(family: Family) -> HierbayesError:
    return HierbayesError(
        f"lrt needs a Gaussian response with identity link, not {family}; compare maximum likelihood fits of the "
        "same rows by their aic and bic, and posteriors by hb.compare."
    )


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


def _row(fit: Estimate, test: LikelihoodRatio | None = None, note: str = "") -> tuple:
    compared: tuple = (*[np.nan] * 4, note)
    if test is not None:
        compared = (test.chisq, test.df, test.p_value, test.p_naive, test.note)
    return named(fit.design), fit.method, fit.n_par, fit.loglik, fit.aic, fit.bic, *compared
