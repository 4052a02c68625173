"""Covering a range with windows: tiles, their parts, and the order of what comes out.

Synchronous and without I/O, like the proof of each window.  Starts windows
oldest first, holds a bounded number of them, cuts those that are too large or
cannot be proven, and checks that the parts of a window hold at least what the
whole of it told.
"""

import heapq
from collections import deque
from datetime import datetime
from operator import attrgetter

import msgspec

from aiosipcdr.errors import IncompleteExportError, OutOfTimeRangeError, ProtocolError, SipCdrError
from aiosipcdr.protocol.assembly import Assembly, Whole
from aiosipcdr.protocol.codec import Filters, PageAnswer, encode_params
from aiosipcdr.protocol.completeness import Outcome, WindowProof
from aiosipcdr.protocol.edge import EdgeSearch
from aiosipcdr.protocol.limits import Budget, WindowPlaces
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.sweep import PageRequest, Verdict, count_pages, judge_answer
from aiosipcdr.protocol.tiling import can_split, plan_tiles, split_window
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CompleteWindow, FetchReport, WindowReport

__all__ = ["MOST_ROWS", "Coverage"]

MOST_ROWS = 2_000
"""A window that tells more is cut by time: OFFSET costs the vendor what it skips."""

MOST_EDGE_SEARCHES = 5
"""The edge of what the vendor keeps moves while a range is read, but not often."""

AIMED_ROWS = 1_200
"""What a part should hold: far enough below the limit for busy hours, high enough to fill its pages."""


class _Part(WindowProof):
    """A window on its way, with the wholes that it is a part of (the outermost first)."""

    wholes: tuple[Whole, ...] = ()
    total_is_known = False


