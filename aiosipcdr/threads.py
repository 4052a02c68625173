"""Worker threads and tasks that end before a cancelled task goes on.

`anyio.to_thread` waits for its thread if a cancel scope is cancelled, but not if the task itself is, as by
`asyncio.timeout`: the caller would then close a file or a connection that the thread still uses, which crashes SQLite.
"""

import asyncio
from collections.abc import Callable, Collection
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio

__all__ = ["run_in_thread", "wait_for_end"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a worker thread and return its result; a cancellation is raised when the call has ended."""
    await anyio.lowlevel.checkpoint_if_cancelled()
    call = partial(copy_context().run, function, *args, **kwargs)
    work = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        await wait_for_end([work])
    except asyncio.CancelledError:
        work.exception()  # the cancellation takes its place
        raise
    return work.result()


async def wait_for_end(work: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all of `work` has ended; a cancellation is raised after that."""
    cancelled = None
    while not all(one.done() for one in work):
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(work)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # its traceback keeps this frame
