"""Posteriors of families that are not Gaussian: against dense quadrature, and against the parameters behind the data.

The quadrature knows nothing of the package: densities are scipy's, the random effects of a level are integrated by
Gauss-Hermite quadrature and the parameters by Gauss-Legendre over ranges that hold all of the posterior but 1e-8.
"""

from __future__ import annotations

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from fixtures_families import half_normal, responses
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy import special, stats

import hierbayes as hb
from hierbayes.pilot import pilot

STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between draws and quadrature, at most."""
POSTERIOR_SDS = 4.0
"""Posterior standard deviations between a posterior mean and the parameter behind the data, at most."""
pytestmark = pytest.mark.filterwarnings("ignore:[1-9] of 6000 draws were divergent")
"""So few at standard deviations near zero; what they hid a comparison would show."""
FIT = {"draws": 1500, "tune": 1000, "seed": 1, "target_accept": 0.99, "progress": False}


def check_against(fit, exact):
    """Means and standard deviations of draws, within Monte Carlo errors of the exact ones."""
    for name, (mean, sd) in exact.items():
        variable, *at = name.split("@")
        draws = fit.posterior[variable]
        draws = draws[..., int(at[0])] if at else draws
        for found, wanted, error in (
            (draws.mean(), mean, az.mcse(draws, method="mean")),
            (draws.std(ddof=1), sd, az.mcse(draws, method="sd")),
        ):
            assert abs(float(found) - wanted) < STANDARD_ERRORS * float(error), (name, float(found), wanted)


def legendre(low, high, count):
    x, w = leggauss(count)
    return 0.5 * (high - low) * x + 0.5 * (high + low), 0.5 * (high - low) * w


def moments(grid, weights):
    """Mean and sd of each coordinate of a grid of nodes."""
    total = weights.sum()
    found = []
    for values in grid:
        mean = (values * weights).sum() / total
        found.append((mean, np.sqrt(((values - mean) ** 2 * weights).sum() / total)))
    return found


def by_quadrature(log_density, y, g, axes, nodes=40):
    """Moments of (intercept, sd, further parameters) of a random-intercept model without predictors.

    Parameters
    ----------
    log_density : callable
        Of one group's responses (rows) given η (..., 1) and the further parameters.
    y, g : (n,) arrays
    axes : list of (low, high, count, log prior)
        Intercept, sd of the random intercepts, further parameters.
    """
    z, wz = hermegauss(nodes)
    log_wz = np.log(wz / wz.sum())
    points = [legendre(low, high, count) for low, high, count, _ in axes]
    grid = np.meshgrid(*[x for x, _ in points], indexing="ij")
    log_w = sum(np.log(w) for w in np.meshgrid(*[w for _, w in points], indexing="ij"))
    log_w = log_w + sum(prior(values) for values, (_, _, _, prior) in zip(grid, axes, strict=True))
    flat = [values.ravel() for values in grid]
    total = np.zeros(len(flat[0]))
    for level in np.unique(g):
        rows = y[g == level]
        for part in np.array_split(np.arange(len(total)), 1 + len(total) * nodes * len(rows) // 2_000_000):
            intercept, sd, *others = (values[part] for values in flat)
            eta = intercept[:, None] + sd[:, None] * z
            density = log_density(rows, eta[..., None], *[other[:, None, None] for other in others]).sum(axis=-1)
            total[part] += special.logsumexp(density + log_wz, axis=1)
    log_w = log_w.ravel() + total
    return moments(flat, np.exp(log_w - log_w.max()))


def log_normal(mu, sigma):
    return lambda x: stats.norm.logpdf(x, mu, sigma)


def log_half_normal(sigma):
    return lambda x: stats.halfnorm.logpdf(x, scale=sigma)


def small(draw, sizes=(6, 5, 7, 6, 6), seed=5):
    """A few responses in a few groups, drawn given a linear predictor."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(sizes)), sizes)
    eta = 0.4 + 0.7 * rng.normal(size=len(sizes))[g]
    return pd.DataFrame({"g": [f"g{k}" for k in g], "y": draw(rng, eta)}), g


