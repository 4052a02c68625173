"""The lower bound: a plain loop over the same two libraries.

aiohttp and a typed msgspec decoder with the same concurrency; no retry, no check,
no order, no proof.
"""

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import msgspec

from aiosipcdr import CallDetailRecord
from course.task import Outcome, Task, body_of, sign


class Data(msgspec.Struct):
    """A page."""

    total: int
    pages: int
    records: list[CallDetailRecord]


class Answer(msgspec.Struct):
    """Its envelope."""

    status: str
    data: Data


decode = msgspec.json.Decoder(Answer).decode
_HEADERS = {"Content-Type": "application/json;charset=UTF-8"}


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> Data:
    async with session.post(url, data=body, headers=_HEADERS | sign()) as response:
        return decode(await response.read()).data


async def _work(
    session: aiohttp.ClientSession, url: str, bodies: Iterator[bytes], calls: list[CallDetailRecord]
) -> None:
    for body in bodies:
        calls.extend((await _post(session, url, body)).records)


def replay(task: Task) -> Outcome:
    """Send the requests of `task.bodies`."""

    async def main() -> Outcome:
        calls: list[CallDetailRecord] = []
        bodies = iter([body.encode() for body in task.bodies])
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for _ in range(task.concurrency):
                tasks.create_task(_work(session, task.url, bodies, calls))
        return Outcome(len(calls), len(task.bodies))

    return asyncio.run(main())


def read_pages(task: Task) -> Outcome:
    """Read page 1, then all others that it reports."""
    return fetch_pages(task)[0]


def fetch_pages(task: Task) -> tuple[Outcome, list[CallDetailRecord]]:
    """Return the calls of all pages, too."""

    async def main() -> tuple[Outcome, list[CallDetailRecord]]:
        began = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            data = await _post(session, task.url, msgspec.json.encode(body_of(1)))
            first, calls, pages = time.perf_counter() - began, data.records, data.pages
            bodies = iter([msgspec.json.encode(body_of(current)) for current in range(2, pages + 1)])
            async with asyncio.TaskGroup() as tasks:
                for _ in range(task.concurrency):
                    tasks.create_task(_work(session, task.url, bodies, calls))
        return Outcome(len(calls), pages, first), calls

    return asyncio.run(main())
