"""What the proof costs, and what plain paging loses without it.

Both contenders read the same sandbox, eight requests at a time: `fetch_all`,
and the plain fan-out that most clients are (page 1, then all others, no
comparison of anything). Counted are requests and the rows that the endpoint's
LIMIT/OFFSET reads; nothing is timed. Run: python3 benchmarks/cost_of_proof.py
"""

import asyncio

import anyio

from aiosipcdr import CdrClient
from aiosipcdr.sandbox import Sandbox

PAGE = 100
CONCURRENCY = 8


async def fan_out(client: CdrClient, sandbox: Sandbox) -> list[str]:
    """Fetch page 1 and then the rest; return the ids as they came."""
    first = await client.fetch_page(sandbox.start, sandbox.end, 1, PAGE)
    ids = [record.voice_id for record in first.records]
    numbers = iter(range(2, first.pages + 1))

    async def work() -> None:
        for number in numbers:
            page = await client.fetch_page(sandbox.start, sandbox.end, number, PAGE)
            ids.extend(record.voice_id for record in page.records)

    async with anyio.create_task_group() as tasks:
        for _ in range(CONCURRENCY):
            tasks.start_soon(work)
    return ids


async def proven(client: CdrClient, sandbox: Sandbox) -> list[str]:
    """Stream the range; return the ids."""
    async with client.stream(sandbox.start, sandbox.end) as stream:
        ids = [record.voice_id async for record in stream]
    if not stream.report.certified:
        raise SystemExit("not certified")
    return ids


async def compare_cost(records: int) -> None:
    """Print a row for each contender on data that keeps still."""
    async with Sandbox(records=records, path="temp") as sandbox:
        async with CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret, concurrency=CONCURRENCY) as client:
            figures = []
            for fetch in (fan_out, proven):
                sandbox.reset_stats()
                ids = await fetch(client, sandbox)
                if len(set(ids)) != records:
                    raise SystemExit(f"{fetch.__name__}: {len(set(ids))} of {records}")
                figures.append(sandbox.stats)
        plain, proof = figures
        print(
            f"| {records:,} | {plain.requests:,} | {proof.requests:,} | {proof.requests / plain.requests:.2f} |"
            f" {plain.rows_read:,} | {proof.rows_read:,} | 1/{plain.rows_read / proof.rows_read:.0f} |"
            f" {proof.deepest_page} |"
        )


async def compare_loss(records: int) -> None:
    """Print what each contender misses and doubles while a call is added every third request."""
    for fetch in (fan_out, proven):
        async with Sandbox(records=records, insert_every=3, order="newest", latency=0.002) as sandbox:
            there = set(sandbox.voice_ids())
            async with CdrClient(
                sandbox.base_url, sandbox.api_key, sandbox.api_secret, concurrency=CONCURRENCY
            ) as client:
                ids = await fetch(client, sandbox)
            missing, doubled = len(there - set(ids)), len(ids) - len(set(ids))
            print(f"| {fetch.__name__} | {sandbox.stats.requests:,} | {missing} | {doubled} |")


async def main() -> None:
    """Measure and print Markdown tables."""
    print(
        "| calls over 30 days | requests, plain | proven | ratio | rows read, plain | proven | ratio | deepest page |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for records in (6_000, 60_000, 1_000_000):
        await compare_cost(records)
    print("\n6,000 calls, newest first, one more added every third request:\n")
    print("| contender | requests | missing | doubled |")
    print("|---|---:|---:|---:|")
    await compare_loss(6_000)


if __name__ == "__main__":
    asyncio.run(main())
