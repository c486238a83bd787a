"""Run the benchmarks: ``python -m benchmarks [section or case ...]``.

Writes benchmarks/results/latest.json, latest.md and docs/benchmarks.md, where cases that are not run again keep
their rows. Everything, with peers stopped after ten minutes each, takes some two hours; ``--limit 120`` a good half
hour.
Peers that are not installed say so in their rows: ``pip install -r benchmarks/requirements.txt``, and in R lme4,
rstanarm and brms (with a C++ compiler).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cases import INSTEVAL, write_csv
from benchmarks.machine import describe, memory_gb
from benchmarks.page import page
from benchmarks.process import CACHE, Figures, NotExpressibleError, NotInstalledError, figures_of, measure
from benchmarks.sections import OURS, SECTIONS
from benchmarks.tables import markdown
from hierbayes.output import write_whole

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    """Run what was asked for and write the tables."""
    arguments = _arguments()
    if arguments.csv:
        print(write_csv(*arguments.csv))
    elif arguments.one:
        section, case, contender = arguments.one
        print(json.dumps(one(section, case, contender, arguments.memory)))
    else:
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Run every contender of every case asked for; save after each, unless only some contenders run."""
    chosen = [
        (section, case)
        for section in SECTIONS
        for case, model in SECTIONS[section].cases.items()
        if _asked(section, case, model.optional, set(arguments.names))
    ]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    earlier: dict[str, Any] = {"runs": {}, "sections": {}} if arguments.only else read()
    found = earlier | {"runs": earlier["runs"] | {now: describe()}}
    with tempfile.TemporaryDirectory() as cache:
        for section, case in chosen:
            cases = found["sections"].setdefault(section, {})
            reason = SECTIONS[section].cases[case].missing
            if reason:
                print(f"{section} {case}: {reason}", flush=True)
                cases.setdefault(case, {"run": now, "skipped": reason})
                continue
            rows: dict[str, Figures] = {}
            cases[case] = {"run": now, "rows": rows}
            for contender in arguments.only or SECTIONS[section].contenders:
                if contender in SECTIONS[section].contenders:
                    print(f"{section} {case}: {contender}", flush=True)
                    rows[contender] = compete(section, case, contender, arguments.limit, arguments.memory, cache)
                    if not arguments.only:
                        save(found)
    print(markdown(found))


def _asked(section: str, case: str, optional: bool, names: set[str]) -> bool:
    sections, cases = names & set(SECTIONS), names - set(SECTIONS)
    return (not sections or section in sections) and (case in cases if cases else not optional)


def compete(section: str, case: str, contender: str, limit: float, memory: float, cache: str) -> Figures:
    """Run a contender in a process of its own, twice if the first one is to fill its cache."""
    command = [sys.executable, "-m", "benchmarks", "--memory", str(memory), "--one", section, case, contender]
    model = SECTIONS[section].cases[case]
    if contender.startswith(OURS):
        limit = max(limit, model.ours)
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {CACHE: cache}
        if SECTIONS[section].fresh:
            environment |= {CACHE: empty, "NUMBA_CACHE_DIR": empty, "PYTENSOR_FLAGS": f"base_compiledir={empty}"}
        figures: Figures = {}
        # what takes minutes is not run twice for a second of compilation
        for _ in range(2 if contender in SECTIONS[section].compiled and not model.ours else 1):
            figures = figures_of(measure(command, limit, environment), limit)
            if "failed" in figures:
                break
        return figures


def one(section: str, case: str, contender: str, memory: float) -> Figures:
    """Child process: the figures of one run, or the sentence of its failure."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory * 1024**3), resource.RLIM_INFINITY))
    if SECTIONS[section].one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    try:
        return SECTIONS[section].contenders[contender](SECTIONS[section].cases[case])
    except (NotExpressibleError, NotInstalledError) as reason:
        return {"failed": str(reason)}
    except Exception as error:
        sentence = str(error).strip().splitlines() or [""]
        return {"failed": f"{type(error).__name__}: {sentence[0]}"[:200]}


def read() -> dict[str, Any]:
    """Return what earlier runs have found."""
    path = RESULTS / "latest.json"
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    return earlier if "sections" in earlier else {"runs": {}, "sections": {}}


def save(found: dict[str, Any]) -> None:
    """Write what has been found so far, so that an interrupted run loses nothing."""
    used = {case["run"] for cases in found["sections"].values() for case in cases.values()}
    found["runs"] = {run: machine for run, machine in found["runs"].items() if run in used}
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / "latest.json", json.dumps(found, indent=2) + "\n")
    write_whole(RESULTS / "latest.md", markdown(found))
    write_whole(PAGE, page(found))


def _arguments() -> argparse.Namespace:
    cases = dict.fromkeys(case for section in SECTIONS.values() for case in section.cases)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare hierbayes with its peers.")
    parser.add_argument(
        "names",
        nargs="*",
        help=f"sections ({', '.join(SECTIONS)}) and cases ({', '.join(cases)}); all of both unless named, "
        "except sim10m, which runs only when named",
    )
    parser.add_argument("--insteval", metavar="PATH", help=f"CSV file of InstEval; else the variable {INSTEVAL}")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a process is stopped (600)")
    parser.add_argument(
        "--memory", type=float, default=memory_gb(), help="GB of address space of a process (the machine's memory)"
    )
    parser.add_argument(
        "--only", action="append", metavar="CONTENDER", help="run only this one and save nothing; may be repeated"
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--csv", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(SECTIONS) - set(cases)
    if unknown:
        parser.error(f"no section or case is called {', '.join(sorted(unknown))}")
    if arguments.insteval:
        os.environ[INSTEVAL] = str(Path(arguments.insteval).resolve())
    return arguments


if __name__ == "__main__":
    main()
