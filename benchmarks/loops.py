"""CPU and elapsed time of the client on asyncio's event loop and on uvloop, and on other interpreters.

All run in processes of their own against the same endpoint, interleaved; the
first fetch of a process warms it up. Other interpreters need aiohttp, msgspec,
anyio and uvloop; where valgrind is installed, instructions are counted for them.

Run: python3 benchmarks/loops.py [--python PATH]...
"""

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack

from course.contenders import CONTENDERS
from course.figures import describe_machine, median, print_table, ratio
from course.instructions import count_instructions, find_valgrind
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


def compare_interpreters(pythons: list[str], calls: int, rounds: int) -> list[list[object]]:
    """Return a row for each interpreter and loop: `fetch_all`, compared with the first interpreter on asyncio."""
    rows: list[list[object]] = []
    cpu: dict[tuple[str, str], list[float]] = {}
    with Course(calls) as course, ExitStack() as stack:
        runners: dict[tuple[str, str], Runner] = {}
        for python, loop in ((python, loop) for python in pythons for loop in LOOPS):
            _choose(python, loop)
            runner = runners[python, loop] = stack.enter_context(Runner("fetch_all"))
            runner.run(Task(course.port))
            cpu[python, loop] = []
        for _ in range(rounds):
            for key, runner in runners.items():
                cpu[key].append(runner.run(Task(course.port)).cpu)
    reference, first = cpu[pythons[0], LOOPS[0]], 0
    with Course(6_000) as course:
        for (python, loop), seconds in cpu.items():
            _choose(python, loop)
            counted = count_instructions("fetch_all", course, []) if find_valgrind() else 0
            first = first or counted
            version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
            instructions = f"{counted / first:.2f}" if first else "not counted"
            microseconds = f"{median(seconds) / calls * 1e6:.1f}"
            rows.append([f"{version}, {loop}", microseconds, ratio(seconds, reference), instructions])
    return rows


def _choose(python: str, loop: str) -> None:
    sys.executable = python  # what the processes of a course are started with
    os.environ["COURSE_LOOP"] = loop


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", action="append", default=[], help="another interpreter to compare with this one")
    given = parser.parse_args()
    print(f"{given.rounds} rounds of {given.calls:,} calls; {describe_machine()}\n")
    rows = [row for latency in LATENCIES for row in measure(given.calls, given.rounds, latency)]
    columns = ("CPU µs a call, asyncio", "CPU µs a call, uvloop", "CPU, uvloop to asyncio", "wall, uvloop to asyncio")
    print_table(("way", "latency ms", *columns), rows)
    if given.python:
        rows = compare_interpreters([sys.executable, *given.python], given.calls, given.rounds)
        print_table(("fetch_all on", "CPU µs a call", "CPU, to the first", "instructions, to the first"), rows)


if __name__ == "__main__":
    main()
