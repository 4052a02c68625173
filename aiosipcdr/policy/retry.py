"""Retry policy: whether a failed request is sent again, when, and at which cost.

Arithmetic only: clock readings and random numbers are arguments. Decides; waiting and sending are the engine's.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from aiosipcdr.model.errors import (
    AuthenticationError,
    ClockSkewError,
    OutageError,
    ProtocolError,
    RedirectError,
    RequestTimeoutError,
    ResponseTooLargeError,
    RestrictedAddressError,
    ServerFaultError,
    SipCdrError,
    ThrottledError,
    TlsError,
    TransportError,
)
from aiosipcdr.policy.clock import ClockOffset, decode_http_date
from aiosipcdr.policy.concurrency import AdaptiveLimit
from aiosipcdr.policy.pacing import Pacer

__all__ = [
    "RequestAttempts",
    "RetryBudget",
    "RetryController",
    "RetryPolicy",
    "decode_retry_after",
    "draw_wait",
    "limit_attempts",
]

_DEFAULT_ATTEMPTS = 6
_MAX_ATTEMPTS = 20
_MAX_FIRST_PAGE_ATTEMPTS = 8

_RETRY_COST = 14.0
_THROTTLED_RETRY_COST = 5.0

_MAX_ATTEMPTS_BY_ERROR: dict[type[SipCdrError], int] = {
    ClockSkewError: 1,  # beside its free retries, see `RetryController._find_free_reasons`
    ResponseTooLargeError: 2,  # each may cost the largest answer that is accepted
    ProtocolError: 3,  # a truncated answer may be complete next time; an HTML page will not change
    TlsError: 2,
}
_MAX_ATTEMPTS_UNRESOLVED = 2
"""Attempts for a host name that does not resolve before anything was ever answered: it is probably misspelt."""

_RECENT_SECONDS = 30.0
"""Seconds before the first attempt of a page: a success of another page after that shows that the endpoint answers.

