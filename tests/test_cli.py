"""The command line: what it prints, what it writes, and one sentence for everything that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures_cli import SHORT, folder, one_sentence, run  # noqa: F401 - folder is a fixture
from pandas.testing import assert_frame_equal

import hierbayes as hb
from hierbayes.datasets.formulas import FORMULAS, default_arguments, default_family, default_formula
from hierbayes.datasets.registry import REGISTRY
from hierbayes.errors import FormulaError

COMMAND = [sys.executable, "-c", "from hierbayes.cli import main; main()"]


# --- report -----------------------------------------------------------------------------------


def test_report_of_a_data_set_goes_to_its_own_file():
    out, err = run(f"report Dyestuff2 {SHORT}")
    assert out == f"wrote {Path('reports', 'Dyestuff2.html')}\n"
    text = Path("reports", "Dyestuff2.html").read_text(encoding="utf-8")
    assert "The REML fit is singular." in text
    warned = err.splitlines()
    assert len([line for line in warned if "is singular" in line]) == 1
    assert all(line.startswith("warning: ") for line in warned)
    assert len(warned) == len(set(warned))


def test_report_of_a_csv_with_a_formula_and_an_output():
    data = hb.load_data("Dyestuff").assign(Batch=lambda d: pd.factorize(d["Batch"])[0] + 1)  # integers
    data.loc[2, "Yield"] = np.nan
    data.to_csv("my yields.csv", index=False)
    out, err = run(f"report 'my yields.csv' 'Yield ~ 1 + (1 | Batch)' -o new/folder/x.html {SHORT}")
    assert out == "wrote new/folder/x.html\n"
    text = Path("new/folder/x.html").read_text(encoding="utf-8")
    assert "my yields.csv" in text
    assert "1 of 30 rows was left out." in text
    assert "warning: 1 of 30 rows have missing values" in err
    assert sorted(path.name for path in Path().rglob("*")) == ["folder", "my yields.csv", "new", "x.html"]


def test_default_formulas_fit_their_data():
    assert set(FORMULAS) == set(REGISTRY)
    for name, formula in FORMULAS.items():
        if REGISTRY[name].access != "download":
            model = hb.Model(formula, hb.load_data(name), family=default_family(name), **default_arguments(name))
            assert model.design.n == REGISTRY[name].rows
    with pytest.raises(FormulaError, match="Did you mean 'cbpp'"):
        default_formula("cbbp")


# --- fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "present"),
    [("reml", {"reml"}), ("ml", {"ml"}), ("bayes", {"bayes"}), ("both", {"reml", "bayes"})],
)
def test_fit_as_json_holds_what_the_library_says(method, present):
    out, _ = run(f"fit sleepstudy --method {method} --json {SHORT}")
    read = json.loads(out)
    assert present == set(read) & {"reml", "ml", "bayes"}
    assert (read["rows"], read["levels"], read["rows_dropped"]) == (180, {"Subject": 18}, 0)
    model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    if present & {"reml", "ml"}:
        wanted = model.reml() if "reml" in present else model.ml()
        got = read["reml" if "reml" in present else "ml"]
        assert got["criterion"] == pytest.approx(wanted.criterion)
        assert [row["estimate"] for row in got["estimates"]] == pytest.approx(wanted.tidy()["estimate"].tolist())
        assert (got["singular"], got["converged"]) == (False, True)
    if "bayes" in present:
        assert read["bayes"]["seed"] == 1
        assert [row["term"] for row in read["bayes"]["estimates"]][:2] == ["Intercept", "Days"]
        assert {row["parameter"] for row in read["bayes"]["diagnostics"]} >= {"Days", "sigma"}


def test_fit_of_another_family_is_that_of_the_library():
    read = json.loads(run("fit cbpp --method ml --nagq 25 --json")[0])
    model = hb.Model("p(incidence, size) ~ period + (1 | herd)", hb.load_data("cbpp"), family="binomial")
    assert (read["family"], read["link"], read["ml"]["nagq"]) == ("binomial", "logit", 25)
    assert read["ml"]["criterion"] == pytest.approx(model.ml(nagq=25).criterion)
    assert [row["estimate"] for row in read["ml"]["estimates"]] == pytest.approx(
        model.ml(nagq=25).tidy()["estimate"].tolist()
    )
    out, _ = run(f"fit cbpp '{model.formula}' --family binomial --link probit --method ml")
    wanted = hb.Model(model.formula, model.data, family="binomial", link="probit").ml().tidy()
    row = next(line for line in out.splitlines() if line.split()[:1] == ["period[2]"])
    assert float(row.split()[1].replace("\N{MINUS SIGN}", "-")) == pytest.approx(wanted["estimate"][1], abs=5e-4)
    assert "56 rows, 15 levels of herd, family binomial(probit)" in out
    assert "ML (Laplace): 95% Wald intervals; criterion" in out
    assert "'--method': REML needs a Gaussian response" in one_sentence(*run("fit cbpp --method reml", code=2))


def test_a_family_without_maximum_likelihood_is_fitted_by_its_posterior_alone():
    out, err = run("fit Dyestuff --family laplace --draws 20 --tune 30 --chains 2 --seed 1")
    assert "ML" not in out
    row = next(line for line in out.splitlines() if line.split()[:2] == ["Residual", "b"])
    assert len(row.split()) == 2 + 4
    assert "warning: Maximum likelihood does not know laplace(identity)" in err
    assert "does not know laplace(identity)" in one_sentence(
        *run("fit Dyestuff --family laplace --method ml", code=2)
    )


def test_the_response_of_a_data_set_keeps_its_family():
    out, _ = run("fit cbpp 'p(incidence,size) ~ 1 + (1 | herd)' --method ml --json")
    assert json.loads(out)["family"] == "binomial"


def test_the_category_that_is_modelled_is_said():
    data = hb.load_data("sleepstudy")
    data.assign(ans=np.where(data["Reaction"] > 300, "yes", "no")).to_csv("answers.csv", index=False)
    line = "fit answers.csv 'ans ~ Days + (1 | Subject)' --family bernoulli --method ml"
    assert "probability of ans = no" in run(line)[0]
    assert json.loads(run(f"{line} --json")[0])["event"] == "ans = no"


def test_fit_prints_both_inferences_side_by_side():
    out, _ = run(f"fit sleepstudy 'Reaction ~ Days + (1 | Subject)' {SHORT}")
    row = next(line for line in out.splitlines() if line.split()[:1] == ["Days"])
    reml = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy")).reml().tidy().iloc[1]
    numbers = row.split()[1:]
    assert len(numbers) == 8
    assert float(numbers[0]) == pytest.approx(reml["estimate"], abs=5e-3)
    assert float(numbers[2]) == pytest.approx(reml["conf_low"], abs=5e-3)
    assert "REML: 95% Wald intervals" in out
    assert "posterior: 95% equal-tailed intervals; seed 1" in out


def test_fit_of_crossed_factors():
    out, _ = run("fit Penicillin 'diameter ~ 1 + (1 | plate) + (1 | sample)' --method reml")
    assert "144 rows, 24 levels of plate, 6 levels of sample" in out
    wanted = hb.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", hb.load_data("Penicillin")).reml().tidy()
    for group in ("plate", "sample"):
        row = next(line for line in out.splitlines() if line.split()[:2] == [group, "sd(Intercept)"])
        assert float(row.split()[2]) == pytest.approx(wanted.set_index("group")["estimate"][group], abs=5e-4)
    read = json.loads(run("fit Penicillin 'diameter ~ 1 + (1 | plate) + (1 | sample)' --method reml --json")[0])
    assert read["levels"] == {"plate": 24, "sample": 6}


def test_weights_standard_errors_and_residual_correlation():
    data = hb.load_data("sleepstudy").assign(n=lambda d: 1 + d["Days"] % 3, e=lambda d: 20.0 + d["Days"])
    data.to_csv("s.csv", index=False)
    for options, formula, arguments in (
        ("--weights n", "Reaction ~ Days + (1 | Subject)", {"weights": "n"}),
        ("--se e", "Reaction ~ Days + (1 | Subject)", {"se": "e"}),
        ("--residual 'ar1(Days | Subject)'", "Reaction ~ Days", {"residual": "ar1(Days | Subject)"}),
        ("--residual 'cs(Subject)' --weights n", "Reaction ~ Days", {"residual": "cs(Subject)", "weights": "n"}),
    ):
        read = json.loads(run(f"fit s.csv '{formula}' --method reml --json {options}")[0])
        wanted = hb.Model(formula, data, **arguments).reml()
        assert read["reml"]["criterion"] == pytest.approx(wanted.criterion)
        assert [row["term"] for row in read["reml"]["estimates"]] == wanted.tidy()["term"].tolist()
        assert read.get("residual") == arguments.get("residual")
    out, _ = run(f"fit s.csv 'Reaction ~ Days' --residual 'ar1(Days | Subject)' {SHORT}")
    assert "180 rows, residuals ar1(Days | Subject)" in out
    row = next(line for line in out.splitlines() if line.split()[:2] == ["Residual", "rho"])
    assert all(len(number.partition(".")[2]) == 3 for number in row.split()[2:])
    assert "levels" not in out


def test_a_missing_standard_error_is_a_dash():
    out, err = run("fit Dyestuff2 --method reml")
    row = next(line for line in out.splitlines() if "sd(Intercept)" in line)
    assert row.split()[-3:] == ["—"] * 3
    assert err.count("warning: ") == 1


# --- data -------------------------------------------------------------------------------------


def test_data_are_listed_shown_and_written():
    out, _ = run("data")
    assert all(name in out for name in REGISTRY)
    listed = json.loads(run("data --json")[0])
    assert [entry["name"] for entry in listed] == list(REGISTRY)
    out, _ = run("data sleepstudy")
    assert "249.56" in out
    assert "10 of 180 rows" in out
    shown = json.loads(run("data sleepstudy --json")[0])
    assert shown["head"][0] == {"Reaction": 249.56, "Days": 0, "Subject": "308"}
    assert run("data sleepstudy -o out/s.csv")[0] == "wrote out/s.csv\n"
    assert_frame_equal(pd.read_csv("out/s.csv", dtype={"Subject": str}), hb.load_data("sleepstudy"))


# --- help -------------------------------------------------------------------------------------


def test_help_and_version():
    out, _ = run("--help")
    assert all(command in out for command in ("report", "fit", "data"))
    assert run("--version")[0] == f"hierbayes {hb.__version__}\n"
    out, err = run("", code=2)
    assert "Usage" in out + err


# --- everything that can be wrong -------------------------------------------------------------


def write_files():
    """Files that a user might hand over."""
    data = hb.load_data("Dyestuff")
    data.to_csv("good.csv", index=False)
    data.assign(one="a").to_csv("one_level.csv", index=False)
    data.assign(**{"my x": range(30)}).to_csv("spaced.csv", index=False)
    data.assign(row=range(30)).to_csv("many_levels.csv", index=False)
    data.assign(Yield=5.0).to_csv("constant.csv", index=False)
    data.assign(Yield=["inf", *["1", "2"] * 14, "3"]).to_csv("infinite.csv", index=False)
    data.assign(x=np.nan).to_csv("missing_column.csv", index=False)
    data.assign(x=range(30), z=range(0, 60, 2)).to_csv("deficient.csv", index=False)
    data.assign(Yield="much").to_csv("text.csv", index=False)
    data.assign(w=[0.0, *[1.0] * 29], day=[0, 1, 2.5, 4, 5] * 6, half="x").to_csv("more.csv", index=False)
    Path("picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))
    Path("latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    Path("prose.csv").write_text("It was a dark and stormy night.\nThe rain fell in torrents.\n")
    Path("semicolons.csv").write_text("a;b\n1;2\n")
    Path("ragged.csv").write_text("a,b\n1,2\n1,2,3,4\n")
    Path("header.csv").write_text("y,x,g\n")
    Path("empty.csv").write_text("")
    Path("blank.csv").write_text("\n\n\n")
    Path("fake.csv.gz").write_bytes(b"not gzip at all")
    Path("a_folder").mkdir()


WRONG = {
    "missing.csv 'y ~ 1 + (1 | g)'": "There is no file missing.csv",
    "a_folder 'y ~ 1 + (1 | g)'": "a_folder is a folder",
    "picture.csv 'y ~ 1 + (1 | g)'": "picture.csv is not a text file",
    "latin.csv 'y ~ 1 + (1 | g)'": "latin.csv is not a text file in UTF-8",
    "prose.csv 'y ~ 1 + (1 | g)'": "prose.csv has one column only",
    "semicolons.csv 'y ~ 1 + (1 | g)'": "semicolons.csv has one column only",
    "ragged.csv 'y ~ 1 + (1 | g)'": "line 3",
    "empty.csv 'y ~ 1 + (1 | g)'": "empty.csv is empty",
    "blank.csv 'y ~ 1 + (1 | g)'": "blank.csv is empty",
    "fake.csv.gz 'y ~ 1 + (1 | g)'": "fake.csv.gz",
    "header.csv 'y ~ 1 + (1 | g)'": "no rows",
    "good.csv": "A file needs a formula",
    "sleepstdy": "Did you mean 'sleepstudy'?",
    "cbpp 'incidence ~ period + (1 | herd)' --family binomial": "needs successes and trials",
    "cbpp --family binomal": "Did you mean 'binomial'?",
    "cbpp --link lgit": "has no link 'lgit' for p; it has identity, logit, probit, cloglog",
    "sleepstudy --nagq 5": "'--nagq': the likelihood of a Gaussian response is exact",
    "cbpp --nagq 0": "'--nagq'",
    "good.csv 'Yeild ~ 1 + (1 | Batch)'": "Did you mean 'Yield'?",
    "good.csv 'Yield ~ source + (1 | Batch)'": "The formula uses 'source'",
    "good.csv 'Yield ~ (1 | Batch'": "a parenthesis is not closed",
    "good.csv 'Yield ~ ~ (1 | Batch)'": "does not parse",
    "good.csv 'Yield ~ 1'": "has no random effect",
    "good.csv ''": "The formula must be a text",
    "Pastes 'strength ~ 1 + (1 | sample) + (1 | batch:cask)'": "'sample' and 'batch:cask' make the same groups",
    "spaced.csv 'Yield ~ my x + (1 | Batch)'": "is written `my x` in a formula",
    "one_level.csv 'Yield ~ 1 + (1 | one)'": "'one' has one level",
    "many_levels.csv 'Yield ~ 1 + (1 | row)'": "'row' has as many levels as there are rows",
    "constant.csv 'Yield ~ 1 + (1 | Batch)'": "'Yield' has the same value in every row",
    "infinite.csv 'Yield ~ 1 + (1 | Batch)'": "'Yield' has an infinite value",
    "missing_column.csv 'Yield ~ x + (1 | Batch)'": "'x' has no value at all",
    "deficient.csv 'Yield ~ x + z + (1 | Batch)'": "'z' of the fixed effects is a linear combination of 'x'",
    "text.csv 'Yield ~ 1 + (1 | Batch)'": "'Yield' is text",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --weights u": "--weights uses 'u', which is not a column of the data",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --weights ''": "--weights uses '', which is not a column of the data",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --weights w": "a weight must be a positive number",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --weights half": "a weight must be a positive number",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --se w": "a standard error must be a positive number",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --se w --weights w": "Give weights or se, not both",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --residual ma1": "residual='ma1' is not a structure",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --residual ''": "residual='' is not a structure",
    "more.csv 'Yield ~ 1' --residual 'cs(Bach)'": "Did you mean 'Batch'?",
    "more.csv 'Yield ~ 1' --residual 'ar1(day | Batch)' --se Yield --colour": "--colour",
    "more.csv 'Yield ~ 1' --residual 'ar1(half | Batch)'": "must be numbers or dates",
    "more.csv 'Yield ~ 1 + (1 | Batch)' --residual 'cs(Batch)'": "say the same",
    "good.csv 'Yield ~ 1 + (1 | Batch)' --se": "'--se'",
    "": "Missing argument 'SOURCE'",
    "good.csv 'Yield ~ 1 + (1 | Batch)' surplus": "surplus",
    "good.csv 'Yield ~ 1 + (1 | Batch)' --draws 0": "'--draws'",
    "good.csv 'Yield ~ 1 + (1 | Batch)' --chains many": "'--chains'",
    "good.csv 'Yield ~ 1 + (1 | Batch)' --seed -1": "'--seed'",
    "good.csv 'Yield ~ 1 + (1 | Batch)' --colour": "--colour",
}


@pytest.mark.parametrize("command", ["report", "fit"])
@pytest.mark.parametrize(("arguments", "reason"), WRONG.items())
def test_what_is_wrong_is_said_in_one_sentence(command, arguments, reason):
    write_files()
    before = sorted(Path().rglob("*.html"))
    assert reason in one_sentence(*run(f"{command} {arguments}", code=2))
    assert sorted(Path().rglob("*.html")) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("report Dyestuff -o good.csv/x.html", "The folder good.csv cannot be created"),
        ("report Dyestuff -o good.csv/deeper/x.html", "cannot be created"),
        ("report Dyestuff -o a_folder", "a_folder is a folder"),
        ("report Dyestuff -o /dev/null", "not an ordinary file"),
        ("data Dyestuff -o good.csv/x.csv", "cannot be created"),
        ("data Dyestuff -o a_folder", "a_folder is a folder"),
        ("data Dyestuf", "Did you mean 'Dyestuff'?"),
        ("data -o x.csv", "name the data set"),
        ("data sleepstudy -o x.xlsx", "written as .csv, .parquet, .feather, not 'x.xlsx'"),
        ("data sleepstudy -o good.csv", "is there already, with other content"),
        ("fit sleepstudy --method reml -o x.csv", "a file that ends with .hb"),
        ("data Dyestuff more", "more"),
        ("fit Dyestuff --method moments", "moments"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("--frobnicate", "--frobnicate"),
    ],
)
def test_what_cannot_be_written_or_does_not_exist(arguments, reason):
    write_files()
    assert reason in one_sentence(*run(arguments, code=2))


def test_a_report_folder_that_is_a_file():
    Path("reports").write_text("in the way")
    assert "The folder reports cannot be created" in one_sentence(*run("report Dyestuff", code=2))


def test_names_of_the_command_line_are_not_columns():
    for name in ("app", "typer", "json", "source", "formula", "data", "report", "Model"):
        assert f"uses '{name}'" in one_sentence(*run(f"fit Dyestuff 'Yield ~ {name} + (1 | Batch)'", code=2))


# --- interruption -----------------------------------------------------------------------------


def test_control_c_ends_a_running_command():
    code = (
        "import os, signal, threading\n"
        "from hierbayes import cli, model\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "whole = model.Model.fit\n"
        "def fit(self, *args, **kwargs):\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    return whole(self, *args, **kwargs)\n"
        "model.Model.fit = fit\n"
        "cli.app(['report', 'sleepstudy', '--draws', '3000000', '-o', 'x.html'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert list(Path().iterdir()) == []


# --- real processes ---------------------------------------------------------------------------


def test_a_process_reports_and_refuses():
    done = subprocess.run([*COMMAND, "fit", "Dyestuff2", "--method", "reml"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "sd(Intercept)" in done.stdout
    assert done.stderr.startswith("warning: ")
    assert done.stderr.count("\n") == 1
    done = subprocess.run([*COMMAND, "report", "nowhere.csv"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: There is no file nowhere.csv.\n")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from hierbayes.cli import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit as ended:\n"
        "    assert ended.code == 0\n"
        "print([m for m in ('numpy', 'pandas', 'pymc', 'matplotlib', 'scipy', 'jinja2') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
