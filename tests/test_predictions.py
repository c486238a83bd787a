"""Predictions for known, new and average groups and over the population, by posterior, REML and ML."""

from __future__ import annotations

import warnings

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from oracle import dense, prior_covariance, residual_correlation
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

import hierbayes as hb
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.predictions import maximum
from hierbayes.predictions.population import population_mean
from hierbayes.predictions.posterior import predict, predict_draws, thinned
from hierbayes.predictions.prior import prior_draws
from hierbayes.response_law import ResponseLaw

EXACT = 1e-9
"""Relative, between two ways to the same number in double precision."""
LME4 = 2e-6
"""Relative, of predictions by lme4, whose optimiser stops a little before the maximum."""
QUADRATURE = 1e-7
"""Relative error of the quadrature over the population."""
STANDARD_ERRORS = 5.0
"""Monte Carlo standard errors between a simulated and an exact number, at most; seeds are fixed."""


def sampling_error(values, axis=0):
    """Monte Carlo standard error of a mean of independent numbers."""
    return values.std(axis=axis, ddof=1) / np.sqrt(values.shape[axis])


# --- rows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schools():
    """Two crossed factors, a nested one, a category, an offset and weights."""
    rng = np.random.default_rng(4)
    n = 240
    data = pd.DataFrame(
        {
            "x": rng.normal(2.0, 1.0, n),
            "c": rng.choice(["u", "v", "w"], n),
            "a": rng.integers(0, 10, n),
            "b": rng.choice([f"b{k}" for k in range(6)], n),
            "shift": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
        },
        index=[f"r{k}" for k in range(n)],
    )
    effects = rng.normal(size=10)[data["a"]] + rng.normal(size=6)[data["b"].str[1:].astype(int)] * data["x"]
    return data.assign(y=1.0 + 0.5 * data["x"] + effects + data["shift"] + rng.normal(size=n) / np.sqrt(data["w"]))


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ scale(x) * c + offset(shift) + (x | a) + (1 | b)",
        "y ~ np.log(x + 10) + bs(x, df=4) + (c | a) + (0 + x || b)",
        "y ~ 0 + c + (1 | a/b)",
        "y ~ C(a) + (c + x | b)",
    ],
)
def test_new_rows_are_coded_as_in_the_fit(schools, formula):
    specification = hb.Model(formula, schools, weights="w").specification
    design = specification.design
    order = np.random.default_rng(1).permutation(len(schools))[:50]
    rows = specification.new_rows(schools.iloc[order], [factor.name for factor in design.factors], response=True)
    np.testing.assert_allclose(rows.X, design.X[order], rtol=EXACT, atol=EXACT)
    for Z, block in zip(rows.Z, design.blocks, strict=True):
        np.testing.assert_allclose(Z, block.Z[order], rtol=EXACT, atol=EXACT)
    for factor in design.factors:
        np.testing.assert_array_equal(rows.codes[factor.name], factor.codes[order])
    np.testing.assert_array_equal(rows.weights, design.weights[order])
    if design.offset is not None:
        np.testing.assert_array_equal(rows.offset, design.offset[order])
    assert list(rows.index) == list(schools.index[order])


@pytest.fixture(scope="module")
def reml_schools(schools):
    return hb.Model("y ~ scale(x) + c + offset(shift) + (1 | a) + (x | b)", schools, weights="w").reml()


def test_the_rows_fitted_are_the_default(schools, reml_schools):
    assert list(reml_schools.predict().index) == list(schools.index)
    np.testing.assert_allclose(reml_schools.predict()["estimate"], reml_schools.fitted, rtol=EXACT)
    pd.testing.assert_frame_equal(reml_schools.predict(schools), reml_schools.predict(), rtol=EXACT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"c": "z"}, "Column 'c' of newdata has 'z', which is none of the categories fitted: u, v, w"),
        ({"x": "text"}, "Column 'x' of newdata has values that are not numbers"),
        ({"x": np.inf}, "Column 'x' of newdata has an infinite value in row 'r0'"),
        ({"a": 77}, "'a' has the level '77' in newdata, which was not fitted; with groups='mixed'"),
    ],
)
def test_rows_that_cannot_be_coded_are_refused(schools, reml_schools, change, words):
    with pytest.raises(hb.DataError, match=words):
        reml_schools.predict(schools.head(3).assign(**change))


def test_other_refusals(schools, reml_schools):
    with pytest.raises(hb.DataError, match=r"newdata has no column 'x', which the term 'x' needs"):
        reml_schools.predict(schools[["c", "shift", "a", "b"]])
    with pytest.raises(hb.DataError, match="no column 'w', which weights= needs"):
        reml_schools.predict(schools.drop(columns="w"), kind="response")
    with pytest.raises(hb.DataError, match="must be a pandas DataFrame"):
        reml_schools.predict({"x": [1.0]})
    with pytest.raises(hb.DataError, match="no rows"):
        reml_schools.predict(schools.head(0))
    with pytest.raises(ValueError, match="groups must be one of known, new"):
        reml_schools.predict(groups="all")
    with pytest.raises(ValueError, match="groups names 'q', which is no grouping factor"):
        reml_schools.predict(groups={"q": "new"})
    with pytest.raises(ValueError, match="kind must be one of linear, mean, response"):
        reml_schools.predict(kind="probability")
    with pytest.raises(ValueError, match="between 0 and 1"):
        reml_schools.predict(interval=95)


