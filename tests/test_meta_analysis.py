"""Meta-analysis: known standard errors and one row a study, against published fits and the textbook's formulas."""

from __future__ import annotations

import warnings

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from oracle import oracle_loglik
from scipy import stats
from scipy.optimize import minimize, minimize_scalar

import hierbayes as hb

TEXTBOOK = 1e-9
"""Relative, of the criterion against the textbook's restricted likelihood."""
ESTIMATE = 1e-6
"""Relative, of estimates against a search of that likelihood, which has half the digits of its tolerance."""
PUBLISHED = 6e-5
"""Absolute: metafor prints four digits, of a τ² that it searches until its steps are below 1e-5."""
STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between an estimate and the exact value, at most."""

SCHOOLS = pd.DataFrame(
    {
        "school": list("ABCDEFGH"),
        "y": [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0],
        "se": [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0],
    }
)
"""Effects of coaching on test scores (Rubin 1981; Gelman et al., Bayesian Data Analysis, table 5.2)."""

COUNTS = np.array(
    [
        [4, 11, 119, 128], [6, 29, 300, 274], [3, 11, 228, 209], [62, 248, 13536, 12619], [33, 47, 5036, 5761],
        [180, 372, 1361, 1079], [8, 10, 2537, 619], [505, 499, 87886, 87892], [29, 45, 7470, 7232],
        [17, 65, 1699, 1600], [186, 141, 50448, 27197], [5, 3, 2493, 2338], [27, 29, 16886, 17825],
    ]
)  # fmt: skip
"""Thirteen trials of the BCG vaccine: cases and others, vaccinated and not (Colditz et al. 1994)."""
LATITUDE = [44, 55, 42, 52, 13, 44, 19, 13, 27, 42, 18, 33, 33]


@pytest.fixture(scope="module")
def bcg():
    """Log risk ratios with their standard errors, as metafor's ``escalc(measure="RR")`` has them."""
    cases, controls, others, other_controls = COUNTS.T
    treated, untreated = cases + others, controls + other_controls
    y = np.log(cases / treated) - np.log(controls / untreated)
    variance = 1 / cases - 1 / treated + 1 / controls - 1 / untreated
    return pd.DataFrame({"trial": np.arange(13), "y": y, "se": np.sqrt(variance), "latitude": LATITUDE})


def restricted(tau2, y, v, X):
    """The textbook's restricted log likelihood of a random-effects meta-regression, all constants included."""
    w = 1.0 / (v + tau2)
    information = X.T @ (w[:, None] * X)
    beta = np.linalg.solve(information, X.T @ (w * y))
    r = y - X @ beta
    k, p = X.shape
    return -0.5 * (
        (k - p) * np.log(2.0 * np.pi) - np.log(w).sum() + np.linalg.slogdet(information)[1] + (w * r**2).sum()
    )


def textbook(y, v, X):
    """τ², coefficients, their standard errors and the maximum, by searching τ² on a grid and then within a cell."""
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 1e4, 400) * v.mean()])
    values = [restricted(tau2, y, v, X) for tau2 in grid]
    best = int(np.argmax(values))
    tau2 = 0.0
    if best > 0:
        bounds = grid[best - 1], grid[min(best + 1, len(grid) - 1)]
        tau2 = minimize_scalar(
            lambda t: -restricted(t, y, v, X), bounds=bounds, method="bounded", options={"xatol": 1e-12}
        ).x
    w = 1.0 / (v + tau2)
    covariance = np.linalg.inv(X.T @ (w[:, None] * X))
    return tau2, covariance @ X.T @ (w * y), np.sqrt(np.diag(covariance)), restricted(tau2, y, v, X)


def fit(formula, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        return hb.Model(formula, data, se="se").reml()


def assert_textbook(found, y, v, X):
    tau2, beta, errors, loglik = textbook(y, v, X)
    assert found.converged
    assert found.loglik == pytest.approx(loglik, rel=TEXTBOOK)
    assert found.covariance[0, 0] == pytest.approx(tau2, rel=ESTIMATE, abs=1e-9)
    np.testing.assert_allclose(found.fixef, beta, rtol=ESTIMATE)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), errors, rtol=ESTIMATE)


# --- published fits -----------------------------------------------------------------------------------


