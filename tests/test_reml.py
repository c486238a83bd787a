"""REML and ML against lme4, closed forms, the dense oracle and algebra."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import conditional_effects, covariance_of, dense, gls, log_normal, oracle_loglik, response_covariance
from scipy.optimize import minimize
from scipy.stats import norm

import hierbayes as hb
from hierbayes.covariance import correlation

# --- tolerances -----------------------------------------------------------------------------------

CRITERION = 1e-6
"""Absolute, of -2 log likelihood against lme4: a maximum is flat, so eight digits of Λ give sixteen here."""
FIXEF = 1e-6
"""Relative, of fixed effects and standard errors: the reference is polished to about 1e-7 in Λ."""
VARIANCE = 1e-5
"""Relative, of variances, standard deviations and σ; in units of σ where lme4 says exactly zero."""
CORRELATION = 1e-5
"""Absolute."""
BLUP = 1e-4
"""In units of the standard deviation of the random effect."""
CLOSED = 1e-8
"""Relative, against a closed form: what is left of the optimiser's eight digits."""
NOISE = {1.5: CLOSED, 10.0: CLOSED, 100.0: CLOSED, 1e3: 1e-7, 1e4: 1e-5}
"""The same when sd/σ is large: the sum of squares within groups is what is left of the total, so twice the digits of
sd/σ cancel."""
BEYOND = 1e-4
"""The same at the end of double precision, for a fit that calls itself converged."""
FACTOR = 1e-6
"""Relative, of anything linear in Λ, between two runs of the optimiser on equivalent data."""
ORACLE = 1e-9
"""Relative, of a density against the dense oracle."""
WALD = 1e-3
"""Relative, of standard errors from two numerical second derivatives."""

# --- lme4 -----------------------------------------------------------------------------------------

LME4 = [
    "sleepstudy_int", "sleepstudy_slope", "sleepstudy_uncorr", "penicillin", "pastes", "dyestuff", "dyestuff2",
    "cake_numeric", "score_int", "score_slope", "rat_pup", "rat_pup_x",
]  # fmt: skip
BOTH = pytest.mark.parametrize("method", ["REML", "ML"])


def fit(formula, data, method="REML"):
    """A fit whose warnings are looked at by their own tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data)
        return model.reml() if method == "REML" else model.ml()


def our_name(name):
    """R's coefficient name as Bambi prints it: ``treatmentHigh:sexMale`` → ``treatment[High]:sex[Male]``."""
    categorical = re.compile(r"^(treatment|sex|recipe)(.+)$")
    return ":".join(categorical.sub(r"\1[\2]", part) for part in name.replace("(Intercept)", "Intercept").split(":"))


def our_group(name):
    """lme4 writes the inner factor of a nesting first, ``cask:batch``, and counts blocks, ``Subject.1``."""
    return {"cask:batch": "batch:cask"}.get(name, re.sub(r"\.\d+$", "", name))


def our_level(group, level):
    """Its levels likewise: ``a:A`` → ``A:a``."""
    return ":".join(level.split(":")[::-1]) if our_group(group) != group else level


def test_names_are_translated():
    assert our_group("cask:batch") == "batch:cask"
    assert our_group("Subject.1") == "Subject"
    assert our_level("cask:batch", "a:A") == "A:a"
    assert (our_group("recipe:replicate"), our_level("recipe:replicate", "A:1")) == ("recipe:replicate", "A:1")
    assert our_name("(Intercept)") == "Intercept"
    assert our_name("treatmentHigh:sexMale") == "treatment[High]:sex[Male]"
    assert our_name("recipeB:temp") == "recipe[B]:temp"
    assert our_name("litsize") == "litsize"


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads(shared("reference/lme4.json").read_text())["lmm"]


@pytest.fixture(scope="module")
def fits(golden, shared):
    """Fits by name and method, each made once."""
    made = {}

    def get(name, method):
        if (name, method) not in made:
            entry = golden[name]
            kinds = dict.fromkeys(entry["categoricals"], str)
            data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=kinds)
            made[name, method] = fit(entry["formula"], data, method), entry[method]
        return made[name, method]

    return get


def lme4_varcorr(expected):
    """(group, term, term2) → (variance or covariance, sd or correlation)."""
    table = {}
    for row in expected["varcorr"]:
        if row["grp"] == "Residual":
            table["Residual", None, None] = row["vcov"], row["sdcor"]
        else:
            second = None if row["var2"] is None else our_name(row["var2"])
            table[our_group(row["grp"]), our_name(row["var1"]), second] = row["vcov"], row["sdcor"]
    return table


def our_varcorr(found):
    table = {}
    for row in found.varcorr.itertuples():
        if row.group == "Residual":
            table["Residual", None, None] = row.vcov, row.sdcor
        else:
            table[row.group, row.term, None if pd.isna(row.term2) else row.term2] = row.vcov, row.sdcor
    return table


