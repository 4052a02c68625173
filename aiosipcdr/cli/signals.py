"""SIGTERM as an exception, from the first moment on and until the last.

The kernel ignores SIGTERM for a container's first process (PID 1) unless the process handles it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from aiosipcdr.cli.exits import Terminated

__all__ = ["terminable"]


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM arrives; does nothing outside of the main thread."""
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
