"""One signed POST: bytes out, bytes in, and every failure as one of our errors, returned and never raised."""
# ruff: noqa: ANN401 - the constructor's own settings

import asyncio
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import http_parser

from aiosipcdr import (
    ClientStateError,
    ProtocolError,
    RequestTimeoutError,
    ResponseTooLargeError,
    SipCdrError,
    TlsError,
    TransportError,
)
from aiosipcdr.http.transport import Received, Signer, Transport, _SignedBody, default_response_limit
from aiosipcdr.model.privacy import Secret
from aiosipcdr.policy.clock import ClockOffset
from aiosipcdr.wire.signing import Credentials, sign

HEADERS = {"Api-Key": "sandbox-key", "Sign": "canary-sign", "Timestamp": "1"}
BODY = b'{"current":1}'
SIZE = 100
NUMBER = "447700900123"
PURE_PYTHON = http_parser.HttpResponseParser is http_parser.HttpResponseParserPy


@dataclass
class Peer:
    """A server of a few bytes: each connection gets `answer` after its request, and is then closed."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def peer(
    answer: bytes | Callable[[asyncio.StreamWriter], None], *, keep: bool = False, context: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    here = Peer()
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                here.heads.append(head)
                here.bodies.append(await reader.readexactly(length))
                if callable(answer):
                    answer(writer)
                    return
                writer.write(answer)
                await writer.drain()
                if not keep:
                    writer.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    here.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v3/voice/recordSipQuery"
    try:
        yield here
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


@asynccontextmanager
async def transport_to(url: str, **settings: Any) -> AsyncIterator[Transport]:
    defaults: dict[str, Any] = {
        "connections": 4,
        "timeout": 20.0,
        "session": None,
        "proxy": None,
        "ssl_context": None,
        "user_agent": "tests",
    }
    transport = Transport(url, **(defaults | settings))
    transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def ask(answer: bytes | Callable[[asyncio.StreamWriter], None], **settings: Any) -> Received | SipCdrError:
    async with peer(answer) as here, transport_to(here.url, **settings) as transport:
        return await transport.send(BODY, lambda: HEADERS)


def contents(received: Received | SipCdrError) -> tuple[int, bytes, str | None]:
    assert isinstance(received, Received), received
    return received.status, received.body, received.date


def http(body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


async def test_bytes_go_out_and_bytes_come_in() -> None:
    async with peer(http(b"{}", "200 OK", "Date: now", "Server: x"), keep=True) as here:
        async with transport_to(here.url) as transport:
            for _ in range(3):
                assert contents(await transport.send(BODY, lambda: HEADERS)) == (200, b"{}", "now")
        assert here.connections == 1
        assert here.bodies == [b'{"current":1}'] * 3
        head = here.heads[0].decode()
        assert head.startswith("POST /v3/voice/recordSipQuery HTTP/1.1\r\n")
        assert "\r\nSign: canary-sign\r\n" in head
        assert "\r\nContent-Type: application/json;charset=UTF-8\r\n" in head
        assert "\r\nAccept-Encoding: gzip\r\n" in head
        assert "\r\nUser-Agent: tests\r\n" in head


@pytest.mark.parametrize("body", [b"", b"x", bytes(100_000)], ids=len)
@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_whole_body_arrives_however_it_is_sent(body: bytes, encoding: str, framing: str) -> None:
    sent = gzip.compress(body) if encoding.lower().endswith("gzip") else body
    header = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    if framing == "length":
        answer = f"HTTP/1.1 200 OK\r\n{header}Content-Length: {len(sent)}\r\n\r\n".encode() + sent
    elif framing == "chunked":
        answer = chunked(*filter(None, (sent[:7], sent[7:])), headers=header)
    else:
        answer = f"HTTP/1.1 200 OK\r\n{header}Connection: close\r\n\r\n".encode() + sent
    assert contents(await ask(answer)) == (200, body, None)


GOOD = gzip.compress(b"x" * 5_000)


@pytest.mark.parametrize(
    "sent",
    [
        GOOD[:-1],
        GOOD[:-8],
        GOOD[:10],
        GOOD[:3],
        b"",
        GOOD + b"x",
        GOOD + GOOD[:-1],
        GOOD + GOOD[:10],
        b"plain",
        GOOD[:-6] + bytes(6),
    ],
    ids=len,
)
async def test_gzip_that_is_not_whole_is_never_taken_for_whole(sent: bytes) -> None:
    for answer in (
        http(sent, "200 OK", "Content-Encoding: gzip"),
        chunked(sent, headers="Content-Encoding: gzip\r\n") if sent else http(sent, "200 OK", "Content-Encoding: gzip"),
    ):
        error = await ask(answer)
        assert type(error) is TransportError
        assert error.retryable


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "compress"])
async def test_an_encoding_that_was_not_asked_for_is_an_error(encoding: str) -> None:
    error = await ask(http(zlib.compress(b"{}"), "200 OK", f"Content-Encoding: {encoding}"))
    assert type(error) is ProtocolError
    assert not error.retryable


@pytest.mark.parametrize("members", [2, 3, 1_000])
async def test_gzip_of_several_members_is_read_whole(members: int) -> None:
    parts = [bytes([number % 256]) * (number * 7 % 90_001) for number in range(1, members + 1)]
    sent = b"".join(gzip.compress(part, 1) for part in parts)
    for answer in (
        http(sent, "200 OK", "Content-Encoding: gzip"),
        chunked(sent[:30], sent[30:], headers="Content-Encoding: gzip\r\n"),
    ):
        assert contents(await ask(answer)) == (200, b"".join(parts), None)


async def test_members_of_gzip_are_bounded_by_number_and_by_size() -> None:
    many = gzip.compress(b"") * 1_001
    error = await ask(http(many, "200 OK", "Content-Encoding: gzip"))
    assert type(error) is ProtocolError
    half = gzip.compress(bytes(default_response_limit(SIZE) // 2 + 1), 1)
    assert type(await ask(http(half + half, "200 OK", "Content-Encoding: gzip"))) is ResponseTooLargeError


@pytest.mark.parametrize("encoding", ["UTF-8", "none", "binary", "8bit", "json", "identity, utf-8", "utf-8, identity"])
@pytest.mark.parametrize("body", [b'{"status":"0"}', b' \r\n {"status":"0"}', b'\xef\xbb\xbf{"status":"0"}'])
async def test_a_content_encoding_that_is_none_is_harmless_with_plain_json(encoding: str, body: bytes) -> None:
    assert contents(await ask(http(body, "200 OK", f"Content-Encoding: {encoding}"))) == (200, body, None)
    error = await ask(http(zlib.compress(body), "200 OK", f"Content-Encoding: {encoding}"))
    assert type(error) is ProtocolError
    assert "compressed" in str(error)


@pytest.mark.parametrize("headers", [("utf-8, gzip",), ("gzip", "utf-8"), ("utf-8", "gzip")])
async def test_gzip_beside_a_coding_that_is_none_is_read(headers: tuple[str, ...]) -> None:
    body = gzip.compress(b'{"status":"0"}')
    received = await ask(http(body, "200 OK", *(f"Content-Encoding: {header}" for header in headers)))
    assert contents(received) == (200, b'{"status":"0"}', None)


async def test_a_body_may_be_as_large_as_the_cap_and_no_larger() -> None:
    assert default_response_limit(SIZE) == 101 * 65_536
    most = bytes(default_response_limit(SIZE))
    for fits, answer in (
        (True, http(most)),
        (False, http(most + b"x")),
        (True, chunked(most)),
        (False, chunked(most, b"x")),
        (True, http(gzip.compress(most, 1), "200 OK", "Content-Encoding: gzip")),
        (False, http(gzip.compress(most + b"x", 1), "200 OK", "Content-Encoding: gzip")),
    ):
        received = await ask(answer)
        if fits:
            assert isinstance(received, Received)
            assert len(received.body) == len(most)
        else:
            assert type(received) is ResponseTooLargeError
            assert not received.retryable
            assert "max_response_bytes" in str(received)


async def test_a_body_may_come_in_twenty_thousand_chunks_and_no_more() -> None:
    received = await ask(chunked(*[b" "] * 20_000))
    assert isinstance(received, Received)
    assert len(received.body) == 20_000
    refused = await ask(chunked(*[b" "] * 20_001))
    assert type(refused) is ResponseTooLargeError
    assert "20,000 chunks" in str(refused)


async def test_a_body_without_end_is_cut_off() -> None:
    def endless(writer: asyncio.StreamWriter) -> None:
        async def pour() -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                stopped.set()

        tasks.append(asyncio.create_task(pour()))

    tasks: list[asyncio.Task[None]] = []
    stopped = asyncio.Event()
    async with peer(endless) as here, transport_to(here.url) as transport:
        assert type(await transport.send(BODY, lambda: HEADERS)) is ResponseTooLargeError
        async with asyncio.timeout(30):
            await stopped.wait()  # the connection was closed, not drained
            await tasks[0]


BROKEN: list[tuple[str, bytes, type[SipCdrError], bool]] = [
    ("nothing", b"", TransportError, True),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", TransportError, True),
    ("truncated", http(NUMBER.encode(), length=400), TransportError, True),
    ("chunked and cut", chunked(b"{", end=b"40\r\n" + NUMBER.encode()), TransportError, True),
    ("bad chunk", chunked(b"{", end=NUMBER.encode() + b"zz\r\n"), ProtocolError, True),
    ("not HTTP", f"{NUMBER} hello\r\n\r\n".encode(), ProtocolError, True),
    ("huge header", http(b"{}", "200 OK", "X: " + NUMBER * 1_000), ProtocolError, True),
    # aiohttp's parser in pure Python takes the first length, and the answer for whole.
    *([] if PURE_PYTHON else [("two lengths", http(b"{}", "200 OK", "Content-Length: 9"), ProtocolError, True)]),
]


@pytest.mark.parametrize(("name", "answer", "kind", "retryable"), BROKEN, ids=[name for name, *_ in BROKEN])
async def test_a_fault_is_returned_as_ours_and_quotes_nothing(
    name: str, answer: bytes, kind: type[SipCdrError], *, retryable: bool
) -> None:
    error = await ask(answer)
    assert isinstance(error, SipCdrError)
    assert isinstance(error, kind), name
    assert error.retryable is retryable
    for text in (str(error), repr(error), repr(error.__dict__)):
        assert NUMBER not in text
        assert "canary" not in text
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.__traceback__ is None


async def test_retry_after_is_returned_with_the_response() -> None:
    received = await ask(http(b"", "429 X", "Retry-After: 7"))
    assert contents(received) == (429, b"", None)
    assert isinstance(received, Received)
    assert received.retry_after == 7


WORDS = b'{"status":"-18","reason":"busy"}'
JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (http(WORDS, "500 Oops", JSON), WORDS),
        (http(gzip.compress(WORDS), "401 No", JSON, "Content-Encoding: gzip"), WORDS),
        (http(WORDS, "500 Oops", "Content-Type: text/html"), WORDS),
        (chunked(WORDS).replace(b"200 OK", b"500 Oops"), WORDS),
        (http(WORDS, "301 Moved", JSON, "Location: http://elsewhere.example/"), b""),
        (http(b" " * 70_000, "503 No", JSON), b""),
        (b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n" + WORDS, WORDS),
        (http(WORDS, "500 Oops", length=400), b""),
    ],
    ids=["json", "gzip", "any type", "chunked", "redirect", "long", "of any length", "cut"],
)
async def test_of_refusals_only_short_words_of_the_vendors_own_are_read(answer: bytes, body: bytes) -> None:
    received = await ask(answer)
    assert isinstance(received, Received)
    assert received.status != 200
    assert received.body == body


@pytest.mark.parametrize(
    ("reported", "understood"),
    [
        ("Application/JSON; charset=utf-8", "application/json"),
        ("text/html", "text/html"),
        (" ; charset=utf-8", ""),
        (f"text/{NUMBER}@x", "another type"),
        ("canary/key", "another type"),
        ("x" * 5_000, "another type"),
    ],
)
async def test_a_content_type_is_kept_if_it_is_a_known_one(reported: str, understood: str) -> None:
    received = await ask(http(b"{}", "200 OK", f"Content-Type: {reported}"))
    assert isinstance(received, Received)
    assert received.content_type == understood


async def test_a_reset_is_a_lost_connection() -> None:
    def reset(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    error = await ask(reset)
    assert type(error) is TransportError
    assert isinstance(error, ConnectionError)


async def test_a_refused_connection_names_the_host() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        async with transport_to(f"http://127.0.0.1:{port}/x") as transport:
            error = await transport.send(BODY, lambda: HEADERS)
    assert type(error) is TransportError
    assert error.retryable
    assert f"127.0.0.1:{port}" in str(error)


async def test_silence_ends_with_the_timeout() -> None:
    error = await ask(lambda _writer: None, timeout=0.05)
    assert type(error) is RequestTimeoutError
    assert isinstance(error, TimeoutError)
    assert error.retryable


async def test_nothing_but_the_timeout_and_the_connection_bounds_an_answer() -> None:
    # A vendor that thinks for long is waited for as long as the caller says.
    async with peer(http(b"{}")) as here, transport_to(here.url, timeout=500) as transport:
        session = transport._session
        assert session is not None
        assert session.timeout == aiohttp.ClientTimeout(total=500, sock_connect=10)
        assert session.timeout.sock_read is None


async def test_a_trickle_ends_with_the_timeout() -> None:
    tasks: list[asyncio.Task[None]] = []

    def trickle(writer: asyncio.StreamWriter) -> None:
        async def pour() -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await asyncio.sleep(0.005)

        tasks.append(asyncio.create_task(pour()))

    assert type(await ask(trickle, timeout=0.1)) is RequestTimeoutError
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cancelling_is_not_an_error_of_ours() -> None:
    async with peer(lambda _writer: None) as here, transport_to(here.url) as transport:
        task = asyncio.create_task(transport.send(BODY, lambda: HEADERS))
        async with asyncio.timeout(30):
            while not here.heads:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_a_transport_that_is_not_open_says_so() -> None:
    transport = Transport(
        "http://127.0.0.1:1/x", connections=1, timeout=1, session=None, proxy=None, ssl_context=None, user_agent="t"
    )
    assert type(await transport.send(BODY, lambda: HEADERS)) is ClientStateError
    await transport.close()
    transport.open()
    await transport.close()
    assert type(await transport.send(BODY, lambda: HEADERS)) is ClientStateError


async def test_a_proxy_that_refuses_is_not_asked_again() -> None:
    async with peer(http(b"", "407 Proxy Authentication Required")) as proxy:
        origin = proxy.url.removesuffix("/v3/voice/recordSipQuery")
        async with transport_to("http://127.0.0.1:1/x", proxy=Secret(origin)) as transport:
            assert contents(await transport.send(BODY, lambda: HEADERS)) == (407, b"", None)


async def test_a_borrowed_session_is_left_open_and_its_limit_is_logged() -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=3)) as session:
        async with peer(http(b"{}")) as here, transport_to(here.url, session=session) as transport:
            assert transport.connections == 3
            assert isinstance(await transport.send(BODY, lambda: HEADERS), Received)
        assert not session.closed


def test_nothing_that_is_sent_or_received_shows_in_a_repr() -> None:
    assert "canary" not in repr(_SignedBody(b"canary", lambda: {"Sign": "canary"}))
    assert "canary" not in repr(Received(b"canary", None))


# A key and a certificate for 127.0.0.1 that open nothing; valid until 2126.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQMpLoBhqWzvs0FpH
E+id8QNooP0c9xpqK+wgckgKfm6hRANCAARFf+5uiLRXqvyRRQNnRTDATFIwPg8I
v+QYfBUH3wT9DUFbTY0f8dhDEkqHWMLm/8q7M9EvJRf7xlHuX4lxJ0yx
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBOTCB36ADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB3NhbmRib3gw
IBcNMjQwMTAxMDAwMDAwWhgPMjEyNjAxMDEwMDAwMDBaMBIxEDAOBgNVBAMMB3Nh
bmRib3gwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARFf+5uiLRXqvyRRQNnRTDA
TFIwPg8Iv+QYfBUH3wT9DUFbTY0f8dhDEkqHWMLm/8q7M9EvJRf7xlHuX4lxJ0yx
oyQwIjAPBgNVHREECDAGhwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0E
AwIDSQAwRgIhANDEbSGnDTb7mlgZOJhG6iGnEU+xds+8UriNePHpBnDbAiEAt3dZ
i76OIBJdT0vagL+eu4SQ/2qofsWuvRQDrOToUOk=
-----END CERTIFICATE-----
"""


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    path.write_text(CERTIFICATE, encoding="ascii")
    return path


