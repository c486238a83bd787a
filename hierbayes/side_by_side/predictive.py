r"""Posterior predictive by group: what was observed in a level against what the posterior would give there.

For some draws of the posterior a new response is simulated for every row, in the same levels, as in
`hierbayes.checks.predictive_check`. Of a level the predictive distribution is that of a row of it drawn at random:
the new responses of all its rows together. Of zeros and ones, of successes among trials and of categories one row
says little: there it is the share of successes in the level, ``Σ y / Σ trials``, or the share of each category, new
against observed.

The same rows have been fitted, so that a little more than 95% of what was observed lies within 95% intervals even of
a right model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import display, names
from hierbayes.checks.predictive_check import replicates
from hierbayes.checks.quantile_residuals import binary
from hierbayes.design import Design, Factor
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import FamilyPosterior, Posterior

DRAWS = 400
"""Draws that are used by default."""
HELD = 20_000_000
"""Simulated numbers that are kept."""
ROWS_SHOWN = 60
"""Rows of a level that are kept as points; of more, so many evenly spaced ones."""
OVERALL_DRAWS, OVERALL_ROWS = 40, 2_000
"""Replicates of all rows together, and of how many rows, that are kept."""
QUANTILES = {"q2.5": 0.025, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q97.5": 0.975}
ROWS, PROPORTIONS = "rows", "proportions"


@dataclass(frozen=True, eq=False, repr=False)
class Predictive:
    """Observations of some levels and their predictive distributions.

    Made by `hierbayes.predictive`.

    Parameters
    ----------
    group, response : str
    kind : {"rows", "proportions"}
        What is predicted: a row of a level, or the share of successes or of each category in it.
    levels : pandas.DataFrame
        One row a level, from the smallest to the largest mean, and category: level, category ("" if there are none),
        rows, observed (mean of the rows, or share), q2.5, q25, q50, q75, q97.5 (of what is predicted), inside (how
        many of the observed values lie within the 95% interval), of (how many there are).
    rows : pandas.DataFrame
        Columns level, row (position in the data), observed; empty for proportions, thinned where levels have many
        rows.
    total : int
        Number of levels in the data.
    counts : bool
        Whether responses are whole numbers from 0.
    replicates : xarray.DataTree or None
        Some replicates of all rows (evenly spaced ones of many) in groups posterior_predictive and observed_data;
        None for proportions.
    """

    group: str
    response: str
    kind: str
    levels: pd.DataFrame
    rows: pd.DataFrame
    total: int
    counts: bool
    replicates: xr.DataTree | None

    @property
    def shown(self) -> int:
        """Number of levels in the tables."""
        return int(self.levels["level"].nunique())

    @property
    def inside(self) -> float:
        """Share of the observed values of the levels shown that lie within their 95% interval."""
        return float(self.levels["inside"].sum() / self.levels["of"].sum())

    def _repr_html_(self) -> str:
        return display.document(
            repr(self), display.table(self.levels, "Observed, and quantiles of what is predicted")
        )

    def __repr__(self) -> str:
        what = "rows" if self.kind == ROWS else "shares"
        return (
            f"Posterior predictive of {self.response} in {self.shown} of {self.total:,} levels of {self.group}: "
            f"{int(self.levels['inside'].sum()):,} of {int(self.levels['of'].sum()):,} {what} within the 95% interval"
        )


def predictive(
    fit: Posterior | FamilyPosterior,
    group: str | None = None,
    most: int = 24,
    draws: int | None = None,
    seed: int = 0,
) -> Predictive:
    """What was observed in the levels of a grouping factor, and what the posterior predicts for them.

    Parameters
    ----------
    fit : Fit or FamilyFit
    group : str, optional
        Grouping factor; by default the first.
    most : int, default 24
        Number of levels; if there are more, they are taken evenly from the smallest to the largest mean.
    draws : int, optional
        Draws to simulate from; by default 400, fewer of many rows.
    seed : int, default 0

    Returns
    -------
    Predictive

    Raises
    ------
    DataError
        If there is no grouping factor, or none of that name.
    HierbayesError
        If the response has no order, or was not observed as it is drawn (censored, truncated).
    ValueError
        If `draws` or `most` is not a positive whole number.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).fit(seed=1, progress=False)
    >>> found = hb.predictive(fit)
    >>> found.levels["level"].tolist()[:3], found.shown, bool(found.inside > 0.95)
    (['309', '310', '335'], 18, True)
    """
    for name, value in {"most": most, "draws": draws}.items():
        if value is not None and not (isinstance(value, (int, np.integer)) and value > 0):
            raise ValueError(f"{name} must be a positive whole number, not {value!r}.")
    design = fit.design
    factor = _factor(design, group)
    some, codes = _levels(design, factor, most)
    rows = np.flatnonzero(codes >= 0)
    apart = codes[rows]
    few = np.unique(np.linspace(0, design.n - 1, min(design.n, OVERALL_ROWS)).round().astype(int))
    held = max(1, min(DRAWS, HELD // len(rows))) if draws is None else int(draws)
    new: list[np.ndarray] = []
    overall: list[np.ndarray] = []
    for y in replicates(fit, held, np.random.default_rng(seed)):
        new.append(y[:, rows])
        if sum(len(y) for y in overall) < OVERALL_DRAWS:
            overall.append(y[:OVERALL_DRAWS, few])
    drawn, seen = np.concatenate(new), np.asarray(design.y, dtype=float)[rows]
    shares = _shares(design)
    found, points = [], []
    for k, code in enumerate(some):
        here = np.flatnonzero(apart == k)
        level = str(factor.levels[code])
        for category, per_draw, observed in _compared(design, shares, drawn[:, here], seen[here], rows[here]):
            quantiles = np.quantile(per_draw, list(QUANTILES.values()))
            inside = int(((observed >= quantiles[0]) & (observed <= quantiles[-1])).sum())
            found.append((level, category, len(here), observed.mean(), *quantiles, inside, len(observed)))
        if not shares:
            kept = here[np.linspace(0, len(here) - 1, min(len(here), ROWS_SHOWN)).round().astype(int)]
            points.append(pd.DataFrame({"level": level, "row": rows[kept], "observed": seen[kept]}))
    whole = bool(design.y.ndim == 1 and (design.y >= 0).all() and (design.y == np.floor(design.y)).all())
    return Predictive(
        factor.name,
        design.response,
        PROPORTIONS if shares else ROWS,
        pd.DataFrame(found, columns=["level", "category", "rows", "observed", *QUANTILES, "inside", "of"]),
        pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=["level", "row", "observed"]),
        len(factor.levels),
        whole and not shares and not design.family.exact,
        None if shares else _tree(design, np.concatenate(overall)[:OVERALL_DRAWS], few),
    )


def _shares(design: Design) -> bool:
    """Whether shares of a level are predicted, not its rows."""
    if design.family.exact:
        return False
    return design.family.ordinal or design.trials is not None or binary(design)


def _levels(design: Design, factor: Factor, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels that are shown, by their mean response; and of each row the place of its level among them, or -1."""
    J = len(factor.levels)
    means = np.zeros(J)
    if design.y.ndim == 1:
        trials = np.ones(design.n) if design.trials is None else design.trials
        means = np.bincount(factor.codes, design.y, J) / np.bincount(factor.codes, trials, J)
    order = np.argsort(means, kind="stable")
    some = order[np.unique(np.linspace(0, J - 1, min(most, J)).round().astype(int))]
    place = np.full(J, -1)
    place[some] = np.arange(len(some))
    return some, place[factor.codes]


