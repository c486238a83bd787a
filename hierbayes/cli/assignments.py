"""Options of the form NAME=VALUE: numbers, lists of numbers or texts, distributions."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

import typer

from hierbayes.errors import suggest

INTERCEPT = "Intercept"
COMMON = ("norm", "uniform", "expon", "gamma", "beta", "t", "lognorm", "bernoulli", "binom", "poisson", "randint")
"""Distributions that are named where another was not found."""


def assigned(texts: Sequence[str] | None, option: str, read: Callable[[str], Any]) -> dict[str, Any]:
    """Read what was given by name.

    Parameters
    ----------
    texts : sequence of str or None
        Each ``NAME=VALUE``; the name goes to the first equals sign.
    option : str
        For messages.
    read : callable
        Makes a value of its text, or raises a `ValueError`.

    Returns
    -------
    dict of str to value

    Raises
    ------
    typer.BadParameter
        Without a name or a value, or if a name comes twice.

    Examples
    --------
    >>> assigned(["x=0.3", "sex[Male]=-1"], "--effect", number)
    {'x': 0.3, 'sex[Male]': -1.0}
    """
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals or not value:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=f"'{option}'")
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=f"'{option}'")
        try:
            found[name] = read(value)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r}: {error}", param_hint=f"'{option}'") from error
    return found


def number(text: str) -> float:
    """A number.

    Raises
    ------
    ValueError
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def parameter(text: str) -> Any:
    """A number, or a distribution that it is drawn from.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> parameter("0.5"), parameter("norm(0.3, scale=0.1)").mean()
    (0.5, np.float64(0.3))
    """
    return distribution(text) if "(" in text else number(text)


def predictor(text: str) -> Any:
    """A distribution, or a list of numbers or texts.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> predictor("0, 1, 2"), predictor("control,treated"), predictor("uniform(0, 10)").mean()
    ([0, 1, 2], ['control', 'treated'], np.float64(5.0))
    """
    if "(" in text:
        return distribution(text)
    parts = [part.strip() for part in text.split(",")]
    for kind in (int, float):
        try:
            return [kind(part) for part in parts]
        except ValueError:
            continue
    return parts


def counts(text: str) -> int | list[int]:
    """A whole number, or several alternatives.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> counts("20"), counts("10,20,30")
    (20, [10, 20, 30])
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number, or several separated by commas") from None
    return found[0] if len(found) == 1 else found


def distribution(text: str) -> Any:
    """A frozen distribution of scipy.stats, written as in Python.

    Parameters
    ----------
    text : str
        Such as ``"norm(0, 1)"`` or ``"gamma(2, scale=3)"``.

    Returns
    -------
    scipy.stats frozen distribution

    Raises
    ------
    ValueError
        If it is none, or its parameters are not numbers.
    """
    from scipy import stats

    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("a distribution is written as norm(0, 1)")
    law = getattr(stats, call.func.id, None)
    if not isinstance(law, stats.rv_continuous | stats.rv_discrete):
        raise ValueError(f"scipy.stats has no distribution {call.func.id!r}. {suggest(call.func.id, COMMON)}")
    try:
        args = [float(ast.literal_eval(arg)) for arg in call.args]
        more = {str(each.arg): float(ast.literal_eval(each.value)) for each in call.keywords}
        frozen = law(*args, **more)
        median = float(frozen.ppf(0.5))
    except (ValueError, TypeError):
        median = math.nan
    if math.isnan(median):
        raise ValueError(f"these are no parameters of {call.func.id}; norm, for one, has mean and sd, norm(0, 1)")
    return frozen


def by_group(given: dict[str, Any], *, effects: bool) -> dict[str, Any]:
    """Put what is named ``effect|group`` under its group.

    Parameters
    ----------
    given : dict
    effects : bool
        Whether effects are meant, of which that of the intercept is named 1.

    Returns
    -------
    dict

    Examples
    --------
    >>> by_group({"1|g": 0.5, "x|g": 0.2}, effects=True), by_group({"g": 0.5}, effects=True)
    ({'g': {'Intercept': 0.5, 'x': 0.2}}, {'g': 0.5})
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        inner, bar, group = (part.strip() for part in name.rpartition("|"))
        if not bar:
            found[group] = value
        else:
            under = found.setdefault(group, {})
            if isinstance(under, dict):
                under[INTERCEPT if effects and inner == "1" else inner] = value
    return found
