"""Precision weights, offsets and known standard errors: what they mean, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from oracle import (
    covariance_at,
    dense,
    design_of,
    expected_density,
    gls,
    joint_conditional,
    oracle_loglik,
    response_covariance,
    sigma_at,
    some_theta,
)
from scipy.optimize import minimize

import hierbayes as hb
from hierbayes.marginal import Marginal

ORACLE = 1e-9
"""Relative, of a density against the dense oracle."""
SAME = 1e-8
"""Relative, of estimates between two ways of writing one model."""
SEARCHED = 1e-6
"""Absolute, of the log likelihood, between our maximum and that of a search without gradients."""

FORMULAS = {
    "one factor": "y ~ x + (x | g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "nested": "y ~ x + (1 | h/g)",
}
EVERY = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
BOTH = pytest.mark.parametrize("method", ["REML", "ML"])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    n = 96
    g = rng.permutation(np.arange(n) % 12)
    h = np.where(np.arange(n) % 3 == 0, g // 4, rng.integers(0, 4, n))
    x = rng.uniform(-1.0, 2.0, n)
    w = rng.uniform(0.2, 5.0, n)
    y = 1.0 - x + rng.standard_normal(12)[g] + 0.7 * rng.standard_normal(12)[g] * x + 0.8 * rng.standard_normal(4)[h]
    y += 0.6 * rng.standard_normal(n) / np.sqrt(w)
    shift = rng.normal(0.0, 100.0, n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "w": w, "shift": shift, "se": 0.6 / np.sqrt(w)})


def fit(formula, data, method="REML", **options):
    """A fit whose singularity is looked at elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data, **options)
        return model.reml() if method == "REML" else model.ml()


def assert_same_fit(found, expected, sigma=1.0, criterion=0.0):
    """All estimates agree, but for known factors of σ and changes of the criterion."""
    assert found.criterion == pytest.approx(expected.criterion + criterion, rel=ORACLE)
    np.testing.assert_allclose(found.fixef, expected.fixef, rtol=SAME)
    np.testing.assert_allclose(found.vcov, expected.vcov, rtol=SAME)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=SAME, atol=SAME)
    assert found.sigma == pytest.approx(sigma * expected.sigma, rel=SAME)
    for group, ranef in expected.ranef.items():
        np.testing.assert_allclose(found.ranef[group], ranef, rtol=0, atol=SAME * 10)
        np.testing.assert_allclose(found.ranef_sd[group], expected.ranef_sd[group], rtol=0, atol=SAME * 10)


# --- weights ----------------------------------------------------------------------------------------


@EVERY
@BOTH
def test_weights_divide_the_residual_variance(data, formula, method):
    """σ is that of a row of weight 1; everything follows from V = ZΣZᵀ + σ² diag(1/w)."""
    found = fit(formula, data, method, weights="w")
    d = dense(found.design)
    np.testing.assert_allclose(d.deviation**2, 1.0 / data["w"], rtol=1e-14)
    assert oracle_loglik(found.design, found.covariance, found.sigma, method) == pytest.approx(
        found.loglik, rel=ORACLE
    )
    V = response_covariance(d, found.covariance, found.sigma)
    beta, covariance = gls(d.y, d.X, V)
    np.testing.assert_allclose(found.fixef, beta, rtol=ORACLE)
    np.testing.assert_allclose(found.vcov, covariance, rtol=0, atol=ORACLE * np.abs(covariance).max())
    b = np.linalg.solve(V, d.y - d.X @ beta)
    for f, ranef in enumerate(found.ranef.values()):
        columns = d.slots(f)
        where = d.effects[f]
        expected = np.stack([found.covariance[where, where] @ d.Z[:, own].T @ b for own in columns])
        np.testing.assert_allclose(ranef, expected, rtol=0, atol=SAME)
    np.testing.assert_allclose(found.residuals, d.y - found.fitted, rtol=0, atol=1e-12)


