"""The file around everything: a zip archive whose first member lists the others with their SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hierbayes.errors import LoadError, OutputError
from hierbayes.output import check_writable, whole_file

FORMAT = 1
"""Of the files that are written; all earlier ones are read."""
MANIFEST = "hierbayes.json"
START = b"PK\x03\x04"
"""First bytes of a zip archive; the name of the first member begins at byte 30."""
LISTED = b"PK\x01\x02"
"""First bytes of every entry of its table of contents."""
EDGE = 65536
WHEN = (1980, 1, 1, 0, 0, 0)
"""Date of every member: what was saved and when is in the manifest."""


def write(path: str | Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        A file of that name is replaced if hierbayes has written it, or if it is empty.
    manifest : mapping
        Of JSON's values.
    members : mapping of str to bytes

    Raises
    ------
    OutputError
        If the file cannot be written, or is there already and is of another kind.
    """
    target = check_writable(path)
    if target.exists() and target.stat().st_size and not _is_ours(_edges(target)):
        raise OutputError(f"{path} is there already and is not a saved fit; name another file, or remove it.")
    listed = {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in members.items()}
    text = json.dumps({"format": FORMAT, **manifest, "members": listed}, indent=1, ensure_ascii=False)
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in {MANIFEST: text.encode(), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, WHEN), content)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read an archive and make sure that it is as it was written.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    manifest : dict
    members : dict of str to bytes

    Raises
    ------
    LoadError
        If there is no such file, if it is of another kind, damaged, or of a format of the future.
    """
    content = _content(path)
    if not _is_ours(content):
        raise LoadError(f"{path} is not a file that hierbayes has saved; name one that was written by save().")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:
        raise _damaged(path, "its end, with the table of contents, is missing or unreadable") from error
    with archive:
        manifest = json.loads(_member(path, archive, MANIFEST))
        if manifest["format"] > FORMAT:
            raise LoadError(
                f"{path} has format {manifest['format']}, written by hierbayes {manifest['versions']['hierbayes']}; "
                f"this is hierbayes {version('hierbayes')}, which reads formats up to {FORMAT}. Update hierbayes."
            )
        members = {name: _member(path, archive, name) for name in manifest["members"]}
    for name, wanted in manifest["members"].items():
        if _sha256(members[name]) != wanted["sha256"]:
            raise _damaged(path, f"its part {name} is not what was saved")
    return manifest, members


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise LoadError(f"There is no file {path}; check the name and the folder.") from error
    except IsADirectoryError as error:
        raise LoadError(f"{path} is a folder; name a file that was written by save().") from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise LoadError(f"{path} cannot be read ({reason}); check its permissions.") from error


def _edges(path: Path) -> bytes:
    """Beginning and end of a file."""
    with path.open("rb") as file:
        start = file.read(EDGE)
        file.seek(max(len(start), path.stat().st_size - EDGE))
        return start + file.read()


def _is_ours(content: bytes) -> bool:
    """Whether a file begins as an archive of hierbayes, or has the table of contents of one at its end."""
    name = MANIFEST.encode()
    starts = content.startswith(START) and content[30:].startswith(name)
    return starts or (LISTED in content[-EDGE:] and name in content[-EDGE:])


def _member(path: str | Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """One member; whatever goes wrong with it, the file is damaged."""
    try:
        return archive.read(name)
    except Exception as error:
        raise _damaged(path, f"its part {name} is unreadable") from error


def _damaged(path: str | Path, how: str) -> LoadError:
    return LoadError(f"{path} is damaged: {how}. Take a copy from elsewhere, or fit again and save.")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
