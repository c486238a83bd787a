"""The command line as a process: pipes, terminals, completion, and every example of every help text."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_cli import folder, run  # noqa: F401 - folder is a fixture

import hierbayes as hb
from hierbayes import cli
from hierbayes.cli.completion import FAMILIES, LINKS, data_sets, models, sources
from hierbayes.cli.exits import EXIT_CODES

COMMAND = [sys.executable, "-c", "from hierbayes.cli import main; main()"]
SHORT = "--draws 50 --tune 100 --chains 2"
CHEAP = {"report": SHORT, "check": "", "compare": SHORT, "power": "--sims 20", "cite": ""}
"""What makes an example cheap."""
SLOW = {"report", "zoo run", "zoo record", "zoo verify"}


def commands():
    """Names of all commands."""
    yield from (command.__name__ for command in cli.EXAMPLES)
    yield from (f"zoo {command.__name__.rstrip('_')}" for command in cli.ZOO_EXAMPLES)


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in commands()]
)
def test_the_example_of_every_help_text_is_a_real_command(command):
    said = " ".join(run(f"{command} --help")[0].split())
    example = said.partition("Example: hierbayes ")[2]
    assert example.startswith(f"{command}")
    if command == "zoo record":
        shutil.copytree(str(hb.zoo.card("dyestuff").folder), "my_folder")
    out, _ = run(f"{example} {CHEAP.get(command, '')}")
    assert out


def test_exit_codes_are_told():
    assert EXIT_CODES in " ".join(run("--help")[0].split())


# --- JSON and pipes ---------------------------------------------------------------------------

JSON = [
    "fit Dyestuff2 --method reml",
    "compare Pastes 'strength ~ 1 + (1 | batch)' 'strength ~ 1 + (1 | batch/cask)' --method reml",
    "check Dyestuff2 --method reml",
    "power 'y ~ x + (1 | g)' --sd g=1 --sigma 1 --groups 5 --rows 4 --within x=0,1 --sims 5 --seed 1",
    "data",
    "data cbpp",
    "data cbpp -o c.csv",
    "cite",
    "zoo list",
    "zoo show dyestuff2",
    "zoo verify dyestuff2 --posterior none",
]


def no_constants(text):
    raise AssertionError(f"{text} is not JSON")


@pytest.mark.parametrize("line", JSON)
def test_json_is_all_that_is_on_stdout(line):
    out, err = run(f"{line} --json")
    json.loads(out, parse_constant=no_constants)
    assert all(said.startswith("warning: ") for said in err.splitlines())


def test_a_reader_that_hangs_up_is_no_error():
    process = subprocess.Popen([*COMMAND, "data", "sleepstudy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_an_error_of_ours_is_told_apart():
    code = "from hierbayes import cli, datasets\ndatasets.list_data = lambda: 1 / 0\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code, "data"], capture_output=True, text=True)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr


# --- terminals --------------------------------------------------------------------------------

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")


def in_terminal(line, width=80):
    """Run a command in a terminal of some width; everything that it wrote there."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [*COMMAND, *shlex.split(line)], stdout=follower, stderr=follower, stdin=follower, env=environment
    )
    os.close(follower)
    written = b""
    while True:
        try:
            read = os.read(leader, 65536)
        except OSError:  # the other side has been closed
            break
        if not read:
            break
        written += read
    os.close(leader)
    assert process.wait() == 0
    return written.decode()


ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def test_a_terminal_shows_progress_that_disappears_and_tables_that_fit():
    written = in_terminal("fit sleepstudy --draws 200 --tune 300 --seed 1")
    assert "\x1b[2K" in written  # lines are cleared
    assert "sampling" in written
    last = written[written.rindex("Reaction ~ Days") :]
    assert "sampling" not in last
    lines = [ESCAPE.sub("", line).rstrip() for line in last.splitlines()]
    tables = [line for line in lines if not line.startswith(("REML:", "posterior:", "warning:"))]
    assert max(map(len, tables)) <= 80
    assert sum(line.split()[:1] == ["Days"] for line in lines) == 2  # REML, and below it the posterior
    assert not any("…" in line for line in lines)


def test_a_pipe_shows_neither_progress_nor_escapes():
    line = "fit sleepstudy --draws 200 --tune 300 --seed 1"
    done = subprocess.run([*COMMAND, *shlex.split(line)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert all(said.startswith("warning: ") for said in done.stderr.splitlines())
    power = "power 'y ~ x + (1 | g)' --sd g=1 --sigma 1 --groups 5 --rows 4 --within x=0,1 --sims 20 --seed 1"
    assert run(power)[1] == ""


# --- completion -------------------------------------------------------------------------------


def completed(words):
    """What bash offers after a line."""
    place = len(words.split(" ")) - 1
    asked = {"_HIERBAYES_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    environment = {**os.environ, **asked}
    code = "import sys; sys.argv = ['hierbayes']; from hierbayes.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_values():
    assert completed("hierbayes zoo sh") == ["show"]
    assert completed("hierbayes fit sleep") == ["sleepstudy"]
    assert completed("hierbayes fit x --family neg") == ["negativebinomial"]
    assert completed("hierbayes report --compa") == ["--compare"]
    assert list(Path().iterdir()) == []


def test_values_that_complete(folder):  # noqa: F811
    assert data_sets("sleep") == ["sleepstudy"]
    assert models("") == hb.zoo.list()["name"].tolist()
    for name in ("mine.csv", "mine.hb", "mine.txt"):
        Path(name).write_text("")
    (folder / "more").mkdir()
    Path("more/b.parquet").write_text("")
    assert sources("mi") == ["mine.csv", "mine.hb"]
    assert sources("mo") == ["more/"]
    assert sources("more/") == ["more/b.parquet"]


def test_families_and_links_are_all_that_bambi_has():
    from bambi.defaults.families import BUILTIN_FAMILIES, get_builtin_family

    assert sorted(BUILTIN_FAMILIES) == list(FAMILIES)
    known = set()
    for name in BUILTIN_FAMILIES:
        family = get_builtin_family(name)
        known |= set(family.SUPPORTED_LINKS[family.likelihood.parent])
    assert sorted(known) == list(LINKS)


def test_completion_is_installed_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # whatever shell runs the tests
    out, _ = run("--show-completion bash")
    assert "complete" in out
    assert "COMP_WORDS" in out
    assert list(Path().iterdir()) == []