def test_columns_that_do_not_matter_need_not_be_there(schools, reml_schools):
    alone = schools[["x", "c", "shift"]].head(4)
    known = reml_schools.predict(schools.head(4), groups="average")
    pd.testing.assert_frame_equal(reml_schools.predict(alone, groups="average"), known)
    with pytest.raises(hb.DataError, match="which the grouping factor 'a' needs"):
        reml_schools.predict(alone, groups={"a": "new", "b": "average"})


def test_rows_with_missing_values_are_missing(schools, reml_schools):
    gaps = schools.head(4).assign(x=[0.0, np.nan, 1.0, 2.0])
    with pytest.warns(hb.MissingPrediction, match="1 of 4 rows of newdata have missing values in 'x'"):
        found = reml_schools.predict(gaps)
    assert found.isna().all(axis=1).tolist() == [False, True, False, False]
    pd.testing.assert_frame_equal(found.iloc[2:], reml_schools.predict(gaps.iloc[2:]))


def test_a_whole_number_written_as_a_float_is_the_same_level(schools, reml_schools):
    rows = schools.head(5)
    pd.testing.assert_frame_equal(
        reml_schools.predict(rows.assign(a=rows["a"].astype(float))), reml_schools.predict(rows)
    )


@pytest.mark.parametrize("narrow", ["uint8", "int8"])
def test_whole_numbers_of_few_bytes_do_not_wrap(schools, narrow):
    wide = schools.assign(k=schools["a"] % 4)
    small = wide.astype({"k": narrow, "a": narrow})
    rows = pd.DataFrame({"k": [-1, 300, 2], "a": [3, 3, 259]})
    found = hb.Model("y ~ k + (1 | a)", small).reml()
    expected = hb.Model("y ~ k + (1 | a)", wide).reml().predict(rows, groups="mixed")
    pd.testing.assert_frame_equal(found.predict(rows, groups="mixed"), expected, rtol=EXACT)
    with pytest.raises(hb.DataError, match="level '259'"):
        found.predict(rows)


DAYS = pd.date_range("2020-01-01", periods=10)


@pytest.mark.parametrize(
    ("fitted", "new"),
    [
        (np.arange(10.0), pd.Series([3, 5])),
        (np.arange(10.0), pd.Series(["3", "5.0"])),
        (np.arange(10), pd.Series(["3", "5"])),
        (np.arange(10), pd.Series([3.0, np.nan])),
        (pd.Categorical(np.arange(10)), pd.Series([3.0, np.nan])),
        (pd.Categorical(np.arange(10)), pd.Series(pd.Categorical([5, 3])[::-1])),
        (DAYS, pd.Series(["2020-01-04", "2020-01-06 00:00"])),
        (DAYS, pd.Series([DAYS[3].date(), DAYS[5]])),
        (np.arange(10).astype(str), pd.Series([3.0, np.nan])),
        (np.arange(10.0).astype(str), pd.Series([3.0, 5.0])),
        (np.arange(10), pd.Series([3, "new"], dtype=object)),
    ],
)
def test_a_level_spelled_otherwise_is_the_same_level(schools, fitted, new):
    data = schools.assign(g=pd.Series(fitted)[schools["a"]].to_numpy())
    if isinstance(fitted, pd.Categorical):
        data["g"] = pd.Categorical(data["g"])
    reader = hb.Model("y ~ x + (1 | g)", data).specification
    rows = reader.new_rows(pd.DataFrame({"x": 0.0, "g": new}), ["g"])
    expected = [3, 5][: len(rows.codes["g"])] if "new" not in new.to_list() else [3, -1]
    assert rows.codes["g"].tolist() == expected


def test_booleans_are_booleans_however_they_are_stored(schools):
    fit = hb.Model("y ~ f + (1 | g)", schools.assign(f=schools["x"] > 2, g=schools["shift"] > 0)).reml()
    stored = pd.DataFrame({"f": np.array([True, False], dtype=object), "g": [1, 0]})
    expected = fit.predict(pd.DataFrame({"f": [True, False], "g": [True, False]}))
    pd.testing.assert_frame_equal(fit.predict(stored), expected, rtol=EXACT)


def test_levels_of_one_name_are_refused(schools):
    first, second = np.where(schools["a"] < 5, "x:y", "x"), np.where(schools["a"] < 5, "w", "y:w")
    with pytest.raises(hb.DataError, match=r"'y:w'\) and \('x:y', 'w'\) of 'f:g' would both be called 'x:y:w'"):
        hb.Model("y ~ x + (1 | f:g)", schools.assign(f=first, g=second))


def test_weights_given_as_an_array_are_asked_for(schools):
    fit = hb.Model("y ~ x + (1 | a)", schools, weights=schools["w"].to_numpy()).reml()
    with pytest.raises(hb.DataError, match=r"weights= was given as an array; .* named '\(weights\)'"):
        fit.predict(schools, kind="response")
    rows = fit.predict(schools.assign(**{"(weights)": schools["w"]}), kind="response")
    pd.testing.assert_frame_equal(rows, fit.predict(kind="response", seed=1), rtol=EXACT)


# --- REML -----------------------------------------------------------------------------------------

