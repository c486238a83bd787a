"""What a model was made of: the formula, the arguments, and the rows and values that it used.

A specification makes the design and everything that only Bambi and formulae can make of it: priors, the
`bambi.Model`, the distribution of the response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from hierbayes.design import Design
from hierbayes.family import Family
from hierbayes.from_bambi.bambi_model import bambi_model
from hierbayes.from_bambi.columns import read_design
from hierbayes.from_bambi.families import read_family, respond
from hierbayes.from_bambi.formula import Formula, names_used, parse
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

    def respond(self, eta: Any, auxiliary: Mapping[str, Any] | None = None, data: Any = None) -> Any:
        """Add the response to the PyMC model on the stack; see `hierbayes.from_bambi.families.respond`."""
        return respond(self.skeleton, eta, auxiliary, data)


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
    used = names_used(parsed, namespace or {})
    rows, design = read_design(parsed, data, used, dropna, weights, se, residual, family_)
    given = dict(priors or {})
    check_prior_names(design, given)
    return Specification(parsed, design, rows, used, given, center_predictors, weights, se, residual)
