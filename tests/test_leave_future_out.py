"""Leave-future-out against dense quadrature at every cut, against refits, and for what it refuses."""

from __future__ import annotations

import datetime
import warnings
from contextlib import contextmanager

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from oracle import dense, response_covariance
from scipy import stats
from scipy.special import logsumexp

import hierbayes as hb
from hierbayes.cross_validation import leave_future_out
from hierbayes.cross_validation.comparison import _future
from hierbayes.cross_validation.future import cut, times
from hierbayes.cross_validation.leave_future_out import Forecast, _warn
from hierbayes.cross_validation.loo import AGAIN
from hierbayes.cross_validation.psis import good_k
from hierbayes.errors import ComparisonWarning, DataError, HierbayesError, HierbayesWarning, ParetoWarning
from hierbayes.evidence.quadrature import quadrature

EACH = 0.01
"""Of one score, against quadrature: what 4000 draws, or 8192 points that reach further, leave."""
ALL = 0.03
"""The same of the sum of all."""
REFITTED = 0.02
"""Of one score, between importance sampling and an exact refit, each with an error of its own."""
EVIDENCE = 0.02
"""Of a joint score of 18 rows, against the difference of two log marginal likelihoods."""
SURPRISED = 0.25
"""The same of four variance parameters, where the future is far from what the past lets expect."""
NLME = 1e-7
"""Absolute, of log likelihoods and relative of estimates that nlme printed to eight digits and more."""


def visits():
    """Five groups seen at uneven times, the last two from later times on; weights, a predictor and an offset."""
    rng = np.random.default_rng(5)
    seen = {"a": [0, 1, 2, 5, 6, 7], "b": [0, 2, 5, 7], "c": [1, 2, 6], "d": [2, 5, 6, 7], "e": [6, 7]}
    rows = pd.DataFrame([(g, t) for g, times in seen.items() for t in times], columns=["g", "time"])
    level = dict(zip(seen, [1.5, -1.0, 0.3, -0.6, 2.0], strict=True))
    rows["x"] = rng.normal(size=len(rows))
    rows["w"] = rng.uniform(0.5, 2.0, len(rows))
    rows["o"] = rng.normal(size=len(rows))
    wiggle = rng.normal(0.0, 0.8, len(rows)).cumsum() % 1.5
    rows["y"] = 1.0 + 0.5 * rows["x"] + rows["o"] + rows["g"].map(level) + wiggle
    return rows.sample(frac=1.0, random_state=2).reset_index(drop=True)


def half_normal(sigma):
    return bmb.Prior("HalfNormal", sigma=sigma)


PRIORS = {
    "Intercept": bmb.Prior("Normal", mu=0.5, sigma=2.0),
    "x": bmb.Prior("Normal", mu=0.0, sigma=1.0),
    "1|g": bmb.Prior("Normal", mu=0.0, sigma=half_normal(1.5)),
    "sigma": half_normal(1.0),
}
CASES = {
    "intercepts": ("y ~ x + offset(o) + (1 | g)", {"weights": "w"}),
    "ar1": ("y ~ 1 + (1 | g)", {"residual": "ar1(time | g)"}),
    "compound symmetry": ("y ~ x", {"residual": "cs(g)"}),
}
NAMES = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def data():
    return visits()


@pytest.fixture(scope="module")
def fits(data):
    """Posteriors of the cases, under the priors above."""
    made = {}
    for name, (formula, more) in CASES.items():
        used = {term: prior for term, prior in PRIORS.items() if term != "x" or "x" in formula}
        if "|" not in formula:
            used.pop("1|g")
        model = hb.Model(formula, data, priors=used, center_predictors=False, **more)
        made[name] = model.fit(draws=1000, seed=3, progress=False)
    return made


@pytest.fixture(scope="module")
def fit(fits):
    return fits["intercepts"]


