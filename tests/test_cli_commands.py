"""compare, check, power, cite, zoo, saved fits and files: what they say is what the library says."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from fixtures_cli import SHORT, folder, one_sentence, run  # noqa: F401 - folder is a fixture

import hierbayes as hb
from hierbayes.datasets.sources import File
from hierbayes.errors import ComparisonWarning, ConvergenceWarning, SingularFit

INTERCEPTS, SLOPES = "Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days | Subject)"
ROUNDING = 1e-12
"""Relative; both sides compute the same."""


@pytest.fixture(scope="module")
def fits(sleepstudy):
    """Posteriors as the command line draws them with SHORT."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # they are short
        return {
            formula: hb.Model(formula, sleepstudy).fit(draws=200, tune=300, seed=1, progress=False)
            for formula in (INTERCEPTS, SLOPES)
        }


@pytest.fixture
def saved(fits):
    """The same, in files."""
    fits[INTERCEPTS].save("intercepts.hb")
    fits[SLOPES].save("slopes.hb")
    return "intercepts.hb", "slopes.hb"


# --- compare ----------------------------------------------------------------------------------


def test_compare_is_that_of_the_library(fits):
    line = f"compare sleepstudy '{INTERCEPTS}' '{SLOPES}' --method bayes {SHORT}"
    _check_scores(json.loads(run(f"{line} --json")[0]), "row", hb.compare(fits, round_to="none"))


def test_compare_of_saved_fits_for_new_groups(fits, saved):
    line = f"compare {' '.join(saved)} --method bayes --target group"
    wanted = hb.compare(dict(zip(saved, fits.values(), strict=True)), target="group", round_to="none")
    _check_scores(json.loads(run(f"{line} --json")[0]), "group", wanted)


def _check_scores(read, target, wanted):
    assert read["target"] == target
    assert [row["model"] for row in read["elpd"]] == wanted.index.tolist()
    for name in ("elpd", "elpd_diff", "dse", "se", "weight"):
        assert [row[name] for row in read["elpd"]] == pytest.approx(wanted[name].tolist(), rel=ROUNDING)
    assert "likelihood" not in read


def test_compare_by_likelihood_needs_no_sampling(sleepstudy):
    smallest = "Reaction ~ 1 + (1 | Subject)"
    line = f"compare sleepstudy '{SLOPES}' '{smallest}' '{INTERCEPTS}' --method reml"
    out, err = run(line)
    assert err == ""
    read = json.loads(run(f"{line} --json")[0])["likelihood"]
    models = {formula: hb.Model(formula, sleepstudy) for formula in (SLOPES, smallest, INTERCEPTS)}
    assert [row["aic"] for row in read["models"]] == [model.ml().aic for model in models.values()]
    tests = {(row["smaller"], row["larger"]): row for row in read["tests"]}
    assert set(tests) == {(smallest, INTERCEPTS), (INTERCEPTS, SLOPES)}
    for smaller, larger in tests:
        wanted = hb.lrt(models[smaller].reml(), models[larger].reml()).iloc[1]
        found = tests[smaller, larger]
        assert (found["method"], found["note"]) == (wanted["method"], wanted["note"])
        for name in ("chisq", "df", "p_value", "p_naive"):
            assert found[name] == pytest.approx(wanted[name], rel=ROUNDING)
    assert "42.84" in out
    assert "½ χ²(1) + ½ χ²(2)" in out


def test_compare_of_saved_fits_prints_both_and_warns(fits, saved):
    out, err = run(f"compare {' '.join(saved)}")
    assert "slopes.hb" in out
    assert "weight" in out
    assert "42.84" in out
    assert err == ""
    with pytest.warns(ComparisonWarning) as caught:
        hb.compare({"a": fits[INTERCEPTS], "b": fits[INTERCEPTS]})
    shutil.copy("intercepts.hb", "again.hb")
    _, err = run("compare intercepts.hb again.hb --method bayes")
    assert err.count("warning: ") == len(caught)
    assert "do not tell which predicts better" in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hierbayes.errors.ConvergenceWarning")
