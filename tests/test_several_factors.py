"""Fits with crossed and nested factors: closed forms, the dense oracle, and results with one entry a factor."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from oracle import conditional_effects, covariance_of, dense, gls, oracle_loglik, response_covariance
from scipy.optimize import minimize
from scipy.stats import norm

import hierbayes as hb
from hierbayes.covariance import correlation

CLOSED = 1e-7
"""Relative, against a closed form: what is left of the optimiser's eight digits."""
ORACLE = 1e-9
"""Relative, of a density against the dense oracle."""
EFFECTS = 1e-8
"""Relative to the largest, of random effects and their standard deviations."""
SEARCHED = 1e-4
"""Of logarithms of standard deviations, against a search with differences for gradients."""
WALD = 1e-3
"""Relative, of standard errors from two numerical second derivatives."""
BOTH = pytest.mark.parametrize("method", ["REML", "ML"])


def fit(formula, data, method="REML", **options):
    """A fit whose warnings are looked at by their own tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        model = hb.Model(formula, data, **options)
        return model.reml() if method == "REML" else model.ml()


def sds(found):
    return pd.Series(np.sqrt(np.diag(found.covariance)), index=[part.factor.name for part in found.design.parts])


# --- closed forms -------------------------------------------------------------------------------------


def two_way(table):
    """Mean squares of rows, columns and what is left of a full table with one observation a cell."""
    a, b = table.shape
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    left = table - rows[:, None] - columns + table.mean()
    return b * rows.var(ddof=1), a * columns.var(ddof=1), (left**2).sum() / ((a - 1) * (b - 1))


def assert_two_way(data, response, a, b):
    table = data.pivot_table(response, a, b).to_numpy()
    n_a, n_b = table.shape
    of_a, of_b, left = two_way(table)
    assert min(of_a, of_b) > left  # the optimum is inside
    found = fit(f"{response} ~ 1 + (1 | {a}) + (1 | {b})", data)
    assert found.converged
    assert found.sigma**2 == pytest.approx(left, rel=CLOSED)
    np.testing.assert_allclose(sds(found)[[a, b]] ** 2, [(of_a - left) / n_b, (of_b - left) / n_a], rtol=CLOSED)
    assert found.fixef["Intercept"] == pytest.approx(table.mean(), rel=CLOSED)
    assert found.vcov.iloc[0, 0] == pytest.approx((of_a + of_b - left) / table.size, rel=CLOSED)


def test_a_balanced_two_way_layout_is_the_analysis_of_variance():
    """σ² = MSE, σ_a² = (MSA - MSE)/b, σ_b² = (MSB - MSE)/a (Searle, Casella & McCulloch 1992, chapter 4)."""
    assert_two_way(hb.load_data("Penicillin"), "diameter", "plate", "sample")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", [0.7, 5.0, 100.0])
def test_two_way_layouts_with_any_ratio_of_variances(seed, ratio):
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(9), 7), np.tile(np.arange(7), 9)
    y = 3.0 + ratio * rng.standard_normal(9)[a] + 2.0 * rng.standard_normal(7)[b] + rng.standard_normal(63)
    assert_two_way(pd.DataFrame({"y": y, "a": a, "b": b}), "y", "a", "b")


def assert_nested(data, response, outer, inner):
    """Rows per inner level and inner levels per outer level are constant."""
    cells = data.groupby([outer, inner])[response]
    r, means = int(cells.size().iloc[0]), cells.mean()
    k = means.groupby(level=0).size().iloc[0]
    groups = means.groupby(level=0).mean()
    within = ((data[response] - cells.transform("mean")) ** 2).sum() / (len(data) - len(means))
    middle = r * ((means - means.groupby(level=0).transform("mean")) ** 2).sum() / (len(means) - len(groups))
    between = r * k * groups.var(ddof=1)
    assert between > middle > within
    found = fit(f"{response} ~ 1 + (1 | {outer}/{inner})", data)
    assert found.converged
    expected = [(between - middle) / (r * k), (middle - within) / r]
    assert found.sigma**2 == pytest.approx(within, rel=CLOSED)
    np.testing.assert_allclose(sds(found)[[outer, f"{outer}:{inner}"]] ** 2, expected, rtol=CLOSED)
    assert found.vcov.iloc[0, 0] == pytest.approx(between / len(data), rel=CLOSED)


def test_a_balanced_nesting_is_the_analysis_of_variance():
    assert_nested(hb.load_data("Pastes"), "strength", "batch", "cask")


@pytest.mark.parametrize("seed", range(4))
def test_nested_layouts(seed):
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(10), 12), np.tile(np.repeat(np.arange(3), 4), 10)
    y = 2.0 * rng.standard_normal(10)[a] + rng.standard_normal((10, 3))[a, b] + 0.5 * rng.standard_normal(120)
    assert_nested(pd.DataFrame({"y": y, "a": a, "b": b}), "y", "a", "b")


# --- the dense oracle ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    """Pupils in schools, crossed with tests, over time; unbalanced."""
    rng = np.random.default_rng(4)
    n = 90
    school = rng.integers(0, 7, n)
    pupil = rng.integers(0, 3, n)
    test = rng.integers(0, 6, n)
    x = rng.uniform(-1.0, 2.0, n)
    y = (
        1.0
        + 0.5 * x
        + (1.2 * rng.standard_normal(7) + 0.8 * x[:, None] * rng.standard_normal(7))[np.arange(n), school]
        + 0.8 * rng.standard_normal((7, 3))[school, pupil]
        + (0.9 * rng.standard_normal(6) + 0.7 * x[:, None] * rng.standard_normal(6))[np.arange(n), test]
        + 0.6 * rng.standard_normal(n)
    )
    return pd.DataFrame({"y": y, "x": x, "school": school, "pupil": pupil, "test": test})


FORMULAS = {
    "crossed": ("y ~ x + (1 | school) + (1 | test)", {}),
    "nested": ("y ~ x + (1 | school/pupil)", {}),
    "nested within crossed": ("y ~ x + (1 | school/pupil) + (1 | test)", {}),
    "crossed slopes": ("y ~ x + (x | test) + (1 | school)", {}),
    "slopes of both": ("y ~ x + (x | test) + (x || school)", {}),
    "AR(1)": ("y ~ x + (1 | school)", {"residual": "ar1(1 | school:pupil)"}),
    "compound symmetry": ("y ~ x", {"residual": "cs(school:pupil)"}),
}
EVERY = pytest.mark.parametrize("name", FORMULAS)


@pytest.fixture(scope="module")
def fits(data):
    made = {}

    def get(name, method):
        if (name, method) not in made:
            formula, options = FORMULAS[name]
            made[name, method] = fit(formula, data, method, **options)
        return made[name, method]

    return get


def point(found):
    """Logarithms of standard deviations, Fisher's z of the free correlations, log σ, and the place of ρ."""
    sd, corr = correlation(found.covariance)
    pairs = [np.arctanh(corr[i, j]) for i, j in found.design.layout.pairs]
    x = [*np.log(sd), *pairs, np.log(found.sigma)]
    if found.rho is not None:
        low, high = found.design.residual.bounds
        x.append(np.arctanh(2.0 * (found.rho - low) / (high - low) - 1.0))
    return np.array(x)


