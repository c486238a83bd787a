"""What must hold for any data set: invariances, models within models, boundaries, and the global maximum."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import oracle_loglik, profiled
from scipy.optimize import minimize

import hierbayes as hb

CRITERION = 1e-6
"""Absolute, of -2 log likelihood, between two searches for one maximum."""
ESTIMATE = 1e-5
"""Relative to the standard error (or to σ), of estimates between two searches: the root of what the criterion
can tell, where it is flat."""
FAR = 1e-5
"""The same where a predictor lies 2000 away from zero."""

FORMULAS = {
    "one factor": "y ~ x + (1 | g)",
    "slopes": "y ~ x + (x | g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "crossed slopes": "y ~ x + (x || g) + (1 | h)",
    "nested": "y ~ x + (1 | h/g)",
    "nested within crossed": "y ~ x + (1 | h/g) + (1 | k)",
}
formulas = st.sampled_from(sorted(FORMULAS))


def quietly(function):
    """A result whose warnings about the boundary are not the point here; its own flags are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        warnings.simplefilter("ignore", hb.ConvergenceWarning)
        return function()


def fit(formula, data, method="REML", **options):
    return quietly(lambda: getattr(hb.Model(formula, data, **options), method.lower())())


def study(seed, n=60, sizes=(9, 4, 5), sd=(1.0, 0.8, 0.6, 0.5), sigma=0.7):
    """Three crossed factors, g with a slope; standard deviations of g, its slope, h and k."""
    rng = np.random.default_rng(seed)
    g, h, k = (rng.permutation(np.arange(n) % size) for size in sizes)
    x = rng.uniform(-1.0, 2.0, n)
    y = 2.0 - x + sd[0] * rng.standard_normal(sizes[0])[g] + sd[1] * rng.standard_normal(sizes[0])[g] * x
    y += sd[2] * rng.standard_normal(sizes[1])[h] + sd[3] * rng.standard_normal(sizes[2])[k]
    y += sigma * rng.standard_normal(n)
    frame = pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "k": k, "w": rng.uniform(0.2, 5.0, n)})
    return frame.assign(s=0.7 / np.sqrt(frame["w"]), t=np.arange(n))


def assert_same(one, other, beta=1.0, criterion=0.0):
    """Criterion, fixed effects and standard deviations agree, but for known changes of unit."""
    assert one.converged == other.converged
    if not one.converged:
        return
    assert other.criterion == pytest.approx(one.criterion + criterion, rel=0, abs=CRITERION)
    se = np.sqrt(np.diag(one.vcov))
    assert np.abs((other.fixef.to_numpy() / beta - one.fixef.to_numpy()) / se).max() < ESTIMATE
    np.testing.assert_allclose(np.sqrt(np.diag(other.vcov)) / np.abs(beta), se, rtol=ESTIMATE)


# --- invariances --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), name=formulas, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_and_the_names_of_the_levels_change_nothing(seed, name, order):
    data = study(seed)
    rows = list(range(len(data)))
    order.shuffle(rows)
    renamed = data.iloc[rows].copy()
    for column in "ghk":
        levels = list(range(renamed[column].max() + 1))
        order.shuffle(levels)
        renamed[column] = [f"{column}{levels[code]:02}" for code in renamed[column]]
    for method in ("REML", "ML"):
        one, other = fit(FORMULAS[name], data, method), fit(FORMULAS[name], renamed, method)
        assert_same(one, other)
        assert one.singular == other.singular


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
@pytest.mark.parametrize(
    "options",
    # not compound symmetry: its best rho is often the end of its range, where a search stops within a tolerance
    [{"weights": "w"}, {"se": "s"}, {"residual": "ar1(t | g:h)"}],
    ids=["weights", "known errors", "AR(1)"],
)
def test_weights_and_series_follow_their_rows(options, seed, order):
    data = study(seed)
    rows = list(range(len(data)))
    order.shuffle(rows)
    formula = FORMULAS["crossed"]
    assert_same(fit(formula, data, **options), fit(formula, data.iloc[rows], **options))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), name=formulas, power=st.floats(-8.0, 8.0))
