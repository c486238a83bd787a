"""The same fixed effects on the same rows, with other random effects."""

from __future__ import annotations

import re
from dataclasses import replace

from hierbayes.bars import find_bars
from hierbayes.from_bambi.prior_table import prior_names
from hierbayes.model import Model
from hierbayes.specification import specify


def fixed_part(formula: str) -> str:
    """A formula without its random effects.

    Examples
    --------
    >>> fixed_part("y ~ (1 | g) + x + (0 + x | g)"), fixed_part("y ~ (x | g)")
    ('y ~ x', 'y ~ 1')
    """
    for start, end, _ in reversed(find_bars(formula)):
        before, after = formula[:start], formula[end:]
        shorter = re.sub(r"\s*\+\s*$", "", before)
        formula = shorter + after if shorter != before else before + re.sub(r"^\s*\+\s*", "", after)
    left, _, right = formula.partition("~")
    return f"{left.strip()} ~ {right.strip() or '1'}"


def with_effects(model: Model, effects: str) -> Model:
    """Give a model other random effects.

    Parameters
    ----------
    model : Model
    effects : str
        Such as ``"(1 | g)"``.

    Returns
    -------
    Model
        With the priors that were given for what both have; the others are automatic.

    Raises
    ------
    FormulaError, DataError
        If there is no such model.
    """
    s = model.specification
    made = specify(
        f"{fixed_part(s.formula)} + {effects}",
        s.data,
        center_predictors=s.center_predictors,
        weights=s.weights,
        se=s.se,
        residual=s.residual,
        namespace=s.namespace,
    )
    known = prior_names(made.design)
    priors = {name: prior for name, prior in s.priors_given.items() if name in known}
    return Model._specified(replace(made, priors_given=priors))