@pytest.mark.parametrize("name", LME4)
@BOTH
def test_criterion_is_that_of_lme4(fits, name, method):
    found, expected = fits(name, method)
    assert abs(found.criterion - expected["criterion"]) < CRITERION
    np.testing.assert_allclose(found.loglik, expected["logLik"], atol=CRITERION)
    np.testing.assert_allclose([found.aic, found.bic], [expected["AIC"], expected["BIC"]], atol=CRITERION)
    assert found.n_par == expected["n_par"]
    assert found.nobs == expected["nobs"]
    assert found.ngroups == {our_group(group): count for group, count in expected["ngroups"].items()}
    assert found.converged
    assert found.singular == expected["isSingular"]


@pytest.mark.parametrize("name", LME4)
@BOTH
def test_fixed_effects_are_those_of_lme4(fits, name, method):
    found, expected = fits(name, method)
    fixef = pd.Series({our_name(key): value for key, value in expected["fixef"].items()})
    se = pd.Series({our_name(key): value for key, value in expected["se"].items()})
    assert set(found.fixef.index) == set(fixef.index)
    np.testing.assert_allclose(found.fixef[fixef.index], fixef, rtol=FIXEF)
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov.loc[se.index, se.index])), se, rtol=FIXEF)
    vcov = np.atleast_2d(expected["vcov"]["values"])
    order = [our_name(key) for key in np.atleast_1d(expected["vcov"]["names"])]
    size = np.sqrt(np.outer(np.diag(vcov), np.diag(vcov)))
    np.testing.assert_allclose(found.vcov.loc[order, order] / size, vcov / size, rtol=0, atol=VARIANCE)


@pytest.mark.parametrize("name", LME4)
@BOTH
def test_variances_are_those_of_lme4(fits, name, method):
    found, expected = fits(name, method)
    np.testing.assert_allclose(found.sigma, expected["sigma"], rtol=VARIANCE)
    ours, theirs = our_varcorr(found), lme4_varcorr(expected)
    assert set(ours) == set(theirs)
    for key, (vcov, sdcor) in theirs.items():
        group, term, term2 = key
        if term2 is not None:
            first, second = theirs[group, term, None][1], theirs[group, term2, None][1]
            np.testing.assert_allclose(ours[key][0], vcov, rtol=0, atol=VARIANCE * first * second)
            np.testing.assert_allclose(ours[key][1], sdcor, rtol=0, atol=CORRELATION)
        else:
            atol = VARIANCE * expected["sigma"] if sdcor == 0.0 else 0.0
            np.testing.assert_allclose(ours[key][0], vcov, rtol=VARIANCE, atol=atol * expected["sigma"])
            np.testing.assert_allclose(ours[key][1], sdcor, rtol=VARIANCE, atol=atol)


@pytest.mark.parametrize("name", LME4)
@BOTH
def test_random_effects_are_those_of_lme4(fits, name, method):
    found, expected = fits(name, method)
    variances = lme4_varcorr(expected)
    assert set(found.ranef) == set(found.ranef_sd) == {our_group(group) for group in expected["ranef_first10"]}
    for group, rows in expected["ranef_first10"].items():
        ranef, ranef_sd = found.ranef[our_group(group)], found.ranef_sd[our_group(group)]
        for row in rows:
            level, term = our_level(group, row["level"]), our_name(row["term"])
            sd = variances[our_group(group), term, None][1]
            atol = BLUP * (sd if sd > 0 else expected["sigma"])
            assert ranef.loc[level, term] == pytest.approx(row["blup"], rel=0, abs=atol)
            assert ranef_sd.loc[level, term] == pytest.approx(row["condsd"], rel=0, abs=atol)
    np.testing.assert_allclose(found.fitted[:5], expected["fitted_first5"], rtol=FIXEF)


POLISHED = 1e-8
"""Absolute, of the criterion of crossed and nested factors, where lme4's answer is polished to 1e-12."""
ESTIMATE = 1e-6
"""Relative, of everything estimated there (BLUPs and conditional standard deviations: to the largest of them)."""


@pytest.mark.parametrize("name", ["penicillin", "pastes"])
@BOTH
def test_crossed_and_nested_factors_agree_with_lme4_to_its_last_digits(fits, name, method):
    found, expected = fits(name, method)
    assert abs(found.criterion - expected["criterion"]) < POLISHED
    np.testing.assert_allclose(found.sigma, expected["sigma"], rtol=ESTIMATE)
    np.testing.assert_allclose(found.fixef["Intercept"], expected["fixef"]["(Intercept)"], rtol=ESTIMATE)
    np.testing.assert_allclose(found.vcov.iloc[0, 0], expected["vcov"]["values"][0][0], rtol=ESTIMATE)
    ours, theirs = our_varcorr(found), lme4_varcorr(expected)
    for key, values in theirs.items():
        np.testing.assert_allclose(ours[key], values, rtol=ESTIMATE)
    for group, rows in expected["ranef_first10"].items():
        levels = [our_level(group, row["level"]) for row in rows]
        for ours, key in ((found.ranef, "blup"), (found.ranef_sd, "condsd")):
            values = np.array([row[key] for row in rows])
            part = ours[our_group(group)].loc[levels, "Intercept"]
            np.testing.assert_allclose(part, values, rtol=0, atol=ESTIMATE * np.abs(values).max())
    np.testing.assert_allclose(found.fitted[:5], expected["fitted_first5"], rtol=ESTIMATE)


