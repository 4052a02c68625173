"""Reader of spans: counts and proven readings of a table's spans, by the runs of a client."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import NamedTuple

from aiosipcdr.engine.engine import run_numbers
from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.query import Filters, Query
from aiosipcdr.model.records import CallDetailRecord, TimeField
from aiosipcdr.model.report import CompleteWindow
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.proof.parts import PartPlanner
from aiosipcdr.proof.queries import WindowCounts
from aiosipcdr.sync.checkpoints import Span
from aiosipcdr.sync.diff import FoundRow
from aiosipcdr.sync.rows import FIELDS, Values, to_values
from aiosipcdr.sync.spans import PLAN_ROWS, ChangeSearch, plan_reading

__all__ = ["Reading", "SpanReader"]


class Reading(NamedTuple):
    """A proven reading of a span.

    Attributes:
        span: The span, with the count and the time of this reading.
        rows: The rows that it owns.
        quarantined: Number of its records that could not be decoded.
    """

    span: Span
    rows: list[FoundRow]
    quarantined: int


class SpanReader:
    """Counts and reads spans.

    Attributes:
        requests: Requests sent, retries included.
        retries: Requests that were repeated after an error.
        faulty_fields: Names of fields that could not be read, with the number of calls.
        count_delay: Time between the last page of a young window and its control count; `None` for the client's.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        filters: Filters,
        time_field: TimeField | None,
        form: Callable[[Values, CallDetailRecord], Values] = lambda values, _: values,
    ) -> None:
        """Use `fetcher`, whose session is open.

        Args:
            fetcher: Sends the requests.
            filters: Which calls the table holds.
            time_field: The time that the vendor is known to filter on: a span without a span before it then has no
                rows before its start.
            form: Returns the values of a row that are compared, from all of them and the record.
        """
        self.requests: int = 0
        self.retries: int = 0
        self.faulty_fields: Counter[str] = Counter()
        self.count_delay: timedelta | None = None
        self._fetcher = fetcher
        self._filters = filters
        self._time_field = time_field
        self._form = form
        self._started = monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it was created."""
        return monotonic() - self._started

    async def read_clock(self) -> datetime:
        """Return the vendor's current time in whole seconds, UTC; takes a request if no answer has stated it yet."""
        engine = self._fetcher.session.engine
        if engine.read_vendor_clock().is_local:
            now = engine.read_vendor_clock().now
            await self._count([TimeWindow.of(now - SECOND, now)])
        return engine.read_vendor_clock().now.replace(microsecond=0).astimezone(UTC)

    def read_earlier_clock(self) -> datetime:
        """Return the vendor's current time or this machine's, the earlier one, in whole seconds, UTC."""
        engine = self._fetcher.session.engine
        ahead = timedelta(seconds=max(0.0, engine.clock_offset or 0.0))
        return (engine.read_vendor_clock().now - ahead).replace(microsecond=0).astimezone(UTC)

    async def find_changed(self, spans: Sequence[Span], *, has_left: bool) -> list[Span]:
        """Return those of a stretch of spans whose calls the vendor counts differently now.

        Raises:
            OutOfTimeRangeError: The vendor has deleted a part of the stretch.
        """
        base, _ = plan_reading(spans, has_left=has_left, is_trimmed=self._time_field is not None)
        search = ChangeSearch(spans, base)
        while due := search.due:
            search.take(await self._count(due))
        return search.changed

    async def plan_pieces(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime, int]]:
        """Cut new time into pieces: start, end, and estimated number of calls of each, oldest first.

        Raises:
            OutOfTimeRangeError: The vendor has deleted a part of it.
        """
        engine = self._fetcher.session.engine
        planner = PartPlanner(Query.of(start, end, self._filters), PLAN_ROWS, now=engine.read_vendor_clock().now)
        while due := planner.due:
            planner.take(await self._count(due, confirm_zero=planner.is_first))
        return [(part.start.astimezone(UTC), part.end.astimezone(UTC), part.rows) for part in planner.build()]

    async def read(self, spans: Sequence[Span], *, has_left: bool) -> list[Reading]:
        """Read a stretch of spans and prove it complete.

        Args:
            spans: The spans, oldest first, each beginning where the one before ends.
            has_left: Whether a span of the table ends where the first one begins.

        Raises:
            IncompleteRangeError: One of them cannot be proven complete.
            OutOfTimeRangeError: The vendor has deleted a part of the stretch.
        """
        owned, tiles = plan_reading(spans, has_left=has_left, is_trimmed=self._time_field is not None)
        query = Query.of(owned.window.start, owned.window.end, self._filters)
        read_at = self.read_earlier_clock()
        plan = self._fetcher.plan_range(query, span=owned, tiles=tiles, count_delay=self.count_delay)
        stream = self._fetcher.read(plan)
        windows: list[list[CompleteWindow]] = [[] for _ in spans]
        position = 0
        try:
            async with stream:
                async for window in stream.windows():
                    while window.window.end > spans[position].end:
                        position += 1
                    if not owned.is_preceding(window.window):
                        windows[position].append(window)
        finally:
            self.requests += stream.report.requests
            self.retries += stream.report.retries
        self.faulty_fields.update(stream.report.faulty_fields)
        begin = None if has_left or self._time_field is None else spans[0].start
        return [
            self._take(span, read, read_at, begin if span is spans[0] else None)
            for span, read in zip(spans, windows, strict=True)
        ]

    def announce_recheck(self, window: TimeWindow, *, rows: int, delay: float) -> None:
        """Send the event that a window is read again after `delay` seconds, as so many rows would vanish."""
        kind, number = EventKind.RECHECK_SCHEDULED, next(run_numbers)
        self._fetcher.session.hook(Event(kind=kind, run=number, window=window, records=rows, delay=delay))

    def _take(
        self, span: Span, windows: Iterable[CompleteWindow], read_at: datetime, begin: datetime | None
    ) -> Reading:
        read: list[tuple[Values, CallDetailRecord]] = []
        count = quarantined = 0
        for window in windows:
            read += zip(to_values(window.records), window.records, strict=True)
            quarantined += len(window.quarantined)
            count += window.report.copies
        count += len(read) + quarantined
        if begin is not None and self._time_field is not None:
            index = FIELDS.index(self._time_field)
            read = [row for row in read if row[0][index] is None or row[0][index] >= begin]
        rows = [FoundRow(self._form(values, record), span.start) for values, record in read]
        return Reading(Span(start=span.start, end=span.end, count=count, read_at=read_at), rows, quarantined)

    async def _count(self, windows: Sequence[TimeWindow], *, confirm_zero: bool = False) -> dict[TimeWindow, int]:
        # A zero that is wrong makes a count differ, and the span is read: it needs no confirmation here.
        plan = WindowCounts(
            windows, self._filters, size=self._fetcher.page_size, confirm_zero=confirm_zero, span=_hull(windows)
        )
        self.requests += await self._fetcher.session.run_plan(plan)
        return plan.totals


def _hull(windows: Sequence[TimeWindow]) -> TimeWindow:
    return TimeWindow(min(window.start for window in windows), max(window.end for window in windows))
