"""t and F tests of fixed effects against lmerTest, pbkrtest, a dense oracle and the tests of analysis of variance."""

from __future__ import annotations

import json
import re
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracle import dense, response_covariance
from scipy import stats

import hierbayes as hb
from hierbayes.inference.curvature import Curvature
from hierbayes.inference.hypotheses import contrast_matrix, term_hypotheses
from hierbayes.inference.kenward_roger import MOST, kenward_roger

DF = 1e-6
"""Relative, of degrees of freedom: lmerTest takes second derivatives by differences."""
SE = 1e-8
"""Relative, of standard errors and statistics: the reference is polished to about 1e-8 in Λ."""
VCOV = 1e-7
"""Relative to the standard errors, of the adjusted covariance matrix."""
P_VALUE = 1e-5
"""Relative: a p-value of 1e-20 has ten times the relative error of its degrees of freedom."""
DENSE = 1e-8
"""Relative, between cross-products and n x n matrices."""
CLOSED = 1e-6
"""Relative, against a closed form, through second derivatives by differences."""

MODELS = [
    "sleepstudy_int", "sleepstudy_slope", "sleepstudy_uncorr", "penicillin", "pastes", "dyestuff", "dyestuff2",
    "cake_numeric", "score_int", "score_slope", "rat_pup", "rat_pup_x",
]  # fmt: skip
CASES = [
    (name, method, df)
    for name, (method, df) in product(
        MODELS, [("REML", "satterthwaite"), ("REML", "kenward-roger"), ("ML", "satterthwaite")]
    )
]
EVERY = pytest.mark.parametrize(("name", "method", "df"), CASES)


def our_name(name):
    """R's name of a coefficient as Bambi prints it."""
    categorical = re.compile(r"^(treatment|sex|recipe)(.+)$")
    return ":".join(categorical.sub(r"\1[\2]", part) for part in name.replace("(Intercept)", "Intercept").split(":"))


def fitted(formula, data, method="REML", **options):
    """A fit whose warnings are looked at elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data, **options)
        return model.reml() if method == "REML" else model.ml()


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads(shared("reference/lme4.json").read_text())["lmm"]


@pytest.fixture(scope="module")
def fits(golden, shared):
    """Fits by name and method, each made once, and what lmerTest and pbkrtest say of them."""
    made = {}

    def get(name, method, df):
        entry = golden[name]
        if (name, method) not in made:
            data = pd.read_csv(shared(f"datasets/{entry['data']}"), dtype=dict.fromkeys(entry["categoricals"], str))
            made[name, method] = fitted(entry["formula"], data, method)
        return made[name, method], entry[method][df.replace("-", "_")]

    return get


# --- lmerTest and pbkrtest ------------------------------------------------------------------------


@EVERY
def test_t_tests_are_those_of_lmertest_and_pbkrtest(fits, name, method, df):
    found, expected = fits(name, method, df)
    table = found.tidy(df=df).set_index("term")
    for column, theirs, tolerance in (
        ("df", "df", DF), ("statistic", "t", SE), ("p_value", "p", P_VALUE), ("std_error", "se", SE),
    ):  # fmt: skip
        if theirs in expected:
            ours = table.loc[[our_name(label) for label in expected[theirs]], column]
            np.testing.assert_allclose(ours, list(expected[theirs].values()), rtol=tolerance)


@EVERY
def test_f_tests_are_those_of_lmertest_and_pbkrtest(fits, name, method, df):
    found, expected = fits(name, method, df)
    table = found.anova(df=df).set_index("term")
    theirs = expected["anova_type3"] or {}
    assert set(table.index) == set(theirs)
    for term, row in theirs.items():
        assert table.loc[term, "num_df"] == row["NumDF"]
        assert table.loc[term, "den_df"] == pytest.approx(row["DenDF"], rel=DF)
        assert table.loc[term, "F"] == pytest.approx(row["F"], rel=SE)
        assert table.loc[term, "p_value"] == pytest.approx(row["p"], rel=P_VALUE)


@pytest.mark.parametrize("name", MODELS)
def test_the_adjusted_covariance_is_that_of_pbkrtest(fits, name):
    found, expected = fits(name, "REML", "kenward-roger")
    names = np.atleast_1d(expected["vcov_adj"]["names"])
    order = [found.design.labels.index(our_name(label)) for label in names]
    ours = kenward_roger(found).vcov[np.ix_(order, order)]
    theirs = np.array(expected["vcov_adj"]["values"])
    se = np.sqrt(np.diag(theirs))
    np.testing.assert_allclose(ours / np.outer(se, se), theirs / np.outer(se, se), rtol=0, atol=VCOV)


def test_intervals_have_these_degrees_of_freedom(fits):
    found, _ = fits("rat_pup", "REML", "satterthwaite")
    table = found.tidy(conf_level=0.9).query("effect == 'fixed'")
    reach = stats.t.ppf(0.95, table["df"]) * table["std_error"]
    np.testing.assert_allclose(table["conf_low"], table["estimate"] - reach, rtol=1e-12)
    np.testing.assert_allclose(table["conf_high"], table["estimate"] + reach, rtol=1e-12)


# --- the definitions, with n x n matrices ---------------------------------------------------------


def data_of(seed, n=80, levels=(9, 6)):
    """Two crossed factors, one of them with levels inside and slopes; weights, an offset and standard errors."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(size, size=n) for size in levels)
    x, z = rng.normal(size=n), rng.normal(size=n)
    inner = np.unique(np.column_stack([a, rng.integers(3, size=n)]), axis=0, return_inverse=True)[1].ravel()
    effects = [
        2.0 * rng.normal(size=9)[a],
        x * rng.normal(size=9)[a],
        rng.normal(size=6)[b],
        rng.normal(size=40)[inner],
    ]
    frame = {"y": 2 + x + sum(effects) + rng.normal(size=n), "x": x, "z": z, "c": rng.choice(["k", "l", "m"], size=n)}
    groups = {"a": a.astype(str), "b": b.astype(str), "inner": inner.astype(str)}
    return pd.DataFrame(frame | groups).assign(
        w=rng.uniform(0.5, 2.0, n), o=rng.normal(size=n), se=rng.uniform(0.5, 1.5, n)
    )


