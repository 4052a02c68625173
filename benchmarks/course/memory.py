"""Memory that one client keeps: 300 times `fetch_all`, the records dropped each time, without a full collection.

A reference cycle that holds records is freed only by a full collection of the garbage collector, which a service may
not run for minutes. The younger generations are collected as usual.

Run: cd benchmarks && python3 -m course.memory TASK   (as JSON; prints MiB)
"""

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from course.calls import END, START
from course.contenders.ours import open_client
from course.task import Task

__all__ = ["measure_kept"]

RUNS = 300
_WARMING = 20
_NEVER = 1_000_000


def measure_kept(task: Task) -> float:
    """Return the MiB by which a fresh process grows from the twentieth to the last run; only on Linux."""
    command = [sys.executable, "-m", "course.memory", msgspec.json.encode(task).decode()]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _run(task: Task) -> float:
    gc.collect()
    gc.set_threshold(700, 10, _NEVER)
    before = 0.0
    async with open_client(task) as client:
        for number in range(RUNS):
            if number == _WARMING:
                before = _resident()
            await client.fetch_all(START, END)
        return _resident() - before


if __name__ == "__main__":
    print(asyncio.run(_run(msgspec.json.decode(sys.argv[1], type=Task))))
