"""What to cite for an analysis: the software, and the methods that were really used."""

from __future__ import annotations

from .citations import Citations
from .cite import cite

__all__ = ["Citations", "cite"]
