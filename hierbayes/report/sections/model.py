"""The model in words and in symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hierbayes import names

from ..numbers import joined
from ..rows import row_facts
from ..scale import described, family_of, parameter_words, response_of
from ..symbols import auxiliary_symbols, equations, letters, numbering, parent_symbol, row_index
from .predictors import categorical

if TYPE_CHECKING:
    from hierbayes.model import Model

WRAPPED = {
    "censored": "Some responses are censored: known only to lie beyond, or between, the values given.",
    "truncated": "The response is truncated: rows beyond its bounds cannot have been observed.",
    "constrained": "The response is constrained: its distribution is cut off at bounds.",
    "weighted": "Every row has a weight, by which its log likelihood is multiplied.",
}
"""Responses that are not observed as they are, in words."""


def model_section(model: Model) -> dict[str, Any]:
    """The model in words and in symbols."""
    design = model.design
    texts = categorical(model.data)
    number = numbering(design)
    factors = []
    for factor in design.factors:
        blocks = []
        for part in design.parts_of(factor):
            labels = [
                "in the intercept" if label == "Intercept" else f"in the coefficient of {label}"
                for label in part.block.labels
            ]
            blocks.append({"labels": labels, "correlated": part.free})
        factors.append({"name": factor.name, "blocks": blocks})
    facts = row_facts(design, model.data)
    signs = letters(design)
    numbers = [f"{signs[factor.name][1]} the levels of {factor.name}" for factor in design.factors]
    return {
        "formula": design.formula,
        "response": design.response,
        "family": None if design.family.exact else _family(model),
        "factors": factors,
        "fixed": [term.name for term in design.terms if term.name != names.INTERCEPT],
        "intercept": design.intercept is not None,
        "weights": facts.weights if design.sigma is None else None,
        "se": facts.se,
        "offsets": list(facts.offsets),
        "residual": design.residual,
        "time": facts.time,
        "step": facts.step,
        "equations": equations(design, texts),
        "indices": joined(["i numbers the rows", *numbers]),
        "letters": [(letter, name) for name, (letter, _) in signs.items()] if len(signs) > 1 else [],
        "row": row_index(design),
        "symbols": [
            (k, label) for label, k in sorted(number.items(), key=lambda item: item[1]) if label in design.labels
        ],
        "indicators": any("[" in label and label.split("[")[0] in texts for label in number),
    }


def _family(model: Model) -> dict[str, Any]:
    """Distribution and link of a response that is not Gaussian, in words."""
    design, family = model.design, model.design.family
    return {
        "name": family_of(design),
        "response": response_of(design),
        "described": described(design),
        "parameter": parameter_words(design),
        "link": family.link,
        "ordinal": family.ordinal,
        "sequential": family.name == "sratio",
        "trials": design.trials is not None,
        "several": "" if design.outcomes is None else "other outcome" if family.link == "softmax" else "outcome",
        "observed": WRAPPED.get(family.response, ""),
        "symbol": parent_symbol(design),
        "auxiliary": [(symbol, name) for name, symbol in auxiliary_symbols(design).items()],
    }
