"""The second that neighbouring windows share: which rows of a window an earlier one has handed over.

Synchronous and without I/O.  A row is a repeat if an earlier window holds the
same row, id and contents.  Rows of one id with different contents, both in the
shared second, are legs of one call or one row that changed between the two
readings: another reading of that second decides.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import msgspec

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import OVERLAP, SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.page import SortedRun
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["EarlierWindow", "OverlapReader", "Repeats", "identity"]

Normalize = Callable[[CallDetailRecord], CallDetailRecord]


def identity(record: CallDetailRecord) -> CallDetailRecord:
    """Return `record`."""
    return record


class EarlierWindow(msgspec.Struct):
    """A window that was handed over, whose rows the next ones may repeat."""

    end: datetime
    read: WindowScan | ReadWindow
    splits: Sequence[SplitWindow]

    @property
    def sorted_run(self) -> SortedRun | None:
        """Its rows, if they rise throughout."""
        return self.read.sorted_run if isinstance(self.read, WindowScan) else None

    @property
    def records(self) -> Collection[CallDetailRecord]:
        """Its rows; those of an earlier run as they were exported."""
        return self.read.records.values() if isinstance(self.read, WindowScan) else self.read.records


class _Doubt(msgspec.Struct, frozen=True):
    # A row that may be a newer version of one of `rivals`, which the earlier window number `place` has handed over.
    # All of them as they are exported.
    key: object
    row: CallDetailRecord
    rivals: AbstractSet[CallDetailRecord]
    place: int


_Kind = frozenset[str] | None
"""The fields by which a row lies in the shared second; `None` for a row without times."""


class _Rivals:
    # The rows of an id that an earlier window has handed over and a later one lacks. The vendor selects on one time,
    # and by that one a row that both windows hold lies in the second they share: which of them another row may be a
    # newer version of depends on its kind alone, so that thousands of rows of one id are not compared in pairs.
    def __init__(self, rows: Iterable[tuple[CallDetailRecord, _Kind]]) -> None:
        self._by_kind: defaultdict[_Kind, list[CallDetailRecord]] = defaultdict(list)
        for row, kind in rows:
            self._by_kind[kind].append(row)
        self._found: dict[_Kind, frozenset[CallDetailRecord]] = {}

    def find(self, kind: _Kind) -> frozenset[CallDetailRecord]:
        if kind not in self._found:
            self._found[kind] = frozenset(
                row
                for other, rows in self._by_kind.items()
                if kind is None or other is None or kind & other
                for row in rows
            )
        return self._found[kind]


class Repeats:
    """What a window repeats of earlier ones.

    Attributes:
        of: for each earlier window those that it was cut out of, and the keys of the rows that are repeated.
        conflicts: rows that are repeated with other contents.
    """

    def __init__(
        self, reader: WindowReader, earlier: Iterable[EarlierWindow], fields: Sequence[str], normalize: Normalize
    ) -> None:
        """Compare the rows of `reader` with those of `earlier` windows.

        Args:
            reader: a window that was read.
            earlier: windows before it that reach as far as its start.
            fields: the times on which the vendor may select.
            normalize: rows are the same where it returns the same for both.
        """
        self.of: list[tuple[Sequence[SplitWindow], set[object]]] = []
        self.conflicts: int = 0
        self._normalize = normalize
        self._fields = fields
        self._doubts: list[_Doubt] = []
        self._known: defaultdict[str, set[CallDetailRecord]] = defaultdict(set)
        for window in earlier:
            self._compare(reader.scan, reader.window.start, window)
        if self._doubts:
            repeated = self.keys
            self._doubts = [doubt for doubt in self._doubts if doubt.key not in repeated]

    @property
    def keys(self) -> set[object]:
        """The keys of all rows that are repeated."""
        return set().union(*(keys for _, keys in self.of))

    @property
    def is_doubtful(self) -> bool:
        """Whether another reading of the shared second has to decide."""
        return bool(self._doubts)

    @property
    def doubtful_ids(self) -> set[str]:
        """The ids of the rows in doubt."""
        return {doubt.row.voice_id for doubt in self._doubts}

    def decide(self, rows: Iterable[CallDetailRecord], *, is_later: bool) -> bool:
        """Take the rows around the shared second, read later than both windows.

        Args:
            rows: what they are now.
            is_later: whether the rows in doubt were read after the earlier windows, so that none can be the older
                version of a row of theirs.

        Returns:
            Whether they decide; if not, the rows in doubt have to be read once more.
        """
        present = _by_id(self._normalize(row) for row in rows)
        repeated: list[_Doubt] = []
        for voice_id, doubts in _group(self._doubts).items():
            there = present.get(voice_id, set())
            groups = {id(doubt.rivals): doubt.rivals for doubt in doubts}  # many rows have the same ones
            rivals: set[CallDetailRecord] = set().union(*groups.values())
            gone = rivals - there
            has_gone = {group: not gone.isdisjoint(rows) for group, rows in groups.items()}
            changed = [doubt for doubt in doubts if doubt.row in there and has_gone[id(doubt.rivals)]]
            is_older = not is_later and len(gone) < len(rivals) and any(doubt.row not in there for doubt in doubts)
            if is_older or there - self._known[voice_id] or len(changed) > len(gone):
                return False
            repeated += changed
        self._drop(repeated)
        return True

    def give_in(self) -> None:
        """Take what is in doubt for rows that changed; the window must not count as proven."""
        self._drop(self._doubts)

    def _drop(self, doubts: Sequence[_Doubt]) -> None:
        self._doubts = []
        self.conflicts += len({doubt.key for doubt in doubts})
        for doubt in doubts:
            self.of[doubt.place][1].add(doubt.key)

    def _compare(self, scan: WindowScan, start: datetime, earlier: EarlierWindow) -> None:
        repeated: set[object] = set()
        self.of.append((earlier.splits, repeated))
        before, sorted_run = earlier.sorted_run, scan.sorted_run
        own: Iterable[tuple[object, CallDetailRecord]]
        theirs: Collection[CallDetailRecord]
        common: AbstractSet[object]
        if before is not None and sorted_run is not None:
            # What both hold lies where the ranges of their ids overlap: mostly nowhere.
            rows, theirs = (
                sorted_run.between(before.lowest, before.highest),
                before.between(sorted_run.lowest, sorted_run.highest),
            )
            own = [(row.voice_id, row) for row in rows]
            common = {row.voice_id for row in rows} & {row.voice_id for row in theirs}
        else:
            own, theirs = scan.records.items(), earlier.records
            common = scan.ids & earlier.read.ids
        if not common:
            return
        repeated |= common & scan.quarantined.keys()
        see_theirs = identity if isinstance(earlier.read, ReadWindow) else self._normalize
        read_before = _by_id(see_theirs(row) for row in theirs if row.voice_id in common)
        rows_now = [(key, self._normalize(row)) for key, row in own if row.voice_id in common]
        read_now = _by_id(row for _, row in rows_now)
        for voice_id, present in read_now.items():
            self._known[voice_id] |= read_before.get(voice_id, set()) | present
        span = start, earlier.end + OVERLAP
        rivals: dict[str, _Rivals] = {}
        for key, row in rows_now:
            others = read_before.get(row.voice_id, set())
            if row in others:
                repeated.add(key)
            elif not others:  # it could not be decoded before
                if not _times(row, self._fields) or self._shared_fields(row, span):
                    repeated.add(key)
            else:
                if row.voice_id not in rivals:
                    # What is beside a row in its own window is another row.
                    rest = others - read_now[row.voice_id]
                    rivals[row.voice_id] = _Rivals((one, self._find_kind(one, span)) for one in rest)
                if found := rivals[row.voice_id].find(self._find_kind(row, span)):
                    self._doubts.append(_Doubt(key, row, found, len(self.of) - 1))

    def _find_kind(self, row: CallDetailRecord, span: tuple[datetime, datetime]) -> _Kind:
        return frozenset(self._shared_fields(row, span)) if _times(row, self._fields) else None

    def _shared_fields(self, row: CallDetailRecord, span: tuple[datetime, datetime]) -> set[str]:
        return {field for field, time in _times(row, self._fields).items() if span[0] <= time <= span[1]}


class OverlapReader(WindowReader):
    """The reading that decides what `part` repeats: the shared second and the one before.

    Whether bounds are inclusive or not, it holds all that the windows share.
    """

    def __init__(self, part: WindowReader, **settings: Any) -> None:  # noqa: ANN401 - those of WindowProof
        """Plan the first page of the reading for `part`; `settings` are those of `WindowReader`."""
        start = part.window.start
        super().__init__(TimeWindow(start - SECOND, start + OVERLAP), **settings)
        self.part = part


def _times(row: CallDetailRecord, fields: Sequence[str]) -> dict[str, datetime]:
    return {field: time for field in fields if (time := getattr(row, field)) is not None}


def _by_id(rows: Iterable[CallDetailRecord]) -> dict[str, set[CallDetailRecord]]:
    found: defaultdict[str, set[CallDetailRecord]] = defaultdict(set)
    for row in rows:
        found[row.voice_id].add(row)
    return found


def _group(doubts: Iterable[_Doubt]) -> dict[str, list[_Doubt]]:
    found: defaultdict[str, list[_Doubt]] = defaultdict(list)
    for doubt in doubts:
        found[doubt.row.voice_id].append(doubt)
    return found
