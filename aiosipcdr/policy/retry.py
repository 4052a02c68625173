"""How often and how patiently a page is asked for again.

Pure arithmetic: the random number is an argument.  Knows no error by name,
only the facts that errors carry.
"""

from email.utils import parsedate_to_datetime

import msgspec

__all__ = ["RetryPolicy", "decode_retry_after"]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a failed request is sent again; each attempt is signed afresh.

    The wait before attempt n + 1 is drawn evenly between nothing and
    `min(base * 2**(n - 1), cap)` seconds ("full jitter"), and is never shorter
    than what the vendor asked for in `Retry-After`.

    Attributes:
        attempts: how often one page is asked for at most, the first time included; 1 switches retries off.
        base: the first wait's upper bound in seconds.
        cap: the longest drawn wait in seconds.
        deadline: seconds after the first attempt in which another may start.
        longest_retry_after: a longer wish of the vendor's ends the run at once, with the wish in the error.
    """

    attempts: int = 6
    base: float = 0.25
    cap: float = 20.0
    deadline: float = 120.0
    longest_retry_after: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: fewer than one attempt, or a negative time.
        """
        if self.attempts < 1:
            msg = f"attempts must be at least 1 (1 = never retry), not {self.attempts}"
            raise ValueError(msg)
        for name in ("base", "cap", "deadline", "longest_retry_after"):
            seconds = getattr(self, name)
            if not 0 <= seconds < float("inf"):
                msg = f"{name} must be a finite number of seconds, zero or more, not {seconds}"
                raise ValueError(msg)

    def decide_delay(self, attempt: int, *, elapsed: float, retry_after: float | None, random: float) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up.

        Args:
            attempt: attempts made so far, at least 1.
            elapsed: seconds since the first of them was sent.
            retry_after: what the vendor asked for, in seconds.
            random: a number in [0, 1).
        """
        if attempt >= self.attempts:
            return None
        # 2.0 ** 1024 overflows; any cap is reached long before.
        delay = random * min(self.base * 2.0 ** min(attempt - 1, 64), self.cap)
        if retry_after is not None:
            if retry_after > self.longest_retry_after:
                return None
            delay = max(delay, retry_after)
        return delay if elapsed + delay <= self.deadline else None


_DIGITS_OF_A_YEAR = 8


def decode_retry_after(value: str | None, date: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, `None` where it says nothing usable.

    Args:
        value: the header: whole seconds, or an HTTP date (RFC 9110, 10.2.3).
        date: the answer's own `Date`, which a date in `value` is measured
            against, so that a wrong clock on this machine does not matter.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= _DIGITS_OF_A_YEAR else None
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
