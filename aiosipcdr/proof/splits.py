"""Windows that were cut: the total that each reported is compared with the rows that its parts hand over.

Synchronous and without I/O.  Counts only; the assembly says which rows a part
repeats.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from aiosipcdr.model.errors import ProtocolError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest, Verdict, judge_answer
from aiosipcdr.wire.codec import Filters, PageAnswer, encode_params

__all__ = ["MOST_OFTEN", "Recounts", "SplitWindow", "add_reported"]

MOST_OFTEN = 3
"""How many windows may tell one call, whatever was cut how often: neighbours share a second, and where bounds are
inclusive, one of two seconds reaches from the end of the one before it to the start of the one behind it."""


class SplitWindow:
    """A window that was cut: what it told, and what its parts have handed over so far.

    Attributes:
        window: the window.
        reported: the calls that it told.
        open_parts: how many of its parts are still to come.
        surplus: what its parts have told at first beyond what it told itself, overlaps counted as often as they are
            told; below zero while they have told less.
        union: the distinct calls that they have handed over.
        counted: what they have added to the report's total.
        is_repair: whether it was cut because it could not be proven.
        grows: whether that was so because calls arrived while it was read.
        gathers: whether its parts are handed over when all of them were read: some may have to be read again.
        due: when its parts may be read again, if they must be.
        is_proven: whether every part so far was.
        is_noted: whether its parts may be asked for: where runs are written down, that comes first.
        unclaimed: the rows that were read of it before it was cut and were not handed over yet, by id.
    """

    __slots__ = (
        *(
            "_max_excess_rows",
            "counted",
            "due",
            "unclaimed",
            "gathers",
            "grows",
            "is_noted",
            "is_proven",
            "is_repair",
            "open_parts",
            "excess_rows",
            "reported",
        ),
        *("union", "window"),
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
        """Wait for `parts` windows that cover `window`."""
        self.window: TimeWindow = window
        self.reported: int = reported
        self.open_parts: int = parts
        self.excess_rows: int = -reported
        self._max_excess_rows = reported * (MOST_OFTEN - 1) + reported // 4
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
        """Whether the parts tell no more than a burst in a second that they share makes them, and calls that arrive."""
        return self.excess_rows <= self._max_excess_rows

    @property
    def is_short(self) -> bool:
        """Whether all parts are here and hold less than the whole told."""
        return not self.open_parts and self.union < self.reported

    def add_reported(self, rows: int) -> int:
        """Note that a part has told `rows` more (or is read again); return what goes beyond what the whole told."""
        before = max(0, self.excess_rows)
        self.excess_rows += rows
        return max(0, self.excess_rows) - before

    def forget(
        self, rows: Iterable[CallDetailRecord], normalize: Callable[[CallDetailRecord], CallDetailRecord]
    ) -> None:
        """Note that rows were handed over, which look as `normalize` makes them look.

        The only row of an id is taken for an older version of what was handed over; of several rows the same one is.
        """
        by_id: defaultdict[str, list[CallDetailRecord]] = defaultdict(list)
        for row in rows:
            if row.voice_id in self.unclaimed:
                by_id[row.voice_id].append(row)
        for voice_id, handed_over in by_id.items():
            kept = self.unclaimed.pop(voice_id)
            if len(kept) > 1 and (left := _without(kept, handed_over, normalize)):
                self.unclaimed[voice_id] = left

    def trim(self, part: TimeWindow, edge: datetime) -> None:
        """Note that of `part` nothing can be had before `edge`: what the whole told was more than its parts will."""
        self.reported = 0
        self.open_parts -= part.end <= edge


def _without(
    kept: list[CallDetailRecord],
    handed_over: Iterable[CallDetailRecord],
    normalize: Callable[[CallDetailRecord], CallDetailRecord],
) -> list[CallDetailRecord]:
    # By their hashes: a server may send thousands of rows of one id.
    looks: defaultdict[CallDetailRecord, list[CallDetailRecord]] = defaultdict(list)
    for one in kept:
        looks[normalize(one)].append(one)
    left = len(kept)
    for row in handed_over:
        if left <= 1:
            return []
        left -= len(looks.pop(row, ()))
    return [one for rows in looks.values() for one in rows]


def add_reported(splits: Sequence[SplitWindow], rows: int) -> None:
    """Note that a part of `splits`, the outermost first, has told `rows` calls."""
    for split in reversed(splits):
        rows = split.add_reported(rows)


class Recounts:
    """Asks for the totals of wholes that fall short: if rows were deleted since, the vendor reports fewer now.

    A total that would prove the parts is asked for twice, and the larger one is believed.
    """

    def __init__(self, filters: Filters) -> None:
        """Begin with nothing to ask."""
        self._filters = filters
        self.planned: deque[PageRequest] = deque()
        """The requests that may be sent now."""
        self._open = 0
        self._first: dict[SplitWindow, int] = {}

    @property
    def is_done(self) -> bool:
        """Whether every question was answered."""
        return not self._open

    def plan(self, split: SplitWindow) -> None:
        """Ask for the total of `split` once more."""
        self._open += 1
        self._ask(split)

    def _ask(self, split: SplitWindow) -> None:
        params = encode_params(split.window, self._filters)
        self.planned.append(
            PageRequest(owner=split, window=split.window, params=params, current=1, size=1, control=True)
        )

    def accept(self, request: PageRequest, answer: PageAnswer) -> int | ProtocolError | None:
        """Return the total that is believed; None when it has to be asked for once more."""
        verdict, why = judge_answer(request, answer, Filters())
        if verdict is Verdict.ASK_AGAIN:
            if request.asked_before:
                return ProtocolError(f"the answer cannot be used: {why}", window=request.window, page=1)
            self.planned.append(msgspec.structs.replace(request, asked_before=True))
            return None
        split, total = request.owner, answer.page.total
        assert isinstance(split, SplitWindow)  # noqa: S101 - see `_ask`
        if total <= split.union and split not in self._first:
            self._first[split] = total
            self._ask(split)
            return None
        self._open -= 1
        return max(total, self._first.pop(split, 0))
