"""Spans of a synced table: which of them have changed by the vendor's counts, and how new time is cut into spans.

Pure. The number of calls that a span owns is the difference of two counts, see `aiosipcdr.proof.merge`: that of the
window from the second before the span to its end, less that of this second. If all windows of a stretch begin with the
same second, one count for each bound is enough.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from aiosipcdr.model.windows import SECOND, WIDEST, TimeWindow
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.sync.checkpoints import Span

__all__ = [
    "CHUNK_ROWS",
    "MAX_SPAN",
    "PLAN_ROWS",
    "SMALL_ROWS",
    "ChangeSearch",
    "certified_until",
    "cut_span",
    "join_stretches",
    "plan_reading",
    "take_chunk",
]

SPAN_ROWS = 1_000
"""About how many calls a span has: it is read again as a whole."""

PLAN_ROWS = 5_000
"""New time is cut by counts into pieces of about so many calls, which are cut into spans of equal length."""

SMALL_ROWS = 1_000
"""The last span is read again together with new time while it has fewer calls and is shorter than a day."""

CHUNK_ROWS = 20_000
"""About how many calls are read, compared and written at a time."""

MAX_SPAN = timedelta(days=7)
"""The longest span."""

_CHUNK_SPANS = 500

_PIECES = 8


class ChangeSearch:
    """Finds the spans of a stretch whose calls the vendor counts differently now.

    Counts a few pieces of the stretch, then each span of the pieces that differ. A call that arrived and one that
    vanished in the same piece cancel out; pieces are therefore no larger than necessary.

    The caller counts the windows of `due` and passes the totals to `take`, until none is due.

    Attributes:
        changed: The spans whose counts differ, oldest first.
    """

    def __init__(self, spans: Sequence[Span], base: OwnedSpan) -> None:
        """Plan to count the pieces.

        Args:
            spans: Spans of the stretch, oldest first, each with a count, each beginning where the one before ends; at
                most 31 days less a second together.
            base: The range of the request that reads the stretch.
        """
        self.changed: list[Span] = []
        self._spans = spans
        self._base = base
        number = min(len(spans), _PIECES)
        self._bounds = [len(spans) * piece // number for piece in range(number + 1)]
        self._totals: dict[int, int] = {} if base.preceding_second else {0: 0}

    @property
    def due(self) -> list[TimeWindow]:
        """The windows to count next."""
        return [self._window(bound) for bound in self._bounds if bound not in self._totals]

    def take(self, totals: Mapping[TimeWindow, int]) -> None:
        """Process the totals of the windows that were due."""
        self._totals |= {bound: totals[self._window(bound)] for bound in self._bounds if bound not in self._totals}
        differing = [(first, last) for first, last in pairwise(self._bounds) if self._differs(first, last)]
        self._bounds = sorted({bound for first, last in differing for bound in range(first, last + 1)})
        if not self.due:
            self.changed = [self._spans[first] for first, last in differing if last - first == 1]

    def _differs(self, first: int, last: int) -> bool:
        expected = sum(span.count or 0 for span in self._spans[first:last])
        return self._totals[last] - self._totals[first] != expected

    def _window(self, bound: int) -> TimeWindow:
        # The calls of the spans before a bound are those of this window.
        end = self._spans[bound - 1].end if bound else self._spans[0].start
        return TimeWindow(self._base.window.start, end)


def plan_reading(spans: Sequence[Span], *, has_left: bool, is_trimmed: bool) -> tuple[OwnedSpan, list[TimeWindow]]:
    """Return what to request for a stretch of spans: the whole, and the windows to begin with, one for each span.

    Args:
        spans: The spans, oldest first, each beginning where the one before ends.
        has_left: Whether a span ends where the first one begins. If not, the first one has all that the vendor lists.
        is_trimmed: Whether rows before the first span are removed afterwards: then a call exactly at its start must not
            be missed.
    """
    start, end = spans[0].start, spans[-1].end
    first = start - SECOND if has_left or is_trimmed else start
    starts = [first, *(span.start - SECOND for span in spans[1:])]
    owned = OwnedSpan(window=TimeWindow(first, end), preceding_second=TimeWindow(first, start) if has_left else None)
    return owned, [TimeWindow(begin, span.end) for begin, span in zip(starts, spans, strict=True)]


def cut_span(start: datetime, end: datetime, rows: int, *, span_rows: int | None = None) -> list[Span]:
    """Cut new time with about `rows` calls into spans of equal length, in whole seconds.

    Args:
        start: Begin of the time.
        end: End of the time.
        rows: Estimated number of its calls.
        span_rows: About how many calls a span has; by default `SPAN_ROWS`.
    """
    seconds = (end - start) // SECOND
    number = max(-(-rows // (span_rows or SPAN_ROWS)), -(-seconds // (MAX_SPAN // SECOND)))
    number = min(number, seconds)
    bounds = [start + seconds * piece // number * SECOND for piece in range(number + 1)]
    return [Span(start=first, end=last) for first, last in pairwise(bounds)]


def join_stretches(spans: Iterable[Span], *, widest: timedelta = WIDEST - SECOND) -> Iterator[list[Span]]:
    """Yield stretches of spans, each beginning where the one before ends, of limited length."""
    stretch: list[Span] = []
    for span in spans:
        if stretch and (stretch[-1].end != span.start or span.end - stretch[0].start > widest):
            yield stretch
            stretch = []
        stretch.append(span)
    if stretch:
        yield stretch


def take_chunk(spans: Sequence[Span], rows: Mapping[datetime, int]) -> list[Span]:
    """Return the first spans of a sequence that are read together: adjacent ones, up to a number of calls."""
    chunk: list[Span] = []
    total = 0
    for span in spans:
        total += rows.get(span.start, 0)
        if chunk and (chunk[-1].end != span.start or total > CHUNK_ROWS or len(chunk) == _CHUNK_SPANS):
            break
        chunk.append(span)
    return chunk


def certified_until(spans: Iterable[Span]) -> datetime | None:
    """Return the end of the time from the first span on that was read and proven without a gap."""
    until: datetime | None = None
    for span in spans:
        if span.count is None or (until is not None and span.start != until):
            break
        until = span.end
    return until
