"""Which of the calls that a vendor returns for a span belong to it, when spans touch.

Two spans that meet at an instant b may be read by runs that know nothing of
each other, and whether a request returns a call exactly at b is the vendor's
choice. So each span but the first also asks for the second before its start,
and reads that second once more by itself: the seam. Whatever the seam holds
belongs to the left neighbour, the rest belongs to the span. Both the span to
the left and the seam end at b, so the vendor's choice is the same for both:
each call has exactly one owner, whatever that choice is.
"""

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Self

import msgspec

from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.model.report import CompleteWindow, FetchReport, WindowReport, WindowShare
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.field_counts import FieldCounts
from aiosipcdr.proof.overlaps import EarlierWindow, Repeats, identity
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["OwnedSpan", "RangeMerger", "sort_records"]


class OwnedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask for in order to get the calls of a span, and which of them are its own.

    Attributes:
        window: What the vendor is asked for.
        seam: The second that is shared with the left neighbour, a part of `window`; to be read before it. `None`
            where the span has no left neighbour.
        time_field: The time that the vendor is known to filter on.
        exact: With a known `time_field`: calls that have this time belong to the span if it lies at or after the
            first instant and before the second, whatever the seam holds.
    """

    window: TimeWindow
    seam: TimeWindow | None = None
    time_field: str | None = None
    exact: tuple[datetime, datetime] | None = None

    @classmethod
    def alone(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Plan a range without neighbours: all that the vendor returns for it, or with `time_field` [start, end).

        Raises:
            ValueError: `TimeWindow.of` refuses the range.
        """
        window = TimeWindow.of(start, end)
        if time_field is None:
            return cls(window=window)
        return cls(window=window.widened(), time_field=time_field, exact=(start.astimezone(UTC), end.astimezone(UTC)))

    @classmethod
    def adjacent(cls, start: datetime, end: datetime, *, time_field: str | None = None) -> Self:
        """Plan a span that meets its neighbours at `start` and `end`.

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
        """The range that the caller asked for, without what is read beside it."""
        if self.exact is not None:
            return TimeWindow.of(*self.exact)
        return self.window if self.seam is None else TimeWindow(self.seam.end, self.window.end)

    def in_seam(self, window: TimeWindow) -> bool:
        """Tell whether `window`, a part of the span's windows, lies within the seam."""
        return self.seam is not None and window.end <= self.seam.end

    def owns(self, record: CallDetailRecord, *, in_seam: bool) -> bool:
        """Tell whether the span owns a call, which the seam holds or not."""
        if self.exact is not None and self.time_field is not None:
            reported: datetime | None = getattr(record, self.time_field)
            if reported is not None:
                return self.exact[0] <= reported < self.exact[1]
        return not in_seam


_VOICE_ID = attrgetter("voice_id")
_SUBMIT_TIME = attrgetter("submit_time")


