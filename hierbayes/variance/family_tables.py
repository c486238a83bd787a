"""Intraclass correlations, R² and variance partition of responses that are not Gaussian, on two scales.

The definitions are those of `hierbayes.variance.tables`, the variances those of
`hierbayes.variance.family_components`. On the latent scale they say how much of the variance of what lies behind the
response the groups explain; on the response scale, of the variance of the response itself (of a single trial, for
binomial ones). The second is smaller where the response is 0 or 1, and both are right: a report has to say which one
it gives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from hierbayes.estimates import FamilyPosterior
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.variance.components import Variances
from hierbayes.variance.family_components import JOINTLY, OnScale, bayesian_r2, on_both_scales
from hierbayes.variance.tables import (
    MEANING,
    SUMMARY,
    check_factors,
    icc_of,
    partition_of,
    r2_of,
    shares_of,
    summarised,
)

Result = FamilyPosterior | LaplaceEstimate
VAST = 1e120
"""What is larger is a mean over draws with an infinite variance."""


def icc(result: Result, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
    """Intraclass correlations; arguments as of `hierbayes.FamilyFit.icc`."""
    check_factors(result.design, "ICC")
    table = _table(icc_of, ["icc", "group"], on_both_scales(result, approximation), conf_level)
    return table[table["group"] != JOINTLY].reset_index(drop=True)


def r2(result: Result, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
    """R², marginal, conditional and Bayesian; arguments as of `hierbayes.FamilyFit.r2`."""
    table = _table(r2_of, ["r2"], on_both_scales(result, approximation), conf_level)
    table["meaning"] = [MEANING[kind] for kind in table["r2"]]
    if isinstance(result, FamilyPosterior):
        values, reason = bayesian_r2(result)
        row = summarised(values, float(values.mean()), conf_level)
        table.loc[len(table)] = ["response", "bayesian", *row, reason or _words(table), MEANING["bayesian"]]
    return table


def _words(table: pd.DataFrame) -> str:
    return str(table.loc[table["scale"] == "response", "residual"].iloc[-1])


def variance_partition(result: Result, conf_level: float = 0.95, approximation: str = "trigamma") -> pd.DataFrame:
    """Variance by where it comes from; arguments as of `hierbayes.FamilyFit.variance_partition`."""
    columns, scales = ["component", "group"], on_both_scales(result, approximation)
    made = _table(partition_of, columns, scales, conf_level)
    shares = _table(shares_of, columns, scales, conf_level)[SUMMARY]
    named = {name: f"variance_{name}".removesuffix("_estimate").replace("_conf", "") for name in SUMMARY}
    shared = {name: f"share_{name}".removesuffix("_estimate").replace("_conf", "") for name in SUMMARY}
    residual = made.pop("residual")
    found = made.rename(columns=named).join(shares.rename(columns=shared)).join(residual)
    if isinstance(result, LaplaceEstimate):
        found.attrs["method"] = "ML"
    return found


def _table(
    statistic: Callable[[Variances], dict[tuple, np.ndarray]],
    columns: list[str],
    scales: dict[str, OnScale],
    conf_level: float,
) -> pd.DataFrame:
    """One row for each scale and key of a statistic."""
    rows = []
    for scale, found in scales.items():
        for key, draws in statistic(found.variances).items():
            figures = summarised(draws, float(draws.mean()), conf_level)
            shown = [np.inf if figure > VAST else figure for figure in figures]
            rows.append((scale, *key, *shown, found.residual))
    return pd.DataFrame(rows, columns=["scale", *columns, *SUMMARY, "residual"])
