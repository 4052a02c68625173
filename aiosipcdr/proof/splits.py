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
"""Max windows that can report one call, however often a window was split: neighbours share a second, and if bounds are
inclusive, a window of two seconds reaches from the end of the window before it to the start of the one after it."""


class SplitWindow:
    """A window that was split: what it reported, and what its parts have delivered so far.

    Attributes:
        window: The window.
        reported: The rows that it reported.
        open_parts: Number of its parts that are not delivered yet.
        excess_rows: Rows that its parts reported first beyond those that it reported itself; overlaps count as often as
            they are reported. Negative while they have reported less.
        union: Distinct calls that the parts have delivered.
        counted: What the parts have added to the total of the report.
        is_repair: Whether it was split because it could not be proven.
        grows: Whether that was because calls were added while it was read.
        gathers: Whether its parts are delivered when all of them were read: some may have to be read again.
        due: When its parts may be read again, if they must be.
        is_proven: Whether all parts delivered so far were proven.
        is_noted: Whether its parts may be requested: not before the split is in the journal, if there is one.
        unclaimed: Rows that were read before the split and that no window has delivered yet, by id.
    """

    __slots__ = (
        "_max_excess_rows",
        "counted",
        "due",
        "excess_rows",
        "gathers",
        "grows",
        "is_noted",
        "is_proven",
        "is_repair",
        "open_parts",
        "reported",
        "unclaimed",
        "union",
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
        """Create a split of `window` into `parts` windows."""
        self.window: TimeWindow = window
        self.reported: int = reported
        self.open_parts: int = parts
        self.excess_rows: int = -reported
        self._max_excess_rows = reported * (MAX_REPORTS - 1) + reported // 4
        self.union: int = 0
        self.counted: int = 0
        self.is_repair: bool = is_repair
        self.grows: bool = False
        self.gathers: bool = False
        self.due: datetime | None = None
        self.is_proven: bool = True
        self.is_noted: bool = True
        self.unclaimed: dict[str, list[CallDetailRecord]] = {}
        for row in unclaimed:
            self.unclaimed.setdefault(row.voice_id, []).append(row)

    @property
    def is_credible(self) -> bool:
        """Whether the excess of the parts can be explained by bursts in shared seconds and by calls added meanwhile."""
        return self.excess_rows <= self._max_excess_rows

    @property
    def is_short(self) -> bool:
        """Whether all parts are delivered and have fewer calls than the window reported."""
        return not self.open_parts and self.union < self.reported

    def add_reported(self, rows: int) -> int:
        """Add `rows` that a part reported (negative if it is read again); return the change of the positive excess."""
        before = max(0, self.excess_rows)
        self.excess_rows += rows
        return max(0, self.excess_rows) - before

    def forget(
        self, rows: Iterable[CallDetailRecord], normalize: Callable[[CallDetailRecord], CallDetailRecord]
    ) -> None:
        """Remove delivered rows, normalized by `normalize`, from `unclaimed`.

        If an id has one unclaimed row, it counts as an older version of the delivered one; if it has several, the equal
        one is removed.
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
        """Record that `part` is not available before `boundary`: the parts will have fewer rows than reported."""
        self.reported = 0
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
    """Add the rows that a part of `splits` (the outermost first) reported."""
    for split in reversed(splits):
        rows = split.add_reported(rows)


class Recounts:
    """Counts split windows again whose parts have too few calls: if rows were deleted, the vendor reports fewer now.

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
                return ProtocolError(f"the answer cannot be used: {why}", window=request.window, page=1)
            self._recounts.planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        total = answer.page.total
        if total <= self.split.union and self._first is None:
            self._first = total
            self._recounts.planned.append(self.build_request())
            return None
        self._recounts.complete(self.split, max(total, self._first or 0))
        return PlanChange.DONE

    def refuse(self, request: PageRequest, error: SipCdrError) -> Transition:  # noqa: ARG002 - see RequestOwner
        return error
