"""The client: fetches ranges into memory or as a stream, and inherits counts, single pages and files.

Holds no logic of its own beyond checking what callers pass in, so that bad
input is refused here, before any I/O.
"""

from datetime import datetime

from aiosipcdr.connection import OutOfRange
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.exporting import Exporting
from aiosipcdr.http.options import check_filters
from aiosipcdr.model.errors import IncompleteRangeError
from aiosipcdr.model.report import CallDetailRecords

__all__ = ["CdrClient"]


class CdrClient(Exporting):
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
        reader = self._cover(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        stream = CdrStream(self._opened(), reader, self._hook)
        records = CallDetailRecords()
        try:
            async with stream:
                async for window in stream.windows():
                    records += window.records
                    records.quarantined += window.quarantined
        except IncompleteRangeError as incomplete:
            records += incomplete.records
            records.quarantined += incomplete.records.quarantined
            records.report = incomplete.report = stream.report
            incomplete.records = records
            raise
        records.report = stream.report
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
        reader = self._cover(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        return CdrStream(self._opened(), reader, self._hook)
