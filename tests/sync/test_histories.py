"""Random histories: calls arrive late, change, move and vanish, runs are killed; in the end the table is the list."""

from collections import Counter
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiosipcdr.model.sync import SyncReport
from aiosipcdr.sync import reader, spans, synchronizer
from aiosipcdr.sync.options import SyncOptions
from aiosipcdr.sync.reader import SpanReader
from aiosipcdr.sync.rows import Values
from aiosipcdr.sync.synchronizer import Synchronizer
from tests.sync.vendors import ORIGIN, OWNER, KilledError, Listed, ListVendor, MemoryTable, at, record

STEP = 600
"""Seconds by which the clock moves on between two runs."""


@pytest.fixture(autouse=True)
def _small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    # Spans of a few calls, so that short histories have many bounds.
    monkeypatch.setattr(spans, "SPAN_ROWS", 4)
    monkeypatch.setattr(spans, "CHUNK_ROWS", 10)
    monkeypatch.setattr(synchronizer, "SMALL_ROWS", 3)
    monkeypatch.setattr(reader, "PLAN_ROWS", 10)


async def run_sync(vendor: ListVendor, table: MemoryTable, *, deep: bool = False) -> SyncReport:
    options = SyncOptions(since=ORIGIN, lookback=at(10**6) - ORIGIN, deep=deep, allow_mass_vanish=True)
    run = Synchronizer(
        cast("SpanReader", vendor), table, options, find_owner=lambda stored: stored or OWNER, table="memory"
    )
    return await run.run()


class History:
    """A vendor's list that changes at random, and a table that follows it."""

    def __init__(self, seed: int, *, start_inclusive: bool, end_inclusive: bool) -> None:
        self.random = Random(seed)  # noqa: S311 - the same history for the same seed
        self.vendor = ListVendor(start_inclusive=start_inclusive, end_inclusive=end_inclusive)
        self.table = MemoryTable()
        self.ids = 0

    def any_second(self) -> int:
        """Return a second of the past, half the time one at the bound of a span."""
        if self.table.state.spans and self.random.random() < 0.5:
            span = self.random.choice(self.table.state.spans)
            second = int((span.end - ORIGIN).total_seconds()) + self.random.randint(-2, 2)
            return min(max(second, 1), max(1, self.vendor.now - 1))
        return self.random.randint(1, max(1, self.vendor.now - 1))

    def arrive(self) -> None:
        """List a call; now and then it is a leg of another one, or has no times at all."""
        second = self.any_second()
        voice_id = str(self.ids)
        self.ids += 1
        if self.vendor.rows and self.random.random() < 0.2:
            voice_id = self.random.choice(self.vendor.rows).record.voice_id
        # The vendor lists a call by the time at which it ended.
        length = self.random.choice([0, 1, 30, 700])
        submitted = None if self.random.random() < 0.05 else second - length
        hung_up = None if submitted is None else at(second)
        cost = Decimal(self.random.randint(0, 9)) / 100
        # No two rows are equal in everything: a reading, and therefore the difference, counts them as one row.
        row = record(voice_id, submitted, hangup_time=hung_up, cost=cost, code=str(self.ids))
        self.vendor.rows.append(Listed(second, row))

    def change(self) -> None:
        """Rate a call again."""
        if self.vendor.rows:
            row = self.random.choice(self.vendor.rows)
            cost = Decimal(self.random.randint(10, 99)) / 100
            row.record = replace(row.record, cost=cost)

    def move(self) -> None:
        """Correct the time by which a call is listed, by up to a minute."""
        if self.vendor.rows:
            row = self.random.choice(self.vendor.rows)
            row.second = max(1, min(row.second + self.random.randint(-59, 59), max(1, self.vendor.now - 1)))
            if row.record.hangup_time is not None:
                row.record = replace(row.record, hangup_time=at(row.second))

    def vanish(self) -> None:
        """Take a call off the list."""
        if self.vendor.rows:
            self.vendor.rows.pop(self.random.randrange(len(self.vendor.rows)))

    def happen(self, number: int) -> None:
        for _ in range(number):
            self.random.choice([self.arrive, self.arrive, self.arrive, self.change, self.move, self.vanish])()


@given(seed=st.integers(0, 2**32), inclusive=st.tuples(st.booleans(), st.booleans()))
def test_after_any_history_the_table_is_the_list(seed: int, inclusive: tuple[bool, bool]) -> None:
    anyio.run(follow, seed, inclusive)


async def follow(seed: int, inclusive: tuple[bool, bool]) -> None:
    history = History(seed, start_inclusive=inclusive[0], end_inclusive=inclusive[1])
    vendor, table, random = history.vendor, history.table, history.random
    for _ in range(8):
        vendor.now += STEP
        history.happen(random.randint(0, 12))
        setattr(table, random.choice(["kill_before", "kill_after"]), random.choice([None, None, 0, 1, 2]))
        # Calls also arrive and vanish while a run reads.
        vendor.between = (lambda: history.happen(1)) if random.random() < 0.3 else (lambda: None)
        try:
            await run_sync(vendor, table, deep=random.random() < 0.3)
        except KilledError:
            table.close()
    vendor.between = lambda: None
    before = table.live()
    report = await run_sync(vendor, table, deep=True)

    assert table.live() == vendor.values()
    assert report.certified_until == at(vendor.now)
    check_report(report, before, vendor.values())
    check_spans(table)
    again = await run_sync(vendor, table, deep=True)
    assert (again.added, again.changed, again.vanished) == (0, 0, 0)
    assert again.unchanged == len(vendor.rows)
    quiet = await run_sync(vendor, table)
    assert (quiet.added, quiet.changed, quiet.vanished, quiet.spans_read) == (0, 0, 0, 0)


def check_report(report: SyncReport, before: Counter[Values], after: Counter[Values]) -> None:
    # A row that is listed before and after was neither added nor taken away, wherever it lies.
    assert report.added - report.vanished == after.total() - before.total()
    assert report.added + report.changed >= (after - before).total()
    assert report.vanished <= (before - after).total()
    assert report.added <= (after - before).total()


def check_spans(table: MemoryTable) -> None:
    # Spans touch and do not overlap; each owns as many live rows as its count.
    known = table.state.spans
    assert all(one.end == other.start for one, other in pairwise(known))
    owned = Counter(row.span_start for row in table.rows.values() if not row.has_vanished)
    assert {span.start: span.count for span in known if span.count} == dict(owned)
