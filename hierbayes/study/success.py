"""What a posterior must say for a study to be a success.

interval     the central interval excludes the null value δ₀ (the default)
direction    max{P(δ > δ₀ | y), P(δ < δ₀ | y)} ≥ c
rope         P(|δ - δ₀| > r | y) ≥ c: outside the region of practical equivalence
width        the central interval is no wider than w
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hierbayes.study.posterior_law import Law


@dataclass(frozen=True)
class Success:
    """What a posterior must say for a study to be a success; all that is given must hold.

    Parameters
    ----------
    direction : float, optional
        Smallest probability that the parameter is on one side of the null value.
    rope : float, optional
        Half the width of the region of practical equivalence around the null value.
    probability : float, default 0.95
        Smallest probability of being outside of it.
    width : float, optional
        Largest width of the central interval.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> Success().words("Days", 0.0, 0.95)
    'the central 95% interval of Days excludes 0'
    >>> Success(direction=0.99, width=4).words("Days", 0.0, 0.95)
    'P(Days > 0) or P(Days < 0) is at least 0.99, and the central 95% interval of Days is no wider than 4'
    """

    direction: float | None = None
    rope: float | None = None
    probability: float = 0.95
    width: float | None = None

    def __post_init__(self) -> None:
        for name in ("direction", "probability"):
            value = getattr(self, name)
            if value is not None and not 0.5 <= value < 1.0:
                raise ValueError(f"success={{{name!r}: …}} is a probability from 0.5 to below 1, not {value!r}")
        for name in ("rope", "width"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f"success={{{name!r}: …}} is a positive number, not {value!r}")

    @property
    def by_interval(self) -> bool:
        """Whether nothing is given, so that the interval must exclude the null value."""
        return self.direction is None and self.rope is None and self.width is None

    def met(self, law: Law, null: float, low: float, high: float) -> bool:
        """Whether a posterior with this central interval is a success."""
        if self.by_interval:
            return not low <= null <= high
        below = law.below(null)
        held = [
            self.direction is None or max(below, 1.0 - below) >= self.direction,
            self.rope is None or law.below(null - self.rope) + 1.0 - law.below(null + self.rope) >= self.probability,
            self.width is None or high - low <= self.width,
        ]
        return all(held)

    def words(self, term: str, null: float, level: float) -> str:
        """What must hold."""
        interval = f"the central {100 * level:g}% interval of {term}"
        if self.by_interval:
            return f"{interval} excludes {null:g}"
        said = []
        if self.direction is not None:
            said.append(f"P({term} > {null:g}) or P({term} < {null:g}) is at least {self.direction:g}")
        if self.rope is not None:
            away = f"|{term} - {null:g}|" if null else f"|{term}|"
            said.append(f"P({away} > {self.rope:g}) is at least {self.probability:g}")
        if self.width is not None:
            said.append(f"{interval} is no wider than {self.width:g}")
        return ", and ".join(said)


def read_success(given: Success | Mapping[str, float] | None) -> Success:
    """What counts as a success, from what a user says.

    Parameters
    ----------
    given : Success, mapping of its parameters to numbers, or None

    Returns
    -------
    Success

    Raises
    ------
    ValueError

    Examples
    --------
    >>> read_success({"rope": 2.0}).words("Days", 0.0, 0.95)
    'P(|Days| > 2) is at least 0.95'
    """
    if given is None or isinstance(given, Success):
        return given or Success()
    known = tuple(Success.__dataclass_fields__)
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        raise ValueError(f"success= is a mapping of some of {', '.join(map(repr, known))} to numbers, not {given!r}")
    if "probability" in given and "rope" not in given:
        raise ValueError("success={'probability': …} is that of being outside the rope; give 'rope' as well")
    return Success(**given)
