"""The client: public methods with explicit signatures, over one engine.

Arguments are checked here, before any I/O.
"""

import os
import ssl
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self, TypedDict, Unpack, get_args, overload

from aiosipcdr import __version__
from aiosipcdr.engine.fetcher import Fetcher
from aiosipcdr.engine.run import Plan
from aiosipcdr.engine.session import EngineSession
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.events import EventHook, LoggingHook
from aiosipcdr.http.options import check_base_url, check_ssl_context, check_user_agent, choose_proxy, unquote
from aiosipcdr.http.transport import ClientSession, Transport
from aiosipcdr.model.arguments import check_between, check_choice, check_seconds, check_span, check_zone
from aiosipcdr.model.privacy import hide_arguments
from aiosipcdr.model.query import ExportFormat, FilterMatch, Filters, IfExists, OutOfRange, Query
from aiosipcdr.model.records import LARGEST_SIZE, Page, TimeField
from aiosipcdr.model.report import CallDetailRecords, DayReport, DaysReport, FetchReport
from aiosipcdr.model.sync import OnVanished, SyncReport
from aiosipcdr.model.windows import WIDEST, ArgumentError, TimeWindow, days_span
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.proof.parts import RangePart
from aiosipcdr.rates import RateLimiter, check_rate
from aiosipcdr.sync.feed.feed import ChangeFeed
from aiosipcdr.wire.codec import PATH
from aiosipcdr.wire.signing import Credentials, CredentialsSource, credentials_source

__all__ = ["CdrClient", "ClientSettings"]

_MAX_CONCURRENCY = 64
_VARIABLES = ("AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET")


class ClientSettings(TypedDict, total=False):
    """The keyword arguments of `CdrClient`, for type checkers."""

    concurrency: int
    page_size: int
    rate: RatePolicy | float | RateLimiter | None
    retry: RetryPolicy
    timeout: float
    max_response_bytes: int | None
    lateness: timedelta
    count_delay: timedelta
    strict: bool
    assume_tz: tzinfo | str | None
    filter_match: FilterMatch
    session: ClientSession | None
    proxy: str | None
    trust_env: bool
    ssl_context: ssl.SSLContext | None
    user_agent: str | None
    hook: EventHook | None


