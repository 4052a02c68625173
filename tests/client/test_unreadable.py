"""Unreadable records and fields, from the wire to the caller, the files and the report."""
# ruff: noqa: ANN401, ASYNC240 - the constructor's own settings; small local files

import csv
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from aiosipcdr import (
    CallDetailRecord,
    CdrClient,
    FetchReport,
    IncompleteRangeError,
    Page,
    ProtocolError,
    SchemaMismatchError,
)
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import MANIFEST, read_manifest, verify_file
from aiosipcdr.model.records import ExtraFields
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.made_up_exports import sidecar_path
from tests.selection import pairs, some
from tests.wire_forms import FAULTY, FORMS, LOCAL_TIMES, TEN, check_form, record_of

START, END = TEN - timedelta(hours=1), TEN + timedelta(hours=1)


def plain(number: int, **fields: object) -> bytes:
    at = (TEN + timedelta(seconds=number)).isoformat()
    known = {"voiceId": str(10**6 + number), "submitTime": at, "answerTime": at, "cost": "1.5", "callDuration": 5}
    return json.dumps(known | fields).encode()


@contextmanager
def sandbox_of(*records: bytes) -> Iterator[Sandbox]:
    with Sandbox(records=0, months_back=None) as sandbox:
        for record in records:
            # Not all of them are JSON, and what the sandbox cannot read it cannot place.
            found = re.search(rb'"submitTime": ?"([^"]*)"', record)
            sandbox.add_rows([record], at=TEN if found is None else datetime.fromisoformat(found[1].decode()))
        yield sandbox


# --- every form


PLAIN = [plain(number) for number in range(2 * len(FORMS))]
FAULTS = [field for field, _, value in FORMS if value is FAULTY]
COUNTED = {field: FAULTS.count(field) for field in FAULTS}


@pytest.fixture(scope="module")
def forms() -> Iterator[Sandbox]:
    """A sandbox with a call for each form, among twice as many plain ones, in several windows of their own pages."""
    records = [record_of(number, field, raw) for number, (field, raw, _) in enumerate(FORMS)]
    with sandbox_of(*records, *PLAIN) as sandbox:
        yield sandbox


def check_records(records: Sequence[CallDetailRecord], *, of_file: bool = False) -> None:
    by_id = {record.voice_id: record for record in records}
    assert len(by_id) == len(records) == len(FORMS) + len(PLAIN)
    for number, (field, raw, value) in enumerate(FORMS):
        check_form(by_id[str(number)], field, raw, value, of_file=of_file)


async def test_every_form_is_read_by_fetch_all(forms: Sandbox) -> None:
    async with client_of(forms) as client:
        records = await client.fetch_all(START, END)
    check_records(records)
    report = records.report
    assert report.certified
    assert report.faulty_fields == COUNTED
    assert report.quarantined == 0
    assert "unreadable values of" in str(report)


