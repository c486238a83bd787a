"""Leave-one-out of families: against exact grids, closed forms of Gaussian models, Stan, and dense quadrature."""

from __future__ import annotations

import json
from dataclasses import replace

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

import hierbayes as hb
from hierbayes.cross_validation import family_loo as module
from hierbayes.cross_validation.family_loo import logo, loo, loo_pit, nested_in, score_rows
from hierbayes.cross_validation.group_integral import Effects, find_centre, integrate, rule
from hierbayes.errors import DataError, HierbayesError
from hierbayes.estimates import FamilyPosterior

QUADRATURE = 1e-5
"""Of a log integral over one effect, with the nodes as they are chosen."""
LEVEL = {1: 1e-5, 2: 1e-4, 3: 1e-3, 4: 0.05}
"""Of the log density of a level, by the number of its effects; four by quasi-random points."""
ROW = {1: 1e-5, 2: 1e-3, 3: 0.02, 4: 0.3}
"""Of a left-out row, root mean square."""
EACH, FAR = 0.03, 0.005
"""Of the elpd of a row or group of a tiny model, 8000 draws, against a grid: absolute; relative for one at -14."""
EACH_GAUSSIAN, SUM_GAUSSIAN = 0.1, 0.5
"""Of a row, and of all, against the closed form where draws of the random effects are integrated as well."""
EACH_GROUP = 0.1
"""Of a group whose Pareto k is below 0.7, the same."""
STAN, STAN_SUM = 0.1, 1.0
"""Of conditional scores of two samplers: a row with k below 0.5, and all rows with the few that have not."""
PIT = 0.03
"""Of a transform from 4000 weighed draws: about three standard errors."""

GROUPS = 5


# --- integrals ------------------------------------------------------------------------------------------


def dense(log_p, sd, rows):
    """Log integrals of products of densities over one effect: all rows, and all but each."""
    grid = np.linspace(-14.0 * sd - 6.0, 14.0 * sd + 6.0, 40_001)
    each = log_p(grid)[:, rows]
    step, prior = np.log(grid[1] - grid[0]), stats.norm.logpdf(grid, 0.0, sd)
    total = each.sum(axis=1) + prior
    return logsumexp(total) + step, np.array([logsumexp(total - one) + step for one in each.T])


@pytest.mark.parametrize("name", ["binomial", "poisson", "bernoulli", "far"])
def test_one_effect_against_dense_quadrature(name):
    rng = np.random.default_rng(3)
    n, codes, D = 24, np.repeat(np.arange(6), [1, 2, 3, 4, 6, 8]), 8
    base, sd = rng.normal(-0.5, 0.4, (D, n)), np.exp(rng.normal(0.0, 0.8, D))
    N = rng.integers(5, 40, n)
    y = {"binomial": rng.binomial(N, 0.3), "poisson": rng.poisson(4.0, n), "far": rng.poisson(900.0, n)}
    y["bernoulli"] = np.r_[np.zeros(12), np.ones(12)]
    if name in {"binomial", "bernoulli"}:
        trials = N if name == "binomial" else 1
        density = lambda eta: y[name] * eta - trials * np.logaddexp(0.0, eta)  # noqa: E731
    else:
        density = lambda eta: y[name] * eta - np.exp(np.minimum(eta, 300.0))  # noqa: E731
    if name == "far":
        base, sd = np.ones((D, n)), np.full(D, 2.0)
    start = np.full((D, 6, 1), 5.0 if name == "far" else 0.0)
    columns = np.broadcast_to(sd[:, None, None], (D, n, 1))
    found = integrate(density, base, Effects(columns, codes, start))
    for d in range(D):
        for j in range(6):
            rows = np.flatnonzero(codes == j)
            whole, left = dense(lambda grid, d=d: density(base[d] + grid[:, None]), sd[d], rows)
            assert found.level[d, j] == pytest.approx(whole, abs=QUADRATURE)
            np.testing.assert_allclose(found.row[d, rows], whole - left, atol=4 * QUADRATURE)


