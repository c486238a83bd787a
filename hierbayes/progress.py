"""A progress bar for work that takes many fits, shown only if somebody is watching.

In a terminal it is rich's, and nutpie's own while it samples. In a notebook it is one output that is replaced in its
place and empty in the end: it needs no widgets, leaves nothing behind, and work that is done at once shows none.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

Advance = Callable[[int], None]
"""Called with how many pieces of work have just been finished."""
Watcher = Callable[[Any], None]
"""Called by nutpie, now and then, with the states of its chains."""
PATIENCE, PACE = 0.3, 0.1
"""Seconds before a notebook shows a bar, and between two states of it."""


def in_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter, which shows HTML and may replace it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def watched() -> bool:
    """Whether a progress bar would be seen: in a terminal or a notebook."""
    return sys.stderr.isatty() or in_notebook()


@contextmanager
def bar(title: str, total: int, show: bool | None = None) -> Iterator[Advance]:
    """Show a bar on stderr, or in the output of a notebook, while the context lasts.

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
    if in_notebook():
        with _output() as output:
            at_last = threading.Timer(PATIENCE, output.advance, (title, 0, total))  # if the first piece takes long
            at_last.daemon = True
            at_last.start()
            yield lambda done: output.advance(title, done, total)
            at_last.cancel()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, advance=done)


@contextmanager
def drawing(show: bool, callback: Watcher | None = None) -> Iterator[dict[str, Any]]:
    """Show how nutpie samples while the context lasts.

    Parameters
    ----------
    show : bool
    callback : callable, optional
        Of the user, told as well.

    Yields
    ------
    dict
        Arguments ``progress_bar`` and ``progress_callback`` of ``nutpie.sample``.

    Examples
    --------
    >>> with drawing(False) as arguments:
    ...     arguments
    {'progress_bar': False, 'progress_callback': None}
    """
    if not (show and in_notebook()):
        yield {"progress_bar": show, "progress_callback": callback}
        return
    with _output() as output:

        def tell(chains: Any) -> None:
            divergent = sum(chain.divergences for chain in chains)
            output.show(
                f"draws of {len(chains)} chains" + (f", {divergent} divergent" if divergent else ""),
                sum(chain.finished_draws for chain in chains),
                sum(chain.total_draws for chain in chains),
            )
            if callback is not None:
                callback(chains)

        yield {"progress_bar": False, "progress_callback": tell}


class _Output:
    """One output of a notebook that is replaced until it is empty; threads may share it."""

    def __init__(self) -> None:
        self.started = self.shown = time.monotonic()
        self.done, self.handle, self.closed, self.lock = 0, None, False, threading.Lock()

    def advance(self, title: str, done: int, total: int) -> None:
        """Show that more has been done."""
        with self.lock:
            self.done += done
        self.show(title, self.done, total)

    def show(self, title: str, done: int, total: int) -> None:
        """Show how much is done, unless it was shown just now."""
        now = time.monotonic()
        with self.lock:
            if self.closed or now - self.shown < (PATIENCE if self.handle is None else PACE):
                return
            self.shown, passed = now, now - self.started
            left = passed / done * (total - done) if done > 0.05 * total else 0.0
            text = f"{title}: {done:,} of {total:,}" + (f", about {left:.0f} s left" if left >= 1.0 else "")
            width = "width:16em;max-width:40%;vertical-align:middle;margin-right:.6em"
            meter = f'<progress aria-label="{escape(title)}" max="{total}" value="{done}" style="{width}"></progress>'
            self._put(text, f"<div>{meter}{escape(text)}</div>")

    def close(self) -> None:
        """Leave nothing behind."""
        with self.lock:
            self.closed = True
            if self.handle is not None:
                self._put("", "")

    def _put(self, text: str, html: str) -> None:
        content = {"text/plain": text, "text/html": html}
        if self.handle is None:
            self.handle = sys.modules["IPython"].display.display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


@contextmanager
def _output() -> Iterator[_Output]:
    output = _Output()
    try:
        yield output
    finally:
        output.close()
