"""CPU and elapsed time of the client on asyncio's event loop and on uvloop.

Both run in processes of their own against the same endpoint, interleaved; the
first fetch of a process warms it up. Run: python3 benchmarks/loops.py
"""

import argparse
import os
from contextlib import ExitStack

from course.contenders import CONTENDERS
from course.figures import describe_machine, median, print_table, ratio
from course.processes import Course, Runner
from course.task import Task

NAMES = ("fetch_all", "stream")
LOOPS = ("asyncio", "uvloop")
LATENCIES = (0.0, 0.020)


def measure(calls: int, rounds: int, latency: float) -> list[list[object]]:
    """Return a row for each way of fetching."""
    rows: list[list[object]] = []
    with Course(calls) as course, ExitStack() as stack:
        for name in NAMES:
            runners: dict[str, Runner] = {}
            for loop in LOOPS:
                os.environ["COURSE_LOOP"] = loop
                runners[loop] = stack.enter_context(Runner(name))
                runners[loop].run(Task(course.port))
            course.set_latency(latency)
            cpu: dict[str, list[float]] = {loop: [] for loop in LOOPS}
            wall: dict[str, list[float]] = {loop: [] for loop in LOOPS}
            for _ in range(rounds):
                for loop, runner in runners.items():
                    reported = runner.run(Task(course.port))
                    cpu[loop].append(reported.cpu)
                    wall[loop].append(reported.wall)
            course.set_latency(0.0)
            rows.append(
                [
                    CONTENDERS[name][2],
                    f"{latency * 1e3:.0f}",
                    *(f"{median(cpu[loop]) / calls * 1e6:.1f}" for loop in LOOPS),
                    ratio(cpu["uvloop"], cpu["asyncio"]),
                    ratio(wall["uvloop"], wall["asyncio"]),
                ]
            )
    return rows


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(f"{given.rounds} rounds of {given.calls:,} calls; {describe_machine()}\n")
    rows = [row for latency in LATENCIES for row in measure(given.calls, given.rounds, latency)]
    columns = ("CPU µs a call, asyncio", "CPU µs a call, uvloop", "CPU, uvloop to asyncio", "wall, uvloop to asyncio")
    print_table(("way", "latency ms", *columns), rows)


if __name__ == "__main__":
    main()
