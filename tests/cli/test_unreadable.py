"""Unreadable records and fields: messages and exit codes of the command line."""

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.cli.exit_codes import Exit, exit_code_for
from aiosipcdr.export import MANIFEST, read_manifest
from aiosipcdr.export.paths import QUARANTINE
from aiosipcdr.model.report import FetchReport
from aiosipcdr.sandbox import Sandbox
from tests.made_up_exports import sidecar_path
from tests.wire_forms import TEN

SPAN = ["--start", (TEN - timedelta(hours=1)).isoformat(), "--end", (TEN + timedelta(hours=1)).isoformat()]
CALLEE = "447700900123"
NO_ID = json.dumps({"callee": CALLEE}).encode()


def call(number: int, **fields: object) -> bytes:
    at = (TEN + timedelta(seconds=number)).isoformat()
    return json.dumps({"voiceId": str(10**6 + number), "submitTime": at, "cost": "1.5"} | fields).encode()


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch, *records: bytes) -> Iterator[Sandbox]:
    with Sandbox(records=0, months_back=None) as sandbox:
        sandbox.add_rows(records, at=TEN)
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        yield sandbox


PLAIN = [call(number) for number in range(12)]
FAULTY = call(20, rate="1,50", callTime="yesterday")


@pytest.mark.parametrize("ending", ["ndjson", "csv", "parquet"])
def test_three_of_three_calls_without_an_id_are_exit_code_4_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"calls.{ending}"
    with account(monkeypatch, NO_ID, NO_ID, NO_ID):
        assert run(["export", *SPAN, "--output", str(path), "--json"]) == 4
        shown = capsys.readouterr()
        report = json.loads(shown.out)
        assert (report["certified"], report["quarantined"], report["faulty_fields"]) == (False, 3, {})
        assert "0 of 3 calls, NOT certified" in shown.err
        assert "3 records quarantined (no readable id)" in shown.err
        for more in ([], ["--online"]):
            assert run(["verify", str(path), *more]) == 4
            shown = capsys.readouterr()
            assert "NOT certified, 3 records quarantined (no readable id); the file matches" in shown.out
        assert run(["verify", str(path), "--json"]) == 4
        verified = json.loads(capsys.readouterr().out)
        assert (verified["certified"], verified["quarantined"], verified["differences"]) == (False, 3, [])
    assert len(sidecar_path(path, QUARANTINE).read_bytes().splitlines()) == 3


def test_faulty_fields_leave_the_certificate_and_are_exit_code_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.csv"
    with account(monkeypatch, FAULTY, *PLAIN):
        assert run(["export", *SPAN, "--output", str(path), "--json"]) == 4
        shown = capfd.readouterr()
        report = json.loads(shown.out)
        assert (report["certified"], report["faulty_fields"]) == (True, {"call_time": 1, "rate": 1})
        words = "unreadable values of call_time (1), rate (1)"
        assert "13 of 13 calls, certified complete" in shown.err
        assert words in shown.err
        assert run(["verify", str(path)]) == 4
        assert f"13 calls, certified complete, {words}; the file matches" in capfd.readouterr().out
        assert run(["totals", str(path), "--json"]) == 4
        summed = capfd.readouterr()
        assert f"{path}: {words}" in summed.err
        faulty = {"call_time": 1, "rate": 1}
        assert json.loads(summed.out)["files"] == [
            {"file": str(path), "certified": True, "quarantined": 0, "faulty_fields": faulty}
        ]
        assert run(["export", *SPAN, "--output", "-"]) == 4
        assert words in capfd.readouterr().err
        # Incomplete comes first, and what failed before that.
        path.write_bytes(path.read_bytes() + b"x")
        assert run(["verify", str(path)]) == 1


