"""Clocks: the offset that requests are signed with, the vendor's clock for the age of windows, and awake time.

Arithmetic only: clock readings are arguments.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from statistics import median
from typing import NamedTuple

__all__ = ["AgePolicy", "AwakeTime", "ClockOffset", "VendorClock", "VendorTime", "decode_http_date", "measure_offset"]

_LARGEST_OFFSET = 86_400.0
"""Seconds; a larger difference than a day is an error, not clock skew."""

_RECENT_ANSWERS = 15
"""Answers used to estimate the vendor's clock: enough for a median, few enough to follow a jump."""

_DATE_ERROR = 0.5
"""Max error of a `Date` header in seconds, once as much is added to it: it is truncated to whole seconds."""

_LAG_FACTOR = 12
"""Delay of a count that is known to lag, in units of `count_delay` (1 s by default): replicas lag by up to 10 s."""

_SETTLED_AFTER = 60.0
"""Seconds after a change in which another offset needs confirmation: two servers that disagree cause no flapping."""

_NEAR_ZERO = 2.0
"""Seconds; an offset this close to zero means that this machine's clock was corrected: accepted at once."""

_AGREEMENT = 5.0
"""Seconds by which two consecutive refusals may differ and still confirm the same offset."""

_BEAT = 1.0
"""Seconds between two readings of the event loop's clock while requests are in flight."""

_LONGEST_LAG = 3.0
"""Seconds without a reading after which the loop was suspended, not just busy."""


