"""Profile likelihood: against lme4, dense matrices, closed forms, and refits of models that hold the parameter."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from oracle import (
    ALL,
    assert_gradient,
    covariance_at,
    dense,
    differences,
    gls,
    log_normal,
    make_design,
    response_covariance,
    rho_at,
    sigma_at,
    some_theta,
)
from scipy.optimize import minimize
from scipy.stats import chi2, norm
from test_reml import our_group, our_name

import hierbayes as hb
from hierbayes.estimates import Estimate
from hierbayes.inference.held import Search, held_parameters
from hierbayes.kernel_profile import held_deviance
from hierbayes.marginal import Marginal
from hierbayes.reml import maximise

LME4 = 3e-4
"""Of the length of an interval: lme4 interpolates ζ between a few values; its worst here is 2.7e-4 (Dyestuff2, where
ζ has a kink), and 1.2e-4 without that."""
KERNEL = 1e-8
"""Relative, of a likelihood against dense matrices."""
REFIT = 1e-6
"""Absolute, of -2 log likelihood: two optimisations of one function."""
BRUTE = 1e-5
"""The same where the other optimiser has no gradients."""
ROOT = 1e-5
"""Absolute, of ζ at an end."""

NO_NUMBER = {
    "dyestuff2": {"sigma": "lme4's profile stops at a standard deviation of zero"},
    "score_slope": {"sigma": "lme4 found none", "cor_edu.(Intercept)|classroom": "lme4's is (-1.008, -0.999)"},
}
"""Intervals that lme4 did not find."""


def quiet(formula, data, method="ml", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data, **options)
        return getattr(model, method)()


def our_label(name):
    """lme4's name of a profile as (group, term): ``cor_Days.(Intercept)|Subject``."""
    kind, _, rest = name.partition("_")
    effects, _, group = rest.rpartition("|")
    if kind == "sd":
        return our_group(group), f"sd({our_name(effects)})"
    if kind == "cor":
        second, _, first = effects.partition(".")
        return our_group(group), f"corr({our_name(first)}, {our_name(second)})"
    return ("Residual", "sigma") if name == "sigma" else ("", our_name(name))


# --- lme4 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "sleepstudy_int", "sleepstudy_slope", "sleepstudy_uncorr", "penicillin", "pastes", "dyestuff", "dyestuff2",
        "cake_numeric", "score_int", "score_slope", "rat_pup", "rat_pup_x",
    ],
)  # fmt: skip
def test_intervals_are_those_of_lme4(shared, name):
    entry = json.loads(shared("reference/lme4.json").read_text())["lmm"][name]
    data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=dict.fromkeys(entry["categoricals"], str))
    table = quiet(entry["formula"], data, "reml").confint()
    found = table.assign(group=table["group"].fillna("")).set_index(["group", "term"])
    expected = {key: ends for key, ends in entry["profile95"].items() if key != ".secs"}
    assert {our_label(key) for key in expected} == set(found.index)
    for key, (low, high) in expected.items():
        if key in NO_NUMBER.get(name, {}):
            continue
        row = found.loc[our_label(key)]
        tolerance = LME4 * (row["conf_high"] - row["conf_low"])
        assert abs(row["conf_low"] - low) < tolerance, key
        assert abs(row["conf_high"] - high) < tolerance, key
        assert ("lower end on the boundary" in row["note"]) == (low == 0.0 and key.startswith("sd_"))


# --- the kernel -----------------------------------------------------------------------------------


def dense_deviance(design, Sigma, sigma, rho, held=None):
    """-2 log likelihood by the definition, the fixed effects at their best or one of them held at a value."""
    data = dense(design)
    V = response_covariance(data, Sigma, sigma, rho)
    y, X = data.y, data.X
    if held is not None:
        k, value = held
        y, X = y - X[:, k] * value, np.delete(X, k, axis=1)
    mean = X @ gls(y, X, V)[0] if X.shape[1] else np.zeros(len(y))
    return -2.0 * log_normal(y, mean, V)


