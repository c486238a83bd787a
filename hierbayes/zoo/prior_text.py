"""Priors as a card writes them, ``Normal(mu=0, sigma=HalfNormal(sigma=2.5))``, in Bambi's form.

A prior is read as a Python expression of calls and numbers, and nothing of it is evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from hierbayes.errors import PriorError
from hierbayes.from_bambi.plain_priors import from_plain_priors


def read_priors(texts: Mapping[str, str]) -> dict[str, Any]:
    """Priors in Bambi's form.

    Parameters
    ----------
    texts : mapping of str to str
        By the name of the term.

    Returns
    -------
    dict of str to bambi.Prior

    Raises
    ------
    PriorError
        For a text that is not a distribution with named parameters.

    Examples
    --------
    >>> read_priors({"1|g": "Normal(mu=0, sigma=HalfNormal(sigma=2.5))"})
    {'1|g': Normal(mu: 0.0, sigma: HalfNormal(sigma: 2.5))}
    """
    return from_plain_priors({name: plain_prior(name, text) for name, text in texts.items()})


def plain_prior(name: str, text: str) -> dict[str, Any]:
    """A prior as `hierbayes.from_bambi.plain_priors` has it.

    Parameters
    ----------
    name : str
        Of the term, for the error.
    text : str

    Returns
    -------
    dict

    Raises
    ------
    PriorError

    Examples
    --------
    >>> plain_prior("Subject_corr", "LKJ(eta=2)")
    {'prior': 'LKJ', 'args': {'eta': 2}}
    """
    try:
        return _distribution(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError):
        raise PriorError(
            f"The prior of {name!r} is {text!r}; write a distribution with named parameters, such as "
            "Normal(mu=0, sigma=2.5)."
        ) from None


def _distribution(node: ast.expr) -> dict[str, Any]:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or node.args:
        raise ValueError
    return {"prior": node.func.id, "args": {str(k.arg): _value(k.value) for k in node.keywords if _named(k)}}


def _named(keyword: ast.keyword) -> bool:
    if keyword.arg is None:
        raise ValueError
    return True


def _value(node: ast.expr) -> Any:
    return _distribution(node) if isinstance(node, ast.Call) else ast.literal_eval(node)
