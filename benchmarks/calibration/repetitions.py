"""One function of a study, many repetitions, some processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from hierbayes.progress import bar
from hierbayes.threads import one_thread

Work = Callable[[str, int, int], Any]
"""Key of a study, seed and number of the repetition to an answer."""
TOGETHER = 5
"""Repetitions that a process does before it says so."""


def repeat(
    work: Work, key: str, seed: int, repetitions: int, processes: int = 1, show: bool | None = None
) -> list[Any]:
    """Call ``work(key, seed, number)`` for every number below `repetitions`.

    Parameters
    ----------
    work : callable
    key : str
        Of the study.
    seed, repetitions, processes : int
    show : bool, optional
        A progress bar; by default if somebody is watching.

    Returns
    -------
    list
        The answers in order, the same whatever the number of processes.
    """
    parts = [range(first, min(first + TOGETHER, repetitions)) for first in range(0, repetitions, TOGETHER)]
    with bar(f"{work.__name__}, {key}", repetitions, show) as advance:
        found = []
        if processes == 1:
            for part in parts:
                found += _some(work, key, seed, part)
                advance(len(part))
            return found
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            pending = [pool.submit(_some, work, key, seed, part) for part in parts]
            for part, future in zip(parts, pending, strict=True):
                found += future.result()
                advance(len(part))
        return found


def _some(work: Work, key: str, seed: int, numbers: range) -> list[Any]:
    with one_thread():
        return [work(key, seed, number) for number in numbers]
