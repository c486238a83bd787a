"""Threads: work shared among some, and linear algebra kept on one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  the library that compiled code calls must be there to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Keep products of matrices on one thread each while the context lasts.

    Chains share the processors better than products do; products that wait for each other's threads on a
    busy machine are slower by orders of magnitude; and answers do not depend on the number of threads.
    """
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited


def parts(total: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `total`.

    Examples
    --------
    >>> parts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def share(work: Callable[[int, slice], None], parts: list[slice], threads: int) -> None:
    """Run ``work(number, part)`` for all parts on some threads; the first error is raised."""
    if len(parts) == 1 or threads == 1:
        for number, part in enumerate(parts):
            work(number, part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, number, part) for number, part in enumerate(parts)]:
            done.result()
