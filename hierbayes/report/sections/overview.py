"""The few figures under the title."""

from __future__ import annotations

from hierbayes.model import Model

from ..numbers import count
from ..provenance import Run


def overview(model: Model, run: Run) -> list[tuple[str, str]]:
    """The few figures under the title."""
    design = model.design
    widths = [design.effects_of(factor).stop - design.effects_of(factor).start for factor in design.factors]
    effects = [("random effects per level", count(widths[0]))] if len(set(widths)) == 1 else []
    if len(set(widths)) > 1:
        effects = [
            (f"effects per level of {factor.name}", count(width))
            for factor, width in zip(design.factors, widths, strict=True)
        ]
    levels = [(f"levels of {factor.name}", count(len(factor.levels))) for factor in design.factors]
    if design.residual is not None and design.residual.name not in {factor.name for factor in design.factors}:
        levels.append((f"series ({design.residual.name})", count(int(design.residual.codes.max()) + 1)))
    return [
        ("rows", count(design.n)),
        *levels,
        ("fixed effects", count(design.X.shape[1])),
        *effects,
        ("posterior draws", f"{run.chains} × {count(run.draws)}"),
    ]
