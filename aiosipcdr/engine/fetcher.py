"""Validated queries answered by an open engine: ranges, counts and single pages."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from aiosipcdr.engine.session import EngineSession
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.model.errors import IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.query import FilterMatch, Filters, OutOfRange, Query
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.report import CallDetailRecords
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.proof.budget import RowQuota
from aiosipcdr.proof.checkpoint import JournalQueue
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.proof.overlaps import identity
from aiosipcdr.proof.parts import PartPlanner, RangePart, part_filters, part_span, seal_phone
from aiosipcdr.proof.queries import RangeCount, SinglePage, WindowCounts
from aiosipcdr.proof.range import RangeReader

__all__ = ["Fetcher"]


class Fetcher:
    """Turns queries into plans and runs them in a session.

    Attributes:
        session: Provides the engine.
        strict: Whether the first record or value that cannot be read ends a run.
        page_size: Records per page.
        quota: Limit of the rows that all runs of the session hold in memory.
    """

    def __init__(
        self, session: EngineSession, *, page_size: int, lateness: timedelta, count_delay: timedelta, strict: bool
    ) -> None:
        """Keep the settings: see `CdrClient`."""
        self.session: EngineSession = session
        self.strict: bool = strict
        self.quota: RowQuota = RowQuota(session.transport.connections)
        self.page_size: int = page_size
        self._lateness = lateness
        self._count_delay = count_delay

    def plan_range(
        self,
        query: Query,
        normalize: Callable[[CallDetailRecord], CallDetailRecord] = identity,
        *,
        span: OwnedSpan | None = None,
        tiles: Sequence[TimeWindow] | None = None,
        journal: JournalQueue | None = None,
    ) -> RangeReader:
        """Return the plan that reads a range.

        Args:
            query: The range.
            normalize: Two records are equal if it returns equal records for them.
            span: Which of its calls are delivered; by default as the query says.
            tiles: The windows to begin with; by default the widest.
            journal: Receives the events that an export must write before the run acts on them.

        Raises:
            ValueError: The range cannot be planned.
            ClientStateError: The session is not open in this process and event loop.
        """
        if span is None:
            plan = OwnedSpan.adjacent if query.adjacent else OwnedSpan.alone
            span = plan(query.start, query.end, time_field=query.time_field)
        return RangeReader(
            span,
            query.filters,
            size=self.page_size,
            quota=self.quota,
            ages=AgePolicy(self.session.engine.read_vendor_clock, self._lateness, self._count_delay),
            allow_incomplete=query.allow_incomplete,
            skip_out_of_range=query.skip_out_of_range,
            strict=self.strict,
            normalize=normalize,
            journal=journal,
            tiles=tiles,
        )

    def stream(self, query: Query) -> CdrStream:
        """Return the calls of a range as a stream."""
        return self.read(self.plan_range(query))

    def stream_part(
        self, part: RangePart, match: FilterMatch, *, on_out_of_range: OutOfRange, allow_incomplete: bool
    ) -> CdrStream:
        """Return the calls that a part owns as a stream."""
        query = Query.of(
            part.start,
            part.end,
            part_filters(part, self.session.credentials(), match),
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=part.time_field,
        )
        return self.read(self.plan_range(query, span=part_span(part)))

    async def plan_parts(self, query: Query, rows: int) -> list[RangePart]:
        """Return the range as parts of about `rows` calls."""
        planner = PartPlanner(query, rows, now=self.session.engine.read_vendor_clock().now)
        sealed_phone = seal_phone(query.filters, self.session.credentials())
        while due := planner.due:
            plan = WindowCounts(
                due, query.filters, span=planner.span, size=self.page_size, confirm_zero=planner.is_first
            )
            try:
                await self.session.run_plan(plan)
            except OutOfTimeRangeError as error:
                if not query.skip_out_of_range:
                    raise
                planner.start_later(error.available_from)
            else:
                planner.take(plan.totals)
        return planner.build(sealed_phone)

    def read(self, reader: RangeReader) -> CdrStream:
        """Return the stream of the windows that `reader` reads."""
        return CdrStream(self.session.engine, reader, self.session.hook)

    async def fetch_all(self, query: Query) -> CallDetailRecords:
        """Return the calls of a range."""
        stream = self.stream(query)
        records = CallDetailRecords()
        try:
            async with stream:
                async for window in stream.windows():
                    records += window.records
                    records.quarantined += window.quarantined
        except IncompleteRangeError as incomplete:
            records += incomplete.records
            records.quarantined += incomplete.records.quarantined
            records.report = incomplete.report = stream.report
            incomplete.records = records
            raise
        records.report = stream.report
        return records

    async def count(self, query: Query) -> int:
        """Return how many calls the vendor counts in a range."""
        now = self.session.engine.read_vendor_clock().now
        plan = RangeCount(query.window, query.filters, size=self.page_size, now=now)
        await self.session.run_plan(plan)
        return plan.total

    async def count_windows(self, windows: Iterable[TimeWindow], filters: Filters) -> dict[TimeWindow, int]:
        """Return how many calls the vendor counts in each window."""
        plan = WindowCounts(windows, filters, size=self.page_size)
        if not plan.has_result:
            await self.session.run_plan(plan)
        return plan.totals

    async def recount(
        self, windows: Iterable[TimeWindow], filters: Filters, *, skip_out_of_range: bool
    ) -> dict[TimeWindow, int]:
        """Count windows that were read before.

        Args:
            windows: The windows.
            filters: Filters of the query.
            skip_out_of_range: Leave out windows of which the vendor has deleted a part.

        Raises:
            OutOfTimeRangeError: The vendor has deleted a part of one, and `skip_out_of_range` is false.
        """
        windows = list(windows)
        try:
            return await self.count_windows(windows, filters)
        except OutOfTimeRangeError as error:
            available_from = error.available_from
            if not skip_out_of_range:
                raise
        return await self.count_windows(
            [window for window in windows if available_from is not None and window.start >= available_from], filters
        )

    async def fetch_page(self, query: Query, current: int, size: int) -> Page:
        """Return one page as the vendor sends it, without proof."""
        plan = SinglePage(query.window, query.filters, current=current, size=size, strict=self.strict)
        await self.session.run_plan(plan)
        assert plan.page is not None  # noqa: S101 - the plan has its result
        return plan.page

    async def ping(self) -> None:
        """Count the calls of the last hour; return if the vendor accepts the request."""
        end = datetime.now(UTC)
        window = TimeWindow.of(end - timedelta(hours=1), end)
        await self.session.run_plan(WindowCounts([window], Filters(), size=self.page_size, confirm_zero=False))
