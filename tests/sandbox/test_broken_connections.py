# ruff: noqa: ANN401 - JSON is anything
import asyncio
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import http_parser

from aiosipcdr.sandbox import Fault, Sandbox

ANY_KIND = [
    *(Fault("http", status=503), Fault("code", code=-18), Fault("edit", prefix=" "), Fault("late", seconds=0.0)),
    *map(Fault, ("cut-gzip", "corrupt-gzip", "reset", "close", "garbage", "cut-head", "cut", "cut-chunked")),
    *map(Fault, ("cut-unframed", "long", "two-lengths", "huge-head", "many-heads")),
    Fault("drip", seconds=0.0),
    Fault("bomb", size=100_000),
]
FOR_EVER = [Fault("hang"), Fault("stall"), Fault("large"), Fault("endless"), Fault("drip", seconds=3600.0)]


# aiohttp's parser in Python reads these as if nothing were wrong.
LET_PASS = {"long", "two-lengths"}
PURE_PYTHON = http_parser.HttpResponseParser is http_parser.HttpResponseParserPy

Exchange = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No fault is worth a line of the log."""
    caplog.set_level(logging.INFO)
    yield
    assert not caplog.records


async def until_struck(sandbox: Sandbox) -> None:
    while sandbox.faults_left:  # noqa: ASYNC110 - the sandbox lives in another loop
        await asyncio.sleep(0.01)


async def all_left(sandbox: Sandbox) -> None:
    """Wait until no request is being answered."""
    while True:
        sandbox.reset_stats()
        if not sandbox.stats.peak_in_flight:
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "reset"),
    [
        (Fault("reset"), True),
        (Fault("close"), False),
        (Fault("garbage"), False),
        (Fault("cut-head"), False),
        (Fault("cut-head", reset=True), True),
        (Fault("cut"), False),
        (Fault("cut", after=7, reset=True), True),
        (Fault("cut-chunked", after=7), False),
        (Fault("cut-chunked", reset=True), True),
        (Fault("cut-unframed"), False),
        (Fault("long"), False),
        (Fault("two-lengths"), False),
        (Fault("huge-head"), False),
        (Fault("many-heads"), False),
        (Fault("drip", seconds=0.0), False),
    ],
)
async def test_bytes_and_end_of_a_broken_connection(
    wire: Callable[[Sandbox], Any], exchange: Exchange, fault: Fault, *, reset: bool
) -> None:
    async with Sandbox(records=3, faults=[fault]) as sandbox:
        # The client would go on with the connection: that it ends is the fault's doing.
        async with wire(sandbox) as connection:
            await connection.ask()
            heard = await connection.hear_all()
        true = await exchange(sandbox)
        assert heard.reset is reset
        length = len(true.body)
        after = length // 2 if fault.after is None else fault.after
        match fault.kind:
            case "reset" | "close":
                assert heard.data == b""
            case "garbage":
                assert not heard.data.startswith(b"HTTP")
            case "cut-head":
                assert heard.data.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: ")
                assert b"\r\n\r\n" not in heard.data
            case "cut":
                assert heard.header("Content-Length") == str(length)
                assert heard.body == true.body[:after]
            case "cut-chunked":
                assert heard.header("Transfer-Encoding") == "chunked"
                assert heard.body == b"%x\r\n%b\r\n" % (after, true.body[:after])
            case "cut-unframed":
                assert b"Content-Length" not in heard.head
                assert b"Transfer-Encoding" not in heard.head
                assert heard.body == true.body[:after]
            case "long":
                assert heard.header("Content-Length") == str(after)
                assert heard.body == true.body
            case "two-lengths":
                assert re.findall(rb"Content-Length: (\d+)", heard.head) == [b"%d" % length, b"%d" % (length + 1)]
            case _:
                assert heard.body == true.body
                assert heard.header("Content-Length") == str(length)
        assert sandbox.stats.requests == 2


async def test_a_bomb_is_gzip_of_zeros(headers_for: Any, body_for: Any) -> None:
    async with (
        Sandbox(records=1, faults=[Fault("bomb", size=5_000_000)]) as sandbox,
        aiohttp.ClientSession() as session,
        session.post(
            sandbox.base_url + "/recordSipQuery", json=body_for(sandbox), headers=headers_for(sandbox)
        ) as response,
    ):
        assert await response.read() == bytes(5_000_000)


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("reset", aiohttp.ClientOSError),
        ("close", aiohttp.ServerDisconnectedError),
        ("cut-head", aiohttp.ServerDisconnectedError),
        ("cut", aiohttp.ClientPayloadError),
        ("cut-chunked", aiohttp.ClientPayloadError),
        ("corrupt-gzip", aiohttp.ClientPayloadError),
        ("long", aiohttp.ClientResponseError),
        ("garbage", aiohttp.ClientError),
        ("two-lengths", aiohttp.ClientResponseError),
        ("huge-head", aiohttp.ClientResponseError),
        ("many-heads", aiohttp.ClientResponseError),
        ("cut-unframed", None),
        ("cut-gzip", None),
    ],
)
async def test_aiohttp_raises_the_expected_error(
    headers_for: Any, body_for: Any, kind: str, raised: type[Exception] | None
) -> None:
    async with Sandbox(records=20, faults=[Fault(kind)]) as sandbox, aiohttp.ClientSession() as session:

        async def ask() -> bytes:
            async with session.post(
                sandbox.base_url + "/recordSipQuery", json=body_for(sandbox), headers=headers_for(sandbox)
            ) as response:
                assert response.status == 200
                return await response.read()

        if raised is None or (kind in LET_PASS and PURE_PYTHON):
            assert (await ask()).startswith(b'{"status":"0"')
        else:
            with pytest.raises(raised):
                await ask()
        assert sandbox.faults_left == []
        assert sandbox.stats.requests == 1


@pytest.mark.parametrize("fault", FOR_EVER, ids=lambda fault: fault.kind)
async def test_endless_responses_end_with_the_client(wire: Callable[[Sandbox], Any], fault: Fault) -> None:
    async with Sandbox(records=5, faults=[fault]) as sandbox:
        async with wire(sandbox) as connection:
            await connection.ask()
            await until_struck(sandbox)
            if fault.kind == "endless":
                heard = 0
                while heard < 3_000_000:
                    heard += len(await connection.hear())
            elif fault.kind != "hang":
                assert (await connection.hear()).startswith(b"HTTP/1.1 200 OK\r\n")
        await all_left(sandbox)


@pytest.mark.parametrize("fault", [*FOR_EVER, Fault("late", seconds=3600.0)], ids=lambda fault: fault.kind)
async def test_endless_responses_end_with_the_sandbox(
    wire: Callable[[Sandbox], Any], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    # Were it left to the server to end them, this test would time out.
    monkeypatch.setattr("aiosipcdr.sandbox.server._GRACE", 3600)
    async with AsyncExitStack() as stack:
        async with Sandbox(records=5, faults=[fault]) as sandbox:
            connection = await stack.enter_async_context(wire(sandbox))
            await connection.ask()
            await until_struck(sandbox)
            if fault.kind not in {"hang", "late"}:
                first = await connection.hear(17)
        heard = await connection.hear_all()
    if fault.kind == "hang":
        assert (heard.data, heard.reset) == (b"", False)
    elif fault.kind != "late":
        assert first == b"HTTP/1.1 200 OK\r\n"
    assert not [thread for thread in threading.enumerate() if thread.name == "aiosipcdr-sandbox"]


async def test_half_of_a_stalled_body_comes(wire: Callable[[Sandbox], Any], exchange: Exchange) -> None:
    async with Sandbox(records=5, faults=[Fault("stall", page=1, attempt=1)]) as sandbox:
        async with wire(sandbox) as connection:
            await connection.ask()
            data = b""
            true = await exchange(sandbox)
            while len(data.partition(b"\r\n\r\n")[2]) < len(true.body) // 2:
                data += await connection.hear()
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(true.body) in head
        assert body == true.body[: len(true.body) // 2]


async def test_every_kind_leaves_the_next_request_alone(exchange: Exchange) -> None:
    async with Sandbox(records=3, faults=ANY_KIND) as sandbox:
        for _ in ANY_KIND:
            await exchange(sandbox)
        assert sandbox.faults_left == []
        assert json.loads((await exchange(sandbox)).body)["data"]["total"] == 3
        assert sandbox.stats.requests == len(ANY_KIND) + 1


async def test_many_at_once(exchange: Exchange) -> None:
    faults = [msgspec.structs.replace(fault, page=n) for n, fault in enumerate(ANY_KIND, 1)]
    async with Sandbox(records=2_000, faults=[*faults, Fault("http", status=500, page=99, times=0)]) as sandbox:
        await asyncio.gather(*(exchange(sandbox, n) for n in range(1, len(faults) + 1)))
        codes = [heard.status for heard in await asyncio.gather(*(exchange(sandbox, 99) for _ in range(9)))]
        assert codes == [500] * 9
