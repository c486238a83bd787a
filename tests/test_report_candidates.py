"""The report of several candidates: which predicts better, tests, what is wrong with each, and how it is refused."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fixtures_report import Page, sections_page, study

import hierbayes as hb
from hierbayes.errors import DataError, HierbayesWarning
from hierbayes.report import effort
from hierbayes.report.agreement import agreement
from hierbayes.report.candidates import Candidate, read_fits, read_models
from hierbayes.report.comparison import Comparison
from hierbayes.report.estimates import Estimate, Side
from hierbayes.report.preferences import preferences
from hierbayes.report.problems import doubts, problems
from hierbayes.report.random_effects import effect_of, p_values_of
from hierbayes.report.scores import Scores, scores_of

SLOPES, INTERCEPTS = "Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"


@cache
def two():
    """Models, short posteriors and the page of two candidates."""
    data = hb.load_data("sleepstudy")
    models = {SLOPES: study("slopes").model, INTERCEPTS: hb.Model(INTERCEPTS, data)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # short runs on purpose
        settings = {"draws": 200, "tune": 300, "chains": 4, "seed": 1, "progress": False}
        fits = {SLOPES: study("slopes").fit, INTERCEPTS: models[INTERCEPTS].fit(**settings)}
        page = sections_page(models, fits)
    return SimpleNamespace(models=models, fits=fits, page=page, read=Page(page))


def sections_page_of(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return sections_page(*args, **kwargs)


def test_scores_of_candidates_are_those_of_compare():
    made = two()
    for target, title in (("row", "Predicting new rows"), ("group", "Predicting new levels of Subject")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HierbayesWarning)
            wanted = hb.compare(made.fits, target=target, round_to="none")
        assert title in made.read.text
        tables = [t for t in made.read.tables if t[0][:3] == ["Model", "Verdict", "Difference"]]
        table = tables[0 if target == "row" else 1]
        worse = wanted.iloc[1]
        assert [row[0] for row in table[1:]] == ["A", "B"]
        assert float(table[2][2].replace("−", "-")) == pytest.approx(worse["elpd_diff"], abs=0.051)
        assert float(table[2][3]) == pytest.approx(worse["dse"], abs=0.051)
        assert float(table[1][6]) == pytest.approx(wanted.iloc[0]["weight"], abs=0.0051)


def test_likelihood_ratio_and_criteria_are_those_of_lme4(shared):
    import json

    wanted = json.loads(shared("reference/lme4.json").read_text())
    made = two()
    table = made.read.table("Model", "Method", "χ²")
    assert table[1][0] == "B in A"
    found = hb.lrt(made.models[INTERCEPTS], made.models[SLOPES]).iloc[1]
    assert float(table[1][2]) == pytest.approx(found["chisq"], abs=6e-4)
    assert "½ χ²(1) + ½ χ²(2)" in table[1][-1]
    criteria = made.read.table("Model", "Method", "Parameters")
    ml = made.models[SLOPES].ml()
    assert float(criteria[1][4]) == pytest.approx(ml.aic, abs=0.0051)
    assert float(criteria[1][4]) == pytest.approx(1763.9393, abs=0.0051)  # Bates et al. 2015, section 5
    assert wanted


def test_which_model_predicts_better_is_a_finding():
    text = two().read.text
    first = text[text.index("Findings") : text.index("All candidates were fitted to the same rows")]
    assert re.search(r"A (probably )?predicts new rows of known groups better than B\.", first)
    assert "A is Reaction ~ Days + (Days | Subject); B is Reaction ~ Days + (1 | Subject)." in first
    assert re.search(r"B is [\d.]+ behind A, standard error [\d.]+", first)


@pytest.mark.parametrize(
    ("difference", "error", "items", "claim"),
    [
        (-9.0, 2.0, None, "one predicts new rows of known groups better than two."),
        (-9.0, 2.0, 18, "one probably predicts new rows of known groups better than two."),
        (-7.0, 4.0, 180, "one probably predicts new rows of known groups better than two."),
        (-3.0, 1.0, 180, "The data do not tell whether one or two predicts new rows of known groups better."),
        (-30.0, 31.0, 18, "The data do not tell whether one or two predicts new rows of known groups better."),
    ],
)
def test_a_difference_within_the_noise_is_not_claimed(difference, error, items, claim):
    table = pd.DataFrame({"elpd_diff": [0.0, difference], "dse": [0.0, error]}, index=["one", "two"])
    table.attrs["items"] = items
    comparison = Comparison({"row": table}, {"row": ["the two differ"]}, {}, pd.DataFrame(), pd.DataFrame())
    doubtful = {"one": SimpleNamespace(high={"row": 1}), "two": SimpleNamespace(high={})}
    (found,) = preferences(comparison, {"one": "y ~ x", "two": "y ~ 1"}, doubtful)
    assert "Some Pareto k of one are too high" in found.evidence
    assert "The two differ" in found.evidence
    assert found.claim == claim
    assert f"two is {abs(difference):.1f} behind one, standard error {error:.1f}" in found.evidence


def test_without_scores_the_reason_is_said():
    comparison = Comparison({}, {}, {"row": "It would take long."}, pd.DataFrame(), pd.DataFrame())
    assert preferences(comparison, {})[0].evidence == "It would take long."


def test_further_candidates_have_their_own_checks_and_estimates():
    read = two().read
    assert {"candidate-b", "estimates-b", "priors-b", "convergence-b", "checks-b"} <= set(read.ids)
    table = read.table("Parameter", "A: REML", "A: posterior", "B: REML", "B: posterior")
    rows = {row[0]: row[1:] for row in table[1:]}
    assert rows["sd(Days)"][2:] == ["—", "—"]
    assert rows["Days"][0].startswith("10.47 (1.5")
    assert any(tag == "details" for tag, _ in read.elements)
    links = {attrs["href"][1:] for attrs in read.all("a")}
    assert links <= set(read.ids)


def test_code_and_command_name_all_candidates():
    words = "".join(two().read.words)
    command = re.search(r"^ *(hierbayes report .*)$", words, re.MULTILINE)[1]
    assert shlex.split(command)[:6] == ["hierbayes", "report", "sleepstudy", SLOPES, "--compare", INTERCEPTS]
    code = words[words.index("import hierbayes") : words.index("On the command line")]
    assert f'"{INTERCEPTS}": hb.Model("{INTERCEPTS}", data),' in code
    space: dict = {}
    start = code.index("data =")
    exec(code[start : code.index("fits =")], {"hb": hb}, space)
    assert list(space["models"]) == [SLOPES, INTERCEPTS]


def test_names_are_used_where_they_are_short():
    models = read_models({"slopes": two().models[SLOPES], "x" * 30: two().models[INTERCEPTS]})
    labels = [Candidate(n, k, m, None, None, "", None, 0.95).label for k, (n, m) in enumerate(models.items())]
    assert labels == ["slopes", "B"]


def test_models_of_one_formula_are_told_apart():
    data = hb.load_data("cbpp")
    formula = "p(incidence, size) ~ period + (1 | herd)"
    models = [hb.Model(formula, data, family=family) for family in ("binomial", "beta_binomial")]
    assert len(read_models(models)) == 2
    assert all(name.startswith(formula) for name in read_models(models))
    with pytest.raises(ValueError, match="give a dict"):
        read_models([models[0], models[0]])


def test_what_cannot_be_compared_is_refused_before_sampling(tmp_path):
    data = hb.load_data("sleepstudy")
    one = hb.Model(SLOPES, data)
    for other, match in (
        (hb.Model(INTERCEPTS, data.iloc[:100]), "uses 180 rows and .* 100"),
        (hb.Model("np.log(Reaction) ~ Days + (1 | Subject)", data), "do not have the same response row by row"),
    ):
        with pytest.raises(DataError, match=match) as refused:
            hb.report([one, other], tmp_path / "x.html")
        assert str(refused.value).count("\n") == 0
    assert "marginal" not in vars(one)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("models", "match"),
    [
        ([], "at least one model"),
        ([1], "this is a int"),
        ("y ~ x", "this is a str"),
        ({"a": None}, "this is a NoneType"),
    ],
)
def test_what_is_no_model_is_refused(models, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        hb.report(models, tmp_path / "x.html")


def test_fits_go_to_their_models():
    made = two()
    assert list(read_fits(made.fits, made.models)) == list(made.models)
    assert list(read_fits(list(made.fits.values()), made.models)) == list(made.models)
    assert list(read_fits(made.fits[SLOPES], made.models)) == [SLOPES]
    assert list(read_fits([None, made.fits[INTERCEPTS]], made.models)) == [INTERCEPTS]
    for fit, match in (
        (made.fits[INTERCEPTS], "belongs to another model"),
        ({"other": made.fits[SLOPES]}, "there is no model 'other'"),
        ([made.fits[SLOPES]] * 3, "3 fits for 2 models"),
        (3, "this is a int"),
    ):
        with pytest.raises(ValueError, match=match):
            read_fits(fit, made.models)


# --- first screen -----------------------------------------------------------------------------


def row(label, reml, mean, kind="sd"):
    return Estimate(kind, label, label, Side(reml, 1.0, reml - 2, reml + 2), Side(mean, 1.0, mean - 2, mean + 2))


def test_a_disagreement_has_its_reason():
    rows = [row("sd(x)", 1.0, 2.0), row("sd(z)", 0.0, 1.0), row("sigma", 5.0, 5.0, "sigma")]
    boundary = "boundary: for REML some combination of the effects of 'g' has no variance"
    said = agreement(rows, ["prior: with it in the likelihood REML would move by -0.80 sd", boundary, ""])
    assert said.claim == "REML and the posterior differ on sd(x) and sd(z)."
    assert "REML would move by −0.80 sd" in said.evidence
    assert "Prior: it moves" in said.evidence
    assert "Boundary: the likelihood peaks" in said.evidence
    assert "Skewness" not in said.evidence
    lost = replace(rows[0], maximum=Side(np.nan, np.nan, np.nan, np.nan))
    assert "sd(x) (no estimate by REML, posterior mean" in agreement([lost, rows[2]], [boundary, ""]).evidence


def test_an_interrupted_fit_is_said_first():
    made = study("slopes")
    fit = SimpleNamespace(
        design=made.model.design,
        convergence=SimpleNamespace(problems=()),
        idata=SimpleNamespace(attrs={"incomplete": "Sampling was interrupted: all chains were kept."}),
    )
    (said,) = problems(made.reml, fit, [])
    assert (said.claim, said.severity, said.anchor) == ("Sampling was interrupted.", "problem", "convergence")


def test_high_pareto_k_is_said_first_with_its_place():
    made = study("intercepts")
    scores = scores_of(Candidate("a", 0, made.model, made.reml, None, "", made.fit, 0.95))
    assert doubts([], scores) == []
    elpd = scores.elpds["group:Batch"]
    high = elpd.pareto_k.copy(data=np.full(elpd.pareto_k.shape, 0.2))
    high[:5] = 0.9  # the rows of the first batch: one group, one k
    elpd.pareto_k = high
    (said,) = doubts([], scores)
    claim = f"Pareto k of 1 of 6 levels of Batch is above {elpd.good_k:.2f}, the largest 0.90."
    assert said.claim == claim
    assert "fit.reloo(fit.logo('Batch')) refits without it." in said.evidence
    assert (said.severity, said.anchor) == ("warning", "accuracy")


def test_checks_with_warnings_are_said_first():
    text = two().read.text
    first = text[: text.index("Reaction is 10.47 higher")]
    for finding in study("slopes").fit.check().of("warning")["finding"]:
        claim = finding.removeprefix("Of the REML fit: ").partition(":")[0].replace("-", "−")
        assert claim in first


def test_a_random_effect_that_is_not_shown_is_not_claimed():
    made = study("nested")
    candidate = Candidate("a", 0, made.model, made.reml, None, "", made.fit, 0.95)
    found = p_values_of(candidate)
    assert found["batch", "Intercept"] == pytest.approx(0.2087, abs=1e-4)  # half of lme4's 0.4174
    assert found["batch:cask", "Intercept"] < 1e-10
    assert effect_of("x in (x || g)") == ("g", "x")
    assert effect_of("(0 + x | g)") == ("g", "x")
    assert effect_of("(0 + x + z | g)") is None


# --- costs ------------------------------------------------------------------------------------


def test_what_would_take_long_is_skipped_and_said(monkeypatch):
    made = study("crowd")
    candidate = Candidate("a", 0, made.model, made.reml, None, "", made.fit, 0.95)
    monkeypatch.setattr(effort, "SCORING", 1e3)
    scores = scores_of(candidate)
    assert scores.elpds == {}
    assert "fit.loo() does it." in scores.skipped["row"]
    assert "10,000 levels of g" in scores.skipped["group:g"]
    assert "fit.logo('g')" in scores.skipped["group:g"]
    assert isinstance(scores, Scores)


def test_costs_grow_with_what_they_are_of():
    small, crossed = study("slopes").fit, study("answers").fit
    assert effort.rows_cost(small) < 0.01
    assert effort.profile_cost(small.marginal) < 0.01
    person = crossed.design.factors[1]
    assert effort.groups_cost(crossed, person) > 1 > effort.rows_cost(small)
    assert effort.evaluation(crossed.marginal) > 100 * effort.evaluation(small.marginal)
