"""R-hat, effective sample sizes, divergences, with a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hierbayes.diagnostics import ESS_PER_CHAIN, RHAT

from ..numbers import count, show
from ..provenance import Run

if TYPE_CHECKING:
    from hierbayes.results import FamilyFit, Fit


def convergence_section(fit: Fit | FamilyFit, run: Run) -> dict[str, Any]:
    """R-hat, effective sample sizes, divergences, with a verdict."""
    table = fit.convergence.table
    stats = fit.idata["sample_stats"].to_dataset()
    deepest = int(stats["maxdepth_reached"].sum()) if "maxdepth_reached" in stats else 0
    total = run.chains * run.draws
    rows = [
        {
            "name": str(name),
            "r_hat": show(row["r_hat"], 4),
            "bulk": show(row["ess_bulk"], 0),
            "tail": show(row["ess_tail"], 0),
            "bad": bool(row["r_hat"] > RHAT or min(row["ess_bulk"], row["ess_tail"]) < ESS_PER_CHAIN * run.chains),
        }
        for name, row in table.iterrows()
    ]
    return {
        "rows": rows,
        "ok": fit.convergence.ok,
        "problems": list(fit.convergence.problems),
        "divergences": fit.convergence.divergences,
        "deepest": deepest,
        "max_depth": run.max_depth,
        "total": count(total),
        "r_hat_limit": RHAT,
        "ess_limit": ESS_PER_CHAIN * run.chains,
        "worst_r_hat": show(float(table["r_hat"].max()), 4),
        "smallest_ess": show(float(table[["ess_bulk", "ess_tail"]].min().min()), 0),
    }