def test_the_unit_of_the_response_scales_what_has_its_unit(seed, name, power):
    data, scale = study(seed), 10.0**power
    for method, dof in (("REML", len(data) - 2), ("ML", len(data))):
        one = fit(FORMULAS[name], data, method)
        other = fit(FORMULAS[name], data.assign(y=scale * data["y"]), method)
        assert_same(one, other, beta=scale, criterion=2.0 * dof * np.log(scale))
        assert one.singular == other.singular
        if one.converged and not one.singular:
            assert other.sigma == pytest.approx(scale * one.sigma, rel=ESTIMATE)
            sds, scaled = (np.sqrt(np.diag(found.covariance)) for found in (one, other))
            np.testing.assert_allclose(scaled / scale, sds, rtol=0, atol=ESTIMATE * one.sigma)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000), name=st.sampled_from(["one factor", "slopes", "crossed", "nested within crossed"])
)
def test_a_year_is_as_good_as_years_since_2005(seed, name):
    """1990 … 2020: neither the criterion nor anything but the intercept knows where zero is."""
    data = study(seed)
    data["year"] = 1990 + np.random.default_rng(seed).integers(0, 31, len(data))
    data["y"] += 0.1 * (data["year"] - 2005)
    data["time"] = data["year"] - 2005
    raw = fit(FORMULAS[name].replace("x", "year"), data)
    moved = fit(FORMULAS[name].replace("x", "time"), data)
    assert raw.converged
    assert moved.converged
    assert raw.criterion == pytest.approx(moved.criterion, rel=0, abs=CRITERION)
    se = np.sqrt(moved.vcov.loc["time", "time"])
    assert abs(raw.fixef["year"] - moved.fixef["time"]) < FAR * se
    assert np.sqrt(raw.vcov.loc["year", "year"]) == pytest.approx(se, rel=FAR)
    at_2005 = np.array([1.0, 2005.0])
    assert at_2005 @ raw.fixef == pytest.approx(moved.fixef["Intercept"], abs=FAR * moved.sigma)
    assert np.sqrt(at_2005 @ raw.vcov.to_numpy() @ at_2005) == pytest.approx(
        np.sqrt(moved.vcov.loc["Intercept", "Intercept"]), rel=FAR
    )
    assert raw.sigma == pytest.approx(moved.sigma, rel=FAR)
    np.testing.assert_allclose(raw.fitted, moved.fitted, rtol=0, atol=10 * FAR * moved.sigma)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), power=st.floats(-6.0, 6.0))
def test_the_unit_of_a_predictor_is_a_change_of_its_slopes(seed, power):
    data, scale = study(seed), 10.0**power
    one = fit("y ~ x + (x | g) + (1 | h)", data)
    other = fit("y ~ x + (x | g) + (1 | h)", data.assign(x=scale * data["x"]))
    assert_same(one, other, beta=np.array([1.0, 1.0 / scale]), criterion=2.0 * np.log(scale))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ one + (1 | g)", r"^Column 'one' of the fixed effects is a linear combination of 'Intercept'"),
        ("y ~ 0 + one + two + (1 | g)", r"^Column 'two' of the fixed effects is a linear combination of 'one'"),
        ("y ~ x + same + (1 | g) + (1 | h)", r"^Column 'same' of the fixed effects is a linear combination of 'x'"),
        ("y ~ x + (one | g)", r"^Column 'one' of the random effects of 'g' is a linear combination of 'Intercept'"),
        ("y ~ x + (1 | g) + (one | h)", r"^Column 'one' of the random effects of 'h' is a linear combination"),
        ("y ~ x + (x + same | h/g)", r"^Column 'same' of the random effects of 'h' is a linear combination of 'x'"),
        ("y ~ x + (1 | h) + (0 + zero | g)", r"^Column 'zero' of the random effects of 'g' is zero in every row"),
    ],
)
def test_a_column_that_says_nothing_new_is_refused_by_name(formula, message):
    data = study(0).assign(one=1.0, two=2.0, zero=0.0, same=lambda frame: 3.0 * frame["x"])
    with pytest.raises(hb.DataError, match=message):
        hb.Model(formula, data)


# --- models within models -----------------------------------------------------------------------------