SLOW = pytest.mark.slow
INTERCEPT, SD = (-4.0, 5.0, 32, log_normal(0.0, 1.5)), (1e-9, 4.5, 32, log_half_normal(1.0))
CASES = {
    "bernoulli": (
        "bernoulli",
        None,
        lambda rng, eta: (rng.random(len(eta)) < special.expit(eta)).astype(int),
        lambda y, eta: -np.logaddexp(0.0, np.where(y == 1, -eta, eta)),
        {},
    ),
    "poisson": (
        "poisson",
        None,
        lambda rng, eta: rng.poisson(np.exp(eta)),
        lambda y, eta: stats.poisson.logpmf(y, np.exp(eta)),
        {},
    ),
    "negativebinomial": (
        "negativebinomial",
        None,
        lambda rng, eta: rng.negative_binomial(2.0, 2.0 / (2.0 + np.exp(eta))),
        lambda y, eta, alpha: stats.nbinom.logpmf(y, alpha, alpha / (alpha + np.exp(eta))),
        {"alpha": (1e-9, 22.0, 24, lambda a: stats.gamma.logpdf(a, 2.0, scale=1.0))},
    ),
    "gamma": (
        "gamma",
        "log",
        lambda rng, eta: rng.gamma(3.0, np.exp(eta) / 3.0),
        lambda y, eta, alpha: stats.gamma.logpdf(y, alpha, scale=np.exp(eta) / alpha),
        {"alpha": (1e-9, 22.0, 32, lambda a: stats.gamma.logpdf(a, 2.0, scale=1.0))},
    ),
    "beta": (
        "beta",
        None,
        lambda rng, eta: rng.beta(5.0 * special.expit(eta), 5.0 * special.expit(-eta)),
        lambda y, eta, kappa: stats.beta.logpdf(y, kappa * special.expit(eta), kappa * special.expit(-eta)),
        {"kappa": (1e-9, 22.0, 32, lambda a: stats.gamma.logpdf(a, 2.0, scale=1.0))},
    ),
    "t": (
        "t",
        None,
        lambda rng, eta: eta + 0.6 * rng.standard_t(4, len(eta)),
        lambda y, eta, sigma: stats.t.logpdf(y, 4.0, eta, sigma),
        {"sigma": (1e-2, 4.0, 32, log_half_normal(1.0))},
    ),
    "zero_inflated_poisson": (
        "zero_inflated_poisson",
        None,
        lambda rng, eta: rng.poisson(np.exp(eta)) * (rng.random(len(eta)) < 0.7),
        lambda y, eta, psi: np.where(
            y == 0, np.log1p(-psi + psi * np.exp(-np.exp(eta))), np.log(psi) + stats.poisson.logpmf(y, np.exp(eta))
        ),
        {"psi": (1e-9, 1.0 - 1e-9, 24, lambda a: stats.beta.logpdf(a, 2.0, 2.0))},
    ),
}
PRIORS = {
    "alpha": bmb.Prior("Gamma", alpha=2, beta=1),
    "kappa": bmb.Prior("Gamma", alpha=2, beta=1),
    "sigma": bmb.Prior("HalfNormal", sigma=1),
    "psi": bmb.Prior("Beta", alpha=2, beta=2),
}


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name in {"bernoulli", "gamma"} else SLOW) for name in CASES]
)
def test_posterior_is_that_of_quadrature(case):
    family, link, draw, log_density, further = CASES[case]
    data, g = small(draw)
    priors = {"Intercept": bmb.Prior("Normal", mu=0, sigma=1.5), "1|g": half_normal(1.0)}
    priors |= {name: PRIORS[name] for name in further}
    if family == "t":
        priors["nu"] = 4
    fit = hb.Model("y ~ 1 + (1 | g)", data, family=family, link=link, priors=priors).fit(**FIT)
    exact = by_quadrature(log_density, data["y"].to_numpy(), g, [INTERCEPT, SD, *further.values()])
    check_against(fit, dict(zip(["Intercept", "1|g_sigma", *further], exact, strict=True)))


