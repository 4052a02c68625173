"""Isolation: no request, run, hook or signal blocks, hides or leaks another one's."""
# ruff: noqa: ASYNC110 - waiting for the server is polling

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from aiosipcdr import (
    AuthenticationError,
    CdrClient,
    ClientStateError,
    SipCdrError,
    ThrottledError,
    TransportError,
)
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests.clients import QUICK
from tests.inside import transport_of

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(hours=1)
QUICK_SIX = msgspec.structs.replace(QUICK, attempts=6)
PAGE = b'{"status":"0","data":{"total":0,"size":100,"current":1,"pages":0,"records":[]}}'


class Server:
    """Answers request after request with the bytes that `answer` gives, which may wait for `free`."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self.answer = answer
        self.requests = 0
        self.free = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                self.requests += 1
                reported = self.answer(self.requests)
                if reported is None:
                    await self.free.wait()
                    reported = http(PAGE)
                writer.write(reported)
                if not reported or b"Connection: close" in reported:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Callable[[int], bytes | None], **settings: Any) -> AsyncIterator[tuple[Server, CdrClient]]:  # noqa: ANN401 - the constructor's own
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v3/voice"
        async with CdrClient(url, "key", "secret", **({"retry": QUICK_SIX} | settings)) as client:
            yield server, client
        server.free.set()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes, status: str, kind: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n\r\n"
    return head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("status", ["400 Bad", "500 Oops", "503 No"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize("code", [-1, -2, -13])
async def test_a_refused_login_is_never_repeated_however_it_is_framed(status: str, kind: str, code: int) -> None:
    body = b'{"status":"%d","reason":"no"}' % code
    async with serving(lambda _: chunked(body, status, kind)) as (server, client):
        with pytest.raises(SipCdrError) as caught:
            await client.fetch_all(START, END)
        assert caught.value.status == code
        assert server.requests == 1


async def test_a_wish_that_is_too_long_ends_every_run_of_the_client() -> None:
    async with serving(lambda _: http(b"", "429 X", "Retry-After: 3600"), concurrency=2) as (server, client):
        runs = [client.count(START, END) for _ in range(30)]
        reported = await asyncio.gather(*runs, return_exceptions=True)
        assert {type(error) for error in reported} == {ThrottledError}
        assert server.requests <= 2


async def test_a_proxy_that_refuses_ends_every_run_of_the_client() -> None:
    async with serving(lambda _: http(b"", "407 No"), concurrency=4) as (server, client):
        reported = await asyncio.gather(*(client.count(START, END) for _ in range(40)), return_exceptions=True)
        assert {type(error) for error in reported} == {TransportError}
        assert server.requests <= 4


async def test_an_error_that_ends_all_runs_names_no_others_window() -> None:
    async with serving(lambda _: None if server_is_new() else http(b"", "401 No"), concurrency=2) as (server, client):
        seen: list[int] = []

        def server_is_new() -> bool:
            seen.append(1)
            return len(seen) == 1

        one = asyncio.create_task(client.fetch_page(START, END))
        while server.requests < 1:
            await asyncio.sleep(0)
        with pytest.raises(AuthenticationError) as theirs:
            await client.fetch_page(START, END, current=7)
        with pytest.raises(AuthenticationError) as ours:
            await one
        assert (theirs.value.page, ours.value.page, ours.value.window) == (7, None, None)


async def test_a_run_that_is_cancelled_twice_leaves_the_others_their_turn() -> None:
    async with serving(lambda number: None if number == 1 else http(PAGE), concurrency=1) as (server, client):
        first = asyncio.create_task(client.fetch_page(START, END))
        while server.requests < 1:
            await asyncio.sleep(0)
        second = asyncio.create_task(client.fetch_page(START, END))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        async with asyncio.timeout(60):
            assert (await second).total == 0


class Odd(BaseException):
    """As pytest's own outcomes are."""


