"""A command's coroutine on uvloop where it is installed, otherwise on asyncio's loop; signals end it on both."""

import asyncio
import errno
import os
import signal
import sys

import pytest

from aiosipcdr.cli.exit_codes import Terminated
from aiosipcdr.cli.runner import find_fastest_loop, run_to_end


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=pytest.mark.needs("package:uvloop"))])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "uvloop":
        monkeypatch.delitem(sys.modules, "uvloop")  # see conftest.py
    return str(request.param)


def test_the_loop_is_the_fastest_that_is_installed(loop: str) -> None:
    async def name_loop() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert run_to_end(name_loop()) == loop


@pytest.mark.needs("package:uvloop")
def test_uvloop_is_not_used_beside_a_closed_standard_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    # The loop would get the free descriptor, and libuv ends the process when it closes one below 3.
    def find(descriptor: int) -> None:
        if descriptor == 2:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.delitem(sys.modules, "uvloop")
    monkeypatch.setattr(os, "fstat", find)
    assert find_fastest_loop() is None
    monkeypatch.undo()


@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process there")
@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_the_command_after_it_has_cleaned_up(number: signal.Signals, error: type[BaseException]) -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    before = signal.getsignal(number)
    with pytest.raises(error):
        run_to_end(work())
    assert done == ["cleaned up"]
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("loop")
def test_an_error_and_a_result_are_passed_on() -> None:
    async def work(result: int) -> int:
        await asyncio.sleep(0)
        return 1 // result

    assert run_to_end(work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        run_to_end(work(0))
