"""Responses of every family of Bambi, and log densities of a model here and there at the same points."""

from __future__ import annotations

import warnings
from functools import cache

import bambi as bmb
import numpy as np
import pandas as pd
from pytensor.compile.mode import Mode

from hierbayes.conditional import INTERCEPT_CENTERED

DENSITY = 1e-9
"""Relative, of log densities: two graphs of the same sum of a few hundred terms in double precision."""
INTERPRETED = Mode(linker="py", optimizer=None)
"""For a few evaluations, which are not worth compiling."""


@cache
def responses():
    """Responses of every kind, from linear predictors between -2 and 2."""
    rng = np.random.default_rng(3)
    n = 36
    g, h = np.arange(n) % 5, (np.arange(n) // 5) % 4
    x = rng.normal(size=n)
    eta = 0.3 + 0.4 * x + 0.5 * rng.normal(size=5)[g]
    mu, p = np.exp(eta), 1.0 / (1.0 + np.exp(-eta))
    trials = rng.integers(3, 9, n)
    counts = rng.poisson(mu)
    some = rng.random(n) < 0.7
    positive = rng.gamma(3.0, mu / 3.0)
    grades = np.digitize(eta + rng.logistic(size=n), [-0.5, 0.5, 1.5])
    made = rng.multinomial(9, [0.3, 0.3, 0.4], size=n)
    return pd.DataFrame(
        {
            "g": [f"g{k}" for k in g],
            "h": [f"h{k}" for k in h],
            "x": x,
            "c": np.array(["u", "v", "w"])[rng.integers(0, 3, n)],
            "exposure": rng.uniform(0.5, 2.0, n),
            "real": eta + rng.normal(size=n),
            "count": counts,
            "zeros": counts * some,
            "binary": (rng.random(n) < p).astype(int),
            "trials": trials,
            "hits": rng.binomial(trials, p),
            "unit": rng.beta(8.0 * p, 8.0 * (1.0 - p)),
            "positive": positive,
            "nonnegative": positive * some,
            "angle": rng.vonmises(0.0, 2.0, n),
            "grade": pd.Categorical(np.array(list("abcd"))[grades], categories=list("abcd"), ordered=True),
            "colour": np.array(["red", "green", "blue"])[rng.integers(0, 3, n)],
            "low": made[:, 0],
            "mid": made[:, 1],
            "high": made[:, 2],
            "weight": rng.uniform(0.5, 2.0, n),
        }
    ).assign(
        word=lambda d: np.where(d["binary"] == 1, "yes", "no"),
        capped=lambda d: d["real"].clip(upper=1.0),
        status=lambda d: np.where(d["real"] > 1.0, "right", "none"),
    )


LEFT = {
    "asymmetriclaplace": "real",
    "bernoulli": "binary",
    "beta": "unit",
    "beta_binomial": "p(hits, trials)",
    "binomial": "p(hits, trials)",
    "categorical": "colour",
    "cumulative": "grade",
    "dirichlet_multinomial": "counts(low, mid, high)",
    "exgaussian": "real",
    "exponential": "positive",
    "gamma": "positive",
    "lognormal": "positive",
    "gaussian": "positive",
    "hurdle_gamma": "nonnegative",
    "hurdle_lognormal": "nonnegative",
    "hurdle_negativebinomial": "zeros",
    "hurdle_poisson": "zeros",
    "multinomial": "counts(low, mid, high)",
    "negativebinomial": "count",
    "laplace": "real",
    "poisson": "count",
    "sratio": "grade",
    "t": "real",
    "vonmises": "angle",
    "wald": "positive",
    "weibull": "positive",
    "zero_inflated_binomial": "p(hits, trials)",
    "zero_inflated_negativebinomial": "zeros",
    "zero_inflated_poisson": "zeros",
}
LINKS = {"gamma": "log", "wald": "log", "gaussian": "log"}
"""Where the default link allows only some linear predictors, or is the identity of a Gaussian response."""


def half_normal(sigma):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=sigma))


def bambi_model(*args, **kwargs):
    with warnings.catch_warnings():
        # Bambi 0.21 selects text columns in a way that pandas 3 announces to change, and omits intercepts aloud
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        warnings.filterwarnings("ignore", "The intercept is omitted", UserWarning)
        return bmb.Model(*args, **kwargs)


def densities(graph):
    """Log density as a function of a point, and the points of its value variables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return graph.compile_logp(mode=INTERPRETED), graph.initial_point()


def compared(model, their, points=2, scale=0.3):
    """Log densities of a model of hierbayes and of a bambi.Model at random points around a start."""
    if not their.built:
        their.build()
    own, start = densities(model.graph("noncentered"))
    known, shapes = densities(their.backend.model)
    assert {name.replace(INTERCEPT_CENTERED, "Intercept") for name in start} == set(shapes)
    rng = np.random.default_rng(7)
    values, expected = [], []
    for _ in range(points):
        point = {name: value + rng.normal(0.0, scale, np.shape(value)) for name, value in start.items()}
        renamed = {name.replace(INTERCEPT_CENTERED, "Intercept"): value for name, value in point.items()}
        values.append(float(own(point)))
        expected.append(float(known({name: to_shape(v, np.shape(shapes[name])) for name, v in renamed.items()})))
    assert np.isfinite(expected).all()
    return values, expected


def to_shape(value, shape):
    """The value with its axes in the order of a shape; Bambi puts outcomes and columns elsewhere."""
    value = np.asarray(value)
    if value.shape == shape:
        return value
    order = [value.shape.index(size) for size in shape]
    assert len(set(value.shape)) == value.ndim, "ambiguous"
    return value.transpose(order)
