"""One exported file after the other: plans it, resumes its journal, fetches what is missing and publishes it."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta, tzinfo
from os import PathLike
from typing import Literal, Self

import anyio.to_thread
import msgspec

from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.engine.stream import read_entries
from aiosipcdr.export.existing import ExistingFile, inspect_existing
from aiosipcdr.export.formats import choose_format
from aiosipcdr.export.formats.excel import MOST_ROWS, too_many_rows
from aiosipcdr.export.job import ExportJob
from aiosipcdr.export.masking import choose_mask
from aiosipcdr.export.paths import ExportPaths
from aiosipcdr.export.render import shape_records
from aiosipcdr.export.spec import ExportSpec
from aiosipcdr.model.arguments import check_zone
from aiosipcdr.model.errors import IncompleteRangeError, JournalDamagedError, OutOfTimeRangeError
from aiosipcdr.model.privacy import hide_arguments
from aiosipcdr.model.query import ExportFormat, IfExists, Query
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import FetchReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.checkpoint import Checkpoint, JournalQueue
from aiosipcdr.proof.range import RangeReader

__all__ = ["ExportOptions", "Exporter", "choose_paths"]


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How files are written: see `CdrClient.export`.

    Attributes:
        mask: Makes a number unrecognisable; `None` leaves numbers as they are.
    """

    format: ExportFormat | None
    if_exists: IfExists
    restart: bool
    relative: bool
    spreadsheet: bool
    mask: Callable[[str], str] | None
    mode: int | None
    lock: bool
    zone: tzinfo | None = None

    @classmethod
    @hide_arguments  # mask_numbers may be a key
    def of(
        cls,
        *,
        format: ExportFormat | None,  # noqa: A002 - the public name
        if_exists: IfExists,
        overwrite: bool,
        restart: bool,
        spreadsheet: bool,
        mask_numbers: Literal["mask"] | bytes | None,
        mode: int | None,
        lock: bool,
        relative: bool = False,
        tz: tzinfo | str | None = None,
    ) -> Self:
        """Return the options of a caller's arguments.

        Raises:
            ValueError: `mask_numbers` or `tz` cannot be used, or `overwrite` contradicts `if_exists`.
        """
        if overwrite and if_exists == "fail":
            raise ValueError('overwrite=True and if_exists="fail" exclude each other: give one of them')
        return cls(
            format=format,
            if_exists="replace" if overwrite else if_exists,
            restart=restart,
            relative=relative,
            spreadsheet=spreadsheet,
            mask=choose_mask(mask_numbers),
            mode=mode,
            lock=lock,
            zone=check_zone("tz", tz),
        )

    def __repr__(self) -> str:
        """Name the format only: the mask holds a key."""
        return f"ExportOptions({self.format})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("format", self.format)]


