"""The sandbox as a process of its own, and the command that reaches it from a shell.

This module must never put a secret into an argument list or into the environment: both can
be read by others.
"""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from os import PathLike, fspath
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.fault_queue import FaultQueue, UnusedFaultsError
from aiosipcdr.sandbox.faults import Fault
from aiosipcdr.sandbox.sandbox import Sandbox
from aiosipcdr.sandbox.stats import Stats

_PATIENCE: Final = 10.0


async def serve(*, on_ready: Callable[[Sandbox], None], **config: Any) -> None:  # noqa: ANN401
    """Run a sandbox in this process until cancelled.

    Args:
        on_ready: Called once, with the running sandbox.
        **config: `calls`, `middlewares` and `faults` as `Sandbox` has them, or see `SandboxConfig`.
    """
    async with Sandbox(**config) as sandbox:
        on_ready(sandbox)
        await asyncio.Event().wait()


def curl_line(base_url: str, api_key: str, api_secret: str, start: datetime, end: datetime) -> str:
    """Return a command for sh that asks for the first page of a range.

    The shell takes the time and signs with it when the command runs, so that it can be
    pasted at any time. `md5 -q` is macOS's `md5sum`.
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
    """A sandbox in a process of its own: its work is not the caller's, nor is its memory.

    It ends with its context, and with its parent in any case: it watches its stdin.
    """

    def __init__(
        self,
        *,
        calls: Sequence[object] | None = None,
        faults: Sequence[Fault] = (),
        **config: Any,  # noqa: ANN401 - SandboxConfig checks names and values
    ) -> None:
        """Decide what the sandbox will hold, and what goes wrong.

        Args:
            calls: Wire records (JSON values) instead of generated calls.
            faults: As `Sandbox` has them; `UnusedFaultsError` is raised here too.
            **config: See `SandboxConfig`.
        """
        # A mistake is told here, not by a process that ends at once.
        SandboxConfig(**config)
        FaultQueue(faults)
        self._scripted = bool(faults)
        self._config = config | {"calls": calls, "faults": [*faults]}
        self._process: subprocess.Popen[bytes] | None = None
        self._told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Start the process and wait until it answers requests."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aiosipcdr.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=plan_environment(),
        )
        try:
            self._told = self._ask(self._config)
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
            UnusedFaultsError: Some faults have not struck, and nothing else was raised.
        """
        left: list[Fault] = []
        try:
            if error is None and self._scripted:
                left = self.faults_left
        finally:
            self._end()
        if left:
            raise UnusedFaultsError(left)

    def _end(self) -> None:
        """End the process and wait until it has gone."""
        process, self._process = self._process, None
        if process is None:
            return
        _stream(process.stdin).close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            _stream(process.stdout).close()

    @property
    def base_url(self) -> str:
        """The base URL; it ends in `/v3/voice`, as the vendor's do."""
        return str(self._told["base_url"])

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return str(self._told["api_key"])

    @property
    def api_secret(self) -> str:
        """Its secret."""
        return str(self._told["api_secret"])

    @property
    def start(self) -> datetime:
        """First second of the default range, which holds every call."""
        return datetime.fromisoformat(self._told["start"])

    @property
    def end(self) -> datetime:
        """Last second of the default range."""
        return datetime.fromisoformat(self._told["end"])

    @property
    def stats(self) -> Stats:
        """What was asked for so far."""
        reported = self._ask("stats")
        answers = {int(status): n for status, n in reported.pop("answers").items()}
        return Stats(answers=answers, **reported)

    def reset_stats(self) -> None:
        """Count from zero again."""
        self._ask("reset_stats")

    def reset(self) -> None:
        """Return to the state after the start: see `Sandbox.reset`."""
        self._ask("reset")

    def add_faults(self, *faults: Fault) -> None:
        """Script more faults, behind those that are there."""
        FaultQueue(faults)
        self._ask({"add_faults": [*faults]})
        self._scripted = True

    @property
    def faults_left(self) -> list[Fault]:
        """The faults that have not struck yet, each with the `times` that it still has to."""
        return msgspec.convert(self._ask("faults_left")["left"], list[Fault])

    def _ask(self, question: object) -> dict[str, Any]:
        """Send a line, read a line."""
        if self._process is None:
            raise RuntimeError("the sandbox is not running: use it with `with`")
        stdin, stdout = _stream(self._process.stdin), _stream(self._process.stdout)
        stdin.write(json.dumps(question, default=_plain).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError("the sandbox's process has ended: see what it wrote to stderr")
        reported: dict[str, Any] = json.loads(line)
        return reported


def plan_environment() -> dict[str, str]:
    """Return this process's environment without its `AIOSIPCDR_` settings: a sandbox needs no real account."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("AIOSIPCDR_") or name.startswith("AIOSIPCDR_SANDBOX_")
    }


def run_as_child(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    """Be the process behind `SandboxProcess`: serve until `stdin` ends."""
    config = json.loads(stdin.readline())
    for name, value in config.items():
        if isinstance(value, dict):  # the only ones are lengths of time
            config[name] = timedelta(**value)
    if config.get("start"):
        config["start"] = datetime.fromisoformat(config["start"])
    if isinstance(config.get("latency"), list):
        config["latency"] = tuple(config["latency"])

    def tell(**facts: object) -> None:
        stdout.write(json.dumps(facts).encode() + b"\n")
        stdout.flush()

    config["faults"] = msgspec.convert(config.get("faults", []), list[Fault])
    # What is left over is told to the parent, who asks for it.
    with suppress(UnusedFaultsError), Sandbox(**config) as sandbox:
        tell(
            base_url=sandbox.base_url,
            api_key=sandbox.api_key,
            api_secret=sandbox.api_secret,
            start=sandbox.start.isoformat(),
            end=sandbox.end.isoformat(),
        )
        for line in stdin:
            asked = json.loads(line)
            if asked == "faults_left":
                tell(left=msgspec.to_builtins(sandbox.faults_left))
                continue
            if asked in ("reset", "reset_stats"):
                getattr(sandbox, asked)()
            elif isinstance(asked, dict):
                sandbox.add_faults(*msgspec.convert(asked["add_faults"], list[Fault]))
            stats = sandbox.stats
            tell(**{name: getattr(stats, name) for name in Stats.__dataclass_fields__})


def _plain(value: object) -> object:
    """Write what JSON does not know."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return {"days": value.days, "seconds": value.seconds}
    if isinstance(value, Fault):
        return msgspec.to_builtins(value)
    if isinstance(value, PathLike):
        return fspath(value)
    raise TypeError(f"a sandbox in another process cannot be told {value!r}")


def _wire_time(moment: datetime) -> str:
    """Write a time as the vendor's samples do: whole seconds and an offset."""
    if moment.tzinfo is None:
        raise ValueError("start and end must be aware datetimes")
    return moment.isoformat(timespec="seconds")


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that is there because it was asked for."""
    if stream is None:
        raise RuntimeError("the process has no pipe")
    return stream
