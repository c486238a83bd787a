"""What the linear predictor and its coefficients mean for a response, in words: its family and its link.

Exponentials of coefficients are odds ratios with the logit link and ratios of means with the logarithm; with the
identity they are differences of the mean itself; with any other link they are differences on its scale. All of them
compare rows of the same level of every grouping factor, or of average levels; with a link that is not the identity
this is not what a comparison of averages over the levels would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from hierbayes.design import Design

from .numbers import joined

PARAMETERS = {
    "binomial": "the probability of {}",
    "beta_binomial": "the probability of {}",
    "zero_inflated_binomial": "the probability of {} where it is not an extra zero",
    "bernoulli": "the probability of {}",
    "categorical": "the probability of {}",
    "multinomial": "the probability of {}",
    "dirichlet_multinomial": "the concentration of {}",
    "lognormal": "the mean of the logarithm of {}",
    "hurdle_lognormal": "the mean of the logarithm of {} where it is not 0",
    "hurdle_gamma": "the mean of {} where it is not 0",
    "hurdle_poisson": "the mean of {} before zeros are set apart",
    "hurdle_negativebinomial": "the mean of {} before zeros are set apart",
    "zero_inflated_poisson": "the mean of {} where it is not an extra zero",
    "zero_inflated_negativebinomial": "the mean of {} where it is not an extra zero",
    "asymmetriclaplace": "the location of {}",
    "exgaussian": "the mean of the normal part of {}",
    "laplace": "the location of {}",
    "t": "the location of {}",
    "vonmises": "the mean direction of {}",
}
"""The parameter that the formula describes, of the response or of the event that is counted."""
MEAN = "the mean of {}"
"""Of all other families."""
LINKS = {
    "logit": "the logit (log odds) of {}",
    "log": "the logarithm of {}",
    "probit": "the probit of {}",
    "cloglog": "the complementary log-log of {}",
    "inverse": "the inverse of {}",
    "inverse_squared": "the inverse square of {}",
}
"""What the linear predictor is, by its link."""
INVERSES: dict[str, Callable[[float], float]] = {
    "identity": float,
    "logit": special.expit,
    "log": np.exp,
    "probit": special.ndtr,
    "cloglog": lambda eta: -special.expm1(-np.exp(eta)),
}
"""Links whose inverse rises and is defined everywhere, and this inverse."""
FAMILIES = {
    "gaussian": "normal",
    "t": "Student t",
    "negativebinomial": "negative binomial",
    "exgaussian": "ex-Gaussian",
    "asymmetriclaplace": "asymmetric Laplace",
    "laplace": "Laplace",
    "vonmises": "von Mises",
    "wald": "Wald",
    "weibull": "Weibull",
    "bernoulli": "Bernoulli",
    "poisson": "Poisson",
    "beta_binomial": "beta-binomial",
    "cumulative": "cumulative",
    "sratio": "sequential",
}
"""Families in words; others by their own names."""


@dataclass(frozen=True)
class Scale:
    """The response of a model, or one of its outcomes, and what coefficients say of it.

    Parameters
    ----------
    parameter : str
        What the inverse of the link gives.
    quantity : str
        What coefficients add to, or what their exponentials multiply.
    ratio : str
        What the exponential of a coefficient is; empty if coefficients are differences.
    link : str
    invertible : bool
        Whether the linear predictor determines the parameter.
    """

    parameter: str
    quantity: str
    ratio: str
    link: str
    invertible: bool = True

    @property
    def plural(self) -> bool:
        """Whether the quantity is a plural."""
        return self.quantity.startswith("the odds")

    def inverse(self, eta: float) -> float:
        """The parameter for a linear predictor."""
        with np.errstate(over="ignore"):
            return float(INVERSES[self.link](eta))

    def times(self, coefficient: float) -> float:
        """By what a coefficient multiplies the quantity."""
        return math.exp(coefficient) if coefficient < 700.0 else math.inf


def response_of(design: Design) -> str:
    """The response in a few words: of ``p(successes, trials)`` the successes.

    Examples
    --------
    >>> import hierbayes as hb
    >>> response_of(hb.Model("y ~ x + (1 | group)", hb.load_data("simpson")).design)
    'y'
    """
    parts = arguments(design.response)
    if design.outcomes is not None and design.categories is None:
        return joined(parts)
    return parts[0] if design.family.with_trials or design.family.response != "plain" else design.response


def arguments(call: str) -> list[str]:
    """What stands between the parentheses of a call, or the text itself.

    Examples
    --------
    >>> arguments("p(successes, f(n, 2))"), arguments("y")
    (['successes', 'f(n, 2)'], ['y'])
    """
    if not call.endswith(")") or "(" not in call:
        return [call]
    found, depth = [""], 0
    for sign in call[call.index("(") + 1 : -1]:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return [text.strip() for text in found]


def event_of(design: Design, outcome: str = "") -> str:
    """What the parameter of the family is about: the response, or one of its outcomes.

    Parameters
    ----------
    design : Design
    outcome : str
        Of a categorical or multinomial response, one that has coefficients of its own.

    Returns
    -------
    str
    """
    response = response_of(design)
    if design.family.name == "bernoulli":
        return f"{response} = 1" if design.event is None else design.event
    if outcome:
        return f"{response} = {outcome}" if design.categories is not None else outcome
    return response


def scale_of(design: Design, outcome: str = "") -> Scale:
    """What the coefficients of a model mean.

    Parameters
    ----------
    design : Design
    outcome : str
        Of a categorical or multinomial response, the one with these coefficients.

    Returns
    -------
    Scale

    Examples
    --------
    >>> import hierbayes as hb
    >>> cbpp = hb.load_data("cbpp")
    >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    >>> scale = scale_of(model.design)
    >>> scale.quantity, scale.ratio, scale.parameter
    ('the odds of incidence', 'odds ratio', 'the probability of incidence')
    """
    family, response = design.family, response_of(design)
    if family.exact:
        return Scale(response, response, "", family.link)
    if family.ordinal:
        higher = f"the odds of a higher {response}"
        if family.name == "sratio":
            higher = f"the odds of going on to a higher {response} at any step"
        if family.link == "logit":
            return Scale(response, higher, "odds ratio", family.link, False)
        return Scale(response, f"the linear predictor of {response} ({family.link} link)", "", family.link, False)
    event = event_of(design, outcome)
    parameter = PARAMETERS.get(family.name, MEAN).format(event)
    if family.link == "softmax":
        reference = event_of(design, reference_of(design))
        return Scale(parameter, f"the odds of {event} rather than {reference}", "odds ratio", family.link, False)
    if family.link == "logit":
        odds = f"the odds of {parameter.removeprefix('the probability of ')}"
        return Scale(parameter, odds, "odds ratio", family.link)
    if family.link == "log":
        return Scale(parameter, parameter, "ratio", family.link)
    quantity = parameter if family.link == "identity" else LINKS[family.link].format(parameter)
    return Scale(parameter, quantity, "", family.link, family.link in INVERSES)


def parameter_words(design: Design) -> str:
    """The parameter that the formula describes, of every outcome if there are several."""
    if design.outcomes is not None:
        return PARAMETERS[design.family.name].format(f"each outcome of {response_of(design)}")
    return scale_of(design).parameter


def described(design: Design) -> str:
    """What the formula describes: a function of that parameter, by the link."""
    if design.family.link == "softmax":
        return f"the log odds of each outcome of {response_of(design)} against {reference_of(design)}"
    return LINKS.get(design.family.link, "{}").format(parameter_words(design))


def reference_of(design: Design) -> str:
    """The outcome that the others are compared with."""
    own = () if design.outcomes is None else design.outcomes[1]
    every = design.categories if design.categories is not None else arguments(design.response)
    return next(name for name in every if name not in own)


def outcome_of(label: str, design: Design) -> tuple[str, str]:
    """A coefficient's name without the outcome that it belongs to, and the outcome."""
    for outcome in () if design.outcomes is None else design.outcomes[1]:
        if label.endswith(f"[{outcome}]"):
            return label.removesuffix(f"[{outcome}]"), outcome
    return label, ""


def family_of(design: Design) -> str:
    """The family in words, with its article."""
    name = design.family.name
    words = FAMILIES.get(name, name.replace("zero_inflated", "zero-inflated").replace("_", " "))
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
