"""A vendor in memory, and a table in memory, for tests of the synchronizer without sockets and databases."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiosipcdr.export.keys import KeyDerivation
from aiosipcdr.model.errors import IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.sync.checkpoints import Owner, Span, TableState
from aiosipcdr.sync.diff import FoundRow
from aiosipcdr.sync.reader import Reading
from aiosipcdr.sync.rows import HeldRow, Key, Values, to_values
from aiosipcdr.sync.spans import ChangeSearch, plan_reading
from aiosipcdr.sync.targets import Batch

ORIGIN = datetime(2026, 6, 1, tzinfo=UTC)
OWNER = Owner(key=KeyDerivation(salt="0" * 32, n=16, r=1, p=1), account="0" * 16, filters="1" * 16)


def at(second: float) -> datetime:
    """Return the instant so many seconds after the origin."""
    return ORIGIN + timedelta(seconds=second)


class Listed:
    """A row of the vendor's list.

    Attributes:
        second: When it is listed, whatever its own times say.
        record: The row.
    """

    def __init__(self, second: int, record: CallDetailRecord) -> None:
        self.second = second
        self.record = record


class ListVendor:
    """Reads spans of a list in memory, as `SpanReader` reads them from a vendor."""

    def __init__(self, *, start_inclusive: bool, end_inclusive: bool) -> None:
        self.rows: list[Listed] = []
        self.now = 0
        self.ahead = 0
        self.requests = self.retries = 0
        self.elapsed = 0.0
        self.faulty_fields: Counter[str] = Counter()
        self.read_spans: list[Span] = []
        self.between: Callable[[], None] = lambda: None
        self.is_proven: Callable[[Span], bool] = lambda _: True
        self.deleted_before = ORIGIN
        self.halves_plans = True
        self.rechecks: list[int] = []
        self._bounds = start_inclusive, end_inclusive

    def listed(self, window: TimeWindow) -> list[Listed]:
        """Return what the vendor lists in a window."""
        self.requests += 1
        if window.end - SECOND > window.start and window.start < self.deleted_before - SECOND:
            raise OutOfTimeRangeError("deleted")
        first, last = self._bounds
        return [
            row
            for row in self.rows
            if (window.start <= at(row.second) if first else window.start < at(row.second))
            and (at(row.second) <= window.end if last else at(row.second) < window.end)
        ]

    def values(self) -> Counter[Values]:
        """Return all rows that it lists, as a table holds them."""
        return Counter(to_values([row.record for row in self.rows]))

    def move_clock(self, ahead: int) -> None:
        """Set the vendor's clock so many seconds ahead of this machine's."""
        self.now += ahead - self.ahead
        self.ahead = ahead

    async def read_clock(self) -> datetime:
        return at(self.now)

    def read_earlier_clock(self) -> datetime:
        return at(self.now - self.ahead)

    async def find_changed(self, spans: Sequence[Span], *, has_left: bool) -> list[Span]:
        base, _ = plan_reading(spans, has_left=has_left, is_trimmed=False)
        search = ChangeSearch(spans, base)
        while due := search.due:
            search.take({window: len(self.listed(window)) for window in due})
        return search.changed

    async def plan_pieces(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime, int]]:
        self.listed(TimeWindow(start, end))
        middle = start + (end - start) // 2
        middle = middle.replace(microsecond=0)
        pieces = [(start, middle), (middle, end)] if self.halves_plans and start < middle < end else [(start, end)]
        return [(first, last, len(self.listed(TimeWindow(first, last)))) for first, last in pieces]

    async def read(self, spans: Sequence[Span], *, has_left: bool) -> list[Reading]:
        if not all(map(self.is_proven, spans)):
            raise IncompleteRangeError("rows are changing")
        owned, tiles = plan_reading(spans, has_left=has_left, is_trimmed=False)
        seen = {id(row) for row in self.listed(owned.preceding_second)} if owned.preceding_second else set[int]()
        readings = []
        for span, tile in zip(spans, tiles, strict=True):
            self.read_spans.append(span)
            rows = [row for row in self.listed(tile) if id(row) not in seen]
            seen |= {id(row) for row in rows}
            found = [FoundRow(values, span.start) for values in to_values([row.record for row in rows])]
            proven = Span(start=span.start, end=span.end, count=len(rows), read_at=self.read_earlier_clock())
            readings.append(Reading(proven, found, 0))
        self.between()
        return readings

    def announce_recheck(self, window: TimeWindow, *, rows: int, delay: float) -> None:
        assert delay > 0
        assert window.start >= ORIGIN
        self.rechecks.append(rows)


class KilledError(Exception):
    """The process was killed."""


class MemoryTable:
    """A table in memory; `kill_at` raises before or after the n-th commit from now."""

    def __init__(self) -> None:
        self.rows: dict[Key, HeldRow] = {}
        self.state = TableState()
        self.kill_before: int | None = None
        self.kill_after: int | None = None
        self.batches: list[Batch] = []

    def open(self, *, dry_run: bool) -> TableState:
        del dry_run
        return TableState(version=self.state.version, owner=self.state.owner, spans=[*self.state.spans])

    def held(self, spans: Collection[datetime], ids: Collection[str]) -> list[HeldRow]:
        return [row for row in self.rows.values() if row.span_start in spans or row.values[0] in ids]

    def commit(self, batch: Batch) -> None:
        assert batch.version == self.state.version
        if self.kill_before is not None:
            self.kill_before -= 1
            if self.kill_before < 0:
                raise KilledError
        keys = [Key(row.values[0], row.leg) for row in batch.upserts]
        assert len({*keys}) == len(keys), "a key is written twice"
        for row in batch.upserts:
            self.rows[Key(row.values[0], row.leg)] = HeldRow(row.values, row.leg, row.span_start, has_vanished=False)
        for key in batch.vanished:
            assert key not in keys
            self.rows[key] = self.rows[key]._replace(has_vanished=True)
        for key in batch.deleted:
            del self.rows[key]
        for key, start in batch.moved:
            self.rows[key] = self.rows[key]._replace(span_start=start)
        spans = {span.start: span for span in self.state.spans} | {span.start: span for span in batch.spans}
        self.state = TableState(
            version=batch.version + 1, owner=batch.owner, spans=[spans[start] for start in sorted(spans)]
        )
        self.batches.append(batch)
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise KilledError

    def close(self) -> None:
        self.kill_before = self.kill_after = None

    def live(self) -> Counter[Values]:
        """Return the rows that have not vanished."""
        return Counter(row.values for row in self.rows.values() if not row.has_vanished)


def record(voice_id: str, submitted: float | None = None, **values: Any) -> CallDetailRecord:  # noqa: ANN401
    """Return a record that was submitted so many seconds after the origin."""
    return CallDetailRecord(voice_id=voice_id, submit_time=None if submitted is None else at(submitted), **values)
