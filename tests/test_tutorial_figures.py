"""Figures printed in the tutorials, one by one, to every printed digit.

The tutorial is the chapter on linear mixed models of *Statistics and Machine Learning in Python* (E. Duchesnay, T.
Löfstedt, F. Younes, duchesnay.github.io/pystatsml). Its mixed models were fitted by an older statsmodels, which stops
short of the optimum and whose standard errors come from the observed information of all parameters together. What
cannot be reproduced from the optimum is listed in `SHORT_OF_THE_OPTIMUM`, with both figures.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import hierbayes as hb
from hierbayes.estimates import Estimate
from hierbayes.pooling_ladder.least_squares import least_squares
from hierbayes.pooling_ladder.observed_information import observed_std_errors

PUBLISHED = {
    "complete pooling": ("2.694785", "0.232842", "2.139165", "0.036643"),
    "no pooling, intercepts": ("0.932351", "0.130717", "3.441072", "0.001102"),
    "aggregation": ("0.587859", "6.073401", "7.497672", "0.084411"),
    "two-stage": ("0.061318", "0.120808", "3.412469", "0.076190"),
    "REML, random intercept": ("0.916211", "0.131193", "3.453472", "0.000553"),
    "no pooling, full": ("0.935869", "0.129084", "1.978708", "0.052959"),
    "REML, random intercept + slope": ("0.911742", "0.127269", "2.756917", "0.005835"),
}
"""RMSE, coefficient, statistic and p-value of the final table, in its order."""
SHORT_OF_THE_OPTIMUM = {
    # row, column: published, ours at the optimum
    ("REML, random intercept", "statistic_z"): ("3.453472", "3.453478"),
    ("REML, random intercept + slope", "estimate"): ("0.127269", "0.127270"),
    ("REML, random intercept + slope", "statistic_z"): ("2.756917", "2.756967"),
    ("REML, random intercept + slope", "p_value_z"): ("0.005835", "0.005834"),
}
"""The figures of the final table that differ, in the last digits, because statsmodels stopped too early."""


def printed(value: float, like: str) -> str:
    """A figure with as many decimals, or digits of its mantissa, as a printed one."""
    if "e" in like:
        return f"{value:.{len(like.split('e')[0].split('.')[1])}e}"
    return f"{value:.{len(like.split('.')[1])}f}"


def check(values, *figures: str) -> None:
    """Print values like the figures, and compare."""
    values = [float(value) for value in np.ravel(values)]
    assert [printed(*pair) for pair in zip(values, figures, strict=True)] == list(figures)


@pytest.fixture(scope="module")
def score(shared) -> pd.DataFrame:
    return pd.read_csv(shared("datasets/score_parentedu_byclass.csv"))


@pytest.fixture(scope="module")
def models(score) -> dict[str, hb.Model]:
    return {effects: hb.Model(f"score ~ edu + ({effects} | classroom)", score) for effects in ("1", "edu")}


@pytest.fixture(scope="module")
def table(models) -> pd.DataFrame:
    return hb.pooling(models["edu"], bayes=False).set_index("model")


def estimate_of(model: hb.Model) -> Estimate:
    """The REML fit; one of the two is singular, which is the tutorial's point."""
    return model._maximise("REML", quiet=True)


def test_data(score):
    assert list(score.columns) == ["classroom", "edu", "score"]
    assert list(score.loc[:4, "edu"]) == [2, 10, 3, 5, 6]
    check(score.loc[:4, "score"], "7.204352", "7.963083", "8.383137", "7.213047", "8.379630")


def test_final_table(table):
    """All 28 figures to all printed digits, but for the four of `SHORT_OF_THE_OPTIMUM`."""
    for row, figures in PUBLISHED.items():
        test = "_z" if row.startswith("REML") else ""
        columns = ["rmse", "estimate", f"statistic{test}" if test else "statistic", f"p_value{test}"]
        for column, figure in zip(columns, figures, strict=True):
            published, ours = SHORT_OF_THE_OPTIMUM.get((row, column), (figure, figure))
            assert published == figure
            check(table.loc[row, column], ours)


