"""Traps of clustered data, against closed forms, dense algebra, brute force, or the program that steps into them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import hierbayes as hb
from hierbayes.clusters.correlations import _line
from hierbayes.clusters.hausman import with_means
from hierbayes.clusters.icc_estimates import _anova, _of_groups, expected_naive
from hierbayes.clusters.imputation import impute
from hierbayes.clusters.rubin import pool
from hierbayes.plots.clusters import correlations_figure, sensitivity_figure

EXACT = {"rtol": 1e-9, "atol": 1e-9}
"""Two ways to the same closed form."""
OPTIMUM = {"rtol": 2e-6, "atol": 1e-8}
"""Two ways to the same maximum of a likelihood, or something that depends on one."""
PRINTED = 5e-4
"""Half a unit of the third digit of a published figure."""


@pytest.fixture(scope="module")
def five_groups():
    return hb.load_data("five_groups")


@pytest.fixture(scope="module")
def unbalanced():
    """Groups of unequal sizes with two predictors, one of them correlated with the group effect, and weights."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(12), rng.integers(2, 12, 12))
    u = rng.normal(size=12)[g]
    x, z = rng.normal(size=len(g)) + u, rng.normal(size=len(g))
    y = 1.0 + 0.5 * x - 0.3 * z + u + rng.normal(size=len(g))
    return pd.DataFrame({"g": g.astype(str), "x": x, "z": z, "y": y, "w": rng.uniform(0.5, 2.0, len(g))})


# ---------------------------------------------------------------- correlations


def test_total_covariance_is_between_plus_within(unbalanced):
    found = hb.correlations(unbalanced, "x", "y", "g")
    cov = found.covariance
    assert_allclose(cov["total"], cov["between"] + cov["within"], **EXACT)
    S = np.cov(unbalanced["x"], unbalanced["y"])
    assert_allclose(cov["total"], [S[0, 0], S[0, 1], S[1, 1]], **EXACT)


def test_rows_are_those_of_regressions(unbalanced):
    table = hb.correlations(unbalanced, "x", "y", "g", conf_level=0.9).table
    overall = stats.linregress(unbalanced["x"], unbalanced["y"])
    low, high = stats.pearsonr(unbalanced["x"], unbalanced["y"]).confidence_interval(0.9)
    columns = ["correlation", "slope", "std_error", "p_value", "conf_low", "conf_high"]
    assert_allclose(table.loc[0, columns].astype(float), [overall[2], overall[0], overall[4], overall[3], low, high])
    smf = pytest.importorskip("statsmodels.formula.api")
    dummies = smf.ols("y ~ x + C(g)", unbalanced).fit()
    assert_allclose(table.loc[1, ["slope", "std_error", "df", "p_value"]].astype(float),
                    [dummies.params["x"], dummies.bse["x"], dummies.df_resid, dummies.pvalues["x"]])  # fmt: skip
    means = unbalanced.groupby("g")[["x", "y"]].mean()
    assert_allclose(table.loc[2, ["n", "slope"]].astype(float), [12, stats.linregress(means["x"], means["y"])[0]])
    own = stats.linregress(*unbalanced[unbalanced["g"] == "3"][["x", "y"]].to_numpy().T)
    row = table[table["group"] == "3"].iloc[0]
    assert_allclose(row[["slope", "std_error", "p_value"]].astype(float), [own[0], own[4], own[3]])


def test_interval_of_the_within_correlation_covers():
    rng = np.random.default_rng(1)
    inside, rho, runs = [], 0.5, 2000
    for _ in range(runs):
        e = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (8, 3))
        low, high = _line((e - e.mean(axis=1, keepdims=True)).reshape(24, 2), 8, 0.9)[2:4]
        inside.append(low < rho < high)
    # Fisher's z has a bias of order 1/df, which 14 degrees of freedom still show
    assert abs(np.mean(inside) - 0.9) < 3.5 * np.sqrt(0.9 * 0.1 / runs) + 0.005


def test_the_reversal_is_real_and_has_the_slopes_it_was_made_with():
    data = hb.load_data("reversal")
    found = hb.correlations(data, "x", "y", "group")
    assert found.reverses
    assert found.p_reversal < 1e-12
    assert (found.table.query("level == 'group'")["slope"] < 0).all()
    assert found.verdict.startswith("The sign reverses")
    assert "8 of 8" in found.verdict
    tidy = hb.Model("y ~ within(x, group) + between(x, group) + (1 | group)", data).reml().tidy().set_index("term")
    for term, truth in (("within(x, group)", -0.8), ("between(x, group)", 1.2)):
        assert tidy.loc[term, "conf_low"] < truth < tidy.loc[term, "conf_high"]


def test_the_tutorials_paradox_is_none():
    found = hb.correlations(hb.load_data("simpson"), "x", "y", "group")
    assert not found.reverses
    assert found.verdict.startswith("No reversal")
    assert_allclose(found.table["correlation"], [-0.0984, -0.1239, -1.0, -0.0340, -0.2148], atol=5e-5)
    clouds = hb.load_data("clustered_blobs")
    clouds["y"] -= 0.4 * (clouds["X"] - clouds.groupby("cluster")["X"].transform("mean"))
    weak = hb.correlations(clouds.iloc[::5], "X", "y", "cluster")
    assert not weak.reverses
    assert weak.verdict.startswith("The signs differ, but a reversal is not established")
    assert 0.025 < weak.p_reversal < 0.5


def test_degenerate_groups_have_no_correlation():
    data = pd.DataFrame({"g": list("aabbbc"), "x": [1, 1, 1, 2, 3, 4.0], "y": [1, 2, 5, 3, 4, 4.0]})
    rows = hb.correlations(data, "x", "y", "g").table.set_index("group")
    assert rows.loc[["a", "c"], "slope"].isna().all()
    assert rows.loc["b", "slope"] == pytest.approx(-0.5)
    for bad, text in [
        (("x", "x", "g"), "three different"),
        (("x", "q", "g"), "'q' is not a column"),
        (("g", "y", "x"), "is text"),
    ]:
        with pytest.raises(hb.DataError, match=text):
            hb.correlations(data, *bad)
    with pytest.raises(hb.DataError, match="one group"):
        hb.correlations(data.assign(g=1), "x", "y", "g")
    with pytest.raises(hb.DataError, match="the same value in every row"):
        hb.correlations(data.assign(x=2.0), "x", "y", "g")
    with pytest.warns(hb.RowsDropped, match="1 of 6 rows have missing values in 'y'"):
        hb.correlations(data.assign(y=data["y"].where(data["y"] < 5)), "x", "y", "g")


