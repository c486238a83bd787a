"""Mixed models from one formula: the REML fit and the Bayesian posterior, side by side."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hierbayes.bayes_factors import BayesFactor, bayes_factor
    from hierbayes.bootstrap import Bootstrap
    from hierbayes.check import Check
    from hierbayes.comparison import compare
    from hierbayes.datasets import list_data, load_data
    from hierbayes.errors import (
        ComparisonWarning,
        ConvergenceWarning,
        DataError,
        DatasetError,
        FormulaError,
        HierbayesError,
        HierbayesWarning,
        OutputError,
        ParetoWarning,
        PriorError,
        PriorWarning,
        RowsDropped,
        SingularFit,
    )
    from hierbayes.evidence import Evidence
    from hierbayes.likelihood_ratio import lrt
    from hierbayes.model import Model
    from hierbayes.profile import Profile
    from hierbayes.quadrature import Quadrature
    from hierbayes.report import report
    from hierbayes.results import Fit, RemlFit
    from hierbayes.shrinkage import shrinkage
    from hierbayes.wrapper import GaussianWrapper

_HOMES = {
    "Model": "model",
    "Check": "check",
    "RemlFit": "results",
    "Fit": "results",
    "Bootstrap": "bootstrap",
    "GaussianWrapper": "wrapper",
    "compare": "comparison",
    "Profile": "profile",
    "lrt": "likelihood_ratio",
    "Quadrature": "quadrature",
    "Evidence": "evidence",
    "BayesFactor": "bayes_factors",
    "bayes_factor": "bayes_factors",
    "load_data": "datasets",
    "list_data": "datasets",
    "report": "report",
    "shrinkage": "shrinkage",
    "HierbayesError": "errors",
    "DataError": "errors",
    "FormulaError": "errors",
    "ParetoWarning": "errors",
    "PriorError": "errors",
    "DatasetError": "errors",
    "OutputError": "errors",
    "HierbayesWarning": "errors",
    "ComparisonWarning": "errors",
    "RowsDropped": "errors",
    "SingularFit": "errors",
    "ConvergenceWarning": "errors",
    "PriorWarning": "errors",
}
"""Where each public name lives. Names are imported when first used: `import hierbayes` is instant."""

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hierbayes")
    if name not in _HOMES:
        raise AttributeError(f"module 'hierbayes' has no attribute {name!r}")
    value = getattr(import_module(f"hierbayes.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
