"""The report in a real browser, headless Chromium: what it loads, what can be seen, read, reached and printed.

Without Chromium the tests that need it are skipped; the environment variable CHROMIUM may name one.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from fixtures_report import study
from PIL import Image

import hierbayes as hb
from hierbayes.errors import HierbayesWarning

WIDE, NARROW = 1280, 380
WIDTHS, SCHEMES = (WIDE, NARROW), ("light", "dark")
EVERYWHERE = pytest.mark.parametrize(("width", "scheme"), list(product(WIDTHS, SCHEMES)))
AA, GRAPHICS = 4.5, 3.0
"""WCAG 2.2: least contrast of text (1.4.3) and of what a figure is read by (1.4.11)."""
SMALLEST = 12.0
"""Pixels of the smallest letters."""


@cache
def report() -> str:
    """A report of two candidates: something to read first, every kind of figure and table, and what folds away."""
    main = study("slopes")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)  # short runs on purpose
        other = hb.Model("Reaction ~ Days + (1 | Subject)", main.model.data)
        fits = {"slopes": main.fit, "intercepts": other.fit(draws=200, tune=300, seed=2, progress=False)}
        models = {"slopes": main.model, "intercepts": other}
        path = hb.report(models, Path(folder, "report.html"), fit=fits, progress=False)
        return path.read_text(encoding="utf-8")


@dataclass
class Visit:
    """An open page and everything that it asked for or complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def evaluate(self, script: str) -> Any:
        """What a function of JavaScript says of the page."""
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> Iterator[Callable[..., Visit]]:
    """Open a report at a width and in a colour scheme; each is opened once."""
    asked = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in asked if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium found; install one, or name it by the environment variable CHROMIUM")
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("pages")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])

        @cache
        def opened(width: int = WIDE, scheme: str = "light", change: Callable[[str], str] = str) -> Visit:
            path = Path(folder, f"{change.__name__}.html")
            path.write_text(change(report()), encoding="utf-8")
            made = Visit(browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme))
            made.page.on("request", lambda request: made.requests.append(request.url))
            made.page.on("console", lambda message: made.complaints.append(message.text))
            made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
            made.page.goto(path.as_uri())
            return made

        yield opened
        browser.close()


# --- what it loads ----------------------------------------------------------------------------


@EVERYWHERE
def test_it_loads_nothing_but_itself_and_complains_of_nothing(visit, width, scheme):
    made = visit(width, scheme)
    assert made.complaints == []
    assert [Path(url).name for url in made.requests] == ["str.html"]


def intruded(text: str) -> str:
    """A page into which somebody has put what it does not need."""
    return text.replace(
        "</main>", '<img src="https://example.invalid/a.png"><script>document.title = "b"</script></main>'
    )


def test_its_own_policy_forbids_scripts_and_everything_external(visit):
    made = visit(change=intruded)
    assert made.page.title() != "b"
    assert len(made.complaints) == 2
    assert all("Content Security Policy" in text for text in made.complaints)


# --- what can be seen -------------------------------------------------------------------------

UNFOLD = "() => document.querySelectorAll('details').forEach(each => { each.open = true })"
BOXES = """() => [...document.querySelectorAll('svg')].map(svg => {
  const box = svg.getBoundingClientRect(), around = svg.closest('.scroll').getBoundingClientRect()
  return [around.left + scrollX, box.top + scrollY, Math.min(box.right, around.right) + scrollX, box.bottom + scrollY,
          box.width, box.height]
})"""


