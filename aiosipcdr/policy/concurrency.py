"""Adaptive limit of concurrent requests: additive increase, multiplicative decrease (Chiu and Jain, 1989).

Arithmetic only: clock readings are arguments.
"""

__all__ = ["AdaptiveLimit"]

_DECREASE = 0.7


class AdaptiveLimit:
    """Number of requests that may be in flight, between 1 and the client's concurrency.

    Attributes:
        current: The limit now, at least 1.
        is_reduced: Whether it is below the client's concurrency.
    """

    __slots__ = ("_limit", "_max", "_reduced_at", "_successes", "current", "is_reduced")

    def __init__(self, max_concurrency: int) -> None:
        """Start at the maximum."""
        self.current: int = max_concurrency
        self.is_reduced: bool = False
        self._max = max_concurrency
        self._limit = float(max_concurrency)
        self._successes = 0
        self._reduced_at = float("-inf")

    def note_trouble(self, *, sent: float, now: float) -> None:
        """Reduce the limit for a request, sent at `sent`, that failed at `now`."""
        # Requests that were in flight at the last reduction say nothing about the reduced limit.
        if sent >= self._reduced_at:
            self._set(max(1.0, self._limit * _DECREASE))
            self._reduced_at = now

    def note_success(self) -> None:
        """Raise the limit by one after two rounds of answers without trouble."""
        if self.is_reduced:
            self._successes += 1
            if self._successes >= 2 * self._limit:
                self._set(min(float(self._max), self._limit + 1))

    def _set(self, limit: float) -> None:
        self._limit = limit
        self.current = int(limit)
        self.is_reduced = limit < self._max
        self._successes = 0
