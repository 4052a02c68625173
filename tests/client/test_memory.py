"""A run leaves nothing behind: reference counting alone frees it, however it ended."""
# ruff: noqa: ANN401 - the options of the methods

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr import (
    CdrClient,
    ClientStateError,
    FilterIgnoredError,
    IncompleteRangeError,
    OutOfTimeRangeError,
    SchemaMismatchError,
    ServerFaultError,
    VendorError,
)
from aiosipcdr.events import Event, EventKind
from aiosipcdr.proof.overlaps import EarlierWindow
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.sandbox import Fault, Sandbox
from tests.clients import QUICK_TWICE, client_of

SANDBOX = {"records": 2_200, "days": 20}

Act = Callable[[], Awaitable[object]]


@contextmanager
def no_collector() -> Iterator[None]:
    """Collect no garbage, and let `gc.get_objects` leave out every object that exists now."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


async def find_leftovers(act: Act) -> Counter[str]:
    """Return the number of the client's objects that `act` leaves behind when it is done once more, by type."""
    await act()  # fills caches
    with no_collector():
        await act()
        for _ in range(20):
            await asyncio.sleep(0.01)  # callbacks of ended tasks, and threads that still let go of their last call
            if not (leftovers := _count_ours()):
                break
        return leftovers


def _count_ours() -> Counter[str]:
    names = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    ours = (name for name in names if name.startswith("aiosipcdr.") and ".sandbox." not in name)
    return Counter(name for name in ours if name != "aiosipcdr.export.keys.DerivedKey")  # in a small cache


async def test_objects_in_cycles_are_found() -> None:
    async def leave() -> None:
        kept = EarlierWindow(datetime(2026, 10, 1, tzinfo=UTC), WindowScan(100), [])
        kept.splits = [kept]  # type: ignore[list-item]

    assert await find_leftovers(leave) == {
        "aiosipcdr.proof.overlaps.EarlierWindow": 1,
        "aiosipcdr.proof.scan.WindowScan": 1,
    }


def failing(act: Act, kind: type[BaseException]) -> Act:
    async def fail() -> None:
        with pytest.raises(kind):
            await act()

    return fail


def reading(client: CdrClient, sandbox: Sandbox, folder: Path, **options: Any) -> list[Act]:
    """Return every way to read the range of `sandbox`."""
    span = sandbox.start - timedelta(days=20), sandbox.end

    async def stream() -> None:
        async with client.stream(*span, **options) as stream:
            async for _ in stream:
                pass

    return [
        lambda: client.fetch_all(*span, **options),
        stream,
        lambda: client.export(*span, folder / "calls.ndjson", overwrite=True, **options),
    ]


async def test_a_complete_run_leaves_nothing(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    span = sandbox.start, sandbox.end
    others: list[Act] = [lambda: client.count(*span), lambda: client.fetch_page(*span), client.ping]
    for act in reading(client, sandbox, tmp_path) + others:
        assert await find_leftovers(act) == {}


async def test_a_stream_that_is_left_early_or_never_entered_leaves_nothing(client: CdrClient, sandbox: Sandbox) -> None:
    async def leave() -> None:
        async with client.stream(sandbox.start, sandbox.end) as stream:
            async for _ in stream:
                break

    async def forget() -> None:
        client.stream(sandbox.start, sandbox.end)

    assert await find_leftovers(leave) == {}
    assert await find_leftovers(forget) == {}


UNREADABLE = {"total": 9, "records": [{"voiceId": str(number), "cost": "unknown"} for number in range(9)]}
FAILING: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception]]] = {
    "refused": ({"faults": [Fault("code", code=-10, page=7, times=0)]}, {}, VendorError),
    "failing": ({"faults": [Fault("http", status=500, page=7, times=0)]}, {}, ServerFaultError),
    "unproven": ({"wrong_total": 1, "records": 20}, {}, IncompleteRangeError),
    "deleted": ({"retention": timedelta(days=22)}, {}, OutOfTimeRangeError),
    "unfiltered": ({"filters": "ignored"}, {"sip_group_name": "another"}, FilterIgnoredError),
    "unreadable": ({"faults": [Fault("edit", data=UNREADABLE, times=0)]}, {}, SchemaMismatchError),
}


@pytest.mark.parametrize("name", FAILING)
async def test_a_failed_run_leaves_nothing(name: str, tmp_path: Path) -> None:
    settings, options, error = FAILING[name]
    async with Sandbox(**(SANDBOX | settings)) as sandbox, client_of(sandbox, retry=QUICK_TWICE) as client:
        fetch_all, _, export = reading(client, sandbox, tmp_path, **options)
        for act in fetch_all, export:
            assert await find_leftovers(failing(act, error)) == {}


async def test_failed_counts_and_pages_leave_nothing(sandbox: Sandbox) -> None:
    sandbox.add_faults(Fault("code", code=-10, times=0))
    async with client_of(sandbox) as client:
        span = sandbox.start, sandbox.end
        count = lambda: client.count(span[0] - timedelta(days=90), span[1])  # noqa: E731 - several requests
        for act in (count, lambda: client.fetch_page(*span), client.ping):
            assert await find_leftovers(failing(act, VendorError)) == {}


async def test_a_run_whose_hook_raises_leaves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    def hook(event: Event) -> None:
        if event.kind is EventKind.WINDOW_COMPLETE:
            raise LookupError(event.run)

    async with client_of(sandbox, hook=hook) as client:
        for act in reading(client, sandbox, tmp_path):
            assert await find_leftovers(failing(act, LookupError)) == {}


async def test_a_cancelled_run_leaves_nothing(client: CdrClient, sandbox: Sandbox, tmp_path: Path) -> None:
    def cancelled(act: Act, *, times: int) -> Act:
        async def cancel() -> None:
            before = sandbox.stats.requests
            task = asyncio.ensure_future(act())
            while sandbox.stats.requests < before + 6:  # noqa: ASYNC110 - waiting for another machine is polling
                await asyncio.sleep(0)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            await task

        return failing(cancel, asyncio.CancelledError)

    for act in reading(client, sandbox, tmp_path):
        for times in 1, 2:
            assert await find_leftovers(cancelled(act, times=times)) == {}


async def test_a_run_whose_client_was_closed_leaves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async def close() -> None:
        async with client_of(sandbox) as client:
            acts = [asyncio.ensure_future(act()) for act in reading(client, sandbox, tmp_path)[:2]]
            before = sandbox.stats.requests
            while sandbox.stats.requests < before + 6:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        errors = await asyncio.gather(*acts, return_exceptions=True)
        assert {type(error) for error in errors} == {ClientStateError}

    assert await find_leftovers(close) == {}