def test_ordinal_posterior_is_that_of_quadrature():
    data, g = small(lambda rng, eta: np.digitize(eta + rng.logistic(size=len(eta)), [-0.3, 1.0]))
    data["grade"] = pd.Categorical(np.array(list("abc"))[data["y"]], categories=list("abc"), ordered=True)
    priors = {"threshold": bmb.Prior("Normal", mu=[-1.0, 1.0], sigma=1.5), "1|g": half_normal(1.0)}
    fit = hb.Model("grade ~ (1 | g)", data, family="cumulative", priors=priors).fit(**FIT)

    def log_density(y, eta, gap):  # of η = b - τ_1, and τ_2 = τ_1 + gap
        below = special.expit(-eta), special.expit(gap - eta)
        probability = np.where(y == 0, below[0], np.where(y == 1, below[1] - below[0], 1.0 - below[1]))
        return np.log(np.maximum(probability, 1e-300))

    # in (-τ_1, sd, τ_2 - τ_1); the prior of τ_2 enters with the weights
    axes = [(-5.0, 5.5, 32, log_normal(1.0, 1.5)), SD, (1e-9, 8.0, 32, lambda gap: np.zeros_like(gap))]
    z, wz = hermegauss(40)
    points = [legendre(low, high, count) for low, high, count, _ in axes]
    minus, sd, gap = (values.ravel() for values in np.meshgrid(*[x for x, _ in points], indexing="ij"))
    log_w = sum(np.log(w).ravel() for w in np.meshgrid(*[w for _, w in points], indexing="ij"))
    log_w = log_w + axes[0][3](minus) + axes[1][3](sd) + stats.norm.logpdf(gap - minus, 1.0, 1.5)
    for level in np.unique(g):
        counts = np.bincount(data["y"][g == level], minlength=3)
        eta = minus[:, None] + sd[:, None] * z
        density = sum(counts[k] * log_density(k, eta, gap[:, None]) for k in range(3))
        log_w += special.logsumexp(density + np.log(wz / wz.sum()), axis=1)
    found = moments([-minus, gap - minus, sd], np.exp(log_w - log_w.max()))
    check_against(fit, dict(zip(["threshold@0", "threshold@1", "1|g_sigma"], found, strict=True)))


def test_correlated_effects_are_those_of_quadrature():
    """Counts with correlated random intercepts and slopes and no fixed effects, under LKJ(2)."""
    rng = np.random.default_rng(8)
    groups, rows = 7, 8
    b = rng.multivariate_normal([0.0, 0.0], [[0.8, 0.35], [0.35, 0.4]], size=groups)
    g = np.repeat(np.arange(groups), rows)
    x = np.tile(np.linspace(-1.5, 1.5, rows), groups)
    y = rng.poisson(np.exp(b[g, 0] + b[g, 1] * x))
    data = pd.DataFrame({"g": [f"g{k}" for k in g], "x": x, "y": y})
    priors = {"1|g": half_normal(1.0), "x|g": half_normal(1.0), "g_corr": bmb.Prior("LKJ", eta=2)}
    fit = hb.Model("y ~ 0 + (x | g)", data, family="poisson", priors=priors).fit(**FIT)
    # the likelihood of every group on one grid of effects, which holds all of it; narrow priors have no weight
    b0, b1 = (each.ravel() for each in np.meshgrid(np.arange(-9.0, 6.0, 0.15), np.arange(-7.0, 7.0, 0.15)))
    at = x[:rows]
    mean = sum(np.exp(b0 + b1 * value) for value in at)
    own = [y[g == level] for level in range(groups)]
    log_likelihoods = np.array([counts.sum() * b0 + (counts * at).sum() * b1 - mean for counts in own])
    likelihoods = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    points = [legendre(0.15, 4.5, 24), legendre(0.15, 4.5, 24), legendre(-1.0, 1.0, 20)]
    s0, s1, rho = (each.ravel() for each in np.meshgrid(*[nodes for nodes, _ in points], indexing="ij"))
    log_w = sum(np.log(w).ravel() for w in np.meshgrid(*[w for _, w in points], indexing="ij"))
    log_w = log_w + log_half_normal(1.0)(s0) + log_half_normal(1.0)(s1) + np.log(1.0 - rho**2)  # LKJ(2)
    for k in range(len(log_w)):
        free = 1.0 - rho[k] ** 2
        square = (b0 / s0[k]) ** 2 - 2.0 * rho[k] * b0 * b1 / (s0[k] * s1[k]) + (b1 / s1[k]) ** 2
        density = np.exp(-0.5 * square / free) / (s0[k] * s1[k] * np.sqrt(free))
        log_w[k] += np.log(likelihoods @ density).sum()
    exact = moments([s0, s1, rho], np.exp(log_w - log_w.max()))
    check_against(fit, {"1|g_sigma": exact[0], "x|g_sigma": exact[1]})
    draws = fit.posterior["g_corr"][..., 0, 1]
    assert abs(float(draws.mean()) - exact[2][0]) < STANDARD_ERRORS * float(az.mcse(draws, method="mean"))
    assert abs(float(draws.std(ddof=1)) - exact[2][1]) < STANDARD_ERRORS * float(az.mcse(draws, method="sd"))


