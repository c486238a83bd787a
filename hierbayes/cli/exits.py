"""How a command ends: its exit code, and one line for whatever went wrong."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from hierbayes.errors import HierbayesError, HierbayesWarning

FOUND = 1
REFUSED = 2
BUG = 70
INTERRUPTED = 130
HUNG_UP = 141
EXIT_CODES = (
    f"Exit codes: 0 done; {FOUND} done, and a check or verification found problems; {REFUSED} refused, with one "
    f"sentence that says why; {BUG} an error in hierbayes itself; {INTERRUPTED} interrupted by Ctrl-C; {HUNG_UP} the "
    "reader of the output hung up."
)
_UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for wrong arguments; the class has moved between its versions."""


class Commands(TyperGroup):
    """The commands, with every expected failure as one line and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run a command."""
        with _one_line_warnings():
            code = self._run(args, extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named; quietly if nobody reads what it prints."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
            return HUNG_UP

    def _run(self, args: Sequence[str] | None, extra: dict[str, Any]) -> int:
        try:
            result = super().main(args, **{**extra, "standalone_mode": False})
        except HierbayesError as error:
            return _refuse(str(error))
        except _UsageError as error:
            message = error.format_message().rstrip(".")
            if not message:  # no command: the help has been printed
                return REFUSED
            where = error.ctx.command_path if error.ctx is not None else "hierbayes"
            return _refuse(f"{message}; see '{where} --help'.")
        except (KeyboardInterrupt, typer.Abort):
            result = INTERRUPTED
        if result == INTERRUPTED:
            typer.echo("interrupted", err=True)
        return result if isinstance(result, int) else 0


SAME = {"family", "link", "weights", "se", "residual", "nagq", "seed", "draws", "tune", "chains", "sigma", "rho"}
SAME |= {"groups", "rows", "within", "between", "data", "test", "method", "success", "alpha", "simulations", "cores"}
OPTIONS = dict.fromkeys(SAME, "") | {"effects": "effect", "sds": "sd", "correlations": "correlation"}
"""Arguments of the library, and the options that stand for them, if their names differ."""


def _refuse(message: str) -> int:
    text = re.sub(r"\b(\w+)=(?=[\s,;.)]|$)", _as_option, message.replace("Value error, ", ""))
    typer.echo(f"error: {one_line(text)}", err=True)
    return REFUSED


def _as_option(found: re.Match[str]) -> str:
    """An argument such as ``groups=`` as the command line has it."""
    return f"--{OPTIONS[found[1]] or found[1]}" if found[1] in OPTIONS else found[0]


def one_line(text: str) -> str:
    r"""A text on one line.

    Examples
    --------
    >>> one_line("a sentence   over two\n lines")
    'a sentence over two lines'
    """
    return " ".join(text.split())


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Write warnings as one line each, without their place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"warning: {one_line(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", HierbayesWarning)
        warnings.showwarning = show
        yield


@contextmanager
def arguments() -> Iterator[None]:
    """Refuse what the library does not take as an argument.

    Raises
    ------
    HierbayesError
        Instead of a `ValueError` or `TypeError`.
    """
    try:
        yield
    except HierbayesError:
        raise
    except (ValueError, TypeError) as error:
        raise HierbayesError(str(error)) from error


@contextmanager
def warnings_about(subject: str) -> Iterator[None]:
    """Begin warnings with what they are about, where a command deals with several models.

    Parameters
    ----------
    subject : str
        Nothing is added if it is empty.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HierbayesWarning)
        yield
    for said in caught:
        text = f"{subject}: {said.message}" if subject else str(said.message)
        warnings.warn_explicit(text, said.category, said.filename, said.lineno)
