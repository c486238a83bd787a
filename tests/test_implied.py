"""X, Z, D, R and V written out: against the dense oracle, the fits, lme4, statsmodels and answers on paper."""

from __future__ import annotations

import json
import math
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from oracle import (
    ALL,
    conditional_effects,
    covariance_at,
    dense,
    gls,
    log_integrated,
    log_normal,
    prior_covariance,
    residual_correlation,
    response_covariance,
    rho_at,
    sigma_at,
    some_theta,
)
from scipy.linalg import block_diag

import hierbayes as hb
from hierbayes import structures

SAME = 1e-9
"""Relative, of two dense computations of one number."""
MATRIX = 1e-12
"""Relative to the largest entry, of matrices that are written down, not solved."""

EVERY = pytest.mark.parametrize("name", ALL)


def quiet(fit):
    """A fit whose warnings are not the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        return fit()


def close(found, expected, tolerance=SAME):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if expected.size:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-300))


def implied_by(design, seed=0):
    """The matrices at some variances, as the package and as the oracle write them."""
    theta = some_theta(design, seed)
    Sigma, sigma, rho = covariance_at(design, theta), sigma_at(design, theta), rho_at(design, theta)
    found = design.implied(
        Sigma, None if design.sigma is not None else sigma, rho if design.residual is not None else None
    )
    return found, dense(design), (Sigma, sigma, rho)


# --- the dense oracle ---------------------------------------------------------------------------------


@EVERY
def test_every_matrix_is_that_of_the_definition(name):
    design = ALL[name]
    found, data, at = implied_by(design)
    close(design.Z.toarray(), data.Z, MATRIX)
    assert len(design.Z_labels) == data.Z.shape[1]
    close(found.D.toarray(), prior_covariance(data, at[0]), MATRIX)
    deviation = at[1] * data.deviation
    close(found.R.toarray(), residual_correlation(data.residual, design.n, at[2]) * np.outer(deviation, deviation))
    V = response_covariance(data, *at)
    close(found.V(), V, MATRIX)
    some = np.random.default_rng(0).permutation(design.n)[:9]
    close(found.V(some), V[np.ix_(some, some)], MATRIX)


@EVERY
def test_what_follows_from_them_is_that_of_the_definition(name):
    design = ALL[name]
    found, data, at = implied_by(design, seed=1)
    V = response_covariance(data, *at)
    beta, vcov = gls(data.y, data.X, V)
    close(found.gls().fixef, beta)
    close(found.gls().vcov, vcov)
    effects = [table.to_numpy().ravel() for table in found.blup().values()]
    close(np.concatenate([*effects, []]), conditional_effects(data, at[0], at[1], beta, at[2])[0])
    assert found.loglik("ML") == pytest.approx(log_normal(data.y, data.X @ beta, V), rel=SAME)
    assert found.loglik("REML") == pytest.approx(log_integrated(data.y, data.X, V), rel=SAME)


# --- fits, here and elsewhere -------------------------------------------------------------------------

MODELS = {
    "intercept": ("Reaction ~ Days + (1 | Subject)", {}),
    "slope": ("Reaction ~ Days + (Days | Subject)", {}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", {}),
    "two blocks": ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", {}),
    "weights and offset": (
        "Reaction ~ Days + offset(10 * Days) + (1 | Subject)",
        {"weights": 1.0 + np.arange(180) % 3},
    ),
    "known errors": ("Reaction ~ Days + (Days | Subject)", {"se": 20.0 + np.arange(180) % 7}),
    "AR(1)": ("Reaction ~ Days + (1 | Subject)", {"residual": "ar1(Days | Subject)"}),
    "compound symmetry": ("Reaction ~ Days", {"residual": "cs(Subject)"}),
}


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", MODELS)
def test_at_the_estimates_the_theory_is_the_fit(sleepstudy, name, method):
    formula, options = MODELS[name]
    fit = quiet(getattr(hb.Model(formula, sleepstudy, **options), method))
    implied = fit.implied()
    found = implied.gls()
    pd.testing.assert_series_equal(found.fixef, fit.fixef, rtol=SAME)
    pd.testing.assert_frame_equal(found.vcov, fit.vcov, rtol=SAME)
    pd.testing.assert_series_equal(found.std_error, pd.Series(np.sqrt(np.diag(fit.vcov)), fit.fixef.index), rtol=SAME)
    blups = implied.blup()
    assert list(blups) == list(fit.ranef)
    for group, table in fit.ranef.items():
        pd.testing.assert_frame_equal(blups[group], table, rtol=SAME, atol=SAME * table.abs().to_numpy().max())
    assert implied.loglik(fit.method) == pytest.approx(fit.loglik, rel=SAME)


def test_crossed_factors(sleepstudy):
    fit = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin")).reml()
    implied = fit.implied()
    assert implied.D.shape == (30, 30)
    assert implied.loglik() == pytest.approx(fit.loglik, rel=SAME)
    for group, table in fit.ranef.items():
        close(implied.blup()[group], table)
    # rows of one plate, of one sample, and of neither in common
    V = implied.V()
    of = fit.varcorr.set_index("group")["vcov"]
    close([V.iloc[0, 1], V.iloc[0, 6], V.iloc[0, 7]], [of["plate"], of["sample"], 0.0])


def test_the_likelihood_at_the_estimates_of_lme4(shared):
    reference = json.loads(shared("reference/lme4.json").read_text())["lmm"]["sleepstudy_slope"]["REML"]
    corner = {(row["var1"], row["var2"]): row["vcov"] for row in reference["varcorr"] if row["grp"] == "Subject"}
    intercept, slope = corner["(Intercept)", None], corner["Days", None]
    covariance = corner["(Intercept)", "Days"]
    design = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).design
    labels = ["Days", "Intercept"]  # the labels decide, not the order
    given = pd.DataFrame([[slope, covariance], [covariance, intercept]], index=labels, columns=labels)
    implied = design.implied({"Subject": given}, sigma=reference["sigma"])
    assert -2.0 * implied.loglik() == pytest.approx(reference["criterion"], abs=1e-8)
    close(implied.gls().fixef, list(reference["fixef"].values()))
    close(implied.gls().vcov, reference["vcov"]["values"], 1e-8)
    blups = implied.blup()["Subject"]
    for row in reference["ranef_first10"]["Subject"]:
        term = {"(Intercept)": "Intercept"}.get(row["term"], row["term"])
        assert blups.loc[row["level"], term] == pytest.approx(row["blup"], rel=1e-7)


def test_statsmodels_gls_agrees(sleepstudy):
    statsmodels = pytest.importorskip("statsmodels.api")
    implied = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml().implied()
    theirs = statsmodels.GLS(implied.design.y, implied.design.fixed, sigma=implied.V().to_numpy()).fit()
    close(implied.gls().fixef, theirs.params)
    close(implied.gls().vcov, theirs.normalized_cov_params)
    assert implied.loglik("ML") == pytest.approx(theirs.model.loglike(theirs.params) + profiled(theirs), rel=SAME)


def profiled(theirs):
    """Their likelihood estimates a further scale of V; ours takes V as given."""
    n, sse = theirs.nobs, float((theirs.wresid**2).sum())
    return 0.5 * n * math.log(sse / n) + 0.5 * n - 0.5 * sse


# --- six rows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def six():
    """Six rows of three classrooms: the example of the pystatsml course, section "Theory of Linear Mixed Models"."""
    rows = {
        "score": [7.2, 7.9, 9.1, 11.1, 14.6, 14.0],
        "edu": [2, 10, 1, 9, 8, 5],
        "classroom": ["c0", "c0", "c1", "c1", "c2", "c2"],
    }
    return hb.Model("score ~ edu + (1 | classroom)", pd.DataFrame(rows)).design


def test_the_matrices_of_six_rows(six):
    assert six.y.tolist() == [7.2, 7.9, 9.1, 11.1, 14.6, 14.0]
    assert six.fixed.columns.tolist() == ["Intercept", "edu"]
    assert six.fixed.to_numpy().tolist() == [[1, 2], [1, 10], [1, 1], [1, 9], [1, 8], [1, 5]]
    assert six.Z.toarray().tolist() == [[1, 0, 0]] * 2 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 2
    assert six.Z_labels.get_level_values("level").tolist() == ["c0", "c1", "c2"]
    implied = six.implied({"classroom": 9.0}, sigma=0.5)
    assert implied.D.toarray().tolist() == (9.0 * np.eye(3)).tolist()
    # variances: were σ written for σ², R would be twice as large
    assert implied.R.toarray().tolist() == (0.25 * np.eye(6)).tolist()
    assert implied.V().to_numpy().tolist() == block_diag(*[[[9.25, 9.0], [9.0, 9.25]]] * 3).tolist()
    assert repr(implied) == "Implied('score ~ edu + (1 | classroom)', D 3 x 3, V 6 x 6, sigma=0.5)"


def test_gls_of_six_rows_on_paper(six):
    """Two rows a classroom: V⁻¹ splits them into their sum, of variance 2σ² + 4τ², and difference, of 2σ²."""
    tau2, sigma2 = 9.0, 0.25
    X, y = six.X, six.y
    sums, differences = (X[::2] + X[1::2]), (X[::2] - X[1::2])
    w_sum, w_difference = 1.0 / (2 * sigma2 + 4 * tau2), 1.0 / (2 * sigma2)
    information = w_sum * sums.T @ sums + w_difference * differences.T @ differences
    score = w_sum * sums.T @ (y[::2] + y[1::2]) + w_difference * differences.T @ (y[::2] - y[1::2])
    beta = np.linalg.solve(information, score)
    implied = six.implied({"classroom": tau2}, sigma=math.sqrt(sigma2))
    close(implied.gls().fixef, beta)
    close(implied.gls().vcov, np.linalg.inv(information))
    # the BLUP is the mean residual of the classroom, shrunken by 2τ²/(2τ² + σ²)
    residual = y - X @ beta
    mean = (residual[::2] + residual[1::2]) / 2
    close(implied.blup()["classroom"]["Intercept"], mean * 2 * tau2 / (2 * tau2 + sigma2))
    # log |V|: eigenvalues σ² and σ² + 2τ², three times each; the constant is (2π)^{n/2}, not 2π^{n/2}
    logdet = 3 * math.log(sigma2) + 3 * math.log(sigma2 + 2 * tau2)
    quadratic = residual @ np.linalg.solve(implied.V().to_numpy(), residual)
    assert implied.loglik("ML") == pytest.approx(-0.5 * (6 * math.log(2 * math.pi) + logdet + quadratic), rel=SAME)


def test_variances_of_zero_and_without_bound_are_the_two_regressions(six):
    """Random effects without variance leave ordinary least squares; with a huge one, fixed intercepts."""
    ols = np.linalg.lstsq(six.X, six.y, rcond=None)[0]
    close(six.implied({"classroom": 0.0}, sigma=1.0).gls().fixef, ols)
    dummies = np.column_stack([six.X[:, 1], six.Z.toarray()])
    huge = six.implied({"classroom": 1e8}, sigma=1.0)
    assert huge.gls().fixef["edu"] == pytest.approx(np.linalg.lstsq(dummies, six.y, rcond=None)[0][0], rel=1e-6)


# --- structures ---------------------------------------------------------------------------------------


def test_structures_of_known_eigenvalues():
    """Compound symmetry: 1 + (n-1)ρ and 1 - ρ; AR(1): |R| = (1 - ρ²)^{n-1}."""
    for n, rho in [(2, -0.9), (5, -0.2), (5, 0.7)]:
        values = np.linalg.eigvalsh(hb.compound_symmetry(n, 4.0, rho))
        close(np.sort(values), np.sort(4.0 * np.r_[[1 - rho] * (n - 1), 1 + (n - 1) * rho]))
        assert np.linalg.det(hb.ar1(n, 4.0, rho)) == pytest.approx(4.0**n * (1 - rho**2) ** (n - 1), rel=SAME)
    labelled = hb.ar1(["a", "b", "c"], [1.0, 4.0, 9.0], -0.5)
    assert labelled.loc["a"].tolist() == [1.0, -1.0, 0.75]
    assert np.diag(labelled).tolist() == [1.0, 4.0, 9.0]


@pytest.mark.parametrize(
    "call", [(hb.compound_symmetry, 5, -0.25), (hb.compound_symmetry, 2, 1.0), (hb.ar1, 9, -1.0)]
)
def test_correlations_that_cannot_be_are_refused(call):
    structure, n, rho = call
    with pytest.raises(ValueError, match="positive definite"):
        structure(n, 1.0, rho)


@pytest.mark.parametrize("variance", [-1.0, [1.0, 2.0], [1.0, 2.0, np.nan]])
def test_variances_that_cannot_be_are_refused(variance):
    with pytest.raises(ValueError, match="one number or 3"):
        hb.diagonal(3, variance)


def test_residuals_of_one_series_have_the_named_structure(sleepstudy):
    """The residual of ten equally spaced days: one subject's R is `hb.ar1`, or `hb.compound_symmetry`."""
    one = sleepstudy[sleepstudy["Subject"] == "308"]
    for kind, structure in [("ar1(Days | Subject)", hb.ar1), ("cs(Subject)", hb.compound_symmetry)]:
        R = hb.Model("Reaction ~ Days", one, residual=kind).design.implied({}, sigma=2.0, rho=0.3).R
        close(R.toarray(), structure(10, 4.0, 0.3), MATRIX)


