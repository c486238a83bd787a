"""Posteriors against quadrature of the dense oracle: priors that are not Normal, and correlated residuals.

Nothing of the package's likelihood is used on the exact side: densities are those of `oracle`, priors those of SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.legendre import leggauss
from oracle import dense, gls, log_integrated, response_covariance
from scipy import stats

import hierbayes as hb

STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between an estimate and the exact value, at most."""
NODES_AGREE = 1e-3
"""Relative difference of two quadratures, at most: the boxes and the few nodes on this side are good to that."""
EDGE = 1e-5
"""Probability at the ends of the box, at most; otherwise it does not hold the posterior."""


def half(name, **args):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior(name, **args))


def gauss(low, high, nodes):
    node, weight = leggauss(nodes)
    return low + 0.5 * (high - low) * (node + 1.0), 0.5 * (high - low) * weight


def rows_of(exact):
    """Mean and standard deviation by `hb.Quadrature`, under the names of the posterior."""
    names = {"sd(Intercept)": "1|g_sigma"}
    return {
        names.get(key[2], key[2]): (mean, sd)
        for key, mean, sd in zip(exact.mean.index, exact.mean, exact.sd, strict=True)
    }


def compare(draws, mean, sd):
    array = draws.to_numpy()
    assert abs(array.mean() - mean) < STANDARD_ERRORS * float(az.mcse(array, method="mean"))
    assert abs(array.std(ddof=1) - sd) < STANDARD_ERRORS * float(az.mcse(array, method="sd"))


# --- priors that are not Normal -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(6), 5)
    x = rng.uniform(-1.0, 2.0, 30)
    y = 1.0 + 0.3 * x + 0.8 * rng.standard_normal(6)[g] + 0.9 * rng.standard_normal(30)
    return pd.DataFrame({"y": y, "x": x, "g": g})


INTERCEPT = (0.5, 2.0)
KEPT = {
    "StudentT": (bmb.Prior("StudentT", nu=3, mu=0.5, sigma=0.1), stats.t(3, 0.5, 0.1), "compiled"),
    "Laplace": (bmb.Prior("Laplace", mu=0, b=0.1), stats.laplace(0, 0.1), "compiled"),
    "Cauchy": (bmb.Prior("Cauchy", alpha=-0.5, beta=0.1), stats.cauchy(-0.5, 0.1), "compiled"),
    "HalfNormal": (bmb.Prior("HalfNormal", sigma=0.2), stats.halfnorm(0, 0.2), "compiled"),
    "Gamma": (bmb.Prior("Gamma", alpha=5, beta=4), stats.gamma(5, scale=0.25), "compiled"),
    "Uniform": (bmb.Prior("Uniform", lower=-0.1, upper=0.35), stats.uniform(-0.1, 0.45), "graph"),
}
"""Priors that disagree with the data enough to be seen in the posterior; the last two are bounded."""


@pytest.fixture(scope="module")
def surface(small):
    """For a grid of (sd, σ): p(y) with a flat prior of the slope, and the Gaussians of slope and intercept."""
    design = hb.Model("y ~ x + (1 | g)", small).design
    data = dense(design)
    (sds, sd_weight), (sigmas, sigma_weight) = gauss(0.0, 6.0, 48), gauss(0.45, 2.5, 32)
    rows = []
    for sd, sigma in product(sds, sigmas):
        V = response_covariance(data, np.array([[sd**2]]), sigma)
        V_prior = V + INTERCEPT[1] ** 2  # the intercept's prior integrated: s² 1 1ᵀ
        rest = data.y - INTERCEPT[0]
        slope, variance = gls(rest, data.X[:, 1:], V_prior)
        flat = log_integrated(rest, data.X[:, 1:], V_prior)
        # given the slope, the intercept is Gaussian: precision 1ᵀV⁻¹1 + 1/s²
        ones = np.linalg.solve(V, np.ones(design.n))
        precision = ones.sum() + INTERCEPT[1] ** -2.0
        at_zero = (ones @ data.y + INTERCEPT[0] * INTERCEPT[1] ** -2.0) / precision
        change = -(ones @ data.X[:, 1]) / precision
        rows.append((flat, slope[0], variance[0, 0], at_zero, change, 1.0 / precision))
    table = np.array(rows).T.reshape(6, len(sds), len(sigmas))
    return sds, sd_weight, sigmas, sigma_weight, table


