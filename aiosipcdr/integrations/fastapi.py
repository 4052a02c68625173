"""FastAPI: one client for the application, ranges as streaming responses, our errors as answers.

    app = FastAPI(lifespan=client_lifespan())
    answer_errors(app)

    @app.get("/calls.ndjson", response_class=NdjsonResponse)
    async def calls(client: OpenClient, asked: AskedRange) -> NdjsonResponse:
        return NdjsonResponse(client.stream(**asked), timeout=300)

Needs the extra `fastapi`.  Must never decide what a range or an error is worth:
that is the rooms' below.  How an answer ends, and what that tells the caller,
stands in `aiosipcdr.integrations.streaming`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, ClassVar

from aiosipcdr.client import CdrClient
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.errors import ClientStateError, SipCdrError
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.answers import PROBLEM_MEDIA_TYPE, log_problem, plan_problem
from aiosipcdr.integrations.calls import CallError, CallQuery, CallTimeoutError, deadline, read_query
from aiosipcdr.integrations.streaming import (
    HEADERS,
    MEDIA_TYPES,
    START_WITHIN,
    AnswerCutError,
    CallerGoneError,
    Text,
    deliver,
)

try:
    from fastapi import Depends, FastAPI, Query, Request, Response
    from fastapi.requests import HTTPConnection
except ImportError as _error:
    raise MissingExtraError("aiosipcdr.integrations.fastapi needs fastapi", "fastapi", name=_error.name) from None

__all__ = [
    "AnswerCutError",
    "AskedRange",
    "CallError",
    "CallQuery",
    "CallTimeoutError",
    "CsvResponse",
    "NdjsonResponse",
    "OpenClient",
    "answer_errors",
    "asked_range",
    "client_lifespan",
    "deadline",
    "open_client",
]

_STATE = "cdr_client"
_CUT = "aiosipcdr.cut"

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def client_lifespan(
    build: Callable[[], CdrClient] = CdrClient.from_env,
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Return a lifespan that opens one client for the application, and closes it at the end.

    Each process of a server has a client of its own: the limits of one
    (`concurrency`, `rate`) do not know of the others.  Within a lifespan of
    yours: `async with client_lifespan()(app) as state: yield {**state, ...}`.

    Args:
        build: returns the client, not yet opened.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with build() as client:
            if not isinstance(app.middleware_stack, _Outermost):
                app.middleware_stack = _Outermost(app.middleware_stack or app.build_middleware_stack())
            yield {_STATE: client}

    return lifespan


def open_client(connection: HTTPConnection) -> CdrClient:
    """Return the application's client; a dependency, see `OpenClient`.

    Raises:
        ClientStateError: the application was not started with the lifespan.
    """
    client = getattr(connection.state, _STATE, None)
    if not isinstance(client, CdrClient):
        raise ClientStateError("there is no client: FastAPI(lifespan=client_lifespan()), started with its lifespan")
    return client


def asked_range(
    start: Annotated[
        str, Query(description="Begin: ISO 8601 with an offset.", json_schema_extra={"format": "date-time"})
    ],
    end: Annotated[str, Query(description="End: ISO 8601 with an offset.", json_schema_extra={"format": "date-time"})],
    sip_group_name: Annotated[str | None, Query(description="Only calls of this group.")] = None,
) -> CallQuery:
    """Return the range of the query string; a dependency, see `AskedRange`.

    Raises:
        BadCallError: it cannot be meant; `answer_errors` makes it a 422.
    """
    return read_query(start, end, sip_group_name)


OpenClient = Annotated[CdrClient, Depends(open_client)]
"""The application's client, as the annotation of a parameter."""

AskedRange = Annotated[CallQuery, Depends(asked_range)]
"""The range of the query string, as the annotation of a parameter: `client.stream(**asked)`."""


def answer_errors(app: FastAPI) -> None:
    """Let `app` answer our errors with problem documents: see `aiosipcdr.integrations.answers`."""
    for kind in (SipCdrError, CallError):
        app.add_exception_handler(kind, _answer_error)


async def _answer_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SipCdrError | CallError)  # noqa: S101 - it is registered for no other
    problem = plan_problem(error)
    log_problem(error, problem)
    return Response(problem.body, problem.status, problem.headers, PROBLEM_MEDIA_TYPE)


class _StreamedResponse(Response):
    text: ClassVar[Text]

    def __init__(
        self,
        stream: CdrStream,
        *,
        timeout: float | None = None,
        start_within: float = START_WITHIN,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take a stream that was not entered yet.

        Args:
            stream: what `client.stream(...)` returned.
            timeout: the deadline in seconds: 504 before the answer has begun, later it is cut.
            start_within: the answer begins with the first window, or after so many seconds; until then, what goes
                wrong is told by a status.
            status_code: the status of an answer that has begun.
            headers: further ones.
        """
        super().__init__(status_code=status_code, headers={**HEADERS, **(headers or {})})
        del self.headers["Content-Length"], self.body
        self._stream = stream
        self._timeout = timeout
        self._start_within = start_within

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request (ASGI); raise what goes wrong before the answer has begun, `AnswerCutError` later."""
        if self.text == "csv" and _CUT not in scope:
            raise ClientStateError("a CsvResponse needs an application that was started with client_lifespan")
        caller = _AsgiCaller(self, scope, receive, send)
        if scope["method"] == "HEAD" or await self._deliver(caller, scope):
            await caller.finish()
        if self.background is not None:
            await self.background()

    async def _deliver(self, caller: "_AsgiCaller", scope: _Scope) -> bool:
        try:
            return await deliver(
                self._stream, self.text, caller, timeout=self._timeout, start_within=self._start_within
            )
        except AnswerCutError:
            if _CUT in scope:
                scope[_CUT].set()
            raise


class NdjsonResponse(_StreamedResponse):
    """A range as NDJSON, a record a line.  It is whole if its last line is `{"report": ...}`."""

    text: ClassVar[Text] = "ndjson"
    media_type: str | None = MEDIA_TYPES["ndjson"]


class CsvResponse(_StreamedResponse):
    """A range as CSV.  It is whole, and certified, if it is not cut: the client's HTTP library raises otherwise."""

    text: ClassVar[Text] = "csv"
    media_type: str | None = MEDIA_TYPES["csv"]


class _AsgiCaller:
    """A caller as ASGI knows them."""

    def __init__(self, response: Response, scope: _Scope, receive: _Receive, send: _Send) -> None:
        self._response = response
        self._receive = receive
        self._send = send
        self._has_begun = False
        self.is_told_of_the_end = scope.get("http_version") != "1.0"

    async def begin(self) -> None:
        self._has_begun = True
        start = {"status": self._response.status_code, "headers": self._response.raw_headers}
        await self._pass_on({"type": "http.response.start", **start})

    async def write(self, data: bytes) -> None:
        await self._pass_on({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        if not self._has_begun:  # the head alone was asked for
            await self.begin()
        await self._pass_on({"type": "http.response.body", "body": b"", "more_body": False})

    async def gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # what is left of the request's body

    async def _pass_on(self, message: _Message) -> None:
        try:
            await self._send(message)
        except OSError:  # so tell servers of ASGI 2.4 and later
            raise CallerGoneError from None


class _Outermost:
    """Lets no middleware of the application end an answer well that was cut.

    Starlette's BaseHTTPMiddleware, which is behind `@app.middleware("http")`, would.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cut = scope[_CUT] = asyncio.Event()

        async def send_on(message: _Message) -> None:
            if cut.is_set() and not message.get("more_body"):
                raise AnswerCutError("an answer that was cut must not be ended well")
            await send(message)

        await self._app(scope, receive, send_on)
