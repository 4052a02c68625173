"""Work in threads: a cancelled task waits for its end, however it is cancelled."""

import asyncio
import threading
from collections.abc import Callable

import anyio
import pytest

from aiosipcdr.threads import run_in_thread

pytestmark = pytest.mark.anyio


class Work:
    """A function that runs until it may end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.has_ended = False

    def __call__(self, result: int) -> int:
        self.began.set()
        assert self.may_end.wait(30)
        self.has_ended = True
        return 1 // result


async def start(work: Work, result: int = 1) -> asyncio.Task[int]:
    task = asyncio.create_task(run_in_thread(work, result))
    while not work.began.is_set():  # noqa: ASYNC110 - set by a thread
        await asyncio.sleep(0.001)
    return task


async def test_results_and_errors_are_passed_on() -> None:
    assert await run_in_thread(int, "12", base=8) == 10
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("result", [1, 0])  # 0: the work fails
async def test_a_cancelled_task_waits_for_its_work(result: int) -> None:
    work = Work()
    task = await start(work, result)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.001)
        assert not task.done()
    work.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.has_ended


async def test_a_cancelled_scope_waits_for_its_work() -> None:
    work = Work()
    end: Callable[[], None] = work.may_end.set
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.01, scope.cancel)
        asyncio.get_running_loop().call_later(0.05, end)
        await run_in_thread(work, 1)
        await anyio.lowlevel.checkpoint()
        pytest.fail("the scope was cancelled")
    assert work.has_ended
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_in_thread(pytest.fail, "it begins nothing new")
