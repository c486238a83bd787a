"""The posterior against exact values: quadrature of the same model, not another sampler."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import arviz as az
import bambi as bmb
import numpy as np
import pytest
import xarray as xr
from numba import njit
from numpy.polynomial.legendre import leggauss

import hierbayes as hb
from hierbayes.sampling import log_posterior, make_target

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "posterior.json"
STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between an estimate and the exact value, at most."""
EVIDENCE = 1e-4
"""Of the log marginal likelihood; the reference quadrature is good to about 1e-5."""

PRIORS = {
    "Intercept": bmb.Prior("Normal", mu=298.5079, sigma=261.0092),
    "Days": bmb.Prior("Normal", mu=0, sigma=48.8915),
    "1|Subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=261.0092)),
    "Days|Subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=48.8915)),
    "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=56.1721),
    "Subject_corr": bmb.Prior("LKJ", eta=1),
}


@pytest.fixture(scope="module")
def model():
    data = hb.load_data("sleepstudy")
    return hb.Model("Reaction ~ Days + (Days | Subject)", data, priors=PRIORS, center_predictors=False)


@pytest.fixture(scope="module")
def fit(model):
    return model.fit(draws=4000, seed=20)


@pytest.fixture(scope="module")
def exact():
    if not REFERENCE.exists():
        pytest.skip(f"the exact posterior is not here: {REFERENCE.name}")
    return json.loads(REFERENCE.read_text())["models"]["sleepstudy_slope"]["exact_quadrature"]


def draws_of(fit, name):
    """Chains x draws of a quantity that the reference names as brms does."""
    posterior = fit.posterior
    if name.startswith("r_Subject["):
        level, term = name.removeprefix("r_Subject[").removesuffix("]").split(",")
        return posterior["1|Subject" if term == "Intercept" else "Days|Subject"].sel(Subject__factor_dim=level)
    return {
        "b_Intercept": posterior["Intercept"],
        "b_Days": posterior["Days"],
        "sd_Subject__Intercept": posterior["1|Subject_sigma"],
        "sd_Subject__Days": posterior["Days|Subject_sigma"],
        "cor_Subject__Intercept__Days": posterior["Subject_corr"][..., 0, 1],
        "sigma": posterior["sigma"],
    }[name]


def deviations(fit, values):
    """Differences to exact values in Monte Carlo standard errors."""
    found = {}
    for name, value in values.items():
        draws = draws_of(fit, name)
        array = draws.to_numpy()
        found[name, "mean"] = (array.mean() - value["mean"]) / float(az.mcse(array, method="mean"))
        found[name, "sd"] = (array.std(ddof=1) - value["sd"]) / float(az.mcse(array, method="sd"))
        for key, probability in {"q5": 0.05, "median": 0.5, "q95": 0.95}.items():
            if key in value:
                error = float(az.mcse(array, method="quantile", prob=probability))
                found[name, key] = (np.quantile(array, probability) - value[key]) / error
    return found


def test_every_parameter_agrees_with_quadrature(fit, exact):
    found = deviations(fit, exact["parameters"])
    assert len(found) == 6 * 5
    assert {key: round(z, 2) for key, z in found.items() if abs(z) > STANDARD_ERRORS} == {}


def test_group_effects_agree_with_quadrature(fit, exact):
    found = deviations(fit, exact["group_effects_first6"])
    assert len(found) >= 12 * 2
    assert {key: round(z, 2) for key, z in found.items() if abs(z) > STANDARD_ERRORS} == {}


def test_run_is_clean(fit):
    assert fit.convergence.ok
    assert fit.convergence.table["ess_bulk"].min() > 1000


@njit(cache=True)
def _integrate(table, packed, nodes, weights):
    """Sum of weights times density over a tensor grid in (sd, sd, r, sigma)."""
    total = 0.0
    x = np.empty(4)
    size = len(nodes[0])
    for a in range(size):
        for b in range(size):
            for c in range(size):
                for d in range(size):
                    s1, s2, r, sigma = nodes[0, a], nodes[1, b], nodes[2, c], nodes[3, d]
                    x[0], x[1], x[2], x[3] = np.log(s1), np.log(s2), 2.0 * np.arctanh(r), np.log(sigma)
                    jacobian = np.log(s1) + np.log(s2) + np.log(0.5 * (1.0 - r * r)) + np.log(sigma)
                    value, _ = log_posterior(x, table, packed, None, None)
                    weight = weights[0, a] * weights[1, b] * weights[2, c] * weights[3, d]
                    total += weight * np.exp(value - jacobian + 890.0)
    return np.log(total) - 890.0


