"""The data of a card: a data set by name, or a CSV file with its source and licence."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from hierbayes.datasets import load_data
from hierbayes.datasets.download import FOLDER_VARIABLE, at_hand, local_folder
from hierbayes.datasets.registry import REGISTRY
from hierbayes.datasets.sources import read_table
from hierbayes.errors import DataError, DatasetError, suggest

from .keys import Keys

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Source:
    """Where data come from.

    Attributes
    ----------
    name : str
        Of the data set, or of the file.
    source, licence : str
    file : bool
        Whether it is a file, in the folder of the card or in the one that ``HIERBAYES_DATA`` names.
    text : tuple of str
        Columns of the file that hold labels.
    obtain : str
        How to get the file, if it is not in the folder of the card.
    """

    name: str
    source: str
    licence: str
    file: bool = False
    text: tuple[str, ...] = ()
    obtain: str = ""

    def at_hand(self, folder: Traversable) -> bool:
        """Whether the data are here and need no download.

        Parameters
        ----------
        folder : Traversable
            Of the card.

        Returns
        -------
        bool
        """
        return self._file(folder) is not None if self.file else at_hand(self.name)

    def load(self, folder: Traversable) -> pd.DataFrame:
        """Load them.

        Parameters
        ----------
        folder : Traversable
            Of the card.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        DatasetError
            If they are not here and cannot be downloaded.
        DataError
            If the file cannot be read, or has not the columns that are labels.
        """
        if not self.file:
            return load_data(self.name)
        path = self._file(folder)
        if path is None:
            raise DatasetError(
                f"The file {self.name} is not here: {self.obtain or 'put it somewhere'}, and let the environment "
                f"variable {FOLDER_VARIABLE} name its folder."
            )
        with as_file(path) as file:
            data = read_table(file, dtype=dict.fromkeys(self.text, "str"))
        for column in self.text:
            if column not in data:
                raise DataError(
                    f"{folder.name}/card.toml [data]: 'text' has {column!r}, which is no column of {self.name}. "
                    f"{suggest(column, map(str, data.columns))}"
                )
        return data

    def _file(self, folder: Traversable) -> Traversable | None:
        for place in (folder, local_folder()):
            if place is not None and (path := place.joinpath(self.name)).is_file():
                return path
        return None


def read_source(keys: Keys) -> Source:
    """Read the table ``[data]`` of a card.

    Parameters
    ----------
    keys : Keys

    Returns
    -------
    Source

    Raises
    ------
    DataError
    """
    if "file" in keys.given:
        found = Source(
            keys.text("file"),
            keys.text("source"),
            keys.text("licence"),
            True,
            keys.texts("text", ()),
            keys.text("obtain", ""),
        )
    else:
        name = keys.text("name")
        if name not in REGISTRY:
            raise DataError(f"{keys.where}: there is no data set {name!r}. {suggest(name, REGISTRY)}")
        found = Source(name, REGISTRY[name].source, REGISTRY[name].licence)
    keys.finish()
    return found
