import asyncio
import contextlib
import socket
import threading
from pathlib import Path

import pytest

from aiosipcdr.sandbox import Sandbox


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("aiosipcdr-sandbox")]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Sandbox(records=10, path="temp"):
        assert own_threads()
        assert list(tmp_path.iterdir())
    assert not own_threads()
    assert not list(tmp_path.iterdir())


async def test_none_of_its_tasks_is_the_callers() -> None:
    before = asyncio.all_tasks()
    async with Sandbox(records=10):
        assert asyncio.all_tasks() == before
    assert asyncio.all_tasks() == before
    assert not own_threads()


async def test_the_callers_loop_goes_on_while_calls_are_made() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with Sandbox(records=2_000):
        assert ticks > 1
    ticking.cancel()


async def test_start_can_be_cancelled_while_calls_are_generated() -> None:
    sandbox = Sandbox(records=10_000_000)
    opening = asyncio.create_task(sandbox.__aenter__())
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not own_threads()


async def test_start_errors_are_raised_on_enter(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(FileExistsError):
        async with Sandbox(records=1, path=taken):
            pass
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(OSError, match="in use"), Sandbox(records=1, port=port):
            pass
    assert not own_threads()


def test_an_exception_inside_ends_it_too() -> None:
    with pytest.raises(ZeroDivisionError), Sandbox(records=1):
        raise ZeroDivisionError
    assert not own_threads()


def test_a_runner_runs_once() -> None:
    sandbox = Sandbox(records=1)
    with sandbox:
        pass
    with pytest.raises(RuntimeError, match="can run only once"), sandbox:
        pass


def test_a_client_that_hangs_on_does_not_hold_it_up() -> None:
    with Sandbox(records=1) as sandbox:
        host, port = sandbox.base_url.split("/")[2].split(":")
        idle = socket.create_connection((host, int(port)))
        half = socket.create_connection((host, int(port)))
        half.sendall(b"POST /v3/voice/recordSipQuery HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    for connection in (idle, half):
        # One that was not accepted yet is reset.
        with connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
