"""Results as JSON on stdout, and nothing else there."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout.

    Parameters
    ----------
    value : object
        Numbers, texts, tables, and lists and mappings of these; what is missing or infinite becomes null.
    """
    from hierbayes.plain import as_plain

    typer.echo(json.dumps(as_plain(value), indent=2, allow_nan=False, ensure_ascii=False))
