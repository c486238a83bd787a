"""Figures: each function takes ready tables, computes nothing, and returns a matplotlib `Figure`.

Nothing here touches pyplot, so no global state is left behind and no window opens.
"""

from __future__ import annotations

from .estimates import estimates_figure
from .groups import groups_figure
from .shrinkage import shrinkage_figure
from .svg import to_svg

__all__ = ["estimates_figure", "groups_figure", "shrinkage_figure", "to_svg"]
