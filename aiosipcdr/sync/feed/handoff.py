"""Handoff of changes from the task that polls to the caller: asking for the next change acknowledges the last one."""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["Handoff"]

T = TypeVar("T")


class Handoff(Generic[T]):
    """One producer, one consumer; a few items at a time, and none is buffered beyond them."""

    def __init__(self) -> None:
        """Start without items."""
        self._items: Sequence[T] = ()
        self._taken = 0
        self._acknowledged = 0
        self._error: BaseException | None = None
        self._is_ended = False
        self._changed = asyncio.Event()

    @property
    def acknowledged(self) -> int:
        """Number of the items offered last that were acknowledged."""
        return self._acknowledged

    async def offer(self, items: Sequence[T]) -> None:
        """Offer items, and return when all of them were acknowledged."""
        self._items, self._taken, self._acknowledged = items, 0, 0
        try:
            while self._acknowledged < len(items):
                self._notify()
                await self._wait()
        finally:
            self._items = self._items[: self._taken]  # no more of them

    def end(self, error: BaseException | None = None) -> None:
        """Let the consumer end, with an error if there is one; the first call counts."""
        if not self._is_ended:
            self._is_ended, self._error = True, error
        self._notify()

    async def take(self) -> T:
        """Acknowledge the last item and return the next one.

        Raises:
            StopAsyncIteration: The producer has ended.
        """
        if self._acknowledged < self._taken:
            self._acknowledged = self._taken
            if self._acknowledged == len(self._items):
                self._notify()
        while True:
            if self._taken < len(self._items):
                self._taken += 1
                return self._items[self._taken - 1]
            if self._is_ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self) -> None:
        await self._changed.wait()
