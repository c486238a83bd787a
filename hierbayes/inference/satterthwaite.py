r"""Satterthwaite's degrees of freedom for tests of fixed effects.

The variance v = cᵀΦc of a contrast is an estimate itself. A χ² with as many degrees of freedom as match its mean and
variance has

    ν = 2 v² / Var(v),      Var(v) = Σ_k (cᵀ S_k c)²

where the matrices S_k are the derivatives of Φ, the covariance matrix of the fixed effects, along independent
directions of the variance parameters, each one standard error long (Giesbrecht & Burns 1985, Biometrics 41, 477;
`hierbayes.inference.curvature` has the directions). An F test of several contrasts is split into the t tests of the
eigenvectors of their covariance matrix; F then has the denominator degrees of freedom that give it the mean of their
squares, Σ ν_m/(ν_m - 2)/q (Fai & Cornelius 1996, Journal of Statistical Computation and Simulation 54, 363). Both are
lmerTest's.

Without any S_k this is the normal test of given variances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes.estimates import Estimate
from hierbayes.inference.curvature import Curvature


@dataclass(frozen=True, eq=False)
class Satterthwaite:
    """Covariance matrix of the fixed effects, and how well it is known.

    Parameters
    ----------
    basis : (p, p) array
        From γ to the fixed effects.
    gamma_vcov : (p, p) array
        Φ, for γ.
    slopes : (k, p, p) array
        S, for γ.
    """

    basis: np.ndarray
    gamma_vcov: np.ndarray
    slopes: np.ndarray

    def variance(self, c: np.ndarray) -> float:
        """Variance of one contrast (p,)."""
        c = self.basis.T @ c
        return float(c @ self.gamma_vcov @ c)

    def df(self, c: np.ndarray) -> float:
        """Degrees of freedom of a t test of one contrast."""
        c = self.basis.T @ c
        own = float(c @ self.gamma_vcov @ c)
        spread = float(((self.slopes @ c @ c) ** 2).sum())
        return 2.0 * own**2 / spread if spread != 0.0 else np.inf

    def f_test(self, L: np.ndarray, difference: np.ndarray) -> tuple[float, float]:
        """F and its denominator degrees of freedom.

        Parameters
        ----------
        L : (q, p) array
            Independent contrasts.
        difference : (q,) array
            Their estimates less what they are under the hypothesis.

        Returns
        -------
        F, den_df : float
        """
        half = L @ self.basis
        variances, vectors = np.linalg.eigh(half @ self.gamma_vcov @ half.T)
        F = float(((vectors.T @ difference) ** 2 / variances).mean())
        return F, _pooled(np.array([self.df(c) for c in vectors.T @ L]))


def satterthwaite(fit: Estimate) -> Satterthwaite:
    """Take the derivatives of the covariance matrix of the fixed effects.

    Parameters
    ----------
    fit : Estimate

    Returns
    -------
    Satterthwaite

    Examples
    --------
    >>> import hierbayes as hb, numpy as np
    >>> reml = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy")).reml()
    >>> round(satterthwaite(reml).df(np.array([0.0, 1.0])), 6)  # n - levels - 1: within subjects
    161.0
    """
    curvature = Curvature(fit)
    known = z_test(fit)
    slopes = np.tensordot(curvature.directions.T, curvature.vcov_slopes, 1)
    if fit.design.sigma is None:
        slopes = np.concatenate([slopes, np.sqrt(2.0 / curvature.dof) * known.gamma_vcov[None]])
    return Satterthwaite(known.basis, known.gamma_vcov, slopes)


def z_test(fit: Estimate) -> Satterthwaite:
    """Take the variance parameters as known: infinite degrees of freedom."""
    m = fit.moments
    half = np.linalg.inv(fit.optimum.chol.T) * fit.optimum.sigma
    return Satterthwaite(m.scale * np.linalg.inv(m.R), half @ half.T, np.zeros((0, m.p, m.p)))


def normal_tests(vcov: pd.DataFrame) -> Satterthwaite:
    """Take the covariance matrix (p, p) of the fixed effects as it is: infinite degrees of freedom."""
    p = len(vcov)
    return Satterthwaite(np.eye(p), vcov.to_numpy(), np.zeros((0, p, p)))


def _pooled(df: np.ndarray) -> float:
    """Denominator degrees of freedom of the mean of squared t, whose degrees of freedom are `df`."""
    if len(df) == 1:
        return float(df[0])
    if (df <= 2.0).any():
        return 2.0
    # mean of the squares less 1, without cancellation
    excess = float((2.0 / (df - 2.0)).mean())
    return 2.0 + 2.0 / excess if excess > 0.0 else np.inf