@pytest.mark.parametrize("q", LEVEL)
def test_normal_rows_against_the_closed_form(q):
    rng = np.random.default_rng(4)
    n, J, D = 15, 3, 50
    codes = np.repeat(np.arange(J), n // J)
    Z, y = rng.normal(size=(n, q)), rng.normal(size=n)
    L = np.tril(rng.normal(size=(D, q, q)))
    columns, base = np.einsum("nq,dqr->dnr", Z, L), rng.normal(size=(D, n))
    found = integrate(lambda eta: stats.norm.logpdf(y, eta, 0.7), base, Effects(columns, codes, np.zeros((D, J, q))))
    off = np.empty((D, n))
    for d in range(D):
        for j in range(J):
            rows = np.flatnonzero(codes == j)
            V = columns[d, rows] @ columns[d, rows].T + 0.49 * np.eye(len(rows))
            r, P = y[rows] - base[d, rows], np.linalg.inv(V)
            assert found.level[d, j] == pytest.approx(stats.multivariate_normal.logpdf(r, cov=V), abs=LEVEL[q])
            alone = stats.norm.logpdf(P @ r / np.diag(P), 0.0, 1.0 / np.sqrt(np.diag(P)))
            off[d, rows] = found.row[d, rows] - alone
    assert np.sqrt((off**2).mean()) < ROW[q]


def test_the_rule_integrates_a_normal_density_wherever_it_is():
    u, log_w, shells = rule(1, 30.0)
    for mean, sd in [(0.0, 1.0), (2.0, 1.5), (-5.0, 4.0)]:
        assert np.exp(log_w) @ stats.norm.pdf(u[:, 0], mean, sd) == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(shells) >= 0).all()


def test_the_mode_is_found_from_afar():
    density = lambda eta: stats.poisson.logpmf(3000, np.exp(np.minimum(eta, 300.0)))  # noqa: E731
    effects = Effects(np.full((1, 1, 1), 3.0), np.zeros(1, dtype=int), np.zeros((1, 1, 1)))
    centre = find_centre(density, np.zeros((1, 1)), effects)
    assert 3.0 * centre.mode[0, 0, 0] == pytest.approx(np.log(3000.0), abs=0.01)


def test_effects_are_drawn_given_the_other_rows():
    rng = np.random.default_rng(5)
    y, D = np.array([1.0, -0.4, 2.2]), 4000
    effects = Effects(np.ones((D, 3, 1)), np.zeros(3, dtype=int), np.zeros((D, 1, 1)))
    drawn = integrate(lambda eta: stats.norm.logpdf(y, eta), np.zeros((D, 3)), effects, rng=rng).sampled
    others = y.sum() - y
    np.testing.assert_allclose(drawn.mean(axis=0), others / 3.0, atol=4.0 / np.sqrt(3.0 * D))
    np.testing.assert_allclose(drawn.var(axis=0), 1.0 / 3.0, rtol=0.1)


# --- a model small enough for a grid --------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(GROUPS), 3)
    y = rng.poisson(np.exp(0.8 + 0.9 * rng.standard_normal(GROUPS)[g]))
    y[4] += 9  # a row that the others of its group do not expect
    return pd.DataFrame({"y": y, "g": g.astype(str)})


PRIORS = {
    "Intercept": bmb.Prior("Normal", mu=0, sigma=1.5),
    "1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=1.0)),
}


@pytest.fixture(scope="module")
def fit(counts):
    model = hb.Model("y ~ 1 + (1 | g)", counts, family="poisson", priors=PRIORS, center_predictors=False)
    return model.fit(draws=2000, seed=5, progress=False)


class Grid:
    """The posterior of intercept and standard deviation, the effects integrated, all by sums."""

    def __init__(self, data):
        y, g = data["y"].to_numpy(), data["g"].astype(int).to_numpy()
        beta, tau = np.linspace(-4.0, 5.0, 121), np.linspace(0.005, 4.5, 150)
        u = np.linspace(-8.0, 8.0, 321)
        prior = stats.norm.logpdf(beta, 0, 1.5)[:, None] + stats.halfnorm.logpdf(tau)
        eta = beta[:, None, None] + tau[:, None] * u
        density = stats.norm.logpdf(u) + np.log(u[1] - u[0])
        rows = [stats.poisson.logpmf(k, np.exp(eta)) for k in range(y.max() + 1)]
        self.at = {}
        groups = [sum(rows[k] for k in y[g == j]) for j in range(GROUPS)]
        level = [logsumexp(group + density, axis=-1) for group in groups]
        whole = prior + sum(level)
        self.joint = np.array([logsumexp(whole) - logsumexp(whole - one) for one in level])
        alone = {k: logsumexp(rows[k] + density, axis=-1) for k in set(y)}
        self.new = np.array(
            [logsumexp(whole - level[j] + alone[k]) - logsumexp(whole - level[j]) for k, j in zip(y, g, strict=True)]
        )
        self.loo, self.below, self.upto = np.empty(len(y)), np.empty(len(y)), np.empty(len(y))
        for i, (k, j) in enumerate(zip(y, g, strict=True)):
            left = whole - level[j] + logsumexp(groups[j] - rows[k] + density, axis=-1)
            self.loo[i] = logsumexp(whole) - logsumexp(left)
            given = whole[..., None] - level[j][..., None] + groups[j] - rows[k] + density
            weight = np.exp(given - logsumexp(given))
            self.upto[i] = (weight * stats.poisson.cdf(k, np.exp(eta))).sum()
            self.below[i] = (weight * stats.poisson.cdf(k - 1, np.exp(eta))).sum()


