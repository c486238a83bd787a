"""Leave-one-out of rows and groups against exact quadrature, against ArviZ, and chunk by chunk."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from arviz_stats.base import array_stats
from scipy import stats
from test_posterior import GAUSSIAN_CASES as CASES

import hierbayes as hb
from hierbayes.cross_validation import loo as module
from hierbayes.cross_validation.elpd import standard_error
from hierbayes.cross_validation.left_out import Predictive
from hierbayes.cross_validation.loo import relative_efficiency
from hierbayes.cross_validation.posterior_refits import refit_without
from hierbayes.errors import DataError

ROWS, GROUPS = 0.1, 0.3
"""Of the elpd of all rows, or groups, against quadrature."""
EACH_ROW, EACH_GROUP = 0.02, 0.05
"""The same of a single row, or group."""
CONDITIONAL = 2.0
"""Of the elpd of all rows by the usual scores, whose weights are hopeless for a few rows."""
SAME = 1e-8
"""Absolute: the same sums in another order."""
MANY_PIT = 0.003
"""Of a probability integral transform, against the average over the draws of an exact refit."""
FEW_PIT = 0.001
"""The same between two sets of draws."""
SIMULATED = 0.04
"""Of a probability that ArviZ takes from 4000 simulated responses: five standard errors."""

NAMES = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def fits():
    """Posteriors of the reference's models under the reference's priors."""
    made = {}
    for name, case in CASES.items():
        model = hb.Model(case.formula, hb.load_data(case.data), priors=case.priors, center_predictors=False)
        made[name] = model.fit(draws=1000, seed=20, progress=False)
    return made


@pytest.fixture(scope="module")
def exact(shared):
    models = json.loads(shared("reference/posterior.json").read_text())["models"]
    return {name: models[name]["exact_quadrature"] for name in CASES}


@pytest.fixture(scope="module")
def fit(fits):
    return fits["sleepstudy_slope"]


# --- against quadrature -------------------------------------------------------------------------------


@NAMES
def test_rows_agree_with_quadrature(fits, exact, name):
    found, wanted = fits[name].loo(), exact[name]["loo_exact"]
    assert abs(found.elpd - wanted["elpd_loo"]) < ROWS
    np.testing.assert_allclose(found.elpd_i, wanted["pointwise"], atol=EACH_ROW)
    np.testing.assert_allclose(found.se, wanted["se"], rtol=0.01)
    assert found.pareto_k.max() < 0.7
    assert not found.warning


def test_groups_agree_with_quadrature(fit, exact):
    wanted = exact["sleepstudy_slope"]["leave_one_group_out_exact"]
    joint, pointwise = fit.logo(joint=True), fit.logo()
    np.testing.assert_allclose(joint.se, wanted["se_joint"], rtol=0.01)
    subject = fit.design.factors[0]
    assert list(subject.levels) == list(wanted["per_group_joint"]) == list(wanted["per_group_pointwise_sum"])
    assert abs(joint.elpd - wanted["elpd_joint"]) < GROUPS
    assert abs(pointwise.elpd - wanted["elpd_pointwise"]) < GROUPS
    np.testing.assert_allclose(joint.elpd_i, [*wanted["per_group_joint"].values()], atol=EACH_GROUP)
    per_group = np.bincount(subject.codes, pointwise.elpd_i)
    np.testing.assert_allclose(per_group, [*wanted["per_group_pointwise_sum"].values()], atol=EACH_GROUP)
    assert joint.pareto_k.max() < 0.7
    np.testing.assert_array_equal(pointwise.pareto_k, joint.pareto_k[subject.codes])


def test_standard_error_of_groups_is_that_of_their_sums(fit, exact):
    """The rows of a group are left out together, and so well or badly predicted together."""
    wanted = exact["sleepstudy_slope"]["leave_one_group_out_exact"]
    sums = np.array([*wanted["per_group_pointwise_sum"].values()])
    found = fit.logo()
    assert found.se == pytest.approx(np.sqrt(18 * sums.var(ddof=1)), rel=0.01)
    # as if its rows were 180 groups
    assert standard_error(found.elpd_i) == pytest.approx(wanted["se_pointwise"], rel=0.01)
    assert found.se > 2.0 * wanted["se_pointwise"]
    np.testing.assert_array_equal(found.part, fit.design.factors[0].codes)
    assert "standard error is that of the sums of its groups" in found.note
    assert fit.logo(joint=True).part is fit.loo().part is None


def test_plain_importance_sampling_warns_where_it_fails(fit, exact):
    wanted = exact["sleepstudy_slope"]["loo_exact"]
    with pytest.warns(hb.ParetoWarning, match=r"1 of 180 rows have a Pareto k above 0\.70 .*fit\.reloo\(\) refits"):
        plain = fit.loo(refine=False)
    assert plain.warning
    assert abs(fit.loo().elpd - wanted["elpd_loo"]) < abs(plain.elpd - wanted["elpd_loo"])
    with pytest.warns(hb.ParetoWarning, match=r"levels of 'Subject' have a Pareto k above 0\.70"):
        fit.logo(refine=False)


@pytest.mark.filterwarnings("ignore::hierbayes.ParetoWarning")
def test_without_a_density_of_the_posterior_there_is_no_second_look(fit, monkeypatch):
    """As with a prior that only PyMC knows."""
    monkeypatch.setattr(module, "propose", lambda *_: None)
    np.testing.assert_array_equal(fit.loo().elpd_i, fit.loo(refine=False).elpd_i)
    np.testing.assert_array_equal(fit.logo().elpd_i, fit.logo(refine=False).elpd_i)


def test_conditional_scores(fit, exact):
    with pytest.warns(hb.ParetoWarning, match=r"without conditional=True integrates the random effects"):
        found = fit.loo(conditional=True)
    assert abs(found.elpd - exact["sleepstudy_slope"]["loo_exact"]["elpd_loo"]) < CONDITIONAL
    # θ is not all that these weights depend on
    assert found.p > 20.0
    assert fit.loo().p < 10.0


# --- against ArviZ --------------------------------------------------------------------------------------


def assert_same(found, expected):
    assert expected.elpd == pytest.approx(found.elpd, abs=SAME)
    assert expected.se == pytest.approx(found.se, abs=SAME)
    assert expected.p == pytest.approx(found.p, abs=1e-6)
    assert (expected.n_samples, expected.n_data_points) == (found.n_samples, found.n_data_points)
    assert expected.good_k == pytest.approx(found.good_k, abs=1e-12)
    for name in ("elpd_i", "pareto_k"):
        np.testing.assert_allclose(found[name], expected[name], rtol=SAME, atol=SAME)
    # which of two equal ratios is the larger is for each sort to decide
    weights = [np.sort(each.log_weights, axis=None) for each in (found, expected)]
    np.testing.assert_allclose(*weights, rtol=SAME, atol=SAME)


@pytest.mark.filterwarnings("ignore:.*Pareto:UserWarning")
@NAMES
def test_plain_importance_sampling_is_that_of_arviz(fits, name):
    fit = fits[name]
    group = fit.design.factors[0].name
    assert_same(fit.loo(refine=False), az.loo(fit.log_likelihood(), pointwise=True))
    joint = az.loo(fit.log_likelihood("group", group), pointwise=True)
    assert_same(fit.logo(group, joint=True, refine=False), joint)
    # chains of 1000 draws: all random effects were kept
    conditional = az.loo(fit.log_likelihood("conditional"), pointwise=True, reff=relative_efficiency(fit))
    assert_same(fit.loo(conditional=True), conditional)


def test_conditional_densities(fit):
    """Log N(y; β₀ + b₀ + (β₁ + b₁) Days, σ²), written out."""
    posterior = fit.posterior
    days = fit.design.X[:, 1]
    subject = posterior["1|Subject"].to_numpy()[..., fit.design.factors[0].codes]
    slope = posterior["Days|Subject"].to_numpy()[..., fit.design.factors[0].codes]
    mean = posterior["Intercept"].to_numpy()[..., None] + subject
    mean = mean + (posterior["Days"].to_numpy()[..., None] + slope) * days
    expected = stats.norm.logpdf(fit.design.y, mean, posterior["sigma"].to_numpy()[..., None])
    found = fit.log_likelihood("conditional")["log_likelihood"]["Reaction"]
    np.testing.assert_allclose(found, expected, rtol=SAME, atol=SAME)


def test_results_are_arviz_results(fits, fit):
    elpd = fit.loo()
    simpler = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy"), center_predictors=False)
    table = az.compare({"slope": elpd, "intercept": simpler.fit(draws=300, seed=1, progress=False).loo()})
    assert list(table.index) == ["slope", "intercept"]
    assert isinstance(elpd, az.ELPDData)
    for other in (copy.deepcopy(elpd), pickle.loads(pickle.dumps(elpd))):
        assert other.elpd == elpd.elpd
        assert other.target == "row"
    assert "random and fixed effects integrated" in str(elpd)
    assert "elpd_loo" in str(elpd)
    logo = fits["penicillin"].logo("plate", joint=True)
    assert "elpd_logo" in str(logo)
    assert "24 levels" in str(logo)
    assert "'plate' is left out" in logo.note
    assert "The effects of sample are integrated" in logo.note
    assert (logo.target, logo.group, logo.joint) == ("group", "plate", True)


# --- probability integral transforms ------------------------------------------------------------------


def test_pit_is_weighted_normal_probability(fit):
    mean, sd = Predictive(fit.marginal, fit.thetas).predict()
    y = fit.design.y[:, None]
    log_weights, _ = array_stats.psislw(stats.norm.logpdf(y, mean, sd), r_eff=relative_efficiency(fit))
    expected = (np.exp(log_weights) * stats.norm.cdf(y, mean, sd)).sum(axis=1)
    with pytest.warns(hb.ParetoWarning, match="1 of 180 rows .* so their transforms may be off"):
        pit = fit.loo_pit(refine=False)
    np.testing.assert_allclose(pit, expected, atol=SAME)
    simulated = az.loo_pit(fit.log_likelihood(seed=3))["Reaction"]
    np.testing.assert_allclose(pit, simulated, atol=SIMULATED)


@pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning")
def test_pit_is_looked_at_again(fit):
    """The row that plain importance sampling has wrong, and others, against refits without them."""
    with pytest.warns(hb.ParetoWarning):
        worst = int(np.argmax(fit.loo(refine=False).pareto_k.to_numpy()))
    pit = fit.loo_pit()
    for row in (worst, 3):
        refit = refit_without(fit, np.array([row]))
        error, sd = Predictive(refit.marginal, refit.thetas).predict_new(fit.design.only(np.array([row])))
        assert float(pit[row]) == pytest.approx(stats.norm.cdf(error / sd).mean(), abs=MANY_PIT)
    # the second look needs few draws of the posterior; without it they differ by up to 0.007
    case = CASES["sleepstudy_slope"]
    model = hb.Model(case.formula, hb.load_data(case.data), priors=case.priors, center_predictors=False)
    few = model.fit(draws=200, seed=3, progress=False)
    np.testing.assert_allclose(few.loo_pit(), pit, atol=FEW_PIT)


def test_weights_of_other_draws_are_not_kept(fit):
    """Those of rows that were estimated again are not weights of the draws of the fit."""
    with pytest.warns(hb.ParetoWarning):
        plain = fit.loo(refine=False)
    fine = fit.loo()
    again = fine.pareto_k.to_numpy() != plain.pareto_k.to_numpy()
    assert again.any()
    assert np.isnan(fine.log_weights[..., again]).all()
    np.testing.assert_array_equal(fine.log_weights[..., ~again], plain.log_weights[..., ~again])
    weights = {"log_weights": fine.log_weights, "pareto_k": fine.pareto_k}
    with pytest.warns(UserWarning, match="shape parameter of Pareto distribution is greater"):
        expected, _ = az.loo_expectations(fit.log_likelihood(), **weights)
    np.testing.assert_array_equal(np.isnan(expected), again)


@pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning")
def test_rows_that_flat_coefficients_rest_on_are_refused():
    """A batch of a single row: nothing is known of it without that row."""
    data = hb.load_data("sleepstudy").assign(batch=np.where(np.arange(180) == 17, "b", "a"))
    priors = {name: bmb.Prior("Flat") for name in ("Intercept", "Days", "batch")}
    fit = hb.Model("Reaction ~ Days + batch + (1 | Subject)", data, priors=priors).fit(
        draws=100, tune=300, seed=1, progress=False
    )
    for ask in (fit.loo, fit.loo_pit, fit.log_likelihood, fit.wrapper):
        with pytest.raises(DataError, match="Without row 17 the remaining rows do not determine"):
            ask()


# --- every kind of model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(5)
    n, J = 120, 10
    g = np.repeat(np.arange(J), n // J)
    e = rng.standard_normal(n)
    for i in range(1, n):
        e[i] += 0.5 * e[i - 1] * (g[i] == g[i - 1])
    x = rng.standard_normal(n)
    y = 1.0 + 0.5 * x + rng.standard_normal(J)[g] + e
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str), "w": rng.uniform(0.5, 2.0, n), "one": 1.0})


@pytest.mark.filterwarnings("ignore::hierbayes.ParetoWarning")
@pytest.mark.parametrize(
    "more",
    [
        {"formula": "y ~ x", "residual": "ar1(1 | g)"},
        {"formula": "y ~ x + (1 | g)", "residual": "ar1(1 | g)"},
        {"formula": "y ~ x + (x || g)", "weights": "w"},
        {"formula": "y ~ x + (1 | g)", "se": "one"},
    ],
    ids=lambda more: " ".join(map(str, more.values())),
)
def test_other_models(series, more):
    """Plain and refined estimates agree, which share nothing but the density of a row."""
    more = dict(more)
    fit = hb.Model(more.pop("formula"), series, **more).fit(draws=1000, seed=2, progress=False)
    plain, fine = fit.loo(refine=False), fit.loo()
    np.testing.assert_allclose(plain.elpd_i, fine.elpd_i, atol=0.1)
    assert plain.elpd == pytest.approx(fine.elpd, abs=0.5)
    assert np.isfinite(fit.loo_pit()).all()
    if fit.design.factors:
        plain, fine = fit.logo(joint=True, refine=False), fit.logo(joint=True)
        np.testing.assert_allclose(plain.elpd_i, fine.elpd_i, atol=0.3)
    if fit.design.residual is None:
        assert np.isfinite(fit.loo(conditional=True).elpd)


def test_chunks_do_not_matter(fit, fits, monkeypatch):
    wanted = [fit.loo(), fit.logo(), fits["penicillin"].loo()]
    monkeypatch.setattr(module, "CHUNK", 4000 * 17)
    monkeypatch.setattr(module, "LARGE", 4000 * 50)
    monkeypatch.setattr(module, "KEEP", 1000)
    found = [fit.loo(), fit.logo(), fits["penicillin"].loo()]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.elpd_i, other.elpd_i, atol=SAME)
        np.testing.assert_allclose(one.pareto_k, other.pareto_k, atol=1e-6)
    assert found[0].log_weights is None
    assert wanted[0].log_weights is not None


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning")
def test_refusals(fits, series):
    """Of posteriors that need not have converged."""
    with pytest.raises(hb.HierbayesError, match=r"several grouping factors.*group='plate'"):
        fits["penicillin"].logo()
    with pytest.raises(ValueError, match=r"no grouping factor 'plat'. Did you mean 'plate'"):
        fits["penicillin"].logo("plat")
    with pytest.raises(ValueError, match="target must be 'row', 'group' or 'conditional', not 'rows'"):
        fits["penicillin"].log_likelihood("rows")
    with pytest.raises(ValueError, match="goes with target='group'"):
        fits["penicillin"].log_likelihood("row", group="plate")
    alone = hb.Model("y ~ x", series, residual="ar1(1 | g)").fit(draws=50, tune=200, seed=2, progress=False)
    with pytest.raises(hb.HierbayesError, match="no grouping factor whose levels"):
        alone.logo()
    with pytest.raises(hb.HierbayesError, match="not independent given the random effects"):
        alone.loo(conditional=True)
    model = hb.Model("y ~ x + (1 | g)", series)
    few = model.fit(draws=50, tune=200, seed=2, progress=False, ranef="summary")
    with pytest.raises(hb.HierbayesError, match="Only summaries of the random effects were kept"):
        few.loo(conditional=True)


# --- size ---------------------------------------------------------------------------------------------

LARGE = """
import resource, warnings
import numpy as np, pandas as pd, hierbayes as hb
rng = np.random.default_rng(0)
n, J = 100_000, 1_000
g, x, b = rng.integers(0, J, n), rng.standard_normal(n), rng.standard_normal((J, 2))
y = 1.0 + 2.0 * x + b[g, 0] + 0.5 * b[g, 1] * x + rng.standard_normal(n)
fit = hb.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})).fit(seed=1, progress=False)
assert fit.loo().pareto_k.max() < 0.7
assert fit.logo().pareto_k.max() < 0.7
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
def test_memory_is_bounded():
    """100,000 rows times 4,000 draws in less than 2 GB, the process and its libraries included."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.0
