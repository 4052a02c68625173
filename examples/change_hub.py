"""Changes for many callers: one feed, a bounded buffer and server-sent events that resume by id.

An event's id is its change's `key`. A caller that sends the id it received last as `Last-Event-ID`, as browsers do when
they reconnect, gets the changes after it. A caller without an id, or with one that is not buffered (too old, or of
another process), gets the event `reset` first: it has missed changes, and reads the calls that it shows again.

Callers have no queues: each has a position in the one buffer, which holds encoded events. Slow callers are
disconnected, and resume by id.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import argparse
import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from secrets import token_hex

import anyio
from sandboxed import sandbox_in_environment

from aiosipcdr import CdrClient, Change, ChangeFeed, SipCdrError
from aiosipcdr.sandbox import Sandbox

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
"""Headers of a stream of events; nginx must not buffer it."""

MEDIA_TYPE = "text/event-stream"

_BATCH = 50
"""Events that are sent at once, and changes that are published before callers get a turn."""

logger = logging.getLogger(__name__)


class ChangeHub:
    """Passes the changes of one feed on to many callers.

    Attributes:
        readers: The callers that are connected.
    """

    def __init__(
        self, size: int = 10_000, *, max_readers: int = 1_000, keep_alive: float = 15, patience: float = 30
    ) -> None:
        """Begin without events.

        Args:
            size: The most events that are buffered, about 1 KB each. At least a few times `_BATCH`.
            max_readers: The most callers at once.
            keep_alive: Seconds without an event after which a comment is sent: proxies close silent connections.
            patience: Seconds that a caller may take to read what was sent before it is disconnected.
        """
        self.readers: set[Reader] = set()
        self._size = size
        self._max_readers = max_readers
        self._keep_alive = keep_alive
        self._patience = patience
        # The buffered events by id. The position after an event is also that before the next one; positions are never
        # reused.
        self._events: deque[tuple[str, bytes]] = deque()
        self._first = 0
        self._id_before = self._last_id = f"start-{token_hex(8)}"  # of this process
        self._positions = {self._last_id: 0}
        self._published = asyncio.Event()
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether another caller can be served: answer 503 otherwise."""
        return not self._is_closed and len(self.readers) < self._max_readers

    @asynccontextmanager
    async def run(self, feed: ChangeFeed) -> AsyncIterator[None]:
        """Publish the changes of `feed` during the block; disconnect all callers at its end."""
        async with feed:
            task = asyncio.create_task(self._follow(feed), name="changes")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def _follow(self, feed: ChangeFeed) -> None:
        try:
            async for change in feed:
                self.publish(change)
                if self._end % _BATCH == 0:
                    await asyncio.sleep(0)  # changes of one poll come without a pause
        except SipCdrError:
            logger.exception("the feed of changes has ended; mend this and restart the service")
        finally:
            self.close()

    @property
    def _end(self) -> int:
        return self._first + len(self._events)

    def publish(self, change: Change) -> None:
        """Buffer a change, and disconnect the callers that still need the oldest one if there is no room for both."""
        if change.key in self._positions:
            return  # yielded again
        event = f"event: {change.kind}\nid: {change.key}\ndata: {change.to_json()}\n\n".encode()
        self._events.append((change.key, event))
        self._last_id = change.key
        self._positions[change.key] = self._end
        if len(self._events) > self._size:
            del self._positions[self._id_before]
            self._id_before, _ = self._events.popleft()
            self._first += 1
            for reader in self.readers:
                if reader.position < self._first:
                    reader.scope.cancel()
        self._wake()

    def close(self) -> None:
        """Disconnect all callers, and admit no more of them."""
        self._is_closed = True
        for reader in self.readers:
            reader.scope.cancel()

    async def send(self, last_event_id: str | None, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Send events to one caller until it leaves or has to be disconnected.

        Args:
            last_event_id: The request's `Last-Event-ID`.
            write: Sends bytes; returns when there is room for more, and raises OSError if the caller has left.
        """
        with anyio.CancelScope() as scope:
            reader = Reader(scope, self._positions.get(last_event_id or "", self._end))
            is_known = last_event_id in self._positions
            self.readers.add(reader)
            try:
                if not is_known:
                    await self._write(f"event: reset\nid: {self._last_id}\ndata: {{}}\n\n".encode(), write)
                while not scope.cancel_called:
                    await self._write(await self._take(reader), write)
            except OSError:  # also TimeoutError
                return
            finally:
                self.readers.discard(reader)

    async def _write(self, data: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        with anyio.fail_after(self._patience):
            await write(data)

    async def _take(self, reader: "Reader") -> bytes:
        if reader.position == self._end:
            with anyio.move_on_after(self._keep_alive):
                await self._published.wait()
        if reader.position == self._end:
            return b": waiting\n\n"
        begin = reader.position - self._first
        batch = [self._events[place][1] for place in range(begin, min(begin + _BATCH, len(self._events)))]
        reader.position += len(batch)
        return b"".join(batch)

    def _wake(self) -> None:
        self._published.set()
        self._published = asyncio.Event()


class Reader:
    """A caller that is connected.

    Attributes:
        scope: Cancelling it disconnects the caller.
        position: Number of the event that it gets next.
    """

    def __init__(self, scope: anyio.CancelScope, position: int) -> None:
        """Begin at `position`."""
        self.scope = scope
        self.position = position


OpenFeed = Callable[[CdrClient], ChangeFeed]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a service that follows changes."""
    parser.add_argument("--sandbox", action="store_true", help="follow generated calls; one arrives every two seconds")
    parser.add_argument("--every", type=float, default=60, help="seconds between two polls")
    parser.add_argument("--since", type=datetime.fromisoformat, help="begin of the feed, with an offset; default: now")
    parser.add_argument("--checkpoint", help="file of acknowledged changes, to go on after a restart")
    parser.add_argument("--buffer", type=int, default=10_000, help="changes that are kept for callers that reconnect")


@contextmanager
def account_and_feed(options: argparse.Namespace) -> Iterator[OpenFeed]:
    """Give what opens the feed of the options; the account is in the environment during the block."""
    since, every, lookback = options.since, options.every, timedelta(hours=6)
    with sandbox_in_environment(wanted=options.sandbox) as sandbox:
        stopped = threading.Event()
        if sandbox is not None:
            # Its calls arrive late: they are listed hours before now.
            since, every, lookback = since or sandbox.end, min(every, 1.0), timedelta(days=3650)
            threading.Thread(target=_insert_calls, args=(sandbox, stopped), daemon=True).start()
        try:
            yield lambda client: client.follow(since, every=every, lookback=lookback, checkpoint=options.checkpoint)
        finally:
            stopped.set()


def _insert_calls(sandbox: Sandbox, stopped: threading.Event) -> None:
    while not stopped.wait(2):
        sandbox.insert(at=sandbox.end + timedelta(minutes=1))
