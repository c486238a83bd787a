r"""The size of a study that has the power wanted, from simulations of several sizes.

The power of a two-sided test is, but for the tiny share of wrong signs, ``Φ(δ/se - z)``, z the quantile of its level.
Over the number m of groups of the only factor, the standard error falls with √m, and the curve is ``Φ(a + b √m)``; a
is free, for t tests of few groups have a larger z. More rows in a group, or more levels of one factor of several, do
nothing about the variation of the other groups: ``se²/δ² = A + B/m`` with A, B ≥ 0, and the curve
``Φ(1/√(A + B/m) - z)`` levels off below 1 (Snijders & Bosker 1993, Journal of Educational Statistics 18, 237).

The curve is fitted by maximum likelihood to the numbers of significant studies at the sizes simulated. The interval
has the sizes at which the fitted curve is not clearly above or below the power wanted, which for the first curve is
Fieller's (1954, Journal of the Royal Statistical Society B 16, 175). A deviance too large for the curve, as χ²,
widens the interval and is said; over rows, where power can rise faster, as that of a slope over times that the rows
go on with, the size is then read off ``a + b √m`` through the two designs between which the power lies. Nothing is
extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import minimize, nnls

from hierbayes.errors import HierbayesError

LEVEL = 0.95
DOUBT = 0.01
"""A p-value of the deviance below this says that the curve does not fit."""
BETWEEN = "the curve does not fit well; read off the two designs on either side of the power"


def sample_sizes(table: pd.DataFrame, sizes: list[str], power: float, alpha: float = 0.05) -> pd.DataFrame:
    """Interpolate the size at which the power is as wanted, along every size that varies.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `hierbayes.study.result.Power`.
    sizes : list of str
        Its columns that say how large the designs are.
    power : float
    alpha : float, default 0.05
        Level of the test.

    Returns
    -------
    pandas.DataFrame
        One row for every curve of three sizes or more: the sizes that are the same along it, varied (which one is
        not), needed (its smallest whole number; NaN if no size simulated is large enough, or all are), conf_low,
        conf_high (Monte Carlo interval, 95%), note.

    Raises
    ------
    HierbayesError
        If there is no such curve.
    ValueError
        If `power` is not between 0 and 1.

    Examples
    --------
    >>> table = pd.DataFrame({"groups": [10, 20, 30, 40], "power": [0.3, 0.55, 0.75, 0.85], "simulations": 1000,
    ...                       "failed": 0})
    >>> sample_sizes(table, ["groups"], 0.8)[["varied", "needed", "conf_low", "conf_high"]]
       varied  needed  conf_low  conf_high
    0  groups      35        34         37
    """
    if not 0.0 < power < 1.0:
        raise ValueError(f"power is between 0 and 1, not {power!r}.")
    found = []
    for varied in sizes:
        others = [name for name in sizes if name != varied]
        if not pd.api.types.is_numeric_dtype(table[varied]):
            continue
        curves = table.groupby(others, sort=False) if others else [((), table)]
        for fixed, curve in curves:
            done = curve[curve["power"].notna()]
            if done[varied].nunique() >= 3:
                z = None if varied == "groups" else float(stats.norm.ppf(1.0 - 0.5 * alpha))
                low, needed, high, note = _crossing(done, varied, power, z)
                found.append({**dict(zip(others, fixed, strict=True)), "varied": varied, "needed": needed,
                              "conf_low": low, "conf_high": high, "note": note})  # fmt: skip
    if not found:
        raise HierbayesError(
            "A size can be read off a curve of three or more: give groups= or rows= a list such as [10, 20, 30, 40]."
        )
    return pd.DataFrame(found).astype(dict.fromkeys(["needed", "conf_low", "conf_high"], "Int64"))


class _Falling:
    """Φ⁻¹ of the power where the standard error falls with √m: a + b √m."""

    def start(self, m: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """Parameters by least squares."""
        return np.linalg.lstsq(self.slopes(np.zeros(2), m), eta, rcond=None)[0]

    def line(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Φ⁻¹ of the power at sizes (n,)."""
        return self.slopes(x, m) @ x

    def slopes(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Its derivatives (n, 2)."""
        return np.column_stack([np.ones(len(m)), np.sqrt(m)])


@dataclass(frozen=True)
class _Levelling:
    """Φ⁻¹ of the power where something of the standard error stays: 1/√(A + B/m) - z; x has the roots of A and B."""

    z: float

    def start(self, m: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """Parameters by least squares of 1/(Φ⁻¹ + z)²."""
        inverse = 1.0 / np.maximum(eta + self.z, 0.05) ** 2
        scale = 1.0 / inverse
        return np.sqrt(nnls(scale[:, None] * np.column_stack([np.ones(len(m)), 1.0 / m]), scale * inverse)[0])

    def line(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Φ⁻¹ of the power at sizes (n,)."""
        return self._variance(x, m) ** -0.5 - self.z

    def slopes(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Its derivatives (n, 2) by A and B, which are not zero where these are."""
        return -0.5 * self._variance(x, m)[:, None] ** -1.5 * np.column_stack([np.ones(len(m)), 1.0 / m])

    def _variance(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        return np.maximum(x[0] ** 2 + x[1] ** 2 / m, 1e-6)


def _crossing(curve: pd.DataFrame, varied: str, power: float, z: float | None) -> tuple[float, float, float, str]:
    """Interval and estimate of the size at which the fitted curve has the power, in whole numbers."""
    m = curve[varied].to_numpy(dtype=float)
    n = (curve["simulations"] - curve["failed"]).to_numpy(dtype=float)
    k = curve["power"].to_numpy() * n
    law = _Falling() if z is None else _Levelling(z)

    def deviance(x: np.ndarray) -> float:
        p = np.clip(stats.norm.cdf(law.line(x, m)), 1e-12, 1.0 - 1e-12)
        return -2.0 * float(k @ np.log(p) + (n - k) @ np.log1p(-p))

    start = law.start(m, stats.norm.ppf((k + 0.5) / (n + 1.0)))
    x = minimize(deviance, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-8, "maxiter": 4000}).x
    eta, A = law.line(x, m), law.slopes(x, m)
    p = np.clip(stats.norm.cdf(eta), 1e-9, 1.0 - 1e-9)
    information = (A * (n * stats.norm.pdf(eta) ** 2 / (p * (1.0 - p)))[:, None]).T @ A
    observed = np.clip(k / n, 1e-12, 1.0 - 1e-12)
    excess = deviance(x) + 2.0 * float(k @ np.log(observed) + (n - k) @ np.log1p(-observed))
    df = len(m) - 2
    doubt = bool(df) and stats.chi2.sf(excess, df) < DOUBT
    if doubt and z is not None:
        order = np.argsort(m)
        across = np.flatnonzero(np.diff((k / n)[order] >= power))
        if len(across) == 1:
            pair = curve.iloc[order[across[0] : across[0] + 2]]
            return *_crossing(pair, varied, power, None)[:3], BETWEEN
    vcov = np.linalg.pinv(information, hermitian=True) * (max(1.0, excess / df) if doubt else 1.0)
    fine = np.linspace(m.min(), m.max(), 2001)
    B = law.slopes(x, fine)
    line, error = law.line(x, fine), np.sqrt(np.einsum("ij,jk,ik->i", B, vcov, B))
    reach, wanted = stats.norm.ppf(0.5 + 0.5 * LEVEL) * error, stats.norm.ppf(power)
    note = "the curve does not fit well; the interval is wider for that" if doubt else ""
    if line[-1] < wanted:
        return np.nan, np.nan, np.nan, f"more than {m.max():g}, the largest simulated"
    if line[0] >= wanted:
        return np.nan, np.nan, np.nan, f"{m.min():g}, the smallest simulated, is enough"
    low, needed = fine[np.argmax(line + reach >= wanted)], fine[np.argmax(line >= wanted)]
    above = line - reach >= wanted
    high = fine[np.argmax(above)] if above.any() else np.nan
    return math.ceil(low), math.ceil(needed), np.nan if np.isnan(high) else math.ceil(high), note
