"""The report: both inferences of one model, or of several candidates, in one file that needs nothing else.

`hierbayes.report` is this package and also the function: `hb.report(model)` works whether or not a part
of the package has been imported before.
"""

from __future__ import annotations

import sys
from types import ModuleType

from .page import report

__all__ = ["report"]


class _Callable(ModuleType):
    """The package under its own name, called as the function that it exports."""

    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Callable