@pytest.fixture(scope="module")
def grid(counts):
    return Grid(counts)


def test_rows_agree_with_the_grid(fit, grid):
    found = fit.loo()
    np.testing.assert_allclose(found.elpd_i, grid.loo, atol=EACH, rtol=FAR)
    assert (found.integrated == "g").all()
    assert not found.warning


def test_conditional_scores_of_the_surprising_row_are_off(fit, grid):
    with pytest.warns(hb.ParetoWarning, match="without conditional=True integrates"):
        conditional = fit.loo(conditional=True)
    assert conditional.integrated is None
    assert conditional.conditional
    worst = int(conditional.pareto_k.to_numpy().argmax())
    assert worst == 4
    assert abs(conditional.elpd_i - grid.loo)[worst] > 3 * abs(fit.loo().elpd_i - grid.loo)[worst]
    fine = conditional.pareto_k < 0.5
    np.testing.assert_allclose(conditional.elpd_i[fine], grid.loo[fine], atol=2 * EACH)


def test_groups_agree_with_the_grid(fit, grid):
    joint, pointwise = fit.logo(joint=True), fit.logo()
    np.testing.assert_allclose(joint.elpd_i, grid.joint, atol=EACH)
    np.testing.assert_allclose(pointwise.elpd_i, grid.new, atol=EACH)
    assert joint.elpd_i.dims == ("g__factor_dim",)
    np.testing.assert_array_equal(pointwise.pareto_k, joint.pareto_k.to_numpy()[fit.design.factors[0].codes])


def test_transforms_lie_between_those_of_the_grid(fit, grid):
    found = fit.loo_pit(seed=2).to_numpy()
    assert (found > grid.below - PIT).all()
    assert (found < grid.upto + PIT).all()
    assert not np.array_equal(found, fit.loo_pit(seed=3))


def test_what_was_integrated_is_said(fit):
    assert fit.loo().note == (
        "Each row is left out and predicted from all others, the effects of its level of 'g' integrated."
    )


def test_where_it_is_dear_only_what_has_to_be_is_integrated(fit, grid, monkeypatch):
    monkeypatch.setattr(module, "CHEAP", 0)
    found, conditional = fit.loo(), score_rows(fit, conditional=True).smoothed
    high = conditional.k > found.good_k
    assert 0 < high.sum() < len(high)
    np.testing.assert_array_equal(found.integrated == "g", high)
    np.testing.assert_allclose(found.elpd_i[high], grid.loo[high], atol=EACH, rtol=FAR)
    np.testing.assert_array_equal(found.elpd_i[~high], conditional.elpd[~high])
    assert f"which have seen it, except that for {high.sum()} of 15 rows those of 'g' are integrated" in found.note


def test_chunks_change_nothing(fit, monkeypatch):
    whole, groups = fit.loo().elpd_i, fit.logo().elpd_i
    monkeypatch.setattr(module, "CHUNK", 20_000)
    monkeypatch.setattr(module, "ROWS", 50_000)
    np.testing.assert_allclose(fit.loo().elpd_i, whole, atol=QUADRATURE)
    np.testing.assert_allclose(fit.logo().elpd_i, groups, atol=QUADRATURE)


def test_arviz_reads_the_densities(fit):
    found = fit.loo()
    tree = fit.log_likelihood(target="row")
    assert az.loo(tree).elpd == pytest.approx(found.elpd, abs=1e-8)
    plain = fit.log_likelihood()
    mean = np.exp(plain["log_likelihood"]["y"]).mean(("chain", "draw"))
    assert float(np.log(mean).sum()) == pytest.approx(found.elpd + found.p, abs=1e-8)
    assert plain["posterior_predictive"]["y"].sizes == {"chain": 4, "draw": 2000, "row": 15}
    group = fit.log_likelihood(target="group")
    assert az.loo(group).elpd == pytest.approx(fit.logo(joint=True).elpd, abs=1e-8)
    az.plot_khat(found, backend="none")


def test_wrong_targets_are_refused(fit):
    with pytest.raises(ValueError, match="target must be"):
        fit.log_likelihood(target="rows")
    with pytest.raises(ValueError, match="goes with target='group'"):
        fit.log_likelihood(group="g")
    with pytest.raises(ValueError, match="no grouping factor 'h'"):
        fit.logo("h")


# --- Gaussian models, whose closed forms are known ---------------------------------------------------------


def as_family(fit):
    """The same draws, looked at as if nothing were known in closed form."""
    return FamilyPosterior(fit.design, fit.priors, fit.idata, specification=fit.specification)


@pytest.fixture(scope="module")
def nested():
    return hb.Model("strength ~ 1 + (1 | batch/cask)", hb.load_data("Pastes")).fit(draws=500, seed=1, progress=False)


