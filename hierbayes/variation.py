"""Whether a predictor varies within groups, and between them."""

from __future__ import annotations

import numpy as np

from hierbayes.design import Factor
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
    sizes = np.bincount(factor.codes, minlength=len(factor.levels))
    sums = np.stack([np.bincount(factor.codes, column, len(factor.levels)) for column in columns.T], axis=1)
    means = (sums / np.maximum(sizes, 1)[:, None])[factor.codes]
    least = DEPENDENT**2 * (columns**2).sum(axis=0)
    inside = ((columns - means) ** 2).sum(axis=0)
    outside = ((means - columns.mean(axis=0)) ** 2).sum(axis=0)
    return inside > least, outside > least