CASES_DENSE = {
    "one factor": ("y ~ x + c + (x | a)", {}),
    "uncorrelated": ("y ~ x + c + (x || a)", {}),
    "crossed": ("y ~ x + z + (x | a) + (1 | b)", {}),
    "nested": ("y ~ x + c + (1 | a) + (1 | inner)", {}),
    "nested and crossed": ("y ~ x + (x || a) + (1 | inner) + (1 | b)", {}),
    "weights and offset": ("y ~ x + c + offset(o) + (x | a) + (1 | b)", {"weights": "w"}),
    "known errors": ("y ~ x + c + (1 | a) + (1 | b)", {"se": "se"}),
}
DENSE_CASES = pytest.mark.parametrize("case", CASES_DENSE)


def kenward_roger_dense(found):
    """Φ, Φ_A, P and W from their definitions, and the covariance matrices G_r of the model, σ² last."""
    data = dense(found.design)
    V = response_covariance(data, found.covariance, found.sigma)
    layout = found.design.layout
    G = []
    for i, j in zip(*np.nonzero(layout.mask), strict=True):
        S = np.zeros((layout.q, layout.q))
        S[i, j] = S[j, i] = 1.0
        G.append(response_covariance(data, S, 0.0))
    if found.design.sigma is None:
        G.append(response_covariance(data, np.zeros((layout.q, layout.q)), 1.0))
    Vi = np.linalg.inv(V)
    X = data.X
    Phi = np.linalg.inv(X.T @ Vi @ X)
    P = np.array([-X.T @ Vi @ g @ Vi @ X for g in G])
    Q = np.array([[X.T @ Vi @ g @ Vi @ h @ Vi @ X for h in G] for g in G])
    trace = np.array([[np.trace(Vi @ g @ Vi @ h) for h in G] for g in G])
    k = range(len(G))
    information = np.array(
        [[trace[r, s] - 2 * np.trace(Phi @ Q[r, s]) + np.trace(Phi @ P[r] @ Phi @ P[s]) for s in k] for r in k]
    )
    W = 2.0 * np.linalg.inv(information)
    inner = sum(W[r, s] * (Q[r, s] - P[r] @ Phi @ P[s]) for r in k for s in k)
    return Phi, Phi + 2.0 * Phi @ inner @ Phi, P, W