def test_random_slopes_against_the_closed_form(fit_sleepstudy):
    exact, found = fit_sleepstudy.loo(), loo(as_family(fit_sleepstudy))
    high = found.integrated.to_numpy() != ""
    assert high.any()
    np.testing.assert_allclose(found.elpd_i[high], exact.elpd_i[high], atol=EACH_GAUSSIAN)
    assert found.elpd == pytest.approx(exact.elpd, abs=SUM_GAUSSIAN)
    assert found.pareto_k.max() < 0.7


@pytest.mark.filterwarnings("ignore::hierbayes.ParetoWarning")
def test_nested_factors_against_the_closed_form(nested):
    family = as_family(nested)
    exact, found = nested.loo(), loo(family)
    assert set(found.integrated.to_numpy()) == {"batch:cask"}
    np.testing.assert_allclose(found.elpd_i, exact.elpd_i, atol=EACH_GAUSSIAN)
    assert [f.name for f in nested_in(nested.design, nested.design.factors[0])] in (["batch:cask"], [])
    for group in ("batch", "batch:cask"):
        exact, found = nested.logo(group, joint=True), logo(family, group, joint=True)
        fine = found.pareto_k < 0.7
        assert fine.sum() >= len(fine) - 1
        np.testing.assert_allclose(found.elpd_i[fine], exact.elpd_i[fine], atol=EACH_GROUP)
    assert "those of batch:cask in it" in logo(family, "batch", joint=True).note


def test_transforms_against_the_closed_form(nested):
    np.testing.assert_allclose(loo_pit(as_family(nested)), nested.loo_pit(), atol=2 * PIT)


def test_a_factor_that_is_not_nested_stays_as_drawn():
    fit = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin")).fit(
        seed=1, progress=False
    )
    family = as_family(fit)
    assert nested_in(fit.design, fit.design.grouping_factor("sample")) == ()
    exact, found = fit.logo("plate", joint=True), logo(family, "plate", joint=True)
    assert "The effects of sample are draws" in found.note
    np.testing.assert_allclose(found.elpd_i, exact.elpd_i, atol=EACH_GROUP)
    with pytest.warns(hb.ParetoWarning, match="their rows also inform other effects"):
        logo(family, "sample", joint=True)
    with pytest.raises(HierbayesError, match="several grouping factors"):
        logo(family)


@pytest.mark.filterwarnings("ignore::hierbayes.ConvergenceWarning")
def test_summaries_only_are_refused(sleepstudy):
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy)
    fit = model.fit(draws=50, tune=50, chains=2, seed=1, ranef="summary", progress=False)
    with pytest.raises(HierbayesError, match="fit with ranef='draws'"):
        loo(as_family(fit))


# --- against Stan, and comparisons ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cbpp(shared):
    return pd.read_csv(shared("datasets/cbpp.csv"), dtype={"herd": str, "period": str})


def binomial(formula, data):
    flat = bmb.Prior("Normal", mu=0, sigma=2.5)
    priors = {"Intercept": flat, "1|herd": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=2.5))}
    if "period" in formula:
        priors["period"] = flat
    return hb.Model(formula, data, family="binomial", priors=priors, center_predictors=False)


@pytest.fixture(scope="module")
def herds(cbpp):
    return binomial("p(incidence, size) ~ period + (1 | herd)", cbpp).fit(seed=1, progress=False)


@pytest.mark.filterwarnings("ignore::hierbayes.ParetoWarning")
def test_conditional_scores_agree_with_stan(herds, shared):
    stan = json.loads(shared("reference/posterior.json").read_text())["models"]["cbpp"]["loo"]
    found = herds.loo(conditional=True)
    fine = (found.pareto_k < 0.5).to_numpy()
    assert fine.sum() > 30
    np.testing.assert_allclose(found.elpd_i[fine], np.array(stan["pointwise_elpd"])[fine], atol=STAN)
    assert found.elpd == pytest.approx(stan["elpd_loo"], abs=STAN_SUM)
    assert found.p == pytest.approx(stan["p_loo"], abs=STAN_SUM)


def test_models_are_compared(herds, cbpp):
    empty = binomial("p(incidence, size) ~ 1 + (1 | herd)", cbpp).fit(draws=400, chains=2, seed=1, progress=False)
    rows, groups = (
        hb.compare({"empty": empty, "period": herds}),
        hb.compare({"empty": empty, "period": herds}, "group"),
    )
    assert rows.index[0] == groups.index[0] == "period"
    assert az.compare({"empty": empty.loo(), "period": herds.loo()}).index[0] == "period"
    more = replace(empty, design=replace(empty.design, trials=empty.design.trials + 1.0))
    with pytest.raises(DataError, match="number of trials"):
        hb.compare({"more": more, "period": herds})
    with pytest.raises(DataError, match="number of trials"):
        hb.compare({"more": more.loo(), "period": herds.loo()})
