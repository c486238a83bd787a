"""The notebooks are whole, were executed, and run again, offline, without an error or a warning.

What a cell printed is compared with what it prints now, but for its numbers: times and Monte Carlo noise differ
between machines, while a sentence that changes means that a notebook tells of another package than this one.
"""

from __future__ import annotations

import re
import time
from itertools import zip_longest
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 700_000
"""Bytes of a notebook with its pictures."""
PROMISED = 120
"""Seconds in which a whole notebook runs on a machine that has nothing else to do and the kernels compiled."""
PATIENCE = 2.0
"""Times that long until a notebook is given up.

That ends one that hangs or has outgrown its promise by far. Notebooks take less than a third of what is promised, so
that a busy machine, or a fresh one that has yet to compile, does not come near it; nothing is asserted about times.
"""
COURSE_DATA = "03_partial_pooling_against_reml"
"""The notebook that uses files that may not be in the repository."""
PATHS = re.compile(r"/(?:home|Users|work|tmp|root|mnt|opt|var)/\w|[A-Z]:\\\\")
"""Places on somebody's machine."""
OFFLINE = """
import socket

def _connect(self, address, _connect=socket.socket.connect):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a notebook wants the network: {address}")
    return _connect(self, address)

socket.socket.connect = _connect
"""
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """What a cell printed and showed as text."""
    return [
        output.text if output.output_type == "stream" else output.data.get("text/plain", "")
        for output in cell.outputs
        if output.output_type != "error"
    ]


def words(cell):
    """The same without its numbers, and without what only numbers make: signs, widths and padding."""
    text = " ".join(texts(cell))
    text = re.sub(r"<[\w.]+ at 0x[0-9a-f]+>|<Figure size [^>]*>", "", text)
    text = re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?%?|\b(?:nan|inf|NaN)\b|<NA>", "#", text)
    return re.sub(r"[\s#+-]+", " ", text).strip()


def assert_sound(notebook, name):
    """No errors, and nothing on stderr: a warning that is meant is caught and shown as text."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", f"{name}, {cell.id}: {output.get('ename')} {output.get('evalue')}"
            assert output.get("name") != "stderr", f"{name}, {cell.id}: {output.get('text')}"


def test_there_are_six_notebooks():
    assert [path.stem[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_", "06_"]


@EACH
def test_a_notebook_is_valid_and_was_executed(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert_sound(notebook, path.stem)
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 2
    assert notebook.cells[0].cell_type == "markdown"


@EACH
def test_a_notebook_is_small_and_of_no_machine(path):
    content = path.read_text(encoding="utf-8")
    assert len(content.encode()) < LARGEST
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        shown = [cell.source, *(texts(cell) if cell.cell_type == "code" else [])]
        assert not [found for text in shown for found in PATHS.findall(text)], (path.stem, cell.id)


def run_within(seconds, notebook, folder):
    """Execute a notebook; every cell may take what those before it left of the seconds."""
    end = time.monotonic() + seconds
    nbclient.NotebookClient(
        notebook,
        timeout_func=lambda cell: max(0.1, end - time.monotonic()),  # zero or less would be no limit
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def executed(path, tmp_path, monkeypatch, data):
    """The notebook as it runs now, in an empty folder, without network."""
    monkeypatch.setenv("HIERBAYES_DATA", str(data))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing that was downloaded before
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    run_within(PATIENCE * PROMISED, notebook, tmp_path)
    assert_sound(notebook, path.stem)
    del notebook.cells[0]
    return notebook


@EACH
def test_a_notebook_runs_and_says_the_same(path, tmp_path, monkeypatch, request):
    data = request.getfixturevalue("shared")("datasets") if path.stem == COURSE_DATA else tmp_path
    before = nbformat.read(path, as_version=4)
    after = executed(path, tmp_path, monkeypatch, data)
    for old, new in zip_longest(code_cells(before), code_cells(after)):
        assert words(old) == words(new), (path.stem, old.id)


def test_the_time_limit_is_that_of_all_cells_together(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    pauses = [nbformat.v4.new_code_cell("import time; time.sleep(0.5)") for _ in range(4)]
    with pytest.raises(nbclient.exceptions.CellTimeoutError):
        run_within(1.2, nbformat.v4.new_notebook(cells=pauses), tmp_path)


@pytest.mark.slow
def test_without_the_course_data_the_notebook_goes_on(tmp_path, monkeypatch):
    executed(FOLDER / f"{COURSE_DATA}.ipynb", tmp_path, monkeypatch, tmp_path)
