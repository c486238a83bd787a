"""What a check says, of fits about which the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fixtures_report import STUDIES, study
from test_influence import model_of, quiet

import hierbayes as hb
from hierbayes.checks.check import NOTE, OK, PROBLEM, WARNING, Check, Verdict
from hierbayes.checks.check_posterior import check_posterior

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
    assert "row 56 (+5.5 sd)" in bad["finding"].iloc[1]
    assert check.tables["residuals"].shape == (180, 7)
    assert len(check.tables["qq"]) == len(check.tables["scale_location"]) == 180
    assert len(check.tables["influence of Subject"]) == len(check.tables["effects of Subject"]) == 18


def test_a_singular_fit_is_named():
    found = topic(study("singular").reml.check(), "boundary").iloc[0]
    assert found["severity"] == WARNING
    assert "Batch has no variance" in found["finding"]
    assert found["figure"] == 0.0


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
    assert "row 37" in found["finding"]


def test_an_outlying_level_is_named():
    data, _ = simulated()
    y = data["mean"] + data["e"] + 9.0 * (data["g"] == 5)
    found = topic(check_of(data.assign(y=y)), "random effects")
    assert found["finding"].str.contains("Level 5 of g stands out").any()


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
    assert check.worst == OK
    assert check.findings["topic"].tolist() == ["convergence", "energy", "prior sensitivity", "prior", "predictive"]
    assert set(check.tables) == {"convergence", "prior_sensitivity", "priors", "predictive"}


def test_chains_that_disagree_are_a_problem(fit_sleepstudy):
    idata = fit_sleepstudy.idata.copy()
    posterior = idata["posterior"].to_dataset().copy(deep=True)
    posterior["sigma"][0] += 10.0
    idata["posterior"] = posterior
    stats = idata["sample_stats"].to_dataset().copy(deep=True)
    rng = np.random.default_rng(0)
    stats["energy"][:] = np.cumsum(rng.normal(size=stats["energy"].shape), axis=1)
    idata["sample_stats"] = stats
    broken = hb.Fit(fit_sleepstudy.design, fit_sleepstudy.priors, fit_sleepstudy.marginal, idata, fit_sleepstudy.reml)
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
    assert said["finding"].str.contains("The prior of Intercept, Normal.* times wider than the response").any()


def test_ten_thousand_levels_are_checked():
    made = study("crowd")
    assert topic(made.reml.check(), "influence")["severity"].isin([OK, NOTE]).all()
    assert {"convergence", "predictive"} <= set(made.fit.check().findings["topic"])
    assert model_of("crowd").design.n > 20_000
