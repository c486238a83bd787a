"""Exact refits, moment matching, k-fold and ArviZ's wrapper, against exact quadrature and against each other."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from dataclasses import replace

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from test_posterior import CASES

import hierbayes as hb
from hierbayes.cross_validation.kfold import fold_of_rows
from hierbayes.cross_validation.posterior_refits import Target, cost, log_mean, refit_without
from hierbayes.cross_validation.wrapper import GaussianWrapper
from hierbayes.errors import ConvergenceWarning, DataError, HierbayesError, ParetoWarning
from hierbayes.evidence.bennett import log_ratio
from hierbayes.evidence.quadrature import quadrature
from hierbayes.priors import Prior

ERRORS = 4.0
"""Monte Carlo standard errors between an estimate and the exact value, at most."""
ROW = 0.04
"""Log density of one row by a refit and the fit, 4 x 1000 draws each; the estimated error is 0.01 to 0.03."""
LEVEL = 0.15
"""The same for a whole group of ten rows, estimated error up to 0.05."""
TOTAL = 0.1
"""Of the sum over all rows: what the issue asks of leave-one-out."""
FEW_DRAWS = pytest.mark.filterwarnings("ignore:The refit without:hierbayes.errors.ConvergenceWarning")
"""The test does not need draws that have converged, or makes so many refits that some R-hat is just too high."""
SAME = 1e-9
"""Two ways to the same number, relative."""


@pytest.fixture(scope="module")
def exact(shared):
    return json.loads(shared("reference/posterior.json").read_text())["models"]["sleepstudy_slope"][
        "exact_quadrature"
    ]


@pytest.fixture(scope="module")
def fit():
    case = CASES["sleepstudy_slope"]
    data = hb.load_data(case.data)
    return hb.Model(case.formula, data, priors=case.priors, center_predictors=False).fit(seed=1, progress=False)


@pytest.fixture(scope="module")
def small():
    """A fit of 30 rows in 6 levels with few draws."""
    model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    return model.fit(draws=800, tune=400, seed=1, progress=False)


ROWS, LEVELS = np.array([7, 56, 59]), np.array([0, 5])
"""Rows and subjects of sleepstudy that are hardest to leave out."""


@pytest.fixture(scope="module")
def rows(fit):
    return marked(fit.loo(), ROWS)


@pytest.fixture(scope="module")
def levels(fit):
    return marked(fit.logo(joint=True), LEVELS)


def marked(elpd, items):
    """An elpd whose Pareto k is 1 for some items and 0 for all others."""
    new = copy.copy(elpd)
    new.pareto_k = xr.zeros_like(elpd.pareto_k)
    new.pareto_k[items] = 1.0
    return new


def psis(wrapper):
    """ArviZ's own importance sampling of what a wrapper sees."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some k are high, which is the point
        return az.loo(wrapper.idata_orig)


def of_levels(values):
    return np.array(list(values.values()))


# the ratio of two normalising constants


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_bennett_against_two_normal_densities(shift):
    """q₀ = N(0, 1) and q₁ = q₀ exp(shift x): the ratio of their integrals is exp(shift²/2)."""
    rng = np.random.default_rng(int(shift))
    below, over = rng.standard_normal((4, 2000)), rng.standard_normal((4, 2000)) + shift
    value, error = log_ratio(shift * below, shift * over)
    assert abs(value - shift**2 / 2) <= ERRORS * error + SAME
    assert error < 0.1


def test_bennett_says_its_error():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        value, error = log_ratio(rng.standard_normal((2, 500)), 1.0 + rng.standard_normal((2, 500)))
        found.append((value - 0.5) / error)
    assert stats.kstest(found, "norm").pvalue > 0.01


def test_bennett_takes_unequal_numbers_of_draws():
    rng = np.random.default_rng(5)
    value, error = log_ratio(rng.standard_normal((4, 3000)), 1.0 + rng.standard_normal((4, 300)))
    assert abs(value - 0.5) < ERRORS * error


# exact refits


