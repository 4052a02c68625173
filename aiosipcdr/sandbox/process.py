"""A sandbox in a separate process, and a curl command for a running sandbox.

The secret is passed in neither the arguments nor the environment of the process, which other users may read.
"""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from os import PathLike, fspath
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO, Any, Final, Self

import anyio
import anyio.to_thread
import msgspec

from aiosipcdr.sandbox.call_events import CallEvent, EventScript
from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fault_queue import FaultQueue, UnusedFaultsError
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.sandbox import Sandbox
from aiosipcdr.sandbox.stats import Stats

_STOP_SECONDS: Final = 5.0
# The process imports this package from here, even if the working folder has another one.
_PACKAGE_FOLDER: Final = str(Path(__file__).resolve().parents[2])


async def serve(*, on_ready: Callable[[Sandbox], None], **config: Any) -> None:  # noqa: ANN401
    """Run a sandbox in this process until cancelled.

        asyncio.run(serve(on_ready=lambda sandbox: print(sandbox.base_url), records=1_000))

    Args:
        on_ready: Called once, with the running sandbox.
        **config: Arguments of `Sandbox`.
    """
    async with Sandbox(**config) as sandbox:
        on_ready(sandbox)
        await asyncio.Event().wait()


def curl_line(base_url: str, api_key: str, api_secret: str, start: datetime, end: datetime) -> str:
    """Return a shell command that requests the first page of a range.

    The command takes the time and signs the request when it runs, so it stays valid. `md5 -q` is for macOS, which has
    no `md5sum`.

        print(curl_line(sandbox.base_url, sandbox.api_key, sandbox.api_secret, sandbox.start, sandbox.end))
    """
    params = {"strTime": _wire_time(start), "endTime": _wire_time(end)}
    body = json.dumps({"current": 1, "size": 10, "params": params})
    pair = f"{shlex.quote(api_key)} {shlex.quote(api_secret)}"
    return (
        "(t=$(date +%s);"
        f' s=$(printf %s {pair} "$t" | (md5sum 2>/dev/null || md5 -q) | cut -c1-32);'
        f" curl -sS --noproxy '*' {shlex.quote(base_url + '/recordSipQuery')}"
        " -H 'Content-Type: application/json;charset=UTF-8'"
        f" -H {shlex.quote('Api-Key: ' + api_key)}"
        ' -H "Timestamp: $t" -H "Sign: $s"'
        f" -d {shlex.quote(body)})"
    )


