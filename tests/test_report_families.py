"""The report of responses that are not Gaussian: numbers against lme4 and the fits, words against the link."""

from __future__ import annotations

import json
import math
import re
import shlex
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from fixtures_report import Page, close, number, sections_page
from scipy import stats

import hierbayes as hb
from hierbayes.cli import app
from hierbayes.errors import HierbayesError, HierbayesWarning, SingularFit
from hierbayes.plots import estimates_figure, shrinkage_figure
from hierbayes.report import provenance, sections
from hierbayes.report.coefficients import in_words
from hierbayes.report.differences import differences
from hierbayes.report.estimates import Estimate, Side, side_by_side
from hierbayes.report.method import laplace
from hierbayes.report.numbers import brief
from hierbayes.report.problems import problems
from hierbayes.report.symbols import equations

ROUNDED = 1.1e-3
"""Numbers of a page have three decimals here, and lme4's and ours may differ by 1e-4."""


def _cbpp() -> hb.Model:
    return hb.Model("p(incidence, size) ~ period + (1 | herd)", hb.load_data("cbpp"), family="binomial")


def _visits() -> hb.Model:
    """Visits to 15 clinics in different numbers of days, with slopes."""
    rng = np.random.default_rng(3)
    g, x, days = np.repeat(np.arange(15), 8), rng.normal(size=120), rng.uniform(1, 10, 120)
    b = rng.normal(size=(15, 2)) * [0.5, 0.3]
    y = rng.poisson(days * np.exp(-0.5 + b[g, 0] + (0.4 + b[g, 1]) * x))
    data = pd.DataFrame({"visits": y, "x": x, "days": days, "clinic": g, "arm": np.where(g % 2, "new", "old")})
    return hb.Model("visits ~ x + arm + offset(np.log(days)) + (x | clinic)", data, family="poisson")


