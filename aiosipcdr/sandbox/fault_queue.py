"""The queue of scripted faults: which one a request gets, and which are still to come.

One thread takes faults, the server's; any may add some or look. This module must never
keep a query, only how often it came, nor know what a fault does.
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
    """A test has scripted faults that never struck, so it has proved nothing about them.

    Attributes:
        faults: What was left, as `Sandbox.faults_left` tells it.
    """

    def __init__(self, faults: list[Fault]) -> None:
        """Name them."""
        super().__init__("faults were scripted and never met: " + "; ".join(fault.reported() for fault in faults))
        self.faults = faults

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by what it was made of."""
        return type(self), (self.faults,)


class Scripted:
    """A fault in the queue, and how often it may still strike."""

    __slots__ = ("fault", "left")

    def __init__(self, fault: Fault) -> None:
        """Start with all of its times."""
        self.fault: Fault = fault
        self.left: int = fault.times

    def spent(self) -> bool:
        """Tell whether it has struck as often as it was to."""
        return self.fault.times > 0 and self.left <= 0

    def matches(self, page: int | None, attempt: int, *, control: bool) -> bool:
        """Tell whether it is meant for such a request."""
        fault = self.fault
        return (
            not self.spent()
            and fault.page in {None, page}
            and fault.attempt in {None, attempt}
            and fault.control in {None, control}
        )


class FaultQueue:
    """Faults in the order in which they were scripted; the first that matches is taken."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        """Queue `faults`."""
        # Appended to by any thread, in one step; nothing is ever taken out of it.
        self._queue: list[Scripted] = []
        self._came: Counter[bytes] = Counter()
        self._first = tuple(faults)
        self.add(self._first)

    def reset(self) -> None:
        """Queue only the first faults again, and forget which requests came."""
        self._queue = []
        self._came.clear()
        self.add(self._first)

    def add(self, faults: Iterable[Fault]) -> None:
        """Queue more.

        Raises:
            TypeError: Something is not a `Fault`; none is queued then.
        """
        faults = list(faults)
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"faults are aiosipcdr.sandbox.Fault; not {type(fault).__name__}")
        self._queue += map(Scripted, faults)

    @property
    def empty(self) -> bool:
        """Whether there never was a fault, so that requests need not be looked at."""
        return not self._queue

    def left(self) -> list[Fault]:
        """Return what has not struck yet, with the `times` that are left."""
        waiting = [(scripted.fault, scripted.left) for scripted in self._queue.copy()]
        return [msgspec.structs.replace(fault, times=left) for fault, left in waiting if left > 0]

    def take(self, body: bytes) -> Scripted | None:
        """Count a request and take the fault that it gets."""
        try:
            asked = _decode(body)
            query = _encode(asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            asked, query = None, body
        digest = blake2b(query, digest_size=16).digest()
        self._came[digest] += 1
        page, size = _whole(asked, "current"), _whole(asked, "size")
        for scripted in self._queue:
            if scripted.matches(page, self._came[digest], control=size == 1):
                scripted.left -= 1
                return scripted
        return None

    def put_back(self, scripted: Scripted) -> None:
        """Let a fault that could do no damage wait for another request."""
        scripted.left += 1


def _whole(asked: Any, name: str) -> int | None:  # noqa: ANN401 - whatever was sent
    """Return a whole number of a query, None if there is none."""
    value = asked.get(name) if isinstance(asked, dict) else None
    return value if isinstance(value, int) else None
