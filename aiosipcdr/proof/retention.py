"""Finding the oldest instant that the vendor still answers for, and what lies before it.

Synchronous and without I/O: a bisection whose probes are requests for two
seconds each.  Assumes that what is refused at one instant is refused before it.
"""

from bisect import insort
from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import attrgetter

from aiosipcdr.model.errors import OutOfTimeRangeError, StatusCode
from aiosipcdr.model.report import WindowReport
from aiosipcdr.model.windows import NARROWEST_SECONDS, SECOND, TimeWindow
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.wire.codec import Filters, encode_params

__all__ = ["BoundarySearch", "RetentionBoundary", "find_gaps"]

EDGE_MARGIN = timedelta(seconds=10)

_PROBE = timedelta(seconds=NARROWEST_SECONDS)


class BoundarySearch:
    """Searches `window`, whose start was refused as out of the time range."""

    def __init__(self, window: TimeWindow, filters: Filters) -> None:
        """Probe the newest instant of `window` first: perhaps nothing of it is to be had."""
        self.available_from: datetime | None = None
        """The oldest start that was accepted so far."""
        self.is_done: bool = False
        self._window = window
        self._filters = filters
        self._refused = window.start
        self._probe: datetime | None = max(window.start, window.end - _PROBE)

    def next_request(self) -> PageRequest | None:
        """Return the next probe, one at a time."""
        if self._probe is None:
            return None
        window = TimeWindow(self._probe, min(self._probe + _PROBE, self._window.end))
        self._probe = None
        params = encode_params(window, self._filters)
        return PageRequest(owner=self, window=window, params=params, current=1, size=1, control=True)

    def note(self, request: PageRequest, *, accepted: bool) -> None:
        """Take the outcome of a probe and plan the next."""
        if accepted:
            self.available_from = request.window.start
        else:
            self._refused = request.window.start
        if self.available_from is None or self.available_from - self._refused <= SECOND:
            self.is_done = True
            return
        self._probe = self._refused + (self.available_from - self._refused) // SECOND // 2 * SECOND

    def describe(self, *, can_skip: bool) -> OutOfTimeRangeError:
        """Return the error that says which part of the window can be had.

        Args:
            can_skip: whether whoever asked may leave out what is not kept; a count may not.
        """
        edge = self.available_from
        since = "nothing of it is available" if edge is None else f"available from {edge.isoformat()} on"
        advice = ', or skip what is gone with on_out_of_range="skip"' if can_skip else ""
        error = OutOfTimeRangeError(
            f"the range begins before what the vendor keeps: {since}; begin later{advice}",
            status=StatusCode.OUT_OF_TIME_RANGE,
            window=self._window,
        )
        error.available_from = edge
        return error


class RetentionBoundary:
    """The edge of what the vendor keeps, as far as a range is concerned: it moves while the range is read."""

    def __init__(self, window: TimeWindow, filters: Filters) -> None:
        """Expect all of `window` to be kept."""
        self.search: BoundarySearch | None = None
        self.searches: int = 0
        self._window = window
        self._filters = filters
        self._kept_from = window.start
        self._gaps: list[WindowReport] = []

    def begin_search(self) -> None:
        """Look for the edge, unless that is being done."""
        if self.search is None:
            self.searches += 1
            self.search = BoundarySearch(TimeWindow(self._kept_from, self._window.end), self._filters)

    def finish_search(self) -> datetime:
        """Return the time from which on windows are read now."""
        found = None if self.search is None else self.search.available_from
        self.search = None
        edge = self._window.end if found is None else found
        if self.searches > 1:
            # An edge that has moved goes on moving: more is left out beside it each time, so that it is outrun.
            edge = min(edge + EDGE_MARGIN * 2 ** min(self.searches - 2, 20), self._window.end)
        self._kept_from = edge
        return edge

    def restore(self, kept_from: datetime) -> OutOfTimeRangeError:
        """Take up what an earlier run has found; return the error for whoever wants all of the range."""
        self.searches += 1
        self._kept_from = kept_from
        search = BoundarySearch(self._window, self._filters)
        search.available_from = kept_from
        return search.describe(can_skip=True)

    def report_gaps(self, reports: list[WindowReport], held: Iterable[TimeWindow]) -> None:
        """Write into `reports` what of the range lies before the edge and was not read.

        Args:
            reports: one for each window that was handed over, and the gaps so far; in order.
            held: windows that were read and will be handed over.
        """
        for gap in self._gaps:
            reports.remove(gap)
        by_window = attrgetter("window")
        read = sorted([*map(by_window, reports), *held])
        self._gaps = [WindowReport(window=gap) for gap in find_gaps(self._window.start, self._kept_from, read)]
        for gap in self._gaps:
            insort(reports, gap, key=by_window)


def find_gaps(start: datetime, edge: datetime, read: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return what between `start` and `edge` no window of `read` covers, oldest first.

    Args:
        start: begin of the range.
        edge: where the vendor's calls begin now.
        read: windows that were read before the edge had moved, oldest first.
    """
    gaps = []
    for window in read:
        if start < min(window.start, edge):
            gaps.append(TimeWindow(start, min(window.start, edge)))
        start = max(start, window.end)
    if start < edge:
        gaps.append(TimeWindow(start, edge))
    return gaps
