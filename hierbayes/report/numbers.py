"""Numbers for readers: as many digits as they deserve, the same for all numbers of a row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

MINUS, DASH, TIMES = "\N{MINUS SIGN}", "\N{EM DASH}", "\N{MULTIPLICATION SIGN}"
MOST = 7
"""More decimals than this are written as a power of ten."""
LARGE = 1e9
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def places(values: Iterable[float], errors: Iterable[float] = ()) -> int | None:
    """Decimals for a row: four significant digits of its largest value, two of its smallest error.

    Parameters
    ----------
    values : iterable of float
        Estimates and ends of intervals.
    errors : iterable of float
        Standard errors and standard deviations.

    Returns
    -------
    int or None
        None where numbers are too large or too small for a plain decimal.

    Examples
    --------
    >>> places([251.405, 238.03, 264.78], [6.825])
    1
    >>> places([2.5e-9]) is None
    True
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    smallest = min((abs(error) for error in errors if math.isfinite(error) and error != 0), default=0.0)
    wanted = 0
    if largest > 0:
        wanted = 3 - _magnitude(largest)
    if smallest > 0:
        wanted = max(wanted, min(1 - _magnitude(smallest), 7 - _magnitude(largest) if largest > 0 else MOST))
    if wanted > MOST or largest >= LARGE:
        return None
    return max(0, wanted)


def _magnitude(value: float) -> int:
    return math.floor(math.log10(value))


def show(value: float, decimals: int | None = None, *, missing: str = DASH) -> str:
    """Write one number.

    Parameters
    ----------
    value : float
    decimals : int, optional
        From `places`; without it a power of ten with four significant digits.
    missing : str
        What to write for NaN and infinity.

    Returns
    -------
    str
        With a proper minus sign, and never a negative zero.

    Examples
    --------
    >>> show(-1.2345, 2), show(-1e-17, 2), show(float("nan"), 2)
    ('−1.23', '0.00', '—')
    >>> show(2.5144e-8)
    '2.514×10⁻⁸'
    """
    if value is None or not math.isfinite(value):
        return missing
    if decimals is not None:
        text = f"{value:.{decimals}f}"
        return (text.lstrip("-") if float(text) == 0 else text).replace("-", MINUS)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.replace('-', MINUS)}{TIMES}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def plain(value: float, error: float = math.nan) -> str:
    """Write one number on its own, with its own number of digits.

    Examples
    --------
    >>> plain(10.46729), plain(1527.5), plain(9.0)
    ('10.47', '1528', '9')
    """
    if float(value).is_integer() and abs(value) < LARGE:
        return show(value, 0)
    return show(value, places([value], [error]))


def brief(value: float) -> str:
    """Write one number with three significant digits.

    Examples
    --------
    >>> brief(0.37123), brief(12.34), brief(1234.5), brief(2.5e-7), brief(float("inf"))
    ('0.371', '12.3', '1234', '2.500×10⁻⁷', '—')
    """
    if not math.isfinite(value) or value == 0:
        return show(value, 0)
    decimals = 2 - _magnitude(abs(value))
    return show(value, None if decimals > MOST or abs(value) >= LARGE else max(0, decimals))


def typeset(text: str) -> str:
    """A sentence with proper minus signs and powers of ten.

    Examples
    --------
    >>> typeset("skewness -0.01, p = 1.2e-09, half-width 3")
    'skewness −0.01, p = 1.2×10⁻⁹, half-width 3'
    """
    text = re.sub(r"(?<![\w.])(\d(?:\.\d+)?)e([+-]\d+)\b", _power, text)
    return re.sub(r"(?<![\w.\])])-(?=\d)", MINUS, text)


def _power(found: re.Match[str]) -> str:
    return f"{found[1]}{TIMES}10{str(int(found[2])).translate(_SUPERSCRIPT)}"


def p_text(value: float) -> str:
    """A p-value after the letter p.

    Examples
    --------
    >>> p_text(0.0214), p_text(2.8e-10), p_text(0.5)
    ('p = 0.021', 'p < 0.001', 'p = 0.500')
    """
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def sentence(text: str) -> str:
    """A text with a capital at its beginning.

    Examples
    --------
    >>> sentence("new levels of Subject")
    'New levels of Subject'
    """
    return text[:1].upper() + text[1:]


def count(number: int) -> str:
    """Write a whole number with its thousands set apart.

    Examples
    --------
    >>> count(1000000)
    '1,000,000'
    """
    return f"{number:,}"


def joined(parts: Sequence[str]) -> str:
    """An enumeration.

    Examples
    --------
    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def split(text: str) -> tuple[str, str]:
    """Part a written number before its decimal point, to align a column there.

    Examples
    --------
    >>> split("251.41"), split("—"), split("12")
    (('251', '.41'), ('—', ''), ('12', ''))
    """
    whole, point, fraction = text.partition(".")
    return whole, point + fraction
