"""pyreqwest: reqwest, a client written in Rust, for asyncio."""

import asyncio
from pathlib import Path

from pyreqwest.client import ClientBuilder

from course.contenders.fan_out import fan_out
from course.contenders.floor import HEADERS
from course.task import Outcome, Task, sign


def pyreqwest_gather(task: Task) -> Outcome:
    """Read all pages."""
    builder = ClientBuilder().no_proxy().error_for_status().max_connections(task.concurrency)
    if task.authority is not None:
        builder = builder.add_root_certificate_pem(Path(task.authority).read_bytes())

    async def main() -> Outcome:
        async with builder.build() as client:

            async def post(body: bytes) -> bytes:
                request = client.post(task.url).headers(HEADERS | sign()).body_bytes(body).build()
                return bytes(await (await request.send()).bytes())

            return await fan_out(task, post)

    return asyncio.run(main())
