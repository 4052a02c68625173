"""Which of the calls that a vendor returns for a span belong to it, when spans touch.

Two spans that meet at an instant b may be read by runs that know nothing of
each other, and whether a request returns a call exactly at b is the vendor's
choice. So each span but the first also asks for the second before its start,
and reads that second once more by itself: the seam. Whatever the seam holds
belongs to the left neighbour, the rest belongs to the span. Both the span to
the left and the seam end at b, so the vendor's choice is the same for both:
each call has exactly one owner, whatever that choice is.
"""

from datetime import UTC, datetime
from typing import Self

import msgspec

from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.windows import SECOND, TimeWindow

__all__ = ["OwnedSpan"]


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
            told: datetime | None = getattr(record, self.time_field)
            if told is not None:
                return self.exact[0] <= told < self.exact[1]
        return not in_seam
