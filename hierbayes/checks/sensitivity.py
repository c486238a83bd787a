r"""How much the posterior depends on the prior, and on the likelihood: power scaling, and the prior it hugs.

Power scaling raises the prior, or the likelihood, to a power near 1 and asks how far the posterior of every parameter
moves, by importance sampling and without a refit (Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and
Computing 34, 57; the distance and its figures are ArviZ's). Scaled are

    prior        p(τ, R, σ, ρ) p(β): standard deviations and correlations of the effects, residual, fixed effects
    likelihood   p(y | β, τ, R, σ, ρ), the random effects integrated out

so that the law of the random effects given τ and R counts as part of the likelihood and not as a prior. Both are
exact for every draw. Correlation matrices have the LKJ density, constant for η = 1.

A posterior *hugs* its prior if the data add little: with u the prior probability of the values below a draw, u is
uniform on (0, 1) where posterior and prior are the same. Given are the overlap of the two, ``Σ min(share, 1/20)``
over twenty equal bins of u, and the median of u, near 0 or 1 where the posterior piles up at the edge of the prior.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from hierbayes import laws, names
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Posterior, variance_rows
from hierbayes.marginal import Marginal
from hierbayes.priors import Priors

THRESHOLD = 0.05
"""Sensitivity from which on a parameter counts as sensitive (Kallioinen et al. 2024)."""
WORK = 4e9
"""About as many operations are spent on likelihoods; of a larger model fewer draws are looked at."""
FEWEST = 400
"""Draws below which power scaling is not worth looking at."""
BINS = 20
CONFLICT, STRONG, FINE = "prior and data may disagree", "the prior is strong or the data are weak", "ok"


def prior_sensitivity(posterior: Posterior) -> pd.DataFrame:
    """Sensitivity of every parameter to power scaling of prior and likelihood.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    pandas.DataFrame
        One row a parameter (index), as ArviZ names them: prior, likelihood (distance per doubling, 0.05 and more
        counts), finding. Empty if there are fewer than 400 draws, or if an evaluation of the likelihood is so
        dear that only fewer could be looked at.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).fit(seed=1)
    >>> prior_sensitivity(fit).loc["Days", "finding"]
    'ok'
    """
    import arviz_stats

    empty = pd.DataFrame(columns=["prior", "likelihood", "finding"])
    sizes = posterior.posterior.sizes
    chains, total = sizes[names.CHAIN], sizes[names.DRAW]
    most = int(WORK / _work(posterior.marginal))
    if min(most, chains * total) < FEWEST:
        return empty
    places = np.linspace(0, total - 1, min(total, max(1, most // chains))).round().astype(int)
    flat = (np.arange(chains)[:, None] * total + places).ravel()
    shape = chains, len(places)
    fixef = fixed_effects(posterior)[flat]
    thetas = posterior.thetas[flat]
    dims = (names.CHAIN, names.DRAW)
    tree = xr.DataTree.from_dict(
        {
            "posterior": posterior.parameters.isel({names.DRAW: places}),
            "log_prior": xr.Dataset(
                {"all": (dims, log_prior(posterior.marginal, posterior.priors, thetas, fixef).reshape(shape))}
            ),
            "log_likelihood": xr.Dataset(
                {"all": (dims, log_likelihood(posterior.marginal, thetas, fixef).reshape(shape))}
            ),
        }
    )
    found: dict[str, np.ndarray] = {}
    for group in ("prior", "likelihood"):
        if np.ptp(tree[f"log_{group}"]["all"].to_numpy()) < 1e-12:  # all priors flat
            found[group] = np.zeros(len(found.get("prior", names_of(posterior.parameters))))
            continue
        sensitivity = arviz_stats.psense(tree, group=group, sample_dims=list(dims))
        found[group] = np.concatenate([np.ravel(sensitivity[name].to_numpy()) for name in posterior.parameters])
    table = pd.DataFrame(found, index=pd.Index(names_of(posterior.parameters), name="parameter"))
    strong, informed = table["prior"] >= THRESHOLD, table["likelihood"] >= THRESHOLD
    table["finding"] = np.where(strong & informed, CONFLICT, np.where(strong, STRONG, FINE))
    return table


def _work(marginal: Marginal) -> float:
    """About as many operations as one evaluation of the likelihood takes."""
    m = marginal.moments
    core = 0 if m.forest is None else m.forest.core
    return 10.0 * m.data.size + float(core) ** 3


def names_of(parameters: xr.Dataset) -> list[str]:
    """One name for each scalar parameter, ``name[coordinate]`` for those of vectors."""
    found = []
    for name, values in parameters.items():
        dim = [d for d in values.dims if d not in (names.CHAIN, names.DRAW)]
        found += [f"{name}[{c}]" for c in values[dim[0]].to_numpy()] if dim else [str(name)]
    return found


def fixed_effects(posterior: Posterior) -> np.ndarray:
    """(draws, p) draws of the fixed effects, chains one after the other."""
    table = posterior.parameter_draws()
    return table[[column for column in table if column[0] == FIXED]].to_numpy()


def log_prior(marginal: Marginal, priors: Priors, thetas: np.ndarray, fixef: np.ndarray) -> np.ndarray:
    """Log prior density of draws.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    thetas : (draws, dim) array
    fixef : (draws, p) array

    Returns
    -------
    (draws,) array
        Of the standard deviations, correlation matrices, σ, ρ and fixed effects, up to a constant.
    """
    layout, places = marginal.moments.layout, marginal.places
    eta = fixef @ marginal.centering.T
    columns = [*zip(priors.coefficients, eta.T, strict=True), *zip(priors.sds, thetas[:, places.sds].T, strict=True)]
    if priors.sigma is not None and places.sigma is not None:
        columns.append((priors.sigma, thetas[:, places.sigma]))
    total = sum((laws.log_density(prior, values) for prior, values in columns), start=np.zeros(len(thetas)))
    at = 0
    for size, free, shape in zip(layout.sizes, layout.correlated, priors.eta, strict=True):
        if free:  # |R| is the product of 1 - r² over the partial correlations
            r = thetas[:, places.partials][:, at : at + size * (size - 1) // 2]
            at += r.shape[1]
            total += (shape - 1.0) * np.log1p(-(r**2)).sum(axis=1)
    if priors.rho is not None and places.rho is not None:
        total += stats.beta(priors.rho, priors.rho).logpdf(0.5 + 0.5 * thetas[:, places.rho])
    return np.asarray(total)


def log_likelihood(marginal: Marginal, thetas: np.ndarray, fixef: np.ndarray) -> np.ndarray:
    """Log density of the response given draws of all parameters, the random effects integrated out.

    Parameters
    ----------
    marginal : Marginal
    thetas : (draws, dim) array
    fixef : (draws, p) array

    Returns
    -------
    (draws,) array
    """
    given = Marginal(marginal.design, None, marginal.moments, kept=np.ones(marginal.moments.p, dtype=bool))
    full = np.column_stack([thetas[:, : marginal.places.kept], fixef])
    with marginal.one_thread():
        return np.array([given.log_density(theta)[0] for theta in full])


def prior_overlap(posterior: Posterior) -> pd.DataFrame:
    """How much of the posterior of every parameter is its prior.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    pandas.DataFrame
        One row a parameter with a proper prior: effect, group, term, prior, prior_sd and posterior_sd (half the
        width of the central 68%), overlap (0 to 1), position (median of the prior probability below a draw).

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1)
    >>> (prior_overlap(fit)["overlap"] < 0.5).all()
    np.True_
    """
    design, priors = posterior.design, posterior.priors
    draws = posterior.parameter_draws()
    eta = fixed_effects(posterior) @ posterior.marginal.centering.T
    rows: list[tuple] = []

    def add(
        effect: str, group: Any, term: str, text: str, values: np.ndarray, below: np.ndarray, half: float
    ) -> None:
        share = np.histogram(below, bins=BINS, range=(0.0, 1.0))[0] / len(below)
        low, high = np.quantile(values, [0.16, 0.84])
        overlap = float(np.minimum(share, 1.0 / BINS).sum())
        rows.append((effect, group, term, text, half, 0.5 * (high - low), overlap, float(np.median(below))))

    for label, prior, values in zip(design.labels, priors.coefficients, eta.T, strict=True):
        if laws.proper(prior):
            add(FIXED, np.nan, label, repr(prior), values, laws.probability(prior, values), _half(prior))
    correlated = laws.correlations(design, priors)
    for group, term, i, j in variance_rows(design):
        values = draws[VARIANCE, group, term].to_numpy()
        if i != j:
            _, text, law = correlated[i, j]
            low, high = law.ppf([0.16, 0.84])
            add(VARIANCE, group, term, text, values, law.cdf(values), 0.5 * (high - low))
        elif laws.proper(priors.sds[i]):
            prior = priors.sds[i]
            add(VARIANCE, group, term, repr(prior), values, laws.probability(prior, values), _half(prior))
    if priors.sigma is not None and laws.proper(priors.sigma):
        values = draws[VARIANCE, RESIDUAL, names.SIGMA].to_numpy()
        below = laws.probability(priors.sigma, values)
        add(VARIANCE, RESIDUAL, names.SIGMA, repr(priors.sigma), values, below, _half(priors.sigma))
    if priors.rho is not None and posterior.marginal.places.rho is not None:
        law = stats.beta(priors.rho, priors.rho, loc=-1.0, scale=2.0)
        low, high = posterior.marginal.rho(law.ppf([0.16, 0.84]))
        below = law.cdf(posterior.thetas[:, posterior.marginal.places.rho])
        values = draws[VARIANCE, RESIDUAL, names.RHO].to_numpy()
        add(VARIANCE, RESIDUAL, names.RHO, f"LKJ(eta={priors.rho:g})", values, below, 0.5 * (high - low))
    columns = ["effect", "group", "term", "prior", "prior_sd", "posterior_sd", "overlap", "position"]
    return pd.DataFrame(rows, columns=columns)


def _half(prior: Any) -> float:
    low, high = laws.quantile(prior, np.array([0.16, 0.84]))
    return float(0.5 * (high - low))
