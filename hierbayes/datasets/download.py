"""Course files that hierbayes may not contain: from a local folder, the cache or the network.

Wherever a file comes from, nothing is read of it before its SHA-256 checksum has been found right.
"""

from __future__ import annotations

import os
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .registry import REGISTRY

BASE_URL = "https://raw.githubusercontent.com/duchesnay/pystatsml/master/statistics/lmm/datasets"
FOLDER_VARIABLE = "HIERBAYES_DATA"


def fetch(name: str, checksum: str) -> bytes:
    """Return the content of the course file ``NAME.csv``.

    Parameters
    ----------
    name : str
        Name of the data set.
    checksum : str
        SHA-256 of the file, in hexadecimal.

    Returns
    -------
    bytes
        The file as it is: from the folder that ``HIERBAYES_DATA`` names if it is there, otherwise
        from the cache, otherwise from the network (and from then on in the cache).

    Raises
    ------
    hierbayes.errors.DatasetError
        If ``HIERBAYES_DATA`` names no folder, if the file cannot be read, downloaded or kept, or if
        its checksum is wrong.

    Examples
    --------
    >>> import os, tempfile
    >>> from hashlib import sha256
    >>> from unittest.mock import patch
    >>> with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, HIERBAYES_DATA=folder):
    ...     _ = Path(folder, "tiny.csv").write_text("g,y")
    ...     fetch("tiny", sha256(b"g,y").hexdigest())
    b'g,y'
    """
    folder = local_folder()
    if folder is not None and (path := folder / f"{name}.csv").exists():
        return _read_local(path, name, checksum)
    return download(name, checksum).read_bytes()


def local_folder() -> Path | None:
    """Return the folder that the environment variable ``HIERBAYES_DATA`` names.

    Returns
    -------
    pathlib.Path or None
        None where the variable is unset or empty.

    Raises
    ------
    hierbayes.errors.DatasetError
        If there is no such folder.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, HIERBAYES_DATA=""):
    ...     local_folder() is None
    True
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DatasetError(
            f"The environment variable {FOLDER_VARIABLE} names a folder that does not exist, {folder}. "
            f"Create that folder, or unset {FOLDER_VARIABLE} to let the file be downloaded."
        )
    return folder


def cache_folder() -> Path:
    """Return the folder that keeps downloaded files; it need not exist yet.

    Returns
    -------
    pathlib.Path
        The user's cache folder for hierbayes, wherever the operating system has such folders.

    Examples
    --------
    >>> "hierbayes" in str(cache_folder())
    True
    """
    import pooch

    return pooch.os_cache("hierbayes")


def at_hand(name: str) -> bool:
    """Say whether a data set needs no download: it comes with the package, or its file is there already.

    Parameters
    ----------
    name : str
        Of a data set in the registry.

    Returns
    -------
    bool
        Checksums are not looked at.

    Examples
    --------
    >>> at_hand("sleepstudy")
    True
    """
    if REGISTRY[name].access != "download":
        return True
    folders = [folder for folder in (local_folder(), cache_folder()) if folder is not None]
    return any((folder / f"{name}.csv").exists() for folder in folders)


def download(name: str, checksum: str) -> Path:
    """Return the cached copy of a course file, downloading it if there is none with that checksum.

    Parameters
    ----------
    name : str
        Name of the data set.
    checksum : str
        SHA-256 of the file, in hexadecimal.

    Returns
    -------
    pathlib.Path
        The file in `cache_folder`; it gets there only once its checksum has been found right.

    Raises
    ------
    hierbayes.errors.DatasetError
        If the file cannot be downloaded or kept, or if its checksum is wrong.
    """
    import pooch

    url = f"{BASE_URL}/{name}.csv"
    cache = cache_folder()
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # pooch announces every download on stderr
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{checksum}",
            fname=f"{name}.csv",
            path=cache,
            downloader=partial(_download_to, name),
        )
    except ValueError as error:
        raise DatasetError(
            f"What {url} sent is not the data set {name!r}, for its checksum is wrong. "
            f"Try again later, or {_without_network(name)}."
        ) from error
    except OSError as error:
        raise DatasetError(
            f"The cache folder {cache} cannot be written ({type(error).__name__}). "
            f"Make it a writable folder, or {_without_network(name)}."
        ) from error
    finally:
        logger.setLevel(level)
    return Path(path)


def _download_to(name: str, url: str, output_file: Any, manager: Any) -> None:
    """Download as pooch does, but make what fails on the way a `DatasetError`."""
    import pooch

    try:
        pooch.HTTPDownloader()(url, output_file, manager)
    except OSError as error:  # which all that requests raises is, and a full disk
        raise DatasetError(
            f"The data set {name!r} could not be downloaded from {url}: {_reason(error)}. "
            f"Check the network and try again, or {_without_network(name)}."
        ) from error


def _reason(error: OSError) -> str:
    """Say in a few words why a download failed.

    Examples
    --------
    >>> _reason(OSError(28, "No space left on device"))
    'No space left on device'
    >>> _reason(ConnectionError())
    'the connection failed (ConnectionError)'
    """
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return error.strerror or f"the connection failed ({type(error).__name__})"


def _without_network(name: str) -> str:
    """Say how to use a copy of the file that was had in another way."""
    return f"put {name}.csv into a folder and let the environment variable {FOLDER_VARIABLE} name that folder"


def _read_local(path: Path, name: str, checksum: str) -> bytes:
    """Read a file of the user's own and check it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}). "
            f"Make it readable, or unset {FOLDER_VARIABLE} to let the file be downloaded."
        ) from error
    if sha256(content).hexdigest() != checksum:
        raise DatasetError(
            f"{path} is not the data set {name!r}, for its checksum is wrong. "
            f"Replace it by the original, or unset {FOLDER_VARIABLE} to let the file be downloaded."
        )
    return content
