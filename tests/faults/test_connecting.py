"""Faults before a request is sent: names, ports, certificates, proxies."""
# ruff: noqa: ANN401 - the constructor's own settings; a fixture of another module

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from aiosipcdr import CdrClient, RequestTimeoutError, SipCdrError, TlsError, TransportError
from aiosipcdr.events import Event, EventKind
from tests.clients import QUICK
from tests.http.test_transport import authority, http, peer, serving
from tests.watch import END, START

__all__ = ["authority"]

METHODS = ["fetch_page", "fetch_all", "stream"]


async def error_of(method: str, url: str, **settings: Any) -> tuple[Exception, int]:
    """Return what it ends with, and how many attempts were made."""
    events: list[Event] = []
    before = asyncio.all_tasks()
    defaults: dict[str, Any] = {"retry": QUICK, "hook": events.append}
    async with CdrClient(url, "sandbox-key", "sandbox-secret", **(defaults | settings)) as client:
        with pytest.raises(SipCdrError) as caught:  # noqa: PT012 - a stream is read
            if method == "stream":
                async with client.stream(START, END) as stream:
                    await anext(aiter(stream))
            else:
                await getattr(client, method)(START, END)
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert "sandbox-" not in f"{caught.value!r} {vars(caught.value)!r} {events!r}"
    return caught.value, [event.kind for event in events].count(EventKind.REQUEST_SENT)


class Nowhere(AbstractResolver):
    """Knows no name."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:  # noqa: ARG002
        raise OSError(socket.EAI_NONAME, "no such name")

    async def close(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize("method", METHODS)
async def test_a_name_that_cannot_be_resolved_is_tried_twice(method: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere())) as session:
        error, attempts = await error_of(method, "https://cdr.invalid/v3/voice", session=session)
    assert type(error) is TransportError
    assert error.retryable
    assert attempts == 2


@pytest.mark.parametrize("method", METHODS)
async def test_a_refused_connection_is_tried_again(method: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening
        error, attempts = await error_of(method, f"http://127.0.0.1:{held.getsockname()[1]}")
    assert type(error) is TransportError
    assert error.retryable
    assert attempts == 6


@pytest.mark.parametrize("method", METHODS)
async def test_an_untrusted_certificate_ends_the_run_at_once(authority: Path, method: str) -> None:
    async with peer(http(b"{}"), context=serving(authority)) as here:
        error, attempts = await error_of(method, here.url.removesuffix("/recordSipQuery"))
        assert here.heads == []
    assert type(error) is TlsError
    assert not error.retryable
    assert attempts == 1


@pytest.mark.parametrize("method", METHODS)
async def test_a_connection_that_is_not_accepted_times_out(method: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue: what comes later is not even refused
        try:
            for one in waiting:
                one.settimeout(0)
                one.connect_ex(address)
            error, attempts = await error_of(method, f"http://127.0.0.1:{address[1]}", timeout=0.05)
        finally:
            for one in waiting:
                one.close()
    assert type(error) is RequestTimeoutError
    assert error.retryable
    assert attempts == 6


@pytest.mark.parametrize("method", METHODS)
async def test_a_proxy_that_refuses_ends_it_at_once(method: str) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error, attempts = await error_of(method, "https://cdr.invalid/v3/voice", proxy=proxy)
    assert type(error) is TransportError
    assert not error.retryable
    assert attempts == len(asked) == 1
    assert b"Sign" not in asked[0]
