"""What becomes of a request that failed: sent again, when and at whose cost, or given up.

One for each client: what one request learns (a throttled vendor, a clock that
is off, an outage) holds for all.  Decides only; waiting and sending are the
engine's.
"""

from collections.abc import Iterator

from aiosipcdr.engine.run import Job
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
from aiosipcdr.policy.clock import ClockOffset
from aiosipcdr.policy.concurrency import AdaptiveLimit
from aiosipcdr.policy.pacing import Pacer
from aiosipcdr.policy.retry import RetryBudget, RetryPolicy

__all__ = ["RetryController"]

_COST = 14.0
_COST_WHEN_THROTTLED = 5.0

_FEWER_ATTEMPTS: dict[type[SipCdrError], int] = {
    ClockSkewError: 1,  # one more is free
    ResponseTooLargeError: 2,  # each costs what an answer may cost
    ProtocolError: 3,  # an answer that was cut short may be whole next time; an HTML page will not be
    TlsError: 2,
}
_FIRST_CONTACT_ATTEMPTS = 2
"""For a name that cannot be resolved before anything was ever answered: it is misspelt, most likely."""

_RECENT_SECONDS = 30.0
"""How long before a page's first attempt another may have been answered to count as its contemporary: the last page of
a range and a control count are often the only requests under way."""

_OF_THE_ACCOUNT = (AuthenticationError, RestrictedAddressError, RedirectError, TlsError)
"""Errors that every other request would meet too; one more login may lock the account."""


