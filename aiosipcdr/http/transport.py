"""Transport: sends one signed POST over aiohttp and returns the bytes of the response.

The only module that opens an aiohttp session. Never follows a redirect, never retries, and never raises an exception of
aiohttp: their texts quote headers and responses, so each is replaced by one of `aiosipcdr.model.errors`. A response is
limited in size; no unread byte is left on a connection that is used again.
"""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp
import anyio
import msgspec
from aiohttp import ClientSession, hdrs
from yarl import URL

from aiosipcdr.http.aiohttp_errors import ended_before_response, translate_error
from aiosipcdr.http.codings import body_too_large, decode_body, find_unsupported, split_codings
from aiosipcdr.model.errors import (
    ClientStateError,
    ClockSkewError,
    ProtocolError,
    ResponseTooLargeError,
    SipCdrError,
    TransportError,
    http_error,
    vendor_error,
)
from aiosipcdr.model.privacy import Secret
from aiosipcdr.policy.clock import ClockOffset, measure_offset
from aiosipcdr.policy.retry import decode_retry_after
from aiosipcdr.wire.codec import PageAnswer, PageDecoder, Refusal
from aiosipcdr.wire.signing import Credentials, mask_secrets, sign

__all__ = ["ClientSession", "Received", "Signer", "Transport", "default_response_limit", "read_response"]

_JSON: Final = "application/json;charset=UTF-8"
_OK: Final = HTTPStatus.OK.value  # looking up a member takes 0.3 µs before Python 3.12
_CONNECT_SECONDS: Final = 10.0
_DNS_SECONDS: Final = 60
# Shorter than the idle timeouts of common servers and load balancers: a connection that they close first costs a
# request.
_KEEPALIVE_SECONDS: Final = 4.0

_RECORD_BYTES: Final = 64 * 1024
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_REFUSAL_SECONDS: Final = 5.0
# Each chunk takes a few microseconds, however small it is.
_MAX_CHUNKS: Final = 20_000
# Types that endpoints, proxies and login pages send. Others are not quoted in errors, since a header may hold anything.
_CONTENT_TYPES: Final = frozenset(
    {
        *("application/json", "application/octet-stream", "application/problem+json", "application/xhtml+xml"),
        *("application/xml", "text/html", "text/javascript", "text/json", "text/plain", "text/xml"),
    }
)

Sign = Callable[[], dict[str, str]]
"""Returns the headers that sign a request sent now."""


class Received(msgspec.Struct, frozen=True):
    """Answer to a request; its body is complete and decompressed.

    With a status other than 200 the body is kept only if it may be a refusal of the vendor: short JSON.

    Attributes:
        body: The body.
        date: The `Date` header.
        status: The HTTP status.
        retry_after: Seconds of the `Retry-After` header.
        content_type: The media type, see `read_content_type`.
    """

    body: bytes
    date: str | None
    status: int = 200
    retry_after: float | None = None
    content_type: str = "application/json"

    def __repr__(self) -> str:
        """Show the size of the body, not the body."""
        return f"Received(<{len(self.body)} bytes>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("bytes", len(self.body))]


class _SignedBody(aiohttp.BytesPayload):
    """Request body with the callable that signs it, and facts about the connection that it was sent on."""

    def __init__(self, body: bytes, sign: Sign) -> None:
        super().__init__(body, content_type=_JSON)
        self.sign = sign
        self.on_used_connection: bool = False
        self.was_sent: bool = False


# Keyed by the protocols of aiohttp: the transports of uvloop are not instances of `asyncio.Transport`.
_used_connections: WeakSet[asyncio.BaseProtocol] = WeakSet()


class _LateSigned(aiohttp.ClientRequest):
    """Request that is signed when its connection is established.

    DNS, a handshake or a wait for a free connection may take longer than a timestamp is valid.
    """

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        body, connection = self.body, conn.protocol
        if type(body) is _SignedBody:  # CONNECT to a proxy has no body; isinstance is slow on aiohttp's bodies
            self.headers.update(body.sign())
            body.was_sent = True
            if connection in _used_connections:
                body.on_used_connection = True
            elif connection is not None:
                _used_connections.add(connection)
        return await super().send(conn)


class _Connector(aiohttp.TCPConnector):
    """Connector whose copy in a forked child does not touch the parent's sockets and selector."""

    _process = 0

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's own
        self._process = os.getpid()
        super().__init__(**settings)

    def __del__(self, *arguments: object) -> None:
        if self._process == os.getpid():
            super().__del__(*arguments)


