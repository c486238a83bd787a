"""Models, short posteriors and report pages that several test files look at; each is made once."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import hierbayes as hb
from hierbayes.errors import HierbayesWarning
from hierbayes.shrinkage import shrinkage

LEVELS = 10_000


def _crowd() -> pd.DataFrame:
    """10,000 groups of one to four rows."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(LEVELS), rng.integers(1, 5, LEVELS))
    x = rng.normal(size=len(g))
    b = rng.normal(size=(LEVELS, 2)) * [1.0, 0.5]
    return pd.DataFrame({"g": g, "x": x, "y": 1 + b[g, 0] + (2 + b[g, 1]) * x + rng.normal(size=len(g))})


def _gaps() -> pd.DataFrame:
    data = hb.load_data("sleepstudy")
    data.loc[[3, 50, 77], "Reaction"] = np.nan
    return data


STUDIES: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", lambda: hb.load_data("sleepstudy")),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", lambda: hb.load_data("sleepstudy")),
    "intercepts": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff")),
    "singular": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff2")),
    "categories": ("angle ~ recipe * temp + (1 | recipe:replicate)", lambda: hb.load_data("cake")),
    "gaps": ("Reaction ~ Days + (Days | Subject)", _gaps),
    "crowd": ("y ~ x + (x | g)", _crowd),
}


@dataclass(frozen=True)
class Study:
    """A model with both fits."""

    model: hb.Model
    reml: hb.RemlFit
    fit: hb.Fit
    table: pd.DataFrame


@cache
def study(name: str) -> Study:
    """Both fits of a model; the runs are short on purpose, so warnings about them are expected."""
    formula, make = STUDIES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        model = hb.Model(formula, make())
        reml = model.reml()
        ranef = "summary" if name == "crowd" else "auto"
        fit = model.fit(draws=200, tune=300, chains=2 if name == "crowd" else 4, seed=1, ranef=ranef, progress=False)
    return Study(model, reml, fit, shrinkage(reml, fit))


@cache
def page(name: str) -> str:
    """The report of a study."""
    made = study(name)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return hb.report(made.model, Path(folder, f"{name}.html"), fit=made.fit).read_text(encoding="utf-8")
