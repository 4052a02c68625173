"""The processes of a benchmark, seen from the one that asks: an endpoint, and a runner for each contender."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from course.calls import PROFILES
from course.runner import Measured
from course.task import Task

__all__ = ["Course", "Runner"]

_HERE = Path(__file__).parent.parent


class _Process:
    def __init__(self, *arguments: str, under: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [*under, sys.executable, "-m", *arguments],
            cwd=_HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended early")  # type: ignore[arg-type]
        return line

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Course(_Process):
    """An endpoint with so many calls, in a process of its own."""

    def __init__(self, calls: int, profile: str = "null", *, certificate: str | None = None) -> None:
        """Start it; it listens when this returns. With a `certificate` (PEM, with its key) it speaks TLS."""
        options = () if certificate is None else ("--certificate", certificate)
        super().__init__("course.endpoint", str(calls), "--profile", profile, *options)
        self.calls = calls
        self.rewrites = PROFILES[profile].empty == "all"
        self.port = int(self._read())

    def set_latency(self, seconds: float) -> None:
        """Let every answer wait."""
        self._ask(f"latency/{seconds}")

    def reset(self) -> None:
        """Begin to count."""
        self._ask("reset")

    def record(self) -> None:
        """Begin to keep the requests that come."""
        self._ask("record")

    def seen(self) -> list[str]:
        """Return the requests that came since."""
        return list(self._ask("seen"))

    def stats(self) -> dict[str, float]:
        """Return `requests`, `rows` that LIMIT and OFFSET would have read, and `cpu` seconds."""
        return dict(self._ask("stats"))

    def _ask(self, what: str) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", f"/course/{what}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class Runner(_Process):
    """A contender in a process of its own."""

    def __init__(self, name: str, *, under: tuple[str, ...] = ()) -> None:
        """Start it, perhaps under another program."""
        super().__init__("course.runner", name, under=under)
        self.name = name

    def run(self, task: Task) -> Measured:
        """Let it do `task`."""
        self._write(msgspec.json.encode(task).decode())
        return msgspec.json.decode(self._read(), type=Measured)
