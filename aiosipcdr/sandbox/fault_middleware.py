"""The middleware that applies queued faults to responses.

A request without a queued fault is answered as usual. Leaves no connection half open.
"""

import asyncio
import contextlib
import gzip
import struct
import sys
from collections.abc import Awaitable, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from aiosipcdr.sandbox.fault_queue import FaultQueue
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.wire_faults import (
    WITHOUT_ANSWER,
    After,
    DamagedResponse,
    HarmlessError,
    WireResponse,
    body_of,
    in_gzip,
    plan_damage,
)

JSON: Final = "application/json;charset=UTF-8"
_REPLACED_HEADERS: Final = frozenset((hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.DATE, hdrs.CONNECTION))
DATED: Final = web.ResponseKey("date", str)
"""The key under which a response stores the value of its `Date` header."""
# Linger on, for zero seconds: closing then resets the connection. Windows uses 16-bit values.
_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HijackedConnection(asyncio.Protocol):
    """A connection taken over from aiohttp, which is only notified of its end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take the connection over; it cannot be returned."""
        self._transport = transport
        self._aiohttp = transport.get_protocol()
        self._lost = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        # Without a buffer limit of 0, `send` would not know when the bytes have left.
        transport.set_write_buffer_limits(0)
        transport.set_protocol(self)

    async def send(self, damaged: DamagedResponse) -> None:
        """Write the pieces, and end the connection as planned."""
        for piece in damaged.pieces:
            self._transport.write(piece)
            await self._empty.wait()
            # Yields to the loop at least once, so that a lost connection is noticed.
            await self._idle(damaged.pause)
            if self._lost.is_set():
                return
        if damaged.after is After.SILENCE:
            await self._lost.wait()
        elif damaged.after is After.RESET:
            self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _LINGER)
            self.drop()
        else:
            self._transport.close()

    def drop(self) -> None:
        """Close the connection without waiting."""
        self._transport.abort()

    async def _idle(self, seconds: float) -> None:
        """Wait, or return early when the client has left."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), seconds)
        else:
            await asyncio.sleep(0)

    def pause_writing(self) -> None:
        """Note that written bytes are buffered."""
        self._empty.clear()

    def resume_writing(self) -> None:
        """Note that the buffer is empty."""
        self._empty.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection and notify aiohttp."""
        self._lost.set()
        self._empty.set()
        self._aiohttp.connection_lost(exc)


class _HandledResponse(web.Response):
    """A response whose connection has already been handled."""

    async def prepare(self, _request: BaseRequest) -> AbstractStreamWriter | None:
        """Raise the exception that aiohttp ignores: the client has left."""
        raise ConnectionResetError


