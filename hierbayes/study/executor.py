"""Many simulations, shared out: in this process, over the processors, or over a Dask cluster.

The numbers of the simulations go out in chunks, and what comes back is kept under the number of its simulation. A
simulation draws its randomness from its number alone, so who does it, when, and together with which others changes
no answer. A chunk that is lost with its worker is done again, and one that comes twice is taken once.

Every worker keeps its linear algebra on one thread: simulations share the processors better than products of
matrices do.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from hierbayes.errors import HierbayesError
from hierbayes.progress import bar
from hierbayes.threads import one_thread, parts

if TYPE_CHECKING:
    from distributed import Client

type Numbers = tuple[int, ...]
type Work[R] = Callable[[Sequence[int]], Sequence[R]]
"""From the numbers of some simulations to one result each, in their order."""
type Done[R] = Generator[tuple[Numbers, list[R]], None, None]
"""Chunks and their results, as they are finished."""


@dataclass(frozen=True)
class Carried[R]:
    """What came back.

    Attributes
    ----------
    results : dict of int to result
        By number of the simulation, in the order asked for.
    interrupted : bool
        Whether Ctrl-C ended the work, so that some are missing.
    """

    results: dict[int, R]
    interrupted: bool


def carry_out[R](
    work: Work[R],
    numbers: Sequence[int],
    *,
    chunk: int = 25,
    cores: int = 1,
    client: Client | None = None,
    progress: bool | None = None,
    label: str = "simulations",
) -> Carried[R]:
    """Do numbered pieces of work, each exactly once.

    Parameters
    ----------
    work : callable
        Takes some of the numbers and returns one result for each, in their order. It must be picklable unless
        all is done in this process.
    numbers : sequence of int
    chunk : int, default 25
        How many go out together, at most; fewer where that would leave workers idle.
    cores : int, default 1
        1 for this process; more are processes of joblib's.
    client : distributed.Client, optional
        A Dask cluster does the work, and `cores` has no say. The client stays open.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.
    label : str
        What is being done, in the plural, for the progress bar and for messages.

    Returns
    -------
    Carried

    Raises
    ------
    ValueError
        If numbers repeat, `chunk` or `cores` is not a positive whole number, or `client` is no Dask client.
    HierbayesError
        If the work cannot be sent to other processes, if workers die with the same chunk again and again, the
        cluster drops the work, or `work` returns another number of results than was asked for.
    KeyboardInterrupt
        If Ctrl-C comes before anything is done; later it ends the work, and what is done is returned.
    Exception
        What `work` raises, with a note which simulations it was doing.

    Examples
    --------
    >>> def squares(numbers):
    ...     return [number**2 for number in numbers]
    >>> carry_out(squares, [3, 1, 2], chunk=2)
    Carried(results={3: 9, 1: 1, 2: 4}, interrupted=False)
    """
    for name, value in {"chunk": chunk, "cores": cores}.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")
    wanted = tuple(int(number) for number in numbers)
    if len(set(wanted)) != len(wanted):
        raise ValueError("numbers must differ from each other: each stands for one piece of work")
    workers = cores if client is None else _threads(client)
    size = max(1, min(chunk, -(-len(wanted) // workers)))
    chunks = [wanted[part] for part in parts(len(wanted), size)]
    task = _Task(work, label)
    done: Done[R]
    if client is not None or (cores > 1 and len(chunks) > 1):
        _check_sendable(task)
    if client is not None:
        done = _on_cluster(task, chunks, client)
    elif cores > 1 and len(chunks) > 1:
        done = _on_cores(task, chunks, int(cores))
    else:
        done = ((each, task(each)) for each in chunks)
    found: dict[int, R] = {}
    interrupted = False
    try:
        with bar(label, len(wanted), progress) as advance:
            for each, results in done:
                found.update(zip(each, results, strict=True))
                advance(len(each))
    except KeyboardInterrupt:
        if not found:
            raise
        interrupted = True
    finally:
        done.close()
    lost = len(wanted) - len(found)
    if lost and not interrupted:
        raise HierbayesError(f"{lost} of {len(wanted)} {label} did not come back; run them again.")
    return Carried({number: found[number] for number in wanted if number in found}, interrupted)


@dataclass(frozen=True)
class _Task[R]:
    """One chunk of the work, as a worker does it."""

    work: Work[R]
    label: str

    def __call__(self, numbers: Numbers) -> list[R]:
        with one_thread():
            try:
                results = list(self.work(numbers))
            except Exception as error:
                error.add_note(f"while doing {self.label} {_shown(numbers)}")
                raise
        if len(results) != len(numbers):
            raise HierbayesError(f"{len(numbers)} {self.label} were asked for, but {len(results)} came back.")
        return results


def _shown(numbers: Numbers) -> str:
    """Numbers of a chunk, for a message: they are neighbours as a rule."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _check_sendable(task: Any) -> None:
    """Refuse work that cannot be pickled, with what of it cannot."""
    from joblib.externals.loky.backend.reduction import dumps

    try:
        dumps(task)
    except Exception as error:
        what = str(error).strip().rstrip(".")
        raise HierbayesError(
            f"What the {task.label} need cannot be sent to other processes ({what}); use cores=1 without client=, or "
            "take it out of the formula, the data and the functions given."
        ) from error


