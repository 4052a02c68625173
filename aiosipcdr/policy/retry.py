"""How often and how patiently a page is asked for again.

Pure arithmetic: clock and random number are arguments.  Knows no error by
name, only the facts that errors carry.
"""

import re
from typing import Final

import msgspec

from aiosipcdr.policy.clock import decode_http_date

__all__ = ["RetryBudget", "RetryPolicy", "decode_retry_after"]

_USUAL_ATTEMPTS = 6
_MOST_ATTEMPTS = 20
_FIRST_PAGE_ATTEMPTS = 8


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a failed request is sent again; each attempt is signed afresh.

    The wait before attempt n + 1 is drawn evenly between nothing and
    `min(base * 2**(n - 1), cap)` seconds ("full jitter"), and is never shorter
    than what the vendor asked for in `Retry-After`.

    Attributes:
        attempts: Max requests for one page, the first included, whatever happens; 1 switches retries off. `None`: 6,
            or 3 where the answer is a 200 that cannot be read; up to 20 while other pages of the client succeed, since
            an endpoint that fails every second request still answers. Before the first page of a client no other can
            succeed: twice as many, up to 8, where the failure is the endpoint's own. Fewer requests are sent at the
            same time meanwhile.
        base: the first wait's upper bound in seconds.
        throttle_base: the same where the vendor asks for fewer requests; the whole client waits then.
        cap: the longest drawn wait in seconds.
        deadline: seconds after the first attempt in which another may start.
        longest_retry_after: a longer wish of the vendor's ends the run at once, with the wish in the error.
        budget: what all retries of a client may cost together: 14 each (5 where the vendor asks for fewer requests).
            A page that succeeds gives back the cost of its retries, one that needed none 1, and 1 comes back every
            second.
        stall: a run that has completed no page for so many seconds ends at its next failure.
    """

    attempts: int | None = None
    base: float = 0.25
    throttle_base: float = 1.0
    cap: float = 20.0
    deadline: float = 120.0
    longest_retry_after: float = 120.0
    budget: float = 500.0
    stall: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: fewer than one attempt, or a negative time or budget.
        """
        if self.attempts is not None and self.attempts < 1:
            msg = f"attempts must be at least 1 (1 = never retry), not {self.attempts}"
            raise ValueError(msg)
        for name in ("base", "throttle_base", "cap", "deadline", "longest_retry_after", "budget", "stall"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                msg = f"{name} must be a finite number, zero or more, not {value}"
                raise ValueError(msg)

    def most_attempts(
        self, fewer: int | None = None, *, others_succeed: bool = False, is_first_page: bool = False
    ) -> int:
        """Return how often a page may be asked for.

        Args:
            fewer: How often at most where nothing else is known, for kinds of errors that hardly ever pass.
            others_succeed: Whether other pages of the client are answered meanwhile.
            is_first_page: Whether no page of the client was answered yet, by an endpoint that can be reached.
        """
        usual, most = (_USUAL_ATTEMPTS, _MOST_ATTEMPTS) if self.attempts is None else (self.attempts, self.attempts)
        if others_succeed:
            return most
        usual = usual if fewer is None else min(usual, fewer)
        if is_first_page and self.attempts is None:
            return max(usual, min(2 * usual, _FIRST_PAGE_ATTEMPTS))
        return usual

    def decide_delay(
        self, attempt: int, *, elapsed: float, retry_after: float | None, random: float, throttled: bool = False
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` where that would take too long.

        Args:
            attempt: Attempts made so far, at least 1.
            elapsed: seconds since the first of them was sent.
            retry_after: what the vendor asked for, in seconds.
            random: a number in [0, 1).
            throttled: the vendor asks for fewer requests.
        """
        base = self.throttle_base if throttled else self.base
        # 2.0 ** 1024 overflows; any cap is reached long before.
        delay = random * min(base * 2.0 ** min(attempt - 1, 64), self.cap)
        if retry_after is not None:
            if retry_after > self.longest_retry_after:
                return None
            # Never earlier than asked; a little later, so that not all come back in the same instant.
            delay = max(delay, retry_after * (1 + random / 10))
        return delay if elapsed + delay <= self.deadline else None


class RetryBudget:
    """What the retries of a whole client may cost: an outage must not be answered with attempts × pages requests.

    The costs and refunds of the AWS SDKs' standard retry mode; unlike there,
    tokens come back with time too, for clients that are open for weeks.
    """

    __slots__ = ("_most", "_refilled", "_tokens")

    def __init__(self, most: float, *, now: float) -> None:
        """Begin with `most` tokens."""
        self._most = most
        self._tokens = most
        self._refilled = now

    def take(self, cost: float, *, now: float) -> bool:
        """Pay for a retry; refuse when too little is left."""
        if cost > self._refill(now):
            return False
        self._tokens -= cost
        return True

    def is_low(self, now: float) -> bool:
        """Tell whether more than half of it is spent."""
        return self._refill(now) < self._most / 2

    def _refill(self, now: float) -> float:
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._refilled))
        self._refilled = now
        return self._tokens

    def give_back(self, cost: float) -> None:
        """Note a success: the cost of the retry that led to it, 1 for a first attempt."""
        self._tokens = min(self._most, self._tokens + cost)


# Whole seconds, as RFC 9110 has it, or decimal ones, as some gateways send it; never longer than a year or so.
_seconds: Final = re.compile(r"[0-9]{1,8}(?:\.[0-9]{0,9})?").fullmatch


def decode_retry_after(value: str | None, date: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, `None` where it says nothing usable.

    Args:
        value: the header: seconds, or an HTTP date (RFC 9110, 10.2.3).
        date: the answer's own `Date`, which a date in `value` is measured
            against, so that a wrong clock on this machine does not matter.
        now: this machine's Unix time, for answers without a usable `Date`.
    """
    if value is None:
        return None
    value = value.strip()
    if _seconds(value):
        return float(value)
    until = decode_http_date(value)
    if until is None:
        return None
    since = decode_http_date(date)
    return max(0.0, until - (now if since is None else since))
