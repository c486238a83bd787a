"""The models of a report, with both fits each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.checks.check import Check
from hierbayes.cross_validation.source import trials_of
from hierbayes.design import check_same_response
from hierbayes.errors import DataError, HierbayesError, HierbayesWarning
from hierbayes.model import Model
from hierbayes.results import RemlFit

from . import effort
from .estimates import Estimate, side_by_side
from .method import Method
from .provenance import Run, run_of
from .reasons import reasons_of

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import FamilyFit, Fit, LaplaceFit

SHORT = 24
"""Longer names, and formulas, are replaced by letters in tables."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model with both fits, and what is asked of them more than once.

    Parameters
    ----------
    name : str
        As the user named it, else its formula.
    place : int
        0 is the main model.
    model : Model
    maximum : RemlFit or LaplaceFit, if there is one
    method : Method, if there is a maximum
    absence : str
        Why there is none.
    fit : Fit or FamilyFit
    conf_level : float
    """

    name: str
    place: int
    model: Model
    maximum: RemlFit | LaplaceFit | None
    method: Method | None
    absence: str
    fit: Fit | FamilyFit
    conf_level: float

    @property
    def key(self) -> str:
        """What its ids in the page end with: nothing for the main model."""
        return f"-{self.letter.lower()}" if self.place else ""

    @property
    def letter(self) -> str:
        """A for the main model, then B, C and so on."""
        return LETTERS[self.place % len(LETTERS)] + (str(self.place // len(LETTERS)) if self.place >= 26 else "")

    @property
    def label(self) -> str:
        """What tables call it: its name, or a letter where that is a formula or long."""
        return self.name if len(self.name) <= SHORT and "~" not in self.name else self.letter

    @property
    def described(self) -> str:
        """Its formula, after its name where `label` is a letter in place of one."""
        named = self.label != self.name and "~" not in self.name
        return f"{self.name}, {self.design.formula}" if named else self.design.formula

    @property
    def design(self) -> Design:
        """Of its model."""
        return self.model.design

    @property
    def short(self) -> str:
        """Name of the method of the maximum, empty without one."""
        return "" if self.method is None else self.method.short

    @property
    def level(self) -> str:
        """Of the intervals, such as ``"95%"``."""
        return f"{100 * self.conf_level:g}%"

    @cached_property
    def run(self) -> Run:
        """How the posterior was drawn."""
        return run_of(self.fit)

    @cached_property
    def maximum_tidy(self) -> pd.DataFrame | None:
        """Table of the maximum."""
        return None if self.maximum is None else self.maximum.tidy(self.conf_level)

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """Table of the posterior."""
        return self.fit.tidy(self.conf_level)

    @cached_property
    def rows(self) -> list[Estimate]:
        """Both tables side by side."""
        return side_by_side(self.maximum_tidy, self.tidy, self.short)

    @cached_property
    def check(self) -> Check:
        """Of the posterior, and of the fit behind it."""
        return self.fit.check()

    @cached_property
    def maximum_check(self) -> Check | None:
        """Of the maximum."""
        return None if self.maximum is None else self.maximum.check()

    @cached_property
    def random_effect_tests(self) -> pd.DataFrame | None:
        """Of `RemlFit.ranova`; None without a REML fit that converged, or where the refits would take long."""
        reml = self.maximum
        if not isinstance(reml, RemlFit) or not reml.converged or not self.design.factors:
            return None
        if effort.refits_cost(reml.marginal) > 1:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HierbayesWarning)
                return reml.ranova()
        except HierbayesError:
            return None

    @cached_property
    def reasons(self) -> list[str] | None:
        """Why the maximum and the posterior disagree, one text a row; None where nothing can be said."""
        if self.maximum is None or not self.maximum.converged:
            return None
        if not self.design.family.exact:
            return reasons_of(self.maximum, self.rows, self.model.priors)
        return [str(why) for why in self.disagreements["why"]]

    @cached_property
    def disagreements(self) -> pd.DataFrame:
        """Every parameter by REML, with priors, and in the posterior."""
        table: pd.DataFrame = self.fit.disagreements()  # type: ignore[union-attr]
        return table


def read_models(models: Model | Mapping[str, Model] | Sequence[Model]) -> dict[str, Model]:
    """The models by name, the main one first.

    Parameters
    ----------
    models : Model, mapping of str to Model, or sequence of Model
        Those of a sequence are named by their formulas.

    Returns
    -------
    dict of str to Model

    Raises
    ------
    ValueError
        If there is none, if something is no model, or if two models have the same name.
    """
    if isinstance(models, Model):
        return {models.formula: models}
    if isinstance(models, (str, bytes)) or not isinstance(models, (Mapping, Sequence)):
        raise ValueError(_no_model(models))
    given = list(models.values()) if isinstance(models, Mapping) else list(models)
    if not given:
        raise ValueError("a report needs at least one model")
    for model in given:
        if not isinstance(model, Model):
            raise ValueError(_no_model(model))
    names = [str(name) for name in models] if isinstance(models, Mapping) else _formulas(given)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"two models have the name {twice[0]!r}; give a dict with a name for each")
    return dict(zip(names, given, strict=True))


def _no_model(other: Any) -> str:
    return f"this is a {type(other).__name__}; give the model: hb.report(model, fit=fit)"


def _formulas(models: list[Model]) -> list[str]:
    """Formulas, with what else tells models of the same formula apart."""
    formulas = [model.formula for model in models]
    named = []
    for model, formula in zip(models, formulas, strict=True):
        residual = model.design.residual
        more = [str(model.family), *([] if residual is None else [f"residual {residual.text}"])]
        named.append(formula if formulas.count(formula) == 1 else f"{formula}, {', '.join(more)}")
    return named


def read_fits(fit: Any, models: Mapping[str, Model]) -> dict[str, Fit | FamilyFit]:
    """The fits that were given, by the name of their model.

    Parameters
    ----------
    fit : Fit, FamilyFit, mapping, sequence or None
        One fit belongs to the main model; a mapping may leave models out, and so may a sequence, by None.
    models : mapping of str to Model

    Returns
    -------
    dict of str to Fit or FamilyFit

    Raises
    ------
    ValueError
        If a fit belongs to another model.
    """
    if fit is None:
        return {}
    if isinstance(fit, Mapping):
        unknown = [name for name in fit if name not in models]
        if unknown:
            raise ValueError(f"there is no model {unknown[0]!r} that this fit is of; there are {', '.join(models)}")
        given = dict(fit)
    elif isinstance(fit, Sequence):
        if len(fit) > len(models):
            raise ValueError(f"there are {len(fit)} fits for {len(models)} models")
        given = dict(zip(models, fit, strict=False))
    else:
        given = {next(iter(models)): fit}
    found = {name: one for name, one in given.items() if one is not None}
    for name, one in found.items():
        if not _same(models[name], one):
            which = "" if len(models) == 1 else f" of {name!r}"
            raise ValueError(f"fit{which} belongs to another model; make it with model.fit()")
    return found


def check_comparable(models: Mapping[str, Model]) -> None:
    """Refuse candidates of different rows or responses, before anything is sampled.

    Raises
    ------
    DataError
        The sentence names both and what is different.
    """
    for (first, one), (second, other) in combinations(models.items(), 2):
        check_same_response(one.design, other.design, (first, second))
        a, b = trials_of(one.design), trials_of(other.design)
        if a is not None and b is not None and not np.array_equal(a, b):
            raise DataError(f"{first!r} and {second!r} do not have the same number of trials row by row.")


def _same(model: Model, fit: Any) -> bool:
    """Whether a posterior belongs to a model."""
    if not hasattr(fit, "design"):
        raise ValueError(f"this is a {type(fit).__name__}; fit= takes what model.fit() returned")
    a, b = model.design, fit.design
    if a is b:
        return True
    texts = [(d.formula, d.family, d.sigma, None if d.residual is None else d.residual.text) for d in (a, b)]
    arrays = zip(_arrays(a), _arrays(b), strict=False)
    return texts[0] == texts[1] and all(np.array_equal(one, other) for one, other in arrays)


def _arrays(design: Design) -> list[np.ndarray]:
    """All numbers of a design, those of the same formula in the same order."""
    nothing = np.zeros(0)
    known = [nothing if values is None else values for values in (design.weights, design.offset, design.trials)]
    series = [] if design.residual is None else [design.residual.codes, design.residual.time]
    random = [array for block in design.blocks for array in (block.Z, block.factor.codes)]
    return [design.y, design.X, *known, *series, *random]
