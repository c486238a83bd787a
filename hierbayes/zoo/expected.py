"""``expected.json``: what the models of a card gave, with which versions, and how that was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from hierbayes.errors import DataError

from .cards import Card
from .keys import Keys

EXPECTED = "expected.json"
BLOCKS = ("maximum", "posterior", "elpd")
"""What a model has."""


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
        One sentence that names the file and what is wrong: it is not there, no JSON, of other models than the card,
        without a block that the card asks for, or with a key that is missing or of another kind.
    """
    where = f"{card.name}/{EXPECTED}"
    anew = f'hb.zoo.record("{card.name}") makes it anew.'
    try:
        values = json.loads(card.folder.joinpath(EXPECTED).read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f'There is no {EXPECTED} of {card.name!r}; hb.zoo.record("{card.name}") makes it.') from None
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.") from None
    if not isinstance(values, Mapping):
        raise DataError(f"{where} is not one object of JSON; {anew}")
    keys = Keys(where, values)
    keys.table("versions")
    keys.text("recorded")
    models = keys.table("models")
    given = {name: models.table(name) for name in models.given}
    known = {name: model.text("formula") for name, model in given.items()}
    wanted = {candidate.name: " ".join(candidate.formula.split()) for candidate in card.models}
    if known != wanted:
        raise DataError(
            f"{where} is of other models than the card: "
            f"{', '.join(map(repr, sorted(set(known.items()) ^ set(wanted.items()))))}. {anew}"
        )
    for candidate in card.models:
        model, targets = given[candidate.name], card.targets(candidate)
        asked = {"posterior": candidate.posterior, "elpd": bool(targets)}
        for block, wants in asked.items():
            if (block in model.given) != wants:
                raise DataError(
                    f"{model.where} has {'no' if wants else 'a'} block {block!r}, and the card asks for "
                    f"{'one' if wants else 'none'}. {anew}"
                )
        if not any(block in model.given for block in BLOCKS):
            raise DataError(f"{model.where} expects nothing. {anew}")
        for block, check in CHECKS.items():
            if block in model.given:
                check(model.table(block))
        if targets:
            _same_scores(model.table("elpd"), targets, card.verify.draws, anew)
    return dict(values)


def _maximum(keys: Keys) -> None:
    keys.text("method")
    keys.number("rows")
    keys.real("criterion")
    keys.get("singular", bool)
    keys.texts("checked", ())
    _estimates(keys, "estimate", maybe="std_error")


def _posterior(keys: Keys) -> None:
    keys.text("method")
    keys.get("draws", int)
    keys.texts("checked", ())
    _estimates(keys, "mean", "sd", "mcse_mean", "mcse_sd")


def _elpd(keys: Keys) -> None:
    keys.number("draws")
    if keys.number("runs") < 2:
        raise DataError(f"{keys.where}: 'runs' is 1; one run does not say how much scores vary.")
    keys.texts("checked", ())
    scores = keys.table("scores")
    for target in scores.given:
        for kind in ("elpd", "sd"):
            scores.table(target).real(kind)


def _estimates(keys: Keys, *numbers: str, maybe: str | None = None) -> None:
    """One row a parameter: how it is called, and numbers; one of them may be null."""
    for row in keys.tables("estimates"):
        row.text("effect")
        row.text("term")
        row.get("group", str | None)
        for number in numbers:
            row.real(number)
        if maybe is not None and row.get(maybe, int | float | None) is not None:
            row.real(maybe)


def _same_scores(keys: Keys, targets: tuple[str, ...], draws: int, anew: str) -> None:
    """Refuse scores of other targets, or of other runs than those of a verification."""
    found = keys.table("scores").given
    if set(found) != set(targets):
        raise DataError(
            f"{keys.where} has scores of {sorted(found)}, and the card asks for {sorted(targets)}. {anew}"
        )
    if (n := keys.number("draws")) != draws:
        raise DataError(f"{keys.where} is of runs of {n} draws, and the card asks for {draws}. {anew}")


CHECKS = {"maximum": _maximum, "posterior": _posterior, "elpd": _elpd}
"""What is in each block."""


def recorded_before(folder: Traversable) -> Mapping[str, Any]:
    """The models of an existing file, as they are.

    Parameters
    ----------
    folder : Traversable

    Returns
    -------
    dict
        Empty if there is no such file, or if it is not as it should be.
    """
    try:
        models = json.loads(folder.joinpath(EXPECTED).read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return models if isinstance(models, Mapping) else {}