# library(lme4); m <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = lmerControl(optCtrl =
#   list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 10000)))
# nd <- data.frame(Days = c(0, 9, 4.5), Subject = c("308", "308", "372"))
# predict(m, nd); predict(m, nd, re.form = NA)
# X <- getME(m, "X"); Z <- as.matrix(getME(m, "Z")); s <- sigma(m)
# L <- as.matrix(getME(m, "Lambda")); G <- s^2 * L %*% t(L)
# C <- s^2 * solve(rbind(cbind(crossprod(X), crossprod(X, Z)), cbind(crossprod(Z, X), crossprod(Z) + s^2 * solve(G))))
# f <- function(d, subject) { j <- which(levels(sleepstudy$Subject) == subject); a <- c(1, d, rep(0, 36))
#   a[1 + 2 * j] <- 1; a[2 + 2 * j] <- d; sqrt(drop(t(a) %*% C %*% a)) }
# c(f(0, "308"), f(9, "308"), f(4.5, "372"))
KNOWN = [253.663655798, 430.660011325, 316.600583119]
AVERAGE = [251.405104848, 345.610678485, 298.507891667]
ERRORS = [12.25481082562, 13.85689250860, 7.78257787456]


@pytest.fixture(scope="module")
def three():
    return pd.DataFrame({"Days": [0.0, 9.0, 4.5], "Subject": ["308", "308", "372"]})


@pytest.fixture(scope="module")
def reml_sleepstudy(sleepstudy):
    return hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml()


def test_reml_predicts_as_lme4(reml_sleepstudy, three):
    known = reml_sleepstudy.predict(three)
    np.testing.assert_allclose(known["estimate"], KNOWN, rtol=LME4)
    np.testing.assert_allclose(known["std_error"], ERRORS, rtol=LME4)
    np.testing.assert_allclose(reml_sleepstudy.predict(three, groups="average")["estimate"], AVERAGE, rtol=LME4)
    np.testing.assert_allclose(reml_sleepstudy.predict(three, groups="population")["estimate"], AVERAGE, rtol=LME4)
    np.testing.assert_allclose(reml_sleepstudy.predict(three, groups="new")["estimate"], AVERAGE, rtol=LME4)


def test_reml_variances_add_up(reml_sleepstudy, three):
    """Fixed effects, a new group, a new response; intervals are Normal."""
    x = np.column_stack([np.ones(3), three["Days"]])
    fixed = np.einsum("ni,ij,nj->n", x, reml_sleepstudy.vcov, x)
    group = np.einsum("ni,ij,nj->n", x, reml_sleepstudy.covariance, x)
    average = reml_sleepstudy.predict(three, groups="average")
    np.testing.assert_allclose(average["std_error"] ** 2, fixed, rtol=EXACT)
    new = reml_sleepstudy.predict(three, groups="new", interval=0.8)
    np.testing.assert_allclose(new["std_error"] ** 2, fixed + group, rtol=EXACT)
    np.testing.assert_allclose(new["conf_high"], new["estimate"] + norm.ppf(0.9) * new["std_error"], rtol=EXACT)
    for groups in ("new", "population"):
        response = reml_sleepstudy.predict(three, groups=groups, kind="response")
        np.testing.assert_allclose(response["std_error"] ** 2, fixed + group + reml_sleepstudy.sigma**2, rtol=EXACT)
    mixed = reml_sleepstudy.predict(three.assign(Subject=["308", "308", "nobody"]), groups="mixed")
    pd.testing.assert_series_equal(mixed.loc[2], reml_sleepstudy.predict(three, groups="new").loc[2])
    pd.testing.assert_series_equal(mixed.loc[1], reml_sleepstudy.predict(three).loc[1])


def by_kriging(fit, X, chosen, columns):
    """Variance of x'(β̂ - β) + z'(b̂ - b) from the joint covariance of effects and responses, written out.

    Var = z'Gz - c'V⁻¹c + r'(X'V⁻¹X)⁻¹r with c = ZGz and r = x - X'V⁻¹c (universal kriging).
    """
    data, design = dense(fit.design), fit.design
    G = prior_covariance(data, fit.covariance)
    noise = residual_correlation(data.residual, design.n, fit.optimum.rho)
    V = data.Z @ G @ data.Z.T + fit.sigma**2 * noise * np.outer(data.deviation, data.deviation)
    a = np.zeros((len(X), data.Z.shape[1]))
    for position in chosen:
        slots = data.slots(position)[design.factors[position].codes[: len(X)]]
        for row, slot in enumerate(slots):
            a[row, slot] = columns[position][row]
    c = data.Z @ G @ a.T
    solved = np.linalg.solve(V, c)
    r = X - solved.T @ design.X
    information = design.X.T @ np.linalg.solve(V, design.X)
    return np.diag(a @ G @ a.T - c.T @ solved + r @ np.linalg.solve(information, r.T))


