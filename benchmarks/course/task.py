"""The task of a contender, and its outcome."""

import hashlib
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from course.calls import END, START

__all__ = ["KEY", "SECRET", "Outcome", "Task", "body_of", "sign"]

KEY, SECRET = "benchmark-key", "benchmark-secret"
SIZE = 100


class Task(msgspec.Struct, frozen=True):
    """All calls of the endpoint at `port`, `concurrency` requests at a time.

    Attributes:
        bodies: The requests to send, for contenders that replay what another one has sent.
        folder: Where files may be written.
        rewrites: Whether a missing time is an empty text, which typed contenders replace before they decode.
        authority: PEM file of the certificate authority to trust; plain http without it.
        fork: Whether a forked process does the task ("work") or nothing ("idle"), so that valgrind counts it apart.
    """

    port: int
    concurrency: int = 8
    bodies: list[str] = []
    folder: str = ""
    rewrites: bool = False
    authority: str | None = None
    fork: Literal["no", "work", "idle"] = "no"

    @property
    def base_url(self) -> str:
        """The address of the endpoint's API."""
        return f"{'http' if self.authority is None else 'https'}://127.0.0.1:{self.port}/v3/voice"

    @property
    def url(self) -> str:
        """The endpoint's address."""
        return self.base_url + "/recordSipQuery"

    def plain(self, body: bytes) -> bytes:
        """Return the answer `body` with `null` for what is missing."""
        return body.replace(b':""', b":null") if self.rewrites else body


class Outcome(msgspec.Struct):
    """The number of calls read, the number of requests, and when the first call was available."""

    calls: int
    requests: int = 0
    first: float | None = None


Contender = Callable[[Task], Outcome]


def sign() -> dict[str, str]:
    """Return the headers of a request that is sent now."""
    timestamp = str(int(time.time()))
    digest = hashlib.md5(f"{KEY}{SECRET}{timestamp}".encode(), usedforsecurity=False).hexdigest()
    return {"Api-Key": KEY, "Timestamp": timestamp, "Sign": digest}


def body_of(current: int) -> dict[str, object]:
    """Return the request for one page of everything."""
    params = {"strTime": START.isoformat(), "endTime": END.isoformat()}
    return {"current": current, "size": SIZE, "params": params}
