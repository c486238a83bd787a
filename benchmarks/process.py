"""Processes with a limit and their peak memory, repeated calls with their median, and contenders in R."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import Case

Figures = dict[str, Any]
CACHE = "HIERBAYES_BENCHMARKS_CACHE"
"""Environment variable that names the folder of what R compiles."""
BUDGET, MOST = 3.0, 200
"""Calls are repeated for so many seconds, or so many times; at least once."""
FOLDERS = re.compile(r"(?<![\w.])(/[\w.+-]+)+/")
"""What is left out of messages: the folders of this machine."""
PEERS = Path(__file__).with_name("peers.R")


class NotExpressibleError(Exception):
    """The contender has no way to say the model."""

    def __str__(self) -> str:
        return f"not expressible: {super().__str__()}"


class NotInstalledError(Exception):
    """The contender is not on this machine."""


@dataclass(frozen=True)
class Finished:
    """How a process ended: its exit code (None if it was stopped), its output and its peak memory in MB."""

    code: int | None
    out: str
    err: str
    peak_mb: float


def measure(
    command: Sequence[str], limit: float | None = None, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run a command and measure its peak memory.

    Parameters
    ----------
    command : sequence of str
    limit : float, optional
        Seconds after which it is stopped, with every process it has started.
    environment : mapping, optional

    Returns
    -------
    Finished
        The peak is the kernel's ``ru_maxrss`` of the process, or of the largest one it has waited for.
    """
    stopped = threading.Event()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=bool(limit))

        def stop() -> None:
            stopped.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, stop)
        if limit:
            timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            stop() if limit else process.kill()
            raise
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        return Finished(None if stopped.is_set() else process.returncode, out.read(), err.read(), kilobytes / 1024)


def figures_of(finished: Finished, limit: float | None = None) -> Figures:
    """Read the figures that a process printed as its last line, or say in one line how it failed."""
    printed = [line for line in finished.out.splitlines() if line.startswith("{")]
    figures: Figures = {"peak_mb": finished.peak_mb} | (json.loads(printed[-1]) if printed else {})
    if finished.code is None:
        figures["failed"] = f"stopped after {limit:.0f} s"
    elif finished.code < 0:
        figures["failed"] = f"ended by {signal.Signals(-finished.code).name}"
    elif finished.code or not printed:
        lines = finished.err.strip().splitlines() or ["no message"]
        figures["failed"] = next((line for line in lines if "Error" in line), lines[-1])
    if "failed" in figures:
        figures["failed"] = FOLDERS.sub("", figures["failed"])[:200]
    return figures


def repeated(call: Callable[[], float]) -> Figures:
    """Time a first call and the median of further ones.

    Parameters
    ----------
    call : callable
        Returns the REML criterion that it reached.

    Returns
    -------
    dict
        Keys first, median and fastest (s; the last two of the further calls), repeats (their number), criterion.
    """
    seconds: list[float] = []
    while len(seconds) < 2 or (sum(seconds[1:]) < BUDGET and len(seconds) <= MOST):
        start = time.perf_counter()
        criterion = call()
        seconds.append(time.perf_counter() - start)
    return {
        "first": seconds[0],
        "median": median(seconds[1:]),
        "fastest": min(seconds[1:]),
        "repeats": len(seconds) - 1,
        "criterion": float(criterion),
    }


def in_r(task: str, case: Case, **options: object) -> Figures:
    """Run a task of peers.R on a case.

    The CSV is written by a process of its own, so that this one is small when it starts R: a
    process begins with the peak memory of the one that started it.

    Raises
    ------
    NotInstalledError
        If there is no Rscript.
    """
    if not shutil.which("Rscript"):
        raise NotInstalledError("not run: no Rscript here")
    with tempfile.TemporaryDirectory() as folder:
        csv = str(Path(folder, "data.csv"))
        write = [sys.executable, "-m", "benchmarks", "--csv", case.name, csv]
        factors = subprocess.run(write, check=True, capture_output=True, text=True).stdout.strip()
        given = {"factors": factors, "budget": BUDGET, "most": MOST} | options
        print(json.dumps({"peak_mb": None}), flush=True)  # what stands if R is stopped before it tells its own
        named = [f"{name}={value}" for name, value in given.items()]
        return figures_of(measure(["Rscript", str(PEERS), task, csv, case.formula, *named]))
