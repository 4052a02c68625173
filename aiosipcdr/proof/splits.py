"""Split windows: compares the total that each one reported with the rows that its parts deliver.

Counts only; which rows a part repeats is decided by `aiosipcdr.proof.overlaps`.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from aiosipcdr.model.errors import ProtocolError, SipCdrError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest, PlanChange, Transition, Verdict, judge_answer
from aiosipcdr.wire.codec import PageAnswer, encode_params

__all__ = ["MAX_REPORTS", "Recounts", "SplitWindow", "add_reported"]

MAX_REPORTS = 3
"""Max windows that can report one call, however often a window was split.

Neighbours share a second. If bounds are inclusive, windows of two seconds can share an instant with the next but one:
[0, 2], [1, 3] and [2, 4] all contain 2.
"""


class SplitWindow:
    """A window that was split: the rows that it reported, and those that its parts have delivered so far.

    Attributes:
        window: The window.
        reported_rows: Number of rows that it reported.
        open_parts: Number of its parts that are not delivered yet.
        excess_rows: Sum of the first totals of its parts, minus `reported_rows`; negative until enough parts have
            reported. Rows in overlaps count once for each part that reports them.
        distinct_rows: Number of distinct rows that the parts have delivered.
        added_total: Rows that the parts have added to the total of the run's report.
        is_repair: Whether it was split because it could not be proven.
        is_growing: Whether calls were added while it was read.
        delivers_together: Whether no part is delivered until all are read, since some may have to be read again.
        reread_at: When parts that are too short may be read again; `None` while none is.
        is_proven: Whether all parts delivered so far were proven.
        is_written: Whether the journal has the split, or there is no journal; until then no part is requested.
        unclaimed: Rows that were read before the split and that no window has delivered yet, by id.
    """

    __slots__ = (
        "_max_excess_rows",
        "added_total",
        "delivers_together",
        "distinct_rows",
        "excess_rows",
        "is_growing",
        "is_proven",
        "is_repair",
        "is_written",
        "open_parts",
        "reported_rows",
        "reread_at",
        "unclaimed",
        "window",
    )

    def __init__(
        self,
        window: TimeWindow,
        reported: int,
        parts: int,
        *,
        is_repair: bool = False,
        unclaimed: Iterable[CallDetailRecord] = (),
    ) -> None:
        """Create a split of `window`, which reported a total of `reported`, into `parts` windows."""
        self.window: TimeWindow = window
        self.reported_rows: int = reported
        self.open_parts: int = parts
        self.excess_rows: int = -reported
        self._max_excess_rows = reported * (MAX_REPORTS - 1) + reported // 4
        self.distinct_rows: int = 0
        self.added_total: int = 0
        self.is_repair: bool = is_repair
        self.is_growing: bool = False
        self.delivers_together: bool = False
        self.reread_at: datetime | None = None
        self.is_proven: bool = True
        self.is_written: bool = True
        self.unclaimed: dict[str, list[CallDetailRecord]] = {}
        for row in unclaimed:
            self.unclaimed.setdefault(row.voice_id, []).append(row)

    @property
    def is_credible(self) -> bool:
        """Whether bursts in shared seconds and calls added meanwhile can explain the excess of the parts."""
        return self.excess_rows <= self._max_excess_rows

    @property
    def is_short(self) -> bool:
        """Whether all parts are delivered and have fewer calls than the window reported."""
        return not self.open_parts and self.distinct_rows < self.reported_rows

    def add_reported(self, rows: int) -> int:
        """Add the total of a part (negative to take it back); return by how much the positive excess has changed."""
        before = max(0, self.excess_rows)
        self.excess_rows += rows
        return max(0, self.excess_rows) - before

    def forget(
        self, rows: Iterable[CallDetailRecord], normalize: Callable[[CallDetailRecord], CallDetailRecord]
    ) -> None:
        """Remove delivered rows from `unclaimed`.

        An id with one unclaimed row is removed even if the contents differ: the row has changed. Of an id with several
        unclaimed rows, only those equal to a delivered one are removed.

        Args:
            rows: Delivered rows, normalized.
            normalize: Rows are equal if it returns equal records for them.
        """
        by_id: defaultdict[str, list[CallDetailRecord]] = defaultdict(list)
        for row in rows:
            if row.voice_id in self.unclaimed:
                by_id[row.voice_id].append(row)
        for voice_id, delivered in by_id.items():
            kept = self.unclaimed.pop(voice_id)
            if len(kept) > 1 and (left := _without(kept, delivered, normalize)):
                self.unclaimed[voice_id] = left

    def trim(self, part: TimeWindow, boundary: datetime) -> None:
        """Expect no number of rows any more, since the vendor has deleted those of `part` before `boundary`.

        A part that ends there is not waited for.
        """
        self.reported_rows = 0
        self.open_parts -= part.end <= boundary


def _without(
    kept: list[CallDetailRecord],
    delivered: Iterable[CallDetailRecord],
    normalize: Callable[[CallDetailRecord], CallDetailRecord],
) -> list[CallDetailRecord]:
    # Compared by hash: a server may send thousands of rows of one id.
    by_key: defaultdict[CallDetailRecord, list[CallDetailRecord]] = defaultdict(list)
    for row in kept:
        by_key[normalize(row)].append(row)
    remaining = len(kept)
    for row in delivered:
        if remaining <= 1:
            return []
        remaining -= len(by_key.pop(row, ()))
    return [row for rows in by_key.values() for row in rows]


def add_reported(splits: Sequence[SplitWindow], rows: int) -> None:
    """Add the total of a part to the windows that it was split from, `splits`, the outermost first."""
    for split in reversed(splits):
        rows = split.add_reported(rows)


class Recounts:
    """Recounts of split windows whose parts have too few rows: if rows were deleted, the vendor reports fewer now.

    Attributes:
        planned: Requests that may be sent now.
        counted: Windows whose recount is complete, with the total; emptied by the reader.
    """

    def __init__(self, filters: Filters) -> None:
        """Start without windows."""
        self.planned: deque[PageRequest] = deque()
        self.counted: deque[tuple[SplitWindow, int]] = deque()
        self._filters = filters
        self._open = 0

    @property
    def is_done(self) -> bool:
        """Whether every recount is complete."""
        return not self._open

    def plan(self, split: SplitWindow) -> None:
        """Count `split` again."""
        self._open += 1
        self.planned.append(_Recount(self, split, encode_params(split.window, self._filters)).build_request())

    def complete(self, split: SplitWindow, total: int) -> None:
        """Keep the total of `split`."""
        self._open -= 1
        self.counted.append((split, total))


class _Recount:
    """Recount of one window; a total that would prove the parts is requested twice, and the larger one is used."""

    def __init__(self, recounts: Recounts, split: SplitWindow, params: bytes) -> None:
        self.split = split
        self._recounts = recounts
        self._params = params
        self._first: int | None = None

    def build_request(self) -> PageRequest:
        return PageRequest(owner=self, window=self.split.window, params=self._params, current=1, size=1, control=True)

    def accept(self, request: PageRequest, answer: PageAnswer) -> Transition:
        verdict, why = judge_answer(request, answer, Filters())
        if verdict is Verdict.ASK_AGAIN:
            if request.asked_before:
                return ProtocolError(f"the response cannot be used: {why}", window=request.window, page=1)
            self._recounts.planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        total = answer.page.total
        if total <= self.split.distinct_rows and self._first is None:
            self._first = total
            self._recounts.planned.append(msgspec.structs.replace(request, asked_before=False))
            return None
        self._recounts.complete(self.split, max(total, self._first or 0))
        return PlanChange.DONE

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:  # noqa: ARG002 - see RequestOwner
        return error
