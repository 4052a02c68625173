"""Two estimates of the vendor's time, one to sign requests with, one to judge the age of windows by; and awake time.

Pure arithmetic: every instant is an argument. Whether a request is sent again is decided elsewhere.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from statistics import median
from typing import NamedTuple

__all__ = ["AgePolicy", "AwakeTime", "ClockOffset", "VendorClock", "VendorTime", "decode_http_date", "measure_offset"]

_LARGEST_OFFSET = 86_400.0
"""Seconds; a clock that is further off than a day is not skewed but wrong."""

_RECENT_ANSWERS = 15
"""Answers that the estimate of the vendor's clock is made of: enough for a median, few enough to follow a jump."""

_DATE_ERROR = 0.5
"""Seconds by which a `Date`, which has whole seconds, may be off."""

_LAG_FACTOR = 12
"""Times `count_delay` (1 s) that a count waits which has been seen to lag: replicas are up to 10 s behind."""

_SETTLED_AFTER = 60.0
"""Seconds in which an offset that was just accepted is replaced only with good reason: two servers that disagree
would make it flap."""

_NEAR_ZERO = 2.0
"""Seconds; a vendor this close to this machine's clock means that the clock was set right: accepted at once."""

_AGREEMENT = 5.0
"""Seconds by which two refusals in a row may differ and still name the same offset."""

_BEAT = 1.0
"""Seconds between two looks at the event loop's clock while requests are under way."""

_LONGEST_LAG = 3.0
"""Seconds without a look from which on the loop was not just busy but stopped."""


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
    reported = decode_http_date(date)
    return None if reported is None else _offset_of(reported, sent, received)


def _offset_of(date: float, sent: float, received: float) -> float:
    return date + 0.5 - (sent + received) / 2


class ClockOffset:
    """What is added to this machine's time when a request is signed.

    Attributes:
        seconds: the offset.
        version: how often it was changed; a request that was signed under an older one learns nothing from its refusal.
        candidate: what the last refusal measured, if a second one has to agree.
    """

    __slots__ = ("_fixed_until", "candidate", "seconds", "version")

    def __init__(self) -> None:
        """Trust this machine's clock."""
        self.seconds: float = 0.0
        self.version: int = 0
        self._fixed_until = float("-inf")
        self.candidate: float | None = None

    def note_success(self) -> None:
        """Note that a request was accepted: a single refusal before it proves nothing."""
        self.candidate = None

    def note_refusal(self, measured: float | None, *, signed_under: int, now: float) -> None:
        """Accept the offset that a refused timestamp shows, once for all requests that were under way.

        Within a minute after a change another offset is accepted only if it is near zero (NTP has set this machine's
        clock right) or if two refusals in a row agree on it.

        Args:
            measured: the offset, where the answer told one.
            signed_under: the version under which the refused request was signed.
            now: the instant of a clock that never jumps.
        """
        if measured is None or signed_under != self.version:
            return
        # Closer than a `Date` can tell: the offset is not what was wrong.
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
    """The event loop's time without the gaps in which the loop did not run: SIGSTOP, `docker pause`, a frozen machine.

    Deadlines and waits are measured in it. Someone has to call `read` every `beat` seconds while requests are under
    way; otherwise a long wait for an answer looks like a gap.

    Attributes:
        gaps: How many gaps there were.
        lost: Seconds that they took together.
        beat: Seconds between two calls of `read`.
    """

    __slots__ = ("_seen", "gaps", "lost")

    beat = _BEAT

    def __init__(self, now: float) -> None:
        """Begin at the instant `now` of the loop's clock."""
        self.gaps: int = 0
        self.lost: float = 0.0
        self._seen = now

    def restart(self, now: float) -> None:
        """Count the time since the last call as awake: nothing was under way."""
        self._seen = now

    def read(self, now: float) -> float:
        """Return the awake time at the instant `now` of the loop's clock."""
        if now - self._seen > _LONGEST_LAG:
            self.gaps += 1
            self.lost += now - self._seen - _BEAT
        self._seen = now
        return now - self.lost


class VendorClock:
    """The offset of the vendor's clock: the median over the `Date` headers of recent answers.

    Any answer counts, refused or not. The median ignores the few that come from another server or took long.
    """

    __slots__ = ("_answers", "_date", "_decoded")

    def __init__(self) -> None:
        """Begin without an answer."""
        self._answers: deque[tuple[float, float, float] | None] = deque(maxlen=_RECENT_ANSWERS)
        self._date: str | None = None
        self._decoded: float | None = None

    def note_answer(self, date: str | None, *, sent: float, received: float) -> None:
        """Take an answer into account.

        Args:
            date: its `Date` header.
            sent: this machine's Unix time when the request was sent.
            received: likewise when the answer had come.
        """
        if date != self._date:  # it changes once a second, and is dear to decode
            self._date, self._decoded = date, decode_http_date(date)
        self._answers.append(None if self._decoded is None else (self._decoded, sent, received))

    @property
    def offset(self) -> float | None:
        """Seconds by which the vendor's clock is ahead of this machine's; `None` if no recent answer had a `Date`."""
        offsets = [_offset_of(*answer) for answer in self._answers if answer is not None]
        plausible = [offset for offset in offsets if abs(offset) <= _LARGEST_OFFSET]
        return median(plausible) if plausible else None


class VendorTime(NamedTuple):
    """The present instant; `is_local` if it is this machine's, because the vendor sends no `Date`."""

    now: datetime
    is_local: bool


class AgePolicy(NamedTuple):
    """Which windows are young, and how long their control counts wait.

    Attributes:
        read_clock: returns the present instant of the vendor's clock.
        lateness: a window is young until so long after its end.
        count_delay: counts of young windows may be so much older than their rows.
    """

    read_clock: Callable[[], VendorTime]
    lateness: timedelta
    count_delay: timedelta

    def is_young(self, end: datetime) -> bool:
        """Tell whether calls may still be added to a window that ends at `end`."""
        return self.read_clock().now - end < self.lateness

    def until_past(self, end: datetime) -> float:
        """Return the seconds until `end` has passed for sure; 0 where it has."""
        return max(0.0, (end - self.read_clock().now).total_seconds() + _DATE_ERROR)

    def is_past(self, end: datetime) -> bool:
        """Tell whether `end` has passed for sure."""
        return not self.until_past(end)

    def may_lag(self, end: datetime) -> bool:
        """Tell whether answers about a window that ends at `end` may come from a replica that is behind."""
        return self.count_delay > timedelta(0) and self.is_young(end)

    def find_caught_up(self) -> datetime:
        """Return when replicas know what is known now."""
        return self.read_clock().now + self.count_delay * _LAG_FACTOR

    def decide_delay(self, end: datetime, *, count_lags: bool = False) -> float:
        """Return the seconds from the last page of a window to its control count.

        Args:
            end: end of the window.
            count_lags: an earlier count of the window was below its rows: this one waits for a lag of ten seconds.
        """
        if not self.may_lag(end):
            return 0.0
        return self.count_delay.total_seconds() * (_LAG_FACTOR if count_lags else 1)