@EVERY
@BOTH
def test_weights_scale_the_rows(data, formula, method):
    """The fit of rows times √w, without weights; the criterion differs by Σ log w."""
    found = fit(formula, data, method, weights="w")
    root = np.sqrt(data["w"].to_numpy())[:, None]
    blocks = [(b.factor.name, b.factor.codes, root * b.Z, b.correlated) for b in found.design.blocks]
    scaled = design_of(root[:, 0] * found.design.y, root * found.design.X, blocks)
    theta = some_theta(scaled)
    value, gradient = Marginal(found.design).log_density(theta)
    plain, plain_gradient = Marginal(scaled).log_density(theta)
    assert value == pytest.approx(plain + 0.5 * np.log(data["w"]).sum(), rel=ORACLE)
    np.testing.assert_allclose(gradient, plain_gradient, rtol=ORACLE, atol=ORACLE * np.abs(gradient).max())
    best = oracle_loglik(scaled, found.covariance, found.sigma, method)
    assert found.loglik == pytest.approx(best + 0.5 * np.log(data["w"]).sum(), rel=ORACLE)


@BOTH
def test_no_other_variances_are_more_likely(data, method):
    """A simplex on the dense likelihood, from the estimate and from elsewhere, does not get any higher."""
    found = fit(FORMULAS["crossed"], data, method, weights="w")

    def loglik(x):
        return oracle_loglik(found.design, np.diag(np.exp(2.0 * x[:2])), np.exp(x[2]), method)

    here = np.log([*np.sqrt(np.diag(found.covariance)), found.sigma])
    assert loglik(here) == pytest.approx(found.loglik, rel=ORACLE)
    for start in (here, np.zeros(3), np.array([-1.0, 1.0, -0.5])):
        searched = minimize(
            lambda x: -loglik(x), start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}
        )
        assert -searched.fun < found.loglik + SEARCHED


@EVERY
@BOTH
@pytest.mark.parametrize("factor", [2.0, 1e-6, 1e12])
def test_the_unit_of_the_weights_is_that_of_sigma(data, formula, method, factor):
    """Weights c w and σ √c are the same model; weights of 2 for all are weights of 1 with σ √2."""
    for weights in (np.ones(len(data)), data["w"].to_numpy()):
        one, other = (fit(formula, data, method, weights=scale * weights) for scale in (1.0, factor))
        assert_same_fit(other, one, sigma=np.sqrt(factor))


@EVERY
def test_weights_of_one_are_no_weights(data, formula):
    assert_same_fit(fit(formula, data, weights=np.ones(len(data))), fit(formula, data))


def test_a_column_and_an_array_are_the_same_weights(data):
    one = fit(FORMULAS["one factor"], data, weights="w")
    for weights in (data["w"], data["w"].to_numpy(), data["w"].tolist()):
        assert fit(FORMULAS["one factor"], data, weights=weights).criterion == one.criterion
    # by position, as NumPy has it: an index of another order is not looked at
    moved = data["w"].set_axis(data.index[::-1])
    assert fit(FORMULAS["one factor"], data, weights=moved).criterion == one.criterion


# --- a row for the mean of several --------------------------------------------------------------------


@pytest.fixture(scope="module")
def replicated():
    """Forty settings of predictor and group, each observed one to five times, and their means."""
    rng = np.random.default_rng(12)
    settings = pd.DataFrame({"x": rng.uniform(-1.0, 2.0, 40), "g": np.arange(40) % 8, "k": rng.integers(1, 6, 40)})
    settings["mu"] = settings["x"] + rng.standard_normal(8)[settings["g"]] * (1.0 + 0.5 * settings["x"])
    rows = settings.loc[settings.index.repeat(settings["k"])].reset_index(names="setting")
    rows["y"] = rows["mu"] + 0.7 * rng.standard_normal(len(rows))
    means = rows.groupby("setting").agg(y=("y", "mean"), x=("x", "first"), g=("g", "first"), k=("k", "first"))
    within = float(((rows["y"] - rows.groupby("setting")["y"].transform("mean")) ** 2).sum())
    return rows, means.reset_index(), within


