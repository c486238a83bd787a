"""What the two inferences return: `RemlFit` and `Fit`."""

from __future__ import annotations

from hierbayes.results.fit import Fit
from hierbayes.results.reml_fit import RemlFit

__all__ = ["Fit", "RemlFit"]
