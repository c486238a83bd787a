"""Bayesian judgement of simulated studies: against closed forms and other engines; the calibration that must hold."""

from __future__ import annotations

import pickle

import bambi as bmb
import numpy as np
import pytest
from scipy import stats

import hierbayes as hb
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE
from hierbayes.study import importance
from hierbayes.study.assurance import PosteriorJudge, posterior_judge
from hierbayes.study.posterior_law import Mixture, Tabled
from hierbayes.study.success import Success, read_success

X = (FIXED, "", "X")
SD = (VARIANCE, "subject", "sd(Intercept)")
SIGMA = (VARIANCE, RESIDUAL, "sigma")
QUADRATURE = 2e-3
"""Agreement of quadratures with different tolerances, in posterior standard deviations."""
POINTS = np.array([0.12, 0.12, 0.3, 0.3])
"""Agreement of mean, sd and interval of engines whose effective number of points is 600 or more, in posterior
standard deviations: three standard errors of a mean, and of a quantile at 2.5%."""

PROPER = {
    "Intercept": bmb.Prior("Normal", mu=0, sigma=1),
    "X": bmb.Prior("Normal", mu=0, sigma=1),
    "1|subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=1)),
    "sigma": bmb.Prior("HalfNormal", sigma=1),
}
FROM_PROPER = {
    "effects": {"Intercept": stats.norm(), "X": stats.norm()},
    "sds": {"subject": stats.halfnorm()},
    "sigma": stats.halfnorm(),
}
"""The same laws, to draw the truth from."""


def tutorial(simulations, formula="y ~ X + (1 | subject)", **other):
    arguments = {"effects": {"X": 0.3}, "sds": {"subject": 0.5}, "sigma": 1.0, "groups": 20, "rows": 5,
                 "within": {"X": stats.norm()}, "test": "X", "seed": 3, "progress": False}  # fmt: skip
    return hb.power(formula, simulations=simulations, **(arguments | other))


@pytest.fixture(scope="module")
def studies():
    """Two studies of the tutorial's kind, with random intercepts and with random slopes."""
    slopes = {"sds": {"subject": {"Intercept": 0.5, "X": 0.4}}, "correlations": {"subject": 0.3}}
    intercepts = tutorial(2)
    both = tutorial(2, "y ~ X + (X | subject)", **slopes)
    return [(found, found.plans[0].study(k)) for found in (intercepts, both) for k in range(2)]


def read(judge, study):
    verdict = judge.judge(study)
    assert verdict.failure is None
    return np.array([verdict.estimate, verdict.std_error, verdict.conf_low, verdict.conf_high])


def rows_of(table):
    """Estimate, standard deviation and interval by (effect, group, term)."""
    labels = zip(table["effect"], table["group"].fillna(""), table["term"], strict=True)
    numbers = table[["estimate", "std_error", "conf_low", "conf_high"]].to_numpy()
    return dict(zip(labels, numbers, strict=True))


def test_the_judgement_is_the_quadrature_of_a_model_of_the_same_data(studies):
    found, study = studies[0]
    model = hb.Model("y ~ X + (1 | subject)", found.data(0))  # its automatic priors are those for this response
    for key, wanted in rows_of(model.quadrature().tidy()).items():
        judge = PosteriorJudge(key, success=Success(rope=0.1))
        assert np.abs(read(judge, study) - wanted).max() < QUADRATURE * wanted[1], key
        points = PosteriorJudge(key, success=Success(rope=0.1), engine="importance")
        assert (np.abs(read(points, study) - wanted) < POINTS * wanted[1]).all(), key


def test_it_is_the_posterior_that_is_sampled_where_slopes_vary(studies):
    found, study = studies[2]
    fit = hb.Model("y ~ X + (X | subject)", found.data(0)).fit(draws=1000, seed=1, progress=False)
    for key, wanted in rows_of(fit.tidy()).items():
        judge = PosteriorJudge(key, success=Success(rope=0.1))
        assert (np.abs(read(judge, study) - wanted) < POINTS * wanted[1]).all(), key


