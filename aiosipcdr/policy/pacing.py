"""How fast requests may follow each other: arithmetic on the instants of a clock.

Pure: the present instant is an argument.  Never sleeps; it says how long to.
"""

import msgspec

__all__ = ["Pacer", "RatePolicy"]


class RatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An upper bound on the requests that a client sends, everything that it does taken together.

    Attributes:
        requests_per_second: the sustained rate.
        burst: how many requests may go out at once after a quiet time.
    """

    requests_per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a rate that is not positive and finite, or a burst below 1.
        """
        if not 0 < self.requests_per_second < float("inf"):
            msg = f"requests_per_second must be positive and finite, not {self.requests_per_second}"
            raise ValueError(msg)
        if self.burst < 1:
            msg = f"burst must be at least 1, not {self.burst}"
            raise ValueError(msg)


class Pacer:
    """The state behind a `RatePolicy`, and the gate that a throttled client waits at.

    The generic cell rate algorithm: each request moves the instant at which
    the bucket would be empty by one interval, and may go when that instant is
    no further away than the burst allows.
    """

    __slots__ = ("_blocked_until", "_interval", "_slack", "_theoretical")

    def __init__(self, policy: RatePolicy | None) -> None:
        """Start with a full burst; without a policy only the gate can hold requests back."""
        self._interval = 1 / policy.requests_per_second if policy else 0.0
        self._slack = self._interval * (policy.burst - 1) if policy else 0.0
        self._theoretical = float("-inf")
        self._blocked_until = float("-inf")

    def block(self, until: float) -> None:
        """Let nothing pass before the instant `until`; an earlier gate is never shortened."""
        self._blocked_until = max(self._blocked_until, until)

    def decide_wait(self, now: float) -> float:
        """Return the seconds until a request may go, 0 when it may go now."""
        due = self._theoretical - self._slack
        if now >= due and now >= self._blocked_until:
            return 0.0
        return max(self._blocked_until, due) - now

    def take(self, now: float) -> None:
        """Note that a request goes out now."""
        self._theoretical = max(self._theoretical, now) + self._interval
