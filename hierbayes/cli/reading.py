"""What a command is about: models of the data that were named, or fits that were saved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hierbayes.cli.exits import warnings_about
from hierbayes.cli.options import ModelOptions, changed
from hierbayes.cli.waiting import status
from hierbayes.errors import DataError, FormulaError

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.datasets.sources import File
    from hierbayes.model import Model

SAVED = ".hb"
"""Ending of the files in which fits are saved."""
ARGUMENTS = ("family", "link", "weights", "se", "residual")
"""Options that are arguments of `hierbayes.Model`."""


@dataclass(frozen=True)
class Subject:
    """Models by name, and the fits of those that were saved.

    Parameters
    ----------
    stem : str
        A short name for the data.
    models : dict of str to Model
        By formula; of saved fits by file, if they are several.
    fits : dict of str to RemlFit, LaplaceFit, Fit or FamilyFit
    source : str, File or None
        Where the data came from, for those who want to read them again.
    """

    stem: str
    models: dict[str, Model]
    fits: dict[str, Any] = field(default_factory=dict)
    source: str | File | None = None

    @property
    def first(self) -> Model:
        """The main model."""
        return next(iter(self.models.values()))

    def heading(self, name: str) -> str:
        """A name to say what a message is about; empty where there is no other."""
        return name if len(self.models) > 1 else ""


def read(
    source: str, formulas: Sequence[str | None], options: ModelOptions, estimation: Sequence[str] = ()
) -> Subject:
    """Read data and formulas, or saved fits.

    Parameters
    ----------
    source : str
        A data set, a file, or a saved fit.
    formulas : sequence of str or None
        One formula a model, or further saved fits; None is the formula of an example data set.
    options : ModelOptions
    estimation : sequence of str
        Further options given that a saved fit has no use for.

    Returns
    -------
    Subject

    Raises
    ------
    HierbayesError
        If anything cannot be read.
    """
    if source.endswith(SAVED):
        saved = [source, *(formula for formula in formulas if formula is not None)]
        return _read_fits(saved, options, estimation)
    frame, stem, where, usual = _read_data(source, formulas, options)
    models: dict[str, Model] = {}
    for formula, arguments in usual:
        if any(_same(formula, other) for other in models):
            raise FormulaError(f"The formula {formula!r} is given twice.")
        with warnings_about(formula if len(usual) > 1 else ""):
            models[formula] = _model(formula, frame, options, arguments)
    return Subject(stem, models, source=where)


def _read_data(
    source: str, formulas: Sequence[str | None], options: ModelOptions
) -> tuple[pd.DataFrame, str, str | File | None, list[tuple[str, dict[str, str]]]]:
    """Data, a short name, where they are from, and the formulas with the arguments that go with them."""
    with status("reading data"):
        from hierbayes.datasets import load_data
        from hierbayes.datasets.registry import REGISTRY
        from hierbayes.datasets.sources import STDIN, TAB, File, find_data

        if source in REGISTRY:
            return load_data(source), source, source, [_usual(source, formula) for formula in formulas]
        file = File(source, "\t" if options.separator == TAB else options.separator, options.decimal)
        frame, stem = find_data(file)
    found: list[tuple[str, dict[str, str]]] = []
    for formula in formulas:
        if formula is None:
            raise FormulaError(
                f"A file needs a formula; add one such as 'y ~ x + (1 | group)' with columns of {source}: "
                f"{', '.join(map(str, frame.columns))}."
            )
        found.append((formula, {}))
    return frame, stem, None if source == STDIN else file if len(file.words) > 1 else source, found


def _usual(name: str, formula: str | None) -> tuple[str, dict[str, str]]:
    """A formula for an example data set, and what goes with its response."""
    from hierbayes.datasets.formulas import default_arguments, default_family, default_formula

    own = default_formula(name)
    formula = own if formula is None else formula
    same = _left(formula) == _left(own)
    return formula, {"family": default_family(name), **default_arguments(name)} if same else {}


def _same(one: str, other: str) -> bool:
    """Whether two formulas differ in spaces only, of which those within backticks belong to a name.

    Examples
    --------
    >>> _same("y ~ x + (1 | g)", "y~x+(1|g)"), _same("y ~ `a b`", "y ~ `ab`")
    (True, False)
    """
    a, b = (re.sub(r"`[^`]*`|\s+", lambda m: m[0] if m[0][0] == "`" else "", each) for each in (one, other))
    return a == b


def _left(formula: str) -> str:
    """The response of a formula, without spaces."""
    return "".join(formula.split("~")[0].split())


def _model(formula: str, frame: pd.DataFrame, options: ModelOptions, usual: Mapping[str, str]) -> Model:
    with status("loading"):
        from hierbayes.model import Model
    given = {name: getattr(options, name) for name in ARGUMENTS if getattr(options, name) is not None}
    with status("reading the formula"):
        try:
            model = apart(Model, formula, frame, **{**usual, **given})
        except FormulaError as error:
            spaced = [name for name in map(str, frame.columns) if " " in name and name in formula]
            if bare := [name for name in spaced if f"`{name}`" not in formula]:
                hint = f"the column {bare[0]!r} is written `{bare[0]}` in a formula"
                raise FormulaError(f"{str(error).rstrip('.')}; {hint}.") from error
            raise
    if options.nagq != 1 and model.family.exact:
        raise typer.BadParameter("the likelihood of a Gaussian response is exact", param_hint="'--nagq'")
    return model


def apart(function: Any, *args: Any, **more: Any) -> Any:
    """Call a function that reads formulas, out of sight of the names of this program.

    A formula may use names of the frame that calls. Here that must be none, so that a column which does not exist
    is never taken for a function of this file; hence a frame with names that no formula has.
    """
    return eval("_(*__, **___)", {"_": function, "__": args, "___": more})


def refuse_for_saved(given: Iterable[str]) -> None:
    """Refuse options that a saved fit has no use for.

    Parameters
    ----------
    given : iterable of str
        Names of options.

    Raises
    ------
    DataError
        If there is one.
    """
    for name in given:
        raise DataError(f"A saved fit is what it is; leave --{name} out.")


def _read_fits(paths: Sequence[str], options: ModelOptions, estimation: Sequence[str]) -> Subject:
    refuse_for_saved([*(name for name in changed(options) if name != "nagq"), *estimation])
    with status("loading"):
        from hierbayes.model import Model
        from hierbayes.restore import load as load_fit

    fits: dict[str, Any] = {}
    for path in paths:
        if not path.endswith(SAVED):
            raise DataError(
                f"A saved fit has its formula, and can be put beside other saved fits; {path!r} is none of these."
            )
        if path in fits:
            raise DataError(f"The saved fit {path} is given twice.")
        with status("reading the fit"):
            fits[path] = apart(load_fit, path)
    if len(fits) == 1:
        fits = {fit.design.formula: fit for fit in fits.values()}
    models = {name: Model.of(fit) for name, fit in fits.items()}
    return Subject(Path(paths[0]).stem, models, fits)
