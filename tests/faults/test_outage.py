"""A vendor that is down, throttles or refuses the login: the number of requests, and when a run ends."""
# ruff: noqa: ASYNC110 - waiting for another thread is polling

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from aiosipcdr import OutageError, RatePolicy, ServerFaultError, SipCdrError
from aiosipcdr.events import Event
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import QUICK, client_of
from tests.http.test_transport import http, peer
from tests.inside import blocked_until, limit_of
from tests.selection import ALL, some

DOWN = Fault("http", status=503, times=0)
RECORDS = 10_000 if ALL else 6_000  # more pages than the budget pays for
BUDGET = 500 // 14
"""Retries that a full budget pays for."""


async def end_of(run: Awaitable[object]) -> type[SipCdrError] | None:
    """Return the class of what it raises."""
    try:
        await run
    except SipCdrError as error:
        return type(error)
    return None


@pytest.mark.parametrize(("runs", "requests"), [(1, 8), (5, 40)])
async def test_an_outage_costs_a_bounded_number_of_requests(runs: int, requests: int) -> None:
    async with Sandbox(records=RECORDS, faults=[DOWN]) as sandbox, client_of(sandbox) as client:
        ends = await asyncio.gather(*(end_of(client.fetch_all(sandbox.start, sandbox.end)) for _ in range(runs)))
        assert ends == [ServerFaultError] * runs
        assert sandbox.stats.requests == requests


@pytest.mark.parametrize("answered", some([1, 20, 60], every=2))
async def test_an_outage_in_the_middle_is_bounded_by_the_budget(answered: int) -> None:
    async with Sandbox(records=RECORDS) as sandbox:
        left = answered

        def hook(event: Event) -> None:
            nonlocal left
            if event.kind == "request_answered":
                left -= 1
                if not left:
                    sandbox.add_faults(DOWN)

        async with client_of(sandbox, concurrency=8, hook=hook) as client:
            end = await end_of(client.fetch_all(sandbox.start, sandbox.end))
            assert end in {ServerFaultError, OutageError}
            # Eight places, each with its attempts, and what the budget pays for: not attempts × pages.
            assert sandbox.stats.requests <= answered + 8 + 8 + BUDGET


async def test_many_runs_one_after_the_other_spend_one_budget() -> None:
    async with Sandbox(records=10, faults=[DOWN]) as sandbox, client_of(sandbox) as client:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        ends = [await end_of(client.count(sandbox.start, sandbox.end)) for _ in range(50)]
        assert set(ends) == {ServerFaultError, OutageError}
        # The budget grows by one each second: on a machine that is slow it pays for a little more.
        assert 50 + BUDGET <= sandbox.stats.requests <= 50 + (500 + loop.time() - begun) // 14


async def test_a_run_that_stalls_ends() -> None:
    retry = msgspec.structs.replace(QUICK, attempts=1_000, stall=0.0, budget=1e6, base=0.01)
    async with Sandbox(records=10, faults=[DOWN]) as sandbox, client_of(sandbox, retry=retry) as client:
        with pytest.raises(OutageError, match="no page was completed"):
            await client.fetch_all(sandbox.start, sandbox.end)


@pytest.mark.parametrize("trouble", [{"code": -15}, {"code": -18}, {"status": 503, "headers": {"Retry-After": "0"}}])
async def test_places_fall_under_trouble_and_recover(trouble: dict[str, object]) -> None:
    kind = "code" if "code" in trouble else "http"
    fault = Fault(kind, **trouble)  # type: ignore[arg-type]
    places: list[int] = []
    async with Sandbox(records=1_000, faults=[fault]) as sandbox:

        def hook(_event: Event) -> None:
            places.append(limit_of(client).current)

        client = client_of(sandbox, page_size=10, hook=hook)
        async with client:
            records = await client.fetch_all(sandbox.start, sandbox.end)
        assert records.report.certified
    assert (places[0], min(places), places[-1]) == (8, 5, 8)


async def test_a_retry_after_header_holds_the_whole_client() -> None:
    fault = Fault("http", page=1, control=False, status=429, headers={"Retry-After": "1"})
    loop = asyncio.get_running_loop()
    sent: list[float] = []
    waits: list[float] = []
    opens: list[float] = []

    def hook(event: Event) -> None:
        if event.kind == "request_sent":
            sent.append(loop.time())
        elif event.kind == "throttled":
            waits.append(event.delay or 0)
            opens.append(blocked_until(client))

    async with Sandbox(records=10, faults=[fault]) as sandbox, client_of(sandbox, hook=hook) as client:
        first = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
        while not waits:
            await asyncio.sleep(0.001)
        counts = await asyncio.gather(*(client.count(sandbox.start, sandbox.end) for _ in range(3)))
        assert (len(await first), counts) == (10, [10] * 3)
    assert len(waits) == 1
    assert waits[0] >= 1
    assert opens[0] >= sent[0] + waits[0]
    # The clock of the loop is coarse: a timer may ring a hair too early.
    assert all(instant >= opens[0] - 0.01 for instant in sent[1:])


async def test_runs_share_one_rate() -> None:
    sent: list[float] = []
    loop = asyncio.get_running_loop()

    def hook(event: Event) -> None:
        if event.kind == "request_sent":
            sent.append(loop.time())

    rate = RatePolicy(requests_per_second=100)
    async with Sandbox(records=10) as sandbox, client_of(sandbox, rate=rate, hook=hook) as client:
        begun = loop.time()
        await asyncio.gather(*(client.count(sandbox.start, sandbox.end) for _ in range(10)))
    # Not from the first on: its event may be late, and the others are no later for it.
    assert sent[-1] - begun >= 9 / 100 - 0.01


TURNED_AWAY = [Fault("code", code=code, times=0) for code in (-1, -2, -13)] + [
    Fault("http", status=status, times=0) for status in (401, 403, 307)
]


@pytest.mark.parametrize("fault", TURNED_AWAY, ids=lambda fault: str(fault.code or fault.status))
async def test_a_refused_login_stops_the_whole_client(fault: Fault) -> None:
    async with Sandbox(records=1_000, latency=0.002) as sandbox:
        total = 0

        def hook(event: Event) -> None:
            nonlocal total
            if event.kind == "request_answered":
                total += 1
                if total == 10:
                    sandbox.reset_stats()
                    sandbox.add_faults(fault)

        async with client_of(sandbox, page_size=10, concurrency=4, hook=hook) as client:
            ends = await asyncio.gather(*(end_of(client.fetch_all(sandbox.start, sandbox.end)) for _ in range(3)))
            refused = sandbox.stats.answers.get(fault.code or fault.status or 0, 0)
            assert len(set(ends)) == 1
            assert ends[0] is not None
            assert 1 <= refused <= 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_sends_the_other_server_not_one_byte(status: int) -> None:
    async with peer(http(b"{}")) as other:
        moved = Fault("http", status=status, headers={"Location": other.url})
        async with Sandbox(records=10, faults=[moved]) as sandbox, client_of(sandbox) as client:
            with pytest.raises(SipCdrError, match="redirect"):
                await client.fetch_all(sandbox.start, sandbox.end)
        assert other.connections == 0
