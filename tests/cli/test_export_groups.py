"""`export` of several groups: a file each, or all on stdout; and Excel workbooks."""

import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from aiosipcdr import CdrClient
from aiosipcdr.analytics import summarize
from aiosipcdr.cli.app import run
from aiosipcdr.export import exporter, read_manifest
from aiosipcdr.export.formats import excel
from aiosipcdr.sandbox import Sandbox


@pytest.fixture
def groups(sandbox: Sandbox) -> dict[str, int]:
    counts = Counter(row["sipGroupName"] for row in sandbox.rows())
    return dict(counts.most_common(2))


def options(groups: dict[str, int]) -> list[str]:
    return [word for group in groups for word in ("--group", group)]


def test_each_group_has_a_certified_file(
    account: list[str], groups: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "calls-{group}.csv")]
    assert run(["export", *account, *options(groups), *output, "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]

    assert {Path(file["output"]).name: (file["total"], file["certified"]) for file in files} == {
        f"calls-{group}.csv": (count, True) for group, count in groups.items()
    }
    for group in groups:
        assert read_manifest(tmp_path / f"calls-{group}.csv.manifest.json").query.sip_group_name == group
    assert run(["export", *account, *options(groups), *output]) == 0
    assert capsys.readouterr().err.count("is already complete") == 2


def read_time(cell: object, zone: ZoneInfo) -> datetime:
    """Return the local time in a cell of a workbook, which after 2079 is a text."""
    if isinstance(cell, datetime):
        return cell
    return datetime.fromisoformat(str(cell)).astimezone(zone).replace(tzinfo=None)


@pytest.mark.usefixtures("account")
def test_a_workbook_of_a_day_has_the_zone_of_the_day(sandbox: Sandbox, tmp_path: Path) -> None:
    day = sandbox.start.date() + timedelta(days=1)
    span = ["--start", str(day), "--end", str(day + timedelta(days=1)), "--tz", "Europe/Berlin"]
    assert run(["export", *span, "--daily", "--output", str(tmp_path / "calls.xlsx")]) == 0
    path = tmp_path / f"calls-{day}.xlsx"
    sheet = openpyxl.load_workbook(path)["calls"]
    assert sheet["G1"].value == "submit_time (Europe/Berlin)"
    zone = ZoneInfo("Europe/Berlin")
    assert {read_time(row[6], zone).date() for row in sheet.iter_rows(min_row=2, values_only=True)} <= {day}
    assert summarize(path).total.attempts == sheet.max_row - 1


@pytest.mark.usefixtures("account")
def test_each_group_may_have_a_file_for_each_day(groups: dict[str, int], sandbox: Sandbox, tmp_path: Path) -> None:
    first = next(iter(groups))
    output = str(tmp_path / "dt={date}" / "{group}.ndjson")
    day = sandbox.start.date()
    span = ["--start", str(day), "--end", str(day + timedelta(days=3)), "--tz", "UTC"]
    assert run(["export", *span, "--group", first, "--daily", "--output", output]) == 0
    assert {file.stem for file in tmp_path.glob("dt=*/*.ndjson")} == {first}


def test_stdout_has_the_calls_of_all_groups(
    account: list[str], groups: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *account, *options(groups), "--output", "-"]) == 0
    said = capfd.readouterr()
    assert Counter(json.loads(line)["sip_group_name"] for line in said.out.splitlines()) == groups
    assert said.err.count("certified complete") == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--group", "a", "--group", "b", "--output", "calls.csv"], "put {group} into --output"),
        (["--output", "calls-{group}.csv"], "--output has {group}, which needs --group"),
        (["--group", "a", "--group", "b", "--output", "-", "--quarantine", "q"], "export each group by itself"),
        (["--group", "../a", "--output", "{group}.csv"], "cannot be part of a file name"),
        (["--group", ".a", "--output", "{group}.csv"], "cannot be part of a file name"),
        (["--group", "{date}", "--output", "{group}.csv"], "cannot be part of a file name"),
        (["--group", "a\x00b", "--output", "{group}.csv"], "cannot be part of a file name"),
    ],
)
def test_groups_that_have_no_file_are_refused(
    account: list[str], sandbox: Sandbox, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *account, *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert sum(sandbox.stats.answers.values()) == 0


def test_a_workbook_has_dates_in_the_zone_and_is_verified(
    account: list[str], sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.xlsx"
    command = ["export", *account, "--output", str(path)]
    assert run([*command, "--tz", "Asia/Shanghai"]) == 0
    sheet = openpyxl.load_workbook(path)["calls"]
    header, first, *_ = sheet.iter_rows(values_only=True)

    assert (sheet.max_row, header[6]) == (501, "submit_time (Asia/Shanghai)")
    row = min(sandbox.rows(), key=lambda row: (row["submitTime"], row["voiceId"]))
    submitted = datetime.fromisoformat(row["submitTime"]).replace(tzinfo=None)
    assert (first[0], read_time(first[6], ZoneInfo("Asia/Shanghai"))) == (row["voiceId"], submitted)
    assert read_manifest(path.with_name("calls.xlsx.manifest.json")).tz == "Asia/Shanghai"
    assert run(["verify", str(path), "--online"]) == 0
    assert "certified complete; the file matches its manifest" in capsys.readouterr().out
    assert run(command) == 1  # in UTC: another file
    assert "it is the result of another query (tz)" in capsys.readouterr().err
    assert run([*command, "--spreadsheet", "--tz", "UTC"]) == 2
    assert "leave out --spreadsheet" in capsys.readouterr().err


async def test_a_zone_that_is_none_is_refused_before_anything_is_sent(
    client: CdrClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    for zone in ("Middle/Earth", timezone(timedelta(seconds=30))):
        with pytest.raises(ValueError, match="tz must be"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.xlsx", tz=zone)
    assert sum(sandbox.stats.answers.values()) == 0


def test_a_range_beyond_a_sheet_is_refused_before_it_is_read(
    account: list[str],
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (exporter, excel):
        monkeypatch.setattr(module, "MOST_ROWS", 499)
    assert run(["export", *account, "--output", str(tmp_path / "calls.xlsx")]) == 1
    said = capsys.readouterr().err
    assert "a sheet of Excel holds 499 calls, and the range has 500; choose a shorter range" in said
    assert list(tmp_path.iterdir()) == []
    assert sum(sandbox.stats.answers.values()) == 1
