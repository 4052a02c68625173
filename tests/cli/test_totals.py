"""`totals`: exact sums by group, of files in every format and of ranges, with what is proven about them."""

import csv
import io
import json
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.cli.app import run
from aiosipcdr.cli.exit_codes import Exit
from aiosipcdr.export import FORMATS, encode_rows, open_encoder
from aiosipcdr.sandbox import Sandbox
from tests.made_up_traffic import made_call

ZONE = ["--tz", "Asia/Shanghai"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def exported(account: list[str], path: Path, *more: str) -> str:
    assert run(["export", *account, "--output", str(path), *more]) == 0
    return str(path)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["totals", *arguments, "--json"]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def expected(sandbox: Sandbox) -> dict[str, dict[str | None, Decimal]]:
    sums: dict[str, dict[str | None, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in sandbox.rows():
        for name, field in (("cost", "cost"), ("settlePay", "settle_pay")):
            if row.get(name) not in (None, ""):
                sums[field][row.get("currency") or None] += Decimal(str(row[name]))
    return sums


def money_of(facts: dict[str, Any], field: str) -> dict[str | None, Decimal]:
    return {one["currency"]: Decimal(one["sum"]) for one in facts["money"] if one["field"] == field}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_each_format_has_the_same_totals(
    account: list[str], sandbox: Sandbox, folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = exported(account, folder / f"calls.{name}", *ZONE)
    shown = as_json(capsys, path, "--by", "day,group", *ZONE)
    days = Counter((row["submitTime"][:10], row["sipGroupName"]) for row in sandbox.rows())

    assert {(row["day"], row["group"]): row["calls"] for row in shown["rows"]} == days
    assert shown["certified"] is True
    assert shown["files"] == [{"file": path, "certified": True, "quarantined": 0, "faulty_fields": {}}]
    assert shown["total"]["calls"] == 500
    for field, sums in expected(sandbox).items():
        assert money_of(shown["total"], field) == sums


def test_a_range_has_the_same_totals_and_its_report(
    account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = as_json(capsys, *account, "--by", "currency")
    sums = expected(sandbox)

    assert shown["certified"] is True
    assert [one["total"] for one in shown["reports"]] == [500]
    assert {row["currency"]: Decimal(row["money"][0]["sum"]) for row in shown["rows"]} == sums["cost"]
    assert shown["rows"][0]["currency"] is None
    assert all(isinstance(one["sum"], str) for row in shown["rows"] for one in row["money"])


def test_several_groups_are_one_reading_each_and_their_totals_the_union(
    account: list[str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = sorted({row["sipGroupName"] for row in sandbox.rows()})
    calls = Counter(row["sipGroupName"] for row in sandbox.rows())
    groups = ["--group", first, "--group", second, "--group", first]
    assert run(["totals", *account, *groups, "--by", "group"]) == 0
    said = capsys.readouterr()
    shown = as_json(capsys, *account, *groups, "--by", "group")

    assert {row["group"]: row["calls"] for row in shown["rows"]} == {first: calls[first], second: calls[second]}
    assert [(one["group"], one["total"]) for one in shown["reports"]] == [
        (first, calls[first]),
        (second, calls[second]),
    ]
    for group in (first, second):
        assert f"{group}: {calls[group]} of {calls[group]} calls, certified complete" in said.err
        assert group in said.out
    assert run(["count", *account, *groups, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["count"], counted["groups"]) == (
        calls[first] + calls[second],
        {first: calls[first], second: calls[second]},
    )


def write(path: Path, *records: Any, name: str = "ndjson") -> Path:  # noqa: ANN401 - records
    encoder = open_encoder(name)
    path.write_bytes(encoder.begin() + encoder.encode(encode_rows(records)) + encoder.finish())
    return path


def test_the_table_keeps_currencies_apart_and_adds_a_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "calls.ndjson",
        made_call(1),
        made_call(2, currency="EUR", cost=Decimal("12345678901234567890.123456789")),
        made_call(3, sip_group_name=None, currency="EUR", settle_pay=Decimal("0.10")),
    )
    assert run(["totals", str(path), "--by", "group"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert lines[0] == ["group", "calls", "answered", "minutes", "charged", "min", "cost", "settle_pay"]
    assert lines[2][:4] == ["(none)", "1", "1", "(100.0%)"]
    assert lines[2][-6:] == ["EUR", "0.10", "(calls", "quoted", "in", "EUR)"]
    assert lines[3] == ["sales", "2", "2", "(100.0%)", "3.0", "4.0", "0.12", "(no", "currency)"]
    assert lines[4] == ["12,345,678,901,234,567,890.123456789", "EUR"]
    assert lines[6][:2] == ["total", "3"]
    assert run(["totals", str(path), "--by", "weekday,currency", *ZONE]) == 0
    assert "Mon" in capsys.readouterr().out


def test_csv_has_a_column_for_each_currency_or_one_row(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "calls.csv", made_call(1), made_call(2, currency="EUR"), made_call(3), name="csv")

    def rows(*arguments: str) -> list[dict[str, str]]:
        assert run(["totals", str(path), *arguments]) == 0
        return list(csv.DictReader(io.StringIO(capfd.readouterr().out, newline="")))

    assert rows("--by", "day", *ZONE, "--csv") == [
        {
            "day": "2026-10-05",
            "calls": "3",
            "answered": "3",
            "seconds": "270",
            "charged_seconds": "360",
            "cost": "0.24",
            "cost_EUR": "0.12",
        }
    ]
    by_currency = rows("--csv")
    assert [(row["currency"], row["calls"], row["cost"], row["settle_pay"]) for row in by_currency] == [
        ("", "2", "0.24", ""),
        ("EUR", "1", "0.12", ""),
    ]


def test_a_hostile_name_is_escaped_and_guarded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = "=1+1\x1b[2J[red]"
    path = write(tmp_path / "calls.ndjson", made_call(1, sip_group_name=name, currency="=2"))
    assert run(["totals", str(path), "--by", "group"]) == 0
    assert "=1+1\\x1b[2J[red]" in capfd.readouterr().out
    assert run(["totals", str(path), "--by", "group", "--spreadsheet"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("\ufeffgroup,calls,")
    assert "\n'=1+1" in said
    assert "cost_=2" in said


def test_folders_and_patterns_name_files_once(
    account: list[str],
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del sandbox
    monkeypatch.chdir(tmp_path)
    exported(account, Path("calls.csv.gz"))
    for arguments in (["."], ["*.gz"], ["calls.csv.gz", "*.gz", str(tmp_path)], ["**/*"]):
        assert as_json(capsys, *arguments)["total"]["calls"] == 500
    for missing in ("none.csv", "*.parquet", "none"):
        assert run(["totals", missing]) == 1
        assert missing in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["totals", "empty"]) == 1
    assert "names no exported file" in capsys.readouterr().err


def test_the_worth_of_the_files_is_printed(
    account: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = exported(account, tmp_path / "one.csv")
    other = exported(account, tmp_path / "other.ndjson")
    foreign = write(tmp_path / "foreign.ndjson", made_call(1))
    capsys.readouterr()
    assert run(["totals", one]) == 0
    assert "1 file, certified complete" in capsys.readouterr().err
    assert run(["totals", one, other]) == Exit.INCOMPLETE
    stated = capsys.readouterr().err
    assert f"{one} and {other} cover the same time: their calls may be counted twice" in stated
    assert "certified complete" not in stated
    assert as_json(capsys, one, other, code=Exit.INCOMPLETE)["certified"] is False
    assert as_json(capsys, one, str(foreign))["certified"] is None
    assert run(["totals", one, str(foreign), "--log-json"]) == 0
    assert "foreign.ndjson has no manifest: whether its calls are complete is not known" in capsys.readouterr().err

    with Path(one).open("ab") as file:
        file.write(b"\n")
    assert run(["totals", one]) == 1
    said = capsys.readouterr()
    assert "one.csv differs from its manifest" in said.err
    assert said.out == ""


def test_unproven_totals_have_the_exit_code_of_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox(records=20, days=1, wrong_total=1) as sandbox:
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        span = ["--start", sandbox.start.isoformat(), "--end", sandbox.end.isoformat()]
        assert run(["totals", *span]) == Exit.INCOMPLETE
        assert capsys.readouterr().out == ""
        shown = as_json(capsys, *span, "--allow-incomplete", code=Exit.INCOMPLETE)
        path = tmp_path / "calls.csv"
        assert run(["export", *span, "--allow-incomplete", "--output", str(path)]) == Exit.INCOMPLETE
    assert (shown["certified"], shown["total"]["calls"]) == (False, 20)
    assert as_json(capsys, str(path), code=Exit.INCOMPLETE)["certified"] is False
    assert run(["totals", str(path)]) == Exit.INCOMPLETE
    assert "calls.csv is NOT certified" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "FILES are missing; add exported files, or a range"),
        (["calls.csv", "--last", "24h"], "files and a range exclude each other"),
        (["calls.csv", "--group", "sales"], "--group and --phone select calls of a range"),
        (["calls.csv", "--by", "day"], "--by day needs a time zone; add --tz"),
        (["calls.csv", "--by", "moon"], "--by has an unknown name; use names of group, phone"),
        (["calls.csv", "--csv", "--json"], "--csv and --json exclude each other"),
    ],
)
def test_arguments_that_contradict_are_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["totals", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_no_calls_are_explained(account: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["totals", *account, "--group", "nobody's"]) == 0
    said = capsys.readouterr()
    assert "warning: no calls: check the name; --group is matched exactly" in said.err
    assert "total" in said.out