def test_compound_symmetry_is_a_random_intercept(sleepstudy):
    """V is the same if σ_cs² = σ² + τ² and ρ = τ²/(σ² + τ²), and so is the likelihood and its maximum."""
    intercept = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy)
    symmetric = hb.Model("Reaction ~ Days", sleepstudy, residual="cs(Subject)")
    tau2, sigma2 = 1400.0, 900.0
    one = intercept.design.implied({"Subject": tau2}, sigma=math.sqrt(sigma2))
    other = symmetric.design.implied({}, sigma=math.sqrt(tau2 + sigma2), rho=tau2 / (tau2 + sigma2))
    close(one.V(), other.V(), MATRIX)
    for method in ("ML", "REML"):
        assert one.loglik(method) == pytest.approx(other.loglik(method), rel=SAME)
    assert intercept.reml().criterion == pytest.approx(symmetric.reml().criterion, abs=1e-8)


def test_only_the_residuals_can_be_negatively_correlated():
    """Rows of a group that compete for a fixed total: ρ < 0, and a random intercept is left with no variance."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((30, 4))
    y = (noise - 0.8 * noise.mean(axis=1, keepdims=True)).ravel()
    data = pd.DataFrame({"y": y, "g": np.repeat(np.arange(30), 4)})
    symmetric = hb.Model("y ~ 1", data, residual="cs(g)").reml()
    intercept = quiet(hb.Model("y ~ 1 + (1 | g)", data).reml)
    assert symmetric.rho < -0.2
    assert intercept.singular
    assert symmetric.loglik > intercept.loglik + 3.0
    # balanced data: the estimate is the analysis of variance, ρ = (MSB - MSW)/(MSB + (n-1) MSW)
    table = y.reshape(30, 4)
    between = 4 * table.mean(axis=1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    assert symmetric.rho == pytest.approx((between - within) / (between + 3 * within), abs=1e-6)
    V = symmetric.implied().V(range(4))
    assert V.iloc[0, 1] < 0.0
    assert np.linalg.eigvalsh(V)[0] > 0.0


# --- size ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(0)
    n, J = 100_000, 2_000
    g, x = rng.integers(J, size=n), rng.standard_normal(n)
    y = x + rng.standard_normal(J)[g] + 0.5 * x * rng.standard_normal(J)[g] + rng.standard_normal(n)
    return hb.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))


def test_a_hundred_thousand_rows_stay_sparse(large):
    started = time.perf_counter()
    implied = large.design.implied({"g": [[1.0, 0.2], [0.2, 0.5]]}, sigma=1.0)
    Z, D, R = implied.Z, implied.D, implied.R
    few = implied.V(range(5))
    seconds = time.perf_counter() - started
    assert (Z.shape, Z.nnz, D.nnz, R.nnz) == ((100_000, 4_000), 200_000, 8_000, 100_000)
    assert few.shape == (5, 5)
    assert seconds < 1.0  # 20 ms where nothing else runs; a dense Z would hold 3.2 GB


def test_v_of_many_rows_is_not_written_out(large):
    implied = large.design.implied({"g": [1.0, 0.5]}, sigma=1.0)
    with pytest.raises(hb.DataError, match=r"100,000 rows has 10,000,000,000 entries"):
        implied.V()


def test_groups_are_solved_one_by_one(large):
    reml = large.reml()
    implied = reml.implied()
    assert implied.loglik() == pytest.approx(reml.loglik, rel=SAME)
    close(implied.gls().vcov, reml.vcov, 1e-8)


def test_rows_that_hang_together_are_counted():
    n = 4_000
    data = pd.DataFrame({"y": np.sin(np.arange(n)), "a": np.arange(n) % 7, "b": np.arange(n) % 11})
    implied = hb.Model("y ~ 1 + (1 | a) + (1 | b)", data).design.implied({"a": 1.0, "b": 1.0}, sigma=1.0)
    with pytest.raises(hb.DataError, match="4,000 rows hang together"):
        implied.gls()
    assert implied.V(range(0, n, 77)).shape == (52, 52)


def test_long_series_are_not_written_out(monkeypatch):
    monkeypatch.setattr(structures, "MOST_PAIRS", 1_000)
    data = pd.DataFrame({"y": np.sin(np.arange(40.0)), "t": np.arange(40), "g": "one"})
    implied = hb.Model("y ~ 1", data, residual="ar1(t | g)").design.implied({}, sigma=1.0, rho=0.5)
    with pytest.raises(hb.DataError, match=r"R has 1,600 entries, .* has 40 rows"):
        _ = implied.R
    close(implied.V(slice(10, 13)), hb.ar1(3, 1.0, 0.5), MATRIX)


# --- what cannot be -----------------------------------------------------------------------------------

SLOPES = "Reaction ~ Days + (Days | Subject)"
REFUSED = {
    "group": ({}, ({"subject": 1.0}, 1.0), "did you mean|no grouping factor 'subject'"),
    "missing": ({}, ({}, 1.0), "lacks the random effects of 'Subject'"),
    "one variance": ({}, ({"Subject": 1.0}, 1.0), r"\(2, 2\) matrix, or 2 variances, of 'Intercept', 'Days'"),
    "asymmetric": ({}, ({"Subject": [[1.0, 0.5], [0.0, 1.0]]}, 1.0), "symmetric"),
    "negative": ({}, ({"Subject": [[1.0, 2.0], [2.0, 1.0]]}, 1.0), "negative eigenvalue -1"),
    "whole": ({}, (np.eye(3), 1.0), r"\(2, 2\) matrix of all effects"),
    "no sigma": ({}, (np.eye(2),), "is needed"),
    "sigma": ({}, (np.eye(2), 0.0), "positive"),
    "sigma known": ({"se": np.ones(180)}, (np.eye(2), 1.0), "leave sigma= out"),
    "rho": ({}, (np.eye(2), 1.0, 0.5), "leave rho= out"),
    "no rho": ({"residual": "ar1(Days | Subject)"}, (np.eye(2), 1.0), r"needed for ar1\(Days \| Subject\)"),
    "rho too high": ({"residual": "ar1(Days | Subject)"}, (np.eye(2), 1.0, 1.0), "between -1 and 1, not 1.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(sleepstudy, case):
    options, arguments, message = REFUSED[case]
    design = hb.Model(SLOPES, sleepstudy, **options).design
    with pytest.raises(ValueError, match=message):
        design.implied(*arguments)


def test_labels_decide_where_there_are_some(sleepstudy):
    design = hb.Model(SLOPES, sleepstudy).design
    expected = np.diag([600.0, 35.0])
    by_label = {"Days": 35, "Intercept": 600}
    named = hb.diagonal(["Days", "Intercept"], [35, 600])
    for given in (by_label, pd.Series(by_label), named, hb.diagonal(["Intercept", "Days"], by_label)):
        assert design.implied({"Subject": given}, 1.0).covariance.tolist() == expected.tolist()
    assert design.implied(named, 1.0).covariance.tolist() == expected.tolist()
    for given in ([600, 35], pd.Series([600, 35]), hb.diagonal(2, [600, 35]), expected):  # by position
        assert design.implied({"Subject": given}, 1.0).covariance.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (hb.diagonal(["foo", "bar"], [2, 1]), r"of 'Subject' is labelled 'foo', 'bar', where 'Intercept', 'Days'"),
        (pd.Series({"Intercept": 2.0, "days": 1.0}), "labelled 'Intercept', 'days'"),
        ({"Intercept": 2.0}, "labelled 'Intercept', where"),
        ({"Intercept": {"Intercept": 2.0}, "Days": 1.0}, "made of numbers"),
        (pd.DataFrame(np.eye(2), index=["Days", "Intercept"]), "labelled 0, 1, where"),
    ],
)
def test_other_labels_are_refused(sleepstudy, given, message):
    design = hb.Model(SLOPES, sleepstudy).design
    with pytest.raises(ValueError, match=message):
        design.implied({"Subject": given}, 1.0)


def test_rows_that_are_not_there_are_refused(six):
    implied = six.implied({"classroom": 9.0}, sigma=0.5)
    assert implied.V([]).shape == (0, 0)
    assert implied.V(3).to_numpy().tolist() == [[9.25]]
    assert implied.V(-1).index.tolist() == [5]
    for rows in (6, [0, 500], [-7]):
        with pytest.raises(ValueError, match=r"There is no row .*: the rows are 0 to 5"):
            implied.V(rows)
    for rows in ([0.5], [True, False], ["a"], [[0, 1]]):
        with pytest.raises(ValueError, match="whole numbers, a slice, or 6 times true or false"):
            implied.V(rows)


def test_other_families_have_no_v():
    model = hb.Model("p(incidence, size) ~ period + (1 | herd)", hb.load_data("cbpp"), family="binomial")
    assert model.design.Z.shape == (56, 15)  # the matrices of the linear predictor are there
    with pytest.raises(hb.HierbayesError, match="not binomial"):
        model.design.implied({"herd": 1.0})


def test_rows_are_named_once_and_keep_their_labels(sleepstudy):
    labelled = sleepstudy.set_index(pd.Index([f"row {k}" for k in range(180)]))
    implied = hb.Model("Reaction ~ Days + (1 | Subject)", labelled).design.implied({"Subject": 1.0}, sigma=1.0)
    assert implied.design.fixed.index[3] == "row 3"
    assert implied.V([3, 1]).columns.tolist() == ["row 3", "row 1"]
    mask = np.arange(180) == 4
    assert implied.V(mask).index.tolist() == ["row 4"]
    with pytest.raises(ValueError, match="named twice"):
        implied.V([1, 1])
    with pytest.raises(ValueError, match="'REML' or 'ML'"):
        implied.loglik("reml")
