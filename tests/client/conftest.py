"""A raw HTTP server that sends the responses of a test and records the bytes of requests."""
# ruff: noqa: ASYNC110 - waiting for another machine is polling

import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import pytest

from aiosipcdr import CdrClient
from tests.clients import QUICK

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(days=1)


@dataclass(frozen=True)
class Seen:
    """A request as it was received."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def asked(self) -> Any:  # noqa: ANN401 - JSON is anything
        return json.loads(self.body)

    def header(self, name: str) -> str:
        """Return the value of a header that occurs exactly once."""
        (value,) = [value for other, value in self.headers if other.lower() == name.lower()]
        return value


def record(number: int, **fields: object) -> dict[str, object]:
    submitted = (START + timedelta(seconds=number)).isoformat()
    return {"voiceId": f"{2_203_031_113_381_000_000 + number}", "submitTime": submitted, **fields}


def page(
    records: Sequence[object] = (), *, total: int | None = None, size: int = 100, current: int = 1, **extra: object
) -> bytes:
    total = len(records) if total is None else total
    data = {"total": total, "size": size, "current": current, "pages": -(-total // size), "records": list(records)}
    return json.dumps({"status": "0", "reason": "success", "data": data} | extra).encode()


def http(body: bytes, *, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


Answer = bytes | Callable[[Seen], bytes]
"""Bytes to send; empty ones close the connection instead."""


@dataclass
class RawServer:
    """Answers the n-th request with the n-th answer, and all further ones with the last.

    `hold` keeps answers back until it is set; `close_after` ends a connection
    after an answer that is given as bytes; `reset` cuts it with RST.
    """

    answers: Sequence[Answer]
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    under_way: int = 0
    peak: int = 0
    hold: asyncio.Event | None = None
    reset: bool = False
    close_after: bool = False

    async def __aenter__(self) -> Self:
        self._clients: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v3/voice"

    def client(self, **settings: Any) -> CdrClient:  # noqa: ANN401 - the constructor's own
        settings = {"retry": QUICK} | settings
        return CdrClient(self.base_url, "sandbox-key", "sandbox-secret", **settings)

    async def until(self, requests: int) -> None:
        """Wait until this many requests were received."""
        while len(self.seen) < requests:
            await asyncio.sleep(0.001)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self._clients.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.partition(": ")[::2] for line in head[1:-2]]
        length = next((int(value) for name, value in pairs if name.lower() == "content-length"), 0)
        seen = Seen(head[0], pairs, await reader.readexactly(length))
        answer = self.answers[min(len(self.seen), len(self.answers) - 1)]
        self.seen.append(seen)
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.under_way -= 1
        fault = not callable(answer)
        answer = answer(seen) if callable(answer) else answer
        if self.reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(answer)
        await writer.drain()
        closes = self.reset or not answer or (self.close_after and fault)
        if closes and not self.reset:
            writer.write_eof()
        return not closes


def paged(total: int, *, size: int = 100) -> Callable[[Seen], bytes]:
    """Answer every query of `total` calls, one per second from START."""

    def answer(seen: Seen) -> bytes:
        asked = seen.asked
        params = asked["params"]
        first, last = (
            int((datetime.fromisoformat(params[name]) - START).total_seconds()) for name in ("strTime", "endTime")
        )
        numbers = range(max(0, first), min(total, last + 1))
        given = min(asked["size"], size)
        at = (asked["current"] - 1) * given
        records = [record(number) for number in numbers[at : at + given]]
        return http(page(records, total=len(numbers), size=given, current=asked["current"]))

    return answer


def signature(key: str, secret: str, timestamp: str) -> str:
    return hashlib.md5(f"{key}{secret}{timestamp}".encode(), usedforsecurity=False).hexdigest()


class Wire:
    """Helpers to send what the vendor would send."""

    server = RawServer
    http = staticmethod(http)
    page = staticmethod(page)
    paged = staticmethod(paged)
    record = staticmethod(record)
    signature = staticmethod(signature)
    start = START
    end = END


@pytest.fixture
def wire() -> Wire:
    return Wire()
