"""niquests: the successor of requests, on asyncio."""

import asyncio

import niquests

from course.contenders.fan_out import fan_out
from course.contenders.floor import HEADERS
from course.task import Outcome, Task, sign


def niquests_gather(task: Task) -> Outcome:
    """Read all pages."""

    async def main() -> Outcome:
        async with niquests.AsyncSession(pool_maxsize=task.concurrency) as session:
            session.trust_env = False
            session.verify = task.authority or True

            async def post(body: bytes) -> bytes:
                response = await session.post(task.url, data=body, headers=HEADERS | sign())
                response.raise_for_status()
                content = response.content
                assert content is not None
                return content

            return await fan_out(task, post)

    return asyncio.run(main())
