"""What notebooks show: sound HTML with the numbers of the tables, with whatever is wrong first."""

from __future__ import annotations

import inspect
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.base import BaseEstimator

import hierbayes as hb
from hierbayes import display
from hierbayes.checks.check import SEVERITIES, Check, Verdict
from hierbayes.cross_validation.comparison import Comparison
from hierbayes.cross_validation.elpd import ELPD
from hierbayes.cross_validation.elpd_kfold import KFoldELPD
from hierbayes.diagnostics import Convergence

FOUR_DIGITS = 5e-4
"""Largest relative error of a number with four significant digits."""
VOID = {"br", "hr", "img", "input"}
SHOWN = ["term", "group", "estimate", "std_error", "conf_low", "conf_high"]
WITHOUT = {"GaussianWrapper"}
"""Classes that are no results: what ArviZ calls while it refits."""


class Reading(HTMLParser):
    """Tags in balance, the texts of the cells of every table, and the text of the whole."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        """Open an element."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        """Close the element that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Keep a text, in its cell if it has one."""
        if "style" not in self.open:
            self.text += data
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data


def read(result):
    return Reading(result if isinstance(result, str) else result._repr_html_())


def frame_of(rows):
    return pd.DataFrame(rows[1:], columns=rows[0])


@pytest.fixture(scope="module")
def results(fit_sleepstudy, sleepstudy):
    """One of every class."""
    dyestuff = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
    cbpp = hb.load_data("cbpp").astype({"period": str})
    binomial = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    groups = hb.load_data("five_groups")
    within = hb.Model("y ~ X + (1 | group)", groups)
    gaps = sleepstudy.assign(Reaction=sleepstudy["Reaction"].where(sleepstudy.index % 7 != 0))
    missing = hb.missing("Reaction ~ Days + (1 | Subject)", gaps)
    smaller = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).fit(draws=500, seed=1, progress=False)
    reml = dyestuff.reml()
    fit, scores = fit_sleepstudy, fit_sleepstudy.loo()
    kfold = KFoldELPD(
        elpd=-870.5, se=24.1, p=9.0, n_samples=4000, n_data_points=180, scale="log", warning=False, good_k=None,
        n_folds=2, fold=np.arange(180) % 2, elpd_i=scores.elpd_i,
    )  # fmt: skip
    power = hb.power(
        "y ~ X + (1 | subject)",
        effects={"X": 0.3},
        sds={"subject": 0.5},
        sigma=1,
        groups=[10, 20],
        rows=5,
        within={"X": scipy.stats.norm()},
        simulations=20,
        seed=1,
        progress=False,
    )
    return {
        "Model": binomial,
        "Design": dyestuff.design,
        "RemlFit": reml,
        "LaplaceFit": binomial.ml(),
        "Fit": fit_sleepstudy,
        "FamilyFit": hb.FamilyFit(fit.design, fit.priors, fit.idata),  # with other draws, to save their time
        "Convergence": fit_sleepstudy.convergence,
        "Check": reml.check(),
        "Comparison": hb.compare({"one": smaller, "two": fit_sleepstudy}),
        "ELPD": scores,
        "KFoldELPD": kfold,
        "FutureELPD": fit_sleepstudy.lfo("Days", start=8, refit=False),
        "Bootstrap": reml.bootstrap(20, seed=1, progress=False),
        "Profile": reml.profile(),
        "Quadrature": dyestuff.quadrature(),
        "Evidence": dyestuff.evidence(),
        "BayesFactor": hb.bayes_factor(dyestuff, dyestuff, sensitivity=[1.0]),
        "Power": power,
        "CrossValidation": hb.cross_validate(within, estimators={}, k=2, bayes=False, progress=False),
        "Hausman": hb.hausman(within),
        "Correlations": hb.correlations(groups, "X", "y", "group"),
        "Grouping": hb.grouping(hb.load_data("Penicillin"), "plate", "sample"),
        "Missing": missing,
        "Sensitivity": missing.sensitivity(deltas=[0, 1], imputations=3),
        "Implied": reml.implied(),
    }


NAMES = [
    "Model", "Design", "RemlFit", "LaplaceFit", "Fit", "FamilyFit", "Convergence", "Check", "Comparison", "ELPD",
    "KFoldELPD", "FutureELPD", "Bootstrap", "Profile", "Quadrature", "Evidence", "BayesFactor", "Power",
    "CrossValidation", "Hausman", "Correlations", "Grouping", "Missing", "Sensitivity", "Implied",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_result_is_sound_html_that_asks_for_nothing(results, name):
    result = results[name]
    assert type(result).__name__ == name
    html = result._repr_html_()
    found = read(html)
    assert html.startswith('<div class="hb-panel">')
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not [key for key, _ in found.attributes if key in {"src", "href", "style"} or key.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", html)
    assert found.tags.count("style") == 1
    assert "nan" not in found.text.split()


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_table_has_its_headers(results, name):
    html = results[name]._repr_html_()
    for rows in read(html).tables:
        assert {len(row) for row in rows} == {len(rows[0])}
    for row in re.findall(r"<tbody>(.*?)</tbody>", html, re.S):
        assert row.count("<tr>") == len(re.findall('<tr><th scope="row"', row))
    for head in re.findall(r"<thead>(.*?)</thead>", html, re.S):
        assert head.count("<th") == head.count('<th scope="col"')
        assert "<td" not in head


def test_every_public_class_of_results_has_a_panel():
    public = {name: getattr(hb, name) for name in hb.__all__ if name != "__version__"}
    plain = {
        name
        for name, value in public.items()
        if inspect.isclass(value)
        and not issubclass(value, (BaseException, BaseEstimator))
        and not value.__module__.startswith("hierbayes.side_by_side")  # what figures are drawn from
        and not hasattr(value, "_repr_html_")
    }
    assert plain == WITHOUT


@pytest.mark.parametrize("name", ["RemlFit", "LaplaceFit", "Fit", "FamilyFit", "Quadrature"])
def test_the_numbers_are_those_of_tidy(results, name):
    [rows] = read(results[name]).tables
    shown, tidy = frame_of(rows), results[name].tidy()
    assert list(shown.columns) == SHOWN
    assert shown["term"].tolist() == tidy["term"].tolist()
    assert shown["group"].tolist() == tidy["group"].fillna("").tolist()
    numbers = shown[SHOWN[2:]].replace("\N{EM DASH}", np.nan).astype(float)
    np.testing.assert_allclose(numbers, tidy[SHOWN[2:]], rtol=FOUR_DIGITS)


def test_a_check_shows_its_findings_the_gravest_first(results):
    check = results["Check"]
    [rows] = read(check).tables
    shown = frame_of(rows)
    order = [SEVERITIES.index(word) for word in shown["severity"]]
    assert order == sorted(order, reverse=True)
    assert sorted(shown["finding"]) == sorted(check.findings["finding"])


def test_names_from_the_data_are_escaped():
    nasty = "<u>&'\"</u><script>alert(1)</script>"
    table = pd.DataFrame({nasty: [nasty], "p_value": [1e-9]}, index=pd.Index([nasty], name=nasty))
    html = display.document(
        nasty,
        nasty,
        display.facts({nasty: nasty}),
        display.said([("note", nasty)]),
        display.table(table, nasty),
        formula=nasty,
    )
    found = read(html)
    assert "script" not in found.tags
    assert "u" not in found.tags
    assert found.text.count(nasty) == 4 + 2 + 5  # title, formula, text, note; a fact; caption and cells
    assert found.tables == [[[nasty, nasty, "p_value"], [nasty, nasty, "<0.001"]]]
    assert ("aria-label", nasty) in found.attributes


def test_levels_and_columns_of_a_model_are_escaped():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {"y": rng.normal(size=40), "a": np.tile(["<i>u</i>", "v"], 20), "g": np.repeat([*"stuv"], 10)}
    )
    model = hb.Model("y ~ a + (1 | g)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        found = read(model.reml()), read(model)
    assert all("i" not in each.tags for each in found)
    labels = model.design.labels
    assert [row[0] for row in found[0].tables[0][1:3]] == labels
    check = Check("<i>", [Verdict("<u>", "note", "<b>")])
    assert not {"i", "u", "b"} & set(read(check).tags)


def test_a_singular_fit_says_so_before_anything_else():
    with pytest.warns(hb.SingularFit) as caught:
        reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2")).reml()
    said = reml._repr_html_().split("</style>")[1]
    assert said.index("Singular fit") < said.index("hb-facts") < said.index("<table")
    sentence = re.search(r"singular: (.*)$", str(caught[0].message))[1]
    assert f"warning Singular fit: {sentence}" in read(reml).text
    assert read(reml).tables[0][2] == ["sd(Intercept)", "Batch", "0", *"———"]


def test_draws_that_cannot_be_trusted_say_so_before_anything_else():
    with pytest.warns(hb.ConvergenceWarning):
        fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(30, 30, 2, seed=1, progress=False)
    said = fit._repr_html_().split("</style>")[1]
    assert said.index("effective sample size") < said.index("hb-facts") < said.index("<table")
    assert read(fit).text.count("effective sample size") == sum("sample size" in p for p in fit.convergence.problems)


def test_a_sound_fit_has_no_remarks(results):
    for name in ("RemlFit", "Fit", "LaplaceFit"):
        assert "hb-said" not in results[name]._repr_html_().split("</style>")[1]


def test_left_out_rows_are_counted(sleepstudy):
    data = sleepstudy.assign(Days=sleepstudy["Days"].where(sleepstudy["Days"] != 3))
    with pytest.warns(hb.RowsDropped):
        model = hb.Model("Reaction ~ Days + (1 | Subject)", data)
    assert "162 (18 incomplete rows left out)" in read(model).text
    assert "162 (18 incomplete rows left out)" in read(model.reml()).text


def test_the_structure_of_a_design():
    data = hb.load_data("sleepstudy").assign(z=np.arange(180) % 3)
    design = hb.Model("Reaction ~ Days + (Days | Subject) + (1 | z)", data).design
    table = design.structure
    assert table["effects"].tolist() == ["fixed", "random, Subject", "random, z"]
    assert table["levels"].tolist() == [pd.NA, 18, 3]
    assert table["terms"].tolist() == ["Intercept, Days", "Intercept, Days", "Intercept"]
    assert table["covariance"].tolist() == ["", "free", ""]
    assert f"Z: 180 x {design.Z.shape[1]}" in read(design).text
    uncorrelated = hb.Model("Reaction ~ Days + (Days || Subject)", data).design.structure
    assert "free" not in set(uncorrelated["covariance"])


def test_a_comparison_is_a_data_frame(results):
    table = results["Comparison"]
    assert isinstance(table, pd.DataFrame)
    for made in (table.copy(), table.round(1), table[["elpd", "se"]], table.loc[["two"]], table.reset_index()):
        assert type(made) is pd.DataFrame
    assert repr(table) == repr(pd.DataFrame(table))
    assert pd.DataFrame(table).equals(table)
    found = read(table)
    assert "leaving out one row at a time" in found.text
    [rows] = found.tables
    assert [row[0] for row in rows[1:]] == table.index.tolist()
    assert rows[0][1:] == [column for column in table if set(table[column]) != {""}]
    table.attrs.clear()
    assert "leaving out" in read(table).text


def test_a_close_comparison_shows_what_was_warned_of(fit_sleepstudy):
    elpd = fit_sleepstudy.loo()
    with pytest.warns(hb.ComparisonWarning) as caught:
        table = hb.compare({"one": elpd, "two": elpd})
    assert str(caught[0].message) in read(table).text


def test_a_high_pareto_k_is_said_first(fit_sleepstudy):
    elpd = fit_sleepstudy.loo()
    elpd.pareto_k = elpd.pareto_k.copy()
    elpd.pareto_k[:3] = 0.9
    said = read(elpd).text
    assert isinstance(elpd, ELPD)
    assert f"warning Pareto k is above {elpd.good_k:.2f} for 3 of 180 scores." in said
    assert "elpd_loo" in said


def test_a_profile_is_searched_and_warned_of_once(results):
    profile = results["Profile"]
    text, html = repr(profile), profile._repr_html_()
    profile.confint = None  # what is shown is kept
    assert (repr(profile), profile._repr_html_()) == (text, html)


def test_tables_are_cut_and_say_so():
    found = read(display.document("t", display.table(pd.DataFrame({"a": range(40)}), "numbers", longest=7)))
    assert len(found.tables[0]) == 8
    assert "numbers: the first 7 of 40 rows" in found.text


def test_numbers_of_a_column():
    columns = {
        "df": [18.0, np.nan, 3.0],
        "x": [0.5, -1234567.8, 1e-12],
        "p_value": [0.0005, 0.25, np.nan],
        "text": ["a", None, "b"],
        "when": [pd.Timestamp("2020-01-02"), pd.NaT, pd.Timestamp("2020-01-03")],
        "count": pd.array([1, pd.NA, 3], dtype="Int64"),
    }
    found = frame_of(read(display.document("t", display.table(pd.DataFrame(columns)))).tables[0])
    dash = "\N{EM DASH}"
    assert found["df"].tolist() == ["18", dash, "3"]
    assert found["x"].tolist() == ["0.5000", "-1234568", "1.000e-12"]
    assert found["p_value"].tolist() == ["<0.001", "0.2500", dash]
    assert found["text"].tolist() == ["a", "", "b"]
    assert found["when"].tolist() == ["2020-01-02 00:00:00", "", "2020-01-03 00:00:00"]
    assert found["count"].tolist() == ["1", dash, "3"]
    chances = frame_of(Reading(display.table(pd.DataFrame({"x": ["a", "b"], "p_value": [0.0, 1.0]}))).tables[0])
    assert chances["p_value"].tolist() == ["<0.001", "1.000"]
    assert [display.number(value) for value in (9999.4, 9999.7, -9999.7)] == ["9999", "10000", "-10000"]


def test_an_index_of_several_levels_heads_the_rows():
    index = pd.MultiIndex.from_tuples([("s", 1), ("t", 2)], names=["g", None])
    html = display.table(pd.DataFrame({("a", "b"): [1.5, 2.5]}, index=index))
    [rows] = Reading(html).tables
    assert rows == [["g", "", "a, b"], ["s", "1", "1.500"], ["t", "2", "2.500"]]
    assert html.count('scope="row"') == 4


def test_an_empty_table_is_its_head():
    assert Reading(display.table(pd.DataFrame({"a": [], "b": []}))).tables == [[["a", "b"]]]
    assert isinstance(Convergence(pd.DataFrame(), 0, ())._repr_html_(), str)
    assert Comparison({"elpd": [1.0]})._repr_html_().startswith("<div")