SMALLER = {
    "y ~ x + (1 | g) + (1 | h)": ["y ~ x + (1 | g)", "y ~ x + (1 | h)"],
    "y ~ x + (x || g)": ["y ~ x + (1 | g)", "y ~ x + (0 + x | g)"],
    "y ~ x + (x | g)": ["y ~ x + (x || g)", "y ~ x + (1 | g)"],
    "y ~ x + (1 | h/g)": ["y ~ x + (1 | h)", "y ~ x + (1 | h:g)"],
    "y ~ x + (x | g) + (1 | h)": ["y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)"],
}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    formula=st.sampled_from(sorted(SMALLER)),
    sd=st.tuples(*[st.sampled_from([0.0, 0.3, 2.0])] * 3, st.just(0.0)),
)
def test_more_variances_are_never_less_likely(seed, formula, sd):
    """A model contains those with one of its variances at zero; where that is the estimate, the two are one."""
    data = study(seed, sd=sd)
    larger = fit(formula, data)
    assert larger.converged
    for smaller in SMALLER[formula]:
        inside = fit(smaller, data)
        assert larger.criterion < inside.criterion + CRITERION
        left_out = larger.design.layout.q - inside.design.layout.q
        sds = np.sqrt(np.diag(larger.covariance))
        if left_out == 1 and len(sds) == 2 and "|| g" not in smaller and (sds == 0.0).any():
            # which of the two variances is at zero, and does the smaller model leave out that one?
            labels = [(part.factor.name, label) for part in larger.design.parts for label in part.block.labels]
            kept = [(part.factor.name, label) for part in inside.design.parts for label in part.block.labels]
            gone = [label for label, value in zip(labels, sds, strict=True) if value == 0.0]
            if not set(gone) & set(kept):
                assert larger.criterion == pytest.approx(inside.criterion, rel=0, abs=CRITERION)
                np.testing.assert_allclose(larger.fixef, inside.fixef, rtol=ESTIMATE, atol=ESTIMATE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | h/g)", "y ~ x + (1 | k) + (x || g)"])
def test_a_variance_of_zero_is_the_smaller_model(formula, seed):
    """Responses whose means over g are all the same within h, and free of x: nothing is left for g to explain."""
    data = study(seed, n=72, sizes=(6, 4, 3))
    for _ in range(50):  # means and slopes within every cell away, by turns
        for columns in (["g"], ["h", "g"]):
            data["y"] -= data.groupby(columns)["y"].transform("mean")
            by = [data[column] for column in columns]
            square = (data["x"] ** 2).groupby(by).transform("sum")
            data["y"] -= data["x"] * (data["x"] * data["y"]).groupby(by).transform("sum") / square
    data["y"] += 2.0 * data["x"] + np.random.default_rng(seed).standard_normal(4)[data["h"]]
    larger = fit(formula, data)
    assert larger.converged
    smaller = {"h": "y ~ x + (1 | h)", "k": "y ~ x + (1 | k)"}["h" if "h" in formula else "k"]
    if larger.singular:
        inside = fit(smaller, data)
        if "k" in formula and not inside.singular:
            assert larger.criterion < inside.criterion + CRITERION
        zero = {
            part.factor.name for part in larger.design.parts if not larger.covariance[part.where, part.where].any()
        }
        if zero == {"h:g"} or (zero == {"g"} and "h" in formula):
            assert larger.criterion == pytest.approx(inside.criterion, rel=0, abs=CRITERION)
            np.testing.assert_allclose(larger.fixef, inside.fixef, rtol=ESTIMATE)
            assert larger.sigma == pytest.approx(inside.sigma, rel=ESTIMATE)
    else:
        assert larger.criterion < fit(smaller, data).criterion + CRITERION


# --- the maximum --------------------------------------------------------------------------------------


def best_of_random_starts(design, method, starts, seed):
    """The smallest deviance that SciPy finds from anywhere, by differences of the dense oracle."""
    deviance, size = profiled(design, method)
    rng = np.random.default_rng(seed)
    best = np.inf
    for _ in range(starts):
        x = rng.standard_normal(size) * 10.0 ** rng.uniform(-1.0, 1.0)
        found = minimize(deviance, x, method="L-BFGS-B", bounds=[(-1e3, 1e3)] * size)
        best = min(best, found.fun)
    return best


