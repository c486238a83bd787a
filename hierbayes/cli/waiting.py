"""What is shown on stderr while somebody waits, and nothing where nobody watches."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hierbayes.cli.options import PosteriorOptions
from hierbayes.errors import IncompleteWarning

if TYPE_CHECKING:
    from hierbayes.model import Model
    from hierbayes.results import FamilyFit, Fit


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner on stderr; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def sample(model: Model, options: PosteriorOptions, title: str = "sampling") -> Fit | FamilyFit:
    """Draw the whole posterior, with a progress bar where somebody is watching.

    An interrupted command leaves nothing behind: there is nobody to look at half a posterior.

    Parameters
    ----------
    model : Model
    options : PosteriorOptions
    title : str

    Returns
    -------
    Fit or FamilyFit

    Raises
    ------
    KeyboardInterrupt
    """
    if model.family.exact:
        with status("preparing the sampler"):
            _ = model.marginal
    with _progress_bar(title) as callback, uninterrupted():
        return model.fit(
            draws=options.draws,
            tune=options.tune,
            chains=options.chains,
            seed=options.seed,
            progress=False,
            callback=callback,
        )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Take what Ctrl-C left incomplete for nothing.

    Raises
    ------
    KeyboardInterrupt
        Instead of an `IncompleteWarning`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteWarning)
        try:
            yield
        except IncompleteWarning:
            raise KeyboardInterrupt from None


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[Any], None] | None]:
    """A progress bar on stderr and the callback that drives it; None where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("draws", total=None)

        def callback(chains: Any) -> None:
            divergences = sum(chain.divergences for chain in chains)
            progress.update(
                task,
                total=sum(chain.total_draws for chain in chains),
                completed=sum(chain.finished_draws for chain in chains),
                description=f"draws, {divergences} divergent" if divergences else "draws",
            )

        yield callback
