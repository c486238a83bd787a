"""The mixed model as a regressor of scikit-learn: its own checks, cross-validation, pipelines, searches."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import hierbayes as hb

EXACT = 1e-10
"""The same computation by another way."""
OPTIMUM = 1e-6
"""Two searches for one maximum, in other units."""


class Binned(hb.MixedRegressor):
    """Has clusters among the columns of numbers that scikit-learn's checks make."""

    def _frame(self, X):
        frame = super()._frame(X)
        return frame.assign(g=np.floor(10 * frame["x0"]) % 3)

    def _frame_and_response(self, X, y):
        frame, y = super()._frame_and_response(X, y)
        return frame.assign(g=np.floor(10 * frame["x0"]) % 3), y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # it knows but one of the columns that the responses are made of
        return tags


EXPECTED = {
    "check_regressors_no_decision_function": "the response is a column of X, so that there is no residual to model",
}


@pytest.mark.filterwarnings("ignore::hierbayes.SingularFit")  # responses of the checks owe nothing to the clusters
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([Binned("x0 + (1 | g)")], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows(sleepstudy):
    return sleepstudy[["Days", "Subject"]], sleepstudy["Reaction"]


FORMULA = "Reaction ~ Days + (Days | Subject)"


def test_cross_val_score_with_group_k_fold(rows):
    X, y = rows
    scores = cross_val_score(hb.MixedRegressor(FORMULA), X, y, groups=X["Subject"], cv=GroupKFold(5))
    expected = []
    for train, test in GroupKFold(5).split(X, y, X["Subject"]):
        reml = hb.Model(FORMULA, pd.concat([X, y], axis=1).iloc[train]).reml()
        mean = reml.predict(X.iloc[test], groups="average")["estimate"]
        assert_allclose(mean, reml.fixef["Intercept"] + reml.fixef["Days"] * X["Days"].iloc[test], rtol=EXACT)
        expected.append(r2_score(y.iloc[test], mean))
    assert_allclose(scores, expected, rtol=EXACT)


def test_it_predicts_what_cross_validate_does(rows):
    X, y = rows
    found = hb.cross_validate(hb.Model(FORMULA, X.assign(Reaction=y)), {}, bayes=False, k=4, seed=2)
    made = found.predictions[found.predictions["method"] == "REML"]
    for scheme, of_scheme in made.groupby("scheme"):
        fold = of_scheme["fold"].to_numpy()
        splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]
        mean = cross_val_predict(hb.MixedRegressor(FORMULA), X, y, cv=splits)
        assert_allclose(mean, of_scheme["predicted"], rtol=OPTIMUM, err_msg=scheme)


def test_known_and_new_levels_together(rows):
    X, y = rows
    regressor = hb.MixedRegressor(FORMULA).fit(X, y)
    assert regressor.fit_.method == "REML"
    assert list(regressor.feature_names_in_) == ["Days", "Subject"]
    assert regressor.n_features_in_ == 2
    some = pd.DataFrame({"Days": [1, 5, 9], "Subject": ["308", "new", "309"]}, index=[7, 7, 3])
    mean, sd = regressor.predict(some, return_std=True)
    table = regressor.fit_.predict(some, groups="mixed", kind="response")
    assert_allclose(mean, table["estimate"], rtol=EXACT)
    assert_allclose(sd, table["std_error"], rtol=EXACT)
    assert_allclose(mean[1], regressor.fit_.fixef @ [1, 5], rtol=EXACT)
    assert_allclose(regressor.score(X, y), r2_score(y, regressor.fit_.fitted), rtol=EXACT)
    for groups in ("average", "new", {"Subject": "population"}):
        average = hb.MixedRegressor(FORMULA, groups=groups).fit(X, y).predict(some)
        assert_allclose(average, regressor.fit_.predict(some, groups="average")["estimate"], rtol=EXACT)
    with pytest.raises(hb.DataError, match="has the level 'new'"):
        hb.MixedRegressor(FORMULA, groups="known").fit(X, y).predict(some)


def test_several_factors_one_of_which_is_known():
    data = hb.load_data("Penicillin")
    X, y = data[["plate", "sample"]], data["diameter"]
    regressor = hb.MixedRegressor("1 + (1 | plate) + (1 | sample)").fit(X, y)
    fit = regressor.fit_
    mean = regressor.predict(pd.DataFrame({"plate": ["a", "zz", "zz"], "sample": ["zz", "A", "zz"]}))
    expected = fit.fixef["Intercept"] + np.array(
        [fit.ranef["plate"].loc["a", "Intercept"], fit.ranef["sample"].loc["A", "Intercept"], 0.0]
    )
    assert_allclose(mean, expected, rtol=EXACT)


