r"""Rubin's rules: one answer from several completed data sets.

With estimates q_k and variances u_k of m completed data sets, ū their mean variance and B the variance of the
estimates,

    estimate q̄,   T = ū + (1 + 1/m) B,   λ = (1 + 1/m) B / T,

and t with ν degrees of freedom, 1/ν = λ²/(m - 1) + 1/ν_obs, ν_obs = (ν₀ + 1)/(ν₀ + 3) ν₀ (1 - λ), where ν₀ are those
of the complete data (Rubin 1987, Multiple Imputation for Nonresponse in Surveys; Barnard & Rubin 1999, Biometrika 86,
948).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Pooled:
    """An estimate from several completed data sets.

    Parameters
    ----------
    estimate, std_error, df : float
    lost : float
        λ, the share of the variance that is due to the missing values.
    monte_carlo_error : float
        √(B/m), by which the estimate would differ with other draws.
    """

    estimate: float
    std_error: float
    df: float
    lost: float
    monte_carlo_error: float

    def interval(self, level: float) -> tuple[float, float]:
        """Ends of the t interval."""
        reach = float(stats.t.isf(0.5 * (1.0 - level), self.df)) * self.std_error
        return self.estimate - reach, self.estimate + reach

    @property
    def p_value(self) -> float:
        """Of the two-sided t test of zero."""
        return float(2.0 * stats.t.sf(abs(self.estimate) / self.std_error, self.df))


def pool(estimates: np.ndarray, variances: np.ndarray, complete_df: float = np.inf) -> Pooled:
    """Combine the estimates of one coefficient.

    Parameters
    ----------
    estimates, variances : (m,) arrays
        At least two.
    complete_df : float
        Degrees of freedom that complete data would have.

    Returns
    -------
    Pooled

    Examples
    --------
    >>> import numpy as np
    >>> pooled = pool(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0), 20.0)
    >>> round(pooled.estimate, 3), round(pooled.std_error**2, 3), round(pooled.df, 2)
    (2.0, 3.333, 5.84)
    """
    m = len(estimates)
    within, between = float(np.mean(variances)), float(np.var(estimates, ddof=1))
    total = within + (1.0 + 1.0 / m) * between
    lost = (1.0 + 1.0 / m) * between / total
    observed = (1.0 - lost) * (
        complete_df if np.isinf(complete_df) else (complete_df + 1) / (complete_df + 3) * complete_df
    )
    df = 1.0 / (lost**2 / (m - 1) + 1.0 / observed) if lost > 0.0 else observed
    return Pooled(float(np.mean(estimates)), total**0.5, df, lost, (between / m) ** 0.5)
