"""What the fits of a model find, as plain numbers: the same for what is recorded and what is verified."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.errors import HierbayesError, HierbayesWarning, IncompleteWarning
from hierbayes.estimates import TIDY

from .cards import Card

if TYPE_CHECKING:
    from hierbayes.evidence.quadrature import Quadrature
    from hierbayes.model import Model
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

LABELS = TIDY[:3]
"""Columns that name a parameter."""


def maximum(model: Model, nagq: int = 1) -> RemlFit | LaplaceFit | None:
    """Fit by REML, or by maximum likelihood if the response is not Gaussian.

    Parameters
    ----------
    model : Model
    nagq : int, default 1

    Returns
    -------
    RemlFit, LaplaceFit or None
        None where the likelihood of the family is not known.
    """
    if model.family.exact:
        return model.reml()
    try:
        return model.ml(nagq=nagq)
    except HierbayesError:
        if nagq > 1:
            raise
        return None


def of_maximum(fit: RemlFit | LaplaceFit) -> dict[str, Any]:
    """What a REML or ML fit finds.

    Parameters
    ----------
    fit : RemlFit or LaplaceFit

    Returns
    -------
    dict
        method, rows, criterion, singular, estimates (a list of dicts).
    """
    rows = fit.tidy()[[*LABELS, "estimate", "std_error"]]
    return {
        "method": getattr(fit, "method", "ML"),
        "rows": fit.nobs,
        "criterion": float(fit.criterion),
        "singular": bool(fit.singular),
        "estimates": _records(rows),
    }


def sampled(model: Model, draws: int, seed: int) -> Fit | FamilyFit:
    """Draw the whole posterior, and no part of it: half a run is nothing to compare with.

    Parameters
    ----------
    model : Model
    draws, seed : int

    Returns
    -------
    Fit or FamilyFit

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C stopped the sampler.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        warnings.simplefilter("error", IncompleteWarning)
        try:
            return model.fit(draws=draws, tune=1000, seed=seed, progress=False)
        except IncompleteWarning:
            raise KeyboardInterrupt from None


def of_posterior(fit: Fit | FamilyFit) -> dict[str, Any]:
    """What the draws of a posterior find, with Monte Carlo standard errors.

    Parameters
    ----------
    fit : Fit or FamilyFit

    Returns
    -------
    dict
        method, draws, estimates (a list of dicts).
    """
    import arviz as az

    draws = fit.parameter_draws()
    chains = fit.posterior.sizes["chain"]
    rows = []
    for label, values in draws.items():
        by_chain = values.to_numpy().reshape(chains, -1)
        mean, sd = (float(az.mcse(by_chain, method=kind)) for kind in ("mean", "sd"))
        rows.append((*_label(label), float(values.mean()), float(values.std(ddof=1)), mean, sd))
    table = pd.DataFrame(rows, columns=[*LABELS, "mean", "sd", "mcse_mean", "mcse_sd"])
    return {"method": "NUTS", "draws": fit.n_draws, "estimates": _records(table)}


def of_quadrature(found: Quadrature) -> dict[str, Any]:
    """What the posterior is by quadrature, without Monte Carlo error.

    Parameters
    ----------
    found : Quadrature

    Returns
    -------
    dict
        As of `of_posterior`.
    """
    rows = [(*_label(label), found.mean[label], found.sd[label], 0.0, 0.0) for label in found.mean.index]
    table = pd.DataFrame(rows, columns=[*LABELS, "mean", "sd", "mcse_mean", "mcse_sd"])
    return {"method": "quadrature", "draws": 0, "estimates": _records(table)}


def scores(fit: Fit | FamilyFit, card: Card) -> dict[str, float]:
    """Expected log predictive densities of what the card leaves out.

    Parameters
    ----------
    fit : Fit or FamilyFit
    card : Card

    Returns
    -------
    dict of str to float
        By target, "row" or "group"; a model without groups has no score for a group.
    """
    wanted = card.verify.elpd
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        if "row" in wanted:
            found["row"] = float(fit.loo().elpd)
        if "group" in wanted and fit.design.factors:
            found["group"] = float(fit.logo(card.verify.group).elpd)
    return found


def _label(label: tuple[str, str, str]) -> tuple[str, str | None, str]:
    effect, group, term = label
    return effect, group or None, term


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows in plain values, with None for what is missing or not finite."""
    rows = table.astype(object).where(table.notna() & ~table.isin([np.inf, -np.inf]), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]