def test_right_side_alone_and_names_of_the_response(rows):
    X, y = rows
    both = X.assign(Reaction=0.0)  # ignored: y is the response
    expected = hb.MixedRegressor(FORMULA).fit(X, y).predict(X)
    for regressor, frame, response in [
        (hb.MixedRegressor("Days + (Days | Subject)"), X, y),
        (hb.MixedRegressor("~ Days + (Days | Subject)"), X, y.to_numpy()),
        (hb.MixedRegressor("`my y` ~ Days + (Days | Subject)"), X, list(y)),
        (hb.MixedRegressor(FORMULA), both, y),
    ]:
        assert_allclose(regressor.fit(frame, response).predict(frame), expected, rtol=EXACT)
    assert hb.MixedRegressor("Days + (Days | Subject)").fit(X, y).model_.design.response == "Reaction"
    with pytest.raises(hb.FormulaError, match=r"'log\(Reaction\)' is more than a name.*TransformedTargetRegressor"):
        hb.MixedRegressor("log(Reaction) ~ Days + (Days | Subject)").fit(X, y)
    logs = TransformedTargetRegressor(hb.MixedRegressor("Days + (1 | Subject)"), func=np.log, inverse_func=np.exp)
    assert logs.fit(X, y).score(X, y) > 0.6


@pytest.mark.parametrize("name", ["Days", "Subject", "w"])
def test_a_response_named_like_something_in_the_formula(rows, name):
    X, y = rows
    weighted = X.assign(w=np.linspace(0.5, 2.0, len(X)))
    expected = hb.MixedRegressor("Days + (1 | Subject)", weights="w").fit(weighted, y)
    regressor = hb.MixedRegressor("Days + (1 | Subject)", weights="w").fit(weighted, y.rename(name))
    assert regressor.model_.design.response == f"{name}_"
    assert_allclose(regressor.predict(weighted), expected.predict(weighted), rtol=EXACT)


def test_an_unnamed_response_leaves_a_predictor_y_alone(rows):
    X, y = rows
    renamed = X.rename(columns={"Days": "y"})
    mean = hb.MixedRegressor("y + (y | Subject)").fit(renamed, y.to_numpy()).predict(renamed)
    assert_allclose(mean, hb.MixedRegressor(FORMULA).fit(X, y).predict(X), rtol=EXACT)


def test_the_deviation_of_a_response_of_0_and_1_is_that_of_its_mean():
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"g": np.repeat(np.arange(15), 8), "x": rng.normal(size=120)})
    y = rng.binomial(1, 1 / (1 + np.exp(-data["x"] - rng.normal(size=15)[data["g"]])))
    new = pd.DataFrame({"g": [0, 99], "x": [0.5, 1.5]})
    found = [hb.MixedRegressor("x + (1 | g)", "ml", family="bernoulli", seed=seed).fit(data, y) for seed in (0, 1)]
    (mean, sd), (_, again) = (each.predict(new, return_std=True) for each in found)
    assert_allclose(sd, np.sqrt(mean * (1 - mean)), rtol=EXACT)
    assert_allclose(sd, again, rtol=0)


def test_pipeline_keeps_the_names(rows):
    X, y = rows
    scaled = ColumnTransformer([("days", StandardScaler(), ["Days"])], remainder="passthrough")
    scaled.set_output(transform="pandas").set_params(verbose_feature_names_out=False)
    pipeline = make_pipeline(scaled, hb.MixedRegressor("Days + (Days | Subject)"))
    cv = GroupKFold(3)
    mean = cross_val_predict(pipeline, X, y, groups=X["Subject"], cv=cv)
    assert_allclose(
        mean, cross_val_predict(hb.MixedRegressor(FORMULA), X, y, groups=X["Subject"], cv=cv), rtol=OPTIMUM
    )


def test_search_over_formulas_and_methods(rows):
    X, y = rows
    grid = {"formula": ["Days + (1 | Subject)", "Days + (Days | Subject)"], "method": ["reml", "ml"]}
    search = GridSearchCV(
        hb.MixedRegressor("1 + (1 | Subject)"), grid, cv=KFold(4, shuffle=True, random_state=0), error_score="raise"
    ).fit(X, y)
    assert search.best_params_["formula"] == "Days + (Days | Subject)"  # subjects differ in their slopes
    assert search.best_estimator_.fit_.method == search.best_params_["method"].upper()


def test_clone_and_pickle(rows):
    X, y = rows
    regressor = hb.MixedRegressor(FORMULA, method="ml").fit(X, y)
    again = pickle.loads(pickle.dumps(regressor))
    assert_allclose(again.predict(X), regressor.predict(X), rtol=EXACT)
    assert clone(regressor).get_params() == regressor.get_params()
    with pytest.raises(NotFittedError):
        clone(regressor).predict(X)


