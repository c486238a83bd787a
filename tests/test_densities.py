"""The compiled prior families against PyMC's own log densities."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import stats

from hierbayes.densities import CODES, FAMILIES, POSITIVE, log_prior
from hierbayes.priors import Prior, Priors

VALUE = 1e-10
"""Relative (or absolute below 1), against PyMC."""
SINGLE = 4e-9
"""Absolute, where PyMC adds a log 2 that PyTensor keeps in single precision: off by 1.9e-9."""
IN_SINGLE = {"HalfStudentT", "HalfCauchy"}
SCIPY = 1e-12
"""Relative (or absolute below 1), against SciPy."""
DERIVATIVE = 1e-6
"""Relative, against central differences with a step of 1e-5."""

PARAMETERS = {
    "Flat": [()],
    "HalfFlat": [()],
    "Normal": [(0.0, 1.0), (-3.0, 0.2), (250.0, 1e4)],
    "HalfNormal": [(1.0,), (0.03,), (60.0,)],
    "StudentT": [(1.0, 0.0, 1.0), (4.0, -2.0, 0.5), (30.0, 100.0, 20.0)],
    "HalfStudentT": [(4.0, 56.17), (1.0, 0.1), (30.0, 2.0)],
    "Cauchy": [(0.0, 1.0), (-3.0, 25.0)],
    "HalfCauchy": [(1.0,), (25.0,)],
    "Laplace": [(0.0, 1.0), (4.0, 0.3)],
    "Exponential": [(1.0,), (0.02,)],
    "Gamma": [(2.0, 0.1), (0.5, 3.0), (20.0, 4.0)],
    "InverseGamma": [(2.0, 1.0), (0.5, 30.0)],
    "LogNormal": [(0.0, 1.0), (3.0, 0.4)],
}
"""Some parameters of every family, in the order of `FAMILIES`."""
POINTS = np.array([1e-3, 0.11, 0.9, 2.7, 31.0, 470.0])

CASES = [(name, values) for name, several in PARAMETERS.items() for values in several]
SEVERAL = pytest.mark.parametrize(("name", "values"), CASES, ids=[f"{name}{values}" for name, values in CASES])


def points(name):
    return POINTS if name in POSITIVE else np.concatenate([-POINTS, POINTS])


def ours(name, values, x):
    return log_prior(CODES[name], x, *values, *[0.0] * (3 - len(values)))


def pymc_logp(name, values):
    """Log density as a function, evaluated without compiling."""
    x = pt.dscalar()
    args = {key: np.asarray(value) for key, value in zip(FAMILIES[name], values, strict=True)}
    distribution = getattr(pm, name).dist(**args)
    return pytensor.function([x], pm.logp(distribution, x), mode="FAST_COMPILE")


def test_every_family_is_tested():
    assert list(PARAMETERS) == list(FAMILIES)


@SEVERAL
def test_values_are_those_of_pymc(name, values):
    logp = pymc_logp(name, values)
    found = [ours(name, values, x)[0] for x in points(name)]
    atol = SINGLE if name in IN_SINGLE else VALUE
    np.testing.assert_allclose(found, [float(logp(x)) for x in points(name)], rtol=VALUE, atol=atol)


@pytest.mark.parametrize(
    ("name", "values", "scipy"),
    [
        ("HalfStudentT", (4.0, 56.17), lambda x: stats.t(4.0, scale=56.17).logpdf(x) + np.log(2.0)),
        ("HalfStudentT", (1.0, 0.1), lambda x: stats.t(1.0, scale=0.1).logpdf(x) + np.log(2.0)),
        ("HalfCauchy", (25.0,), stats.halfcauchy(scale=25.0).logpdf),
    ],
)
def test_where_pymc_rounds_scipy_decides(name, values, scipy):
    found = [ours(name, values, x)[0] for x in POINTS]
    np.testing.assert_allclose(found, scipy(POINTS), rtol=SCIPY, atol=SCIPY)


@SEVERAL
def test_derivatives_are_those_of_the_values(name, values):
    for x in points(name):
        h = 1e-5 * abs(x)
        numeric = (ours(name, values, x + h)[0] - ours(name, values, x - h)[0]) / (2.0 * h)
        size = max(1.0, abs(ours(name, values, x)[0])) / abs(x)  # a difference cannot see less than this times 1e-11
        np.testing.assert_allclose(ours(name, values, x)[1], numeric, rtol=DERIVATIVE, atol=DERIVATIVE * size)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_positive_families_are_those_that_pymc_confines(name):
    inside = np.isfinite(pymc_logp(name, PARAMETERS[name][0])(-0.5))
    assert (name in POSITIVE) == (not inside)


# --- what the sampler can use ---------------------------------------------------------------------


def test_a_row_holds_the_parameters_in_the_order_of_the_family():
    prior = Prior("StudentT", {"sigma": 3.0, "nu": 4.0, "mu": -1.0})
    assert prior.row == [CODES["StudentT"], 4.0, -1.0, 3.0]


@pytest.mark.parametrize(
    "prior",
    [
        Prior("SkewNormal", {"mu": 0.0, "sigma": 1.0, "alpha": 2.0}),
        Prior("Gamma", {"mu": 2.0, "sigma": 1.0}),
        Prior("Normal", {"mu": 0.0, "tau": 1.0}),
        Prior("Exponential", {"scale": 2.0}),
    ],
    ids=repr,
)
def test_other_families_and_other_parameters_are_left_to_pymc(prior):
    assert prior.row is None


@pytest.mark.parametrize(
    ("prior", "integrable"),
    [
        (Prior("Normal", {"mu": 0.0, "sigma": 1.0}), True),
        (Prior("Flat", {}), True),
        (Prior("Normal", {"mu": 0.0, "tau": 1.0}), False),
        (Prior("StudentT", {"nu": 4.0, "mu": 0.0, "sigma": 1.0}), False),
        (Prior("HalfNormal", {"sigma": 1.0}), False),
        (Prior("HalfFlat", {}), False),
    ],
    ids=repr,
)
def test_only_normal_and_flat_coefficients_are_integrated_out(prior, integrable):
    assert prior.integrable is integrable
    sigma = Prior("HalfNormal", {"sigma": 1.0})
    assert Priors((prior,), False, (sigma,), sigma, (1.0,)).kept.tolist() == [not integrable]
