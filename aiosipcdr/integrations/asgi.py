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
from aiosipcdr.integrations.streaming import AnswerCutError, CallerGoneError

__all__ = ["App", "AsgiCaller", "Guard", "Receive", "Scope", "Send", "is_guarded", "limits_in"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_Headers = Iterable[tuple[bytes, bytes]]

_ANSWER: Final = "aiosipcdr.answer"
_LIMITS: Final = "aiosipcdr.limits"
# Marks the start of a streamed response for the guard, which removes it. A response that a middleware sends instead of
# the application has no marker and is not guarded.
_MARK: Final = b"x-aiosipcdr-answer"
_LOOK_EVERY = 0.2


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
            AnswerCutError: A streamed response was not sent completely, and its requester is still connected.
        """
        if scope["type"] in ("http", "websocket") and self._limits is not None and _LIMITS not in scope:
            limits = scope[_LIMITS] = self._limits()
            try:
                limits.check_host(_host(scope["headers"]))
            except HostNotAllowedError as error:
                await _refuse(error, scope, send)
                return
        # A mounted application ("endpoint") is inside the middlewares of the outer one.
        if scope["type"] != "http" or _ANSWER in scope or "endpoint" in scope:
            await self._app(scope, receive, send)
            return
        answer = scope[_ANSWER] = _Answer(receive, send)
        await self._app(scope, answer.receive, answer.send)
        answer.check()


class _Answer:
    """The state of one response, shared by the guard and the response writer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_streamed = False
        self.is_whole = False
        self.caller_gone = asyncio.Event()

    @property
    def _is_short(self) -> bool:
        return self._is_streamed and not self.is_whole

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.caller_gone.set()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.check()  # a response that follows a streamed one would end it
            headers = [header for header in message.get("headers", ()) if header[0] != _MARK]
            self._is_streamed = len(headers) < len(list(message.get("headers", ())))
            message = {**message, "headers": headers}
        elif self._is_short and not message.get("more_body"):
            self.check()
            return
        try:
            await self._send(message)
        except OSError:
            self.caller_gone.set()
            raise

    def check(self) -> None:
        if self._is_short and not self.caller_gone.is_set():
            raise AnswerCutError("a response was not sent completely, so its connection is cut; see the log")


class AsgiCaller:
    """A `Caller` for ASGI: see `aiosipcdr.integrations.streaming.Caller`."""

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._status = status
        self._headers = headers
        self._answer: _Answer | None = scope.get(_ANSWER)
        # The server's own `receive`, if there is a guard: a middleware's may not report a disconnect.
        self._receive = receive if self._answer is None else self._answer.receive
        self._send = send
        self.is_told_of_the_end: bool = scope.get("http_version") != "1.0"

    async def begin(self) -> None:
        """Send the status and the headers."""
        mark = [] if self._answer is None else [(_MARK, b"1")]
        await self._pass_on({"type": "http.response.start", "status": self._status, "headers": [*self._headers, *mark]})

    async def write(self, data: bytes) -> None:
        """Send `data`; return when there is room for more."""
        await self._pass_on({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        """End a complete response."""
        if self._answer is not None:
            self._answer.is_whole = True
        await self._pass_on({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_whole(self, body: bytes) -> None:
        """Send a response in one piece, with its length."""
        self._headers.append((b"content-length", b"%d" % len(body)))
        await self.begin()
        await self._pass_on({"type": "http.response.body", "body": body, "more_body": False})

    async def gone(self) -> None:
        """Return when the requester has closed the connection."""
        if self._answer is None:
            await self._read_until_gone()
            return
        # A middleware that also receives may get the disconnect message instead.
        async with anyio.create_task_group() as group:
            group.start_soon(self._read_until_gone)
            await self._answer.caller_gone.wait()
            group.cancel_scope.cancel()

    async def _read_until_gone(self) -> None:
        pause = 0.0
        while (await self._receive())["type"] != "http.disconnect":
            # The messages of the request itself come first. A `receive` that never waits must not block the loop.
            await asyncio.sleep(pause)
            pause = _LOOK_EVERY

    async def _pass_on(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # raised by servers of ASGI 2.4 and later
            raise CallerGoneError from None


def is_guarded(scope: Scope) -> bool:
    """Return whether the request is handled inside a guard."""
    return _ANSWER in scope


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