MODELS = {
    "one factor": ("y ~ x + (x | a)", {}),
    "crossed": ("y ~ x + (1 | a) + (x | b)", {"weights": "w"}),
    "nested": ("y ~ x + c + (1 | a/b)", {}),
    "uncorrelated": ("y ~ x + (x || a) + (1 | b)", {"se": "w"}),
    "known errors": ("y ~ c + (1 | b)", {"se": "w"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_reml_errors_are_those_of_the_joint_covariance(schools, name):
    formula, more = MODELS[name]
    fit = hb.Model(formula, schools, **more).reml()
    X = fit.design.X[:30]
    columns = [fit.design.effect_columns(factor)[:30] for factor in fit.design.factors]
    everything = range(len(columns))
    for chosen in (everything, [0]):
        groups = {f.name: "known" if k in chosen else "average" for k, f in enumerate(fit.design.factors)}
        found = fit.predict(schools.head(30), groups=groups)["std_error"] ** 2
        np.testing.assert_allclose(found, by_kriging(fit, X, chosen, columns), rtol=1e3 * EXACT)


@pytest.mark.parametrize("residual", ["ar1(time | g)", "cs(g)"])
def test_correlated_residuals_enter_the_errors(residual):
    rng = np.random.default_rng(2)
    data = pd.DataFrame(
        {"g": np.repeat(np.arange(12), 8), "time": np.tile(np.arange(8), 12), "x": rng.normal(size=96)}
    )
    noise = rng.normal(size=(12, 8))
    noise[:, 1:] += 0.6 * noise[:, :-1]
    data["y"] = data["x"] + 0.3 * rng.normal(size=12)[data["g"]] * data["x"] + noise.ravel()
    fit = hb.Model("y ~ x + (0 + x | g)", data, residual=residual).reml()
    assert abs(fit.rho) > 0.05
    found = fit.predict(data.head(20))["std_error"] ** 2
    wanted = by_kriging(fit, fit.design.X[:20], [0], [fit.design.effect_columns(fit.design.factors[0])[:20]])
    np.testing.assert_allclose(found, wanted, rtol=1e3 * EXACT)


def test_reml_at_the_boundary_still_predicts():
    """Dyestuff2: no variance between batches, so a known batch is the average one."""
    with pytest.warns(hb.SingularFit):
        fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2")).reml()
    known, average = fit.predict(), fit.predict(groups="average")
    pd.testing.assert_frame_equal(known, average, rtol=EXACT)


# --- the population -------------------------------------------------------------------------------


@pytest.mark.parametrize("v", [0.01, 1.0, 9.0, 30.0])
def test_population_means_with_closed_forms(v):
    eta = np.linspace(-3.0, 2.0, 7)[None]
    spread = np.full_like(eta, v)
    np.testing.assert_allclose(population_mean(np.exp, eta, spread), np.exp(eta + v / 2), rtol=QUADRATURE)
    probit = population_mean(norm.cdf, eta, spread)
    np.testing.assert_allclose(probit, norm.cdf(eta / np.sqrt(1.0 + v)), atol=QUADRATURE)


@pytest.mark.parametrize("v", [0.5, 4.0, 16.0])
def test_population_mean_of_a_logit_is_its_integral(v):
    eta = np.linspace(-3.0, 2.0, 7)
    wanted = [quad(lambda t, e=e: expit(e + np.sqrt(v) * t) * norm.pdf(t), -12, 12, epsabs=1e-11)[0] for e in eta]
    found = population_mean(expit, eta[None], np.full((1, 7), v))[0]
    np.testing.assert_allclose(found, wanted, rtol=QUADRATURE)


# --- posteriors: priors of three families stand for posteriors, which they are as good as here ------


@pytest.fixture(scope="module")
def visits():
    rng = np.random.default_rng(6)
    n = 80
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "g": [f"g{k}" for k in rng.integers(0, 8, n)],
            "h": [f"h{k}" for k in rng.integers(0, 5, n)],
            "count": rng.poisson(2.0, n),
            "hits": rng.binomial(10, 0.4, n),
            "trials": 10,
            "colour": rng.choice(["blue", "green", "red"], n),
            "grade": pd.Categorical(rng.choice(list("abc"), n), ordered=True),
        }
    )


@pytest.fixture(scope="module")
def pseudo(visits):
    """Draws of some parameters of models of several families."""
    models = {
        "poisson": hb.Model("count ~ x + (x | g) + (1 | h)", visits, family="poisson"),
        "probit": hb.Model("p(hits, trials) ~ x + (x | g)", visits, family="binomial", link="probit"),
        "categorical": hb.Model("colour ~ x + (x | g)", visits, family="categorical"),
        "ordinal": hb.Model("grade ~ x + (1 | g)", visits, family="cumulative"),
    }
    return {name: prior_draws(model.specification, 200, seed=1) for name, model in models.items()}


def flat(values):
    """Draws of all chains in the first axis."""
    return values.to_numpy().reshape(-1, *values.shape[2:])


def test_known_linear_predictors_are_sums_of_their_parts(pseudo, visits):
    fit, rows = pseudo["poisson"], visits.head(6)
    p = fit.posterior
    eta = flat(p["Intercept"])[:, None] + flat(p["x"])[:, None] * rows["x"].to_numpy()
    for row, (x, g, h) in enumerate(zip(rows["x"], rows["g"], rows["h"], strict=True)):
        eta[:, row] += flat(p["1|g"].sel(g__factor_dim=g)) + x * flat(p["x|g"].sel(g__factor_dim=g))
        eta[:, row] += flat(p["1|h"].sel(h__factor_dim=h))
    np.testing.assert_allclose(flat(predict_draws(fit, rows, kind="linear")), eta, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(flat(predict_draws(fit, rows)), np.exp(eta), rtol=EXACT)


def spread_of(fit, rows, factor="g"):
    """z'Σz of a random intercept and slope, from the posterior's own variables."""
    p = fit.posterior
    sd = np.stack([flat(p[f"1|{factor}_sigma"]), flat(p[f"x|{factor}_sigma"])], axis=1)
    corr = flat(p[f"{factor}_corr"])
    z = np.column_stack([np.ones(len(rows)), rows["x"]])
    return np.einsum("ni,di,dij,dj,nj->dn", z, sd, corr, sd, z)


def test_population_of_a_log_link_has_a_closed_form(pseudo, visits):
    fit, rows = pseudo["poisson"], visits.head(6)
    average = flat(predict_draws(fit, rows, groups="average", kind="linear"))
    v = spread_of(fit, rows) + flat(fit.posterior["1|h_sigma"])[:, None] ** 2
    sane = v < 8.0  # where the mean is a number that quadrature can know
    assert sane.sum() > 300
    found = flat(predict_draws(fit, rows, groups="population"))
    np.testing.assert_allclose(found[sane], np.exp(average + v / 2)[sane], rtol=QUADRATURE)
    one = flat(predict_draws(fit, rows, groups={"g": "population", "h": "average"}))
    np.testing.assert_allclose(one[sane], np.exp(average + spread_of(fit, rows) / 2)[sane], rtol=QUADRATURE)


def test_population_of_a_probit_has_a_closed_form(pseudo, visits):
    fit, rows = pseudo["probit"], visits.head(6)
    average = flat(predict_draws(fit, rows, groups="average", kind="linear"))
    v = spread_of(fit, rows)
    found, wanted = flat(predict_draws(fit, rows, groups="population")), norm.cdf(average / np.sqrt(1.0 + v))
    np.testing.assert_allclose(found[v < 50.0], wanted[v < 50.0], atol=QUADRATURE)
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # the number of points has a limit


def test_population_of_several_linear_predictors_is_that_of_many_new_groups(pseudo, visits):
    """One row as twenty thousand rows, each of a new group, a few draws of the parameters."""
    fit = thinned(pseudo["categorical"], 3)
    many = pd.DataFrame({"x": 0.7, "g": [f"new{k}" for k in range(20_000)]})
    found = flat(predict_draws(fit, many.head(1), groups="population"))[:, 0]
    new = flat(predict_draws(fit, many, groups="new", seed=1))
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=EXACT)
    # 512 quasi-random points have an error of their own, of a few thousandths
    assert (np.abs(new.mean(axis=1) - found) < STANDARD_ERRORS * sampling_error(new, 1) + 5e-3).all()


def test_effects_of_new_groups_have_their_covariance(pseudo):
    fit = thinned(pseudo["poisson"], 2)
    many = pd.DataFrame({"x": np.tile([0.0, 1.5], 20_000), "g": np.repeat(np.arange(20_000), 2).astype(str)})
    groups = {"g": "new", "h": "average"}
    effects = flat(predict_draws(fit, many, groups=groups, kind="linear", seed=1))
    effects -= flat(predict_draws(fit, many, groups="average", kind="linear"))
    pairs = effects.reshape(2, -1, 2)
    p = fit.posterior
    for draw in range(2):
        sd = np.array([flat(p["1|g_sigma"])[draw], flat(p["x|g_sigma"])[draw]])
        z = np.array([[1.0, 0.0], [1.0, 1.5]])
        wanted = z @ (flat(p["g_corr"])[draw] * np.outer(sd, sd)) @ z.T
        products = pairs[draw][:, :, None] * pairs[draw][:, None, :]
        assert (np.abs(products.mean(axis=0) - wanted) < STANDARD_ERRORS * sampling_error(products)).all()


def test_rows_with_one_label_share_their_group(pseudo, visits):
    rows = pd.DataFrame({"x": [0.3, 0.3, 0.3], "g": ["new", "new", "other"], "h": "h1"})
    draws = flat(predict_draws(pseudo["poisson"], rows, groups="mixed", seed=1))
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    assert (draws[:, 0] != draws[:, 2]).all()
    known = flat(predict_draws(pseudo["poisson"], visits.head(3), groups="mixed", seed=1))
    np.testing.assert_array_equal(known, flat(predict_draws(pseudo["poisson"], visits.head(3))))


def test_a_table_is_that_of_its_draws(pseudo, visits):
    fit = pseudo["poisson"]
    rows = visits.head(4).set_index(pd.Index(list("pqrs"), name="row"))
    for kind in ("linear", "mean", "response"):
        found = predict(fit, rows, groups="new", kind=kind, interval=0.8, seed=3)
        draws = flat(predict_draws(fit, rows, groups="new", kind=kind, seed=3))
        assert found.index.equals(rows.index)
        np.testing.assert_allclose(found["estimate"], draws.mean(axis=0), rtol=EXACT)
        np.testing.assert_allclose(found["std_error"], draws.std(axis=0, ddof=1), rtol=EXACT)
        np.testing.assert_allclose(found["conf_low"], np.quantile(draws, 0.1, axis=0), rtol=EXACT)
        np.testing.assert_allclose(found["conf_high"], np.quantile(draws, 0.9, axis=0), rtol=EXACT)


def test_a_few_rows_at_a_time_give_the_same_table(pseudo, visits, monkeypatch):
    whole = predict(pseudo["probit"], visits)
    monkeypatch.setattr("hierbayes.predictions.posterior.CHUNK", 200 * 30)  # the 80 rows in three goes
    pd.testing.assert_frame_equal(predict(pseudo["probit"], visits), whole, rtol=EXACT)


def test_categories_have_a_row_each(pseudo, visits):
    for name, labels in {"categorical": ["blue", "green", "red"], "ordinal": ["a", "b", "c"]}.items():
        table = predict(pseudo[name], visits.head(2))
        assert table.index.tolist() == [(row, label) for row in (0, 1) for label in labels]
        np.testing.assert_allclose(table["estimate"].groupby(level=0).sum(), 1.0, rtol=EXACT)
        drawn = predict_draws(pseudo[name], visits.head(2), kind="response", seed=1)
        assert set(np.unique(drawn)) <= {0, 1, 2}
        with pytest.raises(hb.HierbayesError, match="no mean and no interval"):
            predict(pseudo[name], visits.head(2), kind="response")


def test_trials_of_new_rows_count(pseudo, visits):
    fit, rows = pseudo["probit"], visits.head(2).assign(trials=[1000, 1]).drop(columns="hits")
    drawn = predict_draws(fit, rows, kind="response", seed=1)
    assert drawn[..., 0].max() > 100
    assert set(np.unique(drawn[..., 1])) == {0, 1}
    with pytest.raises(hb.DataError, match="no column 'trials', which a new response needs"):
        predict_draws(fit, rows.drop(columns="trials"), kind="response")
    predict_draws(fit, rows.drop(columns="trials"))  # a probability has none


@pytest.mark.parametrize("name", ["poisson", "categorical", "ordinal", "probit"])
@pytest.mark.parametrize("kind", ["linear", "mean", "response"])
def test_rows_that_are_all_incomplete_are_all_missing(pseudo, visits, name, kind):
    gaps = visits.head(2).assign(x=np.nan, g=None if name == "ordinal" else "g1")
    gaps["x"] = 0.0 if name == "ordinal" else np.nan
    with pytest.warns(hb.MissingPrediction, match="2 of 2 rows"):
        drawn = predict_draws(pseudo[name], gaps, kind=kind)
    assert drawn.sizes["__obs__"] == 2
    assert np.isnan(drawn).all()
    if kind != "response" or pseudo[name].design.categories is None:
        with pytest.warns(hb.MissingPrediction):
            table = predict(pseudo[name], gaps, kind=kind)
        whole = predict(pseudo[name], visits.head(2), kind=kind)
        assert table.index.equals(whole.index)
        assert table.isna().all(axis=None)


def test_constant_trials_need_no_column(visits):
    fit = prior_draws(hb.Model("p(hits, 12) ~ x + (1 | g)", visits, family="binomial").specification, 50, seed=1)
    rows = visits[["x", "g"]].head(2)
    assert predict_draws(fit, rows, kind="response", seed=1).max() <= 12
    fit = prior_draws(
        hb.Model("p(hits, 2 * trials) ~ x + (1 | g)", visits, family="binomial").specification, 9, seed=1
    )
    with pytest.raises(hb.DataError, match="no column 'trials'"):
        predict_draws(fit, rows, kind="response", seed=1)


def test_prior_predictive_of_a_family_has_its_moments(visits):
    """E y over the prior of an intercept, by quadrature: a Poisson rate with two Normal parts on the log scale."""
    priors = {
        "Intercept": bmb.Prior("Normal", mu=0.3, sigma=0.4),
        "1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Uniform", lower=0.2, upper=0.6)),
    }
    model = hb.Model("count ~ 1 + (1 | g)", visits, family="poisson", priors=priors)
    tree = model.prior_predictive(draws=4000, seed=2)
    assert set(tree.children) == {"prior", "prior_predictive", "observed_data"}
    y = tree["prior_predictive"]["count"].to_numpy()[0]
    sd = np.linspace(0.2, 0.6, 401)
    wanted = np.exp(0.3 + 0.4**2 / 2) * np.exp(sd**2 / 2).mean()
    by_draw = y.mean(axis=1)
    assert abs(by_draw.mean() - wanted) < STANDARD_ERRORS * sampling_error(by_draw)
    again = model.prior_predictive(draws=4000, seed=2)["prior_predictive"]["count"].to_numpy()[0]
    np.testing.assert_array_equal(y, again)