def test_it_is_the_posterior_by_quadrature_where_residuals_are_correlated():
    found = tutorial(1, residual="ar1(1 | subject)", rho=0.4, groups=30)
    study = found.plans[0].study(0)
    model = hb.Model("y ~ X + (1 | subject)", found.data(0), residual="ar1(1 | subject)")
    for key, wanted in rows_of(model.quadrature(1e-3).tidy()).items():
        judge = PosteriorJudge(key, success=Success(rope=0.1))
        assert (np.abs(read(judge, study) - wanted) < POINTS * wanted[1]).all(), key


@pytest.mark.parametrize("engine", ["quadrature", "importance"])
def test_a_prior_that_is_not_normal_leaves_the_effect_to_the_engine(studies, engine):
    found, study = studies[0]
    priors = {"X": bmb.Prior("StudentT", nu=4, mu=0, sigma=0.2)}
    table = rows_of(hb.Model("y ~ X + (1 | subject)", found.data(0), priors=priors).quadrature(1e-3).tidy())
    verdict = read(PosteriorJudge(X, engine=engine, given=priors), study)
    tolerance = POINTS if engine == "importance" else 5.0 * QUADRATURE
    assert (np.abs(verdict - table[X]) < tolerance * table[X][1]).all()
    assert (
        abs(table[X][0] - read(PosteriorJudge(X), study)[0]) > POINTS[0] * table[X][1]
    )  # another prior, another mean


@pytest.mark.parametrize("engine", ["quadrature", "importance"])
def test_the_same_study_has_the_same_judgement(studies, engine):
    found, study = studies[1]
    judge = PosteriorJudge(X, engine=engine)
    first = judge.judge(study)
    assert first.failure is None
    assert judge.judge(study) == first
    assert judge.judge(found.plans[0].study(1)) == first


def test_a_worker_judges_the_same(studies):
    found, study = studies[3]
    plan, judge = pickle.loads(pickle.dumps((found.plans[0], PosteriorJudge(X, given={"X": PROPER["X"]}))))
    assert judge.judge(plan.study(1)) == PosteriorJudge(X, given={"X": PROPER["X"]}).judge(study)


GROUPS, ROWS, KNOWN_SD, KNOWN_SIGMA = 24, 4, 0.5, 1.0
SURE = 1e-3
"""Relative uncertainty of variances that are as good as known."""


def known_variances(simulations, **other):
    """Balanced, X = ±1 between groups, with known variances: X is Normal before and after the data."""
    priors = {
        "Intercept": bmb.Prior("Normal", mu=0, sigma=10),
        "X": bmb.Prior("Normal", mu=0.1, sigma=0.5),
        "1|subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("LogNormal", mu=float(np.log(KNOWN_SD)), sigma=SURE)),
        "sigma": bmb.Prior("LogNormal", mu=float(np.log(KNOWN_SIGMA)), sigma=SURE),
    }
    return hb.power(
        "y ~ X + (1 | subject)", effects={"X": stats.norm(0.4, 0.2)}, sds={"subject": KNOWN_SD}, sigma=KNOWN_SIGMA,
        groups=GROUPS, rows=ROWS, between={"X": [-1.0, 1.0]}, test="X", method="posterior", priors=priors,
        simulations=simulations, seed=5, progress=False, **other,
    )  # fmt: skip


