r"""What partial pooling does to every level: a table of effects, and lines through the data of some levels.

No pooling is the least-squares answer of a level on its own, as a deviation from the REML fixed effects
β̂ and, where there are several grouping factors, from the BLUPs b̂ of the others:

    b_j = A_j⁻¹ c_j,      A_j = Σ w_i z_i z_iᵀ,   c_j = Σ w_i z_i r_i   (over the rows i of level j),
    r = y - offset - X β̂ - Σ (Z b̂ of the factors that are crossed with this one or contain it),

with the precision weights w (1 without them, 1/se² for known standard errors). It is the limit of the
BLUP when the variances of the random effects of this factor go to infinity and everything else is held. The
effects of factors nested in it stay in r: casks of a batch are part of the batch, and their BLUPs have
already taken most of the difference between batches. Its variance is that of least squares, σ² A_j⁻¹.

It does not exist where A_j is singular: too few rows, or no variation of the predictor within the
level. All levels together cost one pass over the rows. With correlated residuals it is the same
(weighted) least squares: what a regression of the level alone would give, which ignores the correlation.

How far an effect k of a level is pooled, and what pooling is worth, follow from its conditional variance C_jkk given
the data, the variances and the fixed effects:

    pooling          C_jkk / Σ_kk
    effective rows   n_j σ² (A_j⁻¹)_kk / C_jkk

The pooling factor is what the data leave of the variance of the effect, 1 minus its reliability: 0 is no and 1 is
complete pooling (Gelman & Pardoe 2006, Technometrics 48, 241). Of one random intercept it is
``(σ²/n_j) / (σ²/n_j + τ²)``, exactly how far the BLUP has gone from no pooling to the fixed effect (Gelman & Hill
2007, section 12.2). Correlated effects of a level inform each other and are pooled together, the BLUP of one grouping
factor being ``(I - C_j Σ⁻¹) b_j``; the factor of a single effect counts what all of them tell of it, lies between 0
and 1, and does not depend on units.

The effective rows are the number of rows like its own, with independent residuals and everything else known, from
which the level alone would know the effect as precisely: of one random intercept ``n_j + σ²/τ²``, its own rows and
what the other levels lend. Where correlated effects have a singular covariance by REML, some combination of them is
taken as known for certain whatever the rows of a level say; both figures would hide that and are not given. With
several factors they can be fewer than n_j, as rows of a level share other effects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes.design import Design, Factor
from hierbayes.estimates import FIXED, Estimate, Posterior
from hierbayes.forest import nested
from hierbayes.partial_pooling.disagreement import Reasons
from hierbayes.reml import SINGULAR as BOUNDARY

SINGULAR = 1e-10
"""A level has no estimate of its own if an eigenvalue of A_j is below this fraction of its trace."""
KNOWN = "REML takes one combination of the correlated effects as known, so how far each is pooled has no answer"
"""Note of `shrinkage`."""
ROWS_SHOWN = 400
"""Rows of a level that `group_lines` gives as points; of more, so many evenly spaced ones."""
COMPLETE, NONE, REML, POSTERIOR = "complete", "none", "reml", "posterior"
"""Kinds of pooling, as the lines of `group_lines` name them."""
COLUMNS = [
    "group", "effect", "level", "rows", "no_pooling", "no_pooling_sd", "blup", "blup_sd", "mean", "sd", "q2.5",
    "q97.5", "pooling", "effective_rows", "differs", "why", "note",
]  # fmt: skip
"""Columns of the table of `shrinkage`."""


def shrinkage(reml: Estimate, fit: Posterior) -> pd.DataFrame:
    """Effects of every level of every grouping factor without pooling, by REML and in the posterior.

    Parameters
    ----------
    reml : Estimate
    fit : Posterior
        Of the same model.

    Returns
    -------
    pandas.DataFrame
        One row per grouping factor, effect and level; no rows if the model has no random effects. Effects are
        deviations from the fixed effects, in units of the response per unit of the effect's column.

        - ``group`` (the factor), ``effect``, ``level``, ``rows`` (rows used in the level);
        - ``no_pooling``, ``no_pooling_sd``: least squares within the level, and its standard error at REML's σ if the
          residuals were all that varies; NaN where the level has no estimate of its own;
        - ``blup``, ``blup_sd``: REML, with its conditional standard deviation;
        - ``mean``, ``sd``, ``q2.5``, ``q97.5``: posterior;
        - ``pooling``: from 0 (none) to 1 (complete) by REML, see the module;
        - ``effective_rows``: rows that would tell the level alone as much by REML, see the module; infinite under
          complete pooling, NaN where ``no_pooling`` is. Both are NaN for correlated effects of which REML takes one
          combination as known, and ``note`` says so;
        - ``differs``: ``(mean - blup)/sd``; and ``why``: "" unless the two are more than half a posterior standard
          deviation apart, else whether the prior, the boundary or skewness does it, and by how much (see
          `hierbayes.partial_pooling.disagreement`);
        - ``note``: "" or why ``pooling`` and ``effective_rows`` do not exist.

    Raises
    ------
    HierbayesError
        If the first fit is not by REML.
    DataError
        If the two are of different models or different data.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    >>> table = hb.shrinkage(model.reml(), model.fit(seed=1, progress=False))
    >>> table[["group", "effect", "level", "rows", "no_pooling", "blup", "pooling"]].round(2).head(2)
         group     effect level  rows  no_pooling   blup  pooling
    0  Subject  Intercept   308    10       -7.21   2.26     0.24
    1  Subject  Intercept   309    10      -46.35 -40.40     0.24
    """
    own, posterior, reasons = _least_squares(reml), fit.ranef(), Reasons(reml, fit)
    tables = []
    for factor in reml.design.factors:
        name, J = factor.name, len(factor.levels)
        labels = list(reml.ranef[name].columns)
        table = pd.DataFrame(
            {
                "group": name,
                "effect": np.repeat(np.array(labels, dtype=object), J),
                "level": np.tile(factor.levels, len(labels)),
                "rows": np.tile(np.bincount(factor.codes, minlength=J), len(labels)),
                "no_pooling": _column(own[name][0]),
                "no_pooling_sd": _column(own[name][1]),
                "blup": _column(reml.ranef[name]),
                "blup_sd": _column(reml.ranef_sd[name]),
            }
        )
        for column in ("mean", "sd", "q2.5", "q97.5"):
            table[column] = posterior[name][column].to_numpy()
        where = reml.design.effects_of(factor)
        variance = np.repeat(np.diag(reml.covariance)[where], J)
        table["pooling"] = np.divide(table["blup_sd"] ** 2, variance, out=np.ones(len(table)), where=variance > 0)
        with np.errstate(divide="ignore"):
            table["effective_rows"] = table["rows"] * np.divide(table["no_pooling_sd"], table["blup_sd"]) ** 2

        known = np.repeat(_known_combination(reml, factor), J)
        table.loc[known, ["pooling", "effective_rows"]] = np.nan

        def blups(estimate: Estimate, name: str = name) -> np.ndarray:
            return _column(estimate.ranef[name])

        edge = [reasons.boundary(name)] * len(table)
        mean, sd = table["mean"].to_numpy(), table["sd"].to_numpy()
        table["differs"], table["why"] = reasons.explain(blups(reml), mean, sd, edge, blups)
        table["note"] = np.where(known, KNOWN, "")
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _known_combination(reml: Estimate, factor: Factor) -> np.ndarray:
    """(q,) whether an effect has variance, but REML takes some combination of it and correlated ones as known."""
    found = np.zeros(0, dtype=bool)
    for part in reml.design.parts_of(factor):
        relative = reml.optimum.relative[part.where, part.where]
        singular = part.free and np.linalg.svd(relative, compute_uv=False)[-1] < BOUNDARY
        found = np.append(found, singular & (np.diag(reml.covariance)[part.where] > 0.0))
    return found


def _column(values: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Levels x effects as one column of the table: effect after effect."""
    return np.asarray(values).T.ravel()


