"""Which rows, and which draws, scores were made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from hierbayes.design import Design
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
    trials : str
        Digest of the numbers of trials; empty for responses that have none.
    row_labels : (rows,) array or None
        As of `hierbayes.design.Design`.
    """

    rows: int
    response: str
    data: str
    draws: str
    trials: str = ""
    row_labels: np.ndarray | None = field(default=None, compare=False, repr=False)

    def same_data(self, other: Source) -> bool:
        """Whether the same response was scored, row by row; its name does not matter."""
        return (self.rows, self.data) == (other.rows, other.data)

    def same_trials(self, other: Source) -> bool:
        """Whether the responses are successes among the same numbers of trials, if both are successes."""
        return not (self.trials and other.trials) or self.trials == other.trials


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
    trials = trials_of(design)
    of_trials = "" if trials is None else _digest(trials)
    return Source(design.n, design.response, _digest(design.y), _digest(draws), of_trials, design.row_labels)


def trials_of(design: Design) -> np.ndarray | None:
    """(n,) numbers of trials, 1 of a single success or failure; None for other responses."""
    return np.ones(design.n) if design.family.name == "bernoulli" else design.trials


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype=float).tobytes()).hexdigest()[:16]
