"""The processes of a benchmark, seen from the one that asks: an endpoint, and a runner for each contender."""

import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from course.calls import PROFILES
from course.runner import Measured
from course.task import Task

__all__ = ["Certificates", "Course", "Runner"]

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
        self.close()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Certificates:
    """A certificate of 127.0.0.1 and its authority, as PEM files in `folder`."""

    def __init__(self, folder: str) -> None:
        """Make them."""
        import trustme

        authority = trustme.CA()
        self.authority, self.server = f"{folder}/authority.pem", f"{folder}/server.pem"
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.server)


class Course(_Process):
    """An endpoint with so many calls, in a process of its own.

    Attributes:
        task: The task to read them.
    """

    def __init__(self, calls: int, profile: str = "null", *, tls: "Certificates | None" = None) -> None:
        """Start it; it listens when this returns."""
        options = () if tls is None else ("--certificate", tls.server)
        super().__init__("course.endpoint", str(calls), "--profile", profile, *options)
        self.calls = calls
        self.port = int(self._read())
        self.task = Task(self.port, rewrites=PROFILES[profile].empty == "all", authority=tls and tls.authority)

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
        connection = self._connect()
        try:
            connection.request("GET", f"/course/{what}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.task.authority is None:
            return http.client.HTTPConnection("127.0.0.1", self.port)
        context = ssl.create_default_context(cafile=self.task.authority)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context)


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
