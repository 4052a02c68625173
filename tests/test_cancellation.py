"""Cancelled runs: `CancelledError` is raised unchanged, and no task, socket or slot is left."""
# ruff: noqa: ANN401, ASYNC110, PT012 - any setting; waiting for the server is polling; a context may raise

import asyncio
import contextlib
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from aiosipcdr import CdrClient, ClientStateError, RetryPolicy
from aiosipcdr.events import Event, EventKind
from aiosipcdr.sandbox import Sandbox
from tests.clients import client_of
from tests.inside import check_idle, is_working, session_of
from tests.selection import pairs

SANDBOX = {"records": 1_200, "days": 5, "latency": 0.001}


async def reading(client: CdrClient, sandbox: Sandbox) -> int:
    async with client.stream(sandbox.start, sandbox.end) as stream:
        return len([record async for record in stream])


async def fetching(client: CdrClient, sandbox: Sandbox) -> int:
    return len(await client.fetch_all(sandbox.start, sandbox.end))


async def usable(client: CdrClient, sandbox: Sandbox) -> None:
    """Fail, instead of waiting for ever, if the client has lost places for requests."""
    async with asyncio.timeout(30):
        assert await client.count(sandbox.start, sandbox.end) == 1_200
        assert len(await client.fetch_all(sandbox.start, sandbox.end)) == 1_200
    check_idle(client)


class Stop:
    """A hook that does something to the run at the k-th event of a kind."""

    def __init__(self, kind: EventKind, at: int, act: Callable[[], object]) -> None:
        self.left = at
        self.kind = kind
        self.act = act

    def __call__(self, event: Event) -> None:
        if event.kind is self.kind:
            self.left -= 1
            if not self.left:
                self.act()


@pytest.mark.parametrize(
    ("kind", "concurrency"),
    pairs([EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED, EventKind.WINDOW_COMPLETE], [4, 1]),
)
async def test_a_run_can_be_cancelled_at_every_step(sandbox: Sandbox, kind: EventKind, concurrency: int) -> None:
    before = asyncio.all_tasks()
    steps = [1, 2, 3, 5, 8, 12, 13, 14] if kind is not EventKind.WINDOW_COMPLETE else [1, 2]
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(60),
    ):
        for work in (fetching, reading):
            for step in steps:
                tasks: list[asyncio.Task[int]] = []
                stop = Stop(kind, step, lambda tasks=tasks: tasks[0].cancel())  # type: ignore[misc]
                async with client_of(sandbox, concurrency=concurrency, hook=stop, session=session) as client:
                    tasks.append(asyncio.create_task(work(client, sandbox)))
                    try:
                        assert await tasks[0] == 1_200
                    except asyncio.CancelledError as cancelled:
                        assert cancelled.__cause__ is None  # noqa: PT017
                        assert tasks[0].cancelled()
                    else:
                        assert stop.left > 0 or kind is EventKind.WINDOW_COMPLETE
                    await asyncio.sleep(0)
                    # Connections that were broken off may be closing: those are aiohttp's, for a step or two.
                    assert not is_working(client)
                    async with asyncio.timeout(30):
                        assert await client.count(sandbox.start, sandbox.end) == 1_200
                assert not session.closed
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_run_can_be_cancelled_after_any_number_of_turns_of_the_loop(sandbox: Sandbox, concurrency: int) -> None:
    before = asyncio.all_tasks()
    # Of more pages than can arrive in so many turns, each of which sends at most one request per slot.
    async with client_of(sandbox, concurrency=concurrency, page_size=10) as client, asyncio.timeout(60):
        for turns in range(30):
            task = asyncio.create_task(fetching(client, sandbox))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == before
        await usable(client, sandbox)


