"""An expected log predictive density that says what was left out and what was integrated."""

from __future__ import annotations

from dataclasses import dataclass

from arviz_stats.utils import ELPDDataLOO

ROW, GROUP = "row", "group"


@dataclass(kw_only=True, repr=False)
class ELPD(ELPDDataLOO):
    """ArviZ's result of leave-one-out, for rows or groups of a mixed model.

    Everything that ArviZ does with its own works with it (`arviz.compare`, `arviz.plot_khat`).

    Parameters
    ----------
    target : {"row", "group"}
        What is left out at a time.
    group : str or None
        The grouping factor whose levels are left out.
    joint : bool
        Whether a group has one score for all its rows together, or a score for each of them.
    conditional : bool
        Whether the scores are conditional on draws of the random effects.
    note : str
        The same in words.
    **more
        As of ArviZ's ``ELPDDataLOO``.
    """

    target: str
    group: str | None = None
    joint: bool = False
    conditional: bool = False
    note: str

    @property
    def _display_kind(self) -> str:  # type: ignore[override]
        return "loo" if self.target == ROW else "logo"

    def _header(self) -> str:
        what = "levels" if self.joint else "rows"
        return f"Computed from {self.n_samples} posterior draws and {self.n_data_points} {what}.\n{self.note}"
