"""Log densities of the families against scipy and PyMC, their derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats

from hierbayes import kernel_family as family
from hierbayes.kernel_polygamma import digamma, polygamma, rise_of_digamma, rise_of_lgamma

EXACT = 1e-12
"""Relative to 1: sums of a few terms of order 10, each rounded."""
DIFFERENCES = 1e-6
"""Of central differences with steps of 1e-5: their square, times third derivatives of order 10⁴."""

ETA = np.array([-1.3, 0.4, 2.1, -0.2, 0.9, 1.7, -2.4])
SIZE = np.array([1.0, 1.0, 3.0, 5.0, 8.0, 2.0, 10.0])
WINS = np.array([0.0, 1.0, 1.0, 5.0, 3.0, 2.0, 0.0])
COUNTS = np.array([0.0, 1.0, 4.0, 7.0, 2.0, 30.0, 1.0])
POSITIVE = np.array([0.2, 1.0, 3.7, 0.01, 2.0, 9.0, 1.4])
SHARES = np.array([0.01, 0.3, 0.5, 0.98, 0.7, 0.2, 0.999])
REAL = np.array([-3.0, 0.4, 2.0, 1.0, 0.0, 9.0, -1.0])
RANKS = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0])
CUTS = np.array([-1.0, 0.3, 1.1])

CASES = {
    "bernoulli logit": (family.BINOMIAL, family.LOGIT, (WINS > 0) * 1.0, np.ones(7), ETA, ()),
    "binomial logit": (family.BINOMIAL, family.LOGIT, WINS, SIZE, ETA, ()),
    "binomial probit": (family.BINOMIAL, family.PROBIT, WINS, SIZE, ETA, ()),
    "binomial cloglog": (family.BINOMIAL, family.CLOGLOG, WINS, SIZE, ETA, ()),
    "poisson log": (family.POISSON, family.LOG, COUNTS, SIZE, ETA, ()),
    "negativebinomial log": (family.NEGATIVE_BINOMIAL, family.LOG, COUNTS, SIZE, ETA, (1.7,)),
    "negativebinomial log, almost Poisson": (family.NEGATIVE_BINOMIAL, family.LOG, COUNTS, SIZE, ETA, (3e4,)),
    "gamma log": (family.GAMMA, family.LOG, POSITIVE, SIZE, ETA, (1.7,)),
    "gamma inverse": (family.GAMMA, family.INVERSE, POSITIVE, SIZE, np.abs(ETA), (1.7,)),
    "beta logit": (family.BETA, family.LOGIT, SHARES, SIZE, ETA, (3.7,)),
    "gaussian identity": (family.GAUSSIAN, family.IDENTITY, REAL, SIZE, ETA, (1.7,)),
    "gaussian log": (family.GAUSSIAN, family.LOG, REAL, SIZE, ETA, (1.7,)),
    "t identity": (family.STUDENT, family.IDENTITY, REAL, SIZE, ETA, (1.7, 3.0)),
    "cumulative logit": (family.CUMULATIVE, family.LOGIT, RANKS, SIZE, ETA, CUTS),
    "cumulative probit": (family.CUMULATIVE, family.PROBIT, RANKS, SIZE, ETA, CUTS),
}


def derivatives(kind, link, y, size, eta, auxiliary, estimated=0):
    out = np.empty((len(y), 4 + 3 * estimated))
    auxiliary = np.array(auxiliary, dtype=float)
    for i in range(len(y)):
        family.derivatives(kind, link, y[i], size[i], eta[i], auxiliary, out[i])
    return out


def scipy_density(kind, link, y, size, eta, auxiliary):
    mean = {
        family.IDENTITY: lambda: eta,
        family.LOG: lambda: np.exp(eta),
        family.LOGIT: lambda: special.expit(eta),
        family.PROBIT: lambda: stats.norm.cdf(eta),
        family.CLOGLOG: lambda: stats.gumbel_l.cdf(eta),
        family.INVERSE: lambda: 1.0 / eta,
    }[link]()
    if kind == family.BINOMIAL:
        return stats.binom.logpmf(y, size, mean)
    if kind == family.POISSON:
        return stats.poisson.logpmf(y, mean)
    if kind == family.NEGATIVE_BINOMIAL:
        return stats.nbinom.logpmf(y, auxiliary[0], auxiliary[0] / (auxiliary[0] + mean))
    if kind == family.GAMMA:
        return stats.gamma.logpdf(y, auxiliary[0], scale=mean / auxiliary[0])
    if kind == family.BETA:
        return stats.beta.logpdf(y, mean * auxiliary[0], (1.0 - mean) * auxiliary[0])
    if kind == family.GAUSSIAN:
        return stats.norm.logpdf(y, mean, auxiliary[0] / np.sqrt(size))
    if kind == family.STUDENT:
        return stats.t.logpdf(y, auxiliary[1], mean, auxiliary[0])
    F = stats.logistic if link == family.LOGIT else stats.norm
    cuts = np.concatenate([[-np.inf], auxiliary, [np.inf]])
    return np.log(F.cdf(cuts[y.astype(int) + 1] - eta) - F.cdf(cuts[y.astype(int)] - eta))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_density_is_scipys(case):
    kind, _, y, size, *_ = case
    found = derivatives(*case)[:, 0] + family.constants(kind, y, size)
    # scipy's own negative binomial loses digits where it is almost Poisson
    loose = 1e4 if kind == family.NEGATIVE_BINOMIAL else 1.0
    assert_allclose(found, scipy_density(*case), rtol=0, atol=30 * EXACT * loose)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_derivatives_are_differences(case):
    kind, link, y, size, eta, auxiliary = case
    auxiliary = np.array(auxiliary, dtype=float)
    k, h = len(auxiliary), 1e-5
    found = derivatives(*case, k)
    up, down = (
        derivatives(kind, link, y, size, eta + h, auxiliary),
        derivatives(kind, link, y, size, eta - h, auxiliary),
    )
    assert_allclose(found[:, 1:4], (up - down)[:, :3] / (2 * h), rtol=DIFFERENCES, atol=DIFFERENCES)
    for a in range(k):
        step = h * np.eye(k)[a]
        higher, lower = (
            auxiliary + sign * step if kind == family.CUMULATIVE else auxiliary * np.exp(sign * step)
            for sign in (1.0, -1.0)
        )
        up, down = derivatives(kind, link, y, size, eta, higher), derivatives(kind, link, y, size, eta, lower)
        slope = (up - down)[:, :3] / (2 * h)
        assert_allclose(found[:, 4 + 3 * a : 7 + 3 * a], slope, rtol=DIFFERENCES, atol=DIFFERENCES)


COUNTED = {
    name: case
    for name, case in CASES.items()
    if case[0] in (family.BINOMIAL, family.POISSON, family.NEGATIVE_BINOMIAL, family.CUMULATIVE)
    and "almost" not in name
}
"""Families whose expectations are sums."""


@pytest.mark.parametrize("case", COUNTED.values(), ids=COUNTED)
def test_curvature_is_that_of_a_density(case):
    """The first derivative has mean zero, its square the mean of minus the second: Bartlett's identities."""
    kind, link, _, size, eta, auxiliary = case
    for n, at in zip(size, eta, strict=True):
        last = {family.BINOMIAL: n, family.CUMULATIVE: 3.0}.get(kind, 400.0)
        y = np.arange(last + 1)
        every = (kind, link, y, np.full(len(y), n), np.full(len(y), at), auxiliary)
        found = derivatives(*every)
        p = np.exp(found[:, 0] + family.constants(kind, y, every[3]))
        assert_allclose(p.sum(), 1.0, rtol=1e-10)
        assert_allclose(p @ found[:, 1], 0.0, atol=1e-9)
        assert_allclose(p @ (found[:, 1] ** 2 + found[:, 2]), 0.0, atol=1e-8)


