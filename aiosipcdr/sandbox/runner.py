"""The thread that generates a sandbox's calls and serves them, in an event loop of its own.

Never blocks the caller's event loop. Leaves no thread, socket or file behind, however it ends.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

from aiohttp.typedefs import Middleware

from aiosipcdr.sandbox.call_events import CallEvent, EventScript
from aiosipcdr.sandbox.calls import CallGenerator, Row
from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.endpoint import Endpoint
from aiosipcdr.sandbox.fault_queue import FaultQueue
from aiosipcdr.sandbox.server import Server
from aiosipcdr.sandbox.store import Store
from aiosipcdr.sandbox.validation import AccountKeys

_LIVE_TICK: Final = 0.05


class _StoppedEarlyError(Exception):
    """The sandbox was closed while it was generating its calls."""


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """The parts of a running sandbox."""

    base_url: str
    server: Server
    endpoint: Endpoint
    store: Store
    generator: CallGenerator


class SandboxRunner:
    """One thread with one event loop and one server; can be started once.

    Attributes:
        ready: Done when requests are answered, or failed if the sandbox cannot start.
        gone: Done when the thread has released everything.
    """

    def __init__(
        self,
        config: SandboxConfig,
        credentials: AccountKeys,
        start: int,
        end: int,
        *,
        lag: float,
        rows: Sequence[Row] | None,
        middlewares: Sequence[Middleware],
        fault_queue: FaultQueue,
        events: Iterable[CallEvent] = (),
    ) -> None:
        """Set up what will be served: `rows`, or else generated calls from `start` to `end` (Unix times in seconds).

        `lag`: seconds by which the calls' "today" is before now.
        """
        self.ready: Future[None] = Future()
        self.finished: Future[None] = Future()
        self._config = config
        self._credentials = credentials
        self._lag = lag
        self._generator = CallGenerator(config, start, end)
        self._rows = rows
        self._middlewares = middlewares
        self._fault_queue = fault_queue
        self._script = EventScript(events, middle=(start + end) // 2)
        self._thread: Thread | None = None
        self._closing = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._running: RunningSandbox | None = None

    def start(self) -> None:
        """Start the thread."""
        if self._thread is not None:
            raise RuntimeError("a sandbox can run only once; create a new one")
        # A daemon: a sandbox that is not closed does not keep the process alive.
        self._thread = Thread(target=self._run, name="aiosipcdr-sandbox", daemon=True)
        self._thread.start()

    def running(self) -> RunningSandbox:
        """Return the parts of the running sandbox."""
        if self._running is None:
            raise RuntimeError("the sandbox is not running; use it with `async with` or `with`")
        return self._running

    def reset(self) -> None:
        """Return to the state after the start, between two requests."""
        running = self.running()
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._reset(running), self._loop).result()

    async def _reset(self, running: RunningSandbox) -> None:
        await running.server.reset()
        self._fault_queue.reset()
        if running.store.is_changed:
            running.generator.rewind()
            running.store.refill(self._batches())
        running.endpoint.reset(self._config, self._credentials)

    def request_close(self) -> None:
        """Ask the thread to end, whatever it is doing."""
        self._closing.set()
        if self._loop is not None and self._stop is not None:
            # The event loop is already closed if the thread has ended by itself.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    def close(self) -> None:
        """End the thread and wait for it."""
        self.request_close()
        if self._thread is not None:
            self._thread.join()
        self._running = None

    def _run(self) -> None:
        """Generate the calls and serve them until the sandbox is closed (the thread's target)."""
        try:
            config = self._config
            store = Store(config.path, by_submission=config.time_field == "submitTime")
            try:
                store.fill(self._until_closed(self._batches()))
                asyncio.run(self._serve(store))
            finally:
                store.close()
        except _StoppedEarlyError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the thread that opens the sandbox
            if not self.ready.done():
                self.ready.set_exception(error)
        finally:
            self.finished.set_result(None)

    async def _serve(self, store: Store) -> None:
        """Serve requests until the sandbox is closed."""
        # The event is set before the loop, since `request_close` checks the loop first.
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._closing.is_set():
            return
        endpoint = Endpoint(self._config, store, self._generator, self._credentials, script=self._script, lag=self._lag)
        server = Server(endpoint, self._fault_queue, middlewares=self._middlewares)
        live = asyncio.create_task(self._add_live(endpoint, store)) if self._config.live else None
        try:
            base_url = await server.start()
            self._running = RunningSandbox(base_url, server, endpoint, store, self._generator)
            self.ready.set_result(None)
            await self._stop.wait()
        finally:
            if live is not None:
                live.cancel()
            await server.stop()

    async def _add_live(self, endpoint: Endpoint, store: Store) -> None:
        """Add calls that end now, `live` per second."""
        loop = asyncio.get_running_loop()
        rate, began, added = self._config.live, loop.time(), 0
        while True:
            await asyncio.sleep(max(_LIVE_TICK, 1 / rate))
            due = int((loop.time() - began) * rate) - added
            store.add([self._generator.make_ended(int(endpoint.now())) for _ in range(due)])
            added += due

    def _batches(self) -> Iterable[list[Row]]:
        """Return the calls to serve, in ascending order of submission."""
        if self._rows is None:
            return self._generator.batches()
        return [sorted(self._rows, key=lambda row: row.submitted)]

    def _until_closed(self, batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Yield the batches until the sandbox is closed."""
        for batch in batches:
            if self._closing.is_set():
                raise _StoppedEarlyError
            yield batch