def test_compare_looks_ahead(fits, saved):
    read = json.loads(run(f"compare {' '.join(saved)} --target future --time Days --method bayes --json")[0])
    wanted = hb.compare({name: fit.lfo("Days") for name, fit in fits.items()}, round_to="none")
    assert [row["elpd"] for row in read["elpd"]] == pytest.approx(wanted["elpd"].tolist(), rel=ROUNDING)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"compare sleepstudy '{SLOPES}'", "a comparison needs two models or more"),
        (f"compare sleepstudy '{SLOPES}' '{SLOPES}'", "is given twice"),
        (f"compare sleepstudy '{SLOPES}' 'Days ~ 1 + (1 | Subject)' --method reml", "same response"),
        (f"compare sleepstudy '{SLOPES}' '{INTERCEPTS}' --group Subject", "it goes with --target group"),
        (f"compare sleepstudy '{SLOPES}' '{INTERCEPTS}' --time Days", "it goes with --target future"),
        (f"compare sleepstudy '{SLOPES}' '{INTERCEPTS}' --method moments", "moments"),
        ("compare slopes.hb intercepts.hb --method bayes --target future", "Which rows are the future?"),
        (
            "compare slopes.hb intercepts.hb --method bayes --target future --time Days --horizon 9",
            "none has 9 after it",
        ),
        ("compare slopes.hb 'y ~ 1 + (1 | g)'", "can be put beside other saved fits"),
        ("compare slopes.hb slopes.hb", "is given twice"),
        ("fit slopes.hb --weights n", "leave --weights out"),
        ("fit slopes.hb --seed 2", "leave --seed out"),
        ("fit slopes.hb --method reml", "leave --method out"),
        ("check slopes.hb --draws 5", "leave --draws out"),
        ("cite slopes.hb --nagq 5", "leave --nagq out"),
        ("report slopes.hb --chains 2", "leave --chains out"),
        ("compare Dyestuff 'Yield ~ 1 + (1 | Batch)' 'Yield~1+(1|Batch)' --method reml", "is given twice"),
        ("fit nowhere.hb", "There is no file nowhere.hb"),
        ("fit fake.hb", "not a file that hierbayes has saved"),
    ],
)
def test_what_cannot_be_compared(saved, line, reason):
    Path("fake.hb").write_text("y,x\n1,2\n")
    assert reason in one_sentence(*run(line, code=2))


def test_families_without_maximum_likelihood_have_no_criteria():
    line = "compare Dyestuff 'Yield ~ 1 + (1 | Batch)' 'Yield ~ 0 + (1 | Batch)' --family laplace --method reml"
    assert "does not know laplace" in one_sentence(*run(line, code=2))


# --- saved fits -------------------------------------------------------------------------------


def test_a_fit_is_saved_and_shown_again():
    out, err = run(f"fit sleepstudy -o new/sleep.hb {SHORT}")
    assert err == "wrote new/sleep.hb\n"
    assert run("fit new/sleep.hb")[0] == out
    read = json.loads(run("fit new/sleep.hb --json")[0])
    assert {"reml", "bayes"} < set(read)
    run("fit sleepstudy --method reml -o reml.hb")
    assert set(json.loads(run("fit reml.hb --json")[0])) & {"reml", "ml", "bayes"} == {"reml"}
    run("fit cbpp --method ml -o ml.hb")
    assert set(json.loads(run("fit ml.hb --json")[0])) & {"reml", "ml", "bayes"} == {"ml"}
    Path("a.hb").write_text("y\n")
    assert "is not a saved fit" in one_sentence(*run("fit sleepstudy --method reml -o a.hb", code=2))


# --- check ------------------------------------------------------------------------------------


def test_check_has_the_findings_of_the_library_the_gravest_first(saved, fits):
    out, _ = run("check slopes.hb")
    read = json.loads(run("check slopes.hb --json")[0])
    wanted = fits[SLOPES].check()
    assert read["worst"] == wanted.worst == "warning"
    order = ["problem", "warning", "note", "ok"]
    severities = [row["severity"] for row in read["findings"]]
    assert severities == sorted(severities, key=order.index)
    assert sorted(row["finding"] for row in read["findings"]) == sorted(wanted.findings["finding"])
    assert wanted.headline in out
    said = " ".join(out.split())
    assert all(" ".join(finding.split()) in said for finding in wanted.findings["finding"][:3].tolist()[:1])


def test_check_ends_with_one_if_there_is_a_problem():
    line = "check Dyestuff --method bayes --draws 20 --tune 20 --chains 2 --seed 1"
    out, _ = run(line, code=1)
    assert out.splitlines()[4].startswith("problem")
    assert run(f"{line} --exit-zero")[0] == out
    assert json.loads(run(f"{line} --json", code=1)[0])["worst"] == "problem"
    assert "1 warning" in run("check Dyestuff2 --method reml")[0]


def test_check_of_another_family_has_both():
    read = json.loads(run("check cbpp --method ml --json")[0])
    assert {row["of"] for row in read["findings"]} == {"ml"}


# --- power ------------------------------------------------------------------------------------

STUDY = "power 'y ~ x + (x | g)' --effect x=0.3 --sd '1|g=0.5' --sd 'x|g=0.2' --correlation g=0.3 --sigma 1 --rows 5"


