"""Processes that write the files of days, one day after the other, for one client.

The parent hands out days and takes back events and results; the processes share its request rate and its concurrency.
They run `aiosipcdr.worker` in sessions of their own, which Ctrl-C does not reach, ignore SIGTERM, and end with the
parent whatever ends it.
"""

import asyncio
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec.structs import replace

from aiosipcdr.engine.engine import run_numbers
from aiosipcdr.engine.session import EngineSession
from aiosipcdr.events import EventHook, EventKind, choose_events
from aiosipcdr.export.paths import DayFile
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.report import DayReport
from aiosipcdr.rates import RateServer, RemoteRate
from aiosipcdr.wire.signing import reveal

__all__ = ["LENGTH", "DayProcesses"]

LENGTH: Final = struct.Struct("!Q")
"""The length before each message, in both directions; a message is a pickle."""

_STOP_SECONDS: Final = 30.0
# The processes import this package from here, even if the working folder has another one.
_PACKAGE_FOLDER: Final = str(Path(__file__).resolve().parents[2])
_TRACED: Final = (EventKind.REQUEST_SENT, EventKind.REQUEST_ANSWERED)


class DayProcesses:
    """Starts the processes of one export and stops them; an async context manager."""

    def __init__(
        self, session: EngineSession, settings: Mapping[str, Any], arguments: Mapping[str, Any], *, number: int
    ) -> None:
        """Prepare `number` processes, at most as many as the client has concurrent requests.

        Args:
            session: The session of the client.
            settings: The arguments that build the client again.
            arguments: Those of `CdrClient.export_days`, without the days.
            number: The number of processes.

        Raises:
            ValueError: Something cannot be handed to another process.
        """
        self._session = session
        self._number = min(number, session.transport.connections)
        self._settings = {name: _pack(name, value) for name, value in settings.items()}
        self._arguments = {name: _pack(name, value) for name, value in arguments.items()}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Sequence[Callable[[DayFile], Any]]:
        """Start the processes; return the functions that write a day, one for each."""
        session = self._session
        async with AsyncExitStack() as stack:
            rate = session.rate
            if rate is not None and not isinstance(rate, RemoteRate):
                rate = (await stack.enter_async_context(RateServer(rate))).handle
            wants = choose_events(session.hook)
            traced = [kind for kind in _TRACED if wants(kind)]
            share, rest = divmod(session.transport.connections, self._number)
            writers = []
            for place in range(self._number):
                pace = {"rate": pickle.dumps(rate), "concurrency": pickle.dumps(share + (place < rest))}
                setup = {"settings": self._settings | pace, "arguments": self._arguments, "traced": traced}
                writers.append((await stack.enter_async_context(_Worker(session, setup))).write)
            self._stack = stack.pop_all()
        return writers

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the processes; unfinished days keep their journals."""
        await self._stack.aclose()


class _Worker:
    """One process."""

    def __init__(self, session: EngineSession, setup: Mapping[str, Any]) -> None:
        self._session = session
        self._setup = setup
        self._hook: EventHook = session.hook
        self._runs: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-P", "-m", "aiosipcdr.worker"]
        if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            command.append("uvloop")  # as fast a loop as this one
        paths = os.pathsep.join([_PACKAGE_FOLDER, *filter(None, sys.path)])
        new_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows: keeps Ctrl-C away
        self._process: Process = await anyio.open_process(
            command,
            stderr=None,
            env=os.environ | {"PYTHONPATH": paths},
            creationflags=new_group,
            start_new_session=True,  # the same elsewhere; uvloop hands on no blocked signals
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        self._answers = BufferedByteReceiveStream(self._process.stdout)
        try:
            await self._send(self._setup)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def write(self, file: DayFile) -> DayReport | None:
        """Write a day; return `None` if it has not begun by the vendor's clock."""
        try:
            await self._send((file.day.date, *reveal(self._session.credentials())))
            while True:
                kind, value = await self._receive()
                if kind == "event":
                    if (run := self._runs.get(value.run)) is None:
                        run = self._runs[value.run] = next(run_numbers)
                    self._hook(replace(value, run=run))
                elif kind == "error":
                    raise value
                else:
                    report: DayReport | None = value
                    return report
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
            code = await self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ExportError(
            f"the process that wrote {file.paths.target} {how}; to resume, run the same export again",
            retryable=True,
        )

    async def _send(self, message: object) -> None:
        data = pickle.dumps(message)
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        await self._process.stdin.send(LENGTH.pack(len(data)) + data)

    async def _receive(self) -> tuple[str, Any]:
        (length,) = LENGTH.unpack(await self._answers.receive_exactly(LENGTH.size))
        message: tuple[str, Any] = pickle.loads(await self._answers.receive_exactly(length))  # noqa: S301 - of our own process
        return message

    async def _stop(self) -> None:
        # The process ends when its stdin ends.
        process = self._process
        with anyio.CancelScope(shield=True):
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                if process.stdin is not None:
                    await process.stdin.aclose()
            with anyio.move_on_after(_STOP_SECONDS):
                await self._drain()
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.aclose()

    async def _drain(self) -> None:
        # A process that writes to a full pipe would not end.
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await self._answers.receive()


def _pack(name: str, value: object) -> bytes:
    # Packed one by one, so that each side can name what it cannot handle.
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects of others raise anything
        raise ValueError(
            f"{name} cannot be handed to another process (it does not pickle): leave it out, or use processes=1"
        ) from None
