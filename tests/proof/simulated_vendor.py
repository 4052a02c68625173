"""A vendor in memory, and a driver that puts a plan before it without any I/O.

COUNT and SELECT of one request are two instants: rows may come, go and change
between them, and other requests may be answered in between. Every row knows
since when and until when it was there, so that a certificate can be compared
with the truth at the instant of its count.

A row is one leg of a call. Its label (`call_duration`) stays the same when its
other contents change; two rows with one label are the same bytes, stored twice.
Time is simulated, in milliseconds: replicas and counts may be behind.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal
from unittest.mock import patch

import msgspec

from aiosipcdr.model.errors import (
    IncompleteRangeError,
    InvalidQueryError,
    ProtocolError,
    SchemaMismatchError,
    ServerFaultError,
    SipCdrError,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.report import CompleteWindow
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.proof import budget as budget_module
from aiosipcdr.proof import range as range_module
from aiosipcdr.proof.budget import FULL_WINDOW, RowQuota
from aiosipcdr.proof.checkpoint import Delivered, JournalEvent
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.proof.pending import WindowTask
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept, refuse

START = datetime(2026, 10, 1, tzinfo=UTC)
SETTLED = datetime(2030, 1, 1, tzinfo=UTC)
FOREVER = 10**12

Order = Literal["newest", "oldest", "random", "ties"]
"""`random` is another order at every request; `ties` is by second, and random within one."""
PastTheEnd = Literal["empty", "first", "last", "error", "unreadable"]
Wrong = Literal["empty", "tail", "shard"]
_TAIL = 10
_SHARDS = 4


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
    """A stored row: ranges select on `time`, in milliseconds since the start."""

    time: int
    number: int
    record: CallDetailRecord = field(compare=False)
    born: int = field(default=0, compare=False)
    broken: bool = field(default=False, compare=False)

    @property
    def voice_id(self) -> str:
        return self.record.voice_id

    @property
    def label(self) -> int:
        return label_of(self.record)


def label_of(record: CallDetailRecord) -> int:
    """Return the part of a row that distinguishes it from other rows of its call and never changes."""
    assert record.call_duration is not None
    return record.call_duration


@dataclass(kw_only=True)
class Habits:
    """Behaviour that is not known of the real vendor: everything must be right for all of it."""

    order: Order = "oldest"
    includes_start: bool = True
    includes_end: bool = False
    ranged_by: str = "submit_time"
    past_the_end: PastTheEnd = "empty"
    """What is answered where `current` is beyond the last page by COUNT: what LIMIT and OFFSET return, page 1 or
    the last page with their own numbers, an error of the vendor, or a body that is no page (HTTP 204, `data: null`)."""
    largest_page: int = 1_000
    smallest_page: int = 1
    forced_page: int | None = None
    """The size of every page, for any requested size."""
    echoes_asked: bool = False
    """The response echoes the requested size, not the one that was used."""
    refuses_below: int = 1
    """Smaller sizes are a parameter exception."""
    clamps_from: int = 0
    """The number of the request from which on the sizes hold."""
    counts_first: bool = True
    wrong_echo: float = 0.0
    """How often an answer is one to another question."""
    tell: Callable[[int], int] = int
    """What is reported where `total` would be true."""
    count_cap: int | None = None
    """What COUNT returns at most."""
    count_lag: int = 0
    """Milliseconds by which COUNT is behind SELECT: it runs on a replica."""
    count_cached: int = 0
    """Milliseconds for which the COUNT of a window is used again."""
    replica_lags: tuple[int, ...] = (0,)
    """Milliseconds by which the replicas are behind, one of which answers each request."""
    wrong: Wrong = "empty"
    """What a wrong answer is: nothing ("0 of 0"), or without the rows stored last, or without a shard."""
    wrong_share: float = 0.0
    """How often an answer is wrong."""
    wrong_requests: frozenset[int] = frozenset()
    """The numbers of the requests, from 1, whose answers are wrong."""
    caches_bodies: bool = False
    """Whether a request with the bytes of an earlier one gets the answer to that."""
    cache_ignores_blanks: bool = False
    """Whether bodies that differ only in white space are the same to that cache."""
    garbles: float = 0.0
    """How often a row comes without an id that can be read: of two servers, one writes it wrongly."""

    @property
    def most_lag(self) -> int:
        """How far behind an answer can be, in milliseconds."""
        return max(self.count_lag + self.count_cached, *self.replica_lags)

    @property
    def is_consistent(self) -> bool:
        """Whether every answer is true of the instant at which it is given."""
        return not (self.most_lag or self.wrong_share or self.wrong_requests or self.caches_bodies)


@dataclass(frozen=True, slots=True)
class View:
    """What one replica shows: the rows of an instant (None: of now), or not all of them."""

    lag: int = 0
    wrong: Wrong | None = None


TRUE_VIEW = View()


class Vendor:
    """Rows in memory, selected by time, in pages."""

    def __init__(self, habits: Habits, rng: Random) -> None:
        """Begin with no calls."""
        self.habits = habits
        self.rng = rng
        self.clock = 0
        """Counts the instants at which something happened."""
        self.now = 0.0
        """Milliseconds since the first request."""
        self.rows: list[Row] = []
        self.died: dict[int, int] = {}
        self.every_row: list[Row] = []
        self.requests = 0
        self.rows_read = 0
        self.deepest = 0
        self.has_changed = False
        """Whether the contents of a row ever changed."""
        self.cached: dict[tuple[bytes, int, int], PageAnswer] = {}
        self._numbers = 0
        self._moments = [0.0]
        self._counts: dict[bytes, tuple[float, int]] = {}

    def add(
        self,
        time: int,
        *,
        voice_id: str | None = None,
        undated: bool = False,
        broken: bool = False,
        lasts: int | None = None,
    ) -> Row:
        """Store a row.

        Args:
            time: what ranges select on.
            voice_id: the id of an earlier row, of which it is another leg.
            undated: whether it has no times at all.
            broken: whether it cannot be decoded.
            lasts: milliseconds from `submit_time` to `hangup_time`, both of which it then has.
        """
        number = self._numbers + 1
        identity = voice_id or f"{2_203_031_113_381_000_000 + number}"
        # Ranges may go by a time that is not submit_time: calls are submitted some seconds before they end.
        times = {self.habits.ranged_by: at(time)}
        if undated:
            times = {}
        elif lasts is not None:
            submitted = time - lasts if self.habits.ranged_by == "hangup_time" else time
            times |= {"submit_time": at(submitted), "hangup_time": at(submitted + lasts)}
        elif self.habits.ranged_by != "submit_time":
            times["submit_time"] = at(time - self.rng.randrange(40_000))
        record = CallDetailRecord(voice_id=identity, call_duration=number, **times)  # type: ignore[arg-type]
        return self._store(time, record, broken=broken)

    def add_leg(self, first: Row, lasts: int) -> Row:
        """Store the leg that begins when `first` ends, wherever its call was transferred to."""
        assert first.record.submit_time is not None
        assert first.record.hangup_time is not None
        begins = since_start(first.record.hangup_time)
        ranged = begins + lasts if self.habits.ranged_by == "hangup_time" else begins
        return self.add(ranged, voice_id=first.voice_id, lasts=lasts)

    def add_copy(self, row: Row) -> Row:
        """Store a row once more, byte for byte."""
        return self._store(row.time, row.record, broken=row.broken)

    def change(self, row: Row) -> Row:
        """Fill in a field of a row."""
        self.remove(row)
        self.has_changed = True
        version = (row.record.charged_duration or 0) + 1
        return self._store(row.time, msgspec.structs.replace(row.record, charged_duration=version), broken=row.broken)

    def _store(self, time: int, record: CallDetailRecord, *, broken: bool) -> Row:
        self._numbers += 1
        row = Row(time, self._numbers, record, self.clock, broken)
        insort(self.rows, row)
        self.every_row.append(row)
        return row

    def remove(self, row: Row) -> None:
        self.rows.pop(bisect_left(self.rows, row))
        self.died[row.number] = self.clock

    def tick(self) -> None:
        self.clock += 1
        self._moments.append(self.now)

    def clock_at(self, now: float) -> int:
        """Return what `clock` was at a time; the first rows were always there."""
        return max(0, bisect_right(self._moments, now) - 1)

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

    def labels_at(self, clock: int, window: TimeWindow) -> set[int]:
        """Return the labels of the rows that the window held at an instant."""
        return {row.label for row in self.those_in(window, self.every_row) if self.lasted(row, clock)}

    def view(self) -> View:
        """Choose who answers the request that comes now."""
        habits = self.habits
        is_wrong = self.requests in habits.wrong_requests
        if habits.wrong_share:
            is_wrong = is_wrong or self.rng.random() < habits.wrong_share
        lag = self.rng.choice(habits.replica_lags) if len(habits.replica_lags) > 1 else habits.replica_lags[0]
        return View(lag, habits.wrong if is_wrong else None)

    def seen(self, view: View) -> list[Row]:
        """Return the rows that a replica has, in order."""
        clock = self.clock_at(self.now - view.lag) if view.lag else self.clock
        rows = self.rows
        if clock != self.clock:
            rows = sorted(row for row in self.every_row if self.lasted(row, clock))
        if view.wrong == "empty":
            return []
        if view.wrong == "shard":
            return [row for row in rows if row.number % _SHARDS]
        if view.wrong == "tail":
            # What came last is not there yet: a tenth of all rows, and one at least.
            known = self._numbers - max(1, len(rows) // _TAIL)
            return [row for row in rows if row.number <= known]
        return rows

    def bounds(self, window: TimeWindow, rows: list[Row] | None = None) -> tuple[int, int]:
        rows = self.rows if rows is None else rows
        start, end = since_start(window.start), since_start(window.end)
        low = bisect_left if self.habits.includes_start else bisect_right
        high = bisect_right if self.habits.includes_end else bisect_left
        first = low(rows, start, key=_time)
        return first, max(first, high(rows, end, key=_time))

    def page_size(self, request: PageRequest) -> int:
        habits = self.habits
        if self.requests < habits.clamps_from:
            return request.size
        if request.size < habits.refuses_below:
            raise InvalidQueryError("parameter exception", status=-22, window=request.window)
        return habits.forced_page or min(max(request.size, habits.smallest_page), habits.largest_page)

    def count(self, request: PageRequest, view: View = TRUE_VIEW) -> int:
        """Return what COUNT reports."""
        habits = self.habits
        counted_at, count = self._counts.get(request.params, (0.0, -1))
        if count < 0 or self.now - counted_at >= habits.count_cached:
            behind = View(max(view.lag, habits.count_lag), view.wrong)
            first, last = self.bounds(request.window, self.seen(behind))
            count = last - first
            if habits.count_cached:
                self._counts[request.params] = self.now, count
        count = habits.tell(count)
        return count if habits.count_cap is None else min(count, habits.count_cap)

    def select(self, request: PageRequest, current: int, size: int, view: View = TRUE_VIEW) -> list[Row]:
        rows = self.seen(view)
        first, last = self.bounds(request.window, rows)
        skip = (current - 1) * size
        self.rows_read += min(last - first, current * size)
        self.deepest = max(self.deepest, current)
        if self.habits.order == "newest":
            stop = last - skip
            return rows[max(first, stop - size) : max(first, stop)][::-1]
        low, high = min(last, first + skip), min(last, first + skip + size)
        if self.habits.order == "random":
            # A page of a fresh shuffle is a random sample.
            return self.rng.sample(rows[first:last], high - low)
        if self.habits.order == "ties":
            return self._draw_ties(rows, first, last, low, high)
        return rows[low:high]

    def _draw_ties(self, rows: list[Row], first: int, last: int, low: int, high: int) -> list[Row]:
        drawn: list[Row] = []
        while low < high:
            second = rows[low].time // 1_000
            begins = bisect_left(rows, second * 1_000, first, last, key=_time)
            ends = bisect_left(rows, second * 1_000 + 1_000, first, last, key=_time)
            drawn += self.rng.sample(rows[begins:ends], min(ends, high) - low)
            low = ends
        return drawn


def _time(row: Row) -> int:
    return row.time


class Flight:
    """A request on its way: its COUNT and its SELECT are instants of their own."""

    def __init__(self, vendor: Vendor, request: PageRequest) -> None:
        """Send `request`."""
        vendor.requests += 1
        self.vendor = vendor
        self.request = request
        self.view = vendor.view()
        self.size = 0
        self.current = request.current
        self.total: int | None = None
        self.counted_at = 0
        self.counted = 0.0
        self.selected = 0.0
        self.rows: list[Row] | None = None

    def advance(self) -> PageAnswer | None:
        """Run the next statement; return the answer once both have run.

        Raises:
            SipCdrError: the vendor's own error, or what its answer is read as.
        """
        vendor, habits = self.vendor, self.vendor.habits
        cached = vendor.cached.get(self._body) if habits.caches_bodies else None
        if cached is not None:
            self._note_instant()
            return cached
        self.size = vendor.page_size(self.request)
        if self.total is None and (habits.counts_first or self.rows is not None):
            self.total = vendor.count(self.request, self.view)
            self._note_instant()
            pages = max(1, -(-self.total // self.size))
            if self.rows is None and self.current > pages:
                self._go_past_the_end(pages)
        elif self.rows is None:
            self.rows = vendor.select(self.request, self.current, self.size, self.view)
            self.selected = vendor.now
        if self.total is None or self.rows is None:
            return None
        answer = self._answer(self.total, self.rows)
        if habits.caches_bodies:
            vendor.cached[self._body] = answer
        return answer

    @property
    def _body(self) -> tuple[bytes, int, int]:
        # What must be fresh is sent with bytes that no request had before.
        request = self.request
        is_fresh = request.needs_fresh_answer and not self.vendor.habits.cache_ignores_blanks
        serial = self.vendor.requests if is_fresh else 0
        return request.params + b" " * serial, request.current, request.size

    def _note_instant(self) -> None:
        self.counted_at, self.counted = self.vendor.clock, self.vendor.now

    def _go_past_the_end(self, pages: int) -> None:
        how = self.vendor.habits.past_the_end
        if how == "error":
            raise ServerFaultError("port program unusual", status=-18, window=self.request.window)
        if how == "unreadable":
            raise ProtocolError("the response is not one of this endpoint: status 0 without data", retryable=True)
        if how in {"first", "last"}:
            self.current = 1 if how == "first" else pages

    def _answer(self, total: int, rows: list[Row]) -> PageAnswer:
        vendor, current, size = self.vendor, self.current, self.size
        if vendor.habits.echoes_asked:
            size = self.request.size
        if vendor.habits.wrong_echo and vendor.rng.random() < vendor.habits.wrong_echo:
            current, size = vendor.rng.choice([(current + 1, size), (current, self.request.size + 1), (1, size)])
        garbled = [row for row in rows if not row.broken and vendor.rng.random() < vendor.habits.garbles]
        broken = [
            QuarantinedRecord(
                raw=raw_of(row),
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


def raw_of(row: Row) -> bytes:
    """Return the bytes of a row that cannot be decoded; they begin with its id."""
    version = row.record.charged_duration
    return f"{row.voice_id}/{row.label}{f'/{version}' if version else ''}".encode()


class RequestStormError(AssertionError):
    """A run has sent more requests than any run may."""


@dataclass(kw_only=True)
class Drive:
    """How a plan is driven: how much is under way at once, and what happens meanwhile."""

    concurrency: int = 4
    happen: Callable[[Vendor], None] | None = None
    """Called with a chance of `busy` between any two instants, `most_happenings` times at most."""
    busy: float = 0.0
    most_happenings: int = 0
    per_second: float = 0.0
    """How often it is called in a second of simulated time, besides."""
    step: float = 0.0
    """Milliseconds from one instant to the next, on average; a request takes two at least."""
    most_requests: int = 100_000
    lazy_reader: bool = False
    ends_after: int | None = None
    """The run is killed when so many things have happened to it."""


@dataclass(kw_only=True)
class Run:
    """What came of it.

    Attributes:
        counted_at: the vendor's clock at the last count of each window.
        attested: likewise when its last page was read, or at its last count less what the vendor may be behind,
            whichever is later: the rows that lasted from then on must be here.
    """

    reader: RangeReader
    vendor: Vendor
    windows: list[CompleteWindow] = field(default_factory=list)
    entries: list[JournalEvent | Delivered] = field(default_factory=list)
    """What was written down, for a coverage that takes notes."""
    error: SipCdrError | None = None
    counted_at: dict[TimeWindow, int] = field(default_factory=dict)
    attested: dict[TimeWindow, int] = field(default_factory=dict)
    most_held: float = 0
    requests: int = 0
    took: float = 0.0
    """Milliseconds of simulated time."""
    _selected: dict[TimeWindow, float] = field(default_factory=dict)

    @property
    def certified(self) -> bool:
        """Whether every window was proven, unreadable records aside."""
        if self.reader.report.quarantined:
            assert not self.reader.report.certified
        return self.error is None and self.reader.is_finished and not self.reader._unproven

    @property
    def records(self) -> list[CallDetailRecord]:
        return [record for window in self.windows for record in window.records]

    @property
    def delivered(self) -> list[str]:
        ids = [record.voice_id for window in self.windows for record in window.records]
        return ids + [one.raw.decode().partition("/")[0] for window in self.windows for one in window.quarantined]

    def note_answer(self, flight: Flight) -> None:
        window, vendor = flight.request.window, self.vendor
        self.counted_at[window] = flight.counted_at
        if not vendor.habits.most_lag:
            return
        if not flight.request.control:
            self._selected[window] = flight.selected - max(vendor.habits.replica_lags)
        instant = max(self._selected.get(window, 0.0), flight.counted - vendor.habits.most_lag)
        self.attested[window] = vendor.clock_at(instant)


class _Traffic:
    """What happens at the vendor while a run goes on, by chance or by the clock."""

    def __init__(self, vendor: Vendor, how: Drive) -> None:
        self._vendor = vendor
        self._how = how
        self._happened = 0
        self._next = self._draw_next(vendor.now) if how.per_second else float("inf")

    def go_on(self) -> None:
        """Let the time of one step pass."""
        vendor, how = self._vendor, self._how
        until = vendor.now + (vendor.rng.expovariate(1 / how.step) if how.step else 0.0)
        self.pass_until(until)
        if self._happened < how.most_happenings and how.happen is not None and vendor.rng.random() < how.busy:
            self._happened += 1
            vendor.tick()
            how.happen(vendor)

    def pass_until(self, until: float) -> None:
        while self._next <= until:
            self._vendor.now = self._next
            self._next = self._draw_next(self._next)
            if self._how.happen is not None:
                self._vendor.tick()
                self._how.happen(self._vendor)
        self._vendor.now = max(self._vendor.now, until)

    def _draw_next(self, now: float) -> float:
        return now + self._vendor.rng.expovariate(self._how.per_second) * 1_000


def drive(reader: RangeReader, vendor: Vendor, how: Drive) -> Run:  # noqa: C901, PLR0912, PLR0915 - one loop, many things that may happen next
    """Work off `reader` against `vendor`, its answers in any order."""
    run = Run(reader=reader, vendor=vendor)
    rng = vendor.rng
    flying: list[Flight] = []
    delayed: list[tuple[float, PageRequest]] = []
    traffic = _Traffic(vendor, how)
    began = vendor.now
    steps = 0

    def send(request: PageRequest) -> None:
        flying.append(Flight(vendor, request))
        run.requests += 1

    while True:
        steps += 1
        if how.ends_after is not None and steps > how.ends_after:
            return run
        traffic.go_on()
        run.took = vendor.now - began
        for due in [one for one in delayed if one[0] <= vendor.now]:
            delayed.remove(due)
            send(due[1])
        while len(flying) < how.concurrency and (request := reader.next_request()) is not None:
            if request.delay:
                delayed.append((vendor.now + request.delay * 1_000, request))
                continue
            send(request)
            if rng.random() < 0.2:
                break
        run.most_held = max(run.most_held, reader._pending._weight() / FULL_WINDOW)
        if run.requests > how.most_requests:
            raise RequestStormError(f"{run.requests} requests and no end")
        if not (how.lazy_reader and flying and rng.random() < 0.7):
            while (event := reader.take_event()) is not None:
                run.entries.append(event)
            while (window := reader.take_complete()) is not None:
                run.windows.append(window)
                run.entries.append(Delivered(reported=window.report, share=window.share))
        if not flying:
            if delayed:
                traffic.pass_until(min(due for due, _ in delayed))
                continue
            if reader.is_finished:
                return run
            if not reader.has_result:
                request = reader.next_request()
                assert request is not None, "stuck: nothing is under way and nothing is to be asked"
                delayed.append((vendor.now + request.delay * 1_000, request))
            continue
        # Mostly in the order of sending, sometimes in any.
        index = rng.randrange(len(flying)) if rng.random() < 0.7 else 0
        flight = flying[index]
        try:
            answer = flight.advance()
        except SipCdrError as error:
            flying.pop(index)
            run.error = refuse(reader, flight.request, error)
            if run.error is not None:
                return run
            continue
        if answer is None:
            continue
        flying.pop(index)
        # Other owners ask for the same windows, and an answer to one that has been decided counts for nothing.
        if isinstance(owner := flight.request.owner, WindowTask) and owner.is_open:
            run.note_answer(flight)
        run.error = accept(reader, flight.request, answer)
        if run.error is not None:
            return run


def ages_of(settled_before: datetime = SETTLED, count_delay: timedelta = timedelta(0)) -> AgePolicy:
    """Return a policy under which windows that end after `settled_before` are young."""
    return AgePolicy(lambda: VendorTime(settled_before, is_local=False), timedelta(0), count_delay)


def ages_at(begun: int, vendor: Vendor) -> AgePolicy:
    """Return the policy of a client whose run begins so many milliseconds after the start, by the vendor's clock."""
    return AgePolicy(
        lambda: VendorTime(at(begun + int(vendor.now)), is_local=False), timedelta(hours=4), timedelta(seconds=1)
    )


