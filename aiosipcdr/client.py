"""The front door: what can be asked of the vendor, composed of plans, the engine and the export.

Holds no logic of its own beyond checking what callers pass in, so that bad
input is refused here, before any I/O.
"""

import os
from collections.abc import Collection
from datetime import datetime
from typing import Literal

from aiosipcdr.arguments import check_filters
from aiosipcdr.asking import Asking
from aiosipcdr.connection import OutOfRange
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.errors import IncompleteRangeError, JournalDamagedError, OutOfTimeRangeError
from aiosipcdr.protocol.coverage import Coverage
from aiosipcdr.protocol.history import History
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.protocol.resumable import ResumableCoverage
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CallDetailRecords, FetchReport

__all__ = ["CdrClient"]


class CdrClient(Asking):
    """Fetches call detail records from one account of the vendor.

    Open it once and share it: everything that it does at the same time keeps
    to one limit of `concurrency` requests, in fair shares.

        async with CdrClient(base_url, api_key, api_secret) as client:
            records = await client.fetch_all(start, end)

    Ranges are given as aware datetimes of any distance and sent as written,
    in whole seconds (fractions are widened outwards).  Whether a call exactly
    at `start` or `end` is inside is the vendor's choice: use `voice_id` as the
    key when ranges touch.  Filters match exactly.

    Every method raises, besides what it names: `ValueError` for bad arguments
    and `ClientStateError` for a client that is not open here, both before any
    I/O; then `TransportError`, `ProtocolError` or `VendorError` (with their
    subclasses) for what retrying did not mend.
    """

    async def fetch_all(
        self,
        start: datetime,
        end: datetime,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: str | None = None,
    ) -> CallDetailRecords:
        """Fetch every call of a range into memory: a list with its `report`.

        Args:
            start: begin of the range, aware.
            end: end of the range, aware.
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.
            on_out_of_range: what to do when part of the range is older than what the vendor keeps: "raise", or
                "skip" it and say so in the report.
            allow_incomplete: return what could not be proven complete, with `report.certified` false.
            time_field: the time that the account is known to be filtered on ("submit_time", ...): the result is
                then trimmed to `start <= field < end` exactly.

        Returns:
            Records ordered by window, then by (`submit_time`, `None` last, `voice_id`).

        Raises:
            IncompleteRangeError: the vendor's counts and the records do not agree, whatever was tried.
            OutOfTimeRangeError: part of the range is older than what the vendor keeps.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        coverage = self._cover(
            Coverage,
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        stream = CdrStream(self._opened(), coverage, self._hook)
        records = CallDetailRecords()
        records.report = stream.report
        try:
            async with stream:
                async for window in stream.windows():
                    records += window.records
                    records.quarantined += window.quarantined
        except IncompleteRangeError as incomplete:
            records += incomplete.records
            records.quarantined += incomplete.records.quarantined
            incomplete.records = records
            raise
        return records

    def stream(
        self,
        start: datetime,
        end: datetime,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: str | None = None,
    ) -> CdrStream:
        """Fetch a range of any size in bounded memory.

            async with client.stream(start, end) as stream:
                async for record in stream: ...          # or: async for batch in stream.batches()
            stream.report                                # complete after the last record

        Arguments, order and errors are those of `fetch_all`; records of windows
        before the trouble have then been handed over already.  A slow reader
        slows the fetching.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        coverage = self._cover(
            Coverage,
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        return CdrStream(self._opened(), coverage, self._hook)

    async def export(
        self,
        start: datetime,
        end: datetime,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 - the public name
        overwrite: bool = False,
        restart: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: str | None = None,
        adjacent: bool = False,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
    ) -> FetchReport:
        """Fetch a range into a file: NDJSON, CSV or Parquet, with the snake_case names of `CallDetailRecord`.

        The file appears under its name when it is whole, and never otherwise.
        Until then what is read goes into a journal beside it; after a crash, a
        kill or an error the same call goes on where that one ended, and the
        file is byte for byte what it would have been.  Beside the file stand
        its manifest (`<name>.manifest.json`: what was asked and proven, sums,
        hash) and, if there are any, the records that could not be decoded
        (`<name>.quarantine.ndjson`).

        In text, times keep the offset in which they were told and money its
        digits; in Parquet, times are instants in UTC and money is
        `decimal128(38, 12)`.

        Args:
            start: begin of the range, aware.
            end: end of the range, aware.
            path: the file to write; its ending tells the format: `.ndjson`, `.jsonl` or `.csv`, each also with `.gz`
                or `.zst` (extra `zstd`) behind, or `.parquet` (extra `arrow`).
            format: the format, where the ending does not tell it: "ndjson", "csv" or "parquet".
            overwrite: replace a file that exists.
            restart: delete what an earlier run to the same file has left, of whatever query, and begin anew.
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.
            on_out_of_range: see `fetch_all`.
            allow_incomplete: see `fetch_all`.
            time_field: see `fetch_all`.
            adjacent: the range is one of several that touch, days for example, each exported by itself: every call,
                also one exactly at `start` or `end`, is then in exactly one of the files. Costs one window of a
                second, read before the others.
            spreadsheet: write CSV so that Excel shows long ids whole and starts no formula; such a file is for people,
                not for programs.
            mask_numbers: hide numbers, also those inside other texts; `extra` is left out. "mask" leaves at most a
                country code and the last two digits; bytes, 16 at least, are the key of pseudonyms (HMAC-SHA256).

        Raises:
            ValueError: an argument cannot be used, as said in its text; nothing was asked.
            ImportError: the format needs an extra that is not installed; the text says which.
            ExportConflictError: the file exists and is not to be overwritten, another export is at work on it, or the
                journal beside it is of another question.
            JournalDamagedError: the journal beside it was changed by something else.
            StorageError: the file or its journal cannot be written; what was written stays.
            IncompleteRangeError: see `fetch_all`; no file appears.
            OutOfTimeRangeError: see `fetch_all`; a journal stays only if calls were read.
        """
        filters = check_filters(sip_group_name, phone_name, self._filter_match)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        # Loaded with the first file: a third of what the client would load, and nothing else needs it.
        from aiosipcdr.export import ExportJob, ExportOrder, choose_format, choose_mask, shape_records

        mask = choose_mask(mask_numbers)
        del mask_numbers  # it may be a key
        if isinstance(filters, ValueError):
            raise filters
        if isinstance(mask, ValueError):
            raise mask
        for_columns = choose_format(path, format) == "parquet"

        def see(record: CallDetailRecord) -> CallDetailRecord:
            return shape_records([record], mask, for_columns=for_columns)[0]

        def cover(history: History | None = None, counted_again: Collection[TimeWindow] = ()) -> ResumableCoverage:
            coverage = self._cover(
                ResumableCoverage,
                start,
                end,
                filters,
                on_out_of_range=on_out_of_range,
                allow_incomplete=allow_incomplete,
                time_field=time_field,
                adjacent=adjacent,
                see=see if mask or for_columns else None,
            )
            if history is not None:
                try:
                    coverage.resume(history, counted_again=counted_again)
                except KeyError:
                    raise JournalDamagedError(
                        f"the journal of {path} was changed: it tells of windows that were never planned; remove it to"
                        " begin anew"
                    ) from None
            return coverage

        order = ExportOrder.plan(
            path,
            start,
            end,
            filters,
            format=format,
            overwrite=overwrite,
            restart=restart,
            time_field=time_field,
            assume_tz=None if self._assume_tz is None else str(self._assume_tz),
            adjacent=adjacent,
            spreadsheet=spreadsheet,
            mask=mask,
            credentials=self._credentials(),
            tiles=cover().tiles,
        )
        async with ExportJob(order) as job:
            if job.published is not None:
                return job.published
            counts = await self._count_again(job.provisional, filters, skip=on_out_of_range == "skip")
            changed = [told.window for told in job.provisional if counts.get(told.window, told.counted) != told.counted]
            history = await job.history(allow_incomplete=allow_incomplete, changed=changed, strict=self._strict)
            coverage = cover(history, counts)
            report = coverage.report
            report.requests, report.retries, report.elapsed = job.effort
            try:
                async with CdrStream(self._opened(), coverage, self._hook) as stream:
                    async for entry in stream.entries():
                        await job.write(entry, report)
            except (IncompleteRangeError, OutOfTimeRangeError) as error:
                await job.doubt(error)
                raise
            await job.publish(report)
        return report
