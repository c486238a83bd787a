r"""The z test of a fixed effect with the standard error that statsmodels prints.

At the REML estimate lme4 and this package take σ̂² (XᵀV⁻¹X)⁻¹ as the variance of β̂: generalised least squares, with
the variances as known. `MixedLM` of statsmodels, whose z tests the published ladder shows, inverts the observed
information of β and of the relative variances ψ together (σ² profiled out). The two differ, because in any one sample
the likelihood of β leans on that of ψ. With Z of the only grouping factor, V = I + Z Ψ Zᵀ, E_k = ∂Ψ/∂ψ_k, N = n - p,
r = y - Xβ̂, and per level S = ZᵀV⁻¹Z, T = ZᵀV⁻¹X, u = ZᵀV⁻¹r (all of the form (I + ZᵀZ Ψ)⁻¹ Zᵀ…), the information of

    -2 ℓ(β, ψ) = N log q + log|V| + log|XᵀV⁻¹X|,      q = rᵀV⁻¹r = N σ̂²

has the blocks

    β, β    XᵀV⁻¹X / σ̂²                     β, k    K_k = Σ_j Tᵀ E_k u / σ̂²
    k, l    W_kl = Σ_j uᵀ E_k S E_l u / σ̂² - (Σ_j uᵀE_k u)(Σ_j uᵀE_l u) / (2 N σ̂⁴)
                   - ½ [ Σ_j tr(S E_k S E_l) - 2 tr(C Σ_j TᵀE_k S E_l T) + tr(C F_k C F_l) ],

C = (XᵀV⁻¹X)⁻¹, F_k = Σ_j Tᵀ E_k T; hence Var β̂ = (XᵀV⁻¹X / σ̂² - K W⁻¹ Kᵀ)⁻¹. A singular Ψ is no obstacle.
"""

from __future__ import annotations

import numpy as np

from hierbayes.estimates import Estimate
from hierbayes.groups import level_sums


def observed_std_errors(reml: Estimate) -> np.ndarray:
    """Standard errors of the fixed effects from the observed information of all parameters together.

    Parameters
    ----------
    reml : Estimate
        By REML, with one grouping factor and independent residuals.

    Returns
    -------
    (p,) array
        NaN where the information is not positive definite: the likelihood is not curved there.

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("sleepstudy").query("Days > 3 or Subject != '308'")
    >>> reml = hb.Model("Reaction ~ Days + (1 | Subject)", data).reml()
    >>> observed_std_errors(reml).round(4), reml.tidy()["std_error"].to_numpy()[:2].round(4)
    (array([10.2511,  0.7956]), array([10.2502,  0.7954]))
    """
    d = reml.design
    (factor,) = d.factors
    root = np.ones((d.n, 1)) if d.weights is None else np.sqrt(d.weights)[:, None]
    Z, X = root * d.effect_columns(factor), root * d.X
    offset = 0.0 if d.offset is None else d.offset
    r = root[:, 0] * (d.y - offset) - X @ reml.fixef.to_numpy()
    J, q, p, sigma2 = len(factor.levels), Z.shape[1], X.shape[1], reml.sigma**2

    def by_level(columns: np.ndarray) -> np.ndarray:
        return level_sums((Z[:, :, None] * columns[:, None]).reshape(d.n, -1), factor.codes, J).reshape(J, q, -1)

    A = by_level(Z)
    half = np.linalg.inv(np.eye(q) + A @ (reml.covariance / sigma2))
    S, T, u = half @ A, half @ by_level(X), (half @ by_level(r[:, None]))[..., 0]
    C = reml.vcov.to_numpy() / sigma2
    E = _directions(reml)
    Eu, ET, ES = (np.einsum("kab,jb...->kja...", E, by) for by in (u, T, S))
    first = np.einsum("ja,kja->k", u, Eu)
    F = np.einsum("jap,kjar->kpr", T, ET)
    curved = np.einsum("kja,jab,ljb->kl", Eu, S, Eu, optimize=True) / sigma2
    curved -= np.outer(first, first) / (2 * (d.n - p) * sigma2**2)
    trace = np.einsum("kjab,ljba->kl", ES, ES) + np.einsum("pr,krs,st,ltp->kl", C, F, C, F)
    trace -= 2.0 * np.einsum("pr,kjar,jab,ljbp->kl", C, ET, S, ET, optimize=True)
    W, K = curved - 0.5 * trace, np.einsum("jap,kja->pk", T, Eu) / sigma2
    by_variances = _inverse(W)
    found = None if by_variances is None else _inverse(np.linalg.inv(C) / sigma2 - K @ by_variances @ K.T)
    return np.full(p, np.nan) if found is None else np.sqrt(np.diag(found))


def _inverse(information: np.ndarray) -> np.ndarray | None:
    """Inverse of a symmetric matrix whatever the units of its rows, None if it is not positive definite."""
    diagonal = np.diag(information)
    if not (diagonal > 0.0).all():
        return None
    unit = diagonal**-0.5
    scaled = unit[:, None] * information * unit
    if not (np.linalg.eigvalsh(scaled) > 0.0).all():
        return None
    return unit[:, None] * np.linalg.inv(scaled) * unit


def _directions(reml: Estimate) -> np.ndarray:
    """(k, q, q) derivatives of Ψ by its free variances and covariances."""
    pairs = [(i, i) for i in range(reml.design.layout.q)] + list(reml.design.layout.pairs)
    E = np.zeros((len(pairs), reml.design.layout.q, reml.design.layout.q))
    for k, (i, j) in enumerate(pairs):
        E[k, i, j] = E[k, j, i] = 1.0
    return E
