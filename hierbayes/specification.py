"""What a model was made of: the formula, the arguments, and the rows and values that it used.

A specification makes the design and everything that only Bambi and formulae can make of it: priors, the
`bambi.Model`, the distribution of the response.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, HierbayesError
from hierbayes.family import Family
from hierbayes.from_bambi.bambi_model import bambi_model
from hierbayes.from_bambi.columns import read_design
from hierbayes.from_bambi.families import read_family, respond, without_order
from hierbayes.from_bambi.formula import Formula, names_used, parse
from hierbayes.from_bambi.new_rows import NewRows, NewRowsReader
from hierbayes.from_bambi.prior_table import check_prior_names, read_priors, skeleton_of
from hierbayes.priors import Priors


@dataclass(frozen=True, eq=False)
class Specification:
    """The arguments of a `hierbayes.Model`, read.

    Made by `specify`.

    Parameters
    ----------
    parsed : Formula
    design : Design
    data : pandas.DataFrame
        The columns and rows used; arrays given as weights or standard errors stand in columns of their own.
    namespace : dict
        Functions and values that the formula uses.
    priors_given : dict of str to bambi.Prior
    center_predictors : bool
    weights, se, residual : str or None
    """

    parsed: Formula
    design: Design
    data: pd.DataFrame = field(repr=False)
    namespace: dict[str, Any] = field(repr=False)
    priors_given: dict[str, Any]
    center_predictors: bool
    weights: str | None
    se: str | None
    residual: str | None

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, for copies and other processes; modules go by name."""
        state = {part.name: getattr(self, part.name) for part in fields(self)}
        modules = {name: value.__name__ for name, value in self.namespace.items() if isinstance(value, ModuleType)}
        state["namespace"] = {name: value for name, value in self.namespace.items() if name not in modules}
        return {"fields": state, "modules": modules}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state["fields"].items():
            object.__setattr__(self, name, value)
        self.namespace.update({name: import_module(module) for name, module in state["modules"].items()})

    @property
    def formula(self) -> str:
        """As written."""
        return self.parsed.text

    @property
    def family(self) -> Family:
        """The family of the response."""
        return self.design.family

    @cached_property
    def skeleton(self) -> Any:
        """The `bambi.Model` without random effects."""
        return skeleton_of(self.design, self.parsed.left, self.data, self.namespace, self.priors_given)

    @cached_property
    def priors(self) -> Priors:
        """The priors in use, given and automatic."""
        return read_priors(self.design, self.skeleton, self.priors_given, self.center_predictors)

    def bambi(self) -> Any:
        """A new `bambi.Model` with the resolved priors."""
        return bambi_model(self.design, self.parsed, self.data, self.namespace, self.priors, self.priors_given)

    def respond(
        self, eta: Any, auxiliary: Mapping[str, Any] | None = None, data: Any = None, plain: bool = False
    ) -> Any:
        """Add the response to the PyMC model on the stack; see `hierbayes.from_bambi.families.respond`."""
        return respond(self.skeleton, eta, auxiliary, data, plain)

    def new_rows(self, newdata: pd.DataFrame, factors: Collection[str] = (), response: bool = False) -> NewRows:
        """Evaluate the formula on other rows; see `hierbayes.from_bambi.new_rows.NewRowsReader.read`."""
        return self._reader.read(newdata, factors, response)

    @property
    def groups_of_means(self) -> Collection[str]:
        """Columns that only say by which groups ``within(x, g)`` and ``between(x, g)`` take means."""
        return self._reader.labels_only

    @cached_property
    def _reader(self) -> NewRowsReader:
        return NewRowsReader(self.parsed, self.design, self.data, self.namespace, self.weights, self.se)


def required(specification: Specification | None) -> Specification:
    """The specification of a fit.

    Raises
    ------
    HierbayesError
        If the fit has none.
    """
    if specification is None:
        raise HierbayesError(
            "This is a fit to other responses or rows than its model's; use what model.fit, model.ml or model.reml "
            "gave."
        )
    return specification


def specify(
    formula: str,
    data: pd.DataFrame,
    family: str = "gaussian",
    link: str | None = None,
    priors: Mapping[str, Any] | None = None,
    center_predictors: bool = True,
    dropna: bool = True,
    weights: str | None = None,
    se: str | None = None,
    residual: str | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> Specification:
    """Read a formula and its data.

    Parameters
    ----------
    formula, data, family, link, priors, center_predictors, dropna, residual
        As of `hierbayes.Model`.
    weights, se : str, optional
        Columns of the data.
    namespace : mapping, optional
        Values that the formula may use.

    Returns
    -------
    Specification

    Raises
    ------
    FormulaError, DataError, PriorError
        As of `hierbayes.Model`.
    """
    parsed = parse(formula, random=residual is None)
    family_ = read_family(family, link, parsed.wrapper)
    if not family_.exact:
        _refuse_gaussian(family_, {"weights": weights, "se": se, "residual": residual})
    used = names_used(parsed, namespace or {}, getattr(data, "columns", ()))
    rows, design = read_design(parsed, data, used, dropna, weights, se, residual, family_)
    given = without_order(priors or {}, family_)
    check_prior_names(design, given)
    return Specification(parsed, design, rows, used, given, center_predictors, weights, se, residual)


REMEDIES = {
    "weights": "divides the residual variance; weighted(y, w) in the formula multiplies the log likelihood",
    "se": "gives the residuals known standard errors; leave it out",
    "residual": "correlates residuals; add a random effect instead",
}
"""What the arguments do that only a Gaussian response with identity link has, and what to do without."""


def _refuse_gaussian(family: Family, arguments: Mapping[str, str | None]) -> None:
    """Refuse arguments that mean something for a Gaussian response with identity link alone."""
    for name, value in arguments.items():
        if value is not None:
            raise DataError(
                f"{name}= is for a plain Gaussian response with identity link, not {family}: it {REMEDIES[name]}."
            )
