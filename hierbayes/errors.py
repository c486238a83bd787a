"""Errors and warnings: one sentence that names what is wrong, then the remedy.

Every exception that hierbayes raises for bad input derives from `HierbayesError`, so that
a script can catch them with one clause and the command line can turn them into one line
and an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HierbayesError(Exception):
    """Base class of everything that hierbayes refuses to do."""


class DataError(HierbayesError, ValueError):
    """The data cannot be read, or cannot answer the question that the formula asks."""


class FormulaError(HierbayesError, ValueError):
    """The formula does not parse, or asks for a model that hierbayes does not know."""


class PriorError(HierbayesError, ValueError):
    """A prior names a term that does not exist, or a distribution that cannot be used."""


class DatasetError(HierbayesError, LookupError):
    """A data set is unknown, or cannot be fetched."""


class OutputError(HierbayesError, OSError):
    """A file cannot be written; nothing was left half-written."""


class LoadError(HierbayesError, OSError):
    """A saved fit cannot be read: there is no such file, it is another kind of file, or it is damaged or too new."""


class HierbayesWarning(UserWarning):
    """Base class of everything that hierbayes warns about."""


class RowsDropped(HierbayesWarning):
    """Rows with missing values were left out of the fit."""


class MissingPrediction(HierbayesWarning):
    """Rows with missing values were not predicted."""


class SingularFit(HierbayesWarning):
    """The REML or ML estimate lies on the boundary: a random effect has no variance of its own."""


class ConvergenceWarning(HierbayesWarning):
    """The optimiser or the sampler did not reach an answer that can be trusted."""


class IncompleteWarning(HierbayesWarning):
    """Sampling was interrupted, and the fit has only the draws made until then."""


class ParetoWarning(HierbayesWarning):
    """The importance sampling behind a leave-one-out score is not to be trusted for some rows or groups."""


class ComparisonWarning(HierbayesWarning):
    """A comparison of models does not say which one predicts better, or not reliably."""


class PriorWarning(HierbayesWarning):
    """An automatic prior says something absurd about the data."""


def suggest(wanted: str, known: Iterable[str]) -> str:
    """Say which known names come close to `wanted`, as the end of an error message.

    Parameters
    ----------
    wanted : str
        The name that was not found.
    known : iterable of str
        The names that exist.

    Returns
    -------
    str
        ``"Did you mean 'Days'?"`` when something comes close, otherwise the list of names.

    Examples
    --------
    >>> suggest("days", ["Days", "Subject"])
    "Did you mean 'Days'?"
    >>> suggest("x", ["Days", "Subject"])
    'There are: Days, Subject.'
    """
    names = [str(name) for name in known]
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(str(wanted).casefold(), folded, n=1)
    if close:
        return f"Did you mean {folded[close[0]]!r}?"
    return f"There are: {', '.join(names)}." if names else "There are none."