class Exporter:
    """Writes files of one client with the same options."""

    def __init__(self, fetcher: Fetcher, options: ExportOptions) -> None:
        """Use `fetcher`, whose session is open, with `options`."""
        self._fetcher = fetcher
        self._options = options

    def plan(self, query: Query, paths: ExportPaths, *, is_outdated: bool = False) -> ExportSpec:
        """Return what is to be written; `is_outdated` reads the range again even if its file is finished.

        Raises:
            ValueError: The query or an option cannot be used for this file.
            ClientStateError: The client is not open here.
        """
        options, session = self._options, self._fetcher.session
        return ExportSpec.plan(
            paths,
            query.start,
            query.end,
            query.filters,
            format=options.format,
            if_exists=options.if_exists,
            is_outdated=is_outdated,
            restart=options.restart,
            strict=self._fetcher.strict,
            time_field=query.time_field,
            assume_tz=None if session.assume_tz is None else str(session.assume_tz),
            adjacent=query.adjacent,
            is_relative=options.relative,
            spreadsheet=options.spreadsheet,
            mask=options.mask,
            credentials=session.credentials(),
            tiles=self._plan_reader(query, paths).tiles,
            mode=options.mode,
            lock=options.lock,
            zone=options.zone,
        )

    async def export(self, query: Query, paths: ExportPaths, *, is_outdated: bool = False) -> FetchReport:
        """Write the file of a query, or return the report of the finished one.

        Raises:
            SipCdrError: See `CdrClient.export`.
        """
        spec = self.plan(query, paths, is_outdated=is_outdated)
        async with ExportJob(spec) as job:
            if job.published is not None:
                return job.published
            if spec.format == "xlsx":
                await self._check_rows(query)
            counts = await self._fetcher.recount(
                [reported.window for reported in job.provisional],
                query.filters,
                skip_out_of_range=query.skip_out_of_range,
            )
            changed = [
                reported.window
                for reported in job.provisional
                if counts.get(reported.window, reported.counted) != reported.counted
            ]
            checkpoint = await job.checkpoint(
                allow_incomplete=query.allow_incomplete, changed=changed, strict=self._fetcher.strict
            )
            reader = self._plan_reader(query, paths)
            _resume(reader, checkpoint, counts, paths)
            progress = reader.progress
            progress.requests, progress.retries, progress.elapsed = job.effort
            try:
                async with self._fetcher.read(reader) as stream:
                    async for entry in read_entries(stream):
                        await job.write(entry, stream.report)
            except (IncompleteRangeError, OutOfTimeRangeError) as error:
                await job.forget_affected(error)
                raise
            report = stream.report
            await job.publish(report)
        return report

    async def _check_rows(self, query: Query) -> None:
        # Before anything is read; the encoder checks again, as calls may be added.
        try:
            rows = await self._fetcher.count(query)
        except OutOfTimeRangeError:  # the reading reports it, or skips that part
            return
        if rows > MOST_ROWS:
            raise too_many_rows(rows)

    async def inspect(self, query: Query, paths: ExportPaths) -> ExistingFile:
        """Compare the file that exists with a query."""
        if self._options.if_exists != "verify":  # the export decides about it
            return ExistingFile("other" if paths.target.exists() else "absent")
        return await anyio.to_thread.run_sync(inspect_existing, self.plan(query, paths))

    async def count(self, query: Query, windows: Collection[TimeWindow]) -> int:
        """Return how many calls of a query the vendor counts in all of `windows` now."""
        return sum((await self._fetcher.count_windows(windows, query.filters)).values())

    async def has_begun(self, start: datetime) -> bool:
        """Return whether `start` has passed, by the vendor's clock."""
        if start < datetime.now(UTC):
            return True
        engine = self._fetcher.session.engine
        if engine.clock_offset is None:
            await self._fetcher.ping()
        return start < datetime.now(UTC) + timedelta(seconds=engine.clock_offset or 0.0)

    def _plan_reader(self, query: Query, paths: ExportPaths) -> RangeReader:
        mask, for_columns = self._options.mask, choose_format(paths.target, self._options.format) == "parquet"
        if mask is None and not for_columns:
            return self._fetcher.plan_range(query, journal=JournalQueue())

        def normalize(record: CallDetailRecord) -> CallDetailRecord:
            return shape_records([record], mask, for_columns=for_columns)[0]

        return self._fetcher.plan_range(query, normalize, journal=JournalQueue())


def _resume(
    reader: RangeReader, checkpoint: Checkpoint, counted_again: Collection[TimeWindow], paths: ExportPaths
) -> None:
    try:
        reader.resume(checkpoint, counted_again=counted_again)
    except KeyError:
        raise JournalDamagedError(
            f"the journal of {paths.target} was changed: it has windows that were never planned; remove it to start"
            " over"
        ) from None


def choose_paths(path: str | PathLike[str], sidecars: str | PathLike[str] | None) -> ExportPaths:
    """Return the file at `path` and its sidecars, beside it or in the folder `sidecars`."""
    return ExportPaths.sidecar_path(path) if sidecars is None else ExportPaths.apart(path, sidecars)