def _on_cores[R](task: _Task[R], chunks: list[Numbers], cores: int) -> Done[R]:
    """Chunks as processes finish them."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=cores, return_as="generator_unordered", batch_size=1)
        finished = pool(delayed(_Placed(task))(place, each) for place, each in enumerate(chunks))
    try:
        for place, results in finished:
            yield chunks[place], results
    except TerminatedWorkerError:
        raise HierbayesError(
            f"A process died while doing {task.label}, perhaps for lack of memory; use fewer cores."
        ) from None
    finally:
        with warnings.catch_warnings():  # joblib counts the tasks that nobody waits for
            warnings.simplefilter("ignore", UserWarning)
            finished.close()


@dataclass(frozen=True)
class _Placed[R]:
    """A task that says which chunk its results are of."""

    task: _Task[R]

    def __call__(self, place: int, numbers: Numbers) -> tuple[int, list[R]]:
        return place, self.task(numbers)


def _threads(client: Any) -> int:
    """Threads of a cluster, at least one; refuses what is no cluster that can be waited for."""
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        raise ValueError(f"client must be a dask.distributed.Client, not {client!r}")
    if client.asynchronous:
        raise ValueError("client must be a synchronous Client; make it without asynchronous=True")
    return max(1, sum(client.nthreads().values()))


def _on_cluster[R](task: _Task[R], chunks: list[Numbers], client: Client) -> Done[R]:
    """Chunks as the cluster finishes them; those of lost workers are done again."""
    from distributed import CancelledError, KilledWorker, as_completed

    futures = client.map(task, chunks, key=f"hierbayes {task.label}", pure=False)
    waiting = {future.key: each for future, each in zip(futures, chunks, strict=True)}
    try:
        for future, result in as_completed(futures, with_results=True, raise_errors=False):
            each = waiting.pop(future.key, None)
            if each is None:
                continue
            future.release()  # or it would be done again if its worker were lost later
            if isinstance(result, list):
                yield each, result
                continue
            error = result if isinstance(result, BaseException) else result[1]
            if isinstance(error, KilledWorker):
                raise HierbayesError(
                    f"Workers died again and again while doing {task.label} {_shown(each)}, perhaps for lack of "
                    "memory; give each of them more of it."
                ) from error
            if isinstance(error, CancelledError):
                raise HierbayesError(
                    f"The cluster dropped {task.label} {_shown(each)} before they were done; see that its scheduler "
                    "is running, and run them again."
                ) from error
            raise error
    finally:
        if waiting and client.status == "running":
            client.cancel([future for future in futures if future.key in waiting])
