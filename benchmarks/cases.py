"""The data sets and models of the benchmarks: a case is a row of a table here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

INSTEVAL = "HIERBAYES_INSTEVAL"
"""Environment variable that names the file of InstEval."""
REFITS = 500
"""New responses in the data of the repeated fits, columns new0, new1, ..."""
STUDIES = 1_000
"""Studies that power is estimated from."""
SIZES = {
    "sim100k": (100_000, 1_000),
    "sim1m": (1_000_000, 10_000),
    "sim10m": (10_000_000, 10_000),
}
"""Rows and groups of the simulated data."""


@dataclass(frozen=True)
class Case:
    """A model of a data set.

    Attributes
    ----------
    name : str
        Of the data set, see `load`.
    formula : str
        As lme4 writes it.
    size : str
        In words.
    statsmodels : mapping, optional
        The random effects as arguments of statsmodels' ``mixedlm``; without ``groups`` all rows are one group.
    criterion : float, optional
        Least REML criterion, by lme4 polished to a gradient of 1e-8.
    options : mapping
        Numbers of draws for a posterior.
    optional : bool
        Run only when named.
    ours : float
        Seconds that hierbayes may take at least, whatever the limit.
    """

    name: str
    formula: str
    size: str
    statsmodels: Mapping[str, Any] | None = None
    criterion: float | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: {"draws": 1000, "tune": 1000, "chains": 4})
    optional: bool = False
    ours: float = 0.0

    @property
    def fixed(self) -> str:
        """The formula without its random effects."""
        return self.formula.partition("+ (")[0]

    @property
    def missing(self) -> str | None:
        """Why the case cannot run here."""
        if self.name != "InstEval":
            return None
        path = os.environ.get(INSTEVAL)
        if not path:
            return f"skipped: no file of InstEval; name one with --insteval or {INSTEVAL}"
        return None if Path(path).is_file() else f"skipped: {Path(path).name} is not there"


def _table(*cases: Case) -> dict[str, Case]:
    return {case.name: case for case in cases}


_CROSSED = {"vc_formula": {"plate": "0 + C(plate)", "sample": "0 + C(sample)"}}
_NESTED = {"groups": "batch", "re_formula": "1", "vc_formula": {"cask": "0 + C(cask)"}}
_RATERS = {"vc_formula": {"s": "0 + C(s)", "d": "0 + C(d)"}}
_DAYS = {"groups": "Subject", "re_formula": "~ Days"}
_SLOPE = {"groups": "g", "re_formula": "~ x"}
_DAYS_FORMULA = "Reaction ~ Days + (Days | Subject)"
_CROSSED_FORMULA = "diameter ~ 1 + (1 | plate) + (1 | sample)"
_SLOPE_FORMULA = "y ~ x + (x | g)"
_INSTEVAL_SIZE = "73,421 rows, 2,972 students, 1,128 lecturers"

REML = _table(
    Case("sleepstudy", _DAYS_FORMULA, "180 rows, 18 groups", _DAYS, 1743.62827196),
    Case("Penicillin", _CROSSED_FORMULA, "144 rows, 24 and 6 groups, crossed", _CROSSED, 330.86058899),
    Case("Pastes", "strength ~ 1 + (1 | batch/cask)", "60 rows, 30 in 10 groups", _NESTED, 246.99074585),
    Case("InstEval", "y ~ 1 + (1 | s) + (1 | d)", _INSTEVAL_SIZE, _RATERS, 237783.880388),
    Case("sim100k", _SLOPE_FORMULA, "100,000 rows, 1,000 groups", _SLOPE),
    Case("sim1m", _SLOPE_FORMULA, "1,000,000 rows, 10,000 groups", _SLOPE),
    Case("sim10m", _SLOPE_FORMULA, "10,000,000 rows, 10,000 groups", _SLOPE, optional=True),
)
POSTERIOR = _table(
    Case("sleepstudy", _DAYS_FORMULA, "180 rows, 18 groups"),
    Case("Penicillin", _CROSSED_FORMULA, "144 rows, 24 and 6 groups, crossed"),
    Case("sim100k", _SLOPE_FORMULA, "100,000 rows, 1,000 groups"),
    Case("sim1m", _SLOPE_FORMULA, "1,000,000 rows, 10,000 groups"),
    Case(
        "InstEval",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        _INSTEVAL_SIZE + ", 14 departments",
        options={"draws": 400, "tune": 300, "chains": 4},
        ours=900.0,
    ),
    Case("sim10m", _SLOPE_FORMULA, "10,000,000 rows, 10,000 groups", optional=True),
)
REPEATED = _table(Case("sim100", "y ~ x + (1 | g)", "100 rows, 20 groups", {"groups": "g"}))
POWER = _table(Case("tutorial", "y ~ X + (1 | subject)", f"{STUDIES:,} studies of 100 rows, 20 groups"))
FIRST = _table(POSTERIOR["sleepstudy"])


def load(name: str) -> pd.DataFrame:
    """Return a data set; simulated ones have a fixed seed.

    Parameters
    ----------
    name : str

    Returns
    -------
    pandas.DataFrame
        Grouping factors of measured data are strings or categories, of simulated data whole numbers.
    """
    import pandas as pd

    import hierbayes as hb

    if name in SIZES:
        return simulate(*SIZES[name])
    if name == "sim100":
        return simulate_responses()
    if name == "InstEval":
        return pd.read_csv(os.environ[INSTEVAL], dtype=dict.fromkeys(["s", "d", "dept"], "category"))
    return hb.load_data(name)


def simulate(rows: int, groups: int, seed: int = 1) -> pd.DataFrame:
    """Simulate random intercepts and slopes with correlation 0.3."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    g = rng.integers(0, groups, rows)
    x = rng.normal(size=rows)
    b = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.15], [0.15, 0.25]], groups)
    y = 1.0 + b[g, 0] + (0.5 + b[g, 1]) * x + rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def simulate_responses(groups: int = 20, each: int = 5, seed: int = 1) -> pd.DataFrame:
    """Simulate one small design, random intercepts, and many responses to it."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), each)
    x = rng.normal(size=len(g))
    noise = rng.normal(size=(REFITS + 1, groups))[:, g] + rng.normal(size=(REFITS + 1, len(g)))
    y = 1.0 + 0.5 * x + noise
    new = {f"new{i}": response for i, response in enumerate(y[1:])}
    return pd.DataFrame({"y": y[0], "x": x, "g": g} | new)


def write_csv(name: str, path: str) -> str:
    """Write a data set for R and return the names of the columns that are factors, with commas between."""
    data = load(name)
    data.to_csv(path, index=False)
    return ",".join(data.select_dtypes(exclude="number").columns)
