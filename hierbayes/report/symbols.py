"""The model in symbols, as MathML, which browsers set without any script."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hierbayes.design import Block, Design

PER_LINE = 3
"""Terms of the linear predictor in one line."""


def equations(design: Design, categorical: set[str]) -> list[str]:
    """Write the model as equations.

    Parameters
    ----------
    design : Design
    categorical : set of str
        Predictors whose columns are indicators: ``recipe[B]`` is then set as ``[recipe = B]``.

    Returns
    -------
    list of str
        One ``<math>`` element each: the linear predictor, one law per independent set of random
        effects, and the law of the residual.
    """
    number = numbering(design)
    made = [_predictor(design, categorical, number)]
    for block, free in zip(design.blocks, design.layout.correlated, strict=True):
        if free:
            made.append(_correlated(block, number))
        else:
            made += [_independent(label, number) for label in block.labels]
    residual = _row(
        _index("ε", "ij"), _operator("∼"), _upright("N"), _fence(_number(0), _operator(","), _square("σ"))
    )
    return [*made, _math(residual)]


def numbering(design: Design) -> dict[str, int]:
    """Index of every coefficient: a random effect has that of the fixed effect that it deviates from.

    Parameters
    ----------
    design : Design

    Returns
    -------
    dict of str to int
        The intercept is 0.
    """
    labels = list(dict.fromkeys([*design.labels, *design.effect_labels]))
    rest = [label for label in labels if label != "Intercept"]
    return {"Intercept": 0} | {label: k for k, label in enumerate(rest, start=1)}


def _predictor(design: Design, categorical: set[str], number: dict[str, int]) -> str:
    varying = set(design.effect_labels)
    terms = []
    for label in [*design.labels, *(name for name in design.effect_labels if name not in design.labels)]:
        k = number[label]
        fixed, random = _index("β", str(k)), _index("b", f"{k}j")
        if label not in design.labels:
            coefficient = random
        elif label in varying:
            coefficient = _row(fixed, _operator("+"), random)
            if label != "Intercept":
                coefficient = _fence(*coefficient)
        else:
            coefficient = fixed
        terms.append(
            coefficient if label == "Intercept" else _row(coefficient, _space(0.15), *_column(label, categorical))
        )
    terms.append(_index("ε", "ij"))
    pieces: list[list[ET.Element]] = [[]]
    for k, term in enumerate(terms):
        if k and k % PER_LINE == 0 and k < len(terms) - 1:
            pieces.append([])
        if k:
            pieces[-1].append(_operator("+"))
        pieces[-1].append(term)
    left = [_index("y", "ij"), _operator("=")]
    if len(pieces) == 1:
        return _math(_row(*left, *pieces[0]))
    table = ET.Element("mtable")
    for line, content in enumerate(pieces):
        row = ET.SubElement(table, "mtr")
        ET.SubElement(row, "mtd", {"class": "left"}).append(_row(*(left if line == 0 else [])))
        ET.SubElement(row, "mtd", {"class": "right"}).append(_row(*content))
    return _math(table)


def _column(label: str, categorical: set[str]) -> list[ET.Element]:
    """A column of the design, with the indices of its rows."""
    made: list[ET.Element] = []
    for part in re.split(r":(?![^\[(]*[\])])", label):
        inside = re.fullmatch(r"(.+)\[(.+)\]", part)
        if inside and inside[1] in categorical:
            base = _row(_operator("["), _identifier(inside[1]), _operator("="), _text(inside[2]), _operator("]"))
        else:
            base = _identifier(part)
        made += [_space(0.2)] if made else []
        made.append(_sub(base, "ij"))
    return made


def _correlated(block: Block, number: dict[str, int]) -> str:
    indices = [number[label] for label in block.labels]
    vector = _fence(*_listed([_index("b", f"{k}j") for k in indices]))
    law = [vector, _operator("∼"), _upright("N")]
    if len(indices) > 3:
        return _math(_row(*law, _fence(_number(0), _operator(","), _upright("Σ"))))
    table = ET.Element("mtable", {"class": "matrix"})
    for a in indices:
        row = ET.SubElement(table, "mtr")
        for b in indices:
            low, high = min(a, b), max(a, b)
            cell = (
                _square("τ", str(a))
                if a == b
                else _row(_index("ρ", f"{low}{high}"), _index("τ", str(low)), _index("τ", str(high)))
            )
            ET.SubElement(row, "mtd").append(cell)
    sigma = _row(_upright("Σ"), _operator("="), table)
    return _math(_row(*law, _fence(_number(0), _operator(","), _upright("Σ")), _operator(","), _space(1.0), sigma))


def _independent(label: str, number: dict[str, int]) -> str:
    k = str(number[label])
    return _math(
        _row(_index("b", f"{k}j"), _operator("∼"), _upright("N"), _fence(_number(0), _operator(","), _square("τ", k)))
    )


def _listed(parts: list[ET.Element]) -> list[ET.Element]:
    made: list[ET.Element] = []
    for part in parts:
        made += [_operator(","), part] if made else [part]
    return made


def _math(content: ET.Element) -> str:
    root = ET.Element("math", {"display": "block"})
    root.append(content)
    return ET.tostring(root, encoding="unicode")


def _row(*parts: ET.Element) -> ET.Element:
    row = ET.Element("mrow")
    row.extend(parts)
    return row


def _fence(*parts: ET.Element) -> ET.Element:
    return _row(_operator("("), *parts, _operator(")"))


def _leaf(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element


def _identifier(text: str) -> ET.Element:
    return _leaf("mi", text)


def _upright(text: str) -> ET.Element:
    element = _leaf("mi", text)
    element.set("mathvariant", "normal")
    return element


def _space(width: float) -> ET.Element:
    return ET.Element("mspace", {"width": f"{width:g}em"})


def _operator(text: str) -> ET.Element:
    return _leaf("mo", text)


def _text(text: str) -> ET.Element:
    return _leaf("mtext", text)


def _number(value: int) -> ET.Element:
    return _leaf("mn", str(value))


def _sub(base: ET.Element, indices: str) -> ET.Element:
    element = ET.Element("msub")
    element.append(base)
    element.append(_subscript(indices))
    return element


def _index(name: str, indices: str) -> ET.Element:
    return _sub(_identifier(name), indices)


def _square(name: str, index: str = "") -> ET.Element:
    element = ET.Element("msubsup" if index else "msup")
    element.append(_identifier(name))
    if index:
        element.append(_subscript(index))
    element.append(_number(2))
    return element


def _subscript(indices: str) -> ET.Element:
    """Digits together as a number, letters one by one."""
    parts = [_leaf("mn" if part.isdigit() else "mi", part) for part in re.findall(r"\d+|\D", indices)]
    return parts[0] if len(parts) == 1 else _row(*parts)