async def test_cancelling_twice_changes_nothing(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(sandbox) as client:
        for turns in range(4):
            sandbox.reset_stats()
            task = asyncio.create_task(fetching(client, sandbox))
            while sandbox.stats.requests < 3:
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert asyncio.all_tasks() == before
        await usable(client, sandbox)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_stream_can_be_cancelled_while_it_is_left(sandbox: Sandbox, concurrency: int) -> None:
    """Leaving waits for workers that have just started; a cancellation at that moment loses none of their slots."""
    loop = asyncio.get_running_loop()
    leaving: list[asyncio.Task[None]] = []

    async def leave_early(client: CdrClient) -> None:
        async with client.stream(sandbox.start, sandbox.end):
            pass

    def hook(event: Event) -> None:
        if event.kind is EventKind.RUN_STARTED and leaving:
            loop.call_soon(leaving.pop().cancel)

    async with client_of(sandbox, concurrency=concurrency, hook=hook) as client:
        for _ in range(concurrency):
            task = asyncio.create_task(leave_early(client))
            leaving.append(task)
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for _ in range(3):
            await asyncio.sleep(0)
        await usable(client, sandbox)


HOLDING = threading.Event()


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A vendor who does not answer as long as `HOLDING` is set."""

    @web.middleware
    async def hold(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        while HOLDING.is_set():
            await asyncio.sleep(0.002)
        return await handler(request)

    HOLDING.set()
    with Sandbox(records=10, middlewares=[hold]) as sandbox:
        try:
            yield sandbox
        finally:
            HOLDING.clear()


async def answer_quickly(client: CdrClient, held: Sandbox) -> None:
    HOLDING.clear()
    async with asyncio.timeout(30):
        assert await client.count(held.start, held.end) == 10


async def test_a_deadline_of_asyncio_becomes_its_timeout_error(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(held) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.02):
                await client.fetch_all(held.start, held.end)
        assert type(caught.value) is TimeoutError
        assert asyncio.all_tasks() == before
        await answer_quickly(client, held)


async def test_a_deadline_of_wait_for_becomes_its_timeout_error(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(held) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.fetch_all(held.start, held.end), 0.02)
        assert asyncio.all_tasks() == before
        await answer_quickly(client, held)


async def test_a_deadline_of_anyio_becomes_its_timeout_error(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(held) as client:
        with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.02):
            await client.fetch_all(held.start, held.end)
        assert type(caught.value) is TimeoutError
        assert asyncio.all_tasks() == before
        await answer_quickly(client, held)


async def test_moving_on_is_quiet(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(held) as client:
        with anyio.move_on_after(0.02) as scope:
            async with client.stream(held.start, held.end) as stream:
                async for _ in stream:
                    pass
        assert scope.cancelled_caught
        assert asyncio.all_tasks() == before
        await answer_quickly(client, held)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancelled_run_still_emits_its_end(held: Sandbox) -> None:
    events: list[Event] = []
    async with client_of(held, hook=events.append) as client:
        with anyio.move_on_after(0.02) as scope:
            await client.fetch_all(held.start, held.end)
        assert scope.cancelled_caught
    assert events[0].kind is EventKind.RUN_STARTED
    assert events[-1].kind is EventKind.RUN_FINISHED
    assert not any(event.report.certified for event in events if event.report is not None)


async def test_a_scope_around_the_client_closes_it_too(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    with anyio.move_on_after(0.02) as scope:
        async with client_of(held) as client:
            session = session_of(client)
            await client.fetch_all(held.start, held.end)
    assert scope.cancelled_caught
    assert session is not None
    assert session.closed
    assert asyncio.all_tasks() == before


class SiblingError(Exception):
    """Of the caller's task group."""


@pytest.mark.parametrize("group", [asyncio.TaskGroup, anyio.create_task_group])
async def test_a_siblings_failure_ends_a_run_and_is_the_only_error(held: Sandbox, group: Any) -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        while not held.stats.requests:
            await asyncio.sleep(0.001)
        raise SiblingError

    async def fetch(client: CdrClient) -> None:
        await client.fetch_all(held.start, held.end)

    async with client_of(held) as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with group() as tasks:
                if isinstance(tasks, asyncio.TaskGroup):
                    tasks.create_task(fetch(client))
                    tasks.create_task(fail())
                else:
                    tasks.start_soon(fetch, client)
                    tasks.start_soon(fail)
        assert [type(error) for error in caught.value.exceptions] == [SiblingError]
        assert asyncio.all_tasks() == before
        await answer_quickly(client, held)


async def test_a_run_that_fails_in_a_group_is_a_plain_exception_in_it(sandbox: Sandbox) -> None:
    from aiosipcdr import AuthenticationError

    async with CdrClient(sandbox.base_url, sandbox.api_key, "sandbox-wrong") as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(client.fetch_all(sandbox.start, sandbox.end))
        assert [type(error) for error in caught.value.exceptions] == [AuthenticationError]


async def test_closing_the_client_ends_running_requests(held: Sandbox) -> None:
    before = asyncio.all_tasks()
    client = await client_of(held).open()
    tasks = [
        asyncio.create_task(client.fetch_all(held.start, held.end)),
        asyncio.create_task(client.count(held.start, held.end)),
        asyncio.create_task(reading(client, held)),
    ]
    while held.stats.requests < 3:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(30):
        await client.aclose()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ClientStateError] * 3
    assert all("closed" in str(outcome) for outcome in outcomes)
    assert asyncio.all_tasks() == before
    async with client:
        await answer_quickly(client, held)