class Transport:
    """HTTP transport over an own aiohttp session, or over the connections of a borrowed one."""

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
        """Keep the settings; `open` creates the session.

        Args:
            url: Full address of the endpoint.
            connections: Max requests in flight.
            timeout: Seconds for one request and its response.
            max_response_bytes: Max decoded bytes of one response; by default see `default_response_limit`.
            session: Session whose connections are borrowed; it is never closed.
            proxy: Address of an HTTP proxy.
            ssl_context: How to verify the server; by default with the system's certificate authorities.
            user_agent: The `User-Agent` header.

        Raises:
            ValueError: `session` is not an `aiohttp.ClientSession`.
        """
        if not isinstance(session, aiohttp.ClientSession | None):
            raise ValueError(f"session must be an aiohttp.ClientSession, not a {type(session).__name__}")  # noqa: TRY004 - one kind of error for every bad argument
        self._url = URL(url)
        if self._url.scheme == "http" and self._url.host == "localhost":
            # A resolver may map this name, and so send the signature in clear text, to another machine.
            self._url = self._url.with_host("127.0.0.1")
        self._host = urlsplit(url).netloc
        self.proxy_host: str = "" if proxy is None else urlsplit(proxy.reveal()).netloc.rpartition("@")[2]
        self._connections = connections
        self._max_response_bytes = max_response_bytes
        self._borrowed = session
        self._session: aiohttp.ClientSession | None = None
        self.proxy = proxy
        # No separate read timeout: a slow vendor may take as long as the caller allows in total.
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        # Always our own context: a borrowed connector may have verification disabled.
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
        """Max requests in flight; a borrowed connector may allow fewer than configured."""
        connector = self._borrowed.connector if self._borrowed is not None else None
        if connector is None:
            return self._connections
        limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit]
        return min([self._connections, *limits])

    def open(self) -> None:
        """Create the session in the running event loop."""
        connector: aiohttp.BaseConnector | None
        if self._borrowed is None:
            connector = _Connector(
                limit=self._connections, keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=_DNS_SECONDS
            )
        else:
            connector = self._borrowed.connector
        # Only the connections of a borrowed session are used: its headers and cookies must not reach the vendor, and
        # its proxy must not see the signature.
        if connector is None or connector.closed:
            return  # the first request reports it
        with contextlib.suppress(RuntimeError):  # another event loop: the first request reports it
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
        """Drop the session in a forked child, without touching the parent's sockets."""
        session, self._session = self._session, None
        if session is not None:
            session.detach()

    async def send(self, body: bytes, sign: Sign, *, size: int = 100) -> Received | SipCdrError:
        """Send one request; return the response, or the error that explains why there is none.

        Args:
            body: The JSON body.
            sign: Returns the headers that sign the request; called when the connection is established.
            size: Number of records asked for; limits the size of the response.
        """
        payload = _SignedBody(body, sign)
        del body  # a traceback may show the locals of this frame, and a filter may be a number
        session = self._session
        if session is None or session.closed or (self._borrowed is not None and self._borrowed.closed):
            return ClientStateError(
                "the HTTP session is closed or belongs to another event loop: open a new client in this one"
            )
        try:
            return await self._exchange(session, payload, size)
        except Exception as error:  # noqa: BLE001 - every exception of aiohttp is translated
            translated = translate_error(error, self._host, self.proxy_host, was_sent=payload.was_sent)
            if isinstance(translated, TransportError) and ended_before_response(error):
                translated.stale = payload.on_used_connection
            return translated
        except BaseException as ended:  # noqa: BLE001 - raised again
            # The frames below hold headers, which a traceback of a cancellation or of Ctrl-C must not show.
            raise ended.with_traceback(None) from None

    async def _exchange(
        self, session: aiohttp.ClientSession, payload: _SignedBody, size: int
    ) -> Received | SipCdrError:
        async with session.post(
            self._url,
            data=payload,
            allow_redirects=False,
            proxy=None if self.proxy is None else self.proxy.reveal(),
            ssl=self.ssl,
        ) as response:
            headers, status = response.headers, response.status
            if status == _OK:
                body = await _read_body(response, self._max_response_bytes or default_response_limit(size))
            else:
                body = await _read_refusal(response)
            if not isinstance(body, bytes):
                return body
            date, wait = headers.get(hdrs.DATE), headers.get(hdrs.RETRY_AFTER)
            retry_after = None if wait is None else decode_retry_after(wait, date, time.time())
            return Received(body, date, status, retry_after, read_content_type(headers.get(hdrs.CONTENT_TYPE)))


def default_response_limit(size: int) -> int:
    """Return the default limit for the decoded bytes of a response with `size` records: 64 KiB each, and 64 KiB more.

    A record takes about 600 bytes.
    """
    return _RECORD_BYTES * (size + 1)


