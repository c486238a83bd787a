"""The machine and the versions that figures belong to."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.process import PEERS

PACKAGES = ["hierbayes", "statsmodels", "mixedlm", "lme_python", "bambi", "pymc", "nutpie", "arviz"]
PACKAGES += ["numba", "numpy", "scipy", "pandas"]
ROOT = Path(__file__).parents[1]


def describe() -> dict[str, str]:
    """Return processor, memory, load and versions, in words."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gb():.0f} GB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }
    return found | {name: _version(name) for name in PACKAGES} | _r()


def memory_gb() -> float:
    """Physical memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _commit() -> str:
    if not shutil.which("git"):
        return "unknown"
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _r() -> dict[str, str]:
    if not shutil.which("Rscript"):
        return {"R": "not found"}
    done = subprocess.run(["Rscript", str(PEERS), "versions"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])
