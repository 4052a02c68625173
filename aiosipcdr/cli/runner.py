"""Runner of a command's coroutine, which turns signals into a clean end.

Ctrl-C and SIGTERM both cancel the command's task, so its context managers close everything.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from aiosipcdr.cli.exit_codes import Terminated

__all__ = ["find_fastest_loop", "run_to_end", "terminable"]

T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a new event loop: uvloop's where it is installed (extra `speed`), else asyncio's.

    Raises:
        KeyboardInterrupt: Ctrl-C, after `work` has cleaned up.
        Terminated: SIGTERM, after `work` has cleaned up.
    """
    terminated = False
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    async def guarded() -> T:
        task = asyncio.current_task()

        def end() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, other threads
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        return await work

    try:
        with asyncio.Runner(loop_factory=find_fastest_loop()) as runner:
            return runner.run(guarded())
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise
    finally:
        with suppress(ValueError):  # another thread
            signal.signal(signal.SIGTERM, before)  # the loop has restored the default


def find_fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory of event loops; `None` if it is not installed or cannot be used."""
    try:
        for descriptor in range(3):  # the loop would take the place of a closed one, and libuv aborts when it closes it
            os.fstat(descriptor)
        import uvloop
    except (ImportError, OSError):
        return None
    return uvloop.new_event_loop


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM arrives; no effect outside the main thread."""
    try:
        before = signal.signal(signal.SIGTERM, _terminate)
    except ValueError:  # another thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
