"""The posterior by quadrature against exact values of the reference and brute force on the dense oracle."""

from __future__ import annotations

import json
from itertools import pairwise

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.legendre import leggauss
from oracle import centred, dense, log_density
from scipy import stats
from test_posterior import GAUSSIAN_CASES as CASES

import hierbayes as hb
from hierbayes.evidence.surface import compiled
from hierbayes.sampling import LOG, make_target

REFERENCE = 1e-4
"""Of the log marginal likelihood of the reference: its boxes leave out up to 6e-5 of the mass (`edge_density`)."""
MOMENTS = 2e-3
"""Relative, of a standard deviation of the reference: the mass left out is in the tails. Others agree to 1e-3."""
SAME = 1e-5
"""Relative difference of two quadratures that share nothing but the model."""
PROBABILITIES = {"q5": 0.05, "median": 0.5, "q95": 0.95}


def half_normal(sigma):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=sigma))


@pytest.fixture(scope="module")
def exact(shared):
    reference = json.loads(shared("reference/posterior.json").read_text())["models"]
    return {name: reference[name]["exact_quadrature"] for name in CASES}


@pytest.fixture(scope="module")
def models():
    return {
        name: hb.Model(case.formula, hb.load_data(case.data), priors=case.priors, center_predictors=False)
        for name, case in CASES.items()
    }


@pytest.fixture(scope="module")
def found(models):
    return {name: model.quadrature() for name, model in models.items()}


def key_of(name):
    """The reference names parameters as brms does."""
    kind, _, rest = name.partition("_")
    if kind == "b":
        return "fixed", "", rest
    if name == "sigma":
        return "ran_pars", "Residual", "sigma"
    group, *terms = rest.split("__")
    return "ran_pars", group, f"sd({terms[0]})" if kind == "sd" else f"corr({', '.join(terms)})"


@pytest.mark.parametrize("name", CASES)
def test_reference(exact, found, name):
    quadrature, values = found[name], exact[name]
    assert quadrature.error < 1e-6
    assert abs(quadrature.log_integral - values["log_marginal_likelihood"]) < quadrature.error + REFERENCE
    quantiles = quadrature.quantiles(list(PROBABILITIES.values()))
    assert len(quantiles) == len(values["parameters"]) == CASES[name].parameters
    for parameter, value in values["parameters"].items():
        key = key_of(parameter)
        scale = value["sd"]
        assert quadrature.mean[key] == pytest.approx(value["mean"], abs=1e-3 * scale)
        assert quadrature.sd[key] == pytest.approx(scale, rel=MOMENTS)
        for column, probability in PROBABILITIES.items():
            assert quantiles.loc[key, probability] == pytest.approx(value[column], abs=1e-3 * scale)


@pytest.mark.slow
def test_a_wider_box_than_that_of_the_reference(models, found):
    model, quadrature = models["sleepstudy_slope"], found["sleepstudy_slope"]
    target = make_target(model.marginal, model.priors)
    density = compiled(target)
    box = np.array(((0.0, 150.0), (0.0, 32.0), (-1.0, 1.0), (16.0, 44.0)))
    logs = target.kinds == LOG
    node, weight = leggauss(48)
    half = 0.5 * (box[:, 1] - box[:, 0])
    nodes, weights = box[:, :1] + half[:, None] * (1.0 + node), half[:, None] * weight
    total = first = second = 0.0
    for at, share in zip(nodes[0], weights[0], strict=True):
        theta = np.stack(np.meshgrid([at], *nodes[1:], indexing="ij"), axis=-1).reshape(-1, 4)
        x, log_slope = np.empty_like(theta), np.zeros(len(theta))
        x[:, logs], x[:, ~logs] = np.log(theta[:, logs]), 2.0 * np.arctanh(theta[:, ~logs])
        log_slope += x[:, logs].sum(axis=1) + np.log(0.5 * (1.0 - theta[:, ~logs] ** 2)).sum(axis=1)
        p = np.exp(density(x) - log_slope - quadrature.log_integral)
        p *= share * np.einsum("i,j,k->ijk", *weights[1:]).ravel()
        total += p.sum()
        first += p @ theta[:, 1]
        second += p @ theta[:, 1] ** 2
    key = "ran_pars", "Subject", "sd(Days)"
    assert abs(np.log(total)) < quadrature.error
    assert quadrature.mean[key] == pytest.approx(first / total, rel=1e-6)
    assert quadrature.sd[key] == pytest.approx(np.sqrt(second / total - (first / total) ** 2), rel=1e-6)


