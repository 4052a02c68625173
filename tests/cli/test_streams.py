"""Output of the commands: full disks, other encodings, non-blocking pipes, and SIGTERM during the imports."""
# ruff: noqa: S603 - arguments of Popen; the processes are our own interpreter's

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ROOT
from tests.selection import pairs, some

Start = Callable[..., "subprocess.Popen[Any]"]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "command", some(["export --output - --quiet", "count --json", "--help", "--version", "count"], every=3)
)
def test_a_full_disk_under_stdout_is_one_sentence_and_exit_code_1(cli: Start, account: list[str], command: str) -> None:
    arguments = command.split() if command.startswith("--") else [*command.split(), *account]
    arguments = [argument for argument in arguments if argument != "--quiet"]
    with Path("/dev/full").open("w", encoding="ascii") as full, cli(*arguments, stdout=full) as process:
        _, reported = process.communicate(timeout=60)
    assert process.returncode == 1
    sentence = "aiosipcdr: cannot write to stdout: No space left on device; redirect it elsewhere\n"
    if command.startswith("export"):
        assert reported == sentence
    assert reported.endswith(sentence)
    assert "Exception ignored" not in reported


COMMANDS = ["doctor", "--help", "demo --records 200", "verify missing.csv"]


@pytest.mark.parametrize(
    ("encoding", "command"), some(pairs(["ascii", "cp1252", "latin-1", "utf-8"], COMMANDS), every=4)
)
def test_no_terminal_is_too_old_for_words(cli: Start, account: list[str], command: str, encoding: str) -> None:
    arguments = [*command.split(), *(account if command == "doctor" else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONIOENCODING": f"{encoding}:strict"}
    with cli(*arguments, env=environment, text=False) as process:
        out, reported = process.communicate(timeout=120)
    assert process.returncode == (1 if command.startswith("verify") else 0), reported
    assert b"Unicode" not in reported + out
    out.decode(encoding)


def test_json_is_utf_8_whatever_the_locale(cli: Start, account: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    target = "Gespräche-通话.ndjson"
    with cli("export", *account, "--output", target, "--json", env=environment, text=False) as process:
        out, reported = process.communicate(timeout=60)
    assert process.returncode == 0, reported
    assert json.loads(out.decode("utf-8"))["output"].endswith(target)


@posix
def test_a_non_blocking_stdout_gets_every_call(cli: Start, account: list[str]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with cli("export", *account, "--output", "-", stdout=writing) as process:
        os.close(writing)
        time.sleep(1.0)  # until the pipe is full
        with os.fdopen(reading, "rb") as pipe:
            lines = pipe.read().splitlines()
        reported = process.communicate(timeout=60)[1]
    assert (process.returncode, len(lines)) == (0, 500), reported
    assert all(json.loads(line) for line in lines)


SLOW_IMPORT = """
    import sys, time
    sys.stderr.write("importing\\n")
    sys.stderr.flush()
    for _ in range(600):
        time.sleep(0.1)  # a signal just before a sleep does not end it
"""


def slow_environment(folder: Path) -> dict[str, str]:
    (folder / "slow").mkdir()
    (folder / "slow" / "rich.py").write_text(textwrap.dedent(SLOW_IMPORT).replace("\\\\n", "\\n"), encoding="ascii")
    return {**os.environ, "PYTHONPATH": f"{folder / 'slow'}{os.pathsep}{ROOT}"}


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@posix
def test_sigterm_ends_a_command_that_is_still_being_imported(cli: Start, tmp_path: Path) -> None:
    with cli("count", env=slow_environment(tmp_path)) as process:
        assert first_line(process) == "importing\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.needs("unshare")
def test_sigterm_ends_the_first_process_of_a_container(tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces of processes here")
    command = [*unshare, sys.executable, "-m", "aiosipcdr", "count"]
    options: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, env=slow_environment(tmp_path), **options) as process:
        assert first_line(process) == "importing\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        killer = threading.Timer(20, process.kill)
        killer.start()
        os.kill(int(children[0]), signal.SIGTERM)
        process.communicate()
        killer.cancel()
    assert process.returncode == 143


@pytest.mark.parametrize(
    "command",
    some(["export --output x.csv --assume-tz Asia/Tokyo --last 1h", "count --tz Europe/Berlin --yesterday"], every=2),
)
def test_without_time_zone_data_the_message_names_the_package(
    cli: Start, account: list[str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "tzdata.py").write_text("raise ImportError", encoding="ascii")
    path = f"{tmp_path / 'without'}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONTZPATH": ""}
    assert account
    with cli(*command.split(), env=environment) as process:
        reported = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "pip install tzdata" in reported
