"""What else people write: httpx with pydantic, and requests one page after the other."""

import asyncio
import ssl
import time
from datetime import datetime
from decimal import Decimal

import httpx
import requests
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from course.task import Outcome, Task, body_of, sign


class Call(BaseModel):
    """A call with the types that a bill needs."""

    model_config = ConfigDict(alias_generator=to_camel)

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


class Data(BaseModel):
    """A page."""

    total: int
    pages: int
    records: list[Call]


class Answer(BaseModel):
    """Its envelope."""

    status: str
    data: Data


def open_httpx(task: Task) -> httpx.AsyncClient:
    """Return a client that reads no environment, and makes a TLS context only if it needs one."""
    limits = httpx.Limits(max_connections=task.concurrency, max_keepalive_connections=task.concurrency)
    # By default its context is built anew for each client, whether it is needed or not.
    verify = False if task.authority is None else ssl.create_default_context(cafile=task.authority)
    return httpx.AsyncClient(limits=limits, trust_env=False, verify=verify)


def httpx_gather(task: Task) -> Outcome:
    """Read page 1, then all others under one gather."""

    async def main() -> Outcome:
        began = time.perf_counter()
        places = asyncio.Semaphore(task.concurrency)
        async with open_httpx(task) as client:

            async def post(current: int) -> Data:
                async with places:
                    response = await client.post(task.url, json=body_of(current), headers=sign())
                response.raise_for_status()
                return Answer.model_validate_json(task.plain(response.content)).data

            data = await post(1)
            first = time.perf_counter() - began
            others = await asyncio.gather(*(post(current) for current in range(2, data.pages + 1)))
        calls = [call for page in (data, *others) for call in page.records]
        return Outcome(len(calls), data.pages, first)

    return asyncio.run(main())


def requests_loop(task: Task) -> Outcome:
    """Read one page after the other into dicts, as the vendor's samples do."""
    began, first, calls, current = time.perf_counter(), None, [], 1
    with requests.Session() as session:
        session.trust_env = False
        session.verify = task.authority or True
        while True:
            response = session.post(task.url, json=body_of(current), headers=sign(), timeout=60)
            response.raise_for_status()
            data = response.json()["data"]
            calls += data["records"]
            if first is None:
                first = time.perf_counter() - began
            if current >= data["pages"]:
                return Outcome(len(calls), current, first)
            current += 1
