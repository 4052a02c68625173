"""Target of a feed: turns the batches of a run into changes, and stores them once they were acknowledged.

Its rows are those of `aiosipcdr.sync.feed.rows`. Spans that end before the lookback are dropped between two runs.
"""

from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from aiosipcdr.export.keys import derive_key
from aiosipcdr.model.changes import Change, ChangeKind
from aiosipcdr.model.errors import JournalDamagedError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.feed.checkpoint import FeedCheckpoint
from aiosipcdr.sync.feed.rows import FeedRow, RowDigester, change_key, pack_rows, unpack_ids, unpack_rows
from aiosipcdr.sync.rows import HeldRow, Key, TableRow, Values
from aiosipcdr.sync.targets import Batch
from aiosipcdr.wire.signing import Credentials

__all__ = ["FeedTarget", "PlannedChange"]

T = TypeVar("T")

_REMEMBERED = 10_000
"""Number of records that are remembered, for the contents before a change."""


class _Place(NamedTuple):
    span_start: datetime
    row: FeedRow


class PlannedChange(NamedTuple):
    """A change, and the row that it makes.

    Attributes:
        change: The change.
        row: The row after it.
        span_start: Start of the span that lists the row.
    """

    change: Change
    row: FeedRow
    span_start: datetime


class FeedTarget:
    """The rows of a feed, in the checkpoint, and the records that were read last, in memory.

    A `Target` for runs whose batches the follower commits.

    Attributes:
        spans: Its spans by their start.
    """

    def __init__(self, checkpoint: FeedCheckpoint) -> None:
        """Use an open checkpoint after `load`."""
        self.spans: dict[datetime, Span] = {}
        self._checkpoint = checkpoint
        self._owner: Owner | None = None
        self._digester: RowDigester | None = None
        self._left_out: datetime | None = None
        # The hashes of the ids of each span: a row is found by its id without unpacking every span.
        self._ids: dict[datetime, array[int]] = {}
        self._records: OrderedDict[Values, CallDetailRecord] = OrderedDict()

    def load(self, state: TableState, owner: Owner, credentials: Credentials) -> None:
        """Use the state of the checkpoint; takes about a second for a million rows.

        Raises:
            JournalDamagedError: The checkpoint is damaged.
        """
        self._owner, self._left_out = owner, state.left_out
        self._digester = RowDigester(derive_key(credentials, owner.key))
        self.spans = {span.start: span for span in state.spans}
        for start, packed in self._checkpoint.all_rows():
            self._ids[start] = _hash_ids(self._decode(unpack_ids, packed))

    def remember(self, values: Values, record: CallDetailRecord) -> Values:
        """Return the values of a row that are compared, and remember its record."""
        assert self._digester is not None  # noqa: S101 - loaded
        digested = self._digester.digest(values)
        self._records[digested] = record
        self._records.move_to_end(digested)
        return digested

    # The methods of a target.

    def open(self, *, dry_run: bool) -> TableState:
        """Return the spans; the checkpoint is open already."""
        del dry_run
        spans = [self.spans[start] for start in sorted(self.spans)]
        return TableState(owner=self._owner, spans=spans, left_out=self._left_out)

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        """Return the rows of spans, and all other rows with one of some ids."""
        wanted = frozenset(spans)
        return [
            row.hold(start)
            for start, rows in self._read(wanted | self._find_spans(ids)).items()
            for row in rows
            if start in wanted or row.values[0] in ids
        ]

    def commit(self, batch: Batch) -> None:
        """Store a batch without yielding changes."""
        self.apply(batch, self.plan(batch))

    def close(self) -> None:
        """Keep the checkpoint open, for the next run."""

    # What the follower does with a batch.

    def plan(self, batch: Batch) -> list[PlannedChange]:
        """Return the changes of a batch, in the order of the rows' times and ids."""
        if not batch.upserts and not batch.vanished:
            return []
        places = self._locate({row.values[0] for row in batch.upserts} | {key.voice_id for key in batch.vanished})
        planned: list[PlannedChange] = []
        for new in batch.upserts:
            place = places.get(Key(new.values[0], new.leg))
            old = None if place is None else place.row
            row, kind = _replace(old, new)
            before = None if old is None or old.open_change or old.has_vanished else self._records.get(old.values)
            record = self._records[new.values]
            change = Change(kind=kind, record=record, before=before, leg=new.leg, key=change_key(kind, row))
            planned.append(PlannedChange(change, row, new.span_start))
        for key in batch.vanished:
            start, old = places[key]
            is_repeated = old.open_change == "vanished"
            row = old._replace(revision=old.revision + (not is_repeated), has_vanished=True, open_change="")
            before = self._records.get(row.values)
            record = before or CallDetailRecord(voice_id=key.voice_id)
            change = Change(kind="vanished", record=record, before=before, leg=key.leg, key=change_key("vanished", row))
            planned.append(PlannedChange(change, row, start))
        return sorted(planned, key=_order)

    def apply(self, batch: Batch, changes: Sequence[PlannedChange], offered: Sequence[PlannedChange] = ()) -> None:
        """Store changes that were acknowledged, and those that are yielded next.

        Args:
            batch: The batch that they belong to.
            changes: The changes that were acknowledged since the last call.
            offered: Changes that are yielded next. If there are any, the spans of the batch stay unproven: after a
                kill they are read again.
        """
        self._apply(batch, [*changes, *map(_open, offered)], is_complete=not offered)

    def interrupt(self, batch: Batch, changes: Sequence[PlannedChange]) -> None:
        """Store changes that were acknowledged before the feed ended in the middle of a batch."""
        self._apply(batch, changes, is_complete=False)

    def _apply(self, batch: Batch, changes: Sequence[PlannedChange], *, is_complete: bool) -> None:
        moved = batch.moved if is_complete else ()
        rows: defaultdict[datetime, dict[Key, FeedRow]] = defaultdict(dict)
        touched = {planned.row.values[0] for planned in changes} | {key.voice_id for key, _ in moved}
        if touched:
            found = self._read(self._find_spans(touched) | {planned.span_start for planned in changes})
            for start in {start for _, start in moved} - found.keys():
                found |= self._read({start})
            for start, held in found.items():
                rows[start] = {row.key: row for row in held}
        places = {key: start for start, held in rows.items() for key in held}
        dirty: set[datetime] = set()
        for planned in changes:
            key, start = planned.row.key, planned.span_start
            before = places.get(key, start)
            if before != start:
                del rows[before][key]
                dirty.add(before)
            rows[start][key] = planned.row
            places[key] = start
            dirty.add(start)
        for key, start in moved:
            rows[start][key] = rows[places[key]].pop(key)
            dirty |= {start, places[key]}
            places[key] = start
        spans = {span.start: span for span in batch.spans}
        if not is_complete:
            known = spans | self.spans
            spans = {start: replace(known[start], count=None) for start in spans.keys() | dirty}
        self._save(spans.values(), {start: [*rows[start].values()] for start in dirty})

    def forget_old(self, oldest: datetime, *, slack: float = 0.0) -> None:
        """Drop the proven spans that end at or before `oldest`, if they make up a share `slack` of all spans or more.

        The last span is kept.
        """
        starts = sorted(self.spans)[:-1]
        old: list[datetime] = []
        for start in starts:
            span = self.spans[start]
            if span.count is None or span.end > oldest:
                break
            old.append(start)
        if not old or len(old) < slack * len(starts):
            return
        self._left_out = self.spans[old[-1]].end
        self._drop(old)

    def give_up(self, starts: Iterable[datetime]) -> list[TimeWindow]:
        """Count unproven spans as read; return their windows.

        No row of them vanishes or is added any more, and `forget_old` may drop them.
        """
        old = [self.spans[start] for start in starts]
        self._save([replace(span, count=0) for span in old], {})
        return [TimeWindow(span.start, span.end) for span in old]

    def restart_at(self, start: datetime) -> None:
        """Drop all spans, and begin anew at a later time: the vendor has deleted the calls before it."""
        self._save([Span(start=start, end=start + SECOND)], {}, dropped=[*self.spans])
        first = self.spans[start]
        self.spans, self._left_out = {start: first}, None
        self._ids.clear()

    def _drop(self, starts: Sequence[datetime]) -> None:
        self._save((), {}, dropped=starts)
        for start in starts:
            del self.spans[start]
            self._ids.pop(start, None)

    def _save(
        self, spans: Iterable[Span], rows: dict[datetime, list[FeedRow]], dropped: Sequence[datetime] = ()
    ) -> None:
        assert self._owner is not None  # noqa: S101 - loaded
        spans = [span for span in spans if self.spans.get(span.start) != span]
        if not spans and not rows and not dropped:
            return
        packed = {start: pack_rows(held) if held else None for start, held in rows.items()}
        self._checkpoint.save(self._owner, spans, packed, dropped=dropped, left_out=self._left_out)
        self.spans |= {span.start: span for span in spans}
        self._ids |= {start: _hash_ids(row.values[0] for row in held) for start, held in rows.items()}
        while len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)

    def _locate(self, ids: Collection[str]) -> dict[Key, _Place]:
        found = self._read(self._find_spans(ids))
        return {row.key: _Place(start, row) for start, rows in found.items() for row in rows if row.values[0] in ids}

    def _find_spans(self, ids: Collection[str]) -> set[datetime]:
        hashes = {*map(hash, ids)}
        return {start for start, known in self._ids.items() if not hashes.isdisjoint(known)} if hashes else set()

    def _read(self, starts: Iterable[datetime]) -> dict[datetime, list[FeedRow]]:
        return {start: self._unpack(packed) for start, packed in self._checkpoint.rows(starts).items()}

    def _unpack(self, packed: bytes) -> list[FeedRow]:
        return self._decode(unpack_rows, packed)

    def _decode(self, decode: Callable[[bytes], list[T]], packed: bytes) -> list[T]:
        try:
            return decode(packed)
        except ValueError as error:
            raise JournalDamagedError(
                f"{self._checkpoint.path} is damaged ({error}): delete it, and follow again from a time since which"
                " calls may be repeated"
            ) from None


def _replace(old: FeedRow | None, new: TableRow) -> tuple[FeedRow, ChangeKind]:
    # Returns the row after an upsert, and the kind of the change. An open change is repeated as it was.
    if old is None:
        return FeedRow(new.values, new.leg), "added"
    kind: ChangeKind = "added" if old.has_vanished or old.open_change == "added" else "changed"
    is_repeated = old.open_change and not old.has_vanished and old.values == new.values
    return FeedRow(new.values, new.leg, old.revision + (not is_repeated)), kind


def _open(planned: PlannedChange) -> PlannedChange:
    return planned._replace(row=planned.row._replace(open_change=planned.change.kind))


def _hash_ids(ids: Iterable[str]) -> "array[int]":
    return array("q", map(hash, ids))


def _order(planned: PlannedChange) -> tuple[datetime, str, str, int]:
    row = planned.row
    first = min((time for time in row.values if isinstance(time, datetime)), default=planned.span_start)
    return planned.span_start, first.isoformat(), row.values[0], row.leg