def _compared(
    design: Design, shares: bool, drawn: np.ndarray, seen: np.ndarray, rows: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Category, new and observed values of a level."""
    if not shares:
        return [("", drawn, seen)]
    if design.categories is not None and design.family.ordinal:
        return [
            (str(category), (drawn == k).mean(axis=1), np.array([(seen == k).mean()]))
            for k, category in enumerate(design.categories)
        ]
    trials = len(rows) if design.trials is None else design.trials[rows].sum()
    return [("", drawn.sum(axis=1) / trials, np.array([seen.sum() / trials]))]


def _tree(design: Design, drawn: np.ndarray, rows: np.ndarray) -> xr.DataTree:
    """Replicates and observations in the groups that ArviZ reads."""
    dims = (names.CHAIN, names.DRAW, names.OBSERVATIONS)
    return xr.DataTree.from_dict(
        {
            "posterior_predictive": xr.Dataset({design.response: (dims, drawn[None])}),
            "observed_data": xr.Dataset({design.response: (dims[2:], np.asarray(design.y, dtype=float)[rows])}),
        }
    )


def _factor(design: Design, group: str | None) -> Factor:
    """The factor asked for, or the first, or the series of correlated residuals."""
    named = {factor.name: factor for factor in design.groupings}
    if not named:
        raise DataError(f"{design.formula!r} has no grouping factor; fit.predict() predicts its rows.")
    if group is not None and group not in named:
        raise DataError(f"There is no grouping factor {group!r}. {suggest(group, list(named))}")
    return named[group] if group is not None else next(iter(named.values()))