def test_refits_of_rows_agree_with_quadrature(fit, rows, exact):
    pointwise = np.array(exact["loo_exact"]["pointwise"])
    found = fit.reloo(rows, progress=False)
    np.testing.assert_allclose(found.elpd_i[ROWS], pointwise[ROWS], atol=ROW)
    assert abs(found.elpd - exact["loo_exact"]["elpd_loo"]) < TOTAL
    assert (found.pareto_k == 0).all()
    assert not found.warning
    # the others, and the bookkeeping
    others = np.setdiff1d(np.arange(180), ROWS)
    np.testing.assert_array_equal(found.elpd_i[others], rows.elpd_i[others])
    assert found.elpd == pytest.approx(float(found.elpd_i.sum()))
    assert found.se == pytest.approx(np.sqrt(180) * np.std(found.elpd_i, ddof=1))
    assert found.p + found.elpd == pytest.approx(rows.p + rows.elpd)
    assert "Exact refits of 3" in str(found)
    assert (rows.pareto_k[ROWS] == 1).all()  # what went in is as it was


def test_refits_of_groups_agree_with_quadrature(fit, levels, exact):
    truth = of_levels(exact["leave_one_group_out_exact"]["per_group_joint"])
    found = fit.reloo(levels, progress=False)
    np.testing.assert_allclose(found.elpd_i[LEVELS], truth[LEVELS], atol=LEVEL)


def test_one_refit_scores_all_rows_of_its_group(fit, exact):
    truth = of_levels(exact["leave_one_group_out_exact"]["per_group_pointwise_sum"])
    codes = fit.design.factors[0].codes
    elpd = marked(fit.logo(), codes == LEVELS[1])
    assert fit.refit_cost(elpd).refits == 1
    found = fit.reloo(elpd, progress=False)
    assert float(found.elpd_i[codes == LEVELS[1]].sum()) == pytest.approx(truth[LEVELS[1]], abs=LEVEL)
    np.testing.assert_array_equal(found.elpd_i[codes != LEVELS[1]], elpd.elpd_i[codes != LEVELS[1]])


def test_conditional_scores_are_not_mended(fit):
    with pytest.warns(ParetoWarning, match="integrates the random effects"):
        conditional = fit.loo(conditional=True)
    for mend in (fit.reloo, fit.moment_match, fit.refit_cost):
        with pytest.raises(HierbayesError, match=r"conditional on draws of the random effects.*use fit\.loo\(\)"):
            mend(conditional)


