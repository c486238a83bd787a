"""What of a fit goes into its file, and what comes out of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import names
from hierbayes.errors import DataError, HierbayesError, LoadError, suggest
from hierbayes.estimates import Estimate, Posterior, Sampled
from hierbayes.from_bambi.families import order_categories
from hierbayes.from_bambi.formula import parse
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.laplace_maximum import LaplaceOptimum
from hierbayes.plain import from_plain, to_plain
from hierbayes.priors import Priors
from hierbayes.reml import Optimum
from hierbayes.specification import Specification
from hierbayes.store import archive
from hierbayes.store.fingerprint import fingerprint, fingerprints
from hierbayes.store.frame import LABELS, from_parquet, to_parquet
from hierbayes.store.recipe import RECORDS, describe, rebuild
from hierbayes.store.streamed import attach, detach
from hierbayes.store.tree import from_members, to_members

DATA = "data.parquet"
PACKAGES = ("hierbayes", "numpy", "pandas", "formulae", "bambi", "pymc", "nutpie", "xarray", "zarr", "arviz")
KNOWN = RECORDS | {"Optimum": Optimum, "LaplaceOptimum": LaplaceOptimum}
AGREE = 1e-6
"""A restored estimate is where the saved one was to this, relative to its standard error."""


def save(fit: Estimate | LaplaceEstimate | Sampled, path: str | Path, data: bool = True) -> None:
    """Write a fit into a file.

    Parameters
    ----------
    fit : Estimate, LaplaceEstimate or Sampled
    path : str or pathlib.Path
    data : bool, default True
        Whether the rows used go into the file.

    Raises
    ------
    HierbayesError
        If the fit is one to other rows or responses than its model's, or has what cannot be saved.
    OutputError
        If the file cannot be written.
    """
    specification = fit.specification
    if specification is None:
        raise HierbayesError(
            "This is a refit to other responses or rows, which has no formula and data of its own; save the fit of a "
            "Model made from them."
        )
    members: dict[str, bytes] = {}
    manifest: dict[str, Any] = {
        "kind": type(fit).__name__,
        "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": python_version()} | {name: _version(name) for name in PACKAGES},
        "model": describe(specification),
        "data": _write_data(specification, members if data else None),
    }
    if isinstance(fit, Sampled):
        manifest["priors"] = to_plain(fit.priors)
        tree, manifest["streamed"] = detach(fit.idata)
        written, manifest["groups"] = to_members(tree)
        members |= written
    estimate = fit.reml if isinstance(fit, Posterior) else fit
    if isinstance(estimate, (Estimate, LaplaceEstimate)):
        manifest["estimate"] = _write_estimate(estimate)
    archive.write(path, manifest, members)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_data(specification: Specification, members: dict[str, bytes] | None) -> dict[str, Any]:
    """What the manifest says of the data; the rows themselves go into `members`."""
    rows, labels = specification.data, specification.design.row_labels
    about: dict[str, Any] = {
        "rows": len(rows),
        "fingerprint": fingerprint(rows),
        "columns": {
            name: {"dtype": str(rows[name].dtype), "sha256": found} for name, found in fingerprints(rows).items()
        },
    }
    if members is not None:
        if labels is not None and not np.array_equal(labels, np.arange(len(rows))):
            rows = rows.assign(**{LABELS: pd.Series(labels, index=rows.index)})
        members[DATA], about["notes"] = to_parquet(rows)
    return about


def _write_estimate(fit: Estimate | LaplaceEstimate) -> dict[str, Any]:
    about = {"nagq": fit.nagq} if isinstance(fit, LaplaceEstimate) else {"method": fit.method}
    errors = np.sqrt(np.diag(fit.vcov))
    shown = {
        label: [float(fit.fixef[label]), float(error)] for label, error in zip(fit.fixef.index, errors, strict=True)
    }
    return {**about, "fixef": shown, "optimum": to_plain(fit.optimum)}


@dataclass(frozen=True)
class Stored:
    """A fit as its file has it.

    Parameters
    ----------
    path : str or pathlib.Path
    manifest : dict
    members : dict of str to bytes
    """

    path: str | Path
    manifest: dict[str, Any]
    members: dict[str, bytes]

    @property
    def kind(self) -> str:
        """The class of the fit."""
        return self.manifest["kind"]

    @property
    def nagq(self) -> int:
        """Nodes of the quadrature of a `LaplaceFit`."""
        return self.manifest["estimate"]["nagq"]

    @property
    def method(self) -> str:
        """REML or ML, of a `RemlFit`."""
        return self.manifest["estimate"]["method"]

    @property
    def optimum(self) -> Any:
        """The maximum of the likelihood."""
        return from_plain(self.manifest["estimate"]["optimum"], KNOWN)

    @property
    def priors(self) -> Priors:
        """The priors that were in use."""
        return from_plain(self.manifest["priors"], KNOWN)

    def check(self, fit: Estimate | LaplaceEstimate) -> None:
        """Refuse a restored estimate that is not what was saved: its coordinates come from the rows, anew.

        Raises
        ------
        LoadError
        """
        for label, (estimate, error) in self.manifest["estimate"]["fixef"].items():
            if abs(float(fit.fixef[label]) - estimate) > AGREE * (error if np.isfinite(error) else abs(estimate)):
                raise LoadError(
                    f"The coefficient {label!r} in {self.path} was {estimate:.10g}, and is {fit.fixef[label]:.10g} "
                    "by the numerical libraries of this machine; fit again, or load it where it was saved."
                )

    def idata(self) -> xr.DataTree:
        """The draws, with all groups."""
        tree = from_members({k: v for k, v in self.members.items() if k != DATA}, self.manifest["groups"])
        return attach(tree, self.manifest["streamed"], Path(self.path).parent)

    def specification(self, data: pd.DataFrame | None, scope: Mapping[str, Any]) -> Specification:
        """The model, made again.

        Parameters
        ----------
        data : pandas.DataFrame or None
            Needed if the file has no rows; otherwise only compared with them.
        scope : mapping
            Names of the caller.

        Raises
        ------
        LoadError
            If the file has no rows and no data are given, or if the formula does not make the same columns.
        DataError
            If the data are not those of the fit.
        """
        model = self.manifest["model"]
        given = None if data is None else self._check_data(data)
        if DATA in self.members:
            rows = from_parquet(self.members[DATA], self.manifest["data"]["notes"])
            labels = rows.pop(LABELS).to_numpy() if LABELS in rows else rows.index.to_numpy()
        elif given is None:
            columns = ", ".join(map(repr, self.manifest["data"]["columns"]))
            raise LoadError(
                f"{self.path} was saved without its data; load it with data=, the data frame that was fitted, with "
                f"the columns {columns}."
            )
        else:
            rows, labels = given.reset_index(drop=True), given.index.to_numpy()
        specification = rebuild(model, rows, labels, scope)
        if "priors" in self.manifest:
            vars(specification)["priors"] = self.priors  # those of the draws, whatever automatic ones are made now
        return specification

    def _check_data(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows and columns of the fit in a data frame, refused if they are others."""
        about, model = self.manifest["data"], self.manifest["model"]
        if not isinstance(data, pd.DataFrame):
            raise DataError(f"data must be a pandas DataFrame, not {type(data).__name__}.")
        for name in about["columns"]:
            if name in names.ARRAYS and name not in data.columns:
                raise DataError(
                    f"{names.ARRAYS[name]}= was given as an array; add it to the data as a column named {name!r}."
                )
            if name not in data.columns:
                raise DataError(
                    f"The data have no column {name!r}, which the fit uses. {suggest(name, data.columns)}"
                )
        rows = data[list(about["columns"])].dropna()
        for name in rows.columns:
            if isinstance(rows[name].dtype, pd.CategoricalDtype):
                rows = rows.assign(**{name: rows[name].cat.remove_unused_categories()})
        rows = order_categories(rows, parse(model["formula"], random=model["residual"] is None).description)
        if len(rows) != about["rows"]:
            raise DataError(
                f"The data have {len(rows)} complete rows, and {model['formula']!r} was fitted to {about['rows']}; "
                "pass the data frame that was fitted."
            )
        for name, found in fingerprints(rows).items():
            if found != about["columns"][name]["sha256"]:
                raise DataError(
                    f"Column {name!r} of the data, of type {rows[name].dtype}, has other values, another order or "
                    f"another type than what was fitted, of type {about['columns'][name]['dtype']}; pass the data "
                    "frame that was fitted."
                )
        return rows
