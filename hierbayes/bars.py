"""Where the random effects of a formula stand in its text, which formulae alone reads otherwise than lme4."""

from __future__ import annotations

import re
from typing import Any

from hierbayes.errors import FormulaError


def find_bars(text: str) -> list[tuple[int, int, bool]]:
    """Find the random effects of a formula.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of (int, int, bool)
        Start and end of every parenthesis that holds a random effect, and whether it has two bars.

    Raises
    ------
    FormulaError
        If a bar stands outside parentheses, or parentheses do not match.

    Examples
    --------
    >>> find_bars("y ~ x + (x || g)")
    [(8, 16, True)]
    """
    found: list[tuple[int, int, bool]] = []
    stack: list[dict[str, Any]] = []
    quote = ""
    skip = False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char == "(":
            before = text[:at].rstrip()
            call = bool(before) and (before[-1].isalnum() or before[-1] in "_)]`")
            stack.append({"start": at, "call": call, "bar": False, "double": False})
        elif char == "|":
            if not stack:
                raise FormulaError(f"Put the random effects of the formula {text!r} in parentheses: (x | group).")
            if stack[-1]["call"]:
                continue
            if stack[-1]["bar"]:
                raise FormulaError(f"The formula {text!r} does not parse: one random effect has two bars.")
            stack[-1]["bar"] = True
            if text[at + 1 : at + 2] == "|":
                stack[-1]["double"] = skip = True
        elif char == ")":
            if not stack:
                raise FormulaError(f"The formula {text!r} does not parse: a parenthesis is closed but never opened.")
            top = stack.pop()
            if top["bar"]:
                found.append((top["start"], at + 1, top["double"]))
    if stack:
        raise FormulaError(f"The formula {text!r} does not parse: a parenthesis is not closed.")
    return found


def plain_bar(text: str) -> str:
    """A random effect as formulae reads it: one bar, and the intercept first, so (x - 1 || g) is (0 + x | g)."""
    text = text.replace("||", "|", 1)
    effects, _, factor = text[1:-1].partition("|")
    last = re.fullmatch(r"(.*\S)\s*([+-])\s*([01])\s*", effects, re.DOTALL)
    if last is None or last[1].strip() in {"0", "1"}:
        return text
    intercept = int((last[2] == "+") == (last[3] == "1"))
    return f"({intercept} + {last[1].strip()} |{factor})"