Not zero, since the last page of a range and a control count are often the only requests in flight.
"""

_ACCOUNT_ERRORS = (AuthenticationError, RestrictedAddressError, RedirectError, TlsError)
"""Errors that every other request would get, too; another login attempt may lock the account."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a failed request is sent again; each attempt is signed afresh.

    The wait before attempt n + 1 is drawn uniformly from 0 to `min(base * 2**(n - 1), cap)` seconds ("full jitter"),
    and is never shorter than the vendor's `Retry-After`.

    By default (`attempts=None`) a page is requested at most

    - 20 times if another page of the client succeeds, or has succeeded in the 30 seconds before: an endpoint that fails
      every second request still answers. Concurrency is reduced meanwhile. Not for TLS errors and clock skew.
    - 6 times otherwise, and before the window of a page after the first is counted, since calls may have been deleted;
      3 times for a 200 whose body cannot be read, twice for one that is too large or a TLS error.
    - Before the first page of the client has succeeded: 8 times (6 for a 200 whose body cannot be read) if the endpoint
      itself fails, twice if its name cannot be resolved.

    Not counted are, once each per page: a retry after clock skew, another one if the clock was corrected after the
    refused request was signed, one after the server has closed an idle connection, and one after this process was
    suspended.

    Attributes:
        attempts: Max requests for one page, the first included; 1 disables retries. `None`: see above.
        base: Upper bound of the first wait, in seconds.
        throttle_base: The same after a throttled request; the whole client waits then.
        cap: Longest drawn wait, in seconds.
        deadline: No attempt starts later than this after the first, in seconds.
        longest_retry_after: A longer `Retry-After`, in seconds, ends the run at once; the error carries the value.
        budget: Cost of all retries of a client together: 14 each, 5 after a throttled request. A page that succeeds
            refunds the cost of its retries, a page without retries refunds 1, and 1 is refilled every second.
        stall: Seconds without a completed page after which the next failure ends the run.
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
        """Validate the values.

        Raises:
            ValueError: Fewer than one attempt, or a negative or infinite time or budget.
        """
        if self.attempts is not None and self.attempts < 1:
            msg = f"attempts must be at least 1 (1 = never retry), not {self.attempts}"
            raise ValueError(msg)
        for name in ("base", "throttle_base", "cap", "deadline", "longest_retry_after", "budget", "stall"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                msg = f"{name} must be a finite number, zero or more, not {value}"
                raise ValueError(msg)


def limit_attempts(
    policy: RetryPolicy, kind_limit: int | None = None, *, others_succeed: bool = False, is_first_page: bool = False
) -> int:
    """Return how often a page may be requested.

    Args:
        policy: The policy.
        kind_limit: Limit for kinds of errors that rarely go away.
        others_succeed: Whether other pages of the client succeed meanwhile.
        is_first_page: Whether no page of the client has succeeded yet, and the endpoint itself fails.
    """
    own = policy.attempts
    default, limit = (_DEFAULT_ATTEMPTS, _MAX_ATTEMPTS) if own is None else (own, own)
    if others_succeed:
        return limit
    allowed = default if kind_limit is None else min(default, kind_limit)
    if is_first_page and own is None:
        return max(allowed, min(2 * allowed, _MAX_FIRST_PAGE_ATTEMPTS))
    return allowed


def draw_wait(
    policy: RetryPolicy,
    attempt: int,
    *,
    elapsed: float,
    retry_after: float | None,
    random: float,
    throttled: bool = False,
) -> float | None:
    """Return the seconds to wait before the next attempt, or `None` if that would exceed a limit.

    Args:
        policy: The policy.
        attempt: Attempts made so far, at least 1.
        elapsed: Seconds since the first attempt was sent.
        retry_after: The vendor's `Retry-After`, in seconds.
        random: A number in [0, 1).
        throttled: Whether the vendor throttled the request.
    """
    base = policy.throttle_base if throttled else policy.base
    # 2.0 ** 1024 overflows; any cap is reached long before.
    delay = random * min(base * 2.0 ** min(attempt - 1, 64), policy.cap)
    if retry_after is not None:
        if retry_after > policy.longest_retry_after:
            return None
        # Up to a tenth longer than `Retry-After`, so that not all clients come back at the same instant.
        delay = max(delay, retry_after * (1 + random / 10))
    return delay if elapsed + delay <= policy.deadline else None


class RetryBudget:
    """Token bucket that limits the retries of a whole client.

    Without it, an outage would cost attempts × pages requests. Costs and refunds are those of the AWS SDKs' standard
    retry mode. In addition, one token per second is refilled, for clients that are open for weeks.
    """

    __slots__ = ("_capacity", "_refilled_at", "_tokens")

    def __init__(self, capacity: float, *, now: float) -> None:
        """Start with `capacity` tokens."""
        self._capacity = capacity
        self._tokens = capacity
        self._refilled_at = now

    def take(self, cost: float, *, now: float) -> bool:
        """Pay for a retry; return `False` if too few tokens are left."""
        if cost > self._refill(now):
            return False
        self._tokens -= cost
        return True

    def is_low(self, now: float) -> bool:
        """Return whether more than half of the capacity is spent."""
        return self._refill(now) < self._capacity / 2

    def refund(self, cost: float) -> None:
        """Return tokens after a success: the cost of the retries before it, 1 for a first attempt."""
        self._tokens = min(self._capacity, self._tokens + cost)

    def _refill(self, now: float) -> float:
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._refilled_at))
        self._refilled_at = now
        return self._tokens


class RequestAttempts(msgspec.Struct, eq=False):
    """Attempts of one request so far. Times are seconds of awake time, see `aiosipcdr.policy.clock.AwakeTime`.

    Attributes:
        attempt: Number of times it was sent.
        free_reasons: Reasons for which it was sent again for free, so that an attempt did not count.
        charged: Cost of its retries.
        first_sent: Time of the first attempt.
        last_sent: Time of the last attempt.
        signed_version: Version of the clock offset in the last signature.
        was_suspended: Whether the process was suspended during the last attempt.
    """

    attempt: int = 0
    free_reasons: frozenset[str] = frozenset()
    charged: float = 0.0
    first_sent: float = 0.0
    last_sent: float = 0.0
    signed_version: int = 0
    was_suspended: bool = False

    @property
    def counted_attempts(self) -> int:
        """Number of attempts that count towards the limit."""
        return self.attempt - len(self.free_reasons)


