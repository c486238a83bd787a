"""The posterior against reference values: exact ones by quadrature where there are any, else a long run of Stan."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass

import arviz as az
import bambi as bmb
import numpy as np
import pytest
import xarray as xr
from numba import njit
from numpy.polynomial.legendre import leggauss

import hierbayes as hb
from hierbayes.sampling import LOG, log_posterior, make_target

STANDARD_ERRORS = 4.0
"""Monte Carlo standard errors between an estimate and the exact value, at most."""
EVIDENCE = 1e-4
"""Of the log marginal likelihood; the reference quadrature is good to about 1e-5."""


def half_normal(sigma):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=sigma))


@dataclass(frozen=True)
class Case:
    """A model of the reference, how many quantities are given, and a box that holds the posterior of variances."""

    formula: str
    data: str
    priors: dict
    parameters: int
    effects: int
    box: tuple[tuple[float, float], ...] = ()
    family: str = "gaussian"


CASES = {
    "sleepstudy_slope": Case(
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {
            "Intercept": bmb.Prior("Normal", mu=298.5079, sigma=261.0092),
            "Days": bmb.Prior("Normal", mu=0, sigma=48.8915),
            "1|Subject": half_normal(261.0092),
            "Days|Subject": half_normal(48.8915),
            "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=56.1721),
            "Subject_corr": bmb.Prior("LKJ", eta=1),
        },
        6,
        12,
        ((0.0, 130.0), (0.0, 28.0), (-1.0, 1.0), (17.0, 42.0)),
    ),
    "penicillin": Case(
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        "Penicillin",
        {
            "Intercept": bmb.Prior("Normal", mu=23, sigma=5),
            "1|plate": half_normal(5),
            "1|sample": half_normal(5),
            "sigma": bmb.Prior("HalfStudentT", nu=4, sigma=2),
        },
        4,
        12,
        ((0.3, 2.4), (0.5, 22.0), (0.38, 0.85)),
    ),
    "cbpp": Case(
        "p(incidence, size) ~ period + (1 | herd)",
        "cbpp",
        {
            "Intercept": bmb.Prior("Normal", mu=0, sigma=2.5),
            "period": bmb.Prior("Normal", mu=0, sigma=2.5),
            "1|herd": half_normal(2.5),
        },
        5,
        6,
        family="binomial",
    ),
}
GAUSSIAN_CASES = {name: case for name, case in CASES.items() if case.family == "gaussian"}
EVERY = pytest.mark.parametrize("name", CASES)
GAUSSIAN = pytest.mark.parametrize("name", GAUSSIAN_CASES)


@pytest.fixture(scope="module")
def models():
    return {
        name: hb.Model(
            case.formula, hb.load_data(case.data), family=case.family, priors=case.priors, center_predictors=False
        )
        for name, case in CASES.items()
    }


@pytest.fixture(scope="module")
def fits(models):
    """Long runs by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = models[name].fit(draws=4000, seed=20, progress=False)
        return made[name]

    return get


@pytest.fixture(scope="module")
def model(models):
    return models["sleepstudy_slope"]


@pytest.fixture(scope="module")
def fit(fits):
    return fits("sleepstudy_slope")


@pytest.fixture(scope="module")
def reference(shared):
    """Exact values, or those of Stan with their Monte Carlo standard errors."""
    models = json.loads(shared("reference/posterior.json").read_text())["models"]
    assert set(models) == set(CASES)
    return {name: models[name].get("exact_quadrature", models[name]) for name in CASES}


def our_term(name):
    return "1" if name == "Intercept" else name


def draws_of(fit, name):
    """Chains x draws of a quantity that the reference names as brms does."""
    posterior = fit.posterior
    if effect := re.fullmatch(r"r_(\w+)\[(.+),(\w+)\]", name):
        group, level, term = effect.groups()
        return posterior[f"{our_term(term)}|{group}"].sel({f"{group}__factor_dim": level})
    if sd := re.fullmatch(r"sd_(\w+?)__(\w+)", name):
        return posterior[f"{our_term(sd[2])}|{sd[1]}_sigma"]
    if corr := re.fullmatch(r"cor_(\w+?)__\w+", name):
        return posterior[f"{corr[1]}_corr"][..., 0, 1]
    if level := re.fullmatch(r"b_(period)(\d)", name):
        return posterior[level[1]].sel({f"{level[1]}_dim": level[2]})
    return posterior[name.removeprefix("b_")]


