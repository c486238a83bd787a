"""Run the benchmarks: ``python -m benchmarks [case ...]``.

Writes benchmarks/results/latest.json and latest.md. Every figure comes from a process of its own; one
that exceeds the limit, or fails, is reported as that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, load
from benchmarks.contenders import CONTENDERS, run
from hierbayes.output import write_whole

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("hierbayes", "statsmodels", "bambi", "pymc", "nutpie", "numba", "numpy", "pandas")
DEFAULT = ("sleepstudy", "sim100k", "sim1m")


def one(case: str, contender: str) -> None:
    """Child process: print the figures of one run as JSON."""
    data = load(case)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = run(contender, CASES[case][0], data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(figures | {"peak_mb": peak / 1024, "data_mb": before / 1024}))


def cold_start() -> dict[str, Any]:
    """First fit ever on a machine: empty caches for numba and PyTensor."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder, "PYTENSOR_FLAGS": f"base_compiledir={folder}"}
        return _child("sleepstudy", "hierbayes posterior", 600, environment)


def start_up() -> dict[str, float]:
    """Seconds to import the package and to print the help of the command, best of five."""
    python = sys.executable
    commands = {
        "import hierbayes": [python, "-c", "import hierbayes"],
        "python alone": [python, "-c", "pass"],
        "hierbayes --help": [str(Path(python).parent / "hierbayes"), "--help"],
    }
    found = {}
    for name, command in commands.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        found[name] = min(times)
    return found


def _child(case: str, contender: str, limit: float, environment: dict[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "--one", case, contender]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {limit:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run all cases and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare hierbayes with its peers.")
    parser.add_argument("cases", nargs="*", default=list(DEFAULT), help=f"of {', '.join(CASES)}")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is stopped")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "CONTENDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(*arguments.one)
        return
    machine = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    for package in PACKAGES:
        try:
            machine[package] = version(package)
        except PackageNotFoundError:
            machine[package] = "not installed"
    found: dict[str, Any] = {"machine": machine, "cases": {}}
    print("first fit on this machine", flush=True)
    found["cold"] = cold_start()
    found["start_up"] = start_up()
    for case in arguments.cases:
        found["cases"][case] = {}
        for contender in CONTENDERS:
            print(f"{case}: {contender}", flush=True)
            found["cases"][case][contender] = _child(case, contender, arguments.limit)
            save(found)
    print(markdown(found))


def save(found: dict[str, Any]) -> None:
    """Write what has been measured so far, so that an interrupted run loses nothing."""
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / "latest.json", json.dumps(found, indent=2) + "\n")
    write_whole(RESULTS / "latest.md", markdown(found))


def markdown(found: dict[str, Any]) -> str:
    """Lay the figures out as Markdown, ratios against hierbayes in the same case."""
    lines = ["# Benchmarks", "", ", ".join(f"{key} {value}" for key, value in found["machine"].items()), ""]
    cold = found["cold"]
    lines += [
        "First fit with empty caches (compilation included): "
        + (
            cold["failed"]
            if "failed" in cold
            else f"{cold['seconds']:.1f} s; the second in that process {cold['again']:.2f} s"
        ),
        "",
        ", ".join(f"`{name}` {seconds:.2f} s" for name, seconds in found["start_up"].items()),
        "",
        "`seconds`: formula and data frame to estimates, in a process that has imported; `again`: once more in the "
        "same process. ESS: smallest bulk effective sample size of the parameters of 4 x 1000 draws.",
    ]
    for case, results in found["cases"].items():
        formula, size = CASES[case]
        lines += ["", f"## {case}: `{formula}`, {size}", ""]
        lines += ["| | seconds | again | ratio | ESS | ESS/s | ratio | R-hat | divergences | peak MB |"]
        lines += ["|---|---|---|---|---|---|---|---|---|---|"]
        for contender, figures in results.items():
            if "failed" in figures:
                lines.append(f"| {contender} | {figures['failed']} | | | | | | | | |")
                continue
            kind = CONTENDERS[contender][0]
            ours = results["hierbayes REML" if kind == "reml" else "hierbayes posterior"]
            ratio = figures["seconds"] / ours["seconds"] if "seconds" in ours else float("nan")
            row = [contender, f"{figures['seconds']:.3g}", f"{figures['again']:.3g}", f"{ratio:.3g}"]
            if kind == "posterior":
                rate = figures["ess"] / figures["seconds"]
                share = ours["ess"] / ours["seconds"] / rate if "ess" in ours else float("nan")
                row += [f"{figures['ess']:.0f}", f"{rate:.3g}", f"1/{share:.3g}"]
                row += [f"{figures['rhat']:.3f}", str(figures["divergences"])]
            else:
                row += [""] * 5
            lines.append("| " + " | ".join([*row, f"{figures['peak_mb']:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