def _ratings() -> hb.Model:
    """Ratings by 12 judges in four ordered categories."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(12), 8), rng.normal(size=96)
    latent = x + rng.normal(size=12)[g] + rng.logistic(size=96)
    rating = pd.cut(latent, [-np.inf, -1, 0.5, 2, np.inf], labels=["poor", "fair", "good", "excellent"])
    data = pd.DataFrame({"rating": rating, "x": x, "judge": g})
    return hb.Model("rating ~ x + (1 | judge)", data, family="cumulative")


def _food() -> hb.Model:
    """Three kinds of food in ten lakes: a family without a maximum of the likelihood."""
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(10), 10), rng.normal(size=100)
    food = np.where(rng.logistic(size=100) < x - 1, "fish", np.where(rng.uniform(size=100) < 0.5, "bird", "other"))
    return hb.Model("food ~ x + (1 | lake)", pd.DataFrame({"food": food, "x": x, "lake": g}), family="categorical")


MODELS = {"cbpp": _cbpp, "visits": _visits, "ratings": _ratings, "food": _food}
EVERY = pytest.mark.parametrize("name", MODELS)
WITH_ML = pytest.mark.parametrize("name", ["cbpp", "visits", "ratings"])


@cache
def study(name: str) -> SimpleNamespace:
    """A model, its ML fit if there is one, a short posterior, and the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # short runs on purpose
        model = MODELS[name]()
        fit = model.fit(draws=150, tune=200, chains=2, seed=1, progress=False)
        ml = None if name == "food" else model.ml()
        return SimpleNamespace(model=model, fit=fit, ml=ml, page=sections_page(model, fit))


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells of the table of estimates by parameter."""
    table = next(rows for rows in Page(text).tables if "Posterior" in " ".join(rows[0]) and "Parameter" in rows[0][0])
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in table[2:] if len(row) > 1}


# --- the whole page ---------------------------------------------------------------------------


@EVERY
def test_page_is_whole_and_speaks_of_no_gaussian_things(name):
    text = study(name).page
    read = Page(text)
    assert len(read.ids) == len(set(read.ids))
    assert not {"script", "link", "img"} & {tag for tag, _ in read.elements}
    after = "(elpd) of what is left out" if name == "food" else "Where the variance is"
    estimates = read.text[: read.text.index(after)]
    for word in ("REML", "BLUPs?", "residuals", "Satterthwaite"):
        assert not re.search(rf"\b{word}\b", estimates), word
    for word in ("REML fit", "BLUP", "Satterthwaite", "nan", "None"):
        own = read.text[: read.text.index("The hierbayes developers")]
        assert not re.search(rf"\b{word}\b", own), word
    assert "ε" not in text
    assert len(read.all("svg")) == len(read.all("figcaption")) > 2


@EVERY
def test_every_estimate_is_in_the_table(name):
    made = study(name)
    rows = rows_of(made.page)
    columns = ["estimate", "std_error", "conf_low", "conf_high"]
    posterior = made.fit.tidy()
    assert list(rows) == posterior["term"].tolist()
    for k, (_, b) in enumerate(posterior.iterrows()):
        wanted = b[columns].tolist()
        if made.ml is not None:
            a = made.ml.tidy().iloc[k]
            wanted = [*a[columns], *wanted, (a["estimate"] - b["estimate"]) / b["std_error"]]
        assert len(rows[b["term"]]) == len(wanted)
        assert all(close(text, value) for text, value in zip(rows[b["term"]], wanted, strict=True))


@WITH_ML
def test_effects_of_every_level_are_in_the_table(name):
    made = study(name)
    (factor,) = made.model.design.factors
    posterior = made.fit.ranef()[factor.name]
    tables = [table for table in Page(made.page).tables if table[0][0].strip() == "Level"]
    assert len(tables) == made.ml.ranef[factor.name].shape[1]
    for effect, table in zip(made.ml.ranef[factor.name], tables, strict=True):
        for row in table[2:]:
            level = row[0].strip()
            wanted = [made.ml.ranef[factor.name].loc[level, effect], made.ml.ranef_sd[factor.name].loc[level, effect]]
            wanted += posterior.loc[(level, effect), ["mean", "sd", "q2.5", "q97.5"]].tolist()
            assert all(close(cell.strip(), value) for cell, value in zip(row[2:], wanted, strict=True))


@pytest.mark.parametrize(("nagq", "key"), [(1, "cbpp_laplace"), (25, "cbpp_agq25")])
def test_maximum_of_cbpp_is_that_of_lme4(nagq, key, shared):
    wanted = json.loads(shared("reference/lme4.json").read_text())["glmm"][key]
    made = study("cbpp")
    text = made.page if nagq == 1 else sections_page(made.model, made.fit, nagq=nagq)
    rows = rows_of(text)
    assert f"{laplace(nagq).name}: 95% Wald intervals" in Page(text).text
    for label, ours in (("(Intercept)", "Intercept"), ("period2", "period[2]"), ("period4", "period[4]")):
        assert abs(number(rows[ours][0]) - wanted["fixef"][label]) < ROUNDED
        assert abs(number(rows[ours][1]) - wanted["se"][label]) < ROUNDED
    assert abs(number(rows["sd(Intercept)"][0]) - wanted["varcorr"][0]["sdcor"]) < ROUNDED
    if nagq == 1:
        criterion = re.search(r"−2 log likelihood ([\d.]+)\.", Page(text).text)[1]
        assert abs(float(criterion) - wanted["criterion"]) < ROUNDED
        odds = np.exp(wanted["fixef"]["period2"])
        assert f"The odds of incidence are {brief(odds)} times as high for period 2 as for 1." in text
    else:
        assert "fit=fit, nagq=25)" in Page(text).text
        assert "--nagq 25" in Page(text).text


def test_quadrature_that_cannot_be_had_is_refused(tmp_path):
    made = study("visits")
    with pytest.raises(HierbayesError, match="nagq=5"):
        hb.report(made.model, tmp_path / "x.html", fit=made.fit, nagq=5)
    gaussian = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    with pytest.raises(ValueError, match="nagq"):
        hb.report(gaussian, tmp_path / "x.html", nagq=5)
    with pytest.raises(ValueError, match="another model"):
        hb.report(hb.Model(made.model.formula, made.model.data, family="negativebinomial"), "x.html", fit=made.fit)
    assert list(tmp_path.iterdir()) == []


def test_a_family_without_maximum_likelihood_is_reported_by_its_posterior():
    read = Page(study("food").page)
    with pytest.raises(HierbayesError) as refused:
        study("food").model.ml()
    assert f"There is no maximum-likelihood fit beside the posterior. {refused.value}" in read.text
    assert not re.search(r"\bML\b", read.text)
    assert read.text.startswith("food by lake: posterior")
    assert "Gap" not in read.text
    assert "The posterior uses these priors:" in read.text
    assert "Every other outcome has coefficients and random effects of its own" in read.text
    mean = study("food").fit.tidy().set_index("term")["estimate"]["x[fish]"]
    odds = brief(math.exp(mean))
    assert (
        f"The odds of food = fish rather than food = bird are multiplied by {odds} for each unit of x." in read.text
    )


# --- words ------------------------------------------------------------------------------------


def test_data_model_and_priors_of_counts_of_successes():
    read = Page(study("cbpp").page)
    assert read.text.startswith("incidence by herd: ML and posterior")
    assert "99 successes in 842 trials, 11.8%." in read.text
    roles = {row[0].strip(): row[1] for row in read.table("Variable")[1:]}
    assert roles["incidence"] == "response: successes"
    assert roles["size"] == "response: trials"
    assert "incidence has a binomial distribution." in read.text
    assert "What the formula describes is the logit (log odds) of the probability of incidence." in read.text
    assert "p is the probability of incidence, n the number of trials." in read.text
    assert "Coefficients compare rows of the same level of herd, or of average levels" in read.text
    assert "The prior of the intercept refers to the linear predictor at the mean" in read.text


def test_a_poisson_response_with_offset_and_slopes():
    read = Page(study("visits").page)
    ml = study("visits").ml.tidy().set_index("term")
    zeros = int((study("visits").model.design.y == 0).sum())
    assert f"visits is 0 in {zeros} rows" in read.text
    assert "A known offset, np.log(days), is added to the linear predictor." in read.text
    ratio = brief(math.exp(ml["estimate"]["x"]))
    assert f"The mean of visits is multiplied by {ratio} for each unit of x." in read.text
    centre, sd = ml["estimate"]["x"], ml["estimate"]["sd(x)"]
    ends = [brief(math.exp(centre + sign * 1.96 * sd)) for sign in (-1, 1)]
    assert f"then have a ratio for each unit of x between {ends[0]} and {ends[1]}." in read.text
    assert "correlation of Intercept, x" in read.text


def test_an_ordinal_response_has_thresholds():
    read = Page(study("ratings").page)
    sizes = np.bincount(study("ratings").model.design.y.astype(int))
    levels = ["poor", "fair", "good", "excellent"]
    listed = " < ".join(f"{level} ({size})" for level, size in zip(levels, sizes, strict=True))
    assert f"rating has 4 ordered categories; rows of each: {listed}." in read.text
    kinds = [row[0].strip() for table in read.tables for row in table if len(row) == 1]
    assert kinds == ["Fixed effects", "Standard deviations", "Thresholds"]
    assert "with thresholds in place of an intercept" in read.text
    listed = {row["label"]: row for row in sections.priors_section(study("ratings").model, run())["rows"]}
    assert [f"threshold[{k}]" in listed for k in range(4)] == [True, True, True, False]
    assert "The odds of a higher rating are multiplied by" in read.text


def run():
    return provenance.run_of(study("cbpp").fit)


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "z"])
    data = data.assign(
        a=rng.choice(["p", "q"], 60), g=np.tile(list("ABCDEF"), 10), k=rng.poisson(2, 60), n=9,
        yes=rng.choice(["yes", "no"], 60), one=rng.integers(0, 2, 60), u=rng.uniform(0.1, 0.9, 60),
        c=pd.Categorical(rng.choice(list("lmh"), 60), categories=list("lmh"), ordered=True), w=rng.gamma(2, size=60),
    )  # fmt: skip
    return data.assign(s=np.minimum(data["k"], 9))


def estimate(label, value, width=1.0):
    """A parameter with estimates of which the posterior is a little nearer to zero."""
    a, b = (Side(v, width, v - 2 * width, v + 2 * width) for v in (value, value * 0.9))
    return Estimate("fixed", label, label, a, b, method="ML")


SAID = [
    ("one ~ x", "bernoulli", None, "x", 1.5, "The odds of one = 1 are multiplied by 4.48 for each unit of x."),
    ("yes ~ x", "bernoulli", None, "x", 1.5, "The odds of yes = no are multiplied by 4.48 for each unit of x."),
    ("p(s, n) ~ a", "binomial", None, "a[q]", -1.5, "The odds of s are 0.223 times as high for a q as for p."),
    ("p(s, n) ~ a * x", "binomial", None, "x", 1.5,
     "The odds of s are multiplied by 4.48 for each unit of x where a is p."),
    ("p(s, n) ~ a * x", "binomial", None, "a[q]:x", 1.5,
     "The odds ratio for each unit of x is 4.48 times as high for a q as for p."),
    ("p(s, n) ~ a:x", "binomial", None, "a[q]:x", 1.5,
     "The odds of s are multiplied by 4.48 for each unit of x for a q."),
    ("p(s, n) ~ 1", "binomial", None, "Intercept", 1.5, "In an average level of g, the probability of s is 0.818."),
    ("p(s, n) ~ 0 + a", "binomial", None, "a[q]", 1.5,
     "In an average level of g, the probability of s for a q is 0.818."),
    ("p(s, n) ~ 0 + a + x", "binomial", None, "a[q]", 1.5,
     "In an average level of g, the probability of s for a q is 0.818 where x is 0."),
    ("k ~ 0 + a + x + offset(z)", "poisson", None, "a[q]", 1.5,
     "In an average level of g, the mean of k for a q is 4.48 where x is 0 and the offset is 0."),
    ("z ~ 0 + a + x", "gaussian", None, "a[q]", 1.5, "The average z for a q is 1.500 where x is 0."),
    ("p(s, n) ~ x", "binomial", "probit", "x", 1.5,
     "The probit of the probability of s is 1.500 higher for each unit of x."),
    ("p(s, n) ~ 1", "binomial", "probit", "Intercept", 1.5,
     "In an average level of g, the probability of s is 0.933."),
    ("p(s, n) ~ 1", "binomial", "cloglog", "Intercept", -1.5,
     "In an average level of g, the probability of s is 0.200."),
    ("p(s, n) ~ x", "binomial", "identity", "x", 1.5, "The probability of s is 1.500 higher for each unit of x."),
    ("k ~ x", "poisson", None, "x", -1.5, "The mean of k is multiplied by 0.223 for each unit of x."),
    ("k ~ a", "poisson", None, "a[q]", 1.5, "The mean of k is 4.48 times as high for a q as for p."),
    ("k ~ 1", "poisson", None, "Intercept", 1.5, "In an average level of g, the mean of k is 4.48."),
    ("k ~ 1 + offset(z)", "negativebinomial", None, "Intercept", 1.5,
     "In an average level of g, the mean of k is 4.48 where the offset is 0."),
    ("k ~ x", "zero_inflated_poisson", None, "x", 1.5,
     "The mean of k where it is not an extra zero is multiplied by 4.48 for each unit of x."),
    ("w ~ x", "gamma", None, "x", 1.5, "The inverse of the mean of w is 1.500 higher for each unit of x."),
    ("w ~ 1", "gamma", None, "Intercept", 1.5, "In an average level of g, the inverse of the mean of w is 1.500."),
    ("w ~ x", "lognormal", None, "x", 1.5, "The mean of the logarithm of w is 1.500 higher for each unit of x."),
    ("u ~ x", "beta", None, "x", 1.5, "The odds of the mean of u are multiplied by 4.48 for each unit of x."),
    ("z ~ x", "t", None, "x", -1.5, "The location of z is 1.500 lower for each unit of x."),
    ("z ~ a", "t", None, "a[q]", -1.5, "The location of z is 1.500 lower for a q than for p."),
    ("z ~ 1", "t", None, "Intercept", -1.5, "In an average level of g, the location of z is −1.50."),
    ("c ~ x", "cumulative", None, "x", 1.5, "The odds of a higher c are multiplied by 4.48 for each unit of x."),
    ("c ~ x", "sratio", None, "x", 1.5,
     "The odds of going on to a higher c at any step are multiplied by 4.48 for each unit of x."),
    ("c ~ x", "cumulative", "probit", "x", 1.5,
     "The linear predictor of c (probit link) is 1.500 higher for each unit of x."),
    ("c ~ x", "categorical", None, "x[m]", 1.5,
     "The odds of c = m rather than c = l are multiplied by 4.48 for each unit of x."),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "family", "link", "label", "value", "claim"), SAID)
def test_coefficients_in_words(formula, family, link, label, value, claim):
    data = frame()
    model = hb.Model(f"{formula} + (1 | g)", data, family=family, link=link)
    found = in_words(estimate(label, value, 0.5), model.design, data, "95%", sections.references(model.design, data))
    assert found.claim == claim
    assert found.evidence.startswith(f"ML {'−' * (value < 0)}1.500, 95% interval ")


def test_ratios_have_the_ends_of_the_intervals():
    model = hb.Model("p(s, n) ~ x + (1 | g)", data := frame(), family="binomial")
    said = in_words(estimate("x", 1.5, 0.5), model.design, data, "95%", {}).evidence
    ends = [f"{brief(math.exp(v))} ({brief(math.exp(v - 1))} to {brief(math.exp(v + 1))})" for v in (1.5, 1.35)]
    assert said.endswith(f"Both intervals exclude zero. As odds ratios: ML {ends[0]}, posterior {ends[1]}.")
    unsettled = in_words(estimate("x", 0.5, 0.5), model.design, data, "95%", {})
    assert unsettled.claim == "The data do not settle the direction of the effect of x."
    intercept = hb.Model("p(s, n) ~ 1 + (1 | g)", data, family="binomial", link="probit")
    said = in_words(estimate("Intercept", 1.5, 0.5), intercept.design, data, "95%", {}).evidence
    assert f"As probability of s: ML {brief(stats.norm.cdf(1.5))} ({brief(stats.norm.cdf(0.5))} to" in said


def test_exponentials_of_interactions_are_ratios_of_ratios():
    for left, family, right, label, words in [
        ("p(s, n)", "binomial", "a * x", "a[q]:x", " As ratios of odds ratios: ML 4.48"),
        ("k", "poisson", "x * z", "x:z", " As ratios of ratios: ML 4.48"),
        ("p(s, n)", "binomial", "a:x", "a[q]:x", " As odds ratios: ML 4.48"),
    ]:
        model = hb.Model(f"{left} ~ {right} + (1 | g)", data := frame(), family=family)
        known = sections.references(model.design, data)
        assert words in in_words(estimate(label, 1.5, 0.5), model.design, data, "95%", known).evidence


def test_a_boolean_response_is_true():
    data = frame().assign(b=lambda d: d["one"] == 1)
    design = hb.Model("b ~ x + (1 | g)", data, family="bernoulli").design
    found = in_words(estimate("x", 1.5, 0.5), design, data, "95%", {})
    assert found.claim == "The odds of b = True are multiplied by 4.48 for each unit of x."


def test_a_fit_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"give the model: hb.report\(model, fit=fit\)"):
        hb.report(study("visits").fit, tmp_path / "x.html")


def test_deviations_of_levels_as_ratios():
    made = study("cbpp")
    rows = side_by_side(made.ml.tidy(), made.fit.tidy(), "ML")
    (said,) = differences(made.ml, made.fit, rows, "95%", {})
    sd = made.ml.tidy()["estimate"].iloc[-1]
    assert said.claim == (
        f"The standard deviation of intercepts between the levels of herd is estimated at {sd:.3f} on the log-odds "
        "scale."
    )
    share = sd**2 / (sd**2 + math.pi**2 / 3)
    draws = made.fit.parameter_draws()["ran_pars", "herd", "sd(Intercept)"].to_numpy() ** 2
    shares = draws / (draws + math.pi**2 / 3)
    low, high = np.quantile(shares, [0.025, 0.975])
    assert said.evidence.endswith(
        f"On the latent scale (residual variance: π²/3) differences between levels make up {share:.0%} by ML, "
        f"{shares.mean():.0%} in the posterior, 95% interval {low:.0%} to {high:.0%}, of the variance that the "
        "predictors leave."
    )
    ends = [brief(math.exp(sign * 1.96 * sd)) for sign in (-1, 1)]
    assert f"the odds of incidence then lie between {ends[0]} and {ends[1]} times those of" in said.evidence


def test_a_singular_maximum_is_said_first():
    data = pd.DataFrame({"y": [0, 1] * 20, "g": np.repeat(np.arange(10), 4)})
    model = hb.Model("y ~ 1 + (1 | g)", data, family="bernoulli")
    with pytest.warns(SingularFit):
        ml = model.ml()
    posterior = ml.tidy().assign(estimate=0.3, std_error=0.2, conf_low=0.1, conf_high=0.7)
    fit = SimpleNamespace(design=model.design, convergence=SimpleNamespace(problems=()))
    rows = side_by_side(ml.tidy(), posterior, "ML")
    (said,) = problems(ml, fit, rows, laplace())
    assert said.claim == "The ML fit is singular."
    assert said.evidence.startswith("By ML, sd(Intercept) is 0, the end of its range")
    assert "the conditional modes take the boundary as known" in said.evidence
    (group,) = differences(ml, fit, rows, "95%", {})
    assert group.claim == "The data do not settle whether intercepts differ between the levels of g."
    section = sections.estimates_section(rows, ml, model.design, laplace())
    assert (section["singular"], section["undefined"]) == (True, False)
    failed = replace(ml, optimum=replace(ml.optimum, converged=False, message="nothing found"))
    assert problems(failed, fit, rows, laplace())[0].claim == "The ML fit did not converge."


EQUATIONS = [
    ("p(s, n) ~ x", "binomial", None, ["yij∼Binomial(nij,pij)", "logit(pij)=β0+b0j+β1xij"]),
    ("k ~ x + offset(z)", "negativebinomial", None, ["yij∼NegativeBinomial(μij,α)", "log(μij)=β0+b0j+β1xij+oij"]),
    ("w ~ x", "gamma", None, ["yij∼Gamma(μij,α)", "1/μij=β0+b0j+β1xij"]),
    ("w ~ x", "wald", None, ["yij∼Wald(μij,λ)", "1/μij2=β0+b0j+β1xij"]),
    ("z ~ x", "t", None, ["yij∼StudentT(μij,σ,ν)", "μij=β0+b0j+β1xij"]),
    ("c ~ x", "cumulative", None, ["logit(P(yij≤k))=θk−ηij", "ηij=β1xij+b0j"]),
    ("c ~ x", "sratio", "probit", ["probit(P(yij=k|yij≥k))=θk−ηij", "ηij=β1xij+b0j"]),
    ("c ~ x", "categorical", None, ["yij∼Categorical(pij)", "log(pijo/pij1)=β0+b0j+β1xij"]),
]


@pytest.mark.parametrize(("formula", "family", "link", "wanted"), EQUATIONS)
def test_equations(formula, family, link, wanted):
    model = hb.Model(f"{formula} + (1 | g)", frame(), family=family, link=link)
    made = equations(model.design, sections.categorical(model.data))
    assert ["".join(ET.fromstring(equation).itertext()) for equation in made] == [*wanted, "b0j∼N(0,τ02)"]


def test_parameters_of_the_family_have_priors_and_rows_of_their_own():
    model = hb.Model("z ~ x + (1 | g)", frame(), family="t", priors={"nu": 4})
    listed = {row["label"]: (row["prior"], row["origin"]) for row in sections.priors_section(model, run())["rows"]}
    assert listed["nu"] == ("held at 4", "given")
    assert listed["sigma"][1] == "automatic"
    tidy = pd.DataFrame(
        [("fixed", None, "x"), ("ran_pars", "g", "sd(Intercept)"), ("ran_pars", "Residual", "sigma"),
         ("ran_pars", "Residual", "nu")], columns=["effect", "group", "term"],
    ).assign(estimate=1.0, std_error=0.1, conf_low=0.8, conf_high=1.2)  # fmt: skip
    section = sections.estimates_section(side_by_side(None, tidy, ""), None, model.design, None)
    titles = {group["title"]: [row["label"] for row in group["rows"]] for group in section["groups"]}
    assert titles["Distribution of the response"] == ["sigma", "nu"]
    assert all(len(row["cells"]) == 4 for group in section["groups"] for row in group["rows"])


# --- figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [10, 80])
@pytest.mark.parametrize("with_modes", [True, False])
def test_effects_without_a_fit_of_each_level_are_drawn(levels, with_modes):
    rng = np.random.default_rng(1)
    mean = rng.normal(size=levels)
    table = pd.DataFrame({"group": "g", "effect": "Intercept", "level": np.arange(levels), "rows": 3, "mean": mean})
    table = table.assign(sd=0.5, **{"q2.5": mean - 1, "q97.5": mean + 1})
    if with_modes:
        table["blup"] = 0.9 * mean
    figure = shrinkage_figure(table, "g", "ML", "mode")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    if levels == 10:
        labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert labels == ["ML"] * with_modes + ["posterior mean and 95% interval"]
        drawn = [line.get_xdata() for line in shown[0].lines if line.get_marker() == "D"]
        assert np.allclose(drawn[0], np.sort(mean))
    else:
        assert len(shown) == 1 + with_modes
        assert np.allclose(shown[0].lines[0].get_ydata(), np.sort(mean))
        assert shown[-1].get_xlabel() == ("ML mode" if with_modes else "levels, by posterior mean")


def test_estimates_of_the_posterior_alone_are_drawn():
    figure = estimates_figure(None, study("food").fit.tidy())
    for axes in figure.axes:
        if axes.get_visible():
            assert [mark.get_text() for mark in axes.get_yticklabels()] in (["posterior"], [""])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["posterior"]


# --- reproduction -----------------------------------------------------------------------------


def test_the_command_of_the_report_makes_the_report_again(tmp_path, monkeypatch, capsys):
    text = "".join(Page(study("cbpp").page).words)
    command = re.search(r"^ *(hierbayes report .*)$", text, re.MULTILINE)[1]
    assert " --family binomial " in command
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command)[1:])
    assert (ended.value.code, capsys.readouterr().out) == (0, "wrote x.html\n")
    assert Path("x.html").read_text(encoding="utf-8") == study("cbpp").page


def test_the_code_of_the_report_makes_the_model_again():
    data = frame()
    model = hb.Model("p(s, n) ~ x + (1 | g)", data, family="binomial", link="probit")
    code = sections.reproduce_section(model, run(), Path("x.html"), None, 0.95)["code"]
    line = re.search(r"^model = (.*)$", code, re.MULTILINE)[1]
    again = eval(line, {"hb": hb, "data": data})
    assert again.family == model.family
    assert line == 'hb.Model("p(s, n) ~ x + (1 | g)", data, family="binomial", link="probit")'
    assert 'link="logit"' not in study("cbpp").page