@DENSE_CASES
def test_kenward_roger_is_its_definition(case):
    formula, options = CASES_DENSE[case]
    found = fitted(formula, data_of(1), **options)
    assert not found.singular
    Phi, adjusted, P, W = kenward_roger_dense(found)
    ours = kenward_roger(found)
    se = np.sqrt(np.diag(Phi))
    np.testing.assert_allclose(ours.vcov / np.outer(se, se), adjusted / np.outer(se, se), rtol=0, atol=DENSE)
    L = np.eye(len(Phi))[-2:]
    Theta = L.T @ np.linalg.inv(L @ Phi @ L.T) @ L
    M = [Theta @ Phi @ each @ Phi for each in P]
    q, k = len(L), range(len(P))
    A1 = sum(W[r, s] * np.trace(M[r]) * np.trace(M[s]) for r in k for s in k)
    A2 = sum(W[r, s] * np.trace(M[r] @ M[s]) for r in k for s in k)
    # Kenward & Roger 1997: two moments of λF are those of F(q, m)
    B = (A1 + 6 * A2) / (2 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    c1, c2, c3 = (top / (3 * q + 2 * (1 - g)) for top in (g, q - g, q + 2 - g))
    mean, variance = 1 / (1 - A2 / q), 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
    m = 4 + (q + 2) / (q * variance / (2 * mean**2) - 1)
    scale = m / (mean * (m - 2))
    difference = L @ found.fixef
    F = scale * difference @ np.linalg.solve(L @ adjusted @ L.T, difference) / q
    row = found.joint_test(L, df="kenward-roger").iloc[0]
    assert row["den_df"] == pytest.approx(m, rel=DENSE)
    assert row["F"] == pytest.approx(F, rel=DENSE)
    assert row["p_value"] == pytest.approx(stats.f.sf(F, q, m), rel=1e-6)


def satterthwaite_dense(found, contrast):
    """2 v²/(gᵀ C g), the observed information of variances and covariances by differences of the dense likelihood."""
    data, layout = dense(found.design), found.design.layout
    places = list(zip(*np.nonzero(layout.mask), strict=True))
    start = np.array([found.covariance[place] for place in places])
    if found.design.sigma is None:
        start = np.append(start, found.sigma**2)

    def at(s):
        S = np.zeros((layout.q, layout.q))
        for (i, j), value in zip(places, s, strict=False):
            S[i, j] = S[j, i] = value
        sigma = np.sqrt(s[-1]) if found.design.sigma is None else found.design.sigma
        V = response_covariance(data, S, sigma)
        X, Vi = data.X, np.linalg.inv(V)
        Phi = np.linalg.inv(X.T @ Vi @ X)
        r = data.y - X @ Phi @ X.T @ Vi @ data.y
        deviance = np.linalg.slogdet(V)[1] + r @ Vi @ r
        if found.method == "REML":
            deviance -= np.linalg.slogdet(Phi)[1]
        return deviance, contrast @ Phi @ contrast

    h = 1e-3 * np.abs(start)
    k = len(start)
    steps = np.diag(h)
    gradient = np.array([(at(start + d)[1] - at(start - d)[1]) / (2 * d.sum()) for d in steps])
    H = np.empty((k, k))
    for i, j in product(range(k), repeat=2):
        a, b = steps[i], steps[j]
        corners = [at(start + s * a + t * b)[0] * s * t for s in (1, -1) for t in (1, -1)]
        H[i, j] = sum(corners) / (4 * h[i] * h[j])
    return 2 * at(start)[1] ** 2 / (gradient @ (2 * np.linalg.inv(H)) @ gradient)


@DENSE_CASES
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_satterthwaite_is_its_definition(case, method):
    formula, options = CASES_DENSE[case]
    found = fitted(formula, data_of(1), method, **options)
    assert not found.singular
    contrast = np.zeros(len(found.fixef))
    contrast[:2] = 1.0, 0.5
    expected = satterthwaite_dense(found, contrast)
    assert found.contrast(contrast)["df"].iloc[0] == pytest.approx(expected, rel=1e-4)


def test_the_residual_correlation_is_one_parameter_more():
    """AR(1) without random effects: 2 v²/Var(v) with the information of (σ², ρ)."""
    rng = np.random.default_rng(3)
    g, t = np.repeat(np.arange(12), 8), np.tile(np.arange(8), 12)
    e = rng.normal(size=(12, 8))
    for k in range(1, 8):
        e[:, k] = 0.6 * e[:, k - 1] + 0.8 * e[:, k]
    data = pd.DataFrame({"y": e.ravel() + t / 4, "t": t, "g": g.astype(str)})
    found = hb.Model("y ~ t", data, residual="ar1(t | g)").reml()
    R = found.design.residual.matrix
    X, y, n = found.design.X, found.design.y, len(data)
    c = np.array([0.0, 1.0])

    def at(s):
        V = s[0] * R(s[1])
        Vi = np.linalg.inv(V)
        Phi = np.linalg.inv(X.T @ Vi @ X)
        r = y - X @ Phi @ X.T @ Vi @ y
        return np.linalg.slogdet(V)[1] + r @ Vi @ r - np.linalg.slogdet(Phi)[1], c @ Phi @ c

    start, h = np.array([found.sigma**2, found.rho]), np.array([1e-3, 1e-3])
    d = np.diag(h)
    slope = np.array([(at(start + a)[1] - at(start - a)[1]) / (2 * a.sum()) for a in d])
    H = np.array(
        [[sum(at(start + s * a + u * b)[0] * s * u for s in (1, -1) for u in (1, -1)) / (4e-6) for b in d] for a in d]
    )
    expected = 2 * at(start)[1] ** 2 / (slope @ (2 * np.linalg.inv(H)) @ slope)
    df = found.contrast("t")["df"].iloc[0]
    assert df == pytest.approx(expected, rel=1e-4)
    assert df < n - 2
    with pytest.raises(hb.HierbayesError, match=r"residual='ar1\(t \| g\)' is not; use df='satterthwaite'"):
        found.tidy(df="kenward-roger")


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_a_balanced_split_plot_has_the_tests_of_its_anova_table(df):
    """Whole plots: treatment against blocks within treatments. Subplots: within blocks."""
    rng = np.random.default_rng(0)
    treatment, block, time = (array.ravel() for array in np.meshgrid(range(3), range(6), range(4), indexing="ij"))
    y = rng.normal(size=72) + 2 * rng.normal(size=(3, 6))[treatment, block]
    data = pd.DataFrame({"y": y, "treat": list(np.array(list("abc"))[treatment]), "time": time.astype(str)})
    data["plot"] = [f"{i}{j}" for i, j in zip(treatment, block, strict=True)]
    found = fitted("y ~ treat * time + (1 | plot)", data)
    assert not found.singular
    cells = y.reshape(3, 6, 4)
    plots, grand = cells.mean(axis=2), y.mean()
    between = 4 * ((plots - plots.mean(axis=1, keepdims=True)) ** 2).sum() / 15
    times = cells.mean(axis=(0, 1))
    treats = cells.mean(axis=(1, 2))
    within = cells - plots[:, :, None] - (cells.mean(axis=1) - treats[:, None])[:, None, :]
    error = (within**2).sum() / 45
    interaction = cells.mean(axis=1) - treats[:, None] - times + grand
    expected = {
        "treat": (2, 15, 24 * ((treats - grand) ** 2).sum() / 2 / between),
        "time": (3, 45, 18 * ((times - grand) ** 2).sum() / 3 / error),
        "treat:time": (6, 45, 6 * (interaction**2).sum() / 6 / error),
    }
    table = found.anova(df=df).set_index("term")
    for term, row in expected.items():
        np.testing.assert_allclose(table.loc[term, ["num_df", "den_df", "F"]].astype(float), row, rtol=CLOSED)
        assert table.loc[term, "p_value"] == pytest.approx(stats.f.sf(row[2], row[0], row[1]), rel=1e-4)


def test_the_hypothesis_of_a_term_does_not_depend_on_the_coding():
    """Type III from treatment contrasts, from sums to zero and from means of cells."""
    data = data_of(4).assign(d=lambda d: np.where(d["z"] > 0, "u", "v"))
    tables = [
        fitted(f"y ~ {text} + (1 | a)", data).anova().set_index("term")
        for text in ("c * d", "S(c) * S(d)", "T(c, 'm') * S(d)")
    ]
    for table in tables[1:]:
        np.testing.assert_allclose(table["F"], tables[0]["F"], rtol=1e-7)
        np.testing.assert_array_equal(table["num_df"], tables[0]["num_df"])
    means = fitted("y ~ 0 + c:d + (1 | a)", data)
    labels = means.design.labels
    weight = {f"c[{i}]:d[{j}]": (1 if i == "k" else -1) for i, j in product("kl", "uv")}
    other = {f"c[{i}]:d[{j}]": (1 if i == "k" else -1) for i, j in product("km", "uv")}
    assert set(weight) | set(other) == set(labels)
    row = means.joint_test([weight, other]).iloc[0]
    assert row["F"] == pytest.approx(tables[0].loc["c", "F"], rel=1e-7)


def test_a_numeric_variable_of_an_interaction_is_zero_for_the_other_terms():
    data = data_of(4)
    found = fitted("y ~ c * x + (1 | a)", data)
    rows = term_hypotheses(found.design)
    labels = found.design.labels
    assert [dict(zip(labels, row, strict=True))["c[l]"] for row in rows["c"]] == [1.0, 0.0]
    assert not rows["c"][:, [labels.index("x"), labels.index("c[l]:x")]].any()
    # the slope of x is averaged over three categories
    np.testing.assert_allclose(rows["x"], contrast_matrix({"x": 1, "c[l]:x": 1 / 3, "c[m]:x": 1 / 3}, labels)[1])


def test_columns_of_one_numeric_term_are_tested_together():
    found = fitted("y ~ poly(x, 2) + c:z + (1 | a)", data_of(4))
    table = found.anova().set_index("term")
    assert table["num_df"].tolist() == [2, 3]
    joint = found.joint_test(["poly(x, 2)[0]", "poly(x, 2)[1]"]).iloc[0]
    assert table.loc["poly(x, 2)", "F"] == pytest.approx(joint["F"], rel=1e-12)


def test_a_formula_with_only_an_intercept_has_no_terms_to_test():
    assert fitted("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).anova().empty


# --- contrasts ------------------------------------------------------------------------------------

LABELS = ["Intercept", "b", "c"]


@pytest.mark.parametrize(
    ("weights", "name", "row"),
    [
        ("b", "b", [0, 1, 0]),
        ({"b": 1, "c": -0.5}, "b - 0.5 c", [0, 1, -0.5]),
        (pd.Series({"c": 2.0}), "2 c", [0, 0, 2]),
        (pd.Series({"c": 2.0}, name="twice"), "twice", [0, 0, 2]),
        ({"difference": {"b": -1, "c": 1}}, "difference", [0, -1, 1]),
        (pd.DataFrame({"b": [1.0], "Intercept": [1.0]}, index=["at one"]), "at one", [1, 1, 0]),
        ([0.0, 1.0, -1.0], "b - c", [0, 1, -1]),
        ({"array": [1, 0, 0]}, "array", [1, 0, 0]),
    ],
)
def test_weights_are_given_in_many_ways(weights, name, row):
    names, L = contrast_matrix(weights, LABELS)
    assert names == [name]
    np.testing.assert_array_equal(L, [row])


def test_many_contrasts_at_once():
    names, L = contrast_matrix(["b", {"c": 1, "b": -1}, pd.Series({"Intercept": 1.0}, name="start")], LABELS)
    assert names == ["b", "-b + c", "start"]
    np.testing.assert_array_equal(L, [[0, 1, 0], [0, -1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(contrast_matrix(np.eye(3), LABELS)[1], np.eye(3))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("B", "There is no fixed effect 'B'. Did you mean 'b'?"),
        ({"x": 1.0}, "There is no fixed effect 'x'"),
        ([1.0, 0.0], "do not fit the 3 fixed effects 'Intercept', 'b', 'c'"),
        ({"b": 0.0}, "all zero"),
        ({"b": np.nan}, "missing or infinite"),
        ([], "There is no contrast|do not fit"),
        ({}, "There is no contrast"),
        (object(), "Contrasts are names of coefficients"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        contrast_matrix(weights, LABELS)


def test_a_contrast_is_what_recoding_makes_a_coefficient(sleepstudy):
    """The intercept of Days counted from day 5 is the response on day 5."""
    found = fitted("Reaction ~ Days + (Days | Subject)", sleepstudy)
    moved = fitted("Reaction ~ I(Days - 5) + (I(Days - 5) | Subject)", sleepstudy)
    for df in ("satterthwaite", "kenward-roger", "z"):
        row = found.contrast({"Intercept": 1, "Days": 5}, df=df).iloc[0]
        other = moved.tidy(df=df).iloc[0]
        for column in ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"):
            assert row[column] == pytest.approx(other[column], rel=1e-5)
        assert row["df"] == pytest.approx(other["df"], rel=1e-5)


def test_the_right_side_moves_the_hypothesis(sleepstudy):
    found = fitted("Reaction ~ Days + (Days | Subject)", sleepstudy)
    row = found.contrast("Days", rhs=10.0).iloc[0]
    assert row["statistic"] == pytest.approx((found.fixef["Days"] - 10.0) / np.sqrt(found.vcov.loc["Days", "Days"]))
    assert row["estimate"] == pytest.approx(found.fixef["Days"], rel=1e-14)
    joint = found.joint_test("Days", rhs=10.0).iloc[0]
    assert joint["F"] == pytest.approx(row["statistic"] ** 2, rel=1e-10)
    assert joint["den_df"] == pytest.approx(row["df"], rel=1e-10)
    assert joint["p_value"] == pytest.approx(row["p_value"], rel=1e-9)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "z"])
def test_combinations_of_other_contrasts_add_nothing(sleepstudy, df):
    found = fitted("Reaction ~ Days + (Days | Subject)", sleepstudy)
    two = found.joint_test(["Intercept", "Days"], rhs=[250, 10], df=df)
    three = found.joint_test(["Intercept", "Days", {"Intercept": 1, "Days": 7}], rhs=[250, 10, 320], df=df)
    pd.testing.assert_frame_equal(two, three)
    with pytest.raises(
        ValueError, match=r"'Intercept \+ 7 Days' is a combination of other contrasts, and cannot be 0"
    ):
        found.joint_test(["Intercept", "Days", {"Intercept": 1, "Days": 7}], rhs=[250, 10, 0], df=df)


def test_the_z_test_is_the_wald_test(sleepstudy):
    found = fitted("Reaction ~ Days + (Days | Subject)", sleepstudy)
    row = found.joint_test(np.eye(2), rhs=[250, 10], df="z").iloc[0]
    difference = found.fixef - [250, 10]
    wald = difference @ np.linalg.solve(found.vcov, difference)
    assert row["F"] == pytest.approx(wald / 2, rel=1e-10)
    assert np.isinf(row["den_df"])
    assert row["p_value"] == pytest.approx(stats.chi2.sf(wald, 2), rel=1e-10)


# --- refusals, units, boundaries ------------------------------------------------------------------


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "z"])
def test_without_fixed_effects_there_is_nothing_to_test(df):
    found = fitted("v ~ 0 + (1 | Batch)", hb.load_data("Dyestuff").assign(v=lambda d: d["Yield"] - 1500))
    table = found.tidy(df=df)
    assert table["term"].tolist() == ["sd(Intercept)", "sigma"]
    assert len(found.anova(df)) == 0


def test_compound_symmetry_has_kenward_roger_as_a_random_intercept():
    data = hb.load_data("Dyestuff")
    found = fitted("Yield ~ 1", data, residual="cs(Batch)")
    with pytest.raises(hb.HierbayesError, match=r"write it as \(1 \| Batch\), or use df='satterthwaite'"):
        found.tidy(df="kenward-roger")
    same = fitted("Yield ~ 1 + (1 | Batch)", data)
    assert found.rho > 0
    assert same.criterion == pytest.approx(found.criterion, abs=1e-6)
    assert same.tidy(df="kenward-roger")["df"].iloc[0] == pytest.approx(5.0, rel=1e-6)


def test_ml_has_no_kenward_roger(sleepstudy):
    with pytest.raises(hb.HierbayesError, match=r"call model.reml\(\)"):
        fitted("Reaction ~ Days + (1 | Subject)", sleepstudy, "ML").anova(df="kenward-roger")


@pytest.mark.parametrize("call", ["tidy", "anova"])
def test_other_degrees_of_freedom_are_refused(sleepstudy, call):
    with pytest.raises(ValueError, match="df is 'satterthwaite', 'kenward-roger' or 'z', not 'kr'"):
        getattr(fitted("Reaction ~ Days + (1 | Subject)", sleepstudy), call)(df="kr")


def test_too_many_effects_that_hang_together_are_refused(monkeypatch):
    found = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin"))
    assert MOST > 30
    monkeypatch.setattr("hierbayes.inference.kenward_roger.MOST", 29)
    with pytest.raises(hb.HierbayesError, match="dense matrix of the 30 random effects"):
        found.tidy(df="kenward-roger")


def test_blocks_worked_on_a_few_at_a_time_are_the_same(monkeypatch):
    found = fitted("y ~ x + c + (x | a) + (1 | inner)", data_of(1))
    whole = kenward_roger(found)
    monkeypatch.setattr("hierbayes.inference.kenward_roger.TOGETHER", 1)
    np.testing.assert_allclose(kenward_roger(found).adjusted, whole.adjusted, rtol=1e-12)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_units_and_origins_change_nothing(sleepstudy, df):
    """A year instead of a day, milliseconds in kilometres: the same tests."""
    strange = sleepstudy.assign(Days=sleepstudy["Days"] / 365.25 + 2026, Reaction=sleepstudy["Reaction"] * 1e-8)
    here = fitted("Reaction ~ Days + (Days | Subject)", sleepstudy).tidy(df=df).iloc[1]
    there = fitted("Reaction ~ Days + (Days | Subject)", strange).tidy(df=df).iloc[1]
    for column in ("statistic", "df"):
        assert there[column] == pytest.approx(here[column], rel=1e-5)


def test_on_the_boundary_only_sigma_is_uncertain():
    """Without variance between batches it is one sample: a t test with n - 1 degrees of freedom."""
    data = hb.load_data("Dyestuff2")
    row = fitted("Yield ~ 1 + (1 | Batch)", data).tidy().iloc[0]
    expected = stats.ttest_1samp(data["Yield"], 0.0)
    assert row["df"] == pytest.approx(29.0, rel=CLOSED)
    assert row["statistic"] == pytest.approx(expected.statistic, rel=1e-9)
    assert row["p_value"] == pytest.approx(expected.pvalue, rel=1e-4)


def test_known_errors_on_the_boundary_leave_nothing_uncertain():
    data = pd.DataFrame({"y": [0.1, -0.1, 0.05, 0.0, -0.05], "se": 1.0, "study": list("abcde")})
    row = fitted("y ~ 1 + (1 | study)", data, se="se").tidy().iloc[0]
    assert np.isinf(row["df"])
    assert row["std_error"] == pytest.approx(5.0**-0.5, rel=1e-9)


def test_directions_make_up_the_covariance_of_the_estimate():
    found = fitted("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    curvature = Curvature(found)
    h = 1e-3

    def gradient(x):
        return curvature.at(np.array([x]))[0][0]

    hessian = (gradient(curvature.x[0] + h) - gradient(curvature.x[0] - h)) / (2 * h)
    assert float(curvature.directions[0, 0] ** 2) == pytest.approx(2.0 / hessian, rel=1e-5)
    assert curvature.dof == 29
