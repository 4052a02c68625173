"""The front door: what can be asked of the vendor, composed of plans, the engine and the export.

Holds no logic of its own beyond checking what callers pass in, so that bad
input is refused here, before any I/O.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Literal

import anyio.to_thread

from aiosipcdr.arguments import check_between, check_filters
from aiosipcdr.connection import LARGEST_PAGE, Connection
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.errors import IncompleteExportError
from aiosipcdr.export import (
    Encoder,
    check_target,
    choose_format,
    choose_mask,
    describe_query,
    export_windows,
    open_encoder,
)
from aiosipcdr.protocol.codec import Filters
from aiosipcdr.protocol.coverage import Coverage
from aiosipcdr.protocol.questions import RangeCount, SinglePage
from aiosipcdr.protocol.records import TIME_FIELDS, Page
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CallDetailRecords, FetchReport

__all__ = ["CdrClient"]

OutOfRange = Literal["raise", "skip"]


class CdrClient(Connection):
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
    I/O; then `TransportError`, `ProtocolError` or `ProviderError` (with their
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
        range_field: str | None = None,
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
            range_field: the time that the account is known to be filtered on ("submit_time", ...): the result is
                then trimmed to `start <= field < end` exactly.

        Returns:
            Records ordered by window, then by (`submit_time`, `None` last, `voice_id`).

        Raises:
            IncompleteExportError: the vendor's counts and the records do not agree, whatever was tried.
            OutOfTimeRangeError: part of the range is older than what the vendor keeps.
        """
        filters = check_filters(sip_group_name, phone_name)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        stream = self._stream(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            range_field=range_field,
        )
        records = CallDetailRecords()
        records.report = stream.report
        try:
            async with stream:
                async for window in stream.windows():
                    records += window.records
                    records.quarantined += window.quarantined
        except IncompleteExportError as incomplete:
            records += incomplete.records
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
        range_field: str | None = None,
    ) -> CdrStream:
        """Fetch a range of any size in bounded memory.

            async with client.stream(start, end) as stream:
                async for record in stream: ...          # or: async for batch in stream.batches()
            stream.report                                # complete after the last record

        Arguments, order and errors are those of `fetch_all`; records of windows
        before the trouble have then been handed over already.  A slow reader
        slows the fetching.
        """
        filters = check_filters(sip_group_name, phone_name)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        return self._stream(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            range_field=range_field,
        )

    async def count(
        self, start: datetime, end: datetime, *, sip_group_name: str | None = None, phone_name: str | None = None
    ) -> int:
        """Return how many calls the vendor counts in a range.

        It takes one request for every 31 days and one for each seam between them.
        """
        filters = check_filters(sip_group_name, phone_name)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        if isinstance(filters, ValueError):
            raise filters
        plan = RangeCount(TimeWindow.of(start, end), filters)
        await self._ask(plan)
        return plan.total

    async def fetch_page(
        self,
        start: datetime,
        end: datetime,
        current: int = 1,
        size: int = 100,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
    ) -> Page:
        """Fetch one page as the vendor tells it, unjudged: order, `total` and `pages` are the vendor's own.

        Args:
            start: begin of the range, aware; at most 31 days before `end`.
            end: end of the range, aware.
            current: number of the page, from 1.
            size: records a page, 1 to 100.
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.
        """
        filters = check_filters(sip_group_name, phone_name)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        if isinstance(filters, ValueError):
            raise filters
        check_between("current", current, 1, 10**9)
        check_between("size", size, 1, LARGEST_PAGE)
        plan = SinglePage(TimeWindow.of(start, end), filters, current=current, size=size)
        await self._ask(plan)
        assert plan.page is not None  # noqa: S101 - `_ask` returns when the plan has its result
        return plan.page

    async def export(
        self,
        start: datetime,
        end: datetime,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 - the public name
        overwrite: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        range_field: str | None = None,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
    ) -> FetchReport:
        """Fetch a range into a file: NDJSON, CSV or Parquet, with the snake_case names of `CallDetailRecord`.

        The file appears under its name when it is whole, and never otherwise.
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
            sip_group_name: only calls of this group.
            phone_name: only calls of this phone.
            on_out_of_range: see `fetch_all`.
            allow_incomplete: see `fetch_all`.
            range_field: see `fetch_all`.
            spreadsheet: write CSV so that Excel shows long ids whole and starts no formula; such a file is for people,
                not for programs.
            mask_numbers: make `phone_name`, `callee` and `display_num` unrecognisable: "mask" leaves a country code and
                the last two digits; bytes, 16 at least, are the key of pseudonyms (HMAC-SHA256).

        Raises:
            ValueError: an argument cannot be used, as said in its text; nothing was asked.
            ImportError: the format needs an extra that is not installed; the text says which.
            ExportConflictError: the file exists and is not to be overwritten.
            StorageError: the file cannot be written.
            IncompleteExportError: see `fetch_all`; no file appears.
        """
        filters = check_filters(sip_group_name, phone_name)
        del sip_group_name, phone_name  # a phone's name may be a number: see __init__
        mask = choose_mask(mask_numbers)
        del mask_numbers  # it may be a key
        if isinstance(filters, ValueError):
            raise filters
        if isinstance(mask, ValueError):
            raise mask
        chosen = choose_format(path, format)
        stream = self._stream(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            range_field=range_field,
        )
        metadata = describe_query(start, end, filters, range_field, mask)

        def prepare() -> Encoder:
            check_target(path, overwrite)
            return open_encoder(chosen, spreadsheet=spreadsheet, mask=mask, metadata=metadata)

        encoder = await anyio.to_thread.run_sync(prepare)
        async with stream:
            await export_windows(stream.windows(), path, encoder, overwrite=overwrite)
        return stream.report

    async def ping(self) -> None:
        """Return if key, signature, clock and address are accepted; raise the error that says which is not."""
        end = datetime.now(UTC)
        await self.count(end - timedelta(hours=1), end)

    def _stream(
        self,
        start: datetime,
        end: datetime,
        filters: Filters | ValueError,
        *,
        on_out_of_range: OutOfRange,
        allow_incomplete: bool,
        range_field: str | None,
    ) -> CdrStream:
        if isinstance(filters, ValueError):
            raise filters
        if on_out_of_range not in ("raise", "skip"):
            msg = f'on_out_of_range must be "raise" or "skip", not {on_out_of_range!r}'
            raise ValueError(msg)
        if range_field is not None and range_field not in TIME_FIELDS:
            msg = f"range_field must be one of {', '.join(TIME_FIELDS)}, not {range_field!r}"
            raise ValueError(msg)
        window = TimeWindow.of(start, end)
        if range_field is not None:
            window = window.widened()
        engine = self._opened()
        coverage = Coverage(
            window,
            filters,
            size=self._page_size,
            places=self._places,
            settled_before=self._settled_before(),
            allow_incomplete=allow_incomplete,
            skip_out_of_range=on_out_of_range == "skip",
            range_field=range_field,
            exact=None if range_field is None else (start.astimezone(UTC), end.astimezone(UTC)),
            strict=self._strict,
        )
        return CdrStream(engine, coverage, self._hook)

    def _settled_before(self) -> datetime:
        try:
            return datetime.now(UTC) - self._lateness
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)  # then every window is provisional
