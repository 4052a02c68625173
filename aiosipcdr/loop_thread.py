"""An event loop in a thread of its own, for synchronous code; it belongs to the process that started it."""

import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import wait
from contextlib import AbstractContextManager, suppress
from threading import Event, get_ident
from typing import Final, TypeVar
from weakref import WeakSet

from anyio.from_thread import BlockingPortal, start_blocking_portal

from aiosipcdr.model.errors import ClientStateError

__all__ = ["LoopThread"]

T = TypeVar("T")

# On Windows, Ctrl-C does not interrupt a wait for another thread.
_LONGEST_WAIT: Final = 0.2 if sys.platform == "win32" else None


class LoopThread:
    """An event loop in a thread, and calls into it from other threads."""

    def __init__(self, name: str) -> None:
        """Start a thread with this name."""
        self._process = os.getpid()
        self._context: AbstractContextManager[BlockingPortal] = start_blocking_portal(name=name)
        self._portal = self._context.__enter__()
        self._thread = self._portal.call(get_ident)
        _running.add(self)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that started it."""
        return self._process == os.getpid()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run `function` in the loop and wait for its result; when the wait is interrupted, cancel it first.

        Raises:
            ClientStateError: This is another process, or the loop's own thread.
        """
        self.check()
        ended = Event()

        async def run() -> T:
            try:
                return await function()
            finally:
                ended.set()

        future = None
        try:
            future = self._portal.start_task_soon(run)
            while not wait([future], _LONGEST_WAIT).done:
                pass
            return future.result()
        except BaseException:
            if future is not None and not ended.is_set():  # Ctrl-C
                future.cancel()
                ended.wait()
            raise

    def check(self) -> None:
        """Check that this thread can call into the loop.

        Raises:
            ClientStateError: This is another process, or the loop's own thread.
        """
        if not self.is_here:
            raise ClientStateError("the client was opened in another process: open one after the fork")
        if self._thread == get_ident():
            raise ClientStateError(
                "hooks and callbacks run in the thread of the client's event loop, which cannot wait for itself: call"
                " the client in another thread"
            )

    def finish(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function`, which closes something; in a forked child, where it only forgets, without the loop."""
        if self.is_here:
            self.call(function)
        else:
            _run_at_once(function())

    def stop(self) -> None:
        """End loop and thread; a forked child has neither."""
        if self.is_here:
            _running.discard(self)
            self._context.__exit__(None, None, None)

    def forget(self) -> None:
        """Mark the portal as stopped in a forked child, where garbage collection would wait for it for ever."""
        _run_at_once(self._portal.stop())


def _run_at_once(awaitable: Awaitable[None]) -> None:
    # For coroutines that do not wait for anything.
    with suppress(StopIteration, RuntimeError):  # in debug mode, the parent's loop objects to this thread
        awaitable.__await__().send(None)


_running: WeakSet[LoopThread] = WeakSet()


def _forget_all() -> None:
    for loop in [*_running]:
        loop.forget()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
