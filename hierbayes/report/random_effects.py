"""Is a random effect there: likelihood-ratio tests of every one that can be left out."""

from __future__ import annotations

import re
import warnings

from hierbayes.errors import HierbayesError, HierbayesWarning
from hierbayes.names import INTERCEPT
from hierbayes.results import RemlFit

from . import effort
from .candidates import Candidate

TERM = re.compile(r"(?:(?P<effect>.+) in )?\((?P<inside>[^|]+?)\s*\|+\s*(?P<group>.+)\)")
"""A term that `hierbayes.RemlFit.ranova` left out: one of several effects, or all of a block."""


def p_values_of(candidate: Candidate) -> dict[tuple[str, str], float]:
    """p-values of single random effects.

    Parameters
    ----------
    candidate : Candidate

    Returns
    -------
    dict of (group, effect) to float
        With the boundary taken into account; empty where there is no REML fit, it is singular or did not converge,
        or the refits would take long.
    """
    reml = candidate.maximum
    if not isinstance(reml, RemlFit) or not reml.converged or not candidate.design.factors:
        return {}
    if effort.refits_cost(reml.marginal) > 1:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HierbayesWarning)
            table = reml.ranova()
    except HierbayesError:
        return {}
    found = {}
    for term, p in zip(table["term"], table["p_value"], strict=True):
        if (key := effect_of(str(term))) is not None and p == p:
            found[key] = float(p)
    return found


def effect_of(term: str) -> tuple[str, str] | None:
    """Grouping factor and effect that a term stands for; None if it stands for several.

    Examples
    --------
    >>> effect_of("Days in (Days | Subject)"), effect_of("(1 | batch:cask)"), effect_of("(Days | Subject)")
    (('Subject', 'Days'), ('batch:cask', 'Intercept'), None)
    """
    found = TERM.fullmatch(term)
    if found is None:
        return None
    inside = found["effect"] or found["inside"].strip()
    if found["effect"] is None:
        if inside != "1" and not inside.startswith("0 + "):
            return None
        inside = inside.removeprefix("0 + ")
        if "+" in inside or "*" in inside:
            return None
    return found["group"].strip(), INTERCEPT if inside == "1" else inside
