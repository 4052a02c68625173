"""Merging of windows: order, repeated rows, and which calls belong to a span when spans touch.

Two spans that meet at an instant b may be read by runs that know nothing of
each other, and whether a request returns a call exactly at b is the vendor's
choice. So each span but the first also requests the second before its start,
and reads that second once more separately: the seam. Rows of the seam belong
to the left neighbour, all others to the span. Both the span to the left and
the seam end at b, so the vendor's choice is the same for both, and each call
has exactly one owner.
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Self

import msgspec

from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.model.report import CompleteWindow, ReportBuilder, WindowReport, WindowReportBuilder, WindowShare
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.field_counts import FieldCounts
from aiosipcdr.proof.overlaps import EarlierWindow, Repeats, identity
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["OwnedSpan", "RangeMerger", "sort_records"]


class OwnedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time: what to request for it, and which of the calls it owns.

    Attributes:
        window: The window to request.
        seam: The second that is shared with the left neighbour, a part of `window`, to be read before it; `None` if the
            span has no left neighbour.
        time_field: The time field that the vendor is known to filter on.
        exact: With a known `time_field`: the span owns calls whose time is at or after the first instant and before the
            second one; the seam decides only about calls without this time.
    """

    window: TimeWindow
    seam: TimeWindow | None = None
    time_field: str | None = None
    exact: tuple[datetime, datetime] | None = None

    @classmethod
    def alone(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Create a span without neighbours: all that the vendor returns for it, or [start, end) with `time_field`.

        Raises:
            ValueError: `TimeWindow.of` refuses the range.
        """
        window = TimeWindow.of(start, end)
        if time_field is None:
            return cls(window=window)
        return cls(window=window.widened(), time_field=time_field, exact=(start.astimezone(UTC), end.astimezone(UTC)))

    @classmethod
    def adjacent(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Create a span that meets its neighbours at `start` and `end`.

        Raises:
            ValueError: A bound is not a whole second, the range is empty, or `TimeWindow.of` refuses the range.
        """
        span = TimeWindow.of(start, end)
        if not span.seconds:
            raise ValueError("an adjacent range has a length: give an end that is later than start")
        if (span.start, span.end) != (start.astimezone(UTC), end.astimezone(UTC)):
            raise ValueError("adjacent ranges meet at whole seconds: give start and end without fractions")
        try:
            seam = TimeWindow(span.start - SECOND, span.start)
        except OverflowError:
            raise ValueError("start lies at the beginning of the calendar: ask for a second less") from None
        exact = None if time_field is None else (span.start, span.end)
        return cls(window=TimeWindow(seam.start, span.end), seam=seam, time_field=time_field, exact=exact)

    @property
    def asked(self) -> TimeWindow:
        """The range that the caller asked for."""
        if self.exact is not None:
            return TimeWindow.of(*self.exact)
        return self.window if self.seam is None else TimeWindow(self.seam.end, self.window.end)

    def in_seam(self, window: TimeWindow) -> bool:
        """Return whether `window`, a part of the span's windows, is within the seam."""
        return self.seam is not None and window.end <= self.seam.end

    def owns(self, record: CallDetailRecord, *, in_seam: bool) -> bool:
        """Return whether the span owns a call; `in_seam`: whether the seam has it."""
        if self.exact is not None and self.time_field is not None:
            reported: datetime | None = getattr(record, self.time_field)
            if reported is not None:
                return self.exact[0] <= reported < self.exact[1]
        return not in_seam


_VOICE_ID = attrgetter("voice_id")
_SUBMIT_TIME = attrgetter("submit_time")


class RangeMerger:
    """Removes repeated rows from windows that were read, and counts the windows in the run's report.

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
        """Return the rows of `reader`, the next window to be delivered, that earlier windows have delivered."""
        self._recent = [recent for recent in self._recent if recent.end >= reader.window.start]
        return Repeats(reader, self._recent, self._time_fields, self._normalize)

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
        in_seam = self._span.in_seam(reader.window)
        records, omitted, in_order = self._select(scan, repeated, in_seam=in_seam)
        quarantined = {
            key: msgspec.structs.replace(record, window=reader.window)
            for key, record in scan.quarantined.items()
            # Quarantined records have no time: those in the seam belong to the left neighbour.
            if key not in repeated and key not in scan.records and not in_seam
        }
        delivered = len(records) + len(quarantined)
        share = WindowShare(
            unique=delivered,
            total=reported.total - (scan.unique - delivered),
            quarantined=len(quarantined),
            # Rows that another part of the same window has delivered are not new to it.
            unions=[
                scan.unique - len(known) + scan.count_copies(known)
                for known in (_unite(keys for others, keys in repeats.of if split in others) for split in splits)
            ],
        )
        self.add(reported, share, splits)
        self._recent.append(EarlierWindow(reader.window.end, scan, splits))
        if any(split.unclaimed for split in self._split):
            self._forget(scan.records.values(), self._normalize)
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
        """Expect the next windows to repeat rows that an earlier run has read."""
        self._recent.append(EarlierWindow(read.window.end, read, splits))

    def add(self, reported: WindowReport, share: WindowShare, splits: Sequence[SplitWindow]) -> None:
        """Count a window in the report and in the windows that it was split from."""
        report = self._report
        report.unique += share.unique
        report.total += share.total
        report.windows += 1
        report.quarantined += share.quarantined
        report.provisional += reported.provisional
        insort(report.window_reports, reported, key=attrgetter("window"))  # gaps may follow it
        for split, union in zip(splits, share.unions, strict=True):
            split.union += union
            split.counted += share.total
            split.open_parts -= 1
            split.is_proven = split.is_proven and reported.certified
        self.count_effort(reported)

    def keep_unclaimed(self, split: SplitWindow) -> None:
        """Keep the rows that were read of `split` before it was split, until a window delivers them."""
        if split.unclaimed:
            self._split.append(split)
            for recent in self._recent:
                self._forget(recent.records, identity if isinstance(recent.read, ReadWindow) else self._normalize)

    def take_unclaimed(self, split: SplitWindow, splits: Sequence[SplitWindow]) -> list[CallDetailRecord]:
        """Return the rows that were read of `split` before it was split, and that no window has delivered.

        If every part is proven, those rows were deleted meanwhile: nothing is returned.

        Args:
            split: The window.
            splits: The windows that it was split from; may include `split`.
        """
        unclaimed, split.unclaimed = split.unclaimed, {}
        self._split = [one for one in self._split if one is not split]
        left: list[CallDetailRecord] = []
        if not split.is_proven:
            rows = [row for rows in unclaimed.values() for row in rows]
            left = [row for row in rows if self._span.owns(row, in_seam=False)]
            seen = rows if self._normalize is identity else [self._normalize(row) for row in rows]
            self._forget(seen, identity)
            read = ReadWindow(window=split.window, ids={*unclaimed}, records=seen)
            self._recent.append(EarlierWindow(split.window.end, read, ()))
        self._count_unclaimed(split, splits, len(left))
        return left

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
        # The parts of an unproven window count for no more than the window itself reported.
        excess_rows = split.counted - max(split.reported, split.union + left)
        for outer in splits:
            outer.counted -= excess_rows
        self._report.unique += left
        self._report.total -= excess_rows

    def count_effort(self, reported: WindowReport | WindowReportBuilder) -> None:
        """Add the pages, scans and anomalies of a window, also of one that was given up."""
        report = self._report
        report.pages += reported.pages
        report.scans += reported.scans
        report.duplicates += reported.duplicates
        report.conflicts += reported.conflicts
        report.anomalies += reported.anomalies

    def _select(
        self, scan: WindowScan, repeated: set[object], *, in_seam: bool
    ) -> tuple[list[CallDetailRecord], list[CallDetailRecord], bool]:
        # The rows to deliver, those to omit, and whether both are in order.
        sorted_run = scan.sorted_run
        if sorted_run is not None and self._span.exact is None:
            return ([], sorted_run.records, True) if in_seam else (*sorted_run.without(map(str, repeated)), True)
        new: list[CallDetailRecord] = []
        omitted: list[CallDetailRecord] = []
        for key, record in scan.records.items():
            is_new = key not in repeated and self._span.owns(record, in_seam=in_seam)
            (new if is_new else omitted).append(record)
        return new, omitted, False


def _unite(sets: Iterable[Iterable[object]]) -> set[object]:
    return set().union(*sets)


def sort_records(records: list[CallDetailRecord], *, may_share_ids: bool = True) -> list[CallDetailRecord]:
    """Order by (`submit_time`, `None` last, `voice_id`); of one id with several contents, by the bytes.

    Two stable passes over single keys: records that are in order cost one comparison each.
    """
    in_order = sorted(records, key=_id_and_bytes if may_share_ids else _VOICE_ID)
    try:
        return sorted(in_order, key=_SUBMIT_TIME)
    except TypeError:  # None does not compare
        undated = [record for record in in_order if record.submit_time is None]
        dated = [record for record in in_order if record.submit_time is not None]
        return sorted(dated, key=_SUBMIT_TIME) + undated


def _id_and_bytes(record: CallDetailRecord) -> tuple[str, bytes]:
    return record.voice_id, msgspec.json.encode(record)