class FaultMiddleware:
    """An aiohttp middleware that looks up a fault for each request and applies it."""

    def __init__(
        self,
        fault_queue: FaultQueue,
        *,
        refuse: Callable[[int, str | None], bytes],
        count: Callable[[int], None],
        date: Callable[[], str | None],
    ) -> None:
        """Apply the faults of `fault_queue`.

        Args:
            fault_queue: The queued faults.
            refuse: Returns the vendor's response for a code and a reason, and counts it.
            count: Counts an HTTP status.
            date: Returns the value of the `Date` header, if there is one.
        """
        self._fault_queue = fault_queue
        self._refuse = refuse
        self._count = count
        self._date = date
        self._connections: set[HijackedConnection] = set()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End everything that would continue forever, and all waiting."""
        self._closing.set()
        for connection in self._connections:
            connection.drop()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Answer a request, with its fault or as usual."""
        if self._fault_queue.empty or request.match_info.http_exception is not None:
            return await handler(request)
        queued = self._fault_queue.take(await request.read())
        if queued is None:
            return await handler(request)
        fault = queued.fault
        if fault.kind in {"http", "code"}:
            return self._replacement(fault)
        if fault.kind in WITHOUT_ANSWER:
            empty = WireResponse(200, "OK", [(hdrs.CONTENT_TYPE, JSON), *self._dated()], b"")
            return await self._send_damaged(request, plan_damage(fault, empty))
        try:
            true = await handler(request)
        except BaseException:
            self._fault_queue.put_back(queued)
            raise
        try:
            if not isinstance(true, web.Response) or not isinstance(true.body, bytes):
                raise HarmlessError  # noqa: TRY301 - handled like every fault that does not apply
            return await self._damage(request, fault, true, true.body)
        except HarmlessError:
            self._fault_queue.put_back(queued)
            return true

    def _replacement(self, fault: Fault) -> web.Response:
        """Return an intact response that replaces the true one."""
        status, headers = fault.status or 200, {}
        if fault.kind == "code":
            body = self._refuse(fault.code or 0, fault.reason)
        else:
            body = body_of(fault)
            self._count(status)
        if body:
            headers[hdrs.CONTENT_TYPE] = JSON
        response = web.Response(status=status, body=body, headers=headers)
        _set_headers(response, fault)
        return response

    async def _damage(self, request: web.Request, fault: Fault, true: web.Response, body: bytes) -> web.StreamResponse:
        """Return the damaged response, or send it."""
        if fault.kind == "late":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), fault.seconds)
            return true
        packed = true.headers.get(hdrs.CONTENT_ENCODING) == "gzip"
        if fault.kind in {"edit", "cut-gzip", "corrupt-gzip"}:
            body = gzip.decompress(body) if packed else body
            if fault.kind == "edit":
                edited = edit(fault, body)
                body = gzip.compress(edited, mtime=0) if packed else edited
            else:
                body = in_gzip(fault, body)
                true.headers[hdrs.CONTENT_ENCODING] = "gzip"
            true.body = body
            if fault.status is not None:
                true.set_status(fault.status)
            _set_headers(true, fault)
            return true
        headers = [(name, value) for name, value in true.headers.items() if name.title() not in _REPLACED_HEADERS]
        answer = WireResponse(true.status, true.reason, [*headers, *self._dated()], body)
        return await self._send_damaged(request, plan_damage(fault, answer))

    def _dated(self) -> list[tuple[str, str]]:
        """Return the `Date` header, if there is one."""
        date = self._date()
        return [] if date is None else [(hdrs.DATE, date)]

    async def _send_damaged(self, request: web.Request, damaged: DamagedResponse) -> _HandledResponse:
        """Take the connection over and send the broken response."""
        if request.transport is not None and not self._closing.is_set():
            connection = HijackedConnection(request.transport)
            self._connections.add(connection)
            try:
                await connection.send(damaged)
            except BaseException:
                connection.drop()
                raise
            finally:
                self._connections.discard(connection)
        return _HandledResponse()


def _set_headers(response: web.Response, fault: Fault) -> None:
    """Add a fault's headers to a response, replacing those of the same name."""
    response.headers.update(fault.headers or {})
    if hdrs.DATE in response.headers:
        response[DATED] = response.headers[hdrs.DATE]


def edit(fault: Fault, body: bytes) -> bytes:
    """Return the true response with the changes of an "edit" fault.

    Raises:
        HarmlessError: The text to replace is missing.
    """
    if fault.data is not None:
        try:
            # Raw: numbers keep their digits, and unchanged members all of their bytes.
            answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            data = msgspec.json.decode(answer["data"], type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            raise HarmlessError from None
        inside = msgspec.Raw(msgspec.json.encode({**data, **fault.data}))
        body = msgspec.json.encode({**answer, "data": inside})
    if fault.old is not None:
        old = fault.old.encode()
        new = bytes.fromhex(fault.new_hex) if fault.new_hex is not None else (fault.new or "").encode()
        if old not in body:
            raise HarmlessError
        body = body.replace(old, new, 1)
    return (fault.prefix or "").encode() + body + (fault.suffix or "").encode()
