"""Mixed models from one formula: the REML fit and the Bayesian posterior, side by side."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hierbayes import plots, zoo
    from hierbayes.checks.check import Check
    from hierbayes.citations.citations import Citations
    from hierbayes.citations.cite import cite
    from hierbayes.clusters.between_within import between_within
    from hierbayes.clusters.correlations import Correlations, correlations
    from hierbayes.clusters.grouping import Grouping, grouping
    from hierbayes.clusters.hausman import Hausman, hausman
    from hierbayes.clusters.icc_estimates import icc_estimates
    from hierbayes.clusters.missing import Missing, missing
    from hierbayes.clusters.reliability import reliability
    from hierbayes.cross_validation.comparison import compare
    from hierbayes.cross_validation.wrapper import GaussianWrapper
    from hierbayes.datasets import list_data, load_data
    from hierbayes.errors import (
        ComparisonWarning,
        ConvergenceWarning,
        DataError,
        DatasetError,
        FormulaError,
        HierbayesError,
        HierbayesWarning,
        IncompleteWarning,
        LoadError,
        MissingPrediction,
        OutputError,
        ParetoWarning,
        PriorError,
        PriorWarning,
        RowsDropped,
        SingularFit,
    )
    from hierbayes.evidence.bayes_factors import BayesFactor, bayes_factor
    from hierbayes.evidence.marginal_likelihood import Evidence
    from hierbayes.evidence.quadrature import Quadrature
    from hierbayes.implied import Implied
    from hierbayes.inference.bootstrap import Bootstrap
    from hierbayes.inference.profile import Profile
    from hierbayes.likelihood_ratio import lrt
    from hierbayes.model import Model
    from hierbayes.partial_pooling.shrinkage import shrinkage
    from hierbayes.pooling_ladder.ladder import pooling
    from hierbayes.report import report
    from hierbayes.restore import load
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit
    from hierbayes.rivals.cross_validate import cross_validate
    from hierbayes.rivals.regressor import MixedRegressor
    from hierbayes.rivals.result import CrossValidation
    from hierbayes.side_by_side.effects import level_effects
    from hierbayes.side_by_side.lines import pooling_lines
    from hierbayes.side_by_side.plane import Plane, plane
    from hierbayes.side_by_side.predictive import Predictive, predictive
    from hierbayes.side_by_side.prior_posterior import PriorPosterior, prior_posterior
    from hierbayes.side_by_side.profiles import Profiles, profiles
    from hierbayes.side_by_side.residuals import ResidualPanel, residual_panel
    from hierbayes.structures import ar1, compound_symmetry, diagonal
    from hierbayes.study.power import power
    from hierbayes.study.result import Power

_HOMES = {
    "Model": "model",
    "MixedRegressor": "rivals.regressor",
    "CrossValidation": "rivals.result",
    "cross_validate": "rivals.cross_validate",
    "Check": "checks.check",
    "RemlFit": "results",
    "Fit": "results",
    "FamilyFit": "results",
    "LaplaceFit": "results",
    "Bootstrap": "inference.bootstrap",
    "GaussianWrapper": "cross_validation.wrapper",
    "compare": "cross_validation.comparison",
    "Profile": "inference.profile",
    "lrt": "likelihood_ratio",
    "Implied": "implied",
    "diagonal": "structures",
    "compound_symmetry": "structures",
    "ar1": "structures",
    "Quadrature": "evidence.quadrature",
    "Evidence": "evidence.marginal_likelihood",
    "BayesFactor": "evidence.bayes_factors",
    "bayes_factor": "evidence.bayes_factors",
    "load_data": "datasets",
    "list_data": "datasets",
    "report": "report",
    "load": "restore",
    "shrinkage": "partial_pooling.shrinkage",
    "correlations": "clusters.correlations",
    "Correlations": "clusters.correlations",
    "between_within": "clusters.between_within",
    "hausman": "clusters.hausman",
    "Hausman": "clusters.hausman",
    "icc_estimates": "clusters.icc_estimates",
    "reliability": "clusters.reliability",
    "grouping": "clusters.grouping",
    "Grouping": "clusters.grouping",
    "missing": "clusters.missing",
    "Missing": "clusters.missing",
    "pooling": "pooling_ladder.ladder",
    "cite": "citations.cite",
    "Citations": "citations.citations",
    "level_effects": "side_by_side.effects",
    "pooling_lines": "side_by_side.lines",
    "plane": "side_by_side.plane",
    "Plane": "side_by_side.plane",
    "predictive": "side_by_side.predictive",
    "Predictive": "side_by_side.predictive",
    "prior_posterior": "side_by_side.prior_posterior",
    "PriorPosterior": "side_by_side.prior_posterior",
    "profiles": "side_by_side.profiles",
    "Profiles": "side_by_side.profiles",
    "residual_panel": "side_by_side.residuals",
    "ResidualPanel": "side_by_side.residuals",
    "power": "study.power",
    "Power": "study.result",
    "HierbayesError": "errors",
    "DataError": "errors",
    "FormulaError": "errors",
    "ParetoWarning": "errors",
    "PriorError": "errors",
    "DatasetError": "errors",
    "OutputError": "errors",
    "LoadError": "errors",
    "HierbayesWarning": "errors",
    "ComparisonWarning": "errors",
    "IncompleteWarning": "errors",
    "MissingPrediction": "errors",
    "RowsDropped": "errors",
    "SingularFit": "errors",
    "ConvergenceWarning": "errors",
    "PriorWarning": "errors",
}
"""Where each public name lives. Names are imported when first used: `import hierbayes` is instant."""
_PACKAGES = ("plots", "zoo")
"""Packages that are used under their own name."""

__all__ = [*_HOMES, *_PACKAGES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hierbayes")
    if name in _PACKAGES:
        return import_module(f"hierbayes.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'hierbayes' has no attribute {name!r}")
    value = getattr(import_module(f"hierbayes.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
