"""A run: its plan, requests that wait for another attempt, and waiters for the result."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr import ClientStateError
from aiosipcdr.engine.run import Job, Run
from aiosipcdr.model.query import Filters
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.queries import RangeCount, SinglePage

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(days=70))


async def test_requests_that_failed_before_come_first() -> None:
    run = Run(1, RangeCount(WINDOW, Filters()))
    first, second = run.next_job(), run.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    run.requeue(second)
    run.requeue(first)
    assert run.next_job() is second
    assert run.next_job(may_start_pages=False) is first
    assert run.next_job(may_start_pages=False) is None
    assert run.next_job() is not None


async def test_a_run_that_has_ended_gives_nothing_out() -> None:
    for end in (lambda run: run.close(), lambda run: run.fail(ValueError())):
        run = Run(1, RangeCount(WINDOW, Filters()))
        job = run.next_job()
        assert job is not None
        end(run)  # type: ignore[no-untyped-call]
        run.requeue(job)
        assert run.next_job() is None


async def test_the_first_error_wins() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    first = ValueError("first")
    run.fail(first)
    run.fail(KeyError("second"))
    await run.wait()
    with pytest.raises(ValueError, match="first") as caught:
        run.check()
    assert caught.value is first


async def test_two_tasks_cannot_wait_for_one_run() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    one = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    with pytest.raises(ClientStateError, match="two tasks"):
        await run.wait()
    run.fail(KeyError("over"))
    await one
    with pytest.raises(KeyError):
        run.check()


async def test_a_waiter_of_an_abandoned_run_gets_an_error() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    waiting = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    run.close()
    with pytest.raises(ClientStateError, match="was left"):
        await waiting
    with pytest.raises(ClientStateError, match="was left"):
        await run.wait()
    run.check()  # nothing went wrong with it


async def test_the_error_that_ended_a_run_is_raised_after_it_was_left_too() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    mine = ValueError("mine")
    run.fail(mine)
    run.close()
    with pytest.raises(ValueError, match="mine") as caught:
        await run.wait()
    assert caught.value is mine


async def test_two_results_at_once_wake_a_waiter_once() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    waiting = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    run.notify()
    run.notify()
    await asyncio.sleep(0)
    assert not waiting.done(), "there is no result yet, whoever says so"
    run.fail(KeyError("over"))
    await waiting


async def test_waiting_can_be_cancelled_and_begun_again() -> None:
    run = Run(1, SinglePage(WINDOW, Filters(), current=1, size=1))
    one = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    run.notify()
    other = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    run.fail(KeyError("over"))
    await other
    with pytest.raises(KeyError):
        run.check()
