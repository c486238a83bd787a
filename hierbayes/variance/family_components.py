r"""Variance of a response that is not Gaussian, split by where it comes from, on two scales.

On the *latent* scale, that of the linear predictor η_i = x_iᵀβ + z_iᵀb, fixed effects and grouping factors add up as
in `hierbayes.variance.components`, and the residual variance is that of `hierbayes.variance.distribution_variance`.

On the *response* scale, with m(η) the expected response and v(η) its variance, the law of total variance gives

    Var y = Var_i(E_b m(η_i)) + mean_i Var_b m(η_i) + mean_i E_b v(η_i)

for a row drawn at random, the random effects new: fixed effects, random effects, residual (Goldstein, Browne &
Rasbash 2002, Understanding Statistics 1, 223; de Villemereuil, Schielzeth, Nakagawa & Morrissey 2016, Genetics 204,
1281). The effects of a row enter through one normal number, z_iᵀb, so the expectations are one-dimensional, by
Gauss-Hermite quadrature. Of several grouping factors each has the variance of the expectation given its own effects,
``mean_i Var_f(E[m(η_i) | b_f])``: the covariance of two rows that share its level and no other. What is left of the
variance of all random effects, because m is not linear, belongs to them *jointly*. Rows that are the same in all that
matters are looked at once; of more than `ROWS` different ones, so many at random stand for all; of many draws some.

An offset, such as the logarithm of an exposure, is known and explains nothing: its variation counts on neither scale.
On the response scale every row has the mean of the offset, a typical exposure; Var y is then that of such rows.

The Bayesian R² of a draw is that of the expected responses in the very levels of the data,
var_i(m(η_i)) / (var_i(m(η_i)) + mean_i v(η_i)) (Gelman, Goodrich, Gabry & Vehtari 2019, The American Statistician 73,
307).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hierbayes.design import Design
from hierbayes.estimates import FamilyPosterior
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.linear_predictor import LinearPredictor, covariance_draws
from hierbayes.response_law import ResponseLaw
from hierbayes.specification import Specification, required
from hierbayes.variance.components import Variances, variances
from hierbayes.variance.distribution_variance import latent_variance, response_variance

NODES, OUTER = 31, 15
"""Nodes of the quadrature over all effects; over those of one factor and over the others."""
ROWS = 1000
"""Different rows that are looked at."""
WORK = 20_000_000
"""About so many expected responses are evaluated; of more draws some are looked at."""
FEWEST = 200
"""Draws that are looked at in any case, if there are as many."""
REPLICATES = 20
"""Responses simulated for each draw and row where the variance of a family has no formula."""
JOINTLY = "jointly"
"""Name of what several factors do together that none does alone."""
INFINITE = 1e140
"""Stands for an infinite variance, of which every other is no part."""
SIMULATED, FORMULA = "simulated", "that of the family"


@dataclass(frozen=True, eq=False)
class Parameters:
    """Values of the parameters of a model, one or many.

    Parameters
    ----------
    fixef : (draws, p) array
    covariance : (draws, q, q) array
        Of the random effects of a level.
    auxiliary : mapping of str to (draws,) array
    """

    fixef: np.ndarray
    covariance: np.ndarray
    auxiliary: Mapping[str, np.ndarray]

    def only(self, draws: np.ndarray) -> Parameters:
        """Some of them."""
        auxiliary = {name: values[draws] for name, values in self.auxiliary.items()}
        return Parameters(self.fixef[draws], self.covariance[draws], auxiliary)


@dataclass(frozen=True, eq=False)
class OnScale:
    """Variances on one scale.

    Parameters
    ----------
    variances : Variances
        On the response scale with several factors, the last one is `JOINTLY`.
    residual : str
        Which residual variance it is, or why there is none.
    """

    variances: Variances
    residual: str


def parameters_of(result: FamilyPosterior | LaplaceEstimate) -> Parameters:
    """Draws of a posterior, or the estimate."""
    if isinstance(result, LaplaceEstimate):
        auxiliary = {name: np.array([value]) for name, value in (result.residual_values | _held(result)).items()}
        return Parameters(result.fixef.to_numpy()[None], result.covariance[None], auxiliary)
    predictor = LinearPredictor(result)
    held = {name: np.full(predictor.draws, value) for name, value in _held(result).items()}
    return Parameters(predictor.fixef, covariance_draws(result), held | predictor.auxiliary(slice(None)))


def _held(result: FamilyPosterior | LaplaceEstimate) -> dict[str, float]:
    """Further parameters that are known."""
    known = required(result.specification).priors.auxiliary.items()
    return {name: float(value) for name, value in known if isinstance(value, (int, float))}


def on_both_scales(result: FamilyPosterior | LaplaceEstimate, approximation: str = "trigamma") -> dict[str, OnScale]:
    """Variances on the latent and on the response scale.

    Parameters
    ----------
    result : FamilyPosterior or LaplaceEstimate
    approximation : {"trigamma", "lognormal", "delta"}
        Of the latent residual variance with log link.

    Returns
    -------
    dict of str to OnScale
        Keys "latent" and "response". Where there is no residual variance it is NaN.
    """
    design = result.design
    if design.outcomes is not None:
        reason = "not known: the response has several linear predictors"
        return {scale: OnScale(_unknown(design), reason) for scale in ("latent", "response")}
    parameters = parameters_of(result)
    latent = variances(design, parameters.fixef, parameters.covariance, np.zeros(len(parameters.fixef)))
    if design.family.ordinal:
        mean, response = (
            np.empty(len(parameters.fixef)),
            OnScale(_unknown(design), "not known: categories are no numbers"),
        )
    else:
        mean, response = _on_response(required(result.specification), parameters)
    few = len(mean) < len(latent.fixed)
    some = _evenly(len(latent.fixed), len(mean)) if few else np.arange(len(latent.fixed))
    residual, which = latent_variance(design.family, mean, parameters.only(some).auxiliary, approximation)
    residual = np.minimum(residual, INFINITE)
    latent = Variances(latent.factors, latent.fixed[some], latent.random[some], latent.summed[some], residual)
    return {"latent": OnScale(latent, which), "response": response}


def _unknown(design: Design) -> Variances:
    F = len(design.factors)
    nan = np.full(1, np.nan)
    return Variances(
        tuple(f.name for f in design.factors), nan, np.full((1, F), np.nan), np.full((1, F), np.nan), nan
    )


def _evenly(total: int, wanted: int) -> np.ndarray:
    return np.linspace(0, total - 1, wanted).round().astype(int)


def _on_response(specification: Specification, parameters: Parameters) -> tuple[np.ndarray, OnScale]:
    """Mean response of each draw that was looked at, and the variances."""
    design = specification.design
    factors = [factor.name for factor in design.factors]
    rows, counts = _different_rows(design)
    several = len(factors) > 1
    nodes = NODES + (OUTER**2 * len(factors) if several else 0)
    wanted = int(np.clip(WORK // (len(rows) * nodes), FEWEST, None))
    total = len(parameters.fixef)
    parameters = parameters.only(_evenly(total, min(total, wanted)))
    share = counts / counts.sum()
    law = ResponseLaw(specification, np.asarray(specification.skeleton.response_term.data)[rows])
    scale = _Scale(law, design, rows, parameters, several)
    m = len(parameters.fixef)
    mean, spread, residual = scale.moments()
    overall = mean @ share
    fixed = ((mean - overall[:, None]) ** 2) @ share * design.n / (design.n - 1)
    random = np.zeros((m, len(factors) + several))
    for k, name in enumerate(factors):
        random[:, k] = scale.of_factor(name) @ share if several else spread @ share
    if several:
        random[:, -1] = spread @ share - random[:, :-1].sum(axis=1)
    names = (*factors, JOINTLY) if several else tuple(factors)
    found = Variances(names, fixed, random, np.full_like(random, np.nan), residual @ share)
    reason = scale.which
    if infinite := int(np.isinf(found.residual).sum()):
        reason += f", infinite in {infinite} of {m} draws"
        found = replace(found, residual=np.minimum(found.residual, INFINITE))
    return overall, OnScale(found, reason)


def _different_rows(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Rows that differ in what the linear predictor needs, and how many rows are like each."""
    columns = [design.X, *(part.block.Z for part in design.parts)]
    _, first, counts = np.unique(np.hstack(columns), axis=0, return_index=True, return_counts=True)
    if len(first) <= ROWS:
        return first, counts.astype(float)
    return np.sort(np.random.default_rng(0).choice(design.n, ROWS, replace=False)), np.ones(ROWS)


