r"""Correlation of two variables in clustered data: overall, within groups, and between the means of groups.

Sums of products around the grand mean fall into two parts, exactly (Robinson 1950, American Sociological Review 15,
351):

    Σ_ij (x_ij - x̄)(y_ij - ȳ) = Σ_j n_j (x̄_j - x̄)(ȳ_j - ȳ) + Σ_ij (x_ij - x̄_j)(y_ij - ȳ_j).

The correlation within groups is that of the deviations from the group means, the one between groups that of the group
means, each mean counting once. Neither says anything of the other. With k means estimated for the deviations (one a
group), N rows and ν = N - k - 1 degrees of freedom,

    slope      b = S_xy / S_xx,   se = √( (S_yy - b S_xy) / (ν S_xx) ),   t_ν
    interval   tanh( artanh r ± z / √(ν - 1) )

(Fisher 1924, Metron 3, 329, for a correlation with variables held: k = 1 gives the usual n - 3). Intervals and tests
of the row "overall" take rows as independent, which in clustered data they are not: they are what the naive analysis
prints.

Simpson's paradox needs two signs that are both established. The p-value of a reversal is the larger of the one-sided
p-values of the overall and of the within slope, an intersection-union test (Berger 1982, Technometrics 24, 295).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display
from hierbayes.clusters.columns import complete_rows
from hierbayes.errors import DataError
from hierbayes.estimates import checked

OVERALL, WITHIN, BETWEEN, GROUP = "overall", "within", "between", "group"
COLUMNS = [
    "level", "group", "n", "correlation", "conf_low", "conf_high", "slope", "std_error", "statistic", "df", "p_value",
    "mean_x", "mean_y",
]  # fmt: skip
"""Columns of `Correlations.table`; the interval is that of the correlation."""
FLAT = 1e-24
"""A mean square below this fraction of the largest square is rounding."""


@dataclass(frozen=True, eq=False, repr=False)
class Correlations:
    """Correlation of two variables at every level.

    Made by `correlations`.

    Attributes
    ----------
    table : pandas.DataFrame
        Rows overall, within, between and one a group; columns level, group, n (rows, or groups for the level
        "between"), correlation with conf_low and conf_high (Fisher's z), slope of y on x with std_error, statistic,
        df and p_value (t test, two-sided), mean_x and mean_y. NaN where a group has too few rows or no variation.
    covariance : pandas.DataFrame
        Rows xx, xy and yy; columns total, between, within: sums of products over n - 1. Total is between plus within.
    reverses : bool
        Whether the overall and the within slope have opposite signs, and the evidence for both is better than the
        level.
    p_reversal : float
        Of that evidence; NaN if the signs agree.
    verdict : str
        The same in a sentence, with figures.
    x, y, group : str
        Names of the columns.
    """

    table: pd.DataFrame
    covariance: pd.DataFrame
    reverses: bool
    p_reversal: float
    verdict: str
    x: str
    y: str
    group: str

    def _repr_html_(self) -> str:
        table = display.table(self.table[COLUMNS[:-2]], f"Overall, within and between {self.group}, and in each")
        return display.document(f"{self.y} and {self.x}", self.verdict, table)

    def __repr__(self) -> str:
        shown = self.table[COLUMNS[:-2]].to_string(index=False, na_rep="", float_format=lambda v: f"{v:.3g}")
        return f"{shown}\n{self.verdict}"


def correlations(data: pd.DataFrame, x: str, y: str, group: str, conf_level: float = 0.95) -> Correlations:
    """Correlate two variables overall, within groups, between group means, and in every group.

    Parameters
    ----------
    data : pandas.DataFrame
    x, y : str
        Numeric columns.
    group : str
        Column of the clusters.
    conf_level : float, default 0.95
        Of the intervals, and of the verdict.

    Returns
    -------
    Correlations
        See the head of this file for the formulas.

    Raises
    ------
    DataError
        For unknown columns, columns that are no numbers or do not vary, or fewer than two groups.
    ValueError
        If `conf_level` is not between 0 and 1.

    Warns
    -----
    RowsDropped
        If rows have missing values.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.correlations(hb.load_data("reversal"), "x", "y", "group")
    >>> found.table.loc[:2, ["level", "n", "correlation", "slope"]].round(2)
         level    n  correlation  slope
    0  overall  200         0.76   0.85
    1   within  200        -0.56  -0.71
    2  between    8         0.99   1.08
    >>> found.reverses
    True
    """
    checked(conf_level)
    if len({x, y, group}) < 3:
        raise DataError("x, y and group must be three different columns.")
    rows = complete_rows(data, [x, y], [group])
    for name in (x, y):
        if np.ptp(rows[name].to_numpy()) == 0:
            raise DataError(f"Column {name!r} has the same value in every row and correlates with nothing.")
    grouped = rows.groupby(group, observed=True)[[x, y]]
    if grouped.ngroups < 2:
        raise DataError(f"Column {group!r} has one group; within and between need at least two.")
    means = grouped.transform("mean")
    xy, centred, between = (frame[[x, y]].to_numpy() for frame in (rows, rows - means, means))
    group_means = grouped.mean().to_numpy()
    lines = [
        (OVERALL, np.nan, *_line(xy, 1, conf_level)),
        (WITHIN, np.nan, *_line(centred + xy.mean(axis=0), len(group_means), conf_level)),
        (BETWEEN, np.nan, *_line(group_means, 1, conf_level)),
    ]
    lines += [(GROUP, str(label), *_line(part.to_numpy(), 1, conf_level)) for label, part in grouped]
    table = pd.DataFrame(lines, columns=COLUMNS)
    pairs = {"total": xy - xy.mean(axis=0), "between": between - xy.mean(axis=0), "within": centred}
    products = {name: (d[:, [0, 0, 1]] * d[:, [0, 1, 1]]).sum(axis=0) / (len(xy) - 1) for name, d in pairs.items()}
    covariance = pd.DataFrame(products, index=["xx", "xy", "yy"])
    return Correlations(table, covariance, *_verdict(table, x, y, group, conf_level), x, y, group)


def _line(xy: np.ndarray, means: int, level: float) -> tuple[float, ...]:
    """Rows, correlation with interval, slope with test, and means, of (n, 2) values with so many means estimated."""
    n, df = len(xy), len(xy) - means - 1
    centre = xy.mean(axis=0)
    deviations = xy - centre
    (sxx, sxy), (_, syy) = deviations.T @ deviations
    if n < 2 or not sxx > FLAT * n * np.abs(xy[:, 0]).max() ** 2:
        return (n, *[np.nan] * 8, *centre)
    slope = sxy / sxx
    r = np.clip(sxy / np.sqrt(sxx * syy), -1.0, 1.0) if syy > FLAT * n * np.abs(xy[:, 1]).max() ** 2 else np.nan
    if df < 1:
        return (n, r, np.nan, np.nan, slope, *[np.nan] * 4, *centre)
    low = high = np.nan
    if df > 1 and abs(r) < 1.0:
        reach = stats.norm.ppf(0.5 + 0.5 * level) / np.sqrt(df - 1.0)
        low, high = np.tanh(np.arctanh(r) + reach * np.array([-1.0, 1.0]))
    se = np.sqrt(max(syy - slope * sxy, 0.0) / (df * sxx))
    t = slope / se if se > 0 else np.nan
    return n, r, low, high, slope, se, t, float(df), 2.0 * stats.t.sf(abs(t), df), *centre


def _verdict(table: pd.DataFrame, x: str, y: str, group: str, level: float) -> tuple[bool, float, str]:
    """Whether the sign reverses, the p-value, and the sentence."""
    overall, within = table.iloc[0], table.iloc[1]
    groups = table[table["level"] == GROUP]["slope"].dropna()

    def shown(row: pd.Series) -> str:
        return f"{row['correlation']:.2f} [{row['conf_low']:.2f}, {row['conf_high']:.2f}]"

    signs = np.sign([overall["slope"], within["slope"]])
    like = int((np.sign(groups) == signs[1]).sum())
    figures = (
        f"the correlation of {x} and {y} is {shown(overall)} overall and {shown(within)} within {group} "
        f"(of that sign in {like} of {len(groups)} groups)"
    )
    if signs[0] * signs[1] >= 0 or not np.isfinite(within["p_value"]):
        none = within["conf_low"] <= 0.0 <= within["conf_high"]
        tail = "; within groups there may be none" if none else ""
        return False, np.nan, f"No reversal: {figures}{tail}."
    p = 0.5 * float(max(overall["p_value"], within["p_value"]))
    if p < 0.5 * (1.0 - level):
        return True, p, f"The sign reverses: {figures}; one-sided p for both signs {p:.2g}."
    return False, p, f"The signs differ, but a reversal is not established: {figures}; one-sided p for both {p:.2g}."