def test_bayes_predicts_posterior_means():
    data = hb.load_data("Dyestuff")
    X, y = data[["Batch"]], data["Yield"]
    regressor = hb.MixedRegressor("1 + (1 | Batch)", method="bayes", draws=500, tune=500).fit(X, y)
    posterior = regressor.fit_.posterior
    some = pd.DataFrame({"Batch": ["A", "new"]})
    mean, sd = regressor.predict(some, return_std=True)
    effects = posterior["1|Batch"].mean(("chain", "draw"))
    assert_allclose(mean[1], float(posterior["Intercept"].mean()), rtol=EXACT)  # no draws of a new effect
    assert_allclose(mean[0] - mean[1], float(effects[0]), rtol=1e-6)
    assert_allclose(regressor.predict(some), mean, rtol=0)
    variance = posterior["sigma"] ** 2 + posterior["1|Batch_sigma"] ** 2
    expected = np.sqrt(float(variance.mean() + posterior["Intercept"].var()))
    assert abs(sd[1] / expected - 1) < 0.1  # 2000 draws of a heavy-tailed response
    assert sd[1] > sd[0]


def test_another_family_averages_over_new_groups():
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"g": np.repeat(np.arange(12), 8), "x": rng.normal(size=96)})
    y = rng.poisson(np.exp(0.5 + 0.3 * data["x"] + rng.normal(0.0, 0.8, 12)[data["g"]]))
    regressor = hb.MixedRegressor("x + (1 | g)", method="ml", family="poisson").fit(data, y)
    fit = regressor.fit_
    mean = regressor.predict(pd.DataFrame({"g": [0, 99], "x": [0.0, 0.0]}))
    sd = float(np.sqrt(fit.covariance[0, 0]))
    assert_allclose(mean[1], np.exp(fit.fixef["Intercept"] + sd**2 / 2), rtol=1e-6)  # the mean of a log-normal
    assert_allclose(mean[0], np.exp(fit.fixef["Intercept"] + fit.ranef["g"].loc["0", "Intercept"]), rtol=1e-6)


def test_weights_are_a_column(rows):
    X, y = rows
    weighted = X.assign(w=np.linspace(0.5, 2.0, len(X)))
    regressor = hb.MixedRegressor("Days + (1 | Subject)", weights="w").fit(weighted, y)
    expected = hb.Model("y ~ Days + (1 | Subject)", weighted.assign(y=y), weights="w").reml()
    assert_allclose(regressor.predict(weighted), expected.fitted, rtol=OPTIMUM)
    sd = regressor.predict(weighted.assign(Subject="new"), return_std=True)[1]
    variance = expected.covariance[0, 0] + expected.sigma**2 / weighted["w"]
    assert (sd**2 > variance).all()
    assert_allclose(sd**2, variance, rtol=0.1)


def test_missing_values(rows):
    X, y = rows
    gap = X.astype({"Days": float})
    gap.loc[3, "Days"] = np.nan
    with pytest.warns(hb.errors.RowsDropped, match="1 of 180 rows"):
        regressor = hb.MixedRegressor(FORMULA).fit(gap, y)
    with pytest.warns(hb.errors.MissingPrediction):
        mean = regressor.predict(gap)
    assert np.flatnonzero(np.isnan(mean)).tolist() == [3]
    with pytest.raises(ValueError, match="y contains NaN"):
        hb.MixedRegressor(FORMULA).fit(X, y.where(X["Days"] > 0))


def test_refusals(rows):
    X, y = rows
    with pytest.raises(ValueError, match="method must be one of reml, ml, bayes"):
        hb.MixedRegressor(FORMULA, method="ols").fit(X, y)
    with pytest.raises(ValueError, match="groups must be one of"):
        hb.MixedRegressor(FORMULA, groups="old").fit(X, y)
    with pytest.raises(hb.FormulaError, match="must be a text"):
        hb.MixedRegressor(3).fit(X, y)
    with pytest.raises(hb.HierbayesError, match=r"not a column of the data\. There are: x0, x1"):
        hb.MixedRegressor(FORMULA).fit(X[["Days", "Subject"]].astype({"Subject": int}).to_numpy(), y)
    with pytest.raises(ValueError, match="feature names"):
        hb.MixedRegressor(FORMULA).fit(X, y).predict(X[["Days"]])
    with pytest.raises(hb.HierbayesError, match="is a category or several"):
        hb.MixedRegressor("Days + (1 | Subject)", "ml", family="cumulative").fit(X, np.arange(180) % 3)
    with pytest.raises(hb.HierbayesError, match="REML"):
        hb.MixedRegressor("Days + (1 | Subject)", family="poisson").fit(X, y.round().astype(int))