def test_eight_schools_have_no_variance_of_their_own():
    """REML puts τ at 0, where the mean is the weighted one: 7.686 with standard error 4.072."""
    with pytest.warns(hb.SingularFit, match=r"random effects of 'school' has no variance"):
        found = hb.Model("y ~ 1 + (1 | school)", SCHOOLS, se="se").reml()
    assert found.singular
    assert found.converged
    assert found.covariance[0, 0] == 0.0
    assert found.fixef["Intercept"] == pytest.approx(7.686, abs=5e-4)
    assert np.sqrt(found.vcov.iloc[0, 0]) == pytest.approx(4.072, abs=5e-4)
    w = SCHOOLS["se"] ** -2.0
    assert found.fixef["Intercept"] == pytest.approx((w * SCHOOLS["y"]).sum() / w.sum(), rel=1e-12)
    assert found.vcov.iloc[0, 0] == pytest.approx(1.0 / w.sum(), rel=1e-12)
    np.testing.assert_array_equal(found.ranef["school"], 0.0)
    assert_textbook(found, SCHOOLS["y"].to_numpy(), SCHOOLS["se"].to_numpy() ** 2, np.ones((8, 1)))


def test_the_bcg_trials_are_those_of_metafor(bcg):
    """Metafor's documentation of `rma`: τ² = 0.3132, μ = -0.7145 with standard error 0.1798."""
    found = fit("y ~ 1 + (1 | trial)", bcg)
    assert found.covariance[0, 0] == pytest.approx(0.3132, abs=PUBLISHED)
    assert found.fixef["Intercept"] == pytest.approx(-0.7145, abs=PUBLISHED)
    assert np.sqrt(found.vcov.iloc[0, 0]) == pytest.approx(0.1798, abs=PUBLISHED)
    row = found.tidy(df="z").iloc[0]
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((-1.0669, -0.3622), abs=PUBLISHED)
    assert_textbook(found, bcg["y"].to_numpy(), bcg["se"].to_numpy() ** 2, np.ones((13, 1)))


def test_the_bcg_trials_by_latitude_are_those_of_metafor(bcg):
    """Metafor's documentation: τ² = 0.0764; intercept 0.2515 (0.2491), slope -0.0291 (0.0072)."""
    found = fit("y ~ latitude + (1 | trial)", bcg)
    assert found.covariance[0, 0] == pytest.approx(0.0764, abs=PUBLISHED)
    np.testing.assert_allclose(found.fixef, [0.2515, -0.0291], rtol=0, atol=PUBLISHED)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), [0.2491, 0.0072], rtol=0, atol=PUBLISHED)
    X = np.column_stack([np.ones(13), bcg["latitude"]])
    assert_textbook(found, bcg["y"].to_numpy(), bcg["se"].to_numpy() ** 2, X)


def test_ml_of_the_bcg_trials_is_that_of_metafor(bcg):
    """method="ML": τ² = 0.2800, μ = -0.7112 with standard error 0.1719."""
    found = hb.Model("y ~ 1 + (1 | trial)", bcg, se="se").ml()
    assert found.covariance[0, 0] == pytest.approx(0.2800, abs=PUBLISHED)
    assert found.fixef["Intercept"] == pytest.approx(-0.7112, abs=PUBLISHED)
    assert np.sqrt(found.vcov.iloc[0, 0]) == pytest.approx(0.1719, abs=PUBLISHED)


def test_effects_of_the_trials_are_shrunken_to_the_mean(bcg):
    """BLUP_i = (y_i - μ) τ²/(τ² + v_i), with conditional variance τ² v_i/(τ² + v_i)."""
    found = fit("y ~ 1 + (1 | trial)", bcg)
    tau2, v = found.covariance[0, 0], bcg["se"] ** 2
    shrunken = (bcg["y"] - found.fixef["Intercept"]) * tau2 / (tau2 + v)
    np.testing.assert_allclose(found.ranef["trial"]["Intercept"], shrunken, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.ranef_sd["trial"]["Intercept"] ** 2, tau2 * v / (tau2 + v), rtol=1e-10)


# --- other shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tau", [0.0, 0.1, 1.0, 30.0])
def test_random_studies(seed, tau):
    """Any ratio of the variances between and within studies, standard errors over two orders of magnitude."""
    rng = np.random.default_rng([seed, int(10 * tau)])
    k = int(rng.integers(4, 30))
    se = 10.0 ** rng.uniform(-1.0, 1.0, k)
    x = rng.standard_normal(k)
    y = 2.0 + x + tau * rng.standard_normal(k) + se * rng.standard_normal(k)
    found = fit("y ~ x + (1 | study)", pd.DataFrame({"y": y, "x": x, "se": se, "study": np.arange(k)}))
    assert_textbook(found, y, se**2, np.column_stack([np.ones(k), x]))