# --- the parameters behind the data -------------------------------------------------------------


def crowd(groups=50, rows=20, seed=2):
    """A predictor, groups, and a linear predictor with random intercepts and slopes: 0.3 + 0.5 x + b0 + b1 x."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    x = rng.normal(size=len(g))
    b = rng.normal(size=(groups, 2)) * [0.8, 0.4]
    return rng, pd.DataFrame({"g": [f"g{k}" for k in g], "x": x}), 0.3 + b[g, 0] + (0.5 + b[g, 1]) * x


def ordered(codes):
    return pd.Categorical(np.array(list("abcd"))[codes], categories=list("abcd"), ordered=True)


TRUTH = {"Intercept": 0.3, "x": 0.5, "1|g_sigma": 0.8, "x|g_sigma": 0.4}
SIMULATED = {
    "binomial": (lambda rng, eta: rng.binomial(9, special.expit(eta)), {}),
    "negativebinomial": (lambda rng, eta: rng.negative_binomial(3.0, 3.0 / (3.0 + np.exp(eta))), {"alpha": 3.0}),
    "t": (lambda rng, eta: eta + 0.7 * rng.standard_t(4, len(eta)), {"sigma": 0.7, "nu": 4.0}),
    "beta": (lambda rng, eta: rng.beta(6.0 * special.expit(eta), 6.0 * special.expit(-eta)), {"kappa": 6.0}),
    "weibull": (lambda rng, eta: np.exp(eta) / special.gamma(1.5) * rng.weibull(2.0, len(eta)), {"alpha": 2.0}),
    "hurdle_lognormal": (
        lambda rng, eta: np.exp(eta + 0.5 * rng.normal(size=len(eta))) * (rng.random(len(eta)) < 0.7),
        {"sigma": 0.5, "psi": 0.7},
    ),
    "cumulative": (
        lambda rng, eta: ordered(np.digitize(eta + rng.logistic(size=len(eta)), [-0.7, 0.6, 2.0])),
        {"threshold@0": -1.0, "threshold@1": 0.3, "threshold@2": 1.7},  # less the intercept
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", SIMULATED)
def test_parameters_behind_the_data_are_found(family):
    draw, further = SIMULATED[family]
    rng, data, eta = crowd()
    data["y"] = draw(rng, eta)
    left = "p(y, 9)" if family == "binomial" else "y"
    fit = hb.Model(f"{left} ~ x + (x || g)", data, family=family).fit(**FIT)
    truth = {name: value for name, value in (TRUTH | further).items() if name.split("@")[0] in fit.posterior}
    assert len(truth) == 4 + len(further) - (family == "cumulative")
    for name, value in truth.items():
        variable, *at = name.split("@")
        draws = fit.posterior[variable]
        draws = draws[..., int(at[0])] if at else draws
        mean, sd = float(draws.mean()), float(draws.std())
        assert abs(mean - value) < POSTERIOR_SDS * sd, (name, mean, sd)
        assert sd < 0.5 * max(abs(value), 0.6), (name, sd)  # the data say something


@pytest.mark.slow
def test_parameters_of_each_category_are_found():
    rng, data, _ = crowd(seed=6)
    g = data["g"].str[1:].astype(int).to_numpy()
    effects = rng.normal(size=(50, 2)) * [0.8, 0.5]
    eta = np.column_stack([np.zeros(len(g)), 0.4 + effects[g, 0] + 0.6 * data["x"], -0.5 + effects[g, 1]])
    data["colour"] = np.array(["blue", "green", "red"])[np.argmax(eta + rng.gumbel(size=eta.shape), axis=1)]
    fit = hb.Model("colour ~ x + (1 | g)", data, family="categorical").fit(**FIT)
    tidy = fit.tidy().set_index("term")
    for term, value in {
        "Intercept[green]": 0.4,
        "Intercept[red]": -0.5,
        "x[green]": 0.6,
        "x[red]": 0.0,
        "sd(Intercept)[green]": 0.8,
        "sd(Intercept)[red]": 0.5,
    }.items():
        row = tidy.loc[term]
        assert abs(row["estimate"] - value) < POSTERIOR_SDS * row["std_error"], term
        assert row["std_error"] < 0.4


# --- the parametrisation ------------------------------------------------------------------------


def many_rows():
    """Counts: 30 groups of 40 rows."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(30), 40)
    y = rng.poisson(np.exp(1.5 + 0.5 * rng.normal(size=30)[g]))
    return pd.DataFrame({"g": [f"g{k}" for k in g], "y": y}), "poisson", "centered"


