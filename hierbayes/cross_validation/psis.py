"""Expected log predictive densities of what is left out, by Pareto-smoothed importance sampling.

One compiled pass over many rows; rules and results are ArviZ's (see `hierbayes.kernel_psis`), which works on one row
after another in Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hierbayes import kernel_psis
from hierbayes.threads import parts, share

FEWEST = 25
"""Draws below which there is no tail to fit."""


@dataclass(frozen=True)
class Smoothed:
    """What importance sampling says of each row that is left out.

    Parameters
    ----------
    elpd : (rows,) array
        Log predictive density, the row left out.
    lpd : (rows,) array
        The same with the row kept in: log mean p.
    k : (rows,) array
        Pareto shape; NaN where the largest ratios are all the same.
    log_weights : (rows, draws) array or None
        Smoothed, normalised, if they were asked for.
    """

    elpd: np.ndarray
    lpd: np.ndarray
    k: np.ndarray
    log_weights: np.ndarray | None


def tail_length(draws: int, r_eff: float) -> int:
    """How many of the largest ratios are smoothed.

    Examples
    --------
    >>> tail_length(4000, 1.0), tail_length(200, 1.0)
    (189, 40)
    """
    return int(3.0 * math.sqrt(draws / r_eff)) if draws * r_eff > 225 else draws // 5


def good_k(draws: int) -> float:
    """Pareto shape above which an estimate is not to be trusted.

    Examples
    --------
    >>> good_k(4000), round(good_k(1000), 2)
    (0.7, 0.67)
    """
    return min(1.0 - 1.0 / math.log10(draws), 0.7)


def smooth(log_p: np.ndarray, r_eff: float = 1.0, threads: int = 1, weights: bool = False) -> Smoothed:
    """Leave every row out.

    Parameters
    ----------
    log_p : (rows, draws) array
        Log density of each row under each draw from the posterior of all rows.
    r_eff : float, default 1
        Effective over actual number of draws.
    threads : int, default 1
    weights : bool, default False
        Whether to return the weights.

    Returns
    -------
    Smoothed

    Raises
    ------
    ValueError
        If there are fewer than 25 draws, or a log density that is not finite.
    """
    log_p = np.ascontiguousarray(log_p, dtype=float)
    n, draws = log_p.shape
    if draws < FEWEST:
        raise ValueError(f"importance sampling needs at least {FEWEST} draws, not {draws}")
    tail = tail_length(draws, r_eff)
    elpd, lpd, k = np.empty(n), np.empty(n), np.empty(n)
    log_weights = np.empty((n if weights else 0, draws))

    def run(_: int, part: slice) -> None:
        kernel_psis.smooth(log_p[part], tail, elpd[part], lpd[part], k[part], log_weights[part])

    share(run, parts(n, max(1, -(-n // (4 * threads)))), threads)
    if (bad := np.flatnonzero(np.isnan(lpd))).size:
        raise ValueError(
            f"importance sampling needs finite log densities, but {len(bad)} of {n} items have others (the first at "
            f"position {bad[0]})"
        )
    return Smoothed(elpd, lpd, k, log_weights if weights else None)