def cover(  # noqa: D417 - the rest are Coverage's own
    window: TimeWindow,
    *,
    size: int = 100,
    most_windows: int = 4,
    filters: Filters | None = None,
    settled_before: datetime = SETTLED,
    ages: AgePolicy | None = None,
    seam: TimeWindow | None = None,
    time_field: str | None = None,
    exact: tuple[datetime, datetime] | None = None,
    **settings: object,
) -> RangeReader:
    """Build a RangeReader with `settings`.

    Args:
        window: the range.
        size: records a page.
        most_windows: the places for windows.
        filters: the filters of the query.
        settled_before: windows that end later are provisional.
        ages: instead of that.
        seam: the second that belongs to the left neighbour.
        time_field: the time that the vendor is known to filter on.
        exact: the bounds that calls are trimmed to.
    """
    return RangeReader(
        OwnedSpan(window=window, preceding_second=seam, time_field=time_field, bounds=exact),
        filters or Filters(),
        size=size,
        quota=RowQuota(most_windows),
        ages=ages or ages_of(settled_before),
        **settings,  # type: ignore[arg-type]
    )


@contextmanager
def smaller_windows(max_rows: int, target_rows: int) -> Iterator[None]:
    """Make windows of `max_rows` at most, five times as many in few seconds: small ranges show what large ones do."""
    dense = max_rows * 5 - 1
    with (
        patch.multiple(budget_module, MAX_ROWS=max_rows, TARGET_ROWS=target_rows, MAX_DENSE_ROWS=dense),
        patch.multiple(range_module, MAX_ROWS=max_rows, TARGET_ROWS=target_rows),
    ):
        yield


