r"""Sensitivity to responses that are missing not at random: pattern-mixture delta adjustment.

A likelihood of the rows that have a response is right if responses are missing at random. To see what an answer owes
to that, responses are imputed from the fitted model (`hierbayes.clusters.imputation`), those of the missing rows are
shifted by δ residual standard deviations (each row by its own, σ/√w_i, with weights or known standard errors), the
completed data are fitted and combined by Rubin's rules (Rubin 1977, Journal of the American Statistical
Association 72, 538; Carpenter & Kenward 2013, Multiple Imputation and its Application, chapter 10). At δ = 0 the
answer is that of the rows that were observed, but for Monte Carlo error. The degrees of freedom of complete data are
taken as Satterthwaite's of the observed rows, somewhat fewer. All δ share the same draws, so that differences between
them have next to none.

The tipping point is the δ nearest to zero at which an interval begins, or ceases, to contain zero: linear
interpolation between the δ of the table of that end of the interval which crosses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import display
from hierbayes.clusters.imputation import Imputed
from hierbayes.clusters.rubin import pool
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FIXED, checked
from hierbayes.inference.contrasts import coefficient_tests, inference
from hierbayes.moments import take_moments
from hierbayes.refits import Refitter

COLUMNS = [
    "delta", "shift", "term", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high", "lost",
    "monte_carlo_error",
]  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """What estimates become if the missing responses differ from what the model expects.

    Made by `Missing.sensitivity`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per δ and coefficient: delta (in residual sd of a row), shift (in units of the response; with weights
        or known standard errors the mean over the rows shifted, each by delta of its own sd), term, estimate,
        std_error, statistic, df, p_value, conf_low, conf_high, lost (share of the variance due to missing responses)
        and monte_carlo_error of the estimate.
    complete_case : pandas.DataFrame
        Tests of the REML fit of the rows that have a response: term (``contrast``), estimate, std_error, …
    tipping : pandas.DataFrame
        One row a coefficient: term, contains_zero (of the interval at δ = 0), delta and shift of the tipping point,
        NaN if there is none in the range.
    imputed : int
        Rows whose response was imputed.
    shifted : int
        Rows of these that were shifted.
    imputations : int
        Completed data sets.
    failed : int
        Imputations and refits that did not converge and were left out.
    """

    table: pd.DataFrame
    complete_case: pd.DataFrame
    tipping: pd.DataFrame
    imputed: int
    shifted: int
    imputations: int
    failed: int

    def _repr_html_(self) -> str:
        known = {"imputed": self.imputed, "shifted": self.shifted, "times": self.imputations, "failed": self.failed}
        shown = ["delta", "term", "estimate", "std_error", "df", "p_value", "conf_low", "conf_high"]
        return display.document(
            "Sensitivity to missing responses",
            display.facts(known),
            display.table(
                self.table[shown], "Estimates, missing responses shifted by delta residual sds", longest=100
            ),
            display.table(self.tipping, "Tipping points"),
        )

    def __repr__(self) -> str:
        shown = ["delta", "term", "estimate", "std_error", "df", "p_value", "conf_low", "conf_high"]
        table = self.table[shown].to_string(index=False, float_format=lambda v: f"{v:.4g}")
        tipping = self.tipping.to_string(index=False, na_rep="none", float_format=lambda v: f"{v:.3g}")
        return (
            f"{self.imputed} responses imputed {self.imputations} times, {self.shifted} of them shifted by delta "
            f"residual sds ({self.failed} failed)\n{table}\nTipping points\n{tipping}"
        )


def delta_adjustment(
    imputed: Imputed, deltas: Sequence[float], shifted: np.ndarray, method: str, conf_level: float
) -> Sensitivity:
    """Shift imputed responses, refit, and combine.

    Parameters
    ----------
    imputed : Imputed
    deltas : sequence of float
        In residual standard deviations of the row, by the fit of the observed rows; zero is added.
    shifted : (k,) bool array
        Which of the imputed rows are shifted.
    method : {"REML", "ML"}
    conf_level : float

    Returns
    -------
    Sensitivity

    Raises
    ------
    HierbayesError
        If fewer than two completed data sets could be fitted.
    """
    checked(conf_level)
    design = imputed.design
    sd = np.full(int(imputed.absent.sum()), imputed.complete_case.sigma)
    if design.weights is not None:
        sd = sd / np.sqrt(design.weights[imputed.absent])
    unit = float(sd[shifted].mean())
    refitter = Refitter(design, take_moments(design))
    grid = sorted({0.0, *map(float, deltas)})
    rows, failed = [], imputed.failed
    seen = imputed.complete_case
    observed = coefficient_tests(seen, inference(seen), conf_level)
    for delta in grid:
        Y = imputed.responses(delta * sd * shifted)
        found = refitter.all(Y, method)
        good = found.converged.to_numpy()
        failed += int((~good).sum())
        if good.sum() < 2:
            raise HierbayesError("Fewer than two completed data sets could be fitted; simplify the random effects.")
        for label, df in zip(design.labels, observed["df"], strict=True):
            key = (FIXED, "", label)
            q, se = found.estimates[key].to_numpy()[good], found.std_errors[key].to_numpy()[good]
            pooled = pool(q, se**2, df)
            statistic = pooled.estimate / pooled.std_error
            numbers = (pooled.std_error, statistic, pooled.df, pooled.p_value, *pooled.interval(conf_level))
            rows.append(
                (delta, delta * unit, label, pooled.estimate, *numbers, pooled.lost, pooled.monte_carlo_error)
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Sensitivity(
        table,
        observed,
        pd.DataFrame([_tipping(part, label, unit) for label, part in table.groupby("term", sort=False)]),
        int(imputed.absent.sum()),
        int(shifted.sum()),
        len(imputed.draws),
        failed,
    )


def _tipping(part: pd.DataFrame, label: str, unit: float) -> dict[str, object]:
    """The δ nearest to zero at which zero enters or leaves the interval."""
    delta, low, high = (part[name].to_numpy() for name in ("delta", "conf_low", "conf_high"))
    start = int(np.flatnonzero(delta == 0.0)[0])
    side = (low > 0.0).astype(int) - (high < 0.0).astype(int)
    found = []
    for step in (-1, 1):
        k = start
        while 0 <= k + step < len(delta) and side[k + step] == side[start]:
            k += step
        if not 0 <= k + step < len(delta):
            continue
        crossing = [
            delta[k] + (delta[k + step] - delta[k]) * end[k] / (end[k] - end[k + step])
            for end in (low, high)
            if end[k] * end[k + step] < 0.0
        ]
        found += crossing or [delta[k + step]]
    nearest = min(found, key=abs, default=np.nan)
    return {"term": label, "contains_zero": bool(side[start] == 0), "delta": nearest, "shift": nearest * unit}
