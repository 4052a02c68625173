"""Window: reads one window and proves that it is complete.

A window is certified if the number of distinct rows equals a control count taken afterwards, no answer that was used
reported a larger total, and no row follows the last one that is counted. That is a proof for windows in which rows are
only added, or only deleted, while they are read.
"""

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import Any

import msgspec

from aiosipcdr.model.errors import (
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    SipCdrError,
)
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import LARGEST_SIZE
from aiosipcdr.model.report import WindowReportBuilder
from aiosipcdr.model.windows import TimeWindow, can_split
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.proof.budget import Budget, PageSizes
from aiosipcdr.proof.growth import MAX_SCANS_WHILE_GROWING, Growth
from aiosipcdr.proof.page import (
    PageRequest,
    PlanChange,
    SortedRun,
    Transition,
    Verdict,
    count_loose_matches,
    count_pages,
    describe_page_faults,
    find_sorted_run,
    is_page_refusal,
    judge_answer,
    plan_end_page,
    resize,
)
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.wire.codec import PageAnswer, encode_params

__all__ = ["WindowReader", "WindowState"]

MAX_SCANS = 3


class WindowState(Enum):
    """State of a window."""

    OPEN = auto()
    TOO_LARGE = auto()
    """To be split by time before its pages are fetched."""
    CERTIFIED = auto()
    UNPROVEN = auto()
    """Read as often as allowed; to be split if possible."""


