"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hierbayes.errors import OutputError


def check_writable(path: str | Path) -> Path:
    """Make sure that a file can be written, before the work that fills it begins.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    pathlib.Path
        The file that a later `write_whole` replaces; links are followed.

    Raises
    ------
    OutputError
        If the path is a folder or a device, or its folder is missing or not writable.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it.")
    if target.exists() and not target.is_file():
        raise OutputError(f"{path} is not an ordinary file; name another one.")
    trial = _temporary(target)
    try:
        with trial.open("x", encoding="utf-8"):
            pass
        trial.unlink()
    except OSError as error:
        raise OutputError(_sentence(path, error)) from error
    return target


def write_whole(path: str | Path, text: str) -> Path:
    """Write a text file so that nobody ever sees half of it.

    Parameters
    ----------
    path : str or pathlib.Path
    text : str
        Written as UTF-8.

    Returns
    -------
    pathlib.Path
        The path as given.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before is then still there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a.txt"), "all of it").read_text()
    'all of it'
    """
    with whole_file(path) as file:
        file.write(text.encode())
    return Path(path)


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file beside the one that it replaces, in one step, once all of it is on the disk.

    Parameters
    ----------
    path : str or pathlib.Path

    Yields
    ------
    binary file

    Raises
    ------
    OutputError
        If it cannot be written; what was there before is then still there.
    """
    target = check_writable(path)
    temporary = _temporary(target)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(_sentence(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: str | Path) -> None:
    """Create the folder of a file, with its parents.

    Parameters
    ----------
    path : str or pathlib.Path
        Of the file.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise OutputError(
            f"The folder {Path(path).parent} cannot be created ({reason}); name another one."
        ) from error


def _temporary(target: Path) -> Path:
    """A name in the same folder, so that replacing is one step of the file system."""
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _sentence(path: str | Path, error: OSError) -> str:
    reason = (error.strerror or type(error).__name__).lower()
    folder = Path(path).parent
    if isinstance(error, FileNotFoundError):
        return f"{path} cannot be written, because there is no folder {folder}; create it or name another one."
    return f"{path} cannot be written ({reason}); name a file in a folder that you may write to."