def nodes(fit):
    """Nodes of θ and their log prior weights: Gauss-Legendre on the range of every variance parameter."""
    x, w = np.polynomial.legendre.leggauss(48 if fit.marginal.dim < 3 else 22)
    axes = []
    for sd in [1.5] * len(fit.design.blocks) + [1.0]:
        at = 2.5 * sd * (x + 1.0)
        axes.append((at, np.log(2.5 * sd * w) + stats.halfnorm(scale=sd).logpdf(at)))
    if fit.design.residual is not None:
        x, w = np.polynomial.legendre.leggauss(14)
        law = stats.beta(fit.priors.rho, fit.priors.rho)
        axes.append((x, np.log(w) + law.logpdf((x + 1.0) / 2.0) - np.log(2.0)))
    grid = np.stack([each.ravel() for each in np.meshgrid(*(a for a, _ in axes), indexing="ij")], axis=1)
    weight = sum(each.ravel() for each in np.meshgrid(*(b for _, b in axes), indexing="ij"))
    return grid, weight


def covariances(fit, grid):
    """Mean and covariances of the response at every node, fixed effects integrated; from the definition."""
    data, d = dense(fit.design), fit.design
    mean, sd = (np.array([prior.args[what] for prior in fit.priors.coefficients]) for what in ("mu", "sigma"))
    fixed = (d.X * sd**2) @ d.X.T
    V = np.empty((len(grid), d.n, d.n))
    for k, theta in enumerate(grid):
        theta = list(theta)
        Sigma = np.diag([theta.pop(0) ** 2]) if d.blocks else np.zeros((0, 0))
        sigma, rho = theta[0], 0.0
        if d.residual is not None:
            low, high = d.residual.bounds
            rho = low + (high - low) * (theta[1] + 1.0) / 2.0
        V[k] = fixed + response_covariance(data, Sigma, sigma, rho)
    return d.X @ mean, V


def exact(fit, time, start, horizon):
    """Scores of every cut, jointly and of each row: dense Gaussians at the nodes of θ."""
    grid, log_prior = nodes(fit)
    mean, V = covariances(fit, grid)
    r = fit.design.y - (0.0 if fit.design.offset is None else fit.design.offset) - mean

    def log_p(rows):
        own = V[:, rows[:, None], rows]
        half = np.linalg.solve(own, np.broadcast_to(r[rows, None], (len(V), len(rows), 1)))[..., 0]
        quadratic = half @ r[rows]
        return -0.5 * (np.linalg.slogdet(own)[1] + quadratic + len(rows) * np.log(2.0 * np.pi))

    distinct = np.unique(time)
    joint, each, scored = [], [], []
    for at, t in enumerate(distinct):
        if t < start or at + horizon >= len(distinct):
            continue
        known = np.flatnonzero(time <= t)
        future = np.flatnonzero((time > t) & (time <= distinct[at + horizon]))
        before = log_prior + log_p(known)
        below = logsumexp(before)
        joint.append(logsumexp(log_prior + log_p(np.append(known, future))) - below)
        each += [logsumexp(log_prior + log_p(np.append(known, row))) - below for row in future]
        scored += list(future)
    return np.array(joint), np.array(each), scored


# --- against quadrature ------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 2])
@NAMES
def test_every_cut_agrees_with_dense_quadrature(fits, data, name, horizon):
    fit, start = fits[name], 2
    joint, each, scored = exact(fit, data["time"].to_numpy(), start, horizon)
    found = fit.lfo(data["time"], start=start, horizon=horizon, progress=False)
    together = fit.lfo(data["time"], start=start, horizon=horizon, joint=True, progress=False)
    assert found.elpd_i["row"].to_numpy().tolist() == scored
    np.testing.assert_allclose(found.elpd_i, each, rtol=0, atol=EACH)
    np.testing.assert_allclose(together.elpd_i, joint, rtol=0, atol=EACH)
    assert found.elpd == pytest.approx(each.sum(), abs=ALL)
    assert together.elpd == pytest.approx(joint.sum(), abs=ALL)
    assert (found.pareto_k <= found.good_k).all()
    assert (together.pareto_k <= together.good_k).all()


def test_scores_one_time_ahead_are_differences_of_marginal_likelihoods(sleepstudy):
    """No dense oracle: log p(y≤t+1) - log p(y≤t), each by adaptive quadrature under the priors of the fit."""
    check_evidence(hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).fit(seed=1, progress=False), 6, EVIDENCE)


@pytest.mark.slow
def test_scores_with_slopes_are_differences_of_marginal_likelihoods(fit_sleepstudy):
    """Two standard deviations, a correlation and σ; some cuts take refits."""
    check_evidence(fit_sleepstudy, 3, SURPRISED)