@pytest.mark.slow
def test_insteval_is_that_of_lme4(shared):
    """73,421 ratings of 1,128 lecturers by 2,972 students, partially crossed (lme4 1.1-31, as MixedModels.jl)."""
    columns = ["s", "d", "y"]
    data = pd.read_csv(shared("datasets/InstEval.csv.gz"), usecols=columns, dtype={"s": str, "d": str})
    found = fit("y ~ 1 + (1 | s) + (1 | d)", data)
    assert found.converged
    assert abs(found.criterion - 237783.880388) < CRITERION


# --- lme4's numbers for the embedded data, with us everywhere -------------------------------------

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
PINNED = {
    # lme4 1.1-31; Bates, Mächler, Bolker & Walker 2015, Journal of Statistical Software 67(1), prints them rounded
    ("sleepstudy", SLEEPSTUDY, "REML"): {
        "criterion": 1743.62827195849, "sigma": 25.5918156259282, "fixef": [251.405104848485, 10.467285959596],
        "se": [6.82455653271132, 1.54578889658004], "sd": [24.7404514678776, 5.92213310511416],
        "corr": 0.0655513194282228,
    },
    ("sleepstudy", SLEEPSTUDY, "ML"): {
        "criterion": 1751.9393444632, "sigma": 25.5918156245228, "fixef": [251.405104848486, 10.4672859595959],
        "se": [6.63227681140451, 1.50223678319452], "sd": [23.7805670220001, 5.71683454679471],
        "corr": 0.0813200696974156,
    },
    ("sleepstudy", "Reaction ~ Days + (Days || Subject)", "REML"): {
        "criterion": 1743.66929358131, "sigma": 25.5652853536977, "sd": [25.0513285231503, 5.98817157088904],
    },
    ("sleepstudy", "Reaction ~ Days + (1 | Subject)", "REML"): {
        "criterion": 1786.46508539492, "sigma": 30.9912339047104, "sd": [37.1238266926464],
    },
    # lme4 1.1-31; Bates, lme4: Mixed-effects modeling with R (2010), chapter 1, prints them rounded
    ("Dyestuff", "Yield ~ 1 + (1 | Batch)", "REML"): {
        "criterion": 319.654276842257, "sigma": 49.5100999791159, "fixef": [1527.5], "se": [19.3834121534187],
        "sd": [42.0005952370605],
    },
    ("Dyestuff", "Yield ~ 1 + (1 | Batch)", "ML"): {
        "criterion": 327.327059881135, "sigma": 49.510099980008, "fixef": [1527.5], "sd": [37.2603453182347],
    },
    ("Dyestuff2", "Yield ~ 1 + (1 | Batch)", "REML"): {
        "criterion": 161.828277812288, "sigma": 3.71568427447573, "fixef": [5.6656], "sd": [0.0],
    },
    ("Dyestuff2", "Yield ~ 1 + (1 | Batch)", "ML"): {
        "criterion": 162.873036653826, "sigma": 3.65323135137465, "fixef": [5.6656], "sd": [0.0],
    },
    ("cake", "angle ~ recipe * temp + (1 | recipe:replicate)", "REML"): {
        "criterion": 1703.26748007549, "sigma": 4.57013414748696, "sd": [6.46280377202177],
        "fixef": [2.37936507936191, -3.6492063492034, -1.94126984126915, 0.153714285714295, 0.0108571428571344,
                  0.00209523809524025],
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "formula", "method"), PINNED, ids=lambda value: str(value))
def test_embedded_data_give_the_published_fits(name, formula, method):
    expected = PINNED[name, formula, method]
    found = fit(formula, hb.load_data(name), method)
    assert abs(found.criterion - expected["criterion"]) < CRITERION
    np.testing.assert_allclose(found.sigma, expected["sigma"], rtol=VARIANCE)
    sd, corr = correlation(found.covariance)
    np.testing.assert_allclose(sd, expected["sd"], rtol=VARIANCE, atol=1e-12)
    if "corr" in expected:
        assert corr[0, 1] == pytest.approx(expected["corr"], abs=CORRELATION)
    if "fixef" in expected:
        np.testing.assert_allclose(found.fixef, expected["fixef"], rtol=FIXEF)
    if "se" in expected:
        np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), expected["se"], rtol=FIXEF)


# --- closed forms ---------------------------------------------------------------------------------


def one_way(data, response, group):
    """Mean squares within and between the groups of a balanced one-way layout."""
    grouped = data.groupby(group)[response]
    a, n = grouped.ngroups, int(grouped.size().iloc[0])
    within = ((data[response] - grouped.transform("mean")) ** 2).sum() / (a * (n - 1))
    return a, n, within, n * grouped.mean().var()


