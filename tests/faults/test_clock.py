"""Clock skew: corrected once for all requests, one more request each, and an error with advice."""
# ruff: noqa: ASYNC110 - waiting for another thread's loop is polling

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from time import time

import pytest
from aiohttp import web

from aiosipcdr import AuthenticationError, ClockSkewError
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import ShiftedClock, client_of, open_with
from tests.inside import signing_offset_of

HOUR = 3_600.0


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
async def test_a_measured_clock_is_mended_once_for_all_that_were_under_way(offset: float) -> None:
    gate, arrived = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    @web.middleware
    async def together(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        if arrived == 32:
            loop.call_soon_threadsafe(gate.set)
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return await handler(request)

    async with (
        Sandbox(records=10, clock_offset=offset, middlewares=[together]) as sandbox,
        client_of(sandbox, concurrency=32) as client,
    ):
        begun = time()
        counts = await asyncio.gather(*(client.count(sandbox.start, sandbox.end) for _ in range(32)))
        assert counts == [10] * 32
        assert sandbox.stats.answers == {-16: 32, 0: 32}
        clock = signing_offset_of(client)
        assert clock.version == 1
        assert abs(clock.seconds - offset) < 2 + time() - begun  # which is how long an answer may have taken
        assert await client.count(sandbox.start, sandbox.end) == 10
        assert sandbox.stats.requests == 65


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
async def test_without_a_date_one_fresh_signature_is_tried(offset: float) -> None:
    async with (
        Sandbox(records=10, clock_offset=offset, send_date=False) as sandbox,
        client_of(sandbox) as client,
    ):
        with pytest.raises(ClockSkewError, match="NTP") as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        assert caught.value.offset is None
        assert sandbox.stats.requests == 2


async def test_a_date_that_stays_wrong_is_an_error_with_the_offset() -> None:
    begun = time()
    wrong = Fault("code", code=-16, times=2, headers={"Date": formatdate(begun + 600, usegmt=True)})
    async with Sandbox(records=10, faults=[wrong]) as sandbox, client_of(sandbox) as client:
        with pytest.raises(ClockSkewError, match="behind") as caught:
            await client.fetch_all(sandbox.start, sandbox.end)
        assert caught.value.offset == pytest.approx(600, abs=2 + time() - begun)
        assert sandbox.stats.requests == 2


async def test_dates_of_two_servers_that_differ_do_not_make_the_clock_flap() -> None:
    dates = [formatdate(time() + ahead, usegmt=True) for ahead in (600, -600) * 4]
    faults = [Fault("code", code=-16, headers={"Date": date}) for date in dates]
    async with Sandbox(records=10, faults=faults) as sandbox, client_of(sandbox) as client:
        for _ in range(4):
            with pytest.raises(ClockSkewError):
                await client.count(sandbox.start, sandbox.end)
        assert signing_offset_of(client).version == 1
        assert sandbox.stats.requests == 8


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
async def test_a_clock_that_jumps_costs_one_fresh_signature_and_no_deadline(offset: float) -> None:
    """Only signatures look at this machine's clock; waits and deadlines have one that never jumps."""
    clock = ShiftedClock()
    async with (
        Sandbox(records=250) as sandbox,
        open_with(client_of(sandbox, concurrency=1), wall_clock=clock) as client,
    ):
        assert await client.count(sandbox.start, sandbox.end) == 250
        clock.ahead = offset
        records = await client.fetch_all(sandbox.start, sandbox.end)
        assert (len(records), records.report.certified, records.report.retries) == (250, True, 1)
        assert sandbox.stats.answers == {0: 1 + 4, -16: 1}


async def test_a_clock_that_jumps_again_later_is_mended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request knows the offset it was signed with, also after the first correction."""
    monkeypatch.setattr("aiosipcdr.policy.clock._SETTLED_AFTER", 0.0)
    clock = ShiftedClock()
    async with Sandbox(records=10) as sandbox, open_with(client_of(sandbox), wall_clock=clock) as client:
        assert await client.count(sandbox.start, sandbox.end) == 10
        for corrections, ahead in enumerate((HOUR, -HOUR, 2 * HOUR), start=1):
            clock.ahead = ahead
            assert await client.count(sandbox.start, sandbox.end) == 10
            assert signing_offset_of(client).version == corrections
        assert sandbox.stats.answers == {0: 4, -16: 3}


async def test_a_clock_that_ntp_sets_right_within_the_minute_costs_one_request() -> None:
    clock = ShiftedClock(8 * HOUR)
    async with Sandbox(records=10) as sandbox, open_with(client_of(sandbox), wall_clock=clock) as client:
        offset = signing_offset_of(client)
        assert await client.count(sandbox.start, sandbox.end) == 10
        assert offset.version == 1
        clock.ahead = 0.0
        for _ in range(3):
            assert await client.count(sandbox.start, sandbox.end) == 10
        assert offset.version == 2
        assert abs(offset.seconds) < 2
        assert sandbox.stats.answers == {0: 4, -16: 2}


async def test_a_clock_that_jumps_again_within_the_minute_is_corrected_when_two_refusals_agree() -> None:
    clock = ShiftedClock()
    async with Sandbox(records=10) as sandbox, open_with(client_of(sandbox), wall_clock=clock) as client:
        for ahead, refused in ((8 * HOUR, 1), (HOUR, 3), (-HOUR, 5)):
            clock.ahead = ahead
            for _ in range(2):
                assert await client.count(sandbox.start, sandbox.end) == 10
            assert sandbox.stats.answers[-16] == refused


@pytest.mark.parametrize("offset", [0.0, 200.0, -HOUR])
async def test_a_client_knows_how_far_the_vendors_clock_is_from_its_own(offset: float) -> None:
    async with Sandbox(records=10, clock_offset=offset) as sandbox, client_of(sandbox) as client:
        assert client.clock_offset is None
        begun = time()
        await client.ping()
        assert client.clock_offset is not None
        assert abs(client.clock_offset - offset) < 2 + time() - begun
        sandbox.change(send_date=False)
        for _ in range(15):
            assert client.clock_offset is not None
            await client.ping()
        assert client.clock_offset is None
    assert client.clock_offset is None


async def test_a_refused_login_measures_the_clock_too() -> None:
    async with Sandbox(records=10, clock_offset=200.0) as sandbox, client_of(sandbox) as client:
        sandbox.answer_next(-1)
        begun = time()
        with pytest.raises(AuthenticationError):
            await client.ping()
        assert client.clock_offset is not None
        assert abs(client.clock_offset - 200) < 2 + time() - begun


@pytest.mark.parametrize("ahead", [8 * HOUR, -8 * HOUR])
@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("records", [50, 2_500])
async def test_windows_are_young_by_the_vendors_clock(ahead: float, *, refuses: bool, records: int) -> None:
    """Whether it had to refuse a timestamp or not; a single page and windows with control counts."""
    tolerance = 60.0 if refuses else 10 * HOUR
    async with Sandbox(records=records, tolerance=tolerance) as sandbox:
        age = datetime.now(UTC) - sandbox.end
        for lateness, young in ((age + timedelta(hours=4), True), (age - timedelta(hours=4), False)):
            judge = client_of(sandbox, lateness=lateness, count_delay=timedelta(0))
            async with open_with(judge, wall_clock=ShiftedClock(ahead)) as client:
                found = await client.fetch_all(sandbox.end - timedelta(hours=1), sandbox.end)
            assert found.report.certified
            assert found.report.provisional == young * found.report.windows
            assert not found.report.local_clock


async def test_without_a_date_ages_are_this_machines_and_the_report_says_so() -> None:
    async with Sandbox(records=50, send_date=False) as sandbox:
        age = datetime.now(UTC) - sandbox.end
        async with client_of(sandbox, lateness=age + timedelta(hours=4), count_delay=timedelta(0)) as client:
            found = await client.fetch_all(sandbox.start, sandbox.end)
            assert (found.report.provisional, found.report.local_clock) == (1, True)
            assert "ages by this machine's clock (the vendor sends no Date)" in str(found.report)
            assert found.report.facts()["local_clock"] is True
            async with client.stream(sandbox.start, sandbox.end) as stream:
                batches = [batch async for batch in stream.batches()]
            assert [batch.report.local_clock for batch in batches] == [True]
            sandbox.change(send_date=True)
            found = await client.fetch_all(sandbox.start, sandbox.end)
            assert not found.report.local_clock
            assert "clock" not in str(found.report)