# ---------------------------------------------------------------- between and within


def test_the_tutorials_slope_is_biased_and_the_within_slope_is_not(five_groups):
    random = hb.Model("y ~ X + (1 | group)", five_groups)
    hybrid = hb.between_within(random)
    tidy = hybrid.reml().tidy().set_index("term")
    assert tidy.loc["within(X, group)", "conf_low"] < 0.5 < tidy.loc["within(X, group)", "conf_high"]
    contextual = hybrid.reml().contrast({"between(X, group)": 1, "within(X, group)": -1}).iloc[0]
    # the group mean enters y once for itself: 1 beyond the slope
    assert contextual["p_value"] < 1e-3
    assert contextual["conf_low"] < 1.0 < contextual["conf_high"]
    assert random.reml().fixef["X"] > hybrid.reml().fixef["within(X, group)"]


def test_bias_of_the_random_intercept_model_over_many_data_sets():
    rng = np.random.default_rng(3)
    n, found = 4, []
    for _ in range(60):
        u = np.repeat(rng.normal(size=30), n)
        x = rng.normal(size=30 * n) + u
        data = pd.DataFrame({"g": np.repeat(np.arange(30), n), "x": x, "y": 0.5 * x + u + rng.normal(size=30 * n)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hb.SingularFit)  # once in a while u is all in the mean of x
            random = hb.Model("y ~ x + (1 | g)", data)
            found.append([random.reml().fixef["x"], hb.between_within(random).reml().fixef["within(x, g)"]])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(60)
    assert mean[0] - 0.5 > 8 * error[0]
    assert abs(mean[1] - 0.5) < 3.5 * error[1]


def test_what_is_split_and_what_is_not(unbalanced):
    rng = np.random.default_rng(2)
    data = unbalanced.assign(
        sex=rng.choice(["m", "f"], len(unbalanced)),
        level=unbalanced["g"].map(lambda g: float(int(g) % 3)),
        known=rng.normal(size=len(unbalanced)),
    )
    model = hb.Model("y ~ level + sex * x + log(w) + offset(known) + (x | g)", data, weights="w")
    made = hb.between_within(model)
    means = data.groupby("g")
    male = (data["sex"] == "m").astype(float)
    expected = {
        "within(sex == 'm', g)": male - male.groupby(data["g"]).transform("mean"),
        "within(x, g)": data["x"] - means["x"].transform("mean"),
        "between(log(w), g)": np.log(data["w"]).groupby(data["g"]).transform("mean"),
        "level": data["level"],
    }
    X = pd.DataFrame(made.design.X, columns=made.design.labels)
    assert_allclose(X[list(expected)], np.column_stack(list(expected.values())), **EXACT)
    product = male * data["x"]
    assert_allclose(X.iloc[:, 6], product - product.groupby(data["g"]).transform("mean"), **EXACT)
    assert X.shape[1] == 2 + 2 * 4
    assert_allclose(made.design.blocks[0].Z[:, 1], expected["within(x, g)"], **EXACT)
    assert made.design.weights is not None
    assert made.design.offset is not None
    read = made.specification.new_rows(data.head(3).assign(g="new"))
    assert_allclose(read.X[:, 3], data["sex"].head(3).eq("m").mean(), **EXACT)


def test_splitting_by_one_of_several_factors():
    data = hb.load_data("cake")
    data["x"] = np.sin(np.arange(len(data)) ** 2)
    model = hb.Model("angle ~ x + (1 | replicate) + (1 | recipe:replicate)", data)
    with pytest.raises(hb.DataError, match="several grouping factors; name one of 'replicate', 'recipe:replicate'"):
        hb.between_within(model)
    made = hb.between_within(model, "recipe:replicate")
    means = data.groupby(["recipe", "replicate"])["x"].transform("mean")
    assert_allclose(made.design.X[:, 1:], np.column_stack([data["x"] - means, means]), **EXACT)
    with pytest.raises(hb.DataError, match="no grouping factor 'recipes'"):
        hb.between_within(model, "recipes")


def test_names_that_need_backticks(five_groups):
    data = five_groups.rename(columns={"y": "my y", "X": "my X", "group": "the group"})
    model = hb.Model("`my y` ~ `my X` + (1 | `the group`)", data)
    made = hb.between_within(model)
    assert made.formula == (
        "`my y` ~ 1 + within(`my X`, `the group`) + between(`my X`, `the group`) + (1 | `the group`)"
    )
    assert_allclose(made.design.X, hb.between_within(hb.Model("y ~ X + (1 | group)", five_groups)).design.X, **EXACT)
    scaled = hb.between_within(hb.Model("`my y` ~ scale(`my X`) + (scale(`my X`) | `the group`)", data))
    assert scaled.design.labels[1:] == [f"{part}(scale(my X), the group)" for part in ("within", "between")]
    relation = hb.grouping(data.assign(row=np.arange(100) // 4), "the group", "row")
    assert relation.formula == "(1 | `the group`) + (1 | row)"
    data.loc[[3, 50, 60], "my y"] = np.nan
    found = hb.missing("`my y` ~ `my X` + (1 | `the group`)", data)
    assert found.dropped == 3
    assert len(found.related) == 1
    table = hb.icc_estimates(data.dropna(), "my y", "the group", "my X")
    assert table["given"].tolist() == ["", "", "", "my X", "my X"]


def test_between_within_keeps_priors_or_says_which_it_cannot(five_groups):
    bambi = pytest.importorskip("bambi")
    data = five_groups.assign(z=five_groups["group"] % 2)
    normal = bambi.Prior("Normal", mu=1, sigma=0.1)
    made = hb.between_within(
        hb.Model("y ~ X + z + (1 | group)", data, priors={"z": normal}), priors={"within(X, group)": normal}
    )
    table = made.prior_summary().set_index("term")
    assert (table.loc[["z", "within(X, group)"], "prior"] == "Normal(mu=1, sigma=0.1)").all()
    with pytest.raises(hb.PriorError, match="The prior of 'X' has no term"):
        hb.between_within(hb.Model("y ~ X + z + (1 | group)", data, priors={"X": normal}))


def test_nothing_to_split_is_said(sleepstudy):
    with pytest.raises(hb.DataError, match="nothing to split"):
        hb.between_within(hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy))
    data = hb.load_data("five_groups")
    with pytest.raises(hb.HierbayesError, match="several columns of one function"):
        hb.between_within(hb.Model("y ~ poly(X, 2) + (1 | group)", data))
    category = data.assign(k=np.arange(100) % 7 % 2)
    with pytest.raises(hb.HierbayesError, match=r"categories of 'C\(k\)' are computed in the formula"):
        hb.between_within(hb.Model("y ~ C(k) + (1 | group)", category))


def test_cell_means_and_models_without_intercept_become_an_intercept_and_the_rest(unbalanced):
    data = unbalanced.assign(k=np.random.default_rng(4).choice(list("abc"), len(unbalanced)))
    parts = ["within(k == 'b', g)", "within(k == 'c', g)"]
    made = [hb.between_within(hb.Model(f"y ~ {k} + x + ({k} | g)", data)) for k in ("k", "0 + k")]
    for one in made:
        assert one.design.blocks[0].labels == ["Intercept", *parts]
        assert one.design.labels[0] == "Intercept"
    assert_allclose(made[0].design.X, made[1].design.X, **EXACT)
    assert np.linalg.matrix_rank(made[0].design.X) == 7
    # independent effects of categories are no intercept and differences
    whole = hb.between_within(hb.Model("y ~ k + (0 + k || g)", data))
    assert whole.design.blocks[0].labels == ["k[a]", "k[b]", "k[c]"]
    days = data.assign(k=pd.Categorical(pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(data)) % 3, "D")))
    with pytest.raises(hb.HierbayesError, match="of type Timestamp, which a formula cannot hold"):
        hb.between_within(hb.Model("y ~ k + (1 | g)", days))


