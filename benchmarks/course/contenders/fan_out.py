"""The shape of an asyncio contender: page 1, then all others that it reports, so many at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec

from course.contenders.floor import decode
from course.task import Outcome, Task, body_of

__all__ = ["fan_out"]


async def fan_out(task: Task, post: Callable[[bytes], Awaitable[bytes]]) -> Outcome:
    """Read all pages with `post`, which sends a signed request and returns the body of its answer; typed by msgspec."""
    began = time.perf_counter()

    async def read(current: int) -> int:
        data = decode(task.plain(await post(msgspec.json.encode(body_of(current))))).data
        calls.extend(data.records)
        return data.pages

    async def work() -> None:
        while (current := next(numbers)) <= pages:
            await read(current)

    calls: list[object] = []
    numbers = count(2)
    pages = await read(1)
    first = time.perf_counter() - began
    async with asyncio.TaskGroup() as tasks:
        for _ in range(task.concurrency):
            tasks.create_task(work())
    return Outcome(len(calls), pages, first)