def revive(row: dict[str, Any]) -> CallDetailRecord:
    for name, kind in (("cost", Decimal), ("answer_time", datetime.fromisoformat), ("call_duration", int)):
        if isinstance(row[name], str):
            row[name] = kind(row[name]) if row[name] else None
    return CallDetailRecord(
        voice_id=row["voice_id"],
        call_duration=row["call_duration"],
        termination_code=row["termination_code"] or None,
        cost=row["cost"],
        answer_time=row["answer_time"],
        extra=ExtraFields.from_json(row["extra"] or None),
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


class _LeftError(Exception):
    pass


@pytest.mark.parametrize(("ending", "is_resumed"), pairs(["ndjson", "csv", "parquet"], [True, False]))
async def test_every_form_is_in_every_file_also_after_a_resume(
    forms: Sandbox, tmp_path: Path, ending: str, *, is_resumed: bool
) -> None:
    path = tmp_path / f"calls.{ending}"
    if is_resumed:
        seen = 0

        def leave(event: Event, /) -> None:
            nonlocal seen
            seen += event.kind is EventKind.WINDOW_COMPLETE
            if seen == 2:
                raise _LeftError

        async with client_of(forms, hook=leave) as client:
            with pytest.raises(_LeftError):
                await client.export(START - timedelta(days=31), END + timedelta(seconds=1), path)
        assert seen == 2
    async with client_of(forms) as client:
        report = await client.export(START - timedelta(days=31), END + timedelta(seconds=1), path)
    assert report.certified
    assert report.faulty_fields == COUNTED
    records = [revive(row) for row in read_rows(path)]
    manifest = read_manifest(sidecar_path(path, MANIFEST))
    assert verify_file(path, manifest) == []
    if ending == "parquet":
        # What its columns cannot hold is counted beside what could not be read.
        unfit = {
            ("cost", '"0.30000000000000004"'): {"cost": '"0.30000000000000004"'},
            ("cost", "0.30000000000000004"): {"cost": '"0.30000000000000004"'},
            ("answer_time", '"0001-01-01T00:00+08:05:43[Asia/Shanghai]"'): {
                "answerTime": '"0001-01-01T00:00:17+08:06"'
            },
        }
        assert manifest.faulty_fields == {
            name: number + {"cost": 2, "answer_time": 1}.get(name, 0) for name, number in COUNTED.items()
        }
        by_id = {record.voice_id: record for record in records}
        for number, (field, raw, value) in enumerate(FORMS):
            record = by_id[str(number)]
            if (field, raw) in unfit:
                assert (getattr(record, field), record.extra) == (None, unfit[field, raw])
            elif isinstance(value, Decimal):
                assert record.cost == value
            else:
                check_form(record, field, raw, value)
        return
    assert manifest.faulty_fields == COUNTED
    check_records(records, of_file=True)


async def test_every_form_is_on_the_page_and_in_arrow(forms: Sandbox) -> None:
    import pyarrow as pa

    async with client_of(forms) as client:
        page = await client.fetch_page(START, END, (len(FORMS) + len(PLAIN)) // 100, 100)
        records = await client.fetch_all(START, END)
    assert isinstance(page, Page)
    assert any(record.extra for record in page.records)
    rows = pa.table(records.arrow).to_pylist()
    assert [row["extra"] for row in rows if row["cost"] is not None] == [
        record.extra.to_json() for record in records if record.cost is not None and "000000004" not in str(record.cost)
    ]


@pytest.mark.parametrize("zone", sorted({zone for zone, *_ in LOCAL_TIMES}))
@pytest.mark.parametrize("as_name", [True, False])
async def test_local_times_are_read_where_a_zone_is_assumed(
    zone: str, monkeypatch: pytest.MonkeyPatch, *, as_name: bool
) -> None:
    reported = [(raw, value) for other, raw, value in LOCAL_TIMES if other == zone]
    records = [record_of(number, "answer_time", raw) for number, (raw, _) in enumerate(reported)]
    with sandbox_of(*records, *PLAIN[:30]) as sandbox:
        async with client_of(sandbox, assume_tz=zone if as_name else ZoneInfo(zone)) as client:
            calls = await client.fetch_all(START, END)
        for name in ("base_url", "api_key", "api_secret"):
            monkeypatch.setenv(f"AIOSIPCDR_{name.upper()}", getattr(sandbox, name))
        monkeypatch.setenv("AIOSIPCDR_ASSUME_TZ", zone)
        async with CdrClient.from_env() as client:
            again = await client.fetch_all(START, END)
    assert list(again) == list(calls)
    by_id = {record.voice_id: record for record in calls}
    for number, (raw, value) in enumerate(reported):
        check_form(by_id[str(number)], "answer_time", raw, value)


class OfPytz(tzinfo):
    """A zone as pytz makes it: without `localize`, it has the local mean time of before 1900."""

    zone = "Asia/Shanghai"

    def utcoffset(self, _: datetime | None, /) -> timedelta:
        return timedelta(hours=8, minutes=6)

    def dst(self, _: datetime | None, /) -> timedelta:
        return timedelta()

    def tzname(self, _: datetime | None, /) -> str:
        return "LMT"

    def localize(self, _: datetime, /) -> datetime:
        raise NotImplementedError


async def test_a_zone_of_pytz_has_the_offset_of_its_time() -> None:
    with sandbox_of(record_of(1, "answer_time", '"2026-11-26 10:00:00"')) as sandbox:
        async with client_of(sandbox, assume_tz=OfPytz()) as client:
            (record,) = await client.fetch_all(START, END)
    assert record.answer_time == TEN


@pytest.mark.parametrize("zone", ["Nowhere/Land", "", 8, b"UTC", "../etc/passwd"])
def test_a_zone_that_does_not_exist_is_refused(zone: Any) -> None:
    with pytest.raises(ValueError, match="assume_tz must be a tzinfo or the name of a time zone"):
        CdrClient("https://cdr.example.com/v3/voice", "key", "secret", assume_tz=zone)


# --- words


NO_ID = [b'{"callee":"447700900123","n":%d}' % number for number in range(9)]


async def test_three_of_three_calls_without_an_id_are_no_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiosipcdr")
    with sandbox_of(*NO_ID[:3]) as sandbox:
        async with client_of(sandbox) as client:
            records = await client.fetch_all(START, END)
            report = await client.export(START, END, tmp_path / "calls.ndjson")
    assert list(records) == []
    assert len(records.quarantined) == 3
    for one in (records.report, report):
        assert (one.certified, one.is_complete, one.quarantined, one.unique, one.total) == (False, True, 3, 3, 3)
        assert all(window.certified for window in one.window_reports)
        assert str(one).startswith("0 of 3 calls, NOT certified: ")
        assert "3 records quarantined" in str(one)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert all("3 records quarantined" in message for message in caplog.messages)
    assert "447700900123" not in caplog.text
    manifest = read_manifest(tmp_path / "calls.ndjson.manifest.json")
    assert (manifest.certified, manifest.quarantined, manifest.rows) == (False, 3, 0)
    lines = (tmp_path / "calls.ndjson.quarantine").read_bytes().splitlines()
    assert [json.loads(json.loads(line)["raw"])["n"] for line in lines] == [2, 1, 0]


async def test_records_of_the_same_bytes_without_an_id_are_each_counted() -> None:
    with sandbox_of() as sandbox:
        sandbox.add_rows([b"null", b"null", b"{}", b"{}"], at=TEN)
        async with client_of(sandbox) as client:
            records = await client.fetch_all(START, END)
    assert (records.report.total, records.report.quarantined, records.report.is_complete) == (4, 4, True)


async def test_one_record_without_an_id_among_many_leaves_the_others_and_raises_nothing() -> None:
    with sandbox_of(*NO_ID[:2], *PLAIN[:150]) as sandbox:
        async with client_of(sandbox) as client:
            records = await client.fetch_all(START, END)
            async with client.stream(START, END) as stream:
                batches = [batch async for batch in stream.batches()]
    assert len(records) == 150
    assert (records.report.certified, records.report.quarantined, records.report.is_complete) == (False, 2, True)
    assert any(not batch.report.certified for batch in batches)


@pytest.mark.parametrize(("broken", "mismatch"), [(4, False), (5, True)])
async def test_most_records_without_an_id_are_another_format(broken: int, tmp_path: Path, *, mismatch: bool) -> None:
    with sandbox_of(*NO_ID[:broken], *PLAIN[:3]) as sandbox:
        async with client_of(sandbox) as client:
            for fetch in (client.fetch_all(START, END), client.export(START, END, tmp_path / "calls.csv")):
                if mismatch:
                    with pytest.raises(
                        SchemaMismatchError, match=f"{broken} of 8 records have no readable voiceId"
                    ) as caught:
                        await fetch
                    assert caught.value.window is not None
                else:
                    await fetch
            with_file = {"calls.csv", "calls.csv.manifest.json", "calls.csv.quarantine"}
            assert {path.name for path in tmp_path.iterdir()} == (set() if mismatch else with_file)


async def test_a_burst_of_records_without_an_id_is_another_format_and_not_incomplete() -> None:
    # More than a page within two seconds: they are indistinguishable, which is no fault of the vendor's count.
    with sandbox_of() as sandbox:
        sandbox.add_rows([b'{"n":%d}' % number for number in range(250)], at=TEN)
        async with client_of(sandbox) as client:
            with pytest.raises(SchemaMismatchError, match="no readable voiceId"):
                await client.fetch_all(START, END)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [("cost", "1,50", "cost"), ("answerTime", "2026-11-26 10:00:00", "answer_time"), ("costEur", "1,50", "cost")],
)
@pytest.mark.parametrize(
    ("faulty", "readable", "mismatch"), [(5, 4, True), (5, 5, False), (4, 0, False), (300, 200, True)]
)
async def test_most_values_of_a_column_of_time_or_money_unreadable_are_another_format(
    field: str, value: str, name: str, faulty: int, readable: int, *, mismatch: bool
) -> None:
    broken = [plain(number, **{"cost": None, "answerTime": None, field: value}) for number in range(faulty)]
    fine = [plain(faulty + number) for number in range(readable)]
    empty = [plain(1_000 + number, cost=None, answerTime="") for number in range(7)]
    with sandbox_of(*broken, *fine, *empty) as sandbox:
        async with client_of(sandbox) as client:
            if not mismatch:
                records = await client.fetch_all(START, END)
                assert records.report.certified
                assert records.report.faulty_fields == {name: faulty}
                return
            with pytest.raises(SchemaMismatchError, match=rf"{name} \({faulty} of {faulty + readable}\)") as caught:
                await client.fetch_all(START, END)
            assert isinstance(caught.value, ProtocolError)
            assert "assume_tz" in str(caught.value)


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_calls_without_a_value_are_none_of_those_that_can_be_read(tmp_path: Path, *, is_resumed: bool) -> None:
    # Twelve hundred unanswered calls, then the first six answered ones: in another format.
    silent = [plain(number, answerTime=None) for number in range(1_200)]
    later = END + timedelta(days=33)
    broken = [plain(2_000 + number, submitTime=later.isoformat(), answerTime="?") for number in range(6)]
    seen = 0

    def leave(event: Event, /) -> None:
        nonlocal seen
        seen += event.kind is EventKind.WINDOW_COMPLETE
        if is_resumed and seen == 1:
            raise _LeftError

    with sandbox_of(*silent, *broken) as sandbox:
        async with client_of(sandbox, hook=leave) as client:
            with pytest.raises(_LeftError if is_resumed else SchemaMismatchError):
                await client.export(START, later + timedelta(days=40), tmp_path / "calls.csv")
        async with client_of(sandbox) as client:
            with pytest.raises(SchemaMismatchError, match=r"answer_time \(6 of 6\)"):
                await client.export(START, later + timedelta(days=40), tmp_path / "calls.csv")


async def test_texts_and_durations_may_be_unreadable_throughout() -> None:
    records = [plain(number, callDuration="?", callee=True) for number in range(20)]
    with sandbox_of(*records) as sandbox:
        async with client_of(sandbox) as client:
            calls = await client.fetch_all(START, END)
    assert calls.report.certified
    assert calls.report.faulty_fields == {"callee": 20, "call_duration": 20}


async def test_records_that_nothing_distinguishes_are_named_where_their_number_is_not_right() -> None:
    with sandbox_of(*PLAIN[:150]) as sandbox:
        for second in (0, 60, 120):
            sandbox.add_rows([b"{}"], at=TEN + timedelta(seconds=second))
        async with client_of(sandbox) as client:
            with pytest.raises(IncompleteRangeError, match="have no readable voiceId and cannot be distinguished"):
                await client.fetch_all(START, END)


async def test_a_page_keeps_its_calls_beside_a_record_without_an_id() -> None:
    with sandbox_of(NO_ID[0], plain(0, rate="?"), *PLAIN[1:9]) as sandbox:
        async with client_of(sandbox) as client:
            page = await client.fetch_page(START, END)
    assert [record.voice_id for record in page.records if record.extra] == ["1000000"]
    assert (len(page.records), page.total) == (9, 10)
    (broken,) = page.quarantined
    assert broken.raw == NO_ID[0]
    assert broken.window is not None
    assert page.to_dict()["quarantined"] == 1


@pytest.mark.parametrize(
    ("odd", "words"), [(NO_ID[0], "1 record has no readable id"), (plain(0, rate="?"), r"rate \(1\)")]
)
async def test_strict_ends_at_the_first_of_either_and_publishes_nothing(odd: bytes, words: str, tmp_path: Path) -> None:
    with sandbox_of(odd, *PLAIN[1:20]) as sandbox:
        async with client_of(sandbox, strict=True) as client:
            for fetch in (
                client.fetch_all(START, END),
                client.export(START, END, tmp_path / "calls.csv"),
                client.fetch_page(START, END),
            ):
                with pytest.raises(ProtocolError, match=words) as caught:
                    await fetch
                assert not isinstance(caught.value, SchemaMismatchError | IncompleteRangeError)
                assert "447700900123" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("odd", [NO_ID[0], plain(0, rate="?")])
async def test_a_strict_export_publishes_nothing_that_an_earlier_run_let_pass(odd: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    seen = 0

    def leave(event: Event, /) -> None:
        nonlocal seen
        seen += event.kind is EventKind.WINDOW_COMPLETE
        if seen == 2:
            raise _LeftError

    with sandbox_of(odd, *PLAIN[1:20]) as sandbox:
        async with client_of(sandbox, hook=leave) as client:
            with pytest.raises(_LeftError):
                await client.export(START, END + timedelta(days=40), path)
        async with client_of(sandbox, strict=True) as client:
            with pytest.raises(ProtocolError, match="strict=True"):
                await client.export(START, END + timedelta(days=40), path)
        assert not path.exists()
        async with client_of(sandbox) as client:
            report = await client.export(START, END + timedelta(days=40), path)
    assert (report.unique, report.quarantined + sum(report.faulty_fields.values())) == (20, 1)


@pytest.mark.parametrize("odd", [NO_ID[0], plain(0, rate="?")])
async def test_a_strict_export_does_not_take_a_file_in_which_something_could_not_be_read(
    odd: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "calls.csv"
    with sandbox_of(odd, *PLAIN[1:20]) as sandbox:
        async with client_of(sandbox) as client:
            await client.export(START, END, path)
        before = {place.name: place.read_bytes() for place in tmp_path.iterdir()}
        async with client_of(sandbox, strict=True) as client:
            with pytest.raises(ProtocolError, match="strict=True"):
                await client.export(START, END, path)
        assert {place.name: place.read_bytes() for place in tmp_path.iterdir()} == before
        async with client_of(sandbox) as client:
            report = await client.export(START, END, path)
    assert report.unique == 20


async def test_each_batch_of_a_stream_reports_its_unreadable_records() -> None:
    records = [plain(0, rate="?", new=1), plain(1, cost="?"), NO_ID[0], *PLAIN[2:9]]
    with sandbox_of(*records) as sandbox:
        async with client_of(sandbox) as client, client.stream(START, END) as stream:
            (batch,) = [batch async for batch in stream.batches()]
    assert (batch.report.faulty_fields, batch.report.unknown_fields) == ({"rate": 1, "cost": 1}, {"new": 1})
    assert (batch.report.certified, batch.report.quarantined, len(batch.quarantined)) == (False, 1, 1)
    assert "unreadable values of" in str(batch.report)


@pytest.mark.parametrize(("wrong_total", "days"), some(pairs([1, -1, 7], [40, 0]), every=2))
async def test_an_incomplete_range_counts_all_that_could_not_be_read(wrong_total: int, days: int) -> None:
    records = [plain(number, **({"rate": "?"} if number % 3 == 0 else {})) for number in range(130)]
    with sandbox_of(*records, *NO_ID[:2]) as sandbox:
        sandbox.change(wrong_total=wrong_total)
        async with client_of(sandbox) as client:
            with pytest.raises(IncompleteRangeError) as caught:
                await client.fetch_all(START, END + timedelta(days=days))
    left, report = caught.value.records, caught.value.report
    faulty = sum("rate" in record.extra for record in left)
    assert faulty > 0
    assert report.faulty_fields == {"rate": faulty}
    assert report.quarantined == len(left.quarantined)
    assert report.unique == len(left) + len(left.quarantined)


async def test_two_legs_that_differ_in_a_value_that_cannot_be_read_are_two() -> None:
    legs = [plain(0, rate="1,50"), plain(0, rate="2,50")]
    with sandbox_of(*legs, *PLAIN[1:9]) as sandbox:
        async with client_of(sandbox) as client:
            records = await client.fetch_all(START, END)
    assert records.report.certified
    assert len(records) == records.report.total == 10
    assert {record.extra["rate"] for record in records if record.rate is None and record.extra} == {'"1,50"', '"2,50"'}


async def test_an_export_is_resumed_with_its_own_zone_alone(tmp_path: Path) -> None:
    from aiosipcdr import ExportConflictError

    path = tmp_path / "calls.csv"

    seen = 0

    def leave(event: Event, /) -> None:
        nonlocal seen
        seen += event.kind is EventKind.WINDOW_COMPLETE
        if seen == 2:
            raise _LeftError

    with sandbox_of(*PLAIN[:9]) as sandbox:
        async with client_of(sandbox, hook=leave, assume_tz="Asia/Shanghai") as client:
            with pytest.raises(_LeftError):
                await client.export(START - timedelta(days=31), END, path)
        async with client_of(sandbox) as client:
            with pytest.raises(ExportConflictError, match="assume_tz was Asia/Shanghai, now None"):
                await client.export(START - timedelta(days=31), END, path)
        async with client_of(sandbox, assume_tz=ZoneInfo("Asia/Shanghai")) as client:
            report: FetchReport = await client.export(START - timedelta(days=31), END, path)
    assert report.certified
