"""Errors of the vendor and of the connection: their class, the exact number of requests, a plain exception."""

import asyncio
import gzip
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from aiosipcdr import (
    AuthenticationError,
    CdrClient,
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    RequestTimeoutError,
    ResponseTooLargeError,
    RestrictedAddressError,
    RetryPolicy,
    ServerFaultError,
    SipCdrError,
    ThrottledError,
    TlsError,
    TransportError,
    VendorError,
)
from aiosipcdr.sandbox import Sandbox
from tests.clients import QUICK, client_of
from tests.selection import pairs

if TYPE_CHECKING:
    from tests.client.conftest import Wire


SANDBOX = {"records": 800}


CODES: list[tuple[int, type[VendorError], int]] = [
    (-1, AuthenticationError, 1),
    (-2, RestrictedAddressError, 1),
    (-13, AuthenticationError, 1),
    (-15, ThrottledError, 6),
    (-18, ServerFaultError, 8),
    (-22, InvalidQueryError, 1),
    (-99, VendorError, 1),
    (5, VendorError, 1),
]


@pytest.mark.parametrize(("code", "kind", "requests"), CODES)
@pytest.mark.parametrize("method", ["count", "fetch_page", "fetch_all", "stream"])
async def test_a_status_code_is_its_error_after_so_many_requests(
    sandbox: Sandbox, code: int, kind: type[VendorError], requests: int, method: str
) -> None:
    sandbox.answer_next(*[code] * 20)
    async with client_of(sandbox) as client:
        try:
            if method == "stream":
                async with client.stream(sandbox.start, sandbox.end) as stream:
                    await anext(aiter(stream))
            else:
                await getattr(client, method)(sandbox.start, sandbox.end)
        except Exception as error:  # noqa: BLE001 - the test checks its exact class
            caught = error
        assert type(caught) is kind
        assert isinstance(caught, VendorError)
        assert caught.status == code
        assert caught.reason
        assert caught.reason in str(caught)
        assert caught.page == 1
        assert caught.window is not None
        assert (caught.window.start, caught.window.end) == (sandbox.start, sandbox.end)
        assert caught.retryable == (requests > 1)
        # A count is asked for once more with a whole page, for a vendor that refuses pages of one.
        assert sandbox.stats.requests == requests + (method == "count" and code == -22)
        assert caught.__cause__ is None


@pytest.mark.parametrize("code", [-15, -18])
async def test_trouble_that_passes_is_retried_until_it_has_passed(sandbox: Sandbox, code: int) -> None:
    sandbox.answer_next(code, code, 0, code, 0, 0, code)
    async with client_of(sandbox, concurrency=2) as client:
        records = await client.fetch_all(sandbox.start, sandbox.end)
    assert sorted(record.voice_id for record in records) == sorted(sandbox.voice_ids())
    assert records.report.certified
    assert records.report.retries == 4
    assert records.report.requests == sandbox.stats.requests == 10 + 4


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_a_page_is_asked_for_as_often_as_the_policy_says(sandbox: Sandbox, attempts: int) -> None:
    sandbox.answer_next(*[-18] * 20)
    async with client_of(sandbox, retry=RetryPolicy(attempts=attempts, base=0.001)) as client:
        with pytest.raises(ServerFaultError):
            await client.fetch_all(sandbox.start, sandbox.end)
    assert sandbox.stats.requests == attempts


@pytest.mark.parametrize(("code", "concurrency"), pairs([-1, -2, -13, -99], [1, 3, 8]))
async def test_an_error_that_is_not_retryable_stops_everything_at_once(code: int, concurrency: int) -> None:
    async with Sandbox(records=1_900, latency=0.01) as sandbox, client_of(sandbox, concurrency=concurrency) as client:
        sandbox.answer_next(0, *[code] * 50)
        with pytest.raises(VendorError) as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        assert caught.value.status == code
        await asyncio.sleep(0.05)
        # Page 1, then at most those in flight: repeated bad logins lock accounts.
        assert sandbox.stats.requests <= 1 + concurrency
        assert asyncio.current_task() in asyncio.all_tasks()
        assert len(asyncio.all_tasks()) == len(asyncio.all_tasks() - {asyncio.current_task()}) + 1


