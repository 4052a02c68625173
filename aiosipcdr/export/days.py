"""Export of one file per day of a time zone: the days, their files and the outcome of each.

Decides from manifests, hashes and counts which days to write; the client reads the calls.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from os import PathLike
from pathlib import Path
from typing import Any

import anyio
from msgspec.structs import replace

from aiosipcdr.export.existing import ExistingFile
from aiosipcdr.export.exporter import Exporter
from aiosipcdr.export.job import FileWouldShrinkError
from aiosipcdr.export.manifest import Manifest, TileCount
from aiosipcdr.export.paths import DayFile, day_paths
from aiosipcdr.model.errors import (
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    OutOfTimeRangeError,
    SipCdrError,
)
from aiosipcdr.model.query import Query
from aiosipcdr.model.report import DayOutcome, DayReport, DaysReport, FetchReport
from aiosipcdr.model.windows import days_of

__all__ = ["DaysExport"]


DayWriter = Callable[[DayFile], Awaitable[DayReport | None]]
"""Writes the file of a day; returns `None` if the day has not begun by the vendor's clock."""


class DaysExport:
    """Writes the files of days, oldest first; an error with one day does not stop the others."""

    def __init__(
        self,
        exporter: Exporter,
        query: Query,
        zone: tzinfo,
        path: str | PathLike[str],
        *,
        sidecars: str | PathLike[str] | None = None,
        recheck: timedelta = timedelta(0),
        on_day: Callable[[DayReport], object] | None = None,
    ) -> None:
        """Plan the days of a range: see `CdrClient.export_days`.

        Args:
            exporter: Writes one file.
            query: The range of all days, from the first instant of the first to the last of the last.
            zone: The time zone of the days.
            path: The file of a day, see `day_paths`.
            sidecars: The folder of the sidecars, see `day_paths`.
            recheck: Finished days that ended within this time are counted again.
            on_day: Is called with each day as soon as it is done.

        Raises:
            ValueError: The query or an option cannot be used for these files.
            ClientStateError: The client is not open here.
        """
        self._exporter = exporter
        self._query = query
        self._files = [
            DayFile(day, day_paths(path, day.date, sidecars)) for day in days_of(query.start, query.end, zone)
        ]
        self._recheck_from = datetime.now(UTC) - recheck if recheck else None
        self._on_day = on_day
        self._waiting = iter(self._files)
        self._done: list[DayReport] = []
        self._problems: dict[date, SipCdrError] = {}
        for file in self._files[:1]:  # bad arguments are refused before any request
            exporter.plan(self._query_of(file), file.paths)

    def __len__(self) -> int:
        """Return the number of days."""
        return len(self._files)

    async def run(self, writers: Sequence[DayWriter] = ()) -> DaysReport:
        """Write all days, once.

        Args:
            writers: Write one day each at the same time; by default the days are written one by one, in this process.

        Raises:
            IncompleteRangeError, ExportConflictError, JournalDamagedError: A day cannot be written. The error of the
                first such day is raised after all other days are done.
            SipCdrError: Any other error, raised at once.
        """
        if writers:
            await _run_all([self._write_days(write) for write in writers])
        else:
            await self._write_days(self._write)
        if self._problems:
            problems, self._problems = self._problems, {}
            try:
                raise problems[min(problems)]
            finally:
                del problems  # its traceback keeps this frame
        return DaysReport(days=sorted(self._done, key=lambda day: day.date))

    async def _write_days(self, write: DayWriter) -> None:
        for file in self._waiting:
            if not await self._exporter.has_begun(file.day.start):
                break
            try:
                report = await write(file)
            except (IncompleteRangeError, ExportConflictError, JournalDamagedError) as error:
                self._problems[file.day.date] = error
                continue
            if report is None:
                break
            self._done.append(report)
            if self._on_day is not None:
                self._on_day(report)

    async def _write(self, file: DayFile) -> DayReport:
        existing = await self._exporter.inspect(self._query_of(file), file.paths)
        is_outdated, count = False, None
        # A journal beside a finished file: a run was killed before removing it, or while reading the day again.
        is_finished = existing.state == "finished" and not file.paths.journal.exists()
        if is_finished and existing.manifest is not None:
            count = await self._recount(file, existing)
            before = sum(tile.count for tile in _own_tiles(file, existing.manifest))
            is_outdated = count is not None and count > before
            if not is_outdated:
                outcome: DayOutcome = "shrunk" if count is not None and count < before else "unchanged"
                return _describe(file, outcome, existing.manifest.as_report(), count)
        outcome = "written" if existing.state == "absent" else "rewritten"
        try:
            with _folder_of(file.paths.target):
                report = await self._export(file, existing, is_outdated=is_outdated)
        except OutOfTimeRangeError:
            earlier = None if existing.manifest is None else existing.manifest.as_report()
            return _describe(file, "expired", earlier, count)
        except FileWouldShrinkError:
            assert existing.manifest is not None  # noqa: S101 - the existing file has more calls
            return _describe(file, "shrunk", existing.manifest.as_report(), count)
        return _describe(file, outcome, report, count)

    async def _export(self, file: DayFile, existing: ExistingFile, *, is_outdated: bool) -> FetchReport:
        query = self._query_of(file)
        try:
            return await self._exporter.export(query, file.paths, is_outdated=is_outdated)
        except OutOfTimeRangeError as error:
            # A file that exists is never replaced by one with a gap: the vendor keeps less each day.
            may_skip = self._query.skip_out_of_range and existing.state == "absent"
            if not may_skip or error.available_from is None:
                raise
        return await self._exporter.export(replace(query, on_out_of_range="skip"), file.paths)

    def _query_of(self, file: DayFile) -> Query:
        return replace(self._query, start=file.day.start, end=file.day.end, on_out_of_range="raise")

    async def _recount(self, file: DayFile, existing: ExistingFile) -> int | None:
        if self._recheck_from is None or file.day.end <= self._recheck_from or existing.manifest is None:
            return None
        tiles = [tile.window for tile in _own_tiles(file, existing.manifest)]
        with suppress(OutOfTimeRangeError):
            return await self._exporter.count(self._query, tiles) if tiles else None
        return None


async def _run_all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    # The first error is raised when all of them have stopped.
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks)


def _own_tiles(file: DayFile, manifest: Manifest) -> list[TileCount]:
    # Excludes the second that overlaps the day before.
    return [tile for tile in manifest.tiles if tile.window.end > file.day.start]


def _describe(file: DayFile, outcome: DayOutcome, report: FetchReport | None, count: int | None) -> DayReport:
    return DayReport(date=file.day.date, path=str(file.paths.target), outcome=outcome, report=report, count=count)


@contextmanager
def _folder_of(target: Path) -> Iterator[None]:
    # If the day cannot be written, a new empty folder is removed.
    is_new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # not empty: it holds the journal
                target.parent.rmdir()
        raise
