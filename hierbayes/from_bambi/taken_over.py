"""An existing `bambi.Model`, read back into what it was made of: formula, data, family, link and resolved priors."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.bars import find_bars
from hierbayes.errors import FormulaError, HierbayesError


def arguments_of(model: Any, correlated: bool = False) -> dict[str, Any]:
    """What `hierbayes.specification.specify` makes the same model of.

    Parameters
    ----------
    model : bambi.Model
    correlated : bool, default False
        Whether ``(x | g)`` gets a full covariance matrix; in Bambi it has none, which is ``(x || g)`` here.

    Returns
    -------
    dict
        Arguments of `hierbayes.specification.specify`.

    Raises
    ------
    TypeError
        If it is no `bambi.Model`.
    HierbayesError
        For what a model of hierbayes does not have; one sentence.

    Examples
    --------
    >>> import bambi as bmb, hierbayes as hb
    >>> data = hb.load_data("sleepstudy").astype({"Subject": "category"})
    >>> model = bmb.Model("Reaction ~ Days + (Days | Subject)", data)
    >>> found = arguments_of(model)
    >>> found["formula"], found["priors"]["1|Subject"]
    ('Reaction ~ Days + (Days || Subject)', Normal(mu: 0.0, sigma: HalfNormal(sigma: 261.0092)))
    """
    import bambi as bmb

    if not isinstance(model, bmb.Model):
        raise TypeError(f"from_bambi takes a bambi.Model, not {type(model).__name__}")
    _check(model)
    parent = model.parameters[model.family.likelihood.parent]
    text = model.formula.main
    return {
        "formula": text if correlated else _uncorrelated(text),
        "data": _sorted_categories(model),
        "family": model.family.name,
        "link": model.family.link[parent.name].name,
        "priors": _priors(model, parent),
        "center_predictors": model.center_predictors,
        "dropna": model.dropna,
        "namespace": parent.design.response.env._namespaces[-1],
    }


def _check(model: Any) -> None:
    """Refuse what a model of hierbayes does not have."""
    from bambi.defaults.families import BUILTIN_FAMILIES

    family = model.family
    builtin = BUILTIN_FAMILIES.get(family.name)
    if builtin is None or type(family) is not builtin["family"] or family.likelihood.dist is not None:
        raise HierbayesError(f"The family {family.name!r} is not one of Bambi's own; use one of them.")
    if len(model.conditional_parameters) > 1:
        others = ", ".join(map(repr, model.formula.additionals_lhs))
        raise FormulaError(f"The model has a formula for {others} too; hierbayes has one, for the response.")
    if model.potentials:
        raise HierbayesError("The model has potentials, which hierbayes does not have; use priors instead.")
    parent = model.parameters[family.likelihood.parent]
    if parent.hsgp_terms:
        raise FormulaError(f"The model has Gaussian-process terms, {', '.join(parent.hsgp_terms)}; take them out.")
    terms = [model.response_term, *model.parameters.values(), *parent.terms.values()]
    aliased = {term.name: term.alias for term in terms if getattr(term, "alias", None)}
    aliased |= {
        key: value
        for term in parent.group_specific_terms.values()
        for key, value in (term.hyperprior_alias or {}).items()
    }
    if aliased:
        listed = ", ".join(f"{name!r} ({alias!r})" for name, alias in aliased.items())
        raise HierbayesError(
            f"The model has aliases, for {listed}, and a posterior of hierbayes has the names of the terms; take the "
            "aliases out."
        )


def _sorted_categories(model: Any) -> pd.DataFrame:
    """The data, unordered categories of the response in alphabetical order, in which Bambi has taken them."""
    names = [str(name).strip("`") for name in model.response_term.term.var_names]
    columns = {name: model.data[name] for name in names if name in model.data}
    found = {
        name: column.cat.reorder_categories(sorted(column.cat.categories), ordered=True)
        for name, column in columns.items()
        if isinstance(column.dtype, pd.CategoricalDtype) and not column.dtype.ordered
    }
    return model.data.assign(**found) if found else model.data


def _uncorrelated(text: str) -> str:
    """The formula with two bars, where a random effect is more than an intercept."""
    for start, end, double in reversed(find_bars(text)):
        effects, _, factor = text[start + 1 : end - 1].partition("|")
        if not double and effects.strip() != "1":
            text = f"{text[:start]}({effects}||{factor}){text[end:]}"
    return text


def _priors(model: Any, parent: Any) -> dict[str, Any]:
    """Priors of all terms and further parameters, as the model has resolved them."""
    terms = {**parent.common_terms, **parent.group_specific_terms}
    if parent.intercept_term is not None:
        terms["Intercept"] = parent.intercept_term
    found = {name: copy.deepcopy(term.prior) for name, term in terms.items() if term.kind != "offset"}
    for name, component in model.marginal_parameters.items():
        found[name] = copy.deepcopy(component.prior)
    for prior in found.values():
        for key, value in getattr(prior, "args", {}).items():
            if isinstance(value, np.ndarray) and value.ndim == 2:  # repeated for all outcomes, when Bambi builds
                prior.args[key] = value[:, 0]
    return found