def check_evidence(fit, start, tolerance):
    days = fit.specification.data["Days"].to_numpy()
    elpd = fit.lfo("Days", start=start, joint=True, progress=False)
    known = [quadrature(fit.marginal.without(days > day), fit.priors) for day in range(start, 9)]
    whole = [*known, fit.quadrature()]
    assert max(each.error for each in whole) < 0.01 * EVIDENCE
    np.testing.assert_allclose(elpd.elpd_i, np.diff([each.log_integral for each in whole]), rtol=0, atol=tolerance)


# --- against refits ----------------------------------------------------------------------------------


def test_importance_sampling_agrees_with_refits_at_every_cut(fits, data):
    fit = fits["intercepts"]
    elpd = fit.lfo(data["time"], start=5, progress=False)
    refitted = fit.lfo(data["time"], start=5, k_threshold=-1, progress=False)
    assert refitted.refits.tolist() == refitted.cuts.tolist() == [5, 6]
    assert elpd.n_refits < 2
    assert (refitted.pareto_k < AGAIN).all()
    np.testing.assert_allclose(elpd.elpd_i, refitted.elpd_i, rtol=0, atol=REFITTED)
    assert not refitted.warning


def test_where_importance_sampling_fails_is_refitted_or_warned_of(fit_sleepstudy):
    """The posterior of the first days says more of the residuals than that of all: some subjects break off late."""
    with pytest.warns(ParetoWarning, match=r"^4 of 6 cuts in time have a Pareto k above 0\.70 .*with refit=True"):
        plain = fit_sleepstudy.lfo("Days", start=3, refit=False)
    assert plain.warning
    assert plain.n_refits == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", ParetoWarning)
        mended = fit_sleepstudy.lfo("Days", start=3, progress=False)
    assert mended.refits.tolist() == [3]  # one serves four cuts
    assert (mended.pareto_k <= good_k(4000)).all()
    assert not mended.warning
    good = plain.pareto_k <= plain.good_k
    np.testing.assert_array_equal(mended.elpd_i[good], plain.elpd_i[good])


@pytest.mark.parametrize(
    ("refits", "k_threshold", "why"),
    [
        (None, 2.0, r"fit\.lfo\(\) with refit=True refits there"),
        ([], 2.0, r"k_threshold=2 lets them pass; fit\.lfo\(\) without it refits there"),
        ([3, 4], None, r"their densities are not finite, even after a refit there"),
    ],
    ids=["no refits", "threshold", "refitted"],
)
def test_a_warning_says_why_scores_were_left_so(refits, k_threshold, why):
    score = np.zeros(2)
    found = {3: Forecast(score, score, 0.9), 4: Forecast(score, score, 0.8), 5: Forecast(score, score, 0.2)}
    with pytest.warns(ParetoWarning, match=r"^2 of 3 cuts .* above 0\.70 \(the largest is 0\.90\), .*; " + why):
        _warn(found, 0.7, refits, k_threshold)


# --- what is known and what is predicted -------------------------------------------------------------


def test_a_row_is_predicted_from_its_own_group_if_that_is_known(fit, data):
    """The mean of a known group is that of its early rows; a group that begins later is a new one."""
    elpd = fit.lfo(data["time"], start=5, progress=False)
    first = elpd.elpd_i[elpd.elpd_i["cut"] == 5]
    of_e = data["g"].to_numpy()[first["row"]] == "e"
    assert of_e.sum() == 1
    # with the group known, its second row is less surprising than its first
    second = elpd.elpd_i[(elpd.elpd_i["cut"] == 6) & (data["g"].to_numpy()[elpd.elpd_i["row"]] == "e")]
    assert float(first[of_e][0]) < float(second[0])


def test_times_are_distinct_times_and_horizons_count_them():
    future = cut(pd.Series([0.5, 4.0, 4.0, 4.2, 9.0]), start=0.6, horizon=2)
    assert future.cuts.tolist() == [1]
    assert future.rows(1).tolist() == [3, 4]
    assert cut(pd.Series(range(10))).cuts.tolist() == [4, 5, 6, 7, 8]
    assert cut(pd.Series(pd.to_datetime(["2020-03-01", "2020-01-01", "2020-02-01"]))).cuts.tolist() == [1]
    grades = pd.Series(pd.Categorical(["late", "early", "mid"], ["early", "mid", "late", "never"], ordered=True))
    future = cut(grades)
    assert future.codes.tolist() == [2, 0, 1]
    assert future.cuts.tolist() == [1]


