"""Middlewares of a sandbox that hold requests back until a test lets them through.

A test that waits for a gate waits for an event, never for time to pass.
"""
# ruff: noqa: ASYNC110 - waiting for another thread is polling

import asyncio
import threading
from collections.abc import Callable

from aiohttp.typedefs import Handler, Middleware
from aiohttp.web import Request, StreamResponse, middleware


def gather(places: int) -> Middleware:
    """Hold back the sixth request and all later ones until `places` of them wait at once."""
    seen = waiting = 0
    is_full = asyncio.Event()

    @middleware
    async def hold(request: Request, handler: Handler) -> StreamResponse:
        nonlocal seen, waiting
        seen += 1
        if seen > 5:
            waiting += 1
            if waiting == places:
                is_full.set()
            await is_full.wait()
        return await handler(request)

    return hold


class Gate:
    """Lets some requests through to the sandbox, and holds the others back until it is opened.

    Attributes:
        applies: whether the gate is for a request, by its body; for all others it stands open.
        held: number of requests that were held back so far.
        waiting: number of requests that wait and whose client is still connected.
    """

    def __init__(self, free: int) -> None:
        """Let `free` requests through."""
        self.free = free
        self.applies: Callable[[bytes], bool] = lambda _body: True
        self.held = 0
        self.waiting = 0
        self.opened = threading.Event()

        @middleware
        async def hold(request: Request, handler: Handler) -> StreamResponse:
            if not self.applies(await request.read()):
                return await handler(request)
            self.free -= 1
            if self.free < 0:
                self.held += 1
                self.waiting += 1
                try:
                    while not self.opened.is_set() and request.transport is not None:
                        await asyncio.sleep(0.002)
                finally:
                    self.waiting -= 1
            return await handler(request)

        self.middleware = hold

    async def reached(self) -> None:
        """Wait until a request is held back."""
        while not self.held:
            await asyncio.sleep(0.002)

    async def left(self) -> None:
        """Wait until no connected client has a request that is held back."""
        while self.waiting:
            await asyncio.sleep(0.002)