# --- brute force ----------------------------------------------------------------------------------------


def panels(ends, nodes=8):
    """Gauss-Legendre nodes and weights on every interval between neighbouring ends."""
    node, weight = leggauss(nodes)
    parts = [(a + 0.5 * (b - a) * (node + 1.0), 0.5 * (b - a) * weight) for a, b in pairwise(ends)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts])


def brute_force(model, laws, ends):
    """Evidence, and means and standard deviations of one standard deviation and σ, by the dense oracle.

    `laws` and `ends` are of the standard deviation and of σ; a known σ has None.
    """
    data, priors = dense(model.design), model.priors
    X = centred(data.X) if priors.centered else data.X
    mean = np.array([prior.args["mu"] for prior in priors.coefficients])
    sd = np.array([prior.args["sigma"] for prior in priors.coefficients])
    none = np.zeros(len(mean), dtype=bool)
    (sds, sd_weights), (sigmas, sigma_weights) = [
        (np.ones(1), np.ones(1)) if law is None else panels(end) for law, end in zip(laws, ends, strict=True)
    ]
    log = np.array(
        [[log_density(data, np.array([[s**2]]), sigma, none, [], mean, sd, X) for sigma in sigmas] for s in sds]
    )
    log += np.log(sd_weights * laws[0].pdf(sds))[:, None]
    log += np.log(sigma_weights) + (0.0 if laws[1] is None else laws[1].logpdf(sigmas))
    top = log.max()
    p = np.exp(log - top)
    evidence = top + np.log(p.sum())
    p /= p.sum()
    moments = {}
    for name, values in (("sd(Intercept)", sds[:, None]), ("sigma", sigmas)):
        first = (p * values).sum()
        moments[name] = first, np.sqrt((p * (values - first) ** 2).sum())
    return evidence, moments, (sds, p.sum(axis=1))


def agree(model, laws, ends):
    found = model.quadrature()
    (key,) = [key for key in found.mean.index if key[2] == "sd(Intercept)"]
    quantiles = found.quantiles([0.05, 0.5, 0.95]).loc[key].to_numpy()
    # the quantiles are ends of panels, so that the probability below each is a sum over whole ones
    evidence, moments, (sds, p) = brute_force(model, laws, (sorted([*ends[0], *quantiles]), ends[1]))
    np.testing.assert_allclose([p[sds < quantile].sum() for quantile in quantiles], [0.05, 0.5, 0.95], atol=SAME)
    assert abs(found.log_integral - evidence) < found.error + SAME
    assert found.error < 1e-6
    for key in found.mean.index:
        if key[2] in moments:
            mean, sd = moments[key[2]]
            assert (found.mean[key], found.sd[key]) == pytest.approx((mean, sd), rel=10 * SAME)
    return found


def test_a_posterior_at_the_boundary():
    model = hb.Model(
        "Yield ~ 1 + (1 | Batch)",
        hb.load_data("Dyestuff2"),
        priors={
            "Intercept": bmb.Prior("Normal", mu=5, sigma=10),
            "1|Batch": half_normal(4),
            "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=4),
        },
    )
    laws = stats.halfnorm(0, 4), stats.t(4, 0, 4)
    laws[1].pdf, laws[1].logpdf = None, lambda x: stats.t.logpdf(x, 4, 0, 4) + np.log(2.0)
    ends = [0.0, 0.2, 0.6, 1.2, 2.5, 5.0, 10.0, 25.0], [1.5, 2.5, 3.5, 5.0, 7.0, 11.0, 20.0]
    found = agree(model, laws, ends)
    # much of the mass is near 0
    key = "ran_pars", "Batch", "sd(Intercept)"
    assert found.quantiles([0.05]).loc[key, 0.05] < 0.1


