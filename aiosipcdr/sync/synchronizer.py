"""Synchronizer: one run that makes a table equal to the vendor's list.

Counts the spans of the lookback, reads those that have changed and the time since the last run, compares each reading
with the table, and commits rows and checkpoints together. After a kill at any moment the next run goes on: what was
committed is right, and what was not is read again.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, Self

import anyio
from msgspec.structs import replace

from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.model.errors import IncompleteRangeError, OutOfTimeRangeError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import TIME_FIELDS
from aiosipcdr.model.sync import SyncReport
from aiosipcdr.model.windows import SECOND, WIDEST, TimeWindow
from aiosipcdr.sync.checkpoints import Owner, Span
from aiosipcdr.sync.diff import Difference, compare_rows
from aiosipcdr.sync.options import SyncOptions
from aiosipcdr.sync.owner import check_owner
from aiosipcdr.sync.reader import Reading, SpanReader
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key
from aiosipcdr.sync.spans import (
    CHUNK_ROWS,
    MAX_SPAN,
    SMALL_ROWS,
    certified_until,
    cut_span,
    join_stretches,
    take_chunk,
)
from aiosipcdr.sync.targets import Batch, Location, Target, open_target
from aiosipcdr.threads import run_in_thread

__all__ = ["RECHECK_SECONDS", "Synchronizer"]

RECHECK_SECONDS = 60.0
"""Seconds until a span from which suspiciously many rows would vanish is read again."""

_SUSPICIOUS_ROWS = 20
_SUSPICIOUS_SHARE = 0.1

# The vendor's retention boundary moves while a run lasts.
_BOUNDARY_MARGIN = timedelta(minutes=1)

# A row whose times are that close to another span may be listed there now.
_NEAR = timedelta(minutes=1)

# Spans that are compared together do not take in more neighbours above this number of rows.
_MAX_GROUP = 3 * CHUNK_ROWS

# After so many unproven spans without a proven one, the rest is not read.
_HOPELESS = 3

_DAY = timedelta(days=1)
_TIMES = [FIELDS.index(name) for name in TIME_FIELDS]


class _Comparison(NamedTuple):
    # Readings that are compared with the table together, their difference, and the live rows of each span before.
    readings: list[Reading]
    difference: Difference
    live: Counter[datetime]


class Synchronizer:
    """Runs one sync of one table."""

    def __init__(
        self,
        reader: SpanReader,
        target: Target,
        options: SyncOptions,
        *,
        find_owner: Callable[[Owner | None], Owner],
        table: str,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
        commit: Callable[[Batch], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            reader: Reads the vendor's list.
            target: The table; opened and closed by `run`.
            options: The options.
            find_owner: Returns the owner to store in place of the stored one, or raises; may block.
            table: The table's name in the report.
            pause: Waits for some seconds.
            commit: Makes the changes of a batch; by default `target.commit`, in a worker thread.
        """
        self._reader = reader
        self._target = target
        self._options = options
        self._find_owner = find_owner
        self._table = table
        self._pause = pause
        self._make = commit or self._commit_to_target
        self._owner: Owner | None = None
        self._version = 0
        self._spans: dict[datetime, Span] = {}
        self._starts: list[datetime] = []
        self._ends: set[datetime] = set()
        self._left_out: set[datetime] = set()
        self._estimates: dict[datetime, int] = {}
        self._queue: dict[datetime, Span] = {}
        self._done: set[datetime] = set()
        self._unproven: set[datetime] = set()
        self._lost: set[datetime] = set()
        self._tally: Counter[str] = Counter()
        self._checked_at = datetime.now(UTC)

    @classmethod
    def of(cls, fetcher: Fetcher, location: Location, filters: Filters, options: SyncOptions) -> Self:
        """Return the sync of a table with the calls of a client."""
        return cls(
            SpanReader(fetcher, filters, options.time_field),
            open_target(location),
            options,
            find_owner=partial(
                check_owner,
                fetcher.session.credentials(),
                filters,
                table=str(location),
                forget=location.forget_owner,
            ),
            table=str(location),
        )

    async def run(self) -> SyncReport:
        """Make the table equal to the vendor's list; return what was changed.

        Raises:
            ValueError: `since` is missing for a new table, or lies in the future.
            IncompleteRangeError: Suspiciously many rows would vanish.
            OutOfTimeRangeError: The vendor has deleted calls that the table never had.
            ExportConflictError: See `Target.open`, `Target.commit` and `check_owner`.
            StorageError: See `Target`.
        """
        try:
            await self._open()
            self._checked_at = await self._reader.read_clock()
            extended = await self._plan(self._checked_at)
            while self._queue and not self._is_hopeless:
                await self._sync_chunk()
            self._unproven |= self._queue.keys()
            await self._commit(spans=extended)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_thread(self._target.close)
        return SyncReport(
            table=self._table,
            added=self._tally["added"],
            changed=self._tally["changed"],
            vanished=self._tally["vanished"],
            unchanged=self._tally["unchanged"],
            certified_until=self._certified_until(),
            checked_at=self._checked_at,
            spans_read=len(self._done),
            spans_counted=self._tally["counted"],
            unproven=len(self._unproven),
            deleted=self._tally["deleted"],
            quarantined=self._tally["quarantined"],
            faulty_fields=dict(self._reader.faulty_fields),
            requests=self._reader.requests,
            retries=self._reader.retries,
            elapsed=self._reader.elapsed,
            dry_run=self._options.dry_run,
        )

    @property
    def _is_hopeless(self) -> bool:
        # The vendor's answers prove nothing today: reading on would only cost requests.
        return len(self._unproven) >= _HOPELESS and not self._done

    async def _open(self) -> None:
        if self._options.since is None:
            await self._check_known()
        state = await run_in_thread(self._target.open, dry_run=self._options.dry_run)
        self._owner = await run_in_thread(self._find_owner, state.owner)
        self._version = state.version
        self._left_out = {state.left_out} if state.left_out is not None else set()
        # A span of no length was given up, see `_give_up`.
        self._keep(span for span in state.spans if span.start < span.end)

    async def _check_known(self) -> None:
        # Before anything is created.
        state = await run_in_thread(self._target.open, dry_run=True)
        await run_in_thread(self._target.close)
        if not state.spans:
            raise ValueError("since is missing: a new table needs the time from which it holds calls")

    def _keep(self, spans: Iterable[Span]) -> None:
        self._spans |= {span.start: span for span in spans}
        self._starts = sorted(self._spans)
        self._ends = self._left_out | {span.end for span in self._spans.values()}

    async def _plan(self, now: datetime) -> list[Span]:
        # Queues the spans to read. Returns the last one with a later end, if no call is new.
        since = self._options.since
        if since is not None:
            await self._give_up(since)
        known = [self._spans[start] for start in self._starts]
        last = known[-1] if known else None
        if last is None and since is not None and since >= now:
            raise ValueError("since lies in the future: give the time from which the table holds calls")
        begin = since if last is None else last.end
        assert begin is not None  # noqa: S101 - a new table has `since`
        new = Span(start=begin, end=now, count=0, read_at=now) if begin < now else None
        oldest = now - self._options.lookback
        scope = [span for span in known if span.count is None or span.end > oldest]
        changed = await self._find_changed([*scope, *([new] if new else [])])
        if known and since is not None and since < known[0].start:
            await self._add([since], known[0].start)
        # A small last span is read together with new time.
        is_joined = new is not None and last is not None and self._is_small(last) and last.start not in self._lost
        joined = last if is_joined else None
        extended: list[Span] = []
        if new is not None and new in changed:
            is_changed = joined in changed
            changed = [span for span in changed if span not in (new, joined)]
            starts = [begin] if joined is None else [joined.start, begin]
            # After a gap only where the caller says so, and the vendor has deleted what would be in it.
            start = await self._add([*starts, *([since] if since is not None and begin < since < now else [])], now)
            if is_changed and joined is not None and start != joined.start:
                changed.append(joined)
        elif new is not None:
            # Also a small last span whose own calls have changed: each such run would leave another span behind.
            is_extended = last is not None and (is_joined or last not in changed) and last.start not in self._lost
            if last is not None and is_extended and now - last.start <= MAX_SPAN:
                new = replace(last, end=now)
                changed = [new if span == last else span for span in changed]
            extended = [new]
            self._keep([new])
        for span in [*changed, *self._find_due(scope, now)]:
            self._queue[span.start] = self._spans[span.start]  # its end may be later now
            self._estimates[span.start] = span.count or 0
        self._tally["counted"] = sum(span.start not in self._queue and span.start not in self._lost for span in scope)
        return [span for span in extended if span.start not in self._queue]  # others are committed with their rows

    async def _give_up(self, since: datetime) -> None:
        # Time that was planned, never proven, and deleted by the vendor is left out if the caller says so.
        for span in [self._spans[start] for start in self._starts if start < since]:
            if span.count is not None:
                continue
            try:
                await self._reader.plan_pieces(span.start, span.end)
            except OutOfTimeRangeError:
                gap = replace(span, end=span.start)
                if since < span.end:
                    await self._add([since], span.end, with_span=gap)
                else:
                    await self._commit(spans=[gap])
                del self._spans[span.start]
                self._keep(())

    def _is_small(self, span: Span) -> bool:
        return (span.count or 0) < (self._options.small_rows or SMALL_ROWS) and span.end - span.start < _DAY

    def _find_due(self, spans: Iterable[Span], now: datetime) -> list[Span]:
        # The spans whose last reading is longest ago.
        if self._options.reread_after is None:
            return []
        latest = now - self._options.reread_after
        due: list[Span] = []
        rows = 0
        for span in sorted(spans, key=lambda span: span.read_at or now):
            if rows >= self._options.reread_rows or (span.read_at or now) > latest:
                break
            due.append(span)
            rows += span.count or 0
        return due

    async def _find_changed(self, spans: Sequence[Span]) -> list[Span]:
        if self._options.deep:
            return [*spans]
        counted = [span for span in spans if span.count is not None and span.end - span.start < WIDEST - SECOND]
        changed = [span for span in spans if span not in counted]
        for stretch in join_stretches(counted):
            kept = stretch
            while kept:
                try:
                    changed += await self._reader.find_changed(kept, has_left=kept[0].start in self._ends)
                    break
                except OutOfTimeRangeError as error:
                    lost, kept = kept, self._drop_lost(kept, error)
                    # New time is not left out without a word: reading it ends the run.
                    changed += [span for span in lost if span not in kept and span.start not in self._spans]
        return changed

    def _drop_lost(self, spans: Sequence[Span], error: OutOfTimeRangeError) -> list[Span]:
        # Spans before the retention boundary are left as they are.
        boundary = error.available_from
        lost = {span.start for span in spans if boundary is None or span.start < boundary + _BOUNDARY_MARGIN}
        if not lost:
            raise error
        known = lost & self._spans.keys()
        self._lost |= known
        # What was planned and never proven is a gap now.
        gaps = {start for start in known if self._spans[start].count is None}
        self._unproven |= gaps
        self._tally["deleted"] += len(gaps)
        return [span for span in spans if span.start not in lost]

    async def _add(self, starts: Sequence[datetime], end: datetime, *, with_span: Span | None = None) -> datetime:
        # Plans new time from the first of `starts` on that the vendor still keeps, and returns that one. The plan is
        # committed first, so that a kill leaves no hole, in whatever order spans are read.
        spans: list[Span] = []
        for start in starts:
            try:
                planned = await self._reader.plan_pieces(start, end)
            except OutOfTimeRangeError as error:
                if start == starts[-1]:
                    error.add_note("to leave out what the vendor has deleted, sync with a later since")
                    raise
                continue
            cut = [
                (cut_span(begin, until, rows, span_rows=self._options.span_rows), rows)
                for begin, until, rows in planned
            ]
            spans = [span for pieces, _ in cut for span in pieces]
            # A span of the table grows or stays: cut up, it would own rows that its pieces do not list.
            if len(spans) == 1 or start not in self._spans:
                self._estimates |= {span.start: -(-rows // len(pieces)) for pieces, rows in cut for span in pieces}
                break
        self._queue |= {span.start: span for span in spans}
        self._keep(spans)
        await self._commit(spans=spans if with_span is None else [with_span, *spans])
        return spans[0].start

    async def _sync_chunk(self) -> None:
        chunk = take_chunk(sorted(self._queue.values(), key=_start), self._estimates)
        self._take(chunk)
        found = await self._compare(await self._read(chunk))
        if suspicious := self._find_suspicious(found):
            count, window = self._measure(suspicious, found)
            seconds = self._options.recheck_seconds
            delay = RECHECK_SECONDS if seconds is None else seconds
            self._reader.announce_recheck(window, rows=count, delay=delay)
            await self._pause(delay)
            found = await self._compare(await self._read([reading.span for reading in found.readings]))
            if not self._options.believe_recheck and (suspicious := self._find_suspicious(found)):
                raise self._describe_suspicious(suspicious, found)
        await self._apply(found)

    def _take(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._queue.pop(span.start, None)

    async def _read(self, spans: Iterable[Span]) -> list[Reading]:
        # Returns the readings of spans that could be proven.
        readings: list[Reading] = []
        for stretch in join_stretches(sorted(spans, key=_start), widest=timedelta.max):
            kept = stretch
            while kept:
                try:
                    readings += await self._reader.read(kept, has_left=kept[0].start in self._ends)
                    break
                except OutOfTimeRangeError as error:
                    kept = self._drop_lost(kept, error)
                except IncompleteRangeError:
                    # One of the spans cannot be proven: the others may be.
                    if len(kept) == 1:
                        self._unproven.add(kept[0].start)
                        break
                    for span in kept:
                        if self._is_hopeless and not readings:
                            self._unproven.add(span.start)
                        else:
                            readings += await self._read([span])
                    break
        return readings

    async def _compare(self, readings: list[Reading]) -> _Comparison:
        # Spans take in their neighbours, if a row may be listed there now.
        while True:
            found = await run_in_thread(self._compare_held, readings)
            wanted = self._find_neighbours(found)
            if not wanted or sum(len(reading.rows) for reading in readings) > _MAX_GROUP:
                return found
            self._take(wanted)
            readings = [*readings, *await self._read(wanted)]

    def _compare_held(self, readings: list[Reading]) -> _Comparison:
        starts = [reading.span.start for reading in readings]
        rows = [row for reading in readings for row in reading.rows]
        held = self._target.held(starts, {row.values[0] for row in rows})
        live = Counter(row.span_start for row in held if not row.has_vanished)
        partly_read = [reading.span.start for reading in readings if reading.quarantined]
        return _Comparison(readings, compare_rows(held, rows, starts, partly_read=partly_read), live)

    def _find_neighbours(self, found: _Comparison) -> list[Span]:
        starts = set(found.difference.contested) & self._spans.keys()
        for row in found.difference.vanished:
            starts |= {span.start for span in self._near(row)}
        read = {reading.span.start for reading in found.readings}
        starts -= read | self._done | self._unproven | self._lost
        return [self._spans[start] for start in sorted(starts)]

    def _near(self, row: HeldRow) -> Iterator[Span]:
        # Yields the neighbours of a row's span that may list the row.
        times = [row.values[index] for index in _TIMES if row.values[index] is not None]
        position = bisect_left(self._starts, row.span_start)
        for start in [*self._starts[max(0, position - 1) : position], *self._starts[position + 1 : position + 2]]:
            span = self._spans[start]
            if not times or any(span.start - _NEAR <= time <= span.end + _NEAR for time in times):
                yield span

    def _find_suspicious(self, found: _Comparison) -> list[datetime]:
        if self._options.allow_mass_vanish or self._options.on_vanished == "keep":
            return []
        vanished = Counter(row.span_start for row in found.difference.vanished)
        starts = sorted(vanished)
        # Few calls make short spans, none of which may lose more than the limit although all of them are empty.
        if _is_suspicious(vanished.total(), sum(found.live[reading.span.start] for reading in found.readings)):
            return starts
        return [start for start in starts if _is_suspicious(vanished[start], found.live[start])]

    def _measure(self, starts: Sequence[datetime], found: _Comparison) -> tuple[int, TimeWindow]:
        # Returns how many rows would vanish from spans, and the window that holds them.
        count = sum(row.span_start in starts for row in found.difference.vanished)
        return count, TimeWindow(starts[0], self._spans[starts[-1]].end)

    def _describe_suspicious(self, starts: Sequence[datetime], found: _Comparison) -> IncompleteRangeError:
        count, window = self._measure(starts, found)
        return IncompleteRangeError(
            f"{count:,} of {sum(found.live[start] for start in starts):,} rows would vanish, also after a second"
            " reading; nothing was changed for them: ask the vendor, or accept it with allow_mass_vanish=True",
            window=window,
        )

    async def _apply(self, found: _Comparison) -> None:
        difference = found.difference
        read = {reading.span.start for reading in found.readings}
        undecided = {
            row.key
            for row in difference.vanished
            if any(span.start not in read | self._done | self._lost for span in self._near(row))
        }
        held_back = {row.span_start for row in difference.vanished if row.key in undecided}
        vanished = [row.key for row in difference.vanished if row.key not in undecided]
        spans = [
            replace(reading.span, count=None)
            if reading.quarantined or reading.span.start in held_back
            else reading.span
            for reading in found.readings
        ]
        self._keep(spans)
        self._done |= read
        await self._commit(spans=spans, difference=difference, vanished=vanished)
        self._tally.update(
            added=len(difference.added),
            changed=len(difference.changed),
            vanished=len(vanished),
            unchanged=difference.unchanged,
            quarantined=sum(reading.quarantined for reading in found.readings),
        )

    async def _commit(
        self, *, spans: Sequence[Span], difference: Difference | None = None, vanished: Sequence[Key] = ()
    ) -> None:
        if self._options.dry_run:
            return
        difference = difference or Difference()
        assert self._owner is not None  # noqa: S101 - see _open
        batch = Batch(
            version=self._version,
            owner=self._owner,
            at=datetime.now(UTC),
            upserts=[*difference.added, *difference.changed],
            vanished=vanished if self._options.on_vanished == "mark" else (),
            deleted=vanished if self._options.on_vanished == "delete" else (),
            moved=difference.moved,
            spans=spans,
            certified_until=self._certified_until(),
            checked_at=self._checked_at,
        )
        await self._make(batch)
        self._version += 1

    async def _commit_to_target(self, batch: Batch) -> None:
        await run_in_thread(self._target.commit, batch)

    def _certified_until(self) -> datetime | None:
        # A span that is known to have changed is not certified before it was read.
        doubtful = self._queue.keys() | self._unproven
        known = (self._spans[start] for start in self._starts)
        until = certified_until(replace(span, count=None) if span.start in doubtful else span for span in known)
        # Not beyond now: the vendor's clock may have been ahead once.
        return until and min(until, self._checked_at)


def _start(span: Span) -> datetime:
    return span.start


def _is_suspicious(vanished: int, live: int) -> bool:
    return vanished > _SUSPICIOUS_ROWS and vanished > live * _SUSPICIOUS_SHARE