def decode_http_date(value: str | None) -> float | None:
    """Return the Unix time of an HTTP date (RFC 9110, 5.6.7), `None` if it cannot be read."""
    try:
        time = parsedate_to_datetime(value or "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, OSError):
        return None


def measure_offset(date: str | None, sent: float, received: float) -> float | None:
    """Return the seconds by which the vendor's clock is ahead of this machine's.

    The answer was made between `sent` and `received`; the middle is wrong by at most half the round trip. `Date` is
    truncated to whole seconds (RFC 9110, 6.6.1), so half a second is added.

    Args:
        date: The `Date` header of the answer.
        sent: This machine's Unix time when the request was sent.
        received: This machine's Unix time when the answer was received.

    Returns:
        The offset, `None` if `date` cannot be read.
    """
    reported = decode_http_date(date)
    return None if reported is None else reported + _DATE_ERROR - (sent + received) / 2


class ClockOffset:
    """Offset that is added to this machine's time when a request is signed.

    Attributes:
        seconds: The offset.
        version: Number of changes; the refusal of a request that was signed with an older offset is ignored.
        candidate: The offset measured by the last refusal, if a second refusal has to confirm it.
    """

    __slots__ = ("_fixed_until", "candidate", "seconds", "version")

    def __init__(self) -> None:
        """Start with no offset."""
        self.seconds: float = 0.0
        self.version: int = 0
        self._fixed_until = float("-inf")
        self.candidate: float | None = None

    def note_success(self) -> None:
        """Record that a request was accepted; the refusal before it no longer counts as a confirmation."""
        self.candidate = None

    def note_refusal(self, measured: float | None, *, signed_under: int, now: float) -> None:
        """Adopt the offset measured by a refusal, once for all requests in flight.

        Within a minute after a change, another offset is adopted only if it is near zero (NTP has corrected this
        machine's clock) or if two consecutive refusals agree on it.

        Args:
            measured: The offset, if the answer had one.
            signed_under: Version of the offset with which the refused request was signed.
            now: Time of a monotonic clock, in seconds.
        """
        if measured is None or signed_under != self.version:
            return
        # Implausible, or within the precision of `Date`, so that the offset was not the cause.
        if abs(measured) > _LARGEST_OFFSET or abs(measured - self.seconds) < 1:
            self.candidate = None
            return
        agreed = self.candidate is not None and abs(measured - self.candidate) < _AGREEMENT
        self.candidate = measured
        if now < self._fixed_until and not agreed and abs(measured) > _NEAR_ZERO:
            return
        self.candidate = None
        self.seconds = measured
        self.version += 1
        self._fixed_until = now + _SETTLED_AFTER


class AwakeTime:
    """The event loop's time without gaps in which the process was suspended (SIGSTOP, `docker pause`, a sleeping host).

    Deadlines and waits are measured in awake time. `read` must be called every `beat` seconds while requests are in
    flight; otherwise a long wait for an answer looks like a gap.

    Attributes:
        gaps: Number of gaps.
        lost: Total duration of the gaps, in seconds.
        beat: Seconds between two calls of `read`.
    """

    __slots__ = ("_seen", "gaps", "lost")

    beat = _BEAT

    def __init__(self, now: float) -> None:
        """Start at time `now` of the loop's clock."""
        self.gaps: int = 0
        self.lost: float = 0.0
        self._seen = now

    def restart(self, now: float) -> None:
        """Count the time since the last call as awake: no request was in flight."""
        self._seen = now

    def read(self, now: float) -> float:
        """Return the awake time at time `now` of the loop's clock."""
        if now - self._seen > _LONGEST_LAG:
            self.gaps += 1
            self.lost += now - self._seen - _BEAT
        self._seen = now
        return now - self.lost


class VendorClock:
    """The offset of the vendor's clock: the median over the `Date` headers of recent answers.

    Includes refusals. The median ignores single answers that come from another server or took long.
    """

    __slots__ = ("_date", "_decoded", "_offsets")

    def __init__(self) -> None:
        self._offsets: deque[float | None] = deque(maxlen=_RECENT_ANSWERS)
        self._date: str | None = None
        self._decoded: float | None = None

    def note_answer(self, date: str | None, *, sent: float, received: float) -> None:
        """Add an answer.

        Args:
            date: Its `Date` header.
            sent: This machine's Unix time when the request was sent.
            received: This machine's Unix time when the answer was received.
        """
        if date != self._date:  # it changes once a second, and decoding is expensive
            self._date, self._decoded = date, decode_http_date(date)
        decoded = self._decoded  # as in `measure_offset`, without a call for each answer
        self._offsets.append(None if decoded is None else decoded + _DATE_ERROR - (sent + received) / 2)

    @property
    def offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's; `None` without a recent `Date` header."""
        plausible = [offset for offset in self._offsets if offset is not None and abs(offset) <= _LARGEST_OFFSET]
        return median(plausible) if plausible else None


class VendorTime(NamedTuple):
    """Current time of the vendor's clock; of this machine's clock (`is_local`) if the vendor sends no `Date` header."""

    now: datetime
    is_local: bool


class AgePolicy(NamedTuple):
    """Which windows are young, and how long their control counts are delayed.

    Attributes:
        read_clock: Returns the current time of the vendor's clock.
        lateness: A window is young until this time after its end.
        count_delay: The vendor's counts of young windows may be this much older than its rows: see `CdrClient`.
    """

    read_clock: Callable[[], VendorTime]
    lateness: timedelta
    count_delay: timedelta

    def is_young(self, end: datetime) -> bool:
        """Return whether calls may still be added to a window that ends at `end`."""
        return self.read_clock().now - end < self.lateness

    def until_past(self, end: datetime) -> float:
        """Return the seconds until `end` has certainly passed; 0 if it has."""
        return max(0.0, (end - self.read_clock().now).total_seconds() + _DATE_ERROR)

    def is_past(self, end: datetime) -> bool:
        """Return whether `end` has certainly passed."""
        return not self.until_past(end)

    def may_lag(self, end: datetime) -> bool:
        """Return whether answers about a window that ends at `end` may come from a replica that lags."""
        return self.count_delay > timedelta(0) and self.is_young(end)

    def find_caught_up(self) -> datetime:
        """Return when replicas will have caught up with the present."""
        return self.read_clock().now + self.count_delay * _LAG_FACTOR

    def delay_before_count(self, end: datetime, *, count_lags: bool = False) -> float:
        """Return the seconds from the last page of a window to its control count.

        Args:
            end: End of the window.
            count_lags: Whether an earlier count was below the rows read; the delay then allows for ten seconds of lag.
        """
        if not self.may_lag(end):
            return 0.0
        return self.count_delay.total_seconds() * (_LAG_FACTOR if count_lags else 1)
