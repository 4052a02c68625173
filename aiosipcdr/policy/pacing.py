"""Request pacing: the generic cell rate algorithm over the instants of a clock.

Arithmetic only: the current time is an argument. Returns how long to wait; never sleeps.
"""

import msgspec

__all__ = ["Pacer", "RatePolicy"]


class RatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Upper bound on the request rate of a client, all its runs together.

    Attributes:
        requests_per_second: Sustained rate.
        burst: Requests that may be sent at once after an idle time.
    """

    requests_per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            ValueError: A rate that is not positive and finite, or a burst below 1.
        """
        if not 0 < self.requests_per_second < float("inf"):
            msg = f"requests_per_second must be positive and finite, not {self.requests_per_second}"
            raise ValueError(msg)
        if self.burst < 1:
            msg = f"burst must be at least 1, not {self.burst}"
            raise ValueError(msg)


class Pacer:
    """State of a `RatePolicy`, and the pause of a throttled client.

    Each request moves the instant at which the bucket would be empty by one interval. A request may be sent when that
    instant is no further away than the burst allows.

    Attributes:
        is_active: Whether requests may have to wait: there is a policy, or a pause has begun.
    """

    __slots__ = ("_blocked_until", "_interval", "_slack", "_theoretical", "is_active")

    def __init__(self, policy: RatePolicy | None) -> None:
        """Start with a full burst. Without a policy, only `block` delays requests."""
        self._interval = 1 / policy.requests_per_second if policy else 0.0
        self._slack = self._interval * (policy.burst - 1) if policy else 0.0
        self._theoretical = float("-inf")
        self._blocked_until = float("-inf")
        self.is_active: bool = policy is not None

    def block(self, until: float) -> None:
        """Send nothing before the instant `until`; an earlier pause is never shortened."""
        self._blocked_until = max(self._blocked_until, until)
        self.is_active = True

    def decide_wait(self, now: float) -> float:
        """Return the seconds until a request may be sent, 0 if it may be sent now."""
        due = self._theoretical - self._slack
        if now >= due and now >= self._blocked_until:
            return 0.0
        return max(self._blocked_until, due) - now

    def take(self, now: float) -> None:
        """Record that a request is sent now."""
        self._theoretical = max(self._theoretical, now) + self._interval
