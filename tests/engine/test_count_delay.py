"""Control counts of young windows wait for counts that lag, and hold no worker meanwhile.

No test waits: `pass_time` makes what is due later due now.
"""
# ruff: noqa: ASYNC110 - waiting for the server is polling

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from aiosipcdr import CdrClient, RetryPolicy
from aiosipcdr.engine.engine import Engine
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox

DELAY = 1_000.0
YOUNG = timedelta(days=36_500)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(records=250) as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox, *, lateness: timedelta = YOUNG, **settings: object) -> CdrClient:
    return CdrClient(
        sandbox.base_url,
        sandbox.api_key,
        sandbox.api_secret,
        retry=RetryPolicy(base=0.001, cap=0.002),
        lateness=lateness,
        count_delay=timedelta(seconds=DELAY),
        **settings,  # type: ignore[arg-type]
    )


def engine_of(client: CdrClient) -> Engine:
    assert client._session.running is not None
    return client._session.running


async def until_it_waits(engine: Engine, requests: int = 1) -> list[float]:
    """Return the seconds that requests will wait, once so many do and nothing else is under way."""
    while engine._workers or len(engine._later) < requests:
        await asyncio.sleep(0.001)
    now = asyncio.get_running_loop().time()
    return sorted(until - now for until, _, _ in engine._later)


def pass_time(engine: Engine) -> None:
    """Make all that waits due."""
    now = asyncio.get_running_loop().time()
    engine._later[:] = [(now, number, job) for _, number, job in engine._later]
    engine.wake()


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_the_count_of_a_young_window_waits_and_holds_no_worker(sandbox: Sandbox, concurrency: int) -> None:
    async with client_of(sandbox, concurrency=concurrency) as client:
        engine = engine_of(client)
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        (delay,) = await until_it_waits(engine)
        assert DELAY - 100 < delay <= DELAY
        assert sandbox.stats.requests == 3, "the pages, and no count"
        async with asyncio.timeout(60):
            assert await client.count(sandbox.start, sandbox.end) == 250
        pass_time(engine)
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
            assert len(await until_it_waits(engine_of(client), requests=3)) == 3
            pass_time(engine_of(client))
            assert (await fetching).report.certified


async def test_what_was_left_while_it_waited_is_forgotten(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        await until_it_waits(engine_of(client))
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert not engine_of(client)._later
        assert engine_of(client)._timer is None


async def test_a_count_that_lags_is_waited_for_longer_and_what_it_missed_is_read_again(sandbox: Sandbox) -> None:
    """Calls arrive while the window is read, and the count does not know them when it is asked for first."""
    sandbox.change(count_lag=1e6)
    waits: list[float] = []

    def arrive(event: Event) -> None:
        if event.kind is EventKind.REQUEST_SENT and event.page == 3 and not waits:
            sandbox.insert(count=20)

    async with client_of(sandbox, hook=arrive) as client, asyncio.timeout(60):
        fetching = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        waits += await until_it_waits(engine_of(client))
        pass_time(engine_of(client))
        waits += await until_it_waits(engine_of(client))
        sandbox.change(count_lag=0.0)
        pass_time(engine_of(client))
        records = await fetching
    assert [round(wait / DELAY) for wait in waits] == [1, 12]
    assert (records.report.certified, records.report.scans) == (True, 2)
    assert {record.voice_id for record in records} == set(sandbox.voice_ids())