def test_with_known_variances_posterior_and_assurance_have_closed_forms():
    found = known_variances(100)
    v = (KNOWN_SIGMA**2 / ROWS + KNOWN_SD**2) / GROUPS  # variance of the difference's estimate
    posterior_variance = 1.0 / (1.0 / 0.5**2 + 1.0 / v)
    for number in range(8):
        data = found.data(number)
        estimate = (data["y"] * data["X"]).mean()
        mean = posterior_variance * (0.1 / 0.5**2 + estimate / v)
        row = found.simulations.loc[number]
        assert row["estimate"] == pytest.approx(mean, abs=1e-5)
        assert row["std_error"] == pytest.approx(np.sqrt(posterior_variance), rel=1e-4)
        assert row["significant"] == (abs(mean) > 1.959964 * np.sqrt(posterior_variance))
    # O'Hagan, Stevens & Campbell (2005): the estimate is N(0.4, 0.2² + v) before the study
    reach = stats.norm.isf(0.025) / np.sqrt(posterior_variance) * v
    shift = 0.1 / 0.5**2 * v
    before = stats.norm(0.4, np.sqrt(0.2**2 + v))
    assurance = before.sf(reach - shift) + before.cdf(-reach - shift)
    row = found.table.iloc[0]
    assert 0.6 < assurance < 0.9
    assert row["power"] == pytest.approx(assurance, abs=3.0 * row["mc_se"])
    width = 2.0 * 1.959964 * np.sqrt(posterior_variance)
    assert row["width"] == pytest.approx(width, rel=1e-4)
    assert "Assurance of the posterior judgement that the central 95% interval of X excludes 0" in repr(found)


def test_assurance_of_width_and_of_direction_and_of_practical_relevance():
    v = (KNOWN_SIGMA**2 / ROWS + KNOWN_SD**2) / GROUPS
    sd = np.sqrt(1.0 / (1.0 / 0.5**2 + 1.0 / v))
    width = 2.0 * 1.959964 * sd
    assert known_variances(5, success={"width": 1.001 * width}).table.loc[0, "power"] == 1.0
    assert known_variances(5, success={"width": 0.999 * width}).table.loc[0, "power"] == 0.0
    by_direction = known_variances(25, success={"direction": 0.9})
    mean = by_direction.simulations["estimate"]
    assert (by_direction.simulations["significant"] == (mean.abs() / sd > stats.norm.ppf(0.9))).all()
    relevant = known_variances(25, success={"rope": 0.3, "probability": 0.8})
    mean = relevant.simulations["estimate"]
    outside = stats.norm.sf(0.3, mean, sd) + stats.norm.cdf(-0.3, mean, sd)
    assert (relevant.simulations["significant"] == (outside >= 0.8)).all()
    assert 0 < relevant.simulations["significant"].sum() < 25


def test_intervals_cover_at_their_level_when_the_truth_comes_from_the_priors():
    found = tutorial(
        120, **FROM_PROPER, priors=PROPER, groups=6, rows=4, within={"X": [-1.5, -0.5, 0.5, 1.5]}, alpha=0.2,
        method="posterior",
    )  # fmt: skip
    row = found.table.iloc[0]
    assert row["failed"] == 0
    inside = found.simulations["truth"].between(found.simulations["conf_low"], found.simulations["conf_high"])
    assert stats.binomtest(int(inside.sum()), 120, 0.8).pvalue > 0.01
    assert row["coverage"] == pytest.approx(inside.mean())


@pytest.mark.slow
def test_every_posterior_is_calibrated():
    """Simulation-based calibration: P(parameter ≤ truth | y) is uniform."""
    slopes = {
        "1|subject": PROPER["1|subject"],
        "X|subject": PROPER["1|subject"],
        "subject_corr": bmb.Prior("LKJ", eta=1),
    }
    plain = ("y ~ X + (1 | subject)", PROPER, {"subject": stats.halfnorm()}, [X, SD, SIGMA], 400)
    both = (
        "y ~ X + (X || subject)", PROPER | {"X|subject": slopes["X|subject"]},
        {"subject": {"Intercept": stats.halfnorm(), "X": stats.halfnorm()}},
        [X, (VARIANCE, "subject", "sd(X)"), SIGMA], 300,
    )  # fmt: skip
    for formula, priors, sds, keys, n in (plain, both):
        found = tutorial(
            1, formula, effects=FROM_PROPER["effects"], sds=sds, sigma=stats.halfnorm(), groups=6, rows=4,
            within={"X": [-1.5, -0.5, 0.5, 1.5]},
        )  # fmt: skip
        for key in keys:
            judge = PosteriorJudge(key, success=Success(rope=0.1), given=priors)
            studies = found.plans[0].studies(range(n))
            ranks = [judge.law(study).below(judge.truth(study)) for study in studies]
            assert stats.kstest(ranks, "uniform").pvalue > 0.005, (formula, key)
            inside = np.abs(np.array(ranks) - 0.5) < 0.45
            assert stats.binomtest(int(inside.sum()), n, 0.9).pvalue > 0.005, (formula, key)