def test_a_finished_day_with_faulty_fields_is_exit_code_4_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = ["--start", "2024-10-01T00:00:00Z", "--end", "2024-10-03T00:00:00Z", "--daily", "--tz", "UTC"]
    command = ["export", *days, "--output", str(tmp_path / "{date}.csv")]
    at = datetime(2024, 10, 2, 12, tzinfo=UTC)
    with account(monkeypatch) as sandbox:
        sandbox.add_rows(
            [call(number, submitTime=at.isoformat(), rate="?" if number else 1) for number in (0, 1)], at=at
        )
        assert run(command) == 4
        capsys.readouterr()
        assert run([*command, "--json"]) == 4
        shown = capsys.readouterr()
        assert "2024-10-02.csv is already complete, with unreadable values of rate (1)" in shown.err
        first, second = json.loads(shown.out)["files"]
        assert (first["outcome"], first["faulty_fields"]) == ("unchanged", {})
        assert (second["outcome"], second["faulty_fields"]) == ("unchanged", {"rate": 1})
        assert run([*command, "--strict"]) == 1
        assert "(--strict)" in capsys.readouterr().err
        assert run(["export", *days[:3], "2024-10-02T00:00:00Z", *days[4:], "--output", command[-1]]) == 0


def test_values_that_only_parquet_cannot_hold_are_exit_code_4_of_that_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with account(monkeypatch, call(20, cost="0.30000000000000004"), *PLAIN):
        text, columns = tmp_path / "calls.csv", tmp_path / "calls.parquet"
        assert run(["export", *SPAN, "--output", str(text)]) == 0
        assert "0.30000000000000004" in text.read_text()
        capsys.readouterr()
        assert run(["export", *SPAN, "--output", str(columns), "--json"]) == 4
        shown = capsys.readouterr()
        assert json.loads(shown.out)["faulty_fields"] == {"cost": 1}
        assert "unreadable values of cost (1)" in shown.err
        manifest = read_manifest(sidecar_path(columns, MANIFEST))
        assert (manifest.faulty_fields, manifest.report.faulty_fields) == ({"cost": 1}, {})
        assert run(["verify", str(columns)]) == 4
        capsys.readouterr()
        for options, before in ((["--overwrite"], ["run_finished"]), ([], [])):
            assert run(["export", *SPAN, "--output", str(columns), "--log-json", *options]) == 4
            *lines, last = map(json.loads, capsys.readouterr().err.splitlines())
            assert [line["kind"] for line in lines][-1:] == before
            assert last["warning"] == f"{columns}: unreadable values of cost (1)"


def test_a_stream_writes_undecodable_rows_to_the_quarantine_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "aside.ndjson"
    with account(monkeypatch, NO_ID, NO_ID, *PLAIN):
        assert run(["export", *SPAN, "--output", "-"]) == 4
        shown = capfd.readouterr()
        assert len(shown.out.splitlines()) == 12
        assert "2 records quarantined (no readable id)" in shown.err
        assert "add --quarantine FILE" in shown.err
        assert CALLEE not in shown.err
        assert list(tmp_path.iterdir()) == []
        assert run(["export", *SPAN, "--output", "-", "--quarantine", str(path)]) == 4
        shown = capfd.readouterr()
        assert len(shown.out.splitlines()) == 12
        assert "--quarantine" not in shown.err
        assert [json.loads(line)["raw"] for line in path.read_bytes().splitlines()] == [NO_ID.decode()] * 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        # What is there is not replaced, unless that is asked for.
        assert run(["export", *SPAN, "--output", "-", "--quarantine", str(path)]) == 1
        assert capfd.readouterr().out == ""
        again = ["--quarantine", str(path), "--overwrite", "--mask-numbers"]
        assert run(["export", *SPAN, "--output", "-", *again]) == 4
        assert [json.loads(line)["raw"] for line in path.read_bytes().splitlines()] == [None] * 2
        capfd.readouterr()


def test_without_anything_to_keep_there_is_no_quarantine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with account(monkeypatch, *PLAIN):
        assert run(["export", *SPAN, "--output", "-", "--quarantine", str(tmp_path / "aside.ndjson")]) == 0
    assert list(tmp_path.iterdir()) == []
    assert len(capfd.readouterr().out.splitlines()) == 12


