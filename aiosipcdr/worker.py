"""A process that writes the files of days for `CdrClient.export_days`; started by `aiosipcdr.export.processes`.

Messages are pickles behind their lengths: on stdin the setup, then one day after the other; on stdout events, and the
result of each day. It ends when stdin ends, as it does when the parent ends.
"""

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any, Final

from aiosipcdr.client import CdrClient
from aiosipcdr.events import Event, EventKind
from aiosipcdr.export.processes import LENGTH
from aiosipcdr.wire.signing import Credentials

_CHUNK: Final = 1 << 16


class _Parent:
    """The pipes to the parent, and the hook that passes events on."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.traced: list[EventKind] = []

    def read(self) -> Any:  # noqa: ANN401 - the setup or a day
        (length,) = LENGTH.unpack(self._read_exactly(LENGTH.size))
        return pickle.loads(self._read_exactly(length))  # noqa: S301 - of the parent

    def _read_exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = os.read(self._incoming, min(_CHUNK, length - len(data)))
            if not part:
                raise EOFError
            data += part
        return data

    def send(self, kind: str, value: object) -> None:
        data = pickle.dumps((kind, value))
        rest = memoryview(LENGTH.pack(len(data)) + data)
        while rest:
            rest = rest[os.write(self._outgoing, rest) :]

    def send_error(self, error: Exception) -> None:
        try:
            self.send("error", error)
        except (pickle.PicklingError, TypeError, AttributeError):
            self.send("error", RuntimeError(f"{type(error).__name__} in a process of the export"))

    def wants(self, kind: EventKind) -> bool:
        return kind in self.traced

    def __call__(self, event: Event, /) -> None:
        self.send("event", event)


async def _serve(parent: _Parent) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - this coroutine runs in a task
    messages: asyncio.Queue[Any] = asyncio.Queue()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed
            with suppress(EOFError, OSError):
                while True:
                    loop.call_soon_threadsafe(messages.put_nowait, parent.read())
            loop.call_soon_threadsafe(task.cancel)

    # In a thread, since an event loop cannot wait for every kind of stdin.
    Thread(target=read, name="aiosipcdr-stdin", daemon=True).start()
    setup = await messages.get()
    parent.traced = setup["traced"]
    account: list[Credentials] = []
    day, *account[:] = _read_day(await messages.get())
    try:
        settings, arguments = _unpack(setup["settings"]), _unpack(setup["arguments"])
        client = CdrClient(settings.pop("base_url"), lambda: account[0], **settings, hook=parent)
    except ValueError as error:
        parent.send_error(error)
        return
    async with client:
        while True:
            try:
                report = await client.export_days(day, day, **arguments)
            except Exception as error:  # noqa: BLE001 - the parent decides
                parent.send_error(error)
            else:
                parent.send("done", next(iter(report.days), None))
            day, *account[:] = _read_day(await messages.get())


def _read_day(message: tuple[Any, str, str]) -> tuple[Any, Credentials]:
    day, key, secret = message
    return day, Credentials(key, secret)


def _unpack(packed: Mapping[str, bytes]) -> dict[str, Any]:
    values = {}
    for name, data in packed.items():
        try:
            values[name] = pickle.loads(data)  # noqa: S301 - of the parent
        except Exception as error:  # noqa: BLE001 - objects of others raise anything
            raise ValueError(
                f"{name} cannot be read in another process ({type(error).__name__}): define its class in a module, not"
                " in the main program, or use processes=1"
            ) from None
    return values


def main() -> None:
    """Serve the parent on stdin and stdout."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    parent = _Parent(os.dup(0), os.dup(1))
    # Accidental prints go to stderr.
    os.dup2(2, 1)
    factory = import_module("uvloop").new_event_loop if "uvloop" in sys.argv[1:] else None
    with suppress(asyncio.CancelledError, BrokenPipeError), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(parent))


if __name__ == "__main__":
    main()
    sys.exit(0)
