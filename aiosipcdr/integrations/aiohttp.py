"""aiohttp.web: one client for the application, ranges as streamed answers, our errors as answers.

    async def calls(request: web.Request) -> web.StreamResponse:
        stream = request.app[CLIENT].stream(**range_params(request))
        return await send_calls(request, stream, "ndjson", timeout=300)

    app = web.Application()
    install_error_handlers(app)
    app.cleanup_ctx.append(client_context())
    app.router.add_get("/calls.ndjson", calls)

The server's side of aiohttp alone: the client's is the transport's.  How an answer
ends, and what that tells the caller, stands in `aiosipcdr.integrations.streaming`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import Handler

from aiosipcdr.client import CdrClient
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.integrations.limits import MAX_RANGE, MAX_STREAMS, Limits
from aiosipcdr.integrations.problems import ANSWERED, PROBLEM_MEDIA_TYPE, log_problem, plan_problem
from aiosipcdr.integrations.range_request import (
    RANGE_NAMES,
    DeadlineExceededError,
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
    AnswerCutError,
    CallerGoneError,
    Text,
    deliver,
)

__all__ = [
    "CLIENT",
    "AnswerCutError",
    "DeadlineExceededError",
    "RangeQuery",
    "RequestError",
    "client_context",
    "deadline",
    "install_error_handlers",
    "range_params",
    "send_calls",
    "set_limits",
]

CLIENT: web.AppKey[CdrClient] = web.AppKey("aiosipcdr", CdrClient)
"""Where the application keeps its client: `request.app[CLIENT]`; in a subapplication `request.config_dict[CLIENT]`."""

_LIMITS: web.AppKey[Limits] = web.AppKey("aiosipcdr.limits", Limits)
_DEFAULTS = Limits()  # those of applications that have set none
_LOOK_EVERY = 0.2


def client_context(
    build: Callable[[], CdrClient] = CdrClient.from_env,
    *,
    key: web.AppKey[CdrClient] = CLIENT,
    max_range: timedelta | None = MAX_RANGE,
    max_streams: int | None = MAX_STREAMS,
    allowed_hosts: Sequence[str] | None = None,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return what `app.cleanup_ctx` takes: one client for the application, closed at its end.

    Args:
        build: Returns the client, not yet opened.
        key: Where to keep it; another one for each further account.
        max_range: The widest range that `range_params` accepts; `None` for any.
        max_streams: How many answers `send_calls` sends at the same time, before a further one gets 503 with
            `Retry-After`; `None` for any number.
        allowed_hosts: Names that requests may have in `Host`, without a port, as in `["calls.example.com",
            "*.example.org"]`; others get 400. `None` for any name. Checked by `range_params`, by `send_calls` and, for
            every path, by the middleware of `install_error_handlers`.

    Raises:
        ValueError: A limit is none; or, when the application starts: there is a client under `key`, or other limits
            were set.
    """
    limits = Limits(max_range, max_streams, allowed_hosts)

    async def context(app: web.Application) -> AsyncIterator[None]:
        if key in app:
            raise ValueError(
                f"two contexts of this application keep a client under {key!r}: give each a key of its own"
            )
        app[_LIMITS] = app.get(_LIMITS, Limits()).replaced_by(limits)
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
    """Set the limits of an application whose clients are opened elsewhere: see `client_context`.

    Raises:
        ValueError: A limit is none, or other limits were set before.
    """
    app[_LIMITS] = app.get(_LIMITS, Limits()).replaced_by(Limits(max_range, max_streams, allowed_hosts))


def range_params(request: web.Request, *, also: Collection[str] = ()) -> RangeQuery:
    """Return `start`, `end` and `sip_group_name` of the query string, for `client.stream(**asked)`.

    Args:
        request: What was asked for.
        also: Further parameters that the query string may hold.

    Raises:
        BadCallError: They are invalid, the range is wider than `max_range`, or another parameter is there; a 422, see
            `install_error_handlers`.
    """
    limits = _limits_for(request)
    asked = request.query
    check_names([name for name, _ in asked.items()], RANGE_NAMES.union(also))
    return read_query(asked.get("start"), asked.get("end"), asked.get("sip_group_name"), max_range=limits.max_range)


def install_error_handlers(app: web.Application) -> None:
    """Let `app` answer errors with problem documents: see `aiosipcdr.integrations.problems`.

    Its middleware stands where the application has it at the time: those that are added later are inside of it.
    """
    app.middlewares.append(_answer_errors)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _limits_for(request)
        return await handler(request)
    except ANSWERED as error:
        problem = plan_problem(error)
        log_problem(error, problem)
    return web.Response(
        body=problem.body, status=problem.status, headers=problem.headers, content_type=PROBLEM_MEDIA_TYPE
    )


async def send_calls(
    request: web.Request,
    stream: CdrStream,
    text: Text = "ndjson",
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - it ends otherwise before and after the beginning
    start_within: float = START_WITHIN,
    spreadsheet: bool = False,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """Answer `request` with a range, and return the answer that was sent.

    Args:
        request: What is answered.
        stream: What `client.stream(...)` returned, not yet entered.
        text: "ndjson": whole if the last line is `{"report": ...}`; "csv": whole, and certified, if it is not cut.
        timeout: The deadline in seconds: 504 before the answer has begun, later it is cut.
        start_within: The answer begins with the first window, or after so many seconds; until then, errors are
            answered with a status.
        spreadsheet: CSV for people: Excel shows long ids whole and starts no formula. Not for programs.
        headers: Further ones.

    Raises:
        SipCdrError: What went wrong before the answer began.
        CallError: Likewise: the deadline struck, too many answers are being sent, or the caller could not tell a
            broken end.
        AnswerCutError: What went wrong later; the connection is closed.
    """
    response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
    response.content_type = MEDIA_TYPES[text]
    if text == "csv":
        response.charset = "utf-8"
    if request.method == hdrs.METH_HEAD:
        return response
    limits = _limits_for(request)
    caller = _WebCaller(request, response)
    is_whole = False
    try:
        with limits.stream():
            is_whole = await deliver(
                stream, text, caller, timeout=timeout, start_within=start_within, spreadsheet=spreadsheet
            )
    finally:
        # Before anybody, a timeout or a middleware for instance, can end the answer as if it were whole.
        if caller.has_begun and not is_whole and request.transport is not None:
            request.transport.close()
    return response


def _limits_for(request: web.Request) -> Limits:
    limits = request.config_dict.get(_LIMITS, _DEFAULTS)
    limits.check_host(request.headers.get(hdrs.HOST))
    return limits


class _WebCaller:
    """A caller as aiohttp.web knows them."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.has_begun = False
        self.is_told_of_the_end = request.version >= HttpVersion11

    async def begin(self) -> None:
        self.has_begun = True
        try:
            await self._response.prepare(self._request)
        except OSError:
            raise CallerGoneError from None

    async def write(self, data: bytes) -> None:
        try:
            await self._response.write(data)
        except OSError:
            raise CallerGoneError from None

    async def gone(self) -> None:
        # aiohttp tells a handler only by cancelling it, and only a server that was asked to.
        while (transport := self._request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_LOOK_EVERY)
