"""Reader of a range: plans windows, reads and proves them, and delivers them in order.

Starts the oldest windows first, holds a limited number in memory, splits those that are too large or cannot be proven,
and checks that the parts of a split window have at least as many rows as it reported.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from aiosipcdr.model.errors import (
    CHANGING,
    END_UNSEEN,
    IDENTICAL,
    INDISTINGUISHABLE,
    UNSTEADY,
    SipCdrError,
    describe_refused_page,
    describe_shortfall,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CallDetailRecords, CompleteWindow, FetchReport, ReportBuilder, WindowReport
from aiosipcdr.model.windows import TimeWindow, can_split, clip_window, plan_range, split_at_now, split_window
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.proof.budget import MAX_ROWS, TARGET_ROWS, Budget, PageSizes, RowQuota, WindowLimits
from aiosipcdr.proof.checkpoint import (
    Checkpoint,
    Delivered,
    JournalEvent,
    JournalQueue,
    Recounted,
    Trimmed,
    WindowSplit,
)
from aiosipcdr.proof.field_counts import find_unidentified
from aiosipcdr.proof.merge import OwnedSpan, RangeMerger, sort_records
from aiosipcdr.proof.overlaps import OverlapReader, identity
from aiosipcdr.proof.page import PageRequest, PlanChange, Transition, enlarge_count
from aiosipcdr.proof.pending import PendingWindows, WindowTask, find_short
from aiosipcdr.proof.retention import BoundarySearch, RetentionBoundary
from aiosipcdr.proof.splits import Recounts, SplitWindow, add_reported
from aiosipcdr.proof.window import WindowState
from aiosipcdr.wire.codec import PageAnswer

__all__ = ["RangeReader"]

_Splits = tuple[SplitWindow, ...]


class RangeReader:
    """Plans the requests that read a range, and turns their answers into complete windows.

    Attributes:
        span: The range that was asked for.
        progress: Counters of the report.
        mismatch: The error that ends the run instead of delivering the window taken last, if too much is unreadable.
        planned: Windows whose total became known, with the total; emptied by the caller.
        tiles: The windows that the run begins with, oldest first.
    """

    def __init__(
        self,
        span: OwnedSpan,
        filters: Filters,
        *,
        size: int,
        quota: RowQuota,
        ages: AgePolicy,
        allow_incomplete: bool = False,
        skip_out_of_range: bool = False,
        strict: bool = False,
        normalize: Callable[[CallDetailRecord], CallDetailRecord] = identity,
        journal: JournalQueue | None = None,
        tiles: Sequence[TimeWindow] | None = None,
    ) -> None:
        """Divide `span` into tiles.

        Args:
            span: The range, of any length, and which of its calls are delivered.
            filters: Filters of the query.
            size: Page size.
            quota: Limits the windows in memory.
            ages: Decides which windows are provisional.
            allow_incomplete: Deliver unproven windows, too.
            skip_out_of_range: Read what the vendor still keeps, and report the deleted part as a gap.
            strict: A record that cannot be decoded ends the run.
            normalize: Two records are equal if it returns equal records for them.
            journal: Receives the events that must be written before the run acts on them.
            tiles: The windows to begin with, oldest first, each a second before the end of the one before; by default
                the widest.
        """
        self.progress: ReportBuilder = ReportBuilder()
        self.span: TimeWindow | None = span.asked
        self._merger = RangeMerger(self.progress, span=span, normalize=normalize)
        self.mismatch: SipCdrError | None = None
        self.planned: deque[tuple[TimeWindow, int]] = deque()
        self._filters = filters
        self._size = size
        self._quota = quota
        self._limits = WindowLimits()
        self._ages = ages
        self._allow_incomplete = allow_incomplete
        self._time_field = span.time_field
        self._strict = strict
        self._skip_out_of_range = skip_out_of_range
        self._journal = journal
        now = ages.read_clock().now
        self._end = span.window.end
        self._preceding = span.preceding_second
        self._boundary = RetentionBoundary(clip_window(span.window, now), filters)
        self._budget = Budget(size)
        self._sizes = PageSizes()
        self._pending = PendingWindows(quota)
        self._recounts = Recounts(filters)
        self._urgent = self._recounts.planned  # recounts, and counts to repeat with a larger page size
        self._unproven = False
        self._overlap: OverlapReader[WindowTask] | None = None
        planned = plan_range(span.window, now) if tiles is None else tiles
        self.tiles: list[TimeWindow] = [*filter(None, [span.preceding_second]), *planned]
        self._note_clipping(self.tiles)
        for tile in self.tiles:
            self._pending.add(tile)

    @property
    def report(self) -> FetchReport:
        """The report as of now."""
        return self.progress.build()

    @property
    def is_finished(self) -> bool:
        """Whether every window was delivered and every recount agreed."""
        return not (self._pending or self._boundary.search) and self._recounts.is_done

    @property
    def has_result(self) -> bool:
        """Whether an event or a window can be taken, or nothing is left to wait for."""
        if self._journal:
            return True
        oldest = self._pending.oldest
        return self.is_finished if oldest is None else self._is_ready(oldest)

    def next_request(self) -> PageRequest | None:
        """Return the next request to send now, of the oldest window that has one; `None` if there is none.

        If fewer requests are planned than may be in flight, the next window is begun, so that its total is known and
        its pages are planned before the workers run out of requests.
        """
        if self._urgent:
            return self._urgent.popleft()
        if self._boundary.search is not None:
            return self._boundary.search.next_request()
        if self._overlap is not None and (request := self._overlap.next_request()) is not None:
            return request
        if self._pending.first is not None and (first := self._pending.hold_first(self._build)) is not None:
            return first.next_request()
        oldest, known = None, 0
        for part in self._pending.held:
            if part.planned:
                oldest = oldest or part
                known += len(part.planned)
                if known >= self._quota.windows:
                    return oldest.next_request()
        due = self._pending.hold_next(self._build) or oldest
        return None if due is None else due.next_request()

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        """Process an answer; `PlanChange.DONE` when an event or a window can be taken."""
        changed = request.owner.accept(request, answer)
        return self._follow_up() if changed is PlanChange.DONE else changed

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:
        """Process the final error of `request`; return it if it ends the run."""
        if (larger := enlarge_count(request, error, self._size)) is not None:
            self._sizes.for_counts = larger.size
            self._urgent.append(larger)
            return None
        changed = request.owner.refuse(request, error)
        if changed is PlanChange.OUT_OF_RANGE:
            self._pending.put_back_open(request.owner)
            if self._overlap is request.owner:
                self._overlap.give_up()  # the rows that it compares may be out of range, too
                self._overlap = None
            self._boundary.begin_search()
        return changed if isinstance(changed, SipCdrError) else self._follow_up()

    def _follow_up(self) -> Transition:
        # The owner of a request has all answers: take the next steps of the run.
        error: SipCdrError | None = None
        if self._boundary.search is not None and self._boundary.search.is_done:
            error = self._finish_search(self._boundary.search)
        if error is None and self._overlap is not None and not self._overlap.is_open:
            error = self._finish_overlap(self._overlap)
        while error is None and self._recounts.counted:
            error = self._take_recount(*self._recounts.counted.popleft())
        if error is not None:
            return error
        self._compare_oldest()
        return PlanChange.DONE if self.has_result else None

    def take_event(self) -> JournalEvent | None:
        """Return the event that must be written next; all events taken before count as written."""
        return None if self._journal is None else self._journal.take()

    def take_complete(self) -> CompleteWindow | None:
        """Return the oldest window if it was read, else `None`; each window once, in order."""
        oldest = self._pending.oldest
        if oldest is None or not self._is_ready(oldest):
            return None
        self._pending.release(oldest)
        complete = self._deliver(oldest)
        self._compare_oldest()
        self.mismatch = self._merger.fields.find_mismatch()
        if self.mismatch is not None:
            self.mismatch.window = complete.window
        return complete

    def _note_clipping(self, tiles: list[TimeWindow]) -> None:
        end = tiles[-1].end if tiles else self._end
        self.progress.clipped_to = end if end < self._end else None

    def join(self) -> None:
        """Take a share of the quota; call it when the run begins."""
        self._quota.runs += 1

    def leave(self) -> None:
        """Release the share of the quota; call it when the run ends."""
        self._quota.runs -= 1
        self._pending.clear()
        self._urgent.clear()
        if self._overlap is not None:
            self._overlap.planned.clear()

    def abandon(self) -> CallDetailRecords:
        """End the run early: return the records that were read and not delivered, and add them to the report."""
        splits = self._pending.find_splits()
        left: list[CallDetailRecord] = []
        quarantined: list[QuarantinedRecord] = []
        for part in self._pending.held:
            if part.state in {WindowState.OPEN, WindowState.TOO_LARGE}:
                part.give_up()
            complete = self._merger.merge(part, part.splits, part.repeats)
            left += complete.records
            quarantined += complete.quarantined
        for split, outer in splits:
            split.is_proven = False  # some of its parts are missing
            unclaimed = self._merger.take_unclaimed(split, outer)
            self._merger.fields.add_unclaimed(unclaimed)
            left += unclaimed
        records = CallDetailRecords(sort_records(left), report=self.report)
        records.quarantined = quarantined
        return records

    def _build(self, window: TimeWindow, splits: tuple[SplitWindow, ...]) -> WindowTask:
        return WindowTask(
            window,
            self._filters,
            size=self._size,
            max_rows=self._limits.max_rows(window),
            budget=self._budget,
            sizes=self._sizes,
            is_part=bool(splits),
            is_preceding=window == self._preceding,
            is_repair=any(split.is_repair for split in splits),
            is_growing=any(split.is_growing for split in splits),
            pause=max(
                (self._ages.until_past(split.reread_at) for split in splits if split.reread_at is not None), default=0.0
            ),
            ages=self._ages,
            time_field=self._time_field,
            strict=self._strict,
            on_answer=self._advance,
        )

    def _is_ready(self, part: WindowTask) -> bool:
        if part.repeats is None or self._overlap is not None:
            return False
        return part.report.certified or self._is_read(part)

    def _is_read(self, part: WindowTask) -> bool:
        # An unproven window that must not be delivered stays here until its error ends the run.
        return part.report.certified or (self._allow_incomplete and not part.is_open)

    def _compare_oldest(self) -> None:
        # Which of its rows are repeated is known once all older windows are delivered.
        part = self._pending.oldest
        if part is None or part.repeats is not None or not self._is_read(part):
            return
        together = next((split for split in part.splits if split.delivers_together), None)
        if together is not None and not self._check_parts(together):
            return
        part.repeats = self._merger.compare(part)
        preceding = None if part.owner_is_known else self._merger.find_second_to_reread(part, part.repeats)
        if preceding is None and not part.repeats.is_doubtful:
            return
        self._budget.take(1)
        self._overlap = OverlapReader(
            part,
            preceding,
            filters=self._filters,
            size=self._size,
            max_rows=MAX_ROWS,  # it is too narrow to be split
            budget=self._budget,
            sizes=self._sizes,
            is_part=True,
            is_repair=True,
            ages=self._ages,
            time_field=self._time_field,
            strict=self._strict,
        )

    def _check_parts(self, split: SplitWindow) -> bool:
        # Returns whether the parts of `split` can be delivered. Parts of one page were certified without a count: if
        # all parts together have fewer rows than the window reported, some of these pages came from a replica that
        # lags. They are read once more when it has caught up.
        parts = self._pending.find_read_parts(split)
        if parts is None:
            return False
        short = {one for one in find_short(parts, split) if one.reread_at is None}  # each once
        late = [part for part in parts if short.intersection(part.splits) and self._ages.is_past(part.window.end)]
        if not late or not self._budget.take(len(late)):
            split.delivers_together = False
            return True
        due = self._ages.find_caught_up()
        for one in short:
            one.reread_at = due
        for part in late:
            add_reported(part.splits, -part.report.counted)
            self._merger.count_effort(part.report)
            self._pending.put_back(part)
        return False

    def _finish_overlap(self, overlap: OverlapReader[WindowTask]) -> SipCdrError | None:
        part = overlap.part
        if part.repeats is None:
            return None
        self._overlap = None
        self._merger.count_effort(msgspec.structs.replace(overlap.report, scans=0))
        repeats, rows = part.repeats, overlap.scan.records.values()
        is_certified = overlap.state is WindowState.CERTIFIED
        if is_certified and overlap.is_of_preceding:
            self._merger.add_preceding(overlap.scan)
            part.owner_is_known, part.repeats = True, None
            return None
        if is_certified and repeats.decide(rows, is_later=part.is_later):
            return None
        if not part.is_later:
            part.is_later, part.owner_is_known, part.repeats = True, False, None
            part.read_once_more(repeats.doubtful_ids)
            if part.is_open:
                return None
        part.refute()
        if can_split(part.window) and self._split(part, is_repair=True, target=TARGET_ROWS):
            return None
        return None if self._allow_incomplete else self._incomplete(part)

    def _advance(self, part: WindowTask) -> SipCdrError | None:
        self._size = min(self._size, part.actual_size)
        # The total of a window of a single page is used only after its control count.
        if not part.total_is_known and part.scan.pages and not (part.scan.single and part.is_open):
            part.total_is_known = True
            self._note_total(part)
        if part.state is WindowState.OPEN:
            return None
        error = None
        if part.state is WindowState.TOO_LARGE:
            error = self._split_too_large(part)
        elif part.state is WindowState.UNPROVEN:
            error = self._split_unproven(part)
        if part.state in (WindowState.CERTIFIED, WindowState.UNPROVEN) and part in self._pending.held:
            self._pending.shrink_reservation(part)
        return error

    def _note_total(self, part: WindowTask) -> None:
        total = part.scan.largest_total
        if part.splits:
            add_reported(part.splits, total)
        else:
            self.planned.append((part.window, total))

    def _split_too_large(self, part: WindowTask) -> SipCdrError | None:
        # Splits of parts that report far more rows than the window itself are charged as repairs. Without this limit, a
        # vendor that reports the same total for every window would receive a request for each second of the range.
        is_credible = all(split.is_credible for split in part.splits)
        if self._split(part, is_repair=not is_credible or part.max_rows < MAX_ROWS):
            return None
        if not self._allow_incomplete:
            return self._incomplete(part)
        part.read_uncut()
        return None

    def _split_unproven(self, part: WindowTask) -> SipCdrError | None:
        target, growth = TARGET_ROWS, part.growth
        if part.refused_page is not None:
            self._limits.lower((part.refused_page - 1) * part.actual_size)
        elif growth.rows and not part.needs_single_pages:
            target = max(1, part.report.total * 8 // growth.rows)
        elif part.needs_single_pages:
            target = max(1, part.actual_size * 6 // 10)
        elif part.report.total >= part.actual_size and not part.end_is_unseen:
            # Rows that move between pages while they are read cannot move within one page: from now on, windows are
            # split until one page is enough.
            self._limits.lower(part.actual_size - 1)
        if can_split(part.window) and self._split(part, is_repair=True, target=target):
            return None
        return None if self._allow_incomplete else self._incomplete(part)

    def _split(self, part: WindowTask, *, is_repair: bool, target: int | None = None) -> bool:
        now = split_at_now(part.window, self._ages.until_past(part.window.end))
        past, future = now or (part.window, None)
        number = self._limits.count_parts(past, part.report.total, target)
        children = [past] if future and (number == 1 or not can_split(past)) else split_window(past, number)
        children += [future] if future else []
        if is_repair and not self._budget.take(len(children)):
            return False
        self._pending.release(part)
        reported = part.report.build()
        self._merger.count_effort(reported)
        event = WindowSplit(reported=reported, parts=children, is_repair=is_repair)
        split = self._pending.add_parts(event, part.splits, part.scan.records.values(), first=future)
        split.is_growing = part.growth.rows > 0
        is_gathered = any(outer.delivers_together for outer in part.splits)
        split.delivers_together = is_repair and not is_gathered and self._ages.may_lag(part.window.end)
        self._merger.keep_unclaimed(split)
        self._note(event, split)
        return True

    def _note(self, event: JournalEvent, split: SplitWindow | None = None) -> None:
        if self._journal is not None:
            self._journal.add(event, split)

    def _incomplete(self, part: WindowTask) -> SipCdrError:
        if part.refused_page is not None:
            return describe_refused_page(part.window, part.refused_page, size=part.actual_size)
        unidentified = find_unidentified(len(part.scan.quarantined), part.scan.unique)
        if unidentified is not None:
            unidentified.window = part.window
            return unidentified
        why = INDISTINGUISHABLE if part.scan.is_ambiguous else END_UNSEEN if part.end_is_unseen else UNSTEADY
        total = part.report.total
        if identical := part.identical_rows:
            why, total = IDENTICAL.format(identical), part.report.counted
        return describe_shortfall(part.window, part.scan.unique, total, why, self.report)

    def _deliver(self, part: WindowTask) -> CompleteWindow:
        complete = self._merger.merge(part, part.splits, part.repeats)
        self._unproven = self._unproven or not part.report.certified
        self._recount_short(part.splits)
        self._certify()
        return complete

    def _recount_short(self, splits: Iterable[SplitWindow]) -> None:
        for split in splits:
            # A run that is already unproven gains nothing from a recount.
            if split.is_short and not self._unproven:
                self._recounts.plan(split)

    def _finish_search(self, search: BoundarySearch) -> SipCdrError | None:
        if not self._skip_out_of_range:
            return search.describe(can_skip=True)
        self._unproven = True
        kept_from = self._boundary.finish_search()
        self._note(Trimmed(kept_from=kept_from))
        self._pending.trim(kept_from)
        held = [part.window for part in self._pending.held if not part.is_open]
        self._boundary.report_gaps(self.progress.window_reports, held)
        return None

    def _take_recount(self, split: SplitWindow, count: int) -> SipCdrError | None:
        if split.distinct_rows < count:
            self._unproven = True
            if not self._allow_incomplete:
                why = INDISTINGUISHABLE if self.progress.quarantined else CHANGING
                return describe_shortfall(split.window, split.distinct_rows, count, why, self.report)
        else:
            self._note(Recounted(window=split.window, total=count))
        self._certify()
        return None

    def _certify(self) -> None:
        clipped_to = self.progress.clipped_to
        # If this machine's clock was far behind, the range was clipped in the past.
        is_clipped_too_early = clipped_to is not None and clipped_to <= self._ages.read_clock().now
        is_unproven = self._unproven or self.progress.quarantined or is_clipped_too_early
        self.progress.certified = self.is_finished and not is_unproven

    def resume(self, checkpoint: Checkpoint, *, counted_again: Collection[TimeWindow] = ()) -> None:
        """Continue an earlier run of the same query; must be called before the first request.

        Split windows whose parts have too few calls are counted again.

        Args:
            checkpoint: The progress of the earlier run.
            counted_again: Delivered windows whose total was confirmed just now: their age is judged as of now.

        Raises:
            OutOfTimeRangeError: The earlier run has skipped what the vendor has deleted, and this one must not skip it.
            KeyError: `checkpoint` has a window that was never planned.
        """
        reports = self._update_ages(checkpoint.entries, counted_again)
        self._note_clipping(checkpoint.tiles)
        delivered: dict[TimeWindow, _Splits] = {}
        splits: dict[TimeWindow, SplitWindow] = {}
        self._pending.take_all()
        waiting: dict[TimeWindow, _Splits] = dict.fromkeys(checkpoint.tiles, ())
        for entry in checkpoint.entries:
            match entry:
                case WindowSplit(reported=reported):
                    outer = self._plan_again(reported, waiting.pop(reported.window))
                    self._merger.count_effort(reported)
                    splits[reported.window] = self._pending.add_parts(entry, outer)
                case Delivered(reported=WindowReport(window=window), share=share):
                    reported = reports[window]
                    outer = delivered[window] = self._plan_again(reported, waiting.pop(window))
                    self._unproven = self._unproven or not reported.certified
                    self._merger.restore(reported, share, outer)
                case Recounted(window=window, total=total):
                    splits[window].reported_rows = total
                case Trimmed(kept_from=kept_from):
                    # Windows that were already read when the boundary moved were delivered later, untrimmed.
                    held = {window: waiting.pop(window) for window in reports.keys() & waiting.keys()}
                    self._restore_boundary(kept_from, waiting)
                    waiting = held
            waiting |= self._pending.take_all()
        for window, outer in waiting.items():
            self._pending.add(window, outer)
        for read in checkpoint.latest:
            self._merger.remember(read, delivered[read.window])
        self._boundary.report_gaps(self.progress.window_reports, [])
        self._recount_short(splits.values())
        self._certify()

    def _update_ages(
        self, entries: list[JournalEvent | Delivered], counted_again: Collection[TimeWindow]
    ) -> dict[TimeWindow, WindowReport]:
        reports = {entry.reported.window: entry.reported for entry in entries if isinstance(entry, Delivered)}
        for window in reports.keys() & set(counted_again):
            is_young, is_local = self._ages.is_young(window.end), self._ages.read_clock().is_local
            reports[window] = msgspec.structs.replace(reports[window], provisional=is_young, local_clock=is_local)
        return reports

    def _plan_again(self, reported: WindowReport, outer: _Splits) -> _Splits:
        if outer:
            add_reported(outer, reported.total)
        else:
            self._budget.plan(reported.total)
            self.planned.append((reported.window, reported.total))
        return outer

    def _restore_boundary(self, kept_from: datetime, waiting: dict[TimeWindow, _Splits]) -> None:
        if not self._skip_out_of_range:
            raise self._boundary.restore(kept_from)
        self._boundary.restore(kept_from)
        self._unproven = True
        for window, outer in waiting.items():
            self._pending.add(window, outer)
        self._pending.trim(kept_from)
