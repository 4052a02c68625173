"""Reading with Spark on a cluster: requests, CPU, elapsed time, memory, and the cost of a killed executor.

A standalone cluster on loopback: a master, and two workers with an executor of one core each; the endpoint is a process
of its own. Calls are written to Parquet files, and these compared with the endpoint's own records: rows, distinct ids,
and the sum of costs to the last digit. CPU and memory are those of the executors' processes in /proc, their JVMs and
their Python apart; in between, one process reads the same calls.

Needs Linux, Java 17 and the extra `spark`. Run: python3 benchmarks/cluster.py   (`--quick` reads 20,000 calls)
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from course.figures import describe_machine, median, print_table, ratio
from course.processes import Course, Runner
from course.spark_reads import Read, Session, Totals, Truth, start_session
from course.standalone import Cluster
from course.usage import Kind

CONCURRENCY = 8  # requests in flight of a task, by default
KILLED_AT = 0.7  # of the requests of an undisturbed read
STREAM = "one process, `stream`"
READERS: dict[str, tuple[Kind, ...]] = {"executors, Python": ("daemon", "worker"), "executors, JVM": ("jvm",)}
PROCESSES: dict[Kind, str] = {"jvm": "JVM", "daemon": "Python's daemon", "worker": "Python worker"}
TABLES = {
    "reads": ("calls, read", "files", "calls in each", "requests", "rows", "distinct", "cost", "right", "wall s"),
    "CPU": ("calls, reader", "requests", "CPU µs a call", "to `stream`"),
    "wall": ("calls, executors", "requests", "more", "wall s", "more s", "ideal s", "right"),
    "memory": ("calls, process of an executor", "MiB after 2,000 calls", "MiB at most"),
}


class Tables:
    """Tables that are printed at the end; each row is also shown on stderr once it is measured."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        self._began = time.perf_counter()

    def add(self, table: str, *cells: object) -> None:
        """Add a row to a table."""
        print(f"{time.perf_counter() - self._began:4.0f} s  {' | '.join(map(str, cells))}", file=sys.stderr)
        self._rows[table].append(cells)

    def add_read(self, name: str, read: Read, truth: Totals) -> None:
        """Add a row for a read."""
        sizes = f"{min(read.files):,}–{max(read.files):,}"
        totals = (f"{read.found.rows:,}", f"{read.found.distinct:,}", f"{read.found.cost.normalize():,f}")
        right = describe(read, truth)
        self.add("reads", name, len(read.files), sizes, f"{read.requests:,}", *totals, right, f"{read.wall:.1f}")

    def print(self) -> None:
        """Print them, and fail if a read was wrong."""
        for name, heads in TABLES.items():
            print_table(heads, self._rows[name])
        if any(str(cell).startswith("NO") for rows in self._rows.values() for row in rows for cell in row):
            raise SystemExit("a read was wrong, see above")


def describe(read: Read, truth: Totals) -> str:
    """Say whether the totals are those of the endpoint."""
    return "yes" if read.found == truth else f"NO: {tuple(map(str, truth))}, not {tuple(map(str, read.found))}"


def compare_cpu(tables: Tables, session: Session, course: Course, small: Course) -> Read:
    """Compare the CPU of the executors and of one process, interleaved, and return the last read."""
    cpu: dict[str, list[float]] = defaultdict(list)
    requests: dict[str, int] = {}
    with Runner("stream") as stream, Runner("arrow") as arrow:
        singles = {STREAM: stream, "one process, `stream.arrow_batches`": arrow}
        for runner in singles.values():
            runner.run(small.task)
        for _ in range(3 if course.calls <= 200_000 else 1):
            for name, runner in singles.items():
                measured = runner.run(course.task)
                cpu[name].append(measured.cpu)
                requests[name] = measured.requests
            read = session.write(course)
            for name, kinds in READERS.items():
                cpu[name].append(sum(read.cpu[kind] for kind in kinds))
                requests[name] = read.requests
    for name, seconds in cpu.items():
        a_call = f"{median(seconds) / course.calls * 1e6:.1f}"
        tables.add("CPU", f"{course.calls:,}, {name}", f"{requests[name]:,}", a_call, ratio(seconds, cpu[STREAM]))
    return read


def measure(tables: Tables, cluster: Cluster, folder: Path, small: Course, *, calls: int, latency: float) -> None:
    """Measure reads of so many calls."""
    truth = Truth(calls)

    def add_wall(executors: int, read: Read, undisturbed: Read | None = None, note: str = "") -> None:
        more = ("", "")
        if undisturbed:
            more = (f"{read.requests / undisturbed.requests - 1:+.0%}", f"{read.wall - undisturbed.wall:+.1f}")
        ideal = read.requests / executors / CONCURRENCY * latency
        walls = (f"{read.wall:.1f}", more[1], f"{ideal:.1f}")
        name = f"{calls:,}, {executors}{note}"
        tables.add("wall", name, f"{read.requests:,}", more[0], *walls, describe(read, truth.all))

    with Course(calls) as course:
        course.set_latency(latency)
        with start_session(cluster, 1, folder, small) as one:
            add_wall(1, one.write(course))
        with start_session(cluster, 2, folder, small) as two:
            idle = two.usage.peak()
            undisturbed = two.write(course)
            add_wall(2, undisturbed)
            course.set_latency(0.0)
            tables.add_read(f"{calls:,}, all", compare_cpu(tables, two, course, small), truth.all)
            for name, pushes in {"without": False, "with": True}.items():
                read = two.write_group_and_day(course, pushes=pushes)
                tables.add_read(f"{calls:,}, a group and a day, {name} pushdown", read, truth.group_and_day)
            for kind, mib in two.usage.peak().items():
                tables.add("memory", f"{calls:,}, {PROCESSES[kind]}", f"{idle[kind]:.0f}", f"{mib:.0f}")
            course.set_latency(latency)
            kill = partial(two.kill_executor, course, int(undisturbed.requests * KILLED_AT))
            add_wall(2, two.write(course, disturb=kill), undisturbed, ", one killed while it writes")
            add_wall(2, two.sum_up(course, disturb=kill), undisturbed, ", one killed while it sums up")


def find_java() -> str | None:
    """Return what Java says about its version, if there is one."""
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else "java"
    try:
        return subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--latency", type=float, default=0.1, help="seconds before each response, where it matters")
    parser.add_argument("--quick", action="store_true", help="20,000 calls")
    given = parser.parse_args()
    java = find_java()
    if sys.platform != "linux" or java is None or find_spec("pyspark") is None:
        print("left out: needs Linux, Java 17 and PySpark (pip install 'aiosipcdr[spark]')")
        return
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster ends, too
    load, tables = os.getloadavg()[0], Tables()
    with tempfile.TemporaryDirectory() as name, Course(2_000) as small:
        folder = Path(name)
        with Cluster(folder, workers=2, memory="1g") as cluster:
            for calls in [20_000] if given.quick else given.calls:
                measure(tables, cluster, folder, small, calls=calls, latency=given.latency)
    print(f"{datetime.now(UTC):%Y-%m-%d}; {describe_machine()}, {java}, pyspark {version('pyspark')};", end=" ")
    print(
        f"load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end; {given.latency * 1e3:.0f} ms of latency\n"
    )
    tables.print()


if __name__ == "__main__":
    main()
