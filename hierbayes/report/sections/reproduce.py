"""Formula, code, command, seed and versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierbayes import names
from hierbayes.citations.source import known_data

from .. import provenance
from ..numbers import count

if TYPE_CHECKING:
    from hierbayes.datasets.sources import File
    from hierbayes.model import Model

    from ..candidates import Candidate


def reproduce_section(
    model: Model,
    run: provenance.Run,
    path: Path,
    source: str | File | None,
    conf_level: float,
    nagq: int = 1,
    others: Sequence[Candidate] = (),
    name: str = "",
    also: Sequence[str] = (),
) -> dict[str, Any]:
    """Formula, code, command, seed and versions; `others` are the candidates after the first, called `name`."""
    source = known_data(model) if source is None else source
    design = model.design
    options = provenance.model_arguments(model)
    every = [(model, run), *((other.model, other.run) for other in others)]
    simple = conf_level == 0.95 and all(
        not one.given_priors and one.center_predictors and not each.unusual for one, each in every
    )
    told = all(column not in names.ARRAYS for column in options.values())
    alike = all(
        provenance.model_arguments(other.model) == options
        and other.run.arguments == run.arguments
        and other.name == other.model.formula
        for other in others
    ) and (not others or name == model.formula)
    compared = [other.model.formula for other in others]
    command = provenance.command_line(design.formula, source, run, path, options, nagq, compared, also)
    sources = [
        provenance.Fitted(one, each, label)
        for (one, each), label in zip(every, [name, *(other.name for other in others)], strict=True)
    ]
    return {
        "formula": design.formula,
        "code": provenance.python_code(sources, source, path, conf_level, nagq, also),
        "command": command if simple and told and alike else "",
        "source": None if source is None else str(source),
        "seed": run.seed,
        "chains": run.chains,
        "draws": count(run.draws),
        "tune": count(run.tune) if run.tune is not None else "unknown",
        "versions": provenance.versions(),
    }