class RetryController:
    """Retry decisions of one client: what one request learns (throttling, clock skew, an outage) applies to all.

    Attributes:
        clock: Offset that requests are signed with.
        limit: Requests that may be in flight.
    """

    def __init__(self, retry: RetryPolicy, pacer: Pacer, max_concurrency: int, *, now: float) -> None:
        """Start in a healthy state."""
        self.clock: ClockOffset = ClockOffset()
        self.limit: AdaptiveLimit = AdaptiveLimit(max_concurrency)
        self._retry = retry
        self._pacer = pacer
        self._budget = RetryBudget(retry.budget, now=now)
        self._last_success = float("-inf")

    @property
    def is_patient(self) -> bool:
        """Whether a page may be requested more often if others succeed."""
        return self._retry.attempts is None

    def note_success(self, attempts: RequestAttempts, now: float) -> None:
        """Record that a request was answered properly."""
        self._last_success = now
        if self.clock.candidate is not None:
            self.clock.note_success()
        if self.limit.is_reduced:
            self.limit.note_success()
        self._budget.refund(attempts.charged or 1.0)

    def decide_retry(
        self,
        attempts: RequestAttempts,
        error: SipCdrError,
        *,
        last_completed: float,
        now: float,
        random: float,
        may_be_gone: bool = False,
    ) -> float | SipCdrError:
        """Return the seconds to wait before a request is sent again, or the error that it ends with.

        Args:
            attempts: Attempts of the request, at least one.
            error: Error of the last attempt.
            last_completed: Awake time when the run last completed a page, or started.
            now: Current awake time.
            random: A number in [0, 1).
            may_be_gone: Whether the server may fail because the page does not exist.
        """
        if isinstance(error, (ThrottledError, ServerFaultError)) or _is_local(error):
            self.limit.note_trouble(sent=attempts.last_sent, now=now)
        if isinstance(error, ClockSkewError):
            self.clock.note_refusal(error.offset, signed_under=attempts.signed_version, now=now)
        if isinstance(error, ThrottledError) and error.retry_after and not self._exceeds_retry_after(error):
            # Applies to the whole client, even if this request is given up.
            self._pacer.block(now + error.retry_after)
        if not error.retryable or self._retry.attempts == 1:
            return error
        if (free := self._decide_free(attempts, error)) is not None:
            return free
        kind_limit, made = self._kind_limit(error), attempts.counted_attempts
        if made >= limit_attempts(self._retry, kind_limit, is_first_page=self._is_first_page(error)):
            others_succeed = self._others_succeed(attempts, error)
            if may_be_gone and isinstance(error, ServerFaultError | ProtocolError):
                others_succeed = False  # what else succeeds does not show that this page can
            if made >= limit_attempts(self._retry, kind_limit, others_succeed=others_succeed):
                return error
            # A page that needs this many attempts reduces the concurrency, also for errors that do not otherwise.
            self.limit.note_trouble(sent=attempts.last_sent, now=now)
        return self._decide_paid(attempts, error, last_completed=last_completed, now=now, random=random)

    def may_start_pages(self, *, waiting: int, now: float) -> bool:
        """Return whether pages may be requested for the first time.

        When more than half of the budget is spent, the rest is reserved for pages that wait for another attempt.

        Args:
            waiting: Number of pages that wait for another attempt.
            now: Current awake time.
        """
        return not waiting or not self._budget.is_low(now)

    def ends_all(self, error: SipCdrError) -> bool:
        """Return whether no request of this client can succeed after `error`."""
        # A transport error with a status is a refusal by a proxy.
        is_by_proxy = type(error) is TransportError and not error.retryable and error.status is not None
        return isinstance(error, _ACCOUNT_ERRORS) or is_by_proxy or self._exceeds_retry_after(error)

    def _exceeds_retry_after(self, error: SipCdrError) -> bool:
        is_too_long = (error.retry_after or 0.0) > self._retry.longest_retry_after
        return isinstance(error, ThrottledError) and is_too_long

    def _decide_free(self, attempts: RequestAttempts, error: SipCdrError) -> float | None:
        # Each reason applies once per page.
        reasons = self._find_free_reasons(attempts, error)
        reason = next((reason for reason in reasons if reason not in attempts.free_reasons), None)
        retry_after = error.retry_after or 0.0
        if reason is None or retry_after > self._retry.longest_retry_after:
            return None
        attempts.free_reasons |= {reason}
        return retry_after

    def _find_free_reasons(self, attempts: RequestAttempts, error: SipCdrError) -> Iterator[str]:
        if isinstance(error, ClockSkewError):
            yield "signature"  # the request may have been delayed, or the clock was corrected just now
            if attempts.signed_version != self.clock.version:
                yield "offset"  # the clock was corrected after this request was signed, so it was signed wrongly again
        if isinstance(error, TransportError):
            if error.stale:
                yield "stale"  # the server has closed an idle connection, as servers do
            if attempts.was_suspended:
                yield "suspended"  # the connection was probably lost because this process was suspended

    def _decide_paid(
        self, attempts: RequestAttempts, error: SipCdrError, *, last_completed: float, now: float, random: float
    ) -> float | SipCdrError:
        is_throttled = isinstance(error, ThrottledError)
        delay = draw_wait(
            self._retry,
            attempts.counted_attempts,
            elapsed=now - attempts.first_sent,
            retry_after=error.retry_after,
            random=random,
            throttled=is_throttled,
        )
        if delay is None:
            return error
        if _is_local(error):
            return delay  # a shortage on this machine: says nothing about the vendor
        if now + delay - max(last_completed, attempts.first_sent) > self._retry.stall:
            return _outage(f"no page was completed for {self._retry.stall:g} seconds", error)
        cost = _THROTTLED_RETRY_COST if is_throttled else _RETRY_COST
        if not self._budget.take(cost, now=now):
            return _outage("too many requests failed: the budget for repeating them is spent", error)
        attempts.charged += cost
        if is_throttled:
            self._pacer.block(now + delay)
        return delay

    def _kind_limit(self, error: SipCdrError) -> int | None:
        if isinstance(error, TransportError) and not error.exists and self._last_success == float("-inf"):
            return _MAX_ATTEMPTS_UNRESOLVED
        return next((limit for kind, limit in _MAX_ATTEMPTS_BY_ERROR.items() if isinstance(error, kind)), None)

    def _is_first_page(self, error: SipCdrError) -> bool:
        # Returns whether the endpoint fails before its first success. Not for a refused connection or a page of another
        # server, which most likely mean a wrong address.
        if self._last_success != float("-inf"):
            return False
        if isinstance(error, TransportError):
            return error.connected and not error.local and not isinstance(error, TlsError | RequestTimeoutError)
        is_truncated = isinstance(error, ProtocolError) and not error.is_foreign
        return isinstance(error, ServerFaultError) or (is_truncated and not isinstance(error, ResponseTooLargeError))

    def _others_succeed(self, attempts: RequestAttempts, error: SipCdrError) -> bool:
        if isinstance(error, TlsError | ClockSkewError):
            return False
        return self._last_success >= attempts.first_sent - _RECENT_SECONDS


# Whole seconds (RFC 9110), or decimal ones, as some gateways send them; at most about three years.
_seconds: Final = re.compile(r"[0-9]{1,8}(?:\.[0-9]{0,9})?").fullmatch


def decode_retry_after(value: str | None, date: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, `None` if it cannot be read.

    Args:
        value: The header: seconds, or an HTTP date (RFC 9110, 10.2.3).
        date: The `Date` of the same answer. A date in `value` is relative to it, so that a wrong local clock does not
            matter.
        now: This machine's Unix time, for answers without a usable `Date`.
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


def _is_local(error: SipCdrError) -> bool:
    return isinstance(error, TransportError) and error.local


def _outage(why: str, error: SipCdrError) -> OutageError:
    outage = OutageError(
        f"{why}; the last error: {error}", status=error.status, reason=error.reason, retry_after=error.retry_after
    )
    outage.__cause__ = error
    return outage
