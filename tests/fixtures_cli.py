"""Running the command line in this process, in a folder of its own."""

from __future__ import annotations

import shlex

import pytest
from typer.testing import CliRunner

from hierbayes import cli

SHORT = "--draws 200 --tune 300 --seed 1"


def run(line, code=0, piped=None):
    """Run a command in this process and return what it printed on stdout and on stderr."""
    result = CliRunner().invoke(cli.app, shlex.split(line), input=piped)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def one_sentence(out, err):
    """The one line that a refused command prints."""
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, without the machine's own data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIERBAYES_DATA", raising=False)
    return tmp_path
