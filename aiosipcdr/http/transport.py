"""One signed POST over aiohttp: bytes out, bytes in.

The only room that opens aiohttp's client.  Never follows a redirect, never
retries, never raises what aiohttp raised: its exceptions quote headers and
answers, so each is replaced by one of ours that says what happened and no more.
"""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
import msgspec
from aiohttp import ClientSession, hdrs
from yarl import URL

from aiosipcdr.http.aiohttp_errors import ended_unanswered, translate_error
from aiosipcdr.http.bodies import plan_limit, read_body, read_content_type, read_refusal
from aiosipcdr.model.errors import (
    ClientStateError,
    ClockSkewError,
    ProtocolError,
    SipCdrError,
    TransportError,
    http_error,
    vendor_error,
)
from aiosipcdr.model.privacy import Secret
from aiosipcdr.policy.clock import ClockOffset, measure_offset
from aiosipcdr.policy.retry import decode_retry_after
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, Refusal
from aiosipcdr.wire.signing import Credentials, sign

__all__ = ["ClientSession", "Received", "SignedRequest", "Signer", "Transport", "read_answer"]

_JSON: Final = "application/json;charset=UTF-8"
_CONNECT_SECONDS: Final = 10.0
_DNS_SECONDS: Final = 60
# Below what common servers and load balancers keep: a connection that they
# close first costs a request.
_KEEPALIVE_SECONDS: Final = 4.0


class SignedRequest(msgspec.Struct, frozen=True):
    """What goes out: perhaps with a phone's name in it, so no repr shows it.

    `sign` returns the headers that sign it.  It is called when a connection is
    there: looking up a name, a handshake or a queue of somebody else's requests
    may take longer than a timestamp is good for.
    """

    body: bytes
    sign: Callable[[], dict[str, str]]
    size: int = 100
    """The records that are asked for, which bound the answer."""

    def __repr__(self) -> str:
        """Show nothing."""
        return "SignedRequest(***)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return []


class Received(msgspec.Struct, frozen=True):
    """What came back: the whole body, decompressed.

    With an HTTP status other than 200 the body is there if it may be the
    vendor's own words: JSON of modest size.
    """

    body: bytes
    date: str | None
    status: int = 200
    retry_after: float | None = None
    content_type: str = "application/json"

    def __repr__(self) -> str:
        """Count the bytes instead of printing them."""
        return f"Received(<{len(self.body)} bytes>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("bytes", len(self.body))]


class _SignedBody(aiohttp.BytesPayload):
    """A body that brings along what signs it, and remembers what it went out on."""

    def __init__(self, request: SignedRequest) -> None:
        super().__init__(request.body, content_type=_JSON)
        self.sign = request.sign
        self.records = request.size
        self.on_used_connection: bool = False
        self.was_sent: bool = False


# By their protocols, which are aiohttp's own: the transports of uvloop are no `asyncio.Transport`.
_used_connections: WeakSet[asyncio.BaseProtocol] = WeakSet()


class _LateSigned(aiohttp.ClientRequest):
    """A request whose signature is made when its connection is there."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        body, line = self.body, conn.protocol
        if type(body) is _SignedBody:  # a proxy's CONNECT has none; aiohttp's bodies are slow to ask for their class
            self.headers.update(body.sign())
            body.was_sent = True
            if line in _used_connections:
                body.on_used_connection = True
            elif line is not None:
                _used_connections.add(line)
        return await super().send(conn)


class _Connector(aiohttp.TCPConnector):
    """A connector whose copy in a forked child leaves the parent's sockets and selector alone."""

    _process = 0

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's own
        self._process = os.getpid()
        super().__init__(**settings)

    def __del__(self, *arguments: object) -> None:
        if self._process == os.getpid():
            super().__del__(*arguments)


