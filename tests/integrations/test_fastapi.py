"""The FastAPI integration: what only FastAPI has. Common to both integrations: see test_web_endpoints.py."""
# ruff: noqa: ANN401 - the fixtures' own

import asyncio
import builtins
import importlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
import uvicorn
from aiohttp import ClientPayloadError, ClientSession
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import APIKeyQuery
from pydantic import BaseModel, Field

from aiosipcdr import CallDetailRecord, CallDetailRecords, CdrClient, Page, SipCdrError
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations import streaming
from aiosipcdr.integrations.fastapi import (
    ClientDep,
    CsvResponse,
    NdjsonResponse,
    RangeParams,
    client_lifespan,
    install_error_handlers,
    open_account,
    open_client,
    range_params,
    set_limits,
)
from aiosipcdr.sandbox import Sandbox

Next = Callable[[Request], Awaitable[Response]]


SANDBOX = {"records": 300}


async def test_the_lifespan_opens_one_client_and_closes_it(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    built: list[CdrClient] = []
    seen: list[CdrClient] = []

    def build() -> CdrClient:
        built.append(tools.client_of(sandbox))
        return built[-1]

    app = FastAPI(lifespan=client_lifespan(build))

    @app.get("/")
    async def look(client: ClientDep) -> None:
        seen.append(client)

    assert not built
    async with tools.serve_asgi(app) as address:
        for _ in range(2):
            async with browser.get(address) as answer:
                assert answer.status == 200
        assert "open" in repr(built[0])
    assert len(built) == 1
    assert seen == built * 2
    assert "closed" in repr(built[0])


async def test_records_and_pages_are_response_models(tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    app = FastAPI(lifespan=client_lifespan(lambda: tools.client_of(sandbox)))
    span = (sandbox.start, sandbox.end)

    @app.get("/page")
    async def page(client: ClientDep) -> Page:
        return await client.fetch_page(*span, size=10)

    @app.get("/call")
    async def call(client: ClientDep) -> CallDetailRecord:
        return (await client.fetch_all(*span))[0]

    @app.get("/calls")
    async def calls(client: ClientDep) -> CallDetailRecords:
        return (await client.fetch_all(*span))[:3]

    @app.get("/undeclared/{kind}")
    async def undeclared(client: ClientDep, kind: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        records = (await client.fetch_all(*span))[:3]
        answers = {"page": await client.fetch_page(*span, size=10), "call": records[0], "calls": records}
        return answers[kind]

    async def get(path: str) -> Any:
        async with browser.get(f"{address}/{path}") as answer:
            assert answer.status == 200
            return json.loads(await answer.read(), parse_float=pytest.fail)

    async with tools.client_of(sandbox) as client, tools.serve_asgi(app) as address:
        records = await client.fetch_all(*span)
        assert await get("page") == (await client.fetch_page(*span, size=10)).to_dict()
        assert await get("call") == records[0].to_dict()
        assert await get("calls") == [record.to_dict() for record in records[:3]]
        for kind in ("page", "call", "calls"):
            assert await get(f"undeclared/{kind}") == await get(kind)
        schemas = (await get("openapi.json"))["components"]["schemas"]
    assert list(schemas["CallDetailRecord"]["properties"]) == list(CallDetailRecord.__struct_fields__)
    assert schemas["Page"]["properties"]["records"]["items"] == {"$ref": "#/components/schemas/CallDetailRecord"}


async def test_a_lifespan_of_the_users_may_hold_ours(tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with client_lifespan(lambda: tools.client_of(sandbox))(app) as state:
            yield {**state, "mine": "here"}

    app = FastAPI(lifespan=lifespan)
    inner = FastAPI()
    app.mount("/inner", inner)

    @inner.get("/")
    async def look(request: Request, client: ClientDep) -> str:
        return f"{request.state.mine} {client}"

    async with (
        tools.serve_asgi(app) as address,
        browser.get(f"{address}/inner/") as answer,  # the client reaches applications within this one
    ):
        assert (await answer.json()).startswith("here <CdrClient http://127.0.0.1")


async def test_without_the_lifespan_the_error_names_it(
    tools: Any, browser: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def look(client: ClientDep) -> str:
        return str(client)

    async with tools.serve_asgi(app) as address, browser.get(address) as answer:
        assert answer.status == 503
    assert "FastAPI(lifespan=client_lifespan())" in caplog.text


async def test_csv_is_whole_under_a_lifespan_of_the_users_alone(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    async with tools.client_of(sandbox) as client:
        app = FastAPI()

        @app.get("/")
        async def calls(query: RangeParams) -> CsvResponse:
            return CsvResponse(client.stream(**query), headers={"X-Mine": "here"})

        async with tools.serve_asgi(app) as address, browser.get(f"{address}?{tools.asking(sandbox)}") as answer:
            body = await answer.read()
            assert answer.status == 200
            assert answer.headers["X-Mine"] == "here"
            assert int(answer.headers["Content-Length"]) == len(body)
            assert len(body.splitlines()) == 301


async def test_csv_that_is_made_in_memory_is_bounded(
    tools: Any,
    sandbox: Sandbox,
    browser: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(streaming, "_MAX_BUFFERED_BYTES", 10_000)
    async with tools.client_of(sandbox) as client:
        app = FastAPI()

        @app.get("/")
        async def calls(query: RangeParams) -> CsvResponse:
            return CsvResponse(client.stream(**query))

        async with tools.serve_asgi(app) as address, browser.get(f"{address}?{tools.asking(sandbox)}") as answer:
            assert answer.status == 500
        await tools.until_idle(client)
    assert "install_error_handlers(app)" in caplog.text


async def test_a_middleware_outside_of_an_application_that_is_mounted_cannot_shorten_csv(
    tools: Any, browser: ClientSession
) -> None:
    # The guard of the inner application does not see it, and a streamed answer would be ended by it.
    async with Sandbox(records=150, days=1, wrong_total=2) as sandbox, tools.client_of(sandbox) as client:
        app, inner = FastAPI(), FastAPI()
        install_error_handlers(inner)
        app.mount("/inner", inner)

        @app.middleware("http")
        async def pass_on(request: Request, call_next: Next) -> Response:
            return await call_next(request)

        @inner.get("/")
        async def calls(query: RangeParams) -> CsvResponse:
            return CsvResponse(client.stream(**query, allow_incomplete=True), start_within=0)

        async with (
            tools.serve_asgi(app) as address,
            browser.get(f"{address}/inner/?{tools.asking(sandbox)}") as answer,
        ):
            assert answer.status == 502
            assert (await answer.json(content_type=None))["error"] == "IncompleteRangeError"


async def test_dependencies_may_be_overridden_without_the_lifespan(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    async with tools.client_of(sandbox) as client, tools.client_of(sandbox) as other:
        app = FastAPI(lifespan=client_lifespan({"acme": CdrClient.from_env}))  # never entered

        @app.get("/calls.csv", response_class=CsvResponse)
        async def calls(client: ClientDep, query: RangeParams) -> CsvResponse:
            return CsvResponse(client.stream(**query))

        @app.get("/whose")
        async def whose(acme: Annotated[CdrClient, ClientDep("acme")]) -> bool:
            return acme is other

        app.dependency_overrides[open_client] = lambda: client
        app.dependency_overrides[open_account("acme")] = lambda: other
        async with (
            uvicorn_without_lifespan(app) as address,
            browser.get(f"{address}/calls.csv?{tools.asking(sandbox)}") as answer,
            browser.get(f"{address}/whose") as reported,
        ):
            assert len((await answer.text()).splitlines()) == 301
            assert await reported.json() is True


@asynccontextmanager
async def uvicorn_without_lifespan(app: FastAPI) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.002)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def test_each_account_has_a_client_of_its_own(tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    built: dict[str, CdrClient] = {}

    def build(name: str) -> CdrClient:
        built[name] = tools.client_of(sandbox)
        return built[name]

    app = FastAPI(lifespan=client_lifespan({"acme": lambda: build("acme"), "globex": lambda: build("globex")}))
    install_error_handlers(app)

    @app.get("/")
    async def look(
        acme: Annotated[CdrClient, ClientDep("acme")],
        again: Annotated[CdrClient, ClientDep("acme")],
        globex: CdrClient = ClientDep("globex"),  # noqa: B008 - the older way to write it
    ) -> list[bool]:
        return [acme is built["acme"] is again, globex is built["globex"]]

    @app.get("/default")
    async def default(client: ClientDep) -> str:
        return str(client)

    async with tools.serve_asgi(app) as address:
        async with browser.get(address) as answer:
            assert await answer.json() == [True, True]
        async with browser.get(f"{address}/default") as answer:
            assert answer.status == 503  # none of the accounts is the one without a name
    assert {repr(client).split()[-1] for client in built.values()} == {"closed>"}


async def test_two_lifespans_may_be_combined_if_their_accounts_differ(tools: Any, sandbox: Sandbox) -> None:
    def build() -> CdrClient:
        client: CdrClient = tools.client_of(sandbox)
        return client

    app = FastAPI()
    first, other = client_lifespan(build), client_lifespan({"acme": build})
    async with first(app) as state, other(app) as more:
        assert len({**state, **more}) == 2
        for same in (client_lifespan(build), client_lifespan({"acme": build})):
            with pytest.raises(ValueError, match=r"open the same account \((the one without a name|'acme')\)"):
                await same(app).__aenter__()
        set_limits(app, max_streams=3)
        with pytest.raises(ValueError, match="limits of this application were set twice"):
            set_limits(app, max_streams=4)
    async with first(app):  # which is free again
        pass


async def test_the_query_parameters_that_a_route_declares_are_known(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    class Columns(BaseModel):
        columns: str = ""
        sorted_by: str = Field("", alias="sortedBy")

    async def of_the_router(tag: str = "") -> str:
        return tag

    async def of_the_inclusion(version: Annotated[int, Query(alias="v")] = 1) -> int:
        return version

    app = FastAPI(lifespan=client_lifespan(lambda: tools.client_of(sandbox)))
    install_error_handlers(app)
    router = APIRouter(dependencies=[Depends(of_the_router)])

    @router.get("/count")
    async def count(
        client: ClientDep,
        query: RangeParams,
        columns: Annotated[Columns, Query()],
        key: Annotated[str, Depends(APIKeyQuery(name="api_key"))],
    ) -> list[Any]:
        return [await client.count(**query), columns.sorted_by, key]

    app.include_router(router, prefix="/v1", dependencies=[Depends(of_the_inclusion)])
    declared = "columns=a&sortedBy=b&tag=c&v=2&api_key=k"
    async with tools.serve_asgi(app) as address:
        async with browser.get(f"{address}/v1/count?{tools.asking(sandbox)}&{declared}") as answer:
            assert await answer.json() == [300, "b", "k"]
        for more in ("sorted_by=b", "version=2", "query=1"):
            async with browser.get(f"{address}/v1/count?{tools.asking(sandbox)}&{declared}&{more}") as answer:
                assert answer.status == 422
                assert f"unknown query parameter {more.partition('=')[0]};" in await answer.text()


async def test_validation_errors_are_problem_documents_without_values(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    app = tools.fastapi_app(lambda: tools.client_of(sandbox))
    async with tools.serve_asgi(app) as address:
        for query in ("end=2026-10-01T00:00:00Z", f"{tools.asking(sandbox)}&timeout=447700900123x"):
            async with browser.get(f"{address}/count?{query}") as answer:
                assert answer.status == 422
                assert answer.content_type == "application/problem+json"
                problem = await answer.json(content_type=None)
                assert problem["error"] == "RequestValidationError"
                assert problem["detail"].startswith(("query.start: ", "query.timeout: "))
                assert "447700900123" not in str(problem)


async def test_a_validation_handler_of_the_user_is_kept(tools: Any, browser: ClientSession) -> None:
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def mine(_request: Request, _error: RequestValidationError) -> Response:
        return Response("mine", 400)

    install_error_handlers(app)

    @app.get("/")
    async def look(number: int) -> int:
        return number

    async with tools.serve_asgi(app) as address, browser.get(f"{address}?number=x") as answer:
        assert (answer.status, await answer.text()) == (400, "mine")


def test_no_dependency_costs_a_thread() -> None:
    assert all(asyncio.iscoroutinefunction(one) for one in (open_client, open_account("acme"), range_params))
    assert open_account("acme") is open_account("acme")


async def test_errors_of_others_are_none_of_ours(tools: Any, browser: ClientSession) -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise ValueError("mine")

    async with tools.serve_asgi(app) as address, browser.get(address) as answer:
        assert answer.status == 500
        assert answer.content_type == "text/plain"


async def test_an_answer_may_follow_the_handler_of_the_users(
    tools: Any, sandbox: Sandbox, browser: ClientSession
) -> None:
    app = tools.fastapi_app(lambda: tools.client_of(sandbox))

    @app.exception_handler(SipCdrError)  # type: ignore[untyped-decorator]
    async def mine(_request: Request, error: SipCdrError) -> Response:
        return Response(type(error).__name__, 418)

    asked = tools.asking(sandbox, start="2020-01-01T00:00:00Z", end="2020-01-02T00:00:00Z")
    async with tools.serve_asgi(app) as address, browser.get(f"{address}/calls.csv?{asked}") as answer:
        assert (answer.status, await answer.text()) == (418, "OutOfTimeRangeError")


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
    tools: Any, browser: ClientSession, path: str, order: list[str]
) -> None:
    async def note(request: Request, call_next: Next) -> Response:
        answer = await call_next(request)
        answer.headers["X-Noted"] = "yes"
        return answer

    gate = tools.Gate(15)
    async with Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox:
        app = tools.fastapi_app(lambda: tools.client_of(sandbox, concurrency=1))
        for name in order:
            if name == "gzip":
                app.add_middleware(GZipMiddleware)
            else:
                app.middleware("http")(note)
        async with (
            tools.serve_asgi(app) as address,
            browser.get(f"{address}/{path}?{tools.asking(sandbox)}") as answer,
        ):
            assert answer.status == 200
            assert answer.headers.get("X-Noted") == ("yes" if "http" in order else None)
            assert answer.headers.get("Content-Encoding") == ("gzip" if "gzip" in order else None)
            await gate.reached()
            sandbox.rotate_key()
            gate.opened.set()
            with pytest.raises(ClientPayloadError):
                await answer.read()


async def test_a_caller_who_hangs_up_is_noticed_behind_middlewares(tools: Any, browser: ClientSession) -> None:
    gate = tools.Gate(0)
    clients: list[CdrClient] = []
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox:

        def build() -> CdrClient:
            clients.append(tools.client_of(sandbox))
            return clients[0]

        app = tools.fastapi_app(build)

        @app.middleware("http")  # type: ignore[untyped-decorator]
        async def pass_on(request: Request, call_next: Next) -> Response:
            return await call_next(request)

        async with tools.serve_asgi(app) as address:
            asking = asyncio.create_task(browser.get(f"{address}/calls.ndjson?{tools.asking(sandbox)}"))
            await gate.reached()
            asking.cancel()
            await asyncio.wait({asking})
            await tools.until_idle(clients[0])
            gate.opened.set()


async def test_tasks_behind_an_answer_are_run(tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    ran = asyncio.Event()
    app = FastAPI(lifespan=client_lifespan(lambda: tools.client_of(sandbox)))

    @app.get("/")
    async def calls(client: ClientDep, query: RangeParams, tasks: BackgroundTasks) -> NdjsonResponse:
        tasks.add_task(ran.set)
        return NdjsonResponse(client.stream(**query), headers={"Cache-Control": "private"})

    async with (
        tools.serve_asgi(app) as address,
        browser.get(f"{address}?{tools.asking(sandbox)}") as answer,
        asyncio.timeout(60),
    ):
        await answer.read()
        await ran.wait()
        assert answer.headers["Cache-Control"] == "private"  # the user's word is the last


def test_the_schema_names_the_formats_and_the_range(tools: Any) -> None:
    paths = tools.fastapi_app(CdrClient.from_env).openapi()["paths"]
    assert set(paths["/calls.ndjson"]["get"]["responses"]["200"]["content"]) == {"application/x-ndjson"}
    assert set(paths["/calls.csv"]["get"]["responses"]["200"]["content"]) == {"text/csv"}
    start = next(one for one in paths["/count"]["get"]["parameters"] if one["name"] == "start")
    assert start["required"]
    assert start["schema"]["format"] == "date-time"
    assert not any(one["name"] == "phone_name" for one in paths["/count"]["get"]["parameters"])


def test_a_missing_fastapi_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
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