def test_with_vague_priors_it_says_what_the_t_test_says():
    judged = tutorial(15, groups=30, method="posterior")
    tested = tutorial(15, groups=30)
    assert (judged.simulations["truth"] == tested.simulations["truth"]).all()
    error = tested.simulations["std_error"]
    assert ((judged.simulations["estimate"] - tested.simulations["estimate"]).abs() < 0.05 * error).all()
    assert (judged.simulations["std_error"] / error).between(0.95, 1.08).all()
    clear = (tested.simulations["p_value"] - 0.05).abs() > 0.02
    assert clear.sum() > 8
    assert (judged.simulations["significant"] == tested.simulations["significant"])[clear].all()


def test_a_posterior_that_is_not_to_be_trusted_is_a_failure_and_no_verdict(studies):
    verdict = PosteriorJudge(X, engine="nuts", draws=30, chains=2).judge(studies[0][1])
    assert verdict.failure is not None
    assert "effective sample size" in verdict.failure or "R-hat" in verdict.failure
    assert not verdict.significant
    assert np.isnan(verdict.estimate)


def test_points_that_are_too_uneven_are_not_used(studies, monkeypatch):
    monkeypatch.setattr(importance, "EFFECTIVE", importance.POINTS)
    study = studies[2][1]
    assert "too uneven" in PosteriorJudge(X, engine="importance").judge(study).failure
    by_nuts = PosteriorJudge(X, draws=500).judge(study)
    assert by_nuts == PosteriorJudge(X, engine="nuts", draws=500).judge(study)
    monkeypatch.undo()
    by_points = PosteriorJudge(X).judge(study)
    assert by_nuts != by_points
    assert by_nuts.estimate == pytest.approx(by_points.estimate, abs=POINTS[0] * by_points.std_error)


def test_failures_are_counted_apart(monkeypatch):
    real = importance.weighted

    def now_and_then(shape, seed):
        return real(shape, seed) if seed.spawn_key[1] % 2 else None

    monkeypatch.setattr("hierbayes.study.assurance.weighted", now_and_then)
    found = tutorial(6, method="posterior", engine="importance")
    row = found.table.iloc[0]
    assert row["failed"] == 3
    assert row["power"] == found.simulations["significant"][1::2].mean()
    assert "3 of 6 simulations failed" in repr(found)


def test_automatic_priors_are_those_for_the_response_that_was_simulated(sleepstudy):
    reml = hb.Model("np.log(Reaction) ~ scale(Days) + (1 | Subject)", sleepstudy).reml()
    found = hb.power(reml, test="scale(Days)", method="posterior", simulations=1, seed=1, progress=False)
    study = found.plans[0].study(0)
    data = sleepstudy.assign(z=study.design.y)
    expected = hb.Model("z ~ scale(Days) + (1 | Subject)", data).priors
    assert found.judges[0].priors(study) == expected
    other = found.plans[0].study(1)
    assert found.judges[0].priors(other) != expected


def test_priors_given_in_full_are_read_once():
    found = known_variances(2)
    judge = found.judges[0]
    first, second = (judge.priors(found.plans[0].study(k)) for k in range(2))
    assert first is second
    assert first == hb.Model("y ~ X + (1 | subject)", found.data(0), priors=judge.given).priors