@pytest.mark.slow
def test_density_integrates_to_the_marginal_likelihood(model, exact):
    target = make_target(model.marginal, model.priors)
    graph = model.graph()
    logp = graph.compile_fn(graph.logp(sum=True, jacobian=True))
    x = np.array([3.1, 1.9, 0.3, 3.2])
    point = dict(zip([value.name for value in graph.value_vars], [x[0], x[1], x[2:3], x[3]], strict=True))
    assert logp(point) == pytest.approx(target.log_posterior(x)[0], rel=1e-10)

    node, weight = leggauss(40)
    bounds = np.array([(0.0, 130.0), (0.0, 28.0), (-1.0, 1.0), (17.0, 42.0)])
    half = 0.5 * (bounds[:, 1] - bounds[:, 0])
    nodes = bounds[:, :1] + half[:, None] * (1.0 + node)
    evidence = _integrate(target.table, model.marginal.packed, nodes, half[:, None] * weight)
    assert evidence == pytest.approx(exact["log_marginal_likelihood"], abs=EVIDENCE)


def test_same_seed_same_draws_whatever_the_cores(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # short runs on purpose
        one = model.fit(draws=60, tune=100, chains=3, seed=5, cores=1)
        two = model.fit(draws=60, tune=100, chains=3, seed=5, cores=3)
        other = model.fit(draws=60, tune=100, chains=3, seed=6, cores=1)
    xr.testing.assert_equal(one.posterior, two.posterior)
    assert not np.allclose(one.posterior["Days"], other.posterior["Days"])


def test_pymc_samples_the_graph_to_the_same_posterior(model, fit):
    import pymc as pm

    with model.graph():
        idata = pm.sample(
            draws=1000,
            tune=1000,
            chains=2,
            cores=1,
            random_seed=3,
            progressbar=False,
            compute_convergence_checks=False,
        )
    for name in ["1|Subject_sigma", "Days|Subject_sigma", "sigma", "Subject_corr"]:
        ours, theirs = fit.posterior[name], idata["posterior"][name]
        if name == "Subject_corr":
            ours, theirs = ours[..., 0, 1], theirs[..., 0, 1]
        ours, theirs = ours.to_numpy(), theirs.to_numpy()
        error = np.hypot(float(az.mcse(ours, method="mean")), float(az.mcse(theirs, method="mean")))
        assert abs(ours.mean() - theirs.mean()) < STANDARD_ERRORS * error


def test_priors_outside_the_compiled_families_go_through_pymc():
    data = hb.load_data("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject)"
    gamma = bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Gamma", alpha=2.0, beta=0.05))
    same = bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Gamma", mu=40.0, sigma=40.0 / np.sqrt(2.0)))
    compiled = hb.Model(formula, data, priors={"1|Subject": gamma}).fit(seed=1)
    graph = hb.Model(formula, data, priors={"1|Subject": same}).fit(seed=2)
    assert (compiled.idata.attrs["engine"], graph.idata.attrs["engine"]) == ("compiled", "graph")
    for name in ["Days", "1|Subject_sigma", "sigma"]:
        a, b = compiled.posterior[name].to_numpy(), graph.posterior[name].to_numpy()
        error = np.hypot(float(az.mcse(a, method="mean")), float(az.mcse(b, method="mean")))
        assert abs(a.mean() - b.mean()) < STANDARD_ERRORS * error


def test_kept_fixed_effect_agrees_with_integrated_one():
    """A Student-t prior with many degrees of freedom is a Normal prior that NUTS has to sample."""
    data = hb.load_data("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject)"
    student = bmb.Prior("StudentT", nu=1e6, mu=0, sigma=20)
    kept = hb.Model(formula, data, priors={"Days": student}).fit(seed=1)
    integrated = hb.Model(formula, data, priors={"Days": bmb.Prior("Normal", mu=0, sigma=20)}).fit(seed=2)
    for name in ["Intercept", "Days", "1|Subject_sigma", "sigma"]:
        a, b = kept.posterior[name].to_numpy(), integrated.posterior[name].to_numpy()
        for statistic, method in ((np.mean, "mean"), (np.std, "sd")):
            error = np.hypot(float(az.mcse(a, method=method)), float(az.mcse(b, method=method)))
            assert abs(statistic(a) - statistic(b)) < STANDARD_ERRORS * error


def test_summaries_and_streamed_draws_are_those_of_the_kept_draws(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # short runs on purpose
        kept = model.fit(draws=500, tune=300, chains=2, seed=5)
        summary = model.fit(draws=500, tune=300, chains=2, seed=5, ranef="summary")
        streamed = model.fit(draws=500, tune=300, chains=2, seed=5, ranef=tmp_path / "ranef.zarr")
    assert "1|Subject" not in summary.posterior
    table, other = kept.ranef()["Subject"], summary.ranef()["Subject"]
    error = table["sd"] / np.sqrt(1000)
    assert ((table["mean"] - other["mean"]).abs() < 5 * np.sqrt(2) * error).all()
    assert streamed.posterior["1|Subject"].shape == (2, 500, 18)
    assert ((table["mean"] - streamed.ranef()["Subject"]["mean"]).abs() < 5 * np.sqrt(2) * error).all()
    with pytest.raises(FileExistsError, match="exists already"):
        model.fit(draws=10, tune=10, ranef=tmp_path / "ranef.zarr")


def test_a_bad_run_says_so(model):
    with pytest.warns(hb.ConvergenceWarning, match="effective sample size|R-hat|One chain"):
        fit = model.fit(draws=20, tune=20, chains=1, seed=1)
    assert not fit.convergence.ok
