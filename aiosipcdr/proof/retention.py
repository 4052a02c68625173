"""Retention boundary: the oldest time that the vendor still keeps, and the gap before it.

Found by bisection with requests for windows of two seconds, which assumes that the vendor refuses all times before a
refused one.
"""

from bisect import insort
from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import attrgetter

from aiosipcdr.model.errors import OutOfTimeRangeError, SipCdrError, StatusCode
from aiosipcdr.model.query import Filters
from aiosipcdr.model.report import WindowReport, WindowReportBuilder
from aiosipcdr.model.windows import NARROWEST_SECONDS, SECOND, TimeWindow
from aiosipcdr.proof.page import PageRequest, PlanChange, Transition
from aiosipcdr.wire.codec import PageAnswer, encode_params

__all__ = ["BoundarySearch", "RetentionBoundary", "find_gaps"]

BOUNDARY_MARGIN = timedelta(seconds=10)

_PROBE = timedelta(seconds=NARROWEST_SECONDS)


class BoundarySearch:
    """Bisects `window`, whose start was refused as out of the time range.

    Attributes:
        available_from: The oldest start that was accepted so far.
        is_done: Whether the search has ended.
    """

    def __init__(self, window: TimeWindow, filters: Filters) -> None:
        """Plan a probe of the end of `window`, since all of it may be out of range."""
        self.available_from: datetime | None = None
        self.is_done: bool = False
        self._window = window
        self._filters = filters
        self._refused = window.start
        self._probe: datetime | None = max(window.start, window.end - _PROBE)

    def next_request(self) -> PageRequest | None:
        """Return the next probe; one at a time."""
        if self._probe is None:
            return None
        window = TimeWindow(self._probe, min(self._probe + _PROBE, self._window.end))
        self._probe = None
        params = encode_params(window, self._filters)
        return PageRequest(owner=self, window=window, params=params, current=1, size=1, control=True)

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:  # noqa: ARG002 - only that there is one
        """Process the answer to a probe; `PlanChange.DONE` when the boundary is found."""
        return self._note(request, accepted=True)

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Process the refusal of a probe; `PlanChange.DONE` when the boundary is found."""
        return self._note(request, accepted=False) if isinstance(error, OutOfTimeRangeError) else error

    def _note(self, request: PageRequest, *, accepted: bool) -> PlanChange | None:
        if accepted:
            self.available_from = request.window.start
        else:
            self._refused = request.window.start
        if self.available_from is None or self.available_from - self._refused <= SECOND:
            self.is_done = True
            return PlanChange.DONE
        self._probe = self._refused + (self.available_from - self._refused) // SECOND // 2 * SECOND
        return None

    def describe(self, *, can_skip: bool) -> OutOfTimeRangeError:
        """Return the error that states which part of the window is available.

        Args:
            can_skip: Whether the caller can skip the unavailable part, which a count cannot.
        """
        boundary = self.available_from
        since = "nothing of it is available" if boundary is None else f"available from {boundary.isoformat()} on"
        advice = ', or skip what is gone with on_out_of_range="skip"' if can_skip else ""
        error = OutOfTimeRangeError(
            f"the range begins before what the vendor keeps: {since}; begin later{advice}",
            status=StatusCode.OUT_OF_TIME_RANGE,
            window=self._window,
        )
        error.available_from = boundary
        return error


class RetentionBoundary:
    """The retention boundary within a range; it moves while the range is read.

    Attributes:
        search: The search that is running, if any.
        searches: Number of searches so far.
    """

    def __init__(self, window: TimeWindow, filters: Filters) -> None:
        """Expect all of `window` to be available."""
        self.search: BoundarySearch | None = None
        self.searches: int = 0
        self._window = window
        self._filters = filters
        self._kept_from = window.start
        self._gaps: list[WindowReport] = []

    def begin_search(self) -> None:
        """Start a search, unless one is running."""
        if self.search is None:
            self.searches += 1
            self.search = BoundarySearch(TimeWindow(self._kept_from, self._window.end), self._filters)

    def finish_search(self) -> datetime:
        """End the search; return the time from which windows are read now."""
        found = None if self.search is None else self.search.available_from
        self.search = None
        boundary = self._window.end if found is None else found
        if self.searches > 1:
            # The boundary moves with time. The margin doubles with each search, to stay ahead of it.
            boundary = min(boundary + BOUNDARY_MARGIN * 2 ** min(self.searches - 2, 20), self._window.end)
        self._kept_from = boundary
        return boundary

    def restore(self, kept_from: datetime) -> OutOfTimeRangeError:
        """Restore the boundary of an earlier run; return the error to raise if the whole range is needed."""
        self.searches += 1
        self._kept_from = kept_from
        search = BoundarySearch(self._window, self._filters)
        search.available_from = kept_from
        return search.describe(can_skip=True)

    def report_gaps(self, reports: list[WindowReport], held: Iterable[TimeWindow]) -> None:
        """Insert reports for the parts of the range before the boundary that were not read.

        Args:
            reports: Reports of delivered windows and of earlier gaps, oldest first; modified in place.
            held: Windows that were read and not delivered yet.
        """
        for gap in self._gaps:
            reports.remove(gap)
        by_window = attrgetter("window")
        read = sorted([*map(by_window, reports), *held])
        self._gaps = [
            WindowReportBuilder(window=gap).build() for gap in find_gaps(self._window.start, self._kept_from, read)
        ]
        for gap in self._gaps:
            insort(reports, gap, key=by_window)


def find_gaps(start: datetime, boundary: datetime, read: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return the parts between `start` and `boundary` that no window of `read` covers, oldest first.

    Args:
        start: Begin of the range.
        boundary: Oldest time that the vendor keeps now.
        read: Windows that were read before the boundary moved, oldest first.
    """
    gaps = []
    for window in read:
        if start < min(window.start, boundary):
            gaps.append(TimeWindow(start, min(window.start, boundary)))
        start = max(start, window.end)
    if start < boundary:
        gaps.append(TimeWindow(start, boundary))
    return gaps
