"""Elapsed time compared with the minimum that latency allows, and the cost of one more call.

The ideal is (requests / concurrency + 2) × latency: the range's first page,
then the others, so many at a time, then the last control count. Run:
python3 benchmarks/latency.py
"""

import argparse
from contextlib import ExitStack

from course.contenders import CONTENDERS
from course.figures import describe_machine, median, print_table
from course.processes import Course, Runner
from course.task import Task

LATENCIES = (0.0, 0.020, 0.100)
CONCURRENCIES = (1, 8, 16, 32)
NAMES = ("fetch_all", "stream", "pages", "httpx")
"""Those that send several requests at once."""


def measure(
    calls: int, rounds: int, latencies: tuple[float, ...], concurrencies: tuple[int, ...]
) -> list[list[object]]:
    """Return a row for each latency and concurrency."""
    rows: list[list[object]] = []
    with Course(calls) as course, ExitStack() as stack:
        runners = [stack.enter_context(Runner(name)) for name in NAMES]
        for runner in runners:
            runner.run(Task(course.port))
        for latency in latencies:
            course.set_latency(latency)
            for concurrency in concurrencies:
                walls: dict[str, list[float]] = {name: [] for name in NAMES}
                requests = dict.fromkeys(NAMES, 0)
                for _ in range(rounds):
                    for runner in runners:
                        reported = runner.run(Task(course.port, concurrency))
                        walls[runner.name].append(reported.wall)
                        requests[runner.name] = reported.requests
                row: list[object] = [f"{calls:,}", f"{latency * 1e3:.0f}", concurrency]
                for name in NAMES:
                    slowest, wall, fastest = max(walls[name]), median(walls[name]), min(walls[name])
                    ideal = (requests[name] / concurrency + 2) * latency
                    share = (
                        f"{wall:.2f} s, {ideal / wall:.0%} ({ideal / slowest * 100:.0f}–{ideal / fastest * 100:.0f})"
                    )
                    if not latency:
                        share = f"{calls / wall:,.0f} calls/s ({calls / slowest:,.0f}–{calls / fastest:,.0f})"
                    row.append(share)
                rows.append(row)
    return rows


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--calls-one-by-one", type=int, default=5_000, help="at concurrency 1")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"{given.rounds} rounds; {describe_machine()}\n")
    rows = measure(given.calls_one_by_one, given.rounds, LATENCIES, CONCURRENCIES[:1])
    rows += measure(given.calls, given.rounds, LATENCIES, CONCURRENCIES[1:])
    names = [CONTENDERS[name][2] for name in NAMES]
    print_table(("calls", "latency ms", "concurrency", *(f"{name}: wall, share of the ideal" for name in names)), rows)


if __name__ == "__main__":
    main()