def test_a_mean_of_k_rows_with_weight_k_says_the_same_of_everything_but_sigma(replicated):
    """For every θ the densities differ by the density of the rows around their means, which knows σ alone."""
    rows, means, within = replicated
    long = hb.Model("y ~ x + (x | g)", rows).design
    short = hb.Model("y ~ x + (x | g)", means, weights="k").design
    extra, constant = len(rows) - len(means), 0.5 * np.log(means["k"]).sum()
    for seed in range(4):
        theta = some_theta(long, seed)
        sigma = sigma_at(long, theta)
        around = -0.5 * extra * np.log(2.0 * np.pi * sigma**2) - 0.5 * within / sigma**2 - constant
        expected = Marginal(short).log_density(theta)[0] + around
        assert Marginal(long).log_density(theta)[0] == pytest.approx(expected, rel=ORACLE)
        assert expected_density(long, theta, None) == pytest.approx(expected, rel=ORACLE)
        given = (covariance_at(long, theta), sigma, np.zeros(2), np.zeros((2, 2)))
        mean, covariance = joint_conditional(dense(long), *given)
        other, other_covariance = joint_conditional(dense(short), *given)
        np.testing.assert_allclose(other, mean, rtol=0, atol=ORACLE)
        np.testing.assert_allclose(other_covariance, covariance, rtol=0, atol=ORACLE)


@BOTH
def test_a_mean_of_k_rows_has_a_kth_of_their_variance(replicated, method):
    """With known standard errors nothing is lost by averaging: fixed effects and standard deviations are the same."""
    rows, means, _ = replicated
    long = fit("y ~ x + (x | g)", rows, method, se=np.full(len(rows), 0.7))
    short = fit("y ~ x + (x | g)", means, method, se=0.7 / np.sqrt(means["k"]))
    np.testing.assert_allclose(short.fixef, long.fixef, rtol=SAME)
    np.testing.assert_allclose(short.vcov, long.vcov, rtol=SAME)
    np.testing.assert_allclose(short.covariance, long.covariance, rtol=SAME)
    np.testing.assert_allclose(short.ranef["g"], long.ranef["g"], rtol=0, atol=SAME * 10)
    np.testing.assert_allclose(short.ranef_sd["g"], long.ranef_sd["g"], rtol=0, atol=SAME * 10)


# --- known standard errors ----------------------------------------------------------------------------


@EVERY
@BOTH
def test_known_standard_errors_leave_no_sigma(data, formula, method):
    found = fit(formula, data, method, se="se")
    assert found.sigma == 1.0
    assert "sigma" not in found.tidy()["term"].tolist()
    assert "Residual" not in found.varcorr["group"].tolist()
    assert found.n_par == fit(formula, data, method).n_par - 1
    assert oracle_loglik(found.design, found.covariance, 1.0, method) == pytest.approx(found.loglik, rel=ORACLE)
    np.testing.assert_allclose(dense(found.design).deviation, data["se"], rtol=1e-14)
    theta = some_theta(found.design)
    assert Marginal(found.design).log_density(theta)[0] == pytest.approx(
        expected_density(found.design, theta, None), rel=ORACLE
    )


def test_standard_errors_are_weights_with_a_known_sigma(data):
    """Where σ̂ of the weighted fit happens to be 1, the two fits are one."""
    weighted = fit(FORMULAS["crossed"], data, "REML", weights="w")
    known = fit(FORMULAS["crossed"], data, "REML", se=weighted.sigma / np.sqrt(data["w"]))
    assert known.criterion == pytest.approx(weighted.criterion, rel=ORACLE)
    np.testing.assert_allclose(known.covariance, weighted.covariance, rtol=1e-6)
    np.testing.assert_allclose(known.fixef, weighted.fixef, rtol=SAME)


# --- offsets ------------------------------------------------------------------------------------------


