"""Cross-validation across clusters: the same folds for all, figures of scikit-learn and of dense algebra, traps."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hierbayes as hb
from hierbayes.plots import cross_validation_figure
from hierbayes.plots.style import PAPER
from hierbayes.rivals.features import Features
from hierbayes.rivals.ordinary import ordinary
from hierbayes.rivals.scores import mean_over_folds, root_mean_square

EXACT = 1e-10
"""Least squares by another algorithm."""
OPTIMUM = 1e-6
"""Two searches for one maximum, from different starting points."""
LME4 = 3e-6
"""Its search stops earlier."""
VERSIONS = 0.05
"""Random forests of another version of scikit-learn draw other trees."""
RANDOM, GROUPED = "random K-fold", "grouped K-fold"


def tiny(**more):
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 5), "x": rng.normal(size=30), **more})
    effects = dict(zip("abcdef", rng.normal(0.0, 2.0, 6), strict=True))
    return data.assign(y=1.0 + 0.5 * data["x"] + data["g"].map(effects) + rng.normal(size=30))


def validated(formula, data, estimators=None, **more):
    return hb.cross_validate(
        hb.Model(formula, data), {} if estimators is None else estimators, **{"bayes": False, **more}
    )


@pytest.fixture(scope="module")
def five_groups():
    return validated("y ~ X + (1 | group)", hb.load_data("five_groups"))


def of(found, method, scheme):
    rows = found.predictions
    return rows[(rows["method"] == method) & (rows["scheme"] == scheme)]


def entry(found, method, scheme):
    table = found.table.set_index(["method", "scheme"])
    return table.loc[(method, scheme)]


# ordinary regression


@pytest.mark.parametrize("scheme", [RANDOM, GROUPED])
def test_ordinary_regression_is_that_of_scikit_learn(five_groups, scheme):
    data = hb.load_data("five_groups")
    made = of(five_groups, "ordinary regression", scheme)
    expected = np.empty(100)
    for train, test in PredefinedSplit(made["fold"].to_numpy()).split():
        expected[test] = (
            LinearRegression().fit(data[["X"]].iloc[train], data["y"].iloc[train]).predict(data[["X"]].iloc[test])
        )
    assert_allclose(made["predicted"], expected, rtol=EXACT, atol=EXACT)
    rmse = np.sqrt(mean_squared_error(data["y"], expected))
    assert_allclose(entry(five_groups, "ordinary regression", scheme)["rmse"], rmse, rtol=EXACT)


def test_dummies_are_those_of_scikit_learn_and_say_nothing_of_a_new_cluster(five_groups):
    data = hb.load_data("five_groups")
    made = of(five_groups, "ordinary regression, group dummies", RANDOM)
    X = pd.get_dummies(data[["X", "group"]], columns=["group"], dtype=float)
    expected = np.empty(100)
    for train, test in PredefinedSplit(made["fold"].to_numpy()).split():
        expected[test] = LinearRegression().fit(X.iloc[train], data["y"].iloc[train]).predict(X.iloc[test])
    assert_allclose(made["predicted"], expected, rtol=EXACT, atol=EXACT)
    new = entry(five_groups, "ordinary regression, group dummies", GROUPED)
    assert np.isnan(new["rmse"])
    assert new["n"] == 0
    assert new["failures"] == 0
    assert "no dummy for a new group" in new["note"]


def test_density_of_a_mean_is_student_t():
    design = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).design
    known, new = np.arange(6), np.array([6, 7])
    mean, log_density = ordinary(design, known, new)
    y = design.y[known]
    assert_allclose(mean, y.mean(), rtol=EXACT)
    expected = stats.t.logpdf(design.y[new], 5, y.mean(), y.std(ddof=1) * np.sqrt(1 + 1 / 6))
    assert_allclose(log_density, expected, rtol=EXACT)
    assert np.isnan(ordinary(design, known[:1], new)[1]).all()


def test_sweeping_clusters_out_is_having_a_column_for_each():
    data = tiny(w=np.random.default_rng(1).uniform(0.5, 3.0, 30))
    design = hb.Model("y ~ x + (1 | g)", data, weights="w").design
    factor = design.factors[0]
    known, new = np.setdiff1d(np.arange(30), [3, 8, 14]), np.array([3, 8, 14])
    dummies = (factor.codes[:, None] == np.arange(1, 6)).astype(float)
    explicit = replace(design, X=np.column_stack([design.X, dummies]))
    for one, other in zip(ordinary(design, known, new, factor), ordinary(explicit, known, new), strict=True):
        assert_allclose(one, other, rtol=EXACT)


def test_known_standard_errors_make_the_density_normal():
    data = tiny(s=np.random.default_rng(2).uniform(0.5, 1.5, 30))
    design = hb.Model("y ~ x + (1 | g)", data, se="s").design
    known, new = np.arange(25), np.arange(25, 30)
    mean, log_density = ordinary(design, known, new)
    X, W = design.X[known], np.diag(1 / data["s"][:25] ** 2)
    cov = np.linalg.inv(X.T @ W @ X)
    expected = design.X[new] @ cov @ X.T @ W @ design.y[known]
    variance = data["s"][25:] ** 2 + np.einsum("ij,jk,ik->i", design.X[new], cov, design.X[new])
    assert_allclose(mean, expected, rtol=EXACT)
    assert_allclose(log_density, stats.norm.logpdf(design.y[new], expected, np.sqrt(variance)), rtol=EXACT)


def test_weights_and_offset_are_part_of_every_method():
    rng = np.random.default_rng(4)
    data = tiny(w=rng.uniform(0.5, 3.0, 30), o=rng.normal(size=30))
    found = hb.cross_validate(
        hb.Model("y ~ x + offset(o) + (1 | g)", data, weights="w"),
        {
            "line": LinearRegression(),
            "scaled": make_pipeline(StandardScaler(), LinearRegression()),
            "near": KNeighborsRegressor(3),
            "mixed": hb.MixedRegressor("x + offset(o) + (1 | g)", weights="w"),
        },
        bayes=False,
    )
    for scheme in (RANDOM, GROUPED):
        line, scaled, own = (
            of(found, name, scheme)["predicted"] for name in ("line", "scaled", "ordinary regression")
        )
        assert_allclose(line, own, rtol=EXACT, atol=EXACT)
        assert_allclose(scaled, own, rtol=EXACT, atol=EXACT)
        assert_allclose(of(found, "mixed", scheme)["predicted"], of(found, "REML", scheme)["predicted"], rtol=OPTIMUM)
        unused = [
            name for name in ("line", "scaled", "near", "mixed") if "not used" in entry(found, name, scheme)["note"]
        ]
        assert unused == ["near"]
        made = of(found, "REML", scheme)
        mean, log_density = kriged(data, made["fold"].to_numpy(), "y ~ x + offset(o) + (1 | g)", weights="w")
        assert_allclose(made["predicted"], mean, rtol=OPTIMUM, atol=OPTIMUM)
        assert_allclose(made["log_density"], log_density, rtol=OPTIMUM, atol=OPTIMUM)


# REML and Bayes


def kriged(data, fold, formula, **more):
    """Mean and log density of the rows of each fold by dense algebra, from a model of the other rows alone."""
    whole = hb.Model(formula, data, **more).design
    X, y, factor = whole.X, whole.y, whole.factors[0]
    y = y - (0.0 if whole.offset is None else whole.offset)
    noise = np.ones(whole.n) if whole.weights is None else 1.0 / whole.weights
    mean, log_density = np.empty(whole.n), np.empty(whole.n)
    Z = whole.effect_columns(factor)
    same = factor.codes[:, None] == factor.codes
    for part in np.unique(fold):
        out, rest = fold == part, fold != part
        reml = hb.Model(formula, data[rest], **more).reml()
        V = Z @ reml.covariance @ Z.T * same + np.diag(noise * reml.sigma**2)
        Vi = np.linalg.inv(V[np.ix_(rest, rest)])
        cov = np.linalg.inv(X[rest].T @ Vi @ X[rest])
        beta = cov @ X[rest].T @ Vi @ y[rest]
        c = V[np.ix_(out, rest)] @ Vi
        D = X[out] - c @ X[rest]
        mean[out] = X[out] @ beta + c @ (y[rest] - X[rest] @ beta)
        variance = np.diag(V[np.ix_(out, out)] - c @ V[np.ix_(rest, out)] + D @ cov @ D.T)
        log_density[out] = stats.norm.logpdf(y[out], mean[out], np.sqrt(variance))
    return mean + whole.y - y, log_density


@pytest.mark.parametrize("scheme", [RANDOM, GROUPED])
def test_reml_is_kriging_at_the_estimated_variances(sleepstudy, scheme):
    found = validated("Reaction ~ Days + (Days | Subject)", sleepstudy, k=3)
    made = of(found, "REML", scheme)
    mean, log_density = kriged(sleepstudy, made["fold"].to_numpy(), "Reaction ~ Days + (Days | Subject)")
    assert_allclose(made["predicted"], mean, rtol=OPTIMUM)
    assert_allclose(made["log_density"], log_density, rtol=OPTIMUM, atol=OPTIMUM)
    assert_allclose(entry(found, "REML", scheme)["elpd"], log_density.sum(), rtol=OPTIMUM)


def test_reml_predicts_what_lme4_does(sleepstudy):
    """RMSEs of the same parts f by lme4 1.1-31.

    m <- lmer(Reaction ~ Days + (Days | Subject), d[f != k, ]); predict(m, d[f == k, ], allow.new.levels = TRUE)
    """
    found = validated("Reaction ~ Days + (Days | Subject)", sleepstudy)
    rmse = [entry(found, "REML", scheme)["rmse"] for scheme in (RANDOM, GROUPED)]
    assert_allclose(rmse, [27.08300186, 50.96943537], rtol=LME4)


def test_a_singular_fit_predicts_and_is_counted():
    found = validated("y ~ X + (1 | cluster)", hb.load_data("unbalanced_clusters"))
    for scheme in (RANDOM, GROUPED):
        row = entry(found, "REML", scheme)
        assert "singular in" in row["note"]
        assert row["n"] == 380
        assert np.isfinite([row["rmse"], row["elpd"]]).all()


def test_the_elpd_of_bayes_is_that_of_kfold():
    model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    fit = model.fit(draws=500, tune=500, seed=1, progress=False)
    found = hb.cross_validate(model, {}, k=2, seed=5, bayes=fit)
    for scheme, group in ((RANDOM, None), (GROUPED, "Batch")):
        kfold = fit.kfold(2, group=group, seed=5, progress=False)
        made, row = of(found, "Bayes", scheme), entry(found, "Bayes", scheme)
        assert_allclose(made["fold"], kfold.fold)
        assert_allclose(made["log_density"], kfold.elpd_i.to_numpy(), rtol=1e-9)
        assert_allclose([row["elpd"], row["elpd_se"]], [kfold.elpd, kfold.se], rtol=1e-9)
    for fold in (0, 1):  # the posterior mean of a new batch is that of the intercept
        made = of(found, "Bayes", GROUPED)
        mean = made.loc[made["fold"] == fold, "predicted"]
        others = made.loc[made["fold"] != fold, "observed"]
        assert np.ptp(mean) < 1e-6
        assert abs(mean.iloc[0] - others.mean()) < 0.1 * others.std()


# folds, scores and tables


def test_all_methods_have_the_same_folds_and_the_seed_gives_all():
    data = tiny()
    forest = {"forest": (RandomForestRegressor(5, random_state=1), "one-hot")}
    one, again, other = (validated("y ~ x + (1 | g)", data, forest, repeats=2, seed=seed, k=3) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.table, again.table)
    pd.testing.assert_frame_equal(one.predictions, again.predictions)
    assert not one.predictions["fold"].equals(other.predictions["fold"])
    for _, made in one.predictions.groupby(["scheme", "repeat"]):
        folds = [of_one["fold"].tolist() for _, of_one in made.groupby("method")]
        assert len(folds) == 4
        assert all(fold == folds[0] for fold in folds)
    grouped = one.predictions[one.predictions["scheme"] == GROUPED]
    assert len(grouped.groupby(["repeat", "group", "fold"])) == 2 * 6
    assert one.table["known"].to_numpy().tolist() == [1.0, 0.0] * 4
    assert one.table["folds"].tolist() == [6] * 8
    first = validated("y ~ x + (1 | g)", data, seed=1, k=3).predictions
    assert (
        first["fold"].tolist()[:60]
        == of(one, "ordinary regression", RANDOM)["fold"].tolist()[:30]
        + of(one, "ordinary regression", GROUPED)["fold"].tolist()[:30]
    )


def test_repeats_average_mean_squares_and_elpds():
    found = validated("y ~ x + (1 | g)", tiny(), repeats=2)
    made, row = of(found, "REML", GROUPED), entry(found, "REML", GROUPED)
    assert_allclose(row["rmse"], np.sqrt(((made["observed"] - made["predicted"]) ** 2).mean()), rtol=EXACT)
    assert_allclose(row["elpd"], made["log_density"].sum() / 2, rtol=EXACT)


def test_the_standard_error_of_equal_folds_is_that_of_their_means():
    errors, fold = np.random.default_rng(0).normal(size=(1, 12)), np.arange(12)[None] % 3
    mse = np.array([(errors[fold == k] ** 2).mean() for k in range(3)])
    rmse, error = root_mean_square(errors, fold)
    assert_allclose(rmse, np.sqrt(mse.mean()), rtol=EXACT)
    assert_allclose(error, mse.std(ddof=1) / np.sqrt(3) / (2 * rmse), rtol=EXACT)
    assert np.isnan(mean_over_folds(errors, 0 * fold)[1])
    assert np.isnan(root_mean_square(errors * np.nan, fold)).all()


def test_optimism_and_differences_are_those_of_the_predictions(five_groups):
    optimism = five_groups.optimism.loc["REML"]
    random, grouped = (entry(five_groups, "REML", scheme)["rmse"] for scheme in (RANDOM, GROUPED))
    expected = [random, grouped, grouped - random, 100 * (grouped / random - 1), 100, 100]
    assert_allclose(optimism, expected, rtol=EXACT)
    assert optimism["percent"] > 90  # twice the error that was promised
    assert np.isnan(five_groups.optimism.loc["ordinary regression, group dummies", "optimism"])
    difference = five_groups.differences("ordinary regression")
    squares = {
        name: ((made["observed"] - made["predicted"]) ** 2).to_numpy()
        for name in ("REML", "ordinary regression")
        for made in [of(five_groups, name, GROUPED)]
    }
    more = squares["REML"] - squares["ordinary regression"]
    fold = of(five_groups, "REML", GROUPED)["fold"].to_numpy()
    assert_allclose(difference.loc["REML", "mse_difference"], more.mean(), rtol=EXACT)
    means = np.array([more[fold == k].mean() for k in range(5)])
    assert_allclose(difference.loc["REML", "mse_se"], means.std(ddof=1) / np.sqrt(5), rtol=EXACT)
    elpd = [entry(five_groups, name, GROUPED)["elpd"] for name in squares]
    assert_allclose(difference.loc["REML", "elpd_difference"], elpd[0] - elpd[1], rtol=EXACT)
    with pytest.raises(ValueError, match="no method 'ols'"):
        five_groups.differences("ols")


def test_means_of_groups_are_the_way_out_where_the_predictor_differs_between_clusters(five_groups):
    data = hb.load_data("five_groups")
    data["between"] = data.groupby("group")["X"].transform("mean")
    found = validated("y ~ X + between + (1 | group)", data)
    assert entry(found, "REML", GROUPED)["rmse"] < 0.6 * entry(five_groups, "REML", GROUPED)["rmse"]


def test_several_factors_one_of_which_is_new():
    data = hb.load_data("Penicillin")
    model = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    with pytest.raises(ValueError, match="grouping factors plate, sample; name the clusters in group="):
        hb.cross_validate(model, {}, bayes=False)
    found = hb.cross_validate(model, {}, bayes=False, group="sample")
    rmse = found.table.set_index(["method", "scheme"])["rmse"]
    assert rmse["REML", RANDOM] < rmse["ordinary regression, group dummies", RANDOM]  # plates are known besides
    assert rmse["REML", GROUPED] > 2 * rmse["REML", RANDOM]
    assert of(found, "REML", GROUPED).groupby("group")["fold"].nunique().eq(1).all()


# what the tutorial does


def test_the_tutorials_group_k_fold(five_groups):
    """Five groups of one size in five parts: the mean of the fold-wise mean squares is the square of the RMSE."""
    data = hb.load_data("five_groups")
    X, y = data[["X"]].to_numpy(), data["y"].to_numpy()
    scores = [
        mean_squared_error(y[test], LinearRegression().fit(X[train], y[train]).predict(X[test]))
        for train, test in GroupKFold(n_splits=5).split(X, y, data["group"])
    ]
    assert_allclose([np.mean(scores), np.std(scores)], [0.760911762874, 0.461811439895], rtol=1e-10)
    row = entry(five_groups, "ordinary regression", GROUPED)
    assert_allclose(row["rmse"] ** 2, np.mean(scores), rtol=EXACT)
    assert_allclose(row["rmse_se"] * 2 * row["rmse"], np.std(scores, ddof=1) / np.sqrt(5), rtol=EXACT)


def test_the_tutorials_random_forests():
    """One random split: the forest that knows the cluster looks better, and a straight line beats both."""
    data = hb.load_data("unbalanced_clusters")
    model = hb.Model("y ~ X + (1 | cluster)", data)
    train, test = train_test_split(np.arange(380), test_size=0.2, random_state=42)
    features, found = Features(model.specification, model.design.factors[0]), {}
    for kind, columns in (("fixed", ["X"]), ("number", ["X", "cluster"])):
        forest = RandomForestRegressor(n_estimators=100, random_state=42)
        slide = forest.fit(data[columns].iloc[train], data["y"].iloc[train]).predict(data[columns].iloc[test])
        X, X_new = features.split(kind, train, test)
        ours = forest.fit(X, data["y"].iloc[train]).predict(X_new)
        assert_allclose(ours, slide, rtol=EXACT)
        found[kind] = mean_squared_error(data["y"].iloc[test], slide)
    assert_allclose([found["fixed"], found["number"]], [0.438507973854, 0.412263272555], rtol=VERSIONS)
    line, _ = ordinary(model.design, train, test)
    assert_allclose(mean_squared_error(data["y"].iloc[test], line), 0.348392466524, rtol=1e-10)


def test_the_number_of_a_cluster_means_nothing():
    """Naming the clusters in another order changes what the number says of a new one, and nothing else."""
    forest = RandomForestRegressor(10, random_state=0)
    estimators = {"number": (forest, "number"), "none": forest}
    found = []
    for names in (np.arange(5), np.array([3, 0, 4, 1, 2])):
        data = hb.load_data("five_groups")
        data["group"] = names[data["group"]]
        # the same groups in the same parts: each is a part of its own
        found.append(validated("y ~ X + (1 | group)", data, estimators).table.set_index(["method", "scheme"]))
    one, other = (each["rmse"] for each in found)
    assert abs(one["number", GROUPED] / other["number", GROUPED] - 1) > 0.1
    assert_allclose(one["none", GROUPED], other["none", GROUPED], rtol=EXACT)
    assert_allclose(one["REML", GROUPED], other["REML", GROUPED], rtol=OPTIMUM)
    assert_allclose(one["ordinary regression"], other["ordinary regression"], rtol=EXACT)
    assert one["number", GROUPED] > 1.5 * one["number", RANDOM]


def test_indicators_are_of_the_clusters_fitted():
    model = hb.Model("y ~ x + (1 | g)", tiny())
    features = Features(model.specification, model.design.factors[0])
    X, X_new = features.split("one-hot", np.arange(10), np.array([0, 29]))
    assert list(X) == ["x", "g[a]", "g[b]"]
    assert X_new[["g[a]", "g[b]"]].to_numpy().tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert features.split("number", np.arange(10), np.array([0, 29]))[1]["g"].tolist() == [0.0, 5.0]
    assert list(features.split("data", np.arange(10), np.array([0, 29]))[0]) == ["g", "x"]
    constant = hb.Model("y ~ 1 + (1 | g)", tiny())
    assert list(Features(constant.specification, constant.design.factors[0]).fixed) == ["Intercept"]


@pytest.mark.parametrize(
    ("formula", "seen"),
    [
        ("`my score` ~ score + (1 | g)", ["g", "score"]),  # "score" is half of the response's name
        ("np.log(yy) ~ log + (1 | g)", ["g", "log"]),  # "log" is a function on the left
        ("I(y - pre) ~ pre + (1 | g)", ["g", "pre"]),  # on both sides
        ("scale(y) ~ between(pre, g) + (score | g:h) + offset(`dose/kg`)", ["g", "pre", "score", "h", "dose/kg"]),
    ],
)
def test_data_are_what_the_right_side_uses(formula, seen):
    x = np.random.default_rng(5).normal(size=30)
    data = tiny(score=x, log=x, pre=x, h=np.arange(30) % 2, **{"dose/kg": x})
    data["my score"], data["yy"] = data["y"], np.exp(data["y"])
    model = hb.Model(formula, data)
    features = Features(model.specification, model.design.factors[0])
    assert set(features.split("data", np.arange(20), np.arange(20, 30))[0]) == set(seen)


def test_data_hold_the_columns_of_weights_and_series():
    data = tiny(w=np.linspace(0.5, 2.0, 30), t=np.tile(np.arange(5), 6))
    model = hb.Model("y ~ x + (1 | g)", data, weights="w", residual="ar1(t | g)")
    assert set(Features(model.specification, model.design.factors[0]).data) == {"g", "x", "w", "t"}
    model = hb.Model("y ~ x + (1 | g)", data, weights=np.linspace(0.5, 2.0, 30))
    assert set(Features(model.specification, model.design.factors[0]).data) == {"g", "x"}


# estimators, failures, refusals


def test_estimators_take_the_place_of_the_forests():
    mixed = hb.MixedRegressor("y ~ x + (1 | g)")
    data = tiny()
    found = validated("y ~ x + (1 | g)", data, {"mixed": mixed, "near": (KNeighborsRegressor(3), "one-hot")})
    assert list(found.table["method"].unique()) == [
        "ordinary regression", "ordinary regression, group dummies", "mixed", "near", "REML",
    ]  # fmt: skip
    for scheme in (RANDOM, GROUPED):
        one, other = (of(found, name, scheme)["predicted"] for name in ("mixed", "REML"))
        assert_allclose(one, other, rtol=OPTIMUM, atol=OPTIMUM)
    assert entry(found, "near", RANDOM)["note"] == "no predictive density"
    assert np.isnan(entry(found, "near", RANDOM)["elpd"])


@pytest.mark.filterwarnings("ignore::hierbayes.SingularFit")  # of half of the rows
def test_a_mixed_regressor_sees_the_data_wherever_it_stands():
    mixed = hb.MixedRegressor("x + (1 | g)")
    found = validated(
        "y ~ x + (1 | g)",
        tiny(),
        {
            "searched": GridSearchCV(mixed, {"method": ["reml"]}, cv=2),
            "piped": make_pipeline(mixed),
            "transformed": TransformedTargetRegressor(mixed),
        },
        k=3,
    )
    for name in ("searched", "piped", "transformed"):
        one, other = (of(found, method, RANDOM)["predicted"] for method in (name, "REML"))
        assert_allclose(one, other, rtol=OPTIMUM, atol=OPTIMUM)


class Needy(LinearRegression):
    """Needs the column of the clusters."""

    def fit(self, X, y):
        """As of the line."""
        if "g" not in X:
            raise ValueError("where is g?\nThis is a long story.")
        return super().fit(X[["x"]], y)


def test_a_remedy_where_all_fits_of_an_estimator_fail():
    note = entry(validated("y ~ x + (1 | g)", tiny(), {"needy": Needy()}, k=3), "needy", RANDOM)["note"]
    assert note.startswith(
        '3 of 3 fits failed: where is g?; does it need the columns of the data? Give (estimator, "data")'
    )
    assert "long story" not in note


def test_fewer_rows_are_said_and_drawn():
    data = tiny()
    data["kind"] = np.where(data["g"] == "c", "odd", "plain")
    found = validated("y ~ x + kind + (1 | g)", data, k=6)
    assert found.n_rows == 30
    assert "RMSE over fewer than the 30 rows, not comparable with the others: ordinary regression, grouped" in repr(
        found
    )
    assert found.optimism.loc["REML", ["n_random", "n_grouped"]].tolist() == [30, 25]
    axes = cross_validation_figure(found).axes[0]
    hollow = [line for line in axes.get_lines() if line.get_marker() in "oD" and line.get_markerfacecolor() == PAPER]
    partial = found.table["n"] == 25
    assert sorted(line.get_xdata()[0] for line in hollow) == sorted(found.table.loc[partial, "rmse"])
    assert [text.get_text() for text in axes.texts].count("25 of 30 rows") == partial.sum() > 0


def test_forests_are_there_unless_others_are_given():
    found = hb.cross_validate(hb.Model("y ~ x + (1 | g)", tiny()), k=2, bayes=False)
    assert [name for name in found.table["method"].unique() if name.startswith("random forest")] == [
        "random forest", "random forest, group one-hot", "random forest, group as a number",
    ]  # fmt: skip
    assert "no predictive density" in repr(found)


class Fussy(LinearRegression):
    """Refuses rows without the first one."""

    def fit(self, X, y):
        """As of the line."""
        if 0 not in X.index:
            raise ValueError("too fussy.")
        return super().fit(X, y)


def test_failures_are_counted_and_said():
    found = validated("y ~ x + (1 | g)", tiny(), {"fussy": Fussy()}, k=3)
    row = entry(found, "fussy", RANDOM)
    assert row["failures"] == 1
    assert row["n"] == 20
    assert (
        row["note"]
        == "1 of 3 fits failed: too fussy; no predictive density in 2 of 3 fits; 10 of 30 rows not predicted"
    )
    assert np.isnan(of(found, "fussy", RANDOM)["predicted"]).sum() == 10


def test_a_category_of_one_cluster_cannot_be_predicted_there():
    data = tiny()
    data["kind"] = np.where(data["g"] == "c", "odd", "plain")
    found = validated("y ~ x + kind + (1 | g)", data, k=6)
    row = entry(found, "ordinary regression", GROUPED)
    assert row["n"] == 25
    assert "rows that the rows fitted do not determine in 1 of 6 fits" in row["note"]
    row = entry(found, "REML", GROUPED)
    assert (row["failures"], row["n"]) == (1, 25)
    assert "do not determine the coefficients" in row["note"]
    assert np.isnan(row["elpd"])


def test_correlated_residuals_are_left_out_by_whole_series():
    data = hb.load_data("arma_clusters")
    found = hb.cross_validate(
        hb.Model("value ~ time + (1 | cluster)", data, residual="ar1(time | cluster)"), {}, k=3, bayes=False
    )
    row = entry(found, "REML", RANDOM)
    assert row["failures"] == 3
    assert "the folds part series of 'cluster'" in row["note"]
    assert "fit.lfo() of the posterior asks" in row["note"]
    assert np.isfinite(entry(found, "REML", GROUPED)["elpd"])


def test_rows_left_out_for_missing_values_are_said():
    data = tiny()
    data.loc[4, "x"] = np.nan
    with pytest.warns(hb.errors.RowsDropped):
        model = hb.Model("y ~ x + (1 | g)", data)
    found = hb.cross_validate(model, {}, bayes=False)
    assert found.n_dropped == 1
    assert "1 incomplete rows left out" in repr(found)
    assert 4 not in set(found.predictions["row"])
    assert found.table["n"].max() == 29


def test_parts_are_at_most_as_many_as_clusters():
    found = validated("y ~ x + (1 | g)", tiny(), k=10)
    assert found.table["folds"].tolist() == [10, 6] * 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"k": 1}, "k must be a whole number between 2 and the 30 rows"),
        ({"repeats": 0}, "repeats must be a positive whole number"),
        ({"group": "h"}, "no grouping factor 'h'"),
        ({"estimators": {"REML": LinearRegression()}}, "'REML' is a method already"),
        ({"estimators": {"a": (LinearRegression(), "all")}}, "the features of 'a' must be one of fixed, one-hot"),
        ({"estimators": {"a": 3}}, "'a' must be an estimator of scikit-learn"),
        ({"estimators": {"a": LinearRegression}}, r"'a' is the class LinearRegression; .*LinearRegression\(\)"),
        ({"estimators": [LinearRegression()]}, "estimators must be a dict of names and estimators, not a list"),
        (
            {"estimators": {"a": (LinearRegression(), "data", 1)}},
            r"'a' must be .*\(estimator, features\), not 3 things",
        ),
        ({"bayes": "yes"}, r"bayes must be True, False or what model\.fit\(\) gave, not a str"),
        ({"seed": None}, "seed must be a whole number"),
    ],
)
def test_refusals(more, message):
    with pytest.raises(ValueError, match=message):
        hb.cross_validate(hb.Model("y ~ x + (1 | g)", tiny()), **{"estimators": {}, "bayes": False, **more})


def test_models_and_posteriors_only(sleepstudy):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    reml = model.reml()
    for given in (model.formula, reml):
        with pytest.raises(ValueError, match=f"takes a Model, not a {type(given).__name__}"):
            hb.cross_validate(given)
    with pytest.raises(ValueError, match="not a RemlFit"):
        hb.cross_validate(model, {}, bayes=reml)


def test_a_fit_of_another_formula_is_refused(sleepstudy, fit_sleepstudy):
    with pytest.raises(ValueError, match="bayes= is a fit of 'Reaction ~ Days \\+ \\(Days"):
        hb.cross_validate(hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy), {}, bayes=fit_sleepstudy)


def test_other_families_are_refused():
    data = tiny().assign(n=lambda rows: np.arange(30) % 4)
    with pytest.raises(hb.HierbayesError, match="needs a Gaussian response"):
        hb.cross_validate(hb.Model("n ~ x + (1 | g)", data, family="poisson"))


def test_without_scikit_learn_one_sentence(monkeypatch):
    model = hb.Model("y ~ x + (1 | g)", tiny())
    for name in ("sklearn", "sklearn.base", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "hierbayes.rivals.regressor", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'hierbayes\[sklearn\]'; estimators=\{\} leaves them out"):
        hb.cross_validate(model, bayes=False)
    with pytest.raises(ImportError, match=r"MixedRegressor needs scikit-learn .* pip install 'hierbayes\[sklearn\]'"):
        importlib.import_module("hierbayes.rivals.regressor")
    assert len(hb.cross_validate(model, {}, bayes=False).table) == 6


def test_figure_shows_the_table(five_groups):
    figure = cross_validation_figure(five_groups, "New clusters are harder")
    axes = figure.axes[0]
    for scheme, marker in ((RANDOM, "o"), (GROUPED, "D")):
        drawn = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == marker]
        rmse = five_groups.table.loc[five_groups.table["scheme"] == scheme, "rmse"].dropna()
        assert_allclose(drawn, rmse)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(five_groups.table["method"].unique())
    assert [text.get_text() for text in axes.texts] == ["no prediction (grouped K-fold)"]
    assert "units of y" in axes.get_xlabel()
    assert mpl.get_backend()  # nothing was opened
