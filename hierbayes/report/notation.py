"""Formulas as one line of text, for forms of the report that cannot set them: ``yᵢⱼ = β₀ + b₀ⱼ + εᵢⱼ``.

Indices and powers become Unicode's small letters where all of their letters have one, and ``_(…)`` and ``^(…)``
where not; a matrix becomes its rows, ``[a, b; c, d]``.
"""

from __future__ import annotations

from bs4 import Tag

LOW = dict(zip("0123456789+−=()aehijklmnoprstuvxβρ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵨ", strict=True))
HIGH = dict(
    zip("0123456789+−=()abcdefghijklmnoprstuvwxyz′", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ′", strict=True)
)
"""Letters that can be written small, below and above the line."""
SPACED = set("=∼+−≤≥")


def below(text: str) -> str:
    """An index as text.

    Examples
    --------
    >>> below("0j"), below("ABC")
    ('₀ⱼ', '_(ABC)')
    """
    return _small(text, LOW | {"′": "′"}, "_")


def above(text: str) -> str:
    """A power as text.

    Examples
    --------
    >>> above("2"), above("Q")
    ('²', '^(Q)')
    """
    return _small(text, HIGH, "^")


def _small(text: str, letters: dict[str, str], sign: str) -> str:
    text = "".join(text.split())
    if all(letter in letters for letter in text):
        return "".join(letters[letter] for letter in text)
    return f"{sign}({text})"


def linear(element: Tag) -> list[str]:
    """A ``<math>`` element as text.

    Parameters
    ----------
    element : bs4.Tag

    Returns
    -------
    list of str
        One text a line of the formula.

    Examples
    --------
    >>> from bs4 import BeautifulSoup
    >>> formula = "<math><msup><mi>x</mi><mn>2</mn></msup><mo>=</mo><msub><mi>y</mi><mi>i</mi></msub></math>"
    >>> linear(BeautifulSoup(formula, "html.parser").math)
    ['x² = yᵢ']
    """
    table = element.find("mtable")
    if isinstance(table, Tag) and "matrix" not in table.get_attribute_list("class"):
        rows = [child for child in table.children if isinstance(child, Tag)]
        return [" ".join(_text(row).split()) for row in rows]
    return [" ".join(_text(element).split())]


def _text(element: Tag) -> str:
    parts = [child for child in element.children if isinstance(child, Tag)]
    if element.name == "msub":
        return _text(parts[0]) + below(_text(parts[1]))
    if element.name == "msup":
        return _text(parts[0]) + above(_text(parts[1]))
    if element.name == "msubsup":
        return _text(parts[0]) + below(_text(parts[1])) + above(_text(parts[2]))
    if element.name == "mtable":
        return f"[{'; '.join(', '.join(_text(cell) for cell in row.find_all('mtd')) for row in parts)}]"
    if element.name == "mspace":
        return " "
    if element.name == "mo":
        sign = element.get_text().strip()
        return f" {sign} " if sign in SPACED else ", " if sign == "," else sign
    return "".join(_text(part) for part in parts) if parts else element.get_text()
