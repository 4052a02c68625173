"""The aiohttp.web integration: what only aiohttp has. Common to both integrations: see test_web_endpoints.py."""
# ruff: noqa: ANN401 - the fixtures' own

import asyncio
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession, web

from aiosipcdr import CdrClient
from aiosipcdr.integrations.aiohttp import CLIENT, client_context, install_error_handlers, set_limits
from aiosipcdr.sandbox import Sandbox

SANDBOX = {"records": 300}


async def test_the_context_opens_one_client_and_closes_it(tools: Any, sandbox: Sandbox, browser: ClientSession) -> None:
    built: list[CdrClient] = []
    seen: list[CdrClient] = []

    def build() -> CdrClient:
        built.append(tools.client_of(sandbox))
        return built[-1]

    async def look(request: web.Request) -> web.Response:
        seen.append(request.config_dict[CLIENT])
        return web.Response()

    app, inner = web.Application(), web.Application()
    app.cleanup_ctx.append(client_context(build))
    inner.router.add_get("/", look)
    app.add_subapp("/inner", inner)
    assert not built
    async with tools.serve_web(app) as address:
        for _ in range(2):
            async with browser.get(f"{address}/inner/") as answer:
                assert answer.status == 200
        assert "open" in repr(built[0])
    assert len(built) == 1
    assert seen == built * 2
    assert "closed" in repr(built[0])


async def test_each_account_has_a_key_of_its_own(tools: Any, sandbox: Sandbox) -> None:
    other = web.AppKey("other", CdrClient)
    app = web.Application()
    app.cleanup_ctx.append(client_context(lambda: tools.client_of(sandbox)))
    app.cleanup_ctx.append(client_context(lambda: tools.client_of(sandbox), key=other))
    async with tools.serve_web(app):
        assert app[CLIENT] is not app[other]
        assert await app[CLIENT].count(sandbox.start, sandbox.end) == 300
        assert await app[other].count(sandbox.start, sandbox.end) == 300


async def test_two_contexts_do_not_share_a_key(tools: Any, sandbox: Sandbox) -> None:
    app = web.Application()
    for _ in range(2):
        app.cleanup_ctx.append(client_context(lambda: tools.client_of(sandbox)))
    with pytest.raises(ValueError, match="two contexts of this application keep a client under"):
        async with tools.serve_web(app):
            pass


async def test_limits_are_set_in_one_place(tools: Any, sandbox: Sandbox) -> None:
    app = web.Application()
    set_limits(app, max_streams=2)
    app.cleanup_ctx.append(client_context(lambda: tools.client_of(sandbox)))  # with the defaults, which change nothing
    async with tools.serve_web(app):
        pass
    with pytest.raises(ValueError, match="set twice"):
        set_limits(app, max_streams=3)


async def test_errors_of_others_are_none_of_ours(tools: Any, browser: ClientSession) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise ValueError("mine")

    async def missing(_request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    app = web.Application()
    install_error_handlers(app)
    app.router.add_get("/fail", fail)
    app.router.add_get("/missing", missing)
    async with tools.serve_web(app) as address:
        for path, status in (("fail", 500), ("missing", 404)):
            async with browser.get(f"{address}/{path}") as answer:
                assert answer.status == status
                assert answer.content_type == "text/plain"


@pytest.mark.parametrize("path", ["calls.ndjson", "calls.csv"])
async def test_a_middleware_that_answers_every_error_does_not_end_a_broken_answer_well(
    tools: Any, browser: ClientSession, path: str
) -> None:
    @web.middleware
    async def forgive(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
        except Exception:  # noqa: BLE001 - as careless middlewares do
            return web.Response(text="never mind")
        return answer

    gate = tools.Gate(15)
    async with Sandbox(records=3_000, middlewares=[gate.middleware]) as sandbox:
        app = tools.aiohttp_app(lambda: tools.client_of(sandbox, concurrency=1))
        app.middlewares.insert(0, forgive)
        async with (
            tools.serve_web(app) as address,
            browser.get(f"{address}/{path}?{tools.asking(sandbox)}") as answer,
        ):
            assert answer.status == 200
            await gate.reached()
            sandbox.rotate_key()
            gate.opened.set()
            with pytest.raises(ClientPayloadError):
                await answer.read()


async def test_a_server_that_cancels_its_handlers_stops_the_fetching_too(tools: Any, browser: ClientSession) -> None:
    gate = tools.Gate(0)
    clients: list[CdrClient] = []
    async with Sandbox(records=10, middlewares=[gate.middleware]) as sandbox:

        def build() -> CdrClient:
            clients.append(tools.client_of(sandbox))
            return clients[0]

        async with tools.serve_web(tools.aiohttp_app(build), handler_cancellation=True) as address:
            asking = asyncio.create_task(browser.get(f"{address}/calls.ndjson?{tools.asking(sandbox)}"))
            await gate.reached()
            asking.cancel()
            await asyncio.wait({asking})
            await tools.until_idle(clients[0])
            gate.opened.set()
