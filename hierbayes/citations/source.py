"""Where the data of a model are from: a data set that comes with hierbayes, recognised by its contents."""

from __future__ import annotations

import re

from pandas.testing import assert_frame_equal

from hierbayes import names
from hierbayes.datasets import load_data
from hierbayes.datasets.registry import REGISTRY
from hierbayes.model import Model

from .reference import DATA, Reference


def known_data(model: Model) -> str | None:
    """Recognise a data set that comes with hierbayes by its contents.

    Parameters
    ----------
    model : Model

    Returns
    -------
    str or None
        Its name; None if no data set has exactly these rows. Nothing is downloaded to find out.

    Examples
    --------
    >>> known_data(Model("Yield ~ 1 + (1 | Batch)", load_data("Dyestuff")))
    'Dyestuff'
    """
    if model.design.n_dropped:
        return None
    data = model.data.drop(columns=[name for name in names.ARRAYS if name in model.data])
    wanted = list(data.columns)
    for entry in REGISTRY.values():
        if entry.rows != model.design.n or entry.access == "download" or not set(wanted) <= set(entry.columns):
            continue
        try:
            assert_frame_equal(load_data(entry.name)[wanted], data, check_exact=True)
        except AssertionError:
            continue
        return entry.name
    return None


def data_reference(name: str) -> Reference:
    """The source of a data set, as the registry has it.

    Examples
    --------
    >>> data_reference("sleepstudy").text[:46]
    'Belenky, G. et al. (2003). Patterns of perform'
    """
    source = REGISTRY[name].source
    year = re.search(r"\((\d{4})\)", source)
    return Reference(
        key=f"data_{name}",
        kind=DATA,
        authors=(),
        year=int(year[1]) if year else None,
        title=f"{source}.",
        cited_for=f"the data {name}",
    )