class RangeMerger:
    """Turns windows that were read into complete ones, and keeps the run's report."""

    def __init__(
        self,
        report: FetchReport,
        *,
        span: OwnedSpan,
        normalize: Callable[[CallDetailRecord], CallDetailRecord] = identity,
    ) -> None:
        """Write into `report`; hand over what `span` owns, and nothing else.

        Two records are the same where `normalize` returns the same for both.
        """
        self._report = report
        self._span = span
        self._time_fields = TIME_FIELDS if span.time_field is None else (span.time_field,)
        self._normalize = normalize
        self._cut: list[SplitWindow] = []
        self._recent: list[EarlierWindow] = []
        self.fields: FieldCounts = FieldCounts(report)
        """What could not be read of the records that were handed over."""

    def compare(self, reader: WindowReader) -> Repeats:
        """Return what the window of `reader`, the next to be handed over, repeats of earlier ones."""
        self._recent = [recent for recent in self._recent if recent.end >= reader.window.start]
        return Repeats(reader, self._recent, self._time_fields, self._normalize)

    def merge(
        self, reader: WindowReader, splits: Sequence[SplitWindow], repeats: Repeats | None = None
    ) -> CompleteWindow:
        """Return the window of `reader` without what earlier windows have handed over.

        `repeats` says what that is, where it was compared before.
        """
        scan, reported = reader.scan, reader.report
        repeats = repeats or self.compare(reader)
        repeats.give_in()
        reported.conflicts += repeats.conflicts
        repeated = repeats.keys
        in_seam = self._span.in_seam(reader.window)
        records, left_out, in_order = self._select(scan, repeated, in_seam=in_seam)
        quarantined = {
            key: msgspec.structs.replace(record, window=reader.window)
            for key, record in scan.quarantined.items()
            # What cannot be read belongs to whoever the seam belongs to.
            if key not in repeated and key not in scan.records and not in_seam
        }
        delivered = len(records) + len(quarantined)
        share = WindowShare(
            unique=delivered,
            total=reported.total - (scan.unique - delivered),
            quarantined=len(quarantined),
            # What another part of the same whole has handed over is not new to it.
            unions=[
                scan.unique - len(known) + scan.count_copies(known)
                for known in (_unite(keys for others, keys in repeats.of if split in others) for split in splits)
            ],
        )
        self.add(reported, share, splits)
        self._recent.append(EarlierWindow(reader.window.end, scan, splits))
        if any(split.unclaimed for split in self._cut):
            self._forget(scan.records.values(), self._normalize)
        may_share_ids = scan.has_duplicate_ids
        for split in reversed(splits):
            if not split.open_parts:
                unclaimed = self.take_unclaimed(split, splits)
                share.floors.append(len(unclaimed))
                if unclaimed:
                    records += unclaimed
                    in_order, may_share_ids = False, True
        if scan.has_extras or any(share.floors):
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
            repeated=left_out,
            unread_ids=sorted(scan.quarantined),
        )

    def restore(self, reported: WindowReport, share: WindowShare, splits: Sequence[SplitWindow]) -> None:
        """Count a window that an earlier run has handed over."""
        self.add(reported, share, splits)
        self.fields.add(share)
        ended = [split for split in reversed(splits) if not split.open_parts]
        for split, unclaimed in zip(ended, share.floors, strict=True):
            self._count_floor(split, splits, unclaimed)

    def remember(self, read: ReadWindow, splits: Sequence[SplitWindow]) -> None:
        """Expect the next windows to repeat what an earlier run has read."""
        self._recent.append(EarlierWindow(read.window.end, read, splits))

    def add(self, reported: WindowReport, share: WindowShare, splits: Sequence[SplitWindow]) -> None:
        """Count a window in the report and in the wholes that it is a part of."""
        report = self._report
        report.unique += share.unique
        report.total += share.total
        report.windows += 1
        report.quarantined += share.quarantined
        report.provisional += reported.provisional
        insort(report.window_reports, reported, key=attrgetter("window"))  # gaps may lie behind it
        for split, union in zip(splits, share.unions, strict=True):
            split.union += union
            split.counted += share.total
            split.open_parts -= 1
            split.is_proven = split.is_proven and reported.certified
        self.count_effort(reported)

    def keep_unclaimed(self, split: SplitWindow) -> None:
        """Remember what was read of `split`, which was cut: rows that are handed over are taken off."""
        if split.unclaimed:
            self._cut.append(split)
            for recent in self._recent:
                self._forget(recent.records, identity if isinstance(recent.read, ReadWindow) else self._normalize)

    def take_unclaimed(self, split: SplitWindow, splits: Sequence[SplitWindow]) -> list[CallDetailRecord]:
        """Return what was read of `split` before it was cut, and was not handed over by any window.

        Where every part was proven, that was deleted meanwhile: nothing is returned.
        `splits` are those that `split` is a part of, and perhaps itself.
        """
        unclaimed, split.unclaimed = split.unclaimed, {}
        self._cut = [one for one in self._cut if one is not split]
        left: list[CallDetailRecord] = []
        if not split.is_proven:
            rows = [row for rows in unclaimed.values() for row in rows]
            left = [row for row in rows if self._span.owns(row, in_seam=False)]
            seen = rows if self._normalize is identity else [self._normalize(row) for row in rows]
            self._forget(seen, identity)
            read = ReadWindow(window=split.window, ids={*unclaimed}, records=seen)
            self._recent.append(EarlierWindow(split.window.end, read, ()))
        self._count_floor(split, splits, len(left))
        return left

    def _forget(
        self, rows: Collection[CallDetailRecord], normalize: Callable[[CallDetailRecord], CallDetailRecord]
    ) -> None:
        for split in self._cut:
            seen = (
                rows if normalize is identity else [normalize(row) for row in rows if row.voice_id in split.unclaimed]
            )
            split.forget(seen, self._normalize)

    def _count_floor(self, split: SplitWindow, splits: Sequence[SplitWindow], left: int) -> None:
        if split.is_proven:
            return
        # What the parts of an unproven whole told is worth no more than what the whole told.
        excess_rows = split.counted - max(split.reported, split.union + left)
        for outer in splits:
            outer.counted -= excess_rows
        self._report.unique += left
        self._report.total -= excess_rows

    def count_effort(self, reported: WindowReport) -> None:
        """Add the effort that a window took, also of one that was given up."""
        report = self._report
        report.pages += reported.pages
        report.scans += reported.scans
        report.duplicates += reported.duplicates
        report.conflicts += reported.conflicts
        report.anomalies += reported.anomalies

    def _select(
        self, scan: WindowScan, repeated: set[object], *, in_seam: bool
    ) -> tuple[list[CallDetailRecord], list[CallDetailRecord], bool]:
        # What is handed over, what is left out, and whether both are in order.
        sorted_run = scan.sorted_run
        if sorted_run is not None and self._span.exact is None:
            return ([], sorted_run.records, True) if in_seam else (*sorted_run.without(map(str, repeated)), True)
        new: list[CallDetailRecord] = []
        left_out: list[CallDetailRecord] = []
        for key, record in scan.records.items():
            is_new = key not in repeated and self._span.owns(record, in_seam=in_seam)
            (new if is_new else left_out).append(record)
        return new, left_out, False


def _unite(sets: Iterable[Iterable[object]]) -> set[object]:
    return set().union(*sets)


def sort_records(records: list[CallDetailRecord], *, may_share_ids: bool = True) -> list[CallDetailRecord]:
    """Order by (`submit_time`, `None` last, `voice_id`); of one id with several contents, by the bytes.

    Two stable passes over single keys: what comes in order costs one comparison each.
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
