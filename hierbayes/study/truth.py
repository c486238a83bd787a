"""The parameters that studies are simulated with: given by name, estimated, or drawn anew for every study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hierbayes import names
from hierbayes.covariance import cholesky
from hierbayes.design import Design
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, variance_rows
from hierbayes.study.grid import draw, drawn, named

Key = tuple[str, str, str]
"""Effect, group and term of a parameter, as in `RemlFit.tidy`."""
SIGMA: Key = (VARIANCE, RESIDUAL, names.SIGMA)
RHO: Key = (VARIANCE, RESIDUAL, names.RHO)
ROUNDING = 1e-8
"""How far below zero an eigenvalue of a matrix of correlations may be."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Parameters, or how to draw them.

    Parameters
    ----------
    values : dict of Key to float or distribution
    draws : pandas.DataFrame, optional
        Draws from a posterior, columns labelled by Key; a study takes one of them, and `values` go before.
    """

    values: dict[Key, Any]
    draws: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def random(self) -> bool:
        """Whether parameters differ from study to study."""
        return self.draws is not None or any(map(drawn, self.values.values()))

    def draw(self, rng: np.random.Generator) -> dict[Key, float]:
        """The parameters of one study."""
        found: dict[Key, float] = {}
        if self.draws is not None:
            row = self.draws.to_numpy()[rng.integers(len(self.draws))]
            found = dict(zip(self.draws.columns, map(float, row), strict=True))
        for key, value in self.values.items():
            found[key] = float(draw(value, rng, 1, key[2])[0]) if drawn(value) else float(value)
        return found


def arrays(truth: Mapping[Key, float], design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Fixed effects (p,) and a factor (q, q) of the covariance matrix of the random effects.

    Raises
    ------
    DataError
        If a parameter is outside its range, or the correlations contradict each other.
    """
    ranges = {(VARIANCE, group, term): (0.0, np.inf) for group, term, i, j in variance_rows(design) if i == j}
    if design.sigma is None:
        ranges[SIGMA] = np.finfo(float).tiny, np.inf
    if design.residual is not None:
        ranges[RHO] = design.residual.bounds
    for key, (low, high) in ranges.items():
        if not low <= truth[key] <= high:
            of = f" of {key[1]}" if key[1] != RESIDUAL else ""
            raise DataError(f"The {key[2]}{of} that was drawn is {truth[key]:.3g}, which it cannot be.")
    beta = np.array([truth[FIXED, "", label] for label in design.labels])
    sd = np.array([truth[VARIANCE, group, term] for group, term, i, j in variance_rows(design) if i == j])
    return beta, cholesky(_correlated(truth, design) * np.outer(sd, sd))


def _correlated(truth: Mapping[Key, float], design: Design) -> np.ndarray:
    """Correlation matrix (q, q) of the random effects, refused if there is none like that."""
    R = np.eye(design.layout.q)
    for group, term, i, j in variance_rows(design):
        if i != j:
            R[i, j] = R[j, i] = np.nan_to_num(truth[VARIANCE, group, term])
    if len(R) and np.linalg.eigvalsh(R)[0] < -ROUNDING:
        raise DataError("The correlations contradict each other: no random effects are correlated like that.")
    return R


def check_constants(truth: Truth, design: Design) -> None:
    """Refuse correlations that contradict each other, where they are not drawn.

    Raises
    ------
    DataError
    """
    pairs = [(VARIANCE, group, term) for group, term, i, j in variance_rows(design) if i != j]
    if truth.draws is None and not any(drawn(truth.values[key]) for key in pairs):  # noqa: PD011 - no data frame
        _correlated(truth.values, design)


def given_effects(effects: Mapping[str, Any] | None, design: Design) -> dict[Key, Any]:
    """Fixed effects by name.

    Raises
    ------
    ValueError
        For a name that is no coefficient.
    """
    found: dict[Key, Any] = {}
    for label, value in named(effects, "effects", '{"X": 0.3}').items():
        if label not in design.labels:
            raise ValueError(f"effects= names {label!r}, which is no coefficient. {suggest(label, design.labels)}")
        found[FIXED, "", label] = _number(value, f"effects[{label!r}]")
    return found


def given_sds(sds: Mapping[str, Any] | None, design: Design) -> dict[Key, Any]:
    """Standard deviations of the random effects, by grouping factor.

    Raises
    ------
    ValueError
        For another factor or effect, or a number that is negative.
    """
    known: dict[str, list[str]] = {}
    for group, term, i, j in variance_rows(design):
        if i == j:
            known.setdefault(group, []).append(term[3:-1])
    found: dict[Key, Any] = {}
    for group, value in named(sds, "sds", '{"subject": 0.5}').items():
        if group not in known:
            raise ValueError(f"sds= names {group!r}, which is no grouping factor. {suggest(group, known)}")
        if not isinstance(value, Mapping):
            if len(known[group]) > 1:
                example = ", ".join(f"{label!r}: …" for label in known[group])
                raise ValueError(f"{group!r} has several random effects; give sds={{{group!r}: {{{example}}}}}.")
            value = {known[group][0]: value}
        for label, sd in value.items():
            if label not in known[group]:
                raise ValueError(
                    f"sds[{group!r}] names {label!r}, which is no random effect. {suggest(label, known[group])}"
                )
            found[VARIANCE, group, f"sd({label})"] = _number(sd, f"sds[{group!r}][{label!r}]", 0.0)
    return found