def test_a_mixture_of_normal_laws():
    law = Mixture(np.array([0.0, 1.0]), np.array([1.0, 0.5]), np.array([0.25, 0.75]))
    draws = np.random.default_rng(1).normal([0.0, 1.0], [1.0, 0.5], (200_000, 2))
    values = np.where(np.random.default_rng(2).random(200_000) < 0.25, *draws.T)
    assert law.mean == pytest.approx(0.75)
    assert law.sd == pytest.approx(values.std(), abs=0.005)
    for probability in (0.025, 0.5, 0.9):
        assert law.below(law.quantile(probability)) == pytest.approx(probability, abs=1e-9)
        assert law.quantile(probability) == pytest.approx(np.quantile(values, probability), abs=0.02)
    one = Mixture(np.array([2.0]), np.array([0.5]), np.array([1.0]))
    assert one.quantile(0.975) == pytest.approx(stats.norm.ppf(0.975, 2.0, 0.5), abs=1e-9)


def test_success_is_what_was_asked_for():
    law = Mixture(np.array([1.0]), np.array([0.5]), np.array([1.0]))
    low, high = law.quantile(0.025), law.quantile(0.975)  # 0.02 to 1.98

    def met(null=0.0, **criteria):
        return Success(**criteria).met(law, null, low, high)

    assert met()
    assert not met(null=0.05)
    assert met(direction=0.975)
    assert not met(direction=0.98)
    assert met(null=2.0, direction=0.975)  # the other side
    assert met(width=1.97)
    assert not met(width=1.95)
    assert met(rope=0.4, probability=0.88)  # P(|x| > 0.4) = 0.885 + 0.003
    assert not met(rope=0.4, probability=0.89)
    assert not met(direction=0.975, width=1.95)


def test_a_tabled_law_ends_where_its_table_does():
    law = Tabled(0.0, 1.0, np.array([0.1, 0.9]), np.array([-1.0, 1.0]))
    assert [law.below(-2.0), law.below(0.0), law.below(2.0)] == [0.0, 0.5, 1.0]
    assert law.quantile(0.3) == -0.5


def test_what_cannot_be_judged_is_refused(studies, sleepstudy):
    design = studies[0][1].design
    with pytest.raises(ValueError, match=r"posterior of sd\(Intercept\) is all above 0.*success=\{'rope': …\}"):
        posterior_judge("subject", 0.05, 0.0, design)
    assert posterior_judge("subject", 0.05, 0.0, design, success={"rope": 0.2}).key == SD
    assert posterior_judge(None, 0.05, 0.0, design).key == X
    assert posterior_judge("sigma", 0.05, 0.5, design).key == SIGMA
    with pytest.raises(ValueError, match="engine must be one of 'auto', 'quadrature', 'importance', 'nuts'"):
        posterior_judge("X", 0.05, 0.0, design, engine="stan")
    with pytest.raises(hb.PriorError, match=r"a prior for 'Z'.*no such term"):
        posterior_judge("X", 0.05, 0.0, design, priors={"Z": PROPER["X"]})
    with pytest.raises(ValueError, match="success= is a mapping of some of 'direction'"):
        read_success({"power": 0.8})
    with pytest.raises(ValueError, match="give 'rope' as well"):
        read_success({"probability": 0.8})
    with pytest.raises(ValueError, match=r"'direction'.*0.5 to below 1, not 1.5"):
        Success(direction=1.5)
    with pytest.raises(ValueError, match=r"'width'.*positive number, not 0"):
        Success(width=0)
    categories = hb.Model("Reaction ~ C(Days) + (1 | Subject)", sleepstudy.assign(Days=sleepstudy["Days"] % 3))
    with pytest.raises(ValueError, match=r"judges one parameter: one of 'Intercept', 'C\(Days\)\[1\]'"):
        posterior_judge("C(Days)", 0.05, 0.0, categories.design)
    with pytest.raises(ValueError, match="goes with method='posterior'"):
        tutorial(1, success={"width": 1.0})