def test_a_quarantine_of_its_own_is_for_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with account(monkeypatch, *PLAIN):
        files = ["--output", str(tmp_path / "calls.csv"), "--quarantine", str(tmp_path / "aside.ndjson")]
        assert run(["export", *SPAN, *files]) == 2
    assert "--quarantine needs --output -" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("odd", "words"), [(NO_ID, "no readable id"), (FAULTY, "call_time (1), rate (1)")])
def test_strict_fails_and_publishes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: bytes, words: str
) -> None:
    with account(monkeypatch, odd, *PLAIN):
        assert run(["export", *SPAN, "--output", str(tmp_path / "calls.csv"), "--strict"]) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert "(--strict)" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_exit_code_1_and_names_the_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [call(number, submitTime="2026-11-26 10:00:00", cost="1,50") for number in range(6)]
    with account(monkeypatch, *broken):
        assert run(["export", *SPAN, "--output", str(tmp_path / "calls.csv")]) == 1
        shown = capsys.readouterr().err
        assert "submit_time (6 of 6), cost (6 of 6)" in shown
        assert "add --assume-tz" in shown
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["argument", "environment", "file"])
def test_a_zone_may_be_assumed_by_argument_environment_and_credentials_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    path, more = tmp_path / "calls.ndjson", []
    records = [call(number, submitTime=f"2026-11-26 10:00:{number:02}") for number in range(6)]
    with account(monkeypatch, *records) as sandbox:
        if where == "argument":
            more = ["--assume-tz", "Asia/Shanghai"]
        elif where == "environment":
            monkeypatch.setenv("AIOSIPCDR_ASSUME_TZ", "Asia/Shanghai")
        else:
            credentials = tmp_path / "credentials.toml"
            lines = {"api_key": sandbox.api_key, "api_secret": sandbox.api_secret, "assume_tz": "Asia/Shanghai"}
            credentials.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
            credentials.chmod(0o600)
            more = ["--credentials-file", str(credentials)]
        assert run(["export", *SPAN, "--output", str(path), *more]) == 0
        assert run(["export", *SPAN, "--output", "-", "--assume-tz", "Nowhere"]) == 2
    assert "assume_tz must be a tzinfo or the name of a time zone" in capsys.readouterr().err
    times = [datetime.fromisoformat(json.loads(line)["submit_time"]) for line in path.read_bytes().splitlines()]
    assert times == [TEN + timedelta(seconds=number) for number in range(6)]


def test_with_several_outcomes_incomplete_comes_before_unreadable() -> None:
    done, incomplete = FetchReport(certified=True), FetchReport()
    quarantined = FetchReport(total=1, unique=1, quarantined=1)
    faulty = FetchReport(certified=True, faulty_fields={"cost": 1})
    assert exit_code_for([done]) == exit_code_for([]) == Exit.DONE
    assert exit_code_for([done, faulty]) == exit_code_for([quarantined, done]) == Exit.UNREADABLE
    assert exit_code_for([faulty, incomplete]) == exit_code_for([incomplete, quarantined]) == Exit.INCOMPLETE


def test_a_report_page_of_unreadable_records_and_fields_names_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "calls.csv", tmp_path / "page.html"
    with account(monkeypatch, NO_ID, FAULTY, *PLAIN):
        assert run(["export", *SPAN, "--output", str(path)]) == 4
        capsys.readouterr()
        assert run(["report", str(path), "--output", str(page), "--json"]) == 4
    shown = capsys.readouterr()
    assert "1 record has no readable id; it is kept apart" in shown.err
    notes = json.loads(shown.out)["notes"]
    for name in ("call_time", "rate"):
        words = f"{name} could not be read in 1 call: sums and metrics lack these values"
        assert words in shown.err
        assert f"{words}." in notes
        assert words in page.read_text(encoding="utf-8")
