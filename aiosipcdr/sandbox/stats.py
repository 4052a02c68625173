"""What the sandbox was asked for, in a few numbers that do not grow with the requests.

This module must never keep a request, an answer or anything that is in them.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What happened since the start, or since the numbers were reset.

    Attributes:
        requests: Requests that came, whatever became of them.
        rows_read: Rows that LIMIT/OFFSET would have read: for each query the smaller of
            its total and current times size.
        deepest_page: The largest page number that was answered.
        peak_in_flight: The most requests that were being answered at one time.
        answers: How often each status was answered; HTTP errors under their own code.
    """

    requests: int = 0
    rows_read: int = 0
    deepest_page: int = 0
    peak_in_flight: int = 0
    answers: dict[int, int] = field(default_factory=dict)


class Counters:
    """The running numbers behind `Stats`. Counted by the server's thread; any may read."""

    def __init__(self) -> None:
        """Start at zero."""
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Start again at zero; requests that are being answered still are."""
        self._requests = 0
        self._rows_read = 0
        self._deepest_page = 0
        self._peak = self._in_flight
        self._answers: Counter[int] = Counter()

    def arrived(self) -> None:
        """Count a request that came."""
        self._requests += 1
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)

    def left(self) -> None:
        """Count a request that is done with."""
        self._in_flight -= 1

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._answers[status] += 1

    def read(self, rows: int, page: int) -> None:
        """Count the rows that a page would have cost."""
        self._rows_read += rows
        self._deepest_page = max(self._deepest_page, page)

    def snapshot(self) -> Stats:
        """Return the numbers as they are now."""
        return Stats(
            requests=self._requests,
            rows_read=self._rows_read,
            deepest_page=self._deepest_page,
            peak_in_flight=self._peak,
            answers=dict(self._answers),
        )