def exact_kept(surface, law):
    """Means and standard deviations, and the evidence, with half-Normal(1.5) and Exponential(1) of sd and σ."""
    sds, sd_weight, sigmas, sigma_weight, (flat, slope, variance, at_zero, change, spread) = surface
    low, high = max(law.support()[0], -1.5), min(law.support()[1], 2.0)
    # panels, so that the kink of a Laplace density is at an end of one
    ends = np.unique(np.clip(np.r_[np.linspace(low, high, 21), law.median()], low, high))
    parts = [gauss(a, b, 20) for a, b in pairwise(ends)]
    beta, weight = np.concatenate([b for b, _ in parts]), np.concatenate([w for _, w in parts])
    theta = (
        flat
        + np.log(sd_weight * stats.halfnorm(0, 1.5).pdf(sds))[:, None]
        + np.log(sigma_weight * stats.expon().pdf(sigmas))
    )
    density = stats.norm.logpdf(beta, slope[..., None], np.sqrt(variance)[..., None])
    with np.errstate(divide="ignore"):
        total = theta[..., None] + density + np.log(weight) + law.logpdf(beta)
    p = np.exp(total - total.max())
    evidence = total.max() + np.log(p.sum())
    p /= p.sum()
    assert p[-1].sum() < EDGE
    assert p[:, -1].sum() < EDGE
    assert p[:, 0].sum() < EDGE
    intercept = at_zero[..., None] + change[..., None] * beta

    def moments(value, within=0.0):
        first = float((p * value).sum())
        return first, float(np.sqrt((p * (value**2 + within)).sum() - first**2))

    return {
        "Intercept": moments(intercept, spread[..., None]),
        "x": moments(beta),
        "1|g_sigma": moments(sds[:, None, None]),
        "sigma": moments(sigmas[:, None]),
    }, evidence


@pytest.mark.parametrize("name", KEPT)
def test_fixed_effects_with_other_priors(small, surface, name):
    prior, law, engine = KEPT[name]
    model = hb.Model(
        "y ~ x + (1 | g)",
        small,
        center_predictors=False,
        priors={
            "Intercept": bmb.Prior("Normal", mu=INTERCEPT[0], sigma=INTERCEPT[1]),
            "x": prior,
            "1|g": half("HalfNormal", sigma=1.5),
            "sigma": bmb.Prior("Exponential", lam=1.0),
        },
    )
    np.testing.assert_array_equal(model.priors.kept, [False, True])
    quadrature = model.quadrature(0.1 * NODES_AGREE)
    found = rows_of(quadrature)
    values, evidence = exact_kept(surface, law)
    assert quadrature.log_integral == pytest.approx(evidence, abs=NODES_AGREE)
    for quantity, exact in values.items():
        assert found[quantity] == pytest.approx(exact, rel=NODES_AGREE)
    fit = model.fit(draws=3000, seed=7, progress=False)
    assert fit.idata.attrs["engine"] == engine
    low, high = law.support()
    assert low <= fit.posterior["x"].min() <= fit.posterior["x"].max() <= high
    for quantity, (mean, sd) in values.items():
        compare(fit.posterior[quantity], mean, sd)


# --- correlated residuals -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model with residual correlation and one random intercept or none."""

    formula: str
    residual: str
    prior: float
    box: dict[str, tuple[float, float]]
    rho: tuple[float, float]


SERIES = {
    "AR(1) and a random intercept": Case(
        "y ~ x + (1 | g)", "ar1(t | g)", 1.5, {"1|g": (0.0, 6.0), "sigma": (0.4, 4.5)}, (-1.0, 1.0)
    ),
    "AR(1) alone": Case("y ~ x", "ar1(t | g)", 1.0, {"sigma": (0.4, 4.5)}, (-1.0, 1.0)),
    "compound symmetry": Case("y ~ x", "cs(g)", 2.0, {"sigma": (0.4, 5.0)}, (-0.25, 1.0)),
}
NODES = {1: 40, 2: 22}
"""Nodes a dimension, by the number of standard deviations; ρ has as many."""


@pytest.fixture(scope="module")
def series():
    """Seven series of five, with gaps, strongly correlated."""
    rng = np.random.default_rng(9)
    g = np.repeat(np.arange(7), 5)
    t = np.concatenate([np.sort(rng.permutation(8)[:5]) for _ in range(7)])
    e = np.concatenate(
        [np.linalg.cholesky(0.7 ** abs(s[:, None] - s)) @ rng.standard_normal(5) for s in t.reshape(7, 5)]
    )
    x = rng.standard_normal(35)
    y = 2.0 - x + 0.5 * rng.standard_normal(7)[g] + e
    return pd.DataFrame({"y": y, "x": x, "t": t, "g": g})


COEFFICIENTS = {"Intercept": (1.0, 3.0), "x": (0.0, 1.0)}


