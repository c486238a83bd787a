"""Which rows, and which draws, scores were made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from hierbayes.estimates import Posterior, Sampled


@dataclass(frozen=True)
class Source:
    """What tells one fit from another.

    Parameters
    ----------
    rows : int
    response : str
        Its name.
    data : str
        Digest of the response, row by row.
    draws : str
        Digest of the draws.
    """

    rows: int
    response: str
    data: str
    draws: str

    def same_data(self, other: Source) -> bool:
        """Whether the same response was scored, row by row; its name does not matter."""
        return (self.rows, self.data) == (other.rows, other.data)


def source(fit: Sampled) -> Source:
    """Describe a fit.

    Parameters
    ----------
    fit : Sampled

    Returns
    -------
    Source
    """
    design = fit.design
    draws = fit.thetas if isinstance(fit, Posterior) else fit.parameter_draws().to_numpy()
    return Source(design.n, design.response, _digest(design.y), _digest(draws))


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype=float).tobytes()).hexdigest()[:16]
