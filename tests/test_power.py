"""Power by simulation, against closed forms, fits by hand and brute force."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st

import hierbayes as hb
from hierbayes.study.extension import extended
from hierbayes.study.grid import Grid, designs
from hierbayes.study.judges import Contrast
from hierbayes.study.power import Campaign
from hierbayes.study.result import _row, proportion
from hierbayes.study.sample_size import sample_sizes
from hierbayes.study.verdict import Verdict, failed

ERRORS = 4.0
"""Monte Carlo standard errors that a share may be off its closed form."""
TUTORIAL = {
    "effects": {"X": 0.3},
    "sds": {"subject": 0.5},
    "sigma": 1.0,
    "groups": 20,
    "rows": 5,
    "within": {"X": st.norm()},
    "seed": 1,
}


@pytest.fixture(scope="module")
def tutorial():
    return hb.power("y ~ X + (1 | subject)", simulations=400, **TUTORIAL)


def near(share, true, n):
    return abs(share - true) < ERRORS * np.sqrt(true * (1.0 - true) / n)


def t_power(effect, error, df, alpha=0.05):
    """Power of a two-sided t test."""
    reach = st.t.ppf(1.0 - alpha / 2.0, df)
    return st.nct.sf(reach, df, effect / error) + st.nct.cdf(-reach, df, effect / error)


# The tutorial's case -----------------------------------------------------------------------------------------------


def test_every_simulation_is_a_study_that_can_be_fitted_by_hand(tutorial):
    for number in (0, 17, 399):
        row = tutorial.simulations.iloc[number]
        data = tutorial.data(number)
        assert data["subject"].value_counts().tolist() == [5] * 20
        fitted = hb.Model("y ~ X + (1 | subject)", data).reml().tidy().set_index("term").loc["X"]
        for name in ("estimate", "std_error", "df", "p_value", "conf_low", "conf_high"):
            assert row[name] == pytest.approx(fitted[name], rel=1e-6)


def test_the_tutorial_case_has_the_power_of_its_information(tutorial):
    # given X, the variance of the effect is that of generalised least squares; its mean over X gives the power
    rng = np.random.default_rng(0)
    V = np.eye(5) + 0.25
    one = np.linalg.inv(V)
    powers = []
    for _ in range(2000):
        X = np.stack([np.ones((20, 5)), rng.standard_normal((20, 5))], axis=-1)
        information = np.einsum("gip,ij,gjq->pq", X, one, X)
        powers.append(st.norm.sf(1.96 - 0.3 / np.sqrt(np.linalg.inv(information)[1, 1])))
    # the t test of estimated variances has a little less, about 80 degrees of freedom
    assert near(tutorial.table["power"][0], np.mean(powers) - 0.01, 400)
    assert tutorial.table["truth"][0] == pytest.approx(0.3)
    assert abs(tutorial.table["bias"][0]) < ERRORS * tutorial.table["bias_se"][0]
    assert near(tutorial.table["coverage"][0], 0.95, 400)


def test_a_study_depends_on_seed_design_and_number_alone(tutorial):
    fewer = hb.power("y ~ X + (1 | subject)", simulations=60, **TUTORIAL)
    pd.testing.assert_frame_equal(fewer.simulations, tutorial.simulations.iloc[:60])
    other = hb.power("y ~ X + (1 | subject)", simulations=60, **{**TUTORIAL, "seed": 2})
    assert not np.isin(other.simulations["estimate"], fewer.simulations["estimate"]).any()


@pytest.mark.slow
def test_processes_do_not_matter(tutorial):
    shared = hb.power("y ~ X + (1 | subject)", simulations=400, cores=2, **TUTORIAL)
    pd.testing.assert_frame_equal(shared.simulations, tutorial.simulations, check_exact=True)
    pd.testing.assert_frame_equal(shared.table, tutorial.table, check_exact=True)


def test_chunks_do_not_matter(tutorial):
    campaign = Campaign(tutorial.plans, tutorial.judges, 400)
    one = [verdict.estimate for number in (3, 1, 2) for _, verdict in campaign.carry([number])]
    assert one == [verdict.estimate for _, verdict in campaign.carry([3, 1, 2])]
    again = pickle.loads(pickle.dumps(campaign))
    assert one == [verdict.estimate for _, verdict in again.carry([3, 1, 2])]


# Closed forms ------------------------------------------------------------------------------------------------------


def test_power_of_a_predictor_between_groups_is_that_of_a_t_test_of_group_means():
    groups, rows, effect, sd = 12, 4, 1.0, 0.6
    found = hb.power("y ~ treated + (1 | g)", effects={"treated": effect}, sds={"g": sd}, sigma=1, groups=groups,
                     rows=rows, between={"treated": [0, 1]}, simulations=1000, seed=3)  # fmt: skip
    error = np.sqrt((sd**2 + 1 / rows) * 4 / groups)
    inside = found.simulations[~found.simulations["singular"]]
    assert np.allclose(inside["df"], groups - 2, rtol=1e-4)  # the t test of means
    # where the variance is zero the test has more degrees of freedom
    assert near(found.table["power"][0], t_power(effect, error, groups - 2), 1000)


def test_power_of_a_predictor_within_groups_is_that_of_a_t_test_within():
    groups, rows, effect = 6, 4, 0.9
    found = hb.power("y ~ x + (1 | g)", effects={"x": effect}, sds={"g": 2.0}, sigma=1, groups=groups, rows=rows,
                     within={"x": [0, 1]}, simulations=1000, seed=4)  # fmt: skip
    df = groups * rows - groups - 1
    error = np.sqrt(1.0 / (groups * rows * 0.25))
    assert near(found.table["power"][0], t_power(effect, error, df), 1000)
    assert found.simulations["df"].median() == pytest.approx(df)
    # type S and exaggeration follow from the same law
    weak = hb.power("y ~ x + (1 | g)", effects={"x": 0.2}, sds={"g": 2.0}, sigma=1, groups=groups, rows=rows,
                    within={"x": [0, 1]}, simulations=2000, seed=5)  # fmt: skip
    reach, shift = st.t.ppf(0.975, df), 0.2 / error
    right, wrong = st.nct.sf(reach, df, shift), st.nct.cdf(-reach, df, shift)
    assert near(weak.table["type_s"][0], wrong / (right + wrong), round(2000 * (right + wrong)))
    rng = np.random.default_rng(6)
    z, s = rng.standard_normal(400_000), np.sqrt(rng.chisquare(df, 400_000) / df)
    kept = np.abs((z + shift) / s) > reach
    assert weak.table["exaggeration"][0] == pytest.approx(np.abs(z + shift)[kept].mean() / shift, rel=0.06)


def test_satterthwaite_keeps_the_level_with_few_groups_and_z_does_not():
    arguments = {"sds": {"g": 1.0}, "sigma": 1.0, "groups": 5, "rows": 4, "between": {"x": [-2, -1, 0, 1, 2]},
                 "simulations": 1000, "seed": 7}  # fmt: skip
    exact = hb.power("y ~ x + (1 | g)", **arguments).table.iloc[0]
    z = hb.power("y ~ x + (1 | g)", method="z", **arguments).table.iloc[0]
    assert near(exact["power"], 0.05, 1000)
    assert near(exact["coverage"], 0.95, 1000)
    level = 2.0 * st.t.sf(st.norm.ppf(0.975), 3)  # of a z test where a t test has 3 degrees of freedom
    assert level > 0.14
    assert near(z["power"], level, 1000)
    assert np.isnan(z["type_s"])
    assert np.isnan(z["exaggeration"])


def test_power_for_a_variance_against_the_exact_f_test():
    # balanced one-way: the restricted likelihood ratio grows with F, so that its test is an F test of another level
    J, m, sd, total = 10, 5, 0.6, 800
    found = hb.power("y ~ 1 + (1 | g)", sds={"g": sd}, sigma=1, groups=J, rows=m, test="g", simulations=total, seed=8)
    assert found.judges[0].words.startswith("likelihood-ratio test of (1 | g) by REML")
    df = J - 1, J * (m - 1)

    def chisq(F):
        """-2 log restricted likelihood ratio as a function of F > 1."""
        n = sum(df)
        return n * np.log((df[0] * F + df[1]) / n) - df[0] * np.log(F)

    grid = np.linspace(1.0, 20.0, 100_001)
    critical = grid[np.argmax(chisq(grid) > st.chi2.ppf(0.90, 1))]
    assert near(found.table["power"][0], st.f.sf(critical / (1 + m * sd**2), *df), total)
    null = hb.power("y ~ 1 + (1 | g)", sds={"g": 0.0}, sigma=1, groups=J, rows=m, test="g", simulations=total, seed=9)
    assert near(null.table["power"][0], st.f.sf(critical, *df), total)
    assert null.table["failed"][0] == 0


def test_likelihood_ratio_of_an_effect_is_that_of_lrt():
    found = hb.power("y ~ x * h + (1 | g)", effects={"x": 0.5}, sds={"g": 1.5}, sigma=1, groups=8, rows=6,
                     within={"x": st.norm(), "h": ["a", "b", "c"]}, test="x:h", method="lrt", simulations=4,
                     seed=10)  # fmt: skip
    data = found.data(2)
    table = hb.lrt(*(hb.Model(f"y ~ {fixed} + (1 | g)", data).ml() for fixed in ("x + h", "x * h")))
    assert found.simulations["p_value"][2] == pytest.approx(table["p_value"][1], rel=1e-6)
    single = hb.power("y ~ x + (1 | g)", effects={"x": 0.5}, sds={"g": 1.5}, sigma=1, groups=8, rows=6,
                      within={"x": st.norm()}, method="lrt", null=0.4, simulations=4, seed=10)  # fmt: skip
    moved = single.data(3).assign(y=lambda d: d["y"] - 0.4 * d["x"])
    table = hb.lrt(*(hb.Model(f"y ~ {fixed} + (1 | g)", moved).ml() for fixed in ("1", "x")))
    assert single.simulations["p_value"][3] == pytest.approx(table["p_value"][1], rel=1e-6)


@pytest.mark.parametrize("method", ["satterthwaite", "kenward-roger", "z"])
def test_a_term_of_several_coefficients_is_tested_together(method):
    found = hb.power("y ~ h + (1 | g)", effects={"h[b]": 1.0}, sds={"g": 0.5}, sigma=1, groups=6, rows=4,
                     within={"h": ["a", "b", "c", "a"]}, method=method, simulations=3, seed=11)  # fmt: skip
    data = found.data(1)
    test = hb.Model("y ~ h + (1 | g)", data).reml().joint_test(["h[b]", "h[c]"], df=method)
    assert found.simulations["p_value"][1] == pytest.approx(test["p_value"][0], rel=1e-6)
    contrast = hb.power("y ~ h + (1 | g)", effects={"h[b]": 1.0}, sds={"g": 0.5}, sigma=1, groups=6, rows=4,
                        within={"h": ["a", "b", "c", "a"]}, test={"h[b]": 1, "h[c]": -1}, method=method,
                        simulations=3, seed=11)  # fmt: skip
    test = hb.Model("y ~ h + (1 | g)", data).reml().contrast({"h[b]": 1, "h[c]": -1}, df=method)
    assert contrast.simulations["p_value"][1] == pytest.approx(test["p_value"][0], rel=1e-6)
    assert contrast.simulations["truth"][1] == 1.0


# What is simulated -------------------------------------------------------------------------------------------------


def test_simulated_studies_have_the_moments_asked_for():
    found = hb.power("y ~ x + (x | g)", effects={"Intercept": 2.0, "x": -1.0},
                     sds={"g": {"Intercept": 1.5, "x": 0.7}}, correlations={"g": -0.4}, sigma=0.8, groups=40, rows=2,
                     within={"x": [0, 1]}, simulations=1, seed=12)  # fmt: skip
    plan = found.plans[0]
    y = np.stack([study.design.y for study in plan.studies(range(500))]).reshape(-1, 2)
    cov = -0.4 * 1.5 * 0.7
    V = np.array([[1.5**2 + 0.64, 1.5**2 + cov], [0.0, 1.5**2 + 2 * cov + 0.49 + 0.64]])
    expected = np.triu(V) + np.triu(V, 1).T
    assert np.allclose(y.mean(axis=0), [2.0, 1.0], atol=ERRORS * np.sqrt(expected.max() / len(y)))
    assert np.allclose(np.cov(y.T), expected, atol=ERRORS * expected.max() * np.sqrt(2 / len(y)))


def test_residual_correlation_and_crossed_and_nested_factors():
    series = hb.power("y ~ time + (1 | g)", effects={"time": 0.1}, sds={"g": 1.5}, sigma=1, groups=10, rows=6,
                      within={"time": range(6)}, residual="ar1(time | g)", rho=0.6, simulations=2,
                      seed=13)  # fmt: skip
    fitted = hb.Model("y ~ time + (1 | g)", series.data(1), residual="ar1(time | g)").reml().tidy()
    assert series.simulations["p_value"][1] == pytest.approx(fitted["p_value"][1], rel=1e-5)
    y = np.stack([study.design.y for study in series.plans[0].studies(range(800))]).reshape(-1, 6)
    e = y - y.mean(axis=0)
    assert (e[:, 0] * e[:, 2]).mean() == pytest.approx(2.25 + 0.36, rel=0.06)
    crossed = hb.power("y ~ f + (1 | s) + (1 | i)", effects={"f": 0.1}, sds={"s": 0.5, "i": 0.4}, sigma=1,
                       groups={"s": 6, "i": 5}, rows=1, between={"i": {"f": st.norm()}}, simulations=2,
                       seed=14)  # fmt: skip
    data = crossed.data(1)
    assert len(data) == 30
    assert not data.duplicated(["s", "i"]).any()
    assert data.groupby("i")["f"].nunique().eq(1).all()
    fitted = hb.Model("y ~ f + (1 | s) + (1 | i)", data).reml().tidy()
    assert crossed.simulations["p_value"][1] == pytest.approx(fitted["p_value"][1], rel=1e-5)
    nested = hb.power("y ~ x + (1 | a/b)", sds={"a": 0.5, "a:b": 0.4}, sigma=1, groups={"a": 4, "b": 3}, rows=2,
                      between={"a:b": {"x": st.norm()}}, simulations=2, seed=15)  # fmt: skip
    assert nested.plans[0].template.design.levels == "4 levels of a, 12 levels of a:b"
    data = nested.data(0)
    assert data["x"].nunique() == 12
    assert data.groupby(["a", "b"])["x"].nunique().eq(1).all()
    assert nested.table.columns[:3].tolist() == ["groups[a]", "groups[b]", "rows"]


def scaled(values):
    return (values - np.mean(values)) / np.std(values)


@pytest.mark.parametrize(
    "right", ["scale(x)", "scaled(x)", "x + I(x**2)", "np.exp(x)", "x * h", "x + offset(x)", "C(h) + x"]
)
def test_formulas_are_read_as_one_study_at_a_time_would_be(right):
    formula = f"y ~ {right} + (x | g)"
    found = hb.power(formula, sds={"g": {"Intercept": 0.5, "x": 0.2}}, sigma=1, groups=6, rows=5,
                     within={"x": st.norm(1, 2), "h": ["a", "b"]} if "h" in right else {"x": st.norm(1, 2)},
                     test="sd(x)", simulations=1, seed=16)  # fmt: skip
    for study in list(found.plans[0].studies(range(3)))[1:]:
        own = hb.Model(formula, found.data(study.number)).design
        assert np.allclose(study.design.X, own.X)
        assert np.allclose(study.design.blocks[0].Z, own.blocks[0].Z)
        if "offset" in right:
            assert np.allclose(study.design.offset, own.offset)


def test_weights_are_those_of_the_plan():
    data = pd.DataFrame(
        {"g": np.repeat(range(8), 4), "w": np.tile([1.0, 4.0, 9.0, 16.0], 8), "x": np.tile([0, 1], 16)}
    )
    found = hb.power("y ~ x + (1 | g)", data=data, weights="w", sds={"g": 0.3}, sigma=2, simulations=400, seed=17)
    fitted = hb.Model("y ~ x + (1 | g)", found.data(5), weights="w").reml().tidy()
    assert found.simulations["p_value"][5] == pytest.approx(fitted["p_value"][1], rel=1e-6)
    y = np.stack([study.design.y for study in found.plans[0].studies(range(400))])
    variances = 0.09 + 4.0 / data["w"].to_numpy()
    assert np.allclose(y.var(axis=0) / variances, 1.0, atol=5 * np.sqrt(2 / 400))
    assert found.table[["groups", "rows", "n"]].to_numpy().tolist() == [[8, 4.0, 32]]


# From a fit --------------------------------------------------------------------------------------------------------


def test_a_fit_gives_its_design_and_its_parameters(sleepstudy):
    reml = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml()
    found = hb.power(reml, effects={"Days": 5.0}, simulations=300, seed=18)
    assert found.target == "power"
    assert found.table["n"][0] == 180
    # balanced: the slope has a t test with 17 degrees of freedom
    error = reml.tidy().set_index("term").loc["Days", "std_error"]
    assert near(found.table["power"][0], t_power(5.0, error, 17), 300)
    assert np.array_equal(found.data(3)["Days"], sleepstudy["Days"])
    fewer = hb.power(reml, groups=[6, 27], rows=[4, 12], simulations=2, seed=18)
    assert fewer.table[["groups", "rows", "n"]].to_numpy().tolist() == [[6, 4, 24], [6, 12, 72], [27, 4, 108],
                                                                        [27, 12, 324]]  # fmt: skip
    data = fewer.data(0, point=3)
    assert data["Subject"].nunique() == 27
    assert data["Subject"].value_counts().eq(12).all()
    assert data.loc[data["Subject"] == "308 (2)", "Days"].tolist() == [*range(10), 0, 1]


def test_resampled_designs_keep_their_structure():
    pastes = hb.load_data("Pastes").assign(own=lambda d: d["batch"] + d["cask"])
    more = extended(pastes, [["batch"], ["own"]], {"batch": 23}, None)
    assert more["batch"].nunique() == 23
    assert more.groupby("own")["batch"].nunique().eq(1).all()
    assert more.groupby("batch")["own"].nunique().eq(3).all()
    assert len(more) == 23 * 6
    penicillin = hb.load_data("Penicillin")
    more = extended(penicillin, [["plate"], ["sample"]], {"plate": 30}, None)
    assert more.groupby("plate")["sample"].nunique().eq(6).all()
    assert more["sample"].nunique() == 6
    fewer = extended(penicillin, [["plate"], ["sample"]], {"plate": 5, "sample": 8}, 2)
    assert fewer.groupby(["plate", "sample"]).size().eq(2).all()
    assert len(fewer) == 80
    reml = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin).reml()
    found = hb.power(reml, groups={"sample": [4, 8]}, rows=2, test="sample", simulations=2, seed=19)
    assert found.table["n"].tolist() == [24 * 4 * 2, 24 * 8 * 2]
    assert found.table["groups[sample]"].tolist() == [4, 8]


def test_transformations_of_a_fit_keep_what_they_learned(sleepstudy):
    reml = hb.Model("Reaction ~ scale(Days) + (1 | Subject)", sleepstudy).reml()
    found = hb.power(reml, rows=3, simulations=1, seed=20)
    x = sorted(set(found.plans[0].template.design.X[:, 1]))
    assert np.allclose(x, (np.arange(3) - 4.5) / np.arange(10).std())


def test_draws_of_a_posterior_make_assurance(fit_sleepstudy):
    found = hb.power(fit_sleepstudy, simulations=300, seed=21)
    assert found.target == "assurance"
    assert "Assurance" in repr(found)
    slopes = fit_sleepstudy.posterior["Days"].to_numpy().ravel()
    assert np.isin(found.simulations["truth"], slopes).all()
    assert found.simulations["truth"].std() == pytest.approx(slopes.std(), rel=0.2)
    assert near(found.table["coverage"][0], 0.95, 300)
    mean = hb.power(fit_sleepstudy, simulations=5, seed=21, draws=False)
    assert mean.target == "power"
    assert np.allclose(mean.simulations["truth"], slopes.mean())


def test_a_design_prior_makes_assurance():
    arguments = {**TUTORIAL, "effects": {"X": st.norm(0.3, 0.1)}, "simulations": 300}
    found = hb.power("y ~ X + (1 | subject)", **arguments)
    assert found.target == "assurance"
    assert found.simulations["truth"].std() == pytest.approx(0.1, rel=0.2)
    # the interval covers the effect of its own study
    assert near(found.table["coverage"][0], 0.95, 300)


def test_posteriors_can_be_the_judges():
    found = hb.power("y ~ X + (1 | subject)", method="posterior", simulations=3, **TUTORIAL)
    exact = hb.Model("y ~ X + (1 | subject)", found.data(1)).quadrature().tidy().set_index("term").loc["X"]
    assert found.simulations["estimate"][1] == pytest.approx(exact["estimate"], rel=1e-3)
    assert found.simulations["conf_low"][1] == pytest.approx(exact["conf_low"], rel=1e-2)


# What it adds up to ------------------------------------------------------------------------------------------------


def test_failures_are_counted_apart():
    made = pd.DataFrame({
        "point": 0, "significant": [True, True, False, False], "failure": [None, None, None, "lost"],
        "estimate": [1.0, -2.0, 0.5, np.nan], "truth": 1.0, "conf_low": [0.5, -3.0, -1.0, np.nan],
        "conf_high": [2.0, -1.0, 1.5, np.nan], "singular": [False, True, False, False],
    })  # fmt: skip
    row = _row(made, 0.0)
    assert (row["simulations"], row["failed"], row["singular"]) == (4, 1, 1)
    assert row["power"] == pytest.approx(2 / 3)
    assert (row["power_min"], row["power_max"]) == (0.5, 0.75)
    assert row["coverage"] == pytest.approx(2 / 3)
    assert row["type_s"] == 0.5
    assert row["exaggeration"] == pytest.approx(1.5)
    assert row["width"] == pytest.approx(2.0)
    half = st.t.ppf(0.975, 2) * 0.5 / np.sqrt(3)  # widths 1.5, 2 and 2.5
    assert (row["width_low"], row["width_high"]) == pytest.approx((2.0 - half, 2.0 + half))
    assert row["bias"] == pytest.approx(-0.5 / 3 - 1)


def test_failures_of_real_studies_are_counted_and_explained():
    def category(rng, n):
        return np.where(rng.random(n) < 0.06, "b", "a")

    arguments = {"sds": {"g": 0.5}, "sigma": 1, "groups": 5, "rows": 8, "within": {"h": category}, "seed": 22}
    found = hb.power("y ~ h + (1 | g)", effects={"h[b]": 1.0}, simulations=60, **arguments)
    plan = found.plans[0]
    lost = [k for k in range(60) if "b" not in set(plan.grid.draw(plan._stream(k))["h"])]
    assert 0 < len(lost) == found.table["failed"][0] == found.failures["count"].sum()
    assert found.simulations.loc[lost, "failure"].notna().all()
    assert "failed and are not counted" in repr(found)
    ended = found.simulations.drop(index=lost)
    assert found.table["power"][0] == ended["significant"].mean()
    assert found.table["power_max"][0] == (ended["significant"].sum() + len(lost)) / 60


class Nothing(Contrast):
    """Fails two times of three."""

    def judge(self, study):
        """Fail, or not."""
        return failed("nothing works") if study.number % 3 else Verdict(True, 0.01)


def test_studies_of_which_none_ends_are_refused(monkeypatch):
    monkeypatch.setattr("hierbayes.study.power.judge_of", lambda *_: Nothing("X", np.array([0.0, 1.0]), 0, 0.05, "z"))
    some = hb.power("y ~ X + (1 | subject)", simulations=6, **TUTORIAL)
    assert some.table[["failed", "power"]].to_numpy().tolist() == [[4, 1.0]]
    monkeypatch.setattr(Nothing, "judge", lambda self, study: failed("nothing works"))
    with pytest.raises(hb.HierbayesError, match="All 6 simulations failed, most of them because: nothing works"):
        hb.power("y ~ X + (1 | subject)", simulations=6, **TUTORIAL)


def test_wilson_interval():
    z = st.norm.ppf(0.975)
    for k, n in ((0, 20), (7, 20), (20, 20)):
        p = k / n
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        assert np.allclose(proportion(k, n), (p, max(0.0, middle - half), min(1.0, middle + half)))


def test_a_curve_gives_the_size_that_is_needed():
    found = hb.power("y ~ treated + (1 | g)", effects={"treated": 0.8}, sds={"g": 0.6}, sigma=1,
                     groups=[10, 30, 50, 70], rows=[2, 8], between={"treated": [0, 1]}, simulations=250,
                     seed=23)  # fmt: skip
    assert found.table[["groups", "rows"]].to_numpy().tolist() == [[g, r] for g in (10, 30, 50, 70) for r in (2, 8)]
    needed = found.sample_size(0.8).set_index("rows")
    for rows in (2, 8):
        sizes = np.arange(8, 70)
        exact = t_power(0.8, np.sqrt((0.36 + 1 / rows) * 4 / sizes), sizes - 2)
        true = sizes[np.argmax(exact >= 0.8)]
        assert needed.loc[rows, "conf_low"] - 1 <= true <= needed.loc[rows, "conf_high"] + 1
        assert needed.loc[rows, "conf_low"] <= needed.loc[rows, "needed"] <= needed.loc[rows, "conf_high"]
    assert needed["varied"].tolist() == ["groups", "groups"]
    beyond = found.sample_size(0.999)
    assert beyond["needed"].isna().all()
    assert beyond["note"].str.startswith("more than 70").all()
    with pytest.raises(hb.HierbayesError, match="three or more"):
        sample_sizes(found.table.iloc[:2], ["groups"], 0.8)


def test_the_interval_of_a_needed_size_covers():
    rng = np.random.default_rng(24)
    sizes = np.array([10, 20, 30, 40])
    true = st.norm.cdf(-1.96 + 0.5 * np.sqrt(sizes))
    exact = ((st.norm.ppf(0.8) + 1.96) / 0.5) ** 2
    inside = 0
    for _ in range(120):
        table = pd.DataFrame(
            {"groups": sizes, "power": rng.binomial(500, true) / 500, "simulations": 500, "failed": 0}
        )
        row = sample_sizes(table, ["groups"], 0.8).iloc[0]
        inside += row["conf_low"] - 1 < exact <= row["conf_high"]
    assert inside >= 108  # 95% of 120, less three standard errors


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"effects": {"x": 1}}, "Did you mean 'X'"),
        ({"effects": {"X": "big"}}, "a number or a frozen distribution"),
        ({"sds": {"subjects": 1}}, "Did you mean 'subject'"),
        ({"sds": None}, "lacks the standard deviation of 'Intercept'"),
        ({"sds": {"subject": -1}}, "from 0 to inf"),
        ({"sds": {"subject": {"X": 1}}}, "no random effect"),
        ({"correlations": {"subject": 0.5}}, "has none in this model"),
        ({"sigma": None}, "sigma= is missing"),
        ({"sigma": 0}, "must be positive"),
        ({"rho": 0.5}, "give residual="),
        ({"groups": None}, "groups= and rows="),
        ({"groups": 2.5}, "positive whole number"),
        ({"groups": {"item": 3}}, "grouping columns of the formula are 'subject'"),
        ({"groups": []}, "empty list"),
        ({"rows": (3, 0)}, "Every size"),
        ({"within": {"X": 3.0}}, "a list of values"),
        ({"within": {}}, "'X', which is not a column"),
        ({"between": {"item": {"X": [1]}}}, "There are: subject"),
        ({"data": pd.DataFrame({"X": [1]})}, "leave groups= out"),
        ({"test": "Z"}, "nothing to test"),
        ({"test": "sd(Intercept)", "method": "z"}, "method='lrt'"),
        ({"test": {"X": 1}, "method": "lrt"}, "has a t test"),
        ({"method": "bayes"}, "method is one of"),
        ({"alpha": 1.5}, "alpha is between"),
        ({"simulations": 0}, "simulations must be"),
        ({"priors": {}}, "goes with method='posterior'"),
        ({"groups": 1}, "one level"),
        ({"rows": 1}, "as many levels as there are rows"),
        ({"effects": 0.3}, "effects= says by name"),
        ({"sds": [0.5]}, "sds= says by name"),
        ({"between": [0, 1]}, "between= says by name"),
        ({"alpha": "0.05"}, "alpha is between"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"groups": 3, "rows": (5, 6, 7, 8)}, "sizes of 4 groups, but there are 3"),
        ({"within": {"X": st.norm(), "y": st.norm()}}, "'y' is the name of two columns"),
        ({"within": {"X": st.norm(), "subject": st.norm()}}, "'subject' is the name of two columns"),
        ({"between": {"X": st.norm()}}, "'X' is the name of two columns"),
        ({"sds": {"subject": st.norm(0.5, 0.1)}}, "drawn from -inf to inf, .*halfnorm"),
        ({"sigma": st.norm(1, 0.1)}, "sigma is drawn from -inf"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changes, says):
    with pytest.raises(ValueError, match=says):
        hb.power("y ~ X + (1 | subject)", **{"simulations": 2, **TUTORIAL, **changes})


def three_effects():
    rng = np.random.default_rng(25)
    data = pd.DataFrame({"s": np.repeat(range(30), 8), "a": rng.normal(size=240), "b": rng.normal(size=240)})
    together = np.linalg.cholesky(0.8 + 0.2 * np.eye(3))
    effects = (rng.normal(size=(30, 3)) @ together.T)[data["s"]]
    noise = 0.5 * rng.normal(size=240)
    return data.assign(y=effects[:, 0] + effects[:, 1] * data["a"] + effects[:, 2] * data["b"] + noise)


def test_correlations_that_contradict_those_of_a_fit_are_refused():
    reml = hb.Model("y ~ a + b + (a + b | s)", three_effects()).reml()
    with pytest.raises(ValueError, match="contradict each other"):
        hb.power(reml, test="a", correlations={"s": {("a", "b"): -0.9}}, simulations=2, seed=25)


def test_drawn_parameters_that_cannot_be_are_failures():
    found = hb.power("y ~ a + b + (a + b | s)", data=three_effects(), test="a", sigma=1, simulations=60, seed=26,
                     sds={"s": {"Intercept": 1, "a": 1, "b": 1}}, effects={"a": 0.3},
                     correlations={"s": {("Intercept", "a"): 0.9, ("Intercept", "b"): 0.9,
                                         ("a", "b"): st.uniform(-1, 2)}})  # fmt: skip
    # the correlation of a and b is at least 2 * 0.9² - 1
    assert near(found.table["failed"][0] / 60, (0.62 + 1.0) / 2.0, 60)
    assert found.failures["failure"].str.contains("contradict each other").all()

    class Anywhere:
        """A distribution that does not say where it is."""

        def rvs(self, size, random_state):
            return random_state.normal(0.1, 1.0, size)

    found = hb.power("y ~ X + (1 | subject)", simulations=40, **{**TUTORIAL, "sds": {"subject": Anywhere()}})
    assert 5 < found.table["failed"][0] < 35
    assert found.failures["failure"].str.match(r"The sd\(Intercept\) of subject that was drawn is -").all()


def test_drawn_predictors_with_missing_values_are_failures():
    def holes(rng, n):
        return np.where(rng.random(n) < 0.004, np.nan, rng.standard_normal(n))

    found = hb.power("y ~ X + (1 | subject)", simulations=40, **{**TUTORIAL, "within": {"X": holes}, "seed": 3})
    plan = found.plans[0]
    lost = [k for k in range(40) if np.isnan(plan.grid.draw(plan._stream(k))["X"]).any()]
    assert 0 < len(lost) == found.table["failed"][0]
    assert found.failures["failure"].tolist() == ["The study drawn has missing values in X."]


def test_what_is_said_of_a_failure_does_not_depend_on_the_chunk():
    def category(rng, n):
        return rng.choice(list("abcd"), n, p=[0.68, 0.28, 0.02, 0.02])

    found = hb.power("y ~ X + g + (1 | subject)", test="X", simulations=30,
                     **{**TUTORIAL, "within": {"X": st.norm(), "g": category}})  # fmt: skip
    campaign = Campaign(found.plans, found.judges, 30)
    together = [verdict.failure for _, verdict in campaign.carry(range(30))]
    assert together == [campaign.carry([number])[0][1].failure for number in range(30)]
    said = [failure for failure in together if failure]
    assert 0 < len(said) < 30
    assert all("does not have the coefficients planned" in failure for failure in said)


def test_predictors_of_the_inner_of_nested_groups_differ_between_all_of_them():
    found = hb.power("y ~ x + (1 | school/cls)", sds={"school": 0.5, "school:cls": 0.5}, sigma=1,
                     groups={"school": 6, "cls": 3}, rows=4, between={"cls": {"x": st.norm()}}, simulations=1,
                     seed=27)  # fmt: skip
    assert found.data(0)["x"].nunique() == 18


def test_arms_between_groups_stay_in_proportion():
    rng = np.random.default_rng(28)
    arm = np.repeat(["high", "low", "none"], [7, 10, 10])
    data = pd.DataFrame({"g": np.repeat(np.arange(27), 3), "arm": np.repeat(arm, 3), "x": rng.normal(size=81)})
    for wanted, counts in ((54, (14, 20, 20)), (40, (10, 15, 15)), (9, (2, 4, 3))):
        arms = extended(data, [["g"]], {"g": wanted}, None).drop_duplicates("g")["arm"].value_counts()
        assert np.abs(arms[["high", "low", "none"]].to_numpy() - counts).max() <= 1
    reml = hb.Model(
        "y ~ arm + (1 | g)", data.assign(y=rng.normal(size=81) + np.repeat(rng.normal(size=27), 3))
    ).reml()
    with pytest.raises(hb.DataError, match=r"other coefficients, in arm\[none\]|arm\[low\]|arm\[high\]"):
        hb.power(reml, groups=2, simulations=1, seed=28)


def test_group_means_of_a_fit_are_those_of_the_rows_planned(sleepstudy):
    short = sleepstudy["Subject"].isin(sleepstudy["Subject"].unique()[:6]) & (sleepstudy["Days"] > 5)
    formula = "Reaction ~ within(Days, Subject) + (1 | Subject)"
    found = hb.power(hb.Model(formula, sleepstudy[~short]).reml(), rows=5, simulations=1, seed=29)
    fitted = hb.Model(formula, found.data(0)).reml().tidy().set_index("term").loc["within(Days, Subject)"]
    assert found.simulations["std_error"][0] == pytest.approx(fitted["std_error"], rel=1e-6)


def test_series_of_residuals_are_groups_too(sleepstudy):
    series = sleepstudy.assign(part=lambda d: d["Subject"].astype(str) + "-" + (d["Days"] // 5).astype(str))
    reml = hb.Model("Reaction ~ Days + (1 | Subject)", series, residual="ar1(Days | part)").reml()
    found = hb.power(reml, groups=20, simulations=1, seed=30)
    assert found.data(0)["part"].nunique() == 40
    with pytest.raises(ValueError, match="more than the 5 rows of the shortest time series"):
        hb.power(reml, rows=6, simulations=1, seed=30)


@pytest.mark.parametrize(
    ("groups", "effect", "sd", "sigma", "rows"),
    [(40, 0.66, 0.5, 2, [2, 5, 40]), (40, 0.55, 0.5, 1.5, [2, 4, 8, 16, 32]), (60, 0.6, 0.6, 2, [2, 10, 50])],
)
def test_rows_that_are_needed_between_groups_that_differ(groups, effect, sd, sigma, rows):
    def exact(size):
        return t_power(effect, np.sqrt((sd**2 + sigma**2 / size) * 4 / groups), groups - 2)

    true = next(size for size in range(2, 100) if exact(size) >= 0.8)
    table = pd.DataFrame({"rows": rows, "power": [exact(size) for size in rows], "simulations": 1000, "failed": 0})
    row = sample_sizes(table, ["rows"], 0.8).iloc[0]
    assert row["needed"] == true
    assert row["conf_low"] < true < row["conf_high"]
    assert row["note"] == ""


def test_rows_of_a_power_that_rises_faster_are_read_between_two_designs():
    table = pd.DataFrame({"rows": [10, 20, 30], "power": [0.2, 0.5, 0.97], "simulations": 1000, "failed": 0})
    row = sample_sizes(table, ["rows"], 0.8).iloc[0]
    assert 20 < row["needed"] < 30
    assert "does not fit" in row["note"]


def test_what_cannot_be_sent_to_processes_is_said():
    lock = threading.Lock()

    def locked(rng, n):
        with lock:
            return rng.standard_normal(n)

    arguments = {**TUTORIAL, "within": {"X": locked}}
    with pytest.raises(hb.HierbayesError, match=r"cannot be sent to other processes \(.*lock"):
        hb.power("y ~ X + (1 | subject)", simulations=20, cores=np.int64(2), **arguments)


def test_rows_of_a_study_that_is_none_are_refused(tutorial):
    with pytest.raises(ValueError, match="point=4 is no row of the table"):
        tutorial.data(1, 4)
    with pytest.raises(ValueError, match="number must be a whole number"):
        tutorial.data(-1)


def test_what_cannot_be_planned_is_refused(sleepstudy):
    with pytest.raises(hb.FormulaError, match="name of the response"):
        hb.power("log(y) ~ X + (1 | subject)", **TUTORIAL)
    with pytest.raises(ValueError, match="'g' has several random effects"):
        hb.power("y ~ x + (x | g)", sds={"g": 1}, sigma=1, groups=5, rows=4, within={"x": [0, 1]})
    with pytest.raises(ValueError, match="contradict each other"):
        hb.power("y ~ 1 + (a + b | g)", sds={"g": {"Intercept": 1, "a": 1, "b": 1}}, sigma=1, groups=5, rows=4,
                 correlations={"g": {("Intercept", "a"): 0.9, ("a", "b"): 0.9, ("Intercept", "b"): -0.9}},
                 within={"a": st.norm(), "b": st.norm()}, test="g")  # fmt: skip
    with pytest.raises(ValueError, match="number of levels of every grouping column"):
        hb.power("y ~ 1 + (1 | s) + (1 | i)", sds={"s": 1, "i": 1}, sigma=1, groups=5, rows=1)
    with pytest.raises(ValueError, match="between which groups"):
        hb.power("y ~ x + (1 | s) + (1 | i)", sds={"s": 1, "i": 1}, sigma=1, groups={"s": 5, "i": 4}, rows=1,
                 between={"x": [0, 1]})  # fmt: skip
    with pytest.raises(ValueError, match="test= must say what is tested: Intercept, a, b, "):
        hb.power("y ~ a + b + (1 | g)", sds={"g": 1}, sigma=1, groups=5, rows=4,
                 within={"a": st.norm(), "b": st.norm()})  # fmt: skip
    with pytest.raises(hb.HierbayesError, match="independent residuals"):
        hb.power("y ~ t + (1 | g)", sds={"g": 1}, sigma=1, groups=5, rows=4, within={"t": range(4)}, rho=0.5,
                 residual="ar1(t | g)", method="kenward-roger")  # fmt: skip
    model = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy)
    with pytest.raises(ValueError, match="a fit has its own"):
        hb.power(model.reml(), within={"Days": [1]})
    with pytest.raises(TypeError, match="takes a formula, a REML or ML fit"):
        hb.power(model)
    with pytest.raises(hb.HierbayesError, match="fit to other responses"):
        hb.power(model.refit(model.design.y + 1.0))


def test_other_families_are_refused():
    cbpp = hb.load_data("cbpp").astype({"period": str})
    fit = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").ml()
    with pytest.raises(hb.HierbayesError, match="Gaussian responses"):
        hb.power(fit)


def test_unequal_sizes_are_one_design():
    grid = Grid({"g": 5}, (2, 4))
    assert np.bincount(grid.fixed["g"])[1:].tolist() == [2, 4, 2, 4, 2]
    assert designs([4, 6], [(2, 4), 3], ["g"]) == [
        ({"g": 4}, (2, 4)),
        ({"g": 4}, 3),
        ({"g": 6}, (2, 4)),
        ({"g": 6}, 3),
    ]
    found = hb.power("y ~ X + (1 | subject)", simulations=2, **{**TUTORIAL, "rows": [(2, 8), 5]})
    assert found.table["rows"].tolist() == ["2, 8", 5]
    assert found.table["n"].tolist() == [100, 100]


def test_interruption_keeps_what_is_done(monkeypatch):
    from hierbayes.study import executor, power

    def interrupted(work, numbers, **_):
        return executor.Carried({number: work([number])[0] for number in list(numbers)[:7]}, True)

    monkeypatch.setattr(power, "carry_out", interrupted)
    with pytest.warns(hb.IncompleteWarning, match="7 of 20 were made"):
        found = hb.power("y ~ X + (1 | subject)", simulations=10, **{**TUTORIAL, "groups": [5, 10]})
    assert found.table["simulations"].tolist() == [7, 0]
    assert np.isnan(found.table["power"][1])
    assert "interrupted" in repr(found)
    assert replace(found, interrupted=False).remarks[-1].startswith("95%")


def test_the_figure_has_a_curve_a_band_and_the_failures():
    from hierbayes.plots import power_figure

    table = pd.DataFrame({
        "groups": [10, 20, 10, 20], "rows": [2, 2, 5, 5], "n": [20, 40, 50, 100], "power": [0.2, 0.5, 0.4, 0.9],
        "conf_low": [0.1, 0.4, 0.3, 0.8], "conf_high": [0.3, 0.6, 0.5, 1.0], "failed": [0, 7, 0, 0],
        "power_min": [0.2, 0.45, 0.4, 0.9], "power_max": [0.2, 0.55, 0.4, 0.9],
    })  # fmt: skip
    axes = power_figure(table, title="more rows help").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["rows = 2", "rows = 5"]
    assert [list(line.get_ydata()) for line in axes.get_legend_handles_labels()[0]] == [[0.2, 0.5], [0.4, 0.9]]
    assert [text.get_text() for text in axes.texts] == ["7 failed", "0.8"]
    assert len(axes.collections) == 2
    assert axes.get_xlabel() == "groups"
    assert power_figure(table, over="n", target=None).axes[0].get_xlabel() == "n"
    with pytest.raises(ValueError, match="one of 'groups', 'rows', 'n'"):
        power_figure(table, over="cost")


def test_the_figure_takes_what_power_gave_and_sizes_in_words(tutorial):
    from hierbayes.plots import power_figure

    assert power_figure(replace(tutorial, target="assurance")).axes[0].get_ylabel() == "assurance"
    found = hb.power("y ~ X + (1 | subject)", simulations=4, **{**TUTORIAL, "rows": [(2, 8), 5]})
    axes = power_figure(found, over="rows").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2, 8", "5"]