def test_studies_within_districts():
    """Three levels, as in Konstantopoulos 2011: every row a study, studies nested in districts."""
    rng = np.random.default_rng(3)
    district = np.repeat(np.arange(11), rng.integers(2, 9, 11))
    k = len(district)
    se = rng.uniform(0.1, 0.4, k)
    y = 0.2 + 0.3 * rng.standard_normal(11)[district] + 0.2 * rng.standard_normal(k) + se * rng.standard_normal(k)
    data = pd.DataFrame({"y": y, "se": se, "district": district, "study": np.arange(k)})
    found = fit("y ~ 1 + (1 | district/study)", data)

    def loglik(x):
        return oracle_loglik(found.design, np.diag(np.exp(2.0 * x)), 1.0, "REML")

    sd = np.sqrt(np.diag(found.covariance))
    assert loglik(np.log(sd)) == pytest.approx(found.loglik, rel=TEXTBOOK)
    searched = minimize(
        lambda x: -loglik(x), [-1.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}
    )
    np.testing.assert_allclose(np.exp(searched.x), sd, rtol=1e-5)
    assert found.loglik == pytest.approx(-searched.fun, rel=TEXTBOOK)


# --- the posterior ------------------------------------------------------------------------------------

TAUS = {
    "half-normal": (bmb.Prior("HalfNormal", sigma=10.0), stats.halfnorm(scale=10.0)),
    "half-Cauchy": (bmb.Prior("HalfCauchy", beta=5.0), stats.halfcauchy(scale=5.0)),
}


def exact_posterior(prior, mean, sd, panels=200):
    """Means and standard deviations by one-dimensional quadrature over τ; all else is Gaussian given τ.

    τ = 10 u/(1 - u) takes the positive half line to (0, 1), which is cut into panels with a Gauss rule each.
    """
    y, v = SCHOOLS["y"].to_numpy(), SCHOOLS["se"].to_numpy() ** 2
    node, weight = np.polynomial.legendre.leggauss(20)
    u = ((np.arange(panels)[:, None] + 0.5 * (node + 1.0)) / panels).ravel()
    weight = np.tile(weight / panels, panels)
    tau = 10.0 * u / (1.0 - u)
    log_weight = np.log(0.5 * weight) + np.log(10.0) - 2.0 * np.log1p(-u) + prior.logpdf(tau)
    w = 1.0 / (v + tau[:, None] ** 2)
    precision = w.sum(axis=1) + sd**-2.0
    mu = ((w * y).sum(axis=1) + mean / sd**2) / precision
    # p(y | τ) = p(y | μ, τ) p(μ) / p(μ | y, τ) at any μ; take the conditional mean
    log_density = (
        stats.norm.logpdf(y, mu[:, None], w**-0.5).sum(axis=1)
        + stats.norm.logpdf(mu, mean, sd)
        - stats.norm.logpdf(mu, mu, precision**-0.5)
    )
    total = log_weight + log_density
    p = np.exp(total - total.max())
    p /= p.sum()
    shrink = tau[:, None] ** 2 * w
    effect = shrink * (y - mu[:, None])
    spread = shrink * v + shrink**2 / precision[:, None]  # of the effect given τ, μ integrated out

    def moments(value, variance=0.0):
        first = p @ value
        return first, np.sqrt(p @ (variance + value**2) - first**2)

    found = {"Intercept": moments(mu, 1.0 / precision), "1|school_sigma": moments(tau)}
    for j, school in enumerate(SCHOOLS["school"]):
        found[school] = moments(effect[:, j], spread[:, j])
    return found


@pytest.mark.parametrize("name", TAUS)
def test_the_posterior_of_eight_schools(name):
    prior, law = TAUS[name]
    mean, sd = 5.0, 15.0
    model = hb.Model(
        "y ~ 1 + (1 | school)",
        SCHOOLS,
        se="se",
        priors={
            "Intercept": bmb.Prior("Normal", mu=mean, sigma=sd),
            "1|school": bmb.Prior("Normal", mu=0, sigma=prior),
        },
    )
    fit = model.fit(draws=4000, seed=3, progress=False)
    assert "sigma" not in fit.posterior
    exact = exact_posterior(law, mean, sd)
    for quantity, (value, spread) in exact.items():
        if quantity in fit.posterior:
            draws = fit.posterior[quantity].to_numpy()
        else:
            draws = fit.posterior["1|school"].sel(school__factor_dim=quantity).to_numpy()
        assert abs(draws.mean() - value) < STANDARD_ERRORS * float(az.mcse(draws, method="mean"))
        assert abs(draws.std(ddof=1) - spread) < STANDARD_ERRORS * float(az.mcse(draws, method="sd"))


def test_the_quadrature_is_converged():
    one, other = (exact_posterior(TAUS["half-Cauchy"][1], 5.0, 15.0, panels) for panels in (100, 200))
    for quantity, values in one.items():
        np.testing.assert_allclose(values, other[quantity], rtol=1e-6)
