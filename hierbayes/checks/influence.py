r"""Which groups carry the answer: what leaving out one level after another does to the fixed effects.

At the estimated variances, in one pass. In the coordinates of `hierbayes.moments` all that the fixed effects
depend on is ``K = [X y]ᵀ V₀⁻¹ [X y]``, and with one grouping factor K is a sum over levels::

    K = Σ_j K_j,      K_j = G_j - M_jᵀ Λ W_j⁻¹ Λᵀ M_j,      G_j = [X y]_jᵀ R_j⁻¹ [X y]_j

so that ``K - K_j`` is, exactly, that of the data without level j, and a (p + 1) x (p + 1) system gives its
estimate γ_(j): no row is looked at twice, and no matrix of rows x rows is made. The same holds for the series
of correlated residuals, which lie within the levels. With several grouping factors
V₀⁻¹ has no such sum; there the moments without the level are taken, one level at a time.

    Cook's distance    D_j = (β̂ - β̂_(j))ᵀ Cov(β̂)⁻¹ (β̂ - β̂_(j)) / p
    DFBETAS            (β̂ - β̂_(j))_k / se(β̂_k)

(Cook 1977, Technometrics 19, 15; Belsley, Kuh & Welsch 1980; for mixed models Christensen, Pearson & Johnson
1992, Technometrics 34, 38). Exactly: the variances too are estimated again without the level, from the moments
of the rows that stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.design import Factor
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import Estimate
from hierbayes.kernel_marginal import deviance
from hierbayes.marginal import Marginal
from hierbayes.moments import rows_of
from hierbayes.reml import maximise
from hierbayes.residual import coefficients


def influence(
    estimate: Estimate, group: str | None = None, refit: bool | str | Sequence[str] = False
) -> pd.DataFrame:
    """Change of the fixed effects when one level after another is left out.

    Parameters
    ----------
    estimate : Estimate
    group : str, optional
        Grouping factor (or, without random effects, the series of the residuals); may be left out if there
        is one only.
    refit : bool, str or sequence of str, default False
        False holds the variances at their estimates; True estimates them again without each level; a level or a
        list of levels does so for these alone, and gives no others.

    Returns
    -------
    pandas.DataFrame
        One row a level: group, level, rows, cook, sigma (residual standard deviation without the level; NaN
        where it is known), then for each coefficient ``dfbeta[…]``, estimate with the level less estimate without,
        in units of the coefficient, and ``dfbetas[…]``, the same over its standard error. With `refit` also
        converged and the standard deviations of the random effects without the level, ``sd[…]``. NaN where
        the fixed effects cannot be estimated without the level.

    Raises
    ------
    DataError
        If `group` is not a grouping factor of the model, if there are several and none is named, or if a
        level does not exist.
    ValueError
        If `group` is not a name, or `refit` neither True, False nor levels.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> table = influence(reml).sort_values("cook", ascending=False)
    >>> table[["level", "rows", "cook", "dfbetas[Days]"]].round(3).head(2)
      level  rows   cook  dfbetas[Days]
    1   309    10  0.149         -0.312
    8   335    10  0.129         -0.508
    """
    factor = _factor(estimate, group)
    levels = factor.levels.astype(str)
    wanted = _wanted(refit)
    if wanted is False:
        chosen = np.arange(len(levels))
        separable = estimate.moments.levels is not None  # K is a sum over the levels
        gamma, sigma = (_one_pass if separable else _one_by_one)(estimate, factor)
        extra: dict[str, np.ndarray] = {}
    else:
        chosen = np.arange(len(levels)) if wanted is True else _positions(levels, wanted, factor.name)
        gamma, sigma, extra = _refitted(estimate, factor, chosen)
    m = estimate.moments
    full = -estimate.optimum.t[:-1]
    change = m.scale * np.linalg.solve(m.R, (full - gamma).T).T
    scaled = (full - gamma) @ estimate.optimum.chol * (m.scale / estimate.sigma)
    errors = np.sqrt(np.diag(estimate.vcov))
    columns: dict[str, object] = {
        "group": factor.name,
        "level": factor.levels[chosen],
        "rows": np.bincount(factor.codes, minlength=len(levels))[chosen],
        "cook": (scaled**2).sum(axis=1) / m.p,
        "sigma": sigma if estimate.design.sigma is None else np.nan,
    }
    columns |= {f"dfbeta[{label}]": change[:, k] for k, label in enumerate(estimate.design.labels)}
    columns |= {f"dfbetas[{label}]": change[:, k] / errors[k] for k, label in enumerate(estimate.design.labels)}
    return pd.DataFrame(columns | extra)


def _factor(estimate: Estimate, group: str | None) -> Factor:
    """The factor whose levels are left out; without random effects the series of the residuals."""
    factors = {factor.name: factor for factor in estimate.design.groupings}
    if group is not None and not isinstance(group, str):
        raise ValueError(f"group must be the name of one grouping factor, not {group!r}; ask for one at a time.")
    if group is None and len(factors) > 1:
        raise DataError(
            f"There are several grouping factors; name one: group={' or group='.join(map(repr, factors))}."
        )
    if not factors:
        raise DataError("The model has no groups, neither of random effects nor of residuals, to leave out.")
    name = next(iter(factors)) if group is None else group
    if name not in factors:
        raise DataError(f"{name!r} is not a grouping factor of the model. {suggest(name, factors)}")
    factor = factors[name]
    if len(factor.levels) < 2:
        raise DataError(f"{name!r} has one level only, and without it nothing is left.")
    return factor


def _wanted(refit: Any) -> bool | list[str]:
    """Whether to estimate again, or without which levels."""
    if isinstance(refit, (bool, np.bool_)):
        return bool(refit)
    if isinstance(refit, (str, Number)):
        return [str(refit)]
    if not isinstance(refit, Iterable) or isinstance(refit, Mapping):
        raise ValueError(f"refit must be True, False, a level or a list of levels, not {refit!r}.")
    return [str(level) for level in refit]


def _positions(levels: np.ndarray, wanted: Sequence[str], name: str) -> np.ndarray:
    place = {level: at for at, level in enumerate(levels)}
    for level in wanted:
        if level not in place:
            raise DataError(f"{name!r} has no level {level!r}. {suggest(level, levels)}")
    return np.array([place[level] for level in wanted], dtype=int)


def _one_pass(estimate: Estimate, factor: Factor) -> tuple[np.ndarray, np.ndarray]:
    """γ and σ without each level, at the estimated variances."""
    m, optimum, design = estimate.moments, estimate.optimum, estimate.design
    residual, J, width = design.residual, len(factor.levels), m.p + 1
    XY = rows_of(design, m)[1]
    sets = [(XY, np.arange(design.n))] if residual is None else residual.transformed(XY)
    weights = np.ones(1) if residual is None else coefficients(optimum.rho, residual.table)[0]
    K, own = np.zeros((J, width, width)), None
    for weight, (rows, of) in zip(weights, sets, strict=True):
        products = np.empty((J, width, width))
        for i in range(width):
            for k in range(i + 1):
                products[:, i, k] = np.bincount(factor.codes[of], rows[:, i] * rows[:, k], minlength=J)
                products[:, k, i] = products[:, i, k]
        own = products if own is None else own  # of the rows themselves
        K += weight * products
    assert m.levels is not None
    assert own is not None
    if m.q:
        A = np.moveaxis(np.tensordot(weights, m.levels.A_levels, 1), -1, 0)
        LM = optimum.relative.T @ np.moveaxis(np.tensordot(weights, m.levels.M_levels, 1), -1, 0)
        W = np.eye(m.q) + optimum.relative.T @ A @ optimum.relative
        K -= LM.transpose(0, 2, 1) @ np.linalg.solve(W, LM)
    rest = K.sum(axis=0) - K
    dof = m.n - np.bincount(factor.codes, minlength=J) - (m.p if estimate.method == "REML" else 0)
    gamma, sigma = np.full((J, m.p), np.nan), np.full(J, np.nan)
    here = (dof > 0) & estimate.marginal.determined((own.sum(axis=0) - own)[:, :-1, :-1])
    rest, dof = rest[here], dof[here]
    gamma[here] = np.linalg.solve(rest[:, :-1, :-1], rest[:, :-1, -1:])[..., 0]
    squares = rest[:, -1, -1] - np.einsum("jp,jp->j", rest[:, :-1, -1], gamma[here])
    sigma[here] = m.scale * np.sqrt(np.maximum(squares, 0.0) / dof)
    return gamma, sigma


def _without(estimate: Estimate, factor: Factor, code: int) -> Marginal | None:
    """The likelihood without a level, None if the fixed effects cannot be estimated then."""
    rest = factor.codes != code
    if rest.sum() <= estimate.moments.p:
        return None
    try:
        return estimate.marginal.without(~rest)
    except DataError:
        return None


def _one_by_one(estimate: Estimate, factor: Factor) -> tuple[np.ndarray, np.ndarray]:
    """The same with several grouping factors, from the moments without each level."""
    m, optimum, residual = estimate.moments, estimate.optimum, estimate.design.residual
    rows, columns = np.nonzero(m.layout.mask)
    x = optimum.relative[rows, columns]
    if residual is not None:
        x = np.append(x, np.arctanh(estimate.marginal.place(optimum.rho)))
    gamma, sigma = np.full((len(factor.levels), m.p), np.nan), np.full(len(factor.levels), np.nan)
    for code in range(len(factor.levels)):
        less = _without(estimate, factor, code)
        if less is not None:
            found = deviance(x, rows, columns, estimate.method == "REML", less.packed, *less.plan)
            sigma[code], gamma[code] = found[2] * m.scale, -found[3][:-1]
    return gamma, sigma


def _refitted(
    estimate: Estimate, factor: Factor, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """γ, σ and the standard deviations of the random effects, all estimated without each level."""
    m, design = estimate.moments, estimate.design
    gamma, sigma = np.full((len(chosen), m.p), np.nan), np.full(len(chosen), np.nan)
    sds, converged = np.full((len(chosen), m.q), np.nan), np.zeros(len(chosen), dtype=bool)
    for at, code in enumerate(chosen):
        less = _without(estimate, factor, code)
        if less is not None:
            found = Estimate(less, maximise(less, estimate.method == "REML"), estimate.method)
            gamma[at], sigma[at], converged[at] = -found.optimum.t[:-1], found.sigma, found.converged
            sds[at] = np.sqrt(np.diag(found.covariance))
    names = [f"sd[{label}|{part.factor.name}]" for part in design.parts for label in part.block.labels]
    return gamma, sigma, {"converged": converged} | dict(zip(names, sds.T, strict=True))
