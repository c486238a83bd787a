"""Mixed models from one formula: the REML fit and the Bayesian posterior, side by side."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hierbayes.datasets import list_data, load_data
    from hierbayes.errors import (
        ConvergenceWarning,
        DataError,
        DatasetError,
        FormulaError,
        HierbayesError,
        HierbayesWarning,
        OutputError,
        PriorError,
        RowsDropped,
        SingularFit,
    )
    from hierbayes.model import Model
    from hierbayes.report import report
    from hierbayes.results import Fit, RemlFit

_HOMES = {
    "Model": "model",
    "RemlFit": "results",
    "Fit": "results",
    "load_data": "datasets",
    "list_data": "datasets",
    "report": "report",
    "HierbayesError": "errors",
    "DataError": "errors",
    "FormulaError": "errors",
    "PriorError": "errors",
    "DatasetError": "errors",
    "OutputError": "errors",
    "HierbayesWarning": "errors",
    "RowsDropped": "errors",
    "SingularFit": "errors",
    "ConvergenceWarning": "errors",
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
