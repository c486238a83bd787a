"""What a check says, of fits about which the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fixtures_report import STUDIES, study
from test_influence import model_of, quiet

import hierbayes as hb
from hierbayes.checks.check import NOTE, OK, PROBLEM, WARNING, Check, Verdict
from hierbayes.checks.check_posterior import check_posterior
from hierbayes.checks.check_reml import CHANCE, COOK, cook_limit

COLUMNS = ["topic", "severity", "figure", "finding", "next"]


def topic(check, name):
    return check.findings[check.findings["topic"] == name]


def simulated(n=240, groups=24, seed=0):
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(groups), n // groups), rng.uniform(1, 5, n)
    mean = 2.0 + x + rng.normal(size=groups)[g]
    return pd.DataFrame({"g": g, "x": x, "mean": mean, "e": rng.normal(size=n)}), rng


def check_of(data, formula="y ~ x + (1 | g)", **options):
    return quiet(hb.Model(formula, data, **options).reml).check()


def test_a_check_is_a_table_words_and_html():
    verdicts = [
        Verdict("one", OK, "Fine.", 0.1),
        Verdict("<two>", WARNING, "Bad.", 3.0, "Do this."),
        Verdict("three", NOTE, "So."),
    ]
    check = Check("a fit", verdicts, {"numbers": pd.DataFrame()})
    assert list(check.findings.columns) == COLUMNS
    assert check.findings["topic"].tolist() == ["one", "<two>", "three"]
    assert check.worst == WARNING
    assert check.of("warning")["figure"].tolist() == [3.0]
    lines = repr(check).splitlines()
    assert lines[0] == "Check of a fit: 1 warning, 1 note, 1 ok"
    assert lines[1].split() == ["warning", "<two>", "Bad."]
    assert lines[2].strip() == "-> Do this."
    assert "&lt;two&gt;" in check._repr_html_()
    assert max(map(len, repr(study("slopes").reml.check()).splitlines())) <= 112
    with pytest.raises(ValueError, match="severity must be one of 'ok', 'note', 'warning', 'problem', not 'bad'"):
        check.of("bad")


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "crowd"])
def test_every_kind_of_fit_can_be_checked(name):
    made = study(name)
    for check in (made.reml.check(), made.fit.check()):
        table = check.findings
        assert list(table.columns) == COLUMNS
        assert set(table["severity"]) <= {OK, NOTE, WARNING, PROBLEM}
        assert table["finding"].str.endswith(".").all()
        acted = table["severity"] != OK
        assert (table.loc[acted, "next"].str.len() > 10).all()
        assert (table.loc[~acted, "next"] == "").all()
        assert not table["finding"].str.contains("nan").any()


def test_sleepstudy_has_wild_residuals_and_nothing_else():
    check = study("slopes").reml.check()
    bad = check.findings[check.findings["severity"] != OK]
    assert bad["topic"].tolist() == ["residuals", "outliers"]
    assert "row label 56 (+5.5 sd)" in bad["finding"].iloc[1]
    assert check.tables["residuals"].shape == (180, 7)
    assert len(check.tables["qq"]) == len(check.tables["scale_location"]) == 180
    assert len(check.tables["influence of Subject"]) == len(check.tables["effects of Subject"]) == 18


def test_a_singular_fit_is_named():
    found = topic(study("singular").reml.check(), "boundary").iloc[0]
    assert found["severity"] == WARNING
    assert "Batch has no variance" in found["finding"]
    assert found["figure"] == 0.0


def test_the_distance_from_the_boundary_is_that_of_the_table():
    for name in ("intercepts", "uncorrelated"):
        fit = study(name).reml
        table = fit.varcorr.set_index("group")["sdcor"]
        smallest = table[table.index != "Residual"].min() / fit.sigma
        found = topic(fit.check(), "boundary").iloc[0]
        assert found["figure"] == pytest.approx(smallest)
        assert f"is {smallest:.2g} times the residual one" in found["finding"]
    slopes = study("slopes").reml
    half = np.linalg.cholesky(slopes.covariance)
    expected = np.linalg.svd(half / slopes.sigma, compute_uv=False)[-1]
    assert topic(slopes.check(), "boundary")["figure"].iloc[0] == pytest.approx(expected)


def test_a_slope_of_a_predictor_that_does_not_vary_within_levels_is_named():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(30), 5)
    data = pd.DataFrame({"g": g, "sex": np.where(g % 2, "f", "m"), "x": rng.normal(size=150)})
    data["y"] = rng.normal(size=30)[g] * (1 + g % 2) + data["x"] + rng.normal(size=150)
    fit = quiet(hb.Model("y ~ x + sex + (sex | g)", data).reml)
    assert not fit.singular
    found = topic(fit.check(), "identification").iloc[0]
    assert found["severity"] == WARNING
    assert found["finding"].startswith("The data cannot tell the variances and correlations of g apart")
    assert "does not vary within g (sex[m])" in found["next"]
    assert "use (1 | g)" in found["next"]
    assert "cannot tell the variances and correlations of g apart" in repr(fit)
    for fine in ("y ~ x + sex + (1 | g)", "y ~ x + sex + (x | g)"):
        good = quiet(hb.Model(fine, data).reml)
        assert topic(good.check(), "identification").empty
        assert "cannot tell" not in repr(good)


@pytest.mark.parametrize("index", [np.arange(500, 740), [f"id{k}" for k in range(240)], [3] * 240])
def test_rows_are_called_by_their_own_labels(index):
    data, _ = simulated()
    data["y"] = data["mean"] + data["e"]
    data.loc[37, "y"] += 8.0
    data.loc[[2, 5, 11], "y"] = np.nan
    data.index = index
    fit = quiet(lambda: hb.Model("y ~ x + (1 | g)", data).reml())
    table = fit.residuals_table()
    kept = data[data["y"].notna()]
    assert table["row"].tolist() == kept.index.tolist()
    assert table["observed"].tolist() == kept["y"].tolist()
    said = topic(fit.check(), "outliers")["finding"].iloc[0]
    assert f"row label {data.index[37]} (" in said


def test_few_levels_are_not_called_influential_for_being_few():
    # the mean of independent levels: Cook's distance is Beta(1/2, (J - 2)/2)
    rng = np.random.default_rng(9)
    J, sets = 6, 20_000
    y = rng.normal(size=(sets, J))
    cook = J * (y - y.mean(axis=1, keepdims=True)) ** 2 / ((J - 1) ** 2 * y.var(axis=1, ddof=1)[:, None])
    share = (cook > cook_limit(J)).any(axis=1).mean()
    assert 0.9 * CHANCE < share < 1.02 * CHANCE + 3.0 * np.sqrt(CHANCE / sets)
    assert (cook > COOK).any(axis=1).mean() > 0.2
    # and of the models themselves
    noted = 0
    for seed in range(30):
        data, rng = simulated(48, 6, seed)
        noted += topic(check_of(data.assign(y=data["mean"] + data["e"])), "influence")["severity"].ne(OK).any()
    assert noted <= 6
    pair, _ = simulated(40, 2)
    said = topic(check_of(pair.assign(y=pair["mean"] + pair["e"] + 5.0 * pair["g"]), "y ~ 1 + (1 | g)"), "influence")
    assert (said["severity"] == OK).all()
    assert "two levels" in said["finding"].iloc[0]


def test_rows_left_out_are_named():
    found = topic(study("gaps").reml.check(), "rows").iloc[0]
    assert (found["severity"], found["figure"]) == (NOTE, 3)
    assert found["finding"].startswith("3 of 180 rows were left out for missing values in Reaction")


def test_good_data_pass():
    data, _ = simulated()
    check = check_of(data.assign(y=data["mean"] + data["e"]))
    assert check.worst == OK


def test_residuals_that_widen_are_found():
    data, _ = simulated()
    check = check_of(data.assign(y=data["mean"] + data["e"] * np.exp(0.6 * data["x"] - 1.8)))
    found = topic(check, "spread").iloc[0]
    assert found["severity"] == WARNING
    # sd(e) grows by exp(0.6) for each unit of x, and the fitted value by about 1
    low, high = check.tables["scale_location"]["fitted"].quantile([0.1, 0.9])
    assert 1.5 < found["figure"] < np.exp(0.6 * (high - low))


def test_an_outlying_row_is_named():
    data, _ = simulated()
    y = data["mean"] + data["e"]
    y[37] += 8.0
    found = topic(check_of(data.assign(y=y)), "outliers").iloc[0]
    assert found["severity"] == WARNING
    assert "1 of 240 residuals" in found["finding"]
    assert "row label 37 " in found["finding"]


def test_an_outlying_level_is_named():
    data, _ = simulated()
    y = data["mean"] + data["e"] + 9.0 * (data["g"] == 5)
    check = check_of(data.assign(y=y))
    found = topic(check, "random effects")
    assert found["finding"].str.contains("Level 5 of g stands out").any()
    assert "tables['qq of g']" in found["next"].iloc[0]
    assert "rows" not in found["next"].iloc[0]
    points = check.tables["qq of g"]
    assert points["sample"].tolist() == sorted(check.tables["effects of g"]["Intercept"])
    assert set(points["term"]) == {"Intercept"}


def test_an_influential_level_is_named_with_the_exact_change():
    data, _ = simulated(n=60, groups=6)
    data["x"] = np.array([1.0, 2.0, 20.0, 3.0, 4.0, 5.0])[data["g"]]
    data["y"] = data["x"] + data["e"] - 30.0 * (data["g"] == 2)
    model = hb.Model("y ~ x + (1 | g)", data)
    fit = quiet(model.reml)
    found = topic(fit.check(), "influence").iloc[0]
    assert found["severity"] == WARNING
    smaller = quiet(hb.Model("y ~ x + (1 | g)", data[data["g"] != 2]).reml)
    assert found["finding"].startswith("Level 2 of g moves the fixed effects most")
    assert f"{smaller.fixef['x']:.4g} instead of {fit.fixef['x']:.4g}" in found["finding"]


def test_predictors_that_say_the_same_are_named():
    data, rng = simulated()
    data = data.assign(y=data["mean"] + data["e"], twin=data["x"] + 0.05 * rng.normal(size=240))
    found = topic(check_of(data, "y ~ x + twin + (1 | g)"), "collinearity").iloc[0]
    assert found["severity"] == WARNING
    assert "x" in found["finding"]
    assert "twin" in found["finding"]
    crossed = topic(study("categories").reml.check(), "collinearity").iloc[0]
    assert crossed["severity"] == NOTE
    assert "centre" in crossed["next"]
    powers = topic(check_of(data.assign(x10=data["x"] + 10), "y ~ x10 + I(x10**2) + (1 | g)"), "collinearity").iloc[0]
    assert powers["severity"] == NOTE
    assert "centre" in powers["next"]
    far = topic(check_of(data.assign(year=data["x"] + 2000), "y ~ year + (1 | g)"), "collinearity")
    assert far["finding"].str.contains("far from zero").any()


def test_of_many_residuals_the_shape_counts_and_not_a_test():
    rng = np.random.default_rng(6)
    n = 6000
    data = pd.DataFrame({"g": np.repeat(np.arange(60), 100), "e": rng.normal(size=n), "t": rng.standard_t(4, size=n)})
    level = rng.normal(size=60)[data["g"]]
    fine = topic(check_of(data.assign(y=level + data["e"]), "y ~ 1 + (1 | g)"), "residuals").iloc[0]
    assert fine["severity"] == OK
    assert "with 6000 of them a test of normality would reject any data" in fine["finding"]
    heavy = topic(check_of(data.assign(y=level + data["t"]), "y ~ 1 + (1 | g)"), "residuals").iloc[0]
    assert heavy["severity"] == WARNING


def test_a_posterior_of_good_data_passes(fit_sleepstudy):
    check = check_posterior(fit_sleepstudy)
    own = check.findings[~check.findings["finding"].str.startswith("Of the REML fit")]
    assert (own["severity"] == OK).all()
    assert own["topic"].tolist() == ["convergence", "energy", "prior sensitivity", "prior", "predictive"]
    assert "of 76 means" in own["finding"].iloc[-1]
    assert "at most 3.8 are to be expected" in own["finding"].iloc[-1]
    assert {"convergence", "prior_sensitivity", "priors", "overruled", "predictive"} <= set(check.tables)


def test_a_posterior_is_asked_what_its_reml_fit_is_asked(fit_sleepstudy):
    check, reml = fit_sleepstudy.check(), fit_sleepstudy.reml.check()
    of = check.findings[check.findings["finding"].str.startswith("Of the REML fit: ")]
    asked = reml.findings[reml.findings["topic"] != "convergence"]
    assert of["topic"].tolist() == asked["topic"].tolist()
    assert of["severity"].tolist() == asked["severity"].tolist()
    assert {"residuals", "random effects", "influence", "collinearity", "boundary"} <= set(of["topic"])
    assert set(reml.tables) < set(check.tables)
    unsure = replace(fit_sleepstudy.reml, optimum=replace(fit_sleepstudy.reml.optimum, converged=False))
    said = topic(check_posterior(replace(fit_sleepstudy, reml=unsure)), "residuals")
    assert said["finding"].tolist() == [
        "The REML fit of the same model has not converged, so its residuals and influence were not looked at."
    ]


def test_chains_that_disagree_are_a_problem(fit_sleepstudy):
    idata = fit_sleepstudy.idata.copy()
    posterior = idata["posterior"].to_dataset().copy(deep=True)
    posterior["sigma"][0] += 10.0
    idata["posterior"] = posterior
    stats = idata["sample_stats"].to_dataset().copy(deep=True)
    rng = np.random.default_rng(0)
    stats["energy"][:] = np.cumsum(rng.normal(size=stats["energy"].shape), axis=1)
    idata["sample_stats"] = stats
    broken = hb.Fit(fit_sleepstudy.design, fit_sleepstudy.priors, idata, fit_sleepstudy.marginal, fit_sleepstudy.reml)
    check = broken.check()
    assert check.worst == PROBLEM
    assert topic(check, "convergence")["finding"].str.contains("R-hat of 'sigma'").any()
    assert (topic(check, "convergence")["severity"] == PROBLEM).all()
    assert topic(check, "energy")["severity"].tolist() == [WARNING]


def test_a_correlation_that_the_data_do_not_tell_hugs_its_prior():
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(8), 4), np.tile([-1.5, -0.5, 0.5, 1.5], 8)
    y = rng.normal(size=8)[g] + x + rng.normal(size=32)
    fit = quiet(hb.Model("y ~ x + (x | g)", pd.DataFrame({"g": g, "x": x, "y": y})).fit)
    said = topic(fit.check(), "prior")
    assert said["finding"].str.contains(r"corr\(Intercept, x\) of g is all but its prior LKJ").any()


def test_an_absurd_prior_is_noted_beside_the_posterior():
    said = topic(study("categories").fit.check(), "prior")
    assert not said["next"].str.contains("give a prior").any()
    assert said["finding"].str.contains("The prior of Intercept, Normal.* times wider than the response").any()


def test_ten_thousand_levels_are_checked():
    made = study("crowd")
    assert topic(made.reml.check(), "influence")["severity"].isin([OK, NOTE]).all()
    assert {"convergence", "predictive"} <= set(made.fit.check().findings["topic"])
    assert model_of("crowd").design.n > 20_000
