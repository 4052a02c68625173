"""The HTTP server of the sandbox: aiohttp.web on a loopback address, with one path.

Passes bytes on without interpreting them; faults and user code are middlewares.
"""

import asyncio
import contextlib
import gzip
import re
from collections.abc import Sequence
from email.utils import formatdate
from ipaddress import ip_address
from random import Random
from socket import AF_INET, AF_INET6, create_server, socket
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from aiosipcdr.sandbox.endpoint import Endpoint, EndpointResponse
from aiosipcdr.sandbox.fault_middleware import DATED, JSON, FaultMiddleware, Next
from aiosipcdr.sandbox.fault_queue import FaultQueue
from aiosipcdr.sandbox.validation import RequestQuery

PREFIX: Final = "/v3/voice"
_PATH: Final = PREFIX + "/recordSipQuery"
_MAX_BODY_BYTES: Final = 1024 * 1024
_ACCEPTED: Final = "application/json"
_PORT: Final = re.compile(r":[0-9]*\Z")
# Long enough to finish a response, short enough to stop quickly.
_GRACE: Final = 0.5
_ROUNDS: Final = 5
_MAX_CACHED: Final = 10_000


class Server:
    """Listens and answers, in the event loop in which it is started."""

    def __init__(self, endpoint: Endpoint, fault_queue: FaultQueue, *, middlewares: Sequence[Middleware] = ()) -> None:
        """Set up the application: `_guard` outermost, then the faults, then `middlewares`, then the endpoint.

        A request that is answered by a fault reaches no middleware of `middlewares`, and faults damage the responses
        of those middlewares, too.
        """
        self._endpoint = endpoint
        self._fault_middleware = FaultMiddleware(
            fault_queue, refuse=endpoint.refuse, count=endpoint.counters.answered, date=self._date
        )
        app = web.Application(
            client_max_size=_MAX_BODY_BYTES,
            middlewares=[self._guard, self._fault_middleware.middleware, *middlewares],
        )
        app.router.add_post(_PATH, self._record_sip_query)
        app.on_response_prepare.append(self._set_date)
        self._forget()
        self._under_way: set[asyncio.Task[object]] = set()
        self._socket: socket | None = None
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GRACE)

    async def start(self) -> str:
        """Start to listen; return the base URL."""
        config = self._endpoint.config
        # "localhost" may be two addresses, and a free port may be free on only one of them.
        host = "127.0.0.1" if config.host == "localhost" else config.host
        await self._runner.setup()
        family = AF_INET6 if ip_address(host).version == 6 else AF_INET  # noqa: PLR2004 - IPv6
        self._socket = create_server((host, config.port), family=family)
        await web.SockSite(self._runner, self._socket).start()
        shown = host if family == AF_INET else f"[{host}]"
        return f"http://{shown}:{self._socket.getsockname()[1]}{PREFIX}"

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._socket is not None:
            # A connection accepted right now needs some iterations of the loop until the runner
            # knows of it, and would otherwise stay open (python/cpython#109564): stop
            # accepting, let the loop iterate, then clean up.
            with contextlib.suppress(NotImplementedError):  # Windows has no readers
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
        self._fault_middleware.close()
        await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    async def reset(self) -> None:
        """Drop the requests under way with their connections, and forget cached answers."""
        # Clients that have closed may have sent requests that were not read yet.
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        for task in (dropped := self._under_way.copy()):
            task.cancel()
        if dropped:
            await asyncio.wait(dropped)
        self._forget()

    def _forget(self) -> None:
        """Begin with an empty cache and the seed's latencies."""
        self._cached: dict[bytes, EndpointResponse] = {}
        self._rng = Random(f"{self._endpoint.config.seed}/latency")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Count every request, and refuse those whose `Host` is not loopback."""
        counters = self._endpoint.counters
        counters.arrived()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler runs in a task
        self._under_way.add(task)
        try:
            if not _is_loopback(request.host):
                raise web.HTTPForbidden(text="The sandbox accepts loopback host names only.\n")
            return await handler(request)
        except web.HTTPException as refusal:
            counters.answered(refusal.status)
            raise
        finally:
            self._under_way.discard(task)
            counters.left()

    async def _record_sip_query(self, request: web.Request) -> web.Response:
        """Answer a request to the documented path."""
        if request.content_type != _ACCEPTED:
            raise web.HTTPUnsupportedMediaType
        body = await request.read()
        admitted = self._endpoint.admit(request.raw_headers, body)
        minimum, maximum = self._endpoint.config.latency_range
        if maximum > 0:
            await asyncio.sleep(self._rng.uniform(minimum, maximum))
        answer = self._answer(admitted, request, body)
        content, headers = answer.body, {hdrs.CONTENT_TYPE: JSON} if answer.body else {}
        if self._endpoint.config.gzip and content:
            headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
            if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
                headers[hdrs.CONTENT_ENCODING] = "gzip"
                content = gzip.compress(content, compresslevel=1, mtime=0)
        return web.Response(status=answer.http_status, body=content, headers=headers)

    def _answer(self, admitted: RequestQuery | int, request: web.Request, body: bytes) -> EndpointResponse:
        """Return the response from the cache, if enabled, or from the endpoint."""
        cache = self._endpoint.config.cache
        if cache == "off" or not isinstance(admitted, RequestQuery):
            return self._endpoint.answer(admitted)
        forwarded = cache == "polite" and "no-cache" in request.headers.get(hdrs.CACHE_CONTROL, "").lower()
        if not forwarded and body in self._cached:
            self._endpoint.counters.answered(0)
            return self._cached[body]
        answer = self._endpoint.answer(admitted)
        if answer.is_data and len(self._cached) < _MAX_CACHED:
            self._cached[body] = answer
        return answer

    async def _set_date(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Set `Date` to the sandbox's own time, or remove it; aiohttp has set it to the machine's."""
        date = response.get(DATED) or self._date()
        if date is None:
            response.headers.popall(hdrs.DATE, None)
        else:
            response.headers[hdrs.DATE] = date

    def _date(self) -> str | None:
        """Return the value of the `Date` header, if responses have one."""
        return formatdate(self._endpoint.now(), usegmt=True) if self._endpoint.config.send_date else None


def _is_loopback(host: str) -> bool:
    """Return whether `Host` is loopback: a web page in a DNS rebinding attack still sends its own name."""
    name = _PORT.sub("", host.lower())
    if name == "localhost":
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
