r"""What a residual panel shows: residuals against fitted values, their quantiles, their spread, their levels.

Residuals are standard normal if the model is right, whichever fit they are of:

- REML or ML of a Gaussian response: standardised, each row against what all other rows predict
  (`hierbayes.checks.residuals`);
- a Gaussian posterior: ``Φ⁻¹`` of the leave-one-out probability integral transform;
- other families: quantile residuals (`hierbayes.checks.quantile_residuals`).

The envelope of the Q-Q plot is pointwise: the k-th smallest of n uniform numbers is Beta(k, n + 1 - k), and 95% of it
lies between the values of Φ⁻¹ at its quantiles. Of 100 points about five lie outside even if all is well, mostly
neighbours. Trends are means of neighbouring residuals (moving windows of a third of the rows, in the order of the
fitted values).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display
from hierbayes.checks.residuals import quantiles
from hierbayes.design import Design
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import Estimate, Posterior
from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit

STANDARDISED, QUANTILE, LEAVE_ONE_OUT = "standardised residual", "quantile residual", "leave-one-out residual"
EXPECTED_ROOT = 2.0**0.25 * math.gamma(0.75) / math.sqrt(math.pi)
"""Expectation of √|z| of a standard normal z."""
EDGE = 1e-9
"""Transforms closer to 0 or 1 are taken as this far away."""
PART, FEWEST, ALONG = 3, 7, 41
"""A window holds one in so many rows, at least so many; and a trend has so many points."""


@dataclass(frozen=True, eq=False, repr=False)
class ResidualPanel:
    """Residuals of a fit, ready to be drawn.

    Made by `hierbayes.residual_panel`.

    Parameters
    ----------
    kind : str
        What the residuals are, in words.
    group : str
        The grouping factor, empty if there is none.
    table : pandas.DataFrame
        Columns row (its label in the data), level, fitted, residual, root (√ of its absolute value). NaN where a row
        has no residual, or an ordinal response no fitted value.
    qq : pandas.DataFrame
        Columns theoretical, sample, low, high (pointwise 95% envelope).
    trend : pandas.DataFrame
        Columns fitted, residual, root: means of neighbours; empty where there are no fitted values.
    levels : pandas.DataFrame
        Columns level, rows, q25, q50, q75, low, high (smallest and largest), from the smallest to the largest median.
    expected_root : float
        Expectation of the root for standard normal residuals.
    """

    kind: str
    group: str
    table: pd.DataFrame
    qq: pd.DataFrame
    trend: pd.DataFrame
    levels: pd.DataFrame
    expected_root: float = EXPECTED_ROOT

    @property
    def outside(self) -> int:
        """Points of the Q-Q plot outside the envelope."""
        return int(((self.qq["sample"] < self.qq["low"]) | (self.qq["sample"] > self.qq["high"])).sum())

    def _repr_html_(self) -> str:
        return display.document(repr(self), display.table(self.levels, f"Residuals by {self.group or 'group'}"))

    def __repr__(self) -> str:
        residuals = self.table["residual"].dropna()
        mean = round(residuals.mean(), 2) + 0.0  # not -0.00
        return (
            f"{len(residuals):,} {self.kind}s: mean {mean:.2f}, sd {residuals.std():.2f}, from "
            f"{residuals.min():.2f} to {residuals.max():.2f}; {self.outside} outside the pointwise 95% envelope"
        )


def residual_panel(
    result: RemlFit | LaplaceFit | Fit | FamilyFit, group: str | None = None, seed: int = 0
) -> ResidualPanel:
    """Residuals of a fit against fitted values, normal quantiles and groups.

    Parameters
    ----------
    result : RemlFit, LaplaceFit, Fit or FamilyFit
    group : str, optional
        Grouping factor by which they are shown; by default the first.
    seed : int, default 0
        Of quantile residuals, which are simulated.

    Returns
    -------
    ResidualPanel

    Raises
    ------
    DataError
        If there is no such grouping factor.
    HierbayesError
        If the response has no order, or was not observed as it is drawn.

    Warns
    -----
    ParetoWarning
        Of a posterior, if Pareto k is too high for some rows.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    >>> hb.residual_panel(reml)
    180 standardised residuals: mean 0.00, sd 1.01, from -4.57 to 5.53; 45 outside the pointwise 95% envelope
    """
    design = result.design
    named = {factor.name: factor for factor in design.groupings}
    if group is not None and group not in named:
        raise DataError(f"There is no grouping factor {group!r}. {suggest(group, list(named))}")
    factor = named[group] if group is not None else next(iter(named.values()), None)
    kind, table = _residuals(result, seed)
    table["level"] = "" if factor is None else factor.levels.astype(str)[factor.codes]
    table["root"] = np.sqrt(table["residual"].abs())
    table = table[["row", "level", "fitted", "residual", "root"]]
    qq = quantiles(table["residual"].to_numpy(dtype=float))
    n, k = len(qq), np.arange(1, len(qq) + 1)
    for column, p in {"low": 0.025, "high": 0.975}.items():
        qq[column] = stats.norm.ppf(stats.beta.ppf(p, k, n + 1 - k))
    return ResidualPanel(
        kind, "" if factor is None else factor.name, table, qq, _trend(table), _by_level(table, factor is not None)
    )


def _residuals(result: RemlFit | LaplaceFit | Fit | FamilyFit, seed: int) -> tuple[str, pd.DataFrame]:
    """What the residuals are; row, fitted and residual of every row."""
    if isinstance(result, Posterior):
        pit = result.loo_pit().to_numpy().ravel()
        values = stats.norm.ppf(np.clip(pit, EDGE, 1.0 - EDGE))
        fitted = result.predict()["estimate"].to_numpy()
        return LEAVE_ONE_OUT, pd.DataFrame({"row": _rows(result.design), "fitted": fitted, "residual": values})
    if isinstance(result, Estimate):
        found = result.residuals_table()
        return STANDARDISED, found[["row", "fitted"]].assign(residual=found["standardised"])
    found = result.residuals_table(seed)
    return QUANTILE, found[["row", "fitted"]].assign(residual=found["quantile"])


def _rows(design: Design) -> np.ndarray:
    return np.arange(design.n) if design.row_labels is None else np.asarray(design.row_labels)


def _trend(table: pd.DataFrame) -> pd.DataFrame:
    """Moving means in the order of the fitted values."""
    known = table[["fitted", "residual", "root"]].dropna().sort_values("fitted").to_numpy(dtype=float)
    wide = max(FEWEST, len(known) // PART)
    if len(known) < 2 * FEWEST or np.ptp(known[:, 0]) == 0.0:
        return pd.DataFrame(columns=["fitted", "residual", "root"], dtype=float)
    sums = np.vstack([np.zeros(3), np.cumsum(known, axis=0)])
    begins = np.unique(np.linspace(0, len(known) - wide, ALONG).round().astype(int))
    return pd.DataFrame((sums[begins + wide] - sums[begins]) / wide, columns=["fitted", "residual", "root"])


def _by_level(table: pd.DataFrame, grouped: bool) -> pd.DataFrame:
    """Quartiles and range of the residuals of every level."""
    columns = ["level", "rows", "q25", "q50", "q75", "low", "high"]
    if not grouped:
        return pd.DataFrame(columns=columns)
    residuals = table.dropna(subset=["residual"]).groupby("level", sort=False)["residual"]
    found = pd.DataFrame({f"q{p}": residuals.quantile(p / 100) for p in (25, 50, 75)})
    found = found.assign(rows=residuals.size(), low=residuals.min(), high=residuals.max())
    return found.sort_values("q50", kind="stable").reset_index()[columns]
