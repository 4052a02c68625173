"""Counters of a sandbox's requests, of constant size."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """Counters since the start, or since they were reset.

    Attributes:
        requests: Number of requests, including refused ones.
        rows_read: Rows that LIMIT/OFFSET would have read: for each query the smaller of
            its total and current times size.
        deepest_page: The largest page number that was answered.
        peak_in_flight: The highest number of concurrent requests.
        answers: Number of responses by status; HTTP errors under their own code.
    """

    requests: int = 0
    rows_read: int = 0
    deepest_page: int = 0
    peak_in_flight: int = 0
    answers: dict[int, int] = field(default_factory=dict)


class Counters:
    """The mutable counters behind `Stats`. Written by the server's thread; any thread may read."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero, except for requests in progress."""
        self._requests = 0
        self._rows_read = 0
        self._deepest_page = 0
        self._peak = self._in_flight
        self._answers: Counter[int] = Counter()

    def arrived(self) -> None:
        """Count an incoming request."""
        self._requests += 1
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)

    def left(self) -> None:
        """Count a finished request."""
        self._in_flight -= 1

    def answered(self, status: int) -> None:
        """Count a response."""
        self._answers[status] += 1

    def read(self, rows: int, page: int) -> None:
        """Count the rows that a page would have cost."""
        self._rows_read += rows
        self._deepest_page = max(self._deepest_page, page)

    def snapshot(self) -> Stats:
        """Return the current values."""
        return Stats(
            requests=self._requests,
            rows_read=self._rows_read,
            deepest_page=self._deepest_page,
            peak_in_flight=self._peak,
            answers=dict(self._answers),
        )
