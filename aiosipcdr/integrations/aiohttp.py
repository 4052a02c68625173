"""aiohttp.web: one client per application, ranges as streamed responses, errors as problem documents.

    async def calls(request: web.Request) -> web.StreamResponse:
        stream = request.app[CLIENT].stream(**range_params(request))
        return await send_calls(request, stream, "ndjson", timeout=300)

    app = web.Application()
    install_error_handlers(app)
    app.cleanup_ctx.append(client_context())
    app.router.add_get("/calls.ndjson", calls)

Uses only the server side of aiohttp. `aiosipcdr.integrations.streaming` describes how a response ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import Handler

from aiosipcdr.client import CdrClient
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.integrations.limits import MAX_RANGE, MAX_STREAMS, HostNotAllowedError, Limits, TooManyStreamsError
from aiosipcdr.integrations.problems import HANDLED_ERRORS, PROBLEM_MEDIA_TYPE, log_problem, plan_problem
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
    ClientDisconnectedError,
    ResponseCutError,
    TextFormat,
    stream_response,
)

__all__ = [
    "CLIENT",
    "BadRequestError",
    "DeadlineExceededError",
    "HostNotAllowedError",
    "HttpVersionError",
    "RangeQuery",
    "RequestError",
    "ResponseCutError",
    "TooManyStreamsError",
    "client_context",
    "deadline",
    "install_error_handlers",
    "range_params",
    "send_calls",
    "set_limits",
]

CLIENT: web.AppKey[CdrClient] = web.AppKey("aiosipcdr", CdrClient)
"""The key of the application's client: `request.app[CLIENT]`; in a subapplication `request.config_dict[CLIENT]`."""

_LIMITS: web.AppKey[Limits] = web.AppKey("aiosipcdr.limits", Limits)
_DEFAULTS = Limits()  # of applications that set none
_POLL_SECONDS = 0.2


