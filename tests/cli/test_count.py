"""`count`: a number on stdout, and nothing else."""

import json
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.sandbox import Sandbox


def test_the_number_alone_is_on_stdout(account: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", *account]) == 0
    reported = capsys.readouterr()
    assert (reported.out, reported.err) == ("500\n", "")


def test_json_and_filters(account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    row = sandbox.rows()[0]
    filters = ["--group", row["sipGroupName"], "--phone", row["phoneName"]]
    assert run(["count", *account, *filters, "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert 0 < reported["count"] < 500
    assert reported["start"] == sandbox.start.isoformat()


def test_a_phone_may_come_from_a_file(
    account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    phone = sandbox.rows()[0]["phoneName"]
    file = tmp_path / "phone.txt"
    file.write_text(f"{phone}\nignored\n", encoding="utf-8")
    assert run(["count", *account, "--phone", phone]) == 0
    expected = capsys.readouterr().out
    assert run(["count", *account, "--phone-file", str(file)]) == 0
    assert capsys.readouterr().out == expected != "500\n"

    assert run(["count", *account, "--phone-file", str(file), "--phone", phone]) == 2
    reported = capsys.readouterr().err
    assert "exclude each other" in reported
    assert phone not in reported
    file.write_text("\n", encoding="utf-8")
    assert run(["count", *account, "--phone-file", str(file)]) == 2
    assert "is empty" in capsys.readouterr().err
    assert run(["count", *account, "--phone-file", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


FUTURE = ["--start", "2999-01-01T00:00", "--end", "2999-01-01T01:00", "--tz", "UTC"]


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ([], None),
        (["--group", "nobody's"], "--group is matched exactly"),
        (["--phone", "x"], "--phone is matched"),
        (["--phone", "x", "--group", "nobody's"], "--group and --phone are matched exactly"),
    ],
)
@pytest.mark.parametrize("command", ["count", "export"])
def test_no_calls_are_a_warning_where_there_is_a_likely_reason(  # noqa: PLR0917 - two of them are parameters
    account: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    filters: list[str],
    reason: str | None,
) -> None:
    def reported(*words: str) -> str:
        output = ["--output", str(tmp_path / f"{len(list(tmp_path.iterdir()))}.ndjson")] if command == "export" else []
        assert run([command, *words, *output]) == 0
        return capsys.readouterr().err

    assert ("warning:" in reported(*account, *filters)) is (reason is not None)
    if reason is not None:
        assert f"aiosipcdr: warning: no calls: check the name; {reason}" in reported(*account, *filters)
    assert "warning: no calls: the range begins in the future\n" in reported(*FUTURE, *filters)
    assert '"kind":"warning","warning":"no calls: the range' in reported(*FUTURE, *filters, "--log-json")


def test_a_wrong_secret_is_reported_and_not_shown(
    account: list[str], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", "hunter2-hunter2")
    for debug in ([], ["--debug"]):
        assert run(["count", *account, *debug]) == 1
        reported = capsys.readouterr()
        assert reported.out == ""
        assert "check the API key and secret" in reported.err
        assert "hunter2" not in reported.err
        assert sandbox.api_key not in reported.err
        assert ("Traceback" in reported.err) == bool(debug)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("http://example.com/v3/voice", "https"), ("https://user:hunter2@example.com", "no user")],
)
def test_an_address_that_cannot_be_used_is_a_usage_error(
    account: list[str], address: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["count", *account, "--base-url", address]) == 2
    reported = capsys.readouterr().err
    assert expected in reported
    assert "hunter2" not in reported
