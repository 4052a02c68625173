"""Merging of windows: order, repeated rows, and which calls belong to which of several adjacent spans.

Two adjacent spans that meet at an instant b may be read by independent runs, and the vendor decides whether a window
that ends or begins at b includes a call exactly at b. So the right span also requests the second before b, and does it
twice: as a window of its own, and as the beginning of the span. Rows of that window belong to the left span, all others
to the right one. The left span and that window both end at b, so the vendor treats a call at b the same way in both,
and each call has exactly one owner. A call that may have arrived between the two readings is decided by a third one.
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Self, TypeVar

import msgspec

from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.model.report import CompleteWindow, ReportBuilder, WindowReport, WindowReportBuilder, WindowShare
from aiosipcdr.model.windows import OVERLAP, SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.field_counts import FieldCounts
from aiosipcdr.proof.overlaps import EarlierWindow, Repeats, identity, may_lie_in
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["OwnedSpan", "RangeMerger", "sort_records"]


class OwnedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time: what to request for it, and which of the calls it owns.

    Attributes:
        window: The window to request.
        preceding_second: The second before the span, which the left neighbour owns. A part of `window` that is also
            read separately, before `window`; `None` if the span has no left neighbour.
        time_field: The time field that the vendor is known to filter on.
        bounds: Start (inclusive) and end (exclusive) of the times of owned calls, if `time_field` is known. Then
            `preceding_second` decides only about calls without this time.
    """

    window: TimeWindow
    preceding_second: TimeWindow | None = None
    time_field: str | None = None
    bounds: tuple[datetime, datetime] | None = None

    @classmethod
    def alone(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Create a span without neighbours: all that the vendor returns for it, or [start, end) with `time_field`.

        Raises:
            ValueError: `TimeWindow.of` refuses the range.
        """
        return cls.between(start, end, time_field=time_field, has_left=False, has_right=False)

    @classmethod
    def adjacent(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Create a span that has neighbours that end at `start` and begin at `end`.

        Raises:
            ValueError: A bound is not a whole second, the range is empty, or `TimeWindow.of` refuses the range.
        """
        return cls.between(start, end, time_field=time_field, has_left=True, has_right=True)

    @classmethod
    def between(
        cls, start: datetime, end: datetime, *, time_field: str | None = None, has_left: bool, has_right: bool
    ) -> Self:
        """Create a span that has a neighbour on some of its sides.

        Args:
            start: Begin of the span.
            end: End of the span.
            time_field: The time field that the vendor is known to filter on.
            has_left: Whether a neighbour ends at `start`.
            has_right: Whether a neighbour begins at `end`.

        Raises:
            ValueError: A bound that a neighbour shares is not a whole second, a range with neighbours is empty, or
                `TimeWindow.of` refuses the range.
        """
        asked = TimeWindow.of(start, end)
        if (has_left or has_right) and not asked.seconds:
            raise ValueError("an adjacent range has a length: give an end that is later than start")
        if (has_left and asked.start != start.astimezone(UTC)) or (has_right and asked.end != end.astimezone(UTC)):
            raise ValueError("adjacent ranges meet at whole seconds: give start and end without fractions")
        preceding = None
        first, last = asked.start, asked.end
        if has_left:
            try:
                preceding = TimeWindow(first - SECOND, first)
            except OverflowError:
                raise ValueError("start lies at the beginning of the calendar: ask for a second less") from None
            first = preceding.start
        if time_field is not None:
            # Without a neighbour, one more second: the vendor may leave out a call exactly at the bound.
            wide = asked.widened() if not (has_left and has_right) else asked
            first = first if has_left else wide.start
            last = last if has_right else wide.end
        return cls(
            window=TimeWindow(first, last),
            preceding_second=preceding,
            time_field=time_field,
            bounds=None if time_field is None else (start.astimezone(UTC), end.astimezone(UTC)),
        )

    @property
    def asked(self) -> TimeWindow:
        """The range that the caller asked for."""
        if self.bounds is not None:
            return TimeWindow.of(*self.bounds)
        return self.window if self.preceding_second is None else TimeWindow(self.preceding_second.end, self.window.end)

    def is_preceding(self, window: TimeWindow) -> bool:
        """Return whether `window` is within the preceding second."""
        return self.preceding_second is not None and window.end <= self.preceding_second.end

    def encloses(self, window: TimeWindow) -> bool:
        """Return whether the known times of all calls that `window` may return lie within `bounds`.

        Answers with calls beyond a window and the overlap are not used, see `judge_answer`.
        """
        return self.bounds is None or (self.bounds[0] <= window.start and window.end + OVERLAP < self.bounds[1])

    def is_unsure(self, record: CallDetailRecord) -> bool:
        """Return whether not the time of a call decides about its owner, but the window in which it is read."""
        return self.bounds is None or self.time_field is None or getattr(record, self.time_field) is None

    def owns(self, record: CallDetailRecord, *, is_preceding: bool) -> bool:
        """Return whether the span owns a call.

        Args:
            record: The call.
            is_preceding: Whether it was read in the preceding second.
        """
        if self.bounds is not None and self.time_field is not None:
            reported: datetime | None = getattr(record, self.time_field)
            if reported is not None:
                return self.bounds[0] <= reported < self.bounds[1]
        return not is_preceding


T = TypeVar("T")

_TIME_AND_ID = attrgetter("submit_time", "voice_id")


class RangeMerger:
    """Removes the rows of a window that earlier windows have delivered, and adds the window to the run's report.

    Attributes:
        fields: Counts of unreadable fields of the delivered records.
    """

    def __init__(
        self,
        report: ReportBuilder,
        *,
        span: OwnedSpan,
        normalize: Callable[[CallDetailRecord], CallDetailRecord] = identity,
    ) -> None:
        """Create a merger.

        Args:
            report: Receives the counts.
            span: Only calls that it owns are delivered.
            normalize: Two records are equal if it returns equal records for them.
        """
        self._report = report
        self._span = span
        self._time_fields = TIME_FIELDS if span.time_field is None else (span.time_field,)
        self._normalize = normalize
        self._split: list[SplitWindow] = []
        self._recent: list[EarlierWindow] = []
        self.fields: FieldCounts = FieldCounts(report)

    def compare(self, reader: WindowReader) -> Repeats:
        """Compare `reader`, the next window to be delivered, with earlier windows."""
        self._recent = [recent for recent in self._recent if recent.end >= reader.window.start]
        return Repeats(reader, self._recent, self._time_fields, self._normalize)

    def find_second_to_reread(self, reader: WindowReader, repeats: Repeats) -> TimeWindow | None:
        """Return the second before the span if rows of `reader` may lie in it and were not read there.

        They arrived after that second was read, or lie beside it: without a known time field, that is known only once
        the second was read again, after `reader`.

        Args:
            reader: A window that is not the second itself.
            repeats: The result of `compare`.
        """
        second = self._span.preceding_second
        if second is None or self._span.is_preceding(reader.window) or reader.window.start > second.end:
            return None
        repeated = repeats.keys
        rows = (row for key, row in reader.scan.records.items() if key not in repeated)
        is_unsure = any(self._span.is_unsure(row) and may_lie_in(row, second, self._time_fields) for row in rows)
        return second if is_unsure else None

    def add_preceding(self, scan: WindowScan) -> None:
        """Add another reading of the second before the span, whose rows belong to the left neighbour."""
        if self._span.preceding_second is not None:
            self._recent.append(EarlierWindow(self._span.preceding_second.end, scan, ()))

    def merge(
        self, reader: WindowReader, splits: Sequence[SplitWindow], repeats: Repeats | None = None
    ) -> CompleteWindow:
        """Return the window of `reader` without the rows that earlier windows have delivered.

        Args:
            reader: The window.
            splits: The windows that it was split from, the outermost first.
            repeats: The result of `compare`, if it was called before.
        """
        scan, builder = reader.scan, reader.report
        repeats = repeats or self.compare(reader)
        repeats.drop_doubts()
        builder.conflicts += repeats.conflicts
        reported = builder.build()
        repeated = repeats.keys
        is_preceding = self._span.is_preceding(reader.window)
        records, omitted, in_order = self._select(reader, repeated, is_preceding=is_preceding)
        quarantined = {
            key: msgspec.structs.replace(record, window=reader.window)
            for key, record in scan.quarantined.items()
            # Quarantined records have no time: those of the preceding second belong to the left neighbour.
            if key not in repeated and key not in scan.records and not is_preceding
        }
        delivered = len(records) + len(quarantined)
        share = WindowShare(
            unique=delivered,
            total=reported.total - (scan.unique - delivered),
            quarantined=len(quarantined),
            # For each larger window: the rows that no other part of it has delivered.
            distinct_rows=[
                scan.unique - len(known) + scan.count_copies(known)
                for known in (_unite(keys for others, keys in repeats.by_window if split in others) for split in splits)
            ],
        )
        self.add(reported, share, splits)
        self._recent.append(EarlierWindow(reader.window.end, scan, splits))
        if any(split.unclaimed for split in self._split):
            self._forget(self._find_unclaimed(scan), self._normalize)
        may_share_ids = scan.has_duplicate_ids
        for split in reversed(splits):
            if not split.open_parts:
                unclaimed = self.take_unclaimed(split, splits)
                share.unclaimed.append(len(unclaimed))
                if unclaimed:
                    records += unclaimed
                    in_order, may_share_ids = False, True
        if scan.has_extras or any(share.unclaimed):
            self.fields.count(records, share)
        else:
            self.fields.count_values(records, share)
        self.fields.add(share)
        return CompleteWindow(
            window=reader.window,
            records=records if in_order else sort_records(records, may_share_ids=may_share_ids),
            quarantined=list(quarantined.values()),
            report=reported,
            share=share,
            repeated=omitted,
            unread_ids=sorted(scan.quarantined),
        )

    def restore(self, reported: WindowReport, share: WindowShare, splits: Sequence[SplitWindow]) -> None:
        """Count a window that an earlier run has delivered."""
        self.add(reported, share, splits)
        self.fields.add(share)
        ended = [split for split in reversed(splits) if not split.open_parts]
        for split, unclaimed in zip(ended, share.unclaimed, strict=True):
            self._count_unclaimed(split, splits, unclaimed)

    def remember(self, read: ReadWindow, splits: Sequence[SplitWindow]) -> None:
        """Add a window of an earlier run, whose rows the next windows may repeat."""
        self._recent.append(EarlierWindow(read.window.end, read, splits))

    def add(self, reported: WindowReport, share: WindowShare, splits: Sequence[SplitWindow]) -> None:
        """Count a window in the report and in the windows that it was split from."""
        report = self._report
        report.unique += share.unique
        report.total += share.total
        report.windows += 1
        report.quarantined += share.quarantined
        report.provisional += reported.provisional
        insort(report.window_reports, reported, key=attrgetter("window"))  # gaps in the report may be later
        for split, distinct_rows in zip(splits, share.distinct_rows, strict=True):
            split.distinct_rows += distinct_rows
            split.added_total += share.total
            split.open_parts -= 1
            split.is_proven = split.is_proven and reported.certified
        self.count_effort(reported)

    def keep_unclaimed(self, split: SplitWindow) -> None:
        """Remember the rows of `split` that were read before it was split, until windows deliver them."""
        if split.unclaimed:
            self._split.append(split)
            for recent in self._recent:
                self._forget(recent.records, identity if isinstance(recent.read, ReadWindow) else self._normalize)

    def take_unclaimed(self, split: SplitWindow, splits: Sequence[SplitWindow]) -> list[CallDetailRecord]:
        """Return the rows of `split` that were read before it was split and that no window has delivered.

        If every part is proven, the vendor has deleted those rows meanwhile, and nothing is returned.

        Args:
            split: The window.
            splits: The windows that it was split from; may include `split`.
        """
        unclaimed, split.unclaimed = split.unclaimed, {}
        self._split = [one for one in self._split if one is not split]
        left: list[CallDetailRecord] = []
        if not split.is_proven:
            rows = [row for rows in unclaimed.values() for row in rows]
            left = [row for row in rows if self._span.owns(row, is_preceding=False)]
            seen = rows if self._normalize is identity else [self._normalize(row) for row in rows]
            self._forget(seen, identity)
            read = ReadWindow(window=split.window, ids={*unclaimed}, records=seen)
            self._recent.append(EarlierWindow(split.window.end, read, ()))
        self._count_unclaimed(split, splits, len(left))
        return left

    def _find_unclaimed(self, scan: WindowScan) -> Collection[CallDetailRecord]:
        # Returns at least the rows of `scan` whose ids are unclaimed. Its rows need no dictionary if they are sorted.
        if (sorted_run := scan.sorted_run) is None:
            return scan.records.values()
        ids = _unite(split.unclaimed for split in self._split)
        return sorted_run.between(min(ids), max(ids))

    def _forget(
        self, rows: Collection[CallDetailRecord], normalize: Callable[[CallDetailRecord], CallDetailRecord]
    ) -> None:
        for split in self._split:
            seen = (
                rows if normalize is identity else [normalize(row) for row in rows if row.voice_id in split.unclaimed]
            )
            split.forget(seen, self._normalize)

    def _count_unclaimed(self, split: SplitWindow, splits: Sequence[SplitWindow], left: int) -> None:
        if split.is_proven:
            return
        # The totals of the parts count overlaps several times. An unproven window counts for what it reported itself,
        # or for its distinct rows if those are more.
        correction = max(split.reported_rows, split.distinct_rows + left) - split.added_total
        for outer in splits:
            outer.added_total += correction
        self._report.unique += left
        self._report.total += correction

    def count_effort(self, reported: WindowReport | WindowReportBuilder) -> None:
        """Add the pages, scans and anomalies of a window to the report, also of one that was given up."""
        report = self._report
        report.pages += reported.pages
        report.scans += reported.scans
        report.duplicates += reported.duplicates
        report.conflicts += reported.conflicts
        report.anomalies += reported.anomalies

    def _select(
        self, reader: WindowReader, repeated: set[object], *, is_preceding: bool
    ) -> tuple[list[CallDetailRecord], list[CallDetailRecord], bool]:
        # Returns the rows to deliver, those to omit, and whether both are in order.
        span, scan = self._span, reader.scan
        if span.bounds is None or (not is_preceding and span.encloses(reader.window)):
            # It owns all rows of the window, or none.
            sorted_run = scan.sorted_run
            if sorted_run is not None and is_preceding:
                return [], sorted_run.records, True
            if sorted_run is not None:
                return *sorted_run.without(map(str, repeated)), True
            if not (repeated or is_preceding):
                return [*scan.records.values()], [], False
        new: list[CallDetailRecord] = []
        omitted: list[CallDetailRecord] = []
        for key, record in scan.records.items():
            is_new = key not in repeated and span.owns(record, is_preceding=is_preceding)
            (new if is_new else omitted).append(record)
        return new, omitted, False


def _unite(sets: Iterable[Iterable[T]]) -> set[T]:
    united: set[T] = set()
    return united.union(*sets)


def sort_records(records: list[CallDetailRecord], *, may_share_ids: bool = True) -> list[CallDetailRecord]:
    """Return the records ordered by `submit_time` (`None` last), then `voice_id`, then encoded contents.

    Args:
        records: The records.
        may_share_ids: Whether several records may have the same id, so that contents must be compared.
    """
    key = _time_id_and_bytes if may_share_ids else _TIME_AND_ID
    try:
        return sorted(records, key=key)
    except TypeError:  # None does not compare
        dated = sorted([record for record in records if record.submit_time is not None], key=key)
        undated = [record for record in records if record.submit_time is None]
        return dated + sorted(undated, key=_id_and_bytes)


def _time_id_and_bytes(record: CallDetailRecord) -> tuple[datetime | None, str, bytes]:
    return record.submit_time, *_id_and_bytes(record)


def _id_and_bytes(record: CallDetailRecord) -> tuple[str, bytes]:
    return record.voice_id, msgspec.json.encode(record)