def test_scores_carry_their_rows_times_and_parts(fit, data):
    elpd = fit.lfo(data["time"], start=2, horizon=2, progress=False)
    row, at = elpd.elpd_i["row"].to_numpy(), elpd.elpd_i["cut"].to_numpy()
    time = elpd.elpd_i["time"].to_numpy()
    np.testing.assert_array_equal(time, data["time"].to_numpy()[row])
    assert set(zip(at, time, strict=True)) == {(2, 5), (2, 6), (5, 6), (5, 7)}
    assert elpd.min_observations == (data["time"] <= 2).sum()
    assert elpd.kind == "lfo_cv"
    assert elpd.target == "future"
    assert "future rows" in repr(elpd)
    assert "2 cuts in time" in repr(elpd)
    # five groups are more than two cuts, so the standard error is that of the sums of the groups
    sums = pd.Series(elpd.elpd_i.to_numpy()).groupby(data["g"].to_numpy()[row]).sum()
    assert elpd.se == pytest.approx(np.sqrt(5 * sums.var()), rel=1e-12)


def test_times_may_be_a_column_an_array_or_those_of_the_residuals(fits, data):
    fit = fits["ar1"]
    given = (None, "time", data["time"], data["time"].tolist())
    scores = [fit.lfo(time, start=6, progress=False).elpd for time in given]
    assert scores == [scores[0]] * 4


def test_times_of_all_rows_are_those_of_the_rows_used(data):
    holes = data.assign(y=data["y"].where(data.index != 3))
    with pytest.warns(hb.errors.RowsDropped):
        model = hb.Model("y ~ 1 + (1 | g)", holes)
    fit = model.fit(draws=1000, chains=2, seed=1, progress=False)
    whole = fit.lfo(holes["time"], start=6, progress=False)
    used = fit.lfo(holes["time"].drop(index=3).to_numpy(), start=6, progress=False)
    assert whole.elpd == used.elpd
    with pytest.raises(ValueError, match=r"needs one time for each of the 18 rows used, not 19"):
        fit.lfo(holes["time"].to_numpy())


def test_a_series_goes_by_its_index(fit, data):
    """In whatever order; where the index does not say which row is meant, it is refused, not taken by position."""
    shuffled = data["time"].sample(frac=1.0, random_state=1)
    pd.testing.assert_series_equal(times(fit, shuffled), data["time"], check_names=False)
    pd.testing.assert_series_equal(
        times(fit, shuffled.to_numpy()), shuffled.reset_index(drop=True), check_names=False
    )
    elsewhere = shuffled.set_axis([f"r{i}" for i in range(len(data))])  # shares nothing with the data
    pd.testing.assert_series_equal(times(fit, elsewhere), shuffled.reset_index(drop=True), check_names=False)
    with pytest.raises(
        DataError, match=r"^The index of time= has only 18 of the 19 rows used, .* time\.to_numpy\(\)"
    ):
        fit.lfo(data["time"].set_axis(range(1, len(data) + 1)))
    with pytest.raises(DataError, match=r"^The index of time= names some rows twice"):
        fit.lfo(data["time"].set_axis([0, *range(len(data) - 1)]))


@pytest.mark.parametrize(
    "kind",
    ["dates", "list of dates", "frame", "categories", "stamps", "objects"],
)
def test_times_come_in_many_kinds(fit, data, kind):
    day = [datetime.date(2024, 1, 1 + time) for time in data["time"]]
    ordered = pd.Categorical(data["time"].map(str), ordered=True)
    given = {
        "dates": pd.Series(day),
        "list of dates": day,
        "frame": data[["time"]],
        "categories": ordered,
        "stamps": pd.DatetimeIndex(day),
        "objects": data["time"].astype(object),
    }[kind]
    start = {"frame": 2, "categories": "2", "objects": 2}.get(kind, datetime.date(2024, 1, 3))
    future, known = cut(times(fit, given), start), cut(data["time"], 2)
    np.testing.assert_array_equal(future.codes, known.codes)
    np.testing.assert_array_equal(future.cuts, known.cuts)