@EVERYWHERE
def test_every_figure_is_there_and_drawn(visit, width, scheme):
    made = visit(width, scheme)
    made.evaluate(UNFOLD)
    boxes = made.evaluate(BOXES)
    assert len(boxes) >= 9
    picture = Image.open(io.BytesIO(made.page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
    for *edges, across, down in boxes:
        assert across > 100
        assert down > 100
        drawn = picture.crop([round(edge) for edge in edges])
        pixels = drawn.width * drawn.height
        counts = sorted(drawn.getcolors(pixels), reverse=True)
        assert len(counts) > 50  # letters have many shades
        paper = counts[0][1]
        assert (sum(paper) > 384) == (scheme == "light")
        assert sum(count for count, color in counts if distance(color, paper) > 60) > 0.01 * pixels


def distance(color: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How far two colours are apart in the channel where they differ most."""
    return max(abs(a - b) for a, b in zip(color, other, strict=True))


CLIPPED = """() => [...document.querySelectorAll('td, th, caption > span, p, li, h1, h2, h3')].filter(each => {
  if (!each.checkVisibility() || each.closest('svg, nav')) return false
  const region = each.closest('.scroll')
  const hidden = each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline'
  const box = each.getBoundingClientRect()
  const outside = !region && (box.left < -1 || box.right > innerWidth + 1)
  const stuck = region && !['auto', 'scroll'].includes(getComputedStyle(region).overflowX)
  return hidden || outside || stuck
}).map(each => each.tagName + ': ' + each.textContent)"""
REGIONS = """() => [...document.querySelectorAll('table, figure svg, main math, pre')].map(each => {
  const region = each.closest('.scroll'), box = region.getBoundingClientRect()
  return region.tabIndex === 0 && !!region.ariaLabel && box.left >= -1 && box.right <= innerWidth + 1
})"""
WORDED = """[...document.body.querySelectorAll('*')].filter(each => !each.closest('svg') && each.checkVisibility()
  && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()))"""
SIZES = f"""() => {WORDED}.map(each =>
  [parseFloat(getComputedStyle(each).fontSize), each.tagName + ': ' + each.textContent.slice(0, 60)])"""


@EVERYWHERE
def test_nothing_is_cut_off_or_too_small_and_wide_tables_scroll_by_themselves(visit, width, scheme):
    made = visit(width, scheme)
    made.evaluate(UNFOLD)
    assert made.evaluate("() => document.documentElement.scrollWidth") <= width
    assert made.evaluate(CLIPPED) == []
    regions = made.evaluate(REGIONS)
    assert len(regions) > 5
    assert all(regions)
    sizes = made.evaluate(SIZES)
    assert len(sizes) > 100
    assert [text for size, text in sizes if size < SMALLEST] == []


def test_findings_and_what_speaks_against_them_are_on_the_first_screen(visit):
    for width in WIDTHS:
        made = visit(width)
        made.evaluate("() => scrollTo(0, 0)")
        tops = made.evaluate("() => ['h1', 'h2'].map(tag => document.querySelector(tag).getBoundingClientRect().top)")
        assert all(0 <= top < 600 for top in tops)
    assert visit().page.locator("h2").first.inner_text() == "Read this first"


CONTRASTS = """() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number)
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  const light = color => {
    const [r, g, b] = numbers(color).map(part => linear(part / 255))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const paper = each => {
    for (; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor
      if (numbers(color)[3] !== 0) return color
    }
  }
  return WORDED.map(each => {
    const [a, b] = [light(getComputedStyle(each).color), light(paper(each))]
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.tagName + ': ' + each.textContent.slice(0, 60)]
  })
}""".replace("WORDED", WORDED)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_has_enough_contrast(visit, scheme):
    ratios = visit(WIDE, scheme).evaluate(CONTRASTS)
    assert len(ratios) > 100
    assert [text for ratio, text in ratios if ratio < AA] == []


# --- what can be reached ----------------------------------------------------------------------

FOCUS = """() => {
  const each = document.activeElement, style = getComputedStyle(each)
  if (each === document.body) return null
  const name = each.getAttribute('href') || each.ariaLabel || each.textContent.trim()
  return [each.tagName, name, style.outlineStyle !== 'none']
}"""
REACHABLE = (
    """() => [...document.querySelectorAll('a, summary, .scroll')].filter(each => each.checkVisibility()).length"""
)


def test_everything_is_reached_by_the_keyboard(visit):
    made = visit(NARROW, "light")
    made.evaluate(UNFOLD)
    made.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0) }")
    wanted = made.evaluate(REACHABLE)
    reached = []
    for _ in range(wanted):
        made.page.keyboard.press("Tab")
        reached.append(made.evaluate(FOCUS))
    assert reached[0][:2] == ["A", "#content"]
    assert all(visible for *_, visible in reached)
    links = made.evaluate("() => [...document.querySelectorAll('nav a')].map(each => each.getAttribute('href'))")
    assert [text for tag, text, _ in reached if tag == "A"][1 : len(links) + 1] == links
    kinds = [tag for tag, *_ in reached]
    assert kinds.count("SUMMARY") == made.evaluate("() => document.querySelectorAll('summary').length")
    assert kinds.count("DIV") == made.evaluate("() => document.querySelectorAll('.scroll').length")


def test_keys_skip_to_the_findings_unfold_and_scroll(visit):
    made = visit(NARROW, "dark")
    page = made.page
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert made.evaluate("() => document.activeElement.id") == "content"
    summary = page.locator("summary").first
    before = made.evaluate("() => document.querySelector('details').open")
    summary.focus()
    page.keyboard.press("Enter")
    assert made.evaluate("() => document.querySelector('details').open") is not before
    made.evaluate(UNFOLD)
    region = page.get_by_role("region", name="Table of estimates, may scroll sideways")
    region.focus()
    assert region.evaluate("each => each.scrollWidth > each.clientWidth")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 20")


def test_links_lead_to_their_sections(visit):
    made = visit()
    ids, targets = made.evaluate(
        "() => [[...document.querySelectorAll('[id]')].map(each => each.id),"
        " [...document.querySelectorAll('a')].map(each => each.getAttribute('href'))]"
    )
    assert len(ids) == len(set(ids))
    assert all(target[0] == "#" and target[1:] in ids for target in targets)
    assert len(targets) > 8


def test_a_screen_reader_is_told_what_there_is(visit):
    made = visit()
    made.evaluate(UNFOLD)
    told = made.page.locator("body").aria_snapshot()
    figures, tables = (made.page.locator(kind).count() for kind in ("svg", "table"))
    assert len(re.findall(r'\bimg "[^"]{30,}"', told)) == figures
    assert len(re.findall(r'\btable "[^"]{10,}"', told)) == tables
    assert len(re.findall(r"^ *- '?table\b", told, re.MULTILINE)) == tables
    regions = re.findall(r'\bregion "([^"]+)"', told)
    assert len(regions) == len(set(regions)) > tables
    levels = [int(level) for level in re.findall(r"\bheading .*\[level=(\d)\]", told)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for landmark in ("banner", "main", "contentinfo", 'navigation "Contents"'):
        assert f"- {landmark}" in told


# --- what can be printed ----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_paper_is_white_unfolded_and_whole(visit, scheme):
    made = visit(WIDE, scheme)
    page = made.page
    made.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = false })")
    page.emulate_media(media="print")
    try:
        assert made.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        seen = "() => [...document.querySelectorAll('main table, main svg')].map(each => each.checkVisibility())"
        assert set(made.evaluate(seen)) == {True}
        assert not page.locator("nav").is_visible()
        assert "visible" in made.evaluate("() => getComputedStyle(document.querySelector('.scroll')).overflowX")
    finally:
        page.emulate_media(media="null")
    document = page.pdf(prefer_css_page_size=True)
    assert document.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", document)) > 3
    sizes = {
        tuple(round(float(x)) for x in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", document)
    }
    assert all(abs(a - b) <= 1 for size in sizes for a, b in zip(size, (0, 0, 595, 842), strict=True))
    assert b"/ToUnicode" in document  # letters, not pictures of letters


# --- colours, without a browser ---------------------------------------------------------------


def colours() -> dict[str, dict[str, str]]:
    """Variables of the style sheet by where they hold."""
    text = files("hierbayes").joinpath("report/templates/style.css").read_text(encoding="utf-8")
    blocks = [
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,6})\b", block))
        for block in re.findall(r":root \{([^}]*)\}", text)
    ]
    light, dark, printed = blocks
    return {"light": light, "dark": light | dark, "print": light | printed}


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    """Contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the well-known grey that just fails


