"""`follow`: lines of JSON, a checkpoint, signals, and metrics by destination and minute."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiosipcdr.cli import follow
from aiosipcdr.cli.app import run
from aiosipcdr.cli.follow import MinuteMetrics
from aiosipcdr.model.changes import Change
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.sandbox import Sandbox


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_SANDBOX_TODAY", "")
        with Sandbox(records=120, days=1) as sandbox:
            yield sandbox


@pytest.fixture
def sandbox(server: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    server.reset()
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", server.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", server.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", server.api_secret)
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture
def command(sandbox: Sandbox) -> list[str]:
    return ["follow", "--since", sandbox.start.isoformat(), "--lookback", "3d", "--once", "--count-delay", "0"]


def test_once_prints_the_changes_since_the_checkpoint(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command += ["--checkpoint", "calls.checkpoint"]
    assert run(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["kind"] for line in lines} == {"added"}
    assert sorted(line["record"]["voice_id"] for line in lines) == sorted(sandbox.voice_ids())

    (gone, *_), (new,) = sandbox.voice_ids(), sandbox.insert(count=1)
    sandbox.delete(gone)
    sandbox.insert(count=1)
    assert run(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["kind"] for line in lines) == ["added", "added", "vanished"]
    assert {gone, new} < {line["record"]["voice_id"] for line in lines}
    assert run(command) == 0
    assert capsys.readouterr().out == ""


def test_a_checkpoint_of_other_filters_is_exit_code_1(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command += ["--checkpoint", "calls.checkpoint"]
    assert run([*command, "--group", "sales-us"]) == 0
    assert run(command) == 1
    assert "is the checkpoint of other filters" in capsys.readouterr().err


def test_metrics_count_every_call_by_destination_and_minute(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--metrics"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = {(line["minute"], line["code"]): line for line in lines}
    assert sum(line["calls"] for line in last.values()) == 120
    answered = sum(bool(row["answerTime"]) for row in sandbox.rows())
    assert sum(line["answered"] for line in last.values()) == answered
    assert all(line["asr"] == round(line["answered"] / line["calls"], 4) for line in last.values())


@pytest.mark.parametrize("lookback", ["3d", "6h"])
def test_something_that_cannot_be_read_is_named_and_exit_code_4(
    sandbox: Sandbox, command: list[str], capsys: pytest.CaptureFixture[str], lookback: str
) -> None:
    # With a shorter lookback the last poll is another one than that which reads the call.
    sandbox.update(min(sandbox.voice_ids()), cost="a lot")
    command[command.index("3d")] = lookback
    assert run(command) == 4
    assert "warning: unreadable values of cost (1)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_keeps_the_printed_changes(sandbox: Sandbox, command: list[str]) -> None:
    command = [one for one in command if one != "--once"]
    arguments = [sys.executable, "-m", "aiosipcdr", *command, "--checkpoint", "calls.checkpoint", "--every", "0.1"]

    def follow(number: int) -> set[str]:
        environment = os.environ | {"PYTHONPATH": ROOT}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 - this package
            assert process.stdout is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(number)]
            process.send_signal(signal.SIGTERM)
            lines += [json.loads(line) for line in process.stdout]
            assert process.wait() == 143
        return {line["record"]["voice_id"] for line in lines}

    first = follow(120)
    assert first == {*sandbox.voice_ids()}
    new = sandbox.insert(count=2)
    assert follow(2) == {*new}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_ends_it_while_nobody_reads_the_pipe(sandbox: Sandbox, command: list[str]) -> None:
    sandbox.insert(count=200)  # more than a pipe takes
    arguments = [sys.executable, "-m", "aiosipcdr", *command, "--checkpoint", "calls.checkpoint"]
    environment = os.environ | {"PYTHONPATH": ROOT}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, bufsize=0) as process:  # noqa: S603 - this package
        assert process.stdout is not None
        lines = process.stdout.readline()
        time.sleep(0.5)  # it fills the pipe
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 143
        finally:
            process.kill()
        lines += process.stdout.read()
    # None is cut off.
    assert all(json.loads(line)["kind"] == "added" for line in lines.splitlines())


def test_late_calls_of_minutes_that_were_dropped_print_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_MOST_GROUPS", 2)
    minutes = MinuteMetrics()

    def add(minute: int) -> int:
        ended = datetime(2026, 10, 1, 8, minute, 30, tzinfo=UTC)
        record = CallDetailRecord(voice_id=str(minute), code="1", hangup_time=ended)
        minutes.add(Change(kind="added", record=record, before=None, leg=0, key=""))
        return len(minutes.take_lines())

    assert [add(minute) for minute in (1, 1, 2, 3, 2, 1, 3)] == [1, 1, 1, 1, 1, 0, 1]


def test_a_closed_stdout_is_exit_code_1(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert run(command) == 1
    assert "stdout is closed; redirect it" in capsys.readouterr().err


ROOT = str(Path(__file__).parent.parent.parent)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--since", "2026-10-01"], "--since 2026-10-01 has no time zone"),
        (["--lookback", "3"], "--lookback is not a duration"),
        (["--every", "0"], "--every"),
        (["--since", "2999-01-01T00:00:00Z"], "since lies in the future"),
        (["--metrics", "--checkpoint", "calls.checkpoint"], "leave out --checkpoint"),
    ],
)
def test_invalid_arguments_are_exit_code_2(
    sandbox: Sandbox, arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del sandbox
    assert run(["follow", *arguments]) == 2
    assert what in capsys.readouterr().err
