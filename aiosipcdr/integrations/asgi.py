"""ASGI: a response writer, and a guard that prevents incomplete responses from ending normally.

Independent of frameworks. ASGI has no message that cuts a connection: servers cut it when an application returns or
raises before it has sent the last part of a body. Middlewares can interfere: Starlette's `BaseHTTPMiddleware`, which is
behind every `@app.middleware("http")`, sends a last part after the application inside has raised, and a timeout may
cancel a response and then end it. The guard therefore wraps all middlewares, and passes the last part of a streamed
response on only if that response was marked complete.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

import anyio

from aiosipcdr.integrations.limits import HostNotAllowedError, Limits
from aiosipcdr.integrations.problems import PROBLEM_MEDIA_TYPE, plan_problem
from aiosipcdr.integrations.streaming import ClientDisconnectedError, ResponseCutError

__all__ = ["App", "AsgiWriter", "Guard", "Receive", "Scope", "Send", "is_guarded", "limits_in"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_Headers = Iterable[tuple[bytes, bytes]]

_STATE: Final = "aiosipcdr.response"
_LIMITS: Final = "aiosipcdr.limits"
# Marks the start of a streamed response for the guard, which removes it. A response that a middleware sends instead of
# the application has no marker and is not guarded.
_MARKER: Final = b"x-aiosipcdr-response"
_POLL_SECONDS = 0.2


class Guard:
    """An ASGI application that guards the responses of another one: see the module's docstring.

    Args:
        app: The application, including all its middlewares.
        limits: Returns the limits of the application, including host names.
    """

    def __init__(self, app: App, limits: Callable[[], Limits] | None = None) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI).

        Raises:
            ResponseCutError: A streamed response was not sent completely, and its requester is still connected.
        """
        if scope["type"] in ("http", "websocket") and self._limits is not None and _LIMITS not in scope:
            limits = scope[_LIMITS] = self._limits()
            try:
                limits.check_host(_host(scope["headers"]))
            except HostNotAllowedError as error:
                await _refuse(error, scope, send)
                return
        # A mounted application ("endpoint") is inside the middlewares of the outer one.
        if scope["type"] != "http" or _STATE in scope or "endpoint" in scope:
            await self._app(scope, receive, send)
            return
        state = scope[_STATE] = _ResponseState(receive, send)
        await self._app(scope, state.receive, state.send)
        state.check()


class _ResponseState:
    """The state of one response, shared by the guard and the response writer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_streamed = False
        self.is_complete = False
        self.disconnected = asyncio.Event()

    @property
    def _is_incomplete(self) -> bool:
        return self._is_streamed and not self.is_complete

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.disconnected.set()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.check()  # a response that follows a streamed one would end it
            headers = [header for header in message.get("headers", ()) if header[0] != _MARKER]
            self._is_streamed = len(headers) < len(list(message.get("headers", ())))
            message = {**message, "headers": headers}
        elif self._is_incomplete and not message.get("more_body"):
            self.check()
            return
        try:
            await self._send(message)
        except OSError:
            self.disconnected.set()
            raise

    def check(self) -> None:
        if self._is_incomplete and not self.disconnected.is_set():
            raise ResponseCutError("a response was not sent completely, so its connection is cut; see the log")


class AsgiWriter:
    """A `ResponseWriter` for ASGI: see `aiosipcdr.integrations.streaming.ResponseWriter`."""

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._status = status
        self._headers = headers
        self._state: _ResponseState | None = scope.get(_STATE)
        # The server's own `receive`, if there is a guard: a middleware's may not report a disconnect.
        self._receive = receive if self._state is None else self._state.receive
        self._send = send
        self.detects_cut: bool = scope.get("http_version") != "1.0"

    async def begin(self) -> None:
        """Send the status and the headers."""
        marker = [] if self._state is None else [(_MARKER, b"1")]
        await self._forward(
            {"type": "http.response.start", "status": self._status, "headers": [*self._headers, *marker]}
        )

    async def write(self, data: bytes) -> None:
        """Send `data`; return when there is room for more."""
        await self._forward({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        """End a complete response."""
        if self._state is not None:
            self._state.is_complete = True
        await self._forward({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_body(self, body: bytes) -> None:
        """Send a response in one piece, with its length."""
        self._headers.append((b"content-length", b"%d" % len(body)))
        await self.begin()
        await self._forward({"type": "http.response.body", "body": body, "more_body": False})

    async def wait_disconnected(self) -> None:
        """Return when the requester has closed the connection."""
        if self._state is None:
            await self._receive_until_disconnected()
            return
        # A middleware that also receives may get the disconnect message instead.
        async with anyio.create_task_group() as group:
            group.start_soon(self._receive_until_disconnected)
            await self._state.disconnected.wait()
            group.cancel_scope.cancel()

    async def _receive_until_disconnected(self) -> None:
        pause = 0.0
        while (await self._receive())["type"] != "http.disconnect":
            # The messages of the request itself come first. A `receive` that never waits must not block the loop.
            await asyncio.sleep(pause)
            pause = _POLL_SECONDS

    async def _forward(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # raised by servers of ASGI 2.4 and later
            raise ClientDisconnectedError from None


def is_guarded(scope: Scope) -> bool:
    """Return whether the request is handled inside a guard."""
    return _STATE in scope


def limits_in(scope: Scope) -> Limits | None:
    """Return the limits that the guard stored for this request, or `None`."""
    limits = scope.get(_LIMITS)
    return limits if isinstance(limits, Limits) else None


def _host(headers: _Headers) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name == b"host"), None)


async def _refuse(error: HostNotAllowedError, scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    problem = plan_problem(error)
    headers = {**problem.headers, "Content-Type": PROBLEM_MEDIA_TYPE, "Content-Length": str(len(problem.body))}
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(HTTPStatus(problem.status)), "headers": pairs})
    await send({"type": "http.response.body", "body": problem.body, "more_body": False})
