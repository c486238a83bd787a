"""Posteriors of responses that are not Gaussian, made without a sampler, and what is asked of every figure."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

import hierbayes as hb
from hierbayes import names
from hierbayes.covariance import correlation
from hierbayes.errors import HierbayesWarning
from hierbayes.plots import style, to_svg

CHAINS, DRAWS = 4, 100
SAMPLE = ("chain", "draw")
GRADES = ["never", "rarely", "often", "always"]


def _counts() -> pd.DataFrame:
    """Counts at 15 sites with long names, one of them far above the others."""
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(15), 12), rng.normal(size=180)
    b = rng.normal(size=(15, 2)) * [0.7, 0.3]
    sites = np.array([f"a rather long name of a site number {k}" for k in range(15)])
    return pd.DataFrame({"site": sites[g], "x": x, "y": rng.poisson(np.exp(1.0 + b[g, 0] + (0.4 + b[g, 1]) * x))})


def _grades() -> pd.DataFrame:
    """Answers in four ordered categories."""
    rng = np.random.default_rng(0)
    g, x, b = np.repeat(np.arange(12), 15), rng.normal(size=180), rng.normal(size=12)
    y = np.digitize(x + b[g] + rng.logistic(size=180), [-1.0, 0.5, 2.0])
    return pd.DataFrame({"g": g, "x": x, "y": pd.Categorical(np.array(GRADES)[y], categories=GRADES, ordered=True)})


FAMILIES = {
    "counts": ("y ~ x + (x | site)", _counts, "poisson"),
    "grades": ("y ~ x + (1 | g)", _grades, "cumulative"),
    "herds": (
        "p(incidence, size) ~ period + (1 | herd)", lambda: hb.load_data("cbpp").astype({"period": str}), "binomial"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class FamilyStudy:
    """A model with both fits."""

    model: hb.Model
    ml: hb.LaplaceFit
    fit: hb.FamilyFit


@cache
def family_study(name: str) -> FamilyStudy:
    """Both fits of a model, the posterior being Normal draws around the maximum: enough to be drawn."""
    formula, make, family = FAMILIES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        model = hb.Model(formula, make(), family=family)
        ml = model.ml()
    tree = xr.DataTree.from_dict({"posterior": _around(ml, np.random.default_rng(8))})
    fit = hb.FamilyFit(model.design, model.priors, tree, specification=model.specification)
    return FamilyStudy(model, ml, fit)


def _around(ml: hb.LaplaceFit, rng: np.random.Generator) -> xr.Dataset:
    """Draws of everything, under the names of a posterior."""
    design, made = ml.design, {}
    (factor,) = design.factors
    fixef = rng.multivariate_normal(ml.fixef, ml.vcov, (CHAINS, DRAWS))
    at = 0
    for term in design.terms:
        own = fixef[..., at : at + len(term.labels)]
        at += len(term.labels)
        grouped = term.levels is not None
        made[term.name] = (*SAMPLE, names.term_dim(term.name))[: 3 if grouped else 2], own if grouped else own[..., 0]
    (part,) = design.parts
    sd, corr = correlation(ml.covariance)
    for k, (term, label) in enumerate(zip(part.block.terms, part.block.labels, strict=True)):
        values = sd[k] * np.exp(0.2 * rng.standard_normal((CHAINS, DRAWS)))
        made[names.sd(term.name, factor.name)] = SAMPLE, values
        mode, error = ml.ranef[factor.name][label], ml.ranef_sd[factor.name][label]
        effects = mode.to_numpy() + error.to_numpy() * rng.standard_normal((CHAINS, DRAWS, len(mode)))
        made[names.effect(term.name, factor.name)] = (*SAMPLE, names.levels_dim(factor.name)), effects
    if part.free and len(sd) > 1:
        r = np.tanh(np.arctanh(corr[1, 0]) + 0.3 * rng.standard_normal((CHAINS, DRAWS)))
        whole = np.stack([np.stack([np.ones_like(r), r], -1), np.stack([r, np.ones_like(r)], -1)], -1)
        made[names.corr(factor.name)] = (*SAMPLE, *names.corr_dims(factor.name)), whole
    thresholds = [value for name, value in ml.residual_values.items() if name.startswith("threshold[")]
    if thresholds:
        made["threshold"] = (
            (*SAMPLE, "threshold_dim"),
            thresholds + 0.1 * np.sort(rng.standard_normal((CHAINS, DRAWS, len(thresholds)))),
        )
    coords = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS), names.levels_dim(factor.name): factor.levels}
    return xr.Dataset(made, coords)


def check_drawing(figure) -> str:
    """What holds for every figure: no pyplot figure, and colours that a dark page knows."""
    text = to_svg(figure, "one")
    colours = set(re.findall(r"#[0-9a-f]{6}", text))
    assert colours <= set(style.SHADES), colours - set(style.SHADES)
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
    return text