def scaled_windows(scale: int) -> AbstractContextManager[None]:
    """Make windows `scale` times smaller than real ones."""
    return smaller_windows(budget_module.MAX_ROWS // scale, budget_module.TARGET_ROWS // scale)


def check_windows(run: Run, window: TimeWindow) -> None:
    """Compare every certificate, row by row, with what was true at the instant of its count."""
    vendor = run.vendor
    copies = Counter(row.record for row in vendor.every_row)
    labels = {raw_of(row): row.label for row in vendor.every_row}
    seen: Counter[int] = Counter()
    for complete in run.windows:
        here = Counter(label_of(record) for record in complete.records)
        here.update(labels[one.raw] for one in complete.quarantined)
        own = Counter(complete.records)
        assert own <= copies, "a row that never was"
        seen.update(here)
        if complete.report.certified:
            assert complete.report.total == complete.report.unique
            if vendor.habits.is_consistent:
                check_nothing_missing(run, complete.window, seen)
        # What cannot be read, or has changed, may count twice where nothing is certified: the last part of a window
        # that was cut in vain brings rows which only that window had, and it may hold one of them without its id.
        is_proven = complete.report.certified and not any(complete.share.unclaimed)
        if is_proven or not (vendor.habits.garbles or vendor.has_changed):
            assert_once(vendor, here)
    # A row in a shared second that cannot be read on one side of it is reported on both.
    if not vendor.habits.garbles and (run.certified or not vendor.has_changed):
        assert_once(vendor, seen)
    if run.certified and not vendor.habits.is_consistent:
        # A part of one page is trusted until its split window contradicts it; a neighbour may have the rows it lacks.
        for complete in run.windows:
            check_nothing_missing(run, complete.window, seen)
    real = {row.label for row in vendor.those_in(window, vendor.every_row)}
    assert seen.keys() <= real, "a row of another range"


def check_nothing_missing(run: Run, window: TimeWindow, seen: Counter[int]) -> None:
    """Check that the rows were seen that were in a window all the time that its certificate is for."""
    vendor = run.vendor
    there = vendor.labels_at(run.counted_at[window], window)
    if (attested := run.attested.get(window)) is not None and attested != run.counted_at[window]:
        there &= vendor.labels_at(attested, window)
    assert there <= seen.keys(), f"certified and {len(there - seen.keys())} short"


def assert_once(vendor: Vendor, seen: Counter[int]) -> None:
    """Check that no row was handed over more often than it is stored."""
    repeated = [label for label, times in seen.items() if times > 1]
    if repeated:
        stored = Counter((row.label, row.record.charged_duration) for row in vendor.every_row)
        for label in repeated:
            most = max(times for (one, _), times in stored.items() if one == label)
            assert seen[label] <= most, f"a row {seen[label]} times"


def check_order(run: Run) -> None:
    """Check the order of design.md: windows oldest first, calls by time, undated last, then id."""
    starts = [complete.window.start for complete in run.windows]
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts)
    reports = [reported.window for reported in run.reader.report.window_reports]
    assert reports == [complete.window for complete in run.windows]
    for complete in run.windows:
        keys = [
            (record.submit_time is None, record.submit_time or START, record.voice_id) for record in complete.records
        ]
        assert keys == sorted(keys)


def check_report(run: Run) -> None:
    """Check that the sums of the report are those of what was handed over."""
    report = run.reader.report
    assert report.unique == len(run.delivered)
    assert report.windows == len(run.windows)
    assert report.quarantined == sum(len(complete.quarantined) for complete in run.windows)
    if run.certified:
        assert report.total == report.unique
        assert all(complete.report.certified for complete in run.windows)


def check_limits(run: Run, most_windows: int) -> None:
    assert run.most_held <= most_windows
    if run.error is not None:
        assert isinstance(run.error, (IncompleteRangeError, SchemaMismatchError))