def balanced(seed, ratio=1.0, a=8, n=6):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(a), n)
    y = 5.0 + ratio * rng.standard_normal(a)[g] + rng.standard_normal(a * n)
    return pd.DataFrame({"y": y, "g": [f"g{k}" for k in g], "x": rng.standard_normal(a * n)})


def assert_anova(data, response, group, tolerance):
    a, n, within, between = one_way(data, response, group)
    reml = fit(f"{response} ~ 1 + (1 | {group})", data, "REML")
    ml = fit(f"{response} ~ 1 + (1 | {group})", data, "ML")
    assert reml.converged
    assert ml.converged
    for found, between_ in ((reml, between), (ml, (1.0 - 1.0 / a) * between)):
        assert between_ > within  # the optimum is inside
        np.testing.assert_allclose(found.sigma**2, within, rtol=tolerance)
        np.testing.assert_allclose(found.covariance[0, 0], (between_ - within) / n, rtol=tolerance)
        np.testing.assert_allclose(found.fixef["Intercept"], data[response].mean(), rtol=tolerance)
        np.testing.assert_allclose(found.vcov.iloc[0, 0], between_ / (a * n), rtol=tolerance)


def test_balanced_one_way_reml_is_the_analysis_of_variance():
    """σ² = MSE, σ_b² = (MSB - MSE)/n; for ML with (1 - 1/a) MSB (Searle, Casella & McCulloch 1992, chapter 3)."""
    assert_anova(hb.load_data("Dyestuff"), "Yield", "Batch", CLOSED)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", NOISE, ids=lambda ratio: f"{ratio:g}")
def test_separated_group_means_converge(seed, ratio):
    assert_anova(balanced(seed, ratio), "y", "g", NOISE[ratio])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", [1e5, 1e6, 1e7, 1e8])
def test_a_fit_that_says_converged_is_right(seed, ratio):
    """Where double precision ends, a fit may be wrong, but then it says so."""
    data = balanced(seed, ratio)
    _, n, within, between = one_way(data, "y", "g")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hb.Model("y ~ 1 + (1 | g)", data).reml()
    assert found.converged == (not caught)
    if found.converged:
        np.testing.assert_allclose(found.sigma**2, within, rtol=BEYOND)
        np.testing.assert_allclose(found.covariance[0, 0], (between - within) / n, rtol=BEYOND)


def per_group(noise):
    """Every group lies on a line of its own, but for some noise."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(8), 6)
    x = rng.standard_normal(48)
    y = rng.standard_normal(8)[g] + rng.standard_normal(8)[g] * x + noise * rng.standard_normal(48)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g]})


@BOTH
@pytest.mark.parametrize("noise", [0.0, 1e-10])
@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)"])
def test_a_response_without_residual_does_not_pass_for_a_fit(formula, noise, method):
    """The likelihood is unbounded as σ goes to 0: a warning, and a table all the same."""
    model = hb.Model(formula, per_group(noise))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = model.reml() if method == "REML" else model.ml()
        assert len(found.tidy()) == 5 + ("||" not in formula)
    assert hb.ConvergenceWarning in [warning.category for warning in caught]
    assert str(caught[0].message).startswith(f"The {method} fit has not converged: largest gradient ")


def test_no_variance_between_groups_is_least_squares():
    """Group means that are too much alike: REML is on the boundary, where the model is a regression."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(6), 8)
    noise = rng.standard_normal(48)
    noise -= pd.Series(noise).groupby(g).transform("mean").to_numpy()
    x = rng.standard_normal(48)
    data = pd.DataFrame({"y": 1.0 + 2.0 * x + noise, "x": x, "g": [f"g{k}" for k in g]})
    with pytest.warns(hb.SingularFit, match=r"random effects of 'g' has no variance"):
        found = hb.Model("y ~ x + (1 | g)", data).reml()
    X = np.column_stack([np.ones(48), x])
    beta, rss, *_ = np.linalg.lstsq(X, data["y"], rcond=None)
    sigma2 = rss[0] / 46
    assert found.singular
    assert found.converged
    assert found.covariance[0, 0] == 0.0
    np.testing.assert_allclose(found.fixef, beta, rtol=CLOSED)
    np.testing.assert_allclose(found.sigma**2, sigma2, rtol=CLOSED)
    np.testing.assert_allclose(found.vcov, sigma2 * np.linalg.inv(X.T @ X), rtol=CLOSED)
    np.testing.assert_array_equal(found.ranef["g"].to_numpy(), 0.0)
    np.testing.assert_array_equal(found.ranef_sd["g"].to_numpy(), 0.0)
    np.testing.assert_allclose(found.residuals, data["y"] - X @ beta, rtol=0, atol=CLOSED)


# --- the dense oracle -----------------------------------------------------------------------------


def oracle_at(design, x, method):
    """Log likelihood of a model with two correlated effects at (log sd, log sd, atanh ρ, log σ)."""
    r = np.tanh(x[2])
    Sigma = covariance_of(np.exp(x[:2]), np.array([[1.0, r], [r, 1.0]]))
    return oracle_loglik(design, Sigma, np.exp(x[3]), method)


