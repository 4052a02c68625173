"""FastAPI: one client per application, ranges as streaming responses, errors as problem documents.

    app = FastAPI(lifespan=client_lifespan())
    install_error_handlers(app)

    @app.get("/calls.ndjson", response_class=NdjsonResponse)
    async def calls(client: ClientDep, query: RangeParams) -> NdjsonResponse:
        return NdjsonResponse(client.stream(**query), timeout=300)

Needs the extra `fastapi`. `aiosipcdr.integrations.streaming` describes how a response ends.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from weakref import WeakKeyDictionary

from aiosipcdr.client import CdrClient
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.extras import MissingExtraError
from aiosipcdr.integrations.asgi import App, AsgiWriter, Guard, Receive, Scope, Send, is_guarded, limits_in
from aiosipcdr.integrations.limits import MAX_RANGE, MAX_STREAMS, HostNotAllowedError, Limits, TooManyStreamsError
from aiosipcdr.integrations.problems import HANDLED_ERRORS, PROBLEM_MEDIA_TYPE, log_problem, plan_invalid, plan_problem
from aiosipcdr.integrations.range_request import (
    RANGE_NAMES,
    BadRequestError,
    DeadlineExceededError,
    HttpVersionError,
    RangeQuery,
    RequestError,
    check_names,
    deadline,
    read_query,
)
from aiosipcdr.integrations.streaming import (
    HEADERS,
    MEDIA_TYPES,
    START_WITHIN,
    ResponseCutError,
    TextFormat,
    buffer_response,
    stream_response,
)
from aiosipcdr.model.errors import ClientStateError
from aiosipcdr.model.records import CallDetailRecord, Page

try:
    from fastapi import Depends, FastAPI, Query, Request, Response
    from fastapi.encoders import ENCODERS_BY_TYPE
    from fastapi.exception_handlers import request_validation_exception_handler
    from fastapi.exceptions import RequestValidationError
    from fastapi.requests import HTTPConnection
    from fastapi.security import APIKeyQuery
except ImportError as _error:
    raise MissingExtraError("aiosipcdr.integrations.fastapi needs fastapi", "fastapi", name=_error.name) from None

__all__ = [
    "BadRequestError",
    "ClientDep",
    "CsvResponse",
    "DeadlineExceededError",
    "HostNotAllowedError",
    "HttpVersionError",
    "Limits",
    "NdjsonResponse",
    "RangeParams",
    "RangeQuery",
    "RequestError",
    "ResponseCutError",
    "ResponseGuard",
    "TooManyStreamsError",
    "client_lifespan",
    "deadline",
    "install_error_handlers",
    "open_account",
    "open_client",
    "range_params",
    "set_limits",
]

Build = Callable[[], CdrClient]

# For routes without a response model: FastAPI would encode a record by its attributes, and fail.
ENCODERS_BY_TYPE.update({CallDetailRecord: CallDetailRecord.to_dict, Page: Page.to_dict})

_STATE = "cdr_client"

_limits: WeakKeyDictionary[FastAPI, Limits] = WeakKeyDictionary()
_accounts: WeakKeyDictionary[FastAPI, set[str | None]] = WeakKeyDictionary()


def client_lifespan(
    build: Build | Mapping[str, Build] = CdrClient.from_env,
    *,
    max_range: timedelta | None = MAX_RANGE,
    max_streams: int | None = MAX_STREAMS,
    allowed_hosts: Sequence[str] | None = None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Return a lifespan that opens one client for the application, or several, and closes them at the end.

        app = FastAPI(lifespan=client_lifespan({"acme": build_acme, "globex": build_globex}))

    Each server process has clients of its own, so the limits of a client (`concurrency`, `rate`) apply per process.
    Inside another lifespan: `async with client_lifespan()(app) as state: yield {**state, ...}`.

    Args:
        build: Returns the client, not yet opened; or one such function per account, by name: see `ClientDep`.
        max_range: The widest range that `RangeParams` accepts; `None`: no limit.
        max_streams: How many NDJSON and CSV responses this process may send concurrently; further ones get 503 with
            `Retry-After`. `None`: no limit.
        allowed_hosts: Host names accepted in `Host`, without a port, as in `["calls.example.com", "*.example.org"]`;
            all other requests get 400. `None`: any.

    Raises:
        ValueError: A limit is invalid; or, when the application starts: another lifespan has opened the same account or
            set other limits.
    """
    builds: dict[str | None, Build] = dict(build.items()) if isinstance(build, Mapping) else {None: build}
    limits = Limits(max_range, max_streams, allowed_hosts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        _limits[app] = _limits_of(app).merged_with(limits)
        _install_guard(app)
        opened = _accounts.setdefault(app, set())
        if taken := opened & builds.keys():
            names = ", ".join(sorted("the one without a name" if name is None else repr(name) for name in taken))
            raise ValueError(f"two lifespans of this application open the same account ({names}); remove one of them")
        opened.update(builds)
        try:
            async with AsyncExitStack() as stack:
                yield {
                    _state_key(name): await stack.enter_async_context(build_one()) for name, build_one in builds.items()
                }
        finally:
            opened.difference_update(builds)

    return lifespan


async def open_client(connection: HTTPConnection) -> CdrClient:
    """Return the application's client; a dependency, see `ClientDep`.

        app.dependency_overrides[open_client] = lambda: fake_client

    Raises:
        ClientStateError: The application was not started with the lifespan.
    """
    return _client_of(connection, None)


@cache
def open_account(account: str) -> Callable[[HTTPConnection], Awaitable[CdrClient]]:
    """Return the dependency for the client of `account`; the same object each time, for `dependency_overrides`.

    app.dependency_overrides[open_account("acme")] = lambda: fake_client
    """

    async def open_named(connection: HTTPConnection) -> CdrClient:
        return _client_of(connection, account)

    return open_named


async def range_params(
    connection: HTTPConnection,
    start: Annotated[
        str, Query(description="Start: ISO 8601 with an offset.", json_schema_extra={"format": "date-time"})
    ],
    end: Annotated[str, Query(description="End: ISO 8601 with an offset.", json_schema_extra={"format": "date-time"})],
    sip_group_name: Annotated[str | None, Query(description="Only calls of this group.")] = None,
) -> RangeQuery:
    """Return the range of the query string; a dependency, see `RangeParams`.

    The query string may have, each once: `start`, `end`, `sip_group_name` and the route's own parameters.

        asked: Annotated[RangeQuery, Depends(range_params)]

    Raises:
        BadRequestError: A parameter is invalid or unknown, or the range is wider than `max_range`; becomes a 422, see
            `install_error_handlers`.
    """
    names = [name for name, _ in connection.query_params.multi_items()]
    check_names(names, RANGE_NAMES.union(_declared_names(connection.scope)))
    return read_query(start, end, sip_group_name, max_range=_limits_for(connection.scope).max_range)


if TYPE_CHECKING:

    class ClientDep(CdrClient):
        """What a type checker sees: a client, and a call with the name of an account."""

        def __init__(self, account: str) -> None: ...

else:

    class _ClientDep:
        def __new__(cls, account: str) -> Any:  # noqa: ANN401 - FastAPI does not say what `Depends` returns
            return Depends(open_account(account))

    # As an annotation, it injects the client. Calling it, as in `ClientDep("acme")`, calls `_ClientDep("acme")`.
    ClientDep = Annotated[_ClientDep, Depends(open_client)]
    """The application's client, as the annotation of a parameter: `client: ClientDep`.

    With the name of an account: `client: Annotated[CdrClient, ClientDep("acme")]`, see `client_lifespan`.
    """

RangeParams = Annotated[RangeQuery, Depends(range_params)]
"""The range of the query string, as the annotation of a parameter: `client.stream(**query)`."""


def install_error_handlers(app: FastAPI) -> None:
    """Let `app` answer errors with problem documents, and cut the connection of every incomplete response.

        install_error_handlers(app)

    Handles the client's errors, `RequestError` and, unless the application has a handler of its own,
    `RequestValidationError`: see `aiosipcdr.integrations.problems`.
    """
    for kind in HANDLED_ERRORS:
        app.add_exception_handler(kind, _answer_error)
    if app.exception_handlers.get(RequestValidationError) is request_validation_exception_handler:
        app.add_exception_handler(RequestValidationError, _answer_invalid)
    _install_guard(app)


def set_limits(
    app: FastAPI,
    *,
    max_range: timedelta | None = MAX_RANGE,
    max_streams: int | None = MAX_STREAMS,
    allowed_hosts: Sequence[str] | None = None,
) -> None:
    """Set the limits of an application with another lifespan: see `client_lifespan`.

        set_limits(app, max_streams=4)

    Raises:
        ValueError: A limit is invalid, or other limits are already set.
    """
    _limits[app] = _limits_of(app).merged_with(Limits(max_range, max_streams, allowed_hosts))
    _install_guard(app)


class ResponseGuard(Guard):
    """ASGI middleware that cuts the connection of every incomplete response, whatever is inside of it.

    `client_lifespan`, `install_error_handlers` and `set_limits` put it around the middlewares of an application. Use it
    for further middlewares around the application: `ResponseGuard(SomeTimeout(app))`.
    """

    def __init__(self, app: App) -> None:
        super().__init__(app)


async def _answer_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HANDLED_ERRORS)  # noqa: S101 - registered for these errors only
    problem = plan_problem(error)
    log_problem(error, problem)
    return Response(problem.body, problem.status, problem.headers, PROBLEM_MEDIA_TYPE)


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this error only
    problem = plan_invalid([(fault["loc"], fault["msg"]) for fault in error.errors()])
    return Response(problem.body, problem.status, problem.headers, PROBLEM_MEDIA_TYPE)


