"""What a caller reads: the complete windows of a range, in order, as they come.

Holds no record longer than its caller takes to ask for the next; a slow caller
slows the fetching, since the plan starts no window while enough are waiting.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

from aiosipcdr.engine.engine import Engine
from aiosipcdr.engine.run import Run
from aiosipcdr.events import Event, EventHook, EventKind
from aiosipcdr.model.errors import ClientStateError, IncompleteRangeError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CallDetailRecords, CompleteWindow, FetchReport
from aiosipcdr.proof.checkpoint import JournalEvent
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.proof.resumable import ResumableCoverage

__all__ = ["CdrStream"]


T = TypeVar("T")
W = TypeVar("W")


class _Reader(Generic[W, T]):
    """Takes windows apart; a plain object, so that leaving it midway leaves nothing to clean up."""

    __slots__ = ("_next_window", "_parts", "_take_apart")

    def __init__(self, next_window: Callable[[], Awaitable[W | None]], take_apart: Callable[[W], Iterable[T]]) -> None:
        self._next_window = next_window
        self._take_apart = take_apart
        self._parts: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for part in self._parts:
                return part
            try:
                window = await self._next_window()
            except StopAsyncIteration as error:
                # Of the caller's hook or credentials: here it would pass for the end of the range.
                raise RuntimeError("a hook or a callable for credentials raised StopAsyncIteration") from error
            if window is None:
                raise StopAsyncIteration
            self._parts = iter(self._take_apart(window))


class CdrStream:
    """The calls of a range, oldest window first; an async context manager, read once.

    Within a window records are ordered by (`submit_time`, `None` last,
    `voice_id`).  Leaving the context ends the fetching, whatever was read.
    Reading raises what `CdrClient.fetch_all` raises.
    """

    def __init__(self, engine: Engine, reader: RangeReader, hook: EventHook | None) -> None:
        """Nothing is sent before the context is entered."""
        self._engine = engine
        self._coverage = reader
        self._hook = hook
        self._run: Run | None = None
        self._has_reader = False
        # What an earlier run has taken, where this one goes on.
        self._before = msgspec.structs.replace(reader.report)

    @property
    def report(self) -> FetchReport:
        """What is proven so far; final after the last record."""
        return self._coverage.report

    async def __aenter__(self) -> Self:
        """Begin to fetch."""
        if self._run is not None:
            raise ClientStateError("a stream is read once: open another one")
        self._coverage.join()
        try:
            self._run = self._engine.start(self._coverage, records=self.report.unique or None)
        except BaseException:  # of the caller's hook
            self._coverage.leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop fetching and wait until everything has stopped."""
        if self._run is not None:
            if self._engine.is_here:
                self._note_effort(self._run)
            self._coverage.leave()
            await self._engine.finish(self._run, self.report)

    def windows(self) -> AsyncIterator[CompleteWindow]:
        """Return an iterator over the windows, each with its report and what had to be set aside."""
        return self._read(lambda window: (window,))

    def batches(self) -> AsyncIterator[CallDetailRecords]:
        """Return an iterator over the records, a window at a time; empty windows are skipped."""
        return self._read(lambda window: (_batch(window),) if window.records else ())

    def entries(self) -> AsyncIterator[JournalEvent | CompleteWindow]:
        """Return an iterator over the windows and over what becomes of others before, for whoever writes it down.

        Asking for the next entry says that the last one is written.
        """
        self._claim()
        reader: _Reader[JournalEvent | CompleteWindow, JournalEvent | CompleteWindow]
        reader = _Reader(self._next_entry, lambda entry: (entry,))
        return reader

    def __aiter__(self) -> AsyncIterator[CallDetailRecord]:
        """Return an iterator over the records."""
        return self._read(lambda window: window.records)

    def _read(self, take_apart: Callable[[CompleteWindow], Iterable[T]]) -> "_Reader[CompleteWindow, T]":
        self._claim()
        return _Reader(self._next_window, take_apart)

    def _claim(self) -> None:
        if self._run is None:
            raise ClientStateError("enter the stream first: async with client.stream(...) as stream")
        if self._has_reader:
            # What the first reader holds of its window, a second would never see.
            raise ClientStateError("a stream is read once: go on with the iterator that began, or open another stream")
        self._has_reader = True

    async def _next_entry(self) -> JournalEvent | CompleteWindow | None:
        run, reader = self._run, self._coverage
        assert run is not None  # noqa: S101 - readers exist for streams that were entered
        if isinstance(reader, ResumableCoverage):
            if (note := reader.take_note()) is not None:
                return note
            self._engine.wake()  # what was written may be asked for now
            await run.wait()
            if (note := reader.take_note()) is not None:
                return note
        return await self._next_window()

    async def _next_window(self) -> CompleteWindow | None:
        run, reader = self._run, self._coverage
        assert run is not None  # noqa: S101 - readers exist for streams that were entered
        await run.wait()
        # What was proven before the trouble is handed over before it.
        window = reader.take_complete()
        self._note_effort(run)
        if reader.mismatch is not None:
            run.fail(reader.mismatch)
            run.check()
        if window is None:
            if isinstance(run.error, IncompleteRangeError):
                run.error.records = reader.abandon()
            run.check()
        self._engine.wake()  # a place for another window has become free
        if self._hook is not None:
            run.call(self._emit, run.number, window)
        return window

    def _emit(self, run: int, window: CompleteWindow | None) -> None:
        hook, planned = self._hook, self._coverage.planned
        if hook is None:
            return
        while planned:
            tile, total = planned.popleft()
            hook(Event(kind=EventKind.WINDOW_PLANNED, run=run, window=tile, total=total))
        if window is not None:
            records, total = len(window.records), window.report.total
            hook(Event(kind=EventKind.WINDOW_COMPLETE, run=run, window=window.window, records=records, total=total))

    def _note_effort(self, run: Run) -> None:
        report = self.report
        report.requests = self._before.requests + run.requests
        report.retries = self._before.retries + run.retries
        report.elapsed = self._before.elapsed + run.elapsed


def _batch(window: CompleteWindow) -> CallDetailRecords:
    reported = window.report
    report = FetchReport(
        total=reported.total,
        unique=reported.unique,
        duplicates=reported.duplicates,
        conflicts=reported.conflicts,
        quarantined=reported.quarantined,
        anomalies=reported.anomalies,
        windows=1,
        pages=reported.pages,
        requests=reported.requests,
        scans=reported.scans,
        provisional=int(reported.provisional),
        certified=reported.certified and not reported.quarantined,
        window_reports=[reported],
        unknown_fields=window.share.unknown_fields,
        faulty_fields=window.share.faulty_fields,
    )
    batch = CallDetailRecords(window.records, report=report)
    batch.quarantined = window.quarantined
    return batch