@lru_cache(maxsize=16)
def read_content_type(value: str | None) -> str:
    """Return the media type in a `Content-Type` header: a well-known one, "another type", or an empty text."""
    media_type = (value or "").partition(";")[0].strip().lower()
    return media_type if media_type in _CONTENT_TYPES or not media_type else "another type"


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes | SipCdrError:
    codings = _find_codings(response) if hdrs.CONTENT_ENCODING in response.headers else ()
    length = response.content_length
    body: bytes | SipCdrError
    if codings and (unsupported := find_unsupported(codings)) is not None:
        body = unsupported
    elif length is None:
        body = await _read_chunks(response, limit)
    else:
        body = await response.read() if length <= limit else body_too_large(limit)
    if not isinstance(body, bytes):
        response.close()  # unread bytes would be taken for the next response
        return body
    return decode_body(body, codings, limit) if codings else body


async def _read_chunks(response: aiohttp.ClientResponse, limit: int) -> bytes | SipCdrError:
    body, chunks = bytearray(), 0
    async for chunk, _ in response.content.iter_chunks():
        body += chunk
        chunks += 1
        if len(body) > limit:
            return body_too_large(limit)
        if chunks > _MAX_CHUNKS:
            return ResponseTooLargeError(f"the response is sent in more than {_MAX_CHUNKS:,} chunks")
    return bytes(body)


async def _read_refusal(response: aiohttp.ClientResponse) -> bytes:
    # The body of an error status may say that the login was refused, which must not be repeated. Nothing is kept of
    # long or slow bodies, nor of redirects.
    body = bytearray()
    if response.status >= HTTPStatus.BAD_REQUEST:
        with contextlib.suppress(aiohttp.ClientError, OSError), anyio.move_on_after(_REFUSAL_SECONDS):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_REFUSAL_BYTES:
                    break
            else:
                plain = decode_body(bytes(body), _find_codings(response), _MAX_REFUSAL_BYTES)
                return plain if isinstance(plain, bytes) else b""
    response.close()  # unread bytes would be taken for the next response
    return b""


def _find_codings(response: aiohttp.ClientResponse) -> tuple[str, ...]:
    return split_codings(response.headers.getall(hdrs.CONTENT_ENCODING, []))


class Signer(msgspec.Struct, eq=False):
    """Signs one request, anew each time it is called.

    Attributes:
        credentials: Key and secret.
        clock: Offset of the vendor's clock.
        wall_clock: Returns this machine's Unix time.
        signed_at: This machine's Unix time of the last signature, 0 before the first.
        version: Version of the offset in the last signature.
    """

    credentials: Credentials
    clock: ClockOffset
    wall_clock: Callable[[], float]
    signed_at: float = 0.0
    version: int = 0

    def __call__(self) -> dict[str, str]:
        """Return the headers that sign a request sent now."""
        self.signed_at = self.wall_clock()
        self.version = self.clock.version
        timestamp = int(self.signed_at + self.clock.seconds)
        return {
            "Api-Key": self.credentials.key,
            "Timestamp": str(timestamp),
            "Sign": sign(self.credentials, timestamp),
        }


def read_response(
    received: Received,
    decoder: PageDecoder,
    credentials: Credentials,
    *,
    current: int,
    size: int,
    sent: float,
    now: float,
) -> PageAnswer | SipCdrError:
    """Return the page in a response, or the error that it reports.

    Args:
        received: The response.
        decoder: Decoder of its body.
        credentials: Credentials of the request; the vendor's text may quote the key.
        current: Number of the page that was requested.
        size: Number of records that were requested.
        sent: This machine's Unix time when the request was signed.
        now: This machine's Unix time when the response was complete.
    """
    answer = decoder.decode(received.body, current=current, size=size, mask=partial(mask_secrets, credentials))
    if isinstance(answer, Refusal):
        error = _refused(received, answer)
        if isinstance(error, ClockSkewError):
            error.offset = measure_offset(received.date, sent, now)
        return error
    if received.status != _OK:
        return http_error(received.status, retry_after=received.retry_after)
    if isinstance(answer, ProtocolError) and received.content_type != "application/json":
        foreign = ProtocolError(f"{answer}, sent as {received.content_type or 'nothing'}", retryable=answer.retryable)
        foreign.is_foreign = True
        return foreign
    return answer


def _refused(received: Received, answer: Refusal) -> SipCdrError:
    code, reason = answer.status, answer.reason
    if received.status == _OK:
        return vendor_error(code, reason, retry_after=received.retry_after)
    return http_error(received.status, retry_after=received.retry_after, code=code, reason=reason)
