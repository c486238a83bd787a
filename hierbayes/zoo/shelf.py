"""Where the cards are: in the package, in the checkout, or in a folder of the user's own."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pandas as pd

from hierbayes.errors import DatasetError, suggest
from hierbayes.model import Model

from .cards import CARD, Card, read_card

SHELF = "model_zoo"


def shelf() -> Traversable:
    """The folder of the zoo: inside the package where that was installed, beside it in a checkout.

    Returns
    -------
    Traversable

    Raises
    ------
    DatasetError
        If there is none.

    Examples
    --------
    >>> shelf().joinpath("sleepstudy", "card.toml").is_file()
    True
    """
    package = files("hierbayes")
    checkout = Path(str(package)).parent
    if (inside := package.joinpath(SHELF)).is_dir():
        return inside
    if checkout.joinpath("pyproject.toml").is_file() and (beside := checkout / SHELF).is_dir():
        return beside
    raise DatasetError("This installation of hierbayes has no model zoo; install it again.")


def names() -> list[str]:
    """Names of all cards, in alphabetical order.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "sleepstudy" in names()
    True
    """
    return sorted(folder.name for folder in shelf().iterdir() if folder.joinpath(CARD).is_file())


def card(name: str) -> Card:
    """The card of a model.

    Parameters
    ----------
    name : str or path
        One of those in `hierbayes.zoo.list`, or a folder with a ``card.toml``.

    Returns
    -------
    Card

    Raises
    ------
    DatasetError
        If there is no such card.
    DataError
        If the card is not as it should be; the message names file and key.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.zoo.card("dyestuff2").title
    'Six batches that vary too little: a variance of zero'
    """
    if not isinstance(name, str | Path):
        raise DatasetError(f"The name of a model of the zoo is a text, not {name!r}; hb.zoo.list() has all of them.")
    known = names()
    if str(name) in known:
        return read_card(shelf().joinpath(str(name)))
    folder = Path(name)
    if folder.joinpath(CARD).is_file():
        return read_card(folder.resolve())
    raise DatasetError(f"There is no model {str(name)!r} in the zoo. {suggest(str(name), known)}")


def list_models() -> pd.DataFrame:
    """Describe every model of the zoo.

    Returns
    -------
    pandas.DataFrame
        One row a card: name, title, family, models (how many compete), formula (of the main one), topics, data,
        licence, and at_hand: whether the data are here and need no download.

    Raises
    ------
    DataError
        If a card is not as it should be.

    Examples
    --------
    >>> import hierbayes as hb
    >>> table = hb.zoo.list().set_index("name")
    >>> table.loc["sleepstudy", "title"], int(table.loc["sleepstudy", "models"])
    ('Reaction time under sleep restriction', 3)
    """
    cards = [card(name) for name in names()]
    return pd.DataFrame(
        {
            "name": one.name,
            "title": one.title,
            "family": one.family,
            "models": len(one.models),
            "formula": one.models[0].formula,
            "topics": ", ".join(one.topics),
            "data": one.source.name,
            "licence": one.licence,
            "at_hand": one.at_hand,
        }
        for one in cards
    )


def load(name: str, formula: str | int | None = None) -> Model:
    """A model of the zoo, ready to fit.

    Parameters
    ----------
    name : str or path
        As of `card`.
    formula : str or int, optional
        Which of the models that the card compares: its name, its formula or its number, counted from 0; by default
        the main one.

    Returns
    -------
    Model

    Raises
    ------
    DatasetError
        If there is no such card, or its data are not here and cannot be downloaded.
    FormulaError
        If the card has no such model.

    Examples
    --------
    >>> import hierbayes as hb
    >>> hb.zoo.load("sleepstudy")
    Model('Reaction ~ Days + (Days | Subject)': 180 rows, 18 levels of Subject)
    """
    return card(name).model(formula)
