"""The report as Markdown, JSON, netCDF and BibTeX: the same numbers everywhere, and files that are whole or absent.

Markdown is read back by markdown-it, JSON by a strict reader, netCDF by ArviZ.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from itertools import pairwise
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bs4 import BeautifulSoup
from fixtures_report import Page, page, study
from markdown_it import MarkdownIt

import hierbayes as hb
from hierbayes.errors import HierbayesError, HierbayesWarning, OutputError
from hierbayes.plain import as_plain
from hierbayes.report import forms
from hierbayes.report.contents import read, sections_of, table_of
from hierbayes.report.markdown import as_markdown
from hierbayes.report.netcdf import write_netcdf
from hierbayes.report.notation import linear
from hierbayes.report.record import as_json
from hierbayes.report.symbols import equations

NUMBER = re.compile(r"−?\d[\d,]*(?:\.\d+)?(?:×10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?%?")
PAGES = pytest.mark.parametrize("html", ["slopes", "singular", "meta"], indirect=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """All forms of the report of a model, by their endings."""
    made = study("slopes")
    main = tmp_path_factory.mktemp("report") / "sleep.html"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # a short run on purpose
        path = hb.report(made.model, main, fit=made.fit, also=("md", "json", "nc", "bib"))
    assert path == main
    return {file.suffix[1:]: file for file in main.parent.iterdir()}


@pytest.fixture(scope="module")
def slopes(written) -> str:
    """The page among them."""
    return written["html"].read_text(encoding="utf-8")


@pytest.fixture
def html(request, slopes) -> str:
    """The page of a study."""
    return slopes if request.param == "slopes" else page(request.param)


def flat(text: str) -> str:
    """With small digits as digits, so that an index is the same in a formula and in a line of text."""
    return unicodedata.normalize("NFKC", text)


def numbers(text: str) -> set[str]:
    """All numbers as they are written."""
    return {found.rstrip(",") for found in NUMBER.findall(flat(text))}


def shown(html: str) -> str:
    """What a reader of the page sees outside drawings and formulas, cell by cell."""
    soup = BeautifulSoup(html, "html.parser")
    for hidden in soup.select("head, svg, math, nav"):
        hidden.decompose()
    for piece in soup.find_all(
        ["td", "th", "p", "li", "dt", "dd", "pre", "caption", "figcaption", "summary", "h2", "h3"]
    ):
        piece.append("\n")
    return soup.get_text()


def test_all_files_are_there(written):
    assert set(written) == {"html", "md", "json", "nc", "bib"}
    assert all(file.stem == "sleep" and file.stat().st_size for file in written.values())


# --- the same numbers -------------------------------------------------------------------------


def test_every_number_of_the_page_is_in_json_and_in_markdown(written):
    wanted = numbers(shown(written["html"].read_text(encoding="utf-8")))
    assert len(wanted) > 200
    for form in ("json", "md"):
        assert wanted <= numbers(written[form].read_text(encoding="utf-8"))


@PAGES
def test_every_number_of_the_page_is_in_its_sections_and_in_markdown(html):
    wanted = numbers(shown(html))
    said = json.dumps([vars(section) for section in sections_of(read(html))], ensure_ascii=False)
    assert len(wanted) > 50
    assert wanted <= numbers(said)
    assert wanted <= numbers(as_markdown(read(html)))


def test_the_test_sees_a_number_that_is_missing(slopes):
    soup = read(slopes)
    soup.select_one("table tbody td.num").string = "?"
    assert not numbers(shown(slopes)) <= numbers(as_markdown(soup))


# --- Markdown ---------------------------------------------------------------------------------


@PAGES
def test_markdown_is_read_back_with_the_headings_and_tables_of_the_page(html):
    text = as_markdown(read(html))
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inside = [token for outer in tokens for token in [outer, *(outer.children or [])]]
    assert not [token.content for token in inside if token.type in ("html_block", "html_inline")]
    headings = [
        (int(token.tag[1]), flat("".join(part.content for part in following.children)))
        for token, following in pairwise(tokens)
        if token.type == "heading_open"
    ]
    soup = BeautifulSoup(html, "html.parser")
    wanted = [
        (int(tag.name[1]), flat(" ".join(tag.get_text().split()))) for tag in soup.find_all(re.compile("^h[1-6]$"))
    ]
    assert headings == wanted
    tables: list[list[list[str]]] = []
    for token, following in pairwise(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("td_open", "th_open"):
            tables[-1][-1].append(" ".join("".join(part.content for part in following.children).split()))
    there = Page(html).tables
    assert len(tables) == len(there)
    for mine, theirs in zip(tables, there, strict=True):
        body = [[" ".join(cell.split()) for cell in row] for row in theirs]
        rows = [row for row in body if row[0] not in ("Estimate", "BLUP")]  # the second line of a head
        assert len({len(row) for row in mine}) == 1
        for got, want in zip(mine[1:], [row for row in rows[1:] if row[0] != "Mean"], strict=True):
            assert got[: len(want)] == want


def test_markdown_says_what_figures_show_and_writes_formulas_as_text(slopes):
    text = as_markdown(read(slopes))
    assert "\nyᵢⱼ = β₀ + b₀ⱼ + (β₁ + b₁ⱼ) Daysᵢⱼ + εᵢⱼ\n" in text
    assert "\n(b₀ⱼ, b₁ⱼ) ∼ N(0, Σ), Σ = [τ₀², ρ₀₁τ₀τ₁; ρ₀₁τ₀τ₁, τ₁²]\n" in text
    described = re.findall(r"^\*Figure: (.+)\*$", text, re.MULTILINE)
    assert described == [attrs["aria-label"] for attrs in Page(slopes).all("svg")]
    assert "| Parameter | REML: Estimate | REML: Std. error | REML: Low | REML: High | Posterior: Mean |" in text
    assert "```\nimport hierbayes as hb\n" in text


def test_what_looks_like_markup_is_escaped_in_markdown():
    html = "<p>1 < 2, a_b_c, *x*, &lt;b&gt;, `q`</p>"
    html += "<table><tbody><tr><th>1|g</th><td><code>a|b</code></td></tr></tbody></table>"
    text = as_markdown(read(html))
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    words = ["".join(part.content for part in token.children) for token in tokens if token.type == "inline"]
    assert words[0] == "1 < 2, a_b_c, *x*, <b>, `q`"
    assert r"1\|g" in text
    assert r"`a\|b`" in text


def test_links_of_markdown_lead_to_its_headings():
    html = '<h2 id="x">Group effects: a &amp; b</h2><p>see <a href="#x">there</a> and <a href="#none">here</a></p>'
    assert "[there](#group-effects-a--b) and here" in as_markdown(read(html))


@pytest.mark.parametrize(
    ("formula", "residual"),
    [
        ("y ~ x * a + (x | g)", None),
        ("y ~ x + a + z + x:z + (x + z | g) + (1 | h)", None),
        ("y ~ x", "ar1(x | g)"),
        ("y ~ x", "cs(g)"),
    ],
)
def test_every_formula_becomes_text_without_loss(formula, residual):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=40), "x": np.tile(np.arange(4.0), 10), "z": rng.normal(size=40)})
    data = data.assign(a=np.tile(["p", "q"], 20), g=np.repeat(np.arange(10), 4), h=np.tile(np.arange(8), 5))
    design = hb.Model(formula, data, residual=residual).design
    for equation in equations(design, {"a"}):
        element = BeautifulSoup(equation, "html.parser").math
        letters = [flat("".join(leaf.get_text().split())) for leaf in element.find_all(["mi", "mn", "mtext"])]
        text = flat("".join(" ".join(linear(element)).split()))
        assert sorted(filter(str.isalnum, "".join(letters))) == sorted(filter(str.isalnum, text))


# --- JSON -------------------------------------------------------------------------------------


def refuse(constant: str) -> None:
    """What JSON does not have."""
    raise AssertionError(constant)


def test_json_is_strict_and_says_what_was_fitted(written):
    text = written["json"].read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=refuse)
    assert record["formula"] == "Reaction ~ Days + (Days | Subject)"
    assert record["seed"] == 1
    assert record["versions"]["hierbayes"] == hb.__version__
    read_page = Page(written["html"].read_text(encoding="utf-8"))
    assert record["title"] in read_page.text
    assert [section["title"] for section in record["sections"]][:2] == [
        record["title"],
        record["sections"][1]["title"],
    ]
    assert all(finding["claim"] in read_page.text for finding in record["findings"])
    assert re.search(r"\b20\d\d-\d\d-\d\d", text) is None  # no date: the same fit gives the same file
    assert not re.search(r"<(?:svg|td|p|span)\b", text)


def test_tables_of_json_are_at_full_precision(written):
    tables = json.loads(written["json"].read_text(encoding="utf-8"))["tables"]
    made = study("slopes")
    for key, table in {"reml_tidy": made.reml.tidy(), "posterior_tidy": made.fit.tidy()}.items():
        records = tables[key]
        assert len(records) == len(table)
        for record, (_, row) in zip(records, table.iterrows(), strict=True):
            for column, value in row.items():
                if isinstance(value, str):
                    assert record[column] == value
                else:
                    assert record[column] == (None if pd.isna(value) else value)


def test_tables_of_sections_are_those_of_the_page(slopes):
    sections = {section.key: section for section in sections_of(read(slopes))}
    table = next(block for block in sections["estimates"].blocks if block["kind"] == "table")
    assert table["columns"][:3] == ["Parameter", "REML: Estimate", "REML: Std. error"]
    assert [row[0] for row in table["rows"] if not any(row[1:])] == [
        "Fixed effects",
        "Standard deviations",
        "Correlations",
        "Residual",
    ]


def test_a_table_with_spans_is_squared():
    html = """<table><thead><tr><th rowspan="2">a</th><th colspan="2">b</th></tr><tr><th>c</th><th>d</th></tr></thead>
    <tbody><tr><th rowspan="2">1</th><td>2</td><td>3</td></tr><tr><td colspan="2">4</td></tr></tbody></table>"""
    table = table_of(BeautifulSoup(html, "html.parser").table)
    assert table.columns == ["a", "b: c", "b: d"]
    assert table.rows == [["1", "2", "3"], ["", "4", ""]]


def test_values_become_plain():
    frame = pd.DataFrame(
        {("a", "b"): [1.0, np.inf], "q2.5": [pd.NA, "x"]}, index=pd.MultiIndex.from_tuples([(1, "u"), (2, "v")])
    )
    plain = as_plain({"frame": frame, "when": pd.Timestamp("2020-01-01"), "flag": np.True_, "many": {3}})
    assert plain == {
        "frame": [
            {"level_0": 1, "level_1": "u", "a.b": 1.0, "q2.5": None},
            {"level_0": 2, "level_1": "v", "a.b": None, "q2.5": "x"},
        ],
        "when": "2020-01-01 00:00:00",
        "flag": True,
        "many": [3],
    }


# --- netCDF -----------------------------------------------------------------------------------


def same(stored: xr.DataTree, tree: xr.DataTree) -> None:
    """Every group has the same variables, values and coordinates."""
    assert {node.path for node in stored.subtree} == {node.path for node in tree.subtree}
    for node in tree.subtree:
        left, right = stored[node.path].to_dataset(inherit=False), node.to_dataset(inherit=False)
        assert set(left.variables) == set(right.variables)
        for name, wanted in right.variables.items():
            found = left.variables[name]
            assert found.dims == wanted.dims
            if wanted.dtype == object:
                assert list(found.to_numpy().ravel()) == [
                    "" if x is None else str(x) for x in wanted.to_numpy().ravel()
                ]
            else:
                np.testing.assert_array_equal(found.to_numpy(), wanted.to_numpy())


def test_draws_are_read_back_by_arviz(written):
    fit = study("slopes").fit
    stored = az.from_netcdf(written["nc"])
    same(stored, fit.idata)
    posterior = stored["posterior"]
    for key, value in fit.idata["posterior"].attrs.items():
        kept = posterior.attrs[key]
        assert list(np.atleast_1d(kept)) == list(np.atleast_1d(value))
    mine, theirs = (az.summary(tree, var_names=["Days", "sigma"]) for tree in (stored, fit.idata))
    pd.testing.assert_frame_equal(mine, theirs)


def test_draws_of_a_family_and_streamed_draws_are_read_back(tmp_path):
    cbpp = hb.Model("p(incidence, size) ~ period + (1 | herd)", hb.load_data("cbpp"), family="binomial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # short runs on purpose
        fits = [
            cbpp.fit(draws=30, tune=60, chains=2, seed=1, progress=False),
            study("slopes").model.fit(
                draws=30, tune=60, chains=2, seed=1, progress=False, ranef=tmp_path / "effects.zarr"
            ),
        ]
    for k, fit in enumerate(fits):
        write_netcdf(fit.idata, tmp_path / f"{k}.nc")
        with xr.open_datatree(tmp_path / f"{k}.nc", engine="netcdf4") as stored:
            same(stored.load(), fit.idata)


def test_attributes_that_netcdf_has_not_are_the_nearest_that_it_has(tmp_path):
    attributes = {"yes": True, "none": None, "map": {"a": 1}, "mixed": ["a", 1], "big": 2**70, "empty": [], "x": 1.5}
    dataset = xr.Dataset({"a": ("t", np.array([None, "b"], dtype=object), {"flag": False})}, attrs=attributes)
    before = dataset.copy(deep=True)
    write_netcdf(xr.DataTree.from_dict({"/posterior": dataset}), tmp_path / "x.nc")
    xr.testing.assert_identical(dataset, before)
    with xr.open_datatree(tmp_path / "x.nc", engine="netcdf4") as stored:
        found = stored["posterior"].to_dataset().load()
    assert list(found["a"].values) == ["", "b"]
    assert found["a"].attrs["flag"] == 0
    assert found.attrs == {
        "yes": 1,
        "none": "null",
        "map": '{"a": 1}',
        "mixed": '["a", 1]',
        "big": str(2**70),
        "empty": "[]",
        "x": 1.5,
    }
    slashed = xr.DataTree.from_dict({"/posterior": xr.Dataset({"a": ("t/u", [1.0])})})
    with pytest.raises(HierbayesError, match="cannot be saved as netCDF"):
        write_netcdf(slashed, tmp_path / "y.nc")


# --- files ------------------------------------------------------------------------------------


def test_references_are_those_of_the_page(written):
    text = written["bib"].read_text(encoding="utf-8")
    assert text.lstrip().startswith("@")
    assert text.count("{") == text.count("}")


def test_the_main_form_goes_by_the_ending_and_further_forms_stand_beside_it(tmp_path):
    def names(*arguments):
        return [(target.path.name, target.form, target.place) for target in forms.prepare(*arguments)]

    assert names(tmp_path / "a.MD", "json") == [("a.MD", "md", 0), ("a.json", "json", 0)]
    assert names(tmp_path / "a") == [("a", "html", 0)]
    assert names(tmp_path / "a.json", ("json", "nc"), 3) == [
        ("a.json", "json", 0),
        ("a.nc", "nc", 0),
        ("a-2.nc", "nc", 1),
        ("a-3.nc", "nc", 2),
    ]
    assert list(tmp_path.iterdir()) == []


def test_forms_that_do_not_exist_and_files_that_cannot_be_are_refused_before_sampling(tmp_path):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    with pytest.raises(ValueError, match=r"ends in \.html, \.md or \.json, not in \.pdf"):
        hb.report(model, tmp_path / "a.pdf")
    with pytest.raises(ValueError, match="also has 'docx'"):
        hb.report(model, tmp_path / "a.html", also=("md", "docx"))
    (tmp_path / "a.nc").mkdir()
    with pytest.raises(OutputError, match=r"a\.nc is a folder"):
        hb.report(model, tmp_path / "a.html", also="nc")
    assert "marginal" not in vars(model)  # nothing has been prepared for the sampler
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_after_a_failure_all_old_files_are_still_there(tmp_path, monkeypatch):
    endings = ("html", "md", "json", "nc")
    for ending in endings:
        (tmp_path / f"a.{ending}").write_text("old")
    context = {"title": "t", "model": {"formula": "y ~ x"}, "reproduce": {"seed": 1, "versions": []}}
    context |= {"problems": [], "findings": []}
    monkeypatch.setattr(forms, "render", lambda _: "<main><h2>t</h2></main>")

    def fail(*_: object) -> None:
        raise HierbayesError("full")

    with monkeypatch.context() as patched:
        patched.setattr(forms, "write_netcdf", fail)
        with pytest.raises(HierbayesError, match="full"):
            forms.write(context, tmp_path / "a.html", endings, [study("intercepts").fit])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a.{ending}" for ending in endings)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    forms.write(context, tmp_path / "a.html", endings, [study("intercepts").fit])
    assert (tmp_path / "a.md").read_text() == "## t\n"
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(
        as_json(context, read("<main><h2>t</h2></main>"))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a.{ending}" for ending in endings)
