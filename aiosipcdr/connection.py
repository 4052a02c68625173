"""An open client without its questions: settings checked, one engine, in one event loop of one process.

Asks nothing by itself; bad settings are refused here, before any I/O.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypedDict, Unpack

import anyio

from aiosipcdr import __version__
from aiosipcdr.engine.engine import Engine
from aiosipcdr.engine.run import Plan
from aiosipcdr.events import EventHook, LoggingHook
from aiosipcdr.http.options import (
    check_base_url,
    check_between,
    check_filter_match,
    check_kind,
    check_seconds,
    check_span,
    check_ssl_context,
    check_user_agent,
    check_zone,
    choose_proxy,
    unquote,
)
from aiosipcdr.http.transport import Transport
from aiosipcdr.model.errors import ClientStateError
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.policy.clock import AgePolicy
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.proof.budget import RowQuota
from aiosipcdr.proof.checkpoint import JournalQueue
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.proof.overlaps import identity
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.wire.codec import PATH, FilterMatch, Filters
from aiosipcdr.wire.signing import Credentials, credentials_source

if TYPE_CHECKING:
    import aiohttp

__all__ = ["LARGEST_PAGE", "ClientSettings", "Connection", "OutOfRange"]

OutOfRange = Literal["raise", "skip"]

LARGEST_PAGE = 100
MOST_CONCURRENCY = 64

_SETTINGS = ("AIOSIPCDR_BASE_URL", "AIOSIPCDR_API_KEY", "AIOSIPCDR_API_SECRET")


class ClientSettings(TypedDict, total=False):
    """The keyword arguments of the constructor, for type checkers."""

    concurrency: int
    page_size: int
    rate: RatePolicy | float | None
    retry: RetryPolicy
    timeout: float
    max_response_bytes: int | None
    lateness: timedelta
    count_delay: timedelta
    strict: bool
    assume_tz: tzinfo | str | None
    filter_match: FilterMatch
    session: "aiohttp.ClientSession | None"
    proxy: str | None
    trust_env: bool
    ssl_context: ssl.SSLContext | None
    user_agent: str | None
    hook: EventHook | None


class Connection:
    """What `CdrClient` is made of: it can be opened, closed and told a plan."""

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
        max_response_bytes: int | None = None,
        lateness: timedelta = timedelta(hours=4),
        count_delay: timedelta = timedelta(seconds=1),
        strict: bool = False,
        assume_tz: tzinfo | str | None = None,
        filter_match: FilterMatch = "exact",
        session: "aiohttp.ClientSession | None" = None,
        proxy: str | None = None,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        user_agent: str | None = None,
        hook: EventHook | None = None,
    ) -> None:
        """Check and keep the settings; nothing is opened yet, no event loop is needed.

        Args:
            base_url: the brand's address, as in `https://api.laaffic.com/v3/voice`; https, or http to loopback.
            api_key: the key; or a callable that returns it, or both parts as `Credentials`, before every request,
                in the context variables of the run's caller.
            api_secret: the secret, or a callable that returns it.
            concurrency: requests under way at the same time, 1 to 64; a borrowed session's connector may allow fewer.
            page_size: records a page, 1 to 100.
            rate: the most requests a second, everything taken together.
            retry: when a failed request is sent again.
            timeout: seconds for one request and its answer.
            max_response_bytes: largest decoded answer; by default 64 KiB for each record asked for and one more.
            lateness: windows that end less than this before now, by the vendor's clock, are reported as provisional;
                longer than the longest call.
            count_delay: the control count of such a window waits so long after its last page, for a vendor whose counts
                lag behind its rows; `timedelta(0)` waits for nothing.
            strict: raise `ProtocolError` for the first record or value that cannot be read.
            assume_tz: the time zone of times that the vendor sends without an offset, a tzinfo or an IANA name; without
                it they cannot be read.
            filter_match: how records are compared with the filters that were asked for: "exact", or "loose" for a
                vendor that ignores case and outer blanks; `report.anomalies` then counts records that differ. A record
                of another group or phone, or without one, raises `FilterIgnoredError` in both.
            session: an aiohttp session whose connections to borrow: it is never closed, and nothing else of it is used
                (headers, cookies, proxy, timeouts, tracing).
            proxy: address of an HTTP proxy.
            trust_env: without `proxy`, use the one that HTTPS_PROXY (or HTTP_PROXY) names, unless NO_PROXY excludes the
                host; never for loopback.
            ssl_context: how to verify the server; the system's authorities by default. One that verifies less raises
                an `InsecureTlsWarning`.
            user_agent: the `User-Agent` header.
            hook: is called with every `aiosipcdr.events.Event`; keep it short.  Without one, events go to the logger
                "aiosipcdr"; `aiosipcdr.events.combine` makes one hook of several.

        Raises:
            ValueError: an argument cannot be meant; the text says what to do.
        """
        self._engine: Engine | None = None
        self._base_url = ""
        # A traceback may print the locals of its frames, and those below this one's: secrets leave it
        # before anything is raised.
        try:
            address, credentials, problem = check_base_url(base_url), credentials_source(api_key, api_secret), None
            way = choose_proxy(proxy, address, trust_env=trust_env)
        except ValueError as error:
            problem = str(error)
        del api_key, api_secret, base_url, proxy
        if problem is not None:
            raise ValueError(problem)
        check_between("concurrency", concurrency, 1, MOST_CONCURRENCY)
        check_between("page_size", page_size, 1, LARGEST_PAGE)
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
        check_kind("rate", rate, RatePolicy | int | float, "a number of requests a second, or a RatePolicy")
        check_ssl_context(ssl_context)
        if user_agent is not None:
            check_user_agent(user_agent)
        self._base_url = address
        self._credentials = credentials
        self._page_size = page_size
        self._rate = RatePolicy(rate) if isinstance(rate, int | float) else rate
        self._retry = retry
        self._lateness = lateness
        self._count_delay = count_delay
        self._strict = strict
        self._filter_match = check_filter_match(filter_match)
        self._assume_tz = zone
        self._hook = LoggingHook() if hook is None else hook
        self._transport = Transport(
            self._base_url + PATH,
            connections=concurrency,
            timeout=timeout,
            max_response_bytes=max_response_bytes,
            session=session,
            proxy=way,
            ssl_context=ssl_context,
            user_agent=user_agent or f"aiosipcdr/{__version__}",
        )
        self._quota = RowQuota(self._transport.connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    @classmethod
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Build a client from AIOSIPCDR_BASE_URL, AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET.

        AIOSIPCDR_ASSUME_TZ, if set, is `assume_tz` where that is not given.

        Args:
            **settings: keyword arguments of the constructor.

        Raises:
            ValueError: a variable is missing or empty.
        """
        found = {name: unquote(os.environ.get(name, "")) for name in _SETTINGS}
        missing = [name for name, value in found.items() if not value]
        if missing:
            msg = f"not set in the environment: {', '.join(missing)}"
            raise ValueError(msg)
        if zone := unquote(os.environ.get("AIOSIPCDR_ASSUME_TZ", "")):
            settings.setdefault("assume_tz", zone)
        try:
            return cls(*found.values(), **settings)
        except ValueError as error:
            problem = str(error)
        del settings, found  # a proxy's address may hold a password
        raise ValueError(problem)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: it holds credentials and open connections."""
        raise TypeError(
            "a CdrClient does not pickle: hand the range to the other process and build a client there, with"
            " CdrClient.from_env() for example"
        )

    def __repr__(self) -> str:
        """Say where it points and whether it is open."""
        state = "open" if self._engine is not None else "closed"
        return f"<CdrClient {self._base_url}, {state}>"

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's: the median of recent answers' `Date`.

        `None` before the first answer, where no recent one had a `Date`, and for a client that is not open.
        """
        return None if self._engine is None else self._engine.clock_offset

    async def open(self) -> Self:
        """Open the client in the running event loop; `async with` does this and `aclose`."""
        if self._engine is not None:
            msg = "the client is already open: share it, or build another one"
            raise ClientStateError(msg)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._transport.open()
        self._engine = Engine(
            self._transport,
            self._credentials,
            rate=self._rate,
            retry=self._retry,
            hook=self._hook,
            assume_tz=self._assume_tz,
        )
        return self

    async def aclose(self) -> None:
        """End what is under way and close the session, unless it was borrowed; may be called again.

        In a forked child it only forgets them: the connections are the parent's.
        """
        engine, self._engine = self._engine, None
        if engine is not None and not engine.is_here:
            self._transport.forget()
            return
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

    def _cover(
        self,
        start: datetime,
        end: datetime,
        filters: Filters | ValueError,
        *,
        on_out_of_range: OutOfRange,
        allow_incomplete: bool,
        time_field: str | None,
        adjacent: bool = False,
        normalize: Callable[[CallDetailRecord], CallDetailRecord] | None = None,
        journal: JournalQueue | None = None,
    ) -> RangeReader:
        if isinstance(filters, ValueError):
            raise filters
        if on_out_of_range not in ("raise", "skip"):
            msg = f'on_out_of_range must be "raise" or "skip", not {on_out_of_range!r}'
            raise ValueError(msg)
        if time_field is not None and time_field not in TIME_FIELDS:
            msg = f"time_field must be one of {', '.join(TIME_FIELDS)}, not {time_field!r}"
            raise ValueError(msg)
        plan = OwnedSpan.adjacent if adjacent else OwnedSpan.alone
        span = plan(start, end, time_field=time_field)
        engine = self._opened()
        return RangeReader(
            span,
            filters,
            size=self._page_size,
            quota=self._quota,
            ages=AgePolicy(engine.read_vendor_clock, self._lateness, self._count_delay),
            allow_incomplete=allow_incomplete,
            skip_out_of_range=on_out_of_range == "skip",
            strict=self._strict,
            normalize=normalize or identity,
            journal=journal,
        )