def test_prior_draws_of_thresholds_are_in_order(pseudo):
    assert (np.diff(flat(pseudo["ordinal"].posterior["threshold"]), axis=1) > 0).all()


# --- a Gaussian posterior -------------------------------------------------------------------------


def test_posterior_and_reml_predict_alike(fit_sleepstudy, reml_sleepstudy, three):
    """The posterior knows the variances less well, so that it is a little wider."""
    for groups in ("known", "average", "new"):
        for kind in ("mean", "response"):
            bayes = fit_sleepstudy.predict(three, groups=groups, kind=kind, seed=1)
            reml = reml_sleepstudy.predict(three, groups=groups, kind=kind)
            assert (np.abs(bayes["estimate"] - reml["estimate"]) < 0.25 * reml["std_error"]).all()
            ratio = bayes["std_error"] / reml["std_error"]
            assert ratio.between(0.95, 1.35).all()


def test_posterior_predictions_have_the_variances_they_should(fit_sleepstudy, three):
    p = fit_sleepstudy.posterior
    fixed = flat(p["Intercept"])[:, None] + flat(p["Days"])[:, None] * three["Days"].to_numpy()
    np.testing.assert_allclose(flat(fit_sleepstudy.predict_draws(three, groups="population")), fixed, rtol=EXACT)
    z = np.column_stack([np.ones(3), three["Days"]])
    sd = np.stack([flat(p["1|Subject_sigma"]), flat(p["Days|Subject_sigma"])], axis=1)
    v = np.einsum("ni,di,dij,dj,nj->dn", z, sd, flat(p["Subject_corr"]), sd, z)
    total = v + flat(p["sigma"])[:, None] ** 2
    for groups in ("new", "population"):
        drawn = flat(fit_sleepstudy.predict_draws(three, groups=groups, kind="response", seed=1))
        standardised = (drawn - fixed) / np.sqrt(total)
        assert stats.kstest(standardised[:, 1], "norm").pvalue > 1e-3
    shared = flat(fit_sleepstudy.predict_draws(three, groups="new", kind="response", seed=1))
    correlation = np.corrcoef(((shared - fixed) / np.sqrt(total)).T)
    assert correlation[0, 1] > 0.1  # rows 0 and 1 are of one new subject
    assert abs(correlation[1, 2]) < STANDARD_ERRORS / np.sqrt(len(shared))