async def test_closing_the_client_ends_a_stream_that_is_paused(sandbox: Sandbox) -> None:
    client = await client_of(sandbox).open()
    async with client.stream(sandbox.start, sandbox.end) as stream:
        reader = aiter(stream.windows())
        await anext(reader)
        await client.aclose()
        with pytest.raises(ClientStateError, match="closed"):
            await anext(reader)


async def test_a_cancelled_run_of_many_leaves_the_others_alone(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with client_of(sandbox, concurrency=2) as client:
        tasks = [asyncio.create_task(fetching(client, sandbox)) for _ in range(4)]
        while sandbox.stats.requests < 20:
            await asyncio.sleep(0)
        tasks[1].cancel()
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(1), asyncio.CancelledError)
        assert outcomes == [1_200] * 3
        assert asyncio.all_tasks() == before
        await usable(client, sandbox)


async def test_a_run_that_waits_for_its_retry_can_be_cancelled() -> None:
    retrying = asyncio.Event()

    def hear(event: Event) -> None:
        if event.kind in (EventKind.REQUEST_RETRIED, EventKind.THROTTLED):
            retrying.set()

    before = asyncio.all_tasks()
    with Sandbox(records=10) as sandbox:
        retry = RetryPolicy(base=1_000.0, cap=1_000.0, deadline=1e6, stall=1e6)
        async with client_of(sandbox, retry=retry, hook=hear) as client:
            sandbox.answer_next(-18)
            task = asyncio.create_task(client.fetch_all(sandbox.start, sandbox.end))
            await retrying.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == before
            async with asyncio.timeout(30):
                assert await client.count(sandbox.start, sandbox.end) == 10


async def test_nothing_is_left_for_the_garbage_collector_to_complain_about(held: Sandbox) -> None:
    async with client_of(held) as client:
        with anyio.move_on_after(0.02):
            await client.fetch_all(held.start, held.end)
    del client
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()  # what complains here fails the test: warnings are errors


def test_the_end_of_the_loop_ends_a_run(held: Sandbox) -> None:
    """A task without a waiter is cancelled by `asyncio.run`, and with it all that it started."""
    outcomes: list[BaseException] = []

    async def main() -> None:
        async def forgotten() -> None:
            try:
                async with client_of(held) as client:
                    await client.fetch_all(held.start, held.end)
            except BaseException as error:
                outcomes.append(error)
                raise

        task = asyncio.create_task(forgotten())
        while not held.stats.requests:
            await asyncio.sleep(0.001)
        assert not task.done()

    asyncio.run(main())
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError]
