"""How to get the same report again: data, code, command line, versions."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from pandas.testing import assert_frame_equal

from hierbayes import names
from hierbayes.datasets import load_data
from hierbayes.datasets.registry import REGISTRY
from hierbayes.family import GAUSSIAN
from hierbayes.from_bambi.families import read_family
from hierbayes.model import Model
from hierbayes.parameterization import MARGINAL

from .rows import row_facts

if TYPE_CHECKING:
    from hierbayes.results import FamilyFit, Fit

ASKED = "asked for"
"""Reason of a parametrisation that the user chose."""
PACKAGES = ("hierbayes", "pymc", "bambi", "arviz", "nutpie", "numba", "numpy", "pandas")


@dataclass(frozen=True)
class Run:
    """How the posterior was drawn.

    Parameters
    ----------
    seed : int or None
    chains, draws : int
    tune : int or None
    target_accept : float or None
    max_depth : int or None
        Longest trajectory allowed, as a power of two of leapfrog steps.
    unusual : dict of str to object
        Arguments of `Model.fit` that are known to differ from their defaults, beside those above.
    marginal : bool
        Whether the random effects were integrated out.
    parameterization, reason : str
        What NUTS moved in, block by block if that was not the marginal likelihood, and why.
    """

    seed: int | None
    chains: int
    draws: int
    tune: int | None
    target_accept: float | None
    max_depth: int | None
    unusual: dict[str, Any]
    marginal: bool = True
    parameterization: str = MARGINAL
    reason: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Model.fit` that draw the same posterior."""
        known: dict[str, Any] = {"draws": self.draws, "tune": self.tune, "chains": self.chains, "seed": self.seed}
        return {name: value for name, value in known.items() if value is not None} | self.unusual


def run_of(fit: Fit | FamilyFit) -> Run:
    """Read from a fit how it was sampled.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    Run
        With None for what the sampler did not record.
    """
    recorded = fit.idata["sample_stats"].attrs.get("inference_library_settings", "{}")
    settings = json.loads(recorded).get("settings", {})
    adapt = settings.get("adapt_options", {}).get("step_size_settings", {})
    target_accept = adapt.get("target_accept")
    attrs, sizes = fit.idata.attrs, fit.posterior.sizes
    defaults = inspect.signature(Model.fit).parameters
    parameterization = attrs.get("parameterization", MARGINAL)
    unusual = {}
    if target_accept is not None and target_accept != defaults["target_accept"].default:
        unusual["target_accept"] = target_accept
    if attrs.get("parameterization_reason") == ASKED:
        unusual["parameterization"] = parameterization.split(", ")[0]
    return Run(
        attrs.get("seed"),
        sizes["chain"],
        sizes["draw"],
        settings.get("num_tune"),
        target_accept,
        settings.get("maxdepth"),
        unusual,
        parameterization == MARGINAL,
        parameterization,
        attrs.get("parameterization_reason", ""),
    )


def known_data(model: Model) -> str | None:
    """Recognise a data set that comes with hierbayes by its contents.

    Parameters
    ----------
    model : Model

    Returns
    -------
    str or None
        Its name; None if no data set has exactly these rows. Nothing is downloaded to find out.
    """
    if model.design.n_dropped:
        return None
    data = model.data.drop(columns=[name for name in names.ARRAYS if name in model.data])
    wanted = list(data.columns)
    for entry in REGISTRY.values():
        if entry.rows != model.design.n or entry.access == "download" or not set(wanted) <= set(entry.columns):
            continue
        try:
            assert_frame_equal(load_data(entry.name)[wanted], data, check_exact=True)
        except AssertionError:
            continue
        return entry.name
    return None


def model_arguments(model: Model) -> dict[str, str]:
    """Arguments of `Model` beside formula and data that are texts: family, link, columns, residual structure."""
    facts, residual, family = row_facts(model.design, model.data), model.design.residual, model.family
    usual = read_family(family.name).link
    found = {
        "family": None if family.name == GAUSSIAN.name else family.name,
        "link": None if family.link == usual else family.link,
        "weights": facts.weights,
        "se": facts.se,
        "residual": None if residual is None else residual.text,
    }
    return {name: value for name, value in found.items() if value is not None}


