"""`export`: every call in a file or on stdout, and exit codes that tell the truth."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox


def ids(text: str) -> set[str]:
    return {json.loads(line)["voice_id"] for line in text.splitlines()}


def test_every_call_is_in_the_file(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    assert run(["export", *account, "--output", str(path)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "500 of 500 calls, certified complete" in told.err
    assert str(path) in told.err
    assert ids(path.read_text()) == set(sandbox.voice_ids())


def test_json_tells_the_report(account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calls.jsonl"
    options = ["--concurrency", "3", "--page-size", "50", "--rate", "1000", "--json"]
    assert run(["export", *account, "--output", str(path), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["unique"], told["total"], told["certified"]) == (500, 500, True)
    assert told["output"] == str(path)
    assert told["pages"] >= 10


def test_a_dash_is_stdout(account: list[str], sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["export", *account, "--output", "-"]) == 0
    told = capfd.readouterr()
    assert ids(told.out) == set(sandbox.voice_ids())
    assert "certified complete" in told.err
    assert run(["export", *account, "--output", "-", "--json"]) == 2


def test_an_existing_file_is_refused_before_anything_is_asked(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("mine")
    sandbox.reset_stats()
    assert run(["export", *account, "--output", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert sum(sandbox.stats.answers.values()) == 0
    assert run(["export", *account, "--output", str(path), "--overwrite"]) == 0
    assert len(ids(path.read_text())) == 500


@pytest.mark.parametrize(("output", "code"), [("none/calls.ndjson", 1), ("calls.csv", 2), (".", 2)])
def test_a_file_that_cannot_be_written_is_refused(
    account: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", *account, "--output", output]) == code


def test_what_cannot_be_proven_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    with Sandbox(records=20, wrong_total=1) as sandbox:
        monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
        command = ["export", *span, "--base-url", sandbox.base_url, "--output", str(path), "--json"]
        assert run(command) == 3
        told = capsys.readouterr()
        assert "--allow-incomplete" in told.err
        assert (json.loads(told.out)["certified"], json.loads(told.out)["output"]) == (False, None)
        assert list(tmp_path.iterdir()) == []
        assert run([*command, "--allow-incomplete"]) == 3
        told = capsys.readouterr()
        assert "NOT certified" in told.err
        assert json.loads(told.out)["output"] == str(path)
        assert len(ids(path.read_text())) == 20


def test_a_reader_that_goes_away_is_no_traceback(
    account: list[str], cli: Callable[..., "subprocess.Popen[str]"]
) -> None:
    with cli("export", *account, "--output", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "aiosipcdr: whatever read stdout closed it before the end\n"
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_device_as_stdout_is_told(account: list[str], cli: Callable[..., "subprocess.Popen[str]"]) -> None:
    with Path("/dev/full").open("wb") as full, cli("export", *account, "--output", "-", stdout=full) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told == "aiosipcdr: stdout cannot be written: No space left on device\n"
