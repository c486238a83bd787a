"""The model in symbols, as MathML, which browsers set without any script."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hierbayes.design import Block, Design

PER_LINE = 3
"""Terms of the linear predictor in one line."""
LETTERS, INDICES = "bcdfghvwz", "jklmpqrsu"
"""Random effects of the first, second, … grouping factor, and the index of its levels."""
GREEK = {
    "mu": "μ", "sigma": "σ", "alpha": "α", "kappa": "κ", "psi": "ψ", "nu": "ν", "lam": "λ",
    "b": "δ",
}  # fmt: skip
"""Parameters of families; others by their names."""
LAWS = {"gaussian": "Normal", "t": "StudentT", "negativebinomial": "NegativeBinomial", "vonmises": "VonMises"}
"""Distributions whose names are not those of the families."""


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
        effects, the law of the residual, and the correlation of residuals if there is one. A response that is
        not Gaussian has its law first, and no residual.
    """
    number, signs = numbering(design), letters(design)
    if design.family.exact:
        left = [_index("y", row_index(design)), _operator("=")]
        made = [_predictor(design, categorical, number, left, noise=True)]
    else:
        made = _response(design, categorical, number)
    for part in design.parts:
        letter, index = signs[part.factor.name]
        own = letter if len(signs) > 1 else ""
        if part.free:
            made.append(_correlated(part.block, number, letter, index, own))
        else:
            made += [_independent(number[label], letter, index, own) for label in part.block.labels]
    return made + (_residuals(design) if design.family.exact else [])


def _residuals(design: Design) -> list[str]:
    """The law of the residuals and their correlation."""
    row = row_index(design)
    spread = _square("σ")
    if design.sigma is not None:
        spread = _square("s", row)
    elif design.weights is not None:
        spread = _row(spread, _operator("/"), _index("w", row))
    law = _row(_index("ε", row), _operator("∼"), _upright("N"), _fence(_number(0), _operator(","), spread))
    made = [_math(law)]
    if design.residual is not None:
        made.append(_correlation(row, design.residual.kind))
    return made


def parent_symbol(design: Design) -> str:
    """Symbol of the parameter that the formula describes."""
    return GREEK.get(design.family.parent, design.family.parent)


def auxiliary_symbols(design: Design) -> dict[str, str]:
    """Symbols of the further parameters of the family, by their names; thresholds are not among them."""
    return {name: GREEK.get(name, name) for name in design.family.auxiliary if name != "threshold"}


def _response(design: Design, categorical: set[str], number: dict[str, int]) -> list[str]:
    """The law of a response that is not Gaussian, and its linear predictor."""
    family, row = design.family, row_index(design)
    predictor = [_index("η", row), _operator("=")]
    if family.ordinal:
        event = [_index("y", row), _operator("≤"), _identifier("k")]
        if family.name == "sratio":
            event = [_index("y", row), _operator("="), _identifier("k"), _operator("|")]
            event += [_index("y", row), _operator("≥"), _identifier("k")]
        probability = _row(_upright("P"), _fence(*event))
        steps = [_index("θ", "k"), _operator("−"), _index("η", row)]
        law = _row(*_linked(family.link, probability), _operator("="), *steps)
        return [_math(law), _predictor(design, categorical, number, predictor)]
    parent = _index(parent_symbol(design), row)
    parameters = [_index("n", row)] if family.with_trials or family.name.endswith("multinomial") else []
    parameters += [parent, *(_identifier(symbol) for symbol in auxiliary_symbols(design).values())]
    name = LAWS.get(family.name) or "".join(word.capitalize() for word in family.name.split("_"))
    law = _row(_index("y", row), _operator("∼"), _upright(name), _fence(*_listed(parameters, ",")))
    if family.link == "softmax":
        share = [_upright("log"), _fence(_index("p", f"{row}o"), _operator("/"), _index("p", f"{row}1"))]
        return [_math(law), _predictor(design, categorical, number, [*share, _operator("=")])]
    left = [*_linked(family.link, _index(parent_symbol(design), row)), _operator("=")]
    return [_math(law), _predictor(design, categorical, number, left)]


def _linked(link: str, parameter: ET.Element) -> list[ET.Element]:
    """The link function of a parameter."""
    if link == "identity":
        return [parameter]
    if link in {"inverse", "inverse_squared"}:
        below = ET.Element("msup") if link == "inverse_squared" else parameter
        if link == "inverse_squared":
            below.extend([parameter, _number(2)])
        return [_number(1), _operator("/"), below]
    return [_upright(link), _fence(parameter)]


