"""The distribution of the response of every family: density against scipy's, mean and draws against each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, gamma, softmax

import hierbayes as hb
from hierbayes.response_law import ResponseLaw, law_of, mean_within

DENSITY = 1e-9
"""Relative and absolute, of log densities of single rows: special functions of two libraries."""
NORMAL_TAIL = 1e-7
"""The same where PyMC takes differences of Normal distribution functions."""
DRAWS, SIMULATED = 5, 5_000
STANDARD_ERRORS = 5.0
"""Between a mean and that of as many draws; the seed is fixed, and there are some hundred comparisons."""
ROWS = 24


@pytest.fixture(scope="module")
def rows():
    """Responses of every kind."""
    rng = np.random.default_rng(8)
    made = rng.multinomial(8, [0.2, 0.3, 0.5], size=ROWS)
    positive = rng.gamma(2.0, 1.0, ROWS) + 0.1
    return pd.DataFrame(
        {
            "g": [f"g{k % 4}" for k in range(ROWS)],
            "binary": rng.integers(0, 2, ROWS),
            "hits": rng.binomial(10, 0.4, ROWS),
            "trials": rng.integers(10, 14, ROWS),
            "count": rng.poisson(2.0, ROWS),
            "real": rng.normal(size=ROWS),
            "positive": positive,
            "nonnegative": np.where(rng.random(ROWS) < 0.3, 0.0, positive),
            "unit": rng.beta(2.0, 2.0, ROWS),
            "angle": rng.vonmises(0.0, 2.0, ROWS),
            "grade": pd.Categorical(rng.choice(list("abc"), ROWS), ordered=True),
            "c1": made[:, 0],
            "c2": made[:, 1],
            "c3": made[:, 2],
        }
    )


def zero_inflated(base):
    def log_density(y, eta, a, trials):
        plain = np.exp(base(y, eta, a, trials))
        return np.log(a["psi"] * plain + (1.0 - a["psi"]) * (y == 0))

    return log_density


def hurdle(base, at_zero):
    def log_density(y, eta, a, trials):
        y = np.broadcast_to(y, eta.shape)
        above = base(np.where(y == 0, 1.0, y), eta, a, trials) - np.log1p(-at_zero(eta, a))
        return np.where(y == 0, np.log1p(-a["psi"]), np.log(a["psi"]) + above)

    return log_density


def categories(probabilities):
    def log_density(y, eta, a, trials):
        p = probabilities(eta, a)
        return np.log(np.take_along_axis(p, np.broadcast_to(y, eta.shape[:2]).astype(int)[..., None], -1))[..., 0]

    return log_density


def cumulative(eta, a):
    below = expit(a["threshold"] - eta[..., None])
    return np.diff(below, axis=-1, prepend=0.0, append=1.0)


def sratio(eta, a):
    stop = expit(a["threshold"] - eta[..., None])
    return np.stack([stop[..., 0], (1 - stop[..., 0]) * stop[..., 1], (1 - stop[..., 0]) * (1 - stop[..., 1])], -1)


def reference(eta, a):
    return softmax(np.concatenate([np.zeros((*eta.shape[:2], 1)), eta], axis=-1), axis=-1)


def poisson(y, eta, a, trials):
    return stats.poisson.logpmf(y, np.exp(eta))


def binomial(y, eta, a, trials):
    return stats.binom.logpmf(y, trials, expit(eta))


def negativebinomial(y, eta, a, trials):
    return stats.nbinom.logpmf(y, a["alpha"], a["alpha"] / (a["alpha"] + np.exp(eta)))


def gamma_of_mean(y, mu, alpha):
    return stats.gamma.logpdf(y, alpha, scale=mu / alpha)


def asymmetric_laplace(y, eta, a, trials):
    return stats.laplace_asymmetric.logpdf(y, a["kappa"], loc=eta, scale=1.0 / a["b"])


REAL, COUNT, POSITIVE, NONNEGATIVE, TRIALS = "real", "count", "positive", "nonnegative", "p(hits, trials)"
COUNTS = "counts(c1, c2, c3)"
FAMILIES = {
    "asymmetriclaplace": (REAL, asymmetric_laplace),
    "bernoulli": ("binary", lambda y, eta, a, n: stats.bernoulli.logpmf(y, expit(eta))),
    "beta": (
        "unit",
        lambda y, eta, a, n: stats.beta.logpdf(y, expit(eta) * a["kappa"], (1 - expit(eta)) * a["kappa"]),
    ),
    "beta_binomial": (
        TRIALS,
        lambda y, eta, a, n: stats.betabinom.logpmf(y, n, expit(eta) * a["kappa"], (1 - expit(eta)) * a["kappa"]),
    ),
    "binomial": (TRIALS, binomial),
    "categorical": ("grade", categories(reference)),
    "cumulative": ("grade", categories(cumulative)),
    "dirichlet_multinomial": (COUNTS, None),
    "exgaussian": (
        REAL,
        lambda y, eta, a, n: stats.exponnorm.logpdf(y, a["nu"] / a["sigma"], loc=eta, scale=a["sigma"]),
    ),
    "exponential": (POSITIVE, lambda y, eta, a, n: stats.expon.logpdf(y, scale=np.exp(eta))),
    "gamma": (POSITIVE, lambda y, eta, a, n: gamma_of_mean(y, 1.0 / eta, a["alpha"])),
    "lognormal": (POSITIVE, lambda y, eta, a, n: stats.lognorm.logpdf(y, a["sigma"], scale=np.exp(eta))),
    "hurdle_gamma": (
        NONNEGATIVE,
        hurdle(lambda y, eta, a, n: gamma_of_mean(y, np.exp(eta), a["alpha"]), lambda eta, a: 0.0),
    ),
    "hurdle_lognormal": (
        NONNEGATIVE,
        hurdle(lambda y, eta, a, n: stats.lognorm.logpdf(y, a["sigma"], scale=np.exp(eta)), lambda eta, a: 0.0),
    ),
    "hurdle_negativebinomial": (
        COUNT,
        hurdle(negativebinomial, lambda eta, a: np.exp(negativebinomial(0, eta, a, None))),
    ),
    "hurdle_poisson": (COUNT, hurdle(poisson, lambda eta, a: np.exp(-np.exp(eta)))),
    "multinomial": (COUNTS, lambda y, eta, a, n: stats.multinomial.logpmf(y, 8, reference(eta, a))),
    "negativebinomial": (COUNT, negativebinomial),
    "laplace": (REAL, lambda y, eta, a, n: stats.laplace.logpdf(y, eta, a["b"])),
    "poisson": (COUNT, poisson),
    "sratio": ("grade", categories(sratio)),
    "t": (REAL, lambda y, eta, a, n: stats.t.logpdf(y, a["nu"], loc=eta, scale=a["sigma"])),
    "vonmises": ("angle", lambda y, eta, a, n: stats.vonmises.logpdf(y, a["kappa"], loc=eta)),
    "wald": (
        POSITIVE,
        lambda y, eta, a, n: stats.invgauss.logpdf(y, eta**-0.5 / a["lam"], scale=a["lam"]),
    ),
    "weibull": (
        POSITIVE,
        lambda y, eta, a, n: stats.weibull_min.logpdf(y, a["alpha"], scale=np.exp(eta) / gamma(1 + 1 / a["alpha"])),
    ),
    "zero_inflated_binomial": (TRIALS, zero_inflated(binomial)),
    "zero_inflated_negativebinomial": (COUNT, zero_inflated(negativebinomial)),
    "zero_inflated_poisson": (COUNT, zero_inflated(poisson)),
}


def dirichlet_multinomial(y, eta):
    a = np.exp(eta)
    return np.array(
        [[stats.dirichlet_multinomial.logpmf(y[i], a[d, i], 8) for i in range(ROWS)] for d in range(len(a))]
    )


def given(law, name, draws, rng):
    """Linear predictors and further parameters of some draws, in the ranges of the family."""
    shape = (draws, law.n) if law.columns is None else (draws, law.n, law.columns)
    eta = rng.uniform(0.4, 1.2, shape) if name in {"gamma", "wald"} else 0.4 * rng.normal(size=shape)
    auxiliary = {name: rng.uniform(0.4, 0.9, draws) for name in law.auxiliary}
    if "nu" in auxiliary:
        auxiliary["nu"] += 3.0  # a Student t with a variance
    if "threshold" in auxiliary:
        auxiliary["threshold"] = np.sort(rng.normal(size=(draws, 2)), axis=1)
    return eta, auxiliary


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, rows):
    """Name and law of a family."""
    response = FAMILIES[request.param][0]
    model = hb.Model(f"{response} ~ 1 + (1 | g)", rows, family=request.param)
    return request.param, ResponseLaw(model.specification)


def test_densities_are_those_of_scipy(family, rows):
    name, law = family
    eta, auxiliary = given(law, name, DRAWS, np.random.default_rng(1))
    response, log_density = FAMILIES[name]
    by_row = {key: values[:, None] for key, values in auxiliary.items()}
    y = rows[["c1", "c2", "c3"]].to_numpy() if response == COUNTS else None
    if y is None:
        column = rows["hits" if response == TRIALS else response]
        y = column.cat.codes.to_numpy() if response == "grade" else column.to_numpy()
    wanted = (
        dirichlet_multinomial(y, eta)
        if log_density is None
        else log_density(y, eta, by_row, rows["trials"].to_numpy())
    )
    tolerance = NORMAL_TAIL if name == "exgaussian" else DENSITY
    np.testing.assert_allclose(law.log_density(eta, auxiliary), wanted, rtol=tolerance, atol=tolerance)


def test_means_are_those_of_draws(family, rows):
    name, law = family
    one = given(law, name, 1, np.random.default_rng(2))
    eta = np.repeat(one[0], SIMULATED, axis=0)
    auxiliary = {key: np.repeat(values, SIMULATED, axis=0) for key, values in one[1].items()}
    drawn = law.draw(eta, auxiliary, seed=3)
    mean = law.mean(*one)[0]
    if FAMILIES[name][0] == "grade":
        drawn = (drawn[..., None] == np.arange(3)).astype(float)
    elif FAMILIES[name][0] == COUNTS:
        drawn = drawn / 8
    elif FAMILIES[name][0] == TRIALS:
        drawn = drawn / rows["trials"].to_numpy()
    elif name == "vonmises":  # the mean direction
        drawn = np.sin(drawn - mean)
        mean = np.zeros(law.n)
    error = drawn.std(axis=0, ddof=1) / np.sqrt(SIMULATED)
    assert (np.abs(drawn.mean(axis=0) - mean) < STANDARD_ERRORS * error).all()
    assert np.ptp(drawn, axis=0).min() > 0


def test_draws_depend_on_the_seed_alone(rows):
    law = ResponseLaw(hb.Model("count ~ 1 + (1 | g)", rows, family="poisson").specification)
    eta = np.zeros((7, ROWS))
    np.testing.assert_array_equal(law.draw(eta, {}, seed=1), law.draw(eta, {}, seed=1))
    assert (law.draw(eta, {}, seed=1) != law.draw(eta, {}, seed=2)).any()


def test_blocks_of_draws_do_not_matter(rows, monkeypatch):
    law = ResponseLaw(hb.Model("positive ~ 1 + (1 | g)", rows, family="gamma", link="log").specification)
    eta, auxiliary = given(law, "gamma", 7, np.random.default_rng(1))
    whole = law.log_density(eta, auxiliary), law.mean(eta, auxiliary)
    monkeypatch.setattr("hierbayes.response_law.BLOCK", 3 * ROWS)
    np.testing.assert_array_equal(law.log_density(eta, auxiliary), whole[0])
    np.testing.assert_array_equal(law.mean(eta, auxiliary), whole[1])
    assert law.draw(eta, auxiliary, seed=1).shape == (7, ROWS)
    assert len(np.unique(law.draw(eta, auxiliary, seed=1))) == 7 * ROWS


def test_one_row_is_as_good_as_many(rows):
    specification = hb.Model("p(hits, trials) ~ 1 + (1 | g)", rows, family="binomial").specification
    one = ResponseLaw(specification, rows[["hits", "trials"]].to_numpy()[:1])
    whole = ResponseLaw(specification)
    eta = np.random.default_rng(1).normal(size=(3, ROWS))
    np.testing.assert_allclose(one.log_density(eta[:, :1], {}), whole.log_density(eta, {})[:, :1], rtol=DENSITY)
    assert one.draw(eta[:, :1], {}, seed=1).shape == (3, 1)


def test_a_parameter_that_is_held_need_not_be_given(rows):
    specification = hb.Model("real ~ 1 + (1 | g)", rows, family="t", priors={"nu": 4.0}).specification
    law = ResponseLaw(specification)
    assert law.auxiliary == ("sigma",)
    found = law.log_density(np.zeros((1, ROWS)), {"sigma": np.array([2.0])})[0]
    np.testing.assert_allclose(found, stats.t.logpdf(rows["real"], 4.0, scale=2.0), rtol=DENSITY)


def test_a_truncated_response_is_scored_as_observed_and_drawn_as_such(rows):
    specification = hb.Model("truncated(real, lb=-3) ~ 1 + (1 | g)", rows, family="gaussian").specification
    law, eta, sigma = ResponseLaw(specification), np.full((2000, ROWS), -1.0), {"sigma": np.full(2000, 2.0)}
    log_density = law.log_density(eta[:1], {"sigma": np.array([2.0])})[0]
    np.testing.assert_allclose(
        log_density, stats.truncnorm.logpdf(rows["real"], -1.0, np.inf, loc=-1.0, scale=2.0), rtol=NORMAL_TAIL
    )
    np.testing.assert_allclose(law.mean(eta[:1], {"sigma": np.array([2.0])}), -1.0, rtol=DENSITY)
    assert law.draw(eta, sigma, seed=1).min() < -3.0


def test_a_constrained_response_is_drawn_within_its_bounds(rows):
    specification = hb.Model("constrained(real, lb=-3) ~ 1 + (1 | g)", rows, family="gaussian").specification
    law = ResponseLaw(specification)
    drawn = law.draw(np.full((500, ROWS), -1.0), {"sigma": np.full(500, 2.0)}, seed=1)
    wanted = stats.truncnorm.mean(-1.0, np.inf, loc=-1.0, scale=2.0)
    assert drawn.min() > -3.0
    assert abs(drawn.mean() - wanted) < STANDARD_ERRORS * drawn.std() / np.sqrt(drawn.size)
    np.testing.assert_allclose(law.mean(np.full((1, ROWS), -1.0), {"sigma": np.array([2.0])}), wanted, rtol=DENSITY)


@pytest.mark.parametrize(
    ("lower", "upper"), [(0.0, np.inf), (-np.inf, 1.0), (-0.5, 2.0), (3.0, 3.5), (-np.inf, np.inf)]
)
def test_means_within_bounds_are_those_of_a_truncated_normal(lower, upper):
    mu, sigma = np.array([[-20.0, -3.0, 0.0, 0.7, 4.0, 20.0], [0.0] * 6]), np.array([[0.7], [2.0]])
    wanted = stats.truncnorm.mean((lower - mu) / sigma, (upper - mu) / sigma, loc=mu, scale=sigma)
    np.testing.assert_allclose(mean_within(mu, sigma, lower, upper), wanted, rtol=NORMAL_TAIL, atol=NORMAL_TAIL)


def test_other_means_within_bounds_are_refused(rows):
    few = rows[rows["count"] <= 2]
    law = ResponseLaw(hb.Model("constrained(count, ub=2) ~ 1 + (1 | g)", few, family="poisson").specification)
    with pytest.raises(hb.HierbayesError, match="constrained response of family 'poisson'; ask for kind='response'"):
        law.mean(np.zeros((1, law.n)), {})


def test_bounds_without_quantiles_are_kept_by_rejection(rows):
    specification = hb.Model(
        "constrained(count, ub=2) ~ 1 + (1 | g)", rows[rows["count"] <= 2], family="poisson"
    ).specification
    law = ResponseLaw(specification)
    drawn = law.draw(np.zeros((SIMULATED, law.n)), {}, seed=1)
    share = np.bincount(drawn.ravel().astype(int)) / drawn.size
    wanted = stats.poisson.pmf([0, 1, 2], 1.0)
    wanted /= wanted.sum()
    assert (np.abs(share - wanted) < STANDARD_ERRORS * np.sqrt(wanted / drawn.size)).all()


def test_the_law_of_the_rows_fitted_is_made_once(rows):
    specification = hb.Model("count ~ 1 + (1 | g)", rows, family="poisson").specification
    assert law_of(specification) is law_of(specification)
