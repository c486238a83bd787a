"""Ctrl-C during sampling: the draws made so far are kept, and every view of them says that they are not all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

import hierbayes as hb
from hierbayes import interruption, sampling
from hierbayes.cross_validation.posterior_refits import refit_without

FOREVER = 3_000_000
"""Draws that no test waits for."""


def control_c_after(finished):
    """A callback that interrupts once a chain has finished so many draws, those of the warm-up included."""
    done = []

    def callback(chains):
        if not done and max(chain.finished_draws for chain in chains) >= finished:
            done.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    return callback


def interrupted(model, **more):
    """A fit that was interrupted, and its warnings."""
    settings = {"draws": FOREVER, "tune": 200, "seed": 1, "progress": False, "callback": control_c_after(700)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = model.fit(**(settings | more))
    return fit, caught


@pytest.fixture(scope="module")
def dyestuff():
    return hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))


@pytest.mark.usefixtures("interruptible")
def test_draws_made_so_far_are_those_of_a_run_that_was_not_interrupted(dyestuff):
    fit, caught = interrupted(dyestuff)
    kept = fit.posterior.sizes["draw"]
    assert fit.posterior.sizes["chain"] == 1  # chains of a cheap likelihood run one after the other
    assert 10 <= kept < FOREVER
    assert [str(w.message) for w in caught if w.category is hb.IncompleteWarning] == [fit.idata.attrs["incomplete"]]
    some = min(kept, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)
        whole = dyestuff.fit(draws=some, tune=200, chains=1, seed=1, progress=False)
    assert_array_equal(fit.posterior["sigma"][:, :some], whole.posterior["sigma"])


@pytest.mark.usefixtures("interruptible")
def test_everything_that_shows_the_fit_says_that_it_is_incomplete(dyestuff):
    fit, _ = interrupted(dyestuff)
    marked = fit.idata.attrs["incomplete"]
    assert marked.startswith("Sampling was interrupted: 1 of 4 chains was kept, with ")
    assert f" of {FOREVER} draws each" in marked
    assert fit.incomplete == fit.posterior.attrs["incomplete"] == marked
    assert marked in repr(fit)
    assert fit.convergence.problems[0] == marked
    assert not fit.convergence.ok
    assert fit.check().findings["finding"].str.startswith("Sampling was interrupted").sum() == 1
    with pytest.warns(hb.IncompleteWarning, match="interrupted"):
        assert len(fit.summary()) == 3
    assert np.isfinite(fit.tidy()["estimate"]).all()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("ranef", ["draws", "summary"])
def test_random_effects_come_with_the_draws_that_were_kept(dyestuff, ranef):
    fit, _ = interrupted(dyestuff, ranef=ranef)
    table = fit.ranef()["Batch"]
    assert len(table) == 6
    assert np.isfinite(table.to_numpy()).all()


@pytest.mark.usefixtures("interruptible")
def test_nothing_is_kept_of_the_warm_up(dyestuff):
    with pytest.raises(KeyboardInterrupt):
        dyestuff.fit(draws=10, tune=FOREVER, seed=1, progress=False, callback=control_c_after(100))
    assert dyestuff.fit(seed=1, progress=False).incomplete is None


@pytest.mark.usefixtures("interruptible")
def test_a_second_control_c_raises_at_once(dyestuff, monkeypatch):
    stopped, release = threading.Event(), threading.Event()

    class Slow:
        """A run whose chains are in the middle of a draw that takes for ever."""

        def wait(self):
            raise KeyboardInterrupt

        def abort(self):
            stopped.set()
            release.wait(60)

    monkeypatch.setattr("nutpie.sample", lambda *_, **__: Slow())
    threading.Thread(target=lambda: stopped.wait(60) and os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            dyestuff.fit(seed=1, progress=False)
        assert stopped.is_set()
    finally:
        release.set()


@pytest.mark.usefixtures("interruptible")
def test_refits_are_never_kept_in_part(dyestuff, monkeypatch):
    fit = dyestuff.fit(seed=1, progress=False)
    whole = sampling.Run.__init__

    def longer(self, *args, **more):
        whole(self, *args, **(more | {"draws": FOREVER, "callback": control_c_after(1000)}))

    monkeypatch.setattr(sampling.Run, "__init__", longer)
    with pytest.raises(KeyboardInterrupt):
        refit_without(fit, np.array([3]))


PROGRAM = """
import os, signal, sys, threading, time, warnings
import hierbayes as hb
signal.signal(signal.SIGINT, signal.default_int_handler)
model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
state = {"told": False}
def callback(chains):
    if not state["told"] and max(chain.finished_draws for chain in chains) > 1500:
        state["told"] = True
        print("sampling", flush=True)
warnings.simplefilter("ignore", hb.ConvergenceWarning)
fit = model.fit(draws=3_000_000, progress=False, seed=1, parameterization=sys.argv[1], callback=callback)
fit.save(sys.argv[2])
print(fit.posterior.sizes["draw"], fit.idata.attrs["incomplete"])
"""


@pytest.mark.parametrize("parameterization", ["marginal", "noncentered"])
def test_control_c_in_another_process_and_the_mark_in_its_file(parameterization, tmp_path):
    path = tmp_path / "part.hb"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, parameterization, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline() == "sampling\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert "IncompleteWarning: Sampling was interrupted" in err
    kept, _, mark = out.strip().partition(" ")
    restored = hb.load(path)
    assert restored.posterior.sizes["draw"] == int(kept) >= 10
    assert restored.idata.attrs["engine"] == ("compiled" if parameterization == "marginal" else "graph")
    assert (restored.idata["sample_stats"]["n_steps"] > 0).all()
    assert np.isfinite(restored.ranef()["Batch"].to_numpy()).all()
    assert restored.incomplete == mark
    assert mark in repr(restored)


@pytest.mark.parametrize(
    ("lengths", "chains", "draws"),
    [
        ([1000, 1000, 1000, 1000], [0, 1, 2, 3], 1000),
        ([1000, 1000, 400, 0], [0, 1], 1000),
        ([1000, 900, 850, 700], [0, 1, 2, 3], 700),
        ([9, 9, 9, 9], [], 0),
        ([12, 9, 9, 9], [0], 12),
        ([0, 0, 40, 41], [2, 3], 40),
        ([0], [], 0),
    ],
)
def test_the_largest_rectangle_is_kept(lengths, chains, draws):
    found, length = interruption.rectangle(np.array(lengths))
    assert (found.tolist(), length) == (chains, draws)


def test_the_rectangle_has_the_draws_of_its_chains():
    steps = np.array([[1] * 30, [1] * 12 + [0] * 18, [1] * 25 + [0] * 5])
    values = np.arange(90.0).reshape(3, 30)
    posterior = xr.Dataset({"x": (("chain", "draw"), values)}, {"chain": [0, 1, 2]})
    stats = xr.Dataset({"n_steps": (("chain", "draw"), steps)})
    kept, _ = interruption.cut(posterior, stats)
    assert_array_equal(kept["x"], values[[0, 2], :25])
    assert kept["chain"].to_numpy().tolist() == [0, 1]
    assert interruption.shortfall(kept, 3, 30).startswith(
        "Sampling was interrupted: 2 of 3 chains were kept, with 25 of 30"
    )
    assert interruption.shortfall(posterior, 3, 30) is None
