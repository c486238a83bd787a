"""What several test files share: reference files, one data set, one posterior."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

import hierbayes as hb

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Reference values and data sets that are kept beside the repository, not in it."""


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path of a shared file by its name; the test is skipped where the file is absent."""

    def path(name: str) -> Path:
        found = SHARED / name
        if not found.exists():
            pytest.skip(f"the shared file {name} is not beside the repository, in {SHARED}")
        return found

    return path


@pytest.fixture(scope="session")
def sleepstudy() -> pd.DataFrame:
    """Reaction times of 18 subjects over ten days (Belenky et al. 2003)."""
    return hb.load_data("sleepstudy")


@pytest.fixture(scope="session")
def fit_sleepstudy(sleepstudy: pd.DataFrame) -> hb.Fit:
    """The posterior of the random-slope model, 4 chains of 1000 draws."""
    return hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).fit(draws=1000, seed=1, progress=False)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, even where the tests themselves run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
