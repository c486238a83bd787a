r"""Mean variance of a row of the response, split by where it comes from: fixed effects, grouping factors, residuals.

A row i with z_i, the effect columns of its level of factor f, has the variance

    v_fixed + Σ_f v_f + v_residual,      v_fixed = βᵀ S β,   v_f = tr(Σ_f M_f),   v_residual = σ² mean(1/w),

where S is the sample covariance of the columns of X (divisor n - 1), ``M_f = mean_i z_i z_iᵀ`` and w are the
precision weights. So v_f is the mean over the rows of z_iᵀ Σ_f z_i, which with random slopes is what a predictor's
origin cannot change (Johnson 2014, Methods in Ecology and Evolution 5, 944): an ICC or R² from the variance of the
intercept alone depends on where zero was put. For one random intercept it is that variance.

n times the variance of the mean of the response, given the fixed effects, is ``Σ_f u_f + v_residual`` with

    u_f = tr(Σ_f K_f),   K_f = Σ_j s_j s_jᵀ / n,   s_j = Σ_{i in j} z_i,

if the residuals are independent.

With known standard errors v_residual is their mean square; an offset is a known part of the response and counts
nowhere (`hierbayes.variance.family_components` follows suit); correlated residuals count as residuals. S, M and K are
taken in one pass, and a draw then costs O(p² + q²).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hierbayes import names
from hierbayes.design import Design
from hierbayes.estimates import FIXED, Estimate, Posterior
from hierbayes.inference.bootstrap import Bootstrap, replicates_of
from hierbayes.linear_predictor import covariance_draws

CHUNK = 2_000_000
"""Random effects that are looked at in one go."""


@dataclass(frozen=True)
class Variances:
    """Mean variance of a row of the response by where it comes from, one entry a draw.

    Parameters
    ----------
    factors : tuple of str
        The F grouping factors.
    fixed : (draws,) array
        v_fixed.
    random : (draws, F) array
        v_f.
    summed : (draws, F) array
        u_f, n times what the factor adds to the variance of the mean of the response.
    residual : (draws,) array
        v_residual.
    """

    factors: tuple[str, ...]
    fixed: np.ndarray
    random: np.ndarray
    summed: np.ndarray
    residual: np.ndarray

    @property
    def unexplained(self) -> np.ndarray:
        """(draws,) variance that the fixed effects leave."""
        return self.random.sum(axis=1) + self.residual

    @property
    def total(self) -> np.ndarray:
        """(draws,) variance of a row."""
        return self.fixed + self.unexplained


def variances(design: Design, fixef: np.ndarray, covariance: np.ndarray, sigma: np.ndarray) -> Variances:
    """Split the variance of the response, for many values of the parameters at once.

    Parameters
    ----------
    design : Design
    fixef : (draws, p) array
    covariance : (draws, q, q) array
        Of the random effects of a level.
    sigma : (draws,) array

    Returns
    -------
    Variances
    """
    n, places = design.n, [factor.name for factor in design.factors]
    X = design.X - design.X.mean(axis=0)
    fixed = np.einsum("dp,pr,dr->d", fixef, X.T @ X / (n - 1), fixef)
    random = np.zeros((len(sigma), len(places)))
    summed = np.zeros_like(random)
    for part in design.parts:
        Z, codes = part.block.Z, part.factor.codes
        sums = np.stack([np.bincount(codes, column) for column in Z.T])
        own, place = covariance[:, part.where, part.where], places.index(part.factor.name)
        random[:, place] += np.einsum("dij,ij->d", own, Z.T @ Z / n)
        summed[:, place] += np.einsum("dij,ij->d", own, sums @ sums.T / n)
    spread = 1.0 if design.weights is None else float((1.0 / design.weights).mean())
    return Variances(tuple(places), fixed, random, summed, sigma**2 * spread)


def variances_of(result: Estimate | Posterior) -> Variances:
    """Variances at an estimate (one entry), or of every draw of a posterior.

    Parameters
    ----------
    result : Estimate or Posterior

    Returns
    -------
    Variances
    """
    design = result.design
    if isinstance(result, Estimate):
        beta, covariance, sigma = result.fixef.to_numpy(), result.covariance, result.sigma
        return variances(design, beta[None], covariance[None], np.array([sigma]))
    draws = result.parameter_draws()
    sigmas = np.full(len(draws), design.sigma, dtype=float)
    if design.sigma is None:
        sigmas = result.posterior[names.SIGMA].to_numpy().ravel()
    return variances(design, _fixef_draws(result), covariance_draws(result), sigmas)


def _fixef_draws(fit: Posterior) -> np.ndarray:
    """(draws, p) draws of the fixed effects, chains one after the other."""
    return fit.parameter_draws()[FIXED].to_numpy()


def replicated(estimate: Estimate, bootstrap: Bootstrap | int) -> Variances:
    """Variances of every replicate whose refit converged; the bootstrap counts the others.

    Parameters
    ----------
    estimate : Estimate
    bootstrap : Bootstrap or int
        Of the estimate, or how many replicates to make.

    Returns
    -------
    Variances

    Raises
    ------
    ValueError
        If the bootstrap is of another fit.
    """
    made = replicates_of(estimate, bootstrap)
    good = np.isfinite(made.sigma)
    return variances(estimate.design, made.fixef[good], made.covariance[good], made.sigma[good])


def fitted_variances(fit: Posterior) -> Iterator[np.ndarray]:
    """Variance over the rows of the fitted values, a few draws at a time; the rows are seen once only.

    The effects of all levels stand together, effect by effect, so that the variance is a quadratic form in them and
    in the fixed effects, with the sparse matrix ZᵀZ.

    Parameters
    ----------
    fit : Posterior
        With draws of its random effects.

    Yields
    ------
    (some draws,) array
        Chains one after the other.
    """
    design, n = fit.design, fit.design.n
    X = design.X - design.X.mean(axis=0)
    columns, keys = [sparse.csr_array((n, 0))], []
    for part in design.parts:
        at, J = 0, len(part.factor.levels)
        for term in part.block.terms:
            keys.append(names.effect(term.name, part.factor.name))
            for k in range(at, at + len(term.labels)):
                entries = part.block.Z[:, k], (np.arange(n), part.factor.codes)
                columns.append(sparse.csr_array(entries, shape=(n, J)))
            at += len(term.labels)
    Z = sparse.hstack(columns, format="csr")
    inner, cross, sums = (Z.T @ Z).tocsr(), Z.T @ X, Z.sum(axis=0)
    posterior = fit.posterior
    beta = _fixef_draws(fit).reshape(posterior.sizes[names.CHAIN], -1, X.shape[1])
    step = max(1, CHUNK // max(1, Z.shape[1]))
    for chain in range(beta.shape[0]):
        for begin in range(0, beta.shape[1], step):
            some = beta[chain, begin : begin + step]
            here = {names.CHAIN: chain, names.DRAW: slice(begin, begin + step)}
            effects = [posterior[key].isel(here).to_numpy().reshape(len(some), -1) for key in keys]
            b = np.concatenate([np.zeros((len(some), 0)), *effects], axis=1)
            squares = ((some @ (X.T @ X)) * some).sum(axis=1) + 2.0 * ((b @ cross) * some).sum(axis=1)
            squares += (b * (inner @ b.T).T).sum(axis=1)
            yield (squares - (b @ sums) ** 2 / n) / (n - 1)
