r"""Profile likelihood over posterior density, parameter by parameter: where the two inferences meet or part.

With the signed root ζ(v) of the profile (`hierbayes.inference.profile`) the likelihood relative to its maximum is
``exp(-ζ²/2)``; between the points where it is known ζ, which is nearly straight, is interpolated by monotone cubics.
It is no density, and is scaled to area 1 over the range shown so that it can be laid over one: under a flat prior of
a single parameter the two would be the same. What makes them differ is the prior, and that a profile maximises over
the other parameters where a posterior integrates. The profile is that of maximum likelihood, also beside REML
estimates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from hierbayes import display
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import FIXED, VARIANCE, Posterior, Sampled, checked
from hierbayes.inference.profile import Profile
from hierbayes.side_by_side.density import POINTS, density, window
from hierbayes.side_by_side.maximum import sampled

LEVEL = 0.999
"""Of the profile interval that the curves cover."""
PROFILE, POSTERIOR = "profile", "posterior"


@dataclass(frozen=True, eq=False, repr=False)
class Profiles:
    """Profile likelihood and posterior density of some parameters.

    Made by `hierbayes.profiles`.

    Parameters
    ----------
    method : str
        Of the estimates: ``"REML"`` or ``"ML"``.
    conf_level : float
    table : pandas.DataFrame
        Columns effect, group, term, which ("profile" or "posterior"), value, density (of the profile the relative
        likelihood scaled to area 1), relative (to its largest value).
    intervals : pandas.DataFrame
        Columns effect, group, term, which, estimate (REML, or posterior mean), conf_low, conf_high (profile
        likelihood, or equal-tailed), note (where an end is on the boundary).
    """

    method: str
    conf_level: float
    table: pd.DataFrame
    intervals: pd.DataFrame

    def _repr_html_(self) -> str:
        caption = (
            f"{self.method} estimates with {100 * self.conf_level:g}% intervals by profile likelihood (ML), and the "
            "posterior"
        )
        table = display.table(self.intervals.drop(columns="effect"), caption)
        return display.document("Profile likelihood and posterior", table)

    def __repr__(self) -> str:
        shown = self.intervals.drop(columns="effect")
        title = (
            f"Profile likelihood (ML) and posterior, {100 * self.conf_level:g}% intervals; {self.method} estimates"
        )
        return f"{title}\n" + shown.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}")


def profiles(fit: Posterior, terms: str | Sequence[str] | None = None, conf_level: float = 0.95) -> Profiles:
    """Profile likelihood over the posterior density of parameters.

    Parameters
    ----------
    fit : Fit
    terms : str or sequence of str, optional
        Parameters by their names in `RemlFit.tidy`, such as ``["sd(Days)", "sigma"]``; by default all standard
        deviations and correlations.
    conf_level : float, default 0.95

    Returns
    -------
    Profiles

    Raises
    ------
    DataError
        If the response is not Gaussian, or the model has no such parameter to profile.
    ValueError
        If a term is unknown, or `conf_level` is not between 0 and 1.

    Warns
    -----
    ConvergenceWarning
        If an end of a profile could not be found.

    Notes
    -----
    See `hierbayes.side_by_side.profiles`. A profile maximises the likelihood anew at some twenty values of each
    parameter; with 10,000 levels of one factor that takes a second.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.profiles(hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False))
    >>> found.intervals.query("which == 'profile'")[["term", "estimate", "conf_low", "conf_high"]].round(2)
                term  estimate  conf_low  conf_high
    0  sd(Intercept)     42.00     12.20      84.06
    2          sigma     49.51     38.23      67.66
    """
    sampled(fit, "profiles")
    if not isinstance(fit, Posterior):
        raise DataError(
            "Profiles need a Gaussian response with identity link; hb.prior_posterior is for all families."
        )
    checked(conf_level)
    terms = [terms] if isinstance(terms, str) else terms
    draws = fit.parameter_draws()
    known = [term for _, _, term in draws.columns]
    for term in [] if terms is None else terms:
        if term not in known:
            raise ValueError(f"There is no parameter {term!r}. {suggest(term, known)}")
    wanted = list(terms) if terms is not None else [term for effect, _, term in draws.columns if effect == VARIANCE]
    if not wanted:
        raise DataError(f"{fit.design.formula!r} has no variance parameter that is estimated.")
    profile = Profile(fit.reml, wanted)
    points = profile.points(LEVEL).assign(group=lambda table: table["group"].fillna(""))
    ends = profile.confint(conf_level).assign(group=lambda table: table["group"].fillna(""))
    posterior = fit.tidy(conf_level).set_index(pd.MultiIndex.from_tuples(draws.columns))
    curves, rows = [], []
    for end in ends.itertuples():
        key = (end.effect, end.group, end.term)
        label = (end.effect, end.group or np.nan, end.term)
        low, high = bounds(fit, key)
        values = draws[key].to_numpy(dtype=float)
        own = points[(points["effect"] == end.effect) & (points["group"] == end.group) & (points["term"] == end.term)]
        at = np.linspace(*window(values, 0.0, low, high), POINTS)
        found = {PROFILE: _likelihood(own), POSTERIOR: (at, density(values, at, low, high))}
        for which, (value, heights) in found.items():
            largest = heights.max() if len(heights) else np.nan
            frame = pd.DataFrame({"value": value, "density": heights, "relative": heights / largest})
            curves.append(frame.assign(effect=end.effect, group=end.group or np.nan, term=end.term, which=which))
        rows.append((*label, PROFILE, end.estimate, end.conf_low, end.conf_high, end.note))
        row = posterior.loc[key]
        rows.append((*label, POSTERIOR, row["estimate"], row["conf_low"], row["conf_high"], ""))
    columns = ["effect", "group", "term", "which"]
    table = pd.concat(curves, ignore_index=True)[[*columns, "value", "density", "relative"]]
    intervals = pd.DataFrame(rows, columns=[*columns, "estimate", "conf_low", "conf_high", "note"])
    return Profiles(fit.reml.method, conf_level, table, intervals)


def bounds(fit: Sampled, key: tuple[str, str, str]) -> tuple[float, float]:
    """Boundary of a parameter."""
    effect, _, term = key
    if effect == FIXED or term.startswith("threshold["):
        return -math.inf, math.inf
    if term.startswith("corr("):
        return -1.0, 1.0
    if term == "rho" and fit.design.residual is not None:
        return fit.design.residual.bounds
    return 0.0, math.inf


def _likelihood(points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Values, and the profile likelihood scaled to area 1; nothing where there is no profile."""
    points = points.dropna().drop_duplicates("value").sort_values("value")
    if len(points) < 2:
        return np.empty(0), np.empty(0)
    values = points["value"].to_numpy(dtype=float)
    at = np.linspace(values[0], values[-1], POINTS)
    relative = np.exp(-0.5 * PchipInterpolator(values, points["zeta"].to_numpy(dtype=float))(at) ** 2)
    return at, relative / np.trapezoid(relative, at)