KERNELS = [
    "weights", "offset", "known σ", "two crossed, slopes", "chain of three, slopes", "crossed, weights and offset",
    "AR(1) alone, gaps, weights", "AR(1) and a nested pair", "compound symmetry and slopes", "AR(1) and known σ",
]  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("k", [None, 1])
def test_kernel_is_the_likelihood_and_its_gradient(name, k):
    design = ALL[name]
    marginal = Marginal(design, None)
    m, theta = marginal.moments, some_theta(design, 3)
    Sigma, sigma, rho = covariance_at(design, theta), sigma_at(design, theta), rho_at(design, theta)
    z = 0.0 if marginal.places.rho is None else float(np.arctanh(theta[marginal.places.rho]))
    F = np.linalg.cholesky(Sigma) if m.q else Sigma
    for part in design.parts:
        # any factor of Σ will do
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(len(part.block.labels),) * 2))[0]
        F[part.where, part.where] = F[part.where, part.where] @ turn
    value, a, c = 0.7, np.zeros(0), 0.0
    if k is not None:
        a, c = m.scale * np.linalg.solve(m.R.T, np.eye(m.p)[k]), value - m.ols[k]

    def at(x):
        F = x[: m.q**2].reshape(m.q, m.q)
        return held_deviance(F, x[-2], x[-1], a, c, marginal.packed, *marginal.plan)

    x = np.concatenate([F.ravel(), [sigma, z]])
    found, F_bar, sigma_bar, z_bar = at(x)
    expected = dense_deviance(design, Sigma, sigma, rho, None if k is None else (k, value))
    np.testing.assert_allclose(found, expected, rtol=KERNEL)
    numeric = differences(lambda x: at(x)[0], x)
    own = np.zeros((m.q, m.q), dtype=bool)
    for factor in design.factors:
        own[design.effects_of(factor), design.effects_of(factor)] = True
    seen = np.r_[own.ravel(), True, design.residual is not None]
    assert_gradient(np.r_[F_bar.ravel(), sigma_bar, z_bar][seen], numeric[seen])


# --- the profile ----------------------------------------------------------------------------------