def test_four_figures_are_off_because_the_search_stopped_early(score, models, table, shared):
    """Where statsmodels stopped, its own formulas give what it printed; our criterion is lower, and is lme4's."""
    reference = json.loads(shared("reference/lme4.json").read_text())["lmm"]
    for (_, column), (published, ours) in SHORT_OF_THE_OPTIMUM.items():
        unit = 10.0 ** -len(published.split(".")[1])
        # one unit of the last digit, and for the statistics up to 50 of them
        assert unit / 2 < abs(float(published) - float(ours)) < (51 if column == "statistic_z" else 1.5) * unit

    # the random intercept: the tutorial prints the relative variance at which the search stopped
    stopped = 10.844222
    X, y, codes = models["1"].design.X, models["1"].design.y, models["1"].design.factors[0].codes
    deviance, beta, errors, error_of_variance = observed_at(X, y, codes, np.array([[stopped]]))
    check(beta[1] / errors[1], "3.453472")
    check(error_of_variance, "10.337")
    ours = estimate_of(models["1"])
    assert 0 < deviance - ours.criterion < 1e-7
    assert_allclose(ours.criterion, reference["score_int"]["REML"]["criterion"], atol=1e-9)
    assert_allclose(
        table.loc["REML, random intercept", "estimate"], reference["score_int"]["REML"]["fixef"]["edu"], rtol=1e-7
    )

    # the random slope: only the printed log likelihood says how far the search came, 2e-5 short or less
    ours = estimate_of(models["edu"])
    assert ours.singular
    check(ours.loglik, "-88.5987")
    assert_allclose(ours.criterion, reference["score_slope"]["REML"]["criterion"], atol=1e-8)
    assert_allclose(ours.fixef["edu"], reference["score_slope"]["REML"]["fixef"]["edu"], rtol=1e-6)


def observed_at(X, y, codes, Psi):
    """-2 log restricted likelihood, β̂, and standard errors of β and of ψ from the observed information, dense.

    ψ are the variances and covariances over σ², which is profiled out; the module
    `hierbayes.pooling_ladder.observed_information` has the formulas, here they are with matrices of all rows.
    """
    q = len(Psi)
    Z, (n, p) = X[:, :q], X.shape
    same = codes[:, None] == codes
    inverse = np.linalg.inv(np.eye(n) + same * (Z @ Psi @ Z.T))
    information = X.T @ inverse @ X
    C = np.linalg.inv(information)
    beta = C @ X.T @ inverse @ y
    Vr = inverse @ (y - X @ beta)
    scale, N = (y - X @ beta) @ Vr / (n - p), n - p
    P = inverse - inverse @ X @ C @ X.T @ inverse
    pairs = [(i, j) for i in range(q) for j in range(i + 1)]
    E = [same * (np.outer(Z[:, i], Z[:, j]) + (i != j) * np.outer(Z[:, j], Z[:, i])) for i, j in pairs]
    K = np.column_stack([X.T @ inverse @ D @ Vr for D in E]) / scale
    W = np.empty((len(E), len(E)))
    for k, A in enumerate(E):
        for m, B in enumerate(E):
            W[k, m] = Vr @ A @ inverse @ B @ Vr / scale - 0.5 * np.trace(P @ A @ P @ B)
            W[k, m] -= 0.5 * (Vr @ A @ Vr) * (Vr @ B @ Vr) / (N * scale**2)
    errors = np.sqrt(np.diag(np.linalg.inv(np.block([[information / scale, K], [K.T, W]]))))
    logdet = np.linalg.slogdet(information)[1] - np.linalg.slogdet(inverse)[1]
    return N * (1 + np.log(2 * np.pi * scale)) + logdet, beta, errors[:p], errors[p:] * np.sqrt(scale)


# --- least squares


