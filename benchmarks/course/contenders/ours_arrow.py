"""aiosipcdr's stream as columns; apart from the rest, for it brings pyarrow along."""

import asyncio

import pyarrow as pa  # noqa: F401 - imported here, so that its cost is none of a run's

from course.calls import END, START
from course.contenders.ours import open_client, outcome_of
from course.task import Outcome, Task


def arrow_batches(task: Task) -> Outcome:
    """Take all columns of one window after the other."""

    async def main() -> Outcome:
        calls = 0
        async with open_client(task) as client, client.stream(START, END) as stream:
            async for batch in stream.arrow_batches():
                calls += batch.num_rows
            return outcome_of(calls, stream.report)

    return asyncio.run(main())
