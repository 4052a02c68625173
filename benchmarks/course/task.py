"""The task of a contender, and its outcome."""

import hashlib
import time
from collections.abc import Callable

import msgspec

from course.calls import END, START

__all__ = ["KEY", "PATH", "SECRET", "Outcome", "Task", "body_of", "sign"]

KEY, SECRET = "benchmark-key", "benchmark-secret"
PATH = "/v3/voice/recordSipQuery"
SIZE = 100


class Task(msgspec.Struct, frozen=True):
    """All calls of the endpoint at `port`, `concurrency` requests at a time.

    `bodies` are the requests to send, for contenders that replay what another
    one has sent; `folder` is where files may be written.
    """

    port: int
    concurrency: int = 8
    bodies: list[str] = []
    folder: str = ""

    @property
    def url(self) -> str:
        """The endpoint's address."""
        return f"http://127.0.0.1:{self.port}{PATH}"


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
