"""The executor: every simulation once, whoever does it, and whoever dies doing it.

Workers import this file, which therefore imports little.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import hierbayes as hb
from hierbayes.errors import HierbayesError
from hierbayes.study.executor import carry_out

NUMBERS = range(7, 407)


@pytest.fixture(scope="module")
def client():
    """A real cluster on this machine: a scheduler and two worker processes with a nanny each."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def drawn(numbers):
    """One draw a simulation, from its number alone."""
    return [np.random.default_rng([1, number]).normal() for number in numbers]


@dataclass(frozen=True)
class Recorded:
    """`drawn`, with a line in a file for each number that is done; the first worker to reach 200 is killed."""

    folder: Path
    deadly: bool = False
    seconds: float = 0.0

    def __call__(self, numbers):
        """Do some simulations."""
        time.sleep(self.seconds)
        with (self.folder / "log").open("a") as log:
            log.write("".join(f"{number} {os.getpid()}\n" for number in numbers))
        if self.deadly and numbers[0] >= 200:
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return drawn(numbers)

    @property
    def begun(self):
        """Bytes of the file."""
        log = self.folder / "log"
        return log.stat().st_size if log.exists() else 0

    def read(self):
        """How often each number was done, and by which processes."""
        lines = [line.split() for line in (self.folder / "log").read_text().splitlines()]
        return Counter(int(number) for number, _ in lines), {int(process) for _, process in lines}


def once(condition, act):
    """Do something in another thread as soon as a condition holds."""

    def wait():
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            if condition():
                act()
                break
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def failing(numbers):
    if 30 in numbers:
        raise ArithmeticError("it does not work out")
    return drawn(numbers)


def deadly(numbers):
    os._exit(1)


def short(numbers):
    return drawn(numbers)[1:]


def threads_of_products(numbers):
    """Threads that a product of matrices would take where this runs."""
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    most = max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
    return [most] * len(numbers)


def expected(numbers=NUMBERS):
    return dict(zip(numbers, drawn(numbers), strict=True))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_this_process_does_each_number_once_and_keeps_the_order(tmp_path, chunk):
    work = Recorded(tmp_path)
    done = carry_out(work, NUMBERS, chunk=chunk)
    assert done.results == expected()
    assert list(done.results) == list(NUMBERS)
    assert not done.interrupted
    counts, processes = work.read()
    assert set(counts.values()) == {1}
    assert processes == {os.getpid()}


def test_processes_give_the_same_answer(tmp_path):
    work = Recorded(tmp_path)
    done = carry_out(work, NUMBERS, chunk=10, cores=2)
    assert done.results == expected()
    assert list(done.results) == list(NUMBERS)
    assert not done.interrupted
    counts, processes = work.read()
    assert set(counts.values()) == {1}
    assert os.getpid() not in processes


def test_a_cluster_gives_the_same_answer_and_stays_open(tmp_path, client):
    work = Recorded(tmp_path)
    done = carry_out(work, NUMBERS, chunk=10, client=client)
    assert done.results == expected()
    assert list(done.results) == list(NUMBERS)
    assert not done.interrupted
    counts, processes = work.read()
    assert set(counts.values()) == {1}
    assert os.getpid() not in processes
    deadline = time.monotonic() + 10
    while client.futures and time.monotonic() < deadline:  # the loop of the client lets go of them in a moment
        time.sleep(0.01)
    assert not client.futures
    assert client.submit(sum, [1, 2]).result() == 3


def test_a_cluster_whose_worker_is_killed_half_way_loses_nothing_and_counts_nothing_twice(tmp_path, client):
    work = Recorded(tmp_path, deadly=True)
    done = carry_out(work, NUMBERS, chunk=10, client=client)
    assert (tmp_path / "killed").exists()
    counts, _ = work.read()
    assert set(counts) == set(NUMBERS)
    assert sum(counts.values()) > len(NUMBERS)  # the chunk that died with its worker was begun again
    assert done.results == expected()
    assert list(done.results) == list(NUMBERS)
    assert not done.interrupted


def test_a_worker_that_somebody_else_kills_is_no_loss_either(tmp_path, client):
    victim = next(iter(client.run(os.getpid).values()))
    work = Recorded(tmp_path, seconds=0.03)
    killer = once(lambda: work.begun > 1000, lambda: os.kill(victim, signal.SIGKILL))
    done = carry_out(work, NUMBERS, chunk=10, client=client)
    killer.join()
    assert done.results == expected()
    assert len(work.read()[1]) >= 2


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_says_which_simulations_it_comes_from(cores):
    with pytest.raises(ArithmeticError, match="does not work out") as caught:
        carry_out(failing, range(100), chunk=10, cores=cores, label="studies")
    assert caught.value.__notes__ == ["while doing studies 30 to 39"]


def test_an_error_on_a_cluster_says_so_as_well(client):
    with pytest.raises(ArithmeticError, match="does not work out") as caught:
        carry_out(failing, range(100), chunk=10, client=client, label="studies")
    assert caught.value.__notes__ == ["while doing studies 30 to 39"]


def test_workers_that_always_die_are_given_up_with_the_remedy(client):
    with pytest.raises(HierbayesError, match=r"Workers died again and again while doing studies \d to \d.*memory"):
        carry_out(deadly, range(10), chunk=10, client=client, label="studies")


def test_a_process_that_dies_is_reported_and_the_next_work_is_done():
    with pytest.raises(HierbayesError, match=r"A process died while doing simulations.*fewer cores"):
        carry_out(deadly, range(10), chunk=5, cores=2)
    assert carry_out(drawn, NUMBERS, cores=2).results == expected()


