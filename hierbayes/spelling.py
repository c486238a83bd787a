"""How a formula spells the names of columns, terms and factors."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

QUOTED = r"`[^`]*`|'[^']*'|\"[^\"]*\""


def spelled(name: str, data: pd.DataFrame | Collection[str]) -> str:
    """A column, term or factor as a formula spells it: columns whose names are no identifiers in backticks.

    Parameters
    ----------
    name : str
        As it is printed, without backticks: of a column, a function of columns, or several with colons between.
    data : pandas.DataFrame or collection of str
        The columns there are.

    Examples
    --------
    >>> spelled("scale(my dose):my group", ["dose", "my dose", "my group"])
    'scale(`my dose`):`my group`'
    """
    if name in data:
        return name if name.isidentifier() else f"`{name}`"
    odd = [re.escape(str(column)) for column in data if not re.fullmatch(r"[\d.]+|[^\W\d]\w*", str(column))]
    if not odd:
        return name
    columns = "|".join(sorted(odd, key=len, reverse=True))
    return re.sub(rf"{QUOTED}|(?<!\w)({columns})(?!\w)", lambda m: f"`{m[1]}`" if m[1] else m[0], name)
