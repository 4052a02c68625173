"""A process for one contender: runs a task for each line of input and prints its measurement.

Run: cd benchmarks && python3 -m course.runner NAME   (tasks as JSON lines on standard input)
"""

import gc
import os
import resource
import sys
import time

import msgspec

from course.contenders import find_contender
from course.pinning import CLIENT, pin
from course.task import Outcome, Task

__all__ = ["Measured"]


class Measured(msgspec.Struct):
    """What one run took.

    Attributes:
        cpu: seconds of this process, threads and children included.
        wall: seconds.
        calls: how many were read.
        requests: how many it took.
        first: seconds until the first call could be used; None where all come at once.
        peak: MiB of memory at most, since the process began.
        before: MiB before the first run, everything imported.
    """

    cpu: float
    wall: float
    calls: int
    requests: int
    first: float | None
    peak: float
    before: float


def _cpu() -> float:
    reported = os.times()
    return time.process_time() + reported.children_user + reported.children_system


def _peak() -> float:
    scale = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def main(name: str) -> None:
    """Do what the lines ask for."""
    pin(CLIENT)
    contender = find_contender(name)
    before = _peak()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a contender prints is none of our answers
    for line in sys.stdin:
        task = msgspec.json.decode(line, type=Task)
        if task.fork != "no" and (child := os.fork()):
            os.waitpid(child, 0)
            continue
        gc.collect()
        cpu, wall = _cpu(), time.perf_counter()
        outcome = Outcome(0) if task.fork == "idle" else contender(task)
        cpu, wall = _cpu() - cpu, time.perf_counter() - wall
        reported = Measured(cpu, wall, outcome.calls, outcome.requests, outcome.first, _peak(), before)
        out.write(msgspec.json.encode(reported).decode() + "\n")
        if task.fork != "no":
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
