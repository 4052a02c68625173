"""The examples that push changes: callers resume by id, slow ones are disconnected, those that leave cost nothing."""
# ruff: noqa: ASYNC110 - neither a hub nor a server has an event to wait for

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession, web

from aiosipcdr import CallDetailRecord, Change
from aiosipcdr.sandbox import Sandbox
from tests.system_parts import require

pytestmark = pytest.mark.anyio

EXAMPLES = str(Path(__file__).resolve().parents[2] / "examples")
LARGE = "x" * 50_000


class Event(NamedTuple):
    kind: str
    id: str
    data: dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(records=20, days=1) as running:
        yield running


@pytest.fixture(autouse=True)
def _account(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.reset()
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("AIOSIPCDR_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("AIOSIPCDR_API_KEY", sandbox.api_key)
    monkeypatch.setenv("AIOSIPCDR_API_SECRET", sandbox.api_secret)


class Service(NamedTuple):
    """A service in this process: its address, and its hub."""

    url: str
    hub: Any

    @asynccontextmanager
    async def listen(self, last_event_id: str | None = None, **session: Any) -> AsyncIterator[ClientResponse]:  # noqa: ANN401
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        async with ClientSession(**session) as browser, browser.get(self.url, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            assert answer.headers["Cache-Control"] == "no-store"
            yield answer


async def next_event(answer: ClientResponse) -> Event:
    """Return the next event, as a browser reads it."""
    fields: dict[str, str] = {}
    while line := await answer.content.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            return Event(fields["event"], fields["id"], json.loads(fields["data"]))
    raise EOFError


@asynccontextmanager
async def run_aiohttp(app: web.Application, _hub: object) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/changes"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def run_fastapi(app: Any, hub: object) -> AsyncIterator[str]:  # noqa: ANN401
    import uvicorn

    server = import_module("feed_fastapi").Server(hub, uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/changes"
        finally:
            server.should_exit = True
            await serving


Serve = Callable[..., Any]


@pytest.fixture(params=["feed_aiohttp", "feed_fastapi"])
def serve(request: pytest.FixtureRequest, sandbox: Sandbox) -> Serve:
    if request.param == "feed_fastapi":
        require("package:fastapi")
        require("package:uvicorn")

    @asynccontextmanager
    async def serve(size: int = 100, **settings: Any) -> AsyncIterator[Service]:  # noqa: ANN401
        hub = import_module("change_hub").ChangeHub(size, **settings)
        app = import_module(request.param).build_app(
            hub, lambda client: client.follow(sandbox.end, every=0.02, lookback=timedelta(days=3650))
        )
        run = run_aiohttp if request.param == "feed_aiohttp" else run_fastapi
        async with run(app, hub) as url:
            yield Service(url, hub)
        assert not hub.readers

    return serve


def change(number: int, text: str = "") -> Change:
    return Change(kind="added", key=f"{number:032x}", record=CallDetailRecord(voice_id=str(number), code=text or None))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_browser_that_reconnects_gets_the_changes_it_has_missed(serve: Serve, sandbox: Sandbox) -> None:
    async with serve() as service, asyncio.timeout(30):
        async with service.listen() as first, service.listen() as second:
            for answer in (first, second):
                assert (await next_event(answer)).kind == "reset"  # load what is there now
            (one,) = sandbox.insert(at=sandbox.end + timedelta(minutes=1))
            seen = await next_event(first)
            assert (seen.kind, seen.data["record"]["voice_id"], seen.data["key"]) == ("added", one, seen.id)
            assert await next_event(second) == seen
        late = sandbox.insert(at=sandbox.end + timedelta(minutes=2), count=2)  # while no browser is connected
        async with service.listen(seen.id) as again:
            events = [await next_event(again) for _ in late]
            assert {event.data["record"]["voice_id"] for event in events} == {*late}
            assert sandbox.delete(one) == 1
            gone = await next_event(again)
            assert (gone.kind, gone.data["record"]["voice_id"]) == ("vanished", one)


async def test_an_id_that_is_not_buffered_gets_a_reset(serve: Serve) -> None:
    async with serve(3) as service, asyncio.timeout(30):
        async with service.listen() as answer:
            began = await next_event(answer)  # its id is that of an empty buffer
        for number in range(5):
            service.hub.publish(change(number))
        service.hub.publish(change(4))  # yielded again after an error
        for number, missed in [(1, [2, 3, 4]), (2, [3, 4]), (4, [])]:
            async with service.listen(change(number).key) as answer:
                got = [(await next_event(answer)).id for _ in missed]
                service.hub.publish(change(4))
                assert got == [change(one).key for one in missed]
        for old in (began.id, change(0).key, "of-another-process", ""):
            async with service.listen(old) as answer:
                assert await next_event(answer) == ("reset", change(4).key, {})


async def test_a_caller_that_falls_out_of_the_buffer_is_disconnected_and_no_other_one(serve: Serve) -> None:
    async with serve(100, patience=1000) as service, asyncio.timeout(60), stuck_caller(service) as (reader, connection):
        await until(lambda: len(service.hub.readers) == 1)
        (stuck,) = service.hub.readers
        async with service.listen(read_bufsize=2**20) as quick:
            assert (await next_event(quick)).kind == "reset"
            for number in range(400):  # 20 MB
                service.hub.publish(change(number, LARGE))
                assert (await next_event(quick)).id == change(number).key
                if stuck not in service.hub.readers:
                    break
            assert number >= 100
            assert stuck.position <= number - 100 + 1  # what it has not read is in no queue of its own
            await until(lambda: len(service.hub.readers) == 1)
        ids = await read_ids(reader, connection)
        assert ids[1:] == [change(number).key for number in range(len(ids) - 1)]


async def test_a_caller_that_does_not_read_is_disconnected_and_resumes_by_id(serve: Serve) -> None:
    async with (
        serve(1_000, patience=0.2) as service,
        asyncio.timeout(60),
        stuck_caller(service) as (reader, connection),
    ):
        await until(lambda: len(service.hub.readers) == 1)
        for number in range(200):  # 10 MB, more than the buffers of a connection
            service.hub.publish(change(number, LARGE))
        await until(lambda: not service.hub.readers)
        ids = await read_ids(reader, connection)
        assert len(ids) < 200
        while ids[-1] != change(199).key:  # on a busy machine, it may be disconnected again
            with suppress(EOFError, OSError, ClientError):
                async with service.listen(ids[-1], read_bufsize=2**20) as again:
                    while ids[-1] != change(199).key:
                        ids.append((await next_event(again)).id)
        assert ids[1:] == [change(number).key for number in range(200)]


@asynccontextmanager
async def stuck_caller(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, socket.socket]]:
    """Connect a caller that reads almost nothing."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        connection.setblocking(False)  # noqa: FBT003 - as socket has it
        port = int(service.url.split(":")[2].split("/")[0])
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=32_768)
        writer.write(b"GET /changes HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b" 200 " in await reader.readline()
        yield reader, connection
        writer.close()


async def read_ids(reader: asyncio.StreamReader, connection: socket.socket) -> list[str]:
    """Read the rest of a connection; return the ids of complete events."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    read = bytearray()
    with suppress(OSError):
        while data := await reader.read(2**20):
            read += data
    return [found.decode() for found in re.findall(rb"id: (\S+)\ndata: [^\n]*\n\n", read)]


async def test_a_caller_that_leaves_costs_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[asyncio.Task[Any]] = []
    async with serve(keep_alive=1000) as service, asyncio.timeout(30):
        send = service.hub.send

        async def recorded(*arguments: Any) -> None:  # noqa: ANN401
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await send(*arguments)

        monkeypatch.setattr(service.hub, "send", recorded)
        for number in range(1, 4):
            async with service.listen() as answer:
                await next_event(answer)
                assert len(service.hub.readers) == 1
            await until(lambda: not service.hub.readers)  # although nothing is sent
            assert len(tasks) == number
        await until(lambda: all(task.done() for task in tasks))


async def test_a_silent_connection_is_kept_alive(serve: Serve) -> None:
    async with serve(keep_alive=0.05) as service, asyncio.timeout(30), service.listen() as answer:
        await next_event(answer)
        assert await answer.content.readline() == b": waiting\n"


async def test_there_are_limits(serve: Serve, sandbox: Sandbox) -> None:
    del sandbox
    async with serve(max_readers=1) as service, asyncio.timeout(30), service.listen() as answer:
        await next_event(answer)
        async with ClientSession() as browser:
            async with browser.get(service.url) as refused:
                assert refused.status == 503
            async with browser.get(service.url, headers={"Host": "rebound.example"}) as refused:
                assert refused.status == 400
        service.hub.close()
        with pytest.raises(EOFError):
            await next_event(answer)


async def test_callers_are_refused_after_the_feed_has_ended_for_good(
    serve: Serve, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as service, asyncio.timeout(30), service.listen() as answer:
        await next_event(answer)
        sandbox.rotate_key()
        with pytest.raises(EOFError):
            await next_event(answer)
        async with ClientSession() as browser, browser.get(service.url) as refused:
            assert refused.status == 503
    assert "the feed of changes has ended" in caplog.text


async def test_a_service_ends_while_callers_are_connected(serve: Serve) -> None:
    async with AsyncExitStack() as callers:
        async with serve(keep_alive=1000) as service, asyncio.timeout(30):
            answer = await callers.enter_async_context(service.listen())
            await next_event(answer)
        with pytest.raises(EOFError):
            await next_event(answer)
