"""A sandbox whose calls are canaries, and a check that a client leaves no task and no socket."""
# ruff: noqa: ANN401 - the sandbox's and the constructor's own settings

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiosipcdr.http import transport as signer
from aiosipcdr.sandbox import Sandbox
from aiosipcdr.wire.signing import Credentials, sign
from tests.faults.shapes import whole_call
from tests.watch import Watch

Watching = Callable[..., AbstractAsyncContextManager[Watch]]


def open_sockets() -> int:
    """Return the number of this process's sockets, 0 where the system does not list them."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return 0
    opened = 0
    for entry in folder.iterdir():
        try:
            opened += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue  # the listing's own
    return opened


async def settle(is_quiet: Callable[[], bool]) -> bool:
    """Let closing transports finish; return whether `is_quiet` holds then."""
    for _ in range(200):
        if is_quiet():
            return True
        await asyncio.sleep(0)
    return False


@pytest.fixture
def watching(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Return a starter of a sandbox with canaries: none may reach logs or events, no task and no socket may stay."""

    @asynccontextmanager
    async def start(number: int = 5, **config: Any) -> AsyncIterator[Watch]:
        def remember(credentials: Credentials, timestamp: int) -> str:
            signs.append(sign(credentials, timestamp))
            return signs[-1]

        signs: list[str] = []
        monkeypatch.setattr(signer, "sign", remember)
        caplog.set_level(logging.DEBUG)
        before, sockets = asyncio.all_tasks(), open_sockets()
        async with Sandbox(
            **({"calls": [whole_call(n) for n in range(number)], "months_back": None} | config)
        ) as sandbox:
            watch = Watch(sandbox, signs)
            yield watch
        assert await settle(lambda: asyncio.all_tasks() == before and open_sockets() == sockets)
        for record in caplog.records:
            watch.check(record.getMessage())
        watch.check(caplog.text)
        watch.check_events()
        assert watch.searched > 50

    return start


@pytest.fixture(scope="module", autouse=True)
def _nothing_for_the_collector() -> Iterator[None]:
    yield
    gc.collect()  # a warning about garbage fails the test