class SandboxProcess:
    """A sandbox in a separate process, so that its CPU time and memory do not add to the caller's.

        with SandboxProcess(records=100_000) as sandbox:  # or: async with
            client = CdrClient(sandbox.base_url, sandbox.api_key, sandbox.api_secret)

    The process ends when the context is left, and at the latest with the process that started it. Ctrl-C in a terminal
    does not reach it.

    Args:
        calls: Wire records (JSON values) to serve instead of generated calls.
        faults: Scripted faults, as in `Sandbox`.
        events: Scripted changes of the calls, as in `Sandbox`.
        **config: Settings, see `SandboxConfig`.

    Raises:
        TypeError: An argument has an unknown name, or a fault is not a `Fault`, or an event not a `CallEvent`.
        ValueError: An argument has an invalid value.
    """

    def __init__(
        self,
        *,
        calls: Sequence[object] | None = None,
        faults: Sequence[Fault] = (),
        events: Sequence[CallEvent] = (),
        **config: Any,  # noqa: ANN401 - SandboxConfig checks names and values
    ) -> None:
        # Check the arguments here: the process could only end with an error.
        SandboxConfig(**config)
        FaultQueue(faults)
        self._scripted = bool(faults)
        EventScript(events, middle=0)
        self._config = config | {"calls": calls, "faults": [*faults], "events": [*events]}
        self._process: subprocess.Popen[bytes] | None = None
        self._facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Start the process and wait until it answers requests.

        Raises:
            RuntimeError: The process ended early; see its stderr.
        """
        self._launch()
        try:
            self._facts = self._ask(self._config)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process.

        Raises:
            UnusedFaultsError: Some faults were not used, and no other error was raised.
        """
        left: list[Fault] = []
        try:
            if error is None and self._scripted:
                left = self.faults_left
        finally:
            self._end()
        if left:
            raise UnusedFaultsError(left)

    async def __aenter__(self) -> Self:
        """Start the process and wait until it answers requests, without blocking the event loop."""
        self._launch()
        try:
            self._facts = await anyio.to_thread.run_sync(self._ask, self._config, abandon_on_cancel=True)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._end)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, without blocking the event loop."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.__exit__, kind, error, trace)

    def _launch(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aiosipcdr.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=plan_environment(),
            start_new_session=True,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(BrokenPipeError):  # it has ended and did not read the last line
            _stream(process.stdin).close()
        for stop in (None, process.terminate, process.kill):
            if stop is not None:
                stop()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
                break
        _stream(process.stdout).close()

    @property
    def base_url(self) -> str:
        """The base URL; it ends in `/v3/voice`, like the vendor's."""
        return str(self._facts["base_url"])

    @property
    def api_key(self) -> str:
        """The accepted API key."""
        return str(self._facts["api_key"])

    @property
    def api_secret(self) -> str:
        """The accepted API secret."""
        return str(self._facts["api_secret"])

    @property
    def start(self) -> datetime:
        """Start of the default range, which includes all calls."""
        return datetime.fromisoformat(self._facts["start"])

    @property
    def end(self) -> datetime:
        """End of the default range."""
        return datetime.fromisoformat(self._facts["end"])

    @property
    def stats(self) -> Stats:
        """Statistics of the requests so far."""
        reported = self._ask("stats")
        answers = {int(status): n for status, n in reported.pop("answers").items()}
        return Stats(answers=answers, **reported)

    def reset_stats(self) -> None:
        """Reset the statistics to zero.

        For example:

            sandbox.reset_stats()
            sandbox.stats.requests  # 0
        """
        self._ask("reset_stats")

    def reset(self) -> None:
        """Return to the state after the start, see `Sandbox.reset`.

        For example:

            sandbox.reset()
        """
        self._ask("reset")

    def add_faults(self, *faults: Fault) -> None:
        """Append faults to the scripted ones.

        For example:

            sandbox.add_faults(Fault("http", status=503))
        """
        FaultQueue(faults)
        self._ask({"add_faults": [*faults]})
        self._scripted = True

    @property
    def faults_left(self) -> list[Fault]:
        """The faults that were not used completely, each with the `times` that are left."""
        return msgspec.convert(self._ask("faults_left")["left"], list[Fault])

    def _ask(self, question: object) -> dict[str, Any]:
        # Request and answer are one line of JSON each.
        if self._process is None:
            raise RuntimeError("the sandbox is not running: use it with `with`")
        stdin, stdout = _stream(self._process.stdin), _stream(self._process.stdout)
        stdin.write(json.dumps(question, default=_plain).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError("the sandbox's process has ended: see its stderr")
        reported: dict[str, Any] = json.loads(line)
        return reported


def plan_environment() -> dict[str, str]:
    """Return this process's environment without `AIOSIPCDR_` variables, since a sandbox needs no real account."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("AIOSIPCDR_") or name.startswith("AIOSIPCDR_SANDBOX_")
    }
    paths = [_PACKAGE_FOLDER, *filter(None, [inherited.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths)}


def run_as_child(stdin: int, stdout: IO[bytes]) -> None:
    """Run the child process of `SandboxProcess`: serve until the file descriptor `stdin` is closed."""
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve_parent(stdin, stdout))


async def _serve_parent(stdin: int, stdout: IO[bytes]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - this coroutine runs in a task
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed
            for line in _read_lines(stdin):
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(task.cancel)

    def answer(**facts: object) -> None:
        stdout.write(json.dumps(facts).encode() + b"\n")
        stdout.flush()

    # In a thread, since an event loop cannot wait for every kind of stdin.
    Thread(target=read, name="aiosipcdr-stdin", daemon=True).start()
    # The parent asks for unused faults and reports them.
    with suppress(UnusedFaultsError):
        async with Sandbox(**_read_config(await lines.get())) as sandbox:
            answer(
                base_url=sandbox.base_url,
                api_key=sandbox.api_key,
                api_secret=sandbox.api_secret,
                start=sandbox.start.isoformat(),
                end=sandbox.end.isoformat(),
            )
            while True:
                answer(**_answer_question(sandbox, json.loads(await lines.get())))


def _read_lines(descriptor: int) -> Iterator[bytes]:
    # Unbuffered: at exit the interpreter would wait for the lock of a buffered file that this thread reads.
    rest = bytearray()
    while data := os.read(descriptor, 65_536):
        rest += data
        if b"\n" in data:
            *lines, rest = rest.split(b"\n")
            yield from map(bytes, lines)


def _read_config(line: bytes) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(line)
    for name, value in config.items():
        if isinstance(value, dict):  # only timedeltas are sent as dicts
            config[name] = timedelta(**value)
    if config.get("start"):
        config["start"] = datetime.fromisoformat(config["start"])
    if isinstance(config.get("latency"), list):
        config["latency"] = tuple(config["latency"])
    config["faults"] = msgspec.convert(config.get("faults", []), list[Fault])
    config["events"] = msgspec.convert(config.get("events", []), list[CallEvent])
    return config


def _answer_question(sandbox: Sandbox, question: object) -> dict[str, Any]:
    if question == "faults_left":
        return {"left": msgspec.to_builtins(sandbox.faults_left)}
    if question in ("reset", "reset_stats"):
        getattr(sandbox, str(question))()
    elif isinstance(question, dict):
        sandbox.add_faults(*msgspec.convert(question["add_faults"], list[Fault]))
    stats = sandbox.stats
    return {name: getattr(stats, name) for name in Stats.__dataclass_fields__}


def _plain(value: object) -> object:
    """Return a JSON value for an argument of a type that JSON does not have."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return {"days": value.days, "seconds": value.seconds}
    if isinstance(value, Fault | CallEvent):
        return msgspec.to_builtins(value)
    if isinstance(value, PathLike):
        return fspath(value)
    raise TypeError(f"a sandbox in another process cannot receive {value!r}: pass JSON values")


def _wire_time(moment: datetime) -> str:
    """Return a time in the format of the vendor's samples: whole seconds with an offset."""
    if moment.tzinfo is None:
        raise ValueError("start and end must be aware datetimes")
    return moment.isoformat(timespec="seconds")


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    """Return `stream`, which the process was started with."""
    if stream is None:
        raise RuntimeError("the process has no pipe")
    return stream