def test_effects_of_which_summaries_were_kept_are_drawn_again(sleepstudy, fit_sleepstudy, three, tmp_path):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    kept = fit_sleepstudy.predict(three)
    summary = model.fit(draws=1000, seed=2, progress=False, ranef="summary")
    again = summary.predict(three, seed=1)
    error = np.hypot(1.0, 1.0) * kept["std_error"] / np.sqrt(2000)  # of two runs whose draws are nearly independent
    assert (np.abs(again["estimate"] - kept["estimate"]) < STANDARD_ERRORS * error).all()
    np.testing.assert_allclose(again["std_error"], kept["std_error"], rtol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # few draws
        streamed = model.fit(draws=300, tune=300, chains=2, seed=5, progress=False, ranef=tmp_path / "effects.zarr")
        memory = model.fit(draws=300, tune=300, chains=2, seed=5, progress=False)
    pd.testing.assert_frame_equal(summary.predict(three), summary.predict(three))  # by the seed of the fit
    # the streamed draws have noise of their own; their fixed effects are the same
    pd.testing.assert_frame_equal(streamed.predict(three, groups="average"), memory.predict(three, groups="average"))
    wanted = flat(streamed.posterior["1|Subject"].sel(Subject__factor_dim="308"))
    found = flat(streamed.predict_draws(three, kind="linear"))[:, 0] - flat(streamed.posterior["Intercept"])
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_crossed_summaries_are_drawn_again(schools):
    model = hb.Model("y ~ x + (1 | a) + (x | b)", schools)
    kept = model.fit(draws=500, tune=300, chains=2, seed=1, progress=False)
    summary = model.fit(draws=500, tune=300, chains=2, seed=1, progress=False, ranef="summary")
    rows = schools.iloc[[3, 50, 120, 200]]
    a, b = kept.predict(rows), summary.predict(rows, seed=3)
    assert (np.abs(a["estimate"] - b["estimate"]) < 0.3 * a["std_error"]).all()
    np.testing.assert_allclose(a["std_error"], b["std_error"], rtol=0.2)


def test_replicates_are_what_arviz_plots(fit_sleepstudy):
    tree = fit_sleepstudy.posterior_predictive(draws=25, seed=1)
    assert tree["posterior_predictive"]["Reaction"].dims == ("chain", "draw", "__obs__")
    assert tree["posterior_predictive"]["Reaction"].shape == (4, 25, 180)
    np.testing.assert_array_equal(tree["observed_data"]["Reaction"], fit_sleepstudy.design.y)
    az.plot_ppc_dist(tree, backend="none")
    with pytest.raises(ValueError, match="from 1 to 1000"):
        fit_sleepstudy.posterior_predictive(draws=0)


def test_correlated_residuals_are_correlated_in_replicates():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(np.arange(30), 6), "time": np.tile(np.arange(6), 30)})
    noise = rng.normal(size=(30, 6))
    for t in range(1, 6):
        noise[:, t] = 0.7 * noise[:, t - 1] + np.sqrt(1 - 0.49) * noise[:, t]
    data["y"] = noise.ravel()
    fit = hb.Model("y ~ 1", data, residual="ar1(time | g)").fit(draws=500, tune=300, seed=1, progress=False)
    e = flat(fit.predict_draws(kind="response", seed=1)) - flat(fit.posterior["Intercept"])[:, None]
    e = e.reshape(len(e), 30, 6)
    lagged = (e[:, :, 1:] * e[:, :, :-1]).mean(axis=(1, 2)) / (e**2).mean(axis=(1, 2))
    rho = flat(fit.posterior["rho"])
    assert abs((lagged - rho).mean()) < STANDARD_ERRORS * sampling_error(lagged - rho) + 0.02


