"""Applications for the servers of test_servers.py: CSV behind middlewares that once truncated it silently.

    python3 -m tests.integrations.served PORT     (aiohttp.web)
    uvicorn tests.integrations.served:application (FastAPI)

`AIOSIPCDR_SERVED` names the accounts, as JSON: address, key, secret, start and end of each. The path of a request is
/APPLICATION/ACCOUNT.csv: the application has the middleware, the account has the fault.
"""
# ruff: noqa: BLE001 - careless middlewares are under test

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from aiohttp import web
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.integrations import aiohttp as on_aiohttp
from aiosipcdr.integrations import fastapi as on_fastapi

ACCOUNTS: dict[str, dict[str, str]] = json.loads(os.environ.get("AIOSIPCDR_SERVED", "{}"))
AFTER_THE_START = 1.0  # seconds, for faults that strike after a response has started, which it does at once

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Next = Callable[[Request], Awaitable[Response]]


def build(account: str) -> CdrClient:
    facts = ACCOUNTS[account]
    retry = RetryPolicy(attempts=1)
    return CdrClient(facts["base_url"], facts["api_key"], facts["api_secret"], retry=retry, concurrency=1)


def range_of(account: str) -> dict[str, Any]:
    facts = ACCOUNTS[account]
    return {
        "start": datetime.fromisoformat(facts["start"]),
        "end": datetime.fromisoformat(facts["end"]),
        "allow_incomplete": account == "uncertain",
    }


def deadline_of(account: str) -> float | None:
    return AFTER_THE_START if account == "late" else None


def fastapi_app(*, lifespan: Any = None) -> FastAPI:  # noqa: ANN401 - whichever lifespan there is
    app = FastAPI(lifespan=lifespan)

    @app.get("/{account}.csv", response_class=on_fastapi.CsvResponse)
    async def calls(account: str, request: Request) -> on_fastapi.CsvResponse:
        client: CdrClient = await on_fastapi.open_account(account)(request)
        stream = client.stream(**range_of(account))
        return on_fastapi.CsvResponse(stream, timeout=deadline_of(account), start_within=0)

    return app


class Cancelling:
    """An ASGI middleware that cancels slow requests, and ends the response normally if it has started."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = asyncio.Event()

        async def note(message: Any) -> None:  # noqa: ANN401 - an ASGI message
            await send(message)
            started.set()

        working = asyncio.ensure_future(self._app(scope, receive, note))
        done, _ = await asyncio.wait({working}, timeout=AFTER_THE_START)
        if not done:
            working.cancel()
            await asyncio.wait({working})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            working.result()


class Forgiving:
    """An ASGI middleware that makes the best of every error."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Disconnecting:
    """An ASGI middleware that reports a disconnect while the caller is there, once the response has started."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        started = asyncio.Event()

        async def note(message: Any) -> None:  # noqa: ANN401 - an ASGI message
            await send(message)
            started.set()

        async def disconnect() -> Any:  # noqa: ANN401 - an ASGI message
            await started.wait()
            return {"type": "http.disconnect"}

        await self._app(scope, disconnect, note)


def plain() -> FastAPI:
    return fastapi_app(lifespan=on_fastapi.client_lifespan({name: partial(build, name) for name in ACCOUNTS}))


def with_dispatch(app: FastAPI) -> FastAPI:
    @app.middleware("http")
    async def note(request: Request, call_next: Next) -> Response:
        answer = await call_next(request)
        answer.headers["X-Noted"] = "yes"
        return answer

    return app


def with_timeout(app: FastAPI) -> FastAPI:
    app.add_middleware(Cancelling)
    return app


def with_forgiveness(app: FastAPI) -> FastAPI:
    app.add_middleware(Forgiving)
    return app


def with_false_disconnects(app: FastAPI) -> FastAPI:
    app.add_middleware(Disconnecting)
    return with_dispatch(app)


def with_copies(app: FastAPI) -> FastAPI:
    """Read each answer to its end and send a new one of the same bytes, as caches and loggers do."""

    @app.middleware("http")
    async def copy(request: Request, call_next: Next) -> Response:
        answer = await call_next(request)
        body = b"".join([part async for part in answer.body_iterator])  # type: ignore[attr-defined]
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return Response(body, answer.status_code, headers)

    return app


def with_own_lifespan() -> FastAPI:
    """Nothing of ours but the response: neither the lifespan nor the error handlers."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            yield {f"mine {name}": await stack.enter_async_context(build(name)) for name in ACCOUNTS}

    app = FastAPI(lifespan=lifespan)

    @app.get("/{account}.csv", response_class=on_fastapi.CsvResponse)
    async def calls(account: str, request: Request) -> on_fastapi.CsvResponse:
        client: CdrClient = getattr(request.state, f"mine {account}")
        stream = client.stream(**range_of(account))
        return on_fastapi.CsvResponse(stream, timeout=deadline_of(account), start_within=0)

    return with_dispatch(app)


