"""Plans of few requests: one page as it is, the totals of windows, the number of calls of a range.

Synchronous and without I/O; the same shape as the plan that covers a range, so
that one engine serves them all.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime

import msgspec

from aiosipcdr.model.errors import (
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    SipCdrError,
    describe_refused_single_page,
)
from aiosipcdr.model.records import LARGEST_SIZE, Page
from aiosipcdr.model.windows import OVERLAP, TimeWindow, clip_window, plan_tiles
from aiosipcdr.proof.page import (
    PageRequest,
    Verdict,
    describe_unreadable,
    enlarge_count,
    find_ignored_filter,
    judge_answer,
)
from aiosipcdr.proof.retention import BoundarySearch
from aiosipcdr.wire.codec import Filters, PageAnswer, encode_params

__all__ = ["RangeCount", "SinglePage", "WindowCounts"]


class SinglePage:
    """Asks for one page and keeps it as the vendor returns it, unless it contradicts the filters."""

    def __init__(self, window: TimeWindow, filters: Filters, *, current: int, size: int, strict: bool = False) -> None:
        """Plan the one request; with `strict`, a value that cannot be read is an error."""
        self.page: Page | None = None
        self.span: TimeWindow | None = window
        self._strict = strict
        self._filters = filters
        self._request: PageRequest | None = PageRequest(
            owner=self, window=window, params=encode_params(window, filters), current=current, size=size
        )

    @property
    def has_result(self) -> bool:
        """Whether the page is here."""
        return self.page is not None

    def next_request(self) -> PageRequest | None:
        """Return the request, once."""
        request, self._request = self._request, None
        return request

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        """Give in: nothing else can be asked."""
        if isinstance(error, InvalidQueryError) and request.current > 1:
            return describe_refused_single_page(request.window, request.current)
        return error

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Keep the page; a page has no room for records without a readable id."""
        if answer.quarantined and not request.asked_before:
            self._request = msgspec.structs.replace(request, asked_before=True)
            return None
        unreadable = describe_unreadable(answer)
        if unreadable is not None and (answer.quarantined or self._strict):
            advice = "(strict=True)" if self._strict else "(fetch_all sets such records aside)"
            return ProtocolError(f"{unreadable} {advice}", window=request.window, page=request.current)
        if (ignored := find_ignored_filter(request, answer.page, self._filters)) is not None:
            return ignored
        self.page = answer.page
        return None


class WindowCounts:
    """Asks for the totals of windows, each of them at most 31 days wide; by default a 0 is asked for twice.

    A server that is not ready answers "0 of 0" now and then.
    """

    def __init__(
        self,
        windows: Iterable[TimeWindow],
        filters: Filters,
        *,
        span: TimeWindow | None = None,
        size: int = LARGEST_SIZE,
        confirm_zero: bool = True,
    ) -> None:
        """Plan one request a window.

        Args:
            windows: what to count.
            filters: what the vendor is asked to select.
            span: where to look for the edge of what the vendor keeps, if a window is out of its time range; without
                it, within that window.
            size: the page size with which totals are asked for if a size of 1 is refused.
            confirm_zero: ask for a 0 twice.
        """
        windows = list(windows)
        self.totals: dict[TimeWindow, int] = {}
        self.span: TimeWindow | None = span or _hull(windows)
        self._filters = filters
        self._edge_span = span
        self._size = size
        self._confirm_zero = confirm_zero
        self._boundary: BoundarySearch | None = None
        self._planned = deque(
            PageRequest(owner=self, window=part, params=encode_params(part, filters), current=1, size=1, control=True)
            for part in windows
        )
        self._enlarged: deque[PageRequest] = deque()
        self._open = len(self._planned)

    @property
    def has_result(self) -> bool:
        """Whether every window has reported its total."""
        return not self._open

    def next_request(self) -> PageRequest | None:
        """Return the next window's request, or the next probe for the edge of what the vendor keeps."""
        if self._boundary is not None and not self._enlarged:
            return self._boundary.next_request()
        due = self._enlarged or self._planned
        return due.popleft() if due else None

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        """Give in, since a count with a hole in it is none; but find out what can be counted."""
        if isinstance(error, InvalidQueryError) and (larger := enlarge_count(request, self._size)) is not None:
            self._enlarged.append(larger)
            return None
        if not isinstance(error, OutOfTimeRangeError):
            return error
        if isinstance(request.owner, BoundarySearch):
            return self._probed(request.owner, request, accepted=False)
        if self._boundary is None:
            self._boundary = BoundarySearch(self._edge_span or request.window, self._filters)
        return None

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Keep one window's total, the larger where it was asked for twice."""
        if isinstance(request.owner, BoundarySearch):
            return self._probed(request.owner, request, accepted=True)
        try:
            verdict, why = judge_answer(request, answer, self._filters)
        except ProtocolError as error:
            return error
        if verdict is Verdict.ASK_AGAIN:
            if request.asked_before:
                return ProtocolError(f"the answer cannot be used: {why}", window=request.window, page=1)
            self._planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        total, was_counted = answer.page.total, request.window in self.totals
        self.totals[request.window] = max(total, self.totals.get(request.window, 0))
        if total == 0 and self._confirm_zero and not was_counted:
            self._planned.append(msgspec.structs.replace(request, asked_before=False))
        else:
            self._open -= 1
        return None

    def _probed(self, edge: BoundarySearch, request: PageRequest, *, accepted: bool) -> SipCdrError | None:
        edge.note(request, accepted=accepted)
        return edge.describe(can_skip=False) if edge.is_done else None


def _hull(windows: list[TimeWindow]) -> TimeWindow | None:
    if not windows:
        return None
    return TimeWindow(min(window.start for window in windows), max(window.end for window in windows))


class RangeCount(WindowCounts):
    """Adds up the totals of a range's tiles and takes off what their overlaps count twice."""

    def __init__(
        self, window: TimeWindow, filters: Filters, *, size: int = LARGEST_SIZE, now: datetime | None = None
    ) -> None:
        """Plan one request a tile and one an overlap; `size` as for `WindowCounts`.

        With `now`, the vendor's present instant, the range ends 31 days later at most.
        """
        if now is not None:
            window = clip_window(window, now)
        self._tiles = plan_tiles(window)
        self._overlaps = [TimeWindow(tile.start, tile.start + OVERLAP) for tile in self._tiles[1:]]
        super().__init__([*self._tiles, *self._overlaps], filters, span=window, size=size)

    @property
    def total(self) -> int:
        """The calls of the range, once every part has told its own."""
        reported = self.totals
        return sum(reported[tile] for tile in self._tiles) - sum(reported[overlap] for overlap in self._overlaps)
