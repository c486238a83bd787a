"""Whether a predictor varies within groups, and between them."""

from __future__ import annotations

import numpy as np

from hierbayes.design import Factor
from hierbayes.groups import level_means
from hierbayes.moments import DEPENDENT


def varies(columns: np.ndarray, factor: Factor) -> tuple[np.ndarray, np.ndarray]:
    """Whether each column varies within groups, and whether its means vary between them, beyond its own rounding.

    Parameters
    ----------
    columns : (n, k) array
    factor : Factor

    Returns
    -------
    within, between : (k,) bool arrays
    """
    means = level_means(columns, factor.codes, len(factor.levels))[factor.codes]
    least = DEPENDENT**2 * (columns**2).sum(axis=0)
    inside = ((columns - means) ** 2).sum(axis=0)
    outside = ((means - columns.mean(axis=0)) ** 2).sum(axis=0)
    return inside > least, outside > least
