"""Writing ``expected.json``: every model of a card fitted at length.

The posterior of a Gaussian model with few variance parameters is integrated by quadrature, that of others sampled.
How much a score varies from run to run has no formula; so one long run is cut into `RUNS` runs of the length that
`verify` takes, and mean and standard deviation of their scores are kept.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hierbayes.errors import HierbayesError, HierbayesWarning
from hierbayes.evidence.quadrature import DIMENSIONS
from hierbayes.output import write_whole
from hierbayes.progress import bar

from .cards import Candidate, Card
from .expected import EXPECTED, recorded_before
from .findings import maximum, of_maximum, of_posterior, of_quadrature, sampled, scores
from .shelf import card as find
from .verification import agree

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.model import Model
    from hierbayes.results import FamilyFit, Fit

RUNS = 10
"""Runs that tell how much a score varies; fewer do not tell."""
PACKAGES = ("hierbayes", "pymc", "bambi", "arviz", "nutpie", "numba", "numpy", "scipy", "pandas")


def record(name: str, seed: int = 1, runs: int = RUNS, progress: bool | None = None) -> Path:
    """Fit the models of a card at length and write what they give to ``expected.json``.

    What the file says about how its figures were checked is kept where the new figures agree with the old ones, as
    `verify` has it; everything else is new.

    Parameters
    ----------
    name : str or path
        As of `hierbayes.zoo.card`.
    seed : int, default 1
    runs : int, default 10
        Of the length that `hierbayes.zoo.verify` takes, in one.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    DatasetError, DataError
        As of `hierbayes.zoo.load`.
    OutputError
        If the file cannot be written, as in a zipped package.
    ValueError
        For fewer than 10 runs of a card that leaves something out.
    KeyboardInterrupt
        After Ctrl-C; the file stays as it was.
    """
    card = find(name)
    if runs < (least := RUNS if card.verify.elpd else 1):
        raise ValueError(f"runs must be at least {least}, not {runs!r}")
    data, before = card.data(), recorded_before(card.folder)
    models = {}
    with bar(f"fits of {card.name}", len(card.models), progress) as advance:
        for candidate in card.models:
            models[candidate.name] = _recorded(card, candidate, data, seed, runs, before.get(candidate.name))
            advance(1)
    values = {
        "recorded": datetime.date.today().isoformat(),
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
        "models": models,
    }
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(str(card.folder.joinpath(EXPECTED))), text + "\n")


def _recorded(
    card: Card,
    candidate: Candidate,
    data: pd.DataFrame,
    seed: int,
    runs: int,
    before: Any,
) -> dict[str, Any]:
    """All blocks of one model."""
    blocks: dict[str, dict[str, Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        model = candidate.model(data)
        if (found := maximum(model, candidate.nagq)) is not None:
            blocks["maximum"] = of_maximum(found)
        if candidate.posterior:
            exact, draws = _quadrature(model), card.verify.draws
            targets = card.targets(candidate)
            if exact is None or targets:
                fit = sampled(model, draws * runs, seed)
            blocks["posterior"] = of_posterior(fit) if exact is None else exact
            if targets:
                found_scores = [scores(part, card) for part in _cut(fit, draws, runs)]
                blocks["elpd"] = {"draws": draws, "runs": runs, "scores": _spread(found_scores)}
    for block, values in blocks.items():
        old = before.get(block) if isinstance(before, Mapping) else None
        same = isinstance(old, dict) and agree(block, old, values, card.verify.tolerance)
        values["checked"] = old.get("checked", []) if isinstance(old, dict) and same else []
    return {"formula": candidate.formula} | blocks


def _quadrature(model: Model) -> dict[str, Any] | None:
    """The posterior without Monte Carlo error; None where that is too dear, or the posterior too spread out."""
    if not model.family.exact or model.marginal.dim > DIMENSIONS:
        return None
    try:
        return of_quadrature(model.quadrature())
    except HierbayesError:
        return None


def _cut(fit: Fit | FamilyFit, draws: int, runs: int) -> list[Fit | FamilyFit]:
    """A long run as several short ones."""
    groups = {name: fit.idata[name].to_dataset() for name in fit.idata.children}
    found = []
    for run in range(runs):
        where = slice(run * draws, (run + 1) * draws)
        parts = {name: group.isel(draw=where) if "draw" in group.dims else group for name, group in groups.items()}
        idata = xr.DataTree.from_dict(parts)
        idata.attrs = dict(fit.idata.attrs)
        found.append(replace(fit, idata=idata))
    return found


def _spread(found: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of the scores of several runs, by target."""
    values = {target: np.array([scores[target] for scores in found]) for target in found[0]}
    return {target: {"elpd": float(v.mean()), "sd": float(v.std(ddof=1))} for target, v in values.items()}
