"""Plans of a few requests: one page, the totals of windows, the number of calls of a range.

The engine runs them like `aiosipcdr.proof.range.RangeReader`.
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
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import LARGEST_SIZE, Page
from aiosipcdr.model.windows import OVERLAP, TimeWindow, clip_window, plan_tiles
from aiosipcdr.proof.field_counts import find_unidentified
from aiosipcdr.proof.page import (
    PageRequest,
    PlanChange,
    Transition,
    Verdict,
    describe_page_faults,
    enlarge_count,
    find_ignored_filter,
    judge_answer,
)
from aiosipcdr.proof.retention import BoundarySearch
from aiosipcdr.wire.codec import PageAnswer, encode_params

__all__ = ["RangeCount", "SinglePage", "WindowCounts"]


class SinglePage:
    """Fetches one page as the vendor returns it, unless its records contradict the filters or most have no id."""

    def __init__(self, window: TimeWindow, filters: Filters, *, current: int, size: int, strict: bool = False) -> None:
        """Plan the request; with `strict`, a value that cannot be read is an error."""
        self.page: Page | None = None
        self.span: TimeWindow | None = window
        self._strict = strict
        self._filters = filters
        self._request: PageRequest | None = PageRequest(
            owner=self, window=window, params=encode_params(window, filters), current=current, size=size
        )

    @property
    def has_result(self) -> bool:
        """Whether the page was received."""
        return self.page is not None

    def next_request(self) -> PageRequest | None:
        """Return the request at the first call, then `None`."""
        request, self._request = self._request, None
        return request

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Return the error; for a page after the first, one that names the likely cause."""
        if isinstance(error, InvalidQueryError) and request.current > 1:
            return describe_refused_single_page(request.window, request.current)
        return error

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Keep the page; if a record has no readable id, request it once more before."""
        quarantined, page = answer.quarantined, answer.page
        if quarantined and not request.asked_before:
            self._request = msgspec.structs.replace(request, asked_before=True)
            return None
        if self._strict and (unreadable := describe_page_faults(answer)) is not None:
            return ProtocolError(f"{unreadable} (strict=True)", window=request.window, page=request.current)
        if (ignored := find_ignored_filter(request, page, self._filters)) is not None:
            return ignored
        mismatch = find_unidentified(len(quarantined), len(quarantined) + len(page.records))
        if mismatch is not None:
            mismatch.window, mismatch.page = request.window, request.current
            return mismatch
        if quarantined:
            quarantined = [msgspec.structs.replace(record, window=request.window) for record in quarantined]
            page = msgspec.structs.replace(page, quarantined=quarantined)
        self.page = page
        return PlanChange.DONE


class WindowCounts:
    """Counts the calls of windows of at most 31 days each.

    By default a total of 0 is requested twice, since a server that is not ready sometimes reports 0.

    Attributes:
        totals: The total of each window.
        span: The range that contains all windows.
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
        """Plan one request per window.

        Args:
            windows: The windows.
            filters: Filters of the query.
            span: Where to search the retention boundary if a window is out of the time range; by default in that
                window.
            size: Page size of the requests if the vendor refuses a size of 1.
            confirm_zero: Request a total of 0 twice.
        """
        windows = list(windows)
        self.totals: dict[TimeWindow, int] = {}
        self.span: TimeWindow | None = span or _hull(windows)
        self._filters = filters
        self._boundary_span = span
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
        """Whether the totals of all windows are known."""
        return not self._open

    def next_request(self) -> PageRequest | None:
        """Return the request for the next window, or the next probe for the retention boundary."""
        if self._boundary is not None and not self._enlarged:
            return self._boundary.next_request()
        due = self._enlarged or self._planned
        return due.popleft() if due else None

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Process a refusal; if a window is out of the time range, search the retention boundary."""
        if (larger := enlarge_count(request, error, self._size)) is not None:
            self._enlarged.append(larger)
            return None
        if request.owner is not self:  # a probe
            return self._follow_up(request.owner.refuse(request, error))
        if not isinstance(error, OutOfTimeRangeError):
            return error
        if self._boundary is None:
            self._boundary = BoundarySearch(self._boundary_span or request.window, self._filters)
        return None

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Keep the total of a window; of two totals, the larger one."""
        if request.owner is not self:  # a probe
            return self._follow_up(request.owner.accept(request, answer))
        try:
            verdict, why = judge_answer(request, answer, self._filters)
        except ProtocolError as error:
            return error.with_traceback(None)  # which would keep the rows of the answer
        if verdict is Verdict.ASK_AGAIN:
            if request.asked_before:
                return ProtocolError(f"the response cannot be used: {why}", window=request.window, page=1)
            self._planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        total, was_counted = answer.page.total, request.window in self.totals
        self.totals[request.window] = max(total, self.totals.get(request.window, 0))
        if total == 0 and self._confirm_zero and not was_counted:
            self._planned.append(msgspec.structs.replace(request, asked_before=False))
            return None
        self._open -= 1
        return PlanChange.DONE if self.has_result else None

    def _follow_up(self, probed: Transition) -> Transition:
        if probed is PlanChange.DONE and self._boundary is not None:
            return self._boundary.describe(can_skip=False)
        return probed


def _hull(windows: list[TimeWindow]) -> TimeWindow | None:
    if not windows:
        return None
    return TimeWindow(min(window.start for window in windows), max(window.end for window in windows))


class RangeCount(WindowCounts):
    """Counts the calls of a range: the sum over its tiles, without the calls that their overlaps count twice."""

    def __init__(
        self, window: TimeWindow, filters: Filters, *, size: int = LARGEST_SIZE, now: datetime | None = None
    ) -> None:
        """Plan one request per tile and one per overlap.

        Args:
            window: The range.
            filters: Filters of the query.
            size: See `WindowCounts`.
            now: The vendor's current time: the range is clipped to end at most 31 days later.
        """
        if now is not None:
            window = clip_window(window, now)
        self._tiles = plan_tiles(window)
        self._overlaps = [TimeWindow(tile.start, tile.start + OVERLAP) for tile in self._tiles[1:]]
        super().__init__([*self._tiles, *self._overlaps], filters, span=window, size=size)

    @property
    def total(self) -> int:
        """The number of calls, once all totals are known."""
        totals = self.totals
        return sum(totals[tile] for tile in self._tiles) - sum(totals[overlap] for overlap in self._overlaps)
