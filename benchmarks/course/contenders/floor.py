"""The lower bound: a plain loop over the same two libraries.

aiohttp and a typed msgspec decoder with the same concurrency; no retry, no check,
no order, no proof.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import aiohttp
import msgspec

from course.task import Outcome, Task, body_of, sign


class Call(msgspec.Struct, gc=False, rename="camel"):
    """A call with the types that a bill needs; an empty text stays one."""

    voice_id: str
    sip_group_name: str | None = None
    phone_name: str | None = None
    callee: str | None = None
    display_num: str | None = None
    code: str | None = None
    submit_time: datetime | None = None
    call_time: datetime | None = None
    ringing_time: datetime | None = None
    answer_time: datetime | None = None
    hangup_time: datetime | None = None
    call_duration: int | None = None
    charged_duration: int | None = None
    termination_code: str | None = None
    termination_reason: str | None = None
    cost: Decimal | None = None
    bill_period: str | None = None
    rate: Decimal | None = None
    recording_file_id: str | None = None
    currency: str | None = None
    settle_rate: Decimal | None = None
    quote_exchange: Decimal | None = None
    settle_pay: Decimal | None = None


class Data(msgspec.Struct):
    """A page."""

    total: int
    pages: int
    records: list[Call]


class Answer(msgspec.Struct):
    """Its envelope."""

    status: str
    data: Data


decode = msgspec.json.Decoder(Answer).decode
HEADERS = {"Content-Type": "application/json;charset=UTF-8"}


def verification(task: Task) -> ssl.SSLContext | bool:
    """Return how aiohttp verifies the endpoint."""
    return True if task.authority is None else ssl.create_default_context(cafile=task.authority)


class _Loop:
    def __init__(self, task: Task, session: aiohttp.ClientSession) -> None:
        self._task = task
        self._url = task.url
        self._session = session
        self._ssl = verification(task)
        self.calls: list[Call] = []

    async def post(self, body: bytes) -> Data:
        async with self._session.post(self._url, data=body, headers=HEADERS | sign(), ssl=self._ssl) as response:
            return decode(self._task.plain(await response.read())).data

    async def _work(self, bodies: Iterator[bytes]) -> None:
        for body in bodies:
            self.calls.extend((await self.post(body)).records)

    async def post_all(self, bodies: Iterator[bytes]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._task.concurrency):
                tasks.create_task(self._work(bodies))


def replay(task: Task) -> Outcome:
    """Send the requests of `task.bodies`."""

    async def main() -> Outcome:
        async with aiohttp.ClientSession() as session:
            loop = _Loop(task, session)
            await loop.post_all(iter([body.encode() for body in task.bodies]))
        return Outcome(len(loop.calls), len(task.bodies))

    return asyncio.run(main())


def read_pages(task: Task) -> Outcome:
    """Read page 1, then all others that it reports."""
    return fetch_pages(task)[0]


def fetch_pages(task: Task) -> tuple[Outcome, list[Call]]:
    """Return the calls of all pages, too."""

    async def main() -> tuple[Outcome, list[Call]]:
        began = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            loop = _Loop(task, session)
            data = await loop.post(msgspec.json.encode(body_of(1)))
            first, pages = time.perf_counter() - began, data.pages
            loop.calls += data.records
            await loop.post_all(msgspec.json.encode(body_of(current)) for current in range(2, pages + 1))
        return Outcome(len(loop.calls), pages, first), loop.calls

    return asyncio.run(main())
