"""Proxies over real sockets: which answers to CONNECT are final, who is named, and SOCKS by a borrowed connector."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from aiosipcdr import CdrClient, TlsError, TransportError
from tests.client.conftest import END, START, page
from tests.faults.test_connecting import error_of
from tests.http.test_transport import authority, http, peer, serving
from tests.system_parts import require

__all__ = ["authority"]


class Tunnel:
    """A proxy for CONNECT that answers with each of `heads` in turn; tunnels after a 200, closes after `b""`."""

    def __init__(self, *heads: bytes) -> None:
        self.heads = list(heads)
        self.asked: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = self.heads[min(len(self.asked), len(self.heads)) - 1]
        writer.write(head)
        if b" 200 " in head:
            await self.relay(reader, writer, self.asked[-1].split()[1].decode())
        writer.close()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        there, back = await asyncio.open_connection(*target.rsplit(":", 1))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            for one in (writer, back):
                one.transport.abort()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def proxying(*heads: bytes) -> AsyncIterator[tuple[Tunnel, str]]:
    tunnel = Tunnel(*heads)
    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    try:
        yield tunnel, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await tunnel.stop()
        await server.wait_closed()


def says(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", *headers, "", ""]).encode()


OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_a_range_is_counted_though_the_proxy_failed_twice(authority: Path) -> None:
    async with (
        proxying(says("502 Bad Gateway"), says("503 Service Unavailable"), OPEN) as (tunnel, proxy),
        peer(http(page(total=7)), context=serving(authority)) as here,
        CdrClient(
            here.url.removesuffix("/recordSipQuery"),
            "key",
            "secret",
            proxy=f"http://{proxy}",
            ssl_context=ssl.create_default_context(cafile=authority),
        ) as client,
    ):
        assert await client.count(START, END) == 7
        assert len(tunnel.asked) == 3
        assert b"Sign" not in b"".join(tunnel.asked)


@pytest.mark.parametrize(
    ("answer", "attempts", "reported"),
    [
        (says("502 Bad Gateway"), 6, "cannot connect to cdr.invalid at the moment (HTTP 502)"),
        (says("503 Service Unavailable"), 6, "HTTP 503"),
        (says("504 Gateway Timeout"), 6, "HTTP 504"),
        (says("403 Forbidden"), 1, "allow cdr.invalid there"),
        (says("407 Proxy Authentication Required"), 1, "user and password"),
        (says("404 Not Found"), 1, "refuses to connect"),
        (b"", 6, "broke before"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", 3, "not proper HTTP"),
    ],
)
async def test_errors_of_a_proxy_name_the_proxy(answer: bytes, attempts: int, reported: str) -> None:
    async with proxying(answer) as (tunnel, proxy):
        error, sent = await error_of("count", "https://cdr.invalid/v3/voice", proxy=f"http://user:hunter2@{proxy}")
    assert f"the proxy {proxy}" in str(error)
    assert reported in str(error)
    assert "hunter2" not in str(error)
    assert sent == len(tunnel.asked) == attempts


async def test_the_wish_of_a_proxy_is_kept() -> None:
    async with proxying(says("503 Service Unavailable", "Retry-After: 3600")) as (_, proxy):
        error, sent = await error_of("count", "https://cdr.invalid/v3/voice", proxy=f"http://{proxy}")
    assert isinstance(error, TransportError)
    assert (error.status, error.retry_after, sent) == (503, 3_600, 1)


async def test_a_certificate_behind_a_proxy_is_the_vendors(authority: Path) -> None:
    async with proxying(OPEN) as (_, proxy), peer(http(b"{}"), context=serving(authority)) as here:
        base_url = here.url.removesuffix("/recordSipQuery")
        async with CdrClient(base_url, "key", "secret", proxy=f"http://{proxy}") as client:
            with pytest.raises(TlsError, match=r"the certificate of 127\.0\.0\.1"):
                await client.count(START, END)


class Socks(Tunnel):
    """A SOCKS5 server that gives each of `replies` in turn to CONNECT; 0 tunnels."""

    def __init__(self, *replies: int) -> None:
        super().__init__()
        self.replies = replies
        self.targets: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        methods = (await reader.readexactly(2))[1]
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        target = f"{host}:{int.from_bytes(await reader.readexactly(2), 'big')}"
        self.targets.append(target)
        reply = self.replies[min(len(self.targets), len(self.replies)) - 1]
        writer.write(bytes([5, reply, 0, 1]) + bytes(6))
        if reply == 0:
            await self.relay(reader, writer, target)
        writer.close()


@asynccontextmanager
async def socks(*replies: int) -> AsyncIterator[tuple[Socks, aiohttp.ClientSession]]:
    require("package:aiohttp_socks")
    import aiohttp_socks as proxies

    server = Socks(*replies)
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    address = f"socks5://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession(connector=proxies.ProxyConnector.from_url(address)) as session:
        yield server, session
    listening.close()
    await server.stop()
    await listening.wait_closed()


async def test_socks_works_by_a_borrowed_connector(authority: Path) -> None:
    async with (
        socks(1, 0) as (server, session),
        peer(http(page(total=7)), context=serving(authority)) as here,
        CdrClient(
            here.url.removesuffix("/recordSipQuery"),
            "key",
            "secret",
            session=session,
            ssl_context=ssl.create_default_context(cafile=authority),
        ) as client,
    ):
        assert await client.count(START, END) == 7
        assert len(server.targets) == 2


@pytest.mark.parametrize(("reply", "attempts"), [(1, 6), (4, 6), (5, 6), (2, 1)])
async def test_a_refusal_by_a_socks_proxy_is_a_transport_error(reply: int, attempts: int) -> None:
    async with socks(reply) as (server, session):
        error, sent = await error_of("count", "https://cdr.invalid/v3/voice", session=session)
    assert type(error) is TransportError
    assert "proxy" in str(error)
    assert sent == len(server.targets) == attempts
    assert set(server.targets) == {"cdr.invalid:443"}, "the proxy resolves names"


async def test_a_socks_proxy_that_is_down_is_a_transport_error() -> None:
    require("package:aiohttp_socks")
    import aiohttp_socks as proxies

    async with aiohttp.ClientSession(connector=proxies.ProxyConnector.from_url("socks5://127.0.0.1:1")) as session:
        error, sent = await error_of("count", "https://cdr.invalid/v3/voice", session=session)
    assert type(error) is TransportError
    assert error.retryable
    assert sent == 6


async def test_a_certificate_behind_socks_is_a_tls_error(authority: Path) -> None:
    async with socks(0) as (server, session), peer(http(b"{}"), context=serving(authority)) as here:
        async with CdrClient(here.url.removesuffix("/recordSipQuery"), "key", "secret", session=session) as client:
            with pytest.raises(TlsError, match="not trusted"):
                await client.count(START, END)
        assert len(server.targets) == 1