@pytest.mark.parametrize("concurrency", [1, 3, 8])
async def test_a_refused_page_is_asked_for_in_smaller_windows_and_then_is_an_error(concurrency: int) -> None:
    async with Sandbox(records=1_900, latency=0.01) as sandbox, client_of(sandbox, concurrency=concurrency) as client:
        sandbox.answer_next(0, *[-22] * 50)
        with pytest.raises(InvalidQueryError):
            await client.fetch_all(sandbox.start, sandbox.end)
        assert sandbox.stats.requests <= 40


async def test_a_count_of_a_range_that_is_too_old_keeps_the_vendors_code(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(OutOfTimeRangeError) as caught:
            await client.count(sandbox.start - timedelta(days=200), sandbox.start - timedelta(days=190))
    assert caught.value.status == -25
    assert caught.value.available_from is None
    assert sandbox.stats.requests == 2


async def test_a_count_says_from_when_on_there_is_something_to_count(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(OutOfTimeRangeError, match="available from") as caught:
            await client.count(sandbox.start - timedelta(days=200), sandbox.end)
        assert "begin later" in str(caught.value)
        assert "skip" not in str(caught.value)  # a count with a hole in it is none
        edge = caught.value.available_from
        assert edge is not None
        assert await client.count(edge + timedelta(minutes=1), sandbox.end) == 800


HTTP: list[tuple[str, dict[str, str], type[SipCdrError], int]] = [
    ("400 Bad Request", {}, ProtocolError, 1),
    ("401 Unauthorized", {}, AuthenticationError, 1),
    ("403 Forbidden", {"Content_Type": "text/html"}, RestrictedAddressError, 1),
    ("404 Not Found", {}, ProtocolError, 1),
    ("405 Method Not Allowed", {}, ProtocolError, 1),
    ("413 Too Large", {}, ProtocolError, 1),
    ("204 No Content", {}, ProtocolError, 6),
    ("407 Proxy Authentication Required", {}, TransportError, 1),
    ("501 Not Implemented", {}, ProtocolError, 1),
    ("408 Timeout", {}, ServerFaultError, 8),
    ("409 Conflict", {}, ServerFaultError, 8),
    ("425 Too Early", {}, ServerFaultError, 8),
    ("429 Too Many", {}, ThrottledError, 6),
    ("429 Too Many", {"Retry_After": "0"}, ThrottledError, 6),
    ("429 Too Many", {"Retry_After": "rubbish"}, ThrottledError, 6),
    ("429 Too Many", {"Retry_After": "-5"}, ThrottledError, 6),
    ("429 Too Many", {"Retry_After": "nan"}, ThrottledError, 6),
    ("429 Too Many", {"Retry_After": "999999999999"}, ThrottledError, 6),
    ("500 Oops", {}, ServerFaultError, 8),
    ("502 Bad Gateway", {}, ServerFaultError, 8),
    ("503 Unavailable", {}, ServerFaultError, 8),
    ("503 Unavailable", {"Retry_After": "0"}, ThrottledError, 6),
    ("504 Gateway Timeout", {}, ServerFaultError, 8),
]


@pytest.mark.parametrize(("status", "headers", "kind", "requests"), HTTP, ids=str)
async def test_an_http_status_is_its_error_after_so_many_requests(
    wire: "Wire", status: str, headers: dict[str, Any], kind: type[SipCdrError], requests: int
) -> None:
    body = b"" if status.startswith("204") else b"busy"
    async with wire.server([wire.http(body, status=status, **headers)]) as server, server.client() as client:
        with pytest.raises(SipCdrError) as caught:
            await client.fetch_all(wire.start, wire.end)
        error = caught.value
        assert type(error) is kind
        assert error.status == int(status[:3])
        assert f"HTTP {error.status}" in str(error)
        assert error.page == 1
        assert error.window is not None
        assert error.__context__ is None or error.__suppress_context__
        assert len(server.seen) == requests


@pytest.mark.parametrize("status", ["429 Too Many", "503 Unavailable"])
async def test_a_wish_that_is_too_long_ends_the_run_with_the_wish(wire: "Wire", status: str) -> None:
    answer = wire.http(b"", status=status, Retry_After="121")
    async with wire.server([answer]) as server, server.client() as client:
        with pytest.raises(ThrottledError) as caught:
            await client.fetch_all(wire.start, wire.end)
        assert caught.value.retry_after == 121
        assert len(server.seen) == 1


async def test_a_wish_may_be_a_date_measured_by_the_servers_own_clock(wire: "Wire") -> None:
    answer = wire.http(
        b"", status="429 X", Retry_After="Thu, 01 Jan 2015 00:05:00 GMT", Date="Thu, 01 Jan 2015 00:00:00 GMT"
    )
    async with wire.server([answer]) as server, server.client() as client:
        with pytest.raises(ThrottledError) as caught:
            await client.fetch_all(wire.start, wire.end)
        assert caught.value.retry_after == 300


def raw(text: str, body: bytes = b"") -> bytes:
    return text.replace("\n", "\r\n").encode() + body


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(64 * 1024 * 1024), 1)


def broken(wire: "Wire") -> dict[str, tuple[bytes, type[SipCdrError], int]]:
    good = wire.page([wire.record(1)])
    packed = gzip.compress(good)
    corrupt = packed[:20] + bytes([packed[20] ^ 255]) + packed[21:]
    return {
        "closed without a word": (b"", TransportError, 8),
        "half a head": (raw("HTTP/1.1 200 OK\nContent-Le"), TransportError, 8),
        "no HTTP": (raw("SSH-2.0-OpenSSH_9.6\n\n"), ProtocolError, 3),
        "truncated body": (wire.http(good, length=len(good) + 9), TransportError, 8),
        "chunked and cut": (
            raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n40\n", b'{"status":'),
            TransportError,
            8,
        ),
        "cut without a length": (raw("HTTP/1.1 200 OK\nConnection: close\n\n", good[:-20]), ProtocolError, 3),
        "empty": (wire.http(b""), ProtocolError, 3),
        "html": (wire.http(b"<!doctype html><title>Log in</title>", Content_Type="text/html"), ProtocolError, 3),
        "null": (wire.http(b"null"), ProtocolError, 3),
        "a list": (wire.http(b"[]"), ProtocolError, 3),
        "not UTF-8": (wire.http(good.replace(b'"0"', b'"\xff\xfe"')), ProtocolError, 3),
        "nested beyond reason": (wire.http(b"[" * 100_000), ProtocolError, 3),
        "no data": (wire.http(b'{"status":"0"}'), ProtocolError, 3),
        "status that is none": (wire.http(b'{"status":"fine","data":null}'), ProtocolError, 3),
        "records null though some are counted": (
            wire.http(good.replace(b"[{", b'null,"x":[{')),
            ProtocolError,
            3,
        ),
        "gzip truncated": (wire.http(packed[:-9], Content_Encoding="gzip"), TransportError, 8),
        "gzip corrupt": (wire.http(corrupt, Content_Encoding="gzip"), TransportError, 8),
        "gzip that is none": (wire.http(good, Content_Encoding="gzip"), TransportError, 8),
        "gzip with more behind it": (wire.http(packed + b"x", Content_Encoding="gzip"), TransportError, 8),
        "gzip bomb": (wire.http(bomb(), Content_Encoding="gzip"), ResponseTooLargeError, 1),
        "too large by its own word": (
            raw(f"HTTP/1.1 200 OK\nContent-Length: {10**10}\n\n", b"{"),
            ResponseTooLargeError,
            1,
        ),
        "too large without a word": (
            raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", (b"100000\r\n" + bytes(2**20) + b"\r\n") * 9),
            ResponseTooLargeError,
            1,
        ),
        "an encoding nobody asked for": (wire.http(good, Content_Encoding="br"), ProtocolError, 1),
    }


NAMES = [
    *("closed without a word", "half a head", "no HTTP", "truncated body", "chunked and cut", "cut without a length"),
    *("empty", "html", "null", "a list", "not UTF-8", "nested beyond reason", "no data", "status that is none"),
    *("records null though some are counted", "gzip truncated", "gzip corrupt", "gzip that is none"),
    *("gzip with more behind it", "gzip bomb", "too large by its own word", "too large without a word"),
    "an encoding nobody asked for",
]


# Where the fault is that the answer stops; after the others the connection is as good as before.
CUT = {"half a head", "truncated body", "chunked and cut", "cut without a length"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_broken_answer_is_its_error_after_so_many_requests(wire: "Wire", name: str) -> None:
    faults = broken(wire)
    assert set(faults) == set(NAMES)
    answer, kind, requests = faults[name]
    before = asyncio.all_tasks()
    async with wire.server([answer], close_after=name in CUT) as server:
        async with server.client() as client:
            with pytest.raises(SipCdrError) as caught:
                await client.fetch_all(wire.start, wire.end)
            error = caught.value
            assert type(error) is kind
            assert error.page == 1
            assert error.window is not None
            assert error.__context__ is None or error.__suppress_context__
            assert len(server.seen) == requests
            # A client that was hurt is as good as new.
            server.answers = [wire.paged(3)]
            assert await client.count(wire.start, wire.end) == 3
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("name", ["closed without a word", "truncated body", "gzip truncated", "html", "no HTTP"])
async def test_a_broken_answer_between_good_ones_is_asked_for_again(wire: "Wire", name: str) -> None:
    fault = broken(wire)[name][0]
    good = wire.paged(350)
    answers: list[bytes | Callable[..., bytes]] = [good, fault, good, fault, fault, good]
    async with wire.server(answers, close_after=name in CUT) as server, server.client(concurrency=2) as client:
        records = await client.fetch_all(wire.start, wire.end)
        assert len({record.voice_id for record in records}) == len(records) == 350
        assert records.report.certified
        assert records.report.retries == 3
        assert records.report.requests == len(server.seen) == 5 + 3


async def test_a_connection_that_is_reset_is_tried_again(wire: "Wire") -> None:
    async with wire.server([b"HTTP/1.1 200 OK\r\n"], reset=True) as server, server.client() as client:
        with pytest.raises(TransportError) as caught:
            await client.fetch_all(wire.start, wire.end)
        assert isinstance(caught.value, ConnectionError)
        assert len(server.seen) == 8


async def test_a_connection_that_is_refused_is_tried_again() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v3/voice"
        reported: list[str] = []
        async with CdrClient(
            url, "key", "secret", retry=QUICK, hook=lambda event: reported.append(event.kind)
        ) as client:
            with pytest.raises(TransportError) as caught:
                await client.ping()
        assert type(caught.value) is TransportError
        assert reported.count("request_sent") == 6
        assert reported.count("request_retried") == 5


async def test_a_server_that_says_nothing_runs_into_the_timeout(wire: "Wire") -> None:
    async with wire.server([b""], hold=asyncio.Event()) as server:
        retry = RetryPolicy(attempts=2, base=0.001)
        async with server.client(timeout=0.05, retry=retry) as client:
            with pytest.raises(RequestTimeoutError) as caught:
                await client.fetch_all(wire.start, wire.end)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.page == 1
        assert len(server.seen) <= 2
        assert 1 <= server.connections <= 2


async def test_an_answer_that_never_ends_runs_into_the_timeout(wire: "Wire") -> None:
    answer = raw("HTTP/1.1 200 OK\nContent-Length: 1000\n\n", b"{")
    async with wire.server([answer]) as server, server.client(timeout=0.1, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestTimeoutError):
            await client.count(wire.start, wire.end)


async def test_https_on_a_plain_port_is_said_so() -> None:
    connections = 0

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(5)
        writer.write(raw("HTTP/1.1 400 Bad Request\nConnection: close\n\n"))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v3/voice"
        async with CdrClient(url, "key", "secret", retry=RetryPolicy(attempts=2, base=0.001)) as client:
            with pytest.raises(TlsError, match="scheme") as caught:
                await client.ping()
    assert isinstance(caught.value, TransportError)
    assert connections == 2


async def test_a_size_that_is_larger_than_asked_is_not_believed(wire: "Wire") -> None:
    async with wire.server([wire.http(wire.page([wire.record(1)], size=500))]) as server, server.client() as client:
        with pytest.raises(ProtocolError, match="size"):
            await client.fetch_all(wire.start, wire.end)
        assert len(server.seen) == 2


async def test_a_page_that_was_not_asked_for_is_not_used(wire: "Wire") -> None:
    answers = [wire.http(wire.page([wire.record(n) for n in range(100)], total=150))]
    async with wire.server(answers) as server, server.client(concurrency=1) as client:
        with pytest.raises(ProtocolError, match="page 1 came back for page 2") as caught:
            await client.fetch_all(wire.start, wire.end)
        assert caught.value.page == 2
        assert len(server.seen) == 3


async def test_records_from_elsewhere_in_time_are_not_used(wire: "Wire") -> None:
    answers = [wire.http(wire.page([wire.record(200_000)]))]
    async with wire.server(answers) as server, server.client() as client:
        with pytest.raises(ProtocolError, match="outside the window"):
            await client.fetch_all(wire.start, wire.end)
        assert len(server.seen) == 2
