"""Saving, the same for every kind of fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hierbayes.store.fits import save


class Saving:
    """A fit that can be saved."""

    def save(self: Any, path: str | Path, data: bool = True) -> None:
        """Write the fit into one file, from which `hierbayes.load` gives it back.

        Parameters
        ----------
        path : str or pathlib.Path
            A saved fit of that name is replaced, in one step, once the new one is on the disk; any other file stays.
        data : bool, default True
            Whether the rows used go into the file; without them `load` needs them again.

        Raises
        ------
        OutputError
            If the file cannot be written, or is there already and is not a saved fit.
        HierbayesError
            For a refit to other rows or responses than the model's.
        DataError
            If a column of the data cannot be saved as it is.

        Notes
        -----
        The file is a zip archive of JSON, Parquet and zarr without pickled objects; see `hierbayes.store`. It has no
        functions: those that the formula takes from your program must be there again when it is loaded.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import hierbayes as hb
        >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     reml.save(Path(folder, "dyestuff.hb"))
        ...     again = hb.load(Path(folder, "dyestuff.hb"))
        >>> again.criterion == reml.criterion
        True
        """
        save(self, path, data)