class WindowReader:
    """Reads one window until it is certified, too large, or unproven.

    Attributes:
        window: The window.
        size: Page size.
        actual_size: Page size that the vendor is known to use, which other windows can use, too.
        max_rows: If the window has more rows and can be split, it is left to be split.
        budget: Budget of the run.
        is_part: Whether it was split from a larger window.
        is_repair: Whether it was read before, without proof, as part of a larger window.
        refused_page: Number of a page that the vendor refused although its total includes it.
        end_is_unseen: Whether it is unproven because the vendor sends no usable page at the end of the list.
        report: Counters of its report.
        state: Its state.
        params: The encoded window and filters.
        scan: The current scan.
        growth: Calls that are added while it is read.
        planned: Requests that may be sent now.
        on_answer: Called after each answer that was processed; `None` for no call.
    """

    def __init__(
        self,
        window: TimeWindow,
        filters: Filters,
        *,
        size: int,
        max_rows: int,
        budget: Budget,
        ages: AgePolicy,
        sizes: PageSizes | None = None,
        is_part: bool = False,
        is_preceding: bool = False,
        is_repair: bool = False,
        is_growing: bool = False,
        pause: float = 0.0,
        time_field: str | None = None,
        strict: bool = False,
        on_answer: Callable[[Any], SipCdrError | None] | None = None,
    ) -> None:
        """Plan the first page of `window`.

        Args:
            window: The window.
            filters: Filters of the query.
            size: Page size.
            max_rows: If the window has more rows and can be split, it is left to be split.
            budget: Budget of the run.
            ages: Decides whether calls may still be added to the window.
            sizes: What the run knows about the vendor's page sizes.
            is_part: The window was split from a larger one, whose total is already planned in the budget.
            is_preceding: The window is the second before a span: calls of the span that it lacks are looked up once
                more, so a page that has all of its calls needs no control count.
            is_repair: The window was read before, unproven, as part of a larger one; its first request is charged.
            is_growing: Calls were added to the larger window while that was read.
            pause: Seconds to wait before the first page.
            time_field: The time field that the vendor is known to filter on.
            strict: A record that cannot be decoded is an error.
            on_answer: Called after each answer that was processed; returns the error that ends the run, if any.
        """
        self.window = window
        self.size: int = size
        self.actual_size: int = size
        self.max_rows: int = max_rows
        self.budget = budget
        self._ages = ages
        self.is_part = is_part
        self._is_preceding = is_preceding
        self.is_repair = is_repair
        self.refused_page: int | None = None
        self.end_is_unseen: bool = False
        self.report: WindowReportBuilder = WindowReportBuilder(window=window)
        self.state: WindowState = WindowState.OPEN
        self.params: bytes = encode_params(window, filters)
        self.scan: WindowScan = WindowScan(size)
        self.growth: Growth = Growth(ages, window.end, is_growing=is_growing, is_expected=is_preceding)
        self._earlier: WindowScan | None = None
        self._repeats: AbstractSet[str] = frozenset()
        self._conflicting: set[str] = set()
        self._sizes = sizes or PageSizes()
        self._planned_rows = 0
        self._short_page: int | None = None
        self._echoed_size: int | None = None
        self._first_count: int | None = None
        self._refused: dict[int, tuple[PageRequest, SipCdrError]] = {}
        self._filters = filters
        self._time_field = time_field
        self._strict = strict
        self.on_answer: Callable[[Any], SipCdrError | None] | None = on_answer
        self.report.scans = 1
        self.planned: deque[PageRequest] = deque(self._due_pages(waits=is_part, pause=pause))

    @property
    def needs_single_pages(self) -> bool:
        """Whether its rows can be counted only if one answer has all of them."""
        return self.scan.is_ambiguous or self.scan.is_unsettled

    @property
    def identical_rows(self) -> int:
        """Number of rows that the vendor probably lists twice; 0 if these do not explain its count exactly."""
        identical = self.scan.count_identical()
        return identical if self.report.counted - self.scan.unique == identical else 0

    @property
    def is_open(self) -> bool:
        """Whether the window is still being read."""
        return self.state is WindowState.OPEN

    def next_request(self) -> PageRequest | None:
        """Return the next request that may be sent now."""
        if not self.planned:
            return None
        self.report.requests += 1
        return self.planned.popleft()

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Process an answer; `PlanChange.DONE` when the window is no longer open."""
        if self.state is not WindowState.OPEN or request.scan != self.scan.number:
            return None  # belongs to a scan that was replaced
        if answer.page.size != request.size:
            answer = self._correct_size(request, answer)
        sorted_run = None if request.control or request.is_end else find_sorted_run(answer.page.records)
        try:
            verdict, why = judge_answer(request, answer, self._filters, self._time_field, sorted_run)
        except ProtocolError as unusable:
            return unusable.with_traceback(None)  # which would keep the rows of the answer
        if verdict is Verdict.USE and sorted_run is not None and not self._strict:
            if not self._take_page(request, answer, sorted_run):
                return None  # the usual case: more pages of the scan are in flight
        elif (error := self._take(request, answer, verdict, why, sorted_run)) is not None:
            return error
        return self._follow_up()

    def _take(
        self, request: PageRequest, answer: PageAnswer, verdict: Verdict, why: str, sorted_run: SortedRun | None
    ) -> SipCdrError | None:
        if request.is_end:
            self._take_end(request, answer, verdict)
            return None
        if verdict is Verdict.DOUBTFUL and self.budget.take(1):
            self._repeat(request)
            return None
        if verdict is Verdict.ASK_AGAIN:
            return self._ask_again(request, answer, why)
        if self._strict and (unreadable := describe_page_faults(answer)) is not None:
            return ProtocolError(f"{unreadable} (strict=True)", window=self.window, page=request.current)
        if request.control and self._refused:
            return self._judge_refusals(answer.page.total)
        if request.control:
            self._take_count(answer.page.total)
        else:
            self._take_page(request, answer, sorted_run, past_the_end=verdict is Verdict.PAST_THE_END)
        return None

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Process a refusal; return it if it ends the run.

        A page after the first may no longer exist, or be deeper than the vendor reads: a control count decides.
        """
        if isinstance(error, OutOfTimeRangeError):
            return PlanChange.OUT_OF_RANGE
        if not is_page_refusal(error):
            return error
        if not self.is_open or request.scan != self.scan.number:
            return None
        if request.is_end:
            self._leave_end_unseen(self.scan.rows)
        elif request.control or request.current == 1:
            return error
        else:
            if not self._refused:
                self.planned.append(self._request_count())
            self._refused[request.current] = request, error
        return self._follow_up()

    def _follow_up(self) -> Transition:
        error = None if self.on_answer is None else self.on_answer(self)
        if error is not None:
            return error
        return None if self.state is WindowState.OPEN else PlanChange.DONE

    def give_up(self) -> None:
        """Stop reading; the window is unproven and keeps the rows read so far."""
        self._end_unproven(self.report.total)

    def refute(self) -> None:
        """Withdraw the certificate, because it is unknown which rows a neighbouring window repeats."""
        self.report.certified = False
        self.state = WindowState.UNPROVEN

    def read_once_more(self, ids: AbstractSet[str]) -> None:
        """Withdraw the certificate until the pages that have `ids` were read once more.

        Rows of these ids count only if they are read again. If the vendor's order is unstable, the pages may come back
        without such a row; its earlier version would then look like a row that still exists.
        """
        self.refute()
        pages = self.scan.find_pages(ids)
        if pages and self.budget.left > len(pages):
            self.state = WindowState.OPEN
            self._repeats = ids
            self._earlier = self.scan
            self.scan = WindowScan(self.size, pages)
            self.report.scans += 1
            self._plan(self._due_pages())

    def read_uncut(self) -> None:
        """Read a window that is too large without splitting it, since the budget for splitting is spent."""
        self.state = WindowState.OPEN
        self.max_rows = self.scan.largest_total
        self.report.scans = 1
        self._continue()

    def _due_pages(self, *, waits: bool = False, pause: float = 0.0) -> list[PageRequest]:
        due = [self._request(current, self.size) for current in self.scan.plan_pages()]
        delay = max(pause, self.growth.delay_scan(self.report.scans)) if waits else 0.0
        return [msgspec.structs.replace(request, delay=delay) for request in due] if delay else due

    def _plan(self, requests: list[PageRequest], *, is_check: bool = False) -> None:
        if not requests:
            return
        if self._may_spend(len(requests), is_check=is_check):
            self.planned.extend(requests)
        else:
            self._end_unproven(self.scan.largest_total)

    def _may_spend(self, requests: int, *, is_check: bool) -> bool:
        if self.report.scans > 1 or (self.is_repair and is_check):
            return self.budget.take(requests)
        # When the repair budget is spent, a window is still read once: the caller gets the records that exist.
        return is_check or (self.is_repair and self.budget.take(requests)) or self.budget.read(requests)

    def _request(self, current: int, size: int, *, control: bool = False, is_end: bool = False) -> PageRequest:
        return PageRequest(
            owner=self,
            window=self.window,
            params=self.params,
            current=current,
            size=size,
            control=control,
            is_end=is_end,
            may_be_gone=current > 1 and not is_end,
            is_reread=self.is_repair or self.report.scans > 1,
            scan=self.scan.number,
        )

    def _repeat(self, request: PageRequest) -> None:
        self.report.anomalies += 1
        self.planned.append(msgspec.structs.replace(request, asked_before=True))

    def _ask_again(self, request: PageRequest, answer: PageAnswer, why: str) -> SipCdrError | None:
        if self._echoes_wrong_size(request, answer) or (self._is_size_assumed and answer.page.size > request.size):
            # The vendor does not use the size of the short page, which was due to a wrong total.
            self._end_unproven(answer.page.total)
            return None
        if request.asked_before or not self.budget.take(1):
            self.report.anomalies += 1
            return ProtocolError(f"the response cannot be used: {why}", window=self.window, page=request.current)
        self._repeat(request)
        return None

    # --- pages

    def _correct_size(self, request: PageRequest, answer: PageAnswer) -> PageAnswer:
        sent = len(answer.page.records) + len(answer.quarantined)
        is_empty = not (answer.page.size or answer.page.total or sent)  # some servers state the number of rows as size
        is_smaller = sent <= request.size and self._echoes_wrong_size(request, answer)
        return resize(answer, request.size) if is_empty or is_smaller else answer

    @property
    def _is_size_assumed(self) -> bool:
        # Whether pages have the size of a short first page, and no other page has confirmed that.
        return self._echoed_size is not None and self._sizes.actual is None

    def _echoes_wrong_size(self, request: PageRequest, answer: PageAnswer) -> bool:
        size = answer.page.size
        return size > request.size and size in {self._echoed_size, self._sizes.echoed}

    def _take_page(
        self,
        request: PageRequest,
        answer: PageAnswer,
        sorted_run: SortedRun | None,
        *,
        past_the_end: bool = False,
    ) -> bool:
        # Returns whether the caller has to follow up, since more was done than adding the rows of the page.
        page = answer.page
        rows = len(page.records) + len(answer.quarantined)
        if request.current == 1 and 0 < rows < min(page.size, page.total) and self._may_be_smaller(rows, page.total):
            # Rows were deleted between COUNT and SELECT, or the vendor uses smaller pages than it states.
            if self._short_page is None and self.budget.take(1):
                self._short_page = rows
                self._repeat(request)
                return True
            if self._short_page == rows:
                self._echoed_size = page.size
                answer = resize(answer, rows)
        if answer.page.size < self.size:
            self._plan_smaller(answer.page.size, first_page_is_here=request.current == 1)
            if request.current != 1:
                return True
        is_size_confirmed = request.current > 1 and rows > 0 and self._echoed_size is not None
        if is_size_confirmed:
            self._set_actual_size(self.size)
            self._sizes.actual, self._sizes.echoed = self.size, self._echoed_size
        self.report.pages += 1
        if self._filters.match == "loose":
            self.report.anomalies += count_loose_matches(page.records, self._filters)
        is_decision_due = self.scan.add_page(answer, sorted_run, past_the_end=past_the_end)
        if is_decision_due:
            self._continue()
        return is_decision_due or is_size_confirmed

    def _may_be_smaller(self, rows: int, total: int) -> bool:
        is_open_question = self._echoed_size is None and self._sizes.actual in {None, rows}
        return is_open_question and not self._is_too_large(total)

    def _plan_smaller(self, size: int, *, first_page_is_here: bool) -> None:
        # Pages planned with another size would overlap or leave gaps.
        self.report.anomalies += 1 + self.scan.drain_anomalies()
        if self._echoed_size is None:
            self._set_actual_size(size)  # otherwise the second page confirms it first
        self.size = size
        self.scan = WindowScan(size)
        self.planned.clear()
        self._refused.clear()
        due = self._due_pages()
        if not first_page_is_here:
            self._plan(due)

    def _set_actual_size(self, size: int) -> None:
        self.budget.plan_smaller(size)
        self.actual_size = min(self.actual_size, size)

    def _continue(self) -> None:
        scan = self.scan
        if scan.pages == 1 and self.report.scans == 1:
            self._note_rows(scan.largest_total)
            if self._is_too_large(scan.largest_total):
                self.report.scans = 0  # the scan was not completed
                self._leave_for_splitting()
                return
        self._plan(self._due_pages())
        if not (scan.is_read and self.is_open):
            return
        self.report.anomalies += scan.drain_anomalies()
        if scan.single and ((self.is_part and self.report.scans == 1) or (self._is_preceding and scan.rows)):
            # One SELECT returned total and rows; the larger window confirms them.
            self._settle(scan.largest_total, WindowState.CERTIFIED)
        elif self.growth.is_growing:
            self._count_by_end_page()
        else:
            self._plan([self._request_count()], is_check=True)

    def _count_by_end_page(self) -> None:
        # Without delay: a delayed count would include calls that are added meanwhile.
        self._merge_earlier()
        scan = self.scan
        if self.needs_single_pages or self._refused or not scan.rows:
            self._plan([self._request_count()], is_check=True)
        elif scan.largest_total > scan.rows:
            self._read_again(scan.largest_total)
        else:
            self._check_end(scan.rows)

    def _merge_earlier(self) -> None:
        scan, earlier = self.scan, self._earlier
        if earlier is None:
            return
        self._earlier = None
        if scan.single:
            scan.largest_total = max(scan.largest_total, earlier.largest_total)
        else:
            repeats, self._repeats = self._repeats, frozenset()
            scan.merge(earlier, repeats=repeats)

    def _is_too_large(self, total: int) -> bool:
        return total > self.max_rows and self.report.scans == 1 and can_split(self.window)

    def _note_rows(self, total: int) -> None:
        if self.is_part:
            return
        if not self._planned_rows:
            self.budget.plan(total)
        else:
            self.budget.plan_more(max(0, total - self._planned_rows))
        self._planned_rows = max(1, total)

    def _leave_for_splitting(self) -> None:
        self.report.total = self.scan.largest_total
        self.report.anomalies += self.scan.drain_anomalies()
        self.state = WindowState.TOO_LARGE

    # --- the control count

    def _request_count(self) -> PageRequest:
        control = self._request(1, self._sizes.for_counts, control=True)
        # Total and rows of one SELECT are consistent, so no delay is needed.
        delay = 0.0 if self.scan.single else self.growth.delay_count(self.report.scans)
        return msgspec.structs.replace(control, delay=delay)

    def _judge_refusals(self, count: int) -> SipCdrError | None:
        refused, self._refused = self._refused, {}
        left = [refused[number] for number in sorted(refused) if number <= count_pages(count, self.size)]
        if not left:
            self._read_again(count)  # rows were deleted, so these pages no longer exist
            return None
        request, error = left[0]
        if self._is_size_assumed:
            self._end_unproven(count)  # with another page size, there may be no such page
        elif isinstance(error, InvalidQueryError):
            self.refused_page = request.current
            self._end_unproven(count)
        elif all(page.may_be_gone and why.retryable for page, why in left) and self.budget.take(len(left)):
            # They do exist: request them as often as any other page.
            self.planned.extend(msgspec.structs.replace(page, may_be_gone=False) for page, _ in left)
        else:
            return error
        return None

    def _take_count(self, count: int) -> None:
        self._merge_earlier()
        if self._first_count is not None:
            count, self._first_count = max(count, self._first_count), None
        elif self._disagrees(count) and self.budget.take(1):
            self._first_count = count  # it may be stale or partial: count again and use the larger one
            self.planned.append(self._request_count())
            return
        self._decide(count)

    def _disagrees(self, count: int) -> bool:
        scan = self.scan
        if scan.is_ambiguous and not scan.single:
            return False  # no count can prove the window
        if self.growth.exceeds(count, rows=scan.rows, largest_total=scan.largest_total):
            return False  # another count could only be larger
        return (scan.rows != count or scan.largest_total > count) and not scan.may_hold(count)

    def _decide(self, count: int) -> None:
        scan = self.scan
        if scan.is_ambiguous and not scan.single:
            self._end_unproven(count)  # such rows can be counted only within one answer
        elif scan.rows != count or scan.largest_total > count or scan.is_unsettled:
            self._read_again(count)
        elif count and count % self.size == 0:
            self._check_end(count)
        else:
            # The last page was not full, so no row follows.
            self._settle(count, WindowState.CERTIFIED)

    # --- the end of the list

    def _check_end(self, count: int) -> None:
        # A total that is cut off at a full page would look correct, so a page beyond it is requested.
        if (page := plan_end_page(count, self.size)) is None:
            self._leave_end_unseen(count)
        else:
            self._plan([self._request(*page, is_end=True)], is_check=True)

    def _take_end(self, request: PageRequest, answer: PageAnswer, verdict: Verdict) -> None:
        scan, page = self.scan, answer.page
        count = scan.rows
        before = (request.current - 1) * request.size
        sent = len(page.records) + len(answer.quarantined)
        is_resized = page.current == request.current and page.size != request.size
        if page.total != count and (is_resized or verdict in {Verdict.USE, Verdict.PAST_THE_END}):
            self._read_again(page.total)
        elif verdict is not Verdict.USE or not count - before <= sent <= request.size:
            # The answer is another page than requested, or has another size.
            if request.asked_before or not self.budget.take(1):
                self._leave_end_unseen(count)
            else:
                self._repeat(self._fit_end(request, page.size, count))
        else:
            rows, broken = {*page.records}, {quarantined.digest for quarantined in answer.quarantined}
            known = {quarantined.digest for quarantined in scan.quarantined.values()}
            distinct = len(rows) + len(broken)
            unread = sum(not scan.contains(row) for row in rows) + len(broken - known)
            self.report.anomalies += sent - distinct
            # OFFSET skipped `before` rows, and the page has more: all of these exist, and so do the rows that the scan
            # has and the page's new ones. Without a control count (growing window), repeated rows on the page count.
            existing = max(before + (sent if self.growth.is_growing else distinct), count + unread)
            if existing > count:
                self._read_again(existing)
            else:
                self._settle(count, WindowState.CERTIFIED)

    def _fit_end(self, request: PageRequest, actual: int, count: int) -> PageRequest:
        # If the vendor has used another page size, another page is at the end of the list.
        other = plan_end_page(count, actual + 1) if actual != request.size and 1 < actual < LARGEST_SIZE else None
        return request if other is None else self._request(*other, is_end=True)

    def _leave_end_unseen(self, count: int) -> None:
        if self.growth.is_growing:
            self.growth.is_growing = False
            self._plan([self._request_count()], is_check=True)
            return
        self.end_is_unseen = True
        self._end_unproven(count)

    # --- reading again

    def _read_again(self, count: int) -> None:
        scan = self.scan
        if self._is_too_large(count) and scan.largest_total * 2 < count:
            # The first total was far too low: the window is split, and the rows read so far are few.
            self._note_rows(count)
            self.report.duplicates += scan.duplicates
            scan.largest_total = count
            self._leave_for_splitting()
            return
        # If rows were deleted, those read before may no longer exist. Otherwise they still count, and only the missing
        # ones have to be found.
        shrunk = scan.largest_total > count or scan.rows > count
        self.growth.note_count(count, rows=scan.rows, largest_total=scan.largest_total)
        # Rows of one id on different pages are legs, or one row that changed: only these pages are read once more.
        is_targeted = self.report.scans == 1 and not shrunk and scan.may_hold(count)
        pages: Sequence[int] = scan.find_pages(scan.doubtful_ids) if is_targeted else []
        if not (pages or self._may_read_again(count)):
            self._end_unproven(count)
            return
        if self.growth.rows and not pages:
            pages = range(
                1, count_pages(count, self.size) + 1
            )  # all at once: fewer calls are added during a shorter scan
        self.report.duplicates += scan.duplicates
        scan.largest_total = count
        self._earlier = None if shrunk else scan
        if shrunk:
            self._conflicting |= scan.conflicting
        self.scan = WindowScan(self.size, pages or None)
        self.report.scans += 1
        self._plan(self._due_pages(waits=True))

    def _may_read_again(self, count: int) -> bool:
        # A window that can be split is split after two scans: smaller windows change less while they are read.
        max_scans = MAX_SCANS - 1 if can_split(self.window) else MAX_SCANS
        if self.growth.rows:
            max_scans = 1 if self.growth.is_fast and can_split(self.window) else MAX_SCANS_WHILE_GROWING
        return self.report.scans < max_scans and self.budget.left > count_pages(count, self.size)

    def _end_unproven(self, reported: int) -> None:
        self.report.anomalies += self.scan.drain_anomalies()
        if self._earlier is not None:
            self.scan.merge(self._earlier)
        self._settle(max(reported, self.scan.largest_total), WindowState.UNPROVEN)

    def _settle(self, total: int, state: WindowState) -> None:
        self.report.duplicates += self.scan.duplicates
        self.report.conflicts = len(self._conflicting | self.scan.conflicting)
        self.planned.clear()
        self.report.copies = self.scan.copies
        self.report.total = total - self.report.copies
        self.report.unique = self.scan.unique
        self.report.quarantined = len(self.scan.quarantined)
        self.report.certified = state is WindowState.CERTIFIED
        # Age at the control count: a window that was young at the start of the run may be settled by now.
        self.report.provisional = self._ages.is_young(self.window.end)
        self.report.local_clock = self._ages.read_clock().is_local
        self.state = state
