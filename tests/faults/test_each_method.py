"""Rows of the table without a faulty response (clock, cancellation, signals, client state), for each method."""
# ruff: noqa: ANN401, ASYNC110 - the constructor's own settings; waiting for the server is polling

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiosipcdr import (
    CallDetailRecord,
    CdrClient,
    ClientStateError,
    OutageError,
    RetryPolicy,
    TlsError,
)
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import QUICK, ShiftedClock, client_of, open_with
from tests.selection import pairs, some

Fetch = Callable[..., Awaitable[list[CallDetailRecord]]]


async def fetch_page(client: CdrClient, *span: Any) -> list[CallDetailRecord]:
    return (await client.fetch_page(*span)).records


async def fetch_all(client: CdrClient, *span: Any) -> list[CallDetailRecord]:
    return await client.fetch_all(*span)


async def stream(client: CdrClient, *span: Any) -> list[CallDetailRecord]:
    async with client.stream(*span) as opened:
        return [record async for record in opened]


METHODS = pytest.mark.parametrize("fetch", [fetch_page, fetch_all, stream])


def span(sandbox: Sandbox) -> tuple[Any, Any]:
    return sandbox.start, sandbox.end


@METHODS
async def test_row_4_https_on_a_plain_port_is_reported_after_two_attempts(fetch: Fetch) -> None:
    async with Sandbox(records=1) as sandbox:
        url = sandbox.base_url.replace("http:", "https:")
        attempts: list[Event] = []
        async with CdrClient(url, "key", "secret", retry=QUICK, hook=attempts.append) as client:
            with pytest.raises(TlsError, match="scheme"):
                await fetch(client, *span(sandbox))
    assert [event.kind for event in attempts].count(EventKind.REQUEST_SENT) == 2