class Transport:
    """An aiohttp session of our own, or the caller's, behind one method."""

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        timeout: float,
        max_response_bytes: int | None = None,
        session: aiohttp.ClientSession | None,
        proxy: Secret | None,
        ssl_context: ssl.SSLContext | None,
        user_agent: str,
    ) -> None:
        """Keep the settings; nothing is opened yet.

        Args:
            url: the endpoint's full address.
            connections: how many requests will be under way at once at most.
            timeout: seconds for one request and its answer, all taken together.
            max_response_bytes: decoded bytes of one answer at most; 64 KiB for each record and one more by default.
            session: a session to borrow; it is never closed here.
            proxy: address of an HTTP proxy.
            ssl_context: how to verify the server; the system's authorities by default.
            user_agent: the `User-Agent` header.

        Raises:
            ValueError: `session` is none.
        """
        if not isinstance(session, aiohttp.ClientSession | None):
            raise ValueError(f"session must be an aiohttp.ClientSession, not a {type(session).__name__}")  # noqa: TRY004 - one kind of error for every bad argument
        self._url = URL(url)
        if self._url.scheme == "http" and self._url.host == "localhost":
            # A resolver may send this name, and with it the signature in clear, to another machine.
            self._url = self._url.with_host("127.0.0.1")
        self._host = urlsplit(url).netloc
        self.proxy_host: str = "" if proxy is None else urlsplit(proxy.reveal()).netloc.rpartition("@")[2]
        self._connections = connections
        self._max_response_bytes = max_response_bytes
        self._borrowed = session
        self._session: aiohttp.ClientSession | None = None
        self._proxy = proxy
        # Silence is bounded by the whole: a vendor that thinks for long is waited for as long as the caller says.
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        # Always our own context: the connector of a borrowed session may have verification switched off.
        self.ssl: ssl.SSLContext | bool = True
        if url.startswith("https:"):
            self.ssl = ssl_context or ssl.create_default_context()
        self._headers = {
            "Content-Type": _JSON,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Cache-Control": "no-cache",
            "User-Agent": user_agent,
        }

    @property
    def connections(self) -> int:
        """How many requests may be under way at once: a borrowed connector may allow fewer than asked for."""
        connector = self._borrowed.connector if self._borrowed is not None else None
        if connector is None:
            return self._connections
        limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit]
        return min([self._connections, *limits])

    def open(self) -> None:
        """Make the session ready; must run in the event loop that will use it."""
        connector: aiohttp.BaseConnector | None
        if self._borrowed is None:
            connector = _Connector(
                limit=self._connections, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=_DNS_SECONDS
            )
        else:
            connector = self._borrowed.connector
        # Of a borrowed session only the connections are used: its headers, cookies, proxy and timeouts are for its
        # owner's requests, and some of them would go to the vendor, or the signature elsewhere.
        if connector is None or connector.closed:
            return  # the first request says so
        with contextlib.suppress(RuntimeError):  # of another event loop: likewise
            self._session = aiohttp.ClientSession(
                connector=connector,
                connector_owner=self._borrowed is None,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers=self._headers,
                request_class=_LateSigned,
                timeout=self._timeout,
                auto_decompress=False,
            )

    async def close(self) -> None:
        """Close the session; a borrowed one stays open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def forget(self) -> None:
        """Let go of the session in a forked child, without touching the parent's sockets."""
        session, self._session = self._session, None
        if session is not None:
            session.detach()

    async def send(self, request: SignedRequest) -> Received | SipCdrError:
        """Send `request`; return what came back, or the error that tells why nothing usable did."""
        session = self._session
        if session is None or session.closed or (self._borrowed is not None and self._borrowed.closed):
            return ClientStateError(
                "the HTTP session is closed or belongs to another event loop: open a new client in this one"
            )
        body = _SignedBody(request)
        try:
            return await self._exchange(session, body)
        except Exception as error:  # noqa: BLE001 - whatever aiohttp raises becomes one of ours
            ours = translate_error(error, self._host, self.proxy_host, was_sent=body.was_sent)
            if isinstance(ours, TransportError) and ended_unanswered(error):
                ours.stale = body.on_used_connection
            return ours
        except BaseException as ended:  # noqa: BLE001 - it goes on
            # The frames below hold headers; whoever cancels, or presses Ctrl-C, learns nothing from them.
            raise ended.with_traceback(None) from None

    async def _exchange(self, session: aiohttp.ClientSession, body: _SignedBody) -> Received | SipCdrError:
        async with session.post(
            self._url,
            data=body,
            allow_redirects=False,
            proxy=None if self._proxy is None else self._proxy.reveal(),
            ssl=self.ssl,
        ) as response:
            headers, status = response.headers, response.status
            limit = self._max_response_bytes or plan_limit(body.records)
            reported = await (read_body(response, limit) if status == HTTPStatus.OK else read_refusal(response))
            if not isinstance(reported, bytes):
                return reported
            date, wish = headers.get(hdrs.DATE), headers.get(hdrs.RETRY_AFTER)
            retry_after = None if wish is None else decode_retry_after(wish, date, time.time())
            return Received(reported, date, status, retry_after, read_content_type(headers.get(hdrs.CONTENT_TYPE)))


class Signer:
    """Signs one request afresh each time it is called.

    Attributes:
        signed: this machine's Unix time of the last signature, 0 before the first.
        version: the version of the offset that it was made with.
    """

    __slots__ = ("_clock", "_credentials", "_wall_clock", "signed", "version")

    def __init__(self, credentials: Credentials, clock: ClockOffset, wall_clock: Callable[[], float]) -> None:
        """Keep what signing takes."""
        self._credentials = credentials
        self._clock = clock
        self._wall_clock = wall_clock
        self.signed: float = 0.0
        self.version: int = clock.version

    def __call__(self) -> dict[str, str]:
        """Return the headers that sign a request sent now."""
        self.signed = self._wall_clock()
        self.version = self._clock.version
        timestamp = int(self.signed + self._clock.seconds)
        key = self._credentials.key
        return {"Api-Key": key, "Timestamp": str(timestamp), "Sign": sign(self._credentials, timestamp)}


def read_answer(
    received: Received,
    decoder: PageDecoder,
    credentials: Credentials,
    *,
    current: int,
    size: int,
    sent: float,
    now: float,
) -> PageAnswer | SipCdrError:
    """Return what `received` holds.

    Args:
        received: the answer.
        decoder: reads its body.
        credentials: what the request was signed with; the vendor's words may quote the key.
        current: the page that was asked for.
        size: the records that were asked for.
        sent: this machine's Unix time when the request was signed.
        now: likewise when the answer had come.
    """
    answer = decoder.decode(received.body, current=current, size=size, mask=credentials.mask)
    if isinstance(answer, Refusal):
        error = _refused(received, answer)
        if isinstance(error, ClockSkewError):
            error.offset = measure_offset(received.date, sent, now)
        return error
    if received.status != HTTPStatus.OK:
        return http_error(received.status, retry_after=received.retry_after)
    if isinstance(answer, ProtocolError) and received.content_type != "application/json":
        foreign = ProtocolError(f"{answer}, sent as {received.content_type or 'nothing'}", retryable=answer.retryable)
        foreign.is_foreign = True
        return foreign
    return answer


def _refused(received: Received, answer: Refusal) -> SipCdrError:
    code, reason = answer.status, answer.reason
    if received.status == HTTPStatus.OK:
        return vendor_error(code, reason, retry_after=received.retry_after)
    return http_error(received.status, retry_after=received.retry_after, code=code, reason=reason)
