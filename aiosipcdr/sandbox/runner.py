"""The thread in which a sandbox makes its calls and serves them, in a loop of its own.

The caller's loop is never blocked by an answer and none of its tasks is ours. This module
must never leave a thread, a socket or a file behind, however it ends.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

from aiohttp.typedefs import Middleware

from aiosipcdr.sandbox.calls import CallGenerator, Row
from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.endpoint import Endpoint
from aiosipcdr.sandbox.fault_queue import FaultQueue
from aiosipcdr.sandbox.server import Server
from aiosipcdr.sandbox.store import Store
from aiosipcdr.sandbox.validation import AccountKeys

_LIVE_TICK: Final = 0.05


class _StoppedEarlyError(Exception):
    """The sandbox is closed while it still makes its calls."""


@dataclass(frozen=True, slots=True)
class Served:
    """What there is as long as requests are answered."""

    base_url: str
    server: Server
    endpoint: Endpoint
    store: Store
    generator: CallGenerator


class SandboxRunner:
    """One thread, one loop, one server; started once and closed for good.

    Attributes:
        ready: Done when requests are answered, or failed when that cannot be.
        gone: Done when the thread has let go of everything.
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
    ) -> None:
        """Decide what will be served: `rows`, or else generated calls from `start` to `end`.

        `lag` is how many seconds before now the calls' "today" is.
        """
        self.ready: Future[None] = Future()
        self.gone: Future[None] = Future()
        self._config = config
        self._credentials = credentials
        self._lag = lag
        self._generator = CallGenerator(config, start, end)
        self._rows = rows
        self._middlewares = middlewares
        self._fault_queue = fault_queue
        self._thread: Thread | None = None
        self._closing = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._served: Served | None = None

    def launch(self) -> None:
        """Start the thread."""
        if self._thread is not None:
            raise RuntimeError("a sandbox runs once: make another one")
        # Should its owner forget to close it, it does not keep the process alive.
        self._thread = Thread(target=self._run, name="aiosipcdr-sandbox", daemon=True)
        self._thread.start()

    def opened(self) -> Served:
        """Return what only a running sandbox has."""
        if self._served is None:
            raise RuntimeError("the sandbox is not running: use it with `async with` or `with`")
        return self._served

    def reset(self) -> None:
        """Return to the state after the start, between two requests."""
        self.opened()
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._reset(self.opened()), self._loop).result()

    async def _reset(self, served: Served) -> None:
        await served.server.reset()
        self._fault_queue.reset()
        if served.store.is_changed:
            served.generator.rewind()
            served.store.refill(self._batches())
        served.endpoint.reset(self._config, self._credentials)

    def begin_to_close(self) -> None:
        """Tell the thread to end, wherever it is."""
        self._closing.set()
        if self._loop is not None and self._stop is not None:
            # The loop is closed when the thread has ended by itself.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    def close(self) -> None:
        """End the thread and wait for it."""
        self.begin_to_close()
        if self._thread is not None:
            self._thread.join()
        self._served = None

    def _run(self) -> None:
        """Make the calls and serve them until told to stop; the thread's whole life."""
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
        except BaseException as error:  # noqa: BLE001 - raised where the sandbox is opened
            if not self.ready.done():
                self.ready.set_exception(error)
        finally:
            self.gone.set_result(None)

    async def _serve(self, store: Store) -> None:
        """Listen and wait for the end."""
        # The event before the loop: who sees the loop finds the event.
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._closing.is_set():
            return
        endpoint = Endpoint(self._config, store, self._generator, self._credentials, lag=self._lag)
        server = Server(endpoint, self._fault_queue, middlewares=self._middlewares)
        live = asyncio.create_task(self._add_live(endpoint, store)) if self._config.live else None
        try:
            base_url = await server.start()
            self._served = Served(base_url, server, endpoint, store, self._generator)
            self.ready.set_result(None)
            await self._stop.wait()
        finally:
            if live is not None:
                live.cancel()
            await server.stop()

    async def _add_live(self, endpoint: Endpoint, store: Store) -> None:
        """Add calls that end now, as many a second as the switch says."""
        loop = asyncio.get_running_loop()
        rate, began, added = self._config.live, loop.time(), 0
        while True:
            await asyncio.sleep(max(_LIVE_TICK, 1 / rate))
            due = int((loop.time() - began) * rate) - added
            store.add([self._generator.make_ended(int(endpoint.now())) for _ in range(due)])
            added += due

    def _batches(self) -> Iterable[list[Row]]:
        """Return the calls to serve, in the order of submission."""
        if self._rows is None:
            return self._generator.batches()
        return [sorted(self._rows, key=lambda row: row.submitted)]

    def _until_closed(self, batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Pass the batches on, as long as somebody waits for them."""
        for batch in batches:
            if self._closing.is_set():
                raise _StoppedEarlyError
            yield batch
