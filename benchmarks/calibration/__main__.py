"""Calibration of posteriors and intervals: ``python -m benchmarks.calibration``.

Writes docs/calibration.md and the figures beside it, all of them or, if something fails before the end, none.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.calibration.coverage import intervals
from benchmarks.calibration.figure import draw
from benchmarks.calibration.page import page
from benchmarks.calibration.ranks import alarms, rank, uniformity
from benchmarks.calibration.repetitions import repeat
from benchmarks.calibration.studies import STUDIES
from hierbayes.output import check_writable, make_folder, write_whole

DOCS = Path(__file__).parents[2] / "docs"
PACKAGES = ["hierbayes", "pymc", "nutpie", "bambi", "numba", "numpy"]
SEED_OF_RANKS, SEED_OF_COVERAGE = 2, 3


def main() -> None:
    """Simulate, fit, count, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--ranks", type=int, default=400, help="repetitions of each model for the ranks")
    parser.add_argument("--coverage", type=int, default=200, help="data sets of each model for the coverage")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=DOCS)
    arguments = parser.parse_args()
    target = arguments.folder / "calibration.md"
    make_folder(target)
    check_writable(target)
    started = time.perf_counter()
    ranks = {
        key: pd.DataFrame(repeat(rank, key, SEED_OF_RANKS, arguments.ranks, arguments.processes)) for key in STUDIES
    }
    covered = {
        key: pd.concat(repeat(intervals, key, SEED_OF_COVERAGE, arguments.coverage, arguments.processes))
        for key, study in STUDIES.items()
        if study.truth
    }
    minutes = (time.perf_counter() - started) / 60.0
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    text = page(ranks, covered, versions, minutes, arguments.processes, os.getloadavg()[-1])
    figures = {f"ranks_{key}.svg": draw(found, STUDIES[key].title, f"ranks-{key}") for key, found in ranks.items()}
    for name, drawing in figures.items():
        write_whole(arguments.folder / name, drawing)
    write_whole(target, text)
    for key, found in ranks.items():
        raised = alarms(uniformity(found))
        print(f"{key}: {'; '.join(raised) or 'ranks are uniform'}")
    print(f"{target} after {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
