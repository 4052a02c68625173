"""`export` of a client: a complete file, or none."""
# ruff: noqa: ANN401, ASYNC110, ASYNC240, S608 - any setting; waiting for the server is polling; small local files; our own paths

import asyncio
import csv
import io
import json
import re
import stat
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from aiosipcdr import (
    AuthenticationError,
    CdrClient,
    ExportConflictError,
    FetchReport,
    IncompleteRangeError,
    JournalDamagedError,
    OutOfTimeRangeError,
    StorageError,
)
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export import FORMATS, MANIFEST, read_manifest
from aiosipcdr.sandbox import Sandbox
from tests.clients import ShiftedClock, client_of, open_with
from tests.inside import set_hook
from tests.made_up_exports import sidecar_path
from tests.selection import some

SANDBOX = {"records": 2_500}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["voice_id"] for line in path.read_text(encoding="utf-8").splitlines()]


async def test_an_export_holds_every_call_once_in_the_order_of_fetch_all(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with client_of(sandbox) as client:
        report = await client.export(sandbox.start, sandbox.end, path)
        records = await client.fetch_all(sandbox.start, sandbox.end)
    assert isinstance(report, FetchReport)
    assert report.certified
    assert report.total == report.unique == 2_500
    assert ids_in(path) == [record.voice_id for record in records]
    assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())
    assert names(tmp_path) == ["calls.ndjson", "calls.ndjson.manifest.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


async def test_an_export_can_be_filtered_and_skip(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls"
    async with client_of(sandbox) as client:
        report = await client.export(sandbox.start, sandbox.end, str(path), format="ndjson", sip_group_name="客服一组")
    expected = {row["voiceId"] for row in sandbox.rows() if row["sipGroupName"] == "客服一组"}
    assert set(ids_in(path)) == expected
    assert report.unique == len(expected)


async def test_an_export_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    async with Sandbox(records=0) as sandbox, client_of(sandbox) as client:
        report = await client.export(sandbox.start, sandbox.end, tmp_path / "none.jsonl")
    assert report.certified
    assert (tmp_path / "none.jsonl").read_bytes() == b""


async def test_a_target_that_is_no_good_costs_no_request(sandbox: Sandbox, tmp_path: Path) -> None:
    there = tmp_path / "there.ndjson"
    there.write_text("mine", encoding="utf-8")
    async with client_of(sandbox) as client:
        with pytest.raises(ExportConflictError):
            await client.export(sandbox.start, sandbox.end, there)
        with pytest.raises(StorageError):
            await client.export(sandbox.start, sandbox.end, tmp_path / "no" / "folder.ndjson")
        with pytest.raises(ValueError, match="ndjson"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.what")
        with pytest.raises(ValueError, match="inverted"):
            await client.export(sandbox.end, sandbox.start, tmp_path / "calls.ndjson")
    assert sandbox.stats.requests == 0
    assert there.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [there]


async def test_overwriting_replaces_the_file_when_the_new_one_is_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    path.write_text("old", encoding="utf-8")
    async with CdrClient(sandbox.base_url, sandbox.api_key, "sandbox-wrong") as client:
        with pytest.raises(AuthenticationError):
            await client.export(sandbox.start, sandbox.end, path, overwrite=True)
    assert path.read_text(encoding="utf-8") == "old"
    async with client_of(sandbox) as client:
        await client.export(sandbox.start, sandbox.end, path, overwrite=True)
    assert len(ids_in(path)) == 2_500
    assert names(tmp_path) == ["calls.ndjson", "calls.ndjson.manifest.json"]


async def test_an_incomplete_export_leaves_only_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with Sandbox(records=150, days=1, wrong_total=3) as sandbox, client_of(sandbox) as client:
        with pytest.raises(IncompleteRangeError) as caught:
            await client.export(sandbox.start, sandbox.end, path)
        assert not caught.value.report.certified
        assert names(tmp_path) == ["calls.ndjson.journal", "calls.ndjson.journal.rows"]
        report = await client.export(sandbox.start, sandbox.end, path, allow_incomplete=True)
        assert not report.certified
        assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())
        assert read_manifest(sidecar_path(path, MANIFEST)).certified is False
    assert names(tmp_path) == ["calls.ndjson", "calls.ndjson.manifest.json"]


async def test_the_files_of_one_range_agree_in_every_sum(sandbox: Sandbox, tmp_path: Path) -> None:
    formats = some(FORMATS, every=3)
    async with client_of(sandbox) as client:
        for name in formats:
            report = await client.export(sandbox.start, sandbox.end, tmp_path / f"calls.{name}")
            assert report.certified
        records = await client.fetch_all(sandbox.start, sandbox.end)
    expected = (
        2_500,
        sum((record.cost or Decimal() for record in records), Decimal()),
        sum(record.call_duration or 0 for record in records),
        max(record.voice_id for record in records),
        max(record.submit_time for record in records if record.submit_time),
    )
    kinds = "{voice_id: 'VARCHAR', cost: 'DECIMAL(38, 12)', call_duration: 'BIGINT', submit_time: 'TIMESTAMPTZ'}"
    for name in formats:
        path = tmp_path / f"calls.{name}"
        source = {
            "ndjson": f"read_json('{path}', format='newline_delimited', columns={kinds})",
            "csv": f"read_csv('{path}', types={kinds})",
            "parquet": f"read_parquet('{path}')",
        }[name.partition(".")[0]]
        answer = duckdb.sql(
            f"select count(*), sum(cost), sum(call_duration), max(voice_id), epoch_us(max(submit_time)) from {source}"
        )
        assert answer is not None
        (row,) = answer.fetchall()
        assert (*row[:4], datetime.fromtimestamp(row[4] / 1e6, UTC)) == expected, name


async def test_parquet_metadata_has_the_query_with_masked_numbers(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    asked: dict[str, Any] = {"phone_name": "+12125550123", "sip_group_name": "客服一组"}
    async with client_of(sandbox) as client:
        await client.export(sandbox.start, sandbox.end, path, mask_numbers="mask", allow_incomplete=True, **asked)
    reported = json.loads(pq.read_metadata(path).metadata[b"aiosipcdr.query"])
    assert reported == {
        "start": sandbox.start.isoformat(),
        "end": sandbox.end.isoformat(),
        "sip_group_name": "客服一组",
        "phone_name": "+1********23",
        "time_field": None,
        "assume_tz": None,
        "adjacent": False,
    }


@pytest.mark.parametrize("name", some(["calls.parquet", "calls.csv", "calls.ndjson.gz"], every=3))
async def test_masked_files_hold_no_number(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    numbers = {row["callee"] for row in sandbox.rows()} - {None, ""}
    assert len(numbers) > 100
    async with client_of(sandbox) as client:
        maskings: tuple[Any, ...] = ("mask", b"a key of sixteen bytes")
        for masking in maskings:
            await client.export(sandbox.start, sandbox.end, path, mask_numbers=masking, overwrite=True)
            answer = duckdb.sql(f"select distinct callee from '{path}' where callee is not null")
            assert answer is not None
            reported = {str(row[0]) for row in answer.fetchall()}
            assert reported
            assert not reported & numbers
            assert all("*" in text if masking == "mask" else len(text) == 64 for text in reported)


async def test_a_spreadsheet_gets_its_csv(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    async with client_of(sandbox) as client:
        await client.export(sandbox.start, sandbox.end, path, spreadsheet=True)
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    assert {row["voice_id"] for row in rows} == {f"'{voice_id}" for voice_id in sandbox.voice_ids()}


async def test_an_unwritable_target_sends_no_request(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    async with client_of(sandbox) as client:
        with pytest.raises(ImportError, match=r"aiosipcdr\[arrow\]"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.parquet")
        with pytest.raises(ValueError, match="needs CSV"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.ndjson", spreadsheet=True)
        with pytest.raises(ValueError, match="16 bytes"):
            await client.export(sandbox.start, sandbox.end, tmp_path / "calls.ndjson", mask_numbers=b"short")
    assert sandbox.stats.requests == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_export_leaves_no_file_and_goes_on_later(sandbox: Sandbox, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.ndjson", tmp_path / "calls.ndjson"
    before = asyncio.all_tasks()
    async with client_of(sandbox, concurrency=1) as client:
        for requests in (0, 1, 5, 13):
            sandbox.reset_stats()
            task = asyncio.create_task(client.export(sandbox.start, sandbox.end, path))
            while sandbox.stats.requests < requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not path.exists()
            assert asyncio.all_tasks() == before
        async with asyncio.timeout(30):
            assert (await client.export(sandbox.start, sandbox.end, path)).certified
        await client.export(sandbox.start, sandbox.end, whole)
    assert path.read_bytes() == whole.read_bytes()


async def cut_short(
    client: CdrClient, sandbox: Sandbox, path: Path, windows: int, ends: list[datetime] | None = None, **settings: Any
) -> None:
    """Export until so many windows are in the journal, then lose the vendor; write down where they `ends`."""
    set_hook(client, Ending(windows, [] if ends is None else ends))
    with pytest.raises(InterruptedError):
        await client.export(sandbox.start, sandbox.end, path, **settings)
    set_hook(client, ignore)


def ignore(_: Event) -> None:
    pass


class Ending:
    """A hook that fails once so many windows were handed over."""

    def __init__(self, windows: int, ends: list[datetime]) -> None:
        self.windows = windows
        self.ends = ends

    def __call__(self, event: Event) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE:
            assert event.window is not None
            self.ends.append(event.window.end)
            self.windows -= 1
            if self.windows < 0:
                raise InterruptedError


@pytest.mark.parametrize("name", ["calls.ndjson", "calls.parquet", "calls.csv.gz"])
async def test_a_resumed_export_requests_only_the_rest(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    async with client_of(sandbox) as client:
        expected = await client.export(sandbox.start, sandbox.end, whole)
        needed = sandbox.stats.requests
        await cut_short(client, sandbox, path, 1)
        sandbox.reset_stats()
        report = await client.export(sandbox.start, sandbox.end, path)
    assert 0 < sandbox.stats.requests < needed
    assert report.requests > sandbox.stats.requests, "what the first run took counts, too"
    assert path.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == sorted([name, f"{name}.manifest.json", f"whole-{name}", f"whole-{name}.manifest.json"])
    for fact in ("total", "unique", "windows", "certified", "window_reports"):
        assert getattr(report, fact) == getattr(expected, fact), fact
    reported, wanted = (read_manifest(sidecar_path(file, MANIFEST)) for file in (path, whole))
    assert (reported.sha256, reported.rows, reported.money) == (wanted.sha256, wanted.rows, wanted.money)


async def test_a_resumed_export_reports_at_once_how_many_calls_it_has(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    events: list[Event] = []
    async with client_of(sandbox) as client:
        await cut_short(client, sandbox, path, 1)
    async with client_of(sandbox, hook=events.append) as client:
        report = await client.export(sandbox.start, sandbox.end, path)
    (before,) = (event.records for event in events if event.kind is EventKind.RUN_STARTED)
    read = sum(event.records or 0 for event in events if event.kind is EventKind.WINDOW_COMPLETE)
    assert before
    assert before + read == report.unique == 2_500


async def test_another_query_does_not_touch_an_unfinished_export(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with client_of(sandbox) as client:
        await cut_short(client, sandbox, path, 1)
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        others: list[tuple[dict[str, Any], str]] = [
            ({"format": "csv"}, "format was ndjson, now csv"),
            ({"sip_group_name": "客服一组"}, "sip_group_name was None, now 客服一组"),
            ({"phone_name": "+12125550123"}, "phone_name differs"),
            ({"mask_numbers": "mask"}, "numbers was unchanged, now masked"),
            ({"time_field": "submit_time"}, "time_field was None, now submit_time"),
            ({"adjacent": True}, "adjacent was no, now yes"),
        ]
        for settings, reported in others:
            with pytest.raises(ExportConflictError, match=re.escape(reported)):
                await client.export(sandbox.start, sandbox.end, path, **settings)
        with pytest.raises(ExportConflictError, match=r"end was .*, now "):
            await client.export(sandbox.start, sandbox.end - timedelta(days=1), path)
    async with CdrClient(sandbox.base_url, "sandbox-another", sandbox.api_secret) as client:
        with pytest.raises(ExportConflictError, match="account differs"):
            await client.export(sandbox.start, sandbox.end, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


async def test_a_second_export_to_one_path_says_so_and_leaves(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"

    async def export_too() -> None:
        async with client_of(sandbox) as other:
            await other.export(sandbox.start, sandbox.end, path)

    with ThreadPoolExecutor() as elsewhere:

        def intrude(event: Event) -> None:
            # Waited for in the first one's loop: it cannot end meanwhile.
            if event.kind is EventKind.RUN_STARTED:
                with pytest.raises(ExportConflictError, match=r"another export of calls\.ndjson is running"):
                    elsewhere.submit(asyncio.run, export_too()).result()
                intruded.append(event)

        intruded: list[Event] = []
        async with client_of(sandbox, hook=intrude) as client:
            assert (await client.export(sandbox.start, sandbox.end, path)).certified
    assert len(intruded) == 1
    assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())


async def test_young_windows_are_counted_again_and_read_again_only_if_they_grew(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    with Sandbox(records=2_500) as sandbox:
        async with client_of(sandbox, lateness=timedelta(days=36_500), count_delay=timedelta(0)) as client:
            await cut_short(client, sandbox, path, 2)
            sandbox.reset_stats()
            await cut_short(client, sandbox, path, 0)  # the windows before are provisional, and as they were
            calm = sandbox.stats.requests
            (added,) = sandbox.insert(at=sandbox.start + timedelta(hours=1))
            report = await client.export(sandbox.start, sandbox.end, path)
        assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())
    assert calm >= 2
    assert report.certified
    assert report.provisional == report.windows
    assert ids_in(path).count(added) == 1


async def test_a_resumed_run_judges_ages_by_the_vendors_clock(tmp_path: Path) -> None:
    """With this machine 8 h ahead, young windows stay provisional; those that have settled meanwhile are final."""
    path = tmp_path / "calls.ndjson"
    with Sandbox(records=2_500, tolerance=36_000.0) as sandbox:
        for margin, is_final in ((timedelta(hours=4), False), (timedelta(hours=-4), True)):
            ends: list[datetime] = []
            async with client_of(sandbox, lateness=timedelta(days=365), count_delay=timedelta(0)) as client:
                await cut_short(client, sandbox, path, 1, ends=ends)
            age = datetime.now(UTC) - ends[0]
            judge = client_of(sandbox, lateness=age + margin, count_delay=timedelta(0))
            async with open_with(judge, wall_clock=ShiftedClock(8 * 3_600)) as client:
                report = await client.export(sandbox.start, sandbox.end, path)
            assert report.certified
            assert not report.local_clock
            assert [reported.provisional for reported in report.window_reports[:2]] == [not is_final, True]
            path.unlink()


async def test_parts_that_hold_too_little_are_read_again_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    async with Sandbox(records=2_500) as sandbox, client_of(sandbox, concurrency=1) as client:
        windows = 0

        def swap(event: Event) -> None:
            # Once the first part was read a call is added to it, and one vanishes from the last.
            nonlocal windows
            windows += event.kind is EventKind.WINDOW_COMPLETE
            if windows == 1:
                windows += 1
                sandbox.insert(at=sandbox.start + timedelta(hours=1))
                sandbox.delete(max(sandbox.voice_ids(sandbox.end - timedelta(days=2), sandbox.end)))

        set_hook(client, swap)
        with pytest.raises(IncompleteRangeError, match=r"2,499 distinct calls .* 2,500"):
            await client.export(sandbox.start, sandbox.end, path)
        assert not path.exists()
        assert (await client.export(sandbox.start, sandbox.end, path)).certified
        assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())


async def test_unknown_fields_have_a_column_of_their_own(tmp_path: Path) -> None:
    async with Sandbox(records=30, extra_record_keys=True) as sandbox, client_of(sandbox) as client:
        for name in ("calls.ndjson", "calls.csv", "calls.parquet"):
            await client.export(sandbox.start, sandbox.end, tmp_path / name)
            answer = duckdb.sql(f"select extra from '{tmp_path / name}'")
            assert answer is not None
            reported = [json.loads(row[0]) for row in answer.fetchall()]
            assert reported
            known = {"voiceId", "callee"}
            assert all(one and not known & one.keys() for one in reported), name
        await client.export(sandbox.start, sandbox.end, tmp_path / "masked.ndjson", mask_numbers="mask")
    lines = (tmp_path / "masked.ndjson").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["extra"] for line in lines} == {None}


async def test_a_range_that_is_not_kept_does_not_block_another(tmp_path: Path) -> None:
    path, kinds = tmp_path / "calls.csv", set()
    async with (
        Sandbox(records=2_500, retention=timedelta(days=50)) as sandbox,
        client_of(sandbox, hook=lambda event: kinds.add(event.kind)) as client,
    ):
        # Of its two parts the younger is counted, and to be cut, before it is known from when on there is anything.
        with pytest.raises(OutOfTimeRangeError, match="begin later, or skip what is gone"):
            await client.export(sandbox.start - timedelta(days=31), sandbox.end, path)
        assert EventKind.WINDOW_COMPLETE not in kinds
        assert list(tmp_path.iterdir()) == []
        assert (await client.export(sandbox.start, sandbox.end, path)).certified


@pytest.mark.usefixtures("calls_until_today")
async def test_young_windows_that_the_vendor_keeps_no_more_stay_as_they_were_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    with Sandbox(records=2_500, retention=timedelta(days=60)) as sandbox:
        async with client_of(sandbox, lateness=timedelta(days=36_500), count_delay=timedelta(0)) as client:
            await cut_short(client, sandbox, path, 2, on_out_of_range="skip")
            sandbox.change(retention=datetime.now(UTC) - sandbox.start - timedelta(days=2))
            with pytest.raises(OutOfTimeRangeError):
                await client.export(sandbox.start, sandbox.end, path)
            report = await client.export(sandbox.start, sandbox.end, path, on_out_of_range="skip")
        assert report.unique == 2_500
        assert Counter(ids_in(path)) == Counter(sandbox.voice_ids())


@pytest.mark.parametrize("name", some(["calls.csv", "calls.ndjson.gz", "calls.parquet"], every=3))
async def test_a_digit_that_changes_in_the_rows_meanwhile_never_reaches_a_file(tmp_path: Path, name: str) -> None:
    path, rows = tmp_path / name, tmp_path / f"{name}.journal.rows"
    changed: list[int] = []

    def hook(event: Event) -> None:
        # When a window is taken, the one before it is written, and no thread is at work on the file.
        is_between = event.kind is EventKind.WINDOW_COMPLETE and not changed
        if is_between and rows.exists() and rows.stat().st_size > 100_000:
            data = rows.read_bytes()
            changed.append(next(place for place in range(50_000, len(data)) if chr(data[place]).isdigit()))
            with rows.open("r+b") as file:
                file.seek(changed[0])
                file.write(b"3" if data[changed[0]] != ord("3") else b"4")

    async with Sandbox(records=5_000) as sandbox, client_of(sandbox, hook=hook, concurrency=1) as client:
        with pytest.raises(JournalDamagedError, match=r"rows .* were changed or damaged before byte"):
            await client.export(sandbox.start, sandbox.end, path)
        assert changed
        assert names(tmp_path) == [f"{name}.journal", f"{name}.journal.rows"]
        for file in tmp_path.iterdir():
            file.unlink()
        assert (await client.export(sandbox.start, sandbox.end, path)).certified


@pytest.mark.usefixtures("costly_keys")
async def test_a_manifest_names_the_costs_of_its_key_and_a_resumed_export_keeps_its_salt(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with client_of(sandbox) as client:
        for name in ("one.csv", "two.csv"):
            await client.export(sandbox.start, sandbox.end, tmp_path / name, phone_name="12125550199")
    one, two = (read_manifest(sidecar_path(tmp_path / name, MANIFEST)) for name in ("one.csv", "two.csv"))
    assert one.key is not None
    assert (one.key.n, one.key.r, one.key.p) == (2**15, 8, 1)
    assert one.key == two.key
    assert (one.account, one.phone) == (two.account, two.phone)
