"""Likelihood-ratio tests: against lme4, the mixture at the boundary, and refusals that say why."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import hierbayes as hb
from hierbayes.inference.boundary import boundary_p_value
from hierbayes.inference.simulation import simulate
from hierbayes.refits import Refitter

CRITERION = 1e-6
"""Absolute, of differences of -2 log likelihood against lme4."""
P_VALUE = 1e-6
"""Relative."""
COMPARED = [
    "sleepstudy_int vs sleepstudy_uncorr",
    "sleepstudy_uncorr vs sleepstudy_slope",
    "sleepstudy_int vs sleepstudy_slope",
    "score_int vs score_slope",
    "rat_pup vs rat_pup_x",
]


def fitted(formula, data, method="reml", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        return getattr(hb.Model(formula, data, **options), method)()


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads(shared("reference/lme4.json").read_text())


@pytest.mark.parametrize("pair", COMPARED)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_statistics_are_those_of_lme4(golden, shared, pair, method):
    expected = golden["comparisons"][pair][f"{method}_LRT"]
    names = pair.split(" vs ")
    fits = []
    for name in names:
        entry = golden["lmm"][name]
        data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=dict.fromkeys(entry["categoricals"], str))
        fits.append(fitted(entry["formula"], data, method.lower()))
    table = hb.lrt(*fits)
    if expected is None:
        # different fixed effects: lme4 has no REML test, and neither have we
        assert table["method"].tolist() == ["ML", "ML"]
        assert "by ML, because restricted likelihoods with different fixed effects" in table["note"][0]
        expected = golden["comparisons"][pair]["ML_LRT"]
    else:
        assert table["method"].tolist() == [method, method]
    np.testing.assert_allclose(table["chisq"][1], expected["chisq"], atol=CRITERION)
    assert table["df"][1] == expected["df"]
    np.testing.assert_allclose(table["p_naive"][1], expected["p"], rtol=P_VALUE)
    for k, name in enumerate(names):
        for criterion in ("AIC", "BIC"):
            if criterion in expected:
                np.testing.assert_allclose(table[criterion][k], expected[criterion][name], atol=CRITERION)


def test_weights_at_the_boundary():
    """Self & Liang 1987, cases 5 and 6: the 5% points of ½χ²(0)+½χ²(1) and ½χ²(1)+½χ²(2) are 2.71 and 5.14."""
    for x, df, point in ((2.7055, 1, 0.05), (5.1387, 2, 0.05), (7.0450, 3, 0.05)):
        np.testing.assert_allclose(boundary_p_value(x, df, 1)[0], point, atol=1e-5)
    assert boundary_p_value(0.0, 1, 1)[0] == 1.0
    assert boundary_p_value(3.0, 2, 0) == (chi2.sf(3.0, 2), "χ²(2)")
    p_value, note = boundary_p_value(3.0, 5, 2)
    assert p_value == chi2.sf(3.0, 5)
    assert "upper bound" in note


def test_the_mixture_holds_in_simulation():
    """Of 1500 responses without a slope variance, 5% are beyond the 5% point, and half of them at zero."""
    rng = np.random.default_rng(1)
    J, each, n = 100, 5, 1500
    g, x = np.repeat(np.arange(J), each), np.tile(np.linspace(-1, 1, each), J)
    data = pd.DataFrame({"y": rng.normal(size=J)[g] + rng.normal(size=J * each), "x": x, "g": g})
    smaller, larger = fitted("y ~ x + (1 | g)", data), fitted("y ~ x + (x || g)", data)
    Y = simulate(smaller, n, seed=2)
    one, two = (Refitter(fit.design, fit.moments).all(Y, "REML") for fit in (smaller, larger))
    found = (one.criterion - two.criterion).to_numpy()
    assert abs((found > 2.7055).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n)
    assert abs((found < 1e-6).mean() - 0.5) < 4 * np.sqrt(0.25 / n)


def test_several_models_and_a_simulated_null(sleepstudy):
    fits = [
        fitted(formula, sleepstudy)
        for formula in (
            "Reaction ~ Days + (1 | Subject)",
            "Reaction ~ Days + (Days || Subject)",
            "Reaction ~ Days + (Days | Subject)",
        )
    ]
    table = hb.lrt(*fits)
    assert table["df"].tolist()[1:] == [1, 1]
    assert table["note"].tolist() == ["", "one variance on the boundary: ½ χ²(0) + ½ χ²(1)", "χ²(1)"]
    np.testing.assert_allclose(table["p_value"][1], 0.5 * table["p_naive"][1], rtol=1e-12)
    n = 400
    simulated = hb.lrt(*fits[1:], simulate=n, seed=1, progress=False)
    p = simulated["p_naive"][1]
    assert abs(simulated["p_value"][1] - p) < 4 * np.sqrt(p * (1 - p) / n) + 1 / n
    assert "400 responses, seed 1" in simulated["note"][1]
    pd.testing.assert_frame_equal(simulated, hb.lrt(*fits[1:], simulate=n, seed=1, progress=False))
    strong = hb.lrt(*fits[:2], simulate=19, seed=1, progress=False)
    assert strong["p_value"][1] == 1 / 20


def test_models_stand_for_their_reml_fits(sleepstudy):
    models = [hb.Model(f"Reaction ~ Days + ({x} | Subject)", sleepstudy) for x in ("1", "Days")]
    pd.testing.assert_frame_equal(hb.lrt(*models), hb.lrt(*(model.reml() for model in models)))


def test_reml_and_ml_together_become_ml(sleepstudy):
    small, large = (hb.Model(f"Reaction ~ Days + ({x} | Subject)", sleepstudy) for x in ("1", "Days"))
    table = hb.lrt(small.ml(), large.reml())
    assert table["method"].tolist() == ["ML", "ML"]
    assert "some are by REML and some by ML" in table["note"][0]
    np.testing.assert_allclose(table["chisq"][1], small.ml().criterion - large.ml().criterion, atol=CRITERION)


def test_another_coding_of_the_same_fixed_effects_is_compared_by_ml(sleepstudy):
    data = sleepstudy.assign(late=sleepstudy["Days"] - 5)
    small = fitted("Reaction ~ Days + (1 | Subject)", data)
    large = fitted("Reaction ~ late + (late | Subject)", data)
    table = hb.lrt(small, large)
    assert table["method"].tolist() == ["ML", "ML"]
    # moving the origin changes neither likelihood
    same = hb.lrt(
        fitted("Reaction ~ Days + (1 | Subject)", data, "ml"),
        fitted("Reaction ~ Days + (Days | Subject)", data, "ml"),
    )
    np.testing.assert_allclose(table["chisq"][1], same["chisq"][1], atol=CRITERION)


def some_data():
    rng = np.random.default_rng(6)
    n, J = 120, 20
    g = np.repeat(np.arange(J), n // J)
    data = pd.DataFrame(
        {"x": rng.normal(size=n), "v": rng.normal(size=n), "g": g, "h": g // 4, "w": rng.uniform(0.5, 2, n)}
    )
    data["time"] = np.tile(np.arange(n // J), J)
    data["y"] = rng.normal(size=J)[g] * (1 + data["x"]) + rng.normal(size=5)[data["h"]] + rng.normal(size=n)
    return data


NESTED = [
    ("y ~ x + (1 | g)", "y ~ x + (1 | h/g)", 1, "one variance"),
    ("y ~ x + (1 | h:g)", "y ~ x + (1 | h/g)", 1, "one variance"),
    ("y ~ x + (1 | g) + (0 + x | g)", "y ~ x + (x | g)", 1, "χ²(1)"),
    ("y ~ x + (1 | g)", "y ~ x + v + (x | g)", 3, "½ χ²(2) + ½ χ²(3)"),
    ("y ~ x + (0 + x | g)", "y ~ x + (x | g)", 2, "½ χ²(1) + ½ χ²(2)"),
    ("y ~ x + (1 | g)", "y ~ x + (x + v | g)", 5, "2 variances on the boundary"),
    ("y ~ 1 + (1 | g)", "y ~ x + (1 | g)", 1, "χ²(1)"),
]


@pytest.mark.parametrize(("small", "large", "df", "said"), NESTED)
def test_what_is_nested_and_how_many_variances_it_adds(small, large, df, said):
    data = some_data()
    table = hb.lrt(fitted(small, data, "ml"), fitted(large, data, "ml"))
    assert table["df"][1] == df
    assert said in table["note"][1]


NOT_NESTED = [
    ("y ~ v + (1 | g)", "y ~ x + (x | g)", "no fixed effect 'v'"),
    ("y ~ x + (1 | g)", "y ~ x + v + (1 | h)", "no random effects of 'g'"),
    ("y ~ x + (x | g)", "y ~ x + v + (x || g)", r"no random effects of 'g' that can become \(Intercept, x\)"),
    ("y ~ x + (0 + v | g)", "y ~ x + (x | g)", r"that can become \(v\)"),
]


@pytest.mark.parametrize(("small", "large", "said"), NOT_NESTED)
def test_what_is_not_nested_is_refused(small, large, said):
    data = some_data()
    with pytest.raises(hb.FormulaError, match=said):
        hb.lrt(fitted(small, data), fitted(large, data))


def test_the_order_of_the_models_matters():
    data = some_data()
    with pytest.raises(hb.FormulaError, match="is not a special case"):
        hb.lrt(fitted("y ~ x + (x | g)", data), fitted("y ~ x + (1 | g)", data))
    with pytest.raises(hb.HierbayesError, match="no further parameter"):
        hb.lrt(fitted("y ~ x + (1 | g)", data), fitted("y ~ x + (1 | g)", data))
    with pytest.raises(ValueError, match="two or more"):
        hb.lrt(fitted("y ~ x + (1 | g)", data))
    with pytest.raises(TypeError, match="not a Series"):
        hb.lrt(fitted("y ~ x + (1 | g)", data), data["y"])


def test_residual_correlation_is_a_regular_parameter():
    data = some_data()
    plain = fitted("y ~ x + (1 | g)", data)
    ar1 = fitted("y ~ x + (1 | g)", data, residual="ar1(time | g)")
    table = hb.lrt(plain, ar1)
    assert (table["df"][1], table["note"][1]) == (1, "χ²(1)")
    assert table["model"][1] == "y ~ x + (1 | g), residual ar1(time | g)"
    with pytest.raises(hb.FormulaError, match="no residual correlation 'ar1"):
        hb.lrt(ar1, fitted("y ~ x + (x | g)", data))
    with pytest.raises(hb.FormulaError, match="no residual correlation 'ar1"):
        hb.lrt(
            ar1,
            fitted("y ~ x + (x | g)", data.assign(time=data["time"] * (1 + data["time"])), residual="ar1(time | g)"),
        )


def test_other_data_are_refused():
    data = some_data()
    small = fitted("y ~ x + (1 | g)", data)
    with pytest.raises(hb.DataError, match=r"uses 120 rows and .* 119"):
        hb.lrt(small, fitted("y ~ x + (x | g)", data.iloc[1:]))
    with pytest.raises(hb.DataError, match="same response"):
        hb.lrt(small, fitted("y ~ x + (x | g)", data.assign(y=data["y"] + 1)))
    with pytest.raises(hb.DataError, match="same weights"):
        hb.lrt(small, fitted("y ~ x + (x | g)", data, weights="w"))
    with pytest.raises(hb.DataError, match="same offset"):
        hb.lrt(small, fitted("y ~ x + offset(w) + (x | g)", data))


def test_a_refit_can_be_forbidden():
    data = some_data()
    small, large = fitted("y ~ 1 + (1 | g)", data), fitted("y ~ x + (1 | g)", data)
    with pytest.raises(hb.HierbayesError, match="different fixed effects cannot be compared; refit them by ML"):
        hb.lrt(small, large, refit=False)


def test_a_singular_smaller_model_is_said():
    data = hb.load_data("Dyestuff2").assign(x=lambda d: np.arange(len(d)) % 5)
    small, large = fitted("Yield ~ 1 + (1 | Batch)", data, "ml"), fitted("Yield ~ x + (1 | Batch)", data, "ml")
    assert "the smaller fit is singular" in hb.lrt(small, large)["note"][1]


def test_a_variance_of_zero_has_a_p_value_of_one_whatever_the_rounding(sleepstudy):
    """The rounding of two criteria has either sign; it must not decide between 1 and a half."""
    J, each = 18, 10
    found = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        e = rng.normal(size=(J, each))
        noise = (e - e.mean(axis=1, keepdims=True)).ravel()  # no variance of the intercept
        data = sleepstudy.assign(v=noise + rng.normal(size=J).repeat(each), half=np.tile([0, 1], J * each // 2))
        small, large = (fitted(f"v ~ 1 + ({x})", data) for x in ("1 | Subject", "half || Subject"))
        if large.covariance[1, 1] == 0.0:
            found.add(hb.lrt(small, large)["p_value"][1])
    assert found == {1.0}


# --- every random effect against the model without it ---------------------------------------------


def regression_criterion(design, restricted):
    """-2 log (restricted) likelihood of a regression with weights, from its residual sum of squares."""
    w = np.ones(design.n) if design.weights is None else design.weights
    y = design.y if design.offset is None else design.y - design.offset
    root = np.sqrt(w)
    X = design.X * root[:, None]
    rss = np.sum((root * y - X @ np.linalg.lstsq(X, root * y, rcond=None)[0]) ** 2)
    nu = design.n - restricted * X.shape[1]
    s2 = rss / nu if design.sigma is None else design.sigma**2
    return nu * np.log(2 * np.pi * s2) + rss / s2 - np.log(w).sum() + restricted * np.linalg.slogdet(X.T @ X)[1]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + (1 | g)", {}),
        ("y ~ x + offset(v) + (1 | g)", {"weights": "w"}),
        ("y ~ x + (1 | g)", {"se": "w"}),
        ("y ~ x + (v | g)", {}),
    ],
)
def test_the_only_random_effect_is_tested_against_a_regression(formula, options, method):
    fit = fitted(formula, some_data(), method.lower(), **options)
    row = fit.ranova().iloc[-1]
    expected = regression_criterion(fit.design, method == "REML")
    np.testing.assert_allclose(-2 * row["loglik"], expected, rtol=1e-10)
    np.testing.assert_allclose(row["chisq"], expected - fit.criterion, atol=CRITERION)
    k = fit.moments.q
    assert row["df"] == k * (k + 1) // 2
    np.testing.assert_allclose(row["p_naive"], chi2.sf(row["chisq"], row["df"]), rtol=P_VALUE)
    np.testing.assert_allclose(row["p_value"], row["p_naive"] * (0.5 if k == 1 else 1.0), rtol=P_VALUE)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("pair", ["sleepstudy_int vs sleepstudy_slope", "score_int vs score_slope"])
def test_slopes_are_tested_as_by_lme4(golden, shared, pair, method):
    expected = golden["comparisons"][pair][f"{method}_LRT"]
    entry = golden["lmm"][pair.split(" vs ")[1]]
    data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=dict.fromkeys(entry["categoricals"], str))
    fit = fitted(entry["formula"], data, method.lower())
    table = fit.ranova().set_index("term")
    slope = next(label for label in fit.design.effect_labels if label != "Intercept")
    row = table[table.index.str.startswith(f"{slope} in ")].iloc[0]
    np.testing.assert_allclose(row["chisq"], expected["chisq"], atol=CRITERION)
    assert row["df"] == expected["df"]
    np.testing.assert_allclose(row["p_naive"], expected["p"], rtol=P_VALUE)
    assert table.loc["<none>", "loglik"] == fit.loglik


REDUCED = [
    ("y ~ x + (x | g)", ["x in (x | g)", "(x | g)"]),
    ("y ~ x + (x || g)", ["1 in (x || g)", "x in (x || g)", "(x || g)"]),
    ("y ~ x + (1 | g) + (1 | h)", ["(1 | g)", "(1 | h)"]),
    ("y ~ x + (0 + x + v | h)", ["x in (0 + x + v | h)", "v in (0 + x + v | h)", "(0 + x + v | h)"]),
    ("y ~ x + (c | h)", ["c in (c | h)", "(c | h)"]),
    ("y ~ x + (x * v | h)", ["x:v in (x + v + x:v | h)", "(x + v + x:v | h)"]),
]


@pytest.mark.parametrize(("formula", "terms"), REDUCED)
@pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning")
def test_what_is_left_out(formula, terms):
    data = some_data()
    data["c"] = np.array(list("abc"))[np.arange(len(data)) % 3]
    fit = fitted(formula, data)
    table = fit.ranova()
    assert table["term"].tolist() == ["<none>", *terms]
    assert (table["n_par"][1:] == fit.n_par - table["df"][1:]).all()


def test_one_random_effect_of_several_as_by_lrt():
    data = some_data()
    both = fitted("y ~ x + (1 | g) + (1 | h)", data)
    table = both.ranova().set_index("term")
    for left, term in (("h", "(1 | g)"), ("g", "(1 | h)")):
        row = hb.lrt(fitted(f"y ~ x + (1 | {left})", data), both).iloc[1]
        np.testing.assert_allclose(table.loc[term, "chisq"], row["chisq"], atol=CRITERION)
        assert table.loc[term, "note"] == row["note"]


def test_a_simulated_null_without_random_effects():
    """Half of the statistics of a single variance are zero, and 5% beyond 2.71, if there are many groups."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(40), 4)
    data = pd.DataFrame({"g": g, "y": 0.25 * rng.normal(size=40)[g] + rng.normal(size=160)})
    fit = fitted("y ~ 1 + (1 | g)", data)
    row = fit.ranova(simulate=300, seed=1, progress=False).iloc[1]
    p = fit.ranova()["p_value"][1]
    assert 0.01 < p < 0.4
    assert abs(row["p_value"] - p) < 4 * np.sqrt(p * (1 - p) / 300)
    assert "300 responses, seed 1" in row["note"]
    with pytest.raises(ValueError, match="whole number"):
        fit.ranova(simulate=-1)


def test_without_random_effects_there_is_nothing_to_test():
    with pytest.raises(hb.DataError, match="no random effects to test"):
        fitted("y ~ x", some_data(), residual="ar1(time | g)").ranova()


def test_with_correlated_residuals_these_stay():
    data = some_data()
    fit = fitted("y ~ x + (1 | g)", data, residual="ar1(time | g)")
    row = fit.ranova().iloc[1]
    alone = fitted("y ~ x", data, residual="ar1(time | g)")
    np.testing.assert_allclose(row["chisq"], max(alone.criterion - fit.criterion, 0.0), atol=CRITERION)
    assert row["df"] == 1
