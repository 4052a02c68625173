"""The engine of one client between its opening and closing, in one event loop of one process."""

import asyncio
import os
from datetime import tzinfo

import anyio

from aiosipcdr.engine.engine import Engine
from aiosipcdr.engine.run import Plan
from aiosipcdr.events import EventHook
from aiosipcdr.http.transport import Transport
from aiosipcdr.model.errors import ClientStateError
from aiosipcdr.policy.pacing import RatePolicy
from aiosipcdr.policy.retry import RetryPolicy
from aiosipcdr.rates import RateLimiter, RemoteRate
from aiosipcdr.wire.signing import CredentialsSource

__all__ = ["EngineSession"]


class EngineSession:
    """Opens and closes the engine; gives access to it only in the process and event loop that opened it.

    Attributes:
        transport: Sends the requests.
        credentials: Returns the account of the next request.
        hook: Is called with every event.
        assume_tz: The time zone of times without an offset.
        rate: The pace of requests.
        running: The engine while the session is open, `None` before and after.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: CredentialsSource,
        *,
        rate: RatePolicy | RateLimiter | None,
        retry: RetryPolicy,
        hook: EventHook,
        assume_tz: tzinfo | None,
    ) -> None:
        """Keep the settings. Nothing is opened, and no event loop is needed."""
        self.transport: Transport = transport
        self.credentials: CredentialsSource = credentials
        self.hook: EventHook = hook
        self.assume_tz: tzinfo | None = assume_tz
        self.running: Engine | None = None
        self.rate: RatePolicy | RateLimiter | None = rate
        self._retry = retry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    @property
    def engine(self) -> Engine:
        """The running engine.

        Raises:
            ClientStateError: The session is not open, or was opened in another process or event loop.
        """
        if self.running is None:
            raise ClientStateError(
                "the client is not open: use `async with CdrClient(...) as client`, or await client.open()"
            )
        if self._process != os.getpid():
            raise ClientStateError("the client was opened in another process: open one after the fork")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            raise ClientStateError("the client was opened in another event loop: open one in each")
        return self.running

    async def open(self) -> None:
        """Start the engine in the running event loop.

        Raises:
            ClientStateError: The session is open already.
        """
        if self.running is not None:
            raise ClientStateError("the client is already open: share it, or build another one")
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self.transport.open()
        self.running = Engine(
            self.transport,
            self.credentials,
            rate=self.rate,
            retry=self._retry,
            hook=self.hook,
            assume_tz=self.assume_tz,
        )

    async def close(self) -> None:
        """End every run and close the transport; may be called again.

        In a forked child both are only forgotten: their connections belong to the parent.
        """
        engine, self.running = self.running, None
        if engine is not None and not engine.is_here:
            self.transport.forget()
            return
        try:
            if engine is not None:
                await engine.close()
        finally:
            with anyio.CancelScope(shield=True):
                await self.transport.close()
                if isinstance(self.rate, RemoteRate):  # other limiters belong to the caller
                    await self.rate.aclose()

    async def run_plan(self, plan: Plan) -> int:
        """Send the requests of `plan` until it has its result; return their number.

        Raises:
            SipCdrError: What ended the plan early.
        """
        engine = self.engine
        run = engine.start(plan)
        try:
            await run.wait()
            run.check()
        finally:
            await engine.finish(run)
            requests = run.requests
            del run  # the traceback of its error keeps this frame
        return requests