def given_correlations(correlations: Mapping[str, Any] | None, design: Design) -> dict[Key, Any]:
    """Correlations of the random effects of a level, by grouping factor.

    Raises
    ------
    ValueError
        For another factor or pair, or a number that is no correlation.
    """
    known: dict[str, dict[tuple[str, str], str]] = {}
    labels = design.effect_labels
    for group, term, i, j in variance_rows(design):
        if i != j:
            known.setdefault(group, {})[labels[j], labels[i]] = term
    found: dict[Key, Any] = {}
    for group, value in named(correlations, "correlations", '{"subject": 0.3}').items():
        if group not in known:
            raise ValueError(f"correlations= names {group!r}, which has none in this model. {suggest(group, known)}")
        pairs = known[group]
        if isinstance(value, Mapping):
            given = {_pair(pair, pairs, group): number for pair, number in value.items()}
        elif np.ndim(value) == 2:
            order = list(dict.fromkeys(label for pair in pairs for label in pair))
            matrix = np.asarray(value, dtype=float)
            if matrix.shape != (len(order),) * 2:
                raise ValueError(f"correlations[{group!r}] is a matrix of {', '.join(order)}, not {matrix.shape}.")
            given = {pair: matrix[order.index(pair[0]), order.index(pair[1])] for pair in pairs}
        elif len(pairs) > 1:
            raise ValueError(
                f"{group!r} has {len(pairs)} correlations; give a matrix, or one number a pair of effects."
            )
        else:
            given = dict.fromkeys(pairs, value)
        for pair, number in given.items():
            found[VARIANCE, group, pairs[pair]] = _number(number, f"correlations[{group!r}]", -1.0, 1.0)
    return found


def _pair(pair: Any, known: Mapping[tuple[str, str], str], group: str) -> tuple[str, str]:
    for each in known:
        if tuple(pair) in (each, each[::-1]):
            return each
    raise ValueError(f"correlations[{group!r}] names {pair!r}; there are {', '.join(map(repr, known))}.")


def given_residual(sigma: Any, rho: Any, design: Design) -> dict[Key, Any]:
    """σ and ρ.

    Raises
    ------
    ValueError
        For a number outside its range, or one that the model does not have.
    """
    found: dict[Key, Any] = {}
    if sigma is not None:
        if design.sigma is not None:
            raise ValueError("sigma= has no place beside known standard errors; leave it out.")
        found[SIGMA] = _number(sigma, "sigma", 0.0)
        if not drawn(sigma) and found[SIGMA] == 0.0:
            raise ValueError("sigma must be positive.")
    if rho is not None:
        if design.residual is None:
            raise ValueError("rho= is the correlation of the residuals, of which the model has none; give residual=.")
        found[RHO] = _number(rho, "rho", *design.residual.bounds)
    return found


def _number(value: Any, what: str, low: float = -np.inf, high: float = np.inf) -> Any:
    """A finite number in its range, or a distribution."""
    if hasattr(value, "rvs") or hasattr(value, "sample"):
        least, most = map(float, value.support()) if hasattr(value, "support") else (low, high)
        if least < low or most > high:
            remedy = "uniform or truncnorm" if np.isfinite(high) else "halfnorm, gamma or truncnorm"
            raise ValueError(
                f"{what} is drawn from {least:g} to {most:g}, but it is from {low:g} to {high:g}; give a "
                f"distribution that stays there, such as scipy.stats.{remedy}."
            )
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} is a number or a frozen distribution of scipy.stats, not {value!r}.") from None
    if not (np.isfinite(number) and low <= number <= high):
        raise ValueError(f"{what} is a finite number from {low:g} to {high:g}, not {number:g}.")
    return number


def check_complete(values: Mapping[Key, Any], design: Design) -> None:
    """Refuse a truth that lacks a standard deviation or the correlation of the residuals.

    Raises
    ------
    ValueError
    """
    lacking = [(group, term[3:-1]) for group, term, i, j in variance_rows(design)
               if i == j and (VARIANCE, group, term) not in values]  # fmt: skip
    if lacking:
        group, label = lacking[0]
        raise ValueError(
            f"sds= lacks the standard deviation of {label!r} between the levels of {group!r}: "
            f"sds={{{group!r}: {{{label!r}: …}}}}."
        )
    if design.sigma is None and SIGMA not in values:
        raise ValueError("sigma= is missing: the standard deviation of the residuals.")
    if design.residual is not None and RHO not in values:
        raise ValueError("rho= is missing: the correlation of the residuals.")


def defaults(design: Design) -> dict[Key, Any]:
    """Zero for every fixed effect and every correlation."""
    found: dict[Key, Any] = {(FIXED, "", label): 0.0 for label in design.labels}
    return found | {(VARIANCE, group, term): 0.0 for group, term, i, j in variance_rows(design) if i != j}
