"""Reader of a feed: finds what has changed by halving, with two counts when nothing has."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from time import monotonic

from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, TimeField
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.sync.checkpoints import Span
from aiosipcdr.sync.reader import SpanReader
from aiosipcdr.sync.rows import Values
from aiosipcdr.sync.spans import plan_reading

__all__ = ["FeedReader", "HalvingSearch"]

_MOST_STRETCHES = 1_000


class HalvingSearch:
    """Finds the spans of a stretch whose calls the vendor counts differently now, by halving.

    At first the whole stretch without its last span, and with it, are counted: nothing else is if both are unchanged.
    A call that arrived and one that vanished in the same half cancel out; a deep pass finds them.

    The caller counts the windows of `due` and passes the totals to `take`, until none is due. Pure.

    Attributes:
        changed: The spans whose counts differ, oldest first.
        preceding: Calls of the second before the stretch, as counted or assumed.
    """

    def __init__(self, spans: Sequence[Span], base: OwnedSpan, preceding: int | None = None) -> None:
        """Plan the first counts.

        Args:
            spans: See `aiosipcdr.sync.spans.ChangeSearch`.
            base: The range of the request that reads the stretch.
            preceding: Calls of the second before the stretch when it was counted last: counted again if a total
                differs.
        """
        self.changed: list[Span] = []
        self.preceding: int | None = preceding if base.preceding_second else 0
        self._is_assumed = base.preceding_second is not None and preceding is not None
        self._spans = spans
        self._base = base
        self._bounds = sorted({0, len(spans) - 1, len(spans)})
        self._totals: dict[int, int] = {} if self.preceding is None else {0: self.preceding}

    @property
    def due(self) -> list[TimeWindow]:
        """The windows to count next."""
        return [self._window(bound) for bound in self._bounds if bound not in self._totals]

    def take(self, totals: Mapping[TimeWindow, int]) -> None:
        """Process the totals of the windows that were due."""
        self._totals |= {bound: totals[self._window(bound)] for bound in self._bounds if bound not in self._totals}
        self.preceding = self._totals[0]
        differing = [(first, last) for first, last in pairwise(self._bounds) if self._differs(first, last)]
        if self._is_assumed and any(first == 0 for first, _ in differing):
            self._is_assumed = False
            del self._totals[0]
            return
        middles = {(first + last) // 2 for first, last in differing if last - first > 1}
        if middles:
            self._bounds = sorted({*self._bounds, *middles})
        else:
            self.changed = [self._spans[first] for first, _ in differing]

    def _differs(self, first: int, last: int) -> bool:
        expected = sum(span.count or 0 for span in self._spans[first:last])
        return self._totals[last] - self._totals[first] != expected

    def _window(self, bound: int) -> TimeWindow:
        end = self._spans[bound - 1].end if bound else self._spans[0].start
        return TimeWindow(self._base.window.start, end)


class FeedReader(SpanReader):
    """Counts and reads the spans of a feed.

    Attributes:
        limit: The clock is not read as later than this; `None` for the vendor's time.
        is_behind: Whether the vendor's time was later than `limit`.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        filters: Filters,
        time_field: TimeField | None,
        form: Callable[[Values, CallDetailRecord], Values],
    ) -> None:
        """See `SpanReader`."""
        super().__init__(fetcher, filters, time_field, form)
        self.limit: datetime | None = None
        self.is_behind: bool = False
        self._preceding: dict[datetime, int] = {}
        self._has_asked = False

    def restart(self) -> None:
        """Begin another poll: set the counters to zero."""
        self.requests = self.retries = 0
        self.faulty_fields: Counter[str] = Counter()
        self._started = monotonic()

    async def read_clock(self) -> datetime:
        """Return the vendor's current time, or `limit`; takes a request at the first call only."""
        if self._has_asked:
            now = self._fetcher.session.engine.read_vendor_clock().now.replace(microsecond=0).astimezone(UTC)
        else:
            now = await super().read_clock()
            self._has_asked = True
        self.is_behind = self.limit is not None and self.limit < now
        return self.limit if self.limit is not None and self.is_behind else now

    async def find_changed(self, spans: Sequence[Span], *, has_left: bool) -> list[Span]:
        """Return those of a stretch of spans whose calls the vendor counts differently now.

        Raises:
            OutOfTimeRangeError: The vendor has deleted a part of the stretch.
        """
        base, _ = plan_reading(spans, has_left=has_left, is_trimmed=self._time_field is not None)
        start = spans[0].start
        search = HalvingSearch(spans, base, self._preceding.get(start))
        while due := search.due:
            search.take(await self._count(due))
        if search.preceding is not None:
            if len(self._preceding) > _MOST_STRETCHES:
                self._preceding.clear()
            self._preceding[start] = search.preceding
        return search.changed
