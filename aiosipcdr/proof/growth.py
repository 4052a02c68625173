"""How a window is read whose calls still arrive.

Pure: decides waits and limits; what is asked for is up to the proof of the window.

A count that waits differs from the rows where calls arrive all the time. A window in which that was seen is counted at
once instead, by the page that shows the end of its list: as many rows as COUNT reports, on the page itself, prove that
this COUNT is no older than the rows. Where too many calls arrive within one reading, the window is to be cut.
"""

from datetime import datetime

from aiosipcdr.policy.clock import AgePolicy

__all__ = ["MOST_READINGS", "Growth"]

MOST_READINGS = 7
"""Readings of a window to which calls are added: few arrive within one, and with each pause fewer."""

_MOST_WHILE_WAITING = 8
_MOST_AT_ONCE = 2
"""Calls that may arrive before a count that waits, or that is asked for at once: with more, the next one fails too."""

_LONGEST_PAUSE = 20.0
"""Times `count_delay` that a window is left alone before it is read again."""

_MOMENT = 4.0
"""Seconds: what ends so soon is waited for."""


class Growth:
    """The calls that arrive in one window while it is read.

    Attributes:
        is_seen: some did, in this window or in the one that it was cut out of.
        rows: how many did before the last count.
        is_fast: these were so many that the next reading is likely to fail, too.
    """

    __slots__ = ("_ages", "_count_lags", "_end", "_waited", "is_fast", "is_seen", "rows")

    def __init__(self, ages: AgePolicy, end: datetime, *, is_seen: bool) -> None:
        """Begin before the first reading of a window that ends at `end`."""
        self._ages = ages
        self._end = end
        self._count_lags = False
        self._waited = 0
        self.is_seen: bool = is_seen
        self.rows: int = 0
        self.is_fast: bool = False

    def exceeds(self, count: int, *, rows: int, largest_total: int) -> bool:
        """Tell whether a count shows that calls have arrived: nothing else has changed in a young window."""
        return count > rows and count >= largest_total and self._ages.is_young(self._end)

    def note_count(self, count: int, *, rows: int, largest_total: int) -> None:
        """Take note of a count that is not what was read."""
        self.rows = count - rows if self.exceeds(count, rows=rows, largest_total=largest_total) else 0
        self.is_fast = self.rows > (_MOST_AT_ONCE if self.is_seen else _MOST_WHILE_WAITING)
        # Calls were deleted, or the count is older than the rows.
        self._count_lags = not self.rows
        self.is_seen = bool(self.rows)

    def delay_count(self, reading: int) -> float:
        """Return the seconds that the count of a reading waits; once for each."""
        if self._waited == reading:
            return 0.0
        self._waited = reading
        return self._ages.decide_delay(self._end, count_lags=self._count_lags)

    def delay_reading(self, reading: int) -> float:
        """Return the seconds that a reading waits: for the end of the window, or for fewer calls to arrive."""
        if 0 < (left := self._ages.until_past(self._end)) <= _MOMENT:
            return left
        if not self.is_seen or reading < 3:  # noqa: PLR2004 - the second one begins at once
            return 0.0
        return min(_LONGEST_PAUSE, 3.0 ** (reading - 3)) * self._ages.count_delay.total_seconds()