def test_labels_of_products_mean_what_they_say(unbalanced):
    data = unbalanced.assign(sex=np.where(np.arange(len(unbalanced)) % 3, "m", "f"))
    labels = hb.between_within(hb.Model("y ~ sex * x + (1 | g)", data)).design.labels
    assert "within(I(sex == 'm') * x, g)" in labels


def test_predictors_far_from_zero_vary_within_groups(unbalanced):
    """Ordinals of dates: some days within, and seven hundred thousand from zero."""
    data = unbalanced.assign(day=np.round(4 * unbalanced["x"]))
    far = data.assign(day=data["day"] + 737_000.0)
    assert "within(day, g)" in hb.between_within(hb.Model("y ~ day + z + (1 | g)", far)).design.labels
    near, there = (hb.hausman(hb.Model("y ~ day + z + (1 | g)", d)).coefficients for d in (data, far))
    assert there["term"].tolist() == ["day", "z"]
    assert_allclose(there["fixed"], near["fixed"], rtol=1e-6)


def test_the_within_slope_is_that_of_group_dummies_for_unbalanced_data_too(unbalanced):
    model = hb.Model("y ~ x + z + (1 | g)", unbalanced)
    within = hb.between_within(model).reml().fixef.filter(like="within")
    assert_allclose(within, hb.hausman(model).coefficients["fixed"], **OPTIMUM)


# ---------------------------------------------------------------- Hausman


def dense(data, tau2, sigma2, means=()):
    """Generalised least squares at given variances, by the whole covariance matrix."""
    X = np.column_stack([np.ones(len(data)), data[["x", "z"]], *means])
    Z = pd.get_dummies(data["g"]).to_numpy(float)
    V = tau2 * Z @ Z.T + sigma2 * np.diag(1.0 / data["w"])
    bread = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    return bread @ (X.T @ np.linalg.solve(V, data["y"])), bread


def test_hausman_is_the_textbooks_formula(unbalanced):
    data = unbalanced
    found = hb.hausman(hb.Model("y ~ x + z + (1 | g)", data, weights="w"))
    reml = hb.Model("y ~ x + z + (1 | g)", data, weights="w").reml()
    D = np.column_stack([data[["x", "z"]], pd.get_dummies(data["g"]).to_numpy(float)])
    w = data["w"].to_numpy()
    bread = np.linalg.inv(D.T @ (w[:, None] * D))
    b = bread @ (D.T @ (w * data["y"]))
    s2 = (w * (data["y"] - D @ b) ** 2).sum() / (len(data) - D.shape[1])
    b_r, V_r = dense(data, reml.covariance[0, 0], reml.sigma**2)
    d = b[:2] - b_r[1:]
    V = [bread[:2, :2] * scale - V_r[1:, 1:] for scale in (s2, reml.sigma**2)]
    H = [d @ np.linalg.solve(v, d) for v in V]
    assert_allclose(found.coefficients["fixed"], b[:2], **EXACT)
    assert_allclose(found.coefficients["fixed_se"], np.sqrt(np.diag(bread)[:2] * s2), **EXACT)
    assert_allclose(found.coefficients["random"], b_r[1:], **OPTIMUM)
    assert_allclose(found.coefficients["std_error"], np.sqrt(np.diag(V[1])), **OPTIMUM)
    assert_allclose(found.tests["statistic"][:2], H, **OPTIMUM)
    assert_allclose(found.tests["p_value"][:2], stats.chi2.sf(H, 2), rtol=1e-5)


def test_mundlaks_test_is_hausmans_at_equal_variances(unbalanced):
    """Also for unbalanced data with weights, where the means are weighted."""
    data, reml = unbalanced, hb.Model("y ~ x + z + (1 | g)", unbalanced, weights="w").reml()
    found = hb.hausman(hb.Model("y ~ x + z + (1 | g)", data, weights="w"))
    design = with_means(reml.design, reml.design.factors[0], np.array([False, True, True]))
    b, V = dense(data, reml.covariance[0, 0], reml.sigma**2, design.X[:, 3:].T)
    wald = b[3:] @ np.linalg.solve(V[3:, 3:], b[3:])
    assert_allclose(found.tests["statistic"][1], wald, **OPTIMUM)
    own = hb.Model("y ~ x + z + mx + mz + (1 | g)", data.assign(mx=design.X[:, 3], mz=design.X[:, 4]), weights="w")
    test = own.reml().joint_test(["mx", "mz"]).iloc[0]
    row = found.tests.iloc[2][["statistic", "den_df", "p_value"]]
    assert_allclose(row.astype(float), test[["F", "den_df", "p_value"]].astype(float), rtol=1e-5)