def test_a_start_may_be_a_date_or_an_unused_category():
    months = pd.Series(pd.period_range("2024-01", periods=6, freq="M"))
    zone = pd.Series(pd.date_range("2024-01-01", periods=6, tz="Europe/Berlin"))
    assert cut(months, datetime.date(2024, 4, 20)).cuts.tolist() == [3, 4]
    assert cut(zone, datetime.date(2024, 1, 4)).cuts.tolist() == [3, 4]
    grades = pd.Series(pd.Categorical(["a", "c", "d"], ["a", "b", "c", "d"], ordered=True))
    assert cut(grades, "b").cuts.tolist() == [1]


def test_slow_rows_show_a_bar(fits, fit, monkeypatch):
    shown = []

    @contextmanager
    def bar(title, total, show=None):
        done = []
        yield done.append
        shown.append((title, total, sum(done), show))

    monkeypatch.setattr(leave_future_out, "bar", bar)
    fits["ar1"].lfo(start=6, progress=True, refit=False)
    assert shown[0] == ("leave-future-out, 4 future rows", 4, 4, True)
    shown.clear()
    fit.lfo(fits["ar1"].specification.data["time"], start=6, progress=True, refit=False)
    assert not any(show for *_, show in shown)  # these are fast


# --- refusals ----------------------------------------------------------------------------------------


def test_what_is_no_time_is_refused(fit, data):
    with pytest.raises(HierbayesError, match=r"^Which rows are the future\?"):
        fit.lfo()
    with pytest.raises(DataError, match=r"'when' is not a column that the model uses; .*data\['when'\]"):
        fit.lfo("when")
    with pytest.raises(DataError, match=r"1 of 19 rows have no time in time="):
        fit.lfo(data["time"].where(data.index > 0))
    with pytest.raises(DataError, match=r"the column 'g' must be numbers, dates or ordered categories"):
        fit.lfo("g")
    with pytest.raises(ValueError, match=r"there are 6 distinct times, so that none from 7 on has 1 after it"):
        fit.lfo(data["time"], start=7)
    with pytest.raises(ValueError, match=r"horizon must be a whole number"):
        fit.lfo(data["time"], horizon=0)
    for start in ("5", np.nan, [2, 5], pd.Timestamp("2024-01-01")):
        with pytest.raises(ValueError, match=r"^start must be a time like those of the rows, such as 0, not"):
            fit.lfo(data["time"], start=start)
    with pytest.raises(ValueError, match=r"^start must be a time like .* such as '0', not 5"):
        fit.lfo(pd.Categorical(data["time"].map(str), ordered=True), start=5)
    with pytest.raises(ValueError, match=r"^k_threshold must be a number .* not 'a'"):
        fit.lfo(data["time"], k_threshold="a")
    with pytest.raises(ValueError, match=r"needs one time for each of the 19 rows used, not 2 dimensions"):
        fit.lfo(data[["time", "x"]])


def test_rows_that_do_not_determine_a_flat_coefficient_are_refused(data):
    flat = {"Intercept": bmb.Prior("Flat"), "x": bmb.Prior("Flat")}
    fit = hb.Model("y ~ x + (1 | g)", data, priors=flat).fit(draws=1000, chains=2, seed=1, progress=False)
    one = np.where(np.arange(len(data)) == 0, 0, 1 + data["time"])
    with pytest.raises(DataError, match=r"The 1 rows that remain do not determine"):
        fit.lfo(one, start=0)


# --- comparisons -------------------------------------------------------------------------------------