@pytest.fixture(scope="module")
def outlier():
    """24 rows of which one is 40 standard deviations away: the posteriors with and without it do not overlap."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 4), "x": rng.normal(size=24)})
    data["y"] = rng.normal(size=24) * 0.3
    data.loc[OUTLIER, "y"] = 12.0
    return hb.Model("y ~ x + (1 | g)", data).fit(seed=1, draws=500, progress=False)


OUTLIER = 3


def quadratures(fit, rows):
    whole, without = fit.marginal, fit.marginal.without(rows)
    return quadrature(whole, fit.priors).log_integral - quadrature(without, fit.priors).log_integral


@pytest.mark.parametrize("joint", [False, True])
def test_a_refit_that_does_not_overlap_with_the_fit_is_exact(outlier, joint):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        before = outlier.logo(joint=True) if joint else outlier.loo()
    item = 0 if joint else OUTLIER
    found = outlier.reloo(marked(before, [item]), progress=False)
    truth = quadratures(outlier, np.arange(4) if joint else np.array([OUTLIER]))
    assert float(found.elpd_i[item]) == pytest.approx(truth, abs=ROW)
    assert found.pareto_k[item] == 0


def test_a_surprising_row_of_a_left_out_group_is_exact(outlier):
    """The average over the refit without the group hangs on a few draws: it is off by 9."""
    rows = np.arange(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        before = outlier.logo()
    found = outlier.reloo(marked(before, rows), progress=False)
    whole = quadratures(outlier, rows)
    truth = [whole - quadratures(outlier, np.delete(rows, row)) for row in rows]
    np.testing.assert_allclose(found.elpd_i[rows], truth, atol=ROW)
    assert (found.pareto_k[rows] == 0).all()
    refit = refit_without(outlier, rows)
    plain = log_mean(Target(outlier.design, "g").without(outlier.marginal, refit.thetas, rows, rows))
    assert abs(plain[OUTLIER] - truth[OUTLIER]) > 1.0


def test_what_is_not_exact_is_not_called_so(outlier, monkeypatch):
    """As for priors that are not compiled: the average over the draws of both posteriors."""
    for name in ("_whole", "_log_integral"):
        monkeypatch.setattr(f"hierbayes.cross_validation.reloo.{name}", lambda fit: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        before = outlier.loo()
    assert before.pareto_k[OUTLIER] > before.good_k
    others = (before.pareto_k > before.good_k).sum() - 1
    assert others == 0
    with pytest.warns(
        ParetoWarning, match=r"error of 1 of 1 scores by refits is above 0\.1 .*so their Pareto k stays"
    ):
        found = outlier.reloo(before, progress=False)
    assert found.pareto_k[OUTLIER] == before.pareto_k[OUTLIER]
    assert found.warning
    # where the two posteriors overlap it is right
    easy = int(before.pareto_k.to_numpy().argmin())
    found = outlier.reloo(marked(before, [easy]), progress=False)
    assert float(found.elpd_i[easy]) == pytest.approx(quadratures(outlier, np.array([easy])), abs=ROW)
    assert found.pareto_k[easy] == 0


def test_nothing_to_refit_is_no_work(fit, rows):
    assert fit.reloo(rows, k_threshold=5.0) is rows
    assert fit.moment_match(rows, k_threshold=5.0) is rows
    assert fit.refit_cost(rows, 5.0).refits == 0


def test_the_cost_is_said_first(small, caplog):
    elpd = marked(small.loo(), [4])
    with caplog.at_level(logging.INFO, "hierbayes"):
        small.reloo(elpd, progress=True)
    assert "1 of 30: 1 refit, about" in caplog.text
    assert str(cost(small, 10_000)).endswith("min")
    seconds = small.idata.attrs["seconds_sampling"]
    assert small.refit_cost(elpd, -np.inf).seconds == pytest.approx(30 * seconds)


@FEW_DRAWS
def test_an_elpd_of_another_fit_is_refused(small, rows):
    model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    again = model.fit(draws=800, tune=400, seed=2, progress=False).loo()
    for mend in (small.reloo, small.moment_match, small.refit_cost):
        with pytest.raises(HierbayesError, match="one of another fit of 180 rows; give what"):
            mend(rows)
        with pytest.raises(HierbayesError, match="one of another fit; give what"):
            mend(again)
        with pytest.raises(HierbayesError, match=r"A ELPDDataLOO cannot be mended; give what fit\.loo\(\)"):
            mend(psis(small.wrapper()))


MODELS = {
    "crossed": lambda: hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin")),
    "correlated residuals": lambda: hb.Model(
        "Reaction ~ Days", hb.load_data("sleepstudy"), residual="ar1(Days | Subject)"
    ),
    "known standard errors": lambda: hb.Model(
        "Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff").assign(se=np.linspace(30.0, 70.0, 30)), se="se"
    ),
    "a prior that keeps a coefficient in θ": lambda: hb.Model(
        "Yield ~ 1 + (1 | Batch)",
        hb.load_data("Dyestuff").assign(w=np.linspace(0.5, 2.0, 30)),
        priors={"Intercept": bmb.Prior("StudentT", nu=4, mu=1500, sigma=100)},
        weights="w",
    ),
}


@FEW_DRAWS
@pytest.mark.parametrize("name", MODELS)
def test_refits_agree_with_importance_sampling_for_every_kind_of_model(name):
    fit = MODELS[name]().fit(draws=1000, tune=500, seed=2, progress=False)
    elpd = fit.loo()
    easy = np.array([int(np.abs(elpd.pareto_k.to_numpy()).argmin())])
    found = fit.reloo(marked(elpd, easy), progress=False)
    np.testing.assert_allclose(found.elpd_i[easy], elpd.elpd_i[easy], atol=ROW)
    matched = fit.moment_match(marked(elpd, easy), k_threshold=0.3)
    np.testing.assert_allclose(matched.elpd_i[easy], elpd.elpd_i[easy], atol=ROW)


def test_a_refit_is_sampled_as_the_fit_was_and_can_be_repeated(small):
    once, again, other = (refit_without(small, np.array([row])) for row in (3, 3, 4))
    np.testing.assert_array_equal(once.thetas, again.thetas)
    assert not np.array_equal(once.thetas, other.thetas)
    assert once.thetas.shape == small.thetas.shape
    assert once.priors is small.priors
    np.testing.assert_array_equal(np.delete(small.design.y, 3), once.idata["observed_data"]["Yield"])


def test_a_refit_that_has_not_converged_says_so(small):
    attrs = small.idata.attrs | {"tuning_steps": 1, "target_accept": 0.05}
    hurried = replace(small, idata=small.idata.copy())
    hurried.idata.attrs = attrs
    with pytest.warns(ConvergenceWarning, match="The refit without row 3 is not to be trusted"):
        refit_without(hurried, np.array([3]))


# moment matching


def test_moment_matching_improves_what_was_bad(fit, rows, exact):
    pointwise = np.array(exact["loo_exact"]["pointwise"])[ROWS]
    before = psis(fit.wrapper(items=ROWS))
    assert (before.pareto_k > 0.4).all()
    found = fit.moment_match(rows, k_threshold=0.4)
    assert (found.pareto_k[ROWS] < 0.3).all()
    np.testing.assert_allclose(found.elpd_i[ROWS], pointwise, atol=ROW)
    assert np.abs(found.elpd_i[ROWS] - pointwise).sum() < np.abs(before.elpd_i.to_numpy() - pointwise).sum()
    np.testing.assert_array_equal(found.influence_pareto_k, rows.pareto_k)


def test_moment_matching_of_groups(fit, levels, exact):
    truth = of_levels(exact["leave_one_group_out_exact"]["per_group_joint"])[LEVELS]
    before = psis(fit.wrapper("Subject", joint=True, items=LEVELS))
    found = fit.moment_match(levels, k_threshold=0.4)
    assert (found.pareto_k.to_numpy()[LEVELS] < before.pareto_k.to_numpy()).all()
    np.testing.assert_allclose(found.elpd_i[LEVELS], truth, atol=LEVEL)


def test_moment_matching_keeps_what_it_cannot_improve(small):
    wrapper = small.wrapper("Batch", joint=True)
    before = psis(wrapper)
    with pytest.warns(ParetoWarning, match=r"6 of 6 Pareto k are still above -2\.00 .*fit\.reloo"):
        found = small.moment_match(small.logo(joint=True), k_threshold=-2.0)
    own = small.logo(joint=True)
    assert (found.pareto_k <= np.minimum(before.pareto_k.to_numpy(), own.pareto_k.to_numpy()) + SAME).all()
    np.testing.assert_allclose(found.elpd_i, own.elpd_i, atol=LEVEL)


def test_moment_matching_needs_priors_that_are_compiled(small):
    wild = replace(small, priors=replace(small.priors, sds=(Prior("Exotic", {}),)))
    with pytest.raises(HierbayesError, match=r"fit\.reloo"):
        wild.moment_match(marked(small.loo(), [4]))


def test_moment_matching_refuses_rows_of_groups(fit):
    with pytest.raises(HierbayesError, match="score groups as a whole"):
        fit.moment_match(fit.logo())


# ArviZ's own functions through the wrapper


def test_arviz_refits_through_the_wrapper(fit, exact):
    items = np.array([7, 130])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it refits anyway
        found = az.reloo(fit.wrapper(items=items), k_threshold=-np.inf)
    pointwise = np.array(exact["loo_exact"]["pointwise"])
    np.testing.assert_allclose(found.elpd_i, pointwise[items], atol=0.1)
    assert found.elpd_i.coords["row"].to_numpy().tolist() == items.tolist()


@FEW_DRAWS
def test_arviz_mends_what_the_fit_returned(small):
    """Rows are called alike by the fit and by its wrapper, so that ArviZ takes the scores of one with the other."""
    before, row = small.loo(refine=False), 4
    wrapper, easy = small.wrapper(), marked(before, [row])
    refitted = az.reloo(wrapper, loo_orig=easy, pointwise=True)
    assert refitted.pareto_k[row] == 0
    assert float(refitted.elpd_i[row]) == pytest.approx(quadratures(small, np.array([row])), abs=ROW)
    matched = az.loo_moment_match(
        wrapper.idata_orig, easy, wrapper.log_prob_upars, wrapper.log_lik_i_upars, wrapper.upars, pointwise=True
    )
    assert float(matched.elpd_i[row]) == pytest.approx(quadratures(small, np.array([row])), abs=ROW)
    assert matched.pareto_k[row] < 0.5
    others = np.setdiff1d(np.arange(30), [row])
    for found in (refitted, matched):
        np.testing.assert_array_equal(found.elpd_i[others], before.elpd_i[others])
    # and the log likelihood is on the same rows
    draws = small.log_likelihood()
    assert draws["log_likelihood"]["Yield"].dims == ("chain", "draw", *before.elpd_i.dims)
    mean, _ = az.loo_expectations(draws, log_weights=before.log_weights, pareto_k=before.pareto_k)
    assert mean.dims == before.elpd_i.dims
    assert az.compare({"fit": before, "arviz": az.loo(draws)})["elpd_diff"].abs().max() < SAME


def test_the_wrapper_scores_as_the_fit_does(fit, levels):
    wrapper = fit.wrapper("Subject", joint=True)
    assert abs(psis(wrapper).elpd - levels.elpd) < 0.3
    whole = wrapper.log_likelihood
    x = wrapper.upars
    np.testing.assert_allclose(wrapper.log_lik_i_upars(x, 4), whole[..., 4], rtol=1e-6)
    constant = wrapper.log_prob_upars(x).to_numpy().ravel()
    expected = [fit.marginal.log_density(theta)[0] for theta in fit.thetas]
    assert np.corrcoef(constant, expected)[0, 1] > 0.9  # priors are wide


def test_items_left_out_together_are_scored_without_each_other(fit):
    """Two levels left out at once, and the rows of one level: against densities of the really smaller data."""
    theta, marginal = fit.thetas[:5], fit.marginal
    target = Target(fit.design, "Subject", joint=True)
    pair = np.array([2, 5])
    found = target.without(marginal, theta, pair, target.rows(pair))
    without = [marginal.without(target.rows(pair)).log_density(each)[0] for each in theta]
    for column, other in zip(found.T, pair[::-1], strict=True):
        alone = [marginal.without(target.rows(np.array([other]))).log_density(each)[0] for each in theta]
        np.testing.assert_allclose(column, np.subtract(alone, without), rtol=SAME)
    by_row = Target(fit.design, "Subject")
    items = np.array([21, 20])
    found = by_row.without(marginal, theta, items, by_row.rows(items))
    np.testing.assert_allclose(found, by_row.at(marginal, theta, items), rtol=1e-8)


def test_unknown_factors_are_named(fit):
    with pytest.raises(ValueError, match=r"no grouping factor 'subject'\. Did you mean 'Subject'"):
        fit.wrapper("subject")
    with pytest.raises(ValueError, match="name the grouping factor"):
        GaussianWrapper(fit, joint=True)


# k-fold


@pytest.mark.parametrize("codes", [None, np.repeat([0, 1, 2, 3], [3, 10, 20, 4])])
def test_parts_are_equal_and_share_every_group(codes):
    fold = fold_of_rows(37, 5, np.random.default_rng(0), codes)
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    if codes is not None:
        table = pd.crosstab(codes, fold).to_numpy()
        assert (table.max(axis=1) - table.min(axis=1)).max() <= 1


def test_parts_of_whole_levels_agree_with_quadrature(fit, exact):
    """Two levels are parts of their own: leave-one-group-out of these."""
    truth = of_levels(exact["leave_one_group_out_exact"]["per_group_pointwise_sum"])
    codes = fit.design.factors[0].codes
    found = fit.kfold(folds=np.where(codes < 2, codes, 2), progress=False)
    for level in (0, 1):
        assert float(found.elpd_i[codes == level].sum()) == pytest.approx(truth[level], abs=LEVEL)
    assert (found.elpd_i[codes > 1].sum(), found.n_folds) < (truth[2:].sum(), 4)


@FEW_DRAWS
def test_parts_are_scored_alike_by_arviz(small):
    found = small.kfold(2, stratify="Batch", progress=False)
    assert found.n_folds == 2
    assert found.p > 0
    np.testing.assert_array_equal(small.kfold(folds=found.fold + 7, progress=False).elpd_i, found.elpd_i)
    through = az.loo_kfold(small.wrapper().idata_orig, small.wrapper(), folds=found.fold)
    np.testing.assert_allclose(through.elpd_i, found.elpd_i, rtol=1e-6)
    assert through.elpd == pytest.approx(found.elpd)
    assert through.se == pytest.approx(found.se)


def test_parts_that_cut_a_series_are_refused_before_any_refit():
    model = MODELS["correlated residuals"]()
    fit = model.fit(draws=1000, tune=500, seed=2, progress=False)
    with pytest.raises(DataError, match="whole series"):
        fit.kfold(3)


@FEW_DRAWS
def test_whole_levels_are_dealt(small):
    found = small.kfold(2, group="Batch", progress=False)
    assert "whole levels of 'Batch'" in str(found)
    assert pd.crosstab(small.design.factors[0].codes, found.fold).isin([0, 5]).all(axis=None)
    assert not np.array_equal(found.fold, small.kfold(2, group="Batch", seed=3, progress=False).fold)
    sums = found.elpd_i.to_numpy().reshape(6, 5).sum(axis=1)  # rows of a batch go up and down together
    assert found.se == pytest.approx(np.sqrt(6) * sums.std())
    by_hand = small.kfold(folds=found.fold, progress=False)
    assert by_hand.se == pytest.approx(found.se)


@pytest.mark.slow
def test_leaving_out_every_level_in_turn_is_leave_one_group_out(fit, exact):
    found = fit.kfold(18, group="Subject", progress=False)
    truth = exact["leave_one_group_out_exact"]
    by_level = found.elpd_i.to_series().groupby(fit.design.factors[0].codes).sum()
    np.testing.assert_allclose(by_level, of_levels(truth["per_group_pointwise_sum"]), atol=LEVEL)
    assert abs(found.elpd - truth["elpd_pointwise"]) < 0.3


@pytest.mark.slow
def test_many_parts_come_close_to_leave_one_out(fit, exact):
    found = fit.kfold(10, stratify="Subject", progress=False)
    truth = np.array(exact["loo_exact"]["pointwise"])
    assert abs(found.elpd - truth.sum()) < 4.0  # a tenth of the rows is missing, not one
    assert np.corrcoef(found.elpd_i, truth)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 1}, "between 2 and the 30 rows"),
        ({"k": 7, "group": "Batch"}, "6 levels of 'Batch'"),
        ({"k": 2.5}, "whole number"),
        ({"group": "Batch", "stratify": "Batch"}, "not both"),
        ({"stratify": "Days"}, "no grouping factor 'Days'"),
        ({"folds": [1, 2]}, "one label for each of the 30 rows"),
        ({"folds": np.zeros(30)}, "at least two parts"),
        ({"folds": np.arange(30) % 3, "group": "Batch"}, "without group= and stratify="),
        ({"folds": np.arange(30) % 3, "stratify": "Batch"}, "without group= and stratify="),
        ({"folds": np.where(np.arange(30) < 2, np.nan, np.arange(30) % 3)}, "no label for 2 of the 30 rows"),
        ({"folds": np.where(np.arange(30) < 1, None, "a")}, "no label for 1 of the 30 rows"),
    ],
)
def test_impossible_parts_are_refused(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        small.kfold(**arguments)


# brute force


@pytest.fixture(scope="module")
def classes(shared):
    data = pd.read_csv(shared("datasets/score_parentedu_byclass.csv"))
    return hb.Model("score ~ edu + (edu | classroom)", data).fit(
        draws=2000, seed=3, target_accept=0.99, progress=False
    )


@FEW_DRAWS
@pytest.mark.slow
@pytest.mark.parametrize(("joint", "group", "tolerance"), [(False, None, ROW), (True, "classroom", LEVEL)])
def test_every_row_and_every_group_by_brute_force(classes, joint, group, tolerance):
    elpd = classes.logo(joint=True) if joint else classes.loo()
    exact = classes.reloo(elpd, k_threshold=-np.inf, progress=False)
    assert (exact.pareto_k == 0).all()
    np.testing.assert_allclose(elpd.elpd_i, exact.elpd_i, atol=tolerance)
    assert abs(elpd.elpd - exact.elpd) < (0.3 if joint else TOTAL)
    # the plain average over the refits of another program than the one above
    plain = az.reloo(classes.wrapper(group, joint, items=np.arange(3)), k_threshold=-np.inf)
    np.testing.assert_allclose(plain.elpd_i, exact.elpd_i[:3], atol=0.3 if joint else 0.1)
