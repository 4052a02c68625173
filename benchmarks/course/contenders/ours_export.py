"""aiosipcdr's exports; apart from the rest, for they bring pyarrow along."""

import asyncio
from pathlib import Path

import pyarrow.csv
import pyarrow.json
import pyarrow.parquet  # noqa: F401 - imported here, so that their cost is none of a run's

from course.calls import END, START
from course.contenders.ours import open_client, outcome_of
from course.task import Outcome, Task


def export(task: Task) -> Outcome:
    """Write a Parquet file."""
    return _export(task, "calls.parquet")


def export_ndjson(task: Task) -> Outcome:
    """Write a line of JSON for each call."""
    return _export(task, "calls.ndjson")


def _export(task: Task, name: str) -> Outcome:
    async def main() -> Outcome:
        async with open_client(task) as client:
            report = await client.export(START, END, Path(task.folder) / name, overwrite=True)
            return outcome_of(report.total, report)

    return asyncio.run(main())
