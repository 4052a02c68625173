"""Follower: polls the vendor and hands changes to the caller.

Each poll is one run of the synchronizer. Its batches are handed over before they are stored: a change is yielded again
if the process is killed before it was acknowledged.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, Self

import anyio
import msgspec

from aiosipcdr.engine.engine import run_numbers
from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.events import Event, EventKind
from aiosipcdr.model.arguments import check_choice, check_seconds, check_span
from aiosipcdr.model.changes import Change
from aiosipcdr.model.errors import (
    AuthenticationError,
    ClientStateError,
    ExportConflictError,
    ExportError,
    FilterIgnoredError,
    IncompleteRangeError,
    InvalidQueryError,
    OutageError,
    OutOfTimeRangeError,
    RestrictedAddressError,
    SchemaMismatchError,
    SipCdrError,
    TransportError,
)
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import TIME_FIELDS, TimeField
from aiosipcdr.model.sync import SyncReport
from aiosipcdr.model.windows import SECOND, ArgumentError, TimeWindow
from aiosipcdr.sync.checkpoints import Owner
from aiosipcdr.sync.feed.checkpoint import FeedCheckpoint
from aiosipcdr.sync.feed.handoff import Handoff
from aiosipcdr.sync.feed.reader import FeedReader
from aiosipcdr.sync.feed.target import FeedTarget
from aiosipcdr.sync.options import SyncOptions, read_since
from aiosipcdr.sync.owner import find_owner
from aiosipcdr.sync.synchronizer import Synchronizer
from aiosipcdr.sync.targets import Batch
from aiosipcdr.threads import run_in_thread
from aiosipcdr.wire.signing import Credentials

__all__ = ["ClientSource", "FeedOptions", "Follower", "Source"]

SPAN_ROWS = 200
"""About how many calls a span of a feed has: a late call costs the pages of one span."""

_SLICE = 500
"""Changes that are handed over before those that were acknowledged are stored."""

_LONGEST = timedelta(days=3650)
_SHORTEST_STEP = timedelta(hours=1)
_DAY = timedelta(days=1)
# This machine's clock may be ahead of the vendor's: a feed since then begins at the vendor's now.
_MOST_AHEAD = timedelta(hours=1)
_EARLIEST = datetime.min.replace(tzinfo=UTC)

_SLACK = 1 / 8
"""Spans before the lookback are dropped when they are this share of all spans: then the first span changes rarely, and
with it the second before it, which a quiet poll need not count again."""

_BOUNDARY_MARGIN = timedelta(minutes=1)
_LONGEST_WAIT = 300.0
_LONGEST_RECHECK = 60.0
_DEEP_ROWS = 5_000

# What no waiting mends.
_FINAL = (
    AuthenticationError,
    ClientStateError,
    ExportError,
    FilterIgnoredError,
    InvalidQueryError,
    RestrictedAddressError,
    SchemaMismatchError,
)


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a feed; see `CdrClient.follow`."""

    since: datetime | None = None
    every: float = 60.0
    lookback: timedelta = timedelta(hours=6)
    deep_every: timedelta = timedelta(hours=6)
    time_field: TimeField | None = None
    once: bool = False

    @classmethod
    def of(
        cls,
        *,
        since: datetime | None,
        every: float | timedelta,
        lookback: timedelta,
        deep_every: timedelta,
        time_field: TimeField | None,
        once: bool,
    ) -> Self:
        """Return the options of a caller's arguments.

        Raises:
            ValueError: One of them is invalid.
            ArgumentError: `since` is naive.
        """
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        check_seconds("every", seconds)
        check_span("lookback", lookback)
        check_span("deep_every", deep_every)
        if time_field is not None:
            check_choice("time_field", time_field, TIME_FIELDS)
        begin = read_since(since)
        if begin is not None and begin > datetime.now(UTC) + _MOST_AHEAD:
            raise ArgumentError("since lies in the future: give a time up to now, or none to begin now")
        return cls(
            since=begin,
            every=float(seconds),
            lookback=min(lookback, _LONGEST),
            deep_every=min(deep_every, _LONGEST),
            time_field=time_field,
            once=once,
        )


class Source(Protocol):
    """What a feed needs of a client."""

    def credentials(self) -> Credentials:
        """Return the account."""
        ...

    def build_reader(self, target: FeedTarget) -> FeedReader:
        """Return a reader that remembers its records in `target`."""
        ...

    def emit(self, kind: EventKind, **facts: Any) -> None:  # noqa: ANN401 - the fields of an event
        """Send an event to the hook."""
        ...


