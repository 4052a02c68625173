"""One request's signature, made when it is asked for and not before.

Remembers when and under which offset of the clock it signed; shows nothing.
"""

from collections.abc import Callable

from aiosipcdr.policy.clock import ClockOffset
from aiosipcdr.protocol.signing import Credentials, sign

__all__ = ["Signer"]


class Signer:
    """Signs one request afresh each time it is called.

    Attributes:
        signed: this machine's Unix time of the last signature, 0 before the first.
        version: the version of the offset that it was made with.
    """

    __slots__ = ("_clock", "_credentials", "_wall_clock", "signed", "version")

    def __init__(self, credentials: Credentials, clock: ClockOffset, wall_clock: Callable[[], float]) -> None:
        """Keep what signing takes."""
        self._credentials = credentials
        self._clock = clock
        self._wall_clock = wall_clock
        self.signed: float = 0.0
        self.version: int = clock.version

    def __call__(self) -> dict[str, str]:
        """Return the headers that sign a request sent now."""
        self.signed = self._wall_clock()
        self.version = self._clock.version
        timestamp = int(self.signed + self._clock.seconds)
        key = self._credentials.key
        return {"Api-Key": key, "Timestamp": str(timestamp), "Sign": sign(self._credentials, timestamp)}
