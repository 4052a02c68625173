"""The door to FastAPI: what is FastAPI's own.  What both doors promise stands in test_doors.py."""
# ruff: noqa: ANN401 - the fixtures' own

import asyncio
import builtins
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware

from aiosipcdr import CdrClient, SipCdrError
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.fastapi import (
    AskedRange,
    CsvResponse,
    NdjsonResponse,
    OpenClient,
    answer_errors,
    client_lifespan,
)
from aiosipcdr.sandbox import Sandbox
from tests.settling import settle


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(records=300) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    settle(shared)
    return shared


async def test_the_lifespan_opens_one_client_and_closes_it(
    doors: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    built: list[CdrClient] = []
    seen: list[CdrClient] = []

    def build() -> CdrClient:
        built.append(doors.client_of(sandbox))
        return built[-1]

    app = FastAPI(lifespan=client_lifespan(build))

    @app.get("/")
    async def look(client: OpenClient) -> None:
        seen.append(client)

    assert not built
    async with doors.serve_asgi(app) as address:
        for _ in range(2):
            async with browser.get(address) as answer:
                assert answer.status == 200
        assert "open" in repr(built[0])
    assert len(built) == 1
    assert seen == built * 2
    assert "closed" in repr(built[0])


async def test_a_lifespan_of_the_users_may_hold_ours(doors: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with client_lifespan(lambda: doors.client_of(sandbox))(app) as state:
            yield {**state, "mine": "here"}

    app = FastAPI(lifespan=lifespan)
    inner = FastAPI()
    app.mount("/inner", inner)

    @inner.get("/")
    async def look(request: Request, client: OpenClient) -> str:
        return f"{request.state.mine} {client}"

    async with (
        doors.serve_asgi(app) as address,
        browser.get(f"{address}/inner/") as answer,  # the client reaches applications within this one
    ):
        assert (await answer.json()).startswith("here <CdrClient http://127.0.0.1")


async def test_without_the_lifespan_the_operator_is_told_what_is_missing(
    doors: Any, browser: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    answer_errors(app)

    @app.get("/")
    async def look(client: OpenClient) -> str:
        return str(client)

    async with doors.serve_asgi(app) as address, browser.get(address) as answer:
        assert answer.status == 503
    assert "FastAPI(lifespan=client_lifespan())" in caplog.text


async def test_csv_is_refused_where_nobody_could_keep_its_end(
    doors: Any, sandbox: Sandbox, browser: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors.client_of(sandbox) as client:
        app = FastAPI()
        answer_errors(app)

        @app.get("/")
        async def calls(asked: AskedRange) -> CsvResponse:
            return CsvResponse(client.stream(**asked))

        async with doors.serve_asgi(app) as address, browser.get(f"{address}?{doors.asking(sandbox)}") as answer:
            assert answer.status == 503
    assert "client_lifespan" in caplog.text


async def test_errors_of_others_are_none_of_ours(doors: Any, browser: ClientSession) -> None:
    app = FastAPI()
    answer_errors(app)

    @app.get("/")
    async def fail() -> None:
        raise ValueError("mine")

    async with doors.serve_asgi(app) as address, browser.get(address) as answer:
        assert answer.status == 500
        assert answer.content_type == "text/plain"


async def test_an_answer_may_follow_the_handler_of_the_users(
    doors: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    app = doors.fastapi_app(lambda: doors.client_of(sandbox))

    @app.exception_handler(SipCdrError)  # type: ignore[untyped-decorator]
    async def mine(_request: Request, error: SipCdrError) -> Response:
        return Response(type(error).__name__, 418)

    asked = doors.asking(sandbox, start="2020-01-01T00:00:00Z")
    async with doors.serve_asgi(app) as address, browser.get(f"{address}/calls.csv?{asked}") as answer:
        assert (answer.status, await answer.text()) == (418, "OutOfTimeRangeError")


Next = Callable[[Request], Awaitable[Response]]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("calls.csv", ["http"]),
        ("calls.csv", ["gzip", "http"]),
        ("calls.csv", ["http", "gzip"]),
        ("calls.ndjson", ["http"]),
    ],
)
async def test_middlewares_of_the_users_do_not_end_a_broken_answer_well(
    doors: Any, browser: ClientSession, path: str, order: list[str]
) -> None:
    async def note(request: Request, call_next: Next) -> Response:
        answer = await call_next(request)
        answer.headers["X-Noted"] = "yes"
        return answer

    gate = doors.Gate(15)
    async with Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox:
        app = doors.fastapi_app(lambda: doors.client_of(sandbox, concurrency=1))
        for name in order:
            if name == "gzip":
                app.add_middleware(GZipMiddleware)
            else:
                app.middleware("http")(note)
        async with (
            doors.serve_asgi(app) as address,
            browser.get(f"{address}/{path}?{doors.asking(sandbox)}") as answer,
        ):
            assert answer.status == 200
            assert answer.headers.get("X-Noted") == ("yes" if "http" in order else None)
            assert answer.headers.get("Content-Encoding") == ("gzip" if "gzip" in order else None)
            await gate.reached()
            sandbox.rotate_key()
            gate.opened.set()
            with pytest.raises(ClientPayloadError):
                await answer.read()


async def test_a_caller_who_hangs_up_is_noticed_behind_middlewares(doors: Any, browser: ClientSession) -> None:
    gate = doors.Gate(0)
    clients: list[CdrClient] = []
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox:

        def build() -> CdrClient:
            clients.append(doors.client_of(sandbox))
            return clients[0]

        app = doors.fastapi_app(build)

        @app.middleware("http")  # type: ignore[untyped-decorator]
        async def pass_on(request: Request, call_next: Next) -> Response:
            return await call_next(request)

        async with doors.serve_asgi(app) as address:
            asking = asyncio.create_task(browser.get(f"{address}/calls.ndjson?{doors.asking(sandbox)}"))
            await gate.reached()
            asking.cancel()
            await asyncio.wait({asking})
            await doors.until_idle(clients[0])
            gate.opened.set()


async def test_tasks_behind_an_answer_are_run(doors: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    ran = asyncio.Event()
    app = FastAPI(lifespan=client_lifespan(lambda: doors.client_of(sandbox)))

    @app.get("/")
    async def calls(client: OpenClient, asked: AskedRange, tasks: BackgroundTasks) -> NdjsonResponse:
        tasks.add_task(ran.set)
        return NdjsonResponse(client.stream(**asked), headers={"Cache-Control": "private"})

    async with (
        doors.serve_asgi(app) as address,
        browser.get(f"{address}?{doors.asking(sandbox)}") as answer,
        asyncio.timeout(60),
    ):
        await answer.read()
        await ran.wait()
        assert answer.headers["Cache-Control"] == "private"  # the user's word is the last


def test_the_schema_names_the_formats_and_the_range(doors: Any) -> None:
    paths = doors.fastapi_app(CdrClient.from_env).openapi()["paths"]
    assert set(paths["/calls.ndjson"]["get"]["responses"]["200"]["content"]) == {"application/x-ndjson"}
    assert set(paths["/calls.csv"]["get"]["responses"]["200"]["content"]) == {"text/csv"}
    start = next(one for one in paths["/count"]["get"]["parameters"] if one["name"] == "start")
    assert start["required"]
    assert start["schema"]["format"] == "date-time"
    assert not any(one["name"] == "phone_name" for one in paths["/count"]["get"]["parameters"])


def test_a_missing_fastapi_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "fastapi":
            raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "aiosipcdr.integrations.fastapi")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "aiosipcdr\[fastapi\]"') as caught:
        importlib.import_module("aiosipcdr.integrations.fastapi")
    assert caught.value.name == "fastapi"
