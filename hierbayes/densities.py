"""Log densities of the prior families that the compiled sampler knows, and their derivatives.

Each has the name and the parameters of the PyMC distribution and equals its log density; the test
suite checks that against PyMC. A prior outside this table is sampled through PyMC's own graph.
"""

from __future__ import annotations

import math

from numba import njit

FAMILIES: dict[str, tuple[str, ...]] = {
    "Flat": (),
    "HalfFlat": (),
    "Normal": ("mu", "sigma"),
    "HalfNormal": ("sigma",),
    "StudentT": ("nu", "mu", "sigma"),
    "HalfStudentT": ("nu", "sigma"),
    "Cauchy": ("alpha", "beta"),
    "HalfCauchy": ("beta",),
    "Laplace": ("mu", "b"),
    "Exponential": ("lam",),
    "Gamma": ("alpha", "beta"),
    "InverseGamma": ("alpha", "beta"),
    "LogNormal": ("mu", "sigma"),
}
"""Name and parameters of each family, in the order in which `log_prior` takes them."""

CODES = {name: code for code, name in enumerate(FAMILIES)}
POSITIVE = frozenset(
    {
        "HalfFlat",
        "HalfNormal",
        "HalfStudentT",
        "HalfCauchy",
        "Exponential",
        "Gamma",
        "InverseGamma",
        "LogNormal",
    }
)
"""Families on the positive half line."""

_LOG_2PI = math.log(2.0 * math.pi)


@njit(cache=True, nogil=True, error_model="numpy")
def _student(x: float, nu: float, mu: float, sigma: float) -> tuple[float, float]:
    d = x - mu
    value = (
        math.lgamma(0.5 * (nu + 1.0))
        - math.lgamma(0.5 * nu)
        - 0.5 * math.log(nu * math.pi)
        - math.log(sigma)
        - 0.5 * (nu + 1.0) * math.log1p(d * d / (nu * sigma * sigma))
    )
    return value, -(nu + 1.0) * d / (nu * sigma * sigma + d * d)


@njit(cache=True, nogil=True, error_model="numpy")
def log_prior(family: int, x: float, a: float, b: float, c: float) -> tuple[float, float]:
    """Log density of a family of `FAMILIES` at x, and its derivative.

    Parameters
    ----------
    family : int
        From `CODES`.
    x : float
        Inside the support.
    a, b, c : float
        Parameters in the order of `FAMILIES`; unused ones are ignored.

    Returns
    -------
    value, derivative : float
    """
    if family <= 1:  # Flat, HalfFlat
        return 0.0, 0.0
    if family == 2:  # Normal
        d = (x - a) / b
        return -0.5 * _LOG_2PI - math.log(b) - 0.5 * d * d, -d / b
    if family == 3:  # HalfNormal
        d = x / a
        return math.log(2.0) - 0.5 * _LOG_2PI - math.log(a) - 0.5 * d * d, -d / a
    if family == 4:  # StudentT
        return _student(x, a, b, c)
    if family == 5:  # HalfStudentT
        value, derivative = _student(x, a, 0.0, b)
        return value + math.log(2.0), derivative
    if family == 6:  # Cauchy
        return _student(x, 1.0, a, b)
    if family == 7:  # HalfCauchy
        value, derivative = _student(x, 1.0, 0.0, a)
        return value + math.log(2.0), derivative
    if family == 8:  # Laplace
        d = x - a
        return -math.log(2.0 * b) - abs(d) / b, -math.copysign(1.0, d) / b
    if family == 9:  # Exponential
        return math.log(a) - a * x, -a
    if family == 10:  # Gamma
        return a * math.log(b) - math.lgamma(a) + (a - 1.0) * math.log(x) - b * x, (a - 1.0) / x - b
    if family == 11:  # InverseGamma
        return a * math.log(b) - math.lgamma(a) - (a + 1.0) * math.log(x) - b / x, -(a + 1.0) / x + b / (x * x)
    # LogNormal
    d = (math.log(x) - a) / b
    return -0.5 * _LOG_2PI - math.log(b) - math.log(x) - 0.5 * d * d, -(1.0 + d / b) / x