def test_power_is_that_of_the_library():
    line = f"{STUDY} --within 'x=norm(0, 1)' --groups 10,20,30 --sims 40 --seed 3 --target 0.5"
    read = json.loads(run(f"{line} --json")[0])
    wanted = hb.power(
        "y ~ x + (x | g)", effects={"x": 0.3}, sds={"g": {"Intercept": 0.5, "x": 0.2}}, correlations={"g": 0.3},
        sigma=1, groups=[10, 20, 30], rows=5, within={"x": scipy.stats.norm(0, 1)}, simulations=40, seed=3,
    )  # fmt: skip
    for name in ("groups", "power", "coverage", "width"):
        assert [row[name] for row in read["designs"]] == pytest.approx(wanted.table[name].tolist(), rel=ROUNDING)
    needed = wanted.sample_size(0.5)["needed"].iloc[0]
    assert read["sample_size"][0]["needed"] == needed
    out, _ = run(line)
    assert f"groups for a power of 0.5 (rows 5): {needed} (95% Monte Carlo interval" in out
    assert f"{wanted.table['power'][0]:.3f}" in out


def test_power_of_planned_rows_of_several_factors_and_of_a_fit():
    pd.DataFrame({"x": [0, 1] * 20, "g": np.repeat(range(10), 4)}).to_csv("plan.csv", index=False)
    line = (
        "power 'y ~ x + (1 | g)' --effect 'x=norm(0.5, 0.1)' --sd g=0.5 --sigma 1 --data plan.csv --sims 20 --seed 1"
    )
    assert json.loads(run(f"{line} --json")[0])["measure"] == "assurance"
    line = (
        "power 'y ~ x + (1 | a) + (1 | b)' --sd a=1 --sd b=1 --sigma 1 --groups a=10 --groups b=4,6 --rows 1 "
        "--between 'x|b=0,1' --sims 20 --seed 1 --json"
    )
    assert [row["groups[b]"] for row in json.loads(run(line)[0])["designs"]] == [4, 6]
    run("fit sleepstudy --method reml -o sleep.hb")
    read = json.loads(run("power sleep.hb --groups 6 --test Days --sims 20 --seed 1 --json")[0])
    wanted = hb.power(hb.load("sleep.hb"), groups=6, test="Days", simulations=20, seed=1)
    assert read["designs"][0]["power"] == wanted.table["power"][0]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("--within x=nrm()", "Did you mean 'norm'?"),
        ("--within 'x=norm(0, -1)'", "no parameters of norm"),
        ("--within 'x=__import__(\"os\")'", "scipy.stats has no distribution '__import__'"),
        ("--within 'x=norm(0) + 1'", "a distribution is written as norm(0, 1)"),
        ("--within x", "not of the form NAME=VALUE"),
        ("--within x=0,1 --within x=1,2", "'x' is given twice"),
        ("--within x=0,1 --groups ten", "'ten' is not a whole number"),
        ("--within x=0,1 --effect z=much", "'much' is not a number"),
        ("--within x=0,1 --groups 10 --effect z=1", "which is no coefficient"),
        ("--within x=0,1 --groups 10,20 --target 0.8", "a size is read off 3 designs or more"),
        ("--within x=0,1 --groups 10,20,30 --target 80", "a power is between 0 and 1"),
        ("--within x=0,1 --groups 10 --success width=1", "goes with method='posterior'"),
        ("", "say how large the study is"),
    ],
)
def test_studies_that_cannot_be_planned(more, reason):
    assert reason in one_sentence(*run(f"power 'y ~ x + (1 | g)' --sd g=1 --sigma 1 --rows 5 {more}", code=2))


# --- cite -------------------------------------------------------------------------------------


def test_cite_is_that_of_the_library(sleepstudy):
    assert run("cite")[0] == hb.cite().text + "\n"
    model = hb.Model(SLOPES, sleepstudy)
    wanted = hb.cite(model, model.reml())
    read = json.loads(run("cite sleepstudy --method reml --json")[0])
    assert [row["key"] for row in read] == wanted.references["key"].tolist()
    assert run("cite sleepstudy --method reml --bibtex")[0] == wanted.bibtex
    keys = {row["key"] for row in json.loads(run("cite sleepstudy --json")[0])}
    assert {"reml", "nuts", "nutpie", "data_sleepstudy"} < keys
    assert "one of --bibtex and --json" in one_sentence(*run("cite --bibtex --json", code=2))


# --- zoo --------------------------------------------------------------------------------------


def test_the_zoo_is_listed_and_shown():
    listed = json.loads(run("zoo list --json")[0])
    assert [row["name"] for row in listed] == hb.zoo.list()["name"].tolist()
    out, _ = run("zoo list")
    assert all(row["name"] in out for row in listed)
    assert run("zoo show dyestuff")[0] == hb.zoo.card("dyestuff").text(100) + "\n"
    assert json.loads(run("zoo show dyestuff --json")[0]) == hb.zoo.card("dyestuff").as_dict()
    assert "Did you mean 'dyestuff'" in one_sentence(*run("zoo show dyestuf", code=2))


