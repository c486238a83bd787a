"""A progress bar for work that takes many fits, shown only if somebody is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

Advance = Callable[[int], None]
"""Called with how many pieces of work have just been finished."""


def watched() -> bool:
    """Whether a progress bar would be seen: a terminal, or a notebook that has the widgets for one."""
    return sys.stderr.isatty() or ("ipykernel" in sys.modules and find_spec("ipywidgets") is not None)


@contextmanager
def bar(title: str, total: int, show: bool | None = None) -> Iterator[Advance]:
    """Show a bar on stderr while the context lasts.

    Parameters
    ----------
    title : str
        What is being done, and how long it may take.
    total : int
        Pieces of work.
    show : bool, optional
        By default if somebody is watching.

    Yields
    ------
    callable
        To be called with the number of pieces that have just been finished.

    Examples
    --------
    >>> with bar("refits", 2, show=False) as advance:
    ...     for _ in range(2):
    ...         advance(1)
    """
    if not (watched() if show is None else show):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, advance=done)
