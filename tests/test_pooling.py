"""The pooling ladder against published figures, closed forms, dense least squares and statsmodels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import hierbayes as hb
from hierbayes.errors import FormulaError
from hierbayes.plots import pooling_figure, style
from hierbayes.pooling_ladder.least_squares import least_squares
from hierbayes.pooling_ladder.observed_information import observed_std_errors
from hierbayes.pooling_ladder.rung import COLUMNS
from hierbayes.pooling_ladder.smaller_models import fixed_part, with_effects

DENSE = 1e-9
"""Relative, against least squares with a column for every coefficient."""
LME4 = 1e-6
"""Relative, against estimates of lme4 polished to a gradient of 1e-8."""
NAMES = [
    "complete pooling",
    "no pooling, intercepts",
    "aggregation",
    "two-stage",
    "REML, random intercept",
    "no pooling, full",
    "REML, random intercept + slope",
    "no pooling, full: mean slope",
]
BAYES = ["Bayes, random intercept", "Bayes, random intercept + slope"]
FIGURES = ["rmse", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]


@pytest.fixture(scope="module")
def score(shared):
    return pd.read_csv(shared("datasets/score_parentedu_byclass.csv"))


@pytest.fixture(scope="module")
def rat_pup(shared):
    return pd.read_csv(shared("datasets/rat_pup.csv")).astype({"litter": str})


@pytest.fixture(scope="module")
def score_ladder(score):
    return hb.pooling(hb.Model("score ~ edu + (edu | classroom)", score), seed=1, draws=500, progress=False)


def ladder(model, term=None, **arguments):
    return hb.pooling(model, term, bayes=False, **arguments).set_index("model")


def study(rows=180, groups=12, seed=7):
    """Unbalanced groups with two covariates, one of them rounded, weights, an offset and a category."""
    rng = np.random.default_rng(seed)
    g = np.sort(rng.integers(0, groups, rows))
    data = pd.DataFrame(
        {"g": [f"g{k:02d}" for k in g], "x": rng.normal(2000.0, 3.0, rows), "z": rng.normal(size=rows)}
    )
    data["f"] = rng.choice(["a", "b", "c"], rows)
    data["w"] = rng.uniform(0.5, 2.0, rows)
    data["o"] = rng.normal(size=rows)
    data["size"] = rng.normal(size=groups)[g]
    slopes = 0.3 + 0.2 * rng.normal(size=groups)
    data["y"] = (
        slopes[g] * (data["x"] - 2000) + rng.normal(size=groups)[g] + data["z"] + data["o"] + rng.normal(size=rows)
    )
    return data


def regress(y, columns, w=None):
    """Least squares with a dense matrix: coefficients, standard errors, rmse and degrees of freedom."""
    X = np.column_stack(columns).astype(float)
    root = np.ones(len(y)) if w is None else np.sqrt(w)
    Q, R = np.linalg.qr(X * root[:, None])
    b = np.linalg.solve(R, Q.T @ (root * y))
    e = root * (y - X @ b)
    df = len(y) - X.shape[1]
    s = np.sqrt(e @ e / df)
    inverse = np.linalg.inv(R)
    return b, s * np.sqrt((inverse**2).sum(axis=1)), s, df, s**2 * inverse @ inverse.T


# --- the published table


def test_rows_and_columns_are_those_promised(score_ladder):
    assert list(score_ladder.columns) == COLUMNS
    assert list(score_ladder["model"]) == NAMES + BAYES
    assert list(score_ladder["formula"]) == [
        "score ~ edu",
        "score ~ edu + classroom",
        "score ~ edu, means of classroom",
        "score ~ edu in each classroom, then slope ~ 1",
        "score ~ edu + (1 | classroom)",
        "score ~ edu + classroom + edu:classroom",
        "score ~ edu + (edu | classroom)",
        "score ~ edu + classroom + edu:classroom",
        "score ~ edu + (1 | classroom)",
        "score ~ edu + (edu | classroom)",
    ]


def test_t_tests_and_intervals_belong_together(score_ladder):
    table = score_ladder.set_index("model").loc[NAMES]
    assert_allclose(table["statistic"], table["estimate"] / table["std_error"])
    assert_allclose(table["p_value"], 2 * stats.t.sf(table["statistic"].abs(), table["df"]))
    assert_allclose(table["conf_high"] - table["estimate"], stats.t.ppf(0.975, table["df"]) * table["std_error"])
    assert_allclose(table["conf_low"] + table["conf_high"], 2 * table["estimate"])


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_reml_rows_are_those_of_lme4(score, shared, df):
    reference = json.loads(shared("reference/lme4.json").read_text())["lmm"]
    table = ladder(hb.Model("score ~ edu + (edu | classroom)", score), df=df)
    for name, fit in (("REML, random intercept", "score_int"), ("REML, random intercept + slope", "score_slope")):
        by_lme4 = reference[fit]["REML"]
        tests = by_lme4[df.replace("-", "_")]
        row = table.loc[name]
        assert_allclose(row["estimate"], by_lme4["fixef"]["edu"], rtol=LME4)
        # Satterthwaite's df depend on second derivatives, which lmerTest takes by finite differences
        assert_allclose(row["df"], tests["df"]["edu"], rtol=1e-4)
        assert_allclose(row["statistic"], tests["t"]["edu"], rtol=1e-5)
        assert_allclose(row["p_value"], tests["p"]["edu"], rtol=1e-4)


def test_singular_fit_is_named_and_only_there(score_ladder):
    notes = score_ladder.set_index("model")["note"]
    assert notes["REML, random intercept + slope"] == (
        "singular: sd(Intercept) 3.28, sd(edu) 0.037, corr(Intercept, edu) -1"
    )
    assert notes["REML, random intercept"] == ""
    assert notes["no pooling, full"].startswith("slope of c0 only: with treatment coding")


def test_bayesian_rows_are_the_posteriors_of_the_same_models(score, score_ladder):
    for name, effects in zip(BAYES, ["(1 | classroom)", "(edu | classroom)"], strict=True):
        model = hb.Model(f"score ~ edu + {effects}", score)
        fit = model.fit(draws=500, seed=1, progress=False)
        row, tidy = score_ladder.set_index("model").loc[name], fit.tidy().set_index("term").loc["edu"]
        assert_allclose(row[["estimate", "std_error", "conf_low", "conf_high"]].astype(float),
                        tidy[["estimate", "std_error", "conf_low", "conf_high"]].astype(float))  # fmt: skip
        draws = fit.parameter_draws()["fixed", "", "edu"]
        assert row["p_direction"] == pytest.approx((draws > 0).mean())
        effects_of = fit.ranef()["classroom"]["mean"]
        b = {term: effects_of.xs(term, level="term").loc[score["classroom"]].to_numpy()
             for term in effects_of.index.unique("term")}  # fmt: skip
        fixed = fit.tidy().set_index("term")["estimate"]
        residual = score["score"] - fixed["Intercept"] - fixed["edu"] * score["edu"] - b["Intercept"]
        residual -= b["edu"] * score["edu"] if "edu" in b else 0.0
        assert_allclose(row["rmse"], np.sqrt((residual**2).sum() / 58), rtol=1e-9)
        assert row[["statistic", "df", "p_value", "p_value_z"]].isna().all()
        assert row["note"] == ""


def test_posterior_of_three_slopes_is_wider_than_the_singular_fit_says(score_ladder):
    table = score_ladder.set_index("model")
    assert table.loc[BAYES[1], "std_error"] > 2 * table.loc["REML, random intercept + slope", "std_error"]
    assert table.loc[BAYES[1], "conf_low"] < 0 < table.loc["REML, random intercept + slope", "conf_low"]


# --- closed forms


def test_sleepstudy_by_closed_forms(sleepstudy):
    """Balanced: every estimator finds the same slope; they differ in what they take for its error."""
    table = ladder(hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy))
    wide = sleepstudy.set_index(["Subject", "Days"])["Reaction"].unstack()  # noqa: PD010
    x = wide.columns.to_numpy() - 4.5
    slopes = wide.to_numpy() @ x / (x @ x)
    usable = table.drop(index=["aggregation", "no pooling, full"])
    assert_allclose(usable["estimate"], slopes.mean(), rtol=1e-10)
    assert_allclose(table.loc["two-stage", "std_error"], slopes.std(ddof=1) / np.sqrt(18), rtol=1e-12)
    # of a balanced design REML's own test of a random slope is the t test of the slopes
    assert_allclose(
        table.loc["REML, random intercept + slope", "std_error"], table.loc["two-stage", "std_error"], rtol=1e-7
    )
    assert_allclose(table.loc["REML, random intercept + slope", "df"], 17, rtol=1e-5)
    within = wide.sub(wide.mean(axis=1), axis=0).to_numpy()
    sse = (within**2).sum() - 18 * (x @ x) * slopes.mean() ** 2
    assert_allclose(table.loc["no pooling, intercepts", "rmse"], np.sqrt(sse / 161), rtol=1e-12)
    sse = (within**2).sum() - (x @ x) * (slopes**2).sum()
    assert_allclose(table.loc["no pooling, full", "rmse"], np.sqrt(sse / 144), rtol=1e-12)
    assert_allclose(table.loc["no pooling, full", "estimate"], slopes[0], rtol=1e-10)
    assert_allclose(
        table.loc["no pooling, full: mean slope", "std_error"], np.sqrt(sse / 144 / (18 * x @ x)), rtol=1e-12
    )
    assert table.loc["aggregation", FIGURES].isna().all()
    assert table.loc["aggregation", "note"] == "the mean of Days is the same in every group of Subject"


def test_random_effects_of_the_formula_do_not_change_the_other_rows(sleepstudy):
    tables = [
        ladder(hb.Model(f"Reaction ~ Days + {effects}", sleepstudy))
        for effects in (
            "(1 | Subject)",
            "(Days | Subject)",
            "(Days || Subject)",
            "(1 | Subject) + (0 + Days | Subject)",
        )
    ]
    for table in tables[1:]:
        assert_allclose(
            table[FIGURES].drop(index="REML, random intercept + slope"),
            tables[0][FIGURES].drop(index="REML, random intercept + slope"),
            rtol=1e-7,
        )
    last = [table.loc["REML, random intercept + slope"] for table in tables]
    assert_allclose(last[1][FIGURES].astype(float), last[0][FIGURES].astype(float), rtol=1e-6)
    assert_allclose(last[3][FIGURES].astype(float), last[2][FIGURES].astype(float), rtol=1e-6)
    assert last[2]["formula"] == "Reaction ~ Days + (Days || Subject)"
    assert abs(last[2]["std_error"] - last[1]["std_error"]) > 0.005


# --- dense least squares: several covariates, weights, offset


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("term", ["x", "f[b]"])
def test_rows_by_least_squares_are_those_of_dense_matrices(weights, term):
    data = study(300, 8)
    model = hb.Model("y ~ x + z + f + size + offset(o) + (1 | g)", data, weights=weights)
    table = ladder(model, term)
    y, w = (data["y"] - data["o"]).to_numpy(), None if weights is None else data["w"].to_numpy()
    one, x, z, size = np.ones(len(y)), data["x"] - 2000, data["z"], data["size"]
    f = [(data["f"] == level).to_numpy(dtype=float) for level in "bc"]
    groups = [(data["g"] == g).to_numpy(dtype=float) for g in sorted(set(data["g"]))]
    J = len(groups)
    target, rest = ([x], [z, *f]) if term == "x" else ([f[0], f[1]], [x, z])

    b, se, s, df, _ = regress(y, [one, *target, *rest, size], w)
    assert_allclose(table.loc["complete pooling", ["rmse", "estimate", "std_error", "df"]].astype(float),
                    [s, b[1], se[1], df], rtol=DENSE)  # fmt: skip
    b, se, s, df, _ = regress(y, [*groups, *target, *rest], w)  # size is a combination of groups
    assert_allclose(table.loc["no pooling, intercepts", ["rmse", "estimate", "std_error", "df"]].astype(float),
                    [s, b[J], se[J], df], rtol=DENSE)  # fmt: skip
    b, se, s, df, V = regress(y, [*groups, *(g * t for t in target for g in groups), *rest], w)
    own = np.zeros(len(b))
    for row, weight in (("no pooling, full", np.eye(J)[0]), ("no pooling, full: mean slope", np.full(J, 1 / J))):
        own[J : 2 * J] = weight
        assert_allclose(table.loc[row, ["rmse", "estimate", "std_error", "df"]].astype(float),
                        [s, own @ b, np.sqrt(own @ V @ own), df], rtol=DENSE)  # fmt: skip
    slopes = []
    for g in groups:
        here = g > 0
        part = regress(y[here], [c[here] for c in (one, *target, *rest)], None if w is None else w[here])
        slopes.append(part[0][1])
    assert_allclose(table.loc["two-stage", ["rmse", "estimate", "std_error", "df"]].astype(float),
                    [np.std(slopes, ddof=1), np.mean(slopes), np.std(slopes, ddof=1) / np.sqrt(J), J - 1],
                    rtol=DENSE)  # fmt: skip
    share = np.array([g * (1 if w is None else w) for g in groups])
    share /= share.sum(axis=1, keepdims=True)
    b, se, s, df, _ = regress(share @ y, [share @ c for c in (one, *target, *rest, size)])
    # the means of the eight groups hardly differ in some directions, which costs digits
    assert_allclose(table.loc["aggregation", ["rmse", "estimate", "std_error", "df"]].astype(float),
                    [s, b[1], se[1], df], rtol=1e-7)  # fmt: skip


def test_without_an_intercept_the_regressions_have_none_either():
    data = study()
    data["x"] -= 1999
    table = ladder(hb.Model("y ~ 0 + x + z + (1 | g)", data), "x")
    b, se, *_ = regress(data["y"].to_numpy(), [data["x"], data["z"]])
    assert_allclose(table.loc["complete pooling", ["estimate", "std_error"]].astype(float), [b[0], se[0]], rtol=DENSE)
    own = [regress(part["y"].to_numpy(), [part["x"], part["z"]])[0][0] for _, part in data.groupby("g")]
    assert_allclose(table.loc["two-stage", "estimate"], np.mean(own), rtol=DENSE)


def test_rat_pup_against_statsmodels(rat_pup):
    smf = pytest.importorskip("statsmodels.formula.api")
    table = ladder(hb.Model("weight ~ sex + litsize + treatment + (1 | litter)", rat_pup), "sex[Male]")
    columns = ["rmse", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]

    def check(row, fit, name):
        low, high = fit.conf_int().loc[name]
        wanted = [np.sqrt(fit.mse_resid), fit.params[name], fit.bse[name], fit.tvalues[name], fit.df_resid]
        assert_allclose(table.loc[row, columns].astype(float), [*wanted, fit.pvalues[name], low, high], rtol=1e-8)

    check("complete pooling", smf.ols("weight ~ sex + litsize + treatment", rat_pup).fit(), "sex[T.Male]")
    check("no pooling, intercepts", smf.ols("weight ~ sex + litter", rat_pup).fit(), "sex[T.Male]")
    dummies = rat_pup.assign(male=(rat_pup["sex"] == "Male") * 1.0)
    for level in ("High", "Low"):
        dummies[level] = (rat_pup["treatment"] == level) * 1.0
    means = dummies.groupby("litter")[["weight", "male", "litsize", "High", "Low"]].mean()
    check("aggregation", smf.ols("weight ~ male + litsize + High + Low", means).fit(), "male")
    both = dummies[dummies["litter"] != "12"]  # all of one sex
    slopes = [smf.ols("weight ~ male", part).fit().params["male"] for _, part in both.groupby("litter")]
    assert_allclose(
        table.loc["two-stage", ["estimate", "rmse"]].astype(float), [np.mean(slopes), np.std(slopes, ddof=1)]
    )
    full = smf.ols("weight ~ 0 + litter + litter:male", both).fit()
    row = table.loc["no pooling, full: mean slope"]
    test = full.t_test(np.r_[np.zeros(26), np.full(26, 1 / 26)])
    # litter 12 adds its own sum of squares around its mean
    lone = dummies.loc[dummies["litter"] == "12", "weight"]
    sse, df = full.ssr + ((lone - lone.mean()) ** 2).sum(), full.df_resid + len(lone) - 1
    assert_allclose(row["estimate"], test.effect[0], rtol=1e-9)
    assert_allclose([row["rmse"], row["df"]], [np.sqrt(sse / df), df], rtol=1e-9)
    assert_allclose(row["std_error"], test.sd[0, 0] * np.sqrt(sse / df / full.mse_resid), rtol=1e-9)
    assert row["note"] == (
        "mean of the slopes of 26 groups; without 1 of 27 groups, which have no slope of their own: 12"
    )


def test_rat_pup_by_reml_is_that_of_lme4(rat_pup, shared):
    reference = json.loads(shared("reference/lme4.json").read_text())["lmm"]["rat_pup"]
    assert reference["formula"] == "weight ~ treatment + sex + litsize + (1 | litter)"
    model = hb.Model("weight ~ treatment + sex + litsize + (1 | litter)", rat_pup)
    for term, name in (("sex", "sexMale"), ("litsize", "litsize"), ("treatment[Low]", "treatmentLow")):
        row = ladder(model, term).loc["REML, random intercept"]
        assert_allclose(row["estimate"], reference["REML"]["fixef"][name], rtol=LME4)
        assert_allclose(row["std_error"], reference["REML"]["se"][name], rtol=LME4)
        assert_allclose(row["df"], reference["REML"]["satterthwaite"]["df"][name], rtol=1e-4)


# --- what cannot be estimated


@pytest.mark.parametrize("term", ["litsize", "treatment[Low]"])
def test_a_predictor_of_groups_is_estimated_where_groups_are_compared_alone(rat_pup, term):
    table = ladder(hb.Model("weight ~ sex + litsize + treatment + (1 | litter)", rat_pup), term)
    found = table["estimate"].notna()
    assert list(table.index[found]) == ["complete pooling", "aggregation", "REML, random intercept"]
    assert table.loc[~found, FIGURES].isna().all(axis=None)
    assert all(f"{term} does not vary within any group of litter" in note for note in table.loc[~found, "note"])


def test_groups_without_a_slope_of_their_own_are_counted_and_named():
    data = study()
    lone = data["g"].isin([f"g{k:02d}" for k in range(1, 8)])
    data.loc[lone, "x"] = 2001.0
    data = data[(data["g"] != "g08") | (data.groupby("g").cumcount() == 0)]
    table = ladder(hb.Model("y ~ x + z + (1 | g)", data), "x")
    note = table.loc["two-stage", "note"]
    assert note == ("without 8 of 12 groups, which have no slope of their own: g01, g02, g03, g04, g05 and 3 more")
    assert table.loc["two-stage", "df"] == 3
    assert table.loc["no pooling, full: mean slope", "note"] == f"mean of the slopes of 4 groups; {note}"


def test_the_first_group_may_have_no_slope_and_one_slope_has_no_test():
    data = study()
    data.loc[data["g"] != "g03", "x"] = 2001.0
    table = ladder(hb.Model("y ~ x + z + (1 | g)", data), "x")
    assert np.isnan(table.loc["no pooling, full", "estimate"])
    assert table.loc["no pooling, full", "note"] == "g00, the first group, has no slope of its own"
    assert np.isfinite(table.loc["two-stage", "estimate"])
    assert table.loc["two-stage", ["std_error", "p_value", "conf_low"]].isna().all()
    assert table.loc["two-stage", "note"].endswith("one slope has no standard deviation, so there is no test")
    assert_allclose(
        table.loc["no pooling, full: mean slope", FIGURES[1:3]].astype(float),
        table.loc["no pooling, intercepts", FIGURES[1:3]].astype(float),
    )


def test_predictors_that_go_together_within_groups_are_not_told_apart():
    data = study()
    data["z"] = 2.0 * data["x"] + data["size"]
    table = ladder(hb.Model("y ~ x + z + (1 | g)", data), "x")
    assert (
        table.loc["no pooling, intercepts", "note"]
        == "within the groups of g x cannot be told from the other predictors"
    )
    assert np.isfinite(table.loc["complete pooling", "estimate"])


@pytest.mark.parametrize("formula", ["y ~ within(x, g) + between(x, g) + (1 | g)", "y ~ xc + (1 | g)"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_means_of_a_predictor_centred_within_groups_are_not_divided_by_their_rounding(formula, shift):
    data = study()
    data["xc"] = data["x"] - data.groupby("g")["x"].transform("mean") + shift
    table = ladder(hb.Model(formula, data), "xc" if "xc" in formula else "within(x, g)")
    assert np.isnan(table.loc["aggregation", "estimate"])
    assert table.loc["aggregation", "note"].endswith("is the same in every group of g")
    if "between" in formula:  # the other part is that of the means
        between = ladder(hb.Model(formula, data), "between(x, g)").loc["aggregation"]
        means = data.groupby("g")[["y", "x"]].mean()
        b, se, *_ = regress(means["y"].to_numpy(), [np.ones(12), means["x"] - 2000])
        assert_allclose(between[["estimate", "std_error"]].astype(float), [b[1], se[1]], rtol=1e-7)


def test_names_with_spaces_are_quoted():
    data = study()
    plain = ladder(hb.Model("y ~ x + (x | g)", data))
    odd = data.rename(columns={"x": "my x", "g": "my g"})
    table = ladder(hb.Model("y ~ `my x` + (`my x` | `my g`)", odd))
    assert_allclose(table[FIGURES], plain[FIGURES])
    for name, formula in table["formula"].items():
        if name not in ("aggregation", "two-stage"):
            hb.Model(formula if "|" in formula else f"{formula} + (1 | `my g`)", odd)
            assert formula == plain.loc[name, "formula"].replace("x", "`my x`").replace("g", "`my g`")
    slopes = ladder(hb.Model("y ~ `my x` + (1 | `my g`)", odd)).loc["REML, random intercept + slope"]
    assert_allclose(slopes[FIGURES].astype(float), plain.loc[slopes.name, FIGURES].astype(float), rtol=1e-6)


def test_too_few_means_say_so():
    data = study(groups=3)
    table = ladder(hb.Model("y ~ x + z + f + (1 | g)", data), "x")
    assert table.loc["aggregation", "note"] == "3 means do not tell x from the other predictors"


# --- which slope


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("y ~ x + size + (1 | g)", "x"),
        ("y ~ x + z + (z | g)", "z"),
        ("y ~ f + x + (1 | g)", "x"),
        ("y ~ np.log(x) + (1 | g)", "np.log(x)"),
    ],
)
def test_the_slope_is_found_where_there_is_one(formula, found):
    data = study()
    own = ladder(hb.Model(formula, data))
    assert_allclose(own[FIGURES], ladder(hb.Model(formula, data), found)[FIGURES])


@pytest.mark.parametrize(
    ("formula", "term", "message"),
    [
        ("y ~ x + z + (1 | g)", None, r"several of those of .* stand out; say which: term= one of 'x', 'z'\."),
        ("y ~ x + z + (x + z | g)", None, r"several .* one of 'x', 'z'\."),
        ("y ~ f + size + (1 | g)", None, r"none .* stands out; say which: term= one of 'f\[b\]', 'f\[c\]', 'size'\."),
        ("y ~ z + (x | g)", None, r"random slopes 'x' have no fixed effect beside them"),
        ("y ~ x + z + (1 | g)", "X", r"There is no slope 'X'\. Did you mean 'x'\?"),
        ("y ~ x + z + (1 | g)", "Intercept", r"There is no slope 'Intercept'\."),
        ("y ~ x + f + (1 | g)", "f", r"The term 'f' has the coefficients 'f\[b\]', 'f\[c\]'; name one of them\."),
    ],
)
def test_what_is_meant_must_be_clear(formula, term, message):
    with pytest.raises(ValueError, match=message):
        hb.pooling(hb.Model(formula, study()), term, bayes=False)


def test_what_the_ladder_is_not_for_is_refused_in_a_sentence():
    data = study()
    data["h"] = data["g"].str[-1]
    data["time"] = data.groupby("g").cumcount()
    refused = {
        "needs one grouping factor.*'g' and 'h'": hb.Model("y ~ x + (1 | g) + (1 | h)", data),
        r"independent residuals.*leave out ar1\(time \| g\)": hb.Model(
            "y ~ x + (1 | g)", data, residual="ar1(time | g)"
        ),
        "leave out se=": hb.Model("y ~ x + (1 | g)", data, se="w"),
        "needs a Gaussian response, not poisson": hb.Model("time ~ x + (1 | g)", data, family="poisson"),
        "no fixed effect but the intercept": hb.Model("y ~ 1 + (1 | g)", data),
    }
    for message, model in refused.items():
        with pytest.raises(FormulaError, match=message):
            hb.pooling(model, "x", bayes=False)
    model = hb.Model("y ~ x + (1 | g)", data)
    with pytest.raises(TypeError, match=r"takes a Model, not a RemlFit; Model\.of\(fit\)"):
        hb.pooling(model.reml())
    with pytest.raises(ValueError, match="between 0 and 1"):
        hb.pooling(model, conf_level=95)
    with pytest.raises(ValueError, match="df is 'satterthwaite'"):
        hb.pooling(model, df="t")


# --- the models between


@pytest.mark.parametrize(
    ("formula", "fixed"),
    [
        ("y ~ x + (x | g)", "y ~ x"),
        ("y ~ (1 | g) + x", "y ~ x"),
        ("y ~ x + (1 | g) + z + (0 + x | g)", "y ~ x + z"),
        ("y ~ (1 | g)", "y ~ 1"),
        ("y ~ 0 + f(x) + (1|g)", "y ~ 0 + f(x)"),
    ],
)
def test_fixed_part(formula, fixed):
    assert fixed_part(formula) == fixed


def test_smaller_models_keep_functions_weights_and_priors():
    import bambi

    def twice(x):
        return 2.0 * (x - 2000.0)

    data = study()
    priors = {
        "twice(x)": bambi.Prior("Normal", mu=0, sigma=0.015),
        "twice(x)|g": bambi.Prior("Normal", mu=0, sigma=bambi.Prior("HalfNormal", sigma=1)),
    }
    model = hb.Model("y ~ twice(x) + z + offset(o) + (twice(x) | g)", data, weights=data["w"], priors=priors)
    smaller = with_effects(model, "(1 | g)")
    assert_allclose(smaller.design.X, model.design.X)
    assert_allclose(smaller.design.weights, data["w"])
    assert_allclose(smaller.design.offset, data["o"])
    assert list(smaller.given_priors) == ["twice(x)"]
    table = hb.pooling(model, seed=1, draws=500, progress=False).set_index("model")
    # a prior about as narrow as the standard error pulls half the way to zero
    assert_allclose(table.loc["REML, random intercept", "std_error"], 0.015, rtol=0.1)
    ratio = table.loc["Bayes, random intercept", "estimate"] / table.loc["REML, random intercept", "estimate"]
    assert 0.3 < ratio < 0.7


def test_names_that_need_backticks():
    data = study().rename(columns={"x": "the year"})
    table = ladder(hb.Model("y ~ `the year` + (1 | g)", data))
    assert_allclose(table[FIGURES], ladder(hb.Model("y ~ x + (1 | g)", study()))[FIGURES], rtol=1e-6)


def test_conf_level_and_z_tests():
    model = hb.Model("y ~ x + (1 | g)", study())
    half, z = ladder(model, conf_level=0.5), ladder(model, df="z")
    assert_allclose(
        half["conf_high"] - half["estimate"], stats.t.ppf(0.75, half["df"]) * half["std_error"], rtol=1e-12
    )
    assert np.isinf(z.loc["REML, random intercept", "df"])


# --- least squares with columns of levels


def test_levels_cost_no_columns():
    """20,000 levels: a matrix with a column for each would have 0.8e9 numbers."""
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(20_000), 2)
    x, z = rng.normal(size=(2, 40_000))
    y = x + rng.normal(size=20_000)[codes] + 0.1 * rng.normal(size=40_000)
    found = least_squares(y, np.column_stack([x, z]), np.ones((40_000, 1)), codes, 20_000)
    dx, dz, dy = (np.diff(v.reshape(-1, 2)).ravel() for v in (x, z, y))  # two rows a level: differences
    b, se, s, df, _ = regress(dy, [dx, dz])
    answer = found.combination(np.array([1.0, 0.0]))
    assert_allclose([answer.estimate, answer.std_error, found.rmse], [b[0], se[0], s / np.sqrt(2)], rtol=1e-10)
    assert found.df == df


def test_units_do_not_decide_what_is_estimable():
    data = study()
    plain = ladder(hb.Model("y ~ x + z + (1 | g)", data), "x")
    scaled = data.assign(x=1e9 * data["x"], z=1e-9 * data["z"], y=1e-6 * data["y"])
    other = ladder(hb.Model("y ~ x + z + (1 | g)", scaled), "x")
    assert_allclose(other["statistic"], plain["statistic"], rtol=1e-5)
    assert_allclose(other["estimate"], 1e-15 * plain["estimate"], rtol=1e-5)


# --- the z test of statsmodels


def dense_observed(reml, Z, groups, pairs):
    """Standard errors from second differences of the restricted likelihood in β and ψ, σ² profiled out, dense."""
    design = reml.design
    X, y, n = design.X, design.y, design.n
    same = groups[:, None] == groups
    p = X.shape[1]

    def loglik(parameters):
        beta, psi = parameters[:p], parameters[p:]
        Psi = np.zeros((Z.shape[1],) * 2)
        for (i, j), value in zip(pairs, psi, strict=True):
            Psi[i, j] = Psi[j, i] = value
        V = np.eye(n) + same * (Z @ Psi @ Z.T)
        r = y - X @ beta
        solved = np.linalg.solve(V, np.column_stack([X, r]))
        logdet = np.linalg.slogdet(V)[1] + np.linalg.slogdet(X.T @ solved[:, :p])[1]
        return -0.5 * ((n - p) * np.log(r @ solved[:, p]) + logdet)

    Psi = reml.covariance / reml.sigma**2
    at = np.array([*reml.fixef, *(Psi[i, j] for i, j in pairs)])
    h = 2e-4 * np.array([*np.sqrt(np.diag(reml.vcov)), *(np.sqrt(Psi[i, i] * Psi[j, j]) for i, j in pairs)])
    k = len(at)
    H = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            a, b = h[i] * np.eye(k)[i], h[j] * np.eye(k)[j]
            H[i, j] = (loglik(at + a + b) - loglik(at + a - b) - loglik(at - a + b) + loglik(at - a - b)) / (
                4 * h[i] * h[j]
            )
    return np.sqrt(np.diag(np.linalg.inv(-H)))[:p]


@pytest.mark.parametrize("effects", ["(1 | g)", "(x | g)", "(x || g)"])
def test_observed_standard_errors_are_those_of_second_differences(effects):
    data = study(90, 8)
    data["x"] -= 2000
    model = hb.Model(f"y ~ x + z + {effects}", data)
    reml = model.reml()
    assert not reml.singular
    Z = model.design.X[:, : 1 if effects == "(1 | g)" else 2]
    pairs = {"(1 | g)": [(0, 0)], "(x | g)": [(0, 0), (1, 1), (1, 0)], "(x || g)": [(0, 0), (1, 1)]}[effects]
    dense = dense_observed(reml, Z, model.design.factors[0].codes, pairs)
    # second differences of a likelihood of order 100 over steps of 2e-4 standard deviations
    assert_allclose(observed_std_errors(reml), dense, rtol=2e-5)
    assert np.abs(dense / np.sqrt(np.diag(reml.vcov)) - 1).max() > 1e-4  # and they are not those of least squares


def test_where_the_likelihood_is_flat_there_is_no_z_test():
    data = hb.load_data("Dyestuff2").assign(x=lambda d: np.arange(len(d)) % 5)
    table = ladder(hb.Model("Yield ~ x + (1 | Batch)", data))
    row = table.loc["REML, random intercept"]
    assert row["note"] == "singular: sd(Intercept) 0"
    assert_allclose(row["estimate"], table.loc["complete pooling", "estimate"])
    assert np.isfinite(row["p_value"])


# --- the figure


def test_figure_shows_the_table(score_ladder):
    figure = pooling_figure(score_ladder, "edu")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES + BAYES
    for mark, rows in ((style.REML, [4, 6]), (style.POSTERIOR, [8, 9]), (style.COMPLETE, [0])):
        drawn = [
            line
            for line in axes.get_lines()
            if line.get_marker() == mark.marker and line.get_markeredgecolor() == mark.color
        ]
        assert_allclose([line.get_xdata()[0] for line in drawn], score_ladder["estimate"].iloc[rows])
        assert [line.get_ydata()[0] for line in drawn] == rows
    texts = [text.get_text() for text in axes.texts]
    assert "singular fit" in texts
    assert "estimate 6.07" in texts
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "complete pooling", "least squares", "REML", "posterior",
    ]  # fmt: skip


def test_figure_names_rows_without_estimates(sleepstudy):
    table = hb.pooling(hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy), bayes=False)
    (axes,) = pooling_figure(table, "Days").axes
    assert [text.get_text() for text in axes.texts] == [" no estimate", "estimate 21.8"]


def test_incomplete_rows_are_left_out_once():
    data = study()
    data.loc[3, "z"] = np.nan
    with pytest.warns(hb.RowsDropped):
        model = hb.Model("y ~ x + z + (1 | g)", data)
    table = ladder(model, "x")
    assert_allclose(table[FIGURES], ladder(hb.Model("y ~ x + z + (1 | g)", data.dropna()), "x")[FIGURES])