def letters(design: Design) -> dict[str, tuple[str, str]]:
    """Letter of the random effects of every grouping factor, and index of its levels."""
    return {
        factor.name: (LETTERS[k % len(LETTERS)] + more, INDICES[k % len(INDICES)] + more)
        for k, factor in enumerate(design.factors)
        for more in ["′" * (k // len(LETTERS))]
    }


def row_index(design: Design) -> str:
    """Index of a row: with one grouping factor also that of its level."""
    return "ij" if len(design.factors) == 1 else "i"


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


def _predictor(
    design: Design, categorical: set[str], number: dict[str, int], left: list[ET.Element], noise: bool = False
) -> str:
    """What is left of the equals sign, and the sum on its right."""
    row, signs = row_index(design), letters(design)
    varying = [(label, *signs[part.factor.name]) for part in design.parts for label in part.block.labels]
    terms = []
    for label, k in {label: number[label] for label in [*design.labels, *design.effect_labels]}.items():
        parts = [_index("β", str(k))] if label in design.labels else []
        parts += [_index(letter, f"{k}{index}") for other, letter, index in varying if other == label]
        coefficient = parts[0]
        if len(parts) > 1:
            sum_ = _listed(parts, "+")
            coefficient = _row(*sum_) if label == "Intercept" else _fence(*sum_)
        terms.append(
            coefficient
            if label == "Intercept"
            else _row(coefficient, _space(0.15), *_column(label, categorical, row))
        )
    if design.offset is not None:
        terms.append(_index("o", row))
    if noise:
        terms.append(_index("ε", row))
    pieces: list[list[ET.Element]] = [[]]
    for k, term in enumerate(terms):
        if k and k % PER_LINE == 0 and k < len(terms) - 1:
            pieces.append([])
        if k:
            pieces[-1].append(_operator("+"))
        pieces[-1].append(term)
    if len(pieces) == 1:
        return _math(_row(*left, *pieces[0]))
    table = ET.Element("mtable")
    for line, content in enumerate(pieces):
        across = ET.SubElement(table, "mtr")
        ET.SubElement(across, "mtd", {"class": "left"}).append(_row(*(left if line == 0 else [])))
        ET.SubElement(across, "mtd", {"class": "right"}).append(_row(*content))
    return _math(table)


def _column(label: str, categorical: set[str], row: str) -> list[ET.Element]:
    """A column of the design, with the indices of its rows."""
    made: list[ET.Element] = []
    for part in re.split(r":(?![^\[(]*[\])])", label):
        inside = re.fullmatch(r"(.+)\[(.+)\]", part)
        if inside and inside[1] in categorical:
            base = _row(_operator("["), _identifier(inside[1]), _operator("="), _text(inside[2]), _operator("]"))
        else:
            base = _identifier(part)
        made += [_space(0.2)] if made else []
        made.append(_sub(base, row))
    return made


def _correlated(block: Block, number: dict[str, int], letter: str, index: str, own: str) -> str:
    indices = [number[label] for label in block.labels]
    vector = _fence(*_listed([_index(letter, f"{k}{index}") for k in indices], ","))
    sigma = _sub(_upright("Σ"), own) if own else _upright("Σ")
    law = [vector, _operator("∼"), _upright("N"), _fence(_number(0), _operator(","), sigma)]
    if len(indices) > 3:
        return _math(_row(*law))
    table = ET.Element("mtable", {"class": "matrix"})
    for a in indices:
        row = ET.SubElement(table, "mtr")
        for b in indices:
            low, high = min(a, b), max(a, b)
            cell = (
                _square("τ", f"{own}{a}")
                if a == b
                else _row(_index("ρ", f"{own}{low}{high}"), _index("τ", f"{own}{low}"), _index("τ", f"{own}{high}"))
            )
            ET.SubElement(row, "mtd").append(cell)
    sigma = _sub(_upright("Σ"), own) if own else _upright("Σ")
    return _math(_row(*law, _operator(","), _space(1.0), _row(sigma, _operator("="), table)))


def _independent(k: int, letter: str, index: str, own: str) -> str:
    law = _fence(_number(0), _operator(","), _square("τ", f"{own}{k}"))
    return _math(_row(_index(letter, f"{k}{index}"), _operator("∼"), _upright("N"), law))


def _correlation(row: str, kind: str) -> str:
    """Correlation of two residuals of one series."""
    other = row.replace("i", "i′")
    pair = _fence(_index("ε", row), _operator(","), _index("ε", other))
    value = _identifier("ρ")
    if kind == "ar1":
        value = ET.Element("msup")
        value.append(_identifier("ρ"))
        apart = [_operator("|"), _index("t", row), _operator("−"), _index("t", other), _operator("|")]
        value.append(_row(*apart))
    return _math(_row(_upright("Corr"), pair, _operator("="), value))


def _listed(parts: list[ET.Element], sign: str) -> list[ET.Element]:
    made: list[ET.Element] = []
    for part in parts:
        made += [_operator(sign), part] if made else [part]
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
    """Digits together as a number, letters and primes one by one."""
    parts = []
    for part in re.findall(r"\d+|\D", indices):
        parts.append(_leaf("mn" if part.isdigit() else "mo" if part == "′" else "mi", part))
        if part == "′":
            parts[-1].attrib.update(lspace="0", rspace="0")
    return parts[0] if len(parts) == 1 else _row(*parts)