def no_pooling(reml: Estimate) -> dict[str, np.ndarray]:
    """Least squares within each level of each grouping factor, weighted by the precision weights.

    Parameters
    ----------
    reml : Estimate

    Returns
    -------
    dict of str to (J, q) array
        By the name of the factor: deviations from the REML fixed effects and from the BLUPs of those
        other factors that are not nested in it. NaN where a level has no estimate of its own. A
        correlation of the residuals is left out of account.
    """
    return {name: estimate for name, (estimate, _) in _least_squares(reml).items()}


def _least_squares(reml: Estimate) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`no_pooling` and its standard errors."""
    design = reml.design
    w = np.ones(design.n) if design.weights is None else design.weights
    shares = {
        factor.name: (design.effect_columns(factor) * reml.ranef[factor.name].to_numpy()[factor.codes]).sum(axis=1)
        for factor in design.factors
    }
    found = {}
    for factor in design.factors:
        where, J = design.effects_of(factor), len(factor.levels)
        own = [other for other in design.factors if other is factor or finer(other, factor)]
        r = reml.residuals + sum(shares[other.name] for other in own)
        T = np.linalg.inv(reml.moments.E[where, where])
        Z = design.effect_columns(factor) @ T
        q = Z.shape[1]
        A, c = np.empty((J, q, q)), np.empty((J, q))
        for i in range(q):
            c[:, i] = np.bincount(factor.codes, w * Z[:, i] * r, minlength=J)
            for k in range(i + 1):
                A[:, i, k] = A[:, k, i] = np.bincount(factor.codes, w * Z[:, i] * Z[:, k], minlength=J)
        exists = np.linalg.eigvalsh(A)[:, 0] > SINGULAR * np.trace(A, axis1=1, axis2=2)
        b, error = np.full((J, q), np.nan), np.full((J, q), np.nan)
        b[exists] = np.linalg.solve(A[exists], c[exists][..., None])[..., 0] @ T.T
        error[exists] = reml.sigma * np.sqrt(np.einsum("ki,jil,kl->jk", T, np.linalg.inv(A[exists]), T))
        found[factor.name] = b, error
    return found


def finer(inner: Factor, outer: Factor) -> bool:
    """Whether a grouping factor is nested in another and has more levels than it."""
    return len(inner.levels) > len(outer.levels) and nested(inner.codes, outer.codes)


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
        The predictor of the random slopes, or where only intercepts vary the only numeric predictor;
        None if there is no such column, if it enters in any other way than linearly, or if the model has
        no random effects.
    """
    numeric = [
        str(column)
        for column in data.columns
        if pd.api.types.is_numeric_dtype(data[column]) and not pd.api.types.is_bool_dtype(data[column])
    ]
    slopes = list(dict.fromkeys(term.name for block in design.blocks for term in block.terms if term.name != "1"))
    wanted = slopes or [term.name for term in design.terms if term.name in numeric]
    if not design.factors or len(wanted) != 1 or wanted[0] not in numeric:
        return None
    name = wanted[0]
    for term in design.terms:
        parts = term.name.split(":")
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", term.name):
            continue
        if name not in parts or any(part in numeric for part in parts if part != name):
            return None
    return name


