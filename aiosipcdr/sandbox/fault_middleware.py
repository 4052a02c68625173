"""What stands between the door and the endpoint and makes answers go wrong, as scripted.

It breaks answers and nothing else: this module must never leave a connection half alive,
write a log line or answer a request that no fault is scripted for.
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
    Broken,
    HarmlessError,
    WireAnswer,
    body_of,
    in_gzip,
    plan_broken,
)

JSON: Final = "application/json;charset=UTF-8"
_NOT_OURS: Final = frozenset((hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.DATE, hdrs.CONNECTION))
DATED: Final = web.ResponseKey("date", str)
"""Under this key a response says what its `Date` is to be."""
# On, for no time at all: closing resets the connection. Windows has smaller numbers there.
_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Line(asyncio.Protocol):
    """A connection taken over from aiohttp, which hears of its end and of nothing else."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take it over; it cannot be given back."""
        self._transport = transport
        self._aiohttp = transport.get_protocol()
        self._lost = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        # Told of every byte that has not left: what is written has gone when `send` returns.
        transport.set_write_buffer_limits(0)
        transport.set_protocol(self)

    async def play(self, broken: Broken) -> None:
        """Write what is to be written, and end as it says."""
        for piece in broken.pieces:
            self._transport.write(piece)
            await self._empty.wait()
            # One round of the loop at least: a lost connection is heard of in between.
            await self._idle(broken.pause)
            if self._lost.is_set():
                return
        if broken.after is After.SILENCE:
            await self._lost.wait()
        elif broken.after is After.RESET:
            self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _LINGER)
            self.drop()
        else:
            self._transport.close()

    def drop(self) -> None:
        """Close it without waiting for anything."""
        self._transport.abort()

    async def _idle(self, seconds: float) -> None:
        """Wait, but not for a client that has left."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), seconds)
        else:
            await asyncio.sleep(0)

    def pause_writing(self) -> None:
        """Hear that bytes wait."""
        self._empty.clear()

    def resume_writing(self) -> None:
        """Hear that none does."""
        self._empty.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear of the end and pass it on."""
        self._lost.set()
        self._empty.set()
        self._aiohttp.connection_lost(exc)


class _Gone(web.Response):
    """In place of an answer where the connection has been dealt with already."""

    async def prepare(self, _request: BaseRequest) -> AbstractStreamWriter | None:
        """Say what aiohttp takes quietly: there is nobody to answer."""
        raise ConnectionResetError


class FaultMiddleware:
    """The middleware that consults the script, and breaks what it says."""

    def __init__(
        self,
        fault_queue: FaultQueue,
        *,
        refuse: Callable[[int, str | None], bytes],
        count: Callable[[int], None],
        date: Callable[[], str | None],
    ) -> None:
        """Break by `fault_queue`.

        Args:
            fault_queue: What goes wrong.
            refuse: Makes the vendor's answer for a code and a reason, and counts it.
            count: Counts an HTTP status.
            date: Returns what the `Date` header says, if there is one.
        """
        self._fault_queue = fault_queue
        self._refuse = refuse
        self._count = count
        self._date = date
        self._lines: set[Line] = set()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End what would go on for ever; from now on nothing waits."""
        self._closing.set()
        for line in self._lines:
            line.drop()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Answer a request, as scripted or as it should be."""
        if self._fault_queue.empty or request.match_info.http_exception is not None:
            return await handler(request)
        scripted = self._fault_queue.take(await request.read())
        if scripted is None:
            return await handler(request)
        fault = scripted.fault
        if fault.kind in {"http", "code"}:
            return self._instead(fault)
        if fault.kind in WITHOUT_ANSWER:
            empty = WireAnswer(200, "OK", [(hdrs.CONTENT_TYPE, JSON), *self._dated()], b"")
            return await self._play(request, plan_broken(fault, empty))
        try:
            true = await handler(request)
        except BaseException:
            self._fault_queue.put_back(scripted)
            raise
        try:
            if not isinstance(true, web.Response) or not isinstance(true.body, bytes):
                raise HarmlessError  # noqa: TRY301 - what cannot be broken is one case
            return await self._break(request, fault, true, true.body)
        except HarmlessError:
            self._fault_queue.put_back(scripted)
            return true

    def _instead(self, fault: Fault) -> web.Response:
        """Return a sound answer in place of the true one."""
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

    async def _break(self, request: web.Request, fault: Fault, true: web.Response, body: bytes) -> web.StreamResponse:
        """Return the true answer, damaged, or send it so."""
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
        headers = [(name, value) for name, value in true.headers.items() if name.title() not in _NOT_OURS]
        answer = WireAnswer(true.status, true.reason, [*headers, *self._dated()], body)
        return await self._play(request, plan_broken(fault, answer))

    def _dated(self) -> list[tuple[str, str]]:
        """Return the `Date` header, if there is one."""
        date = self._date()
        return [] if date is None else [(hdrs.DATE, date)]

    async def _play(self, request: web.Request, broken: Broken) -> _Gone:
        """Take the connection over and break it."""
        if request.transport is not None and not self._closing.is_set():
            line = Line(request.transport)
            self._lines.add(line)
            try:
                await line.play(broken)
            except BaseException:
                line.drop()
                raise
            finally:
                self._lines.discard(line)
        return _Gone()


def _set_headers(response: web.Response, fault: Fault) -> None:
    """Put a fault's headers in place of those that are there."""
    response.headers.update(fault.headers or {})
    if hdrs.DATE in response.headers:
        response[DATED] = response.headers[hdrs.DATE]


def edit(fault: Fault, body: bytes) -> bytes:
    """Return a true answer with the changes that a fault asks for.

    Raises:
        HarmlessError: What should be replaced is not there.
    """
    if fault.data is not None:
        try:
            # Raw: numbers keep their digits, and what is not replaced its every byte.
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