def deviations(fit, values):
    """Differences to reference values in Monte Carlo standard errors, those of the reference included."""
    found = {}
    for name, value in values.items():
        array = draws_of(fit, name).to_numpy()
        quantiles = {"q5": 0.05, "median": 0.5, "q95": 0.95}
        ours = {
            "mean": (array.mean(), az.mcse(array, method="mean")),
            "sd": (array.std(ddof=1), az.mcse(array, method="sd")),
        } | {key: (np.quantile(array, p), az.mcse(array, method="quantile", prob=p)) for key, p in quantiles.items()}
        for key, (estimate, error) in ours.items():
            found[name, key] = (estimate - value[key]) / np.hypot(float(error), value.get(f"mcse_{key}", 0.0))
    return found


@EVERY
def test_every_parameter_agrees_with_the_reference(fits, reference, name):
    found = deviations(fits(name), reference[name]["parameters"])
    assert len(found) == CASES[name].parameters * 5
    assert {key: round(z, 2) for key, z in found.items() if abs(z) > STANDARD_ERRORS} == {}


@EVERY
def test_group_effects_agree_with_the_reference(fits, reference, name):
    found = deviations(fits(name), reference[name]["group_effects_first6"])
    assert len(found) == CASES[name].effects * 5
    assert {key: round(z, 2) for key, z in found.items() if abs(z) > STANDARD_ERRORS} == {}


@EVERY
def test_run_is_clean(fits, name):
    assert fits(name).convergence.ok
    assert fits(name).convergence.table["ess_bulk"].min() > 1000


@njit  # no cache on disk: it would outlive a change of the kernels
def _integrate(table, packed, tree, residual, log_scale, nodes, weights, shift):
    """Logarithm of the sum of weights times density over a tensor grid of standard deviations and correlations."""
    d, size = nodes.shape
    x = np.empty(d)
    total = 0.0
    for flat in range(size**d):
        rest, weight, jacobian = flat, 1.0, 0.0
        for i in range(d):
            value = nodes[i, rest % size]
            weight *= weights[i, rest % size]
            rest //= size
            if log_scale[i]:
                x[i] = np.log(value)
                jacobian += x[i]
            else:
                x[i] = 2.0 * np.arctanh(value)
                jacobian += np.log(0.5 * (1.0 - value * value))
        density, _ = log_posterior(x, table, packed, tree, residual)
        total += weight * np.exp(density - jacobian - shift)
    return np.log(total) + shift


@pytest.mark.slow
@GAUSSIAN
def test_density_integrates_to_the_marginal_likelihood(models, reference, name):
    model = models[name]
    target = make_target(model.marginal, model.priors)
    graph = model.graph("marginal")
    logp = graph.compile_fn(graph.logp(sum=True, jacobian=True))
    middle = [0.5 * sum(ends) for ends in CASES[name].box]
    x = np.array([np.log(at) if kind == LOG else at + 0.3 for at, kind in zip(middle, target.kinds, strict=True)])
    values = graph.value_vars
    assert len(values) == len(x)
    point = {value.name: x[i : i + 1] if value.ndim else x[i] for i, value in enumerate(values)}
    assert logp(point) == pytest.approx(target.log_posterior(x)[0], rel=1e-10)

    node, weight = leggauss(40)
    box = np.array(CASES[name].box)
    width = 0.5 * (box[:, 1] - box[:, 0])
    nodes = box[:, :1] + width[:, None] * (1.0 + node)
    expected = reference[name]["log_marginal_likelihood"]
    arguments = target.table, model.marginal.packed, *model.marginal.plan, target.kinds == LOG
    evidence = _integrate(*arguments, nodes, width[:, None] * weight, expected)
    assert evidence == pytest.approx(expected, abs=EVIDENCE)


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