# --- maximum likelihood of other families ---------------------------------------------------------

# library(lme4); g <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)
# nd <- data.frame(period = factor(c(1, 4)), herd = factor(c("1", "14")))
# predict(g, nd); predict(g, nd, type = "response"); predict(g, nd, type = "response", re.form = NA)
LINEAR = [-0.808713427979, -2.007736468680]
SHARES = [0.308164724138, 0.118393032431]
SHARES_AVERAGE = [0.1980792055096, 0.0484256460058]
GLMER = 1e-3
"""Relative, of predictions by glmer, whose optimiser stops at 1e-4 of a standard error or so."""


@pytest.fixture(scope="module")
def cbpp():
    return hb.load_data("cbpp").astype({"period": str, "herd": str})


@pytest.fixture(scope="module")
def ml_cbpp(cbpp):
    return hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()


@pytest.fixture(scope="module")
def two_herds():
    return pd.DataFrame({"period": ["1", "4"], "herd": ["1", "14"], "size": [20, 20]})


def test_ml_predicts_as_glmer(ml_cbpp, two_herds):
    np.testing.assert_allclose(ml_cbpp.predict(two_herds, kind="linear")["estimate"], LINEAR, rtol=GLMER)
    np.testing.assert_allclose(ml_cbpp.predict(two_herds)["estimate"], SHARES, rtol=GLMER)
    np.testing.assert_allclose(ml_cbpp.predict(two_herds, groups="average")["estimate"], SHARES_AVERAGE, rtol=GLMER)
    np.testing.assert_allclose(ml_cbpp.predict()["estimate"], ml_cbpp.fitted, rtol=EXACT)