class CdrClient:
    """Fetches the call detail records of one account of the vendor, with a proof of completeness.

        async with CdrClient(base_url, api_key, api_secret) as client:
            records = await client.fetch_all(start, end)

    Open it once and share it: all methods that run at the same time share one limit of `concurrency` requests, fairly.
    It belongs to the event loop and the process in which it was opened.

    Ranges are aware datetimes of any distance. They are sent as given, in whole seconds; fractions of a second are
    widened outwards. Whether a call exactly at `start` or `end` is in the range is the vendor's choice: where ranges
    touch, use `voice_id` as the key, or `time_field`, `adjacent` or `export_days`.

    Args:
        base_url: The brand's address, such as `https://api.laaffic.com/v3/voice`. https, or http to loopback.
        api_key: The API key; or `Credentials`; or a callable that returns `Credentials`, which is called before every
            request, in the context variables of the caller's task.
        api_secret: The API secret, if `api_key` is the key.
        concurrency: Requests in flight at the same time, 1 to 64. The connector of a borrowed session may allow fewer.
        page_size: Records per page, 1 to 100.
        rate: Requests per second at most, of all methods together; `None` for no limit. Or an object with `async
            acquire()`, which is awaited before each request: a `RemoteRate` shares one rate between processes.
        retry: When a failed request is sent again.
        timeout: Seconds for one request and its answer.
        max_response_bytes: Largest decoded answer in bytes; by default 64 KiB for each record of a page and one more.
        lateness: Windows that end less than this before now, by the vendor's clock, are reported as provisional. Must
            be longer than the longest call.
        count_delay: Time between the last page of such a window and its control count, for a vendor whose counts lag
            behind its rows.
        strict: Raise `ProtocolError` for the first record or value that cannot be read.
        assume_tz: Time zone of times that the vendor sends without an offset, a tzinfo or an IANA name. Without it such
            times cannot be read.
        filter_match: How records are compared with the filters of a method: "exact", or "loose" for a vendor that
            ignores case and outer blanks (records that differ are counted in `report.anomalies`). Records of another
            group or phone raise `FilterIgnoredError` in both cases.
        session: An aiohttp session whose connector to use. It is not closed; its headers, cookies, proxy, timeouts and
            tracing are not used.
        proxy: Address of an HTTP proxy, such as `http://proxy.example.com:8080`.
        trust_env: Without `proxy`, use the proxy in HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY excludes the host. Never
            used for loopback.
        ssl_context: How to verify the server; by default with the system's certificate authorities. A context that
            does not verify raises an `InsecureTlsWarning`.
        user_agent: The `User-Agent` header; by default the name and version of this package.
        hook: Is called with every `Event`; keep it short. By default a `LoggingHook`, which writes to the logger
            "aiosipcdr". `aiosipcdr.events.combine` makes one hook of several.

    Raises:
        ValueError: An argument is invalid.

    Every method raises, beside the errors it lists: `ValueError` for invalid arguments and `ClientStateError` if the
    client is not open here, both before any I/O; then `TransportError`, `ProtocolError` or `VendorError`, or one of
    their subclasses, if retrying did not help.

    Source: the vendor's page "Inquire Phone Records By Batch".
    """

    @hide_arguments
    def __init__(
        self,
        base_url: str,
        api_key: str | Credentials | CredentialsSource,
        api_secret: str | None = None,
        *,
        concurrency: int = 8,
        page_size: int = 100,
        rate: RatePolicy | float | RateLimiter | None = None,
        retry: RetryPolicy = RetryPolicy(),
        timeout: float = 60.0,
        max_response_bytes: int | None = None,
        lateness: timedelta = timedelta(hours=4),
        count_delay: timedelta = timedelta(seconds=1),
        strict: bool = False,
        assume_tz: tzinfo | str | None = None,
        filter_match: FilterMatch = "exact",
        session: ClientSession | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        user_agent: str | None = None,
        hook: EventHook | None = None,
    ) -> None:
        address, credentials = check_base_url(base_url), credentials_source(api_key, api_secret)
        proxy_address = choose_proxy(proxy, address, trust_env=trust_env)
        check_between("concurrency", concurrency, 1, _MAX_CONCURRENCY)
        check_between("page_size", page_size, 1, LARGEST_SIZE)
        check_seconds("timeout", timeout)
        if max_response_bytes is not None:
            check_between("max_response_bytes", max_response_bytes, 1024, 2**31)
        check_span("lateness", lateness)
        check_span("count_delay", count_delay)
        zone = check_zone("assume_tz", assume_tz)
        if not isinstance(retry, RetryPolicy):
            raise ValueError("retry must be a RetryPolicy; RetryPolicy(attempts=1) never retries")  # noqa: TRY004 - one kind of error for every bad argument
        if hook is not None and not callable(hook):
            raise ValueError("hook must be callable with one event, or None")
        pace = check_rate(rate)
        check_ssl_context(ssl_context)
        if user_agent is not None:
            check_user_agent(user_agent)
        check_choice("filter_match", filter_match, get_args(FilterMatch))
        transport = Transport(
            address + PATH,
            connections=concurrency,
            timeout=timeout,
            max_response_bytes=max_response_bytes,
            session=session,
            proxy=proxy_address,
            ssl_context=ssl_context,
            user_agent=user_agent or f"aiosipcdr/{__version__}",
        )
        self._base_url = address
        # What builds the client again in another process; the rest is in the session.
        self._settings: dict[str, object] = {
            "base_url": address,
            "page_size": page_size,
            "retry": retry,
            "timeout": timeout,
            "max_response_bytes": max_response_bytes,
            "lateness": lateness,
            "count_delay": count_delay,
            "strict": strict,
            "assume_tz": zone,
            "filter_match": filter_match,
            "session": session,
            "ssl_context": ssl_context,
            "user_agent": user_agent,
        }
        self._filter_match = filter_match
        self._session = EngineSession(
            transport,
            credentials,
            rate=pace,
            retry=retry,
            hook=LoggingHook() if hook is None else hook,
            assume_tz=zone,
        )
        self._fetcher = Fetcher(
            self._session, page_size=page_size, lateness=lateness, count_delay=count_delay, strict=strict
        )

    @classmethod
    @hide_arguments  # of the constructor: a proxy's address may hold a password
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Build a client from AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.

            async with CdrClient.from_env(concurrency=16) as client: ...

        Args:
            **settings: Keyword arguments of the constructor. AIOSIPCDR_ASSUME_TZ, if set, is the default of
                `assume_tz`.

        Returns:
            A client that is not open yet.

        Raises:
            ValueError: A variable is missing or empty, or an argument is invalid.
        """
        found = {name: unquote(os.environ.get(name, "")) for name in _VARIABLES}
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise ValueError(f"not set in the environment: {', '.join(missing)}")
        if zone := unquote(os.environ.get("AIOSIPCDR_ASSUME_TZ", "")):
            settings.setdefault("assume_tz", zone)
        return cls(*found.values(), **settings)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a client holds credentials and open connections."""
        raise TypeError(
            "a CdrClient does not pickle: hand the range to the other process and build a client there, with"
            " CdrClient.from_env() for example"
        )

    def __repr__(self) -> str:
        """Show the address and whether the client is open."""
        session: EngineSession | None = getattr(self, "_session", None)
        if session is None:
            return "<CdrClient, not constructed>"
        return f"<CdrClient {self._base_url}, {'closed' if session.running is None else 'open'}>"

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's: the median of recent `Date` headers.

        `None` before the first answer, if no recent answer had a `Date`, and while the client is not open.
        """
        return None if self._session.running is None else self._session.running.clock_offset

    @property
    def proxy_host(self) -> str:
        """Host and port of the proxy in use, without user and password; empty if there is none."""
        return self._session.transport.proxy_host

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The context that verifies the vendor; `None` for plain http to loopback."""
        context = self._session.transport.ssl
        return context if isinstance(context, ssl.SSLContext) else None

    async def open(self) -> Self:
        """Open the client in the running event loop; `async with` does this and `aclose`.

            client = await CdrClient.from_env().open()

        Raises:
            ClientStateError: The client is open already.
        """
        await self._session.open()
        return self

    async def aclose(self) -> None:
        """End all running methods and close the connections; may be called again.

        The connector of a borrowed session stays open. In a forked child the connections are left to the parent.

            await client.aclose()
        """
        await self._session.close()

    async def __aenter__(self) -> Self:
        """Open the client."""
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.aclose()

    @hide_arguments
    async def fetch_all(
        self,
        start: datetime,
        end: datetime,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
    ) -> CallDetailRecords:
        """Fetch every call of a range into memory.

            records = await client.fetch_all(start, end, sip_group_name="sales")
            records.report.certified  # True

        Args:
            start: Begin of the range, aware.
            end: End of the range, aware.
            sip_group_name: Only calls of this group, written exactly so.
            phone_name: Only calls of this phone, written exactly so.
            on_out_of_range: What to do if the vendor has deleted a part of the range: "raise" an error, or "skip" that
                part and report it as a gap.
            allow_incomplete: Also return windows that could not be proven complete; `report.certified` is then false.
            time_field: The time that the vendor is known to filter on, such as "submit_time": the result is trimmed to
                `start <= time < end` exactly.

        Returns:
            A list of records with its `report`; oldest window first, within a window by `submit_time` (`None` last) and
            `voice_id`.

        Raises:
            IncompleteRangeError: The vendor's counts and the records still differ after all repairs. The error has the
                records and the report.
            OutOfTimeRangeError: The vendor has deleted a part of the range.
            FilterIgnoredError: Records came that the filters exclude.
        """
        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        query = Query.of(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        return await self._fetcher.fetch_all(query)

    @overload
    def stream(
        self,
        start: datetime,
        end: datetime,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
    ) -> CdrStream: ...

    @overload
    def stream(
        self, *, part: RangePart, on_out_of_range: OutOfRange = "raise", allow_incomplete: bool = False
    ) -> CdrStream: ...

    @hide_arguments
    def stream(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
        part: RangePart | None = None,
    ) -> CdrStream:
        """Fetch a range of any size, or a part of one, in bounded memory.

            async with client.stream(start, end) as stream:
                async for record in stream: ...  # or: async for batch in stream.batches(): ...
            stream.report                        # complete after the last record

        A slow reader slows the fetching down.

        Args:
            start: See `fetch_all`.
            end: See `fetch_all`.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.
            on_out_of_range: See `fetch_all`.
            allow_incomplete: See `fetch_all`.
            time_field: See `fetch_all`.
            part: A part of `plan_parts`, instead of range, filters and time field: the stream has the calls that the
                part owns, and its report is the proof of the part alone.

        Returns:
            An async context manager with the records in the order of `fetch_all`. Reading it raises the errors of
            `fetch_all`, after the records of the windows before.
        """
        if part is not None:
            _check_part(part, start, end, sip_group_name, phone_name, time_field)
            return self._fetcher.stream_part(
                part, self._filter_match, on_out_of_range=on_out_of_range, allow_incomplete=allow_incomplete
            )
        if start is None and end is None:
            raise ArgumentError("start and end are missing: give both, or a part of plan_parts")
        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        query = Query.of(
            start,  # type: ignore[arg-type]  # None is refused there
            end,  # type: ignore[arg-type]
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        return self._fetcher.stream(query)

    @hide_arguments
    async def plan_parts(
        self,
        start: datetime,
        end: datetime,
        *,
        rows: int = 50_000,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        time_field: TimeField | None = None,
    ) -> list[RangePart]:
        """Cut a range into parts that are read independently, in any process and in any order.

            parts = await client.plan_parts(start, end)
            async with client.stream(part=parts[0]) as stream: ...  # in another process: a client of its own

        Every call of the range belongs to exactly one part, whatever the vendor's bounds mean, and the parts together
        have the calls of `fetch_all`. Each part is proven by itself. Parts can be pickled and hold no credentials.

        The cuts are found by counting: about three requests for each part.

        Args:
            start: Begin of the range, aware.
            end: End of the range, aware.
            rows: About how many calls a part has, from 1 on. A single second is never cut.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`. The parts hold it encrypted: they are read with the same key and secret.
            on_out_of_range: What to do if the vendor has deleted a part of the range: "raise" an error, or "skip": cut
                what is left. The first part begins at `start` all the same: read it with "skip", too.
            time_field: See `fetch_all`: each part then has the calls from its start to before its end.

        Returns:
            The parts, oldest first; at least one, also for a range without calls.

        Raises:
            OutOfTimeRangeError: The vendor has deleted a part of the range.
        """
        query = Query.of(
            start,
            end,
            Filters.of(sip_group_name, phone_name, self._filter_match),
            on_out_of_range=on_out_of_range,
            time_field=time_field,
        )
        return await self._fetcher.plan_parts(query, rows)

    @hide_arguments
    async def count(
        self, start: datetime, end: datetime, *, sip_group_name: str | None = None, phone_name: str | None = None
    ) -> int:
        """Count the calls of a range, as the vendor counts them.

            await client.count(start, end)  # 1204

        Takes one request for every 31 days, and one for each second that two of these windows share.

        Args:
            start: Begin of the range, aware.
            end: End of the range, aware. If it lies more than 31 days in the future, it is clipped there.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.

        Returns:
            The number of calls. It is not verified: see `fetch_all`.
        """
        query = Query.of(start, end, Filters.of(sip_group_name, phone_name, self._filter_match))
        return await self._fetcher.count(query)

    @hide_arguments
    async def recount(
        self, windows: Iterable[TimeWindow], *, sip_group_name: str | None = None, phone_name: str | None = None
    ) -> dict[TimeWindow, int]:
        """Count the calls of windows that were read before, with one request per window.

            provisional = [one.window for one in report.window_reports if one.provisional]
            counts = await client.recount(provisional)

        Args:
            windows: Windows of at most 31 days, such as those of `FetchReport.window_reports`.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.

        Returns:
            The number of calls that the vendor counts now in each window; compare it with `WindowReport.counted`.
        """
        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        return await self._fetcher.count_windows(windows, filters)

    @hide_arguments
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
        """Fetch one page as the vendor sends it: its order, `total` and `pages` are not verified.

            page = await client.fetch_page(start, end, current=2, size=50)
            page.total, len(page.records)  # (1204, 50)

        Args:
            start: Begin of the range, aware; at most 31 days before `end`.
            end: End of the range, aware.
            current: Number of the page, from 1.
            size: Records per page, 1 to 100.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.

        Returns:
            The page, its records in the vendor's order. Those without a readable id are in `page.quarantined`; a value
            that cannot be read is `None`, and its raw JSON is in `extra` of the record.

        Raises:
            FilterIgnoredError: Records came that the filters exclude.
            SchemaMismatchError: Most records have no readable id.
        """
        query = Query.of(start, end, Filters.of(sip_group_name, phone_name, self._filter_match))
        check_between("current", current, 1, 10**9, ArgumentError)
        check_between("size", size, 1, LARGEST_SIZE, ArgumentError)
        if query.window.end - query.window.start > WIDEST:
            raise ArgumentError("a page covers 31 days at most: shorten the range, or use fetch_all or stream")
        return await self._fetcher.fetch_page(query, current, size)

    async def ping(self) -> None:
        """Return if the vendor accepts address, key, signature and clock; raise the error that says which it does not.

            await client.ping()

        Raises:
            AuthenticationError: Key or secret are wrong.
            RestrictedAddressError: This machine's address is not on the account's list.
            ClockSkewError: This machine's clock is off and could not be corrected for.
        """
        await self._fetcher.ping()

    async def run_plan(self, plan: Plan) -> None:
        """Run a plan of an extension, with the client's limits, retries and signatures.

            class NewestCall:  # a plan of one request
                span = None
                page = None

                def __init__(self, window):
                    params = encode_params(window, Filters())
                    self.request = PageRequest(owner=self, window=window, params=params, current=1, size=1)

                @property
                def has_result(self):
                    return self.page is not None

                def next_request(self):
                    request, self.request = self.request, None
                    return request

                def accept(self, request, answer):
                    self.page = answer.page
                    return PlanChange.DONE

                def refuse(self, request, error):
                    return error  # ends the run

            plan = NewestCall(TimeWindow.of(start, end))
            await client.run_plan(plan)

        Args:
            plan: Returns the requests and processes their answers, without I/O of its own. It is run once.

        Raises:
            SipCdrError: What the plan returned to end the run.
        """
        await self._session.run_plan(plan)

    @hide_arguments
    async def export(
        self,
        start: datetime,
        end: datetime,
        path: str | os.PathLike[str],
        *,
        format: ExportFormat | None = None,  # noqa: A002 - the public name
        if_exists: IfExists = "verify",
        overwrite: bool = False,
        restart: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
        adjacent: bool = False,
        relative: bool = False,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
        sidecars: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        lock: bool = True,
        tz: tzinfo | str | None = None,
    ) -> FetchReport:
        """Fetch a range into a file: NDJSON, CSV, Parquet or Excel, with the field names of `CallDetailRecord`.

            report = await client.export(start, end, "calls.parquet")

        The file appears under its name only when it is complete. Until then progress is saved in a journal beside it:
        after a crash, a kill or an error the same `export` resumes, and the file gets the same bytes. After success
        the same `export` sends nothing and returns the report of the existing file.

        Beside the file are its manifest (`<name>.manifest.json`: query, proof, sums, hash) and, if there are any, the
        records without a readable id (`<name>.quarantine`, NDJSON).

        In text formats, times keep the offset in which the vendor sent them and money keeps its digits. In Parquet,
        times are instants in UTC and money is `decimal128(38, 12)`. In Excel, ids are text, times dates in the zone
        `tz`, which the header names, and money numbers, with the exact text beside those that a double does not hold.

        Args:
            start: Begin of the range, aware.
            end: End of the range, aware.
            path: The file to write. Its extension selects the format: `.ndjson`, `.jsonl` or `.csv`, each optionally
                followed by `.gz` or `.zst` (extra `zstd`), `.parquet` (extra `arrow`) or `.xlsx` (extra `excel`).
            format: The format, if the extension does not select it.
            if_exists: What to do about a file that exists. "verify": keep it if its manifest and hash show that it is
                the answer to the same query, read it again if it is provisional or incomplete, refuse any other file.
                "replace": replace it, and discard an unfinished export of another query. "fail": refuse it.
            overwrite: The same as `if_exists="replace"`.
            restart: Delete what an earlier, unfinished run to the same file left, and start over.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.
            on_out_of_range: See `fetch_all`.
            allow_incomplete: See `fetch_all`.
            time_field: See `fetch_all`.
            adjacent: The range is one of several that touch, each exported separately: every call is then in exactly
                one of the files, also a call exactly at `start` or `end`. Reads one more window of a second.
            relative: The range is relative to now, such as the last 24 hours: an unfinished export of an earlier range
                is discarded instead of refused.
            spreadsheet: Write CSV in which Excel shows long ids in full and runs no formula; for people, not programs.
            mask_numbers: Hide phone numbers, also inside other texts, and leave out `extra`. "mask" leaves at most a
                country code and the last two digits; bytes, at least 16, are the key of pseudonyms (HMAC-SHA256).
            sidecars: The folder for manifest, quarantine and journal; by default that of the file. Files of one name in
                several folders need a folder each.
            mode: Permissions of file and manifest, such as 0o640 for a shared folder; by default only their owner can
                read them. Journal and quarantine stay private.
            lock: Lock the journal. `False` is for file systems without locks, if no other export writes to `path`.
            tz: The time zone of dates in Excel, a tzinfo or an IANA name; by default UTC.

        Returns:
            The report of the file, earlier runs included.

        Raises:
            ImportError: The format needs an extra that is not installed.
            ExportConflictError: A file exists that must not be replaced, another export is writing it, or the journal
                belongs to another query.
            JournalDamagedError: The journal was changed by something else.
            StorageError: The file or its journal cannot be written; what was written is kept.
            ExportError: The range has more calls than a sheet of Excel has rows (1,048,575), raised before they are
                read; or a text does not fit into a cell.
            IncompleteRangeError: See `fetch_all`; no file appears.
            OutOfTimeRangeError: See `fetch_all`; a journal is kept only if calls were read.
        """
        # Loaded with the first file: a third of the package's modules, which nothing else needs.
        from aiosipcdr.export.exporter import Exporter, ExportOptions, choose_paths

        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        query = Query.of(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
            adjacent=adjacent,
        )
        options = ExportOptions.of(
            format=format,
            if_exists=if_exists,
            overwrite=overwrite,
            restart=restart,
            relative=relative,
            spreadsheet=spreadsheet,
            mask_numbers=mask_numbers,
            mode=mode,
            lock=lock,
            tz=tz,
        )
        return await Exporter(self._fetcher, options).export(query, choose_paths(path, sidecars))

    @hide_arguments
    async def export_days(
        self,
        first: date,
        last: date,
        tz: tzinfo | str,
        path: str | os.PathLike[str],
        *,
        recheck: timedelta = timedelta(0),
        format: ExportFormat | None = None,  # noqa: A002 - the public name
        if_exists: IfExists = "verify",
        overwrite: bool = False,
        restart: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
        spreadsheet: bool = False,
        mask_numbers: Literal["mask"] | bytes | None = None,
        sidecars: str | os.PathLike[str] | None = None,
        mode: int | None = None,
        lock: bool = True,
        on_day: Callable[[DayReport], object] | None = None,
        processes: int = 1,
    ) -> DaysReport:
        """Export each day of a time zone into a file of its own; run it every night with the same arguments.

            report = await client.export_days(
                date(2026, 10, 1), date(2026, 11, 30), "Asia/Shanghai", "lake/dt={date}/calls.parquet"
            )

        Every call is in exactly one file. A day whose file is certified and settled is left as it is; a day that is
        provisional or incomplete is read again. A file is never replaced by one with fewer calls, unless `if_exists` is
        "replace".

        Args:
            first: The first day.
            last: The last day, included. Days that have not begun by the vendor's clock are left out.
            tz: The time zone of the days, and of dates in Excel: a tzinfo or an IANA name.
            path: The file of a day, with `{date}` anywhere in it, folders included; without it, `calls.csv` becomes
                `calls-2026-10-01.csv`. Missing folders are created. With `{date}`, sidecars are named
                `_calls.manifest.json` and so on, so that readers of the folder skip them.
            recheck: Finished days that ended within this time are counted again, with one request per day. A day of
                which the vendor counts more calls now is read again.
            format: See `export`.
            if_exists: See `export`.
            overwrite: See `export`.
            restart: See `export`.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.
            on_out_of_range: What to do about a day of which the vendor has deleted a part: leave it out ("raise": its
                outcome is "expired"), or write the rest ("skip"). A day that is deleted completely is left out.
            allow_incomplete: See `fetch_all`.
            time_field: See `fetch_all`.
            spreadsheet: See `export`.
            mask_numbers: See `export`.
            sidecars: See `export`; a day with a folder of its own gets one in there, too.
            mode: See `export`.
            lock: See `export`.
            on_day: Is called with the report of each day as soon as it is done.
            processes: Number of processes that write one day each at the same time, 1 to 64 and at most `concurrency`.
                They share the client's rate and concurrency, and its hook is called here with their events. The files
                have the same bytes. Settings must pickle, and a `session` of yours cannot be used.

        Returns:
            The outcome of each day, oldest first.

        Raises:
            IncompleteRangeError: A day cannot be proven complete; raised when all other days are done.
            ExportConflictError: See `export`; raised when all other days are done.
            JournalDamagedError: See `export`; raised when all other days are done.
            StorageError: A file cannot be written.
        """
        from aiosipcdr.export.days import DaysExport
        from aiosipcdr.export.exporter import Exporter, ExportOptions

        zone = check_zone("tz", tz)
        if zone is None:
            raise ValueError('tz is missing: give the time zone of the days, such as "Asia/Shanghai" or "UTC"')
        check_span("recheck", recheck)
        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        query = Query.of(
            *days_span(first, last, zone),
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
            adjacent=True,
        )
        options = ExportOptions.of(
            format=format,
            if_exists=if_exists,
            overwrite=overwrite,
            restart=restart,
            spreadsheet=spreadsheet,
            mask_numbers=mask_numbers,
            mode=mode,
            lock=lock,
            tz=zone,
        )
        check_between("processes", processes, 1, _MAX_CONCURRENCY)
        exporter = Exporter(self._fetcher, options)
        days = DaysExport(exporter, query, zone, path, sidecars=sidecars, recheck=recheck, on_day=on_day)
        if min(processes, len(days)) == 1:
            return await days.run()
        from aiosipcdr.export.processes import DayProcesses

        arguments = {
            "tz": zone,
            "path": os.fspath(path),
            "recheck": recheck,
            "format": format,
            "if_exists": options.if_exists,
            "restart": restart,
            "sip_group_name": sip_group_name,
            "phone_name": phone_name,
            "on_out_of_range": on_out_of_range,
            "allow_incomplete": allow_incomplete,
            "time_field": time_field,
            "spreadsheet": spreadsheet,
            "mask_numbers": mask_numbers,
            "sidecars": sidecars,
            "mode": mode,
            "lock": lock,
        }
        proxy = self._session.transport.proxy
        settings = self._settings | {"proxy": None if proxy is None else proxy.reveal()}
        async with DayProcesses(self._session, settings, arguments, number=min(processes, len(days))) as writers:
            return await days.run(writers)

    @hide_arguments
    async def sync(
        self,
        url: str,
        *,
        since: datetime | None = None,
        lookback: timedelta = timedelta(days=3),
        deep: bool = False,
        on_vanished: OnVanished = "mark",
        table: str = "calls",
        schema: str | None = None,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        time_field: TimeField | None = None,
        dry_run: bool = False,
        allow_mass_vanish: bool = False,
    ) -> SyncReport:
        """Make a table of a database equal to the vendor's list; run it every morning with the same arguments.

            report = await client.sync("sqlite:///calls.db", since=start)

        Reads the calls since the last run, and what has changed in the lookback: calls that arrive late, change or
        vanish. Rows and checkpoints are committed together, so a run that is killed at any moment loses and doubles
        nothing: the next one goes on. Time that cannot be proven complete is left as it is.

        The table has the columns of a Parquet export, then `leg` (the number of the row among those with its
        `voice_id`, by `submit_time`; both are the primary key), `synced_at` (when the row was last written),
        `vanished_at` (when the vendor no longer listed it) and `span_start` (of the checkpoint it belongs to). Beside
        it are two more tables: `<table>_checkpoints` and `<table>_sync`.

        Args:
            url: The database, as in SQLAlchemy: `sqlite:///relative.db`, `sqlite:////absolute.db`, or with an extra
                `postgresql://user@host:port/database` (`postgres`), `duckdb:///file` (`duckdb`), `delta:///folder`
                (`delta`). What a URL of PostgreSQL leaves out is that of libpq, as PGPASSWORD.
            since: Begin of the table, aware; needed by the first run. An earlier time than before extends the table; a
                later one changes nothing, unless the vendor has deleted calls after the end of the table: then it goes
                on from there.
            lookback: How far before now changes are looked for. Longer than your longest call, since a call may be
                listed when it has ended.
            deep: Read the whole lookback, also where the vendor's counts are unchanged: finds changed contents, such as
                amounts that were rated again.
            on_vanished: What to do about rows that the vendor no longer lists: "mark", "delete" or "keep".
            table: The name of the table.
            schema: The schema of the table, for databases that have schemas.
            sip_group_name: See `fetch_all`. A table holds the answer to one query: other filters are refused.
            phone_name: See `fetch_all`.
            time_field: The time that the vendor is known to filter on: the table then begins exactly at `since`.
            dry_run: Compare and report, write nothing.
            allow_mass_vanish: Accept that more than 20 rows, and more than a tenth, of a span of time vanish. Without
                it such a span is read again after a minute, and then the run ends.

        Returns:
            What was changed, and until when the table is complete.

        Raises:
            IncompleteRangeError: Too many rows would vanish.
            OutOfTimeRangeError: The vendor has deleted calls since `since` that the table never had.
            ExportConflictError: Another sync of the table is running, its columns differ, or it holds the calls of
                another account or of other filters; nothing is written.
            StorageError: The database failed; what was committed before is right.
            ImportError: The database needs an extra that is not installed.
        """
        # Loaded with the first sync, like the modules of an export.
        from aiosipcdr.sync.options import SyncOptions
        from aiosipcdr.sync.synchronizer import Synchronizer
        from aiosipcdr.sync.targets import Location

        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        options = SyncOptions.of(
            since=since,
            lookback=lookback,
            deep=deep,
            on_vanished=on_vanished,
            time_field=time_field,
            dry_run=dry_run,
            allow_mass_vanish=allow_mass_vanish,
        )
        synchronizer = Synchronizer.of(self._fetcher, Location.of(url, table=table, schema=schema), filters, options)
        return await synchronizer.run()

    @hide_arguments
    def follow(
        self,
        since: datetime | None = None,
        *,
        every: float | timedelta = 60.0,
        lookback: timedelta = timedelta(hours=6),
        deep_every: timedelta = timedelta(hours=6),
        checkpoint: str | os.PathLike[str] | None = None,
        once: bool = False,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        time_field: TimeField | None = None,
    ) -> ChangeFeed:
        """Return a feed of changes: calls that are added, change or vanish, as soon as a poll has found them.

            async with client.follow(since=start, checkpoint="calls.checkpoint") as feed:
                async for change in feed:
                    print(change.kind, change.record.voice_id)  # added, changed or vanished

        A poll without changes costs two requests. Late and vanished calls are found by counts, changed contents by
        reading again. Only changes from proven windows are yielded. Asking for the next change acknowledges the last
        one; a change that was not acknowledged is yielded again, with the same `key`, by the next feed with the same
        checkpoint, also after a kill.

        While the vendor cannot be reached, throttles, fails or cannot be proven, the feed waits and goes on by itself:
        the client's hook gets `FEED_WAITING` and `FEED_RESUMED`. If the vendor has deleted calls meanwhile, the feed
        goes on after them, and the hook gets `FEED_GAP`.

        Args:
            since: Begin of the feed, aware; all calls since then are yielded first. By default now. A checkpoint goes
                on where it is, whatever this is.
            every: Seconds between two polls, or a timedelta.
            lookback: How far before now changes are looked for. Longer than your longest call, since a call may be
                listed when it has ended. Each 31 days cost two more requests a poll.
            deep_every: How often each call of the lookback is read again, also where the vendor's counts are unchanged:
                finds changed contents, such as amounts that were rated again.
            checkpoint: A file with what was acknowledged, which one feed at a time uses. It holds ids and digests, no
                phone number. Without it, the next feed begins anew.
            once: End when everything up to now was yielded, instead of waiting. Errors are raised, then.
            sip_group_name: See `fetch_all`. A checkpoint belongs to one query: other filters are refused.
            phone_name: See `fetch_all`.
            time_field: The time that the vendor is known to filter on: the feed then begins exactly at `since`.

        Returns:
            The feed; entering it opens and locks the checkpoint.

        Raises:
            ExportConflictError: Another feed uses the checkpoint, or it belongs to another account or other filters.
            JournalDamagedError: The checkpoint is damaged.
            StorageError: The checkpoint cannot be read or written.
            AuthenticationError: Like the next two, raised while iterating: no waiting mends it.
            RestrictedAddressError: See there.
            InvalidQueryError: See there; likewise `FilterIgnoredError` and `SchemaMismatchError`.
            OutOfTimeRangeError: The vendor has deleted calls since `since`.
        """
        # Loaded with the first feed, like the modules of an export.
        from aiosipcdr.sync.feed.follower import ClientSource, FeedOptions, Follower

        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        options = FeedOptions.of(
            since=since,
            every=every,
            lookback=lookback,
            deep_every=deep_every,
            time_field=time_field,
            once=once,
        )
        path = None if checkpoint is None else Path(checkpoint)
        source = ClientSource(self._fetcher, filters, time_field)
        return ChangeFeed(Follower(source, filters, options, path))

    @hide_arguments
    async def report(
        self,
        start: datetime,
        end: datetime,
        path: str | os.PathLike[str],
        *,
        tz: tzinfo | str | None = None,
        compare: bool = False,
        title: str = "Calls and costs",
        show_numbers: bool = False,
        overwrite: bool = False,
        mode: int | None = None,
        sip_group_name: str | None = None,
        phone_name: str | None = None,
        on_out_of_range: OutOfRange = "raise",
        allow_incomplete: bool = False,
        time_field: TimeField | None = None,
    ) -> FetchReport:
        """Fetch a range, and write its costs and traffic as one HTML page: see `aiosipcdr.analytics.write_report`.

            report = await client.report(start, end, "october.html", compare=True)

        Calls are summarized as they arrive, in bounded memory. The page says whether they are certified.

        Args:
            start: Begin of the range, aware.
            end: End of the range, aware.
            path: The file to write. An earlier report there is replaced, any other file is refused.
            tz: The time zone of days and hours, a tzinfo or an IANA name; by default that of `start`.
            compare: Also fetch the period before, of as many months or days, to compare with. If it cannot be read
                completely, the page says so.
            title: The heading.
            show_numbers: Show phone numbers and names of phones, which are masked otherwise.
            overwrite: Also replace a file that is no report.
            mode: Permissions of the file, such as 0o640; by default only its owner can read it.
            sip_group_name: See `fetch_all`.
            phone_name: See `fetch_all`.
            on_out_of_range: See `fetch_all`.
            allow_incomplete: See `fetch_all`; the page says loudly that it is not certified.
            time_field: See `fetch_all`.

        Returns:
            The report of the range.

        Raises:
            ImportError: The extra `report` is not installed.
            ExportConflictError: A file exists that is no report.
            StorageError: The file cannot be written.
            IncompleteRangeError: See `fetch_all`; no file appears.
            OutOfTimeRangeError: See `fetch_all`.
        """
        from aiosipcdr.analytics.report.ranges import ReportOptions, report_range

        zone = check_zone("tz", tz)
        filters = Filters.of(sip_group_name, phone_name, self._filter_match)
        query = Query.of(
            start,
            end,
            filters,
            on_out_of_range=on_out_of_range,
            allow_incomplete=allow_incomplete,
            time_field=time_field,
        )
        options = ReportOptions(path, title, show_numbers, overwrite, mode)
        zone = zone or start.tzinfo or UTC  # an aware time has one
        return await report_range(self._fetcher.stream, query, options, tz=zone, compare=compare)


def _check_part(part: object, *others: object) -> None:
    if not isinstance(part, RangePart):
        raise ArgumentError(f"part must be a RangePart of plan_parts, not {type(part).__name__}")
    if any(other is not None for other in others):
        raise ArgumentError(
            "a part has its own range, filters and time field: leave out start, end, sip_group_name, phone_name and"
            " time_field"
        )