def test_models_are_compared_by_future_rows(fits, data):
    ar1 = fits["ar1"]
    plain = hb.Model("y ~ 1 + (1 | g)", data).fit(draws=1000, seed=4, progress=False)
    given = {"ar1": ar1.lfo(), "plain": plain.lfo(data["time"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        table = hb.compare(given)
        by_fit = hb.compare({"ar1": ar1, "plain": plain}, target="future")
        mixed = hb.compare({"ar1": ar1, "plain": given["plain"]}, target="future")
    pd.testing.assert_frame_equal(table, by_fit)
    pd.testing.assert_frame_equal(table, mixed)
    best, other = table.index
    difference = (given[best].elpd_i - given[other].elpd_i).to_numpy()
    assert table.loc[other, "elpd_diff"] == pytest.approx(-difference.sum(), abs=0.051)  # rounded


def test_different_futures_are_not_compared(fits, fit, data):
    ar1 = fits["ar1"]
    one, other = ar1.lfo(start=2), ar1.lfo(start=5)
    with pytest.raises(HierbayesError, match=r"cannot be compared: one leaves out the future at 3 times from 2 to 6"):
        hb.compare({"one": one, "other": other})
    with pytest.raises(
        HierbayesError, match=r"cannot be compared: one leaves out the future at .* one row at a time"
    ):
        hb.compare({"one": one, "other": ar1.loo()})
    with pytest.raises(HierbayesError, match=r"'one' leaves out the future at .* which is not target='row'"):
        hb.compare({"one": one, "other": ar1}, target="row")
    with pytest.raises(HierbayesError, match=r"^Which rows are the future\?"):
        hb.compare({"one": fit, "other": fit}, target="future")
    with pytest.raises(HierbayesError, match=r"A FutureELPD cannot be mended"):
        ar1.reloo(one)


@pytest.mark.parametrize("joint", [False, True], ids=["row by row", "joint"])
def test_futures_of_other_times_are_not_compared(fit, data, joint):
    """The same cuts, as many scores, other rows."""
    other = data["time"].sample(frac=1.0, random_state=1).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        scores = {
            name: fit.lfo(time, start=5, joint=joint, refit=False)
            for name, time in {"a": data["time"], "b": other}.items()
        }
    np.testing.assert_array_equal(scores["a"].cuts, scores["b"].cuts)
    with pytest.raises(HierbayesError, match=r"'a' and 'b' cannot be compared: their rows have different times"):
        hb.compare(scores)


def test_the_order_of_times_known_from_the_start_does_not_matter(fit, data):
    """Rows up to the first cut are known, whatever their times."""
    merged = data["time"].where(data["time"] > 2, 2)
    one, other = fit.lfo(data["time"], start=5, joint=True), fit.lfo(merged, start=5, joint=True)
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_allclose(one.elpd_i, other.elpd_i, rtol=0, atol=1e-9)


def test_rows_that_were_dropped_are_no_obstacle_to_a_comparison(data):
    """The times of AR(1) residuals belong to the rows used, not to their labels."""
    holes = data.assign(y=data["y"].where(data.index != 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # few draws will do
        model = hb.Model("y ~ 1 + (1 | g)", holes, residual="ar1(time | g)")
        fit = model.fit(draws=200, chains=2, seed=1, progress=False)
        assert _future({"ar1": fit})["ar1"].elpd == fit.lfo(holes["time"]).elpd


def test_other_families_say_what_they_lack():
    made = object.__new__(hb.FamilyFit)
    with pytest.raises(AttributeError, match=r"lfo\(\) needs a Gaussian response with identity link$"):
        made.lfo("time")


# --- the ARMA clusters -------------------------------------------------------------------------------

NLME_FITS = {
    # library(nlme); f <- lme(value ~ time, random = ~ 1 | cluster, data = d, method = "REML",
    #   correlation = corAR1(form = ~ time | cluster), control = lmeControl(tolerance = 1e-10, msTol = 1e-12))
    # sprintf("%.8f", logLik(f)); print(summary(f)$tTable, digits = 10), nlme 3.1-162; without correlation = likewise
    ("1", None): (-317.42689405, 1.454172648, 1.698928598),
    ("1", "ar1(time | cluster)"): (-226.10451193, 1.502905652, 1.671793823),
    ("time", None): (-301.79603522, -0.06403840084, 0.009656252551),
    ("time", "ar1(time | cluster)"): (-226.41733031, -0.06295316951, 0.02614421441),
}
"""Fixed effects and residual structure: restricted log likelihood, last coefficient and its standard error."""


@pytest.fixture(scope="module")
def arma():
    return hb.load_data("arma_clusters")


@pytest.fixture(scope="module")
def remls(arma):
    return {key: hb.Model(f"value ~ {key[0]} + (1 | cluster)", arma, residual=key[1]).reml() for key in NLME_FITS}


@pytest.fixture(scope="module")
def posteriors(arma):
    """Random intercepts of the ARMA clusters, without and with AR(1) residuals."""
    residuals = {"independent": None, "ar1": "ar1(time | cluster)"}
    return {
        name: hb.Model("value ~ 1 + (1 | cluster)", arma, residual=residual).fit(chains=2, seed=1, progress=False)
        for name, residual in residuals.items()
    }


@pytest.fixture(scope="module")
def forecasts(posteriors, arma):
    """Leave-future-out of both."""
    return {name: fit.lfo(arma["time"], progress=False) for name, fit in posteriors.items()}


@pytest.mark.parametrize("key", NLME_FITS, ids=str)
def test_the_arma_clusters_by_likelihood_are_those_of_nlme(remls, key):
    loglik, estimate, error = NLME_FITS[key]
    fit = remls[key]
    assert fit.loglik == pytest.approx(loglik, rel=0, abs=NLME)
    assert fit.fixef.iloc[-1] == pytest.approx(estimate, rel=1e-5)
    assert np.sqrt(fit.vcov.iloc[-1, -1]) == pytest.approx(error, rel=1e-5)


def test_a_correlation_is_tested_inside_its_range(remls):
    """ρ = 0 is no boundary: χ² with one degree of freedom. nlme: anova(a, b), L.Ratio 182.6448."""
    table = hb.lrt(remls["1", None], remls["1", "ar1(time | cluster)"])
    assert table["chisq"].iloc[1] == pytest.approx(182.6448, abs=5e-5)
    assert (table["df"].iloc[1], table["note"].iloc[1]) == (1, "χ²(1)")
    assert table["p_value"].iloc[1] == pytest.approx(stats.chi2.sf(182.6448, 1), rel=1e-3)


def test_standard_errors_of_a_trend_hold_only_with_the_correlation(arma):
    """100 data sets without trend: with independent residuals about half of the 95% intervals miss it."""
    rng = np.random.default_rng(2)
    noise, values = rng.standard_normal((2, 100, 3, 100))
    values[..., 0] = 0.0
    for t in range(1, 100):
        values[..., t] = 0.75 * values[..., t - 1] + noise[..., t] + 0.65 * noise[..., t - 1]
    responses = (values[..., 50:] + 2.0 * np.arange(3)[:, None]).reshape(100, -1)
    covered = {}
    for residual in (None, "ar1(time | cluster)"):
        refits = hb.Model("value ~ time + (1 | cluster)", arma, residual=residual).refits(responses)
        assert refits.converged.all()
        z = refits.estimates["fixed", "", "time"] / refits.std_errors["fixed", "", "time"]
        covered[residual] = float((z.abs() < 1.96).mean())
    assert covered[None] < 0.65
    assert covered["ar1(time | cluster)"] > 0.88


def test_the_arma_clusters_by_future_rows(forecasts):
    table = hb.compare(forecasts)
    assert table.index.tolist() == ["ar1", "independent"]
    difference = (forecasts["ar1"].elpd_i - forecasts["independent"].elpd_i).to_numpy()
    by_cut = pd.Series(difference).groupby(forecasts["ar1"].elpd_i["cut"].to_numpy()).sum()
    assert len(by_cut) == 25  # more than the three clusters: the standard error is that of the cuts
    assert difference.sum() == pytest.approx(42.93, abs=0.1)  # by 8192 points that reach further
    assert table.loc["independent", "dse"] == pytest.approx(np.sqrt(25 * by_cut.var(ddof=0)), abs=0.051)
    assert all(each.n_refits == 0 for each in forecasts.values())
    assert az.compare(forecasts).index.tolist() == ["ar1", "independent"]


def test_leave_one_out_flatters_forecasts_of_correlated_series(posteriors, forecasts, arma):
    """A row between two neighbours is easier to predict than one after the last."""
    future = forecasts["ar1"].elpd_i
    between = posteriors["ar1"].loo().elpd_i.to_numpy()[future["row"]]
    inside = arma["time"].to_numpy()[future["row"]] < 49
    assert between[inside].mean() - future.to_numpy()[inside].mean() > 0.2
    # the last row of a series has no later neighbour: there both are forecasts
    np.testing.assert_allclose(between[~inside], future.to_numpy()[~inside], atol=0.05)