@pytest.mark.parametrize(
    ("row", "figures", "mse"),
    [
        ("complete pooling", ("0.2328", "0.109", "2.139", "0.037", "0.015", "0.451"), "7.262"),
        ("no pooling, intercepts", ("0.1307", "0.038", "3.441", "0.001", "0.055", "0.207"), "0.869"),
        ("aggregation", ("6.0734", "0.810", "7.498", "0.084", "-4.219", "16.366"), "0.346"),
        ("two-stage", ("0.1208", "0.035", "3.412", "0.076", "-0.032", "0.273"), "0.004"),
        ("no pooling, full", ("0.1291", "0.065", "1.979", "0.053", "-0.002", "0.260"), "0.876"),
    ],
)
def test_tests_for_constraints(table, row, figures, mse):
    found = table.loc[row]
    check(found[["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]], *figures)
    check(found["rmse"] ** 2, mse)


def test_mean_squared_error_with_all_its_digits(table):
    assert_allclose(table.loc["no pooling, intercepts", "rmse"] ** 2, 0.869277616553041, rtol=1e-14)
    check(table.loc["no pooling, intercepts", "rmse"] ** 2, "0.869278")


def treatment_coded(score, interaction: bool):
    """Least squares with treatment coding: a design of four or six columns, by the package's own routine."""
    dummies = [(score["classroom"] == level).to_numpy(dtype=float) for level in ("c1", "c2")]
    x = score["edu"].to_numpy(dtype=float)
    columns = [np.ones(60), *dummies, x, *(x * dummy for dummy in dummies if interaction)]
    X = np.column_stack(columns)
    found = least_squares(score["score"].to_numpy(), X, np.empty((60, 0)), np.zeros(60, dtype=int), 1)
    return [found.combination(row) for row in np.eye(X.shape[1])], found


def test_what_the_ancova_is_fitted_to(score):
    """The ten rows that are printed. A model must have a random effect; here only the fixed ones are looked at."""
    design = hb.Model("score ~ classroom + edu + (1 | classroom)", score).design
    # patsy writes the levels as [T.c1]
    assert list(design.fixed.columns) == ["Intercept", "classroom[c1]", "classroom[c2]", "edu"]
    assert_array_equal(design.fixed.head(10), [[1, 0, 0, edu] for edu in (2, 10, 3, 5, 6, 6, 3, 0, 6, 9)])
    assert design.response == "score"
    check(design.y[:5], "7.20435162", "7.96308267", "8.38313712", "7.21304665", "8.37963003")
    check(design.y[5:10], "6.40552793", "8.03417677", "6.67164168", "7.8268605", "8.06401823")


def test_ancova_with_intercepts(score, table):
    coefficients, found = treatment_coded(score, interaction=False)
    check([c.estimate for c in coefficients], "6.965429", "2.577854", "6.129755", "0.130717")
    statistics = [c.estimate / c.std_error for c in coefficients]
    check(statistics, "24.474487", "8.736851", "20.620005", "3.441072")
    p_values = 2 * stats.t.sf(np.abs(statistics), found.df)
    check(p_values, "1.377577e-31", "4.815552e-12", "7.876446e-28", "1.102091e-03")
    assert_allclose(coefficients[3].estimate, table.loc["no pooling, intercepts", "estimate"], rtol=1e-12)


def test_ancova_with_interaction(score, table):
    coefficients, _ = treatment_coded(score, interaction=True)
    check([c.estimate for c in coefficients], "6.973753", "2.316540", "6.578594", "0.129084", "0.048482", "-0.073313")
    # the coefficient called edu is the slope of c0 alone; the mean slope has another error, and another p-value
    assert_allclose(coefficients[3].estimate, table.loc["no pooling, full", "estimate"], rtol=1e-12)
    mean = coefficients[3].estimate + (coefficients[4].estimate + coefficients[5].estimate) / 3
    assert_allclose(table.loc["no pooling, full: mean slope", "estimate"], mean, rtol=1e-12)
    check(table.loc["no pooling, full: mean slope", ["estimate", "std_error", "p_value"]], "0.1208", "0.039", "0.003")


def test_slopes_within_classrooms(models):
    design = models["1"].design
    own = np.column_stack([np.ones(60), design.X[:, 1]])
    found = least_squares(design.y, np.empty((60, 0)), own, design.factors[0].codes, 3)
    assert list(design.factors[0].levels) == ["c0", "c1", "c2"]
    check(found.slopes, "0.129084", "0.177567", "0.055772")


# --- mixed models


@pytest.mark.parametrize("effects", ["1", "edu"])
def test_sizes_of_groups(models, effects):
    """Of both summaries: 60 rows, 3 groups, the smallest, the largest, and their mean."""
    (factor,) = models[effects].design.factors
    sizes = np.bincount(factor.codes)
    assert (models[effects].design.n, len(factor.levels), sizes.min(), sizes.max()) == (60, 3, 20, 20)
    check(sizes.mean(), "20.0")


def test_random_intercept(models):
    reml = estimate_of(models["1"])
    check([reml.sigma**2, reml.loglik], "0.8693", "-88.8676")
    assert (reml.nobs, reml.ngroups) == (60, {"classroom": 3})
    check(reml.fixef, "9.865327", "0.131193")
    error = observed_std_errors(reml)
    z = reml.fixef.to_numpy() / error
    check([*error, *z], "1.789", "0.038", "5.514", "3.453")
    check(2.0 * stats.norm.sf(np.abs(z)), "0.000", "0.001")
    reach = 1.959963984540054 * error
    check([reml.fixef - reach, reml.fixef + reach], "6.359", "0.057", "13.372", "0.206")


def test_random_intercept_where_the_search_stopped(models):
    """The variance and the predictions as printed belong to a point short of the optimum, in the fourth digit."""
    reml = estimate_of(models["1"])
    blups = reml.ranef["classroom"]["Intercept"]
    check(reml.varcorr["vcov"].iloc[0], "9.428")  # published 9.427
    assert_allclose(blups, [-2.889009, -0.323129, 3.212138], atol=3e-6)  # c1 to its last digit
    check(blups.iloc[1], "-0.323129")
    check(blups, "-2.889011", "-0.323129", "3.212140")
    # `params["Group Var"]` is the variance over the scale, and no variance at all
    relative = reml.varcorr["vcov"].iloc[0] / reml.sigma**2
    check(relative, "10.845728")  # published 10.844222
    assert_allclose(10.844222 * 0.869283, 9.427, atol=5e-4)  # what was printed agrees with itself


def test_random_slope(models):
    reml = estimate_of(models["edu"])
    check([reml.sigma**2, reml.loglik], "0.8608", "-88.5987")  # published 0.8609, -88.5987
    check(reml.fixef, "9.900", "0.127")
    error = observed_std_errors(reml)
    check(error, "1.913", "0.046")  # published 1.912, 0.046
    z = reml.fixef.to_numpy() / error
    check(z, "5.175", "2.757")  # published 5.177, 2.757
    check(2.0 * stats.norm.sf(np.abs(z)), "0.000", "0.006")
    reach = 1.959963984540054 * error
    check([reml.fixef - reach, reml.fixef + reach], "6.150", "0.037", "13.649", "0.218")  # published 6.152 and 13.647
    vcov = reml.varcorr.set_index(["term", "term2"], drop=False)["vcov"]
    # published 10.760, -0.121, 0.001; the estimate is on the boundary
    check(vcov.iloc[:3], "10.771", "0.001", "-0.122")
    check(reml.varcorr["sdcor"].iloc[:3], "3.282", "0.037", "-1.000")


def test_printed_errors_of_variances_are_on_a_scale_of_their_own(models):
    """Errors of variances over σ², times σ: neither those of the variances nor those of the ratios."""
    published = {"1": ("10.337",), "edu": ("12.279", "0.318", "0.012")}
    ours = {"1": ("10.339",), "edu": ("12.302", "0.319", "0.012")}
    for effects, model in models.items():
        reml, design = estimate_of(model), model.design
        deviance, beta, errors, found = observed_at(
            design.X, design.y, design.factors[0].codes, reml.covariance / reml.sigma**2
        )
        assert_allclose([deviance, *beta], [reml.criterion, *reml.fixef], rtol=1e-9)
        assert_allclose(errors, observed_std_errors(reml), rtol=1e-6)
        check(found, *ours[effects])
        # printed to three decimals, from a point at which the variance of the intercepts is 0.1% smaller
        assert_allclose(found, [float(figure) for figure in published[effects]], rtol=0.002, atol=0.0006)


def test_what_statsmodels_prints_today(score, models, shared):
    """The published standard errors are those of its observed information, here at what it calls the optimum."""
    smf = pytest.importorskip("statsmodels.formula.api")
    found = smf.mixedlm("score ~ edu", score, groups=score["classroom"], re_formula="~1").fit()
    check([found.scale, found.llf], "0.8693", "-88.8676")
    check(found.params, "9.865327", "0.131193", "10.844222")
    check([found.tvalues["edu"], found.pvalues["edu"]], "3.453472", "0.000553")
    check(found.bse.iloc[:2], "1.789", "0.038")
    # the printed error of the variance, 10.337, is that of the relative variance times the square root of the scale
    check([found.cov_re.iloc[0, 0], found.bse["Group Var"] * np.sqrt(found.scale)], "9.427", "10.337")
    reml = estimate_of(models["1"])
    assert -2 * found.llf > reml.criterion + 1e-9
    # beside it the error of the variance itself, from the curvature at the optimum: tau² = 9.428, and it is skewed
    tau = reml.tidy().set_index("term").loc["sd(Intercept)"]
    check(
        [2 * tau["estimate"] * tau["std_error"], tau["conf_low"] ** 2, tau["conf_high"] ** 2],
        "9.472",
        "1.316",
        "67.548",
    )
