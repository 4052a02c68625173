"""The queue of faults: matches faults to requests and counts the unused ones.

Only the server's thread takes faults; any thread may add some or list them. Keeps no query, only how often it was sent.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from aiosipcdr.sandbox.faults import Fault

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class UnusedFaultsError(AssertionError):
    """A test queued faults that were never triggered, so it did not test them.

    Attributes:
        faults: The remaining faults, as in `Sandbox.faults_left`.
    """

    def __init__(self, faults: list[Fault]) -> None:
        """Name the faults."""
        names = "; ".join(fault.describe() for fault in faults)
        super().__init__(f"queued faults were never triggered; correct their page or attempt: {names}")
        self.faults = faults

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the constructor's arguments."""
        return type(self), (self.faults,)


class QueuedFault:
    """A fault in the queue, with the number of times that are left."""

    __slots__ = ("fault", "left")

    def __init__(self, fault: Fault) -> None:
        self.fault: Fault = fault
        self.left: int = fault.times

    def is_exhausted(self) -> bool:
        """Return whether it was triggered as often as it should be."""
        return self.fault.times > 0 and self.left <= 0

    def matches(self, page: int | None, attempt: int, *, control: bool) -> bool:
        """Return whether it applies to such a request."""
        fault = self.fault
        return (
            not self.is_exhausted()
            and fault.page in {None, page}
            and fault.attempt in {None, attempt}
            and fault.control in {None, control}
        )


class FaultQueue:
    """Faults in the order in which they were added; the first that matches a request is taken."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        # Appended to by any thread, atomically; nothing is removed but by `reset`.
        self._queue: list[QueuedFault] = []
        self._attempts: Counter[bytes] = Counter()
        self._first = tuple(faults)
        self.add(self._first)

    def reset(self) -> None:
        """Queue only the first faults again, and forget the requests that were counted."""
        self._queue = []
        self._attempts.clear()
        self.add(self._first)

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults to the queue.

        Raises:
            TypeError: Something is not a `Fault`; none is added then.
        """
        faults = list(faults)
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"faults must be aiosipcdr.sandbox.Fault; not {type(fault).__name__}")
        self._queue += map(QueuedFault, faults)

    @property
    def empty(self) -> bool:
        """Whether no fault was ever added, so that requests need no matching."""
        return not self._queue

    def left(self) -> list[Fault]:
        """Return the faults that were not triggered yet, with the `times` that are left."""
        waiting = [(queued.fault, queued.left) for queued in self._queue.copy()]
        return [msgspec.structs.replace(fault, times=left) for fault, left in waiting if left > 0]

    def take(self, body: bytes) -> QueuedFault | None:
        """Count a request and return the fault for it, if there is one."""
        try:
            decoded = _decode(body)
            query = _encode(decoded)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            decoded, query = None, body
        digest = blake2b(query, digest_size=16).digest()
        self._attempts[digest] += 1
        page, size = _integer(decoded, "current"), _integer(decoded, "size")
        for queued in self._queue:
            if queued.matches(page, self._attempts[digest], control=size == 1):
                queued.left -= 1
                return queued
        return None

    def put_back(self, queued: QueuedFault) -> None:
        """Return a fault that could not be applied to the queue."""
        queued.left += 1


def _integer(decoded: Any, name: str) -> int | None:  # noqa: ANN401 - whatever was sent
    """Return an integer member of a query, or None."""
    value = decoded.get(name) if isinstance(decoded, dict) else None
    return value if isinstance(value, int) else None
