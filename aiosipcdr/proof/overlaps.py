"""Overlaps of neighbouring windows: which rows of a window an earlier one has delivered.

A row is repeated if an earlier window has the same id and contents. If two windows have one id with different contents,
both in the second that they share, the two rows are either legs of one call or two versions of one row. That second is
then read once more, see `OverlapReader`, and `Repeats.decide` resolves the doubt.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import OVERLAP, SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.page import SortedRun
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["EarlierWindow", "OverlapReader", "Repeats", "identity", "may_lie_in"]

R = TypeVar("R", bound=WindowReader)

Normalize = Callable[[CallDetailRecord], CallDetailRecord]


def identity(record: CallDetailRecord) -> CallDetailRecord:
    """Return `record`."""
    return record


class EarlierWindow(msgspec.Struct):
    """A delivered window, whose rows the next windows may repeat."""

    end: datetime
    read: WindowScan | ReadWindow
    splits: Sequence[SplitWindow]

    @property
    def sorted_run(self) -> SortedRun | None:
        """Its rows, if they are sorted."""
        return self.read.sorted_run if isinstance(self.read, WindowScan) else None

    @property
    def records(self) -> Collection[CallDetailRecord]:
        """Its rows; those of an earlier run in normalized form."""
        return self.read.records.values() if isinstance(self.read, WindowScan) else self.read.records


class _Doubt(msgspec.Struct, frozen=True):
    # A row that may be a newer version of one of `rivals`, which were delivered by the earlier window at `index` of
    # `Repeats.by_window`. All rows are normalized.
    key: object
    row: CallDetailRecord
    rivals: AbstractSet[CallDetailRecord]
    index: int


_Kind = frozenset[str] | None
"""The time fields of a row that are in the shared second; `None` for a row without times."""


class _Rivals:
    # The rows of one id that an earlier window has delivered and the later window lacks. A row of the later window may
    # be a newer version of those that have a time field in common with it in the shared second: the vendor filters on
    # one field, and by that field both versions are in both windows. Rows are grouped by these fields (their kind), so
    # that thousands of rows of one id need not be compared in pairs.
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
    """The rows of a window that earlier windows have delivered.

    Attributes:
        by_window: For each earlier window, the windows that it was split from, and the keys of its rows that are
            repeated.
        conflicts: Number of rows that are repeated with other contents.
    """

    def __init__(
        self, reader: WindowReader, earlier: Iterable[EarlierWindow], fields: Sequence[str], normalize: Normalize
    ) -> None:
        """Compare the rows of `reader` with those of `earlier` windows.

        Args:
            reader: A window that was read.
            earlier: Windows before it that extend to its start.
            fields: The time fields on which the vendor may filter.
            normalize: Rows are equal if it returns equal records for them.
        """
        self.by_window: list[tuple[Sequence[SplitWindow], set[object]]] = []
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
        """The keys of all repeated rows."""
        return set().union(*(keys for _, keys in self.by_window))

    @property
    def is_doubtful(self) -> bool:
        """Whether the shared second has to be read once more."""
        return bool(self._doubts)

    @property
    def doubtful_ids(self) -> set[str]:
        """The ids of the rows in doubt."""
        return {doubt.row.voice_id for doubt in self._doubts}

    def decide(self, rows: Iterable[CallDetailRecord], *, is_later: bool) -> bool:
        """Resolve the doubts by the rows of the shared second, read again after both windows.

        Args:
            rows: The rows of that reading.
            is_later: Whether the rows in doubt were read after the earlier windows were delivered: then none of them is
                an older version of a delivered row.

        Returns:
            Whether the doubts are resolved. If not, the window has to be read once more.
        """
        present = _by_id(self._normalize(row) for row in rows)
        repeated: list[_Doubt] = []
        for voice_id, doubts in _group(self._doubts).items():
            existing = present.get(voice_id, set())
            groups = {id(doubt.rivals): doubt.rivals for doubt in doubts}  # shared by many rows
            rivals: set[CallDetailRecord] = set().union(*groups.values())
            gone = rivals - existing
            has_gone = {group: not gone.isdisjoint(rows) for group, rows in groups.items()}
            changed = [doubt for doubt in doubts if doubt.row in existing and has_gone[id(doubt.rivals)]]
            is_older = not is_later and len(gone) < len(rivals) and any(doubt.row not in existing for doubt in doubts)
            if is_older or existing - self._known[voice_id] or len(changed) > len(gone):
                return False
            repeated += changed
        self._drop(repeated)
        return True

    def drop_doubts(self) -> None:
        """Count rows in doubt as repeated rows that have changed; the window must not be certified."""
        self._drop(self._doubts)

    def _drop(self, doubts: Sequence[_Doubt]) -> None:
        self._doubts = []
        self.conflicts += len({doubt.key for doubt in doubts})
        for doubt in doubts:
            self.by_window[doubt.index][1].add(doubt.key)

    def _compare(self, scan: WindowScan, start: datetime, earlier: EarlierWindow) -> None:
        repeated: set[object] = set()
        self.by_window.append((earlier.splits, repeated))
        before, sorted_run = earlier.sorted_run, scan.sorted_run
        own: Iterable[tuple[object, CallDetailRecord]]
        theirs: Collection[CallDetailRecord]
        common: AbstractSet[object]
        if before is not None and sorted_run is not None:
            # Only ids in both ranges can be common; usually there are none.
            rows = sorted_run.between(before.lowest, before.highest)
            theirs = before.between(sorted_run.lowest, sorted_run.highest)
            own = [(row.voice_id, row) for row in rows]
            common = {row.voice_id for row in rows} & {row.voice_id for row in theirs}
        else:
            own, theirs = scan.records.items(), earlier.records
            common = scan.ids & earlier.read.ids
        if not common:
            return
        repeated |= common & scan.quarantined.keys()
        normalize_theirs = identity if isinstance(earlier.read, ReadWindow) else self._normalize
        read_before = _by_id(normalize_theirs(row) for row in theirs if row.voice_id in common)
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
            elif not others:  # the earlier window has the id only in its quarantine
                if not _times(row, self._fields) or self._shared_fields(row, span):
                    repeated.add(key)
            else:
                if row.voice_id not in rivals:
                    # A row that both windows have is not an older version of another row.
                    rest = others - read_now[row.voice_id]
                    rivals[row.voice_id] = _Rivals((one, self._find_kind(one, span)) for one in rest)
                if found := rivals[row.voice_id].find(self._find_kind(row, span)):
                    self._doubts.append(_Doubt(key, row, found, len(self.by_window) - 1))

    def _find_kind(self, row: CallDetailRecord, span: tuple[datetime, datetime]) -> _Kind:
        return frozenset(self._shared_fields(row, span)) if _times(row, self._fields) else None

    def _shared_fields(self, row: CallDetailRecord, span: tuple[datetime, datetime]) -> set[str]:
        return {field for field, time in _times(row, self._fields).items() if span[0] <= time <= span[1]}


class OverlapReader(WindowReader, Generic[R]):
    """Reads the second that `part` shares with earlier windows, and the second before it.

    With inclusive bounds or without, the two seconds contain all rows that `part` and an earlier window share.

    Attributes:
        part: The window whose rows are compared.
        is_of_preceding: Whether the second before the span is read again, instead of the shared one.
    """

    def __init__(self, part: R, preceding: TimeWindow | None = None, **settings: Any) -> None:  # noqa: ANN401 - those of WindowReader
        """Plan the first page; with `preceding`, read that second. `settings` are those of `WindowReader`."""
        start = part.window.start
        super().__init__(preceding or TimeWindow(start - SECOND, start + OVERLAP), **settings)
        self.part: R = part
        self.is_of_preceding: bool = preceding is not None


def may_lie_in(row: CallDetailRecord, window: TimeWindow, fields: Sequence[str]) -> bool:
    """Return whether the vendor may select `row` for `window`: one of its times is in it, or it has none.

    Args:
        row: The row.
        window: The window, both bounds included.
        fields: The time fields on which the vendor may filter.
    """
    times = _times(row, fields).values()
    return not times or any(window.start <= time <= window.end for time in times)


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