def client_context(
    build: Callable[[], CdrClient] = CdrClient.from_env,
    *,
    key: web.AppKey[CdrClient] = CLIENT,
    max_range: timedelta | None = MAX_RANGE,
    max_streams: int | None = MAX_STREAMS,
    allowed_hosts: Sequence[str] | None = None,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a context for `app.cleanup_ctx`: it opens one client for the application and closes it at the end.

        app.cleanup_ctx.append(client_context(max_range=timedelta(days=7)))

    Args:
        build: Returns the client, not yet opened.
        key: The application key of the client; use another one for each further account.
        max_range: The widest range that `range_params` accepts; `None`: no limit.
        max_streams: How many responses `send_calls` may send concurrently; further ones get 503 with `Retry-After`.
            `None`: no limit.
        allowed_hosts: Host names accepted in `Host`, without a port, as in `["calls.example.com", "*.example.org"]`;
            others get 400. `None`: any. Checked by `range_params`, by `send_calls` and, for every path, by the
            middleware of `install_error_handlers`.

    Raises:
        ValueError: A limit is invalid; or, when the application starts: `key` is in use, or other limits are already
            set.
    """
    limits = Limits(max_range, max_streams, allowed_hosts)

    async def context(app: web.Application) -> AsyncIterator[None]:
        if key in app:
            raise ValueError(
                f"two contexts of this application keep a client under {key!r}; pass each a key of its own"
            )
        app[_LIMITS] = app.get(_LIMITS, Limits()).merged_with(limits)
        async with build() as client:
            app[key] = client
            yield

    return context


def set_limits(
    app: web.Application,
    *,
    max_range: timedelta | None = MAX_RANGE,
    max_streams: int | None = MAX_STREAMS,
    allowed_hosts: Sequence[str] | None = None,
) -> None:
    """Set the limits of an application that opens its clients in another way: see `client_context`.

        set_limits(app, max_streams=4)

    Raises:
        ValueError: A limit is invalid, or other limits are already set.
    """
    app[_LIMITS] = app.get(_LIMITS, Limits()).merged_with(Limits(max_range, max_streams, allowed_hosts))


def range_params(request: web.Request, *, also: Collection[str] = ()) -> RangeQuery:
    """Return `start`, `end` and `sip_group_name` of the query string, as arguments of `client.stream`.

        stream = request.app[CLIENT].stream(**range_params(request))

    Args:
        request: The request.
        also: Names of further parameters that the query string may have.

    Raises:
        BadRequestError: A parameter is invalid or unknown, or the range is wider than `max_range`; becomes a 422, see
            `install_error_handlers`.
    """
    limits = _limits_for(request)
    query = request.query
    check_names([name for name, _ in query.items()], RANGE_NAMES.union(also))
    return read_query(query.get("start"), query.get("end"), query.get("sip_group_name"), max_range=limits.max_range)


def install_error_handlers(app: web.Application) -> None:
    """Let `app` answer errors with problem documents: see `aiosipcdr.integrations.problems`.

        install_error_handlers(app)

    Appends a middleware: those that are added later are inside of it.
    """
    app.middlewares.append(_answer_errors)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _limits_for(request)
        return await handler(request)
    except HANDLED_ERRORS as error:
        problem = plan_problem(error)
        log_problem(error, problem)
    return web.Response(
        body=problem.body, status=problem.status, headers=problem.headers, content_type=PROBLEM_MEDIA_TYPE
    )


async def send_calls(
    request: web.Request,
    stream: CdrStream,
    text: TextFormat = "ndjson",
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - its effect differs before and after the response has begun
    start_within: float = START_WITHIN,
    spreadsheet: bool = False,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """Answer `request` with the calls of a range, and return the response.

        return await send_calls(request, request.app[CLIENT].stream(**range_params(request)), "csv", timeout=300)

    Args:
        request: The request.
        stream: The result of `client.stream(...)`, not yet entered.
        text: "ndjson": complete if the last line is `{"report": ...}`; "csv": complete, and certified, if the
            connection is not cut.
        timeout: The deadline in seconds: it gives a 504 before the response has begun, and cuts it later.
        start_within: The response begins with the first window, or after this many seconds; until then, errors are
            answered with a status of their own.
        spreadsheet: Write CSV for spreadsheets: Excel keeps long ids unchanged and evaluates no formula. Not for
            programs.
        headers: Further headers.

    Raises:
        SipCdrError: An error before the response began.
        RequestError: Before the response began, the deadline passed, too many responses were being sent, or the
            requester's HTTP version cannot detect a cut response.
        ResponseCutError: An error after the response began; the connection is closed.
    """
    response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
    response.content_type = MEDIA_TYPES[text]
    if text == "csv":
        response.charset = "utf-8"
    if request.method == hdrs.METH_HEAD:
        return response
    limits = _limits_for(request)
    writer = _WebWriter(request, response)
    is_complete = False
    try:
        with limits.stream():
            is_complete = await stream_response(
                stream, text, writer, timeout=timeout, start_within=start_within, spreadsheet=spreadsheet
            )
    finally:
        # Before anything else, such as a timeout or a middleware, can end the response as if it were complete.
        if writer.has_begun and not is_complete and request.transport is not None:
            request.transport.close()
    return response


def _limits_for(request: web.Request) -> Limits:
    limits = request.config_dict.get(_LIMITS, _DEFAULTS)
    limits.check_host(request.headers.get(hdrs.HOST))
    return limits


class _WebWriter:
    """A `ResponseWriter` for aiohttp.web."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.has_begun = False
        self.detects_cut = request.version >= HttpVersion11

    async def begin(self) -> None:
        self.has_begun = True
        try:
            await self._response.prepare(self._request)
        except OSError:
            raise ClientDisconnectedError from None

    async def write(self, data: bytes) -> None:
        try:
            await self._response.write(data)
        except OSError:
            raise ClientDisconnectedError from None

    async def wait_disconnected(self) -> None:
        # aiohttp notifies a handler only by cancelling it, and only if the server is configured to.
        while (transport := self._request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_SECONDS)
