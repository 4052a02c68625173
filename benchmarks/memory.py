"""Memory that runs leave behind: 300 `fetch_all` of 6,000 calls on one client.

Prints the peak of the process after the first runs and after all of them, and fails if it has grown by more than
5 MiB. A run that is part of a reference cycle waits for the garbage collector, which starts by the number of objects,
not by their size, so that the records of many runs would be in memory at once. No full collection runs meanwhile: a
service may have none for minutes. Run: python3 benchmarks/memory.py
"""

import argparse
import asyncio
import gc
import resource
import sys
import time

from course.calls import END, START
from course.figures import describe_machine, print_table
from course.processes import Course
from course.task import KEY, SECRET

from aiosipcdr import CdrClient

CALLS = 6_000
FIRST_RUNS = 10
MAX_GROWTH = 5.0
_NEVER = 1_000_000


def peak() -> float:
    """Return the most MiB that this process has used so far."""
    scale = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


async def fetch(port: int, runs: int) -> list[float]:
    """Fetch `runs` times; return the peak before the first run, after the first ones, and at the end."""
    peaks = [peak()]
    async with CdrClient(f"http://127.0.0.1:{port}/v3/voice", KEY, SECRET) as client:
        for number in range(1, runs + 1):
            records = await client.fetch_all(START, END)
            if len(records) != CALLS or not records.report.certified:
                raise SystemExit(f"the benchmark did not fetch all calls: {records.report}")
            del records
            if number == FIRST_RUNS:
                peaks.append(peak())
    return [*peaks, peak()]


def main() -> None:
    """Measure, print, and fail if the limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    with Course(CALLS) as course:
        gc.set_threshold(700, 10, _NEVER)
        began = time.process_time()
        before, first, last = asyncio.run(fetch(course.port, given.runs))
        cpu = time.process_time() - began
    print(f"{given.runs} runs of {CALLS:,} calls, {cpu:.0f} s of CPU; {describe_machine()}\n")
    growth = last - first
    names = ("MiB before", f"after {FIRST_RUNS} runs", f"after {given.runs}", "growth", "at most", "kept")
    kept = growth <= MAX_GROWTH
    values = (before, first, last, growth, MAX_GROWTH)
    print_table(names, [[*(f"{value:.1f}" for value in values), "yes" if kept else "NO"]])
    if not kept:
        raise SystemExit("runs leave memory behind: look for a reference cycle (tests/client/test_memory.py)")


if __name__ == "__main__":
    main()
