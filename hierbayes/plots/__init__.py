"""Figures: each function takes ready tables, computes nothing, and returns a matplotlib `Figure`.

Nothing here touches pyplot, so no global state is left behind and no window opens.
"""

from __future__ import annotations

from .clusters import correlations_figure, sensitivity_figure
from .estimates import estimates_figure
from .groups import groups_figure
from .pooling import pooling_figure
from .power import power_figure
from .rivals import cross_validation_figure
from .shrinkage import shrinkage_figure
from .svg import to_svg

__all__ = [
    "correlations_figure",
    "cross_validation_figure",
    "estimates_figure",
    "groups_figure",
    "pooling_figure",
    "power_figure",
    "sensitivity_figure",
    "shrinkage_figure",
    "to_svg",
]
