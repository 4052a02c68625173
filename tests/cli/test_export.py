"""`export`: every call in a file or on stdout, and the exit codes."""

import csv
import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from pathlib import Path
from time import sleep

import duckdb
import pytest

import aiosipcdr
from aiosipcdr.cli.app import run
from aiosipcdr.export import FORMATS
from aiosipcdr.export.reading import read_columns
from aiosipcdr.sandbox import Sandbox
from tests.gates import Gate
from tests.selection import some


def ids(text: str) -> set[str]:
    return {json.loads(line)["voice_id"] for line in text.splitlines()}


def test_every_call_is_in_the_file(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    assert run(["export", *account, "--output", str(path)]) == 0
    reported = capsys.readouterr()
    assert reported.out == ""
    assert "500 of 500 calls, certified complete" in reported.err
    assert str(path) in reported.err
    assert ids(path.read_text()) == set(sandbox.voice_ids())


def test_json_has_the_report(account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calls.jsonl"
    options = ["--concurrency", "3", "--page-size", "50", "--rate", "1000", "--json"]
    assert run(["export", *account, "--output", str(path), *options]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert (reported["unique"], reported["total"], reported["certified"]) == (500, 500, True)
    assert reported["output"] == str(path)
    assert reported["pages"] >= 10


def test_a_dash_is_stdout(account: list[str], sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["export", *account, "--output", "-"]) == 0
    reported = capfd.readouterr()
    assert ids(reported.out) == set(sandbox.voice_ids())
    assert "certified complete" in reported.err
    assert run(["export", *account, "--output", "-", "--json"]) == 2


@pytest.mark.parametrize("name", some(FORMATS, every=3))
def test_every_format_is_written_by_its_ending_or_its_name(
    account: list[str], sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    by_ending, by_name = tmp_path / f"calls.{name}", tmp_path / "calls"
    assert run(["export", *account, "--output", str(by_ending)]) == 0
    assert run(["export", *account, "--output", str(by_name), "--format", name]) == 0
    assert by_ending.read_bytes() == by_name.read_bytes()
    if name == "xlsx":
        ids_of_sheet = {row[0] for row in read_columns(by_ending, name, ["voice_id"])}
        assert ids_of_sheet == {*sandbox.voice_ids()}
        return
    answer = duckdb.sql(f"select count(distinct voice_id) from '{by_ending}'")  # noqa: S608 - our own path
    assert answer is not None
    assert answer.fetchall() == [(len(sandbox.voice_ids()),)]


def test_for_a_spreadsheet_and_masked(account: list[str], tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    assert run(["export", *account, "--output", str(path), "--spreadsheet", "--mask-numbers"]) == 0
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    assert len(rows) == 500
    assert all(re.fullmatch(r"'[0-9]{19}", row["voice_id"]) for row in rows)
    assert all("*" in row["callee"] for row in rows if row["callee"])


def test_pseudonyms_come_from_a_key_in_a_private_file(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = tmp_path / "calls.csv", tmp_path / "key"
    command = ["export", *account, "--output", str(path), "--pseudonym-key-file", str(key)]
    key.write_text("sandbox-key-of-16-bytes\n")
    key.chmod(0o644)
    assert run(command) == 2
    assert f"chmod 600 {key}" in capsys.readouterr().err
    key.chmod(0o600)
    assert run([*command, "--mask-numbers"]) == 2
    assert run(command) == 0
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
    assert all(re.fullmatch(r"[0-9a-f]{64}", row["callee"]) for row in rows if row["callee"])
    key.write_text("sandbox\n")
    capsys.readouterr()
    assert run([*command, "--overwrite"]) == 2
    reported = capsys.readouterr().err
    assert "16 bytes" in reported
    assert "sandbox" not in reported.replace(str(key), "")


def test_stdout_is_ndjson_and_may_be_masked(account: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for more in (["--format", "csv"], ["--spreadsheet"], ["--format", "parquet"]):
        assert run(["export", *account, "--output", "-", *more]) == 2
        assert "--output - writes NDJSON only" in capfd.readouterr().err
    assert run(["export", *account, "--output", "-", "--format", "ndjson", "--mask-numbers"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(lines) == 500
    assert all("*" in line["callee"] for line in lines if line["callee"])


def test_a_missing_extra_is_reported_before_any_request(
    account: list[str],
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sandbox.reset_stats()
    assert run(["export", *account, "--output", str(tmp_path / "calls.parquet")]) == 1
    reported = capsys.readouterr().err
    assert reported == 'aiosipcdr: Arrow and Parquet need pyarrow: pip install "aiosipcdr[arrow]"\n'
    assert sandbox.stats.requests == 0
    assert run(["export", *account, "--output", str(tmp_path / "calls.ndjson"), "--spreadsheet"]) == 2


def test_an_existing_file_is_refused_before_anything_is_asked(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("mine")
    sandbox.reset_stats()
    assert run(["export", *account, "--output", str(path)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert sum(sandbox.stats.answers.values()) == 0
    assert run(["export", *account, "--output", str(path), "--overwrite"]) == 0
    assert len(ids(path.read_text())) == 500


@pytest.mark.parametrize(("output", "code"), [("none/calls.ndjson", 1), ("calls.xls", 2), (".", 2)])
def test_a_file_that_cannot_be_written_is_refused(
    account: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", *account, "--output", output]) == code


def test_an_unproven_range_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.ndjson"
    with Sandbox(records=20, wrong_total=1) as sandbox:
        monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
        monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
        command = ["export", *span, "--base-url", sandbox.base_url, "--output", str(path), "--json"]
        assert run(command) == 3
        reported = capsys.readouterr()
        assert "--allow-incomplete" in reported.err
        assert (json.loads(reported.out)["certified"], json.loads(reported.out)["output"]) == (False, None)
        assert not path.exists()
        assert f"to resume, run: aiosipcdr {command[0]} --base-url" in reported.err
        assert run([*command, "--allow-incomplete"]) == 3
        reported = capsys.readouterr()
        assert "NOT certified" in reported.err
        assert json.loads(reported.out)["output"] == str(path)
        assert len(ids(path.read_text())) == 20


def test_a_reader_that_goes_away_is_no_traceback(
    account: list[str], cli: Callable[..., "subprocess.Popen[str]"]
) -> None:
    with cli("export", *account, "--output", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "aiosipcdr: stdout was closed early (broken pipe)\n"
    assert process.returncode == 1


@pytest.mark.usefixtures("calls_until_today")
def test_the_resume_command_is_printed_and_works(
    tmp_path: Path,
    cli: Callable[..., "subprocess.Popen[str]"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "calls.csv"
    gate = Gate(20)  # enough for the first window, and not for all
    with Sandbox(records=2_500, middlewares=[gate.middleware]) as held:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(held, name))
        command = ["export", "--last", "40d", "--concurrency", "1", "--output", str(path)]
        with cli(*command) as process:
            rows = path.with_name("calls.csv.journal.rows")
            while not (rows.exists() and rows.stat().st_size > 10_000):  # more than its header
                assert process.poll() is None
                sleep(0.01)
            process.send_signal(signal.SIGTERM)
            _, reported = process.communicate(timeout=240)
        assert process.returncode == 143
        assert reported.startswith(
            f"aiosipcdr: terminated; progress saved in {path}.journal; to resume, run: aiosipcdr "
        )
        again = shlex.split(reported.partition("to resume, run: aiosipcdr ")[2])
        assert "--last" not in again
        gate.opened.set()
        held.reset_stats()
        assert run(again) == 0
        assert f"{path}: resuming an earlier run\n" in capsys.readouterr().err
        assert held.stats.requests < 27
        with path.open(newline="") as file:
            assert {row["voice_id"] for row in csv.DictReader(file)} == set(held.voice_ids())


@pytest.mark.usefixtures("account")
def test_one_file_for_each_day_and_none_twice(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [(sandbox.start + timedelta(days=day)).date() for day in range(4)]
    span = ["--start", f"{days[0]}T08:00:00", "--end", f"{days[2]}T00:00:01", "--tz", "+08:00"]
    command = ["export", *span, "--daily", "--output", str(tmp_path / "calls.ndjson.gz"), "--json"]
    assert run(command) == 0
    first = json.loads(capsys.readouterr().out)["files"]
    assert [file["output"] for file in first] == [str(tmp_path / f"calls-{day}.ndjson.gz") for day in days[:3]]
    for day, following, file in zip(days, days[1:], first, strict=False):
        begin, end = (datetime.combine(date, time.min, sandbox.start.tzinfo) for date in (day, following))
        with gzip.open(file["output"], "rt") as lines:
            assert ids(lines.read()) == set(sandbox.voice_ids(begin, end))
    sandbox.reset_stats()
    assert run(command) == 0
    reported = capsys.readouterr()
    assert json.loads(reported.out)["files"] == [file | {"outcome": "unchanged"} for file in first]
    assert "is already complete" in reported.err
    assert sandbox.stats.requests == 0


def day_that_begins(ahead: timedelta) -> tuple[date, str]:
    """Return a day that begins so long from now, and the zone in which it does."""
    begins = (datetime.now(UTC) + ahead).replace(second=0, microsecond=0)
    midnight = datetime.combine(begins.date(), time.min, UTC)
    return begins.date(), f"-{str(begins - midnight).zfill(8)[:5]}"


@pytest.mark.parametrize(
    ("clock_offset", "begins", "written"),
    [
        (-8, -30, 2),  # this machine is ahead: the day that has settled by its clock goes on for two hours
        (8, 2, 2),  # it is behind: the day has started
        (0, 2, 0),
        (0, -30, 1),
    ],
)
def test_days_begin_and_are_finished_by_the_vendors_clock(  # noqa: PLR0917 - three fixtures
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clock_offset: int,
    begins: int,
    written: int,
) -> None:
    day, zone = day_that_begins(timedelta(hours=begins))
    with Sandbox(records=0, clock_offset=clock_offset * 3_600.0) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        span = ["--start", str(day), "--end", str(day + timedelta(days=1)), "--tz", zone]
        command = ["export", *span, "--daily", "--output", str(tmp_path / "{date}.csv"), "--json"]
        outcomes = []
        for _ in range(2):
            assert run(command) == 0
            outcomes += json.loads(capsys.readouterr().out)["files"]
    assert sum(file["outcome"] in {"written", "rewritten"} for file in outcomes) == written
    assert (tmp_path / f"{day}.csv").exists() == (written > 0)


MIDNIGHTS = [f"2024-10-0{day}T00:00:00+08:00" for day in (1, 2, 3)]


def calls_around_midnight() -> list[dict[str, str]]:
    """Calls at each midnight and beside it, some with a second leg on the same side or the other."""
    moments = ["00:00:00", "00:00:00", "00:00:01", "00:00:02", "12:00:00", "23:59:58", "23:59:59", "23:59:59"]
    times = [f"2024-{day}T{moment}+08:00" for day in ("09-30", "10-01", "10-02", "10-03") for moment in moments]
    calls = [
        {"voiceId": f"{1_000_000_000_000_000_000 + number}", "submitTime": time, "cost": "1"}
        for number, time in enumerate(times)
    ]
    legs = [
        calls[number] | {"submitTime": times[number + behind], "cost": str(1 + behind)}
        for number in (6, 7, 14, 16)
        for behind in (1, 2)
    ]
    return calls + legs


@pytest.mark.parametrize(
    ("time_field", "start_inclusive", "end_inclusive"),
    some(product([None, "submit_time"], [True, False], [True, False]), every=3),
)
def test_a_call_at_midnight_is_in_exactly_one_file_whatever_the_bounds_mean(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_inclusive: bool,  # noqa: FBT001
    end_inclusive: bool,  # noqa: FBT001
    time_field: str | None,
) -> None:
    calls = calls_around_midnight()
    known = [] if time_field is None else ["--time-field", time_field]
    with Sandbox(
        calls=calls, months_back=None, start_inclusive=start_inclusive, end_inclusive=end_inclusive
    ) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        days = ["2024-10-02", "2024-10-01"]
        (tmp_path / "alone").mkdir()
        (tmp_path / "both").mkdir()
        # Jobs that know nothing of each other, and one of both days.
        for day in days:
            span = ["--start", f"{day}T08:00", "--end", f"{day}T08:01", "--tz", "+08:00", "--daily", *known]
            assert run(["export", *span, "--output", str(tmp_path / "alone" / "{date}.ndjson")]) == 0
        span = ["--start", "2024-10-01", "--end", "2024-10-03", "--tz", "+08:00", "--daily", *known]
        assert run(["export", *span, "--output", str(tmp_path / "both" / "{date}.ndjson")]) == 0
        for day in days:
            path = tmp_path / "alone" / f"{day}.ndjson"
            assert path.read_bytes() == (tmp_path / "both" / f"{day}.ndjson").read_bytes()
            assert run(["verify", str(path), "--online"]) == 0
    rows = {
        day: [(row["voice_id"], row["submit_time"], row["cost"]) for row in map(json.loads, lines.splitlines())]
        for day in days
        for lines in [(tmp_path / "alone" / f"{day}.ndjson").read_text()]
    }
    together = sorted(rows[days[0]] + rows[days[1]])
    assert len(together) == len(set(together))
    sent = {(call["voiceId"], call["submitTime"], call["cost"]) for call in calls}
    assert set(together) <= sent
    missing = sent - set(together)
    # Calls at the outer midnights are this day's or a neighbour's; all between is there.
    assert all(time <= MIDNIGHTS[0] or time >= MIDNIGHTS[2] for _, time, _ in missing)
    if time_field is not None or not end_inclusive:
        assert {time for _, time, _ in rows["2024-10-01"]} >= {MIDNIGHTS[0]}
        assert all(MIDNIGHTS[0] <= time < MIDNIGHTS[1] for _, time, _ in rows["2024-10-01"])


@pytest.mark.parametrize(
    ("zone", "day"),
    [("Atlantic/Azores", "2024-10-27"), ("America/Havana", "2024-11-03"), ("America/Santiago", "2024-09-08")],
)
def test_days_whose_midnight_comes_twice_or_not_at_all_are_finished_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], zone: str, day: str
) -> None:
    with Sandbox(calls=[{"voiceId": "1", "submitTime": f"{day}T12:00:00Z"}], months_back=None) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        first = date.fromisoformat(day)
        span = ["--start", str(first - timedelta(days=1)), "--end", str(first + timedelta(days=2)), "--tz", zone]
        command = ["export", *span, "--daily", "--output", str(tmp_path / "{date}.csv")]
        assert run(command) == 0
        written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert len(written) == 6
        capsys.readouterr()
        assert run(command) == 0
        assert capsys.readouterr().err.count("is already complete") == 3
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_days_that_may_still_change_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Well inside the last hour, which may begin on the day before: then there are two files.
    submitted = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    with Sandbox(calls=[{"voiceId": "1", "submitTime": submitted.isoformat()}]) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        command = ["export", "--last", "1h", "--daily", "--tz", "UTC", "--output", str(tmp_path / "{date}.ndjson")]
        assert run(command) == 0
        sandbox.add_rows([{"voiceId": "2", "submitTime": submitted.isoformat()}])
        assert run(command) == 0
        assert ids("".join(path.read_text() for path in tmp_path.glob("????-??-??.ndjson"))) == {"1", "2"}
        # The file of another query is not replaced.
        assert run([*command, "--mask-numbers"]) == 1
        assert "already exists" in capsys.readouterr().err
        assert run([*command, "--mask-numbers", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("more", "reported"),
    [(["--daily"], "add --tz"), (["--daily", "--tz", "UTC", "--output", "-"], "--output FILE")],
)
def test_days_need_a_zone_and_files(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], reported: str
) -> None:
    output = [] if "--output" in more else ["--output", str(tmp_path / "calls.csv")]
    assert run(["export", *account, *output, *more]) == 2
    assert reported in capsys.readouterr().err


@pytest.mark.usefixtures("calls_until_today")
def test_a_day_of_which_the_vendor_keeps_less_by_now_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    day = (now - timedelta(days=2)).date()  # settled at any hour
    calls = [{"voiceId": str(hour), "submitTime": f"{day}T{hour:02}:30:00+00:00"} for hour in range(24)]
    with Sandbox(calls=calls, retention=timedelta(days=40)) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        output = tmp_path / "calls.ndjson"
        command = ["export", "--start", str(day), "--end", str(day + timedelta(days=1)), "--tz", "UTC", "--daily"]
        command += ["--output", str(output), "--on-out-of-range", "skip"]
        noon = datetime.combine(day, time(12), UTC)
        sandbox.change(retention=now - noon)
        assert run(command) == 3
        path = tmp_path / f"calls-{day}.ndjson"
        before = path.read_bytes()
        assert len(before.splitlines()) == 12
        sandbox.change(retention=now - noon - timedelta(hours=6))
        assert run(command) == 0, "the gap was reported when the file was written"
        assert "is finished, with a gap" in capsys.readouterr().err
        assert path.read_bytes() == before


@pytest.mark.usefixtures("calls_until_today")
def test_a_provisional_day_that_the_vendor_deletes_is_a_warning_and_no_endless_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (datetime.now(UTC) - timedelta(days=1)).date()
    calls = [{"voiceId": str(hour), "submitTime": f"{day}T{hour:02}:30:00+00:00"} for hour in range(24)]
    with Sandbox(calls=calls, retention=timedelta(days=40)) as sandbox:
        in_environment(sandbox, monkeypatch)
        command = ["export", "--start", str(day), "--end", str(day + timedelta(days=1)), "--tz", "UTC", "--daily"]
        command += ["--output", str(tmp_path / "{date}.ndjson"), "--lateness", "9d", "--count-delay", "0"]
        assert run(command) == 0
        before = (tmp_path / f"{day}.ndjson").read_bytes()
        sandbox.change(retention=datetime.now(UTC) - datetime.combine(day, time(12), UTC))
        assert [run(command) for _ in range(2)] == [0, 0]
        reported = capsys.readouterr().err
        assert reported.count("was kept: the vendor has already deleted some of this day's calls") == 2
        assert "warning" in reported
        assert (tmp_path / f"{day}.ndjson").read_bytes() == before


def test_one_strange_file_does_not_keep_the_other_days_waiting(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [(sandbox.start + timedelta(days=day)).date() for day in range(2)]
    (tmp_path / f"calls-{days[0]}.csv").write_text("mine")
    span = ["--start", str(days[0]), "--end", str(days[1] + timedelta(days=1)), "--tz", "+08:00"]
    assert account
    assert run(["export", *span, "--daily", "--output", str(tmp_path / "calls.csv")]) == 1
    assert "already exists" in capsys.readouterr().err
    assert (tmp_path / f"calls-{days[0]}.csv").read_text() == "mine"
    assert (tmp_path / f"calls-{days[1]}.csv").exists()


@pytest.mark.parametrize(
    ("closed", "code"), some([("2>&-", 0), (">&-", 0), ("2>/dev/full", 0), ("--json >&-", 1)], every=3)
)
def test_a_stream_that_is_closed_costs_no_file(account: list[str], tmp_path: Path, closed: str, code: int) -> None:
    path = tmp_path / "calls.ndjson"
    command = shlex.join([sys.executable, "-m", "aiosipcdr", "export", *account, "--output", str(path)])
    place = str(Path(aiosipcdr.__file__).parent.parent)
    done = subprocess.run(  # noqa: S603
        ["bash", "-c", f"{command} {closed}"],  # noqa: S607
        env={**os.environ, "PYTHONPATH": place},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.returncode, path.exists()) == (code, code == 0)
    assert "Traceback" not in done.stderr
    assert "bug in aiosipcdr" not in done.stderr


def in_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base_url", "api_key", "api_secret"):
        monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))


@pytest.mark.usefixtures("account")
def test_the_same_command_again_is_success_and_asks_nothing(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = sandbox.start.date()
    command = ["export", "--start", str(day), "--end", str(day + timedelta(days=1)), "--tz", "+08:00"]
    command += ["--output", str(tmp_path / "calls.csv")]
    assert run(command) == 0
    sandbox.reset_stats()
    assert run(command) == 0
    assert capsys.readouterr().err.endswith("calls.csv is already complete\n")
    assert run([*command, "--if-exists", "fail"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert sandbox.stats.requests == 0
    assert run([*command, "--if-exists", "fail", "--overwrite"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run([*command, "--if-exists", "replace"]) == 0
    assert sandbox.stats.requests > 0


def test_a_file_that_ended_with_4_ends_with_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = {"submitTime": "2024-10-01T12:00:00+00:00", "callee": "+12125550123"}
    readable = unreadable | {"voiceId": "1"}
    with Sandbox(calls=[readable, unreadable], months_back=None) as sandbox:
        in_environment(sandbox, monkeypatch)
        command = ["export", "--start", "2024-10-01", "--end", "2024-10-02", "--tz", "UTC"]
        single = [*command, "--output", str(tmp_path / "one.csv")]
        daily = [*command, "--daily", "--output", str(tmp_path / "{date}.csv")]
        assert [run(one) for one in (single, single, daily, daily)] == [4] * 4


def test_days_may_have_folders_are_counted_again_and_named_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = [{"voiceId": str(day), "submitTime": f"2024-10-0{day}T12:00:00+00:00"} for day in (1, 2)]
    with Sandbox(calls=calls, months_back=None) as sandbox:
        in_environment(sandbox, monkeypatch)
        path = tmp_path / "lake" / "dt={date}" / "calls.ndjson"
        command = ["export", "--start", "2024-10-01", "--end", "2024-10-03", "--tz", "UTC"]
        command += ["--daily", "--output", str(path), "--recheck", "9999w"]
        assert run([*command, "--log-json"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        files = [(line["output"], line["outcome"]) for line in lines if line["kind"] == "file"]
        assert files == [(str(path).format(date=f"2024-10-0{day}"), "written") for day in (1, 2)]
        sandbox.add_rows([{"voiceId": "3", "submitTime": "2024-10-01T13:00:00+00:00"}])
        sandbox.delete("2")
        assert run(command) == 0
        reported = capsys.readouterr().err
        assert "rewritten to " in reported
        assert "dt=2024-10-02/calls.ndjson: the vendor now counts fewer calls (0); the file was kept" in reported
        assert "add --if-exists replace" in reported
        assert ids("".join(one.read_text() for one in tmp_path.rglob("calls.ndjson"))) == {"1", "2", "3"}
        assert run([*command[:-2], "--overwrite"]) == 0
        assert ids("".join(one.read_text() for one in tmp_path.rglob("calls.ndjson"))) == {"1", "3"}
        verify = ["verify", str(path).format(date="2024-10-01")]
        assert run(verify) == 0


@pytest.mark.usefixtures("calls_until_today")
def test_provisional_results_of_yesterday_are_said_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recent = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
    with Sandbox(calls=[{"voiceId": "1", "submitTime": recent}]) as sandbox:
        in_environment(sandbox, monkeypatch)
        command = ["export", "--yesterday", "--tz", "UTC", "--output"]
        for output in (str(tmp_path / "calls.csv"), "-"):
            assert run([*command, output, "--lateness", "3d"]) == 0
            assert "1 provisional window (calls may still be added)" in capfd.readouterr().err


@pytest.mark.usefixtures("calls_until_today")
def test_days_that_are_gone_are_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recent = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
    with Sandbox(calls=[{"voiceId": "1", "submitTime": recent}], retention=timedelta(days=40)) as sandbox:
        sandbox.change(retention=timedelta(days=3))
        in_environment(sandbox, monkeypatch)
        output = str(tmp_path / "{date}.csv")
        command = ["export", "--last", "9d", "--daily", "--tz", "UTC", "--output", output]
        assert run(command) == 0
        reported = capsys.readouterr().err
        assert reported.count("no file for") == 1
        gone = re.search(r"\((\d) days\): the vendor has already deleted calls of these days", reported)
        kept = len([*tmp_path.glob("*.csv")])
        # Ten dates of nine days, or eleven if midnight passes; just before midnight, the oldest kept day is cut.
        assert gone is not None
        assert (int(gone[1]), kept) in {(7, 3), (8, 2), (7, 2)}
        assert run(command) == 0


def test_a_relative_range_discards_its_own_journal_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    hours = range(1, 40 * 24, 12)
    calls = [{"voiceId": str(hour), "submitTime": (now - timedelta(hours=hour)).isoformat()} for hour in hours]
    with Sandbox(calls=calls) as sandbox:
        in_environment(sandbox, monkeypatch)
        command = ["export", "--output", str(tmp_path / "calls.ndjson"), "--last"]
        journal = tmp_path / "calls.ndjson.journal"
        for answered in range(3, 9):  # until a window has been handed over when the key is refused
            sandbox.answer_next(*[0] * answered, -1)
            assert run([*command, "40d", "--concurrency", "1"]) == 1
            if journal.exists():
                break
        assert journal.exists()
        capsys.readouterr()
        assert run([*command, "39d", "--group", "sales"]) == 1
        reported = capsys.readouterr().err
        assert "belongs to another export" in reported
        assert "discarding" not in reported
        assert run([*command, "39d"]) == 0
        reported = capsys.readouterr().err
        assert reported.count("discarding an unfinished export of an earlier range") == 1
        assert "resuming" not in reported
        assert not journal.exists()


def test_recheck_and_dates_in_names_are_for_days(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", *account, "--output", str(tmp_path / "calls.csv"), "--recheck", "7d"]
    assert run(command) == 2
    assert "add --daily" in capsys.readouterr().err
    assert run(["export", *account, "--output", str(tmp_path / "{date}.csv")]) == 2
    assert "add --daily" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_mode_for_a_shared_folder_and_no_lock(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *account, "--output", str(tmp_path / "calls.csv"), "--mode", "0640", "--no-lock"]) == 0
    for name in ("calls.csv", "calls.csv.manifest.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
    assert run(["export", *account, "--output", str(tmp_path / "other.csv"), "--mode", "0777"]) == 2
    assert "--mode must be one of 0600, 0640" in capsys.readouterr().err