def serving(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


async def test_a_certificate_that_is_vouched_for_is_accepted(authority: Path) -> None:
    context = ssl.create_default_context(cafile=authority)
    async with (
        peer(http(b"{}"), context=serving(authority)) as here,
        transport_to(here.url, ssl_context=context) as transport,
    ):
        assert contents(await transport.send(BODY, lambda: HEADERS)) == (200, b"{}", None)


@pytest.mark.parametrize("borrowed", [False, True])
async def test_an_untrusted_certificate_is_refused_before_a_byte_is_sent(authority: Path, *, borrowed: bool) -> None:
    """Even where the borrowed session's connector has verification switched off."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
        peer(http(b"{}"), context=serving(authority)) as here,
        transport_to(here.url, session=session if borrowed else None) as transport,
    ):
        error = await transport.send(BODY, lambda: HEADERS)
        assert type(error) is TlsError
        assert not error.retryable
        assert "is not trusted (self-signed certificate)" in str(error)
        assert here.heads == []


async def test_a_certificate_for_another_name_is_refused(authority: Path) -> None:
    context = ssl.create_default_context(cafile=authority)
    async with peer(http(b"{}"), context=serving(authority)) as here:
        url = here.url.replace("127.0.0.1", "localhost")
        async with transport_to(url, ssl_context=context) as transport:
            error = await transport.send(BODY, lambda: HEADERS)
        assert type(error) is TlsError
        assert here.heads == []


async def test_a_handshake_that_breaks_off_may_succeed_later() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async with (
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as server,
        transport_to(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v3/voice") as transport,
    ):
        error = await transport.send(BODY, lambda: HEADERS)
    assert type(error) is TransportError
    assert error.retryable


async def test_localhost_is_never_looked_up() -> None:
    class Elsewhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, *_: object) -> Any:
            raise AssertionError(host)

        async def close(self) -> None: ...

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Elsewhere())) as session,
        peer(http(b"{}")) as here,
        transport_to(here.url.replace("127.0.0.1", "localhost"), session=session) as transport,
    ):
        assert contents(await transport.send(BODY, lambda: HEADERS)) == (200, b"{}", None)


def test_a_request_that_waited_is_signed_with_the_offset_that_was_learned_meanwhile() -> None:
    credentials = Credentials("canary-key", "canary-secret")
    clock = ClockOffset()
    instants = iter([1_000.0, 1_010.0])
    signer = Signer(credentials, clock, lambda: next(instants))
    assert (signer.signed_at, signer.version) == (0.0, 0)
    clock.note_refusal(600.0, signed_under=0, now=0.0)
    headers = signer()
    assert headers == {"Api-Key": "canary-key", "Timestamp": "1600", "Sign": sign(credentials, 1_600)}
    assert (signer.signed_at, signer.version) == (1_000.0, 1)
    assert signer()["Timestamp"] == "1610"
    assert signer.signed_at == 1_010.0
