"""aiosipcdr, as its users use it: every check, retries at the ready, the proof on."""

import asyncio
import os
import ssl
import time
from collections.abc import Coroutine

from aiosipcdr import CdrClient, FetchReport
from course.calls import END, START
from course.task import KEY, SECRET, Outcome, Task


def open_client(task: Task) -> CdrClient:
    """Return a client for the endpoint of `task`."""
    context = None if task.authority is None else ssl.create_default_context(cafile=task.authority)
    return CdrClient(task.base_url, KEY, SECRET, concurrency=task.concurrency, ssl_context=context)


def outcome_of(calls: int, report: FetchReport, first: float | None = None) -> Outcome:
    """Tell what a run came to, which must have been without any trouble."""
    if not report.certified or report.total != calls or report.retries or report.anomalies:
        raise SystemExit(f"not as it should be: {report}")
    return Outcome(calls, report.requests, first)


def run(work: Coroutine[None, None, Outcome]) -> Outcome:
    """Run `work` on asyncio's event loop, or on uvloop where COURSE_LOOP says so."""
    if os.environ.get("COURSE_LOOP") != "uvloop":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


def fetch_all(task: Task) -> Outcome:
    """Fetch everything into a list."""

    async def main() -> Outcome:
        async with open_client(task) as client:
            records = await client.fetch_all(START, END)
            return outcome_of(len(records), records.report)

    return run(main())


def stream(task: Task) -> Outcome:
    """Take one call after the other."""

    async def main() -> Outcome:
        began, first, calls = time.perf_counter(), None, 0
        async with open_client(task) as client, client.stream(START, END) as stream:
            async for _ in stream:
                if first is None:
                    first = time.perf_counter() - began
                calls += 1
            return outcome_of(calls, stream.report, first)

    return run(main())