@pytest.mark.parametrize("where", ["light", "dark", "print"])
def test_colours_of_the_style_sheet_are_legible(where):
    color = colours()[where]
    severities = ("ok", "note", "warning", "problem")
    text = [("ink", "paper"), ("soft", "paper"), ("link", "paper"), ("ink", "wash"), ("soft", "wash")]
    text += [("reml-text", "paper"), ("post-text", "paper"), ("problem-text", "wash")]
    text += [(f"{s}-text", f"{s}-paper") for s in severities] + [(f"{s}-text", "paper") for s in severities]
    text += [(word, f"{s}-paper") for s in ("warning", "problem", "ok") for word in ("ink", "link")]
    assert {
        pair: contrast(color[pair[0]], color[pair[1]]) for pair in text if contrast(*(color[k] for k in pair)) < AA
    } == {}
    marks = [(mark, "paper") for mark in ("ink", "reml", "post", "none")] + [
        (f"{s}-edge", "paper") for s in severities
    ]
    assert {p: contrast(color[p[0]], color[p[1]]) for p in marks if contrast(*(color[k] for k in p)) < GRAPHICS} == {}


def test_every_colour_of_a_figure_has_a_variable():
    html = report()
    defined = set(re.findall(r"--([\w-]+):", html))
    assert set(re.findall(r"var\(--([\w-]+)", html)) - {"f"} <= defined
