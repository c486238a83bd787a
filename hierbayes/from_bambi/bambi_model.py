"""The `bambi.Model` behind a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import PriorError
from hierbayes.family import GAUSSIAN, Family
from hierbayes.from_bambi.formula import Formula
from hierbayes.priors import Prior, Priors


def bambi_model(
    design: Design,
    formula: Formula,
    rows: pd.DataFrame,
    namespace: Mapping[str, Any],
    priors: Priors,
    given: Mapping[str, Any],
) -> Any:
    """The `bambi.Model` of a design, with the resolved priors, those of a family's further parameters as given.

    Bambi itself has no correlated random effects: its own graph treats ``(x | g)`` as uncorrelated.
    It is here for prediction and interpretation from a posterior that hierbayes has sampled.
    """
    import bambi as bmb

    def joined(parts: list[Prior]) -> Any:
        keys = parts[0].args
        same = all(part.name == parts[0].name for part in parts)
        if not same:
            raise PriorError("Bambi needs one family of priors for all columns of a term.")
        return bmb.Prior(parts[0].name, **{key: np.squeeze([part.args[key] for part in parts]) for key in keys})

    resolved: dict[str, Any] = {name: given[name] for name in design.family.auxiliary if name in given}
    if priors.sigma is not None:
        resolved[names.SIGMA] = joined([priors.sigma])
    at = 0
    for term in design.terms:
        resolved[term.name] = joined(list(priors.coefficients[at : at + len(term.labels)]))
        at += len(term.labels)
    at = 0
    for block in design.blocks:
        for term in block.terms:
            sd = joined(list(priors.sds[at : at + len(term.labels)]))
            resolved[names.effect(term.name, block.factor.name)] = bmb.Prior("Normal", mu=0, sigma=sd)
            at += len(term.labels)
    return make_bambi(formula.bambi, rows, resolved, namespace, priors.centered, design.family)


def make_bambi(
    text: str,
    rows: pd.DataFrame,
    priors: dict,
    namespace: Mapping[str, Any],
    centered: bool,
    family: Family = GAUSSIAN,
) -> Any:
    """A `bambi.Model`, made without the warnings that are not for its user."""
    import bambi as bmb

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # of the spread of infinite bounds
        # Bambi 0.21 selects text columns in a way that pandas 3 announces to change; the answer is the same.
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        warnings.filterwarnings("ignore", "The intercept is omitted", UserWarning)  # thresholds take its place
        return bmb.Model(
            text,
            rows,
            family=family.name,
            link={family.parent: family.link},
            priors=priors,
            center_predictors=centered,
            extra_namespace=dict(namespace),
            dropna=False,
        )


def is_prior(value: Any) -> bool:
    """Whether a value is a `bambi.Prior`."""
    import bambi as bmb

    return isinstance(value, bmb.Prior)
