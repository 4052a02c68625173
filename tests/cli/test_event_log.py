"""`--log-json`: what happens, one JSON object a line on stderr, and nothing else there."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.cli.event_log import EventLog, log_line
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sandbox import Fault, Sandbox

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_line_has_time_kind_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with EventLog() as log:
        log(Event(kind=EventKind.THROTTLED, run=3, window=WINDOW, page=2, attempt=1, delay=1.5, error="ThrottledError"))
        log(Event(kind=EventKind.RUN_FINISHED, run=3, report=FetchReport(total=2, unique=2)))
    reported = capsys.readouterr()
    first, last = lines(reported.err)
    assert reported.out == ""
    assert datetime.now(UTC) - datetime.fromisoformat(first.pop("time")) < timedelta(minutes=1)
    assert first == {
        "kind": "throttled",
        "run": 3,
        "start": "2026-10-01T00:00:00+00:00",
        "end": "2026-10-02T00:00:00+00:00",
        "page": 2,
        "attempt": 1,
        "delay": 1.5,
        "error": "ThrottledError",
    }
    assert last["report"]["unique"] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - its close fails
    monkeypatch.setattr(sys, "stderr", full)
    log_line("run_started", run=1)
    with pytest.raises(OSError, match="space"):
        full.close()
    log_line("run_started", run=1)


def test_an_export_logs_every_request_and_its_report(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], sandbox: Sandbox
) -> None:
    path = tmp_path / "calls.ndjson"
    assert run(["export", *account, "--output", str(path), "--log-json"]) == 0
    reported = lines(capsys.readouterr().err)
    kinds = [line["kind"] for line in reported]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")
    assert reported[-1]["report"]["certified"]
    for line in (reported[0], reported[-1]):
        assert (line["start"], line["end"]) == (sandbox.start.isoformat(), sandbox.end.isoformat())
    assert kinds.count("request_sent") == reported[-1]["report"]["requests"]
    assert sum(line["records"] for line in reported if line["kind"] == "window_complete") == 500
    whole = json.dumps(reported)
    row = sandbox.rows()[0]
    for private in (sandbox.api_key, sandbox.api_secret, row["callee"], row["voiceId"]):
        assert private not in whole


def test_on_a_terminal_no_bar_is_drawn_across_it(
    account: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    command = ["export", *account, "--output", str(tmp_path / "calls.ndjson"), "--overwrite"]
    assert run([*command, "--log-json"]) == 0
    assert lines(terminal.getvalue())[-1]["report"]["unique"] == 500
    assert run(command) == 0
    assert "500/500 calls" in terminal.getvalue()


def test_a_count_logs_errors_and_retries(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault("http", status=503, attempt=1)]
    with Sandbox(records=20, faults=faults) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
        patch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        patch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
        assert run(["count", *span, "--log-json"]) == 0
    reported = capsys.readouterr()
    assert reported.out == "20\n"
    (retried,) = [line for line in lines(reported.err) if line["kind"] == "request_retried"]
    assert (retried["error"], retried["attempt"]) == ("ServerFaultError", 1)
    assert retried["delay"] >= 0


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--tz", "Middle/Earth"], 2, "not a known time zone"),
        (["--start"], 2, "--start needs a value"),
        (["--base-url", "http://127.0.0.1:1/v3/voice"], 1, "cannot connect"),
    ],
)
def test_the_error_of_a_command_is_an_event_line(
    account: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, expected: str
) -> None:
    assert run(["count", "--log-json", *account, *arguments]) == code
    last = lines(capsys.readouterr().err)[-1]
    assert (last["kind"], last["code"]) == ("failed", code)
    assert expected in last["error"]
