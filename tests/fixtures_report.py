"""Models, short posteriors and report pages that several test files look at, each made once; a reader of pages."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

import hierbayes as hb
from hierbayes.errors import HierbayesWarning
from hierbayes.partial_pooling.shrinkage import shrinkage
from hierbayes.report.figures import Drawings

LEVELS = 10_000
DRAWN = {"slopes", "categories", "series"}
"""Studies whose pages have every figure."""
VOID = {"meta", "br", "hr", "img", "input", "link", "col"}


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


def _schools() -> pd.DataFrame:
    """Coaching in eight schools (Rubin 1981)."""
    y, se = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    return pd.DataFrame({"school": list("ABCDEFGH"), "y": y, "se": se})


def _series() -> pd.DataFrame:
    """30 children measured every other year, a few measurements missing; AR(1) residuals."""
    rng = np.random.default_rng(11)
    child, age = np.repeat(np.arange(30), 5), np.tile([8, 10, 12, 14, 16], 30)
    e = rng.normal(size=(30, 5))
    for k in range(1, 5):
        e[:, k] = 0.6 * e[:, k - 1] + 0.8 * e[:, k]
    data = pd.DataFrame({"child": child, "age": age, "sex": np.where(child % 2, "m", "f")})
    data["size"] = 16 + 0.5 * age + 1.5 * (data["sex"] == "m") + e.ravel()
    return data.drop(index=[1, 7, 23]).reset_index(drop=True)


def _surveys() -> pd.DataFrame:
    """Sleepstudy as if every row were a mean of several measurements, above a known base."""
    rng = np.random.default_rng(3)
    data = hb.load_data("sleepstudy")
    return data.assign(n=rng.integers(1, 9, len(data)), base=rng.normal(100.0, 5.0, len(data)))


def _answers() -> pd.DataFrame:
    """20 people answer 12 of 70 items each: slopes of people, intercepts of items, in two arms."""
    rng = np.random.default_rng(5)
    person, item = np.repeat(np.arange(20), 12), rng.integers(0, 70, 240)
    x = rng.normal(size=240)
    b = rng.normal(size=(20, 2)) * [1.0, 0.5]
    y = b[person, 0] + (0.5 + b[person, 1]) * x + rng.normal(size=70)[item] + rng.normal(size=240)
    return pd.DataFrame({"y": y, "x": x, "arm": np.where(person % 2, "p", "q"), "person": person, "item": item})


STUDIES: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", lambda: hb.load_data("sleepstudy")),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", lambda: hb.load_data("sleepstudy")),
    "intercepts": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff")),
    "singular": ("Yield ~ 1 + (1 | Batch)", lambda: hb.load_data("Dyestuff2")),
    "categories": ("angle ~ recipe * temp + (1 | recipe:replicate)", lambda: hb.load_data("cake")),
    "gaps": ("Reaction ~ Days + (Days | Subject)", _gaps),
    "crowd": ("y ~ x + (x | g)", _crowd),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", lambda: hb.load_data("Penicillin")),
    "nested": ("strength ~ 1 + (1 | batch/cask)", lambda: hb.load_data("Pastes")),
    "answers": ("y ~ x * arm + (1 | item) + (x | person)", _answers),
    "meta": ("y ~ 1 + (1 | school)", _schools),
    "series": ("size ~ age + sex", _series),
    "symmetry": ("size ~ age + (1 | sex)", _series),
    "weights": ("Reaction ~ Days + offset(base) + (Days | Subject)", _surveys),
}
OPTIONS: dict[str, dict[str, str]] = {
    "meta": {"se": "se"},
    "series": {"residual": "ar1(age | child)"},
    "symmetry": {"residual": "cs(child)"},
    "weights": {"weights": "n"},
}
"""Further arguments of the models."""


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
        model = hb.Model(formula, make(), **OPTIONS.get(name, {}))
        reml = model.reml()
        ranef = "summary" if name == "crowd" else "auto"
        fit = model.fit(draws=200, tune=300, chains=2 if name == "crowd" else 4, seed=1, ranef=ranef, progress=False)
    return Study(model, reml, fit, shrinkage(reml, fit))


@cache
def page(name: str) -> str:
    """The report of a study; some with all figures, the others with those that no other file tests."""
    made = study(name)
    drawn = nullcontext() if name in DRAWN else patch("hierbayes.report.figures.main_figures", lambda *_: Drawings())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), drawn:
        warnings.simplefilter("ignore", HierbayesWarning)
        return hb.report(made.model, Path(folder, f"{name}.html"), fit=made.fit).read_text(encoding="utf-8")


def sections_page(model, fit, **arguments):
    """The report of a model and its posterior."""
    with tempfile.TemporaryDirectory() as folder:
        return hb.report(model, Path(folder, "x.html"), fit=fit, **arguments).read_text(encoding="utf-8")


class Page(HTMLParser):
    """A strict reader of a page: every element closed, every id once; keeps texts and tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parents: list[tuple[str, ...]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):  # noqa: D102
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        self.parents.append(tuple(self.open))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):  # noqa: D102
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):  # noqa: D102
        assert self.open.pop() == tag

    def handle_data(self, data):  # noqa: D102
        if "style" in self.open or "svg" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        """The attributes of every element of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        """All words outside figures."""
        return " ".join("".join(self.words).split())

    def table(self, *first):
        """The rows of the table whose first cells are given, without white space around."""
        tables = [[[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables]
        return next(table for table in tables if table[0][: len(first)] == list(first))


def number(text):
    """What a written number means."""
    if text == "—":
        return np.nan
    text = text.replace("\N{MINUS SIGN}", "-").replace(",", "")
    if "×10" in text:
        mantissa, exponent = text.split("×10")
        return float(mantissa) * 10.0 ** int(exponent.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")))
    return float(text)


def close(text, value):
    """Whether a written number is the value, rounded."""
    if text == "—":
        return bool(np.isnan(value))
    decimals = len(text.partition(".")[2]) if "×" not in text else 0
    return (
        abs(number(text) - value) <= 0.5000001 * 10.0**-decimals
        if "×" not in text
        else np.isclose(number(text), value, rtol=1e-3)
    )