def loglik(found, data, x, method):
    """Dense log likelihood there."""
    design = found.design
    q, pairs = design.layout.q, design.layout.pairs
    R = np.eye(q)
    for (i, j), z in zip(pairs, x[q:], strict=False):
        R[i, j] = R[j, i] = np.tanh(z)
    rho = 0.0
    if design.residual is not None:
        low, high = design.residual.bounds
        rho = low + 0.5 * (high - low) * (np.tanh(x[-1]) + 1.0)
    return oracle_loglik(data, covariance_of(np.exp(x[:q]), R), np.exp(x[q + len(pairs)]), method, rho)


@EVERY
@BOTH
def test_the_estimate_maximises_the_oracle(fits, name, method):
    """SciPy's search on the dense likelihood, which knows no gradient and no profile, ends at the same point."""
    found = fits(name, method)
    assert found.converged
    assert not found.singular
    x = point(found)
    d = dense(found.design)
    assert loglik(found, d, x, method) == pytest.approx(found.loglik, rel=ORACLE)
    searched = minimize(lambda at: -loglik(found, d, at, method), x + 0.1, method="BFGS", options={"gtol": 1e-5})
    assert -searched.fun == pytest.approx(found.loglik, rel=ORACLE)
    np.testing.assert_allclose(searched.x, x, rtol=0, atol=SEARCHED)