@EVERY
@BOTH
def test_an_offset_is_taken_off_the_response(data, formula, method):
    found = fit(f"{formula} + offset(shift)", data.assign(y=data["y"] + data["shift"]), method, weights="w")
    expected = fit(formula, data, method, weights="w")
    assert_same_fit(found, expected)
    np.testing.assert_allclose(found.fitted, expected.fitted + data["shift"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.residuals, expected.residuals, rtol=0, atol=1e-6)


def test_offsets_add_up(data):
    frame = data.assign(half=0.5 * data["shift"])
    one = fit("y ~ x + offset(shift) + (1 | g)", frame)
    two = fit("y ~ x + offset(half) + (1 | g) + offset(0.5 * shift)", frame)
    assert two.criterion == pytest.approx(one.criterion, rel=ORACLE)


# --- what is refused ----------------------------------------------------------------------------------

REFUSED = {
    "a negative weight": ({"weights": "v"}, [-1.0, *[1.0] * 95], r"^Column 'v' is -1\.0 in row 0 .*a weight must be"),
    "a weight of zero": (
        {"weights": "v"},
        [1.0, 0.0, *[1.0] * 94],
        r"^Column 'v' is 0\.0 in row 1 .* positive number\.$",
    ),
    "a negative error": (
        {"se": "v"},
        [-1.0, *[1.0] * 95],
        r"^Column 'v' is -1\.0 in row 0 .*a standard error must be",
    ),
    "an error of zero": ({"se": "v"}, [0.0, *[1.0] * 95], r"^Column 'v' is 0\.0 in row 0 .*a standard error must be"),
    "an infinite weight": ({"weights": "v"}, [np.inf, *[1.0] * 95], r"^Column 'v' has an infinite value in row 0"),
    "an infinite error": ({"se": "v"}, [np.inf, *[1.0] * 95], r"^Column 'v' has an infinite value in row 0"),
    "texts": ({"weights": "v"}, ["heavy"] * 96, r"^Column 'v' is '?heavy'? in row 0 .*a weight must be"),
    "no weight at all": ({"weights": "v"}, [np.nan] * 96, r"^Column 'v' has no value at all"),
    "no such column": (
        {"weights": "W"},
        1.0,
        r"^weights= uses 'W', which is not a column of the data\. Did you mean 'w'\?$",
    ),
    "no such error": ({"se": "SE"}, 1.0, r"^se= uses 'SE', which is not a column of the data\. Did you mean 'se'\?$"),
    "too few numbers": ({"weights": np.ones(95)}, 1.0, r"^weights= has shape \(95,\), but the data have 96 rows"),
    "a single number": ({"weights": 2.0}, 1.0, r"^weights= has shape \(\), but the data have 96 rows"),
    "a table": ({"se": np.ones((96, 2))}, 1.0, r"^se= has shape \(96, 2\), but the data have 96 rows"),
    "both": ({"weights": "w", "se": "se"}, 1.0, r"^Give weights or se, not both"),
    "an array of texts": ({"weights": ["heavy"] * 96}, 1.0, r"^weights= .*number"),
    "a negative number": ({"weights": [-2.0, *[1.0] * 95]}, 1.0, r"is -2\.0 in row 0 .*a weight must be"),
}


@pytest.mark.parametrize(("options", "column", "message"), REFUSED.values(), ids=REFUSED)
def test_weights_that_cannot_be_used_are_refused(data, options, column, message):
    with pytest.raises(hb.DataError, match=message) as error:
        hb.Model("y ~ x + (1 | g)", data.assign(v=column), **options)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))


@pytest.mark.parametrize("option", ["weights", "se"])
def test_rows_without_a_weight_are_left_out_and_counted(data, option):
    frame = data.assign(v=data["w"].where(~data.index.isin([3, 50])))
    with pytest.warns(hb.RowsDropped, match=r"^2 of 96 rows have missing values in 'v' and were left out\.$"):
        design = hb.Model("y ~ x + (1 | g)", frame, **{option: "v"}).design
    expected = data["w"].drop([3, 50])
    np.testing.assert_allclose(design.weights, expected if option == "weights" else expected**-2.0, rtol=1e-14)
    with pytest.raises(
        hb.DataError, match=r"^2 of 96 rows have missing values in 'v'; fill them or pass dropna=True"
    ):
        hb.Model("y ~ x + (1 | g)", frame, dropna=False, **{option: "v"})


def test_weights_follow_their_rows(data):
    """Rows that are dropped for other reasons take their weights with them, given as a column or as an array."""
    frame = data.assign(x=data["x"].where(data.index != 5))
    with pytest.warns(hb.RowsDropped):
        column = hb.Model("y ~ x + (1 | g)", frame, weights="w").design
    with pytest.warns(hb.RowsDropped):
        array = hb.Model("y ~ x + (1 | g)", frame, weights=data["w"].to_numpy()).design
    np.testing.assert_array_equal(column.weights, data["w"].drop(5))
    np.testing.assert_array_equal(array.weights, column.weights)


def test_a_level_a_row_needs_known_errors(data):
    frame = data.assign(study=np.arange(96))
    with pytest.raises(hb.DataError, match="has as many levels as there are rows"):
        hb.Model("y ~ x + (1 | study)", frame, weights="w")
    assert len(hb.Model("y ~ x + (1 | study)", frame, se="se").design.factors[0].levels) == 96
