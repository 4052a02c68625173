"""Applications of each framework with the same routes, served over real sockets.

The routes take `timeout` and `start_within` beside the range, so that a test can set them.
"""
# ruff: noqa: ANN401, ASYNC109, ASYNC110 - the constructor's own settings; deadlines under test; waiting is polling

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from aiohttp import AddrInfoType, ClientSession, TCPConnector, web
from fastapi import FastAPI

from aiosipcdr import CdrClient
from aiosipcdr.integrations import aiohttp as on_aiohttp
from aiosipcdr.integrations import fastapi as on_fastapi
from aiosipcdr.integrations.streaming import START_WITHIN
from aiosipcdr.sandbox import Sandbox
from tests import clients
from tests.clients import QUICK_TWICE
from tests.gates import Gate
from tests.inside import check_idle, is_working

Build = Callable[[], CdrClient]
OPTIONS = ("timeout", "start_within", "allow_incomplete", "spreadsheet")
Serve = Callable[..., AbstractAsyncContextManager[str]]


def client_of(sandbox: Sandbox, **settings: Any) -> CdrClient:
    """Return a client that asks twice at most."""
    return clients.client_of(sandbox, **({"retry": QUICK_TWICE} | settings))


def asking(sandbox: Sandbox, **asked: Any) -> str:
    """Return the query string for all calls of the sandbox, or for `asked`."""
    times = {"start": sandbox.start.isoformat(), "end": sandbox.end.isoformat()}
    return urlencode(times | asked)


async def settled(sandbox: Sandbox) -> int:
    """Return how many requests the sandbox has had, once no more come."""
    before = -1
    while (now := sandbox.stats.requests) != before:
        before = now
        await asyncio.sleep(0.1)
    return now


async def until_idle(client: CdrClient) -> None:
    """Wait until `client` does nothing, and no task watches a caller."""

    def watchers() -> bool:
        return any(
            "_cancel_on_disconnect" in getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()
        )

    async with asyncio.timeout(30):
        while is_working(client) or watchers():
            await asyncio.sleep(0.002)
    check_idle(client)


def fastapi_app(build: Build, **limits: Any) -> FastAPI:
    app = FastAPI(lifespan=on_fastapi.client_lifespan(build, **limits))
    on_fastapi.install_error_handlers(app)

    @app.get("/count")
    async def count(client: on_fastapi.ClientDep, query: on_fastapi.RangeParams, timeout: float | None = None) -> int:
        async with on_fastapi.deadline(timeout):
            return await client.count(**query)

    @app.get("/page")
    async def page(
        client: on_fastapi.ClientDep, start: datetime, end: datetime, current: int = 1, size: int = 100
    ) -> int:
        return len((await client.fetch_page(start, end, current, size)).records)

    @app.get("/calls.ndjson", response_class=on_fastapi.NdjsonResponse)
    async def ndjson(
        client: on_fastapi.ClientDep,
        query: on_fastapi.RangeParams,
        timeout: float | None = None,
        start_within: float = START_WITHIN,
        allow_incomplete: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query string
    ) -> on_fastapi.NdjsonResponse:
        stream = client.stream(**query, allow_incomplete=allow_incomplete)
        return on_fastapi.NdjsonResponse(stream, timeout=timeout, start_within=start_within)

    @app.head("/calls.csv", include_in_schema=False)
    @app.get("/calls.csv", response_class=on_fastapi.CsvResponse)
    async def csv(  # noqa: PLR0917 - parameters of the query string
        client: on_fastapi.ClientDep,
        query: on_fastapi.RangeParams,
        timeout: float | None = None,
        start_within: float = START_WITHIN,
        allow_incomplete: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query string
        spreadsheet: bool = False,  # noqa: FBT001, FBT002 - likewise
    ) -> on_fastapi.CsvResponse:
        return on_fastapi.CsvResponse(
            client.stream(**query, allow_incomplete=allow_incomplete),
            timeout=timeout,
            start_within=start_within,
            spreadsheet=spreadsheet,
            headers={"X-Mine": "here"},
        )

    return app


def listen() -> socket.socket:
    """Return a socket whose connections hold little: what a caller does not read is soon felt."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    return listening


@asynccontextmanager
async def serve_asgi(app: Any) -> AsyncIterator[str]:
    with listen() as listening:
        config = uvicorn.Config(app, http="h11", ws="none", log_config=None, timeout_graceful_shutdown=30)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            assert not serving.done(), "uvicorn did not start"
            await asyncio.sleep(0.002)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def serve_fastapi(build: Build, **limits: Any) -> AsyncIterator[str]:
    async with serve_asgi(fastapi_app(build, **limits)) as address:
        yield address


def aiohttp_app(build: Build, **limits: Any) -> web.Application:
    def number(request: web.Request, name: str, default: float | None = None) -> float | None:
        return float(request.query[name]) if name in request.query else default

    async def count(request: web.Request) -> web.Response:
        async with on_aiohttp.deadline(number(request, "timeout")):
            query = on_aiohttp.range_params(request, also=("timeout",))
            return web.json_response(await request.app[on_aiohttp.CLIENT].count(**query))

    async def page(request: web.Request) -> web.Response:
        start, end = (datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
        current, size = (int(request.query.get(name, default)) for name, default in (("current", 1), ("size", 100)))
        got = await request.app[on_aiohttp.CLIENT].fetch_page(start, end, current, size)
        return web.json_response(len(got.records))

    async def calls(request: web.Request) -> web.StreamResponse:
        client = request.app[on_aiohttp.CLIENT]
        lenient = request.query.get("allow_incomplete") == "true"
        return await on_aiohttp.send_calls(
            request,
            client.stream(**on_aiohttp.range_params(request, also=OPTIONS), allow_incomplete=lenient),
            "csv" if request.path.endswith("csv") else "ndjson",
            timeout=number(request, "timeout"),
            start_within=number(request, "start_within", START_WITHIN) or 0.0,
            spreadsheet=request.query.get("spreadsheet") == "true",
            headers={"X-Mine": "here"},
        )

    app = web.Application()
    on_aiohttp.install_error_handlers(app)
    app.cleanup_ctx.append(on_aiohttp.client_context(build, **limits))
    app.router.add_get("/count", count)
    app.router.add_get("/page", page)
    app.router.add_get("/calls.ndjson", calls)
    app.router.add_get("/calls.csv", calls)
    return app


@asynccontextmanager
async def serve_web(app: web.Application, **options: Any) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=30, **options)
    await runner.setup()
    with listen() as listening:
        try:
            await web.SockSite(runner, listening).start()
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def serve_aiohttp(build: Build, **limits: Any) -> AsyncIterator[str]:
    async with serve_web(aiohttp_app(build, **limits)) as address:
        yield address


class Tools:
    """Helpers of the tests of applications."""

    Gate = Gate
    asking = staticmethod(asking)
    client_of = staticmethod(client_of)
    settled = staticmethod(settled)
    until_idle = staticmethod(until_idle)
    serve_asgi = staticmethod(serve_asgi)
    serve_web = staticmethod(serve_web)
    fastapi_app = staticmethod(fastapi_app)
    aiohttp_app = staticmethod(aiohttp_app)


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture(params=[serve_fastapi, serve_aiohttp], ids=["fastapi", "aiohttp"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Return a function that serves the routes for a client that it builds; each framework in turn."""
    chosen: Serve = request.param
    return chosen


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def slow_browser() -> AsyncIterator[ClientSession]:
    """Return a session with small receive buffers."""

    def small(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        return opened

    async with ClientSession(connector=TCPConnector(socket_factory=small), read_bufsize=1024) as session:
        yield session
