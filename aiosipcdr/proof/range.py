"""Covering a range with windows: tiles, their parts, and the order of what comes out.

Synchronous and without I/O.  Starts windows oldest first, holds a bounded
number of them, cuts those that are too large or cannot be proven, and checks
that the parts of a window hold at least what the whole of it told.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from aiosipcdr.model.errors import (
    CHANGING,
    END_UNSEEN,
    IDENTICAL,
    UNSTEADY,
    UNTOLD_APART,
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    ServerFaultError,
    SipCdrError,
    describe_refused_page,
    describe_shortfall,
)
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CallDetailRecords, CompleteWindow, FetchReport, QuarantinedRecord
from aiosipcdr.model.windows import TimeWindow, can_split, clip_window, plan_range, split_at_now, split_window
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.proof.budget import FULL_WINDOW, Budget, PageSizes, RowQuota
from aiosipcdr.proof.checkpoint import JournalEvent, Recounted, Trimmed, WindowSplit
from aiosipcdr.proof.field_counts import find_unidentified
from aiosipcdr.proof.merge import OwnedSpan, RangeMerger, sort_records
from aiosipcdr.proof.overlaps import OverlapReader, identity
from aiosipcdr.proof.page import PageRequest, enlarge_count
from aiosipcdr.proof.pending import PendingWindows, WindowTask, find_short
from aiosipcdr.proof.retention import BoundarySearch, RetentionBoundary
from aiosipcdr.proof.splits import Recounts, SplitWindow, add_reported
from aiosipcdr.proof.window import Outcome, WindowReader
from aiosipcdr.wire.codec import Filters, PageAnswer

__all__ = ["MOST_ROWS", "RangeReader"]

MOST_ROWS = FULL_WINDOW
"""A window that tells more is cut by time: OFFSET costs the vendor what it skips."""

AIMED_ROWS = 1_200
"""What a part should hold: far enough below the limit for busy hours, high enough to fill its pages."""

MOST_PARTS = 5_000
"""How many parts a window is cut into at once, whatever total is reported: parts that are too large are cut again."""


_REFUSALS = InvalidQueryError, ProtocolError, ServerFaultError


class RangeReader:
    """Plans the requests that read a range, and turns their answers into complete windows."""

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
    ) -> None:
        """Cut `span` into tiles.

        Args:
            span: the range, of any width, and which of its calls are handed over.
            filters: what the vendor is asked to select.
            size: records a page.
            quota: where the windows that are held at the same time, read or being read, find room.
            ages: which windows are provisional.
            allow_incomplete: hand over windows that could not be proven, too.
            skip_out_of_range: read what the vendor still keeps, and report the rest as a gap.
            strict: a record that cannot be decoded ends the run.
            normalize: two records are the same where it returns the same for both.
        """
        self.report: FetchReport = FetchReport()
        self.span: TimeWindow | None = span.asked
        """The range that was asked for."""
        self._merger = RangeMerger(self.report, span=span, normalize=normalize)
        self.mismatch: SipCdrError | None = None
        """The error that ends the run before the window that was taken last, if too much of it could not be read."""
        self.planned: deque[tuple[TimeWindow, int]] = deque()
        """Tiles whose total became known, for whoever shows progress."""
        self._filters = filters
        self._size = size
        self._quota = quota
        self._most_rows = MOST_ROWS
        self._ages = ages
        self._allow_incomplete = allow_incomplete
        self._time_field = span.time_field
        self._strict = strict
        self._skip_out_of_range = skip_out_of_range
        now = ages.read_clock().now
        self._end = span.window.end
        self._boundary = RetentionBoundary(clip_window(span.window, now), filters)
        self._budget = Budget(size)
        self._sizes = PageSizes()
        self._enlarged: deque[PageRequest] = deque()
        self._pending = PendingWindows(quota, self._build)
        self._recounts = Recounts(filters)
        self._unproven = False
        self._overlap: OverlapReader | None = None
        self.tiles: list[TimeWindow] = [*filter(None, [span.seam]), *plan_range(span.window, now)]
        """The windows that the run begins with, oldest first."""
        self._note_clipping(self.tiles)
        for tile in self.tiles:
            self._pending.add(tile)

    @property
    def is_finished(self) -> bool:
        """Whether every window was handed over and every count agreed."""
        return not (self._pending or self._boundary.search) and self._recounts.is_done

    @property
    def has_result(self) -> bool:
        """Whether a window can be taken, or nothing is left to wait for."""
        oldest = self._pending.oldest
        return self.is_finished if oldest is None else self._is_ready(oldest)

    def next_request(self) -> PageRequest | None:
        """Return the most useful request that may be sent now, oldest window first.

        When fewer are known than could be under way, the next window is begun before they are used up: what it
        holds is then told in time, and no place waits for it.
        """
        if self._enlarged:
            return self._enlarged.popleft()
        if self._boundary.search is not None:
            return self._boundary.search.next_request()
        if self._recounts.planned:
            return self._recounts.planned.popleft()
        if self._overlap is not None and (request := self._overlap.next_request()) is not None:
            return request
        if (first := self._pending.hold_first()) is not None:
            return first.next_request()
        oldest, known = None, 0
        for part in self._pending:
            if part.planned:
                oldest = oldest or part
                known += len(part.planned)
                if known >= self._quota.windows:
                    return oldest.next_request()
        due = self._pending.hold_next() or oldest
        return None if due is None else due.next_request()

    def accept(self, request: PageRequest, answer: PageAnswer) -> SipCdrError | None:
        """Take the answer to `request`; return the error that ends the run, if it does."""
        owner = request.owner
        error: SipCdrError | None = None
        if isinstance(owner, WindowTask):
            if owner.outcome is not Outcome.OPEN:
                return None
            error = owner.accept(request, answer) or self._advance(owner)
            if owner.outcome is Outcome.OPEN:
                return error
        elif isinstance(owner, OverlapReader):
            error = (owner.accept(request, answer) or self._take_overlap(owner)) if owner is self._overlap else None
        elif isinstance(owner, BoundarySearch):
            owner.note(request, accepted=True)
            error = self._advance_search(owner)
        elif isinstance(owner, SplitWindow):
            error = self._take_count(owner, self._recounts.accept(request, answer))
        if error is None:
            self._compare_oldest()
        return error

    def refuse(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        """Take the error of `request`; return it if it ends the run."""
        final = self._take_error(request, error)
        if final is None:
            self._compare_oldest()
        return final

    def _take_error(self, request: PageRequest, error: SipCdrError) -> SipCdrError | None:
        if isinstance(error, InvalidQueryError) and (larger := enlarge_count(request, self._size)) is not None:
            self._sizes.counting = larger.size
            self._enlarged.append(larger)
            return None
        if isinstance(request.owner, WindowReader) and isinstance(error, _REFUSALS):
            return request.owner.refuse(request, error) or self._advance_any(request.owner)
        if not isinstance(error, OutOfTimeRangeError) or isinstance(request.owner, SplitWindow):
            return error
        if isinstance(request.owner, BoundarySearch):
            request.owner.note(request, accepted=False)
            return self._advance_search(request.owner)
        if isinstance(request.owner, WindowTask) and request.owner.is_open:
            self._pending.put_back(request.owner)
        if request.owner is self._overlap:
            self._overlap = None  # what it would have decided is in doubt, as is all at this edge
        self._boundary.begin_search()
        return None

    def _advance_any(self, proof: WindowReader) -> SipCdrError | None:
        if isinstance(proof, WindowTask):
            return self._advance(proof) if proof in self._pending else None
        return self._take_overlap(proof) if proof is self._overlap else None

    def take_complete(self) -> CompleteWindow | None:
        """Return the oldest window if its reading has ended, each once and in order."""
        oldest = self._pending.oldest
        if oldest is None or not self._is_ready(oldest):
            return None
        self._pending.release(oldest)
        complete = self._hand_over(oldest)
        self._compare_oldest()
        self.mismatch = self._merger.fields.find_mismatch()
        if self.mismatch is not None:
            self.mismatch.window = complete.window
        return complete

    def _note_clipping(self, tiles: list[TimeWindow]) -> None:
        end = tiles[-1].end if tiles else self._end
        self.report.clipped_to = end if end < self._end else None

    def join(self) -> None:
        """Claim a fair share of the places, when the run begins."""
        self._quota.runs += 1

    def leave(self) -> None:
        """Make room for others, when the run ends."""
        self._quota.runs -= 1
        self._pending.clear()

    def abandon(self) -> CallDetailRecords:
        """Return what was read and not handed over, when the run ends early; the report then counts it too."""
        splits = self._pending.find_splits()
        left: list[CallDetailRecord] = []
        quarantined: list[QuarantinedRecord] = []
        for part in self._pending:
            if part.outcome in {Outcome.OPEN, Outcome.TOO_LARGE}:
                part.give_up()
            complete = self._merger.merge(part, part.splits, part.repeats)
            left += complete.records
            quarantined += complete.quarantined
        for split, outer in splits:
            split.is_proven = False  # its parts are not all here
            unclaimed = self._merger.take_unclaimed(split, outer)
            self._merger.fields.add_left_over(unclaimed)
            left += unclaimed
        records = CallDetailRecords(sort_records(left), report=self.report)
        records.quarantined = quarantined
        return records

    def _build(self, window: TimeWindow, splits: tuple[SplitWindow, ...]) -> WindowTask:
        return WindowTask(
            window,
            self._filters,
            size=self._size,
            most_rows=self._most_rows,
            budget=self._budget,
            sizes=self._sizes,
            is_part=bool(splits),
            is_repair=any(split.is_repair for split in splits),
            grows=any(split.grows for split in splits),
            pause=max((self._ages.until_past(split.due) for split in splits if split.due is not None), default=0.0),
            ages=self._ages,
            time_field=self._time_field,
            strict=self._strict,
        )

    def _is_ready(self, part: WindowTask) -> bool:
        if part.repeats is None or self._overlap is not None:
            return False
        return part.report.certified or self._is_read(part)

    def _is_read(self, part: WindowTask) -> bool:
        # What is unproven and must not be handed over stays where it is until the error has ended the run.
        return part.report.certified or (self._allow_incomplete and not part.is_open)

    def _compare_oldest(self) -> None:
        # What a window repeats is known when all older ones were handed over.
        part = self._pending.oldest
        if part is None or part.repeats is not None or not self._is_read(part):
            return
        gathering = next((split for split in part.splits if split.gathers), None)
        if gathering is not None and not self._gather(gathering):
            return
        part.repeats = self._merger.compare(part)
        if not part.repeats.is_doubtful:
            return
        self._budget.take(1)
        self._overlap = OverlapReader(
            part,
            filters=self._filters,
            size=self._size,
            most_rows=self._most_rows,
            budget=self._budget,
            sizes=self._sizes,
            is_part=True,
            is_repair=True,
            ages=self._ages,
            time_field=self._time_field,
            strict=self._strict,
        )

    def _gather(self, split: SplitWindow) -> bool:
        # Parts of one page were believed as they came. If they hold less than the whole has reported, some came from a
        # replica that is behind: they are read once more when that has caught up.
        parts = self._pending.gather(split)
        if parts is None:
            return False
        short = {one for one in find_short(parts, split) if one.due is None}  # each once
        late = [part for part in parts if short.intersection(part.splits) and self._ages.is_past(part.window.end)]
        if not late or not self._budget.take(len(late)):
            split.gathers = False
            return True
        due = self._ages.find_caught_up()
        for one in short:
            one.due = due
        for part in late:
            add_reported(part.splits, -part.report.counted)
            self._merger.count_effort(part.report)
            self._pending.put_back(part)
        return False

    def _take_overlap(self, seam: OverlapReader) -> SipCdrError | None:
        part = seam.part
        if seam.is_open or not isinstance(part, WindowTask) or part.repeats is None:
            return None
        self._overlap = None
        self._merger.count_effort(msgspec.structs.replace(seam.report, scans=0))
        repeats, rows = part.repeats, seam.scan.records.values()
        if seam.outcome is Outcome.CERTIFIED and repeats.decide(rows, is_later=part.is_later):
            return None
        if not part.is_later:
            part.is_later, part.repeats = True, None
            part.read_once_more(repeats.doubtful_ids)
            if part.is_open:
                return None
        part.refute()
        if can_split(part.window) and self._cut(part, AIMED_ROWS, is_repair=True):
            return None
        return None if self._allow_incomplete else self._incomplete(part)

    def _advance(self, part: WindowTask) -> SipCdrError | None:
        self._size = min(self._size, part.given_size)
        # A single page that makes up a whole range is not believed before its control count.
        if not part.total_is_known and part.scan.pages and not (part.scan.single and part.is_open):
            part.total_is_known = True
            self._note_total(part)
        if part.outcome is Outcome.OPEN:
            return None
        error = None
        if part.outcome is Outcome.TOO_LARGE:
            error = self._cut_too_large(part)
        elif part.outcome is Outcome.UNPROVEN:
            error = self._cut_unproven(part)
        if part.outcome in (Outcome.CERTIFIED, Outcome.UNPROVEN) and part in self._pending:
            self._pending.shrink_reservation(part)
        return error

    def _note_total(self, part: WindowTask) -> None:
        total = part.scan.largest_total
        if part.splits:
            add_reported(part.splits, total)
        else:
            self.planned.append((part.window, total))

    def _cut_too_large(self, part: WindowTask) -> SipCdrError | None:
        # Parts that tell far more than their whole cost what trouble costs, or a vendor that tells the same total
        # for every window would be asked for each second of the range.
        is_credible = all(split.is_credible for split in part.splits)
        if self._cut(part, AIMED_ROWS, is_repair=not is_credible or part.most_rows < MOST_ROWS):
            return None
        if not self._allow_incomplete:
            return self._incomplete(part)
        part.read_uncut()
        return None

    def _cut_unproven(self, part: WindowTask) -> SipCdrError | None:
        aimed, growth = AIMED_ROWS, part.growth
        if part.refused_page is not None:
            self._most_rows = min(self._most_rows, (part.refused_page - 1) * part.given_size)
        elif growth.rows and not part.needs_single_pages:
            aimed = max(1, part.report.total * 8 // growth.rows)
        elif part.needs_single_pages:
            aimed = max(1, part.given_size * 6 // 10)
        elif part.report.total >= part.given_size and not part.end_is_unseen:
            # Rows that move while pages are read cannot move within one page:
            # from here on windows are cut so small that one page holds them.
            self._most_rows = max(1, part.given_size - 1)
        if can_split(part.window) and self._cut(part, aimed, is_repair=True):
            return None
        return None if self._allow_incomplete else self._incomplete(part)

    def _cut(self, part: WindowTask, aimed: int, *, is_repair: bool) -> bool:
        aimed = min(aimed, max(1, self._most_rows * 6 // 10))
        parts = min(-(-part.report.total // aimed), MOST_PARTS)
        now = split_at_now(part.window, self._ages.until_past(part.window.end))
        past, to_come = now or (part.window, None)
        children = [past] if to_come and (parts == 1 or not can_split(past)) else split_window(past, parts)
        children += [to_come] if to_come else []
        if is_repair and not self._budget.take(len(children)):
            return False
        self._pending.release(part)
        self._merger.count_effort(part.report)
        cut = WindowSplit(reported=part.report, parts=children, is_repair=is_repair)
        split = self._pending.add_parts(cut, part.splits, part.scan.records.values(), first=to_come)
        split.grows = part.growth.rows > 0
        is_gathered = any(outer.gathers for outer in part.splits)
        split.gathers = is_repair and not is_gathered and self._ages.may_lag(part.window.end)
        self._merger.keep_unclaimed(split)
        self._note(cut, split)
        return True

    def _note(self, note: JournalEvent, split: SplitWindow | None = None) -> None:
        """Take note of what has become of a window, where that is written down."""

    def _incomplete(self, part: WindowTask) -> SipCdrError:
        if part.refused_page is not None:
            return describe_refused_page(part.window, part.refused_page, size=part.given_size)
        unidentified = find_unidentified(len(part.scan.quarantined), part.scan.unique)
        if unidentified is not None:
            unidentified.window = part.window
            return unidentified
        why = UNTOLD_APART if part.scan.is_ambiguous else END_UNSEEN if part.end_is_unseen else UNSTEADY
        total = part.report.total
        if identical := part.identical_rows:
            why, total = IDENTICAL.format(identical), part.report.counted
        return describe_shortfall(part.window, part.scan.unique, total, why, self.report)

    def _hand_over(self, part: WindowTask) -> CompleteWindow:
        complete = self._merger.merge(part, part.splits, part.repeats)
        self._unproven = self._unproven or not part.report.certified
        for split in part.splits:
            if split.is_short:
                self._recount(split)
        self._certify()
        return complete

    def _recount(self, split: SplitWindow) -> None:
        # A run that is unproven already learns nothing from one more count.
        if not self._unproven:
            self._recounts.plan(split)

    def _advance_search(self, search: BoundarySearch) -> SipCdrError | None:
        if not search.is_done:
            return None
        if not self._skip_out_of_range:
            return search.describe(can_skip=True)
        self._unproven = True
        kept_from = self._boundary.finish_search()
        self._note(Trimmed(kept_from=kept_from))
        self._pending.trim(kept_from)
        self._boundary.report_gaps(
            self.report.window_reports, [part.window for part in self._pending if not part.is_open]
        )
        return None

    def _take_count(self, split: SplitWindow, count: int | SipCdrError | None) -> SipCdrError | None:
        if not isinstance(count, int):
            return count
        if split.union < count:
            self._unproven = True
            if not self._allow_incomplete:
                return describe_shortfall(split.window, split.union, count, CHANGING, self.report)
        else:
            self._note(Recounted(window=split.window, total=count))
        self._certify()
        return None

    def _certify(self) -> None:
        clipped_to = self.report.clipped_to
        # By a clock that is months behind, calls that were made already would be to come.
        is_clipped_too_early = clipped_to is not None and clipped_to <= self._ages.read_clock().now
        is_unproven = self._unproven or self.report.quarantined or is_clipped_too_early
        self.report.certified = self.is_finished and not is_unproven
