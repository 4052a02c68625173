"""The proof that a window is complete, and what is done when it fails.

Synchronous and without I/O: requests come out, answers go in.  A window is
certified when the distinct ids read in it are as many as a count taken
afterwards, and no answer that was used told a larger total.  That proves it
for windows in which rows are only added, or only deleted, while they are read;
never reports success with fewer.
"""

from collections import deque
from enum import Enum, auto

import msgspec

from aiosipcdr.errors import ProtocolError, SipCdrError
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.protocol.ascent import find_ascent
from aiosipcdr.protocol.codec import Filters, PageAnswer, encode_params
from aiosipcdr.protocol.limits import Budget
from aiosipcdr.protocol.paging import PageRequest, Verdict, count_pages, judge_answer
from aiosipcdr.protocol.sweep import Sweep
from aiosipcdr.protocol.tiling import can_split
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import WindowReport

__all__ = ["Outcome", "WindowProof"]

MOST_SWEEPS = 3


def _is_empty(answer: PageAnswer) -> bool:
    return not (answer.page.records or answer.quarantined)


class Outcome(Enum):
    """How a window stands."""

    OPEN = auto()
    TOO_LARGE = auto()
    """To be cut by time before its pages are fetched."""
    CERTIFIED = auto()
    UNPROVEN = auto()
    """Read as often as is allowed; to be cut if it can be."""


