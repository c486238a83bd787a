r"""Profile likelihood: what the data say of one parameter when all others follow.

With D(v) the smallest -2 log likelihood where the parameter is v, and v̂ where D is smallest of all, the signed root

    ζ(v) = sign(v - v̂) √(D(v) - D(v̂))

is about standard normal at the true value, and the interval of level 1 - α is where |ζ| ≤ z_{1-α/2} (Bates et al.
2015, Journal of Statistical Software 67, section 5.1). Every end is a root of the exact ζ, found by Brent's method,
not an interpolation of a few values.

The likelihood is that of maximum likelihood, also for a REML fit: restricted likelihoods with different fixed
effects cannot be compared. lme4's ``confint`` does the same.

A standard deviation cannot be below 0, nor a correlation beyond ±1. Where ζ does not reach its limit before that, the
end of the interval is the boundary, and the table says so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from hierbayes import display
from hierbayes.errors import ConvergenceWarning, suggest
from hierbayes.estimates import INTERVALS, Estimate, checked
from hierbayes.inference.held import Held, Search, held_parameters
from hierbayes.reml import maximise

WIDE = 0.99
"""Level of the interval that the table of a profile covers."""
POINTS = 8
"""Points of that table on each side of the estimate."""
BETTER = 1e-4
"""-2 log likelihood below that of the estimate by more than this is another, better maximum."""
BETTER_MET = "a fit was met whose -2 log likelihood is lower than that of the estimate"
ANYTHING = "a standard deviation is zero, so the correlation can be anything"
RESTARTS = 5
"""Times that an end is looked for again after a lower minimum was found there."""
MISSED = 1e-3
"""ζ at an end further from the limit than this: the search jumped between two minima, and there is no end."""
FAR = 60
"""Steps outward before the search for a limit is given up."""


class Profile:
    """Profile likelihood of the parameters of a fit.

    Made by `hierbayes.RemlFit.profile`.

    Attributes
    ----------
    estimate : Estimate
        The fit.
    ml : Estimate
        The maximum likelihood fit of the same model: where ζ is 0.
    table : pandas.DataFrame
        Columns effect, group, term, value, zeta: points across the 99% interval, for plots. ζ against the value
        is a straight line where a Wald interval is right.
    """

    def __init__(self, estimate: Estimate, terms: Sequence[str] | None = None) -> None:
        self.estimate = estimate
        marginal = estimate.marginal
        self.ml = estimate
        if estimate.method != "ML":
            self.ml = Estimate(marginal, maximise(marginal, False), "ML")
        held = list(held_parameters(self.ml))
        known = [each.term for each in held]
        for term in [] if terms is None else terms:
            if term not in known:
                raise ValueError(f"There is no parameter {term!r}. {suggest(term, known)}")
        self._sides = [_Sides(self.ml, each) for each in held if terms is None or each.term in terms]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Points of the profile of every parameter."""
        return self.points(WIDE)

    def points(self, conf_level: float) -> pd.DataFrame:
        """Points of the profile of every parameter across its interval of some level.

        Parameters
        ----------
        conf_level : float

        Returns
        -------
        pandas.DataFrame
            As `table`.

        Raises
        ------
        ValueError
            If the level is not between 0 and 1.
        """
        limit = stats.norm.isf(0.5 - 0.5 * checked(conf_level))
        rows = []
        with self.ml.marginal.one_thread():
            for sides in self._sides:
                held = sides.held
                label = held.effect, held.group or np.nan, held.term
                rows += [(*label, held.shown(v), zeta) for v, zeta in sides.across(limit)]
        return pd.DataFrame(rows, columns=["effect", "group", "term", "value", "zeta"])

    def confint(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Profile-likelihood intervals.

        Parameters
        ----------
        conf_level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            Columns effect, group, term, estimate (of the fit), conf_low, conf_high, method, and ``note``, which says
            where an end is on the boundary.

        Raises
        ------
        ValueError
            If the level is not between 0 and 1.

        Warns
        -----
        ConvergenceWarning
            If an end could not be found; it is NaN.
        """
        limit = stats.norm.isf(0.5 - 0.5 * checked(conf_level))
        with self.ml.marginal.one_thread():
            rows = [self._row(sides, sides.end(-limit), sides.end(limit)) for sides in self._sides]
        for *_, term, _, low, high, _, note in rows:
            if math.isnan(low) or math.isnan(high) or BETTER_MET in note:
                warnings.warn(
                    f"The profile of {term!r} is not to be trusted: {note}.", ConvergenceWarning, stacklevel=2
                )
        return pd.DataFrame(rows, columns=INTERVALS)

    def _row(self, sides: _Sides, low: float, high: float) -> tuple:
        held, notes = sides.held, []
        ends = {"lower": low, "upper": high}
        lost = [f"{side} end not found" for side, end in ends.items() if math.isnan(end)]
        bound = [f"{side} end on the boundary" for side, end in ends.items() if end in (held.low, held.high)]
        notes = [ANYTHING] if math.isnan(held.estimate) else [*lost, *bound]
        if sides.better > BETTER:
            notes.append(f"{BETTER_MET} by {sides.better:.2g}")
        estimate = self.estimate.parameter_values[held.effect, held.group, held.term]
        group = held.group or np.nan
        return held.effect, group, held.term, estimate, held.shown(low), held.shown(high), "profile", "; ".join(notes)

    @cached_property
    def _shown(self) -> pd.DataFrame:
        """The intervals as text and as HTML, found and warned of once."""
        return self.confint()

    def _repr_html_(self) -> str:
        shown = self._shown[["term", "group", "estimate", "conf_low", "conf_high", "note"]]
        table = display.table(shown, "95% profile-likelihood intervals")
        return display.document("Profile likelihood", table, formula=self.estimate.design.formula)

    def __repr__(self) -> str:
        shown = self._shown.drop(columns="method")
        return f"Profile likelihood of {self.estimate.design.formula}\n" + shown.to_string(
            index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
        )


class _Sides:
    """ζ of one parameter to both sides of its estimate, on the scale of `Held`."""

    def __init__(self, ml: Estimate, held: Held) -> None:
        self.ml, self.held, self.better = ml, held, 0.0

    @cached_property
    def _search(self) -> Search:
        return Search(self.ml, self.held)

    def zeta(self, value: float) -> float:
        """Signed root of the rise of -2 log likelihood, NaN where the search fails."""
        rise = self._search.deviance(value) - self._search.deviance(self.held.estimate)
        self.better = max(self.better, -rise)
        return math.copysign(math.sqrt(max(rise, 0.0)), value - self.held.estimate)

    def end(self, limit: float) -> float:
        """Where ζ is `limit`, or the boundary before that, or NaN."""
        held = self.held
        bound = held.low if limit < 0 else held.high
        if math.isnan(held.estimate) or held.estimate == bound:
            return bound
        found, step = held.estimate, math.copysign(held.step * abs(limit), limit)
        for _ in range(RESTARTS):
            found = self._root(limit, found, step, bound)
            if math.isnan(found) or found == bound:
                return found
            if not self._search.improve(found):
                return found if abs(self.zeta(found) - limit) < MISSED else math.nan
            step = 0.5 * (found - held.estimate)
        return math.nan

    def _root(self, limit: float, inner: float, step: float, bound: float) -> float:
        """The same from a value where |ζ| is smaller."""
        held = self.held
        for _ in range(FAR):
            outer = max(held.low, min(held.high, inner + step))
            reached = abs(self.zeta(outer))
            if math.isnan(reached):
                step *= 0.25
                continue
            if reached >= abs(limit):
                break
            if outer == bound:
                return bound
            # ζ is nearly straight: aim a little beyond
            step = (min(4.0, 1.05 * abs(limit) / max(reached, 1e-6)) - 1.0) * (outer - held.estimate)
            inner = outer
        else:
            return math.nan
        try:
            return float(brentq(self._beyond, inner, outer, (limit,), xtol=1e-7 * abs(outer - inner), rtol=1e-12))
        except ArithmeticError:
            return math.nan

    def _beyond(self, value: float, limit: float) -> float:
        found = self.zeta(value) - limit
        if math.isnan(found):
            raise ArithmeticError("no minimum")
        return found

    def across(self, limit: float) -> list[tuple[float, float]]:
        """Values and ζ between the two ends."""
        if math.isnan(self.held.estimate):
            return []
        ends = [self.end(-limit), self.end(limit)]
        values = {self.held.estimate}
        for end in ends:
            if not math.isnan(end):
                values |= set(np.linspace(self.held.estimate, end, POINTS + 1).tolist())
        return [(value, self.zeta(value)) for value in sorted(values)]
