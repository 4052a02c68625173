"""rnet: wreq, a client written in Rust that can pass for a browser, for asyncio."""

import asyncio
from pathlib import Path

import rnet

from course.contenders.fan_out import fan_out
from course.contenders.floor import HEADERS
from course.task import Outcome, Task, sign


def rnet_gather(task: Task) -> Outcome:
    """Read all pages."""

    async def main() -> Outcome:
        client = rnet.Client(no_proxy=True, verify=None if task.authority is None else Path(task.authority))

        async def post(body: bytes) -> bytes:
            response = await client.post(task.url, headers=HEADERS | sign(), body=body)
            if not response.ok:
                raise SystemExit("the endpoint has refused a request")
            return await response.bytes()

        return await fan_out(task, post)

    return asyncio.run(main())