def test_work_that_the_cluster_drops_is_not_waited_for(tmp_path, client):
    from distributed import Future

    def cancel():
        client.cancel([Future(key, client) for key in list(client.futures)])

    work = Recorded(tmp_path, seconds=0.05)
    canceller = once(lambda: work.begun > 0, cancel)
    with pytest.raises(HierbayesError, match="The cluster dropped simulations"):
        carry_out(work, NUMBERS, chunk=4, client=client)
    canceller.join()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("where", ["here", "processes", "cluster"])
def test_ctrl_c_returns_what_is_done(where, tmp_path, request):
    how = {"processes": {"cores": 2}}.get(where, {})
    if where == "cluster":
        how = {"client": request.getfixturevalue("client")}
    work = Recorded(tmp_path, seconds=0.03)
    # by then all chunks but those in hand have been collected, or will be in a moment
    ctrl_c = once(lambda: work.begun > 1000, lambda: (time.sleep(0.3), _thread.interrupt_main()))
    done = carry_out(work, range(5000), chunk=5, **how)
    ctrl_c.join()
    assert done.interrupted
    assert 0 < len(done.results) < 5000
    assert done.results == expected(list(done.results))
    assert list(done.results) == sorted(done.results)


def test_ctrl_c_before_anything_is_done_is_ctrl_c():
    def interrupted(numbers):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(interrupted, range(10))


def test_ctrl_c_in_a_terminal_reaches_the_processes_too_and_they_are_quiet(tmp_path):
    code = """
    import signal, sys, time
    from hierbayes.study.executor import carry_out
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def slow(numbers):
        time.sleep(0.1)
        with open(sys.argv[1], "a") as file:
            file.write("x")
        return list(numbers)
    done = carry_out(slow, range(10_000), cores=2, chunk=10)
    again = carry_out(slow, range(20), cores=2, chunk=10)
    sys.stdout.write(f"{done.interrupted} {0 < len(done.results) < 10_000} {len(again.results)}")
    """
    begun = tmp_path / "begun"
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(begun)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (begun.exists() and begun.stat().st_size >= 10) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert (out, error, running.returncode) == ("True True 20", "", 0)


def test_products_of_matrices_stay_on_one_thread(client):
    for how in ({}, {"cores": 2}, {"client": client}):
        assert set(carry_out(threads_of_products, range(8), chunk=2, **how).results.values()) == {1}


def test_work_that_loses_results_is_refused(client):
    for how in ({}, {"cores": 2}, {"client": client}):
        with pytest.raises(HierbayesError, match="4 simulations were asked for, but 3 came back"):
            carry_out(short, range(8), chunk=4, **how)


def test_nothing_to_do_is_nothing_done(client):
    for how in ({}, {"cores": 2}, {"client": client}):
        assert carry_out(drawn, [], **how).results == {}


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="chunk must be a positive whole number, not 0"):
        carry_out(drawn, NUMBERS, chunk=0)
    with pytest.raises(ValueError, match="cores must be a positive whole number, not True"):
        carry_out(drawn, NUMBERS, cores=True)
    with pytest.raises(ValueError, match="numbers must differ"):
        carry_out(drawn, [1, 2, 1])
    with pytest.raises(ValueError, match=r"client must be a dask\.distributed\.Client, not 'tcp://"):
        carry_out(drawn, NUMBERS, client="tcp://127.0.0.1:8786")


@dataclass(frozen=True)
class Deadly:
    """Draws a predictor; the first worker that has done so sixty times is killed."""

    folder: Path
    home: int

    def __call__(self, rng, n):
        """Draw a predictor."""
        if os.getpid() != self.home:
            mine = self.folder / str(os.getpid())
            with mine.open("a") as log:
                log.write("x")
            if mine.stat().st_size >= 60:
                try:
                    (self.folder / "killed").touch(exist_ok=False)
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
        return rng.normal(size=n)


def test_power_is_the_same_on_a_cluster_whose_worker_is_killed_half_way(tmp_path, client):
    from pandas.testing import assert_frame_equal

    def planned(folder, **how):
        folder.mkdir()
        return hb.power(
            "y ~ X + (1 | subject)", effects={"X": 0.3}, sds={"subject": 0.5}, sigma=1, groups=[10, 20], rows=5,
            within={"X": Deadly(folder, os.getpid())}, test="X", simulations=150, seed=1, progress=False, **how,
        )  # fmt: skip

    here, cluster = planned(tmp_path / "here"), planned(tmp_path / "cluster", client=client)
    assert (tmp_path / "cluster" / "killed").exists()
    assert sum(path.stat().st_size for path in (tmp_path / "cluster").iterdir()) > 300  # some were begun twice
    assert_frame_equal(cluster.simulations, here.simulations, check_exact=True)
    assert_frame_equal(cluster.table, here.table, check_exact=True)
    assert here.table["simulations"].tolist() == [150, 150]
    assert not here.simulations.duplicated(["point", "number"]).any()


@pytest.mark.slow
def test_assurance_is_the_same_on_a_cluster(client):
    import bambi as bmb
    from pandas.testing import assert_frame_equal
    from scipy import stats

    def planned(**how):
        return hb.power(
            "y ~ X + (X || subject)", effects={"X": stats.norm(0.3, 0.1)}, sigma=stats.halfnorm(0.5, 0.5),
            sds={"subject": {"Intercept": 0.5, "X": 0.2}}, groups=10, rows=5, within={"X": stats.norm()}, test="X",
            method="posterior", priors={"X": bmb.Prior("Normal", mu=0, sigma=1)}, simulations=6, seed=1,
            progress=False, **how,
        )  # fmt: skip

    assert_frame_equal(planned(client=client).simulations, planned().simulations, check_exact=True)
