"""Exports of a client: a range as a file, and days as a file each."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio.to_thread

from aiosipcdr.asking import Asking
from aiosipcdr.connection import OutOfRange
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.http.options import check_filters, check_span, check_zone
from aiosipcdr.model.errors import IncompleteRangeError, JournalDamagedError, OutOfTimeRangeError
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import DayReport, DaysReport, FetchReport
from aiosipcdr.model.windows import Day, TimeWindow, days_between
from aiosipcdr.proof.checkpoint import Checkpoint, JournalQueue
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.wire.codec import Filters

if TYPE_CHECKING:
    from aiosipcdr.export import ExistingFile, ExportPaths, ExportSpec, IfExists
    from aiosipcdr.export.days import DayFile

__all__ = ["Exporting"]

T = TypeVar("T")


class Exporting(Asking):
    """What `CdrClient` writes into files."""

    async def export(
        self,
        start: datetime,
        end: datetime,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 - the public name
        if_exists: "IfExists" = "verify",
        overwrite: bool = False,
        restart: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: str | None = None,
        adjacent: bool = False,
        relative: bool = False,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
        sidecars: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        lock: bool = True,
    ) -> FetchReport:
        """Fetch a range into a file: NDJSON, CSV or Parquet, with the snake_case names of `CallDetailRecord`.

        The file appears under its name when it is whole, and never otherwise.
        Until then what is read goes into a journal beside it; after a crash, a
        kill or an error the same call resumes where that one ended, and the
        file is byte for byte what it would have been.  Beside the file are
        its manifest (`<name>.manifest.json`: what was asked and proven, sums,
        hash) and, if there are any, the records without a readable id
        (`<name>.quarantine`, NDJSON).

        The same call after success sends nothing and returns the report of the
        file that is there.

        In text, times keep the offset in which the vendor sent them and money
        its digits; in Parquet, times are instants in UTC and money is
        `decimal128(38, 12)`.

        Args:
            start: begin of the range, aware.
            end: end of the range, aware.
            path: the file to write; its extension selects the format: `.ndjson`, `.jsonl` or `.csv`, each also with
                `.gz` or `.zst` (extra `zstd`) behind, or `.parquet` (extra `arrow`).
            format: the format, where the extension does not select it: "ndjson", "csv" or "parquet".
            if_exists: what to do about a file that exists. "verify": if it is the answer to the same query (by its
                manifest and its hash), keep it, or read it again if it is provisional or incomplete; refuse any other.
                "replace": replace it, whatever it is, and discard an unfinished export of another query. "fail":
                refuse it.
            overwrite: the same as `if_exists="replace"`.
            restart: delete what an earlier run to the same file has left, whatever its query, and start over.
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.
            on_out_of_range: see `fetch_all`.
            allow_incomplete: see `fetch_all`.
            time_field: see `fetch_all`.
            adjacent: the range is one of several that touch, days for example, each exported by itself: every call,
                also one exactly at `start` or `end`, is then in exactly one of the files. Costs one window of a
                second, read before the others.
            relative: the range is relative to the present, such as the last 24 hours: an unfinished export of an
                earlier one is discarded, instead of being refused as another query.
            spreadsheet: write CSV so that Excel shows long ids whole and starts no formula; such a file is for people,
                not for programs.
            mask_numbers: hide numbers, also those inside other texts; `extra` is left out. "mask" leaves at most a
                country code and the last two digits; bytes, 16 at least, are the key of pseudonyms (HMAC-SHA256).
            sidecars: the folder for manifest, quarantine and journal; beside the file by default. Files of one name in
                several folders need one each.
            mode: the mode of the file and its manifest, 0o640 for a shared folder for example; without it only its
                owner can read them. Journal and quarantine stay private.
            lock: lock the journal. `False` is for file systems without locks, where no other export writes to `path`.

        Raises:
            ValueError: an argument cannot be used, as said in its text; nothing was asked.
            ImportError: the format needs an extra that is not installed; the text says which.
            ExportConflictError: a file exists that is not to be replaced, another export is at work on it, or the
                journal is of another query.
            JournalDamagedError: the journal beside it was changed by something else.
            StorageError: the file or its journal cannot be written; what was written stays.
            IncompleteRangeError: see `fetch_all`; no file appears.
            OutOfTimeRangeError: see `fetch_all`; a journal stays only if calls were read.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        # Loaded with the first file: a third of what the client would load, and nothing else needs it.
        from aiosipcdr.export import ExportPaths, choose_mask

        mask = choose_mask(mask_numbers)
        del mask_numbers  # it may be a key
        form = _Form(
            filters=_checked(filters),
            mask=_checked(mask),
            format=format,
            if_exists=_choose(if_exists, overwrite=overwrite),
            restart=restart,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
            adjacent=adjacent,
            is_relative=relative,
            spreadsheet=spreadsheet,
            mode=mode,
            lock=lock,
        )
        paths = ExportPaths.sidecar_path(path) if sidecars is None else ExportPaths.apart(path, sidecars)
        return await self._write_file(form, paths, start, end, on_out_of_range=on_out_of_range)

    async def export_days(
        self,
        first: date,
        last: date,
        tz: tzinfo | str,
        path: str | os.PathLike[str],
        *,
        recheck: timedelta = timedelta(0),
        format: str | None = None,  # noqa: A002 - the public name
        if_exists: "IfExists" = "verify",
        overwrite: bool = False,
        restart: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: str | None = None,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
        sidecars: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        lock: bool = True,
        on_day: Callable[[DayReport], object] | None = None,
    ) -> DaysReport:
        """Export each day of a time zone into a file of its own; call it every night with the same arguments.

            report = await client.export_days(
                date(2026, 10, 1), date(2026, 11, 30), "Asia/Shanghai", "lake/dt={date}/calls.parquet"
            )

        Every call is in exactly one file, whatever the vendor's bounds mean. A day whose file is certified and settled
        is left alone; one that is provisional or incomplete is read again. A file is never replaced by one with fewer
        calls, unless `if_exists` is "replace".

        Args:
            first: The first day.
            last: The last day, included; days that have not begun by the vendor's clock are left out.
            tz: The time zone of the days: a tzinfo or an IANA name.
            path: The file of a day, with `{date}` anywhere in it, folders included; without it, `calls.csv` becomes
                `calls-2026-10-01.csv`. Missing folders are created. With `{date}`, sidecars are named
                `_calls.manifest.json` and so on, so that readers of the folder skip them.
            recheck: Finished days that ended within this time are counted again, with one request a day; a day of
                which the vendor counts more calls by now is read again.
            format: See `export`.
            if_exists: See `export`.
            overwrite: See `export`.
            restart: See `export`.
            sip_group_name: Only calls of this group.
            phone_name: Only calls of this phone.
            on_out_of_range: What to do about a day of which the vendor has deleted a part: leave it out ("raise": its
                outcome is "expired"), or write the rest of it ("skip"). A day that is deleted wholly is left out.
            allow_incomplete: See `fetch_all`.
            time_field: See `fetch_all`.
            spreadsheet: See `export`.
            mask_numbers: See `export`.
            mode: See `export`.
            lock: See `export`.
            sidecars: See `export`; a day with a folder of its own has one in there too.
            on_day: Is called with each day as soon as it is done.

        Returns:
            What has become of each day, oldest first.

        Raises:
            ValueError: An argument cannot be used; nothing was asked.
            IncompleteRangeError: A day cannot be proven complete; raised when all other days are done.
            ExportConflictError: See `export`; raised when all other days are done.
            JournalDamagedError: See `export`; raised when all other days are done.
            StorageError: A file cannot be written.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        from aiosipcdr.export import choose_mask
        from aiosipcdr.export.days import DayFile, DayOperations, DaysExport, day_paths

        mask = choose_mask(mask_numbers)
        del mask_numbers  # it may be a key
        if on_out_of_range not in ("raise", "skip"):
            msg = f'on_out_of_range must be "raise" or "skip", not {on_out_of_range!r}'
            raise ValueError(msg)
        zone = check_zone("tz", tz)
        if zone is None:
            msg = 'tz is missing: give the time zone of the days, such as "Asia/Shanghai" or "UTC"'
            raise ValueError(msg)
        check_span("recheck", recheck)
        form = _Form(
            filters=_checked(filters),
            mask=_checked(mask),
            format=format,
            if_exists=_choose(if_exists, overwrite=overwrite),
            restart=restart,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
            adjacent=True,
            spreadsheet=spreadsheet,
            mode=mode,
            lock=lock,
        )
        days = [DayFile(day, day_paths(path, day.date, sidecars)) for day in days_between(first, last, zone)]
        for file in days[:1]:
            self._plan_file(form, file.paths, file.day.start, file.day.end)  # refuses bad arguments before any request
        tools = DayOperations(
            inspect=partial(self._judge_day, form),
            export=partial(self._export_day, form),
            reread=partial(self._export_day, form, is_outdated=True),
            recount=partial(self._recount_day, form),
            has_begun=self._has_begun,
        )
        export = DaysExport(
            days,
            tools,
            recheck_from=datetime.now(UTC) - recheck if recheck else None,
            skip_out_of_range=on_out_of_range == "skip",
            on_day=on_day,
        )
        return await export.run()

    def _plan_file(
        self, form: "_Form", paths: "ExportPaths", start: datetime, end: datetime, *, is_outdated: bool = False
    ) -> "ExportSpec":
        from aiosipcdr.export import ExportSpec

        return ExportSpec.plan(
            paths,
            start,
            end,
            form.filters,
            format=form.format,
            if_exists=form.if_exists,
            is_outdated=is_outdated,
            restart=form.restart,
            strict=self._strict,
            time_field=form.time_field,
            assume_tz=None if self._assume_tz is None else str(self._assume_tz),
            adjacent=form.adjacent,
            is_relative=form.is_relative,
            spreadsheet=form.spreadsheet,
            mask=form.mask,
            credentials=self._credentials(),
            tiles=self._cover_file(form, paths, start, end).tiles,
            mode=form.mode,
            lock=form.lock,
        )

    def _cover_file(
        self,
        form: "_Form",
        paths: "ExportPaths",
        start: datetime,
        end: datetime,
        *,
        on_out_of_range: OutOfRange = "raise",
        checkpoint: Checkpoint | None = None,
        counted_again: Collection[TimeWindow] = (),
    ) -> RangeReader:
        from aiosipcdr.export import choose_format, shape_records

        for_columns = choose_format(paths.target, form.format) == "parquet"

        def normalize(record: CallDetailRecord) -> CallDetailRecord:
            return shape_records([record], form.mask, for_columns=for_columns)[0]

        reader = self._cover(
            start,
            end,
            form.filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=form.allow_incomplete,
            time_field=form.time_field,
            adjacent=form.adjacent,
            normalize=normalize if form.mask or for_columns else None,
            journal=JournalQueue(),
        )
        if checkpoint is not None:
            try:
                reader.resume(checkpoint, counted_again=counted_again)
            except KeyError:
                raise JournalDamagedError(
                    f"the journal of {paths.target} was changed: it has windows that were never planned; remove it to"
                    " begin anew"
                ) from None
        return reader

    async def _write_file(
        self,
        form: "_Form",
        paths: "ExportPaths",
        start: datetime,
        end: datetime,
        *,
        on_out_of_range: OutOfRange,
        is_outdated: bool = False,
    ) -> FetchReport:
        from aiosipcdr.export import ExportJob

        # Refuses a bad `on_out_of_range`, too.
        self._cover_file(form, paths, start, end, on_out_of_range=on_out_of_range)
        order = self._plan_file(form, paths, start, end, is_outdated=is_outdated)
        async with ExportJob(order) as job:
            if job.published is not None:
                return job.published
            counts = await self._count_again(job.provisional, form.filters, skip=on_out_of_range == "skip")
            changed = [one.window for one in job.provisional if counts.get(one.window, one.counted) != one.counted]
            checkpoint = await job.checkpoint(
                allow_incomplete=form.allow_incomplete, changed=changed, strict=self._strict
            )
            reader = self._cover_file(
                form, paths, start, end, on_out_of_range=on_out_of_range, checkpoint=checkpoint, counted_again=counts
            )
            progress = reader.progress
            progress.requests, progress.retries, progress.elapsed = job.effort
            try:
                async with CdrStream(self._opened(), reader, self._hook) as stream:
                    async for entry in stream.entries():
                        await job.write(entry, stream.report)
            except (IncompleteRangeError, OutOfTimeRangeError) as error:
                await job.forget_affected(error)
                raise
            report = stream.report
            await job.publish(report)
        return report

    async def _judge_day(self, form: "_Form", file: "DayFile") -> "ExistingFile":
        from aiosipcdr.export import ExistingFile, inspect_existing

        if form.if_exists != "verify":  # then the export decides, whatever is there
            return ExistingFile("other" if file.paths.target.exists() else "absent")
        order = self._plan_file(form, file.paths, file.day.start, file.day.end)
        return await anyio.to_thread.run_sync(inspect_existing, order)

    async def _export_day(
        self, form: "_Form", file: "DayFile", on_out_of_range: OutOfRange = "raise", *, is_outdated: bool = False
    ) -> FetchReport:
        start, end = file.day.start, file.day.end
        return await self._write_file(
            form, file.paths, start, end, on_out_of_range=on_out_of_range, is_outdated=is_outdated
        )

    async def _recount_day(self, form: "_Form", windows: Sequence[TimeWindow]) -> int:
        return sum((await self._count_windows(windows, form.filters)).values())

    async def _has_begun(self, day: Day) -> bool:
        if day.start < datetime.now(UTC):
            return True
        if self.clock_offset is None:
            await self.ping()
        return day.start < datetime.now(UTC) + timedelta(seconds=self.clock_offset or 0.0)


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What the files of one call have in common."""

    filters: Filters
    mask: Callable[[str], str] | None
    format: str | None
    if_exists: "IfExists"
    restart: bool
    allow_incomplete: bool
    time_field: str | None
    adjacent: bool
    is_relative: bool = False
    spreadsheet: bool
    mode: int | None = None
    lock: bool = True

    def __repr__(self) -> str:
        """Name the format alone: a filter may be a number, a mask holds a key."""
        return f"_Form({self.format})"


def _checked(value: T | ValueError) -> T:
    if isinstance(value, ValueError):
        raise value
    return value


def _choose(if_exists: "IfExists", *, overwrite: bool) -> "IfExists":
    if overwrite and if_exists == "fail":
        raise ValueError('overwrite=True and if_exists="fail" exclude each other: give one of them')
    return "replace" if overwrite else if_exists
