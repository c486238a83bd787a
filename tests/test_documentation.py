"""What the documentation shows runs, prints what stands below it, and leaves no public name out; the site builds.

Every fenced block of README.md, CONTRIBUTING.md and docs/ is read. The blocks of a page run in order, in one
namespace and a temporary folder that holds `my.csv`:

- ``python`` is executed; ``python warns`` must warn of something that hierbayes warns of;
- ``console``: lines that begin with ``$ hierbayes`` are run, ``$ make`` must name a target of the Makefile, the
  others of `INSTALLING` are left alone;
- ``text`` is what the block above it printed, figures to within one unit of their last digit; ``text draws`` has
  figures of Monte Carlo draws, which another processor draws differently;
- ``toml`` and ``json`` parse; ``r`` is not run, and allowed on one page only.

Anything else fails, and so does a block that is none of these.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hierbayes as hb

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
INSTALLING = ("pip", "python", "git", "cd", "jupyter", "R")
"""Commands that a reader types once and that no test should."""
DIRECTIVES = {"{eval-rst}", "{toctree}", "{include}"}
R_PAGES = {"docs/for-lme4-users.md", "docs/for-brms-users.md"}
LAST_DIGIT = 1.01
"""Units of the last printed digit by which a figure may differ: it may be rounded the other way."""
DRAWS = 0.03
"""Relative difference of figures of draws, beside as many units of the last digit as `DRAWS_DIGITS`."""
DRAWS_DIGITS = 6
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, what it says it is, and what is in it."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def language(self):
        """What the block is written in."""
        return self.info.split()[0] if self.info else ""

    @property
    def words(self):
        """What else it says of itself."""
        return set(self.info.split()[1:])

    @property
    def place(self):
        """Page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page):
    """All fenced blocks of a page, in order; those within a list item are moved to the left."""
    found, fence, start, info, inside = [], "", 0, "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        bare = line.strip()
        if not fence:
            opened = re.fullmatch(r"\s*(`{3,}|~{3,})\s*([^`]*)", line)
            if opened:
                fence, start, info, inside = opened[1], number, opened[2].strip(), []
        elif bare and set(bare) == {fence[0]} and len(bare) >= len(fence):
            found.append(Block(page, start, info, textwrap.dedent("\n".join(inside))))
            fence = ""
        else:
            inside.append(line)
    assert not fence, f"{page}:{start} is not closed"
    return found


BLOCKS = {str(page.relative_to(ROOT)): blocks_of(page) for page in PAGES}
RUN = [name for name, blocks in BLOCKS.items() if any(block.language in ("python", "console") for block in blocks)]


def number_of(text):
    return float(text.replace(",", "").replace("−", "-"))


def last_digit(text):
    """The unit of the last digit of a printed figure."""
    mantissa, _, power = text.replace(",", "").lower().partition("e")
    return 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


def differences(printed, found, draws=False):
    """What of a printed text is not as found: words, or figures farther off than they may be."""
    words, figures = ([NUMBER.sub("#", text).split() for text in (printed, found)], [])
    if words[0] != words[1]:
        return [f"printed\n{printed}\nbut found\n{found}"]
    for text, other in zip(NUMBER.findall(printed), NUMBER.findall(found), strict=True):
        allowed = last_digit(text) * (DRAWS_DIGITS if draws else LAST_DIGIT)
        allowed += DRAWS * abs(number_of(text)) if draws else 0.0
        if abs(number_of(text) - number_of(other)) > allowed:
            figures.append(f"{text} is printed, {other} found, in\n{found}")
    return figures


def run_python(block, namespace):
    """Execute a block and return what it printed."""
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if "warns" in block.words:
            with pytest.warns(hb.HierbayesWarning):
                exec(code, namespace)
        else:
            exec(code, namespace)
    return printed.getvalue()


@functools.cache
def run_hierbayes(line):
    """Run a command in this process and return what it printed; once only, if several pages show it."""
    from typer.testing import CliRunner

    from hierbayes.cli import app

    result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{line}\n{result.output}"
    return result.stdout


def commands_of(block):
    """The commands of a console block, each with the output that is shown below it."""
    commands = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append((line[2:].strip(), []))
        elif line.strip():
            assert commands, f"{block.place}: {line!r} stands before the first command"
            commands[-1][1].append(line)
    return commands


def run_console(block):
    """Run what can be run of a console block, and compare the output that it shows."""
    printed = ""
    for line, shown in commands_of(block):
        name = line.split()[0]
        if name == "hierbayes":
            printed = run_hierbayes(line)
        elif name == "make":
            target = line.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"{block.place}: no {target}"
        else:
            assert name in INSTALLING, f"{block.place}: {line!r} is neither run nor known"
        if shown:
            assert differences("\n".join(shown), printed, "draws" in block.words) == [], block.place
    return printed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a table of the reader's own: y and x in 12 groups of 8."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 8)
    x = rng.normal(size=group.size)
    y = 3.0 + rng.normal(size=12)[group] + (0.5 + 0.4 * rng.normal(size=12)[group]) * x + rng.normal(size=group.size)
    frame = pd.DataFrame({"y": y.round(3), "x": x.round(3), "g": [f"g{k:02d}" for k in group]})
    frame.to_csv(tmp_path / "my.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIERBAYES_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", RUN)
