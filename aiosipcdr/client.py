"""The front door: composes transport, engine, plans and export.

Holds no logic of its own beyond checking what callers pass in, so that bad
input is refused here, before any I/O.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio

from aiosipcdr import __version__
from aiosipcdr.arguments import (
    check_base_url,
    check_between,
    check_filters,
    check_kind,
    check_lateness,
    check_proxy,
    check_seconds,
    check_user_agent,
)
from aiosipcdr.engine.engine import Engine
from aiosipcdr.engine.run import Plan
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.errors import ClientStateError, IncompleteExportError
from aiosipcdr.events import EventHook
from aiosipcdr.export import (
    Encoder,
    check_target,
    choose_format,
    choose_mask,
    describe_query,
    export_windows,
    open_encoder,
)
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.protocol.codec import PATH, Filters
from aiosipcdr.protocol.coverage import Coverage
from aiosipcdr.protocol.limits import WindowPlaces
from aiosipcdr.protocol.questions import RangeCount, SinglePage
from aiosipcdr.protocol.records import TIME_FIELDS, Page
from aiosipcdr.protocol.signing import Credentials, credentials_source
from aiosipcdr.protocol.windows import TimeWindow
from aiosipcdr.report import CallDetailRecords, FetchReport
from aiosipcdr.transport import Transport

if TYPE_CHECKING:
    import aiohttp

__all__ = ["CdrClient"]

LARGEST_PAGE = 100
MOST_CONCURRENCY = 64

_SETTINGS = ("AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET")

OutOfRange = Literal["raise", "skip"]


class CdrClient:
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

    def __init__(
        self,
        base_url: str,
        api_key: str | Callable[[], str | Credentials],
        api_secret: str | Callable[[], str] | None = None,
        *,
        concurrency: int = 8,
        page_size: int = 100,
        rate: RatePolicy | float | None = None,
        retry: RetryPolicy = RetryPolicy(),
        timeout: float = 60.0,
        lateness: timedelta = timedelta(hours=4),
        strict: bool = False,
        session: "aiohttp.ClientSession | None" = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        user_agent: str | None = None,
        hook: EventHook | None = None,
    ) -> None:
        """Check and keep the settings; nothing is opened yet, no event loop is needed.

        Args:
            base_url: the brand's address, as in `https://api.laaffic.com/v3/voice`; https, or http to loopback.
            api_key: the key; or a callable that returns it, or both parts as `Credentials`, before every request.
            api_secret: the secret, or a callable that returns it.
            concurrency: requests under way at the same time, 1 to 64; a borrowed session's connector may allow fewer.
            page_size: records a page, 1 to 100.
            rate: the most requests a second, everything taken together.
            retry: when a failed request is sent again.
            timeout: seconds for one request and its answer.
            lateness: windows that end less than this before now are reported as provisional; longer than the longest
                call.
            strict: raise `ProtocolError` for a record that cannot be decoded, instead of setting it aside.
            session: an aiohttp session whose connections to borrow: it is never closed, and nothing else of it is used
                (headers, cookies, proxy, timeouts, tracing).
            proxy: address of an HTTP proxy.
            ssl_context: how to verify the server; the system's authorities by default.
            user_agent: the `User-Agent` header.
            hook: is called with every `aiosipcdr.events.Event`; keep it short.

        Raises:
            ValueError: an argument cannot be meant; the text says what to do.
        """
        self._engine: Engine | None = None
        self._base_url = ""
        # A traceback may print the locals of its frames, and those below this one's: secrets leave it
        # before anything is raised.
        try:
            address, credentials, problem = check_base_url(base_url), credentials_source(api_key, api_secret), None
        except ValueError as error:
            problem = str(error)
        del api_key, api_secret, base_url
        if problem is not None:
            raise ValueError(problem)
        check_between("concurrency", concurrency, 1, MOST_CONCURRENCY)
        check_between("page_size", page_size, 1, LARGEST_PAGE)
        check_seconds("timeout", timeout)
        check_lateness(lateness)
        if not isinstance(retry, RetryPolicy):
            raise ValueError("retry must be a RetryPolicy; RetryPolicy(attempts=1) never retries")  # noqa: TRY004 - one kind of error for every bad argument
        if hook is not None and not callable(hook):
            raise ValueError("hook must be callable with one event, or None")
        check_kind("rate", rate, RatePolicy | int | float, "a number of requests a second, or a RatePolicy")
        check_kind("ssl_context", ssl_context, ssl.SSLContext, "an ssl.SSLContext")
        if proxy is not None:
            check_proxy(proxy)
        if user_agent is not None:
            check_user_agent(user_agent)
        self._base_url = address
        self._credentials = credentials
        self._page_size = page_size
        self._rate = RatePolicy(rate) if isinstance(rate, int | float) else rate
        self._retry = retry
        self._lateness = lateness
        self._strict = strict
        self._hook = hook
        self._transport = Transport(
            self._base_url + PATH,
            connections=concurrency,
            timeout=timeout,
            session=session,
            proxy=proxy,
            ssl_context=ssl_context,
            user_agent=user_agent or f"aiosipcdr/{__version__}",
        )
        self._places = WindowPlaces(self._transport.connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    @classmethod
    def from_env(cls, **settings: object) -> Self:
        """Build a client from AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.

        Args:
            **settings: keyword arguments of the constructor.

        Raises:
            ValueError: a variable is missing or empty.
        """
        missing = [name for name in _SETTINGS if not os.environ.get(name, "").strip()]
        if missing:
            msg = f"not set in the environment: {', '.join(missing)}"
            raise ValueError(msg)
        return cls(*(os.environ[name] for name in _SETTINGS), **settings)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        """Say where it points and whether it is open."""
        state = "open" if self._engine is not None else "closed"
        return f"<CdrClient {self._base_url}, {state}>"

    async def open(self) -> Self:
        """Open the client in the running event loop; `async with` does this and `aclose`."""
        if self._engine is not None:
            msg = "the client is already open: share it, or build another one"
            raise ClientStateError(msg)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._transport.open()
        self._engine = Engine(self._transport, self._credentials, rate=self._rate, retry=self._retry, hook=self._hook)
        return self

    async def aclose(self) -> None:
        """End what is under way and close the session, unless it was borrowed; may be called again."""
        engine, self._engine = self._engine, None
        try:
            if engine is not None:
                await engine.close()
        finally:
            with anyio.CancelScope(shield=True):
                await self._transport.close()

    async def __aenter__(self) -> Self:
        """Open the client."""
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.aclose()

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

    def _opened(self) -> Engine:
        if self._engine is None:
            msg = "the client is not open: use `async with CdrClient(...) as client`, or await client.open()"
            raise ClientStateError(msg)
        if self._process != os.getpid():
            msg = "the client was opened in another process: open one after the fork"
            raise ClientStateError(msg)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            msg = "the client was opened in another event loop: open one in each"
            raise ClientStateError(msg)
        return self._engine

    async def _ask(self, plan: Plan) -> None:
        engine = self._opened()
        run = engine.start(plan)
        try:
            await run.wait()
            run.check()
        finally:
            await engine.finish(run)