@pytest.mark.parametrize("far", [-700.0, -60.0, -31.0, -29.0, 29.0, 60.0, 700.0])
@pytest.mark.parametrize("link", [family.LOGIT, family.PROBIT, family.CLOGLOG])
def test_far_from_zero_nothing_overflows(link, far):
    found = derivatives(family.BINOMIAL, link, np.array([0.0, 1.0]), np.ones(2), np.full(2, far), ())
    assert np.isfinite(found).all()
    assert (found[:, 0] <= 0.0).all()
    assert (found[:, 2] <= 0.0).all()
    assert min(abs(found[0, 0]), abs(found[1, 0])) < 1e-12  # one of the two is certain


def test_far_normal_probabilities_are_scipys():
    x = np.array([-300.0, -40.0, -30.5, -30.0, -29.5, -5.0, 0.0, 3.0, 9.0])
    assert_allclose([family.log_normal(each) for each in x], stats.norm.logcdf(x), rtol=1e-13)


@pytest.mark.parametrize(("name", "link", "auxiliary"), [("negativebinomial", "log", 1.7), ("beta", "logit", 3.7)])
def test_density_is_that_of_the_graph(name, link, auxiliary):
    import pymc as pm

    y = COUNTS if name == "negativebinomial" else SHARES
    kind, code = family.KINDS[name], family.LINKS[link]
    mean = family.inverse_link(code, ETA)
    if name == "negativebinomial":
        law = pm.NegativeBinomial.dist(mu=mean, alpha=auxiliary)
    else:
        law = pm.Beta.dist(alpha=mean * auxiliary, beta=(1.0 - mean) * auxiliary)
    found = derivatives(kind, code, y, SIZE, ETA, (auxiliary,))[:, 0] + family.constants(kind, y, SIZE)
    assert_allclose(found, pm.logp(law, y).eval(), rtol=1e-10)


def test_inverse_links():
    eta = np.array([-40.0, 0.3, 40.0])
    assert_allclose(family.inverse_link(family.LOGIT, eta), special.expit(eta), rtol=1e-10, atol=1e-16)
    assert_allclose(family.inverse_link(family.PROBIT, eta), stats.norm.cdf(eta))
    assert_allclose(family.inverse_link(family.CLOGLOG, eta), stats.gumbel_l.cdf(eta))
    assert_allclose(family.inverse_link(family.INVERSE, eta), 1.0 / eta)
    assert_allclose(family.inverse_link(family.LOG, eta), np.exp(eta))


def test_polygamma_is_scipys():
    x = np.array([1e-8, 0.01, 0.3, 1.0, 2.5, 9.99, 10.0, 57.0, 1e6, 1e12])
    out = np.empty(3)
    for each in x:
        polygamma(each, out)
        assert_allclose(digamma(each), special.digamma(each), rtol=1e-13)
        assert_allclose(out, [special.polygamma(order, each) for order in range(3)], rtol=1e-12)


@pytest.mark.parametrize("x", [0.3, 20.0, 9999.0, 10001.0, 1e7, 1e12])
def test_rises_are_sums(x):
    """Over whole numbers the rises of log Γ and ψ are sums of logarithms and of reciprocals."""
    steps = x + np.arange(7)
    few = 1e-11 if x < 1e4 else 1e-14  # cancellation of log Γ(10⁴), or none
    assert_allclose(rise_of_lgamma(x, 7.0), np.log(steps).sum(), rtol=few)
    assert_allclose(rise_of_digamma(x, 7.0), (1.0 / steps).sum(), rtol=1e-11 if x < 1e4 else 1e-10)
