r"""Bayes factors, and what they owe to the priors.

    B = p(y | a) / p(y | b)

of two models of the same rows. Whatever one model has and the other has not enters through its prior: a prior
k times wider makes a parameter that the data know well cost a factor k of evidence, however many the data
(Lindley 1957, Biometrika 44, 187-192). So a Bayes factor comes with those under wider and narrower priors.

The words are those of Kass & Raftery (1995, Journal of the American Statistical Association 90, 773-795).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from hierbayes import display
from hierbayes.design import check_same_response
from hierbayes.errors import PriorError
from hierbayes.estimates import Posterior
from hierbayes.evidence.marginal_likelihood import Described, Evidence, evidence, unconstrained
from hierbayes.evidence.quadrature import quadrature
from hierbayes.evidence.surface import compiled
from hierbayes.marginal import Marginal
from hierbayes.priors import Prior, Priors
from hierbayes.sampling import make_target

MENTIONED = 0.5
"""Smallest logarithm to the base 10 that speaks for a model."""
WORDS = {MENTIONED: "not worth more than a bare mention", 1.0: "positive", 2.0: "strong", np.inf: "very strong"}
"""Up to these logarithms to the base 10, evidence is called so."""
SDS, COEFFICIENTS = "sds", "coefficients"
SCALES: dict[str, dict[str, float]] = {
    "Normal": {"sigma": 1.0},
    "HalfNormal": {"sigma": 1.0},
    "StudentT": {"sigma": 1.0},
    "HalfStudentT": {"sigma": 1.0},
    "Cauchy": {"beta": 1.0},
    "HalfCauchy": {"beta": 1.0},
    "Laplace": {"b": 1.0},
    "Exponential": {"lam": -1.0},
    "Gamma": {"beta": -1.0},
    "InverseGamma": {"beta": 1.0},
}
"""The parameter of a family that is its scale, or to the power -1 its rate."""
ENOUGH = 100.0
"""Draws that must be left when they are weighted for another prior."""


@dataclass(frozen=True, eq=False)
class BayesFactor:
    """Evidence of one model against another.

    Attributes
    ----------
    log_bf : float
        Natural logarithm of p(y | a) / p(y | b).
    error : float
        Sum of the errors of the two evidences.
    a, b : Evidence
    sensitivity : pandas.DataFrame
        Columns ``prior`` ("sds": standard deviations of the random effects, in both models; "coefficients": fixed
        effects that one of the models has not), ``factor`` by which the scales of these priors are multiplied,
        ``log_bf``, ``log10_bf``, ``error``. NaN where draws are too few to be weighted for another prior.
    """

    log_bf: float
    error: float
    a: Evidence
    b: Evidence
    sensitivity: pd.DataFrame

    @property
    def log10_bf(self) -> float:
        """Logarithm to the base 10."""
        return float(self.log_bf / np.log(10.0))

    @property
    def words(self) -> str:
        """The result in a sentence or two."""
        if not self.error < np.inf:
            return "the evidences have no error bound: nothing can be said"
        favoured = repr(self.a.formula if self.log_bf > 0 else self.b.formula)
        if self.a.formula == self.b.formula:
            favoured = "the first model" if self.log_bf > 0 else "the second model"
        verdict = _word(self.log10_bf)
        if abs(self.log_bf) <= self.error:
            said = "the difference is within its numerical error: neither model is favoured"
        elif abs(self.log10_bf) < MENTIONED:
            said = f"{verdict}: neither model is favoured"
        else:
            said = f"{verdict} evidence for {favoured}"
        values = [self.log10_bf, *self.sensitivity["log10_bf"].dropna()]
        if len({(_word(value), value > 0.0 and abs(value) >= MENTIONED) for value in values}) > 1:
            said += (
                f"; other scales of the priors give log10 BF from {min(values):.2f} to {max(values):.2f} and would "
                "be called otherwise"
            )
        elif len(values) > 1:
            said += "; the scales of the priors that were tried do not change that"
        return said

    def _repr_html_(self) -> str:
        known = {"log BF": f"{self.log_bf:.4g} ± {self.error:.1g}", "log10 BF": f"{self.log10_bf:.3g}"}
        table = display.table(self.sensitivity, "Other scales of the priors") if len(self.sensitivity) else None
        of = f"{self.a.formula!r} to {self.b.formula!r}"
        return display.document(f"Bayes factor of {of}", f"{self.words}.", display.facts(known), table)

    def __repr__(self) -> str:
        lines = [
            f"Bayes factor of {self.a.formula!r} to {self.b.formula!r}",
            f"log BF = {self.log_bf:.4g} ± {self.error:.1g}, log10 BF = {self.log10_bf:.3g}: {self.words}",
        ]
        if len(self.sensitivity):
            lines.append(self.sensitivity.to_string(index=False, float_format=lambda v: f"{v:.4g}"))
        return "\n".join(lines)


def bayes_factor(a: Described, b: Described, sensitivity: Sequence[float] = (0.5, 1.0, 2.0)) -> BayesFactor:
    """Bayes factor of two models of the same rows, with its sensitivity to the scales of the priors.

    Parameters
    ----------
    a, b : Model or Fit
        A model is enough with up to six variance parameters; with more, a fit, whose draws are used.
    sensitivity : sequence of float, default (0.5, 1, 2)
        Factors for the scales of the priors of what the models have on top of each other; empty for none. With few
        variance parameters each is integrated anew, otherwise the draws are weighted.

    Returns
    -------
    BayesFactor

    Notes
    -----
    Automatic priors are made to be wide. Where a decision hangs on a Bayes factor, give the priors of what differs.
    "No random effect", where the formula needs one, is a prior of its standard deviation with a scale that is tiny
    beside σ.

    Raises
    ------
    DataError
        If the models are not of the same response values in the same order.
    PriorError
        If a prior is flat, or has no scale that could be changed.
    HierbayesError
        If a model needs draws and has none.
    ValueError
        If a factor is not positive.

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("sleepstudy")
    >>> slopes = hb.Model("Reaction ~ Days + (Days || Subject)", data)
    >>> intercepts = hb.Model("Reaction ~ Days + (1 | Subject)", data)
    >>> found = hb.bayes_factor(slopes, intercepts)
    >>> round(found.log10_bf, 1)
    7.6
    >>> found.words
    "very strong evidence for 'Reaction ~ Days + (Days || Subject)'; the scales of the priors that were tried do not
    change that"
    """
    for factor in sensitivity:
        if not 0.0 < factor < np.inf:
            raise ValueError(f"the factors of sensitivity must be positive numbers, not {factor!r}")
    for source in (a, b):
        if not hasattr(source, "marginal") or not hasattr(source, "priors"):
            raise TypeError(f"bayes_factor compares models or their posteriors, not {type(source).__name__} objects")
    check_same_response(a.design, b.design, (a.design.formula, b.design.formula))
    found = evidence(a), evidence(b)
    rows = []
    for what in (SDS, COEFFICIENTS):
        changed = [_differing(one, other, what) for one, other in ((a, b), (b, a))]
        if not any(which.any() for which in changed):
            continue
        for factor in sensitivity:
            each = [
                rescaled(source, as_given, what, which, float(factor))
                for source, as_given, which in zip((a, b), found, changed, strict=True)
            ]
            rows.append((what, float(factor), each[0][0] - each[1][0], each[0][1] + each[1][1]))
    table = pd.DataFrame(rows, columns=["prior", "factor", "log_bf", "error"])
    table.insert(3, "log10_bf", table["log_bf"] / np.log(10.0))
    return BayesFactor(
        found[0].log_marginal_likelihood - found[1].log_marginal_likelihood,
        found[0].error + found[1].error,
        *found,
        table,
    )


def rescaled(source: Described, given: Evidence, what: str, which: np.ndarray, factor: float) -> tuple[float, float]:
    """Evidence and its error when the scales of some priors are multiplied.

    Parameters
    ----------
    source : Model or Fit
    given : Evidence
        Under the priors as they are.
    what : {"sds", "coefficients"}
    which : bool array
        The priors in question, in the order of the design.
    factor : float

    Returns
    -------
    value, error : float
    """
    value, error = given.log_marginal_likelihood, given.error
    if factor == 1.0 or not which.any():
        return value, error
    priors = _multiplied(source.priors, what, which, factor)
    marginal = Marginal(source.design, priors, source.marginal.moments)
    if given.method == "quadrature":
        other = quadrature(marginal, priors)
        return other.log_integral, other.error
    assert isinstance(source, Posterior)
    import arviz as az

    draws = unconstrained(source)
    x = draws.reshape(-1, draws.shape[-1])
    old, new = (compiled(make_target(*pair))(x) for pair in ((source.marginal, source.priors), (marginal, priors)))
    log_weights = new - old
    weights = np.exp(log_weights - log_weights.max()).reshape(draws.shape[:2])
    left = weights.sum() ** 2 / (weights**2).sum() / weights.size
    if left * weights.size < ENOUGH:
        return np.nan, np.nan
    spread = float(az.mcse(weights, method="mean")) / weights.mean()
    return value + float(logsumexp(log_weights)) - np.log(weights.size), error + 2.0 * spread


def _differing(source: Described, other: Described, what: str) -> np.ndarray:
    """The priors whose scale matters: of all standard deviations, and of coefficients that the other has not."""
    if what == SDS:
        return np.ones(len(source.priors.sds), dtype=bool)
    return np.array([label not in other.design.labels for label in source.design.labels], dtype=bool)


def _multiplied(priors: Priors, what: str, which: np.ndarray, factor: float) -> Priors:
    chosen = priors.sds if what == SDS else priors.coefficients
    changed = tuple(scaled(prior, factor) if yes else prior for prior, yes in zip(chosen, which, strict=True))
    return replace(priors, sds=changed) if what == SDS else replace(priors, coefficients=changed)


def scaled(prior: Prior, factor: float) -> Prior:
    """A prior with its scale multiplied, its location kept.

    Raises
    ------
    PriorError
        If the family has no scale.

    Examples
    --------
    >>> scaled(Prior("HalfNormal", {"sigma": 2.0}), 3.0), scaled(Prior("Exponential", {"lam": 6.0}), 3.0)
    (HalfNormal(sigma=6), Exponential(lam=2))
    """
    args = dict(prior.args)
    if prior.name == "LogNormal":
        args["mu"] += float(np.log(factor))
        return Prior(prior.name, args)
    if prior.name not in SCALES or set(SCALES[prior.name]) - set(args):
        raise PriorError(f"The scale of {prior} cannot be multiplied; call bayes_factor with sensitivity=().")
    for key, power in SCALES[prior.name].items():
        args[key] = args[key] * factor**power
    return Prior(prior.name, args)


def _word(log10_bf: float) -> str:
    return next(word for limit, word in WORDS.items() if abs(log10_bf) <= limit)