class _StreamedResponse(Response):
    text: ClassVar[TextFormat]

    def __init__(
        self,
        stream: CdrStream,
        *,
        timeout: float | None = None,
        start_within: float = START_WITHIN,
        status_code: int = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Create a response from a stream.

        Args:
            stream: The result of `client.stream(...)`, not yet entered.
            timeout: The deadline in seconds: it gives a 504 before the response has begun, and cuts it later.
            start_within: The response begins with the first window, or after this many seconds; until then, errors are
                answered with a status of their own.
            status_code: The status of a response that has begun.
            headers: Further headers.
        """
        super().__init__(status_code=status_code, headers={**HEADERS, **(headers or {})})
        del self.headers["Content-Length"], self.body
        self._stream = stream
        self._timeout = timeout
        self._start_within = start_within
        self._spreadsheet = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI); errors after the response has begun are raised as `ResponseCutError`."""
        writer = AsgiWriter(self.status_code, self.raw_headers, scope, receive, send)
        if scope["method"] == "HEAD":
            await writer.begin()
            await writer.finish()
        else:
            with _limits_for(scope).stream():
                await self._send_calls(writer, streamed=self.text == "ndjson" or is_guarded(scope))
        if self.background is not None:
            await self.background()

    async def _send_calls(self, writer: AsgiWriter, *, streamed: bool) -> None:
        if streamed:
            is_complete = await stream_response(
                self._stream,
                self.text,
                writer,
                timeout=self._timeout,
                start_within=self._start_within,
                spreadsheet=self._spreadsheet,
            )
            if is_complete:
                await writer.finish()
            return
        body = await buffer_response(
            self._stream, self.text, writer, timeout=self._timeout, spreadsheet=self._spreadsheet
        )
        if body is not None:
            await writer.send_body(body)


class NdjsonResponse(_StreamedResponse):
    """A range as NDJSON, one record per line.

    The response is complete if its last line is `{"report": ...}`:

        return NdjsonResponse(client.stream(**query), timeout=300)
    """

    text: ClassVar[TextFormat] = "ndjson"
    media_type: str | None = MEDIA_TYPES["ndjson"]


class CsvResponse(_StreamedResponse):
    """A range as CSV; complete, and certified, if the connection is not cut: HTTP libraries raise an error then.

        return CsvResponse(client.stream(**query), timeout=300)

    Without a guard around the application (see `ResponseGuard`) it is built in memory and sent with its length.
    """

    text: ClassVar[TextFormat] = "csv"
    media_type: str | None = MEDIA_TYPES["csv"]

    def __init__(
        self,
        stream: CdrStream,
        *,
        timeout: float | None = None,
        start_within: float = START_WITHIN,
        spreadsheet: bool = False,
        status_code: int = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Create a response from a stream.

        Args:
            stream: The result of `client.stream(...)`, not yet entered.
            timeout: The deadline in seconds: it gives a 504 before the response has begun, and cuts it later.
            start_within: The response begins with the first window, or after this many seconds; until then, errors are
                answered with a status of their own.
            spreadsheet: Write for spreadsheets: Excel keeps long ids unchanged and evaluates no formula. Not for
                programs.
            status_code: The status of a response that has begun.
            headers: Further headers.
        """
        super().__init__(stream, timeout=timeout, start_within=start_within, status_code=status_code, headers=headers)
        self._spreadsheet = spreadsheet


def _state_key(account: str | None) -> str:
    return _STATE if account is None else f"{_STATE}[{account}]"


def _client_of(connection: HTTPConnection, account: str | None) -> CdrClient:
    client = getattr(connection.state, _state_key(account), None)
    if not isinstance(client, CdrClient):
        wanted = "client_lifespan()" if account is None else f"client_lifespan({{{account!r}: ...}})"
        raise ClientStateError(
            f"the application has no such client; use FastAPI(lifespan={wanted}) and run its lifespan"
        )
    return client


def _limits_of(app: FastAPI) -> Limits:
    return _limits.setdefault(app, Limits())


def _limits_for(scope: Scope) -> Limits:
    return limits_in(scope) or _limits_of(scope["app"])


def _install_guard(app: FastAPI) -> None:
    limits = partial(_limits_of, app)
    if app.middleware_stack is None:
        build = app.build_middleware_stack
        if not isinstance(build, _GuardedBuild):
            app.build_middleware_stack = _GuardedBuild(build, limits)  # type: ignore[method-assign]
    elif not isinstance(app.middleware_stack, Guard):
        app.middleware_stack = Guard(app.middleware_stack, limits)


class _GuardedBuild:
    """Builds an application's middlewares, including those that are added later, with the guard around them."""

    def __init__(self, build: Callable[[], App], limits: Callable[[], Limits]) -> None:
        self._build = build
        self._limits = limits

    def __call__(self) -> App:
        return Guard(self._build(), self._limits)


def _declared_names(scope: Scope) -> Iterator[str]:
    """Yield the query parameters of the route and of all its dependencies, including its router's."""
    included = scope.get("fastapi", {}).get("effective_route_context")
    pending = [getattr(included or scope.get("route"), "dependant", None)]
    while pending:
        dependant = pending.pop()
        if dependant is None:
            continue
        pending += dependant.dependencies
        if isinstance(dependant.call, APIKeyQuery):
            yield dependant.call.model.name
        for field in dependant.query_params:
            model = getattr(field.field_info.annotation, "model_fields", None)  # parameters as one model
            if model is None:
                yield field.alias
            else:
                yield from (info.alias or name for name, info in model.items())
