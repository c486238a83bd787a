"""The sections of the report: cases, contenders, what is compared, what is shown."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import posterior, power, refits, reml
from benchmarks.cases import FIRST, POSTERIOR, POWER, REML, REPEATED, Case
from benchmarks.process import Figures

OURS = "hierbayes"


def short(value: float) -> str:
    """Write a number with three significant digits."""
    return f"{float(f'{value:.3g}'):,.10g}"


def command(*words: str) -> Figures:
    """Time a command, best of five."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds)}


def _python(code: str) -> Callable[[Case], Figures]:
    return lambda case: command(sys.executable, "-c", code)


@dataclass(frozen=True)
class Section:
    """A table of contenders for every case.

    Attributes
    ----------
    title : str
    cases : mapping of str to Case
    contenders : mapping of str to callable
        Case in, figures out; each runs in a process of its own. Names that begin with `OURS` are ours.
    columns : mapping of str to callable
        Header of a column and how it shows the figures.
    speed : callable, optional
        What ratios compare; more is better.
    compiled : frozenset of str
        Contenders with a cache on disk: their process runs twice and the second counts.
    one_core : bool
        Processes are pinned to one core.
    fresh : bool
        Caches on disk are empty.
    """

    title: str
    cases: Mapping[str, Case]
    contenders: Mapping[str, Callable[[Case], Figures]]
    columns: Mapping[str, Callable[[Figures], str]]
    speed: Callable[[Figures], float] | None = None
    compiled: frozenset[str] = frozenset()
    one_core: bool = False
    fresh: bool = False


_ONE = {
    OURS: partial(posterior.one, posterior.hierbayes),
    "Bambi, default sampler": partial(posterior.one, posterior.bambi),
    "Bambi, nutpie": partial(posterior.one, posterior.bambi_nutpie),
    "rstanarm": partial(posterior.stan, "rstanarm"),
    "brms": partial(posterior.stan, "brms"),
}
_SECOND = {
    OURS: partial(posterior.second, posterior.hierbayes),
    "Bambi, default sampler": partial(posterior.second, posterior.bambi),
    "Bambi, nutpie": partial(posterior.second, posterior.bambi_nutpie),
}
_CONVERGENCE: dict[str, Callable[[Figures], str]] = {
    "ESS": lambda f: f"{f['ess']:,.0f}",
    "slowest parameter": lambda f: f"`{f['slowest']}`".replace("|", "\\|"),
    "R-hat": lambda f: f"{f['rhat']:.3f}",
    "divergences": lambda f: f"{f['divergences']}",
}
_RATE: dict[str, Callable[[Figures], str]] = {"ESS/s": lambda f: short(f["ess"] / f["seconds"])}
_FIRST_AND_MEDIAN: dict[str, Callable[[Figures], str]] = {
    "first, ms": lambda f: short(1e3 * f["first"]),
    "median, ms": lambda f: short(1e3 * f["median"]),
    "fastest, ms": lambda f: short(1e3 * f["fastest"]),
}
_CRITERION: dict[str, Callable[[Figures], str]] = {
    "criterion": lambda f: f"{f['criterion']:.6f}",
    "above the best": lambda f: f"{f['excess']:.1e}",
}

SECTIONS = {
    "reml": Section(
        "REML",
        REML,
        {
            OURS: reml.hierbayes,
            f"{OURS}, built model": reml.hierbayes_built,
            "statsmodels": reml.statsmodels,
            "mixedlm": reml.mixedlm,
            "lme_python": reml.lme_python,
            "lme4": reml.lme4,
        },
        _FIRST_AND_MEDIAN | _CRITERION,
        speed=lambda f: 1.0 / f["median"],
        compiled=frozenset({OURS, f"{OURS}, built model"}),
    ),
    "posterior": Section(
        "Posterior",
        POSTERIOR,
        _ONE,
        {"seconds": lambda f: short(f["seconds"])} | _CONVERGENCE | _RATE,
        speed=lambda f: f["ess"] / f["seconds"],
        compiled=frozenset(_ONE) - {"rstanarm"},
    ),
    "refits": Section(
        "Repeated fits: REML of new responses, one core",
        REPEATED,
        {
            OURS: refits.hierbayes,
            f"{OURS}, all at once": refits.hierbayes_all,
            "statsmodels": refits.statsmodels,
            "mixedlm": refits.mixedlm,
            "lme_python": refits.lme_python,
            "lme4": refits.lme4,
        },
        {"refits/s": lambda f: short(f["rate"])} | _CRITERION,
        speed=lambda f: f["rate"],
        compiled=frozenset({OURS, f"{OURS}, all at once"}),
        one_core=True,
    ),
    "second": Section(
        "Repeated fits: posterior of a second model of the same shape",
        REPEATED,
        _SECOND,
        {
            "first, s": lambda f: short(f["first"]),
            "second, s": lambda f: short(f["seconds"]),
            "second / first": lambda f: short(f["seconds"] / f["first"]),
        }
        | _CONVERGENCE
        | _RATE,
        speed=lambda f: f["ess"] / f["seconds"],
        compiled=frozenset(_SECOND),
    ),
    "power": Section(
        "Power by simulation, one core",
        POWER,
        {OURS: power.hierbayes, "statsmodels": power.statsmodels},
        {
            "first, s": lambda f: short(f["first"]),
            "median, s": lambda f: short(f["median"]),
            "power": lambda f: f"{f['power']:.3f}",
        },
        speed=lambda f: 1.0 / f["median"],
        compiled=frozenset({OURS}),
        one_core=True,
    ),
    "first": Section(
        "First use: posterior with empty caches",
        FIRST,
        _ONE,
        {"seconds": lambda f: short(f["seconds"])},
        speed=lambda f: 1.0 / f["seconds"],
        fresh=True,
    ),
    "start": Section(
        "First use: seconds to start, best of five",
        {"start-up": Case("start-up", "", "a new process each time")},
        {
            "python alone": _python("pass"),
            "import hierbayes": _python("import hierbayes"),
            "hierbayes --help": lambda case: command(str(Path(sys.executable).parent / "hierbayes"), "--help"),
            "import statsmodels.formula.api": _python("import statsmodels.formula.api"),
            "from mixedlm import lmer": _python("from mixedlm import lmer"),
            "import lme_python": _python("import lme_python"),
            "import bambi": _python("import bambi"),
            "library(lme4)": lambda case: command("Rscript", "-e", "library(lme4)"),
        },
        {"seconds": lambda f: short(f["seconds"])},
    ),
}