@pytest.fixture(scope="module")
def weighted():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 4)
    x, w = rng.uniform(2.0, 4.0, 32), rng.uniform(0.5, 2.0, 32)
    y = 3.0 + x + 0.7 * rng.standard_normal(8)[g] + 0.5 * rng.standard_normal(32) / np.sqrt(w)
    return pd.DataFrame({"y": y, "x": x, "g": g, "w": w, "o": 0.1 * np.arange(32), "se": 0.5 / np.sqrt(w)})


@pytest.mark.parametrize("center", [True, False])
def test_weights_offset_and_priors_of_centred_predictors(weighted, center):
    model = hb.Model(
        "y ~ x + offset(o) + (1 | g)",
        weighted,
        weights="w",
        center_predictors=center,
        priors={
            "Intercept": bmb.Prior("Normal", mu=4, sigma=1.5),
            "x": bmb.Prior("Normal", mu=0.5, sigma=0.5),
            "1|g": half_normal(1.5),
            "sigma": bmb.Prior("Exponential", lam=1.0),
        },
    )
    ends = [0.0, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0], [0.1, 0.25, 0.5, 0.75, 1.2, 2.5]
    agree(model, (stats.halfnorm(0, 1.5), stats.expon()), ends)


def test_known_standard_errors(weighted):
    model = hb.Model(
        "y ~ 1 + (1 | g)",
        weighted,
        se="se",
        priors={"Intercept": bmb.Prior("Normal", mu=4, sigma=3), "1|g": half_normal(1.0)},
    )
    found = agree(model, (stats.halfnorm(0, 1.0), None), ([0.0, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0], None))
    assert found.thetas.shape[1] == 1


# --- the table ------------------------------------------------------------------------------------------


def test_rows_are_those_of_a_fit(fit_sleepstudy):
    exact, drawn = fit_sleepstudy.quadrature(1e-4).tidy(), fit_sleepstudy.tidy()
    pd.testing.assert_frame_equal(exact[["effect", "group", "term"]], drawn[["effect", "group", "term"]])
    assert list(exact.columns) == list(drawn.columns)
    # 4,000 draws: means to a tenth of a standard deviation, ends of intervals to three tenths
    assert ((exact["estimate"] - drawn["estimate"]).abs() < 0.1 * exact["std_error"]).all()
    for end in ("conf_low", "conf_high"):
        assert ((exact[end] - drawn[end]).abs() < 0.3 * exact["std_error"]).all()


def test_quantiles_of_correlations_by_two_ways():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(12), 6)
    x = rng.standard_normal(72)
    y = 1.0 + x + rng.standard_normal(12)[g] * (1.0 + 0.5 * x) + rng.standard_normal(72)
    model = hb.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    found = model.quadrature(1e-4)
    key = "ran_pars", "g", "corr(Intercept, x)"
    # of two effects the correlation is a parameter of its own: the same quantiles by the other way
    own = np.tanh(0.5 * found.lattice.quantiles(found.lattice.nodes[:, 2], np.array([0.05, 0.5, 0.95])))
    np.testing.assert_allclose(found.quantiles([0.05, 0.5, 0.95]).loc[key], own, atol=1e-6)


def test_what_is_refused(sleepstudy):
    data = sleepstudy.assign(a=np.sin(np.arange(180.0)), b=np.cos(np.arange(180.0)))
    with pytest.raises(hb.HierbayesError, match=r"at most 6 parameters .* has 11; sample it"):
        hb.Model("Reaction ~ Days + (Days + a + b | Subject)", data).quadrature()
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        model.quadrature(0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.quadrature(1e-3).quantiles([0.0])


def test_an_improper_posterior_is_refused():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "g": ["a", "a", "b", "b"]})
    flat = bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfFlat"))
    model = hb.Model("y ~ 1 + (1 | g)", data, priors={"1|g": flat, "Intercept": bmb.Prior("Flat")})
    with pytest.raises(hb.HierbayesError, match="too spread out"):
        model.quadrature()
