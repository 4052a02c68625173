"""Requests to a sandbox by `http.client` or as bytes, with a signature of their own."""
# ruff: noqa: ANN401 - JSON is anything

import asyncio
import gzip
import hashlib
import http.client
import json
import re
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import pytest

from aiosipcdr.sandbox import Sandbox


@pytest.fixture(scope="module", autouse=True)
def _calls_are_generated_once() -> None:
    """Here the generator itself is tested: it makes all calls each time."""


@dataclass(frozen=True)
class Reply:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def status(self) -> Any:
        return self.json["status"]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.json["data"]
        return data

    @property
    def ids(self) -> list[str]:
        return [record["voiceId"] for record in self.data["records"]]


def sign(key: str, secret: str, timestamp: str) -> str:
    return hashlib.md5((key + secret + timestamp).encode(), usedforsecurity=False).hexdigest()


def signed_headers(sandbox: Sandbox, ahead: float = 0) -> dict[str, str]:
    timestamp = str(int(time.time() + ahead))
    return {
        "Content-Type": "application/json;charset=UTF-8",
        "Api-Key": sandbox.api_key,
        "Timestamp": timestamp,
        "Sign": sign(sandbox.api_key, sandbox.api_secret, timestamp),
    }


def wire_body(
    sandbox: Sandbox,
    current: object = 1,
    size: object = 100,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    **filters: object,
) -> dict[str, Any]:
    def text(moment: datetime | str) -> str:
        return moment if isinstance(moment, str) else moment.isoformat(timespec="seconds")

    params = {
        "strTime": text(sandbox.start if start is None else start),
        "endTime": text(sandbox.end if end is None else end),
    }
    return {"current": current, "size": size, "params": params | filters}


class Ask(Protocol):
    def __call__(self, sandbox: Sandbox, current: object = 1, **rest: Any) -> Reply: ...


class Send(Protocol):
    def __call__(
        self,
        sandbox: Sandbox,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        path: str = "/recordSipQuery",
    ) -> Reply: ...


@pytest.fixture
def headers_for() -> Callable[..., dict[str, str]]:
    return signed_headers


@pytest.fixture
def body_for() -> Callable[..., dict[str, Any]]:
    return wire_body


@pytest.fixture
def send() -> Send:
    """Return a function that sends any bytes with any headers."""

    def send(
        sandbox: Sandbox,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        path: str = "/recordSipQuery",
    ) -> Reply:
        url = urlsplit(sandbox.base_url)
        connection = http.client.HTTPConnection(str(url.hostname), url.port or 0, timeout=240)
        try:
            sent = signed_headers(sandbox) if headers is None else headers
            content = json.dumps(wire_body(sandbox)).encode() if body is None else body
            connection.request(method, url.path + path, content, sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    return send


@pytest.fixture
def ask(send: Send) -> Ask:
    """Return a function that requests a page as a client would, by default the first page of all calls."""

    def ask(sandbox: Sandbox, current: object = 1, **rest: Any) -> Reply:
        headers = signed_headers(sandbox) | rest.pop("headers", {})
        reply = send(sandbox, json.dumps(wire_body(sandbox, current, **rest)).encode(), headers=headers)
        if reply.headers.get("Content-Encoding") == "gzip":
            return Reply(reply.code, reply.headers, gzip.decompress(reply.body))
        return reply

    return ask


@pytest.fixture
def ask_all(ask: Ask) -> Callable[..., list[str]]:
    """Return a function that requests all pages in turn and returns their ids."""

    def ask_all(sandbox: Sandbox, size: int = 100, **rest: Any) -> list[str]:
        first = ask(sandbox, 1, size=size, **rest)
        pages = range(2, first.data["pages"] + 1)
        return first.ids + [i for n in pages for i in ask(sandbox, n, size=size, **rest).ids]

    return ask_all


@dataclass
class Heard:
    """All bytes from a connection, and whether it was reset."""

    data: bytes
    reset: bool

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.data.split()[1])

    def header(self, name: str) -> str:
        (value,) = re.findall(rf"(?mi)^{name}: (.*?)\r?$", self.head.decode())
        return str(value)


class Wire:
    """A raw connection: it shows bytes before a reset, which asyncio's streams drop."""

    def __init__(self, sandbox: Sandbox, headers_for: Any, body_for: Any) -> None:
        self._sandbox = sandbox
        self._headers_for = headers_for
        self._body_for = body_for
        self._socket = socket.socket()
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own way

    async def __aenter__(self) -> Self:
        url = urlsplit(self._sandbox.base_url)
        await asyncio.get_running_loop().sock_connect(self._socket, (url.hostname, url.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def ask(self, current: int = 1, size: int = 100, **others: Any) -> None:
        body = json.dumps(self._body_for(self._sandbox, current, size=size)).encode()
        headers = self._headers_for(self._sandbox) | others
        headers |= {"Host": "127.0.0.1", "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /v3/voice/recordSipQuery HTTP/1.1\r\n{lines}\r\n".encode()
        await asyncio.get_running_loop().sock_sendall(self._socket, head + body)

    async def hear(self, length: int = 65_536) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, length)

    async def hear_one(self) -> Heard:
        """Receive one response on a connection that stays open."""
        heard = Heard(await self.hear(), reset=False)
        while b"\r\n\r\n" not in heard.data or len(heard.body) < int(heard.header("Content-Length")):
            heard.data += await self.hear()
        return heard

    async def hear_all(self) -> Heard:
        data = b""
        try:
            while piece := await self.hear():
                data += piece
        except ConnectionResetError:
            return Heard(data, reset=True)
        return Heard(data, reset=False)


@pytest.fixture
def wire(headers_for: Any, body_for: Any) -> Callable[[Sandbox], Wire]:
    return lambda sandbox: Wire(sandbox, headers_for, body_for)


@pytest.fixture
def exchange(wire: Callable[[Sandbox], Wire]) -> Callable[..., Awaitable[Heard]]:
    async def exchange(sandbox: Sandbox, current: int = 1, **others: Any) -> Heard:
        async with wire(sandbox) as connection:
            await connection.ask(current, **({"Connection": "close"} | others))
            return await connection.hear_all()

    return exchange