class Coverage:
    """Plans the requests that read a range, and turns their answers into complete windows."""

    def __init__(
        self,
        window: TimeWindow,
        filters: Filters,
        *,
        size: int,
        places: WindowPlaces,
        settled_before: datetime,
        allow_incomplete: bool = False,
        skip_out_of_range: bool = False,
        range_field: str | None = None,
        exact: tuple[datetime, datetime] | None = None,
        strict: bool = False,
    ) -> None:
        """Cut `window` into tiles.

        Args:
            window: the range, of any width.
            filters: what the vendor is asked to select.
            size: records a page.
            places: where the windows that are held at the same time, read or being read, find room.
            settled_before: a window that ends later is provisional.
            allow_incomplete: hand over windows that could not be proven, too.
            skip_out_of_range: read what the vendor still keeps, and report the rest as a gap.
            range_field: the time that the vendor is known to select on.
            exact: keep only records whose `range_field` is at or after the first time and before the second.
            strict: a record that cannot be decoded ends the run.
        """
        self._window = window
        self.report = FetchReport()
        self._assembly = Assembly(self.report, range_field=range_field, exact=exact)
        self.planned: deque[tuple[TimeWindow, int]] = deque()
        """Tiles whose total became known, for whoever shows progress."""
        self._filters = filters
        self._size = size
        self._places = places
        self._most_rows = MOST_ROWS
        self._settled_before = settled_before
        self._allow_incomplete = allow_incomplete
        self._range_field = range_field
        self._strict = strict
        self._skip_out_of_range = skip_out_of_range
        self._edge: EdgeSearch | None = None
        self._edge_searches = 0
        self._budget = Budget()
        self._waiting: list[tuple[TimeWindow, tuple[Whole, ...]]] = []
        self._held: list[_Part] = []
        self._recounts: deque[PageRequest] = deque()
        self._open_recounts = 0
        self._unproven = False
        for tile in plan_tiles(window):
            heapq.heappush(self._waiting, (tile, ()))

    @property
    def is_finished(self) -> bool:
        """Whether every window was handed over and every count agreed."""
        return not (self._waiting or self._held or self._open_recounts or self._edge)

    @property
    def has_result(self) -> bool:
        """Whether a window can be taken, or nothing is left to wait for."""
        if not self._held:
            return self.is_finished
        oldest = self._held[0]
        if oldest.is_open:
            return False
        return not self._waiting or oldest.window < self._waiting[0][0]

    def next_request(self) -> PageRequest | None:
        """Return the most useful request that may be sent now, oldest window first."""
        if self._edge is not None:
            return self._edge.next_request()
        if self._recounts:
            return self._recounts.popleft()
        for part in self._held:
            if (request := part.next_request()) is not None:
                return request
        if not self._waiting:
            return None
        oldest, _ = self._waiting[0]
        # What is oldest must always be able to start: everything held waits for it.
        if self._places.has_room(len(self._held)) or oldest < self._held[0].window:
            return self._hold_next().next_request()
        return None

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Take the answer to `request`; return the error that ends the run, if it does."""
        for name, count in answer.unknown_fields.items() if not request.control else ():
            self.report.unknown_fields[name] = self.report.unknown_fields.get(name, 0) + count
        if isinstance(request.owner, EdgeSearch):
            request.owner.note(request, accepted=True)
            return self._go_on_after(request.owner)
        if isinstance(request.owner, Whole):
            return self._recounted(request.owner, request, answer)
        part = request.owner
        if not isinstance(part, _Part) or not part.is_open:
            return None
        if (error := part.accept(request, answer)) is not None:
            return error
        if not (part.wholes or part.total_is_known) and part.sweep.pages:
            part.total_is_known = True
            self.planned.append((part.window, part.sweep.largest_total))
            self._budget.plan(count_pages(part.sweep.largest_total, part.size))
        self._size = min(self._size, part.size)
        if self._budget.is_spent:
            return self._stop_reading(part)
        if part.outcome is Outcome.TOO_LARGE:
            return self._cut(part, is_repair=part.most_rows < MOST_ROWS)
        if part.outcome is Outcome.UNPROVEN:
            return self._decide_unproven(part)
        return None

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        """Take the error of `request`; return it if it ends the run."""
        if not isinstance(error, OutOfTimeRangeError) or isinstance(request.owner, Whole):
            return error
        if isinstance(request.owner, EdgeSearch):
            request.owner.note(request, accepted=False)
            return self._go_on_after(request.owner)
        part = request.owner
        if isinstance(part, _Part) and part in self._held:
            self._release(part)
            part.give_up()
            heapq.heappush(self._waiting, (part.window, part.wholes))
        if self._edge is None:
            if self._edge_searches == MOST_EDGE_SEARCHES:
                return error
            self._edge_searches += 1
            self._edge = EdgeSearch(self._window, self._filters)
        return None

    def take_complete(self) -> CompleteWindow | None:
        """Return the oldest window if its reading has ended, each once and in order."""
        if not self._held or not self.has_result:
            return None
        part = self._held[0]
        self._release(part)
        return self._hand_over(part)

    def join(self) -> None:
        """Claim a fair share of the places, when the run begins."""
        self._places.runs += 1

    def leave(self) -> None:
        """Make room for others, when the run ends."""
        self._places.runs -= 1
        self._places.free(len(self._held))
        self._held.clear()

    def abandon(self) -> list[CallDetailRecord]:
        """Return what was read and not handed over, when the run ends early."""
        return self._assembly.pick_left_over(self._held)

    def _hold_next(self) -> _Part:
        window, wholes = heapq.heappop(self._waiting)
        part = _Part(
            window,
            self._filters,
            size=self._size,
            most_rows=self._most_rows,
            budget=self._budget,
            is_repair=any(whole.is_repair for whole in wholes),
            provisional=window.end > self._settled_before,
            range_field=self._range_field,
            strict=self._strict,
        )
        part.wholes = wholes
        self._places.take()
        self._held.append(part)
        self._held.sort(key=attrgetter("window"))
        return part

    def _release(self, part: _Part) -> None:
        self._places.free(1)
        self._held.remove(part)

    def _cut(self, part: _Part, *, is_repair: bool) -> SipCdrError | None:
        aimed = min(AIMED_ROWS, max(1, self._most_rows * 6 // 10))
        children = split_window(part.window, -(-part.report.total // aimed))
        if is_repair and not self._budget.take(len(children)):
            return self._give_up(part)
        self._release(part)
        self._assembly.count(part.report)
        whole = Whole(part.window, part.report.total, len(children), is_repair=is_repair)
        for outer in part.wholes:
            outer.open_parts += len(children) - 1
        for child in children:
            heapq.heappush(self._waiting, (child, (*part.wholes, whole)))
        return None

    def _decide_unproven(self, part: _Part) -> SipCdrError | None:
        if not can_split(part.window):
            return self._give_up(part)
        if part.report.total >= part.size:
            # Rows that move while pages are read cannot move within one page:
            # from here on windows are cut so small that one page holds them.
            self._most_rows = max(1, part.size - 1)
        return self._cut(part, is_repair=True)

    def _give_up(self, part: _Part) -> SipCdrError | None:
        if self._allow_incomplete:
            return None
        return self._incomplete(part.window, part.sweep.unique, part.report.total)

    def _stop_reading(self, part: _Part) -> SipCdrError | None:
        # Far more was asked for than the vendor's totals can justify.
        if not self._allow_incomplete:
            return self._incomplete(part.window, part.sweep.unique, part.sweep.largest_total)
        while self._waiting:
            self._hold_next()
        for held in self._held:
            if held.is_open or held.outcome is Outcome.TOO_LARGE:
                held.give_up()
        return None

    def _incomplete(self, window: TimeWindow, unique: int, total: int) -> IncompleteExportError:
        return IncompleteExportError(
            f"not provable as complete: {unique:,} distinct calls were read where the vendor counts {total:,}; rows are"
            " changing or the vendor's total is wrong: try again later, or take it as it is with allow_incomplete=True",
            window=window,
            report=self.report,
        )

    def _hand_over(self, part: _Part) -> CompleteWindow:
        complete = self._assembly.assemble(part, part.wholes)
        self._unproven = self._unproven or not part.report.certified
        for whole in part.wholes:
            # A run that is unproven already learns nothing from one more count.
            if whole.falls_short and not self._unproven:
                self._recount(whole)
        self._certify()
        return complete

    def _go_on_after(self, edge: EdgeSearch) -> SipCdrError | None:
        if not edge.is_done:
            return None
        self._edge = None
        if not self._skip_out_of_range:
            return edge.describe()
        self._unproven = True
        edge_time = edge.available_from or self._window.end
        self._set_gap(edge_time)
        waiting, self._waiting = self._waiting, []
        for window, wholes in waiting:
            if window.start < edge_time:
                for whole in wholes:
                    whole.told = 0  # its parts cannot hold what it told any more
                    whole.open_parts -= window.end <= edge_time
            if window.end > edge_time:
                heapq.heappush(self._waiting, (TimeWindow(max(window.start, edge_time), window.end), wholes))
        return None

    def _set_gap(self, edge_time: datetime) -> None:
        gap = WindowReport(window=TimeWindow(self._window.start, edge_time))
        reports = self.report.window_reports
        if self._edge_searches > 1:
            reports[0] = gap
        else:
            reports.insert(0, gap)

    def _recount(self, whole: Whole) -> None:
        # If rows were deleted since the whole told its total, the vendor tells less now.
        self._open_recounts += 1
        params = encode_params(whole.window, self._filters)
        self._recounts.append(
            PageRequest(owner=whole, window=whole.window, params=params, current=1, size=1, control=True)
        )

    def _recounted(self, whole: Whole, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        count = answer.page.total
        verdict, why = judge_answer(request, answer, Filters())
        if verdict is Verdict.ASK_AGAIN:
            if request.asked_before:
                return ProtocolError(f"the answer cannot be used: {why}", window=whole.window, page=1)
            self._recounts.append(msgspec.structs.replace(request, asked_before=True))
            return None
        self._open_recounts -= 1
        if whole.union < count:
            self._unproven = True
            if not self._allow_incomplete:
                return self._incomplete(whole.window, whole.union, count)
        self._certify()
        return None

    def _certify(self) -> None:
        self.report.certified = self.is_finished and not self._unproven
