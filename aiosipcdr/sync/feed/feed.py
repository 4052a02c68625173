"""Feed of changes as its caller sees it: an async context manager and iterator.

Light: the modules that poll are loaded with the first feed.
"""

import asyncio
from types import TracebackType
from typing import Protocol, Self

import anyio

from aiosipcdr.model.changes import Change
from aiosipcdr.model.errors import ClientStateError
from aiosipcdr.model.sync import SyncReport
from aiosipcdr.threads import run_in_thread, wait_for_end

__all__ = ["ChangeFeed"]


class FeedRunner(Protocol):
    """What polls for a feed; see `aiosipcdr.sync.feed.follower.Follower`."""

    last_poll: SyncReport | None

    def open(self) -> None:
        """Open the checkpoint; blocks."""
        ...

    def close(self) -> None:
        """Close the checkpoint; blocks."""
        ...

    async def run(self) -> None:
        """Poll until the end."""
        ...

    async def take(self) -> Change:
        """Acknowledge the last change and return the next one."""
        ...


class ChangeFeed:
    """The changes of the vendor's list of calls; an async context manager that is iterated by one task.

        async with client.follow(since=start, checkpoint="calls.checkpoint") as feed:
            async for change in feed:
                print(change.kind, change.record.voice_id)

    Asking for the next change acknowledges the last one. A change that was not acknowledged is yielded again by the
    next feed with the same checkpoint, with the same `key` if the call is still the same. While the caller works on a
    change, nothing is read ahead but the rest of the reading that the change belongs to. Leaving the context ends the
    feed; a feed is entered once.

    Iterating raises what no waiting mends: see `CdrClient.follow`.
    """

    def __init__(self, runner: FeedRunner) -> None:
        """Prepare a feed; nothing is read or written before the context is entered."""
        self._runner = runner
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[None] | None = None
        self._is_entered = False
        self._is_left = False
        self._is_taken = False

    @property
    def last_poll(self) -> SyncReport | None:
        """The report of the last poll that ended; `None` before."""
        return self._runner.last_poll

    async def __aenter__(self) -> Self:
        """Open and lock the checkpoint, and start polling.

        Raises:
            ExportConflictError: Another feed uses the checkpoint, or it belongs to another account or other filters.
            JournalDamagedError: The checkpoint is damaged.
            StorageError: The checkpoint cannot be read or written.
        """
        if self._is_entered:
            raise ClientStateError("a feed is entered once: follow again")
        self._is_entered = True
        try:
            await run_in_thread(self._runner.open)
        except BaseException:
            await self._close()
            raise
        self._task = asyncio.create_task(self._run(), name="aiosipcdr-feed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the feed, and store what was acknowledged."""
        self._is_left = True
        task, self._task = self._task, None
        self._scope.cancel()
        try:
            if task is not None:
                await wait_for_end([task])
        finally:
            await self._close()

    def __aiter__(self) -> Self:
        """Return the feed itself."""
        return self

    async def __anext__(self) -> Change:
        """Acknowledge the last change, wait for the next one and return it.

        Raises:
            ClientStateError: The context was not entered, or was left, or another task waits for a change.
        """
        if not self._is_entered or self._is_left:
            raise ClientStateError("enter the feed first: async with client.follow(...) as feed")
        if self._is_taken:
            raise ClientStateError("another task waits for the next change: iterate a feed in one task")
        self._is_taken = True
        try:
            return await self._runner.take()
        finally:
            self._is_taken = False

    async def _run(self) -> None:
        with self._scope:
            await self._runner.run()

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await run_in_thread(self._runner.close)