class _Scale:
    """Expected responses under new random effects, for some rows and all values of the parameters."""

    def __init__(
        self, law: ResponseLaw, design: Design, rows: np.ndarray, parameters: Parameters, several: bool
    ) -> None:
        self.law, self.auxiliary, self.family = law, parameters.auxiliary, design.family
        self.which = FORMULA
        self.trials = 1.0 if design.trials is None else design.trials[rows]
        self.eta = parameters.fixef @ design.X[rows].T + (0.0 if design.offset is None else design.offset.mean())
        self.by_factor = {}
        for factor in design.factors:
            Z, where = design.effect_columns(factor, rows), design.effects_of(factor)
            self.by_factor[factor.name] = np.einsum("nq,dqr,nr->dn", Z, parameters.covariance[:, where, where], Z)
        self.total = sum(self.by_factor.values(), start=np.zeros_like(self.eta))

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """m(η)."""
        return self.law.mean(eta, self.auxiliary)

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E m, Var m and E v over all random effects, (draws, rows) each."""
        x, w = _normal(NODES if self.by_factor else 1)
        first, second, residual = (np.zeros_like(self.eta) for _ in range(3))
        start = self.mean(self.eta)  # deviations from here keep their digits
        known = response_variance(self.family, start, self.auxiliary) is not None
        for node, weight in zip(x, w, strict=True):
            eta = self.eta + node * np.sqrt(self.total)
            m = self.mean(eta)
            first += weight * (m - start)
            second += weight * (m - start) ** 2
            if known:
                residual += weight * response_variance(self.family, m, self.auxiliary)
        return start + first, np.maximum(second - first**2, 0.0), residual if known else self._simulated()

    def _simulated(self) -> np.ndarray:
        """E v where the family has no formula: mean squares of simulated responses around their expectations."""
        self.which = SIMULATED
        rng, total = np.random.default_rng(0), np.zeros_like(self.eta)
        for _ in range(REPLICATES):
            eta = self.eta + rng.standard_normal(self.eta.shape) * np.sqrt(self.total)
            y = self.law.draw(eta, self.auxiliary, int(rng.integers(2**31))) / self.trials
            total += (y - self.mean(eta)) ** 2
        return total / REPLICATES

    def of_factor(self, name: str) -> np.ndarray:
        """Variance of E[m | effects of a factor], (draws, rows)."""
        own, others = np.sqrt(self.by_factor[name]), np.sqrt(self.total - self.by_factor[name])
        x, w = _normal(OUTER)
        start = self.mean(self.eta)
        given = [
            sum(v * (self.mean(self.eta + a * own + b * others) - start) for b, v in zip(x, w, strict=True))
            for a in x
        ]
        mean = sum(u * g for u, g in zip(w, given, strict=True))
        return sum(u * (g - mean) ** 2 for u, g in zip(w, given, strict=True))


def _normal(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of expectations under a standard normal distribution."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return x, w / w.sum()


def bayesian_r2(fit: FamilyPosterior) -> tuple[np.ndarray, str]:
    """Bayesian R² of some draws on the response scale, and the reason if there is none.

    Parameters
    ----------
    fit : FamilyPosterior

    Returns
    -------
    values : (some draws,) array
    reason : str
        Empty if there is nothing to say.
    """
    design, specification = fit.design, required(fit.specification)
    if design.outcomes is not None or design.family.ordinal:
        return np.full(1, np.nan), "not known: categories are no numbers"
    predictor = LinearPredictor(fit)
    wanted = int(np.clip(WORK // design.n, FEWEST, None))
    draws = _evenly(predictor.draws, min(predictor.draws, wanted))
    law = ResponseLaw(specification)
    held = {name: np.full(len(draws), value) for name, value in _held(fit).items()}
    auxiliary = held | predictor.auxiliary(draws)
    eta = predictor.eta(draws)
    if design.offset is not None:
        eta += design.offset.mean() - design.offset
    mean = law.mean(eta, auxiliary)
    residual = response_variance(design.family, mean, auxiliary)
    if residual is None:
        return np.full(1, np.nan), "not known: the variance of this family has no formula here"
    explained = mean.var(axis=1, ddof=1)
    with np.errstate(invalid="ignore"):
        return explained / (explained + residual.mean(axis=1)), ""
