"""How to get the same report again: code, command line, versions."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes import names
from hierbayes.datasets.registry import REGISTRY
from hierbayes.datasets.sources import File
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


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model and how its posterior was drawn.

    Parameters
    ----------
    model : Model
    run : Run
    name : str
        Among several models.
    """

    model: Model
    run: Run
    name: str = ""


def python_code(
    fitted: Sequence[Fitted],
    source: str | File | None,
    path: Path,
    level: float,
    nagq: int = 1,
    also: Sequence[str] = (),
) -> str:
    """Write Python code that makes the report again.

    Parameters
    ----------
    fitted : sequence of Fitted
        The main model first.
    source : str, File or None
        Name of a data set or path of a file.
    path : pathlib.Path
        Where the report is.
    level : float
        Of the intervals.
    nagq : int
        Of the report.
    also : sequence of str
        Further forms of the report.

    Returns
    -------
    str
    """
    head = ["import hierbayes as hb"]
    head += ["import bambi as bmb"] if any(one.model.given_priors for one in fitted) else []
    if source is None:
        lines = ["", "data = ...  # the data frame that the model was made with"]
    elif str(source) in REGISTRY:
        lines = ["", f"data = hb.load_data({_quoted(str(source))})"]
    else:
        head.append("import pandas as pd")
        lines = ["", f"data = {(source if isinstance(source, File) else File(source)).code}"]
    arrays = [value for one in fitted for value in model_arguments(one.model).items() if value[1] in names.ARRAYS]
    lines += [f"{name} = ...  # the array that the model was made with" for name, _ in dict.fromkeys(arrays)]
    closing = [f"conf_level={level!r}"] if level != 0.95 else []
    closing += [f"nagq={nagq}"] if nagq != 1 else []
    closing += [f"also={tuple(also)!r}"] if also else []
    if len(fitted) == 1:
        before, made = _model_code(fitted[0].model)
        lines += [*before, f"model = {made}", f"fit = model.fit({_arguments(fitted[0].run)})"]
        return "\n".join(
            [*head, *lines, f"hb.report({', '.join(['model', _quoted(path.name), 'fit=fit', *closing])})"]
        )
    entries = []
    for k, one in enumerate(fitted):
        before, made = _model_code(one.model, f"priors_{k + 1}")
        lines += before
        entries.append(f"    {_quoted(one.name)}: {made},")
    lines += ["models = {", *entries, "}"]
    runs = [_arguments(one.run) for one in fitted]
    if len(set(runs)) == 1:
        lines.append(f"fits = {{name: model.fit({runs[0]}) for name, model in models.items()}}")
    else:
        each = [
            f"    {_quoted(one.name)}: models[{_quoted(one.name)}].fit({run}),"
            for one, run in zip(fitted, runs, strict=True)
        ]
        lines += ["fits = {", *each, "}"]
    return "\n".join([*head, *lines, f"hb.report({', '.join(['models', _quoted(path.name), 'fit=fits', *closing])})"])


def _model_code(model: Model, called: str = "priors") -> tuple[list[str], str]:
    """The call that makes a model, and what has to stand before it."""
    before, given = [], [_quoted(model.design.formula), "data"]
    for name, value in model_arguments(model).items():
        given.append(f"{name}={name if value in names.ARRAYS else _quoted(value)}")
    if model.given_priors:
        before += [f"{called} = {{"]
        before += [f"    {_quoted(name)}: {_prior_code(prior)}," for name, prior in model.given_priors.items()]
        before.append("}")
        given.append(f"priors={called}")
    if not model.center_predictors:
        given.append("center_predictors=False")
    return before, f"hb.Model({', '.join(given)})"


def _arguments(run: Run) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in run.arguments.items())


def command_line(
    formula: str,
    source: str | File | None,
    run: Run,
    path: Path,
    arguments: Mapping[str, str],
    nagq: int = 1,
    compared: Sequence[str] = (),
    also: Sequence[str] = (),
) -> str:
    """Write the command that makes the report again.

    Parameters
    ----------
    formula : str
    source : str, File or None
        Name of a data set or path of a file; without one the command has a placeholder.
    run : Run
    path : pathlib.Path
    arguments : mapping of str to str
        Of `model_arguments`.
    nagq : int
        Of the report.
    compared : sequence of str
        Formulas of further candidates.
    also : sequence of str
        Further forms of the report.

    Returns
    -------
    str
    """
    file = File(source) if isinstance(source, str) else source
    words = ["hierbayes", "report", *(["DATA.csv"] if file is None else file.words), formula]
    for other in compared:
        words += ["--compare", other]
    for name, value in arguments.items():
        words += [f"--{name}", value]
    words += ["--nagq", str(nagq)] if nagq != 1 else []
    words += ["-o", path.name]
    for form in also:
        words += ["--also", form]
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