def some_data(seed=1):
    rng = np.random.default_rng(seed)
    n, J = 160, 20
    g, item = np.repeat(np.arange(J), n // J), rng.integers(0, 9, n)
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    b = rng.normal(size=(J, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    y = 2.0 + 0.5 * x + b[g, 0] + b[g, 1] * x + 0.8 * rng.normal(size=9)[item] + rng.normal(size=n) / np.sqrt(w)
    time = np.tile(np.arange(n // J), J)
    return pd.DataFrame({"y": y, "x": x, "g": g, "item": item, "w": w, "s": w**-0.5, "time": time})


CASES = {
    "slopes": ("y ~ x + (x | g)", {}),
    "weights and offset": ("y ~ x + offset(0.3 * time) + (1 | g)", {"weights": "w"}),
    "crossed": ("y ~ x + (x || g) + (1 | item)", {}),
    "known errors": ("y ~ x + (x | g)", {"se": "s"}),
    "AR(1)": ("y ~ x + (1 | g)", {"residual": "ar1(time | g)"}),
    "compound symmetry": ("y ~ x", {"residual": "cs(g)"}),
}


@pytest.mark.parametrize("case", CASES)
def test_at_an_end_a_refit_that_holds_the_fixed_effect_says_the_same(case):
    """The model with the offset x β at the end of the interval of β has the likelihood that the end is made of."""
    formula, options = CASES[case]
    data = some_data()
    ml = quiet(formula, data, **options)
    row = ml.profile(["x"]).confint(0.9).iloc[0]
    for end in (row["conf_low"], row["conf_high"]):
        shifted = quiet(formula.replace("y ~ x", "v ~ 1"), data.assign(v=data["y"] - data["x"] * end), **options)
        rise = shifted.criterion - ml.criterion
        np.testing.assert_allclose(math.sqrt(rise), norm.isf(0.05), atol=ROOT)


@pytest.mark.parametrize("case", ["slopes", "weights and offset", "crossed"])
def test_at_an_end_a_refit_with_that_sigma_known_says_the_same(case):
    formula, options = CASES[case]
    data = some_data()
    ml = quiet(formula, data, **options)
    row = ml.profile(["sigma"]).confint(0.9).iloc[0]
    for end in (row["conf_low"], row["conf_high"]):
        root = np.sqrt(data["w"]) if "weights" in options else 1.0
        known = quiet(formula, data.assign(known=end / root), se="known")
        np.testing.assert_allclose(math.sqrt(known.criterion - ml.criterion), norm.isf(0.05), atol=ROOT)


def brute_force(design, ml, held, value):
    """The same minimum on dense matrices, by differences, in log standard deviations and Fisher's z."""
    layout = design.layout
    q, pairs = layout.q, layout.pairs
    names = [f"sd({label})" for label in design.effect_labels]
    names += [f"corr({design.effect_labels[j]}, {design.effect_labels[i]})" for i, j in pairs]
    index = [*names, "sigma", "rho"].index(held.term)
    target = math.log(value) if held.term.startswith("sd") else math.atanh(value)
    start = [*np.log(np.sqrt(np.diag(ml.covariance))), *[0.0] * len(pairs), math.log(ml.sigma)]
    start = np.array(start + ([] if ml.rho is None else [math.atanh(ml.rho)]))

    def deviance(free):
        v = np.insert(free, index, target)
        R = np.eye(q)
        for (i, j), z in zip(pairs, v[q : q + len(pairs)], strict=True):
            R[i, j] = R[j, i] = math.tanh(z)
        rho = math.tanh(v[-1]) if design.residual is not None else 0.0
        sigma = math.exp(v[q + len(pairs)])
        return dense_deviance(design, R * np.outer(np.exp(v[:q]), np.exp(v[:q])), sigma, rho)

    return minimize(deviance, np.delete(start, index), method="BFGS").fun


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("three", "sd(z1)"),
        ("three", "corr(z1, z2)"),
        ("three", "corr(z0, z2)"),
        ("AR(1) and intercepts", "rho"),
        ("AR(1) and intercepts", "sd(z0)"),
    ],
)
def test_a_held_variance_parameter_against_dense_matrices(name, term):
    design = some_effects(8, INSIDE) if name == "three" else ALL[name]
    marginal = Marginal(design, None)
    ml = Estimate(marginal, maximise(marginal, False), "ML")
    held = next(each for each in held_parameters(ml) if each.term == term)
    search = Search(ml, held)
    np.testing.assert_allclose(search.deviance(held.estimate), ml.criterion, atol=REFIT)
    at = held.estimate + 1.5 * held.step
    value = math.tanh(at) if held.term == "rho" else at
    np.testing.assert_allclose(search.deviance(at), brute_force(design, ml, held, value), atol=BRUTE)


@pytest.mark.parametrize("value", [-0.9, -0.2, 0.4, 0.95])
def test_a_correlation_held_far_from_an_estimate_of_one(value):
    """Where the data want the other sign, the best is no variance of one of the two effects."""
    design = some_effects(2, np.array([[1.0, 0.0], [0.5, 0.0]]))
    marginal = Marginal(design, None)
    ml = Estimate(marginal, maximise(marginal, False), "ML")
    held = next(each for each in held_parameters(ml) if each.term == "corr(z0, z1)")
    assert held.estimate == 1.0
    search = Search(ml, held)
    without = Search(ml, next(each for each in held_parameters(ml) if each.term == "sd(z1)")).deviance(0.0)
    assert ml.criterion < search.deviance(value) <= without
    if value < -0.5:
        assert search.deviance(value) == without
    else:
        np.testing.assert_allclose(search.deviance(value), brute_force(design, ml, held, value), atol=BRUTE)


INSIDE = np.array([[1.5, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.4, 0.6, 1.2]])


def some_effects(seed, L, J=15):
    """One factor with correlated effects, the first an intercept."""
    rng = np.random.default_rng(seed)
    each, q = 6, len(L)
    codes = np.repeat(np.arange(J), each)
    Z = np.column_stack([np.ones(J * each), rng.normal(size=(J * each, q - 1))])
    b = rng.normal(size=(J, q)) @ L.T
    y = 1.0 + (Z * b[codes]).sum(axis=1) + rng.normal(size=J * each)
    return make_design(y, np.ones((J * each, 1)), codes, [Z], [True])


def test_table_is_a_signed_root_that_ends_at_the_level(sleepstudy):
    profile = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml().profile()
    wide = profile.confint(0.99).set_index("term")
    for term, points in profile.table.groupby("term"):
        value, zeta = points["value"].to_numpy(), points["zeta"].to_numpy()
        assert (np.diff(value) > 0).all()
        assert (np.diff(zeta) > 0).all()
        np.testing.assert_allclose(zeta[[0, -1]], norm.isf(0.005) * np.array([-1, 1]), atol=ROOT)
        np.testing.assert_allclose(value[[0, -1]], wide.loc[term, ["conf_low", "conf_high"]].astype(float), rtol=1e-6)
        assert zeta[len(zeta) // 2] == 0.0
    narrow = profile.confint(0.5).set_index("term")
    assert (narrow["conf_low"] > wide["conf_low"]).all()
    assert (narrow["conf_high"] < wide["conf_high"]).all()


def test_intercept_of_a_sample_has_a_closed_form():
    """σ known, J groups of one size: -2 log p rises by J log(1 + (β - ȳ)²/s²), s² the variance of the means."""
    rng = np.random.default_rng(2)
    J, each = 12, 4
    g = np.repeat(np.arange(J), each)
    data = pd.DataFrame({"y": 3.0 * rng.normal(size=J)[g] + rng.normal(size=J * each), "g": g, "one": 1.0})
    ml = quiet("y ~ 1 + (1 | g)", data, se="one")
    means = data.groupby("g")["y"].mean()
    half = means.std(ddof=0) * math.sqrt(math.expm1(chi2.isf(0.05, 1) / J))
    row = ml.profile(["Intercept"]).confint().iloc[0]
    np.testing.assert_allclose(
        [row["conf_low"], row["conf_high"]], [means.mean() - half, means.mean() + half], rtol=1e-6
    )
    row = ml.profile(["sd(Intercept)"]).confint().iloc[0]
    best = means.var(ddof=0)
    for end in (row["conf_low"], row["conf_high"]):
        ratio = best / (end**2 + 1.0 / each)
        np.testing.assert_allclose(J * (ratio - 1.0 - math.log(ratio)), chi2.isf(0.05, 1), rtol=1e-5)


def test_a_correlation_of_an_effect_without_variance_can_be_anything():
    rng = np.random.default_rng(4)
    n, J = 120, 12
    g = np.repeat(np.arange(J), n // J)
    x = np.tile(np.linspace(-1, 1, n // J), J)
    e = rng.normal(size=(J, n // J))
    # residuals orthogonal to 1 and to x within every group: no variance between groups
    basis = np.linalg.qr(np.column_stack([np.ones(n // J), x[: n // J]]))[0]
    e -= e @ basis @ basis.T
    data = pd.DataFrame({"y": 1.0 + x + e.ravel(), "x": x, "g": g})
    table = quiet("y ~ x + (x | g)", data).confint().set_index("term")
    row = table.loc["corr(Intercept, x)"]
    assert math.isnan(row["estimate"])
    assert (row["conf_low"], row["conf_high"]) == (-1.0, 1.0)
    assert "can be anything" in row["note"]
    assert table.loc["sd(x)", "conf_low"] == 0.0


def test_a_search_that_fails_is_nan_and_said(sleepstudy, monkeypatch):
    ml = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).ml()
    profile = ml.profile(["Days"])
    deviance = Search.deviance
    estimate = ml.fixef["Days"]
    monkeypatch.setattr(Search, "deviance", lambda self, at: math.nan if at > estimate else deviance(self, at))
    with pytest.warns(hb.ConvergenceWarning, match="'Days' is not to be trusted: upper end not found"):
        row = profile.confint().iloc[0]
    assert math.isnan(row["conf_high"])
    assert row["note"] == "upper end not found"
    np.testing.assert_allclose(row["conf_low"], 8.8866, atol=1e-3)


def test_a_lower_minimum_at_an_end_moves_the_end(sleepstudy, monkeypatch):
    """The first searches stop 0.5 above the minimum, as at a second one; the check of the end does not."""
    ml = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).ml()
    expected = ml.profile(["sigma"]).confint().iloc[0]
    descend, improve, checked = Search._descend, Search.improve, []

    def stop_early(self, x, at):
        x, value, good = descend(self, x, at)
        return x, value + 0.5 * (not checked), good

    def check(self, at):
        checked.append(at)
        return improve(self, at)

    monkeypatch.setattr(Search, "_descend", stop_early)
    monkeypatch.setattr(Search, "improve", check)
    found = ml.profile(["sigma"]).confint().iloc[0]
    assert abs(checked[0] - checked[1]) > 1e-3
    for end in ("conf_low", "conf_high"):
        np.testing.assert_allclose(found[end], expected[end], rtol=1e-6)


@pytest.mark.parametrize(("seed", "end"), [(73, -0.91940), (47, -0.86339)])
def test_a_correlation_beside_its_floor(seed, end):
    """Steps outward reach the floor before the end; from there the search has to come down to the profile again."""
    rng = np.random.default_rng(seed)
    J = rng.integers(4, 8)
    n = int(J * rng.integers(4, 9))
    g, x = rng.integers(J, size=n), rng.normal(size=n) + rng.choice([0, 3])
    b = rng.normal(size=(J, 2)) * rng.uniform(0, 1.2, 2)
    data = pd.DataFrame({"x": x, "g": g, "y": 1.0 + x + b[g, 0] + b[g, 1] * x + rng.normal(size=n)})
    ml = quiet("y ~ x + (x | g)", data)
    held = next(each for each in held_parameters(ml) if each.term == "corr(Intercept, x)")
    profile = ml.profile([held.term])
    low = profile.confint()["conf_low"].iloc[0]
    np.testing.assert_allclose(low, end, atol=1e-5)
    rise = brute_force(ml.design, ml, held, low) - ml.criterion
    np.testing.assert_allclose(math.sqrt(rise), norm.isf(0.025), atol=1e-4)
    table = profile.table
    for value, zeta in table.loc[table["value"].between(low, held.estimate), ["value", "zeta"]].to_numpy()[:-1]:
        rise = brute_force(ml.design, ml, held, value) - ml.criterion
        np.testing.assert_allclose(math.sqrt(rise), -zeta, atol=1e-4)


def test_an_end_at_a_jump_is_none(sleepstudy, monkeypatch):
    ml = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).ml()
    profile = ml.profile(["Days"])
    deviance, estimate = Search.deviance, ml.fixef["Days"]
    monkeypatch.setattr(Search, "deviance", lambda self, at: deviance(self, at) + 50.0 * (at > estimate + 0.1))
    with pytest.warns(hb.ConvergenceWarning, match="upper end not found"):
        row = profile.confint().iloc[0]
    assert math.isnan(row["conf_high"])
    np.testing.assert_allclose(row["conf_low"], 8.8866, atol=1e-3)


def test_a_better_maximum_is_said(sleepstudy, monkeypatch):
    ml = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).ml()
    profile = ml.profile(["Days"])
    deviance = Search.deviance
    estimate = ml.fixef["Days"]
    monkeypatch.setattr(Search, "deviance", lambda self, at: deviance(self, at) - 0.1 * (abs(at - estimate) > 0.01))
    with pytest.warns(hb.ConvergenceWarning, match="lower than that of the estimate"):
        profile.confint(0.01)


def test_other_methods_and_unknown_words(sleepstudy):
    reml = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml()
    wald, tidy = reml.confint("wald"), reml.tidy()
    pd.testing.assert_frame_equal(wald[["term", "conf_low", "conf_high"]], tidy[["term", "conf_low", "conf_high"]])
    assert list(wald.columns) == list(reml.confint("profile").columns)
    with pytest.raises(ValueError, match="'profile', 'wald' or 'bootstrap'"):
        reml.confint("exact")
    with pytest.raises(ValueError, match="between 0 and 1"):
        reml.confint(conf_level=95)
    with pytest.raises(ValueError, match="Did you mean 'Days'"):
        reml.profile(["days"])
