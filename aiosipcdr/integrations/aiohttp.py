"""aiohttp.web: one client for the application, ranges as streamed answers, our errors as answers.

    async def calls(request: web.Request) -> web.StreamResponse:
        stream = request.app[CLIENT].stream(**asked_range(request))
        return await send_calls(request, stream, "ndjson", timeout=300)

    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(client_context())
    app.router.add_get("/calls.ndjson", calls)

The server's side of aiohttp alone: the client's is the transport's.  Must never
decide what a range or an error is worth: that is the rooms' below.  How an
answer ends, and what that tells the caller, stands in
`aiosipcdr.integrations.streaming`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import Handler

from aiosipcdr.client import CdrClient
from aiosipcdr.engine.stream import CdrStream
from aiosipcdr.errors import SipCdrError
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

__all__ = [
    "CLIENT",
    "AnswerCutError",
    "CallError",
    "CallQuery",
    "CallTimeoutError",
    "answer_errors",
    "asked_range",
    "client_context",
    "deadline",
    "send_calls",
]

CLIENT: web.AppKey[CdrClient] = web.AppKey("aiosipcdr", CdrClient)
"""Where the application keeps its client: `request.app[CLIENT]`; in a subapplication `request.config_dict[CLIENT]`."""

_LOOK_EVERY = 0.2


def client_context(
    build: Callable[[], CdrClient] = CdrClient.from_env, *, key: web.AppKey[CdrClient] = CLIENT
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return what `app.cleanup_ctx` takes: one client for the application, closed at its end.

    Args:
        build: returns the client, not yet opened.
        key: where to keep it; another one for each further account.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with build() as client:
            app[key] = client
            yield

    return context


def asked_range(request: web.Request) -> CallQuery:
    """Return `start`, `end` and `sip_group_name` of the query string, for `client.stream(**asked)`.

    Raises:
        BadCallError: they cannot be meant; `answer_errors` makes it a 422.
    """
    asked = request.query
    return read_query(asked.get("start"), asked.get("end"), asked.get("sip_group_name"))


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer our errors with problem documents: see `aiosipcdr.integrations.answers`."""
    try:
        return await handler(request)
    except (SipCdrError, CallError) as error:
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
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """Answer `request` with a range, and return the answer that was sent.

    Args:
        request: what is answered.
        stream: what `client.stream(...)` returned, not yet entered.
        text: "ndjson": whole if the last line is `{"report": ...}`; "csv": whole, and certified, if it is not cut.
        timeout: the deadline in seconds: 504 before the answer has begun, later it is cut.
        start_within: the answer begins with the first window, or after so many seconds; until then, what goes wrong
            is told by a status.
        headers: further ones.

    Raises:
        SipCdrError: what went wrong before the answer began.
        CallError: likewise: the deadline struck, or the caller could not tell a broken end.
        AnswerCutError: what went wrong later; the connection is closed.
    """
    response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
    response.content_type = MEDIA_TYPES[text]
    if text == "csv":
        response.charset = "utf-8"
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        await deliver(stream, text, _WebCaller(request, response), timeout=timeout, start_within=start_within)
    except AnswerCutError:
        if request.transport is not None:
            request.transport.close()  # before anybody can end the answer well
        raise
    return response


class _WebCaller:
    """A caller as aiohttp.web knows them."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.is_told_of_the_end = request.version >= HttpVersion11

    async def begin(self) -> None:
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
