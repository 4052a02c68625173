"""`sandbox`: says where it is, answers there, and ends when it should."""

import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox

Starter = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.needs("curl")
def test_the_printed_commands_work_and_sigterm_ends_the_sandbox(cli: Starter) -> None:
    with cli("sandbox", "--records", "25") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(11)]
        assert lines[0].startswith("Base URL    http://127.0.0.1:")
        assert lines[0].endswith("/v3/voice\n")
        pasted = "".join([*lines[6:9], "env | grep ^AIOSIPCDR_"])
        environment = subprocess.run(pasted, shell=True, capture_output=True, text=True, check=True, timeout=240)  # noqa: S602 - pasted, as a person would
        reported = dict(line.split("=", 1) for line in environment.stdout.splitlines())
        assert [reported[f"AIOSIPCDR_{name}"] for name in ("BASE_URL", "API_KEY", "API_SECRET")] == [
            line.split()[-1] for line in lines[:3]
        ]
        answer = subprocess.run(  # noqa: S602 - likewise
            lines[10], shell=True, capture_output=True, text=True, check=True, timeout=240
        )
        assert json.loads(answer.stdout)["data"]["total"] == 25
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 143
    assert "press Ctrl-C to stop it" in said
    assert "Traceback" not in said


def test_the_sandbox_ends_with_its_parent(cli: Starter) -> None:
    options = ["--records", "5", "--seed", "1", "--days", "2", "--status-as", "int", "--set", "gzip=true"]
    options += ["--count-cap", "4", "--overflow", "code-22", "--count-lag", "0.5", "--set", "min_size=2"]
    with cli("sandbox", "--json", "--until-stdin-closes", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        assert sorted(place) == ["api_key", "api_secret", "base_url", "end", "start"]
        process.stdin.close()
        assert process.wait(240) == 0


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("gzp=true", "unknown name gzp"),
        ("gzip", "NAME=VALUE"),
        ("max_size=many", "--set max_size: Expected `int | null`"),
        ("order=sideways", "--set order"),
        ("host=0.0.0.0", "must be a loopback address"),
    ],
)
def test_an_invalid_setting_is_a_usage_error(setting: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", "--records", "1", "--set", setting]) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert expected in reported.err


def test_faults_are_read_from_a_file_and_unused_ones_are_reported(cli: Starter, tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text('[{"kind": "http", "status": 503}, {"kind": "cut", "page": 9}]')
    with cli("sandbox", "--records", "5", "--json", "--faults", "faults.json") as process:
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(  # noqa: S310 - loopback
                urllib.request.Request(place["base_url"] + "/recordSipQuery", b"{}"),  # noqa: S310 - likewise
                timeout=240,
            )
        process.send_signal(signal.SIGINT)
        _, reported = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "1 queued fault was never triggered: cut (page 9, attempt any)" in reported


def test_a_port_in_use_is_reported_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["sandbox", "--records", "1", "--port", str(port)]) == 1
    assert f"port {port} is in use; take another --port" in capsys.readouterr().err


def test_calls_come_from_a_file_and_more_as_time_goes_on(
    cli: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox(records=30) as made_up:
        record = made_up.rows()[0]
    (tmp_path / "calls.ndjson").write_text(json.dumps(record))
    options = ["--calls", "calls.ndjson", "--live", "100/s", "--set", "months_back=null"]
    with cli("sandbox", "--json", "--until-stdin-closes", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", place[name])
        spans = {"1": ["--start", place["start"], "--end", place["end"]], "live": ["--last", "3h"]}
        counted = dict.fromkeys(spans, 0)
        for _ in range(200):
            for name, span in spans.items():
                assert run(["count", *span]) == 0
                counted[name] = int(capsys.readouterr().out)
            if counted["live"]:
                break
        assert counted["1"] == 1
        assert counted["live"] > 0
        process.stdin.close()
        assert process.wait(240) == 0


@pytest.mark.parametrize("pace", ["5/d", "0/s", "-1/s", "many", "5/", ""])
def test_an_invalid_pace_is_a_usage_error(pace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", f"--live={pace}"]) == 2
    assert "5/s, 30/m or 100/h" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "cannot be read"),
        ("[3]", "row 1: a call must be a JSON object"),
        ('{"voice_id": "1"}', "line 1: submitTime (submit_time) must be an ISO 8601 time"),
        ('{"voiceId": "1", "submitTime": "2020-01-01T00:00:00Z"}', "or set --set months_back=null"),
    ],
)
def test_a_file_of_calls_that_cannot_be_served_is_a_usage_error(
    text: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "calls.ndjson"
    if text is not None:
        file.write_text(text)
    assert run(["sandbox", "--calls", str(file)]) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert "--calls" in reported.err
    assert expected in reported.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "cannot be read"),
        ("[", "is not JSON"),
        ("{}", "must hold a list"),
        ('[{"kind": "cut"}, {"kind": "cut", "pag": 3}]', "entry 2 of"),
        ('[{"kind": "explode"}]', "unknown kind of fault 'explode'; use one of http"),
        ('[{"kind": "cut", "page": "3"}]', "got `str` - at `$.page`"),
        ("[3]", "entry 1 of"),
    ],
)
def test_an_invalid_file_of_faults_is_a_usage_error(
    text: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "faults.json"
    if text is not None:
        file.write_text(text)
    assert run(["sandbox", "--records", "1", "--faults", str(file)]) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert expected in reported.err
