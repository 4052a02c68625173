"""What does a file cost, in CPU and memory, beside fetching the same calls into a list?

Each task runs in a process of its own against one sandbox on another core,
interleaved and repeated; memory is the peak beyond that of a process which has
imported the same and done nothing.

    python3 benchmarks/exporting.py [--records 250000 1000000] [--rounds 3] [--formats ndjson parquet]
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from course.pinning import CLIENT, SERVER, pin

from aiosipcdr.cli.summary import peak_memory
from aiosipcdr.sandbox import SandboxProcess

FETCH, IDLE = "fetch_all", "idle"


async def work(task: str, folder: str, place: dict[str, str]) -> dict[str, float]:
    """Do one task; return its CPU seconds and this process's peak memory in MB."""
    from aiosipcdr import CdrClient

    if task == "parquet":
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401 - as the task would
    span = datetime.fromisoformat(place["start"]), datetime.fromisoformat(place["end"])
    began = time.process_time()
    async with CdrClient(place["base_url"], place["api_key"], place["api_secret"], concurrency=8) as client:
        if task == FETCH:
            await client.fetch_all(*span)
        elif task != IDLE:
            await client.export(*span, Path(folder) / f"calls.{task}", overwrite=True)
    return {"cpu": time.process_time() - began, "peak": (peak_memory() or 0) / 1e6}


def run(task: str, folder: str, place: dict[str, str], imports: str = "") -> dict[str, float]:
    """Run a task in a process of its own."""
    child = [sys.executable, __file__, "--child", task, "--folder", folder, "--imports", imports]
    done = subprocess.run(child, input=json.dumps(place), capture_output=True, text=True, check=True)
    reported: dict[str, float] = json.loads(done.stdout)
    return reported


async def measure(records: int, formats: list[str], rounds: int) -> None:
    """Print one table."""
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    pin(SERVER)
    async with SandboxProcess(records=records, path="temp") as sandbox:
        if everywhere:
            os.sched_setaffinity(0, everywhere)
        place = {name: getattr(sandbox, name) for name in ("base_url", "api_key", "api_secret")}
        place |= {"start": sandbox.start.isoformat(), "end": sandbox.end.isoformat()}
        with tempfile.TemporaryDirectory() as folder:
            await asyncio.to_thread(compare, records, formats, rounds, folder, place)


def compare(records: int, formats: list[str], rounds: int, folder: str, place: dict[str, str]) -> None:
    """Run the tasks in turns; print medians and their spread."""
    reported: dict[str, list[dict[str, float]]] = {task: [] for task in (FETCH, *formats)}
    for _ in range(rounds):
        for task, runs in reported.items():
            runs.append(run(task, folder, place))
    print(f"\n{records:,} calls, {rounds} rounds\n")
    print("| task | CPU s | ratio to fetch_all | lowest to highest | peak MB beyond idle |")
    print("|---|---:|---:|---|---:|")
    for task, runs in reported.items():
        ratios = [one["cpu"] / base["cpu"] for one, base in zip(runs, reported[FETCH], strict=True)]
        idle = run(IDLE, folder, place, task)["peak"]
        cpu = statistics.median(one["cpu"] for one in runs)
        peak = max(one["peak"] for one in runs) - idle
        print(
            f"| {task} | {cpu:.2f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
            f" {peak:,.0f} |"
        )


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, nargs="+", default=[250_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", default=["ndjson", "csv", "parquet"])
    parser.add_argument("--child")
    parser.add_argument("--imports", default="")
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    if given.child:
        pin(CLIENT)
        if given.imports == "parquet":
            import pyarrow.csv
            import pyarrow.json
            import pyarrow.parquet  # noqa: F401
        gc.collect()
        print(json.dumps(asyncio.run(work(given.child, given.folder, json.load(sys.stdin)))))
        return
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores")
    for records in given.records:
        asyncio.run(measure(records, given.formats, given.rounds))


if __name__ == "__main__":
    main()
