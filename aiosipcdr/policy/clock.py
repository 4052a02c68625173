"""How far the vendor's clock is from this machine's, as its refusals tell.

Pure arithmetic: every instant is an argument.  Decides with what offset
timestamps are signed, not whether a request is sent again.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["ClockOffset", "decode_http_date", "measure_offset"]

_LARGEST_OFFSET = 86_400.0
"""Seconds; a clock that is further off than a day is not skewed but wrong."""

_SETTLED_AFTER = 60.0
"""Seconds in which an offset that was just taken over is not replaced: two servers that disagree would make it flap."""


def decode_http_date(value: str | None) -> float | None:
    """Return the Unix time that an HTTP date (RFC 9110, 5.6.7) tells, `None` for anything else."""
    try:
        time = parsedate_to_datetime(value or "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, OSError):
        return None


def measure_offset(date: str | None, sent: float, received: float) -> float | None:
    """Return the seconds by which the vendor's clock is ahead of this machine's.

    The answer was made at some instant between `sent` and `received`: the
    middle is at most half the round trip off.  `Date` is cut to whole seconds
    (RFC 9110, 6.6.1): half a second is added.

    Args:
        date: the answer's `Date` header.
        sent: this machine's Unix time when the request was sent.
        received: likewise when the answer had come.

    Returns:
        The offset, `None` where `date` says nothing usable.
    """
    told = decode_http_date(date)
    return None if told is None else told + 0.5 - (sent + received) / 2


class ClockOffset:
    """What is added to this machine's time when a request is signed.

    Attributes:
        seconds: the offset.
        version: how often it was changed; a request that was signed under an older one learns nothing from its refusal.
    """

    __slots__ = ("_fixed_until", "seconds", "version")

    def __init__(self) -> None:
        """Trust this machine's clock."""
        self.seconds: float = 0.0
        self.version: int = 0
        self._fixed_until = float("-inf")

    def note_refusal(self, measured: float | None, *, signed_under: int, now: float) -> None:
        """Take over what a refused timestamp tells, once for all requests that were under way.

        Args:
            measured: the offset, where the answer told one.
            signed_under: the version under which the refused request was signed.
            now: the instant of a clock that never jumps.
        """
        if measured is None or signed_under != self.version or now < self._fixed_until:
            return
        # Closer than a `Date` can tell: the offset is not what was wrong.
        if abs(measured) > _LARGEST_OFFSET or abs(measured - self.seconds) < 1:
            return
        self.seconds = measured
        self.version += 1
        self._fixed_until = now + _SETTLED_AFTER