class RetryController:
    """The state that decisions rest on, shared by everything that a client does."""

    def __init__(self, retry: RetryPolicy, pacer: Pacer, places: int, *, now: float) -> None:
        """Begin as if all were well."""
        self.clock: ClockOffset = ClockOffset()
        self.limit: AdaptiveLimit = AdaptiveLimit(places)
        self._retry = retry
        self._pacer = pacer
        self._budget = RetryBudget(retry.budget, now=now)
        self._last_answered = float("-inf")

    def note_answer(self, job: Job, now: float) -> None:
        """Note that `job` was answered as it should be."""
        self._last_answered = job.run.last_answer = now
        if self.clock.candidate is not None:
            self.clock.note_success()
        self.limit.note_success()
        self._budget.give_back(job.cost or 1.0)

    def decide_delay(self, job: Job, error: SipCdrError, *, now: float, random: float) -> float | SipCdrError:
        """Return the seconds to wait before `job` is sent again, or the error that it ends with.

        Args:
            job: the request, sent at least once.
            error: what its last attempt ended with.
            now: the present instant in awake time.
            random: a number in [0, 1).
        """
        if isinstance(error, (ThrottledError, ServerFaultError)) or _is_local(error):
            self.limit.note_trouble(sent=job.sent, now=now)
        if isinstance(error, ClockSkewError):
            self.clock.note_refusal(error.offset, signed_under=job.signed_under, now=now)
        if isinstance(error, ThrottledError) and error.retry_after and not self._asks_too_much(error):
            # However this request ends: the wish is meant for the whole client.
            self._pacer.block(now + error.retry_after)
        if not error.retryable or self._retry.attempts == 1:
            return error
        if (free := self._decide_free(job, error)) is not None:
            return free
        fewer = self._fewer_attempts(error)
        if job.paid_attempts >= self._retry.most_attempts(fewer, is_first_page=self._is_first_page(error)):
            if job.paid_attempts >= self._retry.most_attempts(fewer, others_succeed=self._others_succeed(job, error)):
                return error
            # A page that needs this much patience has the client ask more slowly, whatever kind of error it meets.
            self.limit.note_trouble(sent=job.sent, now=now)
        return self._decide_paid(job, error, now=now, random=random)

    def may_begin(self, *, waiting: int, now: float) -> bool:
        """Tell whether pages may be asked for that were not asked for yet.

        Not while half of the budget is spent on pages that still wait for another attempt (`waiting` of them): the
        rest is for those to come through.
        """
        return not waiting or not self._budget.is_low(now)

    def ends_all(self, error: SipCdrError) -> bool:
        """Tell whether no request of this client can succeed after `error`."""
        # With a status it is a proxy that refuses.
        of_the_proxy = type(error) is TransportError and not error.retryable and error.status is not None
        return isinstance(error, _OF_THE_ACCOUNT) or of_the_proxy or self._asks_too_much(error)

    def _asks_too_much(self, error: SipCdrError) -> bool:
        too_long = (error.retry_after or 0.0) > self._retry.longest_retry_after
        return isinstance(error, ThrottledError) and too_long

    def _decide_free(self, job: Job, error: SipCdrError) -> float | None:
        # Once per page and reason, and not one of its attempts.
        reason = next((reason for reason in self._find_excuses(job, error) if reason not in job.forgiven), None)
        wish = error.retry_after or 0.0
        if reason is None or wish > self._retry.longest_retry_after:
            return None
        job.forgiven |= {reason}
        return wish

    def _find_excuses(self, job: Job, error: SipCdrError) -> Iterator[str]:
        if isinstance(error, ClockSkewError):
            yield "signature"  # a fresh one covers a delay on the way
            if job.signed_under != self.clock.version:
                yield "offset"  # corrected since it was signed
        if isinstance(error, TransportError):
            if error.stale:
                yield "stale"  # closed by the other side while idle: says nothing about the vendor's health
            if job.was_frozen:
                yield "frozen"  # the time in which this machine stood still is not the vendor's

    def _decide_paid(self, job: Job, error: SipCdrError, *, now: float, random: float) -> float | SipCdrError:
        throttled = isinstance(error, ThrottledError)
        delay = self._retry.decide_delay(
            job.paid_attempts,
            elapsed=now - job.first_sent,
            retry_after=error.retry_after,
            random=random,
            throttled=throttled,
        )
        if delay is None:
            return error
        if _is_local(error):
            return delay  # the vendor has no part in it
        if now + delay - max(job.run.last_answer, job.first_sent) > self._retry.stall:
            return _outage(f"no page was completed for {self._retry.stall:g} seconds", error)
        cost = _COST_WHEN_THROTTLED if throttled else _COST
        if not self._budget.take(cost, now=now):
            return _outage("too many requests failed: the budget for repeating them is spent", error)
        job.cost += cost
        if throttled:
            self._pacer.block(now + delay)
        return delay

    def _fewer_attempts(self, error: SipCdrError) -> int | None:
        if isinstance(error, TransportError) and not error.exists and self._last_answered == float("-inf"):
            return _FIRST_CONTACT_ATTEMPTS
        return next((fewer for kind, fewer in _FEWER_ATTEMPTS.items() if isinstance(error, kind)), None)

    def _is_first_page(self, error: SipCdrError) -> bool:
        # One that is refused a connection, or gets a page of somebody else's, has most likely the wrong address.
        if self._last_answered != float("-inf"):
            return False
        if isinstance(error, TransportError):
            return error.connected and not error.local and not isinstance(error, TlsError | RequestTimeoutError)
        is_cut_short = isinstance(error, ProtocolError) and not error.is_foreign
        return isinstance(error, ServerFaultError) or (is_cut_short and not isinstance(error, ResponseTooLargeError))

    def _others_succeed(self, job: Job, error: SipCdrError) -> bool:
        if isinstance(error, TlsError | ClockSkewError):
            return False
        return self._last_answered >= job.first_sent - _RECENT_SECONDS


def _is_local(error: SipCdrError) -> bool:
    return isinstance(error, TransportError) and error.local


def _outage(why: str, error: SipCdrError) -> OutageError:
    outage = OutageError(
        f"{why}; the last error: {error}", status=error.status, reason=error.reason, retry_after=error.retry_after
    )
    outage.__cause__ = error
    return outage
