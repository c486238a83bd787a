"""What a coefficient says about the response, in a sentence, and the numbers behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes.design import Design

from .estimates import Estimate
from .numbers import brief, joined
from .scale import Scale, outcome_of, scale_of


@dataclass(frozen=True)
class Finding:
    """A claim and what it rests on.

    Parameters
    ----------
    claim, evidence : str
    severity : {"", "note", "warning", "problem"}
        Of what is wrong.
    anchor, link : str
        Section with the evidence, and its name.
    """

    claim: str
    evidence: str = ""
    severity: str = ""
    anchor: str = ""
    link: str = ""


def in_words(row: Estimate, design: Design, data: pd.DataFrame, level: str, references: dict[str, str]) -> Finding:
    """Say what one coefficient says of the response.

    Parameters
    ----------
    row : Estimate
    design : Design
    data : pandas.DataFrame
        The rows used.
    level : str
        Of the intervals, such as ``"95%"``.
    references : dict of str to str
        Reference level of every categorical predictor that has one.

    Returns
    -------
    Finding
    """
    label, outcome = outcome_of(row.label, design)
    scale = scale_of(design, outcome)
    cell = _cell(label, data, references)
    if label == "Intercept" or (cell and len(_parts(label)) == 1):
        of = f" for {cell[0]} {cell[1]}" if cell and label != "Intercept" else ""
        where = _where_rest(label, design, references)
        if design.family.exact:
            average = f"The average {design.response}" + ("" if design.offset is None else " less its offset")
            return Finding(f"{average}{of} is {row.show(row.first.estimate)}{where}.", estimates_of(row, level))
        return _expected(row, design, scale, of, where, level)
    both, neither = about_zero(row)
    subject = subject_of(label, design, references) + (f" on {scale.quantity}" if outcome else "")
    if both:
        claim = _comparison(row, design, data, references)
    elif neither:
        claim = f"The data do not settle the direction of {subject}."
    else:
        claim = f"The two inferences differ on whether {subject} is distinct from zero."
    if row.maximum is None:
        closing = f"The interval {'excludes' if both else 'includes'} zero."
    elif both or neither:
        closing = f"Both intervals {'exclude' if both else 'include'} zero."
    elif design.family.exact:
        closing = f"The {row.method} interval takes the estimated variances as known; the posterior does not."
    else:
        closing = f"The {row.method} interval goes by the curvature at the maximum; the posterior does not."
    slopes = [part for part in _parts(label) if not _cell(part, data, references)]
    ratio = "ratios of " * (len(slopes) - 1) + f"{scale.ratio}s"
    ratios = f" {_natural(row, scale.times, ratio)}" if scale.ratio else ""
    return Finding(claim, f"{estimates_of(row, level)} {closing}{ratios}")


def _expected(row: Estimate, design: Design, scale: Scale, of: str, at: str, level: str) -> Finding:
    """What an intercept, or the coefficient of one category by itself, says of a response that is not Gaussian."""
    where = f"In an average level of {joined([factor.name for factor in design.factors])}"
    value, natural = row.show(row.first.estimate), ""
    subject = scale.quantity
    if scale.invertible:
        value, subject = brief(scale.inverse(row.first.estimate)), scale.parameter
        natural = "" if scale.link == "identity" else f" {_natural(row, scale.inverse, scale.parameter)}"
    elif scale.ratio:
        value = brief(scale.times(row.first.estimate))
        natural = f" {_natural(row, scale.times, 'odds')}"
    is_ = "are" if scale.plural and not scale.invertible else "is"
    return Finding(f"{where}, {subject}{of} {is_} {value}{at}.", f"{estimates_of(row, level)}{natural}")


def about_zero(row: Estimate) -> tuple[bool, bool]:
    """Whether all intervals exclude zero, on the same side, and whether all include it."""
    sides = list(row.sides.values())
    same = len({np.sign(side.estimate) for side in sides}) == 1
    return all(side.excludes_zero for side in sides) and same, not any(side.excludes_zero for side in sides)


def estimates_of(row: Estimate, level: str) -> str:
    """The estimates of a row with their intervals."""
    said = [
        f"{name} {row.show(side.estimate)}, {level} interval {ends_of(row, side.low, side.high)}"
        for name, side in row.sides.items()
    ]
    text = f"{'; '.join(said)}."
    return text[0].upper() + text[1:]


def _natural(row: Estimate, transform: Callable[[float], float], name: str) -> str:
    """Estimates and intervals of a row on another scale, which rises with that of the row."""
    said = []
    for by, side in row.sides.items():
        middle, low, high = (brief(transform(value)) for value in (side.estimate, side.low, side.high))
        ends = f" ({low} to {high})" if np.isfinite(side.low) and np.isfinite(side.high) else ""
        said.append(f"{by.removesuffix(' mean')} {middle}{ends}")
    return f"As {name.removeprefix('the ')}: {', '.join(said)}."


def range_of(row: Estimate, level: str) -> str:
    """The interval of the posterior."""
    words = f"{level} interval".strip()
    return f"{words} {ends_of(row, row.posterior.low, row.posterior.high)}"


def ends_of(row: Estimate, low: float, high: float) -> str:
    """The ends of an interval, if it exists."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "not defined"
    return f"{row.show(low)} to {row.show(high)}"


