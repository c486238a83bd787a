r"""What simulated studies add up to.

Power is the share of significant studies among those that came to an end, with Wilson's interval (Wilson 1927,
Journal of the American Statistical Association 22, 209) and the Monte Carlo standard error ``√(p (1 - p)/n)``.
Studies that failed are counted apart: ``power_min`` and ``power_max`` are what power would be if none, or all, of
them had been significant. The interval of the mean width is Student's.

Of the significant studies the type S rate is the share whose estimate has the wrong sign, and the exaggeration the
mean of their estimates' size over that of the truth, both as seen from the null hypothesis (Gelman & Carlin 2014,
Perspectives on Psychological Science 9, 641).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display
from hierbayes.errors import HierbayesError
from hierbayes.study.grid import whole
from hierbayes.study.plan import Plan
from hierbayes.study.sample_size import sample_sizes
from hierbayes.study.verdict import Judge

TABLE = [
    "n", "simulations", "failed", "singular", "power", "mc_se", "conf_low", "conf_high", "power_min", "power_max",
    "truth", "estimate", "bias", "bias_se", "coverage", "coverage_low", "coverage_high", "width", "width_low",
    "width_high", "type_s", "exaggeration",
]  # fmt: skip
"""Columns of the table of designs, after those that say how many groups and rows there are."""
LEVEL = 0.95
"""Of the Monte Carlo intervals."""


@dataclass(frozen=True, eq=False, repr=False)
class Power:
    """How often studies would find what they look for.

    Made by `hierbayes.power`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a design: its numbers of groups and rows; n (rows in all); simulations that were made, failed (came to
        no conclusion), singular; power, its Monte Carlo error and interval; power_min and power_max, its bounds for
        whatever the failed ones would have found; truth, mean estimate and bias; coverage and mean width of the
        interval of the study, 1 - alpha, with their Monte Carlo intervals; type_s and exaggeration among the
        significant ones.
    simulations : pandas.DataFrame
        One row a simulated study: point (row of the table), number, truth, significant, p_value, estimate, std_error,
        df, conf_low, conf_high, singular, failure.
    seed : int
    asked : str
        What was asked, in words.
    target : str
        ``"power"``, or ``"assurance"`` where the parameters are drawn anew for every study.
    """

    table: pd.DataFrame
    simulations: pd.DataFrame
    seed: int
    asked: str
    target: str
    plans: tuple[Plan, ...] = field(repr=False)
    judges: tuple[Judge, ...] = field(repr=False)
    interrupted: bool = False

    def data(self, number: int, point: int = 0) -> pd.DataFrame:
        """The rows of a simulated study, to be looked at or fitted by hand.

        Parameters
        ----------
        number : int
        point : int, default 0
            Row of the table.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ValueError
            If there is no such study.
        """
        number, point = whole(number, "number", 0), whole(point, "point", 0)
        if point >= len(self.plans):
            raise ValueError(f"point={point} is no row of the table, which has {len(self.plans)}, counted from 0.")
        return self.plans[point].study(number).specification.data

    @property
    def failures(self) -> pd.DataFrame:
        """How many studies failed for which reason: columns point, failure, count."""
        failed = self.simulations.dropna(subset="failure")
        return failed.groupby(["point", "failure"]).size().rename("count").reset_index()

    def sample_size(self, power: float = 0.8) -> pd.DataFrame:
        """The smallest design that has some power, between those simulated.

        Parameters
        ----------
        power : float, default 0.8

        Returns
        -------
        pandas.DataFrame
            See `hierbayes.study.sample_size.sample_sizes`.

        Raises
        ------
        HierbayesError
            If fewer than three sizes were simulated.
        ValueError
            If `power` is not between 0 and 1.
        """
        return sample_sizes(self.table, sizes_of(self.table), power, getattr(self.judges[0], "alpha", 0.05))

    def _repr_html_(self) -> str:
        said = display.said(("note", remark) for remark in self.remarks)
        return display.document(f"{self.target.capitalize()} of the {self.asked}", display.table(self._shown), said)

    @property
    def _shown(self) -> pd.DataFrame:
        """The columns of the table that are shown."""
        shown = [*sizes_of(self.table), "n", "simulations", "failed", "singular", "power", "conf_low", "conf_high",
                 "bias", "coverage", "width", "type_s", "exaggeration"]  # fmt: skip
        return self.table[shown].rename(columns={"power": self.target}).dropna(axis=1, how="all")

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"{self.target.capitalize()} of the {self.asked}",
                self._shown.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.3g}"),
                *self.remarks,
            ]
        )

    @property
    def remarks(self) -> list[str]:
        """What must be said beside the table."""
        said = [f"{LEVEL:.0%} intervals are of the Monte Carlo error; seed {self.seed}"]
        failed = int(self.table["failed"].sum())
        if failed:
            worst = self.table.loc[self.table["failed"].idxmax()]
            where = " of the design with most of them" if len(self.table) > 1 else ""
            said.append(
                f"{failed} of {int(self.table['simulations'].sum())} simulations failed and are not counted as not "
                f"significant; whatever they would have found, the {self.target}{where} is between "
                f"{worst['power_min']:.3g} and {worst['power_max']:.3g}"
            )
        if self.interrupted:
            said.append("interrupted: there are fewer simulations than were asked for")
        return said


def sizes_of(table: pd.DataFrame) -> list[str]:
    """Columns of the table that say how large the designs are."""
    return list(table.columns[: list(table.columns).index(TABLE[0])])


def tabulate(
    sizes: Sequence[Mapping[str, Any]], ns: Sequence[int], simulations: pd.DataFrame, null: float
) -> pd.DataFrame:
    """Add simulated studies up.

    Parameters
    ----------
    sizes : sequence of mapping
        Groups and rows of every design.
    ns : sequence of int
        Rows in all of every design.
    simulations : pandas.DataFrame
        As of `Power`.
    null : float
        Value of the effect under the hypothesis.

    Returns
    -------
    pandas.DataFrame
    """
    by_point = dict(list(simulations.groupby("point")))
    rows = [{**size, "n": n, **_row(by_point.get(point, simulations.iloc[:0]), null)}
            for point, (size, n) in enumerate(zip(sizes, ns, strict=True))]  # fmt: skip
    return pd.DataFrame(rows)[[*sizes[0], *TABLE]]


def _row(made: pd.DataFrame, null: float) -> dict[str, Any]:
    ended = made[made["failure"].isna()]
    found = ended[ended["significant"]]
    k, n, total = len(found), len(ended), len(made)
    power, low, high = proportion(k, n)
    error = ended["estimate"] - ended["truth"]
    inside = (ended["conf_low"] <= ended["truth"]) & (ended["truth"] <= ended["conf_high"])
    judged = (ended["conf_low"].notna() & ended["truth"].notna()).to_numpy()
    coverage = proportion(int(inside[judged].sum()), int(judged.sum()))
    width = ended["conf_high"] - ended["conf_low"]
    off = stats.t.ppf(0.5 + 0.5 * LEVEL, width.count() - 1) * width.sem()
    true, seen = found["truth"] - null, found["estimate"] - null
    with_side = true != 0.0
    type_s = (np.sign(seen) == -np.sign(true))[with_side].mean() if _known(seen[with_side]) else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        size = true.abs().mean()
        exaggeration = seen.abs().mean() / size if size > 0.0 else np.nan
    return {
        "simulations": total,
        "failed": total - n,
        "singular": int(ended["singular"].sum()),
        "power": power,
        "mc_se": np.sqrt(power * (1.0 - power) / n) if n else np.nan,
        "conf_low": low,
        "conf_high": high,
        "power_min": k / total if total else np.nan,
        "power_max": (k + total - n) / total if total else np.nan,
        "truth": ended["truth"].mean(),
        "estimate": ended["estimate"].mean(),
        "bias": error.mean(),
        "bias_se": error.sem(),
        "coverage": coverage[0],
        "coverage_low": coverage[1],
        "coverage_high": coverage[2],
        "width": width.mean(),
        "width_low": width.mean() - off,
        "width_high": width.mean() + off,
        "type_s": type_s,
        "exaggeration": exaggeration,
    }


def _known(values: pd.Series) -> bool:
    return bool(len(values) and values.notna().all())


def proportion(k: int, n: int) -> tuple[float, float, float]:
    """A share and Wilson's interval for it.

    Examples
    --------
    >>> [round(value, 3) for value in proportion(8, 10)]
    [0.8, 0.49, 0.943]
    """
    if not n:
        return np.nan, np.nan, np.nan
    interval = stats.binomtest(k, n).proportion_ci(LEVEL, method="wilson")
    return k / n, float(interval.low), float(interval.high)


def check_any(simulations: pd.DataFrame) -> None:
    """Refuse studies of which none came to an end.

    Raises
    ------
    HierbayesError
        With the reason that occurred most.
    """
    if len(simulations) and simulations["failure"].notna().all():
        reason = simulations["failure"].value_counts().index[0]
        raise HierbayesError(f"All {len(simulations)} simulations failed, most of them because: {reason}")
