"""httpx, the other asyncio client, with msgspec instead of pydantic."""

import asyncio

from course.contenders.fan_out import fan_out
from course.contenders.floor import HEADERS
from course.contenders.peers import open_httpx
from course.task import Outcome, Task, sign


def httpx_msgspec(task: Task) -> Outcome:
    """Read all pages."""

    async def main() -> Outcome:
        async with open_httpx(task) as client:

            async def post(body: bytes) -> bytes:
                response = await client.post(task.url, content=body, headers=HEADERS | sign())
                response.raise_for_status()
                return response.content

            return await fan_out(task, post)

    return asyncio.run(main())
