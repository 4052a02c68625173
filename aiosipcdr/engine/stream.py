"""Stream: the calls of a range, window by window in order, while the rest of the range is read.

Keeps no record after the caller has taken the next one. A slow caller slows the run down, since the windows in memory
are limited.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from aiosipcdr.engine.engine import Engine
from aiosipcdr.engine.run import Run
from aiosipcdr.events import Event, EventHook, EventKind
from aiosipcdr.model.arrow import record_batches, schema
from aiosipcdr.model.errors import ClientStateError, IncompleteRangeError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import CallDetailRecords, CompleteWindow, FetchReport, report_window
from aiosipcdr.proof.checkpoint import JournalEvent
from aiosipcdr.proof.range import RangeReader

__all__ = ["CdrStream", "read_entries"]


T = TypeVar("T")
W = TypeVar("W")


class _Reader(Generic[W, T]):
    """Iterator over the parts of windows. Not an async generator: abandoned, that would need `aclose`."""

    __slots__ = ("_next_window", "_parts", "_split")

    def __init__(self, next_window: Callable[[], Awaitable[W | None]], split: Callable[[W], Iterable[T]]) -> None:
        self._next_window = next_window
        self._split = split
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
                # Raised by the caller's hook or credentials; passed on, it would look like the end of the range.
                raise RuntimeError("a hook or a callable for credentials raised StopAsyncIteration") from error
            if window is None:
                raise StopAsyncIteration
            self._parts = iter(self._split(window))


class CdrStream:
    """The calls of a range, oldest window first; an async context manager that is read once.

        async with client.stream(start, end) as stream:
            async for record in stream:
                print(record.voice_id)
        print(stream.report)

    Within a window records are ordered by (`submit_time`, `None` last, `voice_id`). Leaving the context ends the run.
    Reading raises the errors of `CdrClient.fetch_all`.
    """

    def __init__(self, engine: Engine, reader: RangeReader, hook: EventHook | None) -> None:
        """Create a stream; nothing is sent before the context is entered."""
        self._engine = engine
        self._reader = reader
        self._hook = hook
        # Only between entering and leaving: the traceback of an error that ended the run may keep this stream.
        self._run: Run | None = None
        self._is_entered = False
        self._is_claimed = False
        self._final: FetchReport | None = None
        # Requests, retries and time of an earlier run that this one resumes.
        self._before = reader.report

    @property
    def report(self) -> FetchReport:
        """The report as of now; final after the last record."""
        return self._final or self._reader.report

    async def __aenter__(self) -> Self:
        """Start the run."""
        if self._is_entered:
            raise ClientStateError("a stream is read once: open another one")
        self._reader.join()
        try:
            self._run = self._engine.start(self._reader, records=self.report.unique or None)
        except BaseException:  # raised by the caller's hook
            self._reader.leave()
            raise
        self._is_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run and wait until its requests have stopped."""
        run, self._run = self._run, None
        if run is not None:
            if self._engine.is_here:
                self._note_effort(run)
            self._reader.leave()
            self._final = self._reader.report
            if isinstance(run.error, IncompleteRangeError):
                run.error.report = run.error.records.report = self._final
            await self._engine.finish(run, self._final)

    def windows(self) -> AsyncIterator[CompleteWindow]:
        """Return an iterator over the windows, each with its report and its quarantined records.

        For example:

            async for window in stream.windows():
                print(window.window, window.report.certified)
        """
        return self._read(lambda window: (window,))

    def batches(self) -> AsyncIterator[CallDetailRecords]:
        """Return an iterator over the records of each window; empty windows are skipped.

        For example:

            async for batch in stream.batches():
                await store(batch)
        """
        return self._read(lambda window: (_batch(window),) if window.records else ())

    def arrow_batches(self, columns: Sequence[str] | None = None) -> AsyncIterator[Any]:
        """Return an iterator over the records of each window as a `pyarrow.RecordBatch`; empty windows are skipped.

        For example:

            async for batch in stream.arrow_batches(["voice_id", "cost", "currency"]):
                writer.write_batch(batch)

        The batches have the schema of exported Parquet files. Only the columns asked for are built.

        Args:
            columns: Field names of `CallDetailRecord`, in the order of the columns; by default all.

        Raises:
            ImportError: The extra `arrow` is not installed.
            ValueError: `columns` is empty, has a name twice, or has one that is not a field of a record.
        """
        schema(columns)  # refuses names before anything is read
        return self._read(lambda window: record_batches(window.records, columns))

    def __aiter__(self) -> AsyncIterator[CallDetailRecord]:
        """Return an iterator over the records."""
        return self._read(lambda window: window.records)

    def _read(self, split: Callable[[CompleteWindow], Iterable[T]]) -> "_Reader[CompleteWindow, T]":
        self._claim()
        return _Reader(self._next_window, split)

    def _claim(self) -> None:
        if not self._is_entered:
            raise ClientStateError("enter the stream first: async with client.stream(...) as stream")
        if self._is_claimed:
            # A second iterator would miss the rest of the window that the first one has taken.
            raise ClientStateError("a stream is read once: go on with the iterator that began, or open another stream")
        self._is_claimed = True

    async def _next_entry(self) -> JournalEvent | CompleteWindow | None:
        reader = self._reader
        if (event := reader.take_event()) is not None:
            return event
        self._engine.wake()  # the parts of a split that was written may be requested now
        if self._run is not None:
            await self._run.wait()
        if (event := reader.take_event()) is not None:
            return event
        return await self._next_window()

    async def _next_window(self) -> CompleteWindow | None:
        run, reader = self._run, self._reader
        if run is None:
            raise ClientStateError("this stream was left: open another one")
        try:
            await run.wait()
            # Windows that were proven before an error are delivered before it is raised.
            window = reader.take_complete()
            self._note_effort(run)
            if reader.mismatch is not None:
                run.fail(reader.mismatch)
                reader.mismatch = None
                run.check()
            if window is None:
                if isinstance(run.error, IncompleteRangeError):
                    run.error.records = reader.abandon()
                    run.error.report = run.error.records.report
                run.check()
            self._engine.wake()  # another window may begin
            if self._hook is not None:
                run.call(self._emit, run.number, window)
            return window
        finally:
            del run  # see `Run.check`

    def _emit(self, run: int, window: CompleteWindow | None) -> None:
        hook, planned = self._hook, self._reader.planned
        if hook is None:
            return
        while planned:
            tile, total = planned.popleft()
            hook(Event(kind=EventKind.WINDOW_PLANNED, run=run, window=tile, total=total))
        if window is not None:
            records, total = len(window.records), window.report.total
            hook(Event(kind=EventKind.WINDOW_COMPLETE, run=run, window=window.window, records=records, total=total))

    def _note_effort(self, run: Run) -> None:
        progress = self._reader.progress
        progress.requests = self._before.requests + run.requests
        progress.retries = self._before.retries + run.retries
        progress.elapsed = self._before.elapsed + run.elapsed


def _batch(window: CompleteWindow) -> CallDetailRecords:
    batch = CallDetailRecords(window.records, report=report_window(window))
    batch.quarantined = window.quarantined
    return batch


def read_entries(stream: CdrStream) -> AsyncIterator[JournalEvent | CompleteWindow]:
    """Return an iterator over the windows and the journal events before them, for an export.

    When the next entry is requested, the last one counts as written.
    """
    stream._claim()  # noqa: SLF001
    reader: _Reader[JournalEvent | CompleteWindow, JournalEvent | CompleteWindow]
    reader = _Reader(stream._next_entry, lambda entry: (entry,))  # noqa: SLF001
    return reader