SMALL = {
    "one factor": "y ~ x + (1 | g)",
    "slopes": "y ~ x + (x | g)",
    "uncorrelated slopes": "y ~ x + (x || g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "nested": "y ~ x + (1 | h/g)",
    "crossed slopes": "y ~ x + (x | g) + (1 | h)",
}


def small_study(seed, name):
    """Few rows, few levels, any variances: likelihoods with several maxima are not rare among these."""
    rng = np.random.default_rng([seed, sorted(SMALL).index(name)])
    sd = rng.choice([0.0, 0.1, 1.0, 5.0], 4)
    return study(
        rng.integers(10_000), n=int(rng.integers(14, 30)), sizes=(4, 3, 2), sd=sd, sigma=10.0 ** rng.uniform(-1, 1)
    )


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_no_random_start_finds_a_better_fit(name, method):
    found = fit(SMALL[name], small_study(0, name), method)
    assert found.converged
    assert found.criterion < best_of_random_starts(found.design, method, 20, 0) + CRITERION


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_no_random_start_finds_a_better_fit_of_many(name, method):
    worse = {}
    for seed in range(1, 25):
        found = fit(SMALL[name], small_study(seed, name), method)
        gap = found.criterion - best_of_random_starts(found.design, method, 20, seed)
        if gap > CRITERION and found.converged:
            worse[seed] = gap
    assert worse == {}


def test_the_profiled_oracle_is_the_likelihood_at_its_best_sigma():
    found = fit("y ~ x + (x | g)", study(0))
    deviance, size = profiled(found.design, "REML")
    L = np.linalg.cholesky(found.covariance) / found.sigma
    x = L[np.nonzero(found.design.layout.mask)]
    assert len(x) == size
    assert deviance(x) == pytest.approx(found.criterion, rel=1e-9)


# --- shapes of data -----------------------------------------------------------------------------------


def shaped(kind, seed):
    rng = np.random.default_rng([seed, sorted(SHAPES).index(kind)])
    sizes, ratio = SHAPES[kind]
    g = np.repeat(np.arange(len(sizes)), sizes)
    n = len(g)
    x = rng.standard_normal(n)
    y = x + ratio * (rng.standard_normal(len(sizes))[g] + 0.5 * rng.standard_normal(len(sizes))[g] * x)
    y += rng.standard_normal(n)
    return pd.DataFrame({"y": y, "x": x, "z": rng.standard_normal(n), "g": g, "h": rng.permutation(np.arange(n) % 3)})


SHAPES = {
    "pairs": ([2] * 12, 1.0),
    "mostly single rows": ([1] * 14 + [2, 3, 4], 1.0),
    "one enormous group": ([60, 1, 1, 2, 1, 3], 1.0),
    "unbalanced": ([1, 2, 4, 8, 16, 24], 1.0),
    "two groups": ([9, 11], 1.0),
    "fewer rows than effects in every level": ([2] * 15, 1.0),
    "perfectly separated groups": ([5] * 6, 1e4),
    "no difference between groups": ([6] * 6, 0.0),
}
MODELS = ["y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g) + (1 | h)"]


@pytest.mark.parametrize(("kind", "formula"), [*product(SHAPES, MODELS)])
def test_a_fit_is_right_or_says_that_it_is_not(kind, formula):
    """For shapes of data that break careless code: the maximum of the dense oracle, or ``converged = False``."""
    data = shaped(kind, 1)
    found = fit(formula, data)
    if not found.converged:
        assert kind in ("perfectly separated groups", "fewer rows than effects in every level")
        return
    assert np.isfinite(found.criterion)
    assert np.isfinite(found.fixef).all()
    best = best_of_random_starts(found.design, "REML", 5, 0)
    rounding = 1e-5 if kind == "perfectly separated groups" else CRITERION  # sums of squares there cancel
    assert found.criterion < best + rounding
    assert oracle_loglik(found.design, found.covariance, found.sigma, "REML") == pytest.approx(
        found.loglik, rel=0, abs=rounding
    )
