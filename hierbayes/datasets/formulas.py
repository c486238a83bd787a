"""A formula for every example data set that this version can fit, and the reason where there is none."""

from __future__ import annotations

from ..errors import FormulaError
from .registry import REGISTRY

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
    "five_groups": "y ~ X + (1 | group)",
    "arma_clusters": "value ~ time + (1 | cluster)",
    "unbalanced_clusters": "y ~ X + (1 | cluster)",
    "education": "test_score ~ study_hours + (1 | school)",
    "environment": "pollution ~ temperature + (1 | city)",
    "repeated_measures": "response ~ time + treatment + (1 | subject)",
    "power_study": "y ~ X + (1 | subject)",
    "score_parentedu_byclass": "score ~ edu + (edu | classroom)",
    "rat_pup": "weight ~ treatment + sex + litsize + (1 | litter)",
}
"""By the name of the data set; a Gaussian response each."""

REASONS = {
    "cbpp": "has binomial counts, and this version fits Gaussian responses",
}
"""Why the other data sets have no formula."""


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
    if name in FORMULAS:
        return FORMULAS[name]
    columns = ", ".join(REGISTRY[name].columns)
    raise FormulaError(
        f"The data set {name!r} {REASONS.get(name, 'has no formula of its own')}; give a formula with a "
        f"numeric response from its columns {columns}."
    )