class ClientSource:
    """The `Source` of an open client."""

    def __init__(self, fetcher: Fetcher, filters: Filters, time_field: TimeField | None) -> None:
        """Use `fetcher`."""
        self._fetcher = fetcher
        self._filters = filters
        self._time_field = time_field
        self._number = next(run_numbers)

    def credentials(self) -> Credentials:
        """See `Source`."""
        return self._fetcher.session.credentials()

    def build_reader(self, target: FeedTarget) -> FeedReader:
        """See `Source`; raises `ClientStateError` if the client is not open here."""
        _ = self._fetcher.session.engine
        return FeedReader(self._fetcher, self._filters, self._time_field, target.remember)

    def emit(self, kind: EventKind, **facts: Any) -> None:  # noqa: ANN401 - the fields of an event
        """See `Source`."""
        self._fetcher.session.hook(Event(kind=kind, run=self._number, **facts))


class Follower:
    """Polls, and offers the changes that it finds.

    Attributes:
        last_poll: The report of the last poll that ended; `None` before.
    """

    def __init__(
        self,
        source: Source,
        filters: Filters,
        options: FeedOptions,
        checkpoint: Path | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is read or written before `open`.

        Args:
            source: The client.
            filters: Which calls are followed.
            options: The options.
            checkpoint: The file of the checkpoint; in memory without one.
            sleep: Waits for some seconds.
            monotonic: Returns seconds of a clock that never goes back.
        """
        self.last_poll: SyncReport | None = None
        self._source = source
        self._filters = filters
        self._options = options
        self._checkpoint = FeedCheckpoint(checkpoint)
        self._target = FeedTarget(self._checkpoint)
        self._sleep = sleep
        self._monotonic = monotonic
        self._since = options.since
        self._owner: Owner | None = None
        self._reader = source.build_reader(self._target)
        # A count that is too early costs nothing: the next poll counts every span again.
        self._reader.count_delay = timedelta(0)
        self._handoff: Handoff[Change] = Handoff()
        self._unproven_since: dict[datetime, float] = {}

    def open(self) -> None:
        """Open and lock the checkpoint; blocks.

        Raises:
            ExportConflictError: Another feed uses it, or it belongs to another account or other filters.
            JournalDamagedError: It is damaged.
            StorageError: It cannot be read or written.
        """
        state = self._checkpoint.open()
        credentials = self._source.credentials()
        owner = find_owner(credentials, self._filters, state.owner)
        if state.owner is not None and state.owner.account != owner.account:
            raise ExportConflictError(
                f"{self._checkpoint.path} is the checkpoint of another account, or of its former key and secret:"
                " choose another file"
            )
        if state.owner is not None and state.owner != owner:
            raise ExportConflictError(
                f"{self._checkpoint.path} is the checkpoint of other filters: follow the same group and phone, or"
                " choose another file"
            )
        self._owner = owner
        self._target.load(state, owner, credentials)

    def close(self) -> None:
        """Unlock and close the checkpoint; blocks; may be called again."""
        self._checkpoint.close()

    async def take(self) -> Change:
        """Acknowledge the last change, and return the next one."""
        return await self._handoff.take()

    async def run(self) -> None:
        """Poll until there is an error that no waiting mends, which `take` raises."""
        try:
            await self._follow()
        except Exception as error:  # noqa: BLE001 - raised by `take`
            self._handoff.end(error)
        finally:
            self._handoff.end()  # also for a task that still waits when another one leaves the feed

    async def _follow(self) -> None:
        failures = 0
        while True:
            began = self._monotonic()
            delay = 0.0
            try:
                report = await self._poll()
            except SipCdrError as error:
                if self._options.once or self._is_final(error):
                    raise
                failures += 1
                wait = min(max(self._options.every, 1.0) * 2 ** min(failures - 1, 9), _LONGEST_WAIT)
                delay = max(error.retry_after or 0.0, wait)
                self._source.emit(EventKind.FEED_WAITING, delay=delay, error=type(error).__name__)
            else:
                delay = max(0.0, self._options.every - (self._monotonic() - began))
                if report.unproven and self._reader.count_delay is not None:
                    self._reader.count_delay = None  # the counts may lag: from now on, wait for them
                    continue
                if report.unproven:
                    failures += 1
                    self._source.emit(EventKind.FEED_WAITING, delay=delay, error=IncompleteRangeError.__name__)
                elif failures:
                    failures = 0
                    self._source.emit(EventKind.FEED_RESUMED)
                if self._reader.is_behind and not report.unproven:
                    continue
                if self._options.once:
                    return
            await self._sleep(delay)

    def _is_final(self, error: SipCdrError) -> bool:
        if isinstance(error, _FINAL):
            return True
        if self.last_poll is not None or error.retryable or isinstance(error, IncompleteRangeError):
            return False
        # Before the first success, what looks like a wrong address or a wrong setting ends the feed.
        cause = error.__cause__ if isinstance(error, OutageError) else error
        if isinstance(cause, TransportError) and not cause.exists:
            return True
        return not (isinstance(error, OutageError) and isinstance(cause, SipCdrError) and cause.retryable)

    async def _poll(self) -> SyncReport:
        reader = self._reader
        reader.restart()
        spans = self._target.spans
        step = max(self._options.lookback, _SHORTEST_STEP)
        begin = max(span.end for span in spans.values()) if spans else self._since
        reader.limit = None if begin is None else begin + step
        now = await reader.read_clock()
        if self._since is None or self._since >= now:
            # Now, by the vendor's clock: the caller's may be ahead.
            self._since = now - SECOND
        rows = sum(span.count or 0 for span in spans.values())
        share = self._options.every / max(self._options.deep_every.total_seconds(), self._options.every)
        options = SyncOptions(
            since=None if spans else self._since,
            lookback=now - _EARLIEST,
            on_vanished="mark",
            time_field=self._options.time_field,
            span_rows=SPAN_ROWS,
            small_rows=SPAN_ROWS,
            reread_after=self._options.deep_every,
            reread_rows=max(_DEEP_ROWS, round(2 * rows * share)),
            recheck_seconds=min(self._options.every, _LONGEST_RECHECK),
            believe_recheck=True,
        )
        run = Synchronizer(
            reader,
            self._target,
            options,
            find_owner=lambda _: self._known_owner(),
            table="feed",
            pause=self._sleep,
            commit=self._commit,
        )
        try:
            self.last_poll = await run.run()
        except OutOfTimeRangeError as error:
            await self._skip_deleted(error)
            return await self._poll()
        # Not before: after a pause, late calls of the lookback of the last poll are found first. What is forgotten
        # is never read again, and a clock may be ahead once.
        await self._forget(min(now, reader.read_earlier_clock()), self.last_poll)
        return self.last_poll

    def _known_owner(self) -> Owner:
        assert self._owner is not None  # noqa: S101 - entered
        return self._owner

    async def _forget(self, now: datetime, report: SyncReport) -> None:
        oldest = now - self._options.lookback
        hopeless = self._find_hopeless(oldest, report)
        for window in await run_in_thread(self._target.give_up, hopeless):
            self._source.emit(EventKind.FEED_GAP, window=window)
        slack = 0.0 if hopeless else _SLACK
        await run_in_thread(self._target.forget_old, oldest, slack=slack)

    def _find_hopeless(self, oldest: datetime, report: SyncReport) -> list[datetime]:
        # Returns the starts of old spans that polls could not prove for a day or longer. A single poll gives them up
        # where it has proven others: then it is not the vendor's bad hour.
        patience = max(self._options.lookback, _DAY)
        now = self._monotonic()
        unproven = [span for span in self._target.spans.values() if span.count is None]
        self._unproven_since = {span.start: self._unproven_since.get(span.start, now) for span in unproven}
        longest = patience.total_seconds()
        return [
            span.start
            for span in unproven
            if span.end <= oldest - patience
            and (now - self._unproven_since[span.start] >= longest or (self._options.once and report.spans_read))
        ]

    async def _skip_deleted(self, error: OutOfTimeRangeError) -> None:
        # The vendor has deleted calls while no feed ran: the feed continues where they begin.
        spans = self._target.spans
        if not spans or error.available_from is None:
            raise error
        last = max(span.end for span in spans.values())
        boundary = error.available_from.astimezone(UTC).replace(microsecond=0) + _BOUNDARY_MARGIN
        if boundary <= last:
            raise error
        self._source.emit(EventKind.FEED_GAP, window=TimeWindow(last, boundary))
        await run_in_thread(self._target.restart_at, boundary)

    async def _commit(self, batch: Batch) -> None:
        planned = await run_in_thread(self._target.plan, batch)
        done = offered = 0
        while True:
            # What was acknowledged is stored together with what is yielded next: whether the caller has that is not
            # known after a kill.
            part = planned[done : done + _SLICE]
            with anyio.CancelScope(shield=True):
                await run_in_thread(self._target.apply, batch, planned[offered:done], part)
            if not part:
                return
            offered = done
            try:
                await self._handoff.offer([one.change for one in part])
            except BaseException:
                done += self._handoff.acknowledged
                with anyio.CancelScope(shield=True):
                    await run_in_thread(self._target.interrupt, batch, planned[offered:done])
                raise
            done += len(part)