def exact_series(design, case):
    """Means and standard deviations, and the evidence, by quadrature over (sd, σ, ρ) of the dense likelihood."""
    data = dense(design)
    mean, sd = np.array(list(COEFFICIENTS.values())).T
    axes = [gauss(*ends, NODES[len(case.box)]) for ends in case.box.values()]
    axes.append(gauss(*case.rho, NODES[len(case.box)]))
    low, high = case.rho
    laws = {"1|g": stats.halfnorm(0, 1.5), "sigma": stats.expon()}
    beta_law = stats.beta(case.prior, case.prior, loc=low, scale=high - low)
    q = design.layout.q
    values, logs, betas, beta_vars, effects, effect_vars = [], [], [], [], [], []
    for at in product(*(range(len(node)) for node, _ in axes)):
        point = [node[i] for i, (node, _) in zip(at, axes, strict=True)]
        rho, sigma = point[-1], point[-2]
        Sigma = np.array([[point[0] ** 2]]) if q else np.zeros((0, 0))
        V = response_covariance(data, Sigma, sigma, rho)
        inverse = np.linalg.inv(V)
        information = data.X.T @ inverse @ data.X + np.diag(sd**-2.0)
        spread = np.linalg.inv(information)
        beta = spread @ (data.X.T @ inverse @ data.y + mean / sd**2)
        # p(y) = p(y | β) p(β) / p(β | y) at the conditional mean
        r = data.y - data.X @ beta
        log_density = (
            -0.5 * (design.n * np.log(2.0 * np.pi) + np.linalg.slogdet(V)[1] + r @ inverse @ r)
            + stats.norm.logpdf(beta, mean, sd).sum()
            + 0.5 * (len(beta) * np.log(2.0 * np.pi) + np.linalg.slogdet(spread)[1])
        )
        log_prior = sum(laws[name].logpdf(value) for name, value in zip(case.box, point, strict=False))
        log_weight = sum(np.log(weight[i]) for i, (_, weight) in zip(at, axes, strict=True))
        values.append(point)
        logs.append(log_density + log_prior + beta_law.logpdf(rho) + log_weight)
        betas.append(beta)
        beta_vars.append(np.diag(spread))
        if q:
            gain = Sigma[0, 0] * data.Z.T @ inverse
            change = gain @ data.X
            effects.append(gain @ r)
            within = Sigma[0, 0] * (1.0 - np.einsum("ij,ji->i", gain, data.Z))
            effect_vars.append(within + np.einsum("ij,jk,ik->i", change, spread, change))
    p = np.exp(np.array(logs) - np.max(logs))
    evidence = np.max(logs) + np.log(p.sum())
    p /= p.sum()
    grid = p.reshape([len(node) for node, _ in axes])
    for axis in range(grid.ndim):
        assert grid.take(-1, axis).sum() < EDGE
    values = np.array(values)

    def moments(value, within=0.0):
        first = p @ value
        return float(first), float(np.sqrt(p @ (value**2 + within) - first**2))

    found = {f"{name}_sigma" if "|" in name else name: moments(values[:, k]) for k, name in enumerate(case.box)}
    found["rho"] = moments(values[:, -1])
    betas, beta_vars = np.array(betas), np.array(beta_vars)
    for k, name in enumerate(COEFFICIENTS):
        found[name] = moments(betas[:, k], beta_vars[:, k])
    if q:
        effects, effect_vars = np.array(effects), np.array(effect_vars)
        found["1|g"] = [moments(effects[:, j], effect_vars[:, j]) for j in range(effects.shape[1])]
    return found, evidence


@pytest.mark.parametrize("name", SERIES)
def test_the_posterior_of_correlated_residuals(series, name):
    case = SERIES[name]
    priors = {key: bmb.Prior("Normal", mu=mu, sigma=sigma) for key, (mu, sigma) in COEFFICIENTS.items()}
    priors |= {"sigma": bmb.Prior("Exponential", lam=1.0), "rho": bmb.Prior("LKJ", eta=case.prior)}
    if "1|g" in case.box:
        priors["1|g"] = half("HalfNormal", sigma=1.5)
    model = hb.Model(case.formula, series, priors=priors, center_predictors=False, residual=case.residual)
    np.testing.assert_allclose(model.design.residual.bounds, case.rho, rtol=1e-12)
    fit = model.fit(draws=3000, seed=5, progress=False)
    assert fit.convergence.ok
    quadrature = fit.quadrature(0.1 * NODES_AGREE)
    found = rows_of(quadrature)
    values, evidence = exact_series(model.design, case)
    assert quadrature.log_integral == pytest.approx(evidence, abs=NODES_AGREE)
    for quantity, exact in values.items():
        if quantity in found:
            assert found[quantity] == pytest.approx(exact, rel=NODES_AGREE)
        if isinstance(exact, list):
            for j, (mean, sd) in enumerate(exact):
                compare(fit.posterior[quantity][..., j], mean, sd)
        else:
            compare(fit.posterior[quantity], *exact)
