"""The client on asyncio's own event loop and on uvloop: timers and reused connections do not depend on the loop."""

import asyncio

import pytest
from msgspec.structs import replace

from aiosipcdr import CdrClient, OutageError, RatePolicy, RetryPolicy
from aiosipcdr.sandbox import Sandbox
from tests.client.conftest import END, START, RawServer, http, page
from tests.clients import QUICK

NEVER_PAID = replace(QUICK, budget=0)


async def test_the_loop_is_the_one_that_was_asked_for(anyio_backend: tuple[str, dict[str, bool]]) -> None:
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    assert loop == ("uvloop" if anyio_backend[1]["use_uvloop"] else "asyncio")


async def test_a_rate_and_retries_set_timers() -> None:
    retry = RetryPolicy(base=0.02, throttle_base=0.001, cap=0.02)
    async with (
        Sandbox(records=2_000) as sandbox,
        CdrClient(
            sandbox.base_url, sandbox.api_key, sandbox.api_secret, rate=RatePolicy(200.0, burst=2), retry=retry
        ) as client,
    ):
        sandbox.answer_next(0, -18, 0, -18, 0, -18, -18)
        records = await client.fetch_all(sandbox.start, sandbox.end)
        assert len(records) == 2_000
        assert records.report.retries == 4


async def test_a_connection_that_the_server_closed_while_idle_costs_nothing() -> None:
    answered = http(page(total=3))
    async with RawServer([answered, b"", answered]) as server, server.client(retry=NEVER_PAID) as client:
        for _ in range(2):
            assert await client.count(START, END) == 3
        assert server.connections == 2
        assert len(server.seen) == 3


async def test_a_new_connection_that_is_closed_unanswered_is_the_servers_fault() -> None:
    async with RawServer([b""]) as server, server.client(retry=NEVER_PAID) as client:
        with pytest.raises(OutageError):
            await client.count(START, END)
        assert len(server.seen) == 1
