"""A formula for every example data set, the family of its response, and what else its model needs."""

from __future__ import annotations

from ..errors import FormulaError, suggest

FORMULAS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Dyestuff": "Yield ~ 1 + (1 | Batch)",
    "Dyestuff2": "Yield ~ 1 + (1 | Batch)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Pastes": "strength ~ 1 + (1 | batch/cask)",
    "cake": "angle ~ recipe * temp + (1 | recipe:replicate)",
    "clustered_blobs": "y ~ X + (1 | cluster)",
    "crossed": "response ~ condition + (1 | subject) + (1 | item)",
    "simpson": "y ~ x + (1 | group)",
    "reversal": "y ~ within(x, group) + between(x, group) + (1 | group)",
    "five_groups": "y ~ X + (1 | group)",
    "arma_clusters": "value ~ time + (1 | cluster)",
    "unbalanced_clusters": "y ~ X + (1 | cluster)",
    "education": "test_score ~ study_hours + (1 | school)",
    "environment": "pollution ~ temperature + (1 | city)",
    "repeated_measures": "response ~ time + treatment + (1 | subject)",
    "power_study": "y ~ X + (1 | subject)",
    "score_parentedu_byclass": "score ~ edu + (edu | classroom)",
    "rat_pup": "weight ~ treatment + sex + litsize + (1 | litter)",
    "cbpp": "p(incidence, size) ~ period + (1 | herd)",
    "eight_schools": "effect ~ 1 + (1 | school)",
    "Orthodont": "distance ~ age * Sex + (age | Subject)",
    "radon": "log_radon ~ floor + (1 | county)",
    "grouseticks": "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX)",
    "wine": "rating ~ temp + contact + (1 | judge)",
}
"""By the name of the data set."""

FAMILIES = {"cbpp": "binomial", "grouseticks": "poisson", "wine": "cumulative"}
"""Families of the responses that are not Gaussian."""

ARGUMENTS = {"eight_schools": {"se": "se"}}
"""What `hierbayes.Model` needs beside formula, data and family."""


def default_formula(name: str) -> str:
    """Return the formula that an example data set is analysed with unless the user says otherwise.

    Parameters
    ----------
    name : str
        Of a data set in the registry.

    Returns
    -------
    str

    Raises
    ------
    FormulaError
        If there is none.

    Examples
    --------
    >>> default_formula("sleepstudy")
    'Reaction ~ Days + (Days | Subject)'
    """
    if name not in FORMULAS:
        raise FormulaError(f"The data set {name!r} has no formula of its own. {suggest(name, FORMULAS)}")
    return FORMULAS[name]


def default_family(name: str) -> str:
    """Return the family of the response in that formula.

    Parameters
    ----------
    name : str
        Of a data set in the registry.

    Returns
    -------
    str

    Examples
    --------
    >>> default_family("sleepstudy"), default_family("cbpp")
    ('gaussian', 'binomial')
    """
    return FAMILIES.get(name, "gaussian")


def default_arguments(name: str) -> dict[str, str]:
    """Return what else `hierbayes.Model` is to be given with that formula.

    Parameters
    ----------
    name : str
        Of a data set in the registry.

    Returns
    -------
    dict
        Arguments by their names; mostly none.

    Examples
    --------
    >>> default_arguments("eight_schools"), default_arguments("sleepstudy")
    ({'se': 'se'}, {})
    """
    return dict(ARGUMENTS.get(name, {}))
