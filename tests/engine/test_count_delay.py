"""Control counts of young windows are delayed, and hold no worker meanwhile.

No test waits: `pass_time` makes delayed requests due now.
"""

import asyncio
from datetime import timedelta

import pytest

from aiosipcdr import CdrClient
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests import clients
from tests.inside import check_idle, pass_time, until_waiting

DELAY = 1_000.0
YOUNG = timedelta(days=36_500)


SANDBOX = {"records": 250}


def client_of(sandbox: Sandbox, *, lateness: timedelta = YOUNG, **settings: object) -> CdrClient:
    delay = timedelta(seconds=DELAY)
    return clients.client_of(sandbox, lateness=lateness, count_delay=delay, **settings)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_the_count_of_a_young_window_waits_and_holds_no_worker(sandbox: Sandbox, concurrency: int) -> None:
    async with client_of(sandbox, concurrency=concurrency) as client:
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        (delay,) = await until_waiting(client)
        assert DELAY - 100 < delay <= DELAY
        assert sandbox.stats.requests == 3, "the pages, and no count"
        async with asyncio.timeout(60):
            assert await client.count(sandbox.start, sandbox.end) == 250
        pass_time(client)
        records = await fetching
        assert (len(records), records.report.certified, records.report.provisional) == (250, True, 1)


async def test_settled_windows_and_single_pages_wait_for_nothing(sandbox: Sandbox) -> None:
    async with client_of(sandbox, lateness=timedelta()) as client, asyncio.timeout(60):
        assert (await client.fetch_all(sandbox.start, sandbox.end)).report.certified
    sandbox.delete(*sandbox.voice_ids()[:200])
    async with client_of(sandbox) as client, asyncio.timeout(60):
        records = await client.fetch_all(sandbox.start, sandbox.end)
        assert (len(records), records.report.certified) == (50, True)


async def test_windows_wait_side_by_side() -> None:
    with Sandbox(records=2_500) as sandbox:
        async with client_of(sandbox, concurrency=4) as client:
            fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
            assert len(await until_waiting(client, requests=3)) == 3
            pass_time(client)
            assert (await fetching).report.certified


async def test_a_cancelled_run_leaves_no_waiting_count(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        await until_waiting(client)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        check_idle(client)


async def test_a_lagging_count_is_awaited_longer_and_missed_rows_are_read_again(sandbox: Sandbox) -> None:
    """Calls arrive while the window is read, and the count does not know them when it is asked for first."""
    sandbox.change(count_lag=1e6)
    waits: list[float] = []

    def arrive(event: Event) -> None:
        if event.kind is EventKind.REQUEST_SENT and event.page == 3 and not waits:
            sandbox.insert(count=20)

    async with client_of(sandbox, hook=arrive) as client, asyncio.timeout(60):
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        waits += await until_waiting(client)
        pass_time(client)
        waits += await until_waiting(client)
        sandbox.change(count_lag=0.0)
        pass_time(client)
        records = await fetching
    assert [round(wait / DELAY) for wait in waits] == [1, 12]
    assert (records.report.certified, records.report.scans) == (True, 2)
    assert {record.voice_id for record in records} == set(sandbox.voice_ids())