def test_blocks_run_and_print_what_is_shown(name, folder):
    namespace, printed, above = {"__name__": "page"}, "", None
    for block in BLOCKS[name]:
        if block.language == "python":
            printed, above = run_python(block, namespace), block
        elif block.language == "console":
            printed, above = run_console(block), block
        elif block.language == "text":
            assert above is not None, f"{block.place}: a text block that nothing above it prints"
            assert differences(block.text, printed, "draws" in block.words) == [], block.place
            above = None
        else:
            above = None


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_of_a_known_kind(name):
    for block in BLOCKS[name]:
        allowed = {"python": {"warns"}, "text": {"draws"}, "console": {"draws"}}.get(block.language, set())
        assert block.language in {"python", "console", "text", "toml", "json", "r", *DIRECTIVES}, block.place
        assert block.language in DIRECTIVES or block.words <= allowed, block.place
        assert block.language != "r" or name in R_PAGES, block.place
        if block.language == "text":
            assert name in RUN, block.place
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            json.loads(block.text)


def test_a_wrong_figure_or_word_is_seen():
    assert differences("sd 24.74 of Days", "sd  24.75 of\nDays") == []
    assert differences("sd 24.74", "sd 24.76") != []
    assert differences("sd 24.74", "sd 24.74 more") != []
    assert differences("n = 1,000 and −0.5", "n = 1,000 and -0.5") == []
    assert differences("7.56", "7.80", draws=True) == []
    assert differences("7.56", "9.80", draws=True) != []
    assert [last_digit(text) for text in ("10", "0.25", "1.5e-3")] == [1.0, 0.01, pytest.approx(1e-4)]


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} points to {target}"


# --- the site ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does: without network, every warning an error."""
    pytest.importorskip("furo", reason="the documentation's tools are not installed")
    found = tmp_path_factory.mktemp("site")
    command = re.search(r"sphinx-build (.*) -d \S+ docs \S+", (ROOT / "Makefile").read_text())[1].split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, "-d", found / "doctrees", DOCS, found / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return found / "site"


@pytest.fixture(scope="module")
def documented(site):
    """Names that the reference documents."""
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind, items in inventory.data.items() if kind.startswith("py:") for name in items}


def test_the_reference_has_every_public_name(documented):
    public = {f"hierbayes.{name}" for name in hb.__all__ if not name.startswith("__")}
    public |= {f"hierbayes.plots.{name}" for name in hb.plots.__all__}
    assert public - documented == set()


def test_the_reference_has_every_method_of_what_people_hold(documented):
    for owner in (hb.Model, hb.RemlFit, hb.LaplaceFit, hb.Fit, hb.FamilyFit, hb.Check, hb.Power):
        for name in dir(owner):
            member = getattr(owner, name)
            if not name.startswith("_") and (callable(member) or isinstance(member, property)) and member.__doc__:
                assert f"hierbayes.{owner.__name__}.{name}" in documented, (owner.__name__, name)


def test_the_reference_shows_sections_as_sections(site):
    text = (site / "reference" / "model.html").read_text(encoding="utf-8")
    assert '<dt class="field-odd">Parameters' in text
    for raw in ("Parameters\n----", "----------", ":class:`", ":param"):
        assert raw not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)


def test_no_page_asks_for_anything_from_elsewhere(site):
    source_of = r"<(?:script|img|source|iframe|object|embed)\b[^>]*?\b(?:src|data)=[\"']([^\"']+)"
    sheet_of = r"<link\b(?=[^>]*rel=[\"'](?:stylesheet|icon|preload|prefetch|preconnect))[^>]*href=[\"']([^\"']+)"
    loading = re.compile(f"{source_of}|{sheet_of}")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for source in (first or second for first, second in loading.findall(text)):
            assert not re.match(r"(?:[a-z]+:)?//", source), f"{page.name} loads {source}"
            file = (page.parent / source.partition("?")[0]).resolve()
            assert source.startswith("data:") or file.exists(), f"{page.name} loads {source}, which is not there"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


def browser():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_the_site_in_a_browser(site):
    playwright = pytest.importorskip("playwright.sync_api")
    if browser() is None:
        pytest.skip("no Chromium found to open the site in")
    asked, errors = [], []
    with warnings.catch_warnings(), playwright.sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 380, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in ("index", "theory", "for-lme4-users", "benchmarks", "reference/model"):
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= 380, f"{name} is wider than a telephone"
            if name == "theory":
                page.wait_for_selector("mjx-container")
        chromium.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_the_benchmark_page_is_what_the_last_run_makes():
    from benchmarks.__main__ import read
    from benchmarks.page import GLANCE, overview, page

    found = read()
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == page(found)
    for section in GLANCE:
        assert overview(found, section) in (ROOT / "README.md").read_text(encoding="utf-8")