APPLICATIONS: dict[str, Any] = {
    "plain": plain(),
    "dispatch": with_dispatch(plain()),
    "timeout": with_timeout(plain()),
    "timeout-in-dispatch": with_dispatch(with_timeout(plain())),
    "forgiving": with_forgiveness(plain()),
    "disconnects": with_false_disconnects(plain()),
    "copies": with_copies(plain()),
    "own-lifespan": with_own_lifespan(),
}
WRAPPED = {"wrapped": on_fastapi.ResponseGuard(Cancelling(APPLICATIONS["plain"]))}
_states: dict[str, Any] = {}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Pass each request to the application that its path names (ASGI)."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    _, name, rest = scope["path"].split("/", 2)
    state = _states.get("plain" if name in WRAPPED else name, {})
    inner = dict(scope) | {"path": f"/{rest}", "raw_path": f"/{rest}".encode(), "state": dict(state)}
    await (APPLICATIONS | WRAPPED | {"ready": PlainTextResponse("yes")})[name](inner, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    async with AsyncExitStack() as stack:
        for name, app in APPLICATIONS.items():
            _states[name] = await stack.enter_async_context(app.router.lifespan_context(app))
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def aiohttp_app() -> web.Application:
    keys = {name: web.AppKey(name, CdrClient) for name in ACCOUNTS}

    async def calls(request: web.Request) -> web.StreamResponse:
        account = request.match_info["account"]
        stream = request.config_dict[keys[account]].stream(**range_of(account))
        return await on_aiohttp.send_calls(request, stream, "csv", timeout=deadline_of(account), start_within=0)

    @web.middleware
    async def cancel(request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - a handler
        try:
            async with asyncio.timeout(AFTER_THE_START):
                answer: web.StreamResponse = await handler(request)
        except TimeoutError:
            return web.Response(text="too late", status=504)
        return answer

    @web.middleware
    async def forgive(request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - a handler
        try:
            answer: web.StreamResponse = await handler(request)
        except Exception:
            return web.Response(text="never mind")
        return answer

    async def ready(_request: web.Request) -> web.Response:
        return web.Response(text="yes")

    app = web.Application()
    for name, key in keys.items():
        app.cleanup_ctx.append(on_aiohttp.client_context(partial(build, name), key=key))
    app.router.add_get("/ready/", ready)
    for name, middlewares in {"plain": [], "timeout": [cancel], "forgiving": [forgive]}.items():
        inner = web.Application(middlewares=middlewares)
        on_aiohttp.install_error_handlers(inner)
        inner.router.add_get("/{account}.csv", calls)
        app.add_subapp(f"/{name}/", inner)
    return app


if __name__ == "__main__":
    web.run_app(aiohttp_app(), host="127.0.0.1", port=int(sys.argv[1]), shutdown_timeout=1)
