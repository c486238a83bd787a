"""Can the draws be trusted? R-hat, effective sample sizes, divergences, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import display

RHAT = 1.01
"""Largest R-hat that passes (Vehtari et al. 2021, Bayesian Analysis 16, 667-718)."""
ESS_PER_CHAIN = 100
"""Smallest bulk and tail effective sample size per chain that passes (same source)."""


@dataclass(frozen=True)
class Convergence:
    """Convergence of one run.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a parameter: ``ess_bulk``, ``ess_tail``, ``r_hat``.
    divergences : int
    problems : tuple of str
        In words, empty if there are none.
    """

    table: pd.DataFrame
    divergences: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def _repr_html_(self) -> str:
        found = display.said([("warning", text) for text in self.problems] or [("ok", "Nothing was found.")])
        known = display.facts({"divergences": self.divergences})
        return display.document("Convergence", found, known, display.table(self.table, longest=100))


def check_convergence(posterior: xr.Dataset, stats: xr.Dataset, otherwise: str = "") -> Convergence:
    """Judge a run by the usual criteria.

    Parameters
    ----------
    posterior : xarray.Dataset
        Variables with dims chain and draw.
    stats : xarray.Dataset
        With a variable ``diverging``.
    otherwise : str, default ""
        What else to do about divergences, after "raise target_accept or use tighter priors".

    Returns
    -------
    Convergence
    """
    import arviz as az

    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    table = az.summary(posterior, kind="diagnostics", round_to="none")[["ess_bulk", "ess_tail", "r_hat"]].astype(
        float
    )
    divergences = int(stats["diverging"].sum())
    problems = []
    if chains < 2:
        problems.append("One chain only, so R-hat cannot tell whether it has converged; run at least four.")
    if divergences:
        problems.append(
            f"{divergences} of {chains * draws} draws were divergent, so part of the posterior may be missing; "
            f"raise target_accept or use tighter priors{otherwise}."
        )
    if (table["r_hat"] > RHAT).any():
        worst = table["r_hat"].idxmax()
        problems.append(
            f"R-hat of {worst!r} is {table['r_hat'].max():.3f}, above {RHAT}: the chains disagree; run longer chains."
        )
    for column, part in (("ess_bulk", "centre"), ("ess_tail", "tails")):
        smallest = table[column].min()
        if np.isfinite(smallest) and smallest < ESS_PER_CHAIN * chains:
            problems.append(
                f"The effective sample size of {table[column].idxmin()!r} for the {part} of the posterior is "
                f"{smallest:.0f}, below {ESS_PER_CHAIN * chains}; take more draws."
            )
    return Convergence(table, divergences, tuple(problems))
