"""In a kernel of Jupyter: one bar that goes away, one rich result per cell, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

OFFLINE = """
import socket

def _connect(self, address, _connect=socket.socket.connect):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"wants the network: {address}")
    return _connect(self, address)

socket.socket.connect = _connect
import hierbayes as hb
import hierbayes.progress

hierbayes.progress.PATIENCE = hierbayes.progress.PACE = 0.0  # shown, however fast this machine is
data = hb.load_data("sleepstudy")
model = hb.Model("Reaction ~ Days + (Days | Subject)", data)
small = hb.Model("Reaction ~ Days + (1 | Subject)", data)
reml = model.reml()
"""
CELLS = {
    "start": OFFLINE,
    "sample": "print('before')\nfit = model.fit(seed=1)\nprint('after')",
    "quiet": "other = small.fit(seed=1, progress=False)",
    "refits": "replicates = reml.bootstrap(300, seed=1)",
    "waiting": "import time\nwith hierbayes.progress.bar('slow', 2):\n    time.sleep(0.5)",
    "fit": "fit",
    "reml": "reml",
    "model": "model",
    "design": "model.design",
    "compare": 'hb.compare({"intercepts": other, "slopes": fit})',
    "check": "fit.check()",
    "replicates": "replicates",
    "interrupt": "part = model.fit(draws=1_000_000, seed=1)",
    "kept": "part",
}
SHOWN = ["fit", "reml", "model", "design", "compare", "check", "replicates", "kept"]


class Watching(nbclient.NotebookClient):
    """A client that remembers what the kernel sends, and interrupts one cell as a user would."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sent = {name: [] for name in CELLS}
        self.interrupted = False

    def process_message(self, msg, cell, cell_index):
        """Take a message of the kernel, as nbclient does."""
        name = list(CELLS)[cell_index]
        self.sent[name].append(msg)
        if name == "interrupt" and not self.interrupted:
            done = re.search(r": ([\d,]+) of", str(msg["content"].get("data", {}).get("text/plain", "")))
            if done and int(done[1].replace(",", "")) > 5_000:  # warm-up is over
                self.interrupted = True
                os.kill(self.km.provisioner.pid, signal.SIGINT)
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The notebook as executed by a kernel, by cell, and the messages of each cell."""
    folder = tmp_path_factory.mktemp("kernel")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        client = Watching(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
        client.execute()
    nbformat.validate(notebook)
    return dict(zip(CELLS, notebook.cells, strict=True)), client.sent


def kinds(messages):
    return [msg["msg_type"] for msg in messages if msg["msg_type"] in {"display_data", "update_display_data"}]


@pytest.mark.parametrize("name", ["sample", "refits"])
def test_a_bar_is_one_output_that_is_replaced_and_empty_in_the_end(run, name):
    cells, sent = run
    assert kinds(sent[name]) == ["display_data"] + ["update_display_data"] * (len(kinds(sent[name])) - 1)
    assert len(kinds(sent[name])) > 2
    shown = [output for output in cells[name].outputs if output.output_type == "display_data"]
    assert [output.data for output in shown] == [{"text/plain": "", "text/html": ""}]
    texts = [msg["content"]["data"]["text/plain"] for msg in sent[name] if "data" in msg["content"]][:-1]
    what = r"draws of 4 chains: [\d,]+ of 8,000" if name == "sample" else r"refits: \d+ of 300"
    assert all(re.match(what, text) for text in texts), texts
    done = [int(re.search(r": ([\d,]+) of", text)[1].replace(",", "")) for text in texts]
    assert done == sorted(done)


def test_a_bar_is_there_before_the_first_piece_is_done(run):
    _, sent = run
    texts = [msg["content"]["data"]["text/plain"] for msg in sent["waiting"] if "data" in msg["content"]]
    assert texts == ["slow: 0 of 2", ""]


def test_the_bar_leaves_what_the_cell_prints(run):
    cells, _ = run
    printed = "".join(output.text for output in cells["sample"].outputs if output.output_type == "stream")
    assert printed == "before\nafter\n"


@pytest.mark.parametrize("name", ["start", "quiet"])
def test_without_a_bar_nothing_is_shown(run, name):
    cells, sent = run
    assert cells[name].outputs == []
    assert kinds(sent[name]) == []


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_is_shown_once_as_html_and_as_text(run, name):
    cells, _ = run
    [output] = cells[name].outputs
    assert output.output_type == "execute_result"
    assert set(output.data) == {"text/html", "text/plain"}
    assert 'class="hb-panel"' in output.data["text/html"]


def test_nothing_but_the_interruption_is_on_stderr(run):
    cells, _ = run
    spoken = {
        name
        for name, cell in cells.items()
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    }
    assert spoken == {"interrupt"}


def test_an_interrupted_kernel_keeps_the_draws_and_says_so_first(run):
    cells, sent = run
    streams = "".join(output.text for output in cells["interrupt"].outputs if output.output_type == "stream")
    assert streams.count("Sampling was interrupted") == 1
    last = [msg["content"]["data"] for msg in sent["interrupt"] if msg["msg_type"] == "update_display_data"][-1]
    assert last == {"text/plain": "", "text/html": ""}
    panel = cells["kept"].outputs[0].data["text/html"]
    said = panel.split("</style>")[1]
    assert said.index("Sampling was interrupted") < said.index("hb-facts") < said.index("<table")


def test_outside_a_notebook_nobody_watches_and_nothing_is_imported():
    code = (
        "import sys\nfrom hierbayes import progress\n"
        "print(progress.in_notebook(), progress.watched(), 'IPython' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 4
