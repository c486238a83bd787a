"""What the inferences return: `RemlFit` and `Fit` of Gaussian models, `LaplaceFit` and `FamilyFit` of others."""

from __future__ import annotations

from hierbayes.results.family_fit import FamilyFit
from hierbayes.results.fit import Fit
from hierbayes.results.laplace_fit import LaplaceFit
from hierbayes.results.reml_fit import RemlFit

__all__ = ["FamilyFit", "Fit", "LaplaceFit", "RemlFit"]