@EVERY
@BOTH
def test_everything_else_follows_from_the_variances(fits, name, method):
    found = fits(name, method)
    d = dense(found.design)
    rho = 0.0 if found.rho is None else found.rho
    V = response_covariance(d, found.covariance, found.sigma, rho)
    beta, covariance = gls(d.y, d.X, V)
    np.testing.assert_allclose(found.fixef, beta, rtol=EFFECTS)
    np.testing.assert_allclose(found.vcov, covariance, rtol=0, atol=EFFECTS * np.abs(covariance).max())
    mean, spread = conditional_effects(d, found.covariance, found.sigma, beta, rho)
    assert list(found.ranef) == list(found.ranef_sd) == [factor.name for factor in found.design.factors]
    for f, factor in enumerate(found.design.factors):
        slots = d.slots(f)
        for values, exact in ((found.ranef, mean), (found.ranef_sd, np.sqrt(np.diag(spread)))):
            table = values[factor.name]
            assert table.index.tolist() == factor.levels.tolist()
            np.testing.assert_allclose(table, exact[slots], rtol=0, atol=EFFECTS * np.abs(exact).max())
    np.testing.assert_allclose(found.fitted, d.X @ beta + d.Z @ mean, rtol=0, atol=1e-7)
    assert found.n_par == len(beta) + found.design.layout.q + len(found.design.layout.pairs) + 1 + (
        found.rho is not None
    )


@EVERY
@BOTH
def test_wald_intervals_are_the_curvature_of_the_oracle(fits, name, method):
    found = fits(name, method)
    x, d = point(found), dense(found.design)
    h = 0.01
    steps = h * np.eye(len(x))
    H = np.empty((len(x), len(x)))
    for i, a in enumerate(steps):
        for j, b in enumerate(steps[: i + 1]):
            corners = [loglik(found, d, x + s * a + t * b, method) * s * t for s in (-1, 1) for t in (-1, 1)]
            H[i, j] = H[j, i] = sum(corners) / (4.0 * h * h)
    errors = np.sqrt(np.diag(np.linalg.inv(-H)))
    table = found.tidy(conf_level=0.9).iloc[len(found.fixef) :]
    assert len(table) == len(x)
    z = norm.ppf(0.95)
    q, pairs = found.design.layout.q, len(found.design.layout.pairs)
    backs = [np.exp] * q + [np.tanh] * pairs + [np.exp]
    if found.rho is not None:
        low, high = found.design.residual.bounds
        backs.append(lambda value: low + 0.5 * (high - low) * (np.tanh(value) + 1.0))
    for k, back in enumerate(backs):
        row = table.iloc[k]
        slope = (back(x[k] + 1e-6) - back(x[k] - 1e-6)) / 2e-6
        assert row["estimate"] == pytest.approx(back(x[k]), rel=1e-9)
        assert row["std_error"] == pytest.approx(errors[k] * slope, rel=WALD)
        ends = [back(x[k] - z * errors[k]), back(x[k] + z * errors[k])]
        np.testing.assert_allclose([row["conf_low"], row["conf_high"]], ends, rtol=WALD, atol=WALD)


def test_the_order_of_the_terms_only_orders_the_tables(data):
    one = fit("y ~ x + (1 | school/pupil) + (x | test)", data)
    other = fit("y ~ x + (x | test) + (1 | school:pupil) + (1 | school)", data)
    assert other.criterion == pytest.approx(one.criterion, rel=ORACLE)
    np.testing.assert_allclose(other.fixef, one.fixef, rtol=EFFECTS)
    for group in one.ranef:
        np.testing.assert_allclose(other.ranef[group], one.ranef[group], rtol=0, atol=1e-6)
    key = ["group", "term"]
    a, b = (found.tidy().set_index(key)["estimate"].sort_index() for found in (one, other))
    pd.testing.assert_series_equal(a, b, rtol=1e-6)


def test_a_factor_without_variance_is_named(data):
    frame = data.assign(noise=np.random.default_rng(0).integers(0, 30, len(data)))
    with pytest.warns(hb.SingularFit, match=r"some combination of the random effects of 'noise' has no variance"):
        found = hb.Model("y ~ x + (1 | school) + (1 | noise)", frame).reml()
    smaller = fit("y ~ x + (1 | school)", frame)
    assert sds(found)["noise"] == 0.0
    assert found.criterion == pytest.approx(smaller.criterion, rel=ORACLE)
    np.testing.assert_array_equal(found.ranef["noise"], 0.0)


