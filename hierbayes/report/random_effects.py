"""Is a random effect there: likelihood-ratio tests of every one that can be left out."""

from __future__ import annotations

import re

from hierbayes.names import INTERCEPT

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
        With the boundary taken into account, for every label of a term that was left out; empty where there is no
        REML fit, it did not converge, or the refits would take long.
    """
    table = candidate.random_effect_tests
    if table is None:
        return {}
    labels = {
        (block.factor.name, INTERCEPT if term.name == "1" else term.name): term.labels
        for block in candidate.design.blocks
        for term in block.terms
    }
    found: dict[tuple[str, str], float] = {}
    for term, p in zip(table["term"], table["p_value"], strict=True):
        if (key := effect_of(str(term))) is not None and p == p:
            found |= {(key[0], label): float(p) for label in labels.get(key, [key[1]])}
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
