r"""The between-within (Mundlak, hybrid) model: every predictor in two parts, within and between groups.

A random-intercept model has one coefficient where the data hold two effects. Its estimate is a weighted mean of the
slope within groups and of the slope between their means, and is biased for the first as soon as the effect of a group
is correlated with the predictor (Mundlak 1978, Econometrica 46, 69). Put apart,

    y = β_W (x_ij - x̄_j) + β_B x̄_j + …,

β_W is the slope within groups whatever the groups are, by balanced data exactly that of least squares with group
dummies, and β_B - β_W is the contextual effect: ``reml.contrast({"between(x, g)": 1, "within(x, g)": -1})`` (Snijders
& Bosker 2012, section 4.6; Bell & Jones 2015, Political Science Research and Methods 3, 133).

Categories are split indicator by indicator, products of variables as one variable, and a random slope of a split
predictor over that factor becomes one of its within part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes.design import Block, Component, Design, Factor, Term
from hierbayes.errors import DataError, HierbayesError, PriorError
from hierbayes.model import Model
from hierbayes.specification import specify

if TYPE_CHECKING:
    import pandas as pd

VARIES = 1e-10
"""A column varies within groups if more than this share of its sum of squares is within."""


def between_within(model: Model, group: str | None = None, priors: Mapping[str, Any] | None = None) -> Model:
    """Split every predictor that varies within and between groups into these two parts.

    Parameters
    ----------
    model : Model
    group : str, optional
        Grouping factor; needed where there are several.
    priors : mapping, optional
        Priors of new terms, in Bambi's form. Those of the model stay where their terms do.

    Returns
    -------
    Model
        With terms ``within(x, g)`` and ``between(x, g)`` in place of ``x``; its formula can be written by hand as
        well. What is constant within groups, or has the same mean in all of them, stays as it is.

    Raises
    ------
    DataError
        If the factor does not exist, is not named, or there is nothing to split.
    HierbayesError
        For terms that cannot be split: categories that are computed in the formula, several columns of one function.
    PriorError
        If the model has a prior for a term that is split.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.between_within(hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups")))
    >>> model.formula
    'y ~ 1 + within(X, group) + between(X, group) + (1 | group)'
    >>> reml = model.reml()
    >>> reml.fixef.round(3).tolist()  # the true slope within groups is 0.5
    [0.221, 0.427, 1.408]
    >>> reml.contrast({"contextual": {"between(X, group)": 1, "within(X, group)": -1}})["p_value"].lt(0.001).item()
    True
    """
    s = model.specification
    design = model.design
    factor = factor_of(design, group)
    split = split_terms(design, factor, s.data)
    if not split:
        raise DataError(
            f"No predictor varies both within and between the levels of {factor.name!r}: nothing to split."
        )
    for name in s.priors_given:
        if name.split("|")[0] in split and (name in split or name.endswith(f"|{factor.name}")):
            raise PriorError(
                f"The prior of {name!r} has no term in the between-within model; make the model without it, and give "
                f"priors={{'within({name}, {factor.name})': …}} here."
            )
    parts = ["1" if design.intercept is not None or design.family.ordinal else "0"]
    for term in design.terms:
        if term.name != "Intercept":
            pairs = split.get(term.name)
            parts += [spelled(term.name, s.data)] if pairs is None else [text for pair in pairs for text in pair]
    parts += _offsets(s.parsed.description)
    parts += [_written(block, split if block.factor.name == factor.name else {}, s.data) for block in design.blocks]
    made = specify(
        f"{s.parsed.left} ~ {' + '.join(parts)}",
        s.data,
        s.family.name,
        s.family.link,
        {**s.priors_given, **(priors or {})},
        s.center_predictors,
        True,
        s.weights,
        s.se,
        s.residual,
        s.namespace,
    )
    return Model._specified(made)


def factor_of(design: Design, group: str | None) -> Factor:
    """The grouping factor that is meant.

    Raises
    ------
    DataError
        If there is none, or no such one, or several and none is named.
    """
    if not design.factors:
        raise DataError("The model has no grouping factor; add a random effect, such as (1 | group).")
    if group is None:
        if len(design.factors) > 1:
            known = ", ".join(repr(f.name) for f in design.factors)
            raise DataError(f"The model has several grouping factors; name one of {known} by group=.")
        return design.factors[0]
    try:
        return design.grouping_factor(group)
    except ValueError as error:
        raise DataError(f"{str(error)[0].upper()}{str(error)[1:]}") from None


def varies(columns: np.ndarray, factor: Factor) -> tuple[np.ndarray, np.ndarray]:
    """Whether each column varies within groups, and whether its means vary between them.

    Parameters
    ----------
    columns : (n, k) array
    factor : Factor

    Returns
    -------
    within, between : (k,) bool arrays
    """
    sizes = np.bincount(factor.codes, minlength=len(factor.levels))
    sums = np.stack([np.bincount(factor.codes, column, len(factor.levels)) for column in columns.T], axis=1)
    means = (sums / np.maximum(sizes, 1)[:, None])[factor.codes]
    size = (columns**2).sum(axis=0)
    inside = ((columns - means) ** 2).sum(axis=0)
    outside = ((means - columns.mean(axis=0)) ** 2).sum(axis=0)
    return inside > VARIES * size, outside > VARIES * size


def split_terms(design: Design, factor: Factor, data: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Within and between part of every column of every term that has both, by the name of the term."""
    by = ", ".join(spelled(name, data) for name in factor.name.split(":"))
    found, at = {}, 0
    for term in design.terms:
        where = slice(at, at + len(term.labels))
        at = where.stop
        within, between = varies(design.X[:, where], factor)
        if term.components and (within & between).any():
            found[term.name] = [(f"within({x}, {by})", f"between({x}, {by})") for x in _variables(term, data)]
    return found


def _variables(term: Term, data: pd.DataFrame) -> list[str]:
    """Every column of a term as an expression: a variable, an indicator, or a product of them."""
    products = [""]
    for component in term.components:
        own = _expressions(component, term, data)
        products = [f"{one} * {other}" if one else other for one in products for other in own]
    return products


def _expressions(component: Component, term: Term, data: pd.DataFrame) -> list[str]:
    if component.coding is None:
        if len(component.labels) > 1:
            raise HierbayesError(
                f"The term {term.name!r} has several columns of one function, which cannot be split; make them "
                "columns of the data."
            )
        return [spelled(component.name, data)]
    name = component.name.strip("`")
    if name not in data.columns or not set(np.unique(component.coding)) <= {0.0, 1.0}:
        raise HierbayesError(
            f"The categories of {component.name!r} are computed in the formula and cannot be split; make them a "
            "column of the data."
        )
    values = {str(value): getattr(value, "item", lambda value=value: value)() for value in data[name].unique()}
    labels = [label[label.index("[") + 1 : -1] for label in component.labels]
    indicators = [f"{spelled(name, data)} == {values[label]!r}" for label in labels]
    return indicators if len(term.components) == 1 else [f"({each})" for each in indicators]


def _offsets(description: Any) -> list[str]:
    """Terms of a formula that are offsets, as written."""
    return [term.name for term in description.common_terms if term.name.startswith("offset(")]


def spelled(name: str, data: pd.DataFrame) -> str:
    """A term or a factor as a formula spells it: columns whose names are no identifiers in backticks.

    Examples
    --------
    >>> import pandas as pd
    >>> spelled("dose:my group", pd.DataFrame(columns=["dose", "my group"]))
    'dose:`my group`'
    """
    parts = [name] if name in data.columns else name.split(":")
    return ":".join(f"`{part}`" if part in data.columns and not part.isidentifier() else part for part in parts)


def _written(block: Block, split: Mapping[str, list[tuple[str, str]]], data: pd.DataFrame) -> str:
    """A random effect as a formula spells it, with the within parts of what is split."""
    effects = []
    for term in block.terms:
        effects += [pair[0] for pair in split[term.name]] if term.name in split else [spelled(term.name, data)]
    if "1" not in effects:
        effects.insert(0, "0")
    return f"({' + '.join(effects)} {'|' if block.correlated else '||'} {spelled(block.factor.name, data)})"
