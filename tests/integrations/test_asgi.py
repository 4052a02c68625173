"""The guard around an ASGI application: which answers it lets end, without a server."""
# ruff: noqa: ANN401 - ASGI messages

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiosipcdr.integrations.asgi import AsgiWriter, Guard, is_guarded, limits_in
from aiosipcdr.integrations.limits import Limits
from aiosipcdr.integrations.streaming import ClientDisconnectedError, ResponseCutError

START = "http.response.start"
END = {"type": "http.response.body", "body": b"", "more_body": False}
Inner = Callable[[AsgiWriter, Any, Any], Awaitable[None]]


class Server:
    """A server without a network: notes what it is sent; its caller is there until `gone` is set."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return any(message["type"] == "http.response.body" and not message.get("more_body") for message in self.sent)

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.gone.is_set():
            raise OSError
        self.sent.append(message)


async def play(inner: Inner, server: Server, **scope: Any) -> None:
    """Call a guarded application that answers with `inner`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner(AsgiWriter(200, [(b"x-mine", b"here")], scope, receive, send), receive, send)

    await Guard(app)({"type": "http", "headers": [], **scope}, server.receive, server.send)


async def begin(caller: AsgiWriter) -> None:
    await caller.begin()
    await caller.write(b"a")


async def test_a_complete_response_passes_and_the_mark_stays_inside() -> None:
    async def inner(caller: AsgiWriter, _receive: Any, _send: Any) -> None:
        await begin(caller)
        await caller.finish()

    server = Server()
    await play(inner, server)
    assert server.sent[0] == {"type": START, "status": 200, "headers": [(b"x-mine", b"here")]}
    assert server.has_ended


async def returns(caller: AsgiWriter, _receive: Any, _send: Any) -> None:
    await begin(caller)


async def is_ended_by_another(caller: AsgiWriter, _receive: Any, send: Any) -> None:
    await begin(caller)
    await send(END)


async def is_followed_by_another(caller: AsgiWriter, _receive: Any, send: Any) -> None:
    await begin(caller)
    await send({"type": START, "status": 504, "headers": []})


async def is_forgiven(caller: AsgiWriter, _receive: Any, send: Any) -> None:
    await begin(caller)
    for _ in range(2):
        with pytest.raises(ResponseCutError):
            await send(END)


@pytest.mark.parametrize("inner", [returns, is_ended_by_another, is_followed_by_another, is_forgiven])
async def test_a_short_answer_is_cut(inner: Inner) -> None:
    server = Server()
    with pytest.raises(ResponseCutError):
        await play(inner, server)
    assert len(server.sent) == 2
    assert not server.has_ended


async def test_a_cancellation_and_an_error_come_out_as_they_are() -> None:
    for error in (asyncio.CancelledError(), KeyError("mine")):

        async def inner(caller: AsgiWriter, _receive: Any, _send: Any, error: BaseException = error) -> None:
            await begin(caller)
            raise error

        server = Server()
        with pytest.raises(type(error)):
            await play(inner, server)
        assert not server.has_ended


async def test_an_answer_that_took_the_place_of_a_streamed_one_is_its_middlewares() -> None:
    async def inner(caller: AsgiWriter, _receive: Any, send: Any) -> None:
        caller._send = swallow  # a middleware that drops what the application sends
        await begin(caller)
        await send({"type": START, "status": 304, "headers": []})
        await send(END)

    async def swallow(_message: Any) -> None:
        pass

    server = Server()
    await play(inner, server)
    assert [message.get("status") for message in server.sent] == [304, None]
    assert server.has_ended


async def test_a_caller_who_has_gone_is_nobodys_fault() -> None:
    async def inner(caller: AsgiWriter, _receive: Any, send: Any) -> None:
        await begin(caller)
        server.gone.set()
        with pytest.raises(ClientDisconnectedError):
            await caller.write(b"b")
        await send(END)  # as BaseHTTPMiddleware does

    server = Server()
    await play(inner, server)
    assert not server.has_ended


async def test_a_disconnect_is_noticed_by_whichever_part_receives_it() -> None:
    async def inner(caller: AsgiWriter, receive: Any, _send: Any) -> None:
        caller._receive = forever  # the server reports it once, and a middleware has received it
        watching = asyncio.create_task(caller.wait_disconnected())
        await asyncio.sleep(0)
        server.gone.set()
        assert (await receive())["type"] == "http.disconnect"
        async with asyncio.timeout(60):
            await watching

    async def forever() -> Any:
        await asyncio.Event().wait()

    server = Server()
    await play(inner, server)


async def test_a_receive_that_never_waits_does_not_keep_others_waiting() -> None:
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"", "more_body": False}

    watching = asyncio.create_task(AsgiWriter(200, [], {"type": "http"}, receive, Server().send).wait_disconnected())
    for _ in range(100):
        await asyncio.sleep(0)
    assert asked <= 2
    watching.cancel()


async def test_only_the_outermost_application_is_guarded() -> None:
    seen = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append((is_guarded(scope), limits_in(scope)))

    limits = Limits()
    server = Server()
    for scope in ({}, {"endpoint": app}):
        await Guard(Guard(app), lambda: limits)({"type": "http", "headers": [], **scope}, server.receive, server.send)
    assert seen == [(True, limits), (False, limits)]  # a mounted application has middlewares of others around it


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_host_that_is_not_served_reaches_no_application(kind: str) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        pytest.fail("it was called")

    server = Server()
    scope = {"type": kind, "headers": [(b"host", b"evil.example")]}
    await Guard(app, lambda: Limits(allowed_hosts=["calls.example.com"]))(scope, server.receive, server.send)
    first = server.sent[0]
    assert first.get("status") == 400 or first == {"type": "websocket.close", "code": 1008}
