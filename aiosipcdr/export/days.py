"""A file for each day of a time zone: which days, which files, and what has become of each.

Decides by manifests, hashes and counts what is to be done about a day; reading the calls is up to the export.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, NamedTuple

from aiosipcdr.export.existing import ExistingFile
from aiosipcdr.export.job import FileWouldShrinkError
from aiosipcdr.export.manifest import Manifest, TileCount
from aiosipcdr.export.paths import ExportPaths
from aiosipcdr.model.errors import (
    ExportConflictError,
    IncompleteRangeError,
    JournalDamagedError,
    OutOfTimeRangeError,
    SipCdrError,
)
from aiosipcdr.model.report import DayOutcome, DayReport, DaysReport, FetchReport
from aiosipcdr.model.windows import Day, TimeWindow

__all__ = ["PLACEHOLDER", "DayFile", "DayTools", "DaysExport", "name_day"]

PLACEHOLDER = "{date}"
"""Replaced by the date in the path of a day."""


class DayFile(NamedTuple):
    """A day of a zone, from its first instant to the first of the next, and the files of its calls."""

    day: Day
    paths: ExportPaths


def name_day(path: str | PathLike[str], day: date, sidecars: str | PathLike[str] | None = None) -> ExportPaths:
    """Return the files of a day.

    Args:
        path: The file, with `{date}` anywhere in it; without, the date is put before the extension: `calls.csv.gz`
            becomes `calls-2026-10-01.csv.gz`, with its sidecars under their usual names.
        day: The date.
        sidecars: The folder of the sidecars; a day that has a folder of its own has one there too.
    """
    text = fspath(path)
    in_dataset = PLACEHOLDER in text
    if not in_dataset:
        name = Path(text).name
        dots = name[: len(name) - len(name.lstrip("."))]  # of a hidden file
        stem, *extensions = name.lstrip(".").split(".")
        text = str(Path(text).with_name(dots + ".".join([f"{stem}-{PLACEHOLDER}", *extensions])))
    target = Path(text.replace(PLACEHOLDER, str(day)))
    dated = [number for number, part in enumerate(Path(text).parent.parts) if PLACEHOLDER in part]
    if sidecars is None:
        return ExportPaths.in_dataset(target) if in_dataset else ExportPaths.sidecar_path(target)
    folder = Path(fspath(sidecars).replace(PLACEHOLDER, str(day)))
    return ExportPaths.apart(target, folder.joinpath(*target.parent.parts[dated[0] :]) if dated else folder)


class DayTools(NamedTuple):
    """What the export of days needs of a client.

    Attributes:
        judge: Compares the file of a day with what is asked for.
        export: Exports a day, with what to do about calls that are out of range.
        reread: Exports a day again although its file is finished.
        recount: Counts the calls in windows again.
        has_begun: Tells whether a day has begun, by the vendor's clock.
    """

    judge: Callable[[DayFile], Awaitable[ExistingFile]]
    export: Callable[[DayFile, Literal["raise", "skip"]], Awaitable[FetchReport]]
    reread: Callable[[DayFile], Awaitable[FetchReport]]
    recount: Callable[[Sequence[TimeWindow]], Awaitable[int]]
    has_begun: Callable[[Day], Awaitable[bool]]


class DaysExport:
    """Writes the files of days, oldest first; trouble with one does not keep the others waiting."""

    def __init__(
        self,
        files: Sequence[DayFile],
        tools: DayTools,
        *,
        recheck_from: datetime | None,
        skip_out_of_range: bool,
        on_day: Callable[[DayReport], object] | None,
    ) -> None:
        """Remember what is to be done.

        Args:
            files: The days, oldest first.
            tools: What the client does.
            recheck_from: Finished days that end later are counted again; `None`: none is.
            skip_out_of_range: Write what the vendor keeps of a day of which it has deleted a part.
            on_day: Is called with each day as soon as it is done.
        """
        self._files = files
        self._tools = tools
        self._recheck_from = recheck_from
        self._skip = skip_out_of_range
        self._on_day = on_day

    async def run(self) -> DaysReport:
        """Write them all.

        Raises:
            IncompleteRangeError, ExportConflictError, JournalDamagedError: A day cannot be written; the first of these
                is raised when all other days are done.
            SipCdrError: No day could be written; raised at once.
        """
        done: list[DayReport] = []
        problem: SipCdrError | None = None
        for file in self._files:
            if not await self._tools.has_begun(file.day):
                break
            try:
                report = await self._write(file)
            except (IncompleteRangeError, ExportConflictError, JournalDamagedError) as error:
                problem = problem or error
                continue
            done.append(report)
            if self._on_day is not None:
                self._on_day(report)
        if problem is not None:
            raise problem
        return DaysReport(days=done)

    async def _write(self, file: DayFile) -> DayReport:
        existing = await self._tools.judge(file)
        is_outdated, count = False, None
        # A journal beside a finished file is left by a run that was killed before removing it, or while reading again.
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
            kept = None if existing.manifest is None else existing.manifest.as_report()
            return _describe(file, "expired", kept, count)
        except FileWouldShrinkError:
            assert existing.manifest is not None  # noqa: S101 - it is larger
            return _describe(file, "shrunk", existing.manifest.as_report(), count)
        return _describe(file, outcome, report, count)

    async def _export(self, file: DayFile, existing: ExistingFile, *, is_outdated: bool) -> FetchReport:
        try:
            return await (self._tools.reread(file) if is_outdated else self._tools.export(file, "raise"))
        except OutOfTimeRangeError as error:
            # A file that is there is never replaced by one with a gap: the vendor keeps less each day.
            if not self._skip or existing.state != "absent" or error.available_from is None:
                raise
        return await self._tools.export(file, "skip")

    async def _recount(self, file: DayFile, existing: ExistingFile) -> int | None:
        if self._recheck_from is None or file.day.end <= self._recheck_from or existing.manifest is None:
            return None
        tiles = [tile.window for tile in _own_tiles(file, existing.manifest)]
        with suppress(OutOfTimeRangeError):
            return await self._tools.recount(tiles) if tiles else None
        return None


def _own_tiles(file: DayFile, manifest: Manifest) -> list[TileCount]:
    # Without the second that is shared with the day before.
    return [tile for tile in manifest.tiles if tile.window.end > file.day.start]


def _describe(file: DayFile, outcome: DayOutcome, report: FetchReport | None, count: int | None) -> DayReport:
    return DayReport(date=file.day.date, path=str(file.paths.target), outcome=outcome, report=report, count=count)


@contextmanager
def _folder_of(target: Path) -> Iterator[None]:
    # A day that cannot be written leaves no empty folder.
    is_new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # the journal is in it
                target.parent.rmdir()
        raise