# --- the table, and the posterior ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nested within crossed", "slopes of both", "AR(1)", "compound symmetry"])
def test_both_inferences_have_the_same_rows(data, fits, name):
    formula, options = FORMULAS[name]
    reml = fits(name, "REML").tidy()
    posterior = short_fit(formula, data, **options).tidy()
    assert posterior.columns.tolist() == reml.columns.tolist()
    pd.testing.assert_frame_equal(posterior[["effect", "group", "term"]], reml[["effect", "group", "term"]])
    # the posterior lies about where the likelihood is
    assert ((posterior["estimate"] - reml["estimate"]).abs() < 3.0 * posterior["std_error"]).all()


def short_fit(formula, data, **options):
    more = {key: options.pop(key) for key in ("ranef", "cores", "seed") if key in options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # short runs on purpose
        return hb.Model(formula, data, **options).fit(
            draws=300, tune=300, chains=2, **{"seed": 4, "cores": 1, "progress": False, **more}
        )


CROSSED = "y ~ x + (x | test) + (1 | school/pupil)"


@pytest.fixture(scope="module")
def kept(data):
    return short_fit(CROSSED, data)


def test_names_and_dimensions_are_bambis(kept, data):
    posterior = kept.posterior
    shapes = {
        "Intercept": (), "x": (), "sigma": (), "1|test_sigma": (), "x|test_sigma": (), "1|school_sigma": (),
        "1|school:pupil_sigma": (), "1|test": ("test__factor_dim",), "x|test": ("test__factor_dim",),
        "1|school": ("school__factor_dim",), "1|school:pupil": ("school:pupil__factor_dim",),
        "test_corr": ("test_corr_dim", "test_corr_dim_bis"),
    }  # fmt: skip
    assert {name: variable.dims[2:] for name, variable in posterior.items()} == shapes
    assert posterior["school__factor_dim"].to_numpy().tolist() == [str(k) for k in range(7)]
    pupils = sorted(set(zip(data["school"], data["pupil"], strict=True)))
    assert posterior["school:pupil__factor_dim"].to_numpy().tolist() == [f"{a}:{b}" for a, b in pupils]


def test_random_effects_come_one_table_a_factor(kept):
    tables = kept.ranef()
    assert list(tables) == ["test", "school", "school:pupil"]
    assert tables["test"].index.names == ["test", "term"]
    assert tables["test"].index.get_level_values("term").unique().tolist() == ["Intercept", "x"]
    for group, table in tables.items():
        assert table.columns.tolist() == ["mean", "sd", "q2.5", "q50", "q97.5"]
        draws = kept.posterior[f"1|{group}"]
        rows = table.xs("Intercept", level="term")
        np.testing.assert_allclose(rows["mean"], draws.mean(["chain", "draw"]), rtol=1e-12)
        np.testing.assert_allclose(rows["q97.5"], draws.quantile(0.975, ["chain", "draw"]), rtol=1e-12)


def test_summaries_and_streamed_draws_are_those_of_the_kept_draws(kept, data, tmp_path):
    summary = short_fit(CROSSED, data, ranef="summary")
    streamed = short_fit(CROSSED, data, ranef=tmp_path / "ranef.zarr")
    for name in ("1|test", "1|school", "1|school:pupil"):
        assert name not in summary.posterior
        assert streamed.posterior[name].shape == kept.posterior[name].shape
    for group, table in kept.ranef().items():
        error = table["sd"] / np.sqrt(600)
        for other in (summary, streamed):
            assert ((table["mean"] - other.ranef()[group]["mean"]).abs() < 5 * np.sqrt(2) * error).all()


def test_same_seed_same_draws_whatever_the_cores(kept, data):
    xr.testing.assert_equal(short_fit(CROSSED, data, cores=2).posterior, kept.posterior)
    assert not np.allclose(short_fit(CROSSED, data, seed=5).posterior["x"], kept.posterior["x"])


def test_models_print_what_they_are(kept, fits, data):
    model = hb.Model(CROSSED, data)
    assert repr(model) == f"Model({CROSSED!r}: 90 rows, {model.design.levels})"
    assert model.design.levels == "6 levels of test, 7 levels of school, 21 levels of school:pupil"
    assert "2 random effects for each of 6 levels of test" in repr(model.design)
    for text in (repr(kept), repr(fits("nested within crossed", "REML"))):
        assert "21 levels of school:pupil" in text
    assert "residuals cs(school:pupil)" in repr(fits("compound symmetry", "REML").design)
    assert "rho" in repr(fits("AR(1)", "ML"))
