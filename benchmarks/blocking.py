"""CPU of the blocking client beside the async one, for the same calls.

Both fetch from one sandbox in a process of its own, interleaved. Run: python3 benchmarks/blocking.py
"""

import argparse
import asyncio
import time
from collections.abc import Callable

from course.figures import describe_machine, median, print_table, ratio

from aiosipcdr import CdrClient
from aiosipcdr.blocking import BlockingCdrClient
from aiosipcdr.sandbox import SandboxProcess


def measure_async(sandbox: SandboxProcess, way: str) -> float:
    """Return the CPU seconds that the async client takes."""

    async def fetch() -> float:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
            await client.count(sandbox.start, sandbox.end)
            began = time.process_time()
            if way == "fetch_all":
                await client.fetch_all(sandbox.start, sandbox.end)
            else:
                async with client.stream(sandbox.start, sandbox.end) as stream:
                    if way == "records":
                        async for _ in stream:
                            pass
                    else:
                        async for _ in stream.batches():
                            pass
            return time.process_time() - began

    return asyncio.run(fetch())


def measure_blocking(sandbox: SandboxProcess, way: str) -> float:
    """Return the CPU seconds that the blocking client takes, with those of its thread."""
    with BlockingCdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret) as client:
        client.count(sandbox.start, sandbox.end)
        began = time.process_time()
        if way == "fetch_all":
            client.fetch_all(sandbox.start, sandbox.end)
        else:
            with client.stream(sandbox.start, sandbox.end) as stream:
                for _ in stream if way == "records" else stream.batches():
                    pass
        return time.process_time() - began


CLIENTS: dict[str, Callable[[SandboxProcess, str], float]] = {"async": measure_async, "blocking": measure_blocking}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(f"{given.rounds} rounds of {given.calls:,} calls; {describe_machine()}\n")
    rows: list[list[object]] = []
    with SandboxProcess(records=given.calls) as sandbox:
        for way in ("fetch_all", "records", "batches"):
            cpu: dict[str, list[float]] = {name: [] for name in CLIENTS}
            for round_ in range(given.rounds + 1):
                for name, measure in CLIENTS.items():
                    seconds = measure(sandbox, way)
                    if round_:  # the first one warms up
                        cpu[name].append(seconds)
            per_call = [f"{median(cpu[name]) / given.calls * 1e6:.1f}" for name in CLIENTS]
            rows.append([way, *per_call, ratio(cpu["blocking"], cpu["async"])])
    print_table(("", "CPU µs a call, async", "CPU µs a call, blocking", "blocking to async"), rows)


if __name__ == "__main__":
    main()
