r"""Variances and correlations that the data cannot tell apart.

A column z that does not vary within the levels of its grouping factor gives every level one number, ``b_0 + z b_1``.
If z takes two values its variances are two, but a correlated pair of effects has three parameters: the likelihood is
flat along a line of them. Then the observed information of the variance parameters (`hierbayes.wald`) is not positive
definite, although the estimate is inside the parameter space, and they have no standard errors.
"""

from __future__ import annotations

import numpy as np

from hierbayes.design import Factor
from hierbayes.estimates import Estimate

CONSTANT = 1e-9
"""Largest deviation from the mean of its level, relative to the column, of one that does not vary within levels."""


def indistinct(estimate: Estimate) -> tuple[str, str]:
    """What the data cannot tell apart, and what to do, in two sentences.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    finding, remedy : str
        Both empty where everything is told apart, and for singular fits and those that have not converged, which have
        verdicts of their own.

    Examples
    --------
    >>> import hierbayes as hb
    >>> indistinct(hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml())
    ('', '')
    """
    if estimate.singular or not estimate.converged:
        return "", ""
    if np.isfinite(estimate.wald.errors).all():
        return "", ""
    columns = {factor.name: _unvarying(estimate, factor) for factor in estimate.design.factors}
    named = {name: labels for name, labels in columns.items() if labels}
    where = " and ".join(named or columns) or "the residuals"
    finding = (
        f"The data cannot tell the variances and correlations of {where} apart: other values have the same "
        "likelihood, so they have no standard errors."
    )
    if not named:
        return finding, "Take a random effect out, or write || for effects without correlations."
    group, labels = next(iter(named.items()))
    remedy = (
        f"A predictor that does not vary within {group} ({', '.join(labels)}) cannot have a random slope there; use "
        f"(1 | {group})."
    )
    return finding, remedy


def _unvarying(estimate: Estimate, factor: Factor) -> list[str]:
    """Labels of the effects, other than the intercept, whose columns are constant within the levels."""
    found = []
    rows = np.bincount(factor.codes, minlength=len(factor.levels))
    for part in estimate.design.parts_of(factor):
        for label, z in zip(part.block.labels, part.block.Z.T, strict=True):
            mean = np.bincount(factor.codes, z, minlength=len(rows)) / rows
            if np.ptp(z) > 0 and np.abs(z - mean[factor.codes]).max() <= CONSTANT * np.abs(z).max():
                found.append(label)
    return found
