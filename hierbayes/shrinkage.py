r"""What partial pooling does to every level: a table of effects, and lines through the data of some levels.

No pooling is the least-squares answer of a level on its own. As a deviation from the REML fixed
effects β̂ it is, in the notation of the design notes,

    b_j = A_j⁻¹ (c_j - B_j β̂),      A_j = Z_jᵀZ_j,  c_j - B_j β̂ = Z_jᵀ(y_j - X_j β̂),

which is also the limit of the BLUP when the variances of the random effects go to infinity. It does
not exist where A_j is singular: too few rows, or no variation of the predictor within the level.
All levels together cost one pass over the rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.results import FIXED, Fit, RemlFit

SINGULAR = 1e-10
"""A level has no estimate of its own if an eigenvalue of A_j is below this fraction of its trace."""
ROWS_SHOWN = 400
"""Rows of a level that `group_lines` gives as points; of more, so many evenly spaced ones."""
COMPLETE, NONE, REML, POSTERIOR = "complete", "none", "reml", "posterior"
"""Kinds of pooling, as the lines of `group_lines` name them."""


def shrinkage(reml: RemlFit, fit: Fit) -> pd.DataFrame:
    """Effects of every level without pooling, by REML and in the posterior.

    Parameters
    ----------
    reml : RemlFit
    fit : Fit
        Of the same model.

    Returns
    -------
    pandas.DataFrame
        One row per effect and level, effect by effect, with the columns ``effect``, ``level``, ``rows``
        (rows used in the level), ``no_pooling`` (least squares within the level; NaN where it does not
        exist), ``blup`` and ``blup_sd`` (REML; conditional standard deviation), ``mean``, ``sd``, ``q2.5``
        and ``q97.5`` (posterior). All are deviations from the fixed effects, in units of the response
        per unit of the effect's column.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    >>> table = shrinkage(model.reml(), model.fit(seed=1))
    >>> table[["effect", "level", "rows", "no_pooling", "blup"]].round(2).head(2)
          effect level  rows  no_pooling   blup
    0  Intercept   308    10       -7.21   2.26
    1  Intercept   309    10      -46.35 -40.40
    """
    design = reml.design
    factor = design.factor
    posterior = fit.ranef()[["mean", "sd", "q2.5", "q97.5"]].to_numpy()
    levels = len(factor.levels)
    return pd.DataFrame(
        {
            "effect": np.repeat(np.array(design.effect_labels, dtype=object), levels),
            "level": np.tile(factor.levels, len(design.effect_labels)),
            "rows": np.tile(np.bincount(factor.codes, minlength=levels), len(design.effect_labels)),
            "no_pooling": no_pooling(reml).T.ravel(),
            "blup": reml.ranef[factor.name].to_numpy().T.ravel(),
            "blup_sd": reml.ranef_sd[factor.name].to_numpy().T.ravel(),
            "mean": posterior[:, 0],
            "sd": posterior[:, 1],
            "q2.5": posterior[:, 2],
            "q97.5": posterior[:, 3],
        }
    )


def no_pooling(reml: RemlFit) -> np.ndarray:
    """Least squares within each level, as deviations from the REML fixed effects.

    Parameters
    ----------
    reml : RemlFit

    Returns
    -------
    (J, q) array
        NaN where a level has no estimate of its own.
    """
    m, design = reml.moments, reml.design
    residual = design.y - design.X @ reml.fixef.to_numpy()
    T = np.linalg.inv(m.E)
    Z = np.concatenate([block.Z for block in design.blocks], axis=1) @ T
    c = np.stack([np.bincount(design.factor.codes, Z[:, k] * residual, minlength=m.J) for k in range(m.q)], axis=1)
    A = m.A_levels.transpose(2, 0, 1)
    own = np.linalg.eigvalsh(A)[:, 0] > SINGULAR * np.trace(A, axis1=1, axis2=2)
    b = np.full((m.J, m.q), np.nan)
    b[own] = np.linalg.solve(A[own], c[own][..., None])[..., 0] @ T.T
    return b


@dataclass(frozen=True)
class GroupLines:
    """Data and fitted lines of some levels.

    Parameters
    ----------
    predictor, response, factor : str
    points : pandas.DataFrame
        Columns level, x, y: the rows of these levels, at most `ROWS_SHOWN` of each.
    lines : pandas.DataFrame
        Columns level, pooling (`COMPLETE`, `NONE`, `REML` or `POSTERIOR`), x0, y0, x1, y1: the two ends of a line.
    levels : tuple of str
        In the order in which to show them: from the smallest to the largest effect.
    total : int
        Number of levels in the data.
    thinned : bool
        Whether some level has more rows than `points` shows.
    """

    predictor: str
    response: str
    factor: str
    points: pd.DataFrame
    lines: pd.DataFrame
    levels: tuple[str, ...]
    total: int
    thinned: bool


def slope_predictor(design: Design, data: pd.DataFrame) -> str | None:
    """Find the one numeric predictor along which the levels can be drawn as straight lines.

    Parameters
    ----------
    design : Design
    data : pandas.DataFrame
        The rows of the design.

    Returns
    -------
    str or None
        The predictor of the random slope, or where only intercepts vary the only numeric predictor;
        None if there is no such column, or if it enters in any other way than linearly.
    """
    numeric = [
        str(column)
        for column in data.columns
        if pd.api.types.is_numeric_dtype(data[column]) and not pd.api.types.is_bool_dtype(data[column])
    ]
    slopes = [term.name for block in design.blocks for term in block.terms if term.name != "1"]
    wanted = slopes or [term.name for term in design.terms if term.name in numeric]
    if len(wanted) != 1 or wanted[0] not in numeric:
        return None
    name = wanted[0]
    for term in design.terms:
        parts = term.name.split(":")
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", term.name):
            continue
        if name not in parts or any(part in numeric for part in parts if part != name):
            return None
    return name


def group_lines(
    reml: RemlFit, fit: Fit, table: pd.DataFrame, data: pd.DataFrame, most: int = 12
) -> GroupLines | None:
    """Lines of complete, no and partial pooling through the data of some levels.

    A line is the least-squares line, along the predictor, through the fitted values of the rows of the level:
    of ordinary regression without groups, of the level on its own, of REML, of the posterior mean. Other
    predictors are thereby held where they are in the level.

    Parameters
    ----------
    reml : RemlFit
    fit : Fit
        Of the same model.
    table : pandas.DataFrame
        Their `shrinkage`.
    data : pandas.DataFrame
        The rows of the design, `hierbayes.Model.data`.
    most : int, default 12
        Number of levels; if there are more, they are taken evenly from the smallest to the largest effect.

    Returns
    -------
    GroupLines or None
        None if there is no predictor to draw along (`slope_predictor`), or if it varies in no level shown.
    """
    design = reml.design
    name = slope_predictor(design, data)
    if name is None:
        return None
    factor = design.factor
    x = data[name].to_numpy(dtype=float)
    effects = table["mean"].to_numpy().reshape(len(design.effect_labels), -1).T
    along = design.effect_labels.index(name) if name in design.effect_labels else 0
    order = np.argsort(effects[:, along], kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]

    rows = np.flatnonzero(np.isin(factor.codes, chosen))
    Z = np.concatenate([block.Z for block in design.blocks], axis=1)[rows]
    codes, X = factor.codes[rows], design.X[rows]
    tidy = fit.tidy()
    means = tidy.loc[tidy["effect"] == FIXED, "estimate"].to_numpy(dtype=float)
    blups = reml.ranef[factor.name].to_numpy()
    fitted = {
        COMPLETE: X @ reml.moments.ols,
        NONE: design.y[rows],
        REML: X @ reml.fixef.to_numpy() + (Z * blups[codes]).sum(axis=1),
        POSTERIOR: X @ means + (Z * effects[codes]).sum(axis=1),
    }
    made: list[tuple] = []
    shown: list[np.ndarray] = []
    for code in chosen:
        here = codes == code
        among = np.flatnonzero(here)
        shown.append(among[np.linspace(0, len(among) - 1, min(len(among), ROWS_SHOWN)).round().astype(int)])
        at = x[rows][here]
        if np.ptp(at) == 0:
            continue
        low, high = at.min(), at.max()
        for pooling, values in fitted.items():
            slope = np.cov(at, values[here])[0, 1] / np.var(at, ddof=1)
            start = values[here].mean() + slope * (low - at.mean())
            made.append((factor.levels[code], pooling, low, start, high, start + slope * (high - low)))
    if not made:
        return None
    points = np.sort(np.concatenate(shown))
    return GroupLines(
        name,
        design.response,
        factor.name,
        pd.DataFrame({"level": factor.levels[codes[points]], "x": x[rows][points], "y": design.y[rows][points]}),
        pd.DataFrame(made, columns=["level", "pooling", "x0", "y0", "x1", "y1"]),
        tuple(str(level) for level in factor.levels[chosen]),
        len(factor.levels),
        len(points) < len(rows),
    )
