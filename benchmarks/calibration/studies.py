"""Models of simulated data: priors, true values, and a simulator that shares no code with the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import bambi as bmb
import numpy as np
import pandas as pd
from scipy import special, stats

Values = Mapping[str, np.ndarray]
"""Parameters under Bambi's names, any leading dimensions; effects ``term|factor`` have the levels last."""


@dataclass(frozen=True, eq=False)
class Study:
    """One model, one set of rows.

    Parameters
    ----------
    key, title : str
        In file names, and in words.
    formula : str
    frame : pandas.DataFrame
        The rows without the response: x, codes of the groups, and for the binomial family ``n`` trials.
    groups : mapping of str to tuple of str
        Terms of every grouping factor, ``{"g": ("1", "x")}``.
    priors : mapping of str to bambi.Prior
    laws : mapping of str to callable
        The same priors once more, as draws of a random generator.
    truth : mapping of str to float
        Fixed true values; empty if coverage is not studied.
    binomial : bool
        Binomial with the logit link, or Gaussian.
    """

    key: str
    title: str
    formula: str
    frame: pd.DataFrame
    groups: Mapping[str, tuple[str, ...]]
    priors: Mapping[str, bmb.Prior]
    laws: Mapping[str, Callable[[np.random.Generator], float]]
    truth: Mapping[str, float]
    binomial: bool = False

    @property
    def effects(self) -> list[str]:
        """Names of the random effects."""
        return [f"{term}|{factor}" for factor, terms in self.groups.items() for term in terms]

    @property
    def size(self) -> str:
        """Rows and levels in words."""
        levels = ", ".join(f"{self.levels(factor)} levels of {factor}" for factor in self.groups)
        return f"{len(self.frame)} rows, {levels}"

    def levels(self, factor: str) -> int:
        """Number of levels of a grouping factor."""
        return int(self.frame[factor].max()) + 1

    def parameters(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw parameters from the prior."""
        return {name: law(rng) for name, law in self.laws.items()}

    def simulate(self, parameters: Mapping[str, float], rng: np.random.Generator) -> tuple[Values, np.ndarray]:
        """Draw random effects and a response, (n,); the effects come back beside the parameters."""
        values = {name: np.asarray(value) for name, value in parameters.items()}
        for factor, terms in self.groups.items():
            sd = np.array([parameters[f"{term}|{factor}_sigma"] for term in terms])
            corr = np.full((len(terms), len(terms)), parameters.get(f"{factor}_corr", 0.0))
            np.fill_diagonal(corr, 1.0)
            b = rng.multivariate_normal(np.zeros(len(terms)), corr * np.outer(sd, sd), self.levels(factor))
            values |= {f"{term}|{factor}": b[:, k] for k, term in enumerate(terms)}
        eta = self.predictor(values)
        if self.binomial:
            return values, rng.binomial(self.frame["n"], special.expit(eta))
        return values, eta + rng.normal(0.0, parameters["sigma"], len(eta))

    def predictor(self, values: Values) -> np.ndarray:
        """Linear predictor, (..., n)."""
        x = self.frame["x"].to_numpy()
        eta = values["Intercept"][..., None] + values["x"][..., None] * x
        for factor, terms in self.groups.items():
            codes = self.frame[factor].to_numpy()
            for term in terms:
                eta = eta + values[f"{term}|{factor}"][..., codes] * (1.0 if term == "1" else x)
        return eta

    def log_likelihood(self, values: Values, y: np.ndarray) -> np.ndarray:
        """Log density of the response given the effects, (...)."""
        eta = self.predictor(values)
        if self.binomial:
            return stats.binom.logpmf(y, self.frame["n"], special.expit(eta)).sum(axis=-1)
        return stats.norm.logpdf(y, eta, values["sigma"][..., None]).sum(axis=-1)


def _group_prior(scale: float) -> bmb.Prior:
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=scale))


def _slope() -> Study:
    groups, rows = 15, 8
    frame = pd.DataFrame(
        {"x": np.tile(np.linspace(-1.0, 1.5, rows), groups), "g": np.repeat(np.arange(groups), rows)}
    )
    priors = {
        "Intercept": bmb.Prior("Normal", mu=1.0, sigma=2.0),
        "x": bmb.Prior("Normal", mu=0.0, sigma=1.0),
        "1|g": _group_prior(1.0),
        "x|g": _group_prior(0.7),
        "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=1.0),
        "g_corr": bmb.Prior("LKJ", eta=2.0),
    }
    laws = {
        "Intercept": lambda rng: rng.normal(1.0, 2.0),
        "x": lambda rng: rng.normal(0.0, 1.0),
        "1|g_sigma": lambda rng: abs(rng.normal(0.0, 1.0)),
        "x|g_sigma": lambda rng: abs(rng.normal(0.0, 0.7)),
        "g_corr": lambda rng: 2.0 * rng.beta(2.0, 2.0) - 1.0,
        "sigma": lambda rng: abs(rng.standard_t(4)),
    }
    truth = {"Intercept": 1.0, "x": 0.5, "1|g_sigma": 0.7, "x|g_sigma": 0.4, "g_corr": 0.3, "sigma": 1.0}
    title = "Gaussian, random intercept and slope"
    return Study("slope", title, "y ~ x + (x | g)", frame, {"g": ("1", "x")}, priors, laws, truth)


def _crossed() -> Study:
    cells = np.array([(a, b) for a in range(12) for b in range(8) if (a + 2 * b) % 3])  # a third is missing
    x = np.linspace(-1.5, 1.5, len(cells))[np.random.default_rng(0).permutation(len(cells))]
    priors = {
        "Intercept": bmb.Prior("Normal", mu=-1.0, sigma=2.0),
        "x": bmb.Prior("Normal", mu=0.0, sigma=1.0),
        "1|a": _group_prior(1.0),
        "1|b": _group_prior(0.5),
        "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=1.0),
    }
    laws = {
        "Intercept": lambda rng: rng.normal(-1.0, 2.0),
        "x": lambda rng: rng.normal(0.0, 1.0),
        "1|a_sigma": lambda rng: abs(rng.normal(0.0, 1.0)),
        "1|b_sigma": lambda rng: abs(rng.normal(0.0, 0.5)),
        "sigma": lambda rng: abs(rng.standard_t(4)),
    }
    frame = pd.DataFrame({"x": x, "a": cells[:, 0], "b": cells[:, 1]})
    groups = {"a": ("1",), "b": ("1",)}
    title = "Gaussian, two crossed factors"
    return Study("crossed", title, "y ~ x + (1 | a) + (1 | b)", frame, groups, priors, laws, {})


def _binomial() -> Study:
    groups, rows = 15, 4
    frame = pd.DataFrame(
        {
            "x": np.tile(np.linspace(-1.0, 1.0, rows), groups),
            "g": np.repeat(np.arange(groups), rows),
            "n": np.tile([4, 6, 8, 5], groups),
        }
    )
    priors = {
        "Intercept": bmb.Prior("Normal", mu=-0.5, sigma=1.5),
        "x": bmb.Prior("Normal", mu=0.0, sigma=1.0),
        "1|g": _group_prior(1.0),
    }
    laws = {
        "Intercept": lambda rng: rng.normal(-0.5, 1.5),
        "x": lambda rng: rng.normal(0.0, 1.0),
        "1|g_sigma": lambda rng: abs(rng.normal(0.0, 1.0)),
    }
    truth = {"Intercept": -1.0, "x": 0.5, "1|g_sigma": 0.6}
    title = "Binomial, random intercept"
    return Study("binomial", title, "p(y, n) ~ x + (1 | g)", frame, {"g": ("1",)}, priors, laws, truth, True)


STUDIES = {study.key: study for study in (_slope(), _crossed(), _binomial())}
"""By key."""