def slopes(seed, sizes=(5, 3, 8, 1, 6, 4, 2, 7), sd=(1.0, 0.8), rho=0.4, sigma=0.7):
    """A small unbalanced data set with random intercepts and slopes."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.uniform(-1.0, 2.0, len(g))
    C = np.array([[sd[0], 0.0], [rho * sd[1], np.sqrt(1 - rho**2) * sd[1]]])
    b = (rng.standard_normal((len(sizes), 2)) @ C.T)[g]
    z = rng.standard_normal(len(g))
    y = 2.0 - x + 0.5 * z + b[:, 0] + b[:, 1] * x + sigma * rng.standard_normal(len(g))
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{k}" for k in g]})


@BOTH
def test_the_estimate_maximises_the_oracle(method):
    """Nelder-Mead on the dense likelihood, which knows no gradient and no profile, finds the same point."""
    found = fit("y ~ x + z + (x | g)", slopes(0), method)
    assert not found.singular
    sd, corr = correlation(found.covariance)
    x = np.array([*np.log(sd), np.arctanh(corr[0, 1]), np.log(found.sigma)])
    np.testing.assert_allclose(oracle_at(found.design, x, method), found.loglik, rtol=ORACLE)
    start = np.array([0.0, 0.0, 0.0, 0.0])
    searched = minimize(
        lambda at: -oracle_at(found.design, at, method),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 4000, "maxfev": 4000},
    )
    assert searched.success
    np.testing.assert_allclose(-searched.fun, found.loglik, rtol=ORACLE)
    np.testing.assert_allclose(searched.x, x, atol=1e-4)  # a simplex knows the argument to the root of its tolerance


@BOTH
def test_no_fixed_effect_is_the_plain_likelihood(method):
    """With nothing to integrate, REML and ML are the same."""
    found = fit("y ~ 0 + (1 | g)", slopes(1), method)
    V = response_covariance(dense(found.design), found.covariance, found.sigma)
    np.testing.assert_allclose(log_normal(found.design.y, np.zeros(found.nobs), V), found.loglik, rtol=ORACLE)
    assert found.fixef.empty
    assert found.tidy()["term"].tolist() == ["sd(Intercept)", "sigma"]


@BOTH
@pytest.mark.parametrize(
    "formula",
    ["y ~ x + z + (x | g)", "y ~ x + z + (x || g)", "y ~ 1 + (1 | g)", "y ~ x + (0 + x | g)", "y ~ 0 + x + (1 | g)"],
)
def test_estimates_are_generalised_least_squares_at_the_estimated_variances(formula, method):
    found = fit(formula, slopes(1), method)
    data = dense(found.design)
    V = response_covariance(data, found.covariance, found.sigma)
    beta, cov = gls(data.y, data.X, V)
    np.testing.assert_allclose(found.fixef, beta, rtol=ORACLE)
    np.testing.assert_allclose(found.vcov, cov, rtol=0, atol=ORACLE * np.abs(cov).max())
    np.testing.assert_allclose(
        oracle_loglik(found.design, found.covariance, found.sigma, method), found.loglik, rtol=ORACLE
    )
    blup, spread = conditional_effects(data, found.covariance, found.sigma, beta)
    spread = np.diag(spread)
    slots = data.slots(0)
    np.testing.assert_allclose(found.ranef["g"], blup[slots], rtol=0, atol=ORACLE * np.abs(blup).max())
    np.testing.assert_allclose(found.ranef_sd["g"] ** 2, spread[slots], rtol=0, atol=ORACLE * spread.max())
    np.testing.assert_allclose(
        found.fitted, data.X @ beta + data.Z @ blup, rtol=0, atol=ORACLE * np.abs(data.y).max()
    )


def test_three_correlated_effects_are_at_a_maximum_of_the_oracle():
    """No step along any of the seven parameters raises the dense likelihood."""
    rng = np.random.default_rng(5)
    data = slopes(3, sizes=(9, 7, 8, 10, 6, 9, 7, 8, 12, 5))
    data["y"] += data["z"] * rng.standard_normal(10)[data["g"].str[1:].astype(int)]
    found = fit("y ~ x + z + (x + z | g)", data)
    assert not found.singular
    L = np.linalg.cholesky(found.covariance)
    best = oracle_loglik(found.design, found.covariance, found.sigma, "REML")
    np.testing.assert_allclose(best, found.loglik, rtol=ORACLE)
    for i, j in zip(*np.tril_indices(3), strict=True):
        for step in (-1e-3, 1e-3):
            moved = L.copy()
            moved[i, j] += step
            assert oracle_loglik(found.design, moved @ moved.T, found.sigma, "REML") < best
    for factor in (0.999, 1.001):
        assert oracle_loglik(found.design, found.covariance, factor * found.sigma, "REML") < best


ONE_LINE = "y ~ x + z + (x | g)"


def no_slopes():
    """Groups that differ in their intercepts only; the estimated correlation is 1."""
    return slopes(0, sd=(1.0, 1e-6))


@BOTH
def test_singular_fits_are_maxima_too(method):
    """On the boundary no direction into the inside raises the dense likelihood."""
    model = hb.Model(ONE_LINE, no_slopes())
    with pytest.warns(hb.SingularFit, match=rf"^The {method} fit of .* is singular: .* random effects of 'g' has no"):
        found = model.reml() if method == "REML" else model.ml()
    assert found.singular
    assert found.converged
    assert correlation(found.covariance)[1][0, 1] == pytest.approx(1.0, abs=CORRELATION)
    best = oracle_loglik(found.design, found.covariance, found.sigma, method)
    np.testing.assert_allclose(best, found.loglik, rtol=ORACLE)
    for direction in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]):
        inside = found.covariance + 1e-4 * np.outer(direction, direction)
        assert oracle_loglik(found.design, inside, found.sigma, method) < best


# --- invariances ----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e3, 1e8])
def test_the_unit_of_the_response_scales_everything_but_theta(method, scale):
    data = slopes(4)
    one, other = (
        fit("y ~ x + z + (x | g)", data, method),
        fit("y ~ x + z + (x | g)", data.assign(y=scale * data["y"]), method),
    )
    dof = one.nobs - (len(one.fixef) if method == "REML" else 0)
    np.testing.assert_allclose(other.criterion, one.criterion + 2.0 * dof * np.log(scale), rtol=ORACLE)
    np.testing.assert_allclose(other.fixef, scale * one.fixef, rtol=FACTOR)
    np.testing.assert_allclose(other.sigma, scale * one.sigma, rtol=FACTOR)
    np.testing.assert_allclose(other.covariance, scale**2 * one.covariance, rtol=FACTOR)
    np.testing.assert_allclose(other.optimum.relative, one.optimum.relative, rtol=0, atol=FACTOR)
    np.testing.assert_allclose(other.ranef["g"], scale * one.ranef["g"], rtol=0, atol=scale * FACTOR)


@BOTH
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_a_predictor(method, scale):
    """A change x → c x divides slopes by c; REML changes by the log determinant of the change, ML not at all."""
    data = slopes(4)
    one = fit("y ~ x + z + (x | g)", data, method)
    other = fit("y ~ x + z + (x | g)", data.assign(x=scale * data["x"]), method)
    jacobian = 2.0 * np.log(scale) if method == "REML" else 0.0
    np.testing.assert_allclose(other.criterion, one.criterion + jacobian, rtol=ORACLE)
    np.testing.assert_allclose(other.fixef * [1.0, scale, 1.0], one.fixef, rtol=FACTOR)
    units = np.diag([1.0, scale])
    np.testing.assert_allclose(units @ other.covariance @ units, one.covariance, rtol=FACTOR)


@BOTH
@pytest.mark.parametrize("shift", [10.0, -2000.0])
def test_the_origin_of_a_predictor(method, shift):
    """A change x → x - m moves the intercept to x = m, for the fixed and for the random effects alike."""
    data = slopes(4)
    one = fit("y ~ x + z + (x | g)", data, method)
    other = fit("y ~ x + z + (x | g)", data.assign(x=data["x"] - shift), method)
    np.testing.assert_allclose(other.criterion, one.criterion, rtol=ORACLE)
    T = np.array([[1.0, shift], [0.0, 1.0]])
    back = np.linalg.inv(T)
    np.testing.assert_allclose(back @ other.fixef[["Intercept", "x"]], one.fixef[["Intercept", "x"]], rtol=FACTOR)
    np.testing.assert_allclose(other.sigma, one.sigma, rtol=FACTOR)
    np.testing.assert_allclose(T @ one.covariance @ T.T, other.covariance, rtol=FACTOR)
    np.testing.assert_allclose(other.fitted, one.fitted, rtol=0, atol=FACTOR)


@BOTH
def test_a_year_gives_the_fit_of_the_centred_year(method):
    rng = np.random.default_rng(6)
    year = np.tile(np.arange(2000, 2011), 15)
    g = np.repeat(np.arange(15), 11)
    time = year - 2005
    y = (
        3
        + 0.2 * time
        + rng.standard_normal(15)[g]
        + 0.1 * rng.standard_normal(15)[g] * time
        + 0.5 * rng.standard_normal(165)
    )
    data = pd.DataFrame({"y": y, "year": year, "time": time, "g": [f"g{k}" for k in g]})
    raw, moved = fit("y ~ year + (year | g)", data, method), fit("y ~ time + (time | g)", data, method)
    assert raw.converged
    assert not raw.singular
    np.testing.assert_allclose(raw.criterion, moved.criterion, rtol=ORACLE)
    np.testing.assert_allclose(raw.fixef["year"], moved.fixef["time"], rtol=FACTOR)
    np.testing.assert_allclose(
        raw.fixef["Intercept"] + 2005 * raw.fixef["year"], moved.fixef["Intercept"], rtol=FACTOR
    )
    np.testing.assert_allclose(raw.vcov.loc["year", "year"], moved.vcov.loc["time", "time"], rtol=FACTOR)
    np.testing.assert_allclose(raw.covariance[1, 1], moved.covariance[1, 1], rtol=FACTOR)
    np.testing.assert_allclose(raw.sigma, moved.sigma, rtol=FACTOR)
    np.testing.assert_allclose(raw.ranef["g"]["year"], moved.ranef["g"]["time"], rtol=0, atol=FACTOR)
    np.testing.assert_allclose(raw.fitted, moved.fitted, rtol=FACTOR)
    # an intercept at the year 0 is an extrapolation: its variance is that of 2005 slopes
    T = np.array([[1.0, -2005.0], [0.0, 1.0]])
    np.testing.assert_allclose(raw.covariance, T @ moved.covariance @ T.T, rtol=FACTOR)


@BOTH
def test_rows_may_come_in_any_order(method, sleepstudy):
    one = fit(SLEEPSTUDY, sleepstudy, method)
    shuffled = sleepstudy.sample(frac=1.0, random_state=0)
    other = fit(SLEEPSTUDY, shuffled, method)
    np.testing.assert_allclose(other.criterion, one.criterion, rtol=ORACLE)
    np.testing.assert_allclose(other.fixef, one.fixef, rtol=FACTOR)
    np.testing.assert_allclose(other.covariance, one.covariance, rtol=FACTOR)
    pd.testing.assert_frame_equal(other.ranef["Subject"], one.ranef["Subject"], rtol=FACTOR, atol=FACTOR)


def test_levels_may_have_any_name(sleepstudy):
    one = fit(SLEEPSTUDY, sleepstudy)
    levels = sorted(sleepstudy["Subject"].unique())
    new = dict(zip(levels, np.random.default_rng(1).permutation([f"s{k:02}" for k in range(18)]), strict=True))
    other = fit(SLEEPSTUDY, sleepstudy.assign(Subject=sleepstudy["Subject"].map(new)))
    np.testing.assert_allclose(other.criterion, one.criterion, rtol=ORACLE)
    renamed = one.ranef["Subject"].rename(index=new).sort_index()
    pd.testing.assert_frame_equal(other.ranef["Subject"], renamed, rtol=FACTOR, atol=FACTOR, check_index_type=False)


@BOTH
def test_two_bars_are_two_blocks(method, sleepstudy):
    double = fit("Reaction ~ Days + (Days || Subject)", sleepstudy, method)
    apart = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", sleepstudy, method)
    np.testing.assert_allclose(apart.criterion, double.criterion, rtol=ORACLE)
    np.testing.assert_allclose(apart.covariance, double.covariance, rtol=FACTOR)
    assert double.covariance[0, 1] == apart.covariance[0, 1] == 0.0
    pd.testing.assert_frame_equal(apart.ranef["Subject"], double.ranef["Subject"], rtol=FACTOR, atol=FACTOR)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(1, 7), min_size=4, max_size=8).filter(lambda sizes: sum(sizes) >= 14),
    order=st.randoms(use_true_random=False),
    scale=st.floats(1e-6, 1e6),
    formula=st.sampled_from(["y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (x || g)"]),
)
def test_order_and_units_never_matter(seed, sizes, order, scale, formula):
    """For any small data set: the criterion knows neither the order of the rows nor the unit of the response."""
    data = slopes(seed, sizes=tuple(sizes))
    rows = list(range(len(data)))
    order.shuffle(rows)
    for method, dof in (("REML", len(data) - 2), ("ML", len(data))):
        one = fit(formula, data, method)
        other = fit(formula, data.iloc[rows].assign(y=scale * data["y"].iloc[rows]), method)
        np.testing.assert_allclose(other.criterion - 2.0 * dof * np.log(scale), one.criterion, rtol=0, atol=CRITERION)
        assert one.singular == other.singular


# --- the table ------------------------------------------------------------------------------------


def second_derivatives(function, x, h=0.01):
    """Hessian by central differences of values: good to h², about 1e-4."""
    H = np.empty((len(x), len(x)))
    steps = h * np.eye(len(x))
    for i, a in enumerate(steps):
        for j, b in enumerate(steps[: i + 1]):
            change = function(x + a + b) - function(x + a - b) - function(x - a + b) + function(x - a - b)
            H[i, j] = H[j, i] = change / (4.0 * h * h)
    return H


@BOTH
def test_wald_intervals_are_the_curvature_of_the_oracle(method, sleepstudy):
    """Standard errors of log sd, atanh ρ and log σ from second differences of the dense likelihood."""
    found = fit(SLEEPSTUDY, sleepstudy, method)
    sd, corr = correlation(found.covariance)
    x = np.array([*np.log(sd), np.arctanh(corr[0, 1]), np.log(found.sigma)])
    H = second_derivatives(lambda at: oracle_at(found.design, at, method), x)
    errors = np.sqrt(np.diag(np.linalg.inv(-H)))
    table = found.tidy(conf_level=0.9).iloc[2:]
    assert table["term"].tolist() == ["sd(Intercept)", "sd(Days)", "corr(Intercept, Days)", "sigma"]
    slope = np.array([*sd, 1.0 - corr[0, 1] ** 2, found.sigma])  # the delta method, back to the scale of the table
    np.testing.assert_allclose(table["std_error"], errors * slope, rtol=WALD)
    z = norm.ppf(0.95)
    for end, sign in (("conf_low", -1.0), ("conf_high", 1.0)):
        moved = x + sign * z * errors
        np.testing.assert_allclose(table[end], [*np.exp(moved[:2]), np.tanh(moved[2]), np.exp(moved[3])], rtol=WALD)


def test_tidy_has_a_row_for_everything(sleepstudy):
    found = fit(SLEEPSTUDY, sleepstudy)
    table = found.tidy()
    assert table.columns.tolist() == [
        "effect", "group", "term", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high",
    ]  # fmt: skip
    assert table["effect"].tolist() == ["fixed"] * 2 + ["ran_pars"] * 4
    assert table["group"].isna().tolist() == [True, True, False, False, False, False]
    assert table["group"].dropna().tolist() == ["Subject"] * 3 + ["Residual"]
    fixed = table.iloc[:2]
    se = np.sqrt(np.diag(found.vcov))
    z = fixed["estimate"] / se
    np.testing.assert_allclose(fixed["estimate"], found.fixef, rtol=1e-15)
    np.testing.assert_allclose(fixed["std_error"], se, rtol=1e-12)
    np.testing.assert_allclose(fixed["statistic"], z, rtol=1e-12)
    assert (fixed["df"] < 18.0).all()
    as_known = found.tidy(df="z").iloc[:2]
    np.testing.assert_allclose(as_known["std_error"], se, rtol=1e-12)
    assert np.isinf(as_known["df"]).all()
    np.testing.assert_allclose(as_known["p_value"], 2.0 * norm.sf(np.abs(z)), rtol=1e-11)
    np.testing.assert_allclose(as_known["conf_low"], found.fixef - norm.ppf(0.975) * se, rtol=1e-12)
    np.testing.assert_allclose(as_known["conf_high"], found.fixef + norm.ppf(0.975) * se, rtol=1e-12)
    pd.testing.assert_frame_equal(table.iloc[2:], found.tidy(df="kenward-roger").iloc[2:])
    sd, corr = correlation(found.covariance)
    np.testing.assert_allclose(table["estimate"].iloc[2:], [*sd, corr[0, 1], found.sigma], rtol=1e-12)
    assert table.iloc[2:][["statistic", "df", "p_value"]].isna().all(axis=None)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.1])
def test_a_level_is_a_probability(level, sleepstudy):
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit("Reaction ~ Days + (1 | Subject)", sleepstudy).tidy(conf_level=level)


def test_three_correlations_have_their_own_standard_errors():
    """With q = 3 the table shows correlations, the sampler partial ones: the two scales must not be mixed up."""
    rng = np.random.default_rng(5)
    data = slopes(3, sizes=(9, 7, 8, 10, 6, 9, 7, 8, 12, 5))
    data["y"] += data["z"] * rng.standard_normal(10)[data["g"].str[1:].astype(int)]
    found = fit("y ~ x + z + (x + z | g)", data)
    sd, corr = correlation(found.covariance)
    pairs = [(1, 0), (2, 0), (2, 1)]
    x = np.array([*np.log(sd), *[np.arctanh(corr[pair]) for pair in pairs], np.log(found.sigma)])

    def loglik(at):
        R = np.eye(3)
        for pair, value in zip(pairs, np.tanh(at[3:6]), strict=True):
            R[pair] = R[pair[::-1]] = value
        return oracle_loglik(found.design, covariance_of(np.exp(at[:3]), R), np.exp(at[6]), "REML")

    errors = np.sqrt(np.diag(np.linalg.inv(-second_derivatives(loglik, x))))
    slope = np.array([*sd, *[1.0 - corr[pair] ** 2 for pair in pairs], found.sigma])
    table = found.tidy().iloc[3:]
    assert table["term"].tolist()[3:6] == ["corr(Intercept, x)", "corr(Intercept, z)", "corr(x, z)"]
    np.testing.assert_allclose(table["std_error"], errors * slope, rtol=WALD)


@BOTH
def test_a_singular_fit_has_no_standard_errors_of_variances(method):
    for formula, data in (("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2")), (ONE_LINE, no_slopes())):
        found = fit(formula, data, method)
        assert found.singular
        table = found.tidy()
        variances = table[table["effect"] == "ran_pars"]
        assert variances[["std_error", "conf_low", "conf_high"]].isna().all(axis=None)
        assert np.isfinite(variances["estimate"]).all()
        fixed = table[table["effect"] == "fixed"]
        assert np.isfinite(fixed[["std_error", "conf_low", "conf_high"]]).all(axis=None)


def test_what_a_fit_prints(sleepstudy):
    text = repr(fit(SLEEPSTUDY, sleepstudy))
    for part in ("REML fit of Reaction ~ Days + (Days | Subject)", "1743.6283", "180 rows", "18 levels", "sd(Days)"):
        assert part in text