def test_hausman_says_where_there_is_no_test(five_groups):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # no group effect at all: random effects are complete pooling
        noise = hb.hausman(hb.Model("y ~ X + (1 | cluster)", hb.load_data("unbalanced_clusters")))
    if noise.tests["note"].str.contains("complete pooling").any():
        assert noise.coefficients["random"].notna().all()
    rng = np.random.default_rng(100)
    g = np.repeat(np.arange(8), 5)
    data = pd.DataFrame({"g": g, "x": rng.normal(size=40), "z": rng.normal(size=40), "y": rng.normal(size=40)})
    found = hb.hausman(hb.Model("y ~ x + z + (1 | g)", data))
    assert "not positive definite" in found.tests["note"][0]
    assert np.isnan(found.tests["statistic"][0])
    assert np.isfinite(found.tests["statistic"][[1, 2]]).all()
    for formula in ("y ~ X + (X | group)", "y ~ X + (1 | group) + (1 | half)"):
        with pytest.raises(hb.HierbayesError, match=r"one random intercept"):
            hb.hausman(hb.Model(formula, five_groups.assign(half=np.arange(100) % 10)))
    with pytest.raises(hb.DataError, match="No predictor varies within"):
        hb.hausman(hb.Model("y ~ 1 + (1 | group)", five_groups))
    collinear = five_groups.assign(Z=five_groups["X"] + five_groups["group"])
    with pytest.raises(hb.DataError, match="collinear within"):
        hb.hausman(hb.Model("y ~ X + Z + (1 | group)", collinear))


# ---------------------------------------------------------------- intraclass correlation


def slide_six(data, group, value):
    """The tutorial's own arithmetic."""
    means = data.groupby(group)[value].mean()
    between = sum((mean - data[value].mean()) ** 2 for mean in means) / (len(means) - 1)
    within = sum(np.var(part) for _, part in data.groupby(group)[value]) / len(means)
    return between / (between + within)


SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Table 2 of Shrout & Fleiss (1979): six targets, four judges; ICC(1) is .17, and -.13 to .72 its interval."""


def test_published_figures_of_shrout_and_fleiss():
    data = pd.DataFrame({"target": np.repeat(np.arange(6), 4), "score": np.ravel(SHROUT_FLEISS)})
    row = hb.icc_estimates(data, "score", "target").set_index("estimator").loc["ANOVA"]
    assert_allclose([row["icc"], row["conf_low"], row["conf_high"]], [0.17, -0.13, 0.72], atol=5e-3)
    ms = 11.24, 6.26  # their mean squares
    F, k = ms[0] / ms[1], 4
    low, high = (F / stats.f.isf(0.025, 5, 18), F * stats.f.isf(0.025, 18, 5))
    assert_allclose(row["conf_low"], (low - 1) / (low + k - 1), atol=2e-3)
    assert_allclose(row["conf_high"], (high - 1) / (high + k - 1), atol=2e-3)


def test_estimators_by_hand(unbalanced, five_groups):
    table = hb.icc_estimates(unbalanced, "y", "g").set_index("estimator")
    assert_allclose(table.loc["naive", "icc"], slide_six(unbalanced, "g", "y"), **EXACT)
    parts = [part.to_numpy() for _, part in unbalanced.groupby("g")["y"]]
    n = np.array([len(part) for part in parts])
    msw = sum(((part - part.mean()) ** 2).sum() for part in parts) / (n.sum() - len(n))
    msb = (n * (np.array([part.mean() for part in parts]) - unbalanced["y"].mean()) ** 2).sum() / (len(n) - 1)
    n0 = (n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1)
    between = (msb - msw) / n0
    assert_allclose(table.loc["ANOVA", ["between", "within"]].astype(float), [between, msw], **EXACT)
    reml = hb.Model("y ~ 1 + (1 | g)", unbalanced).reml()
    assert_allclose(table.loc["REML", "icc"], reml.icc()["estimate"].iloc[0], **OPTIMUM)
    given = hb.icc_estimates(five_groups, "y", "group", given="X")
    reml = hb.Model("y ~ X + (1 | group)", five_groups).reml()
    assert_allclose(given.iloc[4]["icc"], reml.covariance[0, 0] / (reml.covariance[0, 0] + reml.sigma**2), **OPTIMUM)
    balanced = hb.icc_estimates(five_groups, "y", "group")
    assert_allclose(balanced["icc"][1], balanced["icc"][2], **OPTIMUM)


def test_interval_is_exact_for_unbalanced_groups_with_a_predictor():
    rng = np.random.default_rng(5)
    sizes = np.array([2, 3, 5, 9, 4, 2])
    g = np.repeat(np.arange(6), sizes)
    x = rng.normal(size=len(g)) + rng.normal(size=6)[g]
    inside, truth, runs = 0, 0.4, 2000
    for _ in range(runs):
        y = 2 * x + np.sqrt(truth) * rng.normal(size=6)[g] + np.sqrt(1 - truth) * rng.normal(size=len(g))
        low, high = _anova(y, np.column_stack([np.ones(len(g)), x]), g, 0.8)[2:]
        inside += low < truth < high
    assert abs(inside / runs - 0.8) < 3.5 * np.sqrt(0.8 * 0.2 / runs)


@pytest.mark.parametrize("predictors", [0, 2])
def test_groups_of_one_size_are_taken_together(predictors):
    """The eigenvalues are those of the whole matrix, and many groups cost no matrix of groups x groups."""
    rng = np.random.default_rng(6)
    g = np.unique(rng.integers(0, 30, 110), return_inverse=True)[1]
    columns = rng.normal(size=(110, predictors))
    Q = np.linalg.qr(np.column_stack([np.ones(110), columns]))[0]
    y = rng.normal(size=110) + rng.normal(size=30)[g]
    y -= Q @ (Q.T @ y)
    Z = np.eye(g.max() + 1)[g]
    values, P = np.linalg.eigh(Z.T @ Z - Z.T @ Q @ Q.T @ Z)
    s, values = (P.T @ Z.T @ y)[1:], values[1:]  # the groups add up to the intercept
    lam, counts, squares = _of_groups(y, Q, g)
    assert_allclose(np.sort(np.repeat(lam, counts)), values, **EXACT)
    for theta in (0.0, 0.1, 10.0):
        found = (squares / lam / (1 + lam * theta)).sum()
        assert_allclose(found, (s**2 / values / (1 + values * theta)).sum(), **EXACT)
    many = np.repeat(np.arange(20_000), 3)  # 3.2 GB and hours as a matrix
    assert _of_groups(np.sin(many), np.full((60_000, 1), 60_000**-0.5), many)[1].sum() == 19_999


def test_expectation_of_the_naive_ratio():
    n, icc = 5, 0.3
    assert_allclose(expected_naive(icc, 1 - icc, [n] * 9), icc + (1 - icc) / n, **EXACT)
    rng = np.random.default_rng(8)
    sizes, parts = np.array([2, 4, 10, 3]), []
    g = np.repeat(np.arange(4), sizes)
    for _ in range(4000):
        y = rng.normal(size=4)[g] * 0.5 + rng.normal(size=len(g))
        means = np.bincount(g, y) / sizes
        inside = np.bincount(g, (y - means[g]) ** 2) / sizes
        parts.append([((means - y.mean()) ** 2).sum() / 3, inside.mean()])
    between, within = np.mean(parts, axis=0)
    assert_allclose(expected_naive(0.25, 1.0, sizes), between / (between + within), rtol=0.02)


def test_negative_and_boundary_estimates_are_shown():
    table = hb.icc_estimates(hb.load_data("Dyestuff2"), "Yield", "Batch").set_index("estimator")
    assert table.loc["ANOVA", "icc"] < 0
    assert "below zero" in table.loc["ANOVA", "note"]
    assert table.loc["REML", "icc"] == 0
    assert "boundary" in table.loc["REML", "note"]
    assert_allclose(table.loc["naive", "expects"], 0.2, **EXACT)
    with pytest.raises(hb.DataError, match="several rows"):
        hb.icc_estimates(pd.DataFrame({"g": list("abc"), "y": [1.0, 2, 3]}), "y", "g")


def test_statsmodels_divides_the_group_variance_by_the_scale(five_groups):
    smf = pytest.importorskip("statsmodels.formula.api")
    fit = smf.mixedlm("y ~ 1", five_groups, groups="group").fit()
    reml = hb.Model("y ~ 1 + (1 | group)", five_groups).reml()
    assert_allclose(
        fit.params.iloc[-1] * fit.scale, reml.covariance[0, 0], rtol=1e-3
    )  # it stops short of the optimum
    assert_allclose(fit.cov_re.iloc[0, 0], reml.covariance[0, 0], rtol=1e-3)  # slide 14 reads this one


def test_reliability_is_its_formula(unbalanced):
    reml = hb.Model("y ~ x + (1 | g)", unbalanced).reml()
    table = hb.reliability(reml)
    n = unbalanced.groupby("g").size()[table["level"]].to_numpy()
    ratio = reml.sigma**2 / reml.covariance[0, 0]
    assert_allclose(table["reliability"], n / (n + ratio), **EXACT)
    assert (table["rows"] == n).all()
    weighted = hb.Model("y ~ x + (1 | g)", unbalanced, weights="w").reml()
    w = unbalanced.groupby("g")["w"].sum()[table["level"]].to_numpy()
    expected = w / (w + weighted.sigma**2 / weighted.covariance[0, 0])
    assert_allclose(hb.reliability(weighted)["reliability"], expected, **EXACT)
    with pytest.raises(hb.HierbayesError, match="REML or ML fit"):
        hb.reliability(unbalanced)


# ---------------------------------------------------------------- weights


def test_statsmodels_has_no_weights():
    """The tutorial passes them, and its slide stops."""
    smf = pytest.importorskip("statsmodels.formula.api")
    data = hb.load_data("unbalanced_clusters")
    weights = 1.0 / data.groupby("cluster")["y"].transform("size")
    with pytest.raises(ValueError, match="weights not permitted"):
        smf.mixedlm("y ~ X", data, groups=data["cluster"], weights=weights)


def test_precision_weights_are_not_copies_of_rows(unbalanced):
    """Doubling all weights changes the unit of σ alone; doubling all rows claims twice the data."""
    plain = hb.Model("y ~ x + (1 | g)", unbalanced).reml()
    precise = hb.Model("y ~ x + (1 | g)", unbalanced, weights=np.full(len(unbalanced), 2.0)).reml()
    copied = hb.Model("y ~ x + (1 | g)", pd.concat([unbalanced, unbalanced])).reml()
    assert_allclose(precise.vcov, plain.vcov, **OPTIMUM)
    assert_allclose(precise.sigma**2, 2 * plain.sigma**2, **OPTIMUM)
    assert copied.vcov.loc["x", "x"] < 0.7 * plain.vcov.loc["x", "x"]


# ---------------------------------------------------------------- missing values


@pytest.fixture(scope="module")
def holes():
    """Sleep study with responses that go missing late, a missing predictor and a missing label."""
    rng = np.random.default_rng(4)
    data = hb.load_data("sleepstudy")
    data["Reaction"] = data["Reaction"].mask(rng.uniform(size=180) < 0.06 * data["Days"])
    data.loc[[1, 20], "Days"] = np.nan
    data.loc[20, "Reaction"] = np.nan
    data.loc[50, "Subject"] = None
    data.loc[data["Subject"] == "372", "Reaction"] = np.nan
    return data


def test_rows_are_counted_by_column_and_by_group(holes):
    found = hb.missing("Reaction ~ Days + (Days | Subject)", holes)
    gone = holes.isna()
    columns = found.columns.set_index("column")
    assert columns["role"].to_dict() == {"Reaction": "response", "Days": "predictor", "Subject": "group"}
    assert columns["missing"].to_dict() == gone.sum().to_dict()
    assert columns.loc["Days", "alone"] == (gone["Days"] & ~gone["Reaction"]).sum() == 1
    assert found.used == (~gone.any(axis=1)).sum()
    assert found.used + found.dropped == 180
    groups = found.groups.set_index("level")
    assert groups.loc["372", ["rows", "used"]].tolist() == [10, 0]
    assert "372" in repr(found)
    assert groups.loc["(missing)", ["rows", "used"]].tolist() == [1, 0]
    assert groups[["rows", "used", "dropped"]].sum().tolist() == [180, found.used, found.dropped]


def test_missingness_is_related_to_what_it_depends_on(holes):
    row = hb.missing("Reaction ~ Days + (Days | Subject)", holes).related.iloc[0]
    assert row["term"] == "Days"
    assert row["log_odds"] > 0
    assert row["p_value"] < 1e-3
    rows = holes[holes[["Days", "Subject"]].notna().all(axis=1)]
    own = hb.Model(
        "gone ~ Days + (1 | Subject)", rows.assign(gone=rows["Reaction"].isna() * 1), family="bernoulli"
    ).ml()
    assert_allclose(row["log_odds"], own.fixef["Days"], **OPTIMUM)
    whole = hb.missing("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    assert whole.dropped == 0
    assert not len(whole.related)
    assert "No response is missing" in whole.note
    with pytest.raises(hb.DataError, match="nothing to impute"):
        whole.sensitivity()


@pytest.mark.parametrize(
    "formula",
    [
        "Reaction ~ Days + (Days | Subject)",
        "np.log(Reaction) ~ scale(Days) + (1 | Subject)",
        "Reaction ~ Days + (1 | Subject) + (1 | half)",
    ],
)  # fmt: skip
def test_no_shift_is_the_likelihood_of_the_observed_rows(holes, formula):
    data = holes.assign(half=np.repeat(["a", "b", "c", "d", "e", "f"], 30))
    found = hb.missing(formula, data).sensitivity(
        deltas=[0], imputations=300 if "half" not in formula else 60, seed=2
    )
    seen, table = found.complete_case.set_index("contrast"), found.table.set_index("term")
    assert found.failed == 0
    assert found.imputed == (data["Reaction"].isna() & data.notna()[["Days", "Subject"]].all(axis=1)).sum()
    for term, row in table.iterrows():
        assert abs(row["estimate"] - seen.loc[term, "estimate"]) < 4 * row["monte_carlo_error"]
        assert row["std_error"] == pytest.approx(
            seen.loc[term, "std_error"], rel=0.12 if found.imputations > 100 else 0.2
        )
    if formula.startswith("Reaction"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dropped rows, and of half, which has no variance
            plain = hb.Model(formula, data).reml()
        assert_allclose(seen["estimate"], plain.fixef, **OPTIMUM)


def test_imputed_responses_have_the_moments_of_their_conditional(unbalanced):
    """Mean and variance of a missing row given the observed ones, by dense algebra at the fitted variances."""
    data = unbalanced
    design = hb.Model("y ~ x + (1 | g)", data, weights="w").design
    absent = np.zeros(design.n, dtype=bool)
    absent[[0, 5, 17]] = True
    made = impute(design, absent, 4000, 1)
    fit = made.complete_case
    Z = pd.get_dummies(data["g"]).to_numpy(float)
    V = fit.covariance[0, 0] * Z @ Z.T + fit.sigma**2 * np.diag(1 / data["w"])
    X, a, o = design.X, absent, ~absent
    beta, vcov = fit.fixef.to_numpy(), fit.vcov.to_numpy()
    K = np.linalg.solve(V[np.ix_(o, o)], V[np.ix_(o, a)]).T
    mean = X[a] @ beta + K @ (data["y"].to_numpy()[o] - X[o] @ beta)
    R = X[a] - K @ X[o]
    cov = V[np.ix_(a, a)] - K @ V[np.ix_(o, a)] + R @ vcov @ R.T
    error = made.draws.std(axis=0) / np.sqrt(4000)
    # the variances are drawn as well: of second order, and a little more spread
    assert (np.abs(made.draws.mean(axis=0) - mean) < 5 * error + 0.03 * np.sqrt(np.diag(cov))).all()
    assert_allclose(made.draws.var(axis=0), np.diag(cov), rtol=0.12)
    assert (made.responses()[:, o] == data["y"].to_numpy()[o]).all()


def test_shifts_move_what_they_are_added_to(holes):
    data = holes.assign(half=np.where(holes["Subject"].fillna("308") < "340", "early", "late"))
    found = hb.missing("Reaction ~ Days + half + (1 | Subject)", data)
    both = found.sensitivity(deltas=[-2, 2], imputations=40)
    late = found.sensitivity(deltas=[-2, 2], where="half == 'late'", imputations=40)
    at = both.table.pivot_table(index="delta", columns="term", values="estimate")
    assert at.index.tolist() == [-2.0, 0.0, 2.0]
    assert at["Days"].is_monotonic_increasing  # they are missing late in the study
    one = late.table.pivot_table(index="delta", columns="term", values="estimate")
    assert one["half[late]"].diff().min() > 1.0 > abs(one.loc[0.0, "half[late]"] - at.loc[0.0, "half[late]"])
    assert 0 < late.shifted < both.shifted == both.imputed
    with pytest.raises(hb.DataError, match="takes none"):
        found.sensitivity(where="Days > 100")
    with pytest.raises(ValueError, match="cannot be evaluated"):
        found.sensitivity(where="nothing > 1")
    with pytest.raises(ValueError, match="imputations must be"):
        found.sensitivity(imputations=1)


def test_the_tipping_point_is_where_the_interval_touches_zero(five_groups):
    data = five_groups.assign(treated=np.arange(100) % 2)
    data["y"] = data["y"] + 0.4 * data["treated"]
    data.loc[(np.arange(100) % 5 == 0) & (data["treated"] == 1), "y"] = np.nan
    found = hb.missing("y ~ X + treated + (1 | group)", data)
    wide = found.sensitivity(deltas=np.linspace(-6, 0, 7), where="treated == 1", imputations=60)
    row = wide.tipping.set_index("term").loc["treated"]
    assert not row["contains_zero"]
    assert -6 < row["delta"] < 0
    again = found.sensitivity(deltas=[row["delta"]], where="treated == 1", imputations=60)
    low = again.table.query("term == 'treated' and delta < 0")["conf_low"].iloc[0]
    assert abs(low) < 0.02  # of an estimate of 0.4; between the δ of a table the interval is not quite straight
    assert np.isnan(found.sensitivity(deltas=[-0.1], imputations=20).tipping.set_index("term").loc["X", "delta"])


def test_a_step_from_one_side_to_the_other_passes_the_tipping_point(five_groups):
    data = five_groups.assign(treated=np.arange(100) % 2)
    data["y"] = data["y"] + 0.4 * data["treated"]
    data.loc[(np.arange(100) % 5 == 0) & (data["treated"] == 1), "y"] = np.nan
    found = hb.missing("y ~ X + treated + (1 | group)", data)
    wide = found.sensitivity(deltas=[-60], where="treated == 1", imputations=20)
    ends = wide.table.query("term == 'treated'").set_index("delta")
    if not ends.loc[-60.0, "conf_high"] < 0 < ends.loc[0.0, "conf_low"]:
        pytest.fail("the step does not jump over zero")
    low = ends["conf_low"]
    expected = -60 * low[0.0] / (low[0.0] - low[-60.0])
    assert wide.tipping.set_index("term").loc["treated", "delta"] == pytest.approx(expected)


def test_shifts_are_in_residual_sds_of_the_row(unbalanced):
    """With known standard errors σ is 1 by convention, and no unit of the response."""
    data = unbalanced.assign(s=0.1 / np.sqrt(unbalanced["w"]))
    data.loc[::5, "y"] = np.nan
    gone = data["y"].isna()
    for given, scale in (({"se": "s"}, 0.1), ({"weights": "w"}, None)):
        found = hb.missing(hb.Model("y ~ x + (1 | g)", data.dropna(), **given), data)
        table = found.sensitivity(deltas=[1], imputations=5).table
        sigma = scale or hb.Model("y ~ x + (1 | g)", data.dropna(), **given).reml().sigma
        assert_allclose(table["shift"].max(), (sigma / np.sqrt(data["w"][gone])).mean(), **OPTIMUM)


@pytest.mark.parametrize("formula", ["y ~ scale(x) + (scale(x) | g)", "y ~ within(x, g) + between(x, g) + (1 | g)"])
def test_terms_that_learn_learn_of_the_rows_of_the_model(unbalanced, formula):
    data = unbalanced.assign(y=unbalanced["y"].where((unbalanced["x"] < 1.2) & (unbalanced["g"] != "3")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.RowsDropped)
        warnings.simplefilter("ignore", hb.SingularFit)  # slopes hardly differ
        seen = hb.Model(formula, data).reml()
    found = hb.missing(formula, data).sensitivity(deltas=[0], imputations=20)
    assert_allclose(found.complete_case["estimate"], seen.fixef, **OPTIMUM)
    assert (np.abs(found.table["estimate"] - seen.fixef.to_numpy()) < 4 * found.table["monte_carlo_error"]).all()


def test_missingness_is_related_to_predictors_without_offset_and_within_series(unbalanced):
    time = unbalanced.groupby("g").cumcount()
    data = unbalanced.assign(t=time, y=unbalanced["y"].mask(np.arange(len(unbalanced)) % 4 == 0))
    plain = hb.missing("y ~ x + (1 | g)", data).related
    assert_allclose(hb.missing("y ~ x + offset(z) + (1 | g)", data.assign(z=9 * data["z"])).related["log_odds"],
                    plain["log_odds"], **EXACT)  # fmt: skip
    found = hb.missing(hb.Model("y ~ x", data.dropna(), residual="ar1(t | g)"), data)
    assert found.columns.set_index("column")["role"][["g", "t"]].tolist() == ["series", "time"]
    assert_allclose(found.related["log_odds"], plain["log_odds"], **EXACT)


def test_rubins_rules():
    """The worked figures follow from the formulas of Barnard & Rubin (1999)."""
    q, u = np.array([1.0, 2.0, 4.0, 3.0]), np.array([2.0, 2.5, 1.5, 2.0])
    pooled = pool(q, u, 30.0)
    B, W = 5 / 3, 2.0
    T = W + 1.25 * B
    lam = 1.25 * B / T
    df = 1 / (lam**2 / 3 + 1 / (31 / 33 * 30 * (1 - lam)))
    assert_allclose([pooled.estimate, pooled.std_error**2, pooled.lost, pooled.df], [2.5, T, lam, df], **EXACT)
    assert_allclose(pool(q, u).df, 1 / (lam**2 / 3), **EXACT)
    assert pool(np.ones(5), np.ones(5), 12.0).df == pytest.approx(13 / 15 * 12)


def test_sensitivity_is_for_gaussian_models_with_independent_residuals(holes):
    cbpp = hb.load_data("cbpp")
    cbpp["incidence"] = cbpp["incidence"].astype(float).mask(np.arange(len(cbpp)) == 3)
    model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp.dropna(), family="binomial")
    found = hb.missing(model, cbpp)
    assert found.dropped == 1
    assert found.columns.set_index("column").loc["incidence", "role"] == "response"
    with pytest.raises(hb.HierbayesError, match="imputes from a Gaussian model"):
        found.sensitivity()
    whole = holes.dropna()
    weighted = hb.Model("Reaction ~ Days + (1 | Subject)", whole, weights=np.ones(len(whole)))
    with pytest.raises(hb.DataError, match="weights= was given as an array"):
        hb.missing(weighted, holes)


# ---------------------------------------------------------------- interactions


def test_a_product_column_is_the_interaction():
    data = hb.load_data("repeated_measures")
    data["time_treatment"] = data["time"] * (data["treatment"] == "treatment")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)  # the response is noise
        by_hand = hb.Model("response ~ time + treatment + time_treatment + (1 | subject)", data).ml()
        formula = hb.Model("response ~ time * treatment + (1 | subject)", data).ml()
        colon = hb.Model("response ~ time:treatment + (1 | subject)", data)
    assert_allclose(formula.fixef, by_hand.fixef, **EXACT)
    assert_allclose(formula.criterion, by_hand.criterion, **EXACT)
    # without its main effects the interaction is two slopes through one intercept
    assert colon.design.labels == ["Intercept", "time:treatment[control]", "time:treatment[treatment]"]


def test_fixed_by_random_interactions_are_lme4s(shared):
    """A slope of a factor by group, and the interaction of a factor with the grouping factor."""
    theirs = json.loads(shared("reference/lme4.json").read_text())["lmm"]["cake_numeric"]
    assert theirs["formula"] == "angle ~ recipe * temp + (1 | recipe:replicate)"
    data = hb.load_data("cake")
    assert_allclose(hb.Model(theirs["formula"], data).reml().criterion, theirs["REML"]["criterion"], rtol=1e-8)
    # (recipe | replicate) against its dense covariance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)  # recipes hardly differ between replicates
        slopes = hb.Model("angle ~ recipe + (recipe | replicate)", data).reml()
    columns = np.column_stack([np.ones(len(data)), pd.get_dummies(data["recipe"]).to_numpy(float)[:, 1:]])
    Z = np.einsum("ij,ik->ijk", pd.get_dummies(data["replicate"]).to_numpy(float), columns).reshape(len(data), -1)
    V = Z @ np.kron(np.eye(15), slopes.covariance) @ Z.T + slopes.sigma**2 * np.eye(len(data))
    X = slopes.design.X
    r = data["angle"] - X @ slopes.fixef.to_numpy()
    A = X.T @ np.linalg.solve(V, X)
    criterion = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + r @ np.linalg.solve(V, r)
    assert_allclose(slopes.criterion, criterion + (len(data) - 3) * np.log(2 * np.pi), rtol=1e-8)


# ---------------------------------------------------------------- crossed and nested


@pytest.mark.parametrize(
    ("name", "a", "b", "relation", "formula"),
    [
        ("Penicillin", "plate", "sample", "crossed", "(1 | plate) + (1 | sample)"),
        ("crossed", "subject", "item", "crossed", "(1 | subject) + (1 | item)"),
        ("Pastes", "batch", "sample", "nested", "(1 | batch) + (1 | sample)"),
        ("Pastes", "sample", "batch", "nested", "(1 | batch) + (1 | sample)"),
        ("Pastes", "batch", "cask", "crossed", "(1 | batch) + (1 | cask)"),
    ],
)
def test_grouping_of_known_designs(name, a, b, relation, formula):
    found = hb.grouping(hb.load_data(name), a, b)
    assert (found.relation, found.formula) == (relation, formula)
    assert found.counts.to_numpy().sum() == len(hb.load_data(name))
    if name == "Pastes":
        assert found.outer == "batch"
        assert found.replicated
        if relation == "crossed":
            assert "(1 | batch/cask)" in found.verdict


def test_labels_that_start_anew_in_every_school_are_noticed():
    data = pd.DataFrame({"school": list("aaabbbbcc"), "class": [1, 2, 2, 1, 2, 3, 4, 1, 2]})
    found = hb.grouping(data, "school", "class")
    assert (found.relation, found.reused, found.formula) == ("partially crossed", True, "(1 | school/class)")
    explicit = data.assign(**{"class": data["school"] + data["class"].astype(str)})
    assert hb.grouping(explicit, "school", "class").relation == "nested"
    mixed = pd.DataFrame({"a": list("uuvvww"), "b": list("xyyzzx")})
    found = hb.grouping(mixed, "a", "b")
    assert (found.relation, found.reused) == ("partially crossed", False)
    assert hb.grouping(mixed.assign(b=mixed["a"].str.upper()), "a", "b").relation == "same"
    with pytest.raises(hb.DataError, match="two different columns"):
        hb.grouping(mixed, "a", "a")


@pytest.fixture(scope="module")
def items():
    """24 subjects by 12 items with real effects, sds 1 and 0.8, residual 1; a condition of the items, effect 0.3."""
    rng = np.random.default_rng(12)
    subject, item = np.repeat(np.arange(24), 12), np.tile(np.arange(12), 24)
    response = rng.normal(size=24)[subject] + 0.8 * rng.normal(size=12)[item] + rng.normal(size=288)
    condition = (item >= 6) * 1.0
    return pd.DataFrame(
        {"subject": subject, "item": item, "condition": condition, "response": response + 0.3 * condition}
    )


def test_what_statsmodels_fits_for_a_bar_in_re_formula(items):
    """``~1|item`` is Python's bitwise or, a random slope on the number 1 | item."""
    smf = pytest.importorskip("statsmodels.formula.api")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and the boundary
        theirs = smf.mixedlm("response ~ condition", items, groups="subject", re_formula="~1|item").fit()
    data = items.assign(number=1 | items["item"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)  # the number means nothing
        ours = hb.Model("response ~ condition + (number | subject)", data).reml()
    assert list(theirs.cov_re.columns) == ["subject", "1 | item"]
    assert theirs.llf <= ours.loglik + 1e-6  # statsmodels may stop short of the optimum
    assert theirs.llf == pytest.approx(ours.loglik, abs=0.02)
    assert_allclose(theirs.bse_fe, np.sqrt(np.diag(ours.vcov)), rtol=0.01)
    right = hb.Model("response ~ condition + (1 | subject) + (1 | item)", items).reml()
    assert right.loglik - ours.loglik > 20
    # the condition is one of items, and 12 items are few: the wrong standard error is a fraction of the right one
    assert np.sqrt(right.vcov.loc["condition", "condition"]) > 2.5 * theirs.bse_fe["condition"]


def test_dummies_of_subjects_as_random_slopes_of_every_subject():
    """Slide 3 gives every group the dummies of all: each subject has a variance of its own, told from one effect."""
    sm = pytest.importorskip("statsmodels.api")
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    data = hb.load_data("repeated_measures")
    X = np.column_stack([np.ones(20), data["time"], data["treatment"] == "treatment"]).astype(float)
    Z = pd.get_dummies(data["subject"]).to_numpy(float)
    y = data["response"].to_numpy() + Z @ [0.0, 3.0, -2.0, 1.0]
    theirs = sm.MixedLM(y, X, groups=data["subject"], exog_re=Z)
    theirs.cov_pen = theirs.fe_pen = None  # as fit() sets them

    def loglik(D):
        params = MixedLMParams.from_components(fe_params=np.zeros(3), cov_re=D, vcomp=np.zeros(0))
        return theirs.loglike(params, profile_fe=True)

    D = np.diag([0.5, 2.0, 1.0, 3.0])
    V = Z @ D @ Z.T + np.eye(20)
    A = X.T @ np.linalg.solve(V, X)
    r = y - X @ np.linalg.solve(A, X.T @ np.linalg.solve(V, y))
    scale = r @ np.linalg.solve(V, r) / 17
    dense = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + 17 * (1 + np.log(2 * np.pi * scale))
    assert_allclose(loglik(D), -0.5 * dense, **EXACT)
    # six correlations are in the table and not in the likelihood, which is why the fit ends in a singular matrix
    assert_allclose(loglik(D + 0.4 * (np.ones((4, 4)) - np.eye(4))), loglik(D), **EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, on the way
        with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
            theirs.fit()


def test_a_fixed_effects_model_of_statsmodels_is_the_random_intercept_again():
    smf = pytest.importorskip("statsmodels.formula.api")
    data = hb.load_data("five_groups")
    one = smf.mixedlm("y ~ X", data, groups="group").fit()
    other = smf.mixedlm("y ~ X", data, groups="group", re_formula="~1").fit()
    assert one.llf == other.llf
    assert np.isnan(one.aic)
    assert np.isnan(other.aic)


# ---------------------------------------------------------------- figures


def test_figures_show_what_the_tables_hold(holes):
    data = hb.load_data("reversal")
    found = hb.correlations(data, "x", "y", "group")
    axes = correlations_figure(data, found).axes[0]
    assert axes.get_xlabel() == "x"
    assert "0.76 overall, -0.56 within group" in axes.get_title(loc="left")
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    slopes = [np.diff(line.get_ydata())[0] / np.diff(line.get_xdata())[0] for line in lines]
    assert_allclose(slopes, found.table["slope"].iloc[[*range(3, 11), 0, 2]], **EXACT)
    days = data.assign(group=pd.Timestamp("2020-01-01") + pd.to_timedelta(pd.factorize(data["group"])[0], "D"))
    drawn = correlations_figure(days, hb.correlations(days, "x", "y", "group")).axes[0].lines
    assert sum(len(line.get_xdata()) for line in drawn if len(line.get_xdata()) != 2) == len(data)
    shifts = hb.missing("Reaction ~ Days + (1 | Subject)", holes).sensitivity(imputations=10)
    axes = sensitivity_figure(shifts, "Days").axes[0]
    assert_allclose(axes.lines[1].get_ydata(), shifts.table.query("term == 'Days'")["estimate"], **EXACT)
    with pytest.raises(ValueError, match="no coefficient 'days'"):
        sensitivity_figure(shifts, "days")
