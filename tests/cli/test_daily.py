"""Which days, which files, and what is still to be done about each."""

import hashlib
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from aiosipcdr.cli.daily import DayFile, Wanted, decide_day, plan_days
from aiosipcdr.export import JOURNAL, MANIFEST, Manifest, beside, keys
from aiosipcdr.export.keys import ACCOUNT, PHONE, KeyDerivation, derive_key
from aiosipcdr.export.query import Query
from aiosipcdr.protocol.signing import Credentials
from aiosipcdr.report import FetchReport
from tests.made_up_exports import CREDENTIALS, DERIVATION, sealed

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_every_day_that_is_touched_is_written_whole() -> None:
    start, end = datetime(2026, 10, 24, 12, tzinfo=BERLIN), datetime(2026, 10, 26, 0, 0, 1, tzinfo=BERLIN)
    days = plan_days(start, end, BERLIN, Path("calls.csv"), NOW)
    assert [str(day.date) for day in days] == ["2026-10-24", "2026-10-25", "2026-10-26"]
    assert [str(day.path) for day in days] == [f"calls-{day.date}.csv" for day in days]
    lengths = [day.end.astimezone(UTC) - day.start.astimezone(UTC) for day in days]
    assert lengths == [timedelta(hours=24), timedelta(hours=25), timedelta(hours=24)]
    assert all(day.end == following.start for day, following in pairwise(days))


def test_a_day_that_only_ends_where_the_range_begins_is_not_touched() -> None:
    midnight = datetime(2026, 10, 25, tzinfo=BERLIN)
    days = plan_days(midnight, midnight + timedelta(days=1), BERLIN, Path("calls.csv"), NOW)
    assert [str(day.date) for day in days] == ["2026-10-25"]


def test_days_to_come_are_left_out() -> None:
    start = datetime(2026, 11, 30, tzinfo=UTC)
    for now, dates in ((NOW, ["2026-11-30"]), (NOW + timedelta(seconds=1), ["2026-11-30", "2026-12-01"])):
        days = plan_days(start, start + timedelta(days=9), UTC, Path("calls.csv"), now)
        assert [str(day.date) for day in days] == dates


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("calls", "calls-2026-10-01"),
        ("calls.csv.gz", "calls-2026-10-01.csv.gz"),
        ("{date}.parquet", "2026-10-01.parquet"),
        ("calls.of.{date}.csv", "calls.of.2026-10-01.csv"),
    ],
)
def test_the_date_stands_before_the_ending_or_where_it_is_wanted(output: str, name: str) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    (day,) = plan_days(start, start + timedelta(hours=1), UTC, Path("folder") / output, NOW)
    assert day.path == Path("folder") / name


KEY = derive_key(CREDENTIALS, DERIVATION)
WANTED = Wanted(format="ndjson", spreadsheet=False, numbers="as told", group=None, credentials=CREDENTIALS, phone=None)


def day_file(folder: Path, **changes: object) -> DayFile:
    """A day whose file and manifest are there."""
    path = folder / "calls.ndjson"
    path.write_bytes(b"{}\n")
    start = datetime(2026, 10, 1, tzinfo=UTC)
    day = DayFile(start.date(), start, start + timedelta(days=1), path)
    manifest = Manifest(
        file=path.name,
        format="ndjson",
        query=Query(start=day.start, end=day.end, adjacent=True),
        key=DERIVATION,
        account=KEY.fingerprint(ACCOUNT),
        rows=1,
        bytes=3,
        sha256="0" * 64,
        certified=True,
        quarantined=0,
        money=[],
        report=FetchReport(certified=True),
        versions={},
        created=NOW,
    )
    beside(path, MANIFEST).write_bytes(sealed(replace(manifest, **changes)))
    return day


def test_a_finished_day_is_left_alone_and_a_young_or_unproven_one_written_again(tmp_path: Path) -> None:
    assert decide_day(day_file(tmp_path), WANTED) == "skip"
    assert decide_day(day_file(tmp_path, report=FetchReport(certified=True, provisional=1)), WANTED) == "write again"
    assert decide_day(day_file(tmp_path, certified=False), WANTED) == "write again"


def test_a_day_that_an_export_was_at_work_on_is_written_again(tmp_path: Path) -> None:
    day = day_file(tmp_path)
    beside(day.path, JOURNAL).touch()
    assert decide_day(day, WANTED) == "write again"


def test_what_is_not_the_answer_to_this_question_is_for_the_export_to_refuse(tmp_path: Path) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    others: list[dict[str, object]] = [
        {"account": "1" * 16},
        {"phone": KEY.fingerprint(PHONE, "+12125550123")},
        {"format": "csv"},
        {"spreadsheet": True},
        {"numbers": "masked"},
        {"bytes": 4},
        {"query": Query(start=start, end=start + timedelta(days=1), sip_group_name="sales")},
        {"query": Query(start=start, end=start + timedelta(hours=25))},
        {"query": Query(start=start - timedelta(hours=1), end=start + timedelta(days=1))},
    ]
    for changes in others:
        assert decide_day(day_file(tmp_path, **changes), WANTED) == "write", changes
    day = day_file(tmp_path)
    beside(day.path, MANIFEST).unlink()
    assert decide_day(day, WANTED) == "write"
    day.path.unlink()
    assert decide_day(day, WANTED) == "write"


def test_a_day_of_another_secret_or_phone_is_for_the_export_to_refuse(tmp_path: Path) -> None:
    day = day_file(tmp_path)
    assert decide_day(day, WANTED._replace(credentials=Credentials("sandbox-key", "sandbox-new"))) == "write"
    assert decide_day(day, WANTED._replace(phone="+12125550123")) == "write"
    of_phone = day_file(tmp_path, phone=KEY.fingerprint(PHONE, "+12125550123"))
    assert decide_day(of_phone, WANTED._replace(phone="+12125550123")) == "skip"
    assert decide_day(of_phone, WANTED._replace(phone="+12125550124")) == "write"
    assert "2125550" not in repr(WANTED._replace(phone="+12125550123"))


def test_a_year_of_days_takes_one_derivation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derivation = KeyDerivation(salt="7" * 32, n=16, r=8, p=1)
    account = derive_key(CREDENTIALS, derivation).fingerprint(ACCOUNT)
    days = []
    for number in range(365):
        folder = tmp_path / str(number)
        folder.mkdir()
        days.append(day_file(folder, key=derivation, account=account))
    derived: list[int] = []
    scrypt = hashlib.scrypt

    def counted(*told: Any, **costs: Any) -> bytes:  # noqa: ANN401
        derived.append(costs["n"])
        return scrypt(*told, **costs)

    monkeypatch.setattr(keys, "_remembered", deque(maxlen=8))
    monkeypatch.setattr(hashlib, "scrypt", counted)
    assert {decide_day(day, WANTED) for day in days} == {"skip"}
    assert derived == [16]
