"""Client CPU of several libraries for the same calls, compared with the goals.

The endpoint runs in a process of its own, each contender in another, pinned to
different cores if the system allows it. Every round starts each contender
anew, warms it up with a few calls, and lets it fetch all of them twice: first
with fresh memory, as in a nightly job, then again, as in a service. The medians of
the rounds' ratios are compared.
Run: python3 benchmarks/race.py
"""

import argparse
import random
import tempfile
from operator import attrgetter
from pathlib import Path

from course.chart import draw_bars
from course.contenders import CONTENDERS
from course.figures import Ratio, describe_machine, median, print_table, ratio
from course.instructions import count_instructions, find_valgrind
from course.processes import Course, Runner
from course.runner import Measured
from course.task import Task

_WARMING = 2_000

Rounds = dict[str, list[Measured]]

GOALS = [
    ("fetch_all to the floor, the same requests", "fetch_all", "floor", "at most", 1.10),
    ("fetch_all to pages alone, end to end", "fetch_all", "pages", "at most", 1.20),
    ("stream to fetch_all", "stream", "fetch_all", "at most", 1.10),
    ("httpx and pydantic to fetch_all", "httpx", "fetch_all", "at least", 7.0),
    ("dlt's client to fetch_all", "dlt", "fetch_all", "at least", 5.5),
    ("dlt's pipeline to export", "pipeline", "export", "at least", 12.0),
]
"""What is compared, who with whom, and the bound for the CPU of a call."""


def race(calls: int, rounds: int, concurrency: int) -> tuple[Rounds, Rounds, dict[str, float]]:
    """Run every contender once a round, in another order each time.

    Returns:
        What the first runs took, what the second ones did, and the endpoint's CPU seconds for a request.
    """
    first: Rounds = {name: [] for name in CONTENDERS}
    again: Rounds = {name: [] for name in CONTENDERS}
    server = dict.fromkeys(CONTENDERS, 0.0)
    with tempfile.TemporaryDirectory() as folder, Course(calls) as course, Course(_WARMING) as small:
        task, warming = record(course, concurrency, folder), record(small, concurrency, folder)
        for number in range(rounds):
            for name in random.Random(number).sample(list(CONTENDERS), len(CONTENDERS)):
                with Runner(name) as runner:
                    for _ in range(2):
                        runner.run(warming)
                    course.reset()
                    first[name].append(runner.run(task))
                    stats = course.stats()
                    again[name].append(runner.run(task))
                if stats["requests"] != first[name][-1].requests:
                    raise SystemExit(f"{name} reports other requests than the {stats['requests']} that were received")
                for one in (first[name][-1], again[name][-1]):
                    if one.calls < course.calls or one.requests != stats["requests"]:
                        raise SystemExit(f"{name} has read {one.calls} calls in {one.requests} requests")
                server[name] += stats["cpu"] / stats["requests"] / rounds
    return first, again, server


def record(course: Course, concurrency: int, folder: str) -> Task:
    """Return the task to fetch all calls of `course`, with the requests that `fetch_all` sends for it."""
    with Runner("fetch_all") as runner:
        course.record()
        runner.run(Task(course.port, concurrency))
        return Task(course.port, concurrency, course.seen(), folder)


def compare(reported: Rounds, name: str, other: str) -> Ratio:
    """Compare the CPU of two contenders for one call."""
    own, reference = ([one.cpu / one.calls for one in reported[each]] for each in (name, other))
    return ratio(own, reference)


def print_results(reported: Rounds, again: Rounds, server: dict[str, float]) -> None:
    """Print a row for each contender, the one with the least CPU first."""
    order = sorted(reported, key=lambda name: compare(reported, name, "floor").median)
    rows = []
    for name in order:
        timed = reported[name]
        cpu, wall = median(map(attrgetter("cpu"), timed)), median(map(attrgetter("wall"), timed))
        calls, requests = timed[0].calls, timed[0].requests
        first = [one.first for one in timed if one.first is not None]
        rows.append(
            (
                CONTENDERS[name][2],
                requests,
                f"{cpu / calls * 1e8:,.0f}",
                compare(reported, name, "floor"),
                compare(again, name, "floor"),
                f"{calls / wall:,.0f}",
                f"{median([one.peak - one.before for one in timed]):.0f}",
                f"{median(first) * 1e3:.0f}" if first else "all at once",
                f"{server[name] * 1e6:.0f}",
            )
        )
    names = "contender", "requests", "CPU µs a page of 100", "CPU a call, to the floor", "again", "calls a second"
    print_table((*names, "memory MiB", "first call ms", "endpoint's CPU µs"), rows)


def print_goals(reported: Rounds, again: Rounds) -> None:
    """Print what was aimed at and what was reached."""
    rows = []
    for text, name, other, side, bound in GOALS:
        found = [compare(each, name, other) for each in (reported, again)]
        met = ["yes" if (one.median <= bound if side == "at most" else one.median >= bound) else "no" for one in found]
        rows.append((text, f"{side} {bound:.2f}", found[0], met[0], found[1], met[1]))
    print_table(("CPU a call", "goal", "median (middle half)", "met", "again", "met"), rows)


def print_instructions(course: Course, bodies: list[str]) -> None:
    """Print the instructions of those that are close to each other."""
    if find_valgrind() is None:
        print("valgrind is not installed: no instructions are counted (Debian: apt-get install valgrind)\n")
        return
    counted = {name: count_instructions(name, course, bodies) for name in ("floor", "pages", "fetch_all", "stream")}
    rows = [
        (CONTENDERS[name][2], f"{number / course.calls:,.0f}", f"{number / counted['floor']:.3f}")
        for name, number in counted.items()
    ]
    print_table(("contender", "instructions a call", "to the floor"), rows)


def draw(reported: Rounds, path: Path) -> None:
    """Write a chart of the CPU that 100 calls take."""
    taken = {name: median([one.cpu / one.calls for one in reported[name]]) * 1e8 for name in reported}
    bars = [
        (CONTENDERS[name][2], taken[name], f"{taken[name] / 1000:.2f} ms", CONTENDERS[name][0].startswith("ours"))
        for name in sorted(taken, key=taken.__getitem__)
    ]
    path.write_text(draw_bars("Client CPU for 100 call records (less is better)", bars))


def main() -> None:
    """Measure, print Markdown, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--instructions", type=int, default=6_000, metavar="CALLS", help="0 counts none")
    parser.add_argument("--chart", type=Path, help="where to write the chart (SVG)")
    given = parser.parse_args()
    print(f"{given.calls:,} calls, {given.rounds} rounds, concurrency {given.concurrency}; {describe_machine()}\n")
    reported, again, server = race(given.calls, given.rounds, given.concurrency)
    print_results(reported, again, server)
    print_goals(reported, again)
    if given.chart is not None:
        draw(reported, given.chart)
    if given.instructions:
        with Course(given.instructions) as course:
            print_instructions(course, record(course, given.concurrency, "").bodies)


if __name__ == "__main__":
    main()
