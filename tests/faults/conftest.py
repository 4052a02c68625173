"""What the tests of faults share: a sandbox whose calls are canaries, and a look at what a client leaves."""
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
    """Count this process's sockets, where the system tells."""
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
    """Give transports that are closing the turns of the loop that they take; tell whether all is quiet then."""
    for _ in range(200):
        if is_quiet():
            return True
        await asyncio.sleep(0)
    return False


@pytest.fixture
def watching(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """A sandbox of canaries: nothing of them in logs and events, no task and no socket left behind."""

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
    gc.collect()  # what complains here fails the test: warnings are errors