def test_verification_finds_what_differs():
    out, _ = run("zoo verify dyestuff --posterior none")
    assert "are as expected" in out
    shutil.copytree(str(hb.zoo.card("dyestuff").folder), "mine")
    path = Path("mine/expected.json")
    expected = json.loads(path.read_text())
    first = next(iter(expected["models"].values()))
    first["maximum"]["criterion"] += 0.1
    path.write_text(json.dumps(expected))
    out, _ = run("zoo verify ./mine --posterior none", code=1)
    assert "criterion" in out
    assert "not as expected" in out
    read = json.loads(run("zoo verify ./mine --posterior none --json", code=1)[0])
    assert not read["ok"]
    assert [row["quantity"] for row in read["figures"] if not row["ok"]] == ["criterion"]


def test_a_model_of_the_zoo_is_run():
    read = json.loads(run("zoo run dyestuff --no-sample --json")[0])
    wanted = hb.zoo.run("dyestuff", posterior=False)
    assert set(read["models"]) == set(wanted.models)
    for name, fit in wanted.maxima.items():
        assert read["models"][name]["reml"]["criterion"] == pytest.approx(fit.criterion, rel=ROUNDING)
    out, _ = run("zoo run pastes --draws 50 --tune 50 --chains 2 --seed 1")
    assert "Prediction of new rows" in out
    assert "posterior" in out
    assert "a report needs posteriors" in one_sentence(*run("zoo run dyestuff --no-sample -o x.html", code=2))


# --- files ------------------------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_fit(sleepstudy):
    sleepstudy.to_csv("s.csv", index=False)
    sleepstudy.to_csv("german.csv", index=False, sep=";", decimal=",")
    sleepstudy.to_csv("tabs.txt", index=False, sep="\t")
    sleepstudy.to_parquet("s.parquet")
    sleepstudy.to_feather("s.feather")
    line = f"'{SLOPES}' --method reml --json"
    wanted = json.loads(run(f"fit sleepstudy {line}")[0])["reml"]
    for source in (
        "s.csv",
        "s.parquet",
        "s.feather",
        "german.csv --separator ';' --decimal ,",
        "tabs.txt --separator tab",
    ):
        assert json.loads(run(f"fit {source} {line}")[0])["reml"] == wanted
    assert json.loads(run(f"fit - {line}", piped=Path("s.csv").read_text())[0])["reml"] == wanted
    assert "--separator ';'" in one_sentence(*run(f"fit german.csv {line}", code=2))
    assert "separator and the decimal point cannot both" in one_sentence(
        *run(f"fit s.csv {line} --decimal ,", code=2)
    )


def test_the_usual_arguments_of_a_data_set_go_with_its_response():
    read = json.loads(run("fit eight_schools --method reml --json")[0])
    model = hb.Model("effect ~ 1 + (1 | school)", hb.load_data("eight_schools"), se="se")
    with pytest.warns(SingularFit):
        assert read["reml"]["criterion"] == pytest.approx(model.reml().criterion, rel=ROUNDING)


# --- report -----------------------------------------------------------------------------------


def test_report_gives_candidates_forms_and_source_to_the_library(monkeypatch, sleepstudy):
    """What the report looks like is tested where it is made; here it is not made."""
    called = {}

    def report(models, path, **more):
        called.update(more, models=models, path=path)
        Path(path).with_suffix(".json").write_text('{"title": "a report"}\n')

    monkeypatch.setattr("hierbayes.report.report", report)
    sleepstudy.to_csv("my.csv", index=False, sep=";")
    line = (
        f"report my.csv '{SLOPES}' --compare '{INTERCEPTS}' --separator ';' --also md --also nc --draws 20 --tune 20"
    )
    out, err = run(f"{line} --json")
    assert json.loads(out) == {"title": "a report"}
    assert [line for line in err.splitlines() if line.startswith("wrote")] == [
        f"wrote {Path('reports', name)}" for name in ("my.html", "my.md", "my.nc", "my-2.nc", "my.json")
    ]
    assert list(called["models"]) == list(called["fit"]) == [SLOPES, INTERCEPTS]
    assert all(hb.Model.of(fit).formula == formula for formula, fit in called["fit"].items())
    assert (called["source"], list(called["also"])) == (File("my.csv", ";"), ["md", "nc", "json"])
    assert all(
        said.startswith((f"warning: {SLOPES}", f"warning: {INTERCEPTS}", "wrote")) for said in err.splitlines()
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("report Dyestuff -o x.pdf", "a report ends in .html, .md or .json"),
        ("report Dyestuff --also pdf", "'--also'"),
        ("report Dyestuff --compare 'Yield ~ 1 + (1 | Btch)'", "Did you mean 'Batch'?"),
    ],
)
def test_reports_that_are_refused_before_anything_is_sampled(line, reason):
    assert reason in one_sentence(*run(line, code=2))