def few_rows():
    """Binary responses: 60 groups of 4 rows."""
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(60), 4)
    y = (rng.random(240) < special.expit(0.3 + 0.6 * rng.normal(size=60)[g])).astype(int)
    return pd.DataFrame({"g": [f"g{k}" for k in g], "y": y}), "bernoulli", "noncentered"


@pytest.mark.parametrize("made", [many_rows, few_rows])
def test_the_parametrisation_follows_the_information(made):
    data, family, expected = made()
    choice = hb.Model("y ~ 1 + (1 | g)", data, family=family)._choose("auto")
    assert choice.blocks == (expected,)
    assert choice.reason.endswith(f"(by an ML fit of {family}({'log' if family == 'poisson' else 'logit'}))")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hierbayes.errors.ConvergenceWarning")  # of the parametrisation not chosen
@pytest.mark.parametrize("made", [many_rows, few_rows])
def test_the_parametrisation_chosen_mixes_better(made):
    data, family, expected = made()
    model = hb.Model("y ~ 1 + (1 | g)", data, family=family)
    efficiency, divergences = {}, {}
    for choice in ("centered", "noncentered"):
        fit = model.fit(draws=500, tune=500, seed=1, progress=False, parameterization=choice)
        worst = min(float(az.ess(fit.posterior[name]).min()) for name in ("Intercept", "1|g_sigma"))
        stats_ = fit.idata["sample_stats"]
        efficiency[choice] = worst / float(stats_["n_steps"].sum())
        divergences[choice] = int(stats_["diverging"].sum())
    other = ({"centered", "noncentered"} - {expected}).pop()
    assert efficiency[expected] > 1.5 * efficiency[other], (efficiency, divergences)
    assert divergences[expected] <= divergences[other]


def test_levels_are_centred_where_the_data_are():
    """A year is far from zero: an intercept at zero would be tied to its coefficient in every level."""
    rng = np.random.default_rng(1)
    groups, rows = 30, 20
    g = np.repeat(np.arange(groups), rows)
    year = rng.integers(2000, 2021, len(g)).astype(float)
    counts = rng.poisson(np.exp(2.0 + 0.02 * (year - 2010.0) + rng.normal(size=groups)[g]))
    model = hb.Model("y ~ year + (1 | g)", pd.DataFrame({"y": counts, "year": year, "g": g.astype(str)}), "poisson")
    fit = model.fit(draws=400, tune=400, chains=2, seed=1, progress=False)
    assert fit.parameterization.startswith("centered")
    assert fit.convergence.ok
    assert fit.convergence.table.loc["year", "ess_bulk"] > 400
    found, true = fit.tidy().set_index("term").loc["year"], model.ml().tidy().set_index("term").loc["year"]
    assert abs(found["estimate"] - true["estimate"]) < 0.3 * true["std_error"]


@pytest.mark.parametrize(
    ("family", "left", "source"),
    [
        ("t", "real", "REML fit of gaussian(identity)"),
        ("lognormal", "positive", "REML fit of gaussian(identity)"),
        ("hurdle_lognormal", "nonnegative", "REML fit of gaussian(identity)"),
        ("zero_inflated_poisson", "zeros", "ML fit of poisson(log)"),
        ("hurdle_negativebinomial", "zeros", "ML fit of negativebinomial(log)"),
        ("beta_binomial", "p(hits, trials)", "ML fit of binomial(logit)"),
        ("sratio", "grade", "ML fit of cumulative(logit)"),
    ],
)
def test_families_without_a_likelihood_are_judged_by_their_relatives(family, left, source):
    design = hb.Model(f"{left} ~ x + (1 | g)", responses(), family=family).design
    found = pilot(design)
    assert found.source == source
    assert found.covariance.shape == (1, 1)
    told = design.y > 0 if family.startswith("hurdle") else np.ones(design.n, dtype=bool)
    assert (found.information[told] > 0).all()
    assert (found.information[~told] == 0).all()
    if family == "lognormal":
        reml = hb.Model("np.log(positive) ~ x + (1 | g)", responses()).reml()
        np.testing.assert_allclose(found.information, reml.sigma**-2)


def test_without_a_likelihood_effects_are_noncentred():
    model = hb.Model("colour ~ x + (1 | g)", responses(), family="categorical")
    choice = model._choose("auto")
    assert choice.blocks == ("noncentered",)
    assert "without an estimate to judge by" in choice.reason
