"""aiosipcdr, as its users use it: every check, retries at the ready, the proof on."""

import asyncio
import time
from pathlib import Path

from aiosipcdr import CdrClient, FetchReport
from course.calls import END, START
from course.task import KEY, SECRET, Outcome, Task


def _client(task: Task) -> CdrClient:
    return CdrClient(f"http://127.0.0.1:{task.port}/v3/voice", KEY, SECRET, concurrency=task.concurrency)


def _outcome(calls: int, report: FetchReport, first: float | None = None) -> Outcome:
    if not report.certified or report.total != calls or report.retries or report.anomalies:
        raise SystemExit(f"not as it should be: {report}")
    return Outcome(calls, report.requests, first)


def fetch_all(task: Task) -> Outcome:
    """Fetch everything into a list."""

    async def main() -> Outcome:
        async with _client(task) as client:
            records = await client.fetch_all(START, END)
            return _outcome(len(records), records.report)

    return asyncio.run(main())


def stream(task: Task) -> Outcome:
    """Take one call after the other."""

    async def main() -> Outcome:
        began, first, calls = time.perf_counter(), None, 0
        async with _client(task) as client, client.stream(START, END) as stream:
            async for _ in stream:
                if first is None:
                    first = time.perf_counter() - began
                calls += 1
            return _outcome(calls, stream.report, first)

    return asyncio.run(main())


def export(task: Task) -> Outcome:
    """Write a Parquet file."""

    async def main() -> Outcome:
        async with _client(task) as client:
            report = await client.export(START, END, Path(task.folder) / "calls.parquet", overwrite=True)
            return _outcome(report.total, report)

    return asyncio.run(main())