@METHODS
async def test_row_51_a_signature_is_made_when_the_connection_is_there(fetch: Fetch) -> None:
    free, clock = asyncio.Event(), ShiftedClock(-600)

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await free.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(hold, "127.0.0.1", 0) as server,
        Sandbox(records=3, tolerance=300) as sandbox,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        open_with(client_of(sandbox, session=session, retry=RetryPolicy(attempts=1)), wall_clock=clock) as client,
    ):
        owners = asyncio.create_task(session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        while not session.connector._acquired:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        ours = asyncio.ensure_future(fetch(client, *span(sandbox)))
        while not session.connector._waiters:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        clock.ahead = 0.0
        free.set()
        (await owners).release()
        assert len(await ours) == 3
        assert sandbox.stats.answers == {0: 1 if fetch is fetch_page else 2}


@METHODS
async def test_row_69_an_invalid_range_is_refused_before_any_request(fetch: Fetch) -> None:
    async with Sandbox(records=1) as sandbox, client_of(sandbox) as client:
        for bad in ((sandbox.end, sandbox.start), (sandbox.start.replace(tzinfo=None), sandbox.end)):
            with pytest.raises(ValueError, match=r"inverted|naive"):
                await fetch(client, *bad)
        assert sandbox.stats.requests == 0


@METHODS
async def test_row_70_a_cancellation_comes_out_as_it_is(fetch: Fetch) -> None:
    before = asyncio.all_tasks()
    async with Sandbox(records=50, faults=[Fault("hang")]) as sandbox, client_of(sandbox) as client:
        task = asyncio.ensure_future(fetch(client, *span(sandbox)))
        while not sandbox.stats.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before
        assert len(await fetch(client, *span(sandbox))) == 50


PROGRAM = """
import asyncio, os, signal, sys
from aiosipcdr.sandbox import Sandbox
from tests.faults import test_each_method as rows

def strike(event):
    if event.kind == "request_answered" and not struck:
        struck.append(1)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with rows.client_of(sandbox, hook=strike) as client:
        try:
            await getattr(rows, sys.argv[2])(client, sandbox.start, sandbox.end)
            await asyncio.sleep(30)
        finally:
            print(len(asyncio.all_tasks()), await client.count(sandbox.start, sandbox.end))

struck = []
with Sandbox(records=300, latency=0.005) as sandbox:
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("name", "ends", "fetch"),
    [
        (*ending, fetch)
        for ending, fetch in some(
            pairs([("SIGTERM", "CancelledError"), ("SIGINT", "KeyboardInterrupt")], [fetch_page, fetch_all, stream]),
            every=3,
        )
    ],
)
def test_row_71_a_signal_ends_it_and_leaves_nothing(fetch: Fetch, name: str, ends: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-X", "dev", "-c", PROGRAM, name, fetch.__name__],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.stdout.splitlines() == ["1 300", ends], done.stderr
    assert "Traceback" not in done.stderr
    assert "ResourceWarning" not in done.stderr


@METHODS
async def test_row_79_a_closed_client_or_session_says_so(fetch: Fetch) -> None:
    async with Sandbox(records=1) as sandbox:
        async with aiohttp.ClientSession() as session:
            lent = client_of(sandbox, session=session)
            await lent.open()
            own = await client_of(sandbox).open()
            await own.aclose()
        for client in (own, lent):
            with pytest.raises(ClientStateError, match=r"not open|closed"):
                await fetch(client, *span(sandbox))
        await lent.aclose()
        assert sandbox.stats.requests == 0


@METHODS
def test_row_80_a_client_belongs_to_the_loop_it_is_opened_in(fetch: Fetch) -> None:
    with Sandbox(records=7) as sandbox:
        client = client_of(sandbox)

        async def use() -> int:
            async with client:
                return len(await fetch(client, *span(sandbox)))

        assert [asyncio.run(use()), asyncio.run(use())] == [7, 7]
        with asyncio.Runner() as one, asyncio.Runner() as other:
            one.run(client.open())

            async def use_elsewhere() -> None:
                await fetch(client, *span(sandbox))

            with pytest.raises(ClientStateError, match="event loop"):
                other.run(use_elsewhere())
            one.run(client.aclose())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@METHODS
async def test_row_81_a_forked_child_gets_an_error(fetch: Fetch) -> None:
    async with Sandbox(records=1) as sandbox, client_of(sandbox) as client:
        client._session._process -= 1  # as a child finds it: the number is its parent's
        with pytest.raises(ClientStateError, match="process"):
            await fetch(client, *span(sandbox))
        client._session._process += 1
        assert multiprocessing.parent_process() is None


@pytest.mark.parametrize("jump", [-3_600, 3_600])
@METHODS
async def test_rows_82_and_83_a_clock_that_jumps_costs_a_fresh_signature(fetch: Fetch, jump: int) -> None:
    clock = ShiftedClock()
    async with Sandbox(records=5) as sandbox, open_with(client_of(sandbox), wall_clock=clock) as client:
        assert len(await fetch(client, *span(sandbox))) == 5
        clock.ahead = jump
        sandbox.reset_stats()
        assert len(await fetch(client, *span(sandbox))) == 5
        assert sandbox.stats.answers == {-16: 1, 0: 1 if fetch is fetch_page else 2}


@pytest.mark.parametrize("kind", [EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED, EventKind.RUN_FINISHED])
@METHODS
async def test_row_86_hook_exceptions_are_raised_unchanged(fetch: Fetch, kind: EventKind) -> None:
    def hook(event: Event) -> None:
        if event.kind is kind and not over:
            raise problem

    problem, over = LookupError("mine"), list[int]()
    before = asyncio.all_tasks()
    async with Sandbox(records=5) as sandbox, client_of(sandbox, hook=hook) as client:
        with pytest.raises(LookupError) as caught:
            await fetch(client, *span(sandbox))
        assert caught.value is problem
        over.append(1)
        assert asyncio.all_tasks() == before
        assert len(await fetch(client, *span(sandbox))) == 5


@METHODS
async def test_row_87_an_outage_ends_with_the_budget_or_the_stall(fetch: Fetch) -> None:
    for settings, requests in (({"budget": 14 * 3}, 4), ({"stall": 0.0}, 1)):
        faults = [Fault("http", status=500, times=0)]
        retry = RetryPolicy(attempts=1_000, base=0.001, cap=0.002, **settings)
        async with Sandbox(records=5, faults=faults) as sandbox, client_of(sandbox, retry=retry) as client:
            with pytest.raises(OutageError):
                await fetch(client, *span(sandbox))
            assert requests <= sandbox.stats.requests <= requests + 1


@METHODS
async def test_row_68_a_window_that_is_not_settled_is_certified_and_provisional(fetch: Fetch) -> None:
    async with (
        Sandbox(records=5) as sandbox,
        client_of(sandbox, lateness=timedelta(days=36_500), count_delay=timedelta(0)) as client,
    ):
        found = await fetch(client, *span(sandbox))
        assert len(found) == 5
        if fetch is fetch_all:
            assert found.report.certified  # type: ignore[attr-defined]
            assert found.report.provisional == 1  # type: ignore[attr-defined]