def _parts(label: str) -> list[str]:
    """Factors of an interaction; a colon inside brackets does not part anything."""
    return re.split(r":(?![^\[(]*[\])])", label)


def category_of(part: str, references: dict[str, str]) -> tuple[str, str] | None:
    """Predictor and level of ``recipe[B]``, if that predictor has a reference level."""
    match = re.fullmatch(r"(.+)\[(.+)\]", part)
    return (match[1], match[2]) if match and match[1] in references else None


def subject_of(label: str, design: Design, references: dict[str, str]) -> str:
    """What a coefficient is about, as the object of a sentence."""
    parts = _parts(label)
    if len(parts) > 1:
        return f"the interaction {label}"
    category = category_of(label, references)
    if category:
        return f"the difference between {category[0]} {category[1]} and {references[category[0]]}" + where_of(
            label, design, references
        )
    what = "coefficient" if "[" in label or "(" in label else "effect"
    return f"the {what} of {label}" + where_of(label, design, references)


def _comparison(row: Estimate, design: Design, data: pd.DataFrame, references: dict[str, str]) -> str:
    """What a coefficient says about the response."""
    label, outcome = outcome_of(row.label, design)
    scale = scale_of(design, outcome)
    parts = _parts(label)
    categories = [category_of(part, references) for part in parts]
    value = row.first.estimate
    subject = scale.quantity[0].upper() + scale.quantity[1:] if scale.quantity.startswith("the ") else scale.quantity
    is_, change = "are" if scale.plural else "is", f"The change of {scale.quantity}"
    if scale.ratio:
        amount, than = f"{brief(scale.times(value))} times as high", "as"
        per_unit, change = f"multiplied by {brief(scale.times(value))}", f"The {scale.ratio}"
    else:
        amount = per_unit = f"{row.show(abs(value))} {'higher' if value >= 0 else 'lower'}"
        than = "than"
    if len(parts) == 1:
        where = where_of(label, design, references)
        if categories[0]:
            name, level = categories[0]
            return f"{subject} {is_} {amount} for {name} {level} {than} for {references[name]}{where}."
        if label in data.columns:
            return f"{subject} {is_} {per_unit} for each unit of {label}{where}."
        of = f" on {scale.quantity}" if outcome else ""
        return f"The coefficient of {label}{of} is {row.show(value)}{where}."
    known = [category for category in categories if category]
    if len(parts) == 2 and len(known) == 1:
        name, level = known[0]
        slope = parts[1] if categories[0] else parts[0]
        return f"{change} for each unit of {slope} is {amount} for {name} {level} {than} for {references[name]}."
    cell = _cell(label, data, references)
    if len(parts) == 2 and cell:
        slope = parts[1] if parts[0] == f"{cell[0]}[{cell[1]}]" else parts[0]
        return f"{subject} {is_} {per_unit} for each unit of {slope} for {cell[0]} {cell[1]}."
    of = f" on {scale.quantity}" if outcome else ""
    return f"The interaction {label}{of} is {row.show(value)}."


def _cell(label: str, data: pd.DataFrame, references: dict[str, str]) -> tuple[str, str] | None:
    """Predictor and level of the first part that stands for one category by itself, without a reference level."""
    for part in _parts(label):
        match = re.fullmatch(r"(.+)\[(.+)\]", part)
        if match and match[1] in data.columns and match[1] not in references:
            return match[1], match[2]
    return None


def where_of(label: str, design: Design, references: dict[str, str]) -> str:
    """For a main effect that is part of an interaction: at which value of the others it holds."""
    own = category_of(label, references)
    name = own[0] if own else label
    others: list[str] = []
    for term in design.terms:
        factors = term.name.split(":")
        if len(factors) > 1 and name in factors:
            others += [factor for factor in factors if factor != name and factor not in others]
    return _at(others, references)


def _where_rest(label: str, design: Design, references: dict[str, str]) -> str:
    """For an intercept or the mean of a category: at which values of all other predictors it holds."""
    own = label.split("[")[0]
    names = (name for term in design.terms if term.name != "Intercept" for name in term.name.split(":"))
    others = [name for name in dict.fromkeys(names) if name != own]
    if design.offset is not None and not design.family.exact:
        others.append("the offset")
    return _at(others, references)


def _at(others: list[str], references: dict[str, str]) -> str:
    """Predictors at their reference levels, or at zero."""
    if not others:
        return ""
    return " where " + joined([f"{other} is {references.get(other, '0')}" for other in others])
