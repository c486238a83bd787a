r"""Prior against posterior density of every parameter, with the maximum of the likelihood beside them.

Prior densities are closed forms (`hierbayes.laws`), with two exceptions:

- With centred predictors the prior is of the intercept at their means x̄, ``β₀ᶜ = β₀ + Σ x̄ₖ βₖ``, and what is
  reported is β₀. Of Normal priors β₀ is Normal; else its density is the mean over draws of the other coefficients of
  the density of β₀ᶜ, ``p(β₀) = E[ p₀ᶜ(β₀ + Σ x̄ₖ βₖ) ]``, exact but for Monte Carlo error.
- Thresholds of a cumulative model have their priors restricted to increasing values. Draws that increase are kept and
  smoothed.

A flat prior has no density. Posterior densities are kernel estimates (`hierbayes.side_by_side.density`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes import display, laws, names
from hierbayes.design import Design
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Estimate, Sampled, checked, variance_rows
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.priors import Prior, Priors
from hierbayes.side_by_side.density import POINTS, density, window
from hierbayes.side_by_side.maximum import beside, called, sampled

ROOM = 1.0
"""95% intervals of the posterior that are shown on each side of it."""
DRAWS = 4_000
"""Of priors without a closed form; ten times as many of thresholds, most of which do not increase."""
ENOUGH = 400
"""Fewer increasing thresholds than this make no curve."""
PRIOR, POSTERIOR = "prior", "posterior"
FLAT = "the prior is flat"
Law = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class PriorPosterior:
    """Prior and posterior of every parameter.

    Made by `hierbayes.prior_posterior`.

    Parameters
    ----------
    method : str
        Of the maximum: ``"REML"`` or ``"ML"``, empty if there is none.
    table : pandas.DataFrame
        One row a parameter: effect, group, term, prior (its text), maximum (estimate; NaN without one), mean,
        conf_low, conf_high (of the posterior), note ("" or why there is no prior curve).
    densities : pandas.DataFrame
        Columns effect, group, term, which ("prior" or "posterior"), value, density; curves over the same values.
    """

    method: str
    table: pd.DataFrame
    densities: pd.DataFrame

    def _repr_html_(self) -> str:
        shown = self._shown.rename(columns={"maximum": self.method})
        return display.document("Prior and posterior", display.table(shown))

    @property
    def _shown(self) -> pd.DataFrame:
        """The table without what is not there."""
        return self.table.drop(columns=["effect"] if self.method else ["effect", "maximum"])

    def __repr__(self) -> str:
        return "Prior and posterior\n" + self._shown.to_string(
            index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
        )


def prior_posterior(
    fit: Sampled, maximum: Estimate | LaplaceEstimate | None = None, conf_level: float = 0.95
) -> PriorPosterior:
    """Prior and posterior density of every parameter, and its estimate by REML.

    Parameters
    ----------
    fit : Fit or FamilyFit
    maximum : RemlFit or LaplaceFit, optional
        Of the same model; by default the REML fit of a Gaussian posterior, and none of another family.
    conf_level : float, default 0.95
        Of the equal-tailed intervals of the posterior.

    Returns
    -------
    PriorPosterior

    Raises
    ------
    DataError
        If the maximum is of another model.
    ValueError
        If `conf_level` is not between 0 and 1.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    >>> found = hb.prior_posterior(model.fit(seed=1, progress=False))
    >>> found.table[["term", "prior", "maximum"]].round(2)
                term                            prior  maximum
    0      Intercept     Normal(mu=1528, sigma=154.9)  1527.50
    1  sd(Intercept)          HalfNormal(sigma=154.9)    42.00
    2          sigma  HalfStudentT(nu=4, sigma=61.96)    49.51
    """
    checked(conf_level)
    sampled(fit, "prior_posterior")
    maximum = beside(fit, maximum)
    known = {entry[0]: entry[1:] for entry in _priors(fit)}
    point = {} if maximum is None else maximum.parameter_values.to_dict()
    draws = fit.parameter_draws()
    rows, curves = [], []
    for (effect, group, term), row in zip(draws.columns, fit.tidy(conf_level).itertuples(), strict=True):
        text, law, (low, high), why = known.get(
            (effect, group, _plain(fit.design, term)), ("", None, BOTH, "no prior")
        )
        values = draws[effect, group, term].to_numpy(dtype=float)
        at = np.linspace(*window(values, ROOM, low, high), POINTS)
        label = (effect, group or np.nan, term)
        found = {POSTERIOR: density(values, at, low, high)}
        if law is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                heights = law(at)
            found = {PRIOR: np.where(np.isfinite(heights), heights, np.nan), **found}
        for which, heights in found.items():
            frame = pd.DataFrame({"value": at, "density": heights})
            frame[["effect", "group", "term"]] = pd.DataFrame([label] * len(at))
            curves.append(frame.assign(which=which))
        rows.append(
            (*label, text, point.get((effect, group, term), np.nan), row.estimate, row.conf_low, row.conf_high, why)
        )
    columns = ["effect", "group", "term", "prior", "maximum", "mean", "conf_low", "conf_high", "note"]
    densities = pd.concat(curves, ignore_index=True)[["effect", "group", "term", "which", "value", "density"]]
    return PriorPosterior(called(maximum), pd.DataFrame(rows, columns=columns), densities)


BOTH, POSITIVE, CORRELATION = (-math.inf, math.inf), (0.0, math.inf), (-1.0, 1.0)
"""Boundaries of a coefficient, of a standard deviation, of a correlation."""


def _plain(design: Design, term: str) -> str:
    """Name of a parameter without the outcome that it belongs to: outcomes share their priors."""
    for outcome in () if design.outcomes is None else design.outcomes[1]:
        if term.endswith(f"[{outcome}]"):
            return term.removesuffix(f"[{outcome}]")
    return term


def _priors(fit: Sampled) -> Iterator[tuple[tuple[str, str, str], str, Law | None, tuple[float, float], str]]:
    """Key, text, density (None of a flat prior), boundaries and note of the prior of every parameter."""
    design, priors = fit.design, fit.priors
    for k, label in enumerate(design.labels):
        prior = priors.coefficients[k]
        if k == design.intercept and priors.centered and np.any(np.delete(design.X.mean(axis=0), k)):
            law = _intercept(design, priors)
            why = FLAT if law is None else "the prior is of the intercept at the mean of the predictors"
            yield (FIXED, "", label), repr(prior), law, BOTH, why
        else:
            yield (FIXED, "", label), *_plainly(prior, BOTH)
    correlated = laws.correlations(design, priors)
    for group, term, i, j in variance_rows(design):
        if i == j:
            yield (VARIANCE, group, term), *_plainly(priors.sds[i], POSITIVE)
        elif (i, j) in correlated:
            _, text, law = correlated[i, j]
            yield (VARIANCE, group, term), text, law.pdf, CORRELATION, ""
    if priors.sigma is not None:
        yield (VARIANCE, RESIDUAL, names.SIGMA), *_plainly(priors.sigma, POSITIVE)
    for name, entries in priors.auxiliary.items():
        if isinstance(entries, float):
            yield (VARIANCE, RESIDUAL, name), f"{entries:g}", None, BOTH, "held"
            continue
        increasing = _increasing(entries) if name == "threshold" and design.family.name == "cumulative" else None
        for k, prior in enumerate(entries):
            label = name if len(entries) == 1 and name != "threshold" else f"{name}[{k}]"
            if increasing is not None:
                law = _smoothed(increasing[:, k]) if len(increasing) >= ENOUGH else None
                yield (VARIANCE, RESIDUAL, label), repr(prior), law, BOTH, "restricted to increasing thresholds"
            else:
                yield (VARIANCE, RESIDUAL, label), *_plainly(prior, POSITIVE if prior.positive else BOTH)
    if priors.rho is not None and design.residual is not None:
        low, high = design.residual.bounds
        law = stats.beta(priors.rho, priors.rho, loc=low, scale=high - low)
        yield (VARIANCE, RESIDUAL, names.RHO), f"LKJ(eta={priors.rho:g})", law.pdf, (low, high), ""


def _plainly(prior: Prior, bounds: tuple[float, float]) -> tuple[str, Law | None, tuple[float, float], str]:
    """Text, density, boundaries and note of a prior."""
    if not laws.proper(prior):
        return repr(prior), None, bounds, FLAT

    def law(at: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(laws.log_density(prior, at)))

    return repr(prior), law, bounds, ""


def _intercept(design: Design, priors: Priors) -> Law | None:
    """Prior density of the intercept where the predictors are 0, None if it has none."""
    at = design.intercept
    assert at is not None
    own = priors.coefficients[at]
    means = np.delete(design.X.mean(axis=0), at)
    others = [prior for k, prior in enumerate(priors.coefficients) if k != at]
    used = [(prior, mean) for prior, mean in zip(others, means, strict=True) if mean != 0.0]
    if not all(laws.proper(prior) for prior in [own, *(prior for prior, _ in used)]):
        return None
    if own.name == "Normal" and all(prior.name == "Normal" for prior, _ in used):
        centre = own.args["mu"] - sum(mean * prior.args["mu"] for prior, mean in used)
        variance = own.args["sigma"] ** 2 + sum((mean * prior.args["sigma"]) ** 2 for prior, mean in used)
        return _plainly(Prior("Normal", {"mu": centre, "sigma": math.sqrt(variance)}), BOTH)[1]
    rng = np.random.default_rng(0)
    shift = sum(mean * laws.draw(prior, DRAWS, rng) for prior, mean in used)

    def mixture(value: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(laws.log_density(own, value[:, None] + shift)).mean(axis=1))

    return mixture


def _increasing(priors: tuple[Prior, ...]) -> np.ndarray:
    """(kept, thresholds) draws of thresholds that increase."""
    if not all(laws.proper(prior) for prior in priors):
        return np.empty((0, len(priors)))
    rng = np.random.default_rng(0)
    drawn = np.column_stack([laws.draw(prior, 10 * DRAWS, rng) for prior in priors])
    return drawn[(np.diff(drawn, axis=1) > 0.0).all(axis=1)][:DRAWS]


def _smoothed(draws: np.ndarray) -> Law:
    return lambda at: density(draws, at)
