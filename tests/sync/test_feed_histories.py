"""Random histories of a feed: whatever happens, its changes, applied in order, give the vendor's list.

No change is yielded twice, except those that were not acknowledged before a kill or before the feed was left.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.events import EventKind
from aiosipcdr.export import keys
from aiosipcdr.model.changes import Change
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.sync import reader, spans
from aiosipcdr.sync.checkpoints import Span
from aiosipcdr.sync.diff import FoundRow
from aiosipcdr.sync.feed import checkpoint, follower
from aiosipcdr.sync.feed.feed import ChangeFeed
from aiosipcdr.sync.feed.follower import FeedOptions, Follower
from aiosipcdr.sync.feed.reader import FeedReader, HalvingSearch
from aiosipcdr.sync.feed.target import FeedTarget
from aiosipcdr.sync.reader import Reading
from aiosipcdr.sync.rows import Values, to_values
from aiosipcdr.sync.spans import plan_reading
from aiosipcdr.wire.signing import Credentials
from tests.sync.test_histories import STEP, History
from tests.sync.vendors import ORIGIN, Listed, ListVendor, MemoryTable, at, record

ACCOUNT = Credentials("key-of-the-test", "secret-of-the-test")


@pytest.fixture(autouse=True)
def _small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "CHUNK_ROWS", 10)
    monkeypatch.setattr(reader, "PLAN_ROWS", 10)
    monkeypatch.setattr(follower, "SPAN_ROWS", 4)
    monkeypatch.setattr(follower, "_SLICE", 3)
    monkeypatch.setattr(checkpoint, "FLUSH", "OFF")  # a kill is a copy of the file here
    monkeypatch.setattr(keys, "N", 16)  # the derivation of a key is meant to be slow


class FeedVendor(ListVendor):
    """Reads spans of a list in memory, as `FeedReader` reads them from a vendor."""

    def __init__(self, *, start_inclusive: bool, end_inclusive: bool) -> None:
        super().__init__(start_inclusive=start_inclusive, end_inclusive=end_inclusive)
        self.limit: datetime | None = None
        self.count_delay: timedelta | None = None
        self.is_behind = False
        self.form: Callable[[Values, CallDetailRecord], Values]
        self._preceding: tuple[datetime, int] | None = None

    def restart(self) -> None:
        self.requests = 0

    async def read_clock(self) -> datetime:
        now = at(self.now)
        self.is_behind = self.limit is not None and self.limit < now
        return self.limit if self.limit is not None and self.is_behind else now

    async def find_changed(self, spans: Sequence[Span], *, has_left: bool) -> list[Span]:
        base, _ = plan_reading(spans, has_left=has_left, is_trimmed=False)
        known = self._preceding
        search = HalvingSearch(spans, base, known[1] if known and known[0] == spans[0].start else None)
        while due := search.due:
            search.take({window: len(self.listed(window)) for window in due})
        assert search.preceding is not None
        self._preceding = spans[0].start, search.preceding
        return search.changed

    async def read(self, spans: Sequence[Span], *, has_left: bool) -> list[Reading]:
        records = {row: listed.record for listed in self.rows for row in to_values([listed.record])}
        readings = await super().read(spans, has_left=has_left)
        return [
            one._replace(
                rows=[FoundRow(self.form(row.values, records[row.values]), row.span_start) for row in one.rows]
            )
            for one in readings
        ]


class VendorSource:
    """A source for the feed: the vendor in memory."""

    def __init__(self, vendor: FeedVendor) -> None:
        self.vendor = vendor
        self.events: list[EventKind] = []

    def credentials(self) -> Credentials:
        return ACCOUNT

    def build_reader(self, target: FeedTarget) -> FeedReader:
        self.vendor.form = target.remember
        self.vendor._preceding = None
        return cast("FeedReader", self.vendor)

    def emit(self, kind: EventKind, **facts: Any) -> None:  # noqa: ANN401
        del facts
        self.events.append(kind)


class Pauses:
    """The feed's clock: a poll has ended when it waits, and the next one begins when the test says so."""

    def __init__(self) -> None:
        self.has_polled = asyncio.Event()
        self._go = asyncio.Event()

    async def sleep(self, _seconds: float) -> None:
        self.has_polled.set()
        await self._go.wait()
        self._go.clear()

    def poll(self) -> None:
        self.has_polled.clear()
        self._go.set()


