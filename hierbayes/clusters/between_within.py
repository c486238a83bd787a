r"""The between-within (Mundlak, hybrid) model: every predictor in two parts, within and between groups.

A random-intercept model has one coefficient where the data hold two effects. Its estimate is a weighted mean of the
slope within groups and of the slope between their means, and is biased for the first as soon as the effect of a group
is correlated with the predictor (Mundlak 1978, Econometrica 46, 69). Put apart,

    y = β_W (x_ij - x̄_j) + β_B x̄_j + …,

β_W is the slope within groups whatever the groups are. With one random intercept, and all that varies within groups
split, it is exactly that of least squares with group dummies, for unbalanced data too; not with ``weights=``, as x̄_j
is a plain mean (`hierbayes.hausman` has the weighted one). And β_B - β_W is the contextual effect:
``reml.contrast({"between(x, g)": 1, "within(x, g)": -1})`` (Snijders & Bosker 2012, section 4.6; Bell & Jones 2015,
Political Science Research and Methods 3, 133).

Categories are split indicator by indicator, products of variables as one variable, and a random slope of a split
predictor over that factor becomes one of its within part. Where an indicator of every category stands in place of an
intercept, their within parts add up to zero: the model gets the intercept, and all but the first are split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hierbayes.design import Block, Component, Design, Factor, Term
from hierbayes.errors import DataError, HierbayesError, PriorError
from hierbayes.model import Model
from hierbayes.specification import specify
from hierbayes.spelling import spelled
from hierbayes.variation import varies

if TYPE_CHECKING:
    import pandas as pd

SPELLED = (str, bool, int, float)
"""Values that a formula can hold."""


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
    instead = [name for name, pairs in split.items() if len(pairs) < len(_labels(design.terms, name))]
    parts = ["1" if design.intercept is not None or design.family.ordinal or instead else "0"]
    for term in design.terms:
        if term.name != "Intercept":
            pairs = split.get(term.name)
            parts += [spelled(term.name, s.data)] if pairs is None else [x for pair in pairs.values() for x in pair]
    parts += [spelled(name, s.data) for name in _offsets(s.parsed.description)]
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


def split_terms(design: Design, factor: Factor, data: pd.DataFrame) -> dict[str, dict[str, tuple[str, str]]]:
    """Within and between part of every column of every term that has both: by the name of the term, by its labels.

    The first column is left out of those that add up to an intercept, which then takes its place.
    """
    by = ", ".join(spelled(name, data) for name in factor.name.split(":"))
    found, at = {}, 0
    for term in design.terms:
        where = slice(at, at + len(term.labels))
        at = where.stop
        within, between = varies(design.X[:, where], factor)
        if term.components and (within & between).any():
            pairs = {
                label: (f"within({x}, {by})", f"between({x}, {by})")
                for label, x in zip(term.labels, _variables(term, data), strict=True)
            }
            if _sums_to_one(term):
                del pairs[term.labels[0]]
            found[term.name] = pairs
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
    odd = next((value for value in values.values() if not isinstance(value, SPELLED)), None)
    if odd is not None:
        raise HierbayesError(
            f"The categories of {name!r} are of type {type(odd).__name__}, which a formula cannot hold, so they "
            f"cannot be split; make them text: data[{name!r}].astype(str)."
        )
    indicators = [f"{spelled(name, data)} == {values[label]!r}" for label in labels]
    return indicators if len(term.components) == 1 else [f"I({each})" for each in indicators]


def _offsets(description: Any) -> list[str]:
    """Terms of a formula that are offsets, as written."""
    return [term.name for term in description.common_terms if term.name.startswith("offset(")]


def _written(block: Block, split: Mapping[str, Mapping[str, tuple[str, str]]], data: pd.DataFrame) -> str:
    """A random effect as a formula spells it, with the within parts of what is split.

    A term that is coded otherwise than the fixed one stays whole, but for an effect of every category, correlated:
    it is that of an intercept and of all categories but one.
    """
    effects: list[str] = []
    for term in block.terms:
        pairs = split.get(term.name, {})
        if pairs and tuple(pairs) == term.labels:
            effects += [within for within, _ in pairs.values()]
        elif pairs and block.correlated and tuple(pairs) == term.labels[1:] and _sums_to_one(term):
            effects += ["1", *(within for within, _ in pairs.values())]
        else:
            effects.append(spelled(term.name, data))
    if "1" not in effects:
        effects.insert(0, "0")
    return f"({' + '.join(effects)} {'|' if block.correlated else '||'} {spelled(block.factor.name, data)})"


def _sums_to_one(term: Term) -> bool:
    """Whether the columns are indicators of every category."""
    return all(part.coding is not None and (part.coding.sum(axis=1) == 1.0).all() for part in term.components)


def _labels(terms: Iterable[Term], name: str) -> tuple[str, ...]:
    """Of the columns of a term."""
    return next(term.labels for term in terms if term.name == name)