class WindowProof:
    """Reads one window until it is certified, too large, or unproven."""

    def __init__(
        self,
        window: TimeWindow,
        filters: Filters,
        *,
        size: int,
        most_rows: int,
        budget: Budget,
        ages: AgePolicy,
        is_part: bool = False,
        is_repair: bool = False,
        time_field: str | None = None,
        strict: bool = False,
    ) -> None:
        """Plan the first page of `window`.

        Args:
            window: what to read.
            filters: what the vendor is asked to select.
            size: records a page.
            most_rows: a window that tells more is cut first, if it can be.
            budget: what the whole run may spend.
            ages: whether calls may still be added to the window.
            is_part: the window was cut out of a larger one, which has told its calls before.
            is_repair: the window was read before, in vain, as part of a larger one; its first request is paid for.
            time_field: the time that the vendor is known to select on.
            strict: a record that cannot be decoded is an error.
        """
        self.window = window
        self.size: int = size
        self.most_rows: int = most_rows
        self.budget = budget
        self._ages = ages
        self.is_planned: bool = is_part
        """Whether the budget knows of its calls."""
        self.is_repair = is_repair
        self.report: WindowReport = WindowReport(window=window)
        self.outcome: Outcome = Outcome.OPEN
        self.params: bytes = encode_params(window, filters)
        self.sweep: Sweep = Sweep(size)
        self._earlier: Sweep | None = None
        self._waited: Sweep | None = None
        self._count_lags = False
        self._conflicting: set[str] = set()
        self._filters = filters
        self._time_field = time_field
        self._strict = strict
        self.report.scans = 1
        self.planned: deque[PageRequest] = deque(self._due_pages())
        """The requests that may be sent now."""

    @property
    def is_open(self) -> bool:
        """Whether the window is still being read."""
        return self.outcome is Outcome.OPEN

    def next_request(self) -> PageRequest | None:
        """Return the next request that may be sent now, if there is one."""
        if not self.planned:
            return None
        self.report.requests += 1
        return self.planned.popleft()

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Take an answer; return the error that ends the run, if it does."""
        if self.outcome is not Outcome.OPEN or request.sweep is not self.sweep:
            return None  # asked for a plan that was given up meanwhile
        ascent = None if request.control else find_ascent(answer.page.records)
        try:
            verdict, why = judge_answer(request, answer, self._filters, self._time_field, ascent)
        except ProtocolError as error:
            return error
        if verdict is Verdict.DOUBTFUL and self.budget.take(1):
            self.report.anomalies += 1
            self.planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        if verdict is Verdict.ASK_AGAIN:
            return self._ask_again(request, why)
        if answer.quarantined and self._strict:
            reason = answer.quarantined[0].reason
            return ProtocolError(
                f"{len(answer.quarantined)} records cannot be decoded, the first: {reason} (strict=True)",
                window=self.window,
                page=request.current,
            )
        past_the_end = verdict is Verdict.PAST_THE_END
        if request.control and request.current == 1:
            self._decide(answer.page.total)
            return None
        if request.control:
            self._decide_tail(answer.page.total, is_empty=past_the_end or _is_empty(answer))
            return None
        if answer.page.size < self.size:
            self._plan_smaller(answer.page.size, first_page_is_here=request.current == 1)
            if request.current != 1:
                return None
        self.report.pages += 1
        self.sweep.add_page(answer, ascent, past_the_end=past_the_end)
        self._go_on()
        return None

    def give_up(self) -> None:
        """Take no more answers: the window stays as it was read so far, unproven."""
        self._end_unproven(self.report.total)

    def read_uncut(self) -> None:
        """Read a window that is too large as it is, since nothing is left to pay for cutting it."""
        self.outcome = Outcome.OPEN
        self.most_rows = self.sweep.largest_total
        self.report.scans = 1
        self._go_on()

    def _due_pages(self) -> list[PageRequest]:
        return [self._request(current, self.size) for current in self.sweep.plan_pages()]

    def _plan(self, requests: list[PageRequest], *, is_control: bool = False) -> None:
        if not requests:
            return
        if self._may_spend(len(requests), is_control=is_control):
            self.planned.extend(requests)
        else:
            self._end_unproven(self.sweep.largest_total)

    def _may_spend(self, requests: int, *, is_control: bool) -> bool:
        if self.report.scans > 1 or (self.is_repair and is_control):
            return self.budget.take(requests)
        # When nothing is left for trouble, a window is still read once: nothing is lost that was there to be had.
        return is_control or (self.is_repair and self.budget.take(requests)) or self.budget.read(requests)

    def _request(self, current: int, size: int, *, control: bool = False) -> PageRequest:
        return PageRequest(
            owner=self,
            window=self.window,
            params=self.params,
            current=current,
            size=size,
            control=control,
            sweep=self.sweep,
        )

    def _ask_again(self, request: PageRequest, why: str) -> SipCdrError | None:
        self.report.anomalies += 1
        if request.asked_before or not self.budget.take(1):
            return ProtocolError(f"the answer cannot be used: {why}", window=self.window, page=request.current)
        self.planned.append(msgspec.structs.replace(request, asked_before=True))
        return None

    def _plan_smaller(self, size: int, *, first_page_is_here: bool) -> None:
        # The vendor clamps the page size: pages planned with the old one do not fit together.
        self.report.anomalies += 1 + self.sweep.take_oddities()
        self.budget.plan_smaller(size)
        self.size = size
        self.sweep = Sweep(size)
        self.planned.clear()
        due = self._due_pages()
        if not first_page_is_here:
            self._plan(due)

    def _go_on(self) -> None:
        sweep = self.sweep
        if not self.is_planned:
            self.is_planned = True
            self.budget.plan(sweep.largest_total)
        first_page_told = sweep.pages == 1 and self.report.scans == 1
        if first_page_told and sweep.largest_total > self.most_rows and can_split(self.window):
            self.report.total = sweep.largest_total
            self.report.scans = 0  # not one reading: it ends before it began
            self.report.anomalies += sweep.take_oddities()
            self.outcome = Outcome.TOO_LARGE
            return
        self._plan(self._due_pages())
        if not (sweep.is_read and self.is_open):
            return
        self.report.anomalies += sweep.take_oddities()
        if sweep.single:
            self._settle(sweep.largest_total, Outcome.CERTIFIED)
        else:
            control = self._request(1, 1, control=True)
            self._plan([msgspec.structs.replace(control, delay=self._decide_delay())], is_control=True)

    def _decide_delay(self) -> float:
        if self._waited is self.sweep:
            return 0.0  # once for each reading
        self._waited = self.sweep
        return self._ages.decide_delay(self.window.end, count_lags=self._count_lags)

    def _decide(self, count: int) -> None:
        sweep = self.sweep
        if self._earlier is not None:
            sweep.carry_on(self._earlier)
            self._earlier = None
        if sweep.is_ambiguous:
            self._end_unproven(count)  # only smaller windows, of one page each, can be counted
        elif sweep.unique != count or sweep.largest_total > count:
            self._read_again(count)
        elif count % self.size:
            self._settle(count, Outcome.CERTIFIED)
        else:
            # A total that is cut off at a full page would look just like this: the page behind the last
            # must be empty.  Elsewhere a page that is longer than its total allows shows it.
            self._plan([self._request(count // self.size + 1, self.size, control=True)], is_control=True)

    def _decide_tail(self, count: int, *, is_empty: bool) -> None:
        if is_empty and count == self.sweep.unique:
            self._settle(count, Outcome.CERTIFIED)
        else:
            self._read_again(count)

    def _read_again(self, count: int) -> None:
        sweep = self.sweep
        if not self._may_read_again(count):
            self._end_unproven(count)
            return
        # Rows were deleted: what was read before may be gone.  Otherwise all of
        # it still stands and only what is missing has to turn up.
        shrunk = sweep.largest_total > count or sweep.unique > count
        self._count_lags = shrunk  # or the count is older than the rows
        self._note_trouble()
        sweep.largest_total = count
        self._earlier = None if shrunk else sweep
        self.sweep = Sweep(self.size)
        self.report.scans += 1
        self._plan(self._due_pages())

    def _may_read_again(self, count: int) -> bool:
        # A window that can be cut is read twice and then cut, for smaller
        # windows change less while they are read.
        most = MOST_SWEEPS - 1 if can_split(self.window) else MOST_SWEEPS
        return self.report.scans < most and self.budget.left > count_pages(count, self.size)

    def _end_unproven(self, told: int) -> None:
        self.report.anomalies += self.sweep.take_oddities()
        if self._earlier is not None:
            self.sweep.carry_on(self._earlier)
        self._settle(max(told, self.sweep.largest_total), Outcome.UNPROVEN)

    def _note_trouble(self) -> None:
        self.report.duplicates += self.sweep.duplicates
        self._conflicting |= self.sweep.conflicting
        self.report.conflicts = len(self._conflicting)

    def _settle(self, total: int, outcome: Outcome) -> None:
        self._note_trouble()
        self.planned.clear()
        self.report.total = total
        self.report.unique = self.sweep.unique
        self.report.quarantined = len(self.sweep.quarantined)
        self.report.certified = outcome is Outcome.CERTIFIED
        # At the control count: what was young when the run began may have settled meanwhile, by the vendor's clock.
        self.report.provisional = self._ages.is_young(self.window.end)
        self.report.local_clock = self._ages.read_clock().is_local
        self.outcome = outcome
