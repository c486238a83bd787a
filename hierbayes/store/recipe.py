"""What a model was made of, in words and numbers, and the same model made again.

The formula is evaluated anew on the rows of the file, so that everything which can be asked of a model can be asked
of a restored one. Functions that the formula takes from the caller are not in the file: a file holds no code. They
must be in scope again, and the columns that they make must be those of the fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import LoadError
from hierbayes.from_bambi.formula import FUNCTIONS
from hierbayes.from_bambi.plain_priors import from_plain_priors, to_plain_priors
from hierbayes.plain import from_plain, to_plain
from hierbayes.priors import Prior, Priors
from hierbayes.specification import Specification, specify

ROUNDING = 1e-8
"""Columns that a formula makes anew may differ by this, relative to their size."""
RECORDS = {"Prior": Prior, "Priors": Priors}


def describe(specification: Specification) -> dict[str, Any]:
    """What a model was made of, for the manifest.

    Parameters
    ----------
    specification : Specification

    Returns
    -------
    dict
    """
    s = specification
    values, functions = _namespace(s)
    return {
        "formula": s.formula,
        "family": s.family.name,
        "link": s.family.link,
        "priors": to_plain_priors(s.priors_given),
        "center_predictors": s.center_predictors,
        "weights": s.weights,
        "se": s.se,
        "residual": s.residual,
        "values": values,
        "functions": functions,
        "rows_dropped": s.design.n_dropped,
        "incomplete_columns": list(s.design.dropped_columns),
        "columns_made": _columns(s.design),
    }


def rebuild(
    about: Mapping[str, Any], rows: pd.DataFrame, labels: np.ndarray, scope: Mapping[str, Any]
) -> Specification:
    """Make a specification again.

    Parameters
    ----------
    about : mapping
        From `describe`.
    rows : pandas.DataFrame
    labels : (n,) array
        Of the rows.
    scope : mapping
        The caller's names, for functions that the formula uses.

    Returns
    -------
    Specification

    Raises
    ------
    LoadError
        If a function is not in scope, or the formula makes other columns than before.
    """
    for name, what in about["functions"].items():
        if name not in scope:
            raise LoadError(
                f"The formula {about['formula']!r} uses {name}, {what}, which is not in the file; define or import "
                f"it as it was and load again, or hand it over: load(path, namespace={{{name!r}: {name}}})."
            )
    names = {name: scope[name] for name in about["functions"]} | {
        name: _value(value) for name, value in about["values"].items()
    }
    made = specify(
        about["formula"],
        rows,
        about["family"],
        about["link"],
        from_plain_priors(about["priors"]),
        about["center_predictors"],
        True,
        about["weights"],
        about["se"],
        about["residual"],
        names,
    )
    _compare(about, _columns(made.design))
    design = replace(
        made.design,
        n_dropped=about["rows_dropped"],
        dropped_columns=tuple(about["incomplete_columns"]),
        row_labels=labels,
    )
    return replace(made, design=design)


def words_of(formula: str) -> set[str]:
    """Names in a formula that can stand for values or functions of the caller.

    Not among them are texts, names in backticks, names of arguments, and what comes after a dot.

    Examples
    --------
    >>> sorted(words_of("y ~ bs(x, df=4, knots=at) + `a b` + special.expit(z) + C(f, levels=['u', 'v']) + (1 | g)"))
    ['C', 'at', 'bs', 'f', 'g', 'special', 'x', 'y', 'z']
    """
    bare = re.sub(r"\'[^\']*\'|\"[^\"]*\"|`[^`]*`", " ", formula)
    return set(re.findall(r"(?<![\w.])([^\W\d]\w*)\b(?!\s*=(?!=))", bare))


def _namespace(s: Specification) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of the caller that the formula uses, as JSON; and its functions, in words."""
    values: dict[str, Any] = {}
    functions: dict[str, str] = {}
    words = words_of(s.formula)
    for name, value in s.namespace.items():
        known = name not in words or value is FUNCTIONS.get(name)
        if known or (name in s.data.columns and not callable(value)):
            continue
        try:
            values[name] = {"numpy": value.__name__} if _of_numpy(value) else to_plain(value)
        except TypeError:
            functions[name] = _in_words(value)
    return values, functions


def _of_numpy(value: Any) -> bool:
    """Whether a value is a public function of numpy."""
    return callable(value) and getattr(np, str(getattr(value, "__name__", "")), None) is value


def _value(plain: Any) -> Any:
    return getattr(np, plain["numpy"]) if isinstance(plain, dict) and set(plain) == {"numpy"} else from_plain(plain)


def _in_words(value: Any) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    name = getattr(value, "__qualname__", None)
    if name is None:
        return f"an object of type {type(value).__name__}"
    return f"the function {name} of {value.__module__}"


def _columns(design: Design) -> dict[str, Any]:
    """Two figures for every column of the design, which change with any of its values or with their order."""
    columns: dict[str, np.ndarray] = {f"the response {design.response}": design.y}
    columns |= {f"{label} of the fixed effects": x for label, x in zip(design.labels, design.X.T, strict=True)}
    for block in design.blocks:
        where = f"of the random effects of {block.factor.name}"
        columns |= {f"{label} {where}": z for label, z in zip(block.labels, block.Z.T, strict=True)}
        columns[f"the levels {where}"] = block.factor.codes
    optional = {"the offset": design.offset, "the weights": design.weights, "the trials": design.trials}
    columns |= {name: values for name, values in optional.items() if values is not None}
    waves = np.cos(np.arange(design.n))
    figures = {}
    for name, column in columns.items():
        values = np.asarray(column, dtype=float).reshape(design.n, -1)
        figures[name] = [float(np.abs(values).sum()), float((waves @ values).sum())]
    return figures


def _compare(about: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Refuse a design that is not that of the fit."""
    wanted = about["columns_made"]
    different = [name for name in {**wanted, **made} if not _close(wanted.get(name), made.get(name))]
    if different:
        used = ", ".join(about["functions"])
        remedy = f"define {used} as it was" if used else "load it with the versions that it was saved with"
        raise LoadError(
            f"The formula {about['formula']!r} no longer makes the same columns: {different[0]} differs; {remedy}."
        )


def _close(one: list[float] | None, other: list[float] | None) -> bool:
    if one is None or other is None:
        return False
    return bool(np.allclose(one, other, rtol=ROUNDING, atol=ROUNDING * max(one[0], 1e-300)))