def test_ml_errors_are_those_of_the_joint_curvature(ml_cbpp, cbpp):
    """Fixed effects with their standard errors from all parameters; modes move with them as the curvature says."""
    data = dense(ml_cbpp.design)
    p = ml_cbpp.fitted
    W = ml_cbpp.design.trials * p * (1.0 - p)  # the information of a binomial row about its logit
    G = prior_covariance(data, ml_cbpp.covariance)
    of_modes = np.linalg.inv(data.Z.T @ (W[:, None] * data.Z) + np.linalg.inv(G))
    moved = data.X - data.Z @ of_modes @ data.Z.T @ (W[:, None] * data.X)
    wanted = np.diag(moved @ ml_cbpp.vcov.to_numpy() @ moved.T) + np.diag(data.Z @ of_modes @ data.Z.T)
    linear = ml_cbpp.predict(cbpp, kind="linear")
    np.testing.assert_allclose(linear["std_error"] ** 2, wanted, rtol=1e-6)
    mean = ml_cbpp.predict(cbpp)
    np.testing.assert_allclose(mean["std_error"], p * (1 - p) * linear["std_error"], rtol=1e-6)
    np.testing.assert_allclose(mean["conf_low"], expit(linear["conf_low"]), rtol=EXACT)


def test_ml_integrates_over_the_population(ml_cbpp, two_herds):
    eta = np.array([ml_cbpp.fixef.iloc[0], ml_cbpp.fixef.iloc[0] + ml_cbpp.fixef.iloc[3]])
    sd = np.sqrt(ml_cbpp.covariance[0, 0])
    t = np.linspace(-12.0, 12.0, 4001)
    density = norm.pdf(t) * (t[1] - t[0])
    wanted = (expit(eta[:, None] + sd * t) * density).sum(axis=1)
    found = ml_cbpp.predict(two_herds, groups="population")
    np.testing.assert_allclose(found["estimate"], wanted, rtol=QUADRATURE)
    assert (found["estimate"] > ml_cbpp.predict(two_herds, groups="average")["estimate"]).all()
    new = ml_cbpp.predict(two_herds, groups="new")
    np.testing.assert_allclose(new["estimate"], wanted, rtol=QUADRATURE)
    s = np.sqrt(ml_cbpp.predict(two_herds, groups="average", kind="linear")["std_error"] ** 2 + sd**2).to_numpy()
    np.testing.assert_allclose(new["conf_high"], expit(eta + norm.ppf(0.975) * s), rtol=EXACT)
    values = expit(eta[:, None] + s[:, None] * t)
    spread = np.sqrt((values**2 * density).sum(axis=1) - (values * density).sum(axis=1) ** 2)
    np.testing.assert_allclose(new["std_error"], spread, rtol=1e-6)


def test_ml_simulates_new_responses(ml_cbpp, two_herds):
    response = ml_cbpp.predict(two_herds, kind="response", seed=1)
    mean = ml_cbpp.predict(two_herds)
    assert (np.abs(response["estimate"] / 20 - mean["estimate"]) < 0.02).all()
    assert (response["std_error"] > np.sqrt(20 * mean["estimate"] * (1 - mean["estimate"]))).all()
    pd.testing.assert_frame_equal(response, ml_cbpp.predict(two_herds, kind="response", seed=1))
    with pytest.raises(hb.DataError, match="no column 'size', which a new response needs"):
        ml_cbpp.predict(two_herds.drop(columns="size"), kind="response")


def test_ml_simulates_some_rows_at_a_time(ml_cbpp, monkeypatch):
    whole, sizes = ml_cbpp.predict(kind="response", seed=1), []
    draw = ResponseLaw.draw

    def counted(law, eta, *others):
        sizes.append(eta.shape)
        return draw(law, eta, *others)

    monkeypatch.setattr(ResponseLaw, "draw", counted)
    monkeypatch.setattr(maximum, "CHUNK", 10 * maximum.SIMULATED)
    parts = ml_cbpp.predict(kind="response", seed=1)
    assert [rows for _, rows in sizes] == [10, 10, 10, 10, 10, 6]
    error = whole["std_error"] * np.sqrt(2.0 / maximum.SIMULATED)
    assert (np.abs(parts["estimate"] - whole["estimate"]) < STANDARD_ERRORS * error).all()


def test_ml_of_incomplete_rows_alone_is_missing(ml_cbpp, two_herds):
    for kind in ("linear", "mean", "response"):
        for groups in ("known", "population", "new"):
            with pytest.warns(hb.MissingPrediction):
                found = ml_cbpp.predict(two_herds.assign(period=None), groups, kind)
            assert found.shape == (2, 4)
            assert found.isna().all(axis=None)


@pytest.mark.filterwarnings("ignore::hierbayes.SingularFit")
def test_ml_of_an_ordinal_model_predicts_linear_predictors(visits):
    fit = hb.Model("grade ~ x + (1 | g)", visits, family="cumulative").ml()
    assert isinstance(fit, LaplaceEstimate)
    np.testing.assert_allclose(fit.predict(kind="linear")["estimate"], fit.linear_predictor, rtol=EXACT, atol=EXACT)
    with pytest.raises(hb.HierbayesError, match="errors of the thresholds"):
        fit.predict()
