"""Growth of cost and memory with the number of calls.

From 10,000 calls on, `stream` and `export` read all calls, each in a fresh
process: CPU, wall, peak memory, and the rows that the endpoint's LIMIT
and OFFSET would walk over. Run: python3 benchmarks/growth.py
(`--most 5000000` takes some minutes and 4 GB for the endpoint)
"""

import argparse
import tempfile
from pathlib import Path

from course.chart import Panel, draw_panels
from course.figures import describe_machine, print_table
from course.processes import Course, Runner
from course.runner import Measured
from course.task import Task

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000, 5_000_000)
NAMES = ("stream", "export")


def measure(sizes: list[int]) -> dict[str, list[tuple[Measured, float]]]:
    """Return what each size took, with the rows that were read."""
    reported: dict[str, list[tuple[Measured, float]]] = {name: [] for name in NAMES}
    for size in sizes:
        with Course(1_000) as small, Course(size) as course:
            for name in NAMES:
                with Runner(name) as runner, tempfile.TemporaryDirectory() as folder:
                    runner.run(Task(small.port, folder=folder))  # loads modules that are imported late
                    course.reset()
                    measured = runner.run(Task(course.port, folder=folder))
                    reported[name].append((measured, course.stats()["rows"]))
    return reported


def main() -> None:
    """Measure, print Markdown, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=300_000, help="calls of the largest size")
    parser.add_argument("--chart", type=Path, help="where to write the chart (SVG)")
    given = parser.parse_args()
    print(f"concurrency 8; {describe_machine()}\n")
    reported = measure([size for size in SIZES if size <= given.most])
    rows = [
        (
            f"{name}, {one.calls:,}",
            f"{one.cpu:.2f}",
            f"{one.cpu / one.calls * 1e6:.1f}",
            f"{one.wall:.2f}",
            f"{one.peak:.0f}",
            f"{one.peak - one.before:.0f}",
            f"{one.requests:,}",
            f"{read:,}",
            f"{read / one.calls:.1f}",
        )
        for name in NAMES
        for one, read in reported[name]
    ]
    names = "calls", "CPU s", "CPU µs a call", "wall s", "peak MiB", "over imports"
    print_table((*names, "requests", "rows read", "rows a call"), rows)
    if given.chart is not None:
        panels: list[Panel] = [
            ("CPU, seconds", {name: [(one.calls, one.cpu) for one, _ in reported[name]] for name in NAMES}),
            ("wall, seconds", {name: [(one.calls, one.wall) for one, _ in reported[name]] for name in NAMES}),
            ("peak memory, MiB", {name: [(one.calls, one.peak) for one, _ in reported[name]] for name in NAMES}),
            (
                "rows read by the endpoint",
                {name: [(one.calls, read) for one, read in reported[name]] for name in NAMES},
            ),
        ]
        given.chart.write_text(draw_panels("From few calls to many", panels))


if __name__ == "__main__":
    main()