def python_code(
    formula: str,
    source: str | None,
    run: Run,
    path: Path,
    priors: Mapping[str, Any],
    centered: bool,
    level: float,
    arguments: Mapping[str, str],
    nagq: int = 1,
) -> str:
    """Write Python code that makes the report again.

    Parameters
    ----------
    formula : str
    source : str or None
        Name of a data set or path of a CSV file.
    run : Run
    path : pathlib.Path
        Where the report is.
    priors : mapping
        The user's, in Bambi's form.
    centered : bool
        `center_predictors` of the model.
    level : float
        Of the intervals.
    arguments : mapping of str to str
        Of `model_arguments`.
    nagq : int
        Of the report.

    Returns
    -------
    str
    """
    lines = ["import hierbayes as hb"]
    if priors:
        lines.append("import bambi as bmb")
    if source is None:
        lines += ["", "data = ...  # the data frame that the model was made with"]
    elif source in REGISTRY:
        lines += ["", f"data = hb.load_data({_quoted(source)})"]
    else:
        lines += ["import pandas as pd", "", f"data = pd.read_csv({_quoted(source)})"]
    given = [_quoted(formula), "data"]
    for name, value in arguments.items():
        if value in names.ARRAYS:
            lines.append(f"{name} = ...  # the array that the model was made with")
        given.append(f"{name}={name if value in names.ARRAYS else _quoted(value)}")
    if priors:
        lines.append("priors = {")
        lines += [f"    {_quoted(name)}: {_prior_code(prior)}," for name, prior in priors.items()]
        lines.append("}")
        given.append("priors=priors")
    if not centered:
        given.append("center_predictors=False")
    lines.append(f"model = hb.Model({', '.join(given)})")
    lines.append(f"fit = model.fit({', '.join(f'{name}={value!r}' for name, value in run.arguments.items())})")
    closing = ["model", _quoted(path.name), "fit=fit"] + ([f"conf_level={level!r}"] if level != 0.95 else [])
    closing += [f"nagq={nagq}"] if nagq != 1 else []
    lines.append(f"hb.report({', '.join(closing)})")
    return "\n".join(lines)


def command_line(
    formula: str, source: str | None, run: Run, path: Path, arguments: Mapping[str, str], nagq: int = 1
) -> str:
    """Write the command that makes the report again.

    Parameters
    ----------
    formula : str
    source : str or None
        Name of a data set or path of a CSV file; without one the command has a placeholder.
    run : Run
    path : pathlib.Path
    arguments : mapping of str to str
        Of `model_arguments`.
    nagq : int
        Of the report.

    Returns
    -------
    str
    """
    words = ["hierbayes", "report", source or "DATA.csv", formula]
    for name, value in arguments.items():
        words += [f"--{name}", value]
    words += ["--nagq", str(nagq)] if nagq != 1 else []
    words += ["-o", path.name]
    for name in ("seed", "chains", "draws", "tune"):
        value = getattr(run, name)
        if value is not None:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def versions() -> list[tuple[str, str]]:
    """Versions of Python and of the packages that the numbers depend on.

    Examples
    --------
    >>> [name for name, _ in versions()][:3]
    ['python', 'hierbayes', 'pymc']
    """
    made = [("python", python_version())]
    for name in PACKAGES:
        try:
            made.append((name, version(name)))
        except PackageNotFoundError:
            made.append((name, "not installed"))
    return made


def _quoted(text: str) -> str:
    """A Python string in double quotes where that needs no escape."""
    return f'"{text}"' if not set(text) & set('"\\\n') and text.isprintable() else repr(text)


def _prior_code(prior: Any) -> str:
    """A `bambi.Prior` as the code that makes it."""
    parts = []
    for name, value in prior.args.items():
        if hasattr(value, "args") and hasattr(value, "name"):
            text = _prior_code(value)
        else:
            text = repr(np.asarray(value).tolist())
        parts.append(f"{name}={text}")
    return f"bmb.Prior({', '.join([_quoted(prior.name), *parts])})"
