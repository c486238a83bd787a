"""The marginal likelihood as a PyTensor Op: a thin adapter over `hierbayes.kernel_marginal.log_density`.

The compiled form is cached on disk by PyTensor; the key is a digest of the source of the kernels, so
that a new version of the package never runs old code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key

from hierbayes.kernel_marginal import log_density
from hierbayes.marginal import Marginal

KERNELS = (
    "kernel_dense.py", "kernel_levels.py", "kernel_tree.py", "kernel_fixed.py", "residual.py", "covariance.py",
    "kernel_marginal.py", "op.py",
)  # fmt: skip
"""Files whose text decides whether compiled code may be reused."""


class MarginalDensity(Op):
    """Log marginal density of the response, and its gradient, given θ and a packed design.

    Inputs are θ (vector), `hierbayes.marginal.Marginal.packed` (vector), and what there is of
    `hierbayes.marginal.Marginal.plan`; outputs are the log density (scalar) and its gradient with
    respect to θ (vector).

    Parameters
    ----------
    tree, residual : bool
        Whether the model has several grouping factors, and whether its residuals are correlated.
    """

    __props__ = ("tree", "residual")

    def __init__(self, tree: bool, residual: bool) -> None:
        self.tree = tree
        self.residual = residual

    @classmethod
    def of(cls, theta: Any, marginal: Marginal) -> Any:
        """Symbolic log density of a model at θ."""
        plan = [part for part in marginal.plan if part is not None]
        op = cls(*(part is not None for part in marginal.plan))
        return op.make_node(theta, marginal.packed, *plan).outputs[0]

    def make_node(self, *inputs: Any) -> Apply:
        """Describe inputs and outputs."""
        return Apply(self, [pt.as_tensor(x) for x in inputs], [pt.dscalar(), pt.dvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Evaluate without compiling."""
        theta, packed, *plan = inputs
        tree = plan.pop(0) if self.tree else None
        value, gradient = log_density(theta, packed, tree, plan.pop(0) if self.residual else None)
        output_storage[0][0] = np.asarray(value)
        output_storage[1][0] = gradient

    def pullback(self, inputs: Sequence[Any], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Gradient of the log density; the design is constant and the gradient is not differentiated."""
        gradient = self.make_node(*inputs).outputs[1]
        return [cotangents[0] * gradient, *[disconnected_type() for _ in inputs[1:]]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only the value depends differentiably on θ."""
        return [[True, False], *[[False, False] for _ in node.inputs[1:]]]


def _digest() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in KERNELS)).hexdigest()


@register_funcify_and_cache_key(MarginalDensity)
def _compile(op: MarginalDensity, node: Apply | None = None, **_: Any) -> tuple[Any, str]:
    if op.tree and op.residual:

        @numba_njit
        def marginal_density(theta, packed, tree, residual):  # type: ignore[no-untyped-def]
            value, gradient = log_density(theta, packed, tree, residual)
            return np.array(value), gradient

    elif op.tree:

        @numba_njit
        def marginal_density(theta, packed, tree):  # type: ignore[no-untyped-def]
            value, gradient = log_density(theta, packed, tree, None)
            return np.array(value), gradient

    elif op.residual:

        @numba_njit
        def marginal_density(theta, packed, residual):  # type: ignore[no-untyped-def]
            value, gradient = log_density(theta, packed, None, residual)
            return np.array(value), gradient

    else:

        @numba_njit
        def marginal_density(theta, packed):  # type: ignore[no-untyped-def]
            value, gradient = log_density(theta, packed, None, None)
            return np.array(value), gradient

    return marginal_density, f"hierbayes.MarginalDensity.{op.tree}.{op.residual}.{_digest()}"
