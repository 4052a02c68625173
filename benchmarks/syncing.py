"""What a synced table costs for each database, and what it and dlt's `incremental` make of the same changes.

Every run is a process of its own; its seconds of CPU include the imports. The server's are those of all processes of
PostgreSQL. "Right" compares the table with the vendor's list: id, time, cost and the number of rows. Needs PostgreSQL's
server; without dlt (or with `--dlt` and its interpreter) that part is left out. Run: python3 benchmarks/syncing.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from course.figures import describe_machine, print_table

from aiosipcdr.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the databases of the tests

from tests.sync.databases import (  # noqa: E402
    DELTA,
    DUCKDB,
    POSTGRES,
    SQLITE,
    Database,
    expected_rows,
    to_cost,
    to_time,
)
from tests.sync.postgres_server import SERVER  # noqa: E402

DAYS = 30
ALL = 400
LOOKBACK = 3
_TICKS = os.sysconf("SC_CLK_TCK")


def run(kind: str, python: str, task: dict[str, Any]) -> dict[str, Any]:
    """Run a sync; return what it prints."""
    done = subprocess.run(
        [python, "-m", "course.syncing", kind],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)} if kind == "ours" else None,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2_000:])
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def server_seconds() -> float:
    """Return the CPU that PostgreSQL's processes have used so far, those that have ended included."""
    seconds = 0.0
    server = SERVER.process_id
    for stat in Path("/proc").glob("[0-9]*/stat") if server else ():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if server in (int(stat.parent.name), int(fields[1])):
            seconds += sum(map(int, fields[11:15])) / _TICKS
    return seconds


class Table:
    """A table, its runs and the vendor's list."""

    def __init__(self, sandbox: Sandbox, sync: Callable[[int, bool], float], rows: Callable[[], list[Any]]) -> None:
        self._sandbox = sandbox
        self._sync = sync
        self._rows = rows

    def run(self, lookback: int = LOOKBACK, *, deep: bool = False) -> tuple[float, float, int, str]:
        """Sync; return the client's and the server's CPU, the requests, and whether the table is right."""
        self._sandbox.reset_stats()
        before = server_seconds()
        cpu = self._sync(lookback, deep)
        server = server_seconds() - before
        rows, expected = self._rows(), expected_rows(self._sandbox)
        missing, wrong = len({*expected} - {*rows}), len({*rows} - {*expected})
        right = "yes" if rows == expected else f"NO: {missing} missing, {wrong} too many or old"
        return cpu, server, self._sandbox.stats.requests, right


def our_table(sandbox: Sandbox, database: Database, folder: Path) -> Table:
    """Return the table of one of our targets."""

    def sync(lookback: int, deep: bool) -> float:  # noqa: FBT001
        task = {
            "base_url": sandbox.base_url,
            "key": sandbox.api_key,
            "secret": sandbox.api_secret,
            "url": database.url(folder),
            "since": sandbox.start.isoformat(),
            "lookback": lookback,
            "deep": deep,
        }
        outcome = run("ours", sys.executable, task)
        if not outcome["certified"]:
            raise SystemExit(outcome["text"])
        return float(outcome["cpu"])

    return Table(sandbox, sync, lambda: database.live_rows(folder))


def table_of_dlt(sandbox: Sandbox, python: str, folder: Path) -> Table:
    """Return the table of dlt; it has no lookback but its lag."""

    def sync(lookback: int, deep: bool) -> float:  # noqa: FBT001
        del lookback, deep
        task = {
            "base_url": sandbox.base_url,
            "key": sandbox.api_key,
            "secret": sandbox.api_secret,
            "since": sandbox.start.isoformat(),
            "until": (sandbox.end + timedelta(days=1)).isoformat(),
            "folder": str(folder),
        }
        return float(run("dlt", python, task)["cpu"])

    def rows() -> list[Any]:
        with duckdb.connect(str(folder / "calls.duckdb"), read_only=True) as connection:
            found = connection.sql("SELECT * FROM cdr.calls").to_arrow_table().to_pylist()
        # dlt leaves out columns without a value, and reads times and numbers from JSON.
        return sorted(
            (
                (
                    row["voice_id"],
                    to_time(row["submit_time"]),
                    to_cost(round(Decimal(str(row["cost"])), 9)) if row.get("cost") is not None else None,
                    row.get("recording_file_id") or None,
                )
                for row in found
            ),
            key=str,
        )

    return Table(sandbox, sync, rows)


def measure_costs(sandbox: Sandbox, folder: Path) -> None:
    """Print the CPU of a first load and of a rerun with 1 % changed, for each target."""
    table_rows = []
    for database in (SQLITE, DUCKDB, POSTGRES, DELTA):
        sandbox.reset()
        place = folder / f"costs-{database.name}"
        place.mkdir()
        table = our_table(sandbox, database, place)
        first = table.run(ALL)
        sandbox.update(*sandbox.voice_ids()[::100], cost="0.7700")
        rerun = table.run(ALL, deep=True)
        nothing = table.run(ALL, deep=True)
        cells = [f"{cpu:.2f} + {server:.2f}" for cpu, server, *_ in (first, rerun, nothing)]
        table_rows.append([database.name, *cells, first[2], first[3] if first[3] != "yes" else rerun[3]])
    names = ("target", "first load, client + server s", "1 % changed, --deep", "nothing changed, --deep", "requests")
    print_table((*names, "right"), table_rows)


def follow_changes(name: str, sandbox: Sandbox, table: Table, *, is_ours: bool) -> list[list[object]]:
    """Return what one tool makes of each change."""
    sandbox.reset()
    found: list[list[object]] = []

    def note(step: str, outcome: tuple[float, float, int, str]) -> None:
        found.append([name, step, outcome[2], outcome[3]])

    note("first load", table.run())
    note("nothing", table.run())
    sandbox.insert(at=sandbox.end - timedelta(hours=30))
    note("one call 30 h late", table.run())
    recent = sandbox.voice_ids(sandbox.end - timedelta(days=2), sandbox.end)
    sandbox.delete(recent[10])
    note("one call vanished", table.run())
    sandbox.update(recent[20], cost="0.9900")
    note("one cost changed", table.run())
    if is_ours:
        note("the same, --deep", table.run(deep=True))
    sandbox.insert(at=sandbox.end - timedelta(days=10))
    note("one call 10 d late", table.run())
    if is_ours:
        note("the same, --lookback 14d", table.run(14))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--dlt", default=sys.executable, help="the interpreter that has dlt")
    given = parser.parse_args()
    print(f"{given.calls:,} calls of {DAYS} days; {describe_machine()}\n")
    has_dlt = subprocess.run([given.dlt, "-c", "import dlt, duckdb"], capture_output=True, check=False).returncode == 0
    try:
        with (
            tempfile.TemporaryDirectory() as temporary,
            Sandbox(records=given.calls, days=DAYS, account="syncing") as sandbox,
        ):
            folder = Path(temporary)
            measure_costs(sandbox, folder)
            (folder / "ours").mkdir()
            rows = follow_changes("sync", sandbox, our_table(sandbox, SQLITE, folder / "ours"), is_ours=True)
            if has_dlt:
                (folder / "dlt").mkdir()
                rows += follow_changes("dlt", sandbox, table_of_dlt(sandbox, given.dlt, folder / "dlt"), is_ours=False)
            print_table(("tool", "what happened before the run", "requests", "table right"), rows)
    finally:
        SERVER.stop()


if __name__ == "__main__":
    main()
