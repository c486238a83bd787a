"""The report: what it says against the fits, what kind of file it is, and how it fails."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import bambi as bmb
import numpy as np
import pandas as pd
import pytest
from fixtures_report import LEVELS, OPTIONS, STUDIES, Page, close, number, page, sections_page, study

import hierbayes as hb
from hierbayes.citations.references import REFERENCES
from hierbayes.citations.source import known_data
from hierbayes.cli import app
from hierbayes.errors import ConvergenceWarning, HierbayesWarning, OutputError, SingularFit
from hierbayes.report import provenance, sections
from hierbayes.report.agreement import agreement
from hierbayes.report.coefficients import in_words
from hierbayes.report.estimates import Estimate, Side, side_by_side
from hierbayes.report.findings import _series
from hierbayes.report.rows import row_facts
from hierbayes.report.symbols import equations

EVERY = pytest.mark.parametrize("name", sorted(STUDIES))
RUN = provenance.Run(1, 4, 1000, 1000, 0.95, 10, {})


# --- what kind of file ------------------------------------------------------------------------


@EVERY
def test_page_is_one_whole_accessible_document(name):
    text = page(name)
    read = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert read.all("html") == [{"lang": "en"}]
    assert len(read.all("title")) == len(read.all("h1")) == len(read.all("main")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")
    assert len(read.ids) == len(set(read.ids))
    headings = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    referred = [attrs["aria-labelledby"] for _, attrs in read.elements if "aria-labelledby" in attrs]
    referred += [attrs["href"][1:] for attrs in read.all("a")]
    assert referred
    assert set(referred) <= set(read.ids)


@EVERY
def test_page_asks_for_nothing_from_outside(name):
    text = page(name)
    read = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in read.elements}
    for _, attrs in read.elements:
        assert "src" not in attrs
        for key in ("href", "xlink:href"):
            assert str(attrs.get(key, "#")).startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    said = {entry.address for entry in REFERENCES.values()}  # as text, in the list of references
    assert set(re.findall(r"https?://[^\"'\s<>}]+", text)) <= said | {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    values = [str(value) for tag, attrs in read.elements if tag != "svg" for value in attrs.values()]
    assert not any(value.startswith("http") for value in values)


@EVERY
def test_tables_and_figures_are_described_and_scroll_on_their_own(name):
    read = Page(page(name))
    kinds = [tag for tag, _ in read.elements]
    pooled = bool(study(name).model.design.factors)
    assert kinds.count("table") == kinds.count("caption") >= (5 if pooled else 4)
    assert all(attrs.get("scope") for attrs in read.all("th"))
    for (tag, attrs), parents in zip(read.elements, read.parents, strict=True):
        if tag in ("table", "svg", "math"):
            assert "div" in parents
        if tag == "svg":
            assert attrs["role"] == "img"
            assert len(attrs["aria-label"]) > 30
    assert kinds.count("svg") == kinds.count("figure") == kinds.count("figcaption") >= (2 if pooled else 1)


def test_page_adapts_to_phone_paper_and_dark():
    text = page("slopes")
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert query in text
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--ink, #1f2328)" in drawing
    assert not re.search(r"(?<!, )#1f2328", drawing)


# --- what it says -----------------------------------------------------------------------------


@EVERY
def test_every_estimate_is_in_the_table(name):
    made = study(name)
    rows = [row for row in Page(page(name)).table("Parameter", "REML")[2:] if len(row) > 1]
    columns = ["estimate", "std_error", "conf_low", "conf_high"]
    reml, posterior = made.reml.tidy(), made.fit.tidy()
    groups = reml["group"].where(reml["term"].str.contains(r"\(") & reml["group"].notna(), "")
    several = len(set(groups) - {""}) > 1
    labels = reml["term"] + (" of " + groups).where((groups != "") & several, "")
    assert [row[0] for row in rows] == list(labels)
    for row, (_, a), (_, b) in zip(rows, reml.iterrows(), posterior.iterrows(), strict=True):
        values = [*a[columns], *b[columns], (a["estimate"] - b["estimate"]) / b["std_error"]]
        assert all(close(text, value) for text, value in zip(row[1:], values, strict=True)), row


@EVERY
def test_findings_come_before_everything_and_hold_both_intervals(name):
    text = Page(page(name)).text
    rows = side_by_side(study(name).reml.tidy(), study(name).fit.tidy())
    first = text[text.index("Findings Data Model") : text.index("Variables of the ")]
    for row in rows:
        if row.kind == "fixed" and (row.label != "Intercept" or "95% interval" not in first):
            for side in (row.maximum, row.posterior):
                assert f"95% interval {row.show(side.low)} to {row.show(side.high)}" in first
    assert ("REML and the posterior agree" in first) != ("REML and the posterior differ on" in first)


def test_a_singular_fit_is_said_first_and_its_dashes_explained():
    text = Page(page("singular")).text
    assert text.index("The REML fit is singular.") < text.index("Every level has 5 rows")
    assert text.index("The REML fit is singular.") < text.index("The average Yield")
    assert "sd(Intercept) is 0, the end of its range" in text
    rows = Page(page("singular")).table("Parameter", "REML")
    dashes = {row[0]: row[2:5] for row in rows if row[0] in ("sd(Intercept)", "sigma")}
    assert dashes == {"sd(Intercept)": ["—"] * 3, "sigma": ["—"] * 3}
    assert "A dash: the REML fit is singular" in text
    assert "The REML fit is singular" not in Page(page("slopes")).text


def test_dropped_rows_are_said_first_and_in_the_data():
    text = Page(page("gaps")).text
    said = text.index("3 of 180 rows were left out. They have missing values in Reaction")
    assert said < text.index("Reaction is ")
    assert "3 of 180 rows were left out because of missing values in Reaction" in text[said + 40 :]
    assert "No row was left out." in Page(page("slopes")).text


def test_effects_of_categories_and_interactions_are_put_in_words():
    text = Page(page("categories")).text
    assert "the difference between recipe B and A where temp is 0" in text
    assert "higher for each unit of temp where recipe is A." in text
    assert "the interaction recipe[B]:temp" in text


def estimate(label, reml, posterior=None, kind="fixed"):
    """A parameter with estimates one standard deviation wide."""
    a, b = (Side(value, 1.0, value - 2, value + 2) for value in (reml, reml if posterior is None else posterior))
    return Estimate(kind, label, label, a, b)


@pytest.mark.parametrize(
    ("formula", "label", "value", "claim"),
    [
        ("y ~ x + (1 | g)", "x", 3, "y is 3.000 higher for each unit of x."),
        ("y ~ x + (1 | g)", "x", -3, "y is 3.000 lower for each unit of x."),
        ("y ~ x + (1 | g)", "x", 1, "The data do not settle the direction of the effect of x."),
        ("y ~ a + (1 | g)", "a[q]", -3, "y is 3.000 lower for a q than for p."),
        ("y ~ 0 + a + (1 | g)", "a[q]", 1, "The average y for a q is 1.000."),
        ("y ~ a * x + (1 | g)", "x", 3, "y is 3.000 higher for each unit of x where a is p."),
        ("y ~ a * x + (1 | g)", "a[q]", 3, "y is 3.000 higher for a q than for p where x is 0."),
        (
            "y ~ a * x + (1 | g)",
            "a[q]:x",
            3,
            "The change of y for each unit of x is 3.000 higher for a q than for p.",
        ),
        ("y ~ a:x + (1 | g)", "a[q]:x", 3, "y is 3.000 higher for each unit of x for a q."),
        ("y ~ x * z + (1 | g)", "x:z", -3, "The interaction x:z is −3.000."),
        ("y ~ np.exp(x) + (1 | g)", "np.exp(x)", 3, "The coefficient of np.exp(x) is 3.000."),
    ],
)
def test_coefficients_in_words(formula, label, value, claim):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(60, 3)), columns=["y", "x", "z"])
    data = data.assign(a=rng.choice(["p", "q"], 60), g=np.tile(list("ABCDEF"), 10))
    model = hb.Model(formula, data)
    assert label in model.design.labels
    found = in_words(estimate(label, value), model.design, data, "95%", sections.references(model.design, data))
    assert found.claim == claim


def test_agreement_in_words():
    sigma = estimate("sigma", 5, kind="sigma")
    assert agreement([estimate("x", 3, 3.4), sigma]).claim == "REML and the posterior agree."
    skewed = agreement([estimate("sd(x)", 1, 2, "sd"), sigma])
    assert skewed.claim == "REML and the posterior differ on sd(x)."
    assert "skewed posterior" in skewed.evidence
    moved = agreement([estimate("x", 1, 2), sigma])
    assert "see which priors" in moved.evidence
    many = agreement([estimate(f"x{k}", 0, k) for k in range(8)])
    assert many.claim == "REML and the posterior differ on 7 of 8 parameters."
    assert re.findall(r"x\d", many.evidence) == ["x7", "x6", "x5", "x4"]


def test_crossed_and_nested_factors_are_put_in_words():
    text = Page(page("crossed")).text
    assert "plate has 24 levels, with 6 rows each. sample has 6 levels, with 24 rows each." in text
    assert "plate and sample are crossed: all 144 combinations of their levels occur." in text
    assert "Intercepts differ between the levels of sample, with" in text
    text = Page(page("nested")).text
    assert "batch:cask is nested in batch: every level of batch:cask lies within one level of batch." in text
    assert "Intercepts differ between the levels of batch:cask within batch, with" in text
    assert "(but not of those nested in it, which are part of the level)" in text
    assert "item and person are partly crossed:" in Page(page("answers")).text


@pytest.mark.parametrize("name", ["crossed", "nested"])
def test_every_factor_has_its_share_of_the_variance(name):
    made = study(name)
    variances = made.reml.varcorr.set_index("group")["vcov"]
    draws = made.fit.parameter_draws()["ran_pars"] ** 2
    total = draws.sum(axis=1)
    text = Page(page(name)).text
    for factor in made.model.design.factors:
        share = draws[factor.name, "sd(Intercept)"] / total
        low, high = np.quantile(share, [0.025, 0.975])
        within = " within batch" if ":" in factor.name else ""
        by_reml = variances[factor.name] / variances.sum()
        assert (
            f"Differences between levels of {factor.name}{within} make up {by_reml:.0%} of the variance "
            f"that the predictors leave (REML; posterior mean {share.mean():.0%}, 95% interval "
            f"{low:.0%} to {high:.0%})."
        ) in text


def test_every_factor_has_its_effects():
    read = Page(page("answers"))
    factors = ["item", "person"]
    assert [f"Levels of {name}" in read.text for name in factors] == [True, True]
    labels = [attrs["aria-label"] for attrs in read.all("svg")]
    assert [sum(f"levels of {name} without pooling" in str(label) for label in labels) for name in factors] == [1, 1]
    levels = [table for table in read.tables if table[0][0] == "Level"]
    assert [len(table) - 2 for table in levels] == [50, 20, 20]
    part = study("answers").table.query("group == 'person' and effect == 'x'")
    for row, (_, wanted) in zip(levels[2][2:], part.iterrows(), strict=True):
        assert row[0] == wanted["level"]
        columns = ["no_pooling", "blup", "blup_sd", "mean", "sd", "q2.5", "q97.5"]
        assert all(close(cell.strip(), wanted[column]) for cell, column in zip(row[2:], columns, strict=True))


def test_known_standard_errors_leave_no_sigma():
    read = Page(page("meta"))
    text = read.text
    assert "The residual standard deviation of every row is known, its standard error se, and is not" in text
    assert "There is no residual standard deviation to estimate" in text
    assert "NUTS sampled sd(Intercept) only." in text
    assert not any(row[0].strip() == "sigma" for table in read.tables for row in table)
    assert "make up" not in text
    assert "σ" not in text


def test_a_model_without_random_effects_speaks_of_none():
    read = Page(page("series"))
    text = read.text
    for absent in ("level of", "levels of", "partial pooling", "BLUP", "Group effects", "random effects per level"):
        assert absent not in text[: text.index("Where the variance is")]
    assert "There are no random effects." in text
    assert "Residuals are correlated within 30 series, one for each child, with 4 to 5 rows each, 5 in the" in text
    assert "; some of them have gaps." in text
    assert "NUTS sampled sigma and rho only." in text
    rho = study("series").reml.rho
    assert f"Residuals of the same child where age differs by 2 have a correlation of {rho:.3f}." in text
    assert "one step is a difference of 2 in age" in text
    roles = {row[0].strip(): row[1] for row in read.table("Variable")[1:]}
    assert (roles["child"], roles["age"]) == ("series of the residuals", "predictor, time of the residuals")
    assert text.startswith("size by child: REML and posterior")


def test_compound_symmetry_in_words():
    text = Page(page("symmetry")).text
    assert "every two of them equally (compound symmetry)" in text
    rho = study("symmetry").reml.rho
    assert f"Residuals of the same child have a correlation of {rho:.3f}." in text
    assert "It takes no account of the correlation of the residuals." in text
    assert "Uniform(lower=-0.25, upper=1)" in text


def test_weights_and_offset_in_words():
    read = Page(page("weights"))
    assert "A known offset, base, is added to it." in read.text
    assert (
        "The rows have precision weights, n: the residual variance of a row is σ² divided by its weight" in read.text
    )
    assert "No pooling is weighted least squares" in read.text
    roles = {row[0].strip(): row[1] for row in read.table("Variable")[1:]}
    assert (roles["n"], roles["base"], roles["Days"]) == ("precision weight", "offset", "predictor")
    data = study("weights").model.data
    constant = hb.Model("Reaction ~ 1 + offset(base) + (1 | Subject)", data, weights=data["n"])
    row = side_by_side(*(constant.reml().tidy(),) * 2)[0]
    assert in_words(row, constant.design, data, "95%", {}).claim.startswith(
        "The average Reaction less its offset is "
    )


def test_a_correlation_that_is_not_there_is_not_claimed():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.normal(size=60), "t": np.tile(np.arange(6), 10), "g": np.repeat(np.arange(10), 6)})
    model = hb.Model("y ~ 1", data, residual="ar1(t | g)")
    tidy = model.reml().tidy()
    rows = side_by_side(tidy, tidy)
    said = _series(model.design, rows, data, "95%")[0]
    assert said.claim == "The data do not settle whether residuals of the same g are correlated."
    assert said.evidence.endswith("Both intervals include zero.")
    apart = [*rows[:-1], replace(rows[-1], posterior=Side(0.2, 0.05, 0.1, 0.3))]
    assert _series(model.design, apart, data, "95%")[0].claim.startswith("The two inferences differ on whether")
    alone = [*rows[:-1], replace(apart[-1], maximum=Side(0.2, np.nan, np.nan, np.nan))]
    said = _series(model.design, alone, data, "95%")[0]
    assert said.claim == "Residuals of the same g where t differs by 1 have a correlation of 0.200."
    assert "The posterior interval excludes zero." in said.evidence


@pytest.mark.parametrize(
    ("residual", "time", "step"),
    [("ar1(t | g)", "t", "0.25"), ("ar1(day | g)", "day", "7 days"), ("ar1(1 | g)", None, ""), ("cs(g)", None, "")],
)
def test_steps_of_time(residual, time, step):
    rng = np.random.default_rng(2)
    data = pd.DataFrame(
        {"y": rng.normal(size=20), "t": np.tile(np.arange(5) * 0.25, 4), "g": np.repeat(list("abcd"), 5)}
    )
    data["day"] = pd.Timestamp("2020-01-06") + pd.to_timedelta(np.tile(np.arange(5), 4) * 7, unit="D")
    model = hb.Model("y ~ 1", data, residual=residual)
    facts = row_facts(model.design, model.data)
    assert (facts.time, facts.step) == (time, step)
    values = {row["name"]: row["summary"] for row in sections.data_section(model)["variables"]}
    if time == "day":
        assert values["day"] == "from 2020-01-06 00:00:00 to 2020-02-03 00:00:00"


def test_a_transformed_response_is_still_the_response():
    data = hb.load_data("Dyestuff")
    section = sections.data_section(hb.Model("np.log(Yield) ~ 1 + (1 | Batch)", data))
    assert {row["name"]: row["role"] for row in section["variables"]} == {
        "Yield": "response",
        "Batch": "grouping factor",
    }


def test_the_share_of_the_groups_is_that_of_the_variances():
    made = study("intercepts")
    variances = made.reml.varcorr["vcov"]
    assert f"make up {variances[0] / variances.sum():.0%} of the variance" in Page(page("intercepts")).text


def test_priors_are_listed_with_their_origin():
    priors = {
        "Days": bmb.Prior("Laplace", mu=0, b=10),
        "1|Subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=50)),
        "Subject_corr": bmb.Prior("LKJ", eta=2),
    }
    model = hb.Model(STUDIES["slopes"][0], hb.load_data("sleepstudy"), priors=priors, center_predictors=False)
    section = sections.priors_section(model, RUN)
    listed = {row["label"]: (row["prior"], row["origin"]) for row in section["rows"]}
    assert listed["Days"] == ("Laplace(mu=0, b=10)", "given")
    assert listed["sd(Intercept)"] == ("HalfNormal(sigma=50)", "given")
    assert listed["correlation of Intercept, Days"] == ("LKJ(eta=2)", "given")
    assert {label for label, (_, origin) in listed.items() if origin == "automatic"} == {
        "Intercept", "sd(Days)", "sigma",
    }  # fmt: skip
    assert (section["kept"], section["centered"], section["uniform"]) == (["Days"], False, False)

    run = provenance.run_of(study("slopes").fit)
    reproduced = sections.reproduce_section(model, run, Path("x.html"), None, 0.95)
    assert reproduced["command"] == ""
    space: dict = {}
    start = reproduced["code"].index("priors = {")
    exec(reproduced["code"][start : reproduced["code"].index("model = ")], {"bmb": bmb}, space)
    assert {name: str(prior) for name, prior in space["priors"].items()} == {
        name: str(prior) for name, prior in priors.items()
    }
    assert "center_predictors=False" in reproduced["code"]


def test_priors_of_several_factors_and_of_the_residual_correlation():
    listed = {row["label"]: row["prior"] for row in sections.priors_section(study("answers").model, RUN)["rows"]}
    assert {"sd(Intercept) of item", "sd(x) of person", "correlation of Intercept, x of person", "sigma"} <= set(
        listed
    )
    formula, make = STUDIES["series"]
    for residual, prior, said in (
        ("ar1(age | child)", "LKJ(eta=2)", "proportional to (1 − rho²) to the power of 1."),
        ("cs(child)", "LKJ(eta=2)", "range, −0.250 to 1, scaled to 0 to 1, the density Beta(2, 2)."),
    ):
        model = hb.Model(formula, make(), residual=residual, priors={"rho": bmb.Prior("LKJ", eta=2)})
        section = sections.priors_section(model, RUN)
        assert section["rows"][-1] == {"label": "rho", "prior": prior, "origin": "given"}
        assert said in section["rho"]


def test_convergence_table_holds_the_diagnostics():
    made = study("slopes")
    read = Page(page("slopes"))
    table = next(t for t in read.tables if len(t[0]) == 4 and t[0][1] == "R-hat")
    for row, (name, wanted) in zip(table[1:], made.fit.convergence.table.iterrows(), strict=True):
        assert row[0] == name
        assert number(row[1]) == pytest.approx(wanted["r_hat"], abs=6e-5)
        assert number(row[2]) == pytest.approx(wanted["ess_bulk"], abs=0.6)
        assert number(row[3]) == pytest.approx(wanted["ess_tail"], abs=0.6)
    assert "Divergent draws: 0 of 800." in read.text


def test_group_effects_of_all_levels_or_of_both_ends():
    table = Page(page("slopes")).tables
    levels = [t for t in table if t[0][0] == "Level"]
    assert [len(t) - 2 for t in levels] == [18, 18]
    crowd = Page(page("crowd"))
    levels = [t for t in crowd.tables if t[0][0] == "Level"]
    assert [len(t) - 2 for t in levels] == [50, 50]
    means = study("crowd").table.query("effect == 'Intercept'").sort_values("mean")["level"]
    assert [row[0] for row in levels[0][2:]] == [*means[:25], *means[-25:]]
    assert "The tables show 50 of 10,000 levels" in crowd.text
    assert len(page("crowd")) < 1_500_000
    assert f"{LEVELS:,}" in crowd.text


def test_uncorrelated_effects_have_no_correlation_anywhere():
    text = page("uncorrelated")
    assert "corr(" not in text
    assert "LKJ" not in text
    assert "deviations of one level are independent" in Page(text).text


@pytest.mark.parametrize(
    ("name", "count"), [("slopes", 3), ("uncorrelated", 4), ("intercepts", 3), ("categories", 3)]
)
def test_equations_are_well_formed_and_name_the_predictors(name, count):
    model = study(name).model
    made = equations(model.design, sections.categorical(model.data))
    assert len(made) == count
    texts = ["".join(ET.fromstring(equation).itertext()) for equation in made]
    wanted = {
        "slopes": "yij=β0+b0j+(β1+b1j)Daysij+εij",
        "uncorrelated": "yij=β0+b0j+(β1+b1j)Daysij+εij",
        "intercepts": "yij=β0+b0j+εij",
        "categories": "yij=β0+b0j+β1[recipe=B]ij+β2[recipe=C]ij"
        "+β3tempij+β4[recipe=B]ijtempij+β5[recipe=C]ijtempij+εij",
    }
    assert texts[0] == wanted[name]
    assert texts[-1] == "εij∼N(0,σ2)"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("crossed", ["yi=β0+b0j+c0k+εi", "b0j∼N(0,τb02)", "c0k∼N(0,τc02)", "εi∼N(0,σ2)"]),
        (
            "answers",
            ["yi=β0+b0j+c0k+(β1+c1k)xi+β2[arm=q]i+β3xi[arm=q]i+εi", "b0j∼N(0,τb02)",
             "(c0k,c1k)∼N(0,Σc),Σc=τc02ρc01τc0τc1ρc01τc0τc1τc12", "εi∼N(0,σ2)"],
        ),
        ("meta", ["yij=β0+b0j+εij", "b0j∼N(0,τ02)", "εij∼N(0,sij2)"]),
        ("series", ["yi=β0+β1agei+β2[sex=m]i+εi", "εi∼N(0,σ2)", "Corr(εi,εi′)=ρ|ti−ti′|"]),
        ("symmetry", ["yij=β0+b0j+β1ageij+εij", "b0j∼N(0,τ02)", "εij∼N(0,σ2)", "Corr(εij,εi′j)=ρ"]),
        (
            "weights",
            ["yij=β0+b0j+(β1+b1j)Daysij+oij+εij", "(b0j,b1j)∼N(0,Σ),Σ=τ02ρ01τ0τ1ρ01τ0τ1τ12", "εij∼N(0,σ2/wij)"],
        ),
    ],
)  # fmt: skip
def test_equations_of_every_kind_of_model(name, wanted):
    model = study(name).model
    made = equations(model.design, sections.categorical(model.data))
    assert ["".join(ET.fromstring(equation).itertext()) for equation in made] == wanted


def test_text_of_the_data_cannot_break_the_page():
    data = hb.load_data("sleepstudy").assign(Subject=lambda d: "<b>&\"'" + d["Subject"].astype(str))
    model = hb.Model(STUDIES["slopes"][0], data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a short run on purpose
        fit = model.fit(draws=50, tune=100, seed=1, progress=False)
        text = sections_page(model, fit, title="<script>alert(1)</script>")
    read = Page(text)
    assert not read.all("script")
    assert not read.all("b")
    assert read.table("Level")[2][0].startswith("<b>&\"'")


def test_level_of_the_intervals():
    made = study("intercepts")
    read = Page(sections_page(made.model, made.fit, conf_level=0.8, title="Dyes"))
    assert read.text.startswith("Dyes")
    row = next(row for row in read.table("Parameter", "REML") if row[0] == "Intercept")
    wanted = made.fit.tidy(0.8).iloc[0]
    assert close(row[7], wanted["conf_low"])
    assert close(row[8], wanted["conf_high"])
    assert "80% Wald intervals" in read.text
    assert "conf_level=0.8" in read.text


# --- reproduction -----------------------------------------------------------------------------


def test_the_code_of_the_report_makes_the_report_again(tmp_path, monkeypatch):
    read = Page(page("slopes"))
    code = "".join(read.words)
    code = code[code.index("import hierbayes") : code.index("On the command line")]
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a short run on purpose
        exec(code, {})
    assert Path("slopes.html").read_text(encoding="utf-8") == page("slopes")


def test_the_command_of_the_report_makes_the_report_again(tmp_path, monkeypatch, capsys):
    text = "".join(Page(page("categories")).words)
    command = re.search(r"^ *(hierbayes report .*)$", text, re.MULTILINE)[1]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command)[1:])
    assert (ended.value.code, capsys.readouterr().out) == (0, "wrote categories.html\n")
    assert Path("categories.html").read_text(encoding="utf-8") == page("categories")


@pytest.mark.parametrize("name", ["series", "meta"])
def test_columns_and_structures_of_the_rows_are_part_of_the_code_and_of_the_command(name, tmp_path, monkeypatch):
    formula, make = STUDIES[name]
    monkeypatch.chdir(tmp_path)
    make().to_csv("rows.csv", index=False)
    option, value = next(iter(OPTIONS[name].items()))
    arguments = ["report", "rows.csv", formula, f"--{option}", value, "--seed", "1", "--draws", "30", "--tune", "50"]
    with pytest.raises(SystemExit) as ended:
        app([*arguments, "-o", "x.html"])
    assert ended.value.code == 0
    first = Path("x.html").read_text(encoding="utf-8")
    words = "".join(Page(first).words)
    command = re.search(r"^ *(hierbayes report .*)$", words, re.MULTILINE)[1]
    with pytest.raises(SystemExit) as ended:
        app(shlex.split(command)[1:])
    assert (ended.value.code, Path("x.html").read_text(encoding="utf-8")) == (0, first)
    code = words[words.index("import hierbayes") : words.index("On the command line")]
    assert f'data, {option}="{value}")' in code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # a short run on purpose
        exec(code, {})
    before, again = (
        text.partition('id="reproduce"')[0] for text in (first, Path("x.html").read_text(encoding="utf-8"))
    )
    assert before == again


def test_what_was_sampled_and_how_is_said():
    model = study("crossed").model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # a short run on purpose
        fit = model.fit(draws=30, tune=50, seed=1, chains=2, progress=False, parameterization="centered")
        read = Page(sections_page(model, fit))
    assert (
        "NUTS sampled all random effects along with everything else, "
        "(Intercept | plate) centred and (Intercept | sample) centred, as asked for."
    ) in read.text
    assert "integrated out" not in read.text
    assert "parameterization='centered'" in read.text
    assert "The command line has no options" in read.text
    assert "integrated out" in Page(page("crossed")).text


def test_an_array_of_weights_leaves_a_placeholder():
    data = hb.load_data("sleepstudy")
    model = hb.Model(STUDIES["slopes"][0], data, weights=np.linspace(1, 2, len(data)))
    section = sections.reproduce_section(model, provenance.run_of(study("slopes").fit), Path("x.html"), None, 0.95)
    assert section["source"] == "sleepstudy"
    assert "weights = ..." in section["code"]
    assert "data, weights=weights)" in section["code"]
    assert section["command"] == ""


def test_data_sets_are_recognised_by_their_contents():
    formula, make = STUDIES["slopes"]
    assert known_data(study("slopes").model) == "sleepstudy"
    changed = make()
    changed.loc[0, "Reaction"] += 1e-3
    assert known_data(hb.Model(formula, changed)) is None
    assert known_data(study("gaps").model) is None
    assert known_data(study("crowd").model) is None


def test_versions_are_listed():
    text = Page(page("slopes")).text
    for name in ("hierbayes", "python", "pymc", "bambi", "arviz", "nutpie", "numba", "numpy", "pandas"):
        assert re.search(rf"{name} \d+\.\d+", text[text.index("Versions") :])


# --- files and warnings -----------------------------------------------------------------------


def fresh():
    return hb.Model(*[STUDIES["slopes"][0], hb.load_data("sleepstudy")])


@pytest.mark.parametrize(
    ("where", "reason"),
    [("file.txt/report.html", "cannot be written"), ("missing/report.html", "no folder"), ("folder", "is a folder")],
)
def test_a_path_that_cannot_be_written_is_refused_before_sampling(tmp_path, where, reason):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    model = fresh()
    with pytest.raises(OutputError, match=reason) as refused:
        hb.report(model, tmp_path / where)
    assert str(refused.value).count("\n") == 0
    assert "marginal" not in vars(model)  # nothing has been prepared for the sampler
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "folder"]


def test_a_device_is_not_replaced():
    with pytest.raises(OutputError, match="not an ordinary file"):
        hb.report(fresh(), "/dev/null")
    assert Path("/dev/null").is_char_device()


class Unwritable:
    """A title that cannot be written."""

    def __str__(self):
        raise RuntimeError("no title")


def test_after_a_failure_the_old_report_is_still_there(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("the old one")
    made = study("slopes")
    with pytest.raises(RuntimeError, match="no title"):
        hb.report(made.model, path, fit=made.fit, title=Unwritable())
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "real" / "report.html")
    (tmp_path / "other.txt").write_text("x")
    made = study("intercepts")
    assert hb.report(made.model, link, fit=made.fit) == link
    assert link.is_symlink()
    written = tmp_path / "real" / "report.html"
    assert written.stat().st_mode == (tmp_path / "other.txt").stat().st_mode
    assert [path.name for path in written.parent.iterdir()] == ["report.html"]


def test_warnings_reach_the_caller_once_and_from_his_line(tmp_path):
    model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HierbayesWarning)
        path = hb.report(model, tmp_path / "x.html", seed=1, draws=30, tune=50, chains=2, progress=False)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == len(set(messages)) >= 2
    assert {warning.category for warning in caught} == {SingularFit, ConvergenceWarning}
    assert {warning.filename for warning in caught} == {__file__}
    text = Page(path.read_text(encoding="utf-8")).text
    first = text[: text.index("The average Yield")]
    assert "The sampler gives reason for doubt." in first
    assert "These draws should not be trusted yet." in text
    for warning in caught:
        if warning.category is ConvergenceWarning:
            assert " ".join(str(warning.message).split()) in first


def test_a_fit_of_another_model_is_refused(tmp_path):
    other = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy"))
    with pytest.raises(ValueError, match="another model"):
        hb.report(other, tmp_path / "x.html", fit=study("slopes").fit)
    for arguments in ({"weights": "Days"}, {"residual": "ar1(Days | Subject)"}):
        data = hb.load_data("sleepstudy").assign(Days=lambda d: d["Days"] + 1)
        same = hb.Model(STUDIES["slopes"][0], data)
        other = hb.Model(STUDIES["slopes"][0], data, **arguments)
        with pytest.raises(ValueError, match="another model"):
            hb.report(other, tmp_path / "x.html", fit=replace(study("slopes").fit, design=same.design))
    with pytest.raises(ValueError, match="between 0 and 1"):
        hb.report(study("slopes").model, tmp_path / "x.html", fit=study("slopes").fit, conf_level=95)
    assert list(tmp_path.iterdir()) == []


def test_numbers_far_from_one_are_powers_of_ten():
    data = hb.load_data("Dyestuff").assign(Yield=lambda d: d["Yield"] * 1e-14)
    rows = side_by_side(*(two := (hb.Model("Yield ~ 1 + (1 | Batch)", data).reml().tidy(),) * 2))
    assert rows[0].cells()[0] == "1.528×10⁻¹¹"
    assert close(rows[0].cells()[0], two[0]["estimate"][0])


def test_an_interval_without_end_leaves_the_other_numbers_their_digits():
    row = Estimate("sd", "sd(x)", "x", Side(0.0427, 0.377, 1e-9, 1.427e6), Side(0.1312, 0.07, 0.0051, 0.2853))
    assert row.cells() == ["0.0427", "0.3770", "0.0000", "1.427×10⁶", "0.1312", "0.0700", "0.0051", "0.2853", "−1.26"]


def test_an_unnamed_source_leaves_a_placeholder():
    model = hb.Model(
        "y ~ x + (1 | g)", pd.DataFrame({"y": [1.0, 2, 4, 3, 5, 7], "x": [1.0, 2, 1, 3, 2, 2], "g": list("aabbcc")})
    )
    run = provenance.run_of(study("slopes").fit)
    section = sections.reproduce_section(model, run, Path("x.html"), None, 0.95)
    assert "data = ..." in section["code"]
    assert "DATA.csv" in section["command"]
    named = sections.reproduce_section(model, run, Path("x.html"), "my data.csv", 0.95)
    assert 'pd.read_csv("my data.csv")' in named["code"]
    assert shlex.split(named["command"])[:4] == ["hierbayes", "report", "my data.csv", "y ~ x + (1 | g)"]