KINDS = [EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED, EventKind.WINDOW_COMPLETE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        (Odd, Odd),
        (GeneratorExit, GeneratorExit),
        (asyncio.CancelledError, asyncio.CancelledError),
        (StopAsyncIteration, RuntimeError),
        (LookupError, LookupError),
    ],
)
async def test_an_exception_of_a_hook_ends_its_run_and_is_raised(
    kind: EventKind, raised: type[BaseException], reported: type[BaseException]
) -> None:
    def hook(event: Event) -> None:
        if event.kind is kind and not over:
            raise raised

    over: list[int] = []
    before = asyncio.all_tasks()
    async with Sandbox(records=50) as sandbox:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, hook=hook) as client:
            async with asyncio.timeout(60):
                with pytest.raises(reported):
                    await client.fetch_all(sandbox.start, sandbox.end)
            over.append(1)
            assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 50
        assert asyncio.all_tasks() == before


async def test_a_worker_that_ends_with_its_run_frees_its_slot() -> None:
    runs: list[int] = []

    def hook(event: Event) -> None:
        if event.kind is EventKind.RUN_STARTED:
            runs.append(event.run)
        if event.kind is EventKind.REQUEST_ANSWERED and event.run == runs[0]:
            raise LookupError

    slow = serving(lambda number: None if number == 1 else http(PAGE), concurrency=1, hook=hook)
    async with slow as (server, client), client.stream(START, END):  # whose reader is busy elsewhere
        while server.requests < 1:
            await asyncio.sleep(0)
        other = asyncio.create_task(client.fetch_page(START, END))
        await asyncio.sleep(0)
        server.free.set()
        async with asyncio.timeout(60):
            assert (await other).total == 0


async def test_only_a_connection_that_was_used_before_is_forgiven() -> None:
    # Each connection is new, and closed without an answer: that is an outage, and each attempt counts.
    def answer(number: int) -> bytes:
        return http(PAGE, "200 OK", "Connection: close") if number == 1 else b""

    async with serving(answer) as (server, client):
        await client.fetch_page(START, END)
        with pytest.raises(TransportError):
            await client.fetch_page(START, END)
        assert server.requests == 1 + 6


@pytest.mark.parametrize(
    ("reported", "forgiven"), [(b"", 1), (http(PAGE, "200 OK", "Connection: close")[:-3], 0)], ids=["nothing", "half"]
)
async def test_a_used_connection_that_ends_is_forgiven_once_and_only_before_a_byte_came(
    reported: bytes, forgiven: int
) -> None:
    async with serving(lambda number: http(PAGE) if number == 1 else reported) as (server, client):
        await client.fetch_page(START, END)
        with pytest.raises(TransportError):
            await client.fetch_page(START, END)
        assert server.requests == 1 + forgiven + 6


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_exceptions_that_end_the_program_show_no_header(monkeypatch: pytest.MonkeyPatch, raised: Any) -> None:  # noqa: ANN401 - a class
    async with serving(lambda _: http(PAGE)) as (_, client):
        transport = transport_of(client)

        async def struck(*_: object) -> object:
            sign = "canary-sign"
            raise raised(sign[:0])

        monkeypatch.setattr(transport, "_exchange", struck)

        with pytest.raises(raised) as caught:
            await transport.send(b"", dict)
    reported = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = [value for frame in reported.stack if frame.filename != __file__ for value in (frame.locals or {}).values()]
    assert "canary-sign" not in "".join(shown)
    assert not any(frame.name == "struck" for frame in reported.stack)


async def test_closing_the_client_ends_every_run_with_an_error() -> None:
    async with serving(lambda _: None, concurrency=1) as (server, client):
        runs = [asyncio.create_task(client.count(START, END)) for _ in range(3)]
        while server.requests < 1:
            await asyncio.sleep(0)
        await client.aclose()
        reported = await asyncio.gather(*runs, return_exceptions=True)
        assert {type(error) for error in reported} == {ClientStateError}
