"""What a run reads, keeps and gives up: a vendor in memory that cannot be proven, deletes calls, or loses them all."""

from datetime import timedelta
from typing import Any, cast

import pytest

from aiosipcdr.model.errors import IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.sync import SyncReport
from aiosipcdr.sync import spans, synchronizer
from aiosipcdr.sync.options import SyncOptions
from aiosipcdr.sync.reader import SpanReader
from aiosipcdr.sync.synchronizer import Synchronizer
from tests.sync.vendors import ORIGIN, OWNER, KilledError, Listed, ListVendor, MemoryTable, at, record

DAY = 86_400


@pytest.fixture
def vendor() -> ListVendor:
    return ListVendor(start_inclusive=True, end_inclusive=True)


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture(autouse=True)
def _short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "SPAN_ROWS", 20)


async def no_pause(_: float) -> None:
    return


async def run_sync(vendor: ListVendor, table: MemoryTable, **options: Any) -> SyncReport:  # noqa: ANN401 - those of a sync
    settings: dict[str, Any] = {"since": ORIGIN, "lookback": timedelta(days=365)} | options
    run = Synchronizer(
        cast("SpanReader", vendor),
        table,
        SyncOptions(**settings),
        find_owner=lambda stored: stored or OWNER,
        table="memory",
        pause=no_pause,
    )
    return await run.run()


def list_calls(vendor: ListVendor, first: int, last: int, step: int) -> None:
    vendor.rows += [Listed(second, record(str(second), second)) for second in range(first, last, step)]


def changes(report: SyncReport) -> tuple[int, int, int]:
    return report.added, report.changed, report.vanished


async def test_rows_of_a_span_that_grows_do_not_vanish_where_new_time_cannot_be_proven(
    vendor: ListVendor, table: MemoryTable
) -> None:
    vendor.halves_plans = False
    vendor.now = 10_000
    list_calls(vendor, 1, 10_000, 1_000)
    await run_sync(vendor, table)
    assert len(table.state.spans) == 1
    # Many calls in new time, and late ones before: one span for all of it would be cut up.
    list_calls(vendor, 10_001, 10_400, 2)
    list_calls(vendor, 500, 10_000, 1_000)
    vendor.now = 11_000
    vendor.is_proven = lambda span: span.end < at(5_000) or span.end > at(10_000)
    report = await run_sync(vendor, table)
    assert report.vanished == 0
    assert report.unproven
    assert not any(row.has_vanished for row in table.rows.values())
    vendor.is_proven = lambda _: True
    report = await run_sync(vendor, table)
    assert (report.changed, report.vanished, report.unproven) == (0, 0, 0)
    assert table.live() == vendor.values()


async def test_a_run_that_is_killed_before_all_of_its_plan_was_read_leaves_no_hole(
    vendor: ListVendor, table: MemoryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "CHUNK_ROWS", 20)
    list_calls(vendor, 1, 10_000, 100)
    vendor.now = 10_000
    await run_sync(vendor, table, since=at(9_000))
    # Earlier time is read oldest first: what lies between the first spans and the table is missing.
    table.kill_after = 1
    with pytest.raises(KilledError):
        await run_sync(vendor, table)
    table.close()
    assert table.live() != vendor.values()
    report = await run_sync(vendor, table)
    assert table.live() == vendor.values()
    assert report.certified_until == at(10_000)


async def test_time_that_was_planned_and_deleted_is_reported_until_a_later_since_leaves_it_out(
    vendor: ListVendor, table: MemoryTable
) -> None:
    list_calls(vendor, 1, 4 * DAY, 1_000)
    vendor.now = 4 * DAY
    vendor.is_proven = lambda span: span.end <= at(DAY) or span.start >= at(2 * DAY)
    report = await run_sync(vendor, table)
    assert report.unproven > 0
    unproven = [span for span in table.state.spans if span.count is None]
    vendor.is_proven = lambda _: True
    vendor.deleted_before = unproven[-1].end - timedelta(seconds=1_000)
    del vendor.rows[: vendor.rows.index(next(row for row in vendor.rows if at(row.second) >= vendor.deleted_before))]
    kept = table.live()
    for _ in range(2):
        report = await run_sync(vendor, table)
        assert (changes(report), report.unproven, report.deleted) == ((0, 0, 0), len(unproven), len(unproven))
        assert f"{len(unproven)} of them deleted by the vendor: sync with a later since" in str(report)
    with pytest.raises(OutOfTimeRangeError):
        await run_sync(vendor, table, since=vendor.deleted_before - timedelta(hours=1))

    report = await run_sync(vendor, table, since=vendor.deleted_before)
    assert (report.unproven, report.deleted) == (0, 0)
    assert report.certified_until == unproven[0].start
    assert table.live() == kept + (vendor.values() - kept)
    # It stays left out, also without `since`.
    report = await run_sync(vendor, table, since=None)
    assert (changes(report), report.unproven, report.spans_read) == ((0, 0, 0), 0, 0)
    assert report.certified_until == unproven[0].start


async def test_an_account_with_few_calls_that_becomes_empty_is_noticed(vendor: ListVendor, table: MemoryTable) -> None:
    for day in range(1, 5):
        vendor.now = day * DAY
        list_calls(vendor, vendor.now - DAY + 1, vendor.now, DAY // 15)
        await run_sync(vendor, table)
    assert max(span.count or 0 for span in table.state.spans) <= 20
    before = table.live()
    vendor.rows.clear()
    with pytest.raises(IncompleteRangeError, match=f"{before.total()} of {before.total()} rows would vanish"):
        await run_sync(vendor, table)
    assert vendor.rechecks == [before.total()]
    assert table.live() == before
    assert (await run_sync(vendor, table, allow_mass_vanish=True)).vanished == before.total()


async def test_a_table_is_not_complete_beyond_now(vendor: ListVendor, table: MemoryTable) -> None:
    vendor.now = 10_000  # its clock is ahead
    await run_sync(vendor, table)
    vendor.now = 5_000
    list_calls(vendor, 100, 5_000, 100)
    report = await run_sync(vendor, table)
    assert report.certified_until == at(5_000)
    assert table.live() == vendor.values()


async def test_a_lookback_may_be_longer_than_the_calendar(vendor: ListVendor, table: MemoryTable) -> None:
    options = SyncOptions.of(
        since=ORIGIN,
        lookback=timedelta.max,
        deep=False,
        on_vanished="mark",
        time_field=None,
        dry_run=False,
        allow_mass_vanish=False,
    )
    vendor.now = 10
    assert (await run_sync(vendor, table, lookback=options.lookback)).certified_until == at(10)


def test_the_second_reading_is_after_a_minute() -> None:
    assert synchronizer.RECHECK_SECONDS == 60