class Replica:
    """What a caller of the feed holds: calls by `voice_id` and `leg`, and the keys of the changes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], CallDetailRecord] = {}
        self.acknowledged: set[str] = set()
        self.open: Change | None = None

    def take(self, change: Change) -> None:
        """Acknowledge the last change, and apply this one."""
        self.acknowledge()
        assert change.key not in self.acknowledged, "a change is yielded twice"
        key = change.record.voice_id, change.leg
        if change.kind == "vanished":
            self.rows.pop(key, None)
        else:
            self.rows[key] = change.record
        self.open = change

    def acknowledge(self) -> None:
        if self.open is not None:
            self.acknowledged.add(self.open.key)
            self.open = None

    def values(self) -> Counter[Values]:
        return Counter(to_values([*self.rows.values()]))


async def drain(feed: ChangeFeed, pauses: Pauses, replica: Replica, *, limit: int | None = None) -> bool:
    """Take changes until the feed has polled; return whether `limit` was reached before."""
    number = 0
    while True:
        step = asyncio.ensure_future(anext(feed))
        polled = asyncio.ensure_future(pauses.has_polled.wait())
        await asyncio.wait([step, polled], return_when=asyncio.FIRST_COMPLETED)
        polled.cancel()
        if not step.done():
            step.cancel()
            await asyncio.wait([step])
            replica.acknowledge()
            return False
        replica.take(step.result())
        number += 1
        if number == limit:
            return True


class FeedHistory(History):
    """A vendor's list that changes at random, and a feed that follows it."""

    def __init__(self, seed: int, folder: Path, *, start_inclusive: bool, end_inclusive: bool) -> None:
        self.random = Random(seed)  # noqa: S311 - the same history for the same seed
        self.feed_vendor = FeedVendor(start_inclusive=start_inclusive, end_inclusive=end_inclusive)
        self.vendor = self.feed_vendor
        self.table = MemoryTable()
        self.ids = 0
        self.folder = folder
        self.starts = 0
        self.path = folder / "0"
        self.replica = Replica()

    def open(self, pauses: Pauses, *, deep: bool = False, lookback: timedelta = timedelta(days=30)) -> ChangeFeed:
        options = FeedOptions(
            since=ORIGIN, every=60.0, lookback=lookback, deep_every=timedelta(0) if deep else timedelta(days=30)
        )
        source = VendorSource(self.feed_vendor)
        return ChangeFeed(Follower(source, Filters(), options, self.path, sleep=pauses.sleep, monotonic=lambda: 0.0))

    def kill(self) -> None:
        """Go on with the file as a killed process would have left it now."""
        self.starts += 1
        killed, self.path = self.path, self.folder / str(self.starts)
        shutil.copy(killed, self.path)
        # What was acknowledged but not stored yet may be yielded again.
        self.replica.acknowledged.clear()
        self.replica.open = None

    def leave(self) -> None:
        self.replica.open = None  # not acknowledged: it is yielded again


@given(seed=st.integers(0, 2**32), inclusive=st.tuples(st.booleans(), st.booleans()))
def test_after_any_history_the_changes_give_the_list(seed: int, inclusive: tuple[bool, bool]) -> None:
    anyio.run(follow, seed, inclusive)


async def follow(seed: int, inclusive: tuple[bool, bool]) -> None:
    with TemporaryDirectory() as folder:
        history = FeedHistory(seed, Path(folder), start_inclusive=inclusive[0], end_inclusive=inclusive[1])
        vendor, random = history.vendor, history.random
        for _ in range(random.randint(1, 4)):
            pauses = Pauses()
            # Calls also arrive and vanish while a poll reads.
            vendor.between = (lambda: history.happen(1)) if random.random() < 0.3 else (lambda: None)
            vendor.now += STEP
            history.happen(random.randint(0, 12))
            async with history.open(pauses, deep=random.random() < 0.3) as feed:
                for _ in range(random.randint(1, 3)):
                    limit = random.choice([None, None, 1, 2, 5])
                    if await drain(feed, pauses, history.replica, limit=limit):
                        break
                    vendor.now += STEP
                    history.happen(random.randint(0, 12))
                    pauses.poll()
                if random.random() < 0.4:
                    history.kill()
            history.leave()
        vendor.between = lambda: None
        pauses = Pauses()
        async with history.open(pauses, deep=True) as feed:
            await drain(feed, pauses, history.replica)
            assert history.replica.values() == vendor.values()
            pauses.poll()
            await drain(feed, pauses, history.replica)
            assert feed.last_poll is not None
            assert (feed.last_poll.added, feed.last_poll.changed, feed.last_poll.vanished) == (0, 0, 0)
        pauses = Pauses()
        async with history.open(pauses) as feed:
            await drain(feed, pauses, history.replica)
            pauses.poll()
            vendor.requests = 0
            await drain(feed, pauses, history.replica)
            assert feed.last_poll is not None
            assert feed.last_poll.spans_read == 0
            assert vendor.requests <= 2
            vendor.now += 1
            pauses.poll()
            await drain(feed, pauses, history.replica)
            assert vendor.requests <= 4  # two of each poll
        assert history.replica.values() == vendor.values()


@given(seed=st.integers(0, 2**32), inclusive=st.tuples(st.booleans(), st.booleans()))
def test_calls_older_than_the_lookback_stay(seed: int, inclusive: tuple[bool, bool]) -> None:
    anyio.run(follow_with_short_lookback, seed, inclusive)


