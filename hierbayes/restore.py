"""From a file back to a fit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierbayes.errors import LoadError
from hierbayes.laplace import Laplace
from hierbayes.model import Model
from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit
from hierbayes.store.archive import read
from hierbayes.store.fits import Stored

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"RemlFit", "LaplaceFit", "Fit", "FamilyFit"}


def load(
    path: str | Path, data: pd.DataFrame | None = None, namespace: Mapping[str, Any] | None = None
) -> Fit | FamilyFit | RemlFit | LaplaceFit:
    """Read a saved fit.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that `save` of a fit has written.
    data : pandas.DataFrame, optional
        The data frame that was fitted, needed if the fit was saved with ``data=False``. It is compared with the
        fingerprint in the file.
    namespace : mapping of str to object, optional
        Functions that the formula uses, by name; by default those that the caller can see.

    Returns
    -------
    Fit, FamilyFit, RemlFit or LaplaceFit
        Of the class that was saved, able to do all that it could do. Nothing is maximised or sampled again.

    Raises
    ------
    LoadError
        If there is no such file; if it is another kind of file, damaged, or of a newer version of hierbayes; if a
        function that the formula uses is not in scope, or makes other columns than it did.
    DataError
        If the data are not those that were fitted.

    Examples
    --------
    >>> import tempfile
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(Path(folder, "dyestuff.hb"))
    ...     again = hb.load(Path(folder, "dyestuff.hb"))
    >>> again.tidy().equals(fit.tidy())
    True
    >>> hb.Model.of(again)
    Model('Yield ~ 1 + (1 | Batch)': 30 rows, 6 levels of Batch)
    """
    caller = sys._getframe(1)
    scope = {**caller.f_globals, **caller.f_locals, **(namespace or {})}
    stored = Stored(path, *read(path))
    if stored.kind not in KINDS:
        raise LoadError(f"{path} holds a {stored.kind}, which this version of hierbayes does not know; update it.")
    specification = stored.specification(data, scope)
    model = Model._specified(specification)
    if stored.kind == "FamilyFit":
        return FamilyFit(model.design, stored.priors, stored.idata(), specification=specification)
    if stored.kind == "LaplaceFit":
        found = LaplaceFit(Laplace(model.design, stored.nagq), stored.optimum, specification)
        stored.check(found)
        return found
    reml = RemlFit(model.likelihood, stored.optimum, stored.method, specification)
    stored.check(reml)
    if stored.kind == "RemlFit":
        return reml
    return Fit(model.design, stored.priors, stored.idata(), model.marginal, reml, specification=specification)
