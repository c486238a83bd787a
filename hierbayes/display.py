"""What notebooks show of a result: a panel of plain HTML, beside the text of its `__repr__`.

A panel is one element: a title, what is wrong, facts, tables. Its colours are those of the page (``currentColor``,
and backgrounds that let it through), so that it follows light and dark themes; it has no script and asks for nothing
from elsewhere. Where styles are stripped, as GitHub does, it stays a title, lists and tables with captions. What is
not `Html` is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

Html = Markup
"""Text that is HTML already; the functions here make it, and escape all other text."""
DIGITS = 4
"""Significant digits of a number, as in the texts."""
SMALL = 0.001
"""A smaller p-value is shown as such."""
LONGEST = 25
"""Rows of a table that are shown; the rest is counted."""
STYLE = """
.hb-panel{line-height:1.45;max-width:64em;margin:.25em 0;overflow-wrap:break-word}
.hb-panel p,.hb-panel ul.hb-said{margin:.35em 0;padding:0}
.hb-panel p.hb-title code{background:none;color:inherit;padding:0;margin-left:.5em;font-size:.95em}
.hb-panel p.hb-facts{opacity:.9}.hb-panel p.hb-facts b{font-weight:600}
.hb-panel ul.hb-said{list-style:none}
.hb-panel ul.hb-said li{margin:.2em 0}
.hb-panel .hb-word{display:inline-block;border:1px solid currentColor;border-radius:.3em;padding:0 .45em;
font-size:.85em;font-weight:600;margin-right:.35em;white-space:nowrap}
.hb-panel .hb-problem{background:rgba(214,39,40,.28)}
.hb-panel .hb-warning{background:rgba(230,145,0,.25)}
.hb-panel .hb-note{background:rgba(31,119,180,.22)}
.hb-panel .hb-ok{font-weight:normal;opacity:.8}
.hb-panel .hb-wide{overflow-x:auto;margin:.4em 0}
.hb-panel table.hb-table{border-collapse:collapse;margin:0;border:0;width:auto;table-layout:auto;font-size:.95em;
font-variant-numeric:tabular-nums;color:inherit;background:none}
.hb-panel table.hb-table caption{caption-side:top;text-align:left;padding:.15em 0;opacity:.75;color:inherit}
.hb-panel table.hb-table tr,.hb-panel table.hb-table tbody tr:nth-child(n){background:none}
.hb-panel table.hb-table th,.hb-panel table.hb-table td{padding:.22em .7em;text-align:right;vertical-align:top;
border:0;border-bottom:1px solid rgba(128,128,128,.3);background:none;color:inherit;white-space:nowrap;max-width:none}
.hb-panel table.hb-table thead th{border-bottom:1px solid currentColor;font-weight:600}
.hb-panel table.hb-table tbody th{font-weight:normal}
.hb-panel table.hb-table .hb-text{text-align:left}
.hb-panel table.hb-table td.hb-long{white-space:normal;min-width:15em}
@media(max-width:30em){.hb-panel table.hb-table th,.hb-panel table.hb-table td{padding:.2em .3em;font-size:.92em}}
"""
_MISSING = "\N{EM DASH}"
_CHANCE = {"p_value"}


def document(title: str, *parts: str | None, formula: str | None = None) -> str:
    """A panel, as `_repr_html_` returns it.

    Parameters
    ----------
    title : str
        What it is.
    *parts : Html, str or None
        What `facts`, `said` and `table` made, in order; other text becomes a paragraph, None and "" nothing.
    formula : str, optional
        Set as code behind the title.

    Returns
    -------
    str

    Examples
    --------
    >>> document("A fit", "of <b>", formula="y ~ x").split("</style>")[1]
    '<p class="hb-title"><strong>A fit</strong> <code>y ~ x</code></p><p>of &lt;b&gt;</p></div>'
    """
    code = Html(" <code>{}</code>").format(formula) if formula else ""
    head = Html('<p class="hb-title"><strong>{}</strong>{}</p>').format(title, code)
    body = [part if isinstance(part, Html) else Html("<p>{}</p>").format(part) for part in parts if part]
    return str(Html('<div class="hb-panel"><style>{}</style>{}{}</div>').format(Html(STYLE), head, _joined(body)))


def facts(known: Mapping[str, Any]) -> Html:
    """A line of names and values.

    Parameters
    ----------
    known : mapping of str to object
        Numbers are shown with `number`; None and "" are left out.

    Returns
    -------
    Html

    Examples
    --------
    >>> facts({"rows": 180, "offset": None})
    Markup('<p class="hb-facts">rows: <b>180</b></p>')
    """
    pair = Html("{}: <b>{}</b>")
    shown = (pair.format(name, number(value)) for name, value in known.items() if value is not None and value != "")
    return Html('<p class="hb-facts">{}</p>').format(Html(" · ").join(shown))


def said(sentences: Iterable[tuple[str, str | None]]) -> Html:
    """Sentences with their severities.

    Parameters
    ----------
    sentences : iterable of (str, str)
        "ok", "note", "warning" or "problem", and a sentence; those without a sentence are left out.

    Returns
    -------
    Html
        Empty if there is none.

    Examples
    --------
    >>> said([("note", None)])
    Markup('')
    """
    item = Html("<li>{} {}</li>")
    items = [item.format(word(severity), sentence) for severity, sentence in sentences if sentence]
    return Html('<ul class="hb-said">{}</ul>').format(_joined(items)) if items else Html("")


def word(severity: str) -> Html:
    """A severity as a marked word, which says the same without its colour.

    Examples
    --------
    >>> word("ok")
    Markup('<strong class="hb-word hb-ok">ok</strong>')
    """
    return Html('<strong class="hb-word hb-{}">{}</strong>').format(severity, severity)


def table(frame: pd.DataFrame, caption: str = "", longest: int = LONGEST) -> Html:
    """A data frame with a caption, headers for every row and column, and as many digits as are read.

    Parameters
    ----------
    frame : pandas.DataFrame
        The first column stands as header of the row, or the index if it is not just a range.
    caption : str
    longest : int
        Rows beyond it are counted, not shown.

    Returns
    -------
    Html

    Examples
    --------
    >>> "<td>2.500</td>" in table(pd.DataFrame({"term": ["x"], "estimate": [2.5]}))
    True
    """
    heads = 1
    if not isinstance(frame.index, pd.RangeIndex):
        heads = frame.index.nlevels
        index = frame.index.to_frame(index=False).set_axis([name or "" for name in frame.index.names], axis=1)
        frame = pd.concat([index, frame.reset_index(drop=True)], axis=1)
    named = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
    texts = [not pd.api.types.is_numeric_dtype(frame.iloc[:, k]) for k in range(frame.shape[1])]
    head = _joined(
        Html('<th scope="col"{}>{}</th>').format(_of_class(texts[k]), name) for k, name in enumerate(named)
    )
    columns = [_cells(named[k], frame.iloc[:longest, k], texts[k]) for k in range(frame.shape[1])]
    long = [text and max(map(len, cells), default=0) > 40 for text, cells in zip(texts, columns, strict=True)]
    rows = []
    for cells in zip(*columns, strict=True):
        first = (Html('<th scope="row"{}>{}</th>').format(_of_class(texts[k]), cells[k]) for k in range(heads))
        rest = (
            Html("<td{}>{}</td>").format(_of_class(texts[k], long[k]), cells[k]) for k in range(heads, len(cells))
        )
        rows.append(Html("<tr>{}{}</tr>").format(_joined(first), _joined(rest)))
    if len(frame) > longest:
        caption = f"{caption}{': ' if caption else ''}the first {longest} of {len(frame)} rows"
    named_so = Html("<caption>{}</caption>").format(caption) if caption else Html("")
    return Html(
        '<div class="hb-wide" role="region" tabindex="0" aria-label="{}"><table class="hb-table">{}'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(caption or "table", named_so, head, _joined(rows))


def number(value: Any) -> str:
    """A number as it is read, other values as their text.

    Examples
    --------
    >>> [number(value) for value in (251.4051, 237.0, 1743.63, 73421.2, 3.264e-06, 0.0, float("nan"), 18, "x")]
    ['251.4', '237.0', '1744', '73421', '3.264e-06', '0', '—', '18', 'x']
    """
    if isinstance(value, Html):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return _MISSING
    if pd.api.types.is_float(value):
        if math.isnan(value):
            return _MISSING
        if value == 0.0:
            return "0"
        if 10.0**DIGITS - 0.5 <= abs(value) < 1e9:
            return f"{value:.0f}"
        return format(value, f"#.{DIGITS}g").rstrip(".")
    return str(value)


def _cells(name: str, column: pd.Series, text: bool) -> list[str]:
    """Values of a column; what is missing of texts is left empty, and whole numbers have no decimals."""
    if text:
        return ["" if pd.api.types.is_scalar(value) and pd.isna(value) else number(value) for value in column]
    if name in _CHANCE:
        return [f"<{SMALL}" if not pd.isna(value) and value < SMALL else number(value) for value in column]
    known = column.dropna()
    if pd.api.types.is_float_dtype(column) and len(known) and (known % 1 == 0).all():
        return [number(value if pd.isna(value) else int(value)) for value in column]
    return [number(value) for value in column]


def _of_class(text: bool, long: bool = False) -> Html:
    return Html(' class="hb-text hb-long"' if long else ' class="hb-text"') if text else Html("")


def _joined(parts: Iterable[str]) -> Html:
    return Html("").join(escape(part) for part in parts)