def shown_factor(design: Design) -> Factor:
    """Grouping factor whose levels are drawn: the first with a random slope, else the first of all."""
    slopes = [block.factor for block in design.blocks for term in block.terms if term.name != "1"]
    return [*slopes, *design.factors][0]


def group_lines(
    reml: Estimate, fit: Posterior, table: pd.DataFrame, data: pd.DataFrame, most: int = 12
) -> GroupLines | None:
    """Lines of complete, no and partial pooling through the data of some levels of one grouping factor.

    A line is the (weighted) least-squares line, along the predictor, through the fitted values of the rows
    of the level: of ordinary regression without groups, of the level on its own, of REML, of the
    posterior mean. Other predictors, the offset and the effects of other grouping factors are thereby
    held where they are in the level. Of several factors the first with a random slope is shown, or
    the first of all.

    Parameters
    ----------
    reml : Estimate
    fit : Posterior
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
    factor = shown_factor(design)
    x = data[name].to_numpy(dtype=float)
    means = {
        other.name: table.loc[table["group"] == other.name, "mean"].to_numpy().reshape(-1, len(other.levels)).T
        for other in design.factors
    }
    labels = list(reml.ranef[factor.name].columns)
    along = labels.index(name) if name in labels else 0
    order = np.argsort(means[factor.name][:, along], kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]

    rows = np.flatnonzero(np.isin(factor.codes, chosen))
    codes, X = factor.codes[rows], design.X[rows]
    tidy = fit.tidy()
    offset = 0.0 if design.offset is None else design.offset[rows]
    fitted = {
        COMPLETE: X @ reml.moments.ols + offset,
        NONE: design.y[rows],
        REML: reml.fitted[rows],
        POSTERIOR: X @ tidy.loc[tidy["effect"] == FIXED, "estimate"].to_numpy(dtype=float) + offset,
    }
    for other in design.factors:
        fitted[POSTERIOR] += (design.effect_columns(other, rows) * means[other.name][other.codes[rows]]).sum(axis=1)
    w = np.ones(len(rows)) if design.weights is None else design.weights[rows]
    made: list[tuple] = []
    shown: list[np.ndarray] = []
    for code in chosen:
        here = codes == code
        among = np.flatnonzero(here)
        shown.append(among[np.linspace(0, len(among) - 1, min(len(among), ROWS_SHOWN)).round().astype(int)])
        at, weight = x[rows][here], w[here]
        if np.ptp(at) == 0:
            continue
        low, high = at.min(), at.max()
        centre = np.average(at, weights=weight)
        spread = weight * (at - centre)
        for pooling, values in fitted.items():
            slope = spread @ values[here] / (spread @ (at - centre))
            start = np.average(values[here], weights=weight) + slope * (low - centre)
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
