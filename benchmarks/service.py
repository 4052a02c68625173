"""Load test of a service: two hundred concurrent callers on one client.

The FastAPI example runs in its own process and fetches from a sandbox in another;
the callers are in this one. Two loads, each bounded in time: small requests (an hour
of calls), and two hundred large responses at once (a day and a half each), all read
to their end and certified. Prints requests per second, latencies, and the memory of
the service's process.

    python3 benchmarks/service.py
"""

import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from aiosipcdr.sandbox import SandboxProcess

CALLERS = 200
SECONDS = 10.0
CALLS = 100_000
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "fastapi_app.py"


@contextmanager
def service(sandbox: SandboxProcess) -> Iterator[tuple[str, int]]:
    """Run the example while the block runs; give its address and its process's id."""
    account = {
        "AIOSIPCDR_BASE_URL": sandbox.base_url,
        "AIOSIPCDR_API_KEY": sandbox.api_key,
        "AIOSIPCDR_API_SECRET": sandbox.api_secret,
    }
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "--port", "0", "--quiet"],
        env={**os.environ, **account},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr or ():
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0], process.pid
                break
        else:
            raise SystemExit("the example did not start")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def memory(process: int, figure: str) -> float:
    """Return MiB that a process holds ("VmRSS"), or its maximum ("VmHWM"); Linux only."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition(f"{figure}:")[2].split()[0]) / 1024


async def read(browser: ClientSession, start: datetime, span: timedelta) -> tuple[float, int]:
    """Read an answer to its end; return the seconds and the calls in it."""
    began, lines, line = time.perf_counter(), 0, b""
    asked = urlencode({"start": start.isoformat(), "end": (start + span).isoformat()})
    async with browser.get(f"/calls.ndjson?{asked}") as answer:
        async for line in answer.content:  # noqa: B007 - the last one is looked at
            lines += 1
    if b'"certified":true' not in line:
        raise SystemExit(f"not certified: {answer.status}")
    return time.perf_counter() - began, lines - 1


async def measure(browser: ClientSession, sandbox: SandboxProcess, name: str, span: timedelta, rounds: float) -> None:
    """Let every caller ask again and again, `rounds` times or until the time is over; print a row."""
    answers: list[tuple[float, int]] = []
    room = sandbox.end - sandbox.start - span
    began = time.perf_counter()

    async def call(number: int) -> None:
        turn = 0
        while turn < rounds and time.perf_counter() - began < SECONDS:
            place = (number + turn * CALLERS) * 7919 % 10_007 / 10_007
            answers.append(
                await read(browser, sandbox.start + timedelta(seconds=int(room.total_seconds() * place)), span)
            )
            turn += 1

    await asyncio.gather(*(call(number) for number in range(CALLERS)))
    elapsed = time.perf_counter() - began
    seconds = sorted(second for second, _ in answers)
    calls = sum(count for _, count in answers)
    print(
        f"| {name} | {len(answers):,} | {len(answers) / elapsed:,.0f} | {calls / elapsed:,.0f} |"
        f" {statistics.median(seconds):.2f} | {seconds[len(seconds) * 95 // 100]:.2f} |",
        end="",
    )


async def main() -> None:
    """Print one row for each load."""
    print("| load | answers | answers a second | calls a second | median s | 95 % s | MiB at the end | MiB at most |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    loads = [("an hour each, again and again", timedelta(hours=1), float("inf"))]
    loads += [("36 hours each, all at once", timedelta(hours=36), 1)]
    with SandboxProcess(records=CALLS) as sandbox:
        for load in loads:
            with service(sandbox) as (address, process):
                async with ClientSession(
                    address, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=120)
                ) as browser:
                    await read(browser, sandbox.start, timedelta(hours=1))  # every import is done
                    idle = memory(process, "VmRSS")
                    await measure(browser, sandbox, *load)
                print(f" {memory(process, 'VmRSS'):.0f} | {memory(process, 'VmHWM'):.0f} |")
    print(f"\nBefore the load, the service holds {idle:.0f} MiB.")


if __name__ == "__main__":
    asyncio.run(main())
