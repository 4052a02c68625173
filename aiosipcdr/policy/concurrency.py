"""How many requests may be under way at once: up by one while all goes well, down at once when it does not.

Pure arithmetic: instants are arguments.  Additive increase, multiplicative
decrease (Chiu and Jain, 1989), between 1 and what the client allows.
"""

__all__ = ["AdaptiveLimit"]

_DECREASE = 0.7


class AdaptiveLimit:
    """The number of places for requests, as it stands."""

    __slots__ = ("_limit", "_lowered_at", "_most", "_successes", "places")

    def __init__(self, most: int) -> None:
        """Begin with all places."""
        self.places: int = most
        """How many requests may be under way now, at least 1."""
        self._most = most
        self._limit = float(most)
        self._successes = 0
        self._lowered_at = float("-inf")

    def note_trouble(self, *, sent: float, now: float) -> None:
        """Take places away for a request, sent at `sent`, that was answered with trouble `now`."""
        # What was under way when the places were last taken away tells nothing about what is left.
        if sent >= self._lowered_at:
            self._limit = max(1.0, self._limit * _DECREASE)
            self.places = int(self._limit)
            self._lowered_at = now
            self._successes = 0

    def note_success(self) -> None:
        """Give one place back for every two rounds of answers without trouble."""
        if self._limit < self._most:
            self._successes += 1
            if self._successes >= 2 * self._limit:
                self._limit = min(float(self._most), self._limit + 1)
                self.places = int(self._limit)
                self._successes = 0
