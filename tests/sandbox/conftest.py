"""How these tests talk to a sandbox: plain `http.client`, a signature made here."""
# ruff: noqa: ANN401 - JSON is anything

import gzip
import hashlib
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from aiosipcdr.sandbox import Sandbox


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
    """Send any bytes with any headers."""

    def send(
        sandbox: Sandbox,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        path: str = "/recordSipQuery",
    ) -> Reply:
        url = urlsplit(sandbox.base_url)
        connection = http.client.HTTPConnection(str(url.hostname), url.port or 0, timeout=20)
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
    """Ask as a client should; by default for the first page of everything."""

    def ask(sandbox: Sandbox, current: object = 1, **rest: Any) -> Reply:
        headers = signed_headers(sandbox) | rest.pop("headers", {})
        reply = send(sandbox, json.dumps(wire_body(sandbox, current, **rest)).encode(), headers=headers)
        if reply.headers.get("Content-Encoding") == "gzip":
            return Reply(reply.code, reply.headers, gzip.decompress(reply.body))
        return reply

    return ask


@pytest.fixture
def ask_all(ask: Ask) -> Callable[..., list[str]]:
    """Ask for every page, one after the other, as page 1 says there are."""

    def ask_all(sandbox: Sandbox, size: int = 100, **rest: Any) -> list[str]:
        first = ask(sandbox, 1, size=size, **rest)
        pages = range(2, first.data["pages"] + 1)
        return first.ids + [i for n in pages for i in ask(sandbox, n, size=size, **rest).ids]

    return ask_all