async def follow_with_short_lookback(seed: int, inclusive: tuple[bool, bool]) -> None:
    lookback = timedelta(seconds=1_800)
    with TemporaryDirectory() as folder:
        history = FeedHistory(seed, Path(folder), start_inclusive=inclusive[0], end_inclusive=inclusive[1])
        vendor, random = history.vendor, history.random

        def happen(number: int) -> None:
            # Calls arrive and vanish within the lookback.
            for _ in range(number):
                recent = [row for row in vendor.rows if row.second > vendor.now - 1_700]
                if recent and random.random() < 0.3:
                    vendor.rows.remove(random.choice(recent))
                else:
                    second = random.randint(max(1, vendor.now - 1_700), vendor.now - 1)
                    history.ids += 1
                    vendor.rows.append(Listed(second, record(str(history.ids), second)))

        for _ in range(random.randint(3, 8)):
            pauses = Pauses()
            vendor.now += random.choice([STEP, STEP, 5_000])
            happen(random.randint(0, 12))
            async with history.open(pauses, deep=True, lookback=lookback) as feed:
                await drain(feed, pauses, history.replica)
                vendor.now += STEP // 2
                happen(3)
                vendor.move_clock(random.choice([0, 0, 5_000, 80_000]))
                pauses.poll()
                await drain(feed, pauses, history.replica)
                vendor.move_clock(0)
                if random.random() < 0.3:
                    history.kill()
            history.leave()
        pauses = Pauses()
        async with history.open(pauses, deep=True, lookback=lookback) as feed:
            await drain(feed, pauses, history.replica)
        assert history.replica.values() == vendor.values()


def list_calls(vendor: ListVendor, end: int, *, every: int = 60) -> None:
    """List a call every few seconds from the origin to `end`."""
    for second in range(1, end, every):
        vendor.rows.append(Listed(second, record(f"{second}", second)))


async def poll_all(history: FeedHistory, lookback: timedelta, *, polls: int = 1) -> list[EventKind]:
    """Take the changes of some polls of a new feed; return its events."""
    pauses = Pauses()
    feed = history.open(pauses, lookback=lookback)
    async with feed:
        await drain(feed, pauses, history.replica)
        for _ in range(polls - 1):
            pauses.poll()
            await drain(feed, pauses, history.replica)
    return cast("VendorSource", cast("Follower", feed._runner)._source).events


@pytest.mark.anyio
async def test_calls_listed_late_during_a_pause_are_found(tmp_path: Path) -> None:
    history = FeedHistory(1, tmp_path, start_inclusive=True, end_inclusive=True)
    vendor, lookback = history.vendor, timedelta(hours=1)
    list_calls(vendor, 10_000)
    vendor.now = 10_000
    await poll_all(history, lookback)
    # Calls that were in progress at the last poll end while no feed runs, for much longer than the lookback.
    vendor.rows += [Listed(10_000 - age, record(f"late {age}", 10_000 - age)) for age in (5, 600, 1_800, 3_000)]
    vendor.now += 50_000
    await poll_all(history, lookback)
    assert history.replica.values() == vendor.values()


@pytest.mark.anyio
async def test_a_short_disturbance_of_a_long_catch_up_leaves_nothing_out(tmp_path: Path) -> None:
    history = FeedHistory(1, tmp_path, start_inclusive=True, end_inclusive=True)
    vendor, lookback = history.vendor, timedelta(hours=6)
    vendor.now = 4 * 86_400
    list_calls(vendor, vendor.now, every=1_800)
    vendor.is_proven = lambda _: False
    events = await poll_all(history, lookback, polls=12)
    vendor.is_proven = lambda _: True
    events += await poll_all(history, lookback)
    assert EventKind.FEED_GAP not in events
    assert history.replica.values() == vendor.values()


@pytest.mark.anyio
async def test_time_that_stays_unproven_for_a_day_is_left_out(tmp_path: Path) -> None:
    history = FeedHistory(1, tmp_path, start_inclusive=True, end_inclusive=True)
    vendor, lookback, clock = history.vendor, timedelta(hours=1), [0.0]
    list_calls(vendor, 3_000)
    vendor.now = 3_000
    broken = at(1_200)
    vendor.is_proven = lambda span: not span.start <= broken < span.end
    pauses = Pauses()
    options = FeedOptions(since=ORIGIN, every=60.0, lookback=lookback)
    source = VendorSource(history.feed_vendor)
    sleep, monotonic = pauses.sleep, lambda: clock[0]
    feed = ChangeFeed(Follower(source, Filters(), options, history.path, sleep=sleep, monotonic=monotonic))
    async with feed:
        for _ in range(30):
            await drain(feed, pauses, history.replica)
            assert (EventKind.FEED_GAP in source.events) == (clock[0] >= 25 * 3_600.0)
            clock[0] += 3_600.0
            vendor.now += 3_600
            pauses.poll()
    assert source.events.count(EventKind.FEED_GAP) == 1
    assert source.events[-1] is EventKind.FEED_RESUMED
    missing = vendor.values() - history.replica.values()
    assert 0 < missing.total() <= 20
