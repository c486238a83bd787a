"""``expected.json``: what the models of a card gave, with which versions, and how that was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from hierbayes.errors import DataError

from .cards import Card

EXPECTED = "expected.json"
BLOCKS = {
    "maximum": ("method", "rows", "criterion", "singular", "estimates", "checked"),
    "posterior": ("method", "draws", "estimates", "checked"),
    "elpd": ("draws", "runs", "scores", "checked"),
}
"""What a model has, and what is in each block."""


def read_expected(card: Card) -> dict[str, Any]:
    """Read what is expected of the models of a card.

    Parameters
    ----------
    card : Card

    Returns
    -------
    dict
        Keys versions, recorded, models: by the name of the model its formula and the blocks of `BLOCKS` that it has.

    Raises
    ------
    DataError
        One sentence that names the file and what is wrong: it is not there, no JSON, of other models than the card.
    """
    where = f"{card.name}/{EXPECTED}"
    try:
        values = json.loads(card.folder.joinpath(EXPECTED).read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f'There is no {EXPECTED} of {card.name!r}; hb.zoo.record("{card.name}") makes it.') from None
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.") from None
    for key in ("versions", "recorded", "models"):
        _has(where, values, key)
    wanted = {candidate.name: candidate.formula for candidate in card.models}
    known = {name: _has(f"{where}, {name}", model, "formula") for name, model in values["models"].items()}
    if known != wanted:
        raise DataError(
            f"{where} is of other models than the card: "
            f'{", ".join(map(repr, sorted(set(known.items()) ^ set(wanted.items()))))}. hb.zoo.record("{card.name}") '
            "makes it anew."
        )
    for name, model in values["models"].items():
        for block, keys in BLOCKS.items():
            for key in keys if block in model else ():
                _has(f"{where}, {name}, {block}", model[block], key)
    return dict(values)


def checked_before(folder: Traversable) -> dict[tuple[str, str], list[str]]:
    """How the figures of an existing file were checked, by model and block.

    Parameters
    ----------
    folder : Traversable

    Returns
    -------
    dict
        Empty if there is no such file.
    """
    try:
        models = json.loads(folder.joinpath(EXPECTED).read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        (name, block): model[block].get("checked", [])
        for name, model in models.items()
        for block in BLOCKS
        if block in model
    }


def _has(where: str, values: Any, key: str) -> Any:
    if not isinstance(values, Mapping) or key not in values:
        raise DataError(f"{where}: there is no {key!r}; record the model anew.")
    return values[key]
