"""Parts of a range: pieces of about equal size that are read independently, each call owned by exactly one of them.

A part is a range with neighbours, see `aiosipcdr.proof.merge`. `PartPlanner` finds where to cut by counts. Counts that
are wrong or outdated make parts of other sizes, nothing else: the owner of a call is decided when the parts are read.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from math import ceil, inf
from typing import NamedTuple

import msgspec

from aiosipcdr.model.arguments import check_between, check_choice
from aiosipcdr.model.query import FilterMatch, Filters, Query
from aiosipcdr.model.records import TIME_FIELDS, TimeField
from aiosipcdr.model.windows import SECOND, WIDEST, ArgumentError, TimeWindow, clip_window, fixed_offset
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.wire.signing import Credentials, open_seal, seal

__all__ = ["PartPlanner", "RangePart", "part_filters", "part_span", "seal_phone"]

_MAX_PARTS = 100_000

_MAX_PIECES = 5_000
"""Max pieces of one window; pieces that are still too large are cut again."""

_PIECE, _LARGEST_PIECE = 0.5, 0.75
"""Share of a part that a piece should have, and share above which it is cut again."""

_BOUNDARY_MARGIN = timedelta(minutes=1)
"""The retention boundary moves while counts are made: they begin this much later."""


class RangePart(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a range, to be read independently of the other pieces, in any process and in any order.

        parts = await client.plan_parts(start, end)
        async with client.stream(part=parts[0]) as stream: ...

    Every call of the range belongs to exactly one part. A part is immutable and hashable, and can be pickled or encoded
    as JSON (`msgspec.json.encode(part)`, `msgspec.json.decode(text, type=RangePart)`). It holds no key, secret or phone
    number: a filter on a phone is encrypted with the account's credentials, so that only a client with the same key and
    secret can read the part.

    Attributes:
        start: Begin of the part, aware; the begin of the range or a whole second.
        end: End of the part, aware; the end of the range or a whole second.
        index: Position of the part, from 0, oldest first.
        parts: Number of parts of the range.
        rows: Estimated number of its calls, as of the planning.
        time_field: The time that the vendor is known to filter on, or `None`.
        sip_group_name: Only calls of this group.
        sealed_phone: Only calls of this phone: its encrypted name.
    """

    start: datetime
    end: datetime
    index: int = 0
    parts: int = 1
    rows: int = 0
    time_field: TimeField | None = None
    sip_group_name: str | None = None
    sealed_phone: bytes | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: The range is invalid, or the position is not one of `parts`.
        """
        check_between("parts", self.parts, 1, 10**9)
        check_between("index", self.index, 0, self.parts - 1)
        if self.time_field is not None:
            check_choice("time_field", self.time_field, TIME_FIELDS)
        part_span(self)

    def __repr__(self) -> str:
        """Show range and size, and the names of the filters without their values."""
        names = {"sip_group_name": self.sip_group_name, "phone_name": self.sealed_phone}
        filters = "".join(f", {name}" for name, value in names.items() if value is not None)
        place = f"{self.index + 1}/{self.parts}"
        return f"RangePart({place}, {self.start.isoformat()}/{self.end.isoformat()}, rows={self.rows}{filters})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("index", self.index), ("parts", self.parts), ("start", self.start), ("end", self.end)]


def part_span(part: RangePart) -> OwnedSpan:
    """Return what to request for a part, and which of the calls it owns."""
    return OwnedSpan.between(
        part.start,
        part.end,
        time_field=part.time_field,
        has_left=part.index > 0,
        has_right=part.index < part.parts - 1,
    )


def seal_phone(filters: Filters, credentials: Credentials) -> bytes | None:
    """Return the encrypted phone of `filters`, for a part."""
    return None if filters.phone_name is None else seal(credentials, filters.phone_name)


def part_filters(part: RangePart, credentials: Credentials, match: FilterMatch) -> Filters:
    """Return the filters of a part.

    Raises:
        ArgumentError: The part has a filter on a phone and was planned with other credentials.
    """
    phone = None
    if part.sealed_phone is not None:
        phone = open_seal(credentials, part.sealed_phone)
        if phone is None:
            raise ArgumentError(
                "the part's filter on a phone cannot be read: it was planned with another key and secret;"
                " plan the parts again with the credentials that read them"
            )
    return Filters.of(part.sip_group_name, phone, match)


class _Group(NamedTuple):
    # Pieces of one counted window, all but the last of which are counted; without `rows`, all of them are.
    rows: int | None
    pieces: list[TimeWindow]

    @property
    def due(self) -> list[TimeWindow]:
        return self.pieces if self.rows is None else self.pieces[:-1]


class PartPlanner:
    """Cuts a range into parts of about `rows` calls by counting ever smaller pieces of it.

    The caller counts the windows of `due` and passes the totals to `take`, until none is due.

    Attributes:
        span: The range that is counted, for the search of the retention boundary.
        is_first: Whether the windows of the whole range are counted, not pieces of counted windows.
    """

    def __init__(self, query: Query, rows: int, *, now: datetime) -> None:
        """Plan to count the range in windows of at most 31 days.

        Args:
            query: The range and its time field.
            rows: About how many calls a part has.
            now: The vendor's current time: the range is counted up to 31 days later.

        Raises:
            ArgumentError: `rows` is not a whole number from 1 on.
        """
        check_between("rows", rows, 1, 10**9, ArgumentError)
        self.is_first: bool = True
        self._query = query
        self._rows = rows
        self.span: TimeWindow = clip_window(query.window, now)
        self._now = now
        self._restarts = 0
        self._number = 1
        self._size = 0.0
        self._counted: list[tuple[datetime, datetime, int]] = []
        self._groups: list[_Group] = []
        self._start_at(self.span.start)

    @property
    def due(self) -> list[TimeWindow]:
        """The windows to count next."""
        return [window for group in self._groups for window in group.due]

    def start_later(self, available_from: datetime | None) -> None:
        """Start over with what the vendor still keeps; the first part begins at the start of the range all the same."""
        margin = _BOUNDARY_MARGIN * 2 ** min(self._restarts, 20)
        self._restarts += 1
        end = self.span.end
        self._start_at(end if available_from is None else min(available_from + margin, end))

    def take(self, totals: Mapping[TimeWindow, int]) -> None:
        """Process the totals of the windows that were due.

        Raises:
            ArgumentError: The range has too many calls for parts of this size.
        """
        groups, self._groups = self._groups, []
        if self.is_first:
            self._choose_size(sum(totals[window] for group in groups for window in group.due))
        self.is_first = False
        for group in groups:
            for window, rows in zip(group.pieces, _count_pieces(group, totals), strict=True):
                if rows <= self._size * _LARGEST_PIECE or window.seconds <= 1:
                    self._counted.append((window.start, window.end, rows))
                else:
                    number = min(ceil(rows / (self._size * _PIECE)), _MAX_PIECES)
                    self._groups.append(_Group(rows, _cut(window, max(2, number))))

    def build(self, sealed_phone: bytes | None = None) -> list[RangePart]:
        """Return the parts, oldest first, once no window is due."""
        pieces = sorted(self._counted)
        sums = [0, *accumulate(rows for _, _, rows in pieces)]
        # The bounds between pieces that are nearest to equal shares.
        cuts = {_find_nearest(sums, sums[-1] * share / self._number) for share in range(1, self._number)}
        chosen = [0, *sorted(cuts - {0, len(pieces)}), len(pieces)]
        bounds = [pieces[cut][0] for cut in chosen[1:-1]]
        starts, ends = [fixed_offset(self._query.start), *bounds], [*bounds, fixed_offset(self._query.end)]
        rows = [sums[last] - sums[first] for first, last in pairwise(chosen)] if pieces else [0]
        return [
            RangePart(
                start=starts[index],
                end=ends[index],
                index=index,
                parts=len(starts),
                rows=rows[index],
                time_field=self._query.time_field,
                sip_group_name=self._query.filters.sip_group_name,
                sealed_phone=sealed_phone,
            )
            for index in range(len(starts))
        ]

    def _start_at(self, start: datetime) -> None:
        end = self.span.end
        self.is_first = True
        self._counted.clear()
        # The future is a piece of its own, since it is almost empty.
        present = start + ceil((self._now - start).total_seconds()) * SECOND + SECOND
        bounds = [start, *([present] if start < present < end else []), end]
        pieces = [piece for first, last in pairwise(bounds) for piece in _cut_widest(TimeWindow(first, last))]
        self._groups = [_Group(None, pieces)] if start < end or not self._restarts else []

    def _choose_size(self, total: int) -> None:
        self._number = max(1, round(total / self._rows))
        if self._number > _MAX_PARTS:
            raise ArgumentError(
                f"{total:,} calls in parts of {self._rows:,} are {self._number:,} parts, more than {_MAX_PARTS:,}:"
                " give larger rows"
            )
        self._size = total / self._number if self._number > 1 else inf


def _count_pieces(group: _Group, totals: Mapping[TimeWindow, int]) -> list[int]:
    # The pieces have as many rows as their window, whatever the vendor reports: a vendor that reports the same total
    # for every window would otherwise receive a count for each second of the range.
    counts = [totals[window] for window in group.due]
    if group.rows is None:
        return counts
    counted = sum(counts)
    if counted > group.rows:
        counts = [count * group.rows // counted for count in counts]
    return [*counts, group.rows - sum(counts)]


def _find_nearest(sums: Sequence[int], wanted: float) -> int:
    after = bisect_left(sums, wanted)
    before = max(0, after - 1)
    return before if after == len(sums) or wanted - sums[before] <= sums[after] - wanted else after


def _cut(window: TimeWindow, number: int) -> list[TimeWindow]:
    # Pieces that touch, of equal width in whole seconds.
    seconds = window.seconds
    number = min(number, seconds)
    bounds = [window.start + seconds * piece // number * SECOND for piece in range(number + 1)]
    return [TimeWindow(first, last) for first, last in pairwise(bounds)]


def _cut_widest(window: TimeWindow) -> list[TimeWindow]:
    return _cut(window, -(-window.seconds // (WIDEST // SECOND))) if window.seconds else [window]
