"""A vendor in memory, and a driver that puts a plan before it without any I/O.

COUNT and SELECT of one request are two instants: calls may come and go between
them, and other requests may be answered in between.  Every call knows since
when and until when it was there, so that a certificate can be held against
what was true at the instant of its count.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal
from unittest.mock import patch

from aiosipcdr.errors import IncompleteRangeError, SipCdrError
from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.protocol import coverage as coverage_module
from aiosipcdr.protocol.codec import Filters, PageAnswer
from aiosipcdr.protocol.completeness import Outcome, WindowProof
from aiosipcdr.protocol.coverage import Coverage
from aiosipcdr.protocol.history import Delivered, Note
from aiosipcdr.protocol.limits import FULL_WINDOW, WindowPlaces
from aiosipcdr.protocol.ownership import OwnedSpan
from aiosipcdr.protocol.paging import PageRequest
from aiosipcdr.protocol.records import CallDetailRecord, Page
from aiosipcdr.protocol.resumable import ResumableCoverage
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CompleteWindow, QuarantinedRecord

START = datetime(2026, 10, 1, tzinfo=UTC)
SETTLED = datetime(2030, 1, 1, tzinfo=UTC)
FOREVER = 10**12

Order = Literal["newest", "oldest", "random"]


def at(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def since_start(time: datetime) -> int:
    return (time - START) // timedelta(milliseconds=1)


def seconds(first: int, last: int) -> TimeWindow:
    return TimeWindow(START + timedelta(seconds=first), START + timedelta(seconds=last))


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - repeatable, not secret


@dataclass(frozen=True, order=True, slots=True)
class Row:
    """A call as it is stored: `time` is what ranges select on, in milliseconds since the start."""

    time: int
    number: int
    record: CallDetailRecord = field(compare=False)
    born: int = field(default=0, compare=False)
    broken: bool = field(default=False, compare=False)

    @property
    def voice_id(self) -> str:
        return self.record.voice_id


@dataclass(kw_only=True)
class Habits:
    """What is not known of the real vendor, so everything must be right whatever it is."""

    order: Order = "oldest"
    includes_start: bool = True
    includes_end: bool = False
    ranged_by: str = "submit_time"
    overflow: bool = False
    largest_page: int = 1_000
    clamps_from: int = 0
    """The number of the request from which on `largest_page` holds."""
    counts_first: bool = True
    wrong_echo: float = 0.0
    """How often an answer is one to another question."""
    tell: Callable[[int], int] = int
    """What is told where `total` would be true."""
    garbles: float = 0.0
    """How often a row comes without an id that can be read: of two servers, one writes it wrongly."""


class Vendor:
    """Rows in memory, selected by time, in pages."""

    def __init__(self, habits: Habits, rng: Random) -> None:
        """Begin with no calls."""
        self.habits = habits
        self.rng = rng
        self.clock = 0
        self.rows: list[Row] = []
        self.died: dict[int, int] = {}
        self.every_row: list[Row] = []
        self.requests = 0
        self.rows_read = 0
        self.deepest = 0
        self._numbers = 0

    def add(self, time: int, *, voice_id: str | None = None, undated: bool = False, broken: bool = False) -> Row:
        number = self._numbers = self._numbers + 1
        identity = voice_id or f"{2_203_031_113_381_000_000 + number}"
        # Ranges may go by a time that is not submit_time: calls are submitted some seconds before they end.
        times = {self.habits.ranged_by: at(time)}
        if self.habits.ranged_by != "submit_time" and not undated:
            times["submit_time"] = at(time - self.rng.randrange(40_000))
        elif undated:
            times = {}
        record = CallDetailRecord(voice_id=identity, call_duration=number, **times)  # type: ignore[arg-type]
        row = Row(time, number, record, self.clock, broken)
        insort(self.rows, row)
        self.every_row.append(row)
        return row

    def remove(self, row: Row) -> None:
        self.rows.pop(bisect_left(self.rows, row))
        self.died[row.number] = self.clock

    def tick(self) -> None:
        self.clock += 1

    def lasted(self, row: Row, clock: int) -> bool:
        return row.born <= clock < self.died.get(row.number, FOREVER)

    def those_in(self, window: TimeWindow, rows: list[Row]) -> list[Row]:
        """Return what of `rows` the window selects."""
        start, end = since_start(window.start), since_start(window.end)
        first = start if self.habits.includes_start else start + 1
        last = end if self.habits.includes_end else end - 1
        return [row for row in rows if first <= row.time <= last]

    def there_at(self, clock: int, window: TimeWindow) -> set[str]:
        """Return the ids of the calls that the window held at an instant."""
        return {row.voice_id for row in self.those_in(window, self.every_row) if self.lasted(row, clock)}

    def bounds(self, window: TimeWindow) -> tuple[int, int]:
        start, end = since_start(window.start), since_start(window.end)
        low = bisect_left if self.habits.includes_start else bisect_right
        high = bisect_right if self.habits.includes_end else bisect_left
        first = low(self.rows, start, key=_time)
        return first, max(first, high(self.rows, end, key=_time))

    def page_size(self, request: PageRequest) -> int:
        clamped = self.requests >= self.habits.clamps_from
        return min(request.size, self.habits.largest_page) if clamped else request.size

    def count(self, request: PageRequest) -> int:
        first, last = self.bounds(request.window)
        return self.habits.tell(last - first)

    def select(self, request: PageRequest, current: int, size: int) -> list[Row]:
        first, last = self.bounds(request.window)
        skip = (current - 1) * size
        self.rows_read += min(last - first, current * size)
        self.deepest = max(self.deepest, current)
        if self.habits.order == "newest":
            stop = last - skip
            return self.rows[max(first, stop - size) : max(first, stop)][::-1]
        if self.habits.order == "random":
            shuffled = self.rows[first:last]
            self.rng.shuffle(shuffled)
            return shuffled[skip : skip + size]
        return self.rows[min(last, first + skip) : min(last, first + skip + size)]


def _time(row: Row) -> int:
    return row.time


class Flight:
    """A request on its way: its COUNT and its SELECT are instants of their own."""

    def __init__(self, vendor: Vendor, request: PageRequest) -> None:
        """Send `request`."""
        vendor.requests += 1
        self.vendor = vendor
        self.request = request
        self.size = vendor.page_size(request)
        self.current = request.current
        self.total: int | None = None
        self.counted_at = 0
        self.rows: list[Row] | None = None

    def advance(self) -> PageAnswer | None:
        """Run the next statement; return the answer once both have run."""
        vendor = self.vendor
        if self.total is None and (vendor.habits.counts_first or self.rows is not None):
            self.total = vendor.count(self.request)
            self.counted_at = vendor.clock
            if vendor.habits.overflow and self.current > max(1, -(-self.total // self.size)):
                self.current = 1
        elif self.rows is None:
            self.rows = vendor.select(self.request, self.current, self.size)
        if self.total is None or self.rows is None:
            return None
        return self._answer(self.total, self.rows)

    def _answer(self, total: int, rows: list[Row]) -> PageAnswer:
        current, size = self.current, self.size
        if self.vendor.habits.wrong_echo and self.vendor.rng.random() < self.vendor.habits.wrong_echo:
            current, size = self.vendor.rng.choice([(current + 1, size), (current, self.request.size + 1), (1, size)])
        garbled = [row for row in rows if not row.broken and self.vendor.rng.random() < self.vendor.habits.garbles]
        broken = [
            QuarantinedRecord(
                raw=row.voice_id.encode(),
                window=None,
                page=current,
                reason="broken",
                voice_id=row.voice_id if row.broken else None,
            )
            for row in rows
            if row.broken or row in garbled
        ]
        page = Page(
            total=total,
            size=size,
            current=current,
            pages=-(-total // size),
            records=[row.record for row in rows if not (row.broken or row in garbled)],
        )
        return PageAnswer(page=page, quarantined=broken)


@dataclass(kw_only=True)
class Drive:
    """How a plan is driven: how much is under way at once, and what happens meanwhile."""

    concurrency: int = 4
    happen: Callable[[Vendor], None] | None = None
    """Called with a chance of `busy` between any two instants, `most_happenings` times at most."""
    busy: float = 0.0
    most_happenings: int = 0
    most_requests: int = 100_000
    lazy_reader: bool = False
    ends_after: int | None = None
    """The run is killed when so many things have happened to it."""


@dataclass(kw_only=True)
class Run:
    """What came of it."""

    coverage: Coverage
    vendor: Vendor
    windows: list[CompleteWindow] = field(default_factory=list)
    entries: list[Note | Delivered] = field(default_factory=list)
    """What was written down, for a coverage that takes notes."""
    error: SipCdrError | None = None
    counted_at: dict[TimeWindow, int] = field(default_factory=dict)
    most_held: float = 0
    requests: int = 0

    @property
    def certified(self) -> bool:
        return self.error is None and self.coverage.report.certified

    @property
    def records(self) -> list[CallDetailRecord]:
        return [record for window in self.windows for record in window.records]

    @property
    def delivered(self) -> list[str]:
        ids = [record.voice_id for window in self.windows for record in window.records]
        return ids + [record.raw.decode() for window in self.windows for record in window.quarantined]


def drive(coverage: Coverage, vendor: Vendor, how: Drive) -> Run:  # noqa: C901, PLR0912 - one loop, many things that may happen next
    """Work off `coverage` against `vendor`, its answers in any order."""
    run = Run(coverage=coverage, vendor=vendor)
    rng = vendor.rng
    flying: list[Flight] = []
    happened = steps = 0
    while True:
        steps += 1
        if how.ends_after is not None and steps > how.ends_after:
            return run
        if happened < how.most_happenings and how.happen is not None and rng.random() < how.busy:
            happened += 1
            vendor.tick()
            how.happen(vendor)
        while len(flying) < how.concurrency and (request := coverage.next_request()) is not None:
            flying.append(Flight(vendor, request))
            run.requests += 1
            if rng.random() < 0.2:
                break
        run.most_held = max(run.most_held, coverage._pending._weight() / FULL_WINDOW)
        assert run.requests <= how.most_requests, f"{run.requests} requests and no end"
        if not (how.lazy_reader and flying and rng.random() < 0.7):
            if isinstance(coverage, ResumableCoverage):
                while (note := coverage.take_note()) is not None:
                    run.entries.append(note)
            while (window := coverage.take_complete()) is not None:
                run.windows.append(window)
                run.entries.append(Delivered(told=window.report, share=window.share))
        if not flying:
            if coverage.is_finished:
                return run
            if not coverage.has_result:
                request = coverage.next_request()
                assert request is not None, "stuck: nothing is under way and nothing is to be asked"
                flying.append(Flight(vendor, request))
                run.requests += 1
            continue
        # Mostly in the order of sending, sometimes in any.
        index = rng.randrange(len(flying)) if rng.random() < 0.7 else 0
        flight = flying[index]
        if (answer := flight.advance()) is None:
            continue
        flying.pop(index)
        owner = flight.request.owner
        was_open = isinstance(owner, WindowProof) and owner.is_open
        run.error = coverage.accept(flight.request, answer)
        if was_open and isinstance(owner, WindowProof) and owner.outcome is Outcome.CERTIFIED:
            run.counted_at[owner.window] = flight.counted_at
        if run.error is not None:
            return run


def ages_of(settled_before: datetime = SETTLED) -> AgePolicy:
    """Return a policy under which windows that end after `settled_before` are young."""
    return AgePolicy(lambda: VendorTime(settled_before, is_local=False), timedelta(0), timedelta(0))


def cover(  # noqa: D417 - the rest are Coverage's own
    window: TimeWindow,
    *,
    size: int = 100,
    most_windows: int = 4,
    filters: Filters | None = None,
    settled_before: datetime = SETTLED,
    kind: type[Coverage] = Coverage,
    seam: TimeWindow | None = None,
    time_field: str | None = None,
    exact: tuple[datetime, datetime] | None = None,
    **settings: object,
) -> Coverage:
    """Build a Coverage; `settings` are its own.

    Args:
        window: the range.
        size: records a page.
        most_windows: the places for windows.
        filters: what is selected.
        settled_before: what ends later is provisional.
        kind: which coverage.
        seam: the second that belongs to the left neighbour.
        time_field: the time that the vendor is known to filter on.
        exact: the bounds that calls are trimmed to.
    """
    return kind(
        OwnedSpan(window=window, seam=seam, time_field=time_field, exact=exact),
        filters or Filters(),
        size=size,
        places=WindowPlaces(most_windows),
        ages=ages_of(settled_before),
        **settings,  # type: ignore[arg-type]
    )


@contextmanager
def smaller_windows(most_rows: int, aimed_rows: int) -> Iterator[None]:
    """Make windows of `most_rows` at most, so that small ranges show what large ones do."""
    with patch.multiple(coverage_module, MOST_ROWS=most_rows, AIMED_ROWS=aimed_rows):
        yield


def check_windows(run: Run, window: TimeWindow) -> None:
    """Hold every certificate against what was true at the instant of its count."""
    vendor = run.vendor
    seen: set[str] = set()
    for complete in run.windows:
        told = [record.voice_id for record in complete.records] + [one.raw.decode() for one in complete.quarantined]
        guesses = vendor.habits.garbles and not complete.report.certified
        assert guesses or len(set(told)) == len(told), "an id twice in one window"
        # What lies in a shared second and cannot be read on one side of it is told on both.
        assert vendor.habits.garbles or seen.isdisjoint(told), "an id in two windows"
        seen.update(told)
        if complete.report.certified:
            assert complete.report.total == complete.report.unique
            counted_at = run.counted_at[complete.window]
            there = vendor.there_at(counted_at, complete.window)
            assert there <= seen, f"certified and {len(there - seen)} short"
    real = {row.voice_id for row in vendor.those_in(window, vendor.every_row)}
    assert seen <= real, "a call that never was"


def check_order(run: Run) -> None:
    """Check the order of design.md: windows oldest first, calls by time, undated last, then id."""
    starts = [complete.window.start for complete in run.windows]
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts)
    reports = [told.window for told in run.coverage.report.window_reports]
    assert reports == [complete.window for complete in run.windows]
    for complete in run.windows:
        keys = [
            (record.submit_time is None, record.submit_time or START, record.voice_id) for record in complete.records
        ]
        assert keys == sorted(keys)


def check_report(run: Run) -> None:
    """Check that the sums of the report are those of what was handed over."""
    report = run.coverage.report
    assert report.unique == len(run.delivered)
    assert report.windows == len(run.windows)
    assert report.quarantined == sum(len(complete.quarantined) for complete in run.windows)
    if run.certified:
        assert report.total == report.unique
        assert all(complete.report.certified for complete in run.windows)


def check_limits(run: Run, most_windows: int) -> None:
    assert run.most_held <= most_windows
    if run.error is not None:
        assert isinstance(run.error, IncompleteRangeError)
